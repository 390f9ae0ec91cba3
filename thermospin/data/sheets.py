"""Tables of text cells, before their columns have a meaning, and numbers out of them.

What the numbers mean is for `experiment_file` to know; how an instrument lays out its files, for `formats`.
"""

from __future__ import annotations

import csv
import dataclasses
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.data.text import (
    DataError,
    decimal_of,
    decimal_sign,
    is_missing,
    is_word,
    leading_number,
    number,
    plain_number,
    uncommented,
)

#: A name with its unit: "X1 (uV)", "B [mT]", "B / mT".
_UNIT = re.compile(r".*[(\[]\s*([^()\[\]]+?)\s*[)\]]\s*|[^()\[\]/]+?\s*/\s*([^/\s()\[\]]+)\s*")
#: What separates cells; a header that has a tab has its commas in names.
_SEPARATORS = "\t;,"
#: Between names and numbers may be so many lines of words: units, comments, a formula.
_MOST_WORDS = 5
#: What too many cells between commas may be.
COMMAS = " (decimal commas between commas? save it with semicolons between the cells, or with points)"
#: Numbers of lines and their text.
Lines = Sequence[tuple[int, str]]


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Columns of numbers by key.

    Attributes:
      columns: (points,) each, as many for all; NaN where there is no number.
      units: as the file names them, of those columns where it does.
      starts: points with which a new block of the file begins.
      clock: when each point was taken, in units of the file (points,); None: not known.
      place: file and line of the names of the columns; "" for a database.
    """

    columns: Mapping[str, np.ndarray]
    units: Mapping[str, str]
    starts: tuple[int, ...] = ()
    clock: np.ndarray | None = None
    place: str = ""


@dataclasses.dataclass(frozen=True)
class TextForm:
    """The form of a text file.

    Attributes:
      header: number of the line with the names of the columns, from 1; None: the first line that has all of them.
      skip: lines after the header that are left out.
      comment: lines that start with this text are comments.
      decimal: sign of the fraction of numbers, "." or ","; None: the one that the numbers have.
      sheet: name of the sheet of a workbook; None: its only one.
    """

    header: int | None = None
    skip: int = 0
    comment: str = "#"
    decimal: str | None = None
    sheet: str | None = None


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A table of text cells.

    Attributes:
      source: name of the file, for messages.
      names: of the columns, see `plain_name`.
      rows: number of the line and cells of each.
      starts: indices of rows with which a new block begins: after an empty line, a repeated header.
      units: by name of the column, where the file has them apart from the names.
      decimal: sign of the fraction of numbers that the file states.
      clock: name of the column that tells when a row was taken; "" for none.
      parameters: what the file says beside its table, by name.
      header: number of the line with the names; 0: there is none.
    """

    source: str
    names: tuple[str, ...]
    rows: tuple[tuple[int, list[str]], ...]
    starts: tuple[int, ...] = ()
    units: Mapping[str, str] = dataclasses.field(default_factory=dict)
    decimal: str | None = None
    clock: str = ""
    parameters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    header: int = 0

    @property
    def place(self) -> str:
        """File and line of the names of the columns."""
        return f"{self.source}, line {self.header}" if self.header else self.source

    def unit(self, name: str) -> str:
        """Return the unit of a column as the file has it, "" if it has none."""
        if name in self.units:
            return self.units[name]
        match = _UNIT.fullmatch(name)
        return (match[1] or match[2]) if match else ""


class NoColumn(DataError):
    """Columns that a file has not.

    Attributes:
      by_key: the fault of each column.
    """

    def __init__(self, by_key: Mapping[str, str]) -> None:
        super().__init__(by_key.values())
        self.by_key = dict(by_key)


def plain_name(name: str) -> str:
    """Return the form in which names are compared: NFKC, so that the micro sign and the Greek letter are one."""
    return unicodedata.normalize("NFKC", name.strip())


def cells_of(line: str, separator: str) -> list[str]:
    """Return the cells of a line; separator "" is white space."""
    if separator not in line or not separator:
        return line.split()
    quoted = '"' in line
    cells = next(csv.reader([line], delimiter=separator, skipinitialspace=True)) if quoted else line.split(separator)
    return [cell.strip() for cell in cells]


def separator_of(line: str) -> str:
    """Return the first of tab, semicolon and comma that a line has, "" if it has none."""
    return next((sign for sign in _SEPARATORS if sign in line), "")


