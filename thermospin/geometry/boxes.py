"""Geometry of a device made of boxes: contact faces, overwritten solids, connections, and checks of these.

All checks use the coarsest tensor grid, whose lines are the faces of the boxes: it shows which solid fills each cell,
which cells are metal, and which pieces are connected through faces. No material values and no file formats are used.
"""

from __future__ import annotations

import dataclasses
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from thermospin.base.lines import coincidence, merge_close
from thermospin.grid import AXES, Box, Grid, Prism, fill

FACES = ("x-", "x+", "y-", "y+", "z-", "z+")
#: A metal joins two others that meet in an edge unless its conductivity is below this part of both of theirs.
JOINT = 0.01


@runtime_checkable
class SolidLike(Protocol):
    """A named box, or an upright prism in it."""

    @property
    def name(self) -> str: ...
    @property
    def box(self) -> Box: ...
    @property
    def outline(self) -> tuple[tuple[float, float], ...] | None:
        """Polygon of a prism seen from above [m]; None for a box."""

    @property
    def recess(self) -> float:
        """Distance of the edges from the outline as drawn, inside of it [m]: of a slice of a slanted film; else 0."""

    @property
    def body(self) -> str:
        """Name of the body that it is a piece of, such as "lead" for "lead/2"; "" if it is a body by itself."""


