"""Results of fits: parameters, statistics and what the data fix, as numbers, as JSON and as text.

The text has the layout of lmfit's fit_report, with values in the units that people use. Knows no model, no optimiser.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from thermospin.base.errors import InputError
from thermospin.base.files import exact, write_json
from thermospin.base.frames import frame
from thermospin.base.names import nearest
from thermospin.base.shown import PlottedFit
from thermospin.base.text import columns, percent
from thermospin.base.units import readable_unit
from thermospin.data.rows import Row
from thermospin.inference.identifiability import Identifiability
from thermospin.inference.misfit import Problem, pulls
from thermospin.quantities import listed, quantity, shown
from thermospin.signals.ladders import Ladder

#: Correlations smaller than this are not printed.
SMALLEST_CORRELATION = 0.1
#: Below this probability of chi2 the report says that the model does not describe the data.
SMALLEST_PROBABILITY = 1e-3
#: Beyond this pull it says so even where there are no more data than parameters, and so no probability.
LARGEST_PULL = 10.0


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A fitted parameter, SI units.

    Attributes:
      value, std: std is infinite where the data do not fix the parameter.
      unit: SI unit.
      start, lower, upper: where it began and its bounds.
      at_bound: "lower" or "upper" if it is pinned there, and then `std` is no error bar; else None.
    """

    value: float
    std: float
    unit: str
    start: float
    lower: float
    upper: float
    at_bound: str | None


@dataclasses.dataclass(frozen=True)
class Following:
    """Values that followed others at every bath.

    Attributes:
      tie: in words, "Py.lambda_sf ~ Py.sigma".
      name: the parameter that is their value at the references.
      references: of what they follow, SI units.
      values: and standard deviations of them, by name, SI units.
    """

    tie: str
    name: str
    references: Mapping[str, float]
    values: Mapping[str, tuple[float, float]]

    def words(self) -> list[str]:
        """Return the tie and the values, line by line."""
        where = " and ".join(f"{name} = {quantity(name, value)}" for name, value in self.references.items())
        lines = [f"tied at every bath: {self.tie}" + (f"; {self.name} is its value at {where}" if where else "")]
        for name, (value, std) in self.values.items():
            unit, size = shown(name)
            spread = f" +/- {std / size:.3g}" if std else ""
            lines.append(f"    {name} = {value / size:.6g}{spread} {unit}".rstrip())
        return lines


