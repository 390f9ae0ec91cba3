"""Raw lock-in sweeps: an experiment file (TOML) says what its CSV files or QCoDeS databases hold, in what convention.

Nothing is assumed that changes a number: whether currents and voltages are rms or peak values, the phase of each
harmonic and whether its sign means anything have to be stated. See `FACTORS`.
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

from thermospin.base import files, units
from thermospin.base.names import nearest
from thermospin.data import switching
from thermospin.data.rows import DataError
from thermospin.data.tables import NoColumn, Table, TextForm, read_csv, read_database
from thermospin.device.device import Device
from thermospin.device.drives import PROBES, drive_of
from thermospin.device.parts import Experiment
from thermospin.device.tables import Part, Reader, quantity

#: Quantities that depend on the convention.
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
#: A change of a measured current counts if it is so many times the median second difference, 1.65 standard deviations
#: of Gaussian noise: noise alone changes by that once in a billion.
BEYOND_NOISE = 5.2
#: A larger relative change of the current counts in any case.
NOISIEST = 0.1
#: What R3 and R4 may add at the largest current, relative to R1 and R2, unless the file says otherwise: metals whose
#: resistivity changes by 0.3 % per kelvin, warmed by ten.
NONLINEAR = 0.03
#: Least and largest size that a column reaches, in SI units: beyond, it is in another unit than stated.
REACH = {"field": (1e-6, 50.0), "voltage": (1e-12, 10.0), "current": (1e-9, 1.0)}
_COLUMN = 'such as { column = "X1 (V)", unit = "V", phase = 0 }'


class _Column(Part):
    column: str
    unit: str
    phase: float | None = None
    gain: float = 1.0
    part: Literal["real", "imag"] | None = None


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
    header: Annotated[int, Field(ge=1)] | None = None
    skip: Annotated[int, Field(ge=0)] | None = None
    comment: Annotated[str, Field(min_length=1)] | None = None


class _File(Part):
    name: str = ""
    note: str = ""
    current_is: Literal["rms", "peak"]
    voltage_is: Literal["rms", "peak"]
    polarity: Literal["known", "unknown"]
    gain_std: float = 0.0
    nonlinear: float = NONLINEAR
    columns: _Columns | None = None
    header: Annotated[int, Field(ge=1)] | None = None
    skip: Annotated[int, Field(ge=0)] = 0
    comment: Annotated[str, Field(min_length=1)] = "#"
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
    """

    traces: tuple[Trace, ...]
    polarity_known: bool = True
    gain_std: float = 0.0
    nonlinear: float = NONLINEAR


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
    for key in ("gain_std", "nonlinear") if part is not None else ():
        if not 0 <= getattr(part, key) < 1:
            faults.append(f"{key}: got {getattr(part, key):g}, expected a relative size, at least 0 and below 1")
    faults += _twice(traces)
    if faults or part is None:
        raise DataError(f"{path}: {fault}" for fault in dict.fromkeys(faults))
    return Sweeps(tuple(traces), part.polarity == "known", part.gain_std, part.nonlinear)


