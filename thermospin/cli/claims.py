"""Two claims of the paper, from probes of shipped devices: what switches a magnet, and what passes below the copper.

Source: Slachter et al., Nature Physics 6, 879 (2010); its numbers stand beside those computed here.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from thermospin.accuracy.computing import GridChoice, compute
from thermospin.base import files
from thermospin.base.units import readable
from thermospin.device.device import Device
from thermospin.device.reader import load
from thermospin.model import Progress
from thermospin.report.device_figures import device_picture
from thermospin.signals.results import Signals

#: Charge current density that switches a magnet of a pillar, as the paper quotes it [A/m^2].
SWITCHING = 5e11
#: Temperature difference that the paper expects to do the same ("a few tens of degrees") [K].
EXPECTED = 30.0
#: Largest current of the paper's sweeps, peak [A], and the zeta that it scales the Joule heat by.
CURRENT, ZETA = 1.5e-3 * np.sqrt(2), 3.2

#: Files that such a demo writes.
FILES = ("report.txt", "signals.json", "device.png")


class Bounded(NamedTuple):
    """A number and the bound on its error.

    Errors of signals of one grid are not independent, so that bounds add: those of sums as they are, those of products
    and ratios relative to their values.
    """

    value: float
    error: float

    def plus(self, other: Bounded) -> Bounded:
        """Return the sum."""
        return Bounded(self.value + other.value, self.error + other.error)

    def minus(self, other: Bounded) -> Bounded:
        """Return the difference."""
        return Bounded(self.value - other.value, self.error + other.error)

    def times(self, factor: float) -> Bounded:
        """Return the product with an exact number."""
        return Bounded(self.value * factor, abs(self.error * factor))

    def over(self, other: Bounded) -> Bounded:
        """Return the ratio, with the bound to first order."""
        value = self.value / other.value
        return Bounded(value, abs(value) * (self.error / abs(self.value) + other.error / abs(other.value)))

    def shown(self, unit: str) -> str:
        """Return it as text in a practical unit."""
        return readable(self.value, unit, self.error)


class Line(NamedTuple):
    """A line of the table: what, the paper's number, and the one here."""

    what: str
    paper: str
    here: str


def run_claims(
    name: str, *, out: Path, cells: int | None = None, order: int = 3, progress: Progress | None = None
) -> str:
    """Write signals and a picture of a shipped device into a folder; return its claims beside the paper's as text.

    Args:
      name: a key of `CLAIMS`.
      out: an existing folder.
      cells, order: of the grid, as for `accuracy.computing.compute`.
      progress: callback for messages.
    """
    device = load(name)
    device_picture(device, out / "device.png")
    computed = compute(device, GridChoice(cells, order=order), progress=progress)
    files.write_json(out / "signals.json", computed.to_json())
    signals = computed.signals
    lines, words = CLAIMS[name](device, signals)
    size = f"{device.name}: {signals.cells:,} cells, {signals.unknowns:,} unknowns, order {signals.order}"
    end = f"Picture and numbers are in {out}: {', '.join(FILES)}"
    text = "\n\n".join([size, _table(lines), words, end])
    (out / "report.txt").write_text(text + "\n", encoding="utf-8")
    return text


def of(signals: Signals, experiment: str, signal: str) -> Bounded:
    """Return a signal with the error bar of grid and solver."""
    return Bounded(signals[experiment, signal], signals.error(experiment, signal))


def equal_difference(signals: Signals, area: float) -> tuple[Bounded, Bounded, Bounded]:
    """Return what drives as much spin current into the free magnet as a charge current that switches it.

    In collinear states the spin current through the face of the free magnet is a m_fixed + b m_free, odd in all magnets
    together: the mean of P and AP is what the fixed magnet sends, which is what acts on the free one once it turns.

    Args:
      signals: of experiments torque_current, torque_heat and torque_heat_bias.
      area: of the pillar [m^2].
    Returns:
      spin current per charge current [A/A], spin current per kelvin over the pillar [A/K], and the temperature
      difference over the pillar that equals `SWITCHING` [K].
    """
    by_current = of(signals, "torque_current", "R1.baseline")
    by_heat = of(signals, "torque_heat", "R1.baseline").over(of(signals, "torque_heat_bias", "R1.baseline"))
    return by_current, by_heat, by_current.times(SWITCHING * area).over(by_heat)


