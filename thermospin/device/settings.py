"""Other values of a device than those at its place in its file: "gap = 200 nm", "Py.P = 0.3", "bath = 77 K".

They are stated beside the file (`parse`), in a table of `variants` in the file (`read_variants`), or in a column of a
table of data.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from thermospin.base import units
from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.device.device import Device, DeviceError
from thermospin.device.faults import bath_fault
from thermospin.device.interfaces import Interface
from thermospin.device.materials import Material
from thermospin.device.parts import Contact, HeatSink
from thermospin.device.temperature import values_at
from thermospin.quantities import INTERFACE, MATERIAL, OWN, kind_of, listed, shown

ValuedT = TypeVar("ValuedT", Material, Interface)


def settable(device: Device) -> dict[str, float]:
    """Return all numbers of a device that may be set beside its file, by name, in SI units: also its bath."""
    return device.numbers() | {"bath": device.bath}


def at_bath(device: Device, bath: float) -> Device:
    """Return the device at another bath temperature [K], with all values that are tables taken there.

    Raises:
      DeviceError: all tables that do not reach it, or no device has these values.
    """
    if fault := bath_fault(bath):
        raise DeviceError([fault])
    faults: list[str] = []

    def there(part: ValuedT, label: str) -> ValuedT:
        values, wrong = values_at(part.tables, bath, f"{label} '{part.name}'")
        faults.extend(wrong)
        update: dict[str, Any] = {} if wrong else dict(values)
        return dataclasses.replace(part, **update)

    materials = {name: there(material, "material") for name, material in device.materials.items()}
    interfaces = tuple(there(interface, "interface") for interface in device.interfaces)
    if faults:
        raise DeviceError(faults)
    home = device.bath if device.home is None else device.home
    return dataclasses.replace(device, bath=bath, home=home, materials=materials, interfaces=interfaces)


def at_home(device: Device) -> Device:
    """Return the device at the bath that its file was read at."""
    return device if device.home is None else at_bath(device, device.home)


def parse(texts: Iterable[str], device: Device) -> dict[str, float]:
    """Return {name: value in SI units} of texts "NAME = VALUE"; a bare length is in the unit of the device's file.

    Raises:
      InputError: every text that is none, or that names nothing of the device, one line each.
    """
    out: dict[str, float] = {}
    faults = []
    known = settable(device)
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        try:
            if not (name and equals and value):
                raise InputError("which is none")
            if name not in known:
                raise InputError(f"where '{name}' is no value of '{device.name}'; {nearest(name, known)}")
            if name in out:
                raise InputError(f"the second one of {name}")
            (out[name],) = units.parse_together([value], kind_of(name), length_unit=device.length_unit)
        except ValueError as why:
            faults.append(f'set: got "{text}", {why}; expected NAME = VALUE, such as "gap = 200 nm"')
    if faults:
        raise InputError("\n".join(faults))
    return out


def with_values(device: Device, values: Mapping[str, float]) -> Device:
    """Return the device with other values, SI units, by their names in `settable`; one that is set is so at every bath.

    Raises:
      DeviceError: no device has these values.
    """
    groups: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        owner, _, key = name.rpartition(".")
        if owner and key != "h":
            groups.setdefault(owner, {})[key] = value
    changed = at_bath(_without_tables(device, groups), values["bath"]) if "bath" in values else device
    lengths = {name: value for name, value in values.items() if name in device.dimensions}
    changed = changed.moved(lengths) if lengths else changed
    materials = dict(changed.materials)
    materials |= {name: _with(materials[name], group) for name, group in groups.items() if name in materials}
    return dataclasses.replace(
        changed,
        materials=materials,
        interfaces=tuple(_with(interface, groups.get(interface.name, {})) for interface in changed.interfaces),
        contacts=tuple(
            dataclasses.replace(contact, h=values.get(f"{contact.name}.h", contact.h)) for contact in changed.contacts
        ),
        heat_sinks=tuple(
            dataclasses.replace(sink, h=values.get(f"{sink.label}.h", sink.h)) for sink in changed.heat_sinks
        ),
        zeta=values.get("zeta", changed.zeta),
    )


def _without_tables(device: Device, groups: Mapping[str, Mapping[str, float]]) -> Device:
    """Return the device without the tables of values that are set, which need not reach a bath."""

    def bare(part: ValuedT) -> ValuedT:
        tables = {key: table for key, table in part.tables.items() if key not in groups.get(part.name, {})}
        return dataclasses.replace(part, tables=tables) if len(tables) < len(part.tables) else part

    return dataclasses.replace(
        device,
        materials={name: bare(material) for name, material in device.materials.items()},
        interfaces=tuple(map(bare, device.interfaces)),
    )


def _with(part: ValuedT, values: Mapping[str, float]) -> ValuedT:
    """Return a material or an interface with other values, the same at every bath, whose source is "set"."""
    tables = {key: table for key, table in part.tables.items() if key not in values}
    sources = {**part.sources, **dict.fromkeys(values, "set")}
    update: dict[str, Any] = {**values, "sources": sources, "tables": tables}
    return dataclasses.replace(part, **update) if values else part


def changed(device: Device, texts: Iterable[str], bath: str | None = None) -> Device:
    """Return the device with values as `parse` reads them, at another bath, such as "77 K".

    Raises:
      InputError: a text that is none; DeviceError: no device has these values.
    """
    values = parse(texts, device)
    if bath is not None:
        if "bath" in values:
            raise InputError("set and bath: got the bath twice, expected it once")
        values["bath"] = units.parse(bath, "temperature", key="bath")
    return with_values(device, values) if values else device


def variant(device: Device, texts: Iterable[str]) -> Device:
    """Return the same as a device of its own, named after what differs, for a fit beside the one it comes from."""
    texts = list(texts)
    label = ", ".join(text.replace(" ", "") for text in texts)
    return dataclasses.replace(changed(device, texts), name=f"{device.name} {label}")


def copy_with(device: Device, values: Mapping[str, float]) -> Device:
    """Return a device with other values, SI units, named after them as `variant` does; itself if there are none."""
    if not values:
        return device
    label = ", ".join(f"{name}={_exactly(name, value)}" for name, value in values.items())
    return dataclasses.replace(with_values(device, values), name=f"{device.name} {label}")


def _exactly(name: str, value: float) -> str:
    """Write a value to all its digits, such as "200nm"."""
    unit, size = shown(name)
    return f"{units.tidy(value / size):.12g}{unit}"


def read_variants(
    tables: Mapping[str, Mapping[str, Any]], known: Collection[str], length_unit: str | None, *, complete: bool = True
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Return the values of each variant, SI units, and every fault: a value that is none, or names nothing.

    Args:
      tables: what each variant sets, as it stands in the file.
      known: names of values of the device, see `settable`.
      length_unit: of bare lengths in the file.
      complete: whether those of all its parts are known; else a name of another part is taken for granted.
    """
    owners = {"", *(name.rpartition(".")[0] for name in known)}
    faults: list[str] = []
    variants: dict[str, dict[str, float]] = {}
    for variant, table in tables.items():
        variants[variant] = {}
        for name, value in _flat(table):
            label = f"variant '{variant}', set"
            kind = kind_of(name)
            if name not in known and (complete or name.rpartition(".")[0] in owners):
                faults.append(f"{label}: '{name}' is no value of the device; {nearest(name, known)}")
            elif kind == "length" and length_unit is None and not isinstance(value, str):
                faults.append(f'{label}: {name}: got {value}, a length without a unit; write such as "200 nm"')
            else:
                try:
                    unit = length_unit or "m"
                    variants[variant][name] = units.parse(value, kind, length_unit=unit, key=f"{label}: {name}")
                except units.UnitError as why:
                    faults.append(str(why))
        if not table:
            faults.append(f"variant '{variant}', set: is empty, expected such as {{ gap = \"200 nm\" }}")
    return variants, faults


