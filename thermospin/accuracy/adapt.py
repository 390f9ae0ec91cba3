"""A grid that the signals choose: adjoint-weighted indicators on each axis, and grid lines where those ask for them.

The error of a signal is, to the second order, the form of the operator on the errors of a field and of its adjoint
(docs/accuracy.md). Both errors show in the highest polynomials that a solution has along a grid line: where these are
small the fields are resolved. Their product, summed over all other directions, says what each slab of cells costs in
accuracy; the cells in it say what it costs in unknowns; grid lines go where one more helps most.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from thermospin.accuracy import error_bars, surplus
from thermospin.base import lines
from thermospin.base.errors import InputError, NotConverged
from thermospin.base.kinds import as_mapping, require_whole
from thermospin.base.names import SignalName
from thermospin.base.shown import Plotted
from thermospin.base.text import percent
from thermospin.device.constitution import Parameters
from thermospin.device.device import Device
from thermospin.device.parts import Experiment
from thermospin.geometry.grid_rule import COARSEST, Features, at_coarseness, choose
from thermospin.grid import Grid
from thermospin.model import Model, Progress, on_grid
from thermospin.signals import evaluate
from thermospin.signals.results import Signals

#: Factor by which cells may grow from one to the next, less one. Towards edges where fields are singular the best grid
#: is geometric, and the more so the higher the order.
GROWTH = {1: 1.5, 2: 4.0, 3: 8.0}
#: Size of the grid before that of a budget, as a part of it, its least number of cells, and its highest order: where to
#: put lines shows on a grid that resolves something.
PASS, ENOUGH, PASSING_ORDER = 1 / 7, 1000, 2
#: A signal of which more than this multiple of it is unresolved on the first grid, by the order there, is a small rest
#: of what cancels: to resolve it to a percent would take more unknowns than there may be.
REST = {1: 3.0, 2: 1.0, 3: 0.25}
#: Cells at order 3 of the first grid for a tolerance, at other orders as many unknowns; fewer where the rule has fewer.
START = 1500
#: Error bars are expected to fall like cells^-RATE; grids grow by a factor between these bounds at a time.
RATE, LEAST_GROWTH, MOST_GROWTH = 0.9, 1.5, 6.0
#: About the largest number of unknowns of a grid that a tolerance leads to.
MOST_UNKNOWNS = 4_000_000
#: This part of an even share is added to what a slab contributes, so that grids get finer everywhere in the end.
UNSEEN = 1e-3
#: Largest factor by which a cell becomes smaller or larger from one grid to the next.
CHANGE = 32.0
#: Range of the logarithm of the level within which a budget is looked for.
LEVELS = 30.0
#: A signal of which the indicators add up to more than this part of it is what is left of contributions that cancel
#: (or is far from being resolved); it counts less the worse that is, for it would take all lines for itself.
CANCELLATION = 0.5


@dataclasses.dataclass(frozen=True)
class Step:
    """One grid of the path.

    Attributes:
      cells, unknowns: its size.
      wall_s: time from its choice to its signals or indicators [s].
      worst: signal with the largest relative error bar, and that bar; None on grids that were only passed through.
    """

    cells: int
    unknowns: int
    wall_s: float
    worst: tuple[str, float] | None = None

    def __str__(self) -> str:
        bar = "" if self.worst is None else f", {self.worst[0]} good to {self.worst[1]:.2g} of its value"
        return f"{self.cells:,} cells, {self.unknowns:,} unknowns, {self.wall_s:.1f} s{bar}"


#: Why there is no finer grid where the user has stopped it.
INTERRUPTED = "interrupted"


@dataclasses.dataclass(frozen=True, eq=False)
class Adapted(Plotted):
    """Signals on a grid that was chosen for them.

    Attributes:
      model: the device on the last grid.
      signals: on it, with error bars.
      path: all grids, the last one last.
      rests: signals that the tolerance is not for, "experiment R1.spin", and how many times as large as the signal the
        contributions are that the first grid does not resolve, most of which cancel.
      met: whether all others are within the tolerance; True where none was given.
      stopped: why there is no finer grid, where one was tried and failed, or `INTERRUPTED`.
      missed: what the tolerance was missed for otherwise, in words; "" where it was not.
    """

    model: Model
    signals: Signals
    path: tuple[Step, ...]
    rests: dict[str, float]
    met: bool
    stopped: str = ""
    missed: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return what `Signals.to_json` returns, and the path."""
        path = [{"cells": step.cells, "unknowns": step.unknowns, "wall_s": step.wall_s} for step in self.path]
        return self.signals.to_json() | {"path": path} | ({"stopped": self.stopped} if self.stopped else {})

    def words(self) -> list[str]:
        """Return the path, and what was left out, line by line."""
        lines = [f"grid {number}: {step}" for number, step in enumerate(self.path, 1)]
        for name, times in self.rests.items():
            lines.append(
                f"{name} does not count: it is zero"
                if math.isinf(times)
                else f"{name} counts less: what is unresolved of it is {times:.2g} times as large, and no grid is "
                "refined for it; see its error bar"
            )
        if self.missed:
            lines.append(self.missed)
        if self.stopped == INTERRUPTED:
            lines.append("a finer grid was interrupted; these are the numbers of the one before")
        elif self.stopped:
            lines.append(f"a finer grid failed: {self.stopped}")
        return lines


