"""Text of lab files: its encoding, and numbers as instruments and programs write them."""

from __future__ import annotations

import codecs
import math
import re
from pathlib import Path

from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.data.rows import DataError

#: What instruments and programs write where there is no number: nothing, not a number, out of range.
MISSING = (
    "", "nan", "none", "null", "-", "--", "---", "n/a", "na", "#n/a", "overload", "ovld", "ovl",
    "ol", "over", "error", "err",
)  # fmt: skip
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
#: Signs of the fraction of a number, by what they are called.
DECIMALS = {".": "point", ",": "comma"}


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
    return DataError([f"{path.name}: no such file beside the experiment file; {nearest(path.name, _names(kin))}"])


def _names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths if path.is_file()]


def decimal_of(cell: str) -> str | None:
    """Return "." or "," where a cell is a number with a fraction, else None."""
    match = _FRACTION.fullmatch(cell.strip())
    return (match[1] or match[2]) if match else None


def number(cell: str, decimal: str = ".") -> float:
    """Return the number of a cell, NaN for words and sizes that stand for none.

    Raises:
      InputError: the cell is no number.
    """
    text = cell.strip().replace("\u2212", "-")
    if text.lower() in MISSING:
        return math.nan
    try:
        value = float(text.replace(",", ".") if decimal == "," else text)
        return math.nan if SCPI_MISSING < abs(value) < math.inf else value
    except ValueError:
        hint = f", with a decimal {DECIMALS[decimal]}" if decimal == "," else ""
        raise InputError(f"got '{text[:40]}', expected a number{hint}") from None


def is_word(cell: str) -> bool:
    """Return whether a cell is text, neither a number nor one that stands for a missing one."""
    text = cell.strip()
    if text.lower() in MISSING or decimal_of(text) is not None:
        return False
    try:
        number(text)
    except InputError:
        return True
    return False
