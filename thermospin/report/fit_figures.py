"""Pictures of a fit: data and model, correlations, profiles, draws of a posterior, and sources of the variance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from thermospin.base.units import prefixed
from thermospin.quantities import shown
from thermospin.report.style import (
    DOWN,
    INK,
    PLAIN,
    UP,
    PathLike,
    Picture,
    literal,
    number,
    save_figure,
    styled,
    typeset,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from thermospin.inference.budget import Budget
    from thermospin.inference.posterior import Posterior
    from thermospin.inference.profiles import Profile
    from thermospin.inference.result import FitResult

#: Distinct for every kind of colour vision (Okabe and Ito), then greys.
_SOURCES = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#F0E442",
    "#999999",
    "#666666",
    "#333333",
)
#: Sources of less than this share of every variance are drawn together.
_SMALLEST = 0.02
_BEFORE: dict[str, Any] = {
    "linestyle": "none",
    "marker": "s",
    "color": DOWN,
    "markerfacecolor": "white",
    "markersize": 6,
}
_AFTER: dict[str, Any] = {"linestyle": "none", "marker": "o", "color": UP, "markersize": 5.5, "zorder": 3}


def _label(name: str) -> str:
    unit, _ = shown(name)
    return literal(f"{name} [{unit}]" if unit else name)


def _reading(value: float, std: float, unit: str) -> str:
    """Return a signal in an SI unit as text: resistances in ohm, others per mA, K or mW to a power."""
    known, larger = prefixed(unit), max(abs(value), abs(std))
    name, size = next((each for each in known if larger >= each[1]), known[-1])
    return f"{number(value / size)} ± {std / size:.2g} {typeset(name)}"


@styled
def fit_picture(result: FitResult, path: PathLike | None = None) -> Figure:
    """Draw measured values against the model before and after a fit, and the pulls.

    Bars are those that pulls are in units of, of the data and of the grid together; the numbers beside the names are
    the data alone. A row whose `polarity_known` is false is compared by magnitude.

    Args:
      result: of the fit.
      path: where to write the picture; None: nowhere.
    """
    rows, count = result.rows, len(result.rows)
    unsigned = np.array([not row.polarity_known for row in rows])
    value, start, end = (
        np.where(unsigned, np.abs(numbers), numbers)
        for numbers in (np.array([row.value for row in rows]), result.before, result.after)
    )

    figure = Picture(figsize=(8.6, 1.75 + 0.42 * count), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1, 1])
    measured = "measured" if result.grid_stds is None else "measured, with the error of the grid"
    _draw_ratios(left, value, result.stds, start, end, measured)
    left.set(ylim=(count - 0.5, -0.5))
    names = [f"R{row.harmonic} {row.part}" for row in rows]
    names = [f"|{name}|" if flag else name for name, flag in zip(names, unsigned, strict=True)]
    left.set_yticks(
        range(count),
        [
            literal(f"{row.label}, {name}") + f"\n{_reading(v, row.std, row.unit)}"
            for row, name, v in zip(rows, names, value, strict=True)
        ],
    )
    _draw_pulls(right, [result.pulls_before, result.pulls])
    std = "std" if result.grid_stds is None else "$\\sqrt{\\mathrm{std}^2 + \\mathrm{grid}^2}$"
    right.set_xlabel(f"pull, (model \N{MINUS SIGN} measured)/{std} [1]")
    for ax in (left, right):
        ax.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)
        ax.tick_params(axis="y", length=0)
    chi2 = f"{number(result.chi2_before, 3)} before, {number(result.chi2, 3)} after"
    right.set_title(f"$\\chi^2$: {chi2}", loc="right", fontsize=9)
    handles, texts = left.get_legend_handles_labels()
    figure.legend([handles[-1], *handles[:-1]], [texts[-1], *texts[:-1]], loc="outside upper left", ncols=3)
    return save_figure(figure, path)


def _draw_ratios(
    ax: Axes, value: np.ndarray, std: np.ndarray, start: np.ndarray, end: np.ndarray, measured: str
) -> None:
    """Draw measured and modelled values over the measured ones; `measured` is what the legend calls the former."""
    scale, place = np.where(value == 0, std, value), np.arange(len(value))
    ax.errorbar(
        value / scale, place, xerr=std / np.abs(scale), color=INK, fmt="|", markersize=11, capsize=3.5, label=measured
    )
    ax.plot(start / scale, place, label="model before", **_BEFORE)
    ax.plot(end / scale, place, label="model after", **_AFTER)
    ax.set(xlabel="value / measured value [1]")
    ratios = np.concatenate([start / scale, end / scale, 1 - std / np.abs(scale), 1 + std / np.abs(scale)])
    ratios = ratios[np.isfinite(ratios)]
    if np.max(np.abs(ratios), initial=1.0) > 5:
        # Logarithmic where all have the sign of the measurement, else linear about zero.
        if ratios.min() > 0:
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.xaxis.set_minor_formatter(NullFormatter())
        else:
            ax.set_xscale("symlog", linthresh=2, linscale=1.2)
        ax.xaxis.set_major_formatter(PLAIN)
        ax.relim()
        ax.autoscale(axis="x")
    ax.axvline(1, color=INK, linewidth=0.6)


def _draw_pulls(ax: Axes, pulls: Sequence[np.ndarray]) -> None:
    """Draw pulls before and after a fit over bands of one and two standard deviations."""
    for pull, style in zip(pulls, (_BEFORE, _AFTER), strict=True):
        ax.plot(pull, np.arange(len(pull)), **style)
    sizes = np.abs(np.concatenate(pulls))
    widest = float(np.max(sizes[np.isfinite(sizes)], initial=3.0))
    ax.axvspan(-2, 2, color=INK, alpha=0.07, linewidth=0)
    ax.axvspan(-1, 1, color=INK, alpha=0.09, linewidth=0)
    ax.axvline(0, color=INK, linewidth=0.6)
    if widest > 12:
        ax.set_xscale("symlog", linthresh=3, linscale=1.2)
        ax.set_xlim(-2 * widest, 2 * widest)
        decades = math.ceil(math.log10(2 * widest))
        ticks = [10.0**k for k in (range(decades) if decades < 4 else range(1, decades, 2))][-4:]
        ax.set_xticks([-tick for tick in reversed(ticks)] + [0.0, *ticks])
        ax.xaxis.set_major_formatter(PLAIN)
    else:
        ax.set_xlim(-1.15 * widest, 1.15 * widest)


@styled
def correlation_picture(result: FitResult, path: PathLike | None = None) -> Figure:
    """Draw the correlations of the fitted parameters, a dash where one has no variance."""
    matrix, names = result.correlation, list(map(literal, result.names))
    size = 1.6 + 0.62 * len(names)
    figure = Picture(figsize=(size + 1.0, size), layout="constrained")
    ax = figure.add_subplot()
    image = ax.imshow(np.nan_to_num(matrix), vmin=-1, vmax=1, cmap="RdBu_r")
    for i, line in enumerate(matrix):
        for j, value in enumerate(line):
            colour = "white" if abs(value) > 0.6 else INK
            ax.text(j, i, f"{value:+.2f}" if np.isfinite(value) else "-", ha="center", va="center", color=colour)
    ax.set_xticks(range(len(names)), names, rotation=35, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(length=0)
    figure.colorbar(image, ax=ax, shrink=0.8, label="correlation [1]")
    return save_figure(figure, path)


@styled
def profile_picture(result: FitResult, profiles: Sequence[Profile], path: PathLike | None = None) -> Figure:
    """Draw the signed root of the rise of chi2 against every parameter, with the straight line of the linear theory."""
    count = len(profiles)
    columns = min(count, 3)
    lines = -(-count // columns)
    figure = Picture(figsize=(2.9 * columns, 2.5 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    for ax, profile in zip(axes.flat, profiles, strict=False):
        _, size = shown(profile.name)
        fitted = result.parameters[profile.name]
        ends = fitted.value + fitted.std * np.array([-2.4, 2.4])
        ax.plot(ends / size, [-2.4, 2.4], color="#999999", linestyle=(0, (4, 2)), linewidth=1.2, label="covariance")
        ax.plot(profile.values / size, profile.tau, "o-", color=DOWN, markersize=3.5, label="profile")
        for tau, style in ((1.0, "-"), (1.96, ":")):
            for sign in (-1, 1):
                ax.axhline(sign * tau, color=INK, linewidth=0.5, linestyle=style, alpha=0.6)
        ax.set(xlabel=_label(profile.name), ylim=(-3, 3))
        ax.xaxis.set_major_locator(MaxNLocator(4))
    axes[0, 0].set_ylabel("$\\tau$, signed root of $\\Delta\\chi^2$ [1]")
    axes[0, 0].legend(loc="upper left")
    return save_figure(figure, path)


@styled
def posterior_picture(posterior: Posterior, path: PathLike | None = None) -> Figure:
    """Draw histograms of a posterior: every parameter, and every pair of parameters."""
    names, draws = posterior.names, posterior.draws.reshape(-1, len(posterior.names))
    n = len(names)
    figure = Picture(figsize=(1.0 + 1.75 * n, 0.8 + 1.65 * n), layout="constrained")
    axes = figure.subplots(n, n, squeeze=False)
    for i in range(n):
        for j in range(n):
            ax = axes[i, j]
            x = draws[:, j] / shown(names[j])[1]
            if j > i:
                ax.set_axis_off()
                continue
            if i == j:
                ax.hist(x, bins=40, color=DOWN, alpha=0.75, density=True)
                for end in posterior.interval()[:, j] / shown(names[j])[1]:
                    ax.axvline(end, color=INK, linewidth=0.8, linestyle=":")
                ax.set_yticks([])
            else:
                y = draws[:, i] / shown(names[i])[1]
                ax.hexbin(x, y, gridsize=28, cmap="Blues", mincnt=1, linewidths=0)
                ax.yaxis.set_major_locator(MaxNLocator(3))
            ax.xaxis.set_major_locator(MaxNLocator(3))
            if i == n - 1:
                ax.set_xlabel(_label(names[j]))
            else:
                ax.set_xticklabels([])
            if j == 0 and i > 0:
                ax.set_ylabel(_label(names[i]))
            elif j > 0:
                ax.set_yticklabels([])
    return save_figure(figure, path)


@styled
def budget_picture(budget: Budget, path: PathLike | None = None) -> Figure:
    """Draw the shares of the variance by source, a bar for every parameter."""
    shares = budget.shares
    order = [i for i in np.argsort(-np.max(shares, axis=1)) if np.max(shares[i]) >= _SMALLEST][: len(_SOURCES) - 1]
    rest = [i for i in range(len(shares)) if i not in order]
    figure = Picture(figsize=(7.6, 1.5 + 0.42 * len(budget.names) + 0.09 * len(order)), layout="constrained")
    ax = figure.add_subplot()
    place, left = np.arange(len(budget.names)), np.zeros(len(budget.names))
    parts = [(budget.sources[i], shares[i]) for i in order]
    if rest:
        parts.append(("all others", np.sum(shares[rest], axis=0)))
    for (source, share), colour in zip(parts, _SOURCES, strict=False):
        ax.barh(
            place,
            100 * share,
            left=left,
            color=colour,
            height=0.62,
            label=literal(source),
            edgecolor="white",
            linewidth=0.6,
        )
        left = left + 100 * share
    ax.set_yticks(place, list(map(literal, budget.names)))
    ax.set(xlim=(0, 100), xlabel="share of the variance [%]", ylim=(len(budget.names) - 0.4, -0.6))
    ax.tick_params(axis="y", length=0)
    figure.legend(loc="outside lower center", ncols=2)
    return save_figure(figure, path)
