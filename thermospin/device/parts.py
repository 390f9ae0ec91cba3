"""Parts of a device: solids, contacts, heat sinks and experiments, as plain immutable data; lengths in metres."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from thermospin.base import polygons
from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.base.polygons import edges_across
from thermospin.geometry.boxes import FreeFace, Layout, Plan
from thermospin.geometry.dimensions import Coordinate
from thermospin.geometry.edges import Edge
from thermospin.geometry.outlines import Regions
from thermospin.grid import AXES, Box


@dataclasses.dataclass(frozen=True)
class Solid:
    """A box of one material, or an upright prism.

    Attributes:
      name: unique name.
      material: name of its material.
      magnet: name of the magnet it is part of, None if no state reverses it.
      box: ((x0, x1), (y0, y1), (z0, z1)) [m].
      coordinates: both ends along each axis ("x", "y", "z") on which named dimensions move an end.
      outline: polygon of a prism seen from above, ((x, y), ...) [m], within its box; None for a box.
      corners: both coordinates of each vertex, if named dimensions move the outline.
      on_lines: positions along x and y at which straight edges of the outline need grid lines [m]; None: all.
      body: name of the body of a layout that it is a piece of; "": it is a body by itself.
      recess: how far its edges lie inside the outline of the body as drawn [m]: a slice of a slanted film.
      lean: the recess, where dimensions change it.
      clearances: how far other solids under a piece of a draped film stay below the one that it lies on, where
        dimensions decide.
      provenance: source of each extent, by axis, such as "paper: ..." or "assumed".
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
    body: str = ""
    recess: float = 0.0
    lean: Coordinate | None = None
    clearances: tuple[Coordinate, ...] = ()

    def straight_edges(self, axis: int) -> list[float]:
        """Return the positions of the edges normal to an axis that need grid lines [m]."""
        if self.outline is None or axis == 2:
            return list(self.box[axis])
        edges = edges_across(np.array(self.outline), axis)
        if self.on_lines is not None:
            wanted = np.append(self.on_lines[axis], np.inf)
            edges = edges[np.abs(edges[:, None] - wanted).min(axis=1) <= polygons.TOUCH]
        return edges.tolist()

    def moved(self, dimensions: Mapping[str, float]) -> Solid:
        """Return the solid with the shape and position that these values of the dimensions give [m]."""
        x, y, z = (
            (ends[0].at(dimensions), ends[1].at(dimensions)) if ends else pair
            for ends, pair in zip(map(self.coordinates.get, AXES), self.box, strict=True)
        )
        recess = self.recess if self.lean is None else self.lean.at(dimensions)
        if not self.corners:
            return dataclasses.replace(self, box=(x, y, z), recess=recess)
        outline = tuple((a.at(dimensions), b.at(dimensions)) for a, b in self.corners)
        x, y = ((min(line), max(line)) for line in zip(*outline, strict=True))
        return dataclasses.replace(self, box=(x, y, z), outline=outline, recess=recess)

    def is_as_drawn(self, dimensions: Mapping[str, float]) -> bool:
        """Return whether a piece of a film lies on the same solid and has the same edges with these values [m].

        Where slanted side walls meet, edges of the outline vanish, and would come back turned round.
        """
        if any(clearance.at(dimensions) < -polygons.TOUCH for clearance in self.clearances):
            return False
        if self.lean is None:
            return True
        outlines = (np.array(each.outline) for each in (self, self.moved(dimensions)))
        before, after = (np.roll(outline, -1, axis=0) - outline for outline in outlines)
        return bool(np.all(np.sum(before * after, axis=1) > 0))

    def slopes(self, axis: int) -> tuple[dict[str, float], dict[str, float]]:
        """Return the derivatives of both ends along an axis with respect to the dimensions that move them."""
        if self.corners and self.outline is not None and axis < 2:
            places = [vertex[axis] for vertex in self.outline]
            low, high = (self.corners[places.index(pick(places))][axis].slopes for pick in (min, max))
            return low, high
        ends = self.coordinates.get(AXES[axis])
        return ({}, {}) if ends is None else (ends[0].slopes, ends[1].slopes)

    def rails(self, axis: int) -> list[tuple[float, dict[str, float]]]:
        """Return the positions of the faces normal to an axis [m], and their derivatives by dimension."""
        if self.outline is None or axis == 2:
            return list(zip(self.box[axis], self.slopes(axis), strict=True))
        places = [vertex[axis] for vertex in self.outline]
        return [
            (edge, self.corners[int(np.argmin(np.abs(np.array(places) - edge)))][axis].slopes if self.corners else {})
            for edge in self.straight_edges(axis)
        ]

    def edge_slopes(self, axis: int, point: Sequence[float]) -> dict[str, float] | None:
        """Return how a point on an edge of the outline moves along an axis by dimension; None if it is on no edge."""
        if self.outline is None:
            return None
        for k, (start, stop) in enumerate(zip(self.outline, self.outline[1:] + self.outline[:1], strict=True)):
            (x, y), (dx, dy) = np.subtract(point, start), np.subtract(stop, start)
            length = math.hypot(dx, dy)
            along = float(x * dx + y * dy) / length**2
            if abs(x * dy - y * dx) < polygons.TOUCH * length and -1e-6 < along < 1 + 1e-6:
                if not self.corners:
                    return {}
                first, last = (self.corners[j][axis].slopes for j in (k, (k + 1) % len(self.corners)))
                return {
                    name: (1 - along) * first.get(name, 0.0) + along * last.get(name, 0.0) for name in {**first, **last}
                }
        return None


