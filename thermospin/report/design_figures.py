"""Pictures of what dimensions do: sensitivities of signals, and the course of a design or a free form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from matplotlib.ticker import MaxNLocator

from thermospin.geometry.outlines import outline_of
from thermospin.report.style import DASHED, MAGNETIC, NM, UP, PathLike, Picture, literal, save_figure, styled

if TYPE_CHECKING:
    from thermospin.accuracy.sensitivity import Sensitivity
    from thermospin.designs.result import Design
    from thermospin.designs.topology import Form


@styled
def form_picture(form: Form, path: PathLike | None = None) -> Figure:
    """Draw the densities of a free form with the polygons that they became, and the course of the objective.

    Args:
      form: from `designs.topology.free_form`.
      path: where to write the picture; None: nowhere.
    """
    figure = Picture(figsize=(9.0, 3.6), layout="constrained")
    ax, course = figure.subplots(1, 2, width_ratios=[1.5, 1])
    canvas = form.canvas
    x, y = NM * canvas.x, NM * canvas.y
    seen = np.ma.masked_where(canvas.tiles == "", form.density)
    image = ax.pcolormesh(x, y, seen.T, cmap="Greys", vmin=0, vmax=1)
    for solid in form.before.solids:
        if solid.name != canvas.solid.name:
            ax.add_patch(Polygon(NM * outline_of(solid), fill=False, ec=MAGNETIC[0], lw=0.8, ls=DASHED))
    for piece in form.pieces:
        ax.add_patch(Polygon(NM * outline_of(piece), fill=False, ec=UP, lw=1.4))
    ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), aspect="equal", xlabel="$x$ [nm]", ylabel="$y$ [nm]")
    ax.set_title("a", loc="left", weight="bold")
    figure.colorbar(image, ax=ax, shrink=0.8, label="density")
    course.plot(np.arange(1, len(form.history) + 1), form.history, color=UP, marker=".", lw=1)
    course.set(xlabel="evaluation", ylabel=literal(f"{form.objective} [SI]"), yscale="log")
    course.xaxis.set_major_locator(MaxNLocator(integer=True))
    course.set_title("b", loc="left", weight="bold")
    return save_figure(figure, path)


@styled
def sensitivity_picture(sensitivity: Sensitivity, path: PathLike | None = None, *, most: int = 40) -> Figure:
    """Draw d ln(signal) / d ln(parameter) as a table of colours with its numbers, the strongest parameters on top.

    Args:
      sensitivity: from `sensitivity.sensitivity`.
      path: where to write the picture; None: nowhere.
      most: largest number of parameters.
    """
    names, order = list(sensitivity.parameters), sensitivity.order()[:most]
    table = sensitivity.elasticities[:, [names.index(name) for name in order]].T
    figure = Picture(figsize=(2.4 + 0.85 * len(sensitivity.signals), 1.5 + 0.235 * len(order)), layout="constrained")
    ax = figure.subplots()
    # Linear up to 0.1 and logarithmic beyond: 1 is usual, small differences of large numbers are far more sensitive.
    scale = SymLogNorm(linthresh=0.1, linscale=0.5, vmin=-10, vmax=10)
    image = ax.imshow(np.ma.masked_invalid(table), norm=scale, cmap="RdBu_r", aspect="auto")
    rough = sensitivity.rough()
    for column, (signal, zero) in enumerate(zip(sensitivity.signals, sensitivity.vanishes, strict=True)):
        if zero:
            ax.text(column, (len(order) - 1) / 2, "zero", ha="center", va="center", fontsize=7, color="grey")
        if signal in rough:
            ends = (column - 0.5, -0.5), 1, len(order)
            ax.add_patch(Rectangle(*ends, fill=False, hatch="///", edgecolor="grey", linewidth=0, alpha=0.6))
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value) and abs(value) >= 0.005:
            colour = "white" if abs(value) > 3 else "black"
            ax.text(column, row, f"{value:+.2f}", ha="center", va="center", fontsize=7, color=colour)
    ax.set_xticks(
        range(len(sensitivity.signals)),
        [literal(f"{name}\n{signal}") for name, signal in sensitivity.signals],
        fontsize=7.5,
    )
    ax.set_yticks(range(len(order)), list(map(literal, order)), fontsize=7.5)
    for label, name in zip(ax.get_yticklabels(), order, strict=True):
        label.set_fontweight("bold" if name in sensitivity.dimensions else "normal")
    ax.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    ax.set_frame_on(False)
    bar = figure.colorbar(image, ax=ax, shrink=0.5, pad=0.02, ticks=[-10, -1, -0.1, 0, 0.1, 1, 10])
    bar.ax.set_yticklabels(["-10", "-1", "-0.1", "0", "0.1", "1", "10"])
    notes = "\nhatched: hardly known on this grid" if rough else ""
    bar.set_label(f"d ln(signal) / d ln(parameter)\nbold: dimensions{notes}")
    return save_figure(figure, path)


@styled
def design_picture(design: Design, path: PathLike | None = None) -> Figure:
    """Draw the course of a design: the objective, relative to the start, and every dimension within its range.

    Args:
      design: from `designs.search.design`.
      path: where to write the picture; None: nowhere.
    """
    steps = np.arange(1, len(design.steps) + 1)
    values = np.array([step.objective for step in design.steps])
    grids = np.array([step.grid for step in design.steps])
    figure = Picture(figsize=(7.0, 2.6 + 0.24 * len(design.vary)), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2.0, 0.6 + 0.24 * len(design.vary)))
    for grid in np.unique(grids):
        on = grids == grid
        top.plot(steps[on], values[on] / values[0], "o-", markersize=4, linewidth=1.2, label=f"grid {grid}")
    top.set_ylabel("objective / start")
    top.set_title(literal(str(design.objective)))
    top.legend(loc="lower right", ncols=2)
    ranges = [design.before.dimensions[name].range for name in design.vary]
    shares = [
        [(step.lengths[name] - ends[0]) / (ends[1] - ends[0]) if ends else np.nan for step in design.steps]
        for name, ends in zip(design.vary, ranges, strict=True)
    ]
    edges = np.arange(len(steps) + 1) + 0.5
    image = bottom.pcolormesh(edges, np.arange(len(shares) + 1) - 0.5, np.array(shares), cmap="viridis", vmin=0, vmax=1)
    bottom.set_yticks(range(len(shares)), list(map(literal, design.vary)), fontsize=8)
    bottom.invert_yaxis()
    bottom.set_xlabel("device")
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    bar = figure.colorbar(image, ax=bottom, ticks=[0, 1], pad=0.01)
    bar.ax.set_yticklabels(["lowest", "highest"], fontsize=7.5)
    return save_figure(figure, path)
