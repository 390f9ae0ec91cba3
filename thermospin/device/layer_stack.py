"""Solids and contacts from a drawing and a stack of layers, which gives materials and heights.

A stack lists layers in the order of fabrication. A layer lies at a given height, or is draped: at each place it lies on
the highest solid below it, as a film that is evaporated from above. This module depends on no file format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from thermospin.base import polygons
from thermospin.device import drawing_faults
from thermospin.device.films import Body, deposit, lined
from thermospin.device.gds import Drawing, LayerNumbers
from thermospin.device.mark_contacts import contact_of
from thermospin.device.marks import Mark, MarkError, Window
from thermospin.device.parts import Contact, Solid
from thermospin.device.site import Layer, Shape, Site


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
    site = Site(drawing, stack, window, metals, lengths or {})
    faults = drawing_faults.strays(site, marks, ignored)
    if broken := drawing_faults.broken(site, marks, ignored):
        return [], [], faults + broken
    bodies: list[Body] = []
    for layer in stack:
        if spacing is not None:
            faults += drawing_faults.off_grid(site.drawing.on(layer.layers), layer, spacing)
        shapes = site.shapes(layer)
        below = [*ground, *(solid for body in bodies for solid in body.solids)]
        for name, shape in zip(_names(shapes, layer, site, bodies, marks), shapes, strict=True):
            body, more = deposit(name, shape, layer, below, site)
            bodies.append(body)
            faults += more
    if window is not None and not bodies:
        faults += drawing_faults.outside(site)
    if not faults and any(layer.sidewall_angle for layer in stack):
        bodies = lined(bodies, ground, site)
    solids = [solid for body in bodies for solid in body.solids]
    contacts = []
    for mark in marks:
        try:
            contact, under_pad = contact_of(mark, bodies, site)
        except MarkError as why:
            faults.append(f"contact '{mark.name}': {why}")
        else:
            contacts.append(contact)
            solids += under_pad
    return solids, contacts, faults


def _names(
    shapes: Sequence[Shape], layer: Layer, site: Site, bodies: Sequence[Body], marks: Sequence[Mark]
) -> list[str]:
    """Return a name for each polygon of a layer: that of a label inside it, or of the layer with a number."""
    numbers = {first for first, _ in layer.layers}
    of_contacts = {mark.label for mark in marks}
    labels = [label for label in site.drawing.labels if label.layer[0] in numbers and label.text not in of_contacts]
    taken = {body.name for body in bodies}
    base = layer.name or layer.material
    names = []
    for part, _ in shapes:
        inside = [label.text for label in labels if polygons.contains(part, label.place)]
        number = 1
        while f"{base}{number}" in taken:
            number += 1
        alone = len(shapes) == 1 and base not in taken
        name = next((text for text in inside if text not in taken), base if alone else f"{base}{number}")
        taken.add(name)
        names.append(name)
    return names
