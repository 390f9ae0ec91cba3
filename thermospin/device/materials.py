"""Materials: the six numbers of the two-channel model, their limits, and the cards that ship with the program.

Knows no geometry. Values are plain floats in SI units; every one carries where it comes from.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import tomllib
from collections.abc import Mapping
from typing import Any

from thermospin.base import files, units
from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.quantities import HEAT_ONLY, MATERIAL

NOT_GIVEN = "not given: taken as 0"


class MaterialError(InputError):
    """A material whose numbers are outside the model, with every fault it has."""


@dataclasses.dataclass(frozen=True)
class Material:
    """A material of the two-channel model at the bath temperature.

    Attributes:
      name: what solids call it.
      sigma: conductivity, both channels together [S/m]; 0 for a body that carries heat only.
      P: conductivity polarisation [1], -1 < P < 1; sigma_up,down = sigma (1 +- P)/2.
      S: conductivity-weighted Seebeck coefficient [V/K].
      S_s: spin-dependent Seebeck coefficient S_up - S_down [V/K].
      kappa: heat conductivity at zero grad V [W/(m K)].
      lambda_sf: spin relaxation length [m]; inf where there is no spin to relax (heat only).
      sources: where each value comes from, by key.
      note: free text.
    """

    name: str
    sigma: float = 0.0
    P: float = 0.0
    S: float = 0.0
    S_s: float = 0.0
    kappa: float = math.nan
    lambda_sf: float = math.inf
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False)
    note: str = dataclasses.field(default="", compare=False)

    def __post_init__(self) -> None:
        """Refuse numbers outside the model (what depends on the bath temperature: `thermoelectric_fault`)."""
        faults = [f"material '{self.name}', {fault}" for fault in value_faults(self.values())]
        if faults:
            raise MaterialError(faults)

    @property
    def is_metal(self) -> bool:
        """Return whether it carries charge and spin besides heat."""
        return self.sigma > 0

    @property
    def is_magnetic(self) -> bool:
        """Return whether reversing it makes a difference."""
        return self.is_metal and any(getattr(self, key) != 0 for key, row in MATERIAL.items() if row.reverses)

    def values(self) -> dict[str, float]:
        """Return the numbers that the equations use, by key; kappa alone for a body that carries heat only."""
        keys = MATERIAL if self.sigma != 0 else HEAT_ONLY
        return {key: getattr(self, key) for key in keys}


def value_faults(values: Mapping[str, float]) -> list[str]:
    """Return what is wrong with the values given, each judged separately, one line each."""
    faults = (MATERIAL[key].fault(value) for key, value in values.items())
    return [fault for fault in faults if fault is not None]


def thermoelectric_fault(values: Mapping[str, float], bath: float) -> str | None:
    """Return what is wrong if bath sigma S_eff^2 >= kappa: then Joule heat could flow uphill and no solution exists.

    sigma S_eff^2 = sigma_up S_up^2 + sigma_down S_down^2 = sigma (S^2 + (1 - P^2) S_s^2 / 4), so that
    kappa - bath sigma S_eff^2 is the heat conductivity without current in either channel.
    """
    sigma, P, S, S_s = (values.get(key, 0.0) for key in ("sigma", "P", "S", "S_s"))
    kappa = values.get("kappa", math.nan)
    carried = bath * sigma * (S**2 + (1 - P**2) * S_s**2 / 4)
    if carried < kappa or math.isnan(kappa):
        return None
    return (
        f"kappa: got {kappa:.4g} W/(m K), expected more than bath * sigma * S_eff^2 = {carried:.4g} W/(m K); "
        f"lower |S| or |S_s|, or raise kappa (S_eff^2 = S^2 + (1 - P^2) S_s^2/4)"
    )


@functools.cache
def _all_cards() -> dict[str, dict[str, Any]]:
    text = files.shipped("device", "cards.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def card_names() -> list[str]:
    """Return names of the cards that ship with the program."""
    return list(_all_cards())


def card(name: str) -> dict[str, Any]:
    """Return a shipped card, as in its file: {key: {value, source, kind?}, note?}; it may be incomplete."""
    cards = _all_cards()
    if name not in cards:
        raise MaterialError([f"no material card '{name}'; {nearest(name, cards)}"])
    return cards[name]


def build(name: str, entries: Mapping[str, Any], *, length_unit: str = "m") -> Material:
    """Build a material from entries of a card or a device file: {key: value or {value, source, kind?}, note?}."""
    values = {}
    sources = {key: NOT_GIVEN for key, row in MATERIAL.items() if row.needed_by == "none" and key != "sigma"}
    for key, row in MATERIAL.items():
        if key in entries:
            entry = entries[key] if isinstance(entries[key], Mapping) else {"value": entries[key]}
            values[key] = units.parse(entry["value"], row.kind, length_unit=length_unit, key=f"material '{name}'.{key}")
            kind = f" [P is {entry['kind']}]" if entry.get("kind") else ""
            sources[key] = entry.get("source", "no source given") + kind
    missing = missing_fault(values)
    if missing:
        raise MaterialError([f"material '{name}', {missing}"])
    if not values.get("sigma"):
        sources = {key: text for key, text in sources.items() if key in HEAT_ONLY}
    return Material(name=name, **values, sources=sources, note=entries.get("note", ""))


def missing_fault(values: Mapping[str, float]) -> str | None:
    """Return which keys have to be given and are not; S, S_s and P may be left out and are then 0."""
    needed = list(HEAT_ONLY)
    if values.get("sigma"):
        needed = [key for key, row in MATERIAL.items() if row.needed_by != "none"]
    missing = [key for key in needed if key not in values]
    if not missing:
        return None
    what = "a metal" if values.get("sigma") else "a body that carries heat only (no sigma)"
    return f"{' and '.join(missing)}: missing; {what} needs {' and '.join(needed)}"


def shipped(name: str) -> Material:
    """Return the material of a shipped card, such as "Py", "Cu", "Au" (the films of the paper) or "SiO2"."""
    return build(name, card(name))
