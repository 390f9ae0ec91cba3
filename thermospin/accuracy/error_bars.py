"""Best estimates of the signals of the equations, with error bars of the grid and of the solver.

Both come from the orders below on the same grid lines. Fields behave like r^lambda along edges where materials or
insulation meet; there signals converge with the order like p^(-4 lambda), everywhere else faster, so that the last
differences say what is still to come: with lambda = 1/2, or the smaller one of `singularities`. docs/accuracy.md has
the derivation, what else was tried, and how often the bars cover the truth.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from thermospin import solve
from thermospin.accuracy import surplus
from thermospin.base.errors import InputError
from thermospin.base.names import SignalName
from thermospin.device import singularities
from thermospin.device.constitution import Parameters
from thermospin.geometry import held
from thermospin.model import Model, Progress
from thermospin.signals import uncompiled
from thermospin.signals.evaluate import measure, solved
from thermospin.signals.ladders import Ladder
from thermospin.signals.results import Errors, Signals
from thermospin.signals.solving import SolveOptions

#: Of two orders: the changes beyond their difference are bounded by this multiple of it, what benchmarks/calibration.py
#: asks for; lambda = 1/2 leaves 1/3. The difference is expected to be at most LARGE of the signal, and the bar grows
#: with its square beyond.
REST, LARGE = 0.6, 0.4
#: Of three orders this multiple of the last difference is still to come: lambda = 1/2 leaves 0.8 of it, 2/3 leaves
#: 0.51. Of a spin part less, which in part is made by layers of spins, exponentials that the orders resolve faster...
EDGES, OF_SPINS = 0.65, 0.5
#: ... and where the ratio r of the differences is below FAST less, SMALL at r <= 0, where other parts decide.
FAST, SMALL = 0.06, 0.3
#: The bar of that in units of the last difference, by the range of r; what benchmarks/calibration.py asks for. Outside
#: of all ranges nothing is known to come.
WIDTHS = ((-0.6, 0.0, 0.9), (0.0, FAST, 0.5), (FAST, 0.15, 0.4), (0.15, 1.0, 0.32))
#: A last difference may be small because the sequence turns; the bar is at least this part of the one before it.
CROSSING = 0.02
#: What the highest polynomials contribute in absolute value (`surplus.total`) is at most ALIKE of the last difference
#: where contributions have one sign. Where it is more, contributions of opposite sign have left a difference that says
#: little of how far each of them is from its limit, and OPPOSED times what it is more adds to the bar, but not more
#: than OF_BEFORE of the difference before the last one, of which differences of edges are a tenth to a fifth. Of a rest
#: of contributions that cancel, in which errors cancel too, all of them count as at most CANCELLED of the signal.
ALIKE, OPPOSED, OF_BEFORE, CANCELLED = 0.8, 0.8, 0.12, 0.1
#: Where there are no edges differences fall by the same ratio at least; a bar is at least this part of the last one,
#: and the square of that of the one before.
LEAST = 0.05
#: Elsewhere the bar is this multiple of the last difference, or SLOWNESS times the ratio of the differences times that,
#: and with the square of the ratio where they do not fall at all, but at most SLOWEST times that: a difference before
#: the last one that is small by accident says nothing.
UNSETTLED, SLOWNESS, SLOWEST = 1.5, 3.0, 10.0
#: Where an edge is weaker than lambda = 1/2 at least this multiple of what p^(-4 lambda) leaves: on checkerboards of
#: contrast 10 to 1000, whose resistance is known, 1.2 to 1.9 of that are left at orders 2 and 3.
WEAK = 2.0
#: Bars grow to at most this multiple of the signal, which already means "not resolved".
UNRESOLVED = 5.0
#: What the values of all orders have in common to this part of them they have to rounding: differences are no sequence.
ROUNDING = 1e-12
#: Correlation of the errors of best estimates of different signals of a device, with the signs of their corrections.
SHARED = 0.3
#: Bound on the error of R2 in relative residuals times its largest state (measured: up to 10), and of what cancels in
#: it, in relative residuals times `Signals.undiminished` (measured: up to 1.3).
AMPLIFICATION, CANCELLING = 20.0, 2.0
#: Errors of both fields make that of R1: in squared relative residuals times `Signals.undiminished` (measured: up to
#: 0.12), and what rounding leaves, in units of the same (measured: 2.6e-15).
OF_BOTH, ROUNDED = 1.0, 3e-14

#: Up to this many unknowns all orders are solved side by side; above, memory counts, and compilation hardly.
SIDE_BY_SIDE = 500_000
#: Bound on the error of cut cells, in units of what other lines change: 9/7 if it fell like h^2 evenly. It does not;
#: benchmarks/cut_bars.py asks for this.
CUT = 4.0
#: Three quarters of fewer cells between two faces, rounded, are as many.
FEW = 3
#: A signal that moves by more than this part is a rest of what cancels, and says no more than that of the others.
ALONE = 0.01


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The best estimate of a signal.

    Attributes:
      value: the estimate.
      error: bound on its error.
      unsafe: why it is the value of the grid itself, in a few words; "" where it is what the orders lead to.
    """

    value: float
    error: float
    unsafe: str = ""


