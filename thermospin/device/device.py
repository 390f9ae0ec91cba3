"""Devices: parts, materials and dimensions, checked once when they are built; `device.reader` reads their files.

Lengths are metres. Everything here is plain immutable Python; the numbers that can be fitted or differentiated come out
as one flat dictionary, `Device.parameters`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.base.polygons import width
from thermospin.device import materials
from thermospin.device.faults import bath_fault, dimension_faults, faults, zeta_fault
from thermospin.device.materials import Material
from thermospin.device.parts import Contact, Experiment, HeatSink, Solid, indices, plan_of
from thermospin.geometry.boxes import FreeFace, Plan
from thermospin.geometry.dimensions import Dimension
from thermospin.grid import AXES, Box, Features

#: Between the name of a device and that of a parameter which is its own in a fit of several: "wide:zeta".
OF = ":"


class DeviceError(InputError):
    """A device that cannot be computed, with all its faults, one line each."""

    def __init__(self, faults: Iterable[str], source: str = "") -> None:
        self.faults = [f"{source}: {fault}" if source else fault for fault in faults]
        super().__init__("\n".join(self.faults))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Device:
    """Everything about a device but the numerics; a Device that exists has passed every check.

    Attributes:
      name: what tables and files call it.
      solids: boxes; later ones overwrite earlier ones.
      materials: by name; a material that no solid uses is allowed.
      contacts, heat_sinks, experiments: as their classes say.
      bath: temperature of the bath [K].
      zeta: factor on the Joule heat [1].
      dimensions: lengths that coordinates of solids are made of, by name.
      notes: free text.
      length_unit: of the numbers without a unit in its file, for what is said about the device elsewhere; None: none.
    Raises:
      DeviceError: with all faults.
    """

    name: str
    solids: tuple[Solid, ...]
    materials: Mapping[str, Material]
    contacts: tuple[Contact, ...] = ()
    heat_sinks: tuple[HeatSink, ...] = ()
    experiments: Mapping[str, Experiment] = dataclasses.field(default_factory=dict)
    bath: float = 300.0
    zeta: float = 1.0
    dimensions: Mapping[str, Dimension] = dataclasses.field(default_factory=dict)
    notes: str = dataclasses.field(default="", compare=False)
    length_unit: str | None = dataclasses.field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Check everything."""
        all_faults = [text for text in (bath_fault(self.bath), zeta_fault(self.zeta)) if text]
        all_faults += dimension_faults(self.dimensions, self.solids)
        used = {solid.material for solid in self.solids}
        for name in used & set(self.materials):
            fault = materials.thermoelectric_fault(self.materials[name].values(), self.bath)
            if fault:
                all_faults.append(f"material '{name}', {fault}")
        all_faults += faults(
            self.solids,
            self.contacts,
            self.heat_sinks,
            tuple(self.experiments.values()),
            {name: material.is_metal for name, material in self.materials.items()},
        )
        if all_faults:
            raise DeviceError(all_faults)

    @property
    def domains(self) -> tuple[tuple[str, str | None], ...]:
        """Pairs (material, magnet) that occur, in order of appearance."""
        return tuple(dict.fromkeys((solid.material, solid.magnet) for solid in self.solids))

    @property
    def magnets(self) -> tuple[str, ...]:
        """Names of the magnets, in order of appearance."""
        return tuple(dict.fromkeys(solid.magnet for solid in self.solids if solid.magnet is not None))

    def parameters(self) -> dict[str, float]:
        """Return all numbers that can be fitted, by name, in SI units: "Py.sigma", "substrate.kappa", "zeta"."""
        flat = {
            f"{name}.{key}": value
            for name in dict.fromkeys(solid.material for solid in self.solids)
            for key, value in self.materials[name].values().items()
        }
        return flat | {"zeta": self.zeta}

    def lengths(self) -> dict[str, float]:
        """Return values of the named dimensions [m]."""
        return {name: dimension.value for name, dimension in self.dimensions.items()}

    def numbers(self) -> dict[str, float]:
        """Return parameters and dimensions: every name that a fit may free."""
        return self.parameters() | self.lengths()

    def moved(self, lengths: Mapping[str, float]) -> Device:
        """Return the device with other values of some of its dimensions [m]; all that uses them moves.

        Raises:
          ValueError: a dimension that does not exist.
          DeviceError: no device is left, such as where a solid is turned inside out.
        """
        unknown = [name for name in lengths if name not in self.dimensions]
        if unknown:
            raise InputError(
                "\n".join(f"dimension '{n}' does not exist; {nearest(n, self.dimensions)}" for n in unknown)
            )
        values = self.lengths() | {name: float(value) for name, value in lengths.items()}
        try:
            return dataclasses.replace(
                self,
                solids=tuple(solid.moved(values) for solid in self.solids),
                dimensions={
                    n: dataclasses.replace(dimension, value=values[n]) for n, dimension in self.dimensions.items()
                },
            )
        except DeviceError as error:
            where = ", ".join(f"{name} = {1e9 * value:g} nm" for name, value in lengths.items())
            raise DeviceError(error.faults, f"at {where}") from None

    def face_slopes(self, axis: int) -> tuple[np.ndarray, list[dict[str, float]]]:
        """Return faces across one axis [m], and how each moves: its derivative by every dimension that moves it.

        Raises:
          ValueError: faces that coincide move differently, so that moving splits them.
        """
        faces = self.features.faces(axis)
        motions: list[tuple[dict[str, float], str] | None] = [None] * len(faces)
        # Ends of round solids are no faces, but for the outermost ones.
        rails = [(edge, slopes, solid.name) for solid in self.solids for edge, slopes in solid.rails(axis)]
        ends = [
            (edge, slopes, solid.name)
            for solid in self.solids
            for edge, slopes in zip(solid.box[axis], solid.slopes(axis), strict=True)
        ]
        for number, (edge, slopes, name) in enumerate(rails + ends):
            place = int(np.argmin(np.abs(faces - edge)))
            known = motions[place]
            if known is None:
                motions[place] = slopes, name
            elif known[0] != slopes and number < len(rails):
                moving = {f"'{n}'" for n, _ in set(known[0].items()) ^ set(slopes.items())}
                raise InputError(
                    f"{AXES[axis]} = {1e9 * edge:g} nm: the faces of '{known[1]}' and '{name}' lie on each other "
                    f"and move differently with {', '.join(sorted(moving))}; give both the same expression, or "
                    "put them apart"
                )
        return faces, [part[0] for part in motions if part is not None]

    def solid(self, name: str) -> Solid:
        """Return the solid of that name; of a body, its first piece."""
        places = indices(self.solids, name)
        return self.solids[places[0]] if places else _by_name(self.solids, name, "solid")

    def contact(self, name: str) -> Contact:
        """Return the contact of that name."""
        return _by_name(self.contacts, name, "contact")

    def layout(self) -> Plan:
        """Return the solids seen as one: what is left of each, what touches what."""
        return self._plan

    @functools.cached_property
    def _plan(self) -> Plan:
        return plan_of(self.solids, [self.materials[solid.material].is_metal for solid in self.solids])

    def contact_faces(self) -> dict[str, FreeFace]:
        """Return the free end face of every contact, by name."""
        return {contact.name: self._face(contact, metal=True) for contact in self.contacts}

    def heat_sink_faces(self) -> list[FreeFace]:
        """Return the free part of the face of every heat sink."""
        return [self._face(sink, metal=False) for sink in self.heat_sinks]

    def _face(self, item: Contact | HeatSink, *, metal: bool) -> FreeFace:
        face = self._plan.face(indices(self.solids, item.solid), item.face, metal=metal)
        assert not isinstance(face, str)  # `faults` has refused a device without
        return face

    @functools.cached_property
    def features(self) -> Features:
        """Return what a grid has to resolve."""
        domains = self.domains
        of_solid = [domains.index((solid.material, solid.magnet)) for solid in self.solids]
        prisms = self.layout().prisms(of_solid)
        used = [self.materials[solid.material] for solid in self.solids]
        return Features(
            boxes=tuple(solid.box for solid in self.solids),
            domains=tuple(of_solid),
            metals=tuple(material.is_metal for material in used),
            lengths=tuple(material.lambda_sf for material in used),
            outlines=tuple(None if solid.outline is None else np.array(solid.outline) for solid in self.solids),
            prisms=prisms,
            edges=tuple((solid.straight_edges(0), solid.straight_edges(1)) for solid in self.solids),
            planes=tuple(
                sorted({float(face.position) for face in self.contact_faces().values() if face.axis == axis})
                if prisms
                else ()
                for axis in range(3)
            ),
        )

    @property
    def bounding_box(self) -> Box:
        """Extent of all solids [m]."""
        low_high = [
            (min(solid.box[axis][0] for solid in self.solids), max(solid.box[axis][1] for solid in self.solids))
            for axis in range(3)
        ]
        return low_high[0], low_high[1], low_high[2]

    @property
    def smallest_feature(self) -> float:
        """The smallest distance between two faces across one axis [m]."""
        return min(
            min(float(np.diff(self.features.faces(axis)).min()) for axis in range(3)),
            *(width(np.array(solid.outline)) for solid in self.solids if solid.outline is not None),
            np.inf,
        )


