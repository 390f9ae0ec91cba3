"""Conversion of quantities as people write them ("5 nm", "-3.8 uV/K") to floats in SI units.

No other module reads unit strings. Pint converts them. Importing it and reading its definitions takes more than half a
second, so this is delayed until the first string with a unit.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
import re
from collections.abc import Sequence
from typing import Any

from thermospin.base.errors import InputError
from thermospin.base.text import plain


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of quantity: its name, its SI unit, and an example of how to write it."""

    label: str
    unit: str
    example: str


KINDS = {
    "length": Kind("a length", "m", "5 nm"),
    "temperature": Kind("a temperature", "K", "300 K"),
    "conductivity": Kind("an electrical conductivity", "S/m", "4.32e6 S/m"),
    "seebeck": Kind("a Seebeck coefficient", "V/K", "-3.8 uV/K"),
    "thermal_conductivity": Kind("a heat conductivity", "W/(m K)", "30 W/(m K)"),
    "heat_conductance": Kind("a heat conductance per area", "W/(m^2 K)", "1 GW/(m^2 K)"),
    "resistance_area": Kind("a resistance times area", "ohm m^2", "1 fohm m^2"),
    "power": Kind("a power", "W", "1 mW"),
    "resistance": Kind("a resistance", "ohm", "90 uohm"),
    "number": Kind("a plain number", "", "0.25"),
    "field": Kind("a magnetic field", "T", "20 mT"),
    "current": Kind("a current", "A", "0.5 mA"),
    "current_density": Kind("a current density", "A/m^2", "8e11 A/m^2"),
    "voltage": Kind("a voltage", "V", "20 nV"),
}

#: Units in which voltages at a current are printed: for an SI unit, practical ones from large to small, with their size
#: in it.
_OF_A_CURRENT = {
    "V/A": (("ohm", 1.0), ("mohm", 1e-3), ("uohm", 1e-6), ("nohm", 1e-9)),
    "V/A^2": (("uV/mA^2", 1.0), ("nV/mA^2", 1e-3), ("pV/mA^2", 1e-6)),
    "V/A^3": (("V/A^3", 1.0),),
    "V/A^4": (("V/A^4", 1.0),),
}
#: Those of other responses are made of these drives, with their size in SI, and probes with these prefixes.
_DRIVES = {"A": ("mA", 1e-3), "K": ("K", 1.0), "W": ("mW", 1e-3)}
_PREFIXES = {"": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}
#: A response R_n: the unit of the probe over that of the drive to the power n.
_RESPONSE = re.compile(r"([VKAW])/([AKW])(?:\^([1-9]))?")

_NUMBER = re.compile(
    r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]?(?:nan|inf|infinity)\b)\s*(.*?)\s*", re.IGNORECASE | re.DOTALL
)
_BARE_POWER = re.compile(r"(?<=[^\W\d_])([+-]?\d)(?![\d.])")
_POWER = re.compile(r"(?:\^|\*\*)\s*(?:[+-]?\d{1,2}|\([+-]?\d{1,2}\))(?![\d.])")


class UnitError(InputError):
    """A value that is not a quantity of the expected kind."""


def parse(value: Any, kind: str, *, length_unit: str = "m", key: str = "") -> float:
    """Return the value in SI units.

    Args:
      value: a number (a length is then in `length_unit`, anything else in SI units), or a string with its own unit.
      kind: one of `KINDS`.
      length_unit: unit of lengths that are given as bare numbers.
      key: name of the entry that has the value; the message starts with it.
    Returns:
      a finite float. Converted values are rounded to 12 significant digits, so that "0.1 um" and "100 nm" give the same
      face and not two faces 1e-23 m apart.
    Raises:
      UnitError: another kind of value; the message says what was found and what was expected, with an example.
    """
    try:
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            return _from_number(value, kind, length_unit)
        if isinstance(value, str):
            return _from_string(value, KINDS[kind])
        raise UnitError("which is neither a number nor a string")
    except UnitError as why:
        expected = f'expected {KINDS[kind].label}, such as "{KINDS[kind].example}"'
        raise UnitError(f"{key + ': ' if key else ''}got {_shown(value)}, {why}; {expected}") from None


