"""The files of an entry of an experiment file: their names, their columns, and the sweeps in them."""

from __future__ import annotations

import dataclasses
import glob
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from thermospin.base import units
from thermospin.base.names import nearest
from thermospin.data import switching
from thermospin.data.columns import Column
from thermospin.data.formats import Format
from thermospin.data.sheets import NoColumn, Sheet, Table, TextForm, select
from thermospin.data.tables import open_sheet
from thermospin.data.text import DataError, in_threes, no_file

#: Where the name of a file has its current; with a unit, "{current:mA}", the name has the number alone.
CURRENT = "{current}"
_FIELD = re.compile(r"\{([^{}]*)\}")
_SIZE = r"(\d+(?:[.,p]\d+)?(?:[eE][+-]?\d+)?)"
_AMPERES = r"[ _]?([fpnu\u00b5\u03bcm]?A)"
_EITHER = ', with a decimal comma or one between thousands; state decimal = "," if it is the first'
_VALUE = re.compile(r"\s*([+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?)\s*(.*?)\s*")


def name_faults(file: str, place: str) -> list[str]:
    """List what is wrong with a name of files; `place` is what messages call the entry."""
    faults = []
    fields = _FIELD.findall(file)
    for field in fields:
        key, _, unit = (text.strip() for text in field.partition(":"))
        if key != "current" or len(fields) > 1:
            faults.append(f"{place}, file: got '{{{field}}}', expected {CURRENT}, or {{current:mA}}, once, and *")
        elif unit:
            try:
                units.scale(unit, "current", key=f"{place}, file")
            except units.UnitError as error:
                faults.append(str(error))
    return faults


def names_current(file: str) -> bool:
    """Return whether a name of files says where their current stands in it."""
    return any(found.partition(":")[0] == "current" for found in _FIELD.findall(file))


def named_files(folder: Path, file: str, place: str, decimal: str | None = None) -> list[tuple[Path, float | None]]:
    """Return the files of a name, and the current in the name of each [A], None where it is not told.

    Args:
      folder: of the experiment file.
      file: name without `name_faults`, also of folders, in which * stands for any text and {current} for a current,
        such as 1.5mA or 1p5mA; {current:mA} is one without its unit.
      place: of the entry, for messages.
      decimal: sign of fractions, where it is stated.
    Raises:
      DataError: no file has such a name.
    """
    path = folder / file
    if path.exists() or not ("*" in file or "{" in file):
        return [(path, None)]
    base = Path(path.anchor) if Path(file).is_absolute() else folder
    file = path.relative_to(base).as_posix()
    pattern, unit = _pattern(file)
    # A field beside a star would make "**", which stands for folders.
    likely = "*".join(map(glob.escape, re.split(r"\*+", _FIELD.sub("*", file))))
    found: list[tuple[Path, float | None]] = []
    for name in sorted(one.relative_to(base).as_posix() for one in base.glob(likely)):
        if match := pattern.fullmatch(name):
            current = None
            if match.groups():
                if in_threes(match[1]) and decimal != ",":
                    raise DataError([f"{place}, file: got '{match[1]}' in the name '{name}'{_EITHER}"])
                number = match[1].replace(",", ".").replace("p", ".")
                current = units.parse(f"{number} {unit or match[2]}", "current", key=f"{place}, file")
            found.append((base / name, current))
    if not found:
        names = sorted(one.name for one in path.parent.glob("*")) if path.parent.is_dir() else []
        close = nearest(_FIELD.sub("", path.name).replace("*", ""), names)
        advice = "" if unit or not names_current(file) else "; a number without a unit is {current:mA}"
        raise DataError([f"{place}, file: no file beside the experiment file fits '{file}'{advice}; {close}"])
    return found


def current_in(name: str) -> tuple[int, int, str] | None:
    """Return where the name of a file has a current, from and to, and the current as it stands there; None without."""
    match = re.search(rf"(?<![\d.,]){_SIZE}{_AMPERES}(?![A-Za-z])", name)
    return None if match is None else (*match.span(), match[0])


def _pattern(file: str) -> tuple[re.Pattern[str], str]:
    """Return a pattern with groups for number and unit, and the unit that stands in the name of the field."""
    unit = ""
    parts = []
    for i, part in enumerate(_FIELD.split(file)):
        if i % 2 == 0:
            # As little as fits: a star before the field must not take the first digits of the current.
            parts.append("[^/]*?".join(map(re.escape, part.split("*"))))
        else:
            unit = part.partition(":")[2].strip()
            parts.append(_SIZE if unit else _SIZE + _AMPERES)
    return re.compile("".join(parts)), unit


