"""Models made of others: shared and separate parameters, ties, a correction, and a journal that a fit resumes from."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from helpers.devices import VALVE
from thermospin import inverse
from thermospin.base import files
from thermospin.base.errors import InputError, NotConverged
from thermospin.data.rows import Row
from thermospin.designs import checks, search, topology
from thermospin.designs.checks import DesignCheck
from thermospin.designs.objective import Objective
from thermospin.device import reader as devicefile
from thermospin.device.device import Device, Tie
from thermospin.inference import ensembles, journal
from thermospin.inference.combinators import Joint, corrected
from thermospin.inference.journal import Journal
from thermospin.inference.orders import Answers
from thermospin.inference.predictors import RESIDUAL, Predict, Predictor, ResumeState
from thermospin.model import GridOptions, Model, Progress, build
from thermospin.signals import evaluate as signals


def bilinear(factor: float) -> Predict:
    """One signal factor * a * b of the parameters "m.a" and "zeta"."""

    def predict(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        a, b = parameters["m.a"], parameters["zeta"]
        slopes = {"m.a": factor * b, "zeta": factor * a}
        return np.array([factor * a * b]), np.array([[slopes.get(name, 0.0) for name in names]]).reshape(1, len(names))

    return predict


OWN = {"m.a": 2.0, "zeta": 1.0}


def having(name: str, **values: float) -> Any:
    """What `Joint` knows of a device."""
    return SimpleNamespace(name=name, bath=77.0, numbers=lambda: OWN | values)


def joint() -> Joint:
    """Two devices whose rows come in turn: a second, its neighbour, and the first one's."""
    one = (having("one"), np.array([1]), bilinear(1.0))
    return Joint([one, (having("two", zeta=5.0), np.array([0]), bilinear(10.0))], 2)


def tied(predict: Predict, ties: Sequence[Tie]) -> Predict:
    return Answers((), (), tuple(ties), (), None, None).tied(predict)


def test_a_shared_name_moves_every_device_and_a_device_s_own_name_that_one() -> None:
    names = ["m.a", "zeta", "two:zeta"]
    values, jacobian = joint()({"m.a": 3.0, "zeta": 7.0, "two:zeta": 4.0}, names)
    np.testing.assert_array_equal(values, [10 * 3 * 4, 3 * 7])
    np.testing.assert_array_equal(jacobian, [[40, 0, 30], [7, 3, 0]])
    # That of all devices at their bath goes before that of all.
    names = ["zeta", "77K:zeta", "two:zeta"]
    values, jacobian = joint()({"m.a": 3.0, "zeta": 7.0, "77K:zeta": 6.0, "two:zeta": 4.0}, names)
    np.testing.assert_array_equal(values, [10 * 3 * 4, 3 * 6])
    np.testing.assert_array_equal(jacobian, [[0, 0, 30], [0, 3, 0]])


def test_what_is_not_given_keeps_the_value_of_its_device() -> None:
    values, jacobian = joint()({"m.a": 3.0}, ["m.a"])
    np.testing.assert_array_equal(values, [10 * 3 * 5, 3 * 1])
    np.testing.assert_array_equal(jacobian, [[50], [1]])


