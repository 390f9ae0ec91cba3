"""Arguments of another kind than a verb takes: refused in words that name the verb, what was given, what makes it."""

from __future__ import annotations

import re
from typing import Any

import pytest

import thermospin as ts
from thermospin.base.errors import InputError

DEVICE = ts.load("slachter2010")


@pytest.mark.parametrize(
    ("verb", "given", "words"),
    [
        (
            "build",
            ("mine.toml",),
            "build: device: got 'mine.toml', a str, expected Device, as ts.load('mine.toml') ret",
        ),
        (
            "compute",
            ("mine.toml",),
            "compute: device: got 'mine.toml', a str, expected Device, as ts.load('mine.toml')",
        ),
        ("adapt", (3,), "adapt: device: got a int, expected Device, as ts.load(file) returns"),
        ("predict", (DEVICE,), "predict: model: got a Device, expected Model, as ts.build(device) returns"),
        ("self_check", (DEVICE,), "self_check: model: got a Device, expected Model, as ts.build(device) returns"),
        ("ensemble", (DEVICE, [], []), "ensemble: model: got a Device, expected Model"),
        (
            "sample",
            (DEVICE,),
            "sample: result: got a Device, expected FitResult, as ts.fit(device, rows, free) returns",
        ),
        (
            "fit",
            ([DEVICE, "b.toml"], []),
            "fit: device: got 'b.toml', a str, expected Device or Model, as ts.load('b.t",
        ),
        ("at_bath", (DEVICE, "77 K"), "at_bath: bath: got the text '77 K', expected a number, in SI units"),
        ("fit", (DEVICE, [], "zeta"), "fit: free: got the text 'zeta', expected a list: ['zeta']"),
        (
            "fit",
            (DEVICE, "rows.csv", ["zeta"]),
            "fit: rows: got the text 'rows.csv', expected a list of rows, as ts.load_data('rows.csv', device) returns",
        ),
        ("load_data", ("rows.csv", "mine.toml"), "load_data: device: got 'mine.toml', a str, expected Device"),
    ],
)
def test_another_kind_is_refused(verb: str, given: tuple[Any, ...], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        getattr(ts, verb)(*given)


@pytest.mark.parametrize("verb", ["adapt", "build"])
def test_a_text_is_no_whole_number(verb: str) -> None:
    with pytest.raises(InputError, match=f"{verb}: cells: got the text '300', expected a whole number"):
        getattr(ts, verb)(DEVICE, cells="300")


def test_what_is_missing_is_said_by_python() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'signals'"):
        ts.assess("mine.toml")  # type: ignore[call-arg, arg-type]


def test_every_verb_that_takes_a_device_is_checked() -> None:
    """But those that read it from a file of their own, or take what looks like one."""
    taken = [name for name in ts.__all__ if name.islower() and hasattr(getattr(ts, name), "__wrapped__")]
    assert set(taken) >= {
        "adapt",
        "assess",
        "at_bath",
        "budget",
        "build",
        "check",
        "compute",
        "current_density",
        "design",
    }
    assert set(taken) >= {
        "ensemble",
        "evaluate",
        "fields",
        "fit",
        "free_form",
        "load_data",
        "maps",
        "measure",
        "predict",
    }
    assert set(taken) >= {"profile", "sample", "self_check", "sensitivity", "study", "view"}