def records(lines: Lines) -> list[tuple[int, list[str]]]:
    """Return number and cells of the lines of a table whose first line has the names.

    Comments and what spreadsheets leave empty are passed over: rows, and columns without a name.
    """
    given = [
        (n, line) for n, line in lines if line.strip(f"{_SEPARATORS} ") and uncommented(line.lstrip('"'), "#") is None
    ]
    if given and given[0][1].startswith("sep="):  # a hint for Excel
        del given[0]
    # With one column there is nothing between cells, and a unit may stand behind a number.
    separator = (separator_of(given[0][1]) if given else "") or "\t"
    rows = [(n, next(csv.reader([line], delimiter=separator, skipinitialspace=True))) for n, line in given]
    table = [(n, [cell.strip() for cell in cells]) for n, cells in rows]
    header = table[0][1] if table else []
    used = {i for _, cells in table for i, cell in enumerate(cells) if (header[i] if i < len(header) else cell)}
    return [(n, [cell for i, cell in enumerate(cells) if i in used]) for n, cells in table]


def with_points(
    rows: Sequence[tuple[int, dict[str, str]]], texts: Collection[str], faults: list[str]
) -> list[tuple[int, dict[str, str]]]:
    """Return rows of cells by column, their numbers with decimal points and exponents that Python reads.

    Units may stand behind them.

    Args:
      rows: with the numbers of their lines.
      texts: columns that have no numbers.
      faults: to which those of `decimal_sign` are added.
    """
    numbers = [
        (f"line {n}, {name}", leading_number(cell))
        for n, cells in rows
        for name, cell in cells.items()
        if name not in texts
    ]
    try:
        commas = decimal_sign(numbers) == ","
    except DataError as error:
        commas = True
        faults += error.faults

    def with_point(cell: str) -> str:
        fraction = leading_number(cell)
        pointed = commas and decimal_of(fraction) == ","
        return fraction.replace(",", ".") + cell[len(fraction) :] if pointed else cell

    return [
        (n, {name: cell if name in texts else with_point(plain_number(cell)) for name, cell in c.items()})
        for n, c in rows
    ]


def plain(source: str, lines: Lines, form: TextForm, wanted: Mapping[str, str]) -> Sheet:
    """Read a table without a preset: the first line that has all names, then numbers.

    Lines above the header do no harm, the header may be a comment, and a line of units may follow it.

    Args:
      source: name of the file, for messages.
      lines: of the file.
      form: of the file.
      wanted: names of columns that the header has, by key; none: the first line of words above a line of numbers.
    Raises:
      DataError: no such header, or no numbers.
    """
    header, separator, after = _header(source, lines, wanted, form)
    sheet = body(source, lines[after + form.skip :], header, separator, form.comment, wanted.values())
    return dataclasses.replace(sheet, header=lines[after - 1][0])


def body(
    source: str,
    lines: Lines,
    header: Sequence[str],
    separator: str,
    comment: str,
    wanted: Iterable[str] = (),
    *,
    ragged: bool = False,
) -> Sheet:
    """Read the lines below a header.

    Args:
      source: name of the file, for messages.
      lines: below the header.
      header: names of the columns.
      separator: of cells.
      comment: what lines begin with that are left out.
      wanted: columns that have a unit if a line of units follows; none: any two.
      ragged: whether rows may be shorter than the header, their last cells empty.
    Raises:
      DataError: rows with another number of cells, all or the first few of them; or no row.
    """
    names = [plain_name(name) for name in header]
    width = len(names)
    while names and not names[-1]:
        names.pop()
    chosen = {plain_name(name) for name in wanted}
    rows: list[tuple[int, list[str]]] = []
    starts: list[int] = []
    faults: list[str] = []
    above: list[list[str]] = []
    new, ended = False, 0
    for n, line in lines:
        remark = uncommented(line, comment)
        given = cells_of(line if remark is None else remark, separator)
        cells = _fitted(given, width)
        if len(cells) <= width:
            # What stands beside the table, under no name, is a note.
            cells = cells[: len(names)]
        if not any(cells):
            new |= remark is None
            continue
        if plain_name(cells[0]) == names[0] and [plain_name(cell) for cell in cells] == names:
            new = True
            continue
        if remark is not None:
            continue
        if ragged and len(cells) < len(names):
            cells += [""] * (len(names) - len(cells))
        if len(cells) != len(names):
            more = COMMAS if separator == "," and len(cells) == 2 * len(names) else ""
            faults.append(f"{source}, line {n}: got {len(cells)} cells, expected {len(names)} as in the header{more}")
            continue
        if not rows and len(above) < _MOST_WORDS and _words(cells, names, chosen):
            above.append(cells)
        if cells in above:  # again, where a header is repeated
            continue
        if new and rows:
            starts.append(len(rows))
        new = False
        ended += len(given) == width + 1
        rows.append((n, cells))
    if faults:
        raise DataError(first_few(faults))
    if not rows:
        raise DataError([f"{source}: a header line and no numbers"])
    if ended == len(rows) and (names[0] in chosen or _UNIT.fullmatch(names[0])):
        _refuse_count(source, rows)
    tried = len(chosen) or len(names)
    of_units = next((cells for cells in above if _words(cells, names, chosen) >= min(2, tried)), [])
    units = {name: cell.strip("()[]") for name, cell in zip(names, of_units, strict=False) if cell}
    return Sheet(source, tuple(names), tuple(rows), tuple(starts), units)


