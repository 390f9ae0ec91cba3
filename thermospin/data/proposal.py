"""A proposal for the experiment file of a table, with what the table does not say as questions.

Lines that begin with "#?" are questions: without the mark they are answers. Names, units and numbers of columns are all
that is gone by; nothing of a convention is assumed.
"""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from pathlib import Path

import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.text import toml_string
from thermospin.data.columns import FACTORS, HARMONICS, OF_X_AND_Y, PHASES, kind_of, readings
from thermospin.data.experiment_file import no_sweeps_of
from thermospin.data.formats import Format, recognise
from thermospin.data.sheets import Sheet, TextForm, select
from thermospin.data.sweep_files import CURRENT, current_in
from thermospin.data.tables import DATABASES, open_sheet, read_lines, sheets_of
from thermospin.data.text import DataError, Thousands, no_file
from thermospin.device.device import Device

#: What comments begin with, tried in this order.
_COMMENTS = ("#", "%", ";", "!", "//")
#: Words in the names of columns; numbers in them are words too.
_WORDS = re.compile(r"[A-Za-z\u00b5\u03bc]+|\d+")
_FIELD = {"b", "h", "bx", "by", "bz", "field", "bfield", "magfield", "hfield", "auxin"}
_CURRENT = {"i", "iac", "irms", "current", "curr", "kth", "isource", "excitation"}
_VOLTAGE = {"x", "y", "v", "u", "vx", "vy", "lia", "lockin", "voltage", "xf", "yf"}
#: Of the two parts that a lock-in shows; "fy" is of "2fY".
_IN_PHASE = {"x", "vx", "xf", "fx", "wx", "inphase", "real", "re"}
_QUADRATURE = {"y", "vy", "yf", "fy", "wy", "quadrature", "quad", "oop", "imaginary", "imag", "im"}
#: Of magnets and their supplies, of the polar form of a voltage, of rates: none of what is looked for.
_OTHERS = {
    "psup", "supply", "coil", "magnet", "sp", "setpoint", "r", "theta", "phase", "freq", "frequency", "hz", "dac",
    "gate", "bgv", "ohm", "ohms", "resistance", "time", "temp", "temperature", "dc", "std", "err", "error",
}  # fmt: skip
_SWEEP = {"sweep", "run", "scan", "loop", "direction", "dir", "branch"}
_ORDINALS = {"first": 1, "second": 2, "third": 3, "1": 1, "2": 2, "3": 3, "fundamental": 1}
#: "X 1f", "2w", "2nd harmonic"; "second harmonic"; "X1", "Y_2". The number of a channel is none.
_HARMONICS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?<!\d)([123])\s*(?:f|w|\u03c9|omega|st|nd|rd|harm)(?![a-z])",
        r"(first|second|third|fundamental)",
        r"(?<![a-z])[xyv][_ ]?([123])(?!\d)",
    )
)
_FIRST = (
    "Which state is first? The one before the first switch of each direction is taken for parallel. Where a sweep does "
    "not begin in saturation it is not, and all spin parts have the opposite sign."
)
#: A column of sweeps has at most this part of as many values as points.
_FEW = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class _Found:
    """A column: its name, unit and words, and its numbers, None for a column of text."""

    name: str
    unit: str
    words: tuple[str, ...]
    numbers: np.ndarray | None

    @property
    def finite(self) -> np.ndarray:
        return np.array([]) if self.numbers is None else self.numbers[np.isfinite(self.numbers)]

    @property
    def varies(self) -> bool:
        return len(np.unique(self.finite)) > 5

    def is_a(self, kind: str, names: Iterable[str]) -> int:
        """Return how much speaks for a kind of quantity: its unit, its name; 0 for another one."""
        if self.numbers is None or not len(self.finite) or set(self.words) & _OTHERS:
            return 0
        named = bool(set(self.words) & set(names))
        known = readings(self.unit, kind) if self.unit else {}
        if known and kind not in known:
            # A gaussmeter on an analogue input.
            return int(named and kind == "field" and "voltage" in known)
        return 2 * (kind in known) + named

    @property
    def harmonic(self) -> int | None:
        """The harmonic that the name has, as in "X2", "Y_2f (V)", "second harmonic"."""
        found = next((match for pattern in _HARMONICS if (match := pattern.search(self.name))), None)
        return None if found is None else _ORDINALS.get(found[1].lower(), None)


