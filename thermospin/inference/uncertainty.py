"""Uncertainty beyond the covariance: profile likelihoods, where it comes from, and what to measure next.

All of it starts from a fit (`FitResult.problem`). The profile of a parameter is the least chi2 with that parameter
held; its square root with a sign, tau, is a straight line where the model is linear, and then says what the covariance
says (Bates and Watts, Nonlinear Regression Analysis, 1988, chapter 6). Budget and suggestions are linear theory: an
error e of the data moves the parameters by M e with M = (J' C^-1 J)^-1 J' C^-1, an error dq of a number that was held
fixed by -M (dR/dq) dq, and a new measurement of a signal with derivatives j and standard deviation s makes the
covariance (C_p^-1 + j j'/s^2)^-1.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import optimize
from scipy.interpolate import PchipInterpolator

from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.base.text import columns, percent
from thermospin.device.device import OF, LooseFace, stretched
from thermospin.inference.misfit import Problem
from thermospin.inference.predictors import RESIDUAL
from thermospin.inference.result import FitResult
from thermospin.model import Model, Progress
from thermospin.parallel import tasks
from thermospin.quantities import QUANTITIES, key_of, quantity
from thermospin.signals import evaluate as signals
from thermospin.solve import Solver

#: tau at the limits of intervals that hold 68.3 and 95 %.
LIMITS = {"68 %": 1.0, "95 %": 1.959964}
#: Steps of a profile in standard deviations of the linear theory, and how far it goes at most.
STEP, FARTHEST = 0.7, 6.0
#: Below this departure of tau from a straight line the covariance is trusted.
STRAIGHT = 0.1
#: chi2 below that of the fit by more than this is a new minimum.
LOWER = 0.01


# ------------------------------------------------------------------------------------------- profiles


@dataclasses.dataclass(frozen=True)
class Profile:
    """The profile likelihood of one parameter.

    Attributes:
      name: of the parameter.
      values: where it was held, rising, SI units (points,).
      tau: signed root of the rise of chi2 there (points,).
      limits: of the intervals `LIMITS`, SI units; infinite, or the bound, where tau does not get there.
      straight: largest departure of tau from (value - best)/std of the linear theory within two of these, relative.
      lower: chi2 of a lower minimum that was come by, and the parameters there; None: there was none.
    """

    name: str
    values: np.ndarray
    tau: np.ndarray
    limits: Mapping[str, tuple[float, float]]
    straight: float
    lower: tuple[float, Mapping[str, float]] | None

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and dictionaries."""
        return dataclasses.asdict(self) | {"values": self.values.tolist(), "tau": self.tau.tolist()}

    def words(self) -> list[str]:
        """Limits, and whether the covariance can be trusted."""
        lines = []
        for part, (low, high) in self.limits.items():
            ends = [quantity(self.name, end) if math.isfinite(end) else "open" for end in (low, high)]
            lines.append(f"{self.name}: {ends[0]} to {ends[1]} ({part})")
        if self.straight > STRAIGHT:
            lines.append(
                f"{self.name}: chi2 is no parabola, off by {percent(self.straight)}: use these limits, not std"
            )
        if self.lower is not None:
            chi2, values = self.lower
            where = ", ".join(f"{name} = {quantity(name, value)}" for name, value in values.items())
            lines.append(
                f"{self.name}: the profile came by a lower minimum, chi2 = {chi2:.4g} at {where}: fit again there"
            )
        return lines


def profile(
    result: FitResult, names: Sequence[str] | None = None, *, progress: Progress | None = None
) -> list[Profile]:
    """Profile likelihoods of fitted parameters.

    Args:
      result: of a fit; its standard deviations set the steps.
      names: which; None: all that the data fix.
      progress: is told what goes on.
    Raises:
      ValueError: a name that was not fitted.
    """
    problem: Problem = result.problem
    names = [name for name, each in result.parameters.items() if math.isfinite(each.std)] if names is None else names
    for name in names:
        if name not in result.parameters:
            raise InputError(f"profile: '{name}' was not fitted; expected one of {', '.join(result.parameters)}")

    def profile_of(name: str, solver: Solver | None) -> Profile:
        return _profile(problem.copy(solver, f"profile of {name}"), result, name, progress)

    return list(tasks.run_batched((functools.partial(profile_of, name) for name in names), problem.size))


