"""Views of a device: the solids seen from above and in planes, and where the interesting part is.

Knows geometry and which material is a metal or a ferromagnet; no fields and no matplotlib: `device_figures` draws.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from thermospin.base import polygons
from thermospin.geometry.outlines import Regions, inside

if TYPE_CHECKING:
    from thermospin.device.device import Device

#: ((u0, u1), (v0, v1)) [m]
Extent = tuple[tuple[float, float], tuple[float, float]]

#: Contacts wider than this many times the smallest one do not pull on the zoom: leads lying on a heater.
_SMALL_CONTACTS = 2.5


@dataclasses.dataclass(frozen=True, eq=False)
class Mosaic:
    """A map of the solids that are seen in a plane.

    Attributes:
      pieces: pairs of solid and polygon [m] that do not overlap; those of a solid do not touch.
    """

    pieces: tuple[tuple[int, np.ndarray], ...]

    def at(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return the index of the solid at every point of a tensor grid of ascending positions [m]; -1 outside."""
        found = np.full((len(u), len(v)), -1)
        for solid, corners in self.pieces:
            part = tuple(
                slice(*np.searchsorted(line, (ends.min(), ends.max())))
                for line, ends in zip((u, v), corners.T, strict=True)
            )
            found[part][inside(corners, u[part[0]], v[part[1]])] = solid
        return found

    def borders(self, kind: np.ndarray) -> np.ndarray:
        """Return line segments (count, 2, 2) [m] around what is of one kind; `kind` has an entry for each solid."""
        groups = _joined([(int(kind[solid]), corners) for solid, corners in self.pieces])
        return polygons.borders([corners for _, corners in groups])

    def edges(self, drawn: np.ndarray) -> np.ndarray:
        """Return line segments (count, 2, 2) [m] between pieces of pairs of solids.

        `drawn` marks those pairs; it has a row and a column for each solid.
        """
        shapes = [corners for _, corners in self.pieces]
        found = [
            segment
            for i, j in polygons.close(shapes)
            if drawn[self.pieces[i][0], self.pieces[j][0]]
            for segment in polygons.shared_pieces(shapes[i], shapes[j])
        ]
        return np.array(found).reshape(-1, 2, 2)

    def roomiest(self, chosen: np.ndarray, extent: Extent) -> tuple[float, float, float] | None:
        """Return middle and radius [m] of the largest circle in the chosen solids within an extent; None if unseen."""
        from scipy import ndimage

        (u0, u1), (v0, v1) = extent
        step = max(u1 - u0, v1 - v0) / 300
        u, v = np.arange(u0 + step / 2, u1, step), np.arange(v0 + step / 2, v1, step)
        hit = np.append(chosen, False)[self.at(u, v)]
        if not hit.any():
            return None
        room = ndimage.distance_transform_edt(np.pad(hit, 1))[1:-1, 1:-1]
        # Among equals the one nearest to the middle of the shape looks best.
        middle = np.argwhere(hit).mean(axis=0)
        best = np.argwhere(room >= room.max() - 0.5)
        i, j = best[np.argmin(np.sum((best - middle) ** 2, axis=1))]
        return float(u[i]), float(v[j]), float(room.max()) * step


def _joined(pieces: Sequence[tuple[int, np.ndarray]]) -> tuple[tuple[int, np.ndarray], ...]:
    """Return polygons with their numbers, those of one number that touch in one; a single one keeps all its digits."""
    groups: dict[int, list[np.ndarray]] = {}
    for number, corners in pieces:
        groups.setdefault(number, []).append(corners)
    return tuple(
        (number, corners)
        for number, shapes in groups.items()
        for corners in (polygons.boolean(shapes, [], "or") if len(shapes) > 1 else shapes)
    )


class Facet(NamedTuple):
    """A side or top of a solid in a view from the side and above, or a piece of the border of a top.

    Attributes:
      corners: on the paper (vertices, 2) [m]; of a border, its two ends.
      solid: index of the solid.
      light: how much light falls on it, 0 to 1; on a border none does.
    """

    corners: np.ndarray
    solid: int
    light: float


class View(NamedTuple):
    """Facets from back to front, by how much heights are stretched, and where x and y point on the paper."""

    facets: list[Facet]
    stretch: float
    x: np.ndarray
    y: np.ndarray


class Focus(NamedTuple):
    """The region of interest: extent seen from above, and the vertical plane `axis` = `position` [m] to cut along."""

    extent: Extent
    axis: int
    position: float


class _Meeting(NamedTuple):
    """The interface of a ferromagnet and a normal metal: a box that is flat along one axis, corners [m]."""

    low: np.ndarray
    high: np.ndarray

    @property
    def size(self) -> float:
        return float(np.max(self.high - self.low))