def propose(path: Path, device: Device | None = None) -> str:
    """Return the text of an experiment file for a table.

    Args:
      path: of the table.
      device: whose experiments it may be of; None: not known.
    Raises:
      DataError: the file cannot be read, or has no table.
      InputError: a database.
    """
    if path.suffix.lower() in DATABASES:
        raise InputError(
            f"{path.name}: a database has parameters with names and units of their own; write the experiment file by "
            "hand, with those names as columns"
        )
    if not path.is_file():
        raise no_file(path)
    sheet, form, preset = _open(path)
    columns, either = _columns(sheet)
    roles = _roles(columns, preset)
    twice = [name for name, count in Counter(sheet.names).items() if name and count > 1]
    if twice and not set(HARMONICS) & set(roles):
        raise DataError(
            [
                f"{sheet.place}: columns {', '.join(twice)} are there more than once, as in tables side by side; "
                "expected each name once: save each table by itself, or give its columns other names"
            ]
        )
    parameter = _parameter(sheet) if "current" not in roles else None
    file, size = _named(path) if "current" not in roles and parameter is None else (path.name, "")
    beside = "the folder of the data" if "/" in file else "the data"
    lines = _comment(
        f"Proposed for '{path.name}', {preset.title if preset else 'a plain table'} of {len(sheet.rows)} points. Lines "
        'with "#?" are questions that the file does not answer: put in the answer and take "#? " away. Then save this '
        f"beside {beside}, say as sweeps.toml, and run: thermospin sweeps DEVICE sweeps.toml"
    )
    lines.append("")
    if preset is not None:
        lines += [f'format = "{preset.name}"', *_comment(f"It says: {preset.says}.")]
        lines += [*_comment(f"It does not say: {preset.asks}."), ""]
    elif form.comment != "#":
        lines.append(f"comment = {toml_string(form.comment)}")
    if either:
        lines.append(f'#? decimal = ","    # if {either}; else write the table again with nothing between thousands')
    if twice:
        lines += _comment(f"Not read, because they are there more than once: {', '.join(twice)}.")
    lines += _conventions(preset)
    lines += _tables(roles, columns, preset, parameter, path)
    lines += _entry(file, size, form, device)
    if "current" not in roles and parameter is None and not size:
        lines.append('#? current = ""    # such as "1 mA": the file does not say')
    lines += ["", *_comment(_FIRST)]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, 116, initial_indent="# ", subsequent_indent="# ")


def _named(path: Path) -> tuple[str, str]:
    """Return the name of a file, {current} in it if it or its folder has one, and the current as it stands there."""
    if inside := current_in(path.name):
        start, end, size = inside
        return path.name[:start] + CURRENT + path.name[end:], size
    folder = path.resolve().parent.name
    if inside := current_in(folder):
        start, end, size = inside
        return f"{folder[:start]}{CURRENT}{folder[end:]}/{path.name}", size
    return path.name, ""


def _open(path: Path) -> tuple[Sheet, TextForm, Format | None]:
    """Return the first table of a file, its form and format."""
    faults: list[str] = []
    for name in sheets_of(path):
        lines = read_lines(path, name)
        preset = recognise(lines)
        for comment in _COMMENTS if preset is None else _COMMENTS[:1]:
            form = TextForm(comment=comment, sheet=name)
            try:
                return open_sheet(path, form, preset, {}), form, preset
            except DataError as error:
                faults += error.faults
    raise DataError(dict.fromkeys(faults))


def _columns(sheet: Sheet) -> tuple[list[_Found], str]:
    """Return the columns, and what a number is whose comma may be between thousands; "" where none is like that."""
    found, either = [], ""
    for name in dict.fromkeys(name for name in sheet.names if name):
        try:
            numbers = _numbers(sheet, name)
        except Thousands as error:
            if not error.either:
                raise
            either = either or f"{error.either} is {error.either.replace(',', '.')}"
            numbers = _numbers(sheet, name, ",")
        unit = sheet.unit(name)
        bare = re.sub(r"\s*[(\[][^()\[\]]*[)\]]\s*$", "", name) if unit and name not in sheet.units else name
        bare = re.sub(r"(?i)out[ -]of[ -]phase", "quadrature", re.sub(r"(?i)in[ -]phase", "inphase", bare))
        found.append(_Found(name, unit, tuple(word.lower() for word in _WORDS.findall(bare)), numbers))
    return found, either


