"""Rival models of the same data: other devices, other materials, or an error of the model itself, compared.

Fits of the same rows are compared by chi2 plus a price for every parameter, Akaike's 2 k and the Bayesian k ln n. A
difference of 2 is nothing, one of 10 is a lot (Burnham and Anderson, Model Selection and Multimodel Inference, 2002).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import optimize

from thermospin.base.errors import InputError
from thermospin.base.text import columns, percent
from thermospin.base.units import parse_together
from thermospin.device.device import Device, stretched
from thermospin.inference.result import FitResult
from thermospin.quantities import quantity

#: Lorenz number pi^2/3 (k/e)^2 [V^2/K^2].
LORENZ = 2.443e-8
#: Differences of Akaike's criterion below the first say nothing, above the second that one model is much better.
NOTHING, MUCH = 2.0, 10.0

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
            f'rival: got "{text}", expected wiedemann-franz, a device file, or a face and how far it moves, such as '
            '"z = 15 nm - 3 nm"'
        )
    axis, at, sign, by = match.groups()
    place, distance = parse_together([at, by], "length", length_unit=device.length_unit)
    moved, _ = stretched(device, "xyz".index(axis), place, float(f"{sign}1") * distance)
    return moved


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Fits of the same rows by rival models, by name; the first is the one that others are compared with."""

    results: Mapping[str, FitResult]

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
        return columns(lines, "l" + "r" * (len(lines[0]) - 1)) + self.verdict()

    def to_json(self) -> dict[str, Any]:
        """Return chi2, criteria and parameters of each model."""
        return {
            label: {
                "chi2": result.chi2,
                "aic": result.aic,
                "bic": result.bic,
                "converged": result.converged,
                "parameters": {name: dataclasses.asdict(parameter) for name, parameter in result.parameters.items()},
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
