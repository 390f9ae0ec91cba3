"""Pictures of layouts, and of what could be read of a device that has faults: from above, with names."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from thermospin.base import polygons
from thermospin.device.parts import Partial, Solid
from thermospin.geometry.edges import Edge
from thermospin.geometry.outlines import body_of, outline_of
from thermospin.report.style import COLOURS, INK, NM, UP, PathLike, Picture, frame, halo, literal, save_figure, styled
from thermospin.report.views import Extent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colours of layers, and of materials without one of their own.
_FREE = (
    "#44AA99", "#AA4499", "#999933", "#882255", "#88CCEE", "#DDCC77", "#BBBBBB", "#332288", "#117733", "#CC6677",
    "#EE7733", "#0077BB", "#661100", "#AADDAA", "#DDAAEE", "#777777",
)  # fmt: skip
Place = tuple[float, float]


@styled
def layout_picture(
    shapes: Mapping[str, Sequence[np.ndarray]],
    labels: Sequence[tuple[str, Place]],
    path: PathLike | None = None,
    window: Extent | None = None,
) -> Figure:
    """Draw a layout from above: polygons in the colour of their layer, and its labels.

    Args:
      shapes: polygons [m] by the name of their layer.
      labels: texts and where they are [m].
      path: where to write the picture; None: nowhere.
      window: a part to draw once more, larger [m].
    """
    return _picture(shapes, {}, (), labels, path, window)


@styled
def partial_picture(partial: Partial, path: PathLike | None = None) -> Figure:
    """Draw what could be read of a device that has faults: bodies with their names, contacts found, other labels.

    Where no film of a layout could be built, it is the layout that is drawn.

    Args:
      partial: what could be read.
      path: where to write the picture; None: nowhere.
    """
    of_layout = [solid for solid in partial.solids if solid.body]
    solids = of_layout or list(partial.solids)
    if partial.shapes and not of_layout:
        return _picture(partial.shapes, {}, (), partial.labels, path, partial.window)
    groups: dict[str, list[np.ndarray]] = {}
    for solid in solids:
        groups.setdefault(solid.material, []).append(outline_of(solid))
    edges = [(c.name, c.edge) for c in partial.contacts if c.edge is not None]
    ends = [(name, np.array(_ends(edge))) for name, edge in edges]
    names = _names(solids)
    shown = {*names, *(name for name, _ in edges)}
    return _picture(groups, names, ends, [label for label in partial.labels if label[0] not in shown], path)


def _ends(edge: Edge) -> list[Place]:
    ends = [(edge.position, along) for along in (edge.low, edge.high)]
    return ends if edge.axis == 0 else [(y, x) for x, y in ends]


def _names(solids: Sequence[Solid]) -> dict[str, Place]:
    """Return the name of each body and a place in its largest piece [m]."""
    largest: dict[str, np.ndarray] = {}
    for solid in solids:
        outline, body = outline_of(solid), body_of(solid)
        if body not in largest or abs(polygons.area(outline)) > abs(polygons.area(largest[body])):
            largest[body] = outline
    return {body: polygons.inner_point(outline) for body, outline in largest.items()}


def _picture(
    groups: Mapping[str, Sequence[np.ndarray]],
    names: Mapping[str, Place],
    ends: Sequence[tuple[str, np.ndarray]],
    labels: Sequence[tuple[str, Place]],
    path: PathLike | None,
    window: Extent | None = None,
) -> Figure:
    """Draw groups of polygons with a legend, names, ends with theirs, and crosses with texts."""
    figure = Picture(figsize=(8.0, 7.0) if window is None else (13.0, 7.0), layout="constrained")
    extents = [_extent([shape for shapes in groups.values() for shape in shapes])]
    extents += [] if window is None else [window]
    free = itertools.cycle(_FREE)
    colours = {name: COLOURS.get(name) or next(free) for name in groups}
    for ax, extent in zip(figure.subplots(1, len(extents), squeeze=False)[0], extents, strict=True):
        for name, shapes in groups.items():
            corners = [shape * NM for shape in shapes]
            ax.add_collection(PolyCollection(corners, facecolor=colours[name], edgecolor=INK, lw=0.5, alpha=0.75))
        for name, (x, y) in names.items():
            ax.text(x * NM, y * NM, literal(name), ha="center", va="center", fontsize=8, path_effects=halo())
        for name, line in ends:
            ax.plot(*line.T * NM, color=INK, linewidth=3.2, solid_capstyle="butt", zorder=5)
            _note(ax, name, line.mean(axis=0), (5, 5), weight="bold")
        for text, place in _within(labels, extent):
            ax.plot([place[0] * NM], [place[1] * NM], marker="x", color=UP, markersize=5, zorder=6)
            _note(ax, text, place, (4, -9), color=UP, fontsize=8)
        frame(ax, extent, ("x", "y"))
    if window is not None:
        (x0, x1), (y0, y1) = np.array(window) * NM
        figure.axes[0].add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=INK, linewidth=1.3))
    handles: list[Patch | Line2D] = [
        Patch(facecolor=colour, edgecolor=INK, linewidth=0.8, alpha=0.75, label=literal(name))
        for name, colour in colours.items()
    ]
    if ends:
        handles.append(Line2D([], [], color=INK, linewidth=3.2, label="contact"))
    if _within(labels, extents[0]):
        handles.append(Line2D([], [], color=UP, marker="x", linestyle="", label="label"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6))
    return save_figure(figure, path)


def _note(ax: Axes, text: str, place: Sequence[float] | np.ndarray, offset: tuple[int, int], **style: Any) -> None:
    where = float(place[0]) * NM, float(place[1]) * NM
    ax.annotate(
        literal(text), where, offset, textcoords="offset points", path_effects=halo(), annotation_clip=True, **style
    )


def _within(labels: Sequence[tuple[str, Place]], extent: Extent) -> list[tuple[str, Place]]:
    (x0, x1), (y0, y1) = extent
    return [(text, place) for text, place in labels if x0 <= place[0] <= x1 and y0 <= place[1] <= y1]


def _extent(shapes: Sequence[np.ndarray]) -> Extent:
    """Return the extent of polygons with a margin."""
    points = np.concatenate(shapes)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.06 * float((high - low).max())
    (x0, y0), (x1, y1) = (low - margin).tolist(), (high + margin).tolist()
    return (x0, x1), (y0, y1)
