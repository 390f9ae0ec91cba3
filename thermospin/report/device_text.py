"""A device in plain text: tables of its parts and a map of what lies where. Needs no grid."""

from __future__ import annotations

import io
import math
import string
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from thermospin.base import polygons
from thermospin.device.device import Device
from thermospin.device.interfaces import Interface
from thermospin.device.leads import short_leads
from thermospin.device.materials import Material
from thermospin.device.open_circuit import open_circuit
from thermospin.device.parts import Contact, Experiment, HeatSink
from thermospin.device.provenance import DOUBTFUL, at_room_temperature, implausible, without_spin_part
from thermospin.quantities import HEAT_ONLY, INTERFACE, MATERIAL, Quantity

#: Most characters across a map.
MAP = 72


class Listing(NamedTuple):
    """A table in words.

    Attributes:
      title: of the table.
      columns: their heads.
      rows: a cell for each column.
      numbers: places of the columns with numbers, which line up on the right.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    numbers: frozenset[int] = frozenset()

    def rich(self) -> Table:
        """Return it for a terminal."""
        table = Table(title=self.title, title_justify="left")
        for place, column in enumerate(self.columns):
            table.add_column(escape(column), justify="right" if place in self.numbers else "left")
        for row in self.rows:
            table.add_row(*map(escape, row))
        return table


def describe(device: Device, width: int = 110) -> str:
    """Return the parts of a device, a map and its size as text `width` characters wide."""
    # In a notebook, rich would show the tables at once instead of writing them.
    console = Console(width=width, highlight=False, file=io.StringIO(), force_jupyter=False)

    def line(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    line(f"{device.name}: {conditions(device)}")
    if device.notes:
        line(device.notes)
    console.print(materials(device).rich())
    used = {solid.material for solid in device.solids}
    for name in device.materials:
        if name not in used:
            line(f"  material '{name}' is used by no solid")
    if device.interfaces:
        console.print(interfaces(device).rich())
    for text in doubts(device):
        line("  " + text)
    console.print(contacts(device).rich())
    console.print(experiments(device).rich())
    if device.dimensions:
        console.print(dimensions(device).rich())
        for text in _parting(device):
            line("  " + text)
    line("Seen from above (the topmost metal, else what lies there; every box is stretched to be seen, not to scale):")
    for text in map_from_above(device):
        line("  " + text)
    line(size(device))
    marks = [text for solid in device.solids for text in solid.provenance.values()]
    if marks:
        assumed = sum(text.startswith("assumed") for text in marks)
        rest = f", {3 * len(device.solids) - len(marks)} not marked" if len(marks) < 3 * len(device.solids) else ""
        line(f"Extents of the solids: {len(marks) - assumed} with a source, {assumed} assumed{rest}")
    return console.file.getvalue().rstrip()  # type: ignore[attr-defined]


def conditions(device: Device) -> str:
    """Return bath and zeta."""
    return f"bath {device.bath:g} K, zeta {device.zeta:g}"


def size(device: Device) -> str:
    """Return how many solids there are, and how large they are together."""
    sides = " x ".join(f"{(high - low) * 1e9:.6g}" for low, high in device.bounding_box)
    return f"{len(device.solids)} solids in {sides} nm; smallest feature {device.smallest_feature * 1e9:.6g} nm"


def doubts(device: Device) -> list[str]:
    """Return what is to be known of the values of a device, its states, and what has no circuit, line by line."""
    return [
        *_doubtful(device),
        *_over_bath(device),
        *implausible(device),
        *at_room_temperature(device),
        *without_spin_part(device),
        *short_leads(device),
        *open_circuit(device),
    ]


def dimensions(device: Device) -> Listing:
    """List the named lengths, and what they move."""
    rows = []
    for name, dimension in device.dimensions.items():
        moves = {
            "xyz"[axis] for solid in device.solids for axis in range(3) for end in solid.slopes(axis) if name in end
        }
        rows.append(
            (
                name,
                f"{1e9 * dimension.value:.6g}",
                "" if dimension.std is None else f"{1e9 * dimension.std:.4g}",
                "" if dimension.range is None else f"{1e9 * dimension.range[0]:.6g} to {1e9 * dimension.range[1]:.6g}",
                ", ".join(sorted(moves)),
                dimension.note,
            )
        )
    return Listing("Dimensions", ("name", "value [nm]", "std", "range", "moves", "note"), rows, frozenset((1, 2)))


def _parting(device: Device) -> list[str]:
    """Return why derivatives by dimensions would be refused, a line per axis at most."""
    reasons = []
    for axis in range(3):
        try:
            device.face_slopes(axis)
        except ValueError as error:
            reasons.append(str(error))
    return reasons


def _with_unit(name: str, row: Quantity) -> str:
    return f"{name} [{row.shown}]" if row.shown else name


def materials(device: Device) -> Listing:
    """List the values of the materials of the solids."""
    heads = ("name", *(_with_unit(key, row) for key, row in MATERIAL.items()))
    names = dict.fromkeys(solid.material for solid in device.solids)
    rows = [(name, *(_value(device.materials[name], key) for key in MATERIAL)) for name in names]
    return Listing("Materials", heads, rows, frozenset(range(1, len(heads))))


def _value(material: Material, key: str) -> str:
    if not material.is_metal and key not in HEAT_ONLY:
        return "-"
    return f"{getattr(material, key) / MATERIAL[key].size:.6g}"


def interfaces(device: Device) -> Listing:
    """List the values of the interfaces."""
    keys = [key for key in INTERFACE if any(key in interface.values() for interface in device.interfaces)]
    heads = ("name", "between", *(_with_unit(key, INTERFACE[key]) for key in keys))
    rows = [
        (interface.name, ", ".join(interface.between), *(_interface_value(interface, key) for key in keys))
        for interface in device.interfaces
    ]
    return Listing("Interfaces", heads, rows, frozenset(range(2, len(heads))))


def _interface_value(interface: Interface, key: str) -> str:
    value = interface.values().get(key)
    return "-" if value is None else f"{value / INTERFACE[key].size:.6g}"


def _doubtful(device: Device) -> list[str]:
    """Return a line for each value whose source is worth a second look, and for those of interfaces that name one."""
    lines = [
        f"{name}.{key} = {_value(device.materials[name], key)} {MATERIAL[key].shown}".rstrip() + f": {source}"
        for name in dict.fromkeys(solid.material for solid in device.solids)
        for key, source in device.materials[name].sources.items()
        if source.startswith(DOUBTFUL)
    ]
    for interface in device.interfaces:
        for key, source in interface.sources.items():
            if source != "device file":
                value = f"{_interface_value(interface, key)} {INTERFACE[key].shown}".rstrip()
                lines.append(f"{interface.name}.{key} = {value}: {source}")
    return lines


def _over_bath(device: Device) -> list[str]:
    """Return a line with the values that are tables over the bath, and how far they reach."""
    tables = [f"{name} ({table.reach})" for name, table in device.over_bath().items()]
    return [f"Tables over the bath, here at {device.bath:g} K: {', '.join(tables)}"] if tables else []


def contacts(device: Device) -> Listing:
    """List contacts and heat sinks."""
    faces, rows = device.contact_faces(), []
    for contact in device.contacts:
        where = f" at {polygons.at(contact.edge.middle)}" if contact.edge else ""
        area = f"{faces[contact.name].area * 1e18:.6g}"
        rows.append((contact.name, contact.solid, contact.face + where, area, _heat(contact, device)))
    for sink in device.heat_sinks:
        rows.append((f"heat sink {sink.name}".rstrip(), sink.solid, sink.face, "", _heat(sink, device)))
    heads = ("contact", "solid", "face", "area [nm^2]", "heat")
    return Listing("Contacts and heat sinks", heads, rows, frozenset([3]))


def _heat(item: Contact | HeatSink, device: Device) -> str:
    if item.h == math.inf:
        return f"held at {device.bath:g} K"
    return f"{item.h:.4g} W/(m^2 K) to {device.bath:g} K" if item.h else "insulated"


def experiments(device: Device) -> Listing:
    """List what drives experiments and what they read."""
    rows = []
    for experiment in device.experiments.values():
        reversed_in = {
            state: " and ".join(magnet for magnet, sign in signs.items() if sign < 0)
            for state, signs in experiment.states.items()
        }
        states = ", ".join(f"{state} ({magnets or 'none'})" for state, magnets in reversed_in.items())
        rows.append((experiment.name, _drive(experiment), _probe(experiment), experiment.unit(1), states))
    return Listing("Experiments", ("name", "drive", "probe", "R1 in", "states (magnets reversed)"), rows)


def _drive(experiment: Experiment) -> str:
    """Return what drives an experiment, such as "heat: top, bottom -0.5 times"."""
    if experiment.current is not None:
        return f"current: in {experiment.current[0]}, out {experiment.current[1]}"
    (first, unit), *others = (experiment.heat or experiment.power).items()
    return f"{experiment.drive}: {', '.join([first, *(f'{name} {value / unit:.4g} times' for name, value in others)])}"


def _probe(experiment: Experiment) -> str:
    """Return what is read in an experiment, such as "spin: Cu to FM2"."""
    if experiment.voltage is not None:
        return f"voltage: plus {experiment.voltage[0]}, minus {experiment.voltage[1]}"
    if experiment.through is not None:
        return f"{experiment.through.what}: {' to '.join(experiment.through.between)}"
    return f"temperature: {' minus '.join(experiment.temperature)}"


def map_from_above(device: Device) -> list[str]:
    """Return lines of text: a letter per box of the coarsest grid for the topmost metal, names of contacts at faces.

    x runs to the right and y upwards. No line is longer than `MAP`: where names of contacts do not fit, numbers stand
    for them, and of more boxes than characters some are left out. Outlines are drawn on tiles.
    """
    width = max([len(contact.name) + 2 for contact in device.contacts], default=3)
    lines, tiles = device.layout().raster(max(MAP // width, 10))
    names = {contact.name: contact.name for contact in device.contacts}
    if tiles.shape[0] * width > MAP:
        names = {name: str(k) for k, name in enumerate(names, 1)}
        width = max(MAP // tiles.shape[0], len(str(len(names))))
    metals = iter(string.ascii_uppercase + string.ascii_lowercase + "*" * len(device.domains))
    others = iter(".:,;" + "'" * len(device.domains))
    letters = {domain: next(metals if device.materials[domain[0]].is_metal else others) for domain in device.domains}
    kinds = [letters[(solid.material, solid.magnet)] for solid in device.solids] + [" "]
    # From the top down: the first metal, else the first solid, else nothing.
    of_metal = np.array([device.materials[solid.material].is_metal for solid in device.solids] + [False])
    owner, metal = tiles[:, :, ::-1], of_metal[tiles][:, :, ::-1]
    filled = owner >= 0
    pick = np.where(metal.any(axis=2), metal.argmax(axis=2), filled.argmax(axis=2))
    top = np.take_along_axis(owner, pick[:, :, None], axis=2)[:, :, 0]
    shown = np.unique(np.linspace(0, len(top) - 1, min(len(top), MAP // width)).round().astype(int))
    cells = np.array([[kinds[i] * width for i in column] for column in top[shown]], dtype=object)
    for name, face in device.contact_faces().items():
        i, j = (
            min(int(np.searchsorted(line, at, side="right")) - 1, len(line) - 2)
            for line, at in zip(lines[:2], face.centre, strict=True)
        )
        cells[np.abs(shown - i).argmin(), j] = f"{names[name]:_^{width}}"
    rows = ["".join(cells[:, j]) for j in range(cells.shape[1] - 1, -1, -1)]
    legend = [f"{letter} {domain[0]}" + (f" ({domain[1]})" if domain[1] else "") for domain, letter in letters.items()]
    legend += [f"_{short}_ {name}" for name, short in names.items() if short != name] or ["_name_ contact"]
    # Lines break between entries, not within one.
    whole = "; ".join(entry.replace(" ", "\xa0") for entry in legend)
    return [*rows, *(line.replace("\xa0", " ") for line in textwrap.wrap(whole, MAP, break_on_hyphens=False))]
