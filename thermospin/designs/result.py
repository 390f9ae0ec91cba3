"""Better devices as numbers and in words: dimensions and signals before and after, and every device on the way."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from thermospin.base.shown import Plotted
from thermospin.base.text import columns
from thermospin.base.units import readable
from thermospin.designs.checks import DesignCheck, compared
from thermospin.designs.limits import CLOSEST, SLACK, at_closest, at_feature
from thermospin.designs.objective import Objective, Pair, unit_of
from thermospin.device.device import Device
from thermospin.quantities import quantity


@dataclasses.dataclass(frozen=True)
class DesignStep:
    """A device on the way.

    Attributes:
      lengths: its dimensions [m].
      objective: exp of the maximised quantity: signal in SI units or ratio; of the worst device nearby if asked for.
      grid: number of the grid.
      excess: largest value over its limit, 0 without limits.
    """

    lengths: Mapping[str, float]
    objective: float
    grid: int
    excess: float = 0.0


@dataclasses.dataclass(frozen=True)
class Design(Plotted):
    """A better device.

    Attributes:
      device: the better device.
      before: the device that it was made from.
      objective: the maximised quantity.
      vary: the dimensions that were varied.
      steps: every device on the way, the first is that of the start.
      start, end: both computed once more.
      message: why it ended.
      limits: largest value of each limited quantity.
      tops: the best device from each start, where there were several.
      feature: smallest feature [m], None for no limit.
    """

    device: Device
    before: Device
    objective: Objective
    vary: tuple[str, ...]
    steps: tuple[DesignStep, ...]
    start: DesignCheck
    end: DesignCheck
    message: str
    limits: Mapping[Pair, float] = dataclasses.field(default_factory=dict)
    tops: tuple[DesignStep, ...] = ()
    feature: float | None = None

    @property
    def gain(self) -> tuple[float, float]:
        """Factor by which the objective is larger, and its error bar."""
        return self.end.gain_over(self.start)

    def words(self) -> list[str]:
        """Return dimensions and signals before and after, and the gain, line by line."""
        lengths, signals = self.tables()
        return [*columns(lengths, "lrrl"), *columns(signals, "lrr"), *self.outcome(), *self._starts()]

    def tables(self) -> tuple[list[list[str]], list[list[str]]]:
        """Return dimensions, and signals, before and after: tables with a line of heads."""
        dimensions = [["dimension", "before", "after", "range"]]
        for name in self.vary:
            low, high = self.device.dimensions[name].range or (math.nan, math.nan)
            ends = [quantity(name, device.dimensions[name].value) for device in (self.before, self.device)]
            limits = ", ".join([f"{1e9 * low:g} to {1e9 * high:g} nm", *self._reached(name)])
            dimensions.append([name, *ends, limits])
        signals = [["signal", "before", "after"]]
        for pair in self.start.signals:
            unit = unit_of(pair, self.device)
            most = f", at most {readable(self.limits[pair], unit)}" if pair in self.limits else ""
            signals.append([" ".join(pair) + most, *compared(pair, unit, self.start, self.end)])
        return dimensions, signals

    def _reached(self, name: str) -> list[str]:
        """Return the limits that a dimension ended at, in words."""
        value, limits = self.device.dimensions[name].value, self.device.dimensions[name].range
        low, high = limits or (math.nan, math.nan)
        reached = {
            "at its lowest": math.isclose(value, low),
            "at its highest": math.isclose(value, high),
            "at the feature": name in at_feature(self.device, self.vary, self.feature),
            f"at faces {1e9 * CLOSEST:g} nm apart": name in at_closest(self.device, self.vary),
        }
        return [words for words, there in reached.items() if there]

    def outcome(self) -> list[str]:
        """Return the gain, and how it was found, line by line."""
        out = []
        if self.end_excess > 1 + SLACK:
            out.append(f"It is beyond a limit, by a factor of {self.end_excess:.3g}: {self._why_beyond}.")
        out.append(f"{self.objective} is {self.gain[0]:.3g} +- {self.gain[1]:.2g} times what it was.")
        if math.isfinite(self.end.spread):
            out.append(
                "Dimensions off by their standard deviations change it by "
                f"{100 * self.start.spread:.2g} % before and {100 * self.end.spread:.2g} % after."
            )
        out.append(f"{len(self.steps)} evaluations: {self.message}.")
        return out

    def _starts(self) -> list[str]:
        """Return the best device from each start, where there were several."""
        if not self.tops:
            return []
        lines = [["start", str(self.objective), *self.vary]]
        for number, top in enumerate(self.tops, 1):
            beyond = ", beyond a limit" if top.excess > 1 + SLACK else ""
            lengths = [quantity(name, top.lengths[name]) for name in self.vary]
            lines.append([str(number), f"{top.objective:.4g}{beyond}", *lengths])
        return columns(lines, "l" + "r" * (1 + len(self.vary)))

    @property
    def end_excess(self) -> float:
        """Largest value over its limit, 0 without limits."""
        return max((abs(self.end.signals[pair][0]) / most for pair, most in self.limits.items()), default=0.0)

    @property
    def _why_beyond(self) -> str:
        """The reason why the end is beyond a limit."""
        if any(step.excess <= 1 + SLACK for step in self.steps):
            return "on the grid of the search it was within; give that more cells, or a lower limit"
        return "no device nearby keeps it"

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers, lists and dictionaries."""

        def plain(check: DesignCheck) -> dict[str, Any]:
            return {
                "signals": {" ".join(pair): list(value) for pair, value in check.signals.items()},
                "objective": list(check.objective),
                "spread": check.spread if math.isfinite(check.spread) else None,
            }

        return {
            "objective": str(self.objective),
            "gain": list(self.gain),
            "before": {name: self.before.lengths()[name] for name in self.vary},
            "after": {name: self.device.lengths()[name] for name in self.vary},
            "start": plain(self.start),
            "end": plain(self.end),
            "steps": [dataclasses.asdict(step) for step in self.steps],
            "message": self.message,
            "limits": {" ".join(pair): most for pair, most in self.limits.items()},
            "tops": [dataclasses.asdict(top) for top in self.tops],
        }
