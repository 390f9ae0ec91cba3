"""Named dimensions in device files: what expressions mean, and what is said of those that mean nothing."""

from __future__ import annotations

import pytest

from helpers.devices import VALVE
from thermospin.base.units import UnitError
from thermospin.device import reader
from thermospin.device.device import DeviceError, stretched
from thermospin.device.reader import load
from thermospin.geometry import dimensions
from thermospin.geometry.dimensions import Coordinate, ExpressionError

"""A spin valve whose every coordinate is made of dimensions; contacts grow unevenly when its layers do."""

KNOWN = {"a": Coordinate(0.0, (("a", 1.0),)), "b": Coordinate(0.0, (("b", 1.0),)), "c": Coordinate(3e-9, (("a", 2.0),))}
KNOWN |= {name: Coordinate(0.0, ((name, 1.0),)) for name in ("lambda", "\N{MICRO SIGN}x")}


@pytest.mark.parametrize(
    ("text", "constant", "slopes"),
    [
        ("a", 0.0, {"a": 1.0}),
        ("-a / 2 + 5", 5.0, {"a": -0.5}),
        ("2 * (a - b) + (1 + 2) * 4", 12.0, {"a": 2.0, "b": -2.0}),
        ("c / 3 - 1", 0.0, {"a": 2 / 3}),
        ("a - a + b", 0.0, {"b": 1.0}),
        ("+a * 1e3", 0.0, {"a": 1e3}),
        ("a + 7", 7.0, {"a": 1.0}),
        ("a / 2 + 50 nm", 50.0, {"a": 0.5}),
        ("2 * (0.1um - b) / 4 + 2e3nm", 2050.0, {"b": -0.5}),
        ("lambda - 25e3", -25e3, {"lambda": 1.0}),
        ("\N{MICRO SIGN}x", 0.0, {"\N{MICRO SIGN}x": 1.0}),
        ("a \N{MINUS SIGN} 2 * b", 0.0, {"a": 1.0, "b": -2.0}),
        ("\N{MINUS SIGN}\N{MICRO SIGN}x", 0.0, {"\N{MICRO SIGN}x": -1.0}),
        ("a\N{NO-BREAK SPACE}\N{EN DASH}\N{NARROW NO-BREAK SPACE}5 nm", -5.0, {"a": 1.0}),
        ("2 \N{MULTIPLICATION SIGN} a + 3\N{MIDDLE DOT}b", 0.0, {"a": 2.0, "b": 3.0}),
    ],
)
def test_an_expression_is_a_sum_of_dimensions(text: str, constant: float, slopes: dict[str, float]) -> None:
    found = dimensions.parse(text, KNOWN, 1e-9)
    assert found.constant == pytest.approx(constant * 1e-9, abs=1e-20)
    assert found.slopes == pytest.approx(slopes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a * b", "product of two lengths"),
        ("1 / a", "divides by a length"),
        ("a / 0", "by 0"),
        ("a ** 2", "more than sums"),
        ("a(a)", "more than sums"),
        ("a if b else 1", "no expression"),
        ("a.b", "more than sums"),
        ("'a' + b", "more than sums"),
        ("True + a", "'True' is no dimension"),
        ("a * 5 nm", "product of two lengths"),
        ("(a - a) * b", "product of two lengths"),
        ("b / (a - a + 2)", "divides by a length"),
        ("a + d", "'d' is no dimension"),
        ("a +", "no expression"),
        ("a * 1e999", "not finite"),
        ("-" * 5000 + "a", "no expression"),
    ],
)
def test_what_is_no_sum_is_told(text: str, words: str) -> None:
    with pytest.raises(ExpressionError, match=words.replace("*", r"\*")):
        dimensions.parse(text, KNOWN, 1e-9)


def test_coordinates_are_added_and_scaled() -> None:
    a, c = KNOWN["a"], KNOWN["c"]
    assert c + a == Coordinate(3e-9, (("a", 3.0),))
    assert c - 2 * a == Coordinate(3e-9)
    assert 0 * c == Coordinate(0.0)
    assert a - KNOWN["b"] == Coordinate(0.0, (("a", 1.0), ("b", -1.0)))


@pytest.mark.parametrize("text", ["5 nm", "5", "0.1 um", "", "1e3", "3 + 4", "\N{MINUS SIGN}5 nm"])
def test_a_quantity_is_no_expression(text: str) -> None:
    assert dimensions.names_in(text) is None


def test_a_device_moves_with_its_dimensions() -> None:
    device = reader.read(VALVE, "valve.toml")
    assert device.lengths() == pytest.approx(
        {"gap": 60e-9, "width": 40e-9, "height": 30e-9, "lead": 50e-9, "right_width": 25e-9, "rim": 6e-9}
    )
    assert (device.dimensions["gap"].std, device.dimensions["gap"].range) == (4e-9, (30e-9, 90e-9))
    moved = device.moved({"gap": 100e-9, "height": 10e-9})
    assert moved.solid("right").box == ((100e-9, 125e-9), (-26e-9, 20e-9), (0.0, 10e-9))
    assert moved.solid("base").box == ((-50e-9, 125e-9), (-26e-9, 26e-9), (-20e-9, 0.0))
    assert moved.moved({"gap": 60e-9, "height": 30e-9}) == device
    assert {"gap", "zeta", "Fe.P"} <= set(device.numbers()) and "gap" not in device.parameters()


