"""Errors of this program: invalid input, unusable files, and solves that did not converge."""

from __future__ import annotations

from collections.abc import Iterable


class InputError(ValueError):
    """Invalid input; the message lists all faults, one per line.

    Attributes:
      faults: the lines of the message.
    """

    def __init__(self, faults: str | Iterable[str]) -> None:
        self.faults = faults.split("\n") if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(self.faults))


class FileError(OSError):
    """A file that cannot be read or written; the message gives its name and the reason."""


class NotConverged(RuntimeError):
    """A solve that missed its tolerance; the message says by how much, and gives the reason if it is known."""
