"""Values over the bath temperature: tables, another bath, data of several baths, ties; cards and their marks."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from helpers.devices import WIRE
from thermospin import inverse, studies
from thermospin.base.errors import InputError
from thermospin.base.names import SignalName
from thermospin.cli import assignments
from thermospin.cli.app import app
from thermospin.data import rows as data
from thermospin.data.rows import Row
from thermospin.data.sources import Inputs, read_sources
from thermospin.device import edit, interfaces, materials, provenance, settings
from thermospin.device.device import Device, Proportion, Tie, known_parameters, unknown_parameters
from thermospin.device.reader import load, read
from thermospin.device.temperature import Table
from thermospin.inference import fit_setup
from thermospin.inference.identifiability import choose
from thermospin.inference.result import FitResult
from thermospin.inference.sharing import (
    at_each_bath,
    check_proportions,
    check_shared,
    followers,
    following,
    joint_parameters,
    names_in_fit,
)
from thermospin.model import GridOptions, build
from thermospin.signals.evaluate import measure

BAR = (
    WIRE.replace("states = { P = {}, AP = {} }\n", "")
    + """
[materials.Py]
lambda_sf = { "10 K" = "8 nm", "77 K" = 7, "300 K" = "5 nm" }
sigma = { value = { "10 K" = "6e6 S/m", "300 K" = "4e6 S/m" }, source = "a bar on the chip" }
[[solids]]
name = "cap"
material = "Cu"
box = { x = [100, 200], y = [0, "width"], z = [40, 80] }
[[variants]]
name = "cold"
set = { bath = "77 K", width = 80 }
"""
)
FACE = """
[[interfaces]]
name = "face"
between = ["Py", "Cu"]
RA = { "10 K" = "1 fohm m^2", "300 K" = "2 fohm m^2" }
"""
SIGMA = {10.0: 6e6, 300.0: 4e6}


@pytest.fixture
def device() -> Device:
    return read(BAR + FACE, "bar.toml")


def resistance(device: Device) -> float:
    """R1 of the bar in P on a coarse grid."""
    return next(iter(measure(build(device, cells=60, order=1), harmonics=1).values.values()))


def faults_of(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        read(text, "bar.toml")
    return [fault.removeprefix("bar.toml: ") for fault in caught.value.faults]


# ------------------------------------------------------------------------------------------------------------- tables


def test_a_table_passes_its_points_and_stays_between_its_neighbours() -> None:
    table = Table((10.0, 77.0, 300.0), (8e-9, 7e-9, 5e-9))
    assert [table.at(T) for T in table.temperatures] == [8e-9, 7e-9, 5e-9]
    between = np.array([table.at(T) for T in np.linspace(10, 300, 101)])
    assert np.all(np.diff(between) < 0)
    # A cubic with the derivatives of Fritsch and Carlson, worked out by hand: slopes -1/67 and -2/223 of the two parts,
    # their weighted harmonic mean in the middle, the three-point formula at the end (in nm and K).
    h, d = (67.0, 223.0), (-1 / 67, -2 / 223)
    w = (2 * h[1] + h[0], h[1] + 2 * h[0])
    middle = sum(w) / (w[0] / d[0] + w[1] / d[1])
    end = ((2 * h[1] + h[0]) * d[1] - h[1] * d[0]) / (h[0] + h[1])
    s = (200.0 - 77.0) / h[1]
    hermite = (
        7 * (1 + 2 * s) * (1 - s) ** 2
        + 5 * s**2 * (3 - 2 * s)
        + h[1] * (middle * s * (1 - s) ** 2 - end * s**2 * (1 - s))
    )
    assert table.at(200.0) == pytest.approx(1e-9 * hermite, rel=1e-12)


def test_values_of_a_file_are_those_at_its_bath(device: Device) -> None:
    assert (device.materials["Py"].sigma, device.materials["Py"].lambda_sf, device.interfaces[0].RA) == (
        4e6,
        5e-9,
        2e-15,
    )
    assert device.materials["Py"].sources["sigma"] == "a bar on the chip"
    cold = read(BAR.replace('name = "bar"', 'bath = "77 K"'), "bar.toml")
    assert cold.bath == 77.0 and cold.materials["Py"].lambda_sf == 7e-9
    assert 4e6 < cold.materials["Py"].sigma < 6e6
    assert set(device.over_bath()) == {"Py.lambda_sf", "Py.sigma", "face.RA"}


def test_all_tables_follow_another_bath(device: Device) -> None:
    cold = settings.at_bath(device, 10.0)
    assert cold.bath == 10.0
    assert (cold.materials["Py"].sigma, cold.materials["Py"].lambda_sf, cold.interfaces[0].RA) == (6e6, 8e-9, 1e-15)
    assert cold.materials["Cu"] == device.materials["Cu"]
    assert settings.at_home(cold) == device == settings.at_bath(cold, 300.0)
    with pytest.raises(InputError) as caught:
        settings.at_bath(device, 4.2)
    reach = (
        "its table reaches from 10 K to 300 K, the bath is 4.2 K; give the table a value there, or take another bath"
    )
    assert caught.value.faults == [
        f"material 'Py', sigma: {reach}", f"material 'Py', lambda_sf: {reach}", f"interface 'face', RA: {reach}",
    ]  # fmt: skip
    with pytest.raises(InputError, match="bath: got -1 K, expected a temperature above 0 K"):
        settings.at_bath(device, -1.0)


def test_a_value_that_is_set_is_so_at_every_bath(device: Device) -> None:
    for texts in (["Py.sigma = 5e6 S/m", "bath = 10 K"], ["bath = 10 K", "Py.sigma = 5e6 S/m"]):
        changed = settings.changed(device, texts)
        assert changed.materials["Py"].sigma == 5e6 and changed.materials["Py"].lambda_sf == 8e-9
        assert "Py.sigma" not in settings.at_bath(changed, 300.0).over_bath()
    assert settings.changed(device, [], "77 K").materials["Py"].lambda_sf == 7e-9
    # So its table need not reach the bath.
    everywhere = ["Py.sigma = 5e6 S/m", "Py.lambda_sf = 9 nm", "face.RA = 1 fohm m^2", "bath = 4 K"]
    assert settings.changed(device, everywhere).materials["Py"].lambda_sf == 9e-9
    with pytest.raises(InputError, match="got the bath twice"):
        settings.changed(device, ["bath = 10 K"], "77 K")


def test_faults_of_tables_come_with_all_others() -> None:
    text = BAR.replace('"77 K" = 7', '"77" = 7, "5 K" = "9 m/s", "-3 K" = 1').replace(
        '"300 K" = "4e6', '"200 K" = "4e6'
    )
    text = text.replace('solid = "wire"\nface = "x+"', 'solid = "wir"\nface = "x+"') + FACE.replace('"1 fohm m^2"', "0")
    faults = faults_of(text.replace('between = ["Py", "Cu"]', 'between = ["Py", "Cu"]\ngamma = { "10 K" = 0.5 }'))
    reach = (
        "its table reaches from 10 K to 200 K, the bath is 300 K; give the table a value there, or take another bath"
    )
    one = 'got a table of one temperature, expected at least two, such as { "10 K" = ..., "300 K" = ... }'
    for fault in (
        'material \'Py\', lambda_sf: got "77", which has no unit; expected a temperature, such as "300 K"; ',
        f"material 'Py', sigma: {reach}",
        "interface 'face', RA: got 0, expected RA > 0 ohm m^2, at 10 K",
        f"interface 'face', gamma: {one}; a value that holds at every bath needs no table",
        "contact 'b' (x+ of 'wir'), solid: got 'wir'; did you mean 'wire'?",
    ):
        assert any(text.startswith(fault) for text in faults), (fault, faults)
    (several,) = (fault for fault in faults if "lambda_sf" in fault)
    assert '"5 K": got "9 m/s"' in several and 'got "-3 K", expected a temperature above 0 K' in several
    (fault,) = faults_of(BAR.replace("[materials.Py]", '[materials.Py]\nP = { "10 K" = 1.2, "300 K" = 0.3 }'))
    assert fault == "material 'Py', P: got 1.2, expected |P| < 1, at 10 K"


def test_resistances_of_tables_are_converted_at_every_temperature() -> None:
    star = {"10 K": "1 fohm m^2", "300 K": "2 fohm m^2"}
    made = interfaces.as_values({"AR_star": star, "gamma": {"10 K": 0.8, "300 K": 0.5}}, 10.0)
    assert made.at_bath["RA"] == pytest.approx(0.36e-15)
    assert made.tables["RA"].values == pytest.approx((0.36e-15, 1.5e-15))
    assert made.sources["RA"] == "no source given (AR_star, gamma)"


#: An interface whose AR_star is the same at all baths, as a number and as a table, and gamma a table of three points.
STAR = """[[interfaces]]
name = "face"
between = ["Py", "Cu"]
AR_star = {star}
gamma = {{ "10 K" = 0.0, "155 K" = 0.9, "300 K" = 0.0 }}
"""


@pytest.mark.parametrize("star", ['"1 fohm m^2"', '{ "5 K" = "1 fohm m^2", "300 K" = "1 fohm m^2" }'])
def test_converted_values_are_those_of_the_tables_at_every_bath(star: str) -> None:
    """To interpolate what was converted would be another number, by which file and `at_bath` would differ."""
    text = BAR + STAR.format(star=star)
    device = read(text, "bar.toml")
    for bath in (20.0, 155.0, 300.0):
        (there,) = settings.at_bath(device, bath).interfaces
        (in_file,) = read(f'bath = "{bath:g} K"\n{text}', "bar.toml").interfaces
        gamma = there.tables["gamma"].at(bath)
        assert there.RA == in_file.RA == pytest.approx(1e-15 * (1 - gamma**2)) and there.gamma == in_file.gamma == gamma
    assert there.RA == 1e-15
    with pytest.raises(InputError, match="interface 'face', RA: its table reaches from 10 K to 300 K"):
        settings.at_bath(device, 7.0)


def test_both_channels_are_converted_at_every_bath() -> None:
    up = {"10 K": "0.5 fohm m^2", "300 K": "1.5 fohm m^2"}
    made = interfaces.as_values({"AR_up": up, "AR_down": "2 fohm m^2"}, 155.0)
    assert made.at_bath["RA"] == made.tables["RA"].at(155.0) == pytest.approx(1e-15 / 1.5)
    assert made.at_bath["gamma"] == made.tables["gamma"].at(155.0) == pytest.approx(1 / 3)


def test_a_bath_is_an_option_of_the_commands(tmp_path: Path) -> None:
    path = tmp_path / "bar.toml"
    path.write_text(BAR, encoding="utf-8")
    for words in (
        ["check", f"{path}", "--bath", "77 K"],
        ["check", f"{path}@cold"],
        ["check", f"{path}", "--set", "bath=77K"],
    ):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0 and "bath 77 K" in result.output, result.output
        assert (
            "Tables over the bath, here at 77 K: Py.sigma (10 K to 300 K), Py.lambda_sf (10 K to 300 K)"
            in result.output
        )
    for bath, text in (
        ("4 K", "its table reaches from 10 K to 300 K"),
        ("4 nm", 'bath: got "4 nm", which is a length'),
    ):
        result = CliRunner().invoke(app, ["check", f"{path}", "--bath", bath])
        assert result.exit_code == 2 and text in result.stderr
    cold = load(f"{path}@cold")
    assert cold.bath == 77.0 and cold.solids[0].box[1] == (0.0, 80e-9)


def test_the_resistance_of_a_bar_follows_its_table(device: Device) -> None:
    plain = dataclasses.replace(settings.changed(device, ["Py.P = 0"]), solids=device.solids[:1], interfaces=())
    cold, warm = resistance(settings.at_bath(plain, 10.0)), resistance(plain)
    # L/(sigma A), one metal without polarisation: exact on any grid.
    for value, bath in ((cold, 10.0), (warm, 300.0)):
        assert value == pytest.approx(300e-9 / (SIGMA[bath] * 50e-9 * 40e-9), rel=1e-6)


def test_an_edited_file_has_the_bath_and_keeps_its_tables(device: Device) -> None:
    text = BAR + FACE
    after = settings.changed(device, ["Py.P = 0.3", "Py.lambda_sf = 6 nm", "face.RA = 3 fohm m^2"], "10 K")
    made = read(edit.with_numbers(text, device, after), "bar.toml")
    assert made.bath == 10.0 and made.numbers() == after.numbers()
    assert set(made.over_bath()) == {"Py.sigma"}


# --------------------------------------------------------------------------------------------------------------- data

TABLE = """experiment,signal,value,std,unit,bath
bar,R1.P,25,0.1,ohm,10
bar,R1.P,37.5,0.1,ohm,300 K
bar,R1.P,30,0.1,ohm,
"""


def test_a_column_of_temperatures_makes_a_copy_for_each(device: Device) -> None:
    series = data.read_series(TABLE, "table.csv", device)
    assert [copy.name for copy, _ in series] == ["bar bath=10K", "bar bath=300K", "bar"]
    assert [copy.materials["Py"].sigma for copy, _ in series] == [6e6, 4e6, 4e6]
    kelvin = data.read_series(TABLE.replace("bath\n", "bath (mK)\n").replace(",10\n", ",10000\n"), "table.csv", device)
    assert kelvin[0][0].bath == 10.0
    with pytest.raises(InputError) as caught:
        data.read_series(TABLE.replace(",10\n", ",4\n").replace("300 K", "3 nm"), "table.csv", device)
    assert [fault.split(": ")[1] for fault in caught.value.faults] == [
        "line 2, material 'Py', sigma", "line 2, material 'Py', lambda_sf", "line 2, interface 'face', RA",
        "line 3, bath",
    ]  # fmt: skip


def test_another_bath_of_the_same_device_goes_beside_it(tmp_path: Path) -> None:
    (tmp_path / "bar.toml").write_text(BAR, encoding="utf-8")
    (tmp_path / "bar.csv").write_text("experiment,signal,value,std,unit\nbar,R1.P,30,0.1,ohm\n", encoding="utf-8")
    name, table = str(tmp_path / "bar.toml"), str(tmp_path / "bar.csv")
    inputs = read_sources([(name, [table]), (name, ["bath=77K", table])], (), "10 K")
    assert [device.bath for device in inputs.devices] == [10.0, 77.0]


# ------------------------------------------------------------------------------------------------- sharing and ties


def copies(device: Device, *baths: float, widths: Sequence[float] = (50e-9,)) -> list[Device]:
    return [settings.copy_with(device, {"bath": T, "width": width}) for T in baths for width in widths]


def test_a_table_is_free_at_each_bath_and_a_number_is_shared(device: Device) -> None:
    devices = copies(device, 300.0, 10.0, widths=(50e-9, 80e-9))
    assert at_each_bath(devices, ["Py.sigma", "Py.P", "width"]) == {
        "Py.sigma": ["10K:Py.sigma", "300K:Py.sigma"], "Py.P": ["Py.P"], "width": ["width"],
    }  # fmt: skip
    assert at_each_bath(devices, ["Py.sigma"], ["Py.sigma"]) == {"Py.sigma": ["Py.sigma"]}
    assert at_each_bath(devices[:2], ["Py.sigma"]) == {"Py.sigma": ["Py.sigma"]}
    start = joint_parameters(devices, ["10K:Py.sigma", "300K:Py.sigma", "Py.P"])
    assert (start["10K:Py.sigma"], start["300K:Py.sigma"], start["Py.P"]) == (6e6, 4e6, 0.25)
    # What is held: lambda_sf differs between baths, the width between devices at one bath.
    assert (start["10K:Py.lambda_sf"], start["300K:Py.lambda_sf"]) == (8e-9, 5e-9)
    assert "Py.sigma" not in start and "Py.lambda_sf" not in start
    assert start["bar bath=10K, width=80nm:width"] == 80e-9
    assert {"10K:Py.sigma", "bar bath=10K, width=80nm:Py.sigma"} <= known_parameters(devices).keys()
    wrong = unknown_parameters("--free", ["Py.P", "10K:Py.sigmo"], devices)
    assert len(wrong) == 1 and wrong[0].startswith("--free: got '10K:Py.sigmo'; did you mean '10K:Py.sigma'? expected ")
    assert wrong[0].endswith("zeta, width; before it 300K: or 10K: of one bath, NAME: of one device")
    check_shared(devices, ["10K:Py.sigma", "300K:Py.sigma"], [])
    with pytest.raises(InputError, match="one value for all would undo what tells them apart"):
        check_shared(devices, ["Py.sigma"], [])


def product(names: Sequence[str]) -> Any:
    """A signal for each device: the product of what it is given by these names, with its derivatives."""

    def predict(parameters: Mapping[str, float], wanted: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        values = np.array([parameters[name] for name in names])
        slopes = [[float(name == other) for other in wanted] for name in names]
        return values, np.array(slopes).reshape(len(names), len(wanted))

    return predict


def test_a_tied_value_follows_with_its_slope_by_the_chain_rule(device: Device) -> None:
    devices = copies(device, 10.0, 300.0)
    tie = Proportion("Py.lambda_sf", {"Py.sigma": 1.0, "bath": 0.5})
    values = followers(devices, [tie], [])
    assert [value.name for value in values] == [f"{copy.name}:Py.lambda_sf" for copy in devices]
    names = ["Py.lambda_sf", "10K:Py.sigma", "300K:Py.sigma", "Py.P"]
    at = {"Py.lambda_sf": 4e-9, "10K:Py.sigma": 7e6, "300K:Py.sigma": 4.4e6, "Py.P": 0.2}
    model = following(product([value.name for value in values]), values)
    signals, jacobian = model(at, names)
    # References: sigma = 4e6 S/m and 300 K, as in the file.
    assert signals == pytest.approx([4e-9 * 7 / 4 * math.sqrt(10 / 300), 4e-9 * 1.1])
    for k, name in enumerate(names):
        step = {**at, name: at[name] * (1 + 1e-6)}
        moved = (model(step, ())[0] - signals) / (at[name] * 1e-6)
        np.testing.assert_allclose(jacobian[:, k], moved, rtol=1e-5, atol=1e-30)
    # One device: the parameter itself follows, so that its own column is the one of the constant.
    alone = followers([device], [Proportion("Py.lambda_sf", {"Py.sigma": -1.0})], [])
    signals, jacobian = following(product(["Py.lambda_sf"]), alone)(
        {"Py.lambda_sf": 5e-9, "Py.sigma": 8e6}, ["Py.lambda_sf", "Py.sigma"]
    )
    assert signals[0] == pytest.approx(2.5e-9)
    np.testing.assert_allclose(jacobian, [[0.5, -2.5e-9 / 8e6]])
    # A device whose own value is free takes no part.
    assert [v.name for v in followers(devices, [tie], ["10K:Py.lambda_sf"])] == [f"{devices[1].name}:Py.lambda_sf"]


def test_ties_are_read_as_they_are_written() -> None:
    ties = assignments.ties(
        ["Py.lambda_sf ~ Py.sigma", "Cu.kappa ~ Cu.sigma * bath", "a.S ~ b.S^-2", "Cu.S = 2 * Au.S"]
    )
    assert ties == [
        Proportion("Py.lambda_sf", {"Py.sigma": 1.0}), Proportion("Cu.kappa", {"Cu.sigma": 1.0, "bath": 1.0}),
        Proportion("a.S", {"b.S": -2.0}), Tie("Cu.S", "Au.S", 2.0),
    ]  # fmt: skip
    assert [str(tie) for tie in ties[:3]] == ["Py.lambda_sf ~ Py.sigma", "Cu.kappa ~ Cu.sigma * bath", "a.S ~ b.S^-2"]
    with pytest.raises(InputError) as caught:
        assignments.ties(["Py.P ~", "~ Py.P", "Py.P ~ Py.S^", "Py.P ~ Py.S^x"])
    assert len(caught.value.faults) == 4 and all("NAME ~ OTHER" in fault for fault in caught.value.faults)


def test_ties_that_cannot_be_are_refused(device: Device) -> None:
    devices = copies(device, 10.0, 300.0)
    for ties, text in (
        ([Proportion("Py.lambda", {"Py.sigma": 1})], "did you mean 'Py.lambda_sf'?"),
        ([Proportion("Py.lambda_sf", {"10K:Py.sigma": 1})], "name the value alone"),
        ([Proportion("Py.lambda_sf", {"Py.lambda_sf": 1})], "follows what follows another one"),
        ([Proportion("Py.lambda_sf", {"Py.sigma": 0})], "powers that are finite numbers other than 0"),
        (
            [Proportion("Py.lambda_sf", {"Cu.P": 1})],
            "Cu.P is 0 in 'bar bath=10K, width=50nm', so nothing can follow it",
        ),
        ([Proportion("Py.lambda_sf", {"Py.sigma": 1})] * 2, "follows more than one parameter"),
    ):
        with pytest.raises(InputError, match=text.replace("?", r"\?")):
            check_proportions(ties, devices, [])
    with pytest.raises(InputError, match="follows more than one parameter"):
        check_proportions([Proportion("Py.kappa", {"Py.sigma": 1})], devices, ["Py.kappa"])


SERIES = """
name = "series"
length_unit = "nm"
[dimensions]
long = 200
[materials.Py]
sigma = { "10 K" = "6e6 S/m", "300 K" = "4e6 S/m" }
[materials.Cu]
sigma = "8e6 S/m"
[[solids]]
name = "first"
material = "Py"
box = { x = [0, "long"], y = [0, 50], z = [0, 50] }
[[solids]]
name = "second"
material = "Cu"
box = { x = ["long", "long + 100"], y = [0, 50], z = [0, 50] }
[[contacts]]
name = "a"
solid = "first"
face = "x-"
[[contacts]]
name = "b"
solid = "second"
face = "x+"
[experiments.bar]
current = ["a", "b"]
voltage = ["a", "b"]
"""
GRID = GridOptions(cells=60, order=1)


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    """Resistances of two lengths at two baths, with Cu.sigma = 2.5 Py.sigma at both."""
    device, truth = read(SERIES, "series.toml"), {10.0: 6.5e6, 300.0: 4.2e6}
    devices, rows = [], []
    for bath, sigma in truth.items():
        for long in (200e-9, 400e-9):
            copy = settings.copy_with(device, {"bath": bath, "long": long})
            right = settings.with_values(copy, {"Py.sigma": sigma, "Cu.sigma": 2.5 * sigma})
            value = measure(GRID.build(right), harmonics=1).values[SignalName("bar", 1, "P")]
            devices.append(copy)
            rows.append(Row("bar", "R1.P", value, 0.01 * value, device=copy.name))
    return Inputs(tuple(devices), tuple(rows))


@pytest.fixture(scope="module")
def result(inputs: Inputs) -> FitResult:
    options = inverse.FitOptions(ties=[Proportion("Cu.sigma", {"Py.sigma": 1.0})], grid_errors=False)
    return inverse.fit(inputs.devices, inputs.rows, ["Py.sigma", "Cu.sigma"], options, grid=GRID)


def test_a_fit_of_two_baths_has_one_constant_for_what_follows(result: FitResult) -> None:
    assert result.converged and result.names == ("10K:Py.sigma", "300K:Py.sigma", "Cu.sigma")
    # Cu.sigma is its value where Py.sigma is 4e6 S/m, as in the file at 300 K.
    expected = {"10K:Py.sigma": 6.5e6, "300K:Py.sigma": 4.2e6, "Cu.sigma": 1e7}
    for name, value in expected.items():
        assert result.parameters[name].value == pytest.approx(value, rel=1e-3), name
        assert 0.01 < result.parameters[name].std / value < 0.3
    (tie,) = result.following
    assert set(tie.values) == {"10K:Cu.sigma", "300K:Cu.sigma"} and tie.references == {"Py.sigma": 4e6}
    variance = np.array(result.covariance)
    for place, bath in enumerate(("10K", "300K")):
        value, std = tie.values[f"{bath}:Cu.sigma"]
        sigma, constant = (result.parameters[name].value for name in (f"{bath}:Py.sigma", "Cu.sigma"))
        assert value == pytest.approx(constant * sigma / 4e6)
        # Relative variances of the two factors and twice their covariance add.
        square = variance[place, place] / sigma**2 + variance[2, 2] / constant**2
        square += 2 * variance[place, 2] / (sigma * constant)
        assert std / value == pytest.approx(math.sqrt(square), rel=1e-6)
    text, page = result.report(), result.to_json()["following"]
    assert "tied at every bath: Cu.sigma ~ Py.sigma; Cu.sigma is its value at Py.sigma = 4e+06 S/m" in text
    assert "    10K:Cu.sigma = 1.62" in text and page[0]["values"]["10K:Cu.sigma"]["std"] > 0


def test_the_values_of_one_device_are_those_of_its_bath_and_what_follows(inputs: Inputs, result: FitResult) -> None:
    values = result.all_values
    for device in inputs.devices:
        full = names_in_fit(device, values)
        bath = f"{device.bath:g}K"
        assert full.keys() == device.numbers().keys()
        assert (full["Py.sigma"], full["Cu.sigma"]) == (f"{bath}:Py.sigma", f"{bath}:Cu.sigma")
        sigma = result.parameters[f"{bath}:Py.sigma"].value
        assert values[full["Cu.sigma"]] == pytest.approx(result.values["Cu.sigma"] * sigma / 4e6)
        assert values[full["long"]] == device.lengths()["long"], "of one device"
        assert names_in_fit(device, {f"{device.name}:zeta": 2.0, f"{bath}:zeta": 1.0}) == {
            "zeta": f"{device.name}:zeta"
        }


def test_derivatives_of_a_fit_with_a_tie_meet_their_differences(result: FitResult) -> None:
    problem = result.require_problem()
    at = dict(problem.fixed) | {name: fitted.value for name, fitted in result.parameters.items()}
    signals, jacobian = problem.predict(at, [*result.names, "Py.S"])
    # Of three parameters two act on each of the four resistances; a Seebeck coefficient on none at first order.
    assert np.count_nonzero(jacobian[:, :3]) == 8
    for k, name in enumerate(result.names):
        h = 1e-3 * at[name]
        up, down = (problem.predict({**at, name: at[name] + sign * h}, ())[0] for sign in (1, -1))
        # R goes as 1/sigma: the remainder is h^2/sigma^2 = 1e-6 of the derivative; values are solved to 1e-7 of R,
        # which makes 1e-4 of R/sigma in the difference.
        np.testing.assert_allclose(jacobian[:, k], (up - down) / (2 * h), rtol=1e-5, atol=1e-4 * signals[0] / at[name])


def test_a_journal_of_other_ties_is_refused(inputs: Inputs, tmp_path: Path) -> None:
    models = [GRID.build(device) for device in inputs.devices[:1]]
    told = {fit_setup.journal_problem(models, inputs.rows, ties) for ties in (
        [], [Tie("Cu.S", "Py.S", 2.0)], [Tie("Cu.S", "Py.S", 3.0)], [Proportion("Cu.S", {"Py.S": 1.0})],
        [Proportion("Cu.S", {"Py.S": 2.0})],
    )}  # fmt: skip
    assert len(told) == 5


def test_a_rival_of_a_file_is_at_the_bath_of_the_device(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text(BAR, encoding="utf-8")
    cold = settings.at_bath(read(BAR, "bar.toml"), 77.0)
    for devices, bath in (([cold], 77.0), ([read(BAR, "bar.toml")], 300.0)):
        (model,) = studies.rival_models([str(tmp_path / "other.toml")], devices).values()
        (rival,) = model.devices
        assert rival.bath == bath and rival.materials["Py"].lambda_sf == {77.0: 7e-9, 300.0: 5e-9}[bath]


def test_what_is_chosen_to_be_free_is_so_at_each_bath(inputs: Inputs) -> None:
    device = read(BAR, "bar.toml")
    devices = copies(device, 10.0, 300.0)
    names = ["10K:Py.lambda_sf", "300K:Py.lambda_sf", "Py.P"]
    rows = [Row("bar", "R1.spin", 1.0, 0.01) for _ in names]
    parameters = joint_parameters(devices, [])
    model = product(names)

    def relative(values: Mapping[str, float], wanted: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        signals, jacobian = model(values, wanted)
        sizes = np.array([parameters[name] for name in names])
        return signals / sizes, jacobian / sizes[:, None]

    chosen = choose(relative, rows, parameters, ["Py"], (), functools.partial(at_each_bath, devices))
    assert set(chosen.free) == set(names)


def test_bounds_of_a_table_hold_at_each_bath_unless_one_has_its_own(inputs: Inputs) -> None:
    options = inverse.FitOptions(bounds={"300K:Py.sigma": (1e6, 5e6), "Py.sigma": (1e6, 9e6), "zeta": (0.0, 2.0)})
    free, bounds = fit_setup._at_each_bath(inputs.devices, ["Py.sigma", "zeta"], options.bounds, [])
    assert free == ["10K:Py.sigma", "300K:Py.sigma", "zeta"]
    assert bounds == {"10K:Py.sigma": (1e6, 9e6), "300K:Py.sigma": (1e6, 5e6), "zeta": (0.0, 2.0)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"free": ["Cu.sigma"], "bounds": {"Py.sigma": (1e6, 9e6)}},
            "bounds: Py.sigma is not free; add it to what is free (--free)",
        ),
        (
            {"free": ["Cu.sigma"], "priors": {"Py.sigma": (4e6, 1e5)}},
            "priors: Py.sigma is not free; add it to what is free (--free)",
        ),
        (
            {"free": ["10K:Py.sigma"], "bounds": {"300K:Py.sigma": (1e6, 9e6)}},
            "bounds: 300K:Py.sigma is not free, but 10K:Py.sigma is; name that, or add it to what is free (--free)",
        ),
        (
            {"free": ["Py.sigma"], "priors": {"Py.sigma": (4e6, 1e5)}},
            "priors: Py.sigma is a table over the bath and has one value for each; give priors of 10K:Py.sigma and "
            "300K:Py.sigma",
        ),
        (
            {"free": ["Py.sigma"], "ties": [Tie("Py.sigma", "Cu.sigma")]},
            "ties: Py.sigma follows Cu.sigma and is free too, expected one of them",
        ),
        ({"free": ["Py.sigma"], "bounds": {"Py.sigma": (1e6, 2e6)}}, "start of 10K:Py.sigma: got 6e+06"),
        ({"free": ["Py.sigma"], "bounds": {"Py.sgma": (1e6, 2e6)}}, "bounds: got 'Py.sgma'; did you mean 'Py.sigma'?"),
    ],
)
def test_names_of_a_fit_are_refused_as_given_before_anything_is_built(
    inputs: Inputs, changes: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the signals choose the grids, which a study does before it fits."""
    for place in (studies, GridOptions):
        monkeypatch.setattr(place, "_models" if place is studies else "build", None)
    free = changes["free"]
    options = inverse.FitOptions(**{key: value for key, value in changes.items() if key != "free"})
    with pytest.raises(InputError, match=f"^{re.escape(words)}"):
        studies.study(inputs, free=free, grid=studies.GridChoice(60), options=options)
    with pytest.raises(InputError, match=f"^{re.escape(words)}"):
        inverse.fit(inputs.devices, inputs.rows, free, options)


