"""Tables as spreadsheets and instruments save them: one reader for sweeps, rows of signals and sets of an ensemble."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import openpyxl
import pytest

from thermospin.base.errors import InputError
from thermospin.data import rows, text
from thermospin.data.proposal import propose
from thermospin.data.rows import DataError
from thermospin.data.sheets import Table, TextForm, select
from thermospin.data.tables import open_sheet
from thermospin.device.device import Device
from thermospin.device.reader import load
from thermospin.inference import ensembles

NAMES = ["B (mT)", "X1 (nV)", "X2 (nV)", "note"]
WANTED = {"field": "B (mT)", "V1": "X1 (nV)", "V2": "X2 (nV)"}
NUMBERS = np.array([[-100.0 + 2 * k, 14985.5 + 10 * k, -2612.25 - k] for k in range(8)])


@pytest.fixture(scope="module")
def device() -> Device:
    return load("slachter2010")


def table(path: Path, wanted: dict[str, str] = WANTED, decimal: str | None = None) -> Table:
    """Read a plain table."""
    return select(open_sheet(path, TextForm(decimal=decimal), None, wanted), wanted, decimal=decimal)


def read(folder: Path, content: str | bytes, name: str = "a.csv", decimal: str | None = None) -> dict[str, np.ndarray]:
    """Write a file and return its columns."""
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return dict(table(folder / name, decimal=decimal).columns)


def same(found: dict[str, np.ndarray], numbers: np.ndarray = NUMBERS) -> bool:
    """Whether each column has its own numbers, to the last bit."""
    return np.array_equal(np.stack([found[key] for key in WANTED], axis=1), numbers)


def lines(separator: str, index: bool, note: str = "") -> str:
    """The table as pandas saves it, with or without the numbers of its rows, and a column of notes."""
    cells = [["", *NAMES] if index else NAMES]
    for k, row in enumerate(NUMBERS):
        cells.append([*([str(k)] if index else []), *(f"{value:g}" for value in row), note])
    return "".join(separator.join(row) + "\n" for row in cells)


@pytest.mark.parametrize("separator", ["\t", ";", ","])
@pytest.mark.parametrize("note", ["", "cooled"])
def test_numbers_of_rows_shift_no_column(tmp_path: Path, separator: str, note: str) -> None:
    """The first name of an index is empty; with tabs it was lost, and each column read for its neighbour."""
    for index in (True, False):
        assert same(read(tmp_path, lines(separator, index, note)))


@pytest.mark.parametrize("separator", ["\t", ";", ","])
def test_numbers_of_rows_without_any_name_are_told(tmp_path: Path, separator: str) -> None:
    """R writes no name above them: with an empty last column the table is as wide as one with separators at its end."""
    first, *rest = lines(separator, True).splitlines()
    with pytest.raises(DataError, match=r"a.csv, line 2: got one cell more .* first cells that count the rows"):
        read(tmp_path, "\n".join([first[1:], *rest]))
    # A counter with a name, and lines that end with a separator.
    assert same(read(tmp_path, "\n".join(["point" + first.removesuffix(f"{separator}note"), *rest])))


def workbook(path: Path, corner: tuple[int, int] = (1, 1), **cells: object) -> Path:
    """A workbook with the table at a corner (row, column), and further cells."""
    book = openpyxl.Workbook()
    sheet = book.active
    for i, row in enumerate([NAMES[:3], *NUMBERS.tolist()]):
        for k, value in enumerate(row):
            sheet.cell(corner[0] + i, corner[1] + k, value)
    for place, value in cells.items():
        sheet[place] = value
    book.save(path)
    return path


def test_a_table_may_begin_anywhere_in_a_sheet(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", (8, 3), C5="some title")
    found = table(path)
    assert same(dict(found.columns))
    assert found.place == "a.xlsx, line 8"
    assert 'column = "B (mT)"    # -100 to -86' in propose(workbook(tmp_path / "b.xlsx", (8, 3), C5="some title"))


def test_notes_beside_a_table_are_no_fault(tmp_path: Path) -> None:
    assert same(dict(table(workbook(tmp_path / "a.xlsx", F2="cooled twice", G3=3.4)).columns))
    assert same(read(tmp_path, lines(";", False).replace("\n", ";;\n").replace(";;;", ";;cooled twice;", 1)))
    with pytest.raises(DataError, match="line 2: got 5 cells, expected 4 as in the header"):
        read(tmp_path, lines(";", False).replace("-2612.25;\n", "-2612.25;;cooled twice\n"))


def test_a_formula_without_its_result_is_told(tmp_path: Path) -> None:
    """As programs write them; in a column that is not wanted it does no harm."""
    assert same(dict(table(workbook(tmp_path / "a.xlsx", D1="ratio", D2="=B2/C2")).columns))
    with pytest.raises(DataError, match=r"line 3, column 'X1 \(nV\)': got '=2\*B2', expected a number; .*save it once"):
        table(workbook(tmp_path / "a.xlsx", B3="=2*B2"))


HALVES = "B (mT);X1 (nV);X2 (nV);T (K)\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "-100;14,986;500;4\n-98;15,029;501;4\n",
            "got '14,986', which is 14.986 with a decimal comma and 14986 with one",
        ),
        ("-100;-14,986;500;4\n-98;986;501;4\n", "got '-14,986', which is -14.986 with"),
        ("-100;14,986;500;4\n-98;1,234,567;501;4\n", "got '1,234,567' with commas between thousands"),
        ("-100;1,234.5;500;4\n", "got '1,234.5', expected a number, and nothing between thousands"),
        ("-100;1.234,5;500;4\n", "got '1.234,5', expected a number, and nothing between thousands"),
        ("-100;14'986;500;4\n", "expected a number, and nothing between thousands"),
    ],
)
def test_commas_between_thousands_are_no_decimal_commas(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(DataError) as told:
        read(tmp_path, HALVES + content)
    assert words in str(told.value), told.value


@pytest.mark.parametrize(
    "content",
    [
        "-100;14,986;500;4\n-98;15,02;501;4\n",  # digits vary
        "-100;14,986;0,500;4\n-98;15,029;0,501;4\n",  # no group begins with 0
        "-100;14,986;500;4,2\n-98;15,029;501;4,2\n",  # another column tells
        "-0,5;14,986;500;4\n0,000;15,029;501;4\n",
    ],
)
def test_decimal_commas_are_read(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, HALVES + content)["V1"][0] == 14.986


def test_a_sign_that_is_stated_is_read(tmp_path: Path) -> None:
    content = HALVES + "-100;14,986;500;4\n-98;15,029;501;4\n"
    assert read(tmp_path, content, decimal=",")["V1"][1] == 15.029
    assert '#? decimal = ","    # if 14,986 is 14.986; else write the table again' in propose(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text(content + "-96;1,234,567;502;4\n")
    with pytest.raises(DataError, match="got '1,234,567' with commas between thousands"):
        propose(tmp_path / "a.csv")


MISSING = """nan NaN -nan +nan nan(ind) -nan(ind) -nan(snan) 1.#QNAN -1.#IND 1.#INF 1,#QNAN
#DIV/0! #NUM! #VALUE! #REF! #NAME? #NULL! #N/A #N/D #I/T #WERT! #NV Err:502 <NA> NaT NULL inf -inf Infinity 1e999 9.9e37
-9.91E+37 OVERRANGE Overload OVLD ol **** #### ---- \u2014 \u2013 ?"""


