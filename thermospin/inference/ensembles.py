"""Many parameter sets of one device: signals of each, kept as they come, on any number of accelerators and processes.

Sets are independent. They are solved concurrently, distributed along the second axis of the mesh (`parallel.tasks`), or
on a single CPU sequentially, each from the fields of the one before: give them in an order in which neighbours are
alike. Processes share the sets, too, and need not communicate.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thermospin import solve
from thermospin.base import units
from thermospin.base.errors import InputError
from thermospin.base.frames import frame, optional
from thermospin.base.kinds import require_whole
from thermospin.base.names import SignalName, nearest, unknown
from thermospin.data.rows import Row
from thermospin.data.sheets import records, with_points
from thermospin.data.tables import read_lines
from thermospin.data.text import DataError
from thermospin.device.device import Device
from thermospin.inference.combinators import corrected
from thermospin.inference.journal import Journal, named
from thermospin.inference.orders import WORKING, Answers, Orders
from thermospin.inference.predictors import Predict, Predictor
from thermospin.model import Model, Progress
from thermospin.parallel import tasks
from thermospin.quantities import kind_of, unit_of
from thermospin.signals.diagnosis import value_faults
from thermospin.signals.evaluate import require_signals

#: Names in journals: of the members, and of what they are corrected by.
LABEL, BEST = "ensemble", "best estimates"


@dataclasses.dataclass(frozen=True, eq=False)
class Member:
    """A parameter set and its signals.

    Attributes:
      number: of its row, from 1.
      parameters: values that differ from those of the device, SI.
      values: SI units, in the order of the wanted signals; NaN where there is no solution.
    """

    number: int
    parameters: Mapping[str, float]
    values: np.ndarray


class Ensemble(Iterator[Member]):
    """Members in their order, as they are computed.

    Attributes:
      device: whose values stand where a set has none.
      names: parameters that sets give, in the order of the first sets that do.
      wanted: signals of the members.
    """

    def __init__(
        self,
        device: Device,
        sets: Sequence[Mapping[str, float]],
        wanted: Sequence[tuple[str, str]],
        members: Iterator[Member],
    ) -> None:
        self.device, self.wanted, self._members = device, tuple(wanted), members
        self.names = tuple(dict.fromkeys(name for values in sets for name in values))

    def __next__(self) -> Member:
        return next(self._members)

    def __repr__(self) -> str:
        return (
            f"Ensemble({self.device.name}: {', '.join(self.names)}; {len(self.wanted)} signals, computed as asked for)"
        )

    def to_dataframe(self) -> Any:
        """Compute all members that are left, and return a pandas DataFrame with a row for each.

        Columns: set, one for each parameter, and one for each signal ("thermal R2.spin"), NaN where there is no
        solution; SI units, by column in `attrs["units"]`.

        Raises:
          InputError: pandas is not installed.
          NotConverged: the best estimates at the values of the device itself.
        """
        optional("pandas", "to_dataframe")  # before the work, not after it
        members, numbers = list(self), self.device.numbers()
        columns: dict[str, list[float]] = {"set": [member.number for member in members]}
        columns |= {
            name: [float(member.parameters.get(name, numbers[name])) for member in members] for name in self.names
        }
        signals = [SignalName.parse(*pair) for pair in self.wanted]
        columns |= {str(name): [float(member.values[k]) for member in members] for k, name in enumerate(signals)}
        units = {name: unit_of(name) for name in self.names}
        units |= {str(name): self.device.experiments[name.experiment].unit(name.harmonic) for name in signals}
        return frame(columns, units)


class SetError(InputError):
    """Parameter sets that cannot be used, with all their faults, one line each."""


def read(path: str | Path, device: Device) -> list[dict[str, float]]:
    """Read parameter sets from a table: a column for each parameter or dimension, a row for each set.

    Numbers are in SI units; text has a unit, such as "-3.8 uV/K". Empty cells are values of the device, rows
    without any are passed over. Files are as for signals, see `data.rows`.

    Raises:
      SetError: with all faults of the file.
    """
    try:
        lines = records(read_lines(Path(path), percent=True))
    except DataError as error:
        raise SetError(error.faults) from None
    if len(lines) < 2:
        raise SetError(f"{path}: got {len(lines)} lines, expected a header of parameter names and at least one set")
    known = device.numbers()
    names = lines[0][1]
    faults = [f"{path}: column '{name}' is no parameter; {nearest(name, known)}" for name in names if name not in known]
    faults += [
        f"{path}: column '{name}' is there more than once" for name in dict.fromkeys(names) if names.count(name) > 1
    ]
    faults += [
        f"{path}: set {number} has {len(cells)} cells, expected {len(names)}"
        for number, (_, cells) in enumerate(lines[1:], 1)
        if len(cells) != len(names)
    ]
    rows = [(n, dict(zip(names, cells, strict=False))) for n, cells in lines[1:]]
    of_signs: list[str] = []
    rows = with_points(rows, (), of_signs)
    faults += [f"{path}: {fault}" for fault in of_signs]
    sets: list[dict[str, float]] = []
    for number, (_, row) in enumerate(rows, 1):
        values: dict[str, float] = {}
        for name, cell in row.items():
            if not cell:
                continue
            try:
                values[name] = _value(cell, kind_of(name))
            except units.UnitError as why:
                faults.append(f"{path}: set {number}, {name}: {why}")
        sets.append(values)
    if faults:
        raise SetError("\n".join(faults))
    return sets


def _value(text: str, kind: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return units.parse(text, kind)
    return units.parse(number, kind)


def why_none(device: Device, given: Mapping[str, float]) -> str:
    """Say why a set has no solution: what is wrong with the device or its values, "" if nothing shows without a solve.

    Args:
      device: of the ensemble.
      given: values of the set, SI.
    """
    try:
        moved = device.moved({name: value for name, value in given.items() if name in device.dimensions})
    except InputError as error:
        return str(error).splitlines()[0]
    return next(iter(value_faults(moved, {**moved.numbers(), **given})), "")


def wanted_of(device: Device, harmonics: int = 2) -> list[tuple[str, str]]:
    """List all signals of all experiments up to a harmonic."""
    out = []
    for name, experiment in device.experiments.items():
        for number in range(1, harmonics + 1):
            out += [(name, f"R{number}.{part}") for part in experiment.parts]
    return out


def run(
    model: Model,
    sets: Sequence[Mapping[str, float | str]],
    wanted: Sequence[tuple[str, str] | str] | None = None,
    *,
    part: tuple[int, int] = (1, 1),
    at_once: int | None = None,
    journal: str | Path | None = None,
    progress: Progress | None = None,
) -> Ensemble:
    """Return the signals of parameter sets, in their order, as they are computed.

    On a model of order 3 they are best estimates: values of order 2 times a factor for each signal, found at the values
    of the device itself (`inference.orders`). Below, they are the values of the grid. A set in which faces pass each
    other has a grid of its own, for which these factors are a guess: build a model of that device where it matters.

    Args:
      model: of the device, on accelerators: `Model.sharded(shards, members)`. Dimensions move its grid.
      sets: values that differ from those of the device, by name: SI units, or text with a unit such as "-3.8 uV/K".
      wanted: signals such as "thermal R2.spin", or ("thermal", "R2.spin"); None: R1 and R2 of all experiments.
      part: (k, n): every n-th set from the k-th on, for one of n processes; of the others those that the journal has.
      at_once: sets that each group of accelerators solves in one batch; None: see `parallel.tasks.capacity`.
      journal: file that keeps every member, from which a run that was stopped resumes.
      progress: callback for messages.
    Raises:
      InputError: a name that does not exist, a value without its unit, a part that is none, no set at once; a journal
        of another problem, when the first member is asked for.
    """
    part = _read_part(part)
    if at_once is not None:
        at_once = require_whole("at_once", at_once, 1)
    values, signals = _read_sets(sets, model.device), _read_signals(wanted, model.device)
    members = _members(model, values, signals, part, at_once, journal, progress)
    return Ensemble(model.device, values, signals, members)


def _read_part(part: tuple[int, int]) -> tuple[int, int]:
    """Return one of n parts, (k, n)."""
    if not isinstance(part, tuple | list) or len(part) != 2:
        raise InputError(f"part: got {part!r}, expected a pair of whole numbers (k, n), k from 1 to n")
    n = require_whole("part: n", part[1], 1)
    return require_whole("part: k", part[0], 1, n), n


def _read_sets(sets: Sequence[Mapping[str, float | str]], device: Device) -> list[dict[str, float]]:
    """Return parameter sets in SI units."""
    if isinstance(sets, Mapping):
        raise SetError("sets: got one mapping, expected a list of them, such as [{'zeta': 1.0}, {'zeta': 2.0}]")
    known, faults = device.numbers(), []
    out: list[dict[str, float]] = []
    for number, given in enumerate(sets, 1):
        faults += unknown(f"set {number}", given, known, "parameter")
        out.append({})
        for name, value in given.items():
            plain = np.asarray(value).item() if np.ndim(value) == 0 else value  # a JAX scalar is no `numbers.Real`
            try:
                if name in known:
                    out[-1][name] = units.parse(plain, kind_of(name))
            except units.UnitError as why:
                faults.append(f"set {number}, {name}: {why}")
    if faults:
        raise SetError("\n".join(faults))
    return out


def _read_signals(wanted: Sequence[tuple[str, str] | str] | None, device: Device) -> list[tuple[str, str]]:
    """Return signals as pairs of experiment and signal."""
    if wanted is None:
        return wanted_of(device)
    names = SignalName.each(wanted)
    require_signals(device, names)
    return [(name.experiment, name.signal) for name in names]


def _members(
    model: Model,
    sets: Sequence[Mapping[str, float]],
    wanted: Sequence[tuple[str, str]],
    part: tuple[int, int],
    at_once: int | None,
    journal: str | Path | None,
    progress: Progress | None,
) -> Iterator[Member]:
    k, n = part
    lines, estimated = [line.tolist() for line in model.grid.lines], model.grid.order > WORKING
    asked = (model.device, lines, model.grid.order, list(wanted), *([BEST] if estimated else []))
    kept = None if journal is None else Journal(Path(journal), repr(asked))  # refused before any solve
    numbers = model.device.numbers()
    rows = [Row(experiment, signal, 0.0, 1.0) for experiment, signal in wanted]
    low = high = np.ones(len(rows))
    if estimated:
        orders = Orders(Answers((model,), tuple(rows), (), (), None, progress))
        (model,), estimates = orders.models, functools.partial(_estimates, orders, model.device.name, progress)
        low, high = np.split((estimates if kept is None else kept.keep(estimates, BEST))(numbers, ())[0], 2)
    mine = [(number, dict(values)) for number, values in enumerate(sets, 1)][k - 1 :: n]
    size = min(model.members * at_once if at_once else tasks.capacity(model), max(len(mine), 1))
    # Not the residual of fits: without derivatives there is no adjoint that makes R2 right to its square.
    bare = Predictor(model, rows, solve.TOLERANCE, progress, lenient=True, independent=True)

    def keeping(predict: Predictor, parts: Sequence[Predictor] = ()) -> Predict:
        return predict if kept is None else kept.keep(predict, LABEL, parts)

    in_turn = keeping(bare, bare.parts)

    def member(place: int, solver: solve.Solver | None) -> Member:
        number, given = mine[place]
        if progress is not None:
            progress(f"set {place + 1} of {len(mine)}")
        # In turn each starts from the fields of the one before; in a batch none knows of the others.
        predict = in_turn if size == 1 else keeping(bare.fork(solver))
        return Member(number, given, corrected(predict, low, high)(numbers | given, ())[0])

    computed = tasks.run_batched((functools.partial(member, place) for place in range(len(mine))), size)
    for number, values in enumerate(sets, 1):
        given = dict(values)
        if number % n == k % n:
            yield next(computed)
        elif kept is not None and (known := kept.answer(LABEL, numbers | given)) is not None:
            yield Member(number, given, corrected(lambda *_, known=known: known, low, high)(numbers | given, ())[0])


def _estimates(
    orders: Orders, name: str, progress: Progress | None, parameters: Mapping[str, float], names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return values of the working order and then best estimates (2 rows,), with no derivatives."""
    if progress is not None:
        progress(f"{name}: best estimates at its own values")
    at = orders.at(parameters, names)
    assert at is not None
    both = np.concatenate([at.values[orders.working - 1], at.best])
    return both, np.zeros((len(both), 0))


def write(
    path: str | Path,
    device: Device,
    sets: Sequence[Mapping[str, float]],
    wanted: Sequence[tuple[str, str]],
    members: Iterator[Member],
) -> list[int]:
    """Write a row for each member as it comes: its number, its parameters and its signals, SI units.

    Args:
      path: of the CSV file. It is opened once the first member is there: a run that is refused overwrites nothing.
      device: whose values stand where a set has none.
      sets: all sets, whose names are the columns.
      wanted: signals of the members.
      members: from `run`.
    Returns:
      numbers of the sets without a solution, whose cells are empty.
    Raises:
      OSError: the file cannot be written; the message gives its name and the reason.
    """
    names = list(dict.fromkeys(name for values in sets for name in values))
    numbers, missing = device.numbers(), []
    first = next(members, None)
    with named(Path(path)), Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["set", *names, *(" ".join(pair) for pair in wanted)])
        for member in itertools.chain([] if first is None else [first], members):
            values = [f"{float(value)!r}" if value == value else "" for value in member.values]
            missing += [member.number] if "" in values else []
            given = [repr(float(member.parameters.get(name, numbers[name]))) for name in names]
            writer.writerow([member.number, *given, *values])
            file.flush()
    return missing
