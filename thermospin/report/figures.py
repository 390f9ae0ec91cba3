"""Pictures: the device, maps of fields, and signals and fits against measurement.

Every function takes plain data and a path, writes the picture there (PNG, or what the ending of the path says) and
returns the matplotlib `Figure`. Arguments are in SI units, axes in the units people read. Knows no solver. Uses
`Figure` objects and never pyplot, so that it needs no display and imports fast.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import matplotlib
import matplotlib.patheffects
import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import CenteredNorm, ListedColormap, Normalize, SymLogNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon, Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from thermospin.base import polygons
from thermospin.base.errors import InputError
from thermospin.base.files import Fields, atomic_file
from thermospin.geometry import outlines as regions
from thermospin.grid import AXES
from thermospin.report.slices import Slice, slice_at
from thermospin.report.views import Extent, Mosaic, Plan

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from thermospin.data.lockin import Sweep
    from thermospin.device.device import Device

#: R2_s of the paper, Slachter et al., Nature Physics 6, 879 (2010), Fig. 4b: -15.6 nV/mA^2 [V/A^2].
PAPER_R2_SPIN = -15.6e-3
#: Largest current of the paper's sweeps, rms [A]. R2 multiplies the square of the peak current, sqrt(2) times this.
PAPER_CURRENT_RMS = 1.5e-3

PathLike = str | os.PathLike[str]
Side = Literal["left", "center", "right"]

_NM = 1e9
_INK = "#222222"
_VOID = "#E9E9EC"
_SINK = "#0072B2"
_UP, _DOWN = "#D55E00", "#0072B2"  # vermilion and blue of Okabe and Ito: told apart by every kind of colour vision
_SHARPNESS = 1600  # samples along the longer side of a map
_COLOURS = {"Py": "#4477AA", "Cu": "#CC7A4B", "Au": "#F0CF65", "Ag": "#C9D3DC", "Al": "#B5C4D8", "Pt": "#8F7FA8"}
_MAGNETIC = ("#4477AA", "#66CCEE", "#332288", "#44AA99", "#117733")
_NORMAL = ("#F0CF65", "#CC7A4B", "#AA4499", "#DDCC77", "#CC6677", "#882255")
_HEAT_ONLY = ("#D5D5D0", "#BDBDB8", "#A6A6A0")
_DASHED = (0, (3, 2))
_FLAT = {"z-": "bottom", "z+": "top"}
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.labelsize": 9.5,
    "axes.titlesize": 9.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "axes.linewidth": 0.8,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "lines.linewidth": 1.6,
    "mathtext.fontset": "dejavusans",
    "savefig.dpi": 150,
}


class Row(Protocol):
    """One measured number: experiment, harmonic n, part ("baseline", "spin", ...), value and std [V/A^n]."""

    @property
    def experiment(self) -> str: ...
    @property
    def harmonic(self) -> int: ...
    @property
    def part(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def std(self) -> float: ...


Plot = TypeVar("Plot", bound=Callable[..., Figure])


def styled(draw: Plot) -> Plot:
    """A drawing function in the style of this program, whatever that of the user is."""

    @functools.wraps(draw)
    def wrapped(*args: Any, **kwargs: Any) -> Figure:
        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return wrapped  # type: ignore[return-value]


def save_figure(figure: Figure, path: PathLike) -> Figure:
    """Writes a figure, whole or not at all, in the format that the ending of the path says; gives it back."""
    kind = Path(path).suffix[1:].lower() or "png"
    known = figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise InputError(f"No pictures of the kind '.{kind}' ({path}); use .png, or one of {', '.join(sorted(known))}.")
    with atomic_file(path) as file:
        # "tight" so that no label is cut where equal scales make the axes other than the layout had planned.
        figure.savefig(file, format=kind, bbox_inches="tight", pad_inches=0.06)
    return figure


# ---- the device ------------------------------------------------------------------------------------------------------


def _material_colours(device: Device, plan: Plan) -> dict[str, str]:
    """A colour per material: cool ones for ferromagnets, warm ones for normal metals, grey for the rest."""
    colours: dict[str, str] = {}
    for solid, magnetic, metal in zip(device.solids, plan.magnetic[:-1], plan.metal[:-1], strict=True):
        if solid.material not in colours:
            family = _MAGNETIC if magnetic else _NORMAL if metal else _HEAT_ONLY
            free = [colour for colour in family if colour not in colours.values()]
            known = _COLOURS.get(solid.material) if metal else None
            colours[solid.material] = known or (free or family)[0]
    return colours


def _paint(ax: Axes, device: Device, plan: Plan, mosaic: Mosaic, colours: Mapping[str, str]) -> None:
    names = list(colours)
    numbers = np.array([names.index(solid.material) for solid in device.solids] + [-1])
    ax.pcolormesh(
        mosaic.u * _NM,
        mosaic.v * _NM,
        np.ma.masked_less(numbers[mosaic.owner], 0).T,
        cmap=ListedColormap([colours[name] for name in names]),
        vmin=-0.5,
        vmax=len(names) - 0.5,
        rasterized=True,
    )
    if mosaic.outlines:
        _paint_outlines(ax, device, plan, mosaic, colours)
        return
    each = np.append(np.arange(len(device.solids)), -1)
    _outline(ax, mosaic.borders(each), linewidth=0.35, alpha=0.35)
    _outline(ax, mosaic.borders(plan.domain), linewidth=0.8)


def _paint_outlines(ax: Axes, device: Device, plan: Plan, mosaic: Mosaic, colours: Mapping[str, str]) -> None:
    """Over the tiles the polygons as they are, and their borders: thin between solids, thick between materials."""
    for solid, outline in mosaic.outlines:
        colour = colours[device.solids[solid].material]
        ax.add_patch(Polygon(outline * _NM, facecolor=colour, edgecolor=colour, linewidth=0.3))
    _outline(ax, _borders([outline for _, outline in mosaic.outlines]), linewidth=0.35, alpha=0.35)
    for domain in sorted(set(plan.domain[:-1].tolist())):
        group = [outline for solid, outline in mosaic.outlines if plan.domain[solid] == domain]
        _outline(ax, _borders(polygons.boolean(group, [], "or") if group else []), linewidth=0.8)


def _borders(outlines: Sequence[np.ndarray]) -> np.ndarray:
    """Edges (count, 2, 2) [m] of polygons, without those along which a hole is cut in from outside."""
    found = []
    for outline in outlines:
        edges = np.stack([outline, np.roll(outline, -1, axis=0)], axis=1)
        keys = [tuple(np.round(edge * 1e12).ravel()) for edge in edges]
        turned = {(key[2], key[3], key[0], key[1]) for key in keys}
        found += [edge for edge, key in zip(edges, keys, strict=True) if key not in turned]
    return np.array(found).reshape(-1, 2, 2)


def _outline(ax: Axes, segments: np.ndarray, **style: Any) -> None:
    lines = LineCollection(list(segments * _NM), color=_INK, capstyle="projecting", **style)
    ax.add_collection(lines, autolim=False)


def _halo() -> list[matplotlib.patheffects.AbstractPathEffect]:
    return [matplotlib.patheffects.withStroke(linewidth=2.5, foreground="white")]


def _label_magnets(ax: Axes, device: Device, mosaic: Mosaic, extent: Extent, skip: Sequence[str] = ()) -> list[str]:
    """Writes the name of every magnet seen into its widest part; returns the names written."""
    written = []
    for name in device.magnets:
        place = mosaic.roomiest(np.array([solid.magnet == name for solid in device.solids]), extent)
        if place is None or name in skip:
            continue
        u, v = np.array(place) * _NM
        ax.text(u, v, name, ha="center", va="center", fontsize=8.5, weight="bold", path_effects=_halo())
        written.append(name)
    return written


def _draw_held_faces(ax: Axes, device: Device) -> None:
    """Contacts as thick lines with their names outside, heat sinks on side faces as thick blue lines."""
    marks = [(contact.solid, contact.face, contact.name, _INK) for contact in device.contacts]
    marks += [(sink.solid, sink.face, "", _SINK) for sink in device.heat_sinks]
    patches = [*device.contact_faces().values(), *device.heat_sink_faces()]
    for (solid, face, name, colour), patch in zip(marks, patches, strict=True):
        if isinstance(patch, regions.Patch):
            _draw_patch(ax, patch, name, colour, 1 if face[1] == "+" else -1)
            continue
        (x0, x1), (y0, y1), _ = np.array(device.solid(solid).box) * _NM
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


def _draw_patch(ax: Axes, patch: regions.Patch, name: str, colour: str, side: int) -> None:
    """The held part of an end face, exactly."""
    x, y = np.array(patch.centre) * _NM
    if patch.axis == 2:
        if name:
            for outline in patch.outlines:
                ax.add_patch(Polygon(outline * _NM, fill=False, hatch="////", edgecolor=colour))
            _tag(ax, name, x, y, (0, 0))
        return
    at = patch.position * _NM
    for low, high, *_ in patch.rectangles:
        along, fixed = [low * _NM, high * _NM], [at, at]
        line = (fixed, along) if patch.axis == 0 else (along, fixed)
        ax.plot(*line, color=colour, linewidth=3.2, solid_capstyle="butt", zorder=5)
    if name:
        _tag(ax, name, x, y, (12 * side, 0) if patch.axis == 0 else (0, 12 * side))


def _tag(ax: Axes, text: str, x: float, y: float, offset: tuple[float, float]) -> None:
    short = len(text) < 3
    # A long name beside a face must grow away from it.
    across = "center" if short or offset[0] == 0 else ("left" if offset[0] > 0 else "right")
    box = {"boxstyle": "circle,pad=0.25" if short else "round,pad=0.25", "fc": "white", "ec": _INK, "lw": 0.8}
    ax.annotate(
        text, (x, y), xytext=offset, textcoords="offset points", ha=across, va="center", fontsize=8.5, weight="bold",
        bbox=box, zorder=6,
    )  # fmt: skip


def _stretch(extent: Extent) -> float:
    """Factor on the vertical scale: 1 where the extent can be shown with equal scales, else to five halves."""
    wide, high = (side[1] - side[0] for side in extent)
    return 1.0 if wide < 5 * high and high < 5 * wide else wide / high * (0.4 if wide > high else 2.5)


def _shape(extent: Extent) -> float:
    """Height of the picture of an extent over its width."""
    wide, high = (side[1] - side[0] for side in extent)
    return _stretch(extent) * high / wide


def _frame(ax: Axes, extent: Extent, labels: tuple[str, str], title: str = "", where: Side = "center") -> None:
    ax.set(xlim=np.array(extent[0]) * _NM, ylim=np.array(extent[1]) * _NM)
    ax.set(xlabel=f"${labels[0]}$ [nm]", ylabel=f"${labels[1]}$ [nm]")
    stretch = _stretch(extent)
    ax.set_aspect(stretch)
    if stretch != 1.0:
        label, factor = (labels[1], stretch) if stretch > 1 else (labels[0], 1 / stretch)
        title += (", " if title else "") + f"${label}$ stretched {_number(factor, 2)} times"
    ax.set_title(title, loc=where)


def _with_room_for_tags(device: Device, extent: Extent) -> Extent:
    """Grown on the sides where contacts have their names."""
    sides = []
    stretch = _stretch(extent)
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
def device_picture(device: Device, path: PathLike) -> Figure:
    """The device from above, a zoom on where ferromagnets and normal metals meet, a vertical section, a view in space.

    Solids have the colour of their material; contacts are marked and named, magnets labelled (dashed outline where
    something covers them), heat sinks marked. The zoom and the section choose themselves.

    Args:
      device: what to draw.
      path: where to write the picture.
    """
    plan = Plan(device)
    colours = _material_colours(device, plan)
    above = plan.from_above()
    whole = _with_room_for_tags(device, plan.extent)
    extent, axis, position = plan.focus()
    along = 1 - axis
    cut = plan.cut(axis, position)
    window = plan.section_extent(cut, extent[along])

    figure = Figure(figsize=(9.6, 8.2), layout="constrained")
    # The zoom and the section are as high as their scales ask for, so that both come out equally wide.
    heights = [_shape(extent), _shape(window)]
    spec = figure.add_gridspec(1, 2, width_ratios=[1.25, 1])
    left = spec[0].subgridspec(2, 1, height_ratios=[_shape(whole), 0.55])
    right = spec[1].subgridspec(2, 1, height_ratios=heights)
    overview, zoom, section, space = (figure.add_subplot(cell) for cell in (left[0], right[0], right[1], left[1]))
    for ax, shown in ((overview, whole), (zoom, extent)):
        _paint(ax, device, plan, above, colours)
        for solid in device.solids:
            if solid.magnet is not None:
                ax.add_patch(Polygon(regions.outline_of(solid) * _NM, fill=False, ec=_INK, lw=0.9, ls=_DASHED))
        _frame(ax, shown, ("x", "y"))
    labelled = _label_magnets(zoom, device, above, extent)
    _label_magnets(overview, device, above, whole, skip=labelled)
    _draw_held_faces(overview, device)
    (x0, x1), (y0, y1) = np.array(extent) * _NM
    overview.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="black", linewidth=1.3, zorder=4))
    overview.annotate("b", (x1, y1), (3, 1), textcoords="offset points", weight="bold", path_effects=_halo())
    line = zoom.axvline if axis == 0 else zoom.axhline
    line(position * _NM, color="black", linewidth=1.0, linestyle=(0, (6, 2, 1, 2)))
    end, offset = ((position * _NM, y1), (0, 6)) if axis == 0 else ((x1, position * _NM), (7, 0))
    zoom.annotate("c", end, offset, textcoords="offset points", ha="center", va="center", weight="bold")

    _paint(section, device, plan, cut, colours)
    _frame(section, window, (AXES[along], "z"), f"${AXES[axis]}$ = {_number(position * _NM)} nm")
    _label_magnets(section, device, cut, window)
    _draw_in_space(space, device, plan, colours)
    for ax, name in ((overview, "a"), (zoom, "b"), (section, "c"), (space, "d")):
        ax.set_title(name, loc="left", weight="bold", fontsize=11)
    # Seen from above there is no line to mark these with.
    flat = [f"{_FLAT[sink.face]} of {sink.solid}" for sink in device.heat_sinks if sink.face in _FLAT]
    if flat:
        overview.set_title(f"{', '.join(flat)} at {_number(device.bath)} K", loc="right", fontsize=8.5)
    handles = _device_legend(device, plan, colours)
    letters = sum(len(str(handle.get_label())) + 6 for handle in handles)
    columns = math.ceil(len(handles) / math.ceil(letters / 130))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.4)
    return save_figure(figure, path)


def _draw_in_space(ax: Axes, device: Device, plan: Plan, colours: Mapping[str, str]) -> None:
    """The metals from the side and above."""
    view = plan.from_aside()
    shades = {name: np.array(to_rgb(colour)) for name, colour in colours.items()}
    faces = [facet.light * shades[device.solids[facet.solid].material] for facet in view.facets]
    # A side has the colour of its border, which hides the seams between its pieces.
    inks = [np.array(to_rgb(_INK)) if facet.top else face for facet, face in zip(view.facets, faces, strict=True)]
    widths = [0.4 if facet.top else 0.6 for facet in view.facets]
    corners = [facet.corners * _NM for facet in view.facets]
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
        ax.set_title(f"$z$ stretched {_number(view.stretch, 2)} times", loc="right", fontsize=8.5)


def _device_legend(device: Device, plan: Plan, colours: Mapping[str, str]) -> list[Patch | Line2D]:
    metals = {solid.material for solid, metal in zip(device.solids, plan.metal[:-1], strict=True) if metal}
    handles: list[Patch | Line2D] = []
    for name, colour in colours.items():
        label = name if name in metals or name == "substrate" else f"{name} (heat only)"
        handles.append(Patch(facecolor=colour, edgecolor=_INK, linewidth=0.8, label=label))
    if device.magnets:
        handles.append(Line2D([], [], color=_INK, linewidth=0.9, linestyle=_DASHED, label="magnet"))
    bath = f"at {_number(device.bath)} K"
    if device.contacts:
        handles.append(Line2D([], [], color=_INK, linewidth=3.2, label=f"contact, {bath}"))
    if any(sink.face not in _FLAT for sink in device.heat_sinks):
        handles.append(Line2D([], [], color=_SINK, linewidth=3.2, label=f"heat sink, {bath}"))
    return handles


def _number(value: float, digits: int = 4) -> str:
    """Up to so many digits with a true minus sign, powers of ten as such."""
    text = f"{value:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = rf"${mantissa} \times 10^{{{int(exponent)}}}$"
    return text if "$" in text else text.replace("-", "\N{MINUS SIGN}")


_PLAIN = FuncFormatter(lambda value, _: _number(value))


# ---- maps ------------------------------------------------------------------------------------------------------------


def _map_figure(extent: Extent, z: float, current: float) -> tuple[Figure, Axes]:
    width = min(5.2, 5.6 / _shape(extent))
    figure = Figure(figsize=(width + 1.7, width * _shape(extent) + 0.9), layout="constrained")
    ax = figure.add_subplot()
    title = f"$I$ = {_number(current * 1e3)} mA,  $z$ = {_number(z * _NM)} nm"
    _frame(ax, extent, ("x", "y"), title, "left")
    ax.set_facecolor(_VOID)
    return figure, ax


def _show(ax: Axes, extent: Extent, image: np.ndarray, cmap: str, norm: Normalize, label: str) -> Any:
    """Draws samples and a colour bar as high as the map; returns the colour bar."""
    sides = [float(edge) * _NM for side in extent for edge in side]
    picture = ax.imshow(
        image.T,
        origin="lower",
        extent=(sides[0], sides[1], sides[2], sides[3]),
        aspect=_stretch(extent),
        cmap=cmap,
        norm=norm,
    )
    figure = ax.get_figure()
    assert figure is not None
    return figure.colorbar(picture, cax=ax.inset_axes((1.03, 0.0, 0.035, 1.0)), label=label)


def _annotate_map(ax: Axes, extent: Extent, z: float, device: Device | None, plan: Plan | None) -> None:
    if device is not None and plan is not None:
        solids = plan.cut(2, z)
        _outline(ax, solids.borders(plan.domain), linewidth=0.9)
        _label_magnets(ax, device, solids, extent)


def _sampled(sliced: Slice, extent: Extent | None, share: float, what: str) -> tuple[Extent, Any, Any, np.ndarray]:
    shown = sliced.interesting(share) if extent is None else sliced.within(extent)
    u, v, image = sliced.samples(shown, _SHARPNESS)
    if not np.isfinite(image).any():
        raise InputError(f"There is no {what} within the extent {extent} m; widen it or leave it out.")
    return shown, u, v, image


@styled
def temperature_map(
    fields: Fields,
    z: float,
    current: float,
    path: PathLike,
    device: Device | None = None,
    *,
    extent: Extent | None = None,
) -> Figure:
    """Temperature rise in the plane z, with lines of equal temperature (the paper's Fig. 5b is at z = 10 nm).

    Args:
      fields: node coordinates [m] and T, the rise over the bath [K] at `current`.
      z: height of the plane [m]; between planes of nodes the values are interpolated.
      current: what the fields belong to [A]; it is printed, nothing is scaled.
      path: where to write the picture.
      device: draws the outlines of its solids and tells the void between two bodies from the bodies.
      extent: ((x0, x1), (y0, y1)) [m]; without it, where T exceeds a tenth of its greatest value in the plane.
    """
    plan = None if device is None else Plan(device)
    solids = (None, None) if plan is None else (plan.cut(2, z), plan.domain >= 0)
    sliced = slice_at("temperature", fields.T, fields, z, *solids)
    shown, u, v, image = _sampled(sliced, extent, 0.1, "temperature")
    low, high = float(np.nanmin(image)), float(np.nanmax(image))
    if 0 <= low < 0.2 * high:
        low = 0.0
    figure, ax = _map_figure(shown, z, current)
    _show(ax, shown, image, "inferno", Normalize(low, high if high > low else low + 1.0), "temperature rise $T$ [K]")
    if high > low:
        levels = MaxNLocator(9).tick_values(low, high)[1:-1]
        ax.contour(u * _NM, v * _NM, image.T, levels=levels, colors="white", linewidths=0.5, alpha=0.6)
    _annotate_map(ax, shown, z, device, plan)
    return save_figure(figure, path)


@styled
def spin_map(
    fields: Fields,
    z: float,
    current: float,
    path: PathLike,
    device: Device | None = None,
    *,
    extent: Extent | None = None,
    scale: str = "auto",
) -> Figure:
    """Spin accumulation V_s = V_up - V_down in the plane z (the paper's Fig. 5d is the electrical drive).

    Args:
      fields: node coordinates [m], V_up and V_down [V] at `current`.
      z: height of the plane [m].
      current: what the fields belong to [A]; it is printed, nothing is scaled.
      path: where to write the picture.
      device: draws the outlines of its solids and tells the void between two bodies from the bodies.
      extent: ((x0, x1), (y0, y1)) [m]; without it, where |V_s| exceeds a fiftieth of its greatest value.
      scale: "linear", "symlog", or "auto": symlog where half of the picture is under a fiftieth of the greatest value.
    """
    if scale not in ("auto", "linear", "symlog"):
        raise InputError(f"scale is '{scale}'; expected 'auto', 'linear' or 'symlog'.")
    plan = None if device is None else Plan(device)
    solids = (None, None) if plan is None else (plan.cut(2, z), plan.metal)
    sliced = slice_at("spin accumulation", fields.V_up - fields.V_down, fields, z, *solids)
    shown, _, _, image = _sampled(sliced, extent, 0.02, "spin accumulation")
    size = np.abs(image[np.isfinite(image)])
    largest = float(size.max())
    factor, unit = next(
        ((f, u) for f, u in ((1e6, "µV"), (1e9, "nV"), (1e12, "pV")) if largest * f >= 0.1), (1e6, "µV")
    )
    top = largest * factor or 1.0
    figure, ax = _map_figure(shown, z, current)
    label = rf"spin accumulation $V_\uparrow - V_\downarrow$ [{unit}]"
    if scale == "symlog" or (scale == "auto" and np.median(size) < largest / 50):
        threshold = 10.0 ** math.floor(math.log10(top) - 2.2)
        norm: Normalize = SymLogNorm(threshold, linscale=0.6, vmin=-top, vmax=top, base=10)
        bar = _show(ax, shown, image * factor, "RdBu_r", norm, label)
        bar.ax.yaxis.set_major_formatter(_PLAIN)
    else:
        _show(ax, shown, image * factor, "RdBu_r", CenteredNorm(0.0, top), label)
    _annotate_map(ax, shown, z, device, plan)
    return save_figure(figure, path)


# ---- curves ----------------------------------------------------------------------------------------------------------


@styled
def r2s_current(
    R2_spin: float | Mapping[str, float],
    path: PathLike,
    measured: float | None = None,
    *,
    measured_std: float = 0.0,
    current_rms: float = PAPER_CURRENT_RMS,
) -> Figure:
    """Spin part of the second harmonic, R2_s I^2 against I^2 (the paper's Fig. 4b).

    R2 multiplies the square of the instantaneous current, so a sweep up to I_rms reaches I^2 = 2 I_rms^2: 4.5 mA^2 at
    1.5 mA rms, where the paper's -15.6 nV/mA^2 gives its 70 nV.

    Args:
      R2_spin: R2 in P minus R2 in AP [V/A^2], or several by the name their lines get.
      path: where to write the picture.
      measured: measured value [V/A^2]; without it, the paper's.
      measured_std: its standard deviation [V/A^2], drawn as a band.
      current_rms: end of the sweep, rms [A].
    """
    models = dict(R2_spin) if isinstance(R2_spin, Mapping) else {"model": float(R2_spin)}
    source = "measured (Slachter 2010)" if measured is None else "measured"
    target = PAPER_R2_SPIN if measured is None else float(measured)
    square = np.linspace(0.0, 2 * current_rms**2, 200)
    figure = Figure(figsize=(5.0, 4.0), layout="constrained")
    ax = figure.add_subplot()
    if measured_std > 0:
        low, high = ((target + sign * measured_std) * square * 1e9 for sign in (-1, 1))
        ax.fill_between(square * 1e6, low, high, color=_INK, alpha=0.15, linewidth=0)
    name = f"{source}, {_number(target * 1e3)} nV/mA²"
    ax.plot(square * 1e6, target * square * 1e9, color=_INK, linestyle=(0, (4, 2)), linewidth=1.4, label=name, zorder=3)
    for (name, value), colour in zip(models.items(), _cycle(len(models)), strict=True):
        ax.plot(square * 1e6, value * square * 1e9, color=colour, label=f"{name}, {_number(value * 1e3)} nV/mA²")
    ax.axhline(0, color=_INK, linewidth=0.6)
    ax.set(
        xlim=(0, 2 * current_rms**2 * 1e6),
        xlabel="$I^2$ [mA²]  (peak current)",
        ylabel="$R_{2s}\\,I^2$ [nV]",
    )
    top = ax.secondary_xaxis(
        "top", functions=(lambda s: np.sqrt(np.maximum(s, 0) / 2), lambda r: 2 * np.square(np.maximum(r, 0)))
    )
    top.set_xlabel("current [mA rms]")
    top.set_xticks(np.round(np.array([0, 1 / 3, 2 / 3, 1]) * current_rms * 1e3, 3))
    ax.legend(loc="best")
    return save_figure(figure, path)


@styled
def sweeps_picture(sweeps: Sequence[Sweep], path: PathLike) -> Figure:
    """Every field sweep with its two levels, less the parallel one and the drift; a panel for each current.

    Args:
      sweeps: from `lockin.reduce`; one without levels is drawn grey, less its median.
      path: where to write the picture.
    """
    rows = list(dict.fromkeys((each.trace.experiment, n) for each in sweeps for n in sorted(each.trace.voltages)))
    currents = sorted({round(each.trace.current, 9) for each in sweeps})
    size = (1.2 + 2.3 * len(currents), 0.9 + 1.75 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(rows), len(currents), sharex=True, squeeze=False)
    for (experiment, n), line in zip(rows, axes, strict=True):
        for current, ax in zip(currents, line, strict=True):
            own = [each for each in sweeps if each.trace.experiment == experiment and n in each.trace.voltages]
            for each in (each for each in own if round(each.trace.current, 9) == current):
                _draw_sweep(ax, each, n)
            ax.xaxis.set_major_locator(MaxNLocator(4))
            ax.yaxis.set_major_locator(MaxNLocator(4))
        line[0].set_ylabel(f"{experiment}\n$V_{{{n}f}} - V_P$ [nV]")
    for current, top, bottom in zip(currents, axes[0], axes[-1], strict=True):
        top.set_title(f"{_number(current * 1e3)} mA rms")
        bottom.set_xlabel("field [mT]")
    handles = [Line2D([], [], color=colour, label=f"field {way}") for colour, way in ((_UP, "up"), (_DOWN, "down"))]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return save_figure(figure, path)


def _draw_sweep(ax: Axes, sweep: Sweep, n: int) -> None:
    field, values = 1e3 * sweep.trace.field[sweep.part], 1e9 * sweep.trace.voltages[n][sweep.part]
    colour = _UP if sweep.rising else _DOWN
    level = sweep.levels.get(n)
    if level is None or sweep.switch is None:
        ax.plot(field, values - np.median(values), ".", markersize=2.5, color="#999999")
        return
    base = 1e9 * (level.P + level.drift * np.linspace(-0.5, 0.5, len(field)))
    shown = (
        np.abs(values - base) <= 3 * abs(1e9 * (level.AP - level.P)) + 8e9 * level.noise
    )  # spikes would hide the rest
    ax.plot(field[shown], (values - base)[shown], ".", markersize=3.5, color=colour, alpha=0.5, markeredgewidth=0)
    step = np.zeros(len(field))
    step[sweep.switch.first : sweep.switch.end] = 1e9 * (level.AP - level.P)
    ax.plot(field, step, color=colour, linewidth=1.2, linestyle="--" if sweep.borrowed else "-", drawstyle="steps-mid")


def _cycle(count: int) -> list[str]:
    colours = [_UP, _DOWN, "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
    return [colours[i % len(colours)] for i in range(count)]


@styled
def interface_profile(
    x: np.ndarray,
    V_up: np.ndarray,
    V_down: np.ndarray,
    x_exact: np.ndarray,
    V_up_exact: np.ndarray,
    V_down_exact: np.ndarray,
    path: PathLike,
    *,
    slopes: tuple[float, float] = (0.0, 0.0),
    sides: tuple[str, str] = ("F", "N"),
) -> Figure:
    """Spin-up and spin-down potentials across an interface at x = 0, computed against closed form (the paper's Fig. 2).

    Args:
      x: where the computed values are [m]; V_up, V_down: computed [V].
      x_exact: where the closed form was evaluated [m]; V_up_exact, V_down_exact: its values [V]. The error is taken by
        linear interpolation, so put every x into x_exact to see it to the last digit.
      path: where to write the picture.
      slopes: dV/dx left and right of the interface [V/m] that is subtracted from all potentials for the eye: the plain
        Seebeck field -S grad T hides a spin splitting that is a thousand times smaller.
      sides: names of the materials left and right.
    """
    points = _profile("computed", x, V_up, V_down)
    exact = _profile("closed form", x_exact, V_up_exact, V_down_exact)
    both = []
    for where, up, down in (points, exact):
        tilt = np.where(where < 0, slopes[0], slopes[1]) * where
        both.append((where * _NM, (up - tilt) * 1e6, (down - tilt) * 1e6))
    (px, pu, pd), (ex, eu, ed) = both
    figure = Figure(figsize=(6.2, 7.0), layout="constrained")
    spec = figure.add_gridspec(3, 1, height_ratios=[1.5, 1.1, 0.8])
    first = figure.add_subplot(spec[0])
    axes = [first, *(figure.add_subplot(spec[k], sharex=first) for k in (1, 2))]
    dots: dict[str, Any] = {
        "linestyle": "none",
        "marker": "o",
        "markersize": 4,
        "markerfacecolor": "white",
        "zorder": 3,
    }
    for name, colour, e, p in (("\\uparrow", _UP, eu, pu), ("\\downarrow", _DOWN, ed, pd)):
        axes[0].plot(ex, e, color=colour, label=f"$V_{name}$, closed form")
        axes[0].plot(px, p, color=colour, label=f"$V_{name}$, computed", **dots)
    tilted = any(slope != 0 for slope in slopes)
    axes[0].set_ylabel("$V - V_\\mathrm{Seebeck}$ [µV]" if tilted else "$V$ [µV]")
    axes[0].legend(ncols=2, loc="best")
    axes[1].plot(ex, eu - ed, color=_INK, label="closed form")
    axes[1].plot(px, pu - pd, color=_INK, label="computed", **dots)
    axes[1].set_ylabel("$V_s = V_\\uparrow - V_\\downarrow$ [µV]")
    axes[1].legend(loc="best")
    error = (pu - pd) - np.interp(px, ex, eu - ed)
    largest = float(np.max(np.abs(error)))
    factor, unit = (1e3, "nV") if largest >= 1e-4 or largest == 0 else (1e6, "pV") if largest >= 1e-7 else (1e9, "fV")
    axes[2].vlines(px, 0, error * factor, color=_INK, linewidth=0.6)
    axes[2].plot(px, error * factor, color=_INK, linestyle="none", marker="o", markersize=3)
    axes[2].axhline(0, color=_INK, linewidth=0.6)
    share = largest / float(np.max(np.abs(eu - ed))) if np.any(eu != ed) else math.nan
    axes[2].set_ylabel(f"error of $V_s$ [{unit}]")
    if math.isfinite(share):
        axes[2].set_title(f"largest error: {_number(share, 2)} of the largest $V_s$", loc="right", fontsize=8.5)
    axes[2].set_xlabel("$x$ [nm]")
    low, high = float(min(ex[0], px.min())), float(max(ex[-1], px.max()))
    for ax in axes:
        ax.axvline(0, color=_INK, linewidth=0.6)
        ax.axvspan(low, min(0, high), color=_MAGNETIC[0], alpha=0.08, linewidth=0)
        ax.axvspan(max(0, low), high, color=_COLOURS["Cu"], alpha=0.08, linewidth=0)
        ax.set_xlim(low, high)
        if ax is not axes[2]:
            ax.tick_params(labelbottom=False)
    above: dict[str, Any] = {
        "xycoords": ("data", "axes fraction"),
        "textcoords": "offset points",
        "va": "bottom",
        "weight": "bold",
    }
    for name, at, ha in ((sides[0], -5, "right"), (sides[1], 5, "left")):
        axes[0].annotate(name, (0, 1), (at, 3), ha=ha, **above)
    return save_figure(figure, path)


def _profile(name: str, *columns: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, up, down = (np.asarray(column, dtype=float) for column in columns)
    if not (x.ndim == 1 and len(x) >= 2 and x.shape == up.shape == down.shape):
        shapes = f"{x.shape}, {up.shape}, {down.shape}"
        raise InputError(
            f"The {name} profile has shapes {shapes} for x, V_up, V_down; expected one length of two or more."
        )
    order = np.argsort(x, kind="stable")
    return x[order], up[order], down[order]


_PREFIXES = ((1.0, ""), (1e3, "m"), (1e6, "µ"), (1e9, "n"), (1e12, "p"))


def _reading(value: float, std: float, harmonic: int) -> str:
    """A signal as people write it: per mA to the power of the harmonic beyond the first, which is a resistance."""
    value, std = (number * (1.0 if harmonic == 1 else 1e-3**harmonic) for number in (value, std))
    size = max(abs(value), abs(std))
    factor, prefix = next(((f, p) for f, p in _PREFIXES if size * f >= 1), _PREFIXES[-1])
    unit = f"{prefix}Ω" if harmonic == 1 else f"{prefix}V/mA" + {2: "²", 3: "³", 4: "⁴"}.get(harmonic, f"^{harmonic}")
    return f"{_number(value * factor)} ± {std * factor:.2g} {unit}"


@styled
def fit_picture(rows: Sequence[Row], before: Sequence[float], after: Sequence[float], path: PathLike) -> Figure:
    """Measured values with their standard deviations against the model before and after a fit, and the pulls.

    Pulls are (model - measured)/std. A row whose `polarity_known` is false is compared
    by magnitude.

    Args:
      rows: measured signals; values and standard deviations in V/A^harmonic.
      before, after: what the model gives for each row at the start and at the end of the fit, same units and order.
      path: where to write the picture.
    """
    count = len(rows)
    if count == 0:
        raise InputError("There are no rows to draw: the fit had no data.")
    if not len(before) == len(after) == count:
        raise InputError(f"There are {count} rows, but {len(before)} values before and {len(after)} after the fit.")
    value, std = (np.array([getattr(row, key) for row in rows], dtype=float) for key in ("value", "std"))
    unsigned = np.array([not getattr(row, "polarity_known", True) for row in rows])
    start, end = (np.asarray(numbers, dtype=float) for numbers in (before, after))
    value, start, end = (np.where(unsigned, np.abs(numbers), numbers) for numbers in (value, start, end))
    scale = np.where(value == 0, std, value)

    figure = Figure(figsize=(8.6, 1.75 + 0.42 * count), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1, 1])
    place = np.arange(count)
    before_style: dict[str, Any] = {
        "linestyle": "none",
        "marker": "s",
        "color": _DOWN,
        "markerfacecolor": "white",
        "markersize": 6,
    }
    after_style: dict[str, Any] = {"linestyle": "none", "marker": "o", "color": _UP, "markersize": 5.5, "zorder": 3}
    left.errorbar(
        value / scale,
        place,
        xerr=std / np.abs(scale),
        color=_INK,
        fmt="|",
        markersize=11,
        capsize=3.5,
        label="measured",
    )
    left.plot(start / scale, place, label="model before", **before_style)
    left.plot(end / scale, place, label="model after", **after_style)
    left.set(xlabel="value / measured value [1]", ylim=(count - 0.5, -0.5))
    names = [_row_name(row, polarity_unknown=bool(flag)) for row, flag in zip(rows, unsigned, strict=True)]
    readings = [_reading(v, s, _harmonic(row)) for v, s, row in zip(value, std, rows, strict=True)]
    left.set_yticks(place, [f"{name}\n{reading}" for name, reading in zip(names, readings, strict=True)])
    for pull, style in (((start - value) / std, before_style), ((end - value) / std, after_style)):
        right.plot(pull, place, **style)
    pulls = np.abs(np.concatenate([(start - value) / std, (end - value) / std]))
    widest = float(np.max(pulls[np.isfinite(pulls)], initial=3.0))
    right.axvspan(-2, 2, color=_INK, alpha=0.07, linewidth=0)
    right.axvspan(-1, 1, color=_INK, alpha=0.09, linewidth=0)
    right.axvline(0, color=_INK, linewidth=0.6)
    if widest > 12:
        right.set_xscale("symlog", linthresh=3, linscale=1.2)
        right.set_xlim(-2 * widest, 2 * widest)
        decades = math.ceil(math.log10(2 * widest))
        ticks = [10.0**k for k in (range(decades) if decades < 4 else range(1, decades, 2))][-4:]
        right.set_xticks([-tick for tick in reversed(ticks)] + [0.0, *ticks])
        right.xaxis.set_major_formatter(_PLAIN)
    else:
        right.set_xlim(-1.15 * widest, 1.15 * widest)
    right.set_xlabel("pull, (model \N{MINUS SIGN} measured)/std [1]")
    for ax in (left, right):
        ax.grid(axis="y", color=_INK, alpha=0.12, linewidth=0.6)
        ax.tick_params(axis="y", length=0)
    ratios = np.concatenate([start / scale, end / scale, 1 - std / np.abs(scale), 1 + std / np.abs(scale)])
    ratios = ratios[np.isfinite(ratios)]
    if np.max(np.abs(ratios), initial=1.0) > 5:
        # Logarithmic where all have the sign of the measurement, else linear about zero.
        if ratios.min() > 0:
            left.set_xscale("log")
            left.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            left.xaxis.set_minor_formatter(NullFormatter())
        else:
            left.set_xscale("symlog", linthresh=2, linscale=1.2)
        left.xaxis.set_major_formatter(_PLAIN)
        left.relim()
        left.autoscale(axis="x")
    left.axvline(1, color=_INK, linewidth=0.6)
    chi2 = [float(np.sum(((model - value) / std) ** 2)) for model in (start, end)]
    right.set_title(f"$\\chi^2$: {_number(chi2[0], 3)} before, {_number(chi2[1], 3)} after", loc="right", fontsize=9)
    handles, texts = left.get_legend_handles_labels()
    figure.legend([handles[-1], *handles[:-1]], [texts[-1], *texts[:-1]], loc="outside upper left", ncols=3)
    return save_figure(figure, path)


def _harmonic(row: Row) -> int:
    return int(str(row.harmonic).lstrip("R"))


def _row_name(row: Row, polarity_unknown: bool) -> str:
    name = f"R{_harmonic(row)} {row.part}"
    return f"{row.experiment}, {'|' + name + '|' if polarity_unknown else name}"
