"""Better devices: dimensions that make a signal as large as it can be, within limits.

A design maximises ln of a signal, or of a ratio of two, over named dimensions: within their ranges, and with nothing
made smaller than a smallest feature. Gradients are exact (`shapes`), steps those of sequential quadratic programming
(SLSQP; Nocedal and Wright, Numerical Optimization (2006), chapter 18). Limits on faces are linear in the dimensions, so
that every device on the way keeps them; those on temperature and current density are not, and hold for the one that is
chosen. The grid moves along and is made anew where it has been stretched by `STRETCH`; what
is reported at the end is computed once more on another grid, with error bars, so that no gain is one of the grid.

A signal over "hottest", the temperature of the hottest point, is what the device gives when the current is as large as
a limit on its temperature allows: V_2 = R_2 I^2 with I^2 = (largest rise)/(rise per I^2). Its derivative has an adjoint
of its own, the temperature of that point in place of the voltage.

The standard error of a parameter is that of a fit to data like those given: (J' C^-1 J)^-1, J the derivatives of the
signals by the free parameters and C the variances of the data. Its derivative by dimensions, and that of the current
density, come from differences of neighbouring devices on the moving grid, an evaluation for each dimension.

A device is never made as drawn. Asked to be robust, the design maximises what is left of the objective when all
dimensions are off by their standard deviations in the worst direction: to first order the point d - S^2 g/|S g|, S the
standard deviations and g the gradient, whose own gradient is, by Danskin's theorem, that at this point.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy import optimize
from scipy.stats import qmc

from thermospin import operators, solve
from thermospin.accuracy import error_bars as accuracy
from thermospin.base.errors import InputError, NotConverged
from thermospin.base.names import SignalName, nearest
from thermospin.base.text import columns
from thermospin.base.units import readable
from thermospin.data.rows import Row
from thermospin.device.device import Device
from thermospin.device.parts import Experiment, Solid
from thermospin.grid import AXES
from thermospin.inference.predictors import RESIDUAL, Journal, Predict, Predictor
from thermospin.model import Model, Parameters, Ports, Progress, build
from thermospin.parallel import tasks
from thermospin.quantities import QUANTITIES, key_of, quantity, response_unit
from thermospin.signals import dimension_slopes as shapes
from thermospin.signals import evaluate as signals
from thermospin.signals.ladders import Ladder, solve_ladders

#: A distance between neighbouring faces may grow or shrink by this factor until the grid is made anew.
STRETCH = 2.0
#: So many grids at most.
GRIDS = 6
#: Starts are looked for among 2 to the power of this many points.
TRIES = 10
#: Relative change of the objective at which a design ends.
TOLERANCE = 1e-4
#: No two faces come closer than this [m], whether or not what lies between them is anything.
CLOSEST = 1e-9

#: What a device has besides signals: the temperature rise of its hottest point, second harmonic [K/A^2]; the largest
#: root mean square of the current density in a block between neighbouring faces, per current [1/m^2]; and the standard
#: error of a parameter, pairs such as ("std", "Py.S_s").
HOTTEST, DENSEST, STD = "hottest", "densest", "std"
#: Step of the differences that stand in for derivatives, as a part of the dimension.
DIFFERENCE = 1e-3
#: A limit is kept if it is exceeded by no more than this part.
SLACK = 1e-3

Pair = tuple[str, str]
_SIGNAL = re.compile(rf"\s*\|?\s*(?:(std)\s+([\w.:]+)|([\w-]+)\s+(R[1-4]\.\w+|{HOTTEST}|{DENSEST}))\s*\|?\s*")


@dataclasses.dataclass(frozen=True)
class Objective:
    """ln|signal|, ln|signal / other| or ln|1 / other|.

    Attributes:
      signal, other: pairs such as ("thermal", "R2.spin"), ("thermal", "hottest") or ("std", "Py.S_s"); no signal: 1; no
        other: the signal alone.
    """

    signal: Pair | None
    other: Pair | None = None

    @classmethod
    def parse(cls, text: str, device: Device) -> Objective:
        """From "thermal R2.spin", "thermal R2.spin / thermal R2.baseline", "1 / std Py.S_s" and so on.

        Raises:
          ValueError: it is none of them, or the device has no such experiment.
        """
        parts = text.split("/")
        inverse = len(parts) == 2 and parts[0].strip() == "1"
        found = [_SIGNAL.fullmatch(part) for part in parts[inverse:]]
        if len(parts) > 2 or not all(found):
            raise InputError(
                f'objective: got "{text}", expected a signal such as "thermal R2.spin", one over another such as '
                f'"thermal R2.spin / thermal R2.baseline" or "thermal R2.spin / thermal {HOTTEST}", or "1 / std Py.S_s"'
            )
        pairs = [(each[1] or each[3], each[2] or each[4]) for each in found if each]
        for name, signal in pairs:
            if name == STD:
                if signal not in device.parameters():
                    raise InputError(f"objective: got parameter '{signal}'; {nearest(signal, device.parameters())}")
                continue
            if name not in device.experiments:
                raise InputError(f"objective: got experiment '{name}'; {nearest(name, device.experiments)}")
            if signal not in (HOTTEST, DENSEST):
                part, known = SignalName.parse(name, signal).part, device.experiments[name].parts
                if part not in known:
                    raise InputError(f"objective: got signal '{signal}'; {nearest(part, known)}")
        first = None if inverse else pairs[0]
        return cls(first, pairs[1 - inverse] if len(pairs) > 1 - inverse else None)

    @property
    def wanted(self) -> list[Pair]:
        """Quantities that it needs."""
        return [pair for pair in (self.signal, self.other) if pair is not None]

    def of(self, values: np.ndarray, jacobian: np.ndarray) -> tuple[float, np.ndarray]:
        """Its value, and its derivative by what the Jacobian is by; `values` may go on with what is not its own."""
        signs = np.array([1.0] * (self.signal is not None) + [-1.0] * (self.other is not None))
        values, jacobian = values[: len(signs)], jacobian[: len(signs)]
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(signs @ np.log(np.abs(values))), signs @ (jacobian / values[:, None])

    def __str__(self) -> str:
        return " / ".join(["1"] * (self.signal is None) + [f"|{' '.join(pair)}|" for pair in self.wanted])


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a device must keep to besides its faces.

    Attributes:
      current: amplitude that it is made for [A].
      temperature: largest rise of its hottest point at that current [K], None for no limit.
      density: largest root mean square of the current density in a block between faces [A/m^2], None for no limit.
    """

    current: float
    temperature: float | None = None
    density: float | None = None

    def pairs(self, objective: Objective, device: Device) -> dict[Pair, float]:
        """The largest value of each quantity that is limited, in every experiment that the objective has signals of."""
        names = dict.fromkeys(pair[0] for pair in objective.wanted if pair[0] != STD) or device.experiments
        found: dict[Pair, float] = {}
        for name in names:
            if self.temperature is not None:
                found[name, HOTTEST] = self.temperature / self.current**2
            if self.density is not None:
                found[name, DENSEST] = self.density / self.current
        return found


