"""Lock-in sweeps: the factors of the convention, recovery of a known truth, and files that are wrong in many ways."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colors, image
from typer.testing import CliRunner

from thermospin.cli import app
from thermospin.data import experiment_file, lockin, regression
from thermospin.data import rows as data
from thermospin.data.experiment_file import Sweeps, Trace
from thermospin.data.lockin import reduce
from thermospin.data.rows import DataError
from thermospin.device.device import Device
from thermospin.device.reader import load
from thermospin.report import style

TRUTH = {
    "P": {"R1": 2.0, "R2": -24.0, "R3": -4000.0, "R4": 3e5},
    "AP": {"R1": 1.99, "R2": -23.9, "R3": -3900.0, "R4": 2.99e5},
}
CURRENTS = (0.5e-3, 1.0e-3, 1.5e-3)


@pytest.fixture(scope="module")
def device() -> Device:
    return load("slachter2010")


# ------------------------------------------------------------------------------------------- synthetic data


def voltages(state: str, current: float) -> dict[int, float]:
    R = TRUTH[state]
    return {n: sum(R[f"R{m}"] * factor for m, factor in regression.terms(n, current).items()) for n in (1, 2, 3)}


def trace(
    rng: np.random.Generator,
    current: float,
    *,
    noise: float = 2e-8,
    harmonics: tuple[int, ...] = (1, 2),
    source: str = "a.csv",
    experiment: str = "thermal",
    up: bool = True,
    switches: bool = True,
    factor: float = 1.0,
) -> Trace:
    field = np.linspace(-60e-3, 60e-3, 61) * (1 if up else -1)
    apart = switches & (abs(field) > 15e-3) & (abs(field) < 35e-3) & ((field > 0) == up)
    P, AP = voltages("P", current), voltages("AP", current)
    found = {
        n: factor * (np.where(apart, AP[n], P[n]) + noise * rng.standard_normal(61) + noise * np.linspace(-1, 1, 61))
        for n in harmonics
    }
    return Trace(f"{source}, {1e3 * current:g} mA", experiment, current, field, found, 0, source)


def all_traces(rng: np.random.Generator, **options: object) -> list[Trace]:
    return [trace(rng, current, up=up, **options) for current in CURRENTS for up in (True, False)]  # type: ignore[arg-type]


def expected(signal: str) -> float:
    harmonic, part = signal.split(".")
    P, AP = (TRUTH[state][harmonic] for state in ("P", "AP"))
    return (P + AP) / 2 if part == "baseline" else P - AP


def test_signals_come_back_with_calibrated_bars_and_correlations() -> None:
    """Mean of chi2 over 60 data sets: 4 rows, +- 4 sqrt(2*4/60); Birge's factor may only widen."""
    found, spread = [], []
    for seed in range(60):
        measured = reduce(Sweeps(tuple(all_traces(np.random.default_rng(seed)))))
        assert [row.signal for row in measured.rows] == ["R1.baseline", "R1.spin", "R2.baseline", "R2.spin"]
        assert {row.signal for row in measured.higher} > {"R3.baseline", "R4.baseline"}
        pulls = np.array([(row.value - expected(row.signal)) / row.std for row in measured.rows])
        found.append(pulls @ np.linalg.solve(measured.correlation, pulls))
        spread.append(pulls)
    assert 2.2 < np.mean(found) < 5.5
    assert np.all(np.std(spread, axis=0) < 1.3) and np.all(np.std(spread, axis=0) > 0.7)
    # Of the step less is in common: the bar of the baseline has an offset besides.
    assert abs(measured.correlation[0, 1]) > 0.1, "P rests on more points than AP"


def test_r3_of_the_third_harmonic_needs_one_current() -> None:
    traces = [trace(np.random.default_rng(1), 1e-3, harmonics=(1, 3), up=up) for up in (True, False)]
    measured = reduce(Sweeps(tuple(traces)))
    (third,) = (row for row in measured.higher if row.signal == "R3.baseline")
    assert third.value == pytest.approx(expected("R3.baseline"), abs=5 * third.std)
    (first,) = (row for row in measured.rows if row.signal == "R1.baseline")
    assert first.value == pytest.approx(expected("R1.baseline"), abs=5 * first.std)


def test_a_gain_that_is_known_to_a_part_correlates_all_signals() -> None:
    traces = tuple(all_traces(np.random.default_rng(2)))
    exact, loose = reduce(Sweeps(traces)), reduce(Sweeps(traces, gain_std=0.02))
    for one, other in zip(exact.rows, loose.rows, strict=True):
        assert other.std == pytest.approx(math.hypot(one.std, 0.02 * abs(one.value)))
    # Both baselines are known far better than the gain: their ratio is what they know.
    assert loose.correlation[0, 2] == pytest.approx(-1.0, abs=1e-3)


def test_a_sweep_whose_step_is_lost_borrows_the_switching_fields() -> None:
    rng = np.random.default_rng(3)
    strong = all_traces(rng)
    weak = trace(rng, 0.5e-3, noise=3e-6)
    measured = reduce(Sweeps((*strong, weak)))
    assert [each.borrowed for each in measured.sweeps] == [False] * 6 + [True]
    assert any("1 of 7 sweeps show no clear step" in note for note in measured.notes)
    assert ["(" in line for line in measured.words()[2:9]] == [False] * 6 + [True], "in brackets: borrowed"
    alone = reduce(Sweeps(tuple(strong)))
    for one, other in zip(alone.rows, measured.rows, strict=True):
        assert abs(one.value - other.value) < 4 * max(one.std, other.std)


