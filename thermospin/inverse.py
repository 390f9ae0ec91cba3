"""Parameters behind measured signals: fit devices to data, with the error bars of the grid.

The covariance of the parameters is (J' C^-1 J + priors)^-1 with J = d model/d p, the linear theory at the minimum:
trust it as far as the model is linear over one standard deviation. The misfit is in `inference.misfit`.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.kinds import require_whole
from thermospin.base.names import nearest
from thermospin.data.rows import Row
from thermospin.device.device import OF, Device, Proportion, Tie, known_parameters, unknown_parameters
from thermospin.inference.degeneracies import remarks
from thermospin.inference.identifiability import Choice, choose
from thermospin.inference.journal import Journal
from thermospin.inference.minimisers import FIT_TOLERANCE, MINIMISERS, check_rows, minimise
from thermospin.inference.misfit import Misfit, Prior, Problem
from thermospin.inference.orders import Answers, AtOrders, Orders
from thermospin.inference.parameters import Parameter
from thermospin.inference.result import FitResult, Following
from thermospin.inference.sharing import (
    Follower,
    at_each_bath,
    check_proportions,
    check_shared,
    followers,
    joint_parameters,
)
from thermospin.model import GridOptions, Model, Progress
from thermospin.parallel import tasks
from thermospin.quantities import QUANTITIES, key_of, quantity

#: How often the best estimates are found again at the end of a fit at most, and the change, in standard deviations of
#: the data, at which they have settled.
CORRECTIONS, SETTLED = 4, 0.1


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
    Raises:
      InputError: a number of starts that is no whole one, or below 1.
    """

    method: str = "least_squares"
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    priors: Mapping[str, Prior | tuple[float, float]] = field(default_factory=dict)
    ties: Sequence[Tie | Proportion] = ()
    starts: int = 1
    rescaled: bool = False
    grid_errors: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "starts", require_whole("starts", self.starts, 1))


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

    The data are fitted with elements of first order, which is cheap, and from there with those of second order, both
    corrected to the best estimates of the signals (`error_bars.estimate`) by a factor for each signal, which is found
    at the start, and again at the end until it moves nothing any more. The error bars of the estimates are added in
    quadrature to the standard deviations of the data, with their correlation. Below order 3 the values of the grid are
    the best estimates.

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
    priors = _priors(options)
    linear, proportions = _ties(options)
    follow = [tie.name for tie in proportions]
    free, options, parameters = check_fit(devices, rows, free, options)
    rows = tuple(_with_unit(row, devices) for row in rows)
    followed = tuple(followers(devices, proportions, tuple(free or priors)))
    grid = grid or GridOptions()
    models = tuple(part if isinstance(part, Model) else grid.build(part, progress) for part in given)
    kept = _kept(journal, models, rows, options.ties, progress)
    answers = Answers(models, rows, linear, followed, kept, progress)
    orders = Orders(answers, exact=not options.grid_errors)
    at = orders.at(parameters, list(free or ["zeta"]))
    choice = Choice(tuple(free or ()), {})
    if free is None:
        several = functools.partial(at_each_bath, devices, shared=follow)
        misfit = _misfit(rows, correlation, priors, at)
        sources = {tie.name: tie.source for tie in linear}
        choice = choose(orders.stages(at)[0], misfit, parameters, _magnetic(devices), tuple(priors), several, sources)
    varied = _varied(devices, options, parameters, choice.free)
    fixed = {name: value for name, value in parameters.items() if name not in choice.free}
    result = _minimised(answers, orders, at, varied, fixed, options, correlation, priors)
    problem = result.require_problem()
    result = replace(
        result,
        correlation_of_data=correlation,
        ties=tuple((tie.name, tie.factor, tie.source) for tie in linear),
        following=_following(proportions, followed, problem, result),
        left_out=choice.left_out,
        warnings=(*result.warnings, *mirrored(problem, result)),
        fields=orders.last.fields,
    )
    return replace(result, remarks=remarks(problem, result))


