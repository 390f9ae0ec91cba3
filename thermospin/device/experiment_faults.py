"""Faults of experiments: drives, probes, states, and the names of parts of the device that they use."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from thermospin.base.names import unknown
from thermospin.device.interfaces import Interface
from thermospin.device.materials import Material
from thermospin.device.parts import Contact, Experiment, HeatSink, Solid, indices
from thermospin.geometry.outlines import names_of
from thermospin.quantities import INTERFACE, MATERIAL

#: Names of combinations of states in signals, which no state can have.
RESERVED_STATES = ("baseline", "spin", "unit")
#: Stands among unread names for a heat sink, which need not have one.
UNREAD_SINK = "heat sink"
#: How each drive and each probe is written.
DRIVES = {
    "current": 'current = ["in", "out"]',
    "heat": 'heat = { top = "1 K" }',
    "power": 'power = { absorber = "1 mW" }',
}
PROBES = {
    "voltage": 'voltage = ["plus", "minus"]',
    "temperature": 'temperature = ["FM1", "FM2"]',
    "through": 'through = { what = "spin", between = ["Cu", "FM2"] }',
}
#: Which names of `_Known` each key may have, and the word before each in messages.
_NAMED = {
    "solid": ("bodies", ""),
    "current": ("contacts", "contact"),
    "voltage": ("contacts", "contact"),
    "heat": ("warm", ""),
    "power": ("bodies", "solid"),
    "temperature": ("read", ""),
    "through.between": ("bodies", "solid"),
}


def experiment_faults(
    experiments: Sequence[Experiment],
    contacts: Sequence[Contact],
    heat_sinks: Sequence[HeatSink],
    solids: Sequence[Solid],
    unread: Mapping[str, str],
    unplaced: Collection[str],
) -> tuple[list[Experiment], list[str]]:
    """Return the experiments whose contacts and solids exist, and the faults of names and signs in experiments."""
    known = _Known(contacts, heat_sinks, solids, unread, unplaced)
    of_states = solids if all_solids(unread) else None
    good, faults = [], []
    for experiment in experiments:
        label = f"experiment '{experiment.name}'"
        missing = _kind_faults(experiment, label) + _name_faults(experiment, label, known)
        faults += missing
        if not missing:
            good.append(experiment)
        if not experiment.states:
            faults.append(
                f"{label}, states: there is none, expected at least one, such as {{ P = {{}}, AP = {{ FM2 = -1 }} }}"
            )
        faults += _state_faults(label, experiment.states, of_states)
    return good, faults


def half_faults(
    halves: Iterable[tuple[str, Mapping[str, Any]]],
    contacts: Sequence[Contact],
    heat_sinks: Sequence[HeatSink],
    solids: Sequence[Solid],
    unread: Mapping[str, str],
    unplaced: Collection[str],
) -> list[str]:
    """Return the faults of names in parts that could not be read whole.

    Args:
      halves: label of each part, and those of its entries that are valid, as they stand in the file.
      contacts, heat_sinks, solids, unread, unplaced: as for `faults.faults`.
    """
    known = _Known(contacts, heat_sinks, solids, unread, unplaced)
    of_states = solids if all_solids(unread) else None
    faults = []
    for label, entries in halves:
        through = entries.get("through") or {}
        given = {**entries, **{f"through.{key}": value for key, value in through.items()}}
        for key in _NAMED:
            names = given.get(key) or ()
            faults += known.faults(label, key, [names] if isinstance(names, str) else names)
        faults += _state_faults(label, entries.get("states") or {}, of_states)
    return faults


def _state_faults(label: str, states: Mapping[str, Mapping[str, int]], solids: Sequence[Solid] | None) -> list[str]:
    """Return the faults of names and signs of states; `solids` are None where some could not be read."""
    magnets = sorted({solid.magnet for solid in solids or () if solid.magnet is not None})
    plain = {name for solid in solids or () if solid.magnet is None for name in (solid.name, solid.body) if name}
    faults = []
    for state, signs in states.items():
        if state in RESERVED_STATES:
            faults.append(f"{label}, states: a state cannot be called '{state}', a signal has that name")
        for magnet, sign in signs.items():
            if magnet in plain and magnet not in magnets:
                others = f", or name one of: {', '.join(magnets)}" if magnets else ""
                faults.append(
                    f"{label}, states.{state}: got magnet '{magnet}', but solid '{magnet}' has no magnet; give it "
                    f'magnet = "{magnet}"{others}'
                )
            elif solids is not None:
                faults += unknown(f"{label}, states.{state}", [magnet], magnets, "magnet")
            if sign not in (-1, 1) or isinstance(sign, bool):
                faults.append(f"{label}, states.{state}.{magnet}: got {sign}, expected 1 or -1")
    return faults


def two_other_states(experiments: Sequence[Experiment]) -> list[str]:
    """Return a note on the experiments with two states that make no baseline and spin part, by their names."""
    names = [f"'{each.name}'" for each in experiments if len(each.states) == 2 and not each.has_spin_part]
    if not names:
        return []
    plural = "s" if len(names) > 1 else ""
    return [f"experiment{plural} {', '.join(names)}: no baseline and no spin part, which are those of states P and AP"]


def alike_states(
    experiments: Sequence[Experiment],
    solids: Sequence[Solid],
    interfaces: Sequence[Interface],
    materials: Mapping[str, Material],
    unknown_values: Collection[str] = (),
) -> list[str]:
    """Return a note on each experiment whose signals in P and AP cannot differ, so that its spin parts are 0.

    Args:
      experiments, solids, interfaces, materials: of the device.
      unknown_values: names of values, such as "Py.P", that need not be 0 where they are.
    """
    polarised = {
        part.name
        for rows, parts in ((MATERIAL, materials.values()), (INTERFACE, interfaces))
        for part in parts
        for key, row in rows.items()
        if (row.reverses or key == "S_AP") and (part.values().get(key) or f"{part.name}.{key}" in unknown_values)
    }
    any_joint = any(interface.name in polarised for interface in interfaces)
    turning = {
        solid.magnet
        for solid in solids
        if materials[solid.material].name in polarised or (any_joint and solid.magnet is not None)
    }
    magnets = sorted(magnet for magnet in turning if magnet is not None)
    notes = []
    for experiment in experiments:
        if not experiment.has_spin_part:
            continue
        P, AP = ([experiment.states[state].get(magnet, 1) for magnet in magnets] for state in ("P", "AP"))
        if P == AP:
            reason = "P and AP differ in no magnet that is polarised"
        elif P == [-sign for sign in AP] and None not in turning and experiment.probe != "spin":
            reason = f"AP is P with all magnets reversed, which changes no {experiment.probe}"
        else:
            continue
        notes.append(f"experiment '{experiment.name}': {reason}; its spin part is 0 but for round-off")
    return notes


def all_solids(unread: Mapping[str, str]) -> bool:
    """Return whether all solids could be read; `unread` is that of `faults.faults`."""
    return {"solid", ""}.isdisjoint(unread.values())


class _Known:
    """Names that experiments may use; None where some could not be read.

    Attributes:
      contacts, bodies, warm, read: names of contacts, of solids and bodies, of what may be warmer than the bath, and
        of what has a temperature to read.
      insulated: names of contacts that exchange no heat.
    """

    def __init__(
        self,
        contacts: Sequence[Contact],
        heat_sinks: Sequence[HeatSink],
        solids: Sequence[Solid],
        unread: Mapping[str, str],
        unplaced: Collection[str],
    ) -> None:
        more = {
            kind: [name for name, of in unread.items() if name and of in (kind, "")] for kind in ("contact", "solid")
        }
        nameless = unread.get("", "heat sink")
        all_contacts, all_bodies = nameless not in ("contact", ""), nameless not in ("solid", "")
        of_contacts = [contact.name for contact in contacts] + more["contact"] + list(unplaced)
        bodies = names_of(solids) + more["solid"]
        self.contacts = of_contacts if all_contacts else None
        self.bodies = bodies if all_bodies else None
        self.read = [*bodies, *of_contacts] if all_contacts and all_bodies else None
        warm = [*of_contacts, *(sink.label for sink in heat_sinks)]
        self.warm = warm if all_contacts and UNREAD_SINK not in unread else None
        self.insulated = {contact.name for contact in contacts if contact.h == 0}

    def faults(self, label: str, key: str, names: Iterable[str]) -> list[str]:
        """Return a fault for each name under a key that does not exist."""
        kind, what = _NAMED[key]
        allowed = getattr(self, kind)
        return [] if allowed is None else unknown(f"{label}, {key}", dict.fromkeys(names), allowed, what)


def _kind_faults(experiment: Experiment, label: str) -> list[str]:
    """Return faults unless there is one drive and one probe."""
    faults = []
    for what, kinds in (("drive", DRIVES), ("probe", PROBES)):
        given = [kind for kind in kinds if getattr(experiment, kind)]
        if len(given) != 1:
            *first, last = kinds.values()
            faults.append(
                f"{label}: got {' and '.join(given) or f'no {what}'}, expected one {what}: {', '.join(first)} or {last}"
            )
    return faults


def _name_faults(experiment: Experiment, label: str, known: _Known) -> list[str]:
    """Return faults of what drive and probe name, and of the numbers of drives."""
    faults: list[str] = []

    def check(key: str, names: Collection[str], several: str = "") -> None:
        faults.extend(known.faults(label, key, names))
        if several and len(names) == 2 and len(set(names)) == 1:
            kind = f"{_NAMED[key][1]} ".lstrip()
            faults.append(f"{label}, {key}: got {kind}'{next(iter(names))}' twice, expected two {several}")

    check("current", experiment.current or (), "contacts, in and out")
    check("voltage", experiment.voltage or (), "contacts, plus and minus")
    check("heat", experiment.heat)
    check("power", experiment.power)
    check("temperature", experiment.temperature, "solids or contacts")
    if experiment.through is not None:
        check("through.between", experiment.through.between, "solids that touch")
        if experiment.through.what not in ("spin", "charge", "heat"):
            faults.append(f"{label}, through.what: got '{experiment.through.what}', expected spin, charge or heat")
    if len(experiment.temperature) > 2:
        faults.append(
            f"{label}, temperature: got {len(experiment.temperature)} names, expected one, or two for a difference"
        )
    faults += [
        f"{label}, heat: contact '{name}' is insulated and cannot be warmer than the bath; expected thermal = "
        '"bath", or { h = "1e8 W/(m^2 K)" }'
        for name in experiment.heat
        if name in known.insulated
    ]
    for key, unit in (("heat", "K"), ("power", "W")):
        values = getattr(experiment, key)
        faults += [
            f"{label}, {key}.{name}: got {value:g} {unit}, expected a finite value"
            for name, value in values.items()
            if not math.isfinite(value)
        ]
        first = next(iter(values), None)
        if first is not None and values[first] == 0:
            faults.append(f"{label}, {key}.{first}: got 0 {unit}, expected another value; the first one is the drive")
    return faults


def through_faults(
    experiments: Sequence[Experiment],
    solids: Sequence[Solid],
    touching: Collection[tuple[int, int]],
    metal: Mapping[str, bool | None],
) -> list[str]:
    """Return faults of probes of what passes between two solids: that do not touch, or carry no charge."""
    faults = []
    for experiment in experiments:
        if experiment.through is None:
            continue
        label, (first, second) = f"experiment '{experiment.name}', through", experiment.through.between
        sides = [set(indices(solids, name)) for name in (first, second)]
        if not any((i in sides[0] and j in sides[1]) or (i in sides[1] and j in sides[0]) for i, j in touching):
            faults.append(
                f"{label}.between: '{first}' and '{second}' do not touch; expected two solids with a face in common"
            )
        if experiment.through.what == "heat":
            continue
        for name, side in zip((first, second), sides, strict=True):
            material = solids[min(side)].material
            if metal.get(material) is False:
                faults.append(
                    f"{label}.what: got '{experiment.through.what}', but '{name}' is of '{material}', which carries "
                    "heat only; expected heat, or two metals"
                )
    return faults
