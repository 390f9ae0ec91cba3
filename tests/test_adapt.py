"""Grids that the signals choose: the indicator on known fields, where lines go, and what it is good for."""

from __future__ import annotations

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from helpers import devices
from helpers.problems import PATCHES, Block, apply, patchwork
from thermospin import model, operators
from thermospin.accuracy import adapt, computing, error_bars, surplus
from thermospin.base import quadrature
from thermospin.base.errors import InputError, NotConverged
from thermospin.base.lines import graded_lines, is_mirrored
from thermospin.base.names import SignalName
from thermospin.device import reader
from thermospin.device.leads import short_leads
from thermospin.geometry import grid_rule
from thermospin.operators import Discretisation
from thermospin.signals import evaluate

NM = 1e-9


# ------------------------------------------------------------------------------------------ the indicator


def bubbles(block: Block, axis: int) -> np.ndarray:
    """For each cell of an axis the integral of the highest Legendre polynomial, a value for each node of the axis."""
    order, widths = block.grid.order, np.diff(block.grid.lines[axis])
    nodes = quadrature.gauss_lobatto(order)[0]
    bubble = np.polynomial.Legendre.basis(order - 1).integ(lbnd=-1)(nodes)
    values = np.zeros(order * len(widths) + 1)
    for cell in range(len(widths)):
        values[order * cell : order * (cell + 1) + 1] += (cell + 1) * bubble
    return values


def spread(disc: Discretisation, shape: tuple[int, ...], axis: int, values: np.ndarray) -> jnp.ndarray:
    """A temperature that depends on one coordinate alone (unknowns, 1), without potentials."""
    whole = np.broadcast_to(np.expand_dims(values, [a for a in range(3) if a != axis]), shape).ravel()
    return jnp.asarray(np.concatenate([np.zeros(2 * disc.nodes_V), whole[disc.index_T]]))[:, None]


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_field_of_highest_polynomials_has_all_its_power_in_the_surplus(order, axis):
    """Its gradient is P_(p-1) in each cell, the quadrature of the square of which is exact; across there is none."""
    block = patchwork(order)
    field = spread(block.disc, block.shape, axis, bubbles(block, axis))
    found = operators.surplus_power(block.disc, block.law, field, field)
    power = float((field.T @ apply(block.disc, block.law, field))[0, 0])
    assert power > 0
    for other in range(3):
        assert float(found[other].sum()) == pytest.approx(power if other == axis else 0.0, rel=1e-12, abs=1e-12 * power)


@pytest.mark.parametrize("order", [2, 3])
def test_a_field_of_lower_degree_has_no_surplus(order):
    block = patchwork(order)
    along = block.grid.nodes[0] / block.grid.nodes[0][-1]
    field = spread(block.disc, block.shape, 0, along ** (order - 1))
    found = operators.surplus_power(block.disc, block.law, field, field)[0]
    power = float((field.T @ apply(block.disc, block.law, field))[0, 0])
    assert np.abs(found).sum() < 1e-12 * power
    control = spread(block.disc, block.shape, 0, along**order)
    assert np.abs(operators.surplus_power(block.disc, block.law, control, control)[0]).sum() > 1e-4 * power


def test_seebeck_and_spin_enter_the_surplus_as_they_enter_the_operator():
    block = patchwork(2)
    n = block.disc.nodes_V
    heat = spread(block.disc, block.shape, 0, bubbles(block, 0))
    up = jnp.zeros_like(heat).at[:n, 0].set(heat[2 * n : 3 * n, 0])
    found = float(operators.surplus_power(block.disc, block.law, up, heat)[0].sum())
    assert found == pytest.approx(float((up.T @ apply(block.disc, block.law, heat))[0, 0]), rel=1e-12)
    assert found != 0 and PATCHES[0].S != 0


# ------------------------------------------------------------------------------------------ lines


