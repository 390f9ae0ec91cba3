"""Solids and contacts from a drawing and a stack of layers, which gives materials and heights.

A stack lists layers in the order of fabrication. A layer lies at a given height, or is draped: at each place it lies on
the highest solid below it, as a film that is evaporated from above. This module depends on no file format.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from thermospin.base import polygons
from thermospin.base.names import nearest
from thermospin.base.polygons import edges_across
from thermospin.device.gds import Drawing, Label, LayerNumber, layer_name
from thermospin.device.parts import Contact, Solid
from thermospin.geometry.dimensions import Coordinate
from thermospin.geometry.outlines import outline_of

#: A label closer than this to a polygon is on it [m].
NEAR_LABEL = 2e-9


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer of a stack.

    Attributes:
      layer: layer and datatype in the drawing.
      material: name of its material.
      thickness: thickness [m].
      zmin: height of its lower side [m]; for a draped layer, only where nothing lies below it; None: not given.
      drape: whether it lies on the solids below it, at the height that they have at each place.
      magnet: whether each of its polygons is a separate magnet, with the name of the polygon.
      sidewall_angle: angle of its edges to the vertical [degrees]; if above 0, it is narrower at the top.
      slices: number of upright prisms that approximate slanted edges.
      name: base name of its polygons; "": the name of the material.
    """

    layer: LayerNumber
    material: str
    thickness: Coordinate
    zmin: Coordinate | None = None
    drape: bool = False
    magnet: bool = False
    sidewall_angle: float = 0.0
    slices: int = 3
    name: str = ""


@dataclasses.dataclass(frozen=True)
class Mark:
    """The place of a contact: at a label, or on a polygon of a layer, or both.

    Attributes:
      name: name of the contact.
      label: text of the label, None for none.
      layer: layer with the polygon that covers the contact, None for none.
      face: end face of the solid; None: the face nearest to the label, or the top if `layer` is given.
    """

    name: str
    label: str | None = None
    layer: LayerNumber | None = None
    face: str | None = None


@dataclasses.dataclass(frozen=True)
class Window:
    """The part of a drawing that is simulated: (low, high) along x and y [m]."""

    x: tuple[float, float]
    y: tuple[float, float]


@dataclasses.dataclass(frozen=True, eq=False)
class _Body:
    """A polygon of a layer with the solids made from it."""

    name: str
    layer: Layer
    outline: np.ndarray
    solids: list[Solid]