def _to_come(order: int, exponent: float) -> float:
    """Return what is still to come in units of the last difference, if errors fall like p^(-4 lambda)."""
    rho = ((order - 1) / order) ** (4 * exponent)
    return rho / (1 - rho)


def counts_unresolved(orders: int, exponent: float) -> bool:
    """Return whether the bar of so many orders knows how much is unresolved; see `estimate`."""
    return orders > 2 and exponent == singularities.ORDINARY


def estimate(
    values: Sequence[float],
    order: int,
    exponent: float = singularities.ORDINARY,
    unresolved: float = 0.0,
    *,
    spin: bool = False,
) -> Estimate:
    """Return the best estimate of a signal from its values at the orders 1, 2, ... on the same grid lines.

    If errors fall like p^-s the last difference d is followed by d rho/(1 - rho), rho = ((p - 1)/p)^s: of edges, with
    2 <= s <= 8/3, by 0.5 to 0.8 d at order 3, of what is smooth by less. From three orders a part of d is added that
    the ratio of the differences decides. Where these do not fall, or an edge is weak, the value of the grid stands,
    with a bar that takes the slowest that was seen.

    Args:
      values: at the orders 1 to 2, or 1 to 3.
      order: of the grid itself.
      exponent: lambda, the smallest of any edge.
      unresolved: absolute contributions of the highest polynomials, `surplus.total`; see `counts_unresolved`.
      spin: whether they are those of a spin part.
    Source: Babuska, Suri, SIAM J. Numer. Anal. 24, 750 (1987): p-version, singular solutions.
    """
    largest = max(map(abs, values))
    if not largest:
        return Estimate(0.0, 0.0)
    spread = max(values) - min(values)
    if spread <= ROUNDING * largest:
        return Estimate(values[-1], spread)
    difference = values[-1] - values[-2]
    size, most = abs(difference), max(abs(difference), UNRESOLVED * largest)
    weak = WEAK * _to_come(len(values), exponent) if exponent < singularities.ORDINARY else 0.0
    if len(values) == 2:
        growth = max(1.0, size / (LARGE * max(abs(values[-1]), 1e-300))) ** 2
        error = min(max(REST, weak) * growth * size, most)
        # Of order 1 the error is that of order 2 and the way to it.
        return Estimate(values[order - 1], error + abs(values[-1] - values[order - 1]), "two orders only")
    before = abs(values[1] - values[0])
    ratio = difference / (values[1] - values[0]) if before else math.inf if size else 0.0
    if exponent == singularities.SMOOTH and abs(ratio) <= 1:
        return Estimate(values[-1], max(abs(ratio) * size, LEAST * size, LEAST**2 * before))
    value, error, unsafe = values[-1], 0.0, "weak edges" if weak else "the orders do not settle"
    for low, high, width in () if weak else WIDTHS:
        if low <= ratio <= high:
            to_come = float(np.interp(ratio, (0.0, FAST), (SMALL, OF_SPINS if spin else EDGES)))
            value, error, unsafe = value + to_come * difference, width * size, ""
            break
    else:
        slow = SLOWNESS * ratio * max(ratio, 1.0)
        if exponent == singularities.ORDINARY:
            slow = min(slow, SLOWEST)
        error = min(max(UNSETTLED, weak, slow) * size, most)
    error = max(error, CROSSING * before)
    if counts_unresolved(len(values), exponent):
        opposed = max(min(unresolved, CANCELLED * abs(value)) - ALIKE * size, 0.0)
        error += OPPOSED * min(opposed, OF_BEFORE * before)
    return Estimate(value, error, unsafe)


