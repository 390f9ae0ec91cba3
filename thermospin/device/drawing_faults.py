"""Faults of a layout's drawing: layers without an entry in the stack, broken polygons, vertices off the grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thermospin.base import polygons
from thermospin.device.gds import LayerNumbers, is_among, layer_name, layers_name
from thermospin.device.marks import Mark
from thermospin.device.site import Layer, Site


def strays(site: Site, marks: Sequence[Mark], ignored: LayerNumbers) -> list[str]:
    """Return faults: layers of the drawing that are not in the stack, and layers of the stack without shapes."""
    drawing, whole = site.drawing, site.whole
    films = [one for layer in site.stack for one in layer.layers]
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


def broken(site: Site, marks: Sequence[Mark], ignored: LayerNumbers) -> list[str]:
    """Return faults of polygons and paths without width on used layers, of paths without length on all others too."""
    drawing = site.drawing
    used = [*(layer.layers for layer in site.stack), *(mark.layers for mark in marks)]
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


def off_grid(shapes: Sequence[np.ndarray], layer: Layer, spacing: float) -> list[str]:
    """Return faults of polygons with vertices off the grid of the layout, whose spacing is given [m]."""
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


def outside(site: Site) -> list[str]:
    """Return faults of films that all lie outside the window, if no other does."""
    return [
        f"{layers_name(layer.layers)} ({layer.material}): all of it lies outside the window"
        for layer in site.stack
        if site.whole.on(layer.layers)
    ]
