"""R1 to R4 behind the levels of harmonic voltages at several currents, in P and AP, with their covariance.

With I the rms current and V = R1 i + R2 i^2 + R3 i^3 + R4 i^4 of the instantaneous one, levels are linear in the R:

    V_1f = R1 I + 3/2 R3 I^3,   V_2f = (R2 I^2 + 2 R4 I^4)/sqrt(2) at -90 degrees,   V_3f = -R3 I^3/2   (rms),

so that all levels of an experiment, in both states, make one weighted least-squares problem. R3 and R4 are always taken
along, with a Gaussian prior about 0 as wide as the experiment file allows (`nonlinear`). To leave them out where they
are not significant would bias R1 and R2 by several of their bars: an R4 of one standard deviation, which nobody would
see, moves R2 of five currents between 0.5 and 1.5 mA by 3.5. Signals are per instantaneous current, as everywhere
(Slachter et al. 2010).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import optimize

from thermospin.data.experiment_file import SAME
from thermospin.data.switching import Levels

#: The prior of R3 or R4, in both states, is dropped if it costs so much chi2: three standard deviations of two numbers.
BEYOND = 11.8
#: Harmonic, rms current [A] and levels.
Level = tuple[int, float, Levels]


def terms(harmonic: int, current: float) -> dict[int, float]:
    """Return what R1 to R4 add to the rms voltage of a harmonic at an rms current [A^n]."""
    if harmonic == 1:
        return {1: current, 3: 1.5 * current**3}
    if harmonic == 2:
        return {2: current**2 / math.sqrt(2), 4: math.sqrt(2) * current**4}
    return {3: -(current**3) / 2}


def constant(harmonic: int, apparent: Sequence[tuple[float, float, float]]) -> float:
    """Return the offset that levels of a harmonic share [V]; 0 for one or two currents, which tell none.

    Args:
      apparent: rms current [A], level over its `terms` and standard deviation of that [V/A^n].
    """
    if len(apparent) < 3:
        return 0.0
    currents, values, stds = np.array(apparent).T
    factors = np.array([terms(harmonic, current)[harmonic] for current in currents])
    return float(np.polyfit(factors, factors * values, 1, w=1 / (factors * stds))[1])


def regress(data: Sequence[Level], nonlinear: float) -> tuple[list[tuple[int, str]], np.ndarray, np.ndarray, list[str]]:
    """Return signals behind levels.

    Args:
      data: levels of one experiment.
      nonlinear: standard deviation of what R3 and R4 add at the largest current, relative to R1 and R2 [1]; 0: nothing.
    Returns:
      signals as (n, part), without what the prior alone says; their values [V/A^n] and covariance, wider where sweeps
      scatter by more than their bars, see `scattered`, or have no antiparallel level; what was decided, in words.
    """
    measured = sorted({n for n, _, _ in data})
    extra = [n + 2 for n in measured if n < 3 and n + 2 not in measured]
    orders = sorted({*measured, *extra}) if nonlinear else measured
    data, offsets, scatter = scattered(data, orders)
    widths = _allowance(data, measured, extra, nonlinear, offsets) if nonlinear else {}
    largest = f"{1e3 * max(current for _, current, _ in data):.4g} mA"
    notes = []
    if extra and nonlinear:
        said = " and ".join(f"R{n} to about {100 * nonlinear:g} % of V{n - 2}" for n in extra)
        notes.append(f"allowed for are {said} at {largest} (nonlinear = {nonlinear:g})")
    elif extra:
        notes.append(f"{' and '.join(f'R{n}' for n in extra)} taken for 0, as the file says (nonlinear = 0)")
    for n in extra if widths else ():
        if len(distinct([current for m, current, _ in data if m == n - 2])) > 1:
            others = {m: width for m, width in widths.items() if m != n}
            if _signals(data, orders, widths, offsets)[2] - _signals(data, orders, others, offsets)[2] > BEYOND:
                notes.append(f"R{n} is larger than that and left free")
                widths = others
    signals, spread, _ = _signals(data, orders, widths, offsets)
    unsettled = np.mean([0.0 if level.plateau is None else level.plateau.share for _, _, level in data])
    # AP off by a part of the step, in all sweeps and harmonics alike: the magnets are the same.
    error = unsettled * np.repeat(signals[1::2], 2) * np.tile([-0.5, 1.0], len(orders))
    spread = spread + np.outer(error, error)
    # What the prior alone says of R3 and R4 is no measurement of them.
    std = np.sqrt(np.diag(spread))
    told = [
        2 * i + k
        for i, n in enumerate(orders)
        for k in (0, 1)
        if n not in widths or std[2 * i + k] < 0.5 * widths[n][k]
    ]
    names = [(n, part) for n in orders for part in ("baseline", "spin")]
    return [names[i] for i in told], signals[told], spread[np.ix_(told, told)], [*notes, *scatter]


def scattered(data: Sequence[Level], orders: Sequence[int]) -> tuple[list[Level], dict[int, float], list[str]]:
    """Return levels with bars as wide as they scatter, offsets that sweeps share [V], and what was found, in words.

    Each harmonic, and its mean level and its step, are judged apart: an offset of whole sweeps says nothing of their
    steps. To mean levels a variance is added that is the same for all sweeps, such that chi2 is the number of degrees
    of freedom (Paule and Mandel, J. Res. NBS 87, 377 (1982)); bars of steps are multiplied by the root of chi2 over
    that number (Birge, Phys. Rev. 40, 207 (1932)).

    A constant offset, as of a lock-in, is common to all sweeps of a harmonic. More currents than there are R_n tell it
    from the signal: it is allowed to be as large as it may be by the data, its size and the bar of that.

    Args:
      data: levels.
      orders: the n of the R_n that are behind them.
    Returns:
      levels, standard deviation of the common offset about 0 by harmonic, notes.
    """
    out, offsets, notes = [], dict[int, float](), list[str]()
    for n in sorted({n for n, _, _ in data}):
        levels = [(current, level) for m, current, level in data if m == n]
        line = np.array([[R for m, R in terms(n, current).items() if m in orders] for current, _ in levels])
        currents = len(distinct([current for current, _ in levels]))
        line = line[:, :currents]
        degrees = len(levels) - line.shape[1]
        rotated = [_MEAN_AND_STEP @ _without_rounding(level) @ _MEAN_AND_STEP.T for _, level in levels]
        means, steps = _MEAN_AND_STEP @ np.array([[level.P, level.AP] for _, level in levels]).T
        of_means, of_steps = (np.array([part[k, k] for part in rotated]) for k in (0, 1))
        rounded = _rounded_alike(levels)
        scatter, wider = 0.0, 1.0
        if currents > line.shape[1]:
            whole = np.column_stack([line, np.ones(len(levels))])
            scatter = math.sqrt(_excess(whole, means, of_means, rounded / math.sqrt(2), degrees - 1))
            values, covariance, _ = _least_squares(whole, means, of_means + scatter**2, rounded / math.sqrt(2))
            offset, std = float(values[-1]), math.sqrt(covariance[-1, -1])
            offsets[n] = abs(offset) + std
            if abs(offset) > std:
                notes.append(
                    f"V{n}: all sweeps share an offset of {offset:.2g} +- {std:.1g} V, "
                    f"as of a lock-in; R{n}.baseline is without it, and its bars know it"
                )
        elif degrees > 0:
            scatter = math.sqrt(_excess(line, means, of_means, rounded / math.sqrt(2), degrees))
        if degrees > 0:
            wider = math.sqrt(max(_least_squares(line, steps, of_steps, rounded * math.sqrt(2))[2] / degrees, 1.0))
        if scatter > 0:
            notes.append(f"V{n}: sweeps are offset by {scatter:.2g} V from each other; bars of R{n}.baseline know it")
        if wider > 1:
            notes.append(
                f"V{n}: steps of sweeps scatter by {wider:.3g} of their bars; those of R{n}.spin are wider by it"
            )
        for (current, level), part in zip(levels, rotated, strict=True):
            scaled = part * np.outer([1.0, wider], [1.0, wider]) + np.diag([scatter**2, 0.0])
            covariance = _P_AND_AP @ scaled @ _P_AND_AP.T + level.rounding * np.eye(2)
            out.append((n, current, dataclasses.replace(level, covariance=covariance)))
    return out, offsets, notes


def _without_rounding(level: Levels) -> np.ndarray:
    """Return the covariance of levels less what rounding adds, but for a trace: it may be all there is."""
    return level.covariance - (1 - 1e-12) * level.rounding * np.eye(2)


def _rounded_alike(levels: Sequence[tuple[float, Levels]]) -> np.ndarray:
    """Return the standard deviations of errors of rounding (sweeps, errors) [V].

    At one current levels are the same in all sweeps, and rounding to one resolution adds the same to all of them.
    """
    currents = distinct([current for current, _ in levels])
    kinds = [
        (int(np.digitize(current, currents)), round(math.log10(level.resolution), 1)) if level.rounding > 0 else None
        for current, level in levels
    ]
    alike = np.array([[kind == other for other in dict.fromkeys(kinds) if other] for kind in kinds], float)
    variances = np.array([level.rounding for _, level in levels])
    return alike * np.sqrt(variances @ alike / np.sum(alike, axis=0))


#: Mean level and step P - AP of levels P and AP, and back.
_MEAN_AND_STEP = np.array([[0.5, 0.5], [1.0, -1.0]])
_P_AND_AP = np.linalg.inv(_MEAN_AND_STEP)


def _least_squares(
    line: np.ndarray, values: np.ndarray, variances: np.ndarray, shared: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the coefficients of values = line @ coefficients, their covariance, and chi2.

    Args:
      line: (values, coefficients).
      values, variances: (values,).
      shared: standard deviations of errors that values have in common (values, errors).
    """
    weight = 1 / np.sqrt(variances)
    # Columns differ by powers of a milliampere.
    size = np.abs(line).max(axis=0)
    errors = shared.shape[1]
    design = np.block(
        [[weight[:, None] * line / size, weight[:, None] * shared], [np.zeros((errors, len(size))), np.eye(errors)]]
    )
    target = np.append(weight * values, np.zeros(errors))
    inverse = np.linalg.pinv(design)
    found = inverse @ target
    residual = target - design @ found
    inverse = inverse[: len(size)] / size[:, None]
    return found[: len(size)] / size, inverse @ inverse.T, float(residual @ residual)


