"""Error bars: sequences with a known limit, and bars of materials whose signals are known in closed form."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from helpers import devices
from thermospin import model
from thermospin.accuracy import error_bars
from thermospin.accuracy.error_bars import estimate
from thermospin.base.errors import InputError
from thermospin.base.names import SignalName
from thermospin.device import singularities
from thermospin.device.device import Device
from thermospin.device.interfaces import Interface
from thermospin.device.materials import Material
from thermospin.device.parts import Contact, Experiment, Solid
from thermospin.signals import evaluate
from thermospin.signals.results import Signals, load_signals


def at_orders(limit: float, error: float, exponent: float, orders: int = 3) -> list[float]:
    """Values with errors ~ p^-exponent."""
    return [limit + error * p**-exponent for p in range(1, orders + 1)]


# ------------------------------------------------------------------------------------------ sequences


@pytest.mark.parametrize("exponent", [2.0, 8 / 3, 4.0, 6.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_algebraic_sequence_is_covered(exponent, sign):
    """From p^-2, the slowest that an edge of two materials allows, to sequences that need no extrapolation."""
    values = at_orders(2.0, 0.3 * sign, exponent)
    for order, widest in ((2, 50), (3, 20)):
        found = estimate(values[:order], order)
        left = abs(found.value - 2.0)
        assert left <= found.error <= widest * abs(values[order - 1] - 2.0), "a bar that is always large says nothing"


@pytest.mark.parametrize("exponent", [2.0, 8 / 3])
def test_a_sequence_of_edges_is_extrapolated(exponent):
    """The estimate is nearer than the last value by a factor of three, and its bar narrower than that one's error."""
    values = at_orders(2.0, 0.3, exponent)
    found = estimate(values, 3)
    assert abs(found.value - 2.0) < abs(values[-1] - 2.0) / 3
    assert found.error < abs(values[-1] - 2.0) and not found.unsafe


def test_what_does_not_settle_is_not_extrapolated():
    for values, reason in (
        ([1.0, 1.1, 1.21], "the orders do not settle"),
        ([1.0, 1.1, 1.02], "the orders do not settle"),
        ([1.0, 1.1], "two orders only"),
    ):
        found = estimate(values, len(values))
        assert found.value == values[-1] and found.unsafe == reason and found.error > 0


def test_differences_of_rounding_are_no_sequence():
    """Straight fields are exact at every order; the ratio of what rounding leaves may be anything."""
    for values in (
        [2.0, 2.0, 2.0 * (1 + 4e-16)],
        [2.0, 2.0 * (1 - 2e-16), 2.0 * (1 + 4e-15)],
        [-2.0, -2.0 * (1 + 4e-16)],
    ):
        found = estimate(values, len(values))
        assert found.value == values[-1] and 0 < found.error < 1e-10 and not found.unsafe
    assert estimate([2.0, 2.0 + 1e-10, 2.0 + 1e-9], 3).error > 1e-9


def test_weak_edges_are_not_extrapolated_and_have_wider_bars():
    values = at_orders(2.0, 0.3, 8 / 3)
    ordinary, weak = estimate(values, 3), estimate(values, 3, 0.2)
    assert weak.value == values[-1] and weak.unsafe == "weak edges" and weak.error > 4 * ordinary.error


def test_layers_converge_exponentially_and_need_no_extrapolation():
    """Of an error c q^p the next difference is q times the last, and |r| of the last covers all that follow q < 1/2."""
    values = [2.0 + 0.3 * 0.2**p for p in (1, 2, 3)]
    found = estimate(values, 3, singularities.SMOOTH)
    assert found.value == values[-1] and not found.unsafe
    assert abs(values[-1] - 2.0) <= 1.3 * found.error < 2 * abs(values[-1] - 2.0)


def test_bars_grow_where_differences_do_not_fall():
    """A signal that the first order does not see, and the third half: the rest may be as large as all of it."""
    bars = [estimate([1.0, 1.1, 1.1 + r * 0.1], 3).error for r in (0.3, 0.8, 1.2, 1.5)]
    assert bars == sorted(bars)
    assert bars[3] == pytest.approx(3 * 1.5**2 * 0.15)
    assert estimate([0.05, 0.2, 0.4], 3).error > 0.6
    assert estimate([0.05, 0.2], 2).error > 0.3
    assert estimate([0.05, 0.1, 1.0], 3).error == 5.0, "but not without bound"


