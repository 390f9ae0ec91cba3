"""Doubled nodes in cells that edges of prisms cut: interfaces across round and slanted faces, areas and volumes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
import pytest

from thermospin.base import polygons
from thermospin.device.device import Device
from thermospin.device.interfaces import Interface
from thermospin.device.materials import Material
from thermospin.device.parts import Contact, Experiment, HeatSink, Solid, Through
from thermospin.device.placement import Placement, place
from thermospin.geometry.grid_rule import choose
from thermospin.model import build, on_grid
from thermospin.signals.evaluate import fields, measure

IRON = Material("Fe", sigma=4e6, kappa=30.0, lambda_sf=5e-9)
COPPER = Material("Cu", sigma=4e7, kappa=300.0, lambda_sf=3e-7)
"""Without Seebeck coefficients and polarisation charge and heat go their own ways, each in proportion to its drive."""
LINK = Interface("i", ("Fe", "Cu"), RA=1e-14, K=1e9)

EXPERIMENTS = {
    "resistance": Experiment("resistance", ("a", "b"), ("a", "b"), {"P": {}}),
    "charge": Experiment("charge", ("a", "b"), None, {"P": {}}, through=Through("charge", ("F", "N"))),
    "heat": Experiment("heat", None, None, {"P": {}}, heat={"a": 1.0}, through=Through("heat", ("F", "N"))),
}


def prism(name: str, material: str, outline: np.ndarray, z: tuple[float, float]) -> Solid:
    x, y = ((float(line.min()), float(line.max())) for line in outline.T)
    return Solid(name, material, None, (x, y, z), outline=tuple((float(x), float(y)) for x, y in outline))


def device(
    solids: tuple[Solid, ...],
    faces: tuple[str, str],
    interfaces: tuple[Interface, ...],
    names: Iterable[str] = EXPERIMENTS,
    sinks: tuple[HeatSink, ...] = (),
) -> Device:
    return Device(
        name="prisms",
        solids=solids,
        materials={"Fe": IRON, "Cu": COPPER},
        contacts=(Contact("a", "F", faces[0]), Contact("b", "N", faces[1])),
        heat_sinks=sinks,
        interfaces=interfaces,
        experiments={name: EXPERIMENTS[name] for name in names},
    )


def signals(device: Device) -> dict[str, float]:
    found = measure(build(device, order=2, cells=400))
    return {name: found[name, "R1.P"] for name in EXPERIMENTS}


def area(outline: np.ndarray) -> float:
    x, y = outline.T
    return abs(float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))) / 2


@pytest.mark.parametrize("interfaces", [(), (LINK,)], ids=["transparent", "interface"])
def test_a_round_pillar_is_a_series_of_its_layers_and_of_the_interface_between_them(interfaces):
    """A uniform current is exact in cut cells, so that 1D formulas hold to the solver's tolerance."""
    angles = 2 * np.pi * (np.arange(24) + 0.5) / 24
    outline = 25e-9 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    solids = prism("F", "Fe", outline, (0.0, 1e-7)), prism("N", "Cu", outline, (1e-7, 3e-7))
    found = signals(device(solids, ("z-", "z+"), interfaces))
    A = area(outline)
    RA, per_K = (1e-14, 1e-9) if interfaces else (0.0, 0.0)
    assert found["resistance"] == pytest.approx((1e-7 / 4e6 + 2e-7 / 4e7 + RA) / A, rel=1e-8)
    assert found["heat"] == pytest.approx(A / (1e-7 / 30 + 2e-7 / 300 + per_K), rel=1e-8)
    assert found["charge"] == pytest.approx(1.0, rel=1e-8)


def test_a_slanted_interface_has_the_conductance_of_its_area():
    """What is left of the resistance is that of the metals, in which the current bends a little: 1 % of theirs."""
    one = 1e-9 * np.array([[0, 0], [100, 0], [130, 50], [0, 50]])
    other = 1e-9 * np.array([[100, 0], [300, 0], [300, 50], [130, 50]])
    solids = prism("F", "Fe", one, (0.0, 5e-8)), prism("N", "Cu", other, (0.0, 5e-8))
    thick = Interface("i", ("Fe", "Cu"), RA=1e-12, K=1e7)
    found = signals(device(solids, ("x-", "x+"), (thick,)))
    face, section = math.hypot(30e-9, 50e-9) * 5e-8, 5e-8 * 5e-8
    metals = (115e-9 / 4e6 + 185e-9 / 4e7) / section
    assert found["resistance"] - 1e-12 / face == pytest.approx(metals, rel=1e-2)
    assert 1 / found["heat"] - 1e-7 / face == pytest.approx((115e-9 / 30 + 185e-9 / 300) / section, rel=1e-2)
    assert found["charge"] == pytest.approx(1.0, rel=1e-8)


