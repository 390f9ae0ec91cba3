"""Files of lab programs: each gives the numbers it was made from; each fault is told with file, line and advice."""

from __future__ import annotations

import dataclasses
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from helpers import lab_files
from helpers.pages import START, block
from thermospin.base.errors import InputError
from thermospin.cli.app import app
from thermospin.data import experiment_file, lockin
from thermospin.data.formats import FORMATS
from thermospin.data.proposal import propose
from thermospin.data.rows import DataError
from thermospin.data.sheets import Sheet, Table
from thermospin.data.sweep_files import joined, named_files
from thermospin.device.device import Device
from thermospin.device.reader import load


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Device:
    path = tmp_path_factory.mktemp("device") / "valve.toml"
    path.write_text(block("file: valve.toml", START), encoding="utf-8")
    return load(path)


def made(folder: Path, name: str, *changes: tuple[str, str]) -> Path:
    """Files of a format, and the experiment file that reads them, with changes."""
    text = lab_files.WRITERS[name](folder)
    for old, new in changes:
        assert old in text, (old, text)
        text = text.replace(old, new)
    (folder / "sweeps.toml").write_text(text, encoding="utf-8")
    return folder / "sweeps.toml"


@pytest.mark.parametrize("name", [name for name in lab_files.WRITERS if name != "plain"])
def test_each_format_gives_the_numbers_it_was_made_from(device: Device, tmp_path: Path, name: str) -> None:
    """Within five standard deviations of the truth, and the very numbers of the plain table: same points, same fit."""
    measured = lockin.load(made(tmp_path, name), device)
    for row in measured.rows:
        assert abs(row.value - lab_files.TRUTH[row.signal]) < 5 * row.std, row
        assert row.std < 0.02 * abs(row.value), row
    assert {row.signal for row in measured.rows} == set(lab_files.TRUTH)
    (tmp_path / "usual").mkdir()
    usual = lockin.load(made(tmp_path / "usual", "plain"), device)
    # The same sum of squares, from numbers of twelve digits. Where each direction stands alone, the point at which the
    # field turns counts to the other one of the two, and files of one harmonic know less of where it switches.
    apart = name in ("nlsv-magsweep", "commas")
    for row, other in zip(measured.rows, usual.rows, strict=True):
        assert row.value == pytest.approx(other.value, rel=1e-6, abs=other.std if apart else 0), row


#: The file of each format that a proposal is made for.
SHOWN = {
    "plain": "plain.csv", "qtlab": "120000_nlsv.dat", "ppms": "valve.dat", "lvm": "nlsv.lvm", "workbook": "nlsv.xlsx",
    "pymeasure": "DATA2025-01-13_1.csv", "commas": "commas.csv", "named": "nlsv_I=0.5mA_run3.dat",
    "labone": "nlsv_500uA_000/dev3994_demods_0_sample_00000.csv",
    "labone-fields": "nlsv_500uA_000/dev3994_demods_0_sample_00000.csv",
    "nlsv-magsweep": "1f_20250113_120000_3_4_forward.csv",
}  # fmt: skip


@pytest.mark.parametrize("name", SHOWN)
def test_a_proposal_reads_once_its_questions_are_answered(device: Device, tmp_path: Path, name: str) -> None:
    """The answers that it offers are the right ones here; without them, each is asked for."""
    made(tmp_path, name)
    text = propose(tmp_path / SHOWN[name], device)
    assert "#? polarity" in text and "Which state is first?" in text
    path = tmp_path / "proposed.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as asked:
        lockin.load(path, device)
    assert 'polarity: missing, expected "known" or "unknown"' in str(asked.value)
    assert ("current_is: missing" in str(asked.value)) == ("#? current_is" in text) == (name != "nlsv-magsweep")
    answers = [
        ("#? ", ""),
        ("gain = 0", "gain = 10"),
        ("13_1.csv", "13_*.csv"),
        ("120000_3", "12000*_3"),
        ("forward", "*"),
    ]
    for question, answer in answers:
        text = text.replace(question, answer)
    path.write_text(text, encoding="utf-8")
    measured = lockin.load(path, device)
    for row in measured.rows:
        assert abs(row.value - lab_files.TRUTH[row.signal]) < 5 * row.std, row
    assert len(measured.rows) == (2 if name == "nlsv-magsweep" else 4)
    currents = {round(sweep.trace.current, 9) for sweep in measured.sweeps}
    assert currents == set(lab_files.CURRENTS), "all files of the name are read"


