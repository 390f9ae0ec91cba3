"""Parameters to fit: how each is varied, and within which bounds."""

from __future__ import annotations

import dataclasses
import math

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
        return self.kind.lower if self.bounds is None else self.bounds[0]

    @property
    def upper(self) -> float:
        """Upper bound, SI units."""
        return self.kind.upper if self.bounds is None else self.bounds[1]

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