@pytest.mark.parametrize("axis", [0, 2], ids=["x", "z"])
def test_fields_have_both_sides_of_an_interface(axis):
    """The interface's plane is there twice; a current I makes the jump I RA/A, a heat flow Q the jump Q/(K A).

    Both hold to the solver's tolerance. Currents and heat go in boxes of 20 nm x 30 nm.
    """

    def box(low: float, high: float) -> tuple[tuple[float, float], ...]:
        sides = [(0.0, 2e-8), (0.0, 3e-8)]
        sides.insert(axis, (low, high))
        return tuple(sides)

    solids = tuple(
        Solid(name, material, None, box(*ends))  # type: ignore[arg-type]
        for name, material, ends in (("F", "Fe", (0.0, 1e-7)), ("N", "Cu", (1e-7, 3e-7)))
    )
    made = build(device(solids, ("xyz"[axis] + "-", "xyz"[axis] + "+"), (LINK,)), order=2, cells=60)  # type: ignore[arg-type]
    for experiment, part, size in (("resistance", "V_up", 1e-3), ("heat", "T", 1.0)):
        found = fields(made, experiment, "P", size)
        along = (found.x, found.y, found.z)[axis]
        low, high = np.flatnonzero(np.abs(along - 1e-7) < 1e-15)
        assert high == low + 1 and np.all(np.diff(np.delete(along, high)) > 0)
        jump = np.take(getattr(found, part), low, axis=axis) - np.take(getattr(found, part), high, axis=axis)
        expected = 1e-3 * 1e-14 / 6e-16 if part == "V_up" else 1e-9 / (1e-7 / 30 + 2e-7 / 300 + 1e-9)
        assert jump == pytest.approx(np.full_like(jump, expected), rel=1e-7)


# ------------------------------------------------------------------------------------------ solids of one material

SLANTED = 1e-9 * np.array([[70, 0], [30, 100]])
TURN = np.linspace(-math.pi / 3, math.pi / 3, 13)
ROUND = 1e-9 * np.stack([40 + 40 * np.cos(TURN), 50 + 50 * np.sin(TURN) / math.sin(math.pi / 3)], axis=1)


