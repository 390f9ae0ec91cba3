"""Text such as "Py.P = 0.25 +- 0.02" of a command line: priors, bounds and ties of parameters, to SI values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable

from thermospin.base import units
from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.device.device import OF, LooseFace, Proportion, Tie
from thermospin.quantities import MATERIAL, QUANTITIES, key_of, kind_of


def priors(texts: Iterable[str], length_unit: str | None = None) -> dict[str, tuple[float, float]]:
    """{name: (mean, std)} of texts "NAME = MEAN +- STD"; the std may be percent of the mean.

    Units are as in `units.parse_together`.

    Raises:
      ValueError: every text that is none, one line each.
    """

    def pair(rest: str, kind: str) -> tuple[float, float]:
        mean, std = _mean_and_std(rest, kind, length_unit)
        if not std > 0:
            raise InputError("whose std is not above 0")
        return mean, std

    return _assigned("--prior", texts, pair, 'NAME = MEAN +- STD, such as "Py.P = 0.25 +- 0.02"')


def bounds(texts: Iterable[str], length_unit: str | None = None) -> dict[str, tuple[float, float]]:
    """{name: (lower, upper)} of texts "NAME = LOWER .. UPPER"; either end may be left out.

    Units are as in `units.parse_together`.

    Raises:
      ValueError: every text that is none, one line each.
    """

    def pair(rest: str, kind: str) -> tuple[float, float]:
        ends = _two(rest, r"\.\.+")
        given = iter(units.parse_together([end for end in ends if end], kind, length_unit=length_unit))
        lower, upper = (next(given) if end else math.inf for end in ends)
        return (lower if ends[0] else -math.inf), upper

    return _assigned("--bounds", texts, pair, 'NAME = LOWER .. UPPER, such as "Py.lambda_sf = 1 nm .. 20 nm"')


def ties(texts: Iterable[str]) -> list[Tie | Proportion]:
    """Parse texts "NAME = FACTOR * OTHER" or "NAME = OTHER", and "NAME ~ OTHER * ANOTHER^POWER".

    Raises:
      ValueError: every text that is none, one line each.
    """
    out: list[Tie | Proportion] = []
    faults = []
    for text in texts:
        try:
            out.append(_proportion(text) if "~" in text else _tie(text))
        except ValueError as why:
            faults.append(
                f'--tie: got "{text}", {why}; expected NAME = FACTOR * OTHER, such as "Cu.S = 0.5 * Au.S", or '
                'NAME ~ OTHER, such as "Py.lambda_sf ~ Py.sigma"'
            )
    if faults:
        raise InputError("\n".join(faults))
    return out


def _tie(text: str) -> Tie:
    name, equals, rest = _assignment(text)
    factor, times, source = (part.strip() for part in rest.rpartition("*"))
    if not (name and equals and source):
        raise InputError("which is none")
    return Tie(name, source, units.parse(factor, "number") if times else 1.0)


def _proportion(text: str) -> Proportion:
    name, rest = _two(text, "~")
    powers: dict[str, float] = {}
    for part in rest.split("*"):
        source, raised, power = (piece.strip() for piece in part.partition("^"))
        if not (name and source) or (raised and not power):
            raise InputError("which is none")
        powers[source] = powers.get(source, 0.0) + (units.parse(power, "number") if raised else 1.0)
    return Proportion(name, powers)


def dimensions(texts: Iterable[str], length_unit: str | None = None) -> list[LooseFace]:
    """Parse texts "AXIS = COORDINATE +- STD" or "DEVICE:AXIS = COORDINATE +- STD"; units as in `units.parse_together`.

    Raises:
      ValueError: every text that is none, one line each.
    """
    out, faults = [], []
    for text in texts:
        name, equals, rest = _assignment(text)
        device, _, axis = name.rpartition(OF)
        try:
            if not (equals and axis in ("x", "y", "z")):
                raise InputError("which is none")
            at, std = _mean_and_std(rest, "length", length_unit)
            if not std > 0:
                raise InputError("whose std is not above 0")
            out.append(LooseFace("xyz".index(axis), at, std, device))
        except ValueError as why:
            faults.append(f'--dimension: got "{text}", {why}; expected AXIS = FACE +- STD, such as "z = 15 nm +- 1 nm"')
    if faults:
        raise InputError("\n".join(faults))
    return out


def _assignment(text: str) -> tuple[str, str, str]:
    """Return name, "=" and what follows; "" for what is not there."""
    # Devices of a series are called "valve gap=50nm": where one is named, the assignment is beyond the ":" after it.
    # A ":" after the last "=" belongs to what a tie follows.
    name_begins = text.rfind(OF, 0, text.rfind("=") + 1) + 1
    rest_of_name, equals, rest = text[name_begins:].partition("=")
    return (text[:name_begins] + rest_of_name).strip(), equals, rest.strip()


def _two(text: str, between: str) -> list[str]:
    sides = [side.strip() for side in re.split(between, text)]
    if len(sides) != 2:
        raise InputError("which is none")
    return sides


def _mean_and_std(text: str, kind: str, length_unit: str | None) -> tuple[float, float]:
    """Read "MEAN +- STD", the std a quantity like the mean, or percent of a mean that is not in percent itself."""
    mean, std = _two(text, r"\+-|\+/-|±")
    if std.endswith("%") and not mean.endswith("%"):
        (value,) = units.parse_together([mean], kind, length_unit=length_unit)
        return value, abs(value) * units.parse(std, "number")
    first, second = units.parse_together([mean, std], kind, length_unit=length_unit)
    return first, second


def _assigned(
    option: str, texts: Iterable[str], read: Callable[[str, str], tuple[float, float]], form: str
) -> dict[str, tuple[float, float]]:
    """Read texts "NAME = ..." by a reader of what follows and the kind of the quantity."""
    out: dict[str, tuple[float, float]] = {}
    faults = []
    for text in texts:
        name, equals, rest = _assignment(text)
        try:
            if not (name and equals):
                raise InputError("which is none")
            key = key_of(name)
            if key not in QUANTITIES:
                raise InputError(f"whose name ends in '{key}'; {nearest(key, [*MATERIAL, 'zeta'])}")
            if name in out:
                raise InputError(f"the second one of {name}")
            out[name] = read(rest, kind_of(name))
        except ValueError as why:
            faults.append(f'{option}: got "{text}", {why}; expected {form}')
    if faults:
        raise InputError("\n".join(faults))
    return out
