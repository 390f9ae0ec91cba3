"""Solids and contacts from a drawing and a stack of layers, which gives materials and heights.

A stack lists layers in the order of fabrication. A layer lies at a given height, or is draped: at each place it lies on
the highest solid below it, as a film that is evaporated from above. This module depends on no file format.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from thermospin.base import polygons
from thermospin.base.graphs import components
from thermospin.device import sidewalls
from thermospin.device.gds import Drawing, Label, LayerNumber, LayerNumbers, is_among, layer_name, layers_name
from thermospin.device.marks import Mark, MarkError, Window, edge_at, film_of, is_on, place_of
from thermospin.device.parts import Contact, Solid
from thermospin.geometry.borders import bordering
from thermospin.geometry.dimensions import Coordinate
from thermospin.geometry.outlines import Regions, outline_of


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer of a stack.

    Attributes:
      layers: layers and datatypes in the drawing, such as those of its doses.
      material: name of its material.
      thickness: thickness [m].
      zmin: height of its lower side [m]; for a draped layer, only where nothing lies below it; None: not given.
      drape: whether it lies on the solids below it, at the height that they have at each place.
      magnet: whether each of its polygons is a separate magnet, with the name of the polygon.
      sidewall_angle: angle of its edges to the vertical [degrees]; if above 0, it is narrower at the top.
      slices: number of upright prisms that approximate slanted edges.
      name: base name of its polygons; "": the name of the material.
    """

    layers: LayerNumbers
    material: str
    thickness: Coordinate
    zmin: Coordinate | None = None
    drape: bool = False
    magnet: bool = False
    sidewall_angle: float = 0.0
    slices: int = 3
    name: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class _Body:
    """A polygon of a layer with the solids made from it."""

    name: str
    layer: Layer
    outline: np.ndarray
    solids: list[Solid]


class _Slice(NamedTuple):
    """A piece of a film, between two heights.

    Attributes:
      outline: (vertices, 2) [m].
      ends: lower and upper side.
      recess: how far its edges lie inside those of the film as drawn.
      moving: lines that its edges may lie on and that dimensions move.
      clearances: how far other solids stay below its lower side.
    """

    outline: np.ndarray
    ends: tuple[Coordinate, Coordinate]
    recess: Coordinate
    moving: Sequence[sidewalls.MovingEdge]
    clearances: tuple[Coordinate, ...]


def build(
    drawing: Drawing,
    stack: Sequence[Layer],
    ground: Sequence[Solid],
    marks: Sequence[Mark] = (),
    *,
    window: Window | None = None,
    ignored: LayerNumbers = (),
    metals: Sequence[str] | None = None,
    spacing: float | None = None,
    lengths: Mapping[str, float] | None = None,
) -> tuple[list[Solid], list[Contact], list[str]]:
    """Build the solids and contacts of a drawing.

    Touching polygons of one film form one body, with the name of a label of its layers inside it, or a number. A
    body in several pieces, as in draped layers, consists of solids "name/1", "name/2".

    Args:
      drawing: polygons and labels.
      stack: layers in the order of fabrication; later ones overwrite earlier ones.
      ground: solids that exist before the first layer, such as the substrate.
      marks: places of contacts.
      window: parts of the drawing outside it are cut away.
      ignored: layers of the drawing to ignore.
      metals: materials that a contact may be on; None: all.
      spacing: grid of the layout on which all vertices must lie [m]; None: no such grid.
      lengths: values of the dimensions in heights and thicknesses [m].
    Returns:
      solids, contacts, and faults, one line each; if there are faults, only the parts that could be built.
    """
    whole, drawing = drawing, _within(drawing, window)
    texts = _stray(drawing, stack, ignored, marks, whole)
    broken = _broken(drawing, [layer.layers for layer in stack] + [mark.layers for mark in marks], ignored)
    if broken:
        return [], [], texts + broken
    bodies: list[_Body] = []
    for layer in stack:
        shapes = drawing.on(layer.layers)
        if spacing is not None:
            texts += _off_grid(shapes, layer, spacing)
        parts = [(part, outline) for outline in _joined(shapes) for part in _clipped([outline], window)]
        # From the left, so that names do not depend on the order in the file or of a union.
        parts.sort(key=lambda pair: _place(pair[0]))
        labels = [label for label in drawing.labels if label.layer[0] in {first for first, _ in layer.layers}]
        names = _names([part for part, _ in parts], layer, labels, bodies, marks)
        below = [*ground, *(solid for body in bodies for solid in body.solids)]
        for name, (part, outline) in zip(names, parts, strict=True):
            solids, faults = _solids(name, part, outline, layer, below, window, lengths or {})
            texts += faults
            bodies.append(_Body(name, layer, part, solids))
    if window is not None and not bodies:
        texts += [
            f"{layers_name(layer.layers)} ({layer.material}): all of it lies outside the window"
            for layer in stack
            if whole.on(layer.layers)
        ]
    if not texts and any(layer.sidewall_angle for layer in stack):
        bodies = _on_lines(bodies, ground, metals)
    solids = [solid for body in bodies for solid in body.solids]
    contacts = []
    for mark in marks:
        try:
            contact, more = _contact(mark, drawing, whole, stack, bodies, metals, window, lengths or {})
        except MarkError as why:
            texts.append(f"contact '{mark.name}': {why}")
        else:
            solids += [solid.moved(lengths or {}) for solid in more]
            contacts.append(contact)
    return solids, contacts, texts


