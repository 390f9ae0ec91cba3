"""The rule for grids: how fine they are at the faces and edges of a device, and the grid for a number of cells.

This module uses boxes, polygons and lengths only, no material values and no equations.
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
from thermospin.base.lines import coincidence, graded_lines, is_mirrored, merge_close
from thermospin.grid import Box, Grid, Prism, fill, fill_prisms


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
      injecting: the same of contacts through which a current enters a ferromagnet.
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
    injecting: tuple[Mapping[float, float], ...] = ({}, {}, {})
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

    @functools.cached_property
    def spreading(self) -> tuple[list[tuple[float, int, float]], ...]:
        """For each axis, planes where metals lie on insulators: position, side of the insulator (-1 or 1), width [m].

        Heat that leaves a strip of metal spreads in the insulator over about the width of the strip.
        """
        found: tuple[dict[tuple[float, int], float], ...] = ({}, {}, {})
        metals, insulators = np.flatnonzero(self.metals).tolist(), np.flatnonzero(np.logical_not(self.metals)).tolist()
        for i, j in itertools.product(metals, insulators):
            shared = _shared(self.boxes[i], self.boxes[j])
            if shared is None:
                continue
            for axis in range(3):
                (at, end), (low, high) = shared[axis], self.boxes[j][axis]
                inside = coincidence(high - low) < min(at - low, high - at)
                if at == end and not inside:
                    key = at, -1 if high - at < at - low else 1
                    outline = self.outlines[i] if self.outlines and axis == 2 else None
                    width = min(_smallest_side(shared), np.inf if outline is None else polygons.width(outline))
                    found[axis][key] = min(width, found[axis].get(key, np.inf))
        return tuple([(*key, width) for key, width in each.items()] for each in found)

    def is_mirrored(self, axis: int) -> bool:
        """Return whether the faces normal to an axis, with the sizes wanted there, are their own mirror image."""
        sizes = self.sizes(axis)
        return is_mirrored(self.faces(axis)) and np.allclose(sizes, sizes[::-1], rtol=1e-6, atol=0)

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
        made. At all other faces of a solid, it is the smallest side, or less: `weak`, `injecting`.
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
        for position, size in (*self.weak[axis].items(), *self.injecting[axis].items()):
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
            line = graded_lines(faces, sizes * coarseness, growth)
        else:
            low, high = (np.concatenate([faces, slanted[k], gaps[k]]) for k in (0, 1))
            wanted = np.concatenate([sizes * coarseness, slanted[2] * coarseness, gaps[2]])
            line = graded_lines(faces, wanted, growth, (low, high))
        lines.append(_with_spreading(line, features.spreading[axis], coarseness))
    return features.grid(lines, order)


def _with_spreading(line: np.ndarray, planes: Sequence[tuple[float, int, float]], coarseness: float) -> np.ndarray:
    """Return grid lines with one more where the first cell of an insulator on a metal is too thick for `SPREADING`.

    That is over three times as thick. It becomes two cells, the second at most 1 + coarseness times as thick.
    """
    more = []
    for at, side, width in planes:
        first = int(np.argmin(np.abs(line - at)))
        thickness = abs(line[first + side] - line[first]) if 0 <= first + side < len(line) else 0.0
        depth = max(SPREADING * coarseness * width, thickness / (2 + coarseness))
        if depth < thickness / 3:
            more.append(line[first] + side * depth)
    return np.sort(np.append(line, more))


def choose(features: Features, order: int, cells: int | None = None) -> Grid:
    """Choose the grid for a device: the finest within a number of cells, or the default.

    Args:
      features: what to resolve.
      order: polynomial order 1, 2 or 3.
      cells: largest number of cells; None: use the coarseness that `DEFAULT_COARSENESS` has for the order, or a finer
        one that makes `FEWEST` cells; those at contacts of ferromagnets come on top, and make no other cells larger.
    Raises:
      InputError: another order; or even the coarsest grid, with one cell between neighbouring faces, has more cells.
    """
    order = require_whole("order", order, min(DEFAULT_COARSENESS), max(DEFAULT_COARSENESS))
    if cells is None:
        plain, coarseness = dataclasses.replace(features, injecting=({}, {}, {})), DEFAULT_COARSENESS[order]
        if at_coarseness(plain, order, coarseness).cells < FEWEST.get(order, 0):
            coarseness = _coarseness(plain, order, FEWEST[order])
        return at_coarseness(features, order, coarseness)
    cells, coarsest = require_whole("cells", cells, 1), at_coarseness(features, order, COARSEST)
    if coarsest.cells > cells:
        raise InputError(
            f"a budget of {cells} cells is too small: the faces of the solids alone make {coarsest.cells} cells; "
            f"ask for at least that many"
        )
    return at_coarseness(features, order, _coarseness(features, order, cells))


def _coarseness(features: Features, order: int, cells: int) -> float:
    """Return the least coarseness at which a grid has at most so many cells."""
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
    return coarse


#: Grid lines around a band are this part of the wanted size outside of it, so that no corner lies on a line in x and y:
#: it would be in other cells after the least motion. Where another face is closer than twice that, there is no line.
MARGIN = 1 / 20
COARSEST = 1e6  # coarseness of a grid with one cell between neighbouring faces
#: Wanted thickness of the first cell of an insulator on a metal, at coarseness 1, over the width of the metal: a
#: quarter of the width on default grids of order 3. The sizes at the face are those of the metal, thinner than wide.
SPREADING = 1 / 24
#: Coarseness of the default grid for each order; benchmarks/grid_order.py measures its cost and accuracy.
DEFAULT_COARSENESS = {1: 1.0, 2: 3.0, 3: 6.0}
#: Least number of cells of the default grid: fewer do not resolve devices of long relaxation lengths, and save nothing.
FEWEST = {3: 1500}