def test_a_sweep_that_should_switch_and_does_not_is_left_out() -> None:
    rng = np.random.default_rng(4)
    good = [trace(rng, current, up=up) for current in CURRENTS for up in (True, False)]
    measured = reduce(Sweeps((*good, trace(rng, 1e-3, switches=False))))
    assert measured.sweeps[-1].switch is None and "should step by" in measured.sweeps[-1].why
    assert any("is not used" in note for note in measured.notes)
    assert [r.value for r in measured.rows] == [r.value for r in reduce(Sweeps(tuple(good))).rows]


def test_repeats_that_disagree_widen_the_bars_and_are_told() -> None:
    rng = np.random.default_rng(5)
    good = all_traces(rng)
    moved = all_traces(rng, factor=1.01)
    one, both = reduce(Sweeps(tuple(good))), reduce(Sweeps((*good, *moved)))
    assert both.rows[0].std > 5 * one.rows[0].std
    assert any("standard deviations apart at the same current" in note for note in both.notes)
    assert any("sweeps are offset by" in note for note in both.notes)
    assert any("steps of sweeps scatter" in note for note in both.notes)


def test_a_factor_of_root_two_between_files_or_harmonics_is_an_error() -> None:
    rng = np.random.default_rng(6)
    for factor, words in (
        (math.sqrt(2), "times that of a.csv at 0.5 mA: a factor sqrt(2)"),
        (2.0, "a factor 2, as between"),
    ):
        with pytest.raises(DataError) as caught:
            reduce(Sweeps((*all_traces(rng), *all_traces(rng, source="b.csv", factor=factor))))
        assert words in str(caught.value)
    traces = [trace(rng, current, harmonics=(1, 2, 3), up=up) for current in CURRENTS for up in (True, False)]
    reduce(Sweeps(tuple(traces)))
    third = [
        Trace(t.label, t.experiment, t.current, t.field, {**t.voltages, 3: math.sqrt(2) * t.voltages[3]}, 0, t.source)
        for t in traces
    ]
    with pytest.raises(DataError, match=r"R3 from V1 .* a factor sqrt\(2\)"):
        reduce(Sweeps(tuple(third)))


def changed(each: Trace, **factors: float) -> Trace:
    """The trace with voltages multiplied, such as V1=10."""
    return dataclasses.replace(each, voltages={n: factors.get(f"V{n}", 1.0) * v for n, v in each.voltages.items()})


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ({"V1": -1.0}, "leads that are swapped"),
        ({"V1": 10.0}, "a power of ten, as of a range or a unit"),
        ({"V2": 3.0}, r"R2 in .* times that of"),
        ({"V2": 0.5}, r"R2 in .* times that of"),
    ],
)
@pytest.mark.parametrize("same_file", [True, False])
def test_files_and_currents_that_contradict_each_other_are_an_error(
    factors: dict[str, float], words: str, same_file: bool
) -> None:
    """At another current, where R3 and R4 could make up for it, and at the same one, where scatter could."""
    traces = all_traces(np.random.default_rng(9))
    if same_file:
        traces = [changed(each, **factors) if each.current == CURRENTS[-1] else each for each in traces]
    else:
        traces += [dataclasses.replace(changed(each, **factors), source="b.csv") for each in traces]
    with pytest.raises(DataError, match=words):
        reduce(Sweeps(tuple(traces)))


def test_a_constant_offset_of_a_file_is_no_contradiction() -> None:
    """V2 off by 2/5 of its level at 0.5 mA: R2 there is off by more than R4 explains, and its step too small to tell.

    One current of three off by sqrt(2) is no offset, and no peak value either: all are of one column.
    """
    usual = all_traces(np.random.default_rng(6))
    level = voltages("P", CURRENTS[0])[2]
    for offset in (-0.4 * level, 1.5 * level):
        reduce(Sweeps(tuple(dataclasses.replace(t, voltages={**t.voltages, 2: t.voltages[2] + offset}) for t in usual)))
    wrong = [changed(each, V2=math.sqrt(2)) if each.current == CURRENTS[1] else each for each in usual]
    with pytest.raises(DataError, match=r"R2 in P and in AP of a.csv at 1 mA is 1.388 times") as caught:
        reduce(Sweeps(tuple(wrong)))
    assert "sqrt(2)" not in str(caught.value)


def test_offsets_of_whole_sweeps_leave_steps_and_other_harmonics_alone() -> None:
    rng = np.random.default_rng(10)
    usual = all_traces(rng)
    moved = [
        dataclasses.replace(each, voltages={**each.voltages, 1: each.voltages[1] + 3e-6 * rng.standard_normal()})
        for each in usual
    ]
    one, other = reduce(Sweeps(tuple(usual))), reduce(Sweeps(tuple(moved)))
    stds = [(a.std, b.std) for a, b in zip(one.rows, other.rows, strict=True)]
    assert stds[0][1] > 10 * stds[0][0]
    assert all(after < 2 * before for before, after in stds[1:])
    assert all(abs(row.value - expected(row.signal)) < 4 * row.std for row in other.rows)


@pytest.mark.parametrize("factor", [1.0, 1e-9])
def test_sweeps_without_noise_have_no_bars_and_are_told(factor: float) -> None:
    """Round-off of the arithmetic is no noise."""
    for flat in ((1, 2), (2,)):
        traces = [trace(np.random.default_rng(1), 1e-3, noise=2e-9, up=up, factor=factor) for up in (True, False)]
        for each in traces:
            pure = trace(np.random.default_rng(1), 1e-3, noise=0.0, up=each.field[-1] > 0, factor=factor)
            each.voltages.update({n: pure.voltages[n] for n in flat})  # type: ignore[attr-defined]
        with pytest.raises(DataError, match=f"V{flat[0]} has no noise at all"):
            reduce(Sweeps(tuple(traces)))


