"""Edges where fields are singular: exponents in closed form, and bars of a checkerboard, whose resistance is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from thermospin import model
from thermospin.accuracy import error_bars
from thermospin.device import reader, singularities
from thermospin.geometry import grid_rule
from thermospin.signals import evaluate

#: Two good and two poor squares, in a chain between electrodes that are as good as perfect.
CHECKERBOARD = """
name = "checkerboard"
length_unit = "nm"
[materials.good]
sigma = 1e6
kappa = 10
lambda_sf = "100 nm"
[materials.poor]
sigma = {poor}
kappa = 10
lambda_sf = "100 nm"
[materials.electrode]
sigma = 1e13
kappa = 10
lambda_sf = "100 nm"
[experiments.through]
current = ["left", "right"]
voltage = ["left", "right"]
states = {{ P = {{}} }}
[[contacts]]
name = "left"
solid = "L"
face = "x-"
[[contacts]]
name = "right"
solid = "R"
face = "x+"
""" + "".join(
    f'[[solids]]\nname = "{name}"\nmaterial = "{material}"\nbox = {{{{ x = {x}, y = {y}, z = [0, 10] }}}}\n'
    for name, material, x, y in (
        ("L", "electrode", [-60, -50], [-50, 50]),
        ("R", "electrode", [50, 60], [-50, 50]),
        ("SW", "good", [-50, 0], [-50, 0]),
        ("NE", "good", [0, 50], [0, 50]),
        ("NW", "poor", [-50, 0], [0, 50]),
        ("SE", "poor", [0, 50], [-50, 0]),
    )
)


@pytest.mark.parametrize("contrast", [1.0, 3.0, 10.0, 1e3, 1e9])
def test_the_exponent_of_a_checkerboard_is_that_of_kellogg(contrast):
    exact = 4 / math.pi * math.atan(contrast**-0.5)
    assert singularities.exponent([contrast, 1, contrast, 1]) == pytest.approx(exact, rel=1e-7)


def test_the_exponents_of_corners_of_one_material_are_the_geometric_ones():
    assert singularities.exponent([1, 1, 1, 1]) == pytest.approx(1.0)
    for turn in range(4):
        assert singularities.exponent(np.roll([2.0, 2.0, 2.0, 0.0], turn)) == pytest.approx(2 / 3)
        # Three quadrants insulated or perfect are the same corner, seen by the current or by the potential.
        assert singularities.exponent(np.roll([1e9, 1.0, 1.0, 1.0], turn)) == pytest.approx(2 / 3, rel=1e-6)


def test_two_materials_are_never_below_one_half():
    rng = np.random.default_rng(1)
    for a, b in 10 ** rng.uniform(-6, 6, (200, 2)):
        for around in ([a, a, b, b], [a, b, b, b], [a, a, b, 0.0], [a, b, 0.0, 0.0]):
            assert singularities.exponent(around) >= singularities.ORDINARY
    # Its limit: a good and a poor conductor that fill three quadrants, the good one two of them.
    assert singularities.exponent([1e9, 1e9, 1.0, 0.0]) == pytest.approx(1.0, rel=1e-4)
    assert singularities.exponent([1.0, 1.0, 1e9, 0.0]) == pytest.approx(0.5, rel=1e-4)


def test_an_exponent_solves_the_condition_that_it_comes_from():
    """Potential and flux around the edge come back to themselves: det(M - 1) = 0 for the product of four quadrants."""
    rng = np.random.default_rng(2)
    for around in 10 ** rng.uniform(-2, 2, (50, 4)):
        angle = math.pi / 2 * singularities.exponent(around)
        whole = np.eye(2)
        for s in around:
            c, d = math.cos(angle), math.sin(angle)
            whole = np.array([[c, d / s], [-s * d, c]]) @ whole
        # Entries are up to the largest ratio, 1e4, and so is the error of the determinant in units of rounding.
        assert abs(np.linalg.det(whole - np.eye(2))) < 1e-16 * 1e4 * np.abs(whole).max() ** 2 + 1e-9


@pytest.fixture(scope="module")
def checkerboard() -> model.Model:
    return model.build(reader.read(CHECKERBOARD.format(poor=1e4), "checkerboard.toml"), order=2)


def test_the_weak_edge_of_a_device_is_found_and_named(checkerboard):
    found = checkerboard.device.weakest_edges(checkerboard.grid)
    assert found.potentials.exponent == pytest.approx(4 / math.pi * math.atan(0.1))
    assert found.potentials.place[:2] == pytest.approx((0, 0), abs=1e-15)
    assert sorted(set(found.potentials.materials)) == ["good", "poor"]
    assert found.heat == singularities.Edge(), "kappa is the same everywhere"
    assert found.exponent(1) == found.exponent(2) == found.potentials.exponent
    (line,) = found.words()
    assert "r^0.13" in line and "(0, 0, " in line
    shipped = reader.load("slachter2010")
    assert shipped.weakest_edges(grid_rule.choose(shipped.features, 1)).words() == []
    assert shipped.features.weak == shipped.features.injecting == ({}, {}, {})


def test_the_bar_of_a_checkerboard_covers_its_resistance(checkerboard):
    """R = 1/(sqrt(s_1 s_2) thickness) exactly (Keller 1964, Dykhne 1970); the electrodes are 1e9 times the poor one."""
    signals = error_bars.assess(checkerboard, evaluate.measure(checkerboard))
    exact = 1 / (math.sqrt(1e6 * 1e4) * 10e-9)
    error = abs(signals["through", "R1.P"] - exact)
    assert error > 0.1 * exact, "the grid is far from it, as it must be with r^0.13"
    assert error <= signals.error("through", "R1.P") < 1.5 * exact
