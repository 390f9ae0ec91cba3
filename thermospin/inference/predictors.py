"""Models of data rows: values and exact Jacobian at given parameters, for one device or several, kept in a journal.

A `Predict` is all that fits, profiles and posteriors know of the physics. Those here that are made of others: several
devices with shared and separate parameters, parameters that follow others, a cheap model that is corrected to a dear
one, and one that remembers on disk what it has computed, so that interrupted work goes on where it was.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import functools
import hashlib
import itertools
import json
import math
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from thermospin import solve
from thermospin.base.errors import FileError, InputError, NotConverged
from thermospin.base.files import read_arrays, write_arrays
from thermospin.data.rows import Row
from thermospin.device.device import OF, Device, Tie
from thermospin.model import Model, Progress, build
from thermospin.parallel import tasks
from thermospin.signals import evaluate as signals
from thermospin.signals.diagnosis import value_faults
from thermospin.signals.ladders import Ladder
from thermospin.signals.results import Evaluation

#: Relative residual of the solves in a fit: signals are right to its square, derivatives to itself.
RESIDUAL = 1e-7
#: A preconditioner is built anew when a decade of the residual takes so many times the iterations that it began with.
AGED = 1.3
#: A cheap model is corrected by a factor, where it is off by less than this factor.
SIMILAR = 2.0


class Predict(Protocol):
    """Model values of the data rows and their exact derivatives.

    `parameters` holds every number of the model by name, in SI units; `names` are those to differentiate by. Returns
    the values (rows,) [V/A^n] and the Jacobian (rows, names); values are NaN where the model has no solution.
    """

    def __call__(self, parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Values and Jacobian."""
        ...


