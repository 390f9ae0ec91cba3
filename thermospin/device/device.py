"""Devices: parts, materials and dimensions, checked once when they are built; `device.reader` reads their files.

Lengths are in metres. All objects are plain immutable Python. `Device.parameters` returns the numbers that can be
fitted or differentiated as one flat dictionary.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.kinds import as_number
from thermospin.base.names import meant, nearest
from thermospin.base.polygons import TOUCH, width
from thermospin.base.shown import Plotted
from thermospin.device import materials, singularities
from thermospin.device.faults import bath_fault, dimension_faults, faults, zeta_fault
from thermospin.device.interfaces import Interface, between, sides, thermoelectric_fault
from thermospin.device.materials import Material
from thermospin.device.parts import Contact, Experiment, HeatSink, Partial, Solid, face_of, indices, plan_of
from thermospin.device.temperature import Table
from thermospin.geometry.borders import Band, bands
from thermospin.geometry.boxes import FreeFace, Plan
from thermospin.geometry.dimensions import Dimension
from thermospin.geometry.grid_rule import COARSEST, Features, at_coarseness
from thermospin.geometry.outlines import Patch
from thermospin.grid import AXES, Box, Grid

#: Separates device, or bath, and parameter in names of parameters that not all devices share: "wide:zeta", "77K:Py.P".
OF = ":"


class DeviceError(InputError):
    """An invalid device; the message lists all its faults, one per line; `partial` is what could be read of it."""

    def __init__(self, faults: Iterable[str], source: str = "", partial: Partial | None = None) -> None:
        self.partial = partial or Partial()
        self.faults = [f"{source}: {fault}" if source else fault for fault in faults]
        super().__init__("\n".join(self.faults))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Device(Plotted):
    """A complete description of a device, without numerics; every instance has passed all checks.

    Attributes:
      name: name in tables and files.
      solids: boxes and prisms; later ones overwrite earlier ones.
      materials: materials by name; unused ones are allowed.
      contacts, heat_sinks, interfaces, experiments: described in their classes.
      bath: temperature of the bath [K].
      zeta: factor on the Joule heat [1].
      dimensions: named lengths, from which coordinates of solids are computed.
      notes: free text.
      length_unit: unit of lengths without a unit in its file, and in options about the device; None: no unit.
      variants: other values of the same device by the name of the variant, SI units; see `settings.variant_of`.
      home: bath that its file was read at, where it is another one now [K]; see `settings.at_bath`.
    Raises:
      DeviceError: the device has faults; the message lists all.
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
    variants: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict, compare=False, repr=False)
    interfaces: tuple[Interface, ...] = ()
    home: float | None = dataclasses.field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Check all parts and how they fit together."""
        _require_parts(self)
        all_faults = [text for text in (bath_fault(self.bath), zeta_fault(self.zeta)) if text]
        all_faults += dimension_faults(self.dimensions, self.solids)
        used = {solid.material for solid in self.solids}
        for name in used & set(self.materials):
            fault = materials.thermoelectric_fault(self.materials[name].values(), self.bath)
            if fault:
                all_faults.append(f"material '{name}', {fault}")
        for interface in self.interfaces:
            fault = thermoelectric_fault(interface.values(), self.bath)
            if fault:
                all_faults.append(f"interface '{interface.name}', {fault}")
        all_faults += faults(
            self.solids,
            self.contacts,
            self.heat_sinks,
            tuple(self.experiments.values()),
            self.interfaces,
            {name: material.is_metal for name, material in self.materials.items()},
            self.materials,
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
        flat |= {
            f"{interface.name}.{key}": value
            for interface in self.interfaces
            for key, value in interface.values().items()
        }
        flat |= {f"{label}.h": h for label, h in self.exchanging().items()}
        return flat | {"zeta": self.zeta}

    def interface_between(self, one: int, other: int) -> tuple[int, bool] | None:
        """Return the interface between two solids, given by index, and whether the first is its second side."""
        return between(self.interfaces, sides(self.solids, self.materials), one, other)

    def exchanging(self) -> dict[str, float]:
        """Return h of all contacts and heat sinks that exchange heat with the bath at a finite rate [W/(m^2 K)]."""
        pairs = [(contact.name, contact.h) for contact in self.contacts]
        pairs += [(sink.label, sink.h) for sink in self.heat_sinks]
        return {label: h for label, h in pairs if 0 < h < math.inf}

    def lengths(self) -> dict[str, float]:
        """Return values of the named dimensions [m]."""
        return {name: dimension.value for name, dimension in self.dimensions.items()}

    def numbers(self) -> dict[str, float]:
        """Return parameters and dimensions by name: all values that a fit may vary."""
        return self.parameters() | self.lengths()

    def over_bath(self) -> dict[str, Table]:
        """Return the parameters that are tables over the bath temperature."""
        parts = [self.materials[name] for name in dict.fromkeys(solid.material for solid in self.solids)]
        tables = {f"{part.name}.{key}": table for part in parts for key, table in part.tables.items()}
        return tables | {f"{part.name}.{key}": table for part in self.interfaces for key, table in part.tables.items()}

    def moved(self, lengths: Mapping[str, float]) -> Device:
        """Return the device with new values of some of its dimensions [m]; all solids that use them move.

        Raises:
          ValueError: a dimension that does not exist, or a value that is no number.
          DeviceError: the new device is invalid, for example because a solid has a negative thickness.
        """
        unknown = [name for name in lengths if name not in self.dimensions]
        if unknown:
            raise InputError(
                "\n".join(f"dimension '{n}' does not exist; {nearest(n, self.dimensions)}" for n in unknown)
            )
        lengths = {name: as_number(float, f"dimension '{name}'", value, "m") for name, value in lengths.items()}
        values = self.lengths() | dict(lengths)
        try:
            if others := [solid.body or solid.name for solid in self.solids if not solid.is_as_drawn(values)]:
                raise DeviceError(
                    f"film '{name}' would have another shape than with the values of the file, from which it is made: "
                    "it would lie on another solid, or lose an edge where side walls meet; write them in the file"
                    for name in dict.fromkeys(others)
                )
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
        """Return the faces normal to an axis [m], and the derivatives of each with respect to the dimensions.

        Raises:
          ValueError: faces that coincide move differently, and would separate.
        """
        faces = self.features.faces(axis)
        motions: list[tuple[dict[str, float], str] | None] = [None] * len(faces)
        # The ends of round solids need no grid lines, except the outermost ends.
        rails = [(edge, slopes, solid.name) for solid in self.solids for edge, slopes in solid.rails(axis)]
        ends = [
            (edge, slopes, solid.name)
            for solid in self.solids
            for edge, slopes in zip(solid.box[axis], solid.slopes(axis), strict=True)
        ]
        held = [(plane, self._plane_slopes(axis, plane), "") for plane in self.features.planes[axis]]
        slanted = [
            (point[axis], self._edge_slopes(band, point), "")
            for band in self._bands
            for point in (band.low, band.high)
            if band.axis == axis
        ]
        for number, (edge, slopes, name) in enumerate(rails + ends + held + slanted):
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

    def _plane_slopes(self, axis: int, at: float) -> dict[str, float]:
        """Return how the plane of a contact moves by dimension: with the end of the slice of a film that it is on."""
        slopes = (
            corner[axis].slopes
            for solid in self.solids
            if axis < 2 and solid.outline is not None and solid.corners
            for place, corner in zip(solid.outline, solid.corners, strict=True)
            if abs(place[axis] - at) <= TOUCH
        )
        return next(filter(None, slopes), {})

    def solid(self, name: str) -> Solid:
        """Return the solid of that name; for a body in several pieces, the first piece."""
        places = indices(self.solids, name)
        return self.solids[places[0]] if places else _by_name(self.solids, name, "solid")

    def contact(self, name: str) -> Contact:
        """Return the contact of that name."""
        return _by_name(self.contacts, name, "contact")

    def experiment(self, name: str) -> Experiment:
        """Return the experiment of that name."""
        if name not in self.experiments:
            raise InputError(f"experiment '{name}' does not exist; {nearest(name, self.experiments)}")
        return self.experiments[name]

    def layout(self) -> Plan:
        """Return the geometry of all solids together: which parts are not overwritten, and which solids touch."""
        return self._plan

    @functools.cached_property
    def _plan(self) -> Plan:
        return plan_of(self.solids, [self.materials[solid.material].is_metal for solid in self.solids])

    def contact_faces(self) -> dict[str, FreeFace]:
        """Return the free end face of every contact, by name."""
        return {contact.name: self._face(contact) for contact in self.contacts}

    def heat_sink_faces(self) -> list[FreeFace]:
        """Return the free part of the face of every heat sink."""
        return [self._face(sink) for sink in self.heat_sinks]

    def _face(self, item: Contact | HeatSink) -> FreeFace:
        face = face_of(self._plan, self.solids, item)
        assert not isinstance(face, str)  # `faults` refuses a device without this face
        return face

    @functools.cached_property
    def features(self) -> Features:
        """Return the features that a grid must resolve."""
        domains = self.domains
        of_solid = [domains.index((solid.material, solid.magnet)) for solid in self.solids]
        prisms = self.layout().prisms(of_solid)
        used = [self.materials[solid.material] for solid in self.solids]
        faces = self.contact_faces()
        held = [face for face in faces.values() if isinstance(face, Patch)]
        features = Features(
            boxes=tuple(solid.box for solid in self.solids),
            domains=tuple(of_solid),
            metals=tuple(material.is_metal for material in used),
            lengths=tuple(material.lambda_sf for material in used),
            magnetic=frozenset(k for k, material in enumerate(used) if material.is_magnetic),
            outlines=tuple(None if solid.outline is None else np.array(solid.outline) for solid in self.solids),
            prisms=prisms,
            edges=tuple((solid.straight_edges(0), solid.straight_edges(1)) for solid in self.solids),
            planes=tuple(
                sorted({at for face in held if face.axis == axis for at in face.positions}) for axis in range(3)
            ),
        )
        features = dataclasses.replace(
            features, bands=tuple((band.axis, *band.ends, features.border_size(*band.solids)) for band in self._bands)
        )
        side = min(high - low for solid in self.solids for low, high in solid.box)
        weak = singularities.weak_lines(at_coarseness(features, 1, COARSEST), self._conductivities)
        sizes = tuple({at: side * singularities.resolution(value) for at, value in lines.items()} for lines in weak)
        return dataclasses.replace(features, weak=sizes, injecting=self._injecting(faces))

    def _injecting(self, faces: Mapping[str, FreeFace]) -> tuple[dict[float, float], ...]:
        """Return where currents enter ferromagnets through contacts, by axis: plane, and the wanted size there [m].

        Half of the current enters in each spin channel, which the ferromagnet polarises within its relaxation length.
        """
        found: tuple[dict[float, float], ...] = ({}, {}, {})
        for name in {end for experiment in self.experiments.values() for end in experiment.current or ()}:
            material, face = self.materials[self.solid(self.contact(name).solid).material], faces[name]
            for plane in face.positions if isinstance(face, Patch) else (face.position,):
                if material.is_magnetic:
                    found[face.axis][plane] = min(material.lambda_sf / 5, found[face.axis].get(plane, math.inf))
        return found

    @functools.cached_property
    def _bands(self) -> tuple[Band, ...]:
        """Intervals in which different metals meet along slanted edges."""
        of_solid = [self.domains.index((solid.material, solid.magnet)) for solid in self.solids]
        return bands(self._plan, of_solid, [self.materials[solid.material].is_metal for solid in self.solids])

    def _edge_slopes(self, band: Band, point: tuple[float, float]) -> dict[str, float]:
        """Return how an end of a band moves by dimension: with the edge of the solid that overwrites the other one."""
        found = (self.solids[k].edge_slopes(band.axis, point) for k in reversed(band.solids))
        return next((slopes for slopes in found if slopes is not None), {})

    @functools.cached_property
    def _conductivities(self) -> singularities.Conductivities:
        """Conductivities of all domains: for each channel of each state, and for heat."""
        states = [signs for experiment in self.experiments.values() for signs in experiment.states.values()]
        of_charge: list[list[float]] = []
        for signs, spin in itertools.product(states or [{}], (1, -1)):
            row = []
            for name, magnet in self.domains:
                material = self.materials[name]
                sign = 1 if magnet is None else signs.get(magnet, 1)
                row.append(material.sigma * (1 + spin * sign * material.P) / 2 if material.is_metal else 0.0)
            of_charge.append(row)
        return of_charge, [[self.materials[name].kappa for name, _ in self.domains]]

    def weakest_edges(self, grid: Grid) -> singularities.Weakest:
        """Find the edges where fields converge most slowly on a grid of the device, over all states and both spins."""
        return singularities.weakest(grid, [name for name, _ in self.domains], self._conductivities)

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
        """The smallest distance between faces along an axis, or the smallest width of an outline if less [m]."""
        return min(
            min(float(np.diff(self.features.faces(axis)).min()) for axis in range(3)),
            *(width(np.array(solid.outline)) for solid in self.solids if solid.outline is not None),
            np.inf,
        )


#: Parts of a device that are sequences, and of which class.
_PARTS = {"solids": Solid, "contacts": Contact, "heat_sinks": HeatSink, "interfaces": Interface}
_NAMED = {"materials": Material, "experiments": Experiment, "dimensions": Dimension}


def _require_parts(device: Device) -> None:
    """Make tuples of lists of parts, and refuse what is no part, such as the table of one.

    Raises:
      DeviceError: something is no part; the message names its place.
    """
    wrong = []
    for field, kind in _PARTS.items():
        given = getattr(device, field)
        if not isinstance(given, list | tuple):
            wrong.append(f"{field}: got a {type(given).__name__}, expected a list of {kind.__name__}")
            continue
        object.__setattr__(device, field, tuple(given))
        wrong += [_no_part(f"{field}[{i}]", part, kind) for i, part in enumerate(given) if not isinstance(part, kind)]
    for field, kind in _NAMED.items():
        given = getattr(device, field)
        if not isinstance(given, Mapping):
            wrong.append(f"{field}: got a {type(given).__name__}, expected {kind.__name__} by name")
            continue
        wrong += [
            _no_part(f"{field}[{key!r}]", part, kind) for key, part in given.items() if not isinstance(part, kind)
        ]
    if wrong:
        raise DeviceError(wrong)


def _no_part(place: str, part: Any, kind: type) -> str:
    hint = "; ts.load reads the tables of a device file from a dictionary" if isinstance(part, Mapping) else ""
    return f"{place}: got a {type(part).__name__}, expected a {kind.__name__}{hint}"


def _by_name(items: Sequence[Any], name: str, what: str) -> Any:
    for item in items:
        if item.name == name:
            return item
    raise InputError(f"no {what} '{name}'; {nearest(name, [item.name for item in items])}")


def stretched(device: Device, axis: int, at: float, by: float) -> tuple[Device, float]:
    """Return the device with all that lies beyond a face moved along an axis; solids that end at it or cross it grow.

    Moving the top of a film makes it thicker and lifts what lies on it; moving the first face of a magnet along an axis
    widens the gap before it.

    Args:
      device: the device.
      axis: 0, 1 or 2.
      at: coordinate of the face of a solid [m].
      by: displacement [m].
    Returns:
      the new device, and the coordinate of the next lower face; the space between both faces is stretched.
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
    """A face with an uncertain position; all that lies beyond it moves with it, see `stretched`.

    Attributes:
      axis: 0, 1 or 2.
      at: its coordinate [m].
      std: standard deviation of the coordinate [m].
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


@dataclasses.dataclass(frozen=True)
class Proportion:
    """A value in proportion to others of the same device, at every bath: "Py.lambda_sf ~ Py.sigma".

    Attributes:
      name: the value that follows, such as "Py.lambda_sf".
      powers: of each of the others, such as {"Cu.sigma": 1, "bath": 1} for "Cu.kappa ~ Cu.sigma * bath".
    """

    name: str
    powers: Mapping[str, float]

    @property
    def sources(self) -> dict[str, float]:
        """Powers of the values that it follows, without that of the bath."""
        return {name: power for name, power in self.powers.items() if name != "bath"}

    def __str__(self) -> str:
        """Return it as on a command line."""
        parts = [name if power == 1 else f"{name}^{power:g}" for name, power in self.powers.items()]
        return f"{self.name} ~ {' * '.join(parts)}"


def forms(device: Device, name: str) -> tuple[str, str, str]:
    """Return the names of a value that is of one device, of all devices at its bath, and of all."""
    return f"{device.name}{OF}{name}", f"{device.bath:.12g}K{OF}{name}", name


def known_parameters(devices: Sequence[Device]) -> dict[str, float]:
    """Return all names that a fit of these devices may use, and their values in the first device that has them."""
    known: dict[str, float] = {}
    several = len({device.bath for device in devices}) > 1
    order = (2, 1, 0) if several else (2, 0) if len(devices) > 1 else (2,)
    for place in order:
        for device in devices:
            for name, value in device.numbers().items():
                known.setdefault(forms(device, name)[place], value)
    return known


def unknown_parameters(what: str, names: Iterable[str], devices: Sequence[Device]) -> list[str]:
    """Return a fault for each name that a fit of these devices may not use, with the closest one that it may."""
    known = known_parameters(devices)
    plain = [name for name in known if OF not in name]
    faults = []
    for name in names:
        if name in known:
            continue
        groups = list(dict.fromkeys(forms(device, "")[1] for device in devices)) if len(known) > len(plain) else []
        of_bath = f"{' or '.join(groups)} of one bath, " if len(groups) > 1 else ""
        alone = f"; before it {of_bath}NAME{OF} of one device" if groups else ""
        faults.append(f"{what}: got '{name}'; {meant(name, known)}expected one of: {', '.join(plain)}{alone}")
    return faults
