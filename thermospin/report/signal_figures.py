"""Pictures of signals: the levels of the magnetic states, and what changes between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from thermospin.base.names import SignalName
from thermospin.base.units import readable_unit
from thermospin.report.style import DOWN, INK, UP, PathLike, Picture, literal, number, save_figure, styled, typeset

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from thermospin.signals.results import Signals


@styled
def signals_picture(signals: Signals, path: PathLike | None = None) -> Figure:
    """Draw the signals of all experiments as bars with their error bars: states and baseline left, spin part right.

    The spin part has an axis of its own: it is often a thousandth of the baseline.

    Args:
      signals: with or without error bars.
      path: where to write the picture; None: nowhere.
    """
    groups: dict[tuple[str, int], list[SignalName]] = {}
    for name in signals.values:
        groups.setdefault((name.experiment, name.harmonic), []).append(name)
    levels = [[name for name in group if name.part != "spin"] for group in groups.values()]
    spins = [[name for name in group if name.part == "spin"] for group in groups.values()]
    heights = [0.55 + 0.3 * len(level) for level in levels]
    figure = Picture(figsize=(8.6, 0.6 + sum(heights)), layout="constrained")
    wide = any(spins)
    axes = figure.subplots(len(groups), 2 if wide else 1, squeeze=False, height_ratios=heights)
    for line, level, spin in zip(axes, levels, spins, strict=True):
        _bars(line[0], signals, level, DOWN)
        line[0].set_title(literal(level[0].experiment), loc="left", weight="bold")
        if wide and spin:
            _bars(line[1], signals, spin, UP, rows=len(level))
        elif wide:
            line[1].set_axis_off()
    bars = "bars: errors of grid and solver" if signals.errors is not None else "without error bars, see assess"
    size = f"{signals.cells:,} cells, order {signals.order}"
    figure.suptitle(literal(f"{signals.device}: {size}; {bars}"), fontsize=9, x=0.01, ha="left")
    return save_figure(figure, path)


def _bars(ax: Axes, signals: Signals, names: Sequence[SignalName], colour: str, rows: int = 0) -> None:
    """Draw signals of one unit, with their values beside them, in the middle of so many rows."""
    unit = signals.units.get(names[0], "")
    values = np.array([signals.values[name] for name in names])
    shown, size = readable_unit(float(np.nanmax(np.abs(values), initial=0.0)), unit)
    bars = None if signals.errors is None else np.array([signals.errors.total(name) for name in names]) / size
    rows = max(rows, len(names))
    place = np.arange(len(names)) + (rows - len(names)) / 2
    ax.barh(place, values / size, height=0.6, color=colour, alpha=0.75)
    if bars is not None:
        ax.errorbar(values / size, place, xerr=bars, fmt="none", ecolor=INK, elinewidth=1.2, capsize=3.5)
    ax.axvline(0, color=INK, linewidth=0.6)
    texts = [number(value / size, 5) for value in values]
    if bars is not None:
        texts = [_rounded(value / size, float(bar)) for value, bar in zip(values, bars, strict=True)]
    ax.set_yticks(place, [literal(name.part) for name in names])
    ax.set_ylim(rows - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    right = ax.secondary_yaxis("right")
    right.set_yticks(place, texts)
    right.tick_params(length=0)
    right.spines["right"].set_visible(False)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_xlabel(f"R{names[0].harmonic} [{typeset(shown) or 'SI'}]")
    ax.margins(x=0.08)


def _rounded(value: float, bar: float) -> str:
    """Return a value with its error bar, which has two digits."""
    if not 0 < bar < math.inf:
        return f"{number(value, 5)} ± {number(bar)}"
    decimals = max(0, 1 - math.floor(math.log10(bar)))
    text = f"{value:.{decimals}f} ± {bar:.{decimals}f}" if decimals < 6 else f"{value:.5g} ± {bar:.2g}"
    return text.replace("-", "\N{MINUS SIGN}")
