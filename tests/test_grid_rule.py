"""The rule for grids: sizes at faces, the budget of cells, layers of spins at contacts, and heat that spreads."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from helpers import devices
from thermospin import model
from thermospin.accuracy import error_bars
from thermospin.geometry import grid_rule
from thermospin.geometry.grid_rule import Features
from thermospin.signals import evaluate

NM = 1e-9

WIRE = Features(
    boxes=(((0, 400 * NM), (0, 50 * NM), (0, 20 * NM)), ((150 * NM, 200 * NM), (0, 50 * NM), (20 * NM, 60 * NM))),
    domains=(0, 1),
    metals=(True, True),
    lengths=(300 * NM, 5 * NM),
)


def test_cells_are_smaller_at_the_edges_of_a_ferromagnet_but_not_at_the_sides_of_a_stack():
    """The post touches the wire of 20 nm: an eighth of that at its edges and plane, half where both end, along y."""
    plain = dataclasses.replace(WIRE, lengths=(300 * NM, 100 * NM))
    magnet = dataclasses.replace(plain, magnetic=frozenset({1}))
    for axis, at, size in ((0, 150, 2.5), (0, 200, 2.5), (1, 0, 10), (1, 50, 10), (2, 20, 2.5)):
        place = int(np.argmin(np.abs(WIRE.faces(axis) - at * NM)))
        assert magnet.sizes(axis)[place] == pytest.approx(size * NM)
        assert plain.sizes(axis)[place] == pytest.approx(10 * NM)
    stack = dataclasses.replace(magnet, boxes=(magnet.boxes[0], ((0, 400 * NM), (0, 50 * NM), (20 * NM, 60 * NM))))
    assert min(stack.sizes(2)) == pytest.approx(10 * NM)


def test_faces_of_a_device_are_those_of_its_boxes():
    np.testing.assert_allclose(WIRE.faces(0), np.array([0, 150, 200, 400]) * NM)
    np.testing.assert_allclose(WIRE.faces(2), np.array([0, 20, 60]) * NM)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_grid_stays_within_its_budget_and_uses_most_of_it(order):
    for budget in (300, 3000):
        grid = grid_rule.choose(WIRE, order, cells=budget)
        assert budget / 3 < grid.cells <= budget
        for axis in range(3):
            assert np.isin(WIRE.faces(axis), grid.lines[axis]).all()
        volume = np.einsum("i,j,k->ijk", *(np.diff(x) for x in grid.lines))
        assert volume[grid.domain == 1].sum() == pytest.approx(50 * 50 * 40 * NM**3, rel=1e-12)
        assert volume[grid.domain == 0].sum() == pytest.approx(400 * 50 * 20 * NM**3, rel=1e-12)


def test_a_higher_order_gets_fewer_cells_by_default():
    cells = [grid_rule.at_coarseness(WIRE, order, grid_rule.DEFAULT_COARSENESS[order]).cells for order in (1, 2, 3)]
    assert cells[0] > cells[1] > cells[2] > 4
    assert [grid_rule.choose(WIRE, order).cells for order in (1, 2)] == cells[:2]


def test_small_devices_have_a_least_number_of_cells_at_the_default_order():
    """As many as the rule makes below that number; a larger device, and a budget that is given, have their own."""
    few = grid_rule.at_coarseness(WIRE, 3, grid_rule.DEFAULT_COARSENESS[3]).cells
    least = grid_rule.FEWEST[3]
    assert few < least / 4 and least / 2 < grid_rule.choose(WIRE, 3).cells <= least
    assert grid_rule.choose(WIRE, 3, cells=few).cells <= few


def test_an_impossible_budget_is_refused_with_the_least_number_of_cells():
    with pytest.raises(ValueError, match="a budget of 3 cells is too small: .* make 4 cells"):
        grid_rule.choose(WIRE, 2, cells=3)
    assert grid_rule.choose(WIRE, 2, cells=4).cells == 4


# ------------------------------------------------------------------------------------------ contacts on magnets

BAR = """
name = "bar"
length_unit = "nm"
[materials.Fe]
sigma = 5e6
P = 0.5
S = 0
S_s = 0
kappa = 30
lambda_sf = "5 nm"
[[solids]]
name = "bar"
material = "Fe"
magnet = "bar"
box = { x = [0, 800], y = [0, 50], z = [0, 20] }
[[contacts]]
name = "left"
solid = "bar"
face = "x-"
[[contacts]]
name = "right"
solid = "bar"
face = "x+"
[experiments.along]
current = ["left", "right"]
voltage = ["left", "right"]
states = { P = {} }
"""


def test_the_layer_of_spins_where_a_current_enters_a_magnet_is_resolved():
    """Half of the current enters in each channel, which adds P^2 lambda/((1 - P^2) sigma A) to the resistance.

    From J_up - J_down = P J - (1 - P^2) (sigma/2) dV_s/dx, which is zero at the contact, and V_c + P V_s/2 linear in x;
    nothing happens where V_s = 0 is held. Cells of lambda/5, six times as wide at order 3, leave below 1 % of it; the
    cells of a bar without such lines are 20 lambda wide.
    """
    device = devices.read(BAR)
    grid = grid_rule.at_coarseness(device.features, 3, grid_rule.DEFAULT_COARSENESS[3])
    signals = error_bars.assess(made := model.on_grid(device, grid), evaluate.measure(made))
    area, P, sigma, lambda_sf = 50 * NM * 20 * NM, 0.5, 5e6, 5 * NM
    layer = P**2 * lambda_sf / ((1 - P**2) * sigma * area)
    assert signals["along", "R1.P"] - 800 * NM / (sigma * area) == pytest.approx(layer, rel=0.01)


def test_contacts_of_other_metals_or_without_a_current_ask_for_no_lines():
    read = BAR.replace('current = ["left", "right"]', 'power = { bar = "1 mW" }')
    paramagnet = BAR.replace("P = 0.5", "P = 0").replace('magnet = "bar"\n', "")
    assert devices.read(BAR).features.injecting == (pytest.approx({0.0: 1 * NM, 800e-9: 1 * NM}), {}, {})
    assert devices.read(read).features.injecting == devices.read(paramagnet).features.injecting == ({}, {}, {})


def test_cells_at_contacts_make_no_other_cells_larger():
    """They come on top of the default number, which the grid without them has; a budget has them within it."""
    features = devices.read(BAR).features
    plain = dataclasses.replace(features, injecting=({}, {}, {}))
    found, without = (grid_rule.choose(each, 3) for each in (features, plain))
    assert found.cells > without.cells > grid_rule.FEWEST[3] / 2 and len(found.lines[0]) > len(without.lines[0])
    assert np.array_equal(found.lines[1], without.lines[1]) and np.array_equal(found.lines[2], without.lines[2])
    assert np.diff(found.lines[0]).max() <= np.diff(without.lines[0]).max()
    assert grid_rule.choose(features, 3, cells=700).cells <= 700


# ------------------------------------------------------------------------------------------ metals on insulators

ON_OXIDE = Features(
    boxes=(((-500 * NM, 500 * NM), (0, 50 * NM), (-300 * NM, 0)), ((-40 * NM, 40 * NM), (0, 50 * NM), (0, 40 * NM))),
    domains=(0, 1),
    metals=(False, True),
    lengths=(np.inf, 300 * NM),
)


def below(coarseness: float, features: Features = ON_OXIDE) -> np.ndarray:
    """Depths of the lines in the oxide [nm], from its top."""
    line = grid_rule.at_coarseness(features, 3, coarseness).lines[2]
    return -line[line < 0][::-1] / NM


def test_the_first_cell_of_an_insulator_below_a_strip_is_a_quarter_of_its_width_by_default():
    assert ON_OXIDE.spreading == ([], [], [(0.0, -1, pytest.approx(50 * NM))]), "the shorter side of the strip"
    rounded = dataclasses.replace(ON_OXIDE, boxes=(ON_OXIDE.boxes[0], (*ON_OXIDE.boxes[1][:2], (1e-22, 40 * NM))))
    assert len(rounded.spreading[2]) == 1, "faces that differ by round-off"
    assert below(6) == pytest.approx([max(50 / 4, 300 / 8), 300]), "the second cell is seven times as thick"
    assert below(6, dataclasses.replace(ON_OXIDE, metals=(False, False))) == pytest.approx([300])
    assert below(grid_rule.COARSEST) == pytest.approx([300])


def test_thin_cells_of_an_insulator_are_not_divided(monkeypatch):
    """Those at a metal of 2 nm are as thin already as the line would make them."""
    thin = dataclasses.replace(ON_OXIDE, boxes=(ON_OXIDE.boxes[0], ((-40 * NM, 40 * NM), (0, 50 * NM), (0, 2 * NM))))
    found = below(6, thin)
    assert 50 / 4 < found[0] < 2 * 50 / 4
    monkeypatch.setattr(grid_rule, "SPREADING", np.inf)
    np.testing.assert_array_equal(below(6, thin), found)


def test_insulators_beside_or_on_top_of_a_metal_are_seen_too():
    cover = ((40 * NM, 200 * NM), (0, 50 * NM), (0, 40 * NM))
    beside = dataclasses.replace(
        ON_OXIDE,
        boxes=(*ON_OXIDE.boxes, cover),
        domains=(0, 1, 0),
        metals=(False, True, False),
        lengths=(np.inf, 300 * NM, np.inf),
    )
    assert beside.spreading[0] == [(40 * NM, 1, pytest.approx(40 * NM))]
    assert beside.spreading[2] == ON_OXIDE.spreading[2]
