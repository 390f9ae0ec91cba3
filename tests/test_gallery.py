"""The gallery: its device files are read, its index has every page, and each page says what a page has to say.

The build of the site runs the pages, which takes minutes.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from thermospin.device.reader import load, read

GALLERY = Path(__file__).parent.parent / "docs" / "gallery"
PAGES = sorted(path for path in GALLERY.glob("*.md") if path.name != "index.md")


def files(page: Path) -> dict[str, str]:
    """Device files that a page writes, by name."""
    return dict(re.findall(r"^%%writefile (\S+\.toml)\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_page_has_a_picture_and_says_what_is_missing(page: Path) -> None:
    text = page.read_text("utf-8")
    assert "## What is missing for a fair comparison" in text
    assert 'Image("device.png"' in text
    assert re.search(r"\*\*\d+\*\*, ", text), "no reference"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_number_of_a_page_has_a_mark(page: Path) -> None:
    lines = [line for line in page.read_text("utf-8").splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    (header,) = [row for row in rows if row[0] == "number"]
    if "mark" in header:
        column = header.index("mark")
        assert {row[column] for row in rows if row is not header} <= {"printed", "assumed"}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_device_files_and_their_variants_are_read(page: Path, tmp_path: Path) -> None:
    for name, text in files(page).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        device = read(text, name)
        assert device.name == page.stem
        for variant in device.variants:
            load(tmp_path / f"{name}@{variant}")
    assert files(page) or 'ts.load("' in page.read_text("utf-8")


def test_the_index_has_every_page() -> None:
    index = (GALLERY / "index.md").read_text("utf-8")
    for page in PAGES:
        assert re.search(rf"^{page.stem}$", index, re.M)
        assert f"]({page.name})" in index
