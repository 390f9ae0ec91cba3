"""Places of files that belong to others."""

from __future__ import annotations

from pathlib import Path


def numbers_of(page: str | Path) -> Path:
    """Return the CSV file with the numbers of a page: fit-numbers.csv of fit.html, never the data fit.csv."""
    path = Path(page)
    return path.with_name(f"{path.stem}-numbers.csv")


def view_of(page: str | Path, number: int = 0) -> Path:
    """Return the page with the device of that number in space: fit-view.html of fit.html, then fit-view-2.html."""
    path = Path(page)
    return path.with_name(f"{path.stem}-view{f'-{number + 1}' if number else ''}.html")