def build(
    drawing: Drawing,
    stack: Sequence[Layer],
    ground: Sequence[Solid],
    marks: Sequence[Mark] = (),
    *,
    window: Window | None = None,
    ignored: Sequence[LayerNumber] = (),
    metals: Sequence[str] | None = None,
    spacing: float | None = None,
    lengths: Mapping[str, float] | None = None,
) -> tuple[list[Solid], list[Contact], list[str]]:
    """Build the solids and contacts of a drawing.

    Touching polygons of one layer form one body, with the name of a label of the same layer inside it, or a number. A
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
    broken = _broken(drawing, [layer.layer for layer in stack] + [mark.layer for mark in marks if mark.layer])
    if broken:
        return [], [], texts + broken
    bodies: list[_Body] = []
    for layer in stack:
        shapes = drawing.shapes.get(layer.layer, [])
        if spacing is not None:
            texts += _off_grid(shapes, layer, spacing)
        outlines = _clipped(_joined(shapes), window)
        if whole.shapes.get(layer.layer) and not outlines:
            texts.append(f"layer {layer_name(layer.layer)} ({layer.material}): all of it lies outside the window")
        names = _names(
            outlines, layer, [label for label in drawing.labels if label.layer[0] == layer.layer[0]], bodies, marks
        )
        below = [*ground, *(solid for body in bodies for solid in body.solids)]
        for name, outline in zip(names, outlines, strict=True):
            solids, faults = _solids(name, outline, layer, below, window, lengths or {})
            texts += faults
            bodies.append(_Body(name, layer, outline, solids))
    solids = [solid for body in bodies for solid in body.solids]
    contacts = []
    for mark in marks:
        contact, more, fault = _contact(mark, drawing, bodies, metals, window)
        more = [solid.moved(lengths or {}) for solid in more]
        solids += more
        if contact is not None:
            contacts.append(contact)
        if fault:
            texts.append(f"contact '{mark.name}': {fault}")
    return solids, contacts, texts


def _within(drawing: Drawing, window: Window | None) -> Drawing:
    """Return what of a drawing reaches into the window; a label at its edge does."""
    if window is None:
        return drawing
    low, high = np.array([window.x, window.y]).T

    def inside(groups: Mapping[LayerNumber, list[np.ndarray]]) -> dict[LayerNumber, list[np.ndarray]]:
        kept = {
            layer: [s for s in shapes if np.all(s.min(axis=0) < high) and np.all(s.max(axis=0) > low)]
            for layer, shapes in groups.items()
        }
        return {layer: shapes for layer, shapes in kept.items() if shapes}

    labels = [
        label
        for label in drawing.labels
        if np.all(label.place > low - NEAR_LABEL) and np.all(label.place < high + NEAR_LABEL)
    ]
    texts = {label.text for label in labels}
    # Texts that are only outside are kept, for the message about a contact there.
    labels += [label for label in drawing.labels if label.text not in texts]
    return Drawing(drawing.cell, inside(drawing.shapes), labels, inside(drawing.lines))


def _broken(drawing: Drawing, layers: Sequence[LayerNumber]) -> list[str]:
    """Return faults of polygons, and paths without width, on these layers."""
    texts = []
    for layer in dict.fromkeys(layers):
        kind = f"on layer {layer_name(layer)}"
        texts += [
            f"path {kind} from {polygons.at(line[0])}: an open path without width has no inside; give it a width, or "
            "draw a polygon"
            for line in drawing.lines.get(layer, [])
        ]
        for number, shape in enumerate(drawing.shapes.get(layer, [])):
            where = f"polygon {number} {kind}, around {polygons.at(shape.mean(axis=0))}"
            texts += [f"{where}: {text}" for text in polygons.faults(shape)]
    return texts


def _stray(
    drawing: Drawing, stack: Sequence[Layer], ignored: Sequence[LayerNumber], marks: Sequence[Mark], whole: Drawing
) -> list[str]:
    """Return faults: layers of the drawing that are not in the stack, and layers of the stack without shapes."""
    used = {layer.layer for layer in stack} | set(ignored) | {mark.layer for mark in marks if mark.layer}
    listed = ", ".join(f'"{layer_name(shape)}"' for shape in sorted(whole.shapes)) or "none"
    faults = []
    for layer in sorted(set(drawing.shapes) - used):
        count, place = len(drawing.shapes[layer]), drawing.shapes[layer][0].mean(axis=0)
        faults.append(
            f"layer {layer_name(layer)} has {count} polygon{'s' * (count > 1)}, the first around {polygons.at(place)}, "
            f'but no entry in the stack; add one, or ignore = ["{layer_name(layer)}"]'
        )
    for layer in dict.fromkeys(layer.layer for layer in stack):
        if not whole.shapes.get(layer) and not drawing.lines.get(layer):
            faults.append(
                f"layer {layer_name(layer)} of the stack has no shapes in cell '{drawing.cell}', which has {listed}"
            )
    return faults


def _off_grid(shapes: Sequence[np.ndarray], layer: Layer, spacing: float) -> list[str]:
    faults = []
    for number, shape in enumerate(shapes):
        off = np.abs(shape / spacing - np.round(shape / spacing)).max(axis=1) > 1e-6
        if off.any():
            k = int(np.argmax(off))
            faults.append(
                f"polygon {number} on layer {layer_name(layer.layer)}: vertex {k} at {polygons.at(shape[k])} is off "
                f"the grid of {1e9 * spacing:g} nm; move it, or take `grid` out of [layout]"
            )
    return faults


def _joined(shapes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Join the touching polygons of one layer; a polygon that touches no other is not changed."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    extents = np.array([[shape.min(axis=0), shape.max(axis=0)] for shape in shapes]).reshape(-1, 2, 2)
    order = np.argsort(extents[:, 0, 0])
    # In the order of their left ends, a polygon can touch only those that begin before it ends.
    ends = np.searchsorted(extents[order, 0, 0], extents[order, 1, 0] + polygons.TOUCH, side="right")
    pairs = []
    for place, (i, end) in enumerate(zip(order, ends, strict=True)):
        others = order[place:end]
        gap = np.maximum(extents[others, 0] - extents[i, 1], extents[i, 0] - extents[others, 1]).max(axis=1)
        pairs += [(i, j) for j in others[gap <= polygons.TOUCH]]
    tails, heads = np.array(pairs, int).reshape(-1, 2).T
    links = coo_matrix((np.ones(len(tails), np.int8), (tails, heads)), shape=(len(shapes),) * 2)
    count, label = connected_components(links, directed=False)
    groups = [np.flatnonzero(label == k).tolist() for k in range(count)]
    out: list[np.ndarray] = []
    for group in sorted(groups):
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
        names.append(name.replace("/", "_"))
    return names


def _solids(
    name: str,
    outline: np.ndarray,
    layer: Layer,
    below: Sequence[Solid],
    window: Window | None,
    lengths: Mapping[str, float],
) -> tuple[list[Solid], list[str]]:
    """Return the solids of one polygon, and its faults."""
    slices = layer.slices if layer.sidewall_angle else 1
    lean = math.tan(math.radians(layer.sidewall_angle))
    thickness = layer.thickness
    made: list[tuple[np.ndarray, Coordinate, Coordinate]] = []
    faults: list[str] = []
    for k in range(slices):
        shrink = lean * thickness.at(lengths) * (k + 0.5) / slices
        shapes = _clipped(polygons.offset(outline, -shrink), window) if shrink else [outline]
        if not shapes:
            faults.append(f"'{name}': its side walls meet before its top; at {polygons.at(outline.mean(axis=0))}")
        low, high = (_scaled(thickness, part) for part in (k / slices, (k + 1) / slices))
        for shape in shapes:
            for piece, base in _bases(shape, layer, below):
                if base is None:
                    faults.append(
                        f"'{name}' on layer {layer_name(layer.layer)}: nothing lies below it at "
                        f"{polygons.at(piece.mean(axis=0))}; give the layer zmin, or a solid under it"
                    )
                else:
                    made.append((piece, _sum(base, low), _sum(base, high)))
    several = len(made) > 1
    # Edges of slices, and of draped films over slices, are not in the drawing: they need no grid lines.
    seen = [Solid("", "", None, ((0, 0),) * 3, outline=tuple(map(tuple, outline.tolist())))] + list(below)
    x, y = ((tuple(end for solid in seen for end in solid.straight_edges(k))) for k in range(2))
    on_lines = ((), ()) if layer.sidewall_angle else (x, y)
    return [
        _solid(f"{name}/{k}" if several else name, piece, low, high, layer, name, name, on_lines=on_lines).moved(
            lengths
        )
        for k, (piece, low, high) in enumerate(made, 1)
    ], faults


def _solid(
    name: str,
    piece: np.ndarray,
    low: Coordinate,
    high: Coordinate,
    layer: Layer,
    body: str,
    magnet: str,
    on_lines: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> Solid:
    outline = tuple((float(x), float(y)) for x, y in piece)
    (x0, y0), (x1, y1) = piece.min(axis=0).tolist(), piece.max(axis=0).tolist()
    return Solid(
        name,
        layer.material,
        magnet if layer.magnet else None,
        ((x0, x1), (y0, y1), (0.0, 0.0)),
        {"x": f"layer {layer_name(layer.layer)}", "y": f"layer {layer_name(layer.layer)}"},
        coordinates={"z": (low, high)},
        outline=outline,
        on_lines=on_lines,
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
        top = solid.coordinates["z"][1] if "z" in solid.coordinates else Coordinate(solid.box[2][1])
        resting = polygons.boolean(rest, under, "and")
        if resting:
            out += [(piece, top) for piece in resting]
            rest = polygons.boolean(rest, under, "not")
    out += [(piece, layer.zmin) for piece in rest]
    return _merged(out)


def _merged(pieces: Sequence[tuple[np.ndarray, Coordinate | None]]) -> list[tuple[np.ndarray, Coordinate | None]]:
    """Join touching pieces at the same height."""
    out: list[tuple[np.ndarray, Coordinate | None]] = []
    for base in dict.fromkeys(base for _, base in pieces):
        at_height = [piece for piece, height in pieces if height == base]
        out += [
            (piece, base) for piece in (at_height if len(at_height) == 1 else polygons.boolean(at_height, [], "or"))
        ]
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
    mark: Mark, drawing: Drawing, bodies: Sequence[_Body], metals: Sequence[str] | None, window: Window | None
) -> tuple[Contact | None, list[Solid], str | None]:
    """Return the contact of a mark, the solids made for it, and the fault if there is no contact."""
    place: np.ndarray | None = None
    if mark.label is not None:
        named = [label for label in drawing.labels if label.text == mark.label]
        if len(named) != 1:
            texts = list(dict.fromkeys(label.text for label in drawing.labels))
            if not named:
                return None, [], f"no label says '{mark.label}'; {nearest(mark.label, texts)}"
            where = " and ".join(polygons.at(label.place) for label in named)
            return None, [], f"{len(named)} labels say '{mark.label}', at {where}; expected one"
        place = np.array(named[0].place)
    pad: np.ndarray | None = None
    if mark.layer is not None:
        shapes = drawing.shapes.get(mark.layer, [])
        chosen = shapes if place is None else [shape for shape in shapes if polygons.away(shape, place) <= NEAR_LABEL]
        if len(chosen) != 1:
            which = "" if place is None else f" at its label, {polygons.at(place)}"
            return None, [], f"layer {layer_name(mark.layer)} has {len(chosen)} polygons{which}, expected one"
        pad = chosen[0]
        place = pad.mean(axis=0) if place is None else place
    assert place is not None
    conducting = [body for body in bodies if metals is None or body.layer.material in metals]
    under = [body for body in conducting if _covers(body.outline, place, pad)]
    if not under:
        gaps = [(polygons.away(body.outline, place), body.name) for body in conducting]
        near = f"; the nearest, '{min(gaps)[1]}', is {1e9 * min(gaps)[0]:.4g} nm away" if gaps else ""
        outside = window is not None and not (
            window.x[0] - NEAR_LABEL <= place[0] <= window.x[1] + NEAR_LABEL
            and window.y[0] - NEAR_LABEL <= place[1] <= window.y[1] + NEAR_LABEL
        )
        near = ", which is outside the window" if outside else near
        return None, [], f"it is on air: at {polygons.at(place)} there is no metal of the stack{near}"
    # A label that is on the layer of a body refers to that body; else take the last one, which lies on top.
    candidates = [
        body
        for body in under
        if mark.label
        and any(label.text == mark.label and label.layer[0] == body.layer.layer[0] for label in drawing.labels)
    ]
    body = (candidates or under)[-1]
    if pad is None:
        face = mark.face or nearest_face(body.outline, place)[0]
        return Contact(mark.name, body.name, face), [], None
    held = next((s for s in reversed(body.solids) if polygons.boolean([outline_of(s)], [pad], "and")), body.solids[-1])
    pieces = polygons.boolean([outline_of(held)], [pad], "and")
    low, high = held.coordinates["z"]
    solids = [
        _solid(
            f"{body.name}@{mark.name}/{k}" if len(pieces) > 1 else f"{body.name}@{mark.name}",
            piece,
            low,
            high,
            body.layer,
            f"{body.name}@{mark.name}",
            body.name,
        )
        for k, piece in enumerate(pieces, 1)
    ]
    return Contact(mark.name, f"{body.name}@{mark.name}", mark.face or "z+"), solids, None


def _covers(outline: np.ndarray, place: np.ndarray, pad: np.ndarray | None) -> bool:
    if pad is not None:
        return bool(polygons.boolean([outline], [pad], "and"))
    return polygons.away(outline, place) <= NEAR_LABEL


def nearest_face(outline: np.ndarray, place: np.ndarray) -> tuple[str, float]:
    """Return the straight end of a polygon that is nearest to a point, and its distance [m]."""
    best, side = np.inf, "x-"
    after = np.roll(outline, -1, axis=0)
    for axis in range(2):
        ends = edges_across(outline, axis)
        for end, sign in ((outline[:, axis].min(), "-"), (outline[:, axis].max(), "+")):
            if not len(ends) or np.abs(ends - end).min() > polygons.TOUCH:
                continue
            on = (np.abs(outline[:, axis] - end) < polygons.TOUCH) & (np.abs(after[:, axis] - end) < polygons.TOUCH)
            for a, b in zip(outline[on, 1 - axis], after[on, 1 - axis], strict=True):
                across = max(min(a, b) - place[1 - axis], place[1 - axis] - max(a, b), 0.0)
                away = math.hypot(across, place[axis] - end)
                if away < best:
                    best, side = away, "xy"[axis] + sign
    return side, best
