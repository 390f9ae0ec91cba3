"""New device files: a small example made of boxes, or a file made from a layout, with blanks to fill in."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from thermospin.base import polygons
from thermospin.base.text import toml_string
from thermospin.device import gds, materials
from thermospin.device.marks import Mark, MarkError, Window, is_on, place_of
from thermospin.geometry.edges import edges_of

_BOXES = """\
# A device for thermospin: a ferromagnetic strip that a current heats, a bridge of normal metal, a second strip.
# Adapt it to your device; `thermospin check {file} --picture {picture}` reports faults and draws it.

name = {name}
length_unit = "nm"
bath = "300 K"

# Lengths by name: coordinates below may be sums of them. std: standard deviation; range: values that may be tried.
[dimensions]
gap = {{ value = 100, std = 5, range = [60, 200] }}

# Materials are the shipped cards ({cards}); a table [materials.NAME] changes or adds one.
# `thermospin cards NAME` shows a card. What depends on the bath is a table: {{ "10 K" = "6 nm", "300 K" = "5 nm" }}
# [materials.Py]
# sigma = "4.3e6 S/m"
# P = 0.25
# S = "-20 uV/K"
# S_s = "-3.8 uV/K"
# kappa = "30 W/(m K)"
# lambda_sf = "5 nm"

# Later solids overwrite earlier ones. A solid is a box, or polygon = [[x, y], ...] with z = [low, high].
[[solids]]
name = "substrate"
material = "substrate"
box = {{ x = [-800, 800], y = [-800, 800], z = [-500, 0] }}

[[solids]]
name = "FM1"
material = "Py"
magnet = "FM1"
box = {{ x = [-200, 0], y = [-400, 400], z = [0, 15] }}

[[solids]]
name = "FM2"
material = "Py"
magnet = "FM2"
box = {{ x = ["gap", "gap + 40"], y = [-300, 300], z = [0, 15] }}

[[solids]]
name = "bridge"
material = "Cu"
box = {{ x = [-40, "gap + 40"], y = [-20, 20], z = [15, 75] }}

[[solids]]
name = "filling"
material = "Cu"
box = {{ x = [0, "gap"], y = [-20, 20], z = [0, 15] }}

# A contact is the end face of a metal: at the bath temperature, current goes in or out, a voltage is read.
# thermal = "insulated", or {{ h = "1e8 W/(m^2 K)" }}: it exchanges no heat with the bath, or some.
[[contacts]]
name = "1"
solid = "FM1"
face = "y+"

[[contacts]]
name = "2"
solid = "FM1"
face = "y-"

[[contacts]]
name = "3"
solid = "FM2"
face = "y+"

[[contacts]]
name = "4"
solid = "FM2"
face = "y-"

[[heat_sinks]]
solid = "substrate"
face = "z-"

# Interfaces are transparent unless a table says what they have, wherever the two materials (or solids) touch:
# [[interfaces]]
# name = "Py/Cu"
# between = ["Py", "Cu"]
# RA = "0.3 fohm m^2"                   # or AR_star, or AR_up and AR_down; or card = "Py/Cu", see `thermospin cards`
# gamma = 0.7
# K = "1 GW/(m^2 K)"

