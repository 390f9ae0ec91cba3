"""Pictures of a device: from above, a zoom, a vertical section, and in space."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon, Rectangle

from thermospin.base import polygons
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
_FLAT = {"z-": "bottom", "z+": "top"}


def material_colours(device: Device, views: Views) -> dict[str, str]:
    """Return a colour per material: cool ones for ferromagnets, warm ones for normal metals, grey for the rest."""
    colours: dict[str, str] = {}
    for solid, magnetic, metal in zip(device.solids, views.magnetic[:-1], views.metal[:-1], strict=True):
        if solid.material not in colours:
            family = MAGNETIC if magnetic else _NORMAL if metal else _HEAT_ONLY
            free = [colour for colour in family if colour not in colours.values()]
            known = COLOURS.get(solid.material) if metal else None
            colours[solid.material] = known or (free or family)[0]
    return colours


def _paint(ax: Axes, device: Device, views: Views, mosaic: Mosaic, colours: Mapping[str, str]) -> None:
    names = list(colours)
    numbers = np.array([names.index(solid.material) for solid in device.solids] + [-1])
    ax.pcolormesh(
        mosaic.u * NM,
        mosaic.v * NM,
        np.ma.masked_less(numbers[mosaic.owner], 0).T,
        cmap=ListedColormap([colours[name] for name in names]),
        vmin=-0.5,
        vmax=len(names) - 0.5,
        rasterized=True,
    )
    if mosaic.outlines:
        _paint_outlines(ax, device, views, mosaic, colours)
        return
    solids = np.append(np.arange(len(device.solids)), -1)
    outline(ax, mosaic.borders(solids), linewidth=0.35, alpha=0.35)
    outline(ax, mosaic.borders(views.domain), linewidth=0.8)


def _paint_outlines(ax: Axes, device: Device, views: Views, mosaic: Mosaic, colours: Mapping[str, str]) -> None:
    """Draw over the tiles the exact polygons, and their borders: thin between solids, thick between materials."""
    for solid, corners in mosaic.outlines:
        colour = colours[device.solids[solid].material]
        ax.add_patch(Polygon(corners * NM, facecolor=colour, edgecolor=colour, linewidth=0.3))
    outline(ax, polygons.borders([corners for _, corners in mosaic.outlines]), linewidth=0.35, alpha=0.35)
    for domain in sorted(set(views.domain[:-1].tolist())):
        group = [corners for solid, corners in mosaic.outlines if views.domain[solid] == domain]
        outline(ax, polygons.borders(polygons.boolean(group, [], "or") if group else []), linewidth=0.8)


def label_magnets(ax: Axes, device: Device, mosaic: Mosaic, extent: Extent, skip: Sequence[str] = ()) -> list[str]:
    """Write the name of every magnet seen into its widest part; return the names written."""
    written = []
    for name in device.magnets:
        place = mosaic.roomiest(np.array([solid.magnet == name for solid in device.solids]), extent)
        if place is None or name in skip:
            continue
        u, v = np.array(place) * NM
        ax.text(u, v, name, ha="center", va="center", fontsize=8.5, weight="bold", path_effects=halo())
        written.append(name)
    return written


def _label_bodies(ax: Axes, device: Device, mosaic: Mosaic, extent: Extent) -> None:
    """Write the names of the bodies of a layout into their widest parts: not of magnets and pads, which have theirs."""
    held = {contact.solid for contact in device.contacts if contact.face in _FLAT}
    bodies = dict.fromkeys(solid.body for solid in device.solids if solid.body and solid.magnet is None)
    for name in [body for body in bodies if body not in held]:
        place = mosaic.roomiest(np.array([solid.body == name for solid in device.solids]), extent)
        if place is not None:
            u, v = np.array(place) * NM
            ax.text(u, v, name, ha="center", va="center", fontsize=7.5, path_effects=halo())


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
                ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, hatch="////", edgecolor=colour))
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
    drawn = np.zeros((len(device.interfaces), len(device.solids) + 1, len(device.solids) + 1), bool)
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
                ax.add_patch(Polygon(corners * NM, fill=False, hatch="////", edgecolor=colour))
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
        text, (x, y), xytext=offset, textcoords="offset points", ha=across, va="center", fontsize=8.5, weight="bold",
        bbox=box, zorder=6,
    )  # fmt: skip


def _with_room_for_tags(device: Device, extent: Extent) -> Extent:
    """Return an extent grown on the sides where contacts have their names."""
    sides = []
    stretch = stretch_of(extent)
    longest = max(extent[0][1] - extent[0][0], stretch * (extent[1][1] - extent[1][0]))
    for axis, scale, (low, high) in zip("xy", (1.0, stretch), extent, strict=True):
        room = {f"{axis}-": 0.0, f"{axis}+": 0.0}
        for contact in device.contacts:
            if contact.face in room:
                letters = len(contact.name) if axis == "x" else 1
                room[contact.face] = max(room[contact.face], (0.07 + 0.02 * letters) * longest / scale)
        sides.append((low - room[f"{axis}-"], high + room[f"{axis}+"]))
    return sides[0], sides[1]


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
        for solid in device.solids:
            if solid.magnet is not None:
                ax.add_patch(Polygon(outlines.outline_of(solid) * NM, fill=False, ec=INK, lw=0.9, ls=DASHED))
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
    label_magnets(section, device, cut, window)
    _draw_in_space(space, device, views, colours)
    for ax, name in ((overview, "a"), (zoom, "b"), (section, "c"), (space, "d")):
        ax.set_title(name, loc="left", weight="bold", fontsize=11)
    # Seen from above there is no line to mark these with.
    flat: dict[str, list[str]] = {}
    for sink in device.heat_sinks:
        if sink.face in _FLAT:
            how = f"at {number(device.bath)} K" if sink.h == math.inf else "with heat exchange"
            flat.setdefault(how, []).append(f"{_FLAT[sink.face]} of {sink.solid}")
    if flat:
        words = "; ".join(f"{', '.join(names)} {how}" for how, names in flat.items())
        overview.set_title(words, loc="right", fontsize=8.5)
    handles = _device_legend(device, views, colours)
    handles += [
        Line2D([], [], color=colour, linewidth=2.4, label=f"interface {name}") for name, colour in interfaces.items()
    ]
    letters = sum(len(str(handle.get_label())) + 6 for handle in handles)
    columns = math.ceil(len(handles) / math.ceil(letters / 130))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.4)
    return save_figure(figure, path)


def _draw_in_space(ax: Axes, device: Device, views: Views, colours: Mapping[str, str]) -> None:
    """Draw the metals from the side and above."""
    view = views.from_aside()
    shades = {name: np.array(to_rgb(colour)) for name, colour in colours.items()}
    faces = [facet.light * shades[device.solids[facet.solid].material] for facet in view.facets]
    # A side has the colour of its border, which hides the seams between its pieces.
    inks = [np.array(to_rgb(INK)) if facet.top else face for facet, face in zip(view.facets, faces, strict=True)]
    widths = [0.4 if facet.top else 0.6 for facet in view.facets]
    corners = [facet.corners * NM for facet in view.facets]
    ax.add_collection(PolyCollection(corners, facecolors=faces, edgecolors=inks, linewidths=widths))
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


def _device_legend(device: Device, views: Views, colours: Mapping[str, str]) -> list[Patch | Line2D]:
    metals = {solid.material for solid, metal in zip(device.solids, views.metal[:-1], strict=True) if metal}
    handles: list[Patch | Line2D] = []
    for name, colour in colours.items():
        label = name if name in metals or name == "substrate" else f"{name} (heat only)"
        handles.append(Patch(facecolor=colour, edgecolor=INK, linewidth=0.8, label=label))
    if device.magnets:
        handles.append(Line2D([], [], color=INK, linewidth=0.9, linestyle=DASHED, label="magnet"))
    drawn: list[Contact | HeatSink] = [*device.contacts, *(s for s in device.heat_sinks if s.face not in _FLAT)]
    for colour, label in dict.fromkeys(map(held_line, drawn)):
        text = label.replace("held", f"at {number(device.bath)} K")
        handles.append(Line2D([], [], color=colour, linewidth=3.2, label=text))
    return handles