def possible(
    materials: Iterable[str],
    interfaces: Iterable[Interface],
    contacts: Iterable[Contact],
    heat_sinks: Iterable[HeatSink],
    dimensions: Iterable[str],
) -> list[str]:
    """Return the names in `settable` of any device with these parts, whatever values they have."""
    ends = [*(contact.name for contact in contacts), *(sink.label for sink in heat_sinks)]
    owned = (materials, MATERIAL), ((part.name for part in interfaces), INTERFACE), (ends, ("h",))
    values = [f"{owner}.{key}" for owners, keys in owned for owner in owners for key in keys]
    return list(dict.fromkeys([*values, *dimensions, *OWN]))


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield names and values, of nested tables with a dot: TOML reads Py.P = 0.3 as a table Py."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def variant_of(device: Device, name: str, source: str = "") -> Device:
    """Return a variant of a device as a device of its own, under the name "valve@far".

    Args:
      device: the device.
      name: of the variant.
      source: name of its file in messages.
    Raises:
      DeviceError: there is no such variant, or no device has its values.
    """
    if name not in device.variants:
        known = nearest(name, device.variants) if device.variants else "the file has no [[variants]]"
        raise DeviceError([f"variant: got '{name}'; {known}"], source)
    try:
        made = with_values(device, device.variants[name])
    except InputError as error:  # of a device, a material or an interface
        raise DeviceError([f"variant '{name}': {fault}" for fault in str(error).splitlines()], source) from None
    return dataclasses.replace(made, name=f"{device.name}@{name}")


def variants_in_words(device: Device) -> list[str]:
    """Return a line for each variant, with what it sets.

    Raises:
      DeviceError: no device has the values of a variant.
    """
    lines, faults = [], list[str]()
    for name, values in device.variants.items():
        try:
            variant_of(device, name)
        except DeviceError as error:
            faults += error.faults
        lines.append(f"variant '{name}': {listed(values)}")
    if faults:
        raise DeviceError(faults)
    return lines


def alike(one: Device, other: Device) -> bool:
    """Return whether two devices are the same but for their values: variants of one device."""
    if one is other:
        return True
    if one.lengths().keys() != other.lengths().keys():
        return False
    try:
        moved = one.moved(other.lengths())
    except DeviceError:
        return False
    same = ("solids", "experiments")
    return all(getattr(moved, part) == getattr(other, part) for part in same) and _fixed(moved) == _fixed(other)


def _fixed(device: Device) -> list[object]:
    """Return what is no value of contacts, heat sinks and interfaces: which there are, and which values they have."""
    held: list[Contact | HeatSink] = [*device.contacts, *device.heat_sinks]
    ends = [dataclasses.replace(item, h=1.0) if 0 < item.h < math.inf else item for item in held]
    return [*ends, *((each.name, each.between, tuple(each.values())) for each in device.interfaces)]
