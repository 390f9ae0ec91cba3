"""Sensitivity of every signal to every material value and dimension: d ln(signal) / d ln(parameter)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from thermospin.base.errors import NotConverged
from thermospin.base.frames import frame
from thermospin.base.shown import Plotted
from thermospin.base.text import columns
from thermospin.device.constitution import Parameters
from thermospin.model import Model, Progress
from thermospin.quantities import quantity, unit_of
from thermospin.signals import evaluate

#: An elasticity below this is not printed.
NOTHING = 5e-4
#: Relative residuals that are tried, the smallest first: at a polarisation of 0.99 and 1e-7 one digit is right.
TOLERANCES = (1e-11, 1e-9, 1e-7)
#: A signal smaller than this part of the largest in its unit is round-off of a zero.
ROUND_OFF = 1e-10


@dataclasses.dataclass(frozen=True)
class Sensitivity(Plotted):
    """Elasticities of the signals of a device.

    Attributes:
      signals: pairs such as ("thermal", "R2.spin").
      values: of them, SI units.
      parameters: values by name, SI units, dimensions included.
      slopes: d signal / d parameter in SI units (signals, parameters).
      dimensions: which of the parameters are dimensions.
      tolerance: that the solves met; derivatives that cancel lose digits.
      units: SI units of the signals.
    """

    signals: tuple[tuple[str, str], ...]
    values: np.ndarray
    parameters: Mapping[str, float]
    slopes: np.ndarray
    dimensions: tuple[str, ...]
    tolerance: float = 0.0
    units: tuple[str, ...] = ()

    @property
    def elasticities(self) -> np.ndarray:
        """d ln|signal| / d ln|parameter| (signals, parameters); NaN where the signal or the parameter is 0."""
        sizes = np.array([value or math.nan for value in self.parameters.values()])
        return self.slopes * sizes / np.where(self.vanishes, math.nan, self.values)[:, None]

    @property
    def vanishes(self) -> np.ndarray:
        """Mark the signals that are 0 but for round-off (signals,)."""
        # Sizes in different units are not to be compared.
        kinds = np.array(self.units or [signal.partition(".")[0] for _, signal in self.signals])
        sizes = np.abs(self.values)
        largest = np.array([np.max(sizes[kinds == kind]) for kind in kinds])
        return sizes <= ROUND_OFF * largest

    def order(self) -> list[str]:
        """List parameters with a logarithm that move a signal by `NOTHING` or more, the strongest first."""
        sizes = np.abs(self.elasticities)
        strongest = dict(zip(self.parameters, np.max(np.where(np.isfinite(sizes), sizes, 0.0), axis=0), strict=True))
        return sorted((name for name, size in strongest.items() if size >= NOTHING), key=lambda name: -strongest[name])

    def idle(self) -> list[str]:
        """List parameters with a logarithm that move no signal by as much as `NOTHING`."""
        return [name for name, value in self.parameters.items() if value != 0 and name not in self.order()]

    def zero(self) -> list[str]:
        """List parameters whose value is 0, which have no logarithm."""
        return [name for name, value in self.parameters.items() if value == 0]

    def words(self) -> list[str]:
        """Return a table: a line for each parameter, a column for each signal."""
        names = list(self.parameters)
        lines = [["d ln(signal)", "", *(name for name, _ in self.signals)]]
        lines.append(["/ d ln(parameter)", "value", *(signal for _, signal in self.signals)])
        for name in self.order():
            elasticities = self.elasticities[:, names.index(name)]
            cells = [
                "zero" if zero else f"{value:+.3f}" if math.isfinite(value) else ""
                for value, zero in zip(elasticities, self.vanishes, strict=True)
            ]
            lines.append([name, quantity(name, self.parameters[name]), *cells])
        out = columns(lines, "lr" + "r" * len(self.signals))
        if self.tolerance > TOLERANCES[0]:
            met, asked = self.tolerance, TOLERANCES[0]
            out.append(
                f"Solved to a relative residual of {met:g}, not {asked:g}: fewer digits are right where terms cancel."
            )
        if self.idle():
            out.append(f"Below {NOTHING:g} everywhere: {', '.join(self.idle())}.")
        if self.zero():
            out.append(f"Without a logarithm, being 0: {', '.join(self.zero())}.")
        return out

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries: signals, units, parameters, slopes and elasticities by signal and parameter."""

        def by_name(table: np.ndarray) -> dict[str, dict[str, dict[str, float]]]:
            out: dict[str, dict[str, dict[str, float]]] = {}
            for (experiment, signal), line in zip(self.signals, table, strict=True):
                out.setdefault(experiment, {})[signal] = dict(zip(self.parameters, map(float, line), strict=True))
            return out

        by_experiment: dict[str, dict[str, float]] = {}
        for (experiment, signal), value in zip(self.signals, self.values, strict=True):
            by_experiment.setdefault(experiment, {})[signal] = float(value)
        units: dict[str, dict[str, str]] = {}
        for (experiment, signal), unit in zip(self.signals, self.units, strict=True):
            units.setdefault(experiment, {})[signal] = unit
        return {
            "signals": by_experiment,
            "units": units,
            "parameters": dict(self.parameters),
            "dimensions": list(self.dimensions),
            "slopes": by_name(self.slopes),
            "elasticities": by_name(self.elasticities),
        }

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame with a row for each signal and parameter.

        Columns: experiment, signal, parameter, value (of the parameter), slope (d signal/d parameter), elasticity
        (d ln|signal|/d ln|parameter| [1]), unit (of the signal) and parameter_unit, SI units.

        Raises:
          InputError: pandas is not installed.
        """
        units = self.units or ("",) * len(self.signals)
        rows = [
            (*signal, name, value, float(slope), float(elasticity), unit, unit_of(name))
            for signal, unit, slopes, elasticities in zip(
                self.signals, units, self.slopes, self.elasticities, strict=True
            )
            for (name, value), slope, elasticity in zip(self.parameters.items(), slopes, elasticities, strict=True)
        ]
        heads = ("experiment", "signal", "parameter", "value", "slope", "elasticity", "unit", "parameter_unit")
        return frame(dict(zip(heads, zip(*rows, strict=True), strict=True)))


def sensitivity(
    model: Model,
    parameters: Parameters | None = None,
    *,
    harmonics: int = 2,
    progress: Progress | None = None,
    tolerance: float | None = None,
) -> Sensitivity:
    """Differentiate all signals by all material values, zeta and dimensions, with one set of solves and adjoints.

    Args:
      model: from `model.build`.
      parameters: values by name; those left out are the device's own.
      harmonics: highest harmonic, 1 to 4.
      progress: callback for messages.
      tolerance: bound on the relative residual of the solves; None: the first of `TOLERANCES` that they meet.
    Raises:
      ValueError: see `evaluate.evaluate`.
      NotConverged: see `evaluate.evaluate`.
    """
    wanted, units = [], list[str]()
    for name, experiment in model.device.experiments.items():
        wanted += [(name, f"R{n}.{part}") for n in range(1, harmonics + 1) for part in experiment.shown_parts]
        units += [experiment.unit(n) for n in range(1, harmonics + 1) for _ in experiment.shown_parts]
    values = {**model.device.numbers(), **{name: float(value) for name, value in (parameters or {}).items()}}
    names, lengths = list(values), tuple(model.device.dimensions)
    tolerances = TOLERANCES if tolerance is None else (tolerance,)
    for bound in tolerances:
        last = bound == tolerances[-1]
        try:
            found = evaluate.evaluate(model, values, wanted, names, progress=progress, tolerance=bound, explain=last)
        except NotConverged:
            if last:
                raise
            continue
        break
    return Sensitivity(tuple(wanted), found.values, values, found.jacobian, lengths, bound, tuple(units))
