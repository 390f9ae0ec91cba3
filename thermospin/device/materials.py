"""Materials: the six parameters of the two-channel model, their limits, and the shipped sets of values ("cards").

Values are plain floats in SI units, each with its source. This module depends on no geometry.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from thermospin.base import files
from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.device.temperature import Table, read_entries, sources_of
from thermospin.quantities import HEAT_ONLY, MATERIAL

NOT_GIVEN = "not given: taken as 0"
#: Symbols of elements in the name of a card.
_ELEMENT = re.compile("[A-Z][a-z]?")


class MaterialError(InputError):
    """A material with values outside the limits of the model; the message lists all faults."""


@dataclasses.dataclass(frozen=True)
class Material:
    """A material of the two-channel model at the bath temperature.

    Attributes:
      name: name that solids refer to.
      sigma: conductivity, both channels together [S/m]; 0 for a body that carries heat only.
      P: conductivity polarisation [1], -1 < P < 1; sigma_up,down = sigma (1 +- P)/2.
      S: conductivity-weighted Seebeck coefficient [V/K].
      S_s: spin-dependent Seebeck coefficient S_up - S_down [V/K].
      kappa: heat conductivity at zero grad V [W/(m K)].
      lambda_sf: spin relaxation length [m]; inf for a body that carries heat only.
      tables: values over the bath temperature, by key, of those that are not the same at every bath.
      sources: source of each value, by key.
      note: free text.
    """

    name: str
    sigma: float = 0.0
    P: float = 0.0
    S: float = 0.0
    S_s: float = 0.0
    kappa: float = math.nan
    lambda_sf: float = math.inf
    tables: Mapping[str, Table] = dataclasses.field(default_factory=dict, kw_only=True)
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False)
    note: str = dataclasses.field(default="", compare=False)

    def __post_init__(self) -> None:
        """Check each value; `thermoelectric_fault` checks the limit that depends on the bath temperature."""
        faults = [f"material '{self.name}', {fault}" for fault in value_faults(self.values())]
        if faults:
            raise MaterialError(faults)

    @property
    def is_metal(self) -> bool:
        """Return whether the material carries charge and spin in addition to heat."""
        return self.sigma > 0

    @property
    def is_magnetic(self) -> bool:
        """Return whether reversing the magnet changes any value of the material."""
        return self.is_metal and any(getattr(self, key) != 0 for key, row in MATERIAL.items() if row.reverses)

    def values(self) -> dict[str, float]:
        """Return the numbers that the equations use, by key; kappa alone for a body that carries heat only."""
        keys = MATERIAL if self.sigma != 0 else HEAT_ONLY
        return {key: getattr(self, key) for key in keys}


def value_faults(values: Mapping[str, float]) -> list[str]:
    """Return the faults of the given values, each checked separately, one line each."""
    faults = (MATERIAL[key].fault(value) for key, value in values.items())
    return [fault for fault in faults if fault is not None]


def metal_fault(sigma: float) -> str | None:
    """Return a fault if a metal of a model, which has unknowns of charge there, conducts none."""
    return "sigma: got 0, expected sigma > 0 of a metal of this model" if sigma == 0 else None


def table_faults(tables: Mapping[str, Table]) -> list[str]:
    """Return the faults of values over the bath, at each temperature of their tables, one line each."""
    faults = [fault for key, table in tables.items() for fault in table.faults(MATERIAL[key])]
    if "sigma" in tables and 0 in tables["sigma"].values:
        faults.append("sigma: its table has 0 S/m, expected conductivities above 0 at every bath")
    return faults


def carried_by_charge(values: Mapping[str, float], bath: float) -> float:
    """Return bath sigma S_eff^2 [W/(m K)]: kappa less this is the heat conductivity without current in either channel.

    sigma S_eff^2 = sigma_up S_up^2 + sigma_down S_down^2 = sigma (S^2 + (1 - P^2) S_s^2 / 4)
    """
    sigma, P, S, S_s = (values.get(key, 0.0) for key in ("sigma", "P", "S", "S_s"))
    return bath * sigma * (S**2 + (1 - P**2) * S_s**2 / 4)


def thermoelectric_fault(values: Mapping[str, float], bath: float) -> str | None:
    """Return a fault if bath sigma S_eff^2 >= kappa: Joule heat could flow from cold to hot, with no solution.

    See `carried_by_charge`.
    """
    kappa, carried = values.get("kappa", math.nan), carried_by_charge(values, bath)
    if carried < kappa or math.isnan(kappa):
        return None
    return (
        f"kappa: got {kappa:.4g} W/(m K), expected more than bath * sigma * S_eff^2 = {carried:.4g} W/(m K); "
        f"lower |S| or |S_s|, or raise kappa (S_eff^2 = S^2 + (1 - P^2) S_s^2/4); this kappa is that at zero potential "
        f"difference: a measured one, without current, needs this added, which gives {kappa + carried:.4g} W/(m K)"
    )


@functools.cache
def _all_cards() -> dict[str, dict[str, Any]]:
    text = files.shipped("device", "cards.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def card_names() -> list[str]:
    """Return the names of the material cards that ship with the program."""
    return list(_all_cards())


def card_hint(name: str) -> str:
    """Say that a card leaves values open, and which of the same elements are complete, such as Co90Fe10 for CoFe."""
    elements = set(_ELEMENT.findall(name))
    complete = [
        f"'{other}'"
        for other, entries in _all_cards().items()
        if set(_ELEMENT.findall(other)) == elements
        and not missing_fault(dict.fromkeys(entries, 1.0), metal="lambda_sf" in entries)
    ]
    more = f"; complete with these elements: {', '.join(complete)}" if complete else ""
    return f"; the card '{name}' has no value for it{more}"


def card(name: str) -> dict[str, Any]:
    """Return a shipped card as it is in its file: {key: {value, source, kind?}, note?}; it may be incomplete."""
    cards = _all_cards()
    if name not in cards:
        raise MaterialError([f"no material card '{name}'; {nearest(name, cards)}"])
    return cards[name]


def build(name: str, entries: Mapping[str, Any], *, length_unit: str = "m", bath: float | None = 300.0) -> Material:
    """Build a material from entries of a card or a device file: {key: value or {value, source, kind?}, note?}.

    Args:
      name: of the material.
      entries: see `temperature.read_entries`.
      length_unit: unit of lengths that are given as bare numbers.
      bath: temperature that values which are tables are taken at [K]; None: not known, the lowest one of each.
    Raises:
      MaterialError: all faults of the entries.
    """
    values, tables, faults = read_entries(entries, MATERIAL, bath, length_unit=length_unit)
    missing = missing_fault(values) if not faults else None
    faults += [*table_faults(tables), *([missing] if missing else [])]
    if faults:
        raise MaterialError([f"material '{name}', {fault}" for fault in faults])
    sources = {key: NOT_GIVEN for key, row in MATERIAL.items() if row.needed_by == "none" and key != "sigma"}
    sources |= sources_of(entries, values)
    if not values.get("sigma"):
        sources = {key: text for key, text in sources.items() if key in HEAT_ONLY}
    return Material(name=name, **values, tables=tables, sources=sources, note=entries.get("note", ""))


def missing_fault(values: Mapping[str, float], *, metal: bool = False) -> str | None:
    """Return a fault with the required keys that are missing; S, S_s and P are optional, 0 by default.

    Args:
      values: that are given.
      metal: it is a metal even if sigma is not given.
    """
    is_metal = bool(values.get("sigma")) or (metal and "sigma" not in values)
    needed = list(HEAT_ONLY)
    if is_metal:
        needed = [key for key, row in MATERIAL.items() if row.needed_by != "none"]
        needed = needed if "sigma" in values else ["sigma", *needed]
    missing = [key for key in needed if key not in values]
    if not missing:
        return None
    what = "a metal" if is_metal else "a body that carries heat only (no sigma)"
    return f"{' and '.join(missing)}: missing; {what} needs {' and '.join(needed)}"