def assess(
    model: Model,
    signals: Signals,
    parameters: Parameters | None = None,
    *,
    start: Mapping[str, tuple[Ladder, ...]] | None = None,
    progress: Progress | None = None,
    tolerance: float = solve.TOLERANCE,
) -> Signals:
    """Return best estimates of signals with error bars, from solves at the orders below (for order 1: at order 2).

    Where edges cut cells, or held faces cover nodes in part, once more on other lines, at all orders: what these cells
    and nodes make wrong hardly depends on the order, so the best estimates there tell it.

    Args:
      model: where the signals were computed.
      signals: computed with it.
      parameters: values by name that they were computed with, those left out being the device's own; None: what
        `signals` say.
      start: fields of the evaluation that gave them, which saves work.
      progress: callback for messages.
      tolerance: of the solves.
    Raises:
      InputError: signals of another grid, at other parameters, or of a file that lacks what error bars need.
      NotConverged: a solve missed its tolerance.
    """
    if (signals.order, signals.cells) != (model.grid.order, model.cells):
        raise InputError(
            f"signals: got those of {signals.cells:,} cells of order {signals.order}, expected those of this model, "
            f"{model.cells:,} cells of order {model.grid.order}"
        )
    if missing := set(signals.experiments) - set(signals.undiminished):
        raise InputError(
            f"signals: {', '.join(sorted(missing))} come from a file of `signals --json`, which lacks what error bars "
            "need; measure them again, or save them with their own `save`"
        )
    parameters = _parameters_of(model, signals, parameters)
    if signals.errors is not None:  # best estimates already: begin with what they were made from
        signals = dataclasses.replace(signals, values=signals.computed, computed={}, errors=None)
    others = signals_at_other_orders(model, parameters, signals.harmonics, progress=progress, tolerance=tolerance)
    parts = _contributions(model, signals, parameters, start, (), progress)
    return _assessed(model, [*others, signals], signals, parameters, parts, progress, tolerance)


def _parameters_of(model: Model, signals: Signals, parameters: Parameters | None) -> Parameters | None:
    """Return the parameters that signals were computed with; refuse others."""
    if parameters is None or signals.parameters is None:
        return signals.parameters if parameters is None else parameters
    given, then = model.completed(parameters), {**model.parameters, **signals.parameters}
    faults = [
        f"parameters: got {name} = {float(given[name]):g}, but the signals were computed with {value:g}; leave them out"
        for name, value in then.items()
        if float(given[name]) != value
    ]
    if faults:
        raise InputError(faults)
    return signals.parameters


def _contributions(
    model: Model,
    signals: Signals,
    parameters: Parameters | None,
    fields: Mapping[str, tuple[Ladder, ...]] | None,
    wanted: Sequence[SignalName],
    progress: Progress | None,
) -> dict[SignalName, list[np.ndarray]]:
    """Return the contributions of the highest polynomials to wanted signals, and to those whose bars may need them."""
    weakest = model.device.weakest_edges(model.grid)
    needed = [
        name
        for name in signals.values
        if name.part in model.device.experiments[name.experiment].shown_parts
        and counts_unresolved(signals.order, weakest.exponent(name.harmonic))
    ]
    names = list(dict.fromkeys([*wanted, *needed]))
    if not names:
        return {}
    if progress is not None:
        progress(f"{model.device.name}: how well the grid resolves the signals, for the error bars")
    return surplus.solved_contributions(model, names, parameters, fields=fields, progress=progress)


def _assessed(
    model: Model,
    by_order: Sequence[Signals],
    signals: Signals,
    parameters: Parameters | None,
    contributions: Mapping[SignalName, Sequence[np.ndarray]],
    progress: Progress | None,
    tolerance: float = solve.TOLERANCE,
) -> Signals:
    """Return best estimates with error bars, cut cells included."""
    by_order = sorted(by_order, key=lambda of_order: of_order.order)
    unresolved = {name: surplus.total(parts) for name, parts in contributions.items()}
    result = with_errors(signals, by_order, model.device.weakest_edges(model.grid), unresolved)
    found = on_other_lines(model)
    if found is None or result.errors is None:
        return result
    other, factor = found
    if progress is not None:
        progress(f"{model.device.name}: the same on other grid lines, for the error bars")
    moved = measure(other, parameters, harmonics=signals.harmonics, progress=progress, tolerance=tolerance)
    if signals.order > 2:  # below, the value of the grid is the estimate
        others = signals_at_other_orders(other, parameters, signals.harmonics, progress=progress, tolerance=tolerance)
        moved = with_errors(moved, [*others, moved], model.device.weakest_edges(other.grid))
    changes = _changes(result.values, moved.values)
    grid = {name: bar + CUT * factor * changes[name] for name, bar in result.errors.grid.items()}
    return dataclasses.replace(result, errors=dataclasses.replace(result.errors, grid=grid))


