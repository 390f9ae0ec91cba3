"""The command `thermospin`: signals are handled before anything else is imported."""

from __future__ import annotations

from thermospin.cli import stops


def main() -> None:
    """Run the command."""
    stops.install()
    from thermospin.cli.app import app

    app()
