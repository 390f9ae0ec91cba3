"""Raw lock-in sweeps: an experiment file (TOML) says what its tables or QCoDeS databases hold, in what convention.

Nothing is assumed that changes a number: whether currents and voltages are rms or peak values, the phase of each
harmonic and whether its sign means anything have to be stated, unless a preset knows it of every file of its format.
See `FACTORS`.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from thermospin.base import files
from thermospin.base.names import nearest
from thermospin.data import columns, switching
from thermospin.data.columns import FACTORS, HARMONICS, Column
from thermospin.data.databases import read_database
from thermospin.data.formats import FORMATS, Convention, Format
from thermospin.data.sheets import NoColumn, Table, TextForm
from thermospin.data.sweep_files import CURRENT, blocks, joined, name_faults, named_files, names_current, read_columns
from thermospin.data.tables import DATABASES
from thermospin.data.text import DataError
from thermospin.device.device import Device
from thermospin.device.drives import PROBES, drive_of
from thermospin.device.parts import Experiment
from thermospin.device.tables import Integer, Number, Part, Reader, quantity

#: Sweeps with a larger part of points without a number are refused.
MOST_MISSING = 0.5
#: So many files of one entry tell their faults.
MOST_FAULTY = 2
#: Relative difference of currents that are the same.
SAME = 0.01
#: A change of a measured current counts if it is so many times the median second difference, 1.65 standard deviations
#: of Gaussian noise: noise alone changes by that once in a billion.
BEYOND_NOISE = 5.2
#: A larger relative change of the current counts in any case.
NOISIEST = 0.1
#: What R3 and R4 may add at the largest current, relative to R1 and R2, unless the file says otherwise: metals whose
#: resistivity changes by 0.3 % per kelvin, warmed by ten.
NONLINEAR = 0.03
_COLUMN = 'such as { column = "X1 (V)", unit = "V", phase = 0 }'
_CONVENTIONS = ("current_is", "voltage_is")


class _Columns(Part):
    field: Column | None = None
    current: Column | None = None
    V1: Column | None = None
    V2: Column | None = None
    V3: Column | None = None
    sweep: str | None = None


class _Form(Part):
    """Keys that may stand for the whole file and for each of its sweeps."""

    columns: _Columns | None = None
    current_is: Convention | None = None
    voltage_is: Convention | None = None
    format: str | None = None
    header: Annotated[Integer, Field(ge=1)] | None = None
    skip: Annotated[Integer, Field(ge=0)] | None = None
    comment: Annotated[str, Field(min_length=1)] | None = None
    decimal: Literal[".", ","] | None = None
    sheet: str | None = None


class _Sweep(_Form):
    experiment: str
    file: str
    current: Annotated[float, quantity("current")] | None = None
    run: Integer | None = None


class _File(_Form):
    name: str = ""
    note: str = ""
    polarity: Literal["known", "unknown"]
    gain_std: Number = 0.0
    amplifier: str = ""
    nonlinear: Number = NONLINEAR
    sweeps: list[_Sweep]


@dataclasses.dataclass(frozen=True, eq=False)
class Trace:
    """One current, field against voltages, as measured, in SI units.

    Attributes:
      label: file and current, for messages.
      experiment: name of the experiment in the device file.
      current: rms [A].
      field: (points,) [T].
      voltages: rms, in the phase of the harmonic, for each harmonic (points,) [V].
      missing: points that were left out because a number is missing.
      source: file, as the experiment file names it, and run.
      resolutions: smallest distance of two numbers of a harmonic, rms [V]; 0: not known.
    """

    label: str
    experiment: str
    current: float
    field: np.ndarray
    voltages: Mapping[int, np.ndarray]
    missing: int
    source: str
    resolutions: Mapping[int, float] = dataclasses.field(default_factory=dict)


def shipped() -> dict[str, Path]:
    """Experiment files that ship with the program, by name."""
    folder = Path(str(files.shipped("data", "shipped")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


@dataclasses.dataclass(frozen=True)
class Sweeps:
    """The contents of an experiment file.

    Attributes:
      traces: in the order of the file.
      polarity_known: whether the signs of the signals mean anything.
      gain_std: relative standard deviation of the gain, one for all voltages [1].
      nonlinear: standard deviation of what R3 and R4 add at the largest current, relative to R1 and R2 [1].
      amplifier: name; files that name the same one have one gain. Empty: a gain of its own.
    """

    traces: tuple[Trace, ...]
    polarity_known: bool = True
    gain_std: float = 0.0
    nonlinear: float = NONLINEAR
    amplifier: str = ""


def load(path: str | Path, device: Device) -> Sweeps:
    """Return the traces that an experiment file names.

    Args:
      path: of the TOML file, or the name of a shipped one; the files it names are looked for next to it.
      device: whose experiments they belong to.
    Raises:
      DataError: with all faults of all files.
    """
    path = shipped().get(str(path), Path(path))
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        near = [file.name for file in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        near += shipped()
        raise DataError([f"{path}: no such file; {nearest(path.name, near)}"]) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise DataError([f"{path}: not a TOML file that can be read: {error}"]) from None
    reader = Reader()
    faults = reader.faults
    if "polarity" not in raw:
        faults.append(f'polarity: missing, expected "known" or "unknown": {FACTORS}')
    part, _ = reader.read(_File, {"polarity": "known"} | raw, "")
    traces: list[Trace] = []
    if part is not None:
        if not part.sweeps:
            faults.append("sweeps: there is none, expected at least one")
        for number, sweep in enumerate(part.sweeps):
            try:
                traces += _traces(_merged(part, sweep), path.parent, device, f"sweeps[{number}]")
            except DataError as error:
                faults += error.faults
    for key in ("gain_std", "nonlinear") if part is not None else ():
        if not 0 <= getattr(part, key) < 1:
            faults.append(f"{key}: got {getattr(part, key):g}, expected a relative size, at least 0 and below 1")
    faults += _twice(traces)
    if faults or part is None:
        raise DataError(f"{path}: {fault}" for fault in reader.told(faults))
    return Sweeps(tuple(traces), part.polarity == "known", part.gain_std, part.nonlinear, part.amplifier)


@dataclasses.dataclass(frozen=True)
class _Entry:
    """One entry of [[sweeps]], with what stands for the whole file.

    Attributes:
      sweep: the entry, its own keys before those of the file.
      own_columns: whether its columns are its own.
    """

    sweep: _Sweep
    own_columns: bool


def _merged(file: _File, sweep: _Sweep) -> _Entry:
    usual = {key: getattr(file, key) for key in _Form.model_fields if getattr(sweep, key) is None}
    return _Entry(sweep.model_copy(update=usual), sweep.columns is not None)


def _traces(entry: _Entry, folder: Path, device: Device, place: str) -> list[Trace]:
    """Return the traces of one entry; a DataError has its faults."""
    sweep = entry.sweep
    faults: list[str] = []
    experiment = device.experiments.get(sweep.experiment)
    if experiment is None:
        faults.append(f"{place}, experiment: got '{sweep.experiment}'; {nearest(sweep.experiment, device.experiments)}")
    else:
        faults += [f"{place}: {fault}" for fault in no_sweeps_of(experiment)]
    if sweep.format is not None and sweep.format not in FORMATS:
        faults.append(f"{place}, format: got '{sweep.format}'; {nearest(sweep.format, FORMATS)}")
        raise DataError(faults)
    preset = None if sweep.format is None else FORMATS[sweep.format]
    for key in ("header", "skip", "comment") if preset else ():
        if getattr(sweep, key) is not None:
            faults.append(f'{place}, {key}: is for plain tables, and format = "{sweep.format}" knows it; leave one out')
    if sweep.columns is None:
        raise DataError([*faults, f"{place}, columns: missing, here and for the whole file; each is {_COLUMN}"])
    if sweep.current is not None and not sweep.current > 0:
        faults.append(f"{place}, current: got {sweep.current:g} A, expected one above 0, the size of the ac current")
    faults += name_faults(sweep.file, place)
    wanted = _wanted(sweep, preset, place, faults)
    factors = {key: _to_rms(key, sweep, preset, place, faults) for key in _CONVENTIONS}
    if faults:
        raise DataError(faults)
    out: list[Trace] = []
    faulty: list[list[str]] = []
    for path, current in named_files(folder, sweep.file, place, sweep.decimal):
        if current is not None and sweep.current is not None:
            raise DataError([f"{place}, current: stated, and in the name of the file too; expected one of them"])
        stated = sweep.current if current is None else current
        parent = str(Path(sweep.file).parent) if path.parent == (folder / sweep.file).parent else path.parent.name
        above = "" if parent == "." else f"{parent}/"
        try:
            out += _of_file(path, f"{above}{path.name}", stated, wanted, entry, preset, factors)
        except DataError as error:
            # Exports of some programs have one name in many folders.
            faulty.append([fault if fault.startswith(above) else f"{above}{fault}" for fault in error.faults])
    # A key that does not fit is a fault of every file.
    faults += [fault for one in faulty[:MOST_FAULTY] for fault in one]
    if len(faulty) > MOST_FAULTY:
        faults.append(f"{place}: and {len(faulty) - MOST_FAULTY} more files of '{sweep.file}' with faults")
    if faults:
        raise DataError(faults)
    return out


def _wanted(sweep: _Sweep, preset: Format | None, place: str, faults: list[str]) -> dict[str, Column]:
    """Return the columns of an entry by key, with faults of what is stated of them."""
    assert sweep.columns is not None
    wanted = {key: getattr(sweep.columns, key) for key in ("field", "current", *HARMONICS)}
    known = preset.columns if preset else {}
    in_name = names_current(sweep.file)
    for key in ("field", "current") if sweep.current is None and not in_name else ("field",):
        if wanted[key] is None and key in known:
            wanted[key] = Column()
    wanted = {key: column for key, column in wanted.items() if column is not None}
    if "field" not in wanted:
        faults.append(f'{place}, columns.field: missing, expected {{ column = "B (mT)", unit = "mT" }}{_hint(preset)}')
    if not set(HARMONICS) & set(wanted):
        faults.append(f"{place}, columns: no harmonic, expected at least one of {', '.join(HARMONICS)}, {_COLUMN}")
    keys: dict[tuple[str, str | None], str] = {}
    for key, column in wanted.items():
        faults += columns.faults_of(key, column, f"{place}, columns.{key}")
        if column.column is None and column.parameter is None and key not in known:
            faults.append(f"{place}, columns.{key}.column: missing, expected the name of a column{_hint(preset)}")
        if column.file is not None and (preset is None or preset.name != "labone" or key == "field"):
            faults.append(
                f'{place}, columns.{key}.file: only a LabOne export (format = "labone") has the time stamps that join '
                "a column of another file to the field"
            )
        name = (column.column or column.parameter or key, column.file)
        if name in keys:
            faults.append(f"{place}, columns: '{name[0]}' is said to be both {keys[name]} and {key}")
        keys[name] = key
    if sweep.current is None and not in_name and "current" not in wanted:
        faults.append(
            f'{place}, current: missing, expected current = "0.5 mA", or a column for it, or {CURRENT} in the name '
            f'of the file, such as file = "nlsv_I={CURRENT}_run*.dat"'
        )
    return wanted


def _hint(preset: Format | None) -> str:
    return "" if preset is None else f"; {preset.title} does not say: {preset.asks}"


def _to_rms(key: str, sweep: _Sweep, preset: Format | None, place: str, faults: list[str]) -> float:
    """Return what makes numbers rms values; the convention is stated, or the preset knows it."""
    stated = getattr(sweep, key)
    known = getattr(preset, key) if preset else None
    if key == "current_is" and (sweep.current is not None or names_current(sweep.file)):
        known = None  # which is of the column of the format
    if stated is None and known is None:
        faults.append(f'{key}: missing, expected "rms" or "peak"{_hint(preset)}: {FACTORS}')
    elif stated is not None and known is not None and stated != known and preset:
        faults.append(
            f'{place}, {key}: got "{stated}", and {preset.title} has "{known}" ({preset.says}); leave it out, or leave '
            "out format for a file that has been converted"
        )
    return math.sqrt(0.5) if (stated or known) == "peak" else 1.0


def _of_file(
    path: Path,
    name: str,
    stated: float | None,
    wanted: Mapping[str, Column],
    entry: _Entry,
    preset: Format | None,
    factors: Mapping[str, float],
) -> list[Trace]:
    """Return the traces of one file, by its name; `stated` is its current where no column has it [A]."""
    sweep = entry.sweep
    source = name if sweep.run is None else f"{name}, run {sweep.run}"
    try:
        table = _read(path, wanted, sweep, preset)
    except NoColumn as error:
        # A current that is stated needs no column, though other files of the same columns have one.
        if stated is None or entry.own_columns or set(error.by_key) != {"current"}:
            raise
        wanted = {key: column for key, column in wanted.items() if key != "current"}
        table = _read(path, wanted, sweep, preset)
    faults: list[str] = []
    values: dict[str, np.ndarray] = {}
    for key, column in wanted.items():
        if (unit := columns.unit_of(key, column, table.units.get(key), table.place or source, faults)) is None:
            continue
        values[key] = columns.factor(key, column, unit, table.units.get(key)) * table.columns[key]
        faults += columns.out_of_reach(key, column, unit, values[key], source)
    if faults:
        raise DataError(faults)
    if stated is not None:
        stated *= factors["current_is"]
    out: list[Trace] = []
    for where, current in _by_current(values, stated, factors["current_is"], source):
        parts = blocks(values["field"], where, table)
        for k, part in enumerate(parts, 1):
            numbers = np.stack([values[key][part] for key in wanted])
            whole = np.all(np.isfinite(numbers), axis=0)
            label = f"{source}, {1e3 * current:.4g} mA" + (f", block {k}" if len(parts) > 1 else "")
            missing = int(np.sum(~whole))
            if missing > MOST_MISSING * len(whole):
                faults.append(f"{label}: {missing} of {len(whole)} points have no number, at most half may be missing")
                continue
            named = dict(zip(wanted, numbers[:, whole], strict=True))
            voltages = {HARMONICS[n]: factors["voltage_is"] * v for n, v in named.items() if n in HARMONICS}
            faults += [f"{label}: {fault}" for fault in _implausible(named["field"], voltages)]
            out.append(Trace(label, sweep.experiment, current, named["field"], voltages, missing, source))
    if faults:
        raise DataError(faults)
    return _resolved(out)


def _read(path: Path, wanted: Mapping[str, Column], sweep: _Sweep, preset: Format | None) -> Table:
    """Read the columns of one file, and of those that belong to it."""
    assert sweep.columns is not None
    if path.suffix.lower() in DATABASES:
        stated = {"format": sweep.format, "columns.sweep": sweep.columns.sweep, "sheet": sweep.sheet}
        stated |= {f"columns.{key}.parameter": column.parameter for key, column in wanted.items()}
        if of_tables := next((key for key, value in stated.items() if value is not None), None):
            raise DataError([f"{path.name}: {of_tables}: is for tables, and this is a database; leave it out"])
        names = {key: column.column or "" for key, column in wanted.items()}
        return read_database(path, sweep.run, names, {k: c.part for k, c in wanted.items() if c.part is not None})
    if part := next((key for key, column in wanted.items() if column.part is not None), None):
        raise DataError([f"{path.name}: columns.{part}.part: only a database has complex numbers, and this is a table"])
    form = TextForm(
        sweep.header, sweep.skip or 0, "#" if sweep.comment is None else sweep.comment, sweep.decimal, sweep.sheet
    )
    here = {key: column for key, column in wanted.items() if column.file is None}
    table = read_columns(path, here, form, preset, sweep.columns.sweep)
    for file in dict.fromkeys(column.file for column in wanted.values() if column.file is not None):
        other = {key: column for key, column in wanted.items() if column.file == file}
        table = joined(table, read_columns(path.parent / file, other, form, preset, None), path.name, file)
    return table


def no_sweeps_of(experiment: Experiment) -> list[str]:
    """List why lock-in sweeps cannot be of an experiment: they are of a voltage at an ac current, in P and AP."""
    faults = []
    if not experiment.has_spin_part:
        faults.append(f"experiment '{experiment.name}' of the device has not the two states P and AP")
    if experiment.drive == "current" and experiment.probe == "voltage":
        return faults
    rows = "rows of a table (CSV)"
    drive, probe = drive_of(experiment).name, PROBES[experiment.probe]
    if experiment.drive == "current":
        advice = f"convert them, and give R1 in {experiment.unit(1)} and R2 in {experiment.unit(2)} as {rows}"
    else:
        advice = (
            f"what is in phase with a {drive} modulated at f is R1 (first harmonic) times its amplitude, whatever made "
            f"it: divide by that, and give R1 in {experiment.unit(1)} as {rows}"
        )
    faults.append(
        f"experiment '{experiment.name}' of the device is driven by a {drive} and read as a {probe}, and lock-in "
        f"sweeps are of voltages at a current; {advice}"
    )
    return faults


def _resolved(traces: Sequence[Trace]) -> list[Trace]:
    """Return the traces of one file with the resolutions of their columns.

    Two numbers of a trace may be two levels, so that it takes three to tell a distance; with fewer, the resolution is
    that of the other traces. Where no trace tells it, it may be as coarse as the distance of the two.
    """
    own = [{n: _resolution(voltage) for n, voltage in trace.voltages.items()} for trace in traces]
    least = {n: min((part[n] for part in own if part.get(n)), default=0.0) for n in HARMONICS.values()}
    return [
        dataclasses.replace(
            trace, resolutions={n: found or least[n] or _resolution(trace.voltages[n], 2) for n, found in part.items()}
        )
        for trace, part in zip(traces, own, strict=True)
    ]


def _resolution(values: np.ndarray, fewest: int = 3) -> float:
    """Return the smallest distance of two numbers, 0 of fewer different ones than `fewest`."""
    distinct = np.unique(values)
    return float(np.min(np.diff(distinct))) if len(distinct) >= fewest else 0.0


def _by_current(
    values: Mapping[str, np.ndarray], stated: float | None, factor: float, source: str
) -> list[tuple[slice, float]]:
    """Stretches of one current, and its rms value [A]."""
    if "current" not in values:
        assert stated is not None
        return [(slice(0, len(values["field"])), stated)]
    current = factor * values["current"]
    known = np.isfinite(current)
    if not np.any(known):
        raise DataError([f"{source}: the column of the current has no number"])
    # A missing current is that of the point before.
    last = np.maximum.accumulate(np.where(known, np.arange(len(current)), int(np.argmax(known))))
    current = current[last]
    if np.any(current <= 0):
        raise DataError(
            [f"{source}: the column of the current has {np.min(current):g} A, expected sizes of the ac current above 0"]
        )
    changes = np.abs(np.diff(current))
    # A current that was measured has noise: a change counts that is beyond it.
    usual = np.median(np.abs(np.diff(current, 2))) if len(current) > 2 else 0.0  # of noise, not of a drift
    noise = np.minimum(BEYOND_NOISE * usual, NOISIEST * current[1:])
    jumps = np.flatnonzero(changes > np.maximum(SAME * current[1:], noise)) + 1
    edges = [0, *map(int, jumps), len(current)]
    stretches = [(slice(a, b), float(np.mean(current[a:b]))) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    if len(stretches) > max(2, len(current) // switching.LEAST_IN_ALL):
        raise DataError(
            [
                f"{source}: the current changes {len(stretches) - 1} times in {len(current)} points: no sweeps; where "
                "the current is the inner loop: sort the table by current, keeping the order of its points, so that "
                "each current is one sweep"
            ]
        )
    if stated is not None:
        for _, points in stretches:
            if abs(points / stated - 1) > SAME:
                said = f"{1e3 * stated:.4g} mA (rms) is stated, the column has {1e3 * points:.4g} mA"
                raise DataError([f"{source}: current = {said}{root_of_two(points / stated)}"])
    return stretches


def _twice(traces: Sequence[Trace]) -> list[str]:
    """Traces with the very same numbers: counted twice they would narrow the error bars."""
    seen: dict[tuple[int, bytes], str] = {}
    faults = []
    for trace in traces:
        for n, voltage in trace.voltages.items():
            # A record of round numbers at low resolution may repeat; noise does not.
            key = n, voltage.tobytes()
            if key in seen and len(np.unique(voltage)) > switching.LEAST_IN_ALL:
                faults.append(f"{trace.label}: V{n} holds the very numbers of {seen[key]}; is a file there twice?")
            seen.setdefault(key, trace.label)
    return faults


def root_of_two(ratio: float) -> str:
    """Say what a ratio near a power of sqrt(2) suggests, for messages; empty for another ratio."""
    for power, words in ((0.5, "sqrt(2)"), (1.0, "2")):
        for factor in (2**power, 2**-power):
            if abs(abs(ratio) / factor - 1) < 0.03:
                return f": a factor {words}, as between rms and peak values"
    return ""


def _implausible(field: np.ndarray, voltages: Mapping[int, np.ndarray]) -> list[str]:
    """List what is wrong with a trace as a whole."""
    if len(field) < switching.LEAST_IN_ALL:
        return [f"{len(field)} points with numbers, at least {switching.LEAST_IN_ALL} are needed"]
    if np.max(field) == np.min(field):
        return [f"the field is {field[0]:g} T at every point, expected a sweep"]
    often = max(4, len(field) // 10)
    if len(switching.branches(field)) > often:
        smooth = [n for n, voltage in voltages.items() if len(switching.branches(voltage)) in (1, 2)]
        hint = f"; V{smooth[0]} goes one way: are the columns swapped?" if smooth else ""
        return [f"the field turns {len(switching.branches(field)) - 1} times, expected a sweep{hint}"]
    return []
