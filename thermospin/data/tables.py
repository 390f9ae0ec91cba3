"""Files of tables, opened: text in any encoding, Excel sheets, and formats with a preset."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from thermospin.base.frames import optional
from thermospin.base.names import nearest
from thermospin.data.formats import Format, recognise
from thermospin.data.sheets import Lines, NoColumn, Sheet, TextForm, plain
from thermospin.data.text import DataError, decimal_of, in_threes, no_file, read_text

DATABASES = (".db", ".sqlite")
WORKBOOKS = (".xlsx", ".xlsm")
#: Endings of tables that people give as data.
TABLES = (".csv", ".tsv", ".txt", *WORKBOOKS)
_STATED = " (sheet = NAME in an experiment file; for another table save that sheet alone)"
_OLD_WORKBOOKS = (".xls", ".xlsb", ".ods")


def read_lines(path: Path, sheet: str | None = None, *, percent: bool = False) -> Lines:
    """Return the lines of a text file with their numbers from 1, or those of a sheet of a workbook, cells between tabs.

    Args:
      path: of the file.
      sheet: name of the sheet; None for the only one, and for text.
      percent: whether a cell of a workbook that is shown in percent is text with that sign, and not the number.
    Raises:
      DataError: the file cannot be read, or has not that sheet.
      InputError: a workbook, and openpyxl is not installed.
    """
    if path.suffix.lower() in WORKBOOKS:
        return _workbook(path, sheet, percent)
    if path.suffix.lower() in _OLD_WORKBOOKS and path.is_file():
        raise DataError([f"{path.name}: a workbook of another kind; save it as .xlsx, or as CSV"])
    if sheet is not None:
        raise DataError([f"{path.name}: sheet: got '{sheet}', and only a workbook ({WORKBOOKS[0]}) has sheets"])
    return list(enumerate(read_text(path).splitlines(), 1))


def sheets_of(path: Path) -> list[str | None]:
    """Return the names of the sheets of a workbook, None for the one table of another file."""
    if path.suffix.lower() not in WORKBOOKS:
        return [None]
    with closing(_book(path)) as book:
        return list(book.sheetnames)


def open_sheet(path: Path, form: TextForm, preset: Format | None, wanted: Mapping[str, str]) -> Sheet:
    """Return the table of a file as text.

    Args:
      path: of the file.
      form: of the file.
      preset: its format; None for a plain table.
      wanted: names of columns by key, by which the header of a plain table is found.
    Raises:
      DataError: with all faults of the file.
    """
    lines = read_lines(path, form.sheet)
    if preset is None:
        try:
            return plain(path.name, lines, form, wanted)
        except NoColumn as error:
            if (likely := recognise(lines)) is None:
                raise
            advice = f'; it looks like {likely.title}: try format = "{likely.name}"'
            raise NoColumn({key: fault + advice for key, fault in error.by_key.items()}) from None
    if not any(line.strip() for _, line in lines):
        raise DataError([f"{path.name}: empty, expected {preset.title}"])
    sheet = preset.read(path.name, lines)
    return dataclasses.replace(sheet, units={**sheet.units, **preset.units})


def _book(path: Path, results: bool = False) -> Any:
    """Open a workbook with the results of its formulas, or with the formulas themselves."""
    if not path.is_file():
        raise no_file(path)
    openpyxl = optional("openpyxl", f"{path.name}: an Excel sheet", "data")
    try:
        return openpyxl.load_workbook(path, read_only=True, data_only=results)
    except Exception as error:  # openpyxl raises what its parsers raise
        raise DataError([f"{path.name}: not a workbook that can be read: {error}; save it again as .xlsx"]) from None


def _workbook(path: Path, sheet: str | None, percent: bool) -> Lines:
    with closing(_book(path)) as book:
        names = book.sheetnames
        if sheet is None and len(names) > 1:
            raise DataError([f"{path.name}: sheet: missing, expected one of: {', '.join(names)}{_STATED}"])
        if sheet is not None and sheet not in names:
            raise DataError([f"{path.name}: sheet: got '{sheet}'; {nearest(sheet, names)}"])
        cells = list(book[sheet or names[0]].iter_rows())
    rows = [[_shown(cell, percent) for cell in row] for row in cells]
    formulas = [(i, j) for i, row in enumerate(cells) for j, cell in enumerate(row) if cell.data_type == "f"]
    if formulas:
        # Programs that write formulas leave it to Excel to store what they give; `number` tells formulas.
        with closing(_book(path, results=True)) as book:
            results = list(book[sheet or names[0]].iter_rows())
        for i, j in formulas:
            found = _shown(results[i][j], percent)
            formula = cells[i][j].value  # that of an array is in its text
            rows[i][j] = getattr(formula, "text", formula) if found is None else found
    rows = _with_points(rows)
    width = max(map(len, rows), default=0)
    return [(n, "\t".join([*map(_cell, row), *[""] * (width - len(row))])) for n, row in enumerate(rows, 1)]


def _with_points(rows: list[list[Any]]) -> list[list[Any]]:
    """Return cells with decimal points in numbers that are text with a comma, if other cells are numbers themselves.

    Where no comma must be a decimal one, or text has points as well, all stay, and what reads numbers tells the signs.
    """
    signs = {text: decimal_of(text) for row in rows for text in row if isinstance(text, str)}
    commas = {text for text, sign in signs.items() if sign == ","}
    mixed = any(isinstance(value, float) for row in rows for value in row)
    if not mixed or "." in signs.values() or all(map(in_threes, commas)):
        return rows
    return [[value.replace(",", ".") if value in commas else value for value in row] for row in rows]


def _shown(cell: Any, percent: bool) -> Any:
    """Return the value of a cell; with `percent` one that is shown in percent is text with that sign."""
    if percent and isinstance(cell.value, float | int):
        # Letters in quotation marks or behind a backslash are shown as they are, and scale nothing.
        if "%" in re.sub(r'"[^"]*"|\\.|_.', "", cell.number_format or ""):
            return f"{100 * cell.value:.12g} %"
    return cell.value


def _cell(value: Any) -> str:
    """Return a cell of a workbook as text; a tab or a new line in it would be taken for a separator."""
    return "" if value is None else " ".join(str(value).split())
