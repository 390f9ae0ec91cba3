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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import optimize
from scipy.stats import qmc

from thermospin import solve
from thermospin.base.errors import InputError, NotConverged
from thermospin.base.kinds import require_whole
from thermospin.base.names import nearest
from thermospin.base.shown import Plotted
from thermospin.base.text import columns
from thermospin.base.units import readable
from thermospin.designs.checks import ON_THE_WAY, DesignCheck, DesignTask, checked
from thermospin.designs.limits import SLACK, STRETCH, Limits, face_limits, stretch
from thermospin.designs.objective import DENSEST, STD, Objective, Pair, StandardErrorFit, require_fit, unit_of
from thermospin.device.device import Device
from thermospin.inference.journal import Journal
from thermospin.inference.predictors import Predict
from thermospin.model import GridOptions, Progress
from thermospin.parallel import tasks
from thermospin.quantities import quantity

#: Most grids on the way from a start.
GRIDS = 6
#: Starts are looked for among 2 to the power of this many points.
TRIES = 10
#: Relative change of the objective at which a design ends.
TOLERANCE = 1e-4
#: Ends of several starts are one where their dimensions differ by less than this part of the ranges.
ONE_END = 1e-2
#: Why a design ends that could go on.
ENOUGH = "as many evaluations as were allowed"


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
        (a, bar_a), (b, bar_b) = self.start.objective, self.end.objective
        return b / a, b / a * math.hypot(bar_a / a, bar_b / b)

    def words(self) -> list[str]:
        """Return dimensions and signals before and after, and the gain, line by line."""
        lengths, signals = self.tables()
        return [*columns(lengths, "lrrl"), *columns(signals, "lrr"), *self.outcome(), *self._starts()]

    def tables(self) -> tuple[list[list[str]], list[list[str]]]:
        """Return dimensions, and signals, before and after: tables with a line of heads."""
        lines = [["dimension", "before", "after", "range"]]
        at_feature = self._at_feature()
        for name in self.vary:
            dimension = self.device.dimensions[name]
            low, high = dimension.range or (math.nan, math.nan)
            ends = (low, "at its lowest"), (high, "at its highest")
            pinned = [text for end, text in ends if math.isclose(dimension.value, end)]
            pinned += ["at the feature"] * (name in at_feature)
            lines.append(
                [
                    name,
                    quantity(name, self.before.dimensions[name].value),
                    quantity(name, dimension.value),
                    f"{1e9 * low:g} to {1e9 * high:g} nm" + "".join(f", {text}" for text in pinned),
                ]
            )
        table = [["signal", "before", "after"]]
        for pair in self.start.signals:
            unit = unit_of(pair, self.device)
            most = f", at most {readable(self.limits[pair], unit)}" if pair in self.limits else ""
            table.append(
                [
                    " ".join(pair) + most,
                    *(readable(v, unit, e) for v, e in (self.start.signals[pair], self.end.signals[pair])),
                ]
            )
        return lines, table

    def _at_feature(self) -> set[str]:
        """Return the dimensions of sides and gaps that are as small as the smallest feature."""
        if self.feature is None:
            return set()
        faces = len(face_limits(self.device, self.vary, None).low)  # whose limits come before those of features
        limits = face_limits(self.device, self.vary, (1 - SLACK) * self.feature)
        lengths = [self.device.lengths()[name] for name in self.vary]
        beyond = (limits.matrix @ lengths - limits.low)[faces:]
        smallest = limits.matrix[faces:][beyond <= 2 * SLACK * self.feature]
        return {name for name, slopes in zip(self.vary, smallest.T, strict=True) if np.any(slopes)}

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


class _Enough(Exception):
    """The allowed number of evaluations is used up."""


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
    off = _deviations(device, names, search.robust)
    face_limits(device, names, limits.feature)  # refused before any work is done
    if any(name == STD for name, _ in objective.wanted):
        require_fit(fit, [signal for name, signal in objective.wanted if name == STD], device)
    most = limits.pairs(objective, device)
    if device.features.prisms and any(signal == DENSEST for _, signal in [*objective.wanted, *most]):
        raise InputError(
            f"device '{device.name}' has polygons, and {DENSEST} is a mean over the blocks between faces that boxes "
            "have; limit the temperature instead"
        )
    question = repr((device, str(objective), names, grid.cells, grid.order, most, fit))
    answers = None if journal is None else Journal(Path(journal), question)
    task = DesignTask(objective, tuple(names), most, fit, grid, progress, search.starts)
    way = functools.partial(_way, device, task, limits.feature, off, search.steps, answers)
    devices = [device, *_scattered(device, names, limits.feature, search.starts)]
    size = 1 if len(devices) == 1 else min(tasks.capacity(task.model(device)), len(devices))
    outcomes = tasks.run_batched((functools.partial(way, start) for start in devices), size)
    ways = [outcome for outcome in outcomes if outcome is not None]
    # Of the last grid of each way: values of different grids do not compare.
    tops = [_best([step for step in steps if step.grid == steps[-1].grid]) for *_, steps in ways]
    if len(tops) > 1:
        tops = _compared(device, task, off, answers, tops)
    final, message, steps = ways[tops.index(_best(tops))]
    finer = dataclasses.replace(
        grid, cells=None if grid.cells is None else 2 * grid.cells, order=min(grid.order + 1, 3)
    )
    start, end = (checked(part, task, finer) for part in (device, final))
    others = tuple(tops) if len(tops) > 1 else ()
    return Design(
        final, device, objective, tuple(names), tuple(steps), start, end, message, most, others, limits.feature
    )


