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
from thermospin.base.errors import NotConverged
from thermospin.data.rows import Row
from thermospin.device.device import Device
from thermospin.model import GridOptions, Model, Progress
from thermospin.signals import evaluate as signals
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
    the values (rows,) [V/A^n] and the Jacobian (rows, names); values are NaN where the model has no solution.
    """

    def __call__(self, parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return values and Jacobian."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class _State:
    """The state of a predictor: everything that its next answer depends on, besides the question.

    Attributes:
      model: of the last call, whose grid has moved with the dimensions.
      origin: the model from which grids move.
      rebuilt: dimensions and cells of the origin, where it is not the first one.
      pace: iterations per decade when the preconditioner was new; NaN if it is.
      start: fields that the next solves start from; None where the grid has other nodes than those.
    """

    model: Model
    origin: Model
    rebuilt: tuple[dict[str, float], int] | None = None
    pace: float = math.nan
    start: Mapping[str, tuple[Ladder, ...]] | None = None

    def packed(self) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Return numbers that JSON can hold, and the fields."""
        ladders = [] if self.start is None else list(self.start.items())
        vectors = [vector for _, states in ladders for ladder in states for vector in (*ladder.u, *ladder.l)]
        return {
            "remade": self.rebuilt,
            "lengths": self.model.device.lengths(),
            "built_for": dict(self.model.built_for),
            "young": self.pace,
            "ladders": [(name, [[len(ladder.u), len(ladder.l)] for ladder in states]) for name, states in ladders],
        }, [np.asarray(vector) for vector in vectors]


def _ladders(
    sizes: Sequence[tuple[str, Sequence[tuple[int, int]]]], vectors: Sequence[np.ndarray]
) -> dict[str, tuple[Ladder, ...]]:
    """Return the ladders that `_State.packed` took apart."""
    rest = iter(vectors)

    def some(count: int) -> tuple[Any, ...]:
        return tuple(jnp.asarray(vector) for vector in itertools.islice(rest, count))

    return {name: tuple(Ladder(some(n), some(m)) for n, m in states) for name, states in sizes}


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
      solver: answers solve requests, see `solve.solve`.

    Attributes:
      fields: of the last call that had a solution.
    """

    def __init__(
        self,
        model: Model,
        rows: Sequence[Row],
        tolerance: float = solve.TOLERANCE,
        progress: Progress | None = None,
        *,
        lenient: bool = False,
        solver: solve.Solver | None = None,
    ) -> None:
        self._rows, self._tolerance, self._progress, self._lenient = tuple(rows), tolerance, progress, lenient
        self._solver = solver
        self._wanted = tuple((row.experiment, row.signal) for row in rows)
        self._state = _State(model, model)
        self._grids = _MovedGrids()
        self.fields: Mapping[str, tuple[Ladder, ...]] | None = None

    def fork(self, solver: solve.Solver | None) -> Predictor:
        """Return an independent copy with the present state, lenient, whose solves `solver` answers."""
        other = Predictor(self._state.model, self._rows, self._tolerance, self._progress, lenient=True, solver=solver)
        # States are never changed, only replaced; the moved grid is shared on purpose.
        other._state, other._grids, other.fields = self._state, self._grids, self.fields
        return other

    @property
    def model(self) -> Model:
        """The model of the last call, whose grid has moved with the dimensions."""
        return self._state.model

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
        self.fields = evaluation.fields
        self._replace(start=evaluation.fields)
        pace, first = evaluation.iterations_per_decade, self._state.pace
        if pace > AGED * first and self.model.outdated(parameters):
            self._refresh(parameters, f"{pace:.1f} iterations a decade where it began with {first:.1f}")
        elif math.isnan(first):
            self._replace(pace=pace)
        return evaluation.values, evaluation.jacobian

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
        before = self.model.disc
        try:
            device = origin.device.moved(lengths)
            try:
                self._replace(model=self._grids.at(origin, lengths))
            except ValueError:
                if self._progress is not None:
                    self._progress(f"{device.name}: faces pass each other, the grid is rebuilt")
                self._rebuild(device, origin.cells)
        except ValueError:
            if not self._known:
                raise
            return False
        after = self.model.disc
        if (before.nodes_V, before.nodes_T) != (after.nodes_V, after.nodes_T):
            self._replace(start=None)
        self._replace(pace=math.nan)
        return True

    def _rebuild(self, device: Device, cells: int) -> None:
        origin = self._state.origin
        made = GridOptions(cells, origin.grid.order).build(device).sharded(origin.shards, origin.members)
        self._replace(model=made, origin=made, rebuilt=(device.lengths(), cells))

    def state(self) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Return all that the next call depends on: numbers that JSON can hold, and the fields that it starts from."""
        return self._state.packed()

    def restore(self, numbers: Mapping[str, Any], vectors: Sequence[np.ndarray]) -> None:
        """Resume where another predictor, made in the same way, was; `numbers` and `vectors` are its state."""
        if numbers["remade"] is not None:
            lengths, cells = numbers["remade"]
            self._rebuild(self._state.origin.device.moved(lengths), cells)
        if numbers["lengths"] != self.model.device.lengths():
            self._replace(model=self._grids.at(self._state.origin, numbers["lengths"]))
        if numbers["built_for"] != self.model.built_for:
            self._replace(model=self.model.refreshed(numbers["built_for"]))
        self.fields = _ladders(numbers["ladders"], vectors) or None
        self._replace(pace=numbers["young"], start=self.fields)

    def _evaluate(self, parameters: Mapping[str, float], names: Sequence[str]) -> Evaluation | None:
        """Return None if a solve fails, with a new preconditioner too."""
        for last in (not self.model.outdated(parameters), True):
            try:
                return signals.evaluate(
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
