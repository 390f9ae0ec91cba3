"""Predictors made of others: several devices, corrected low orders, and copies."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from thermospin import solve
from thermospin.device.device import Device
from thermospin.inference.predictors import Predict, Predictor
from thermospin.inference.sharing import names_in_fit
from thermospin.model import Model
from thermospin.parallel import tasks

#: A low-order model is corrected by a factor, where it is off by less than this factor.
SIMILAR = 2.0


def corrected(low_order: Predict, low: np.ndarray, high: np.ndarray) -> Predict:
    """Return a low-order model that agrees with better values at a place: a factor each, or a term where they differ.

    The better model then has its minimum close by, as in space mapping.
    Source: Bandler et al., IEEE Trans. Microw. Theory Tech. 42, 2536 (1994).
    """
    ratio = np.divide(high, low, out=np.ones_like(high), where=low != 0)
    ratio = np.where((ratio > 1 / SIMILAR) & (ratio < SIMILAR), ratio, 1.0)
    term = np.where(ratio == 1.0, high - low, 0.0)

    def predict(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        values, jacobian = low_order(parameters, names)
        return ratio * values + term, ratio[:, None] * jacobian

    return predict


class Joint:
    """Several devices in one: rows of all of them; which of the parameters are a device's, see `names_in_fit`.

    Args:
      parts: of each device: itself, the places of its rows in the whole, and its model.
      rows: number of rows in all.
    """

    def __init__(self, parts: Sequence[tuple[Device, np.ndarray, Predict]], rows: int) -> None:
        self._parts, self._rows = tuple(parts), rows

    def __call__(self, parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return values and Jacobian; all NaN where one of the devices has no solution."""
        values, jacobian = np.full(self._rows, math.nan), np.zeros((self._rows, len(names)))
        for device, places, predict in self._parts:
            in_fit = names_in_fit(device, parameters)
            known = device.numbers() | {name: parameters[full] for name, full in in_fit.items()}
            asked = {name: full for name, full in in_fit.items() if full in names}
            values[places], slopes = predict(known, list(asked))
            for column, full in enumerate(asked.values()):
                jacobian[places, list(names).index(full)] = slopes[:, column]
        if np.any(np.isnan(values)):
            return np.full(self._rows, math.nan), np.full(jacobian.shape, math.nan)
        return values, jacobian

    def unresolved(self, parameters: Mapping[str, float], names: Sequence[str] = ()) -> tuple[np.ndarray, np.ndarray]:
        """Return `Predictor.unresolved` of all rows."""
        parts = [(*rest, predict.unresolved) for *rest, predict in self._parts if isinstance(predict, Predictor)]
        return Joint(parts, self._rows)(parameters, names)  # type: ignore[arg-type]

    @property
    def fields(self) -> Any:
        """None: fields belong to one device."""
        return None

    @property
    def parts(self) -> tuple[Predictor, ...]:
        """Predictors of the devices."""
        return tuple(predict for *_, predict in self._parts if isinstance(predict, Predictor))


#: Makes a predictor of models: (models, name in journals, solver).
CopyOf = Callable[[Sequence[Model], str, solve.Solver | None], Predict]


class Copies:
    """Copies of a predictor for tasks that run concurrently, see `parallel.tasks`.

    Each copy has separate fields and a separate preconditioner, so that its answers do not depend on the others.

    Args:
      models: of the devices; accelerators that share a solve are distributed among tasks.
      predict: makes a copy.
      most: largest number of tasks.
    """

    def __init__(self, models: Sequence[Model], predict: CopyOf, most: int) -> None:
        self._given, self._predict, self._most = tuple(models), predict, most

    @functools.cached_property
    def _models(self) -> tuple[Model, ...]:
        return tuple(tasks.split_for(model, self._most) for model in self._given)

    @functools.cached_property
    def size(self) -> int:
        """Number of copies that run concurrently; 1 if more gain nothing."""
        return min(self._most, *(tasks.capacity(model) for model in self._models))

    def of(self, name: str, solver: solve.Solver | None) -> Predict:
        """Return a copy whose solves `solver` answers; one that is asked more than once needs a name in journals."""
        # One that runs alone has all accelerators, as the models were given.
        return self._predict(self._given if self.size == 1 else self._models, name, solver)
