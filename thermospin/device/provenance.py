"""Where the values of a device come from, as far as a report has to say it: one place for all reports."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from thermospin.device import interfaces, materials
from thermospin.device.device import OF, Device
from thermospin.device.experiment_faults import alike_states, two_other_states
from thermospin.device.interfaces import Interface
from thermospin.device.leads import short_leads
from thermospin.device.materials import Material
from thermospin.device.temperature import is_table
from thermospin.quantities import quantity

#: Marks of values that are no measurement that somebody printed.
RECALLED = ("recalled", "estimated", "assumed")
#: Sources that begin so are worth a second look.
DOUBTFUL = (*RECALLED, "not given", "no source")
#: Cards are meant at room temperature; further away from it than this a report says so [K].
ROOM, NEAR = 300.0, 50.0
#: Resistances times area that interfaces have, from metals without any to thick barriers [ohm m^2].
RESISTANCES = 1e-18, 1e-6


def recalled(device: Device, besides: Iterable[str] = ()) -> list[str]:
    """Return a line for each value from memory, estimated or assumed, under a heading; [] if there is none.

    Args:
      device: the device.
      besides: names of parameters to leave out, because a fit found their values.
    """
    found = {name.rpartition(OF)[2] for name in besides}
    lines = [
        f"  {name} = {quantity(name, value)}: {source}"
        for name, value, source in sourced_values(device)
        if source.startswith(RECALLED) and name not in found
    ]
    return (
        ["Values from memory, estimated or assumed, to be checked before they are relied on:", *lines] if lines else []
    )


def at_room_temperature(device: Device, besides: Iterable[str] = ()) -> list[str]:
    """Return a line with the values of cards at room temperature that are used at a bath far from it; [] if none is."""
    if abs(device.bath - ROOM) <= NEAR:
        return []
    found = {name.rpartition(OF)[2] for name in besides}
    tabled, texts = device.over_bath(), _of_cards()
    names = [
        name
        for name, value, source in sourced_values(device)
        if value and source.partition(" [")[0] in texts and name not in tabled and name not in found
    ]
    if not names:
        return []
    return [f"Of cards at room temperature, and taken at {device.bath:g} K as they are: {', '.join(names)}"]


def without_spin_part(device: Device, besides: Iterable[str] = ()) -> list[str]:
    """Return a line for each experiment whose spin part is 0 by its states, and one on those that have none.

    See `experiment_faults.alike_states` and `two_other_states`.

    Args:
      device: the device.
      besides: names of parameters that a fit finds, which need not be 0.
    """
    found = {name.rpartition(OF)[2] for name in besides}
    parts = tuple(device.experiments.values()), device.solids, device.interfaces, device.materials
    return alike_states(*parts, found) + two_other_states(parts[0])


def implausible(device: Device) -> list[str]:
    """Return a line for each interface whose RA is beyond `RESISTANCES`, as where a unit is missing."""
    low, high = RESISTANCES
    return [
        f"{interface.name}.RA = {RA:g} ohm m^2: interfaces have {low:g} to {high:g} ohm m^2; is that ohm um^2? A "
        "number without a unit is in ohm m^2"
        for interface in device.interfaces
        if (RA := interface.values().get("RA")) is not None and not low <= RA <= high
    ]


def notes(devices: Sequence[Device], besides: Iterable[str] = ()) -> list[str]:
    """Return all lines about values and states of devices that a report of their signals has, each one once.

    What holds for some of the devices only has their names in front; values and their sources speak for themselves.
    """
    besides = list(besides)
    of_values = dict.fromkeys(line for device in devices for line in recalled(device, besides))
    names: dict[str, list[str]] = {}
    for device in devices:
        told = at_room_temperature(device, besides), without_spin_part(device, besides), short_leads(device)
        for line in itertools.chain(implausible(device), *told):
            names.setdefault(line, []).append(device.name)
    return [
        *of_values,
        *(line if len(of) == len(devices) else f"{', '.join(of)}: {line}" for line, of in names.items()),
    ]


def sourced_values(device: Device) -> list[tuple[str, float, str]]:
    """Return name, value in SI units and source of each value of the materials in use and of the interfaces."""
    parts: list[Material | Interface] = [
        device.materials[name] for name in dict.fromkeys(solid.material for solid in device.solids)
    ]
    parts += device.interfaces
    return [
        (f"{part.name}.{key}", value, part.sources[key])
        for part in parts
        for key, value in part.values().items()
        if key in part.sources
    ]


@functools.cache
def _of_cards() -> frozenset[str]:
    """Return the sources of all values of material cards that are no tables."""
    entries: list[Any] = [entry for name in materials.card_names() for entry in materials.card(name).values()]
    return frozenset(
        entry["source"] for entry in entries if isinstance(entry, dict) and not is_table(entry.get("value"))
    )


def card_lines(names: Sequence[str] = ()) -> list[str]:
    """Return what material and interface cards have, or their names if none is asked for.

    Raises:
      InputError: a card that does not exist.
    """
    if not names:
        return [
            f"materials: {', '.join(materials.card_names())}",
            f"interfaces: {', '.join(interfaces.card_names())}",
            "thermospin cards NAME shows the values of one, with their sources.",
        ]
    lines = []
    for name in names:
        of_interface = name in interfaces.card_names() and name not in materials.card_names()
        entries = interfaces.card(name) if of_interface else materials.card(name)
        lines.append(f"{name}: {entries['note']}" if "note" in entries else name)
        for key, entry in entries.items():
            if key != "note":
                value = entry["value"]
                shown = ", ".join(f"{v} at {T}" for T, v in value.items()) if is_table(value) else value
                kind = f" [{entry['kind']}]" if "kind" in entry else ""
                lines.append(f"  {key} = {shown}: {entry['source']}{kind}")
    return lines
