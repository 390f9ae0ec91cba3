"""Heat conductances without current: kappa and K are those at zero potential difference, measured ones are not.

kappa_open = kappa - T0 sum_s sigma_s S_s'^2,   K_open = K - T0 sum_s G_s S_s'^2

In a film that no current leaves, the Seebeck effect drives either channel back against the heat that it carries: that
is what a measurement sees. Source: docs/theory.md, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping

from thermospin.base.text import percent
from thermospin.device.device import Device
from thermospin.device.materials import carried_by_charge
from thermospin.quantities import quantity

#: Part of the conductance below which both are taken for the same.
ALIKE = 0.01


def kappa_open(values: Mapping[str, float], bath: float) -> float:
    """Return the heat conductivity of a material without current in either channel [W/(m K)].

    kappa - T0 sigma (S^2 + (1 - P^2) S_s^2/4)
    """
    return values["kappa"] - carried_by_charge(values, bath)


def K_open(values: Mapping[str, float], bath: float) -> float:
    """Return the heat conductance per area of an interface without current, magnets parallel [W/(m^2 K)].

    K - T0 (S^2 + (1 - gamma^2) S_s^2/4)/RA; K where it has no resistance, and so no thermoelectric effect.
    """
    if "RA" not in values:
        return values["K"]
    P1, P2 = (values.get(key, 0.0) for key in ("P1", "P2"))
    gamma = values.get("gamma", (P1 + P2) / (1 + P1 * P2))
    S, S_s = values.get("S", 0.0), values.get("S_s", 0.0)
    return values["K"] - bath * (1 + P1 * P2) / values["RA"] * (S**2 + (1 - gamma**2) * S_s**2 / 4)


def open_circuit(device: Device, parameters: Mapping[str, float] | None = None) -> list[str]:
    """Return a line for each heat conductance that differs by more than 1 % from the one without current.

    Args:
      device: the device.
      parameters: values by name in SI units; those left out are the device's own.
    """
    values = device.parameters() | dict(parameters or {})
    owners = dict.fromkeys(name for name, _ in device.domains)
    owners |= dict.fromkeys(interface.name for interface in device.interfaces)
    lines = []
    for owner in owners:
        own = {name.rpartition(".")[2]: value for name, value in values.items() if name.rpartition(".")[0] == owner}
        for key, law in (("kappa", kappa_open), ("K", K_open)):
            if key not in own:
                continue
            name, opened = f"{owner}.{key}", law(own, device.bath)
            less = 1 - opened / own[key]
            if less > ALIKE:
                lines.append(
                    f"{name} = {quantity(name, own[key])} is that at zero potential difference; without current, as it "
                    f"is mostly measured, it is {quantity(name, opened)}, {percent(less)} less"
                )
    return lines
