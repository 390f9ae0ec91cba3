"""Parameters behind measured signals: least squares with exact Jacobians, standard deviations, and what the data fix.

Everything but `fit` works on a `Predict` callable, values and Jacobian of the data rows for given parameters: this
module knows no grid index and no solver. The misfit is

    chi2(p) = sum over rows r^2,   r = (model(p) - value)/std,   or (|model(p)| - |value|)/std if the sign is not known

and the covariance of the parameters is (J' W J)^-1 with J = d model/d p and W = 1/std^2, the linear theory at the
minimum: trust it as far as the model is linear over one standard deviation.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Literal, Protocol

import numpy as np
from scipy import optimize

from thermospin import accuracy, report, signals, solve
from thermospin.data import Row
from thermospin.device import Device
from thermospin.diagnosis import value_faults
from thermospin.materials import SI_UNITS, nearest
from thermospin.model import Model, Progress
from thermospin.report import FitResult, Fitted, Identifiability

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
#: First order is corrected to the model's order by a factor, where it is off by less than this factor.
SIMILAR = 2.0
#: Relative residual of the solves in a fit: signals are right to its square, derivatives to itself.
RESIDUAL = 1e-7
#: A preconditioner is built anew when a decade of the residual takes so many times the iterations that it began with.
AGED = 1.3
#: A fit that stops where a Gauss-Newton step promises to lower chi2 by more than this (a tenth of a standard deviation,
#: squared; times the reduced chi2 if that is larger) has not converged, whatever the optimiser says.
LARGEST_GAIN = 0.01


class Predict(Protocol):
    """Model values of the data rows and their exact derivatives.

    `parameters` holds every number of the model by name, in SI units; `names` are those to differentiate by. Returns
    the values (rows,) [V/A^n] and the Jacobian (rows, names); values are NaN where the model has no solution.
    """

    def __call__(self, parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Values and Jacobian."""
        ...


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
            raise ValueError(f"parameter '{self.name}' cannot be fitted; {nearest(self.key, KINDS)}")
        bounds = f"[{self.lower:g}, {self.upper:g}] {self.unit}".rstrip()
        limits = self.internal(self.lower), self.internal(self.upper)
        if not limits[0] < limits[1]:
            expected = {"log": "0 <= lower < upper", "atanh": "-1 <= lower < upper <= 1"}
            raise ValueError(
                f"bounds of {self.name}: got {bounds}, expected {expected.get(self.kind.transform, 'lower < upper')}"
            )
        if not (math.isfinite(self.internal(self.start)) and self.lower <= self.start <= self.upper):
            raise ValueError(
                f"start of {self.name}: got {self.start:g}, expected a value within {bounds}; give other bounds"
            )

    @property
    def key(self) -> str:
        """Key of `KINDS`."""
        return self.name.rpartition(".")[2]

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
    return value or KINDS[name.rpartition(".")[2]].typical


# ------------------------------------------------------------------------------------------- misfit


class Objective:
    """Residuals (rows,) and their Jacobian (rows, free) in internal coordinates x, one point remembered.

    Args:
      predict: the model.
      rows: the data.
      free: parameters to vary.
      fixed: every other number of the model.
      notify: is called after each evaluation with chi2 (NaN: no solution there) and the values of the parameters.
    """

    def __init__(
        self,
        predict: Predict,
        rows: Sequence[Row],
        free: Sequence[Parameter],
        fixed: Mapping[str, float],
        notify: Callable[[float, Mapping[str, float]], None],
    ) -> None:
        self._predict, self._rows, self._free, self._fixed, self._notify = predict, rows, free, dict(fixed), notify
        self._point: np.ndarray | None = None

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
            self.values = np.full(len(self._rows), math.nan)
        self._point = np.array(x)
        self._notify(float(np.sum(self.residuals(x) ** 2)), parameters)

    def residuals(self, x: np.ndarray) -> np.ndarray:
        """(model - value)/std of each row, see `pulls`."""
        self.evaluate(x)
        return pulls(self.values, self._rows)

    def gain(self, x: np.ndarray, bounds: np.ndarray) -> float:
        """What a Gauss-Newton step would lower chi2 by: the square of the residuals' part within the range of J.

        Parameters that press against a bound (2, free) do not count. Source: Bates and Watts, Technometrics 23, 179
        (1981), the relative offset criterion.
        """
        residuals, jacobian = self.residuals(x), self.jacobian(x)
        gradient = jacobian.T @ residuals
        pressed = (x - bounds[0] <= AT_BOUND) & (gradient > 0) | (bounds[1] - x <= AT_BOUND) & (gradient < 0)
        inner = jacobian[:, ~pressed]
        return float(np.sum((inner @ np.linalg.lstsq(inner, residuals, rcond=RANK_CUTOFF)[0]) ** 2))

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        """d residuals/d x (rows, free)."""
        self.evaluate(x)
        slopes = np.array([each.slope(float(xi)) for each, xi in zip(self._free, x, strict=True)])
        return (_signs(self.values, self._rows) / _stds(self._rows))[:, None] * self.sensitivity * slopes


