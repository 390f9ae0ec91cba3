"""The self-check of a device: reciprocity between two different problems, and what it says of rough grids."""

from __future__ import annotations

import dataclasses

import pytest

from helpers import devices
from helpers.drives import all_kinds
from thermospin import model as models
from thermospin.accuracy import self_check
from thermospin.base.names import SignalName
from thermospin.signals import evaluate
from thermospin.signals.results import Errors


@pytest.fixture(scope="module")
def found() -> self_check.SelfCheck:
    device = devices.lateral("thermal")
    return self_check.self_check(models.build(device, cells=250, order=2))


def test_reciprocity_holds_to_the_error_of_the_fields(found):
    """3e-8 as in test_signals; and not to the last bit: the two readings come from different solves."""
    assert set(found.reciprocity) == {"thermal"}
    assert 0 < found.reciprocity["thermal"] < 3e-8
    assert found.passed


def test_reciprocity_sees_a_probe_that_is_not_the_adjoint_s():
    """The control: what is read is a thousandth more than what the adjoint was driven by."""
    made = models.build(devices.lateral("thermal"), cells=250, order=2)
    assert off_by_a_thousandth(made, "thermal", "probe") == pytest.approx(1e-3, rel=2e-3)


@pytest.mark.parametrize(("name", "part"), [("heat_voltage", "driven"), ("current_through_spin", "tested")])
def test_reciprocity_sees_a_reaction_that_is_not_the_adjoint_s(name: str, part: str):
    """The same of a temperature that is held and of the faces that a current passes."""
    made = models.build(all_kinds(name), cells=60, order=1)
    assert off_by_a_thousandth(made, name, part) == pytest.approx(1e-3, rel=2e-3)


def off_by_a_thousandth(made: models.Model, name: str, part: str) -> float:
    """The difference that the check finds where a part of the ports is 1.001 times what was solved for."""
    fields = evaluate.evaluate(made, {}, [(name, "R1.P")]).fields[name]
    problem = made.problems[name]
    wrong = dataclasses.replace(problem.ports, **{part: 1.001 * getattr(problem.ports, part)})
    return self_check._exchange(problem._replace(ports=wrong), made.completed({}), fields)


def test_a_fault_of_reciprocity_is_told_and_fails(found):
    broken = dataclasses.replace(found, reciprocity={"thermal": 1e-3})
    assert not broken.passed
    text = "\n".join(broken.words())
    assert "WHICH IS A FAULT" in text and "can NOT be trusted" in text


def test_it_says_in_words_how_good_every_signal_is(found):
    lines = found.words()
    text = "\n".join(lines)
    assert "Reciprocity of thermal: with current and voltage contacts exchanged R1 changes by" in lines[0]
    for signal in ("R1.P", "R1.AP", "R1.baseline", "R1.spin", "R2.P", "R2.AP", "R2.baseline", "R2.spin"):
        assert f"thermal {signal} to" in text
    assert lines[-1].startswith("Verdict: ")


@pytest.mark.parametrize(
    ("relative", "passed", "text"),
    [
        (0.01, True, "all numbers can be trusted within their error bars"),
        (0.2, True, "for the others refine: thermospin signals DEVICE --tolerance 5%"),
        (0.8, False, "these numbers can NOT be trusted"),
    ],
)
def test_the_verdict_goes_by_the_error_bars(found, relative, passed, text):
    errors = Errors(
        grid={name: relative * abs(value) for name, value in found.signals.values.items()},
        solver=dict.fromkeys(found.signals.values, 0.0),
    )
    made = dataclasses.replace(found, signals=dataclasses.replace(found.signals, errors=errors))
    assert made.passed == passed
    assert text in made.words()[-1]


def test_a_signal_that_is_zero_is_not_judged(found):
    values = {SignalName("thermal", 1, part): part != "spin" for part in ("P", "AP", "baseline", "spin")}
    ten = dict.fromkeys(values, 0.01)
    errors = Errors(grid=ten, solver=ten)
    made = dataclasses.replace(found, signals=dataclasses.replace(found.signals, values=values, errors=errors))
    assert made.passed and "R1.spin" not in "\n".join(made.words())