def _fitted(cells: list[str], size: int) -> list[str]:
    """Return cells without the empty ones that a separator at the end of a line makes."""
    while len(cells) > size and not cells[-1]:
        cells = cells[:-1]
    return cells


def _words(cells: Sequence[str], names: Sequence[str], chosen: set[str]) -> int:
    """Return how many words a line has in the chosen columns, all of none; 0 with anything else there.

    "2nd harmonic" is words; where all begin with a fraction, as in "1.5 mV", they are numbers with a fault.
    """
    tried = [one for name, one in zip(names, cells, strict=True) if not chosen or name in chosen]
    tried = [cell for cell in tried if not is_missing(cell)]
    return len(tried) if all(map(is_word, tried)) and not all(decimal_of(leading_number(cell)) for cell in tried) else 0


def _refuse_count(source: str, rows: Sequence[tuple[int, list[str]]]) -> None:
    """Refuse a first column that numbers the rows, of rows that had one cell more than the header, an empty last one.

    Raises:
      DataError: that may be a column without a name, as R saves it, and then all others have the wrong ones.
    """
    first = [cells[0] for _, cells in rows]
    if len(first) > 2 and any(first == [str(i + start) for i in range(len(first))] for start in (0, 1)):
        raise DataError(
            [
                f"{source}, line {rows[0][0]}: got one cell more than in the header, the last one empty, and first "
                "cells that count the rows: which cells have no name? give the first column a name if it has none, or "
                "end the header with the separator too"
            ]
        )


def _header(source: str, lines: Lines, wanted: Mapping[str, str], form: TextForm) -> tuple[list[str], str, int]:
    """Return the names of the columns, the separator, and how many lines end with the header."""
    if form.header is not None:
        if not 1 <= form.header <= len(lines):
            raise DataError([f"{source}: header: got line {form.header}, the file has {len(lines)} lines"])
        candidates = [(form.header, lines[form.header - 1][1])]
    else:
        candidates = [(i, line) for i, (_, line) in enumerate(lines, 1) if line.strip()]
    if not candidates:
        raise DataError([f"{source}: empty, expected a header line and numbers"])
    names = {plain_name(name) for name in wanted.values()}
    for i, line in candidates:
        bare = line if (remark := uncommented(line, form.comment)) is None else remark
        for separator in (*(sign for sign in _SEPARATORS if sign in bare), ""):
            cells = [plain_name(cell) for cell in cells_of(bare, separator)]
            if names <= set(cells) if names else _heads(cells, separator, lines[i : i + 20], form):
                if repeated := _repeated(source, names, cells):
                    raise DataError(repeated)
                return cells, separator, i
    if not wanted:
        raise DataError([f"{source}: no line of names above lines of as many numbers; state header = 7, its line"])
    at, usual = next((one for one in candidates if uncommented(one[1], form.comment) is None), candidates[0])
    cells = [plain_name(cell) for cell in cells_of(usual, separator_of(usual))]
    place = f"{source}, line {lines[at - 1][0]}"
    missing = {key: absent(place, name, key, cells) for key, name in wanted.items() if plain_name(name) not in cells}
    if repeated := _repeated(source, names, cells):
        raise DataError([*missing.values(), *repeated])
    raise NoColumn(missing)


