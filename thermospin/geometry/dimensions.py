"""Named dimensions, and coordinates that are sums of them: "gap + 100", "-width / 2".

A coordinate is c + sum over dimensions of f d. Its derivatives are therefore constants, and a product of two lengths is
not a coordinate. Python's own parser reads the expressions; nothing in them is executed.
"""

from __future__ import annotations

import ast
import dataclasses
import math
from collections.abc import Mapping

from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.base.units import tidy


class ExpressionError(InputError):
    """An expression that is not a coordinate."""


@dataclasses.dataclass(frozen=True)
class Coordinate:
    """A coordinate: constant + sum of factor times dimension.

    Attributes:
      constant: [m].
      factors: pairs (dimension, factor), those with a factor other than zero.
    """

    constant: float
    factors: tuple[tuple[str, float], ...] = ()

    def at(self, dimensions: Mapping[str, float]) -> float:
        """Return the coordinate for these dimensions [m], rounded as every length of a device file."""
        return tidy(self.constant + sum(factor * dimensions[name] for name, factor in self.factors))

    @property
    def slopes(self) -> dict[str, float]:
        """Derivative with respect to each dimension."""
        return dict(self.factors)


@dataclasses.dataclass(frozen=True)
class Dimension:
    """A named length of a device, which coordinates are computed from.

    Attributes:
      value: [m].
      std: standard deviation [m], None if not given.
      range: lowest and highest value to consider [m], None if not given.
      note: free text, such as the source of the value.
    """

    value: float
    std: float | None = None
    range: tuple[float, float] | None = None
    note: str = dataclasses.field(default="", compare=False)

    def faults(self) -> list[str]:
        """Return the faults of the dimension."""
        texts = []
        if not math.isfinite(self.value):
            texts.append(f"got {self.value:g} m, expected a finite length")
        if self.std is not None and not self.std >= 0:
            texts.append(f"std: got {self.std:g} m, expected a length of 0 or more")
        return texts


def names_in(text: str) -> set[str] | None:
    """Return the names in an expression; None for other text such as "5 nm", or if there are no names."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} or None


def parse(text: str, known: Mapping[str, Coordinate], unit: float) -> Coordinate:
    """Return the coordinate that an expression describes.

    Args:
      text: numbers, names, + - * / and brackets; bare numbers are lengths, or factors of a name.
      known: the coordinate that each name stands for.
      unit: unit of bare numbers that are lengths [m].
    Raises:
      ExpressionError: an unknown name, a product of two lengths, or anything other than arithmetic.
    """
    try:
        constant, factors = _value(ast.parse(text.strip(), mode="eval").body, known, unit)
    except (SyntaxError, RecursionError, MemoryError):
        raise ExpressionError("which is no expression") from None
    if not all(map(math.isfinite, [constant, *factors.values()])):
        raise ExpressionError("which is not finite")
    return Coordinate(constant * unit, tuple((name, factor) for name, factor in factors.items() if factor))


def _value(node: ast.expr, known: Mapping[str, Coordinate], unit: float) -> tuple[float, dict[str, float]]:
    """Return the constant part in units of `unit`, and the factor of each dimension."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number), {}
        case ast.Name(id=name):
            if name not in known:
                raise ExpressionError(f"where '{name}' is no dimension; {nearest(name, known)}")
            return known[name].constant / unit, known[name].slopes
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=operand):
            return _scaled(_value(operand, known, unit), -1.0 if isinstance(op, ast.USub) else 1.0)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            (a, f), (b, g) = _value(left, known, unit), _value(right, known, unit)
            sign = -1.0 if isinstance(op, ast.Sub) else 1.0
            return a + sign * b, {name: f.get(name, 0.0) + sign * g.get(name, 0.0) for name in {**f, **g}}
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            one, other = _value(left, known, unit), _value(right, known, unit)
            if one[1] and other[1]:
                raise ExpressionError("which has a product of two dimensions; expected a sum of dimensions and numbers")
            return _scaled(other, one[0]) if other[1] else _scaled(one, other[0])
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            one, other = _value(left, known, unit), _value(right, known, unit)
            if other[1] or other[0] == 0:
                raise ExpressionError("which divides by a dimension or by 0; expected a sum of dimensions and numbers")
            return _scaled(one, 1 / other[0])
    raise ExpressionError('which is more than sums of dimensions and numbers; expected such as "gap + 100"')


def _scaled(value: tuple[float, dict[str, float]], by: float) -> tuple[float, dict[str, float]]:
    return value[0] * by, {name: factor * by for name, factor in value[1].items()}
