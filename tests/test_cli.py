"""The command line: exit codes, messages on stderr, files. The heavy verbs are stubs here."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from jax.errors import JaxRuntimeError
from typer.testing import CliRunner

from thermospin import studies
from thermospin.accuracy import computing
from thermospin.base.errors import InputError, NotConverged
from thermospin.cli import app as cli
from thermospin.cli import runtime, stops
from thermospin.cli.options import spread_names
from thermospin.device.reader import load
from thermospin.geometry.grid_rule import choose
from thermospin.inference.posterior import Posterior

GOOD = {
    "device": "slachter2010",
    "cells": 1000,
    "unknowns": 20000,
    "order": 3,
    "experiments": {
        "thermal": {
            "R1": {"P": 1.6e-3, "AP": 1.7e-3, "baseline": 1.65e-3, "spin": -1e-4, "unit": "V/A"},
            "R2": {"P": -7.0, "AP": -6.98, "baseline": -6.99, "spin": -0.0156, "unit": "V/A^2"},
        }
    },
    "errors": {"thermal": {"R2": {"spin": 1.1e-3}}},
    "grid_errors": {"thermal": {"R2": {"spin": 1e-3}}},
    "solver_errors": {"thermal": {"R2": {"spin": 1e-4}}},
    "computed": {"thermal": {"R2": {"spin": -0.0149, "baseline": float("nan")}}},
    "unsafe": {"thermal": {"R2": {"P": "the orders do not settle", "AP": "the orders do not settle"}}},
    "solver": {"iterations": [40, 42], "relative_residual": [1e-10, 3e-10], "converged": True},
    "wall_s": 1.0,
}
FITTED = {"parameters": {"zeta": {"value": 3.2, "std": 0.1, "unit": ""}}, "chi2": 1.0, "converged": True}


class Stub:
    """The heavy verbs: they note that they were called, and return or raise what they are told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.signals: Any = GOOD
        self.fitted: Any = FITTED
        self.met = True

    def build(self, grid: Any, device: Any, progress: Any) -> str:
        self.calls.append(("build", device.name, grid.order))
        progress("building")
        return "model"

    def measure(self, model: str, *, harmonics: int, progress: Any) -> Any:
        self.calls.append(("measure", model, harmonics))
        return types.SimpleNamespace(to_json=lambda: self._give(self.signals))

    def solved_with_errors(self, model: str, *, harmonics: int, progress: Any) -> Any:
        self.calls.append(("solved_with_errors", model, harmonics))
        return types.SimpleNamespace(signals=types.SimpleNamespace(to_json=lambda: self._give(self.signals)))

    def adapt(self, device: Any, *, progress: Any, between: Any = None, **wish: Any) -> Any:
        self.calls.append(("adapt", device.name, {name: value for name, value in wish.items() if value is not None}))
        return types.SimpleNamespace(
            to_json=lambda: self._give(self.signals),
            met=self.met,
            model="adapted",
            signals=types.SimpleNamespace(to_json=lambda: self._give(self.signals)),
            path=["the only one"],
            stopped="",
            missed="",
            rests={},
            words=lambda: ["grid 1: small"],
        )

    def fit(self, devices: Any, rows: Any, free: Any, options: Any, *, grid: Any, progress: Any, **more: Any) -> Any:
        (*names,) = (getattr(device, "name", device) for device in devices)
        self.calls.append(("fit", *names, len(rows), free, grid.order))
        self.rows, self.options, self.more = rows, options, more
        return types.SimpleNamespace(
            to_json=lambda: self._give(self.fitted),
            converged=not isinstance(self.fitted, BaseException) and self.fitted["converged"],
            report=lambda: "[[Fit]] zeta 3.2 +- 0.1",
            parameters={},
            ties=(),
            following=(),
        )

    def run_demo(self, name: str, *, out: Path, cells: Any, order: int, progress: Any) -> str:
        self.calls.append(("demo", name, out, cells, order))
        return "a table"

    @staticmethod
    def _give(value: Any) -> Any:
        if isinstance(value, BaseException):
            raise value
        return value


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    verbs = Stub()
    fake = types.ModuleType("thermospin.cli.demo")
    fake.run_demo = verbs.run_demo  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "thermospin.cli.demo", fake)
    monkeypatch.setattr("thermospin.model.GridOptions.build", lambda grid, *known: verbs.build(grid, *known))
    for name in ("adapt", "measure", "solved_with_errors"):
        monkeypatch.setattr(computing, name, getattr(verbs, name))
    for name in ("adapt", "fit"):
        monkeypatch.setattr(studies, name, getattr(verbs, name))
    monkeypatch.setattr(runtime, "start_jax", lambda: None)
    return verbs


