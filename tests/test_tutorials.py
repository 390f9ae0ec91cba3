"""The tutorials: pages that the build of the site runs from start to end; here, what a build does not see."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
TUTORIALS = sorted(path.stem for path in (DOCS / "tutorials").glob("*.md"))
#: Folders that only some machine has.
PLACES = re.compile(r"(?<![\w.])/(home|Users|root|tmp|work|mnt|scratch)\b|[A-Z]:\\")
HEADER = re.compile(r"---\njupytext:\n.*?kernelspec:\n.*?\n---\n\n# (.+)\n", re.S)


def test_the_index_has_every_tutorial_once() -> None:
    listed = re.findall(r"^tutorials/(\w+)$", (DOCS / "index.md").read_text("utf-8"), re.M)
    assert len(TUTORIALS) >= 5 and sorted(listed) == TUTORIALS


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_is_a_notebook_with_a_title_and_its_parts(name: str) -> None:
    """A page without the header would be shown and not run."""
    text = (DOCS / "tutorials" / f"{name}.md").read_text("utf-8")
    found = HEADER.match(text)
    assert found and len(found[1]) > 10
    assert len(re.findall(r"^```\{code-cell\} ipython3$", text, re.M)) >= 5
    words = " ".join(text.split())
    for part in ("**What you have:**", "**What you want:**", "## What can go wrong", "## Where to read on"):
        assert part in words, part


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_names_no_place_of_a_machine(name: str) -> None:
    assert not PLACES.search((DOCS / "tutorials" / f"{name}.md").read_text("utf-8"))


def test_places_are_found() -> None:
    assert PLACES.search('open("/home/me/a.toml")') and PLACES.search(r"C:\data") and not PLACES.search("a/tmp/b, V/A")
