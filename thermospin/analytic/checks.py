"""What the closed forms take: numbers within the model, by the names of their arguments."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, ParamSpec, TypeVar

import numpy as np

from thermospin.base.errors import InputError
from thermospin.quantities import INTERFACE, MATERIAL, QUANTITIES, Quantity

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def _above_0(unit: str = "") -> Quantity:
    return Quantity("x", "number", allows=lambda value: value > 0, expected=f"x > 0 {unit}".rstrip())


def _at_least_0(unit: str) -> Quantity:
    return Quantity("x", "number", allows=lambda value: value >= 0, expected=f"x >= 0 {unit}")


#: The quantity of each name of an argument; of a name that is not here any finite number is allowed.
_ROWS = {
    name: row
    for names, row in (
        ("P P_1 P_2", MATERIAL["P"]),
        ("sigma", MATERIAL["sigma"]),
        ("kappa kappas kappa_A kappa_B kappa_open", MATERIAL["kappa"]),
        ("lambda_sf lambda_F lambda_N", MATERIAL["lambda_sf"]),
        ("gamma", INTERFACE["gamma"]),
        ("K", INTERFACE["K"]),
        ("delta", INTERFACE["delta"]),
        ("h", QUANTITIES["h"]),
        ("zeta", QUANTITIES["zeta"]),
        ("length length_F lengths L_A L_B d thickness decay", _above_0("m")),
        ("L", _at_least_0("m")),
        ("area", _above_0("m^2")),
        # spin resistances, times area or not
        ("R R_F R_N R_1 R_2", _above_0()),
        ("R_contact RA", _at_least_0("ohm m^2")),
        ("G_up G_down", _above_0("S/m^2")),
        ("T0", _at_least_0("K")),
        ("TMR", Quantity("TMR", "number", allows=lambda value: value > -1, expected="TMR > -1")),
    )
    for name in names.split()
}

#: The values of a metal.
METAL = ("sigma", "P", "S", "S_s", "kappa", "lambda_sf")
#: What an argument of each annotation may be, and the words for it.
_KINDS = {
    "float": (("number",), "a number"),
    "Num": (("number", "array"), "a number or an array"),
    "Num | Sequence[float]": (("number", "array", "list"), "numbers"),
    "Sequence[Num]": (("array", "list"), "a list of numbers"),
}


def _numbers(value: Any) -> np.ndarray | None:
    """Return the numbers of a value; None where JAX traces it, so that there are none yet."""
    try:
        return np.asarray(value)
    except TypeError:
        return None
    except ValueError:  # lists of unequal lengths are no numbers
        return np.asarray(None)


def _kind_fault(name: str, value: Any, annotation: str) -> str | None:
    """Describe a number, an array or a list in the place of another of these."""
    is_list, shape = isinstance(value, list | tuple), getattr(value, "shape", ())
    allowed, expected = _KINDS[annotation]
    if ("list" if is_list else "array" if shape else "number") in allowed:
        return None
    found = f"a {type(value).__name__}" if is_list else f"an array of shape {shape}" if shape else repr(value)
    return f"{name}: got {found}, expected {expected}"


def _fault(name: str, value: Any, annotation: str, infinite: bool, divides: bool) -> str | None:
    """Describe what is wrong with a number, or with those of an array or a list."""
    kind_fault = _kind_fault(name, value, annotation)
    if kind_fault is not None:
        return kind_fault
    if annotation == "Sequence[Num]":
        found = (_fault(name, each, "Num", infinite, divides) for each in value)
        return next((fault for fault in found if fault is not None), None)
    numbers = _numbers(value)
    if numbers is None:
        return None
    if numbers.dtype.kind not in "fiu":
        return f"{name}: got {value!r}, expected a number"
    row = _ROWS.get(name, Quantity(name, "number"))
    row = dataclasses.replace(row, symbol=name, expected=row.expected.replace(row.symbol, name))
    # What a row allows is an interval, and NaN is both the least and the largest of its array.
    for number in map(float, (numbers.min(), numbers.max()) if numbers.size else ()):
        if infinite and number == math.inf:
            continue
        fault = row.fault(number)
        if fault is not None:
            return f"{fault} and finite" if math.isinf(number) and row.expected else fault
    if divides and np.any(numbers == 0):
        return f"{name}: got 0, expected another {name}: the formula divides by it"
    return None


def _faults(
    values: Mapping[str, Any],
    annotations: Mapping[str, str],
    infinite: Collection[str] = (),
    divisors: Collection[str] = (),
) -> list[str]:
    """Return the faults of numbers by name, one line each.

    Args:
      values: numbers, arrays or lists; what JAX traces passes.
      annotations: which of these each name may be; that of a name that is not here is "float".
      infinite: names that may be infinite.
      divisors: names that may not be 0, whatever else is allowed.
    """
    found = (
        _fault(name, value, annotations.get(name, "float"), name in infinite, name in divisors)
        for name, value in values.items()
    )
    return [fault for fault in found if fault is not None]


def require(where: str, values: Mapping[str, Any], infinite: Collection[str] = (), lists: Collection[str] = ()) -> None:
    """Refuse numbers outside the model.

    Args:
      where: what they were given to.
      values: numbers by name.
      infinite: names that may be infinite.
      lists: names that may be arrays or lists of numbers.
    """
    found = _faults(values, dict.fromkeys(lists, "Num | Sequence[float]"), infinite)
    if found:
        raise InputError([f"{where}: {fault}" for fault in found])


def require_attributes(where: str, item: Any, names: Collection[str], expected: str) -> None:
    """Refuse an object without attributes of these names; `expected` is an object that has them."""
    missing = [name for name in names if not hasattr(item, name)]
    if missing:
        raise InputError(f"{where}: got {item!r}, which has no {', '.join(missing)}, expected {expected}")


def require_within(where: str, x: Any, length: Any) -> None:
    """Refuse coordinates x outside [0, length] but for rounding; what JAX traces passes."""
    at, end = _numbers(x), _numbers(length)
    if at is None or end is None:
        return
    outside = (at < -1e-9 * end) | (at > end * (1 + 1e-9))
    if np.any(outside):
        at, end = (each[outside][0] for each in np.broadcast_arrays(at, end))
        raise InputError(f"{where}: x: got {at:g}, expected 0 <= x <= {end:g} m")


def heat_fault(name: str, value: Any, without_current: Any) -> str | None:
    """Describe a heat conductance that is not above 0 without current: heat could flow from cold to hot by itself.

    Args:
      name, value: kappa or K at zero gradient or jump of V.
      without_current: the same where neither channel carries current; what JAX traces passes.
    """
    opened = _numbers(without_current)
    if opened is None or np.all(opened > 0):
        return None
    return (
        f"{name}: got {np.min(value):.4g}, and {opened.min():.4g} without current in either channel, expected both "
        f"above 0; lower |S| or |S_s|, or raise {name}"
    )


def within_model(*divisors: str) -> Callable[[Callable[Arguments, Answer]], Callable[Arguments, Answer]]:
    """Return a decorator of a formula that refuses numbers outside the model by the names of its arguments.

    Args:
      divisors: arguments that the formula divides by although the model allows 0.
    """

    def decorate(formula: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
        signature = inspect.signature(formula)
        # A text is an option and an object is a metal: the formula looks at them.
        annotations = {
            name: each.annotation
            for name, each in signature.parameters.items()
            if each.annotation not in ("str", "Any")
        }

        @functools.wraps(formula)
        def checked(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
            try:
                given = signature.bind(*args, **kwargs).arguments
            except TypeError:
                return formula(*args, **kwargs)  # which says in its own name what is wrong
            numbers = {name: given[name] for name in annotations if name in given}
            found = _faults(numbers, annotations, divisors=divisors)
            if found:
                raise InputError([f"{formula.__name__}: {fault}" for fault in found])
            return formula(*args, **kwargs)

        return checked

    return decorate