@dataclasses.dataclass(frozen=True, eq=False)
class FitResult(PlottedFit):
    """Result of a fit.

    Attributes:
      parameters: the fitted ones, by name.
      covariance: in SI units, in the order of `parameters`; see `Identifiability.covariance`, `scaled_to_scatter`.
      rescaled: whether the stds of the data are relative weights, `noise_factor` times as large.
      rows: the data.
      grid_stds: error bars of the grid, added in quadrature to the stds of the data (rows,), SI units; None: not
        taken into account.
      grid_correlation: of the errors of the grid (rows, rows); None: independent.
      before, after: model values at the start and at the end, both of the last stage (rows,), SI units.
      sensitivity: d signal/d parameter at the end, SI units (rows, parameters).
      moves: how far an error of each row moves each parameter, SI units (parameters, rows).
      priors: mean and std of what was known of parameters besides the data, SI units.
      ties: (name, factor, source) of parameters that followed others.
      following: what followed others at every bath.
      correlation_of_data: of the rows (rows, rows); None: independent.
      minima: chi2 and parameters of the minima that many starts of the first stage led to, the lowest first.
      pulls: (model - measured)/`stds` at the end, of the magnitudes where the polarity is not known (rows,).
      chi2, chi2_before: r' C^-1 r, and priors, at the end and at the start: of independent data without priors the sum
        of the squares of the pulls.
      evaluations: of values with Jacobian, all stages together.
      converged: the optimiser met its tolerance in the last stage, and everything is finite.
      message: how it ended.
      method: name of the minimiser, such as "least_squares".
      identifiability: what the data fix, at the end.
      left_out: candidates of `choose` that were not fitted, and why.
      warnings: what else is to be known of the values, in sentences.
      remarks: what no data of this kind could tell apart, see `inference.degeneracies`.
      problem: what was minimised (`misfit.Problem`), for profiles, budgets and posteriors; None in one from a file.
      fields: of the model near the end, for a warm start of `signals.evaluate.measure`; None where it has none.
    """

    parameters: Mapping[str, Fitted]
    covariance: np.ndarray
    rescaled: bool
    rows: tuple[Row, ...]
    before: np.ndarray
    after: np.ndarray
    pulls: np.ndarray
    chi2: float
    chi2_before: float
    evaluations: int
    converged: bool
    message: str
    method: str
    identifiability: Identifiability
    problem: Problem | None = dataclasses.field(repr=False, compare=False)
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sensitivity: np.ndarray | None = dataclasses.field(default=None, repr=False)
    moves: np.ndarray | None = dataclasses.field(default=None, repr=False)
    priors: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    ties: tuple[tuple[str, float, str], ...] = ()
    following: tuple[Following, ...] = ()
    correlation_of_data: np.ndarray | None = dataclasses.field(default=None, repr=False)
    minima: tuple[tuple[float, Mapping[str, float]], ...] = ()
    grid_stds: np.ndarray | None = None
    grid_correlation: np.ndarray | None = dataclasses.field(default=None, repr=False)
    noise_factor: float = 1.0
    warnings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    fields: Mapping[str, tuple[Ladder, ...]] | None = dataclasses.field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """Return the numbers for `pickle`: a model with its compiled programs does not go into a file."""
        return self.__dict__ | {"problem": None}

    def require_problem(self) -> Problem:
        """Return the problem.

        Raises:
          InputError: the result comes from a file, and has none.
        """
        if self.problem is None:
            raise InputError("this result comes from a file and has no model to ask; fit again, from a journal at once")
        return self.problem

    @property
    def grid_shares(self) -> np.ndarray:
        """Part of the variance of each parameter that comes from the error bars of the grid (names,) [1].

        NaN for an infinite variance.
        """
        if self.grid_stds is None or self.moves is None:
            return np.zeros(len(self.parameters))
        variance = np.diag(self.covariance)
        share = np.diag(self.moves @ self.grid_covariance @ self.moves.T)
        return np.where(np.isinf(variance), np.nan, share / variance)

    @property
    def stds(self) -> np.ndarray:
        """Standard deviations of data and grid together, which pulls are in units of (rows,), SI units."""
        return np.hypot([row.std for row in self.rows], self.bars)

    @property
    def pulls_before(self) -> np.ndarray:
        """Pulls at the start (rows,) [1]."""
        return pulls(self.before, self.rows, self.grid_stds)

    @property
    def noise_covariance(self) -> np.ndarray:
        """Covariance of the noise of the data, of magnitudes as the model has the signs (rows, rows)."""
        noise = self.noise_factor * np.array([row.std for row in self.rows])
        return self._covariance(noise, self.correlation_of_data)

    @property
    def grid_covariance(self) -> np.ndarray:
        """Covariance of the errors of the grid, as the model has the signs (rows, rows)."""
        return self._covariance(self.bars, self.grid_correlation)

    def _covariance(self, stds: np.ndarray, correlation: np.ndarray | None) -> np.ndarray:
        if correlation is None:
            return np.diag(stds**2)
        blind = np.array([not row.polarity_known for row in self.rows])
        turned = np.where(blind, np.sign(self.after) * np.sign([row.value for row in self.rows]), 1.0)
        return np.outer(turned * stds, turned * stds) * correlation

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fitted parameters."""
        return tuple(self.parameters)

    @property
    def values(self) -> dict[str, float]:
        """Values of the fitted parameters by name, SI units."""
        return {name: fitted.value for name, fitted in self.parameters.items()}

    @property
    def all_values(self) -> dict[str, float]:
        """Values of all numbers of the model, SI units: held fixed, fitted, tied, and following at every bath.

        Which of them is that of a device is known to `sharing.names_in_fit`.

        Raises:
          InputError: the result comes from a file.
        """
        values = {**self.require_problem().fixed, **self.values}
        values |= {name: factor * values[source] for name, factor, source in self.ties}
        return values | {name: value for following in self.following for name, (value, _) in following.values.items()}

    @property
    def left_open(self) -> tuple[str, ...]:
        """Names of the fitted parameters that the data do not fix."""
        return tuple(name for name, fitted in self.parameters.items() if not math.isfinite(fitted.std))

    @property
    def correlation(self) -> np.ndarray:
        """covariance_ij/(std_i std_j), NaN where a variance is infinite (names, names)."""
        std = np.sqrt(np.diag(self.covariance))
        with np.errstate(divide="ignore", invalid="ignore"):
            correlation = self.covariance / np.outer(std, std)
        np.fill_diagonal(correlation, 1.0)
        return correlation

    @property
    def degrees_of_freedom(self) -> int:
        """Number of rows and priors less that of combinations of parameters that they fix."""
        return len(self.rows) + len(self.priors) - int(np.sum(self.identifiability.singular_values > 0))

    @property
    def reduced_chi2(self) -> float:
        """chi2 over the degrees of freedom; NaN if there is none."""
        return self.chi2 / self.degrees_of_freedom if self.degrees_of_freedom > 0 else math.nan

    @property
    def probability(self) -> float:
        """Probability of at least this chi2 if the model and the stds are right; NaN without degrees of freedom."""
        return float(special.chdtrc(self.degrees_of_freedom, self.chi2)) if self.degrees_of_freedom > 0 else math.nan

    @property
    def aic(self) -> float:
        """Akaike's criterion chi2 + 2 k: -2 ln L + 2 k for Gaussian data of known stds, but for a constant."""
        return self.chi2 + 2 * len(self.parameters)

    @property
    def bic(self) -> float:
        """Bayesian criterion chi2 + k ln(rows); see `aic`."""
        return self.chi2 + len(self.parameters) * math.log(len(self.rows))

    @property
    def bars(self) -> np.ndarray:
        """Error bars of the grid (rows,), zero where the model is exact, SI units."""
        return np.zeros(len(self.rows)) if self.grid_stds is None else self.grid_stds

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers, lists and dictionaries for `write_json`, which writes NaN and infinities as null."""
        correlation = {
            name: dict(zip(self.names, map(float, row), strict=True))
            for name, row in zip(self.names, self.correlation, strict=True)
        }
        listed = [
            {
                **({"device": row.device} if row.device else {}),
                "experiment": row.experiment,
                "signal": row.signal,
                "measured": row.value,
                "std": row.std,
                "grid_std": float(grid),
                "before": float(before),
                "model": float(model),
                "pull": float(pull),
                "unit": row.unit,
                "polarity_known": row.polarity_known,
            }
            for row, grid, before, model, pull in zip(
                self.rows, self.bars, self.before, self.after, self.pulls, strict=True
            )
        ]
        return {
            "parameters": {name: dataclasses.asdict(parameter) for name, parameter in self.parameters.items()},
            "correlation": correlation,
            "signals": listed,
            "chi2": self.chi2,
            "degrees_of_freedom": self.degrees_of_freedom,
            "reduced_chi2": self.reduced_chi2,
            "probability": self.probability,
            "aic": self.aic,
            "bic": self.bic,
            "rescaled": self.rescaled,
            "noise_factor": self.noise_factor,
            "method": self.method,
            "evaluations": self.evaluations,
            "converged": self.converged,
            "message": self.message,
            "identifiability": [
                {"relative_std": float(std), "powers": dict(zip(self.names, map(float, row), strict=True))}
                for std, row in zip(self.identifiability.relative_stds, self.identifiability.combinations, strict=True)
            ],
            "left_out": dict(self.left_out),
            "warnings": list(self.warnings),
            "remarks": list(self.remarks),
            "priors": {
                name: {"mean": mean, "std": std, "pull": (self.parameters[name].value - mean) / std}
                for name, (mean, std) in self.priors.items()
            },
            "ties": [{"name": name, "factor": factor, "source": source} for name, factor, source in self.ties],
            "following": [
                {
                    "tie": following.tie,
                    "references": dict(following.references),
                    "values": {name: {"value": value, "std": std} for name, (value, std) in following.values.items()},
                }
                for following in self.following
            ],
            "minima": [{"chi2": chi2, "parameters": dict(values)} for chi2, values in self.minima],
            "correlation_of_data": None if self.correlation_of_data is None else self.correlation_of_data.tolist(),
            "grid_shares": dict(zip(self.names, map(float, self.grid_shares), strict=True)),
        }

    def save(self, path: str | Path) -> None:
        """Write the file of `thermospin fit --json` and, as `kept`, what that leaves out; `load_fit` reads it.

        Models are not in it: profiles, posteriors and budgets are to be made before.

        Raises:
          OSError: the file cannot be written.
        """
        known = self.identifiability
        kept = {
            "covariance": exact(self.covariance),
            "sensitivity": exact(self.sensitivity),
            "moves": exact(self.moves),
            "grid_stds": exact(self.grid_stds),
            "grid_correlation": exact(self.grid_correlation),
            "chi2_before": self.chi2_before,
            "identifiability": {
                "names": list(known.names),
                "values": list(known.values),
                "sizes": list(known.sizes),
                "singular_values": exact(known.singular_values),
                "combinations": exact(known.combinations),
            },
        }
        write_json(path, self.to_json() | {"kept": kept})

    def to_dataframe(self, what: str = "parameters") -> Any:
        """Return a pandas DataFrame in SI units, which the column `unit` names.

        Args:
          what: "parameters": a row for each, with name, value, std, unit, start, lower, upper, at_bound; "signals": a
            row for each, with device, experiment, signal, measured, std, grid_std, before, model, pull, unit,
            polarity_known; or "correlation": of the parameters, by name.
        Raises:
          InputError: another table; pandas is not installed.
        """
        if what == "parameters":
            rows = [{"name": name, **dataclasses.asdict(fitted)} for name, fitted in self.parameters.items()]
        elif what == "signals":
            rows = [{"device": "", **row} for row in self.to_json()["signals"]]
        elif what == "correlation":
            return frame(dict(zip(self.names, self.correlation.T, strict=True))).set_axis(list(self.names), axis=0)
        else:
            raise InputError(
                f"table '{what}' does not exist; {nearest(what, ('parameters', 'signals', 'correlation'))}"
            )
        return frame({column: [row[column] for row in rows] for column in rows[0]})

    def report(self) -> str:
        """Return everything in words, in the layout of lmfit's fit_report."""
        return fit_report(self)


