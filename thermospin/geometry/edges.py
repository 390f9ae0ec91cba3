"""Straight edges of outlines along x and y: the ends of a body that a contact can hold, and which is nearest."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from thermospin.base import polygons
from thermospin.base.lines import merge_close


@dataclasses.dataclass(frozen=True)
class Edge:
    """A straight edge of an outline, seen from above.

    Attributes:
      axis: 0 or 1, the axis normal to the edge.
      upper: whether the outside lies at larger coordinates.
      position: coordinate along that axis [m].
      low, high: its ends along the other horizontal axis [m].
    """

    axis: int
    upper: bool
    position: float
    low: float
    high: float

    @property
    def face(self) -> str:
        """The side that it faces, such as "x+"."""
        return "xy"[self.axis] + "-+"[self.upper]

    @property
    def length(self) -> float:
        """Length [m]."""
        return self.high - self.low

    @property
    def middle(self) -> tuple[float, float]:
        """Its middle [m]."""
        across = (self.low + self.high) / 2
        return (self.position, across) if self.axis == 0 else (across, self.position)

    def away(self, place: Sequence[float] | np.ndarray) -> float:
        """Return the distance of a point [m]."""
        along = float(place[1 - self.axis])
        return math.hypot(float(place[self.axis]) - self.position, max(self.low - along, along - self.high, 0.0))


def edges_of(outline: np.ndarray, beside: Sequence[np.ndarray] = ()) -> list[Edge]:
    """Return the straight edges of an outline along x and y, collinear ones that touch as one.

    Where it touches one of the polygons beside it, or itself along a cut that joins a hole to it, there is no edge.
    """
    found = []
    for axis in range(2):
        across = polygons.edges_across(outline, axis)
        for position in merge_close(across) if len(across) else ():
            for upper in (False, True):
                pieces = spans(outline, axis, position, upper)
                for other in (outline, *beside):
                    for taken in spans(other, axis, position, not upper):
                        pieces = [piece for span in pieces for piece in without(span, taken)]
                found += [Edge(axis, upper, float(position), low, high) for low, high in _merged(pieces)]
    return found


def spans(outline: np.ndarray, axis: int, position: float, upper: bool) -> list[tuple[float, float]]:
    """Return intervals of polygon edges at a position along an axis, with the inside below (`upper`) or above them."""
    if polygons.area(outline) < 0:
        outline = outline[::-1]
    after = np.roll(outline, -1, axis=0)
    on = (np.abs(outline[:, axis] - position) < polygons.TOUCH) & (np.abs(after[:, axis] - position) < polygons.TOUCH)
    step = (after - outline)[:, 1 - axis]
    # In a counterclockwise polygon the inside is to the left of an edge: at lower x where y rises.
    rises = (step > 0) == (upper == (axis == 0))
    chosen = on & rises & (np.abs(step) > polygons.TOUCH)
    return [
        (min(a, b), max(a, b))
        for a, b in zip(outline[chosen, 1 - axis].tolist(), after[chosen, 1 - axis].tolist(), strict=True)
    ]


def without(span: tuple[float, float], taken: tuple[float, float]) -> list[tuple[float, float]]:
    """Return the parts of an interval outside another one."""
    pieces = [(span[0], min(span[1], taken[0])), (max(span[0], taken[1]), span[1])]
    return [(low, high) for low, high in pieces if high - low > polygons.TOUCH]


def _merged(intervals: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Join the intervals that touch."""
    ordered = sorted(intervals)
    breaks = [k for k, (a, b) in enumerate(itertools.pairwise(ordered), 1) if b[0] - a[1] > polygons.TOUCH]
    return [
        (ordered[start][0], ordered[end - 1][1])
        for start, end in itertools.pairwise([0, *breaks, len(ordered)])
        if end > start
    ]
