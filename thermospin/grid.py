"""Graded tensor grids: grid lines on every face of every solid, Gauss-Lobatto nodes, and cells cut by polygons.

A cell holds one material, unless a slanted or round edge of a solid cuts it. For such cells, `Cut` gives the share of
each node and of each pair of neighbouring nodes in the material. This module uses boxes, polygons and lengths only, no
material values and no equations.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np

from thermospin.base import polygons
from thermospin.base.errors import InputError
from thermospin.base.lines import coincidence
from thermospin.base.quadrature import gauss_lobatto, passages

Box = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

AXES = ("x", "y", "z")

#: What polygons cover or leave along the border of a cell, no thicker than this, is rounding [m].
HAIR = 10 * polygons.QUANTUM
#: Weights of nodes below this part of a whole cell are rounding.
SLIVER = 1e-10


@dataclasses.dataclass(frozen=True, eq=False)
class Prism:
    """An upright prism: part of a domain between two heights. Prisms of a device do not overlap.

    Attributes:
      outline: the polygon of the prism seen from above (vertices, 2) [m].
      heights: lower and upper end [m].
      domain: index of the domain.
    """

    outline: np.ndarray
    heights: tuple[float, float]
    domain: int


@dataclasses.dataclass(frozen=True, eq=False)
class Cut:
    """Cells that one domain fills only in part, and the shares of nodes and of pairs of nodes in it.

    The test functions psi_i(x) psi_j(y) are linear from one node to the next and sum to 1; C is the covered part of the
    cell seen from above. `area` is the integral of psi_i psi_j over C; `along_x` is that of r_i psi_j, with -r_i the
    slope of the descent from node i to i + 1; `along_y` likewise. So a uniform current along x or y flows from node to
    node as exactly as if the cells fitted the edge (docs/theory.md, section 4).

    Attributes:
      domain: index of the domain.
      place: indices along x and y of each cell (cells, 2).
      span: first index along z, and one past the last.
      area: [m^2] (cells, p+1, p+1).
      along_x: [m] (cells, p, p+1).
      along_y: [m] (cells, p+1, p).
    """

    domain: int
    place: np.ndarray
    span: tuple[int, int]
    area: np.ndarray
    along_x: np.ndarray
    along_y: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """A graded tensor grid with one domain per cell, or with cells that edges of prisms cut.

    Attributes:
      lines: grid lines along x, y and z [m]; every face of every solid is one of them.
      domain: index of the domain that covers the largest part of each cell (nx, ny, nz); -1 for an empty cell.
      order: polynomial order p of the nodal scheme.
      prisms: the prisms that fill the cells; empty if all solids are boxes.
    """

    lines: tuple[np.ndarray, np.ndarray, np.ndarray]
    domain: np.ndarray
    order: int
    prisms: tuple[Prism, ...] = ()

    @functools.cached_property
    def cuts(self) -> list[Cut]:
        """The cells that prisms fill only in part."""
        x, y, _ = self.lines
        ends, values, slopes = passages(self.order)
        cuts = []
        for first, last, parts in _slabs(self.lines, self.prisms):
            covered, hair = _covered(x, y, parts), _hair(x, y)
            shares = np.stack(list(covered.values()))
            cut = (shares.sum(axis=0) > hair) & (shares.max(axis=0) < 1 - hair)
            for domain in covered:
                place = np.argwhere(cut & (covered[domain] > hair))
                if not len(place):
                    continue
                (x0, dx), (y0, dy) = ((line[i], np.diff(line)[i]) for line, i in zip((x, y), place.T, strict=True))
                # Pieces of each cell (cells, pieces along x, pieces along y).
                sides = [
                    (start[:, None] + ends[:-1] * width[:, None], start[:, None] + ends[1:] * width[:, None])
                    for start, width in ((x0, dx), (y0, dy))
                ]
                boxes = *(side[:, :, None] for side in sides[0]), *(side[:, None, :] for side in sides[1])
                total = np.zeros((len(place), len(ends) - 1, len(ends) - 1, 2, 2))
                for outline, bounds in parts:
                    if bounds == domain:
                        total += polygons.moments(outline, *boxes)
                area = np.einsum("isa,jtb,nstab->nij", values, values, total)
                along_x = np.einsum("is,jtb,nstab->nij", slopes, values, total) / dx[:, None, None]
                along_y = np.einsum("isa,jt,nstab->nij", values, slopes, total) / dy[:, None, None]
                for part, whole in ((area, dx * dy), (along_x, dy), (along_y, dx)):
                    part[part < SLIVER * whole[:, None, None]] = 0.0
                cuts.append(Cut(domain, place, (first, last), area, along_x, along_y))
        return cuts

    def has_nodes_of(self, other: Grid) -> bool:
        """Return whether another grid with as many lines has the same nodes and neighbours, at any positions."""
        return len(self.cuts) == len(other.cuts) and all(
            (a.domain, a.span) == (b.domain, b.span)
            and np.array_equal(a.place, b.place)
            and all(
                np.array_equal(x > 0, y > 0)
                for x, y in ((a.area, b.area), (a.along_x, b.along_x), (a.along_y, b.along_y))
            )
            for a, b in zip(self.cuts, other.cuts, strict=True)
        )

    @functools.cached_property
    def cut(self) -> np.ndarray:
        """Mark the cells that prisms fill only in part (nx, ny, nz)."""
        marked = np.zeros(self.domain.shape, bool)
        for cut in self.cuts:
            marked[cut.place[:, 0], cut.place[:, 1], slice(*cut.span)] = True
        return marked

    @property
    def nodes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Node coordinates along each axis [m], order * cells + 1 of them."""
        x, y, z = (self._axis_nodes(lines) for lines in self.lines)
        return x, y, z

    def _axis_nodes(self, lines: np.ndarray) -> np.ndarray:
        reference = gauss_lobatto(self.order)[0]
        width = np.diff(lines)
        inside = lines[:-1, None] + (reference[None, :-1] + 1) / 2 * width[:, None]
        return np.append(inside.ravel(), lines[-1])

    @property
    def cells(self) -> int:
        """Number of filled cells."""
        return int(np.count_nonzero(self.domain >= 0))

    def stretched(self, axis: int, below: float, at: float, by: float) -> Grid:
        """Return the grid with lines from `at` upwards moved by `by`, those from `below` to `at` in proportion [m]."""
        lines = self.lines[axis]
        share = np.clip((lines - below) / (at - below), 0.0, 1.0)
        # Faces move by the same sum: lines and faces must stay equal to the last digit.
        moved = np.where(share == 1.0, lines + by, lines + by * share)
        if self.prisms:
            raise InputError("a grid with prisms cannot be stretched; name the face's position as a dimension instead")
        x, y, z = (moved if k == axis else line for k, line in enumerate(self.lines))
        return dataclasses.replace(self, lines=(x, y, z))

    def unknowns(self, metals: Sequence[bool]) -> int:
        """Return the number of unknowns: one temperature per node, two potentials per node of a metal domain."""
        live = self.domain >= 0
        metal = live & np.asarray(metals, dtype=bool)[self.domain]
        return 2 * int(self.nodes_of(metal).sum()) + int(self.nodes_of(live).sum())

    def nodes_of(self, cells: np.ndarray) -> np.ndarray:
        """Mark the nodes (Nx, Ny, Nz) of the cells marked in `cells` (nx, ny, nz)."""
        marked = cells
        for axis in range(3):
            marked = np.moveaxis(marked, axis, 0)
            count = marked.shape[0]
            out = np.zeros((self.order * count + 1, *marked.shape[1:]), dtype=bool)
            for local in range(self.order + 1):
                out[local : local + self.order * count : self.order] |= marked
            marked = np.moveaxis(out, 0, axis)
        return marked

    def shares(self, axis: int) -> np.ndarray:
        """Return the length of each cell that is assigned to each node along an axis [m] (nodes, cells)."""
        weights = gauss_lobatto(self.order)[1]
        width = np.diff(self.lines[axis])
        first = self.order * np.arange(len(width))
        shares = np.zeros((self.order * len(width) + 1, len(width)))
        for local, weight in enumerate(weights):
            shares[first + local, np.arange(len(width))] = weight * width / 2
        return shares

    def face_weights(self, axis: int, position: float, cells: np.ndarray, lines: Sequence[np.ndarray]) -> np.ndarray:
        """Return the area of a piece of a plane that is assigned to each node [m^2] (Nx, Ny, Nz); the sum is its area.

        Args:
          axis: the axis normal to the plane.
          position: coordinate of the plane [m], on a grid line.
          cells: mask of the cells of a coarser tensor grid that make up the piece (its two transverse axes).
          lines: all three sets of grid lines of that coarser grid [m].
        """
        others = [a for a in range(3) if a != axis]
        inside = cells
        for k, other in enumerate(others):
            middle = (self.lines[other][1:] + self.lines[other][:-1]) / 2
            inside = np.take(inside, np.searchsorted(lines[other], middle) - 1, axis=k)
        plane = self.shares(others[0]) @ inside @ self.shares(others[1]).T
        weights = np.zeros([len(nodes) for nodes in self.nodes])
        np.moveaxis(weights, axis, 0)[self.order * self.line_index(axis, position)] = plane
        return weights

    def side_areas(self, axis: int, rectangles: Sequence[tuple[float, float, float, float]]) -> np.ndarray:
        """Return the area of rectangles in a vertical plane that is assigned to each node of each of its cells [m^2].

        Args:
          axis: the axis normal to the plane, 0 or 1.
          rectangles: (low, high) along the other horizontal axis and (low, high) along z; the latter on grid lines.
        Returns:
          (cells along the other horizontal axis, cells along z, p+1, p+1).
        """
        line, z = self.lines[1 - axis], self.lines[2]
        ends, values, _ = passages(self.order)
        height = np.diff(z)[:, None] * gauss_lobatto(self.order)[1] / 2
        areas = np.zeros((len(line) - 1, len(z) - 1, self.order + 1, self.order + 1))
        for low, high, bottom, top in rectangles:
            inside = (z[:-1] + z[1:] > 2 * bottom) & (z[:-1] + z[1:] < 2 * top)
            pieces = line[:-1, None] + np.diff(line)[:, None] * ends
            start, stop = np.clip(low, pieces[:, :-1], pieces[:, 1:]), np.clip(high, pieces[:, :-1], pieces[:, 1:])
            size = np.diff(pieces, axis=1)
            middle = ((start + stop) / 2 - pieces[:, :-1]) / size
            # The integral of a linear function is its value at the middle times the length.
            part = np.einsum("ist,cst->ci", values, np.stack([1 - middle, middle], axis=-1) * (stop - start)[..., None])
            areas += np.einsum("ci,zj->czij", part, height * inside[:, None])
        return areas

    def top_areas(self, outlines: Sequence[np.ndarray]) -> np.ndarray:
        """Return the area of polygons in a horizontal plane that is assigned to each node of each of its cells [m^2].

        Args:
          outlines: polygons (vertices, 2) [m].
        Returns:
          (cells along x, cells along y, p+1, p+1).
        """
        x, y, _ = self.lines
        ends, values, _ = passages(self.order)
        fine = [np.append((line[:-1, None] + np.diff(line)[:, None] * ends[:-1]).ravel(), line[-1]) for line in (x, y)]
        total = np.zeros((len(fine[0]) - 1, len(fine[1]) - 1, 2, 2))
        for outline in outlines:
            total += polygons.moments(
                outline, fine[0][:-1, None], fine[0][1:, None], fine[1][None, :-1], fine[1][None, 1:]
            )
        pieces = len(ends) - 1
        total = total.reshape(len(x) - 1, pieces, len(y) - 1, pieces, 2, 2)
        return np.einsum("isa,jtb,csdtab->cdij", values, values, total)

    def plane_areas(self, axis: int, position: float, domains: np.ndarray) -> np.ndarray:
        """Return the area of some domains in a plane that is assigned to each node of each of its cells [m^2].

        Of cells that edges cut, those above and below a horizontal plane count, those beside a vertical one do not.

        Args:
          axis: the axis normal to the plane.
          position: coordinate of the plane [m], on a grid line.
          domains: marks the domains that count, on either side of the plane.
        Returns:
          (cells along the first other axis, cells along the second, p+1, p+1).
        """
        line = self.line_index(axis, position)
        weights = gauss_lobatto(self.order)[1]
        one, other = (np.diff(self.lines[k])[:, None] * weights / 2 for k in range(3) if k != axis)
        whole = np.einsum("ci,dj->cdij", one, other)
        areas = np.zeros_like(whole)
        for layer in range(max(line - 1, 0), min(line + 1, self.domain.shape[axis])):
            filled = np.take(self.domain, layer, axis=axis)
            inside = np.append(domains, False)[filled]
            here = np.zeros_like(whole)
            if self.prisms:
                inside &= ~np.take(self.cut, layer, axis=axis)
                for cut in self.cuts if axis == 2 else ():
                    if domains[cut.domain] and cut.span[0] <= layer < cut.span[1]:
                        here[cut.place[:, 0], cut.place[:, 1]] += cut.area
            np.maximum(areas, here + inside[:, :, None, None] * whole, out=areas)
        return areas

    def on_plane(self, axis: int, position: float, areas: np.ndarray) -> np.ndarray:
        """Return values of the nodes of each cell of a plane summed at the nodes of the grid (Nx, Ny, Nz)."""
        total = np.zeros([len(nodes) for nodes in self.nodes])
        plane = np.moveaxis(total, axis, 0)[self.order * self.line_index(axis, position)]
        rows, columns = (self.order * n for n in areas.shape[:2])
        for i, j in np.ndindex(self.order + 1, self.order + 1):
            plane[i : i + rows : self.order, j : j + columns : self.order] += areas[:, :, i, j]
        return total

    def of_plane(self, axis: int, position: float, values: np.ndarray) -> np.ndarray:
        """Return values of the nodes of the grid for the nodes of each cell of a plane, as `on_plane` takes them."""
        plane = np.moveaxis(values, axis, 0)[self.order * self.line_index(axis, position)]
        windows = np.lib.stride_tricks.sliding_window_view(plane, (self.order + 1, self.order + 1))
        return windows[:: self.order, :: self.order]

    def line_index(self, axis: int, position: float) -> int:
        """Return the index of the grid line at `position` [m]; raise a ValueError if no line is there."""
        lines = self.lines[axis]
        index = int(np.argmin(np.abs(lines - position)))
        if abs(lines[index] - position) > 2 * coincidence(float(lines[-1] - lines[0])):
            raise InputError(f"no grid line at {AXES[axis]} = {position:g} m; the nearest is {lines[index]:g} m.")
        return index


