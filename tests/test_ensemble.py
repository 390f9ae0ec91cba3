"""Many parameter sets: what a file may hold, shares of processes, and a run that resumes where it was stopped."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from helpers.devices import VALVE
from thermospin.accuracy import error_bars
from thermospin.base.errors import InputError
from thermospin.base.names import SignalName
from thermospin.cli import app
from thermospin.device import reader
from thermospin.device.device import Device
from thermospin.inference import ensembles
from thermospin.model import build
from thermospin.signals import evaluate


@pytest.fixture(scope="module")
def valve() -> Device:
    return reader.read(VALVE, "valve.toml")


def written(folder: Path, text: str) -> Path:
    path = folder / "sets.csv"
    path.write_text(text)
    return path


def test_sets_are_read_with_units_and_gaps(valve: Device, tmp_path: Path) -> None:
    found = ensembles.read(written(tmp_path, "# a sweep\nFe.S_s,gap,zeta\n-3 uV/K,30 nm,2\n,4e-8,\n"), valve)
    assert found == [{"Fe.S_s": -3e-6, "gap": pytest.approx(30e-9), "zeta": 2.0}, {"gap": 4e-8}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Fe.S_s\n", "got 1 lines, expected a header of parameter names and at least one set"),
        ("Fe.Ss\n1\n", "column 'Fe.Ss' is no parameter; did you mean 'Fe.S_s'"),
        ("zeta,zeta\n1,2\n", "column 'zeta' is there more than once"),
        ("zeta,gap\n1\n", "set 1 has 1 cells, expected 2"),
        ("gap\n3 uV\n", "set 1, gap: got"),
    ],
)
def test_a_faulty_file_is_told(valve: Device, tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ensembles.SetError, match=words):
        ensembles.read(written(tmp_path, text), valve)


@pytest.mark.parametrize(
    ("sets", "wanted", "words"),
    [
        ({"zeta": 2.0}, None, r"sets: got one mapping, expected a list of them"),
        ([{"zeta": 1.0}, {"Fe.Ss": 1.0}], None, "set 2: got parameter 'Fe.Ss'; did you mean 'Fe.S_s'"),
        ([{"Fe.S_s": "-3 mm"}], None, "set 1, Fe.S_s: got"),
        ([{"zeta": 1.0}], "locl R1.P", "experiment 'locl' does not exist; did you mean 'local'"),
        ([{"zeta": 1.0}], ["local R1.spn"], "has no signal 'R1.spn'; did you mean 'R1.spin'"),
    ],
)
def test_faulty_sets_are_told_before_anything_is_computed(valve: Device, sets: Any, wanted: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ensembles.run(build(valve, cells=60, order=1), sets, wanted)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"part": (3, 2)}, "part: k: got 3, expected a whole number from 1 to 2"),
        ({"part": (1.5, 2)}, "part: k: got 1.5, expected a whole number from 1 to 2"),
        ({"part": (1, 0)}, "part: n: got 0, expected a whole number of at least 1"),
        ({"part": 2}, "part: got 2, expected a pair of whole numbers (k, n), k from 1 to n"),
        ({"at_once": 0}, "at_once: got 0, expected a whole number of at least 1"),
        ({"at_once": -1}, "at_once: got -1, expected a whole number of at least 1"),
    ],
)
def test_parts_and_batches_are_whole_numbers(valve: Device, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(words)}$"):
        ensembles.run(build(valve, cells=60, order=1), [{}], **wrong)


def test_sets_may_have_units_and_signals_one_string(valve: Device) -> None:
    model = build(valve, cells=60, order=1)
    ensemble = ensembles.run(model, [{"Fe.S_s": "-3 uV/K", "zeta": np.float64(2)}], ["local R2.spin"])
    assert "Fe.S_s, zeta" in repr(ensemble)
    (member,) = ensemble
    expected = evaluate.evaluate(model, {"Fe.S_s": -3e-6, "zeta": 2.0}, ["local R2.spin"]).values
    np.testing.assert_allclose(member.values, expected, rtol=1e-8)
    assert ensembles.run(model, []).wanted == tuple(ensembles.wanted_of(valve))


def test_processes_share_the_sets_and_a_stopped_run_goes_on(
    valve: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two shares are the whole; a third run answers from the journal alone; P = 2 has no solution and stops nothing."""
    model = build(valve, cells=150, order=1)
    sets = [{"Fe.P": P, "gap": gap} for P, gap in ((0.3, 25e-9), (2.0, 25e-9), (0.3, 30e-9), (0.5, 25e-9))]
    wanted = [("local", "R1.P"), ("local", "R1.spin")]
    calls: list[int] = []
    true = evaluate.evaluate

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return true(*arguments, **options)

    monkeypatch.setattr(evaluate, "evaluate", counted)
    halves = [list(ensembles.run(model, sets, wanted, part=(k, 2))) for k in (1, 2)]
    assert [[each.number for each in half] for half in halves] == [[1, 3], [2, 4]]
    path = tmp_path / "journal"
    first = next(iter(ensembles.run(model, sets, wanted, journal=path)))  # stopped after one
    before = len(calls)
    whole = list(ensembles.run(model, sets, wanted, journal=path))
    assert len(calls) == before + 2, "one was known, one has no solution before anything is solved"
    np.testing.assert_array_equal(whole[0].values, first.values)
    assert np.all(np.isnan(whole[1].values)) and not np.any(np.isnan([whole[k].values for k in (0, 2, 3)]))
    for each in (*halves[0], *halves[1]):
        np.testing.assert_allclose(each.values, whole[each.number - 1].values, rtol=1e-9)
    assert abs(whole[2].values[1] / whole[0].values[1] - 1) > 0.01, "the gap matters"


