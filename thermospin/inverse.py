"""Parameters behind measured signals: fit devices to data, with the error bars of the grid.

The covariance of the parameters is (J' C^-1 J + priors)^-1 with J = d model/d p, the linear theory at the minimum:
trust it as far as the model is linear over one standard deviation. The misfit is in `inference.misfit`, what is given
and refused in `inference.fit_setup`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from thermospin.data.rows import Row
from thermospin.device.device import Device, Proportion
from thermospin.inference.degeneracies import remarks
from thermospin.inference.fit_setup import FitOptions, FitSetup
from thermospin.inference.identifiability import Choice
from thermospin.inference.minimisers import FIT_TOLERANCE, MINIMISERS, minimise
from thermospin.inference.misfit import Problem
from thermospin.inference.orders import Answers, AtOrders, Orders
from thermospin.inference.result import FitResult, Following
from thermospin.inference.sharing import Follower
from thermospin.model import GridOptions, Model, Progress
from thermospin.parallel import tasks
from thermospin.quantities import key_of

#: How often the best estimates are found again at the end of a fit at most, and the change, in standard deviations of
#: the data, at which they have settled.
CORRECTIONS, SETTLED = 4, 0.1


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
    given = [device] if isinstance(device, Device | Model) else list(device)
    devices = [one.device if isinstance(one, Model) else one for one in given]
    setup = FitSetup.of(devices, tuple(rows), free, options or FitOptions(), correlation)
    grid = grid or GridOptions()
    models = tuple(one if isinstance(one, Model) else grid.build(one, progress) for one in given)
    kept = setup.journal(journal, models, progress)
    answers = Answers(models, setup.rows, setup.ties, setup.followers, kept, progress)
    orders = Orders(answers, exact=not setup.options.grid_errors)
    at = orders.at(setup.parameters, list(setup.free or ["zeta"]))
    choice = setup.choice(orders.stages(at)[0], at)
    result = _minimised(setup, choice.free, orders, at, progress)
    return _reported(result, setup, choice, orders)


def check_fit(devices: Sequence[Device], rows: Sequence[Row], free: Sequence[str] | None, options: FitOptions) -> None:
    """Refuse what `fit` would refuse before it builds anything.

    Raises:
      InputError: no rows, names that do not exist or are not free, bounds that exclude the start.
    """
    FitSetup.of(devices, rows, free, options)


def _minimised(
    setup: FitSetup, free: Sequence[str], orders: Orders, at: AtOrders | None, progress: Progress | None
) -> FitResult:
    """Run the stages of a fit, and the last one again until the best estimates at its end are those it was run with."""
    options, varied = setup.options, setup.varied(free)
    fixed = {name: value for name, value in setup.parameters.items() if name not in free}
    run = functools.partial(minimise, MINIMISERS[options.method], fixed=fixed, rescaled=options.rescaled)
    run = functools.partial(run, progress=progress, tolerance=FIT_TOLERANCE)
    misfit = setup.misfit(at)
    copies = orders.copies(0, at, options.starts)
    result = run(orders.stages(at), misfit, varied, starts=options.starts, copies=copies)
    moved = 0.0
    for _ in range(CORRECTIONS if orders.estimated and result.converged else 0):
        at_end = orders.at({**fixed, **result.values})
        if at_end is None or not np.all(np.isfinite(at_end.best)):
            break
        moved = float(np.max(np.abs(at_end.best - result.after) / misfit.stds))
        if progress is not None:
            progress(f"best estimates at the end: they move by at most {moved:.2g} standard deviations")
        at, misfit = at_end, setup.misfit(at_end)
        again = [replace(parameter, start=result.values[parameter.name]) for parameter in varied]
        result = _continued(result, run(orders.stages(at)[-1:], misfit, again))
        if moved <= SETTLED:
            break
    unsettled = (
        f"the best estimates of the signals still moved by {moved:.2g} standard deviations after {CORRECTIONS} rounds; "
        "fit again from these values"
    )
    return replace(
        result,
        grid_stds=None if at is None else at.stds,
        grid_correlation=None if at is None else at.correlation,
        problem=_with_models(result.require_problem(), orders, at),
        warnings=(unsettled,) if moved > SETTLED else (),
    )


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


def _with_models(problem: Problem, orders: Orders, at: AtOrders | None) -> Problem:
    """Return the problem of the last stage with its models, for profiles and the like; see `Problem`."""
    most = tasks.MOST * max(model.shards for model in orders.models)
    return replace(
        problem,
        models=orders.models,
        predict_on=lambda others: orders.predict_on(others, at),
        copies=orders.copies(-1, at, most),
    )


def _reported(result: FitResult, setup: FitSetup, choice: Choice, orders: Orders) -> FitResult:
    """Return the result with what it was given, what followed others, and what is to be known of its values."""
    problem = result.require_problem()
    result = replace(
        result,
        correlation_of_data=setup.correlation,
        ties=tuple((tie.name, tie.factor, tie.source) for tie in setup.ties),
        following=_following(setup.proportions, setup.followers, problem, result),
        left_out=choice.left_out,
        warnings=(*result.warnings, *mirrored(problem, result)),
        fields=orders.last.fields,
    )
    return replace(result, remarks=remarks(problem, result))


def mirrored(problem: Problem, result: FitResult) -> tuple[str, ...]:
    """Return warnings of polarisations whose sign the data do not know: they changed it, and -P fits as well."""
    warnings = []
    for name, fitted in result.parameters.items():
        if key_of(name) != "P" or fitted.value * fitted.start > 0:
            continue
        mirrored = result.values | {name: -fitted.value}
        signals, _ = problem.predict(dict(problem.fixed) | mirrored, ())
        chi2 = problem.misfit.chi2(np.asarray(signals, float), mirrored)
        if chi2 < result.chi2 + 1:
            warnings.append(
                f"{name} changed its sign on the way, and {-fitted.value:.4g} fits as well (chi2 {chi2:.4g} against "
                f"{result.chi2:.4g}): these data do not know the sign; give bounds such as '{name} = 0 ..'"
            )
    return tuple(warnings)


def _following(
    ties: Sequence[Proportion], followers: Sequence[Follower], problem: Problem, result: FitResult
) -> tuple[Following, ...]:
    """Return what each tie came to, with standard deviations by the covariance of the parameters."""
    parameters = {**problem.fixed, **result.values}
    out = []
    for tie in ties:
        of_tie = [follower for follower in followers if follower.shared == tie.name]
        values: dict[str, tuple[float, float]] = {}
        for follower in of_tie:
            value, slopes = follower.at(parameters)
            along = np.array([slopes.get(name, 0.0) for name in result.names])
            fixed = np.isfinite(np.diag(result.covariance)) | (along == 0)
            variance = along @ np.where(np.outer(along, along) == 0, 0.0, result.covariance) @ along
            values[follower.name] = value, math.sqrt(variance) if np.all(fixed) else math.inf
        for of_bath in dict.fromkeys(follower.of_bath for follower in of_tie):
            first, *others = [follower.name for follower in of_tie if follower.of_bath == of_bath]
            if all(values[name] == values[first] for name in others):  # one line for all devices at a bath
                values = {of_bath if name == first else name: values[name] for name in values if name not in others}
        references = {names[-1]: reference for follower in of_tie[:1] for names, reference, _ in follower.sources}
        out.append(Following(str(tie), tie.name, references, values))
    return tuple(out)
