"""Numbers for the nodes of a grid and the segments between them: those of metals first, void left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array

from thermospin.geometry.splits import Segments, Split
from thermospin.geometry.weights import live_pairs, sections
from thermospin.grid import Grid


@dataclasses.dataclass(frozen=True, eq=False)
class Assembly:
    """The nodes and segments of a grid.

    Attributes:
      segments: between T-nodes; in each entry those of metals first, and no node starts two, nor ends two of them.
      metals: how many of each are of metals.
      volume: of each V-node by domain [m^3] (nodes_V, domains).
      nodes_V: number of V-nodes, which are the first T-nodes.
      place_T: position of each T-node in the tensor grid, flattened.
      number_T: number of each T-node among the nodes of the split, or of the tensor grid where there is none.
      merged_V, merged_T: V-nodes, and T-nodes, that are one unknown with another, and that one (2, pairs).
    """

    segments: tuple[Segments, ...]
    metals: tuple[int, ...]
    volume: csr_array
    nodes_V: int
    place_T: np.ndarray
    number_T: np.ndarray
    merged_V: np.ndarray
    merged_T: np.ndarray


def assemble(grid: Grid, metal: np.ndarray, split: Split | None = None) -> Assembly:
    """Number the nodes and segments of a grid.

    Args:
      grid: the grid; cells with domain -1 are void.
      metal: whether each domain conducts charge (domains,).
      split: the nodes and segments where some nodes are doubled; domains then include links.
    """
    domains, weights = len(metal), list[csr_array]()
    if split is None:
        weights, volume = sections(grid, domains)
        place = np.arange(volume.shape[0])
    else:
        volume, place = split.volume, split.place
    # Nodes are those that have some volume: of a cut cell perhaps not all.
    is_V, is_T = _any(volume, metal), _any(volume, np.ones(domains, bool))
    number_V = np.flatnonzero(is_V)
    number_T = np.concatenate([number_V, np.flatnonzero(is_T & ~is_V)])
    number = np.full(len(place), -1, dtype=np.int32)
    number[number_T] = np.arange(len(number_T))
    if split is None:
        x, y, z = (len(nodes) for nodes in grid.nodes)
        made = [(axis, grid.order, section) for axis, section in enumerate(weights[:3])]
        made += [
            (axis, 1, live_pairs(section, axis, grid, metal, is_V, is_T)) for axis, section in enumerate(weights[3:])
        ]
        parts = [_of_tensor(*kind, metal, number.reshape(x, y, z)) for kind in made]
        merged = [np.zeros((2, 0), int)] * 2
    else:
        parts = [part for kind in split.segments for part in _drawn(kind, metal, number, is_V, is_T)]
        merged = [
            number[pairs[:, kept[pairs].all(axis=0)]]
            for pairs, kept in ((split.merged_V, is_V), (split.merged_T, is_T))
        ]
    return Assembly(
        segments=tuple(segments for segments, _ in parts),
        metals=tuple(count for _, count in parts),
        volume=csr_array(volume[number_V]),
        nodes_V=len(number_V),
        place_T=place[number_T],
        number_T=number_T,
        merged_V=merged[0],
        merged_T=merged[1],
    )


def _any(weights: csr_array, domains: np.ndarray) -> np.ndarray:
    """Mark the rows with a weight in one of the domains."""
    return np.asarray(weights[:, np.flatnonzero(domains)].sum(axis=1)).ravel() > 0


def _of_tensor(
    axis: int, order: int, section: csr_array, metal: np.ndarray, number: np.ndarray
) -> tuple[Segments, int]:
    """Return the live segments of one axis of a tensor grid, and how many are of metals.

    Args:
      axis: along which they lie.
      order: polynomial order of each.
      section: cross-section over half the length of every segment of the tensor grid, per domain.
      metal: whether each domain conducts charge.
      number: T-node at each point of the tensor grid.
    """
    live, metals = _metals_first(section, metal)
    shape = list(number.shape)
    shape[axis] = (shape[axis] - 1) // order
    place = np.unravel_index(live, shape)
    nodes = np.zeros((order + 1, len(live)), dtype=np.int32)
    for local in range(order + 1):
        where = list(place)
        where[axis] = order * place[axis] + local
        nodes[local] = number[tuple(where)]
    return Segments(axis, order, nodes, section[live]), metals


def _metals_first(section: csr_array, metal: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the segments that have a weight, those with one in a metal first, and how many these are."""
    is_metal = np.diff(section[:, np.flatnonzero(metal)].indptr) > 0
    is_live = np.diff(section.indptr) > 0
    return np.concatenate([np.flatnonzero(is_metal), np.flatnonzero(is_live & ~is_metal)]), int(is_metal.sum())


def _drawn(
    kind: Segments, metal: np.ndarray, number: np.ndarray, is_V: np.ndarray, is_T: np.ndarray
) -> Iterator[tuple[Segments, int]]:
    """Yield segments so that no node starts two of them, nor ends two of them, and how many are of metals."""
    axis, order, nodes, weights, link = kind
    entries = weights.tocoo()
    # Slivers too thin to form a node carry nothing.
    live = np.where(metal[entries.col], *(have[nodes[:, entries.row]].all(axis=0) for have in (is_V, is_T)))
    weights = csr_array((entries.data[live], (entries.row[live], entries.col[live])), shape=weights.shape)
    left, metals = _metals_first(weights, metal)
    of_metal = np.arange(len(left)) < metals
    while len(left):
        starts, stops = (np.unique(nodes[end, left], return_index=True)[1] for end in (0, -1))
        chosen = np.intersect1d(starts, stops)
        which = left[chosen]
        yield Segments(axis, order, number[nodes[:, which]], weights[which], link), int(of_metal[chosen].sum())
        left, of_metal = np.delete(left, chosen), np.delete(of_metal, chosen)