def check_fit(
    devices: Sequence[Device], rows: Sequence[Row], free: Sequence[str] | None, options: FitOptions
) -> tuple[list[str] | None, FitOptions, dict[str, float]]:
    """Return what is free, the options and all parameters at the start, with one for each bath of a table over it.

    Nothing is built or solved for it.

    Raises:
      InputError: no rows, names that do not exist or are not free, bounds that exclude the start.
    """
    linear, proportions = _ties(options)
    check_proportions(proportions, devices, [tie.name for tie in linear])
    follow = [tie.name for tie in proportions]
    _check_names(devices, free, options, follow)
    free, options = _at_each_bath(devices, free, options, follow)
    _check(devices, rows, free, options, _priors(options))
    parameters = _parameters(devices, tuple(free or options.priors), follow, linear)
    _varied(devices, options, parameters, free or ())
    return free, options, parameters


def _priors(options: FitOptions) -> dict[str, Prior]:
    """Return the priors by name."""
    return {name: prior if isinstance(prior, Prior) else Prior(*prior) for name, prior in options.priors.items()}


def _ties(options: FitOptions) -> tuple[tuple[Tie, ...], list[Proportion]]:
    """Return the ties by a factor, and those in proportion at every bath."""
    linear = tuple(tie for tie in options.ties if isinstance(tie, Tie))
    return linear, [tie for tie in options.ties if isinstance(tie, Proportion)]


def _varied(
    devices: Sequence[Device], options: FitOptions, parameters: Mapping[str, float], free: Sequence[str]
) -> list[Parameter]:
    """Return the free parameters with their bounds."""
    limits = _ranges(devices) | dict(options.bounds)
    return [Parameter(name, parameters[name], limits.get(name)) for name in free]


def _parameters(
    devices: Sequence[Device], free: Sequence[str], follow: Sequence[str], ties: Sequence[Tie]
) -> dict[str, float]:
    """Return `joint_parameters` with those that others follow, of one device or bath too."""
    parameters = joint_parameters(devices, [*free, *(tie.source for tie in ties if OF in tie.source)], follow)
    faults = [
        f"ties: {tie.name} follows {tie.source}, which has not one value but one for each bath or device; "
        f'name one of them, or tie at every bath, "{tie.name} ~ {tie.source}"'
        for tie in ties
        if tie.source not in parameters
    ]
    if faults:
        raise InputError(faults)
    return parameters


def _misfit(
    rows: Sequence[Row], correlation: np.ndarray | None, priors: Mapping[str, Prior], at: AtOrders | None
) -> Misfit:
    """Return the misfit with the error bars of the best estimates at a place."""
    return Misfit(rows, correlation, priors, *(() if at is None else (at.stds, at.correlation)))


def _minimised(
    answers: Answers,
    orders: Orders,
    at: AtOrders | None,
    varied: Sequence[Parameter],
    fixed: Mapping[str, float],
    options: FitOptions,
    correlation: np.ndarray | None,
    priors: Mapping[str, Prior],
) -> FitResult:
    """Run the stages of a fit, and the last one again until the best estimates at its end are those it was run with."""
    run = functools.partial(minimise, MINIMISERS[options.method], fixed=fixed, rescaled=options.rescaled)
    run = functools.partial(run, progress=answers.progress, tolerance=FIT_TOLERANCE)
    misfit = _misfit(answers.rows, correlation, priors, at)
    copies = orders.copies(0, at, options.starts)
    result = run(orders.stages(at), misfit, varied, starts=options.starts, copies=copies)
    moved = 0.0
    for _ in range(CORRECTIONS if orders.estimated and result.converged else 0):
        ends = {name: fitted.value for name, fitted in result.parameters.items()}
        there = orders.at({**fixed, **ends})
        if there is None or not np.all(np.isfinite(there.best)):
            break
        moved = float(np.max(np.abs(there.best - result.after) / misfit.stds))
        if answers.progress is not None:
            answers.progress(f"best estimates at the end: they move by at most {moved:.2g} standard deviations")
        at, misfit = there, _misfit(answers.rows, correlation, priors, there)
        again = [replace(parameter, start=ends[parameter.name]) for parameter in varied]
        result = _continued(result, run(orders.stages(at)[-1:], misfit, again))
        if moved <= SETTLED:
            break
    most = tasks.MOST * max(model.shards for model in answers.models)
    final = at
    problem = replace(
        result.require_problem(),
        models=orders.models,
        of=lambda others: orders.of(others, final),
        copies=orders.copies(-1, at, most),
    )
    stds, shared = (None, None) if at is None else (at.stds, at.correlation)
    unsettled = (
        f"the best estimates of the signals still moved by {moved:.2g} standard deviations after {CORRECTIONS} rounds; "
        "fit again from these values"
    )
    warnings = (unsettled,) if moved > SETTLED else ()
    return replace(result, grid_stds=stds, grid_correlation=shared, problem=problem, warnings=warnings)