def test_without_a_tie_each_bath_is_on_its_own(inputs: Inputs) -> None:
    tied, alone = (at_each_bath(inputs.devices, ["Py.sigma", "Cu.sigma"], shared) for shared in (["Cu.sigma"], []))
    assert tied == alone == {"Py.sigma": ["10K:Py.sigma", "300K:Py.sigma"], "Cu.sigma": ["Cu.sigma"]}


# ----------------------------------------------------------------------------------------------- cards and their marks


@pytest.mark.parametrize("name", materials.card_names())
def test_every_value_of_a_card_has_a_source_with_a_mark(name: str) -> None:
    marks = ("paper", "read", "abstract", "database", "derived", "recalled", "assumed", "not a ferromagnet")
    for key, entry in materials.card(name).items():
        assert key == "note" or str(entry["source"]).startswith(marks), (name, key)


@pytest.mark.parametrize("name", interfaces.card_names())
def test_every_value_of_an_interface_card_has_a_source_with_a_mark(name: str) -> None:
    marks = ("read", "abstract", "derived", "recalled")
    for key, entry in interfaces.card(name).items():
        assert key == "note" or str(entry["source"]).startswith(marks), (name, key)
    needs = {"CoFe/Cu": {"RA": 1e-15}, "MgO barrier": {"RA": 1e-12}}.get(name, {})
    made = interfaces.as_values(interfaces.with_card(needs, name), 300.0)
    assert not interfaces.faults_of(made, name) and made.at_bath and set(made.sources) == set(made.at_bath)


