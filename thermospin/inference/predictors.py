"""Signals of data rows as functions of parameters: values and exact Jacobian, for fits, profiles and posteriors.

`Predict` is all that inference knows of the physics; `Predictor` is the one that solves. `inference.combinators` makes
others of it, and `inference.journal` keeps its answers on disk.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np

from thermospin import solve
from thermospin.accuracy import surplus
from thermospin.base.errors import NotConverged
from thermospin.base.names import SignalName
from thermospin.data.rows import Row
from thermospin.device.device import Device
from thermospin.model import GridOptions, Model, Progress
from thermospin.signals import evaluate
from thermospin.signals.diagnosis import value_faults
from thermospin.signals.ladders import Ladder
from thermospin.signals.results import Evaluation

#: Relative residual of the solves in a fit: signals are right to its square, derivatives to itself.
RESIDUAL = 1e-7
#: Rebuild the preconditioner once iterations per decade of the residual exceed this multiple of their first value.
AGED = 1.3


@runtime_checkable
class Predict(Protocol):
    """Model values of the data rows and their exact derivatives.

    `parameters` holds every number of the model by name, in SI units; `names` are those to differentiate by. Returns
    the values (rows,), SI units, and the Jacobian (rows, names); values are NaN where the model has no solution.
    """

    def __call__(self, parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return values and Jacobian."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class ResumeState:
    """Everything that the next answer of a predictor depends on, besides the question.

    No field has a default, so that `unpacked` cannot leave out one that is added later.

    Attributes:
      model: of the last call, whose grid has moved with the dimensions.
      origin: the model from which grids move.
      rebuilt: dimensions and cells of the origin; None where it is the first one.
      pace: iterations per decade when the preconditioner was new; NaN if it is.
      fields: of the last call that had a solution; None before there is one.
      same_nodes: whether the grid has the nodes of these fields, so that the next solves start from them.
    """

    model: Model
    origin: Model
    rebuilt: tuple[dict[str, float], int] | None
    pace: float
    fields: Mapping[str, tuple[Ladder, ...]] | None
    same_nodes: bool

    @classmethod
    def first(cls, model: Model) -> ResumeState:
        """Return the state before the first call."""
        return cls(model, model, rebuilt=None, pace=math.nan, fields=None, same_nodes=True)

    @property
    def start(self) -> Mapping[str, tuple[Ladder, ...]] | None:
        """Fields that the next solves start from."""
        return self.fields if self.same_nodes else None

    def on_new_grid(self, device: Device, cells: int) -> ResumeState:
        """Return the state with the grid rebuilt for other dimensions."""
        grid = GridOptions(cells, self.origin.grid.order).build(device)
        model = grid.sharded(self.origin.shards, self.origin.members)
        return dataclasses.replace(self, model=model, origin=model, rebuilt=(device.lengths(), cells))

    def packed(self) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Return numbers that JSON can hold, and the fields as vectors; see `unpacked`."""
        ladders = [] if self.fields is None else list(self.fields.items())
        vectors = [vector for _, states in ladders for ladder in states for vector in (*ladder.u, *ladder.l)]
        # Keys are those of files that were written before.
        return {
            "remade": self.rebuilt,
            "lengths": self.model.device.lengths(),
            "built_for": dict(self.model.built_for),
            "young": self.pace,
            "ladders": [(name, [[len(ladder.u), len(ladder.l)] for ladder in states]) for name, states in ladders],
            "same_nodes": self.same_nodes,
        }, [np.asarray(vector) for vector in vectors]

    def unpacked(self, numbers: Mapping[str, Any], vectors: Sequence[np.ndarray]) -> ResumeState:
        """Return the state that `packed` took apart, of a predictor made in the same way as the one of this state."""
        at = self
        if numbers["remade"] is not None:
            lengths, cells = numbers["remade"]
            at = self.on_new_grid(self.origin.device.moved(lengths), cells)
        model = at.model
        if numbers["lengths"] != model.device.lengths():
            model = at.origin.moved(numbers["lengths"])
        if numbers["built_for"] != model.built_for:
            model = model.refreshed(numbers["built_for"])
        rest = iter(vectors)

        def some(count: int) -> tuple[Any, ...]:
            return tuple(jnp.asarray(vector) for vector in itertools.islice(rest, count))

        fields = {name: tuple(Ladder(some(n), some(m)) for n, m in states) for name, states in numbers["ladders"]}
        return ResumeState(
            model=model,
            origin=at.origin,
            rebuilt=at.rebuilt,
            pace=numbers["young"],
            fields=fields or None,
            # Files of before have no fields where the grid does not have their nodes.
            same_nodes=numbers.get("same_nodes", True),
        )


class _MovedGrids:
    """The last model whose grid was moved, kept because sets of parameters often share their dimensions."""

    def __init__(self) -> None:
        self._last: tuple[Model, Mapping[str, float], Model] | None = None

    def at(self, origin: Model, lengths: Mapping[str, float]) -> Model:
        """Return a model with other dimensions; see `Model.moved`."""
        if self._last is None or self._last[0] is not origin or self._last[1] != lengths:
            self._last = origin, dict(lengths), origin.moved(lengths)
        return self._last[2]


