"""Contacts of a layout: the place that a mark means, and the edge of an outline there.

A mark is a label, a point, or a polygon of a layer of its own. A label outside the window stands for the place where
the metal under it crosses the rim of the window. This module depends on no file format.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from thermospin.base import polygons
from thermospin.base.names import nearest
from thermospin.device.gds import Drawing, Label, LayerNumbers, RoundEnd, layers_name
from thermospin.geometry.edges import Edge, edges_of

#: A label closer than this to a polygon is on it [m].
NEAR_LABEL = 2e-9


@dataclasses.dataclass(frozen=True)
class Mark:
    """The place of a contact: at a label or a point, or on a polygon of a layer, or both.

    Attributes:
      name: name of the contact.
      label: text of the label, None for none.
      layers: layers with the polygon that covers the contact, empty for none.
      face: end face of the solid; None: that of the edge nearest to the label, or the top if there are layers.
      at: the point [m], None for none.
    """

    name: str
    label: str | None = None
    layers: LayerNumbers = ()
    face: str | None = None
    at: tuple[float, float] | None = None

    def at_place(self, place: Sequence[float] | np.ndarray) -> str:
        """Return what stands at a place, as text."""
        return f"at = {polygons.at(place)}" if self.label is None else f"label '{self.label}' at {polygons.at(place)}"


@dataclasses.dataclass(frozen=True)
class Window:
    """The part of a drawing that is simulated: (low, high) along x and y [m]."""

    x: tuple[float, float]
    y: tuple[float, float]

    def holds(self, place: Sequence[float] | np.ndarray) -> bool:
        """Return whether a point is inside, or at the rim."""
        return all(
            low - NEAR_LABEL <= end <= high + NEAR_LABEL
            for end, (low, high) in zip(place, (self.x, self.y), strict=True)
        )


def is_on(shape: np.ndarray, place: Sequence[float] | np.ndarray) -> bool:
    """Return whether a point is on a polygon, or closer to it than `NEAR_LABEL`."""
    point = np.asarray(place)
    # Most polygons of a layout are far away.
    near = np.all(shape.min(axis=0) - NEAR_LABEL <= point) and np.all(point <= shape.max(axis=0) + NEAR_LABEL)
    return bool(near) and polygons.away(shape, point) <= NEAR_LABEL


class MarkError(Exception):
    """Why there is no contact at a mark, as text."""


def place_of(mark: Mark, drawing: Drawing, metals: LayerNumbers, window: Window | None) -> np.ndarray | None:
    """Return the point that a mark means [m]; None if it is a polygon without a label.

    Args:
      mark: the mark.
      drawing: the whole drawing.
      metals: layers of metal.
      window: the part that is simulated.
    Raises:
      MarkError: no label says so, or several do, or the metal there does not cross the rim of the window.
    """
    if mark.at is not None:
        return np.array(mark.at)
    if mark.label is None:
        return None
    named = [label for label in drawing.labels if label.text == mark.label]
    if not named:
        texts = list(dict.fromkeys(label.text for label in drawing.labels))
        raise MarkError(f"no label says '{mark.label}'; {nearest(mark.label, texts)}")
    inside = [label for label in named if window is None or window.holds(label.place)]
    if len(inside) > 1 or (len(named) > 1 and mark.layers and not inside):
        raise MarkError(_several(mark, inside or named))
    if inside:
        return np.array(inside[0].place)
    if mark.layers or window is None:
        return np.array(named[0].place)
    return _at_rim(mark, named, drawing.on(metals), window)


def _several(mark: Mark, labels: Sequence[Label]) -> str:
    where = " and ".join(polygons.at(label.place) for label in labels)
    return (
        f"{len(labels)} labels say '{mark.label}', at {where}; expected one: set a window that holds only one, or give "
        "at = [x, y]"
    )


def _at_rim(mark: Mark, labels: Sequence[Label], metal: Sequence[np.ndarray], window: Window) -> np.ndarray:
    """Return the middle of the edge where the metal under one of the labels crosses the rim of the window."""
    outside = polygons.boolean(metal, [polygons.rectangle(window.x, window.y)], "not") if metal else []
    groups = polygons.joined(outside)
    found: list[tuple[Label, list[Edge]]] = []
    for label in labels:
        under = {int(groups[k]) for k, shape in enumerate(outside) if is_on(shape, label.place)}
        pieces = [shape for k, shape in enumerate(outside) if int(groups[k]) in under]
        exits = _exits(pieces, window)
        if exits:
            found.append((label, exits))
    if len(found) > 1:
        raise MarkError(_several(mark, [label for label, _ in found]))
    label, exits = found[0] if found else (labels[0], _exits(outside, window))
    meant = [edge for edge in exits if mark.face in (None, edge.face)]
    if found and len(meant) == 1:
        return np.array(meant[0].middle)
    places = ", ".join(f"{edge.face} {polygons.at(edge.middle)}" for edge in exits) or "no place"
    what = "the metal there crosses" if found else "no metal leads from there into it; metal crosses"
    side = f", but the face is {mark.face}" if exits and not meant else ""
    raise MarkError(
        f"{mark.at_place(label.place)} is outside the window, and {what} its rim at {places}{side}; give at = [x, y] "
        "of the one meant"
    )


def _exits(pieces: Sequence[np.ndarray], window: Window) -> list[Edge]:
    """Return the edges at which pieces outside the window meet its rim, as seen from inside."""
    rim = {0: window.x, 1: window.y}
    low, high = np.array([window.x, window.y]).T
    # The others touch no side of it.
    pieces = [
        p for p in pieces if np.all(p.min(axis=0) <= high + NEAR_LABEL) and np.all(p.max(axis=0) >= low - NEAR_LABEL)
    ]
    edges = [
        dataclasses.replace(edge, upper=not edge.upper)
        for k, piece in enumerate(pieces)
        for edge in edges_of(piece, [*pieces[:k], *pieces[k + 1 :]])
        if abs(edge.position - rim[edge.axis][not edge.upper]) <= polygons.TOUCH
    ]
    return _as_one(edges)


def _as_one(edges: Sequence[Edge]) -> list[Edge]:
    """Join the edges that continue one another."""
    out: list[Edge] = []
    for edge in sorted(edges, key=lambda e: (e.axis, e.upper, e.position, e.low)):
        last = out[-1] if out else None
        if (
            last is not None
            and (last.axis, last.upper) == (edge.axis, edge.upper)
            and abs(last.position - edge.position) <= polygons.TOUCH
            and edge.low - last.high <= polygons.TOUCH
        ):
            out[-1] = dataclasses.replace(last, high=max(last.high, edge.high))
        else:
            out.append(edge)
    return out


def edge_at(
    mark: Mark,
    place: np.ndarray,
    outline: np.ndarray,
    beside: Sequence[np.ndarray],
    round_ends: Sequence[RoundEnd],
    film: str,
) -> Edge:
    """Return the straight edge of an outline that is nearest to the point of a mark.

    Args:
      mark: the mark; with a face, only edges on that side count.
      place: its point [m].
      outline: of the body.
      beside: outlines of the same film that may touch it.
      round_ends: of paths on its layers.
      film: name of body and film in messages.
    Raises:
      MarkError: no edge is near; the message says what is, and what to do.
    """
    there = f"{mark.at_place(place)} on {film}"
    for end in round_ends:
        at_end = np.hypot(*(place - end.place)) <= end.radius + NEAR_LABEL
        beyond = np.array(end.tip) + 0.01 * (np.array(end.tip) - end.place)
        if at_end and not any(polygons.contains(shape, beyond) for shape in (outline, *beside)):
            raise MarkError(
                f"{there} is at the round end of a path, which has no straight edge to hold; draw the path with flush "
                "ends (pathtype 0 or 2), or put the label at another edge"
            )
    edges = [edge for edge in edges_of(outline, beside) if mark.face in (None, edge.face)]
    if not edges:
        side = f"at {mark.face}" if mark.face else "along x or y"
        raise MarkError(f"{there}: it has no straight edge {side}; draw its end straight, or choose another face")
    # By face and place where distances are equal, so that the order of the vertices does not matter.
    best = min(edges, key=lambda e: (round(e.away(place), 13), "x-x+y-y+".index(e.face), e.position, e.low))
    away = best.away(place)
    if mark.face is None:
        slanted = polygons.slanted_edges(outline)
        gaps = [polygons.away(np.array([p, q]), place) for p, q in slanted]
        if gaps and min(gaps) < away - polygons.TOUCH:
            p, q = slanted[int(np.argmin(gaps))]
            raise MarkError(
                f"{there} is nearest to the slanted or round edge from {polygons.at(p)} to {polygons.at(q)}, but a "
                f"contact needs a straight edge along x or y; the nearest is {best.face} at "
                f"{polygons.at(best.middle)}, {_nm(away)} away: put the label there, or draw the end straight"
            )
    if away > best.length and (mark.face is None or len(edges) > 1):
        raise MarkError(
            f"{there} is {_nm(away)} from the nearest edge{f' at {mark.face}' if mark.face else ''}, {best.face} at "
            f"{polygons.at(best.middle)}, which is only {_nm(best.length)} long; put the label at the edge that is "
            "meant, or give at = [x, y] there"
        )
    return best


def film_of(body: str, layers: LayerNumbers, material: str) -> str:
    """Return a body and its film as text."""
    return f"'{body}' ({layers_name(layers)}, {material})"


def _nm(length: float) -> str:
    return f"{1e9 * length:.4g} nm"