# ------------------------------------------------------------------------------------------- text


def fit_report(result: FitResult) -> str:
    """Return statistics, variables, correlations, signals against the model, and what the data fix."""
    parts = (
        ("[[Fit Statistics]]", _statistics(result)),
        ("[[Variables]]", _variables(result)),
        (f"[[Correlations]] (unreported correlations are < {SMALLEST_CORRELATION:.3f})", _correlations(result)),
        (f"[[Signals]] (pull = (model - measured)/{_std_of(result)})", _signals(result)),
        (
            "[[Identifiability]] (from these standard deviations, relative to the values above)",
            _identifiability(result),
        ),
    )
    return "\n".join("\n".join([title, *(f"    {line}" for line in lines)]) for title, lines in parts)


def _std_of(result: FitResult) -> str:
    return "std" if result.grid_stds is None else "sqrt(std^2 + grid^2)"


def _statistics(result: FitResult) -> list[str]:
    none = "none: no more rows than variables"
    reduced, probability = (
        f"{number:{digits}}" if result.degrees_of_freedom > 0 else none
        for number, digits in ((result.reduced_chi2, ".6g"), (result.probability, ".2g"))
    )
    source = (
        "the stds of the data"
        + (" and their correlation" if result.correlation_of_data is not None else "")
        + (f", {result.noise_factor:.4g} times as large as given (rescaled)," if result.rescaled else "")
        + ("" if result.grid_stds is None else " and the error bars of the grid")
        + ("" if result.grid_correlation is None else ", which have a part in common")
    ).rstrip(",")
    entries = {
        "# fitting method": result.method,
        "# function evals": f"{result.evaluations}",
        "# data points": f"{len(result.rows)}" + (f", and {len(result.priors)} priors" if result.priors else ""),
        "# variables": f"{len(result.parameters)}",
        "chi-square": f"{result.chi2:.6g}",
        "reduced chi-square": reduced,
        "probability": probability,
        "Akaike info crit": f"{result.aic:.6g}",
        "Bayesian info crit": f"{result.bic:.6g}",
        "converged": f"{'yes' if result.converged else 'NO'}: {result.message}",
        "standard deviations": f"from {source}",
    }
    return [f"{key:<19} = {value}" for key, value in entries.items()]