def test_a_sweep_without_noise_borrows_no_switching_fields() -> None:
    clear = all_traces(np.random.default_rng(1))
    line = 1e-3 + 1e-4 * np.linspace(-1, 1, 61) / 3
    still = dataclasses.replace(clear[0], experiment="electrical", voltages={1: line})
    with pytest.raises(
        DataError, match="experiment 'electrical': no sweep switches clearly: .* constant but for a dri"
    ):
        reduce(Sweeps((*clear, still)))


def test_two_numbers_are_as_far_apart_as_the_resolution(device: Device, tmp_path: Path) -> None:
    """Where nothing else tells it, and V1 shows the switch: levels are then known to their distance over sqrt(12)."""
    both = [trace(np.random.default_rng(1), 1e-3, noise=2e-9, up=up) for up in (True, False)]
    high, low = 6e-8, 4e-8
    coarse = [
        dataclasses.replace(
            each, voltages={1: V[1], 2: np.where(V[2] > np.mean([np.min(V[2]), np.max(V[2])]), high, low)}
        )
        for each in both
        for V in (each.voltages,)
    ]
    head = HEAD.replace("[columns]", "nonlinear = 0\n[columns]")
    (spin,) = (
        row
        for row in lockin.load(place(tmp_path, head, csv_text(table(coarse))), device).rows
        if row.signal == "R2.spin"
    )
    per_volt = math.sqrt(2) / 1e-6
    assert spin.value == pytest.approx((low - high) * per_volt, rel=1e-6)
    # The difference of two levels, in both sweeps alike.
    assert spin.std == pytest.approx((high - low) / math.sqrt(6) * per_volt, rel=1e-3)
    quiet = [dataclasses.replace(each, voltages={n: each.voltages[2] for n in (1, 2)}) for each in coarse]
    with pytest.raises(DataError, match="no noise at all, so that the step may be one of rounding"):
        lockin.load(place(tmp_path, head, csv_text(table(quiet))), device)


def test_a_harmonic_that_was_not_measured_is_told() -> None:
    measured = reduce(Sweeps(tuple(all_traces(np.random.default_rng(1), harmonics=(1,)))))
    assert {row.harmonic for row in measured.rows} == {1}
    assert any("V2 was not measured, so that nothing is known of R2" in note for note in measured.notes)


def test_files_in_other_units_and_swapped_harmonics_are_errors() -> None:
    rng = np.random.default_rng(8)
    usual, small = all_traces(rng), all_traces(rng, source="b.csv", factor=1e-3)
    with pytest.raises(
        DataError, match=r"R1 in .* of b.csv at 0.5 mA is 0.001 times that of a.csv at 0.5 mA: a power of ten"
    ):
        reduce(Sweeps((*usual, *small)))
    swapped = [dataclasses.replace(each, voltages={1: each.voltages[2], 2: each.voltages[1]}) for each in usual]
    with pytest.raises(DataError, match=r"V1 grows with the current to the power 1.9\d, V2 to 0.9\d, expected 1 and 2"):
        reduce(Sweeps(tuple(swapped)))


def test_switching_fields_come_back_with_bars_that_noise_widens() -> None:
    clear = reduce(Sweeps((trace(np.random.default_rng(9), 1e-3), trace(np.random.default_rng(9), 1e-3, up=False))))
    (first, std), (second, _) = clear.sweeps[0].switching_fields or ()
    # Between 14 and 16 and between 34 and 36 mT: points are 2 mT apart, sqrt(12) is that of a uniform distribution.
    assert (first, second) == pytest.approx((15e-3, 35e-3)) and std == pytest.approx(2e-3 / math.sqrt(12))
    assert (clear.sweeps[1].switching_fields or ())[0][0] == pytest.approx(-15e-3)


def test_the_shipped_sweeps_hold_their_truth(device: Device) -> None:
    """chi2 of all rows against what they were made of: 8 rows, below 26 with a probability of 0.999."""
    measured = lockin.load("slachter2010-sweeps", device)
    text = experiment_file.shipped()["slachter2010-sweeps"].with_suffix(".truth.json").read_text(encoding="utf-8")
    truth = json.loads(text)["signals"]
    pulls = np.array(
        [(row.value - truth[row.experiment][f"R{row.harmonic}"][row.part]) / row.std for row in measured.rows]
    )
    assert len(pulls) == 8
    assert 0.5 < pulls @ np.linalg.solve(measured.correlation, pulls) < 26
    assert np.all(np.abs([row.value / row.std for row in measured.rows]) > 3), "bars that cover everything say nothing"
    listed = measured.to_json()
    assert len(listed["sweeps"]) == 20 and json.dumps(listed)


def test_the_command_writes_table_signals_numbers_and_picture(tmp_path: Path, device: Device) -> None:
    place(tmp_path)
    names = [str(tmp_path / name) for name in ("out.csv", "out.json", "out.png")]
    options = [each for pair in zip(("--csv", "--json", "--picture"), names, strict=True) for each in pair]
    done = CliRunner().invoke(app.app, ["sweeps", "slachter2010", str(tmp_path / "sweeps.toml"), *options])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "thermal, a.csv" and lines[1].split() == HEADINGS and len(lines) > 12
    measured = lockin.load(tmp_path / "sweeps.toml", device)
    read = data.load(names[0], device)
    assert [row.value for row in read] == pytest.approx([row.value for row in measured.rows], rel=1e-9)
    assert json.loads(Path(names[1]).read_text())["rows"][0]["value"] == measured.rows[0].value
    picture = np.asarray(image.imread(names[2]))[..., :3]
    inked = [np.mean(np.all(np.abs(picture - colour) < 0.02, axis=-1)) for colour in DIRECTIONS]
    assert min(inked) > 1e-3, "both directions are drawn"