def _traces(file: _File, sweep: _Sweep, folder: Path, device: Device, place: str) -> list[Trace]:
    """Return the traces of one entry; a DataError has its faults."""
    faults: list[str] = []
    experiment = device.experiments.get(sweep.experiment)
    if experiment is None:
        faults.append(f"{place}, experiment: got '{sweep.experiment}'; {nearest(sweep.experiment, device.experiments)}")
    else:
        faults += [f"{place}: {fault}" for fault in _no_sweeps_of(experiment)]
    columns = sweep.columns or file.columns
    if columns is None:
        raise DataError([*faults, f"{place}, columns: missing, here and for the whole file; each is {_COLUMN}"])
    wanted = {key: getattr(columns, key) for key in ("field", "current", *HARMONICS)}
    wanted = {key: column for key, column in wanted.items() if column is not None}
    if not set(HARMONICS) & set(wanted):
        faults.append(f"{place}, columns: no harmonic, expected at least one of {', '.join(HARMONICS)}, {_COLUMN}")
    scales = {key: _scale(key, column, f"{place}, columns.{key}", faults) for key, column in wanted.items()}
    keys: dict[str, str] = {}
    for key, column in wanted.items():
        if column.column in keys:
            faults.append(f"{place}, columns: '{column.column}' is said to be both {keys[column.column]} and {key}")
        keys[column.column] = key
    if sweep.current is None and "current" not in wanted:
        faults.append(f'{place}, current: missing, expected current = "0.5 mA", or a column for it')
    if sweep.current is not None and not sweep.current > 0:
        faults.append(f"{place}, current: got {sweep.current:g} A, expected one above 0, the size of the ac current")
    if faults:
        raise DataError(faults)
    path, source = folder / sweep.file, sweep.file if sweep.run is None else f"{sweep.file}, run {sweep.run}"
    names = {key: column.column for key, column in wanted.items()}
    database = path.suffix in (".db", ".sqlite")
    parts = {key: column.part for key, column in wanted.items() if column.part is not None}
    if parts and not database:
        key = next(iter(parts))
        raise DataError([f"{place}, columns.{key}.part: only a database has complex numbers, {sweep.file} is a table"])

    def read(names: dict[str, str]) -> Table:
        if database:
            return read_database(path, sweep.run, names, parts)
        given = {key: getattr(sweep, key) for key in ("header", "skip", "comment")}
        usual = {key: getattr(file, key) for key in given}
        return read_csv(path, names, TextForm(**{k: usual[k] if v is None else v for k, v in given.items()}))

    try:
        table = read(names)
    except NoColumn as error:
        # A current that is stated needs no column, though other files of the same columns have one.
        if sweep.current is None or sweep.columns is not None or error.keys != {"current"}:
            raise
        del wanted["current"]
        table = read({key: name for key, name in names.items() if key in wanted})
    values = {key: scales[key] * table.columns[key] for key in wanted}
    for key, value in values.items():
        faults += _misread(key, wanted[key], value, table.units.get(key), source)
    if faults:
        raise DataError(faults)
    to_rms = {"rms": 1.0, "peak": math.sqrt(0.5)}
    current_factor = to_rms[sweep.current_is or file.current_is]
    voltage_factor = to_rms[sweep.voltage_is or file.voltage_is]
    stated = None if sweep.current is None else sweep.current * current_factor
    out: list[Trace] = []
    for where, current in _by_current(values, stated, current_factor, source):
        numbers = np.stack([values[key][where] for key in wanted])
        whole = np.all(np.isfinite(numbers), axis=0)
        label = f"{source}, {1e3 * current:.4g} mA"
        missing = int(np.sum(~whole))
        if missing > MOST_MISSING * len(whole):
            faults.append(f"{label}: {missing} of {len(whole)} points have no number, at most half may be missing")
            continue
        named = dict(zip(wanted, numbers[:, whole], strict=True))
        voltages = {HARMONICS[key]: voltage_factor * part for key, part in named.items() if key in HARMONICS}
        faults += [f"{label}: {fault}" for fault in _implausible(named["field"], voltages)]
        out.append(Trace(label, sweep.experiment, current, named["field"], voltages, missing, source))
    if faults:
        raise DataError(faults)
    return _resolved(out)


