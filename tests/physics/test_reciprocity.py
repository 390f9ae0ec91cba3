"""Onsager's relations of the discrete problem, in every magnetic state, to the tolerance of the solves.

Drive and probe of a port are one vector, so that both responses are the same number of the symmetric inverse: of a heat
port (power in a solid, its mean temperature; a held contact, what it gives out) and a charge port (a current, the
voltage between the same contacts). Signals are wrong by the products of two errors of fields: 1e-9 is allowed.
"""

from __future__ import annotations

import pytest

from helpers import heated
from helpers.heated import experiment, through
from thermospin import model
from thermospin.signals.evaluate import measure

T0 = 300.0
PORT = ("bottom", "top")


def close(value: float, rel: float) -> object:
    return pytest.approx(value, rel=rel, abs=0.0)


@pytest.fixture(scope="module")
def found():
    """All pairs of ports on one grid."""
    made = [
        experiment("V of hot", power={"hot": 1.0}, voltage=PORT),
        experiment("hot of I", current=PORT, temperature=("hot",)),
        experiment("V of F2", power={"F2": 1.0}, voltage=PORT),
        experiment("F2 of I", current=PORT, temperature=("F2",)),
        experiment("V of warm", heat={"h+": 1.0}, voltage=PORT),
        experiment("heat of I", current=PORT, through=through("heat", "hot", "cap+")),
        experiment("heat over oxide", current=PORT, through=through("heat", "cap+", "oxide")),
        experiment("V of both", power={"hot": 1.0, "F1": -1.0}, voltage=PORT),
        experiment("both of I", current=PORT, temperature=("hot", "F1")),
        experiment("T of T", power={"hot": 1.0}, temperature=("F1",)),
        experiment("T of T back", power={"F1": 1.0}, temperature=("hot",)),
        experiment("V of I", current=("h+", "h-"), voltage=PORT),
        experiment("V of I back", current=PORT, voltage=("h+", "h-")),
    ]
    return measure(model.build(heated.device(*made), cells=250, order=1), tolerance=2e-11).experiments


@pytest.mark.parametrize("state", list(heated.STATES))
def test_seebeck_and_peltier_responses_are_one_number(found, state):
    """R_TV = T0 R_VT, with power in a solid and its mean temperature as the heat port."""
    for seebeck, peltier in (("V of hot", "hot of I"), ("V of F2", "F2 of I"), ("V of both", "both of I")):
        V, T = found[seebeck]["R1"][state], found[peltier]["R1"][state]
        assert T == close(T0 * V, 1e-8)
        assert abs(T) > 1.0  # kelvins per ampere
    # the control: not so at second order
    assert abs(found["hot of I"]["R2"][state]) > 0


@pytest.mark.parametrize("state", list(heated.STATES))
def test_the_voltage_of_a_warm_contact_is_the_heat_that_it_gives_out(found, state):
    """V/T of a contact = (heat out of it)/(T0 I): the cap before it passes on what comes from its two neighbours."""
    out = found["heat of I"]["R1"][state] - found["heat over oxide"]["R1"][state]
    assert out == close(T0 * found["V of warm"]["R1"][state], 1e-7)
    assert abs(out) > 1e-9


@pytest.mark.parametrize("state", list(heated.STATES))
def test_ports_of_one_kind_are_reciprocal(found, state):
    assert found["T of T"]["R1"][state] == close(found["T of T back"]["R1"][state], 1e-8)
    # two circuits that heat alone joins: Peltier heat of one makes a thermal voltage in the other
    there, back = (found[name]["R1"][state] for name in ("V of I", "V of I back"))
    assert there == close(back, 1e-6)
    assert abs(there) > 1e-6


def test_states_differ_and_reversing_all_magnets_changes_nothing(found):
    for name in ("V of hot", "hot of I", "V of F2", "V of warm", "heat of I", "T of T"):
        row = found[name]["R1"]
        assert row["ALL"] == close(row["P"], 1e-8)
        assert row["PA"] == close(row["AP"], 1e-8)
    row = found["V of hot"]["R1"]
    assert abs(row["P"] / row["AP"] - 1) > 1e-4
