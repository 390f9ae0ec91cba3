"""Better devices: dimensions that make a signal as large as it can be, within limits.

A design maximises ln of a signal, or of a ratio of two, over named dimensions: within their ranges, and with nothing
made smaller than a smallest feature. Gradients are exact, steps those of sequential quadratic programming
(SLSQP; Nocedal and Wright, Numerical Optimization (2006), chapter 18). Limits on faces are linear in the dimensions, so
that every device on the way keeps them; those on temperature and current density are not, and hold for the one that is
chosen. The grid moves along and is rebuilt where it has been stretched by `limits.STRETCH`; start and end are computed
once more on another grid, with error bars, so that no gain is one of the grid.

A signal over "hottest", the temperature of the hottest point, is what the device gives when the current is as large as
a limit on its temperature allows: V_2 = R_2 I^2 with I^2 = (largest rise)/(rise per I^2). Of heat as the drive that
rise is in proportion to the drive: R_1 over it is what the device gives per kelvin of its hottest point.

The standard error of a parameter is that of a fit to data like those given: (J' C^-1 J)^-1, J the derivatives of the
signals by the free parameters and C the variances of the data.

A device is never made as drawn. Asked to be robust, the design maximises what is left of the objective when all
dimensions are off by their standard deviations in the worst direction: to first order the point d - S^2 g/|S g|, S the
standard deviations and g the gradient, whose own gradient is, by Danskin's theorem, that at this point.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import qmc

from thermospin import solve
from thermospin.base.errors import InputError, NotConverged
from thermospin.base.kinds import require_whole
from thermospin.base.names import nearest
from thermospin.designs.checks import ON_THE_WAY, DesignTask, both_checked
from thermospin.designs.climb import ENOUGH, OneGrid, best_of
from thermospin.designs.limits import STRETCH, Limits, face_limits, largest_stretch
from thermospin.designs.objective import DENSEST, STD, Objective, StandardErrorFit, require_fit
from thermospin.designs.result import Design, DesignStep
from thermospin.device.device import Device
from thermospin.inference.journal import Journal
from thermospin.model import GridOptions, Progress
from thermospin.parallel import tasks

#: Most grids on the way from a start.
GRIDS = 6
#: Starts are looked for among 2 to the power of this many points.
TRIES = 10
#: Ends of several starts are one where their dimensions differ by less than this part of the ranges.
ONE_END = 1e-2


@dataclasses.dataclass(frozen=True)
class Search:
    """The search for a design.

    Attributes:
      steps: most evaluations from each start (with `robust` two solves each).
      starts: number of starts, the device and others spread over the ranges: an objective may have several maxima. They
        run concurrently, see `parallel.tasks`; the one that ends highest counts.
      robust: number of standard deviations of the dimensions by which the worst device nearby is off; 0: none.
    Raises:
      InputError: no step, no start, a part of one, or a negative or infinite number of standard deviations.
    """

    steps: int = 50
    starts: int = 1
    robust: float = 0.0

    def __post_init__(self) -> None:
        for name in ("steps", "starts"):
            object.__setattr__(self, name, require_whole(name, getattr(self, name), 1))
        if not 0 <= self.robust < math.inf:
            raise InputError(f"robust: got {self.robust:g}, expected a number of standard deviations, 0 or more")


def design(
    device: Device,
    objective: str | Objective,
    vary: Sequence[str] | None = None,
    *,
    limits: Limits | None = None,
    fit: StandardErrorFit | None = None,
    search: Search | None = None,
    grid: GridOptions | None = None,
    journal: str | Path | None = None,
    progress: Progress | None = None,
) -> Design:
    """Vary dimensions of a device so that an objective becomes as large as it can be.

    Args:
      device: where to start.
      objective: see `Objective`.
      vary: dimensions, each of which needs a range; None: all that have one.
      limits: on features, temperature and current density.
      fit: whose standard error an objective such as "1 / std Py.S_s" has.
      search: number of steps and starts, and robustness.
      grid: of the devices on the way; the start and the end are computed once more, at one order more and with twice
        the cells.
      journal: file that keeps every evaluation, from which a design that was interrupted resumes.
      progress: callback for messages.
    Raises:
      InputError: an objective or dimension that does not exist, a dimension without range or outside it, a start that
        breaks a limit, an objective that is 0 there.
      NotConverged: a solve did not converge at the start.
    """
    if isinstance(objective, str):
        objective = Objective.parse(objective, device)
    objective.require(device)
    limits, search, grid = limits or Limits(), search or Search(), grid or ON_THE_WAY
    names = _varied(device, vary)
    deviations = _deviations(device, names, search.robust)
    face_limits(device, names, limits.feature)  # refused before any work is done
    if any(name == STD for name, _ in objective.wanted):
        require_fit(fit, [signal for name, signal in objective.wanted if name == STD], device)
    limited = limits.pairs(objective, device)
    if device.features.prisms and any(signal == DENSEST for _, signal in [*objective.wanted, *limited]):
        raise InputError(
            f"device '{device.name}' has polygons, and {DENSEST} is a mean over the blocks between faces that boxes "
            "have; limit the temperature instead"
        )
    question = repr((device, str(objective), names, grid.cells, grid.order, limited, fit))
    answers = None if journal is None else Journal(Path(journal), question)
    task = DesignTask(
        objective, tuple(names), limited, fit, grid, progress, search.starts, limits.feature, deviations, answers
    )
    starts = [device, *_scattered(device, names, limits.feature, search.starts)]
    size = 1 if len(starts) == 1 else min(tasks.capacity(task.model(device)), len(starts))
    way_from = functools.partial(_way, device, task, search.steps)
    outcomes = tasks.run_batched((functools.partial(way_from, start) for start in starts), size)
    ways = [way for way in outcomes if way is not None]
    tops = [way.top for way in ways]
    if len(tops) > 1:
        tops = _compared(device, task, tops)
    better, message, steps = ways[tops.index(best_of(tops))]
    start, end = both_checked(device, better, task, refined=2)
    others = tuple(tops) if len(tops) > 1 else ()
    return Design(
        better, device, objective, tuple(names), tuple(steps), start, end, message, limited, others, limits.feature
    )


class _Way(NamedTuple):
    """The way from a start: the best device, why it ended, and all devices on the way."""

    end: Device
    message: str
    steps: list[DesignStep]

    @property
    def top(self) -> DesignStep:
        """The best device on the last grid: values of different grids do not compare."""
        return best_of([step for step in self.steps if step.grid == self.steps[-1].grid])


def _way(device: Device, task: DesignTask, most: int, start: Device, solver: solve.Solver | None) -> _Way | None:
    """Return the way from a start, of at most so many evaluations; None where another start than the device fails."""
    task = dataclasses.replace(task, solver=solver)
    current, steps, message = start, list[DesignStep](), ""
    for number in range(1, GRIDS + 1):
        try:
            steps_here, message = OneGrid(current, task, number, len(steps)).climb(most - len(steps))
            built, current = current, device.moved(best_of(steps_here).lengths)
            steps = steps + steps_here
        except (ValueError, NotConverged):
            if start is device:
                raise
            return None
        stretched = largest_stretch(built.lengths(), current, task.names)
        if stretched < 0.9 * STRETCH:
            break
        # It ended where the grid did, which is no optimum.
        message = f"as many grids as are allowed, {GRIDS}; a design that starts from this device would go on"
        if len(steps) >= most:
            message = ENOUGH
            break
        if task.progress is not None:
            task.progress(f"grid {number + 1}: faces have moved by up to a factor of {stretched:.2g}")
    return _Way(current, message, steps)


def _compared(device: Device, task: DesignTask, tops: Sequence[DesignStep]) -> list[DesignStep]:
    """Return the ends of several starts with values that compare: each on the grid that is made for it.

    Ends that are one device, within `ONE_END`, have one value, that of the first.
    """
    task = dataclasses.replace(task, feature=None)
    out: list[DesignStep] = []
    for top in tops:
        distances = (
            max(
                abs(top.lengths[name] - other.lengths[name]) / float(np.ptp(device.dimensions[name].range or (0, 1)))
                for name in task.names
            )
            for other in out
        )
        same = next((other for other, distance in zip(out, distances, strict=True) if distance < ONE_END), None)
        if same is None:
            try:
                same = best_of(OneGrid(device.moved(top.lengths), task, top.grid + 1, 0).climb(1)[0])
            except (ValueError, NotConverged):  # what its way found stands
                same = top
        out.append(dataclasses.replace(top, objective=same.objective, excess=same.excess))
    return out


def _deviations(device: Device, names: Sequence[str], robust: float) -> tuple[float, ...]:
    """Return the deviations of the dimensions of the worst device nearby [m]."""
    stds = [device.dimensions[name].std or 0.0 for name in names]
    if robust and not any(stds):
        raise InputError(f"robust: none of {', '.join(names)} has a std; give them one in [dimensions]")
    return tuple(robust * std for std in stds)


def _scattered(device: Device, names: Sequence[str], feature: float | None, starts: int) -> list[Device]:
    """Return other starts of a Sobol sequence within the ranges that keep the smallest feature; fewer if few do."""
    ends = np.array([device.dimensions[name].range for name in names])
    out: list[Device] = []
    # The first point of the sequence is a corner.
    for point in qmc.Sobol(len(names), scramble=False).random_base2(TRIES)[1:]:
        if len(out) == starts - 1:
            break
        try:
            other = device.moved(dict(zip(names, map(float, ends[:, 0] + point * np.ptp(ends, axis=1)), strict=True)))
            face_limits(other, names, feature)
        except ValueError:
            continue
        out.append(other)
    return out


def _varied(device: Device, vary: Sequence[str] | None) -> list[str]:
    """Return the dimensions to vary, each once; refuse those without a range, or outside it."""
    if not device.dimensions:
        raise InputError(f"device '{device.name}' names no dimensions; give its file a table [dimensions]")
    names = (
        [name for name, dimension in device.dimensions.items() if dimension.range is not None]
        if vary is None
        else list(dict.fromkeys(vary))
    )
    unknown = [name for name in names if name not in device.dimensions]
    if unknown:
        raise InputError("\n".join(f"vary: got '{name}'; {nearest(name, device.dimensions)}" for name in unknown))
    without = [name for name in names if device.dimensions[name].range is None]
    if without or not names:
        raise InputError(
            f"vary: {', '.join(without) or 'no dimension'} has no range; give it one in [dimensions], such as "
            "{ value = 100, range = [50, 200] }"
        )
    faults = []
    for name in names:
        at, (low, high) = device.dimensions[name].value, device.dimensions[name].range or (math.nan, math.nan)
        slack = 1e-9 * (high - low)
        if not low - slack <= at <= high + slack or not low < high:
            faults.append(
                f"vary: {name} starts at {1e9 * at:g} nm, expected a range around it, got {1e9 * low:g} to "
                f"{1e9 * high:g} nm; start at another value, or change the range in [dimensions]"
            )
    if faults:
        raise InputError(faults)
    return names
