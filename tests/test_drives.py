"""Experiments of every drive and probe: their units in data, in words, in JSON and on pages."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from helpers.drives import all_kinds
from thermospin.accuracy.self_check import self_check
from thermospin.accuracy.sensitivity import Sensitivity, sensitivity
from thermospin.base.names import SignalName
from thermospin.data import experiment_file
from thermospin.data import rows as data
from thermospin.data.rows import DataError, Row
from thermospin.designs.limits import Limits
from thermospin.designs.objective import DENSEST, HOTTEST, Objective, unit_of
from thermospin.device.device import Device
from thermospin.device.drives import DRIVES, drive_of_unit, read_drive, usual_drive
from thermospin.device.parts import DRIVE_UNITS, PROBE_UNITS
from thermospin.inference import budget, suggestions
from thermospin.inference.fit_setup import FitOptions
from thermospin.inference.identifiability import choose
from thermospin.inference.minimisers import LeastSquares, minimise
from thermospin.inference.parameters import Parameter
from thermospin.inference.result import FitResult
from thermospin.inverse import fit
from thermospin.model import Model, build
from thermospin.report import fit_figures, html
from thermospin.report.maps import maps
from thermospin.signals.evaluate import fields, measure
from thermospin.signals.results import Signals

pytestmark = pytest.mark.usefixtures("compiled_forms")

HEADER = "experiment,signal,value,std,unit\n"
#: The head of a file of lock-in sweeps.
CONVENTION = """
current_is = "rms"
voltage_is = "rms"
polarity = "known"
[columns]
field = { column = "B", unit = "mT" }
V1 = { column = "X", unit = "V", phase = 0 }
"""


@pytest.fixture(scope="module")
def device() -> Device:
    return all_kinds()


def test_rows_are_read_in_the_units_of_their_experiment_and_written_back(device: Device) -> None:
    cells = {
        "current_voltage,R2.spin": ("uV/mA^2", 1.0, "V/A^2"),
        "heat_voltage,R1.P": ("nV/K", 1e-9, "V/K"),
        "power_voltage,R1.spin": ("uV/mW", 1e-3, "V/W"),
        "current_temperature,R2.P": ("K/mA^2", 1e6, "K/A^2"),
        "power_temperature,R1.AP": ("mK/mW", 1.0, "K/W"),
        "current_through_spin,R1.P": ("uA/mA", 1e-3, "A/A"),
        "heat_through_spin,R1.spin": ("nA/K", 1e-9, "A/K"),
        "current_through_heat,R2.P": ("nW/mA^2", 1e-3, "W/A^2"),
    }
    text = HEADER + "".join(f"{key},5,0.5,{unit}\n" for key, (unit, _, _) in cells.items())
    ((_, rows),) = data.read_series(text, "x.csv", device)
    for row, (_, size, unit) in zip(rows, cells.values(), strict=True):
        assert (row.value, row.std, row.unit) == (pytest.approx(5 * size), pytest.approx(0.5 * size), unit)
    file = io.StringIO()
    data.write(rows, file)
    assert data.read_series(file.getvalue(), "x.csv", device) == [(device, rows)]


@pytest.mark.parametrize(
    ("experiment", "unit", "words"),
    [
        ("heat_voltage", "nV/mA^2", "experiment 'heat_voltage' (voltage per temperature rise), V/K, such as \"uV/K\""),
        ("power_temperature", "K", "(temperature per power), K/W, such as \"uK/mW\""),
        ("current_through_charge", "%", "(current per current), A/A, such as \"uA/A\""),
        ("current_voltage", "V/K", "(voltage per current), V/A, such as \"uohm\""),
    ],
)  # fmt: skip
def test_a_wrong_unit_says_what_the_experiment_gives(experiment: str, unit: str, words: str, device: Device) -> None:
    with pytest.raises(DataError) as caught:
        data.read_series(HEADER + f"{experiment},R1.P,1,1,{unit}\n", "x.csv", device)
    (fault,) = caught.value.faults
    assert fault.startswith(f'x.csv: line 2, unit: got "{unit}", which') and words in fault, fault


def test_a_second_harmonic_of_heat_is_per_square(device: Device) -> None:
    with pytest.raises(DataError, match=r"\(voltage per \(temperature rise\)\^2\), V/K\^2"):
        data.read_series(HEADER + "heat_voltage,R2.P,1,1,V/K\n", "x.csv", device)


def test_lock_in_sweeps_are_of_voltages_at_a_current(device: Device, tmp_path: Path) -> None:
    sweeps = [
        f'[[sweeps]]\nexperiment = "{name}"\nfile = "a.csv"\ncurrent = "1 mA"\n'
        for name in ("power_voltage", "current_temperature")
    ]
    (file := tmp_path / "sweeps.toml").write_text(CONVENTION + "".join(sweeps), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        experiment_file.load(file, device)
    first, second = caught.value.faults
    assert "sweeps[0]: experiment 'power_voltage' of the device is driven by a power and read as a voltage" in first
    assert "is R1 (first harmonic)" in first and "give R1 in V/W as rows of a table (CSV)" in first
    assert "give R1 in K/A and R2 in K/A^2 as rows" in second


def test_words_for_drives_belong_to_their_units(device: Device) -> None:
    assert set(DRIVES) == set(DRIVE_UNITS)
    for experiment in device.experiments.values():
        unit = experiment.unit(2)
        assert unit == f"{PROBE_UNITS[experiment.probe]}/{DRIVE_UNITS[experiment.drive]}^2"
        assert drive_of_unit(unit) is DRIVES[experiment.drive]
    sizes = {kind: usual_drive(device.experiments[f"{kind}_voltage"]) for kind in DRIVES}
    assert sizes == {"current": 1e-3, "heat": 20.0, "power": 2e-4}
    assert [DRIVES[kind].words(size) for kind, size in sizes.items()] == ["1 mA", "20 K", "0.2 mW"]


def test_a_drive_is_read_with_its_kind() -> None:
    assert read_drive("2 mA") == (2e-3, "current")
    assert read_drive("10 K") == (10.0, "heat")
    assert read_drive("50 uW") == (5e-5, "power")
    with pytest.raises(ValueError, match='--drive: got "2 V", expected a current, a temperature rise or a power'):
        read_drive("2 V")


# ------------------------------------------------------------------------------------------- results and reports


def signals_of(device: Device) -> Signals:
    """Return made-up signals of a device."""
    names = [
        SignalName(name, n, part) for name, each in device.experiments.items() for n in (1, 2) for part in each.parts
    ]
    units = {name: device.experiments[name.experiment].unit(name.harmonic) for name in names}
    return Signals("bar", 1, 1, 2, {name: 1.0 for name in names}, (), (), 0.0, {}, units=units)


def test_signals_are_written_with_the_unit_of_their_experiment(device: Device) -> None:
    experiments = signals_of(device).to_json()["experiments"]
    units = {name: (parts["R1"]["unit"], parts["R2"]["unit"]) for name, parts in experiments.items()}
    assert units["current_voltage"] == ("V/A", "V/A^2")
    assert units["heat_voltage"] == ("V/K", "V/K^2")
    assert units["power_temperature"] == ("K/W", "K/W^2")
    assert units["current_through_spin"] == ("A/A", "A/A^2")
    assert units["current_through_heat"] == ("W/A", "W/A^2")
    assert len(set(units.values())) == 3 * 4  # spin and charge are both in ampere


NAMES = ("zeta", "Fe.S_s")
MATRIX = np.array([[0.0, 1e5], [0.2, 0.7e5], [1.0, -0.4e5]])


def linear(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """A model of three rows, linear in two parameters."""
    columns = {name: MATRIX[:, k] for k, name in enumerate(NAMES)}
    values = np.array(sum(parameters[name] * column for name, column in columns.items()))
    zero = np.zeros(len(MATRIX))
    return values, np.array([columns.get(name, zero) for name in names]).reshape(len(names), -1).T


def fitted(device: Device) -> FitResult:
    """Return a fit of rows in three different units."""
    pairs = [
        ("heat_voltage", "R1.spin", 1.3),
        ("power_temperature", "R1.P", 0.6),
        ("current_through_heat", "R2.P", 0.9),
    ]
    rows = [Row(name, signal, value, 0.1).with_unit(device.experiments[name]) for name, signal, value in pairs]
    return minimise(LeastSquares(), [linear], rows, [Parameter("zeta", 1.0), Parameter("Fe.S_s", -3e-6)])


def test_a_fit_says_everything_in_the_units_of_its_rows(device: Device, tmp_path: Path) -> None:
    result = fitted(device)
    assert [signal["unit"] for signal in result.to_json()["signals"]] == ["V/K", "K/W", "W/A^2"]
    report = result.report()
    assert all(f" {unit} " in report for unit in ("V/K", "uK/mW", "nW/mA^2"))
    found = {each.what for each in suggestions.suggest(result)}
    assert found >= {
        "heat_voltage R1.spin at twice the temperature rise",
        "power_temperature R1.P at twice the power",
        "current_through_heat R2.P at twice the current",
    }
    html.write_csv(tmp_path / "fit.csv", result)
    lines = list(csv.reader((tmp_path / "fit.csv").read_text().splitlines()))
    assert lines[0][-2] == "Unit" and [line[-2] for line in lines[2:5]] == ["V/K", "K/W", "W/A^2"]
    html.write(tmp_path / "fit.html", result, [device])
    page = (tmp_path / "fit.html").read_text(encoding="utf-8")
    assert "heat_voltage R1.spin [V/K]" in page and "power_temperature R1.P [uK/mW]" in page
    figure = fit_figures.fit_picture(result, tmp_path / "fit.png")
    labels = [text.get_text().partition("\n")[2] for text in figure.axes[0].get_yticklabels()]
    assert labels == ["1.3 ± 0.1 V/K", "600 ± 1e+02 µK/mW", "900 ± 1e+02 nW/mA²"]


def test_with_heat_as_the_drive_the_first_harmonic_tells_of_s_s(device: Device) -> None:
    """At a current P would come first: the same numbers, of a voltage per kelvin, are of the Seebeck effect."""

    def predict(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        slopes = {"Fe.S_s": 1e5, "Fe.P": -2.0}
        return np.array([-1.3]), np.array([[slopes.get(name, 0.0) for name in names]])

    values = {"zeta": 1.0, "Fe.S_s": -25e-6, "Fe.P": 0.3, "Fe.lambda_sf": 2e-8}
    row = Row("heat_voltage", "R1.spin", -1.3, 0.01)
    thermal = choose(predict, [row.with_unit(device.experiments["heat_voltage"])], values, ["Fe"])
    assert thermal.free == ("Fe.S_s",)
    assert choose(predict, [row], values, ["Fe"]).free == ("Fe.P",)


def test_a_fit_refuses_rows_in_the_unit_of_another_experiment(device: Device) -> None:
    row = Row("heat_voltage", "R1.spin", -1.3, 0.01, unit="V/A")
    with pytest.raises(ValueError, match="heat_voltage R1.spin: got V/A, expected V/K"):
        fit(device, [row], ["Fe.S_s"])


def test_signals_in_different_units_are_not_compared() -> None:
    """1e-12 V/K beside 1e3 K/W is no round-off of a zero; beside 1 V/K it is."""
    signals = (("a", "R1.P"), ("b", "R1.P"), ("c", "R1.P"))
    values = np.array([1e-12, 1e3, 1.0])
    units = ("V/K", "K/W", "V/W")
    found = Sensitivity(signals, values, {"zeta": 1.0}, np.ones((3, 1)), (), 1e-11, units, np.zeros(3), values)
    assert found.vanishes.tolist() == [False, False, False]
    assert dataclasses.replace(found, units=("V/K", "K/W", "V/K")).vanishes.tolist() == [True, False, False]
    assert found.to_json()["units"] == {"a": {"R1.P": "V/K"}, "b": {"R1.P": "K/W"}, "c": {"R1.P": "V/W"}}


def test_signals_that_the_grid_hardly_knows_are_named() -> None:
    values, errors = np.array([2.0, -1.0, 1e-14]), np.array([0.1, 0.3, 1e-14])
    signals = (("a", "R1.baseline"), ("a", "R1.spin"), ("a", "R2.spin"))
    found = Sensitivity(signals, values, {"zeta": 1.0}, np.ones((3, 1)), (), 1e-11, ("V/A",) * 3, errors, values)
    assert found.rough() == {("a", "R1.spin"): pytest.approx(0.3)}  # 5 % is known, and a zero has no size to compare
    assert any("a R1.spin to 30%" in line for line in found.words())


# ------------------------------------------------------------------------------------------- designs


def test_limits_are_meant_at_the_drive_of_the_experiments(device: Device) -> None:
    def pairs(objective: str, limits: Limits) -> dict[tuple[str, str], float]:
        return limits.pairs(Objective.parse(objective, device), device)

    at_current = pairs("current_voltage R2.spin", Limits(2e-3, temperature=60.0, density=8e11))
    assert at_current == {("current_voltage", HOTTEST): 60.0 / 4e-6, ("current_voltage", DENSEST): 8e11 / 2e-3}
    of_heat = pairs("power_voltage R1.spin / power_voltage R1.baseline", Limits(1e-3, 60.0, kind="power"))
    assert of_heat == {("power_voltage", HOTTEST): 60.0 / 1e-3}
    with pytest.raises(ValueError, match="got a drive of -0.001, expected an amplitude above 0"):
        Limits(-1e-3, 60.0)
    with pytest.raises(ValueError, match=r"meant at a current of 2 mA.*'heat_voltage' by a temperature rise"):
        pairs("heat_voltage R1.spin", Limits(2e-3, 60.0, kind="current"))
    with pytest.raises(ValueError, match="'heat_voltage' by a temperature rise"):
        pairs("power_voltage R1.spin / heat_voltage R1.spin", Limits(1e-3, 60.0))


def test_quantities_of_designs_have_the_units_of_their_experiments(device: Device) -> None:
    units = {
        ("current_voltage", "R2.spin"): "V/A^2",
        ("heat_voltage", "R1.spin"): "V/K",
        ("power_temperature", "R1.P"): "K/W",
        ("current_voltage", HOTTEST): "K/A^2",
        ("power_voltage", HOTTEST): "K/W",
        ("heat_voltage", HOTTEST): "K/K",
        ("current_voltage", DENSEST): "1/m^2",
        ("heat_voltage", DENSEST): "A/(m^2 K)",
        ("std", "Fe.S_s"): "V/K",
    }
    assert {pair: unit_of(pair, device) for pair in units} == units


# ------------------------------------------------------------------------------------------- solved

SOLVED = ("current_voltage", "heat_voltage", "power_temperature", "heat_through_heat", "current_through_spin")


@pytest.fixture(scope="module")
def model() -> Model:
    return build(all_kinds(*SOLVED), cells=60, order=1)


@pytest.fixture(scope="module")
def found(model: Model) -> Sensitivity:
    return sensitivity(model)


def test_what_is_measured_has_its_unit(model: Model) -> None:
    result = measure(model)
    for name in result.values:
        assert result.units[name] == model.device.experiments[name.experiment].unit(name.harmonic)


@pytest.mark.parametrize(
    ("experiment", "first", "second"),
    [
        ("current_voltage", -1, -2),
        ("heat_voltage", 0, 0),
        ("power_temperature", -1, -2),
        ("heat_through_heat", 1, 1),
        ("current_through_spin", 0, -1),
    ],
)
def test_signals_scale_with_all_conductivities(
    experiment: str, first: int, second: int, found: Sensitivity, model: Model
) -> None:
    """By their dimensions, with sigma and kappa of all materials c times as large.

    A current makes potentials and temperatures of 1/c, and of 1/c^2 by its Joule heat; a held temperature the same
    fields, and currents and heat of c; a power fields of 1/c, whose Joule heat makes 1/c^2. The sum of the elasticities
    says so, to what solves to 1e-9 leave.
    """
    names = list(found.parameters)
    conducting = [k for k, name in enumerate(names) if name.endswith((".sigma", ".kappa")) and found.parameters[name]]
    for (name, signal), line in zip(found.signals, found.elasticities, strict=True):
        if name == experiment:
            expected = first if signal.startswith("R1") else second
            parts = line[conducting]
            assert np.sum(parts) == pytest.approx(expected, abs=1e-5 * max(1.0, float(np.max(np.abs(parts)))))
            assert np.max(np.abs(parts)) > 0.05


def test_the_self_check_exchanges_any_drive_and_probe(model: Model) -> None:
    result = self_check(model)
    assert set(result.reciprocity) == set(SOLVED)
    assert all(0 <= difference < 1e-6 for difference in result.reciprocity.values()), result.reciprocity
    assert max(result.reciprocity.values()) > 0
    words = "\n".join(result.words())
    assert "with current and voltage contacts exchanged" in words
    assert "with drive (power) and probe (temperature) exchanged" in words


def test_rows_of_every_kind_are_fitted_together(model: Model, tmp_path: Path) -> None:
    """Noise-free signals of another device; within 1e-4 of their own standard deviations of 0.1 %."""
    truth = {"Fe.S_s": -20e-6, "Fe.kappa": 36.0, "zeta": 1.4}
    signals = measure(model, truth)
    wanted = [("current_voltage", "R2.P"), ("heat_voltage", "R1.spin"), ("power_temperature", "R1.P")]
    wanted += [("heat_through_heat", "R1.AP"), ("current_through_spin", "R1.P")]
    rows = [Row(*pair, signals[pair], 1e-3 * abs(signals[pair])) for pair in wanted]
    result = fit(model, rows, list(truth), FitOptions(grid_errors=False))
    assert result.converged
    for name, value in truth.items():
        fitted = result.parameters[name]
        assert fitted.value == pytest.approx(value, abs=0.05 * fitted.std)
    assert [row.unit for row in result.rows] == ["V/A^2", "V/K", "K/W", "W/K", "A/A"]
    html.write(tmp_path / "fit.html", result, [model.device], html.Findings(budget=budget.budget(result)))
    assert "heat_through_heat R1.AP [nW/K]" in (tmp_path / "fit.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("experiment", "title"), [("heat_voltage", "20 K"), ("power_temperature", "0.2 mW")])
def test_a_map_is_drawn_at_the_drive_of_its_experiment(
    experiment: str, title: str, model: Model, tmp_path: Path
) -> None:
    asked = model.device.experiments[experiment]
    at = usual_drive(asked)
    nodal = fields(model, experiment, "P", at)
    twice = fields(model, experiment, "P", 2 * at)
    hottest = float(np.nanmax(nodal.T))
    # Joule heat of the currents that heat drives is 1e-4 of it at most.
    assert float(np.nanmax(twice.T)) == pytest.approx(2 * hottest, rel=1e-3)
    if asked.drive == "heat":
        assert hottest == pytest.approx(20.0, rel=1e-6)
    symbol = {"heat": r"\Delta T", "power": "P"}[asked.drive]
    for figure in maps(model, experiment, tmp_path):
        assert f"${symbol}$ = {title}" in figure.axes[0].get_title("left")
        assert "$z$ = 10 nm" in figure.axes[0].get_title("left")
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{experiment}_P_{what}.png" for what in ("temperature", "spin")
    }
    with pytest.raises(ValueError, match=f"did you mean '{experiment}'"):
        maps(model, experiment[:-1], tmp_path)