class Views:
    """Views of a device.

    Attributes:
      metal: whether a solid conducts charge, by index; False at the end for the void.
      magnetic: whether a solid is a ferromagnet; False at the end.
      domain: a number per solid, equal where material and magnet are; -1 at the end.
    """

    def __init__(self, device: Device) -> None:
        materials = [device.materials[solid.material] for solid in device.solids]
        self.metal = np.array([material.is_metal for material in materials] + [False])
        self.magnetic = self.metal & np.array(
            [m.is_magnetic or s.magnet is not None for m, s in zip(materials, device.solids, strict=True)] + [False]
        )
        domains = device.domains
        self.domain = np.array([domains.index((solid.material, solid.magnet)) for solid in device.solids] + [-1])
        self._boxes = np.array([solid.box for solid in device.solids])
        plan = device.layout()
        self._regions = plan if isinstance(plan, Regions) else Regions(device.solids, self.metal[:-1].tolist())

    @property
    def extent(self) -> Extent:
        """The whole device seen from above."""
        (x0, y0), (x1, y1) = self._boxes[:, :2, 0].min(axis=0).tolist(), self._boxes[:, :2, 1].max(axis=0).tolist()
        return (x0, x1), (y0, y1)

    def cut(self, axis: int, position: float) -> Mosaic:
        """Return the solids in the plane normal to `axis`; on a face those above, and below where there are none."""
        tolerance = 1e-9 * float(np.ptp(self._boxes[:, axis]))
        above, below = (self._section(axis, position, shift) for shift in (-tolerance, tolerance))
        cover, known = [corners for _, corners in above], {corners.tobytes() for _, corners in above}
        seen = [
            (solid, part)
            for solid, corners in below
            if corners.tobytes() not in known
            for part in polygons.boolean([corners], cover, "not")
        ]
        return Mosaic(_joined([*above, *seen]))

    def _section(self, axis: int, position: float, shift: float) -> list[tuple[int, np.ndarray]]:
        """Return the parts in a plane, with faces moved by a shift [m]: pairs of solid and polygon."""
        heights, found = self._regions.heights, []
        for part in self._regions.parts:
            low, high = heights[part.layer : part.layer + 2].tolist()
            if axis == 2:
                if low + shift <= position < high + shift:
                    found.append((part.solid, part.outline))
                continue
            beyond = part.outline[:, axis] + shift > position
            crossing = beyond != np.roll(beyond, -1)
            p, q = part.outline[crossing], np.roll(part.outline, -1, axis=0)[crossing]
            share = np.clip((position - p[:, axis]) / (q[:, axis] - p[:, axis]), 0.0, 1.0)
            ends = np.sort(p[:, 1 - axis] + share * (q - p)[:, 1 - axis]).reshape(-1, 2)
            found += [(part.solid, polygons.rectangle(pair, (low, high))) for pair in ends.tolist()]
        return found

    def from_above(self) -> Mosaic:
        """Return the uppermost solid at every place."""
        return Mosaic(_joined(self._regions.from_above()))

    def left_of(self, solid: int) -> np.ndarray:
        """Return the border, seen from above, of what no later solid overwrites of one (count, 2, 2) [m]."""
        return polygons.borders(
            polygons.boolean([part.outline for part in self._regions.parts if part.solid == solid], [], "or")
        )

    def from_aside(self, azimuth: float = -60.0, elevation: float = 35.0) -> View:
        """Return the metals and a little of what they lie on, seen from the side and above without perspective.

        Solids are drawn layer by layer from below, in each layer sides from the back to the front and then the tops:
        from above, no side hides the top of its own layer.

        Args:
          azimuth: of the eye, from x towards y [degrees].
          elevation: of the eye [degrees].
        """
        regions = self._regions
        metals = [solid for solid, metal in zip(regions.solids, self.metal[:-1], strict=True) if metal]
        ends = np.array([solid.box for solid in metals or regions.solids])
        low, high = ends[:, :, 0].min(axis=0), ends[:, :, 1].max(axis=0)
        across, height = float(np.max((high - low)[:2])), float(high[2] - low[2])
        frame = polygons.rectangle(*((low[k] - 0.12 * across, high[k] + 0.12 * across) for k in range(2)))
        floor = low[2] - 0.3 * height
        stretch = max(1.0, 0.18 * across / height)
        stretch = 1.0 if stretch < 1.5 else float(round(stretch))
        turn, tilt = np.radians(azimuth), np.radians(elevation)
        toward, right = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])

        def on_paper(points: np.ndarray, z: float) -> np.ndarray:
            return np.stack([points @ right, stretch * z * np.cos(tilt) - points @ toward * np.sin(tilt)], axis=-1)

        facets: list[Facet] = []
        for layer, (bottom, top) in enumerate(itertools.pairwise(regions.heights)):
            if top <= floor:
                continue
            sides: list[tuple[float, Facet]] = []
            tops: list[Facet] = []
            for part in regions.parts:
                if part.layer != layer:
                    continue
                for outline in polygons.boolean([part.outline], [frame], "and"):
                    around = outline if polygons.area(outline) > 0 else outline[::-1]
                    for p, q in zip(around, np.roll(around, -1, axis=0), strict=True):
                        normal = np.array([q[1] - p[1], p[0] - q[0]])
                        if normal @ toward <= 0:
                            continue
                        light = 0.45 + 0.4 * float(normal @ np.array([0.9, -0.4]) / np.linalg.norm(normal) / 0.985) ** 2
                        # In short pieces, so that the order from back to front is one of places.
                        count = max(1, int(np.linalg.norm(q - p) / across * 40))
                        ends = p + np.linspace(0, 1, count + 1)[:, None] * (q - p)
                        for a, b in itertools.pairwise(ends):
                            line = np.array([a, b])
                            corners = np.concatenate([on_paper(line, max(bottom, floor)), on_paper(line[::-1], top)])
                            sides.append((float((a + b) @ toward), Facet(corners, part.solid, light)))
                    cover = [other.outline for other in regions.parts if other.layer == layer + 1]
                    free = polygons.boolean([outline], cover, "not")
                    tops += [Facet(on_paper(seen, top), part.solid, 1.0) for seen in free]
                    tops += [Facet(on_paper(line, top), part.solid, 0.0) for line in polygons.borders(free)]
            facets += [facet for _, facet in sorted(sides, key=lambda side: side[0])] + tops
        return View(facets, stretch, *(on_paper(direction, 0.0) for direction in np.eye(2)))

    def focus(self) -> Focus:
        """Return the region of the small contacts of ferromagnets and normal metals, and the section that crosses most.

        A device without such contacts is looked at as a whole: its ferromagnets, or its metals, or all of it.
        """
        meetings = self._meetings()
        if meetings:
            limit = _SMALL_CONTACTS * min(meeting.size for meeting in meetings)
            meetings = [meeting for meeting in meetings if meeting.size <= limit]
        else:
            chosen = next(c for c in (self.magnetic[:-1], self.metal[:-1], np.ones(len(self._boxes), bool)) if c.any())
            boxes = self._boxes[chosen]
            meetings = [_Meeting(boxes[:, :, 0].min(axis=0), boxes[:, :, 1].max(axis=0))]
        low, high = np.min([m.low for m in meetings], axis=0), np.max([m.high for m in meetings], axis=0)
        middle, half = (low + high) / 2, 0.8 * max(high[0] - low[0], high[1] - low[1])
        sides = [
            (max(float(middle[k] - half), bounds[0]), min(float(middle[k] + half), bounds[1]))
            for k, bounds in enumerate(self.extent)
        ]

        def merit(choice: tuple[int, _Meeting]) -> tuple[int, int, float]:
            axis, meeting = choice
            position = (meeting.low[axis] + meeting.high[axis]) / 2
            return sum(m.low[axis] < position < m.high[axis] for m in meetings), axis, -meeting.size

        axis, best = max(((axis, meeting) for axis in (1, 0) for meeting in meetings), key=merit)
        # To a thousandth of a nanometre: what is left of a sum of decimal numbers does not belong into a title.
        return Focus((sides[0], sides[1]), axis, round(float(best.low[axis] + best.high[axis]) / 2, 12) + 0.0)

    def _meetings(self) -> list[_Meeting]:
        meetings = []
        for i in np.nonzero(self.magnetic)[0]:
            for j in np.nonzero(self.metal & ~self.magnetic)[0]:
                low = np.maximum(self._boxes[i, :, 0], self._boxes[j, :, 0])
                high = np.minimum(self._boxes[i, :, 1], self._boxes[j, :, 1])
                tolerance = 1e-9 * float(np.max(self._boxes[i, :, 1] - self._boxes[i, :, 0]))
                if np.all(high - low > -tolerance) and np.sum(high - low > tolerance) >= 2:
                    meetings.append(_Meeting(low, high))
        return meetings

    def section_extent(self, cut: Mosaic, along: tuple[float, float]) -> Extent:
        """Return the extent of a vertical section: its metal within `along`, some of what lies below, room above."""
        heights = self._regions.heights
        bottom, top = float(heights[0]), float(heights[-1])
        window = polygons.rectangle(along, (bottom, top))
        for kept in (self.metal, np.ones_like(self.metal)):
            shown = polygons.boolean([corners for solid, corners in cut.pieces if kept[solid]], [window], "and")
            if shown:
                ends = np.concatenate(shown)[:, 1]
                low, high = float(ends.min()), float(ends.max())
                return along, (max(low - 0.45 * (high - low), bottom), high + 0.2 * (high - low))
        return along, (bottom, top)