def parse_together(texts: Sequence[str], kind: str, *, length_unit: str | None = None) -> list[float]:
    """Return quantities that share one unit in SI units, such as the ends of "1 .. 20 nm".

    If no number has a unit, lengths are in `length_unit`, if that is given; 0 needs no unit.

    Raises:
      UnitError: as `parse`; or a number needs a unit, has none, and the others do not give exactly one.
    """
    texts = [plain(text) for text in texts]
    parts = [match.groups() if (match := _NUMBER.fullmatch(text)) else (text, "") for text in texts]
    known = list(dict.fromkeys(unit for _, unit in parts if unit)) or [length_unit if kind == "length" else ""]
    values = []
    for text, (number, unit) in zip(texts, parts, strict=True):
        if unit or len(known) > 1 or not known[0]:
            bare_zero = not unit and re.fullmatch(r"[+-]?[0.]*0[0.]*", number)
            values.append(0.0 if bare_zero else parse(text, kind))
        else:
            values.append(parse(f"{number} {known[0]}", kind))
    return values


def scale(unit: Any, kind: str, *, key: str = "") -> float:
    """Return the size in SI units of a unit such as "nm", which must be a unit of that kind."""
    try:
        if not isinstance(unit, str):
            raise UnitError("which is not a string")
        return _from_string(f"1 {unit}", KINDS[kind])
    except UnitError as why:
        example = KINDS[kind].example.partition(" ")[2]
        expected = f'expected the unit of {KINDS[kind].label}, such as "{example}"'
        raise UnitError(f"{key + ': ' if key else ''}got {_shown(unit)}, {why}; {expected}") from None


def response_scale(unit: str, wanted: str, what: str) -> float:
    """Return the size in SI units of the unit of a response, such as "nV/mA^2".

    Args:
      unit: to be read.
      wanted: SI unit of the response, see `device.parts.Experiment.unit`. Where probe and drive have the same one, such
        as in "A/A", both have to be named: a plain number or percent could be a part of anything.
      what: name of the response, for messages.
    Raises:
      UnitError: another unit; the message says what the response is in.
    """
    try:
        match = _RESPONSE.fullmatch(wanted)
        if match and match[1] == match[2] and not match[3]:
            return _ratio(unit, match[1])
        return _from_string(f"1 {unit}", Kind(what, wanted, ""))
    except UnitError as why:
        known = _printed_in(wanted)
        expected = f'expected the unit of {what}, {wanted}, such as "{known[min(2, len(known) // 2)][0]}"'
        raise UnitError(f"got {_shown(unit)}, {why}; {expected}") from None


def _ratio(unit: str, of: str) -> float:
    """Return the size of the ratio of two units of one kind, such as "uA/mA"."""
    kind = next(kind for kind in KINDS.values() if kind.unit == of)
    parts = unit.split("/")
    if len(parts) != 2:
        raise UnitError(f"which is no ratio of two units of {of}")
    over, under = (_from_string(f"1 {part.strip()}", kind) for part in parts)
    return over / under


def tidy(number: float) -> float:
    """Return a number rounded to 12 significant digits, which removes the round-off of a conversion."""
    return float(f"{number:.12g}")


def prefixed(unit: str) -> tuple[tuple[str, float], ...]:
    """Return the SI unit of a response with prefixes, from large to small, with their sizes in it; other units alone.

    "uK/mW" and so on of "K/W", "uohm" and so on of "V/A".
    """
    match = _RESPONSE.fullmatch(unit)
    if match is None:
        return ((unit, 1.0),)
    probe, drive, power = match[1], match[2], int(match[3] or 1)
    if unit == "V/A":
        return tuple((f"{prefix}ohm", part) for prefix, part in _PREFIXES.items())
    # "uA/A" is read as a part, "uA/mA" is not.
    name, size = (drive, 1.0) if probe == drive and power == 1 else _DRIVES[drive]
    under = name if power == 1 else f"{name}^{power}"
    return tuple((f"{prefix}{probe}/{under}", tidy(part / size**power)) for prefix, part in _PREFIXES.items())