def halves(border: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A square of 100 nm with one corner cut off, parted along a border that leads from y = 0 to 100 nm."""
    right = 1e-9 * np.array([[100, 0], [100, 80], [80, 100]])
    left = 1e-9 * np.array([[0, 0], [0, 100]])
    return np.concatenate([left[:1], border, left[1:]]), np.concatenate([border[:1], right, border[:0:-1]])


def length(line: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())


def placed(made: Device, cells: int, order: int) -> Placement:
    return place(made, choose(made.features, order, cells))


def link_areas(placement: Placement) -> np.ndarray:
    """The area of the links of each column [m^2]; a link has its area twice."""
    assert placement.split is not None
    links = [part.weights.sum(axis=0) / 2 for part in placement.split.segments if part.link]
    return np.asarray(sum(links)).ravel()[len(placement.constitution.domains) :]


GRIDS = pytest.mark.parametrize(("cells", "order"), [(150, 1), (300, 3), (1500, 2)])


def side_by_side(border: np.ndarray, second: str = "Cu") -> Device:
    """Both halves, an interface between them, and a contact on either end."""
    F, N = (prism(name, "Cu", outline, (0.0, 2e-8)) for name, outline in zip("FN", halves(border), strict=True))
    made = device((F, N), ("x-", "x+"), (Interface("i", ("F", "N"), RA=1e-14, K=1e9),))
    silver = dataclasses.replace(COPPER, name="Ag")
    solids = F, dataclasses.replace(N, material=second)
    return dataclasses.replace(made, solids=solids, materials={**made.materials, "Ag": silver})


@GRIDS
@pytest.mark.parametrize("border", [SLANTED, ROUND], ids=["slanted", "round"])
def test_an_interface_between_solids_of_one_material_has_the_area_of_their_border(border, cells, order):
    """Polygons are rounded to 1e-6 nm, a part of 1e-6 of their shortest edges, of which there are a few in each."""
    (found,) = link_areas(placed(side_by_side(border), cells, order))
    assert found == pytest.approx(length(border) * 2e-8, rel=3e-6, abs=0)


@pytest.mark.parametrize("border", [SLANTED, ROUND], ids=["slanted", "round"])
def test_signals_across_an_interface_do_not_know_names_of_materials(border):
    """On the same lines both devices are the same equations, solved to 1e-9."""
    one, two = side_by_side(border), side_by_side(border, "Ag")
    lines = choose(two.features, 2, 300).lines
    found = [measure(on_grid(made, made.features.grid(lines, 2))) for made in (one, two)]
    for name in EXPERIMENTS:
        assert found[0][name, "R1.P"] == pytest.approx(found[1][name, "R1.P"], rel=1e-7)
    assert found[0]["charge", "R1.P"] == pytest.approx(1.0, rel=1e-8)


def test_what_passes_a_slanted_border_without_an_interface_is_all_of_the_current():
    found = signals(dataclasses.replace(side_by_side(SLANTED), interfaces=()))
    assert found["charge"] == pytest.approx(1.0, rel=1e-8)


def stacked(parts: tuple[tuple[str, np.ndarray], ...]) -> Device:
    """Copper on a strip of iron of half the width: its bottom is free beside that, and gives heat to the bath."""
    strip = prism("F", "Fe", 1e-9 * np.array([[0, 0], [45, 0], [45, 100], [0, 100]]), (0.0, 2e-8))
    copper = (prism(name, "Cu", outline, (2e-8, 4e-8)) for name, outline in parts)
    sinks = tuple(HeatSink(name, "z-", h=1e8, name=f"under {name}") for name, _ in parts)
    return device((strip, *copper), ("z-", "z+"), (LINK,), ["resistance"], sinks)


@GRIDS
@pytest.mark.parametrize("border", [SLANTED, ROUND], ids=["slanted", "round"])
def test_areas_and_volumes_stay_when_a_solid_is_cut_in_two(border, cells, order):
    """Of the interface below, of what is free of either bottom, and of either half, to what polygons are rounded to.

    One cell may be shared by both halves and conduct as a whole.
    """
    left, right = halves(border)
    octagon = 1e-9 * np.array([[0, 0], [100, 0], [100, 80], [80, 100], [0, 100]])
    on_strip = 1e-9 * np.array([[0, 0], [45, 0], [45, 100], [0, 100]])
    for parts in ((("N", octagon),), (("W", left), ("N", right))):
        found = placed(stacked(parts), cells, order)
        volumes = np.asarray(found.volumes.sum(axis=0)).ravel()
        areas = link_areas(found)
        assert areas[0] == pytest.approx(100 * 45e-18, rel=3e-6, abs=0)
        for number, (name, outline) in enumerate(parts):
            covered = sum(area(part) for part in polygons.boolean([outline], [on_strip], "and"))
            assert volumes[1 + number] == pytest.approx(area(outline) * 2e-8, rel=3e-6, abs=0)
            assert found.areas(f"under {name}").sum() == pytest.approx(area(outline) - covered, rel=3e-6, abs=0)
            assert areas[found.constitution.column_of_face(f"under {name}") - len(found.constitution.domains)] == (
                pytest.approx(area(outline) - covered, rel=3e-6, abs=0)
            )


@GRIDS
@pytest.mark.parametrize("angle", [1, 15, 30])
def test_a_film_over_a_turned_strip_touches_its_top_and_its_sides(angle, cells, order):
    """A film of 40 nm x 30 nm in three pieces, the middle one raised by the strip under it."""
    slope, half, end = math.tan(math.radians(angle)), 30e-9 / math.cos(math.radians(angle)), 20e-9

    def across(low: tuple[float, float], high: tuple[float, float]) -> np.ndarray:
        return np.array([(low[0], -end), (high[0], -end), (high[1], end), (low[1], end)])

    lower, upper = (tuple(sign * half + slope * y for y in (-end, end)) for sign in (-1, 1))
    outlines = across((-1e-7, -1e-7), lower), across(lower, upper), across(upper, (1e-7, 1e-7))
    strip = prism("F", "Fe", outlines[1], (0.0, 1.5e-8))
    heights = (0.0, 3e-8), (1.5e-8, 4.5e-8), (0.0, 3e-8)
    film = (prism(name, "Cu", *piece) for name, *piece in zip(("M", "L", "N"), outlines, heights, strict=True))
    made = device((strip, *film), ("z-", "x+"), (LINK,), ["resistance"])
    found = placed(made, cells, order)
    sides = 2 * 2 * end / math.cos(math.radians(angle)) * 1.5e-8
    assert link_areas(found) == pytest.approx([2 * half * 2 * end + sides], rel=3e-6, abs=0)
    volumes = np.asarray(found.volumes.sum(axis=0)).ravel()
    exact = [area(np.array(solid.outline)) * (solid.box[2][1] - solid.box[2][0]) for solid in made.solids]
    assert volumes == pytest.approx(exact, rel=3e-6, abs=0)
