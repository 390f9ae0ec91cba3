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


def _numbers(value: Any) -> np.ndarray | None:
    """Return the numbers of a value; None where JAX traces it, so that there are none yet."""
    try:
        return np.asarray(value)
    except TypeError:
        return None


def _fault(name: str, value: Any, infinite: bool, divides: bool) -> str | None:
    """Describe what is wrong with a number, or with those of an array."""
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


def faults(values: Mapping[str, Any], infinite: Collection[str] = (), divisors: Collection[str] = ()) -> list[str]:
    """Return the faults of numbers by name, one line each.

    Args:
      values: numbers or arrays; what JAX traces passes.
      infinite: names that may be infinite.
      divisors: names that may not be 0, whatever else is allowed.
    """
    found = (_fault(name, value, name in infinite, name in divisors) for name, value in values.items())
    return [fault for fault in found if fault is not None]


def require(where: str, values: Mapping[str, Any], infinite: Collection[str] = ()) -> None:
    """Refuse numbers outside the model, see `faults`; `where` is what they were given to."""
    found = faults(values, infinite)
    if found:
        raise InputError([f"{where}: {fault}" for fault in found])


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
        numbers = [name for name, each in signature.parameters.items() if each.annotation not in ("str", "Any")]

        @functools.wraps(formula)
        def checked(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
            try:
                given = signature.bind(*args, **kwargs).arguments
            except TypeError:
                return formula(*args, **kwargs)  # which says in its own name what is wrong
            found = faults({name: given[name] for name in numbers if name in given}, divisors=divisors)
            if found:
                raise InputError([f"{formula.__name__}: {fault}" for fault in found])
            return formula(*args, **kwargs)

        return checked

    return decorate