def test_spans_ask_for_small_cells_where_they_lie():
    lines = graded_lines(np.array([0.0, 1000.0]), np.array([2.0]), 0.5, (np.array([400.0]), np.array([420.0])))
    widths, middles = np.diff(lines), (lines[1:] + lines[:-1]) / 2
    assert np.abs(middles[np.argmin(widths)] - 410) < 15
    assert widths.min() < 2.5 and widths[0] > 50 and widths[-1] > 50
    assert {0.0, 1000.0} <= set(lines)


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("cells", [200, 2000])
def test_lines_go_where_the_indicator_is_and_stay_on_faces(order, cells):
    device = devices.lateral("thermal")
    grid = grid_rule.choose(device.features, order, 150)
    found = [np.full(len(lines) - 1, 1e-6) for lines in grid.lines]
    place = int(np.argmax(np.diff(grid.lines[0])))
    found[0][place] = 1.0
    new = adapt.redistributed(device.features, grid, found, cells)
    assert 0.4 * cells < new.cells <= cells
    for axis in range(3):
        assert np.isin(device.features.faces(axis), new.lines[axis]).all()
        widths = np.diff(new.lines[axis])
        faces = device.features.faces(axis)
        for low, high in itertools.pairwise(faces):
            inside = widths[(new.lines[axis][:-1] >= low) & (new.lines[axis][1:] <= high)]
            ratio = inside[1:] / inside[:-1]
            assert np.all(np.maximum(ratio, 1 / ratio) < 1.5 * (1 + adapt.GROWTH[order]))
    widths, middles = np.diff(new.lines[0]), (new.lines[0][1:] + new.lines[0][:-1]) / 2
    spiked = (middles > grid.lines[0][place]) & (middles < grid.lines[0][place + 1])
    assert np.sum(spiked) >= 4 and np.sum(~spiked) < 3 * len(grid.lines[0])


def test_what_no_signal_needs_is_still_refined_in_the_end():
    device = devices.lateral("thermal")
    grid = grid_rule.choose(device.features, 2, 150)
    found = [np.zeros(len(lines) - 1) for lines in grid.lines]
    found[0][0] = 1.0
    new = adapt.redistributed(device.features, grid, found, 20_000)
    assert 2_000 < new.cells <= 20_000, "cells shrink by a bounded factor at a time"
    assert len(new.lines[1]) > len(grid.lines[1])


def test_grids_are_their_own_mirror_images_where_the_device_and_the_grid_before_are():
    """Whatever the indicators say of one side; elsewhere they are followed."""
    features = devices.lateral("thermal").features
    grid = grid_rule.choose(features, 2, 150)
    sides = [np.linspace(0, 1, len(line) - 1) ** 3 + 1e-6 for line in grid.lines]
    new = adapt.redistributed(features, grid, sides, 2000)
    assert [features.is_mirrored(axis) for axis in range(3)] == [False, True, False]
    assert [is_mirrored(line) for line in new.lines] == [False, True, False]
    assert len(new.lines[1]) > len(grid.lines[1])


def test_what_is_unresolved_bounds_errors_and_falls_with_the_cells():
    """Of a layered bar, whose signals have a closed form; from fields that are known two more digits are enough."""
    stack = devices.bar()
    exact = devices.bar_signals(stack)
    (name,) = stack.experiments
    signals = [SignalName(name, n, part) for n in (1, 2) for part in ("baseline", "spin")]
    before = np.inf
    for cells in (12, 24):
        made = model.on_grid(stack, devices.bar_grid(stack, (cells, 2, 2), 2))
        measured, fields = evaluate.solved(made)
        sizes = surplus.unresolved(made, signals)
        errors = [abs(measured.values[each] - exact[f"R{each.harmonic}"][each.part]) for each in signals]
        assert np.all(sizes > errors) and np.all(sizes < before) and min(errors) > 0
        before = sizes
        known = surplus.solved_contributions(made, signals, fields=fields)
        np.testing.assert_allclose([surplus.total(known[signal]) for signal in signals], sizes, rtol=0.04)


