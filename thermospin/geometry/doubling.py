"""Where the nodes of a grid are doubled: between which solids, at which nodes, and in which cells."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from thermospin.geometry.cell_parts import CellParts
from thermospin.geometry.faces import Faces
from thermospin.grid import Grid


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

    def splits(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Mark pairs of solids (broadcast, -1 for none) between which nodes are doubled."""
        return (one >= 0) & (other >= 0) & self.split[one, other]

    def without_bypasses(self, faces: Faces) -> Rule:
        """Return a rule that also splits solids without a common face if an interface lies between their domains.

        A cell may hold a slice of a slanted film and a piece of metal that it does not touch. Joined there, both metals
        would bypass the interface between the slices and pieces that do touch.
        """
        alike = self.domain[:, None] == self.domain
        joint = alike @ (self.column >= 0) @ alike
        meet = np.zeros_like(alike)
        meet[faces.before, faces.behind] = meet[faces.behind, faces.before] = True
        apart = joint & ~alike & ~meet
        return dataclasses.replace(
            self, split=self.split | apart, jump_V=self.jump_V | apart, jump_T=self.jump_T | apart
        )


def split_cells(parts: CellParts, rule: Rule) -> np.ndarray:
    """Mark the cells that are shared by solids between which nodes are doubled (nx, ny, nz)."""
    inside = np.zeros(parts.owner.shape[:3], bool)
    for a, b in itertools.combinations(range(parts.owner.shape[3]), 2):
        inside |= rule.splits(parts.owner[..., a], parts.owner[..., b])
    return inside


def marked_nodes(parts: CellParts, rule: Rule) -> np.ndarray:
    """Mark the nodes on faces where nodes may be doubled (Nx, Ny, Nz)."""
    p, owner = parts.grid.order, parts.owner
    depth = range(owner.shape[3])
    marked = parts.grid.nodes_of(split_cells(parts, rule))
    for axis in range(3):
        moved = np.moveaxis(owner, axis, 0)
        split = np.zeros((moved.shape[0] - 1, *moved.shape[1:3]), bool)
        for a, b in itertools.product(depth, repeat=2):
            split |= rule.splits(moved[:-1, ..., a], moved[1:, ..., b])
        nodes = np.moveaxis(marked, axis, 0)[p:-1:p]
        for i, j in itertools.product(range(p + 1), repeat=2):
            rows, columns = (p * n for n in split.shape[1:])
            nodes[:, i : i + rows : p, j : j + columns : p] |= split
    return marked


def cells_at(grid: Grid, marked: np.ndarray) -> np.ndarray:
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
