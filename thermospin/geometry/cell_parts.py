"""The parts that solids have of the cells of a grid, and the faces at which two of them meet, node by node."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from thermospin.base import polygons
from thermospin.base.quadrature import gauss_lobatto, passages
from thermospin.grid import Grid, Prism

#: A point this far from an edge is beside it [m].
BESIDE = 10 * polygons.TOUCH
#: Points and weights that integrate a cubic on [0, 1].
GAUSS = ((0.5 - 0.75**0.5 / 3, 0.5), (0.5 + 0.75**0.5 / 3, 0.5))

#: Faces across an axis: the axis, nodes before and behind, areas [m^2], solids before and behind.
Faces = tuple[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def pairs_of(split: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Mark pairs of solids (broadcast, -1 for none) between which nodes are doubled."""
    return (one >= 0) & (other >= 0) & split[one, other]


@dataclasses.dataclass(frozen=True, eq=False)
class CellParts:
    """The solids in each cell.

    Attributes:
      grid: the grid with a solid for each cell.
      owner: the solid of each part of each cell, -1 for none (nx, ny, nz, parts).
      row: of each cell in the tables of cut cells, -1 for whole ones (nx, ny, nz).
      area, along_x, along_y: of each part of cut cells, see `grid.Cut` (rows, parts, ...).
    """

    grid: Grid
    owner: np.ndarray
    row: np.ndarray
    area: np.ndarray
    along_x: np.ndarray
    along_y: np.ndarray

    @classmethod
    def of(cls, grid: Grid, owners: Grid) -> CellParts:
        """Return the parts of a grid's cells; cells that are whole by domain are one part."""
        p = grid.order
        row = np.full(grid.domain.shape, -1)
        cuts = owners.cuts if grid.prisms and grid.cuts else []
        # The parts of a cell in the order of their cuts.
        rank = np.zeros(grid.domain.shape, int)
        entries, rows = [], 0
        for cut in cuts:
            i, j = cut.place.T
            low = cut.span[0]
            kept = grid.cut[i, j, low]
            i, j = i[kept], j[kept]
            new = row[i, j, low] < 0
            fresh = np.full(len(i), -1)
            fresh[new] = rows + np.arange(new.sum())
            rows += int(new.sum())
            its_row = np.where(new, fresh, row[i, j, low])
            row[i, j, slice(*cut.span)] = its_row[:, None]
            entries.append((cut, kept, i, j, its_row, rank[i, j, low].copy()))
            rank[i, j, slice(*cut.span)] += 1
        depth = max(int(rank.max(initial=0)), 1)
        owner = np.full((*grid.domain.shape, depth), -1)
        owner[..., 0] = np.where(row < 0, owners.domain, -1)
        tables = [np.zeros((rows, depth, a, b)) for a, b in ((p + 1, p + 1), (p, p + 1), (p + 1, p))]
        for cut, kept, i, j, its_row, its_rank in entries:
            owner[i, j, slice(*cut.span), its_rank] = cut.domain
            for table, values in zip(tables, (cut.area, cut.along_x, cut.along_y), strict=True):
                table[its_row, its_rank] = values[kept]
        return cls(owners, owner, row, *tables)

    def part_of(self, cell: tuple[int, int, int], solid: int) -> int | None:
        """Return the number of the part that a solid has of a cell."""
        found = np.flatnonzero(self.owner[cell] == solid)
        return int(found[0]) if len(found) else None

    def has_nodes(self, cell: tuple[int, int, int], part: int) -> np.ndarray:
        """Mark the nodes of a cell, seen from above, that a part has something of (p+1, p+1)."""
        row = self.row[cell]
        if row < 0:
            return np.ones((self.grid.order + 1, self.grid.order + 1), bool)
        return np.asarray(self.area[row, part] > 0)


def faces(parts: CellParts, cells: np.ndarray, ids: np.ndarray) -> Iterator[Faces]:
    """Yield the faces between solids, node by node.

    Args:
      parts: of the cells of the grid.
      cells: indices of the cells that have doubled nodes (cells, 3).
      ids: nodes of the parts of these cells (cells, parts, p+1, p+1, p+1).
    """
    position = np.full(parts.grid.domain.shape, -1)
    position[tuple(cells.T)] = np.arange(len(cells))
    upright = 2 if len(parts.area) else 3
    for axis in range(upright):
        yield _between_whole(parts, cells, position, ids, axis)
    if upright == 2:
        yield from _collected(_horizontal(parts, position, ids))
        yield from _collected(_vertical(parts, position, ids))


def _between_whole(parts: CellParts, cells: np.ndarray, position: np.ndarray, ids: np.ndarray, axis: int) -> Faces:
    """Return the faces between whole cells across an axis."""
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
    tails = np.take(ids[lower[here], 0], p, axis=1 + axis).ravel()
    heads = np.take(ids[upper[here], 0], 0, axis=1 + axis).ravel()
    before, behind = (np.broadcast_to(k[here, None, None], area.shape).ravel() for k in (first, second))
    return axis, tails, heads, area.ravel(), before, behind


