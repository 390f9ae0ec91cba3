"""Surfaces of the bodies of a device and of the faces that contacts and heat sinks hold, exact, as triangles and lines.

Knows geometry; no colours, no fields and no plotly: `scene` draws.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from thermospin.base import polygons
from thermospin.geometry.boxes import Face, FreeFace
from thermospin.geometry.outlines import Patch, Regions, body_of

if TYPE_CHECKING:
    from thermospin.device.device import Device

#: Sides of an outline that turn by less than this at a corner are one curved side, without a line there [1].
_SHARP = np.sin(np.radians(20))


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
    """The surface of a body, or a face.

    Attributes:
      points: corners (count, 3) [m].
      triangles: three indices of corners for each (count, 3).
      lines: both ends of each edge to draw (count, 2, 3) [m].
    """

    points: np.ndarray
    triangles: np.ndarray
    lines: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Body:
    """A solid, or all pieces of a body of a layout, without what later solids overwrite.

    Attributes:
      name: of the solid or the body.
      solids: indices of its pieces.
      surface: its surface, where other bodies touch it too.
    """

    name: str
    solids: tuple[int, ...]
    surface: Surface


@dataclasses.dataclass(frozen=True, eq=False)
class _Slab:
    """Outlines that a body has from one height to another [m]."""

    low: float
    high: float
    outlines: tuple[np.ndarray, ...]


def bodies(device: Device) -> list[Body]:
    """Return the bodies of a device that are not overwritten completely, in its order."""
    metal = [device.materials[solid.material].is_metal for solid in device.solids]
    regions = Regions(device.solids, metal)
    members: dict[str, list[int]] = {}
    for number, solid in enumerate(device.solids):
        members.setdefault(body_of(solid), []).append(number)
    found = []
    for name, solids in members.items():
        slabs = _slabs(regions, set(solids))
        if slabs:
            found.append(Body(name, tuple(solids), _surface(slabs)))
    return found


def face_surface(face: FreeFace) -> Surface:
    """Return the face of a contact or a heat sink."""
    shapes: list[tuple[float, np.ndarray]] = []
    if isinstance(face, Face):
        rectangles = _cells(face)
        shapes = [(face.position, outline) for outline in polygons.boolean(rectangles, [], "or")]
    elif isinstance(face, Patch):
        shapes = [(at, polygons.rectangle((a, b), (c, d))) for at, a, b, c, d in face.rectangles] + list(face.outlines)
    corners, lines = [], []
    for at, outline in shapes:
        corners.append(_raised(polygons.trapezoids(outline), face.axis, at))
        lines.append(_raised(polygons.borders([outline]), face.axis, at))
    return _joined(np.concatenate(corners), np.concatenate(lines))


def cell_surface(lines: Sequence[np.ndarray], cells: np.ndarray) -> Surface:
    """Return the surface of some cells of a grid.

    Args:
      lines: along x, y and z [m]; of two at one place there are no cells between.
      cells: mark the cells (nx, ny, nz).
    """
    quads, edges = [], []
    for axis in range(3):
        u, v = (lines[k] for k in range(3) if k != axis)
        padded = np.pad(np.moveaxis(cells, axis, 0), ((1, 1), (0, 0), (0, 0))).astype(int)
        faces = np.diff(padded, axis=0) != 0
        plane, i, j = np.nonzero(faces)
        small = _quads(axis, lines[axis][plane], u[i], u[i + 1], v[j], v[j + 1])
        edges += [small[:, [k, (k + 1) % 4]] for k in range(4)]
        # Faces in a row are one.
        ends = np.diff(np.pad(faces, ((0, 0), (0, 0), (1, 1))).astype(int), axis=2)
        (plane, i, j), last = np.nonzero(ends == 1), np.nonzero(ends == -1)[2]
        quads.append(_quads(axis, lines[axis][plane], u[i], u[i + 1], v[j], v[last]))
    pairs = np.sort(np.concatenate(edges), axis=1)
    # Where two faces of one plane meet there is no edge: those that meet at an edge have different directions.
    direction = np.repeat(np.arange(3), [sum(map(len, edges[4 * k : 4 * k + 4])) for k in range(3)])
    unique, place = np.unique(pairs.reshape(len(pairs), -1), axis=0, return_inverse=True)
    met = np.zeros((len(unique), 3), bool)
    met[place.ravel(), direction] = True
    return _joined(np.concatenate(quads), unique[met.sum(axis=1) > 1].reshape(-1, 2, 3))


def _quads(axis: int, at: np.ndarray, u0: np.ndarray, u1: np.ndarray, v0: np.ndarray, v1: np.ndarray) -> np.ndarray:
    """Return rectangles in planes normal to an axis (count, 4, 3) [m]."""
    corners = np.stack([np.stack(pair, axis=-1) for pair in ((u0, v0), (u1, v0), (u1, v1), (u0, v1))], axis=1)
    return np.insert(corners, axis, np.broadcast_to(at[:, None], corners.shape[:2]), axis=-1)


def _cells(face: Face) -> list[np.ndarray]:
    """Return the rectangles of the cells of a face, in the order of the two axes in its plane."""
    u, v = (face.lines[axis] for axis in range(3) if axis != face.axis)
    return [
        polygons.rectangle(u[i : i + 2].tolist(), v[j : j + 2].tolist())
        for i, j in zip(*np.nonzero(face.cells), strict=True)
    ]


def _slabs(regions: Regions, solids: set[int]) -> list[_Slab]:
    """Return the slabs of some solids from below, as thick as their outlines stay the same."""
    slabs: list[_Slab] = []
    heights = [float(height) for height in regions.heights]
    for layer, (low, high) in enumerate(itertools.pairwise(heights)):
        outlines = tuple(part.outline for part in regions.parts if part.layer == layer and part.solid in solids)
        before = slabs[-1] if slabs else None
        if before is not None and before.high == low and list(map(id, before.outlines)) == list(map(id, outlines)):
            slabs[-1] = dataclasses.replace(before, high=high)
        elif outlines:
            slabs.append(_Slab(low, high, outlines))
    # Pieces that touch are one outline; a single one keeps all its digits.
    return [
        dataclasses.replace(slab, outlines=tuple(polygons.boolean(slab.outlines, [], "or")))
        if len(slab.outlines) > 1
        else slab
        for slab in slabs
    ]


def _surface(slabs: Sequence[_Slab]) -> Surface:
    corners: list[np.ndarray] = []
    lines: list[np.ndarray] = []
    for below, slab, above in zip([None, *slabs[:-1]], slabs, [*slabs[1:], None], strict=True):
        for side, at, other in ((-1, slab.low, below), (1, slab.high, above)):
            touching = other is not None and (other.high == at if side < 0 else other.low == at)
            free = polygons.boolean(slab.outlines, other.outlines, "not") if other and touching else slab.outlines
            for outline in free:
                flat = polygons.trapezoids(outline)
                corners.append(_raised(flat if side > 0 else flat[:, ::-1], 2, at))
            lines.append(_raised(polygons.borders(free), 2, at))
        for outline in slab.outlines:
            walls = polygons.borders([outline if polygons.area(outline) > 0 else outline[::-1]])
            corners.append(np.array([_wall(p, q, slab.low, slab.high) for p, q in walls]).reshape(-1, 4, 3))
            lines.append(np.array([_upright(at, slab.low, slab.high) for at in _sharp(walls)]).reshape(-1, 2, 3))
    return _joined(np.concatenate(corners), np.concatenate(lines))


def _wall(p: np.ndarray, q: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.array([(*p, low), (*q, low), (*q, high), (*p, high)])


def _upright(at: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.array([(*at, low), (*at, high)])


def _sharp(walls: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the corners at which walls that follow each other turn, (2,) [m]."""
    along = walls[:, 1] - walls[:, 0]
    length = np.linalg.norm(along, axis=1)
    for number, q in enumerate(walls[:, 1]):
        after = int(np.argmin(np.abs(walls[:, 0] - q).sum(axis=1)))
        one, other = along[number], along[after]
        turn = abs(one[0] * other[1] - one[1] * other[0]) / (length[number] * length[after])
        if turn > _SHARP or one @ other < 0:
            yield q


