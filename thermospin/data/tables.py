"""Named columns of numbers out of text files and QCoDeS databases, with the units that the files themselves name.

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
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
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


@dataclasses.dataclass(frozen=True)
class TextForm:
    """The form of a text file.

    Attributes:
      header: number of the line with the names of the columns, from 1; None: the first line that has all of them.
      skip: lines after the header that are left out.
      comment: lines that start with this text are comments.
    """

    header: int | None = None
    skip: int = 0
    comment: str = "#"


class NoColumn(DataError):
    """Columns that a file has not.

    Attributes:
      keys: of the columns.
    """

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__(faults.values())
        self.keys = frozenset(faults)


def read_csv(path: Path, wanted: Mapping[str, str], form: TextForm | None = None) -> Table:
    """Read columns of a text file.

    Lines above the header do no harm, the header may be a comment, and a line of units may follow it. Names are
    compared in the form NFKC, so that the micro sign and the Greek letter are one.

    Args:
      path: of the file; cells are separated by commas, semicolons, tabs, or else by white space.
      wanted: name of the column for each key.
      form: of the file.
    Raises:
      DataError: with all faults.
    """
    name, form = path.name, form or TextForm()
    lines = list(enumerate(_text(path).splitlines(), 1))
    header, separator, after = _header(name, lines, wanted, form)
    places = {key: header.index(_plain(column)) for key, column in wanted.items()}
    data = [
        (n, _cells(line, separator))
        for n, line in lines[after + form.skip :]
        if line.strip() and not line.lstrip().startswith(form.comment)
    ]
    units = {key: match[1] for key, column in wanted.items() if (match := _UNIT.fullmatch(column))}
    if data and len(data[0][1]) == len(header) and all(_is_word(data[0][1][place]) for place in places.values()):
        units |= {key: data[0][1][place].strip("()[]") for key, place in places.items()}
        data = data[1:]
    if not data:
        raise DataError([f"{name}: a header line and no numbers"])
    numbers: dict[str, list[float]] = {key: [] for key in wanted}
    faults = []
    for n, cells in data:
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
    return Table({key: np.array(number) for key, number in numbers.items()}, units)


def _text(path: Path) -> str:
    name = path.name
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        near = [file.name for file in path.parent.glob("*.csv")] if path.parent.is_dir() else []
        raise DataError([f"{name}: no such file beside the experiment file; {nearest(name, near)}"]) from None
    except OSError as error:
        raise DataError([f"{name}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise DataError(
            [f"{name}: not UTF-8 text ({error.reason} at byte {error.start}); save it as CSV UTF-8"]
        ) from None
    if "\0" in text:
        raise DataError([f"{name}: a binary file, expected CSV text or a database whose name ends in .db"])
    return text


def _header(
    name: str, lines: list[tuple[int, str]], wanted: Mapping[str, str], form: TextForm
) -> tuple[list[str], str, int]:
    """Return the names of the columns, the separator, and the number of the header's line."""
    if form.header is not None:
        if not 1 <= form.header <= len(lines):
            raise DataError([f"{name}: header: got line {form.header}, the file has {len(lines)} lines"])
        candidates = [lines[form.header - 1]]
    else:
        candidates = [(n, line) for n, line in lines if line.strip()]
    if not candidates:
        raise DataError([f"{name}: empty, expected a header line and numbers"])
    names = {_plain(column) for column in wanted.values()}
    for n, line in candidates:
        bare = line.lstrip().removeprefix(form.comment) if line.lstrip().startswith(form.comment) else line
        separator = max(",;\t", key=bare.count)
        cells = [_plain(cell) for cell in _cells(bare, separator)]
        if names <= set(cells):
            if repeated := _repeated(name, names, cells):
                raise DataError(repeated)
            return cells, separator, n
    usual = [line for _, line in candidates if not line.lstrip().startswith(form.comment)] or [candidates[0][1]]
    cells = [_plain(cell) for cell in _cells(usual[0], max(",;\t", key=usual[0].count))]
    faults = {
        key: f"{name}: column '{column}' for {key} is not there; {nearest(column, cells)}"
        for key, column in wanted.items()
        if _plain(column) not in cells
    }
    if repeated := _repeated(name, names, cells):
        raise DataError([*faults.values(), *repeated])
    raise NoColumn(faults)


def _repeated(name: str, wanted: Iterable[str], header: list[str]) -> list[str]:
    return [
        f"{name}: column '{column}' is there {header.count(column)} times, expected once"
        for column in sorted(wanted)
        if header.count(column) > 1
    ]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name.strip())


def _cells(line: str, separator: str) -> list[str]:
    if separator not in line:
        return line.split()
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator))]


def _is_word(cell: str) -> bool:
    """Return whether a cell is text, neither a number nor one that stands for a missing one."""
    try:
        return math.isnan(_number(cell)) and cell.strip().lower() not in MISSING
    except ValueError:
        return True