def _excess(line: np.ndarray, values: np.ndarray, variances: np.ndarray, shared: np.ndarray, degrees: int) -> float:
    """Return the variance that has to be added to all for chi2 to be the number of degrees of freedom, at least 0."""

    def excess(added: float) -> float:
        return _least_squares(line, values, variances + added, shared)[2] - degrees

    if degrees < 1 or excess(0.0) <= 0:
        return 0.0
    most = float(np.max(values**2))
    # With a variance of part * most for all, chi2 is at most len(values) / part, whatever the line takes: at this end
    # that is half of what is asked for.
    return most * float(optimize.brentq(lambda part: excess(part * most), 0.0, 2 * len(values) / degrees))


def _allowance(
    data: Sequence[Level],
    measured: Sequence[int],
    extra: Sequence[int],
    nonlinear: float,
    offsets: Mapping[int, float],
) -> dict[int, tuple[float, float]]:
    """Standard deviation of the baseline and spin part of R3 and R4 before anything is known of them [V/A^n]."""
    signals, covariance, _ = _signals(data, measured, offsets=offsets)
    out = {}
    for n in extra:
        place = 2 * measured.index(n - 2)
        current = max(part for m, part, _ in data if m == n - 2)
        factors = terms(n - 2, current)
        # A spin signal that is lost in the noise is known to be no larger than that.
        size = np.abs(signals[place : place + 2]) + np.sqrt(np.diag(covariance)[place : place + 2])
        baseline, spin = (float(part) for part in nonlinear * size * factors[n - 2] / factors[n])
        out[n] = baseline, spin
    return out


