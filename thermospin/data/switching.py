"""Magnetic switching in one field sweep: where it switches, and the levels in the parallel and antiparallel state.

The model of a trace is two levels and a linear drift, y = P + drift t outside, AP + drift t between two breakpoints.
For any two breakpoints the best levels are a linear least-squares problem whose residual is known from running sums, so
that all pairs are tried: the search is exact (Bai and Perron, Econometrica 66, 47 (1998)).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from thermospin.data import noise

#: Least number of points before, between and after the switches, and in a sweep.
LEAST, LEAST_IN_ALL = 3, 12
#: An antiparallel state of so few points is one if they agree and stand out: the parallel state says what noise is.
FEWEST = 2
#: A step counts if it is this many standard deviations: of n^2/2 trials of pure noise the largest is about
#: sqrt(4 ln n), 5.3 for 1000 points.
CLEAR = 6.0
#: A second breakpoint has to lower the sum of squares, in units of the variance, by more than a line of noise would.
SECOND = 30.0
#: Points further off than this many robust standard deviations are outliers; of Gaussian noise 1 in 1.7 million is.
OUTLIER = 5.0
#: Noise of this part of the signal is round-off of the arithmetic, and none of a lock-in.
FLAT = 1e-12
#: A sweep turns where the field goes back by more than this part of its range.
TURN = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class Levels:
    """Two levels of one trace.

    Attributes:
      P, AP: levels, drift taken out at the middle of the sweep, in units of the trace.
      covariance: of (P, AP) (2, 2).
      drift: from end to end.
      step_over_std: (AP - P)/std of the noise.
      noise: standard deviation of one point.
      widening: of the variance of the step against that of independent points.
      outliers: number of points left out.
      plateau: the part that AP is taken from, where the antiparallel state is no level; else None.
      resolution: smallest distance of two numbers of the trace, 0: not known.
      rounding: the part of the variance of either level that rounding leaves, the same error in all sweeps like it.
    """

    P: float
    AP: float
    covariance: np.ndarray
    drift: float
    step_over_std: float
    noise: float
    widening: float
    outliers: int
    plateau: Plateau | None = None
    resolution: float = 0.0
    rounding: float = 0.0

    @property
    def is_flat(self) -> bool:
        """True if the bars of the levels, or what tells the two apart, are round-off and mean nothing."""
        return not float(np.linalg.eigvalsh(self.covariance)[0]) > (FLAT * self._size) ** 2

    @property
    def is_without_noise(self) -> bool:
        """True if points scatter by round-off alone; rounding may still give the levels bars."""
        return self.noise <= FLAT * self._size

    @property
    def _size(self) -> float:
        """Size of the signal, without its outliers."""
        return max(abs(self.P), abs(self.AP), abs(self.drift))


@dataclasses.dataclass(frozen=True)
class Plateau:
    """The part of an antiparallel state that is no level which is furthest from P.

    Attributes:
      points: first and one past the last of its points.
      share: how far it is from the whole, relative to the step.
    """

    points: slice
    share: float


@dataclasses.dataclass(frozen=True)
class Switch:
    """Between which points a sweep switches: first and one past the last point in the antiparallel state."""

    first: int
    end: int


def branches(field: np.ndarray) -> list[slice]:
    """Stretches in which the field goes one way, up to reversals of `TURN` of its range.

    A field that flies back from one point to the next ends a stretch, and begins another that goes the same way.
    """
    reach = TURN * (np.max(field) - np.min(field))
    if not reach > 0:
        return []
    # Zigzag: the last extreme counts as a turn once the field has come back from it by more than the reach.
    turns, extreme, up = [0], 0, 0
    for i, value in enumerate(field):
        if up >= 0 and value > field[extreme] or up <= 0 and value < field[extreme]:
            if up == 0 and abs(value - field[0]) > reach:
                up = 1 if value > field[0] else -1
            if up != 0:
                extreme = i
        elif up != 0 and abs(value - field[extreme]) > reach:
            turns.append(extreme)
            up, extreme = -up, i
    ends, starts = [*turns[1:], extreme], [0]
    while len(ends) > 1:
        last, next_, *_ = ends
        step = last + int(np.argmax(np.abs(np.diff(field[last : next_ + 1]))))
        way = abs(field[step + 1] - field[step])
        flown = way > reach and way >= abs(field[next_] - field[last]) - reach
        starts.append(step + 1 if flown else last)
        ends = ends[2:] if flown else ends[1:]
    return [slice(a, b) for a, b in itertools.pairwise([*starts, len(field)])]


def find(traces: Sequence[np.ndarray], resolutions: Sequence[float] = ()) -> tuple[Switch | None, str]:
    """Return the switch of a sweep in one direction, in the trace that shows it best; None, and why, without one.

    Args:
      traces: of each harmonic (points,), without NaN.
      resolutions: of the traces, in their units; none: not known.
    """
    best: tuple[float, Switch] | None = None
    reasons = []
    resolutions = resolutions or [0.0] * len(traces)
    for trace, resolution in zip(traces, resolutions, strict=True):
        if len(trace) < LEAST_IN_ALL:
            return None, f"{len(trace)} points, at least {LEAST_IN_ALL} are needed"
        good = _inliers(trace, resolution)
        switch, gain, alone = _search(trace, good)
        if switch is None:
            reasons.append("constant but for a drift")
            continue
        fitted = levels(trace, switch, resolution)
        size = abs(fitted.step_over_std)
        if alone > CLEAR**2 and gain - alone < SECOND:
            reasons.append("the signal steps once and does not come back: one of the magnets never switches")
        elif size < CLEAR and fitted.is_without_noise:
            reasons.append("no noise at all, so that the step may be one of rounding: give more digits")
        elif size < CLEAR:
            reasons.append(f"the best step is {_floor(size)} standard deviations, {CLEAR:g} are needed")
        elif gain - alone < SECOND:
            reasons += [
                f"the best step is {size:.1f} standard deviations, but that it comes back lowers the sum of squares by "
                f"{_floor(gain - alone)} variances, {SECOND:g} are needed",
                "where fields repeat, or the signal alternates between two levels, both directions may have been "
                "sorted together: keep the order in which points were taken",
            ]
        elif best is None or size > best[0]:
            best = size, switch
    if best is None:
        best, few = _few(traces, resolutions)
        reasons += few
    if best is None:
        return None, "; ".join(dict.fromkeys(reasons))
    return _polished(traces, best[1], resolutions), ""


def _floor(size: float) -> str:
    """Return a size that is too small, rounded down so that it looks too small."""
    return f"{math.floor(100 * size) / 100:g}"


def _few(traces: Sequence[np.ndarray], resolutions: Sequence[float]) -> tuple[tuple[float, Switch] | None, list[str]]:
    """Return the size and the place of an antiparallel state of `FEWEST` points, None and why without one.

    Its points are outliers to the search. They are the state if they are the only ones of their number side by side,
    agree within the noise of the parallel state, and differ from it by `CLEAR` of their standard deviation.
    """
    best: tuple[float, Switch] | None = None
    reasons = []
    for trace, resolution in zip(traces, resolutions, strict=True):
        time = np.linspace(-0.5, 0.5, len(trace))
        off_line = trace - np.polynomial.Polynomial.fit(time, trace, 1)(time)
        good = _inliers(trace, resolution, _robust_std(off_line))
        runs = [(k, len(list(run))) for k, run in itertools.groupby(range(len(trace)), key=lambda i: good[i])]
        ends = np.cumsum([size for _, size in runs])
        places = [(end - size, size) for end, (inside, size) in zip(map(int, ends), runs, strict=True) if not inside]
        several = [first for first, size in places if size == FEWEST and LEAST <= first <= len(trace) - FEWEST - LEAST]
        if len(several) == 1:
            switch = Switch(several[0], several[0] + FEWEST)
            fitted = levels(trace, switch, resolution)
            apart = abs(trace[switch.first] - trace[switch.first + 1])
            if apart <= OUTLIER * math.sqrt(2) * fitted.noise and abs(fitted.step_over_std) >= CLEAR:
                if best is None or abs(fitted.step_over_std) > best[0]:
                    best = abs(fitted.step_over_std), switch
                continue
        if places:
            reasons.append(
                f"single points stand out ({len(places)} times, at most {max(size for _, size in places)} side by "
                f"side), which may be spikes: an antiparallel state needs {FEWEST} points that agree, better {LEAST}; "
                "sweep in finer steps"
            )
    return best, reasons


def _polished(traces: Sequence[np.ndarray], switch: Switch, resolutions: Sequence[float]) -> Switch:
    """Return the most likely places by all traces together, near those that one of them shows best."""
    known = [levels(trace, switch, resolution) for trace, resolution in zip(traces, resolutions, strict=True)]
    for _ in range(5):
        first, end = (int(np.argmax(part)) for part in likelihood(traces, switch, known))
        if (first, end) == (switch.first, switch.end) or end - first < min(LEAST, switch.end - switch.first):
            break
        switch = Switch(first, end)
    return switch


def levels(trace: np.ndarray, switch: Switch, resolution: float = 0.0, plateau: Plateau | None = None) -> Levels:
    """Return both levels of a trace that switches there, outliers left out, and their covariance.

    The covariance knows correlated noise (`noise.covariance`) and rounding. Rounding to a grid of spacing q shifts all
    points of a level alike, unless noise of standard deviation s carries them across: the variance of that shift is
    q^2/12 exp(-(2 pi s/q)^2), the first harmonic of the error of rounding (Widrow and Kollar, Quantization Noise, 2008,
    section 4.3).

    Where the antiparallel state is no level, because magnets turn gradually or in more than one step, AP is the part
    of it that is furthest from P; `regression` knows that it is known no better than it differs from the whole.

    Args:
      trace: (points,).
      switch: between which points it switches.
      resolution: smallest distance of two numbers, 0: not known.
      plateau: of another harmonic of the same sweep; None: looked for here.
    """
    n = len(trace)
    fit = _Fit.of(trace, switch, resolution)
    plateau = plateau or _plateau(trace, switch, fit, resolution)
    outliers = int(n - np.sum(fit.good))
    if plateau is not None:
        good = fit.good.copy()
        good[switch.first : switch.end] = False
        outliers = int(np.sum(~good)) - (switch.end - switch.first)
        good[plateau.points] = True
        fit = _Fit.with_points(trace, fit.design, good)
    P, AP, drift = map(float, fit.coefficients)
    kept = int(np.sum(fit.good))
    residual = fit.residual[fit.good]
    std = math.sqrt(float(residual @ residual) / max(kept - 3, 1))
    # Points left out take the residual of their neighbours, so that those that are left stay in their places.
    filled = np.interp(np.arange(n), np.flatnonzero(fit.good), residual)
    whole = noise.covariance(fit.design @ fit.coefficients + filled, fit.design, (switch.first, switch.end))
    rounding = _rounding(std, resolution)
    covariance = whole[:2, :2] * (n / kept) + np.eye(2) * rounding
    step, variance = AP - P, _of_step(covariance)
    size = step / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, step) if step else 0.0
    independent = std**2 * _of_step(np.linalg.inv(fit.design[fit.good].T @ fit.design[fit.good])[:2, :2])
    widening = variance / independent if independent else 1.0
    return Levels(P, AP, covariance, drift, size, std, widening, outliers, plateau, resolution, rounding)


def _of_step(covariance: np.ndarray) -> float:
    """Return the variance of the difference of two numbers."""
    return float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])


def _rounding(std: float, resolution: float) -> float:
    """Return the variance of a level that rounding leaves, see `levels`."""
    if not resolution:
        return 0.0
    # A level half way between two numbers reads both, with a variance of q^2/4: only what is beyond is surely noise.
    dither = max(std**2 - resolution**2 / 4, 0.0)
    return resolution**2 / 12 * math.exp(-((2 * math.pi) ** 2) * dither / resolution**2)


@dataclasses.dataclass(frozen=True, eq=False)
class _Fit:
    """Least squares of P, AP and drift.

    Attributes:
      design: (points, 3).
      coefficients: P, AP, drift.
      residual: of all points.
      good: which points are no outliers.
    """

    design: np.ndarray
    coefficients: np.ndarray
    residual: np.ndarray
    good: np.ndarray

    @classmethod
    def with_points(cls, trace: np.ndarray, design: np.ndarray, good: np.ndarray) -> _Fit:
        """Fit those points that are good."""
        coefficients = np.linalg.lstsq(design[good], trace[good], rcond=None)[0]
        return cls(design, coefficients, trace - design @ coefficients, good)

    @classmethod
    def of(cls, trace: np.ndarray, switch: Switch, resolution: float) -> _Fit:
        """Fit all points but outliers."""
        n = len(trace)
        inside = np.zeros(n, bool)
        inside[switch.first : switch.end] = True
        design = np.stack([~inside, inside, np.linspace(-0.5, 0.5, n)], axis=1)
        fit = cls.with_points(trace, design, np.ones(n, bool))
        for _ in range(10):
            # A large spike draws a level towards itself, away from all other points, but not their median.
            medians = [np.median(fit.residual[fit.good & side]) for side in (~inside, inside)]
            off = fit.residual - design[:, :2] @ medians
            spread = max(_robust_std(off[fit.good]), resolution / math.sqrt(12))
            kept = np.abs(off) <= OUTLIER * spread if spread > 0 else fit.good
            # A side that would lose all its points is no outlier.
            few = min(np.sum(kept & side) for side in (~inside, inside)) < min(LEAST, switch.end - switch.first)
            if np.array_equal(kept, fit.good) or few:
                break
            fit = cls.with_points(trace, design, kept)
        return fit


def _plateau(trace: np.ndarray, switch: Switch, fit: _Fit, resolution: float) -> Plateau | None:
    """Return the part of the antiparallel state that is furthest from P; None if the state is a level.

    It is none if `LEAST` neighbouring points, or half of all, lie further from the median than noise outside explains.
    """
    P = fit.coefficients[0]
    flat = trace - fit.coefficients[2] * fit.design[:, 2]
    outside = np.delete(flat, slice(switch.first, switch.end))
    reach = OUTLIER * max(_robust_std(outside), resolution / math.sqrt(12))
    inside = flat[switch.first : switch.end]
    off = np.abs(inside - np.median(inside)) > reach
    longest = max((sum(1 for _ in run) for bad, run in itertools.groupby(off) if bad), default=0)
    if not reach or len(inside) <= FEWEST or (longest < LEAST and 2 * np.sum(off) < len(off)):
        return None
    means = np.convolve(inside, np.full(LEAST, 1 / LEAST), "valid")
    low = int(np.argmax(np.abs(means - P)))
    high, level = low + LEAST, float(means[low])
    while low > 0 and abs(inside[low - 1] - level) <= reach:
        low -= 1
    while high < len(inside) and abs(inside[high] - level) <= reach:
        high += 1
    furthest = float(np.mean(inside[low:high]))
    share = abs((furthest - float(np.mean(inside))) / (furthest - P))
    return Plateau(slice(switch.first + low, switch.first + high), share)


def likelihood(traces: Sequence[np.ndarray], switch: Switch, known: Sequence[Levels]) -> tuple[np.ndarray, np.ndarray]:
    """Relative likelihood that the first, and the second, breakpoint is at each place, the other one held (points,).

    exp(-chi2/2) up to a factor, chi2 of all traces together and widened for correlated noise as the levels are. Where
    the step is large against the noise there is one place; a step of a few standard deviations leaves several.

    Args:
      traces: (points,) each.
      switch: the breakpoints.
      known: levels of the traces at breakpoints nearby, for their noise.
    """
    n, least = len(traces[0]), min(LEAST, switch.end - switch.first)
    chi2 = np.full((2, n), np.inf)
    places = (range(LEAST, switch.end - least + 1), range(switch.first + least, n - LEAST + 1))
    chi2[0, places[0].start : places[0].stop] = 0
    chi2[1, places[1].start : places[1].stop] = 0
    for trace, level in zip(traces, known, strict=True):
        if level.noise == 0:
            continue
        P, AP, drift = _Fit.of(trace, switch, 0.0).coefficients
        flat = trace - P - drift * np.linspace(-0.5, 0.5, n)
        apart = flat - (AP - P)
        # A spike beyond both levels speaks for neither.
        limit = max(OUTLIER * level.noise, abs(AP - P)) ** 2
        change = np.minimum(apart**2, limit) - np.minimum(flat**2, limit)
        variance = level.noise**2 * max(level.widening, 1.0)
        sums = np.concatenate([[0.0], np.cumsum(change)[:-1]]) / variance
        # chi2 with the antiparallel state from first to end is the sum of `change` in between, plus a constant.
        chi2[0] -= sums
        chi2[1] += sums
    if not np.any(chi2[np.isfinite(chi2)]):  # no noise in any trace
        chi2[:] = np.inf
        chi2[0, switch.first] = chi2[1, switch.end] = 0
    weight = np.exp(-0.5 * (chi2 - np.min(chi2, axis=1, keepdims=True)))
    first, second = weight / np.sum(weight, axis=1, keepdims=True)
    return first, second


def _search(trace: np.ndarray, good: np.ndarray) -> tuple[Switch | None, float, float]:
    """Return the best pair of breakpoints, how much it lowers the sum of squares, and how much a single one does.

    Both in units of the variance that is left. Outliers have weight zero.
    """
    n = len(trace)
    weight = good.astype(float)
    time = np.arange(n, dtype=float)
    basis = np.stack([weight, weight * time], axis=1)
    q, _ = np.linalg.qr(basis)
    clean = np.where(good, trace, 0.0)
    residual = weight * (clean - q @ (q.T @ clean))
    # Sums up to each breakpoint: of the residual, of the weight, and of both basis vectors.
    sums = np.concatenate([[0.0], np.cumsum(residual)])
    counts = np.concatenate([[0.0], np.cumsum(weight)])
    parts = np.concatenate([np.zeros((1, 2)), np.cumsum(q * weight[:, None], axis=0)])

    def gain(first: int | np.ndarray, end: int | np.ndarray) -> np.ndarray:
        inner = sums[end] - sums[first]
        size = counts[end] - counts[first] - np.sum((parts[end] - parts[first]) ** 2, axis=-1)
        return np.where(size > 1e-9 * n, inner**2 / np.maximum(size, 1e-9 * n), 0.0)

    total = float(residual @ residual)
    if total <= 1e-20 * max(float(clean @ clean), 1e-300):
        return None, 0.0, 0.0
    best, switch = -1.0, Switch(0, 0)
    # One row of the triangle of pairs at a time: all of them at once are gigabytes for some thousand points.
    for first in range(LEAST, n - 2 * LEAST + 1):
        row = gain(first, np.arange(first + LEAST, n - LEAST + 1))
        k = int(np.argmax(row))
        if row[k] > best:
            best, switch = float(row[k]), Switch(first, first + LEAST + k)
    alone = float(np.max(gain(np.arange(LEAST, n - LEAST + 1), n)))
    # Round-off of a noiseless trace must not make the variance vanish.
    variance = max((total - max(best, alone)) / max(float(np.sum(good)) - 3, 1.0), 1e-24 * total)
    return switch, best / variance, alone / variance


def _inliers(trace: np.ndarray, resolution: float, least: float = 0.0) -> np.ndarray:
    """Points that are no spikes above a running median, which keeps steps; `least`: the noise is no smaller."""
    padded = np.pad(trace, 2, mode="reflect")
    median = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    residual = trace - median
    spread = max(_robust_std(residual), resolution / math.sqrt(12), least)
    return np.abs(residual) <= OUTLIER * spread if spread > 0 else np.ones(len(trace), bool)


def _robust_std(values: np.ndarray) -> float:
    """1.4826 times the median absolute deviation, the standard deviation of Gaussian noise."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))
