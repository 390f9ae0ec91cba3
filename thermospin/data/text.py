"""Text of lab files: its encoding, and numbers as instruments and programs write them."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterable
from pathlib import Path

from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.base.text import plain

#: What instruments and programs write where there is no number: nothing, not a number, out of range.
MISSING = (
    "", "none", "null", "n/a", "na", "<na>", "nat", "overload", "overld", "ovld", "ovl", "overrange", "over range",
    "over-range", "overflow", "out of range", "ol", "o.l", "o.l.", "over", "error", "err", "invalid",
)  # fmt: skip
#: Faults of spreadsheets, as Excel writes most of them: "#DIV/0!", "#NAME?", "#WERT!", "#N/A", "#NV".
_OF_SPREADSHEETS = r"#[\u00a1\u00bf]?[A-Z\u00c0-\u00dd]+(?:/0)?[!?]|#[A-Z]/[A-Z](?: N/A)?!?|#NA|#NV"
#: These, what runtimes of C make of a number that is none, with the sign of the fraction of their country, and marks.
_MISSING = re.compile(
    _OF_SPREADSHEETS
    + r"|(?i:#n/a|err:\d+|[+-]?nan(?:\(\w*\))?|[+-]?1[.,]#(?:qnan|snan|ind|inf)\d*)|[-\u2014]+|\*+|#+|\?+"
)
#: A line that begins with such a fault, and is no comment.
_FAULT_FIRST = re.compile(rf"(?:{_OF_SPREADSHEETS})(?=\s*(?:[\t;,]|$))")
#: The size from which SCPI instruments mean no number: 9.9e37 is infinite, 9.91e37 not a number (SCPI-99, 7.2.1.4).
SCPI_MISSING = 9.8e37
#: Marks of encodings at the beginning of a file; that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
#: Without a mark: the first that fits. Windows programs write cp1252; every byte is a letter of latin-1.
_ENCODINGS = ("utf-8", "cp1252", "latin-1")
#: Control characters that no text has.
_BINARY = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_FRACTION = re.compile(r"[+-]?\d*([.,])\d+(?:e[+-]?\d+)?|[+-]?\d+([.,])(?:e[+-]?\d+)?", re.IGNORECASE)
#: The number that a cell begins with: "0,15 um", "2,5 %".
_LEADING = re.compile(r"[+-]?\d[\d.,]*(?:e[+-]?\d+)?|[+-]?[.,]\d+(?:e[+-]?\d+)?", re.IGNORECASE)
#: A number in double precision as Fortran writes it, 1.234D-05; it always has the sign of a fraction.
_FORTRAN = re.compile(r"([+-]?(?:\d+[.,]\d*|[.,]\d+))d(?=[+-]?\d+(?![\w.,]))", re.IGNORECASE)
#: Digits in threes, which a decimal comma and one between thousands both leave.
_THREES = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")
#: Numbers with signs between thousands, and no other.
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(?:([.,' \u2019])\d{3})(?:\1\d{3})*(?:[.,]\d*)?(?:e[+-]?\d+)?", re.IGNORECASE)
#: Signs of the fraction of a number, by what they are called.
DECIMALS = {".": "point", ",": "comma"}


class DataError(InputError):
    """Measured data that cannot be used, with all faults, one line each."""


class Thousands(DataError):
    """Commas that are between thousands, or may be.

    Attributes:
      either: the number of the first, where the comma may be a decimal one; "" where it cannot.
    """

    def __init__(self, fault: str, either: str = "") -> None:
        super().__init__([fault])
        self.either = either


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, UTF-16 or UTF-32 with their marks, cp1252, or latin-1.

    Raises:
      DataError: the file is not there, cannot be read, or is no text.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise no_file(path) from None
    except OSError as error:
        raise DataError([f"{path.name}: cannot be read: {error.strerror}"]) from None
    marked = next((encoding for mark, encoding in _MARKS if content.startswith(mark)), None)
    for encoding in _ENCODINGS if marked is None else (marked,):
        try:
            text = content.decode(encoding)
            break
        except UnicodeDecodeError as error:
            why = f"{error.reason} at byte {error.start}"
    else:
        raise DataError([f"{path.name}: begins like {marked} text and is not ({why}); save it as UTF-8"])
    if _BINARY.search(text):
        raise DataError(
            [f"{path.name}: a binary file, expected text, an Excel sheet (.xlsx) or a QCoDeS database (.db)"]
        )
    return text


def no_file(path: Path) -> DataError:
    """Return the error for a file that is not there, with those that are."""
    kin = sorted(path.parent.glob(f"*{path.suffix}")) if path.parent.is_dir() else []
    return DataError([f"{path.name}: no such file; {nearest(path.name, _names(kin))}"])


def _names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths if path.is_file()]


def uncommented(line: str, comment: str) -> str | None:
    """Return what a comment says, None for a line that is none; a fault of a spreadsheet in its first cell is none."""
    bare = line.lstrip()
    if not comment or not bare.startswith(comment) or _FAULT_FIRST.match(bare):
        return None
    return bare.removeprefix(comment)


def plain_number(cell: str) -> str:
    """Return a cell in plain letters, and with an e before the exponent of a number that it begins with."""
    text = plain(cell.strip())
    return _FORTRAN.sub(r"\1e", text, count=1) if _FORTRAN.match(text) else text


def decimal_of(cell: str) -> str | None:
    """Return "." or "," where a cell is a number with a fraction, else None."""
    match = _FRACTION.fullmatch(plain_number(cell))
    return (match[1] or match[2]) if match else None


def leading_number(cell: str) -> str:
    """Return the number that a cell begins with, before its unit; "" without one."""
    match = _LEADING.match(plain_number(cell))
    return match[0] if match else ""


def in_threes(cell: str) -> bool:
    """Return whether the comma of a number may be a decimal one, or one between thousands: "14,986"."""
    return _THREES.fullmatch(plain_number(cell)) is not None


def decimal_sign(
    cells: Iterable[tuple[str, str]],
    stated: str | None = None,
    others: Iterable[str] = (),
    *,
    source: str = "",
    advice: str = "",
) -> str:
    """Return the sign of the fractions of numbers, "." or ","; "." where no number has one.

    Args:
      cells: place, for messages, and text of each.
      stated: sign that the file or the user states; None: the one that the numbers have.
      others: further cells of the file, which may tell a decimal comma from one between thousands.
      source: what messages begin with.
      advice: how to state the sign, for messages; "" where it cannot be stated.
    Raises:
      DataError: both signs.
      Thousands: commas between thousands, or commas that are all followed by three digits and may be either.
    """
    seen: dict[str, tuple[str, str]] = {}
    decimal_commas = False
    for place, cell in cells:
        if "," not in cell and ("." not in cell or "." in seen):
            continue
        sign = decimal_of(cell)
        if sign is None and in_threes(cell) and stated is None:
            said = "with commas between thousands; expected numbers without: write the file again"
            raise Thousands(f"{source}{place}: got '{cell}' {said}")
        if sign is not None:
            seen.setdefault(sign, (place, cell))
            decimal_commas |= sign == "," and not in_threes(cell)
    if stated is not None and (other := next((sign for sign in seen if sign != stated), None)):
        place, cell = seen[other]
        raise DataError(
            [
                f"{source}{place}: got '{cell}' with a decimal {DECIMALS[other]}, where the decimal {DECIMALS[stated]} "
                "is stated; expected one sign in all numbers"
            ]
        )
    if len(seen) > 1:
        (place, cell), (other, other_cell) = seen[","], seen["."]
        raise DataError(
            [
                f"{source}{place}: got '{cell}' with a decimal comma, and {other}: got '{other_cell}' with a decimal "
                "point; expected one sign in a file, and none between thousands: write the file again with points "
                "alone, a workbook with numbers in place of text"
            ]
        )
    if "," in seen and stated is None and not decimal_commas:
        if not any(decimal_of(cell) == "," and not in_threes(cell) for cell in others):
            place, cell = seen[","]
            either = (
                f"{cell.replace(',', '.')} with a decimal comma and {cell.replace(',', '')} with one between thousands"
            )
            raise Thousands(
                f"{source}{place}: got '{cell}', which is {either}, and no other number of the file tells; {advice}"
                "write the file again with decimal points and nothing between thousands",
                cell,
            )
    return stated or next(iter(seen), ".")


def number(cell: str, decimal: str = ".") -> float:
    """Return the number of a cell, NaN for words and sizes that stand for none, infinite ones among them.

    Raises:
      InputError: the cell is no number.
    """
    text = plain_number(cell)
    try:
        value = float(text.replace(",", ".") if decimal == "," else text)
        return math.nan if abs(value) > SCPI_MISSING else value
    except ValueError:
        if is_missing(text):
            return math.nan
        hint = f", with a decimal {DECIMALS[decimal]}" if decimal == "," else ""
        if text.startswith("="):
            hint += "; a formula without its result: open the workbook in a spreadsheet and save it once"
        elif _GROUPED.fullmatch(text):
            hint += ", and nothing between thousands"
        raise InputError(f"got '{text[:40]}', expected a number{hint}") from None


def is_missing(cell: str) -> bool:
    """Return whether a cell is empty, or a word or mark that stands for a missing number."""
    text = plain(cell.strip())
    return text.lower() in MISSING or _MISSING.fullmatch(text) is not None


def is_word(cell: str) -> bool:
    """Return whether a cell is text, neither a number nor one that stands for a missing one, nor a formula."""
    text = cell.strip()
    if is_missing(text) or decimal_of(text) is not None or text.startswith("="):
        return False
    try:
        number(text)
    except InputError:
        return True
    return False
