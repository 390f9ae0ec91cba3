"""The command `thermospin`: signals are handled before anything heavy is imported."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from thermospin.base.errors import FileError
from thermospin.cli import stops


class _Output(io.FileIO):
    """Standard output or error where it is no terminal: after the first failure what is written is dropped.

    A reader that has gone away has seen enough: the command goes on, and has its files and its exit code. Another
    failure, such as a full disk, is raised once.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(stream.fileno(), "w", closefd=False)
        self._title, self._failed = stream.name.strip("<>"), False

    def write(self, data: Any) -> int:
        if not self._failed:
            try:
                return super().write(data)
            except OSError as error:
                self._failed = True
                if not isinstance(error, BrokenPipeError):
                    raise FileError(f"{self._title}: cannot be written: {error.strerror}") from None
        return len(data)


def _lenient(stream: Any) -> Any:
    """Return the stream, with question marks for letters that it does not know, and dropping what nobody reads."""
    if stream is None:  # closed
        return open(os.devnull, "w", errors="replace")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.reconfigure(errors="replace")  # a terminal that knows no Greek
    if stream.isatty():
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(stream)),
        stream.encoding,
        "replace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def main() -> None:
    """Run the command; a stdout that cannot be written, such as on a full disk, is one line and exit code 2."""
    stops.install()
    # Dense matrices are small here: threads of BLAS spin on cores that solves and compilation need.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.stdout, sys.stderr = _lenient(sys.stdout), _lenient(sys.stderr)
    from thermospin.cli.app import app

    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except OSError as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(2)