#: R1, R2 and R3 [V/A^n] in both states.
POLYNOMIAL = {"P": (5e-3, 0.30, 40.0), "AP": (3e-3, 0.28, 30.0)}


def shown(state: str, current: float, n: int, part: str, reference: float) -> float:
    """What a lock-in shows [V rms]: the mean of the voltage over a period, times sin or cos of the reference wave."""
    time = np.linspace(0, 2 * np.pi, 4096, endpoint=False)
    i = np.sqrt(2) * current * np.sin(time)
    voltage = sum(R * i**m for m, R in enumerate(POLYNOMIAL[state], 1))
    wave = {"X": np.sin, "Y": np.cos}[part](n * time + np.radians(reference))
    return float(np.sqrt(2) * np.mean(voltage * wave))


@pytest.mark.parametrize(
    ("names", "reference", "phases"),
    [
        (("X1", "Y2", "X3"), 0.0, (0, 90, 0)),
        (("Y1", "X2", "Y3"), -90.0, (0, -90, 0)),
        (("1f in-phase", "2f out of phase", "3f in-phase"), 0.0, (0, 90, 0)),
    ],
)
def test_a_proposal_has_the_signs_of_what_was_demodulated(
    device: Device, tmp_path: Path, names: tuple[str, ...], reference: float, phases: tuple[float, ...]
) -> None:
    """X and Y of a polynomial in time: with the answers that are offered first, R1, R2 and R3 come back."""
    rng = np.random.default_rng(5)
    lines = ["B (mT),I (mA)," + ",".join(f"{name} (V)" for name in names)]
    parts = ["Y" if name[0] == "Y" or "out" in name else "X" for name in names]
    for current in (0.5e-3, 1e-3, 2e-3):
        levels = {
            state: np.array([shown(state, current, n, part, reference) for n, part in enumerate(parts, 1)])
            for state in POLYNOMIAL
        }
        for way in (1, -1):
            for b in way * np.linspace(-50, 50, 61):
                values = levels["AP" if 10 < way * b < 30 else "P"] + 2e-10 * rng.standard_normal(3)
                lines.append(f"{b:.9g},{1e3 * current:g}," + ",".join(f"{value:.12g}" for value in values))
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = propose(tmp_path / "a.csv", device).replace("#? ", "")
    assert [entry["phase"] for key, entry in tomllib.loads(text)["columns"].items() if key[0] == "V"] == list(phases)
    (tmp_path / "sweeps.toml").write_text(text, encoding="utf-8")
    measured = lockin.load(tmp_path / "sweeps.toml", device)
    found = {row.signal: row for row in (*measured.rows, *measured.higher)}
    for n, (P, AP) in enumerate(zip(*POLYNOMIAL.values(), strict=True), 1):
        for part, truth in (("baseline", (P + AP) / 2), ("spin", P - AP)):
            row = found[f"R{n}.{part}"]
            assert abs(row.value - truth) < 5 * row.std and row.std < 0.1 * abs(truth), row


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (("Y1", "Y2"), "#? phase = 0    # Y of a lock-in at reference phase -90; 180 if that is 90"),
        (("X1", "X2"), "#? phase = -90    # X of a lock-in at reference phase -90; 90 if that is 90"),
        (("V1", "V2"), "#? phase = -90    # X of a lock-in at reference phase -90; 90 if that is 90, and for Y at 0"),
        (("V 1fX", "V 2fY"), "#? phase = 90    # Y of a lock-in at reference phase 0; -90 if that is 180"),
        (("V1_quad", "V2"), "#? phase = 0    # Y of a lock-in at reference phase -90; 180 if that is 90"),
        (("V1", "V2 imaginary"), "#? phase = 90    # Y of a lock-in at reference phase 0; -90 if that is 180"),
        (("V1", "V2f_oop"), "#? phase = 90    # Y of a lock-in at reference phase 0; -90 if that is 180"),
        (("LIA Y", "Y"), "#? [columns.V1]    # or [columns.V2], with phase = 90: the name does not say which"),
    ],
)
def test_a_proposal_says_which_phase_belongs_to_which_reference(
    tmp_path: Path, names: tuple[str, str], line: str
) -> None:
    rows = [f"{b},{1e-6 * b},{1e-7 * b}" for b in range(-20, 21)]
    text = "\n".join([f"B (mT),{names[0]} (V),{names[1]} (V)", *rows]) + "\n"
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    assert any(found.startswith(line) for found in propose(tmp_path / "a.csv").splitlines()), line


