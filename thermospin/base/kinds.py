"""Arguments of the verbs: where something of another kind is given, such as a file name for a device, words say so."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import operator
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from thermospin.base.errors import InputError

P = ParamSpec("P")
T = TypeVar("T")

#: Kinds of arguments that are made by another verb, and how.
MADE_BY = {
    "Device": "ts.load({file})",
    "Model": "ts.build(device)",
    "FitResult": "ts.fit(device, rows, free)",
    "Signals": "ts.measure(model)",
    "Emulator": "ts.emulate(result)",
    "Inputs": "ts.read_sources([({file}, ['rows.csv'])])",
    "FitOptions": "ts.FitOptions(starts=3)",
    "GridOptions": "ts.GridOptions(cells=3000)",
    "GridChoice": "ts.GridChoice(cells=3000)",
    "Extras": "ts.Extras(profile=True)",
}
#: What is expected where annotations do not allow a text.
NO_TEXT = {
    "int": "a whole number",
    "float": "a number, in SI units",
    "Sequence[str]": "a list: [{text!r}]",
    "Sequence[Row]": "a list of rows, as ts.load_data({text!r}, device) returns",
}
#: Lists of what, and what is said of something else.
ROWS = "a list of rows: [ts.Row('thermal', 'R2.spin', -1e-3, 1e-5)], or those that ts.load_data(file, device) returns"
SETS = "a list of sets of values by name: [{'zeta': 1.0}, {'zeta': 2.0}]; a table has them as table.to_dict('records')"
LISTS = {
    "Sequence[str]": ("str", "a list of texts"),
    "Sequence[Row]": ("Row", f"{ROWS}; of a table: [ts.Row(**row) for row in table.to_dict('records')]"),
    "Sequence[Mapping[str, float | str]]": ("Mapping", SETS),
}
#: Values by name.
MAPPINGS = ("Parameters", "Mapping[str, float]")
#: Files and folders, and devices with theirs.
PATHS = ("str | Path", "str | Path | Mapping[str, Any]")
PATH = "a path, as a text or a pathlib.Path"
SOURCES = "Sequence[tuple[str | Path, Sequence[str | Path]]]"
PAIRS = "a list of pairs, a device file and a list of its data: [('valve.toml', ['rows.csv'])]"


def checked(verb: Callable[P, T], name: str) -> Callable[P, T]:
    """Return a verb that refuses arguments of another kind than its annotations say, as far as users confuse them.

    These are what other verbs make (`MADE_BY`), texts in place of numbers, other numbers in place of whole ones,
    containers of other things, such as tables in place of rows or of values by name, what is no path, and None where it
    is not allowed.

    Args:
      verb: a function.
      name: what users call it.
    Raises:
      InputError: when called; says what was found, and what is expected.
    """
    signature = inspect.signature(verb)
    annotations = {key: each.annotation for key, each in signature.parameters.items()}
    allowed = {key: kinds for key, annotation in annotations.items() if (kinds := _kinds(annotation))}
    plain = {key: str(annotation).removesuffix(" | None") for key, annotation in annotations.items()}
    known = {*NO_TEXT, *LISTS, *MAPPINGS, *PATHS, SOURCES}
    plain = {key: annotation for key, annotation in plain.items() if annotation in known}
    optional = {key for key, annotation in annotations.items() if str(annotation).endswith(" | None")}
    if not allowed and not plain:
        return verb

    @functools.wraps(verb)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:  # which the call itself raises in Python's words
            return verb(*args, **kwargs)
        given = bound.arguments
        for argument, value in given.items():
            if value is None and argument in optional:
                continue
            for each in _each(value) if argument in allowed else ():
                _require(each, allowed[argument], f"{name}: {argument}")
            if argument in plain:
                given[argument] = _plain(value, plain[argument], f"{name}: {argument}")
        return verb(*bound.args, **bound.kwargs)

    call.__module__, call.__qualname__ = "thermospin", name  # where pickle looks for it
    return call


def as_number(convert: Callable[[Any], T], what: str, value: Any, unit: str, more: str = "") -> T:
    """Return a number as `convert` makes it of a value; refuse texts, which may have a unit, and arrays.

    Args:
      convert: makes the number; its TypeError or ValueError says that there is none.
      what: the value, for the message.
      value: to be converted.
      unit: that it is in; "" for none.
      more: what the message says of arrays besides.
    Raises:
      InputError: it is no number.
    """
    shape = (len(value),) if isinstance(value, list | tuple) else getattr(value, "shape", ())
    if shape == () and not isinstance(value, str):
        with contextlib.suppress(TypeError, ValueError):
            return convert(value)
    found, more = (f"an array of shape {shape}", more) if shape else (f"{value!r}", "")
    raise InputError(f"{what}: got {found}, expected a number{' in ' * bool(unit) + unit}{more}")


def as_mapping(what: str, value: Any) -> dict[str, Any]:
    """Return values by name as a dictionary: of a mapping, a pandas Series, or None, which has none.

    Args:
      what: the values, for the message.
      value: to be converted.
    Raises:
      InputError: it is something else, such as a table.
    """
    if value is None:
        return {}
    if isinstance(value, Mapping) or (hasattr(value, "keys") and getattr(value, "ndim", 0) == 1):
        return dict(value)
    table = "; a table has sets of them, for ts.ensemble(model, table.to_dict('records'))" * hasattr(value, "columns")
    raise InputError(f"{what}: got {_found(value)}, expected values by name, such as {{'zeta': 1.0}}{table}")


def require_whole(what: str, value: Any, least: int, most: int | None = None) -> int:
    """Return a whole number, which may be one of numpy, as an int.

    Args:
      what: the number, for the message.
      value: to be converted.
      least, most: its range, both included; None: no largest one.
    Raises:
      InputError: it is no whole number, or out of range.
    """
    number = _whole(value)
    if number is not None and least <= number and (most is None or number <= most):
        return number
    found = repr(value) if isinstance(value, str) else value
    span = f"of at least {least}" if most is None else f"from {least} to {most}"
    raise InputError(f"{what}: got {found}, expected a whole number {span}")


def require_finite(what: str, value: Any, unit: str) -> float:
    """Return a finite number.

    Raises:
      InputError: it is no number, or none that is finite.
    """
    number = as_number(float, what, value, unit)
    if not math.isfinite(number):
        raise InputError(f"{what}: got {number:g}, expected a finite number{' in ' * bool(unit) + unit}")
    return number


def require_path(what: str, value: Any, expected: str = PATH) -> Path:
    """Return a path, which may be a text; what is expected is for the message.

    Raises:
      InputError: it is something else.
    """
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"{what}: got {_found(value)}, expected {expected}")
    return Path(value)


def _whole(value: Any) -> int | None:
    """Return a whole number as an int, None of anything else."""
    with contextlib.suppress(TypeError):
        return None if isinstance(value, bool) else operator.index(value)
    return None


def _found(value: Any) -> str:
    """Say what was found."""
    if value is None:
        return "None"
    name = type(value).__name__
    shape = getattr(value, "shape", None) if name in ("ndarray", "ArrayImpl") else None
    text = f"the text {value!r}" if isinstance(value, str) else f"an {name}" if name[0] in "aeiou" else f"a {name}"
    return text if shape is None else f"an array of shape {shape}"


def _plain(value: Any, annotation: str, what: str) -> Any:
    """Return a number, a list, a mapping or a path as an annotation that `checked` knows says; refuse others."""
    if annotation == SOURCES:
        _require_pairs(value, what)
    of_tables = "Mapping" in annotation and annotation in PATHS
    if annotation in PATHS and not (of_tables and isinstance(value, Mapping)):
        require_path(what, value, f"{PATH}, or the tables of a device" if of_tables else PATH)
    if (isinstance(value, str) and annotation in NO_TEXT) or (value is None and annotation == "float"):
        raise InputError(f"{what}: got {_found(value)}, expected {NO_TEXT[annotation].format(text=value)}")
    if annotation == "int":
        if (number := _whole(value)) is None:
            raise InputError(f"{what}: got {value}, expected {NO_TEXT['int']}")
        return number
    if annotation in MAPPINGS and not isinstance(value, Mapping):
        return as_mapping(what, value)
    if annotation in LISTS:
        _require_list(value, *LISTS[annotation], what)
    return value


def _require_list(value: Any, kind: str, expected: str, what: str) -> None:
    """Refuse what is no list of texts, rows or mappings; a generator is looked at by the verb alone."""
    if not isinstance(value, Iterable) or isinstance(value, str) or hasattr(value, "columns"):
        raise InputError(f"{what}: got {_found(value)}, expected {expected}")
    if isinstance(value, Iterator) or (kind == "Mapping" and isinstance(value, Mapping)):
        return
    for number, each in enumerate(value, 1):
        right = isinstance(each, Mapping) if kind == "Mapping" else kind in {cls.__name__ for cls in type(each).__mro__}
        if not right:
            raise InputError(f"{what}: got {_found(each)} at place {number}, expected {expected}")


def _require_pairs(value: Any, what: str) -> None:
    """Refuse what is no list of pairs of a path and a list of paths."""
    if not isinstance(value, list | tuple):
        raise InputError(f"{what}: got {_found(value)}, expected {PAIRS}")
    for number, pair in enumerate(value, 1):
        if not (isinstance(pair, list | tuple) and len(pair) == 2):
            raise InputError(f"{what}: got {_found(pair)} at place {number}, expected {PAIRS}")
        device, data = pair
        files = data if isinstance(data, list | tuple) else [None]
        if wrong := [part for part in (device, *files) if not isinstance(part, str | os.PathLike)]:
            found = _found(data if files is not data else wrong[0])
            raise InputError(f"{what}: got {found} in the pair at place {number}, expected {PAIRS}")


def _kinds(annotation: Any) -> list[str]:
    """Return the kinds that an annotation allows; none where it allows other types as well."""
    names = re.findall(r"\w+", annotation) if isinstance(annotation, str) else ["?"]
    kinds = [name for name in dict.fromkeys(names) if name not in ("Sequence", "None")]
    return kinds if all(name in MADE_BY for name in kinds) else []


def _each(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _require(value: Any, kinds: list[str], what: str) -> None:
    # By name: the classes lie above, and importing them all would import JAX.
    if {cls.__name__ for cls in type(value).__mro__}.isdisjoint(kinds):
        found, file = (f"{value!r}, a str", repr(value)) if isinstance(value, str) else (_found(value), "file")
        made = [MADE_BY[kind].format(file=file) for kind in kinds]
        raise InputError(f"{what}: got {found}, expected {' or '.join(kinds)}, as {' or '.join(made)} returns")