def test_faces_know_what_moves_them() -> None:
    device = reader.read(VALVE, "valve.toml")
    faces, slopes = device.face_slopes(0)
    assert faces == pytest.approx([-50e-9, 0.0, 60e-9, 85e-9])
    assert slopes == [{"lead": -1.0}, {}, {"gap": 1.0}, {"gap": 1.0, "right_width": 1.0}]


def test_a_stretched_device_keeps_its_dimensions() -> None:
    device, _ = stretched(reader.read(VALVE, "valve.toml"), 0, 60e-9, 5e-9)
    assert device.solid("right").box[0] == pytest.approx((65e-9, 90e-9))
    assert device.moved({"gap": 70e-9}).solid("right").box[0] == pytest.approx((75e-9, 100e-9))


def test_faces_that_coincide_have_to_move_together() -> None:
    text = VALVE.replace('box = { x = ["gap", "far"]', 'box = { x = [60, "far"]')
    device = reader.read(text, "valve.toml")
    with pytest.raises(ValueError, match="x = 60 nm: the faces of 'wire' and 'right' .* move differently with 'gap'"):
        device.face_slopes(0)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('[0, "gap"]', '[0, "gpa"]', ["solid 'wire', box.x[1]", "'gpa' is no dimension; did you mean 'gap'?"]),
        ('"gap + right_width"', '"far + 1"', ["far follow each other in a circle"]),
        ("rim = 6", "rim = 6\nq = 3", ["dimension 'q': no coordinate uses it"]),
        ("width = 40\n", 'width = "40 K"\n', ["dimension 'width'", "which is a temperature"]),
        ("range = [30, 90]", "range = [70, 90]", ["dimension 'gap', range: got 70 to 90 nm", "holds 60 nm"]),
        ("std = 4", "sdt = 4", ["dimension 'gap': unknown key 'sdt'; did you mean 'std'?"]),
        ("std = 4", "std = -4", ["dimension 'gap', std: got -4e-09 m"]),
        ("lead = 50", "lead = [1, 2]", ["dimension 'lead'", "neither a number nor a string"]),
        ("lead = 50", "lead = -50", ["solid 'left', box.x", "expected low < high"]),
        ('[0, "gap"]', '[0, "gap * width"]', ["product of two lengths"]),
        ("right_width = 25", 'right_width = 25\n"a b" = 3\nzeta = 3', ["dimension 'a b'", "dimension 'zeta'"]),
        ("[dimensions]", '[dimensions]\nboth = { value = "gap", std = 2 }', ["std and range belong to the dimensions"]),
    ],
)
def test_faults_of_dimensions_are_told(old: str, new: str, words: list[str]) -> None:
    assert old in VALVE
    with pytest.raises(DeviceError) as caught:
        reader.read(VALVE.replace(old, new), "valve.toml")
    for each in words:
        assert each in str(caught.value)


def test_a_wrong_dimension_is_one_fault_and_not_one_for_each_solid() -> None:
    with pytest.raises(DeviceError) as caught:
        reader.read(VALVE.replace("width = 40\n", 'width = "40 K"\n'), "valve.toml")
    assert len(caught.value.faults) == 1


def test_a_move_that_leaves_no_device_is_told_with_where() -> None:
    device = reader.read(VALVE, "valve.toml")
    with pytest.raises(DeviceError, match=r"at gap = -10 nm: solid 'wire', box.x|at gap = -10 nm: solid 'wire'"):
        device.moved({"gap": -10e-9})
    with pytest.raises(ValueError, match="dimension 'gpa' does not exist; did you mean 'gap'"):
        device.moved({"gpa": 1e-9})


def test_the_shipped_device_is_what_it_was_before_its_dimensions_had_names() -> None:
    """Its printed sizes, and no two faces that part when a dimension changes."""
    device = load("slachter2010")
    assert device.solid("FM2").box == ((100e-9, 140e-9), (-75e-9, 75e-9), (0.0, 15e-9))
    assert device.solid("Cu_pad").box == ((440e-9, 640e-9), (-300e-9, 300e-9), (0.0, 60e-9))
    assert device.solid("contact2_on_FM1").box == ((-150e-9, 0.0), (-500e-9, -60e-9), (15e-9, 195e-9))
    for axis in range(3):
        device.face_slopes(axis)
    for name, each in device.dimensions.items():
        assert each.range is not None
        for end in each.range:
            assert len(device.moved({name: end}).solids) == len(device.solids)


def test_a_unit_in_an_expression_is_one_of_length() -> None:
    with pytest.raises(UnitError, match='got "3 K", which is a temperature; expected a length'):
        dimensions.parse("a + 3 K", KNOWN, 1e-9)
