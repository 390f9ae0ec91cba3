"""Misfit between a model and data, with priors, and its residuals in the coordinates that minimisers use.

Everything here works on a `Predict` callable, values and Jacobian of the data rows for given parameters: this module
knows no grid index and no solver. The misfit is

    chi2(p) = r' C^-1 r + sum over priors ((p - mean)/std)^2,   r = model(p) - value,  |model(p)| - |value| if unsigned,

with the covariance C of the data: their noise, diagonal unless their correlation is given, and the errors of the grid.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy import linalg

from thermospin.base.errors import InputError
from thermospin.data.rows import Row
from thermospin.inference.combinators import Copies
from thermospin.inference.parameters import (
    Parameter,
    bounds_in_coordinates,
    coordinates,
    pressed,
    slopes_at,
    values_at,
)
from thermospin.inference.predictors import Predict
from thermospin.model import Model
from thermospin.solve import Solver

#: Singular values below this, relative to the largest, count as zero: Jacobians are about as exact as their solves.
RANK_CUTOFF = 1e-8


class Prior(NamedTuple):
    """A Gaussian of a parameter's value, SI units, known besides the data."""

    mean: float
    std: float


class Misfit:
    """Residuals that chi2 is the sum of squares of: those of the data, made independent, and those of the priors.

    Args:
      rows: the data.
      correlation: of the noise of the data (rows, rows); None: independent.
      priors: by the name of a parameter.
      grid_stds: error bars of the grid (rows,), SI units; None: the model is exact.
      grid_correlation: of the errors of the grid (rows, rows); None: independent.
    Attributes:
      stds: of noise and grid together (rows,), SI units.
    Raises:
      ValueError: the correlation is no positive definite matrix of that size with ones on its diagonal.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        correlation: np.ndarray | None = None,
        priors: Mapping[str, Prior] | None = None,
        grid_stds: np.ndarray | None = None,
        grid_correlation: np.ndarray | None = None,
    ) -> None:
        self.rows, self.priors = tuple(rows), dict(priors or {})
        self._given = correlation, self.priors, grid_stds, grid_correlation
        noise, grid = np.array([row.std for row in rows]), _or_zeros(grid_stds, len(rows))
        self.stds = np.hypot(noise, grid)
        independent = np.eye(len(rows))
        # The magnitude of a negative value moves against the value.
        turned = np.where([not row.polarity_known and row.value < 0 for row in rows], -1.0, 1.0)
        of_noise, of_grid = turned * noise / self.stds, turned * grid / self.stds
        covariance = np.outer(of_noise, of_noise) * (
            independent if correlation is None else _checked(correlation, rows)
        )
        # The share of the grid in the covariance, in units of `stds` (rows, rows).
        self._grid = np.outer(of_grid, of_grid) * (independent if grid_correlation is None else grid_correlation)
        plain = correlation is None and grid_correlation is None
        self._factor = None if plain else np.linalg.cholesky(covariance + self._grid)

    @classmethod
    def of(cls, data: Misfit | Sequence[Row]) -> Misfit:
        """Return the misfit of rows; one that is there already as it is."""
        return data if isinstance(data, Misfit) else cls(data)

    def scaled(self, factor: float) -> Misfit:
        """Return the misfit with the noise of the data as many times larger; priors and grid stay as they are."""
        return Misfit([replace(row, std=factor * row.std) for row in self.rows], *self._given)

    def residuals(self, values: np.ndarray, parameters: Mapping[str, float]) -> np.ndarray:
        """Return L^-1 times the `pulls` with the correlation L L', then (p - mean)/std (rows + priors,) [1]."""
        of_priors = [(parameters[name] - prior.mean) / prior.std for name, prior in self._priors_of(parameters)]
        return np.concatenate([self._independent(self.pulls(values)), of_priors])

    def chi2(self, values: np.ndarray, parameters: Mapping[str, float]) -> float:
        """Return the sum of the squares of the `residuals`."""
        return float(np.sum(self.residuals(values, parameters) ** 2))

    def pulls(self, values: np.ndarray) -> np.ndarray:
        """Return (model - value)/std of each row, of the magnitudes where the polarity is not known (rows,) [1]."""
        return _differences(values, self.rows) / self.stds

    def jacobian(self, values: np.ndarray, sensitivity: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Return d residuals/d p in units of 1/p (rows + priors, names), from d value/d p (rows, names)."""
        scaled = (_signs(values, self.rows) / self.stds)[:, None] * sensitivity
        of_priors = [[(other == name) / prior.std for other in names] for name, prior in self._priors_of(names)]
        return np.concatenate([self._independent(scaled), np.reshape(of_priors, (len(of_priors), len(names)))])

    def whitening(self) -> np.ndarray:
        """Return L^-1/std, which makes errors of the rows independent and of size 1 (rows, rows) [A^n/V]."""
        return self._independent(np.diag(1 / self.stds))

    def grid_share(self) -> np.ndarray:
        """Return the share of the grid in the covariance of the residuals of the data, which is 1 (rows, rows) [1]."""
        return self._independent(self._independent(self._grid).T)

    def _priors_of(self, names: Sequence[str] | Mapping[str, float]) -> list[tuple[str, Prior]]:
        return [(name, prior) for name, prior in self.priors.items() if name in names]

    def _independent(self, values: np.ndarray) -> np.ndarray:
        if self._factor is None:
            return values
        if not np.all(np.isfinite(values)):
            return np.full(values.shape, math.nan)
        return linalg.solve_triangular(self._factor, values, lower=True)


def _checked(correlation: np.ndarray, rows: Sequence[Row]) -> np.ndarray:
    matrix = np.asarray(correlation, float)
    if matrix.shape != (len(rows), len(rows)):
        raise InputError(f"correlation: got shape {matrix.shape}, expected ({len(rows)}, {len(rows)}), as many as rows")
    # Round-off of a matrix that was divided by its diagonal is a few 1e-16.
    if not (np.allclose(np.diag(matrix), 1.0) and np.allclose(matrix, matrix.T)):
        raise InputError("correlation: got other numbers, expected a symmetric matrix with ones on its diagonal")
    smallest = float(np.linalg.eigvalsh(matrix)[0])
    if smallest <= 0:
        raise InputError(
            f"correlation: got smallest eigenvalue {smallest:.2g}, expected one above 0: rows that are exact "
            "combinations of others, such as P, AP and spin together, count twice; leave them out"
        )
    return matrix


@dataclasses.dataclass(frozen=True)
class Problem:
    """The problem that a fit minimises, for what comes after it: profiles, posteriors, budgets.

    Attributes:
      predict: the model of the last stage.
      misfit: data and priors, error bars of the grid included.
      free: the parameters varied.
      fixed: every other number of the model, SI units.
      models: of the last stage, one for each device; empty where `predict` was not made of any.
      predict_on: makes the same `Predict` of other models of the same experiments.
      copies: of the model, for concurrent tasks; None where `predict` is the only one.
    """

    predict: Predict
    misfit: Misfit
    free: tuple[Parameter, ...]
    fixed: Mapping[str, float]
    models: tuple[Model, ...] = ()
    predict_on: Callable[[Sequence[Model]], Predict] | None = None
    copies: Copies | None = None

    @property
    def size(self) -> int:
        """Number of evaluations that are best run at a time."""
        return 1 if self.copies is None else self.copies.size

    def copy(self, task: str = "", solver: Solver | None = None) -> Problem:
        """Return the problem with a model that no question was put to before; itself if there are no copies of it.

        Its answers, which start from the fields of earlier ones, are the same every time.

        Args:
          task: its name in journals; one that is asked more than once needs one.
          solver: answers the solves of the copy, for a concurrent task.
        """
        return self if self.copies is None else replace(self, predict=self.copies.of(task, solver))

    @property
    def bounds(self) -> np.ndarray:
        """Bounds in internal coordinates (2, free)."""
        return bounds_in_coordinates(self.free)

    def objective(self) -> Objective:
        """Return residuals and their Jacobian as functions of internal coordinates."""
        return Objective(self.predict, self.misfit, self.free, self.fixed, lambda chi2, values: None)

    def coordinates(self, values: Mapping[str, float]) -> np.ndarray:
        """Return internal coordinates (free,) of values by name, SI units."""
        return coordinates(self.free, values)

    def in_coordinates(self, covariance: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return a covariance of SI values (free, free) as one of internal coordinates at x."""
        slopes = slopes_at(self.free, x)
        return covariance / slopes[:, None] / slopes


class Objective:
    """Residuals and their Jacobian (residuals, free) in internal coordinates x, one point remembered; see `Misfit`.

    Args:
      predict: the model.
      misfit: the data, or `Misfit` of them.
      free: parameters to vary.
      fixed: every other number of the model.
      notify: is called after each evaluation with chi2 (NaN: no solution there) and the values of the parameters.
    """

    def __init__(
        self,
        predict: Predict,
        misfit: Misfit | Sequence[Row],
        free: Sequence[Parameter],
        fixed: Mapping[str, float],
        notify: Callable[[float, Mapping[str, float]], None],
    ) -> None:
        self.misfit = Misfit.of(misfit)
        self.predict, self.free, self.fixed, self._notify = predict, tuple(free), dict(fixed), notify
        self.names = [parameter.name for parameter in self.free]
        self._point: np.ndarray | None = None

    def with_predict(self, predict: Predict) -> Objective:
        """Return the objective of another model."""
        return Objective(predict, self.misfit, self.free, self.fixed, self._notify)

    def values_at(self, x: np.ndarray) -> dict[str, float]:
        """Return the free parameters at x, in SI units."""
        return values_at(self.free, x)

    def evaluate(self, x: np.ndarray) -> None:
        """Compute `values` (rows,) and `sensitivity` (rows, free), both in SI units, if they are not there already."""
        if self._point is not None and np.array_equal(x, self._point):
            return
        parameters = self.values_at(x)
        values, sensitivity = self.predict(self.fixed | parameters, self.names)
        self.values, self.sensitivity = np.asarray(values, float), np.asarray(sensitivity, float)
        if not np.all(np.isfinite(self.sensitivity)):
            self.values = np.full(len(self.misfit.rows), math.nan)
        self._point = np.array(x)
        with np.errstate(over="ignore"):
            chi2 = self.misfit.chi2(self.values, parameters)
        if math.isinf(chi2):
            # Beyond what a float holds, which no optimiser can compare: as good as no solution.
            self.values, chi2 = np.full(len(self.misfit.rows), math.nan), math.nan
        self._notify(chi2, parameters)

    def residuals(self, x: np.ndarray) -> np.ndarray:
        """See `Misfit.residuals`."""
        self.evaluate(x)
        return self.misfit.residuals(self.values, self.values_at(x))

    def chi2(self, x: np.ndarray) -> float:
        """Return chi2, NaN where the model has no solution."""
        return float(np.sum(self.residuals(x) ** 2))

    def gain(self, x: np.ndarray, bounds: np.ndarray) -> float:
        """Predict what a Gauss-Newton step lowers chi2 by: the square of the residuals' part within the range of J.

        Parameters that press against a bound (2, free) do not count. Source: Bates and Watts, Technometrics 23, 179
        (1981), the relative offset criterion.
        """
        residuals, jacobian = self.residuals(x), self.jacobian(x)
        gradient = jacobian.T @ residuals
        inner = jacobian[:, ~pressed(x, gradient, bounds)]
        return float(np.sum((inner @ np.linalg.lstsq(inner, residuals, rcond=RANK_CUTOFF)[0]) ** 2))

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        """Return d residuals/d x (residuals, free)."""
        self.evaluate(x)
        return self.misfit.jacobian(self.values, self.sensitivity, self.names) * slopes_at(self.free, x)


def pulls(values: np.ndarray, rows: Sequence[Row], grid_stds: np.ndarray | None = None) -> np.ndarray:
    """Return the pulls of rows with error bars of the grid, see `Misfit.pulls`."""
    return Misfit(rows, grid_stds=grid_stds).pulls(values)


def _differences(values: np.ndarray, rows: Sequence[Row]) -> np.ndarray:
    """Return model - value of each row, of the magnitudes where the polarity is not known (rows,), SI units."""
    measured = np.array([row.value if row.polarity_known else abs(row.value) for row in rows])
    return _signs(values, rows) * values - measured


def _or_zeros(stds: np.ndarray | None, count: int) -> np.ndarray:
    return np.zeros(count) if stds is None else np.asarray(stds, float)


def _signs(values: np.ndarray, rows: Sequence[Row]) -> np.ndarray:
    known = np.array([row.polarity_known for row in rows])
    return np.where(~known & (values < 0), -1.0, 1.0)