@runtime_checkable
class FreeFace(Protocol):
    """A piece of a plane at which a contact or a heat sink is attached to a solid."""

    @property
    def axis(self) -> int:
        """Axis normal to the face."""

    @property
    def position(self) -> float:
        """Coordinate of the plane [m]."""

    @property
    def area(self) -> float:
        """Area [m^2]."""

    @property
    def centre(self) -> tuple[float, float]:
        """A point on the face, seen from above [m]."""

    def weights(self, grid: Grid) -> np.ndarray:
        """Return the area of the face that is assigned to each node of a grid [m^2] (Nx, Ny, Nz)."""

    def shares(self, grid: Grid, *domains: np.ndarray) -> list[np.ndarray]:
        """Return the part that the face covers of each node that some domains have in its plane, 0 to 1 (Nx, Ny, Nz).

        Nodes at the edge of a face that ends on grid lines are covered, like those inside.

        Args:
          grid: the grid.
          domains: mark the domains that count, for one answer each.
        """

    def overlaps(self, other: object) -> bool:
        """Return whether two faces share a piece of a plane."""


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
    """A set of cell faces in one plane of the grid.

    Attributes:
      axis: the axis normal to the plane.
      line: index of the grid line along that axis.
      layer: index along that axis of the cells that the faces belong to.
      cells: mask of those cells within the layer, a 2D array of booleans.
      area: total area [m^2].
      lines: grid lines along x, y and z to which the indices refer [m].
    """

    axis: int
    line: int
    layer: int
    cells: np.ndarray
    area: float
    lines: list[np.ndarray]

    @property
    def position(self) -> float:
        """Coordinate of the plane [m]."""
        return float(self.lines[self.axis][self.line])

    def weights(self, grid: Grid) -> np.ndarray:
        """Return the area of the face that is assigned to each node of a finer tensor grid [m^2] (Nx, Ny, Nz)."""
        return grid.face_weights(self.axis, self.position, self.cells, self.lines)

    def shares(self, grid: Grid, *domains: np.ndarray) -> list[np.ndarray]:
        """Return 1 for each node of the face, which ends on grid lines, else 0 (Nx, Ny, Nz)."""
        return [(self.weights(grid) > 0).astype(float)] * len(domains)

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of one of its cells, seen from above [m]."""
        places = {self.axis: self.position}
        for axis, cells in zip([k for k in range(3) if k != self.axis], np.nonzero(self.cells), strict=True):
            cell = int(np.median(cells))
            places[axis] = float(self.lines[axis][cell] + self.lines[axis][cell + 1]) / 2
        return places[0], places[1]

    def overlaps(self, other: object) -> bool:
        """Return whether two sides of boxes share a piece of a plane."""
        if not isinstance(other, Face):
            return False
        same_plane = (self.axis, self.line) == (other.axis, other.line)
        return same_plane and bool(np.any(self.cells & other.cells))


@dataclasses.dataclass(frozen=True)
class Pieces:
    """Pieces of the device, each connected through faces.

    Attributes:
      members: for each piece, numbered from 1, the solids with a part in it.
      of: function that returns the pieces to which a face belongs.
    """

    members: Mapping[int, set[int]]
    of: Callable[[Any], set[int]]


@dataclasses.dataclass(frozen=True)
class Circuit:
    """Names of the contacts where a current enters and leaves, and of the plus and minus contacts of a voltage."""

    current: tuple[str, str] | None
    voltage: tuple[str, str] | None


class Plan(ABC):
    """The geometry of all solids together: which parts are not overwritten, which touch, which are connected.

    Args:
      solids: later ones overwrite earlier ones.
      metal: for each solid, whether it conducts charge; or its conductivity [S/m], where that matters: see `JOINT`.
    """

    def __init__(self, solids: Sequence[SolidLike], metal: Sequence[float]) -> None:
        self.solids = tuple(solids)
        self.sigma = np.asarray(metal, float)

    @abstractmethod
    def overwritten(self) -> dict[int, str]:
        """Return solids that are overwritten completely, each with the names of the solids that replace it."""

    @abstractmethod
    def neighbours(self) -> set[tuple[int, int]]:
        """Return pairs of solids that share part of a face, the earlier solid first."""

    @abstractmethod
    def alone(self) -> dict[int, str]:
        """Return solids that share no part of a face with another, each with the distance to the nearest, as text."""

    @abstractmethod
    def pieces(self, *, metal: bool) -> Pieces:
        """Return the pieces that are connected through faces: of all solids, or of metals only."""

    @abstractmethod
    def face(self, which: Sequence[int], side: str, *, metal: bool) -> FreeFace | str:
        """Return the free part of an end face of solids, or the reason why there is none."""

    @abstractmethod
    def raster(self, tiles: int = 240) -> tuple[list[np.ndarray], np.ndarray]:
        """Return a grid for pictures: lines along x, y and z [m], and the solid in each cell, -1 for none."""

    @abstractmethod
    def owners(self, lines: Sequence[np.ndarray]) -> np.ndarray:
        """Return the solid that fills the largest part of each cell between lines, -1 for none (nx, ny, nz)."""

    def prisms(self, domains: Sequence[int]) -> tuple[Prism, ...]:
        """Return the prisms that fill the cells, none if all solids are boxes; `domains` has an index per solid."""
        return ()

    def near_misses(self, least: float) -> list[tuple[int, int, float, np.ndarray]]:
        """Return pairs of solids that nearly touch, closer than `least` [m]: both solids, distance and position [m].

        The distance is 0 for metals that meet in an edge or a corner only, where no other good metal joins them.
        """
        return []

    def torn(self) -> list[tuple[str, np.ndarray]]:
        """Return metal bodies of several solids that are not connected, and where a separate piece is [m]."""
        return []

    def short_circuit(self, grid: Grid) -> tuple[np.ndarray, float, float] | None:
        """Return where a node belongs to metal on both sides of a gap: position, width of the gap and cell size [m]."""
        return None

    def names(self, indices: Iterable[int]) -> str:
        """Return the quoted names of solids, in the order of the file."""
        quoted = [f"'{self.solids[i].name}'" for i in sorted({int(i) for i in indices}) if i >= 0]
        return ", ".join(quoted) or "nothing"

    def named(self, indices: Iterable[int]) -> str:
        """Return the quoted names of solids after the word "solid" or "solids"."""
        text = self.names(indices)
        return f"solids {text}" if ", " in text else f"solid {text}"

    def _nearest(self, index: int) -> str:
        box = self.solids[index].box
        best, text = np.inf, ""
        for solid in self.solids:
            if solid is self.solids[index]:
                continue
            gaps = [max(b[0] - a[1], a[0] - b[1], 0.0) for a, b in zip(box, solid.box, strict=True)]
            distance = float(np.linalg.norm(gaps))
            if distance < best:
                along = " and ".join(
                    f"{gap * 1e9:.6g} nm away along {AXES[k]}" for k, gap in enumerate(gaps) if gap > 0
                )
                best, text = (
                    distance,
                    f"'{solid.name}' is {along}" if along else f"'{solid.name}' meets it in an edge only",
                )
        return text


class Layout(Plan):
    """Boxes on the tensor grid whose lines are their faces.

    Args:
      solids, metal: as of `Plan`.
    """

    def __init__(self, solids: Sequence[SolidLike], metal: Sequence[float]) -> None:
        super().__init__(solids, metal)
        boxes = [solid.box for solid in self.solids]
        self.lines = [merge_close([edge for box in boxes for edge in box[axis]]) for axis in range(3)]
        #: index of the solid that fills each cell, -1 for none
        self.owner = fill(self.lines, boxes, range(len(boxes)))
        self.metal = np.append(np.asarray(metal, dtype=bool), False)[self.owner]

    def _slices(self, index: int) -> tuple[slice, ...]:
        return tuple(
            slice(*(int(np.argmin(np.abs(line - edge))) for edge in edges))
            for line, edges in zip(self.lines, self.solids[index].box, strict=True)
        )

    def region(self, index: int) -> np.ndarray:
        """Return the part of `owner` that the box of one solid covers."""
        return self.owner[self._slices(index)]

    def overwritten(self) -> dict[int, str]:
        """Return solids that are overwritten completely, each with the names of the solids that replace it."""
        present = set(np.unique(self.owner).tolist())
        return {i: self.names(self.region(i).ravel()) for i in range(len(self.solids)) if i not in present}

    def neighbours(self) -> set[tuple[int, int]]:
        """Return pairs of solids that share part of a face, the earlier solid first."""
        touching: set[tuple[int, int]] = set()
        for axis in range(3):
            owner = np.moveaxis(self.owner, axis, 0)
            first, second = owner[:-1], owner[1:]
            between = (first != second) & (first >= 0) & (second >= 0)
            pairs = np.unique(np.sort(np.stack([first[between], second[between]]), axis=0), axis=1)
            touching.update((int(a), int(b)) for a, b in pairs.T)
        return touching

    def alone(self) -> dict[int, str]:
        """Return solids that share no part of a face with another, each with the distance to the nearest, as text."""
        touching = {i for pair in self.neighbours() for i in pair}
        present = set(np.unique(self.owner).tolist()) - {-1}
        return {i: self._nearest(i) for i in sorted(present - touching) if len(present) > 1}

    def pieces(self, *, metal: bool) -> Pieces:
        """Return the pieces that are connected through faces: of all solids, or of metals only."""
        labels, count = label(self.metal if metal else self.owner >= 0)
        members = {piece: set(np.unique(self.owner[labels == piece]).tolist()) for piece in range(1, count + 1)}

        def of(face: Face) -> set[int]:
            return set(np.unique(np.take(labels, face.layer, axis=face.axis)[face.cells]).tolist()) - {0}

        return Pieces(members, of)

    def owners(self, lines: Sequence[np.ndarray]) -> np.ndarray:
        """Return the solid that fills each cell between lines, -1 for none (nx, ny, nz)."""
        return fill(lines, [solid.box for solid in self.solids], range(len(self.solids)))

    def edge_pairs(self) -> list[tuple[int, int]]:
        """Return pairs of metals that meet only in an edge or corner, where no other good metal joins them."""
        owner = np.pad(self.owner, 1, constant_values=-1)
        sigma = np.append(self.sigma, 0.0)[owner]
        inner = [slice(0, -1), slice(1, None)]
        touching: set[tuple[int, int]] = set()

        def add(first: tuple[slice, ...], second: tuple[slice, ...], others: Iterable[tuple[slice, ...]]) -> None:
            least = np.minimum(sigma[first], sigma[second])
            only = least > 0
            for other in others:
                only &= (sigma[other] == 0) | (sigma[other] < JOINT * least)
            pairs = np.unique(np.stack([owner[first][only], owner[second][only]]), axis=1)
            touching.update((min(a, b), max(a, b)) for a, b in pairs.T.tolist())

        for axis in range(3):
            u, v = (other for other in range(3) if other != axis)

            def at(i: int, j: int, u: int = u, v: int = v) -> tuple[slice, ...]:
                place = [slice(None)] * 3
                place[u], place[v] = inner[i], inner[j]
                return tuple(place)

            add(at(0, 0), at(1, 1), [at(0, 1), at(1, 0)])
            add(at(0, 1), at(1, 0), [at(0, 0), at(1, 1)])
        corners = [tuple(inner[(bits >> k) & 1] for k in range(3)) for bits in range(8)]
        for bits in range(4):
            add(corners[bits], corners[7 - bits], [corners[k] for k in range(8) if k not in (bits, 7 - bits)])
        return sorted(touching)

    def near_misses(self, least: float) -> list[tuple[int, int, float, np.ndarray]]:
        """Return pairs of solids that nearly touch: both solids, distance and position [m]; 0 for edges that meet."""
        misses = {pair: (*pair, 0.0, self._shared_place(*pair)) for pair in self.edge_pairs()}
        for axis in range(3):
            line, owner = self.lines[axis], np.moveaxis(self.owner, axis, 0)
            across = [k for k in range(3) if k != axis]
            for start, end in itertools.combinations(range(1, len(line) - 1), 2):
                gap = float(line[end] - line[start])
                if gap >= least:
                    continue
                before, after = owner[start - 1], owner[end]
                free = (owner[start:end] < 0).all(axis=0) & (before >= 0) & (after >= 0)
                for cell in np.argwhere(free).tolist():
                    place = np.zeros(3)
                    place[axis] = line[start] + gap / 2
                    place[across] = [self.lines[k][c : c + 2].mean() for k, c in zip(across, cell, strict=True)]
                    one, other = sorted((int(before[tuple(cell)]), int(after[tuple(cell)])))
                    if (one, other) not in misses:
                        misses[one, other] = one, other, gap, place
        for one, other, gap, place in self._diagonal(least):
            misses.setdefault((one, other), (one, other, gap, place))
        return [misses[pair] for pair in sorted(misses)]

    def _diagonal(self, least: float) -> Iterator[tuple[int, int, float, np.ndarray]]:
        """Yield pairs of solids that are closer than `least` [m] in a diagonal direction, past one another's edges."""
        ends = np.array([solid.box for solid in self.solids])  # (solids, 3, 2)
        # The gap along each axis, negative where extents overlap.
        gaps = np.maximum(ends[:, None, :, 0] - ends[None, :, :, 1], ends[None, :, :, 0] - ends[:, None, :, 1])
        gaps[np.abs(gaps) < coincidence(float(np.abs(ends).max()))] = 0.0
        distance = np.linalg.norm(np.maximum(gaps, 0.0), axis=2)
        near = (distance > 0) & (distance < least) & ((gaps >= 0).sum(axis=2) > 1)
        for i, j in np.argwhere(np.triu(near)).tolist():
            between, of_one, of_other, middle = [], [], [], []
            for line, one, other, gap in zip(self.lines, self._slices(i), self._slices(j), gaps[i, j], strict=True):
                if gap < 0:
                    shared = slice(max(one.start, other.start), min(one.stop, other.stop))
                    ends_of = shared, shared
                    between.append(shared)
                    middle.append((line[shared.start : shared.stop] + line[shared.start + 1 : shared.stop + 1]) / 2)
                else:
                    first = one.stop <= other.start
                    low, high = (one.stop, other.start) if first else (other.stop, one.start)
                    below, above = slice(low - 1, low), slice(high, high + 1)
                    ends_of = (below, above) if first else (above, below)
                    between.append(slice(low, high) if low < high else slice(low - 1, low + 1))
                    middle.append((line[[low]] + line[[high]]) / 2)
                of_one.append(ends_of[0])
                of_other.append(ends_of[1])
            apart = tuple(axis for axis in range(3) if gaps[i, j, axis] >= 0)
            free = (self.owner[tuple(between)] < 0).all(axis=apart, keepdims=True)
            found = free & (self.owner[tuple(of_one)] == i) & (self.owner[tuple(of_other)] == j)
            if found.any():
                cell = np.argwhere(found)[0]
                yield i, j, float(distance[i, j]), np.array([at[k] for at, k in zip(middle, cell, strict=True)])

    def _shared_place(self, i: int, j: int) -> np.ndarray:
        """Return the middle of what the boxes of two solids that touch have in common [m]."""
        return np.array(
            [
                (max(a[0], b[0]) + min(a[1], b[1])) / 2
                for a, b in zip(self.solids[i].box, self.solids[j].box, strict=True)
            ]
        )

    def raster(self, tiles: int = 240) -> tuple[list[np.ndarray], np.ndarray]:
        """Return the grid lines and `owner`, which describe boxes completely."""
        return self.lines, self.owner

    def face(self, which: Sequence[int], side: str, *, metal: bool) -> Face | str:
        """Return the free part of an end face of a solid, or the reason why there is none.

        Args:
          which: the solid.
          side: one of `FACES`.
          metal: whether only metals in front of the face cover it, or all solids.
        """
        (index,) = which
        closed_by = self.metal if metal else self.owner >= 0
        axis = AXES.index(side[0])
        line = int(np.argmin(np.abs(self.lines[axis] - self.solids[index].box[axis][side[1] == "+"])))
        layer, front = (line - 1, line) if side[1] == "+" else (line, line - 1)
        behind = np.take(self.owner, layer, axis=axis)
        of_solid = behind == index
        if not of_solid.any():
            region = np.take(self.region(index), -1 if side[1] == "+" else 0, axis=axis)
            return f"is overwritten by {self.names(region.ravel())}"
        free = of_solid.copy()
        if 0 <= front < self.owner.shape[axis]:
            closed = np.take(closed_by, front, axis=axis)
            free &= ~closed
            if not free.any():
                cover = np.take(self.owner, front, axis=axis)[of_solid]
                return f"is no end face: {self.names(cover)} lies in front of all of it"
        widths = [np.diff(self.lines[k]) for k in range(3) if k != axis]
        return Face(axis, line, layer, free, float(np.outer(*widths)[free].sum()), self.lines)


