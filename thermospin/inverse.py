"""Parameters behind measured signals: least squares with exact Jacobians, standard deviations, and what the data fix.

Everything but `fit` works on a `Predict` callable, values and Jacobian of the data rows for given parameters: this
module knows no grid index and no solver. The misfit is

    chi2(p) = r' C^-1 r + sum over priors ((p - mean)/std)^2,   r = model(p) - value,  |model(p)| - |value| if unsigned,

with the covariance C of the data, diagonal unless their correlation is given. The covariance of the parameters is
(J' C^-1 J + priors)^-1 with J = d model/d p, the linear theory at the minimum: trust it as far as the model is linear
over one standard deviation.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import linalg, optimize
from scipy.stats import qmc

from thermospin.accuracy import error_bars as accuracy
from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.base.text import percent
from thermospin.base.version import __version__
from thermospin.data.rows import Row
from thermospin.device.device import OF, Device, Tie, known_parameters
from thermospin.inference.predictors import RESIDUAL, Copies, Joint, Journal, Predict, Predictor, corrected, tied
from thermospin.inference.result import FitResult, Fitted, Identifiability
from thermospin.model import Model, Progress
from thermospin.parallel import tasks as abreast
from thermospin.quantities import SI_UNITS, key_of, quantity
from thermospin.signals import evaluate as signals

#: Singular values below this, relative to the largest, count as zero: Jacobians are about as exact as their solves.
RANK_CUTOFF = 1e-8
#: Distance from a bound, in internal coordinates (0.1 % of a value), below which a parameter counts as pinned there.
AT_BOUND = 1e-3
#: `choose` adds parameters only while every relative standard deviation stays below this.
LARGEST_STD = 0.5
#: Relative change of chi2, or of the parameters, at which minimisers end; in `fit`, where an evaluation is dear and a
#: standard deviation is a few percent; and in all stages but the last.
TOLERANCE = 1e-8
FIT_TOLERANCE = 1e-5
COARSE_TOLERANCE = 1e-3
#: A fit that stops where a Gauss-Newton step promises to lower chi2 by more than this (a tenth of a standard deviation,
#: squared; times the reduced chi2 if that is larger) has not converged, whatever the optimiser says.
LARGEST_GAIN = 0.01


# ------------------------------------------------------------------------------------------- parameters


@dataclasses.dataclass(frozen=True)
class Kind:
    """How parameters of one key are varied.

    Attributes:
      transform: internal coordinate x of a value p: "linear" p/scale, "log" ln p, "atanh" artanh p.
      lower, upper: default bounds in SI units.
      typical: size that changes are measured by where the value is 0.
    """

    transform: Literal["linear", "log", "atanh"]
    lower: float
    upper: float
    typical: float = math.nan


#: Default bounds are where the model loses its meaning, not guesses of the value: worse than a poor metal to purer than
#: any; below aerogel to above cold crystals; half a bond length to beyond any metal; and |P| < 1.
KINDS = {
    "sigma": Kind("log", 1e2, 1e11),
    "P": Kind("atanh", -0.999, 0.999, typical=0.1),
    "S": Kind("linear", -math.inf, math.inf, typical=1e-5),
    "S_s": Kind("linear", -math.inf, math.inf, typical=1e-6),
    "kappa": Kind("log", 1e-3, 1e5),
    "lambda_sf": Kind("log", 1e-10, 1e-3),
    "zeta": Kind("linear", 0.0, math.inf, typical=1.0),
    "length": Kind("linear", -math.inf, math.inf, typical=1e-8),
}


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A number to fit, and the coordinate x it is varied in; see `Kind`.

    Attributes:
      name: "Py.S_s", "zeta".
      start: where to begin, SI units.
      bounds: lower and upper, SI units; None: those of `KINDS`.
    Raises:
      ValueError: an unknown key, bounds the wrong way round or outside the model, or a start outside the bounds.
    """

    name: str
    start: float
    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Checks name, bounds and start."""
        if self.key not in KINDS:
            raise InputError(f"parameter '{self.name}' cannot be fitted; {nearest(self.key, KINDS)}")
        bounds = f"[{self.lower:g}, {self.upper:g}] {self.unit}".rstrip()
        limits = self.internal(self.lower), self.internal(self.upper)
        if not limits[0] < limits[1]:
            expected = {"log": "0 <= lower < upper", "atanh": "-1 <= lower < upper <= 1"}
            raise InputError(
                f"bounds of {self.name}: got {bounds}, expected {expected.get(self.kind.transform, 'lower < upper')}"
            )
        if not (math.isfinite(self.internal(self.start)) and self.lower <= self.start <= self.upper):
            raise InputError(
                f"start of {self.name}: got {self.start:g}, expected a value within {bounds}; give other bounds"
            )

    @property
    def key(self) -> str:
        """Key of `KINDS`."""
        return key_of(self.name)

    @property
    def kind(self) -> Kind:
        """How it is varied."""
        return KINDS[self.key]

    @property
    def lower(self) -> float:
        """Lower bound, SI units."""
        return self.kind.lower if self.bounds is None else self.bounds[0]

    @property
    def upper(self) -> float:
        """Upper bound, SI units."""
        return self.kind.upper if self.bounds is None else self.bounds[1]

    @property
    def unit(self) -> str:
        """SI unit."""
        return SI_UNITS.get(self.key, "")

    @property
    def scale(self) -> float:
        """Size of the start value, the unit of a linear coordinate."""
        return abs(_size(self.name, self.start))

    def internal(self, value: float) -> float:
        """Coordinate x of a value; infinite at an open end, NaN outside the model."""
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.kind.transform == "log":
                return float(np.log(value))
            if self.kind.transform == "atanh":
                return float(np.arctanh(value))
        return value / self.scale

    def value(self, x: float) -> float:
        """Value at a coordinate, held within the bounds against round-off."""
        if self.kind.transform == "log":
            value = math.exp(min(x, 700.0))  # a float ends at exp(709)
        elif self.kind.transform == "atanh":
            value = math.tanh(x)
        else:
            value = x * self.scale
        return min(max(value, self.lower), self.upper)

    def slope(self, x: float) -> float:
        """d value/d x."""
        if self.kind.transform == "log":
            return self.value(x)
        if self.kind.transform == "atanh":
            return 1 - math.tanh(x) ** 2
        return self.scale

    def pinned(self, value: float) -> str | None:
        """Which bound a value sits at, "lower" or "upper", if any."""
        for side in ("lower", "upper"):
            if abs(self.internal(value) - self.internal(getattr(self, side))) <= AT_BOUND:
                return side
        return None


def _size(name: str, value: float) -> float:
    return value or KINDS[key_of(name)].typical


# ------------------------------------------------------------------------------------------- misfit


@dataclasses.dataclass(frozen=True)
class Prior:
    """What is known of a parameter besides the data: a Gaussian of its value, SI units."""

    mean: float
    std: float


class Misfit:
    """Residuals that chi2 is the sum of squares of: those of the data, made independent, and those of the priors.

    Args:
      rows: the data.
      correlation: of the data (rows, rows); None: independent.
      priors: by the name of a parameter.
    Raises:
      ValueError: the correlation is no positive definite matrix of that size with ones on its diagonal.
    """

    def __init__(
        self, rows: Sequence[Row], correlation: np.ndarray | None = None, priors: Mapping[str, Prior] | None = None
    ) -> None:
        self.rows, self.priors = tuple(rows), dict(priors or {})
        self._stds = np.array([row.std for row in rows])
        self._factor = None
        if correlation is not None:
            # The magnitude of a negative value moves against the value.
            turned = np.where([not row.polarity_known and row.value < 0 for row in rows], -1.0, 1.0)
            self._factor = np.linalg.cholesky(_checked(correlation, rows) * turned[:, None] * turned)

    def residuals(self, values: np.ndarray, parameters: Mapping[str, float]) -> np.ndarray:
        """L^-1 times the `pulls` with the correlation L L', then (p - mean)/std (rows + priors,) [1]."""
        own = [(parameters[name] - prior.mean) / prior.std for name, prior in self._among(parameters)]
        return np.concatenate([self._independent(pulls(values, self.rows)), own])

    def jacobian(self, values: np.ndarray, sensitivity: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """d residuals/d p in units of 1/p (rows + priors, names), from d value/d p (rows, names)."""
        scaled = (_signs(values, self.rows) / self._stds)[:, None] * sensitivity
        own = [[(other == name) / prior.std for other in names] for name, prior in self._among(names)]
        return np.concatenate([self._independent(scaled), np.reshape(own, (len(own), len(names)))])

    def whitening(self) -> np.ndarray:
        """L^-1/std, which makes errors of the rows independent and of size 1 (rows, rows) [A^n/V]."""
        return self._independent(np.diag(1 / self._stds))

    def _among(self, names: Sequence[str] | Mapping[str, float]) -> list[tuple[str, Prior]]:
        return [(name, prior) for name, prior in self.priors.items() if name in names]

    def _independent(self, values: np.ndarray) -> np.ndarray:
        if self._factor is None:
            return values
        if not np.all(np.isfinite(values)):
            return np.full(values.shape, math.nan)
        return linalg.solve_triangular(self._factor, values, lower=True)


def _checked(correlation: np.ndarray, rows: Sequence[Row]) -> np.ndarray:
    matrix = np.asarray(correlation, float)
    if matrix.shape != (len(rows), len(rows)):
        raise InputError(f"correlation: got shape {matrix.shape}, expected ({len(rows)}, {len(rows)}), as many as rows")
    # Round-off of a matrix that was divided by its diagonal is a few 1e-16.
    if not (np.allclose(np.diag(matrix), 1.0) and np.allclose(matrix, matrix.T)):
        raise InputError("correlation: got other numbers, expected a symmetric matrix with ones on its diagonal")
    smallest = float(np.linalg.eigvalsh(matrix)[0])
    if smallest <= 0:
        raise InputError(
            f"correlation: got smallest eigenvalue {smallest:.2g}, expected one above 0: rows that are exact "
            "combinations of others, such as P, AP and spin together, count twice; leave them out"
        )
    return matrix


@dataclasses.dataclass(frozen=True)
class Problem:
    """What a fit minimises, for what comes after it: profiles, posteriors, budgets.

    Attributes:
      predict: the model of the last stage.
      misfit: data and priors, error bars of the grid included.
      free: the parameters varied.
      fixed: every other number of the model, SI units.
      models: of the last stage, one for each device; empty where `predict` was not made of any.
      of: the same `Predict` made of other models of the same experiments.
      copies: the model, to be asked side by side; None where `predict` is all there is.
    """

    predict: Predict
    misfit: Misfit
    free: tuple[Parameter, ...]
    fixed: Mapping[str, float]
    models: tuple[Model, ...] = ()
    of: Callable[[Sequence[Model]], Predict] | None = None
    copies: Copies | None = None

    @property
    def size(self) -> int:
        """How many questions are best asked at a time."""
        return 1 if self.copies is None else self.copies.size

    def copy(self, name: str = "") -> Problem:
        """The same problem to be worked on beside others, see `Copies.of`; itself if one is all there is."""
        return self if self.copies is None or self.size == 1 else replace(self, predict=self.copies.of(name))

    @property
    def bounds(self) -> np.ndarray:
        """In internal coordinates (2, free)."""
        return np.array([[each.internal(each.lower), each.internal(each.upper)] for each in self.free]).T

    def objective(self, notify: Callable[[float, Mapping[str, float]], None] | None = None) -> Objective:
        """Residuals and their Jacobian."""
        return Objective(self.predict, self.misfit, self.free, self.fixed, notify or (lambda chi2, values: None))

    def coordinates(self, values: Mapping[str, Any]) -> np.ndarray:
        """Internal coordinates of values, or of `FitResult.parameters`."""
        return np.array([each.internal(getattr(values[each.name], "value", values[each.name])) for each in self.free])


class Objective:
    """Residuals and their Jacobian (residuals, free) in internal coordinates x, one point remembered; see `Misfit`.

    Args:
      predict: the model.
      misfit: the data, or `Misfit` of them.
      free: parameters to vary.
      fixed: every other number of the model.
      notify: is called after each evaluation with chi2 (NaN: no solution there) and the values of the parameters.
    """

    def __init__(
        self,
        predict: Predict,
        misfit: Misfit | Sequence[Row],
        free: Sequence[Parameter],
        fixed: Mapping[str, float],
        notify: Callable[[float, Mapping[str, float]], None],
    ) -> None:
        self._misfit = misfit if isinstance(misfit, Misfit) else Misfit(misfit)
        self._predict, self._free, self._fixed, self._notify = predict, free, dict(fixed), notify
        self._point: np.ndarray | None = None

    def of(self, predict: Predict) -> Objective:
        """The same of another model."""
        return Objective(predict, self._misfit, self._free, self._fixed, self._notify)

    def values_at(self, x: np.ndarray) -> dict[str, float]:
        """Free parameters at x, in SI units."""
        return {each.name: each.value(float(xi)) for each, xi in zip(self._free, x, strict=True)}

    def evaluate(self, x: np.ndarray) -> None:
        """Computes `values` (rows,) and `sensitivity` (rows, free), both in SI units, if they are not there already."""
        if self._point is not None and np.array_equal(x, self._point):
            return
        names = [each.name for each in self._free]
        parameters = self.values_at(x)
        values, sensitivity = self._predict(self._fixed | parameters, names)
        self.values, self.sensitivity = np.asarray(values, float), np.asarray(sensitivity, float)
        if not np.all(np.isfinite(self.sensitivity)):
            self.values = np.full(len(self._misfit.rows), math.nan)
        self._point = np.array(x)
        with np.errstate(over="ignore"):
            chi2 = float(np.sum(self.residuals(x) ** 2))
        if math.isinf(chi2):
            # Beyond what a float holds, which no optimiser can compare: as good as no solution.
            self.values, chi2 = np.full(len(self._misfit.rows), math.nan), math.nan
        self._notify(chi2, parameters)

    def residuals(self, x: np.ndarray) -> np.ndarray:
        """See `Misfit.residuals`."""
        self.evaluate(x)
        return self._misfit.residuals(self.values, self.values_at(x))

    def gain(self, x: np.ndarray, bounds: np.ndarray) -> float:
        """What a Gauss-Newton step would lower chi2 by: the square of the residuals' part within the range of J.

        Parameters that press against a bound (2, free) do not count. Source: Bates and Watts, Technometrics 23, 179
        (1981), the relative offset criterion.
        """
        residuals, jacobian = self.residuals(x), self.jacobian(x)
        gradient = jacobian.T @ residuals
        inner = jacobian[:, ~_pressed(x, gradient, bounds)]
        return float(np.sum((inner @ np.linalg.lstsq(inner, residuals, rcond=RANK_CUTOFF)[0]) ** 2))

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        """d residuals/d x (residuals, free)."""
        self.evaluate(x)
        slopes = np.array([each.slope(float(xi)) for each, xi in zip(self._free, x, strict=True)])
        return self._misfit.jacobian(self.values, self.sensitivity, [each.name for each in self._free]) * slopes


def _pressed(x: np.ndarray, gradient: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Which coordinates sit at a bound and would go beyond it."""
    return (x - bounds[0] <= AT_BOUND) & (gradient > 0) | (bounds[1] - x <= AT_BOUND) & (gradient < 0)


def pulls(values: np.ndarray, rows: Sequence[Row]) -> np.ndarray:
    """(model - value)/std of each row, of the magnitudes where the polarity is not known (rows,) [1]."""
    measured = np.array([row.value if row.polarity_known else abs(row.value) for row in rows])
    return (_signs(values, rows) * values - measured) / np.array([row.std for row in rows])


def _signs(values: np.ndarray, rows: Sequence[Row]) -> np.ndarray:
    known = np.array([row.polarity_known for row in rows])
    return np.where(~known & (values < 0), -1.0, 1.0)


# ------------------------------------------------------------------------------------------- what the data fix


def identifiability(
    jacobian: np.ndarray,
    misfit: Misfit | Sequence[Row],
    values: Mapping[str, float],
    at: np.ndarray | None = None,
) -> Identifiability:
    """What the data, and priors, fix at some values of the parameters, before or after a fit.

    Args:
      jacobian: d signal/d parameter in SI units (rows, parameters).
      misfit: the data, or `Misfit` of them; only standard deviations and correlations are used.
      values: parameters in the order of the columns, SI units.
      at: signals there (rows,), whose signs count where data of unknown polarity are correlated; None: those measured.
    """
    misfit = misfit if isinstance(misfit, Misfit) else Misfit(misfit)
    sizes = [_size(name, value) for name, value in values.items()]
    at = np.array([row.value for row in misfit.rows]) if at is None else at
    scaled = misfit.jacobian(at, jacobian, list(values)) * np.array(sizes)
    _, s, combinations = np.linalg.svd(scaled, full_matrices=True)
    s = np.concatenate([s, np.zeros(len(sizes) - len(s))])[: len(sizes)]
    s[s <= RANK_CUTOFF * s[0]] = 0
    largest = np.abs(combinations).argmax(axis=1)
    combinations *= np.sign(combinations[np.arange(len(sizes)), largest])[:, None]
    return Identifiability(tuple(values), tuple(values.values()), tuple(sizes), s, combinations)


def moves(
    jacobian: np.ndarray, misfit: Misfit | Sequence[Row], values: Mapping[str, float], at: np.ndarray | None = None
) -> np.ndarray:
    """How far an error of each row moves each parameter, (J' C^-1 J + priors)^-1 J' C^-1, SI units (parameters, rows).

    Args:
      jacobian, misfit, values, at: as for `identifiability`.
    """
    misfit = misfit if isinstance(misfit, Misfit) else Misfit(misfit)
    sizes = np.array([_size(name, value) for name, value in values.items()])
    at = np.array([row.value for row in misfit.rows]) if at is None else at
    scaled = misfit.jacobian(at, jacobian, list(values)) * sizes
    independent = misfit.jacobian(at, np.eye(len(misfit.rows)), ["a row"] * len(misfit.rows))
    inverse = np.linalg.pinv(scaled, rcond=RANK_CUTOFF)[:, : len(misfit.rows)]
    return sizes[:, None] * inverse @ independent[: len(misfit.rows)]


@dataclasses.dataclass(frozen=True)
class Choice:
    """Parameters to fit, and why the other candidates are left at their values."""

    free: tuple[str, ...]
    left_out: Mapping[str, str]


def choose(
    predict: Predict, misfit: Misfit | Sequence[Row], parameters: Mapping[str, float], magnetic: Sequence[str]
) -> Choice:
    """The default parameters to fit: zeta and S_s of the magnetic materials, as Slachter et al. 2010 did, and more.

    P and then lambda_sf of those materials are added, one at a time, while the relative standard deviation of every
    free parameter, predicted by the Jacobian at the start, stays below `LARGEST_STD`.

    Args:
      predict: the model; called once.
      misfit: the data, or `Misfit` of them.
      parameters: every number of the model, SI units.
      magnetic: names of the magnetic materials.
    """
    free = ["zeta", *(f"{name}.S_s" for name in magnetic)]
    candidates = [f"{name}.{key}" for key in ("P", "lambda_sf") for name in magnetic]
    names = [*free, *candidates]
    _, jacobian = predict(parameters, names)
    left_out = {}
    for candidate in candidates:
        trial = [*free, candidate]
        columns = jacobian[:, [names.index(name) for name in trial]]
        stds = identifiability(columns, misfit, {name: parameters[name] for name in trial}).stds()
        if max(stds.values()) < LARGEST_STD:
            free = trial
            continue
        loose = [name for name in trial if not stds[name] < LARGEST_STD]
        known = ", ".join(f"{name} to {percent(stds[name])}" for name in loose if math.isfinite(stds[name]))
        unknown = ", ".join(name for name in loose if math.isinf(stds[name]))
        left_out[candidate] = "because the data would fix " + " and ".join(
            text for text in (f"only {known}" if known else "", f"not at all {unknown}" if unknown else "") if text
        )
    return Choice(tuple(free), left_out)


# ------------------------------------------------------------------------------------------- minimisers

#: Steps are halved so many times at most.
HALVINGS = 20
ENOUGH, TOO_MANY = "no step would lower chi2 by more than the tolerance", "the largest number of steps is reached"

#: Takes an objective, a start, bounds (2, free) and a tolerance; gives the end, whether it converged, and a message.
Minimiser = Callable[[Objective, np.ndarray, np.ndarray, float], tuple[np.ndarray, bool, str]]


def least_squares(
    stages: Sequence[Predict],
    rows: Misfit | Sequence[Row],
    free: Sequence[Parameter],
    fixed: Mapping[str, float] | None = None,
    *,
    rescaled: bool = False,
    starts: int = 1,
    copies: Copies | None = None,
    progress: Progress | None = None,
    tolerance: float = TOLERANCE,
    max_evaluations: int = 100,
) -> FitResult:
    """Minimises chi2 by a trust-region Gauss-Newton method within bounds (scipy's trf).

    Args:
      stages: models of the same data, cheap ones first; each starts where the one before ended, the last decides.
      rows: measured signals, or `Misfit` of them.
      free: parameters to fit.
      fixed: every other number that the models need, SI units.
      rescaled: multiply the covariance by the reduced chi2.
      starts: so many starts for the first stage, see `scattered`; the lowest of the minima goes on.
      copies: of the first stage, with which starts go side by side; None: one after another.
      progress: is told chi2 and the parameters at every evaluation.
      tolerance: relative change of chi2 or of the parameters at which the last stage ends.
      max_evaluations: bound for each stage.
    Raises:
      ValueError: no rows, no parameters, or no solution at the start.
    """

    def minimise(f: Objective, x: np.ndarray, bounds: np.ndarray, tolerance: float) -> tuple[np.ndarray, bool, str]:
        # Where residuals are NaN, trf shortens the step and tries again.
        found = optimize.least_squares(
            f.residuals,
            x,
            f.jacobian,
            bounds=(bounds[0], bounds[1]),
            method="trf",
            x_scale="jac",
            ftol=tolerance,
            xtol=tolerance,
            gtol=tolerance,
            max_nfev=max_evaluations,
        )
        return found.x, found.status > 0, str(found.message).rstrip(".").replace("`", "")

    return _run("least_squares", minimise, stages, rows, free, fixed, rescaled, starts, copies, progress, tolerance)


def descend(
    stages: Sequence[Predict],
    rows: Misfit | Sequence[Row],
    free: Sequence[Parameter],
    fixed: Mapping[str, float] | None = None,
    *,
    rescaled: bool = False,
    starts: int = 1,
    copies: Copies | None = None,
    progress: Progress | None = None,
    tolerance: float = TOLERANCE,
    max_evaluations: int = 1000,
    learning_rate: float = 0.05,
) -> FitResult:
    """Minimises the same chi2 by gradient descent (Adam), gradient J' r: slow, and a check on `least_squares`.

    Ends when a Gauss-Newton step would lower chi2 by less than a tolerance times chi2 or 1, whichever is larger; see
    `Objective.gain`.

    Args:
      learning_rate: first step in internal coordinates (0.05: 5 % of a value); falls to 0 along half a cosine.
      stages, rows, free, fixed, rescaled, starts, copies, progress, tolerance, max_evaluations: as for `least_squares`.
    """
    import optax

    def minimise(f: Objective, x: np.ndarray, bounds: np.ndarray, tolerance: float) -> tuple[np.ndarray, bool, str]:
        optimiser, rate = optax.scale_by_adam(), optax.cosine_decay_schedule(learning_rate, max_evaluations)
        state = optimiser.init(x)
        for number in range(max_evaluations):
            residuals, jacobian = f.residuals(x), f.jacobian(x)
            if f.gain(x, bounds) <= tolerance * max(np.sum(residuals**2), 1.0):
                return x, True, ENOUGH
            update, state = optimiser.update(jacobian.T @ residuals, state)
            trial = np.clip(x - float(rate(number)) * np.asarray(update, float), *bounds)
            for _ in range(HALVINGS):
                if np.all(np.isfinite(f.residuals(trial))):
                    break
                # Half the step, and no momentum that would carry on towards where there is no solution.
                trial, state = (x + trial) / 2, optimiser.init(x)
            else:
                return x, False, "there is no solution nearby"
            x = trial
        return x, False, TOO_MANY

    return _run("adam", minimise, stages, rows, free, fixed, rescaled, starts, copies, progress, tolerance)


def quasi_newton(
    stages: Sequence[Predict],
    rows: Misfit | Sequence[Row],
    free: Sequence[Parameter],
    fixed: Mapping[str, float] | None = None,
    *,
    rescaled: bool = False,
    starts: int = 1,
    copies: Copies | None = None,
    progress: Progress | None = None,
    tolerance: float = TOLERANCE,
    max_evaluations: int = 300,
) -> FitResult:
    """Minimises the same chi2 by L-BFGS, which knows its gradient alone, with backtracking; ends as `descend` does.

    Args:
      stages, rows, free, fixed, rescaled, starts, copies, progress, tolerance, max_evaluations: as for `least_squares`.
    Source: Nocedal and Wright, Numerical Optimization (2006), algorithms 3.1 and 7.4.
    """
    import jax
    import optax

    def minimise(f: Objective, x: np.ndarray, bounds: np.ndarray, tolerance: float) -> tuple[np.ndarray, bool, str]:
        optimiser = optax.scale_by_lbfgs(memory_size=10)
        # Compiled as one: eagerly it is a hundred small programs.
        step_of = jax.jit(optimiser.update)
        state, left, pressed = optimiser.init(x), max_evaluations, np.zeros(len(x), bool)
        while left > 0:
            residuals = f.residuals(x)
            value, gradient = float(np.sum(residuals**2)) / 2, f.jacobian(x).T @ residuals
            if f.gain(x, bounds) <= 2 * tolerance * max(value, 0.5):
                return x, True, ENOUGH
            before, pressed = pressed, _pressed(x, gradient, bounds)
            gradient = np.where(pressed, 0.0, gradient)
            if np.any(pressed != before):
                state = optimiser.init(x)  # the curvature seen so far was that of other coordinates
            update, state = step_of(gradient, state, x)
            step = -np.asarray(update, float)
            if step @ gradient >= 0:
                state, step = optimiser.init(x), -gradient
            if not np.any(state.diff_params_memory):
                # No curvature is known yet: a tenth of a value, which no coordinate takes for a leap.
                step = step * min(1.0, 0.1 / float(np.max(np.abs(step))))
            for _ in range(HALVINGS):
                left -= 1
                trial = np.clip(x + step, *bounds)
                # NaN, where there is no solution, compares as false.
                if float(np.sum(f.residuals(trial) ** 2)) / 2 <= value + 1e-4 * gradient @ (trial - x):
                    break
                step = step / 2
            else:
                return x, False, "no step along the gradient lowers chi2"
            x = trial
        return x, False, TOO_MANY

    return _run("lbfgs", minimise, stages, rows, free, fixed, rescaled, starts, copies, progress, tolerance)


def scattered(free: Sequence[Parameter], starts: int) -> list[np.ndarray]:
    """Starts in internal coordinates: the given one, and points of a Sobol sequence around it or within given bounds.

    Around: logarithms within a factor of 3, artanh(P) within 1, linear ones from minus the value to three times it.
    """
    first = np.array([each.internal(each.start) for each in free])
    reach = np.array([{"log": math.log(3.0), "atanh": 1.0, "linear": 2.0}[each.kind.transform] for each in free])
    lower = [each.internal(each.lower) if each.bounds else x - r for each, x, r in zip(free, first, reach, strict=True)]
    upper = [each.internal(each.upper) if each.bounds else x + r for each, x, r in zip(free, first, reach, strict=True)]
    low, high = (np.where(np.isfinite(each), each, first + sign * reach) for each, sign in ((lower, -1), (upper, 1)))
    limits = np.array([[each.internal(each.lower), each.internal(each.upper)] for each in free]).T
    # The first point of the sequence is a corner.
    points = qmc.Sobol(len(free), scramble=False).random_base2((max(starts, 1) - 1).bit_length())[1:starts]
    return [first, *(np.clip(low + point * (high - low), *limits) for point in points)]


def _run(
    method: str,
    minimise: Minimiser,
    stages: Sequence[Predict],
    rows: Misfit | Sequence[Row],
    free: Sequence[Parameter],
    fixed: Mapping[str, float] | None,
    rescaled: bool,
    starts: int,
    copies: Copies | None,
    progress: Progress | None,
    tolerance: float,
) -> FitResult:
    """Stage after stage with one minimiser, and the statistics of the end."""
    _check(rows.rows if isinstance(rows, Misfit) else rows, [each.name for each in free], rescaled)
    misfit = rows if isinstance(rows, Misfit) else Misfit(rows)
    x = first = np.array([each.internal(each.start) for each in free])
    bounds = np.array([[each.internal(each.lower), each.internal(each.upper)] for each in free]).T
    evaluations = 0
    minima: list[tuple[float, dict[str, float]]] = []
    start = dict(fixed or {}) | {each.name: each.start for each in free}
    before = None
    for number, predict in enumerate(stages, 1):
        last = number == len(stages)
        if last and number > 1:
            before = np.asarray(predict(start, ())[0], float)

        def count(chi2: float, values: Mapping[str, float], number: int = number) -> None:
            nonlocal evaluations
            evaluations += 1
            if progress is not None:
                numbers = ", ".join(f"{name} = {quantity(name, value)}" for name, value in values.items())
                found = f"chi2 = {chi2:.4g}" if math.isfinite(chi2) else "no solution"
                progress(f"stage {number} of {len(stages)}, evaluation {evaluations}: {found} at {numbers}")

        objective = Objective(predict, misfit, free, fixed or {}, count)
        if number > 1 and not np.all(np.isfinite(objective.residuals(x))):
            x = first  # the cheaper model led astray
        if not np.all(np.isfinite(objective.residuals(x))):
            where = ", ".join(f"{k} = {quantity(k, v)}" for k, v in objective.values_at(x).items())
            raise InputError(f"the model has no solution at the start of stage {number}: {where}; start elsewhere")
        if last and before is None:
            before = objective.values
        wanted = tolerance if last else COARSE_TOLERANCE
        if number == 1 and starts > 1:
            minima, x = _lowest(minimise, objective, scattered(free, starts), bounds, copies)
        x, converged, message = minimise(objective, x, bounds, wanted)
    objective.evaluate(x)
    assert before is not None
    values = objective.values_at(x)
    chi2 = float(np.sum(objective.residuals(x) ** 2))
    gain = objective.gain(x, bounds)
    spare = len(misfit.rows) + len(misfit.priors) - len(free)
    if converged and gain > LARGEST_GAIN * max(1.0, chi2 / max(spare, 1)):
        # Steps get short at the edge of where the model has a solution, which an optimiser takes for a minimum.
        converged, message = False, f"stopped short of a minimum, a step promises to lower chi2 by {gain:.2g}"
    found = identifiability(objective.sensitivity, misfit, values, objective.values)
    covariance = found.covariance() * (chi2 / spare if rescaled else 1.0)
    stds = np.sqrt(np.diag(covariance))
    parameters = {
        each.name: Fitted(
            values[each.name], float(std), each.unit, each.start, each.lower, each.upper, each.pinned(values[each.name])
        )
        for each, std in zip(free, stds, strict=True)
    }
    return FitResult(
        parameters=parameters,
        covariance=covariance,
        rescaled=rescaled,
        rows=misfit.rows,
        before=before,
        after=objective.values,
        pulls=pulls(objective.values, misfit.rows),
        chi2=chi2,
        evaluations=evaluations,
        converged=converged and math.isfinite(chi2),
        message=message,
        method=method,
        identifiability=found,
        sensitivity=objective.sensitivity,
        problem=Problem(stages[-1], misfit, tuple(free), dict(fixed or {})),
        moves=moves(objective.sensitivity, misfit, values, objective.values),
        priors={name: (prior.mean, prior.std) for name, prior in misfit.priors.items() if name in values},
        minima=tuple(minima),
    )


def _lowest(
    minimise: Minimiser, objective: Objective, starts: Sequence[np.ndarray], bounds: np.ndarray, copies: Copies | None
) -> tuple[list[tuple[float, dict[str, float]]], np.ndarray]:
    """The minima from many starts, the lowest first, each once, and the coordinates of the lowest."""
    size = 1 if copies is None else copies.size

    def end(number: int) -> tuple[float, np.ndarray] | None:
        x, own = starts[number], objective
        if copies is not None and size > 1:
            own = objective.of(copies.of(f"start {number + 1}"))
        if not np.all(np.isfinite(own.residuals(x))):
            return None
        x, converged, _ = minimise(own, x, bounds, COARSE_TOLERANCE)
        return (float(np.sum(own.residuals(x) ** 2)), x) if converged else None

    ends = abreast.results((functools.partial(end, number) for number in range(len(starts))), size)
    found = [each for each in ends if each is not None]
    if not found:
        return [], starts[0]
    found.sort(key=lambda pair: pair[0])
    distinct: list[tuple[float, np.ndarray]] = []
    for chi2, x in found:
        # Apart: a tenth in any coordinate, which are logarithms or in units of the start.
        if all(np.max(np.abs(x - other)) > 0.1 for _, other in distinct):
            distinct.append((chi2, x))
    return [(chi2, objective.values_at(x)) for chi2, x in distinct], found[0][1]


def _check(rows: Sequence[Row], free: Sequence[str], rescaled: bool) -> None:
    if not rows:
        raise InputError("there are no measured rows, expected at least one")
    if not free:
        raise InputError("there is no parameter to fit, expected at least one")
    for row in rows:
        if not (math.isfinite(row.value) and math.isfinite(row.std) and row.std > 0):
            raise InputError(
                f"{row.experiment} {row.signal}: got {row.value:g} with std {row.std:g}, "
                f"expected a finite value and a finite std above 0"
            )
    twice = [name for name, times in Counter(free).items() if times > 1]
    if twice:
        raise InputError(f"parameter to fit is there more than once: {', '.join(twice)}")
    if rescaled and len(rows) <= len(free):
        raise InputError(
            f"rescaled standard deviations need more rows than parameters, got {len(rows)} rows for {len(free)}"
        )


# ------------------------------------------------------------------------------------------- the verb

METHODS: dict[str, Callable[..., FitResult]] = {"least_squares": least_squares, "adam": descend, "lbfgs": quasi_newton}


def fit(
    device: Device | Model | Sequence[Device | Model],
    rows: Sequence[Row],
    *,
    free: Sequence[str] | None = None,
    cells: int | None = None,
    order: int = 2,
    progress: Progress | None = None,
    method: str = "least_squares",
    bounds: Mapping[str, tuple[float, float]] | None = None,
    priors: Mapping[str, tuple[float, float]] | None = None,
    ties: Sequence[Tie] = (),
    correlation: np.ndarray | None = None,
    starts: int = 1,
    rescaled: bool = False,
    grid_errors: bool = True,
    journal: str | Path | None = None,
) -> FitResult:
    """Fits parameters of one device, or of several, to measured signals, with the error bars of the grid.

    The data are fitted with elements of first order, which is cheap, each signal corrected by a factor for what it is
    wrong by at the start, and from there with those of the model. What the orders differ by at the start gives the
    error bars of the signals (`accuracy.tail`), relative to the signal; these are added in quadrature to the standard
    deviations of the data, as if those of different signals were independent.

    Args:
      device: its own values are the start; a model from `signals.build` is used as it is (cells and order do nothing).
        Of several, told apart by their names, a free parameter is one for all that have it ("Py.S_s"), or that of
        one device ("wide:zeta"), which goes before; what is not free keeps the value of each device.
      rows: measured signals; of several devices, `Row.device` says whose.
      free: names such as "Py.S_s", "zeta", or a dimension of the device; None: what `choose` finds.
      cells, order: of the grid, as for `signals.build`.
      progress: is told what goes on.
      method: "least_squares", "lbfgs", or "adam" for many small steps of gradient descent.
      bounds: {name: (lower, upper)} in SI units, in place of the defaults of `KINDS` and of the ranges of dimensions;
        those of a parameter that `choose` leaves out do nothing.
      priors: {name: (mean, std)} in SI units, Gaussian, of free parameters; what is known of them besides the data.
      ties: parameters that follow free ones, value = factor * value of the other.
      correlation: of the rows (rows, rows); None: independent.
      starts: so many starts of the cheap stage, see `scattered`.
      rescaled: multiply the covariance by the reduced chi2.
      grid_errors: False: take the model for exact, and fit on it alone.
      journal: file that keeps every evaluation, from which a fit that was interrupted goes on; see `Journal`.
    Raises:
      ValueError: no rows, a name that does not exist, bounds that exclude the start.
      NotConverged: a solve did not converge at the start; further on the step is shortened instead.
    """
    given = [device] if isinstance(device, Device | Model) else list(device)
    devices = [each.device if isinstance(each, Model) else each for each in given]
    rows, bounds, priors = tuple(rows), dict(bounds or {}), dict(priors or {})
    parameters = joint_parameters(devices, free or ())
    if method not in METHODS:
        raise InputError(f"method: got '{method}'; {nearest(method, METHODS)}")
    known = known_parameters(devices)
    _require_names("free", free or (), known)
    _require_names("bounds", bounds, known if free is None else free)
    _require_names("priors", priors, known if free is None else free)
    _check_ties(ties, free, known)
    _check_priors(priors)
    _check(rows, ["zeta"] if free is None else list(free), rescaled)
    _check_devices(devices, rows)
    models = [
        each if isinstance(each, Model) else signals.build(each, cells=cells, order=order, progress=progress)
        for each in given
    ]
    own = models[0].grid.order
    kept = None if journal is None else Journal(Path(journal), _problem(models, rows))
    if kept is not None and progress is not None and len(kept):
        progress(f"{journal}: {len(kept)} evaluations are there already")

    def bare_of(models: Sequence[Model], lenient: bool = False) -> Predictor | Joint:
        lenient = lenient or (kept is not None and len(kept) > 0)
        if len(models) == 1:
            return Predictor(models[0], rows, RESIDUAL, progress, lenient=lenient)
        places = [np.flatnonzero([row.device == each.device.name for row in rows]) for each in models]
        parts = [
            (
                each.device.name,
                each.device.numbers(),
                place,
                Predictor(each, [rows[i] for i in place], RESIDUAL, progress, lenient=lenient),
            )
            for each, place in zip(models, places, strict=True)
        ]
        return Joint(parts, len(rows))

    def whole_of(bare: Predictor | Joint, order: int, name: str | None = None) -> Predict:
        """With ties, and the journal."""
        whole = tied(bare, ties)
        label = f"order {order}, {name}" if name else f"order {order}"
        return whole if kept is None else kept.keep(whole, label, () if name == "" else bare.parts)

    def copy_of(models: Sequence[Model], name: str) -> Predict:
        return whole_of(bare_of(models, lenient=True), models[0].grid.order, name)

    bare = bare_of(models)
    last = whole_of(bare, own)
    stages: list[Predict] = [last]
    first = Copies(models, copy_of, starts)
    grid_stds, wider, wider_correlation = None, list(rows), correlation
    if grid_errors:
        companions = list(zip(*map(accuracy.companions, models), strict=True))
        others = [whole_of(bare_of(each), each[0].grid.order) for each in companions]
        beside = all(each.devices == 1 for each in models)  # messages must be sent in one order
        values = _at_start(own, others, last, parameters, list(free or ["zeta"]), beside)
        grid_stds = _grid_stds(own, values, rows)
        moved = [accuracy.elsewhere(each) for each in models]
        if any(moved):
            there, _ = bare_of([other or each for other, each in zip(moved, models, strict=True)])(parameters, ())
            grid_stds = grid_stds + accuracy.CUT * np.abs(there - values[own - 1])
        wider = [replace(row, std=math.hypot(row.std, grid)) for row, grid in zip(rows, grid_stds, strict=True)]
        if correlation is not None:
            shares = np.array([row.std for row in rows]) / np.array([row.std for row in wider])
            wider_correlation = np.asarray(correlation, float) * shares[:, None] * shares
            np.fill_diagonal(wider_correlation, 1.0)
        if own > 1:
            low, high = values[0], values[own - 1]
            stages.insert(0, corrected(others[0], low, high))
            first = Copies(companions[0], lambda each, name: corrected(copy_of(each, name), low, high), starts)
    misfit = Misfit(wider, wider_correlation, {name: Prior(*each) for name, each in priors.items()})
    if free is None:
        choice = choose(stages[0], misfit, parameters, _magnetic(devices))
    else:
        choice = Choice(tuple(free), {})
    limits = _ranges(devices) | bounds
    varied = [Parameter(name, parameters[name], limits.get(name)) for name in choice.free]
    fixed = {name: value for name, value in parameters.items() if name not in choice.free}
    minimise = METHODS[method]
    result = minimise(
        stages,
        misfit,
        varied,
        fixed,
        rescaled=rescaled,
        starts=starts,
        copies=first,
        progress=progress,
        tolerance=FIT_TOLERANCE,
    )
    return replace(
        result,
        rows=rows,
        correlation_of_data=correlation,
        ties=tuple((tie.name, tie.factor, tie.source) for tie in ties),
        grid_stds=grid_stds,
        left_out=choice.left_out,
        fields=bare.fields,
        problem=replace(
            result.problem,
            models=tuple(models),
            of=lambda others: tied(bare_of(others), ties),
            copies=Copies(models, copy_of, abreast.MOST * max(each.devices for each in models)),
        ),
    )


def joint_parameters(devices: Sequence[Device], free: Sequence[str]) -> dict[str, float]:
    """Values at the start: one for all devices where they agree or where it is free, else each device's own."""
    shared = {name: value for name, value in known_parameters(devices).items() if OF not in name}
    out = dict(shared)
    if len(devices) > 1:
        for device in devices:
            for name, value in device.numbers().items():
                own = f"{device.name}{OF}{name}"
                if own in free or (value != shared[name] and name not in free):
                    out[own] = value
    return out


def _ranges(devices: Sequence[Device]) -> dict[str, tuple[float, float]]:
    """Ranges of the dimensions that have one, by each name that a fit may use."""
    out: dict[str, tuple[float, float]] = {}
    for device in reversed(devices):
        own = {name: each.range for name, each in device.dimensions.items() if each.range is not None}
        out |= own | {f"{device.name}{OF}{name}": each for name, each in own.items()}
    return out


def _magnetic(devices: Sequence[Device]) -> list[str]:
    used = [(each, solid.material) for each in devices for solid in each.solids]
    return list(dict.fromkeys(material for device, material in used if device.materials[material].is_magnetic))


def _check_ties(ties: Sequence[Tie], free: Sequence[str] | None, known: Mapping[str, float]) -> None:
    faults = []
    for tie in ties:
        faults += [
            f"ties: got '{name}'; {nearest(name, known)}" for name in (tie.name, tie.source) if name not in known
        ]
        if tie.name in (free or ()):
            faults.append(f"ties: {tie.name} follows {tie.source} and is free too, expected one of them")
        if tie.source in [other.name for other in ties]:
            faults.append(f"ties: {tie.name} follows {tie.source}, which follows another one; name that one")
        if not math.isfinite(tie.factor):
            faults.append(f"ties: {tie.name}: got factor {tie.factor:g}, expected a finite number")
    twice = [name for name, times in Counter(tie.name for tie in ties).items() if times > 1]
    faults += [f"ties: {name} follows more than one parameter" for name in twice]
    if faults:
        raise InputError("\n".join(faults))


def _check_priors(priors: Mapping[str, tuple[float, float]]) -> None:
    faults = [
        f"priors: {name}: got {mean:g} +- {std:g}, expected a finite mean and a finite std above 0"
        for name, (mean, std) in priors.items()
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0)
    ]
    if faults:
        raise InputError("\n".join(faults))


def _check_devices(devices: Sequence[Device], rows: Sequence[Row]) -> None:
    names = [each.name for each in devices]
    if len(devices) == 1:
        names.append("")
    faults = [f"device: '{name}' is there more than once" for name, times in Counter(names).items() if times > 1]
    for row in rows:
        if row.device not in names:
            faults.append(f"{row.experiment} {row.signal}: got device '{row.device}'; {nearest(row.device, names)}")
    idle = [name for name in names if name and name not in [row.device for row in rows]] if len(devices) > 1 else []
    faults += [f"device '{name}' has no rows, expected at least one" for name in idle]
    if faults:
        raise InputError("\n".join(dict.fromkeys(faults)))


def _problem(models: Sequence[Model], rows: Sequence[Row]) -> str:
    """What the answers of a model depend on, as text: devices, grids and which signals, not what was measured."""
    lines = [[axis.tolist() for axis in each.grid.lines] for each in models]
    wanted = [(row.device, row.experiment, row.signal) for row in rows]
    return repr((__version__, [each.device for each in models], lines, [each.grid.order for each in models], wanted))


def _at_start(
    order: int,
    others: Sequence[Predict],
    own: Predict,
    parameters: Mapping[str, float],
    names: Sequence[str],
    beside: bool,
) -> list[np.ndarray]:
    """Values of the rows at the start at the orders 1, 2, ...; `order` is that of `own`, others may go on beside it."""
    with ThreadPoolExecutor(1) as pool:
        # Beside the others: most of the time is compilation, which is hardly parallel.
        mine = pool.submit(own, parameters, names)
        if not beside:
            mine.result()
        values = [each(parameters, ())[0] for each in others]
    values.insert(order - 1, mine.result()[0])
    return values


def _grid_stds(order: int, values: Sequence[np.ndarray], rows: Sequence[Row]) -> np.ndarray:
    """Error bars of the grid for each row [V/A^n], from the values at the orders 1, 2, ... at the start.

    In proportion to what was measured or to the start, whichever is larger: the start may have a parameter far off that
    the signal is proportional to, and with it the error.
    """
    errors = [accuracy.error(each, order) for each in zip(*values, strict=True)]
    scale = [max(abs(row.value) / abs(at), 1.0) if at else 1.0 for row, at in zip(rows, values[order - 1], strict=True)]
    return np.array(errors) * np.array(scale)


def _require_names(
    what: str, names: Sequence[str] | Mapping[str, Any], known: Sequence[str] | Mapping[str, Any]
) -> None:
    faults = [f"{what}: got '{name}'; {nearest(name, known)}" for name in names if name not in known]
    if faults:
        raise InputError("\n".join(faults))
