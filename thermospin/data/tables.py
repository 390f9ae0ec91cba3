"""Named columns of numbers out of CSV files and QCoDeS databases, with the units that the files themselves name.

A CSV names them in its header, "X1 (uV)" or "B [mT]", a database in the table of its layouts. What the numbers mean is
for `experiment_file` to know.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.data.rows import DataError

_UNIT = re.compile(r".*[(\[]\s*([^()\[\]]+?)\s*[)\]]\s*")


@dataclasses.dataclass(frozen=True)
class Table:
    """Columns by key.

    Attributes:
      columns: (points,) each, as many for all; NaN where there is no number.
      units: as the file names them, of those columns where it does.
    """

    columns: Mapping[str, np.ndarray]
    units: Mapping[str, str]


def read_csv(path: Path, wanted: Mapping[str, str]) -> Table:
    """Columns of a CSV file.

    Args:
      path: of the file; cells are separated by commas, semicolons or tabs, lines that start with # are comments.
      wanted: name of the column for each key.
    Raises:
      DataError: with all faults.
    """
    name = path.name
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        near = [file.name for file in path.parent.glob("*.csv")] if path.parent.is_dir() else []
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
        times = header.count(column)
        if times == 0:
            faults.append(f"{name}: column '{column}' for {key} is not there; {nearest(column, header)}")
        elif times > 1:
            faults.append(f"{name}: column '{column}' is there {times} times, expected once")
    if len(lines) == 1:
        faults.append(f"{name}: a header line and no numbers")
    if faults:
        raise DataError(faults)
    places = {key: header.index(column) for key, column in wanted.items()}
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
    named = {key: _UNIT.fullmatch(column) for key, column in wanted.items()}
    return Table(
        {key: np.array(number) for key, number in numbers.items()},
        {key: match[1] for key, match in named.items() if match is not None},
    )


def _number(cell: str) -> float:
    text = cell.strip()
    if text.lower() in ("", "nan", "none", "null", "-"):
        return math.nan
    try:
        return float(text)
    except ValueError:
        comma = text.count(",") == 1 and text.replace(",", "").lstrip("+-").replace("e", "").replace("-", "").isdigit()
        hint = ", with a decimal comma; use a point" if comma else ""
        raise InputError(f"got '{text[:40]}', expected a number{hint}") from None


def _first(faults: list[str], most: int = 5) -> list[str]:
    """Return the first few, and how many more there are."""
    more = [f"and {len(faults) - most} more lines like these"] if len(faults) > most else []
    return [*faults[:most], *more]


def read_database(
    path: Path,
    run: int | None,
    wanted: Mapping[str, str],
    together: Iterable[str],
    parts: Mapping[str, str] | None = None,
) -> Table:
    """Read columns of a run of a QCoDeS database: one table for each run, one column for each parameter.

    Parameters that depend on the same ones may stand in separate rows, with nothing in the columns of the others.

    Args:
      path: of the SQLite file, which is not changed.
      run: its number; None if there is but one.
      wanted: name of the parameter for each key.
      together: keys of what was measured; the others are what it depends on.
      parts: "real" or "imag" by the keys of complex parameters.
    Raises:
      DataError: with all faults.
    """
    name = path.name
    if not path.is_file():
        near = [file.name for file in path.parent.glob("*.db")] if path.parent.is_dir() else []
        raise DataError([f"{name}: no such file beside the experiment file; {nearest(name, near)}"])
    try:
        with closing(_open(path)) as connection:
            runs = dict(connection.execute("SELECT run_id, result_table_name FROM runs").fetchall())
            if run is None and len(runs) != 1:
                raise DataError([f"{name}: run: missing, expected one of the runs {_list(runs)}"])
            run = next(iter(runs)) if run is None else run
            if run not in runs:
                raise DataError([f"{name}: run: got {run}, expected one of {_list(runs)}"])
            table = _quoted(str(runs[run]))
            known = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            faults = [
                f"{name}, run {run}: parameter '{wish}' for {key} is not there; {nearest(wish, known)}"
                for key, wish in wanted.items()
                if wish not in known
            ]
            if faults:
                raise DataError(faults)
            chosen = ", ".join(_quoted(name) for name in wanted.values())
            rows = connection.execute(f"SELECT {chosen} FROM {table}").fetchall()
            units = _units(connection, run)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise DataError([f"{name}: not a QCoDeS database that can be read: {error}"]) from None
    if not rows:
        raise DataError([f"{name}, run {run}: no rows"])
    parts = parts or {}
    columns = []
    for key, column in zip(wanted, zip(*rows, strict=True), strict=True):
        place = f"{name}, run {run}, parameter '{wanted[key]}'"
        try:
            columns.append([None if cell is None else _real(_cell(cell), parts.get(key)) for cell in column])
        except _ComplexError:
            raise DataError(
                [f'{place}: complex numbers; state which part {key} is: part = "real", or part = "imag"']
            ) from None
        except (ValueError, TypeError, EOFError, OSError) as error:
            raise DataError([f"{place}: a cell is neither a number nor an array of numbers: {error}"]) from None
    cells = dict(zip(wanted, columns, strict=True))
    measured = [key for key in together if key in wanted]
    arrays: dict[str, np.ndarray] = {}
    for key in measured:
        here = [i for i, cell in enumerate(cells[key]) if cell is not None]
        arrays[key] = _joined(cells[key], here)
        for other in (name for name in wanted if name not in measured):
            joined = _joined(cells[other], here)
            if len(joined) != len(arrays[key]) or (
                other in arrays and not np.array_equal(joined, arrays[other], equal_nan=True)
            ):
                raise DataError([f"{name}, run {run}: {key} and {measured[0]} were not taken at the same points"])
            arrays[other] = joined
    return Table(arrays, {key: units[name] for key, name in wanted.items() if units.get(name)})


def _open(path: Path) -> sqlite3.Connection:
    """Read-only; where not even the files of the write-ahead log can be made beside it, as if nobody wrote to it."""
    address = path.resolve().as_uri()
    connection = sqlite3.connect(f"{address}?mode=ro", uri=True)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        connection = sqlite3.connect(f"{address}?immutable=1", uri=True)
    return connection


def _units(connection: sqlite3.Connection, run: int) -> dict[str, str]:
    """Units by parameter, if the database has them."""
    try:
        rows = connection.execute("SELECT parameter, unit FROM layouts WHERE run_id = ?", (run,)).fetchall()
    except sqlite3.Error:
        return {}
    return {str(parameter): str(unit) for parameter, unit in rows if unit}


class _ComplexError(Exception):
    """Complex numbers, and nothing said of their parts."""


def _cell(cell: Any) -> np.ndarray:
    return np.load(io.BytesIO(cell), allow_pickle=False).ravel() if isinstance(cell, bytes) else np.array([float(cell)])


def _real(cell: np.ndarray, part: str | None) -> np.ndarray:
    """Return real numbers, of complex ones the part that was asked for."""
    if not np.iscomplexobj(cell):
        return cell.astype(float)
    if part is None:
        raise _ComplexError
    return np.asarray(getattr(cell, part), float)


def _joined(cells: list[Any], here: Iterable[int]) -> np.ndarray:
    parts = [np.array([math.nan]) if cells[i] is None else cells[i] for i in here]
    return np.concatenate(parts) if parts else np.zeros(0)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _list(ids: Iterable[int]) -> str:
    return ", ".join(map(str, ids)) or "none"
