"""Segments and volumes of a grid whose nodes are doubled in some cells: what these cells contribute, and all others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array, vstack

from thermospin.base.quadrature import gauss_lobatto
from thermospin.geometry import weights
from thermospin.geometry.cell_parts import CellParts
from thermospin.geometry.segments import Segments, node_counts, nodes_of, segment_counts
from thermospin.grid import Grid


class _Shares(NamedTuple):
    """What parts of cells contribute to segments of one kind, or of order 0 to volumes of nodes.

    Attributes:
      direction, order: of the segments.
      nodes: of each (order + 1, n).
      solid: of each (n,).
      weight: cross-section over half the length [m], or volume [m^3] (n,).
    """

    direction: int
    order: int
    nodes: np.ndarray
    solid: np.ndarray
    weight: np.ndarray

    def with_others(self, others: _Shares) -> _Shares:
        """Return these and others of the same kind."""
        return self._replace(
            nodes=np.concatenate([self.nodes, others.nodes], axis=1),
            solid=np.concatenate([self.solid, others.solid]),
            weight=np.concatenate([self.weight, others.weight]),
        )


def segments_by_solid(
    parts: CellParts, cut: np.ndarray, near: np.ndarray, ids: np.ndarray, nodes: int, solids: int
) -> tuple[list[Segments], csr_array]:
    """Return the segments of all cells, and the volume of each node by solid [m^3] (nodes, solids).

    Args:
      parts: the solids in each cell.
      cut: marks the cells that conduct part by part (nx, ny, nz).
      near: marks the cells that have doubled nodes (nx, ny, nz).
      ids: nodes of the parts of these cells (cells, parts, p+1, p+1, p+1).
      nodes: number of nodes, first those of the tensor grid.
      solids: number of solids.
    Returns:
      segments along x, y and z, and if cells are cut, pairs of neighbouring nodes along x and along y; their columns
      are solids, one of each domain in a cell that conducts as a whole.
    """
    cells = np.argwhere(near)
    sections, far_volume = _far(parts, cut, near, solids)
    *kinds, volumes = _near(parts, cut, cells, ids)
    segments = [
        _together(kind, section, node_counts(parts.grid), solids) for kind, section in zip(kinds, sections, strict=True)
    ]
    shared = parts.row >= 0
    if (shared & ~cut).any():  # also there each solid has its own volume
        _, far_volume = _far(parts, shared, near, solids)
        *_, volumes = _near(parts, shared, cells, ids)
    volume = csr_array((volumes.weight, (volumes.nodes[0], volumes.solid)), shape=(nodes, solids))
    copies = csr_array((nodes - far_volume.shape[0], solids))
    return segments, csr_array(vstack([far_volume, copies], format="csr") + volume)


def _far(parts: CellParts, cut: np.ndarray, near: np.ndarray, solids: int) -> tuple[list[csr_array], csr_array]:
    """Return the weights of the segments and nodes of all cells that have no doubled nodes, by solid."""
    grid = parts.grid
    segments, volume = weights.whole_cells(grid, np.where(near | cut, -1, grid.domain), solids)
    if not len(parts.area):
        return segments, volume
    along_x, along_y, up, cut_volume = weights.cut_cells(grid, solids, cut & ~near)
    return [*segments[:2], csr_array(segments[2] + up), along_x, along_y], csr_array(volume + cut_volume)


def _near(parts: CellParts, cut: np.ndarray, cells: np.ndarray, ids: np.ndarray) -> list[_Shares]:
    """Return what cells contribute to segments along x, y and z, pairs in cut cells along x and y, and nodes."""
    is_cut = cut[tuple(cells.T)]
    # Parts of a whole cell have the same copies, each of the nodes that it has something of; in place of others it has
    # those of the tensor grid, which come first.
    x, y, z, volume = _of_whole(parts, cells[~is_cut], ids[~is_cut].max(axis=1))
    if not len(parts.area):
        return [x, y, z, volume]
    pairs_x, pairs_y, cut_z, cut_volume = _of_cut(parts, cells[is_cut], ids[is_cut])
    return [x, y, z.with_others(cut_z), pairs_x, pairs_y, volume.with_others(cut_volume)]


def _sizes(grid: Grid, cells: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the width of cells along each axis (cells,), and that of each of their nodes (cells, p+1) [m]."""
    width = [np.diff(grid.lines[axis])[cells[:, axis]] for axis in range(3)]
    return width, [gauss_lobatto(grid.order)[1] / 2 * each[:, None] for each in width]


