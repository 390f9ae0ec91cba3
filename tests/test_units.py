"""Quantities with units: what they become, and what a wrong one is told."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermospin.base.units import (
    KINDS,
    UnitError,
    parse,
    parse_together,
    readable,
    readable_unit,
    response_scale,
    scale,
)


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
        ("9 fOhm m2", "resistance_area", 9e-15),
        ("120 W m-1 K-1", "thermal_conductivity", 120.0),
        ("2e6 1/(Ohm m)", "conductivity", 2e6),
        # As programs for texts write: the minus sign, spaces that do not break, the ohm sign, raised digits.
        ("\u22123.8 \u00b5V/K", "seebeck", -3.8e-6),
        ("\u20133.8\u00a0\u03bcV/K", "seebeck", -3.8e-6),
        ("5\u202fn\uff4d", "length", 5e-9),
        ("90 \u00b5\u2126", "resistance", 90e-6),
        ("1 GW/(m\u00b2 K)", "heat_conductance", 1e9),
        ("120 W m\u207b\u00b9 K\u207b\u00b9", "thermal_conductivity", 120.0),
    ],
)
def test_a_value_becomes_si(value: object, kind: str, expected: float) -> None:
    assert parse(value, kind, length_unit="nm") == expected


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ("5\u00b2 m", "length", ["whose unit"]),
        ("5\u2082 nm", "length", ["whose unit"]),
        ("5 K", "length", ['"5 K"', "is a temperature", "expected a length", '"5 nm"']),
        ("5", "length", ["no unit"]),
        ("30 W/mK", "thermal_conductivity", ["millikelvin", '"30 W/(m K)"']),
        ("5 banana", "length", ['unit "banana" is not known']),
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
    with pytest.raises(UnitError, match='length_unit: got "K", which is a temperature; expected .* such as "nm"'):
        scale("K", "length", key="length_unit")


@pytest.mark.parametrize(
    ("unit", "wanted", "expected"),
    [
        ("uohm", "V/A", 1e-6),
        ("uV/mA^2", "V/A^2", 1.0),
        ("nV/mA²", "V/A^2", 1e-3),
        ("nV/mA2", "V/A^2", 1e-3),
        ("mOhm", "V/A", 1e-3),
        ("m\u2126", "V/A", 1e-3),
        ("m\u03a9", "V/A", 1e-3),
        ("MOhm", "V/A", 1e6),
        ("V/A^3", "V/A^3", 1.0),
        ("mV/A^4", "V/A^4", 1e-3),
        ("nV/K", "V/K", 1e-9),
        ("nV/K^2", "V/K^2", 1e-9),
        ("mK/mW", "K/W", 1.0),
        ("uV/mW", "V/W", 1e-3),
        ("K/mA^2", "K/A^2", 1e6),
        ("nW/mA^2", "W/A^2", 1e-3),
        ("mW/K", "W/K", 1e-3),
        ("uA/K", "A/K", 1e-6),
        ("uA/mA", "A/A", 1e-3),
        ("mW / W", "W/W", 1e-3),
        ("nA/mA^2", "A/A^2", 1e-3),
        ("1/mA", "A/A^2", 1e3),
    ],
)
def test_the_unit_of_a_response_becomes_si(unit: str, wanted: str, expected: float) -> None:
    assert response_scale(unit, wanted, "R1") == expected


@pytest.mark.parametrize(
    ("unit", "wanted", "words"),
    [
        (
            "ohm",
            "V/A^2",
            ["which is a resistance", "unit of R2 of experiment 'x', V/A^2, such as \"nV/mA^2\""],
        ),
        ("V/K", "V/K^2", ["which is a Seebeck coefficient", 'V/K^2, such as "uV/K^2"']),
        ("V/A", "V/K", ['such as "uV/K"']),
        ("K/A^2", "K/W", ['such as "uK/mW"']),
        ("%", "A/A", ["which is no ratio of two units of A", 'such as "uA/A"']),
        ("", "A/A", ["which is no ratio of two units of A"]),
        ("K/K", "W/W", ["which is a temperature", 'such as "uW/W"']),
        ("mVolt/A", "V/A", ['"mVolt/A" is not known', 'such as "uohm"']),
        ("VOLT/AMPERE", "V/A", ['did you mean "volt/ampere"?']),
        ("nV/mA2^2", "V/A^2", ['"nV/mA2^2" is not known']),
        ("nV", "V/K", ["which is a voltage"]),
    ],
)
def test_a_wrong_unit_of_a_response_is_told_which_one_it_has(unit: str, wanted: str, words: list[str]) -> None:
    with pytest.raises(UnitError) as caught:
        response_scale(unit, wanted, "R2 of experiment 'x'")
    message = str(caught.value)
    assert message.startswith(f'got "{unit}", wh')
    assert all(word in message for word in words), message


PROBES, DRIVES = "VKAW", ("A", "K", "W")


@pytest.mark.parametrize("unit", [f"{p}/{d}{n}" for p in PROBES for d in DRIVES for n in ("", "^2", "^3", "^4")])
@pytest.mark.parametrize("value", [3.21e5, 12.0, -4e-2, 5.6e-5, 7e-9])
def test_a_printed_response_is_read_back(value: float, unit: str) -> None:
    """With five digits, in a unit that leaves one to three of them before the point where there is a prefix for it."""
    number, name = readable(value, unit).split(" ")
    assert float(number) * response_scale(name, unit, "R1") == pytest.approx(value, rel=1e-4)
    size = readable_unit(value, unit)[1]
    smallest, largest = readable_unit(1e-99, unit)[1], readable_unit(0.0, unit)[1]
    if smallest <= abs(value) < 1e3 * largest:
        assert 1 <= abs(value) / size < 1e3


def test_responses_are_printed_in_units_that_people_use() -> None:
    assert readable(-15.6e-3, "V/A^2", 1e-3) == "-15.6 +- 1 nV/mA^2"
    assert readable(3.2e-6, "V/K") == "3.2 uV/K"
    assert readable(1.5e4, "K/W") == "15 K/mW"
    assert readable(2.5e6, "K/A^2", 1e5) == "2.5 +- 0.1 K/mA^2"
    assert readable(-2e-6, "V/W") == "-2 nV/mW"
    assert readable(0.04, "A/A") == "40 mA/A"
    assert readable(0.2, "W/A^2") == "200 nW/mA^2"
    assert readable(0.0, "V/K") == "0 V/K"


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


def test_quantities_of_one_unit_may_have_signs_of_typesetters() -> None:
    assert parse_together(["\u22122", "1 nm"], "length") == [-2e-9, 1e-9]