#: What instruments and programs write where there is no number: nothing, not a number, out of range.
MISSING = (
    "", "nan", "none", "null", "-", "--", "---", "n/a", "na", "#n/a", "overload", "ovld", "ovl",
    "ol", "over", "error", "err",
)  # fmt: skip
#: The size from which SCPI instruments mean no number: 9.9e37 is infinite, 9.91e37 not a number (SCPI-99, 7.2.1.4).
SCPI_MISSING = 9.8e37


def _number(cell: str) -> float:
    text = cell.strip()
    if text.lower() in MISSING:
        return math.nan
    try:
        number = float(text)
        return math.nan if SCPI_MISSING < abs(number) < math.inf else number
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
    parts: Mapping[str, str] | None = None,
) -> Table:
    """Read columns of a run of a QCoDeS database: one table for each run, one column for each parameter.

    What was measured at one point may stand in separate rows, each with nothing in the columns of the others: rows that
    follow each other and have the same numbers in all columns that are never empty are one point. A number beside an
    array belongs to each number of the array.

    Args:
      path: of the SQLite file, which is not changed.
      run: its number; None if there is but one.
      wanted: name of the parameter for each key.
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
            faults = {
                key: f"{name}, run {run}: parameter '{wish}' for {key} is not there; {nearest(wish, known)}"
                for key, wish in wanted.items()
                if wish not in known
            }
            if faults:
                raise NoColumn(faults)
            counts = ", ".join(f"COUNT({_quoted(column)})" for column in known)
            size, *filled = connection.execute(f"SELECT COUNT(*), {counts} FROM {table}").fetchone()
            common = [c for c, count in zip(known, filled, strict=True) if count == size and c != "id"]
            chosen = ", ".join(_quoted(column) for column in (*wanted.values(), *common))
            rows = connection.execute(f"SELECT {chosen} FROM {table}").fetchall()
            units = _units(connection, run)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise DataError([f"{name}: not a QCoDeS database that can be read: {error}"]) from None
    if not rows:
        raise DataError([f"{name}, run {run}: no rows"])
    points = _points(rows, [column not in common for column in wanted.values()])
    parts = parts or {}
    columns: dict[str, list[np.ndarray]] = {}
    for k, key in enumerate(wanted):
        place = f"{name}, run {run}, parameter '{wanted[key]}'"
        try:
            columns[key] = [_real(_cell(point[k]), parts.get(key)) for point in points]
        except _ComplexError:
            raise DataError(
                [f'{place}: complex numbers; state which part {key} is: part = "real", or part = "imag"']
            ) from None
        except (ValueError, TypeError, EOFError, OSError) as error:
            raise DataError([f"{place}: a cell is neither a number nor an array of numbers: {error}"]) from None
    sizes = [max(len(columns[key][i]) for key in wanted) for i in range(len(points))]
    for key, cells in columns.items():
        off = [i for i, cell in enumerate(cells) if len(cell) not in (1, sizes[i])]
        if off:
            raise DataError(
                [f"{name}, run {run}: {key} has {len(cells[off[0]])} numbers where others have {sizes[off[0]]}"]
            )
    arrays = {
        key: np.concatenate([np.broadcast_to(cell, size) for cell, size in zip(cells, sizes, strict=True)])
        for key, cells in columns.items()
    }
    return Table(arrays, {key: units[name] for key, name in wanted.items() if units.get(name)})


def _points(rows: list[tuple[Any, ...]], measured: Sequence[bool]) -> list[list[Any]]:
    """Merge neighbouring rows of one point.

    Args:
      rows: the cells that are wanted, then those that are the same in all rows of a point.
      measured: which of the wanted ones are not among the latter.
    """
    points: list[list[Any]] = []
    before: tuple[Any, ...] = ()
    for row in rows:
        cells, common = row[: len(measured)], row[len(measured) :]
        new = [k for k, cell in enumerate(cells) if measured[k] and cell is not None]
        if not points or not any(measured) or common != before or any(points[-1][k] is not None for k in new):
            points.append(list(cells))
        else:
            for k in new:
                points[-1][k] = cells[k]
        before = common
    return points


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
    if cell is None:
        return np.array([math.nan])
    return np.load(io.BytesIO(cell), allow_pickle=False).ravel() if isinstance(cell, bytes) else np.array([float(cell)])


def _real(cell: np.ndarray, part: str | None) -> np.ndarray:
    """Return real numbers, of complex ones the part that was asked for."""
    if not np.iscomplexobj(cell):
        return cell.astype(float)
    if part is None:
        raise _ComplexError
    return np.asarray(getattr(cell, part), float)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _list(ids: Iterable[int]) -> str:
    return ", ".join(map(str, ids)) or "none"