def test_cards_of_the_field_are_there() -> None:
    wanted = {"Py", "Co", "CoFe", "Cu", "Al", "Ag", "Au", "Pt", "Mg", "SiO2", "Al2O3", "MgO", "Si"}
    assert wanted <= set(materials.card_names())
    of_faces = {"Py/Cu", "Co/Cu", "CoFe/Cu", "Al/Cu", "Co/Pt", "metal/SiO2", "metal/Al2O3", "metal/MgO"}
    assert of_faces | {"Co/Al2O3/Al", "MgO barrier"} <= set(interfaces.card_names())
    # r* = AR* of tables and RA without spin accumulation: RA = AR* (1 - gamma^2), to the four digits of the cards.
    for name, star in (("Py/Cu", 0.5e-15), ("Co/Cu", 0.5e-15), ("Co/Pt", 0.74e-15)):
        of_card = interfaces.as_values(interfaces.card(name), 300.0).at_bath
        assert of_card["RA"] == pytest.approx(star * (1 - of_card["gamma"] ** 2), rel=3e-4), name
    assert materials.build("Mg", materials.card("Mg")).lambda_sf == 230e-9
    for bath, kappa in ((77.0, 0.52), (300.0, 1.29)):
        assert materials.build("SiO2", materials.card("SiO2"), bath=bath).kappa == kappa


