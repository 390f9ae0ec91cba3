"""Values over the bath temperature: tables such as { "10 K" = "1 um", "300 K" = "350 nm" }, monotone cubic between."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from thermospin.base import units
from thermospin.base.errors import InputError
from thermospin.quantities import Quantity

#: Part of a temperature that may be round-off of a conversion.
_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class Table:
    """A value over the bath temperature: a monotone piecewise cubic through the given points, and nothing outside.

    Attributes:
      temperatures: in ascending order [K].
      values: SI units.
    Source: Fritsch and Carlson, SIAM J. Numer. Anal. 17, 238 (1980).
    """

    temperatures: tuple[float, ...]
    values: tuple[float, ...]

    @classmethod
    def read(cls, raw: Mapping[str, Any], kind: str, *, length_unit: str = "m") -> Table:
        """Return the table of {temperature with a unit: value}, values as in `units.parse`.

        Raises:
          InputError: all its faults.
        """
        points: dict[float, float] = {}
        faults = []
        for key, value in raw.items():
            try:
                temperature = units.parse(key, "temperature")
                if not temperature > 0:
                    raise InputError(f'got "{key}", expected a temperature above 0 K')
                if temperature in points:
                    raise InputError(f"{temperature:g} K: is there more than once")
                points[temperature] = units.parse(value, kind, length_unit=length_unit, key=f'at "{key}"')
            except InputError as why:
                faults += why.faults
        if not faults and len(points) < 2:
            faults.append(
                "got a table of one temperature, expected at least two, such as "
                '{ "10 K" = ..., "300 K" = ... }; a value that holds at every bath needs no table'
            )
        if faults:
            raise InputError("; ".join(faults))
        return cls(*zip(*sorted(points.items()), strict=True))

    @property
    def reach(self) -> str:
        """The temperatures it reaches, in words."""
        return f"{self.temperatures[0]:g} K to {self.temperatures[-1]:g} K"

    def at(self, bath: float) -> float:
        """Return the value at a bath temperature [K].

        Raises:
          InputError: the table does not reach it.
        """
        low, high = self.temperatures[0] * (1 - _ROUNDING), self.temperatures[-1] * (1 + _ROUNDING)
        if not low <= bath <= high:
            raise InputError(
                f"its table reaches from {self.reach}, the bath is {bath:g} K; "
                "give the table a value there, or take another bath"
            )
        if bath in self.temperatures:
            return self.values[self.temperatures.index(bath)]
        from scipy.interpolate import PchipInterpolator  # a tenth of a second, which most devices do not need

        inside = min(max(bath, self.temperatures[0]), self.temperatures[-1])
        return float(PchipInterpolator(self.temperatures, self.values)(inside))

    def faults(self, row: Quantity) -> list[str]:
        """Return the faults of its values, each within the model as long as all of them are."""
        pairs = zip(self.temperatures, self.values, strict=True)
        return [f"{fault}, at {at:g} K" for at, value in pairs if (fault := row.fault(value)) is not None]


def is_table(value: Any) -> bool:
    """Return whether an entry of a file is a table over the bath: one of its keys begins as a number does."""
    return isinstance(value, Mapping) and any(str(key)[:1] in tuple("0123456789.+-") for key in value)


def values_at(tables: Mapping[str, Table], bath: float, label: str) -> tuple[dict[str, float], list[str]]:
    """Return the values of tables at a bath [K], and the faults of those that do not reach it, after a label."""
    values, faults = {}, []
    for key, table in tables.items():
        try:
            values[key] = table.at(bath)
        except InputError as why:
            faults.append(f"{label}, {key}: {why}")
    return values, faults


def read_entries(
    entries: Mapping[str, Any], rows: Mapping[str, Quantity], bath: float | None, *, length_unit: str = "m"
) -> tuple[dict[str, float], dict[str, Table], list[str]]:
    """Return values at a bath, tables over it, and the faults of a card or of a part of a device file, by key.

    Args:
      entries: {key: value, or {"value": value, ...}}, a value being a table too; {"table": Table} as a reader made it.
      rows: quantities to look for, by key; other entries are left alone.
      bath: temperature [K]; None: not known, the lowest one of each table.
      length_unit: unit of lengths that are given as bare numbers.
    """
    values: dict[str, float] = {}
    tables: dict[str, Table] = {}
    faults: list[str] = []
    for key in (key for key in rows if key in entries):
        entry = entries[key]
        if not isinstance(entry, Mapping) or is_table(entry):
            entry = {"value": entry}
        try:
            if "table" in entry or is_table(entry["value"]):
                table = entry.get("table") or Table.read(entry["value"], rows[key].kind, length_unit=length_unit)
                tables[key] = table
                values[key] = table.values[0] if bath is None else table.at(bath)
            else:
                values[key] = units.parse(entry["value"], rows[key].kind, length_unit=length_unit)
        except InputError as why:
            faults.append(f"{key}: {why}")
    return values, tables, faults


def sources_of(entries: Mapping[str, Any], keys: Iterable[str]) -> dict[str, str]:
    """Return the source of each of these values in entries as `read_entries` takes them."""
    sources = {}
    for key in keys:
        entry = entries[key] if isinstance(entries[key], Mapping) and not is_table(entries[key]) else {}
        kind = f" [{key} is {entry['kind']}]" if entry.get("kind") else ""
        sources[key] = entry.get("source", "no source given") + kind
    return sources