def label(cells: np.ndarray) -> tuple[np.ndarray, int]:
    """Label the pieces of the marked cells that are connected through faces, from 1; other cells get 0."""
    from scipy import ndimage

    labels, count = ndimage.label(cells)
    return labels, int(count)


def box_faults(box: Box) -> list[str]:
    """Return the faults of a single box."""
    size = max(abs(edge) for edges in box for edge in edges)
    return [
        f"box.{axis}: got low = {low * 1e9:.9g} nm, high = {high * 1e9:.9g} nm, expected low < high"
        for axis, (low, high) in zip(AXES, box, strict=True)
        if not high - low > coincidence(size)
    ]


def connection_faults(
    layout: Plan,
    contacts: Mapping[str, FreeFace],
    cold: Sequence[FreeFace],
    experiments: Mapping[str, Circuit],
    where: Mapping[str, str],
) -> list[str]:
    """Return faults: isolated solids, metals without contact, bodies without bath, circuits that are not closed.

    Args:
      layout: the solids.
      contacts: free end face of every contact.
      cold: free faces of contacts and heat sinks that exchange heat with the bath.
      experiments: the contacts of each.
      where: name of the solid of each contact.
    """
    alone = layout.alone()
    faults = [f"solid '{layout.solids[i].name}': touches no other solid; {text}" for i, text in alone.items()]

    heat = layout.pieces(metal=False)
    reached = set().union(*(heat.of(face) for face in cold))
    for piece in sorted(set(heat.members) - reached):
        solids = heat.members[piece]
        if not solids <= set(alone):
            faults.append(
                f"{layout.named(solids)}: no way for the heat to a bath, the temperature has no fixed point; "
                "put a contact or a heat sink on one of them that is not insulated"
            )

    metal = layout.pieces(metal=True)
    reach = {name: metal.of(face) for name, face in contacts.items()}
    reached = set().union(*reach.values())
    for piece in sorted(set(metal.members) - reached):
        solids = metal.members[piece]
        if not solids <= set(alone):
            faults.append(
                f"{layout.named(solids)}: metal that is connected to no contact, its potential is undefined; "
                'connect it, give it a contact (which holds the bath temperature unless it has thermal = "insulated"), '
                "or give it a material without sigma"
            )

    lonely = {layout.solids[i].name for i in alone}

    def parted(first: str, second: str) -> str:
        bodies = []
        for name in (first, second):
            pieces = " and ".join(layout.named(metal.members[piece]) for piece in sorted(reach[name]))
            bodies.append(f"contact '{name}' on '{where[name]}' ({pieces})")
        return f"no metal connects {' with '.join(bodies)}"

    for label, circuit in experiments.items():
        grounded: set[int] = set()
        told: set[frozenset[int]] = set()
        if circuit.current is not None:
            source, ground = circuit.current
            grounded = reach[ground]
            if not reach[source] <= grounded and not {where[source], where[ground]} & lonely:
                told = {frozenset(reach[source]), frozenset(grounded)}
                faults.append(f"{label}, current: {parted(source, ground)}, the current has no way")
        if circuit.voltage is not None:
            plus, minus = circuit.voltage
            pieces = reach[plus] | reach[minus]
            apart = (
                len(pieces) > 1 and not pieces <= grounded and told != {frozenset(reach[plus]), frozenset(reach[minus])}
            )
            if apart and not {where[plus], where[minus]} & lonely:
                faults.append(f"{label}, voltage: {parted(plus, minus)}, the voltage between them is not defined")
    return faults
