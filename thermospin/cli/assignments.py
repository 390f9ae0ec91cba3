"""Text such as "Py.P = 0.25 +- 0.02" of a command line: priors, bounds and ties of parameters, to SI values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from thermospin.base import units
from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.device.device import OF, LooseFace, Tie
from thermospin.quantities import MATERIAL, QUANTITIES, key_of, kind_of


def priors(texts: Iterable[str]) -> dict[str, tuple[float, float]]:
    """{name: (mean, std)} of texts "NAME = MEAN +- STD".

    Raises:
      ValueError: every text that is none, one line each.
    """
    return _pairs("--prior", texts, r"\+-|\+/-|±", "MEAN +- STD", "Py.P = 0.25 +- 0.02")


def bounds(texts: Iterable[str]) -> dict[str, tuple[float, float]]:
    """{name: (lower, upper)} of texts "NAME = LOWER .. UPPER"; either end may be left out.

    Raises:
      ValueError: every text that is none, one line each.
    """
    return _pairs("--bounds", texts, r"\.\.+", "LOWER .. UPPER", "Py.lambda_sf = 1 nm .. 20 nm", (-math.inf, math.inf))


def ties(texts: Iterable[str]) -> list[Tie]:
    """Parse texts "NAME = FACTOR * OTHER" or "NAME = OTHER".

    Raises:
      ValueError: every text that is none, one line each.
    """
    out, faults = [], []
    for text in texts:
        name, equals, rest = (part.strip() for part in text.partition("="))
        factor, times, source = (part.strip() for part in rest.rpartition("*"))
        try:
            if not (name and equals and source):
                raise InputError("which is none")
            out.append(Tie(name, source, units.parse(factor, "number") if times else 1.0))
        except ValueError as why:
            faults.append(f'--tie: got "{text}", {why}; expected NAME = FACTOR * OTHER, such as "Cu.S = 0.5 * Au.S"')
    if faults:
        raise InputError("\n".join(faults))
    return out


def dimensions(texts: Iterable[str]) -> list[LooseFace]:
    """Parse texts "AXIS = COORDINATE +- STD" or "DEVICE:AXIS = COORDINATE +- STD".

    Raises:
      ValueError: every text that is none, one line each.
    """
    out, faults = [], []
    for text in texts:
        name, equals, rest = (part.strip() for part in text.partition("="))
        device, _, axis = name.rpartition(OF)
        sides = re.split(r"\+-|\+/-|±", rest)
        try:
            if not (equals and axis in ("x", "y", "z") and len(sides) == 2):
                raise InputError("which is none")
            at, std = (_value(side.strip(), "length") for side in sides)
            if not std > 0:
                raise InputError("whose std is not above 0")
            out.append(LooseFace("xyz".index(axis), at, std, device))
        except ValueError as why:
            faults.append(f'--dimension: got "{text}", {why}; expected AXIS = FACE +- STD, such as "z = 15 nm +- 1 nm"')
    if faults:
        raise InputError("\n".join(faults))
    return out


def _value(text: str, kind: str) -> float:
    """Read a number with a unit, or a bare number in SI units."""
    try:
        return units.parse(float(text), kind)
    except units.UnitError:
        raise
    except ValueError:
        return units.parse(text, kind)


def _pairs(
    option: str,
    texts: Iterable[str],
    between: str,
    form: str,
    example: str,
    open_ends: tuple[float, float] | None = None,
) -> dict[str, tuple[float, float]]:
    out: dict[str, tuple[float, float]] = {}
    faults = []
    for text in texts:
        name, equals, rest = (part.strip() for part in text.partition("="))
        sides = [side.strip() for side in re.split(between, rest)]
        try:
            if not (name and equals and len(sides) == 2):
                raise InputError("which is none")
            key = key_of(name)
            kind = kind_of(name)
            if key not in QUANTITIES:
                raise InputError(f"whose name ends in '{key}'; {nearest(key, [*MATERIAL, 'zeta'])}")
            if name in out:
                raise InputError(f"the second one of {name}")
            ends = open_ends or (math.nan, math.nan)
            first, second = (
                end if open_ends and not side else _value(side, kind) for side, end in zip(sides, ends, strict=True)
            )
            out[name] = first, second
        except ValueError as why:
            faults.append(f'{option}: got "{text}", {why}; expected NAME = {form}, such as "{example}"')
    if faults:
        raise InputError("\n".join(faults))
    return out