def test_the_other_column_is_offered_with_its_own_phase(tmp_path: Path) -> None:
    rows = [f"{b},{1e-6 * b},{1e-7 * b},{1e-8 * b}" for b in range(-20, 21)]
    (tmp_path / "a.csv").write_text("\n".join(["B (mT),X1 (V),X2 (V),Y2 (V)", *rows]) + "\n", encoding="utf-8")
    text = propose(tmp_path / "a.csv")
    assert "; or Y2 (V) with phase = 90?" in text or "; or X2 (V) with phase = -90?" in text


def complaint(path: Path, device: Device) -> str:
    with pytest.raises(DataError) as caught:
        lockin.load(path, device)
    assert all(line.startswith(f"{path}: ") for line in str(caught.value).splitlines()), "the file is named"
    return str(caught.value)


FORMATTED = ("qtlab", "labone", "ppms", "lvm", "pymeasure", "nlsv-magsweep")


@pytest.mark.parametrize("name", FORMATTED)
@pytest.mark.parametrize("stated", FORMATTED)
def test_a_preset_for_another_format_is_told_which_it_looks_like(
    device: Device, tmp_path: Path, name: str, stated: str
) -> None:
    if name == stated:
        return
    made(tmp_path, name)
    text = f'format = "{stated}"\npolarity = "known"\n{lab_files.RMS}\n'
    text += "" if FORMATS[stated].voltage_is else f"{lab_files.VOLTS_RMS}\n"
    text += '[columns]\nfield = { column = "B", unit = "T" }\nV1 = { column = "x", unit = "V", phase = 0 }\n'
    text += f'[[sweeps]]\nexperiment = "nonlocal"\nfile = "{SHOWN[name]}"\ncurrent = "1 mA"\n'
    (tmp_path / "sweeps.toml").write_text(text)
    said = complaint(tmp_path / "sweeps.toml", device)
    assert f'try format = "{name}"' in said and ", line 1: got '" in said, said