def run(*args: object) -> Any:
    return CliRunner().invoke(cli.app, [str(arg) for arg in args], catch_exceptions=False)


BAD_DEVICE = """
length_unit = "nm"
[[solids]]
name = "F"
materal = "Py"
box = { x = [0, 100], y = [0, 40], z = [0, "15 K"] }
[materials.Cu]
kappa = -1
"""


def test_signals_prints_a_table_and_writes_json(stub: Stub, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    result = run("signals", "slachter2010", "--order", 2, "--harmonics", 4, "--json", out)
    assert result.exit_code == 0, result.output
    written = json.loads(out.read_text(encoding="utf-8"))
    assert written["experiments"] == GOOD["experiments"] and written["errors"] == GOOD["errors"]
    assert written["computed"]["thermal"]["R2"]["baseline"] is None
    assert stub.calls == [("build", "slachter2010", 2), ("solved_with_errors", "model", 4)]
    for text in (
        "1.65 mohm", "-100 uohm", "-6.99 uV/mA^2", "-15.6 +- 1 +- 0.1 nV/mA^2", "best estimate +- grid +- solver",
        "on this grid", "-14.9 nV/mA^2", "at most 42 iterations", "3.0e-10", "order 3",
        "No estimate beyond the grid (the orders do not settle): thermal R2.P, thermal R2.AP",
    ):  # fmt: skip
        assert text in result.stdout, text
    assert list(tmp_path.iterdir()) == [out], "nothing half-written is left"


def test_signals_refine_the_grid_of_the_rule_unless_told_not_to(stub: Stub) -> None:
    result = run("signals", "pillar")
    assert result.exit_code == 0 and "grid 1" not in result.stdout, result.output
    (call,) = stub.calls
    wish = call[2]
    assert call[:2] == ("adapt", "pillar")
    assert wish["first"].order == 3 and wish["first"].cells == choose(load("pillar").features, 3).cells
    assert (wish["tolerance"], wish["rest"], wish["most"]) == (0.02, 0.05, 300_000)
    stub.calls.clear()
    assert run("signals", "pillar", "--no-refine").exit_code == 0
    assert stub.calls == [("build", "pillar", 3), ("solved_with_errors", "model", 2)]


def test_signals_without_error_bars_are_solved_once(stub: Stub) -> None:
    assert run("signals", "slachter2010", "--no-errors").exit_code == 0
    assert stub.calls == [("build", "slachter2010", 3), ("measure", "model", 2)]


@pytest.mark.parametrize(
    ("option", "value", "wish"),
    [
        ("--cells", "500", {"cells": 500}),
        ("--tolerance", "1%", {"tolerance": 0.01}),
        ("--tolerance", "0.2", {"tolerance": 0.2}),
    ],
)
def test_a_budget_or_a_tolerance_has_the_signals_choose_the_grid(
    stub: Stub, option: str, value: str, wish: dict[str, float]
) -> None:
    result = run("signals", "slachter2010", option, value)
    assert result.exit_code == 0, result.output
    assert stub.calls == [("adapt", "slachter2010", {**wish, "order": 3, "harmonics": 2, "shards": 1})]
    assert "grid 1: small" in result.stdout


def test_a_tolerance_that_is_missed_is_exit_code_1_after_the_numbers(stub: Stub) -> None:
    stub.met = False
    result = run("signals", "slachter2010", "--tolerance", "0.1%")
    assert result.exit_code == 1
    assert "-15.6 +- 1" in result.stdout
    assert "the tolerance 0.1% was not reached" in result.stderr


def test_a_fit_takes_several_names_after_free(stub: Stub, tmp_path: Path) -> None:
    out = tmp_path / "fit.json"
    result = run("fit", "slachter2010", "slachter2010", "--free", "Py.S_s", "zeta", "--free", "Py.P", "--json", out)
    assert result.exit_code == 0, result.output
    assert stub.calls == [("fit", "slachter2010", 6, ["Py.S_s", "zeta", "Py.P"], 3)]
    assert "[[Fit]] zeta" in result.stdout
    written = json.loads(out.read_text(encoding="utf-8"))
    # The one value of the shipped device that is assumed goes with it.
    assert {key: value for key, value in written.items() if key != "provenance"} == FITTED
    assert len(written["provenance"]) == 2 and written["provenance"][1].startswith("  Au.lambda_sf = 60 nm: assumed")
    assert spread_names(["--free", "zeta", "dev.toml", "a.csv"], "--free") == [
        "--free",
        "zeta",
        "dev.toml",
        "a.csv",
    ]
    named = ["--free", "valve@far:Py.P", "--free", "valve@far:gap", "valve.toml@far"]
    assert spread_names(["--free", "valve@far:Py.P", "valve@far:gap", "valve.toml@far"], "--free") == named
    of_interfaces = ["--free", "Py.P", "--free", "Py/Cu.RA", "--free", "top.h", "runs/a.csv", "../b.csv"]
    assert spread_names(["--free", "Py.P", "Py/Cu.RA", "top.h", "runs/a.csv", "../b.csv"], "--free") == of_interfaces


def test_a_file_is_a_rival_of_the_device_of_its_name(tmp_path: Path) -> None:
    from thermospin.device.reader import load, text_of

    path, device = tmp_path / "rival.toml", load("slachter2010")
    path.write_text(text_of("slachter2010")[0], encoding="utf-8")
    other = dataclasses.replace(device, name="other")
    assert studies.rival_models([str(path)], [device, other])[str(path)].devices == (device, other)
    with pytest.raises(InputError, match="got device 'slachter2010', expected 'other', in whose place it comes"):
        studies.rival_models([str(path)], [other, device])


def test_a_fit_with_a_tolerance_runs_on_a_grid_for_its_data(stub: Stub) -> None:
    result = run("fit", "slachter2010", "slachter2010", "--free", "zeta", "--tolerance", "5%")
    assert result.exit_code == 0, result.output
    (first, second) = stub.calls
    assert first[:2] == ("adapt", "slachter2010")
    assert first[2]["tolerance"] == 0.05 and ("thermal", "R2.spin") in first[2]["wanted"]
    assert len(first[2]["wanted"]) == 6
    assert second == ("fit", "adapted", 6, ["zeta"], 3)


def test_a_fit_takes_other_devices_priors_bounds_ties_and_a_method(stub: Stub, tmp_path: Path) -> None:
    near = Path(cli.__file__).parent.parent / "device" / "shipped" / "slachter2010.toml"
    far, data = tmp_path / "far.toml", tmp_path / "far.csv"
    far.write_text(near.read_text(encoding="utf-8").replace('"slachter2010"', '"far"', 1), encoding="utf-8")
    data.write_text("experiment,signal,value,std,unit\nthermal,R2.spin,-5,0.5,nV/mA^2\n")
    result = run(
        "fit", "slachter2010", "slachter2010", "--also", f"{far}, {data}", "--free", "far:zeta", "Py.S_s",
        "--prior", "Py.S_s = -3 uV/K +- 1 uV/K", "--bounds", "far:zeta = 0.5 .. 2", "--tie", "zeta = far:zeta",
        "--method", "lbfgs", "--starts", 4, "--rescaled", "--journal", tmp_path / "j.jsonl",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert stub.calls == [("fit", "slachter2010", "far", 7, ["far:zeta", "Py.S_s"], 3)]
    assert [row.device for row in stub.rows] == ["slachter2010"] * 6 + ["far"]
    assert stub.options.priors == {"Py.S_s": (-3e-6, 1e-6)} and stub.options.bounds == {"far:zeta": (0.5, 2.0)}
    (tie,) = stub.options.ties
    assert (tie.name, tie.source, tie.factor) == ("zeta", "far:zeta", 1.0)
    assert (stub.options.method, stub.options.starts, stub.options.rescaled) == ("lbfgs", 4, True)
    assert stub.more["journal"] == tmp_path / "j.jsonl" and stub.more["correlation"] is None


@pytest.mark.parametrize("error", [InputError("posterior: no"), NotConverged("is off"), MemoryError("full")])
def test_a_posterior_that_fails_does_not_take_the_fit_with_it(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(studies, "sample", fails)
    result = run("fit", "slachter2010", "slachter2010", "--free", "zeta", "--posterior", 500)
    assert result.exit_code == 1 and "[[Fit]] zeta 3.2" in result.stdout
    assert result.stderr.strip() == f"There is no posterior: {str(error).removeprefix('posterior: ')}"


@pytest.mark.parametrize(("r_hat", "code"), [(1.001, 0), (1.3, 1)])
def test_chains_that_have_not_converged_are_no_success(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, r_hat: float, code: int
) -> None:
    draws = np.linspace(1.0, 2.0, 8000).reshape(4, 2000, 1)
    chains = Posterior(("zeta",), draws, np.array([r_hat]), np.array([2000.0]), 0, 0.0, None, 8000, 3.0, 1.0)
    monkeypatch.setattr(studies, "sample", lambda *_, **__: chains)
    result = run("fit", "slachter2010", "slachter2010", "--free", "zeta", "--posterior", 500)
    assert result.exit_code == code and "mean" in result.stdout, result.output
    assert result.stderr.strip() == code * "the chains have not converged; their numbers are not to be trusted"


def test_a_series_of_devices_is_one_file_and_one_table(stub: Stub, tmp_path: Path) -> None:
    from thermospin.device.reader import text_of

    device, data = tmp_path / "device.toml", tmp_path / "series.csv"
    device.write_text(f'{text_of("slachter2010")[0]}\n[[variants]]\nname = "far"\nset = {{ spacing = 400 }}\n', "utf-8")
    lines = ["thermal,R2.spin,-15,1,nV/mA^2,", "thermal,R2.spin,-9,1,nV/mA^2,200", "thermal,R2.spin,-7,1,nV/mA^2,300"]
    data.write_text("\n".join(["experiment,signal,value,std,unit,spacing", *lines]), encoding="utf-8")
    result = run("fit", device, data, "--free", "zeta", "slachter2010 spacing=300nm:zeta")
    assert result.exit_code == 0, result.output
    names = ["slachter2010", "slachter2010 spacing=200nm", "slachter2010 spacing=300nm"]
    assert stub.calls.pop() == ("fit", *names, 3, ["zeta", f"{names[2]}:zeta"], 3)
    assert [row.device for row in stub.rows] == names
    result = run("fit", device, "slachter2010", "--also", f"{device}@far,slachter2010-400nm", "--free", "zeta")
    assert result.exit_code == 0, result.output
    assert stub.calls.pop() == ("fit", "slachter2010", "slachter2010@far", 7, ["zeta"], 3)
    shown = run("check", f"{device}@far", "--cells", 9000)
    assert shown.exit_code == 0 and shown.stdout.startswith("slachter2010@far: ")
    assert "variant 'far': spacing = 400 nm" in run("check", device, "--cells", 9000).stdout
    for command in ("signals", "sensitivity", "check"):
        result = run(command, f"{device}@fra")
        assert result.exit_code == 2 and "variant: got 'fra'; did you mean 'far'?" in result.stderr
        result = run(command, f"{device}@far", "--picture" if command != "signals" else "--json", device)
        assert result.exit_code == 2 and "is read by this command" in result.stderr
    assert stub.calls == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--also", "far.toml"], "expected a device and its data"),
        (["--also", "slachter2010,nope.csv"], "nope.csv: no such file"),
        (["--prior", "zeta = 1"], "expected NAME = MEAN +- STD"),
        (["--bounds", "zeta = 1"], "expected NAME = LOWER .. UPPER"),
        (["--tie", "zeta"], "expected NAME = FACTOR * OTHER"),
        (["--journal", "."], "not a regular file"),
        (["--posterior", "3"], "--posterior: got 3, expected at least 4 draws of each chain, such as 1000"),
    ],
)
def test_bad_options_of_a_fit_are_exit_code_2(stub: Stub, options: list[str], words: str) -> None:
    result = run("fit", "slachter2010", "slachter2010", *options)
    assert result.exit_code == 2 and words in result.stderr, result.output
    assert stub.calls == []


def test_check_shows_what_there_is_and_what_it_costs(stub: Stub, tmp_path: Path) -> None:
    result = run("check", "slachter2010", "--cells", 9000)
    assert result.exit_code == 0, result.output
    assert stub.calls == []
    expected = [
        "lambda_sf", "4.32e+06", "contact4_lead", "29250", "P (none), AP (FM2)", "Au.lambda_sf = 60 nm: assumed",
        "A Py (FM1)", "_5_", "cells, ", " unknowns, about ", " MiB", "smallest feature 5 nm", "No faults.",
        "Dimensions", "gap_offset", "-60 to 44",
    ]  # fmt: skip
    for text in expected:
        assert text in result.stdout, text


def test_demo_runs_into_a_folder_it_makes(stub: Stub, tmp_path: Path) -> None:
    result = run("demo", "slachter2010", "--out", tmp_path / "new" / "folder")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "new" / "folder").is_dir()
    assert "a table" in result.stdout