def test_a_sequence_that_turns_is_not_taken_for_converged():
    """The last difference is zero by accident, and a part of the one before is what is said to be left."""
    assert estimate([1.0, 2.0, 2.0], 3).error == pytest.approx(0.02)
    assert estimate([1.0, 2.0, 2.0], 3, singularities.SMOOTH).error == pytest.approx(0.0025)
    assert estimate([0.0, 0.0, 0.0], 3) == error_bars.Estimate(0.0, 0.0)
    assert estimate([1.0, 1.0], 2).error == estimate([1.0, 1.0, 1.0], 3).error == 0.0
    assert 5.5 >= estimate([1.0, 1.0, 1.1], 3).error > 0.5, "the first two orders see nothing of what the third sees"


def test_the_bar_of_first_order_reaches_past_the_second():
    second = estimate([1.0, 1.2], 2)
    first = estimate([1.0, 1.2], 1)
    assert first.value == 1.0 and first.error == pytest.approx(0.2 + second.error)


def test_estimates_are_continuous_so_that_two_states_differ_by_their_spin_part():
    """Two sequences that differ by a 1e-6th have estimates that do, whatever the ratio of the differences."""
    for ratio in np.linspace(-0.55, 0.95, 301):
        one = [1.0, 1.1, 1.1 + 0.1 * ratio]
        other = [value + 1e-6 * step for value, step in zip(one, (0.0, 0.3, 0.5), strict=True)]
        found, value = estimate(one, 3), estimate(other, 3).value
        assert abs(value - found.value) < 3e-6 and abs(found.value - one[-1]) >= 0.3 * abs(one[-1] - one[-2]) * 0.999


def test_of_spin_parts_less_is_to_come():
    """By hand: of 1, 2, 2.2 another 0.65 of the last difference, half of it of a spin part; 0.3 where it turned."""
    assert estimate([1.0, 2.0, 2.2], 3).value == pytest.approx(2.2 + 0.65 * 0.2)
    assert estimate([1.0, 2.0, 2.2], 3, spin=True).value == pytest.approx(2.2 + 0.5 * 0.2)
    assert estimate([1.0, 2.0, 1.9], 3).value == estimate([1.0, 2.0, 1.9], 3, spin=True).value
    assert estimate([1.0, 2.0, 1.9], 3).value == pytest.approx(1.9 - 0.3 * 0.1)


def test_a_bar_knows_contributions_of_opposite_sign():
    """By hand: of 1, 2, 2.2 the last difference is 0.2, and 0.8 times what is unresolved beyond 0.16 adds to the bar.

    What is unresolved counts as at most a tenth of the value, and with at most 0.12 of the difference before.
    """
    for values in ([1.0, 2.0, 2.2], [1.0, 2.0, 1.98], [1.0, 1.01, 1.03], [1.0, 1.04, 1.01], [1.0, 1.1, 1.101]):
        plain, size, before = error_bars.estimate(values, 3), abs(values[2] - values[1]), values[1] - values[0]
        tenth = 0.1 * plain.value
        for unresolved, more in (
            (0.7 * size, 0.0),
            (0.8 * size + 0.001, 0.8 * 0.001),
            (50.0, 0.8 * min(max(tenth - 0.8 * size, 0.0), 0.12 * before)),
        ):
            found = error_bars.estimate(values, 3, unresolved=unresolved)
            assert (found.value, found.error) == (plain.value, pytest.approx(plain.error + more))
    assert estimate([1.0, 2.0], 2, unresolved=9.0) == estimate([1.0, 2.0], 2)
    weak = estimate([1.0, 2.0, 2.2], 3, 0.4)
    assert estimate([1.0, 2.0, 2.2], 3, 0.4, 9.0) == weak, "weak edges have bars of their own"


def test_a_difference_that_is_small_by_accident_does_not_make_a_bar_of_all_of_the_signal():
    """By hand: of 1, 1.0001, 1.01 the differences grow by 99, but ten times the last one is the bar."""
    assert estimate([1.0, 1.0001, 1.01], 3).error == pytest.approx(0.099)
    assert estimate([1.0, 2.0, 1.2], 3).error == pytest.approx(1.5 * 0.8), "and one and a half times where they turn"
    layers = estimate([1.0, 1.0001, 1.01], 3, singularities.SMOOTH)
    assert layers.error == pytest.approx(5.05), "what is not resolved of an exponential may be far more"