def _variables(result: FitResult) -> list[str]:
    lines = columns([_variable(name, parameter) for name, parameter in result.parameters.items()], "lrll")
    for name, parameter in result.parameters.items():
        if parameter.at_bound is not None:
            bound = quantity(name, parameter.lower if parameter.at_bound == "lower" else parameter.upper)
            lines.append(
                f"{name} is at its {parameter.at_bound} bound {bound}: its std is no error bar, "
                f"and the other stds hold as if it could pass the bound"
            )
        if math.isinf(parameter.std):
            lines.append(f"{name} is not fixed by these data: other values do as well")
        if name in result.priors:
            mean, std = result.priors[name]
            pull = f"pull {(parameter.value - mean) / std:+.2f}"
            lines.append(f"prior: {name} = {quantity(name, mean)} +/- {quantity(name, std)} ({pull})")
    lines += result.warnings
    for name, factor, source in result.ties:
        value = f" = {quantity(name, factor * result.parameters[source].value)}" if source in result.parameters else ""
        lines.append(f"tied: {name} = {factor:g} * {source}{value}")
    lines += [line for following in result.following for line in following.words()]
    if len(result.minima) > 1:
        others = "; ".join(f"chi2 = {chi2:.4g} at {listed(values)}" for chi2, values in result.minima[1:])
        lines.append(f"many starts led to {len(result.minima)} minima, on the first grid: besides this one {others}")
    return lines


