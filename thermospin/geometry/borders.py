"""Borders of two metals, seen from above: in cells that they cut both conduct in parallel, so grid lines are needed."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from thermospin.base import polygons
from thermospin.geometry.boxes import Plan
from thermospin.geometry.outlines import Part, Regions


@dataclasses.dataclass(frozen=True)
class Band:
    """An interval along x or y within which two metals meet along slanted edges.

    Attributes:
      axis: 0 or 1, the axis that the edges are nearly normal to.
      solids: indices of the two solids, the earlier one first.
      low, high: the points of the edges with the least and the largest coordinate along the axis, (x, y) [m].
    """

    axis: int
    solids: tuple[int, int]
    low: tuple[float, float]
    high: tuple[float, float]

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends along the axis [m]."""
        return self.low[self.axis], self.high[self.axis]


def bands(plan: Plan, domains: Sequence[int], metals: Sequence[bool]) -> tuple[Band, ...]:
    """Return the bands within which metals meet along slanted edges, in one layer or one on the other.

    Args:
      plan: the geometry; boxes alone have no slanted edges.
      domains: for each solid, an index that differs where the material or the magnet does.
      metals: whether each solid conducts charge.
    """
    if not isinstance(plan, Regions):
        return ()
    pieces: defaultdict[tuple[int, int], list[np.ndarray]] = defaultdict(list)
    for a, b in plan.touching:
        one, other = plan.parts[a], plan.parts[b]
        if _is_border(one, other, domains, metals):
            pieces[min(one.solid, other.solid), max(one.solid, other.solid)] += _pieces(one, other)
    return tuple(band for pair, found in pieces.items() for axis in range(2) for band in _merged(found, axis, pair))


def bordering(plan: Regions, domains: Sequence[int], metals: Sequence[bool]) -> set[int]:
    """Return the solids of metal that touch another metal; arguments as of `bands`."""
    pairs = [(plan.parts[a], plan.parts[b]) for a, b in plan.touching]
    return {part.solid for pair in pairs if _is_border(*pair, domains, metals) for part in pair}


def _is_border(one: Part, other: Part, domains: Sequence[int], metals: Sequence[bool]) -> bool:
    both = metals[one.solid] and metals[other.solid]
    return bool(both) and domains[one.solid] != domains[other.solid]


def _pieces(one: Part, other: Part) -> list[np.ndarray]:
    """Return both ends (2, 2) of the slanted pieces of edge that bound the face which two parts share [m]."""
    if one.layer == other.layer:
        edges = [np.array(piece) for piece in polygons.shared_pieces(one.outline, other.outline)]
        return [edge for edge in edges if (np.abs(edge[1] - edge[0]) > polygons.TOUCH).all()]
    faces = polygons.boolean([one.outline], [other.outline], "and", polygons.TOUCH**2)
    return [edge for face in faces for edge in polygons.slanted_edges(face)]


def _merged(pieces: Sequence[np.ndarray], axis: int, pair: tuple[int, int]) -> list[Band]:
    """Return the bands of the pieces that are normal to an axis to within 45 degrees; those that touch are one."""
    ends = []
    for piece in pieces:
        extent = np.abs(piece[1] - piece[0])
        if extent[axis] <= extent[1 - axis] * (1 + 1e-9):
            low, high = piece[np.argsort(piece[:, axis])]
            ends.append((low, high))
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for low, high in sorted(ends, key=lambda pair: float(pair[0][axis])):
        if found and low[axis] <= found[-1][1][axis] + polygons.TOUCH:
            if high[axis] > found[-1][1][axis]:
                found[-1] = found[-1][0], high
        else:
            found.append((low, high))
    return [Band(axis, pair, tuple(low.tolist()), tuple(high.tolist())) for low, high in found]
