"""Experiments of every drive and probe: their units in data, in words, in JSON and on pages."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest

from tests.helpers import devices
from thermospin.data import experiment_file
from thermospin.data import rows as data
from thermospin.data.rows import DataError
from thermospin.device.device import Device
from thermospin.device.drives import DRIVES, drive_of_unit, read_drive, usual_drive
from thermospin.device.parts import DRIVE_UNITS, PROBE_UNITS, Experiment, Through

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
