"""Interfaces: resistance, polarisation, heat conductance, spin flip of the faces where two materials or solids touch.

Values are plain floats in SI units; None stands for one that is not given. A field jumps across the interface where its
conductance is given, RA for the potentials and K for the temperature, and is continuous where it is not.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from thermospin.base import files
from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.device.temperature import Table, is_table, read_entries, sources_of
from thermospin.quantities import INTERFACE

#: What each value needs beside it.
NEEDS = {
    "gamma": ("RA",),
    "P1": ("RA", "P2"),
    "P2": ("RA", "P1"),
    "S": ("RA", "K"),
    "S_s": ("RA", "K"),
    "S_AP": ("S", "P1"),
    "delta": ("RA",),
}
#: Resistances times area that stand in place of RA, or of RA and gamma, in tables of the literature.
CONVERTED = ("AR_star", "AR_up", "AR_down")


class InterfaceError(InputError):
    """An interface with values outside the limits of the model; the message lists all faults."""


@dataclasses.dataclass(frozen=True)
class Interface:
    """An interface of the two-channel model, wherever its two sides touch.

        J_s = -G_s ([V_s] + S_s' [T]),   Q = -(sum_s G_s S_s' T0 [V_s] + K [T]),   [u] = u(second) - u(first)
        G_up,down = (1 +- P1)(1 +- P2)/(2 RA), one of the two being gamma where one side is a magnet

    Attributes:
      name: name in parameters, such as "Py/Cu".
      between: two solids or two materials.
      RA: resistance times area without spin accumulation [ohm m^2]; of two magnets the inverse of the mean of 1/RA in P
        and AP.
      gamma: (G_up - G_down)/(G_up + G_down); changes its sign with the magnet beside it.
      P1, P2: polarisations of the first and the second side, each of which changes its sign with the magnet there.
      K: heat conductance per area at zero jump of the potentials [W/(m^2 K)].
      S: conductance-weighted Seebeck coefficient of the jumps [V/K].
      S_s: S_up - S_down of the jumps [V/K]; changes its sign with the magnet beside it.
      S_AP: S where the magnets of both sides are antiparallel [V/K]; None: S.
      delta: thickness over spin relaxation length of a layer that stands for spin flip at the interface.
      tables: values over the bath temperature, by key, of those that are not the same at every bath.
      sources: source of each value, by key.
      note: free text.
    Raises:
      InterfaceError: values outside the model.
    Source: Valet and Fert, Phys. Rev. B 48, 7099 (1993), for RA, gamma and delta; Julliere, Phys. Lett. A 54, 225
      (1975), for P1 and P2.
    """

    name: str
    between: tuple[str, str]
    RA: float | None = None
    gamma: float | None = None
    P1: float | None = None
    P2: float | None = None
    K: float | None = None
    S: float | None = None
    S_s: float | None = None
    S_AP: float | None = None
    delta: float | None = None
    tables: Mapping[str, Table] = dataclasses.field(default_factory=dict, kw_only=True)
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False)
    note: str = dataclasses.field(default="", compare=False)

    def __post_init__(self) -> None:
        """Check each value; `thermoelectric_fault` checks the limit that depends on the bath temperature."""
        faults = [f"interface '{self.name}', {fault}" for fault in value_faults(self.values())]
        if faults:
            raise InterfaceError(faults)

    def values(self) -> dict[str, float]:
        """Return the values that are given, by key."""
        return {key: getattr(self, key) for key in INTERFACE if getattr(self, key) is not None}


def between(
    interfaces: Sequence[Interface], solids: Sequence[tuple[Sequence[str], str]], one: int, other: int
) -> tuple[int, bool] | None:
    """Return the interface between two solids, and whether the first is its second side; None where there is none.

    One between solids goes before one between materials, a later one before an earlier one.

    Args:
      interfaces: of the device.
      solids: for each solid its names (its own and that of its body) and its material.
      one, other: indices of two solids.
    """
    (names, material), (other_names, other_material) = solids[one], solids[other]
    for first, second in ((names, other_names), ((material,), (other_material,))):
        for number in reversed(range(len(interfaces))):
            a, b = interfaces[number].between
            if a in first and b in second:
                return number, False
            if a in second and b in first:
                return number, True
    return None


def sides(solids: Sequence[Any], materials: Mapping[str, Any]) -> list[tuple[tuple[str, str], str]]:
    """Return for each solid what `between` goes by: its names, and that of its material as interfaces call it."""
    names = [materials[solid.material].name if solid.material in materials else solid.material for solid in solids]
    return [((solid.name, solid.body or solid.name), name) for solid, name in zip(solids, names, strict=True)]


def value_faults(values: Mapping[str, float]) -> list[str]:
    """Return the faults of the given values, one line each."""
    faults = [text for key, value in values.items() if (text := INTERFACE[key].fault(value)) is not None]
    return faults + _combination_faults(values)


def _combination_faults(values: Mapping[str, float]) -> list[str]:
    faults = []
    if not {"RA", "K"} & set(values):
        faults.append("RA and K: got neither, expected one of them at least; where both are absent nothing jumps")
    if {"gamma", "P1"} <= set(values):
        faults.append("gamma and P: got both, expected gamma for one magnet, or P = [P1, P2] for two")
    for key, needed in NEEDS.items():
        missing = [name for name in needed if name not in values]
        if key in values and missing:
            as_in_files = dict.fromkeys("P = [P1, P2]" if name in ("P1", "P2") else name for name in missing)
            faults.append(f"{key}: needs {' and '.join(as_in_files)}")
    return faults


def thermoelectric_fault(values: Mapping[str, float], bath: float) -> str | None:
    """Return a fault if bath sum_s G_s S_s'^2 >= K: Joule heat could flow from cold to hot, with no solution."""
    if not {"RA", "K"} <= set(values):
        return None
    RA, K = values["RA"], values["K"]
    P1, P2 = (values.get(key, 0.0) for key in ("P1", "P2"))
    carried = 0.0
    for sign in (1, -1):
        gamma = values["gamma"] if "gamma" in values else (P1 + sign * P2) / (1 + sign * P1 * P2)
        S = values.get("S", 0.0) if sign > 0 else values.get("S_AP", values.get("S", 0.0))
        conductance = (1 + sign * P1 * P2) / RA
        carried = max(carried, bath * conductance * (S**2 + (1 - gamma**2) * values.get("S_s", 0.0) ** 2 / 4))
    if carried < K or math.isnan(K):
        return None
    return (
        f"K: got {K:.4g} W/(m^2 K), expected more than bath * S_eff^2/RA = {carried:.4g} W/(m^2 K); lower |S| or "
        "|S_s|, or raise K or RA (S_eff^2 = S^2 + (1 - gamma^2) S_s^2/4)"
    )