def _slabs(lines: Sequence[np.ndarray], prisms: Sequence[Prism]) -> list[tuple[int, int, list[tuple[np.ndarray, int]]]]:
    """Return ranges of cells along z with the same outlines: first, one past the last, (outline, domain) of each."""
    z = lines[2]
    ends = np.array([[np.argmin(np.abs(z - end)) for end in prism.heights] for prism in prisms], int).reshape(-1, 2)
    levels = np.unique(ends)
    return [
        (
            int(low),
            int(high),
            [(p.outline, p.domain) for p, (a, b) in zip(prisms, ends, strict=True) if a <= low and high <= b],
        )
        for low, high in itertools.pairwise(levels)
    ]


def _covered(x: np.ndarray, y: np.ndarray, parts: Sequence[tuple[np.ndarray, int]]) -> dict[int, np.ndarray]:
    """Return the fraction of each cell, seen from above, that each domain covers (nx, ny)."""
    out: dict[int, np.ndarray] = {}
    for outline, domain in parts:
        whole = out.setdefault(domain, np.zeros((len(x) - 1, len(y) - 1)))
        # With one more cell on each side: round-off may put a corner on the other side of a grid line.
        i, j = (
            slice(max(int(np.searchsorted(line, low, side="right")) - 2, 0), int(np.searchsorted(line, high)) + 1)
            for line, low, high in zip((x, y), outline.min(axis=0), outline.max(axis=0), strict=True)
        )
        xs, ys = x[i.start : i.stop + 1], y[j.start : j.stop + 1]
        if len(xs) > 1 and len(ys) > 1:
            whole[i.start : i.start + len(xs) - 1, j.start : j.start + len(ys) - 1] += polygons.fractions(
                outline, xs, ys
            )
    return out


