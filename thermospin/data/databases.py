"""Columns of a run of a QCoDeS database, with the units of its layouts."""

from __future__ import annotations

import io
import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from thermospin.base.names import nearest
from thermospin.data.sheets import NoColumn, Table
from thermospin.data.text import DataError


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
