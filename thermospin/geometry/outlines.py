"""Geometry of a device with outlines: which parts of solids are not overwritten, touch, or nearly touch.

`Regions` does for solids with an outline what `boxes.Layout` does for boxes. Between neighbouring heights, each solid
keeps the part that no later solid overwrites: disjoint prisms. No material values and no file formats are used.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from thermospin.base import polygons
from thermospin.base.graphs import components
from thermospin.base.lines import merge_close
from thermospin.base.quadrature import PASSAGES
from thermospin.geometry.boxes import JOINT, Pieces, Plan, SolidLike
from thermospin.geometry.edges import Edge, spans, without
from thermospin.geometry.weights import covered_shares
from thermospin.grid import AXES, SLIVER, Grid, Prism, fill_prisms


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """The part of a solid in one layer that no later solid overwrites.

    Attributes:
      solid: index of the solid.
      layer: index of the layer, from one height to the next.
      outline: polygon (vertices, 2) [m].
    """

    solid: int
    layer: int
    outline: np.ndarray

    @functools.cached_property
    def extent(self) -> np.ndarray:
        """Lower and upper ends along x and y [m] (2, 2)."""
        return np.array([self.outline.min(axis=0), self.outline.max(axis=0)])


@dataclasses.dataclass(frozen=True, eq=False)
class Patch:
    """A part of an end face: rectangles in vertical planes, or polygons in horizontal ones.

    The ends of the slices of a slanted film lie in planes of their own, and so do the tops of a film on steps.

    Attributes:
      axis: the axis normal to the planes.
      rectangles: plane, (low, high) along the other horizontal axis, then along z [m].
      outlines: plane and polygon [m].
      parts: indices of the parts that have the face.
      area: total area [m^2].
    """

    axis: int
    rectangles: tuple[tuple[float, float, float, float, float], ...]
    outlines: tuple[tuple[float, np.ndarray], ...]
    parts: frozenset[int]
    area: float

    @property
    def positions(self) -> tuple[float, ...]:
        """Coordinates of the planes [m]."""
        return tuple(dict.fromkeys(float(piece[0]) for piece in (*self.rectangles, *self.outlines)))

    @property
    def position(self) -> float:
        """Coordinate of the plane of the largest piece [m]."""
        return self.rectangles[self._largest][0] if self.axis < 2 else self.outlines[self._largest][0]

    @property
    def _largest(self) -> int:
        sizes = [(b - a) * (d - c) for _, a, b, c, d in self.rectangles]
        sizes += [abs(float(polygons.area(outline))) for _, outline in self.outlines]
        return int(np.argmax(sizes))

    def overlaps(self, other: object) -> bool:
        """Return whether two patches share a piece of a plane."""
        if not isinstance(other, Patch) or self.axis != other.axis:
            return False
        for (p, *a), (q, *b) in itertools.product(self.rectangles, other.rectangles):
            if (
                abs(p - q) <= polygons.TOUCH
                and min(a[1], b[1]) - max(a[0], b[0]) > polygons.TOUCH
                and min(a[3], b[3]) - max(a[2], b[2]) > polygons.TOUCH
            ):
                return True
        return any(
            abs(p - q) <= polygons.TOUCH and bool(polygons.boolean([one], [two], "and"))
            for (p, one), (q, two) in itertools.product(self.outlines, other.outlines)
        )

    def weights(self, grid: Grid) -> np.ndarray:
        """Return the area of the patch that is assigned to each node of the tensor grid [m^2] (Nx, Ny, Nz)."""
        total = np.zeros([len(nodes) for nodes in grid.nodes])
        for plane, areas in self._areas(grid):
            weights = grid.on_plane(self.axis, plane, areas)
            if self.axis == 2:
                weights[weights < SLIVER * weights.max()] = 0.0
            total += weights
        return total

    def shares(self, grid: Grid, *domains: np.ndarray) -> list[np.ndarray]:
        """Return the part that the patch covers of what each node has of some domains in its planes, 0 to 1."""
        areas = self._areas(grid)
        return [
            np.max([covered_shares(grid, self.axis, plane, part, these) for plane, part in areas], axis=0)
            for these in domains
        ]

    def _areas(self, grid: Grid) -> list[tuple[float, np.ndarray]]:
        """Return the planes, and the area of the patch for each node of each of their cells [m^2]."""
        if self.axis == 2:
            return [
                (plane, grid.top_areas([outline for at, outline in self.outlines if at == plane]))
                for plane in self.positions
            ]
        return [
            (plane, grid.side_areas(self.axis, [piece[1:] for piece in self.rectangles if piece[0] == plane]))
            for plane in self.positions
        ]

    @property
    def centre(self) -> tuple[float, float]:
        """A point on the patch, seen from above [m]."""
        if self.axis == 2:
            return polygons.inner_point(self.outlines[self._largest][1])
        plane, low, high, *_ = self.rectangles[self._largest]
        across = (low + high) / 2
        return (plane, across) if self.axis == 0 else (across, plane)


class Regions(Plan):
    """Solids with outlines, cut into disjoint parts.

    Args:
      solids, metal: as of `Plan`.
    """

    def __init__(self, solids: Sequence[SolidLike], metal: Sequence[float]) -> None:
        super().__init__(solids, metal)
        self.of_metal = self.sigma > 0
        self.heights = merge_close([end for solid in self.solids for end in solid.box[2]])
        shapes = [outline_of(solid) for solid in self.solids]
        kept: dict[tuple[int, ...], list[np.ndarray]] = {}
        self.parts: list[Part] = []
        for layer, (low, high) in enumerate(itertools.pairwise(self.heights)):
            middle = (low + high) / 2
            active = [i for i, solid in enumerate(self.solids) if solid.box[2][0] < middle < solid.box[2][1]]
            for i in active:
                later = tuple(j for j in active if j > i and _meet(self.solids[i], self.solids[j]))
                key = (i, *later)
                if key not in kept:
                    # Outlines that nothing overwrites keep all digits: set operations would round them.
                    kept[key] = (
                        polygons.boolean([shapes[i]], [shapes[j] for j in later], "not") if later else [shapes[i]]
                    )
                self.parts += [Part(i, layer, outline) for outline in kept[key]]

    def overwritten(self) -> dict[int, str]:
        """Return solids that are overwritten completely, each with the names of the solids that replace it."""
        gone = set(range(len(self.solids))) - {part.solid for part in self.parts}
        return {
            i: self.names(j for j in range(i + 1, len(self.solids)) if _meet(self.solids[i], self.solids[j]))
            for i in sorted(gone)
        }

    @functools.cached_property
    def touching(self) -> list[tuple[int, int]]:
        """Pairs of parts that share part of a face."""
        pairs = []
        for a, b in self._near(polygons.TOUCH):
            one, other = self.parts[a], self.parts[b]
            if one.layer == other.layer:
                shared = polygons.shared_edge(one.outline, other.outline) > polygons.TOUCH
            else:
                shared = one.outline is other.outline or bool(
                    polygons.boolean([one.outline], [other.outline], "and", polygons.TOUCH**2)
                )
            if shared:
                pairs.append((a, b))
        return pairs

    def _near(self, reach: float) -> list[tuple[int, int]]:
        """Return pairs of parts in the same or neighbouring layers with extents closer than `reach` [m]."""
        extents = np.array([part.extent for part in self.parts]).reshape(-1, 2, 2)
        layers = np.array([part.layer for part in self.parts])
        pairs = []
        for a in range(len(self.parts)):
            gap = np.maximum(extents[a + 1 :, 0] - extents[a, 1], extents[a, 0] - extents[a + 1 :, 1]).max(axis=1)
            near = (gap <= reach) & (np.abs(layers[a + 1 :] - layers[a]) <= 1)
            pairs += [(a, a + 1 + int(b)) for b in np.flatnonzero(near)]
        return pairs

    def neighbours(self) -> set[tuple[int, int]]:
        """Return pairs of solids that share part of a face, the earlier solid first."""
        pairs = {tuple(sorted((self.parts[a].solid, self.parts[b].solid))) for a, b in self.touching}
        return {(i, j) for i, j in pairs if i != j}

    def alone(self) -> dict[int, str]:
        """Return solids that share no part of a face with another, each with the distance to the nearest, as text."""
        present = {part.solid for part in self.parts}
        touching = {i for pair in self.neighbours() for i in pair}
        return {i: self._nearest(i) for i in sorted(present - touching) if len(present) > 1}

    def pieces(self, *, metal: bool) -> Pieces:
        """Return the pieces that are connected through faces: of all solids, or of metals only."""
        counted = np.array([not metal or bool(self.of_metal[part.solid]) for part in self.parts], bool)
        label = components(len(counted), [(a, b) for a, b in self.touching if counted[a] and counted[b]])
        names = np.unique(label[counted])
        number = {int(name): k for k, name in enumerate(names, 1)}
        labels = np.array(
            [number[int(name)] if counts else 0 for name, counts in zip(label, counted, strict=True)], int
        )
        members: dict[int, set[int]] = {k: set() for k in number.values()}
        for part, counts in zip(self.parts, labels, strict=True):
            if counts:
                members[int(counts)].add(part.solid)

        def of(face: Patch) -> set[int]:
            return {int(labels[part]) for part in face.parts} - {0}

        return Pieces(members, of)

    def near_misses(self, least: float) -> list[tuple[int, int, float, np.ndarray]]:
        """Return pairs of solids that nearly touch: both solids, distance and position [m]; 0 for edges that meet.

        Args:
          least: smallest distance that counts as an intended gap [m].
        """
        misses: dict[tuple[int, int], tuple[int, int, float, np.ndarray]] = {}
        for first, second, gap, place in [*self._beside(least), *self._within(least), *self._above(least)]:
            pair = min(first, second), max(first, second)
            if pair not in misses or gap < misses[pair][2]:
                misses[pair] = (*pair, gap, place)
        return [misses[pair] for pair in sorted(misses)]

    def _beside(self, least: float) -> Iterator[tuple[int, int, float, np.ndarray]]:
        """Yield narrow gaps between parts of one layer or of two that follow, and edges in which metals there meet."""
        touching = set(self.touching)
        for a, b in self._near(least):
            one, other = self.parts[a], self.parts[b]
            metals = bool(self.of_metal[one.solid] and self.of_metal[other.solid])
            if (a, b) in touching or self._body(one) == self._body(other):
                continue
            gap, place = polygons.distance(one.outline, other.outline)
            if gap <= polygons.TOUCH:
                if metals and not self._bridged(a, b, place):
                    yield one.solid, other.solid, 0.0, self._at(place, one.layer, other.layer)
            elif gap < least and not any(self._filled(place, layer) for layer in {one.layer, other.layer}):
                yield one.solid, other.solid, gap, self._at(place, one.layer, other.layer)

    def _within(self, least: float) -> Iterator[tuple[int, int, float, np.ndarray]]:
        """Yield narrow slits in outlines, and outlines of metal whose halves meet in a corner only."""
        seen: set[int] = set()
        for part in self.parts:
            if id(part.outline) in seen:
                continue
            seen.add(id(part.outline))
            slit = polygons.slit(part.outline, least)
            if slit is not None and not self._filled(slit[1], part.layer):
                yield part.solid, part.solid, slit[0], self._at(slit[1], part.layer, part.layer)
            if self.of_metal[part.solid] and len(part.outline) > 5:
                halves = polygons.offset(part.outline, -10 * polygons.TOUCH)
                if len(halves) > 1:
                    place = polygons.distance(halves[0], halves[1])[1]
                    yield part.solid, part.solid, 0.0, self._at(place, part.layer, part.layer)

    def _above(self, least: float) -> Iterator[tuple[int, int, float, np.ndarray]]:
        """Yield narrow gaps between parts above one another."""
        layers = [[part for part in self.parts if part.layer == k] for k in range(len(self.heights) - 1)]
        for low, high in itertools.combinations(range(len(layers)), 2):
            gap = float(self.heights[high] - self.heights[low + 1])
            if high == low + 1 or gap >= least:
                continue
            between = [part.outline for layer in layers[low + 1 : high] for part in layer]
            for one, other in itertools.product(layers[low], layers[high]):
                if _overlap(one.extent, other.extent):
                    free = polygons.boolean([one.outline], [other.outline], "and")
                    free = polygons.boolean(free, between, "not") if free and between else free
                    if free:
                        yield one.solid, other.solid, gap, self._at(free[0].mean(axis=0), low + 1, high - 1)
                elif _overlap(one.extent + np.array([[-least], [least]]), other.extent):
                    aside, place = polygons.distance(one.outline, other.outline)
                    filled = any(self._filled(place, layer) for layer in range(low, high + 1))
                    if math.hypot(aside, gap) < least and self._body(one) != self._body(other) and not filled:
                        yield one.solid, other.solid, math.hypot(aside, gap), self._at(place, low + 1, high - 1)

    def _at(self, place: np.ndarray, low: int, high: int) -> np.ndarray:
        """Return the point in space at half the height of some layers, or at the plane between two [m]."""
        ends = (low, high + 1) if high >= low else (high + 1, low)
        return np.append(place, self.heights[list(ends)].mean())

    def _filled(self, place: np.ndarray, layer: int) -> bool:
        return any(part.layer == layer and polygons.away(part.outline, place) < polygons.TOUCH for part in self.parts)

    def _body(self, part: Part) -> str:
        return body_of(self.solids[part.solid])

    def _bridged(self, a: int, b: int, place: np.ndarray) -> bool:
        """Return whether parts of good metal in the layers of two parts connect them around a point."""
        layers = {self.parts[a].layer, self.parts[b].layer}
        least = JOINT * min(self.sigma[self.parts[k].solid] for k in (a, b))
        there = {
            k
            for k, part in enumerate(self.parts)
            if part.layer in layers
            and self.of_metal[part.solid]
            and self.sigma[part.solid] >= least
            and polygons.away(part.outline, place) < polygons.TOUCH
        }
        reached, fresh = {a}, {a}
        while fresh:
            fresh = {q for pair in self.touching for p, q in (pair, pair[::-1]) if p in fresh and q in there} - reached
            reached |= fresh
        return b in reached

    def torn(self) -> list[tuple[str, np.ndarray]]:
        """Return metal bodies of several solids that are not connected, and where a separate piece is [m]."""
        bodies = np.array([self._body(part) for part in self.parts])
        label = components(len(bodies), [(a, b) for a, b in self.touching if bodies[a] == bodies[b]])
        parts_apart = []
        for body in dict.fromkeys(bodies.tolist()):
            of_body = np.flatnonzero(bodies == body)
            if not self.of_metal[self.parts[of_body[0]].solid]:
                continue
            if len({self.parts[k].solid for k in of_body}) > 1 and len(set(label[of_body].tolist())) > 1:
                loose = of_body[label[of_body] != label[of_body[0]]][0]
                parts_apart.append((body, self.parts[loose].outline.mean(axis=0)))
        return parts_apart

    def face(self, which: Sequence[int], side: str, *, metal: bool) -> Patch | str:
        """Return the free part of an end face of solids, or the reason why there is none.

        Args:
          which: the solids; a side belongs to those that extend furthest there, a top or bottom to all of them.
          side: one of `boxes.FACES`, such as "x-".
          metal: whether only metals in front of the face cover it, or all solids.
        """
        axis, upper = AXES.index(side[0]), side[1] == "+"
        if axis == 2:
            return self._flat(which, upper, metal)
        ends = {i: self.solids[i].box[axis][upper] for i in which}
        last = max(ends, key=lambda i: ends[i] if upper else -ends[i])
        sign = 1 if upper else -1
        # Slices of a slanted film end one after another: those that end together in the drawing have one side.
        drawn = {i: end + sign * self.solids[i].recess for i, end in ends.items()}
        places = {
            i: [end]
            for i, end in ends.items()
            if min(abs(end - ends[last]), abs(drawn[i] - drawn[last])) <= polygons.TOUCH
        }
        return self._upright(which, places, axis, upper, (-np.inf, np.inf), metal)

    def end(self, which: Sequence[int], edge: Edge) -> Patch | str:
        """Return the part of one edge, at all heights, that no metal covers, or the reason why there is none.

        Args:
          which: the solids.
          edge: of their outline as drawn; the slices of a slanted film end a little before it, or beyond it.
        """
        sign = 1 if edge.upper else -1
        recesses = {i: self.solids[i].recess for i in which}
        # At the rim of a window a slice ends where the drawing does.
        places = {
            i: [edge.position] if not recess else [edge.position, edge.position - sign * recess]
            for i, recess in recesses.items()
        }
        wider = max(0.0, *(-recess for recess in recesses.values()))
        return self._upright(which, places, edge.axis, edge.upper, (edge.low - wider, edge.high + wider), True)

    def _upright(
        self,
        which: Sequence[int],
        places: Mapping[int, Sequence[float]],
        axis: int,
        upper: bool,
        within: tuple[float, float],
        metal: bool,
    ) -> Patch | str:
        """Return the free part of the edges of solids at the places of each, between two ends along the other axis."""
        closing = [k for k, part in enumerate(self.parts) if not metal or self.of_metal[part.solid]]
        touched: set[int] = set()
        rectangles: list[tuple[float, float, float, float, float]] = []
        for k, part in enumerate(self.parts):
            for plane in places.get(part.solid, ()):
                pieces = [(max(a, within[0]), min(b, within[1])) for a, b in spans(part.outline, axis, plane, upper)]
                pieces = [(low, high) for low, high in pieces if high - low > polygons.TOUCH]
                if pieces:
                    touched.add(k)
                for other in closing:
                    if other != k and self.parts[other].layer == part.layer:
                        for taken in spans(self.parts[other].outline, axis, plane, not upper):
                            pieces = [piece for span in pieces for piece in without(span, taken)]
                # To the last digit where the outline is, so that it is one grid line.
                at = min(part.outline[:, axis].tolist(), key=lambda end: abs(end - plane))
                bottom, top = self.heights[part.layer], self.heights[part.layer + 1]
                rectangles += [(at, low, high, float(bottom), float(top)) for low, high in pieces]
        if not rectangles:
            return self._why(which, bool(touched))
        area = sum((b - a) * (d - c) for _, a, b, c, d in rectangles)
        return Patch(axis, tuple(rectangles), (), frozenset(touched), area)

    def _flat(self, which: Sequence[int], upper: bool, metal: bool) -> Patch | str:
        """Return the free part of the tops or bottoms of solids, except where one of them lies on another."""
        touched: set[int] = set()
        pieces: list[tuple[float, np.ndarray]] = []
        for i in which:
            level = int(np.argmin(np.abs(self.heights - self.solids[i].box[2][upper])))
            mine = [k for k, part in enumerate(self.parts) if part.solid == i and part.layer == level - upper]
            front = [part for part in self.parts if part.layer == level - (not upper)]
            own = [part.outline for part in front if part.solid in which]
            shapes = [self.parts[k].outline for k in mine]
            if not shapes or (own and polygons.boolean(shapes, own, "and")):
                continue
            touched |= set(mine)
            closing = [part.outline for part in front if not metal or self.of_metal[part.solid]]
            free = polygons.boolean(shapes, closing, "not") if closing else shapes
            pieces += [(float(self.heights[level]), outline) for outline in free]
        area = float(sum(abs(polygons.area(outline)) for _, outline in pieces))
        if area > 0:
            return Patch(2, (), tuple(pieces), frozenset(touched), area)
        return self._why(which, bool(touched))

    def _why(self, which: Sequence[int], has_edge: bool) -> str:
        if has_edge:
            near = {j for i in which for pair in self.neighbours() if i in pair for j in pair} - set(which)
            return f"is no end face: {self.names(near)} lies in front of all of it"
        later = [j for i in which for j in range(i + 1, len(self.solids)) if _meet(self.solids[i], self.solids[j])]
        if later:
            return f"has no edge there, or is overwritten by {self.names(later)}"
        return "has no straight edge along that side; choose another face, or cut the outline straight"

    def prisms(self, domains: Sequence[int]) -> tuple[Prism, ...]:
        """Return outline, heights and domain of every part; `domains` has an index per solid."""
        return tuple(
            Prism(
                part.outline,
                (float(self.heights[part.layer]), float(self.heights[part.layer + 1])),
                domains[part.solid],
            )
            for part in self.parts
        )

    def owners(self, lines: Sequence[np.ndarray]) -> np.ndarray:
        """Return the solid that covers the largest part of each cell between lines, -1 for none (nx, ny, nz)."""
        return fill_prisms(lines, self.prisms(range(len(self.solids))))

    def short_circuit(self, grid: Grid) -> tuple[np.ndarray, float, float] | None:
        """Return where a node belongs to metal on both sides of a gap: position, width of the gap and cell size [m].

        A node belongs to all metal in the support of its test function. If that metal is in pieces that are not
        connected within a few cells around it either, the cells are too large for the gap.
        """
        x, y, z = grid.lines
        near = 1.0 if grid.order == 1 else PASSAGES[grid.order][-1][1] - PASSAGES[grid.order][-1][0]
        for layer, (low, high) in enumerate(itertools.pairwise(self.heights)):
            at = int(np.argmin(np.abs(z - low)))
            places = [cut.place for cut in grid.cuts if cut.span[0] <= at < cut.span[1]]
            metals = [p.outline for p in self.parts if p.layer == layer and self.of_metal[p.solid]]
            if not places or not metals:
                continue
            metal = polygons.boolean(metals, [], "or")
            cells = np.unique(np.concatenate(places), axis=0)
            corners = np.unique((cells[:, None] + np.array([(0, 0), (0, 1), (1, 0), (1, 1)])).reshape(-1, 2), axis=0)
            boxes = [tuple((line[k], line[k + 1]) for line, k in zip((x, y), cell, strict=True)) for cell in cells]
            for corner in corners:
                ends = []
                for line, k in zip((x, y), corner, strict=True):
                    below, above = (near * (line[min(k + s, len(line) - 1)] - line[max(k + s - 1, 0)]) for s in (0, 1))
                    ends.append((line[k] - (below if k else 0.0), line[k] + above))
                boxes.append(tuple(ends))
            for box in boxes:
                parted = self._parted(metal, box)
                if parted is not None:
                    return parted[0], parted[1], max(high - low for low, high in box)
        return None

    def _parted(
        self, metal: Sequence[np.ndarray], box: Sequence[tuple[float, float]]
    ) -> tuple[np.ndarray, float] | None:
        """Return where a rectangle holds pieces of metal that are not connected around it, and their distance [m]."""
        rectangle = polygons.rectangle(*box)
        size = np.ptp(rectangle, axis=0)
        pieces = polygons.boolean(metal, [rectangle], "and", 1e-3 * float(size.prod()))
        if len(pieces) < 2:
            return None
        wide = polygons.rectangle(*((low - 3 * s, high + 3 * s) for (low, high), s in zip(box, size, strict=True)))
        around = polygons.boolean(metal, [wide], "and")
        joined = polygons.joined(around)
        belongs = [
            next(k for k, other in enumerate(around) if polygons.boolean([piece], [other], "and", 0.0))
            for piece in pieces
        ]
        for first, second in itertools.combinations(belongs, 2):
            if joined[first] != joined[second]:
                gap, place = polygons.distance(around[first], around[second])
                return place, gap
        return None

    def from_above(self) -> list[tuple[int, np.ndarray]]:
        """Return the part of each solid that is visible from above: pairs of solid and polygon [m]."""
        visible: list[tuple[int, np.ndarray]] = []
        cover: list[np.ndarray] = []
        for layer in range(len(self.heights) - 2, -1, -1):
            in_layer = [part for part in self.parts if part.layer == layer]
            for part in in_layer:
                seen = polygons.boolean([part.outline], cover, "not") if cover else [part.outline]
                visible += [(part.solid, outline) for outline in seen]
            cover = polygons.boolean([*cover, *(part.outline for part in in_layer)], [], "or") if in_layer else cover
        return visible

    def raster(self, tiles: int = 240) -> tuple[list[np.ndarray], np.ndarray]:
        """Return a grid for pictures: lines along x, y and z [m], and the solid at each cell centre, -1 for none."""
        extents = np.array([part.extent for part in self.parts])
        low, high = extents[:, 0].min(axis=0), extents[:, 1].max(axis=0)
        step = float((high - low).max()) / tiles
        lines = []
        for axis in range(2):
            ends = [end for solid in self.solids for end in solid.box[axis]]
            even = np.linspace(low[axis], high[axis], max(2, int((high[axis] - low[axis]) / step)))
            lines.append(merge_close(np.concatenate([even, ends])))
        owner = np.full((len(lines[0]) - 1, len(lines[1]) - 1, len(self.heights) - 1), -1)
        middle = [(line[1:] + line[:-1]) / 2 for line in lines]
        marked: dict[int, np.ndarray] = {}
        for part in self.parts:
            if id(part.outline) not in marked:
                marked[id(part.outline)] = inside(part.outline, *middle)
            owner[marked[id(part.outline)], part.layer] = part.solid
        return [*lines, self.heights], owner


def outline_of(solid: SolidLike) -> np.ndarray:
    """Return the polygon of a solid seen from above; for a box, its rectangle."""
    return polygons.rectangle(*solid.box[:2]) if solid.outline is None else np.asarray(solid.outline)


def body_of(solid: SolidLike) -> str:
    """Return the name of the body that a solid is a piece of, such as "lead" for "lead/2"; else its own name."""
    # Not from the name: in a device file "FM/1" and "FM/2" may be two magnets.
    return solid.body or solid.name


def _meet(one: SolidLike, other: SolidLike) -> bool:
    """Return whether the extents of two solids overlap, seen from above."""
    return all(a[0] < b[1] and b[0] < a[1] for a, b in zip(one.box[:2], other.box[:2], strict=True))


def _overlap(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two extents (2, 2), lower and upper ends, overlap."""
    return bool((one[0] < other[1]).all() and (other[0] < one[1]).all())


def inside(outline: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mark the points of a tensor grid that are inside a polygon."""
    marked = np.zeros((len(x), len(y)), bool)
    for p, q in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        rows = np.flatnonzero((p[1] > y) != (q[1] > y))
        if len(rows):
            reach = p[0] + (y[rows] - p[1]) / (q[1] - p[1]) * (q[0] - p[0])
            marked[:, rows] ^= x[:, None] < reach[None, :]
    return marked


def names_of(solids: Iterable[SolidLike]) -> list[str]:
    """Return the names of solids, and of the bodies of a layout to which they belong."""
    return list(dict.fromkeys(name for solid in solids for name in (solid.name, body_of(solid))))
