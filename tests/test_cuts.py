"""Cells that edges cut: straight currents pass them exactly, at every order; derivatives by dimensions of polygons."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import gdstk
import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.linalg import spsolve

from thermospin import grid as grids
from thermospin.base import quadrature
from thermospin.device import reader
from thermospin.device.faults import require_apart
from thermospin.geometry import grid_rule
from thermospin.geometry.outlines import Regions
from thermospin.geometry.weights import sections
from thermospin.grid import Grid, Prism
from thermospin.model import build, on_grid
from thermospin.signals import evaluate

WIDTH, THICKNESS = 60e-9, 20e-9


def turned_wire(angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Outline of a straight wire through the origin, 600 nm long, and its direction."""
    along = np.array([np.cos(angle), np.sin(angle)])
    across = WIDTH / 2 * np.array([-along[1], along[0]])
    return np.array([s * 300e-9 * along + t * across for s, t in ((-1, -1), (1, -1), (1, 1), (-1, 1))]), along


def wire_grid(angle: float, order: int, size: float = 15e-9) -> Grid:
    """The wire on cells that do not fit it, of uneven width."""
    rng = np.random.default_rng(1)
    line = np.arange(-360e-9, 361e-9, size)
    x, y = (line + rng.uniform(-0.2, 0.2, len(line)) * size for _ in range(2))
    prism = Prism(turned_wire(angle)[0], (0.0, THICKNESS), 0)
    lines = x, y, np.array([0.0, THICKNESS])
    return Grid(lines, grids.fill_prisms(lines, [prism]), order, (prism,))


def conduction(grid: Grid) -> tuple[csr_array, np.ndarray]:
    """The matrix of conduction at unit conductivity on all places of the tensor grid, and which of them are nodes.

    Put together by hand from the weights, segment by segment: D' W D between p + 1 nodes, or two in cut cells.
    """
    segments, volume = sections(grid, 1)
    shape = [len(nodes) for nodes in grid.nodes]
    total = csr_array((math.prod(shape), math.prod(shape)))
    for number, section in enumerate(segments):
        axis, order = (number, grid.order) if number < 3 else (number - 3, 1)
        _, weights, slope = quadrature.gauss_lobatto(order)
        own = (slope.T * weights) @ slope
        entries = section.tocoo()
        place = list(np.unravel_index(entries.row, [(n - 1) // order if k == axis else n for k, n in enumerate(shape)]))
        start = place[axis]
        nodes = []
        for local in range(order + 1):
            place[axis] = order * start + local
            nodes.append(np.ravel_multi_index(place, shape))
        for a, b in np.ndindex(order + 1, order + 1):
            total = total + csr_array((own[a, b] * entries.data, (nodes[a], nodes[b])), shape=total.shape)
    return total, np.asarray(volume.sum(axis=1)).ravel() > 0


def along_wire(grid: Grid, angle: float) -> np.ndarray:
    """How far along the wire each place of the tensor grid is [m]."""
    places = np.stack(np.meshgrid(*grid.nodes, indexing="ij"), axis=-1).reshape(-1, 3)
    return places[:, :2] @ turned_wire(angle)[1]


def unbalanced(grid: Grid, angle: float) -> tuple[float, float]:
    """Largest current left over at a node off the ends for an even field along the wire, and the one at the ends."""
    matrix, live = conduction(grid)
    along = along_wire(grid, angle)
    left = np.abs(matrix @ along)
    inside = np.abs(along) < 250e-9
    return float(left[live & inside].max()), float(left[live & ~inside].max())


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 4, 1.2])
def test_an_even_current_passes_cut_cells(order: int, angle: float) -> None:
    """The patch test: nothing is left over but what leaving slivers of 1e-9 of a cell out makes."""
    inside, ends = unbalanced(wire_grid(angle, order), angle)
    assert inside < 1e-7 * ends


@pytest.mark.parametrize("order", [1, 2])
def test_shares_by_area_alone_do_not_pass(order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: every node of a cell gets the same part of it, the usual law for cells filled in part."""
    exact = Grid.cuts.func  # type: ignore[attr-defined]

    def by_area(grid: Grid) -> list[grids.Cut]:
        _, values, slopes = quadrature.passages(order)
        pieces = np.diff(quadrature.passages(order)[0])
        weights = np.einsum("isa,s->i", values, pieces) / 2
        rises = slopes @ pieces
        out = []
        for cut in exact(grid):
            part = cut.area.sum(axis=(1, 2))[:, None, None]
            dx, dy = (np.diff(line)[i] for line, i in zip(grid.lines[:2], cut.place.T, strict=True))
            out.append(
                dataclasses.replace(
                    cut,
                    area=part * np.outer(weights, weights),
                    along_x=part / dx[:, None, None] * np.outer(rises, weights),
                    along_y=part / dy[:, None, None] * np.outer(weights, rises),
                )
            )
        return out

    monkeypatch.setattr(Grid.cuts, "func", by_area)
    inside, ends = unbalanced(wire_grid(0.3, order), 0.3)
    assert inside > 0.05 * ends


@pytest.mark.parametrize("order", [1, 2, 3])
def test_volumes_of_cut_cells_add_up(order: int) -> None:
    grid = wire_grid(0.3, order)
    volume = sections(grid, 1)[1].sum()
    assert volume == pytest.approx(600e-9 * WIDTH * THICKNESS, rel=1e-8)
    assert grid.cut.any() and 0 < np.count_nonzero(grid.domain >= 0) < grid.domain.size


@pytest.mark.parametrize("order", [1, 2])
def test_a_turned_wire_has_its_resistance(order: int) -> None:
    """Four cells across: how the potential falls in the middle of it, within 1 % of 1/(sigma width thickness)."""
    grid = wire_grid(0.4, order)
    matrix, live = conduction(grid)
    along = along_wire(grid, 0.4)
    start, end = (live & (sign * along > 280e-9) for sign in (-1, 1))
    free = np.flatnonzero(live & ~start)
    current = np.where(end, 1.0 / end.sum(), 0.0)
    voltage = np.zeros(len(along))
    voltage[free] = spsolve(matrix[free][:, free].tocsc(), current[free])
    middle = live & (np.abs(along) < 150e-9)
    slope, _ = np.polyfit(along[middle], voltage[middle], 1)
    assert slope == pytest.approx(1 / (WIDTH * THICKNESS), rel=0.01)


BENT = """
name = "bent"
length_unit = "nm"
[dimensions]
length = 120
tilt = 30
height = 15
[[solids]]
name = "F"
material = "Py"
magnet = "F"
polygon = [[0, 0], [40, 0], ["40 + tilt", "length"], ["tilt", "length"]]
z = [0, "height"]
[[solids]]
name = "N"
material = "Cu"
polygon = [["tilt / 2 - 5", 40], ["tilt / 2 + 120", 30], ["tilt / 2 + 120", 70], ["tilt / 2 - 5", 80]]
z = ["height", "height + 30"]
[[contacts]]
name = "1"
solid = "F"
face = "y-"
[[contacts]]
name = "2"
solid = "F"
face = "y+"
[[contacts]]
name = "3"
solid = "N"
face = "x+"
[experiments.e]
current = ["1", "2"]
voltage = ["3", "2"]
states = { P = {}, AP = { F = -1 } }
"""
WANTED = [("e", "R1.P"), ("e", "R2.P"), ("e", "R2.spin")]


#: N cut in two along a slanted border, with an interface below and one between both pieces.
PARTED = (
    BENT.replace(
        """["tilt / 2 + 120", 30], ["tilt / 2 + 120", 70], ["tilt / 2 - 5", 80]]
""",
        """["tilt / 2 + 63", 35], ["tilt + 50", 75], ["tilt / 2 - 5", 80]]
