"""Designs: where the best device is known, on the way back from an interruption, and where nothing can be done."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import gdstk
import numpy as np
import pytest
from typer.testing import CliRunner

from helpers.devices import MATERIALS, VALVE
from thermospin.base.errors import InputError, NotConverged
from thermospin.cli import app, designing
from thermospin.data.rows import Row
from thermospin.designs import checks, limits, search
from thermospin.designs.checks import DesignCheck
from thermospin.designs.climb import ENOUGH, OneGrid
from thermospin.designs.limits import SLACK, Limits
from thermospin.designs.objective import DENSEST, HOTTEST, Objective, StandardErrorFit
from thermospin.designs.predictor import DesignPredictor
from thermospin.designs.result import Design, DesignStep
from thermospin.designs.search import Search
from thermospin.device import edit, gds, reader
from thermospin.device.device import Device
from thermospin.device.interfaces import Interface
from thermospin.inference import journal as journals
from thermospin.model import GridOptions, build
from thermospin.parallel import tasks
from thermospin.report import design_files
from thermospin.signals import evaluate

WIRE = (
    """
# a wire of two widths
name = "wire"
length_unit = "nm"
[dimensions]
length = { value = 200, range = [150, 240] } # of the narrow part
width = { value = 30, std = 2, range = [15, 60] }
height = "20 nm"
[[solids]]
name = "narrow"
material = "Cu"
box = { x = [0, "length"], y = [0, "width"], z = [0, "height"] }
[[solids]]
name = "wide"
material = "Cu"
box = { x = [-100, 0], y = [0, 90], z = [0, "height"] }
[[contacts]]
name = "in"
solid = "wide"
face = "x-"
[[contacts]]
name = "out"
solid = "narrow"
face = "x+"
[experiments.main]
current = ["in", "out"]
voltage = ["in", "out"]
states = { P = {}, AP = {} }
"""
    + MATERIALS
)
RANGES = VALVE.replace("width = 40\n", "width = { value = 40, std = 3, range = [20, 70] }\n")


@pytest.fixture(scope="module")
def wire() -> Device:
    return reader.read(WIRE, "wire.toml")


@pytest.fixture(scope="module")
def valve() -> Device:
    return reader.read(RANGES, "valve.toml")


@pytest.mark.parametrize("drive", ["current", "power"])
def test_the_hottest_point_has_a_derivative(drive: str, valve: Device) -> None:
    """Against a central difference of 0.2 %, which is right to 4e-6 of the scale, over solves right to 1e-7."""
    signal = "R2.spin"
    if drive == "power":
        heated = dataclasses.replace(valve.experiments["local"], current=None, power={"left": 1e-4})
        valve, signal = dataclasses.replace(valve, experiments={"local": heated}), "R1.spin"
    model = build(valve, cells=150, order=1)
    objective = Objective.parse(f"local {signal} / local {HOTTEST}", valve)
    predict = DesignPredictor(model, objective.wanted)
    names = ["gap", "width", "height"]
    values, jacobian = predict(valve.numbers(), names)
    assert values[1] > 0
    for k, name in enumerate(names):
        at, by = valve.lengths()[name], 2e-3 * valve.lengths()[name]
        ends = [predict(valve.numbers() | {name: at + sign * by}, ())[0] for sign in (1, -1)]
        expected = (ends[0] - ends[1]) / (2 * by)
        assert np.abs(jacobian[:, k] - expected) * at / np.abs(values) == pytest.approx(0.0, abs=1e-3)
    assert np.max(np.abs(jacobian[1]) * 30e-9 / values[1]) > 0.1


@pytest.mark.slow
def test_the_density_of_a_straight_wire_is_current_over_cross_section(wire: Device) -> None:
    """Of the narrow part, 200 nm of 30 x 20 nm: the even current, and what its start adds, some percent."""
    model = build(wire, cells=300, order=2)
    predict = DesignPredictor(model, [("main", DENSEST)])
    values, slopes = predict(wire.numbers(), ["width", "height"])
    even = 1 / (30e-9 * 20e-9)
    assert even < values[0] < 1.05 * even
    # d ln j / d ln height is -1 exactly, by width a little less for the funnel; the step is 1e-3, the bend of ln j 1.
    assert slopes[0, 1] * 20e-9 / values[0] == pytest.approx(-1, abs=2e-3)
    assert -1.1 < slopes[0, 0] * 30e-9 / values[0] < -0.8


def test_a_standard_error_is_that_of_the_normal_equations() -> None:
    rng = np.random.default_rng(0)
    rows = tuple(Row("e", "R1.P", 0.0, std) for std in (0.1, 0.2, 0.5, 1.0))
    jacobian = rng.normal(size=(4, 3)) * (1, 1e6, 1e-9)
    fit = StandardErrorFit(rows, ("a", "b", "c"))
    covariance = np.linalg.inv(jacobian.T @ np.diag([row.std**-2 for row in rows]) @ jacobian)
    for k, name in enumerate(fit.free):
        assert fit.std(jacobian, name) == pytest.approx(np.sqrt(covariance[k, k]), rel=1e-9)


@pytest.mark.slow
def test_a_standard_error_as_an_objective(valve: Device, unchecked: None, tmp_path: Path) -> None:
    """It falls, and is what the fit of the same data says at the start."""
    rows = tuple(Row("local", f"R2.{part}", 1.0, std) for part, std in (("baseline", 1e3), ("spin", 10.0)))
    fit = StandardErrorFit(rows, ("zeta", "Fe.S_s"))
    grid = GridOptions(cells=200, order=1)
    found = search.design(valve, "1 / std Fe.S_s", ["gap", "width"], fit=fit, search=Search(4), grid=grid)
    assert found.steps[-1].objective > 1.05 * found.steps[0].objective
    model = build(valve, cells=200, order=1)
    jacobian = evaluate.evaluate(model, {}, [(r.experiment, r.signal) for r in rows], fit.free).jacobian
    assert found.steps[0].objective == pytest.approx(1 / fit.std(jacobian, "Fe.S_s"), rel=1e-4)


def test_a_standard_error_needs_a_fit(valve: Device) -> None:
    fit = StandardErrorFit(
        (Row("local", "R2.spin", 1.0, 1.0), Row("local", "R2.baseline", 1.0, 1.0)), ("zeta", "Fe.S_s")
    )
    with pytest.raises(ValueError, match="the standard error of Fe.S_s needs the data of a fit"):
        search.design(valve, "1 / std Fe.S_s", ["gap"])
    with pytest.raises(ValueError, match="free: Fe.P is not there, its standard error would be 0"):
        search.design(valve, "1 / std Fe.P", ["gap"], fit=fit)
    for std, found in ((0.0, "0"), (np.nan, "nan")):
        faulty = dataclasses.replace(fit, rows=(fit.rows[0], Row("local", "R2.baseline", 1.0, std)))
        with pytest.raises(InputError, match=f"^fit: local R2.baseline: got std {found}, expected a finite one above"):
            search.design(valve, "1 / std Fe.S_s", ["gap"], fit=faulty)
    jacobian = np.array([[0.0, 1.0], [0.0, 2.0]])
    with pytest.raises(ValueError, match="the data do not depend on zeta; give more data, or --free Fe.S_s"):
        fit.std(jacobian, "Fe.S_s")
    assert fit.std(np.ones((2, 2)), "Fe.S_s") > 1e6, "only their sum is fixed"


def test_zeta_is_free_by_itself_where_the_data_depend_on_it(valve: Device, tmp_path: Path) -> None:
    objective = Objective.parse("1 / std Fe.P", valve)
    for signal, free in (("R1", ("Fe.P",)), ("R2", ("zeta", "Fe.P"))):
        unit = {"R1": "ohm", "R2": "V/A^2"}[signal]
        data = tmp_path / f"{signal}.csv"
        data.write_text(
            "experiment,signal,value,std,unit\n"
            + "".join(f"local,{signal}.{part},1,1,{unit}\n" for part in ("spin", "baseline"))
        )
        fit = designing._standard_error_fit(str(data), [], objective, valve)
        assert fit is not None and fit.free == free


def test_limits_hold_for_the_design(wire: Device, unchecked: None) -> None:
    """The voltage of a wire grows as it gets narrower, until the density is as large as allowed, to SLSQP's 1e-3."""
    wish = {"search": Search(15), "grid": GridOptions(cells=200, order=1)}
    found = search.design(wire, "main R1.P", ["width"], limits=Limits(1e-3, density=2e12), **wish)
    best = max((s for s in found.steps if s.excess <= 1 + SLACK), key=lambda s: s.objective)
    assert best.lengths == {"width": pytest.approx(found.device.lengths()["width"])}
    assert 0.97 < best.excess <= 1 + SLACK
    # j = I/(width height) but for the funnel: 25 nm, to its few percent.
    assert best.lengths["width"] == pytest.approx(1e-3 / 2e12 / 20e-9, rel=0.06)
    # A check on another grid that finds more than the search did is no fault of the device alone.
    pair = ("main", "densest")
    end = dataclasses.replace(found.end, signals={pair: (2.2e12, 0.0)})
    told = dataclasses.replace(found, start=end, end=end, limits={pair: 2e12})
    assert any("1.1: on the grid of the search it was within" in line for line in told.words())
    far = tuple(dataclasses.replace(step, excess=1.1) for step in told.steps)
    assert any("no device nearby keeps it" in line for line in dataclasses.replace(told, steps=far).words())
    free = search.design(wire, "main R1.P", ["width"], **wish)
    assert free.device.lengths()["width"] < 0.8 * best.lengths["width"], "negative control: without the limit"


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start and end are not computed once more, which takes longer than a short way."""
    nothing = DesignCheck({}, (1.0, 0.0), float("nan"))
    monkeypatch.setattr(checks, "checked", lambda *_: nothing)


def test_starts_side_by_side_find_the_same_highest(
    wire: Device, unchecked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wire has one maximum: long and narrow; three starts, two at a time."""
    monkeypatch.setattr(tasks, "capacity", lambda _: 2)
    found = search.design(wire, "main R1.P", search=Search(12, starts=3), grid=GridOptions(cells=60, order=1))
    assert len(found.tops) == 3
    for top in found.tops:
        assert top.lengths == {"length": pytest.approx(240e-9), "width": pytest.approx(15e-9)}
    assert found.device.lengths()["width"] == pytest.approx(15e-9)
    assert found.words()[-4].split() == ["start", "|main", "R1.P|", "length", "width"]
    starts = search._scattered(wire, ["length", "width"], 20e-9, 5)
    widths = [each.lengths()["width"] for each in starts]
    assert len(set(widths)) == 4 and min(widths) >= 20e-9, "narrower ones have too small a feature"


