"""Faults of interfaces: sides that do not exist or do not touch, and values that their materials cannot have."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from thermospin.base.names import unknown
from thermospin.device.experiment_faults import all_solids
from thermospin.device.interfaces import Interface, between, sides
from thermospin.device.materials import Material
from thermospin.device.parts import Solid


def interface_faults(
    interfaces: Sequence[Interface],
    solids: Sequence[Solid],
    metal: Mapping[str, bool | None],
    unread: Mapping[str, str],
) -> tuple[list[Interface], list[str]]:
    """Return the interfaces whose sides exist and can have their values, and the faults of the others."""
    taken: dict[frozenset[str], str] = {}
    of_solid = {name: solid.material for solid in reversed(solids) for name in (solid.body, solid.name) if name}
    used = dict.fromkeys(solid.material for solid in solids)
    readable = all_solids(unread)
    placed, faults = [], []
    for interface in interfaces:
        label = f"interface '{interface.name}'"
        first, second = interface.between
        wrong = []
        if readable:
            wrong += unknown(f"{label}, between", dict.fromkeys(interface.between), [*used, *of_solid])
        are_solids = all(name in of_solid for name in interface.between)
        if first == second:
            wrong.append(f"{label}, between: got '{first}' twice, expected two materials or two solids")
        elif not wrong and readable and not are_solids and not all(name in used for name in interface.between):
            body, material = (first, second) if first in of_solid else (second, first)
            wrong.append(
                f"{label}, between: got '{body}', a solid, and '{material}', a material; expected two solids, or two "
                "materials"
            )
        if "RA" in interface.values():
            names = [of_solid.get(name, name) if are_solids else name for name in interface.between]
            wrong += [
                f"{label}, RA: '{name}' carries heat only, no current passes there; expected K alone, or two metals"
                for name in dict.fromkeys(names)
                if metal.get(name) is False
            ]
        if interface.name in metal:
            wrong.append(
                f"{label}: a material has that name too; expected another one, such as '{first}/{second}', as names of "
                "parameters begin with it"
            )
        other = taken.setdefault(frozenset(interface.between), interface.name)
        if other != interface.name:
            wrong.append(
                f"{label}, between: got '{first}' and '{second}', as in interface '{other}'; expected one interface "
                "for them"
            )
        faults += wrong
        if not wrong:
            placed.append(interface)
    return placed, faults


def place_faults(
    interfaces: Sequence[Interface],
    solids: Sequence[Solid],
    touching: Collection[tuple[int, int]],
    materials: Mapping[str, Material],
) -> list[str]:
    """Return faults of interfaces that are nowhere, and of polarisations that do not fit the magnets beside them."""
    named = sides(solids, materials)
    places: dict[int, list[tuple[int, int]]] = {}
    for i, j in sorted(touching):
        found = between(interfaces, named, i, j)
        if found is not None:
            number, turned = found
            places.setdefault(number, []).append((j, i) if turned else (i, j))
    faults = []
    for number, interface in enumerate(interfaces):
        label, (first, second) = f"interface '{interface.name}'", interface.between
        if number in places:
            texts = [_magnet_fault(interface, [solids[k] for k in pair], materials) for pair in places[number]]
            faults += [f"{label}, {text}" for text in dict.fromkeys(texts) if text]
        elif any(between([interface], named, i, j) for i, j in touching):
            faults.append(
                f"{label}: wherever '{first}' and '{second}' touch, another interface goes before it; take one out"
            )
        else:
            faults.append(
                f"{label}, between: '{first}' and '{second}' do not touch; expected two solids or two materials with a "
                "face in common"
            )
    return faults


def _magnet_fault(interface: Interface, pair: Sequence[Solid], materials: Mapping[str, Material]) -> str | None:
    """Return why the polarisation of an interface has no meaning between two solids."""
    values = interface.values()
    if any(solid.material not in materials for solid in pair):
        return None
    magnetic = [solid.magnet is not None or materials[solid.material].is_magnetic for solid in pair]
    names = " and ".join(f"'{solid.name}'" for solid in pair)
    given = [key for key in ("gamma", "S_s") if key in values]
    if given and not any(magnetic) and any(values[key] for key in given):
        return f"{' and '.join(given)}: neither of {names} is magnetic; expected 0, or a magnet on one side"
    if all(magnetic) and pair[0].magnet != pair[1].magnet:
        for key, instead in (("gamma", "P = [P1, P2], the polarisations of both sides"), ("S_s", "S and S_AP")):
            if values.get(key):
                return (
                    f"{key}: {names} are two magnets, with either of which it would change its sign; expected {instead}"
                )
    for key, solid, has in zip(("P1", "P2"), pair, magnetic, strict=True):
        if values.get(key) and not has:
            return f"P: '{solid.name}' is not magnetic, but its side has {values[key]:g}; expected 0 there, or gamma"
    return None
