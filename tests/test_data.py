"""Measured data: what is read, and what each fault of a file is told."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from thermospin.base.errors import InputError
from thermospin.data import lockin, sources
from thermospin.data import rows as data
from thermospin.data.rows import PARTS, DataError, Row
from thermospin.data.sources import read_sources
from thermospin.device.device import Device
from thermospin.device.reader import load

HEADER = "experiment,signal,value,std,unit\n"


@pytest.fixture(scope="module")
def device() -> Device:
    return load("slachter2010")


def rows_of(text: str, device: Device) -> tuple[Row, ...]:
    """The rows of a text, all of the device itself."""
    ((_, rows),) = data.read_series(text, "x.csv", device)
    return rows


def faults_of(text: str, device: Device) -> list[str]:
    with pytest.raises(DataError) as caught:
        data.read_series(text, "x.csv", device)
    assert str(caught.value).splitlines() == caught.value.faults
    assert all(fault.startswith("x.csv: ") for fault in caught.value.faults)
    return [fault.removeprefix("x.csv: ") for fault in caught.value.faults]


def test_rows_become_si_units(device: Device) -> None:
    text = HEADER + "thermal, R2.spin, -15.6, 1, nV/mA^2\n\n# a remark\nelectrical,R1.AP,9,0.5,mohm\n"
    rows = rows_of(text, device)
    assert rows == (
        Row("thermal", "R2.spin", -15.6e-3, 1e-3, True),
        Row("electrical", "R1.AP", 9e-3, 0.5e-3, True),
    )
    assert (rows[0].harmonic, rows[0].part) == (2, "spin")
    assert (rows[1].harmonic, rows[1].part) == (1, "AP")


def test_headers_may_begin_with_capitals(device: Device) -> None:
    text = "Experiment;Signal;Value;STD;Unit\nthermal;R2.spin;-15.6;1;nV/mA2\n"
    assert rows_of(text, device) == (Row("thermal", "R2.spin", -15.6e-3, 1e-3, True),)


def test_polarity_is_unknown_for_a_file_or_for_a_row(device: Device) -> None:
    file = rows_of("# polarity = unknown\n" + HEADER + "thermal,R1.P,1,1,ohm\n", device)
    assert not file[0].polarity_known
    text = (
        HEADER.strip()
        + ",polarity\nthermal,R1.P,1,1,ohm,unknown\nthermal,R1.AP,1,1,ohm,known\nthermal,R1.AP,1,1,ohm,\n"
    )
    assert [row.polarity_known for row in rows_of(text, device)] == [False, True, True]


def test_the_paper_s_signals_are_shipped(device: Device) -> None:
    rows = {(row.experiment, row.signal): row for row in data.load("slachter2010", device)}
    values = {key: row.value for key, row in rows.items()}
    assert values == {
        ("thermal", "R1.baseline"): 90e-6,
        ("thermal", "R1.spin"): -20e-6,
        ("thermal", "R2.baseline"): 7.69,
        ("thermal", "R2.spin"): -15.6e-3,
        ("electrical", "R1.baseline"): 1.05,
        ("electrical", "R1.spin"): 9e-3,
    }
    assert [key for key, row in rows.items() if not row.polarity_known] == [("thermal", "R2.baseline")]
    # R1.baseline is the one whose std, what the layout leaves open, exceeds the value.
    loose = [key for key, row in rows.items() if not 0.01 < row.std / abs(row.value) < 0.5]
    assert loose == [("thermal", "R1.baseline")]


def test_what_is_written_is_read_back(device: Device, tmp_path: Path) -> None:
    rows = data.load("slachter2010", device)
    file = io.StringIO()
    data.write(rows, file, ["a remark, of two", "another"])
    assert file.getvalue().startswith("# a remark, of two\n# another\nexperiment,")
    path = tmp_path / "again.csv"
    path.write_text("\ufeff" + file.getvalue(), encoding="utf-8")  # a byte order mark, as spreadsheets write it
    assert data.load(path, device) == rows


def test_cells_may_be_separated_by_semicolons_or_tabs(device: Device) -> None:
    text = "# polarity: unknown\n" + HEADER + "thermal,R2.spin,-20,1,nV/mA^2\n"
    (row,) = rows_of(text, device)
    assert not row.polarity_known
    for separator in ";\t":
        assert rows_of(text.replace(",", separator), device) == (row,)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_numbers_between_semicolons_or_tabs_may_have_decimal_commas(device: Device, separator: str) -> None:
    text = separator.join(HEADER.strip().split(",")) + "\n"
    text += separator.join(["thermal", "R2.spin", "-15,6", "0,5", "nV/mA^2"]) + "\n"
    text += separator.join(["thermal", "R1.spin", "-1,5e1", "2,5 %", "mohm"]) + "\n"
    rows = rows_of(text, device)
    assert [(row.value, row.std) for row in rows] == [(-15.6e-3, 0.5e-3), (-15e-3, pytest.approx(0.375e-3))]


def test_values_of_the_device_may_have_decimal_commas(device: Device) -> None:
    text = HEADER.strip().replace(",", ";") + ";bath\nthermal;R1.spin;1;1;mohm;77,5\n"
    (((copy, _),)) = data.read_series(text, "x.csv", device)
    assert copy.bath == 77.5


def test_decimal_points_and_commas_in_one_file_are_an_error(device: Device) -> None:
    text = HEADER.replace(",", ";") + "thermal;R2.spin;1,500;0.5;nV/mA^2\n"
    (fault,) = faults_of(text, device)
    assert fault.startswith("line 2, value: got '1,500' with a decimal comma, and line 2, std: got '0.5' with a")


@pytest.mark.parametrize("numbers", ["-15,6,0,5", "-15,6,1", "-15,0,5"])
def test_decimal_commas_between_commas_are_told(device: Device, numbers: str) -> None:
    (fault,) = faults_of(f"{HEADER}thermal,R2.spin,{numbers},nV/mA^2\n", device)
    assert "cells, expected 5 as in the header (decimal commas between commas? save it with semicolons" in fault


def test_exponents_of_fortran_are_read(device: Device) -> None:
    text = f"{HEADER.strip()},bath\nthermal,R2.spin,-1.56D+01,2.5D0 %,nV/mA^2,7.75d+01\n"
    ((copy, (row,)),) = data.read_series(text, "x.csv", device)
    assert (row.value, row.std, copy.bath) == (pytest.approx(-15.6e-3), pytest.approx(0.39e-3), 77.5)


def test_what_spreadsheets_leave_empty_is_passed_over(device: Device) -> None:
    row = "thermal,R2.spin,-20,1,nV/mA^2"
    usual = rows_of(f"# polarity = unknown\n{HEADER}{row}\n", device)
    padded = f"# polarity = unknown,,,,,,\n,,,,,,\n{HEADER.strip()},,\n,,,,,,\n{row},,\n{row}\n,,,,\n"
    assert rows_of(padded, device) == usual * 2
    (fault,) = faults_of(f"{HEADER}{row},a remark\n", device)
    assert fault == "line 2: got 6 cells, expected 5 as in the header"


def test_a_file_with_an_equals_sign_in_its_name_is_no_setting(tmp_path: Path) -> None:
    text = HEADER + "thermal,R2.spin,-20,1,nV/mA^2\n"
    for name in ("data_I=0.5mA.csv", "data_I=0.5mA"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        inputs = read_sources([("slachter2010", [str(path)])])
        assert [row.signal for row in inputs.rows] == ["R2.spin"] and inputs.sources[1:] == (str(path),)
        (at,) = read_sources([("slachter2010", [str(path), "bath = 77 K"])]).devices
        assert at.bath == 77.0
    with pytest.raises(InputError, match="I=1mA.csv: no such file"):
        read_sources([("slachter2010", [str(tmp_path / "I=1mA.csv")])])


def test_a_std_may_be_percent_of_the_value(device: Device) -> None:
    rows = rows_of(HEADER + "thermal,R2.spin,-20,5 %,nV/mA^2\nthermal,R1.P,4,0.5%,mohm\n", device)
    assert [row.std for row in rows] == pytest.approx([1e-3, 2e-5])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["empty, expected a header line: experiment,signal,value,std,unit"]),
        (HEADER, ["no rows, expected at least one"]),
        ("experiment,signal,value,unit\nthermal,R1.spin,1,ohm", ["line 1: column std missing; got experiment, signal"]),
        (
            "experiment,signal,value,stdev,unit\nthermal,R1.spin,1,1,ohm",
            ["line 1: unknown column 'stdev'; did you mean 'std'?", "line 1: column std missing"],
        ),
        (HEADER + "thermall,R1.spin,1,1,ohm", ["line 2, experiment: got 'thermall'; did you mean 'thermal'?"]),
        (HEADER + "thermal,R5.spin,1,1,ohm", ["line 2, signal: got 'R5.spin'; expected R1 or R2 or R3 or R4, a dot"]),
        (HEADER + "thermal,R1,1,1,ohm", ["line 2, signal: got 'R1'; expected R1 or R2 or R3 or R4, a dot"]),
        (HEADER + "thermal,R1.spn,1,1,ohm", ["line 2, signal: got 'R1.spn'; did you mean 'R1.spin'?"]),
        (
            HEADER + "thermal,R2.spin,1,1,ohm",
            ['line 2, unit: got "ohm", which is a resistance; expected the unit of R2 of'],
        ),
        (HEADER + "thermal,R2.spin,1,1,", ['line 2, unit: got "", which has no unit']),
        (
            HEADER + "thermal,R1.P,nan,inf,ohm",
            ['line 2, value: got "nan", which is not a finite', 'line 2, std: got "inf", which is not a finite'],
        ),
        (HEADER + "thermal,R1.P,1,0,ohm", ["line 2, std: got 0, expected a number above 0"]),
        (HEADER + "thermal,R1.P,1,-1,ohm", ["line 2, std: got -1, expected a number above 0"]),
        (HEADER + "thermal,R1.P,,1,ohm", ['line 2, value: got "", which does not start with a number']),
        (HEADER + "thermal,R1.P,1 V,1,ohm", ['line 2, value: got "1 V"']),
        *(
            (HEADER + f"thermal,R1.P,{value},{std},ohm", [f'line 2, {key}: got "{text}", expected a number'])
            for value, std, key, text in (
                ("5 %", "1", "value", "5 %"),
                ("5 ppm", "1", "value", "5 ppm"),
                ("30 deg", "1", "value", "30 deg"),
                ("1", "500 ppm", "std", "500 ppm"),
            )
        ),
        (
            HEADER + "".join(f"thermal,R2.{part},1,1,V/A^2\n" for part in ("P", "spin", "baseline")),
            ["thermal: got R2.P, R2.spin, R2.baseline, of which any two make the others"],
        ),
        (HEADER + "thermal,R1.P,1,1", ["line 2: got 4 cells, expected 5 as in the header"]),
        (
            "# polarity = maybe\n" + HEADER + "thermal,R1.P,1,1,ohm",
            ["line 1: polarity: got 'maybe', expected one of: known"],
        ),
    ],
)
def test_a_fault_is_told_by_line_and_column(text: str, expected: list[str], device: Device) -> None:
    found = faults_of(text, device)
    assert len(found) == len(expected), found
    assert all(fault.startswith(start) for fault, start in zip(found, expected, strict=True)), found


def test_all_faults_of_a_file_come_in_one_go(device: Device) -> None:
    text = HEADER + "warm,R1.P,1,1,ohm\nthermal,R2.spin,nan,-1,ohm\nthermal,R1.P,1\n"
    assert len(faults_of(text, device)) == 5


def test_a_file_that_is_not_there_names_the_nearest(device: Device, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(HEADER, encoding="utf-8")
    with pytest.raises(DataError, match="mime.csv: no such file; did you mean 'mine.csv'"):
        data.load(tmp_path / "mime.csv", device)
    with pytest.raises(DataError, match="did you mean 'slachter2010'"):
        data.load("slachter210", device)
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        data.load(tmp_path, device)


def of_sweeps(names: Mapping[str, tuple[float, str]], monkeypatch: pytest.MonkeyPatch) -> sources.Inputs:
    """Return what is made of experiment files, {name: (gain_std, amplifier)}, of two rows each with noise 0.01 V/A."""

    def load(path: str, _: Device) -> lockin.Measured:
        gain, amplifier = names[path]
        values, noise = np.array([1.0, -0.5]), 0.01
        covariance = noise**2 * np.eye(2) + gain**2 * values[:, None] * values
        std = np.sqrt(np.diag(covariance))
        rows = [Row("thermal", f"R1.{part}", v, s) for part, v, s in zip(PARTS, values, std, strict=True)]
        return lockin.Measured(tuple(rows), covariance / std[:, None] / std, (), (), (), gain, amplifier)

    monkeypatch.setattr(sources.lockin, "load", load)
    return read_sources([("slachter2010", list(names))])


def test_files_of_one_amplifier_share_its_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The covariance is that of one file with all of the rows; without a name it is none across files."""
    inputs = of_sweeps({"a.toml": (0.02, "A"), "b.toml": (0.02, "A"), "c.toml": (0.02, "")}, monkeypatch)
    std = np.array([row.std for row in inputs.rows])
    values = np.array([1.0, -0.5] * 3)
    gain = [0, 0, 0, 0, 1, 1]
    expected = 0.01**2 * np.eye(6) + 0.02**2 * np.outer(values, values) * np.equal.outer(gain, gain)
    assert inputs.correlation is not None
    np.testing.assert_allclose(inputs.correlation * std[:, None] * std, expected, rtol=1e-12, atol=1e-18)
    assert not any("amplifier" in note for note in inputs.notes)
    alone = of_sweeps({"a.toml": (0.02, ""), "b.toml": (0.01, "")}, monkeypatch)
    assert (
        'a.toml, b.toml: each has a gain of its own; files of one amplifier say so by amplifier = "NAME"' in alone.notes
    )
    with pytest.raises(
        InputError, match=r"amplifier 'A': got gain_std 0.02 \(a.toml\) and 0.01 \(b.toml\), expected one"
    ):
        of_sweeps({"a.toml": (0.02, "A"), "b.toml": (0.01, "A")}, monkeypatch)


def test_a_row_is_printed_with_its_unit() -> None:
    """But not named by it: journals know a row that has not met its experiment."""
    row = Row("nonlocal", "R1.spin", 11.2, 0.1, unit="mohm")
    assert str(row) == f"{repr(row)[:-1]}, unit='mohm')" and "11.2" in str(row)
    bare = dataclasses.replace(row, unit="")
    assert str(bare) == repr(bare) == repr(row) and "unit" not in repr(bare)


def test_data_that_are_there_twice_are_refused_or_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    line = "thermal,R1.baseline,1.0,0.1,ohm\n"
    path.write_text("experiment,signal,value,std,unit\n" + 2 * line, encoding="utf-8")
    with pytest.raises(InputError, match=r"rows.csv: is there 2 times for 'slachter2010', expected once"):
        read_sources([("slachter2010", [str(path), str(path)])])
    (note,) = read_sources([("slachter2010", [str(path)])]).notes
    assert note.startswith("slachter2010: thermal R1.baseline is there more than once with the same value and std")