@dataclasses.dataclass(frozen=True)
class Converted(Table):
    """A value that is computed from others at each bath, of which some are tables.

    Attributes:
      temperatures: those of all tables that all of them reach [K].
      values: there, SI units.
      formula: of the inputs.
      inputs: tables, and numbers that hold at every bath.
    """

    formula: Callable[..., float]
    inputs: tuple[Table | float, ...]

    @classmethod
    def of(cls, formula: Callable[..., float], inputs: tuple[Table | float, ...]) -> Converted:
        """Return what a formula makes of inputs, of which one is a table at least."""
        tables = [each for each in inputs if isinstance(each, Table)]
        low, high = max(each.temperatures[0] for each in tables), min(each.temperatures[-1] for each in tables)
        inside = sorted({T for each in tables for T in each.temperatures if low <= T <= high})
        return cls(tuple(inside), tuple(formula(*_all_at(inputs, T)) for T in inside), formula, inputs)

    def at(self, bath: float) -> float:
        """Return the value at a bath temperature [K]; raise as that of `Table` does."""
        return self.formula(*_all_at(self.inputs, bath))


def _all_at(inputs: Sequence[Table | float], bath: float) -> list[float]:
    return [each.at(bath) if isinstance(each, Table) else each for each in inputs]


def _of_star(star: float, gamma: float) -> float:
    return star * (1 - gamma**2 if abs(gamma) < 1 else 1)  # a gamma that is none is a fault of its own


def _of_both(up: float, down: float) -> float:
    return up * down / (up + down)


def _gamma_of_both(up: float, down: float) -> float:
    return (down - up) / (down + up)


#: What stands in place of RA, or of RA and gamma, and how they follow from it.
CONVERSIONS: Mapping[tuple[str, ...], Mapping[str, Callable[..., float]]] = {
    ("AR_star", "gamma"): {"RA": _of_star},
    ("AR_up", "AR_down"): {"RA": _of_both, "gamma": _gamma_of_both},
}


def _converted_from(given: Sequence[str], values: Mapping[str, float], tables: Mapping[str, Table]) -> str:
    """Return what a converted value comes from, with those numbers that hold at every bath."""
    rows = {key: INTERFACE.get(key, INTERFACE["RA"]) for key in given if key in values}
    numbers = {key: f" = {values[key] / row.size:.6g} {row.shown}".rstrip() for key, row in rows.items()}
    return ", ".join(key if key in tables else key + number for key, number in numbers.items())


@dataclasses.dataclass(frozen=True)
class Values:
    """The values of an interface as they were read: SI units, tables over the bath, sources, by key; and faults."""

    at_bath: Mapping[str, float]
    tables: Mapping[str, Table]
    sources: Mapping[str, str]
    faults: Sequence[str] = ()


