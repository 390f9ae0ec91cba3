"""Edges where fields are singular: how strongly, from the conductivities around them.

Along an edge where cells of different materials meet, fields behave like r^lambda with the distance r. Two materials
have lambda >= 1/2; where good conductors meet across poor ones lambda goes to zero, and with it the convergence.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from thermospin.grid import Grid

#: The smallest exponent that two materials, or one and insulation, can have; and that of layers, which have no edges.
ORDINARY, SMOOTH = 0.5, 1.0


@dataclasses.dataclass(frozen=True)
class Edge:
    """The edge of a device with the smallest exponent of a field.

    Attributes:
      exponent: lambda, at most `SMOOTH`.
      materials: of the four cells around it, in their order; "nothing" for none.
      place: a point on it [m]; None where no edge is below `SMOOTH`.
    """

    exponent: float = SMOOTH
    materials: tuple[str, ...] = ()
    place: tuple[float, float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Weakest:
    """The edges with the smallest exponents: of the potentials, and of the temperature."""

    potentials: Edge
    heat: Edge

    def exponent(self, harmonic: int) -> float:
        """Return the smallest exponent that a harmonic sees: R1 that of the potentials, the others both.

        It is `ORDINARY` at most unless neither of them has an edge.
        """
        both = min(self.potentials.exponent, self.heat.exponent)
        seen = self.potentials.exponent if harmonic == 1 else both
        return seen if both == SMOOTH else min(seen, ORDINARY)

    def words(self) -> list[str]:
        """Name the edges below `ORDINARY`, one sentence each."""
        lines = []
        for edge, field in ((self.potentials, "potentials"), (self.heat, "temperature")):
            if edge.place is not None and edge.exponent < ORDINARY:
                at = ", ".join(f"{1e9 * x:.4g}" for x in edge.place)
                lines.append(
                    f"The {field} converge slowly at ({at}) nm, where {', '.join(edge.materials)} meet in an edge "
                    f"(r^{edge.exponent:.2f}); the error bars are wider for it."
                )
        return lines


def exponent(conductivities: Sequence[float]) -> float:
    """Return the smallest lambda > 0 of div(sigma grad u) = 0, u ~ r^lambda, around an edge of four right angles.

    With all four conducting, and A the sum of s_i/s_j over all i != j, B = s_1 s_3/(s_2 s_4) + its inverse,

        sin^2(pi lambda/2) = (4 + A)/(2 + A + B);

    with the fourth an insulator tan^2(pi lambda/2) = s_2 (s_1 + s_2 + s_3)/(s_1 s_3); 1 for one or two neighbours. What
    conductors make that touch in the edge only is not asked for.

    Args:
      conductivities: of the four quadrants in their order, 0 for insulation.
    Source: Kellogg, Applicable Analysis 4, 101 (1975), for four quadrants; the formulas follow from matching u and the
      flux on the four faces.
    """
    s = [float(value) for value in conductivities]
    empty = [k for k, value in enumerate(s) if value <= 0]
    if not empty:
        A = sum(a / b for a, b in itertools.permutations(s, 2))
        ratio = s[0] * s[2] / (s[1] * s[3])
        return 2 / math.pi * math.asin(math.sqrt(min(1.0, (4 + A) / (2 + A + ratio + 1 / ratio))))
    if len(empty) == 1:
        first, middle, last = (s[(empty[0] + k) % 4] for k in (1, 2, 3))
        return 2 / math.pi * math.atan(math.sqrt(middle * (first + middle + last) / (first * last)))
    return 1.0


def resolution(exponent: float) -> float:
    """Return the size of cells at an edge, over that of solids, that leaves a tenth of h^(2 lambda), at least 1e-3."""
    return max(1e-3, 0.1 ** (1 / (2 * exponent)))


#: Conductivities by domain: for charge a row for each channel of each state, for heat one row.
Conductivities = tuple[list[list[float]], list[list[float]]]


def weakest(grid: Grid, names: Sequence[str], conductivities: Conductivities) -> Weakest:
    """Find the edges of a grid with the smallest exponents, for charge and for heat; `names` are those of materials."""
    smallest = []
    for table in conductivities:
        found = Edge()
        for around in _surroundings(grid):
            value = _exponent_of(around.quadrants, table)
            if value < found.exponent - 1e-9:
                found = Edge(value, tuple(names[k] if k >= 0 else "nothing" for k in around.quadrants), around.place)
        smallest.append(found)
    return Weakest(*smallest)


def weak_lines(grid: Grid, conductivities: Conductivities) -> tuple[dict[float, float], ...]:
    """Return the positions along x, y and z [m] of edges below `ORDINARY`, with the smallest exponent there."""
    lines: tuple[dict[float, float], ...] = ({}, {}, {})
    for around in _surroundings(grid):
        value = min(_exponent_of(around.quadrants, table) for table in conductivities)
        if value < ORDINARY - 1e-9:
            for axis, positions in around.positions.items():
                for position in positions:
                    lines[axis][position] = min(value, lines[axis].get(position, ORDINARY))
    return lines


def _exponent_of(quadrants: Sequence[int], table: Sequence[Sequence[float]]) -> float:
    return min(exponent([row[k] if k >= 0 else 0.0 for k in quadrants]) for row in table)


@dataclasses.dataclass(frozen=True)
class _Around:
    """Edges with the same surroundings: four domains, the middle of one of them, positions by axis [m]."""

    quadrants: tuple[int, ...]
    place: tuple[float, float, float]
    positions: dict[int, list[float]]


def _surroundings(grid: Grid) -> list[_Around]:
    """Return each kind of surroundings that edges along an axis have, for all axes."""
    out = []
    for axis in range(3):
        one, other = (k for k in range(3) if k != axis)
        padded = np.pad(np.moveaxis(grid.domain, axis, 0), ((0, 0), (1, 1), (1, 1)), constant_values=-1)
        ring = [padded[:, :-1, :-1], padded[:, 1:, :-1], padded[:, 1:, 1:], padded[:, :-1, 1:]]
        kinds, kind_of = np.unique(np.stack(ring).reshape(4, -1), axis=1, return_inverse=True)
        for number, quadrants in enumerate(kinds.T):
            cells, i, j = np.unravel_index(np.flatnonzero(kind_of.ravel() == number), ring[0].shape)
            place = [0.0, 0.0, 0.0]
            place[axis] = float(grid.lines[axis][cells[0]] + grid.lines[axis][cells[0] + 1]) / 2
            place[one], place[other] = float(grid.lines[one][i[0]]), float(grid.lines[other][j[0]])
            positions = {one: grid.lines[one][np.unique(i)].tolist(), other: grid.lines[other][np.unique(j)].tolist()}
            out.append(_Around(tuple(int(k) for k in quadrants), (place[0], place[1], place[2]), positions))
    return out