def _no_sweeps_of(experiment: Experiment) -> list[str]:
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
    that of the other traces.
    """
    own = [{n: _resolution(voltage) for n, voltage in trace.voltages.items()} for trace in traces]
    least = {n: min((part[n] for part in own if part.get(n)), default=0.0) for n in HARMONICS.values()}
    return [
        dataclasses.replace(trace, resolutions={n: found or least[n] for n, found in part.items()})
        for trace, part in zip(traces, own, strict=True)
    ]


def _resolution(values: np.ndarray) -> float:
    distinct = np.unique(values)
    return float(np.min(np.diff(distinct))) if len(distinct) > 2 else 0.0


def _scale(key: str, column: _Column, place: str, faults: list[str]) -> float:
    """SI units, and sign, of a column."""
    factor = math.nan
    try:
        factor = _unit(column.unit, _kind(key), f"{place}.unit")
    except units.UnitError as error:
        faults.append(str(error))
    if not 0 < column.gain < math.inf:
        faults.append(f"{place}.gain: got {column.gain:g}, expected that of the amplifier before the lock-in, above 0")
    factor /= column.gain or math.nan
    if key not in HARMONICS:
        return factor
    n = HARMONICS[key]
    phase, other = PHASES[n], 180 - (-PHASES[n] % 360)
    if column.phase is None:
        faults.append(
            f"{place}.phase: missing, expected the phase of the column in degrees, {phase:g} (or {other:g}, for the "
            f"opposite sign) against sin({'' if n == 1 else n}wt): {FACTORS}"
        )
        return factor
    turned = (column.phase - phase + 180) % 360 - 180
    if abs(abs(turned) - 90) < 60 and abs(turned) not in (0.0, 180.0):
        faults.append(
            f"{place}.phase: got {column.phase:g}, where harmonic {n} of a polynomial in the current has no signal; "
            f"expected {phase:g} or {other:g}: {FACTORS}"
        )
    elif abs(turned) not in (0.0, 180.0):
        faults.append(f"{place}.phase: got {column.phase:g}, expected {phase:g} or {other:g}, rotate the data first")
    return factor if abs(turned) < 90 else -factor


def _kind(key: str) -> str:
    return key if key in ("field", "current") else "voltage"


def _unit(unit: str, kind: str, key: str) -> float:
    """Return SI units per unit; oersted and A/m are taken for the flux density that they make in vacuum."""
    size = _FIELDS.get(unit) if kind == "field" else None
    return units.scale(unit, kind, key=key) if size is None else size


#: Units of fields that are not those of a flux density, or that pint reads as something else ("G" as a constant) [T].
_FIELDS = {
    prefix + unit: factor * size
    for unit, size in {"Oe": 1e-4, "G": 1e-4, "Gs": 1e-4, "gauss": 1e-4, "A/m": 4e-7 * math.pi}.items()
    for prefix, factor in {"": 1.0, "k": 1e3, "m": 1e-3}.items()
}


def _readings(unit: str, expected: str) -> dict[str, float]:
    """Read a text in brackets as a unit, by kind; empty for other text."""
    readings = {}
    # The letter in "X1 (A)" is as likely to be a name as an ampere, and T a temperature.
    for kind in REACH if unit not in ("A", "T") else (expected,):
        try:
            readings[kind] = _unit(unit, kind, "")
        except units.UnitError:
            continue
    return readings


def _misread(key: str, column: _Column, values: np.ndarray, recorded: str | None, source: str) -> list[str]:
    """List signs that a column is not what the file says: the unit in the data itself, and its size."""
    kind, faults = _kind(key), []
    if np.any(np.isinf(values)):
        return [f"{source}: column '{column.column}' has infinite numbers, expected finite ones"]
    stated = {} if recorded is None else _readings(recorded, kind)
    if stated and abs(stated.get(kind, math.inf) / _unit(column.unit, kind, "") - 1) > 1e-6:
        faults.append(
            f"{source}: column '{column.column}' for {key} is in \"{recorded}\" by the file itself, "
            f'unit = "{column.unit}" is stated; an amplifier before the lock-in is stated as gain = 100'
        )
    size = float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0))
    least, largest = REACH[kind]
    if np.any(np.isfinite(values)) and not least <= size <= largest:
        faults.append(
            f"{source}: column '{column.column}' for {key} reaches {size:.3g} {units.KINDS[kind].unit}, expected "
            f'between {least:g} and {largest:g}; is it in "{column.unit}"?'
        )
    return faults


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
            [f"{source}: the current changes {len(stretches) - 1} times in {len(current)} points: no sweeps"]
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
