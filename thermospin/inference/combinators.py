"""Predictors made of others: several devices, parameters that follow others, corrected low orders, and copies."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from thermospin import solve
from thermospin.device.device import OF, Tie
from thermospin.inference.predictors import Predict, Predictor
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


def tied(predict: Predict, ties: Sequence[Tie]) -> Predict:
    """Return a model with parameters that follow others; d/d source includes those that follow it, d/d these is 0."""
    if not ties:
        return predict
    own = {tie.name for tie in ties}

    def followed(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        parameters = dict(parameters) | {tie.name: tie.factor * parameters[tie.source] for tie in ties}
        along = [tie for tie in ties if tie.source in names]
        # The values of those that follow are not looked at, so that they are asked for along their sources alone.
        plain = [name for name in names if name not in own]
        values, jacobian = predict(parameters, [*plain, *(tie.name for tie in along)])
        total = np.zeros((len(values), len(names)))
        total[:, [list(names).index(name) for name in plain]] = jacobian[:, : len(plain)]
        for k, tie in enumerate(along, len(plain)):
            total[:, list(names).index(tie.source)] += tie.factor * jacobian[:, k]
        return values, total

    return followed


class Joint:
    """Several devices in one: rows of all of them, one parameter for those that share its name.

    A parameter "wide:zeta" belongs to the device "wide" and takes precedence over "77K:zeta" of all devices at a bath,
    that over "zeta".

    Args:
      parts: for each device its name, its values, the places of its rows in the whole, and its model.
      rows: number of rows in all.
      groups: for each device the name of what else it shares values with, such as "77K"; None: nothing.
    """

    def __init__(
        self,
        parts: Sequence[tuple[str, Mapping[str, float], np.ndarray, Predict]],
        rows: int,
        groups: Sequence[str] | None = None,
    ) -> None:
        self._parts, self._rows = tuple(parts), rows
        self._groups = tuple(groups or ("",) * len(self._parts))

    def __call__(self, parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return values and Jacobian; all NaN where one of the devices has no solution."""
        values, jacobian = np.full(self._rows, math.nan), np.zeros((self._rows, len(names)))
        for (device, numbers, places, predict), group in zip(self._parts, self._groups, strict=True):
            known, asked = dict(numbers), dict[str, str]()
            for name in numbers:
                forms = (f"{device}{OF}{name}", f"{group}{OF}{name}", name)
                full = next((form for form in forms if form in parameters), None)
                if full is not None:
                    known[name] = parameters[full]
                full = full or next((form for form in forms if form in names), "")
                if full in names:
                    asked[name] = full
            values[places], slopes = predict(known, list(asked))
            for column, full in enumerate(asked.values()):
                jacobian[places, list(names).index(full)] = slopes[:, column]
        if np.any(np.isnan(values)):
            return np.full(self._rows, math.nan), np.full(jacobian.shape, math.nan)
        return values, jacobian

    def unresolved(self, parameters: Mapping[str, float], names: Sequence[str] = ()) -> tuple[np.ndarray, np.ndarray]:
        """Return `Predictor.unresolved` of all rows."""
        parts = [(*rest, predict.unresolved) for *rest, predict in self._parts if isinstance(predict, Predictor)]
        return Joint(parts, self._rows, self._groups)(parameters, names)  # type: ignore[arg-type]

    @property
    def fields(self) -> Any:
        """None: fields belong to one device."""
        return None

    @property
    def parts(self) -> tuple[Predictor, ...]:
        """Predictors of the devices."""
        return tuple(part for _, _, _, part in self._parts if isinstance(part, Predictor))


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