z = ["height", "height + 30"]
[[solids]]
name = "M"
material = "Cu"
polygon = [["tilt / 2 + 63", 35], ["tilt / 2 + 120", 30], ["tilt / 2 + 120", 70], ["tilt + 50", 75]]
""",
    ).replace('solid = "N"', 'solid = "M"')
    + """
[[interfaces]]
name = "i"
between = ["F", "N"]
RA = "1 fohm m^2"
K = 1e9
[[interfaces]]
name = "k"
between = ["N", "M"]
RA = "1 fohm m^2"
"""
)


@pytest.mark.parametrize("text", [BENT, PARTED], ids=["cut", "interfaces"])
def test_derivatives_by_dimensions_of_polygons(text: str) -> None:
    """Against differences of signals with steps of 0.01 nm: the weights are differentiated with a tenth of that."""
    device = reader.read(text, "bent.toml")
    model = build(device, cells=150, order=1)
    assert len(model.grid.cuts) > 1
    names = list(device.dimensions)
    found = evaluate.evaluate(model, {}, WANTED, names, tolerance=1e-12)
    for k, name in enumerate(names):
        at = device.dimensions[name].value
        ends = [
            evaluate.evaluate(model.moved({name: at + s}), {}, WANTED, tolerance=1e-12).values for s in (1e-11, -1e-11)
        ]
        expected = (ends[0] - ends[1]) / 2e-11
        np.testing.assert_allclose(
            found.jacobian[:, k], expected, rtol=2e-3, atol=1e-4 * np.abs(found.values).max() / at
        )


def test_reciprocity_holds_on_cut_cells() -> None:
    """Current and voltage changed over, all magnets reversed: the same R1, to the solver's tolerance."""
    device = reader.read(BENT, "bent.toml")
    swapped = dataclasses.replace(
        device,
        experiments={
            "e": dataclasses.replace(device.experiments["e"], current=("3", "2"), voltage=("1", "2")),
        },
    )
    grid = device.features.grid([np.union1d(device.features.faces(k), [20e-9] if k < 2 else []) for k in range(3)], 1)
    values = [evaluate.measure(on_grid(each, grid), tolerance=1e-11, harmonics=1) for each in (device, swapped)]
    assert values[0]["e", "R1.P"] == pytest.approx(values[1]["e", "R1.AP"], rel=1e-8)