class Predictor:
    """The signals of a model as a `Predict`; each call starts from the fields of the last one.

    Where there is no solution (values outside the model, or a solve that does not converge) values are NaN; on the
    first call, unless it is lenient, the error is raised instead. The preconditioner, which belongs to some values of
    the parameters, is built anew for others when it has become too slow for them, or a solve fails. Dimensions move the
    grid lines, always from where they were at first, see `Model.moved`; where faces would meet or pass each other the
    grid is made anew, with about as many cells.

    Attributes:
      fields: of the last call that had a solution, for the next one or for `signals.measure`.
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
        self._model, self._tolerance, self._progress, self._lenient = model, tolerance, progress, lenient
        self._solver = solver
        self._unmoved = model
        self._wanted = tuple((row.experiment, row.signal) for row in rows)
        self._young = math.nan  # iterations per decade when the preconditioner was new
        self._remade: tuple[dict[str, float], int] | None = None  # dimensions and cells of a grid made anew
        self._grids: dict[str, Any] = {}  # the last one that was moved, which forks share
        self.fields: Any = None
        self._start: Any = None

    def fork(self, solver: solve.Solver | None) -> Predictor:
        """Return an independent copy with the present model and fields, lenient, whose solves `solver` answers."""
        other = copy.copy(self)
        other._lenient, other._solver = True, solver
        return other

    @property
    def model(self) -> Model:
        """The model of the last call, whose grid has moved with the dimensions."""
        return self._model

    def __call__(self, parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Values and Jacobian."""
        nothing = np.full(len(self._wanted), math.nan), np.full((len(self._wanted), len(names)), math.nan)
        if self._known and value_faults(self._model.device, parameters):
            return nothing
        if not self._moved(parameters):
            return nothing
        found = self._evaluate(parameters, names)
        if found is None:
            return nothing
        self.fields = self._start = found.fields
        now = found.iterations_per_decade
        if now > AGED * self._young and self._model.outdated(parameters):
            self._refresh(parameters, f"{now:.1f} iterations a decade where it began with {self._young:.1f}")
        elif math.isnan(self._young):
            self._young = now
        return found.values, found.jacobian

    @property
    def parts(self) -> tuple[Predictor, ...]:
        """Itself, as the one part of `Journal.keep`."""
        return (self,)

    @property
    def _known(self) -> bool:
        """True if the model had a solution before: a failure is then one of the values."""
        return self._lenient or self.fields is not None

    def _moved(self, parameters: Mapping[str, float]) -> bool:
        """Moves the grid to the dimensions asked for; whether there is a device with these."""
        wanted = {name: float(parameters.get(name, value)) for name, value in self._unmoved.device.lengths().items()}
        if wanted != self._model.device.lengths():
            before = self._model.disc.nodes_V, self._model.disc.nodes_T
            try:
                device = self._unmoved.device.moved(wanted)
                try:
                    self._model = self._moved_model(wanted)
                except ValueError:
                    if self._progress is not None:
                        self._progress(f"{device.name}: faces pass each other, the grid is made anew")
                    self._remake(device, self._unmoved.cells)
            except ValueError:
                if not self._known:
                    raise
                return False
            if before != (self._model.disc.nodes_V, self._model.disc.nodes_T):
                self._start = None
            self._young = math.nan
        return True

    def _moved_model(self, lengths: Mapping[str, float]) -> Model:
        """That of the last move, if it is the same: sets of parameters often share their dimensions."""
        asked = self._unmoved, lengths
        if self._grids.get("asked") != asked:
            self._grids |= {"asked": asked, "model": self._unmoved.moved(lengths)}
        return self._grids["model"]

    def _remake(self, device: Device, cells: int) -> None:
        before, self._remade = self._unmoved, (device.lengths(), cells)
        made = build(device, cells=cells, order=before.grid.order)
        self._model = self._unmoved = made.sharded(before.shards, before.members)

    def state(self) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Return all that the next call depends on: numbers that JSON can hold, and the fields that it starts from."""
        ladders = [] if self._start is None else [(name, each) for name, each in self._start.items()]
        vectors = [vector for _, each in ladders for ladder in each for vector in (*ladder.u, *ladder.l)]
        return {
            "remade": self._remade,
            "lengths": self._model.device.lengths(),
            "built_for": dict(self._model.built_for),
            "young": self._young,
            "ladders": [(name, [[len(ladder.u), len(ladder.l)] for ladder in each]) for name, each in ladders],
        }, [np.asarray(vector) for vector in vectors]

    def restore(self, numbers: Mapping[str, Any], vectors: Sequence[np.ndarray]) -> None:
        """Goes on where another one, made in the same way, was; `numbers` and `vectors` are its state."""
        if numbers["remade"] is not None:
            lengths, cells = numbers["remade"]
            self._remake(self._unmoved.device.moved(lengths), cells)
        if numbers["lengths"] != self._model.device.lengths():
            self._model = self._moved_model(numbers["lengths"])
        if numbers["built_for"] != self._model.built_for:
            self._model = self._model.refreshed(numbers["built_for"])
        self._young = numbers["young"]
        rest = iter(vectors)

        def some(count: int) -> tuple[Any, ...]:
            return tuple(jnp.asarray(each) for each in itertools.islice(rest, count))

        found = {name: tuple(Ladder(some(n), some(m)) for n, m in each) for name, each in numbers["ladders"]}
        self.fields = self._start = found or None

    def _evaluate(self, parameters: Mapping[str, float], names: Sequence[str]) -> Evaluation | None:
        """None if a solve fails, with a new preconditioner too."""
        for last in (not self._model.outdated(parameters), True):
            try:
                return signals.evaluate(
                    self._model,
                    parameters,
                    self._wanted,
                    tuple(names),
                    start=self._start,
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
            self._progress(f"{self._model.device.name}: building the preconditioner anew, {why}")
        self._model = self._model.refreshed(parameters)
        self._young = math.nan


def corrected(cheap: Predict, low: np.ndarray, high: np.ndarray) -> Predict:
    """A cheap model times high/low, its values and those of the dear one at the start, where they are that similar.

    The dear model then begins next to its own minimum: one linear model of the other's error, as in space mapping
    (Bandler et al., IEEE Trans. Microw. Theory Tech. 42, 2536 (1994)).
    """
    ratio = np.divide(high, low, out=np.ones_like(high), where=low != 0)
    ratio = np.where((ratio > 1 / SIMILAR) & (ratio < SIMILAR), ratio, 1.0)

    def predict(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        values, jacobian = cheap(parameters, names)
        return ratio * values, ratio[:, None] * jacobian

    return predict


def tied(predict: Predict, ties: Sequence[Tie]) -> Predict:
    """The same model with parameters that follow others; d/d source takes those that follow it along."""
    if not ties:
        return predict

    def followed(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        parameters = dict(parameters) | {tie.name: tie.factor * parameters[tie.source] for tie in ties}
        along = [tie for tie in ties if tie.source in names]
        values, jacobian = predict(parameters, [*names, *(tie.name for tie in along)])
        own = np.array(jacobian[:, : len(names)])
        for k, tie in enumerate(along, len(names)):
            own[:, list(names).index(tie.source)] += tie.factor * jacobian[:, k]
        return values, own

    return followed


class Joint:
    """Several devices in one: rows of all of them, one parameter for those that share its name.

    A parameter "wide:zeta" is that of the device "wide" alone and goes before "zeta".

    Args:
      parts: for each device its name, its own values, the rows that it predicts (places in the whole), and the model.
      rows: number of rows in all.
    """

    def __init__(self, parts: Sequence[tuple[str, Mapping[str, float], np.ndarray, Predict]], rows: int) -> None:
        self._parts, self._rows = tuple(parts), rows

    def __call__(self, parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Values and Jacobian; all NaN where one of the devices has no solution."""
        values, jacobian = np.full(self._rows, math.nan), np.zeros((self._rows, len(names)))
        for device, own, places, predict in self._parts:
            key = {name: f"{device}{OF}{name}" for name in own}
            known = {name: parameters.get(key[name], parameters.get(name, value)) for name, value in own.items()}
            # Where each asked name acts on this device: under its own name first.
            asked = {name: full for name in own for full in (key[name], name) if full in names}
            asked = {name: key[name] if key[name] in parameters else full for name, full in asked.items()}
            asked = {name: full for name, full in asked.items() if full in names}
            found, slopes = predict(known, list(asked))
            values[places] = found
            for column, full in enumerate(asked.values()):
                jacobian[places, list(names).index(full)] = slopes[:, column]
        if not np.all(np.isfinite(values)):
            return np.full(self._rows, math.nan), np.full(jacobian.shape, math.nan)
        return values, jacobian

    @property
    def fields(self) -> Any:
        """None: fields belong to one device."""
        return None

    @property
    def parts(self) -> tuple[Predictor, ...]:
        """Those of the devices."""
        return tuple(part for _, _, _, part in self._parts if isinstance(part, Predictor))


