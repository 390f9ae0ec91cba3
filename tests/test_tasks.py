"""Tasks side by side: one order of events, answers of the solver as if each were alone, and how they end."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.devices import VALVE
from thermospin import inverse, solve
from thermospin.base.errors import NotConverged
from thermospin.data.rows import Row
from thermospin.device import reader
from thermospin.inference import budget, posterior, profiles
from thermospin.inference.journal import Journal
from thermospin.model import Model, build
from thermospin.parallel import tasks
from thermospin.signals import evaluate
from thermospin.signals.results import Evaluation

pytestmark = pytest.mark.usefixtures("compiled_forms")


@pytest.fixture(scope="module")
def model() -> Model:
    return build(reader.read(VALVE, "valve.toml"), cells=150, order=1)


#: Lanes, the same everywhere: one program.
SIZE = 3
WANTED = [("local", "R1.spin"), ("local", "R2.P")]


def evaluated(model: Model, P: float, solver: solve.Solver | None, **options: object) -> Evaluation:
    return evaluate.evaluate(model, {"Fe.P": P}, WANTED, ["Fe.P", "gap"], solver=solver, **options)  # type: ignore[arg-type]


def test_answers_are_those_of_each_alone(model: Model) -> None:
    """Four tasks in three lanes, one of them on a grid that has moved; steps are the same, and values to round-off.

    Round-off of fields is about 1e-16 times the condition of a solve, 1e4 here; derivatives feel it, values its square.
    """
    models = [model, model, model.moved({"gap": 50e-9}), model]
    chores = [functools.partial(evaluated, each, P) for each, P in zip(models, (0.3, 0.4, 0.3, 0.5), strict=True)]
    alone = [chore(None) for chore in chores]
    for one, other in zip(alone, tasks.run_batched(chores, SIZE), strict=True):
        assert one.iterations == other.iterations
        np.testing.assert_allclose(other.values, one.values, rtol=1e-12)
        np.testing.assert_allclose(other.jacobian, one.jacobian, rtol=1e-9)
    assert len({tuple(each.values) for each in alone}) == 4


def test_requests_of_other_sizes_are_answered_apart(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (solve.SolveRequest(*[np.zeros(n)] * 6) for n in (3, 4))  # type: ignore[arg-type]
    asked: list[int] = []

    def together(requests: list[solve.SolveRequest], size: int) -> list[tuple[int, int]]:
        asked.append(len(requests))
        return [(each.b.size, size) for each in requests]

    monkeypatch.setattr(tasks, "_together", together)
    assert tasks._answers([one, other, one, other, other], 6) == [(3, 6), (4, 6), (3, 6), (4, 6), (4, 6)]  # type: ignore[comparison-overlap]
    assert asked == [2, 3]


def test_solves_of_lanes_are_one_program(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three at a time, so that four tasks with four solves each are answered in eight rounds."""
    rounds: list[int] = []
    true = tasks._answers

    def counted(requests: list[solve.SolveRequest], size: int) -> object:
        rounds.append(len(requests))
        return true(requests, size)

    monkeypatch.setattr(tasks, "_answers", counted)
    list(tasks.run_batched([functools.partial(evaluated, model, P) for P in (0.3, 0.4, 0.5, 0.6)], SIZE))
    assert rounds == [3] * 4 + [1] * 4


def test_a_failed_solve_is_that_of_its_task_alone(model: Model) -> None:
    def failing(solver: solve.Solver | None) -> str:
        try:
            evaluated(model, 0.3, solver, max_steps=2, explain=False)
        except NotConverged as error:
            return str(error)
        return ""

    chores: list[Callable[[solve.Solver | None], object]] = [failing, functools.partial(evaluated, model, 0.3)]
    words, good = tasks.run_batched(chores, SIZE)
    assert "no convergence in 2 iterations" in str(words)
    assert isinstance(good, Evaluation) and np.all(np.isfinite(good.values))


def test_results_come_in_order_and_as_soon_as_they_are_known() -> None:
    begun: list[int] = []

    def task(number: int, solver: solve.Solver | None) -> int:
        begun.append(number)
        return number

    found = tasks.run_batched((functools.partial(task, k) for k in range(5)), 3)
    assert next(found) == 0 and begun == [0], "nothing waits for those after it"
    assert list(found) == [1, 2, 3, 4]


def noted(model: Model, ended: list[str], solver: solve.Solver | None) -> None:
    """An evaluation that says when it ends, however it does."""
    try:
        evaluated(model, 0.3, solver)
    finally:
        ended.append("waiting")


def test_an_exception_ends_all(model: Model) -> None:
    """The others are unwound: what they hold is let go of."""
    ended: list[str] = []
    waiting = functools.partial(noted, model, ended)

    def failing(solver: solve.Solver | None) -> None:
        raise OSError("disk full")

    found = tasks.run_batched([waiting, failing], SIZE)
    with pytest.raises(OSError, match="disk full"):
        next(found)
    assert ended == ["waiting"]