@pytest.mark.parametrize("word", [*MISSING.split(), "", "over range"])
def test_words_for_no_number_are_read(word: str) -> None:
    assert math.isnan(text.number(word)) and not text.is_word(word)


@pytest.mark.parametrize("word", ["inferno", "#run", "nano", "1#", "over there", "-x", "*a"])
def test_other_words_are_none(word: str) -> None:
    assert text.is_word(word)


def test_a_line_that_begins_with_a_fault_of_a_spreadsheet_is_no_comment(tmp_path: Path) -> None:
    content = lines(",", False).replace("-98,", "#DIV/0!,") + "# the end\n#NAME of the run, x, y, z\n"
    content = "#WARNING! magnet drifted\n#NA means none\n" + content
    found = read(tmp_path, content)
    assert np.array_equal(found["field"][:3], [-100, np.nan, -96], equal_nan=True) and found["V1"][1] == 14995.5


def test_lines_of_words_below_the_names_are_passed_over(tmp_path: Path) -> None:
    """Origin: long names, units, comments; the comments may be few."""
    for comments in ("field;1st;2nd;none", "field;;;", ";;;", ";;;\n;;2f;", "field;X;Y;a\nb;c;d;e\nf;g;h;"):
        content = "B;X1;X2;note\nmT;nV;nV;\n" + comments + "\n" + "".join(lines(";", False).splitlines(True)[1:])
        (tmp_path / "a.csv").write_text(content)
        found = table(tmp_path / "a.csv", {"field": "B", "V1": "X1", "V2": "X2"})
        assert same(dict(found.columns))
        assert found.units == {"field": "mT", "V1": "nV", "V2": "nV"}
        assert 'unit = "mT"    # by the file' in propose(tmp_path / "a.csv")
    faulty = "B;X1;X2;note\n" + "-1.0 mT;2.0 nV;3.0 nV;\n" * 9
    with pytest.raises(DataError, match="line 2, column 'B': got '-1.0 mT', expected a number"):
        (tmp_path / "a.csv").write_text(faulty)
        table(tmp_path / "a.csv", {"field": "B", "V1": "X1"})