@pytest.mark.parametrize("command", ["check", "signals", "fit"])
def test_a_bad_device_file_is_exit_code_2_with_every_fault_on_stderr(stub: Stub, tmp_path: Path, command: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(BAD_DEVICE, encoding="utf-8")
    result = run(command, path, *(["slachter2010"] if command == "fit" else []))
    assert result.exit_code == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert "solid 'F': unknown key 'materal'; did you mean 'material'?" in lines[0]
    assert "solid 'F', box.z[1]: got \"15 K\", which is a temperature" in lines[1]
    assert "material 'Cu', kappa: got -1" in lines[2]
    assert stub.calls == []


def test_bad_data_files_are_all_told_with_exit_code_2(stub: Stub, tmp_path: Path) -> None:
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("experiment,signal,value,unit\nthermal,R1.P,1,ohm\n", encoding="utf-8")
    two.write_text("experiment,signal,value,std,unit\ncold,R1.P,nan,1,ohm\n", encoding="utf-8")
    result = run("fit", "slachter2010", one, two)
    assert result.exit_code == 2
    for text in ("one.csv: line 1: column std missing", "two.csv: line 2, experiment: got 'cold'", 'value: got "nan"'):
        assert text in result.stderr, text
    assert stub.calls == []


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("signals", "slachter201"), "did you mean 'slachter2010'?"),
        (("check", "nowhere.toml"), "nowhere.toml: no such file"),
        (("demo", "slachter"), "no demo 'slachter'; did you mean 'slachter2010'?"),
        (("fit", "slachter2010", "slachter2010", "--free", "Py.Ss"), "--free: got 'Py.Ss'; did you mean 'Py.S_s'?"),
        (("signals", "slachter2010", "--json", "no/such/folder/x.json"), "cannot be written"),
        (("fit", "slachter2010", "slachter2010", "--json", "."), "not a regular file"),
        (("demo", "slachter2010", "--out", "/dev/null/x"), "cannot be used as a folder for results"),
        (("signals", "slachter2010", "--cells", "0"), "--cells"),
        (("signals", "slachter2010", "--cells", "9000", "--tolerance", "1%"), "--cells and --tolerance: give one"),
        (("signals", "slachter2010", "--tolerance", "1 nm"), "--tolerance: got '1 nm', expected a part of the signals"),
        (("signals", "slachter2010", "--tolerance", "100%"), "--tolerance: got '100%'"),
        (("signals", "slachter2010", "--no-errors", "--cells", "9000"), "--no-errors goes with the grid"),
        (("fit", "slachter2010", "slachter2010", "--tolerance", "-1%"), "--tolerance: got '-1%'"),
        (("signals", "slachter2010", "--cell", "5"), "--cells"),
        (("fit", "slachter2010", "slachter2010", "--json", "a.json", "--journal", "a.json"), "would be written twice"),
        (("fit", "slachter2010", "slachter2010", "--report", "a.html", "--json", "a-numbers.csv"), "written twice"),
        (("signal", "slachter2010"), "signals"),
        (("sensitivity", "slachter2010", "--picture", "a.xyz"), "No pictures of the kind '.xyz' (a.xyz); use .png"),
        (("sweeps", "slachter2010", "slachter2010-sweeps", "--picture", "a.xyz"), "No pictures of the kind '.xyz'"),
        (("check", "slachter2010", "--picture", "a.xyz"), "No pictures of the kind '.xyz'"),
    ],
)
def test_bad_input_is_exit_code_2_before_any_work(stub: Stub, args: tuple[str, ...], text: str) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert stub.calls == []


