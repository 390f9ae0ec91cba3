"""What a fit is given, checked before anything is built or solved, and resolved to parameters, bounds, priors and ties.

A parameter of a fit may be of all devices, of those at one bath, or of one alone, see `inference.sharing`; a value that
is a table over the bath has one for each.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.kinds import require_whole
from thermospin.base.names import nearest
from thermospin.data.rows import Row
from thermospin.device.device import OF, Device, Proportion, Tie, known_parameters, unknown_parameters
from thermospin.device.parts import Experiment
from thermospin.inference.identifiability import Choice, choose
from thermospin.inference.journal import Journal
from thermospin.inference.minimisers import MINIMISERS, check_rows
from thermospin.inference.misfit import Misfit, Prior
from thermospin.inference.orders import AtOrders
from thermospin.inference.parameters import Parameter, bounds_of
from thermospin.inference.predictors import Predict
from thermospin.inference.sharing import (
    Follower,
    at_each_bath,
    check_proportions,
    check_shared,
    followers,
    joint_parameters,
)
from thermospin.model import Model, Progress
from thermospin.quantities import quantity


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


@dataclass(frozen=True, eq=False)
class FitSetup:
    """A fit that can be run: everything that it was given, without faults, by the names of its parameters.

    Attributes:
      devices: that rows and parameters belong to.
      rows: the data, in the units of their experiments.
      correlation: of the rows (rows, rows); None: independent.
      free: parameters to fit; None: those that `choice` finds.
      parameters: every number of the devices at the start, SI units.
      bounds: of the parameters that do not have the default ones, SI units.
      priors: of free parameters, SI units.
      ties: parameters that follow others by a factor.
      proportions: ties that hold at every bath.
      followers: the values of each device that follow others by `proportions`.
      options: as given.
    """

    devices: tuple[Device, ...]
    rows: tuple[Row, ...]
    correlation: np.ndarray | None
    free: tuple[str, ...] | None
    parameters: Mapping[str, float]
    bounds: Mapping[str, tuple[float, float]]
    priors: Mapping[str, Prior]
    ties: tuple[Tie, ...]
    proportions: tuple[Proportion, ...]
    followers: tuple[Follower, ...]
    options: FitOptions

    @classmethod
    def of(
        cls,
        devices: Sequence[Device],
        rows: Sequence[Row],
        free: Sequence[str] | None,
        options: FitOptions,
        correlation: np.ndarray | None = None,
    ) -> FitSetup:
        """Check what `inverse.fit` is given, and resolve it.

        Raises:
          InputError: no rows, names that do not exist or are not free, bounds that exclude the start.
        """
        priors = {name: prior if isinstance(prior, Prior) else Prior(*prior) for name, prior in options.priors.items()}
        ties = tuple(tie for tie in options.ties if isinstance(tie, Tie))
        proportions = tuple(tie for tie in options.ties if isinstance(tie, Proportion))
        following = [tie.name for tie in proportions]
        check_proportions(proportions, devices, [tie.name for tie in ties])
        _check_names(devices, free, options, ties, following)
        names, given = _at_each_bath(devices, free, options.bounds, following)
        bounds = _ranges(devices) | given
        if options.method not in MINIMISERS:
            raise InputError(f"method: got '{options.method}'; {nearest(options.method, MINIMISERS)}")
        check_shared(devices, names or (), [tie.name for tie in options.ties])
        _check_ties(ties, priors)
        _check_priors(priors, bounds)
        check_rows(rows, ["zeta"] if names is None else names, options.rescaled)
        _check_devices(devices, rows)
        fitted = tuple(names or priors)
        setup = cls(
            devices=tuple(devices),
            rows=tuple(_with_unit(row, devices) for row in rows),
            correlation=correlation,
            free=None if names is None else tuple(names),
            parameters=_parameters(devices, fitted, following, ties),
            bounds=bounds,
            priors=priors,
            ties=ties,
            proportions=proportions,
            followers=tuple(followers(devices, proportions, fitted)),
            options=options,
        )
        setup.varied(setup.free or ())  # refuses bounds that exclude the start
        return setup

    def varied(self, free: Sequence[str]) -> list[Parameter]:
        """Return parameters with their starts and bounds."""
        return [Parameter(name, self.parameters[name], self.bounds.get(name)) for name in free]

    def misfit(self, at: AtOrders | None) -> Misfit:
        """Return the misfit with the error bars of the best estimates at some parameters; None: without any."""
        bars = (None, None) if at is None else (at.stds, at.correlation)
        return Misfit(self.rows, self.correlation, self.priors, *bars)

    def choice(self, predict: Predict, at: AtOrders | None) -> Choice:
        """Return the parameters to fit: those given, else those that the data fix.

        Args:
          predict: the model.
          at: best estimates at the start.
        """
        if self.free is not None:
            return Choice(self.free, {})
        several = functools.partial(at_each_bath, self.devices, shared=[tie.name for tie in self.proportions])
        sources = {tie.name: tie.source for tie in self.ties}
        magnetic = _magnetic(self.devices)
        return choose(predict, self.misfit(at), self.parameters, magnetic, tuple(self.priors), several, sources)

    def journal(self, path: str | Path | None, models: Sequence[Model], progress: Progress | None) -> Journal | None:
        """Return the journal of the fit on models of its devices, and say what it has; None without a path."""
        if path is None:
            return None
        journal = Journal(Path(path), journal_problem(models, self.rows, self.options.ties))
        if progress is not None and len(journal):
            progress(f"{path}: {len(journal)} evaluations are there already")
        return journal


def journal_problem(models: Sequence[Model], rows: Sequence[Row], ties: Sequence[Tie | Proportion] = ()) -> str:
    """Describe what the answers of a model depend on: devices, grids, ties and which signals, not what was measured."""
    lines = [[axis.tolist() for axis in model.grid.lines] for model in models]
    wanted = [(row.device, row.experiment, row.signal) for row in rows]
    devices, orders = [model.device for model in models], [model.grid.order for model in models]
    return repr((devices, lines, orders, wanted, *ties))


def _at_each_bath(
    devices: Sequence[Device],
    free: Sequence[str] | None,
    bounds: Mapping[str, tuple[float, float]],
    following: Sequence[str],
) -> tuple[list[str] | None, dict[str, tuple[float, float]]]:
    """Return what is free, and its bounds, with a parameter for each bath in place of a table over the bath."""
    meant = at_each_bath(devices, [*(free or ()), *bounds], following)
    names = None if free is None else list(dict.fromkeys(full for name in free for full in meant[name]))
    of_tables = {full: ends for name, ends in bounds.items() for full in meant[name]}
    of_one = {name: ends for name, ends in bounds.items() if meant[name] == [name]}
    return names, {name: ends for name, ends in (of_tables | of_one).items() if names is None or name in names}


def _parameters(
    devices: Sequence[Device], free: Sequence[str], following: Sequence[str], ties: Sequence[Tie]
) -> dict[str, float]:
    """Return `joint_parameters` with those that others follow, of one device or bath too."""
    parameters = joint_parameters(devices, [*free, *(tie.source for tie in ties if OF in tie.source)], following)
    faults = [
        f"ties: {tie.name} follows {tie.source}, which has not one value but one for each bath or device; "
        f'name one of them, or tie at every bath, "{tie.name} ~ {tie.source}"'
        for tie in ties
        if tie.source not in parameters
    ]
    if faults:
        raise InputError(faults)
    return parameters


def _ranges(devices: Sequence[Device]) -> dict[str, tuple[float, float]]:
    """Return the ranges of the dimensions that have one, by each name that a fit may use."""
    out: dict[str, tuple[float, float]] = {}
    for device in reversed(devices):
        known = {name: dimension.range for name, dimension in device.dimensions.items() if dimension.range is not None}
        out |= known | {f"{device.name}{OF}{name}": limits for name, limits in known.items()}
    return out


def _magnetic(devices: Sequence[Device]) -> list[str]:
    """Return the materials of the magnets."""
    used = [(device, solid.material) for device in devices for solid in device.solids]
    return list(dict.fromkeys(material for device, material in used if device.materials[material].is_magnetic))


def _with_unit(row: Row, devices: Sequence[Device]) -> Row:
    """Return the row with the unit of its experiment; one that does not exist is left to the model to refuse."""
    experiment = _experiment(row, devices)
    return row if experiment is None else row.with_unit(experiment)


def _experiment(row: Row, devices: Sequence[Device]) -> Experiment | None:
    """Return the experiment of a row, None where its device, or else the first one, has none of that name."""
    device = next((device for device in devices if device.name == row.device), devices[0])
    return device.experiments.get(row.experiment)


# ------------------------------------------------------------------------------------------- faults


def _check_names(
    devices: Sequence[Device],
    free: Sequence[str] | None,
    options: FitOptions,
    ties: Sequence[Tie],
    following: Sequence[str],
) -> None:
    """Refuse names that do not exist, bounds and priors of what is not free, and ties of what is, as they are given."""
    known = known_parameters(devices)
    names = {
        "free": free or (),
        "bounds": options.bounds,
        "priors": options.priors,
        "ties": dict.fromkeys(name for tie in ties for name in (tie.name, tie.source)),
    }
    faults = [fault for what, given in names.items() for fault in unknown_parameters(what, given, devices)]
    meant = at_each_bath(devices, [*(free or ()), *options.bounds, *options.priors], following)
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
        for tie in ties
        if tie.name in {*(free or ()), *varied}
    ]
    if faults:
        raise InputError(faults)


def _check_ties(ties: Sequence[Tie], priors: Mapping[str, Prior]) -> None:
    """Refuse ties of what has a prior, of what follows another one, or by no number."""
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


def _check_priors(priors: Mapping[str, Prior], bounds: Mapping[str, tuple[float, float]]) -> None:
    """Refuse priors that are no Gaussians, or lie outside the bounds."""
    faults = [
        f"priors: {name}: got {prior.mean:g} +- {prior.std:g}, expected a finite mean and a finite std above 0"
        for name, prior in priors.items()
        if not (math.isfinite(prior.mean) and math.isfinite(prior.std) and prior.std > 0)
    ]
    for name, prior in priors.items():
        lower, upper = bounds_of(name, bounds.get(name))
        if not lower <= prior.mean <= upper:
            faults.append(
                f"priors: {name}: got mean {quantity(name, prior.mean)}, expected one within the bounds "
                f"{quantity(name, lower)} .. {quantity(name, upper)}; give another mean or other bounds"
            )
    if faults:
        raise InputError("\n".join(faults))


def _check_devices(devices: Sequence[Device], rows: Sequence[Row]) -> None:
    """Refuse devices of one name, or without rows, and rows of no device, or in a unit of another experiment."""
    names = [device.name for device in devices]
    if len(devices) == 1:
        names.append("")
    faults = [f"device: '{name}' is there more than once" for name, times in Counter(names).items() if times > 1]
    for row in rows:
        if row.device not in names:
            faults.append(f"{row.experiment} {row.signal}: got device '{row.device}'; {nearest(row.device, names)}")
        experiment = _experiment(row, devices)
        if row.unit and experiment is not None and row.unit != experiment.unit(row.harmonic):
            faults.append(f"{row.label} {row.signal}: got {row.unit}, expected {experiment.unit(row.harmonic)}")
    idle = [name for name in names if name and name not in [row.device for row in rows]] if len(devices) > 1 else []
    faults += [f"device '{name}' has no rows, expected at least one" for name in idle]
    if faults:
        raise InputError("\n".join(dict.fromkeys(faults)))
