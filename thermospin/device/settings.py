"""Values of a device that are stated beside its file: "gap = 200 nm", "Py.P = 0.3", "zeta = 1"."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from thermospin.base import units
from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.device.device import Device
from thermospin.quantities import kind_of


def parse(texts: Iterable[str], device: Device) -> dict[str, float]:
    """Return {name: value in SI units} of texts "NAME = VALUE"; a bare length is in the unit of the device's file.

    Raises:
      InputError: every text that is none, or that names nothing of the device, one line each.
    """
    out: dict[str, float] = {}
    faults = []
    known = device.numbers()
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
    """Return the device with other values of materials, dimensions or zeta, SI units; see `Device.numbers`.

    Raises:
      DeviceError: no device has these values.
    """
    lengths = {name: value for name, value in values.items() if name in device.dimensions}
    changed = device.moved(lengths) if lengths else device
    materials = dict(changed.materials)
    for name, value in values.items():
        material, _, key = name.rpartition(".")
        if material:
            sources = {**materials[material].sources, key: "set"}
            update: dict[str, Any] = {key: value, "sources": sources}
            materials[material] = dataclasses.replace(materials[material], **update)
    zeta = values.get("zeta", changed.zeta)
    return dataclasses.replace(changed, materials=materials, zeta=zeta)


def changed(device: Device, texts: Iterable[str]) -> Device:
    """Return the device with values as `parse` reads them."""
    values = parse(texts, device)
    return with_values(device, values) if values else device


def variant(device: Device, texts: Iterable[str]) -> Device:
    """Return the same as a device of its own, named after what differs, for a fit beside the one it comes from."""
    texts = list(texts)
    label = ", ".join(text.replace(" ", "") for text in texts)
    return dataclasses.replace(changed(device, texts), name=f"{device.name} {label}")
