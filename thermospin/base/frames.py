"""Libraries that are imported when something asks for them, and tables for pandas, which is one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from thermospin.base.errors import InputError


def optional(name: str, what: str, extra: str = "notebook") -> ModuleType:
    """Import an optional library.

    Args:
      name: of its module.
      what: needs it.
      extra: the option of the installation that brings it.
    Raises:
      InputError: it is not installed; the message says how to install it.
    """
    import importlib.util

    try:
        return importlib.import_module(name)
    except ImportError as error:
        library = name.partition(".")[0]
        if importlib.util.find_spec(library) is None:
            why = f"which is not installed: pip install 'thermospin[{extra}]'"
        else:
            why = f"which cannot be imported ({error}): install it anew"
        raise InputError(f"{what} needs {library}, {why}") from None


def frame(columns: Mapping[str, Iterable[Any]], units: Mapping[str, str] | None = None) -> Any:
    """Return a pandas DataFrame of these columns, with `units`, SI, by column in `attrs["units"]`.

    Raises:
      InputError: pandas is not installed.
    """
    table = optional("pandas", "to_dataframe").DataFrame({name: list(values) for name, values in columns.items()})
    table.attrs["units"] = dict(units or {})
    return table
