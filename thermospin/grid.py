"""Graded tensor grids: grid lines on every face of every solid, Gauss-Lobatto nodes, and cells cut by polygons.

A cell holds one material, unless a slanted or round edge of a solid cuts it. For such cells, `Cut` gives the share of
each node and of each pair of neighbouring nodes in the material. This module uses boxes, polygons and lengths only, no
material values and no equations.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from thermospin.base import polygons
from thermospin.base.errors import InputError
from thermospin.base.kinds import require_whole
from thermospin.base.lines import coincidence, graded_lines, merge_close
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


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """The features that a grid must resolve: the solids of a device; later ones overwrite earlier ones.

    Attributes:
      boxes: extents of the solids [m].
      domains: domain index of each solid.
      metals: whether each solid conducts charge.
      lengths: spin relaxation length of each solid [m].
      magnetic: indices of the solids that are ferromagnets.
      outlines: polygon of each solid seen from above, None for a box.
      prisms: the prisms that fill the cells; empty if all solids are boxes.
      edges: positions along x and y of the straight edges of each outline that need grid lines [m].
      planes: positions along x, y and z of contacts, which need grid lines too [m].
      weak: positions along x, y and z of edges where good conductors meet across poor ones, with the wanted sizes [m].
      bands: intervals in which different metals meet along slanted edges: axis, both ends, and the wanted size [m].
    """

    boxes: tuple[Box, ...]
    domains: tuple[int, ...]
    metals: tuple[bool, ...]
    lengths: tuple[float, ...]
    magnetic: frozenset[int] = frozenset()
    outlines: tuple[np.ndarray | None, ...] = ()
    prisms: tuple[Prism, ...] = ()
    edges: tuple[tuple[Sequence[float], Sequence[float]], ...] = ()
    planes: tuple[Sequence[float], ...] = ((), (), ())
    weak: tuple[Mapping[float, float], ...] = ({}, {}, {})
    bands: tuple[tuple[int, float, float, float], ...] = ()

    def faces(self, axis: int) -> np.ndarray:
        """Return all faces normal to an axis [m], which need grid lines: ends of boxes, edges of outlines, of bands."""
        ends = [edge for i in range(len(self.boxes)) for edge in self._edges(i, axis)]
        # Round solids have no straight edges, but the grid must contain these solids too.
        ends += self.planes[axis]
        ends += [pick(box[axis][side] for box in self.boxes) for side, pick in enumerate((min, max))]
        for along, low, high, size in sorted(self.bands, key=lambda band: band[3]):  # fine ones serve coarse ones too
            if along == axis:
                around = (low - MARGIN * size, high + MARGIN * size)
                ends += [end for end in around if np.abs(np.array(ends) - end).min() > 2 * MARGIN * size]
        return merge_close(ends)

    def grid(self, lines: Sequence[np.ndarray], order: int) -> Grid:
        """Return the grid with these lines [m]."""
        x, y, z = lines
        if not self.prisms:
            return Grid((x, y, z), fill(lines, self.boxes, self.domains), order)
        return Grid((x, y, z), fill_prisms(lines, self.prisms), order, self.prisms)

    def spans(self, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return intervals in which outlines need small cells: lower ends, upper ends, and sizes at coarseness 1 [m].

        Over the extent of each slanted edge the size across it is a quarter of the smallest side of the solid.
        """
        intervals = []
        for i, outline in enumerate(self.outlines):
            if outline is None or axis == 2:
                continue
            size = min(self._smallest_side(i), polygons.width(outline)) / 4
            for edge in polygons.slanted_edges(outline):
                extent = np.abs(edge[1] - edge[0])
                across = size * float(np.hypot(*extent)) / float(extent[1 - axis])
                intervals.append((float(edge[:, axis].min()), float(edge[:, axis].max()), across))
        intervals += [(low, high, size) for along, low, high, size in self.bands if along == axis]
        spans = np.array(intervals).reshape(-1, 3)
        return spans[:, 0], spans[:, 1], spans[:, 2]

    def gaps(self, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return intervals and sizes as `spans`, for gaps between slanted metals: two thirds of each gap.

        These sizes hold at any coarseness: in larger cells both metals would share nodes, which is a short circuit.
        """
        metals = {domain for domain, metal in zip(self.domains, self.metals, strict=True) if metal}
        prisms = [] if axis == 2 else [prism for prism in self.prisms if prism.domain in metals]
        slanted = [len(polygons.slanted_edges(prism.outline)) > 0 for prism in prisms]
        widths = [polygons.width(prism.outline) for prism in prisms]
        lows, highs = ([pick(prism.outline, axis=0) for prism in prisms] for pick in (np.min, np.max))
        gaps = []
        for i, j in itertools.combinations(range(len(prisms)), 2):
            one, other, reach = prisms[i], prisms[j], min(widths[i], widths[j])
            low, high = max(one.heights[0], other.heights[0]), min(one.heights[1], other.heights[1])
            if low >= high or not (slanted[i] or slanted[j]):
                continue
            start, stop = np.maximum(lows[i], lows[j]), np.minimum(highs[i], highs[j])  # start > stop if they are apart
            apart = (start - stop).max() > reach
            gap = reach if apart else polygons.distance(one.outline, other.outline)[0]
            if polygons.TOUCH < gap < reach:
                gaps.append((*sorted((start[axis], stop[axis])), gap / 1.5))
        spans = np.array(gaps).reshape(-1, 3)
        return spans[:, 0], spans[:, 1], spans[:, 2]

    def _edges(self, index: int, axis: int) -> Sequence[float]:
        """Return the positions of the faces of one solid that are normal to an axis [m]."""
        outline = self.outlines[index] if self.outlines else None
        if outline is None or axis == 2:
            return self.boxes[index][axis]
        return self.edges[index][axis]

    def _smallest_side(self, index: int) -> float:
        outline = self.outlines[index] if self.outlines else None
        side = _smallest_side(self.boxes[index])
        return side if outline is None else min(side, polygons.width(outline))

    def border_size(self, i: int, j: int, *, edge: bool = False) -> float:
        """Return the wanted cell size where two metals meet [m], at coarseness 1, and at an edge there: see `sizes`."""
        part = 8 if edge and self.magnetic & {i, j} else 2
        return min(self.lengths[i] / 5, self.lengths[j] / 5, *(self._smallest_side(k) / part for k in (i, j)))

    def sizes(self, axis: int) -> np.ndarray:
        """Return the wanted cell size at each of `faces(axis)` [m], at coarseness 1.

        Where two different metals touch, spins relax within the shorter of their relaxation lengths, and potentials are
        singular along the edges of the contact. At its plane and its edges, the size is a fifth of that length, or, if
        that is less, half of the smallest side involved, an eighth at edges of ferromagnets, where spin signals are
        made. At all other faces of a solid, it is the smallest side; at weak edges it is much smaller.
        """
        faces = self.faces(axis)
        sizes = np.full(len(faces), np.inf)

        def ask(edges: Sequence[float], size: float) -> None:
            for edge in edges:
                k = int(np.argmin(np.abs(faces - edge)))
                sizes[k] = min(sizes[k], size)

        for i in range(len(self.boxes)):
            ask(self._edges(i, axis), self._smallest_side(i))
        for (i, a), (j, b) in itertools.combinations(enumerate(self.boxes), 2):
            if self.domains[i] == self.domains[j] or not (self.metals[i] and self.metals[j]):
                continue
            shared = _shared(a, b)
            if shared is None:
                continue
            # Fields are smooth where both solids end, as at the sides of a stack.
            apart = (np.abs(np.subtract(a, b)) > coincidence(float(np.ptp(faces)))).tolist()
            if shared[axis][0] == shared[axis][1]:  # the plane of the contact
                apart[axis] = 2 * [any(apart[axis - 1] + apart[axis - 2])]
            for end, edge in zip(shared[axis], apart[axis], strict=True):
                ask([end], min(self.border_size(i, j, edge=edge), _smallest_side(shared) / 2))
        for along, low, high, size in self.bands:
            if along == axis:
                ask((low, high), size)
        for position, size in self.weak[axis].items():
            ask([position], size)
        return sizes


def _smallest_side(box: Box) -> float:
    """Return the smallest extent that is not zero."""
    return min(high - low for low, high in box if high > low)


def _shared(a: Box, b: Box) -> Box | None:
    """Return the intersection of two boxes if it is a volume or a piece of a face."""
    tolerance = coincidence(max(p[1] - p[0] for p in (*a, *b)))
    sides = [(max(p[0], q[0]), min(p[1], q[1])) for p, q in zip(a, b, strict=True)]
    extents = [high - low for low, high in sides]
    if min(extents) < -tolerance or sum(extent > tolerance for extent in extents) < 2:
        return None
    x, y, z = ((low, high) if high - low > tolerance else (low, low) for low, high in sides)
    return x, y, z


def at_coarseness(features: Features, order: int, coarseness: float) -> Grid:
    """Build the grid with `coarseness` times the sizes of `Features`; cells grow by a factor 1 + coarseness."""
    growth = float(np.log1p(coarseness))
    lines = []
    for axis in range(3):
        faces, sizes = features.faces(axis), features.sizes(axis)
        slanted, gaps = features.spans(axis), features.gaps(axis)
        if not len(slanted[2]) and not len(gaps[2]):
            lines.append(graded_lines(faces, sizes * coarseness, growth))
            continue
        low, high = (np.concatenate([faces, slanted[k], gaps[k]]) for k in (0, 1))
        wanted = np.concatenate([sizes * coarseness, slanted[2] * coarseness, gaps[2]])
        lines.append(graded_lines(faces, wanted, growth, (low, high)))
    return features.grid(lines, order)


def choose(features: Features, order: int, cells: int | None = None) -> Grid:
    """Choose the grid for a device: the finest within a number of cells, or the default.

    Args:
      features: what to resolve.
      order: polynomial order 1, 2 or 3.
      cells: largest number of cells; None: use the coarseness that `DEFAULT_COARSENESS` has for the order, or a finer
        one that makes `FEWEST` cells.
    Raises:
      InputError: another order; or even the coarsest grid, with one cell between neighbouring faces, has more cells.
    """
    order = require_whole("order", order, min(DEFAULT_COARSENESS), max(DEFAULT_COARSENESS))
    if cells is None:
        grid = at_coarseness(features, order, DEFAULT_COARSENESS[order])
        return grid if grid.cells >= FEWEST.get(order, 0) else choose(features, order, FEWEST[order])
    cells, coarsest = require_whole("cells", cells, 1), at_coarseness(features, order, COARSEST)
    if coarsest.cells > cells:
        raise InputError(
            f"a budget of {cells} cells is too small: the faces of the solids alone make {coarsest.cells} cells; "
            f"ask for at least that many"
        )
    # The number of cells falls in steps as the coarseness grows: bisect until the interval is within a step.
    fine, coarse = 0.0, 1.0
    while at_coarseness(features, order, coarse).cells > cells:
        fine, coarse = coarse, 2 * coarse
    for _ in range(16):
        middle = (fine + coarse) / 2
        if at_coarseness(features, order, middle).cells > cells:
            fine = middle
        else:
            coarse = middle
    return at_coarseness(features, order, coarse)


#: Grid lines around a band are this part of the wanted size outside of it, so that no corner lies on a line in x and y:
#: it would be in other cells after the least motion. Where another face is closer than twice that, there is no line.
MARGIN = 1 / 20
COARSEST = 1e6  # coarseness of a grid with one cell between neighbouring faces
#: Coarseness of the default grid for each order; benchmarks/grid_order.py measures its cost and accuracy.
DEFAULT_COARSENESS = {1: 1.0, 2: 3.0, 3: 6.0}
#: Least number of cells of the default grid: fewer do not resolve devices of long relaxation lengths, and save nothing.
FEWEST = {3: 1500}