def pulls(values: np.ndarray, rows: Sequence[Row]) -> np.ndarray:
    """(model - value)/std of each row, of the magnitudes where the polarity is not known (rows,) [1]."""
    measured = np.array([row.value if row.polarity_known else abs(row.value) for row in rows])
    return (_signs(values, rows) * values - measured) / _stds(rows)


def _signs(values: np.ndarray, rows: Sequence[Row]) -> np.ndarray:
    known = np.array([row.polarity_known for row in rows])
    return np.where(~known & (values < 0), -1.0, 1.0)


def _stds(rows: Sequence[Row]) -> np.ndarray:
    return np.array([row.std for row in rows])


# ------------------------------------------------------------------------------------------- what the data fix


def identifiability(jacobian: np.ndarray, rows: Sequence[Row], values: Mapping[str, float]) -> Identifiability:
    """What the data fix at some values of the parameters, before or after a fit.

    Args:
      jacobian: d signal/d parameter in SI units (rows, parameters).
      rows: the data; only their standard deviations are used.
      values: parameters in the order of the columns, SI units.
    """
    sizes = [_size(name, value) for name, value in values.items()]
    _, s, combinations = np.linalg.svd(jacobian * np.array(sizes) / _stds(rows)[:, None], full_matrices=True)
    s = np.concatenate([s, np.zeros(len(sizes) - len(s))])
    s[s <= RANK_CUTOFF * s[0]] = 0
    largest = np.abs(combinations).argmax(axis=1)
    combinations *= np.sign(combinations[np.arange(len(sizes)), largest])[:, None]
    return Identifiability(tuple(values), tuple(values.values()), tuple(sizes), s, combinations)


@dataclasses.dataclass(frozen=True)
class Choice:
    """Parameters to fit, and why the other candidates are left at their values."""

    free: tuple[str, ...]
    left_out: Mapping[str, str]