def adapt(
    device: Device,
    *,
    cells: int | None = None,
    tolerance: float | None = None,
    order: int = 3,
    wanted: Sequence[tuple[str, str] | str] | None = None,
    harmonics: int = 2,
    parameters: Parameters | None = None,
    shards: int = 1,
    first: Grid | None = None,
    rest: float | None = None,
    most: int | None = None,
    between: Callable[[Adapted], None] | None = None,
    progress: Progress | None = None,
) -> Adapted:
    """Compute signals on a grid whose lines are where they matter most for these signals.

    For a budget: solves on a coarse grid with elements of order 2, puts the lines where the indicators ask for them,
    and solves again. For a tolerance: solves on a grid of the rule, and, as long as error bars are wider, on one of as
    many cells as the tolerance is expected to take, whose lines the indicators of the grid before have placed; no grid
    lowers the bar of the solver, which therefore asks for none. An interrupt (Ctrl-C) on such a grid returns what the
    one before has led to.

    Args:
      device: what is to be computed.
      cells: budget of cells.
      tolerance: largest relative error bar of any signal that is not a small rest of what cancels; instead of `cells`.
      order: polynomial order 1, 2 or 3.
      wanted: signals that the grid is for, such as ("thermal", "R2.spin"); None: baseline and spin part of all, but R1
        alone where heat is the drive, R2 being the Joule heat of thermoelectric currents.
      harmonics: highest harmonic that is computed.
      parameters: values by name; those left out are the device's own.
      shards: accelerators that share a solve, see `Model.sharded`; grids with too few cells for them are left to one.
      first: the first grid for a tolerance; None: of the rule, small.
      rest: a signal of which more than this multiple is unresolved on the first grid is a small rest of what cancels;
        None: 0.25 for order 3.
      most: largest number of unknowns of a grid that a tolerance leads to, about; None: `MOST_UNKNOWNS`.
      between: callback before each finer grid, for what is returned if that is interrupted.
      progress: callback for messages.
    Raises:
      ValueError: neither or both of budget and tolerance, one that is out of range, or a budget below one cell between
        neighbouring faces.
      NotConverged: a solve on the first grid missed its tolerance, or on that of a budget.
    """
    order = _checked_order(cells, tolerance, order)
    if most is not None:
        most = require_whole("most", most, 1)
    if rest is not None and not rest > 0:
        raise InputError(f"rest: got {rest:g}, expected a multiple of a signal, above 0")
    names = _names(device, wanted, harmonics)
    path = _Path(device, names, harmonics, as_mapping("parameters", parameters), shards, rest, progress)
    if cells is not None:
        before = _grid_before(device.features, order, cells)
        coarse = path.indicators_on(before)
        last = path.solved(redistributed(device.features, before, coarse.slabs, cells, order), coarse.rests)
        return Adapted(last.model, last.signals, tuple(path.steps), coarse.rests, True)
    assert tolerance is not None
    last, stopped = path.solved(first or _first_grid(device.features, order)), ""
    rests, most = last.indicators.rests, most or MOST_UNKNOWNS
    while last.of_grid[1] > tolerance:
        growth = min(_growth(last.of_grid[1] / tolerance), most / last.model.unknowns)
        if growth < LEAST_GROWTH:
            break
        if progress is not None:
            progress(f"{device.name}: bars are over {tolerance:.2g} of signals; once more on a grid that these choose")
        if between is not None:
            between(Adapted(last.model, last.signals, tuple(path.steps), rests, False, INTERRUPTED))
        grid, size = last.model.grid, int(growth * last.model.cells)
        try:
            last = path.solved(redistributed(device.features, grid, last.indicators.slabs, size, order), rests)
        except (InputError, NotConverged, KeyboardInterrupt) as error:  # numbers that are there are not lost
            stopped = INTERRUPTED if isinstance(error, KeyboardInterrupt) else str(error)
            break
    missed = "" if stopped else _missed(last, tolerance, most)
    return Adapted(last.model, last.signals, tuple(path.steps), rests, last.worst[1] <= tolerance, stopped, missed)


