"""Edits of device files: new lengths, a new shape of a solid, a new folder; all else, also comments, is kept."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from thermospin.base import units
from thermospin.device.device import Device
from thermospin.device.interfaces import CONVERTED, by_side
from thermospin.device.parts import Solid
from thermospin.device.settings import at_bath
from thermospin.geometry.dimensions import names_in
from thermospin.quantities import key_of, quantity, shown


def with_form(text: str, name: str, pieces: Sequence[Solid]) -> str:
    """Return the text of a device file with one solid replaced by polygons; all else, also comments, is kept.

    Dimensions that no coordinate uses without the solid are left out, since a file that has them does not load.

    Args:
      text: text of the file.
      name: name of the solid.
      pieces: the solids with outlines that replace it.
    """
    import tomlkit

    document = tomlkit.parse(text)
    unit = str(document.get("length_unit", "nm"))
    size = units.scale(unit, "length")

    def number(value: float) -> float | int:
        tidied = units.tidy(round(value, 15) / size)
        return int(tidied) if tidied == int(tidied) else tidied

    solids: Any = document["solids"]
    at = next(i for i, solid in enumerate(solids) if solid["name"] == name)
    material = str(solids[at]["material"])
    made = tomlkit.aot()
    for k, solid in enumerate(solids):
        if k != at:
            made.append(solid)
            continue
        for piece in pieces:
            table = tomlkit.table()
            table["name"] = piece.name
            table["material"] = material
            outline = tomlkit.array()
            for corner in piece.outline or ():
                outline.append([number(value) for value in corner])
            table["polygon"] = outline
            table["z"] = [number(value) for value in piece.box[2]]
            made.append(table)
    used = _dimensions_used(document)
    document["solids"] = made
    _drop_dimensions(document, used - _dimensions_used(document))
    return tomlkit.dumps(document)


def _dimensions_used(document: Any) -> set[str]:
    """Return the dimensions that coordinates use, also by way of others that follow them."""
    dimensions = document.get("dimensions", {})
    places = [solid.get(key) for solid in document["solids"] for key in ("box", "polygon", "z")]
    places += [
        layer.get(key) for layer in document.get("layout", {}).get("layers", ()) for key in ("thickness", "zmin")
    ]
    used: set[str] = set()
    while places:
        place = places.pop()
        if isinstance(place, Mapping):
            places += place.values()
        elif isinstance(place, list):
            places += place
        elif isinstance(place, str):
            new = ((names_in(place) or set()) & set(dimensions)) - used
            used |= new
            places += [part["value"] if isinstance(part := dimensions[name], Mapping) else part for name in new]
    return used


def _drop_dimensions(document: Any, names: Collection[str]) -> None:
    """Take dimensions out of a device file and its variants, and variants that set nothing else."""
    for name in names:
        del document["dimensions"][name]
    variants = document.get("variants", [])
    for k in reversed(range(len(variants))):
        changed = [name for name in variants[k]["set"] if name in names]
        for name in changed:
            del variants[k]["set"][name]
        if changed and not variants[k]["set"]:
            del variants[k]


def with_place(text: str, source: Path, target: Path) -> str:
    """Return the text of a device file moved from one folder to another, with the path of its layout adapted."""
    import tomlkit

    document = tomlkit.parse(text)
    if "layout" not in document:
        return text
    layout: Any = document["layout"]
    layout["file"] = Path(os.path.relpath(source / str(layout["file"]), target)).as_posix()
    return tomlkit.dumps(document)


def with_numbers(text: str, before: Device, after: Device) -> str:
    """Return the text of a device file with those values of `after` that differ; all else, also comments, is kept.

    At another bath, that is written, and values that are tables stay tables. A range of a dimension that does not hold
    its new value is left out.
    """
    import tomlkit

    if after.bath != before.bath:
        document: Any = tomlkit.parse(text)
        document["bath"] = quantity("bath", after.bath)
        text, before = tomlkit.dumps(document), at_bath(before, after.bath)
    old = before.numbers()
    changed = {name: value for name, value in after.numbers().items() if value != old[name]}
    lengths = {name: value for name, value in changed.items() if key_of(name) == "length"}
    if not changed:
        return text
    document = tomlkit.parse(with_lengths(text, lengths) if lengths else text)
    for name in lengths:
        ends = after.dimensions[name].range
        if ends is not None and not ends[0] <= changed[name] <= ends[1]:
            del document["dimensions"][name]["range"]
    for name, value in changed.items():
        material, _, key = name.rpartition(".")
        written = _written(name, value)
        if name == "zeta":
            document["zeta"] = written
        elif key == "h":
            _write_exchange(document, material, written)
        elif material in {interface.name for interface in after.interfaces}:
            _write_interface(document, material, key, written, after)
        elif material:
            table = document.setdefault("materials", tomlkit.table()).setdefault(material, tomlkit.table())
            sourced = isinstance(table.get(key), Mapping) and "value" in table[key]
            here, place = (table[key], "value") if sourced else (table, key)
            here[place] = written
    return tomlkit.dumps(document)


def _written(name: str, value: float) -> str | float:
    unit, size = shown(name)
    return f"{units.tidy(value / size):.12g} {unit}" if unit else value


def _write_exchange(document: Any, label: str, written: Any) -> None:
    """Write what a contact or a heat sink exchanges with the bath."""
    for contact in document.get("contacts", ()):
        if contact["name"] == label:
            contact["thermal"]["h"] = written
    for sink in document.get("heat_sinks", ()):
        if label in (sink.get("name"), f"{sink['solid']} {sink['face']}"):
            sink["h"] = written


def _write_interface(document: Any, name: str, key: str, written: Any, after: Device) -> None:
    """Write a value of an interface; RA and gamma in place of resistances that they were computed from."""
    (table,) = (table for table in document["interfaces"] if table["name"] == name)
    (interface,) = (interface for interface in after.interfaces if interface.name == name)
    converted = [other for other in CONVERTED if other in table]
    if key in ("RA", "gamma") and converted:
        for other in converted:
            del table[other]
        for other in ("RA", "gamma"):
            value = getattr(interface, other)
            if value is not None:
                table[other] = _written(f"{name}.{other}", value)
        return
    if key in ("P1", "P2") and not isinstance(table.get("P"), list):
        table["P"] = _inline(by_side(table.pop("P").unwrap()) if "P" in table else [interface.P1, interface.P2])
    place: Any
    here, place = (table["P"], int(key[1]) - 1) if key in ("P1", "P2") else (table, key)
    inner = here[place] if key in ("P1", "P2") or place in here else None
    if isinstance(inner, Mapping) and "value" in inner:
        here, place = inner, "value"
    here[place] = written


def _inline(value: Any) -> Any:
    """Return a value as a file has it in one line."""
    import tomlkit

    if isinstance(value, list):
        array = tomlkit.array()
        array.extend(_inline(each) for each in value)
        return array
    if not isinstance(value, Mapping):
        return value
    table = tomlkit.inline_table()
    table.update({key: _inline(each) for key, each in value.items()})
    return table


def with_lengths(text: str, lengths: Mapping[str, float]) -> str:
    """Return the text of a device file with new values of its dimensions [m]; all else, also comments, is kept.

    Values are rounded to 0.001 nm and written in the length unit of the file.
    """
    import tomlkit

    document = tomlkit.parse(text)
    unit = str(document.get("length_unit", "nm"))
    size = units.scale(unit, "length")
    table: Any = document["dimensions"]
    for name, value in lengths.items():
        here, key = (table[name], "value") if isinstance(table[name], Mapping) else (table, name)
        number = units.tidy(round(value, 12) / size)
        plain = isinstance(here[key], int | float)
        here[key] = (int(number) if number == int(number) else number) if plain else f"{number:g} {unit}"
    return tomlkit.dumps(document)
