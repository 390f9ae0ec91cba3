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
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array, vstack

from thermospin.base.quadrature import gauss_lobatto
from thermospin.geometry import weights
from thermospin.geometry.cell_parts import CellParts, Faces, faces, pairs_of
from thermospin.geometry.reactions import Around, summed
from thermospin.geometry.segments import Segments, node_counts, nodes_of, segment_counts
from thermospin.grid import Grid

#: The three axes of the corners of a node: offsets of the eight cells around it.
CORNERS = np.array(list(itertools.product((0, 1), repeat=3)))
#: Pairs of these cells that share a face.
FACES = [(a, b) for a, b in itertools.combinations(range(8), 2) if np.abs(CORNERS[a] - CORNERS[b]).sum() == 1]


class Crossing(NamedTuple):
    """The test function of a reaction that passes from some solids to others: nodes and factors, for V and for T."""

    V: tuple[np.ndarray, np.ndarray]
    T: tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Rule:
    """Where nodes are doubled, for pairs of solids.

    Attributes:
      metal: whether each solid conducts charge.
      domain: column of each solid in the weights of segments and volumes.
      split: whether solids have nodes of their own where they touch (solids, solids).
      jump_V, jump_T: whether potentials and temperature jump there.
      column: column of the links from one to the other, -1 where there are none.
      columns: number of columns.
      crossings: pairs of groups of solids for which `Split.crossings` are wanted.
    """

    metal: np.ndarray
    domain: np.ndarray
    split: np.ndarray
    jump_V: np.ndarray
    jump_T: np.ndarray
    column: np.ndarray
    columns: int
    crossings: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()


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
    octants: tuple[np.ndarray, np.ndarray]

    def on_nodes(self, values: np.ndarray, solids: Sequence[int]) -> np.ndarray:
        """Return values of the tensor grid at all nodes, 0 at doubled ones that have nothing of some solids."""
        out = np.where(self.outside, 0.0, values.ravel()[self.place])
        doubled = np.bincount(self.place[~self.outside], minlength=values.size)[self.place] > 1
        own = np.asarray(self.solids[:, list(solids)].sum(axis=1)).ravel() > 0
        return np.where(doubled & ~own, 0.0, out)

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
    solids_count = len(rule.domain)
    parts = CellParts.of(grid, owners)
    marked = _marked(parts, rule)
    near = _touching(grid, marked)
    cells = np.argwhere(near)
    # Nodes of faces are places in `ids`, which has the nodes of the parts of these cells.
    shape = (len(cells), parts.owner.shape[3], *3 * [grid.order + 1])
    found = list(faces(parts, cells, np.arange(math.prod(shape)).reshape(shape)))
    rule = _without_bypasses(rule, found)
    copies = _Copies.of(parts, rule, np.argwhere(marked))
    ids = copies.of_cells(parts, cells)
    place = np.concatenate([np.arange(marked.size), copies.extra])
    size = len(place)
    far, far_volume = _far(grid, owners, near, solids_count)
    *kinds, at_nodes = _near(parts, cells, ids)
    solids = csr_array(
        _padded(far_volume, size)
        + csr_array((at_nodes.weight, (at_nodes.nodes[0], at_nodes.solid)), shape=(size, solids_count))
    )
    open_ended = np.zeros(size, bool)
    for areas, which in ends:
        own = np.asarray(solids[:, list(which)].sum(axis=1)).ravel() > 0
        open_ended |= own & (areas.ravel()[place] > 0)
    links, crossings, ports = _links(found, rule, ids.ravel(), place, open_ended)
    place = np.concatenate([place, place[_roots(ports, size)]])
    solids = _padded(solids, len(place))
    to_column = csr_array(
        (np.ones(solids_count), (np.arange(solids_count), rule.domain)), shape=(solids_count, rule.columns)
    )
    segments = [
        _joined(kind, section, node_counts(grid), solids_count) for kind, section in zip(kinds, far, strict=True)
    ]
    by_column = [part._replace(weights=csr_array(part.weights @ to_column)) for part in segments]
    return Split(
        place,
        (*by_column, *links),
        csr_array(solids @ to_column + _areas(links, len(place), rule.columns)),
        csr_array(solids),
        _merged(copies.same_V, ports, size),
        _merged(copies.same_T, ports, size),
        crossings,
        np.zeros(len(place), bool),
        (np.flatnonzero(marked), copies.ids.max(axis=2, initial=-1).reshape(-1, 2, 2, 2)),
    )


