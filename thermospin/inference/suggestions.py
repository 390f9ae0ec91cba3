"""Measurements and devices that would fix parameters better.

Linear theory: a new measurement of a signal with derivatives j and standard deviation s makes the covariance
(C_p^-1 + j j'/s^2)^-1.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.base.shown import Shown
from thermospin.device.device import Device, DeviceError
from thermospin.device.drives import drive_of_unit
from thermospin.device.parts import Experiment
from thermospin.device.placement import label_of_ground
from thermospin.inference.misfit import Problem
from thermospin.inference.result import FitResult
from thermospin.model import Progress
from thermospin.quantities import quantity


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """A measurement that could be added.

    Attributes:
      what: a description.
      std: its standard deviation, SI units, NaN where it is several signals.
      stds: of each parameter with it, SI units.
      gain: factor by which the best-served parameter's standard deviation falls.
    """

    what: str
    std: float
    stds: Mapping[str, float]
    gain: float


@dataclasses.dataclass(frozen=True)
class Suggestions(Shown):
    """Measurements that would help, the best first.

    Attributes:
      measurements: all of them.
      lines: the best few in words.
    """

    measurements: tuple[Suggestion, ...]
    lines: tuple[str, ...]

    @classmethod
    def of(cls, result: FitResult, others: Sequence[Suggestion] = (), most: int = 8) -> Suggestions:
        """Return those of `suggest` and others, the best few in words."""
        ranked = sorted([*suggest(result), *others], key=lambda suggestion: -suggestion.gain)
        return cls(tuple(ranked), tuple(suggestion_words(result, ranked, most)))

    def words(self) -> list[str]:
        """Return the best few."""
        return list(self.lines)

    def to_json(self) -> list[dict[str, Any]]:
        """Return all of them as plain numbers."""
        return [
            dataclasses.asdict(suggestion) | {"std": suggestion.std if math.isfinite(suggestion.std) else None}
            for suggestion in self.measurements
        ]


def suggest(result: FitResult) -> list[Suggestion]:
    """List each signal measured again, as well as before and at twice the drive, the best first.

    At twice the current, say, the noise of R_n is 2^n times smaller; error bars of the grid stay as they are.
    """
    if not _can_suggest(result):
        return []
    assert result.sensitivity is not None
    bars, out = result.bars, []
    for k, (row, std) in enumerate(zip(result.rows, np.sqrt(np.diag(result.noise_covariance)), strict=True)):
        twice = f"at twice the {drive_of_unit(row.unit).name}"
        for words, noise in (("again", std), (twice, std / 2**row.harmonic)):
            more = _More(result.sensitivity[k : k + 1], np.array([noise]), bars[k : k + 1], np.array([k]))
            out.append(_suggestion(result, f"{row.label} {row.signal} {words}", more))
    return sorted(out, key=lambda suggestion: -suggestion.gain)


def suggest_others(
    result: FitResult, dimensions: Sequence[str] = (), contacts: bool = False, progress: Progress | None = None
) -> list[Suggestion]:
    """List other devices and other contacts that would help, the best first.

    A device that is the same but for one dimension, at either end of its range, with the same signals measured to the
    same standard deviations; and, with contacts, the voltages of each experiment between every other pair of contacts,
    with the standard deviations of the pair in use. Each device and each pair takes an evaluation. The relative error
    of the grid is the one of the fitted signal of the same name: no measurement helps against it.

    Args:
      result: of a fit of one device.
      dimensions: names, whose ranges are known; one that was fitted is of no use, as another device has another one.
      contacts: whether to try other pairs.
      progress: callback for messages.
    Raises:
      InputError: a fit of several devices, or a dimension that does not exist, has no range or was fitted.
    """
    problem = result.require_problem()
    if faults := faults_of_dimensions(dimensions, [model.device for model in problem.models], result.names):
        raise InputError(faults)
    (model,) = problem.models
    if not _can_suggest(result):
        return []
    values = {**problem.fixed, **result.values}
    noise, every, out = np.sqrt(np.diag(result.noise_covariance)), np.arange(len(result.rows)), []
    for name in dimensions:
        ends = model.device.dimensions[name].range or (math.nan, math.nan)
        for end in (end for end in ends if not math.isclose(end, values[name], rel_tol=1e-6)):
            if progress is not None:
                progress(f"a device with {name} = {1e9 * end:g} nm")
            moved, lines = problem.predict(values | {name: end}, result.names)
            if np.all(np.isfinite(moved)):  # else no grid of this one can follow
                bars = result.bars * moved / result.after
                more = _More(lines, noise, bars, every)
                out.append(_suggestion(result, f"a device with {name} = {1e9 * end:g} nm", more))
    return sorted(out + (_other_contacts(result, problem, values, progress) if contacts else []), key=lambda x: -x.gain)


def faults_of_dimensions(dimensions: Sequence[str], devices: Sequence[Device], fitted: Sequence[str]) -> list[str]:
    """Return a fault for each dimension of which no other value can be suggested, or one for more than one device."""
    if len(devices) != 1:
        return ["suggest: got a fit of several devices; other devices and contacts are suggested for a fit of one"]
    known, faults = devices[0].dimensions, []
    for name in dimensions:
        if name not in known:
            faults.append(f"suggest: got '{name}'; {nearest(name, [*known, 'contacts'])}")
        elif known[name].range is None or name in fitted:
            why = "is fitted" if name in fitted else "has no range"
            faults.append(f"suggest: dimension '{name}' {why}, expected one with a range that is held fixed")
    return faults


def _other_contacts(
    result: FitResult, problem: Problem, values: Mapping[str, float], progress: Progress | None
) -> list[Suggestion]:
    """Return voltages between contacts that were not measured."""
    (model,), measured, out = problem.models, {row.experiment for row in result.rows}, list[Suggestion]()
    assert problem.predict_on is not None
    for pair in itertools.combinations([contact.name for contact in model.device.contacts], 2):
        others = {
            name: dataclasses.replace(experiment, voltage=pair)
            for name, experiment in model.device.experiments.items()
            if name in measured and experiment.voltage is not None and set(pair) != set(experiment.voltage)
        }
        others = {name: other for name, other in others.items() if _exists(model.device, other)}
        if not others:
            continue
        between = f"between {pair[0]} and {pair[1]}"
        if progress is not None:
            progress(f"{', '.join(others)}: voltage {between}")
        device = dataclasses.replace(model.device, experiments={**model.device.experiments, **others})
        # Metal without current has its reference at the minus contact, for which there may be no system yet.
        known = all(label_of_ground(model.placement.grounds(other)) in model.systems for other in others.values())
        there = dataclasses.replace(model, device=device) if known else model.with_grid(model.grid, device)
        signals, lines = problem.predict_on([there])(values, result.names)
        for k, row in enumerate(result.rows):
            if row.experiment in others:
                std, bar = math.sqrt(result.noise_covariance[k, k]), result.bars[k] * signals[k] / result.after[k]
                more = _More(lines[k : k + 1], np.array([std]), np.array([bar]), np.array([k]))
                out.append(_suggestion(result, f"{row.experiment} {row.signal} {between}", more))
    return out


def _exists(device: Device, experiment: Experiment) -> bool:
    """Return whether a device can have an experiment: there is no voltage between contacts that share no metal."""
    try:
        dataclasses.replace(device, experiments={experiment.name: experiment})
    except DeviceError:
        return False
    return True


def _can_suggest(result: FitResult) -> bool:
    """Return whether all parameters are fixed, and the noise of a measurement is known."""
    return result.sensitivity is not None and bool(np.all(np.isfinite(result.covariance))) and result.noise_factor > 0


def _why_not(result: FitResult) -> str:
    """Say why nothing can be suggested."""
    if result.left_open:
        return (
            f"the data leave {' and '.join(result.left_open)} open, so that what another measurement would help is not "
            "known; fit fewer parameters, or give a prior"
        )
    if not result.noise_factor > 0:
        return "the data lie on the fit and do not scatter, so that the noise of a measurement is not known"
    return "this fit has no derivatives, so that what another measurement would help is not known; fit again"


@dataclasses.dataclass(frozen=True, eq=False)
class _More:
    """Rows that could be added.

    Attributes:
      lines: of the Jacobian (more, parameters).
      noise: standard deviations (more,).
      bars: error bars of the grid, with the sign that they have against that of their siblings (more,).
      siblings: fitted rows of the same relative error of the grid (more,): a measurement does not refine it.
    """

    lines: np.ndarray
    noise: np.ndarray
    bars: np.ndarray
    siblings: np.ndarray


def _suggestion(result: FitResult, what: str, more: _More) -> Suggestion:
    """Predict what more rows fix the parameters to: generalised least squares with the priors of the fit."""
    assert result.sensitivity is not None
    sizes = np.array(result.identifiability.sizes)
    old, bars = result.sensitivity * sizes, result.bars
    grid = result.grid_covariance
    # A new measurement has the error of the grid of its sibling, as much larger as its bar is.
    larger = np.divide(more.bars, bars[more.siblings], out=np.zeros(len(more.bars)), where=bars[more.siblings] > 0)
    data, across = result.noise_covariance + grid, grid[:, more.siblings] * larger
    added = np.diag(more.noise**2) + grid[np.ix_(more.siblings, more.siblings)] * np.outer(larger, larger)
    whole, lines = np.block([[data, across], [across.T, added]]), np.vstack([old, more.lines * sizes])
    weight = np.diag([1 / result.priors[n][1] ** 2 if n in result.priors else 0.0 for n in result.names]) * sizes**2
    before, after = (
        sizes * np.sqrt(np.diag(np.linalg.inv(weight + jacobian.T @ np.linalg.solve(errors, jacobian))))
        for errors, jacobian in ((data, old), (whole, lines))
    )
    stds = dict(zip(result.names, np.abs(after).tolist(), strict=True))
    std = float(more.noise[0]) if len(more.noise) == 1 else math.nan
    return Suggestion(what, std, stds, float(np.max(np.abs(before / after))))


def suggestion_words(result: FitResult, suggestions: Sequence[Suggestion], most: int = 3) -> list[str]:
    """Return the best few, with their effect on each parameter that they help; or why there are none."""
    if not _can_suggest(result):
        return [_why_not(result)]
    lines = []
    before = dict(zip(result.names, np.sqrt(np.diag(result.covariance)).tolist(), strict=True))
    for suggestion in suggestions[:most]:
        changes = [
            f"{name} from {quantity(name, before[name])} to {quantity(name, after)}"
            for name, after in suggestion.stds.items()
            if after < 0.98 * before[name]
        ]
        if changes:
            lines.append(f"measuring {suggestion.what} would take the std of {', '.join(changes)}")
    return lines or ["no signal of these, measured anew, would help by more than 2 %"]
