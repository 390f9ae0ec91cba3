"""The faces at which the solids of a grid meet, node by node: on grid lines, and on edges that cut cells."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from thermospin.base import polygons
from thermospin.base.quadrature import gauss_lobatto, passages
from thermospin.geometry.cell_parts import CellParts
from thermospin.grid import SLIVER, Grid, Prism

#: A point this far from an edge is beside it [m].
BESIDE = 10 * polygons.TOUCH
#: Points and weights that integrate a cubic on [0, 1].
GAUSS = ((0.5 - 0.75**0.5 / 3, 0.5), (0.5 + 0.75**0.5 / 3, 0.5))


class Faces(NamedTuple):
    """Faces between two solids, node by node.

    Attributes:
      axis: the axis that each is normal to, or closest to it (faces,).
      tails, heads: nodes before and behind (faces,).
      areas: [m^2] (faces,).
      before, behind: solids (faces,).
    """

    axis: np.ndarray
    tails: np.ndarray
    heads: np.ndarray
    areas: np.ndarray
    before: np.ndarray
    behind: np.ndarray

    def with_nodes(self, nodes: np.ndarray) -> Faces:
        """Return the faces with these nodes in place of their positions among them (positions,)."""
        return self._replace(tails=nodes[self.tails], heads=nodes[self.heads])


def faces_between(parts: CellParts, cells: np.ndarray, ids: np.ndarray) -> Faces:
    """Return the faces between the solids of some cells.

    Args:
      parts: of the cells of the grid.
      cells: indices of the cells (cells, 3).
      ids: nodes of the parts of these cells (cells, parts, p+1, p+1, p+1).
    """
    position = np.full(parts.grid.domain.shape, -1)
    position[tuple(cells.T)] = np.arange(len(cells))
    is_cut = len(parts.area) > 0
    pieces = [_between_whole(parts, cells, position, ids, axis) for axis in range(2 if is_cut else 3)]
    if is_cut:
        pieces += _horizontal(parts, position, ids)
        pieces += _vertical(parts, position, ids)
    return Faces(*map(np.concatenate, zip(*pieces, strict=True)))


def _faces(axis: int, tails: np.ndarray, heads: np.ndarray, areas: np.ndarray, before: Any, behind: Any) -> Faces:
    """Return faces from values that broadcast."""
    return Faces(*(each.ravel() for each in np.broadcast_arrays(axis, tails, heads, areas, before, behind)))


def _between_whole(parts: CellParts, cells: np.ndarray, position: np.ndarray, ids: np.ndarray, axis: int) -> Faces:
    """Return the faces across an axis between cells of one solid each."""
    grid, p = parts.grid, parts.grid.order
    step = [gauss_lobatto(p)[1] / 2 * np.diff(grid.lines[k])[:, None] for k in range(3)]
    one, other = (k for k in range(3) if k != axis)
    below = cells[cells[:, axis] < grid.domain.shape[axis] - 1]
    above = below + (np.arange(3) == axis)
    lower, upper = position[tuple(below.T)], position[tuple(above.T)]
    first, second = parts.owner[tuple(below.T)][:, 0], parts.owner[tuple(above.T)][:, 0]
    whole = (parts.row[tuple(below.T)] < 0) & (parts.row[tuple(above.T)] < 0)
    here = np.flatnonzero((upper >= 0) & whole & (first != second) & (first >= 0) & (second >= 0))
    area = step[one][below[here, one]][:, :, None] * step[other][below[here, other]][:, None, :]
    tails = np.take(ids[lower[here], 0], p, axis=1 + axis)
    heads = np.take(ids[upper[here], 0], 0, axis=1 + axis)
    return _faces(axis, tails, heads, area, first[here, None, None], second[here, None, None])


def _meeting(prisms: Sequence[Prism]) -> np.ndarray:
    """Mark pairs of prisms of different solids whose outlines may touch: their boxes do (prisms, prisms)."""
    low = np.array([prism.outline.min(axis=0) for prism in prisms])
    high = np.array([prism.outline.max(axis=0) for prism in prisms])
    solid = np.array([prism.domain for prism in prisms])
    reaches = np.all(low[:, None] <= high + BESIDE, axis=2)
    return reaches & reaches.T & (solid[:, None] != solid)


def _horizontal(parts: CellParts, position: np.ndarray, ids: np.ndarray) -> Iterator[Faces]:
    """Yield the faces between prisms that stand on each other."""
    grid, p = parts.grid, parts.grid.order
    for below, above in ((grid.prisms[i], grid.prisms[j]) for i, j in np.argwhere(_meeting(grid.prisms))):
        if abs(below.heights[1] - above.heights[0]) > polygons.TOUCH:
            continue
        shared = [below.outline]
        if below.outline is not above.outline:
            shared = polygons.boolean([below.outline], [above.outline], "and", polygons.TOUCH**2)
        if not shared:
            continue
        one, other = below.domain, above.domain
        areas = grid.top_areas(shared)
        areas[areas < SLIVER * np.multiply.outer(*map(np.diff, grid.lines[:2]))[..., None, None]] = 0.0
        layer = grid.line_index(2, above.heights[0])
        for i, j in np.argwhere(areas.sum(axis=(2, 3)) > 0).tolist():
            lower, upper = (i, j, layer - 1), (i, j, layer)
            mine, yours = parts.part_of(lower, one), parts.part_of(upper, other)
            if mine is None or yours is None or position[lower] < 0 or position[upper] < 0:
                continue
            kept = (areas[i, j] > 0) & parts.has_nodes(lower, mine) & parts.has_nodes(upper, yours)
            tails, heads = ids[position[lower], mine, :, :, p], ids[position[upper], yours, :, :, 0]
            yield _faces(2, tails[kept], heads[kept], areas[i, j][kept], one, other)


def _vertical(parts: CellParts, position: np.ndarray, ids: np.ndarray) -> Iterator[Faces]:
    """Yield the faces between prisms beside each other, where edges of solids cut one of their cells."""
    grid = parts.grid
    strips: list[_Strip] = []
    for one, other in ((grid.prisms[i], grid.prisms[j]) for i, j in np.argwhere(np.triu(_meeting(grid.prisms)))):
        low, high = max(one.heights[0], other.heights[0]), min(one.heights[1], other.heights[1])
        if low >= high - polygons.TOUCH:
            continue
        layers = range(grid.line_index(2, low), grid.line_index(2, high))
        for start, stop in polygons.shared_pieces(one.outline, other.outline):
            strips += _upright(parts, one, other, start, stop, layers)
    for strip in sorted(strips, key=lambda strip: strip.axis):
        yield from _stacked(parts, strip, position, ids)


@dataclasses.dataclass(frozen=True, eq=False)
class _Strip:
    """A piece of an edge within one cell on either side.

    Attributes:
      axis: the axis that its normal is closest to.
      cells: cells seen from above, before and behind.
      solids: before and behind.
      nodes: nodes on it, before and behind, local indices along x and y (2, nodes, 2).
      lengths: of it for each of them [m] (nodes,).
      layers: of cells at its heights.
    """

    axis: int
    cells: tuple[tuple[int, int], tuple[int, int]]
    solids: tuple[int, int]
    nodes: np.ndarray
    lengths: np.ndarray
    layers: range


def _upright(
    parts: CellParts, one: Prism, other: Prism, start: np.ndarray, stop: np.ndarray, layers: range
) -> Iterator[_Strip]:
    """Yield the strips of a common edge of two prisms, cut where test functions change their slope."""
    grid, p = parts.grid, parts.grid.order
    ends, values, _ = passages(p)
    along, length = stop - start, float(np.linalg.norm(stop - start))
    normal = np.array([-along[1], along[0]]) / length
    if not polygons.contains(other.outline, (start + stop) / 2 + BESIDE * normal):
        normal = -normal
    breaks = [0.0, 1.0]
    for axis in range(2):
        fine = (grid.lines[axis][:-1, None] + np.diff(grid.lines[axis])[:, None] * ends).ravel()
        if abs(along[axis]) > polygons.TOUCH:
            breaks += ((fine - start[axis]) / along[axis]).tolist()
    cuts = np.unique(np.clip(breaks, 0.0, 1.0))
    axis = int(np.argmax(np.abs(normal)))
    for a, b in itertools.pairwise(cuts[np.append(True, np.diff(cuts) * length > polygons.TOUCH)].tolist()):
        middle = start + (a + b) / 2 * along
        before, behind = (_cell_at(grid, middle + sign * BESIDE * normal) for sign in (-1, 1))
        if before is None or behind is None or max(parts.row[(*side, layers[0])] for side in (before, behind)) < 0:
            continue
        weights = np.zeros((p + 1, p + 1))
        for point, weight in GAUSS:
            at = start + (a + (b - a) * point) * along
            hats = [_hats(grid.lines[k], before[k], float(at[k]), ends, values) for k in range(2)]
            weights += weight * (b - a) * length * np.outer(*hats)
        local = np.argwhere(weights > 1e-9 * length * (b - a))
        moved = local + p * (np.array(before) - np.array(behind))
        kept = np.all((moved >= 0) & (moved <= p), axis=1)
        local, moved = local[kept], moved[kept]
        lengths = weights[tuple(local.T)]
        if normal[axis] > 0:
            cells, solids, nodes = (before, behind), (one.domain, other.domain), np.stack([local, moved])
        else:
            cells, solids, nodes = (behind, before), (other.domain, one.domain), np.stack([moved, local])
        yield _Strip(axis, cells, solids, nodes, lengths, layers)


def _cell_at(grid: Grid, point: np.ndarray) -> tuple[int, int] | None:
    """Return the cell, seen from above, that a point lies in."""
    i, j = (int(np.searchsorted(grid.lines[k], point[k])) - 1 for k in range(2))
    return (i, j) if 0 <= i < grid.domain.shape[0] and 0 <= j < grid.domain.shape[1] else None


def _hats(line: np.ndarray, cell: int, at: float, ends: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the test functions of the nodes of a cell at a position (p+1,)."""
    x = min(max((at - line[cell]) / (line[cell + 1] - line[cell]), 0.0), 1.0)
    piece = min(max(int(np.searchsorted(ends, x)) - 1, 0), len(ends) - 2)
    t = (x - ends[piece]) / (ends[piece + 1] - ends[piece])
    return np.asarray((1 - t) * values[:, piece, 0] + t * values[:, piece, 1])


def _stacked(parts: CellParts, strip: _Strip, position: np.ndarray, ids: np.ndarray) -> Iterator[Faces]:
    """Yield the faces over a strip at all heights."""
    p, z = parts.grid.order, parts.grid.lines[2]
    for layer in strip.layers:
        cells = [(*cell, layer) for cell in strip.cells]
        which = [parts.part_of(cell, solid) for cell, solid in zip(cells, strip.solids, strict=True)]
        if None in which or any(position[cell] < 0 for cell in cells):
            continue
        kept = np.ones(len(strip.lengths), bool)
        ends = []
        for cell, part, local in zip(cells, which, strip.nodes, strict=True):
            assert part is not None
            kept &= parts.has_nodes(cell, part)[tuple(local.T)]
            ends.append(ids[position[cell], part, local[:, 0], local[:, 1], :])
        areas = strip.lengths[:, None] * gauss_lobatto(p)[1] / 2 * (z[layer + 1] - z[layer])
        yield _faces(strip.axis, ends[0][kept], ends[1][kept], areas[kept], *strip.solids)
