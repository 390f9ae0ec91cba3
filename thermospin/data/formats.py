"""Presets: how instruments and programs lay out their files, and what each format says of units and conventions.

A preset knows what every file of its kind says, by documentation or by the program that writes it. What a format does
not say, the user has to: see `Format.asks`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Literal

from thermospin.data.sheets import Lines, Sheet, body, cells_of, first_few, separator_of
from thermospin.data.text import DataError

Convention = Literal["rms", "peak"]


@dataclasses.dataclass(frozen=True)
class Format:
    """The files of one instrument or program.

    Attributes:
      name: in experiment files.
      title: for messages.
      read: makes a sheet of the lines of a file; raises `DataError` for a file of another kind.
      is_of: whether lines are of such a file.
      says: what every such file says, in words.
      asks: what it does not say, in words.
      columns: names that a key may have, the first that a file has counts.
      units: of columns by name, where all files of the kind have the same.
      current_is: "rms" or "peak", of its column of currents; None: not known.
      voltage_is: the same of its voltages.
    """

    name: str
    title: str
    read: Callable[[str, Lines], Sheet]
    is_of: Callable[[Lines], bool]
    says: str
    asks: str
    columns: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    units: Mapping[str, str] = dataclasses.field(default_factory=dict)
    current_is: Convention | None = None
    voltage_is: Convention | None = None


#: How far down a file what tells its format may stand.
_TOP = 60


def recognise(lines: Lines) -> Format | None:
    """Return the format of a file by its first lines, None for a plain table."""
    return next((one for one in FORMATS.values() if one.is_of(lines)), None)


def _not_of(source: str, lines: Lines, name: str, expected: str) -> DataError:
    """Return the error for a file of another format than stated."""
    n, line = next(((n, line) for n, line in lines if line.strip()), (1, ""))
    other = recognise(lines)
    advice = f'it looks like {other.title}: try format = "{other.name}"' if other and other.name != name else ""
    return DataError(
        [
            f"{source}, line {n}: got '{line.strip()[:60]}', and nowhere {expected}, which {FORMATS[name].title} has; "
            f"{advice or 'leave out format to read it as a plain table'}"
        ]
    )


def _first(lines: Lines, pattern: str, top: int = _TOP) -> int | None:
    """Return the index of the first of the upper lines that a pattern matches."""
    found = re.compile(pattern, re.IGNORECASE)
    return next((i for i, (_, line) in enumerate(lines[:top]) if found.match(line)), None)


# ------------------------------------------------------------------------------------------- QTLab

_COLUMN = r"#\s*Column\s*\d+\s*:"


def _qtlab(source: str, lines: Lines) -> Sheet:
    """Read comments "# Column 1:" with name and units of each, then numbers in blocks."""
    first = _first(lines, _COLUMN)
    if first is None:
        raise _not_of(source, lines, "qtlab", "a comment '# Column 1:'")
    columns: list[dict[str, str]] = []
    last = 0
    for i, (_, line) in enumerate(lines):
        if re.match(_COLUMN, line, re.IGNORECASE):
            columns.append({})
        elif columns and (match := re.match(r"#\s+(\w+)\s*:\s*(.*)", line)):
            columns[-1][match[1].lower()] = match[2].strip()
        elif line.strip() and not line.startswith("#"):
            last = i
            break
    else:
        last = len(lines)
    names = [column.get("name", f"col{k}") for k, column in enumerate(columns, 1)]
    sheet = body(source, lines[last:], names, separator_of(lines[last][1]) if last < len(lines) else "", "#")
    found = {name: column.get("units", column.get("unit", "")) for name, column in zip(names, columns, strict=True)}
    units = {name: unit for name, unit in found.items() if unit}
    return dataclasses.replace(sheet, units=units, header=lines[first][0])


# ------------------------------------------------------------------------------------------- LabOne

_CHUNK = r"%?\s*\"?chunk\"?\s*[;,\t]"


def _labone(source: str, lines: Lines) -> Sheet:
    """Read a table whose first column is the chunk, or one line of numbers for each chunk and field."""
    at = _first(lines, _CHUNK)
    if at is None:
        raise _not_of(source, lines, "labone", "a header that begins with 'chunk'")
    header = lines[at][1].lstrip("% ")
    separator = separator_of(header)
    names = [name.strip('"').lower() for name in cells_of(header, separator)]
    if "fieldname" in names:
        return _labone_fields(source, lines[at + 1 :], names, separator)
    sheet = body(source, lines[at + 1 :], names, separator, "%")
    sheet = dataclasses.replace(sheet, header=lines[at][0])
    place = names.index("chunk")
    chunks = [cells[place] for _, cells in sheet.rows]
    starts = tuple(i for i in range(1, len(chunks)) if chunks[i] != chunks[i - 1])
    return dataclasses.replace(sheet, starts=starts, clock="timestamp" if "timestamp" in names else "")


def _labone_fields(source: str, lines: Lines, header: list[str], separator: str) -> Sheet:
    """Turn lines "chunk;timestamp;size;fieldname;value;value" into columns, a block for each chunk."""
    kind, chunk = header.index("fieldname"), header.index("chunk")
    first = kind + 1
    chunks: dict[str, dict[str, tuple[int, list[str]]]] = {}
    faults = []
    for n, line in lines:
        if not line.strip() or line.startswith("%"):
            continue
        cells = cells_of(line, separator)
        if len(cells) <= first:
            faults.append(f"{source}, line {n}: got {len(cells)} cells, expected chunk, fieldname and numbers")
            continue
        fields = chunks.setdefault(cells[chunk], {})
        if cells[kind] in fields:
            faults.append(f"{source}, line {n}: field '{cells[kind]}' is there twice in chunk {cells[chunk]}")
        fields[cells[kind]] = (n, cells[first:])
    if not chunks and not faults:
        faults.append(f"{source}: a header line and no numbers")
    names = list(dict.fromkeys(name for fields in chunks.values() for name in fields))
    rows: list[tuple[int, list[str]]] = []
    starts = []
    for number, fields in chunks.items():
        if lacking := [name for name in names if name not in fields]:
            faults.append(f"{source}, chunk {number}: has no field '{lacking[0]}', which other chunks have")
            continue
        n = fields[names[0]][0]
        size = max(len(cells) for _, cells in fields.values())
        padded = {name: cells + [""] * (size - len(cells)) for name, (_, cells) in fields.items()}
        points = [[padded[name][i] for name in names] for i in range(size)]
        # Chunks that were stopped are filled up.
        points = [point for point in points if any(cell.lower() not in ("", "nan") for cell in point)]
        starts.append(len(rows))
        rows += [(n, point) for point in points]
    if faults:
        raise DataError(first_few(faults))
    return Sheet(source, tuple(names), tuple(rows), tuple(starts[1:]))


# ------------------------------------------------------------------------------------------- PPMS


def _ppms(source: str, lines: Lines) -> Sheet:
    """Read the table below [Data], whose first line has the names."""
    at = _first(lines, r"\s*\[Data\]", len(lines))
    if at is None:
        raise _not_of(source, lines, "ppms", "a line '[Data]'")
    below = [(n, line) for n, line in lines[at + 1 :] if line.strip()]
    if not below:
        raise DataError([f"{source}, line {lines[at][0]}: nothing below [Data], expected names and numbers"])
    header = below[0][1]
    separator = separator_of(header)
    sheet = body(source, lines[lines.index(below[0]) + 1 :], cells_of(header, separator), separator, ";")
    return dataclasses.replace(sheet, header=below[0][0])


# ------------------------------------------------------------------------------------------- LabVIEW

_END = "***End_of_Header***"


def _lvm(source: str, lines: Lines) -> Sheet:
    """Read the segments of a LabVIEW measurement file: a header each, names, numbers."""
    if _first(lines, r"LabVIEW Measurement", 5) is None:
        raise _not_of(source, lines, "lvm", "the words 'LabVIEW Measurement' in its first line")
    head = {}
    ends = [i for i, (_, line) in enumerate(lines) if line.startswith(_END)]
    if not ends:
        raise DataError([f"{source}: no line '{_END}', expected one below the header; is the file cut off?"])
    for _, line in lines[: ends[0]]:
        # Behind the value stands a separator; the value of the decimal sign may be a comma.
        key, _, value, *_ = [*re.split(r"([\t,])", line.strip(), maxsplit=1), "", ""]
        head[key] = value.strip("\t") if len(value) < 2 else value.strip("\t,")
    separator = {"Tab": "\t", "Comma": ",", "Semicolon": ";"}.get(head.get("Separator", "Tab"))
    if separator is None:
        raise DataError([f"{source}: Separator: got '{head['Separator']}', expected one of: Tab, Comma, Semicolon"])
    units: dict[str, str] = {}
    names: list[str] = []
    labels: list[str] = []
    below: list[tuple[int, str]] = []
    in_header = True
    for n, line in lines[ends[0] + 1 :]:
        cells = cells_of(line, separator) or [""]
        if cells[0] == "X_Value":
            if not names:
                names = cells
                # Without an x axis of their own, labels stand above the columns that they are of.
                units = {name: label for name, label in zip(names[1:], labels[1:], strict=False) if label}
            below.append((n, line))
            in_header = False
        elif in_header:
            labels = cells if cells[0] == "Y_Unit_Label" else labels
        elif cells[0] == "Channels":
            below.append((n, ""))
            in_header = True
        else:
            below.append((n, line))
    if not names:
        raise DataError([f"{source}: no line of names, which begins with 'X_Value', below '{_END}'"])
    sheet = body(source, below[1:], names, separator, "", ragged=True)
    decimal = head.get("Decimal_Separator") or None
    return dataclasses.replace(sheet, units=units, decimal=decimal, header=below[0][0])


# ------------------------------------------------------------------------------------------- pymeasure


def _pymeasure(source: str, lines: Lines) -> Sheet:
    """Read a header of comments with the procedure and its parameters, then names and numbers."""
    if _first(lines, r"#\s*(Procedure|Parameters)\s*:") is None:
        raise _not_of(source, lines, "pymeasure", "a comment '#Parameters:'")
    comments = [line for _, line in lines if line.startswith("#")]
    found = [match for line in comments if (match := re.match(r"#\t([^:]+?)\s*:\s*(.*)", line))]
    at = next((i for i, (_, line) in enumerate(lines) if line.strip() and not line.startswith("#")), None)
    if at is None:
        raise DataError([f"{source}: a header of comments and no line of names, expected a table below '#Data:'"])
    separator = separator_of(lines[at][1])
    sheet = body(source, lines[at + 1 :], cells_of(lines[at][1], separator), separator, "#")
    parameters = {match[1]: match[2].strip() for match in found}
    return dataclasses.replace(sheet, parameters=parameters, header=lines[at][0])


# ------------------------------------------------------------------------------------------- nlsv-magsweep

_MAGSWEEP = ("MAGFIELD (G)", "LIA X (V)", "LIA Y (V)", "KTH OUTPUT (A)")


def _nlsv(source: str, lines: Lines) -> Sheet:
    """Read a plain table whose first line has the names that the program gives its columns."""
    at = _first(lines, re.escape(_MAGSWEEP[0]) + '|.*[;,\t]"?' + re.escape(_MAGSWEEP[0]))
    if at is None:
        raise _not_of(source, lines, "nlsv-magsweep", f"a header with '{_MAGSWEEP[0]}'")
    separator = separator_of(lines[at][1])
    sheet = body(source, lines[at + 1 :], cells_of(lines[at][1], separator), separator, "#")
    return dataclasses.replace(sheet, header=lines[at][0])


#: Presets by name.
FORMATS = {
    one.name: one
    for one in (
        Format(
            "qtlab",
            "QTLab data",
            _qtlab,
            lambda lines: _first(lines, _COLUMN) is not None,
            says="names of the columns; units, where the script that measured gave them; blocks",
            asks="rms or peak, phases, gains; units that the script did not give",
        ),
        Format(
            "labone",
            "a LabOne export",
            _labone,
            lambda lines: _first(lines, _CHUNK) is not None,
            says="x, y and r are rms, in the unit of the input: V; chunks are blocks; timestamps join files",
            asks="the harmonic and phase of each demodulator; what the currents are, and whether rms or peak; how many "
            "volts of an auxiliary input are one tesla",
            units={"x": "V", "y": "V", "r": "V", "auxin0": "V", "auxin1": "V"},
            voltage_is="rms",
        ),
        Format(
            "ppms",
            "a MultiVu file",
            _ppms,
            lambda lines: _first(lines, r"\s*\[(Header|Data)\]") is not None,
            says="units, in the names of the columns; the column of the field",
            asks="which columns are currents and voltages, whether rms or peak, phases, gains; the harmonics of the "
            "ETO option are in dB, without a sign, and no use: a lock-in has to measure them",
            columns={"field": ("Magnetic Field (Oe)", "Field (Oe)")},
        ),
        Format(
            "lvm",
            "a LabVIEW measurement",
            _lvm,
            lambda lines: _first(lines, r"LabVIEW Measurement", 5) is not None,
            says="separator and decimal sign; units, where the program gave them; segments are blocks",
            asks="rms or peak, phases, gains; units that the program did not give",
        ),
        Format(
            "pymeasure",
            "a pymeasure file",
            _pymeasure,
            lambda lines: _first(lines, r"#\s*(Procedure|Parameters)\s*:") is not None,
            says="units, in the names of the columns; parameters of the procedure, among them the current",
            asks="rms or peak, phases, gains",
        ),
        Format(
            "nlsv-magsweep",
            "an nlsv-magsweep table",
            _nlsv,
            lambda lines: all(_first(lines, ".*" + re.escape(name), 3) is not None for name in _MAGSWEEP),
            says="the field is in gauss; the current is the peak value of the wave of a Keithley 6221; voltages are "
            "rms, of a lock-in SR850",
            asks="which harmonic the lock-in was set to, and its phase; the gain of an amplifier before it",
            columns={"field": _MAGSWEEP[:1], "current": _MAGSWEEP[3:]},
            units={_MAGSWEEP[0]: "G", _MAGSWEEP[1]: "V", _MAGSWEEP[2]: "V", _MAGSWEEP[3]: "A"},
            current_is="peak",
            voltage_is="rms",
        ),
    )
}