def _of_whole(parts: CellParts, cells: np.ndarray, ids: np.ndarray) -> list[_Shares]:
    """Return what whole cells contribute to segments along x, y and z, and to nodes; ids: (cells, p+1, p+1, p+1)."""
    p, owner = parts.grid.order, parts.owner[tuple(cells.T)][:, 0]
    width, step = _sizes(parts.grid, cells)
    out = []
    for axis in range(3):
        one, other = (k for k in range(3) if k != axis)
        area = step[one][:, :, None] * step[other][:, None, :] * (2 / width[axis])[:, None, None]
        lines = np.moveaxis(ids, 1 + axis, 0).reshape(p + 1, -1)
        out.append(_Shares(axis, p, lines, np.repeat(owner, (p + 1) ** 2), area.ravel()))
    volume = np.einsum("ci,cj,ck->cijk", *step)
    return [*out, _Shares(0, 0, ids.reshape(1, -1), np.repeat(owner, (p + 1) ** 3), volume.ravel())]


def _of_cut(parts: CellParts, cells: np.ndarray, ids: np.ndarray) -> list[_Shares]:
    """Return what cut cells contribute to pairs along x, pairs along y, segments along z, and nodes.

    Args:
      parts: of the grid.
      cells: indices of the cells (cells, 3).
      ids: nodes of their parts (cells, parts, p+1, p+1, p+1).
    """
    p, row, owner = parts.grid.order, parts.row[tuple(cells.T)], parts.owner[tuple(cells.T)]
    (_, _, height), (_, _, up) = _sizes(parts.grid, cells)
    up = up[:, None, None, None]
    dx, dy = (np.diff(parts.grid.nodes[k])[p * cells[:, k, None] + np.arange(p)] for k in range(2))
    area = parts.area[row]

    def shares(direction: int, order: int, nodes: Iterable[np.ndarray], values: np.ndarray) -> _Shares:
        solid = np.broadcast_to(owner.reshape(owner.shape + (1,) * (values.ndim - 2)), values.shape).ravel()
        kept = (values.ravel() > 0) & (solid >= 0)
        ends = np.stack([part.ravel() for part in nodes])
        return _Shares(direction, order, ends[:, kept], solid[kept], values.ravel()[kept])

    x = (parts.along_x[row] * 2 / dx[:, None, :, None])[..., None] * up
    y = (parts.along_y[row] * 2 / dy[:, None, None, :])[..., None] * up
    return [
        shares(0, 1, (ids[:, :, :-1], ids[:, :, 1:]), x),
        shares(1, 1, (ids[:, :, :, :-1], ids[:, :, :, 1:]), y),
        shares(2, p, (ids[..., k] for k in range(p + 1)), area * (2 / height)[:, None, None, None]),
        shares(0, 0, (ids,), area[..., None] * up),
    ]


def _together(near: _Shares, far: csr_array, counts: tuple[int, int, int], solids: int) -> Segments:
    """Return the segments of one kind: those of the tensor grid, then those of doubled nodes.

    Args:
      near: what cells with doubled nodes contribute.
      far: weights of all other cells, of the segments of the tensor grid (segments, solids).
      counts: number of nodes along each axis.
      solids: number of solids.
    """
    axis, order = near.direction, near.order
    plain = np.all(near.nodes < np.prod(counts), axis=0)
    place = list(np.unravel_index(near.nodes[0, plain], counts))
    place[axis] = place[axis] // order
    rows = np.ravel_multi_index(place, segment_counts(counts, axis, order))
    total = csr_array(far + csr_array((near.weight[plain], (rows, near.solid[plain])), shape=far.shape))
    live = np.flatnonzero(np.diff(total.indptr))
    doubled, number = np.unique(near.nodes[:, ~plain], axis=1, return_inverse=True)
    more = csr_array((near.weight[~plain], (number.ravel(), near.solid[~plain])), shape=(doubled.shape[1], solids))
    nodes = np.concatenate([nodes_of(live, counts, axis, order), doubled], axis=1)
    return Segments(axis, order, nodes, vstack([total[live], more], format="csr"))