def test_results_that_nobody_takes_end_their_tasks(model: Model) -> None:
    ended: list[str] = []
    waiting = functools.partial(noted, model, ended)
    found = tasks.run_batched([waiting, lambda solver: None, waiting], SIZE)
    next(found)
    found.close()
    assert ended == ["waiting"] * 2


def test_as_many_as_there_is_memory_for(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    room = tasks.PER_SOLVE * model.unknowns / tasks.SHARE
    sizes = {"SC_PAGE_SIZE": 1, "SC_AVPHYS_PAGES": 0}
    assert tasks.capacity(model) == 1, "a lone CPU"
    several = dataclasses.replace(model, members=2)
    monkeypatch.setattr("os.sysconf", sizes.__getitem__)
    for solves, expected in ((0.5, 2), (3.5, 6), (1000, 2 * tasks.MOST)):
        sizes["SC_AVPHYS_PAGES"] = int(solves * room)
        assert tasks.capacity(several) == expected


@pytest.fixture(scope="module")
def rows(model: Model) -> list[Row]:
    """Signals of another magnet, to 5 %."""
    values = evaluate.evaluate(model, {"Fe.P": 0.45, "zeta": 1.3}, WANTED).values
    return [Row(name, signal, v, 0.05 * abs(v)) for (name, signal), v in zip(WANTED, map(float, values), strict=True)]


def test_no_answer_about_a_fit_depends_on_what_was_asked_before(model: Model, rows: list[Row]) -> None:
    """To the last bit, which the trajectories of a sampler would make visible: each begins from no fields but its own.

    Also of a fit whose noise is found from the scatter, which is minimised once more.
    """
    wild = [dataclasses.replace(row, value=row.value * (1 + 0.02 * (-1) ** k)) for k, row in enumerate(rows)]
    for free, rescaled in ((["Fe.P", "zeta"], False), (["zeta"], True)):
        result = inverse.fit(model, wild, free, inverse.FitOptions(grid_errors=False, rescaled=rescaled))
        once = posterior.emulate(result), profiles.profile(result, ["zeta"])[-1], budget.budget(result)
        profiles.profile(result, free[:1])
        again = posterior.emulate(result), profiles.profile(result)[-1], budget.budget(result)
        assert once[0].evaluations == again[0].evaluations > 5 and once[1].name == again[1].name == "zeta"
        np.testing.assert_array_equal(once[0].coefficients, again[0].coefficients)
        np.testing.assert_array_equal(once[1].tau, again[1].tau)
        np.testing.assert_array_equal(once[2].variances, again[2].variances)


def test_starts_profiles_and_emulators_go_side_by_side(
    model: Model, rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They find what one after another finds; a fit that was stopped goes on to the last bit.

    Solves are right to 1e-7, R1 and R2 to its square; minimisers end where chi2 changes by less than 1e-5.
    """
    free, options = ["Fe.P", "zeta"], inverse.FitOptions(grid_errors=False, starts=3)
    one_by_one = inverse.fit(model, rows, free, options)
    straight = profiles.profile(one_by_one)
    polynomial = posterior.emulate(one_by_one)

    monkeypatch.setattr(tasks, "capacity", lambda _: SIZE)
    sizes: list[int] = []
    true = tasks._together
    monkeypatch.setattr(tasks, "_together", lambda asked, size: (sizes.append(len(asked)), true(asked, size))[1])
    together = inverse.fit(model, rows, free, options, journal=tmp_path / "journal")
    assert sizes.count(3) >= 8 and len(together.minima) == len(one_by_one.minima) >= 1
    for name, each in together.parameters.items():
        assert abs(each.value - one_by_one.parameters[name].value) < 1e-3 * each.std
        assert each.std == pytest.approx(one_by_one.parameters[name].std, rel=1e-3)
    assert together.parameters["Fe.P"].value == pytest.approx(0.45, rel=1e-2)

    append = Journal._append
    for number in (4, 7):  # stopped when a start has its answer and the state beside it, but no line in the journal
        path, written = tmp_path / str(number), itertools.count()

        def stopped(self: Journal, entry: object, number: int = number, written: Any = written) -> None:
            if next(written) == number:
                raise KeyboardInterrupt
            append(self, entry)  # type: ignore[arg-type]

        monkeypatch.setattr(Journal, "_append", stopped)
        with pytest.raises(KeyboardInterrupt):
            inverse.fit(model, rows, free, options, journal=path)
        monkeypatch.setattr(Journal, "_append", append)
        again = inverse.fit(model, rows, free, options, journal=path)
        assert sorted(path.read_bytes().splitlines()) == sorted((tmp_path / "journal").read_bytes().splitlines())
        assert again.to_json() == together.to_json()

    for one, other in zip(straight, profiles.profile(together), strict=True):
        assert one.name == other.name
        np.testing.assert_allclose(other.limits["95 %"], one.limits["95 %"], rtol=1e-3)
    beside = posterior.emulate(together)
    assert beside.evaluations == polynomial.evaluations
    z = np.array([0.5, -1.0])
    np.testing.assert_allclose(beside.residuals(z), polynomial.residuals(z), rtol=1e-2, atol=1e-2)
