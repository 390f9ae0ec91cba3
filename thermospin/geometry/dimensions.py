"""Named dimensions, and coordinates that are sums of them: "gap + 100", "-width / 2", "gap + 0.1 um".

A coordinate is c + sum over dimensions of f d. Its derivatives are therefore constants, and a product of two lengths is
not a coordinate. Python's own parser reads the expressions; nothing in them is executed.
"""

from __future__ import annotations

import ast
import dataclasses
import math
import re
from collections.abc import Mapping

from thermospin.base import units
from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.base.text import plain
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

    def __add__(self, other: Coordinate) -> Coordinate:
        one, two = self.slopes, other.slopes
        return _coordinate(
            self.constant + other.constant, {name: one.get(name, 0.0) + two.get(name, 0.0) for name in {**one, **two}}
        )

    def __sub__(self, other: Coordinate) -> Coordinate:
        return self + -1.0 * other

    def __rmul__(self, by: float) -> Coordinate:
        return _coordinate(self.constant * by, {name: factor * by for name, factor in self.factors})


def _coordinate(constant: float, slopes: Mapping[str, float]) -> Coordinate:
    return Coordinate(constant, tuple((name, factor) for name, factor in slopes.items() if factor))


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


#: A number and the name that follows it, its unit; or another name. What follows "2" in "2e3" is no name.
_WORD = re.compile(r"(?<![\w.])(?:((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?+)\s*([^\W\d]\w*)|[^\W\d]\w*)", re.IGNORECASE)

#: Signs of multiplication of typesetters.
_TIMES = str.maketrans(dict.fromkeys("\N{MULTIPLICATION SIGN}\N{MIDDLE DOT}\N{DOT OPERATOR}", "*"))


def _tree(text: str) -> tuple[ast.expr, dict[str, str]] | None:
    """Return the syntax tree of an expression, and what its words stand for; None for text that is no expression.

    The tree has words of its own, since names such as "lambda" are words of Python: "n0" for the name that comes
    first, "q1" for a length with its unit that comes second.
    """
    words: dict[str, str] = {}
    # The spaces and signs of typesetters become plain; names keep their letters, such as a micro sign.
    text = "".join(sign if (sign := plain(letter)) in (" ", "-") else letter for letter in text).translate(_TIMES)

    def word(match: re.Match[str]) -> str:
        key = f"{'q' if match[1] else 'n'}{len(words)}"
        words[key] = match[0]
        return key

    try:
        return ast.parse(_WORD.sub(word, text.strip()), mode="eval").body, words
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def names_in(text: str) -> set[str] | None:
    """Return the names in an expression; None for other text such as "5 nm", or if there are no names."""
    found = _tree(text)
    return None if found is None else {word for key, word in found[1].items() if key.startswith("n")} or None


def parse(text: str, known: Mapping[str, Coordinate], unit: float) -> Coordinate:
    """Return the coordinate that an expression describes.

    Args:
      text: numbers, names, + - * / and brackets; bare numbers are lengths, or factors of a name or of a length with
        its unit.
      known: the coordinate that each name stands for.
      unit: unit of bare numbers that are lengths [m].
    Raises:
      ExpressionError: an unknown name, a product of two lengths, or anything other than arithmetic.
      UnitError: a unit that is not known, or is not one of length.
    """
    found = _tree(text)
    if found is None:
        raise ExpressionError("which is no expression")
    tree, words = found
    lengths, places = {}, {}
    for key, word in words.items():
        if key.startswith("q"):
            lengths[key] = units.parse(word, "length")
            # One times itself until the end, so that products of lengths are seen.
            places[key] = Coordinate(0.0, ((key, 1.0),))
        elif word in known:
            places[key] = known[word]
        else:
            raise ExpressionError(f"where '{word}' is no dimension; {nearest(word, known)}")
    try:
        value = _value(tree, places, unit)
    except RecursionError:
        raise ExpressionError("which is no expression") from None
    slopes = value.slopes
    constant = value.constant * unit + sum(slopes.pop(key, 0.0) * length for key, length in lengths.items())
    if not all(map(math.isfinite, [constant, *slopes.values()])):
        raise ExpressionError("which is not finite")
    return _coordinate(constant, slopes)


def _value(node: ast.expr, known: Mapping[str, Coordinate], unit: float) -> Coordinate:
    """Return what an expression describes, with its constant part in units of `unit`."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return Coordinate(float(number))
        case ast.Name(id=name):
            return Coordinate(known[name].constant / unit, known[name].factors)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=operand):
            return (-1.0 if isinstance(op, ast.USub) else 1.0) * _value(operand, known, unit)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            one, other = _value(left, known, unit), _value(right, known, unit)
            return one - other if isinstance(op, ast.Sub) else one + other
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            one, other = _value(left, known, unit), _value(right, known, unit)
            if _is_length(left, known) and _is_length(right, known):
                raise ExpressionError("which has a product of two lengths; expected a sum of dimensions and numbers")
            return one.constant * other if other.factors else other.constant * one
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            one, other = _value(left, known, unit), _value(right, known, unit)
            if _is_length(right, known) or other.constant == 0:
                raise ExpressionError("which divides by a length or by 0; expected a sum of dimensions and numbers")
            return 1 / other.constant * one
    raise ExpressionError('which is more than sums of dimensions and numbers; expected such as "gap + 100"')


def _is_length(node: ast.expr, known: Mapping[str, Coordinate]) -> bool:
    """Return whether an expression has a length in it, be it times 0."""
    return any(isinstance(part, ast.Name) and bool(known[part.id].factors) for part in ast.walk(node))
