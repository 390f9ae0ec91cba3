"""A bar with an experiment for each pair of a drive and a probe."""

from __future__ import annotations

import dataclasses

from helpers import devices
from thermospin.device.device import Device
from thermospin.device.parts import Experiment, Through

_DRIVES = {
    "current": {"current": ("left", "right")},
    "heat": {"heat": {"left": 20.0}},
    "power": {"power": {"F1": 2e-4}},
}
_PROBES = {
    "voltage": {"voltage": ("left", "right")},
    "temperature": {"temperature": ("N",)},
    **{f"through_{what}": {"through": Through(what, ("F1", "N"))} for what in ("spin", "charge", "heat")},  # type: ignore[arg-type]
}


def all_kinds(*names: str) -> Device:
    """Return a bar with an experiment for each pair, such as "heat_voltage"; with those named, all if none is."""
    nothing = Experiment("", None, None, devices.P_AP)
    experiments = {
        name: dataclasses.replace(nothing, name=name, **drive, **probe)
        for (d, drive) in _DRIVES.items()
        for (p, probe) in _PROBES.items()
        for name in [f"{d}_{p}"]
    }
    return dataclasses.replace(devices.bar(), experiments={name: experiments[name] for name in names or experiments})
