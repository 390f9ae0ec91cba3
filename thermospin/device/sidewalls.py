"""How the corners of a film with slanted side walls move when its thickness is a named dimension.

The slice of a film at a part k of its height t lies k t tan(angle) inside the outline as drawn. Each of its edges is
parallel to one of the outline and moves along its normal; the rest, at the rim of a window or at a step of a draped
film, lie still or move with the film below. A corner is where two edges meet, so its velocity solves n_i . v = s_i.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from thermospin.base import polygons
from thermospin.device.parts import Solid
from thermospin.geometry.dimensions import Coordinate

#: Digits of velocities behind the point: what is beyond is round-off.
ROUNDED = 11


class MovingEdge(NamedTuple):
    """A line that moves along its normal.

    Attributes:
      point: on it (2,) [m].
      normal: unit vector (2,).
      speed: derivative of its position along the normal by dimension.
    """

    point: np.ndarray
    normal: np.ndarray
    speed: Mapping[str, float]


def shrinking(outline: np.ndarray, recess: Coordinate, lengths: Mapping[str, float]) -> list[MovingEdge]:
    """Return the edges of a polygon that lies inside an outline by a recess.

    Args:
      outline: polygon as drawn (vertices, 2) [m].
      recess: distance from its edges, negative outside of it.
      lengths: values of the dimensions [m].
    """
    inward = 1.0 if polygons.area(outline) > 0 else -1.0
    edges = []
    for start, stop in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        x, y = (stop - start) / np.linalg.norm(stop - start)
        normal = inward * np.array([-y, x])
        edges.append(MovingEdge(start + recess.at(lengths) * normal, normal, recess.slopes))
    return edges


def of_solid(solid: Solid) -> list[MovingEdge]:
    """Return the edges of a solid that dimensions move along their normals."""
    if not solid.corners or solid.outline is None:
        return []
    outline, edges = np.array(solid.outline), []
    for k, (start, stop) in enumerate(zip(outline, np.roll(outline, -1, axis=0), strict=True)):
        x, y = (stop - start) / np.linalg.norm(stop - start)
        normal = np.array([-y, x])
        along = [corner.slopes for corner in solid.corners[k]]
        names = dict.fromkeys([*along[0], *along[1]])
        speed = {name: normal[0] * along[0].get(name, 0.0) + normal[1] * along[1].get(name, 0.0) for name in names}
        edges.append(MovingEdge(start, normal, speed))
    return edges


def corners(
    piece: np.ndarray, moving: Sequence[MovingEdge], lengths: Mapping[str, float]
) -> tuple[tuple[Coordinate, Coordinate], ...]:
    """Return the corners of a polygon as coordinates; those of lines that do not move are constant.

    Args:
      piece: polygon (vertices, 2) [m].
      moving: lines that its edges may lie on; the others lie still.
      lengths: values of the dimensions [m].
    """
    edges = [_line(start, stop, moving) for start, stop in zip(piece, np.roll(piece, -1, axis=0), strict=True)]
    return tuple(
        _corner(vertex, edges[k - 1], edges[k], lengths)  # edge k begins at vertex k
        for k, vertex in enumerate(piece)
    )


def _line(start: np.ndarray, stop: np.ndarray, moving: Sequence[MovingEdge]) -> MovingEdge:
    for edge in moving:
        if max(abs(edge.normal @ (start - edge.point)), abs(edge.normal @ (stop - edge.point))) < polygons.TOUCH:
            return edge
    x, y = (stop - start) / np.linalg.norm(stop - start)
    return MovingEdge(start, np.array([-y, x]), {})


def _corner(
    vertex: np.ndarray, one: MovingEdge, other: MovingEdge, lengths: Mapping[str, float]
) -> tuple[Coordinate, Coordinate]:
    """Return a vertex as the point where two lines meet; of one and the same line it moves along the normal."""
    names = dict.fromkeys([*one.speed, *other.speed])
    speeds = np.array([[edge.speed.get(name, 0.0) for name in names] for edge in (one, other)]).reshape(2, -1)
    velocity = np.linalg.lstsq(np.stack([one.normal, other.normal]), speeds, rcond=1e-6)[0]
    velocity = np.asarray(velocity).round(ROUNDED)  # of corners that lie on each other, the same to the last digit
    at = np.array([lengths[name] for name in names])
    first, second = (
        Coordinate(float(place - row @ at), tuple((n, float(f)) for n, f in zip(names, row, strict=True) if f))
        for place, row in zip(vertex, velocity, strict=True)
    )
    return first, second