def test_an_output_that_is_an_input_is_refused_before_any_work(stub: Stub, tmp_path: Path) -> None:
    """Whatever it is called: by the option, or as the name that a result has by itself."""
    from thermospin.data.rows import shipped
    from thermospin.device.reader import text_of

    valve, data = tmp_path / "device.toml", tmp_path / "mine-numbers.csv"
    valve.write_text(text_of("slachter2010")[0], encoding="utf-8")
    data.write_text(shipped("slachter2010")[0], encoding="utf-8")
    before = valve.read_bytes(), data.read_bytes()
    sets = tmp_path / "sets.csv"
    sets.write_text("zeta\n1\n", encoding="utf-8")
    for args in (
        ("fit", valve, data, "--report", tmp_path / "mine.html"),
        ("fit", valve, data, "--json", tmp_path / "." / "device.toml"),
        ("fit", valve, data, "--journal", data),
        ("signals", valve, "--json", valve),
        ("sensitivity", valve, "--picture", valve),
        ("check", valve, "--picture", valve),
        ("ensemble", valve, sets, "--out", sets),
        ("design", valve, "--objective", "thermal R2.spin", "--out", tmp_path),
    ):
        result = run(*args)
        assert result.exit_code == 2 and "is read by this command" in result.stderr, (args, result.output)
    assert (valve.read_bytes(), data.read_bytes()) == before and stub.calls == []