def as_values(entries: Mapping[str, Any], bath: float | None) -> Values:
    """Return the values of the entries of a card or a device file, with all faults of single values.

    RA may be given as AR_star = RA/(1 - gamma^2), which is Valet and Fert's r_b*, or as the two channels in parallel:
    1/RA = 1/AR_up + 1/AR_down, gamma = (AR_down - AR_up)/(AR_down + AR_up).

    Args:
      entries: {key: value, or {value, source, kind?}}, see `temperature.read_entries`; those of P are P1 and P2.
      bath: temperature that tables are taken at [K]; None: not known.
    """
    rows = INTERFACE | dict.fromkeys(CONVERTED, INTERFACE["RA"])
    values, tables, faults = read_entries(entries, rows, bath)
    sources = sources_of(entries, [key for key in rows if key in entries])
    of_tables = {key: table for key, table in tables.items() if key in CONVERTED}
    faults += [
        f"{key}: got {value:g}, expected {key} > 0 ohm m^2"
        for key in CONVERTED
        for value in (of_tables[key].values if key in of_tables else [values[key]] if key in values else [])
        if not value > 0
    ]
    faults += _conversion_faults(entries)
    sound = {key: values.get(key, math.nan) for key in INTERFACE if key in entries}
    if faults:
        return Values(sound, {}, sources, faults)
    made = {key: table for key, table in tables.items() if key in INTERFACE}
    given, results = next(((keys, of) for keys, of in CONVERSIONS.items() if keys[0] in values), ((), {}))
    source = sources[given[0]] if given else ""
    for key, formula in results.items():
        inputs = tuple(tables.get(name, values.get(name, 0.0)) for name in given)
        sound[key] = formula(*(values.get(name, 0.0) for name in given))
        sources[key] = f"{source} ({_converted_from(given, values, tables)})"
        if any(isinstance(each, Table) for each in inputs):
            made[key] = Converted.of(formula, inputs)
    ordered = {key: sound[key] for key in INTERFACE if key in sound}
    return Values(ordered, made, {key: sources[key] for key in ordered})


def by_side(value: Any) -> list[Any]:
    """Return the entries P1 and P2 of P in a file: a pair, or pairs in a table with a source or over the bath.

    Raises:
      InputError: it is none of these.
    """
    if isinstance(value, list) and len(value) == 2:
        return list(value)
    if is_table(value):
        pairs = {at: by_side(pair) for at, pair in value.items()}
        return [{at: pair[side] for at, pair in pairs.items()} for side in (0, 1)]
    if isinstance(value, Mapping) and "value" in value:
        return [{**value, "value": entry} for entry in by_side(value["value"])]
    raise InputError(f"got {value!r}, expected [P1, P2], those of its two sides, or gamma in place of P for one magnet")


def _conversion_faults(entries: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with how RA is given, None of it, in part, or twice."""
    given = [key for key in ("RA", *CONVERTED) if key in entries]
    if len(given) > 1 and given != ["AR_up", "AR_down"]:
        return [f"{' and '.join(given)}: got both, expected one of RA, AR_star, and AR_up with AR_down"]
    if given in (["AR_up"], ["AR_down"]):
        return [f"{given[0]}: needs AR_{'down' if given == ['AR_up'] else 'up'}"]
    if "AR_star" in entries and "P1" in entries:
        return ["AR_star and P: got both, expected RA with P = [P1, P2]; AR_star is RA/(1 - gamma^2)"]
    if "AR_up" in entries and {"gamma", "P1"} & set(entries):
        other = "gamma" if "gamma" in entries else "P"
        return [f"AR_up, AR_down and {other}: got all, expected one of both; AR_up and AR_down say what gamma is"]
    return []


@functools.cache
def _all_cards() -> dict[str, dict[str, Any]]:
    text = files.shipped("device", "interface_cards.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def card_names() -> list[str]:
    """Return the names of the interface cards that ship with the program."""
    return list(_all_cards())


def card(name: str) -> dict[str, Any]:
    """Return a shipped card as it is in its file: {key: {value, source}, note?}; it may be incomplete.

    Raises:
      InterfaceError: there is no card of that name.
    """
    cards = _all_cards()
    if name not in cards:
        raise InterfaceError([f"no interface card '{name}'; {nearest(name, cards)}"])
    return cards[name]


def with_card(entries: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """Return the entries of a card with those of a device file over them; None for no card.

    Where the file has gamma or P, or RA in any form, that goes before all that the card says of it.
    """
    left = {} if name is None else card(name)
    for group in (("gamma", "P1", "P2"), ("RA", *CONVERTED)):
        if any(key in entries for key in group):
            left = {key: value for key, value in left.items() if key not in group}
    if "AR_up" in entries or "AR_down" in entries:
        left = {key: value for key, value in left.items() if key != "gamma"}
    return {**left, **entries}


def single_faults(read: Values) -> list[str]:
    """Return the faults of the values one by one, at each temperature of those that are tables."""
    plain = {key: value for key, value in read.at_bath.items() if key not in read.tables and not math.isnan(value)}
    faults = [text for key, value in plain.items() if (text := INTERFACE[key].fault(value)) is not None]
    return faults + [fault for key, table in read.tables.items() for fault in table.faults(INTERFACE[key])]


def faults_of(read: Values, card: str | None) -> list[str]:
    """Return the faults of values one by one and together, with a word about the card that leaves one open."""
    left_open = f"; the card '{card}' has no value for it" if card else ""
    together = _combination_faults(read.at_bath)
    return single_faults(read) + [
        text + (left_open if "needs" in text or "neither" in text else "") for text in together
    ]
