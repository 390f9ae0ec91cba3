"""A line that says what is going on, for terminals, notebooks and logs."""

from __future__ import annotations

import sys
import time
from typing import Any

#: Least time between two updates of a line in a notebook [s]: each is a message to a browser.
BETWEEN = 0.1


class Progress:
    """A status line to hand to verbs as `progress`: nothing is shown unless one is asked for.

    In a notebook one line is replaced in place. On a terminal, within `with Progress() as progress:`, a status line is;
    elsewhere a new line is written to stderr every few seconds.

    Args:
      every: time between two lines where none can be replaced [s].
    """

    def __init__(self, every: float = 5.0) -> None:
        self._every, self._last = every, time.monotonic()
        self._notebook = _in_notebook()
        self._status: Any = None
        self._line: Any = None

    def __enter__(self) -> Progress:
        if not self._notebook and sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True).status("starting")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
        if self._line is not None:
            self._line.update(_Line(""))

    def __call__(self, text: str) -> None:
        """Show the line."""
        now = time.monotonic()
        if self._status is not None:
            from rich.text import Text

            self._status.update(Text(text))  # a name in [brackets] is no markup
        elif self._notebook:
            if self._line is None:
                from IPython.display import display

                self._line, self._last = display(_Line(text), display_id=True), now
            elif now - self._last >= BETWEEN:
                self._last = now
                self._line.update(_Line(text))
        elif now - self._last >= self._every:
            self._last = now
            print(text, file=sys.stderr, flush=True)


class _Line:
    """A line of text as a notebook shows it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _in_notebook() -> bool:
    """Return whether a kernel of a notebook runs this."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")
