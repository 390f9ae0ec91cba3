"""Arguments of another kind than a verb takes: refused in words that name the verb, what was given, what makes it."""

from __future__ import annotations

import inspect
import math
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thermospin as ts
from thermospin.base import kinds, names
from thermospin.base.errors import InputError
from thermospin.signals.solving import SolveOptions

DEVICE = ts.load("slachter2010")
#: Never asked: what is given beside it is refused first.
MODEL = object.__new__(ts.Model)
ROW = ts.Row("thermal", "R2.spin", -1e-3, 1e-5)


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
        ("adapt", (3,), "adapt: device: got an int, expected Device, as ts.load(file) returns"),
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
        ("at_bath", (DEVICE, None), "at_bath: bath: got None, expected a number, in SI units"),
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


@pytest.mark.parametrize(
    ("verb", "given", "words"),
    [
        ("load_data", ({"a": 1}, DEVICE), "load_data: path: got a dict, expected a path, as a text or a pathlib.Path"),
        ("load_data", (None, DEVICE), "load_data: path: got None, expected a path"),
        ("load_signals", (3,), "load_signals: path: got an int, expected a path"),
        ("load_fit", (np.ones(2),), "load_fit: path: got an array of shape (2,), expected a path"),
        (
            "load",
            (3,),
            "load: path: got an int, expected a path, as a text or a pathlib.Path, or the tables of a device",
        ),
        ("read_sources", ([("a", ["b"])], None), "read_sources: values: got None, expected a list of texts"),
        ("keep_programs", (3,), "keep_programs: folder: got an int, expected a path"),
        ("maps", (MODEL, "nonlocal", None), "maps: folder: got None, expected a path"),
        ("fit", (DEVICE, [ROW], ["zeta"], None, 3), "fit: journal: got an int, expected a path"),
        ("write_view", (3, None), "write_view: path: got an int, expected a path"),
        ("build", (None,), "build: device: got None, expected Device, as ts.load(file) returns"),
        ("fit", (DEVICE, None, ["zeta"]), "fit: rows: got None, expected a list of rows"),
        ("read_sources", ("valve.toml",), "read_sources: sources: got the text 'valve.toml', expected a list of pairs"),
        ("read_sources", (["valve.toml"],), "got the text 'valve.toml' at place 1, expected a list of pairs, a device"),
        ("read_sources", ([("valve", "pap.csv")],), "sources: got the text 'pap.csv' in the pair at place 1, expected"),
        ("read_sources", ([("valve", [3])],), "sources: got an int in the pair at place 1, expected a list of pairs"),
        ("read_sources", ([(DEVICE, ["a.csv"])],), "sources: got a Device in the pair at place 1, expected a list of"),
        ("read_sources", ([("valve", [])],), "'valve': got no data, expected at least one file"),
        ("read_sources", ([],), "sources: got none, expected at least one device with its data"),
    ],
)
def test_what_is_no_path_is_refused(verb: str, given: tuple[Any, ...], words: str) -> None:
    named = {"journal": given[4]} if len(given) > 4 else {}
    with pytest.raises(InputError, match=re.escape(words)):
        getattr(ts, verb)(*given[:4], **named)


def test_every_verb_that_takes_a_path_refuses_another_thing() -> None:
    found = set()
    for name in filter(str.islower, ts.__all__):
        parameters = inspect.signature(getattr(ts, name)).parameters
        for argument in (key for key, each in parameters.items() if "Path" in str(each.annotation)):
            given = {key: _any(each) for key, each in parameters.items() if each.default is inspect.Parameter.empty}
            with pytest.raises(
                InputError, match=f"{name}: {argument}: got an? int.*, expected a .*path|a list of pairs"
            ):
                getattr(ts, name)(**given | {argument: 3})
            found.add(name)
    assert found >= {"design", "fit", "load", "load_data", "load_fit", "load_signals", "maps", "read_sources", "sample"}


def _any(parameter: inspect.Parameter) -> Any:
    """Return an argument of the kind that a verb takes."""
    kind = next((kind for kind in kinds.MADE_BY if kind in str(parameter.annotation)), None)
    if kind is not None:
        return object.__new__(getattr(ts, kind))
    return {"s": "text", "S": []}.get(str(parameter.annotation)[0], MODEL)