def _way(
    device: Device,
    task: DesignTask,
    feature: float | None,
    off: np.ndarray,
    steps: int,
    journal: Journal | None,
    start: Device,
    solver: solve.Solver | None,
) -> tuple[Device, str, list[DesignStep]] | None:
    """Return the best device from a start, why it ended, and all devices on the way; None where another start fails."""
    task = dataclasses.replace(task, solver=solver)
    current, history, message = start, list[DesignStep](), ""
    for number in range(1, GRIDS + 1):
        try:
            one_grid = _OneGrid(current, task, feature, off, journal, number, history)
            steps_here, message = one_grid.climb(steps - len(history))
            built, current = current, device.moved(_best(steps_here).lengths)
            history = history + steps_here
        except (ValueError, NotConverged):
            if start is device:
                raise
            return None
        stretched = stretch(built.lengths(), current, task.names)
        if stretched < 0.9 * STRETCH:
            break
        # It ended where the grid did, which is no optimum.
        message = f"as many grids as are allowed, {GRIDS}; a design that starts from this device would go on"
        if len(history) >= steps:
            message = ENOUGH
            break
        if task.progress is not None:
            task.progress(f"grid {number + 1}: faces have moved by up to a factor of {stretched:.2g}")
    return current, message, history


def _compared(
    device: Device, task: DesignTask, off: np.ndarray, journal: Journal | None, tops: Sequence[DesignStep]
) -> list[DesignStep]:
    """Return the ends of several starts with values that compare: each on the grid that is made for it.

    Ends that are one device, within `ONE_END`, have one value, that of the first.
    """
    out: list[DesignStep] = []
    for top in tops:
        places = (
            max(
                abs(top.lengths[name] - other.lengths[name]) / float(np.ptp(device.dimensions[name].range or (0, 1)))
                for name in task.names
            )
            for other in out
        )
        same = next((other for other, apart in zip(out, places, strict=True) if apart < ONE_END), None)
        if same is None:
            try:
                one_grid = _OneGrid(device.moved(top.lengths), task, None, off, journal, top.grid + 1, ())
                same = _best(one_grid.climb(1)[0])
            except (ValueError, NotConverged):  # what its way found stands
                same = top
        out.append(dataclasses.replace(top, objective=same.objective, excess=same.excess))
    return out