def _profile(problem: Problem, result: FitResult, name: str, progress: Progress | None) -> Profile:
    place = [each.name for each in problem.free].index(name)
    objective, bounds = problem.objective(), problem.bounds
    best = problem.coordinates(result.parameters)
    covariance = in_coordinates(problem, result.covariance, best)
    std = math.sqrt(covariance[place, place])
    others = np.arange(len(best)) != place
    slope = covariance[others, place] / covariance[place, place]
    least = float(np.sum(objective.residuals(best) ** 2))
    points = {0.0: (best[place], 0.0)}
    lower: tuple[float, Mapping[str, float]] | None = None
    for sign in (-1.0, 1.0):
        near, at = best, 0.0
        while at < FARTHEST:
            at += STEP
            held = float(np.clip(best[place] + sign * at * std, *bounds[:, place]))
            start = np.array(near)
            start[others] += slope * (held - near[place])
            start[place] = held
            found = _held(objective, np.clip(start, *bounds), bounds, place)
            if found is None:
                break
            chi2, near = found
            if chi2 < least - LOWER and (lower is None or chi2 < lower[0]):
                lower = chi2, objective.values_at(near)
            tau = sign * math.sqrt(max(chi2 - least, 0.0))
            points[sign * at] = held, tau
            if progress is not None:
                progress(f"profile of {name}: tau = {tau:+.2f} at {quantity(name, problem.free[place].value(held))}")
            if abs(tau) > LIMITS["95 %"] or held in bounds[:, place]:
                break
    steps = np.array(sorted(points))
    x, tau = np.array([points[each] for each in steps]).T
    within = (np.abs(steps) <= 2.1) & (steps != 0)
    straight = float(np.max(np.abs(tau[within] * std / (x[within] - best[place]) - 1))) if np.any(within) else math.nan
    value = problem.free[place].value
    limits = {part: tuple(_crossing(x, tau, side * size, value) for side in (-1, 1)) for part, size in LIMITS.items()}
    return Profile(name, np.array([value(each) for each in x]), tau, limits, straight, lower)  # type: ignore[arg-type]


def _held(objective: Any, x: np.ndarray, bounds: np.ndarray, place: int) -> tuple[float, np.ndarray] | None:
    """The least chi2 with one coordinate held, and where; None where the model has no solution."""
    others = np.arange(len(x)) != place

    def whole(free: np.ndarray) -> np.ndarray:
        point = np.array(x)
        point[others] = free
        return point

    if not np.all(np.isfinite(objective.residuals(x))):
        return None
    if np.any(others):
        found = optimize.least_squares(
            lambda free: objective.residuals(whole(free)),
            x[others],
            lambda free: objective.jacobian(whole(free))[:, others],
            bounds=(bounds[0][others], bounds[1][others]),
            x_scale="jac",
            ftol=1e-6,
            xtol=1e-6,
            max_nfev=20,
        )
        x = whole(found.x)
    return float(np.sum(objective.residuals(x) ** 2)), x


def _crossing(x: np.ndarray, tau: np.ndarray, target: float, value: Any) -> float:
    """Find where tau reaches the target; infinite where it does not."""
    # tau may fall back where a profile is not convex: the first crossing from the middle counts.
    middle = int(np.argmin(np.abs(tau)))
    side = np.arange(middle, len(x)) if target > 0 else np.arange(middle, -1, -1)
    there = np.flatnonzero(np.sign(target) * tau[side] >= abs(target))
    if len(there) == 0:
        return math.copysign(math.inf, target)
    rising = np.maximum.accumulate(np.abs(tau[side][: there[0] + 1]))
    keep = np.concatenate([[True], np.diff(rising) > 0])
    return float(value(float(PchipInterpolator(rising[keep], x[side][: there[0] + 1][keep])(abs(target)))))


