"""Rival models of the same data: other devices, other materials, or an error of the model itself, compared.

Fits of the same rows are compared by chi2 plus a price for every parameter, Akaike's 2 k and the Bayesian k ln n. A
difference of 2 is nothing, one of 10 is a lot (Burnham and Anderson, Model Selection and Multimodel Inference, 2002).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import optimize

from thermospin.base.errors import InputError
from thermospin.base.shown import Shown
from thermospin.base.text import columns, percent
from thermospin.base.units import parse_together, readable
from thermospin.device.device import OF, Device, Tie, stretched
from thermospin.device.interfaces import Interface
from thermospin.device.parts import Experiment
from thermospin.inference.result import FitResult
from thermospin.quantities import quantity

#: Lorenz number pi^2/3 (k/e)^2 [V^2/K^2].
LORENZ = 2.443e-8
#: Differences of Akaike's criterion below the first say nothing, above the second that one model is much better.
NOTHING, MUCH = 2.0, 10.0

#: Name of the rival with a resistance between the heater and its contacts, and where its fit starts [ohm m^2]: between
#: a clean contact of two metals and one that is not.
HEATER_CONTACT = "heater-contact"
CONTACT_RA = 0.5e-12
#: Name of the interfaces of that rival, and of the experiment that reads the heater between its own contacts.
CONTACT = "heater_contact"
TWO_POINT = "two-point"

_STRETCH = re.compile(r"\s*([xyz])\s*=\s*(.+?)\s*([+-])\s*([\d.].*?)\s*")


def wiedemann_franz(device: Device) -> Device:
    """Return the device with kappa = L0 sigma T of every metal, at the bath temperature."""
    changed = {
        name: dataclasses.replace(material, kappa=LORENZ * material.sigma * device.bath)
        if material.is_metal
        else material
        for name, material in device.materials.items()
    }
    return dataclasses.replace(device, materials=changed)


@dataclasses.dataclass(frozen=True)
class Heater:
    """A stretch of another metal between two leads of one metal, which a current heats.

    Attributes:
      experiment: that drives the current.
      solids: of the heater.
      joints: pairs (solid of the heater, solid of the leads) that touch.
    """

    experiment: str
    solids: tuple[str, ...]
    joints: tuple[tuple[str, str], ...]


def heater_of(device: Device) -> Heater:
    """Return the magnet or wire that a current passes from leads of one metal and back into them.

    It lies on the shortest way from the contact where the current enters to the one where it leaves, from solid to
    solid that touch. Where that way leads through several metals besides the leads, no one of them is the heater.

    Raises:
      InputError: no experiment drives a current in this way.
    """
    solids = device.solids
    metal = [device.materials[solid.material].is_metal for solid in solids]
    joined: dict[int, list[int]] = {i: [] for i in range(len(solids)) if metal[i]}
    for i, j in sorted(device.layout().neighbours()):
        if metal[i] and metal[j]:
            joined[i].append(j)
            joined[j].append(i)
    for experiment in device.experiments.values():
        if experiment.current is None:
            continue
        ends = [{i for i in joined if _named(solids[i], device.contact(n).solid)} for n in experiment.current]
        path = _shortest(joined, *ends)
        lead, other = (solids[path[k]].material for k in (0, -1))
        between = {solids[i].material for i in path} - {lead}
        if lead != other or len(between) != 1:
            continue
        hot = [i for i in path if solids[i].material != lead]
        pairs = [(solids[i].name, solids[j].name) for i in hot for j in sorted(joined[i]) if solids[j].material == lead]
        return Heater(experiment.name, tuple(solids[i].name for i in hot), tuple(dict.fromkeys(pairs)))
    raise InputError(
        f"rival {HEATER_CONTACT}: in no experiment a current passes from leads of one metal through one other metal "
        "and back, expected a heater between two leads; put an interface where you mean it into a device file, and "
        "give that as --rival"
    )


def _named(solid: Any, name: str) -> bool:
    return name in (solid.name, solid.body)


def _shortest(joined: Mapping[int, Sequence[int]], starts: set[int], ends: set[int]) -> list[int]:
    """Return the shortest way between two sets of solids; it exists, since currents have a way in every device."""
    came: dict[int, int | None] = dict.fromkeys(sorted(starts))
    queue = list(came)
    for i in queue:
        if i in ends:
            path = [i]
            while (before := came[path[0]]) is not None:
                path.insert(0, before)
            return path
        for j in joined[i]:
            if j not in came:
                came[j] = i
                queue.append(j)
    raise AssertionError("no way for the current")


@dataclasses.dataclass(frozen=True)
class Rival:
    """A rival model of devices.

    Attributes:
      devices: in place of those given.
      instead: parameter that is fitted in place of another one, by the name of that one.
      ties: of its own parameters.
    """

    devices: tuple[Device, ...]
    instead: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ties: tuple[Tie, ...] = ()

    def free(self, names: Sequence[str]) -> list[str]:
        """Return free parameters: those of another fit, with its own in place of what they are fitted for."""
        return [*self.instead.values(), *(name for name in names if not self.replaces(name))]

    def replaces(self, name: str) -> bool:
        """Return whether another parameter is fitted in place of this one."""
        return name.rpartition(OF)[2] in self.instead


def heater_contact(devices: Sequence[Device]) -> Rival:
    """Return the rival with one resistance times area of all contacts of the heater in place of zeta, which is 1.

    The temperature is continuous there, and the Joule heat of the contacts goes half to either side.
    """
    changed, count = [], 0
    for device in devices:
        heater = heater_of(device)
        count = max(count, len(heater.joints))
        contacts = tuple(
            Interface(_contact(k), pair, RA=CONTACT_RA, sources={"RA": "rival: where its fit starts"})
            for k, pair in enumerate(heater.joints)
        )
        taken = {frozenset(pair) for pair in heater.joints}
        others = tuple(interface for interface in device.interfaces if frozenset(interface.between) not in taken)
        changed.append(dataclasses.replace(device, interfaces=(*others, *contacts), zeta=1.0))
    first = f"{_contact(0)}.RA"
    ties = tuple(Tie(f"{_contact(k)}.RA", first) for k in range(1, count))
    return Rival(tuple(changed), {"zeta": first}, ties)


def _contact(number: int) -> str:
    return f"{CONTACT}_{number + 1}" if number else CONTACT


def with_two_point(device: Device) -> Device | None:
    """Return the device with the experiment of its heater, and with its two-point resistance; None without heater."""
    try:
        of = device.experiments[heater_of(device).experiment]
    except InputError:
        return None
    state = {"P": of.states["P"]} if "P" in of.states else dict([next(iter(of.states.items()))])
    assert of.current is not None
    two_point = Experiment(TWO_POINT, of.current, of.current, state)
    return dataclasses.replace(device, experiments={of.name: of, TWO_POINT: two_point})


def rival(device: Device, text: str) -> Device:
    """Return a rival of a device by name: "wiedemann-franz", or a moved face such as "z = 15 nm - 3 nm".

    Raises:
      ValueError: it is neither.
    """
    if text.strip() == "wiedemann-franz":
        return wiedemann_franz(device)
    match = _STRETCH.fullmatch(text)
    if match is None:
        raise InputError(
            f'rival: got "{text}", expected wiedemann-franz, {HEATER_CONTACT}, a device file, or a face and how far '
            'it moves, such as "z = 15 nm - 3 nm"'
        )
    axis, at, sign, by = match.groups()
    place, distance = parse_together([at, by], "length", length_unit=device.length_unit)
    moved, _ = stretched(device, "xyz".index(axis), place, float(f"{sign}1") * distance)
    return moved


@dataclasses.dataclass(frozen=True)
class Comparison(Shown):
    """Fits of the same rows by rival models, by name; the first is the one that others are compared with.

    Attributes:
      results: of the fits.
      predictions: signals that no model was fitted to, by what they are and by model: (value in SI units, unit).
    """

    results: Mapping[str, FitResult]
    predictions: Mapping[str, Mapping[str, tuple[float, str]]] = dataclasses.field(default_factory=dict)

    def table(self) -> list[list[str]]:
        """Return chi2, Akaike's and the Bayesian criterion, and parameters of each model, under a header."""
        names = list(dict.fromkeys(name for result in self.results.values() for name in result.parameters))
        best = min(result.aic for result in self.results.values())
        lines = [["model", "chi2", "AIC", "less best", "BIC", *names]]
        for label, result in self.results.items():
            cells = [
                f"{quantity(name, result.parameters[name].value)} +- {quantity(name, result.parameters[name].std)}"
                if name in result.parameters
                else ""
                for name in names
            ]
            numbers = [f"{result.chi2:.4g}", f"{result.aic:.4g}", f"{result.aic - best:.3g}", f"{result.bic:.4g}"]
            lines.append([label, *numbers, *cells])
        return lines

    def verdict(self) -> list[str]:
        """Say which model the data prefer, and what depends on which is right."""
        best = min(self.results, key=lambda label: self.results[label].aic)
        gaps = {label: result.aic - self.results[best].aic for label, result in self.results.items() if label != best}
        even = [label for label, gap in gaps.items() if gap < NOTHING]
        worse = [label for label, gap in gaps.items() if gap > MUCH]
        lines = [f"The data do not tell {best} from {', '.join(even)}."] if even else []
        lines += [f"The data speak clearly against {', '.join(worse)}."] if worse else []
        return lines + _shifts(self.results) + [discrepancy(next(iter(self.results.values()))).words()]

    def words(self) -> list[str]:
        """Return table and verdict, line by line."""
        lines = self.table()
        return columns(lines, "l" + "r" * (len(lines[0]) - 1)) + self.verdict() + self.predicted()

    def predicted(self) -> list[str]:
        """Say what each model predicts that the fit did not use."""
        return [
            f"{what}: {', '.join(f'{readable(value, unit)} ({label})' for label, (value, unit) in of.items())}."
            for what, of in self.predictions.items()
        ]

    def to_json(self) -> dict[str, Any]:
        """Return chi2, criteria and parameters of each model."""
        return {
            label: {
                "chi2": result.chi2,
                "aic": result.aic,
                "bic": result.bic,
                "converged": result.converged,
                "parameters": {name: dataclasses.asdict(parameter) for name, parameter in result.parameters.items()},
                "predictions": {
                    what: {"value": of[label][0], "unit": of[label][1]}
                    for what, of in self.predictions.items()
                    if label in of
                },
            }
            for label, result in self.results.items()
        }