@pytest.mark.parametrize("separator", [" ", "\t", ",", ";"])
def test_exponents_of_fortran_are_read(tmp_path: Path, separator: str) -> None:
    """Fortran writes numbers in double precision with a D, and each of them with the sign of its fraction."""
    letters = "DdEe"
    rows = [[f"{value:.6E}".replace("E", letters[k % 4]) for k, value in enumerate(row)] for row in NUMBERS]
    content = "".join(separator.join(row) + "\n" for row in [["B", "X1", "X2"], *rows])
    wanted = {"field": "B", "V1": "X1", "V2": "X2"}
    for decimal in "." if separator == "," else ".,":
        (tmp_path / "a.txt").write_text(content.replace(".", decimal))
        assert same(dict(table(tmp_path / "a.txt", wanted).columns))
        assert "a plain table of 8 points" in propose(tmp_path / "a.txt")


@pytest.mark.parametrize("word", ["1D5", "3d2", "1.5D", "D1.5", "1.5D+02x", "1.5D2.0", "1.5 D2"])
def test_what_only_looks_like_an_exponent_of_fortran_is_none(word: str) -> None:
    """A name such as "3d2" has no sign of a fraction, which Fortran always writes."""
    assert text.is_word(word) and text.decimal_of(word) is None
    with pytest.raises(InputError, match=f"got '{word.replace('+', chr(92) + '+')}', expected a number"):
        text.number(word)


def book_of(path: Path, cells: list[list[object]]) -> Path:
    book = openpyxl.Workbook()
    for line in cells:
        book.active.append(line)
    book.save(path)
    return path


def test_numbers_that_are_text_in_a_workbook_may_have_commas(tmp_path: Path, device: Device) -> None:
    """As a German Excel keeps what was pasted: next to cells that are numbers, and have no sign of their own."""
    cells = [["B", "X1"], *([-100.5 + k, f"{10 + k},25"] for k in range(6))]
    wanted = {"field": "B", "V1": "X1"}
    found = table(book_of(tmp_path / "a.xlsx", cells), wanted).columns
    assert found["field"].tolist() == [-100.5 + k for k in range(6)]
    assert found["V1"].tolist() == [10.25 + k for k in range(6)]
    head = ["experiment", "signal", "value", "std", "unit"]
    for value, std in (("-15,6", 0.125), ("-1,56D+01", "0,125"), (-15.6, "1,25e-1"), ("-15,6", "0.125e0")):
        file = book_of(tmp_path / "b.xlsx", [head, ["thermal", "R2.spin", value, std, "nV/mA^2"]])
        if "." in str(std) and isinstance(std, str):  # negative control: text with both signs
            with pytest.raises(
                DataError, match="got '-15,6' with a decimal comma, and .* got '0.125e0' with a decimal"
            ):
                rows.load(file, device)
            continue
        (row,) = rows.load(file, device)
        assert (row.value, row.std) == (pytest.approx(-15.6e-3), pytest.approx(0.125e-3))


@pytest.mark.parametrize(
    ("std", "words"),
    [
        (0.5, "got '-1,234' with a decimal comma, .* points alone, a workbook with numbers in place of text"),
        (1, "got '-1,234', which is -1.234 with a decimal comma and -1234 with one between thousands"),
    ],
)
def test_a_comma_that_may_be_between_thousands_is_told(tmp_path: Path, device: Device, std: float, words: str) -> None:
    head = ["experiment", "signal", "value", "std", "unit"]
    file = book_of(tmp_path / "a.xlsx", [head, ["thermal", "R2.spin", "-1,234", std, "nV/mA^2"]])
    with pytest.raises(DataError, match=words):
        rows.load(file, device)


