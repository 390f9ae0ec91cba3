"""Tasks of designs, and devices computed once more so that no gain is one of the grid."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from thermospin import solve
from thermospin.accuracy.error_bars import solved_with_errors
from thermospin.base.units import readable
from thermospin.designs.objective import DENSEST, HOTTEST, STD, Objective, Pair, StandardErrorFit
from thermospin.designs.predictor import DesignPredictor
from thermospin.device.device import Device
from thermospin.inference.journal import Journal
from thermospin.model import GridOptions, Model, Progress
from thermospin.parallel import tasks

#: The grid of devices on the way: where to go needs less accuracy than where one has got to.
ON_THE_WAY = GridOptions(order=2)


@dataclasses.dataclass(frozen=True)
class DesignCheck:
    """A device computed once more, on another grid and with error bars.

    Attributes:
      signals: value and error bar of each quantity, SI units, limited ones included.
      objective: value and error bar.
      spread: standard deviation of ln objective by those of the dimensions, NaN where none is given.
    """

    signals: Mapping[Pair, tuple[float, float]]
    objective: tuple[float, float]
    spread: float

    def gain_over(self, other: DesignCheck) -> tuple[float, float]:
        """Return the factor by which the objective is larger than that of another device, and its error bar."""
        (before, bar_before), (after, bar_after) = other.objective, self.objective
        return after / before, after / before * math.hypot(bar_before / before, bar_after / after)


@dataclasses.dataclass(frozen=True)
class DesignTask:
    """The task of a design, and how its solves are distributed.

    Attributes:
      objective: to maximise.
      names: dimensions that are varied.
      limits: largest value of each limited quantity.
      fit: of standard errors.
      grid: of the devices on the way.
      progress: callback for messages.
      starts: number of starts among which accelerators are distributed.
      feature: smallest feature [m], None for no limit.
      deviations: of the dimensions of the worst device nearby [m]; all 0: the device itself counts.
      journal: that keeps evaluations.
      solver: answers solve requests, see `solve.solve`.
    """

    objective: Objective
    names: tuple[str, ...]
    limits: Mapping[Pair, float]
    fit: StandardErrorFit | None = None
    grid: GridOptions = ON_THE_WAY
    progress: Progress | None = None
    starts: int = 1
    feature: float | None = None
    deviations: tuple[float, ...] = ()
    journal: Journal | None = None
    solver: solve.Solver | None = None

    def model(self, device: Device) -> Model:
        """Return the model of a device on the way."""
        made = dataclasses.replace(self.grid, shards=1).build(device, self.progress)
        return tasks.split_for(made, self.starts, self.grid.shards)

    def predictor(self, model: Model) -> DesignPredictor:
        """Return the predictor of all quantities on a model."""
        return DesignPredictor(model, self.wanted, self.fit, len(self.names), self.progress, self.solver)

    @property
    def wanted(self) -> list[Pair]:
        """Quantities of the objective, then others that are limited."""
        wanted = self.objective.wanted
        return wanted + [pair for pair in self.limits if pair not in wanted]

    def margins(self, values: np.ndarray, jacobian: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ln(limit / value) of every limited quantity, and derivatives."""
        places = [self.wanted.index(pair) for pair in self.limits]
        most = np.array(list(self.limits.values()))
        return np.log(most / np.abs(values[places])), -jacobian[places] / values[places, None]


def both_checked(
    before: Device, after: Device, task: DesignTask, *, refined: int = 1
) -> tuple[DesignCheck, DesignCheck]:
    """Return two devices on another grid than that of the task: one order more, and so many times the cells."""
    cells = None if task.grid.cells is None else refined * task.grid.cells
    grid = dataclasses.replace(task.grid, cells=cells, order=min(task.grid.order + 1, 3))
    return checked(before, task, grid), checked(after, task, grid)


def compared(pair: Pair, unit: str, before: DesignCheck, after: DesignCheck) -> list[str]:
    """Return a quantity of two devices with its error bars, as people write them."""
    return [readable(value, unit, bar) for value, bar in (before.signals[pair], after.signals[pair])]


def checked(device: Device, task: DesignTask, grid: GridOptions) -> DesignCheck:
    """Return the objective on another grid, with error bars, and its spread by the stds of the dimensions."""
    objective, names, progress = task.objective, task.names, task.progress
    if progress is not None:
        progress(f"once more at order {grid.order}")
    model = grid.build(device, progress)
    measured = solved_with_errors(model, progress=progress).signals
    stds = np.array([device.dimensions[name].std or 0.0 for name in names])
    numbers, jacobian = task.predictor(model)(device.numbers(), names if np.any(stds) else ())
    special = {pair for pair in task.wanted if pair[0] == STD or pair[1] in (HOTTEST, DENSEST)}
    values = {
        pair: (value, math.nan) if pair in special else (measured[pair], measured.error(*pair))
        for pair, value in zip(task.wanted, map(float, numbers), strict=True)
    }
    if special:
        # They have no error bar from orders; that of the order below, a bound, stands in.
        below = model.with_grid(dataclasses.replace(model.grid, order=grid.order - 1), progress=progress)
        others = task.predictor(below)(device.numbers(), ())[0]
        values = {
            pair: (value, abs(value - float(other)) if math.isnan(error) else error)
            for (pair, (value, error)), other in zip(values.items(), others, strict=True)
        }
    ratio = math.exp(objective.evaluate(np.array([v for v, _ in values.values()]), np.zeros((len(values), 1)))[0])
    bar = ratio * math.sqrt(sum((values[pair][1] / values[pair][0]) ** 2 for pair in objective.wanted))
    spread = math.nan
    if np.any(stds):
        spread = float(np.linalg.norm(objective.evaluate(numbers, jacobian)[1] * stds))
    return DesignCheck(values, (ratio, bar), spread)