def _continued(before: FitResult, after: FitResult) -> FitResult:
    """Return the result of a fit that went on where another one had ended, with the start of that one."""
    parameters = {
        name: replace(fitted, start=before.parameters[name].start) for name, fitted in after.parameters.items()
    }
    return replace(
        after,
        parameters=parameters,
        before=before.before,
        chi2_before=before.chi2_before,
        evaluations=before.evaluations + after.evaluations,
        minima=before.minima,
    )


def _at_each_bath(
    devices: Sequence[Device], free: Sequence[str] | None, options: FitOptions, follow: Sequence[str]
) -> tuple[list[str] | None, FitOptions]:
    """Return what is free, and the bounds, with a parameter for each bath in place of a table over the bath."""
    meant = at_each_bath(devices, [*(free or ()), *options.bounds], follow)
    names = None if free is None else list(dict.fromkeys(full for name in free for full in meant[name]))
    wide = {full: ends for name, ends in options.bounds.items() for full in meant[name]}
    own = {name: ends for name, ends in options.bounds.items() if meant[name] == [name]}
    bounds = {name: ends for name, ends in (wide | own).items() if names is None or name in names}
    return names, replace(options, bounds=bounds)


def _check_names(
    devices: Sequence[Device], free: Sequence[str] | None, options: FitOptions, follow: Sequence[str]
) -> None:
    """Refuse names that do not exist, bounds and priors of what is not free, and ties of what is, as they are given."""
    known = known_parameters(devices)
    linear = [tie for tie in options.ties if isinstance(tie, Tie)]
    names = {
        "free": free or (),
        "bounds": options.bounds,
        "priors": options.priors,
        "ties": dict.fromkeys(name for tie in linear for name in (tie.name, tie.source)),
    }
    faults = [fault for what, given in names.items() for fault in unknown_parameters(what, given, devices)]
    meant = at_each_bath(devices, [*(free or ()), *options.bounds, *options.priors], follow)
    varied = {full for name in free or () for full in meant[name]}
    for what in ("bounds", "priors"):
        for name in (name for name in names[what] if name in known):
            if free is not None and not varied & {*meant[name]}:
                alike = [other for other in free if other.rpartition(OF)[2] == name.rpartition(OF)[2]]
                are, those = ("are", "one of them") if len(alike) > 1 else ("is", "that")
                but = f", but {' and '.join(alike)} {are}; name {those}, or" if alike else ";"
                faults.append(f"{what}: {name} is not free{but} add it to what is free (--free)")
            elif what == "priors" and meant[name] != [name]:
                faults.append(
                    f"priors: {name} is a table over the bath and has one value for each; give priors of "
                    f"{' and '.join(meant[name])}"
                )
    faults += [
        f"ties: {tie.name} follows {tie.source} and is free too, expected one of them"
        for tie in linear
        if tie.name in {*(free or ()), *varied}
    ]
    if faults:
        raise InputError(faults)


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


def _check(
    devices: Sequence[Device],
    rows: Sequence[Row],
    free: Sequence[str] | None,
    options: FitOptions,
    priors: Mapping[str, Prior],
) -> None:
    """Refuse ties, priors and rows that cannot be fitted; names are known, see `_check_names`."""
    if options.method not in MINIMISERS:
        raise InputError(f"method: got '{options.method}'; {nearest(options.method, MINIMISERS)}")
    linear = [tie for tie in options.ties if isinstance(tie, Tie)]
    check_shared(devices, free or (), [tie.name for tie in options.ties])
    _check_ties(linear, priors)
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


def _check_ties(ties: Sequence[Tie], priors: Mapping[str, Prior]) -> None:
    faults = []
    for tie in ties:
        if tie.name in priors:  # what has a prior is free
            faults.append(f"ties: {tie.name} follows {tie.source} and has a prior, expected one of them")
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
    return repr((devices, lines, orders, wanted, *ties))