def _numbers(sheet: Sheet, name: str, decimal: str | None = None) -> np.ndarray | None:
    """Return the numbers of a column, None for one of text.

    Raises:
      Thousands: the sign of their fractions has to be stated.
    """
    try:
        return select(sheet, {"field": name}, decimal=decimal).columns["field"]
    except Thousands:
        raise
    except DataError:
        return None


def _roles(columns: Sequence[_Found], preset: Format | None) -> dict[str, list[_Found]]:
    """Return what each key may be, the most likely column first; keys without a candidate are not there."""
    roles: dict[str, list[_Found]] = {}
    known = preset.columns if preset else {}
    for key, names in (("field", _FIELD), ("current", _CURRENT)):
        stated = [column for name in known.get(key, ()) for column in columns if column.name == name]
        scored = [(column.is_a(key, names), column) for column in columns]
        if key == "field":
            scored = [(score, column) for score, column in scored if column.varies]
        else:
            scored = [(score, column) for score, column in scored if score and np.all(column.finite > 0)]
        likely = [column for score, column in sorted(scored, key=lambda pair: -pair[0]) if score]
        if stated or likely:
            roles[key] = stated or likely
    taken = {id(column) for found in roles.values() for column in found[:1]}
    voltages = [
        (column.is_a("voltage", _VOLTAGE), column) for column in columns if id(column) not in taken and column.varies
    ]
    for key, n in HARMONICS.items():
        of_it = [(score, column) for score, column in voltages if score and column.harmonic == n]
        # Of two quadratures, the one with the larger signal.
        of_it.sort(key=lambda pair: (-pair[0], -float(np.median(np.abs(pair[1].finite)))))
        if of_it:
            roles[key] = [column for _, column in of_it]
    if not set(HARMONICS) & set(roles):
        unnumbered = [column for score, column in voltages if score and column.harmonic is None]
        if unnumbered:
            roles["V1"] = unnumbered
    sweep = [
        column
        for column in columns
        if set(column.words) & _SWEEP
        and (column.numbers is None or len(np.unique(column.finite)) > 1)
        and (column.numbers is None or len(np.unique(column.finite)) <= _FEW * len(column.finite))
    ]
    return roles | ({"sweep": sweep} if sweep else {})


def _conventions(preset: Format | None) -> list[str]:
    lines = []
    for key, what in (("current_is", "of the ac current"), ("voltage_is", "what the lock-in shows")):
        known = getattr(preset, key) if preset else None
        if known:
            lines.append(f'# {key} = "{known}" by the format')
        else:
            lines.append(f'#? {key} = "rms"    # or "peak": {what}')
    lines.append('#? polarity = "known"    # or "unknown": then the signs of the voltages mean nothing')
    return [*lines, *(line for said in (FACTORS, OF_X_AND_Y) for line in _comment(f"{said[0].upper()}{said[1:]}.")), ""]


def _tables(
    roles: dict[str, list[_Found]],
    columns: Sequence[_Found],
    preset: Format | None,
    parameter: tuple[str, str] | None,
    path: Path,
) -> list[str]:
    """Return the lines of [columns]."""
    lines = []
    if "sweep" in roles:
        lines += ["[columns]", f"sweep = {toml_string(roles['sweep'][0].name)}    # changes from sweep to sweep", ""]
    for key in ("field", "current", *HARMONICS):
        if key == "current" and parameter is not None:
            name, value = parameter
            lines += ["[columns.current]", f"parameter = {toml_string(name)}    # {value}", ""]
        elif key in roles:
            lines += [*_column(key, roles[key]), ""]
        elif key in ("field", "V1", "V2"):
            lines += [*_missing(key, path, preset), ""]
    used = {found[0].name for found in roles.values()}
    left = [column.name for column in columns if column.name not in used]
    return lines + ([*_comment(f"Not used: {', '.join(left)}"), ""] if left else [])


def _missing(key: str, path: Path, preset: Format | None) -> list[str]:
    """Return what to write for a key that no column is named like."""
    other = path.name.replace("demods_0_", "demods_1_")
    if preset is not None and preset.name == "labone" and key == "V2" and (path.parent / other).is_file():
        lines = [f"#? [columns.{key}]    # if demodulator 1 was at the second harmonic", '#? column = "y"    # or "x"']
        return [*lines, f"#? file = {toml_string(other)}", _question(HARMONICS[key], {"y"})]
    if key in HARMONICS:
        return [f"# No column is named like harmonic {HARMONICS[key]}. Where one is it, it needs a [columns.{key}]."]
    return ["# No column is named like a field.", f"#? [columns.{key}]", '#? column = "B (mT)"']