@dataclasses.dataclass(frozen=True)
class Contact:
    """The end face of a metal where current enters or leaves, voltage is measured, or heat comes from a bath.

    `face` is one of "x-", "x+", "y-", "y+", "z-", "z+": the part of that face of the solid that is not overwritten and
    has no other metal in front of it. With `edge`, it is that part of one edge of the outline, at all heights. `h` is
    the heat that it exchanges with the bath per area and kelvin [W/(m^2 K)]: inf holds it at the bath temperature, 0
    insulates it.
    """

    name: str
    solid: str
    face: str
    edge: Edge | None = None
    h: float = math.inf


@dataclasses.dataclass(frozen=True)
class HeatSink:
    """A face of a solid that exchanges heat with the bath, except where another solid lies in front of it.

    `h` is the heat per area and kelvin [W/(m^2 K)]; inf holds the face at the bath temperature.
    """

    solid: str
    face: str
    name: str = ""
    h: float = math.inf

    @property
    def label(self) -> str:
        """Its name, or solid and face where it has none."""
        return self.name or f"{self.solid} {self.face}"


@dataclasses.dataclass(frozen=True)
class Through:
    """A probe of what passes the faces where two solids touch, from the first to the second.

    Attributes:
      what: "spin" (J_up - J_down) [A], "charge" [A] or "heat" [W].
      between: names of the solids.
    """

    what: Literal["spin", "charge", "heat"]
    between: tuple[str, str]