def _by_name(items: Sequence[Any], name: str, what: str) -> Any:
    for item in items:
        if item.name == name:
            return item
    raise InputError(f"no {what} '{name}'; {nearest(name, [item.name for item in items])}")


def stretched(device: Device, axis: int, at: float, by: float) -> tuple[Device, float]:
    """Return the device with everything from a face onwards moved along an axis; what ends or spans there grows.

    Moving the top of a film makes it thicker and lifts what lies on it; moving the near face of a magnet widens the gap
    before it.

    Args:
      device: the device.
      axis: 0, 1 or 2.
      at: coordinate of the face, that of a solid [m].
      by: how far [m].
    Returns:
      the moved device, and the next lower face coordinate, from where on the space is stretched.
    Raises:
      ValueError: no solid has a face there, it is the lowest one, or nothing would be left below it.
    """
    ends = sorted({end for solid in device.solids for end in solid.box[axis]})
    near = min(ends, key=lambda end: abs(end - at))
    if abs(near - at) > 1e-12:
        listed = ", ".join(f"{1e9 * end:g}" for end in ends[1:])
        raise InputError(f"{'xyz'[axis]} = {1e9 * at:g} nm: no solid has a face there; expected one of {listed} nm")
    if near == ends[0]:
        raise InputError(f"{'xyz'[axis]} = {1e9 * at:g} nm is the lowest face, whose motion changes nothing")
    below = ends[ends.index(near) - 1]
    if near + by - below <= 0:
        raise InputError(f"{'xyz'[axis]} = {1e9 * at:g} nm moved by {1e9 * by:g} nm reaches the face below it")

    def moved(solid: Solid) -> Solid:
        low, high = (end + by if end >= near else end for end in solid.box[axis])
        box = tuple((low, high) if k == axis else pair for k, pair in enumerate(solid.box))
        coordinates = dict(solid.coordinates)
        if AXES[axis] in coordinates:
            first, second = (
                dataclasses.replace(coordinate, constant=coordinate.constant + by) if end >= near else coordinate
                for coordinate, end in zip(coordinates[AXES[axis]], solid.box[axis], strict=True)
            )
            coordinates[AXES[axis]] = first, second
        return dataclasses.replace(solid, box=box, coordinates=coordinates)  # type: ignore[arg-type]

    return dataclasses.replace(device, solids=tuple(moved(solid) for solid in device.solids)), below


@dataclasses.dataclass(frozen=True)
class LooseFace:
    """A face that is known to a standard deviation: all from there onwards moves along, see `stretched`.

    Attributes:
      axis: 0, 1 or 2.
      at: its coordinate [m].
      std: of it [m].
      device: name of the device; "": the only one.
    """

    axis: int
    at: float
    std: float
    device: str = ""


@dataclasses.dataclass(frozen=True)
class Tie:
    """A parameter that follows another one: value(name) = factor * value(source)."""

    name: str
    source: str
    factor: float = 1.0


def known_parameters(devices: Sequence[Device]) -> dict[str, float]:
    """Return every name that a fit of these devices may use, and its value at the start (of the first that has it)."""
    known: dict[str, float] = {}
    for device in devices:
        known |= {name: value for name, value in device.numbers().items() if name not in known}
    if len(devices) > 1:
        known |= {f"{device.name}{OF}{name}": value for device in devices for name, value in device.numbers().items()}
    return known