def test_the_command_tells_what_a_table_of_signals_lacks(tmp_path: Path, device: Device) -> None:
    """Both baselines are known as well as the gain, to 5 %, so that they are correlated fully."""
    place(tmp_path, HEAD.replace("[columns]", "gain_std = 0.05\n[columns]"))
    done = CliRunner().invoke(
        app.app, ["sweeps", "slachter2010", str(tmp_path / "sweeps.toml"), "--csv", str(tmp_path / "out.csv")]
    )
    said = "errors of the rows have a common part (correlation up to 1: thermal R1.baseline and thermal R2.baseline)"
    assert done.exit_code == 0 and said in done.stdout.splitlines()[-1], done.output
    first, *others = (tmp_path / "out.csv").read_text().splitlines()
    assert first.startswith(f"# {said}") and "a fit of sweeps.toml itself keeps" in first and len(others) == 5
    assert len(data.load(tmp_path / "out.csv", device)) == 4
    alone = dataclasses.replace(lockin.load(tmp_path / "sweeps.toml", device), correlation=np.eye(4) + 0.09)
    assert alone.lost_in_table("sweeps.toml") == []


def test_the_command_tells_all_faults_and_no_traceback(tmp_path: Path) -> None:
    place(tmp_path, HEAD.replace("phase = -90", "phase = 3").replace('"thermal"', '"thermall"'))
    done = CliRunner().invoke(app.app, ["sweeps", "slachter2010", str(tmp_path / "sweeps.toml")])
    assert done.exit_code == 2 and "Traceback" not in done.output
    assert "did you mean 'thermal'" in done.stderr and "got 3, where harmonic 2" in done.stderr


# ------------------------------------------------------------------------------------------- files

HEADINGS = "mA rms field AP from [mT] to [mT] V1 in P [nV] P - AP [nV] V2 in P [nV] P - AP [nV]".split()
DIRECTIONS = [colors.to_rgb(style.UP), colors.to_rgb(style.DOWN)]

HEAD = """
current_is = "rms"
voltage_is = "rms"
polarity = "known"
[columns]
field = { column = "B", unit = "mT" }
current = { column = "I", unit = "mA" }
V1 = { column = "X1", unit = "uV", phase = 0 }
V2 = { column = "X2", unit = "uV", phase = -90 }
[[sweeps]]
experiment = "thermal"
file = "a.csv"
"""


def table(traces: list[Trace]) -> list[list[str]]:
    rows = [["B", "I", "X1", "X2"]]
    for each in traces:
        columns = (
            1e3 * each.field,
            np.full(len(each.field), 1e3 * each.current),
            *(1e6 * v for v in each.voltages.values()),
        )
        rows += [[repr(float(value)) for value in row] for row in zip(*columns, strict=True)]
    return rows


def csv_text(rows: list[list[str]], separator: str = ",") -> str:
    return "\n".join(separator.join(row) for row in rows) + "\n"


GOOD = table(all_traces(np.random.default_rng(7)))


def place(folder: Path, toml: str = HEAD, table: str | bytes | None = None) -> Path:
    (folder / "sweeps.toml").write_text(toml, encoding="utf-8")
    content = csv_text(GOOD) if table is None else table
    (folder / "a.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / "sweeps.toml"


def test_a_file_of_several_currents_is_read(device: Device, tmp_path: Path) -> None:
    sweeps = experiment_file.load(place(tmp_path), device)
    assert [round(each.current, 9) for each in sweeps.traces] == list(CURRENTS)
    measured = lockin.load(tmp_path / "sweeps.toml", device)
    assert len(measured.sweeps) == 6 and measured.rows[0].value == pytest.approx(expected("R1.baseline"), rel=1e-3)


@pytest.mark.parametrize(
    ("change", "harmonic", "factor"),
    [
        (('current_is = "rms"', 'current_is = "peak"'), 1, math.sqrt(2)),
        (('voltage_is = "rms"', 'voltage_is = "peak"'), 1, 1 / math.sqrt(2)),
        (('current_is = "rms"', 'current_is = "peak"'), 2, 2.0),
        (("phase = -90", "phase = 90"), 2, -1.0),
        (("phase = 0", "phase = 180"), 1, -1.0),
        (('unit = "mT"', 'unit = "Oe"'), 1, 1.0),
        (("phase = -90", "phase = -90, gain = 100"), 2, 0.01),
    ],
)
def test_the_convention_decides_the_factor(
    device: Device, tmp_path: Path, change: tuple[str, str], harmonic: int, factor: float
) -> None:
    usual = lockin.load(place(tmp_path), device)
    changed = lockin.load(place(tmp_path, HEAD.replace(*change)), device)
    name = f"R{harmonic}.baseline"
    (one,), (other,) = ([row.value for row in each.rows if row.signal == name] for each in (usual, changed))
    assert other / one == pytest.approx(factor, rel=1e-9)


def blob(values: object) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array(values))
    return out.getvalue()


def database(path: Path, rows: list[list[str]], form: str = "together") -> None:
    """The tables of a QCoDeS database that matter here: runs, and a results table for each run.

    What is measured at a point stands "together", "apart", with a "readback" of the field that is wanted in place of
    its setpoint, in "arrays" of all points, or in arrays beside "scalars", one for each current.
    """
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE runs (run_id INTEGER, result_table_name TEXT)")
    for run in (1, 2):
        connection.execute("INSERT INTO runs VALUES (?, ?)", (run, f"results-1-{run}"))
        columns = "id INTEGER, S numeric, B numeric, I numeric, X1 numeric, X2 numeric"
        connection.execute(f'CREATE TABLE "results-1-{run}" ({columns})')
    numbers = np.array([[float(cell) for cell in row] for row in rows[1:]])
    if form == "arrays":
        lines = [(0, *map(blob, numbers.T))]
    elif form == "scalars":
        edges = [0, *(np.flatnonzero(np.diff(numbers[:, 1])) + 1), len(numbers)]
        parts = [numbers[a:b] for a, b in zip(edges[:-1], edges[1:], strict=True)]
        both = [(0, blob(part[:, 0]), part[0, 1], blob(part[:, 2]), blob(part[:, 3])) for part in parts]
        lines = [line for s, b, c, x1, x2 in both for line in ((s, b, c, x1, None), (s, b, c, None, x2))]
    else:
        split = {
            "together": lambda b, c, x1, x2: [(b, b, c, x1, x2)],
            "apart": lambda b, c, x1, x2: [(b, b, c, x1, None), (b, b, c, None, x2)],
            "readback": lambda b, c, x1, x2: [
                (b, None, c, x1, None), (b, None, c, None, x2), (b, b, c, None, None)
            ],
        }[form]  # fmt: skip
        lines = [line for row in numbers.tolist() for line in split(*row)]
    connection.executemany('INSERT INTO "results-1-2" VALUES (1, ?, ?, ?, ?, ?)', lines)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("form", ["together", "apart", "readback", "arrays", "scalars"])