def _switching(device: Device, signals: Signals) -> tuple[list[Line], str]:
    """Compare a current density with a temperature difference, both by the spin current into the free magnet."""
    area = _area(device, "free")
    by_current, by_heat, needed = equal_difference(signals, area)
    at_ends = of(signals, "torque_heat", "R1.baseline")
    part = of(signals, "torque_heat_bias", "R1.baseline")
    needed = Bounded(abs(needed.value), needed.error)
    per_density = by_current.times(area)
    lines = [
        Line("spin current into the free magnet, per charge current", "", by_current.shown("A/A")),
        Line(
            "the same, per charge current density", "", f"{per_density.value:.4g} +- {per_density.error:.1g} A/(A/m^2)"
        ),
        Line("spin current into the free magnet, per kelvin between the contacts", "", at_ends.shown("A/K")),
        Line("part of that kelvin over the pillar, from buffer to cap", "", part.shown("K/K")),
        Line("spin current into the free magnet, per kelvin over the pillar", "", by_heat.shown("A/K")),
        Line(f"difference over the pillar that equals {SWITCHING:g} A/m^2", "a few tens of K", needed.shown("K")),
    ]
    S_s = device.materials["Py"].S_s
    enough = float(f"{S_s * needed.value / EXPECTED:.2g}")
    words = (
        "Each spin current is the mean of P and AP, J_up - J_down: what the fixed magnet sends. Error bars are those "
        "of the grid\nand the solver; what is not known of the values comes on top. By heat the spin current is "
        f"proportional to S_s:\n{EXPECTED:g} K would do with S_s = {readable(enough, 'V/K')} in place of "
        f"{readable(S_s, 'V/K')}, all else equal."
    )
    return lines, words


def copper(device: Device, signals: Signals) -> tuple[Bounded, Bounded, Bounded]:
    """Return what passes the contact between FM1 and the Cu on it.

    All that goes into the Cu on FM1 as spin current and does not leave it relaxes there, which is a measure of the spin
    accumulation: J_in - J_out = sigma/(2 lambda_sf^2) integral of V_s.

    Args:
      device: slachter2010-copper.
      signals: its signals.
    Returns:
      the part of the heater current that takes the way through the Cu [1], the temperature gradient in FM1 below the
      Cu [K/m] and the mean of V_s = V_up - V_down in the Cu on FM1 [V], the last two at the paper's largest current and
      zeta = 1.
    """
    Cu, Py = device.materials["Cu"], device.materials["Py"]
    halves = ("Cu_on_FM1_1", "Cu_on_FM1_2")
    area = sum(_area(device, half) for half in halves)
    volume = sum(float(np.prod([high - low for low, high in device.solid(half).box])) for half in halves)
    short = of(signals, "short_above", "R1.P").plus(of(signals, "short_beside", "R1.P"))
    heat, spin_in, spin_out = (
        of(signals, f"{name}_1", "R2.P").plus(of(signals, f"{name}_2", "R2.P"))
        for name in ("heat", "spin_in", "spin_out")
    )
    square = CURRENT**2 / device.zeta
    gradient = heat.times(square / (area * Py.kappa))
    relaxed = spin_in.minus(spin_out)
    return short, gradient, relaxed.times(2 * Cu.lambda_sf**2 / (Cu.sigma * volume) * square)


def _copper(device: Device, signals: Signals) -> tuple[list[Line], str]:
    """Compare what happens below the Cu with the paper's text."""
    short, gradient, V_s = copper(device, signals)

    def kelvins(zeta: float) -> str:
        value, error = gradient.times(zeta * 1e-6)
        return f"{value:.3g} +- {error:.1g} K/um"

    def microvolts(zeta: float) -> str:
        value, error = V_s.times(zeta * 1e6)
        return f"{value:.3g} +- {error:.2g} uV"

    lines = [
        Line(
            "part of the heater current that goes through the Cu",
            "4 %",
            f"{100 * short.value:.3g} +- {100 * short.error:.1g} %",
        ),
        Line(f"gradient in FM1 below the Cu, {1e3 * CURRENT:.3g} mA, zeta = {ZETA:g}", "about 50 K/um", kelvins(ZETA)),
        Line("the same, zeta = 1", "", kelvins(1.0)),
        Line(f"spin accumulation in the Cu on FM1, zeta = {ZETA:g}", "about 1 ueV (its size)", microvolts(ZETA)),
        Line("the same, zeta = 1", "", microvolts(1.0)),
    ]
    words = (
        "Heat and spin current by Joule heat (R2). The gradient is the heat that enters the Cu over its area and "
        "kappa of\nPy; the spin accumulation, a mean over the Cu on FM1, follows from the spin current that relaxes "
        "there.\nThe layout that the paper does not print decides these numbers; nothing of it was tuned."
    )
    return lines, words


def _area(device: Device, name: str) -> float:
    """Return the area of a solid seen from above [m^2]."""
    (x0, x1), (y0, y1), _ = device.solid(name).box
    return (x1 - x0) * (y1 - y0)


def _table(lines: Sequence[Line]) -> str:
    """Return the lines as a table in text."""
    from rich.console import Console
    from rich.table import Table

    shown = Table()
    for column in ("", "paper", "here"):
        shown.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for line in lines:
        shown.add_row(*line)
    console = Console(width=140, file=io.StringIO(), highlight=False)
    console.print(shown)
    return console.file.getvalue().rstrip()  # type: ignore[attr-defined]


#: What is made of the signals of each device.
CLAIMS: dict[str, Callable[[Device, Signals], tuple[list[Line], str]]] = {
    "pillar": _switching,
    "slachter2010-copper": _copper,
}