def test_a_start_without_any_solution_is_left_out(
    wire: Device, unchecked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device itself has one; where it has none, either, there is no design."""
    objectives = iter([1.0, float("nan"), float("nan")])

    def climb(self: OneGrid, _: int) -> tuple[list[DesignStep], str]:
        return [DesignStep(wire.lengths(), next(objectives), 1)], "told so"

    monkeypatch.setattr(OneGrid, "climb", climb)
    options = {"search": Search(1, starts=2), "grid": GridOptions(cells=60, order=1)}
    design = search.design(wire, "main R1.P", **options)
    assert design.device.lengths() == wire.lengths() and len(design.steps) == 1 and not design.tops
    with pytest.raises(NotConverged, match="objective: has no value at the start"):
        search.design(wire, "main R1.P", search=Search(1), grid=options["grid"])


def stub_climb(monkeypatch: pytest.MonkeyPatch, climb: Callable[[dict[str, float], int], list[DesignStep]]) -> None:
    """Replace the search on a grid by steps from where it begins and the number of evaluations that are left."""

    def stub(self: OneGrid, most: int) -> tuple[list[DesignStep], str]:
        lengths = self._origin + self._size * self._start
        return climb(dict(zip(self._task.names, map(float, lengths), strict=True)), most), "no better device nearby"

    monkeypatch.setattr(OneGrid, "climb", stub)


COARSE = GridOptions(cells=60, order=1)


@pytest.mark.parametrize(("value", "words"), [(0.0, "is 0 at the start"), (math.inf, "is infinite at the start")])
def test_an_objective_without_logarithm_is_told(
    value: float, words: str, wire: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub_climb(monkeypatch, lambda at, _: [DesignStep(at, value, 1)])
    with pytest.raises(ValueError, match=f"objective: {words}"):
        search.design(wire, "main R1.P", grid=COARSE)


def test_a_signal_that_is_0_is_no_objective(valve: Device, unchecked: None) -> None:
    with pytest.raises(ValueError, match="objective: is 0 at the start"):
        cold = dataclasses.replace(valve, zeta=0.0)
        search.design(cold, "local R2.spin", ["gap"], search=Search(2, robust=1.0), grid=COARSE)


def test_the_end_of_a_grid_is_no_optimum(wire: Device, unchecked: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stretch counts from the device that a grid was made for; where only grids or steps end, that is told."""

    def shrink(at: dict[str, float], most: int) -> list[DesignStep]:
        # The first evaluation is not where the grid was made for, as where bounds clip it.
        return [DesignStep({**at, "width": at["width"] * by}, 1 / by, 1) for by in (0.6, 0.5)][:most]

    stub_climb(monkeypatch, shrink)
    wide = wire.moved({"width": 60e-9})
    found = search.design(wide, "main R1.P", ["width"], search=Search(4), grid=COARSE)
    assert found.device.lengths()["width"] == pytest.approx(15e-9) and found.message == ENOUGH
    monkeypatch.setattr(search, "GRIDS", 1)
    found = search.design(wide, "main R1.P", ["width"], grid=COARSE)
    assert "as many grids as are allowed, 1" in found.message
    stub_climb(monkeypatch, lambda at, _: [DesignStep(at, 1.0, 1)])
    assert search.design(wide, "main R1.P", ["width", "width"], grid=COARSE).vary == ("width",)


def test_ends_of_starts_compare_on_grids_made_for_them(
    wire: Device, unchecked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values 9 % apart on the grids of their ways; ends that are one device have one value."""
    ends = iter([(20e-9, 1.0), (20.1e-9, 1.09), (40e-9, 1.05)])

    def climb(at: dict[str, float], most: int) -> list[DesignStep]:
        if most == 1:  # the end, once more
            return [DesignStep(at, 30e-9 / at["width"], 2)]
        width, value = next(ends)
        return [DesignStep({"width": width}, value, 1)]

    stub_climb(monkeypatch, climb)
    monkeypatch.setattr(search, "STRETCH", 10.0)
    found = search.design(wire, "main R1.P", ["width"], search=Search(9, starts=3), grid=COARSE)
    assert [top.objective for top in found.tops] == pytest.approx([1.5, 1.5, 0.75])
    assert found.device.lengths()["width"] == pytest.approx(20e-9)


def test_faces_that_end_at_their_smallest_distance_are_told(unchecked: None) -> None:
    """A wider wire conducts better: it widens until 1 nm is left to the side of the wide part, at 90 nm."""
    text = WIRE.replace("value = 30, std = 2, range = [15, 60]", "value = 88.5, range = [15, 89.9]")
    device = reader.read(text, "wire.toml")
    found = search.design(device, "1 / main R1.P", ["length", "width"], search=Search(8), grid=COARSE)
    assert found.device.lengths()["width"] == pytest.approx(89e-9, rel=1e-4)
    ranges = {name: words for name, *_, words in found.tables()[0]}
    assert ranges["width"] == "15 to 89.9 nm, at faces 1 nm apart"
    assert ranges["length"] == "150 to 240 nm, at its lowest"


def test_dimensions_of_what_is_as_small_as_the_feature(wire: Device) -> None:
    """A side of 30 nm, the width; 200 nm, the length, is larger, and so is 90 nm, which nothing changes."""
    assert limits.at_feature(wire, ["length", "width"], 30e-9) == {"width"}
    assert limits.at_feature(wire, ["length", "width"], 29e-9) == limits.at_feature(wire, ["width"], None) == set()
    assert limits.at_feature(wire, ["length"], 30e-9) == set()


def test_a_robust_objective_is_that_of_the_worst_device_nearby(valve: Device, unchecked: None) -> None:
    plain, robust = (
        search.design(
            valve,
            "local R1.spin",
            ["gap", "width"],
            search=Search(steps=1, robust=stds),
            grid=GridOptions(cells=150, order=1),
        )
        for stds in (0.0, 1.0)
    )
    model = build(valve, cells=150, order=1)
    slope = evaluate.evaluate(model, {}, [("local", "R1.spin")], ["gap", "width"])
    stds = np.array([4e-9, 3e-9])
    spread = np.linalg.norm(slope.jacobian[0] / slope.values[0] * stds)
    lost = np.log(plain.steps[0].objective / robust.steps[0].objective)
    # To first order; the second is about the square.
    assert lost == pytest.approx(spread, abs=2 * spread**2) and spread > 0.02


def test_a_design_goes_on_where_it_was_stopped(
    valve: Device, unchecked: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(journal: Path, steps: int) -> Design:
        grid = GridOptions(cells=100, order=1)
        return search.design(valve, "local R1.spin", search=Search(steps), grid=grid, journal=journal)

    whole = run(tmp_path / "whole.jsonl", 4)
    run(tmp_path / "parts.jsonl", 2)
    counted: list[int] = []
    plain = evaluate.evaluate
    monkeypatch.setattr(evaluate, "evaluate", lambda *a, **k: counted.append(1) or plain(*a, **k))
    rest = run(tmp_path / "parts.jsonl", 4)
    assert [step.lengths for step in rest.steps] == [step.lengths for step in whole.steps]
    for step in whole.steps:
        assert 30e-9 <= step.lengths["gap"] <= 90e-9 and 20e-9 <= step.lengths["width"] <= 70e-9
    assert max(step.objective for step in whole.steps) > 1.1 * whole.steps[0].objective
    assert len(counted) == len(whole.steps) - 2


def test_a_journal_does_not_mix_the_grids_of_different_ways(
    wire: Device, unchecked: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Limits are not in the question that a journal answers: the first grid is the same, the second is another one."""
    for module in (limits, search):
        monkeypatch.setattr(module, "STRETCH", 1.1)
    labels: list[list[str]] = []
    keep = journals.Journal.keep
    monkeypatch.setattr(
        journals.Journal,
        "keep",
        lambda self, predict, label, parts: labels[-1].append(label) or keep(self, predict, label),
    )
    for feature in (28e-9, 20e-9):
        labels.append([])
        journal = tmp_path / f"{feature}.jsonl"
        search.design(
            wire,
            "main R1.P",
            limits=Limits(feature=feature),
            search=Search(8),
            grid=GridOptions(cells=60, order=1),
            journal=journal,
        )
    assert labels[0][0] == labels[1][0]
    assert labels[0][1] != labels[1][1]


def test_objectives_have_all_names_that_a_device_may_have(valve: Device) -> None:
    """Spaces and slashes in names of experiments, states and interfaces."""
    experiment = dataclasses.replace(valve.experiments["local"], name="non local/1", states={"up up": {}})
    faces = (Interface("Fe/Cu", ("Fe", "Cu"), RA=1e-15),)
    device = dataclasses.replace(valve, experiments={"non local/1": experiment}, interfaces=faces)
    signal = ("non local/1", "R2.up up")
    for text, first, other in (
        ("non local/1 R2.up up", signal, None),
        ("|non local/1 R2.up up|/|non local/1 hottest|", signal, ("non local/1", "hottest")),
        ("1 / std Fe/Cu.RA", None, ("std", "Fe/Cu.RA")),
        ("non local/1 R2.up up / std Fe/Cu.RA", signal, ("std", "Fe/Cu.RA")),
    ):
        objective = Objective.parse(text, device)
        assert (objective.signal, objective.other) == (first, other)
        assert Objective.parse(str(objective).replace("|std Fe/Cu.RA|", "std Fe/Cu.RA"), device) == objective


@pytest.mark.parametrize(
    ("objective", "options", "words"),
    [
        ("local", {}, "expected a signal such as"),
        ("local R2.spin / local R2.spin / local R2.spin", {}, "expected a signal such as"),
        ("lokal R2.spin", {}, "did you mean 'local'"),
        ("local R2.spn", {}, "did you mean 'spin'"),
        ("local R2.spin", {"vary": ["gpa"]}, "did you mean 'gap'"),
        ("local R2.spin", {"vary": ["height"]}, "height has no range"),
        ("local R2.spin", {"limits": Limits(feature=50e-9)}, "feature: 'left' along y is 40 nm already"),
        (Objective(("lokal", "R1.spin")), {}, "objective: got experiment 'lokal'; did you mean 'local'"),
        (Objective(("local", "R1.spn")), {}, "objective: got signal 'R1.spn'; did you mean 'spin'"),
        ("local R2.spin / local R2.spin", {}, "'local R2.spin' over itself, which is 1"),
    ],
)
def test_what_cannot_be_designed_is_told(valve: Device, objective: str | Objective, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        search.design(valve, objective, **options)


@pytest.mark.parametrize("robust", [0.0, 1.0])
def test_a_start_outside_its_range_is_refused(robust: float, valve: Device) -> None:
    with pytest.raises(ValueError, match=r"vary: gap starts at 200 nm, expected a range around it, got 30 to 90 nm"):
        search.design(valve.moved({"gap": 200e-9}), "local R1.spin", ["gap"], search=Search(robust=robust))
    with pytest.raises(ValueError, match=r"'gap', range: got 60 to 60 nm, expected one with a width"):
        reader.read(RANGES.replace("[30, 90]", "[60, 60]"), "valve.toml")
    assert search._varied(valve.moved({"gap": 90e-9 * (1 + 1e-15)}), ["gap"]) == ["gap"], "but for rounding"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Limits(1e-3, temperature=math.nan), "got a temperature of nan K"),
        (lambda: Limits(1e-3, temperature=0.0), "got a temperature of 0 K, expected a finite one above 0"),
        (lambda: Limits(1e-3, density=-1.0), "got a density of -1 A"),
        (lambda: Limits(feature=-10e-9), "got a feature of -1e-08 m"),
        (lambda: Limits(math.inf), "got a drive of inf"),
        (lambda: Search(steps=0), "steps: got 0, expected a whole number of at least 1"),
        (lambda: Search(steps=1.5), "steps: got 1.5, expected a whole number of at least 1"),
        (lambda: Search(steps=1, starts=0), "starts: got 0, expected a whole number of at least 1"),
        (lambda: Search(robust=-1.0), "robust: got -1"),
        (lambda: Search(robust=math.nan), "robust: got nan"),
        (lambda: Objective(None), "objective: got nothing"),
        (lambda: Objective(("e", "R1.P"), ("e", "R1.P")), "'e R1.P' over itself"),
    ],
)
def test_values_without_meaning_are_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--current", "2 bananas"], '--drive: got "2 bananas"'),
        (["--tile", "20 nm"], "--tile: is the size of the tiles of a form"),
        (["--form", "left"], "objective: got experiment 'lokal'"),
        (["--form", "left", "--vary", "gap", "--starts", "3"], "--form: goes without --vary, --starts"),
        (["--form", "left", "--max-density", "1 A/m^2", "--robust", "1"], "goes without --robust, --max-density"),
        (["--max-temperature", "0 K", "--drive", "2 mA"], "limits: got a temperature of 0 K"),
        (["--feature", "x", "--current", "y", "--max-density", "z"], '--feature: got "x"'),
        (["--max-density", "z"], "--drive: is what limits are meant at"),
        (["--drive", "2 mA"], "give --max-temperature or --max-density, or no drive"),
    ],
)
def test_the_command_refuses_options_that_do_not_apply(options: list[str], words: str, tmp_path: Path) -> None:
    """Faults come in the order of the work."""
    (tmp_path / "valve.toml").write_text(RANGES)
    args = ["design", str(tmp_path / "valve.toml"), "--objective", "lokal R1.spin", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app.app, [*args, *options])
    assert result.exit_code == 2 and words in result.output


