"""Profile likelihoods: confidence limits where the model is not linear.

The profile of a parameter is the least chi2 with that parameter held; its signed square root, tau, is a straight line
where the model is linear, and then says what the covariance says.
Source: Bates and Watts, Nonlinear Regression Analysis (1988), chapter 6.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import optimize
from scipy.interpolate import PchipInterpolator

from thermospin.base.errors import InputError
from thermospin.base.text import percent
from thermospin.inference.minimisers import with_scatter
from thermospin.inference.misfit import Misfit, Objective, Problem
from thermospin.inference.result import FitResult
from thermospin.model import Progress
from thermospin.parallel import tasks
from thermospin.quantities import listed, quantity
from thermospin.solve import Solver

#: tau at the limits of intervals that hold 68.3 and 95 %.
LIMITS = {"68 %": 1.0, "95 %": 1.959964}
#: Steps of a profile in standard deviations of the linear theory, and its largest distance.
STEP, FARTHEST = 0.7, 6.0
#: Steps shorter than this, to a bound that the fit ended at, say nothing of how straight tau is.
SHORTEST = 0.01
#: Below this departure of tau from a straight line the covariance is trusted.
STRAIGHT = 0.1
#: chi2 below that of the fit by more than this is a new minimum.
LOWER = 0.01


@dataclasses.dataclass(frozen=True, eq=False)
class Profile:
    """The profile likelihood of one parameter.

    Attributes:
      name: of the parameter.
      values: at which it was held, rising, SI units (points,).
      tau: signed root of the rise of chi2 there (points,).
      limits: of the intervals `LIMITS`, SI units; where tau does not get there the bound at which the
        profile ended, else infinite.
      straight: largest departure of tau from (value - best)/std of the linear theory within two of these, relative.
      lower: chi2 and parameters of a lower minimum met on the way, else None.
    """

    name: str
    values: np.ndarray
    tau: np.ndarray
    limits: Mapping[str, tuple[float, float]]
    straight: float
    lower: tuple[float, Mapping[str, float]] | None

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers, lists and dictionaries."""
        return dataclasses.asdict(self) | {"values": self.values.tolist(), "tau": self.tau.tolist()}

    def words(self) -> list[str]:
        """Return limits, and whether the covariance can be trusted, line by line."""
        lines = []
        for level, (low, high) in self.limits.items():
            lines.append(f"{self.name}: {self._limit_in_words(low)} to {self._limit_in_words(high)} ({level})")
        if self.straight > STRAIGHT:
            lines.append(
                f"{self.name}: chi2 is no parabola, off by {percent(self.straight)}: use these limits, not std"
            )
        if self.lower is not None:
            chi2, values = self.lower
            lines.append(
                f"{self.name}: the profile came by a lower minimum, chi2 = {chi2:.4g} at {listed(values)}: fit again "
                "there"
            )
        return lines

    def _limit_in_words(self, end: float) -> str:
        """Return a limit in words: "open", or where it is the bound."""
        if not math.isfinite(end):
            return "open"
        # Limits lie between the ends of a profile, unless it ended at the bound before tau got there.
        return quantity(self.name, end) + (" (its bound)" if end in (self.values[0], self.values[-1]) else "")


def profile(
    result: FitResult, names: Sequence[str] | None = None, *, progress: Progress | None = None
) -> list[Profile]:
    """Return profile likelihoods of fitted parameters.

    Args:
      result: of a fit; its standard deviations set the steps.
      names: parameters; None: all that the data fix.
      progress: callback for messages.
    Raises:
      InputError: a name that was not fitted.
    """
    problem = result.require_problem()
    names = (
        [name for name, fitted in result.parameters.items() if math.isfinite(fitted.std)] if names is None else names
    )
    for name in names:
        if name not in result.parameters:
            raise InputError(f"profile: '{name}' was not fitted; expected one of {', '.join(result.parameters)}")
    given, result = problem.misfit, with_scatter(result)
    problem = result.require_problem()

    def profile_of(name: str, solver: Solver | None) -> Profile:
        return _profile(problem.copy(f"profile of {name}", solver), result, name, given, progress)

    return list(tasks.run_batched((functools.partial(profile_of, name) for name in names), problem.size))