def solve(
    data: Sequence[Level],
    orders: Sequence[int],
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return R_n of each order in P, then in AP, their covariance, and chi2.

    Args:
      data: levels.
      orders: the n of the R_n to find.
    """
    signals, covariance, chi2 = _signals(data, orders)
    change = np.concatenate([np.kron(np.eye(len(orders)), state) for state in _P_AND_AP])
    return change @ signals, change @ covariance @ change.T, chi2


def _signals(
    data: Sequence[Level],
    orders: Sequence[int],
    widths: Mapping[int, tuple[float, float]] | None = None,
    offsets: Mapping[int, float] | None = None,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return baseline and spin of each order in turn, their covariance, and chi2, by generalised least squares.

    Baselines may be a million times less certain than spin parts, whose bars would be lost in those of P and AP.
    """
    design, target = [], []
    shared = _shared(data, offsets or {})
    errors = shared.shape[2]
    for (harmonic, current, level), own in zip(data, shared, strict=True):
        factors = terms(harmonic, current)
        line = np.array([factors.get(n, 0.0) for n in orders])
        # The levels of a sweep are correlated: they share the drift, and an offset. Where that is more than a million
        # times the noise of the step, round-off of it is kept out of the step.
        variances, axes = np.linalg.eigh(_without_rounding(level))
        variances = np.maximum(variances, 1e-12 * variances[-1])
        whiten = axes.T / np.sqrt(variances)[:, None]
        design.append(whiten @ np.hstack([np.kron(line, _P_AND_AP), own]))
        target.append(whiten @ np.array([level.P, level.AP]))
    for n, (baseline, spin) in (widths or {}).items():
        unit = np.array([float(order == n) for order in orders])
        prior = np.kron(unit, np.diag([1 / baseline, 1 / spin]))
        design.append(np.hstack([prior, np.zeros((2, errors))]))
        target.append(np.zeros(2))
    design.append(np.eye(errors, 2 * len(orders) + errors, 2 * len(orders)))
    target.append(np.zeros(errors))
    matrix, vector = np.concatenate(design), np.concatenate(target)
    # Columns differ by powers of a milliampere.
    size = np.linalg.norm(matrix, axis=0)
    U, s, V = np.linalg.svd(matrix / size, full_matrices=False)
    # Next to nothing is known of a direction that the data leave open: a large variance, no division by zero.
    s = np.maximum(s, np.finfo(float).eps * s[0])
    values = V.T @ (U.T @ vector / s)
    residual = vector - matrix / size @ values
    covariance = (V.T / s**2) @ V / size[:, None] / size
    signals = slice(2 * len(orders))
    return (values / size)[signals], covariance[signals, signals], float(residual @ residual)


def _shared(data: Sequence[Level], offsets: Mapping[int, float]) -> np.ndarray:
    """Return the standard deviations of errors that sweeps have in common, rounding and offsets (levels, 2, errors)."""
    blocks = []
    for n in sorted({n for n, _, _ in data}):
        rounded = _rounded_alike([(current, level) for m, current, level in data if m == n])
        offset = np.full((2 * len(rounded), 1), offsets.get(n, 0.0))
        block = np.hstack([np.kron(rounded, np.eye(2)), offset])
        whole = np.zeros((len(data), 2, block.shape[1]))
        whole[[m == n for m, _, _ in data]] = block.reshape(len(rounded), 2, -1)
        blocks.append(whole)
    return np.concatenate(blocks, axis=2)


def distinct(currents: Sequence[float]) -> list[float]:
    """Return the currents, of those that are the same up to twice `SAME` the smallest [A]."""
    out: list[float] = []
    for current in sorted(currents):
        if not out or current > out[-1] * (1 + 2 * SAME):
            out.append(current)
    return out
