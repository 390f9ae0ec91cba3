"""Grids with nodes of their own on either side of some faces, so that fields can jump there.

A cell has a part for each solid in it, one unless edges of prisms cut it. Around a node the parts fall into groups that
hang together through faces that are not split; each group has its own copy of the node. Where a face is split along
part of a line only, copies end with it, as at the tip of a crack. Metals hang together through metals only: insulators
beside an interface do not short-circuit it. Where a field is continuous although nodes are doubled (the temperature
across an interface that has a resistance alone) its copies are one unknown, which `merged_V` and `merged_T` tell.

Across the face copies are linked by segments of length zero, whose weights are areas (docs/theory.md, section 4).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array, vstack

from thermospin.geometry.cell_parts import CellParts
from thermospin.geometry.doubling import Rule, cells_at, marked_nodes, split_cells
from thermospin.geometry.faces import faces_between
from thermospin.geometry.links import Crossing, links_across
from thermospin.geometry.near_cells import segments_by_solid
from thermospin.geometry.node_copies import NodeCopies
from thermospin.geometry.segments import Segments
from thermospin.grid import Grid


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """The nodes and segments of a grid whose nodes are doubled on some faces.

    Attributes:
      place: node of the tensor grid at which each node lies, first those of the tensor grid itself (nodes,).
      segments: of all kinds, links last.
      volume: of each node by column [m^3]; of linked nodes also the areas of links [m^2] (nodes, columns).
      solids: volume of each node by solid [m^3] (nodes, solids).
      merged_V, merged_T: nodes that are one unknown with another, and that one (2, pairs).
      crossings: of the rule's pairs.
      outside: marks nodes that lie in no solid, at the bath.
      cut: marks the cells that conduct part by part: edges of a domain cut them, or edges between solids that are
        split. Other cells conduct as a whole, however many solids share them (nx, ny, nz).
      octants: nodes of the tensor grid on split faces, and for each the nodes of the eight cells around it, -1 where
        there is nothing (nodes,), (nodes, 2, 2, 2).
    """

    place: np.ndarray
    segments: tuple[Segments, ...]
    volume: csr_array
    solids: csr_array
    merged_V: np.ndarray
    merged_T: np.ndarray
    crossings: tuple[Crossing, ...]
    outside: np.ndarray
    cut: np.ndarray
    octants: tuple[np.ndarray, np.ndarray]

    def on_nodes(self, values: np.ndarray, solids: Sequence[int]) -> np.ndarray:
        """Return values of the tensor grid at all nodes, 0 at doubled ones that have nothing of some solids."""
        out = np.where(self.outside, 0.0, values.ravel()[self.place])
        doubled = np.bincount(self.place[~self.outside], minlength=values.size)[self.place] > 1
        return np.where(doubled & ~_has(self.solids, solids), 0.0, out)

    def with_outside(self, areas: np.ndarray, column: int, direction: int) -> Split:
        """Return the split with a node at the bath for every node with an area [m^2], linked to it through the area."""
        inner = np.flatnonzero(areas > 0)
        count, size = len(inner), len(self.place)
        area = csr_array(
            (areas[inner], (np.arange(count), np.full(count, column))), shape=(count, self.volume.shape[1])
        )
        # Of order 1, D' W D is half of [[1, -1], [-1, 1]].
        links = Segments(direction, 1, np.stack([inner, size + np.arange(count)]), 2 * area, link=True)
        return dataclasses.replace(
            self,
            place=np.concatenate([self.place, self.place[inner]]),
            segments=(*self.segments, links),
            volume=vstack([self.volume, area], format="csr"),
            solids=vstack([self.solids, csr_array((count, self.solids.shape[1]))], format="csr"),
            outside=np.concatenate([self.outside, np.ones(count, bool)]),
        )


def split(grid: Grid, owners: Grid, rule: Rule, ends: Sequence[tuple[np.ndarray, Sequence[int]]] = ()) -> Split:
    """Double the nodes of a grid where a rule says so.

    Args:
      grid: the grid, a domain for each cell.
      owners: the same grid with the solid for each cell.
      rule: where nodes are doubled.
      ends: faces through which currents may leave: their areas on the tensor grid, and the solids that have them.
    """
    parts = CellParts.of(grid, owners)
    marked = marked_nodes(parts, rule)
    cut = grid.cut | split_cells(parts, rule)
    near = cells_at(owners, marked)
    cells = np.argwhere(near)
    # Which solids meet decides which nodes have copies: until then faces have places in the table of nodes of parts.
    shape = (len(cells), parts.owner.shape[3], *3 * [grid.order + 1])
    found = faces_between(parts, cells, np.arange(math.prod(shape)).reshape(shape))
    rule = rule.without_bypasses(found)
    copies = NodeCopies.of(parts, rule, np.argwhere(marked))
    ids = copies.of_cells(parts, cells)
    place = np.concatenate([np.arange(marked.size), copies.extra])
    segments, solids = segments_by_solid(parts, cut, near, ids, len(place), len(rule.domain))
    open_ended = np.zeros(len(place), bool)
    for areas, which in ends:
        open_ended |= _has(solids, which) & (areas.ravel()[place] > 0)
    links = links_across(found.with_nodes(ids.ravel()), rule, place, open_ended)
    place = np.concatenate([place, place[links.ports]])
    solids = vstack([solids, csr_array((len(links.ports), solids.shape[1]))], format="csr")
    to_column = _picks(rule.domain, rule.columns)
    by_column = [each._replace(weights=csr_array(each.weights @ to_column)) for each in segments]
    return Split(
        place,
        (*by_column, *links.segments),
        csr_array(solids @ to_column + links.areas(len(place))),
        csr_array(solids),
        _merged(copies.same_V, links.ports, len(place)),
        _merged(copies.same_T, links.ports, len(place)),
        links.crossings,
        np.zeros(len(place), bool),
        cut,
        (np.flatnonzero(marked), copies.octants),
    )


def _picks(columns: np.ndarray, count: int) -> csr_array:
    """Return the matrix with a one in a column of each row (rows, count)."""
    rows = np.arange(len(columns))
    return csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(rows), count))


def _has(solids: csr_array, which: Sequence[int]) -> np.ndarray:
    """Mark the nodes that have some volume of some solids."""
    return np.asarray(solids[:, list(which)].sum(axis=1)).ravel() > 0


def _merged(same: np.ndarray, ports: np.ndarray, count: int) -> np.ndarray:
    """Return nodes that are one unknown with another, and that one (2, pairs).

    Args:
      same: pairs of copies that share a field (2, pairs).
      ports: nodes with which the last ones are one unknown.
      count: number of nodes.
    """
    one = np.arange(count)
    one[same[0]] = same[1]
    one[count - len(ports) :] = one[ports]
    moved = np.flatnonzero(one != np.arange(count))
    return np.stack([moved, one[moved]])