def test_states_are_put_together_from_baseline_and_spin_part():
    """Otherwise P minus AP would not be the spin part: a sequence of its own is extrapolated in another way."""
    device = devices.bar()
    made = model.on_grid(device, devices.bar_grid(device, (2, 2, 2), 1))
    measured = dataclasses.replace(evaluate.measure(made), order=3)
    edges = singularities.Weakest(singularities.Edge(0.5), singularities.Edge(0.5))
    parts = {"P": (1.0, 1.5, 1.6), "AP": (0.8, 1.4, 1.55)}
    by_order = []
    for at in range(3):
        P, AP = parts["P"][at], parts["AP"][at]
        both = {"P": P, "AP": AP, "baseline": (P + AP) / 2, "spin": P - AP}
        by_order.append(dataclasses.replace(measured, values={name: both[name.part] for name in measured.values}))
    found = error_bars.with_errors(by_order[-1], by_order, edges)
    for harmonic in ("R1", "R2"):
        P, AP, middle, spin = (found["pillar", f"{harmonic}.{part}"] for part in ("P", "AP", "baseline", "spin"))
        assert P - AP == pytest.approx(spin) and (P + AP) / 2 == pytest.approx(middle)
        assert middle != pytest.approx(1.575, rel=1e-3), "it is extrapolated"


# ------------------------------------------------------------------------------------------ devices


@pytest.fixture(scope="module", params=[pytest.param(1, marks=pytest.mark.slow), 2, 3])
def bar(request: pytest.FixtureRequest) -> Signals:
    """Signals of the layered bar with error bars, on a grid that leaves errors of a percent."""
    device = devices.bar()
    made = model.on_grid(device, devices.bar_grid(device, (3, 3, 3), request.param))
    return error_bars.assess(made, evaluate.measure(made))


def test_bars_cover_the_closed_form(bar):
    (found,) = bar.experiments
    exact = devices.bar_signals(devices.bar())
    for harmonic, parts in exact.items():
        for part, value in parts.items():
            error, stated = abs(bar[found, f"{harmonic}.{part}"] - value), bar.error(found, f"{harmonic}.{part}")
            assert error <= stated, (harmonic, part)
            assert stated < 0.5 * abs(value), "and are of use"


def test_the_grid_error_is_real_and_shrinks_with_the_order(bar):
    """The control: without an error to cover the test above would be empty."""
    (found,) = bar.experiments
    exact = devices.bar_signals(devices.bar())["R2"]["spin"]
    off = abs(bar[found, "R2.spin"] / exact - 1)
    assert {1: 1e-2, 2: 1e-4, 3: 1e-7}[bar.order] < off < {1: 0.5, 2: 5e-2, 3: 5e-3}[bar.order]


def test_the_solver_error_covers_what_a_better_solve_changes():
    device = devices.bar()
    made = model.on_grid(device, devices.bar_grid(device, (3, 3, 3), 2))
    loose, tight = (evaluate.measure(made, tolerance=tolerance) for tolerance in (1e-5, 2e-11))
    stated = error_bars.assess(made, loose, tolerance=1e-5).errors.solver
    moved = 0.0
    for name, value in tight.values.items():
        change = abs(loose.values[name] - value)
        assert change <= stated[name]
        moved = max(moved, change / abs(value))
    assert moved > 1e-10, "the loose solve is wrong by something"


def test_errors_go_to_json_as_the_sum_of_grid_and_solver(bar):
    written = bar.to_json()
    (name,) = bar.experiments
    for harmonic in ("R1", "R2"):
        for part in ("P", "AP", "baseline", "spin"):
            both = written["grid_errors"][name][harmonic][part] + written["solver_errors"][name][harmonic][part]
            assert written["errors"][name][harmonic][part] == both > 0
    assert written["computed"][name]["R2"]["spin"] == bar.computed[SignalName(name, 2, "spin")]
    assert bool(written["unsafe"]) == (bar.order < 3)
    assert written["order"] == bar.order


