"""Minimisers of chi2: objects with one verb, and what is made of where they end."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from scipy import optimize
from scipy.stats import qmc

from thermospin.base.errors import InputError
from thermospin.base.kinds import as_number, require_whole
from thermospin.base.lenient import lenient
from thermospin.data.rows import Row
from thermospin.inference.combinators import Copies
from thermospin.inference.identifiability import identifiability, moves, scaled_to_scatter
from thermospin.inference.misfit import Misfit, Objective, Problem
from thermospin.inference.parameters import Parameter, bounds_in_coordinates, coordinates, pressed, start_values
from thermospin.inference.predictors import Predict
from thermospin.inference.result import FitResult, Fitted
from thermospin.model import Progress
from thermospin.parallel import tasks
from thermospin.quantities import listed
from thermospin.solve import Solver

#: Relative change of chi2, or of the parameters, at which minimisers end; in `fit`, where an evaluation is expensive
#: and a standard deviation is a few percent; and in all stages but the last.
TOLERANCE = 1e-8
FIT_TOLERANCE = 1e-5
COARSE_TOLERANCE = 1e-3
#: A fit that stops where a Gauss-Newton step promises to lower chi2 by more than this (a tenth of a standard deviation,
#: squared; times the reduced chi2 if that is larger) has not converged, whatever the optimiser says.
LARGEST_GAIN = 0.01

#: How far from the given start others lie, in internal coordinates: logarithms within a factor of 3, artanh(P) within
#: 1, linear ones from minus the value to three times it.
REACH = {"log": math.log(3.0), "atanh": 1.0, "linear": 2.0}
#: Largest number of halvings of a step.
HALVINGS = 20
ENOUGH, TOO_MANY = "no step would lower chi2 by more than the tolerance", "the largest number of steps is reached"


class End(NamedTuple):
    """The end of a minimiser: internal coordinates, whether it converged, and a message."""

    x: np.ndarray
    converged: bool
    message: str


@runtime_checkable
class Minimiser(Protocol):
    """A method that lowers chi2."""

    @property
    def name(self) -> str:
        """Name in `fit(method=...)` and in reports."""
        ...

    def minimise(self, objective: Objective, x: np.ndarray, bounds: np.ndarray, tolerance: float) -> End:
        """Lower chi2 from x (free,) within bounds (2, free), until it changes by less than a tolerance."""
        ...


@dataclasses.dataclass(frozen=True)
class LeastSquares:
    """Trust-region Gauss-Newton within bounds (scipy's trf).

    Attributes:
      max_evaluations: bound on the evaluations of a stage.
    """

    max_evaluations: int = 100
    name = "least_squares"

    def minimise(self, objective: Objective, x: np.ndarray, bounds: np.ndarray, tolerance: float) -> End:
        """Run scipy; where residuals are NaN it shortens the step and tries again."""
        end = optimize.least_squares(
            objective.residuals,
            x,
            objective.jacobian,
            bounds=(bounds[0], bounds[1]),
            method="trf",
            x_scale="jac",
            ftol=tolerance,
            xtol=tolerance,
            gtol=tolerance,
            max_nfev=self.max_evaluations,
        )
        return End(end.x, end.status > 0, str(end.message).rstrip(".").replace("`", ""))


@dataclasses.dataclass(frozen=True)
class Adam:
    """Gradient descent with Adam, gradient J' r: slow, and a check on `LeastSquares`.

    Ends when a Gauss-Newton step would lower chi2 by less than a tolerance times chi2 or 1, whichever is larger; see
    `Objective.gain`.

    Attributes:
      max_evaluations: bound on the steps of a stage.
      learning_rate: first step in internal coordinates (0.05: 5 % of a value); falls to 0 along half a cosine.
    """

    max_evaluations: int = 1000
    learning_rate: float = 0.05
    name = "adam"

    def minimise(self, objective: Objective, x: np.ndarray, bounds: np.ndarray, tolerance: float) -> End:
        """Descend along the scaled gradient, in shorter steps where there is no solution."""
        import optax

        optimiser = optax.scale_by_adam()
        update_of = lenient(optimiser.update)
        rate = lenient(optax.cosine_decay_schedule(self.learning_rate, self.max_evaluations))
        state = optimiser.init(x)
        for number in range(self.max_evaluations):
            residuals, jacobian = objective.residuals(x), objective.jacobian(x)
            if objective.gain(x, bounds) <= tolerance * max(np.sum(residuals**2), 1.0):
                return End(x, True, ENOUGH)
            update, state = update_of(jacobian.T @ residuals, state)
            trial = np.clip(x - float(rate(number)) * np.asarray(update, float), *bounds)
            for _ in range(HALVINGS):
                if np.all(np.isfinite(objective.residuals(trial))):
                    break
                # Half the step, and no momentum that would carry on towards where there is no solution.
                trial, state = (x + trial) / 2, optimiser.init(x)
            else:
                return End(x, False, "there is no solution nearby")
            x = trial
        return End(x, False, TOO_MANY)


@dataclasses.dataclass(frozen=True)
class LBFGS:
    """L-BFGS, which knows the gradient of chi2 alone, with backtracking; ends as `Adam` does.

    Attributes:
      max_evaluations: bound on the evaluations of a stage.
    Source: Nocedal and Wright, Numerical Optimization (2006), algorithms 3.1 and 7.4.
    """

    max_evaluations: int = 300
    name = "lbfgs"

    def minimise(self, objective: Objective, x: np.ndarray, bounds: np.ndarray, tolerance: float) -> End:
        """Take quasi-Newton steps along coordinates that do not press against a bound."""
        import jax
        import optax

        optimiser = optax.scale_by_lbfgs(memory_size=10)
        # Compiled as one: eagerly it is a hundred small programs.
        step_of = lenient(jax.jit(optimiser.update))
        state, left, inactive = optimiser.init(x), self.max_evaluations, np.zeros(len(x), bool)
        while left > 0:
            residuals = objective.residuals(x)
            half, gradient = objective.chi2(x) / 2, objective.jacobian(x).T @ residuals
            if objective.gain(x, bounds) <= 2 * tolerance * max(half, 0.5):
                return End(x, True, ENOUGH)
            before, inactive = inactive, pressed(x, gradient, bounds)
            gradient = np.where(inactive, 0.0, gradient)
            if np.any(inactive != before):
                state = optimiser.init(x)  # the curvature seen so far was that of other coordinates
            update, state = step_of(gradient, state, x)
            step = -np.asarray(update, float)
            if step @ gradient >= 0:
                state, step = optimiser.init(x), -gradient
            if not np.any(state.diff_params_memory):
                # No curvature is known yet: take a tenth of a value, a moderate step in every coordinate.
                step = step * min(1.0, 0.1 / float(np.max(np.abs(step))))
            for _ in range(HALVINGS):
                left -= 1
                trial = np.clip(x + step, *bounds)
                # NaN, where there is no solution, compares as false.
                if objective.chi2(trial) / 2 <= half + 1e-4 * gradient @ (trial - x):
                    break
                step = step / 2
            else:
                return End(x, False, "no step along the gradient lowers chi2")
            x = trial
        return End(x, False, TOO_MANY)


#: Minimisers by the name that `fit(method=...)` takes.
MINIMISERS: dict[str, Minimiser] = {known.name: known for known in (LeastSquares(), Adam(), LBFGS())}


def scattered(free: Sequence[Parameter], starts: int) -> list[np.ndarray]:
    """Return starts in internal coordinates: the given one, and a Sobol sequence within given bounds, else `REACH`."""
    first, bounds = coordinates(free, start_values(free)), bounds_in_coordinates(free)
    reach = np.array([REACH[parameter.kind.transform] for parameter in free])
    given = np.array([parameter.bounds is not None for parameter in free]) & np.isfinite(bounds)
    low, high = np.where(given, bounds, [first - reach, first + reach])
    # The first point of the sequence is a corner.
    points = qmc.Sobol(len(free), scramble=False).random_base2((max(starts, 1) - 1).bit_length())[1:starts]
    return [first, *(np.clip(low + point * (high - low), *bounds) for point in points)]


def minimise(
    minimiser: Minimiser,
    stages: Sequence[Predict],
    rows: Misfit | Sequence[Row],
    free: Sequence[Parameter],
    fixed: Mapping[str, float] | None = None,
    *,
    rescaled: bool = False,
    starts: int = 1,
    copies: Copies | None = None,
    tolerance: float = TOLERANCE,
    progress: Progress | None = None,
) -> FitResult:
    """Minimise chi2 stage by stage, and return the statistics of the end.

    Args:
      minimiser: the method.
      stages: models of the same data, cheap ones first; each starts where the one before ended, the last decides.
      rows: measured signals, or `Misfit` of them.
      free: parameters to fit.
      fixed: every other number that the models need, SI units.
      rescaled: take the stds of the data as relative weights, see `scaled_to_scatter`.
      starts: number of starts of the first stage, see `scattered`; the next stage starts from the lowest minimum.
      copies: of the first stage, to run starts concurrently; None: sequentially.
      tolerance: relative change of chi2 or of the parameters at which the last stage ends.
      progress: callback for chi2 and the parameters at every evaluation.
    Raises:
      ValueError: no rows, no parameters, or no solution at the start.
    """
    starts = require_whole("starts", starts, 1)
    check_rows(rows.rows if isinstance(rows, Misfit) else rows, [parameter.name for parameter in free], rescaled)
    misfit = Misfit.of(rows)
    bounds = bounds_in_coordinates(free)
    evaluations = 0

    def count(number: int, chi2: float, values: Mapping[str, float]) -> None:
        nonlocal evaluations
        evaluations += 1
        if progress is not None:
            result = f"chi2 = {chi2:.4g}" if math.isfinite(chi2) else "no solution"
            progress(f"stage {number} of {len(stages)}, evaluation {evaluations}: {result} at {listed(values)}")

    start = start_values(free)
    x = first = coordinates(free, start)
    before: np.ndarray | None = None
    minima: list[tuple[float, dict[str, float]]] = []
    for number, predict in enumerate(stages, 1):
        last = number == len(stages)
        if last and number > 1:
            before = np.asarray(predict({**(fixed or {}), **start}, ())[0], float)
        objective = Objective(predict, misfit, free, fixed or {}, functools.partial(count, number))
        if number > 1 and not np.all(np.isfinite(objective.residuals(x))):
            x = first  # the low-order model led astray
        if not np.all(np.isfinite(objective.residuals(x))):
            where = listed(objective.values_at(x))
            raise InputError(f"the model has no solution at the start of stage {number}: {where}; start elsewhere")
        if last and before is None:
            before = objective.values
        wanted = tolerance if last else COARSE_TOLERANCE
        if number == 1 and starts > 1:
            minima, x = _lowest(minimiser, objective, scattered(free, starts), bounds, copies)
        x, converged, message = minimiser.minimise(objective, x, bounds, wanted)
    assert before is not None
    end = _End(objective, x, bounds, before, converged, message, evaluations, tuple(minima))
    return _result(minimiser, end, rescaled)


def with_scatter(result: FitResult) -> FitResult:
    """Return a fit with the noise of its data as large as they scatter, for profiles and posteriors; itself if it is.

    Noise that is larger weighs less against priors and the error bars of the grid: the minimum is found again.

    Args:
      result: of a fit.
    Raises:
      InputError: the data lie on the model, and do not scatter.
    """
    if result.noise_factor == 1:
        return result
    if not result.noise_factor > 0:
        raise InputError("the data lie on the fit and do not scatter, so that their noise has no size; fit unrescaled")
    problem = result.require_problem().copy("scatter")
    free = [dataclasses.replace(parameter, start=result.values[parameter.name]) for parameter in problem.free]
    misfit = problem.misfit.scaled(result.noise_factor)
    again = minimise(LeastSquares(), [problem.predict], misfit, free, problem.fixed, tolerance=FIT_TOLERANCE)
    problem = dataclasses.replace(result.require_problem(), misfit=misfit, free=tuple(free))
    return dataclasses.replace(again, problem=problem)


class _End(NamedTuple):
    """The end of a minimisation.

    Attributes:
      objective: of the last stage.
      x: internal coordinates.
      bounds: of the coordinates (2, n).
      before: model values at the start.
      converged, message: of the minimiser.
      evaluations: in all.
      minima: of many starts.
    """

    objective: Objective
    x: np.ndarray
    bounds: np.ndarray
    before: np.ndarray
    converged: bool
    message: str
    evaluations: int
    minima: tuple[tuple[float, dict[str, float]], ...]


def _result(minimiser: Minimiser, end: _End, relative: bool) -> FitResult:
    """Return parameters, their covariance and all statistics; `relative`: stds of the data are weights."""
    objective = end.objective
    objective.evaluate(end.x)
    misfit, free, values = objective.misfit, objective.free, objective.values_at(end.x)
    chi2 = objective.chi2(end.x)
    known = identifiability(objective.sensitivity, misfit, values, objective.values)
    priors = {name: (prior.mean, prior.std) for name, prior in misfit.priors.items() if name in values}
    covariance, factor = known.covariance(), 1.0
    if relative:
        covariance, factor = scaled_to_scatter(covariance, objective.sensitivity, misfit, values, objective.values)
    parameters = {
        parameter.name: Fitted(
            values[parameter.name],
            float(std),
            parameter.unit,
            parameter.start,
            parameter.lower,
            parameter.upper,
            parameter.pinned(values[parameter.name]),
        )
        for parameter, std in zip(free, np.sqrt(np.diag(covariance)), strict=True)
    }
    result = FitResult(
        parameters=parameters,
        covariance=covariance,
        rescaled=relative,
        noise_factor=factor,
        rows=misfit.rows,
        before=end.before,
        after=objective.values,
        pulls=misfit.pulls(objective.values),
        chi2=chi2,
        chi2_before=misfit.chi2(end.before, start_values(free)),
        evaluations=end.evaluations,
        converged=end.converged and math.isfinite(chi2),
        message=end.message,
        method=minimiser.name,
        identifiability=known,
        sensitivity=objective.sensitivity,
        problem=Problem(objective.predict, misfit, objective.free, objective.fixed),
        moves=moves(objective.sensitivity, misfit, values, objective.values),
        priors=priors,
        minima=end.minima,
    )
    gain = objective.gain(end.x, end.bounds)
    if result.converged and gain > LARGEST_GAIN * max(1.0, chi2 / max(result.degrees_of_freedom, 1)):
        # Steps get short at the edge of where the model has a solution, which an optimiser takes for a minimum.
        short = f"stopped short of a minimum, a step promises to lower chi2 by {gain:.2g}"
        return dataclasses.replace(result, converged=False, message=short)
    return result


def _lowest(
    minimiser: Minimiser, objective: Objective, starts: Sequence[np.ndarray], bounds: np.ndarray, copies: Copies | None
) -> tuple[list[tuple[float, dict[str, float]]], np.ndarray]:
    """Return the distinct minima from many starts, the lowest first, and the coordinates of the lowest."""
    size = 1 if copies is None else copies.size

    def end(number: int, solver: Solver | None) -> tuple[float, np.ndarray] | None:
        x, copied = starts[number], objective
        if copies is not None and size > 1:
            copied = objective.with_predict(copies.of(f"start {number + 1}", solver))
        if not np.all(np.isfinite(copied.residuals(x))):
            return None
        x, converged, _ = minimiser.minimise(copied, x, bounds, COARSE_TOLERANCE)
        return (copied.chi2(x), x) if converged else None

    ends = tasks.run_batched((functools.partial(end, number) for number in range(len(starts))), size)
    minima = sorted((minimum for minimum in ends if minimum is not None), key=lambda minimum: minimum[0])
    if not minima:
        return [], starts[0]
    distinct: list[tuple[float, np.ndarray]] = []
    for chi2, x in minima:
        # Apart: a tenth in any coordinate, which are logarithms or in units of the start.
        if all(np.max(np.abs(x - other)) > 0.1 for _, other in distinct):
            distinct.append((chi2, x))
    return [(chi2, objective.values_at(x)) for chi2, x in distinct], minima[0][1]


def check_rows(rows: Sequence[Row], free: Sequence[str], rescaled: bool) -> None:
    """Raise `InputError` for rows and parameters that cannot be fitted."""
    if not rows:
        raise InputError("there are no measured rows, expected at least one")
    if not free:
        raise InputError("there is no parameter to fit, expected at least one")
    for row in rows:
        label = f"{row.label} {row.signal}"
        value, std = (as_number(float, f"{label}: {key}", getattr(row, key), row.unit) for key in ("value", "std"))
        if not (math.isfinite(value) and math.isfinite(std) and std > 0):
            raise InputError(
                f"{label}: got {value:g} with std {std:g}, expected a finite value and a finite std above 0"
            )
    twice = [name for name, times in Counter(free).items() if times > 1]
    if twice:
        raise InputError(f"parameter to fit is there more than once: {', '.join(twice)}")
    if rescaled and len(rows) <= len(free):
        raise InputError(
            f"rescaled standard deviations need more rows than parameters, got {len(rows)} rows for {len(free)}"
        )
