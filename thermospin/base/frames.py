"""Tables for pandas, which is imported when one is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from thermospin.base.errors import InputError


def optional(name: str, what: str) -> ModuleType:
    """Import an optional library.

    Raises:
      InputError: it is not installed; the message says how to install it.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as why:
        raise InputError(f"{what} needs {name}, {why}: pip install 'thermospin[notebook]'") from None


def frame(columns: Mapping[str, Iterable[Any]], units: Mapping[str, str] | None = None) -> Any:
    """Return a pandas DataFrame of these columns, with `units`, SI, by column in `attrs["units"]`.

    Raises:
      InputError: pandas is not installed.
    """
    table = optional("pandas", "to_dataframe").DataFrame({name: list(values) for name, values in columns.items()})
    table.attrs["units"] = dict(units or {})
    return table
