"""Magnetic switching in one field sweep: where it switches, and the levels in the parallel and antiparallel state.

The model of a trace is two levels and a linear drift, y = P + drift t outside, AP + drift t between two breakpoints.
For any two breakpoints the best levels are a linear least-squares problem whose residual is known from running sums, so
that all pairs are tried: the search is exact (Bai and Perron, Econometrica 66, 47 (1998)).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

#: Least number of points before, between and after the switches, and in a sweep.
LEAST, LEAST_IN_ALL = 3, 12
#: A step counts if it is this many standard deviations: of n^2/2 trials of pure noise the largest is about
#: sqrt(4 ln n), 5.3 for 1000 points.
CLEAR = 6.0
#: A second breakpoint has to lower the sum of squares, in units of the variance, by more than a line of noise would.
SECOND = 30.0
#: Points further off than this many robust standard deviations are outliers; of Gaussian noise 1 in 1.7 million is.
OUTLIER = 5.0
#: A sweep turns where the field goes back by more than this part of its range.
TURN = 0.1


@dataclasses.dataclass(frozen=True)
class Levels:
    """Two levels of one trace.

    Attributes:
      P, AP: levels, drift taken out at the middle of the sweep, in units of the trace.
      covariance: of (P, AP) (2, 2).
      drift: from end to end.
      step_over_std: (AP - P)/std.
      noise: standard deviation of one point.
      correlation: of neighbouring residuals, which the covariance takes into account.
      outliers: number of points left out.
    """

    P: float
    AP: float
    covariance: np.ndarray
    drift: float
    step_over_std: float
    noise: float
    correlation: float
    outliers: int


@dataclasses.dataclass(frozen=True)
class Switch:
    """Between which points a sweep switches: first and one past the last point in the antiparallel state."""

    first: int
    end: int


def branches(field: np.ndarray) -> list[slice]:
    """Stretches in which the field goes one way, up to reversals of `TURN` of its range."""
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
    turns.append(len(field))
    return [slice(a, b) for a, b in zip(turns[:-1], turns[1:], strict=True)]


def find(traces: Sequence[np.ndarray]) -> tuple[Switch | None, str]:
    """Return the switch of a sweep in one direction, in the trace that shows it best; None, and why, without one.

    Args:
      traces: of each harmonic (points,), without NaN.
    """
    best: tuple[float, Switch] | None = None
    reasons = []
    for trace in traces:
        if len(trace) < LEAST_IN_ALL:
            return None, f"{len(trace)} points, at least {LEAST_IN_ALL} are needed"
        good = _inliers(trace)
        switch, gain, alone = _search(trace, good)
        if switch is None:
            reasons.append("constant but for a drift")
            continue
        fitted = levels(trace, switch)
        size = abs(fitted.step_over_std)
        if alone > CLEAR**2 and gain - alone < SECOND:
            reasons.append("the signal steps once and does not come back: one of the magnets never switches")
        elif size < CLEAR or gain - alone < SECOND:
            reasons.append(f"the best step is {size:.1f} standard deviations, {CLEAR:g} are needed")
        elif best is None or size > best[0]:
            best = size, switch
    if best is None:
        return None, "; ".join(dict.fromkeys(reasons))
    return _polished(traces, best[1]), ""


def _polished(traces: Sequence[np.ndarray], switch: Switch) -> Switch:
    """Return the most likely places by all traces together, near those that one of them shows best."""
    for _ in range(5):
        first, end = (int(np.argmax(part)) for part in likelihood(traces, switch))
        if (first, end) == (switch.first, switch.end) or end - first < LEAST:
            break
        switch = Switch(first, end)
    return switch


def levels(trace: np.ndarray, switch: Switch) -> Levels:
    """Both levels of a trace that switches there, outliers left out, and their covariance.

    The covariance is that of independent points times (1 + r)/(1 - r), r the correlation of neighbouring residuals:
    what first-order autoregressive noise does to a mean (Bartlett 1946).
    """
    n = len(trace)
    time = np.linspace(-0.5, 0.5, n)
    inside = np.zeros(n)
    inside[switch.first : switch.end] = 1.0
    design = np.stack([1 - inside, inside, time], axis=1)
    good = np.ones(n, bool)
    for _ in range(10):
        coefficients = np.linalg.lstsq(design[good], trace[good], rcond=None)[0]
        residual = trace - design @ coefficients
        spread = _robust_std(residual[good])
        kept = np.abs(residual) <= OUTLIER * spread if spread > 0 else good
        # A side that would lose all its points is no outlier.
        if np.array_equal(kept, good) or min(np.sum(kept & (inside > 0)), np.sum(kept & (inside == 0))) < LEAST:
            break
        good = kept
    residual = residual[good]
    degrees = max(int(np.sum(good)) - 3, 1)
    noise = math.sqrt(float(residual @ residual) / degrees)
    neighbours = float(residual[1:] @ residual[:-1]) / max(float(residual @ residual), 1e-300)
    correlation = min(max(neighbours, 0.0), 0.9)
    inverse = np.linalg.inv(design[good].T @ design[good])
    covariance = noise**2 * (1 + correlation) / (1 - correlation) * inverse[:2, :2]
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    step = float(coefficients[1] - coefficients[0])
    size = step / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, step) if step else 0.0
    P, AP, drift = map(float, coefficients)
    return Levels(P, AP, covariance, drift, size, noise, correlation, int(n - np.sum(good)))


def likelihood(traces: Sequence[np.ndarray], switch: Switch) -> tuple[np.ndarray, np.ndarray]:
    """Relative likelihood that the first, and the second, breakpoint is at each place, the other one held (points,).

    exp(-chi2/2) up to a factor, chi2 of all traces together and widened for correlated noise as the levels are. Where
    the step is large against the noise there is one place; a step of a few standard deviations leaves several.
    """
    n = len(traces[0])
    chi2 = np.full((2, n), np.inf)
    places = (range(LEAST, switch.end - LEAST + 1), range(switch.first + LEAST, n - LEAST + 1))
    chi2[0, places[0].start : places[0].stop] = 0
    chi2[1, places[1].start : places[1].stop] = 0
    for trace in traces:
        fitted = levels(trace, switch)
        if fitted.noise == 0:
            continue
        flat = trace - fitted.P - fitted.drift * np.linspace(-0.5, 0.5, n)
        apart = flat - (fitted.AP - fitted.P)
        # A spike beyond both levels speaks for neither.
        limit = max(OUTLIER * fitted.noise, abs(fitted.AP - fitted.P)) ** 2
        change = np.minimum(apart**2, limit) - np.minimum(flat**2, limit)
        variance = fitted.noise**2 * (1 + fitted.correlation) / (1 - fitted.correlation)
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


def _inliers(trace: np.ndarray) -> np.ndarray:
    """Points that are no spikes above a running median, which keeps steps."""
    padded = np.pad(trace, 2, mode="reflect")
    median = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    residual = trace - median
    spread = _robust_std(residual)
    return np.abs(residual) <= OUTLIER * spread if spread > 0 else np.ones(len(trace), bool)


def _robust_std(values: np.ndarray) -> float:
    """1.4826 times the median absolute deviation, the standard deviation of Gaussian noise."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))
