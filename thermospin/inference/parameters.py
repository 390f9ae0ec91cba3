"""Parameters to fit: how each is varied, and within which bounds; and the same of all free ones, as arrays.

Minimisers, profiles and posteriors move in internal coordinates x (free,), in which signals are nearly linear.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.quantities import QUANTITIES, Quantity, key_of

#: Distance from a bound, in internal coordinates (0.1 % of a value), below which a parameter counts as pinned there.
AT_BOUND = 1e-3


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A number to fit, and the coordinate x it is varied in; see `quantities.Quantity`.

    Attributes:
      name: "Py.S_s", "zeta".
      start: where to begin, SI units.
      bounds: lower and upper, SI units; None: those of `QUANTITIES`.
    Raises:
      ValueError: an unknown key, bounds the wrong way round or outside the model, or a start outside the bounds.
    """

    name: str
    start: float
    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Check name, bounds and start."""
        if self.key not in QUANTITIES:
            raise InputError(f"parameter '{self.name}' cannot be fitted; {nearest(self.key, QUANTITIES)}")
        bounds = f"[{self.lower:g}, {self.upper:g}] {self.unit}".rstrip()
        limits = self.internal(self.lower), self.internal(self.upper)
        if not limits[0] < limits[1]:
            expected = {"log": "0 <= lower < upper", "atanh": "-1 <= lower < upper <= 1"}
            raise InputError(
                f"bounds of {self.name}: got {bounds}, expected {expected.get(self.kind.transform, 'lower < upper')}"
            )
        if not (math.isfinite(self.internal(self.start)) and self.lower <= self.start <= self.upper):
            raise InputError(
                f"start of {self.name}: got {self.start:g}, expected a value within {bounds}; give other bounds"
            )

    @property
    def key(self) -> str:
        """Key of `QUANTITIES`."""
        return key_of(self.name)

    @property
    def kind(self) -> Quantity:
        """Row of `quantities` that says how it is varied."""
        return QUANTITIES[self.key]

    @property
    def lower(self) -> float:
        """Lower bound, SI units."""
        return bounds_of(self.name, self.bounds)[0]

    @property
    def upper(self) -> float:
        """Upper bound, SI units."""
        return bounds_of(self.name, self.bounds)[1]

    @property
    def unit(self) -> str:
        """SI unit."""
        return self.kind.unit

    @property
    def scale(self) -> float:
        """Size of the start value, the unit of a linear coordinate."""
        return abs(size_of(self.name, self.start))

    def internal(self, value: float) -> float:
        """Return the coordinate x of a value; infinite at an open end, NaN outside the model."""
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.kind.transform == "log":
                return float(np.log(value))
            if self.kind.transform == "atanh":
                return float(np.arctanh(value))
        return value / self.scale

    def value(self, x: float) -> float:
        """Return the value at a coordinate, held within the bounds against round-off."""
        if self.kind.transform == "log":
            value = math.exp(min(x, 700.0))  # a float ends at exp(709)
        elif self.kind.transform == "atanh":
            value = math.tanh(x)
        else:
            value = x * self.scale
        return min(max(value, self.lower), self.upper)

    def traced(self, x: Any) -> Any:
        """Return `value` in JAX, of a coordinate that is within the bounds already."""
        import jax.numpy as jnp

        if self.kind.transform == "log":
            return jnp.exp(x)
        if self.kind.transform == "atanh":
            return jnp.tanh(x)
        return self.scale * x

    def slope(self, x: float) -> float:
        """Return d value/d x."""
        if self.kind.transform == "log":
            return self.value(x)
        if self.kind.transform == "atanh":
            return 1 - math.tanh(x) ** 2
        return self.scale

    def pinned(self, value: float) -> str | None:
        """Return which bound a value sits at, "lower" or "upper", if any."""
        for side in ("lower", "upper"):
            if abs(self.internal(value) - self.internal(getattr(self, side))) <= AT_BOUND:
                return side
        return None


def size_of(name: str, value: float) -> float:
    """Return the size of a value, or the one that changes are measured by where it is 0."""
    return value or QUANTITIES[key_of(name)].typical


def bounds_of(name: str, given: tuple[float, float] | None = None) -> tuple[float, float]:
    """Return the bounds of a parameter, SI units: those given, else those of `QUANTITIES`."""
    kind = QUANTITIES[key_of(name)]
    return (kind.lower, kind.upper) if given is None else given


def coordinates(free: Sequence[Parameter], values: Mapping[str, float]) -> np.ndarray:
    """Return internal coordinates (free,) of values by name, SI units."""
    return np.array([parameter.internal(values[parameter.name]) for parameter in free])


def start_values(free: Sequence[Parameter]) -> dict[str, float]:
    """Return the values to begin with by name, SI units."""
    return {parameter.name: parameter.start for parameter in free}


def bounds_in_coordinates(free: Sequence[Parameter]) -> np.ndarray:
    """Return lower and upper bounds in internal coordinates (2, free)."""
    return np.array([[parameter.internal(end) for end in (parameter.lower, parameter.upper)] for parameter in free]).T


def values_at(free: Sequence[Parameter], x: np.ndarray) -> dict[str, float]:
    """Return values by name at internal coordinates, SI units."""
    return {parameter.name: parameter.value(float(xi)) for parameter, xi in zip(free, x, strict=True)}


def slopes_at(free: Sequence[Parameter], x: np.ndarray) -> np.ndarray:
    """Return d value/d x (free,) at internal coordinates, SI units."""
    return np.array([parameter.slope(float(xi)) for parameter, xi in zip(free, x, strict=True)])


def pressed(x: np.ndarray, gradient: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Return which coordinates (free,) sit at a bound (2, free) and would go beyond it, down the gradient."""
    return (x - bounds[0] <= AT_BOUND) & (gradient > 0) | (bounds[1] - x <= AT_BOUND) & (gradient < 0)
