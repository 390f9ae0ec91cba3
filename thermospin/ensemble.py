"""Many parameter sets of one device: signals of each, kept as they come, on as many devices and processes as there are.

Sets are independent. Those that differ in parameters alone are solved side by side in one program, shared out along the
second axis of the mesh; those with other dimensions have a grid of their own and are solved one after another, each
from the fields of the one before: give them in an order in which neighbours are alike. Processes share out sets, too,
and need not talk.
"""

from __future__ import annotations

import copy
import csv
import dataclasses
import io
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from thermospin import signals, solve, units
from thermospin.data import Row
from thermospin.device import Device
from thermospin.diagnosis import value_faults
from thermospin.harmonics import readings
from thermospin.materials import KEYS, key_of, nearest
from thermospin.model import Model, Progress
from thermospin.predictors import Journal, Predictor
from thermospin.solve import MEMBERS

#: Bytes per unknown that a further set in a program takes: 515 to 690 were measured (temporaries of compiled programs).
PER_SET = 800
#: Part of the free memory that sets side by side may take.
SHARE = 0.5
#: More sets side by side than this gain nothing.
MOST = 16
#: A program for sets side by side is compiled where there are so many times as many of them.
WORTH = 2
#: Of ensembles in journals.
LABEL = "ensemble"


@dataclasses.dataclass(frozen=True)
class Member:
    """A parameter set and its signals.

    Attributes:
      number: of its row, from 1.
      parameters: what differs from the device's own values, SI.
      values: [V/A^n] in the order of the wanted signals; NaN where there is no solution.
    """

    number: int
    parameters: Mapping[str, float]
    values: np.ndarray


class SetError(ValueError):
    """Parameter sets that cannot be used, with all their faults, one line each."""


