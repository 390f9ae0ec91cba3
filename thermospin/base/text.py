"""Numbers, tables and strings as text."""

from __future__ import annotations

import json
import re
import unicodedata

#: Raised and lowered digits and signs, and fractions: plain ones are something else.
_RAISED = re.compile("([\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u209c\u2150-\u218b\u2460-\u249b]+)")
#: Minus signs and hyphens of typesetters.
_MINUS = re.compile("[\u2010-\u2013\u2212]")


def plain(text: str) -> str:
    """Return a number or a unit in plain letters: one micro sign, one ohm sign, spaces that break, "-" for minus."""
    if text.isascii():
        return text
    parts = _RAISED.split(text)
    return _MINUS.sub("-", "".join(unicodedata.normalize("NFKC", s) if i % 2 == 0 else s for i, s in enumerate(parts)))


def percent(share: float) -> str:
    """Format a fraction as a percentage: 0.061 as "6.1 %"."""
    number = 100 * share
    return f"{number:.2g} %" if number < 99.5 else f"{number:.0f} %" if number < 1e5 else f"{number:.1e} %"


def columns(rows: list[list[str]], right: str) -> list[str]:
    """Pad cells to aligned columns; `right` has one letter per column, "r" for alignment to the right."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if side == "r" else cell.ljust(width)
            for cell, width, side in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]


def toml_string(text: str) -> str:
    """Return a text as a string of TOML; it may hold quotes, backslashes and line breaks."""
    # JSON writes strings as TOML does, but for one control character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