# ------------------------------------------------------------------------------------------ the loop


@pytest.fixture(scope="module")
def stack():
    """The layered bar, whose signals depend on x alone and are known in closed form."""
    return devices.bar()


@pytest.fixture(scope="module")
def adapted(stack):
    return adapt.adapt(stack, cells=40, order=2)


def test_a_grid_for_a_layered_bar_has_its_lines_along_it(stack, adapted):
    x, y, z = adapted.model.grid.lines
    assert adapted.model.cells <= 40
    assert len(y) <= 3 and len(z) <= 3 and len(x) > 3 * max(len(y), len(z))


def test_its_signals_are_better_than_on_the_grid_of_the_rule_with_more_cells(stack, adapted):
    exact = devices.bar_signals(stack)
    (name,) = stack.experiments
    rule = model.build(stack, cells=120, order=2)
    plain = evaluate.measure(rule)
    assert rule.cells > 2 * adapted.model.cells
    for harmonic, part in (("R1", "spin"), ("R2", "spin"), ("R2", "baseline")):
        value = exact[harmonic][part]
        mine, theirs = (abs(each[name, f"{harmonic}.{part}"] - value) for each in (adapted.signals, plain))
        assert mine < theirs, (harmonic, part)
        assert mine <= adapted.signals.error(name, f"{harmonic}.{part}")


def test_a_tolerance_is_met_and_true(stack):
    result = adapt.adapt(stack, tolerance=0.01, order=2)
    exact = devices.bar_signals(stack)
    (name,) = stack.experiments
    assert result.met and not result.rests
    for harmonic, parts in exact.items():
        for part in ("baseline", "spin"):
            found, value = result.signals[name, f"{harmonic}.{part}"], parts[part]
            assert abs(found - value) <= 0.01 * abs(value)
            assert result.signals.error(name, f"{harmonic}.{part}") <= 0.01 * abs(found)
    assert [each.cells for each in result.path] == sorted(each.cells for each in result.path)
    assert result.path[-1].worst is not None and result.path[-1].worst[1] <= 0.01
    assert "of its value" in str(result.path[-1]) and len(result.words()) == len(result.path)
    assert [each["cells"] for each in result.to_json()["path"]] == [each.cells for each in result.path]


def test_a_tolerance_out_of_reach_is_said_to_be_missed(stack, monkeypatch):
    monkeypatch.setattr(adapt, "MOST_UNKNOWNS", 1000)
    result = adapt.adapt(stack, tolerance=1e-6, order=2)
    assert not result.met and result.model.unknowns < 1000
    assert result.path[-1].worst[1] > 1e-6


def test_signals_refine_where_bars_are_wide_and_stop_at_the_unknowns_allowed(stack, monkeypatch):
    """A grid of the rule with bars of up to a thousandth, as if they were to be a tenth of that."""
    rule = grid_rule.choose(stack.features, 3, 20)
    monkeypatch.setattr(computing, "choose", lambda features, order: rule)
    plain = computing.compute(stack)
    assert plain.adapted is None and plain.signals.cells == rule.cells
    of_leads = short_leads(stack)
    assert list(plain.notes) == of_leads  # nothing of the grid
    worst = max(plain.signals.errors.grid[name] / abs(value) for name, value in plain.signals.values.items())
    assert worst > 1e-4
    monkeypatch.setattr(computing, "TOLERANCE", worst / 10)
    refined = computing.compute(stack)
    assert len(refined.adapted.path) == 2 and refined.met
    assert list(refined.notes) == [*refined.adapted.words(), *of_leads]
    exact = devices.bar_signals(stack)
    (name,) = stack.experiments
    for harmonic, parts in exact.items():
        for part in ("baseline", "spin"):
            signal = name, f"{harmonic}.{part}"
            assert refined.signals.error(*signal) < max(plain.signals.error(*signal), worst / 10 * abs(parts[part]))
            assert abs(refined.signals[signal] - parts[part]) <= refined.signals.error(*signal)
    monkeypatch.setattr(computing, "MOST_UNKNOWNS", int(1.4 * plain.signals.unknowns))
    stopped = computing.compute(stack)
    assert len(stopped.adapted.path) == 1 and stopped.met, "nobody has asked for a tolerance"
    assert f"a finer one would exceed {computing.MOST_UNKNOWNS:,} unknowns" in stopped.adapted.missed
    assert stopped.adapted.missed in stopped.notes


