"""The pages that users read, as tests read and run them."""

from __future__ import annotations

import os
import re
from pathlib import Path

README = Path(__file__).parent.parent.parent / "README.md"
START = README.parent / "docs" / "start.md"


def block(mark: str, page: Path = README) -> str:
    """The code block after the line `<!-- mark -->` of a page."""
    found = re.search(rf"^<!-- {re.escape(mark)} -->\n```\w+\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    assert found, mark
    return found[1]


def environment(folder: Path) -> dict[str, str]:
    root = str(README.parent)
    # As users have it: tests have other defaults.
    inherited = {key: value for key, value in os.environ.items() if key not in ("JAX_ENABLE_X64", "XLA_FLAGS")}
    return inherited | {"PYTHONPATH": root, "THERMOSPIN_CACHE": str(folder / "cache")}