def test_cells_that_would_short_circuit_two_metals_are_refused() -> None:
    """Two arms of a fork that lean the same way, 10 nm apart; fine cells keep them apart."""
    fork = "[[0, 0], [40, 0], [640, 1000], [600, 1000]]", "[[50, 0], [90, 0], [690, 1000], [650, 1000]]"
    arms = "".join(
        f'[[solids]]\nname = "{name}"\nmaterial = "Cu"\npolygon = {corners}\nz = [0, 10]\n'
        for name, corners in zip("AB", fork, strict=True)
    )
    root = '[[solids]]\nname = "C"\nmaterial = "Cu"\nbox = { x = [0, 90], y = [-40, 0], z = [0, 10] }\n'
    ends = '[[contacts]]\nname = "1"\nsolid = "A"\nface = "y+"\n[[contacts]]\nname = "2"\nsolid = "B"\nface = "y+"\n'
    device = reader.read('length_unit = "nm"\n' + arms + root + ends, "fork.toml")
    even = [np.arange(0, 700e-9, 50e-9), np.arange(-40e-9, 1000e-9, 50e-9), []]
    coarse = device.features.grid([np.union1d(device.features.faces(k), even[k]) for k in range(3)], 2)
    with pytest.raises(ValueError, match=r"metals are 8.57 nm apart at .* nm would short-circuit them; ask for more"):
        on_grid(device, coarse)
    with pytest.raises(ValueError, match="would short-circuit them"):
        require_apart(device.layout(), coarse)  # what `check` asks
    chosen = grid_rule.choose(device.features, 2)
    require_apart(device.layout(), chosen)
    plan = device.layout()
    assert isinstance(plan, Regions) and plan.short_circuit(chosen) is None and plan.short_circuit(coarse) is not None


OCTAGON = [[38, 16], [16, 38], [-16, 38], [-38, 16], [-38, -16], [-16, -38], [16, -38], [38, -16]]
KEYHOLE = [[-200, -80], [200, -80], [200, 80], [-200, 80], [-200, 0], [-40, 0], [0, 40], [40, 0], [0, -40], [-40, 0]]
HALF = [[0, -80], [0, -40], [-40, 0], [0, 40], [0, 80], [-200, 80], [-200, -80]]
STRIP = [[-200, -80], [200, -80], [200, 80], [-200, 80]]
TOUCHING = {
    "a keyhole cut": [("A", "Cu", [*KEYHOLE, [-200, 0]])],
    "halves that touch": [("A", "Cu", HALF), ("B", "Cu", [[-x, y] for x, y in HALF])],
    "an insulator in a hole": [("A", "Cu", STRIP), ("hole", "SiO2", [[40, 0], [0, 40], [-40, 0], [0, -40]])],
    "round solids in one another": [
        ("A", "Cu", STRIP),
        ("film", "Py", [[1.9 * x, 1.9 * y] for x, y in OCTAGON]),
        ("core", "Au", OCTAGON),
    ],
}


@pytest.mark.parametrize("case", TOUCHING)
def test_a_crack_without_width_is_no_gap(case: str) -> None:
    """Metal around a hole, or in pieces that touch, is one piece, on the coarsest grid and on finer ones."""
    solids = TOUCHING[case]
    text = 'length_unit = "nm"\n' + "".join(
        f'[[solids]]\nname = "{name}"\nmaterial = "{material}"\npolygon = {corners}\nz = [0, 10]\n'
        for name, material, corners in solids
    )
    end = "B" if len(solids[1:]) and solids[1][0] == "B" else "A"
    text += (
        f'[[contacts]]\nname = "1"\nsolid = "A"\nface = "x-"\n[[contacts]]\nname = "2"\nsolid = "{end}"\nface = "x+"\n'
    )
    device = reader.read(text, "touching.toml")
    for order, cells in ((1, None), (2, None), (3, None), (3, 400)):
        grid = grid_rule.choose(device.features, order, cells)
        assert grid.cuts
        on_grid(device, grid)


