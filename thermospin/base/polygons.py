"""Polygons: exact moments of grid cells that they cover in part, checks, set operations, and distances.

A polygon is an array (vertices, 2) [m]; its last vertex is joined to the first. A hole is joined to the outline by a
cut, as in layout files. This module depends on no grid class and no device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from thermospin.base.graphs import components

#: Resolution of set operations on polygons [m]: far below any fabricated size, far above round-off.
QUANTUM = 1e-15
#: Edges closer than this coincide [m].
TOUCH = 1e-12


def area(polygon: Any) -> Any:
    """Return the area [m^2], positive if counterclockwise: half the sum of x_i y_(i+1) - x_(i+1) y_i (shoelace)."""
    x, y = (polygon - polygon[:1]).T
    return polygon.__array_namespace__().sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2


def moments(polygon: Any, x0: Any, x1: Any, y0: Any, y1: Any) -> Any:
    """Return integrals of bilinear hat functions over the part of rectangular cells that a polygon covers [m^2].

    M_ij = integral of N_i(x) N_j(y); N_0 falls from 1 to 0 across the cell, N_1 rises from 0 to 1. Each edge of the
    polygon contributes the integral over the part of the cell below it, in pieces where the edge is under, within or
    over the cell. On each piece the integrand is a cubic, which two Gauss points integrate exactly. The signed sum over
    all edges is the integral over the inside (Green's theorem). It is piecewise smooth, and its derivatives are exact.

    Args:
      polygon: array (vertices, 2), NumPy's or JAX's, in either orientation.
      x0, x1, y0, y1: sides of the cells, arrays that broadcast to one shape.
    Returns:
      array (..., 2, 2), axes i and j last; their sum is the area of the cell that is covered.
    """
    xp = polygon.__array_namespace__()
    # The result must not depend on the orientation of the polygon.
    sign = xp.sign(area(polygon))
    x0, x1, y0, y1 = (coordinate[..., None] for coordinate in xp.broadcast_arrays(x0, x1, y0, y1))
    # The last axis runs over the edges.
    start = polygon.reshape(*(1 for _ in x0.shape[1:]), *polygon.shape)
    end = xp.roll(start, -1, axis=-2)
    a, b = (start[..., 0] - x0) / (x1 - x0), (end[..., 0] - x0) / (x1 - x0)
    c, d = (start[..., 1] - y0) / (y1 - y0), (end[..., 1] - y0) / (y1 - y0)
    # The part of each edge within the x range of the cell, from (u, v) to (u + du, v + dv) in units of the cell.
    upright = b == a
    slope = xp.where(upright, 0.0, (d - c) / xp.where(upright, 1.0, b - a))
    u = xp.clip(a, 0.0, 1.0)
    du = xp.clip(b, 0.0, 1.0) - u
    v, dv = c + slope * (u - a), slope * du
    level = dv == 0
    crossings = [xp.clip((side - v) / xp.where(level, 1.0, dv), 0.0, 1.0) for side in (0.0, 1.0)]
    first, second = (xp.where(level, 0.0, pick(*crossings)) for pick in (xp.minimum, xp.maximum))
    total: list[Any] = [0.0] * 4
    for low, high in ((0.0, first), (first, second), (second, 1.0)):
        for point in (0.5 - 0.75**0.5 / 3, 0.5 + 0.75**0.5 / 3):
            t = low + (high - low) * point
            x, y = u + t * du, xp.clip(v + t * dv, 0.0, 1.0)
            weight = (high - low) / 2 * du
            below = weight * (y - y * y / 2), weight * (y * y / 2)
            for k, part in enumerate((below[0] * (1 - x), below[1] * (1 - x), below[0] * x, below[1] * x)):
                total[k] = total[k] + part
    sums = xp.stack([part.sum(axis=-1) for part in total], axis=-1)
    sums = -sign * ((x1 - x0) * (y1 - y0)) * sums
    return sums.reshape(*sums.shape[:-1], 2, 2)


def fractions(polygon: Any, x: Any, y: Any) -> Any:
    """Return the fraction of each cell of a tensor grid that a polygon covers [1] (cells along x, cells along y).

    Args:
      polygon: array (vertices, 2), NumPy's or JAX's.
      x, y: grid lines.
    """
    x0, x1, y0, y1 = x[:-1, None], x[1:, None], y[None, :-1], y[None, 1:]
    return moments(polygon, x0, x1, y0, y1).sum(axis=(-2, -1)) / ((x1 - x0) * (y1 - y0))


def faults(polygon: np.ndarray) -> list[str]:
    """Return the faults of a single polygon, with their positions."""
    if len(polygon) < 3:
        return [f"got {len(polygon)} vertices, expected 3 or more"]
    size = float(np.ptp(polygon, axis=0).max())
    if not np.isfinite(size):
        return ["got a vertex that is not finite"]
    crossing = crossing_edges(polygon)
    if crossing is not None:
        i, j, place = crossing
        return [f"its edges {i} and {j} cross each other at {at(place)}; cut it into polygons that do not"]
    if abs(area(polygon)) <= 1e-9 * size**2:
        return [f"its area is zero, at {at(polygon[0])}; take it out"]
    return []


def crossing_edges(polygon: np.ndarray) -> tuple[int, int, np.ndarray] | None:
    """Return the first two edges that cross each other, and where [m]; edges that only touch do not cross."""
    tail, head = polygon, np.roll(polygon, -1, axis=0)
    size = float(np.ptp(polygon, axis=0).max())

    def side(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> np.ndarray:
        """Return twice the signed area of p q r; round-off counts as zero."""
        cross = (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1]) - (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0])
        return np.where(np.abs(cross) < 1e-12 * size**2, 0.0, cross)

    for i in range(len(polygon) - 1):
        p, q, r, s = tail[i], head[i], tail[i + 1 :], head[i + 1 :]
        apart = side(p, q, r) * side(p, q, s) < 0
        apart &= side(r, s, p) * side(r, s, q) < 0
        if apart.any():
            j = int(np.argmax(apart))
            u, v = q - p, s[j] - r[j]
            t = ((r[j] - p)[0] * v[1] - (r[j] - p)[1] * v[0]) / (u[0] * v[1] - u[1] * v[0])
            return i, i + 1 + j, p + t * u
    return None


def at(place: Sequence[float] | np.ndarray) -> str:
    """Return a position in a plane or in space as text, in nm."""
    lengths = [1e9 * coordinate for coordinate in place]
    # What is left of sums of decimal numbers is zero; on a chip of millimetres no digit before the point is lost.
    texts = [f"{length:.6g}" if abs(length) < 1e6 else f"{length:.0f}" for length in lengths]
    return f"({', '.join('0' if abs(length) < 1e-6 else text for length, text in zip(lengths, texts, strict=True))}) nm"


def rectangle(x: Sequence[float], y: Sequence[float]) -> np.ndarray:
    """Return the polygon of a rectangle, counterclockwise."""
    return np.array([[x[0], y[0]], [x[1], y[0]], [x[1], y[1]], [x[0], y[1]]])


def contains(polygon: np.ndarray, point: Sequence[float] | np.ndarray) -> bool:
    """Return whether a point is inside, by counting edges to its right; on an edge, the result may be either."""
    tail, head = polygon, np.roll(polygon, -1, axis=0)
    crosses = (tail[:, 1] > point[1]) != (head[:, 1] > point[1])
    rise = np.where(crosses, head[:, 1] - tail[:, 1], 1.0)
    reach = tail[:, 0] + (point[1] - tail[:, 1]) / rise * (head[:, 0] - tail[:, 0])
    return bool(np.count_nonzero(crosses & (reach > point[0])) % 2)


def inner_point(polygon: np.ndarray) -> tuple[float, float]:
    """Return a point well inside a polygon [m]: the middle of its longest chord at half its height."""
    low, high = polygon[:, 1].min(), polygon[:, 1].max()
    # Not at the height of a vertex, where a chord may only touch the outline.
    levels = np.unique(np.concatenate([polygon[:, 1], [low, high]]))
    gap = int(np.argmin(np.abs((levels[1:] + levels[:-1]) / 2 - (low + high) / 2)))
    y = float(levels[gap] + levels[gap + 1]) / 2
    tail, head = polygon, np.roll(polygon, -1, axis=0)
    crosses = (tail[:, 1] > y) != (head[:, 1] > y)
    rise = (head - tail)[crosses]
    ends = np.sort(tail[crosses, 0] + (y - tail[crosses, 1]) / rise[:, 1] * rise[:, 0])
    chord = int(np.argmax(ends[1::2] - ends[::2]))
    return float(ends[2 * chord] + ends[2 * chord + 1]) / 2, y


def away(polygon: np.ndarray, point: np.ndarray) -> float:
    """Return the distance of a point from a polygon, 0 inside [m]."""
    if contains(polygon, point):
        return 0.0
    p, along = polygon, np.roll(polygon, -1, axis=0) - polygon
    square = np.maximum(np.einsum("ni,ni->n", along, along), 1e-300)
    t = np.clip(np.einsum("ni,ni->n", point - p, along) / square, 0.0, 1.0)
    return float(np.linalg.norm(point - p - t[:, None] * along, axis=1).min())


def boolean(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    operation: Literal["or", "and", "not"],
    least: float = 1e-22,
) -> list[np.ndarray]:
    """Return the union ("or"), intersection ("and") or difference ("not") of two lists of polygons, to `QUANTUM`.

    Args:
      least: pieces with a smaller area are left out [m^2].
    """
    import gdstk

    # In nanometres from the first vertex: gdstk rounds coordinates to integer multiples of the precision.
    origin: np.ndarray = (first or second)[0][0] if (first or second) else np.zeros(2)
    one, other = ([_scaled(shape, origin) for shape in group] for group in (first, second))
    made = gdstk.boolean(one, other, operation, precision=1e9 * QUANTUM)
    outlines = [np.asarray(polygon.points) * 1e-9 + origin for polygon in made]
    return [part for part in outlines if abs(area(part)) > least]


def _scaled(polygon: np.ndarray, origin: np.ndarray) -> Any:
    import gdstk

    points: Any = (polygon - origin) * 1e9
    return gdstk.Polygon(points)


def offset(polygon: np.ndarray, distance: float) -> list[np.ndarray]:
    """Return the polygon grown by a distance [m], or shrunk if it is negative; corners stay sharp."""
    import gdstk

    origin = polygon[0]
    scaled = _scaled(polygon, origin)
    made = gdstk.offset(scaled, 1e9 * distance, join="miter", tolerance=4, precision=1e9 * QUANTUM)
    return [np.asarray(polygon.points) * 1e-9 + origin for polygon in made]


def shared_edge(first: np.ndarray, second: np.ndarray) -> float:
    """Return the length of the common edges of two polygons that do not overlap [m]."""
    return float(sum(np.linalg.norm(stop - start) for start, stop in shared_pieces(first, second)))


def shared_pieces(first: np.ndarray, second: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return both ends of each piece of edge that two polygons which do not overlap have in common [m]."""
    p, q = first, np.roll(first, -1, axis=0)
    along = q - p
    length = np.linalg.norm(along, axis=1)
    along, p, length = (part[length > TOUCH] for part in (along, p, length))
    along = along / length[:, None]
    pieces = []
    for r, s in zip(second, np.roll(second, -1, axis=0), strict=True):
        heights = [np.abs(along[:, 0] * (e - p)[:, 1] - along[:, 1] * (e - p)[:, 0]) for e in (r, s)]
        places = [np.einsum("ni,ni->n", along, e - p) for e in (r, s)]
        low = np.maximum(np.minimum(*places), 0.0)
        high = np.minimum(np.maximum(*places), length)
        for k in np.flatnonzero((np.maximum(*heights) < TOUCH) & (high - low > TOUCH)):
            pieces.append((p[k] + low[k] * along[k], p[k] + high[k] * along[k]))
    return pieces


def snapped(polygon: np.ndarray, spacing: float) -> np.ndarray:
    """Return the polygon with its edges led through those of its vertices that they miss by less than round-off.

    A cut that joins a hole to the outline ends on an edge, at a point that a layout file rounds to its grid. Its two
    sides then enclose a sliver, or cross each other. A vertex counts as on an edge if the edge passes within half a
    spacing of it, along x and along y (snap rounding).

    Args:
      polygon: vertices on the grid of the file.
      spacing: that grid [m].
    """
    vertices: list[np.ndarray] = []
    for p, q in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        along = q - p
        t = ((polygon - p) @ along) / max(float(along @ along), 1e-300)
        off = polygon - p - t[:, None] * along
        # The edge meets the square of one spacing around the vertex.
        reach = np.abs(along).sum() / max(float(np.linalg.norm(along)), 1e-300) * spacing / 2
        near = np.linalg.norm(off, axis=1) < reach
        near &= (np.abs(polygon - p).max(axis=1) > TOUCH) & (np.abs(polygon - q).max(axis=1) > TOUCH)
        near &= (t > 0) & (t < 1)
        on = np.flatnonzero(near)
        vertices += [p, *polygon[on[np.argsort(t[on])]]]
    outline = np.array(vertices)
    return outline[np.abs(outline - np.roll(outline, 1, axis=0)).max(axis=1) > TOUCH]


def joined(shapes: Sequence[np.ndarray]) -> np.ndarray:
    """Return a number for each polygon; polygons that share a piece of an edge, or are joined by others, have one.

    Such polygons are one piece of metal: a ring, which a cut makes into polygons, or halves that touch.
    """
    return components(len(shapes), [(i, j) for i, j in close(shapes) if shared_edge(shapes[i], shapes[j]) > TOUCH])


def close(shapes: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Return pairs of polygons whose extents overlap or touch, the earlier one first."""
    extents = np.array([[shape.min(axis=0), shape.max(axis=0)] for shape in shapes]).reshape(-1, 2, 2)
    order = np.argsort(extents[:, 0, 0])
    # In the order of their left ends, a polygon can touch only those that begin before it ends.
    ends = np.searchsorted(extents[order, 0, 0], extents[order, 1, 0] + TOUCH, side="right")
    pairs = []
    for place, (i, end) in enumerate(zip(order.tolist(), ends.tolist(), strict=True)):
        others = order[place + 1 : end]
        gap = np.maximum(extents[others, 0] - extents[i, 1], extents[i, 0] - extents[others, 1]).max(axis=1)
        pairs += [(min(i, j), max(i, j)) for j in others[gap <= TOUCH].tolist()]
    return pairs


def distance(first: np.ndarray, second: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the smallest distance between two polygons that do not overlap [m], and the midpoint of that gap."""
    best, place = np.inf, np.zeros(2)
    for one, other in ((first, second), (second, first)):
        p, q = other, np.roll(other, -1, axis=0)
        along = q - p
        square = np.maximum(np.einsum("ni,ni->n", along, along), 1e-300)
        # From every vertex of one polygon to every edge of the other.
        t = np.clip(np.einsum("vni,ni->vn", one[:, None] - p, along) / square, 0.0, 1.0)
        foot = p + t[..., None] * along
        gaps = np.linalg.norm(one[:, None] - foot, axis=-1)
        v, n = np.unravel_index(int(np.argmin(gaps)), gaps.shape)
        if gaps[v, n] < best:
            best, place = float(gaps[v, n]), (one[v] + foot[v, n]) / 2
    return best, place


def slit(polygon: np.ndarray, least: float) -> tuple[float, np.ndarray] | None:
    """Return the width of the narrowest slit in a polygon, if narrower than `least` [m], and where it is.

    A slit is where a vertex faces another edge across the outside. The way there along the outline is much longer than
    the slit is wide; in a rounded or pointed notch it is not. Sides without a distance are a cut to a hole, no slit.
    """
    p, along = polygon, np.roll(polygon, -1, axis=0) - polygon
    lengths = np.linalg.norm(along, axis=1)
    whole, run = float(lengths.sum()), np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
    square = np.maximum(lengths**2, 1e-300)
    best: tuple[float, np.ndarray] | None = None
    for k, vertex in enumerate(polygon):
        t = np.clip(np.einsum("ni,ni->n", vertex - p, along) / square, 0.0, 1.0)
        foot = p + t[:, None] * along
        gaps = np.linalg.norm(vertex - foot, axis=1)
        way = np.abs(run + t * lengths - run[k])
        way = np.minimum(way, whole - way)
        for n in np.flatnonzero((gaps > TOUCH) & (gaps < least) & (way > 4 * gaps)):
            middle = (vertex + foot[n]) / 2
            if (best is None or gaps[n] < best[0]) and not contains(polygon, middle):
                best = float(gaps[n]), middle
    return best


def edges_across(outline: np.ndarray, axis: int) -> np.ndarray:
    """Return the positions along an axis of those edges of a polygon that are normal to the axis [m]."""
    after = np.roll(outline, -1, axis=0)
    along = np.abs(after - outline)
    straight = (along[:, axis] <= TOUCH) & (along[:, 1 - axis] > TOUCH)
    return np.unique(outline[straight, axis])


def slanted_edges(outline: np.ndarray) -> np.ndarray:
    """Return both ends of each edge of a polygon that is parallel to neither x nor y (edges, 2, 2) [m]."""
    after = np.roll(outline, -1, axis=0)
    return np.stack([outline, after], axis=1)[(np.abs(after - outline) > TOUCH).all(axis=1)]


def width(outline: np.ndarray) -> float:
    """Return the approximate width of a polygon [m]: that of a long strip, half the diameter of a circle."""
    length = np.linalg.norm(np.roll(outline, -1, axis=0) - outline, axis=1).sum()
    return 2 * abs(float(area(outline))) / float(length)


def borders(shapes: Sequence[np.ndarray]) -> np.ndarray:
    """Return edges (count, 2, 2) [m] of polygons, without those along which a hole is cut in from outside."""
    found = []
    for corners in shapes:
        edges = np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)
        keys = [tuple(np.round(edge * 1e12).ravel()) for edge in edges]
        turned = {(key[2], key[3], key[0], key[1]) for key in keys}
        found += [edge for edge, key in zip(edges, keys, strict=True) if key not in turned]
    return np.array(found).reshape(-1, 2, 2)


def trapezoids(polygon: np.ndarray) -> np.ndarray:
    """Return trapezoids (count, 4, 2) [m] with sides along x that fill a polygon, holes left out, counterclockwise.

    Between neighbouring heights of vertices no edges meet: sorted along x, each pair of them encloses a trapezoid.
    """
    tail, head = polygon, np.roll(polygon, -1, axis=0)
    levels = np.unique(polygon[:, 1])
    found = []
    for low, high in zip(levels[:-1], levels[1:], strict=True):
        passing = np.flatnonzero((tail[:, 1] > (low + high) / 2) != (head[:, 1] > (low + high) / 2))
        p, q = tail[passing], head[passing]
        slopes = (q[:, 0] - p[:, 0]) / (q[:, 1] - p[:, 1])
        at_low, at_high = (p[:, 0] + slopes * (level - p[:, 1]) for level in (low, high))
        order = np.argsort(at_low + at_high, kind="stable")
        for a, b in zip(order[::2], order[1::2], strict=True):
            if at_low[b] + at_high[b] - at_low[a] - at_high[a] > 0:
                found.append([(at_low[a], low), (at_low[b], low), (at_high[b], high), (at_high[a], high)])
    return np.array(found).reshape(-1, 4, 2)