def read(path: str | Path, device: Device) -> list[dict[str, float]]:
    """Parameter sets of a CSV file: a column for each parameter or dimension, a row for each set.

    Numbers are in SI units; text has a unit, such as "-3.8 uV/K". Empty cells are the device's own values.

    Raises:
      SetError: with all faults of the file.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SetError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    lines = [line for line in csv.reader(io.StringIO(text)) if line and not line[0].lstrip().startswith("#")]
    if len(lines) < 2:
        raise SetError(f"{path}: got {len(lines)} lines, expected a header of parameter names and at least one set")
    known = device.numbers()
    names = [name.strip() for name in lines[0]]
    found = [f"{path}: column '{name}' is no parameter; {nearest(name, known)}" for name in names if name not in known]
    found += [
        f"{path}: column '{name}' is there more than once" for name in dict.fromkeys(names) if names.count(name) > 1
    ]
    sets: list[dict[str, float]] = []
    for number, line in enumerate(lines[1:], 1):
        own: dict[str, float] = {}
        if len(line) != len(names):
            found.append(f"{path}: set {number} has {len(line)} cells, expected {len(names)}")
            continue
        for name, cell in zip(names, line, strict=True):
            if not cell.strip():
                continue
            kind = (
                "number"
                if name == "zeta"
                else "length"
                if key_of(name) == "length"
                else KEYS.get(key_of(name), "number")
            )
            try:
                own[name] = _value(cell.strip(), kind)
            except units.UnitError as why:
                found.append(f"{path}: set {number}, {name}: {why}")
        sets.append(own)
    if found:
        raise SetError("\n".join(found))
    return sets


def _value(text: str, kind: str) -> float:
    try:
        return float(text)
    except ValueError:
        return units.parse(text, kind)


def wanted_of(device: Device, harmonics: int = 2) -> list[tuple[str, str]]:
    """All signals of all experiments up to a harmonic."""
    out = []
    for name, experiment in device.experiments.items():
        for number in range(1, harmonics + 1):
            rows = np.zeros((len(experiment.states), harmonics))
            out += [(name, f"R{number}.{part}") for part in readings(experiment, rows, number)]
    return out


class Batch:
    """Signals of several parameter sets at once: one program, in which they are solved side by side.

    The sets are shared out along the members of the model's mesh; devices of a member split each solve. Every set
    stands still when it has converged, so that its values do not depend on the others.

    Args:
      model: of the device; dimensions stay.
      wanted: signals such as ("thermal", "R2.spin").
      names: of the parameters that differ.
      tolerance: bound on the relative residual of each solve.
    """

    def __init__(
        self, model: Model, wanted: Sequence[tuple[str, str]], names: Sequence[str], tolerance: float = solve.TOLERANCE
    ) -> None:
        self._wanted, self._names, self._tolerance = tuple(wanted), tuple(names), tolerance
        needed = {name: each for name, each in model.device.experiments.items() if name in dict(wanted)}
        model = dataclasses.replace(model, device=dataclasses.replace(model.device, experiments=needed))
        held = model.disc, model.systems, model.ports
        self._arrays, static = eqx.partition(held, eqx.is_array)
        harmonics = max(int(signal[1]) for _, signal in wanted)

        def run(arrays: Any, table: Array) -> Array:
            disc, systems, ports = eqx.combine(arrays, static)
            same = dataclasses.replace(model, disc=disc, systems=systems, ports=ports)

            def one(values: Array) -> Array:
                given = dict(zip(self._names, values, strict=True))
                found = signals.predict(same, given, harmonics=harmonics, tolerance=tolerance)
                pairs = [(name, *signal.partition(".")[::2]) for name, signal in wanted]
                return jnp.stack([found[name][harmonic][part] for name, harmonic, part in pairs])

            along = MEMBERS if model.members > 1 else None
            return jax.vmap(one, spmd_axis_name=along)(table)

        self._run = jax.jit(run)

    def on(self, model: Model) -> Batch:
        """The same on a grid that has moved: the program that is compiled already, if all arrays kept their shapes."""
        arrays, _ = eqx.partition((model.disc, model.systems, model.ports), eqx.is_array)

        def form(tree: Any) -> Any:
            return jax.tree.structure(tree), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]

        if form(arrays) != form(self._arrays):
            return Batch(model, self._wanted, self._names, self._tolerance)
        moved = copy.copy(self)
        moved._arrays = arrays
        return moved

    def __call__(self, table: np.ndarray) -> np.ndarray:
        """Values (sets, wanted) of parameters (sets, names); NaN where a solve did not converge."""
        return np.asarray(self._run(self._arrays, jnp.asarray(table, float)))


def fitting(model: Model) -> int:
    """How many sets at once each group of devices has memory for, at most `MOST`.

    One on a lone CPU, which gains less from it than starts from the fields before save.
    """
    own = jax.local_devices()
    if own[0].platform == "cpu" and model.members == 1:
        return 1
    stats = own[0].memory_stats() if own[0].platform != "cpu" else None
    if stats:
        free = stats["bytes_limit"] - stats["bytes_in_use"]
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // len(own)
    return int(np.clip(SHARE * free * model.devices / (PER_SET * model.unknowns), 1, MOST))


def run(
    model: Model,
    sets: Sequence[Mapping[str, float]],
    wanted: Sequence[tuple[str, str]],
    *,
    part: tuple[int, int] = (1, 1),
    at_once: int | None = None,
    journal: str | Path | None = None,
    progress: Progress | None = None,
) -> Iterator[Member]:
    """The signals of parameter sets, in their order, as they are found.

    Neighbours with the same dimensions are solved side by side, others one after another, each from the fields of the
    one before.

    Args:
      model: of the device, on its devices: `Model.on_devices(devices, members)`. Dimensions move its grid.
      sets: values that differ from the device's own, by name, SI.
      wanted: signals such as ("thermal", "R2.spin").
      part: (k, n): every n-th set from the k-th on, for one of n processes.
      at_once: sets that each group of devices solves side by side; None: see `fitting`, where there are enough of
        them to be worth a program of their own.
      journal: file that keeps what was found, from which a run that was stopped goes on.
      progress: is told what goes on.
    Raises:
      ValueError: a part that is none; a journal of another problem.
    """
    k, n = part
    if not 1 <= k <= n:
        raise ValueError(f"part: got {k}/{n}, expected one of 1/{n} to {n}/{n}")
    lines = [line.tolist() for line in model.grid.lines]
    asked = repr((model.device, lines, model.grid.order, list(wanted)))
    kept = None if journal is None else Journal(Path(journal), asked)
    own, lengths = model.device.numbers(), model.device.lengths()
    names = [name for name in dict.fromkeys(name for each in sets for name in each) if name not in lengths]
    rows = [Row(experiment, signal, 0.0, 1.0) for experiment, signal in wanted]
    # Not the residual of fits: without derivatives there is no adjoint that makes R2 right to its square.
    alone = Predictor(model, rows, solve.TOLERANCE, progress, lenient=True)
    predict = alone if kept is None else kept.keep(alone, LABEL, alone.parts)
    batch: Batch | None = None
    done = 0

    def told(count: int = 1) -> None:
        if progress is not None:
            last = f" to {done + count}" if count > 1 else ""
            progress(f"sets {done + 1}{last} of {len(mine)}")

    mine = [(number, dict(each)) for number, each in enumerate(sets, 1)][k - 1 :: n]
    for moved, group in itertools.groupby(
        mine, lambda each: {name: each[1].get(name, lengths[name]) for name in lengths}
    ):
        members = [(number, given, own | given) for number, given in group]
        known = {} if kept is None else {number: kept.answer(LABEL, full) for number, _, full in members}
        values = {number: answer[0] for number, answer in known.items() if answer is not None}
        waiting = {
            number: full for number, _, full in members if number not in values and not value_faults(model.device, full)
        }
        size = model.members * (at_once or fitting(model))
        if at_once is None and model.members == 1 and len(waiting) < WORTH * size:
            size = 1
        here = False
        for number, given, full in members:
            if number in waiting and size > 1:
                if not here:
                    there = model if moved == lengths else model.moved(moved)
                    batch = Batch(there, wanted, names) if batch is None else batch.on(there)
                    here = True
                assert batch is not None
                chosen = list(itertools.islice(waiting, size))
                told(len(chosen))
                table = [[waiting[each][name] for name in names] for each in chosen]
                found = batch(np.array(table + table[-1:] * (size - len(chosen))))
                for each, row in zip(chosen, found, strict=False):
                    parameters = waiting.pop(each)
                    if not np.all(np.isfinite(row)):
                        continue  # alone it gets a preconditioner of its own
                    values[each] = row
                    if kept is not None:
                        kept.add(LABEL, parameters, (), (row, np.zeros((len(row), 0))))
            if number not in values:
                told()
                values[number] = predict(full, ())[0]
            done += 1
            yield Member(number, given, values[number])