def test_a_card_that_is_incomplete_says_what_it_needs() -> None:
    faults = faults_of(BAR.replace('material = "Cu"', 'material = "CoFe"') + FACE.replace('"Cu"', '"CoFe"'))
    need = "a metal needs sigma and kappa and lambda_sf; the card 'CoFe' has no value for it"
    complete = "complete with these elements: 'Co90Fe10'"
    assert faults == [f"material 'CoFe', sigma and kappa: missing; {need}; {complete}"]
    card = FACE.partition("RA")[0] + 'card = "CoFe/Cu"\n'
    assert "interface 'face', delta: needs RA; the card 'CoFe/Cu' has no value for it" in faults_of(BAR + card)
    (fault,) = faults_of(BAR + card.replace("CoFe/Cu", "CoFe-Cu"))
    assert fault.startswith("interface 'face', card: got 'CoFe-Cu'; did you mean 'CoFe/Cu'?")
    given = read(BAR + card + 'RA = "1 fohm m^2"\n', "bar.toml").interfaces[0]
    assert given.values() == {"RA": 1e-15, "delta": 0.19} and "1012.4099" in given.sources["delta"]
    # What the file says of polarisation or resistance, in any form, goes before the card's.
    channels = 'AR_up = "1 fohm m^2"\nAR_down = "3 fohm m^2"\n'
    other = read(BAR + card.replace("CoFe/Cu", "Py/Cu") + channels, "bar.toml")
    assert other.interfaces[0].values() == {"RA": pytest.approx(0.75e-15), "gamma": pytest.approx(0.5)}