def test_a_database_gives_what_the_csv_gives(device: Device, tmp_path: Path, form: str) -> None:
    csv = lockin.load(place(tmp_path), device)
    database(tmp_path / "lab.db", GOOD, form)
    path = place(tmp_path, HEAD.replace('file = "a.csv"', 'file = "lab.db"\nrun = 2'))
    assert [row.value for row in lockin.load(path, device).rows] == [row.value for row in csv.rows]


def test_a_run_that_was_interrupted_lacks_its_last_reading(device: Device, tmp_path: Path) -> None:
    database(tmp_path / "lab.db", GOOD, "apart")
    with contextlib.closing(sqlite3.connect(tmp_path / "lab.db")) as connection:
        connection.execute('DELETE FROM "results-1-2" WHERE rowid = (SELECT MAX(rowid) FROM "results-1-2")')
        connection.commit()
    path = place(tmp_path, HEAD.replace('file = "a.csv"', 'file = "lab.db"\nrun = 2'))
    assert any("1 points without a number left out" in note for note in lockin.load(path, device).notes)


def written(text: str, *, first: str = "", header: str = "B,I,X1,X2", after: str = "", separator: str = ",") -> str:
    """The good table with other lines around its header."""
    return first + (header + "\n" + after + text.split("\n", 1)[1]).replace(",", separator)


@pytest.mark.parametrize(
    ("form", "keys"),
    [
        ({"after": "mT,mA,uV,uV\n"}, ""),
        ({"first": "[Header]\nTITLE,spin valve\n[Data]\n"}, ""),
        ({"header": "# B,I,X1,X2"}, ""),
        ({"header": "# B,I,X1,X2", "separator": "\t"}, ""),
        ({"separator": " "}, ""),
        ({"after": "1,1,1,1\n"}, "skip = 1\n"),
        ({"first": "B,I,X1,X2\n1,2,3,4\n"}, "header = 3\n"),
        ({"first": "% x\n", "after": "% y\n"}, 'comment = "%"\n'),
    ],
)
def test_tables_as_instruments_write_them(device: Device, tmp_path: Path, form: dict[str, str], keys: str) -> None:
    usual = lockin.load(place(tmp_path), device)
    path = place(tmp_path, keys + HEAD, written((tmp_path / "a.csv").read_text(), **form))
    assert lockin.load(path, device).rows == usual.rows


@pytest.mark.parametrize("word", ["", "--", "OVLD", "9.91e+37", "-9.9E37", "n/a"])
def test_words_for_a_missing_value_are_known(device: Device, tmp_path: Path, word: str) -> None:
    """In place of a spike, which would be left out as an outlier too: the same rows."""
    lines = csv_text(GOOD).splitlines()
    lines[5] = ",".join([*lines[5].split(",")[:2], word, lines[5].split(",")[3]])
    measured = lockin.load(place(tmp_path, HEAD, "\n".join(lines) + "\n"), device)
    assert any("1 points without a number left out" in note for note in measured.notes)


def test_the_micro_sign_and_the_greek_letter_are_one(device: Device, tmp_path: Path) -> None:
    usual = lockin.load(place(tmp_path), device)
    text = (tmp_path / "a.csv").read_text().replace("X1", "X1 (\u03bcV)", 1)
    head = HEAD.replace('column = "X1"', 'column = "X1 (\u00b5V)"')
    assert lockin.load(place(tmp_path, head, text), device).rows == usual.rows


@pytest.mark.parametrize(("unit", "size"), [("G", 10.0), ("Oe", 10.0), ("kOe", 0.01), ("A/m", 1e-3 / (4e-7 * math.pi))])
def test_fields_may_be_in_gauss_oersted_and_amperes_per_metre(
    device: Device, tmp_path: Path, unit: str, size: float
) -> None:
    """Numbers per millitesla; oersted and A/m by their flux density in vacuum."""
    usual = lockin.load(place(tmp_path), device)
    head = HEAD.replace('column = "B", unit = "mT"', f'column = "B", unit = "{unit}"')
    found = lockin.load(place(tmp_path, head, column("B", lambda cell: repr(float(cell) * size))), device)
    (a, _), (b, _) = (measured.sweeps[0].switching_fields[0] for measured in (usual, found))
    assert b == pytest.approx(a, rel=1e-9)