def _raised(flat: np.ndarray, axis: int, at: float) -> np.ndarray:
    """Return points of a plane (..., 2) in space (..., 3)."""
    return np.insert(flat, axis, at, axis=-1)


def _joined(quads: np.ndarray, lines: np.ndarray) -> Surface:
    """Return the surface of quadrilaterals (count, 4, 3), each cut into two triangles; corners of none are left out."""
    first = 4 * np.arange(len(quads))[:, None, None]
    triangles = (first + np.array([[0, 1, 2], [0, 2, 3]])).reshape(-1, 3)
    points, place = np.unique(quads.reshape(-1, 3), axis=0, return_inverse=True)
    triangles = place.ravel()[triangles]
    flat = (triangles == np.roll(triangles, 1, axis=1)).any(axis=1)
    # Each line once, from the end that comes first: neighbouring slabs share theirs.
    shift = lines[:, 1] - lines[:, 0]
    first_step = np.take_along_axis(shift, np.argmax(shift != 0, axis=1)[:, None], axis=1)
    turned = np.where((first_step < 0)[:, :, None], lines[:, ::-1], lines)
    return Surface(points, triangles[~flat], np.unique(turned, axis=0))


def extent_of(surfaces: Iterable[Surface]) -> np.ndarray:
    """Return the lower and upper ends of surfaces along each axis (3, 2) [m]."""
    points = np.concatenate([surface.points for surface in surfaces])
    return np.stack([points.min(axis=0), points.max(axis=0)], axis=1)
