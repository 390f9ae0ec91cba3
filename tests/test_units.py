"""Quantities with units: what they become, and what a wrong one is told."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermospin.base.units import KINDS, UnitError, parse, scale


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (5, "length", 5e-9),
        ("5 nm", "length", 5e-9),
        ("0.1 um", "length", 100e-9),
        ("27 degC", "temperature", 300.15),
        ("-3.8 uV/K", "seebeck", -3.8e-6),
        ("4.32e6 S/m", "conductivity", 4.32e6),
        ("30 W/(m K)", "thermal_conductivity", 30.0),
        (30, "thermal_conductivity", 30.0),
        ("25 %", "number", 0.25),
        ("90 uohm", "R1", 90e-6),
        ("7.69 uV/mA^2", "R2", 7.69),
        ("-15.6 nV/mA²", "R2", -15.6e-3),
        ("2 V/A^3", "R3", 2.0),
        ("2 V/A^4", "R4", 2.0),
    ],
)
def test_a_value_becomes_si(value: object, kind: str, expected: float) -> None:
    assert parse(value, kind, length_unit="nm") == expected


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ("5 K", "length", ['"5 K"', "is a temperature", "expected a length", '"5 nm"']),
        ("5", "length", ["no unit"]),
        ("30 W/mK", "thermal_conductivity", ["millikelvin", '"30 W/(m K)"']),
        ("5 banana", "length", ['unit "banana" is not known']),
        ("9 mOhm", "R1", ['did you mean "mohm"?']),
        ("five nm", "length", ["does not start with a number"]),
        ("nan nm", "length", ["not a finite number"]),
        (float("nan"), "number", ["not a finite number"]),
        (float("inf"), "length", ["not a finite number"]),
        (10**400, "length", ["not a finite number"]),
        ("1e400 nm", "length", ["not a finite number"]),
        (True, "length", ["neither a number nor a string"]),
        ([1], "length", ["neither a number nor a string"]),
        ("9 m^9^9^9", "length", ["is not known"]),
        ("9 9**9**9", "length", ["is not known"]),
    ],
)
def test_a_wrong_value_is_told_what_was_found_and_what_is_expected(value: object, kind: str, words: list[str]) -> None:
    with pytest.raises(UnitError) as caught:
        parse(value, kind, length_unit="nm", key="solids[0].box.x")
    message = str(caught.value)
    assert message.startswith("solids[0].box.x: got ")
    assert all(word in message for word in words), message


def test_a_unit_alone_has_to_be_of_the_kind_asked_for() -> None:
    assert scale("um", "length") == 1e-6
    assert scale("nV/mA^2", "R2") == 1e-3
    with pytest.raises(UnitError, match='length_unit: got "K", which is a temperature; expected .* such as "nm"'):
        scale("K", "length", key="length_unit")
    with pytest.raises(UnitError, match='unit: got "ohm", which is a first-harmonic .* such as "nV/mA.2"'):
        scale("ohm", "R2", key="unit")


@pytest.mark.parametrize("kind", KINDS)
def test_every_example_in_a_message_is_accepted(kind: str) -> None:
    assert parse(KINDS[kind].example, kind) != 0


@given(st.integers(-(10**6), 10**6), st.integers(0, 3))
def test_the_same_length_written_in_two_units_is_the_same_float(nanometres: int, digits: int) -> None:
    number = nanometres / 10**digits
    assert parse(number, "length", length_unit="nm") == parse(f"{number / 1000!r} um", "length")


@given(st.text(max_size=30))
def test_any_text_is_either_a_length_or_a_unit_error(text: str) -> None:
    try:
        assert isinstance(parse("3 " + text, "length"), float)
    except UnitError as error:
        assert "expected a length" in str(error)


def test_pint_is_imported_only_for_a_string_with_a_unit() -> None:
    code = "import sys, thermospin.base.units as u; u.parse(3.0, 'seebeck'); sys.exit('pint' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
