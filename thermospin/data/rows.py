"""Measured signals from CSV files: one row per signal, in SI units, checked against the device.

Columns: experiment, signal, value, std, unit, and optionally polarity; std may be percent of the value. A signal is a
harmonic and a part, such as "R2.baseline", "R1.spin" or "R1.AP" (the name of a state); V = R1 I + R2 I^2 + ... with
instantaneous values, so that a lock-in signal has to be converted before; of other drives and probes likewise, and the
unit has to be that of the experiment: "nV/K", "mK/mW", "uV/mA^2". A comment line `# polarity = unknown` says
that the signs in the file are not known, the word `unknown` in the column polarity says so for one row; then magnitudes
are compared. Of P, AP, baseline and spin of one harmonic a file has at most two: they make the others.

A column that has the name of a dimension or of another value of the device, such as `gap` or `gap (um)`, or `bath`, or
`variant`, splits the rows over copies of the device: a series of devices or of temperatures is one table.

Files are what spreadsheets save: text in any usual encoding with commas, semicolons or tabs between the cells, decimal
points or commas, or a workbook. Rows that are empty, and columns without a name, are passed over.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import re
from collections.abc import Iterable
from pathlib import Path

from thermospin.base import files, units
from thermospin.base.errors import InputError
from thermospin.base.names import SignalName, closest, nearest
from thermospin.data.sheets import COMMAS, Lines, records, separator_of, with_points
from thermospin.data.tables import TABLES, read_lines
from thermospin.data.text import DataError as DataError
from thermospin.data.text import uncommented
from thermospin.device import settings
from thermospin.device.device import Device
from thermospin.device.drives import response_in_words
from thermospin.device.parts import Experiment
from thermospin.quantities import kind_of

COLUMNS = ("experiment", "signal", "value", "std", "unit")
OPTIONAL_COLUMNS = ("polarity",)
#: Column that names variants of the device file.
VARIANT = "variant"
HARMONICS = ("R1", "R2", "R3", "R4")
PARTS = ("baseline", "spin")
POLARITIES = ("known", "unknown")

#: A column of values of the device, perhaps with their unit: "gap (um)".
_OF_DEVICE = re.compile(r"(.*?)\s*(?:[(\[](.*)[)\]])?")
#: Columns that have no numbers.
_TEXT_COLUMNS = ("experiment", "signal", "unit", *OPTIONAL_COLUMNS, VARIANT)
#: What stands between cells.
_BETWEEN = ",; \t"
_COMMENT = re.compile(r"\s*polarity\s*[=:]\s*(\S*)\s*", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Row:
    """One measured signal.

    Attributes:
      experiment: name of the experiment.
      signal: harmonic and part, such as "R2.spin".
      value: in `unit`.
      std: standard deviation, positive.
      polarity_known: whether the sign of `value` means anything; if not, magnitudes are compared.
      device: name of the device, where several are fitted together.
      unit: SI unit that the experiment gives, see `with_unit`; "" for a row that has not met its experiment.
    """

    experiment: str
    signal: str
    value: float
    std: float
    polarity_known: bool = True
    device: str = ""
    # It follows from the experiment: rows with and without are the same, in comparisons and in journals.
    unit: str = dataclasses.field(default="", compare=False, repr=False)

    def __str__(self) -> str:
        return f"{repr(self)[:-1]}, unit={self.unit!r})" if self.unit else repr(self)

    def with_unit(self, experiment: Experiment) -> Row:
        """Return the row with the unit that its experiment gives, such as "V/A^2"."""
        return dataclasses.replace(self, unit=experiment.unit(self.harmonic))

    @functools.cached_property
    def name(self) -> SignalName:
        """Name of the signal, parsed once."""
        return SignalName.parse(self.experiment, self.signal)

    @property
    def label(self) -> str:
        """Experiment, after the device where it is named."""
        return f"{self.device} {self.experiment}".lstrip()

    @property
    def harmonic(self) -> int:
        """n of V = ... + R_n I^n, or that of another probe and drive."""
        return self.name.harmonic

    @property
    def is_thermal(self) -> bool:
        """True if heat is what drives it, what it reads, or what makes its harmonic."""
        probe, _, drive = self.unit.partition("/")
        return self.harmonic > 1 or probe in ("K", "W") or drive in ("K", "W")

    @property
    def part(self) -> str:
        """Name of a state, or "baseline" or "spin"."""
        return self.name.part


#: Copies of a device with their rows.
Series = list[tuple[Device, tuple[Row, ...]]]


def shipped(name: str) -> tuple[str, str]:
    """Return text and name of the measured data that ship with a device of that name."""
    file = files.shipped("device", "shipped", f"{name}.csv")
    return file.read_text(encoding="utf-8"), f"{name}.csv (shipped)"


def load(path: str | Path, device: Device) -> tuple[Row, ...]:
    """Return the rows of a file, or of the one that ships with a device (such as "slachter2010").

    Raises:
      DataError: with all faults of the file; rows of several devices are one, see `load_series`.
    """
    series = load_series(path, device)
    others = [copy.name for copy, _ in series if copy is not device]
    if others:
        raise DataError([f"{path}: has rows of {', '.join(others)}, expected those of one device, '{device.name}'"])
    return tuple(row for _, rows in series for row in rows)


def load_series(path: str | Path, device: Device) -> Series:
    """Return the rows of a file, or of a shipped one, for each copy of the device that they are of.

    Raises:
      DataError: with all faults of the file.
    """
    folder = files.shipped("device", "shipped")
    names = sorted(entry.name[:-4] for entry in folder.iterdir() if entry.name.endswith(".csv"))
    if str(path) in names:
        text, source = shipped(str(path))
        return read_series(text, source, device)
    path = Path(path)
    if not path.exists():
        beside = path.parent.glob("*") if path.parent.is_dir() else ()
        near = [file.name for file in beside if file.suffix.lower() in TABLES]
        raise DataError([f"{path}: no such file; {nearest(path.name, near if path.suffix else [*near, *names])}"])
    return _series(read_lines(path, percent=True), str(path), device)


def read_series(text: str, source: str, device: Device) -> Series:
    """Return the rows of a CSV text for each copy of the device; see `load_series`."""
    return _series(list(enumerate(text.splitlines(), 1)), source, device)


def _series(lines: Lines, source: str, device: Device) -> Series:
    """Return the rows of the lines of a table for each copy of the device."""
    faults: list[str] = []
    known = True
    for number, line in lines:
        match = _COMMENT.fullmatch(uncommented(line.strip(_BETWEEN), "#") or "")
        if match:
            if match[1] not in POLARITIES:
                faults.append(f"line {number}: polarity: got '{match[1]}', expected one of: {', '.join(POLARITIES)}")
            known = match[1] != "unknown"
    rows, header = _split(lines, device, faults)
    copies = _Copies(device)
    if header is not None:
        for number, cells in rows:
            copies.add(number, cells, _row(number, cells, known, device, faults), faults)
        if not rows and not faults:
            faults.append("no rows, expected at least one")
        for copy, found in copies.series:
            label = f"{copy.name}, " if copy is not device else ""
            faults += [f"{label}{fault}" for fault in repeated_parts(found, device)]
    if faults:
        raise DataError(f"{source}: {fault}" for fault in faults)
    return [(copy, tuple(found)) for copy, found in copies.series]


class _Copies:
    """Rows by the copy of the device that they are of."""

    def __init__(self, device: Device) -> None:
        self._device, self._known = device, settings.settable(device)
        self._rows: dict[tuple[str, tuple[tuple[str, float], ...]], tuple[Device, list[Row]]] = {}

    @property
    def series(self) -> list[tuple[Device, list[Row]]]:
        """Copies and their rows, in the order of their first rows."""
        return list(self._rows.values())

    def add(self, number: int, cells: dict[str, str], row: Row | None, faults: list[str]) -> None:
        """Add a row of line `number`, None if it has faults, under the values of the device in its cells."""
        values: dict[str, float] = {}
        for column, cell in cells.items():
            name, unit = _value_column(column)
            if column in (*COLUMNS, *OPTIONAL_COLUMNS, VARIANT) or name not in self._known or not cell:
                continue
            text, kind = f"{cell} {unit}" if unit and _is_bare(cell) else cell, kind_of(name)
            try:
                if _is_bare(text) and kind == "length" and self._device.length_unit:
                    text = f"{cell} {self._device.length_unit}"
                elif _is_bare(text) and kind == "temperature":
                    text = f"{cell} K"
                values[name] = units.parse(text, kind)
            except units.UnitError as why:
                faults.append(f"line {number}, {name}: {why}")
        variant = cells.get(VARIANT, "")
        key = variant, tuple(values.items())
        try:
            if key not in self._rows:
                copy = settings.variant_of(self._device, variant) if variant else self._device
                self._rows[key] = settings.copy_with(copy, values), []
        except InputError as error:
            faults += [f"line {number}, {fault}" for fault in error.faults]
        else:
            self._rows[key][1].extend([] if row is None else [row])


def _value_column(column: str) -> tuple[str, str]:
    """Return the name and the unit in the header of a column, "" for no unit."""
    match = _OF_DEVICE.fullmatch(column)
    return (match[1], match[2] or "") if match else (column, "")


def _is_bare(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _split(
    lines: Lines, device: Device, faults: list[str]
) -> tuple[list[tuple[int, dict[str, str]]], list[str] | None]:
    """Rows as (line number, {column: text}), and the header; None if there is no use in going on."""
    table = records(lines)
    if not table:
        faults.append(f"empty, expected a header line: {','.join(COLUMNS)}")
        return [], None
    number, header = table[0]
    allowed = (*COLUMNS, *OPTIONAL_COLUMNS, VARIANT)
    header = [name.lower() if name.lower() in allowed else name for name in header]  # as spreadsheets write: "Value"
    for name in header:
        known = settings.settable(device)
        if name not in allowed and _value_column(name)[0] not in known:
            hint = closest(name, (*allowed, *known))
            meant = f"did you mean '{hint}'? " if hint else ""
            listed = f"expected one of: {', '.join(allowed)}, or a value of '{device.name}'"
            faults.append(f"line {number}: unknown column '{name}'; {meant}{listed}")
        elif header.count(name) > 1:
            faults.append(f"line {number}: column '{name}' is there {header.count(name)} times, expected once")
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        columns = ", ".join(header)
        faults.append(
            f"line {number}: column {' and '.join(missing)} missing; got {columns}; expected {', '.join(COLUMNS)}"
        )
    rows = []
    for number, cells in table[1:]:
        if len(cells) != len(header):
            under = dict(zip(header, cells, strict=False))
            shifted = len(cells) > len(header) and _is_bare(under.get("unit", ""))
            more = COMMAS if shifted and separator_of(dict(lines)[number]) == "," else ""
            faults.append(f"line {number}: got {len(cells)} cells, expected {len(header)} as in the header{more}")
        else:
            rows.append((number, dict(zip(header, cells, strict=True))))
    return with_points(rows, _TEXT_COLUMNS, faults), header


def _row(number: int, cells: dict[str, str], known: bool, device: Device, faults: list[str]) -> Row | None:
    before = len(faults)
    name, signal = cells.get("experiment"), cells.get("signal")
    experiment = device.experiments.get(name) if name is not None else None
    if name is not None and experiment is None:
        faults.append(f"line {number}, experiment: got '{name}'; {nearest(name, device.experiments)}")
    harmonic, _, part = (signal or "").partition(".")
    if signal is not None:
        if harmonic not in HARMONICS or not part:
            faults.append(
                f"line {number}, signal: got '{signal}'; expected {' or '.join(HARMONICS)}, a dot, and {_parts()}"
            )
        elif experiment is not None and part not in (*PARTS, *experiment.states):
            allowed = [f"{harmonic}.{part}" for part in (*PARTS, *experiment.states)]
            faults.append(f"line {number}, signal: got '{signal}'; {nearest(signal, allowed)}")
        elif experiment is not None and part in PARTS and not experiment.has_spin_part:
            faults.append(
                f"line {number}, signal: got '{signal}', but experiment '{name}' has not the two states P and AP "
                f"that {part} is made of; it has {', '.join(experiment.states)}"
            )
    numbers = _numbers(number, cells, faults)
    factor, wanted = 1.0, ""
    if "unit" in cells and harmonic in HARMONICS and experiment is not None:
        wanted = experiment.unit(int(harmonic[1]))
        try:
            factor = units.response_scale(cells["unit"], wanted, response_in_words(experiment, int(harmonic[1])))
        except units.UnitError as error:
            faults.append(f"line {number}, unit: {error}")
    if numbers.get("std", 1.0) <= 0:
        faults.append(f"line {number}, std: got {cells['std']}, expected a number above 0")
    polarity = cells.get("polarity") or ("known" if known else "unknown")
    if polarity not in POLARITIES:
        faults.append(f"line {number}, polarity: got '{polarity}', expected one of: {', '.join(POLARITIES)}")
    if len(faults) > before or len(numbers) < 2 or name is None or signal is None:
        return None
    value, std = (units.tidy(numbers[key] * factor) for key in ("value", "std"))
    return Row(name, signal, value, std, polarity == "known", unit=wanted)


def _numbers(number: int, cells: dict[str, str], faults: list[str]) -> dict[str, float]:
    """Return value and std in the unit of the row, as far as they can be read."""
    numbers: dict[str, float] = {}
    for key in ("value", "std"):
        if key not in cells:
            continue
        bare = cells[key].removesuffix("%") if key == "std" else cells[key]
        try:
            numbers[key] = units.parse(bare, "number")
            float(bare)
        except units.UnitError as error:
            faults.append(f"line {number}, {key}: {error}")
        except ValueError:
            expected = "a number, or percent of the value" if key == "std" else "a number"
            faults.append(
                f'line {number}, {key}: got "{cells[key]}", expected {expected}; a unit belongs in the column unit'
            )
        else:
            if bare != cells[key]:
                numbers[key] *= abs(numbers.get("value", 0.0)) / 100
    return numbers


def repeated_parts(rows: Iterable[Row], device: Device) -> list[str]:
    """List harmonics of which more than two of P, AP, baseline and spin are given: two of them make the others."""
    given: dict[tuple[str, int], dict[str, None]] = {}
    for row in rows:
        if device.experiments[row.experiment].has_spin_part and row.part in (*PARTS, "P", "AP"):
            given.setdefault((row.experiment, row.harmonic), {})[row.part] = None
    return [
        f"{experiment}: got {', '.join(f'R{n}.{part}' for part in parts)}, of which any two make the others, so that "
        "the same numbers would count twice; expected two of them"
        for (experiment, n), parts in given.items()
        if len(parts) > 2
    ]


def _parts() -> str:
    return f"{', '.join(PARTS)} or the name of a state"


def write(rows: Iterable[Row], file: io.TextIOBase, remarks: Iterable[str] = ()) -> None:
    """Write rows, which have their units, in the layout that `load` reads, in SI units, below lines of remarks."""
    file.writelines(f"# {remark}\n" for remark in remarks)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*COLUMNS, *OPTIONAL_COLUMNS])
    for row in rows:
        polarity = POLARITIES[not row.polarity_known]
        writer.writerow([row.experiment, row.signal, repr(row.value), repr(row.std), row.unit, polarity])