@pytest.mark.parametrize(
    ("objective", "options", "words"),
    [
        ("1 / std Fe.P", ["--free", "Fe.P"], "--free: frees parameters of a fit, whose data are missing; give --data"),
        ("local R1.spin", ["--free", "Fe.P"], "--free: the objective '|local R1.spin|' has no standard error"),
        ("local R1.spin", ["--data", "rows.csv", "--free", "Fe.P"], "--data and --free: the objective"),
    ],
)
def test_options_of_a_fit_that_a_design_has_not_are_refused(
    objective: str, options: list[str], words: str, tmp_path: Path
) -> None:
    (tmp_path / "valve.toml").write_text(RANGES)
    args = ["design", str(tmp_path / "valve.toml"), "--objective", objective, "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app.app, [*args, *options])
    assert result.exit_code == 2 and words in " ".join(result.output.split()), result.output


def test_a_file_that_does_not_load_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_: object, folder: Path, *__: object) -> list[str]:
        (folder / "device.toml").write_text(RANGES.replace("width = ", "unused = 1\nwidth = ", 1))
        return ["device.toml", "history.png"]

    monkeypatch.setattr(search, "design", lambda *_, **__: None)
    monkeypatch.setattr(design_files, "write_design", write)
    (tmp_path / "valve.toml").write_text(RANGES)
    args = ["design", str(tmp_path / "valve.toml"), "--objective", "local R1.spin", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app.app, args)
    assert result.exit_code == 2 and "'unused': no coordinate uses it" in result.output