def _changes(values: Mapping[SignalName, float], moved: Mapping[SignalName, float]) -> dict[SignalName, float]:
    """Return how far other grid lines move each signal, at least as far as they mostly move signals of its kind.

    That is the geometric mean, in parts of a signal, of all spin parts or of all others: the same edges make their
    errors, and a single signal may stay where it is by accident.
    """
    changes = {name: abs(value - moved[name]) for name, value in values.items()}
    logs: defaultdict[bool, list[float]] = defaultdict(list)
    for name, change in changes.items():
        if values[name] and change:
            logs[name.part == "spin"].append(math.log(min(change / abs(values[name]), ALONE)))
    usual = {kind: math.exp(statistics.fmean(of_kind)) for kind, of_kind in logs.items()}
    return {
        name: max(change, usual.get(name.part == "spin", 0.0) * abs(values[name])) for name, change in changes.items()
    }


class Solved(NamedTuple):
    """Best estimates, and what they came from.

    Attributes:
      signals: with error bars.
      contributions: of the highest polynomials to signals, see `surplus.contributions`.
    """

    signals: Signals
    contributions: dict[SignalName, list[np.ndarray]]


def solved_with_errors(
    model: Model,
    parameters: Parameters | None = None,
    harmonics: int = 2,
    start: Mapping[str, tuple[Ladder, ...]] | None = None,
    *,
    wanted: Sequence[SignalName] = (),
    progress: Progress | None = None,
) -> Solved:
    """Solve at all orders, and return best estimates as `assess` does.

    Args:
      model: of the highest order.
      parameters: values by name; those left out are the device's own.
      harmonics: highest harmonic, 1 to 4.
      start: fields of an evaluation nearby.
      wanted: signals whose contributions are wanted, whether error bars need them or not.
      progress: callback for messages.
    Raises:
      NotConverged: a solve missed its tolerance.
    """
    options = SolveOptions(progress=progress)
    side_by_side = model.shards == 1 and model.unknowns <= SIDE_BY_SIDE
    with ThreadPoolExecutor(1) as pool:
        if side_by_side:
            # What the orders below need is mostly compilation, which leaves a core half idle.
            running = pool.submit(signals_at_other_orders, model, parameters, harmonics, progress=progress)
        signals, fields = solved(model, parameters, harmonics, start, options)
        parts = _contributions(model, signals, parameters, fields, wanted, progress)
        if not side_by_side:
            running = pool.submit(signals_at_other_orders, model, parameters, harmonics, progress=progress)
        by_order = [*running.result(), signals]
    return Solved(_assessed(model, by_order, signals, parameters, parts, progress), parts)


def signals_at_other_orders(
    model: Model,
    parameters: Parameters | None,
    harmonics: int,
    *,
    progress: Progress | None,
    tolerance: float = solve.TOLERANCE,
) -> list[Signals]:
    """Return the signals on the same grid lines at the other orders that `assess` needs, in ascending order."""
    options = SolveOptions(tolerance, progress=progress, solver=uncompiled.answer_once)

    def at(other: Model) -> Signals:
        if progress is not None:
            progress(f"{model.device.name}: the same at order {other.grid.order}, for the error bars")
        return solved(other, parameters, harmonics, options=options)[0]

    # Side by side: they are small, and most of their time is compilation, which is hardly parallel. On several devices
    # in turn: messages must be sent in one order.
    with ThreadPoolExecutor(1 if model.shards > 1 else None) as pool:
        return list(pool.map(at, models_at_other_orders(model)))


def models_at_other_orders(model: Model) -> list[Model]:
    """Return the same grid lines with elements of the orders below; for order 1 with those of order 2."""
    present = model.grid.order
    return [
        model.with_grid(dataclasses.replace(model.grid, order=order))
        for order in range(1, max(present, 2) + 1)
        if order != present
    ]