def test_a_small_rest_with_a_wide_bar_is_told_on_one_grid_too(stack, monkeypatch):
    found = adapt.adapt(stack, tolerance=0.5, order=2)
    assert len(found.path) == 1 and not found.missed
    (name,) = stack.experiments
    bar = found.signals.error(name, "R2.spin") / abs(found.signals[name, "R2.spin"])
    monkeypatch.setattr(computing, "adapt", lambda *_, **__: dataclasses.replace(found, rests={f"{name} R2.spin": 3.0}))
    for tolerance, told in ((1.01 * bar, False), (bar / 1.01, True)):
        monkeypatch.setattr(computing, "TOLERANCE", tolerance)
        assert any("R2.spin counts less: " in line for line in computing.compute(stack).notes) is told


def test_what_the_solver_leaves_asks_for_no_finer_grid(stack, monkeypatch):
    solved = error_bars.solved_with_errors

    def sloppy(*arguments, **more):
        result = solved(*arguments, **more)
        bars = {name: 0.5 * abs(value) for name, value in result.signals.values.items()}
        errors = dataclasses.replace(result.signals.errors, solver=bars)
        return result._replace(signals=dataclasses.replace(result.signals, errors=errors))

    monkeypatch.setattr(error_bars, "solved_with_errors", sloppy)
    found = adapt.adapt(stack, tolerance=0.4, order=2)
    assert len(found.path) == 1 and not found.met
    assert "over 40 %: 50 % is the bar of the solver, which no grid lowers" in found.words()[-1]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NotConverged("no convergence in 400 iterations"), "a finer grid failed: no convergence in 400 iterations"),
        (InputError("a gap is closed"), "a finer grid failed: a gap is closed"),
        (KeyboardInterrupt(), "a finer grid was interrupted; these are the numbers of the one before"),
    ],
)
def test_signals_are_not_lost_where_a_finer_grid_fails(stack, monkeypatch, error, words):
    solve, calls = error_bars.solved_with_errors, []

    def fails_later(*args, **kwargs):
        calls.append(args)
        if len(calls) > 1:
            raise error
        return solve(*args, **kwargs)

    monkeypatch.setattr(error_bars, "solved_with_errors", fails_later)
    monkeypatch.setattr(computing, "choose", lambda features, order: grid_rule.choose(features, 3, 12))
    monkeypatch.setattr(computing, "TOLERANCE", 1e-9)
    before: list[computing.Computed] = []
    result = computing.compute(stack, between=before.append)
    (kept,) = before
    assert "a finer grid was interrupted; these are the numbers of the one before" in kept.notes
    assert kept.signals is result.signals
    assert len(calls) == 2 and result.met and len(result.adapted.path) == 1
    assert words in result.notes and result.signals.errors is not None
    assert result.to_json()["stopped"] == (str(error) or "interrupted")
    with pytest.raises(type(error)):
        computing.compute(stack)  # of the first grid there is nothing else to give


def test_a_signal_that_is_not_there_takes_no_lines(stack):
    """Without polarisation and S_s there is no spin signal: what is left of it is rounding."""
    plain = devices.with_materials(stack, Fe={"P": 0.0, "S_s": 0.0}, Ni={"P": 0.0, "S_s": 0.0})
    result = adapt.adapt(plain, cells=40, order=2)
    (name,) = plain.experiments
    assert set(result.rests) == {f"{name} R1.spin", f"{name} R2.spin"}
    assert any("R1.spin does not count: it is zero" in line for line in result.words())