#: Format, changes of the experiment file, changes of the data, words of the message.
FAULTS: list[tuple[str, list[tuple[str, str]], list[tuple[str, str]], str]] = [
    ("qtlab", [('"qtlab"', '"qlab"')], [], "format: got 'qlab'; did you mean 'qtlab'?"),
    ("qtlab", [('"X1"', '"X2"')], [], "120000_nlsv.dat, line 5: column 'X2' for V1 is not there; did you mean"),
    ("qtlab", [(', unit = "V"', "")], [], "the file has no unit for column 'Y2' for V2; state it: unit = \"nV\""),
    ("qtlab", [], [("units: V", "units: arb")], "unit \"arb\" in the file, expected that of a voltage; state"),
    ("qtlab", [], [("units: T", "units: A")], "unit \"A\" in the file, expected that of a magnetic field"),
    ("qtlab", [('"X1"', '"X1", unit = "mV"')], [], 'is in "V" by the file itself, unit = "mV" is stated'),
    ("qtlab", [], [("-4.800000000000e-02\t", "-4,8e-02\t")], "'-4,8e-02' with a decimal comma, and line "),
    ("qtlab", [(lab_files.RMS, "")], [], 'current_is: missing, expected "rms" or "peak"; QTLab data does not say'),
    ("qtlab", [('"B" }', '"B", file = "b.dat" }')], [], "columns.field.file: only a LabOne export"),
    ("ppms", [], [("Magnetic Field (Oe)", "Field (G)")], "line 6: no column 'Magnetic Field (Oe)' or 'Field (Oe)'"),
    ("ppms", [("X1 (V)", "Comment")], [], "got 'switch', expected a number"),
    ("ppms", [('"I (mA)"', '"I (uA)"')], [], "line 6: column 'I (uA)' for current is not there; did"),
    ("ppms", [], [("[Data]\n", "[Data]\nno table\n")], "cells, expected 2 as in the header"),
    ("lvm", [], [("Separator\tTab", "Separator\tPipe")], "got 'Pipe', expected one of: Tab, Comma, Semicolon"),
    ("lvm", [], [("***End_of_Header***", "***End***")], "no line '***End_of_Header***'"),
    ("lvm", [], [("X_Value", "X")], "no line of names, which begins with 'X_Value'"),
    ("lvm", [], [("-0,048", "-0.048")], "line 24, column 'Field': got '-0.048' with a decimal"),
    ("lvm", [], [("Tesla", "Volts")], "a field recorded as a voltage: unit = \"T\", gain = volts per tesla"),
    ("pymeasure", [("Current amplitude", "Currant")], [], "parameter 'Currant' for current; did you mean"),
    ("pymeasure", [], [("0.5 mA", "half")], "parameter 'Current amplitude': got 'half', expected a number"),
    ("pymeasure", [], [("0.5 mA", "0.5")], "the file has no unit for column 'Current amplitude' for current"),
    ("pymeasure", [("_*.csv", "_*.txt")], [], "no file beside the experiment file fits 'DATA"),
    ("nlsv-magsweep", [('"nlsv-magsweep"', '"nlsv-magsweep"\ncurrent_is = "rms"')], [], 'got "rms", and an'),
    ("nlsv-magsweep", [("LIA X (V)", "LIA Z (V)")], [], "line 1: column 'LIA Z (V)' for V1 is not there; did you mean"),
    ("labone", [(", gain = 10", "")], [], "gain = volts per tesla"),
    ("labone", [('"labone"', '"labone"\nvoltage_is = "peak"')], [], 'got "peak", and a LabOne export has "rms"'),
    ("labone", [(lab_files.SECOND, "other.csv")], [], "nlsv_1000uA_000/other.csv: no such file"),
    ("labone", [], [("0;137", "0;237"), ("1;137", "1;237")], "have nothing in common; expected files of one run"),
    ("labone", [("nlsv_{current}", "nlsv_{curent}")], [], "got '{curent}', expected {current}, or {current:mA}, once"),
    ("labone-fields", [], [(";y;", ";x;")], "line 3: field 'x' is there twice in chunk 0"),
    ("named", [("{current}", "{current:V}")], [], "which is a voltage"),
    ("named", [("{current}", "{current:mA}")], [], "no file beside the experiment file fits"),
    ("named", [("[[sweeps]]", '[[sweeps]]\ncurrent = "1 mA"')], [], "stated, and in the name of the file too"),
    ("named", [("{current}", "*")], [], "or a column for it, or {current} in the name"),
    ("workbook", [('\nsheet = "run 3"', "")], [], "sheet: missing, expected one of: notes, run 3"),
    ("workbook", [("run 3", "run 4")], [], "sheet: got 'run 4'; did you mean 'run 3'?"),
    ("plain", [("plain.csv", 'plain.csv"\nsheet = "run 3')], [], "only a workbook (.xlsx) has sheets"),
    ("commas", [('"direction"', '"way"')], [], "column 'way' for sweep is not there; expected"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "data", "words"), FAULTS, ids=[f"{f[0]}-{f[3][:30]}" for f in FAULTS])
def test_faults_are_told(
    device: Device, tmp_path: Path, name: str, changes: list[tuple[str, str]], data: list[tuple[str, str]], words: str
) -> None:
    path = made(tmp_path, name, *changes)
    for old, new in data:
        files = [one for one in sorted(tmp_path.rglob("*.*")) if one.is_file() and one != path]
        file = next(one for one in files if old in one.read_text("latin-1"))
        file.write_text(file.read_text("latin-1").replace(old, new), encoding="latin-1")
    said = complaint(path, device)
    assert words in said, said


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252", "latin-1"])
def test_text_of_any_usual_encoding_is_read(device: Device, tmp_path: Path, encoding: str) -> None:
    """The micro sign is another byte in each; its column is found in all."""
    text = lab_files.commas(tmp_path, encoding).replace('column = "X1"', 'column = "X1", unit = "uV"')
    (tmp_path / "sweeps.toml").write_text(text, encoding="utf-8")
    measured = lockin.load(tmp_path / "sweeps.toml", device)
    assert abs(measured.rows[0].value - lab_files.TRUTH["R1.baseline"]) < 5 * measured.rows[0].std