def test_a_device_without_a_solution_leaves_none_to_the_whole() -> None:
    def nothing(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        return np.array([np.nan]), np.full((1, len(names)), np.nan)

    whole = Joint([(having("one"), np.array([0]), bilinear(1.0)), (having("two"), np.array([1]), nothing)], 2)
    values, jacobian = whole(OWN, ["zeta"])
    assert np.all(np.isnan(values)) and np.all(np.isnan(jacobian))


def test_a_tied_parameter_moves_with_its_source() -> None:
    model = tied(bilinear(1.0), [Tie("m.a", "zeta", 3.0)])
    values, jacobian = model({"m.a": 99.0, "zeta": 2.0}, ["zeta"])
    # 3 zeta^2 and its derivative.
    assert values[0] == 12.0
    assert jacobian[0, 0] == 12.0
    assert tied(bilinear(1.0), [])({"m.a": 99.0, "zeta": 2.0}, ["zeta"])[1][0, 0] == 99.0


def test_what_is_tied_has_no_derivative_of_its_own_and_leaves_that_of_its_source() -> None:
    names, ties = ["m.a", "zeta"], [Tie("m.a", "zeta", 3.0)]
    np.testing.assert_array_equal(tied(bilinear(1.0), ties)({"m.a": 99.0, "zeta": 2.0}, names)[1], [[0, 12]])
    # Two devices, 10 m.a zeta and m.a zeta: their derivatives are 60 zeta and 6 zeta.
    np.testing.assert_array_equal(tied(joint(), ties)({"m.a": 99.0, "zeta": 2.0}, names)[1], [[0, 120], [0, 12]])


def test_a_cheap_model_is_corrected_by_a_factor_where_it_is_similar_and_by_a_term_elsewhere() -> None:
    def two(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        return np.array([1.0, -1.0, 0.0]) * parameters["zeta"], np.tile([[1.0], [-1.0], [0.0]], len(names))

    low, high = np.array([2.0, -2.0, 0.0]), np.array([3.0, 2.0, 1.0])
    np.testing.assert_array_equal(corrected(two, low, high)({"zeta": 2.0}, ["zeta"])[0], high)
    values, jacobian = corrected(two, low, high)({"zeta": 4.0}, ["zeta"])
    np.testing.assert_array_equal(values, [6.0, 0.0, 1.0])
    np.testing.assert_array_equal(jacobian[:, 0], [1.5, -1.0, 0.0])


# ------------------------------------------------------------------------------------------- journal


class Counting:
    """A model that counts its calls, and has no solution for a negative zeta."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        self.calls += 1
        value = parameters["zeta"] / 3 if parameters["zeta"] > 0 else np.nan
        return np.array([value, 0.1]), np.full((2, len(names)), value)


def test_a_question_that_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    model = Counting()
    for _ in range(2):
        kept = Journal(tmp_path / "fit.jsonl", "one").keep(model, "order 2")
        for zeta in (1.0, 0.7, -1.0):
            values, jacobian = kept({"zeta": zeta}, ["zeta"])
            wanted = Counting()({"zeta": zeta}, ["zeta"])
            np.testing.assert_array_equal(values, wanted[0])
            np.testing.assert_array_equal(jacobian, wanted[1])
    assert model.calls == 3
    kept({"zeta": 1.0}, ())
    Journal(tmp_path / "fit.jsonl", "one").keep(model, "order 1")({"zeta": 1.0}, ["zeta"])
    assert model.calls == 5


def test_whatever_part_of_a_journal_was_written_is_used(tmp_path: Path) -> None:
    path, model = tmp_path / "fit.jsonl", Counting()
    kept = Journal(path, "one").keep(model, "")
    for zeta in (1.0, 2.0, 3.0):
        kept({"zeta": zeta}, ["zeta"])
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    # Cut at every byte after the first line: as many answers are there as lines were whole.
    for cut in range(ends[0], len(whole) + 1):
        path.write_bytes(whole[:cut])
        assert len(Journal(path, "one")) == sum(end <= cut for end in ends) - 1
        assert path.read_bytes() == whole[: max(end for end in ends if end <= cut)]


def test_another_problem_or_another_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "fit.jsonl"
    Journal(path, "one").keep(Counting(), "")({"zeta": 1.0}, ["zeta"])
    before = path.read_bytes()
    told = "got that of another device, grid, data or options, expected the journal of this run; give this run another"
    with pytest.raises(ValueError, match=told):
        Journal(path, "two")
    assert path.read_bytes() == before
    for text in ("experiment,signal\n1,2\n", "no newline", json.dumps([1]) + "\n"):
        path.write_text(text)
        with pytest.raises(ValueError, match="got a file of another kind, expected the journal of this run"):
            Journal(path, "one")
        assert path.read_text() == text


def begin_fit(device: Device, path: Path) -> None:
    rows = [Row("local", "R2.P", 90.0, 1.0)]
    inverse.fit(device, rows, ["zeta"], grid=GridOptions(cells=60, order=1), journal=path)


def begin_ensemble(device: Device, path: Path) -> None:
    list(ensembles.run(build(device, cells=60, order=1), [{}], ["local R1.P"], journal=path))


def begin_design(device: Device, path: Path) -> None:
    grid = GridOptions(cells=60, order=1)
    search.design(device, "local R1.P", ["gap"], search=search.Search(1), grid=grid, journal=path)


def begin_form(device: Device, path: Path) -> None:
    objective, grid = Objective.parse("1 / local R1.P", device), GridOptions(cells=60, order=1)
    sizes = {"tile": 30e-9, "feature": 30e-9}
    topology.free_form(device, objective, "wire", **sizes, steps=1, grid=grid, journal=path)


@pytest.mark.parametrize("begin", [begin_fit, begin_ensemble, begin_design, begin_form])
def test_answers_of_another_version_are_refused_and_left_alone(
    begin: Callable[[Device, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = DesignCheck({}, (1.0, 0.0), math.nan)
    monkeypatch.setattr(checks, "checked", lambda *_: nothing)
    path, device = tmp_path / "journal.jsonl", devicefile.read(VALVE, "valve.toml")
    monkeypatch.setattr(journal, "__version__", "0.0.9", raising=False)
    begin(device, path)
    before = path.read_bytes()
    assert before.count(b"\n") > 1
    monkeypatch.setattr(journal, "__version__", "0.1.0", raising=False)
    with pytest.raises(
        InputError, match="got that of version 0.0.9, expected the journal of this run, of version 0.1.0"
    ):
        begin(device, path)
    assert path.read_bytes() == before


def test_a_journal_without_a_version_is_one_of_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "fit.jsonl"
    path.write_text('{"thermospin journal": "a0"}\n')
    with pytest.raises(InputError, match="got that of version 0.1.0 or before, expected the journal of this run"):
        Journal(path, "one")


def test_a_journal_is_for_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process may open it again; without locks a header that two have written at once is no damage."""
    fcntl, path = pytest.importorskip("fcntl"), tmp_path / "fit.jsonl"
    with path.open("w") as other:  # another open file is to the lock what another process is
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match=r"fit.jsonl: another process uses it; wait until that has ended, or give"):
            Journal(path, "one")
        assert path.read_bytes() == b""
    first = Journal(path, "one")
    assert len(Journal(path, "one")) == 0
    with path.open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    del first
    with path.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the lock ends with the journal
        monkeypatch.setattr(files, "fcntl", None)
        path.write_bytes(path.read_bytes() * 2)
        kept = Journal(path, "one").keep(Counting(), "")
        kept({"zeta": 1.0}, ["zeta"])
        assert len(Journal(path, "one")) == 1


def test_a_file_system_without_locks_takes_journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    Journal(tmp_path / "fit.jsonl", "one").keep(Counting(), "")({"zeta": 1.0}, ["zeta"])
    assert len(Journal(tmp_path / "fit.jsonl", "one")) == 1


@pytest.mark.parametrize("alone", [True, False])
def test_unfinished_files_are_removed_where_nobody_else_writes(tmp_path: Path, alone: bool) -> None:
    part = tmp_path / ".state.npz.7.part"
    part.touch()
    assert journal.StateFile(tmp_path / "state.npz", "one", [], alone=alone).restore({"x"}) is None
    assert part.exists() != alone


def test_a_line_that_was_damaged_is_told(tmp_path: Path) -> None:
    path = tmp_path / "fit.jsonl"
    kept = Journal(path, "one").keep(Counting(), "")
    for zeta in (1.0, 2.0, 3.0):
        kept({"zeta": zeta}, ["zeta"])
    lines = path.read_text().splitlines(keepends=True)
    digit = next(i for i, letter in enumerate(lines[2]) if i > 90 and letter.isdigit())
    spoiled = lines[2][:digit] + str((int(lines[2][digit]) + 1) % 10) + lines[2][digit + 1 :]
    path.write_text("".join([*lines[:2], spoiled, lines[3]]))
    with pytest.raises(ValueError, match=r"fit.jsonl, line 3: is damaged; take that line out to lose one evaluation"):
        Journal(path, "one")
    path.write_text("".join([*lines[:2], lines[3]]))
    assert len(Journal(path, "one")) == 2


def test_a_full_disk_is_told_and_what_was_there_stays(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a disk: the kernel writes what fits of a line, and then refuses."""
    path, model = tmp_path / "fit.jsonl", Counting()
    kept = Journal(path, "one").keep(model, "")
    kept({"zeta": 1.0}, ["zeta"])
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 40, limits[1]))
    try:
        with pytest.raises(
            OSError, match=r"fit.jsonl: cannot be written: .*; what it has is kept, run again to resume"
        ):
            kept({"zeta": 2.0}, ["zeta"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    kept({"zeta": 2.0}, ["zeta"])
    assert len(Journal(path, "one")) == 2


#: Sixty times: a child that computes and keeps what a search asks for, killed at a random moment; then one to the end.
KILLED = """
import json, os, random, signal, sys, time
from pathlib import Path
import numpy as np
from thermospin.inference.journal import Journal

path, kills = Path(sys.argv[1]), 0

def model(parameters, names):
    time.sleep(0.002)
    x = parameters["x"]
    return np.array([np.cos(x), x * x]), np.array([[-np.sin(x)], [2 * x]])

def search(keep):
    x = 3.0
    for _ in range(150):  # Newton, damped: every step needs all before it
        values, slopes = keep({"x": x}, ["x"])
        x -= 0.05 * float(values @ slopes[:, 0]) / (1 + float(slopes[:, 0] @ slopes[:, 0]))
    return x

draw, last = random.Random(0), 0
while kills < 60:
    child = os.fork()
    if not child:
        search(Journal(path, "search").keep(model, ""))
        os._exit(0)
    time.sleep(draw.uniform(0.0, 0.03))
    os.kill(child, signal.SIGKILL)
    if os.waitpid(child, 0)[1] == signal.SIGKILL:
        kills += 1
    else:  # it had come to its end
        path.unlink()
        last = 0
        continue
    if path.exists():  # nothing that was whole is ever lost
        lines = path.read_bytes().count(bytes([10]))
        assert lines >= last, (lines, last)
        last = lines
print(json.dumps([kills, search(Journal(path, "search").keep(model, "")), search(model)]))
"""


def test_a_search_that_is_killed_sixty_times_comes_to_the_same_end(tmp_path: Path) -> None:
    """SIGKILL at random moments, while the journal is read, written, or neither: the same end to the last bit."""
    ran = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "j.jsonl")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    kills, resumed, straight = json.loads(ran.stdout)
    assert kills == 60 and resumed == straight


# ------------------------------------------------------------------------------------------- real solves, stopped

#: Conductivities that wear the preconditioner out, a dimension, and one that no grid can follow from where it was.
WAY = [
    {},
    {"Fe.sigma": 2e6, "Cu.sigma": 4e7},
    {"Fe.sigma": 2e6, "gap": 40e-9},
    {"Fe.sigma": 9e4, "Cu.sigma": 4e7, "gap": 40e-9},
    {"Fe.P": 0.5, "gap": 40e-9},
    {"rim": 25e-9},
    {"rim": 25e-9, "Fe.P": 0.5},
]


def asked(model: Model, path: Path, stop: int | None = None, told: Progress | None = None) -> list[bytes]:
    """Answers to the questions of `WAY` up to one, by a journal and a predictor of their own."""
    predictor = Predictor(model, [Row("local", "R1.P", 0.0, 1.0), Row("local", "R2.P", 0.0, 1.0)], RESIDUAL, told)
    predict = Journal(path, "way").keep(predictor, "one", predictor.parts)
    own = model.device.numbers()
    answers = [predict(own | step, ["Fe.S_s"]) for step in WAY[:stop]]
    return [values.tobytes() + jacobian.tobytes() for values, jacobian in answers]


@pytest.fixture(scope="module")
def valve() -> Model:
    """In one state; whose wire ends at -rim, which passes the electrodes' -width / 2."""
    return build(
        devicefile.read(VALVE.replace("-width / 4", "-rim").replace(", AP = { F2 = -1 }", ""), "valve.toml"),
        cells=150,
        order=1,
    )


@pytest.fixture(scope="module")
def straight(valve: Model, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    told: list[str] = []
    found = asked(valve, tmp_path_factory.mktemp("straight") / "j.jsonl", told=told.append)
    assert any("rebuilding the preconditioner" in text for text in told)
    assert any("the grid is rebuilt" in text for text in told)
    return found


def test_solves_after_a_stop_have_every_bit_of_those_without(
    valve: Model, straight: list[bytes], tmp_path: Path
) -> None:
    """Stopped after every answer in turn: fields, preconditioner and grid are where they were."""
    path = tmp_path / "j.jsonl"
    for stop in range(1, len(WAY) + 1):
        found = asked(valve, path, stop)
        assert found == straight[:stop], f"answer {stop}"
    assert len(set(straight)) == len(WAY)


def test_a_state_survives_a_file_in_all_its_parts(valve: Model) -> None:
    """Whatever is added to a state later has to come back from a file, too."""

    def plain(part: object) -> object:
        if isinstance(part, Model):
            return part.device.lengths(), dict(part.built_for), part.cells
        if isinstance(part, Mapping):
            return {name: [[bytes(u) for u in (*one.u, *one.l)] for one in states] for name, states in part.items()}
        return repr(part)

    predictor = Predictor(valve, [Row("local", "R2.P", 0.0, 1.0)], RESIDUAL)
    for step in ({}, {"rim": 25e-9, "Fe.sigma": 9e4}):
        predictor(valve.device.numbers() | step, ["Fe.S_s"])
    state = dataclasses.replace(predictor.state(), same_nodes=False)
    first = ResumeState.first(valve)
    numbers, vectors = state.packed()
    again = first.unpacked(json.loads(json.dumps(numbers)), vectors)
    for field in dataclasses.fields(ResumeState):
        wanted = plain(getattr(state, field.name))
        assert wanted != plain(getattr(first, field.name)), f"the test does not see {field.name}"
        assert wanted == plain(getattr(again, field.name)), field.name


def test_a_failed_solve_is_still_a_value_after_a_stop(
    valve: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a grid with other nodes than the last fields, where no solve has come to its end yet."""

    def fails(*arguments: object, **options: object) -> None:
        raise NotConverged("no solution")

    asked(valve, tmp_path / "j.jsonl", 1)
    monkeypatch.setattr(signals, "evaluate", fails)
    for conductivity in (2e6, 3e6):
        predictor = Predictor(valve, [Row("local", "R1.P", 0.0, 1.0), Row("local", "R2.P", 0.0, 1.0)], RESIDUAL)
        predict = Journal(tmp_path / "j.jsonl", "way").keep(predictor, "one", predictor.parts)
        values, _ = predict(valve.device.numbers() | {"rim": 25e-9, "Fe.sigma": conductivity}, ["Fe.S_s"])
        assert np.all(np.isnan(values))
        assert not predictor.state().same_nodes


def test_a_stop_between_the_two_files_loses_nothing(
    valve: Model, straight: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is there, its answer is not in the journal yet."""
    path = tmp_path / "j.jsonl"
    asked(valve, path, 3)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    calls: list[int] = []
    true = signals.evaluate
    monkeypatch.setattr(signals, "evaluate", lambda *a, **k: (calls.append(1), true(*a, **k))[1])
    assert asked(valve, path, 4) == straight[:4]
    assert len(calls) == 1, "only the fourth was computed"


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_without_its_state_a_run_goes_on_from_other_starts(
    valve: Model, straight: list[bytes], tmp_path: Path, how: str
) -> None:
    """Answers are then right to the solver: values to the square of 1e-7, as they come with derivatives."""
    path = tmp_path / "j.jsonl"
    asked(valve, path, 1)
    (kept,) = (tmp_path / "j.jsonl.fields").iterdir()
    if how == "gone":
        kept.unlink()
    else:
        content = bytearray(kept.read_bytes())
        content[len(content) // 2] ^= 1
        kept.write_bytes(content)
    found = asked(valve, path, 2)
    assert found[0] == straight[0]
    both = [np.frombuffer(each[1]) for each in (found, straight)]
    np.testing.assert_allclose(both[0][:2], both[1][:2], rtol=1e-9)


@pytest.mark.parametrize("problem", ["way", "another", "another version"])
def test_the_state_of_a_journal_that_is_gone_is_not_used(
    valve: Model, straight: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    """Neither of the same problem, whose first question is another one, nor of another, whose question is the same."""
    path = tmp_path / "j.jsonl"
    asked(valve, path, 2 if problem == "way" else 1)
    path.unlink()
    if problem == "way":
        assert asked(valve, path, 1) == straight[:1]
    else:
        if problem == "another version":
            monkeypatch.setattr(journal, "__version__", "0.0.9", raising=False)
        predict = Journal(path, "another" if problem == "another" else "way").keep(
            Counting(), "one", Predictor(valve, []).parts
        )
        values, _ = predict(valve.device.numbers(), ["Fe.S_s"])
        assert values.tobytes() != straight[0][: values.nbytes]


def test_a_state_that_cannot_be_written_is_told_and_the_journal_stays(valve: Model, tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    asked(valve, path, 1)
    before = path.read_bytes()
    (kept,) = (tmp_path / "j.jsonl.fields").iterdir()
    good = kept.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(good) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match=r"npz: cannot be written: File too large; what it has is kept, run again to"):
            asked(valve, path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before and kept.read_bytes() == good
    assert len(list(kept.parent.iterdir())) == 1, "nothing half-written stays"


@pytest.mark.slow
def test_a_fit_that_is_killed_fifty_times_comes_to_the_same_end(tmp_path: Path) -> None:
    """The command itself, SIGKILL at random moments: the same journal (but for its order), the same file at the end.

    The first two answers are found side by side, so that their lines may come in either order. Some ten minutes.
    """
    (tmp_path / "valve.toml").write_text(VALVE)
    signals_of = {
        ("local", "R1.P"): -16.0,
        ("local", "R2.P"): 95.0,
        ("across", "R1.AP"): 0.75,
        ("local", "R1.AP"): -16.2,
    }
    data = ["experiment,signal,value,std,unit"]
    for (experiment, name), value in signals_of.items():
        data.append(f"{experiment},{name},{value},{abs(value) / 100},{'V/A' if name[1] == '1' else 'V/A^2'}")
    (tmp_path / "data.csv").write_text("\n".join(data) + "\n")

    def begun(name: str) -> subprocess.Popen[bytes]:
        command = ["fit", "valve.toml", "data.csv", "--free", "Fe.sigma", "Cu.sigma", "zeta", "--order", "1"]
        command += ["--journal", f"{name}.jsonl", "--json", f"{name}.json"]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            [sys.executable, "-m", "thermospin", *command], cwd=tmp_path, stdout=quiet, stderr=quiet
        )

    def written(name: str) -> tuple[list[str], str]:
        lines = (tmp_path / f"{name}.jsonl").read_text().splitlines()
        return sorted(lines), (tmp_path / f"{name}.json").read_text()

    assert begun("first").wait() == 0  # compiles
    start = time.monotonic()
    assert begun("straight").wait() == 0
    takes = time.monotonic() - start
    expected = written("straight")
    assert len(expected[0]) > 5
    draw, kills = random.Random(0), 0
    while kills < 50:
        running = begun("killed")
        try:
            assert running.wait(draw.uniform(0.2, 1.5) * takes) == 0
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
            kills += 1
            continue
        assert written("killed") == expected
        for name in ("killed.jsonl", "killed.json"):
            (tmp_path / name).unlink()
        shutil.rmtree(tmp_path / "killed.jsonl.fields")
    assert begun("killed").wait() == 0
    assert written("killed") == expected
