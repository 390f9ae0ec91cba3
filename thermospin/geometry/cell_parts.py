"""The parts that solids have of the cells of a grid: one of most, several of one that edges of solids cut."""

from __future__ import annotations

import dataclasses

import numpy as np

from thermospin.grid import Grid


@dataclasses.dataclass(frozen=True, eq=False)
class CellParts:
    """The solids in each cell.

    Attributes:
      grid: the grid with a solid for each cell.
      owner: the solid of each part of each cell, -1 for none (nx, ny, nz, parts).
      row: of each cell in the tables of cells that edges of solids cut, -1 for others (nx, ny, nz).
      area, along_x, along_y: of each part of these cells, see `grid.Cut` (rows, parts, ...).
    """

    grid: Grid
    owner: np.ndarray
    row: np.ndarray
    area: np.ndarray
    along_x: np.ndarray
    along_y: np.ndarray

    @classmethod
    def of(cls, grid: Grid, owners: Grid) -> CellParts:
        """Return the parts of a grid's cells."""
        p = grid.order
        row = np.full(grid.domain.shape, -1)
        cuts = owners.cuts if grid.prisms else []
        # The parts of a cell in the order of their cuts.
        rank = np.zeros(grid.domain.shape, int)
        entries, rows = [], 0
        for cut in cuts:
            i, j = cut.place.T
            low = cut.span[0]
            new = row[i, j, low] < 0
            fresh = np.full(len(i), -1)
            fresh[new] = rows + np.arange(new.sum())
            rows += int(new.sum())
            its_row = np.where(new, fresh, row[i, j, low])
            row[i, j, slice(*cut.span)] = its_row[:, None]
            entries.append((cut, i, j, its_row, rank[i, j, low].copy()))
            rank[i, j, slice(*cut.span)] += 1
        depth = max(int(rank.max(initial=0)), 1)
        owner = np.full((*grid.domain.shape, depth), -1)
        owner[..., 0] = np.where(row < 0, owners.domain, -1)
        tables = [np.zeros((rows, depth, a, b)) for a, b in ((p + 1, p + 1), (p, p + 1), (p + 1, p))]
        for cut, i, j, its_row, its_rank in entries:
            owner[i, j, slice(*cut.span), its_rank] = cut.domain
            for table, values in zip(tables, (cut.area, cut.along_x, cut.along_y), strict=True):
                table[its_row, its_rank] = values
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
