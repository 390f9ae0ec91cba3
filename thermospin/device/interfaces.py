"""Interfaces: resistance, polarisation, heat conductance, spin flip of the faces where two materials or solids touch.

Values are plain floats in SI units; None stands for one that is not given. A field jumps across the interface where its
conductance is given, RA for the potentials and K for the temperature, and is continuous where it is not.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from thermospin.base import units
from thermospin.base.errors import InputError
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


def value_faults(values: Mapping[str, float]) -> list[str]:
    """Return the faults of the given values, one line each."""
    faults = [text for key, value in values.items() if (text := INTERFACE[key].fault(value)) is not None]
    if not {"RA", "K"} & set(values):
        faults.append("RA and K: got neither, expected one of them at least; where both are absent nothing jumps")
    if {"gamma", "P1"} <= set(values):
        faults.append("gamma and P: got both, expected gamma for one magnet, or P = [P1, P2] for two")
    for key, needed in NEEDS.items():
        missing = [name for name in needed if name not in values]
        if key in values and missing:
            faults.append(f"{key}: needs {' and '.join(missing)}")
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


def as_values(entries: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, str], list[str]]:
    """Return values in SI units, their sources and faults of the entries of a card or a device file.

    RA may be given as AR_star = RA/(1 - gamma^2), which is Valet and Fert's r_b*, or as the two channels in parallel:
    1/RA = 1/AR_up + 1/AR_down, gamma = (AR_down - AR_up)/(AR_down + AR_up).

    Args:
      entries: {key: value, or {value, source, kind?}}; those of P are P1 and P2.
    """
    values, sources = {}, {}
    for key, entry in entries.items():
        if key in INTERFACE or key in CONVERTED:
            table = entry if isinstance(entry, Mapping) else {"value": entry}
            values[key] = units.parse(table["value"], INTERFACE[key if key in INTERFACE else "RA"].kind)
            kind = f" [{key} is {table['kind']}]" if table.get("kind") else ""
            sources[key] = table.get("source", "no source given") + kind
    given = [key for key in ("RA", *CONVERTED) if key in values]
    faults = [
        f"{key}: got {values[key]:g}, expected {key} > 0 ohm m^2"
        for key in CONVERTED
        if key in values and not values[key] > 0
    ]
    if len(given) > 1 and given != ["AR_up", "AR_down"]:
        faults.append(f"{' and '.join(given)}: got both, expected one of RA, AR_star, and AR_up with AR_down")
    elif given in (["AR_up"], ["AR_down"]):
        faults.append(f"{given[0]}: needs AR_{'down' if given == ['AR_up'] else 'up'}")
    elif "AR_star" in values and "P1" in values:
        faults.append("AR_star and P: got both, expected RA with P = [P1, P2]; AR_star is RA/(1 - gamma^2)")
    elif "AR_up" in values and {"gamma", "P1"} & set(values):
        other = "gamma" if "gamma" in values else "P"
        faults.append(f"AR_up, AR_down and {other}: got all, expected one of both; AR_up and AR_down say what gamma is")
    if faults:
        return {key: value for key, value in values.items() if key in INTERFACE}, sources, faults
    if "AR_star" in values:
        gamma = values.get("gamma", 0.0)
        values["RA"] = values["AR_star"] * (1 - gamma**2 if abs(gamma) < 1 else 1)  # such a gamma is a fault of its own
        sources["RA"] = f"{sources['AR_star']} (AR_star = {values['AR_star'] * 1e15:.6g} fohm m^2)"
    elif "AR_up" in values:
        up, down = values["AR_up"], values["AR_down"]
        values["RA"] = up * down / (up + down)
        values["gamma"] = (down - up) / (down + up)
        text = f"{sources['AR_up']} (AR_up, AR_down = {up * 1e15:.6g}, {down * 1e15:.6g} fohm m^2)"
        sources |= {"RA": text, "gamma": text}
    ordered = {key: values[key] for key in INTERFACE if key in values}
    return ordered, {key: sources[key] for key in ordered}, []