def choose(predict: Predict, rows: Sequence[Row], parameters: Mapping[str, float], magnetic: Sequence[str]) -> Choice:
    """The default parameters to fit: zeta and S_s of the magnetic materials, as Slachter et al. 2010 did, and more.

    P and then lambda_sf of those materials are added, one at a time, while the relative standard deviation of every
    free parameter, predicted by the Jacobian at the start, stays below `LARGEST_STD`.

    Args:
      predict: the model; called once.
      rows: the data.
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
        stds = identifiability(columns, rows, {name: parameters[name] for name in trial}).stds()
        if max(stds.values()) < LARGEST_STD:
            free = trial
            continue
        loose = [name for name in trial if not stds[name] < LARGEST_STD]
        known = ", ".join(f"{name} to {report.percent(stds[name])}" for name in loose if math.isfinite(stds[name]))
        unknown = ", ".join(name for name in loose if math.isinf(stds[name]))
        left_out[candidate] = "because the data would fix " + " and ".join(
            text for text in (f"only {known}" if known else "", f"not at all {unknown}" if unknown else "") if text
        )
    return Choice(tuple(free), left_out)


# ------------------------------------------------------------------------------------------- minimisers

#: Takes an objective, a start, bounds (2, free) and a tolerance; gives the end, whether it converged, and a message.
Minimiser = Callable[[Objective, np.ndarray, np.ndarray, float], tuple[np.ndarray, bool, str]]


def least_squares(
    stages: Sequence[Predict],
    rows: Sequence[Row],
    free: Sequence[Parameter],
    fixed: Mapping[str, float] | None = None,
    *,
    rescaled: bool = False,
    progress: Progress | None = None,
    tolerance: float = TOLERANCE,
    max_evaluations: int = 100,
) -> FitResult:
    """Minimises chi2 by a trust-region Gauss-Newton method within bounds (scipy's trf).

    Args:
      stages: models of the same data, cheap ones first; each starts where the one before ended, the last decides.
      rows: measured signals.
      free: parameters to fit.
      fixed: every other number that the models need, SI units.
      rescaled: multiply the covariance by the reduced chi2.
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

    return _run("least_squares", minimise, stages, rows, free, fixed, rescaled, progress, tolerance)


def descend(
    stages: Sequence[Predict],
    rows: Sequence[Row],
    free: Sequence[Parameter],
    fixed: Mapping[str, float] | None = None,
    *,
    rescaled: bool = False,
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
      stages, rows, free, fixed, rescaled, progress, tolerance, max_evaluations: as for `least_squares`.
    """
    import optax

    def minimise(f: Objective, x: np.ndarray, bounds: np.ndarray, tolerance: float) -> tuple[np.ndarray, bool, str]:
        optimiser, rate = optax.scale_by_adam(), optax.cosine_decay_schedule(learning_rate, max_evaluations)
        state = optimiser.init(x)
        for number in range(max_evaluations):
            residuals, jacobian = f.residuals(x), f.jacobian(x)
            if f.gain(x, bounds) <= tolerance * max(np.sum(residuals**2), 1.0):
                return x, True, "no step would lower chi2 by more than the tolerance"
            update, state = optimiser.update(jacobian.T @ residuals, state)
            trial = np.clip(x - float(rate(number)) * np.asarray(update, float), *bounds)
            for _ in range(20):
                if np.all(np.isfinite(f.residuals(trial))):
                    break
                # Half the step, and no momentum that would carry on towards where there is no solution.
                trial, state = (x + trial) / 2, optimiser.init(x)
            else:
                return x, False, "no solution in the direction of descent"
            x = trial
        return x, False, "the largest number of steps is reached"

    return _run("adam", minimise, stages, rows, free, fixed, rescaled, progress, tolerance)


def _run(
    method: str,
    minimise: Minimiser,
    stages: Sequence[Predict],
    rows: Sequence[Row],
    free: Sequence[Parameter],
    fixed: Mapping[str, float] | None,
    rescaled: bool,
    progress: Progress | None,
    tolerance: float,
) -> FitResult:
    """Stage after stage with one minimiser, and the statistics of the end."""
    _check(rows, [each.name for each in free], rescaled)
    x = first = np.array([each.internal(each.start) for each in free])
    bounds = np.array([[each.internal(each.lower), each.internal(each.upper)] for each in free]).T
    evaluations = 0
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
                numbers = ", ".join(f"{name} = {report.quantity(name, value)}" for name, value in values.items())
                found = f"chi2 = {chi2:.4g}" if math.isfinite(chi2) else "no solution"
                progress(f"stage {number} of {len(stages)}, evaluation {evaluations}: {found} at {numbers}")

        objective = Objective(predict, rows, free, fixed or {}, count)
        if number > 1 and not np.all(np.isfinite(objective.residuals(x))):
            x = first  # the cheaper model led astray
        if not np.all(np.isfinite(objective.residuals(x))):
            where = ", ".join(f"{k} = {report.quantity(k, v)}" for k, v in objective.values_at(x).items())
            raise ValueError(f"the model has no solution at the start of stage {number}: {where}; start elsewhere")
        if last and before is None:
            before = objective.values
        x, converged, message = minimise(objective, x, bounds, tolerance if last else COARSE_TOLERANCE)
    objective.evaluate(x)
    assert before is not None
    values = objective.values_at(x)
    chi2 = float(np.sum(objective.residuals(x) ** 2))
    gain = objective.gain(x, bounds)
    if converged and gain > LARGEST_GAIN * max(1.0, chi2 / max(len(rows) - len(free), 1)):
        # Steps get short at the edge of where the model has a solution, which an optimiser takes for a minimum.
        converged, message = False, f"stopped short of a minimum, a step promises to lower chi2 by {gain:.2g}"
    found = identifiability(objective.sensitivity, rows, values)
    covariance = found.covariance() * (chi2 / (len(rows) - len(free)) if rescaled else 1.0)
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
        rows=tuple(rows),
        before=before,
        after=objective.values,
        pulls=pulls(objective.values, rows),
        chi2=chi2,
        evaluations=evaluations,
        converged=converged and math.isfinite(chi2),
        message=message,
        method=method,
        identifiability=found,
        sensitivity=objective.sensitivity,
    )


def _check(rows: Sequence[Row], free: Sequence[str], rescaled: bool) -> None:
    if not rows:
        raise ValueError("there are no measured rows, expected at least one")
    if not free:
        raise ValueError("there is no parameter to fit, expected at least one")
    for row in rows:
        if not (math.isfinite(row.value) and math.isfinite(row.std) and row.std > 0):
            raise ValueError(
                f"{row.experiment} {row.signal}: got {row.value:g} with std {row.std:g}, "
                f"expected a finite value and a finite std above 0"
            )
    twice = [name for name, times in Counter(free).items() if times > 1]
    if twice:
        raise ValueError(f"parameter to fit is there more than once: {', '.join(twice)}")
    if rescaled and len(rows) <= len(free):
        raise ValueError(
            f"rescaled standard deviations need more rows than parameters, got {len(rows)} rows for {len(free)}"
        )


# ------------------------------------------------------------------------------------------- the verb

METHODS: dict[str, Callable[..., FitResult]] = {"least_squares": least_squares, "adam": descend}


def fit(
    device: Device | Model,
    rows: Sequence[Row],
    *,
    free: Sequence[str] | None = None,
    cells: int | None = None,
    order: int = 2,
    progress: Progress | None = None,
    method: str = "least_squares",
    bounds: Mapping[str, tuple[float, float]] | None = None,
    rescaled: bool = False,
    grid_errors: bool = True,
) -> FitResult:
    """Fits parameters of a device to measured signals, the error bars of the grid taken into account.

    The data are fitted with elements of first order, which is cheap, each signal corrected by a factor for what it is
    wrong by at the start, and from there with those of the model. What the orders differ by at the start gives the
    error bars of the signals (`accuracy.tail`), relative to the signal; these are added in quadrature to the standard
    deviations of the data, as if those of different signals were independent.

    Args:
      device: its own values are the start; a model from `signals.build` is used as it is (cells and order do nothing).
      rows: measured signals.
      free: names such as "Py.S_s", "zeta"; None: what `choose` finds.
      cells, order: of the grid, as for `signals.build`.
      progress: is told what goes on.
      method: "least_squares", or "adam" for many small steps of gradient descent.
      bounds: {name: (lower, upper)} in SI units, in place of the defaults of `KINDS`; those of a parameter that
        `choose` leaves out do nothing.
      rescaled: multiply the covariance by the reduced chi2.
      grid_errors: False: take the model for exact, and fit on it alone.
    Raises:
      ValueError: no rows, a name that does not exist, bounds that exclude the start.
      NotConverged: a solve did not converge at the start; further on the step is shortened instead.
    """
    fine, solids = (device, device.device) if isinstance(device, Model) else (None, device)
    rows, bounds, parameters = tuple(rows), dict(bounds or {}), solids.parameters()
    if method not in METHODS:
        raise ValueError(f"method: got '{method}'; {nearest(method, METHODS)}")
    _require_names("free", free or (), parameters)
    _require_names("bounds", bounds, parameters if free is None else free)
    _check(rows, ["zeta"] if free is None else list(free), rescaled)
    if fine is None:
        fine = signals.build(solids, cells=cells, order=order, progress=progress)
    last = Predictor(fine, rows, RESIDUAL, progress)
    stages: list[Predict] = [last]
    grid_stds, wider = None, list(rows)
    if grid_errors:
        own = fine.grid.order
        others = [Predictor(each, rows, RESIDUAL, progress) for each in accuracy.companions(fine)]
        values = _at_start(own, others, last, parameters, list(free or ["zeta"]))
        grid_stds = _grid_stds(own, values, rows)
        wider = [replace(row, std=math.hypot(row.std, grid)) for row, grid in zip(rows, grid_stds, strict=True)]
        if own > 1:
            stages.insert(0, _corrected(others[0], values[0], values[own - 1]))
    if free is None:
        used = dict.fromkeys(solid.material for solid in solids.solids)
        choice = choose(stages[0], wider, parameters, [name for name in used if solids.materials[name].is_magnetic])
    else:
        choice = Choice(tuple(free), {})
    varied = [Parameter(name, parameters[name], bounds.get(name)) for name in choice.free]
    fixed = {name: value for name, value in parameters.items() if name not in choice.free}
    minimise = METHODS[method]
    result = minimise(stages, wider, varied, fixed, rescaled=rescaled, progress=progress, tolerance=FIT_TOLERANCE)
    return replace(result, rows=rows, grid_stds=grid_stds, left_out=choice.left_out, fields=last.fields)


def _at_start(
    order: int, others: Sequence[Predictor], own: Predictor, parameters: Mapping[str, float], names: Sequence[str]
) -> list[np.ndarray]:
    """Values of the rows at the start at the orders 1, 2, ...; `order` is that of `own`."""
    with ThreadPoolExecutor(1) as pool:
        # Beside the others: most of the time is compilation, which is hardly parallel.
        mine = pool.submit(own, parameters, names)
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


def _corrected(cheap: Predict, low: np.ndarray, high: np.ndarray) -> Predict:
    """A cheap model times high/low, its values and those of the dear one at the start, where they are that similar.

    The dear model then begins next to its own minimum: one linear model of the other's error, as in space mapping
    (Bandler et al., IEEE Trans. Microw. Theory Tech. 42, 2536 (1994)).
    """
    ratio = np.divide(high, low, out=np.ones_like(high), where=low != 0)
    ratio = np.where((ratio > 1 / SIMILAR) & (ratio < SIMILAR), ratio, 1.0)

    def predict(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        values, jacobian = cheap(parameters, names)
        return ratio * values, ratio[:, None] * jacobian

    return predict


def _require_names(
    what: str, names: Sequence[str] | Mapping[str, Any], known: Sequence[str] | Mapping[str, Any]
) -> None:
    faults = [f"{what}: got '{name}'; {nearest(name, known)}" for name in names if name not in known]
    if faults:
        raise ValueError("\n".join(faults))


class Predictor:
    """The signals of a model as a `Predict`; each call starts from the fields of the last one.

    Where there is no solution (values outside the model, or a solve that does not converge) values are NaN; on the
    first call the error is raised instead. The preconditioner, which belongs to some values of the parameters, is built
    anew for others when it has become too slow for them, or a solve fails.

    Attributes:
      fields: of the last call that had a solution, for the next one or for `signals.measure`.
    """

    def __init__(
        self,
        model: Model,
        rows: Sequence[Row],
        tolerance: float = solve.TOLERANCE,
        progress: Progress | None = None,
    ) -> None:
        self._model, self._tolerance, self._progress = model, tolerance, progress
        self._wanted = tuple((row.experiment, row.signal) for row in rows)
        self._young = math.nan  # iterations per decade when the preconditioner was new
        self.fields: Any = None

    def __call__(self, parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Values and Jacobian."""
        nothing = np.full(len(self._wanted), math.nan), np.full((len(self._wanted), len(names)), math.nan)
        if self.fields is not None and value_faults(self._model.device, parameters):
            return nothing
        found = self._evaluate(parameters, names)
        if found is None:
            return nothing
        self.fields = found.fields
        now = found.iterations_per_decade
        if now > AGED * self._young and self._model.outdated(parameters):
            self._refresh(parameters, f"{now:.1f} iterations a decade where it began with {self._young:.1f}")
        elif math.isnan(self._young):
            self._young = now
        return found.values, found.jacobian

    def _evaluate(self, parameters: Mapping[str, float], names: Sequence[str]) -> signals.Evaluation | None:
        """None if a solve fails, with a new preconditioner too."""
        for last in (not self._model.outdated(parameters), True):
            try:
                return signals.evaluate(
                    self._model,
                    parameters,
                    self._wanted,
                    tuple(names),
                    start=self.fields,
                    tolerance=self._tolerance,
                    explain=last and self.fields is None,
                )
            except solve.NotConverged:
                if last and self.fields is None:
                    raise
            if last:
                break
            self._refresh(parameters, "a solve did not converge")
        return None

    def _refresh(self, parameters: Mapping[str, float], why: str) -> None:
        if self._progress is not None:
            self._progress(f"{self._model.device.name}: building the preconditioner anew, {why}")
        self._model = self._model.refreshed(parameters)
        self._young = math.nan