def _variable(name: str, fitted: Fitted) -> list[str]:
    unit, size = shown(name)
    relative = f" ({percent(fitted.std / abs(fitted.value))})" if fitted.value and math.isfinite(fitted.std) else ""
    return [
        f"{name}:",
        f"{fitted.value / size:.6g}",
        f"+/- {fitted.std / size:.3g} {unit}".rstrip() + relative,
        f"(init = {fitted.start / size:.6g})",
    ]


def _correlations(result: FitResult) -> list[str]:
    names, matrix = result.names, result.correlation
    pairs = [(names[i], names[j], float(matrix[i, j])) for i in range(len(names)) for j in range(i + 1, len(names))]
    pairs = [pair for pair in pairs if abs(pair[2]) >= SMALLEST_CORRELATION]
    pairs.sort(key=lambda pair: -abs(pair[2]))
    lines = columns([[f"C({a}, {b})", f"= {value:+.4f}"] for a, b, value in pairs], "ll")
    return lines + (["(none exists for what the data do not fix)"] if np.isnan(matrix).any() else [])


def _signals(result: FitResult) -> list[str]:
    gridded = result.grid_stds is not None
    lines = [["", "measured", "std", *(["grid"] if gridded else []), "before", "model", "unit", "pull"]]
    for row, grid, before, model, pull in zip(
        result.rows, result.bars, result.before, result.after, result.pulls, strict=True
    ):
        name, size = readable_unit(row.value, row.unit)
        signal = row.signal if row.polarity_known else f"|{row.signal}|"
        numbers = [row.value, row.std, float(before), float(model)]
        if not row.polarity_known:
            numbers = [abs(number) for number in numbers]
        shown = [f"{number / size:.5g}" for number in numbers]
        if gridded:
            shown.insert(2, f"{grid / size:.2g}")
        lines.append([f"{row.label} {signal}", *shown, name, f"{pull:+.2f}"])
    text = columns(lines, "lrrrrrlr" if gridded else "lrrrrlr")
    worst = lines[1 + int(np.argmax(np.abs(result.pulls)))]
    if result.degrees_of_freedom <= 0 and np.max(np.abs(result.pulls)) > LARGEST_PULL:
        text.append(
            f"The model misses {worst[0]} by {worst[-1]} of its stds, with as many parameters as data: "
            "it does not describe them"
        )
    if result.probability < SMALLEST_PROBABILITY:
        text.append(
            f"The model does not describe these data within their stds (probability {result.probability:.1g}, "
            f"largest pull {worst[-1]} in {worst[0]}): the parameters make up for what is missing from the model or "
            "from the stds"
        )
    return text + _limits(result)


def _limits(result: FitResult) -> list[str]:
    """List what the grid limits, not the experiment."""
    shares = zip(result.names, result.grid_shares, strict=True)
    limited = [f"{name} ({percent(share)} of its variance)" for name, share in shares if share > 0.5]
    bars = zip(result.rows, result.bars, strict=True)
    wide = [f"{row.label} {row.signal}" for row, grid in bars if grid > row.std]
    lines = [f"The grid, not the experiment, limits {', '.join(limited)}"] if limited else []
    if wide:
        lines.append(f"Error bars of the grid are wider than the stds of {', '.join(wide)}, so that these count less")
    return [f"{line}: refine with --tolerance or --cells" for line in lines]


def _identifiability(result: FitResult) -> list[str]:
    return [
        *result.identifiability.words(),
        *(f"left fixed: {name}, {why}" for name, why in result.left_out.items()),
        *result.remarks,
    ]