def _column(key: str, found: Sequence[_Found]) -> list[str]:
    """Return the lines of one column: its name, its unit, and what is not known of it."""
    column, kind = found[0], kind_of(key)
    known = readings(column.unit, kind) if column.unit else {}
    ends = f"{np.min(column.finite):.4g} to {np.max(column.finite):.4g}"
    others = ", ".join(f"{other.name}{_other_phase(key, column, other)}" for other in found[1:])
    lines = [
        f"[columns.{key}]",
        f"column = {toml_string(column.name)}    # {ends}" + (f"; or {others}?" if others else ""),
    ]
    if key == "field" and "voltage" in known and kind not in known:
        lines += ['unit = "T"', "#? gain = 0    # how many volts of this input are one tesla"]
    elif kind in known:
        lines.append(f"unit = {toml_string(column.unit)}    # by the file")
    else:
        example = {"field": "mT", "current": "mA", "voltage": "V"}[kind]
        said = f': "{column.unit}"' if column.unit else ""
        lines.append(f'#? unit = "{example}"    # the file does not say{said}')
    if key not in HARMONICS:
        return lines
    n = HARMONICS[key]
    lines.append(_question(n, set(column.words)))
    lines.append("# gain = 100    # of an amplifier before the lock-in, where its numbers are not divided by it")
    if column.harmonic is None:
        phase = _phases(2, set(column.words))[0][0]
        lines[0] += f"    # or [columns.V2], with phase = {phase:g}: the name does not say which harmonic it is"
        lines = [line if line.startswith("#") else f"#? {line}" for line in lines]
    return lines


def _other_phase(key: str, column: _Found, other: _Found) -> str:
    """Return the phase of a column that may be meant in place of another one, where it has another phase."""
    if key not in HARMONICS:
        return ""
    phase, instead = (_phases(HARMONICS[key], set(each.words))[0][0] for each in (column, other))
    return "" if phase == instead else f" with phase = {instead:g}"


def _phases(n: int, words: Set[str]) -> list[tuple[float, float]]:
    """Return the two phases that a column of harmonic n may have, each with the reference phase of its lock-in."""
    ahead = 90 if words & _QUADRATURE else 0
    references = sorted((_turn(PHASES[n] + half - ahead) for half in (0, 180)), key=abs)
    return [(_turn(reference + ahead), reference) for reference in references]


def _turn(angle: float) -> float:
    """Return an angle [degrees] above -180 and up to 180."""
    return 180 - (180 - angle) % 360


def _question(n: int, words: Set[str]) -> str:
    """Return the line that asks for the phase of a column with these words in its name."""
    (phase, reference), (other, turned) = _phases(n, words)
    name = "Y" if words & _QUADRATURE else "X"
    line = f"#? phase = {phase:g}    # {name} of a lock-in at reference phase {reference:g}; {other:g} if that is "
    unnamed = n == 2 and not words & (_QUADRATURE | _IN_PHASE)
    return f"{line}{turned:g}" + (", and for Y at 0" if unnamed else "")


def _parameter(sheet: Sheet) -> tuple[str, str] | None:
    """Return name and value of a parameter of the file that is a current."""
    for name, value in sheet.parameters.items():
        words = {word.lower() for word in _WORDS.findall(name)}
        unit = value.split()[-1] if value.split() else ""
        if words & _CURRENT and not words & _OTHERS and "current" in readings(unit, "current"):
            return name, value
    return None


def _entry(file: str, size: str, form: TextForm, device: Device | None) -> list[str]:
    """Return the lines of [[sweeps]]; `size` is the current in the name of the file, "" without one."""
    lines = ["[[sweeps]]"]
    usable = [] if device is None else [one.name for one in device.experiments.values() if not no_sweeps_of(one)]
    if len(usable) == 1:
        lines.append(f"experiment = {toml_string(usable[0])}")
    else:
        allowed = f"one of: {', '.join(usable)}" if usable else "its name in the device file"
        lines.append(f"#? experiment = {toml_string(usable[0] if usable else 'nonlocal')}    # {allowed}")
    lines.append(
        f"file = {toml_string(file)}" + (f"    # here {size}; with * for other parts, all such files" if size else "")
    )
    if form.sheet is not None:
        lines.append(f"sheet = {toml_string(form.sheet)}")
    return lines