def test_a_signal_is_found_by_either_form_of_its_name_and_another_one_is_told(bar):
    (name,) = bar.experiments
    assert bar[name, "R1.spin"] == bar[f"{name} R1.spin"] == bar.values[SignalName(name, 1, "spin")]
    for missing in (lambda: bar[name, "R1.spn"], lambda: bar[f"{name} R1.spn"], lambda: bar.error(name, "R1.spn")):
        with pytest.raises(KeyError) as caught:
            missing()
        assert str(caught.value).startswith(
            f"signal '{name} R1.spn' is not there; did you mean '{name} R1.spin'? expected one of: {name} R1.P, "
        )
        assert isinstance(caught.value, InputError)


def test_signals_without_bars_say_so(bar):
    plain = dataclasses.replace(bar, errors=None)
    assert "errors" not in plain.to_json()
    with pytest.raises(ValueError, match="no error bars; pass them to `assess`"):
        plain.error("only", "R1.P")


def test_companions_have_the_same_lines(bar):
    device = devices.bar()
    made = model.on_grid(device, devices.bar_grid(device, (3, 3, 3), bar.order))
    others = error_bars.models_at_other_orders(made)
    assert [each.grid.order for each in others] == {1: [2], 2: [1], 3: [1, 2]}[bar.order]
    for each in others:
        for mine, its in zip(made.grid.lines, each.grid.lines, strict=True):
            assert np.array_equal(mine, its)


def test_best_estimates_are_made_once_of_signals_of_the_grid() -> None:
    device = devices.bar()
    grid = model.on_grid(device, devices.bar_grid(device, (2, 2, 2), 2))
    measured = evaluate.measure(grid)
    once = error_bars.assess(grid, measured)
    again = error_bars.assess(grid, once)
    assert once.errors is not None and again.errors is not None
    assert again.values == once.values and again.computed == once.computed and again.errors.grid == once.errors.grid
    with pytest.raises(InputError, match="expected those of this model"):
        error_bars.assess(model.on_grid(device, devices.bar_grid(device, (2, 2, 2), 1)), measured)
    with pytest.raises(InputError, match="come from a file of `signals --json`"):
        error_bars.assess(grid, dataclasses.replace(measured, undiminished={}))


def test_signals_know_the_parameters_that_bars_need(tmp_path: Path) -> None:
    """Orders at other parameters would be mixed; files that do not have them are taken at their word, as before."""
    device = devices.bar()
    grid = model.on_grid(device, devices.bar_grid(device, (2, 2, 2), 2))
    given = {"Fe.P": 0.2, "zeta": device.zeta}
    measured = evaluate.measure(grid, given)
    assert measured.parameters == {"Fe.P": 0.2} and evaluate.measure(grid).parameters == {}
    assessed = error_bars.assess(grid, measured)
    assert assessed.values == error_bars.assess(grid, measured, given).values
    measured.save(tmp_path / "signals.json")
    loaded = load_signals(tmp_path / "signals.json")
    assert loaded == measured and loaded.parameters == measured.parameters
    for others in ({}, {"Fe.P": 0.25}):
        with pytest.raises(InputError, match="parameters: got Fe.P = .*, but the signals were computed with 0.2"):
            error_bars.assess(grid, loaded, others)
    unknown = dataclasses.replace(measured, parameters=None)
    assert error_bars.assess(grid, unknown, given).values == assessed.values


def test_a_signal_that_stays_where_it_is_by_accident_has_the_bar_of_its_kind() -> None:
    """Of three that move by 0.4, 0.1 and 0 percent, and a rest that counts as 1 %: their geometric mean, by hand."""
    names = [SignalName(name, harmonic, part) for name in "ab" for harmonic in (1, 2) for part in ("P", "spin")]
    values = dict.fromkeys(names, 2.0)
    by = dict(zip(names, (4e-3, 0.1, 1e-3, 0.1, 0.0, 0.1, 0.5, 0.0), strict=True))
    changes = error_bars._changes(values, {name: 2 * (1 + by[name]) for name in names})
    usual = (4e-3 * 1e-3 * 1e-2) ** (1 / 3)
    expected = dict(zip(names, (4e-3, 0.1, usual, 0.1, usual, 0.1, 0.5, 1e-2), strict=True))
    assert changes == pytest.approx({name: 2 * part for name, part in expected.items()})


# ------------------------------------------------------------------------------------------ cut cells