def _heads(cells: Sequence[str], separator: str, below: Lines, form: TextForm) -> bool:
    """Return whether cells are names of columns: words, above a line of as many cells with numbers among them."""
    if len(cells) < 2 or not all(is_word(cell) or not cell for cell in cells):
        return False
    rows = [line for _, line in below if line.strip() and uncommented(line, form.comment) is None]
    found = [_fitted(cells_of(line, separator), len(cells)) for line in rows[:_MOST_WORDS]]
    numbers = [[i for i, cell in enumerate(row) if cell and not is_word(cell)] for row in found]
    # The lines before may have units and comments.
    first = next((i for i, columns in enumerate(numbers) if len(columns) >= 2), None)
    if first is None or any(len(row) != len(cells) for row in found[: first + 1]):
        return False
    # A title has no names for most columns; that of the numbers of rows may have none.
    return 2 * sum(bool(cells[i]) for i in numbers[first]) > len(numbers[first])


def absent(source: str, name: str, key: str, known: Iterable[str]) -> str:
    """Return the fault of a column that is not there; `key` is what it was wanted for."""
    return f"{source}: column '{name}' for {key} is not there; {nearest(name, [one for one in known if one])}"


def _repeated(source: str, wanted: Iterable[str], header: list[str]) -> list[str]:
    return [
        f"{source}: column '{column}' is there {header.count(column)} times, expected once"
        for column in sorted(set(wanted))
        if header.count(column) > 1
    ]


def select(sheet: Sheet, wanted: Mapping[str, str], words: Iterable[str] = (), decimal: str | None = None) -> Table:
    """Return columns of a sheet as numbers.

    Args:
      sheet: of text cells.
      wanted: name of the column for each key.
      words: keys of columns whose cells may be words; they are numbered as they come.
      decimal: sign of the fraction of numbers, "." or ","; None: what the sheet states, or its numbers have.
    Raises:
      NoColumn: columns that are not there.
      DataError: cells that are no numbers, mixed signs of fractions.
    """
    plain_names = {key: plain_name(column) for key, column in wanted.items()}
    missing = {
        k: absent(sheet.place, wanted[k], k, sheet.names) for k, n in plain_names.items() if n not in sheet.names
    }
    if missing:
        raise NoColumn(missing)
    if repeated := _repeated(sheet.place, plain_names.values(), list(sheet.names)):
        raise DataError(repeated)
    places = {key: sheet.names.index(name) for key, name in plain_names.items()}
    numeric = {key: place for key, place in places.items() if key not in words}
    sign = decimal_sign(
        (
            (f"line {n}, column '{sheet.names[place]}'", cells[place])
            for place in numeric.values()
            for n, cells in sheet.rows
        ),
        decimal or sheet.decimal,
        (cell for _, cells in sheet.rows for cell in cells),
        source=f"{sheet.source}, ",
        advice='state decimal = "," if it is the first, or ',
    )
    faults: list[str] = []
    columns = {key: _numbers(sheet, place, sign, faults) for key, place in numeric.items()}
    if faults:
        raise DataError(first_few(faults))
    for key in set(places) - set(numeric):
        cells = [row[places[key]] for _, row in sheet.rows]
        order = {cell: float(k) for k, cell in enumerate(dict.fromkeys(cells))}
        columns[key] = np.array([order[cell] for cell in cells])
    units = {key: unit for key, name in plain_names.items() if (unit := sheet.unit(name))}
    clock = None
    if sheet.clock:
        clock = _numbers(sheet, sheet.names.index(sheet.clock), sign, faults)
    return Table({key: columns[key] for key in wanted}, units, sheet.starts, clock, sheet.place)


def _numbers(sheet: Sheet, place: int, decimal: str, faults: list[str]) -> np.ndarray:
    numbers = []
    for n, cells in sheet.rows:
        try:
            numbers.append(number(cells[place], decimal))
        except InputError as error:
            faults.append(f"{sheet.source}, line {n}, column '{sheet.names[place]}': {error}")
    return np.array(numbers, float)


def first_few(faults: list[str], most: int = 5) -> list[str]:
    """Return the first few faults, and how many more there are."""
    more = [f"and {len(faults) - most} more lines like these"] if len(faults) > most else []
    return [*faults[:most], *more]