#: A few nodes of one face: the axis, nodes before and behind, areas, solids.
_Piece = tuple[int, np.ndarray, np.ndarray, np.ndarray, int, int]


def _collected(pieces: Iterator[_Piece]) -> Iterator[Faces]:
    """Yield pieces of faces together, axis by axis."""
    for axis, group in itertools.groupby(sorted(pieces, key=lambda piece: piece[0]), key=lambda piece: piece[0]):
        found = list(group)
        tails, heads, areas = (np.concatenate([piece[k] for piece in found]) for k in (1, 2, 3))
        sizes = [len(piece[1]) for piece in found]
        before, behind = (np.repeat([piece[k] for piece in found], sizes) for k in (4, 5))
        yield axis, tails, heads, areas, before, behind


def _horizontal(parts: CellParts, position: np.ndarray, ids: np.ndarray) -> Iterator[_Piece]:
    """Yield the faces between prisms that stand on each other."""
    grid, p = parts.grid, parts.grid.order
    for below, above in itertools.product(grid.prisms, repeat=2):
        one, other = below.domain, above.domain
        if abs(below.heights[1] - above.heights[0]) > polygons.TOUCH or one == other:
            continue
        shared = [below.outline]
        if below.outline is not above.outline:
            shared = polygons.boolean([below.outline], [above.outline], "and", polygons.TOUCH**2)
        areas = grid.top_areas(shared)
        layer = grid.line_index(2, above.heights[0])
        for i, j in np.argwhere(areas.sum(axis=(2, 3)) > 0).tolist():
            lower, upper = (i, j, layer - 1), (i, j, layer)
            mine, yours = parts.part_of(lower, one), parts.part_of(upper, other)
            if mine is None or yours is None or position[lower] < 0 or position[upper] < 0:
                continue
            kept = (areas[i, j] > 0) & parts.has_nodes(lower, mine) & parts.has_nodes(upper, yours)
            tails, heads = ids[position[lower], mine, :, :, p], ids[position[upper], yours, :, :, 0]
            yield 2, tails[kept], heads[kept], areas[i, j][kept], one, other


def _vertical(parts: CellParts, position: np.ndarray, ids: np.ndarray) -> Iterator[_Piece]:
    """Yield the faces between prisms beside each other, where one of their cells is cut."""
    grid = parts.grid
    for one, other in itertools.combinations(grid.prisms, 2):
        low, high = max(one.heights[0], other.heights[0]), min(one.heights[1], other.heights[1])
        if low >= high - polygons.TOUCH or one.domain == other.domain:
            continue
        layers = range(grid.line_index(2, low), grid.line_index(2, high))
        for start, stop in polygons.shared_pieces(one.outline, other.outline):
            for piece in _upright(parts, one, other, start, stop, layers):
                yield from _stacked(parts, piece, layers, position, ids)


@dataclasses.dataclass(frozen=True, eq=False)
class _Strip:
    """A piece of an edge within one cell on either side.

    Attributes:
      axis: the axis that its normal is closest to.
      cells: cells seen from above, before and behind.
      solids: before and behind.
      nodes: nodes on it, before and behind, local indices along x and y (2, nodes, 2).
      lengths: of it for each of them [m] (nodes,).
    """

    axis: int
    cells: tuple[tuple[int, int], tuple[int, int]]
    solids: tuple[int, int]
    nodes: np.ndarray
    lengths: np.ndarray


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
        sides = [_cell_at(grid, middle + sign * BESIDE * normal) for sign in (-1, 1)]
        if None in sides or all(parts.row[(*side, layers[0])] < 0 for side in sides if side is not None):
            continue
        weights = []
        for side in sides:
            assert side is not None
            total = np.zeros((p + 1, p + 1))
            for point, weight in GAUSS:
                at = start + (a + (b - a) * point) * along
                hats = [_hats(grid.lines[k], side[k], float(at[k]), ends, values) for k in range(2)]
                total += weight * (b - a) * length * np.outer(*hats)
            weights.append(total)
        before, behind = sides
        assert before is not None and behind is not None
        local = np.argwhere(weights[0] > 1e-9 * length * (b - a))
        moved = local + p * (np.array(before) - np.array(behind))
        kept = np.all((moved >= 0) & (moved <= p), axis=1)
        local, moved = local[kept], moved[kept]
        lengths = weights[0][tuple(local.T)]
        if normal[axis] > 0:
            yield _Strip(axis, (before, behind), (one.domain, other.domain), np.stack([local, moved]), lengths)
        else:
            yield _Strip(axis, (behind, before), (other.domain, one.domain), np.stack([moved, local]), lengths)


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


def _stacked(parts: CellParts, strip: _Strip, layers: range, position: np.ndarray, ids: np.ndarray) -> Iterator[_Piece]:
    """Yield the faces over a strip at all heights."""
    p, z = parts.grid.order, parts.grid.lines[2]
    for layer in layers:
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
        yield strip.axis, ends[0][kept].ravel(), ends[1][kept].ravel(), areas[kept].ravel(), *strip.solids
