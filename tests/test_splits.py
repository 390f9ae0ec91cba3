"""Doubled nodes in cells that edges of prisms cut: interfaces across round and slanted faces."""

from __future__ import annotations

import math

import numpy as np
import pytest

from thermospin.device.device import Device
from thermospin.device.interfaces import Interface
from thermospin.device.materials import Material
from thermospin.device.parts import Contact, Experiment, Solid, Through
from thermospin.model import build
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


def device(solids: tuple[Solid, Solid], faces: tuple[str, str], interfaces: tuple[Interface, ...]) -> Device:
    return Device(
        name="prisms",
        solids=solids,
        materials={"Fe": IRON, "Cu": COPPER},
        contacts=(Contact("a", "F", faces[0]), Contact("b", "N", faces[1])),
        interfaces=interfaces,
        experiments=EXPERIMENTS,
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