def tables(folder: Path, between: str, repeat: int = 1) -> Path:
    """The plain table at one current, its branches as often as asked, the field up each time."""
    up = next(branch for branch in lab_files.branches() if branch.field[-1] > 0)
    rng = np.random.default_rng(5)
    text = head = "B (T),I (A),X1 (V)\n"
    for k in range(repeat):
        rows = [(b, i, x + 2e-9 * float(rng.standard_normal())) for b, i, x, _ in lab_files.points([up])]
        text += (between.replace("HEADER\n", head) if k else "") + lab_files.numbers(rows)
    (folder / "a.csv").write_text(text, encoding="utf-8")
    toml = lab_files.head(
        lab_files.RMS, lab_files.VOLTS_RMS, '|field = { column = "B (T)" }', '|current = { column = "I (A)" }',
        V1='column = "X1 (V)", phase = 0', file="a.csv",
    )  # fmt: skip
    (folder / "sweeps.toml").write_text(toml, encoding="utf-8")
    return folder / "sweeps.toml"


@pytest.mark.parametrize("between", ["\n", "\n\n", "HEADER\n", "\nHEADER\n", ",,\n", "\n# sweep\n"])
def test_sweeps_in_one_file_are_kept_apart(device: Device, tmp_path: Path, between: str) -> None:
    """Three sweeps up, a block each: as many traces of all their points, and no branch of the way back."""
    sweeps = experiment_file.load(tables(tmp_path, between, 3), device)
    assert [len(trace.field) for trace in sweeps.traces] == [51, 51, 51]
    assert [trace.label for trace in sweeps.traces] == [f"a.csv, 0.5 mA, block {k}" for k in (1, 2, 3)]
    assert len(lockin.load(tmp_path / "sweeps.toml", device).sweeps) == 3


def test_an_empty_line_within_a_sweep_does_not_cut_it(device: Device, tmp_path: Path) -> None:
    path = tables(tmp_path, "\n")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join([*lines[:20], "", *lines[20:40], "", *lines[40:]]) + "\n")
    assert [len(trace.field) for trace in experiment_file.load(path, device).traces] == [51]
    # A program that ends its lines twice.
    (tmp_path / "a.csv").write_text("\n\n".join(lines) + "\n")
    assert [len(trace.field) for trace in experiment_file.load(path, device).traces] == [51]


def test_a_block_that_was_stopped_stays_with_the_one_before(device: Device, tmp_path: Path) -> None:
    path = tables(tmp_path, "\n", 2)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join(lines[:60]) + "\n")
    measured = lockin.load(path, device)
    assert sum(len(trace.field) for trace in {id(s.trace): s.trace for s in measured.sweeps}.values()) == 58
    assert any("is not used" in note for note in measured.notes), "what is left out is told"


@pytest.mark.parametrize(
    ("name", "current"),
    [("1.5mA", 1.5e-3), ("1,5mA", 1.5e-3), ("1p5mA", 1.5e-3), ("500uA", 5e-4), ("500\u00b5A", 5e-4), ("2e-4A", 2e-4)],
)
def test_currents_in_names_are_read_as_people_write_them(tmp_path: Path, name: str, current: float) -> None:
    (tmp_path / f"nlsv_I={name}_run3.dat").write_text("")
    ((path, found),) = named_files(tmp_path, "nlsv_I={current}_run*.dat", "")
    assert found == pytest.approx(current) and path.name == f"nlsv_I={name}_run3.dat"


@pytest.mark.parametrize(
    ("name", "current"), [("10mA", 1e-2), ("0.5mA", 5e-4), ("1p5mA", 1.5e-3), ("_2e-4A", 2e-4), (".150uA", 1.5e-4)]
)
@pytest.mark.parametrize("pattern", ["nlsv*{current}_run3.dat", "nlsv*{current}*", "nlsv**{current}_run*.dat"])
def test_a_star_beside_the_current_leaves_it_whole(tmp_path: Path, name: str, current: float, pattern: str) -> None:
    path = tmp_path / f"nlsv{name}_run3.dat"
    path.write_text("")
    assert named_files(tmp_path, pattern, "") == [(path, pytest.approx(current))]


def test_a_unit_in_the_pattern_is_that_of_the_number(tmp_path: Path) -> None:
    (tmp_path / "b_1.5_3.dat").write_text("")
    assert named_files(tmp_path, "b_{current:mA}_*.dat", "") == [(tmp_path / "b_1.5_3.dat", pytest.approx(1.5e-3))]
    assert named_files(tmp_path, "b_1.5_3.dat", "") == [(tmp_path / "b_1.5_3.dat", None)]


def test_a_comma_in_a_name_may_be_stated_to_be_a_decimal_one(tmp_path: Path) -> None:
    (tmp_path / "b_1,250mA.dat").write_text("")
    with pytest.raises(InputError, match="got '1,250' in the name .*; state decimal = \",\""):
        named_files(tmp_path, "b_{current}.dat", "")
    ((_, found),) = named_files(tmp_path, "b_{current}.dat", "", ",")
    assert found == pytest.approx(1.25e-3)