# On a grid of 1 nm: one cut passes a corner of the hole at 0.04 nm; the other, at 0.6 nm,
# crosses it.
FRAME_10 = [(-162, -232), (-232, 162), (162, 232), (232, -162), (-83, -218)]
FRAME_10 += [(-97, -139), (139, -97), (97, 139), (-139, 97), (-83, -218)]
FRAME_20 = [(-120, -256), (-229, 44), (-154, 72), (-72, -154), (154, -72)]
FRAME_20 += [(72, 154), (-229, 44), (-256, 120), (120, 256), (256, -120)]
SQUARE = [(-200, 0), (-50, 0), (0, 50), (50, 0), (0, -50), (-50, 0), (-200, 0), (-200, -90), (200, -90)]
SQUARE += [(200, 90), (-200, 90)]
FRAMES = {
    "turned by 10 degrees": (FRAME_10, (-450, 450), True),
    "turned by 20 degrees": (FRAME_20, (-450, 450), True),
    "cut through the hole": (SQUARE, (-150, -20), False),
}


@pytest.mark.parametrize("case", FRAMES)
def test_cuts_to_holes_that_a_layout_file_rounds_are_no_gaps(case: str, tmp_path: Path) -> None:
    corners, window, has_arms = FRAMES[case]
    cell = gdstk.Cell("A")
    cell.add(gdstk.Polygon([(x / 1000, y / 1000) for x, y in corners], layer=2))
    if has_arms:
        cell.add(gdstk.rectangle((-0.5, -0.025), (-0.185, 0.025), layer=2))
        cell.add(gdstk.rectangle((0.185, -0.025), (0.5, 0.025), layer=2))
    library = gdstk.Library()
    library.add(cell)
    library.write_gds(tmp_path / "frame.gds")
    ends = ("x-", "x+") if has_arms else ("x-", "z-")
    text = "".join(f'[[contacts]]\nname = "{end}"\nsolid = "Cu"\nface = "{end}"\n' for end in ends)
    layer = '[[layout.layers]]\nlayer = 2\nmaterial = "Cu"\nthickness = 50\nzmin = 0\n'
    head = f'length_unit = "nm"\n[layout]\nfile = "frame.gds"\nwindow = {{ x = {list(window)}, y = [-400, 400] }}\n'
    device = reader.read(head + layer + text, "frame.toml", tmp_path)
    assert [solid.name for solid in device.solids] == ["Cu"]
    grid = grid_rule.choose(device.features, 3)
    assert grid.cuts
    on_grid(device, grid)


JOINT = """
name = "joint"
length_unit = "nm"
[[solids]]
name = "base"
material = "SiO2"
box = {{ x = [-120, 120], y = [-60, 60], z = [-30, 0] }}
[[solids]]
name = "A"
material = "Cu"
polygon = [[-100, -40], [0, -40], [0, 40], [-100, 40]]
z = [0, 30]
[[solids]]
name = "B"
material = "Cu"
polygon = [[{gap}, -40], [{end}, -40], [{end}, 40], [{gap}, 40]]
z = [0, 30]
[[solids]]
name = "bridge"
material = "Py"
magnet = "bridge"
polygon = [[-60, -40], [60, -40], [60, 40], [-60, 40]]
z = [20, 45]
[[contacts]]
name = "left"
solid = "A"
face = "x-"
[[contacts]]
name = "right"
solid = "B"
face = "x+"
[[heat_sinks]]
solid = "base"
face = "z-"
[experiments.e]
current = ["left", "right"]
voltage = ["left", "right"]
states = {{ P = {{}} }}
"""


def resistance(gap: float, end: float = 100) -> float:
    device = reader.read(JOINT.format(gap=f"{gap:.15f}", end=f"{end:.15f}"), "joint.toml")
    return evaluate.measure(build(device, cells=500, order=1))["e", "R1.P"]


def test_edges_that_touch_within_a_picometre_are_one() -> None:
    """Outlines touch up to 1 pm apart, and grid lines merge: else there is a layer of void, or of cells of 1 fm.

    It opened the joint (14 % of R with a bridge over it), and the memory did not hold the grid of an overlap. What is
    left is the length: 1 pm of 100 nm, 1e-5.
    """
    closed = resistance(0)
    for gap in (1e-15, 2e-14, 9e-13):
        for sign in (1, -1):
            assert resistance(sign * gap * 1e9) == pytest.approx(closed, rel=2e-5), sign * gap


def test_the_end_of_a_film_under_another_is_one_plane() -> None:
    """Set operations round what is left of the film to a femtometre: half of the contact was on a plane of its own."""
    ends = [resistance(0, 100 + more) for more in (0, 2.1e-7, 4.9e-7, 7e-7)]
    np.testing.assert_allclose(ends, ends[0], rtol=1e-7)