def test_tables_side_by_side_are_told(tmp_path: Path) -> None:
    twice = "".join(f"{line};{line}\n" for line in lines(";", False).splitlines())
    (tmp_path / "a.csv").write_text("up;;;;down;;;\n" + twice)
    with pytest.raises(
        DataError, match=r"line 2: columns B \(mT\), X1 \(nV\), X2 \(nV\), note are there more than once"
    ):
        propose(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text(lines(";", False).replace(";note", ";T;T").replace(";\n", ";4;4\n"))
    assert "# Not read, because they are there more than once: T." in propose(tmp_path / "b.csv")


ROWS = "experiment;signal;value;std;unit\nthermal;R2.spin;-15,6;0,5;nV/mA\u00b2\nthermal;R1.spin;-1,5;2,5 %;mohm\n"
SETS = "Py.S_s;spacing\n-3,5 \u00b5V/K;60 nm\n\u22122 \u00b5V/K;7,5e-8\n"
FORMS = {
    "utf-8": lambda content: content.encode(),
    "utf-16": lambda content: content.encode("utf-16"),
    "bom": lambda content: content.encode("utf-8-sig"),
    "cp1252": lambda content: content.replace("\u2212", "-").encode("cp1252"),
    "tabs": lambda content: content.replace(";", "\t").encode(),
    "points": lambda content: content.replace(",", ".").replace(";", ",").encode(),
    "padded": lambda content: (content.replace("\n", ";;\n") + ";;;;\n").encode(),
    "hint": lambda content: ("sep=;\n" + content).encode(),
    "index": lambda content: "".join(f"{k or ''};{line}\n" for k, line in enumerate(content.splitlines())).encode(),
    "tabbed index": lambda content: "".join(
        f"{k or ''};{line}\n" for k, line in enumerate(content.splitlines())
    ).replace(";", "\t").encode(),
}  # fmt: skip


def saved(folder: Path, content: str, form: str) -> Path:
    """A table in a form; a workbook has numbers where it has them alone in a cell."""
    if form != "workbook":
        (folder / "a.csv").write_bytes(FORMS[form](content))
        return folder / "a.csv"
    book = openpyxl.Workbook()
    for line in content.splitlines():
        line = line.replace("2,5 %", "0,025")
        numbers = {cell: text.number(cell, ",") for cell in line.split(";") if not text.is_word(cell.replace(",", "."))}
        book.active.append([numbers.get(cell, cell) for cell in line.split(";")])
    if "std" in content:
        book.active["D3"].number_format = "0.0%"  # as Excel makes it of "2,5 %"
    book.save(folder / "a.xlsx")
    return folder / "a.xlsx"


@pytest.mark.parametrize("form", [*FORMS, "workbook"])
def test_rows_and_sets_are_read_as_spreadsheets_save_them(device: Device, tmp_path: Path, form: str) -> None:
    first, second = rows.load(saved(tmp_path, ROWS, form), device)
    assert (first.signal, first.value, first.std) == ("R2.spin", pytest.approx(-15.6e-3), pytest.approx(0.5e-3))
    assert (second.signal, second.value, second.std) == ("R1.spin", pytest.approx(-1.5e-3), pytest.approx(0.0375e-3))
    # Numbers of a workbook are no text, and have the point that text beside them has to have too.
    content = SETS.replace("3,5", "3.5") if form == "workbook" else SETS
    sets = ensembles.read(saved(tmp_path, content, form), device)
    assert [one["Py.S_s"] for one in sets] == pytest.approx([-3.5e-6, -2e-6])
    assert [one["spacing"] for one in sets] == pytest.approx([60e-9, 75e-9])


def test_faults_of_signs_in_rows_and_sets_are_told(device: Device, tmp_path: Path) -> None:
    for content in (
        ROWS.replace("-15,6;0,5", "-15,600;1,500").replace("-1,5;2,5 %", "-1;2 %"),
        SETS.replace("3,5", "3,500"),
    ):
        content = content.replace("7,5e-8", "7e-8")
        with pytest.raises(
            InputError, match=r"line 2, .* got '-(15,600|3,500)', which is -(15.600|3.500) with a decimal"
        ):
            rows.load(saved(tmp_path, content, "utf-8"), device) if "signal" in content else ensembles.read(
                saved(tmp_path, content, "utf-8"), device
            )
    with pytest.raises(
        ensembles.SetError, match=r"a.csv: line 2, .* with a decimal comma, and line 3, .* decimal point"
    ):
        ensembles.read(saved(tmp_path, SETS.replace("7,5e", "7.5e"), "utf-8"), device)
    for reader in (rows.load, ensembles.read):
        with pytest.raises(InputError, match="b.csv: no such file"):
            reader(tmp_path / "b.csv", device)
        (tmp_path / "c.csv").write_bytes(b"a,b\0\0")
        with pytest.raises(InputError, match="c.csv: a binary file"):
            reader(tmp_path / "c.csv", device)


@pytest.mark.parametrize("form", ["0%", "General", '0.0"%"', "0\\%"])
def test_a_percent_sign_that_scales_nothing_is_none(device: Device, tmp_path: Path, form: str) -> None:
    """Excel shows 0.05 in the format 0% as 5 %, which is a part of the value; a quoted sign is a letter."""
    book = openpyxl.Workbook()
    for line in (("experiment", "signal", "value", "std", "unit"), ("thermal", "R2.spin", -15.0, 0.05, "nV/mA^2")):
        book.active.append(line)
    book.active["D2"].number_format = form
    book.save(tmp_path / "a.xlsx")
    (row,) = rows.load(tmp_path / "a.xlsx", device)
    assert row.std == pytest.approx(0.75e-3 if form == "0%" else 0.05e-3)


def test_one_column_of_quoted_names_is_a_table_of_sets(device: Device, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('"# swept, by hand"\n"zeta"\n0.5\n"1.0"\n')
    assert ensembles.read(tmp_path / "a.csv", device) == [{"zeta": 0.5}, {"zeta": 1.0}]