def _missed(last: _Solved, tolerance: float, most: int) -> str:
    """Return why the bars on the last grid are over the tolerance, "" where they are not."""
    (name, bar), (of_grid, bar_of_grid) = last.worst, last.of_grid
    if bar_of_grid > tolerance:
        over = f"{of_grid} is good to {percent(bar_of_grid)} by its grid, over {percent(tolerance)}"
        return f"{over}: a finer one would exceed {most:,} unknowns; a budget of cells may have more"
    if bar > tolerance:
        errors, signal = last.signals.errors, SignalName.of(name)
        assert errors is not None
        solver = percent(errors.solver[signal] / errors.total(signal) * bar)
        over = f"{name} is good to {percent(bar)}, over {percent(tolerance)}"
        return f"{over}: {solver} is the bar of the solver, which no grid lowers"
    return ""


def _names(device: Device, wanted: Sequence[tuple[str, str] | str] | None, harmonics: int) -> list[tuple[str, str]]:
    """Return the signals that a grid is for, see `adapt`."""
    if wanted is None:
        wanted = [
            (name, part)
            for name, experiment in device.experiments.items()
            for part in parts_of(experiment, harmonics if experiment.drive == "current" else 1)
        ]
    names = [(n.experiment, n.signal) for n in SignalName.each(wanted)]
    if not names:
        raise InputError(
            f"wanted: got no signal of device '{device.name}', expected such as \"thermal R2.spin\"; its experiments "
            f"are {', '.join(device.experiments) or 'none'}"
        )
    return names


class _Solved(NamedTuple):
    """Signals on a grid, what the grid does not resolve of them, and the largest relative bars that count.

    Attributes:
      worst: signal with the largest bar of grid and solver together, and that bar.
      of_grid: the same for the bar of the grid alone.
    """

    model: Model
    signals: Signals
    indicators: Indicators
    worst: tuple[str, float]
    of_grid: tuple[str, float]


@dataclasses.dataclass(frozen=True)
class _Path:
    """The grids of `adapt`, whose arguments these are; `steps` are those so far."""

    device: Device
    wanted: Sequence[tuple[str, str]]
    harmonics: int
    values: Mapping[str, Any]
    shards: int
    rest: float | None
    progress: Progress | None
    steps: list[Step] = dataclasses.field(default_factory=list)

    @property
    def names(self) -> list[SignalName]:
        return [SignalName.parse(*pair) for pair in self.wanted]

    def indicators_on(self, grid: Grid) -> Indicators:
        """Solve on a grid that only tells where lines go."""
        began, model = time.monotonic(), self._model(grid)
        evaluation = evaluate.evaluate(
            model, self.values, self.wanted, ("zeta",), progress=self.progress, tolerance=surplus.PASSING
        )
        parts = surplus.contributions(model, evaluation.fields, self.names, self.values)
        values = dict(zip(self.names, evaluation.values.tolist(), strict=True))
        of_slabs = indicators(model, values, parts, self.rest)
        self._note(model, began)
        return of_slabs

    def solved(self, grid: Grid, rests: Mapping[str, float] | None = None) -> _Solved:
        """Solve on a grid with error bars; `rests` are those of the first grid, None where this is it."""
        began, model = time.monotonic(), self._model(grid)
        harmonics = max(self.harmonics, *(name.harmonic for name in self.names))
        result = error_bars.solved_with_errors(model, self.values, harmonics, wanted=self.names, progress=self.progress)
        parts = {name: result.contributions[name] for name in self.names}
        of_slabs = indicators(model, result.signals.values, parts, self.rest)
        left_out = of_slabs.rests if rests is None else rests
        counting = [name for name in self.names if str(name) not in left_out] or self.names
        errors = result.signals.errors
        assert errors is not None
        worst, of_grid = (_worst(result.signals, counting, bar) for bar in (errors.total, errors.grid.__getitem__))
        self._note(model, began, worst)
        return _Solved(model, result.signals, of_slabs, worst, of_grid)

    def _model(self, grid: Grid) -> Model:
        enough = max(len(line) for line in grid.lines) > self.shards
        return on_grid(self.device, grid, progress=self.progress).sharded(self.shards if enough else 1)

    def _note(self, model: Model, began: float, worst: tuple[str, float] | None = None) -> None:
        self.steps.append(Step(model.cells, model.unknowns, time.monotonic() - began, worst))
        if self.progress is not None:
            self.progress(f"{self.device.name}: {self.steps[-1]}")