def test_a_set_whose_faces_pass_each_other_changes_no_other_one(tmp_path: Path) -> None:
    """It has a grid of its own, the others that of the device: in any order, in any share, and after a stop."""
    text = VALVE.replace("-width / 4", "-rim").replace(", AP = { F2 = -1 }", "")
    model = build(reader.read(text, "valve.toml"), cells=150, order=1)
    sets: list[dict[str, float | str]] = [{"rim": 25e-9}, {}, {"rim": 7e-9}]
    wanted = ["local R1.P"]
    alone = [next(iter(ensembles.run(model, [each], wanted))).values for each in sets]
    together = [member.values for member in ensembles.run(model, sets, wanted)]
    np.testing.assert_allclose(together, alone, rtol=1e-8)
    np.testing.assert_allclose(together[1], evaluate.evaluate(model, {}, wanted).values, rtol=1e-8)
    next(iter(ensembles.run(model, sets, wanted, journal=tmp_path / "journal")))  # stopped after one
    resumed = [member.values for member in ensembles.run(model, sets, wanted, journal=tmp_path / "journal")]
    np.testing.assert_array_equal(resumed, together)


def test_sets_side_by_side_have_the_values_of_each_alone(tmp_path: Path) -> None:
    """Five sets, three at once, one without solution; both ways are right to some times the residual, 1e-9.

    A run that stopped after the first goes on with the others: values keep their bits, as they do not depend on what
    else is in the program. Sets with another gap have grids of their own.
    """
    one_state = reader.read(VALVE.replace(", AP = { F2 = -1 }", ""), "valve.toml")
    model = build(one_state, cells=150, order=1)
    sets = [{"Fe.P": P, "zeta": zeta} for P, zeta in ((0.3, 1.0), (0.5, 1.0), (2.0, 1.0), (0.3, 2.0), (0.4, 1.0))]
    sets.append({"Fe.P": 0.4, "zeta": 1.0, "gap": 50e-9})
    wanted = [("local", "R1.P"), ("local", "R2.P")]
    one_by_one = np.array([each.values for each in ensembles.run(model, sets, wanted, at_once=1)])
    told: list[str] = []
    path = tmp_path / "journal"
    whole = list(ensembles.run(model, sets, wanted, at_once=3, journal=path, progress=told.append))
    assert [each.number for each in whole] == [1, 2, 3, 4, 5, 6] and told[:2] == ["set 1 of 6", "set 2 of 6"]
    together = np.array([each.values for each in whole])
    assert np.all(np.isnan(together[2])) and not np.any(np.isnan(np.delete(together, 2, axis=0)))
    np.testing.assert_allclose(together, one_by_one, rtol=1e-8)
    assert abs(together[5, 0] / together[4, 0] - 1) > 1e-4, "the gap matters"
    assert abs(together[1, 0] / together[0, 0] - 1) > 1e-4 and abs(together[3, 1] / together[0, 1] - 1) > 0.1
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))  # stopped after the first set
    again = np.array([each.values for each in ensembles.run(model, sets, wanted, at_once=3, journal=path)])
    np.testing.assert_array_equal(again, together)


def test_an_ensemble_of_order_three_has_best_estimates() -> None:
    """Of the device itself those of `assess`; of others order 2 times the same factors."""
    one_state = reader.read(VALVE.replace(", AP = { F2 = -1 }", ""), "valve.toml")
    model = build(one_state, cells=150, order=3)
    wanted = [("local", "R1.P"), ("local", "R2.P")]
    own, other = ensembles.run(model, [{}, {"zeta": 2.0}], wanted)
    best = error_bars.assess(model, evaluate.measure(model))
    expected = [best[pair] for pair in wanted]
    np.testing.assert_allclose(own.values, expected, rtol=1e-5)
    computed = [best.computed[SignalName.parse(*pair)] for pair in wanted]
    assert np.max(np.abs(np.divide(expected, computed) - 1)) > 1e-5, "they are corrected"
    zeta = one_state.numbers()["zeta"]
    assert other.values[1] / own.values[1] == pytest.approx(2 / zeta, rel=1e-2)