#: SI units of what drives an experiment and of what probes it.
DRIVE_UNITS = {"current": "A", "heat": "K", "power": "W"}
PROBE_UNITS = {"voltage": "V", "temperature": "K", "spin": "A", "charge": "A", "heat": "W"}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A drive, a probe and the magnetic states it is measured in.

    The drive is one of `current`, `heat` and `power`, the probe one of `voltage`, `temperature` and `through`.

    Attributes:
      name: unique name.
      current: names of the contacts where the current enters and leaves; the latter is the ground (V_up = V_down = 0).
      voltage: names of the positive and negative voltage contacts.
      states: for each state, in order, the magnets that differ from +1, as {magnet: +1 or -1}.
      heat: contacts and heat sinks whose bath is warmer, with the rise [K]; the first one is the drive, the others
        follow it in proportion.
      power: solids in which heat is made evenly [W]; the first one is the drive, the others follow it in proportion.
      temperature: a solid or a contact whose mean rise over the bath is read, less that of the second one if there are
        two.
      through: what is read of what passes between two solids.
    """

    name: str
    current: tuple[str, str] | None
    voltage: tuple[str, str] | None
    states: Mapping[str, Mapping[str, int]]
    heat: Mapping[str, float] = dataclasses.field(default_factory=dict)
    power: Mapping[str, float] = dataclasses.field(default_factory=dict)
    temperature: tuple[str, ...] = ()
    through: Through | None = None

    @property
    def drive(self) -> str:
        """Kind of the drive, a key of `DRIVE_UNITS`."""
        return "current" if self.current else "heat" if self.heat else "power"

    @property
    def probe(self) -> str:
        """Kind of the probe, a key of `PROBE_UNITS`."""
        return "voltage" if self.voltage else "temperature" if self.through is None else self.through.what

    def unit(self, harmonic: int) -> str:
        """Return the SI unit of the response R_n, such as "V/A^2"."""
        power = f"^{harmonic}" if harmonic > 1 else ""
        return f"{PROBE_UNITS[self.probe]}/{DRIVE_UNITS[self.drive]}{power}"

    @property
    def has_spin_part(self) -> bool:
        """True if the states P and AP exist, from which baseline and spin part are computed."""
        return {"P", "AP"} <= set(self.states)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts that each harmonic has: the states, and baseline and spin where P and AP exist."""
        return (*self.states, "baseline", "spin") if self.has_spin_part else tuple(self.states)

    def require_state(self, state: str) -> None:
        """Raise `InputError` unless there is a magnetic state of that name."""
        if state not in self.states:
            raise InputError(f"experiment '{self.name}' has no state '{state}'; {nearest(state, self.states)}")

    @property
    def shown_parts(self) -> tuple[str, ...]:
        """Names of the parts to show: baseline and spin where they exist, else the states."""
        return ("baseline", "spin") if self.has_spin_part else tuple(self.states)


@dataclasses.dataclass(frozen=True, eq=False)
class Partial:
    """What could be read of a device that has faults, for a picture.

    Attributes:
      solids, contacts: the parts that could be built.
      shapes: polygons [m] of its layout, by the name of their layer; empty without a layout.
      labels: texts of the layout and where they are [m].
      window: the part of the layout that is simulated: (low, high) along x and y [m]; None: all.
    """

    solids: Sequence[Solid] = ()
    contacts: Sequence[Contact] = ()
    shapes: Mapping[str, Sequence[np.ndarray]] = dataclasses.field(default_factory=dict)
    labels: Sequence[tuple[str, tuple[float, float]]] = ()
    window: tuple[tuple[float, float], tuple[float, float]] | None = None


def indices(solids: Sequence[Solid], name: str) -> list[int]:
    """Return the index of the solid of that name, or those of the pieces of a body of a layout."""
    exact = [i for i, solid in enumerate(solids) if solid.name == name][:1]
    return exact or [i for i, solid in enumerate(solids) if solid.body == name]


def plan_of(solids: Sequence[Solid], metal: Sequence[float]) -> Plan:
    """Return the geometry of all solids together: on the grid of their faces if all are boxes, else as polygons.

    Args:
      solids: later ones overwrite earlier ones.
      metal: for each solid whether it conducts charge, or its conductivity [S/m].
    """
    return Layout(solids, metal) if all(solid.outline is None for solid in solids) else Regions(solids, metal)


def face_of(plan: Plan, solids: Sequence[Solid], item: Contact | HeatSink) -> FreeFace | str:
    """Return the free face of a contact or a heat sink of these solids, or the reason why there is none."""
    which = indices(solids, item.solid)
    if isinstance(item, Contact) and item.edge is not None and isinstance(plan, Regions):
        return plan.end(which, item.edge)
    return plan.face(which, item.face, metal=isinstance(item, Contact))