def in_coordinates(problem: Problem, covariance: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A covariance of SI values as one of internal coordinates."""
    slopes = np.array([each.slope(float(xi)) for each, xi in zip(problem.free, x, strict=True)])
    return covariance / slopes[:, None] / slopes


# ------------------------------------------------------------------------------------------- where it comes from


@dataclasses.dataclass(frozen=True)
class Budget:
    """Variance of each fitted parameter by source.

    Attributes:
      names: of the fitted parameters.
      sources: such as "noise of thermal R2.spin", "grid", "Au.kappa +- 20 %".
      variances: (sources, names), SI units squared.
      fitted: index of the first source that the standard deviations of the fit do not contain.
      asked: index of the first dimension.
    """

    names: tuple[str, ...]
    sources: tuple[str, ...]
    variances: np.ndarray
    fitted: int
    asked: int

    @property
    def shares(self) -> np.ndarray:
        """Part of the whole variance of each parameter (sources, names) [1]."""
        return self.variances / np.sum(self.variances, axis=0)

    @property
    def stds(self) -> np.ndarray:
        """With everything (names,), SI units."""
        return np.sqrt(np.sum(self.variances, axis=0))

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and dictionaries."""
        return {
            "stds": dict(zip(self.names, map(float, self.stds), strict=True)),
            "shares": {
                source: dict(zip(self.names, map(float, line), strict=True))
                for source, line in zip(self.sources, self.shares, strict=True)
            },
        }

    def words(self, smallest: float = 0.01) -> list[str]:
        """A table: dimensions, and sources with more than a smallest share of any parameter, the largest first."""
        largest = np.max(self.shares, axis=1)
        order = [i for i in np.argsort(-largest) if largest[i] >= smallest or i >= self.asked]
        lines = [["share of the variance", *self.names]]
        lines += [[self.sources[i], *(percent(float(share)) for share in self.shares[i])] for i in order]
        lines.append(
            ["std with all of it", *(quantity(n, float(s)) for n, s in zip(self.names, self.stds, strict=True))]
        )
        return columns(lines, "l" + "r" * len(self.names))


def budget(
    result: FitResult,
    stds: Mapping[str, float] | None = None,
    dimensions: Sequence[LooseFace] = (),
    *,
    progress: Progress | None = None,
) -> Budget:
    """Split the variance of fitted parameters by source: each signal's noise, the grid, priors, what was held fixed.

    Args:
      result: of a fit.
      stds: of numbers that were held fixed, SI units, in place of `Quantity.usual_std` and of the stds of the device's
        dimensions; 0 leaves one out.
      dimensions: faces that are not known exactly; each costs two evaluations, the grid lines moving along.
      progress: is told what goes on.
    Raises:
      ValueError: a name that was not held fixed, or data that leave a parameter open.
    """
    problem: Problem = result.problem
    given = dict(stds or {})
    unknown = [name for name in given if name not in problem.fixed]
    if unknown:
        raise InputError(f"budget: {', '.join(unknown)} was not held fixed in this fit")
    if not np.all(np.isfinite(result.covariance)):
        raise InputError("budget: the data leave a parameter open, whose variance has no sources")
    usual = {name: QUANTITIES[key_of(name)].usual_std * abs(value) for name, value in problem.fixed.items()} | {
        name: std for name, std in _lengths(problem).items() if name in problem.fixed
    }
    fixed = {name: given.get(name, std) for name, std in usual.items()}
    fixed = {name: std for name, std in fixed.items() if std > 0}
    if progress is not None:
        progress(f"derivatives by {len(fixed)} numbers that were held fixed")
    values = dict(problem.fixed) | {name: each.value for name, each in result.parameters.items()}
    slopes = problem.predict(values, list(fixed))[1] if fixed else np.zeros((len(result.rows), 0))
    assert result.moves is not None
    sources, lines = [], []
    noise = np.array([row.std for row in result.rows])
    if result.correlation_of_data is None:
        sources += [f"noise of {row.label} {row.signal}" for row in result.rows]
        lines += list((result.moves * noise).T ** 2)
    else:
        # What is common to correlated data belongs to none of them.
        scaled = result.moves * noise
        sources.append("noise of the data")
        lines.append(np.einsum("pi,ij,pj->p", scaled, result.correlation_of_data, scaled))
    if result.grid_stds is not None:
        sources.append("grid")
        lines.append(result.moves**2 @ result.grid_stds**2)
    whole = np.diag(result.identifiability.covariance())
    if result.priors:
        sources.append("priors")
        lines.append(np.maximum(whole - np.sum(lines, axis=0), 0.0))
    inside = len(sources)
    for k, (name, std) in enumerate(fixed.items()):
        value = problem.fixed[name]
        margin = quantity(name, std) if key_of(name) == "length" else percent(std / abs(value))
        sources.append(f"{name} held at {quantity(name, value)} +- {margin}")
        lines.append((result.moves @ slopes[:, k] * std) ** 2)
    for each in dimensions:
        low, high = (_moved(problem, each, sign, values, progress) for sign in (-1, 1))
        of = f"{each.device}: " if each.device else ""
        sources.append(f"{of}{'xyz'[each.axis]} = {1e9 * each.at:g} nm +- {1e9 * each.std:g} nm")
        lines.append((result.moves @ (high - low) / 2) ** 2)
    return Budget(result.names, tuple(sources), np.array(lines), inside, inside + len(fixed))


def _lengths(problem: Problem) -> dict[str, float]:
    """Standard deviations of dimensions whose device says how well they are known, by each name that they may have."""
    out: dict[str, float] = {}
    for model in problem.models:
        for name, each in model.device.dimensions.items():
            if each.std is not None:
                out |= {name: each.std, f"{model.device.name}{OF}{name}": each.std}
    return out


def _moved(
    problem: Problem, dimension: LooseFace, sign: int, values: Mapping[str, float], progress: Progress | None
) -> np.ndarray:
    """The signals with a face moved by its standard deviation, on grid lines that move along."""
    models = list(problem.models)
    names = [each.device.name for each in models]
    if problem.of is None or (dimension.device not in names and (dimension.device or len(models) != 1)):
        raise InputError(f"budget: got a dimension of device '{dimension.device}', expected one of {', '.join(names)}")
    place = names.index(dimension.device) if dimension.device else 0
    by = sign * dimension.std
    device, below = stretched(models[place].device, dimension.axis, dimension.at, by)
    if progress is not None:
        progress(f"{'xyz'[dimension.axis]} = {1e9 * dimension.at:g} nm moved by {1e9 * by:+g} nm")
    model = models[place]
    models[place] = model.with_grid(model.grid.stretched(dimension.axis, below, dimension.at, by), device)
    return problem.of(models)(values, ())[0]


# ------------------------------------------------------------------------------------------- what to measure next


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """A measurement that could be added.

    Attributes:
      what: in words.
      std: its standard deviation [V/A^n], NaN where it is several signals.
      stds: of each parameter with it, SI units.
      gain: factor by which the best-served parameter's standard deviation falls.
    """

    what: str
    std: float
    stds: Mapping[str, float]
    gain: float


@dataclasses.dataclass(frozen=True)
class Suggestions:
    """What to measure next, the best first.

    Attributes:
      found: the measurements.
      lines: the best few in words.
    """

    found: tuple[Suggestion, ...]
    lines: tuple[str, ...]

    @classmethod
    def of(cls, result: FitResult, others: Sequence[Suggestion] = (), most: int = 8) -> Suggestions:
        """Those of `suggest` and others, the best few in words."""
        found = sorted([*suggest(result), *others], key=lambda each: -each.gain)
        return cls(tuple(found), tuple(suggestion_words(result, found, most)))

    def words(self) -> list[str]:
        """The best few."""
        return list(self.lines)

    def to_json(self) -> list[dict[str, Any]]:
        """Return all of them as plain numbers."""
        return [
            dataclasses.asdict(each) | {"std": each.std if math.isfinite(each.std) else None} for each in self.found
        ]


def suggest(result: FitResult) -> list[Suggestion]:
    """List what would help most, the best first: each signal measured again, once as well and at twice the current.

    At twice the current the noise of R_n is 2^n times smaller; error bars of the grid stay as they are.
    """
    if result.sensitivity is None or not np.all(np.isfinite(result.covariance)):
        return []
    bars, out = _bars(result), []
    for k, row in enumerate(result.rows):
        for words, noise in (("again", row.std), ("at twice the current", row.std / 2**row.harmonic)):
            more = _More(result.sensitivity[k : k + 1], np.array([noise]), bars[k : k + 1], np.array([k]))
            out.append(_suggestion(result, f"{row.label} {row.signal} {words}", more))
    return sorted(out, key=lambda each: -each.gain)


def suggest_others(
    result: FitResult, dimensions: Sequence[str] = (), contacts: bool = False, progress: Progress | None = None
) -> list[Suggestion]:
    """List other devices and other contacts that would help, the best first.

    A device that is the same but for one dimension, at either end of its range, with the same signals measured to the
    same standard deviations; and, with contacts, the signals of each experiment between every other pair of contacts,
    as exactly as between its own. An evaluation each. The relative error of the grid is that of the fitted signal of
    the same name, the same and not another one: no measurement helps against it.

    Args:
      result: of a fit of one device.
      dimensions: with a range each; one that was fitted is of no use, as another device has another one.
      contacts: whether to try other pairs.
      progress: is told what goes on.
    Raises:
      ValueError: a fit of several devices, or a dimension that does not exist, has no range or was fitted.
    """
    problem: Problem = result.problem
    if len(problem.models) != 1:
        raise InputError("suggestions of other devices and contacts are for a fit of one device")
    (model,) = problem.models
    faults = []
    for name in dimensions:
        if name not in model.device.dimensions:
            faults.append(f"suggest: got '{name}'; {nearest(name, [*model.device.dimensions, 'contacts'])}")
        elif model.device.dimensions[name].range is None or name in result.parameters:
            why = "was fitted" if name in result.parameters else "has no range"
            faults.append(f"suggest: dimension '{name}' {why}, expected one with a range that was held fixed")
    if faults:
        raise InputError("\n".join(faults))
    if result.sensitivity is None or not np.all(np.isfinite(result.covariance)):
        return []
    values = dict(problem.fixed) | {name: each.value for name, each in result.parameters.items()}
    noise, every, out = np.array([row.std for row in result.rows]), np.arange(len(result.rows)), []
    for name in dimensions:
        ends = model.device.dimensions[name].range or (math.nan, math.nan)
        for end in (end for end in ends if not math.isclose(end, values[name], rel_tol=1e-6)):
            if progress is not None:
                progress(f"a device with {name} = {1e9 * end:g} nm")
            found, lines = problem.predict(values | {name: end}, result.names)
            if np.all(np.isfinite(found)):  # else no grid of this one can follow
                bars = _bars(result) * found / result.after
                more = _More(lines, noise, bars, every)
                out.append(_suggestion(result, f"a device with {name} = {1e9 * end:g} nm", more))
    return sorted(out + (_other_contacts(result, model, values, progress) if contacts else []), key=lambda x: -x.gain)


def _other_contacts(
    result: FitResult, model: Model, values: Mapping[str, float], progress: Progress | None
) -> list[Suggestion]:
    """Signals between contacts that were not measured."""
    places = {(row.experiment, row.signal): k for k, row in enumerate(result.rows)}
    out = []
    for experiment in model.device.experiments.values():
        signals_of = [signal for name, signal in places if name == experiment.name]
        for plus, minus in itertools.combinations([each.name for each in model.device.contacts], 2):
            if {plus, minus} == set(experiment.voltage) or not signals_of:
                continue
            if progress is not None:
                progress(f"{experiment.name}, voltage between {plus} and {minus}")
            other = dataclasses.replace(experiment, voltage=(plus, minus))
            device = dataclasses.replace(model.device, experiments={experiment.name: other})
            wanted = [(experiment.name, signal) for signal in signals_of]
            found = signals.evaluate(
                dataclasses.replace(model, device=device), values, wanted, result.names, tolerance=RESIDUAL
            )
            for pair, value, line in zip(wanted, found.values, found.jacobian, strict=True):
                k = places[pair]
                std, bar = result.rows[k].std, _bars(result)[k] * value / result.after[k]
                more = _More(line[None], np.array([std]), np.array([bar]), np.array([k]))
                out.append(_suggestion(result, f"{experiment.name} {pair[1]} between {plus} and {minus}", more))
    return out


def _bars(result: FitResult) -> np.ndarray:
    return np.zeros(len(result.rows)) if result.grid_stds is None else np.asarray(result.grid_stds)


@dataclasses.dataclass(frozen=True)
class _More:
    """Rows that could be added.

    Attributes:
      lines: of the Jacobian (more, parameters).
      noise: standard deviations (more,).
      bars: error bars of the grid, with the sign that they have against that of their siblings (more,).
      siblings: the row each shares its relative error of the grid with (more,): a measurement does not refine it.
    """

    lines: np.ndarray
    noise: np.ndarray
    bars: np.ndarray
    siblings: np.ndarray


def _suggestion(result: FitResult, what: str, more: _More) -> Suggestion:
    """Predict what more rows fix the parameters to: generalised least squares with the priors of the fit."""
    assert result.sensitivity is not None
    covariance = result.identifiability.covariance()
    sizes = np.array(result.identifiability.sizes)
    before, old = np.sqrt(np.diag(covariance)), result.sensitivity * sizes
    noise, bars = np.array([row.std for row in result.rows]), _bars(result)
    data = np.diag(noise**2 + bars**2)
    if result.correlation_of_data is not None:
        # Noise is correlated as it was measured; of magnitudes, as the model has the signs.
        blind = np.array([not row.polarity_known for row in result.rows])
        turn = np.where(blind, np.sign(result.after) * np.sign([row.value for row in result.rows]), 1.0)
        data = np.outer(turn * noise, turn * noise) * result.correlation_of_data + np.diag(bars**2)
    across = np.zeros((len(result.rows), len(more.noise)))
    across[more.siblings, np.arange(len(more.noise))] = bars[more.siblings] * more.bars
    shared = more.siblings[:, None] == more.siblings
    own = np.diag(more.noise**2) + np.where(shared, np.outer(more.bars, more.bars), 0.0)
    whole, lines = np.block([[data, across], [across.T, own]]), np.vstack([old, more.lines * sizes])
    # What the fit knows besides its data: priors.
    weight = np.linalg.inv(covariance / sizes[:, None] / sizes) - old.T @ np.linalg.solve(data, old)
    after = sizes * np.sqrt(np.diag(np.linalg.inv(weight + lines.T @ np.linalg.solve(whole, lines))))
    stds = dict(zip(result.names, np.abs(after).tolist(), strict=True))
    std = float(more.noise[0]) if len(more.noise) == 1 else math.nan
    return Suggestion(what, std, stds, float(np.max(before / np.abs(after))))


def suggestion_words(result: FitResult, found: Sequence[Suggestion], most: int = 3) -> list[str]:
    """The best few, with what they would do to each parameter that they help."""
    lines = []
    before = dict(zip(result.names, np.sqrt(np.diag(result.identifiability.covariance())).tolist(), strict=True))
    for each in found[:most]:
        changes = [
            f"{name} from {quantity(name, before[name])} to {quantity(name, after)}"
            for name, after in each.stds.items()
            if after < 0.98 * before[name]
        ]
        if changes:
            lines.append(f"measuring {each.what} would take the std of {', '.join(changes)}")
    return lines or ["no signal of these, measured anew, would help by more than 2 %"]