def test_results_are_saved_to_paths_alone() -> None:
    """In a process of its own, where types are not checked besides."""
    code = "import thermospin as ts\nts.Signals('bar', 1, 2, 3, {}, (), (), 0.0, {}).save(3)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.endswith("InputError: path: got an int, expected a path, as a text or a pathlib.Path\n")


def test_paths_of_data_may_be_of_pathlib(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("experiment,signal,value,std,unit\nthermal,R2.spin,-1e-3,1e-5,V/A^2\n")
    (row,) = ts.read_sources([("slachter2010", [path])]).rows
    assert row == ROW


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("11.2", "thermal R2.spin: value: got '11.2', expected a number"),
        (None, "thermal R2.spin: value: got None, expected a number"),
        (np.ones(2), "thermal R2.spin: value: got an array of shape (2,), expected a number"),
        (math.nan, "thermal R2.spin: got nan with std 1e-05, expected a finite value and a finite std above 0"),
    ],
)
def test_rows_without_a_number_are_named(value: Any, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        ts.fit(DEVICE, [ts.Row("thermal", "R2.spin", value, 1e-5)], ["zeta"])
    if not isinstance(value, float):
        with pytest.raises(InputError, match=re.escape(words.replace("value", "std"))):
            ts.fit(DEVICE, [ts.Row("thermal", "R2.spin", 1e-3, value)], ["zeta"])


def test_a_missing_number_of_a_table_is_told() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(InputError, match="thermal R2.spin: value: got <NA>, expected a number"):
        ts.fit(DEVICE, [ts.Row("thermal", "R2.spin", pandas.NA, 1e-5)], ["zeta"])
    with pytest.raises(InputError, match="load_data: path: got a DataFrame, expected a path"):
        ts.load_data(pandas.DataFrame({"value": [1.0]}), DEVICE)


def test_verbs_go_to_other_processes() -> None:
    assert pickle.loads(pickle.dumps(ts.load)) is ts.load and pickle.loads(pickle.dumps(ts.fit)) is ts.fit


@pytest.mark.parametrize("wrong", [1.5, 0, "3", True])
def test_options_of_a_fit_want_whole_numbers(wrong: Any) -> None:
    with pytest.raises(InputError, match="starts: got .*, expected a whole number of at least 1"):
        ts.FitOptions(starts=wrong)
    assert type(ts.FitOptions(starts=np.int64(3)).starts) is int  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [1.5, 0, "3", True])
@pytest.mark.parametrize("name", ["cells", "order", "shards"])
def test_options_of_a_grid_want_whole_numbers(name: str, wrong: Any) -> None:
    options = object.__new__(ts.GridOptions)  # past the checker of annotations, which only tests have
    vars(options).update({"cells": None, "order": 3, "shards": 1, name: wrong})
    with pytest.raises(InputError, match=f"{name}: got .*, expected a whole number (of at least 1|from 1 to 3)"):
        options.__post_init__()
    vars(options).update({"cells": None, "order": np.int64(2), "shards": 1})
    options.__post_init__()
    assert type(options.order) is int and options == ts.GridOptions(order=2)
    with pytest.raises(InputError, match=f"^{name}: got 0, expected a whole number"):
        ts.GridChoice(**{name: 0})


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


