"""Parameters behind measured signals: fit devices to data, with the error bars of the grid.

The covariance of the parameters is (J' C^-1 J + priors)^-1 with J = d model/d p, the linear theory at the minimum:
trust it as far as the model is linear over one standard deviation. The misfit is in `inference.misfit`.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from thermospin.accuracy import error_bars
from thermospin.base.errors import InputError
from thermospin.base.names import nearest, require_known
from thermospin.base.version import __version__
from thermospin.data.rows import Row
from thermospin.device.device import OF, Device, Proportion, Tie, forms, known_parameters, unknown_parameters
from thermospin.device.settings import alike
from thermospin.inference.combinators import Copies, Joint, corrected, tied
from thermospin.inference.degeneracies import remarks
from thermospin.inference.identifiability import Choice, choose
from thermospin.inference.journal import Journal
from thermospin.inference.minimisers import FIT_TOLERANCE, MINIMISERS, check_rows, minimise
from thermospin.inference.misfit import Misfit, Prior, Problem
from thermospin.inference.parameters import Parameter
from thermospin.inference.predictors import RESIDUAL, Predict, Predictor
from thermospin.inference.result import FitResult, Following
from thermospin.inference.sharing import (
    Follower,
    at_each_bath,
    check_proportions,
    check_shared,
    followers,
    following,
    joint_parameters,
)
from thermospin.model import GridOptions, Model, Progress
from thermospin.parallel import tasks
from thermospin.quantities import QUANTITIES, key_of, quantity
from thermospin.solve import Solver


@dataclass(frozen=True)
class FitOptions:
    """Options of a fit.

    Attributes:
      method: "least_squares", "lbfgs", or "adam" for many small steps of gradient descent.
      bounds: {name: (lower, upper)} in SI units, in place of the defaults and of the ranges of dimensions;
        those of a parameter that `choose` leaves out do nothing.
      priors: {name: Prior or (mean, std)} of free parameters in SI units: what is known of them besides the data; where
        `choose` finds the free ones, those with a prior are among them.
      ties: parameters that follow others: value = factor * value of the other; or, at every bath, in proportion to a
        product of powers of other values of the same device, with one constant for all devices: the value of the
        parameter itself at the values that the first device begins with, which may be free.
      starts: number of starts of the low-order stage, see `inference.minimisers.scattered`.
      rescaled: take the stds of the data as relative weights, and their size from the scatter around the fit.
      grid_errors: False: take the model for exact, and fit on it alone.
    """

    method: str = "least_squares"
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    priors: Mapping[str, Prior | tuple[float, float]] = field(default_factory=dict)
    ties: Sequence[Tie | Proportion] = ()
    starts: int = 1
    rescaled: bool = False
    grid_errors: bool = True


def fit(
    device: Device | Model | Sequence[Device | Model],
    rows: Sequence[Row],
    free: Sequence[str] | None = None,
    options: FitOptions | None = None,
    *,
    correlation: np.ndarray | None = None,
    grid: GridOptions | None = None,
    journal: str | Path | None = None,
    progress: Progress | None = None,
) -> FitResult:
    """Fit parameters of one device, or of several, to measured signals, with the error bars of the grid.

    The data are fitted with elements of first order, which is cheap, each signal corrected by a factor for its error
    at the start, and from there with those of the model. The differences between the orders at the start give the
    error bars of the signals (`error_bars.tail`), relative to the signal; these are added in quadrature to the standard
    deviations of the data, as if those of different signals were independent. The same signal of devices that differ in
    values alone has the same error over again: it is fully correlated.

    Args:
      device: its own values are the start; a model from `build` is used as it is (`grid` does nothing). Of several,
        told apart by their names, a free "Py.S_s" is shared by all devices that have it; "wide:zeta" belongs to one
        device and "77K:Py.S_s" to those at one bath, and take precedence; what is not free keeps the value of each
        device. A free value that is a table over the bath is free at each bath.
      rows: measured signals; of several devices, `Row.device` says whose.
      free: names such as "Py.S_s", "zeta", or a dimension of the device; None: those that `choose` finds.
      options: method, bounds, priors and so on.
      correlation: of the rows (rows, rows); None: independent.
      grid: where a device is given; None: the default grid.
      journal: file that keeps every evaluation, from which a fit that was interrupted resumes; see `Journal`.
      progress: callback for messages.
    Raises:
      InputError: no rows, a name that does not exist, bounds that exclude the start.
      NotConverged: a solve did not converge at the start; further on the step is shortened instead.
    """
    options, rows = options or FitOptions(), tuple(rows)
    given = [device] if isinstance(device, Device | Model) else list(device)
    devices = [part.device if isinstance(part, Model) else part for part in given]
    priors = {name: prior if isinstance(prior, Prior) else Prior(*prior) for name, prior in options.priors.items()}
    linear = tuple(tie for tie in options.ties if isinstance(tie, Tie))
    proportions = [tie for tie in options.ties if isinstance(tie, Proportion)]
    check_proportions(proportions, devices, [tie.name for tie in linear])
    follow = [tie.name for tie in proportions]
    free, options = _at_each_bath(devices, free, options, follow)
    _check(devices, rows, free, options, priors)
    rows = tuple(_with_unit(row, devices) for row in rows)
    parameters = joint_parameters(devices, free or tuple(priors), follow)
    followed = tuple(followers(devices, proportions, free or tuple(priors)))
    grid = grid or GridOptions()
    models = [part if isinstance(part, Model) else grid.build(part, progress) for part in given]
    kept = _kept(journal, models, rows, options.ties, progress)
    answers = _Answers(tuple(models), rows, linear, followed, kept, progress)
    stages = _stages(answers, parameters, list(free or ["zeta"]), options)
    misfit = Misfit(rows, correlation, priors, stages.grid_stds, stages.grid_correlation)
    choice = Choice(tuple(free or ()), {})
    if free is None:
        several = functools.partial(at_each_bath, devices, shared=follow)
        choice = choose(stages.predictors[0], misfit, parameters, _magnetic(devices), tuple(priors), several)
    limits = _ranges(devices) | dict(options.bounds)
    result = minimise(
        MINIMISERS[options.method],
        stages.predictors,
        misfit,
        [Parameter(name, parameters[name], limits.get(name)) for name in choice.free],
        {name: value for name, value in parameters.items() if name not in choice.free},
        rescaled=options.rescaled,
        starts=options.starts,
        copies=stages.copies,
        progress=progress,
        tolerance=FIT_TOLERANCE,
    )
    most = tasks.MOST * max(model.shards for model in models)
    problem = replace(
        result.require_problem(),
        models=tuple(models),
        of=lambda others: answers.tied(answers.of(others)),
        copies=Copies(models, answers.copy, most),
    )
    result = replace(
        result,
        correlation_of_data=correlation,
        ties=tuple((tie.name, tie.factor, tie.source) for tie in linear),
        following=_following(proportions, followed, problem, result),
        grid_stds=stages.grid_stds,
        grid_correlation=stages.grid_correlation,
        left_out=choice.left_out,
        warnings=mirrored(problem, result),
        fields=stages.last.fields,
        problem=problem,
    )
    return replace(result, remarks=remarks(problem, result))


def _at_each_bath(
    devices: Sequence[Device], free: Sequence[str] | None, options: FitOptions, follow: Sequence[str]
) -> tuple[list[str] | None, FitOptions]:
    """Return what is free, and the bounds, with a parameter for each bath in place of a table over the bath."""
    meant = at_each_bath(devices, [*(free or ()), *options.bounds], follow)
    bounds = {full: ends for name, ends in options.bounds.items() for full in meant[name]}
    own = {name: ends for name, ends in options.bounds.items() if meant[name] == [name]}
    names = None if free is None else list(dict.fromkeys(full for name in free for full in meant[name]))
    return names, replace(options, bounds=bounds | own)


def _kept(
    path: str | Path | None,
    models: Sequence[Model],
    rows: Sequence[Row],
    ties: Sequence[Tie | Proportion],
    progress: Progress | None,
) -> Journal | None:
    """Return the journal of a fit, and tell what it has."""
    if path is None:
        return None
    journal = Journal(Path(path), _problem(models, rows, ties))
    if progress is not None and len(journal):
        progress(f"{path}: {len(journal)} evaluations are there already")
    return journal


def mirrored(problem: Problem, result: FitResult) -> tuple[str, ...]:
    """Return warnings of polarisations whose sign the data do not know: they changed it, and -P fits as well."""
    warnings = []
    values = {name: fitted.value for name, fitted in result.parameters.items()}
    for name, fitted in result.parameters.items():
        if key_of(name) != "P" or fitted.value * fitted.start > 0:
            continue
        mirrored = values | {name: -fitted.value}
        signals, _ = problem.predict(dict(problem.fixed) | mirrored, ())
        chi2 = float(np.sum(problem.misfit.residuals(np.asarray(signals, float), mirrored) ** 2))
        if chi2 < result.chi2 + 1:
            warnings.append(
                f"{name} changed its sign on the way, and {-fitted.value:.4g} fits as well (chi2 {chi2:.4g} against "
                f"{result.chi2:.4g}): these data do not know the sign; give bounds such as '{name} = 0 ..'"
            )
    return tuple(warnings)


def _following(
    ties: Sequence[Proportion], values: Sequence[Follower], problem: Problem, result: FitResult
) -> tuple[Following, ...]:
    """Return what each tie came to, with standard deviations by the covariance of the parameters."""
    parameters = dict(problem.fixed) | {name: fitted.value for name, fitted in result.parameters.items()}
    out = []
    for tie in ties:
        of_tie = [value for value in values if value.shared == tie.name]
        came: dict[str, tuple[float, float]] = {}
        for value in of_tie:
            number, slopes = value.at(parameters)
            along = np.array([slopes.get(name, 0.0) for name in result.names])
            fixed = np.isfinite(np.diag(result.covariance)) | (along == 0)
            variance = along @ np.where(np.outer(along, along) == 0, 0.0, result.covariance) @ along
            came[value.name] = number, math.sqrt(variance) if np.all(fixed) else math.inf
        for of_bath in dict.fromkeys(value.of_bath for value in of_tie):
            names = [value.name for value in of_tie if value.of_bath == of_bath]
            if len({came[name] for name in names}) == 1:  # one line for all devices at a bath
                came = {of_bath if name == names[0] else name: came[name] for name in came if name not in names[1:]}
        references = {names[-1]: reference for value in of_tie[:1] for names, reference, _ in value.sources}
        out.append(Following(str(tie), tie.name, references, came))
    return tuple(out)


@dataclass(frozen=True)
class _Answers:
    """Predictors of the rows of a fit on any models of its devices.

    Attributes:
      models: of the devices, in the same order.
      rows: of all of them.
      ties: parameters that follow others by a factor.
      followers: values that follow others at every bath.
      journal: that keeps evaluations, None for none.
      progress: callback for messages.
    """

    models: tuple[Model, ...]
    rows: tuple[Row, ...]
    ties: tuple[Tie, ...]
    followers: tuple[Follower, ...]
    journal: Journal | None
    progress: Progress | None

    @property
    def order(self) -> int:
        """Order of the elements of the models."""
        return self.models[0].grid.order

    def of(self, models: Sequence[Model], lenient: bool = False, solver: Solver | None = None) -> Predictor | Joint:
        """Return a predictor of all rows, without ties and journal."""
        lenient = lenient or (self.journal is not None and len(self.journal) > 0)

        def predictor(model: Model, rows: Sequence[Row]) -> Predictor:
            return Predictor(model, rows, RESIDUAL, self.progress, lenient=lenient, solver=solver)

        if len(models) == 1:
            return predictor(models[0], self.rows)
        parts = []
        for model in models:
            place = np.flatnonzero([row.device == model.device.name for row in self.rows])
            rows = [self.rows[i] for i in place]
            parts.append((model.device.name, model.device.numbers(), place, predictor(model, rows)))
        return Joint(parts, len(self.rows), [forms(model.device, "")[1].removesuffix(OF) for model in models])

    def tied(self, predict: Predict) -> Predict:
        """Return a predictor with all that follows others."""
        return tied(following(predict, self.followers), self.ties)

    def kept(self, bare: Predictor | Joint, order: int, name: str | None = None) -> Predict:
        """Return a predictor with ties and journal.

        Args:
          name: in the journal, of one of several copies; "" for one that is asked only once.
        """
        whole = self.tied(bare)
        label = f"order {order}, {name}" if name else f"order {order}"
        return whole if self.journal is None else self.journal.keep(whole, label, () if name == "" else bare.parts)

    def copy(self, models: Sequence[Model], name: str, solver: Solver | None) -> Predict:
        """Return a copy for a task that runs concurrently; see `Copies`."""
        return self.kept(self.of(models, True, solver), models[0].grid.order, name)


@dataclass(frozen=True)
class _Stages:
    """Stages of a fit.

    Attributes:
      predictors: low order first, if there is one.
      copies: of the first stage.
      last: the last stage, without ties and journal.
      grid_stds: error bars of the grid for each row, None if they are not asked for.
      grid_correlation: of the errors of the grid (rows, rows); None: independent.
    """

    predictors: list[Predict]
    copies: Copies
    last: Predictor | Joint
    grid_stds: np.ndarray | None = None
    grid_correlation: np.ndarray | None = None


def _stages(answers: _Answers, parameters: Mapping[str, float], names: Sequence[str], options: FitOptions) -> _Stages:
    """Return the stages, low order corrected by the values at the start, and the error bars of the grid there."""
    models, order = answers.models, answers.order
    bare = answers.of(models)
    last = answers.kept(bare, order)
    copies = Copies(models, answers.copy, options.starts)
    if not options.grid_errors:
        return _Stages([last], copies, bare)
    companions = list(zip(*map(error_bars.companions, models), strict=True))
    others = [answers.kept(answers.of(members), members[0].grid.order) for members in companions]
    parallel = all(model.shards == 1 for model in models)  # messages must be sent in one order
    values = _at_start(order, others, last, parameters, names, parallel)
    edges = [model.device.weakest_edges(model.grid) for model in models]
    exponents = [min(edge.exponent(row.harmonic) for edge in edges) for row in answers.rows]
    families = _families([model.device for model in models], answers.rows)
    grid_stds = _grid_stds(order, values, answers.rows, families, exponents)
    moved = [error_bars.elsewhere(model) for model in models]
    if any(moved):
        elsewhere = [other or model for other, model in zip(moved, models, strict=True)]
        there, _ = answers.of(elsewhere)(parameters, ())
        grid_stds = grid_stds + error_bars.CUT * np.abs(there - values[order - 1])
    shared = _grid_correlation(answers.rows, families, values[order - 1])
    if order == 1:
        return _Stages([last], copies, bare, grid_stds, shared)
    low, high = values[0], values[order - 1]

    def copy(members: Sequence[Model], name: str, solver: Solver | None) -> Predict:
        return corrected(answers.copy(members, name, solver), low, high)

    stages = [corrected(others[0], low, high), last]
    return _Stages(stages, Copies(companions[0], copy, options.starts), bare, grid_stds, shared)


def _families(devices: Sequence[Device], rows: Sequence[Row]) -> list[tuple[int, str, str]]:
    """Return the same for each row of the same signal of devices that differ in values alone."""
    first = {each.name: next(k for k, other in enumerate(devices) if alike(other, each)) for each in devices}
    return [(first.get(row.device, 0), row.experiment, row.signal) for row in rows]


def _grid_correlation(
    rows: Sequence[Row], families: Sequence[tuple[int, str, str]], start: np.ndarray
) -> np.ndarray | None:
    """Return the correlation of the errors of the grid (rows, rows), None where all are independent.

    It is that of errors in proportion to the signals, whose signs are those at the start, or those measured where
    magnitudes are compared.
    """
    if len(set(families)) == len(families):
        return None
    blind = np.array([not row.polarity_known for row in rows])
    signs = np.where(np.where(blind, [row.value for row in rows], start) < 0, -1.0, 1.0)
    same = np.array([[one == other for other in families] for one in families])
    return np.where(same, np.outer(signs, signs), 0.0)


def _check(
    devices: Sequence[Device],
    rows: Sequence[Row],
    free: Sequence[str] | None,
    options: FitOptions,
    priors: Mapping[str, Prior],
) -> None:
    """Refuse names that do not exist and rows that cannot be fitted."""
    if options.method not in MINIMISERS:
        raise InputError(f"method: got '{options.method}'; {nearest(options.method, MINIMISERS)}")
    known = known_parameters(devices)
    if faults := unknown_parameters("free", free or (), devices):
        raise InputError(faults)
    require_known("bounds", options.bounds, known if free is None else free)
    require_known("priors", priors, known if free is None else free)
    linear = [tie for tie in options.ties if isinstance(tie, Tie)]
    check_shared(devices, free or (), [tie.name for tie in options.ties])
    _check_ties(linear, free, known)
    _check_priors(priors, _ranges(devices) | dict(options.bounds))
    check_rows(rows, ["zeta"] if free is None else list(free), options.rescaled)
    _check_devices(devices, rows)


def _ranges(devices: Sequence[Device]) -> dict[str, tuple[float, float]]:
    """Return the ranges of the dimensions that have one, by each name that a fit may use."""
    out: dict[str, tuple[float, float]] = {}
    for device in reversed(devices):
        known = {name: dimension.range for name, dimension in device.dimensions.items() if dimension.range is not None}
        out |= known | {f"{device.name}{OF}{name}": limits for name, limits in known.items()}
    return out


def _magnetic(devices: Sequence[Device]) -> list[str]:
    used = [(device, solid.material) for device in devices for solid in device.solids]
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


def _check_priors(priors: Mapping[str, Prior], limits: Mapping[str, tuple[float, float]]) -> None:
    faults = [
        f"priors: {name}: got {prior.mean:g} +- {prior.std:g}, expected a finite mean and a finite std above 0"
        for name, prior in priors.items()
        if not (math.isfinite(prior.mean) and math.isfinite(prior.std) and prior.std > 0)
    ]
    for name, prior in priors.items():
        row = QUANTITIES[key_of(name)]
        lower, upper = limits.get(name, (row.lower, row.upper))
        if not lower <= prior.mean <= upper:
            faults.append(
                f"priors: {name}: got mean {quantity(name, prior.mean)}, expected one within the bounds "
                f"{quantity(name, lower)} .. {quantity(name, upper)}; give another mean or other bounds"
            )
    if faults:
        raise InputError("\n".join(faults))


def _check_devices(devices: Sequence[Device], rows: Sequence[Row]) -> None:
    names = [device.name for device in devices]
    if len(devices) == 1:
        names.append("")
    faults = [f"device: '{name}' is there more than once" for name, times in Counter(names).items() if times > 1]
    for row in rows:
        if row.device not in names:
            faults.append(f"{row.experiment} {row.signal}: got device '{row.device}'; {nearest(row.device, names)}")
        device = next((device for device in devices if device.name == row.device), devices[0])
        experiment = device.experiments.get(row.experiment)
        if row.unit and experiment is not None and row.unit != experiment.unit(row.harmonic):
            faults.append(f"{row.label} {row.signal}: got {row.unit}, expected {experiment.unit(row.harmonic)}")
    idle = [name for name in names if name and name not in [row.device for row in rows]] if len(devices) > 1 else []
    faults += [f"device '{name}' has no rows, expected at least one" for name in idle]
    if faults:
        raise InputError("\n".join(dict.fromkeys(faults)))


def _with_unit(row: Row, devices: Sequence[Device]) -> Row:
    """Return the row with the unit of its experiment; one that does not exist is left to the model to refuse."""
    device = next((each for each in devices if each.name == row.device), devices[0])
    experiment = device.experiments.get(row.experiment)
    return row if experiment is None else row.with_unit(experiment)


def _problem(models: Sequence[Model], rows: Sequence[Row], ties: Sequence[Tie | Proportion] = ()) -> str:
    """Describe what the answers of a model depend on: devices, grids, ties and which signals, not what was measured."""
    lines = [[axis.tolist() for axis in model.grid.lines] for model in models]
    wanted = [(row.device, row.experiment, row.signal) for row in rows]
    devices, orders = [model.device for model in models], [model.grid.order for model in models]
    return repr((__version__, devices, lines, orders, wanted, *ties))


def _at_start(
    order: int,
    others: Sequence[Predict],
    last: Predict,
    parameters: Mapping[str, float],
    names: Sequence[str],
    parallel: bool,
) -> list[np.ndarray]:
    """Return values of the rows at the start at the orders 1, 2, ...

    Args:
      order: of the last stage.
      others: predictors of the other orders.
      last: predictor of the last stage, whose derivatives by `names` are wanted soon.
      parallel: whether the others may run while it does.
    """
    with ThreadPoolExecutor(1) as pool:
        # While the others run: most of the time is compilation, which is hardly parallel.
        running = pool.submit(last, parameters, names)
        if not parallel:
            running.result()
        values = [predict(parameters, ())[0] for predict in others]
    values.insert(order - 1, running.result()[0])
    return values


def _grid_stds(
    order: int,
    values: Sequence[np.ndarray],
    rows: Sequence[Row],
    families: Sequence[tuple[int, str, str]],
    exponents: Sequence[float],
) -> np.ndarray:
    """Return error bars of the grid for each row, SI units, from the values at the orders 1, 2, ... at the start.

    In proportion to what was measured or to the start, whichever is larger: the start may have a parameter far off that
    the signal is proportional to, and with it the error. One factor for all variants of a device: an error that is one
    has the form that the model gives it, not that of the data.
    """
    sequences = zip(*values, strict=True)
    errors = [error_bars.error(sequence, order, least) for sequence, least in zip(sequences, exponents, strict=True)]
    scale: dict[tuple[int, str, str], float] = {}
    for family, row, at in zip(families, rows, values[order - 1], strict=True):
        scale[family] = max(scale.get(family, 1.0), abs(row.value) / abs(at) if at else 1.0)
    return np.array(errors) * np.array([scale[family] for family in families])
