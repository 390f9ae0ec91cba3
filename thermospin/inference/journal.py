"""Answers of predictors on disk, so that interrupted work resumes where it was."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from thermospin.base.errors import FileError, InputError
from thermospin.base.files import claim, read_arrays, write_arrays
from thermospin.base.version import __version__
from thermospin.inference.predictors import Predict, Predictor

#: Version of files that do not say theirs.
BEFORE = "0.1.0 or before"
#: What to do about a journal that this run cannot use.
ANOTHER = "give this run another one (a fit by --journal, a design or an ensemble by --out)"


class Journal:
    """Answers of a model on disk, one line of JSON each: the same question is answered from there.

    A fit asks the same questions in the same order when it is run again, so that one that was stopped, at whatever
    moment, resumes with the first question that it had no answer to. Lines are only ever added, each with a checksum;
    one that was not written to its end is dropped, and nothing before it is touched. Other processes are refused while
    it is in use, where the file system has locks.

    Args:
      path: of the file; made if it does not exist.
      problem: text that identifies device, grid and data; a journal of another problem, or of another version of the
        program, is refused.
    Raises:
      InputError: the file is no journal, or that of another problem or version, or a line of it is damaged, or another
        process uses it.
      OSError: it cannot be read or written.
    """

    def __init__(self, path: Path, problem: str) -> None:
        self._path, self._lock = path, threading.Lock()
        self._known: dict[str, Any] = {}
        first = head_of("journal", problem)
        self._first = json.dumps(first)
        self._claim = claim(path, ANOTHER) if first_process() else None
        try:
            lines = path.read_bytes().split(b"\n") if path.exists() else []
        except OSError as error:
            raise FileError(f"{path}: cannot be read: {error.strerror}") from None
        whole, torn = lines[:-1], lines[-1:] and lines[-1]
        entries = [_entry(line) for line in whole]
        begun = torn and not entries and self._first.encode().startswith(torn)
        if entries and entries[0] != first or (torn and not entries and not begun):
            head = entries[0] if entries else None
            raise refusal(path, "journal", head, "that", "another device, grid, data or options", ANOTHER)
        for number, entry in enumerate(entries[1:], 2):
            if entry == first:
                continue  # two processes have made the file, where there are no locks
            sound = isinstance(entry, dict) and {"key", "values", "jacobian", "sum"} <= set(entry)
            if not sound or entry["sum"] != _checksum(entry):
                raise InputError(
                    f"{path}, line {number}: is damaged; take that line out to lose one evaluation, or the file to "
                    "begin anew"
                )
            self._known[entry["key"]] = entry
        if torn and first_process():
            with named(path):
                os.truncate(path, sum(len(line) + 1 for line in whole))
        if not entries:
            self._append(first)

    def __len__(self) -> int:
        return len(self._known)

    def keep(self, predict: Predict, label: str, parts: Sequence[Predictor] = ()) -> Predict:
        """Return the same model, whose answers are kept; `label` distinguishes models.

        The state of its `parts` is kept, too, in a folder next to the journal: a run that resumes then has every bit of
        one that was not stopped. Without that folder it starts from other fields, and its answers are right to the
        solver's tolerance.
        """
        place = self._path.with_name(f"{self._path.name}.fields") / f"{_digest(label)[:16]}.npz"
        state = StateFile(place, self._first, parts, alone=self._claim is not None)
        fresh = bool(parts)

        def remembered(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
            nonlocal fresh
            known = self.answer(label, parameters, names)
            if known is None and fresh:
                fresh = False
                # A run that was stopped between writing the two files has the last answer in the state alone.
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
        """Return values and Jacobian, if they are known."""
        known = self._known.get(_key(label, parameters, names))
        return None if known is None else _arrays(known)

    def _add(self, entry: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        self._append(entry | {"sum": _checksum(entry)})
        self._known[entry["key"]] = entry
        return _arrays(entry)

    def _append(self, entry: Mapping[str, Any]) -> None:
        if not first_process():
            return
        line = (json.dumps(entry) + "\n").encode()
        with self._lock, named(self._path), self._path.open("ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                # Earlier lines stay as they are.
                os.truncate(self._path, end)
                raise


class StateFile:
    """The states of predictors, in a file that is replaced as a whole after every answer.

    Args:
      path: of the file; its folder is made when it is needed.
      problem: text that identifies the problem of the answers, and the program's version.
      parts: the predictors.
      alone: no other process writes it, so that what is left of unfinished files can be removed.
    """

    def __init__(self, path: Path, problem: str, parts: Sequence[Predictor], *, alone: bool = False) -> None:
        self._path, self._problem, self._parts, self._alone = path, problem, tuple(parts), alone

    def keep(self, entry: Mapping[str, Any]) -> None:
        """Write the states after this answer, and the answer."""
        if not first_process():
            return
        states = [predictor.state().packed() for predictor in self._parts]
        sizes = [(numbers, len(vectors)) for numbers, vectors in states]
        head = {"problem": self._problem, "entry": entry, "states": sizes}
        with named(self._path):
            self._path.parent.mkdir(exist_ok=True)
            write_arrays(self._path, head, [vector for _, vectors in states for vector in vectors])

    def restore(self, after: Collection[str]) -> dict[str, Any] | None:
        """Give the predictors their states; return the answer after which they were written.

        None unless the state file is intact, belongs to this problem, and follows one of these questions: a stale state
        may outlive its journal.
        """
        try:
            if self._alone:
                for left in self._path.parent.glob(f".{self._path.name}.*.part"):  # of a run that was killed
                    left.unlink()
            head, arrays = read_arrays(self._path)
        except (OSError, ValueError):
            return None
        vectors = iter(arrays)
        if head["problem"] != self._problem or head["entry"]["key"] not in after:
            return None
        for predictor, (numbers, count) in zip(self._parts, head["states"], strict=True):
            predictor.restore(predictor.state().unpacked(numbers, list(itertools.islice(vectors, count))))
        return head["entry"]


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Name the file in errors of writing it, and say that it can be resumed."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileError) and error.__cause__ is None:
            raise  # it has a name already
        why = error.strerror or getattr(error.__cause__, "strerror", None) or error
        raise FileError(f"{path}: cannot be written: {why}; what it has is kept, run again to resume") from None


def head_of(kind: str, problem: str) -> dict[str, str]:
    """Return the head of a file of answers: what they are of, and the version of the program that gives them.

    Args:
      kind: of file, "journal" or "chains".
      problem: text that identifies what is asked.
    """
    return {f"thermospin {kind}": _digest(problem), "version": __version__}


def refusal(path: Path, kind: str, head: Any, that: str, another: str, remedy: str) -> InputError:
    """Return the error of a file that is of another problem, of another version of the program, or of another kind.

    Args:
      path: of the file.
      kind: of file that is expected, see `head_of`.
      head: of the file.
      that: word for the answers in it.
      another: what they are of, if neither version nor kind is another one.
      remedy: what to do instead.
    """
    got, wanted = f"{that} of {another}", f"the {kind} of this run"
    if not isinstance(head, dict) or f"thermospin {kind}" not in head:
        got = "a file of another kind"
    elif (version := head.get("version", BEFORE)) != __version__:
        got, wanted = f"{that} of version {version}", f"{wanted}, of version {__version__}"
    return InputError(f"{path}: got {got}, expected {wanted}; {remedy}, or remove it")


def first_process() -> bool:
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
    values, jacobian = (np.asarray(array).tolist() for array in answer)
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
