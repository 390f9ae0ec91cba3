"""Segments: lines of nodes within one cell, along which gradients are taken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from thermospin.base.quadrature import gauss_lobatto
from thermospin.geometry.weights import sections
from thermospin.grid import Grid


class Segments(NamedTuple):
    """Segments of one kind.

    Attributes:
      direction: axis along which they lie.
      order: polynomial order.
      nodes: of each (order + 1, segments).
      weights: cross-section over half the length [m], or twice the area of links [m^2] (segments, columns).
      link: whether they are links of length zero across a face.
    """

    direction: int
    order: int
    nodes: np.ndarray
    weights: csr_array
    link: bool = False


def node_counts(grid: Grid) -> tuple[int, int, int]:
    """Return the number of nodes of a grid along each axis."""
    x, y, z = (len(nodes) for nodes in grid.nodes)
    return x, y, z


def segment_counts(counts: tuple[int, int, int], direction: int, order: int) -> tuple[int, ...]:
    """Return the number of segments of a tensor grid along each axis."""
    return tuple((count - 1) // order if axis == direction else count for axis, count in enumerate(counts))


def nodes_of(rows: np.ndarray, counts: tuple[int, int, int], direction: int, order: int) -> np.ndarray:
    """Return the nodes of some segments of a tensor grid, both by flat index (order + 1, segments)."""
    place = list(np.unravel_index(rows, segment_counts(counts, direction, order)))
    first = order * place[direction]
    nodes = np.empty((order + 1, len(rows)), int)
    for local in range(order + 1):
        place[direction] = first + local
        nodes[local] = np.ravel_multi_index(place, counts)
    return nodes


def tensor_segments(grid: Grid, domains: int) -> tuple[tuple[Segments, ...], csr_array]:
    """Return the segments of a tensor grid that have a weight, and the volume of each node by domain [m^3].

    Where cells are cut, pairs of neighbouring nodes along x and along y come last, of order 1.
    """
    weights, volume = sections(grid, domains)
    kinds = [(0, grid.order), (1, grid.order), (2, grid.order), (0, 1), (1, 1)]
    out = []
    for (direction, order), section in zip(kinds, weights, strict=False):
        live = np.flatnonzero(np.diff(section.indptr))
        out.append(Segments(direction, order, nodes_of(live, node_counts(grid), direction, order), section[live]))
    return tuple(out), volume


def nodal_conductance(segments: Iterable[Segments], nodes: int) -> csr_array:
    """Return the conductance of each node to all of its neighbours, at unit conductivity [m] (nodes, columns)."""
    parts = []
    for _, order, ends, section, _ in segments:
        _, weights, derivative = gauss_lobatto(order)
        for local, stiffness in zip(ends, weights @ derivative**2, strict=True):
            picks = csr_array((np.full(len(local), stiffness), (local, np.arange(len(local)))), (nodes, len(local)))
            parts.append(picks @ section)
    return csr_array(sum(parts[1:], parts[0]))
