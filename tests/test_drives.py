"""Experiments of every drive and probe: their units in data, in words, in JSON and on pages."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from helpers import devices
from thermospin.accuracy.sensitivity import Sensitivity
from thermospin.base.names import SignalName
from thermospin.data import experiment_file
from thermospin.data import rows as data
from thermospin.data.rows import DataError, Row
from thermospin.designs.limits import Limits
from thermospin.designs.objective import DENSEST, HOTTEST, Objective, unit_of
from thermospin.device.device import Device
from thermospin.device.drives import DRIVES, drive_of_unit, read_drive, usual_drive
from thermospin.device.parts import DRIVE_UNITS, PROBE_UNITS, Experiment, Through
from thermospin.inference import suggestions
from thermospin.inference.identifiability import choose
from thermospin.inference.minimisers import LeastSquares, minimise
from thermospin.inference.parameters import Parameter
from thermospin.inference.result import FitResult
from thermospin.inverse import fit
from thermospin.report import fit_figures, html
from thermospin.signals.results import Signals

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
_DRIVES = {
    "current": {"current": ("left", "right")},
    "heat": {"heat": {"left": 20.0}},
    "power": {"power": {"F1": 2e-4}},
}
_PROBES = {
    "voltage": {"voltage": ("left", "right")},
    "temperature": {"temperature": ("N",)},
    **{f"through_{what}": {"through": Through(what, ("F1", "N"))} for what in ("spin", "charge", "heat")},  # type: ignore[arg-type]
}


def all_kinds() -> Device:
    """Return a bar with an experiment for each pair of a drive and a probe, such as "heat_voltage"."""
    nothing = Experiment("", None, None, devices.P_AP)
    experiments = {
        name: dataclasses.replace(nothing, name=name, **drive, **probe)
        for (d, drive) in _DRIVES.items()
        for (p, probe) in _PROBES.items()
        for name in [f"{d}_{p}"]
    }
    return dataclasses.replace(devices.bar(), experiments=experiments)


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
    rows = data.read(text, "x.csv", device)
    for row, (_, size, unit) in zip(rows, cells.values(), strict=True):
        assert (row.value, row.std, row.unit) == (pytest.approx(5 * size), pytest.approx(0.5 * size), unit)
    file = io.StringIO()
    data.write(rows, file)
    assert data.read(file.getvalue(), "x.csv", device) == rows


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
        data.read(HEADER + f"{experiment},R1.P,1,1,{unit}\n", "x.csv", device)
    (fault,) = caught.value.faults
    assert fault.startswith(f'x.csv: line 2, unit: got "{unit}", which') and words in fault, fault


def test_a_second_harmonic_of_heat_is_per_square(device: Device) -> None:
    with pytest.raises(DataError, match=r"\(voltage per \(temperature rise\)\^2\), V/K\^2"):
        data.read(HEADER + "heat_voltage,R2.P,1,1,V/K\n", "x.csv", device)


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
    assert read_drive("2 mA", key="--drive") == (2e-3, "current")
    assert read_drive("10 K", key="--drive") == (10.0, "heat")
    assert read_drive("50 uW", key="--drive") == (5e-5, "power")
    with pytest.raises(ValueError, match='--drive: got "2 V", expected a current, a temperature rise or a power'):
        read_drive("2 V", key="--drive")


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
    assert lines[0][-1] == "Unit" and [line[-1] for line in lines[2:5]] == ["V/K", "K/W", "W/A^2"]
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
    found = Sensitivity(signals, values, {"zeta": 1.0}, np.ones((3, 1)), (), units=units)
    assert found.vanishes.tolist() == [False, False, False]
    assert dataclasses.replace(found, units=("V/K", "K/W", "V/K")).vanishes.tolist() == [True, False, False]
    assert found.to_json()["units"] == {"a": {"R1.P": "V/K"}, "b": {"R1.P": "K/W"}, "c": {"R1.P": "V/W"}}


# ------------------------------------------------------------------------------------------- designs


def test_limits_are_meant_at_the_drive_of_the_experiments(device: Device) -> None:
    def pairs(objective: str, limits: Limits) -> dict[tuple[str, str], float]:
        return limits.pairs(Objective.parse(objective, device), device)

    at_current = pairs("current_voltage R2.spin", Limits(2e-3, temperature=60.0, density=8e11))
    assert at_current == {("current_voltage", HOTTEST): 60.0 / 4e-6, ("current_voltage", DENSEST): 8e11 / 2e-3}
    of_heat = pairs("power_voltage R1.spin / power_voltage R1.baseline", Limits(1e-3, 60.0, kind="power"))
    assert of_heat == {("power_voltage", HOTTEST): 60.0 / 1e-3}
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