def read_columns(
    path: Path, wanted: Mapping[str, Column], form: TextForm, preset: Format | None, sweep: str | None
) -> Table:
    """Return columns of a file by key, and "sweep" where a column numbers the sweeps.

    Args:
      path: of the file.
      wanted: columns by key; one without a name is one that the preset knows.
      form: of the file.
      preset: its format; None for a plain table.
      sweep: name of the column that changes from sweep to sweep: a number, or a direction in words.
    Raises:
      NoColumn: columns that are not there.
      DataError: all other faults.
    """
    if not path.exists():
        raise no_file(path)
    stated = {key: column.column for key, column in wanted.items() if column.column is not None}
    named = stated | ({} if sweep is None else {"sweep": sweep})
    sheet = open_sheet(path, form, preset, named)
    for key, column in wanted.items():
        if column.column is None and column.parameter is None and preset is not None:
            named[key] = _known(sheet, key, preset)
    table = select(sheet, named, ("sweep",), form.decimal)
    values, found = dict(table.columns), dict(table.units)
    for key, column in wanted.items():
        if column.parameter is not None:
            number, unit = _parameter(sheet, column.parameter, key, form.decimal or sheet.decimal)
            values[key] = np.full(len(sheet.rows), number)
            found |= {key: unit} if unit else {}
    return dataclasses.replace(table, columns=values, units=found)


def _known(sheet: Sheet, key: str, preset: Format) -> str:
    """Return the name of a column that a preset knows."""
    for name in preset.columns[key]:
        if name in sheet.names:
            return name
    several = " or ".join(f"'{name}'" for name in preset.columns[key])
    known = ", ".join(name for name in sheet.names if name)
    raise NoColumn(
        {
            key: f"{sheet.place}: no column {several}, which {preset.title} has for {key}; the file has: {known}; "
            f"name the one that is: {key} = {{ column = ... }}"
        }
    )


def _parameter(sheet: Sheet, name: str, key: str, decimal: str | None) -> tuple[float, str]:
    """Return a number of the header and its unit; `decimal` is the sign of fractions, where it is known."""
    if name not in sheet.parameters:
        raise NoColumn({key: f"{sheet.source}: parameter '{name}' for {key}; {nearest(name, sheet.parameters)}"})
    match = _VALUE.fullmatch(sheet.parameters[name])
    if match is None:
        raise DataError([f"{sheet.source}: parameter '{name}': got '{sheet.parameters[name]}', expected a number"])
    if in_threes(match[1]) and decimal != ",":
        raise DataError([f"{sheet.source}: parameter '{name}': got '{match[1]}'{_EITHER}"])
    return float(match[1].replace(",", ".")), match[2]


def joined(table: Table, other: Table, source: str, file: str) -> Table:
    """Return a table with the columns of another file, taken at the times of its own points.

    A point of the other file counts that is not further off than its points are from each other.

    Args:
      table: with the field.
      other: with the columns to add.
      source, file: names of both, for messages.
    Raises:
      DataError: the files are not of one run.
    """
    size = len(next(iter(table.columns.values())))
    if table.clock is None or other.clock is None:
        count = len(next(iter(other.columns.values())))
        if count != size:
            raise DataError(
                [f"{file}: {count} points, and {source} has {size}; expected as many, or time stamps in both files"]
            )
        added = dict(other.columns)
    else:
        order = np.argsort(other.clock, kind="stable")
        times = other.clock[order]
        right = np.clip(np.searchsorted(times, table.clock), 1, max(len(times) - 1, 1))
        left = right - 1
        right = np.minimum(right, len(times) - 1)
        nearer = np.where(abs(times[left] - table.clock) <= abs(times[right] - table.clock), left, right)
        apart = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        off = ~(abs(times[nearer] - table.clock) <= apart)
        if np.all(off):
            raise DataError(
                [
                    f"{file}: its time stamps, {times[0]:.0f} to {times[-1]:.0f}, and those of {source}, "
                    f"{table.clock[0]:.0f} to {table.clock[-1]:.0f}, have nothing in common; expected files of one run"
                ]
            )
        added = {key: np.where(off, np.nan, values[order][nearer]) for key, values in other.columns.items()}
    return dataclasses.replace(table, columns={**table.columns, **added}, units={**table.units, **other.units})


def blocks(field: np.ndarray, where: slice, table: Table) -> list[slice]:
    """Return the sweeps in a stretch of one current that the file itself keeps apart.

    A new number in the column of the sweeps begins one. A new block of the file does where the field jumps: blocks
    in which it goes on, or turns, are parts of one sweep, and one with too few points for a sweep stays with another.

    Args:
      field: of all points [T].
      where: the stretch.
      table: that the field is from.
    """
    start, stop = where.start, where.stop
    known = field[where][np.isfinite(field[where])]
    reach = switching.TURN * float(np.ptp(known)) if len(known) else 0.0
    numbers = table.columns.get("sweep")
    edges = set() if numbers is None else set(np.flatnonzero(np.diff(numbers[where])) + start + 1)
    jumps = {i for i in table.starts if start < i < stop and abs(field[i] - field[i - 1]) > reach}
    return _cut(start, stop, edges, sorted(jumps - edges))


def _cut(start: int, stop: int, edges: Iterable[int], jumps: Iterable[int]) -> list[slice]:
    cuts = sorted({start, stop, *edges})
    for i in jumps:
        before, after = max(cut for cut in cuts if cut <= i), min(cut for cut in cuts if cut > i)
        if min(i - before, after - i) >= switching.LEAST_IN_ALL:
            cuts = sorted({*cuts, i})
    return [slice(int(a), int(b)) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