def test_a_workbook_without_its_reader_says_what_to_install(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path, "workbook")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InputError, match=r"nlsv.xlsx: .* pip install 'thermospin\[data\]'"):
        lockin.load(path, device)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.xlsx", b"PK no workbook", "not a workbook that can be read"),
        ("a.xls", b"\xd0\xcf\x11\xe0", "a workbook of another kind; save it as .xlsx, or as CSV"),
        ("a.csv", b"1,2\n3,4\n", "no line of names above lines of as many numbers"),
        ("a.csv", b"", "a.csv: empty"),
        ("a.db", b"", "with those names as columns"),
    ],
)
def test_no_proposal_is_made_for_what_is_no_table(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        propose(tmp_path / name)
    assert words in str(caught.value)


def test_the_command_prints_a_proposal_that_can_be_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, "named")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["sweeps", "--guess", "nlsv_I=0.5mA_run3.dat"])
    assert done.exit_code == 0 and done.stdout == propose(Path("nlsv_I=0.5mA_run3.dat"))
    assert tomllib.loads(done.stdout)["sweeps"] == [{"file": "nlsv_I={current}_run3.dat"}]
    for words, said in (
        (["--guess", "nothing.dat"], "nothing.dat: no such file"),
        ([], "DEVICE and FILE: missing, expected thermospin sweeps DEVICE FILE"),
        (["slachter2010"], "FILE: missing"),
        (["slachter2010", "sweeps.toml", "--guess", "x.dat"], "expected at most a DEVICE beside it"),
    ):
        done = CliRunner().invoke(app, ["sweeps", *words])
        assert done.exit_code == 2 and said in done.stderr, done.stderr


def test_a_format_that_is_not_stated_is_named(device: Device, tmp_path: Path) -> None:
    said = complaint(made(tmp_path, "qtlab", ('format = "qtlab"\n', "")), device)
    assert "column 'B' for field is not there" in said and 'it looks like QTLab data: try format = "qtlab"' in said


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("X1 (uV)", "uV"), ("B [mT]", "mT"), ("B / mT", "mT"), ("B/mT", "mT"), ("X1", ""), ("dV/dI (ohm)", "ohm"),
        ("Field (Oe) ", "Oe"), ("B (along x)", "along x"),
    ],
)  # fmt: skip
def test_the_unit_of_a_name_is_read(name: str, unit: str) -> None:
    assert Sheet("a.csv", (name,), ()).unit(name) == unit


def test_files_are_joined_at_the_nearest_time() -> None:
    """Points further off than the other file's spacing have no partner: the run of one file was longer."""
    field = Table({"field": np.arange(6.0)}, {"field": "T"}, clock=np.array([0.0, 10, 20, 30, 40, 90]))
    other = Table({"V2": np.array([3.0, 1, 2])}, {"V2": "V"}, clock=np.array([22.0, 2, 12]))
    both = joined(field, other, "a.csv", "b.csv")
    assert np.array_equal(both.columns["V2"], [1, 2, 3, 3, np.nan, np.nan], equal_nan=True)
    assert both.units == {"field": "T", "V2": "V"} and both.columns["field"] is field.columns["field"]
    with pytest.raises(DataError, match="b.csv: 3 points, and a.csv has 6; expected as many, or time stamps"):
        joined(field, dataclasses.replace(other, clock=None), "a.csv", "b.csv")


def test_a_field_recorded_as_a_voltage_has_a_gain(device: Device, tmp_path: Path) -> None:
    """A volt is a tesla, and the file is in mV: the switching fields are those of the plain table."""
    usual = lockin.load(made(tmp_path, "plain"), device)
    text = (tmp_path / "plain.csv").read_text().replace("B (mT)", "Hall (mV)")
    (tmp_path / "plain.csv").write_text(text)
    toml = (tmp_path / "sweeps.toml").read_text()
    stated = toml.replace('column = "B (mT)"', 'column = "Hall (mV)", unit = "T", gain = 1')
    (tmp_path / "sweeps.toml").write_text(stated)
    found = lockin.load(tmp_path / "sweeps.toml", device)
    fields = [[sweep.switching_fields for sweep in measured.sweeps] for measured in (found, usual)]
    assert np.allclose(*fields, rtol=1e-9)