def test_the_version_is_told_and_h_is_help(stub: Stub) -> None:
    from thermospin import __version__

    assert run("--version").output.strip() == f"thermospin {__version__}"
    assert run("-h").output == run("--help").output and "signals" in run("-h").output
    assert "--free" in run("fit", "-h").output


def test_a_device_without_experiments_has_no_signals(stub: Stub, tmp_path: Path) -> None:
    path = tmp_path / "plain.toml"
    path.write_text(
        'length_unit = "nm"\nsolids = [{ name = "s", material = "Si", box = { x = [0, 1], y = [0, 1], z = [0, 1] } }]\n'
        'heat_sinks = [{ solid = "s", face = "z-" }]\n',
        encoding="utf-8",
    )
    assert run("check", path).exit_code == 0
    result = run("signals", path)
    assert result.exit_code == 2
    assert "experiments: there is none" in result.stderr


def test_what_did_not_converge_is_exit_code_1(stub: Stub, tmp_path: Path) -> None:
    stub.signals = NotConverged("no convergence in 80 iterations: is a metal floating?")
    result = run("signals", "slachter2010")
    assert result.exit_code == 1
    assert result.stderr.strip() == "no convergence in 80 iterations: is a metal floating?"
    stub.fitted = FITTED | {"converged": False}
    assert run("fit", "slachter2010", "slachter2010").exit_code == 1