def test_a_device_without_ranges_cannot_be_designed(wire: Device) -> None:
    text = WIRE.replace(", range = [150, 240]", "").replace(", range = [15, 60]", "")
    with pytest.raises(ValueError, match="no dimension has no range|has no range"):
        search.design(reader.read(text, "wire.toml"), "main R1.P")
    with pytest.raises(ValueError, match="temperature and density are meant at a drive"):
        Limits(density=1e12)
    with pytest.raises(ValueError, match="none of length has a std"):
        search.design(wire, "main R1.P", ["length"], search=Search(robust=1.0))


def test_a_file_keeps_all_but_the_values_of_its_dimensions() -> None:
    text = edit.with_lengths(WIRE, {"length": 210.5e-9, "width": 20e-9, "height": 25e-9})
    assert "# of the narrow part" in text and "# a wire of two widths" in text
    assert "value = 210.5, range = [150, 240]" in text and 'height = "25 nm"' in text
    device = reader.read(text, "wire.toml")
    assert device.lengths() == pytest.approx({"length": 210.5e-9, "width": 20e-9, "height": 25e-9})
    assert edit.with_lengths(WIRE, {}) == WIRE


def test_a_layout_has_every_solid_and_contact(valve: Device, tmp_path: Path) -> None:
    words = gds.write(valve, tmp_path / "valve.gds")
    cell = gdstk.read_gds(tmp_path / "valve.gds").top_level()[0]
    found = [1e3 * np.array(each.bounding_box()).ravel() for each in cell.polygons]
    expected = [[1e9 * solid.box[k][side] for side in (0, 1) for k in (0, 1)] for solid in valve.solids]
    assert np.allclose(found, expected, rtol=0, atol=1e-6)
    assert {label.text for label in cell.labels} == {"in", "out", "side"}
    assert words[0] == "layer 1: oxide, z from -60 to 0 nm" and len(words) == len(gds.layers(valve))
    again = tmp_path / "again.gds"
    gds.write(valve, again)
    assert again.read_bytes() == (tmp_path / "valve.gds").read_bytes()