def _grid_before(features: Features, order: int, cells: int) -> Grid:
    """Return the grid that says where the lines of a budget go."""
    coarsest = at_coarseness(features, order, COARSEST).cells
    if cells < coarsest:
        choose(features, order, cells)  # raises
    return choose(features, min(order, PASSING_ORDER), int(max(PASS * cells, min(cells, ENOUGH), coarsest)))


def _first_grid(features: Features, order: int) -> Grid:
    """Return the first grid for a tolerance."""
    whole, coarsest = choose(features, order), at_coarseness(features, order, COARSEST).cells
    cells = max(int(START * (3 / order) ** 3), coarsest)
    return whole if whole.cells <= cells else choose(features, order, cells)


def _growth(excess: float) -> float:
    """Return how many times as many cells are asked for by a bar so many times as wide as wanted."""
    return float(np.clip(excess ** (1 / RATE), LEAST_GROWTH, MOST_GROWTH))


def _checked_order(cells: int | None, tolerance: float | None, order: int) -> int:
    """Return the order; refuse what makes no grid."""
    if (cells is None) == (tolerance is None):
        raise InputError(f"give either cells or tolerance; got cells={cells}, tolerance={tolerance}")
    if tolerance is not None and not 0 < tolerance < 1:
        raise InputError(f"tolerance is {tolerance:g}; it is a part of the signals, between 0 and 1, such as 0.01")
    if cells is not None:
        require_whole("cells", cells, 1)
    return require_whole("order", order, min(GROWTH), max(GROWTH))


def parts_of(experiment: Experiment, highest: int) -> list[str]:
    """Return the signals that a grid serves: baseline and spin part where there are P and AP, else all states."""
    return [f"R{n}.{part}" for n in range(1, highest + 1) for part in experiment.shown_parts]


@dataclasses.dataclass(frozen=True, eq=False)
class Indicators:
    """What adds to the relative errors of signals on a grid, up to a factor.

    Attributes:
      slabs: of each slab of cells across x, y and z, summed over signals (slabs,) for each axis.
      rests: signals that are the small rest of contributions that cancel: all that is unresolved of each, over its
        value.
    """

    slabs: list[np.ndarray]
    rests: dict[str, float]


def indicators(
    model: Model,
    values: Mapping[SignalName, float],
    contributions: Mapping[SignalName, Sequence[np.ndarray]],
    rest: float | None = None,
) -> Indicators:
    """Estimate what each slab of cells across x, y and z adds to the relative errors of the signals, up to a factor.

    Contributions of the highest polynomials (`surplus.contributions`), their absolute values summed over the segments
    of a slab, divided by the signal, and summed over the signals. Signals that are the small rest of contributions that
    cancel would take all lines for themselves; see `CANCELLATION`.

    Args:
      model: where it was solved.
      values: of signals, SI units.
      contributions: to those that the grid is for.
      rest: see `adapt`.
    """
    slabs = [_slabs(model, axis) for axis in range(3)]
    total = [np.zeros(len(model.grid.lines[axis]) - 1) for axis in range(3)]
    relative: dict[str, float] = {}
    for signal, parts in contributions.items():
        value = values[signal]
        sizes = [np.bincount(slabs[a], np.abs(parts[a]), len(total[a])) for a in range(3)]
        whole = surplus.total(parts)
        relative[str(signal)] = whole / abs(value) if value else math.inf
        weight = abs(value) / (value * value + (whole / CANCELLATION) ** 2) if value else 0.0
        total = [before + weight * size for before, size in zip(total, sizes, strict=True)]
    least = REST[model.grid.order] if rest is None else rest
    return Indicators(total, {name: size for name, size in relative.items() if size > least})