def _hair(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the fraction at which a cell, seen from above, counts as empty, or but for it as full (nx, ny)."""
    return HAIR * (1 / np.diff(x)[:, None] + 1 / np.diff(y))


def fill_prisms(lines: Sequence[np.ndarray], prisms: Sequence[Prism]) -> np.ndarray:
    """Return the domain that covers the largest part of each cell; -1 for empty cells."""
    domain = np.full([len(line) - 1 for line in lines], -1, dtype=np.int32)
    for first, last, parts in _slabs(lines, prisms):
        if parts:
            covered = _covered(lines[0], lines[1], parts)
            names, shares = np.array(list(covered)), np.stack(list(covered.values()))
            plane = np.where(shares.sum(axis=0) > _hair(lines[0], lines[1]), names[shares.argmax(axis=0)], -1)
            domain[:, :, first:last] = plane[:, :, None]
    return domain


def fill(lines: Sequence[np.ndarray], boxes: Sequence[Box], domains: Sequence[int]) -> np.ndarray:
    """Return the domain index of each cell, -1 outside all boxes; later boxes overwrite earlier ones."""
    domain = np.full([len(line) - 1 for line in lines], -1, dtype=np.int32)
    for box, index in zip(boxes, domains, strict=True):
        ranges = []
        for line, (low, high) in zip(lines, box, strict=True):
            first, last = (int(np.argmin(np.abs(line - edge))) for edge in (low, high))
            ranges.append(slice(first, last))
        domain[tuple(ranges)] = index
    return domain
