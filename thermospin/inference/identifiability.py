"""Identifiability by data and priors: combinations of parameters, standard deviations, and which parameters to fit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.text import percent
from thermospin.data.rows import Row
from thermospin.inference.misfit import RANK_CUTOFF, Misfit
from thermospin.inference.parameters import size_of
from thermospin.inference.predictors import Predict
from thermospin.quantities import quantity

#: `choose` adds parameters only while every relative standard deviation stays below this.
LARGEST_STD = 0.5
#: That of zeta and S_s with signals of heat: of a larger one not even the size is known.
HARDLY_KNOWN = 2.0
#: A parameter belongs to a direction that the data do not see if its share of the unit vector is above this.
NULL_SHARE = 1e-4


@dataclasses.dataclass(frozen=True, eq=False)
class Identifiability:
    """Combinations of parameters that the data fix, from the singular values of the scaled Jacobian.

    J_ij = (size_j/std_i) d model_i/d p_j = U diag(s) V'. A change of the parameters by t size_j V_jk moves the signals
    by t s_k standard deviations, so that the combination prod_j p_j^V_jk is fixed to 1/s_k of itself.

    Attributes:
      names: of the parameters.
      values: where the derivatives were taken, SI units.
      sizes: the value, sign included, so that changes are those of its logarithm; a typical size where it is 0.
      singular_values: s, falling, 0 where the data see nothing (names,).
      combinations: V', one combination per row, the largest component positive (names, names).
    """

    names: tuple[str, ...]
    values: tuple[float, ...]
    sizes: tuple[float, ...]
    singular_values: np.ndarray
    combinations: np.ndarray

    @property
    def relative_stds(self) -> np.ndarray:
        """Standard deviation of each combination, 1/s, infinite where the data see nothing (names,) [1]."""
        with np.errstate(divide="ignore"):
            return 1 / self.singular_values

    def covariance(self) -> np.ndarray:
        """Return (J' W J)^-1 in SI units (names, names).

        Parameters that take part in a combination that the data do not see have infinite variance and no covariance
        (NaN) with the others.
        """
        seen = self.singular_values > 0
        rows = self.combinations[seen] / self.singular_values[seen, None]
        sizes = np.array(self.sizes)
        covariance = np.outer(sizes, sizes) * (rows.T @ rows)
        loose = np.any(np.abs(self.combinations[~seen]) > NULL_SHARE, axis=0)
        covariance[loose, :] = covariance[:, loose] = math.nan
        covariance[loose, loose] = math.inf
        return covariance

    def stds(self) -> dict[str, float]:
        """Return the relative standard deviation of each parameter [1], infinite if the data do not fix it."""
        return dict(zip(self.names, np.sqrt(np.diag(self.covariance())) / np.abs(self.sizes), strict=True))

    def words(self) -> list[str]:
        """Return a line for each combination, and one for each parameter whose size is not its value."""
        lines = []
        for std, combination in zip(self.relative_stds, self.combinations, strict=True):
            known = f"fixed to {percent(std)}" if std <= 1 else f"not fixed, std {percent(std)}"
            lines.append(f"{'not fixed at all' if math.isinf(std) else known}: {self._product(combination)}")
        for name, value, size in zip(self.names, self.values, self.sizes, strict=True):
            if value == 0:
                lines.append(f"{name} is 0: its changes are counted in units of {quantity(name, size)}")
        return lines

    def _product(self, combination: np.ndarray) -> str:
        factors = []
        for name, value, size, power in zip(self.names, self.values, self.sizes, combination, strict=True):
            if abs(power) < 0.1:
                continue
            if value == 0:
                # The logarithm of 0 does not exist; exp(power p/size) has the same logarithmic derivative.
                factors.append(f"exp({power:.2f} {name}/({quantity(name, size)}))")
            else:
                factors.append(name if power > 0.995 else f"{name}^{power:.2f}")
        return " * ".join(factors)


def identifiability(
    jacobian: np.ndarray,
    misfit: Misfit | Sequence[Row],
    values: Mapping[str, float],
    at: np.ndarray | None = None,
) -> Identifiability:
    """Find what the data and priors fix at some values of the parameters, before or after a fit.

    Args:
      jacobian: d signal/d parameter in SI units (rows, parameters).
      misfit: the data, or `Misfit` of them; only standard deviations and correlations are used.
      values: parameters in the order of the columns, SI units.
      at: signals there (rows,), whose signs count where data of unknown polarity are correlated; None: those measured.
    """
    misfit = Misfit.of(misfit)
    sizes = [size_of(name, value) for name, value in values.items()]
    at = np.array([row.value for row in misfit.rows]) if at is None else at
    scaled = misfit.jacobian(at, jacobian, list(values)) * np.array(sizes)
    _, s, combinations = np.linalg.svd(scaled, full_matrices=True)
    s = np.concatenate([s, np.zeros(len(sizes) - len(s))])[: len(sizes)]
    s[s <= RANK_CUTOFF * s[0]] = 0
    largest = np.abs(combinations).argmax(axis=1)
    combinations *= np.sign(combinations[np.arange(len(sizes)), largest])[:, None]
    return Identifiability(tuple(values), tuple(values.values()), tuple(sizes), s, combinations)


def moves(jacobian: np.ndarray, misfit: Misfit, values: Mapping[str, float], at: np.ndarray) -> np.ndarray:
    """Return how far an error of each row moves each parameter (parameters, rows), SI units.

    (J' C^-1 J + priors)^-1 J' C^-1

    Args:
      jacobian, misfit, values, at: as for `identifiability`.
    """
    independent = misfit.jacobian(at, np.eye(len(misfit.rows)), ["a row"] * len(misfit.rows))
    return _moves_by_residuals(jacobian, misfit, values, at)[:, : len(misfit.rows)] @ independent[: len(misfit.rows)]


def _moves_by_residuals(
    jacobian: np.ndarray, misfit: Misfit, values: Mapping[str, float], at: np.ndarray
) -> np.ndarray:
    """Return how far an error of each residual moves each parameter (parameters, rows + priors), SI units."""
    sizes = np.array([size_of(name, value) for name, value in values.items()])
    scaled = misfit.jacobian(at, jacobian, list(values)) * sizes
    return sizes[:, None] * np.linalg.pinv(scaled, rcond=RANK_CUTOFF)


def scaled_to_scatter(
    covariance: np.ndarray, jacobian: np.ndarray, misfit: Misfit, values: Mapping[str, float], at: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the covariance of parameters with the noise of the data as large as they scatter, and its factor.

    The factor is sqrt(chi2/degrees of freedom) of the data: priors are no data, and spare the data a degree of freedom
    as far as they fix a parameter. The shares of the grid and of the priors in the covariance stay as they are.

    Args:
      covariance: (J' C^-1 J + priors)^-1 in SI units.
      jacobian, misfit, values, at: as for `identifiability`.
    """
    count, moved = len(misfit.rows), _moves_by_residuals(jacobian, misfit, values, at)
    of_data, of_priors = moved[:, :count], moved[:, count:]
    fitted = misfit.jacobian(at, jacobian, list(values))[:count] @ of_data
    square = float(np.sum(misfit.residuals(at, values)[:count] ** 2)) / (count - float(np.trace(fitted)))
    kept = of_data @ misfit.grid_share() @ of_data.T + of_priors @ of_priors.T
    return square * covariance + (1 - square) * kept, math.sqrt(square)


@dataclasses.dataclass(frozen=True)
class Choice:
    """Parameters to fit, and why the other candidates are left at their values."""

    free: tuple[str, ...]
    left_out: Mapping[str, str]


def choose(
    predict: Predict,
    misfit: Misfit | Sequence[Row],
    parameters: Mapping[str, float],
    magnetic: Sequence[str],
    known: Sequence[str] = (),
    several: Callable[[Sequence[str]], Mapping[str, Sequence[str]]] | None = None,
    sources: Mapping[str, str] | None = None,
) -> Choice:
    """Choose parameters to fit: those that the data fix, of zeta, and S_s, P and lambda_sf of the magnetic materials.

    With second harmonics, or heat as drive or probe, zeta and S_s come first, as for Slachter et al. 2010, if the data
    tell at least their size; without, P and lambda_sf do, which the first harmonic of a voltage at a current depends
    on. Each further one is added while the relative standard deviation of every free parameter, predicted by the
    Jacobian at the start, stays below `LARGEST_STD`.

    Args:
      predict: the model; called once.
      misfit: the data, or `Misfit` of them.
      parameters: every number of the model, SI units.
      magnetic: names of the magnetic materials.
      known: parameters with a prior, which are always free.
      several: gives the parameters that a name stands for, of a table over the bath one for each; None: itself.
      sources: what parameters follow that are tied to others: it is a candidate in their place.
    Raises:
      InputError: the data fix none of them.
    """
    misfit = Misfit.of(misfit)
    heated = any(row.is_thermal for row in misfit.rows)
    thermal, electrical = (
        ["zeta", *(f"{name}.S_s" for name in magnetic)],
        [f"{name}.{key}" for key in ("P", "lambda_sf") for name in magnetic],
    )
    if several is not None:
        thermal, electrical = (
            [full for names in several(group).values() for full in names] for group in (thermal, electrical)
        )
    thermal, electrical = (
        list(dict.fromkeys((sources or {}).get(name, name) for name in group)) for group in (thermal, electrical)
    )
    largest = dict.fromkeys(known, math.inf) | dict.fromkeys(thermal, HARDLY_KNOWN if heated else LARGEST_STD)
    both = dict.fromkeys(thermal + electrical if heated else electrical + thermal)
    candidates = [name for name in both if name not in known]
    names = [*known, *candidates]
    _, jacobian = predict(parameters, names)
    free, left_out = list(known), {}
    for candidate in candidates:
        trial = [*free, candidate]
        columns = jacobian[:, [names.index(name) for name in trial]]
        stds = identifiability(columns, misfit, {name: parameters[name] for name in trial}).stds()
        loose = [name for name in trial if not stds[name] < largest.get(name, LARGEST_STD)]
        if not loose:
            free = trial
            continue
        badly = ", ".join(f"{name} to {percent(stds[name])}" for name in loose if math.isfinite(stds[name]))
        unknown = ", ".join(name for name in loose if math.isinf(stds[name]))
        left_out[candidate] = "because the data would fix " + " and ".join(
            text for text in (f"only {badly}" if badly else "", f"not at all {unknown}" if unknown else "") if text
        )
    if not free:
        reasons = "".join(f"\n{name}: left fixed, {why}" for name, why in left_out.items())
        raise InputError(f"these data fix no parameter; name those to fit (--free Py.P), or give priors{reasons}")
    return Choice(tuple(free), left_out)
