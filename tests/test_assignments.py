"""Text of the command line to priors, bounds and ties in SI units."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from thermospin.cli import assignments
from thermospin.device.device import Tie


def test_priors_bounds_and_ties_take_units() -> None:
    assert assignments.priors(["Py.S_s = -3.8 uV/K +- 0.5 uV/K", "wide:zeta=3±0.1"]) == {
        "Py.S_s": (-3.8e-6, 0.5e-6),
        "wide:zeta": (3.0, 0.1),
    }
    assert assignments.bounds(["Py.lambda_sf = 1 nm .. 20 nm", "Py.S_s = .. 0", "zeta = 1 .."]) == {
        "Py.lambda_sf": (1e-9, 20e-9),
        "Py.S_s": (-math.inf, 0.0),
        "zeta": (1.0, math.inf),
    }
    assert assignments.ties(["Cu.S = 0.5 * Au.S", "a:zeta = zeta"]) == [
        Tie("Cu.S", "Au.S", 0.5),
        Tie("a:zeta", "zeta", 1.0),
    ]


def test_a_device_of_a_series_is_named_with_the_value_that_tells_it_apart() -> None:
    far = "two gap=150nm, bath=10K"
    assert assignments.bounds([f"{far}:zeta = 0.5 .. 2"]) == {f"{far}:zeta": (0.5, 2.0)}
    assert assignments.priors([f"{far}:zeta=3+-0.1"]) == {f"{far}:zeta": (3.0, 0.1)}
    (face,) = assignments.dimensions([f"{far}:z = 15 nm +- 1 nm"])
    assert (face.device, face.axis, face.at) == (far, 2, pytest.approx(15e-9))
    near = "two gap=50nm"
    assert assignments.ties([f"{far}:zeta = 2 * {near}:zeta", f"{far}:zeta = zeta", f"zeta = {near}:zeta"]) == [
        Tie(f"{far}:zeta", f"{near}:zeta", 2.0),
        Tie(f"{far}:zeta", "zeta", 1.0),
        Tie("zeta", f"{near}:zeta", 1.0),
    ]
    with pytest.raises(ValueError, match="expected NAME = LOWER"):
        assignments.bounds([f"{far}:zeta"])


@pytest.mark.parametrize(
    ("form", "text", "words"),
    [
        (assignments.priors, "Py.P", "expected NAME = MEAN"),
        (assignments.priors, "Py.P = 0.25", "which is none"),
        (assignments.priors, "Py.p = 0.25 +- 0.02", "whose name ends in 'p'; did you mean 'P'"),
        (assignments.priors, "Py.P = a +- b", 'got "a"'),
        (assignments.priors, "Py.S_s = -3.8 nm +- 0.5 uV/K", "Seebeck"),
        (assignments.priors, "Py.P = +- 0.1", 'got ""'),
        (assignments.priors, "Py.P = 0.1 +- 0", "whose std is not above 0"),
        (assignments.bounds, "Py.P = 0.1", "expected NAME = LOWER"),
        (assignments.bounds, "Py.P = 0.1 .. 0.2 .. 0.3", "which is none"),
        (assignments.ties, "Cu.S", "expected NAME = FACTOR"),
        (assignments.ties, "Cu.S = * Au.S", 'got ""'),
        (assignments.ties, "Cu.S = 2 *", "which is none"),
    ],
)
def test_text_that_is_none_is_refused(form: Callable[[list[str]], Any], text: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        form([text, text])
    assert words in str(caught.value), str(caught.value)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gap = 60 +- 4", (60e-9, 4e-9)),
        ("gap = 60 +- 4 um", (60e-6, 4e-6)),
        ("gap = 0.06 um +- 0.004", (0.06e-6, 0.004e-6)),
        ("gap = 60 +- 10 %", (60e-9, 6e-9)),
        ("Py.S_s = -3.8 +- 0.5 uV/K", (-3.8e-6, 0.5e-6)),
        ("Py.S_s = 0 +- 1 uV/K", (0.0, 1e-6)),
        ("Py.S_s = -4 uV/K +- 10%", (-4e-6, 0.4e-6)),
        ("Py.P = 0.25 +- 10 %", (0.25, 0.025)),
        ("Py.P = 25 % +- 2", (0.25, 0.02)),
        ("zeta = 3 +- 0.1", (3.0, 0.1)),
    ],
)
def test_the_unit_of_one_number_holds_for_both(text: str, expected: tuple[float, float]) -> None:
    (found,) = assignments.priors([text], "nm").values()
    assert found == pytest.approx(expected, rel=1e-12)


def test_bounds_and_dimensions_share_units_too() -> None:
    assert assignments.bounds(["gap = 30 .. 150"], "nm")["gap"] == pytest.approx((30e-9, 150e-9))
    assert assignments.bounds(["Py.lambda_sf = 1 .. 20 nm"])["Py.lambda_sf"] == pytest.approx((1e-9, 20e-9))
    assert assignments.bounds(["Py.lambda_sf = 0 .. 20 nm"])["Py.lambda_sf"] == (0.0, 20e-9)
    (face,) = assignments.dimensions(["z = 15 +- 1"], "nm")
    assert (face.at, face.std) == pytest.approx((15e-9, 1e-9))


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (assignments.priors, "gap = 60 +- 4"),
        (assignments.priors, "Py.S_s = -3.8 +- 0.5"),
        (assignments.bounds, "Py.S_s = -10 .. 0"),
        (assignments.dimensions, "z = 15 +- 1"),
    ],
)
def test_a_number_without_a_unit_is_refused_where_one_belongs(form: Callable[[list[str]], Any], text: str) -> None:
    with pytest.raises(ValueError, match="which has no unit; expected"):
        form([text])


def test_a_parameter_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="the second one of zeta"):
        assignments.priors(["zeta = 1 +- 1", "zeta = 2 +- 1"])


def test_dimensions_take_an_axis_a_face_and_a_std() -> None:
    found = assignments.dimensions(["z = 15 nm +- 1 nm", "far:x=100nm±5 nm"])
    assert [(each.axis, each.device) for each in found] == [(2, ""), (0, "far")]
    assert found[0].at == pytest.approx(15e-9) and found[1].std == pytest.approx(5e-9)
    for text in ("z", "w = 1 nm +- 1 nm", "z = 1 nm", "z = 1 nm +- 0 nm"):
        with pytest.raises(ValueError, match="expected AXIS = FACE"):
            assignments.dimensions([text])