[experiments.thermal]
current = ["1", "2"]                    # in, out; or heat = {{ "1" = "1 K" }}, or power = {{ FM1 = "1 mW" }}
voltage = ["3", "2"]                    # plus, minus; or temperature = "FM2"
states = {{ P = {{}}, AP = {{ FM2 = -1 }} }}  # the magnets that each state reverses
"""

#: A label closer to the end of a polygon than this fraction of its length marks a contact; others name polygons.
NEAR_END = 0.15
#: A drawing longer than this [m], and this many times longer than the part where its finest films cross, gets a window.
LARGE, FAR = 20e-6, 10
#: Places where films cross that are up to this many times longer than the shortest one are among the finest.
ALIKE = 5
#: The window reaches at least so far beyond them [m]: some relaxation lengths of normal metals at room temperature.
REACH = 1e-6
#: Times that, tried in this order: a pad at a corner of the window would cross its rim at two sides.
TRIED = (1.0, 0.7, 1.4, 0.5, 2.0)


def blank(name: str) -> str:
    """Return the text of a device file for a small device made of boxes."""
    return _BOXES.format(
        name=toml_string(name),
        file=toml_string(f"{name}.toml"),
        picture=toml_string(f"{name}.png"),
        cards=", ".join(materials.card_names()),
    )


def from_layout(name: str, drawing: gds.Drawing, path: Path, folder: Path, ignored: gds.LayerNumbers = ()) -> str:
    """Return the text of a device file for a layout: its layers with blanks to fill in, its labels as contacts.

    Args:
      name: name of the device.
      drawing: the cell, without the layers that are ignored.
      path: path of the layout.
      folder: folder for the device file.
      ignored: layers that are no film.
    Raises:
      LayoutError: the cell has no polygons.
    """
    if not drawing.shapes:
        raise gds.LayoutError([f"{path}: cell '{drawing.cell}' has no polygons" + " on other layers" * bool(ignored)])
    (x0, x1), (y0, y1) = drawing.extent
    window, why = window_of(drawing)
    (x0, x1), (y0, y1) = window.x, window.y
    margin = round(max(x1 - x0, y1 - y0) / 4, 8)
    try:
        file = path.resolve().relative_to(folder.resolve())
    except ValueError:
        file = path.resolve()
    left_out = ", ".join(f'"{gds.layer_name(layer)}"' for layer in ignored)
    lines = [
        f"# A device for thermospin from the layout {toml_string(path.name)}, cell {toml_string(drawing.cell)}.",
        "# Replace every ?, then run: "
        f"thermospin check {toml_string(f'{name}.toml')} --picture {toml_string(f'{name}.png')}",
        "",
        f"name = {toml_string(name)}",
        'length_unit = "nm"',
        'bath = "300 K"',
        "",
        "[layout]",
        f"file = {toml_string(file.as_posix())}",
        f"cell = {toml_string(drawing.cell)}",
        "# What lies outside the window is cut away; a label there stands for where its metal crosses the rim.",
        *([why] if why else []),
        f"{'' if why else '# '}window = {{ x = [{_nm(x0)}, {_nm(x1)}], y = [{_nm(y0)}, {_nm(y1)}] }}",
        f"{'' if ignored else '# '}ignore = [{left_out}]  # layers that are no film, such as marks",
        "",
        "# Layers in the order in which they are made; later ones overwrite earlier ones. Doses of one film are one",
        '# entry: layer = ["2/0", "2/1"], or "2/*" for all datatypes.',
        "# zmin: height of the lower side; or drape = true for a film from above that lies on what is below it.",
        "# magnet = true: each polygon is a magnet of its own, with the name of a label inside it, or a number.",
        f"# material: a card ({', '.join(materials.card_names())}),",
        "# or the NAME of a table [materials.NAME].",
        "# sidewall_angle: of slanted edges to the vertical in degrees, narrower at the top.",
    ]
    lines += _layers(drawing)
    lines += [
        "",
        "# The substrate under the films: give its thickness, and the face that is at the bath temperature.",
        "[[solids]]",
        'name = "substrate"',
        'material = "substrate"',
        f"box = {{ x = [{_nm(x0 - margin)}, {_nm(x1 + margin)}], y = [{_nm(y0 - margin)}, {_nm(y1 + margin)}], "
        "z = [-1000, 0] }",
        "",
        "[[heat_sinks]]",
        'solid = "substrate"',
        'face = "z-"',
        "",
        "# A contact is the edge of a metal that is nearest to a label, or to at = [x, y] in place of a label. With",
        '# face = "x-", "x+", "y-" or "y+": the nearest on that side; "z+": the top of the polygon at the label.',
        '# On a pad drawn in a layer of its own: name = "V+", layer = "20/0", which holds the top of the metal there.',
    ]
    lines += _contacts(drawing, window)
    return "\n".join(lines) + "\n"


def window_of(drawing: gds.Drawing) -> tuple[Window, str]:
    """Return a window, and a comment that says why it is set; without one it is the whole drawing.

    Of a drawing with pads or leads that are far longer than the part where its finest films cross, it is that part and
    what is around it, so that as many labels as possible stand for a lead that crosses its rim at one place.
    """
    whole = Window(*drawing.extent)
    crossings = _crossings(drawing)
    if not crossings:
        return whole, ""
    shortest = min(float(np.ptp(extent, axis=0).max()) for extent, _ in crossings)
    fine = [(extent, pair) for extent, pair in crossings if float(np.ptp(extent, axis=0).max()) <= ALIKE * shortest]
    low, high = np.min([extent[0] for extent, _ in fine], axis=0), np.max([extent[1] for extent, _ in fine], axis=0)
    size = float((high - low).max())
    if float(np.ptp(drawing.extent, axis=1).max()) < max(LARGE, FAR * size):
        return whole, ""
    tried = []
    for factor in TRIED:
        margin = factor * max(REACH, size / 2)
        (x0, y0), (x1, y1) = np.round(low - margin, 8).tolist(), np.round(high + margin, 8).tolist()
        tried.append(Window((x0, x1), (y0, y1)))
    leads = _leads(drawing, tried[0])
    best = max(tried, key=lambda window: sum(_role(label, leads, window).contact for label in drawing.labels))
    names = ", ".join(map(gds.layer_name, sorted({layer for _, pair in fine for layer in pair})))
    return best, f"# Here the part around the places where films on {names} cross, to be adapted:"


def _crossings(drawing: gds.Drawing) -> list[tuple[np.ndarray, tuple[gds.LayerNumber, gds.LayerNumber]]]:
    """Return the extent (2, 2) of each place where polygons of two layers overlap [m], and these layers."""
    return [
        (np.array([piece.min(axis=0), piece.max(axis=0)]), (one, other))
        for (one, shapes), (other, others) in itertools.combinations(sorted(drawing.shapes.items()), 2)
        for piece in polygons.boolean(shapes, others, "and")
    ]


def _leads(drawing: gds.Drawing, window: Window) -> gds.Drawing:
    """Return the drawing without the polygons that no others join to what is in a window."""
    low, high = np.array([window.x, window.y]).T
    outlines = polygons.boolean([shape for shapes in drawing.shapes.values() for shape in shapes], [], "or")
    groups = polygons.joined(outlines)
    # By extents, which holds more than is needed.
    inside = [bool(np.all(shape.min(axis=0) < high) and np.all(low < shape.max(axis=0))) for shape in outlines]
    reached = set(groups[inside].tolist())
    joined = [shape for shape, group in zip(outlines, groups.tolist(), strict=True) if group in reached]
    if len(joined) == len(outlines):
        return drawing

    def kept(shapes: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [shape for shape in shapes if any(is_on(one, shape[0]) for one in joined)]

    return dataclasses.replace(drawing, shapes={layer: kept(shapes) for layer, shapes in drawing.shapes.items()})


def _layers(drawing: gds.Drawing) -> list[str]:
    """Return a table for each layer of a drawing, with blanks."""
    lines = []
    first: dict[int, str] = {}
    for layer, shapes in sorted(drawing.shapes.items()):
        name = gds.layer_name(layer)
        area = sum(abs(float(polygons.area(shape))) for shape in shapes)
        low, high = np.concatenate(shapes).min(axis=0), np.concatenate(shapes).max(axis=0)
        named = f"{toml_string(drawing.names[layer])}: " if layer in drawing.names else ""
        lines += [
            "",
            f"# {named}{len(shapes)} polygon{'s' * (len(shapes) > 1)}, {1e12 * area:.4g} um^2, between "
            f"{polygons.at(low)} and {polygons.at(high)}",
            "[[layout.layers]]",
            f'layer = "{name}"',
            'material = "?"',
            'thickness = "? nm"',
            "drape = true",
        ]
        if layer[0] in first:
            doses = f'layer = ["{first[layer[0]]}", "{name}"]'
            lines.insert(-5, f"# If it is a dose of the film on {first[layer[0]]}: one entry for both, with {doses}.")
        first.setdefault(layer[0], name)
    return lines


def _contacts(drawing: gds.Drawing, window: Window) -> list[str]:
    """Return a contact for each label that may mark one, and a blank experiment."""
    lines = []
    contacts: list[str] = []
    magnets: list[str] = []
    leads = _leads(drawing, window)
    for label in drawing.labels:
        if label.text in contacts:
            continue
        text, count = toml_string(label.text), sum(other.text == label.text for other in drawing.labels)
        role = _role(label, leads, window)
        if not role.contact:
            lines.append(f"# label {text} at {polygons.at(label.place)}: no contact, {role.text}")
            magnets += [text] if role.names else []
            continue
        contacts.append(label.text)
        if count > 1:
            lines += ["", f"# {count} labels say {text}; set a window around one device, or take its cell with --cell"]
        lines += ["", "[[contacts]]", f"name = {text}", f"label = {text}  # {role.text}"]
    names = [toml_string(name) for name in (*contacts, "?", "?", "?", "?")]
    magnet = magnets[0] if len(magnets) == 1 else toml_string("?")
    lines += [
        "",
        "# [experiments.thermal]",
        f"# current = [{names[0]}, {names[1]}]  # in, out",
        f"# voltage = [{names[2]}, {names[3]}]  # plus, minus",
        f"# states = {{ P = {{}}, AP = {{ {magnet} = -1 }} }}  # the magnets that each state reverses",
    ]
    return lines


class _Role(NamedTuple):
    """What a label does: whether it marks a contact, why or where in words, and whether it names its polygon."""

    contact: bool
    text: str
    names: bool = False


def _role(label: gds.Label, leads: gds.Drawing, window: Window) -> _Role:
    """Return what a label does on the polygons that lead into a window."""
    place = np.array(label.place)
    under = [(layer, shape) for layer, shapes in leads.shapes.items() for shape in shapes if is_on(shape, place)]
    if not under:
        return _Role(False, "it is on no polygon" + " that leads into the window" * (not window.holds(place)))
    if not window.holds(place):
        mark = Mark(label.text, label.text)
        try:
            place_of(mark, dataclasses.replace(leads, labels=[label]), tuple(leads.shapes), window)
        except MarkError as error:
            return _Role(False, f"it {str(error).removeprefix(mark.at_place(place)).strip()}")
        return _Role(True, "outside the window: where its metal crosses the rim")
    ends = []
    for layer, shape in under:
        away, face, size = _end(shape, [other for other in leads.shapes[layer] if other is not shape], place)
        if away <= NEAR_END * size:
            # A polygon on the label's own layer comes first, as in the device.
            ends.append((layer[0] != label.layer[0], away, face, gds.layers_name((layer,))))
    if ends:
        _, _, face, name = min(ends)
        if face:
            return _Role(True, f"{face} of a polygon on {name}")
        return _Role(
            False,
            f"the end of the polygon on {name} there is round or slanted; a straight one holds a contact, or its top: "
            'with face = "z+"',
        )
    if any(label.layer[0] == layer[0] for layer, _ in under):
        return _Role(False, "it names the polygon that it is in", names=True)
    names = ", ".join(dict.fromkeys(gds.layer_name(layer) for layer, _ in under))
    return _Role(True, f'in the middle of a polygon on {names}: its nearest side, or its top with face = "z+"')


def _end(shape: np.ndarray, beside: Sequence[np.ndarray], place: np.ndarray) -> tuple[float, str, float]:
    """Return the distance of a point from the nearest edge of a polygon [m], its face, and the length of the polygon.

    The face is "" where this edge is slanted or round.
    """
    near = [(edge.away(place), edge.face, float(np.ptp(shape[:, edge.axis]))) for edge in edges_of(shape, beside)]
    size = float(np.ptp(shape, axis=0).max())
    near += [(polygons.away(slanted, place), "", size) for slanted in polygons.slanted_edges(shape)]
    return min(near, default=(math.inf, "", size))


def _nm(value: float) -> str:
    return f"{1e9 * value:.9g}"
