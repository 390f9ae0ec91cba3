"""Errors of this program: faults of input, files that cannot be used, and solves that did not converge."""

from __future__ import annotations

from collections.abc import Iterable


class InputError(ValueError):
    """Input that cannot be used, with every fault it has, one line each.

    Attributes:
      faults: the lines.
    """

    def __init__(self, faults: str | Iterable[str]) -> None:
        self.faults = faults.split("\n") if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(self.faults))


class FileError(OSError):
    """A file that cannot be read or written; the message names it and says why."""


class NotConverged(RuntimeError):
    """A solve that missed its tolerance; the message says by how much, and why as far as that is known."""
