"""Raw lock-in sweeps: an experiment file (TOML) says what its CSV files or QCoDeS databases hold, in what convention.

Nothing is assumed that changes a number: whether currents and voltages are rms or peak values, the phase of each
harmonic and whether its sign means anything have to be stated. See `FACTORS`.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import sqlite3
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from thermospin import switching, units
from thermospin.data import DataError
from thermospin.device import Device
from thermospin.devicefile import Part, Reader, quantity
from thermospin.materials import nearest

#: What hangs on the convention.
FACTORS = (
    "with the instantaneous current i = sqrt(2) I sin(wt), I its rms value, V = R1 i + R2 i^2 + R3 i^3 + R4 i^4 makes "
    "rms voltages V_1f = R1 I + 3/2 R3 I^3, V_2f = (R2 I^2 + 2 R4 I^4)/sqrt(2) at -90 degrees, V_3f = -R3 I^3/2; a "
    "peak current taken for an rms one makes R1 too small by sqrt(2) and R2 by 2"
)
HARMONICS = {"V1": 1, "V2": 2, "V3": 3}
#: Phase at which each harmonic of an instantaneous polynomial appears, and what a column at another phase holds of it.
PHASES = {1: 0.0, 2: -90.0, 3: 0.0}
#: Sweeps with a larger part of points without a number are refused.
MOST_MISSING = 0.5
#: Relative difference of currents that are the same.
SAME = 0.01
_COLUMN = 'such as { column = "X1 (V)", unit = "V", phase = 0 }'


class _Column(Part):
    column: str
    unit: str
    phase: float | None = None


class _Columns(Part):
    field: _Column
    current: _Column | None = None
    V1: _Column | None = None
    V2: _Column | None = None
    V3: _Column | None = None


class _Sweep(Part):
    experiment: str
    file: str
    current: Annotated[float, quantity("current")] | None = None
    run: int | None = None
    columns: _Columns | None = None
    current_is: Literal["rms", "peak"] | None = None
    voltage_is: Literal["rms", "peak"] | None = None


class _File(Part):
    name: str = ""
    note: str = ""
    current_is: Literal["rms", "peak"]
    voltage_is: Literal["rms", "peak"]
    polarity: Literal["known", "unknown"]
    gain_std: float = 0.0
    columns: _Columns | None = None
    sweeps: list[_Sweep]


@dataclasses.dataclass(frozen=True)
class Trace:
    """One current, field against voltages, as measured, in SI units.

    Attributes:
      label: file and current, for messages.
      experiment: name of the experiment in the device file.
      current: rms [A].
      field: (points,) [T].
      voltages: rms, in the phase of the harmonic, for each harmonic (points,) [V].
      missing: points that were left out because a number is missing.
      source: file, as the experiment file names it.
    """

    label: str
    experiment: str
    current: float
    field: np.ndarray
    voltages: Mapping[int, np.ndarray]
    missing: int
    source: str


def shipped() -> dict[str, Path]:
    """Experiment files that ship with the program, by name."""
    folder = Path(str(resources.files("thermospin") / "sweeps"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


@dataclasses.dataclass(frozen=True)
class Sweeps:
    """What an experiment file leads to.

    Attributes:
      traces: in the order of the file.
      polarity_known: whether the signs of the signals mean anything.
      gain_std: relative standard deviation of the gain, one for all voltages [1].
    """

    traces: tuple[Trace, ...]
    polarity_known: bool = True
    gain_std: float = 0.0


def load(path: str | Path, device: Device) -> Sweeps:
    """The traces that an experiment file names.

    Args:
      path: of the TOML file, or the name of a shipped one; the files it names are looked for beside it.
      device: whose experiments they belong to.
    Raises:
      DataError: with all faults of all files.
    """
    path = shipped().get(str(path), Path(path))
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        near = [each.name for each in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        near += shipped()
        raise DataError([f"{path}: no such file; {nearest(path.name, near)}"]) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise DataError([f"{path}: not a TOML file that can be read: {error}"]) from None
    reader = Reader()
    faults = reader.faults
    for key in ("current_is", "voltage_is", "polarity"):
        if key not in raw:
            allowed = '"known" or "unknown"' if key == "polarity" else '"rms" or "peak"'
            faults.append(f"{key}: missing, expected {allowed}: {FACTORS}")
    given = {"current_is": "rms", "voltage_is": "rms", "polarity": "known"} | raw
    part, _ = reader.read(_File, given, "")
    traces: list[Trace] = []
    if part is not None:
        if not part.sweeps:
            faults.append("sweeps: there is none, expected at least one")
        for number, sweep in enumerate(part.sweeps):
            try:
                traces += _traces(part, sweep, path.parent, device, f"sweeps[{number}]")
            except DataError as error:
                faults += error.faults
    if part is not None and not 0 <= part.gain_std < 1:
        faults.append(
            f"gain_std: got {part.gain_std:g}, expected a relative standard deviation, at least 0 and below 1"
        )
    if faults or part is None:
        raise DataError(f"{path}: {fault}" for fault in dict.fromkeys(faults))
    return Sweeps(tuple(traces), part.polarity == "known", part.gain_std)


def _traces(file: _File, sweep: _Sweep, folder: Path, device: Device, place: str) -> list[Trace]:
    """The traces of one entry; a DataError has its faults."""
    faults: list[str] = []
    if sweep.experiment not in device.experiments:
        faults.append(f"{place}, experiment: got '{sweep.experiment}'; {nearest(sweep.experiment, device.experiments)}")
    elif not {"P", "AP"} <= set(device.experiments[sweep.experiment].states):
        faults.append(f"{place}: experiment '{sweep.experiment}' of the device has not the two states P and AP")
    columns = sweep.columns or file.columns
    if columns is None:
        raise DataError([*faults, f"{place}, columns: missing, here and for the whole file; each is {_COLUMN}"])
    wanted = {key: getattr(columns, key) for key in ("field", "current", *HARMONICS)}
    wanted = {key: column for key, column in wanted.items() if column is not None}
    if not set(HARMONICS) & set(wanted):
        faults.append(f"{place}, columns: no harmonic, expected at least one of {', '.join(HARMONICS)}, {_COLUMN}")
    scales = {key: _scale(key, column, f"{place}, columns.{key}", faults) for key, column in wanted.items()}
    if sweep.current is None and "current" not in wanted:
        faults.append(f'{place}, current: missing, expected current = "0.5 mA", or a column for it')
    if sweep.current is not None and not sweep.current > 0:
        faults.append(f"{place}, current: got {sweep.current:g} A, expected one above 0, the size of the ac current")
    if faults:
        raise DataError(faults)
    path = folder / sweep.file
    table = _database(path, sweep.run, wanted) if path.suffix == ".db" else _csv(path, wanted)
    values = {key: scales[key] * table[key] for key in wanted}
    for key, each in values.items():
        if np.any(np.isinf(each)):
            faults.append(f"{sweep.file}: column '{wanted[key].column}' has infinite numbers, expected finite ones")
    if faults:
        raise DataError(faults)
    to_rms = {"rms": 1.0, "peak": math.sqrt(0.5)}
    current_factor = to_rms[sweep.current_is or file.current_is]
    voltage_factor = to_rms[sweep.voltage_is or file.voltage_is]
    stated = None if sweep.current is None else sweep.current * current_factor
    out: list[Trace] = []
    for where, current in _by_current(values, stated, current_factor, sweep.file):
        numbers = np.stack([values[key][where] for key in wanted])
        whole = np.all(np.isfinite(numbers), axis=0)
        label = f"{sweep.file}, {1e3 * current:.4g} mA"
        missing = int(np.sum(~whole))
        if missing > MOST_MISSING * len(whole):
            faults.append(f"{label}: {missing} of {len(whole)} points have no number, at most half may be missing")
            continue
        named = dict(zip(wanted, numbers[:, whole], strict=True))
        voltages = {HARMONICS[key]: voltage_factor * each for key, each in named.items() if key in HARMONICS}
        faults += [f"{label}: {fault}" for fault in _implausible(named["field"], voltages)]
        out.append(Trace(label, sweep.experiment, current, named["field"], voltages, missing, sweep.file))
    if faults:
        raise DataError(faults)
    return out


def _scale(key: str, column: _Column, place: str, faults: list[str]) -> float:
    """SI units, and sign, of a column."""
    kind = key if key in ("field", "current") else "voltage"
    unit, factor = (column.unit, 1.0) if column.unit != "Oe" or kind != "field" else ("T", 1e-4)
    try:
        factor *= units.scale(unit, kind, key=f"{place}.unit")
    except units.UnitError as error:
        faults.append(str(error))
    if key not in HARMONICS:
        return factor
    n = HARMONICS[key]
    own, other = PHASES[n], 180 - (-PHASES[n] % 360)
    if column.phase is None:
        faults.append(
            f"{place}.phase: missing, expected the phase of the column in degrees, {own:g} (or {other:g}, for the "
            f"opposite sign) against sin({'' if n == 1 else n}wt): {FACTORS}"
        )
        return factor
    turned = (column.phase - own + 180) % 360 - 180
    if abs(abs(turned) - 90) < 60 and abs(turned) not in (0.0, 180.0):
        faults.append(
            f"{place}.phase: got {column.phase:g}, where harmonic {n} of a polynomial in the current has no signal; "
            f"expected {own:g} or {other:g}: {FACTORS}"
        )
    elif abs(turned) not in (0.0, 180.0):
        faults.append(f"{place}.phase: got {column.phase:g}, expected {own:g} or {other:g}, rotate the data first")
    return factor if abs(turned) < 90 else -factor


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
    jumps = np.flatnonzero(np.abs(np.diff(current)) > SAME * current[1:]) + 1
    edges = [0, *map(int, jumps), len(current)]
    stretches = [(slice(a, b), float(np.mean(current[a:b]))) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    if len(stretches) > max(2, len(current) // switching.LEAST_IN_ALL):
        raise DataError(
            [f"{source}: the current changes {len(stretches) - 1} times in {len(current)} points: no sweeps"]
        )
    if stated is not None:
        for _, found in stretches:
            if abs(found / stated - 1) > SAME:
                said = f"{1e3 * stated:.4g} mA (rms) is stated, the column has {1e3 * found:.4g} mA"
                raise DataError([f"{source}: current = {said}{root_of_two(found / stated)}"])
    return stretches


def root_of_two(ratio: float) -> str:
    """What a ratio near a power of sqrt(2) suggests, for messages; nothing for another one."""
    for power, words in ((0.5, "sqrt(2)"), (1.0, "2")):
        for factor in (2**power, 2**-power):
            if abs(abs(ratio) / factor - 1) < 0.03:
                return f": a factor {words}, as between rms and peak values"
    return ""


def _implausible(field: np.ndarray, voltages: Mapping[int, np.ndarray]) -> list[str]:
    """What is wrong with a trace as a whole."""
    if len(field) < switching.LEAST_IN_ALL:
        return [f"{len(field)} points with numbers, at least {switching.LEAST_IN_ALL} are needed"]
    if np.max(field) == np.min(field):
        return [f"the field is {field[0]:g} T at every point, expected a sweep"]
    often = max(4, len(field) // 10)
    if len(switching.branches(field)) > often:
        smooth = [n for n, each in voltages.items() if len(switching.branches(each)) in (1, 2)]
        hint = f"; V{smooth[0]} goes one way: are the columns swapped?" if smooth else ""
        return [f"the field turns {len(switching.branches(field)) - 1} times, expected a sweep{hint}"]
    return []


# ------------------------------------------------------------------------------------------- files


def _csv(path: Path, wanted: Mapping[str, _Column]) -> dict[str, np.ndarray]:
    name = path.name
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        near = [each.name for each in path.parent.glob("*.csv")] if path.parent.is_dir() else []
        raise DataError([f"{path.name}: no such file beside the experiment file; {nearest(name, near)}"]) from None
    except OSError as error:
        raise DataError([f"{name}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise DataError(
            [f"{name}: not UTF-8 text ({error.reason} at byte {error.start}); save it as CSV UTF-8"]
        ) from None
    if "\0" in text:
        raise DataError([f"{name}: a binary file, expected CSV text or a database whose name ends in .db"])
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip() and not line.startswith("#")]
    if not lines:
        raise DataError([f"{name}: empty, expected a header line and numbers"])
    separator = max(",;\t", key=lines[0][1].count)
    header = [cell.strip() for cell in next(csv.reader([lines[0][1]], delimiter=separator))]
    faults = []
    for key, column in wanted.items():
        times = header.count(column.column)
        if times == 0:
            faults.append(f"{name}: column '{column.column}' for {key} is not there; {nearest(column.column, header)}")
        elif times > 1:
            faults.append(f"{name}: column '{column.column}' is there {times} times, expected once")
    if len(lines) == 1:
        faults.append(f"{name}: a header line and no numbers")
    if faults:
        raise DataError(faults)
    places = {key: header.index(column.column) for key, column in wanted.items()}
    numbers: dict[str, list[float]] = {key: [] for key in wanted}
    for n, line in lines[1:]:
        cells = next(csv.reader([line], delimiter=separator))
        if len(cells) != len(header):
            more = " (decimal commas? use points)" if separator == "," and len(cells) == 2 * len(header) else ""
            faults.append(f"{name}, line {n}: got {len(cells)} cells, expected {len(header)} as in the header{more}")
            continue
        for key, place in places.items():
            try:
                numbers[key].append(_number(cells[place]))
            except ValueError as error:
                faults.append(f"{name}, line {n}, column '{header[place]}': {error}")
    if faults:
        raise DataError(_first(faults))
    return {key: np.array(each) for key, each in numbers.items()}


def _number(cell: str) -> float:
    text = cell.strip()
    if text.lower() in ("", "nan", "none", "null", "-"):
        return math.nan
    try:
        return float(text)
    except ValueError:
        comma = text.count(",") == 1 and text.replace(",", "").lstrip("+-").replace("e", "").replace("-", "").isdigit()
        hint = ", with a decimal comma; use a point" if comma else ""
        raise ValueError(f"got '{text[:40]}', expected a number{hint}") from None


def _first(faults: list[str], most: int = 5) -> list[str]:
    """The first few, and how many more there are."""
    more = [f"and {len(faults) - most} more lines like these"] if len(faults) > most else []
    return [*faults[:most], *more]


def _database(path: Path, run: int | None, wanted: Mapping[str, _Column]) -> dict[str, np.ndarray]:
    """Columns of a run of a QCoDeS database: a table of its own for each run, one column for each parameter.

    Parameters that depend on the same ones may stand in rows of their own, with nothing in the columns of the others.
    """
    name = path.name
    if not path.is_file():
        raise DataError([f"{name}: no such file beside the experiment file"])
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            runs = connection.execute("SELECT run_id, result_table_name FROM runs").fetchall()
            ids = [each for each, _ in runs]
            if run is None and len(ids) != 1:
                raise DataError([f"{name}: run: missing, expected one of the runs {_list(ids)}"])
            run = ids[0] if run is None else run
            if run not in ids:
                raise DataError([f"{name}: run: got {run}, expected one of {_list(ids)}"])
            table = _quoted(dict(runs)[run])
            known = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            faults = [
                f"{name}, run {run}: parameter '{each.column}' for {key} is not there; {nearest(each.column, known)}"
                for key, each in wanted.items()
                if each.column not in known
            ]
            if faults:
                raise DataError(faults)
            chosen = ", ".join(_quoted(each.column) for each in wanted.values())
            rows = connection.execute(f"SELECT {chosen} FROM {table}").fetchall()
    except sqlite3.Error as error:
        raise DataError([f"{name}: not a QCoDeS database that can be read: {error}"]) from None
    if not rows:
        raise DataError([f"{name}, run {run}: no rows"])
    keys = list(wanted)
    try:
        columns = [[None if cell is None else _cell(cell) for cell in column] for column in zip(*rows, strict=True)]
    except ValueError as error:
        raise DataError([f"{name}, run {run}: {error}"]) from None
    table_of = dict(zip(keys, columns, strict=True))
    harmonics = [key for key in keys if key in HARMONICS]
    found: dict[str, np.ndarray] = {}
    for key in harmonics:
        here = [i for i, cell in enumerate(table_of[key]) if cell is not None]
        found[key] = _joined(table_of[key], here)
        for other in (each for each in keys if each not in HARMONICS):
            own = _joined(table_of[other], here)
            if len(own) != len(found[key]) or (
                other in found and not np.array_equal(own, found[other], equal_nan=True)
            ):
                raise DataError([f"{name}, run {run}: {key} and {harmonics[0]} were not taken at the same points"])
            found[other] = own
    return found


def _cell(cell: Any) -> np.ndarray:
    if isinstance(cell, bytes):
        return np.asarray(np.load(io.BytesIO(cell), allow_pickle=False), float).ravel()
    return np.array([float(cell)])


def _joined(cells: list[Any], here: Iterable[int]) -> np.ndarray:
    parts = [np.array([math.nan]) if cells[i] is None else cells[i] for i in here]
    return np.concatenate(parts) if parts else np.zeros(0)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _list(ids: Iterable[int]) -> str:
    return ", ".join(map(str, ids)) or "none"
