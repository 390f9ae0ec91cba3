"""The command `thermospin`: signals are handled before anything else is imported."""

from __future__ import annotations

import io
import os
import sys

from thermospin.cli import stops


def main() -> None:
    """Run the command; a stdout that cannot be written, such as on a full disk, is one line and exit code 2."""
    stops.install()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no Greek
    from thermospin.cli.app import app

    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os._exit(0)  # whoever read has seen enough
    except OSError as error:
        print(f"stdout: cannot be written: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(2)
