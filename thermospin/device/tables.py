"""Tables of TOML files, checked by pydantic models: quantities with units, and all faults of a file together.

A faulty table is read as far as possible, and a misspelt key is read as the most similar valid one. So entries that do
not depend on the fault are checked too; what is wrong with a value under a key that is but a guess is not told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Annotated, Any, TypeVar, get_args, get_origin

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo

from thermospin.base import units
from thermospin.base.errors import InputError
from thermospin.base.names import closest, listed, nearest
from thermospin.device.temperature import Table, is_table
from thermospin.geometry.dimensions import Coordinate, ExpressionError, names_in, parse

_NO_LENGTH_UNIT = 'a length without a unit, and the file has no length_unit; set length_unit = "nm", or write "5 nm"'


def quantity(kind: str) -> BeforeValidator:
    """Return a validator that converts a number, or a string with a unit, to a float in SI units."""

    def check(value: Any, info: ValidationInfo) -> float:
        return _parse(value, kind, info)

    return BeforeValidator(check)


def sourced(kind: str) -> BeforeValidator:
    """Return a validator that accepts a value alone, a table of it over the bath, or either one with its source.

    It makes {"value": at the bath of the file, "source": text}, with a "table" where there is one.
    """

    def check(value: Any, info: ValidationInfo) -> dict[str, Any]:
        if not isinstance(value, Mapping) or is_table(value):
            return {"source": "device file"} | _at_bath(value, kind, info)
        allowed = ("value", "source", "kind")
        for key in value:
            if key not in allowed:
                raise InputError(f"unknown key '{key}'; {nearest(key, allowed)}")
        if "value" not in value:
            raise InputError("value is missing")
        texts = {key: str(text) for key, text in value.items() if key != "value"}
        return {"source": "device file"} | texts | _at_bath(value["value"], kind, info)

    return BeforeValidator(check)


def _at_bath(value: Any, kind: str, info: ValidationInfo) -> dict[str, Any]:
    """Return the value at the bath of the file, and its table if it has one."""
    if not is_table(value):
        return {"value": _parse(value, kind, info)}
    context = info.context or {}
    if kind == "length" and context.get("length_unit") is None and not all(isinstance(v, str) for v in value.values()):
        raise InputError(_NO_LENGTH_UNIT)
    table = Table.read(value, kind, length_unit=context.get("length_unit") or "m")
    bath = context.get("bath")
    return {"value": table.values[0] if bath is None else table.at(bath), "table": table}


def _parse(value: Any, kind: str, info: ValidationInfo) -> float:
    unit = (info.context or {}).get("length_unit")
    if kind == "length" and unit is None and not isinstance(value, str):
        raise InputError(_NO_LENGTH_UNIT)
    return units.parse(value, kind, length_unit=unit or "m")


class Part(BaseModel):
    """A table of a TOML file, in which unknown keys are faults."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def no_flag(expected: str) -> BeforeValidator:
    """Return a validator that refuses true and false in place of a number: Python counts them as 1 and 0."""

    def check(value: Any) -> Any:
        if isinstance(value, bool):
            raise InputError(f"got {str(value).lower()}, expected {expected}")
        return value

    return BeforeValidator(check)


Length = Annotated[float, quantity("length")]
#: Plain numbers.
Number = Annotated[float, no_flag("a number")]
Integer = Annotated[int, no_flag("a number")]
Sourced = dict[str, Any] | None


def _coordinate(value: Any, info: ValidationInfo) -> Coordinate:
    """Return a length, or an expression with the dimensions of the file."""
    known, unit = ((info.context or {}).get(key) for key in ("dimensions", "length_unit"))
    if isinstance(value, str) and names_in(value):
        if unit is None:
            raise InputError(_NO_LENGTH_UNIT)
        try:
            return parse(value, known or {}, units.scale(unit, "length"))
        except (ExpressionError, units.UnitError) as why:
            raise InputError(f'got "{value}", {why}') from None
    return Coordinate(_parse(value, "length", info))


Place = Annotated[Coordinate, BeforeValidator(_coordinate)]


PartT = TypeVar("PartT", bound=Part)

#: Expected values, by type of pydantic error, where pydantic's own messages would not help.
_EXPECTED = {
    "string_type": "a string",
    "dict_type": "a table",
    "model_type": "a table, such as { x = [0, 100], y = [0, 50], z = [0, 15] }",
    "list_type": "a list",
    "tuple_type": "a list of two",
    "too_long": "a list of two",
    "literal_error": "",
}

#: As similar as this, from 0 to 1, a key is a misspelt one, and no guess.
MISSPELT = 0.85
#: What names of the literature are here, which no similar spelling tells: AR is RA, or Valet and Fert's r_b*.
_ALIASES = {"AR": ("RA", "RA, or AR_star = RA/(1 - gamma^2)")}