def _place(shape: np.ndarray) -> tuple[float, float]:
    """Return the lower left end of a polygon, rounded, by which pieces are put in order [m]."""
    x, y = np.round(shape.min(axis=0), 12).tolist()
    return x, y


def _within(drawing: Drawing, window: Window | None) -> Drawing:
    """Return a drawing without shapes that do not reach into the window."""
    if window is None:
        return drawing
    low, high = np.array([window.x, window.y]).T

    def inside(groups: Mapping[LayerNumber, list[np.ndarray]]) -> dict[LayerNumber, list[np.ndarray]]:
        kept = {
            layer: [s for s in shapes if np.all(s.min(axis=0) < high) and np.all(s.max(axis=0) > low)]
            for layer, shapes in groups.items()
        }
        return {layer: shapes for layer, shapes in kept.items() if shapes}

    return dataclasses.replace(drawing, shapes=inside(drawing.shapes), lines=inside(drawing.lines))


def _broken(drawing: Drawing, used: Sequence[LayerNumbers], ignored: LayerNumbers) -> list[str]:
    """Return faults of polygons and paths without width on used layers, of paths without length on all others too."""
    texts = []
    for layer in sorted({*drawing.shapes, *drawing.lines}):
        kind = f"on layer {layer_name(layer)}"
        is_used = any(is_among(layer, layers) for layers in used)
        for line in drawing.lines.get(layer, []):
            if len(line) == 1 and not is_among(layer, ignored):
                texts.append(f"path {kind} at {polygons.at(line[0])}: it has no length; draw it as a polygon")
            elif is_used:
                texts.append(
                    f"path {kind} from {polygons.at(line[0])}: an open path without width has no inside; give it a "
                    "width, or draw a polygon"
                )
        for number, shape in enumerate(drawing.shapes.get(layer, []) if is_used else []):
            where = f"polygon {number} {kind}, around {polygons.at(shape.mean(axis=0))}"
            texts += [f"{where}: {text}" for text in polygons.faults(shape)]
    return texts


def _stray(
    drawing: Drawing, stack: Sequence[Layer], ignored: LayerNumbers, marks: Sequence[Mark], whole: Drawing
) -> list[str]:
    """Return faults: layers of the drawing that are not in the stack, and layers of the stack without shapes."""
    films = [one for layer in stack for one in layer.layers]
    used = (*ignored, *films, *(one for mark in marks for one in mark.layers))
    listed = ", ".join(f'"{layer_name(shape)}"' for shape in sorted(whole.shapes)) or "none"
    faults = []
    for layer in sorted(drawing.shapes):
        if is_among(layer, used):
            continue
        count, place = len(drawing.shapes[layer]), drawing.shapes[layer][0].mean(axis=0)
        faults.append(
            f"layer {layer_name(layer)} has {count} polygon{'s' * (count > 1)}, the first around {polygons.at(place)}, "
            f'but no entry in the stack; add one, or ignore = ["{layer_name(layer)}"]'
        )
    for one in dict.fromkeys(films):
        if not whole.on((one,)) and not any(is_among(layer, (one,)) for layer in drawing.lines):
            faults.append(
                f"layer {layer_name(one)} of the stack has no shapes in cell '{drawing.cell}', which has {listed}"
            )
    return faults


