"""Pictures of what a fit found: correlations, profiles, draws of a posterior, and where the variance comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from thermospin.quantities import shown
from thermospin.report.figures import PathLike, save_figure, styled

if TYPE_CHECKING:
    from thermospin.inference.posterior import Posterior
    from thermospin.inference.result import FitResult
    from thermospin.inference.uncertainty import Budget, Profile

_INK, _MAIN, _OTHER = "#222222", "#0072B2", "#D55E00"
#: Told apart by every kind of colour vision (Okabe and Ito), then greys.
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


def _label(name: str) -> str:
    unit, _ = shown(name)
    return f"{name} [{unit}]" if unit else name


@styled
def correlation_picture(result: FitResult, path: PathLike) -> Figure:
    """Correlations of the fitted parameters; empty where one has no variance."""
    matrix, names = result.correlation, result.names
    size = 1.6 + 0.62 * len(names)
    figure = Figure(figsize=(size + 1.0, size), layout="constrained")
    ax = figure.add_subplot()
    image = ax.imshow(np.nan_to_num(matrix), vmin=-1, vmax=1, cmap="RdBu_r")
    for i, line in enumerate(matrix):
        for j, value in enumerate(line):
            colour = "white" if abs(value) > 0.6 else _INK
            ax.text(j, i, f"{value:+.2f}" if np.isfinite(value) else "-", ha="center", va="center", color=colour)
    ax.set_xticks(range(len(names)), names, rotation=35, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(length=0)
    figure.colorbar(image, ax=ax, shrink=0.8, label="correlation [1]")
    return save_figure(figure, path)


@styled
def profile_picture(result: FitResult, profiles: Sequence[Profile], path: PathLike) -> Figure:
    """The signed root of the rise of chi2 against each parameter, beside the straight line of the linear theory."""
    count = len(profiles)
    columns = min(count, 3)
    lines = -(-count // columns)
    figure = Figure(figsize=(2.9 * columns, 2.5 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    for ax, each in zip(axes.flat, profiles, strict=False):
        _, size = shown(each.name)
        own = result.parameters[each.name]
        ends = own.value + own.std * np.array([-2.4, 2.4])
        ax.plot(ends / size, [-2.4, 2.4], color="#999999", linestyle=(0, (4, 2)), linewidth=1.2, label="covariance")
        ax.plot(each.values / size, each.tau, "o-", color=_MAIN, markersize=3.5, label="profile")
        for tau, style in ((1.0, "-"), (1.96, ":")):
            for sign in (-1, 1):
                ax.axhline(sign * tau, color=_INK, linewidth=0.5, linestyle=style, alpha=0.6)
        ax.set(xlabel=_label(each.name), ylim=(-3, 3))
        ax.xaxis.set_major_locator(MaxNLocator(4))
    axes[0, 0].set_ylabel("$\\tau$, signed root of $\\Delta\\chi^2$ [1]")
    axes[0, 0].legend(loc="upper left")
    return save_figure(figure, path)


@styled
def posterior_picture(found: Posterior, path: PathLike) -> Figure:
    """Draws of each parameter, and of each pair."""
    names, draws = found.names, found.draws.reshape(-1, len(found.names))
    n = len(names)
    figure = Figure(figsize=(1.0 + 1.75 * n, 0.8 + 1.65 * n), layout="constrained")
    axes = figure.subplots(n, n, squeeze=False)
    for i in range(n):
        for j in range(n):
            ax = axes[i, j]
            x = draws[:, j] / shown(names[j])[1]
            if j > i:
                ax.set_axis_off()
                continue
            if i == j:
                ax.hist(x, bins=40, color=_MAIN, alpha=0.75, density=True)
                for end in found.interval()[:, j] / shown(names[j])[1]:
                    ax.axvline(end, color=_INK, linewidth=0.8, linestyle=":")
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
def budget_picture(budget: Budget, path: PathLike) -> Figure:
    """Shares of the variance of each parameter by source, one bar for each."""
    shares = budget.shares
    order = [i for i in np.argsort(-np.max(shares, axis=1)) if np.max(shares[i]) >= _SMALLEST][: len(_SOURCES) - 1]
    rest = [i for i in range(len(shares)) if i not in order]
    figure = Figure(figsize=(7.6, 1.5 + 0.42 * len(budget.names) + 0.09 * len(order)), layout="constrained")
    ax = figure.add_subplot()
    place, left = np.arange(len(budget.names)), np.zeros(len(budget.names))
    parts = [(budget.sources[i], shares[i]) for i in order]
    if rest:
        parts.append(("all others", np.sum(shares[rest], axis=0)))
    for (source, share), colour in zip(parts, _SOURCES, strict=False):
        ax.barh(
            place, 100 * share, left=left, color=colour, height=0.62, label=source, edgecolor="white", linewidth=0.6
        )
        left = left + 100 * share
    ax.set_yticks(place, budget.names)
    ax.set(xlim=(0, 100), xlabel="share of the variance [%]", ylim=(len(budget.names) - 0.4, -0.6))
    ax.tick_params(axis="y", length=0)
    figure.legend(loc="outside lower center", ncols=2)
    return save_figure(figure, path)