def test_states_without_an_antiparallel_one_are_served_each_by_itself(stack):
    (experiment,) = stack.experiments.values()
    other = dataclasses.replace(experiment, states={"up": {}, "down": {"F2": -1}})
    assert adapt.parts_of(other, 1) == ["R1.up", "R1.down"]
    assert adapt.parts_of(experiment, 2) == ["R1.baseline", "R1.spin", "R2.baseline", "R2.spin"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "give either cells or tolerance"),
        ({"cells": 100, "tolerance": 0.1}, "give either cells or tolerance"),
        ({"tolerance": 1.5}, "tolerance is 1.5; it is a part of the signals, between 0 and 1"),
        ({"cells": 100, "order": 4}, "order: got 4, expected a whole number from 1 to 3"),
        ({"cells": 2}, "a budget of 2 cells is too small: .* make 3 cells"),
        ({"tolerance": 0.1, "most": 0}, "most: got 0, expected a whole number of at least 1"),
        ({"tolerance": 0.1, "most": -5}, "most: got -5, expected a whole number of at least 1"),
        ({"tolerance": 0.1, "rest": -1.0}, "rest: got -1, expected a multiple of a signal, above 0"),
        ({"tolerance": 0.1, "rest": float("nan")}, "rest: got nan, expected a multiple of a signal, above 0"),
        ({"cells": 100, "wanted": []}, "wanted: got no signal of device"),
    ],
)
def test_what_makes_no_sense_is_refused(stack, arguments, text):
    with pytest.raises(ValueError, match=text):
        adapt.adapt(stack, **arguments)


def test_of_what_heat_drives_the_second_harmonic_is_no_aim(stack):
    """It is the Joule heat of thermoelectric currents, a rest that would take all lines."""
    (experiment,) = stack.experiments.values()
    warm = dataclasses.replace(experiment, current=None, heat={experiment.current[0]: 1.0}, states={"P": {}})
    device = dataclasses.replace(stack, experiments={"warm": dataclasses.replace(warm, name="warm")})
    result = adapt.adapt(device, cells=40, order=2)
    assert result.path[-1].worst is not None and result.path[-1].worst[0] == "warm R1.P"


STRIP = """
name = "strip"
length_unit = "nm"
[[solids]]
name = "wire"
material = "Cu"
polygon = [[0, 0], [20, 0], [400, 380], [380, 400], [0, 20]]
z = [0, 40]
[[solids]]
name = "film"
material = "Py"
magnet = "film"
polygon = [[0, 0], [20, 0], [400, 380], [380, 400], [0, 20]]
z = [40, 60]
[[contacts]]
name = "below"
solid = "wire"
face = "z-"
[[contacts]]
name = "above"
solid = "film"
face = "z+"
[experiments.through]
current = ["below", "above"]
voltage = ["below", "above"]
states = { P = {}, AP = { film = -1 } }
"""
FACE = '[[interfaces]]\nname = "i"\nbetween = ["Cu", "Py"]\nRA = "1 fohm m^2"\n'


@pytest.mark.parametrize("interface", ["", FACE], ids=["plain", "interface"])
def test_axes_come_in_order_where_all_cells_are_cut(interface):
    """A strip at 45 degrees, narrower than its cells: no cell is whole, and x and y have no segments of order p."""
    device = reader.read(STRIP + interface, "strip.toml")
    made = model.build(device, cells=60, order=1)
    assert made.grid.cut[made.grid.domain >= 0].all()
    assert [axis.direction for axis in made.disc.axes[:3]] == [0, 1, 2]
    if not interface:
        found = adapt.adapt(device, cells=60, order=1, wanted=["through R1.P"], harmonics=1)
        assert found.path[-1].worst[1] < 0.1
