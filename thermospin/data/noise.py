"""Noise of a trace: how far its correlation widens error bars, by restricted maximum likelihood.

The output of a lock-in amplifier is white noise behind m equal low-pass filters of time constant T, taken at even
steps, beside a part w that is white (rounding, the reading itself). Its correlation at a lag t is, with x = t/T,

    (1 - w) rho_m(x) + w [t = 0],
    rho_1 = exp(-x),   rho_2 = (1 + x) exp(-x),   rho_4 = (1 + x + 2x^2/5 + x^3/15) exp(-x)

(Matern's family: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, equations 4.16 and 4.17). Means
of such noise are less certain than those of independent points, by sqrt(2 T) and more; and of few time constants the
fitted levels absorb so much that what is left looks better than it is. Restricted likelihood knows both (Patterson and
Thompson, Biometrika 58, 545 (1971)). Poles and time constant are not chosen but averaged over.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

#: White parts of the noise that are tried for each number of poles, 6, 12 and 24 dB per octave: down to what the
#: filtered noise itself has left at the highest frequency.
WHITE = {1: (1e-3,), 2: (1e-3, 1e-6), 4: (1e-3, 1e-6, 1e-9)}
#: Number of time constants that are tried, from less than a step to a quarter of the trace: slower noise looks like the
#: drift and like an offset of the whole sweep, of which a single sweep says nothing.
TIMES = 10
#: Weight beforehand of white noise: most records are taken at more than three time constants a point.
PROBABLY_WHITE = 0.9
#: Longer traces are averaged over runs of points to about this many.
MOST_POINTS = 100


def covariance(trace: np.ndarray, design: np.ndarray, edges: tuple[int, ...] = ()) -> np.ndarray:
    """Return the covariance of the least-squares coefficients of a trace (columns, columns), noise correlated or not.

    Args:
      trace: at even steps (points,), in any unit.
      design: the trace is design @ coefficients + noise (points, columns).
      edges: points before which a run of averaged points ends, such as where a level begins.
    """
    y, x = _averaged(trace, design, edges)
    n, k = x.shape
    noises = _noises(n)
    white = noises.whitening @ np.column_stack([x, y])
    columns, target = white[..., :k], white[..., k:]
    information = columns.mT @ columns
    residual = target - columns @ np.linalg.solve(information, columns.mT @ target)
    variance = np.sum(residual**2, axis=(1, 2)) / (n - k)
    if not np.all(variance > 0):
        return np.zeros((k, k))
    spread = noises.log_determinants + np.linalg.slogdet(information)[1]
    likelihood = noises.log_weights - 0.5 * (spread + (n - k) * np.log(variance))
    weight = np.exp(likelihood - np.max(likelihood))
    unit = np.linalg.inv(x.T @ x) @ x.T
    return np.tensordot(weight / np.sum(weight) * variance, unit @ noises.correlations @ unit.T, 1)


class _Noises(NamedTuple):
    """Kinds of noise at even steps.

    Attributes:
      correlations: (kinds, points, points).
      whitening: inverse Cholesky factors (kinds, points, points).
      log_determinants: of the correlations (kinds,).
      log_weights: logarithms of how likely each is beforehand (kinds,).
    """

    correlations: np.ndarray
    whitening: np.ndarray
    log_determinants: np.ndarray
    log_weights: np.ndarray


@functools.lru_cache(maxsize=4)
def _noises(n: int) -> _Noises:
    lags = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    filtered = [
        (1 - white) * _filtered(poles, lags / time) + white * np.eye(n)
        for poles, whites in WHITE.items()
        for time in np.geomspace(0.7, n / 4, TIMES)
        for white in whites
    ]
    correlations = np.array([np.eye(n), *filtered])
    factors = np.linalg.cholesky(correlations)
    determinants = 2 * np.sum(np.log(np.diagonal(factors, axis1=1, axis2=2)), axis=1)
    weights = np.log([PROBABLY_WHITE, *[(1 - PROBABLY_WHITE) / len(filtered)] * len(filtered)])
    return _Noises(correlations, np.linalg.inv(factors), determinants, weights)


def _filtered(poles: int, x: np.ndarray) -> np.ndarray:
    """Return rho_m(x)."""
    series = {1: 1.0, 2: 1 + x, 4: 1 + x + 0.4 * x**2 + x**3 / 15}
    return series[poles] * np.exp(-x)


def _averaged(trace: np.ndarray, design: np.ndarray, edges: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return trace and design averaged over runs of neighbouring points, none across an edge."""
    size = math.ceil(len(trace) / MOST_POINTS)
    if size == 1:
        return trace, design
    stops = [0, *edges, len(trace)]
    starts = np.array([start for a, b in zip(stops[:-1], stops[1:], strict=True) for start in range(a, b, size)])
    counts = np.diff(np.append(starts, len(trace)))
    return np.add.reduceat(trace, starts) / counts, np.add.reduceat(design, starts, axis=0) / counts[:, None]