def test_a_journal_is_opened_before_the_best_estimates_which_it_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_state = reader.read(VALVE.replace(", AP = { F2 = -1 }", ""), "valve.toml")
    model, sets, wanted = build(one_state, cells=60, order=3), [{"zeta": 1.0}, {"zeta": 2.0}], ["local R2.P"]
    told: list[str] = []

    def values(name: str) -> np.ndarray:
        members = ensembles.run(model, sets, wanted, journal=tmp_path / name, progress=told.append)
        return np.array([member.values for member in members])

    (tmp_path / "foreign").write_text("something else\n")
    with pytest.raises(InputError, match="foreign: got a file of another kind"):
        values("foreign")
    fcntl = pytest.importorskip("fcntl", reason="no locks")
    with (tmp_path / "locked").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="locked: another process uses it"):
            values("locked")
    assert told == []
    first, begun = values("journal"), told[:1]
    assert begun == [f"{one_state.name}: best estimates at its own values"]
    told.clear()
    monkeypatch.setattr(evaluate, "evaluate", None)  # nothing is solved any more
    np.testing.assert_array_equal(values("journal"), first)
    assert told == ["set 1 of 2", "set 2 of 2"]


def test_the_command_writes_row_by_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("valve.toml").write_text(VALVE)
    written(tmp_path, "zeta\n1\n2\n")
    command = ["ensemble", "valve.toml", "sets.csv", "--out", "out.csv", "--cells", "150", "--order", "1"]
    ran = CliRunner().invoke(app.app, command)
    assert ran.exit_code == 0, ran.output
    rows = list(csv.DictReader(Path("out.csv").open()))
    assert [row["set"] for row in rows] == ["1", "2"]
    one, two = (float(row["local R2.P"]) for row in rows)
    assert two == pytest.approx(2 * one, rel=1e-2), "nearly all of R2 is Joule heat"
    assert float(rows[0]["local R1.P"]) == pytest.approx(float(rows[1]["local R1.P"]), rel=1e-9)
    before = Path("out.csv").read_text()
    other = CliRunner().invoke(app.app, [*command, "--harmonics", "1"])
    assert other.exit_code == 2 and "expected the journal of this run" in other.stderr
    assert Path("out.csv").read_text() == before, "another run's results are not overwritten"
    uneven = CliRunner().invoke(app.app, [*command, "--devices", "4", "--split", "3"])
    assert (
        uneven.exit_code == 2 and "--shards: got 3, expected a divisor of --accelerators, which is 4" in uneven.stderr
    )
    for part in ("two", "0/2", "3/2", "\u00b2/2"):
        wrong = CliRunner().invoke(app.app, [*command, "--part", part])
        assert wrong.exit_code == 2 and f'--part: got "{part}", expected K/N with K from 1 to N' in wrong.stderr
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and may(path, mode))
    closed = CliRunner().invoke(app.app, command)
    assert closed.exit_code == 2 and closed.stderr.startswith("out.csv: is there already, and cannot be written")


def test_parts_in_turn_to_one_file_leave_the_whole_table(tmp_path: Path) -> None:
    """In the order of the sets, with the values of one run for all, best estimates here."""
    one_state = reader.read(VALVE.replace(", AP = { F2 = -1 }", ""), "valve.toml")
    model, sets = build(one_state, cells=60, order=3), [{"zeta": 1.0}, {"zeta": 2.0}, {"zeta": 3.0}]
    wanted = [("local", "R2.P")]

    def table(name: str, part: tuple[int, int]) -> np.ndarray:
        members = ensembles.run(model, sets, wanted, part=part, journal=tmp_path / f"{name}.journal")
        ensembles.write(tmp_path / name, one_state, sets, wanted, members)
        return np.loadtxt(tmp_path / name, delimiter=",", skiprows=1, ndmin=2)

    whole = table("whole.csv", (1, 1))
    np.testing.assert_array_equal(table("out.csv", (2, 2))[:, 0], [2])
    for part in ((1, 2), (2, 2)):  # the second time all is in the journal
        np.testing.assert_allclose(table("out.csv", part), whole, rtol=1e-8)
    np.testing.assert_array_equal(whole[:, :2], [[1, 1], [2, 2], [3, 3]])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_disk_that_is_full_is_told_with_the_file(valve: Device) -> None:
    with pytest.raises(OSError, match="/dev/full: cannot be written: No space left on device; what it has is kept"):
        ensembles.write("/dev/full", valve, [{}], [], iter([ensembles.Member(1, {}, np.array([]))]))


def test_sets_without_a_solution_are_told_with_the_reason(valve: Device, tmp_path: Path) -> None:
    """Lengths of a table are in metres: 60 is one of 60 m."""
    assert ensembles.why_none(valve, {"Fe.P": 0.3, "gap": 25e-9}) == ""
    assert ensembles.why_none(valve, {"Fe.P": 1.5}) == "material 'Fe', P: got 1.5, expected |P| < 1"
    assert ensembles.why_none(valve, {"gap": 60.0}).startswith("at gap = 6e+10 nm: ")
    (tmp_path / "valve.toml").write_text(VALVE)
    (tmp_path / "sets.csv").write_text("Fe.P\n1.5\n-2\n")
    words = ["ensemble", str(tmp_path / "valve.toml"), str(tmp_path / "sets.csv"), "--out", str(tmp_path / "out.csv")]
    found = CliRunner().invoke(app.app, words)
    assert found.exit_code == 2 and not (tmp_path / "out.csv").exists()
    assert "sets.csv: no set has a solution; set 1: material 'Fe', P: got 1.5" in found.stderr