def _worst(signals: Signals, names: Sequence[SignalName], bar: Callable[[SignalName], float]) -> tuple[str, float]:
    """Return the signal whose bar is the largest part of it, and that part."""
    relative = {name: bar(name) / max(abs(signals.values[name]), 1e-300) for name in names}
    name = max(relative, key=lambda signal: relative[signal])
    return str(name), relative[name]


def _slabs(model: Model, axis: int) -> np.ndarray:
    """Return the slab of cells that every segment of an axis lies in (segments,)."""
    shape = tuple(len(nodes) for nodes in model.grid.nodes)
    first = model.disc.index_T[np.asarray(model.disc.axes[axis].nodes_T)[0]]
    return np.unravel_index(first, shape)[axis] // model.grid.order % (shape[axis] // model.grid.order)


def _costs(grid: Grid, metals: np.ndarray) -> list[np.ndarray]:
    """Return for each axis the unknowns that another slab like a present one would add (slabs,), up to a factor."""
    live = grid.domain >= 0
    unknowns = live.astype(float) + 2 * (live & metals[grid.domain])
    return [unknowns.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]


def _lines(
    features: Features,
    grid: Grid,
    contributions: Sequence[np.ndarray],
    costs: Sequence[np.ndarray],
    level: float,
    order: int,
) -> list[np.ndarray]:
    """Return grid lines for which every slab contributes about `level` times its cost.

    Contributions of smooth fields fall like the width to the power 2 p - 1, which gives the width that is asked for
    all over a slab. At a face fields may be singular, r^(1/2) at worst, and what the first cell contributes falls like
    its width: at faces alone that is asked for.
    """
    out = []
    for axis, line in enumerate(grid.lines):
        faces, width = features.faces(axis), np.diff(line)
        ratio = level * costs[axis] / np.maximum(contributions[axis], 1e-100)
        smooth, singular = (
            width * np.clip(ratio**power, 1 / CHANGE, CHANGE) for power in (1 / max(2 * grid.order - 1, 1), 1.0)
        )
        lows, highs, sizes = [line[:-1]], [line[1:]], [smooth]
        for end in (line[:-1], line[1:]):
            at_face = np.isclose(end[:, None], faces[None, :], rtol=0, atol=1e-3 * width.min()).any(axis=1)
            lows.append(end[at_face])
            highs.append(end[at_face])
            sizes.append(singular[at_face])
        spans = np.concatenate(lows), np.concatenate(highs)
        out.append(lines.graded_lines(faces, np.concatenate(sizes), float(np.log1p(GROWTH[order])), spans))
    return out


def _with_images(of_slabs: Sequence[np.ndarray], axis: int) -> list[np.ndarray]:
    """Return numbers of slabs across each axis, those across one averaged over slabs and their mirror images."""
    return [(each + each[::-1]) / 2 if number == axis else each for number, each in enumerate(of_slabs)]


def redistributed(
    features: Features, grid: Grid, contributions: Sequence[np.ndarray], cells: int, order: int | None = None
) -> Grid:
    """Return the grid of at most `cells` cells whose lines lie where the indicators of another grid ask for them.

    Where the device and that grid are mirror images of themselves, so is this one: the errors of both halves cancel in
    a signal to which both contribute with opposite signs.

    Args:
      features: the device's faces; lines stay on all of them.
      grid: the other grid.
      contributions: of slabs, by `indicators` on it.
      cells: budget.
      order: of the elements; None: as on the other grid.
    """
    order = order or grid.order
    metals = np.zeros(max(features.domains) + 1, bool)
    metals[list(features.domains)] = features.metals
    costs = _costs(grid, metals)
    for axis, line in enumerate(grid.lines):
        if features.is_mirrored(axis) and lines.is_mirrored(line):
            contributions, costs = (_with_images(of_slabs, axis) for of_slabs in (contributions, costs))
    even = UNSEEN * sum(map(np.sum, contributions)) / sum(map(np.sum, costs))
    contributions = [size + even * cost for size, cost in zip(contributions, costs, strict=True)]

    def at(log_level: float) -> Grid:
        return features.grid(_lines(features, grid, contributions, costs, float(np.exp(log_level)), order), order)

    coarse = float(np.log(sum(map(np.sum, contributions)) / sum(map(np.sum, costs)))) + LEVELS
    fine = coarse - 2 * LEVELS
    while coarse - fine > 0.05:
        middle = (fine + coarse) / 2
        fine, coarse = (middle, coarse) if at(middle).cells > cells else (fine, middle)
    return at(coarse)
