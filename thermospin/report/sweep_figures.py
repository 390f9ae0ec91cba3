"""Pictures of sweeps: second harmonic against current, and lock-in voltages against field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from thermospin.report.style import DOWN, INK, UP, PathLike, Picture, colours_of, literal, number, save_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from thermospin.data.lockin import Sweep


@styled
def r2s_current(
    R2_spin: float | Mapping[str, float],
    path: PathLike,
    measured: float,
    *,
    current_rms: float,
    label: str = "measured",
    measured_std: float = 0.0,
) -> Figure:
    """Draw the spin part of the second harmonic, R2_s I^2 against I^2.

    R2 multiplies the square of the instantaneous current, so a sweep up to I_rms reaches I^2 = 2 I_rms^2: 4.5 mA^2 at
    1.5 mA rms.

    Args:
      R2_spin: R2 in P minus R2 in AP [V/A^2], or several by the name of the line.
      path: where to write the picture; None: nowhere.
      measured: measured value [V/A^2].
      current_rms: end of the sweep, rms [A].
      label: of the measured line.
      measured_std: standard deviation of the measured value [V/A^2], drawn as a band.
    """
    models = dict(R2_spin) if isinstance(R2_spin, Mapping) else {"model": float(R2_spin)}
    square = np.linspace(0.0, 2 * current_rms**2, 200)
    figure = Picture(figsize=(5.0, 4.0), layout="constrained")
    ax = figure.add_subplot()
    if measured_std > 0:
        low, high = ((measured + sign * measured_std) * square * 1e9 for sign in (-1, 1))
        ax.fill_between(square * 1e6, low, high, color=INK, alpha=0.15, linewidth=0)
    name = f"{literal(label)}, {number(measured * 1e3)} nV/mA²"
    ax.plot(
        square * 1e6, measured * square * 1e9, color=INK, linestyle=(0, (4, 2)), linewidth=1.4, label=name, zorder=3
    )
    for (name, value), colour in zip(models.items(), colours_of(len(models)), strict=True):
        ax.plot(
            square * 1e6, value * square * 1e9, color=colour, label=f"{literal(name)}, {number(value * 1e3)} nV/mA²"
        )
    ax.axhline(0, color=INK, linewidth=0.6)
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
def sweeps_picture(sweeps: Sequence[Sweep], path: PathLike | None = None) -> Figure:
    """Draw every field sweep with its two levels, less the parallel one and the drift; a panel for every current.

    Args:
      sweeps: from `lockin.reduce`; one without levels is drawn grey, less its median.
      path: where to write the picture; None: nowhere.
    """
    rows = list(dict.fromkeys((sweep.trace.experiment, n) for sweep in sweeps for n in sorted(sweep.trace.voltages)))
    currents = sorted({round(sweep.trace.current, 9) for sweep in sweeps})
    size = (1.2 + 2.3 * len(currents), 0.9 + 1.75 * len(rows))
    figure = Picture(figsize=size, layout="constrained")
    axes = figure.subplots(len(rows), len(currents), sharex=True, squeeze=False)
    for (experiment, n), line in zip(rows, axes, strict=True):
        for current, ax in zip(currents, line, strict=True):
            for sweep in sweeps:
                trace = sweep.trace
                if (trace.experiment, round(trace.current, 9)) == (experiment, current) and n in trace.voltages:
                    _draw_sweep(ax, sweep, n)
            ax.xaxis.set_major_locator(MaxNLocator(4))
            ax.yaxis.set_major_locator(MaxNLocator(4))
        line[0].set_ylabel(f"{literal(experiment)}\n$V_{{{n}f}} - V_P$ [nV]")
    for current, top, bottom in zip(currents, axes[0], axes[-1], strict=True):
        top.set_title(f"{number(current * 1e3)} mA rms")
        bottom.set_xlabel("field [mT]")
    handles = [Line2D([], [], color=colour, label=f"field {way}") for colour, way in ((UP, "up"), (DOWN, "down"))]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return save_figure(figure, path)


def _draw_sweep(ax: Axes, sweep: Sweep, n: int) -> None:
    field, values = 1e3 * sweep.trace.field[sweep.part], 1e9 * sweep.trace.voltages[n][sweep.part]
    colour = UP if sweep.rising else DOWN
    level = sweep.levels.get(n)
    if level is None or sweep.switch is None:
        ax.plot(field, values - np.median(values), ".", markersize=2.5, color="#999999")
        return
    base = 1e9 * (level.P + level.drift * np.linspace(-0.5, 0.5, len(field)))
    # Spikes would hide the rest.
    shown = np.abs(values - base) <= 3 * abs(1e9 * (level.AP - level.P)) + 8e9 * level.noise
    ax.plot(field[shown], (values - base)[shown], ".", markersize=3.5, color=colour, alpha=0.5, markeredgewidth=0)
    step = np.zeros(len(field))
    step[sweep.switch.first : sweep.switch.end] = 1e9 * (level.AP - level.P)
    ax.plot(field, step, color=colour, linewidth=1.2, linestyle="--" if sweep.borrowed else "-", drawstyle="steps-mid")
