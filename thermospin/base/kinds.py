"""Arguments of the verbs: where something of another kind is given, such as a file name for a device, words say so."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
from collections.abc import Callable
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
    "Inputs": "ts.read_sources([({file}, [])])",
}
#: What is expected where annotations do not allow a text.
NO_TEXT = {
    "int": "a whole number",
    "float": "a number, in SI units",
    "Sequence[str]": "a list: [{text!r}]",
    "Sequence[Row]": "a list of rows, as ts.load_data({text!r}, device) returns",
}


def checked(verb: Callable[P, T], name: str) -> Callable[P, T]:
    """Return a verb that refuses arguments of another kind than its annotations say, as far as users confuse them.

    These are what other verbs make (`MADE_BY`), and texts in place of numbers and of lists of names.

    Args:
      verb: a function.
      name: what users call it.
    Raises:
      InputError: when called; says what was found, and what is expected.
    """
    signature = inspect.signature(verb)
    annotations = {key: each.annotation for key, each in signature.parameters.items()}
    allowed = {key: kinds for key, annotation in annotations.items() if (kinds := _kinds(annotation))}
    no_text = {
        key: expected
        for key, annotation in annotations.items()
        if (expected := NO_TEXT.get(str(annotation).removesuffix(" | None")))
    }
    if not allowed and not no_text:
        return verb

    @functools.wraps(verb)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:  # which the call itself raises in Python's words
            given = {}
        for argument, kinds in allowed.items():
            for value in _each(given.get(argument)):
                _require(value, kinds, f"{name}: {argument}")
        for argument, expected in no_text.items():
            if isinstance(text := given.get(argument), str):
                raise InputError(f"{name}: {argument}: got the text {text!r}, expected {expected.format(text=text)}")
        return verb(*args, **kwargs)

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


def _kinds(annotation: Any) -> list[str]:
    """Return the kinds that an annotation allows; none where it allows other types as well."""
    names = re.findall(r"\w+", annotation) if isinstance(annotation, str) else ["?"]
    kinds = [name for name in dict.fromkeys(names) if name not in ("Sequence", "None")]
    return kinds if all(name in MADE_BY for name in kinds) else []


def _each(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _require(value: Any, kinds: list[str], what: str) -> None:
    # By name: the classes lie above, and importing them all would import JAX.
    if {cls.__name__ for cls in type(value).__mro__}.isdisjoint(kinds):
        name, is_text = type(value).__name__, isinstance(value, str)
        found, file = (f"{value!r}, a {name}", repr(value)) if is_text else (f"a {name}", "file")
        made = [MADE_BY[kind].format(file=file) for kind in kinds]
        raise InputError(f"{what}: got {found}, expected {' or '.join(kinds)}, as {' or '.join(made)} returns")