class Reader:
    """A reader of the parts of a file, which collects their faults."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.length_unit: str | None = None
        #: Temperature at which values are read [K]; None where the file has no valid one.
        self.bath: float | None = None
        self.dimensions: dict[str, Coordinate] = {}
        self.length_unit_missed = False
        self._guessed: list[tuple[str, str]] = []

    def read(self, model: type[PartT], raw: dict[str, Any], label: str) -> tuple[PartT | None, dict[str, Any]]:
        """Read a part; return it, or None if it is faulty, and its raw table with misspelt keys corrected."""
        part, errors = self._validate(model, raw)
        if errors is None:
            return part, raw
        repaired = dict(raw)
        excused = set()
        for error in errors.errors():
            if error["type"] == "extra_forbidden":
                key, allowed = str(error["loc"][-1]), _keys(model, error["loc"][:-1])
                close, hint = closest(key, allowed), nearest(key, allowed)
                if _ALIASES.get(key, ("",))[0] in allowed:
                    close, meaning = _ALIASES[key]
                    hint = f"did you mean {meaning}? {listed(allowed)}"
                self.faults.append(f"{_join(label, error['loc'][:-1])}: unknown key '{key}'; {hint}")
                excused.add((*error["loc"][:-1], close))
                if len(error["loc"]) == 1:
                    value = repaired.pop(key)
                    if close is not None and close not in repaired:
                        repaired[close] = value
                        if closest(key, [close], MISSPELT) is None:
                            self._guessed.append((label, close))
        for error in errors.errors():
            if error["type"] == "extra_forbidden" or (error["type"] == "missing" and error["loc"] in excused):
                continue
            fault = _explain(error)
            if fault == _NO_LENGTH_UNIT:
                if self.length_unit_missed:
                    continue  # one such message per file is enough
                self.length_unit_missed = True
            path = (
                error["loc"][:-1] if error["type"] == "missing" and isinstance(error["loc"][-1], int) else error["loc"]
            )
            self.faults.append(f"{_join(label, path)}: {fault}")
        return self._validate(model, repaired)[0], repaired

    def sound(self, model: type[Part], raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return those entries of a faulty table that are valid by themselves."""
        errors = self._validate(model, raw)[1]
        wrong = set() if errors is None else {error["loc"][0] for error in errors.errors() if error["loc"]}
        return {key: value for key, value in raw.items() if key not in wrong}

    def told(self, faults: Iterable[str]) -> list[str]:
        """Return each fault once, without those of keys that are not in the file but guessed for misspelt ones."""
        places = [rf"{re.escape(label)}( \([^)]*\))?{', ' * bool(label)}{key}[:.\[]" for label, key in self._guessed]
        return [fault for fault in dict.fromkeys(faults) if not any(re.match(place, fault) for place in places)]

    def silent(self) -> Reader:
        """Return a reader of the same file whose faults are not reported."""
        other = Reader()
        other.length_unit = self.length_unit
        other.bath = self.bath
        other.dimensions = self.dimensions
        return other

    def _validate(self, model: type[PartT], raw: Mapping[str, Any]) -> tuple[PartT | None, ValidationError | None]:
        try:
            context = {"length_unit": self.length_unit, "dimensions": self.dimensions, "bath": self.bath}
            return model.model_validate(dict(raw), context=context), None
        except ValidationError as error:
            return None, error


def _keys(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Return the keys that a table may have; the path to it has numbers where it is in a list."""
    for key in path:
        if isinstance(key, int):
            continue
        inner = _models(model.model_fields[key].annotation) if key in model.model_fields else []
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the models in an annotation, such as that of a table, of one that may be absent, or of a list of them."""
    if get_origin(annotation) is None:
        return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []
    return [model for part in get_args(annotation) for model in _models(part)]


def _join(label: str, path: Iterable[int | str]) -> str:
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return ", ".join(part for part in (label, text) if part) or "file"


def _explain(error: Any) -> str:
    kind, got = error["type"], error["input"]
    if kind == "missing":
        if isinstance(got, list | tuple):
            return f"got {list(got)!r}, expected a list of two"
        return "missing"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    shown = repr(got) if len(repr(got)) <= 60 else repr(got)[:57] + "..."
    expected = _EXPECTED.get(kind) or error.get("ctx", {}).get("expected")
    return f"got {shown}, expected {expected}" if expected else f"got {shown}; {error['msg'].lower()}"


def plain(value: Any) -> Any:
    """Return what TOML would have given: dictionaries, lists, text and plain numbers, all of them new."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, PurePath) else value


def table_of(value: Any) -> dict[str, Any]:
    """Return a table of a file, empty where there is something else."""
    return value if isinstance(value, dict) else {}
