"""What a column of a lock-in table is: its kind, its unit, its phase and gain, and signs that it is something else."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from thermospin.base import units
from thermospin.device.tables import Number, Part

#: Quantities that depend on the convention.
FACTORS = (
    "with the instantaneous current i = sqrt(2) I sin(wt), I its rms value, V = R1 i + R2 i^2 + R3 i^3 + R4 i^4 makes "
    "rms voltages V_1f = R1 I + 3/2 R3 I^3, V_2f = (R2 I^2 + 2 R4 I^4)/sqrt(2) at -90 degrees, V_3f = -R3 I^3/2; a "
    "peak current taken for an rms one makes R1 too small by sqrt(2) and R2 by 2"
)
HARMONICS = {"V1": 1, "V2": 2, "V3": 3}
#: Phase at which each harmonic of an instantaneous polynomial appears: V_nf sin(nwt + phase).
PHASES = {1: 0.0, 2: -90.0, 3: 0.0}
#: Of A sin(nwt + phi) a lock-in with the reference phase theta shows X = A cos(phi - theta), Y = A sin(phi - theta).
OF_X_AND_Y = (
    "the phase of an X column is the reference phase of the lock-in, that of a Y column 90 more: of Y2 at reference "
    "phase 0 it is 90"
)
#: Least and largest size that a column reaches, in SI units: beyond, it is in another unit than stated.
REACH = {"field": (1e-6, 50.0), "voltage": (1e-12, 10.0), "current": (1e-9, 1.0)}
#: Units of fields that are not those of a flux density, or that pint reads as something else ("G" as a constant) [T].
_FIELDS = {
    prefix + unit: factor * size
    for unit, size in {"Oe": 1e-4, "G": 1e-4, "Gs": 1e-4, "gauss": 1e-4, "A/m": 4e-7 * math.pi}.items()
    for prefix, factor in {"": 1.0, "k": 1e3, "m": 1e-3}.items()
}
#: Units as programs spell them.
_SPELLED = {
    "volt": "V", "volts": "V", "millivolt": "mV", "millivolts": "mV", "microvolt": "uV", "microvolts": "uV",
    "amp": "A", "amps": "A", "ampere": "A", "amperes": "A", "milliamps": "mA", "microamps": "uA",
    "tesla": "T", "oersted": "Oe", "gauss": "G", "gs": "G",
}  # fmt: skip


class Column(Part):
    """An entry of [columns] in an experiment file.

    Attributes:
      column: its name; None: the preset knows it.
      unit: of its numbers; None: the file says it.
      phase: of a harmonic [degrees].
      gain: of an amplifier before the lock-in; of a field that was recorded as a voltage, volts per unit of field.
      part: of complex numbers.
      parameter: of a header, in place of a column: one number for the whole file.
      file: that has the column, where it is another one than that of the field.
    """

    column: str | None = None
    unit: str | None = None
    phase: Number | None = None
    gain: Number | None = None
    part: Literal["real", "imag"] | None = None
    parameter: str | None = None
    file: str | None = None


def kind_of(key: str) -> str:
    """Return the kind of quantity of a key of [columns]."""
    return key if key in ("field", "current") else "voltage"


def unit_size(unit: str, kind: str, key: str = "") -> float:
    """Return SI units per unit; oersted and A/m are taken for the flux density that they make in vacuum.

    Raises:
      units.UnitError: no unit of that kind; its message begins with `key`.
    """
    spelled = _SPELLED.get(unit.lower(), unit)
    size = _FIELDS.get(spelled) if kind == "field" else None
    return units.scale(spelled, kind, key=key) if size is None else size


def readings(unit: str, expected: str = "") -> dict[str, float]:
    """Read a text as a unit, by kind; empty for other text.

    Args:
      unit: as a file has it.
      expected: the kind that a single letter is taken for: the one in "X1 (A)" is as likely to be a name as an ampere,
        and T a temperature.
    """
    found = {}
    for kind in REACH if unit not in ("A", "T") else (expected,):
        try:
            found[kind] = unit_size(unit, kind)
        except (units.UnitError, KeyError):
            continue
    return found


def faults_of(key: str, column: Column, place: str) -> list[str]:
    """List what is wrong with an entry before its file is read; `place` is what messages call it."""
    faults = []
    if column.unit is not None:
        try:
            unit_size(column.unit, kind_of(key), f"{place}.unit")
        except units.UnitError as error:
            faults.append(str(error))
    if column.gain is not None and not 0 < column.gain < math.inf:
        what = "volts of the recorded signal per unit" if key == "field" else "that of the amplifier before the lock-in"
        faults.append(f"{place}.gain: got {column.gain:g}, expected {what}, above 0")
    if column.parameter is not None and (key != "current" or column.column is not None):
        faults.append(
            f"{place}.parameter: only a current may be one, in place of a column; it is one number for a file"
        )
    if key not in HARMONICS:
        return faults
    n = HARMONICS[key]
    phase, other = PHASES[n], 180 - (-PHASES[n] % 360)
    if column.phase is None:
        faults.append(
            f"{place}.phase: missing, expected the phase of the column in degrees, {phase:g} (or {other:g}, for the "
            f"opposite sign) against sin({'' if n == 1 else n}wt); {OF_X_AND_Y}: {FACTORS}"
        )
        return faults
    turned = _turned(n, column.phase)
    if abs(abs(turned) - 90) < 60 and abs(turned) not in (0.0, 180.0):
        faults.append(
            f"{place}.phase: got {column.phase:g}, where harmonic {n} of a polynomial in the current has no signal; "
            f"expected {phase:g} or {other:g}; {OF_X_AND_Y}: {FACTORS}"
        )
    elif abs(turned) not in (0.0, 180.0):
        faults.append(f"{place}.phase: got {column.phase:g}, expected {phase:g} or {other:g}, rotate the data first")
    return faults


def _turned(n: int, phase: float) -> float:
    return (phase - PHASES[n] + 180) % 360 - 180


def factor(key: str, column: Column, unit: str, recorded: str | None = None) -> float:
    """Return SI units, with the sign of the phase, per number of a column without faults."""
    size = unit_size(unit, kind_of(key)) / (1.0 if column.gain is None else column.gain)
    if key == "field" and recorded is not None:
        # Recorded as a voltage: the gain is volts per unit.
        size *= readings(recorded).get("voltage", 1.0)
    if key not in HARMONICS or column.phase is None or abs(_turned(HARMONICS[key], column.phase)) < 90:
        return size
    return -size


def unit_of(key: str, column: Column, recorded: str | None, source: str, faults: list[str]) -> str | None:
    """Return the unit of a column, stated or recorded in the file; None, and a fault, without or with two of them."""
    kind, name = kind_of(key), column.column or column.parameter or key
    example = units.KINDS[kind].example.partition(" ")[2]
    found = {} if recorded is None else readings(recorded, kind)
    if column.unit is None:
        if recorded is None:
            faults.append(
                f"{source}: the file has no unit for column '{name}' for {key}; state it: unit = \"{example}\""
            )
        elif kind not in found and found:
            faults.append(
                f"{source}: column '{name}' for {key} is in \"{recorded}\" by the file itself, expected "
                f"{units.KINDS[kind].label}{_per_volt(key, found)}"
            )
        elif kind not in found:
            faults.append(
                f"{source}: column '{name}' for {key}: got unit \"{recorded}\" in the file, expected that of "
                f'{units.KINDS[kind].label}; state it: unit = "{example}"'
            )
        return recorded if kind in found else None
    volts_of_a_field = key == "field" and "voltage" in found and column.gain is not None
    if found and not volts_of_a_field:
        if abs(found.get(kind, math.inf) / unit_size(column.unit, kind) - 1) > 1e-6:
            advice = _AMPLIFIER if kind == "voltage" else "; leave unit out, or correct it"
            faults.append(
                f"{source}: column '{name}' for {key} is in \"{recorded}\" by the file itself, "
                f'unit = "{column.unit}" is stated{_per_volt(key, found) or advice}'
            )
            return None
    return column.unit


_AMPLIFIER = "; an amplifier before the lock-in is stated as gain = 100"


def _per_volt(key: str, found: dict[str, float]) -> str:
    return (
        '; a field recorded as a voltage: unit = "T", gain = volts per tesla'
        if key == "field" and "voltage" in found
        else ""
    )


def out_of_reach(key: str, column: Column, unit: str, values: np.ndarray, source: str) -> list[str]:
    """List signs that a column is not what is stated, by its size in SI units."""
    kind, name = kind_of(key), column.column or column.parameter or key
    if np.any(np.isinf(values)):
        return [f"{source}: column '{name}' has infinite numbers, expected finite ones"]
    size = float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0))
    least, largest = REACH[kind]
    if np.any(np.isfinite(values)) and not least <= size <= largest:
        return [
            f"{source}: column '{name}' for {key} reaches {size:.3g} {units.KINDS[kind].unit}, expected "
            f'between {least:g} and {largest:g}; is it in "{unit}"?'
        ]
    return []