class _OneGrid:
    """The search for the best device that one grid can follow.

    Args:
      device: where it begins.
      task: objective and dimensions.
      feature: smallest feature [m].
      off: deviations of the dimensions of the worst device nearby [m].
      journal: that keeps evaluations.
      number: of the grid.
      before: devices on earlier grids.
    """

    def __init__(
        self,
        device: Device,
        task: DesignTask,
        feature: float | None,
        off: np.ndarray,
        journal: Journal | None,
        number: int,
        before: Sequence[DesignStep],
    ) -> None:
        bare = task.predictor(task.model(device))
        self._predict: Predict = bare
        if journal is not None:
            # By the device that it was made for: the same question on the second grid of another way is another one.
            self._predict = journal.keep(bare, f"grid for {sorted(device.lengths().items())}", bare.parts)
        self._task, self._off, self._number, self._before = task, off, number, len(before)
        self._numbers = device.numbers()
        ends = np.array([device.dimensions[name].range for name in task.names])
        self._origin, self._size = ends[:, 0], ends[:, 1] - ends[:, 0]
        self._limits = face_limits(device, task.names, feature)
        start = (np.array([device.lengths()[name] for name in task.names]) - self._origin) / self._size
        self._start = np.clip(start, 0.0, 1.0)  # ends of another design are in range but for rounding
        self._known: dict[bytes, tuple[float, np.ndarray, np.ndarray, np.ndarray]] = {}
        self._steps: list[DesignStep] = []
        self._most = 0

    def climb(self, most: int) -> tuple[list[DesignStep], str]:
        """Return every device that was evaluated, at most `most`, and why it ended."""
        self._most = most
        try:
            result = optimize.minimize(
                self._negative,
                self._start,
                jac=True,
                bounds=[(0.0, 1.0)] * len(self._task.names),
                constraints=self._constraints(),
                method="SLSQP",
                options={"ftol": TOLERANCE, "maxiter": 1000},
            )
        except _Enough:
            return self._steps, ENOUGH
        return self._steps, "no better device nearby" if result.success else str(result.message).rstrip(".")

    def _constraints(self) -> list[dict[str, Any]]:
        matrix, low, unit = self._limits.matrix * self._size, self._limits.low, self._size.mean()
        origin = self._limits.matrix @ self._origin
        constraints: list[dict[str, Any]] = []
        if len(low):
            constraints.append(
                {
                    "type": "ineq",
                    "fun": lambda x: (matrix @ x - low + origin) / unit,
                    "jac": lambda _: matrix / unit,
                }
            )
        if self._task.limits:
            # No solution there: far beyond every limit.
            constraints.append(
                {
                    "type": "ineq",
                    "fun": lambda x: np.nan_to_num(self._evaluate(x)[2], nan=-1.0),
                    "jac": lambda x: np.nan_to_num(self._evaluate(x)[3]),
                }
            )
        return constraints

    def _at(self, lengths: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        """Return ln of the objective, its slope, margins of the limits, and their slopes, by lengths [m]."""
        task = self._task
        lengths_of = dict(zip(task.names, map(float, lengths), strict=True))
        values, jacobian = self._predict(self._numbers | lengths_of, task.names)
        return *task.objective.evaluate(values, jacobian), *task.margins(values, jacobian)

    def _evaluate(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        """Return `_at` in coordinates of the ranges, of the worst device nearby; each point is computed once."""
        if x.tobytes() in self._known:
            return self._known[x.tobytes()]
        if len(self._steps) >= self._most:
            raise _Enough
        lengths = self._origin + self._size * x
        value, slope, margin, margins = self._at(lengths)
        if math.isfinite(value) and np.any(self._off) and np.any(slope * self._off):
            towards = self._off**2 * slope / np.linalg.norm(self._off * slope)
            value, slope, *_ = self._at(lengths - towards)
        self._known[x.tobytes()] = value, slope * self._size, margin, margins * self._size
        here = dict(zip(self._task.names, map(float, lengths), strict=True))
        excess = float(np.exp(-margin.min())) if len(margin) else 0.0
        objective = math.exp(value)  # 0 and infinity too, which `_best` tells from no solution
        self._steps.append(DesignStep(here, objective, self._number, excess))
        if self._task.progress is not None:
            count = self._before + len(self._steps)
            self._task.progress(f"device {count}, grid {self._number}: {self._task.objective} = {objective:.5g}")
        return self._known[x.tobytes()]

    def _negative(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope, *_ = self._evaluate(x)
        if math.isfinite(value):
            return -value, -slope
        # Infeasible point: return a penalty of ln 100 so that the line search backtracks.
        return -self._evaluate(self._start)[0] + math.log(1e2), np.zeros(len(x))


def _best(steps: Sequence[DesignStep]) -> DesignStep:
    """Return the step with the highest objective within the limits; where none keeps them, the nearest to that.

    Raises:
      InputError: the objective is 0 or infinite in all steps.
      NotConverged: no step has a solution.
    """
    real = [step for step in steps if 0 < step.objective < math.inf]
    if not real and math.isnan(steps[0].objective):
        raise NotConverged("objective: has no value at the start: a solve did not converge there, or it is 0 / 0")
    if not real:
        raise InputError(
            "objective: "
            + ("is 0 at the start" if steps[0].objective == 0 else "is infinite at the start, as it divides by 0")
            + ", so that no factor makes it larger; choose a signal that the device has"
        )
    within = [step for step in real if step.excess <= 1 + SLACK]
    return max(within, key=lambda step: step.objective) if within else min(real, key=lambda step: step.excess)


def _deviations(device: Device, names: Sequence[str], robust: float) -> np.ndarray:
    """Return the deviations of the dimensions of the worst device nearby [m]."""
    stds = np.array([device.dimensions[name].std or 0.0 for name in names])
    if robust and not np.any(stds):
        raise InputError(f"robust: none of {', '.join(names)} has a std; give them one in [dimensions]")
    return robust * stds


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
        [n for n, dimension in device.dimensions.items() if dimension.range is not None]
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