def _shifts(results: Mapping[str, FitResult]) -> list[str]:
    """List parameters that depend on which model is right by more than their standard deviations."""
    lines = []
    first, *rest = results.items()
    for label, result in rest:
        for name, reference in first[1].parameters.items():
            other = result.parameters.get(name)
            if (
                other is not None
                and math.isfinite(reference.std)
                and abs(other.value - reference.value) > reference.std
            ):
                shift = abs(other.value - reference.value) / reference.std
                lines.append(f"{name} differs by {shift:.1f} of its standard deviations if {label} is right.")
    return lines


@dataclasses.dataclass(frozen=True)
class Discrepancy:
    """A relative error of the model, the same and independent for every signal.

    Attributes:
      size: that makes the residuals of a fit most likely [1].
      gain: what Akaike's criterion falls by for that one parameter; negative: the data do not ask for it.
    """

    size: float
    gain: float

    def words(self) -> str:
        """Return it as a sentence."""
        if self.gain < 0:
            return "The residuals do not ask for an error of the model beside the noise."
        return (
            f"An error of the model of {percent(self.size)} in every signal would explain the residuals (Akaike's "
            f"criterion falls by {self.gain:.3g}): standard deviations without it are too small."
        )


def discrepancy(result: FitResult) -> Discrepancy:
    """Return the error of the model that the residuals of a fit ask for, by maximum likelihood.

    -2 ln L = sum of r^2/v + ln v with v = std^2 + (size model)^2; residuals are those of the fit, which sees fewer
    degrees of freedom than rows: they are taken larger by the root of that ratio.
    """
    std = result.stds
    share = len(result.rows) / max(result.degrees_of_freedom, 1)
    square = (result.pulls * std) ** 2 * share
    model = np.abs(result.after)

    def cost(log_size: float) -> float:
        variance = std**2 + (math.exp(log_size) * model) ** 2
        return float(np.sum(square / variance + np.log(variance)))

    minimum = optimize.minimize_scalar(cost, bounds=(math.log(1e-5), math.log(10.0)), method="bounded")
    without = float(np.sum(square / std**2 + np.log(std**2)))
    return Discrepancy(math.exp(float(minimum.x)), without - float(minimum.fun) - 2.0)
