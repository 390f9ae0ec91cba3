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

from thermospin.device.device import Device
from thermospin.model import Model
from thermospin.operators import COEFFICIENTS

#: The smallest exponent that two materials, or one and insulation, can have.
ORDINARY = 0.5
_UP, _DOWN, _HEAT = (COEFFICIENTS.index(name) for name in ("uu", "dd", "TT"))


@dataclasses.dataclass(frozen=True)
class Edge:
    """The edge of a device with the smallest exponent of a field.

    Attributes:
      exponent: lambda, at most `ORDINARY`.
      materials: of the four cells around it, in their order; "nothing" for none.
      place: a point on it [m]; None where no edge is below `ORDINARY`.
    """

    exponent: float = ORDINARY
    materials: tuple[str, ...] = ()
    place: tuple[float, float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Weakest:
    """The edges with the smallest exponents: of the potentials, and of the temperature."""

    potentials: Edge
    heat: Edge

    def exponent(self, harmonic: int) -> float:
        """Return the smallest exponent that a harmonic sees: R1 that of the potentials, the others both."""
        return self.potentials.exponent if harmonic == 1 else min(self.potentials.exponent, self.heat.exponent)

    def words(self) -> list[str]:
        """Name the edges below `ORDINARY`, one sentence each."""
        lines = []
        for edge, field in ((self.potentials, "potentials"), (self.heat, "temperature")):
            if edge.place is not None:
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


def weakest(model: Model) -> Weakest:
    """Find the edges of a device's grid with the smallest exponents, over all states and both spins."""
    values = model.completed({})
    states = {
        tuple(sorted(signs.items())): signs
        for experiment in model.device.experiments.values()
        for signs in experiment.states.values()
    }
    rows: list[np.ndarray] = []
    for signs in states.values():
        table = model.constitution.table(values, signs)
        rows += [np.asarray(table[COEFFICIENTS[kind]]) for kind in (_UP, _DOWN)]
    heat = np.asarray(table[COEFFICIENTS[_HEAT]])
    around = [
        (quadrants, place)
        for axis in range(3)
        for quadrants, place in _edges(model.grid.domain, model.grid.lines, axis)
    ]
    return Weakest(_smallest(around, rows, model.device), _smallest(around, [heat], model.device))


def _edges(
    domain: np.ndarray, lines: Sequence[np.ndarray], axis: int
) -> list[tuple[tuple[int, ...], tuple[float, float, float]]]:
    """Return each kind of surroundings that edges along an axis have (four domains), with the middle of one of them."""
    others = [k for k in range(3) if k != axis]
    padded = np.pad(np.moveaxis(domain, axis, 0), ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    ring = [padded[:, :-1, :-1], padded[:, 1:, :-1], padded[:, 1:, 1:], padded[:, :-1, 1:]]
    kinds, first = np.unique(np.stack(ring).reshape(4, -1), axis=1, return_index=True)
    out = []
    for quadrants, number in zip(kinds.T, first, strict=True):
        cell, one, other = np.unravel_index(number, ring[0].shape)
        place = [0.0, 0.0, 0.0]
        place[axis] = float(lines[axis][cell] + lines[axis][cell + 1]) / 2
        place[others[0]], place[others[1]] = float(lines[others[0]][one]), float(lines[others[1]][other])
        out.append((tuple(int(k) for k in quadrants), (place[0], place[1], place[2])))
    return out


def _smallest(
    around: Sequence[tuple[tuple[int, ...], tuple[float, float, float]]], rows: Sequence[np.ndarray], device: Device
) -> Edge:
    found = Edge()
    for quadrants, place in around:
        for conductivity in rows:
            value = exponent([conductivity[k] if k >= 0 else 0.0 for k in quadrants])
            if value < found.exponent - 1e-9:
                names = tuple(device.domains[k][0] if k >= 0 else "nothing" for k in quadrants)
                found = Edge(value, names, place)
    return found
