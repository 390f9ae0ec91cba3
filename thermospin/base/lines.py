"""Grid lines along one axis: merging of nearly equal positions, and graded spacing between faces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thermospin.base.polygons import TOUCH

#: Faces closer than this fraction of the device size are one face: they differ by round-off in sums of lengths only.
FACE_TOLERANCE = 1e-9


def coincidence(extent: float) -> float:
    """Return the distance up to which positions are one [m], in a device of some extent [m].

    Round-off in sums of lengths, and `polygons.TOUCH`, at which outlines touch: two lines between which outlines see
    nothing would be a layer of void.
    """
    return max(FACE_TOLERANCE * extent, TOUCH)


def is_mirrored(line: np.ndarray) -> bool:
    """Return whether increasing positions are their own mirror image, within their `coincidence`."""
    return bool(np.ptp(line + line[::-1]) <= coincidence(float(line[-1] - line[0])))


def merge_close(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return sorted values; merge neighbours within the `coincidence` of the total extent."""
    ordered = np.unique(np.asarray(values, dtype=float))
    keep = np.append(True, np.diff(ordered) > coincidence(float(ordered[-1] - ordered[0])))
    return ordered[keep]


def graded_lines(
    faces: np.ndarray, sizes: np.ndarray, growth: float, spans: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """Return grid lines that include every face; cells grow geometrically away from places that need small cells.

    The wanted cell size at x is s(x) = min over spans i of (sizes_i + growth dist(x, span_i)), so that cells grow by a
    factor of about exp(growth) from one to the next. Between two faces, n = ceil(integral dx / s) cells share that
    integral equally. This keeps the growth smooth and moves no face. If `spans` are given, n is rounded up only from a
    fraction of 0.3: otherwise every pair of faces would add most of a line that nothing needs.

    Args:
      faces: positions of the faces [m], ascending.
      sizes: wanted cell size on each span [m]; inf where any size will do.
      growth: relative growth of the cell size per length [1].
      spans: lower and upper ends of the spans [m]; None: each face is a span.
    """
    (lows, highs), spare = ((faces, faces), 1e-9) if spans is None else (spans, 0.3)
    wanted = np.isfinite(sizes)
    near = sizes[wanted, None] * np.geomspace(1e-2, 1e3, 30)
    points = np.concatenate([lows, highs, (lows[wanted, None] - near).ravel(), (highs[wanted, None] + near).ravel()])
    pieces = [faces[:1]]
    for low, high in zip(faces[:-1], faces[1:], strict=True):
        # Sample s(x) with points that get geometrically denser towards the faces, where s is small.
        unit = np.concatenate([[0.0], np.geomspace(1e-5, 0.5, 60)])
        sample = low + (high - low) * np.concatenate([unit, 1 - unit[-2::-1]])
        if spans is not None:
            sample = np.union1d(sample, points[(points > low) & (points < high)])
        distance = np.maximum(np.maximum(lows[None, :] - sample[:, None], sample[:, None] - highs[None, :]), 0.0)
        size = np.min(sizes[None, :] + growth * distance, axis=1)
        steps = np.diff(sample) * 0.5 * (1 / size[1:] + 1 / size[:-1])
        measure = np.append(0.0, np.cumsum(steps))
        count = max(1, int(np.ceil(measure[-1] - spare)))
        inner = np.interp(np.linspace(0, measure[-1], count + 1)[1:], measure, sample)
        inner[-1] = high
        pieces.append(inner)
    return np.concatenate(pieces)
