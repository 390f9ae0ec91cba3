"""The distance of the signals of a model from those of the equations: error bars of the grid and of the solver.

The bar of the grid comes from the orders below on the same grid lines. Fields behave like r^lambda along edges where
materials or insulation meet; there signals converge with the order like p^(-4 lambda), everywhere else faster, so that
the last difference bounds what is still to come: with lambda = 1/2, or the smaller one of `singularities`.
docs/accuracy.md has the derivation, what else was tried, and how often the bars cover the truth.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from thermospin import solve
from thermospin.base.names import SignalName
from thermospin.device import singularities
from thermospin.device.constitution import Parameters
from thermospin.model import Model, Progress
from thermospin.signals.evaluate import measure
from thermospin.signals.results import Errors, Signals

#: Exponent of errors ~ p^-s at a re-entrant edge of one material, lambda = 2/3; what is still to come is guessed by it.
EXPONENT = 8 / 3
#: The changes beyond a difference of two orders are bounded by this multiple of that difference, as long as differences
#: fall: what benchmarks/calibration.py asks for. Where lambda = 1/2 it is 1/3 at order 2 and 0.8 at order 3.
REST = {2: 0.6, 3: 1.0}
#: The same where an edge is weaker than lambda = 1/2, in units of what p^(-4 lambda) leaves: on checkerboards of
#: contrast 10 to 1000, whose resistance is known, 1.2 to 1.9 of that are left at orders 2 and 3.
WEAK = 2.0
#: Of three orders the second difference is expected to be at most REST/SLOWNESS times the first; the bar grows beyond,
#: and with the square of their ratio where they do not fall at all.
SLOWNESS = 3.0
#: A last difference may be small because the sequence turns; the bar is at least this part of the one before it.
CROSSING = 0.01
#: Of two orders the difference is expected to be at most this part of the signal; the bar grows with its square beyond.
LARGE = 0.4
#: Bars grow to at most this multiple of the signal, which already means "not resolved".
UNRESOLVED = 5.0
#: Ratios of two differences between which a sequence is taken for asymptotic, and is extrapolated; LIMIT is the error
#: of that in units of the last difference.
ASYMPTOTIC = (0.1, 0.4)
LIMIT = 0.35
#: Bound on the error of R2 in relative residuals times its largest state (measured: up to 10).
AMPLIFICATION = 20.0

#: Bound on the error of cut cells, in units of what other lines change: 9/7 if it fell like h^2 evenly.
CUT = 2.0


@dataclasses.dataclass(frozen=True)
class Tail:
    """The change that orders beyond the last one of a sequence would make.

    Attributes:
      error: bound on it.
      limit: best guess of the value that they lead to; NaN where the sequence is not seen to be asymptotic.
      limit_error: bound on the error of this guess.
    """

    error: float
    limit: float
    limit_error: float


def _to_come(order: int, exponent: float) -> float:
    """Return what is still to come in units of the last difference, if errors fall like p^(-4 lambda)."""
    rho = ((order - 1) / order) ** (4 * exponent)
    return rho / (1 - rho)


def tail(values: Sequence[float], exponent: float = singularities.ORDINARY) -> Tail:
    """Bound what follows a sequence of values at the orders 1, 2, ... p on the same grid lines.

    If errors fall like p^-s the last difference d is followed by d rho/(1 - rho), rho = ((p - 1)/p)^s. The bound takes
    the slowest that was seen; where differences fall more slowly yet, or are large, it says that nothing is known.

    Args:
      values: at orders 1 to 2 or 1 to 3.
      exponent: lambda, the smallest of any edge.
    Source: Babuska, Suri, SIAM J. Numer. Anal. 24, 750 (1987): p-version, singular solutions.
    """
    last, largest = len(values), max(map(abs, values))
    if not largest:
        return Tail(0.0, 0.0, 0.0)
    difference = values[-1] - values[-2]
    size = abs(difference)
    rest = REST[last]
    if exponent < singularities.ORDINARY:
        rest = max(rest, WEAK * _to_come(last, exponent))
    if last == 2:
        growth = max(1.0, size / (LARGE * max(abs(values[-1]), 1e-300))) ** 2
        return Tail(min(rest * growth * size, max(size, UNRESOLVED * largest)), math.nan, math.nan)
    before = values[1] - values[0]
    ratio = difference / before if before else math.inf if size else 0.0
    error = min(max(rest, SLOWNESS * ratio * max(ratio, 1.0)) * size, max(size, UNRESOLVED * largest))
    error = max(error, CROSSING * abs(before))
    if exponent < singularities.ORDINARY or not ASYMPTOTIC[0] <= ratio <= ASYMPTOTIC[1]:
        return Tail(error, math.nan, math.nan)
    rho = ((last - 1) / last) ** EXPONENT
    return Tail(error, values[-1] + difference * rho / (1 - rho), LIMIT * size)


def assess(
    model: Model,
    signals: Signals,
    parameters: Parameters | None = None,
    *,
    progress: Progress | None = None,
    tolerance: float = solve.TOLERANCE,
) -> Signals:
    """Return signals with error bars, from solves at the orders below (for order 1: at order 2).

    Where edges cut cells, or held faces cover nodes in part, once more on other lines: what these cells and nodes make
    wrong hardly depends on the order.

    Args:
      model: where the signals were computed.
      signals: computed with it.
      parameters: values by name that they were computed with; those left out are the device's own.
      progress: callback for messages.
      tolerance: of the solves.
    Raises:
      NotConverged: a solve missed its tolerance.
    """
    by_order = at_orders(model, signals, parameters, progress=progress, tolerance=tolerance)
    result = with_errors(signals, by_order, model.device.weakest_edges(model.grid))
    other = elsewhere(model)
    if other is None or result.errors is None:
        return result
    if progress is not None:
        progress(f"{model.device.name}: the same on other grid lines, for the error bars")
    moved = measure(other, parameters, harmonics=signals.harmonics, progress=progress, tolerance=tolerance)
    grid = {
        name: bar + CUT * abs(signals.values[name] - moved.values[name]) for name, bar in result.errors.grid.items()
    }
    return dataclasses.replace(result, errors=dataclasses.replace(result.errors, grid=grid))


def at_orders(
    model: Model,
    signals: Signals,
    parameters: Parameters | None = None,
    *,
    progress: Progress | None = None,
    tolerance: float = solve.TOLERANCE,
) -> list[Signals]:
    """Return the same signals on the same grid lines at the orders 1, 2 and, if the model has it, 3; see `assess`."""
    order = model.grid.order

    def at(other: Model) -> Signals:
        if progress is not None:
            progress(f"{model.device.name}: the same at order {other.grid.order}, for the error bars")
        return measure(other, parameters, harmonics=signals.harmonics, progress=progress, tolerance=tolerance)

    # Side by side: they are small, and most of their time is compilation, which is hardly parallel. On several devices
    # in turn: messages must be sent in one order.
    with ThreadPoolExecutor(1 if model.shards > 1 else None) as pool:
        out = list(pool.map(at, companions(model)))
    out.insert(order - 1, signals)
    return out


def companions(model: Model) -> list[Model]:
    """Return the same grid lines with elements of the orders below; for order 1 with those of order 2."""
    present = model.grid.order
    return [
        model.with_grid(dataclasses.replace(model.grid, order=order))
        for order in range(1, max(present, 2) + 1)
        if order != present
    ]


def elsewhere(model: Model) -> Model | None:
    """Return the same device and order on about three quarters of the lines; None where edges lie on lines."""
    grid = model.grid
    if not grid.prisms or not (grid.cuts or model.disc.ties or model.grounded):
        return None
    for factor in (0.75, 4 / 3):  # the latter where coarser cells would short-circuit a gap
        lines = list(grid.lines)
        for axis in range(2):
            faces = np.searchsorted(grid.lines[axis], model.device.features.faces(axis) - 1e-15)
            counts = [max(1, round(factor * int(n))) for n in np.diff(faces)]
            places = [np.linspace(a, b, n + 1)[:-1] for a, b, n in zip(faces[:-1], faces[1:], counts, strict=True)]
            at = np.append(np.concatenate(places), faces[-1])
            lines[axis] = np.interp(at, np.arange(len(grid.lines[axis])), grid.lines[axis])
        try:
            return model.with_grid(model.device.features.grid(lines, grid.order))
        except ValueError:
            if factor > 1:
                raise
    return None


def error(values: Sequence[float], order: int, exponent: float = singularities.ORDINARY) -> float:
    """Return a bound on the error of the value at an order, from the values at the orders 1 to 2, or to `order`."""
    # Of order 1 the error is that of order 2 and the way to it.
    return tail(values, exponent).error + abs(values[-1] - values[order - 1])


def with_errors(measured: Signals, by_order: Sequence[Signals], weakest: singularities.Weakest) -> Signals:
    """Return signals with the error bars that `at_orders` leads to, and the weakest edges of their device."""
    exponents = {name: weakest.exponent(name.harmonic) for name in measured.values}
    sequences = {name: [signals.values[name] for signals in by_order] for name in measured.values}
    tails = {name: tail(values, exponents[name]) for name, values in sequences.items()}
    errors = Errors(
        grid={name: error(values, measured.order, exponents[name]) for name, values in sequences.items()},
        solver=_solver_errors(measured),
        limit={name: tail_of.limit for name, tail_of in tails.items()},
        limit_error={name: tail_of.limit_error for name, tail_of in tails.items()},
    )
    return dataclasses.replace(measured, errors=errors)


def _solver_errors(signals: Signals) -> dict[SignalName, float]:
    """Return bounds in units of the largest state: the relative residual where stationary, more for other harmonics.

    In R2 also what cancels is wrong by the relative residual.
    """
    residual = max(signals.relative_residual, default=0.0)
    stationary = (signals.harmonics + 1) // 2
    largest: dict[tuple[str, int], float] = {}
    for name, value in signals.values.items():
        largest[name[:2]] = max(largest.get(name[:2], 0.0), abs(value))
    return {
        name: residual
        * (
            largest[name[:2]] * (1.0 if name.harmonic <= stationary else AMPLIFICATION)
            + (signals.undiminished[name.experiment] if name.harmonic == 2 else 0.0)
        )
        for name in signals.values
    }
