"""Parts of a device: solids, contacts, heat sinks and experiments, as plain immutable data. Lengths are metres."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from thermospin.base import polygons
from thermospin.base.polygons import edges_across
from thermospin.geometry.boxes import Layout, Plan
from thermospin.geometry.dimensions import Coordinate
from thermospin.geometry.outlines import Regions
from thermospin.grid import AXES, Box


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
        """Return positions of the edges across an axis that grid lines are to lie on [m]."""
        if self.outline is None or axis == 2:
            return list(self.box[axis])
        edges = edges_across(np.array(self.outline), axis)
        if self.on_lines is not None:
            wanted = np.append(self.on_lines[axis], np.inf)
            edges = edges[np.abs(edges[:, None] - wanted).min(axis=1) <= polygons.TOUCH]
        return edges.tolist()

    def moved(self, dimensions: Mapping[str, float]) -> Solid:
        """Return the same solid where its coordinates put it for these values of the dimensions [m]."""
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
        """Return the derivative of both ends along an axis by each dimension that moves them."""
        if self.corners and self.outline is not None and axis < 2:
            places = [vertex[axis] for vertex in self.outline]
            low, high = (self.corners[places.index(pick(places))][axis].slopes for pick in (min, max))
            return low, high
        ends = self.coordinates.get(AXES[axis])
        return ({}, {}) if ends is None else (ends[0].slopes, ends[1].slopes)

    def rails(self, axis: int) -> list[tuple[float, dict[str, float]]]:
        """Return positions of the faces across an axis [m], and how each moves with dimensions."""
        if self.outline is None or axis == 2:
            return list(zip(self.box[axis], self.slopes(axis), strict=True))
        places = [vertex[axis] for vertex in self.outline]
        return [
            (edge, self.corners[int(np.argmin(np.abs(np.array(places) - edge)))][axis].slopes if self.corners else {})
            for edge in self.straight_edges(axis)
        ]


@dataclasses.dataclass(frozen=True)
class Contact:
    """The end face of a metal: current goes in or out there, voltage is read there, and it is at the bath temperature.

    `face` is one of "x-", "x+", "y-", "y+", "z-", "z+": the face of the solid, as far as the solid is not overwritten
    there and no other metal lies in front of it.
    """

    name: str
    solid: str
    face: str


@dataclasses.dataclass(frozen=True)
class HeatSink:
    """A face of a solid that is held at the bath temperature, as far as no other solid lies in front of it."""

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

    @property
    def has_spin_part(self) -> bool:
        """Existence of the states P and AP, which baseline and spin part are made of."""
        return {"P", "AP"} <= set(self.states)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts that each harmonic has: the states, and baseline and spin where P and AP exist."""
        return (*self.states, "baseline", "spin") if self.has_spin_part else tuple(self.states)

    @property
    def shown_parts(self) -> tuple[str, ...]:
        """Names of the parts that tell all: baseline and spin where they exist, else the states."""
        return ("baseline", "spin") if self.has_spin_part else tuple(self.states)


def indices(solids: Sequence[Solid], name: str) -> list[int]:
    """Return the solid of that name, or the pieces "name/1", "name/2" of a body."""
    exact = [i for i, solid in enumerate(solids) if solid.name == name][:1]
    return exact or [i for i, solid in enumerate(solids) if solid.name.partition("/")[0] == name]


def plan_of(solids: Sequence[Solid], metal: Sequence[bool]) -> Plan:
    """Return the solids seen as one: on the grid of their faces if all are boxes, else as polygons."""
    return Layout(solids, metal) if all(solid.outline is None for solid in solids) else Regions(solids, metal)