def on_other_lines(model: Model) -> tuple[Model, float] | None:
    """Return the same device and order on other lines, and a factor for what changes; None where edges lie on lines.

    There are about three quarters of the lines, for which `CUT` is; in each interval between faces with cut cells fewer
    than before. Where that cannot be, in an interval of less than `FEW` cells, or would short-circuit a gap, intervals
    with cut cells have 4/3 as many or more: h^2 falls by 7/16 at least, in place of growing by 7/9.
    """
    grid, features = model.grid, model.device.features
    if not grid.prisms:
        return None
    unfitted = _unfitted(model)
    faces = [np.searchsorted(grid.lines[axis], features.faces(axis) - 1e-15).tolist() for axis in range(2)]
    intervals = [
        [(a, b, bool(marks[a:b].any())) for a, b in itertools.pairwise(ends)]
        for ends, marks in zip(faces, unfitted, strict=True)
    ]
    counts = [b - a for each in intervals for a, b, has_cuts in each if has_cuts]
    if not counts:
        return None
    for finer in (False, True) if min(counts) >= FEW else (True,):
        lines = list(grid.lines)
        for axis in range(2):
            places = []
            for a, b, has_cuts in intervals[axis]:
                n = b - a
                more = math.ceil(n / 3) * has_cuts if finer else -round(n / 4)
                places.append(np.linspace(a, b, n + more + 1)[:-1])
            at = np.append(np.concatenate(places), faces[axis][-1])
            lines[axis] = np.interp(at, np.arange(len(grid.lines[axis])), grid.lines[axis])
        try:
            return model.with_grid(features.grid(lines, grid.order)), (7 / 9) / (7 / 16) if finer else 1.0
        except ValueError:
            if finer:
                raise
    return None


def _unfitted(model: Model) -> list[np.ndarray]:
    """Mark the slabs of cells along x and y with cells that edges cut, or with nodes that held faces cover in part."""
    cut, order = model.placement.cut, model.grid.order
    marks = [np.asarray(cut.any(axis=(1 - axis, 2))) for axis in range(2)]
    if model.disc.ties or model.grounded:
        shares = [share for of_each in model.placement.shares() for share in of_each.values()]
        nodes = model.placement.places(np.concatenate([held.in_part(share) for share in shares]))
        for axis in range(2):
            for cells in ((nodes[axis] - 1) // order, nodes[axis] // order):
                marks[axis][np.clip(cells, 0, len(marks[axis]) - 1)] = True
    return marks


def with_errors(
    measured: Signals,
    by_order: Sequence[Signals],
    weakest: singularities.Weakest,
    unresolved: Mapping[SignalName, float] | None = None,
) -> Signals:
    """Return best estimates with the error bars that a sequence of orders leads to.

    P and AP are put together from baseline and spin part, which a sequence of their own would contradict.

    Args:
      measured: on the grid itself.
      by_order: the same at the orders 1, 2, ... on the same grid lines.
      weakest: edges of the device.
      unresolved: of signals whose orders lead to a limit.
    """
    estimates = {
        name: estimate(
            [signals.values[name] for signals in by_order],
            measured.order,
            weakest.exponent(name.harmonic),
            (unresolved or {}).get(name, 0.0),
            spin=name.part == "spin",
        )
        for name in measured.values
    }
    for name in estimates:
        if name.part in ("P", "AP") and (middle := name._replace(part="baseline")) in estimates:
            baseline, spin = estimates[middle], estimates[name._replace(part="spin")]
            half = spin.value / 2 if name.part == "P" else -spin.value / 2
            estimates[name] = Estimate(baseline.value + half, baseline.error + spin.error / 2, baseline.unsafe)
    errors = Errors(
        grid={name: best.error for name, best in estimates.items()},
        solver=_solver_errors(measured),
        unsafe={name: best.unsafe for name, best in estimates.items() if best.unsafe},
    )
    values = {name: best.value for name, best in estimates.items()}
    return dataclasses.replace(measured, values=values, computed=measured.values, errors=errors)


def _solver_errors(signals: Signals) -> dict[SignalName, float]:
    """Return bounds in units of what may cancel in R1 and R2, and of the largest state.

    R1 is stationary in both fields: wrong by the square of the relative residual, other harmonics by the residual.
    """
    residual = max(signals.relative_residual, default=0.0)
    stationary = (signals.harmonics + 1) // 2
    largest: dict[tuple[str, int], float] = {}
    for name, value in signals.values.items():
        largest[name[:2]] = max(largest.get(name[:2], 0.0), abs(value))

    def bound(name: SignalName) -> float:
        own = largest[name[:2]] * (1.0 if name.harmonic <= stationary else AMPLIFICATION)
        known = signals.undiminished[name.experiment]
        whole = known[name.harmonic - 1] if name.harmonic <= len(known) else 0.0
        if name.harmonic == 1 and whole:
            return (OF_BOTH * residual**2 + ROUNDED) * whole
        return residual * (own + CANCELLING * whole)

    return {name: bound(name) for name in signals.values}