def _profile(problem: Problem, result: FitResult, name: str, given: Misfit, progress: Progress | None) -> Profile:
    """Return a profile; chi2 of a lower minimum is that of the misfit that was given to the fit."""
    objective, bounds = problem.objective(), problem.bounds
    place = objective.names.index(name)
    best = problem.coordinates(result.values)
    covariance = problem.in_coordinates(result.covariance, best)
    std = math.sqrt(covariance[place, place])
    others = np.arange(len(best)) != place
    # What the data leave open has no covariance with this one (NaN), and stays where it is.
    slope = np.nan_to_num(covariance[others, place] / covariance[place, place])
    least = objective.chi2(best)
    points = {0.0: (best[place], 0.0)}
    # Away from a bound that the fit presses against, tau rises at once and bends, as the root of a slope.
    step = STEP if result.parameters[name].at_bound is None else STEP / 4
    lower: tuple[float, Mapping[str, float]] | None = None
    for sign in (-1.0, 1.0):
        near, at = best, 0.0
        while at < FARTHEST:
            at += step
            held = float(np.clip(best[place] + sign * at * std, *bounds[:, place]))
            if held == best[place]:  # the fit ended at this bound
                break
            start = np.array(near)
            start[others] += slope * (held - near[place])
            start[place] = held
            end = _least_chi2(objective, np.clip(start, *bounds), bounds, place)
            if end is None:
                break
            chi2, near = end
            if chi2 < least - LOWER:
                values = objective.values_at(near)
                of_given = given.chi2(objective.values, values)
                lower = min(lower or (math.inf, values), (of_given, values), key=lambda minimum: minimum[0])
            tau = sign * math.sqrt(max(chi2 - least, 0.0))
            points[sign * at] = held, tau
            if progress is not None:
                progress(f"profile of {name}: tau = {tau:+.2f} at {quantity(name, problem.free[place].value(held))}")
            if abs(tau) > LIMITS["95 %"] or held in bounds[:, place]:
                break
    steps = np.array(sorted(points))
    x, tau = np.array([points[step] for step in steps]).T
    within = (np.abs(steps) <= 2.1) & (np.abs(x - best[place]) > SHORTEST * std)
    straight = float(np.max(np.abs(tau[within] * std / (x[within] - best[place]) - 1))) if np.any(within) else math.nan
    value = problem.free[place].value
    ends = bounds[:, place]
    limits = {
        level: tuple(_crossing(x, tau, side * size, ends, value) for side in (-1, 1)) for level, size in LIMITS.items()
    }
    return Profile(name, np.array([value(at) for at in x]), tau, limits, straight, lower)  # type: ignore[arg-type]


def _least_chi2(objective: Objective, x: np.ndarray, bounds: np.ndarray, place: int) -> tuple[float, np.ndarray] | None:
    """Return the least chi2 with one coordinate held, and where it is; None where the model has no solution."""
    others = np.arange(len(x)) != place

    def whole(free: np.ndarray) -> np.ndarray:
        point = np.array(x)
        point[others] = free
        return point

    if not np.all(np.isfinite(objective.residuals(x))):
        return None
    if np.any(others):
        minimum = optimize.least_squares(
            lambda free: objective.residuals(whole(free)),
            x[others],
            lambda free: objective.jacobian(whole(free))[:, others],
            bounds=(bounds[0][others], bounds[1][others]),
            x_scale="jac",
            ftol=1e-6,
            xtol=1e-6,
            max_nfev=20,
        )
        x = whole(minimum.x)
    return objective.chi2(x), x


def _crossing(x: np.ndarray, tau: np.ndarray, target: float, bounds: np.ndarray, value: Any) -> float:
    """Return the value at which tau reaches the target; where it does not the bound, if x ends at it, else infinite."""
    # tau may fall back where a profile is not convex: the first crossing from the middle counts.
    middle = int(np.argmin(np.abs(tau)))
    side = np.arange(middle, len(x)) if target > 0 else np.arange(middle, -1, -1)
    there = np.flatnonzero(np.sign(target) * tau[side] >= abs(target))
    if len(there) == 0:
        end = x[side[-1]]
        return float(value(end)) if end in bounds else math.copysign(math.inf, target)
    rising = np.maximum.accumulate(np.abs(tau[side][: there[0] + 1]))
    keep = np.concatenate([[True], np.diff(rising) > 0])
    return float(value(float(PchipInterpolator(rising[keep], x[side][: there[0] + 1][keep])(abs(target)))))