@pytest.mark.parametrize(
    ("verb", "given", "words"),
    [
        ("fit", (DEVICE, ROW, ["zeta"]), "fit: rows: got a Row, expected a list of rows"),
        ("fit", (DEVICE, [ROW, {}], ["zeta"]), "fit: rows: got a dict at place 2, expected a list of rows"),
        ("fit", (DEVICE, np.ones(3), ["zeta"]), "fit: rows: got a float64 at place 1, expected a list of rows"),
        ("fit", (DEVICE, [ROW], [1]), "fit: free: got an int at place 1, expected a list of texts"),
        ("fit", (DEVICE, [ROW], ["zeta"], {}), "fit: options: got a dict, expected FitOptions, as ts.FitOptions(star"),
        ("ensemble", (MODEL, "sets.csv"), "ensemble: sets: got the text 'sets.csv', expected a list of sets"),
        ("measure", (MODEL, [0.3]), "measure: parameters: got a list, expected values by name, such as {'zeta': 1.0}"),
        ("predict", (MODEL, np.ones(13)), "predict: parameters: got an array of shape (13,), expected values by name"),
        ("predict", (MODEL, "zeta=1"), "predict: parameters: got the text 'zeta=1', expected values by name"),
    ],
)
def test_other_containers_are_refused_with_what_to_give(verb: str, given: tuple[Any, ...], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        getattr(ts, verb)(*given)


@pytest.mark.parametrize(
    ("verb", "given", "words"),
    [
        ("fit", (DEVICE, ["zeta"]), "fit: rows: got a DataFrame, expected a list of rows: [ts.Row('thermal', "),
        ("fit", (DEVICE, ["zeta"]), "of a table: [ts.Row(**row) for row in table.to_dict('records')]"),
        ("study", (DEVICE,), "study: rows: got a DataFrame, expected a list of rows"),
        ("ensemble", (MODEL,), "sets: got a DataFrame, expected a list of sets of values by name: [{'zeta': 1.0}, "),
        ("ensemble", (MODEL,), "a table has them as table.to_dict('records')"),
        ("measure", (MODEL,), "a table has sets of them, for ts.ensemble(model, table.to_dict('records'))"),
        ("predict", (MODEL,), "predict: parameters: got a DataFrame, expected values by name, such as {'zeta': 1.0}"),
    ],
)
def test_tables_are_refused_with_what_to_make_of_them(verb: str, given: tuple[Any, ...], words: str) -> None:
    pandas = pytest.importorskip("pandas")
    first, *rest = given
    with pytest.raises(InputError, match=re.escape(words)):
        getattr(ts, verb)(first, pandas.DataFrame({"zeta": [1.0, 2.0]}), *rest)


def test_a_series_is_values_by_name_and_no_set_of_an_ensemble() -> None:
    pandas = pytest.importorskip("pandas")
    series = pandas.Series({"zeta": 1.0})
    assert kinds.as_mapping("parameters", series) == {"zeta": 1.0}
    with pytest.raises(InputError, match="ensemble: sets: got a Series at place 1, expected a list of sets"):
        ts.ensemble(MODEL, [series])


def test_what_is_no_mapping_has_no_values_by_name() -> None:
    assert kinds.as_mapping("parameters", None) == {}
    for wrong in ([("zeta", 1.0)], 3.0, np.ones(2)):
        with pytest.raises(InputError, match="parameters: got an? .*, expected values by name"):
            kinds.as_mapping("parameters", wrong)


def test_whole_numbers_are_those_of_numpy_too() -> None:
    for given in (3, np.int64(3), np.uint8(3), np.array(3)):
        found = kinds.require_whole("steps", given, 1, 3)
        assert found == 3 and type(found) is int
    for wrong in (0, 4, 2.0, True, np.nan, "2", None):
        with pytest.raises(InputError, match=r"steps: got .*, expected a whole number from 1 to 3"):
            kinds.require_whole("steps", wrong, 1, 3)


@pytest.mark.parametrize(("verb", "wrong"), [("build", 2.0), ("adapt", 12.5), ("build", True)])
def test_another_number_is_no_whole_one(verb: str, wrong: float) -> None:
    with pytest.raises(InputError, match=f"{verb}: order: got {wrong}, expected a whole number"):
        getattr(ts, verb)(DEVICE, order=wrong)


def test_the_bath_is_no_parameter_and_another_name_gets_a_hint() -> None:
    known = ["F.sigma", "F.S_s", "F.lambda_sf", "a.h", "zeta"]
    assert "ts.at_bath(device, 77.0)" in names.no_parameter("bath", known)
    assert names.no_parameter("F.Ss", known).startswith("parameter 'F.Ss' does not exist; did you mean 'F.S_s'?")


@pytest.mark.parametrize("wrong", [0, -1])
def test_solves_take_a_step_at_least(wrong: int) -> None:
    with pytest.raises(InputError, match=f"max_steps: got {wrong}, expected a whole number of at least 1"):
        SolveOptions(max_steps=wrong)
