"""Numbers and tables as text."""

from __future__ import annotations


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
