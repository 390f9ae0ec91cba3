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


@pytest.mark.parametrize(
    ("form", "text", "words"),
    [
        (assignments.priors, "Py.P", "expected NAME = MEAN"),
        (assignments.priors, "Py.P = 0.25", "which is none"),
        (assignments.priors, "Py.p = 0.25 +- 0.02", "whose name ends in 'p'; did you mean 'P'"),
        (assignments.priors, "Py.P = a +- b", 'got "a"'),
        (assignments.priors, "Py.S_s = -3.8 nm +- 0.5 uV/K", "Seebeck"),
        (assignments.priors, "Py.P = +- 0.1", 'got ""'),
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
