"""Weights of a tensor grid: cross-sections of its segments and volumes of its nodes, by domain.

A segment is the part of a line of nodes within one cell. Its weight is the cross-section around the line, summed over
the cells that share it, divided by half its length, because gradients are taken on [-1, 1] (docs/theory.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.sparse import csr_array

from thermospin.grid import Grid

#: Part of a cell that counts as nothing where a face covers the rest, and part of a node that a face covers.
NOTHING = 1e-6


def sections(grid: Grid, domains: int) -> tuple[list[csr_array], csr_array]:
    """Return the weights of segments and nodes of the whole tensor grid, by domain.

    Returns:
      for each axis, cross-section over half the length [m] (segments, domains); if cells are cut, the same for pairs of
      neighbouring nodes along x and along y; and volume [m^3] (nodes, domains).
    """
    if not grid.prisms:
        return whole_cells(grid, grid.domain, domains)
    segments, volume = whole_cells(grid, np.where(grid.cut, -1, grid.domain), domains)
    if not grid.cuts:
        return segments, volume
    along_x, along_y, up, cut_volume = cut_cells(grid, domains)
    return [*segments[:2], segments[2] + up, along_x, along_y], volume + cut_volume


def covered_shares(grid: Grid, axis: int, position: float, areas: np.ndarray, domains: np.ndarray) -> np.ndarray:
    """Return the part that a face covers of what each node has of some domains in its plane, 0 to 1 (Nx, Ny, Nz).

    What is left free of a node is the product of what is left free of it in the cells around it, each to the power of
    their part of the node: a geometric mean. A node of a cell that is covered whole is covered, and so are all nodes of
    a face that ends on grid lines. What is left of a cell may go like the square of a distance, so powers are at least
    1/2: shares then change smoothly.

    Args:
      grid: the grid.
      axis: the axis normal to the plane.
      position: coordinate of the plane [m], on a grid line.
      areas: of the face for each node of each cell of the plane [m^2], as of `Grid.top_areas`.
      domains: marks the domains that count, on either side of the plane.
    """
    whole = np.maximum(grid.plane_areas(axis, position, domains), areas)
    total = grid.of_plane(axis, position, grid.on_plane(axis, position, whole))
    # Polygons are exact to their quantum: a hair of a node is nothing, and a cell that is covered but for one is whole.
    free = 1 - np.where(areas > NOTHING * total, areas, 0.0) / np.where(whole > 0, whole, 1.0)
    logarithms = np.where(free > NOTHING, np.log(np.maximum(free, NOTHING)), -np.inf)
    powers = np.maximum(whole / np.where(total > 0, total, 1.0), 0.5)
    return -np.expm1(grid.on_plane(axis, position, powers * logarithms))


def cut_cells(
    grid: Grid, domains: int, kept: np.ndarray | None = None
) -> tuple[csr_array, csr_array, csr_array, csr_array]:
    """Compute the weights of cut cells: neighbouring nodes along x and y, segments along z, and volumes of nodes.

    The first two treat the nodes as a grid of order 1: a row for each pair of neighbours, with the cross-section over
    half their distance [m] by domain. The others are as in `whole_cells`.

    Args:
      grid: the grid.
      domains: number of domains.
      kept: marks the cells that count (nx, ny, nz), alike over the heights of a cut; None: all.
    """
    x, y, z = (len(nodes) for nodes in grid.nodes)
    up, heights = grid.shares(2), np.diff(grid.lines[2])
    shapes = [(x - 1, y, z), (x, y - 1, z), (x, y, len(heights)), (x, y, z)]
    entries: list[list[tuple[np.ndarray, np.ndarray, int]]] = [[], [], [], []]
    for cut in grid.cuts:
        layers = np.arange(*cut.span)
        nodes = np.arange(grid.order * cut.span[0], grid.order * cut.span[1] + 1)
        lengths = up[nodes][:, layers].sum(axis=1)  # of each node along z
        steps = [np.diff(coordinates) for coordinates in grid.nodes[:2]]
        chosen = slice(None) if kept is None else kept[cut.place[:, 0], cut.place[:, 1], cut.span[0]]
        first = grid.order * cut.place[chosen]
        for kind, (values, planes, weights) in enumerate(
            (
                (cut.along_x, nodes, lengths),
                (cut.along_y, nodes, lengths),
                (cut.area, layers, 2 / heights[layers]),
                (cut.area, nodes, lengths),
            )
        ):
            values = values[chosen]
            i = first[:, 0, None, None] + np.arange(values.shape[1])[None, :, None]
            j = first[:, 1, None, None] + np.arange(values.shape[2])[None, None, :]
            if kind < 2:
                values = values * 2 / steps[kind][(i, j)[kind]]
            places = np.broadcast_arrays(i[..., None], j[..., None], planes[None, None, None])
            rows, weighted = np.ravel_multi_index(places, shapes[kind]), values[..., None] * weights
            keep = weighted > 0
            entries[kind].append((rows[keep], weighted[keep], cut.domain))
    along_x, along_y, area, volume = (
        _matrix(parts, math.prod(shape), domains) for parts, shape in zip(entries, shapes, strict=True)
    )
    return along_x, along_y, area, volume


def whole_cells(grid: Grid, label: np.ndarray, labels: int) -> tuple[list[csr_array], csr_array]:
    """Sum the cells of each label into the weights of segments and nodes of the whole tensor grid.

    Args:
      grid: the grid.
      label: label of each cell (nx, ny, nz), -1 for none.
      labels: number of labels.
    Returns:
      for each axis, cross-section over half the length [m] (segments, labels); and volume [m^3] (nodes, labels).
    """
    shares = [grid.shares(axis) for axis in range(3)]
    counts = [len(nodes) for nodes in grid.nodes]
    # Shapes for segments along x, y and z, then for nodes.
    shapes = [[label.shape[k] if k == axis else count for k, count in enumerate(counts)] for axis in range(4)]
    entries: list[list[tuple[np.ndarray, np.ndarray, int]]] = [[], [], [], []]
    # One label at a time: a tensor grid with all of them would be the largest array in memory.
    for number, box in enumerate(ndimage.find_objects(label + 1, max_label=labels)):
        if box is None:
            continue
        inside = (label[box] == number).astype(float)
        first = [grid.order * part.start for part in box]
        spread = [
            share[start : grid.order * part.stop + 1, part]
            for share, start, part in zip(shares, first, box, strict=True)
        ]

        def add(kind: int, values: np.ndarray, corner: list[int], number: int = number) -> None:
            place = np.nonzero(values)
            rows = np.ravel_multi_index([k + start for k, start in zip(place, corner, strict=True)], shapes[kind])
            entries[kind].append((rows, values[place], number))

        for axis in range(3):
            others = [other for other in range(3) if other != axis]
            values = _spread(inside, spread, others)
            width = np.diff(grid.lines[axis])[box[axis]]
            corner = [box[k].start if k == axis else start for k, start in enumerate(first)]
            add(axis, values * (2 / np.expand_dims(width, others)), corner)
        add(3, _spread(inside, spread, [0, 1, 2]), first)
    *segments, volume = (_matrix(parts, math.prod(shape), labels) for parts, shape in zip(entries, shapes, strict=True))
    return segments, volume


def _spread(values: np.ndarray, shares: Sequence[np.ndarray], axes: Sequence[int]) -> np.ndarray:
    """Distribute values of cells to nodes along some axes, with the shares (nodes, cells) of each axis."""
    for axis in axes:
        values = np.moveaxis(np.tensordot(shares[axis], values, axes=(1, axis)), 0, axis)
    return values


def _matrix(parts: Sequence[tuple[np.ndarray, np.ndarray, int]], size: int, columns: int) -> csr_array:
    """Build a sparse matrix from parts (rows, values, column); values at the same position are added."""
    column = np.repeat([number for _, _, number in parts], [len(rows) for rows, _, _ in parts]).astype(int)
    rows = np.concatenate([np.zeros(0, int), *(rows for rows, _, _ in parts)])
    values = np.concatenate([np.zeros(0), *(values for _, values, _ in parts)])
    return csr_array((values, (rows, column)), shape=(size, columns))
