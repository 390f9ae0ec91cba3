"""Rows of a fit as best estimates: what the orders of the elements lead to, and lower orders corrected to it.

Derivatives of order 3 cost more than its values are worth. So a fit varies a model of order 1, then one of order 2,
both corrected to the best estimates of `accuracy.error_bars`, and looks at order 3 at the start and at the end alone.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from thermospin.accuracy import error_bars
from thermospin.data.rows import Row
from thermospin.device.device import Tie
from thermospin.inference import grid_errors
from thermospin.inference.combinators import Copies, Joint, corrected
from thermospin.inference.journal import Journal
from thermospin.inference.predictors import RESIDUAL, Predict, Predictor
from thermospin.inference.sharing import Follower, following
from thermospin.model import Model, Progress
from thermospin.solve import Solver

#: Highest order that a fit differentiates.
WORKING = 2


@dataclasses.dataclass(frozen=True)
class Answers:
    """Predictors of the rows of a fit on any models of its devices.

    Attributes:
      models: of the devices, in the same order.
      rows: of all of them.
      ties: parameters that follow others by a factor.
      followers: values that follow others at every bath.
      journal: that keeps evaluations, None for none.
      progress: callback for messages.
    """

    models: tuple[Model, ...]
    rows: tuple[Row, ...]
    ties: tuple[Tie, ...]
    followers: tuple[Follower, ...]
    journal: Journal | None
    progress: Progress | None

    @property
    def order(self) -> int:
        """Order of the elements of the models."""
        return self.models[0].grid.order

    def predictor(
        self, models: Sequence[Model], lenient: bool = False, solver: Solver | None = None
    ) -> Predictor | Joint:
        """Return a predictor of all rows, without ties and journal."""
        lenient = lenient or (self.journal is not None and len(self.journal) > 0)

        def of_device(model: Model, rows: Sequence[Row]) -> Predictor:
            return Predictor(model, rows, RESIDUAL, self.progress, lenient=lenient, solver=solver)

        if len(models) == 1:
            return of_device(models[0], self.rows)
        parts = []
        for model in models:
            places = np.flatnonzero([row.device == model.device.name for row in self.rows])
            rows = [self.rows[place] for place in places]
            parts.append((model.device, places, of_device(model, rows)))
        return Joint(parts, len(self.rows))

    def tied(self, predict: Predict) -> Predict:
        """Return a predictor with all that follows others."""
        linear = [Follower(tie.name, tie.name, tie.source, (), tie.factor) for tie in self.ties]
        return following(following(predict, self.followers), linear)

    def kept(self, bare: Predictor | Joint, order: int, name: str | None = None) -> Predict:
        """Return a predictor with ties and journal.

        Args:
          name: in the journal, of one of several copies; "" for one that is asked only once.
        """
        whole = self.tied(bare)
        label = f"order {order}, {name}" if name else f"order {order}"
        return whole if self.journal is None else self.journal.keep(whole, label, () if name == "" else bare.parts)

    def copy(self, models: Sequence[Model], name: str, solver: Solver | None) -> Predict:
        """Return a copy for a task that runs concurrently; see `Copies`."""
        return self.kept(self.predictor(models, True, solver), models[0].grid.order, name)


@dataclasses.dataclass(frozen=True, eq=False)
class AtOrders:
    """The rows of a fit at some parameters, SI units.

    Attributes:
      values: at the orders 1, 2, ... (orders, rows).
      best: best estimates (rows,).
      stds: their error bars (rows,).
      correlation: of the errors (rows, rows).
    """

    values: np.ndarray
    best: np.ndarray
    stds: np.ndarray
    correlation: np.ndarray


class Orders:
    """The models of a fit at every order on the same grid lines.

    Args:
      answers: of the devices' own models.
      exact: whether these models are taken for exact: there are no others then, and nothing is corrected.
    Attributes:
      working: the order of the last stage of a fit, which is differentiated.
      last: predictor of the order of the models, without ties and journal.
    """

    def __init__(self, answers: Answers, *, exact: bool = False) -> None:
        self._answers, self._exact = answers, exact
        companions = [] if exact else list(zip(*map(error_bars.models_at_other_orders, answers.models), strict=True))
        self._models = {members[0].grid.order: members for members in (answers.models, *companions)}
        self.working = answers.order if exact else min(answers.order, WORKING)
        self._staged = sorted({min(self._models), self.working})
        bare = {order: answers.predictor(members) for order, members in self._models.items()}
        self.last = bare[answers.order]
        self.predictors = {order: answers.kept(bare[order], order) for order in sorted(bare)}
        edges = [model.device.weakest_edges(model.grid) for model in answers.models]
        devices = [model.device for model in answers.models]
        self._parts = grid_errors.Components.of(devices, answers.rows)
        self._exponents = [min(edge.exponent(row.harmonic) for edge in edges) for row in self._parts.rows]
        self._families = grid_errors.families(devices, answers.rows)
        moved = [None if exact else error_bars.on_other_lines(model) for model in answers.models]
        self._elsewhere = (
            answers.predictor(
                [other[0] if other else model for other, model in zip(moved, answers.models, strict=True)]
            )
            if any(moved)
            else None
        )
        self._understated = max((factor for _, factor in filter(None, moved)), default=1.0)

    def at(self, parameters: Mapping[str, float], names: Sequence[str] = ()) -> AtOrders | None:
        """Return values, best estimates and error bars at some parameters; None where models are taken for exact.

        Args:
          parameters: every number of the models.
          names: by which the derivatives of the working order are wanted soon.
        """
        if self._exact:
            return None
        # Side by side, the longest first: most of the time is compilation, which is hardly parallel. On several devices
        # in turn: messages must be sent in one order.
        sharded = any(model.shards > 1 for model in self._answers.models)
        with ThreadPoolExecutor(1 if sharded else 2) as pool:
            running = {
                order: pool.submit(self.predictors[order], parameters, names if order == self.working else ())
                for order in sorted(self.predictors, reverse=True)
            }
        values, order = np.array([running[order].result()[0] for order in sorted(running)]), self._answers.order
        rows, parts = self._answers.rows, self._parts
        of_parts = values @ parts.split.T
        sequences = list(zip(of_parts.T.tolist(), self._exponents, strict=True))
        unresolved = np.zeros(len(sequences))
        if any(error_bars.counts_unresolved(order, exponent) for _, exponent in sequences):
            for predictor, solved in zip(self._resolution.parts, self.last.parts, strict=True):
                predictor.restore(solved.state())  # the first rungs are known
            unresolved, _ = self._answers.tied(self._resolution.unresolved)(parameters, ())
        estimates = [
            error_bars.estimate(sequence, order, exponent, size, spin=row.name.part == "spin")
            for (sequence, exponent), size, row in zip(sequences, unresolved.tolist(), parts.rows, strict=True)
        ]
        likely = np.array([estimate.value for estimate in estimates])
        stds = np.array([estimate.error for estimate in estimates])
        if self._elsewhere is not None:
            there = self._answers.tied(self._elsewhere)(parameters, ())[0]
            stds = stds + error_bars.CUT * self._understated * np.abs(parts.split @ (there - values[order - 1]))
        shared = grid_errors.common(parts.families, likely, likely - of_parts[order - 1])
        best = parts.whole @ likely
        size, correlation = grid_errors.of_rows(rows, parts, stds, shared, best)
        return AtOrders(values, best, size * grid_errors.scales(rows, self._families, best), correlation)

    @functools.cached_property
    def _resolution(self) -> Predictor | Joint:
        """The components on the models themselves, which are asked what of them is unresolved."""
        return dataclasses.replace(self._answers, rows=self._parts.rows, journal=None).predictor(self._answers.models)

    @property
    def estimated(self) -> bool:
        """True if best estimates are others than the values of the last stage, which move with the parameters."""
        return self.working < self._answers.order

    @property
    def models(self) -> tuple[Model, ...]:
        """The models of the devices at the working order."""
        return tuple(self._models[self.working])

    def stages(self, at: AtOrders | None) -> list[Predict]:
        """Return the models of the stages of a fit, the cheap one first, corrected to the best estimates at a place."""
        return [_corrected(self.predictors[order], order, at) for order in self._staged]

    def copies(self, stage: int, at: AtOrders | None, most: int) -> Copies:
        """Return copies of the model of a stage, -1 for the last, for at most so many concurrent tasks."""
        order = self._staged[stage]

        def copy(members: Sequence[Model], name: str, solver: Solver | None) -> Predict:
            return _corrected(self._answers.copy(members, name, solver), order, at)

        return Copies(self._models[order], copy, most)

    def predict_on(self, models: Sequence[Model], at: AtOrders | None) -> Predict:
        """Return the model of the last stage on other grids."""
        return _corrected(self._answers.tied(self._answers.predictor(models)), self.working, at)


def _corrected(predict: Predict, order: int, at: AtOrders | None) -> Predict:
    return predict if at is None else corrected(predict, at.values[order - 1], at.best)
