"""Places of files that belong to others."""

from __future__ import annotations

from pathlib import Path


def numbers_of(page: str | Path) -> Path:
    """Return the CSV file with the numbers of a page: fit-numbers.csv of fit.html, never the data fit.csv."""
    path = Path(page)
    return path.with_name(f"{path.stem}-numbers.csv")