def test_the_resistance_of_a_wire_is_largest_where_it_is_long_and_as_narrow_as_allowed(tmp_path: Path) -> None:
    """By the command, and read again from what it wrote.

    Most of the resistance is the narrow part's, length/(sigma width height). At the end that is 240/20 of 200/30 times
    what it was, 1.8; the wide part and the constriction are less than a fifth of the whole and do not shrink.
    """
    (tmp_path / "wire.toml").write_text(WIRE)
    args = ["design", str(tmp_path / "wire.toml"), "--objective", "main R1.P", "--vary", "length", "width"]
    args += ["--feature", "20 nm", "--cells", "60", "--order", "1", "--out", str(tmp_path / "out")]
    args += ["--set", "zeta = 2"]
    result = CliRunner().invoke(app.app, args)
    assert result.exit_code == 0, result.output
    for name in ("device.toml", "layout.gds", "design.json", "history.png", "journal.jsonl"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    made = reader.load(tmp_path / "out" / "device.toml")
    assert made.lengths() == pytest.approx({"length": 240e-9, "width": 20e-9, "height": 20e-9}, rel=1e-6)
    assert made.zeta == 2
    text = json.loads((tmp_path / "out" / "design.json").read_text())
    assert text["after"] == pytest.approx({name: made.lengths()[name] for name in ("length", "width")}, rel=1e-6)
    gain, bar = text["gain"]
    assert 1.4 < gain - 2 * bar and gain < 1.9
    narrow = 240 / (3e7 * 20 * 20e-9)
    assert narrow < text["end"]["signals"]["main R1.P"][0] < 1.25 * narrow
    assert text["end"]["spread"] > 0
    assert "times what it was" in result.output
    assert "150 to 240 nm, at its highest\n" in result.output and "15 to 60 nm, at the feature\n" in result.output