def _off_grid(shapes: Sequence[np.ndarray], layer: Layer, spacing: float) -> list[str]:
    faults = []
    for number, shape in enumerate(shapes):
        off = np.abs(shape / spacing - np.round(shape / spacing)).max(axis=1) > 1e-6
        if off.any():
            k = int(np.argmax(off))
            faults.append(
                f"polygon {number} on {layers_name(layer.layers)}: vertex {k} at {polygons.at(shape[k])} is off "
                f"the grid of {1e9 * spacing:g} nm; move it, or take `grid` out of [layout]"
            )
    return faults


def _joined(shapes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Join the touching polygons of one layer; a polygon that touches no other is not changed."""
    number = components(len(shapes), polygons.close(shapes))
    out: list[np.ndarray] = []
    for k in range(int(number.max(initial=-1)) + 1):
        group = np.flatnonzero(number == k).tolist()
        out += [shapes[group[0]]] if len(group) == 1 else polygons.boolean([shapes[i] for i in group], [], "or")
    return out


def _clipped(outlines: Sequence[np.ndarray], window: Window | None) -> list[np.ndarray]:
    if window is None:
        return list(outlines)
    frame = polygons.rectangle(window.x, window.y)
    out: list[np.ndarray] = []
    for outline in outlines:
        inside = (outline >= frame[0] - polygons.TOUCH).all() and (outline <= frame[2] + polygons.TOUCH).all()
        # What a cut to a hole had joined would come apart along that cut.
        out += [outline] if inside else _joined(polygons.boolean([outline], [frame], "and"))
    return out


def _names(
    outlines: Sequence[np.ndarray],
    layer: Layer,
    labels: Sequence[Label],
    bodies: Sequence[_Body],
    marks: Sequence[Mark],
) -> list[str]:
    taken = {body.name for body in bodies}
    of_contacts = {mark.label for mark in marks}
    base = layer.name or layer.material
    names = []
    for outline in outlines:
        inside = [
            label.text for label in labels if label.text not in of_contacts and polygons.contains(outline, label.place)
        ]
        number = 1
        while f"{base}{number}" in taken:
            number += 1
        alone = len(outlines) == 1 and base not in taken
        name = next((text for text in inside if text not in taken), base if alone else f"{base}{number}")
        taken.add(name)
        names.append(name)
    return names


def _solids(
    name: str,
    part: np.ndarray,
    outline: np.ndarray,
    layer: Layer,
    below: Sequence[Solid],
    window: Window | None,
    lengths: Mapping[str, float],
) -> tuple[list[Solid], list[str]]:
    """Return the solids of the part of a polygon in the window, and its faults."""
    slices = layer.slices if layer.sidewall_angle else 1
    lean = math.tan(math.radians(layer.sidewall_angle))
    thickness = layer.thickness
    made: list[_Slice] = []
    faults: list[str] = []
    resting_on = [edge for solid in below for edge in sidewalls.of_solid(solid)] if layer.drape else []
    for k in range(slices):
        recess = _scaled(thickness, lean * (k + 0.5) / slices)
        shrink = recess.at(lengths)
        moving = [*sidewalls.shrinking(outline, recess, lengths), *resting_on] if recess.factors else resting_on
        shapes = [part]
        if shrink:
            shapes = polygons.offset(outline, -shrink)
            if part is not outline:  # the whole polygon shrinks: at the rim of the window its slices stay upright
                near = [part] if shrink > 0 else polygons.offset(part, -shrink)
                shapes = polygons.boolean(shapes, near, "and")
            shapes = _clipped(shapes, window)
        if not shapes:
            faults.append(f"'{name}': its side walls meet before its top; at {polygons.at(outline.mean(axis=0))}")
        low, high = (_scaled(thickness, part) for part in (k / slices, (k + 1) / slices))
        for shape in shapes:
            for piece, base in _bases(shape, layer, below):
                if base is None:
                    faults.append(
                        f"'{name}' on {layers_name(layer.layers)}: nothing lies below it at "
                        f"{polygons.at(piece.mean(axis=0))}; give the layer zmin, or a solid under it"
                    )
                else:
                    above = _clearances(piece, base, below) if layer.drape else ()
                    made.append(_Slice(piece, (_sum(base, low), _sum(base, high)), recess, moving, above))
    several = len(made) > 1
    # Of the slices of a slanted film the widest has grid lines, and those on other metals: `_on_lines`. Edges of a
    # draped film over the others need none.
    seen = [Solid("", "", None, ((0, 0),) * 3, outline=tuple(map(tuple, part.tolist())))] + list(below)
    x, y = ((tuple(end for solid in seen for end in solid.straight_edges(k))) for k in range(2))
    widest = min((each.recess.at(lengths) for each in made), default=0.0)
    solids = []
    for k, each in enumerate(made, 1):
        solid = _solid(f"{name}/{k}" if several else name, each.outline, each.ends, layer, name, name)
        on_lines = (x, y) if not layer.sidewall_angle else None if each.recess.at(lengths) == widest else ((), ())
        solid = dataclasses.replace(
            solid,
            on_lines=on_lines,
            corners=sidewalls.corners(each.outline, each.moving, lengths) if each.moving else (),
            recess=each.recess.at(lengths),
            lean=each.recess if each.recess.factors else None,
            clearances=each.clearances,
        )
        solids.append(solid.moved(lengths))
    return solids, faults


def _on_lines(bodies: Sequence[_Body], ground: Sequence[Solid], metals: Sequence[str] | None) -> list[_Body]:
    """Return the bodies with grid lines on the edges of the slices that touch another metal.

    A cell over several slices would hold both metals, which would conduct in it in parallel.
    """
    solids = [*ground, *(solid for body in bodies for solid in body.solids)]
    kinds = [(solid.material, solid.magnet) for solid in solids]
    conducting = [metals is None or solid.material in metals for solid in solids]
    found = bordering(Regions(solids, conducting), [kinds.index(kind) for kind in kinds], conducting)
    names = {solids[i].name for i in found if solids[i].recess}
    return [
        dataclasses.replace(
            body,
            solids=[dataclasses.replace(s, on_lines=None) if s.name in names else s for s in body.solids],
        )
        for body in bodies
    ]


def _solid(
    name: str, piece: np.ndarray, ends: tuple[Coordinate, Coordinate], layer: Layer, body: str, magnet: str
) -> Solid:
    outline = tuple((float(x), float(y)) for x, y in piece)
    (x0, y0), (x1, y1) = piece.min(axis=0).tolist(), piece.max(axis=0).tolist()
    return Solid(
        name,
        layer.material,
        magnet if layer.magnet else None,
        ((x0, x1), (y0, y1), (0.0, 0.0)),
        {"x": layers_name(layer.layers), "y": layers_name(layer.layers)},
        coordinates={"z": ends},
        outline=outline,
        body=body,
    )


def _bases(shape: np.ndarray, layer: Layer, below: Sequence[Solid]) -> list[tuple[np.ndarray, Coordinate | None]]:
    """Return the pieces of a polygon and the height at which each lies."""
    if not layer.drape:
        return [(shape, layer.zmin)]
    rest = [shape]
    out: list[tuple[np.ndarray, Coordinate | None]] = []
    # The highest solid first: the film on it does not reach the solids below.
    for solid in sorted(below, key=lambda solid: -solid.box[2][1]):
        under = [outline_of(solid)]
        if not rest or not _may_meet(shape, under[0]):
            continue
        resting = polygons.boolean(rest, under, "and")
        if resting:
            out += [(piece, _top(solid)) for piece in resting]
            rest = polygons.boolean(rest, under, "not")
    out += [(piece, layer.zmin) for piece in rest]
    return _merged(out)


def _top(solid: Solid) -> Coordinate:
    return solid.coordinates["z"][1] if "z" in solid.coordinates else Coordinate(solid.box[2][1])


def _clearances(piece: np.ndarray, base: Coordinate, below: Sequence[Solid]) -> tuple[Coordinate, ...]:
    """Return how far the other solids under a piece of a film stay below its lower side, where dimensions decide."""
    out = []
    for solid in below:
        clearance = _sum(base, _scaled(_top(solid), -1))
        if (
            clearance.factors
            and _may_meet(piece, under := outline_of(solid))
            and polygons.boolean([piece], [under], "and")
        ):
            out.append(clearance)
    return tuple(dict.fromkeys(out))


def _merged(pieces: Sequence[tuple[np.ndarray, Coordinate | None]]) -> list[tuple[np.ndarray, Coordinate | None]]:
    """Join touching pieces at the same height; at each height they come from the left."""
    out: list[tuple[np.ndarray, Coordinate | None]] = []
    for base in dict.fromkeys(base for _, base in pieces):
        at_height = [piece for piece, height in pieces if height == base]
        joined = at_height if len(at_height) == 1 else polygons.boolean(at_height, [], "or")
        out += [(piece, base) for piece in sorted(joined, key=_place)]
    return out


def _may_meet(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.all(one.min(axis=0) < other.max(axis=0)) and np.all(other.min(axis=0) < one.max(axis=0)))


def _sum(one: Coordinate, other: Coordinate) -> Coordinate:
    names = dict.fromkeys([*one.slopes, *other.slopes])
    factors = {name: one.slopes.get(name, 0.0) + other.slopes.get(name, 0.0) for name in names}
    return Coordinate(one.constant + other.constant, tuple((n, f) for n, f in factors.items() if f))


def _scaled(value: Coordinate, by: float) -> Coordinate:
    return Coordinate(value.constant * by, tuple((name, factor * by) for name, factor in value.factors))


def _contact(
    mark: Mark,
    drawing: Drawing,
    whole: Drawing,
    stack: Sequence[Layer],
    bodies: Sequence[_Body],
    metals: Sequence[str] | None,
    window: Window | None,
    lengths: Mapping[str, float],
) -> tuple[Contact, list[Solid]]:
    """Return the contact of a mark and the solids made for it; raise MarkError if there is none."""
    conducting = [body for body in bodies if metals is None or body.layer.material in metals]
    of_metal = tuple(one for layer in stack if metals is None or layer.material in metals for one in layer.layers)
    place = place_of(mark, whole, of_metal, window)
    pad: np.ndarray | None = None
    if mark.layers:
        shapes = drawing.on(mark.layers)
        chosen = shapes if place is None else [shape for shape in shapes if is_on(shape, place)]
        if len(chosen) != 1:
            which = "" if place is None else f" at {mark.at_place(place)}"
            raise MarkError(f"{layers_name(mark.layers)} has {len(chosen)} polygons{which}, expected one")
        pad = chosen[0]
        place = np.array(polygons.inner_point(pad)) if place is None else place
    assert place is not None
    body = _body_at(mark, place, pad, drawing, conducting, window)
    if pad is None and mark.face in ("z-", "z+"):
        # The polygon as drawn, such as a pad: the body may reach much further.
        under = [shape for shape in drawing.on(body.layer.layers) if is_on(shape, place)]
        pad = max(under, key=lambda shape: abs(float(polygons.area(shape))), default=None)
        if pad is None or not polygons.boolean([body.outline], [pad], "not"):
            return Contact(mark.name, body.name, mark.face), []
    if pad is None:
        film = film_of(body.name, body.layer.layers, body.layer.material)
        beside = [other.outline for other in bodies if other.layer is body.layer and other is not body]
        ends = [
            end
            for layer in drawing.round_ends
            if is_among(layer, body.layer.layers)
            for end in drawing.round_ends[layer]
        ]
        edge = edge_at(mark, place, body.outline, beside, ends, film)
        return Contact(mark.name, body.name, edge.face, edge), []
    pieces = [
        (piece, solid.coordinates["z"], sidewalls.corners(piece, moving, lengths) if moving else ())
        for solid in _outermost(body.solids, pad, upper=mark.face != "z-")
        for moving in [sidewalls.of_solid(solid)]
        for piece in polygons.boolean([outline_of(solid)], [pad], "and")
    ]
    name = f"{body.name}@{mark.name}"
    solids = [
        dataclasses.replace(
            _solid(f"{name}/{k}" if len(pieces) > 1 else name, piece, ends, body.layer, name, body.name),
            corners=corners,
        )
        for k, (piece, ends, corners) in enumerate(pieces, 1)
    ]
    return Contact(mark.name, name, mark.face or "z+"), solids


def _body_at(
    mark: Mark,
    place: np.ndarray,
    pad: np.ndarray | None,
    drawing: Drawing,
    conducting: Sequence[_Body],
    window: Window | None,
) -> _Body:
    """Return the body that a mark is on; raise MarkError if there is none."""
    under = [body for body in conducting if _covers(body.outline, place, pad)]
    if not under:
        near = ""
        if window is not None and not window.holds(place):
            near = ", which is outside the window"
        elif conducting:
            gap, name = min((polygons.away(body.outline, place), body.name) for body in conducting)
            near = f"; the nearest, '{name}', is {1e9 * gap:.4g} nm away"
        raise MarkError(f"it is on air: at {polygons.at(place)} there is no metal of the stack{near}")
    # A label that is on the layer of a body refers to that body; else take the last one, which lies on top.
    of_label = {label.layer[0] for label in drawing.labels if label.text == mark.label}
    named = [body for body in under if of_label & {first for first, _ in body.layer.layers}]
    return (named or under)[-1]


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


def _covers(outline: np.ndarray, place: np.ndarray, pad: np.ndarray | None) -> bool:
    if pad is not None:
        return bool(polygons.boolean([outline], [pad], "and"))
    return is_on(outline, place)
