"""Tables of text cells, before their columns have a meaning, and numbers out of them.

What the numbers mean is for `experiment_file` to know; how an instrument lays out its files, for `formats`.
"""

from __future__ import annotations

import csv
import dataclasses
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.data.rows import DataError
from thermospin.data.text import DECIMALS, decimal_of, is_word, number

#: A name with its unit: "X1 (uV)", "B [mT]", "B / mT".
_UNIT = re.compile(r".*[(\[]\s*([^()\[\]]+?)\s*[)\]]\s*|[^()\[\]/]+?\s*/\s*([^/\s()\[\]]+)\s*")
#: What separates cells; a header that has a tab has its commas in names.
_SEPARATORS = "\t;,"
#: Numbers of lines and their text.
Lines = Sequence[tuple[int, str]]


@dataclasses.dataclass(frozen=True)
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
      separator: of cells; "" for white space.
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
    separator: str = ""
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
    cells = next(csv.reader([line], delimiter=separator)) if '"' in line else line.split(separator)
    return [cell.strip() for cell in cells]


def separator_of(line: str) -> str:
    """Return the first of tab, semicolon and comma that a line has, "" if it has none."""
    return next((sign for sign in _SEPARATORS if sign in line), "")


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
    while names and not names[-1]:
        names.pop()
    rows: list[tuple[int, list[str]]] = []
    starts: list[int] = []
    faults = []
    new, units_row = False, None
    for n, line in lines:
        bare = line.strip()
        if not bare.strip(separator or " "):
            new = True
            continue
        remark = bool(comment) and bare.startswith(comment)
        cells = _fitted(cells_of(bare.removeprefix(comment) if remark else line, separator), len(names))
        if cells and plain_name(cells[0]) == names[0] and [plain_name(cell) for cell in cells] == names:
            new = True
            continue
        if remark:
            continue
        if ragged and len(cells) < len(names):
            cells += [""] * (len(names) - len(cells))
        if len(cells) != len(names):
            more = ""
            if separator == "," and len(cells) == 2 * len(names):
                more = " (decimal commas between commas? save it with semicolons between the cells, or with points)"
            faults.append(f"{source}, line {n}: got {len(cells)} cells, expected {len(names)} as in the header{more}")
            continue
        if units_row is None and not rows:
            units_row = cells if _is_units(cells, names, wanted) else []
        if units_row and cells == units_row:
            continue
        if new and rows:
            starts.append(len(rows))
        new = False
        rows.append((n, cells))
    if faults:
        raise DataError(first_few(faults))
    if not rows:
        raise DataError([f"{source}: a header line and no numbers"])
    units = {name: cell.strip("()[]") for name, cell in zip(names, units_row or [], strict=False) if cell}
    return Sheet(source, tuple(names), tuple(rows), tuple(starts), units, separator)


def _fitted(cells: list[str], size: int) -> list[str]:
    """Return cells without the empty ones that a separator at the end of a line makes."""
    while len(cells) > size and not cells[-1]:
        cells = cells[:-1]
    return cells


def _is_units(cells: Sequence[str], names: Sequence[str], wanted: Iterable[str]) -> bool:
    chosen = {plain_name(name) for name in wanted}
    tried = [cell for name, cell in zip(names, cells, strict=True) if not chosen or name in chosen]
    words = sum(map(is_word, tried))
    return words >= min(2, len(tried)) and words == sum(bool(cell) for cell in tried)


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
        bare = line.strip().removeprefix(form.comment)
        for separator in (*(sign for sign in _SEPARATORS if sign in bare), ""):
            cells = [plain_name(cell) for cell in cells_of(bare, separator)]
            if names <= set(cells) if names else _heads(cells, separator, lines[i:], form):
                if repeated := _repeated(source, names, cells):
                    raise DataError(repeated)
                return cells, separator, i
    if not wanted:
        raise DataError([f"{source}: no line of names above lines of as many numbers; state header = 7, its line"])
    at, usual = next((one for one in candidates if not one[1].lstrip().startswith(form.comment)), candidates[0])
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
    rows = [line for _, line in below[:20] if line.strip() and not line.lstrip().startswith(form.comment)]
    found = [_fitted(cells_of(line, separator), len(cells)) for line in rows[:2]]
    # The first may have units.
    return any(
        len(row) == len(cells) and sum(bool(cell) and not is_word(cell) for cell in row) >= 2 for row in found
    ) and all(len(row) == len(cells) for row in found)


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
    sign = _decimal(sheet, numeric.values(), decimal or sheet.decimal)
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


def _decimal(sheet: Sheet, places: Iterable[int], stated: str | None) -> str:
    """Return the sign of the fractions of numbers; two in one file are a fault."""
    seen: dict[str, tuple[int, str, str]] = {}
    for place in places:
        for n, cells in sheet.rows:
            sign = decimal_of(cells[place])
            if sign is not None and sign not in seen:
                seen[sign] = (n, sheet.names[place], cells[place])
    if stated is not None and (other := next((sign for sign in seen if sign != stated), None)):
        n, name, cell = seen[other]
        raise DataError(
            [
                f"{sheet.source}, line {n}, column '{name}': got '{cell}' with a decimal {DECIMALS[other]}, where the "
                f"decimal {DECIMALS[stated]} is stated; expected one sign in all numbers"
            ]
        )
    if len(seen) > 1:
        (n, name, cell), (m, other_name, other_cell) = seen["."], seen[","]
        raise DataError(
            [
                f"{sheet.source}, line {m}, column '{other_name}': got '{other_cell}' with a decimal comma, and in "
                f"line {n}, column '{name}': '{cell}' with a decimal point; expected one sign in a file, and none "
                "between thousands: write the file again with points alone"
            ]
        )
    return stated or next(iter(seen), ".")


def first_few(faults: list[str], most: int = 5) -> list[str]:
    """Return the first few faults, and how many more there are."""
    more = [f"and {len(faults) - most} more lines like these"] if len(faults) > most else []
    return [*faults[:most], *more]
