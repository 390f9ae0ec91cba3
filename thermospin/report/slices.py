"""Nodal fields in a horizontal plane: values, the cells that hold them, where they are large, and fine samples of them.

Knows no matplotlib; `field_figures` draws.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.files import Fields
from thermospin.report.views import Extent


@dataclasses.dataclass(frozen=True, eq=False)
class Slice:
    """A field in a plane z = constant.

    Attributes:
      x, y: coordinates of the nodes [m].
      values: at the nodes (nx, ny), NaN where the field does not live.
      cells: which cells between nodes are filled (nx - 1, ny - 1), for the largest part.
    """

    x: np.ndarray
    y: np.ndarray
    values: np.ndarray
    cells: np.ndarray

    def interesting(self, share: float) -> Extent:
        """Return where the field exceeds a share of its greatest magnitude, with a margin, not too long and narrow."""
        size = np.where(np.isfinite(self.values), np.abs(self.values), 0.0)
        corner = np.max([size[1:, 1:], size[1:, :-1], size[:-1, 1:], size[:-1, :-1]], axis=0)
        large = self.cells & (corner >= share * np.max(corner[self.cells], initial=0.0))
        if not large.any():
            large = np.ones_like(self.cells)
        sides = []
        for nodes, hit in ((self.x, large.any(axis=1)), (self.y, large.any(axis=0))):
            index = np.nonzero(hit)[0]
            sides.append((float(nodes[index[0]]), float(nodes[index[-1] + 1])))
        longest = max(high - low for low, high in sides)
        extent = []
        for (low, high), nodes in zip(sides, (self.x, self.y), strict=True):
            half = max(0.5 * (high - low) + 0.08 * longest, 0.35 * longest)
            middle = (low + high) / 2
            extent.append((max(middle - half, float(nodes[0])), min(middle + half, float(nodes[-1]))))
        return extent[0], extent[1]

    def samples(self, extent: Extent, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return bilinear samples at the middles of square pixels, `count` on the longer side; NaN beside a NaN."""
        step = max(high - low for low, high in extent) / count
        middles = []
        for low, high in extent:
            number = max(2, round((high - low) / step))
            middles.append(low + (np.arange(number) + 0.5) * (high - low) / number)
        u, v = middles
        i = np.clip(np.searchsorted(self.x, u) - 1, 0, len(self.x) - 2)
        j = np.clip(np.searchsorted(self.y, v) - 1, 0, len(self.y) - 2)
        s = ((u - self.x[i]) / (self.x[i + 1] - self.x[i]))[:, None]
        t = ((v - self.y[j]) / (self.y[j + 1] - self.y[j]))[None, :]
        at = [[self.values[np.ix_(i + a, j + b)] for b in (0, 1)] for a in (0, 1)]
        image = (1 - s) * ((1 - t) * at[0][0] + t * at[0][1]) + s * ((1 - t) * at[1][0] + t * at[1][1])
        return u, v, image


def slice_at(name: str, values: np.ndarray, fields: Fields, z: float, filled: np.ndarray | None = None) -> Slice:
    """Return a field in the plane z, linear between the two planes of nodes around it; on a face what lies above.

    Where nothing lies above a face it is what lies below, node by node.

    Args:
      name: what messages call the field.
      values: at the nodes of `fields` (nx, ny, nz), NaN where it does not live.
      fields: for the coordinates [m].
      z: [m].
      filled: cells between nodes that hold the field (nx - 1, ny - 1, nz - 1), which tell a thin void between two
        bodies from a body; None: those with values at all corners.
    Raises:
      InputError: the plane misses the grid or holds nothing; the message says where there is something.
    """
    nodes = fields.z
    tolerance = 1e-9 * (nodes[-1] - nodes[0])
    if not nodes[0] - tolerance <= z <= nodes[-1] + tolerance:
        raise InputError(f"Plane z = {_nm(z)} nm misses the grid, which spans {_nm(nodes[0])} to {_nm(nodes[-1])} nm.")
    live = _around(np.isfinite(values)) & (np.diff(nodes) > 0)
    # The last node that is not above the plane, and the first one that is not below it: on a face one in the other's
    # place, or the two that a face has where fields jump.
    last = int(np.searchsorted(nodes, z + tolerance, side="right")) - 1
    first = int(np.searchsorted(nodes, z - tolerance))
    layers = [layer for layer in {last, first - 1} if 0 <= layer < len(nodes) - 1]
    if last < first:
        part = (z - nodes[last]) / (nodes[first] - nodes[last])
        plane = (1 - part) * values[:, :, last] + part * values[:, :, first]
    else:
        plane = np.where(np.isfinite(values[:, :, last]), values[:, :, last], values[:, :, first])
    cells = np.any((live if filled is None else filled)[:, :, layers], axis=2)
    plane = _completed(plane, cells)
    cells &= _around(np.isfinite(plane))
    if not cells.any():
        held = live if filled is None else live & filled
        raise InputError(f"Plane z = {_nm(z)} nm holds no {name}; {_whereabouts(nodes, held)}.")
    return Slice(fields.x, fields.y, plane, cells)


def _completed(plane: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return values with the mean of their neighbours at corners of filled cells that have none.

    The outer corners of cells of which a slanted edge leaves little have no unknowns of their own.
    """
    total, count = np.zeros(plane.shape), np.zeros(plane.shape)
    corners = [(slice(a, a - 1 or None), slice(b, b - 1 or None)) for a in (0, 1) for b in (0, 1)]
    at = np.stack([plane[corner] for corner in corners])
    known = np.isfinite(at).sum(axis=0)
    mean = np.nansum(at, axis=0) / np.maximum(known, 1)
    for corner in corners:
        total[corner] += np.where(cells & (known > 0), mean, 0.0)
        count[corner] += cells & (known > 0)
    return np.where(np.isfinite(plane) | (count == 0), plane, total / np.maximum(count, 1))


def _around(live: np.ndarray) -> np.ndarray:
    """Mark the cells whose corners are all marked."""
    for axis in range(live.ndim):
        live = np.take(live, range(1, live.shape[axis]), axis) & np.take(live, range(live.shape[axis] - 1), axis)
    return live


def _whereabouts(nodes: np.ndarray, filled: np.ndarray) -> str:
    """Say at which heights there is something."""
    steps = np.diff(np.pad((filled.any(axis=(0, 1)) | (np.diff(nodes) == 0)).astype(int), 1))
    spans = [(nodes[low], nodes[high]) for low, high in zip(*(np.nonzero(steps == s)[0] for s in (1, -1)), strict=True)]
    texts = [f"from {_nm(low)} to {_nm(high)} nm" for low, high in spans if high > low]
    return f"it lives {' and '.join(texts)}" if texts else "it is NaN everywhere"


def _nm(length: float) -> str:
    """Write a length in nm, without what is left of a sum of decimal numbers."""
    return f"{round(1e9 * length, 6) + 0.0:.6g}"