def test_an_interrupt_is_exit_code_130_and_one_line(stub: Stub) -> None:
    stub.signals = KeyboardInterrupt()
    result = run("signals", "slachter2010")
    assert result.exit_code == 130
    assert result.stderr.strip() == "interrupted"


def test_a_stop_between_grids_gives_the_numbers_of_the_grid_before(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `stops` does first, here before there is a finer grid."""
    out, given = tmp_path / "out.json", []

    def adapt(device: Any, *, between: Any, **wish: Any) -> Any:
        found = stub.adapt(device, **wish)
        between(found)
        (give,) = stops._first
        give()
        given.append(json.loads(out.read_text())["cells"])
        out.unlink()
        return found

    monkeypatch.setattr(computing, "adapt", adapt)
    result = run("signals", "slachter2010", "--tolerance", "1%", "--json", out)
    assert result.exit_code == 0 and given == [1000]
    assert result.stdout.count("grid 1: small") == result.stdout.count("R2.spin") == 2
    assert not stops._first and out.exists(), "the last grid is given as always"


def test_a_fault_of_the_program_shows_its_traceback(stub: Stub) -> None:
    stub.signals = ValueError("raised outside the package")
    with pytest.raises(ValueError, match="raised outside"):
        run("signals", "slachter2010")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom thermospin.cli import app as cli\n"
        "result = CliRunner().invoke(cli.app, ['--help'])\n"
        "heavy = {'jax', 'numpy', 'scipy', 'pint', 'pydantic', 'matplotlib', 'equinox'} & set(sys.modules)\n"
        "print(sorted(heavy), all(name in result.stdout for name in ('demo', 'signals', 'fit', 'check')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[] True"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("Unable to initialize backend 'cuda': no GPU"), "JAX_PLATFORMS=cpu computes on the CPU"),
        (JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\n at 0x1\n"), "ask for fewer cells"),
        (JaxRuntimeError("DEADLINE_EXCEEDED: barrier timed out"), "did not find each other"),
        (JaxRuntimeError("UNKNOWN: Gloo all-reduce failed: Connection closed by peer"), "lost or did not find each"),
        (JaxRuntimeError("INTERNAL: odd"), "JAX failed: INTERNAL: odd"),
    ],
)
def test_errors_of_jax_are_one_line_that_says_what_to_do(
    capsys: pytest.CaptureFixture[str], error: RuntimeError, words: str
) -> None:
    with pytest.raises(typer.Exit) as ended, runtime.exit_codes():
        raise error
    told = capsys.readouterr().err
    assert ended.value.exit_code == 1 and words in told and len(told.splitlines()) == 1
    with pytest.raises(RuntimeError, match="ours"), runtime.exit_codes():
        raise RuntimeError("ours")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("JAX_PLATFORMS", "cuda", "WRONG: JAX finds no device for JAX_PLATFORMS=cuda"),
        ("JAX_ENABLE_X64", "foo", "the environment is not what JAX expects: invalid truth value 'foo'"),
    ],
)
def test_an_environment_that_jax_cannot_use_is_told_by_the_doctor(name: str, value: str, words: str) -> None:
    done = command("doctor", **{name: value, "CUDA_VISIBLE_DEVICES": "-1"})
    assert done.returncode == 1 and words in done.stdout + done.stderr and "Traceback" not in done.stderr


def test_an_error_of_one_process_does_not_wait_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(runtime, "_in_cluster", lambda: True)
    monkeypatch.setattr(os, "_exit", ended.append)
    for error in (InputError("no"), NotConverged("no"), ValueError("a fault of the program")):
        with pytest.raises(typer.Exit), runtime.exit_codes():
            raise error
    assert ended == [2, 1, 1]


def command(*words: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    """The command itself; `stdout` is where its output goes."""
    stdout = changes.pop("stdout", subprocess.PIPE)
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | changes
    line = [sys.executable, "-m", "thermospin", *words]
    return subprocess.run(line, env=env, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)


def test_a_reader_that_has_gone_away_changes_nothing(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stdout:
        out = tmp_path / "out.csv"
        done = command("sweeps", "slachter2010", "slachter2010-sweeps", "--csv", str(out), stdout=stdout)
    assert (done.returncode, done.stderr) == (0, "") and out.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_an_output_that_is_full_is_named_and_files_are_there(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with open("/dev/full", "w") as stdout:
        done = command("sweeps", "slachter2010", "slachter2010-sweeps", "--csv", str(out), stdout=stdout)
    assert (done.returncode, done.stderr) == (2, "stdout: cannot be written: No space left on device\n")
    assert out.exists()


@pytest.mark.parametrize(("folder", "kept"), [("cache", True), ("/dev/null/cache", False), ("", False)])
def test_compiled_programs_are_kept_where_that_is_possible(tmp_path: Path, folder: str, kept: bool) -> None:
    code = (
        "from thermospin.cli import runtime; runtime.start_jax(); "
        "import jax; print(jax.config.jax_compilation_cache_dir)"
    )
    env = os.environ | {"THERMOSPIN_CACHE": folder, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env, cwd=tmp_path
    )
    assert done.stdout.strip() == ("cache" if kept else "None")
    assert ("compiled programs are not kept" in done.stderr) == (folder == "/dev/null/cache")


def test_sweeps_prints_levels_and_signals_and_writes_files(tmp_path: Path) -> None:
    csv, json_file, picture = (tmp_path / name for name in ("s.csv", "s.json", "s.png"))
    result = run(
        "sweeps", "slachter2010", "slachter2010-sweeps", "--csv", csv, "--json", json_file, "--picture", picture
    )
    assert result.exit_code == 0, result.output
    for text in ("AP from [mT]", "thermal R2.spin = -1", "of 20 sweeps show no clear", "R3 and R4 are not handed"):
        assert text in result.stdout, text
    note, *table = csv.read_text(encoding="utf-8").splitlines()
    assert note.startswith("# errors of the rows have a common part") and note.removeprefix("# ") in result.stdout
    assert len(table) == 9 and picture.stat().st_size > 20_000
    assert len(json.loads(json_file.read_text(encoding="utf-8"))["correlation"]) == 8


def test_a_fit_takes_sweeps_with_their_correlation(stub: Stub) -> None:
    result = run("fit", "slachter2010", "slachter2010-sweeps", "--free", "zeta")
    assert result.exit_code == 0, result.output
    assert len(stub.rows) == 8 and stub.more["correlation"].shape == (8, 8)
    both = run("fit", "slachter2010", "slachter2010-sweeps", "slachter2010", "--free", "zeta")
    assert both.exit_code == 0, both.output
    assert stub.more["correlation"].shape == (14, 14) and stub.more["correlation"][8, 9] == 0


@pytest.mark.parametrize(("given", "found"), [(None, "1"), ("3", "3")])
def test_commands_have_one_thread_of_blas_unless_told_otherwise(given: str | None, found: str) -> None:
    code = (
        "import os, sys\nfrom thermospin.cli.entry import main\nsys.argv = ['thermospin', '--version']\n"
        "try:\n    main()\nexcept SystemExit:\n    print(os.environ['OPENBLAS_NUM_THREADS'])"
    )
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_NUM_THREADS"}
    environment |= {} if given is None else {"OPENBLAS_NUM_THREADS": given}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == found
