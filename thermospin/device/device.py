"""Devices: solids, contacts and experiments, checked once when they are built; device files are read by `load`.

Lengths are metres. Everything here is plain immutable Python; the numbers that can be fitted or differentiated come out
as one flat dictionary, `Device.parameters`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thermospin.base import polygons
from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.device import materials
from thermospin.device.materials import Material
from thermospin.geometry import boxes as layout
from thermospin.geometry.boxes import FACES, Layout, Plan
from thermospin.geometry.dimensions import Coordinate, Dimension
from thermospin.geometry.outlines import Regions, names_of
from thermospin.grid import AXES, Box, Features, Prism, edges_across, width
from thermospin.quantities import QUANTITIES

#: Between the name of a device and that of a parameter which is its own in a fit of several: "wide:zeta".
OF = ":"
#: Metals nearer than this without touching are a slip of the drawing, no gap [m].
LEAST_GAP = 2e-9
#: Names that signals give to combinations of states; no state can be called so.
RESERVED_STATES = ("baseline", "spin", "unit")


class DeviceError(InputError):
    """A device that cannot be computed, with all its faults, one line each."""

    def __init__(self, faults: Iterable[str], source: str = "") -> None:
        self.faults = [f"{source}: {fault}" if source else fault for fault in faults]
        super().__init__("\n".join(self.faults))


@dataclasses.dataclass(frozen=True)
class Solid:
    """A box of one material, or an upright prism.

    Attributes:
      name: unique.
      material: name of its material.
      magnet: name of the magnet it is part of, None if no state reverses it.
      box: ((x0, x1), (y0, y1), (z0, z1)) [m].
      coordinates: for each axis ("x", "y", "z") with an end that named dimensions move, both ends.
      outline: the polygon that a prism is seen from above, ((x, y), ...) [m], within its box; None for a box.
      corners: of an outline that named dimensions move, both coordinates of each vertex.
      on_lines: where along x and y grid lines are to lie on edges of the outline [m]; None: on all straight ones.
      provenance: where each extent comes from, by axis, such as "paper: ..." or "assumed".
      note: free text.
    """

    name: str
    material: str
    magnet: str | None
    box: Box
    provenance: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False)
    note: str = dataclasses.field(default="", compare=False)
    coordinates: Mapping[str, tuple[Coordinate, Coordinate]] = dataclasses.field(default_factory=dict)
    outline: tuple[tuple[float, float], ...] | None = None
    corners: tuple[tuple[Coordinate, Coordinate], ...] = ()
    on_lines: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    def straight_edges(self, axis: int) -> list[float]:
        """Positions of the edges across an axis that grid lines are to lie on [m]."""
        if self.outline is None or axis == 2:
            return list(self.box[axis])
        found = edges_across(np.array(self.outline), axis)
        if self.on_lines is not None:
            wanted = np.append(self.on_lines[axis], np.inf)
            found = found[np.abs(found[:, None] - wanted).min(axis=1) <= polygons.TOUCH]
        return found.tolist()

    def moved(self, dimensions: Mapping[str, float]) -> Solid:
        """The same solid where its coordinates put it for these values of the dimensions [m]."""
        x, y, z = (
            (ends[0].at(dimensions), ends[1].at(dimensions)) if ends else pair
            for ends, pair in zip(map(self.coordinates.get, AXES), self.box, strict=True)
        )
        if not self.corners:
            return dataclasses.replace(self, box=(x, y, z))
        outline = tuple((a.at(dimensions), b.at(dimensions)) for a, b in self.corners)
        x, y = ((min(line), max(line)) for line in zip(*outline, strict=True))
        return dataclasses.replace(self, box=(x, y, z), outline=outline)

    def slopes(self, axis: int) -> tuple[dict[str, float], dict[str, float]]:
        """Derivative of both ends along an axis by each dimension that moves them."""
        if self.corners and self.outline is not None and axis < 2:
            places = [vertex[axis] for vertex in self.outline]
            low, high = (self.corners[places.index(pick(places))][axis].slopes for pick in (min, max))
            return low, high
        ends = self.coordinates.get(AXES[axis])
        return ({}, {}) if ends is None else (ends[0].slopes, ends[1].slopes)


@dataclasses.dataclass(frozen=True)
class Contact:
    """The end face of a metal: current goes in or out there, voltage is read there, and it is at the bath temperature.

    `face` is one of "x-", "x+", "y-", "y+", "z-", "z+": the solid's own face, so far as the solid is not overwritten
    there and no other metal lies in front of it.
    """

    name: str
    solid: str
    face: str


@dataclasses.dataclass(frozen=True)
class HeatSink:
    """A face of a solid that is held at the bath temperature, so far as no other solid lies in front of it."""

    solid: str
    face: str


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A current path, a voltage probe and the magnetic states it is measured in.

    Attributes:
      name: unique.
      current: names of the contacts where it goes in and out; the latter is the ground (V_up = V_down = 0).
      voltage: names of the contacts read as plus and minus.
      states: for each state, in order, the magnets that differ from +1, as {magnet: +1 or -1}.
    """

    name: str
    current: tuple[str, str]
    voltage: tuple[str, str]
    states: Mapping[str, Mapping[str, int]]


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

    def __post_init__(self) -> None:
        """Checks everything."""
        found = [text for text in (bath_fault(self.bath), zeta_fault(self.zeta)) if text]
        found += dimension_faults(self.dimensions, self.solids)
        used = {solid.material for solid in self.solids}
        for name in used & set(self.materials):
            fault = materials.thermoelectric_fault(self.materials[name].values(), self.bath)
            if fault:
                found.append(f"material '{name}', {fault}")
        found += faults(
            self.solids,
            self.contacts,
            self.heat_sinks,
            tuple(self.experiments.values()),
            {name: material.is_metal for name, material in self.materials.items()},
        )
        if found:
            raise DeviceError(found)

    @property
    def domains(self) -> tuple[tuple[str, str | None], ...]:
        """Pairs (material, magnet) that occur, in order of appearance."""
        return tuple(dict.fromkeys((solid.material, solid.magnet) for solid in self.solids))

    @property
    def magnets(self) -> tuple[str, ...]:
        """Names of the magnets, in order of appearance."""
        return tuple(dict.fromkeys(solid.magnet for solid in self.solids if solid.magnet is not None))

    def parameters(self) -> dict[str, float]:
        """All numbers that can be fitted, by name, in SI units: "Py.sigma", ..., "substrate.kappa", ..., "zeta"."""
        flat = {
            f"{name}.{key}": value
            for name in dict.fromkeys(solid.material for solid in self.solids)
            for key, value in self.materials[name].values().items()
        }
        return flat | {"zeta": self.zeta}

    def lengths(self) -> dict[str, float]:
        """Values of the named dimensions [m]."""
        return {name: each.value for name, each in self.dimensions.items()}

    def numbers(self) -> dict[str, float]:
        """Parameters and dimensions: every name that a fit may free."""
        return self.parameters() | self.lengths()

    def moved(self, lengths: Mapping[str, float]) -> Device:
        """The device with other values of some of its dimensions [m]; everything whose coordinates use them moves.

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
                dimensions={n: dataclasses.replace(each, value=values[n]) for n, each in self.dimensions.items()},
            )
        except DeviceError as error:
            where = ", ".join(f"{name} = {1e9 * value:g} nm" for name, value in lengths.items())
            raise DeviceError(error.faults, f"at {where}") from None

    def face_slopes(self, axis: int) -> tuple[np.ndarray, list[dict[str, float]]]:
        """Faces across one axis [m], and how each moves: its derivative by every dimension that moves it.

        Raises:
          ValueError: faces that coincide move differently, so that moving splits them.
        """
        faces = self.features.faces(axis)
        found: list[tuple[dict[str, float], str] | None] = [None] * len(faces)
        # Ends of round solids are no faces, but for the outermost ones.
        rails = [(edge, slopes, solid.name) for solid in self.solids for edge, slopes in _rails(solid, axis)]
        ends = [
            (edge, slopes, solid.name)
            for solid in self.solids
            for edge, slopes in zip(solid.box[axis], solid.slopes(axis), strict=True)
        ]
        for number, (edge, slopes, name) in enumerate(rails + ends):
            place = int(np.argmin(np.abs(faces - edge)))
            known = found[place]
            if known is None:
                found[place] = slopes, name
            elif known[0] != slopes and number < len(rails):
                moving = {f"'{n}'" for n, _ in set(known[0].items()) ^ set(slopes.items())}
                raise InputError(
                    f"{AXES[axis]} = {1e9 * edge:g} nm: the faces of '{known[1]}' and '{name}' lie on each other "
                    f"and move differently with {', '.join(sorted(moving))}; give both the same expression, or "
                    "put them apart"
                )
        return faces, [each[0] for each in found if each is not None]

    def solid(self, name: str) -> Solid:
        """The solid of that name; of a body, its first piece."""
        found = indices(self.solids, name)
        return self.solids[found[0]] if found else _by_name(self.solids, name, "solid")

    def contact(self, name: str) -> Contact:
        """The contact of that name."""
        return _by_name(self.contacts, name, "contact")

    def layout(self) -> Plan:
        """The solids seen as one: what is left of each, what touches what."""
        return self._plan

    @functools.cached_property
    def _plan(self) -> Plan:
        return plan_of(self.solids, [self.materials[solid.material].is_metal for solid in self.solids])

    def contact_faces(self) -> dict[str, Any]:
        """The free end face of every contact (`layout.Face`, or `regions.Patch` where solids have outlines)."""
        found = {}
        for contact in self.contacts:
            # __post_init__ has refused any that is none.
            found[contact.name] = self._plan.face(indices(self.solids, contact.solid), contact.face, metal=True)
        return found

    def heat_sink_faces(self) -> list[Any]:
        """The free part of the face of every heat sink, as `contact_faces`."""
        return [self._plan.face(indices(self.solids, sink.solid), sink.face, metal=False) for sink in self.heat_sinks]

    @functools.cached_property
    def features(self) -> Features:
        """What a grid has to resolve."""
        domains = self.domains
        plan, of_solid = self.layout(), [domains.index((solid.material, solid.magnet)) for solid in self.solids]
        prisms = tuple(Prism(*each) for each in plan.prisms(of_solid)) if isinstance(plan, Regions) else ()
        used = [self.materials[solid.material] for solid in self.solids]
        return Features(
            boxes=tuple(solid.box for solid in self.solids),
            domains=tuple(of_solid),
            metals=tuple(material.is_metal for material in used),
            lengths=tuple(material.lambda_sf for material in used),
            outlines=tuple(None if solid.outline is None else np.array(solid.outline) for solid in self.solids),
            prisms=prisms,
            edges=tuple((each.straight_edges(0), each.straight_edges(1)) for each in self.solids),
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


def _rails(solid: Solid, axis: int) -> list[tuple[float, dict[str, float]]]:
    """Positions of the faces of a solid across an axis [m], and how each moves with dimensions."""
    if solid.outline is None or axis == 2:
        return list(zip(solid.box[axis], solid.slopes(axis), strict=True))
    places = [vertex[axis] for vertex in solid.outline]
    return [
        (edge, solid.corners[int(np.argmin(np.abs(np.array(places) - edge)))][axis].slopes if solid.corners else {})
        for edge in solid.straight_edges(axis)
    ]


def indices(solids: Sequence[Solid], name: str) -> list[int]:
    """The solid of that name, or the pieces "name/1", "name/2" of a body."""
    own = [i for i, solid in enumerate(solids) if solid.name == name][:1]
    return own or [i for i, solid in enumerate(solids) if solid.name.partition("/")[0] == name]


def plan_of(solids: Sequence[Solid], metal: Sequence[bool]) -> Plan:
    """The solids seen as one: on the grid of their faces if all are boxes, else as polygons."""
    return Layout(solids, metal) if all(solid.outline is None for solid in solids) else Regions(solids, metal)


def _by_name(items: Sequence[Any], name: str, what: str) -> Any:
    for item in items:
        if item.name == name:
            return item
    raise InputError(f"no {what} '{name}'; {nearest(name, [item.name for item in items])}")


def bath_fault(bath: float) -> str | None:
    """What is wrong with a bath temperature [K]."""
    return None if 0 < bath < float("inf") else f"bath: got {bath:g} K, expected a temperature above 0 K"


def zeta_fault(zeta: float) -> str | None:
    """What is wrong with a factor on the Joule heat."""
    return QUANTITIES["zeta"].fault(zeta)


def dimension_faults(dimensions: Mapping[str, Dimension], solids: Sequence[Solid]) -> list[str]:
    """What is wrong with dimensions, and with the coordinates that use them."""
    found = []
    for name, each in dimensions.items():
        if not name.isidentifier() or name == "zeta":
            found.append(f"dimension '{name}': expected a name of letters, digits and _, other than zeta")
        found += [f"dimension '{name}', {text}" for text in each.faults()]
    used: set[str] = set()
    for solid in solids:
        names = {name for corner in solid.corners for each in corner for name, _ in each.factors}
        used |= names
        for name in sorted(names - set(dimensions)):
            found.append(f"solid '{solid.name}', polygon: got dimension '{name}'; {nearest(name, dimensions)}")
        for axis, ends in solid.coordinates.items():
            names = {name for end in ends for name, _ in end.factors}
            used |= names
            for name in sorted(names - set(dimensions)):
                found.append(f"solid '{solid.name}', box.{axis}: got dimension '{name}'; {nearest(name, dimensions)}")
            if names <= set(dimensions):
                values = {name: dimensions[name].value for name in names}
                box = solid.box[AXES.index(axis)]
                if any(
                    abs(end.at(values) - edge) > 1e-9 * abs(edge) + 1e-18 for end, edge in zip(ends, box, strict=True)
                ):
                    found.append(f"solid '{solid.name}', box.{axis}: its coordinates are not where its box is")
    found += [
        f"dimension '{name}': no coordinate uses it; use it, or take it out" for name in dimensions if name not in used
    ]
    return found


def faults(
    solids: Sequence[Solid],
    contacts: Sequence[Contact],
    heat_sinks: Sequence[HeatSink],
    experiments: Sequence[Experiment],
    metal: Mapping[str, bool | None],
    *,
    unread: Collection[str] = (),
) -> list[str]:
    """All that is wrong with how the parts fit together, one line each.

    Args:
      solids, contacts, heat_sinks, experiments: the parts that could be read.
      metal: whether each material conducts charge; None where that is not known.
      unread: names of solids and contacts that exist but could not be read (a fault reported elsewhere); "" stands for
        one whose name is not known. What depends on them is not judged.
    """
    found: list[str] = []
    for what, items in (("solid", solids), ("contact", contacts), ("experiment", experiments)):
        counts = Counter(item.name for item in items)
        found += [f"{what} '{name}': the name is used {n} times, expected once" for name, n in counts.items() if n > 1]
    if not solids and not unread:
        found.append("solids: there is none, expected at least one")

    whole = not unread
    boxes = []
    for solid in solids:
        wrong = layout.box_faults(solid.box)
        if solid.outline is not None:
            wrong = [text for text in wrong if text.startswith("box.z")]
            wrong += [f"polygon: {text}" for text in polygons.faults(np.array(solid.outline))]
        found += [f"solid '{solid.name}', {text}" for text in wrong]
        if solid.material not in metal:
            found.append(f"solid '{solid.name}', material: got '{solid.material}'; {nearest(solid.material, metal)}")
        if wrong:
            whole = False
        else:
            boxes.append(solid)
    has_outlines = any(solid.outline is not None for solid in solids)
    names = (names_of(solids) if has_outlines else [solid.name for solid in solids]) + [name for name in unread if name]
    known = names_of(boxes) if has_outlines else [solid.name for solid in boxes]

    # References by name, whether or not the geometry can be judged.
    fits: list[Contact | HeatSink] = []
    attached: list[Contact | HeatSink] = [*contacts, *heat_sinks]
    for item in attached:
        label = _label(item)
        bad = []
        if item.solid not in names and "" not in unread:
            bad.append(f"{label}, solid: got '{item.solid}'; {nearest(item.solid, names)}")
        if item.face not in FACES:
            bad.append(f"{label}, face: got '{item.face}', expected one of: {', '.join(FACES)}")
        found += bad
        if bad:
            whole = False
        elif item.solid in known:
            fits.append(item)
    for sink, count in Counter(heat_sinks).items():
        if count > 1:
            found.append(f"{_label(sink)}: given {count} times, expected once")
    good = _experiment_faults(experiments, contacts, solids, unread, found)
    if not boxes:
        return found

    plan = plan_of(boxes, [bool(metal.get(solid.material)) for solid in boxes])
    found += [
        f"solid '{boxes[i].name}': nothing is left of it, it is overwritten by {by}; put it after them or take it out"
        for i, by in plan.overwritten().items()
    ]
    if isinstance(plan, Regions):
        for i, j, gap, place in plan.near_misses(LEAST_GAP):
            apart = f"are {1e9 * gap:.3g} nm apart" if gap > polygons.TOUCH else "meet in a corner or edge only"
            found.append(
                f"solids '{boxes[i].name}' and '{boxes[j].name}': metals that {apart} at {polygons.at(place)}; make "
                f"them overlap, or move them {1e9 * LEAST_GAP:g} nm apart"
            )
        for body, place in plan.torn():
            found.append(
                f"solid '{body}': its pieces do not hang together, one around {polygons.at(place)} is loose; a film "
                "that climbs a step must be thicker than the step is high"
            )
    contact_faces: dict[str, Any] = {}
    sink_faces: list[Any] = []
    for item in fits:
        which = indices(boxes, item.solid)
        is_contact = isinstance(item, Contact)
        if is_contact and metal.get(boxes[which[0]].material) is False:
            found.append(
                f"{_label(item)}: no metal; '{item.solid}' is of '{boxes[which[0]].material}', which carries heat "
                "only; expected a solid whose material has sigma > 0"
            )
            whole = False
            continue
        face = plan.face(which, item.face, metal=is_contact)
        if isinstance(face, str):
            what = "no metal of its own at that face; it" if is_contact else "nothing to hold at that face; it"
            found.append(f"{_label(item)}: {what} {face}")
            whole = False
        elif isinstance(item, Contact):
            for other, taken in contact_faces.items():
                if face.overlaps(taken):
                    found.append(
                        f"{_label(item)}: overlaps contact '{other}', a piece of plane belongs to both; "
                        "expected every contact on a face of its own"
                    )
            contact_faces.setdefault(item.name, face)
        else:
            sink_faces.append(face)

    if whole and all(metal.get(solid.material) is not None for solid in boxes):
        paths = {e.name: (*e.current, *e.voltage) for e in good}
        where = {contact.name: contact.solid for contact in contacts}
        found += layout.connection_faults(plan, contact_faces, sink_faces, paths, where)
    return found


def _label(item: Contact | HeatSink) -> str:
    if isinstance(item, Contact):
        return f"contact '{item.name}' ({item.face} of '{item.solid}')"
    return f"heat sink ({item.face} of '{item.solid}')"


def _experiment_faults(
    experiments: Sequence[Experiment],
    contacts: Sequence[Contact],
    solids: Sequence[Solid],
    unread: Collection[str],
    found: list[str],
) -> list[Experiment]:
    """Adds what is wrong with the names and signs in experiments to `found`; the experiments whose contacts exist."""
    names = [contact.name for contact in contacts] + [name for name in unread if name]
    magnets = {solid.magnet for solid in solids} - {None}
    good = []
    for experiment in experiments:
        label = f"experiment '{experiment.name}'"
        missing = []
        for key, words, pair in (
            ("current", "in and out", experiment.current),
            ("voltage", "plus and minus", experiment.voltage),
        ):
            for name in dict.fromkeys(pair):
                if name not in names and "" not in unread:
                    missing.append(f"{label}, {key}: got contact '{name}'; {nearest(name, names)}")
            if pair[0] == pair[1]:
                missing.append(f"{label}, {key}: got contact '{pair[0]}' twice, expected two contacts, {words}")
        found += missing
        if not missing:
            good.append(experiment)
        if not experiment.states:
            found.append(
                f"{label}, states: there is none, expected at least one, such as {{ P = {{}}, AP = {{ FM2 = -1 }} }}"
            )
        for state, signs in experiment.states.items():
            if state in RESERVED_STATES:
                found.append(f"{label}, states: a state cannot be called '{state}', a signal has that name")
            for magnet, sign in signs.items():
                if magnet not in magnets and not unread:
                    allowed = sorted(str(each) for each in magnets)
                    found.append(f"{label}, states.{state}: got magnet '{magnet}'; {nearest(magnet, allowed)}")
                if sign not in (-1, 1):
                    found.append(f"{label}, states.{state}.{magnet}: got {sign}, expected 1 or -1")
    return good


def stretched(device: Device, axis: int, at: float, by: float) -> tuple[Device, float]:
    """The device with everything from a face onwards moved along an axis; what ends or spans there grows.

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
                dataclasses.replace(each, constant=each.constant + by) if end >= near else each
                for each, end in zip(coordinates[AXES[axis]], solid.box[axis], strict=True)
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
    """Every name that a fit of these devices may use, and its value at the start (of the first that has it)."""
    known: dict[str, float] = {}
    for device in devices:
        known |= {name: value for name, value in device.numbers().items() if name not in known}
    if len(devices) > 1:
        known |= {f"{each.name}{OF}{name}": value for each in devices for name, value in each.numbers().items()}
    return known


def load(path: str | Path) -> Device:
    """The device of a TOML file, or one that ships with the program (such as "slachter2010").

    Raises:
      DeviceError: with all faults of the file.
    """
    from thermospin.device import reader as devicefile

    return devicefile.load(path)