class Predictor:
    """The signals of a model as a `Predict`; each call starts from the fields of the last one.

    Where there is no solution (values outside the model, or a solve that does not converge) values are NaN; on the
    first call, unless it is lenient, the error is raised instead. The preconditioner, which belongs to some values of
    the parameters, is rebuilt for others when it has become too slow for them, or a solve fails. Dimensions move the
    grid lines, always from where they were at first, see `Model.moved`; where faces would meet or pass each other the
    grid is rebuilt, with about as many cells.

    Args:
      model: that is solved.
      rows: the signals.
      tolerance: bound on the relative residual of each solve.
      progress: callback for messages.
      lenient: whether a failure of the first call too is one of the values.
      independent: whether grids always move from that of `model` where they can, so that values do not depend, beyond
        the tolerance, on earlier calls. Fits do not want that: values would jump where faces begin to pass each other.
      solver: answers solve requests, see `solve.solve`.
    """

    def __init__(
        self,
        model: Model,
        rows: Sequence[Row],
        tolerance: float = solve.TOLERANCE,
        progress: Progress | None = None,
        *,
        lenient: bool = False,
        independent: bool = False,
        solver: solve.Solver | None = None,
    ) -> None:
        self._rows, self._tolerance, self._progress, self._lenient = tuple(rows), tolerance, progress, lenient
        self._independent, self._solver = independent, solver
        self._wanted = tuple((row.experiment, row.signal) for row in rows)
        self._first = self._state = ResumeState.first(model)
        self._grids = _MovedGrids()

    def fork(self, solver: solve.Solver | None) -> Predictor:
        """Return an independent copy with the present state, lenient, whose solves `solver` answers."""
        other = Predictor(
            self._first.model,
            self._rows,
            self._tolerance,
            self._progress,
            lenient=True,
            independent=self._independent,
            solver=solver,
        )
        # Both have the same state until one of them replaces it: states never change.
        other.restore(self.state())
        # The last moved grid stays common to both, for copies are often asked for the same dimensions.
        other._grids = self._grids
        return other

    @property
    def model(self) -> Model:
        """The model of the last call, whose grid has moved with the dimensions."""
        return self._state.model

    @property
    def fields(self) -> Mapping[str, tuple[Ladder, ...]] | None:
        """Fields of the last call that had a solution."""
        return self._state.fields

    def __call__(self, parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return values and Jacobian."""
        nothing = np.full(len(self._wanted), math.nan), np.full((len(self._wanted), len(names)), math.nan)
        if self._known and value_faults(self.model.device, parameters):
            return nothing
        if not self._move(parameters):
            return nothing
        evaluation = self._evaluate(parameters, names)
        if evaluation is None:
            return nothing
        self._replace(fields=evaluation.fields, same_nodes=True)
        pace, first = evaluation.iterations_per_decade, self._state.pace
        if pace > AGED * first and self.model.outdated(parameters):
            self._refresh(parameters, f"{pace:.1f} iterations a decade where it began with {first:.1f}")
        elif math.isnan(first):
            self._replace(pace=pace)
        return evaluation.values, evaluation.jacobian

    def unresolved(self, parameters: Mapping[str, float], names: Sequence[str] = ()) -> tuple[np.ndarray, np.ndarray]:
        """Return how much of the signals the grid does not resolve, as a `Predict` of values alone.

        See `accuracy.surplus`. Infinite where there is no solution.
        """
        nothing = np.full(len(self._wanted), math.inf), np.zeros((len(self._wanted), len(names)))
        if not self._move(parameters):
            return nothing
        signals = [SignalName.parse(*pair) for pair in self._wanted]
        try:
            sizes = surplus.unresolved(self.model, signals, parameters, start=self._state.start, solver=self._solver)
        except NotConverged:
            return nothing
        return sizes, nothing[1]

    @property
    def parts(self) -> tuple[Predictor, ...]:
        """Itself, as the one part of `Journal.keep`."""
        return (self,)

    @property
    def _known(self) -> bool:
        """True if the model had a solution before: a failure is then one of the values."""
        return self._lenient or self.fields is not None

    def _replace(self, **changes: Any) -> None:
        self._state = dataclasses.replace(self._state, **changes)

    def _move(self, parameters: Mapping[str, float]) -> bool:
        """Move the grid to the dimensions asked for; return whether there is a device with these."""
        origin = self._state.origin
        lengths = {name: float(parameters.get(name, value)) for name, value in origin.device.lengths().items()}
        if lengths == self.model.device.lengths():
            return True
        if self._independent and self._state.rebuilt is not None:
            self._state = self._first
            return self._move(parameters)
        before = self.model.disc
        try:
            device = origin.device.moved(lengths)
            try:
                self._replace(model=self._grids.at(origin, lengths))
            except ValueError:
                if self._progress is not None:
                    self._progress(f"{device.name}: faces pass each other, the grid is rebuilt")
                self._state = self._state.on_new_grid(device, origin.cells)
        except ValueError:
            if not self._known:
                raise
            return False
        after = self.model.disc
        if (before.nodes_V, before.nodes_T) != (after.nodes_V, after.nodes_T):
            self._replace(same_nodes=False)
        self._replace(pace=math.nan)
        return True

    def state(self) -> ResumeState:
        """Return all that the next call depends on."""
        return self._state

    def restore(self, state: ResumeState) -> None:
        """Resume where another predictor, made in the same way, was."""
        self._state = state

    def _evaluate(self, parameters: Mapping[str, float], names: Sequence[str]) -> Evaluation | None:
        """Return None if a solve fails, with a new preconditioner too."""
        for last in (not self.model.outdated(parameters), True):
            try:
                return evaluate.evaluate(
                    self.model,
                    parameters,
                    self._wanted,
                    tuple(names),
                    start=self._state.start,
                    tolerance=self._tolerance,
                    explain=last and not self._known,
                    solver=self._solver,
                )
            except NotConverged:
                if last and not self._known:
                    raise
            if last:
                break
            self._refresh(parameters, "a solve did not converge")
        return None

    def _refresh(self, parameters: Mapping[str, float], why: str) -> None:
        if self._progress is not None:
            self._progress(f"{self.model.device.name}: rebuilding the preconditioner, {why}")
        self._replace(model=self.model.refreshed(parameters), pace=math.nan)
