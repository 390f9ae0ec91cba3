"""Series of devices: variants in a device file, columns of a table that name values of the device, one grid error."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from helpers.devices import WIRE
from thermospin import inverse
from thermospin.accuracy import error_bars
from thermospin.base.errors import InputError
from thermospin.cli.app import app
from thermospin.data import rows as data
from thermospin.data.rows import DataError, Row
from thermospin.data.sources import read_sources
from thermospin.device import edit, settings
from thermospin.device.device import Device
from thermospin.device.reader import load, read
from thermospin.inference.grid_errors import Components, common, of_rows, scales
from thermospin.inference.minimisers import LeastSquares, minimise
from thermospin.inference.misfit import Misfit
from thermospin.inference.parameters import Parameter
from thermospin.inference.sharing import check_shared

VARIANTS = """
[[variants]]
name = "wide"
set = { width = "0.1 um" }
[[variants]]
name = "other-alloy"
set = { width = 80, Py.P = 0.3, "Py.S_s" = "-3 uV/K", zeta = 2 }
note = "made later"
"""
TABLE = "experiment,signal,value,std,unit"


@pytest.fixture
def device() -> Device:
    return read(WIRE + VARIANTS, "bar.toml")


def test_a_variant_is_the_device_with_other_values(tmp_path: Path) -> None:
    path = tmp_path / "bar.toml"
    path.write_text(WIRE + VARIANTS, encoding="utf-8")
    device, wide, other = (load(f"{path}{name}") for name in ("", "@wide", "@other-alloy"))
    assert (device.name, wide.name, other.name) == ("bar", "bar@wide", "bar@other-alloy")
    assert wide.numbers() == device.numbers() | {"width": 100e-9} and wide.solids[0].box[1] == (0.0, 100e-9)
    changed = {"width": 80e-9, "Py.P": 0.3, "Py.S_s": -3e-6, "zeta": 2.0}
    assert other.numbers() == device.numbers() | changed
    assert settings.variants_in_words(device) == [
        "variant 'wide': width = 100 nm",
        "variant 'other-alloy': width = 80 nm, Py.P = 0.3, Py.S_s = -3 uV/K, zeta = 2",
    ]
    with pytest.raises(InputError) as caught:
        load(f"{path}@wid")
    known = "did you mean 'wide'? expected one of: wide, other-alloy"
    assert str(caught.value) == f"{path}: variant: got 'wid'; {known}"
    path.write_text(WIRE, encoding="utf-8")
    with pytest.raises(InputError, match=r"got 'wide'; the file has no \[\[variants\]\]"):
        load(f"{path}@wide")


def test_a_name_with_an_at_sign_may_be_a_file_or_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a@b").mkdir()
    for path in (tmp_path / "bar@wide", tmp_path / "a@b" / "bar.toml"):
        path.write_text(WIRE, encoding="utf-8")
        assert load(path).name == "bar"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('name = "a b"\nset = { width = 3 }', "variant 'a b', name: got 'a b', expected letters, digits, dots"),
        ('name = "a"', "variant 'a', set: missing"),
        ('name = "a"\nset = {}', "variant 'a', set: is empty"),
        (
            'name = "a"\nset = { widht = 3 }',
            "variant 'a', set: 'widht' is no value of the device; did you mean 'width'",
        ),
        ('name = "a"\nset = { width = "3 K" }', "variant 'a', set: width: got \"3 K\", which is a temperature"),
        ('name = "wide"\nset = { width = 3 }', "variant 'wide': is there more than once"),
        ('name = "a"\nsets = { width = 3 }', "variant 'a': unknown key 'sets'; did you mean 'set'"),
    ],
)
def test_a_variant_that_is_none_is_told(text: str, fault: str) -> None:
    with pytest.raises(InputError) as caught:
        read(f"{WIRE}{VARIANTS}[[variants]]\n{text}\n", "x.toml")
    assert str(caught.value).startswith(f"x.toml: {fault}"), str(caught.value)


FAULTY = """[[variants]]
name = "a b"
set = { widht = 3, Py.Ps = 0.2, Cu.P = 0, width = "3 K", Py.P = 0.3 }
"""


@pytest.mark.parametrize(
    ("old", "new", "others"),
    [
        ("length_unit", "lenght_unit", "unknown key 'lenght_unit'"),  # of the file
        ('face = "x-"', 'face = "x"', "contact 'a', face"),  # of a part
        ("box = { x = [0, 300]", "box = { x = [300, 0]", "solid 'wire'"),  # of how parts fit together
    ],
)
def test_what_a_variant_sets_is_told_with_all_other_faults(old: str, new: str, others: str) -> None:
    with pytest.raises(InputError) as caught:
        read(WIRE.replace(old, new, 1) + FAULTY, "x.toml")
    told = str(caught.value)
    assert others in told and "variant 'a b', name: got 'a b'" in told
    for fault in (
        "'widht' is no value of the device; did you mean 'width'?",
        "'Py.Ps' is no value of the device; did you mean 'Py.S'",
        'width: got "3 K", which is a temperature',
    ):
        assert told.count(f"variant 'a b', set: {fault}") == 1, told
    # A contact that could not be read is not known by all that it has, so that another name may be its.
    assert ("'Cu.P' is no value" in told) == (others != "contact 'a', face")


def test_values_of_parts_with_faults_may_be_set() -> None:
    """Negative control: what only the fault of a part hides is no fault of a variant."""
    contact = 'thermal = { h = "1e9 W/(m^2 K)", x = 1 }\n[[contacts]]\nname = "b"'
    text = WIRE.replace('[[contacts]]\nname = "b"', contact) + '[[variants]]\nname = "c"\nset = { a.h = 1e8 }\n'
    with pytest.raises(InputError) as caught:
        read(text, "x.toml")
    assert "contact 'a'" in str(caught.value) and "variant" not in str(caught.value)


def test_a_variant_that_no_device_has_is_told_when_it_is_asked_for() -> None:
    device = read(f'{WIRE}[[variants]]\nname = "a"\nset = {{ width = -10 }}\n', "x.toml")
    with pytest.raises(InputError, match="x.toml: variant 'a': at width = -10 nm: solid 'wire'"):
        settings.variant_of(device, "a", "x.toml")
    with pytest.raises(InputError, match="variant 'a': at width = -10 nm: solid 'wire'"):
        settings.variants_in_words(device)


def test_faulty_values_of_a_variant_are_told_with_its_name() -> None:
    """Those of a material too, and of all variants."""
    two = '[[variants]]\nname = "a"\nset = { Py.P = 2 }\n[[variants]]\nname = "b"\nset = { width = -10 }\n'
    with pytest.raises(InputError) as caught:
        settings.variants_in_words(read(WIRE + two, "x.toml"))
    first, second = str(caught.value).splitlines()
    assert first.startswith("variant 'a': material 'Py', P: got 2") and second.startswith("variant 'b': at width")


def test_a_column_of_a_dimension_splits_the_rows(device: Device, tmp_path: Path) -> None:
    """Widths in the unit of the file, their own unit or that of the header; an empty cell is the device itself."""
    text = f"{TABLE},width\nbar,R1.P,4,1,ohm,60\nbar,R1.P,3,1,ohm,0.08 um\nbar,R1.AP,4,1,ohm,60.0\nbar,R1.P,5,1,ohm,\n"
    series = data.read_series(text, "x.csv", device)
    assert [copy.name for copy, _ in series] == ["bar width=60nm", "bar width=80nm", "bar"]
    assert [copy.lengths()["width"] for copy, _ in series] == [60e-9, 80e-9, 50e-9]
    assert [[row.value for row in rows] for _, rows in series] == [[4.0, 4.0], [3.0], [5.0]]
    in_header = data.read_series(f"{TABLE},width (um)\nbar,R1.P,4,1,ohm,0.06\n", "x.csv", device)
    assert in_header[0][0] == series[0][0]
    path = tmp_path / "series.csv"
    path.write_text(text, encoding="utf-8")
    (tmp_path / "bar.toml").write_text(WIRE + VARIANTS, encoding="utf-8")
    inputs = read_sources([(tmp_path / "bar.toml", [str(path)])])
    assert [each.name for each in inputs.devices] == ["bar width=60nm", "bar width=80nm", "bar"]
    assert [row.label for row in inputs.rows] == ["bar width=60nm bar"] * 2 + ["bar width=80nm bar", "bar bar"]
    toml = str(tmp_path / "bar.toml")
    both = read_sources([(f"{toml}@wide", [str(path)]), (toml, ["width=70nm", str(path)])])
    assert both.sources == (toml, str(path)) * 2, "files alone, whose hashes a page keeps"
    with pytest.raises(DataError, match="has rows of bar width=60nm, bar width=80nm, expected those of one device"):
        data.load(path, device)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["bar.toml", "width=70nm"], "bar width=70nm"),
        (["bar.toml", "bar.csv", "--also", "bar.toml,width=70nm"], "bar width=70nm"),
        (["bar.toml@wide", "zeta = 2", "--also", "bar.toml,bar.csv"], "bar@wide zeta=2"),
    ],
)
def test_a_device_without_data_is_a_fault(
    arguments: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting is no data: with that alone the file was forgotten."""
    (tmp_path / "bar.toml").write_text(WIRE + VARIANTS, encoding="utf-8")
    (tmp_path / "bar.csv").write_text(f"{TABLE}\nbar,R1.P,4,1,ohm\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["fit", *arguments, "--order", "1", "--free", "zeta"])
    assert result.exit_code == 2, result.output
    assert result.stderr.splitlines() == [f"'{name}': got no data, expected at least one file"]
    with pytest.raises(InputError, match="'bar': got no data, expected at least one file"):
        read_sources([("bar.toml", ["bar.csv"]), ("bar.toml", [])])


def test_columns_of_variants_and_values_go_together(device: Device) -> None:
    text = f"{TABLE},variant,Py.P,zeta\nbar,R1.P,4,1,ohm,wide,,\nbar,R1.P,3,1,ohm,wide,0.4,3\nbar,R1.P,3,1,ohm,,,\n"
    (wide, _), (other, _), (own, _) = data.read_series(text, "x.csv", device)
    assert (wide.name, other.name, own) == ("bar@wide", "bar@wide Py.P=0.4, zeta=3", device)
    assert other.numbers() == device.numbers() | {"width": 100e-9, "Py.P": 0.4, "zeta": 3.0}


def test_faults_of_a_series_are_told_by_line(device: Device) -> None:
    lines = ["bar,R1.P,4,1,ohm,wid,60,", "bar,R1.P,4,1,ohm,,x,", "bar,R1.P,4,1,ohm,,-10,", "bar,R1.P,4,1,ohm,,,-3"]
    lines += [f"bar,R1.{part},4,1,ohm,wide,,-3 uV/K" for part in ("P", "AP", "spin")]
    with pytest.raises(DataError) as caught:
        data.read_series("\n".join([f"{TABLE},variant,width,Py.S_s", *lines]), "x.csv", device)
    expected = [
        "line 2, variant: got 'wid'; did you mean 'wide'? expected one of: wide, other-alloy",
        'line 3, width: got "x", which does not start with a number; expected a length, such as "5 nm"',
        "line 4, at width = -10 nm: solid 'wire'",
        'line 5, Py.S_s: got "-3", which has no unit; expected a Seebeck coefficient, such as "-3.8 uV/K"',
        "bar@wide Py.S_s=-3uV/K, bar: got R1.P, R1.AP, R1.spin, of which any two make the others",
    ]
    assert len(caught.value.faults) == len(expected), caught.value.faults
    for fault, words in zip(caught.value.faults, expected, strict=True):
        assert fault.startswith(f"x.csv: {words}"), fault
    with pytest.raises(DataError) as caught:
        data.read_series(f"{TABLE},widht\nbar,R1.P,4,1,ohm,60\n", "x.csv", device)
    assert caught.value.faults == [
        "x.csv: line 1: unknown column 'widht'; did you mean 'width'? expected one of: experiment, signal, value, std, "
        "unit, polarity, variant, or a value of 'bar'"
    ]


def test_variants_are_told_from_other_devices(device: Device) -> None:
    wide = settings.variant_of(device, "wide")
    assert settings.alike(device, wide) and settings.alike(wide, device)
    longer = read(WIRE.replace("[0, 300]", "[0, 310]"), "longer.toml")
    assert not settings.alike(device, longer) and not settings.alike(load("slachter2010"), device)


def test_the_error_of_the_grid_is_one_for_all_variants(device: Device) -> None:
    """Of the same signal of two variants the correlation is 1, with the signs of the signals; of another device 0."""
    wide = settings.variant_of(device, "wide")
    longer = dataclasses.replace(read(WIRE.replace("[0, 300]", "[0, 310]"), "x"), name="longer")
    names = [("bar", "R1.P"), ("bar@wide", "R1.P"), ("bar@wide", "R2.P"), ("longer", "R1.P")]
    rows = [Row("bar", signal, 1.0, 1.0, device=name) for name, signal in names]
    devices = [device, wide, longer]
    parts = Components.of(devices, rows)
    assert [row.signal for row in parts.rows] == [signal for _, signal in names]
    assert np.all(parts.split == np.eye(4)) and np.all(parts.whole == np.eye(4))
    best, none, part = np.array([1.0, -2.0, 1.0, 1.0]), np.zeros(4), error_bars.SHARED
    found = common(parts.families, best, none)
    np.testing.assert_allclose(found, [[1, -1, part, 0], [-1, 1, -part, 0], [part, -part, 1, 0], [0, 0, 0, 1]])
    # What was added says which way errors go, where something was.
    found = common(parts.families, best, np.array([0.1, 0.2, -0.1, 0.0]))
    assert found[0, 1] == 1 and found[0, 2] == found[1, 2] == -part
    assert np.all(np.linalg.eigvalsh(found) > -1e-12)
    blind = [dataclasses.replace(row, polarity_known=False) for row in rows]
    stds = np.array([0.1, 0.2, 0.3, 0.0])
    size, correlation = of_rows(blind, parts, stds, common(parts.families, best, none), best)
    assert size.tolist() == stds.tolist() and correlation[0, 1] == pytest.approx(1)
    # By hand: the second row asks for all bars of its family by 1.5.
    data = [dataclasses.replace(row, value=value) for row, value in zip(rows, (0.5, 3.0, 0.5, 2.0), strict=True)]
    np.testing.assert_allclose(scales(data, parts.families, best), [1.5, 1.5, 1, 2])


@pytest.mark.parametrize("names", [("P", "AP"), ("AP", "spin"), ("baseline", "P", "P")])
def test_rows_of_two_states_have_the_error_of_the_baseline_in_common(device: Device, names: tuple[str, ...]) -> None:
    """By hand: baseline B with bar 2 and spin part S with bar 1, correlated by c = 0.3, make cov(B + x S, B + y S)."""
    wide = settings.variant_of(device, "wide")
    rows = [Row("bar", f"R2.{name}", 1.0, 1.0, device="bar") for name in names]
    parts = Components.of([device], rows)
    assert [row.signal for row in parts.rows] == ["R2.baseline", "R2.spin"]
    shares = np.array([{"P": (1, 0.5), "AP": (1, -0.5), "baseline": (1, 0), "spin": (0, 1)}[name] for name in names])
    values = shares @ [5.0, 0.7]
    np.testing.assert_allclose(parts.split @ values, [5.0, 0.7])
    np.testing.assert_allclose(parts.whole, shares)
    c = error_bars.SHARED
    size, correlation = of_rows(
        rows, parts, np.array([2.0, 1.0]), common(parts.families, np.ones(2), np.ones(2)), values
    )
    covariance = np.array([[4 * a * b + (a * y + b * x) * 2 * c + x * y for b, y in shares] for a, x in shares])
    np.testing.assert_allclose(np.outer(size, size) * correlation, covariance)
    # Where a variant has only one of them, nothing can be split: all variants alike.
    more = [*rows, Row("bar", "R2.P", 1.0, 1.0, device="bar@wide")]
    assert len(Components.of([device, wide], more).rows) == len(more)


def test_an_error_that_is_one_is_not_averaged() -> None:
    """Of y = p + noise + grid with one grid error in n rows: the variance is noise^2/n + grid^2, not /n of both."""
    data = [Row("x", "R1.P", value, 0.5) for value in (1.0, 2.0, 4.0, 9.0)]

    def model(parameters: dict[str, float], names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        return np.full(4, parameters["a.S"]), np.ones((4, len(names)))

    misfit = Misfit(data, grid_stds=np.full(4, 1.2), grid_correlation=np.ones((4, 4)))
    result = minimise(LeastSquares(), [model], misfit, [Parameter("a.S", 1.0)])
    assert result.parameters["a.S"].value == pytest.approx(4.0)
    assert result.covariance[0, 0] == pytest.approx(0.5**2 / 4 + 1.2**2)
    shared = dataclasses.replace(result, grid_stds=np.full(4, 1.2), grid_correlation=np.ones((4, 4)))
    assert shared.grid_shares[0] == pytest.approx(1.2**2 / (0.5**2 / 4 + 1.2**2))
    assert "error bars of the grid, which have a part in common" in shared.report()


def test_one_value_for_devices_that_differ_in_it_is_refused(device: Device) -> None:
    wide, other = (settings.variant_of(device, name) for name in ("wide", "other-alloy"))
    rows = [Row("bar", "R1.P", 1.0, 1.0, device=each.name) for each in (device, wide)]
    with pytest.raises(InputError) as caught:
        inverse.fit([device, wide], rows, ["width"])
    assert str(caught.value) == (
        "free: width is 50 nm in 'bar', 100 nm in 'bar@wide': one value for all would undo what tells them apart; "
        'free it for one device, "bar@wide:width", or hold it'
    )
    check_shared([device, wide], ["width", "bar@wide:width"], ())
    check_shared([device, wide], ["width"], {"bar:width"})
    rows[1] = dataclasses.replace(rows[1], device=other.name)
    with pytest.raises(InputError, match="Py.P is 0.25 in 'bar', 0.3 in 'bar@other-alloy'"):
        inverse.fit([device, other], rows, ["Py.P"])


def test_values_are_written_into_a_device_file(device: Device) -> None:
    """A range that does not hold the new value goes; what was a table keeps its source."""
    changed = settings.changed(device, ["width = 120.5 nm", "Py.S_s = -3 uV/K", "Py.lambda_sf = 4.25 nm", "zeta = 2"])
    text = edit.with_numbers(WIRE, device, changed)
    assert read(text, "x").numbers() == changed.numbers()
    assert "{ value = 120.5" in text and "range" not in text and 'S_s = "-3 uV/K"' in text
    sourced = WIRE + '[materials.Py]\nP = { value = 0.2, source = "a paper" }\n'
    before = read(sourced, "x")
    text = edit.with_numbers(sourced, before, settings.changed(before, ["Py.P = 0.35"]))
    assert 'P = { value = 0.35, source = "a paper" }' in text
    assert edit.with_numbers(WIRE, device, device) is WIRE
