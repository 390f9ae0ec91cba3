"""Check that lines of prose in Markdown files are at most 120 columns wide, but for tables, links, formulas, code.

python scripts/prose_width.py FILE...
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

WIDTH = 120


def too_wide(text: str) -> Iterator[int]:
    """Yield the numbers of the lines of prose that are too wide."""
    code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```") or line.count("$$") == 1:
            code = not code
        elif not code and len(line) > WIDTH and not line.startswith("|") and "](" not in line:
            yield number


def main(paths: list[str]) -> int:
    """Print every line that is too wide, and return 1 if there is one."""
    wide = [f"{path}:{number}" for path in paths for number in too_wide(Path(path).read_text(encoding="utf-8"))]
    for place in wide:
        print(f"{place}: wider than {WIDTH} columns")
    return int(bool(wide))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