def _printed_in(unit: str) -> tuple[tuple[str, float], ...]:
    """Return units to print a response in, from large to small, with their size in its SI unit."""
    return _OF_A_CURRENT.get(unit) or prefixed(unit)


def readable_unit(value: float, unit: str) -> tuple[str, float]:
    """Return the unit in which to print a signal of this size, and the size of that unit in the SI unit."""
    units = _printed_in(unit)
    return next((unit for unit in units if abs(value) >= unit[1]), units[-1] if value else units[0])


def readable(value: float | None, unit: str, *errors: float) -> str:
    """Return a signal as text in a practical unit, such as "-15.6 +- 1 nV/mA^2"; "" for None."""
    if value is None:
        return ""
    name, size = readable_unit(value, unit)
    margins = "".join(f" +- {abs(error) / size:.2g}" for error in errors)
    return f"{value / size:.5g}{margins} {name}"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _from_number(value: Any, kind: str, length_unit: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UnitError("which is not a finite number")
    if kind == "length" and length_unit != "m":
        return tidy(number * scale(length_unit, "length"))
    return number


def _from_string(text: str, kind: Kind) -> float:
    match = _NUMBER.fullmatch(plain(text))
    if match is None:
        raise UnitError("which does not start with a number")
    number, unit = float(match[1]), match[2]
    if not math.isfinite(number):
        raise UnitError("which is not a finite number")
    wanted = kind.unit
    if not unit:
        if wanted:
            raise UnitError("which has no unit")
        return number
    import pint

    known = _unit(unit)
    try:
        result = float(_registry().Quantity(number, known).to(_unit(wanted) if wanted else "").magnitude)
    except pint.DimensionalityError:
        raise UnitError(_dimension(unit)) from None
    except (pint.PintError, ArithmeticError):
        raise UnitError(f'whose unit "{unit}" cannot be converted') from None
    if not math.isfinite(result):
        raise UnitError("which is not a finite number")
    return tidy(result)


@functools.cache
def _registry() -> Any:
    import pint

    return pint.UnitRegistry()


@functools.lru_cache(maxsize=1000)
def _unit(text: str) -> Any:
    # As instruments and spreadsheets write: "Ohm", and "nV/mA2" or "W m-1 K-1" without a sign for the power.
    spelled = _BARE_POWER.sub(r"^\1", re.sub("Ohm|OHM", "ohm", text))
    # Pint evaluates arithmetic in a unit and would hang on nested powers: allow numbers as exponents or in "1/" only.
    rest = re.sub(r"^1\s*/", "", _POWER.sub("\0", spelled))
    if len(spelled) <= 60 and not re.search(r"\d|\*\*|\^|\0\s*\0|\)\s*\0", rest):
        try:
            return _registry().parse_units(spelled)
        except Exception:  # pint also raises AssertionError, TypeError, tokenize errors and more
            pass
    lower = text.lower()
    hint = f' (did you mean "{lower}"?)' if lower != text and _is_unit(lower) else ""
    raise UnitError(f'whose unit "{text}" is not known{hint}')


def _is_unit(text: str) -> bool:
    try:
        _unit(text)
    except UnitError:
        return False
    return True


def _dimension(unit: str) -> str:
    known = _unit(unit)
    for kind in KINDS.values():
        if known.dimensionality == (_unit(kind.unit).dimensionality if kind.unit else {}):
            return f"which is {kind.label}"
    hint = ' ("mK" is a millikelvin, "m K" a metre kelvin)' if "mK" in unit else ""
    return f'which has the dimension of "{unit}"{hint}'
