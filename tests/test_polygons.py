"""Moments of polygons in cells: against another library, closed forms, and what must be so; faults of polygons."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import shapely

from thermospin.base import polygons

jax.config.update("jax_enable_x64", True)


def random_polygon(rng: np.random.Generator) -> np.ndarray:
    """A simple polygon of 3 to 20 corners around a random place, in either orientation, some of them on a grid."""
    count = int(rng.integers(3, 21))
    angle = np.sort(rng.uniform(0, 2 * np.pi, count))
    radius = rng.uniform(0.1, 1.0, count) * 300e-9
    corners = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1) + rng.normal(size=2) * 100e-9
    if rng.random() < 0.3:
        corners = np.round(corners, 8)
    return corners[::-1] if rng.random() < 0.5 else corners


def test_area_fractions_are_those_of_shapely() -> None:
    """1000 random polygons; both are sums of products of coordinates, round-off 1e-16 times (extent/cell)^2."""
    rng = np.random.default_rng(6)
    checked = partly = 0
    while checked < 1000:
        polygon = random_polygon(rng)
        reference = shapely.Polygon(polygon * 1e9)
        if not reference.is_valid:
            continue
        checked += 1
        x, y = (np.union1d(rng.uniform(-400e-9, 400e-9, 5), [0.0, 50e-9]) for _ in range(2))
        found = polygons.fractions(polygon, x, y)
        boxes = shapely.box(1e9 * x[:-1, None], 1e9 * y[None, :-1], 1e9 * x[1:, None], 1e9 * y[None, 1:])
        expected = shapely.area(shapely.intersection(boxes, reference)) / shapely.area(boxes)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
        partly += int(np.count_nonzero((found > 1e-3) & (found < 1 - 1e-3)))
    assert partly > 5000


def test_moments_of_a_triangle() -> None:
    """The half of the unit cell under its diagonal: integrals of (1-x)(1-y), (1-x)y, x(1-y), xy over it by hand."""
    triangle = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    found = polygons.moments(triangle, *(np.array(each, float) for each in (0, 1, 0, 1)))
    np.testing.assert_allclose(found, np.array([[1 / 8, 1 / 24], [5 / 24, 1 / 8]]), rtol=1e-14)
    turned = polygons.moments(triangle[::-1], *(np.array(each, float) for each in (0, 1, 0, 1)))
    np.testing.assert_allclose(turned, found, rtol=1e-14)


def test_moments_of_a_grid_add_up_to_those_of_the_polygon() -> None:
    """Sums over cells with nodes at x_i of x_i M_i is the first moment, whatever the cells: hats reproduce x and y."""
    rng = np.random.default_rng(1)
    polygon = random_polygon(rng)
    x, y = (np.union1d(rng.uniform(-600e-9, 600e-9, 7), [-600e-9, 600e-9]) for _ in range(2))
    moments = polygons.moments(polygon, x[:-1, None], x[1:, None], y[None, :-1], y[None, 1:])
    ends = np.stack([x[:-1], x[1:]], axis=-1)
    centre = shapely.Polygon(polygon * 1e9).centroid
    area = abs(polygons.area(polygon))
    assert moments.sum() == pytest.approx(area, rel=1e-12)
    assert np.einsum("ia,ijab->", ends, moments) / area == pytest.approx(centre.x * 1e-9, rel=1e-10)


def test_a_hole_is_cut_in_from_the_edge() -> None:
    outer, hole = [(0, 0), (4, 0), (4, 4), (0, 4)], [(1, 1), (1, 3), (3, 3), (3, 1)]
    keyholed = np.array([*outer, (0, 0), *hole, (1, 1)], float)
    lines = np.array([0.0, 1.0, 2.0, 4.0])
    expected = shapely.Polygon(outer, [hole])
    boxes = shapely.box(lines[:-1, None], lines[None, :-1], lines[1:, None], lines[None, 1:])
    found = polygons.fractions(keyholed, lines, lines)
    np.testing.assert_allclose(found, shapely.area(shapely.intersection(boxes, expected)) / shapely.area(boxes))


def test_derivatives_by_vertices_and_lines_are_exact() -> None:
    """Against central differences of 1e-4 of a cell: their error is third derivatives times its square, 1e-8."""
    rng = np.random.default_rng(3)
    polygon = random_polygon(rng) * 1e9
    x, y = (np.linspace(-400, 400, 6) + rng.uniform(-20, 20, 6) for _ in range(2))
    slopes = jax.jacobian(polygons.fractions, argnums=(0, 1))(*map(jax.numpy.asarray, (polygon, x, y)))
    for argument, shape in ((0, polygon.shape), (1, x.shape)):
        for place in np.ndindex(*shape):
            step = np.zeros(shape)
            step[place] = 1e-2
            ends = []
            for sign in (1, -1):
                moved = [polygon, x, y]
                moved[argument] = moved[argument] + sign * step
                ends.append(polygons.fractions(*moved))
            expected = (ends[0] - ends[1]) / 2e-2
            found = np.asarray(slopes[argument])[(..., *place)]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max() + 1e-9)


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ([(0, 0), (1e-7, 0)], "got 2 vertices, expected 3 or more"),
        ([(0, 0), (1e-7, 1e-7), (1e-7, 0), (0, 1e-7)], "its edges 0 and 2 cross each other at (50, 50) nm"),
        ([(0, 0), (1e-7, 0), (2e-7, 0)], "its area is zero, at (0, 0) nm"),
        ([(0, 0), (1e-7, float("nan")), (2e-7, 0)], "got a vertex that is not finite"),
        ([(0, 0), (1e-7, 0), (1e-7, 1e-7)], None),
    ],
)
def test_a_faulty_polygon_is_told(corners: list[tuple[float, float]], expected: str | None) -> None:
    found = polygons.faults(np.array(corners))
    assert (found == []) if expected is None else (len(found) == 1 and found[0].startswith(expected))


def test_booleans_keep_areas_and_where_things_are() -> None:
    first, second = polygons.rectangle((0, 3e-7), (0, 2e-7)), polygons.rectangle((1e-7, 4e-7), (1e-7, 3e-7))
    areas = {
        op: sum(abs(polygons.area(p)) for p in polygons.boolean([first], [second], op)) for op in ("or", "and", "not")
    }
    assert areas == pytest.approx({"or": 10e-14, "and": 2e-14, "not": 4e-14}, rel=1e-9)
    assert polygons.boolean([first], [polygons.rectangle((5e-7, 6e-7), (0, 1e-7))], "and") == []
    grown = polygons.offset(first, 1e-8)
    assert len(grown) == 1 and abs(polygons.area(grown[0])) == pytest.approx(3.2e-7 * 2.2e-7, rel=1e-9)


def test_shared_edges_and_gaps_are_measured() -> None:
    slanted = np.array([[0, 0], [1e-7, 0], [2e-7, 1e-7], [1e-7, 1e-7]])
    beside = np.array([[1e-7, 0], [3e-7, 0], [3e-7, 2e-7], [2e-7, 1e-7]])
    assert polygons.shared_edge(slanted, beside) == pytest.approx(np.hypot(1e-7, 1e-7))
    assert polygons.shared_edge(slanted, beside + (0.0, 1e-9)) == 0
    gap, place = polygons.distance(slanted, beside + (1e-8, 0.0))
    assert gap == pytest.approx(1e-8 / np.sqrt(2)) and 1e-7 < place[0] < 2.1e-7


def test_edges_are_led_through_vertices_that_they_miss_by_rounding() -> None:
    """The last edge passes (-97, -139) at 0.04 nm; an edge 1 nm away from a vertex stays as it is."""
    corners = [(-83, -218), (-97, -139), (139, -97), (97, 139), (-139, 97)]
    found = polygons.snapped(1e-9 * np.array(corners, float), 1e-9)
    np.testing.assert_allclose(1e9 * found, [*corners, (-97, -139)])
    apart = 1e-9 * np.array([(0, 0), (100, 0), (100, 50), (50, 1), (0, 50)], float)
    np.testing.assert_array_equal(polygons.snapped(apart, 1e-9), apart)


def test_polygons_that_share_edges_are_joined_and_those_that_meet_in_a_corner_are_not() -> None:
    squares = [
        polygons.rectangle((x, x + 1e-7), (y, y + 1e-7)) for x, y in ((0, 0), (2e-7, 0), (1e-7, 5e-8), (3e-7, 1e-7))
    ]
    found = polygons.joined(squares).tolist()
    assert found[0] == found[1] == found[2] != found[3]