def test_reports_show_what_is_from_memory() -> None:
    text = BAR.replace('material = "Cu"', 'material = "Ag"') + FACE.replace('"Cu"', '"Ag"').partition("RA")[0]
    device = read(text + 'card = "Py/Cu"\n', "bar.toml")
    lines = provenance.recalled(device)
    assert lines[0] == "Values from memory, estimated or assumed, to be checked before they are relied on:"
    assert "  Ag.kappa = 429 W/(m K): recalled H (bulk)" in lines
    assert "  face.RA = 0.2112 fohm m^2: recalled H: 2AR* = 1.0 fohm m^2 at 4.2 K; RA = AR* (1 - gamma^2)" in lines
    assert not any("Py." in line or "face.gamma =" in line for line in lines)
    assert not any("Ag.kappa" in line for line in provenance.recalled(device, ["77K:Ag.kappa"]))
    cold = settings.at_bath(device, 77.0)
    (line,) = provenance.at_room_temperature(cold)
    assert line.startswith(
        "Of cards at room temperature, and taken at 77 K as they are: Py.P, Py.S, Py.S_s, Py.kappa, "
    )
    assert "Ag.lambda_sf" not in line and "Py.sigma" not in line and provenance.at_room_temperature(device) == []
    # A value that is set is no card's any more.
    other = settings.changed(cold, ["Ag.kappa = 400 W/(m K)"])
    assert not any("Ag.kappa" in text for text in provenance.notes([other]))


