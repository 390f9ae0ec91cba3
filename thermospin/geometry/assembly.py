"""Numbers for the nodes of a grid and the segments between them: those of metals first, void left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array

from thermospin.geometry.segments import Segments, tensor_segments
from thermospin.geometry.splits import Split
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
    if split is None:
        kinds, volume = tensor_segments(grid, len(metal))
        place, merged_V, merged_T = np.arange(volume.shape[0]), *[np.zeros((2, 0), int)] * 2
    else:
        kinds, volume, place = split.segments, split.volume, split.place
        merged_V, merged_T = split.merged_V, split.merged_T
    # Nodes are those that have some volume: of a cut cell perhaps not all.
    is_V, is_T = _any(volume, metal), _any(volume, np.ones_like(metal))
    number_V = np.flatnonzero(is_V)
    number_T = np.concatenate([number_V, np.flatnonzero(is_T & ~is_V)])
    number = np.full(len(place), -1, dtype=np.int32)
    number[number_T] = np.arange(len(number_T))
    parts = [part for kind in kinds for part in _drawn(kind, metal, number, is_V, is_T)]
    return Assembly(
        segments=tuple(segments for segments, _ in parts),
        metals=tuple(count for _, count in parts),
        volume=csr_array(volume[number_V]),
        nodes_V=len(number_V),
        place_T=place[number_T],
        number_T=number_T,
        merged_V=number[merged_V[:, is_V[merged_V].all(axis=0)]],
        merged_T=number[merged_T[:, is_T[merged_T].all(axis=0)]],
    )


def _any(weights: csr_array, domains: np.ndarray) -> np.ndarray:
    """Mark the rows with a weight in one of the domains."""
    return np.asarray(weights[:, np.flatnonzero(domains)].sum(axis=1)).ravel() > 0


def _metals_first(section: csr_array, metal: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the segments that have a weight, those with one in a metal first, and how many these are."""
    is_metal = np.diff(section[:, np.flatnonzero(metal)].indptr) > 0
    is_live = np.diff(section.indptr) > 0
    return np.concatenate([np.flatnonzero(is_metal), np.flatnonzero(is_live & ~is_metal)]), int(is_metal.sum())


def _drawn(
    kind: Segments, metal: np.ndarray, number: np.ndarray, is_V: np.ndarray, is_T: np.ndarray
) -> Iterator[tuple[Segments, int]]:
    """Yield segments so that no node starts two of them, nor ends two of them, and how many are of metals.

    Once at least, even where all cells are cut, but for links: the first three entries are those along x, y and z.
    """
    axis, order, nodes, weights, link = kind
    entries = weights.tocoo()
    # Slivers too thin to form a node carry nothing.
    live = np.where(metal[entries.col], *(have[nodes[:, entries.row]].all(axis=0) for have in (is_V, is_T)))
    weights = csr_array((entries.data[live], (entries.row[live], entries.col[live])), shape=weights.shape)
    left, metals = _metals_first(weights, metal)
    of_metal = np.arange(len(left)) < metals
    empty = not link
    while len(left) or empty:
        empty = False
        chosen = _first(nodes[0, left], len(number)) & _first(nodes[-1, left], len(number))
        which = left[chosen]
        yield Segments(axis, order, number[nodes[:, which]], weights[which], link), int(of_metal[chosen].sum())
        left, of_metal = left[~chosen], of_metal[~chosen]


def _first(nodes: np.ndarray, count: int) -> np.ndarray:
    """Mark the first occurrence of each of some nodes, of `count` nodes."""
    first = np.empty(count, int)
    first[nodes[::-1]] = np.arange(len(nodes))[::-1]
    return first[nodes] == np.arange(len(nodes))