def funnel(strips: int = 0) -> Device:
    """Copper 20 nm thick that becomes ten times as wide over 300 nm; strips of oxide ask for lines across it."""
    outline = ((0.0, -15e-9), (300e-9, -150e-9), (300e-9, 150e-9), (0.0, 15e-9))
    copper = Solid("f", "Cu", None, ((0.0, 3e-7), (-1.5e-7, 1.5e-7), (0.0, 2e-8)), outline=outline)
    ends = np.linspace(0, 3e-7, strips + 1)
    oxide = []
    for k, (low, high) in enumerate(itertools.pairwise(ends.tolist())):
        near = 1e-9 * (5 + 145 * k // strips)
        y = (-1.5e-7 + near, 0.0) if k % 2 else (0.0, 1.5e-7 - near)
        oxide.append(Solid(f"s{k}", "SiO2", None, ((low, high), y, (-2e-8, 0.0))))
    return Device(
        name="funnel",
        solids=(*oxide, copper),
        materials={
            "Cu": Material("Cu", sigma=4.26e7, kappa=300.0, lambda_sf=1e-6),
            "SiO2": Material("SiO2", kappa=1.0),
        },
        contacts=(Contact("a", "f", "x-"), Contact("b", "f", "x+")),
        experiments={"r": Experiment("r", ("a", "b"), ("a", "b"), {"P": {}})},
    )


def same_material() -> Device:
    """A square of copper with an interface along a slanted border within it."""
    box = ((0.0, 1e-7), (0.0, 1e-7), (0.0, 2e-8))
    left = Solid("l", "Cu", None, box, outline=((0.0, 0.0), (7e-8, 0.0), (3e-8, 1e-7), (0.0, 1e-7)))
    right = Solid("r", "Cu", None, box, outline=((7e-8, 0.0), (1e-7, 0.0), (1e-7, 1e-7), (3e-8, 1e-7)))
    made = funnel()
    return dataclasses.replace(
        made,
        solids=(left, right),
        contacts=(Contact("a", "l", "x-"), Contact("b", "r", "x+")),
        interfaces=(Interface("i", ("l", "r"), RA=1e-14),),
    )


@pytest.mark.parametrize(
    ("device", "cells", "most"),
    [(funnel(), 100, 0.9), (funnel(8), 100, 4.1), (funnel(24), 600, 4.1), (same_material(), 150, 0.9)],
    ids=["coarser", "finer", "more strips", "one material"],
)
def test_other_lines_are_others_wherever_edges_cut_cells(device: Device, cells: int, most: float) -> None:
    """Also where there is one cell between two faces; of one cell there are two then, never more."""
    made = model.build(device, cells=cells, order=1)
    found = error_bars.on_other_lines(made)
    assert found is not None
    other, factor = found
    assert factor == pytest.approx(1.0 if most < 1 else (16 / 9 - 1) / (1 - 9 / 16))
    assert other.cells < most * made.cells
    cut = made.placement.cut
    assert cut.any()
    for axis in range(2):
        faces = device.features.faces(axis)
        for low, high in itertools.pairwise(faces.tolist()):
            mine, its = (
                line[(line > low - 1e-15) & (line < high + 1e-15)]
                for line in (made.grid.lines[axis], other.grid.lines[axis])
            )
            first = int(np.searchsorted(made.grid.lines[axis], low - 1e-15))
            if cut.any(axis=(1 - axis, 2))[first : first + len(mine) - 1].any():
                assert len(mine) != len(its)


def test_other_lines_are_not_needed_where_edges_lie_on_lines() -> None:
    square = dataclasses.replace(
        funnel().solids[0], outline=((0.0, -1.5e-7), (3e-7, -1.5e-7), (3e-7, 1.5e-7), (0.0, 1.5e-7))
    )
    assert (
        error_bars.on_other_lines(model.build(dataclasses.replace(funnel(), solids=(square,)), cells=60, order=1))
        is None
    )


def test_the_bar_of_cut_cells_covers_where_faces_leave_room_for_one_cell() -> None:
    """The exact resistance is that of spectral elements of order 40 on the funnel mapped to a square."""
    made = model.build(funnel(8), cells=100)
    found = error_bars.assess(made, evaluate.measure(made, harmonics=1))
    assert found.errors is not None
    (name,), (value,) = found.values, found.values.values()
    assert abs(value - 3.184417) < found.errors.total(name) < 0.02 * 3.184417
