"""The public validation set: its files say what they should, its formulas are right, and thermospin passes it."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from helpers import stacks
from thermospin.device.device import Device
from thermospin.device.reader import load

FOLDER = Path(__file__).parents[1] / "validation"
KEYS = {
    "name": str, "device": str, "experiment": str, "signal": str, "over": dict, "expected": float, "unit": str,
    "uncertainty": float, "tolerance": float, "kind": str, "source": str, "neglects": str, "quick": bool, "cells": int,
}  # fmt: skip
OPTIONAL = {"over", "cells"}
KINDS = {"closed form", "independent finite elements", "published benchmark"}


def script(name: str) -> ModuleType:
    """A script of the folder as a module."""
    spec = importlib.util.spec_from_file_location(f"validation_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


expected, run = script("expected"), script("run")
CASES = run.read_cases()
DEVICES = sorted({case["device"] for case in CASES})
OWN = [name for name in DEVICES if not name.startswith("..")]


def test_there_are_many_cases_of_each_kind_with_names_of_their_own() -> None:
    assert len(CASES) >= 40
    assert max(Counter(case["name"] for case in CASES).values()) == 1
    assert {case["kind"] for case in CASES} == KINDS
    assert 25 <= sum(case["quick"] for case in CASES) <= len(CASES) / 2
    assert {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.toml")} == set(OWN)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_an_entry_is_complete_and_its_signal_exists(case: dict) -> None:
    assert set(KEYS) - OPTIONAL <= set(case) <= set(KEYS)
    for key, value in case.items():
        kind = KEYS[key]
        assert isinstance(value, kind) or (kind is float and isinstance(value, int)), (key, value)
    assert case["kind"] in KINDS
    assert case["expected"] != 0
    assert case["uncertainty"] >= 0
    assert 0 <= case["tolerance"] <= 0.01
    # what is left out has its number in words
    assert bool(re.search(r"\d", case["neglects"])) or case["tolerance"] == 0
    if case["kind"] != "closed form":
        assert case["uncertainty"] > 0
    device, units = load(FOLDER / case["device"]), []
    for of in (case, *([case["over"]] if "over" in case else [])):
        experiment = device.experiments[of["experiment"]]
        harmonic, _, part = of["signal"].partition(".")
        assert harmonic in ("R1", "R2")
        assert part in (*experiment.states, *(("baseline", "spin") if experiment.has_spin_part else ()))
        units.append(experiment.unit(int(harmonic[1])))
    if len(units) == 1:
        assert case["unit"] == units[0]


def test_the_file_has_the_values_of_the_formulas() -> None:
    values = expected.expected()
    assert set(values) == {case["name"] for case in CASES}
    for case in CASES:
        assert case["expected"] == pytest.approx(values[case["name"]], rel=1e-12, abs=0.0), case["name"]
    known = expected.finite_elements()
    for case in CASES:
        if case["kind"] == "independent finite elements":
            assert case["uncertainty"] == known[case["name"]][1]


def is_bar(device: Device) -> bool:
    """Whether the solution depends on x alone, and `helpers.stacks` knows it."""
    sections = {solid.box[1:] for solid in device.solids}
    ends = {contact.name for contact in device.contacts}
    return len(sections) == 1 and ends == {"left", "right"} and not device.heat_sinks


BARS = [name for name in OWN if is_bar(load(FOLDER / name))]


@pytest.mark.parametrize("name", BARS)
def test_formulas_of_bars_are_right_to_their_tolerance(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the exact solution of the layers, derived in another way, which neglects nothing; its rounding: 1e-9."""
    device = load(FOLDER / name)
    (_, width), (_, height) = device.solids[0].box[1:]
    monkeypatch.setattr(stacks, "AREA", width * height)
    exact = stacks.signals(device)

    def value(of: dict) -> float:
        harmonic, _, part = of["signal"].partition(".")
        return exact[of["experiment"]][harmonic][part]

    for case in (case for case in CASES if case["device"] == name):
        there = value(case) / (value(case["over"]) if "over" in case else 1.0)
        assert case["expected"] == pytest.approx(there, rel=case["tolerance"] + 1e-9, abs=0.0), case["name"]


def test_most_formulas_are_held_to_exact_solutions() -> None:
    assert len(BARS) >= 25


# ------------------------------------------------------------------------------------------ the runner


@pytest.mark.parametrize("name", ["charge/series", "second_harmonic/two_legs", "spin/thermal_injection"])
def test_thermospin_passes_quick_cases(name: str) -> None:
    cases = run.chosen(run.read_cases(), True, [name])
    assert cases
    for rows, _ in run.runs(cases):
        for row in rows:
            assert row.covered, row
            assert row.bar < 1e-3 * abs(row.expected), row


@pytest.mark.slow
def test_thermospin_passes_the_quick_half() -> None:
    rows = [row for found, _ in run.runs(run.chosen(run.read_cases(), True, [])) for row in found]
    assert not [row for row in rows if not row.covered]
    assert all(row.bar < 1e-2 * abs(row.expected) for row in rows)


def test_a_case_is_covered_by_bar_uncertainty_and_tolerance_together() -> None:
    row = run.Row("a/b/c", "x R1.P", "V/A", expected=-2.0, allowed=0.03, found=-2.05, bar=0.021)
    assert row.covered and not row._replace(bar=0.019).covered
    assert run.cells_of(row)[-1] == "yes" and run.cells_of(row._replace(bar=0.0))[-1] == "NO"
    assert run.summary([row], 1.0) == "1 of 1 cases are covered, 1 s."
    assert "Not covered: a/b/c" in run.summary([row._replace(bar=0.0)], 1.0)
    table = run.markdown([row], "all").splitlines()
    assert len({line.count("|") for line in table[:3]}) == 1


def test_cases_are_chosen_by_name_group_and_pattern() -> None:
    cases = run.read_cases()
    assert {case["name"].split("/")[0] for case in run.chosen(cases, False, ["charge"])} == {"charge"}
    assert len(run.chosen(cases, False, ["spin/pillar/change"])) == 1
    assert all(case["name"].endswith("/resistance") for case in run.chosen(cases, False, ["*/resistance"]))
    with pytest.raises(ValueError, match="'spin/pilar'; no case"):
        run.chosen(cases, False, ["spin/pilar"])


def test_a_missed_case_ends_with_exit_code_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    row = run.Row("charge/bar/resistance", "ohm R1.P", "V/A", 1.0, 0.0, 1.1, 0.01)
    files = tmp_path / "table.md", tmp_path / "results.json"
    monkeypatch.setattr(run, "runs", lambda cases, progress: iter([([row], 1.0)]))
    monkeypatch.setattr("thermospin.cli.runtime.start_jax", lambda: None)
    names = ["run.py", "--case", "charge/bar", "--markdown", str(files[0]), "--json", str(files[1])]
    monkeypatch.setattr(sys, "argv", names)
    assert run.main() == 1
    assert "0 of 1 cases are covered" in capsys.readouterr().out
    assert "| NO |" in files[0].read_text(encoding="utf-8")
    (result,) = json.loads(files[1].read_text(encoding="utf-8"))["results"]
    assert result["covered"] is False and result["found"] == 1.1