def test_a_current_that_was_measured_may_be_noisy(device: Device, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    text = column("I", lambda cell: f"{float(cell) * (1 + 0.01 * rng.standard_normal()):.6f}")
    usual, found = lockin.load(place(tmp_path), device), lockin.load(place(tmp_path, HEAD, text), device)
    for a, b in zip(usual.rows, found.rows, strict=True):
        assert b.value == pytest.approx(a.value, rel=0.01)


def test_complex_readings_need_the_part_that_is_meant(device: Device, tmp_path: Path) -> None:
    """Real and imaginary part of one parameter are two columns; a complex one without a part is not cast."""
    csv = lockin.load(place(tmp_path), device)
    database(tmp_path / "lab.db", GOOD, "arrays")
    with contextlib.closing(sqlite3.connect(tmp_path / "lab.db")) as connection:
        (cell,) = connection.execute('SELECT X1 FROM "results-1-2"').fetchone()
        changed = blob(1j * np.load(io.BytesIO(cell)) + 1.0)
        connection.execute('UPDATE "results-1-2" SET X1 = ?', (changed,))
        connection.commit()
    text = HEAD.replace('file = "a.csv"', 'file = "lab.db"\nrun = 2')
    with pytest.raises(DataError, match="parameter 'X1': complex numbers; state which part V1 is"):
        lockin.load(place(tmp_path, text), device)
    stated = text.replace("phase = 0", 'phase = 0, part = "imag"', 1)
    assert [row.value for row in lockin.load(place(tmp_path, stated), device).rows] == [row.value for row in csv.rows]
    with pytest.raises(DataError, match="only a database has complex numbers"):
        lockin.load(place(tmp_path, HEAD.replace("phase = 0", 'phase = 0, part = "imag"', 1)), device)


def column(name: str, change: Callable[[str], str]) -> str:
    """The good table with a column changed."""
    k = GOOD[0].index(name)
    return csv_text([GOOD[0], *([*row[:k], change(row[k]), *row[k + 1 :]] for row in GOOD[1:])])


def rows_of(change: Callable[[int, list[str]], list[str]]) -> str:
    return csv_text([GOOD[0], *(change(i, list(row)) for i, row in enumerate(GOOD[1:]))])


def one_state(i: int, row: list[str]) -> list[str]:
    current = float(row[1]) * 1e-3
    P = voltages("P", current)
    noise = np.random.default_rng(i).standard_normal(2)
    return [row[0], row[1], *(str(1e6 * (P[n] + 2e-8 * float(each))) for n, each in zip((1, 2), noise, strict=True))]


def never_back(i: int, row: list[str]) -> list[str]:
    """FM1 never switches: antiparallel to the end of every sweep."""
    n = i % 61
    up = (i // 61) % 2 == 0
    state = "AP" if (float(row[0]) > 15) == up and abs(float(row[0])) > 15 and n > 30 else "P"
    found, noise = voltages(state, float(row[1]) * 1e-3), np.random.default_rng(i).standard_normal(2)
    return [row[0], row[1], *(str(1e6 * (found[k] + 2e-8 * float(e))) for k, e in zip((1, 2), noise, strict=True))]


#: The field in the column that is said to hold the second harmonic.
SWAPPED = [GOOD[0], *([row[3], row[1], row[2], row[0]] for row in GOOD[1:])]
SMALL = [*GOOD[:9]]

INNER = [GOOD[1 + k * len(GOOD[1:]) // 3 + i] for i in range(len(GOOD[1:]) // 3) for k in range(3)]
NAMED_B, NAMED_I = (csv_text(GOOD).replace("B,I,", names, 1) for names in ("B (T),I,", "B,I (A),"))
NAMED = csv_text(GOOD).replace("X1", "X1 (mV)", 1)
TWICE = '[[sweeps]]\nexperiment = "thermal"\nfile = "a.csv"\n[[sweeps]]'

#: (name, change of the TOML, data, words of the message)
BAD: list[tuple[str, tuple[str, str] | None, str | bytes | None, str]] = [
    ("no current convention", ('current_is = "rms"', ""), None, 'current_is: missing, expected "rms" or "peak"'),
    ("no voltage convention", ('voltage_is = "rms"', ""), None, "V_2f = (R2 I^2 + 2 R4 I^4)/sqrt(2) at -90 degrees"),
    ("no polarity", ('polarity = "known"', ""), None, 'polarity: missing, expected "known" or "unknown"'),
    ("no phase", (", phase = -90", ""), None, "columns.V2.phase: missing, expected the phase"),
    ("no phase, X or Y", (", phase = -90", ""), None, "a Y column 90 more: of Y2 at reference phase 0 it is 90"),
    ("nonsense convention", ('"rms"', '"RMSS"'), None, "current_is"),
    ("the other quadrature", ("phase = -90", "phase = 0"), None, "where harmonic 2 of a polynomial in the current"),
    ("a phase in between", ("phase = 0", "phase = 10"), None, "expected 0 or 180, rotate the data first"),
    ("a unit of another kind", ('unit = "uV", phase = 0', 'unit = "uA", phase = 0'), None, "which is a current"),
    ("a unit nobody knows", ('unit = "mT"', 'unit = "mTs"'), None, "columns.field.unit"),
    ("an unknown key", ("voltage_is", "voltage_iz"), None, "did you mean 'voltage_is'"),
    ("an unknown experiment", ('"thermal"', '"thermall"'), None, "did you mean 'thermal'"),
    ("no harmonic", (HEAD[HEAD.index("V1 =") : HEAD.index("[[")], ""), None, "no harmonic, expected at least one"),
    ("no current", ('current = { column = "I", unit = "mA" }', ""), None, "current: missing, expected current ="),
    ("a negative current", ('"a.csv"', '"a.csv"\ncurrent = "-1 mA"'), None, "expected one above 0"),
    ("a bad gain", ("[columns]", "gain_std = 5\n[columns]"), None, "gain_std: got 5"),
    ("a file that is not there", ('"a.csv"', '"aa.csv"'), None, "did you mean 'a.csv'"),
    ("a folder", ('"a.csv"', '"."'), None, "cannot be read"),
    ("a column that is not there", ('"X1"', '"x1"'), None, "column 'x1' for V1 is not there; did you mean 'X1'"),
    ("a database that is not there", ('"a.csv"', '"b.db"'), None, "no such file beside"),
    ("an empty file", None, "", "empty, expected a header line"),
    ("a header alone", None, "B,I,X1,X2\n", "a header line and no numbers"),
    ("a binary file", None, b"B,I\0\0\0", "a binary file"),
    ("UTF-16 cut in two", None, csv_text(GOOD).encode("utf-16")[:-1], "begins like utf-16 text and is not"),
    ("a column that is there twice", None, csv_text([["B", "I", "X1", "X1"], *GOOD[1:]]), "is there 2 times"),
    ("a cut-off line", None, csv_text(GOOD)[:-30].rpartition(",")[0], "got 2 cells, expected 4"),
    ("text in a column", None, column("X1", lambda cell: "saturated"), "got 'saturated', expected a number"),
    ("two decimal signs", None, csv_text(GOOD, ";").replace(".", ",", 4), "and line 3, column 'B': got '-57.99"),
    ("points where commas are stated", ("[columns]", 'decimal = ","\n[columns]'), None, "where the decimal comma is"),
    ("decimal commas between commas", None, csv_text(GOOD).replace(".", ","), "line 2: got 8 cells, expected 4"),
    ("infinite numbers", None, column("X2", lambda cell: "inf"), "have no number"),
    ("blocks of NaN", None, rows_of(lambda i, row: [*row[:3], "nan"] if i % 61 < 40 else row), "at most half may be"),
    ("nothing but NaN", None, column("X2", lambda cell: "nan"), "have no number"),
    ("too few points", None, csv_text(SMALL), "8 points with numbers, at least 12"),
    ("a field that stands still", None, column("B", lambda cell: "1.0"), "the field is 0.001 T at every point"),
    ("a field that jumps about", None, rows_of(lambda i, row: [str((-1) ** i * 10.0), *row[1:]]), "the field turns"),
    ("swapped columns", None, csv_text(SWAPPED), "are the columns swapped?"),
    ("a current that never stays", None, rows_of(lambda i, row: [row[0], str(1 + 0.1 * i), *row[2:]]), "no sweeps"),
    ("a current in the inner loop", None, csv_text([GOOD[0], *INNER]), "sort the table by current, keeping the"),
    ("a current of another unit", ('"I"', '"I (A)"'), NAMED_I, 'unit = "mA" is stated; leave unit out, or correct it'),
    ("a field of another unit", ('"B"', '"B (T)"'), NAMED_B, 'unit = "mT" is stated; leave unit out, or correct it'),
    ("a current of zero", None, column("I", lambda cell: "0"), "reaches 0 A, expected between"),
    ("a negative ac current", None, column("I", lambda cell: f"-{cell}"), "expected sizes of the ac current above 0"),
    ("a current off by root two", ('"a.csv"', '"a.csv"\ncurrent = "0.7071 mA"'), None, "a factor sqrt(2), as between"),
    ("one magnetic state", None, rows_of(one_state), "no sweep switches clearly"),
    ("a constant voltage", None, column("X1", lambda cell: "1.0").replace(",X2", ",Y2"), "is not there"),
    ("a magnet that never switches", None, rows_of(never_back), "steps once and does not come back"),
    ("a unit that the header contradicts", ('"X1"', '"X1 (mV)"'), NAMED, "stated; an amplifier before the"),
    ("a field in volts", ('"B"', '"B [V]"'), csv_text(GOOD).replace("B,", "B [V],", 1), 'is in "V" by the file itself'),
    ("a field in tesla", ('unit = "mT"', 'unit = "T"'), None, "reaches 60 T, expected between 1e-06 and 50; is it"),
    ("a voltage in volts", ('unit = "uV", phase = 0', 'unit = "V", phase = 0'), None, "for V1 reaches 2.98e+03 V"),
    ("a current in amperes", ('unit = "mA"', 'unit = "kA"'), None, "for current reaches 1.5e+03 A, expected"),
    ("a column used twice", ('"X2"', '"X1"'), None, "'X1' is said to be both V1 and V2"),
    ("a gain of zero", ("phase = 0", "phase = 0, gain = 0"), None, "gain: got 0, expected that of the amplifier"),
    ("a nonsense nonlinearity", ("[columns]", "nonlinear = -1\n[columns]"), None, "nonlinear: got -1, expected a rel"),
    ("a boolean as skip", ("[columns]", "skip = true\n[columns]"), None, "skip: got true, expected a number"),
    ("a boolean as header", ("[columns]", "header = true\n[columns]"), None, "header: got true, expected a number"),
    ("a boolean as run", ('"a.csv"', '"a.csv"\nrun = true'), None, "sweeps[0].run: got true, expected a number"),
    ("a boolean as gain_std", ("[columns]", "gain_std = false\n[columns]"), None, "gain_std: got false, expected a"),
    ("a boolean as nonlinear", ("[columns]", "nonlinear = false\n[columns]"), None, "nonlinear: got false, expected"),
    ("a boolean as phase", ("phase = -90", "phase = true"), None, "V2.phase: got true, expected a number"),
    ("a boolean as gain", ("phase = 0", "phase = 0, gain = true"), None, "V1.gain: got true, expected a number"),
    ("swapped harmonics", None, csv_text([["B", "I", "X2", "X1"], *GOOD[1:]]), "are their columns swapped?"),
    ("a file that is there twice", ("[[sweeps]]", TWICE), None, "holds the very numbers of a.csv, 0.5 mA; is a file"),
    ("a sweep that stops early", None, csv_text(GOOD[:47]), "steps once and does not come back"),
    ("not TOML", ("[columns]", "[columns"), None, "not a TOML file"),
    ("no sweeps", ("[[sweeps]]", "[sweeps]"), None, "sweeps"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "change", "table", "words"), [bad for bad in BAD if bad[3]], ids=lambda each: str(each)[:30]
)
def test_a_bad_file_is_told(
    device: Device, tmp_path: Path, name: str, change: tuple[str, str] | None, table: str | bytes | None, words: str
) -> None:
    toml = HEAD if change is None else HEAD.replace(*change)
    assert change is None or toml != HEAD
    with pytest.raises(DataError) as caught:
        lockin.load(place(tmp_path, toml, table), device)
    assert words in str(caught.value), str(caught.value)
    assert all(str(tmp_path) in line for line in str(caught.value).splitlines()), "the file is named"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("voltage_is", "voltageis", "file: unknown key 'voltageis'; did you mean 'voltage_is'?"),
        ("field = {", "feild = {", "columns: unknown key 'feild'; did you mean 'field'? expected one of: field,"),
        ("V2 = {", "V4 = {", "columns: unknown key 'V4'; did you mean 'V3'? expected one of: field, current, V1,"),
        ('"B", unit', '"B", units', "columns.field: unknown key 'units'; did you mean 'unit'? expected one of: column"),
        ('"X1", unit', '"X1", phas = 0, unit', "columns.V1: unknown key 'phas'; did you mean 'phase'?"),
        ("experiment =", "experimant =", "sweeps[0]: unknown key 'experimant'; did you mean 'experiment'?"),
        (
            'file = "a.csv"', 'file = "a.csv"\ncolumns = { V1 = { colum = "X1" } }',
            "sweeps[0].columns.V1: unknown key 'colum'; did you mean 'column'?",
        ),
    ],
)  # fmt: skip
def test_a_misspelt_key_of_any_table_is_told_the_nearest(
    device: Device, tmp_path: Path, old: str, new: str, words: str
) -> None:
    assert old in HEAD
    with pytest.raises(DataError) as caught:
        lockin.load(place(tmp_path, HEAD.replace(old, new)), device)
    (fault,) = str(caught.value).splitlines()
    assert fault.startswith(f"{tmp_path / 'sweeps.toml'}: {words}"), fault


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ('file = "lab.db"', "run: missing, expected one of the runs 1, 2"),
        ('file = "lab.db"\nrun = 7', "run: got 7, expected one of 1, 2"),
        ('file = "lab.db"\nrun = 1', "run 1: no rows"),
        ('file = "fake.db"', "not a QCoDeS database that can be read"),
        ('file = "empty.db"', "not a QCoDeS database that can be read"),
    ],
)
def test_a_bad_database_is_told(device: Device, tmp_path: Path, entry: str, words: str) -> None:
    database(tmp_path / "lab.db", GOOD)
    (tmp_path / "fake.db").write_text("B,I\n" * 300)
    (tmp_path / "empty.db").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        lockin.load(place(tmp_path, HEAD.replace('file = "a.csv"', entry)), device)
    assert words in str(caught.value), str(caught.value)


