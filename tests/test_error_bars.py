"""Error bars: sequences with a known limit, and bars of materials whose signals are known in closed form."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from helpers import devices
from thermospin import model
from thermospin.accuracy import error_bars
from thermospin.accuracy.error_bars import tail
from thermospin.signals import evaluate
from thermospin.signals.results import Signals


def at_orders(limit: float, error: float, exponent: float, orders: int = 3) -> list[float]:
    """Values with errors ~ p^-exponent."""
    return [limit + error * p**-exponent for p in range(1, orders + 1)]


# ------------------------------------------------------------------------------------------ sequences


@pytest.mark.parametrize("exponent", [2.0, 8 / 3, 4.0, 6.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_tail_of_an_algebraic_sequence_is_covered(exponent, sign):
    """Of p^-2, the slowest that an edge of two materials allows, 0.8 differences are left at order 3."""
    values = at_orders(2.0, 0.3 * sign, exponent)
    for order, widest in ((2, 50), (3, 11)):
        stated, left = tail(values[:order]).error, abs(values[order - 1] - 2.0)
        assert (1 - 1e-12) * left <= stated <= widest * left, "a bar that is always large says nothing"


def test_a_sequence_of_a_re_entrant_edge_is_extrapolated_to_its_limit():
    values = at_orders(2.0, 0.3, error_bars.EXPONENT)
    found = tail(values)
    assert found.limit == pytest.approx(2.0, rel=1e-12)
    assert 0 < found.limit_error < found.error / 2


def test_what_is_not_seen_to_be_asymptotic_is_not_extrapolated():
    for values in ([1.0, 1.1, 1.05], [1.0, 1.1, 1.19], [1.0, 1.1, 1.101], [1.0, 1.1]):
        assert math.isnan(tail(values).limit) and math.isnan(tail(values).limit_error)
        assert tail(values).error > 0


def test_bars_grow_where_differences_do_not_fall():
    """A signal that the first order does not see, and the third half: the rest may be as large as all of it."""
    steady, slow, growing = ([1.0, 1.1, 1.1 + r * 0.1] for r in (0.3, 0.8, 1.5))
    assert tail(steady).error == pytest.approx(0.03)
    assert tail(slow).error == pytest.approx(3 * 0.8 * 0.08)
    assert tail(growing).error == pytest.approx(3 * 1.5**2 * 0.15)
    assert tail([0.05, 0.2, 0.4]).error > 0.6
    assert tail([0.05, 0.2]).error > 0.3
    assert tail([0.05, 0.1, 1.0]).error == 5.0, "but not without bound"


def test_a_sequence_that_turns_is_not_taken_for_converged():
    """The last difference is zero by accident, and a hundredth of the one before is what is said to be left."""
    assert tail([1.0, 2.0, 2.0]).error == pytest.approx(0.01)
    assert tail([0.0, 0.0, 0.0]) == error_bars.Tail(0.0, 0.0, 0.0)
    assert tail([0.0, 0.0]).error == tail([1.0, 1.0]).error == tail([1.0, 1.0, 1.0]).error == 0.0
    assert 5.5 >= tail([1.0, 1.0, 1.1]).error > 0.5, "the first two orders see nothing of what the third sees"


def test_the_bar_of_first_order_reaches_past_the_second():
    assert error_bars.error([1.0, 1.2], 1) == pytest.approx(0.2 + tail([1.0, 1.2]).error)
    assert error_bars.error([1.0, 1.2], 2) == tail([1.0, 1.2]).error


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
    assert ("extrapolated" in written) == (bar.order == 3)
    assert written["order"] == bar.order


def test_signals_without_bars_say_so(bar):
    plain = dataclasses.replace(bar, errors=None)
    assert "errors" not in plain.to_json()
    with pytest.raises(ValueError, match="no error bars; pass them to accuracy.assess"):
        plain.error("only", "R1.P")


def test_companions_have_the_same_lines(bar):
    device = devices.bar()
    made = model.on_grid(device, devices.bar_grid(device, (3, 3, 3), bar.order))
    others = error_bars.companions(made)
    assert [each.grid.order for each in others] == {1: [2], 2: [1], 3: [1, 2]}[bar.order]
    for each in others:
        for mine, its in zip(made.grid.lines, each.grid.lines, strict=True):
            assert np.array_equal(mine, its)
