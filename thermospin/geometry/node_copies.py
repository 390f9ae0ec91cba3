"""The copies of a doubled node, one for each group of parts of cells around it that hang together."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from thermospin.geometry.cell_parts import CellParts
from thermospin.geometry.doubling import Rule
from thermospin.geometry.segments import node_counts

#: The eight cells around a node: on which side of it each lies along x, y and z.
CORNERS = np.array(list(itertools.product((0, 1), repeat=3)))
#: Pairs of these cells that share a face.
FACES = [(a, b) for a, b in itertools.combinations(range(8), 2) if np.abs(CORNERS[a] - CORNERS[b]).sum() == 1]


@dataclasses.dataclass(frozen=True, eq=False)
class NodeCopies:
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
    def of(cls, parts: CellParts, rule: Rule, nodes: np.ndarray) -> NodeCopies:
        """Return the copies of some nodes (nodes, 3)."""
        corners = _cells_around(parts, nodes)
        owner = _owners(parts, nodes, corners)
        # The width in numbers: there may be no nodes, where faces exchange heat and nothing jumps.
        width = int(np.prod(owner.shape[1:]))
        label, of_V, of_T = (values.reshape(len(nodes), width) for values in _groups(rule, owner))
        # The first group of each node keeps its number in the tensor grid, the others get new ones.
        there, part = np.nonzero(label >= 0)
        present = np.zeros((len(nodes), 2 * width), bool)
        present[there, label[there, part]] = True
        new = present & (np.cumsum(present, axis=1) > 1)
        counts = node_counts(parts.grid)
        tensor = np.ravel_multi_index(tuple(nodes.T), counts)[:, None]
        number = np.where(present, tensor, -1)
        number[new] = int(np.prod(counts)) + np.arange(int(new.sum()))

        def same(master: np.ndarray) -> np.ndarray:
            rows, which = np.nonzero((master >= 0) & (master != label))
            pairs = np.stack([number[rows, label[rows, which]], number[rows, master[rows, which]]])
            return np.unique(pairs, axis=1)

        ids = np.full(label.shape, -1)
        ids[there, part] = number[there, label[there, part]]
        extra = np.broadcast_to(tensor, new.shape)[new]
        return cls(nodes, corners, ids.reshape(owner.shape), extra, same(of_V), same(of_T))

    @property
    def octants(self) -> np.ndarray:
        """Node of each of the eight cells around a marked one, the last of their parts'; -1: none (marked, 2, 2, 2)."""
        return self.ids.max(axis=2, initial=-1).reshape(-1, 2, 2, 2)

    def of_cells(self, parts: CellParts, cells: np.ndarray) -> np.ndarray:
        """Return the nodes of the parts of some cells (cells, 3), as (cells, parts, p+1, p+1, p+1)."""
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


def _cells_around(parts: CellParts, nodes: np.ndarray) -> np.ndarray:
    """Return the indices of the cells around nodes, -1 beyond the grid (nodes, 8, 3).

    Around a node inside of a face, an edge or a cell there are fewer than eight, some of them several times.
    """
    p = parts.grid.order
    sides = np.stack([(nodes - 1) // p, nodes // p], axis=1)  # (nodes, 2, 3)
    corners = np.stack([sides[:, CORNERS[:, axis], axis] for axis in range(3)], axis=2)
    inside = np.all((corners >= 0) & (corners < parts.grid.domain.shape), axis=2, keepdims=True)
    return np.where(inside, corners, -1)


def _owners(parts: CellParts, nodes: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return the solid of each part around nodes that has something of its node, -1 for none (nodes, 8, parts)."""
    p = parts.grid.order
    i, j, k = np.moveaxis(corners, 2, 0)
    owner = np.where((i < 0)[..., None], -1, parts.owner[i, j, k])
    if len(parts.area):
        row = np.where(i < 0, -1, parts.row[i, j, k])
        local = (nodes[:, None, :] - p * corners).clip(0, p)
        held = parts.area[row, :, local[..., 0], local[..., 1]] > 0
        owner = np.where((row >= 0)[..., None] & ~held, -1, owner)
    return owner


def _groups(rule: Rule, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the groups that the parts around nodes fall into, each named after one of its parts (nodes, 8, parts).

    Metals hang together through metals only; insulators take the name of a metal that they hang together with.

    Args:
      rule: which solids are split.
      owner: solid of each part, -1 for none (nodes, 8, parts).
    Returns:
      the groups, and the groups whose potentials and whose temperature they share; -1 where there is none.
    """
    there = owner >= 0
    metal = there & rule.metal[owner]
    count = 8 * owner.shape[2]
    first = np.arange(count).reshape(owner.shape[1:])
    # Insulators come after metals: a group with a metal is named after a metal.
    start = np.where(metal, first, np.where(there, count + first, -1))
    of_metals = _spread(start, owner, rule.split, metal, metal)
    label = _spread(of_metals, owner, rule.split, there, there & ~metal)
    of_V = np.where(metal, _spread(label, owner, rule.jump_V, metal, metal), -1)
    of_T = np.where(there, _spread(label, owner, rule.jump_T, there, there), -1)
    return label, of_V, of_T


def _spread(
    label: np.ndarray, owner: np.ndarray, split: np.ndarray, members: np.ndarray, moving: np.ndarray
) -> np.ndarray:
    """Return the least label of all parts that each part hangs together with (nodes, 8, parts).

    Three rounds or so over all nodes at once: several times faster than the components of their graph.

    Args:
      label: of each part.
      owner: its solid.
      split: solids that do not hang together (solids, solids).
      members: marks the parts through which others may hang together.
      moving: marks the parts whose label may change.
    """
    depth = range(owner.shape[2])
    touching = [((a, i), (b, j)) for a, b in FACES for i, j in itertools.product(depth, repeat=2)]
    touching += [((cell, i), (cell, j)) for cell in range(8) for i, j in itertools.combinations(depth, 2)]
    links = []
    for one, other in touching:
        mine, yours = owner[:, *one], owner[:, *other]
        joined = ((mine == yours) | ~split[mine, yours]) & members[:, *one] & members[:, *other]
        links.append((one, other, joined & moving[:, *one], joined & moving[:, *other]))
    label = label.copy()
    while True:
        before = label.copy()
        for one, other, first_moves, second_moves in links:
            least = np.minimum(label[:, *one], label[:, *other])
            label[:, *one] = np.where(first_moves, least, label[:, *one])
            label[:, *other] = np.where(second_moves, least, label[:, *other])
        if np.array_equal(before, label):
            return label
