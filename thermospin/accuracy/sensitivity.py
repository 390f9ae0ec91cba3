"""Sensitivity of every signal to every material value and dimension: d ln(signal) / d ln(parameter)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from thermospin import solve
from thermospin.accuracy import error_bars
from thermospin.base.errors import NotConverged
from thermospin.base.frames import frame
from thermospin.base.kinds import as_mapping, as_number
from thermospin.base.shown import Plotted
from thermospin.base.text import columns
from thermospin.device.constitution import Parameters
from thermospin.model import Model, Progress
from thermospin.quantities import quantity, unit_of
from thermospin.signals import evaluate
from thermospin.signals.results import Evaluation

T = TypeVar("T")

#: An elasticity below this is not printed.
NOTHING = 5e-4
#: Relative residuals that are tried, the smallest first: at a polarisation of 0.99 and 1e-7 one digit is right.
TOLERANCES = (1e-11, 1e-9, 1e-7)
#: A signal whose error bar is a larger part of it is named: slopes are no better than the signal.
ROUGH = 0.1
#: A signal smaller than this part of the largest in its unit is round-off of a zero.
ROUND_OFF = 1e-10


@dataclasses.dataclass(frozen=True, eq=False)
class Sensitivity(Plotted):
    """Elasticities of the signals of a device.

    Attributes:
      signals: pairs such as ("thermal", "R2.spin").
      values: of them, SI units: best estimates.
      parameters: values by name, SI units, dimensions included.
      slopes: d signal / d parameter in SI units (signals, parameters).
      dimensions: which of the parameters are dimensions.
      tolerance: that the solves met; derivatives that cancel lose digits.
      units: SI units of the signals.
      errors: error bars of the best estimates, SI units (signals,).
      computed: values of the grid (signals,).
    """

    signals: tuple[tuple[str, str], ...]
    values: np.ndarray
    parameters: Mapping[str, float]
    slopes: np.ndarray
    dimensions: tuple[str, ...]
    tolerance: float
    units: tuple[str, ...]
    errors: np.ndarray
    computed: np.ndarray

    @property
    def elasticities(self) -> np.ndarray:
        """d ln|signal| / d ln|parameter| (signals, parameters); NaN where the signal or the parameter is 0."""
        sizes = np.array([value or math.nan for value in self.parameters.values()])
        return self.slopes * sizes / np.where(self.vanishes, math.nan, self.values)[:, None]

    @property
    def vanishes(self) -> np.ndarray:
        """Mark the signals that are 0 but for round-off (signals,)."""
        # Sizes in different units are not to be compared.
        kinds = np.array(self.units)
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

    def rough(self) -> dict[tuple[str, str], float]:
        """Return the error bars, as parts of the signals, that are larger than `ROUGH`; zeros have none."""
        relative = self.errors / np.where(self.vanishes, math.inf, np.abs(self.values))
        return {name: float(error) for name, error in zip(self.signals, relative, strict=True) if error > ROUGH}

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
        if rough := self.rough():
            known = ", ".join(f"{experiment} {signal} to {error:.0%}" for (experiment, signal), error in rough.items())
            out.append(f"Hardly known on this grid: {known}; such a column is no better. More cells (--cells) help.")
        if self.idle():
            out.append(f"Below {NOTHING:g} everywhere: {', '.join(self.idle())}.")
        if self.zero():
            out.append(f"Without a logarithm, being 0: {', '.join(self.zero())}.")
        return out

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries: signals, units, parameters, slopes and elasticities by signal and parameter.

        `signals` has best estimates, `errors` their bars and `computed` the values of the grid.
        """

        def by_name(table: np.ndarray) -> dict[str, dict[str, dict[str, float]]]:
            out: dict[str, dict[str, dict[str, float]]] = {}
            for (experiment, signal), line in zip(self.signals, table, strict=True):
                out.setdefault(experiment, {})[signal] = dict(zip(self.parameters, map(float, line), strict=True))
            return out

        def by_signal(items: Iterable[T]) -> dict[str, dict[str, T]]:
            out: dict[str, dict[str, T]] = {}
            for (experiment, signal), item in zip(self.signals, items, strict=True):
                out.setdefault(experiment, {})[signal] = item
            return out

        return {
            "signals": by_signal(self.values.tolist()),
            "errors": by_signal(self.errors.tolist()),
            "computed": by_signal(self.computed.tolist()),
            "units": by_signal(self.units),
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
        rows = [
            (*signal, name, value, float(slope), float(elasticity), unit, unit_of(name))
            for signal, unit, slopes, elasticities in zip(
                self.signals, self.units, self.slopes, self.elasticities, strict=True
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

    Values are best estimates (`error_bars.assess`). Slopes are those of the grid in proportion, so that elasticities
    are those of the grid: most of what a grid makes wrong cancels in them.

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
    given = as_mapping("parameters", parameters)
    values = model.device.numbers() | {name: as_number(float, f"parameter '{name}'", given[name], "") for name in given}
    tolerances = TOLERANCES if tolerance is None else (tolerance,)
    evaluation, met = _evaluation(model, values, wanted, progress, tolerances)
    loose, start = max(met, solve.TOLERANCE), evaluation.fields
    signals = evaluate.measure(model, values, harmonics=harmonics, start=start, progress=progress, tolerance=loose)
    best = error_bars.assess(model, signals, values, start=start, progress=progress, tolerance=loose)
    estimates = np.array([best[pair] for pair in wanted])
    return Sensitivity(
        tuple(wanted),
        estimates,
        values,
        evaluation.jacobian * _factors(evaluation.values, estimates)[:, None],
        tuple(model.device.dimensions),
        met,
        tuple(units),
        np.array([best.error(*pair) for pair in wanted]),
        evaluation.values,
    )


def _factors(computed: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Return best estimates in units of the values of the grid; 1 where these have no digit."""
    ratio = np.divide(best, computed, out=np.ones_like(best), where=computed != 0)
    return np.where((ratio > 0.5) & (ratio < 2.0), ratio, 1.0)


def _evaluation(
    model: Model,
    values: Mapping[str, float],
    wanted: Sequence[tuple[str, str]],
    progress: Progress | None,
    tolerances: Sequence[float],
) -> tuple[Evaluation, float]:
    """Return values and slopes to the first of the tolerances that all solves meet, and which it was."""
    for bound in tolerances:
        last = bound == tolerances[-1]
        try:
            names = list(values)
            return evaluate.evaluate(
                model, values, wanted, names, progress=progress, tolerance=bound, explain=last
            ), bound
        except NotConverged:
            if last:
                raise
    raise AssertionError("no tolerance was given")