#: Makes a `Predict` of models: (models, name in journals, what answers its solves).
CopyOf = Callable[[Sequence[Model], str, solve.Solver | None], Predict]


class Copies:
    """A model as often as it is wanted, to be asked side by side: see `parallel.tasks`.

    Each copy begins anew, with fields and preconditioner of its own, so that its answers do not depend on the others.

    Args:
      models: of the devices; those that several devices solve together are shared out among tasks.
      predict: makes one of such models, given its name in journals and what answers its solves.
      most: so many tasks at most.
    """

    def __init__(self, models: Sequence[Model], predict: CopyOf, most: int) -> None:
        self._given, self._predict, self._most = tuple(models), predict, most

    @functools.cached_property
    def _models(self) -> tuple[Model, ...]:
        return tuple(tasks.split_for(each, self._most) for each in self._given)

    @functools.cached_property
    def size(self) -> int:
        """Number of copies that run at a time; 1 if nothing is gained by more."""
        return min(self._most, *(tasks.capacity(each) for each in self._models))

    def of(self, name: str, solver: solve.Solver | None) -> Predict:
        """Return a copy whose solves `solver` answers; one that is asked more than once needs a name in journals."""
        return self._predict(self._models, name, solver)


class Journal:
    """What a model has computed, on disk, one line of JSON each: the same question is answered from there.

    A fit asks the same questions in the same order when it is run again, so that one that was stopped, at whatever
    moment, goes on with the first question that it had no answer to. Lines are only ever added, each with a checksum;
    one that was not written to its end is dropped, and nothing before it is touched.

    Args:
      path: of the file; made if it does not exist.
      problem: text that identifies device, grid, data and program; a journal of another problem is refused.
    Raises:
      ValueError: the file is no journal, or that of another problem, or a line of it is damaged.
      OSError: it cannot be read or written.
    """

    def __init__(self, path: Path, problem: str) -> None:
        self._path, self._lock = path, threading.Lock()
        self._known: dict[str, Any] = {}
        self._problem = _digest(problem)
        first = {"thermospin journal": self._problem}
        try:
            lines = path.read_bytes().split(b"\n") if path.exists() else []
        except OSError as error:
            raise FileError(f"{path}: cannot be read: {error.strerror}") from None
        whole, torn = lines[:-1], lines[-1:] and lines[-1]
        entries = [_entry(line) for line in whole]
        begun = torn and not entries and json.dumps(first).encode().startswith(torn)
        if entries and entries[0] != first or (torn and not entries and not begun):
            other = bool(entries) and isinstance(entries[0], dict) and list(entries[0]) == list(first)
            found = "that of another device, grid, data or version" if other else "a file of another kind"
            raise InputError(f"{path}: got {found}, expected the journal of this fit; give another file, or remove it")
        for number, entry in enumerate(entries[1:], 2):
            sound = isinstance(entry, dict) and {"key", "values", "jacobian", "sum"} <= set(entry)
            if not sound or entry["sum"] != _checksum(entry):
                raise InputError(
                    f"{path}, line {number}: is damaged; take that line out to lose one evaluation, or the file to "
                    "begin anew"
                )
            self._known[entry["key"]] = entry
        if torn and _first_process():
            with _told(path):
                os.truncate(path, sum(len(line) + 1 for line in whole))
        if not entries:
            self._append(first)

    def __len__(self) -> int:
        return len(self._known)

    def keep(self, predict: Predict, label: str, parts: Sequence[Predictor] = ()) -> Predict:
        """The same model, whose answers are kept; `label` tells those of one model from those of another.

        What the next answer of its `parts` depends on is kept, too, in a folder beside the journal: a run that goes on
        then has every bit of one that was not stopped. Without that folder it goes on from other starts, and its
        answers are right to the solver's tolerance.
        """
        place = self._path.with_name(f"{self._path.name}.fields") / f"{_digest(label)[:16]}.npz"
        state = State(place, self._problem, parts)
        fresh = bool(parts)

        def remembered(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
            nonlocal fresh
            known = self.answer(label, parameters, names)
            if known is None and fresh:
                fresh = False
                # A run that was stopped between the two files has the last answer, this one, in the state alone.
                left = state.restore({*self._known, _key(label, parameters, names)})
                if left is not None and left["key"] not in self._known:
                    known = self._add(left)
            if known is not None:
                return known
            entry = _entry_of(label, parameters, names, predict(parameters, names))
            if parts:
                state.keep(entry)
            return self._add(entry)

        return remembered

    def answer(
        self, label: str, parameters: Mapping[str, float], names: Sequence[str] = ()
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Values and Jacobian, if they are known."""
        known = self._known.get(_key(label, parameters, names))
        return None if known is None else _arrays(known)

    def add(
        self,
        label: str,
        parameters: Mapping[str, float],
        names: Sequence[str],
        answer: tuple[np.ndarray, np.ndarray],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Writes an answer down; returns it as it will be read again."""
        return self._add(_entry_of(label, parameters, names, answer))

    def _add(self, entry: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        self._append(entry | {"sum": _checksum(entry)})
        self._known[entry["key"]] = entry
        return _arrays(entry)

    def _append(self, entry: Mapping[str, Any]) -> None:
        if not _first_process():
            return
        line = (json.dumps(entry) + "\n").encode()
        with self._lock, _told(self._path), self._path.open("ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                # What was there before stays as it was.
                os.truncate(self._path, end)
                raise


class State:
    """What the next answer of predictors depends on, in a file that is replaced as a whole after every answer.

    Args:
      path: of the file; its folder is made when it is needed.
      problem: what the answers belong to; the state of another one is no use.
      parts: whose state it is.
    """

    def __init__(self, path: Path, problem: str, parts: Sequence[Predictor]) -> None:
        self._path, self._problem, self._parts = path, problem, tuple(parts)

    def keep(self, entry: Mapping[str, Any]) -> None:
        """Writes the state after this answer, and the answer."""
        if not _first_process():
            return
        states = [part.state() for part in self._parts]
        sizes = [(numbers, len(each)) for numbers, each in states]
        head = {"problem": self._problem, "entry": entry, "states": sizes}
        with _told(self._path):
            self._path.parent.mkdir(exist_ok=True)
            write_arrays(self._path, head, [vector for _, each in states for vector in each])

    def restore(self, after: Collection[str]) -> dict[str, Any] | None:
        """Gives the parts their state; returns the answer that it was written after.

        None if there is no sound file of this problem that was written after one of these questions: of a journal that
        was removed, the state may still be there.
        """
        try:
            for left in self._path.parent.glob(f".{self._path.name}.*.part"):  # of a run that was killed
                left.unlink()
            head, arrays = read_arrays(self._path)
        except (OSError, ValueError):
            return None
        vectors = iter(arrays)
        if head["problem"] != self._problem or head["entry"]["key"] not in after:
            return None
        for part, (numbers, count) in zip(self._parts, head["states"], strict=True):
            part.restore(numbers, list(itertools.islice(vectors, count)))
        return head["entry"]


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Name the file in errors of writing it, and say that it can be resumed."""
    try:
        yield
    except OSError as error:
        why = error.strerror or getattr(error.__cause__, "strerror", None) or error
        raise FileError(f"{path}: cannot be written: {why}; what it has is kept, run again to go on") from None


def _first_process() -> bool:
    """Return True if this process writes: all that solve together come to the same answers."""
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _key(label: str, parameters: Mapping[str, float], names: Sequence[str]) -> str:
    return _digest(json.dumps([label, sorted(parameters.items()), list(names)]))


def _entry_of(
    label: str,
    parameters: Mapping[str, float],
    names: Sequence[str],
    answer: tuple[np.ndarray, np.ndarray],
) -> dict[str, Any]:
    values, jacobian = (np.asarray(each).tolist() for each in answer)
    return {"key": _key(label, parameters, names), "values": values, "jacobian": jacobian}


def _arrays(entry: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    values, jacobian = (np.array(entry[name], float) for name in ("values", "jacobian"))
    return values, jacobian.reshape(len(values), jacobian.size // max(len(values), 1))


def _checksum(entry: Mapping[str, Any]) -> str:
    parts = [entry["key"], entry["values"], entry["jacobian"]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _entry(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
