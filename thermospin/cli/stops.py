"""SIGINT and SIGTERM end the process at once, with exit code 130 or 143, at whatever moment they come.

An exception raised by a signal handler is swallowed, or ends the interpreter, where it meets a callback of C++ or a
destructor. So handlers do nothing; a thread reads the signal's number from a socket, which C writes to even while the
main thread compiles, has what is there already printed and written (`first`), removes unfinished files, and ends the
process. Results appear complete or not at all (`files.atomic_file`), and a journal drops a line that was cut off: there
is nothing else to put in order.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

#: What is said, and the exit code, by signal.
ENDS = {signal.SIGINT: ("interrupted", 130), signal.SIGTERM: ("terminated", 143)}

#: Time for what is done first [s].
PATIENCE = 3.0

_journals: list[Path] = []
_first: list[Callable[[], None]] = []
_installed: list[signal.Signals] = []


def resumable(journal: Path | None) -> None:
    """Say where this command keeps what it has computed, None for nowhere, for the message of a stop."""
    _journals[:] = [] if journal is None else [journal]


def first(give: Callable[[], None] | None) -> None:
    """Have this done first, None for nothing: it has to be quick, and free of imports, which may be locked."""
    _first[:] = [] if give is None else [give]


def install() -> None:
    """Handle the signals from now on; SIGINT not if it is ignored, as in a job that runs in the background."""
    listening, told = socket.socketpair()
    told.setblocking(False)
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    _installed[:] = [number for number in ENDS if signal.getsignal(number) is not signal.SIG_IGN]
    take_back()
    threading.Thread(target=_wait, args=(listening, told), daemon=True, name="stops").start()


def take_back() -> None:
    """Handle the signals again, after a library has taken them for itself."""
    for number in _installed:
        signal.signal(number, _nothing)


def _nothing(*_: object) -> None:
    """Do nothing: the thread does what there is to do."""


def _wait(listening: socket.socket, told: socket.socket) -> None:
    del told  # held, so that it stays open
    while number := listening.recv(1):
        if number[0] in _installed:
            _end(signal.Signals(number[0]))


def _end(number: signal.Signals) -> None:
    words, code = ENDS[number]
    kept = [journal for journal in _journals if journal.exists()]
    if kept:
        words += f"; {kept[0]} keeps what was computed, run the same command again to resume"
    # A status line hides the cursor.
    cursor = "\x1b[?25h\n" if sys.stderr is not None and sys.stderr.isatty() else ""
    if wanted := _first[:]:
        _tell(cursor)
        giving = threading.Thread(target=_give, args=wanted, daemon=True)
        giving.start()
        giving.join(PATIENCE)
        cursor = ""
    # Not imported: the main thread may be in the middle of that.
    files = sys.modules.get("thermospin.base.files")
    for part in list(getattr(files, "UNFINISHED", ())):
        with contextlib.suppress(OSError):
            part.unlink()
    _tell(f"{cursor}{words}\n")
    os._exit(code)


def _give(give: Callable[[], None]) -> None:
    try:
        give()
    except OSError as error:
        _tell(f"{error}\n")


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, text.encode())
