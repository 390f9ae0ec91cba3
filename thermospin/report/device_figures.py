"""Pictures of a device: from above, a zoom, a vertical section, and in space."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch, Polygon, Rectangle
from matplotlib.path import Path
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from thermospin.base.polygons import TOUCH
from thermospin.device.parts import Contact, HeatSink
from thermospin.geometry import outlines
from thermospin.grid import AXES
from thermospin.report.style import (
    COLOURS,
    DASHED,
    INK,
    MAGNETIC,
    NM,
    PathLike,
    Picture,
    frame,
    halo,
    literal,
    number,
    outline,
    save_figure,
    shape_of,
    stretch_of,
    styled,
)
from thermospin.report.views import Extent, Mosaic, Views

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from thermospin.device.device import Device

_SINK = "#0072B2"
#: Colours of contacts that are insulated or exchange heat, of heat sinks that exchange heat, and of interfaces.
_INSULATED, _EXCHANGING, _WEAK_SINK = "#909090", "#882255", "#56B4E9"
_INTERFACES = ("#E6007E", "#00A651", "#7030A0", "#00B0F0", "#C00000", "#807000")
_NORMAL = ("#F0CF65", "#CC7A4B", "#AA4499", "#DDCC77", "#CC6677", "#882255")
_HEAT_ONLY = ("#D5D5D0", "#BDBDB8", "#A6A6A0")
#: Colours where a device has more materials than these.
_MORE = tuple(map(to_hex, colormaps["tab20"](range(20))))
_FLAT = {"z-": "bottom", "z+": "top"}
_HATCH = "////"


def material_colours(device: Device, views: Views) -> dict[str, str]:
    """Return a colour per material: cool ones for ferromagnets, warm ones for normal metals, grey for the rest."""
    kinds = {
        solid.material: MAGNETIC if magnetic else _NORMAL if metal else _HEAT_ONLY
        for solid, magnetic, metal in zip(device.solids, views.magnetic[:-1], views.metal[:-1], strict=True)
    }
    known = {name: COLOURS[name] for name, family in kinds.items() if family is not _HEAT_ONLY and name in COLOURS}
    colours: dict[str, str] = {}
    for name, family in kinds.items():
        taken = {*known.values(), *colours.values()}
        free = [colour for colour in (*family, *_MORE) if colour not in taken]
        colours[name] = known.get(name) or (free or family)[0]
    return colours


def _paint(ax: Axes, device: Device, views: Views, mosaic: Mosaic, colours: Mapping[str, str]) -> None:
    """Draw what is seen in a plane, with borders: thin between solids, thick between materials."""
    inks = [colours[device.solids[solid].material] for solid, _ in mosaic.pieces]
    corners = [corners * NM for _, corners in mosaic.pieces]
    ax.add_collection(PolyCollection(corners, facecolors=inks, edgecolors=inks, linewidths=0.3), autolim=False)
    outline(ax, mosaic.borders(np.arange(len(device.solids))), linewidth=0.35, alpha=0.35)
    outline(ax, mosaic.borders(views.domain), linewidth=0.8)


def label_magnets(ax: Axes, device: Device, mosaic: Mosaic, extent: Extent, skip: Sequence[str] = ()) -> list[str]:
    """Write the name of every magnet seen into its widest part; return the names written."""
    written = []
    for name in device.magnets:
        place = mosaic.roomiest(np.array([solid.magnet == name for solid in device.solids]), extent)
        if place is None or name in skip:
            continue
        u, v, _ = np.array(place) * NM
        ax.text(u, v, literal(name), ha="center", va="center", fontsize=8.5, weight="bold", path_effects=halo())
        written.append(name)
    return written


def _label_bodies(ax: Axes, device: Device, mosaic: Mosaic, extent: Extent) -> None:
    """Write the names of the bodies of a layout into their widest parts: not of magnets and pads, which have theirs."""
    held = {contact.solid for contact in device.contacts if contact.face in _FLAT}
    bodies = dict.fromkeys(solid.body for solid in device.solids if solid.body and solid.magnet is None)
    for name in [body for body in bodies if body not in held]:
        place = mosaic.roomiest(np.array([solid.body == name for solid in device.solids]), extent)
        if place is not None:
            u, v, _ = np.array(place) * NM
            ax.text(u, v, literal(name), ha="center", va="center", fontsize=7.5, path_effects=halo())


def _label_layers(ax: Axes, device: Device, cut: Mosaic, window: Extent) -> None:
    """Write the name of every magnet into its section; of thin ones above one another beside it, with lines to them."""
    # A name is 8.5 points high, the line that it stands in half as much again; both in heights of the axes.
    line = 1.5 * 8.5 / 72 / ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted()).height
    scale = 1 / (window[1][1] - window[1][0])
    seen: dict[str, tuple[float, float, float, float]] = {}
    for name in device.magnets:
        chosen = np.array([solid.magnet == name for solid in device.solids])
        place = cut.roomiest(chosen, window)
        if place is not None:
            ends = np.concatenate([corners[:, 0] for solid, corners in cut.pieces if chosen[solid]])
            seen[name] = float(ends.min()), min(float(ends.max()), window[0][1]), place[1], 2 * place[2] * scale

    def stacked(name: str) -> bool:
        return any(seen[o][0] < seen[name][1] and seen[name][0] < seen[o][1] for o in seen if o != name)

    beside = sorted((v, right, name) for name, (_, right, v, room) in seen.items() if room < line and stacked(name))
    label_magnets(ax, device, cut, window, skip=[name for *_, name in beside])
    top = -math.inf
    for v, right, name in beside:
        top = max((v - window[1][0]) * scale, top + line)
        ax.annotate(
            literal(name), (right * NM, v * NM), (1.05, top), "data", "axes fraction", fontsize=8.5, weight="bold",
            va="center", arrowprops={"arrowstyle": "-", "lw": 0.7, "color": INK, "shrinkA": 1, "shrinkB": 0},
        )  # fmt: skip


def _draw_held_faces(ax: Axes, device: Device) -> None:
    """Draw contacts as thick lines with their names outside, heat sinks on side faces as thick lines."""
    marks = [(contact.solid, contact.face, contact.name, held_line(contact)[0]) for contact in device.contacts]
    marks += [(sink.solid, sink.face, "", held_line(sink)[0]) for sink in device.heat_sinks]
    patches = [*device.contact_faces().values(), *device.heat_sink_faces()]
    for (solid, face, name, colour), patch in zip(marks, patches, strict=True):
        if isinstance(patch, outlines.Patch):
            _draw_patch(ax, patch, name, colour, 1 if face[1] == "+" else -1)
            continue
        (x0, x1), (y0, y1), _ = np.array(device.solid(solid).box) * NM
        axis, side = AXES.index(face[0]), 1 if face[1] == "+" else -1
        if axis == 2:
            if name:
                ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, hatch=_HATCH, edgecolor=colour))
                _tag(ax, name, (x0 + x1) / 2, (y0 + y1) / 2, (0, 0))
            continue
        if axis == 0:
            x0 = x1 = (x0, x1)[side > 0]
        else:
            y0 = y1 = (y0, y1)[side > 0]
        ax.plot([x0, x1], [y0, y1], color=colour, linewidth=3.2, solid_capstyle="butt", zorder=5)
        if name:
            _tag(ax, name, (x0 + x1) / 2, (y0 + y1) / 2, (12 * side, 0) if axis == 0 else (0, 12 * side))


def held_line(item: Contact | HeatSink) -> tuple[str, str]:
    """Return the colour of a contact or a heat sink, and what that says."""
    if isinstance(item, Contact):
        if item.h == math.inf:
            return INK, "contact, held"
        return (_EXCHANGING, "contact, exchanges heat") if item.h else (_INSULATED, "contact, insulated")
    return (_SINK, "heat sink, held") if item.h == math.inf else (_WEAK_SINK, "heat sink, exchanges heat")


def _draw_interfaces(ax: Axes, device: Device, mosaic: Mosaic) -> dict[str, str]:
    """Draw the interfaces that a plane cuts; return the colour of each, by name."""
    drawn = np.zeros((len(device.interfaces), len(device.solids), len(device.solids)), bool)
    for i, j in device.layout().neighbours():
        found = device.interface_between(i, j)
        if found is not None:
            drawn[found[0], [i, j], [j, i]] = True
    colours = {}
    for place, interface in enumerate(device.interfaces):
        segments = mosaic.edges(drawn[place])
        if len(segments):
            colours[interface.name] = _INTERFACES[place % len(_INTERFACES)]
            lines = LineCollection(list(segments * NM), color=colours[interface.name], linewidth=2.4, capstyle="butt")
            ax.add_collection(lines, autolim=False)
    return colours


def _draw_patch(ax: Axes, patch: outlines.Patch, name: str, colour: str, side: int) -> None:
    """Draw the held part of an end face."""
    x, y = np.array(patch.centre) * NM
    if patch.axis == 2:
        if name:
            for _, corners in patch.outlines:
                ax.add_patch(Polygon(corners * NM, fill=False, hatch=_HATCH, edgecolor=colour))
            _tag(ax, name, x, y, (0, 0))
        return
    for at, low, high, *_ in patch.rectangles:
        along, fixed = [low * NM, high * NM], [at * NM, at * NM]
        line = (fixed, along) if patch.axis == 0 else (along, fixed)
        ax.plot(*line, color=colour, linewidth=3.2, solid_capstyle="butt", zorder=5)
    if name:
        _tag(ax, name, x, y, (12 * side, 0) if patch.axis == 0 else (0, 12 * side))


def _tag(ax: Axes, text: str, x: float, y: float, offset: tuple[float, float]) -> None:
    short = len(text) < 3
    # A long name next to a face must grow away from it.
    across = "center" if short or offset[0] == 0 else ("left" if offset[0] > 0 else "right")
    box = {"boxstyle": "circle,pad=0.25" if short else "round,pad=0.25", "fc": "white", "ec": INK, "lw": 0.8}
    ax.annotate(
        literal(text), (x, y), xytext=offset, textcoords="offset points", ha=across, va="center", fontsize=8.5,
        weight="bold", bbox=box, zorder=6,
    )  # fmt: skip


def _spread_tags(ax: Axes) -> None:
    """Move names of contacts that hide each other apart, away from the faces that they name."""
    taken: list[Bbox] = []
    for tag in ax.texts:
        patch = tag.get_bbox_patch()
        if patch is None or not isinstance(tag, Annotation):
            continue
        box = patch.get_window_extent()
        across, along = tag.xyann
        way = 1 if along > 0 else -1
        step = way * 1.1 * box.height
        moved = 0
        while box.count_overlaps(taken):
            box, moved = box.translated(0, step), moved + 1
        tag.xyann = (across, along + moved * step * 72 / ax.figure.dpi)
        taken.append(box)


def _with_room_for_tags(device: Device, extent: Extent) -> Extent:
    """Return an extent grown a little, and more on the sides where contacts have their names."""
    sides = []
    stretch = stretch_of(extent)
    longest = max(extent[0][1] - extent[0][0], stretch * (extent[1][1] - extent[1][0]))
    # Names of contacts above one another are stacked.
    stacks = Counter(
        (contact.face, *np.round(face.centre, 10))
        for contact, face in zip(device.contacts, device.contact_faces().values(), strict=True)
    )
    for axis, scale, (low, high) in zip("xy", (1.0, stretch), extent, strict=True):
        room = dict.fromkeys((f"{axis}-", f"{axis}+"), 0.02 * longest / scale)
        for contact in device.contacts:
            if contact.face in room:
                high_stack = max(count for (face, *_), count in stacks.items() if face == contact.face)
                letters = len(contact.name) if axis == "x" else 1 + 2.5 * (high_stack - 1)
                room[contact.face] = max(room[contact.face], (0.07 + 0.02 * letters) * longest / scale)
        sides.append((low - room[f"{axis}-"], high + room[f"{axis}+"]))
    return sides[0], sides[1]


def _course(segments: np.ndarray) -> Path:
    """Return segments (count, 2, 2) [m] as a path [nm] that goes on where one begins at the end of the one before."""
    follows = np.append(False, (segments[1:, 0] == segments[:-1, 1]).all(axis=1))
    points = [end for (p, q), on in zip(segments * NM, follows, strict=True) for end in ([q] if on else [p, q])]
    codes = [code for on in follows for code in ([Path.LINETO] if on else [Path.MOVETO, Path.LINETO])]
    return Path(np.array(points).reshape(-1, 2), codes)


def _is_covered(segments: np.ndarray, borders: np.ndarray) -> bool:
    """Return whether part of some segments (count, 2, 2) [m] is on none of the borders (count, 2, 2) that are drawn."""
    for p, q in segments:
        length = float(np.linalg.norm(q - p))
        along, off, reach = (q - p) / length, borders - p, 0.0
        on = np.max(np.abs(along[0] * off[..., 1] - along[1] * off[..., 0]), axis=1) < TOUCH
        for low, high in sorted(map(sorted, (off[on] @ along).tolist())):
            reach = max(reach, high) if low < reach + TOUCH else reach
        if reach < length - TOUCH:
            return True
    return False


@styled
def device_picture(device: Device, path: PathLike | None = None) -> Figure:
    """Draw the device from above, a zoom on where magnets and normal metals meet, a vertical section, a view in space.

    Solids have the colour of their material; contacts are marked and named, magnets labelled (dashed outline where
    something covers them), heat sinks marked. The zoom and the section choose themselves.

    Args:
      device: what to draw.
      path: where to write the picture; None: nowhere.
    """
    views = Views(device)
    colours = material_colours(device, views)
    above = views.from_above()
    whole = _with_room_for_tags(device, views.extent)
    extent, axis, position = views.focus()
    along = 1 - axis
    cut = views.cut(axis, position)
    window = views.section_extent(cut, extent[along])

    figure = Picture(figsize=(9.6, 8.2), layout="constrained")
    # The zoom and the section are as high as their scales ask for, so that both come out equally wide.
    heights = [shape_of(extent), shape_of(window)]
    spec = figure.add_gridspec(1, 2, width_ratios=[1.25, 1])
    left = spec[0].subgridspec(2, 1, height_ratios=[shape_of(whole), 0.55])
    right = spec[1].subgridspec(2, 1, height_ratios=heights)
    overview, zoom, section, space = (figure.add_subplot(cell) for cell in (left[0], right[0], right[1], left[1]))
    for ax, shown in ((overview, whole), (zoom, extent)):
        _paint(ax, device, views, above, colours)
        for index, solid in enumerate(device.solids):
            if solid.magnet is not None:
                ax.add_patch(PathPatch(_course(views.left_of(index)), fill=False, ec=INK, lw=0.9, ls=DASHED))
        frame(ax, shown, ("x", "y"))
    labelled = label_magnets(zoom, device, above, extent)
    label_magnets(overview, device, above, whole, skip=labelled)
    _label_bodies(overview, device, above, whole)
    _draw_held_faces(overview, device)
    (x0, x1), (y0, y1) = np.array(extent) * NM
    overview.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="black", linewidth=1.3, zorder=4))
    overview.annotate("b", (x1, y1), (3, 1), textcoords="offset points", weight="bold", path_effects=halo())
    line = zoom.axvline if axis == 0 else zoom.axhline
    line(position * NM, color="black", linewidth=1.0, linestyle=(0, (6, 2, 1, 2)))
    end, offset = ((position * NM, y1), (0, 6)) if axis == 0 else ((x1, position * NM), (7, 0))
    zoom.annotate("c", end, offset, textcoords="offset points", ha="center", va="center", weight="bold")

    _paint(section, device, views, cut, colours)
    frame(section, window, (AXES[along], "z"), f"${AXES[axis]}$ = {number(position * NM)} nm")
    interfaces = _draw_interfaces(section, device, cut)
    _draw_in_space(space, device, views, colours)
    for ax, name in ((overview, "a"), (zoom, "b"), (section, "c"), (space, "d")):
        ax.set_title(name, loc="left", weight="bold", fontsize=11)
    # Seen from above there is no line to mark these with.
    flat: dict[str, list[str]] = {}
    for sink in device.heat_sinks:
        if sink.face in _FLAT:
            how = f"at {number(device.bath)} K" if sink.h == math.inf else "with heat exchange"
            flat.setdefault(how, []).append(f"{_FLAT[sink.face]} of {literal(sink.solid)}")
    if flat:
        words = "; ".join(f"{', '.join(names)} {how}" for how, names in flat.items())
        overview.set_title(words, loc="right", fontsize=8.5)
    borders = above.borders(views.domain)
    is_dashed = any(
        _is_covered(views.left_of(index), borders)
        for index, solid in enumerate(device.solids)
        if solid.magnet is not None
    )
    handles = _device_legend(device, views, colours, is_dashed=is_dashed)
    handles += [
        Line2D([], [], color=colour, linewidth=2.4, label=f"interface {literal(name)}")
        for name, colour in interfaces.items()
    ]
    letters = sum(len(str(handle.get_label())) + 6 for handle in handles)
    columns = math.ceil(len(handles) / math.ceil(letters / 130))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.4)
    figure.draw_without_rendering()  # what says how large axes and names are
    _label_layers(section, device, cut, window)
    _spread_tags(overview)
    return save_figure(figure, path)


def _draw_in_space(ax: Axes, device: Device, views: Views, colours: Mapping[str, str]) -> None:
    """Draw the metals from the side and above."""
    view = views.from_aside()
    shades = {name: np.array(to_rgb(colour)) for name, colour in colours.items()}
    faces = [
        facet.light * shades[device.solids[facet.solid].material] if facet.light else to_rgb(INK)
        for facet in view.facets
    ]
    # A facet has a border of its colour, which hides the seams between its pieces.
    widths = [0.6 if facet.light else 0.4 for facet in view.facets]
    corners = [facet.corners * NM for facet in view.facets]
    ax.add_collection(PolyCollection(corners, facecolors=faces, edgecolors=faces, linewidths=widths))
    ax.set_aspect("equal")
    ax.autoscale_view()
    ax.set_axis_off()
    for step, name in ((view.x, "x"), (view.y, "y")):
        along = 0.09 * step / np.linalg.norm(step)
        end = 0.03 + float(along[0]), 0.08 + 1.6 * float(along[1])
        ax.annotate("", end, (0.03, 0.08), "axes fraction", "axes fraction", arrowprops={"arrowstyle": "->", "lw": 0.8})
        ax.text(*end, f"${name}$", transform=ax.transAxes, ha="left", va="bottom")
    if view.stretch != 1.0:
        ax.set_title(f"$z$ stretched {number(view.stretch, 2)} times", loc="right", fontsize=8.5)


def _device_legend(
    device: Device, views: Views, colours: Mapping[str, str], *, is_dashed: bool
) -> list[Patch | Line2D]:
    metals = {solid.material for solid, metal in zip(device.solids, views.metal[:-1], strict=True) if metal}
    handles: list[Patch | Line2D] = []
    for name, colour in colours.items():
        label = literal(name if name in metals or name == "substrate" else f"{name} (heat only)")
        handles.append(Patch(facecolor=colour, edgecolor=INK, linewidth=0.8, label=label))
    if is_dashed:
        handles.append(Line2D([], [], color=INK, linewidth=0.9, linestyle=DASHED, label="magnet"))
    held = f"at {number(device.bath)} K"
    all_held: list[Contact | HeatSink] = [*device.contacts, *device.heat_sinks]
    on_sides = [item for item in all_held if item.face not in _FLAT]
    for colour, label in dict.fromkeys(map(held_line, on_sides)):
        handles.append(Line2D([], [], color=colour, linewidth=3.2, label=label.replace("held", held)))
    hatched: dict[tuple[str, str], dict[str, None]] = {}
    for contact in device.contacts:
        if contact.face in _FLAT:
            hatched.setdefault(held_line(contact), {})[_FLAT[contact.face]] = None
    for (colour, label), faces in hatched.items():
        text = label.replace("contact", f"contact on {' or '.join(faces)}").replace("held", held)
        handles.append(Patch(fill=False, hatch=_HATCH, edgecolor=colour, label=text))
    return handles