def _merged(same: np.ndarray, ports: np.ndarray, size: int) -> np.ndarray:
    """Return pairs of nodes that are one unknown: copies, and ports with what they belong to."""
    root = np.arange(size + len(ports))
    root[same[0]] = same[1]
    root[size:] = root[_roots(ports, size)]
    moved = np.flatnonzero(root != np.arange(len(root)))
    return np.stack([moved, root[moved]])


def _roots(ports: np.ndarray, size: int) -> np.ndarray:
    """Return the copy that each port belongs to; a link may have a port that belongs to an earlier port."""
    out = ports.copy()
    while np.any(out >= size):
        out = np.where(out >= size, ports[np.maximum(out - size, 0)], out)
    return out


def _areas(links: Sequence[Segments], nodes: int, columns: int) -> csr_array:
    """Return the areas of links at both of their ends, by column [m^2] (nodes, columns)."""
    total = csr_array((nodes, columns))
    for link in links:
        for end in link.nodes:
            picks = csr_array((np.ones(len(end)), (end, np.arange(len(end)))), shape=(nodes, len(end)))
            total = total + picks @ link.weights / 2
    return csr_array(total)


def _padded(matrix: csr_array, rows: int) -> csr_array:
    """Return a matrix with empty rows at its end."""
    return vstack([matrix, csr_array((rows - matrix.shape[0], matrix.shape[1]))], format="csr")


# ------------------------------------------------------------------------------------------- parts and copies


def _without_bypasses(rule: Rule, found: Sequence[Faces]) -> Rule:
    """Return a rule that also splits solids without a common face if an interface lies between their domains.

    A cell may hold a slice of a slanted film and a piece of metal that it does not touch. Joined there, both metals
    would bypass the interface between the slices and pieces that do touch.
    """
    alike = rule.domain[:, None] == rule.domain
    joint = alike @ (rule.column >= 0) @ alike
    meet = np.zeros_like(alike)
    for *_, one, other in found:
        meet[one, other] = meet[other, one] = True
    apart = joint & ~alike & ~meet
    return dataclasses.replace(rule, split=rule.split | apart, jump_V=rule.jump_V | apart, jump_T=rule.jump_T | apart)


def _marked(parts: CellParts, rule: Rule) -> np.ndarray:
    """Mark the nodes on faces where nodes may be doubled (Nx, Ny, Nz)."""
    p, owner = parts.grid.order, parts.owner
    marked = np.zeros([len(nodes) for nodes in parts.grid.nodes], bool)
    depth = range(owner.shape[3])
    inside = np.zeros(owner.shape[:3], bool)
    for a, b in itertools.combinations(depth, 2):
        inside |= pairs_of(rule.split, owner[..., a], owner[..., b])
    marked |= parts.grid.nodes_of(inside)
    for axis in range(3):
        moved = np.moveaxis(owner, axis, 0)
        faces = np.zeros((moved.shape[0] - 1, *moved.shape[1:3]), bool)
        for a, b in itertools.product(depth, repeat=2):
            faces |= pairs_of(rule.split, moved[:-1, ..., a], moved[1:, ..., b])
        nodes = np.moveaxis(marked, axis, 0)[p:-1:p]
        for i, j in itertools.product(range(p + 1), repeat=2):
            rows, columns = (p * n for n in faces.shape[1:])
            nodes[:, i : i + rows : p, j : j + columns : p] |= faces
    return marked