def test_commands_and_pages_show_what_is_from_memory(tmp_path: Path) -> None:
    path = tmp_path / "bar.toml"
    path.write_text(BAR.replace('material = "Cu"', 'material = "Ag"'), encoding="utf-8")
    line = "Ag.sigma = 6.3e+07 S/m: recalled H (bulk)"
    for words in (["check", f"{path}"], ["signals", f"{path}", "--order", "1", "--no-errors", "--harmonics", "1"]):
        shown = CliRunner().invoke(app, words)
        assert shown.exit_code == 0 and line in shown.output, shown.output
    (tmp_path / "bar.csv").write_text("experiment,signal,value,std,unit\nbar,R1.P,40,1,ohm\n", encoding="utf-8")
    sources = read_sources([(str(path), [str(tmp_path / "bar.csv")])])
    study = studies.study(sources, free=["Py.sigma"], grid=studies.GridChoice(order=1))
    assert any(line in text for text in study.words()) and any(line in text for text in study.to_json()["provenance"])
    study.write_page(tmp_path / "fit.html")
    page = (tmp_path / "fit.html").read_text("utf-8")
    assert line in page
    # The device in space is a page of its own, where there is what draws it.
    drawn = importlib.util.find_spec("plotly") is not None
    assert ('href="fit-view.html"' in page) == drawn == (tmp_path / "fit-view.html").is_file()


def test_cards_are_listed_and_shown() -> None:
    listed = CliRunner().invoke(app, ["cards"]).output
    assert "materials: Py, Cu, " in listed and "interfaces: Py/Cu, " in listed
    shown = CliRunner().invoke(app, ["cards", "Mg", "Co/Pt"]).output
    assert "lambda_sf = 720 nm at 10 K, 230 nm at 300 K: abstract, " in shown and "delta = 0.9: abstract" in shown
    wrong = CliRunner().invoke(app, ["cards", "Pz"])
    assert wrong.exit_code == 2 and "did you mean 'Py'?" in wrong.stderr