@dataclasses.dataclass(frozen=True)
class Fit:
    """The fit that a standard error belongs to: its data, of which the standard deviations count, and what is free."""

    rows: tuple[Row, ...]
    free: tuple[str, ...]

    def std(self, jacobian: np.ndarray, name: str) -> float:
        """Standard error of a parameter from the derivatives of the data by the free ones: (J' C^-1 J)^-1/2."""
        scale = np.abs(jacobian).max(axis=0)
        weighted = jacobian / scale / np.array([row.std for row in self.rows])[:, None]
        _, upper = np.linalg.qr(weighted)
        unit = np.zeros(len(self.free))
        unit[self.free.index(name)] = 1.0
        return float(np.linalg.norm(np.linalg.solve(upper.T, unit)) / scale[self.free.index(name)])


class _Predict:
    """Values and derivatives of all that an objective and limits need."""

    def __init__(self, model: Model, task: Task) -> None:
        self._wanted, self._fit, progress = task.wanted, task.fit, task.progress
        self._solver = task.solver
        # Where only a temperature or a density is asked for, the signal that shares its fields comes along.
        states = {name: next(iter(each.states)) for name, each in model.device.experiments.items()}
        of_fields = {HOTTEST: "R2", DENSEST: "R1"}
        self._rows = [
            Row(name, f"{of_fields[signal]}.{states[name]}" if signal in of_fields else signal, 0, 1)
            for name, signal in self._wanted
            if name != STD
        ]
        self._signals = Predictor(model, self._rows, RESIDUAL, progress, solver=task.solver) if self._rows else None
        self._data = None
        if self._fit is not None:
            # Its derivatives are differences, an evaluation for each dimension, side by side.
            self._data = Predictor(
                tasks.split_for(model, len(task.names)), self._fit.rows, RESIDUAL, progress, solver=task.solver
            )
        self.parts = tuple(part for part in (self._signals, self._data) if part is not None)

    def __call__(self, parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Values and Jacobian by dimensions."""
        values, jacobian = np.full(len(self._wanted), math.nan), np.full((len(self._wanted), len(names)), math.nan)
        own = [place for place, (name, _) in enumerate(self._wanted) if name != STD]
        if self._signals is not None:
            hot = any(signal == HOTTEST for _, signal in self._wanted)
            # The second field of the ladder, whose heat it is, is solved for with a gradient only.
            found, slopes = self._signals(parameters, names or (["zeta"] if hot else ()))
            values[own], jacobian[own] = found, slopes[:, : len(names)]
            if not np.all(np.isfinite(found)):
                return values, jacobian
            for place, (name, signal) in enumerate(self._wanted):
                if signal == HOTTEST:
                    model = self._signals.model
                    ladder = self._signals.fields[name][0]
                    values[place], jacobian[place] = hottest(
                        model, model.device.experiments[name], parameters, ladder, names
                    )
        by_differences = [k for k, (name, signal) in enumerate(self._wanted) if name == STD or signal == DENSEST]
        if by_differences:
            values[by_differences] = here = self._plain(parameters)

            def slope(name: str, solver: solve.Solver | None) -> np.ndarray:
                step = DIFFERENCE * max(abs(float(parameters[name])), 1e-9)
                there = self._fork(solver)._plain({**parameters, name: float(parameters[name]) + step})
                return (there - here) / step

            size = min(max(len(names), 1), *(tasks.capacity(part.model) for part in self.parts))
            slopes_of = tasks.run_batched((functools.partial(slope, name) for name in names), size, self._solver)
            for k, found in enumerate(slopes_of):
                jacobian[by_differences, k] = found
        return values, jacobian

    def _fork(self, solver: solve.Solver | None) -> _Predict:
        """Another one, which goes on from here."""
        other = copy.copy(self)
        other._signals, other._data = (part and part.fork(solver) for part in (self._signals, self._data))
        other._solver = solver
        return other

    def _plain(self, parameters: Mapping[str, float]) -> np.ndarray:
        """The quantities that have no exact derivative."""
        out = []
        if any(signal == DENSEST for _, signal in self._wanted) and self._signals is not None:
            self._signals(parameters, ())
        for name, signal in self._wanted:
            if name == STD and self._data is not None and self._fit is not None:
                out.append(self._fit.std(self._data(parameters, self._fit.free)[1], signal))
            elif signal == DENSEST and self._signals is not None:
                model = self._signals.model
                ladder = self._signals.fields[name][0]
                out.append(densest(model, model.device.experiments[name], parameters, ladder))
        return np.array(out)


def densest(model: Model, experiment: Experiment, parameters: Parameters, ladder: Ladder) -> float:
    """Largest root mean square of the current density in a block between neighbouring faces, per current [1/m^2].

    In the first state, from the heat that u_1 makes in the block: j^2 = heat sigma / volume. A mean over a block, as
    current densities are infinite at edges; of a block whose faces are those of the device it does not depend on the
    grid.
    """
    disc, blocks = model.disc, shapes.Blocks.of(model)
    ones = jnp.zeros((disc.unknowns, 1)).at[2 * disc.nodes_V :].set(1.0)
    u = jnp.asarray(ladder.u[0])[:, None]
    sums = blocks.sums(disc, operators.joule_entries(disc, ones, u, u), None)
    signs = next(iter(experiment.states.values()))
    table = model.constitution.table({name: float(parameters[name]) for name in model.parameters}, signs)
    law = np.stack([np.asarray(table[name])[blocks.domain] for name in operators.COEFFICIENTS])
    heat = np.einsum("nb,nkb->b", law, sums)
    sigma = law[operators.COEFFICIENTS.index("uu")] + law[operators.COEFFICIENTS.index("dd")]
    volume = np.prod([blocks.widths[k][blocks.interval[:, k]] for k in range(3)], axis=0)
    return float(np.sqrt(np.max(heat * sigma / volume)))


def hottest(
    model: Model, experiment: Experiment, parameters: Parameters, ladder: Ladder, names: Sequence[str]
) -> tuple[float, np.ndarray]:
    """Temperature rise of the hottest node in the first state, second harmonic [K/A^2], and its derivative.

    Args:
      model: on a grid whose lines move along.
      experiment: which.
      parameters: values by name, all of them.
      ladder: fields of the first state; at least u_1, u_2 are there.
      names: dimensions to differentiate by.
    Raises:
      NotConverged: a solve for the adjoint missed its tolerance.
    """
    disc = model.disc
    node = 2 * disc.nodes_V + int(np.argmax(np.asarray(ladder.u[1])[2 * disc.nodes_V :]))
    value = float(ladder.u[1][node])
    if not names:
        return value, np.zeros(0)
    probe = np.zeros(disc.unknowns)
    probe[node] = 1.0
    whole = model.problems[experiment.name]
    problem = whole.in_state(next(iter(experiment.states)))
    # A probe that is no contact: its vector does not change with any dimension.
    pointed = dataclasses.replace(problem.experiment, voltage=(HOTTEST, ""))
    ports = Ports(whole.ports.drive, jnp.asarray(probe), jnp.zeros(disc.unknowns))
    problem = problem._replace(experiment=pointed, ports=ports)
    values = {each: jnp.asarray(parameters[each], float) for each in model.parameters}

    def run(state: str, rung: int, system: Any, law: Any, b: Any, guess: Any) -> Any:
        x, stats = solve.solve(system, law, b, x0=guess, tolerance=RESIDUAL)
        solve.require_converged(stats, f"{model.device.name}, {experiment.name}, {HOTTEST}", RESIDUAL, None)
        return x

    start = Ladder(ladder.u[:2], (jnp.zeros(disc.unknowns),) * 2)
    ladders = solve_ladders(problem, values, 2, run, [start])
    return value, shapes.slopes(model, shapes.of(model, names), problem, values, ladders, names)[0, 1]


@dataclasses.dataclass(frozen=True)
class Step:
    """A device on the way.

    Attributes:
      lengths: its dimensions [m].
      objective: exp of what is maximised: signal [V/A^n] or ratio; of the worst device nearby if that is asked for.
      grid: number of the grid.
      excess: by what factor it is nearest to a limit or beyond it, 0 without limits.
    """

    lengths: Mapping[str, float]
    objective: float
    grid: int
    excess: float = 0.0


@dataclasses.dataclass(frozen=True)
class Check:
    """A device computed once more, on another grid and with error bars.

    Attributes:
      signals: by pair: value and error bar [V/A^n], of what is limited too.
      objective: value and error bar.
      spread: standard deviation of ln objective by those of the dimensions, NaN where none is given.
    """

    signals: Mapping[tuple[str, str], tuple[float, float]]
    objective: tuple[float, float]
    spread: float


@dataclasses.dataclass(frozen=True)
class Design:
    """A device that has been made better.

    Attributes:
      device: it.
      before: what it was made from.
      objective: what was maximised.
      vary: the dimensions that were varied.
      steps: every device on the way, the first is that of the start.
      start, end: both computed once more.
      message: why it ended.
      limits: largest values of what is limited, by pair.
      tops: the best device from each start, where there were several.
    """

    device: Device
    before: Device
    objective: Objective
    vary: tuple[str, ...]
    steps: tuple[Step, ...]
    start: Check
    end: Check
    message: str
    limits: Mapping[Pair, float] = dataclasses.field(default_factory=dict)
    tops: tuple[Step, ...] = ()

    @property
    def gain(self) -> tuple[float, float]:
        """Factor by which the objective is larger, and its error bar."""
        (a, bar_a), (b, bar_b) = self.start.objective, self.end.objective
        return b / a, b / a * math.hypot(bar_a / a, bar_b / b)

    def words(self) -> list[str]:
        """Dimensions and signals before and after, and the gain."""
        lines = [["dimension", "before", "after", "range"]]
        for name in self.vary:
            own = self.device.dimensions[name]
            low, high = own.range or (math.nan, math.nan)
            pinned = [text for end, text in ((low, "lowest"), (high, "highest")) if math.isclose(own.value, end)]
            lines.append(
                [
                    name,
                    quantity(name, self.before.dimensions[name].value),
                    quantity(name, own.value),
                    f"{1e9 * low:g} to {1e9 * high:g} nm" + "".join(f", at its {text}" for text in pinned),
                ]
            )
        out = columns(lines, "lrrl")
        table = [["signal", "before", "after"]]
        for pair in self.start.signals:
            unit = _unit(pair)
            most = f", at most {readable(self.limits[pair], unit)}" if pair in self.limits else ""
            table.append(
                [
                    " ".join(pair) + most,
                    *(readable(v, unit, e) for v, e in (self.start.signals[pair], self.end.signals[pair])),
                ]
            )
        out += columns(table, "lrr")
        if self.end_excess > 1 + SLACK:
            out.append(f"It is beyond a limit, by a factor of {self.end_excess:.3g}: no device nearby keeps it.")
        out.append(f"{self.objective} is {self.gain[0]:.3g} +- {self.gain[1]:.2g} times what it was.")
        if math.isfinite(self.end.spread):
            out.append(
                "Dimensions off by their standard deviations change it by "
                f"{100 * self.start.spread:.2g} % before and {100 * self.end.spread:.2g} % after."
            )
        out.append(f"{len(self.steps)} evaluations: {self.message}.")
        if self.tops:
            lines = [["start", str(self.objective), *self.vary]]
            for number, top in enumerate(self.tops, 1):
                beyond = ", beyond a limit" if top.excess > 1 + SLACK else ""
                lengths = [quantity(name, top.lengths[name]) for name in self.vary]
                lines.append([str(number), f"{top.objective:.4g}{beyond}", *lengths])
            out += columns(lines, "l" + "r" * (1 + len(self.vary)))
        return out

    @property
    def end_excess(self) -> float:
        """By what factor the device is nearest to a limit or beyond it, 0 without limits."""
        return max((abs(self.end.signals[pair][0]) / most for pair, most in self.limits.items()), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and dictionaries."""

        def check(each: Check) -> dict[str, Any]:
            return {
                "signals": {" ".join(pair): list(value) for pair, value in each.signals.items()},
                "objective": list(each.objective),
                "spread": each.spread if math.isfinite(each.spread) else None,
            }

        return {
            "objective": str(self.objective),
            "gain": list(self.gain),
            "before": {name: self.before.lengths()[name] for name in self.vary},
            "after": {name: self.device.lengths()[name] for name in self.vary},
            "start": check(self.start),
            "end": check(self.end),
            "steps": [dataclasses.asdict(step) for step in self.steps],
            "message": self.message,
            "limits": {" ".join(pair): most for pair, most in self.limits.items()},
            "tops": [dataclasses.asdict(top) for top in self.tops],
        }


def _unit(pair: Pair) -> str:
    if pair[0] == STD:
        return QUANTITIES[key_of(pair[1])].unit if "." in pair[1] else ""
    return {HOTTEST: "K/A^2", DENSEST: "1/m^2"}.get(pair[1]) or response_unit(pair[1][1])


class _Enough(Exception):
    """So many evaluations as were allowed."""


def design(
    device: Device,
    objective: str | Objective,
    vary: Sequence[str] | None = None,
    *,
    feature: float | None = None,
    robust: float = 0.0,
    limits: Limits | None = None,
    fit: Fit | None = None,
    steps: int = 50,
    starts: int = 1,
    cells: int | None = None,
    order: int = 2,
    shards: int = 1,
    journal: str | Path | None = None,
    progress: Progress | None = None,
) -> Design:
    """Varies dimensions of a device so that an objective becomes as large as it can be.

    Args:
      device: where to start.
      objective: see `Objective`.
      vary: dimensions, each of which needs a range; None: all that have one.
      feature: nothing that the varied dimensions change may become smaller than this along x and y, nor a gap between
        solids at one height [m]; None: no such limit.
      robust: 0, or how many standard deviations of the dimensions the worst device nearby is away.
      limits: on temperature and current density.
      fit: whose standard error an objective such as "1 / std Py.S_s" has.
      steps: so many devices at most (with `robust` two evaluations each), from each start.
      starts: the device and others, spread over the ranges: an objective may have several maxima. They are worked on
        side by side, see `parallel.tasks`; the one that ends highest counts.
      cells, order: of the grids on the way, as for `model.build`; the start and the end are computed once more, at
        one order more and with twice the cells.
      shards: accelerators that share a solve, see `Model.sharded`.
      journal: file that keeps every evaluation, from which a design that was interrupted goes on.
      progress: is told what goes on.
    Raises:
      ValueError: an objective or dimension that does not exist, a dimension without range, a start that breaks a limit.
      NotConverged: a solve did not converge at the start.
    """
    if isinstance(objective, str):
        objective = Objective.parse(objective, device)
    names = _varied(device, vary)
    if robust < 0:
        raise InputError(f"robust: got {robust:g}, expected a number of standard deviations, 0 or more")
    stds = np.array([device.dimensions[name].std or 0.0 for name in names])
    if robust and not np.any(stds):
        raise InputError(f"robust: none of {', '.join(names)} has a std; give them one in [dimensions]")
    _limits(device, names, feature)  # refused before any work is done
    if any(name == STD for name, _ in objective.wanted):
        _require_fit(fit, [each for name, each in objective.wanted if name == STD], device)
    most = {} if limits is None else limits.pairs(objective, device)
    if device.features.prisms and any(signal == DENSEST for _, signal in [*objective.wanted, *most]):
        raise InputError(
            f"device '{device.name}' has polygons, and {DENSEST} is a mean over the blocks between faces that boxes "
            "have; limit the temperature instead"
        )
    asked = repr((device, str(objective), names, cells, order, *((most, fit) if most or fit else ())))
    kept = None if journal is None else Journal(Path(journal), asked)
    task = Task(objective, tuple(names), most, fit, progress, shards, starts)

    def way(start: Device, solver: solve.Solver | None) -> tuple[Device, str, list[Step]] | None:
        """From a start to the best device, what ended it, and all devices on the way; None where there is no way."""
        found: list[Step] = []
        asked = dataclasses.replace(task, solver=solver)
        current, message = start, "no better device nearby"
        for number in range(GRIDS):
            before = len(found)
            try:
                current, message = _on_one_grid(
                    current, asked, feature, robust * stds, steps - before, (cells, order), kept, found
                )
            except (ValueError, NotConverged):
                if start is device:
                    raise
                return None
            stretched = _stretch(found[before].lengths, current, names)
            if len(found) >= steps or stretched < 0.9 * STRETCH:
                break
            if progress is not None:
                progress(f"grid {number + 2}: faces have moved by up to a factor of {stretched:.2g}")
        return current, message, found

    begun = [device, *_scattered(device, names, feature, starts)]
    size = 1 if len(begun) == 1 else min(tasks.capacity(task.model(device, (cells, order))), len(begun))
    ends = tasks.run_batched((functools.partial(way, each) for each in begun), size)
    ways = [each for each in ends if each is not None]
    tops = [_best(found) for *_, found in ways]
    current, message, found = ways[tops.index(_best(tops))]
    finer = None if cells is None else 2 * cells
    start, end = (checked(each, task, finer, min(order + 1, 3)) for each in (device, current))
    others = tuple(tops) if len(tops) > 1 else ()
    return Design(current, device, objective, tuple(names), tuple(found), start, end, message, most, others)


def _best(steps: Sequence[Step]) -> Step:
    """The highest objective within the limits; where none keeps them, the step that is nearest to that."""
    real = [step for step in steps if math.isfinite(step.objective)]
    within = [step for step in real if step.excess <= 1 + SLACK]
    return max(within, key=lambda step: step.objective) if within else min(real, key=lambda step: step.excess)


def _scattered(device: Device, names: Sequence[str], feature: float | None, starts: int) -> list[Device]:
    """Other starts: devices within the ranges that keep the smallest feature, of a Sobol sequence; fewer if few do."""
    ends = np.array([device.dimensions[name].range for name in names])
    out: list[Device] = []
    # The first point of the sequence is a corner.
    for point in qmc.Sobol(len(names), scramble=False).random_base2(TRIES)[1:]:
        if len(out) == starts - 1:
            break
        try:
            other = device.moved(dict(zip(names, map(float, ends[:, 0] + point * np.ptp(ends, axis=1)), strict=True)))
            _limits(other, names, feature)
        except ValueError:
            continue
        out.append(other)
    return out


@dataclasses.dataclass(frozen=True)
class Task:
    """What a design is to do, how many devices solve for it, and how many starts share them out."""

    objective: Objective
    names: tuple[str, ...]
    limits: Mapping[Pair, float]
    fit: Fit | None
    progress: Progress | None
    shards: int = 1
    starts: int = 1
    solver: solve.Solver | None = None

    def model(self, device: Device, grid: tuple[int | None, int]) -> Model:
        """A device on the way, on a grid of so many cells and that order."""
        made = build(device, cells=grid[0], order=grid[1], progress=self.progress)
        return tasks.split_for(made, self.starts, self.shards)

    @property
    def wanted(self) -> list[Pair]:
        """Quantities of the objective, then others that are limited."""
        own = self.objective.wanted
        return own + [pair for pair in self.limits if pair not in own]

    def kept(self, values: np.ndarray, jacobian: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """ln(limit / value) of everything that is limited, and derivatives."""
        places = [self.wanted.index(pair) for pair in self.limits]
        most = np.array(list(self.limits.values()))
        return np.log(most / np.abs(values[places])), -jacobian[places] / values[places, None]


def _require_fit(fit: Fit | None, names: Sequence[str], device: Device) -> None:
    if fit is None or not fit.rows:
        raise InputError(
            f"objective: the standard error of {names[0]} needs the data of a fit, of which the stds count"
        )
    found = [
        f"free: got '{name}'; {nearest(name, device.parameters())}"
        for name in fit.free
        if name not in device.parameters()
    ]
    found += [f"free: {name} is not there, its standard error would be 0" for name in names if name not in fit.free]
    if len(fit.rows) < len(fit.free):
        found.append(f"free: {len(fit.free)} parameters and {len(fit.rows)} rows of data, expected no more than these")
    if found:
        raise InputError("\n".join(found))


def _varied(device: Device, vary: Sequence[str] | None) -> list[str]:
    if not device.dimensions:
        raise InputError(f"device '{device.name}' names no dimensions; give its file a table [dimensions]")
    names = [n for n, each in device.dimensions.items() if each.range is not None] if vary is None else list(vary)
    unknown = [name for name in names if name not in device.dimensions]
    if unknown:
        raise InputError("\n".join(f"vary: got '{name}'; {nearest(name, device.dimensions)}" for name in unknown))
    without = [name for name in names if device.dimensions[name].range is None]
    if without or not names:
        raise InputError(
            f"vary: {', '.join(without) or 'no dimension'} has no range; give it one in [dimensions], such as "
            "{ value = 100, range = [50, 200] }"
        )
    return names


@dataclasses.dataclass(frozen=True)
class _Limits:
    """matrix @ lengths >= low, in metres."""

    matrix: np.ndarray
    low: np.ndarray
    what: list[str]


def _limits(device: Device, names: Sequence[str], feature: float | None) -> _Limits:
    """Faces keep their order, come no closer and part no farther than `STRETCH` allows; no feature is too small."""
    at = np.array([device.lengths()[name] for name in names])
    matrix: list[np.ndarray] = []
    low: list[float] = []
    what: list[str] = []

    def ask(row: np.ndarray, value: float, least: float, text: str) -> None:
        if np.any(row):
            matrix.append(row)
            low.append(least - value + float(row @ at))
            what.append(text)

    for axis in range(3):
        faces, moves = device.face_slopes(axis)
        motion = np.array([[each.get(name, 0.0) for name in names] for each in moves])
        for row, width, edge in zip(np.diff(motion, axis=0), np.diff(faces), faces, strict=False):
            where = f"{AXES[axis]} from {1e9 * edge:g} to {1e9 * (edge + width):g} nm"
            ask(row, width, max(width / STRETCH, min(CLOSEST, width)), where)
            ask(-row, -width, -STRETCH * width, where)
    if feature is not None:
        faults = []
        for text, row, size in _features(device, names):
            ask(row, size, feature, text)
            if np.any(row) and size < feature * (1 - 1e-9):
                faults.append(f"feature: {text} is {1e9 * size:g} nm already, expected {1e9 * feature:g} nm or more")
        if faults:
            raise InputError("\n".join(faults))
    return _Limits(np.array(matrix).reshape(len(matrix), len(names)), np.array(low), what)


def _features(device: Device, names: Sequence[str]) -> list[tuple[str, np.ndarray, float]]:
    """Sides of solids along x and y, and gaps between solids that face each other: name, derivative, size [m]."""
    out = []

    def motion(slopes: Mapping[str, float]) -> np.ndarray:
        return np.array([slopes.get(name, 0.0) for name in names])

    def open_between(a: Solid, b: Solid, axis: int) -> bool:
        """Return True if they face each other along an axis with nothing in the middle."""
        sides = [(max(a.box[k][0], b.box[k][0]), min(a.box[k][1], b.box[k][1])) for k in range(3)]
        middle = [(low + high) / 2 for low, high in sides]
        facing = all(low < high for k, (low, high) in enumerate(sides) if k != axis)
        return facing and not any(
            all(low <= at <= high for at, (low, high) in zip(middle, each.box, strict=True)) for each in device.solids
        )

    for axis in (0, 1):
        for solid in device.solids:
            (low, high), ends = solid.slopes(axis), solid.box[axis]
            out.append((f"'{solid.name}' along {AXES[axis]}", motion(high) - motion(low), ends[1] - ends[0]))
            for other in device.solids:
                gap = other.box[axis][0] - ends[1]
                if gap > 0 and open_between(solid, other, axis):
                    row = motion(other.slopes(axis)[0]) - motion(high)
                    out.append((f"the gap between '{solid.name}' and '{other.name}' along {AXES[axis]}", row, gap))
    return out


def _stretch(start: Mapping[str, float], device: Device, names: Sequence[str]) -> float:
    """By what factor distances between faces have changed at most."""
    before = device.moved({name: start[name] for name in names})
    ratios = [
        np.diff(device.face_slopes(axis)[0]) / np.diff(before.face_slopes(axis)[0]) for axis in range(3)
    ]  # in one order, see _limits
    return float(max(np.max(np.maximum(each, 1 / each)) for each in ratios))


def _on_one_grid(
    device: Device,
    task: Task,
    feature: float | None,
    off: np.ndarray,
    left: int,
    grid: tuple[int | None, int],
    journal: Journal | None,
    found: list[Step],
) -> tuple[Device, str]:
    """The best device that one grid can follow, and why it ended; adds every device to `found`."""
    objective, names, progress = task.objective, task.names, task.progress
    first = len(found)
    number = found[-1].grid + 1 if found else 1
    bare = _Predict(task.model(device, grid), task)
    predict: Predict = bare
    if journal is not None:
        # By what it was made for: the same question on the second grid of another way is another one.
        predict = journal.keep(bare, f"grid for {sorted(device.lengths().items())}", bare.parts)
    numbers = device.numbers()
    ends = np.array([device.dimensions[name].range for name in names])
    origin, size = ends[:, 0], ends[:, 1] - ends[:, 0]
    limits = _limits(device, names, feature)
    known: dict[bytes, tuple[float, np.ndarray, np.ndarray, np.ndarray]] = {}

    def at(lengths: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        found = predict(numbers | dict(zip(names, map(float, lengths), strict=True)), names)
        return *objective.of(*found), *task.kept(*found)

    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        if x.tobytes() not in known:
            if len(found) - first >= left:
                raise _Enough
            lengths = origin + size * x
            value, slope, room, rooms = at(lengths)
            if np.any(off) and np.any(slope * off):
                towards = off**2 * slope / np.linalg.norm(off * slope)
                value, slope, *_ = at(lengths - towards)
            known[x.tobytes()] = value, slope * size, room, rooms * size
            here = dict(zip(names, map(float, lengths), strict=True))
            excess = float(np.exp(-room.min())) if len(room) else 0.0
            found.append(Step(here, math.exp(value) if math.isfinite(value) else math.nan, number, excess))
            if progress is not None:
                progress(f"device {len(found)}, grid {number}: {objective} = {found[-1].objective:.5g}")
        return known[x.tobytes()]

    def negative(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope, *_ = evaluate(x)
        # No device there: as bad as a hundredth, for the line search to turn back.
        return (-value, -slope) if math.isfinite(value) else (-evaluate(start)[0] + math.log(1e2), np.zeros(len(x)))

    start = (np.array([device.lengths()[name] for name in names]) - origin) / size
    scale = limits.matrix * size
    constraint = {
        "type": "ineq",
        "fun": lambda x: (scale @ x - limits.low + limits.matrix @ origin) / size.mean(),
        "jac": lambda _: scale / size.mean(),
    }
    constraints = [constraint] if len(limits.low) else []
    if task.limits:
        # No device there: far beyond every limit.
        constraints.append(
            {
                "type": "ineq",
                "fun": lambda x: np.nan_to_num(evaluate(x)[2], nan=-1.0),
                "jac": lambda x: np.nan_to_num(evaluate(x)[3]),
            }
        )
    try:
        result = optimize.minimize(
            negative,
            start,
            jac=True,
            bounds=[(0.0, 1.0)] * len(names),
            constraints=constraints,
            method="SLSQP",
            options={"ftol": TOLERANCE, "maxiter": 1000},
        )
        message = str(result.message).rstrip(".") if not result.success else "no better device nearby"
    except _Enough:
        message = "as many evaluations as were allowed"
    return device.moved(_best(found[first:]).lengths), message


def checked(device: Device, task: Task, cells: int | None, order: int) -> Check:
    """The objective on a grid of its own, with error bars, and how far the dimensions' stds move it."""
    objective, names, progress = task.objective, task.names, task.progress
    if progress is not None:
        progress(f"once more at order {order}")
    model = build(device, cells=cells, order=order, progress=progress).sharded(task.shards)
    measured = accuracy.assess(model, signals.measure(model, progress=progress), progress=progress)
    stds = np.array([device.dimensions[name].std or 0.0 for name in names])
    found, jacobian = _Predict(model, task)(device.numbers(), names if np.any(stds) else ())
    special = {pair for pair in task.wanted if pair[0] == STD or pair[1] in (HOTTEST, DENSEST)}
    values = {
        pair: (value, math.nan) if pair in special else (measured[pair], measured.error(*pair))
        for pair, value in zip(task.wanted, map(float, found), strict=True)
    }
    if special:
        # No adjoint has its error bar; the order below has another one, far larger.
        below = model.with_grid(dataclasses.replace(model.grid, order=order - 1), progress=progress)
        others = _Predict(below, task)(device.numbers(), ())[0]
        values = {
            pair: (value, abs(value - float(other)) if math.isnan(error) else error)
            for (pair, (value, error)), other in zip(values.items(), others, strict=True)
        }
    ratio = math.exp(objective.of(np.array([v for v, _ in values.values()]), np.zeros((len(values), 1)))[0])
    own = [values[pair] for pair in objective.wanted]
    bar = ratio * math.sqrt(sum((error / value) ** 2 for value, error in own))
    spread = math.nan
    if np.any(stds):
        spread = float(np.linalg.norm(objective.of(found, jacobian)[1] * stds))
    return Check(values, (ratio, bar), spread)