def _touching(grid: Grid, marked: np.ndarray) -> np.ndarray:
    """Mark the cells that have a marked node; of a cut cell all at the same height range (nx, ny, nz)."""
    near = marked
    for axis in range(3):
        moved = np.moveaxis(near, axis, 0)
        count = (moved.shape[0] - 1) // grid.order
        parts = [moved[local : local + grid.order * count : grid.order] for local in range(grid.order + 1)]
        near = np.moveaxis(np.any(parts, axis=0), 0, axis)
    near &= grid.domain >= 0
    for cut in grid.cuts if grid.prisms else ():
        i, j = cut.place.T
        near[i, j, slice(*cut.span)] |= np.any(near[i, j, slice(*cut.span)], axis=1, keepdims=True)
    return near


@dataclasses.dataclass(frozen=True, eq=False)
class _Copies:
    """Copies of the marked nodes.

    Attributes:
      nodes: indices of the marked nodes (marked, 3).
      corners: indices of the cells around each, -1 beyond the grid (marked, 8, 3).
      ids: node of each part around each, -1 where it has none (marked, 8, parts).
      extra: tensor node of each doubled one, in their order.
      same_V, same_T: pairs of nodes that share potentials, or a temperature (2, pairs).
    """

    nodes: np.ndarray
    corners: np.ndarray
    ids: np.ndarray
    extra: np.ndarray
    same_V: np.ndarray
    same_T: np.ndarray

    @classmethod
    def of(cls, parts: CellParts, rule: Rule, nodes: np.ndarray) -> _Copies:
        """Return the copies of some nodes."""
        grid = parts.grid
        p, shape, counts = grid.order, np.array(grid.domain.shape), node_counts(grid)
        low = np.where(nodes % p == 0, nodes // p - 1, nodes // p)
        ends = np.stack([low, nodes // p], axis=1)  # (nodes, 2, 3)
        corners = np.stack([ends[:, CORNERS[:, k], k] for k in range(3)], axis=2)
        beyond: np.ndarray = np.asarray(np.any((corners < 0) | (corners >= shape), axis=2))
        corners = np.where(np.expand_dims(beyond, -1), -1, corners)
        i, j, k = np.moveaxis(corners, 2, 0)
        owner = np.where(beyond[..., None], -1, parts.owner[i, j, k])
        row = np.where(beyond, -1, parts.row[i, j, k])
        if len(parts.area):
            local = (nodes[:, None, :] - p * corners).clip(0, p)
            held = parts.area[row, :, local[..., 0], local[..., 1]] > 0
            owner = np.where((row >= 0)[..., None] & ~held, -1, owner)
        # The width in numbers: there may be no nodes, where faces exchange heat and nothing jumps.
        width = int(np.prod(owner.shape[1:]))
        label, of_V, of_T = (values.reshape(len(nodes), width) for values in _groups(rule, owner))
        # The first group of each node keeps its number in the tensor grid, the others get new ones.
        present = np.zeros((len(nodes), 2 * label.shape[1]), bool)
        at, part = np.nonzero(label >= 0)
        present[at, label[at, part]] = True
        tensor = np.ravel_multi_index(tuple(nodes.T), counts)
        number = np.where(present, tensor[:, None], -1)
        new = present & (np.cumsum(present, axis=1) > 1)
        number[new] = int(np.prod(counts)) + np.arange(int(new.sum()))

        def same(master: np.ndarray) -> np.ndarray:
            rows, which = np.nonzero((master >= 0) & (master != label))
            pairs = np.stack([number[rows, label[rows, which]], number[rows, master[rows, which]]])
            return np.unique(pairs, axis=1)

        ids = np.full(label.shape, -1)
        ids[at, part] = number[at, label[at, part]]
        extra = np.broadcast_to(tensor[:, None], new.shape)[new]
        return cls(nodes, corners, ids.reshape(owner.shape), extra, same(of_V), same(of_T))

    def of_cells(self, parts: CellParts, cells: np.ndarray) -> np.ndarray:
        """Return the nodes of the parts of some cells (cells, parts, p+1, p+1, p+1)."""
        p, counts = parts.grid.order, node_counts(parts.grid)
        local = [p * cells[:, k, None] + np.arange(p + 1) for k in range(3)]
        tensor = np.ravel_multi_index(
            (local[0][:, :, None, None], local[1][:, None, :, None], local[2][:, None, None, :]), counts
        )
        out = np.repeat(tensor[:, None], parts.owner.shape[3], axis=1)
        position = np.full(parts.grid.domain.shape, -1)
        position[tuple(cells.T)] = np.arange(len(cells))
        for corner in range(8):
            cell = self.corners[:, corner]
            here = np.flatnonzero(cell[:, 0] >= 0)
            where = position[tuple(cell[here].T)]
            here, where = here[where >= 0], where[where >= 0]
            i, j, k = (self.nodes[here] - p * cell[here]).T
            values = self.ids[here, corner]
            out[where, :, i, j, k] = np.where(values >= 0, values, out[where, :, i, j, k])
        return out


def _groups(rule: Rule, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the groups that the parts around nodes fall into, each named after one of its parts (nodes, 8, parts).

    Args:
      rule: which solids are split.
      owner: solid of each part, -1 for none (nodes, 8, parts). Around a node inside of a face, an edge or a cell there
        are fewer than eight cells, some of them several times.
    Returns:
      the groups, and the groups whose potentials and whose temperature they share; -1 where there is none.
    """
    metal = (owner >= 0) & rule.metal[owner]
    depth = owner.shape[2]
    count = 8 * depth
    first = np.arange(count).reshape(8, depth)
    # Insulators come after metals: a group with a metal is named after a metal.
    start = np.where(metal, first, np.where(owner >= 0, count + first, -1))

    def joints(may: np.ndarray, members: np.ndarray) -> Iterator[tuple[tuple[int, int], tuple[int, int], np.ndarray]]:
        for (a, b), i, j in itertools.product([*FACES, *((c, c) for c in range(8))], range(depth), range(depth)):
            one, other = owner[:, a, i], owner[:, b, j]
            if a == b and i >= j:
                continue
            joined = (one == other) | may[one, other]
            yield (a, i), (b, j), joined & members[:, a, i] & members[:, b, j]

    def spread(label: np.ndarray, may: np.ndarray, members: np.ndarray, moving: np.ndarray) -> np.ndarray:
        label = label.copy()
        edges = list(joints(may, members))
        while True:
            before = label.copy()
            for (a, i), (b, j), joined in edges:
                least = np.minimum(label[:, a, i], label[:, b, j])
                label[:, a, i] = np.where(joined & moving[:, a, i], least, label[:, a, i])
                label[:, b, j] = np.where(joined & moving[:, b, j], least, label[:, b, j])
            if np.array_equal(before, label):
                return label

    there = owner >= 0
    label = spread(start, ~rule.split, metal, metal)
    label = spread(label, ~rule.split, there, there & ~metal)
    of_V = np.where(metal, spread(label, ~rule.jump_V, metal, metal), -1)
    of_T = np.where(there, spread(label, ~rule.jump_T, there, there), -1)
    return label, of_V, of_T


# ------------------------------------------------------------------------------------------- segments


class _Kind(NamedTuple):
    """Contributions of cells to segments of one kind: nodes (order + 1, n), solid and weight of each (n,)."""

    direction: int
    order: int
    nodes: np.ndarray
    solid: np.ndarray
    weight: np.ndarray


def _far(grid: Grid, owners: Grid, near: np.ndarray, solids: int) -> tuple[list[csr_array], csr_array]:
    """Return the weights of the segments and nodes of all cells that have no doubled nodes, by solid."""
    if not (grid.prisms and grid.cuts):
        return weights.whole_cells(owners, np.where(near, -1, owners.domain), solids)
    segments, volume = weights.whole_cells(owners, np.where(near | grid.cut, -1, owners.domain), solids)
    along_x, along_y, up, cut_volume = weights.cut_cells(owners, solids, grid.cut & ~near)
    return [*segments[:2], csr_array(segments[2] + up), along_x, along_y], csr_array(volume + cut_volume)


def _near(parts: CellParts, cells: np.ndarray, ids: np.ndarray) -> list[_Kind]:
    """Return what cells contribute to segments along x, y and z, pairs in cut cells along x and y, and nodes."""
    grid, p = parts.grid, parts.grid.order
    step = [gauss_lobatto(p)[1] / 2 * np.diff(grid.lines[k])[cells[:, k], None] for k in range(3)]  # of each node
    width = [np.diff(grid.lines[k])[cells[:, k]] for k in range(3)]
    row = parts.row[tuple(cells.T)]
    owner = parts.owner[tuple(cells.T)]
    whole = np.flatnonzero(row < 0)
    out = []

    def lines(axis: int, nodes: np.ndarray) -> np.ndarray:
        """Return node numbers (..., p+1, p+1, p+1) as lines along an axis (p+1, n)."""
        return np.moveaxis(nodes, nodes.ndim - 3 + axis, 0).reshape(p + 1, -1)

    for axis in range(3):
        one, other = (k for k in range(3) if k != axis)
        area = step[one][whole][:, :, None] * step[other][whole][:, None, :] * (2 / width[axis][whole])[:, None, None]
        solid = np.broadcast_to(owner[whole, 0, None, None], area.shape)
        out.append(_Kind(axis, p, lines(axis, ids[whole, 0]), solid.ravel(), area.ravel()))
    volume = np.einsum("ci,cj,ck->cijk", *(part[whole] for part in step))
    solid = np.broadcast_to(owner[whole, 0, None, None, None], volume.shape)
    nodes = _Kind(0, 0, ids[whole, 0].reshape(1, -1), solid.ravel(), volume.ravel())
    if len(parts.area):
        *cut, cut_nodes = _near_cut(parts, np.flatnonzero(row >= 0), cells, ids, step, width)
        out[2] = _together(out[2], cut[0])
        out += cut[1:]
        nodes = _together(nodes, cut_nodes)
    return [*out, nodes]


def _near_cut(
    parts: CellParts,
    which: np.ndarray,
    cells: np.ndarray,
    ids: np.ndarray,
    step: Sequence[np.ndarray],
    width: Sequence[np.ndarray],
) -> list[_Kind]:
    """Return what cut cells contribute: to segments along z, pairs along x, pairs along y, and nodes."""
    p, row = parts.grid.order, parts.row[tuple(cells[which].T)]
    owner = parts.owner[tuple(cells[which].T)]
    inside = [np.diff(parts.grid.nodes[k])[p * cells[which, k, None] + np.arange(p)] for k in range(2)]
    area, mine = parts.area[row], ids[which]
    up = area * (2 / width[2][which])[:, None, None, None]
    x = (parts.along_x[row] * 2 / inside[0][:, None, :, None])[..., None] * step[2][which][:, None, None, None]
    y = (parts.along_y[row] * 2 / inside[1][:, None, None, :])[..., None] * step[2][which][:, None, None, None]
    z = area[..., None] * step[2][which][:, None, None, None]

    def kind(direction: int, order: int, nodes: np.ndarray, values: np.ndarray) -> _Kind:
        solid = np.broadcast_to(owner.reshape(owner.shape + (1,) * (values.ndim - 2)), values.shape).ravel()
        kept = (values.ravel() > 0) & (solid >= 0)
        return _Kind(direction, order, nodes[:, kept], solid[kept], values.ravel()[kept])

    def ends(nodes: Iterable[np.ndarray]) -> np.ndarray:
        return np.stack([part.ravel() for part in nodes])

    return [
        kind(2, p, ends(mine[..., k] for k in range(p + 1)), up),
        kind(0, 1, ends((mine[:, :, :-1], mine[:, :, 1:])), x),
        kind(1, 1, ends((mine[:, :, :, :-1], mine[:, :, :, 1:])), y),
        kind(0, 0, ends((mine,)), z),
    ]


def _together(one: _Kind, other: _Kind) -> _Kind:
    return _Kind(
        one.direction,
        one.order,
        np.concatenate([one.nodes, other.nodes], axis=1),
        np.concatenate([one.solid, other.solid]),
        np.concatenate([one.weight, other.weight]),
    )


def _joined(kind: _Kind, section: csr_array, counts: tuple[int, int, int], solids: int) -> Segments:
    """Return the segments of one kind: those of the tensor grid, then those of doubled nodes."""
    axis, order, size = kind.direction, kind.order, int(np.prod(counts))
    plain = np.all(kind.nodes < size, axis=0)
    place = list(np.unravel_index(kind.nodes[0, plain], counts))
    place[axis] = place[axis] // order
    rows = np.ravel_multi_index(place, segment_counts(counts, axis, order))
    total = csr_array(section + csr_array((kind.weight[plain], (rows, kind.solid[plain])), shape=section.shape))
    live = np.flatnonzero(np.diff(total.indptr))
    doubled, number = np.unique(kind.nodes[:, ~plain], axis=1, return_inverse=True)
    more = csr_array((kind.weight[~plain], (number.ravel(), kind.solid[~plain])), shape=(doubled.shape[1], solids))
    nodes = np.concatenate([nodes_of(live, counts, axis, order), doubled], axis=1)
    return Segments(axis, order, nodes, vstack([total[live], more], format="csr"))


# ------------------------------------------------------------------------------------------- links


def _links(
    found: Sequence[Faces], rule: Rule, ids: np.ndarray, place: np.ndarray, open_ended: np.ndarray
) -> tuple[list[Segments], tuple[Crossing, ...], np.ndarray]:
    """Return links across split faces, the crossings, and the node that each port belongs to.

    Links of a crossing end at ports of their own, so that what passes is the reaction there.

    Args:
      found: the faces between solids; their nodes are places in `ids`.
      ids: node of each place.
      place: tensor node of each node.
      open_ended: marks nodes where a current may leave to the outside.
    """
    axis = np.repeat([piece[0] for piece in found], [len(piece[1]) for piece in found])
    tail, head, area, one, other = (np.concatenate([piece[k] for piece in found]) for k in range(1, 6))
    tail, head = ids[tail], ids[head]
    column = rule.column[one, other]
    ends = np.stack([tail, head])
    ports: list[int] = []
    of_crossing: list[np.ndarray] = []
    for first, second in rule.crossings:
        mine: list[int] = []
        for side, of_end, of_other in ((1, other, one), (0, one, other)):
            here = np.flatnonzero(np.isin(of_end, second) & np.isin(of_other, first) & (column >= 0))
            owns, which = np.unique(ends[side, here], return_inverse=True)
            numbers = len(place) + len(ports) + np.arange(len(owns))
            ports += owns.tolist()
            mine += numbers.tolist()
            ends[side, here] = numbers[which]
        of_crossing.append(np.array(mine, int))
    links = []
    for direction in range(3):
        linked = np.flatnonzero((axis == direction) & (column >= 0) & (tail != head))
        pairs, row = np.unique(ends[:, linked], axis=1, return_inverse=True)
        values = csr_array((2 * area[linked], (row.ravel(), column[linked])), shape=(pairs.shape[1], rule.columns))
        links.append(Segments(direction, 1, pairs, values, link=True))
    root = _roots(np.array(ports, int), len(place))
    around = Around(tail, head, area, one, other, place, root, open_ended)
    crossings = []
    for (first, second), own in zip(rule.crossings, of_crossing, strict=True):
        tests = []
        for jumps, among in ((rule.jump_V, rule.metal), (rule.jump_T, np.ones_like(rule.metal))):
            smooth = ~(jumps[one, other] & (column >= 0)) & among[one] & among[other]
            nodes, factors = around.test(smooth, first, second)
            # Reactions at ports of links across which nothing jumps are zero.
            tests.append((np.concatenate([nodes, own]), np.concatenate([factors, np.ones(len(own))])))
        crossings.append(Crossing(*(summed(*test) for test in tests)))
    return links, tuple(crossings), root