def test_the_units_of_a_database_are_heeded(device: Device, tmp_path: Path) -> None:
    database(tmp_path / "lab.db", GOOD)
    with contextlib.closing(sqlite3.connect(tmp_path / "lab.db")) as connection:
        connection.execute("CREATE TABLE layouts (layout_id, run_id INTEGER, parameter TEXT, label TEXT, unit TEXT)")
        lines = [(i, 2, name, "", unit) for i, (name, unit) in enumerate({"B": "mT", "X1": "V", "X2": ""}.items())]
        connection.executemany("INSERT INTO layouts VALUES (?, ?, ?, ?, ?)", lines)
        connection.commit()
    toml = HEAD.replace('file = "a.csv"', 'file = "lab.db"\nrun = 2')
    with pytest.raises(DataError) as caught:
        lockin.load(place(tmp_path, toml), device)
    (line,) = str(caught.value).splitlines()
    assert "lab.db, run 2: column 'X1' for V1 is in \"V\" by the file itself" in line
    lockin.load(place(tmp_path, toml.replace('"X1", unit = "uV"', '"X1", unit = "V", gain = 1e6')), device)


def test_the_parameters_of_a_run_are_told(device: Device, tmp_path: Path) -> None:
    database(tmp_path / "lab.db", GOOD)
    toml = HEAD.replace('file = "a.csv"', 'file = "lab.db"\nrun = 2').replace('"X1"', '"X_1"')
    with pytest.raises(DataError, match=r"run 2: parameter 'X_1' for V1 is not there; did you mean 'X1'"):
        lockin.load(place(tmp_path, toml), device)


def test_a_database_may_have_capitals_in_its_suffix(device: Device, tmp_path: Path) -> None:
    database(tmp_path / "LAB.DB", GOOD)
    measured = lockin.load(place(tmp_path, HEAD.replace('file = "a.csv"', 'file = "LAB.DB"\nrun = 2')), device)
    assert measured.rows == lockin.load(place(tmp_path), device).rows


def test_infinite_numbers_are_missing_ones(device: Device, tmp_path: Path) -> None:
    table = rows_of(lambda i, row: [*row[:3], "inf"] if i == 3 else row)
    assert any(
        "1 points without a number left out" in note for note in lockin.load(place(tmp_path, HEAD, table), device).notes
    )


def test_sweeps_that_are_not_used_stand_in_their_columns(device: Device, tmp_path: Path) -> None:
    """The last sweep was stopped."""
    lines = lockin.load(place(tmp_path, HEAD, csv_text([*GOOD, *GOOD[-122:-114]])), device).words()
    assert "not used: 9 points" in lines[8]
    assert {line[: lines[1].index("field") + 5].split()[-1] for line in lines[1:9]} == {"field", "up", "down"}, lines
    assert {line[lines[1].index("field") + 5 :][:2] for line in lines[1:9]} == {"  "}, lines
