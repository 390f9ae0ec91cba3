"""Contacts at the marks of a layout: on an edge of a body, on its face, or on the part of it under a pad."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from thermospin.base import polygons
from thermospin.device import sidewalls
from thermospin.device.films import Body, prism
from thermospin.device.gds import is_among, layers_name
from thermospin.device.marks import Mark, MarkError, edge_at, film_of, is_on, place_of
from thermospin.device.parts import Contact, Solid
from thermospin.device.site import Site
from thermospin.geometry.edges import Edge
from thermospin.geometry.outlines import outline_of


def contact_of(mark: Mark, bodies: Sequence[Body], site: Site) -> tuple[Contact, list[Solid]]:
    """Return the contact of a mark and the solids made for it.

    Args:
      mark: the mark.
      bodies: of all films.
      site: the drawing, and which materials are metals.
    Raises:
      MarkError: the mark means no place, or no metal is there.
    """
    place, pad = _place_and_pad(mark, site)
    body = _body_at(mark, place, pad, bodies, site)
    if pad is None:
        if mark.face not in ("z-", "z+"):
            edge = _edge(mark, place, body, bodies, site)
            return Contact(mark.name, body.name, edge.face, edge), []
        # The polygon as drawn, such as a pad: the body may reach much further.
        under = [shape for shape in site.drawing.on(body.layer.layers) if is_on(shape, place)]
        pad = max(under, key=lambda shape: abs(float(polygons.area(shape))), default=None)
        if pad is None or not polygons.boolean([body.outline], [pad], "not"):
            return Contact(mark.name, body.name, mark.face), []
    name = f"{body.name}@{mark.name}"
    return Contact(mark.name, name, mark.face or "z+"), _under_pad(name, pad, body, mark, site)


def _place_and_pad(mark: Mark, site: Site) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the point of a mark [m], and the polygon (vertices, 2) [m] of its own layers there; None for none."""
    of_metal = tuple(one for layer in site.stack if site.is_metal(layer.material) for one in layer.layers)
    place = place_of(mark, site.whole, of_metal, site.window)
    if not mark.layers:
        assert place is not None
        return place, None
    shapes = site.drawing.on(mark.layers)
    chosen = shapes if place is None else [shape for shape in shapes if is_on(shape, place)]
    if len(chosen) != 1:
        which = "" if place is None else f" at {mark.at_place(place)}"
        raise MarkError(f"{layers_name(mark.layers)} has {len(chosen)} polygons{which}, expected one")
    return np.array(polygons.inner_point(chosen[0])) if place is None else place, chosen[0]


def _body_at(mark: Mark, place: np.ndarray, pad: np.ndarray | None, bodies: Sequence[Body], site: Site) -> Body:
    """Return the body that a mark is on; raise MarkError if there is none."""
    conducting = [body for body in bodies if site.is_metal(body.layer.material)]
    if pad is None:
        under = [body for body in conducting if is_on(body.outline, place)]
    else:
        under = [body for body in conducting if polygons.boolean([body.outline], [pad], "and")]
    if not under:
        near = ""
        if site.window is not None and not site.window.holds(place):
            near = ", which is outside the window"
        elif conducting:
            gap, name = min((polygons.away(body.outline, place), body.name) for body in conducting)
            near = f"; the nearest, '{name}', is {1e9 * gap:.4g} nm away"
        raise MarkError(f"it is on air: at {polygons.at(place)} there is no metal of the stack{near}")
    # A label that is on the layer of a body refers to that body; else take the last one, which lies on top.
    of_label = {label.layer[0] for label in site.drawing.labels if label.text == mark.label}
    named = [body for body in under if of_label & {first for first, _ in body.layer.layers}]
    return (named or under)[-1]


def _edge(mark: Mark, place: np.ndarray, body: Body, bodies: Sequence[Body], site: Site) -> Edge:
    """Return the edge of a body that a mark means; raise MarkError if there is none."""
    film = film_of(body.name, body.layer.layers, body.layer.material)
    beside = [other.outline for other in bodies if other.layer is body.layer and other is not body]
    round_ends = [
        end for layer, ends in site.drawing.round_ends.items() if is_among(layer, body.layer.layers) for end in ends
    ]
    return edge_at(mark, place, body.outline, beside, round_ends, film)


def _under_pad(name: str, pad: np.ndarray, body: Body, mark: Mark, site: Site) -> list[Solid]:
    """Return the part of a body under a pad as solids of their own."""
    pieces = [
        (piece, solid.coordinates["z"], sidewalls.corners(piece, moving, site.lengths) if moving else ())
        for solid in _outermost(body.solids, pad, upper=mark.face != "z-")
        for moving in [sidewalls.of_solid(solid)]
        for piece in polygons.boolean([outline_of(solid)], [pad], "and")
    ]
    solids = []
    for k, (piece, ends, corners) in enumerate(pieces, 1):
        solid = prism(f"{name}/{k}" if len(pieces) > 1 else name, piece, ends, body.layer, name, body.name)
        solids.append(dataclasses.replace(solid, corners=corners).moved(site.lengths))
    return solids


def _outermost(solids: Sequence[Solid], pad: np.ndarray, *, upper: bool) -> list[Solid]:
    """Return the solids under a pad with no other of them above, or below: at each step of a film one."""
    under = [(solid, polygons.boolean([outline_of(solid)], [pad], "and")) for solid in solids]

    def covers(other: Solid, solid: Solid) -> bool:
        return abs(other.box[2][not upper] - solid.box[2][upper]) <= polygons.TOUCH

    return [
        solid
        for solid, shapes in under
        if shapes
        and not any(covers(other, solid) and over and polygons.boolean(shapes, over, "and") for other, over in under)
    ]
