"""Invented field sweeps of one truth, in the files of many programs, each with the experiment file that reads it.

V = R1 i + R2 i^2 with the instantaneous current i: rms voltages R1 I, and R2 I^2/sqrt(2) at -90 degrees. Lock-ins have
the reference phase 0: Y of the second harmonic is what is at +90 degrees, -R2 I^2/sqrt(2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

#: By signal [V/A, V/A^2]; the antiparallel state has less of both.
TRUTH = {"R1.baseline": 4.0e-3, "R1.spin": 2.0e-3, "R2.baseline": 0.29, "R2.spin": 0.02}
CURRENTS = (0.5e-3, 1.0e-3, 1.5e-3)
#: Of one point, first and second harmonic [V].
NOISE = (2e-9, 2e-10)
EXPERIMENT = "nonlocal"


class Branch(NamedTuple):
    """One direction of a sweep: current [A rms], field [T], X of the first and Y of the second harmonic [V rms]."""

    current: float
    field: np.ndarray
    V1: np.ndarray
    V2: np.ndarray


def branches() -> list[Branch]:
    """Up and down at each current, 51 points each."""
    rng = np.random.default_rng(11)
    out = []
    for current in CURRENTS:
        for up in (True, False):
            field = np.round(np.linspace(-50e-3, 50e-3, 51), 6) * (1 if up else -1)
            apart = (abs(field) > 11e-3) & (abs(field) < 31e-3) & ((field > 0) == up)
            R1, R2 = (np.where(apart, -0.5, 0.5) * TRUTH[f"R{n}.spin"] + TRUTH[f"R{n}.baseline"] for n in (1, 2))
            noise = [size * rng.standard_normal(51) for size in NOISE]
            out.append(Branch(current, field, R1 * current + noise[0], -R2 * current**2 / math.sqrt(2) + noise[1]))
    return out


def numbers(rows: Iterable[Sequence[float]], separator: str = ",", decimal: str = ".") -> str:
    """Lines of numbers, as exact as they are."""
    lines = (separator.join(f"{value:.12g}" for value in row) for row in rows)
    return "".join(f"{line.replace('.', decimal)}\n" for line in lines)


def points(parts: Iterable[Branch]) -> list[tuple[float, float, float, float]]:
    """Field, current, X of the first and Y of the second harmonic of all points."""
    return [(b, part.current, x, y) for part in parts for b, x, y in zip(part.field, part.V1, part.V2, strict=True)]


def of_current(current: float) -> list[Branch]:
    return [branch for branch in branches() if branch.current == current]


def head(*lines: str, V1: str = "", V2: str = "", file: str = "", after: str = "") -> str:
    """An experiment file: lines at its top, columns of the harmonics, one entry."""
    columns = [f"{key} = {{ {text} }}" for key, text in (("V1", V1), ("V2", V2)) if text]
    top, below = [line for line in lines if not line.startswith("|")], [line[1:] for line in lines if line[:1] == "|"]
    entry = f'\n[[sweeps]]\nexperiment = "{EXPERIMENT}"\nfile = "{file}"\n'
    return "\n".join(['polarity = "known"', *top, "", "[columns]", *below, *columns]) + "\n" + entry + after


RMS = 'current_is = "rms"'
VOLTS_RMS = 'voltage_is = "rms"'


def plain(folder: Path) -> str:
    text = "B (mT),I (mA),X1 (uV),Y2 (nV)\n" + numbers((1e3 * b, 1e3 * i, 1e6 * x, 1e9 * y) for b, i, x, y in data())
    (folder / "plain.csv").write_text(text, encoding="utf-8")
    return head(
        RMS, VOLTS_RMS, '|field = { column = "B (mT)" }', '|current = { column = "I (mA)" }',
        V1='column = "X1 (uV)", phase = 0', V2='column = "Y2 (nV)", phase = 90', file="plain.csv",
    )  # fmt: skip


def data() -> list[tuple[float, float, float, float]]:
    return points(branches())


def qtlab(folder: Path) -> str:
    """Blocks of one direction each; the quadrature has no unit, as scripts often leave it out."""
    text = "# Filename: 120000_nlsv.dat\n# Timestamp: Mon Jan 13 12:00:00 2025\n\n# SR830, 17.7 Hz\n"
    for k, (name, kind, unit) in enumerate(
        [("B", "coordinate", "T"), ("I", "coordinate", "A"), ("X1", "value", "V"), ("Y2", "value", "")], 1
    ):
        text += f"# Column {k}:\n#\tname: {name}\n" + ("#\tsize: 51\n" if kind == "coordinate" else "")
        text += f"#\ttype: {kind}\n" + (f"#\tunits: {unit}\n" if unit else "")
    text += "\n" + "\n".join(
        "".join("\t".join(f"{value:.12e}" for value in row) + "\n" for row in points([part])) for part in branches()
    )
    (folder / "120000_nlsv.dat").write_text(text, encoding="utf-8")
    return head(
        'format = "qtlab"', RMS, VOLTS_RMS, '|field = { column = "B" }', '|current = { column = "I" }',
        V1='column = "X1", phase = 0', V2='column = "Y2", unit = "V", phase = 90', file="120000_nlsv.dat",
    )  # fmt: skip


#: Volts of the gaussmeter per tesla.
VOLTS = 10.0


def _demodulators(folder: Path, current: float, write: Callable[[int, int, np.ndarray], str]) -> None:
    """Exports of two demodulators in a folder of one run, as LabOne names them."""
    run = folder / f"nlsv_{1e6 * current:.0f}uA_000"
    run.mkdir()
    for k in (0, 1):
        rows = np.array(points(of_current(current)))
        # The second demodulator is a third of a sample behind.
        clock = 13_740_000_000_000 + 280_000 * np.arange(len(rows)) + 90_000 * k
        x, y = (rows[:, 2], 0.1 * rows[:, 2]) if k == 0 else (0.1 * rows[:, 3], rows[:, 3])
        table = np.stack([np.repeat((0, 1), 51), clock, x, y, VOLTS * rows[:, 0]])
        (run / f"dev3994_demods_{k}_sample_00000.csv").write_text(write(k, len(rows), table), encoding="utf-8")


LABONE = [
    'format = "labone"', RMS, '|field = { column = "auxin0", unit = "T", gain = 10 }',
]  # fmt: skip
LABONE_FILE = "nlsv_{current}_000/dev3994_demods_0_sample_00000.csv"
SECOND = "dev3994_demods_1_sample_00000.csv"


def labone(folder: Path) -> str:
    """The columns of a demodulator; the second harmonic, of demodulator 1, in a file of its own."""

    def write(k: int, size: int, table: np.ndarray) -> str:
        lines = ["chunk;timestamp;x;y;freq;phase;dio;trigger;auxin0;auxin1"]
        for chunk, clock, x, y, aux in table.T:
            lines.append(f"{chunk:.0f};{clock:.0f};{x:.12g};{y:.12g};17.7;0;0;0;{aux:.12g};0")
        return "\n".join(lines) + "\n"

    for current in CURRENTS:
        _demodulators(folder, current, write)
    return head(
        *LABONE, V1='column = "x", phase = 0', V2=f'column = "y", phase = 90, file = "{SECOND}"', file=LABONE_FILE
    )


def labone_fields(folder: Path) -> str:
    """A line for each chunk and field, filled up with nan."""

    def write(k: int, size: int, table: np.ndarray) -> str:
        lines = ["chunk;timestamp;size;fieldname;0;1;2"]
        for chunk in (0, 1):
            part = table[:, table[0] == chunk]
            for name, values in (("x", part[2]), ("y", part[3]), ("auxin0", part[4])):
                cells = [f"{value:.12g}" for value in values] + ["nan"] * 3
                lines.append(";".join([str(chunk), f"{part[1][-1]:.0f}", "54", name, *cells]))
        return "\n".join(lines) + "\n"

    for current in CURRENTS:
        _demodulators(folder, current, write)
    return head(
        *LABONE, V1='column = "x", phase = 0', V2=f'column = "y", phase = 90, file = "{SECOND}"', file=LABONE_FILE
    )


def labone_values(folder: Path) -> str:
    """One signal a file: chunk, timestamp, value."""
    for current in CURRENTS:
        run = folder / f"nlsv_{1e6 * current:.0f}uA_000"
        run.mkdir()
        rows = np.array(points(of_current(current)))
        for name, values in (
            ("0_sample_auxin0", VOLTS * rows[:, 0]),
            ("0_sample_x", rows[:, 2]),
            ("1_sample_y", rows[:, 3]),
        ):
            lines = [f"0;{13_740_000_000_000 + 280_000 * i};{value:.12g}\n" for i, value in enumerate(values)]
            (run / f"dev3994_demods_{name}_00000.csv").write_text("chunk;timestamp;value\n" + "".join(lines))
    value = 'column = "value", unit = "V"'
    return head(
        'format = "labone"', RMS, '|field = { column = "value", unit = "T", gain = 10 }',
        V1=f'{value}, phase = 0, file = "dev3994_demods_0_sample_x_00000.csv"',
        V2=f'{value}, phase = 90, file = "dev3994_demods_1_sample_y_00000.csv"',
        file="nlsv_{current}_000/dev3994_demods_0_sample_auxin0_00000.csv",
    )  # fmt: skip


def ppms(folder: Path) -> str:
    names = "Comment,Time Stamp (sec),Status (code),Temperature (K),Magnetic Field (Oe),I (mA),X1 (V),Y2 (V)"
    lines = [
        f",{3_900_000_000 + k}.1,4417,300.01,{1e4 * b:.12g},{1e3 * i:.12g},{x:.12g},{y:.12g}"
        for k, (b, i, x, y) in enumerate(data())
    ]
    lines[7] = f"switch,{lines[7][1:]}"
    top = "[Header]\n; PPMS Data File (default extension .dat)\nTITLE,spin valve\nBYAPP,ACTransport,1.5\n[Data]\n"
    (folder / "valve.dat").write_text(top + names + "\n" + "\n".join(lines) + "\n", encoding="cp1252")
    return head(
        'format = "ppms"', RMS, VOLTS_RMS, '|current = { column = "I (mA)" }',
        V1='column = "X1 (V)", phase = 0', V2='column = "Y2 (V)", phase = 90', file="valve.dat",
    )  # fmt: skip


def lvm(folder: Path) -> str:
    """Segments with headers of their own, decimal commas, no x axis, a column of comments."""
    text = "LabVIEW Measurement\t\nWriter_Version\t2\nReader_Version\t2\nSeparator\tTab\nDecimal_Separator\t,\n"
    text += "Multi_Headings\tYes\nX_Columns\tNo\nTime_Pref\tAbsolute\nOperator\tlab\nDate\t2025/01/13\n"
    text += "Time\t12:00:00,2639230999998221435\n***End_of_Header***\t\n\t\n"
    for part in branches():
        text += "Channels\t4\t\t\t\t\nSamples\t51\t51\t51\t51\t\nDate" + 4 * "\t2025/01/13" + "\t\n"
        text += "Y_Unit_Label\tTesla\tAmps\tVolts\tVolts\t\nX_Dimension" + 4 * "\tTime" + "\t\n"
        text += "X0" + 4 * "\t0,0000000000000000E+0" + "\t\nDelta_X" + 4 * "\t1,000000" + "\t\n"
        text += "***End_of_Header***\t\t\t\t\t\nX_Value\tField\tCurrent\tX 1f\tY 2f\tComment\n"
        text += "".join(f"\t{line}\n" for line in numbers(points([part]), "\t", ",").splitlines())
        text += "\n"
    (folder / "nlsv.lvm").write_text(text, encoding="latin-1")
    return head(
        'format = "lvm"', RMS, VOLTS_RMS, '|field = { column = "Field" }', '|current = { column = "Current" }',
        V1='column = "X 1f", phase = 0', V2='column = "Y 2f", phase = 90', file="nlsv.lvm",
    )  # fmt: skip


def pymeasure(folder: Path) -> str:
    """A file for each current, which is a parameter of the procedure."""
    for k, current in enumerate(CURRENTS, 1):
        text = "#Procedure: <lab.procedures.FieldSweep>\n#Parameters:\n"
        text += f"#\tCurrent amplitude: {1e3 * current:g} mA\n#\tTime constant: 0.3 s\n#Data:\n"
        text += "Magnetic field (T),X1 (V),Y2 (V)\n"
        text += numbers((b, x, y) for b, _, x, y in points(of_current(current)))
        (folder / f"DATA2025-01-13_{k}.csv").write_text(text, encoding="utf-8")
    return head(
        'format = "pymeasure"', RMS, VOLTS_RMS, '|field = { column = "Magnetic field (T)" }',
        '|current = { parameter = "Current amplitude" }',
        V1='column = "X1 (V)", phase = 0', V2='column = "Y2 (V)", phase = 90', file="DATA2025-01-13_*.csv",
    )  # fmt: skip


def nlsv(folder: Path) -> str:
    """Forward and reverse in files of their own, the two harmonics one after the other; currents are peak values."""
    names = "DATETIME,PSUP SP (A),PSUP I (A),PSUP V (V),MAGFIELD (G),TEMP (C),LIA X (V),LIA Y (V),LIA R (V)"
    names += ",LIA THETA (deg),KTH OUTPUT (A),KTH FREQ (HZ),BGV (V),R_NL (ohm)\n"
    for number, branch in enumerate(branches()):
        peak = math.sqrt(2) * branch.current
        direction = "reverse" if number % 2 else "forward"
        for n, voltage in ((1, branch.V1), (2, branch.V2)):
            lines = [
                f"2025-01-13 12:00:{k:02d},{10 * b},{10 * b},1.2,{1e4 * b:.12g},25.1,"
                + (f"{v:.12g},0" if n == 1 else f"0,{v:.12g}")
                + f",{abs(v):.12g},0,{peak:.12g},13,0,{v / peak:.3f}"
                for k, (b, v) in enumerate(zip(branch.field, voltage, strict=True))
            ]
            path = folder / f"{n}f_20250113_12000{number}_3_4_{direction}.csv"
            path.write_text(names + "\n".join(lines) + "\n", encoding="utf-8")
    second = f'\n[[sweeps]]\nexperiment = "{EXPERIMENT}"\nfile = "2f_*.csv"\n'
    second += 'columns = { V2 = { column = "LIA Y (V)", phase = 90 } }\n'
    return head('format = "nlsv-magsweep"', V1='column = "LIA X (V)", phase = 0', file="1f_*.csv", after=second)


def workbook(folder: Path) -> str:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.title = "notes"
    sheet = book.create_sheet("run 3")
    sheet.append(["B (mT)", "I (mA)", "X1 (uV)", "Y2 (nV)"])
    for b, i, x, y in data():
        sheet.append([float(f"{value:.12g}") for value in (1e3 * b, 1e3 * i, 1e6 * x, 1e9 * y)])
    book.save(folder / "nlsv.xlsx")
    text = plain(folder).replace('file = "plain.csv"', 'file = "nlsv.xlsx"\nsheet = "run 3"')
    (folder / "plain.csv").unlink()
    return text


def commas(folder: Path, encoding: str = "utf-16") -> str:
    """Semicolons, decimal commas, a line of units, a column of directions, in an encoding of Windows."""
    text = "B;I;X1;Y2;direction\nmT;mA;\u00b5V;nV;\n"
    for part in branches():
        up = "up" if part.field[-1] > 0 else "down"
        rows = [(1e3 * b, 1e3 * i, 1e6 * x, 1e9 * y) for b, i, x, y in points([part])]
        text += "".join(f"{line};{up}\n" for line in numbers(rows, ";", ",").splitlines())
    (folder / "commas.csv").write_bytes(text.encode(encoding))
    return head(
        RMS, VOLTS_RMS, '|field = { column = "B" }', '|current = { column = "I" }', '|sweep = "direction"',
        V1='column = "X1", phase = 0', V2='column = "Y2", phase = 90', file="commas.csv",
    )  # fmt: skip


def named(folder: Path) -> str:
    """A file for each current, in its name alone."""
    for current in CURRENTS:
        rows = ((1e4 * b, x, y) for b, _, x, y in points(of_current(current)))
        text = "B (G)\tX1 (V)\tY2 (V)\n" + numbers(rows, "\t")
        (folder / f"nlsv_I={1e3 * current:g}mA_run3.dat").write_text(text, encoding="utf-8")
    return head(
        RMS, VOLTS_RMS, '|field = { column = "B (G)" }',
        V1='column = "X1 (V)", phase = 0', V2='column = "Y2 (V)", phase = 90', file="nlsv_I={current}_run*.dat",
    )  # fmt: skip


#: By name of the experiment file; each writes its data into a folder and returns the text of that file.
WRITERS: dict[str, Callable[[Path], str]] = {
    "plain": plain, "qtlab": qtlab, "labone": labone, "labone-fields": labone_fields, "labone-values": labone_values,
    "ppms": ppms, "lvm": lvm, "pymeasure": pymeasure, "nlsv-magsweep": nlsv, "workbook": workbook, "commas": commas,
    "named": named,
}  # fmt: skip
