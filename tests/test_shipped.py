"""The devices that ship with the program: every value has a source, and their signals are what closed forms say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from typer.testing import CliRunner

from thermospin.cli import claims
from thermospin.cli.app import app
from thermospin.cli.machine import DEMOS
from thermospin.device.device import Device
from thermospin.device.parts import Experiment
from thermospin.device.provenance import sourced_values
from thermospin.device.reader import load, shipped_names
from thermospin.model import build
from thermospin.signals.evaluate import fields, measure
from thermospin.signals.results import Errors, Signals

NAMES = ("cross", "junction", "pillar", "slachter2010", "slachter2010-copper", "valve")
#: What sources begin with; "not a ferromagnet" is why P and S_s of a card are 0.
MARKS = ("paper", "read", "abstract", "database", "derived", "recalled", "assumed", "not a ferromagnet")
STATES: dict[str, dict[str, dict[str, int]]] = {
    "pillar": {"P": {}, "AP": {"free": -1}},
    "cross": {"P": {}, "AP": {"strip2": -1}},
}


def solved(device: Device, *experiments: str | Experiment, harmonics: int = 1) -> Signals:
    """Signals of some experiments, its own by name or others, on a coarse grid of second order."""
    kept = {e.name: e for e in (device.experiments[e] if isinstance(e, str) else e for e in experiments)}
    return measure(build(dataclasses.replace(device, experiments=kept), cells=300, order=2), harmonics=harmonics)


def test_all_of_them_are_here() -> None:
    assert tuple(shipped_names()) == NAMES and set(DEMOS) == set(claims.CLAIMS) | {"slachter2010"}


@pytest.mark.parametrize("name", NAMES)
def test_every_value_and_every_extent_has_a_source(name: str) -> None:
    device = load(name)
    sourced = sourced_values(device)
    for value, number, source in sourced:
        assert source.startswith(MARKS), (value, source)
        assert number == 0 or not source.startswith("not a ferromagnet"), value
    of_parts = [device.materials[m] for m in {solid.material for solid in device.solids}] + list(device.interfaces)
    given = {f"{part.name}.{key}" for part in of_parts for key, number in part.values().items() if number}
    assert given <= {value for value, _, _ in sourced}
    for solid in device.solids:
        assert set(solid.provenance) == {"x", "y", "z"}, solid.name
        assert all(text.startswith(("paper", "assumed")) for text in solid.provenance.values()), solid.name
    assert all(dimension.note.startswith(("paper", "assumed", "ours")) or dimension.std is None
               for dimension in device.dimensions.values())  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_check_finds_no_fault_and_a_job_that_two_cores_do_in_a_minute(name: str) -> None:
    result = CliRunner().invoke(app, ["check", name])
    assert result.exit_code == 0 and "No faults." in result.output
    seconds = float(result.output.rpartition(", about ")[2].split()[0])
    assert 0 < seconds < 60


def test_a_name_without_a_demo_is_told_which_there_are() -> None:
    result = CliRunner().invoke(app, ["demo", "valve"])
    assert result.exit_code == 2 and "no demo 'valve'" in result.output and ", ".join(DEMOS) in result.output


def test_the_cut_device_of_the_paper_is_that_of_the_paper() -> None:
    """All else is the same; the halves of a cut piece of Cu meet at y = 0 and are the whole piece together."""
    whole, cut = load("slachter2010"), load("slachter2010-copper")
    for part in ("materials", "contacts", "heat_sinks", "dimensions", "bath", "zeta"):
        assert getattr(whole, part) == getattr(cut, part), part
    named = {solid.name: solid for solid in cut.solids}
    for solid in whole.solids:
        if solid.name in named:
            assert named.pop(solid.name) == solid
            continue
        low, high = named.pop(f"{solid.name}_2"), named.pop(f"{solid.name}_1")
        x, (start, end), z = solid.box
        assert low.box == (x, (start, 0.0), z) and high.box == (x, (0.0, end), z)
        assert {low.material, high.material} == {solid.material}
    assert not named


def test_the_spin_accumulation_below_the_copper_is_that_of_the_fields() -> None:
    """What relaxes in the Cu on FM1, by four probes, is the mean of the even part of V_s over it, by the nodes.

    Both are the lumped elements of first order, the same sum: to 1e-4, as a difference of parts that are each
    solved to 1e-9. Of the heater current, Cu takes up to what flows in the 40 of 150 nm below it, and some from beside.
    """
    device = load("slachter2010-copper")
    model = build(device, cells=4000, order=1)
    result = measure(model)
    zeros = dict.fromkeys(result.values, 0.0)
    result = dataclasses.replace(result, errors=Errors(zeros, zeros))
    short, gradient, V_s = claims.copper(device, result)
    assert 0.05 < short.value < 0.4 and 1e7 < gradient.value < 3e8, (short, gradient)
    forth, back = (fields(model, "heat_1", "P", sign * claims.CURRENT) for sign in (1.0, -1.0))
    even = (forth.V_up - forth.V_down + back.V_up - back.V_down) / 2
    box = [device.solid("Cu_on_FM1_1").box[0], (-20e-9, 20e-9), device.solid("Cu_on_FM1_1").box[2]]
    for axis, nodes, (low, high) in zip((0, 1, 2), (forth.x, forth.y, forth.z), box, strict=True):
        inside = np.flatnonzero((nodes > low - 1e-13) & (nodes < high + 1e-13))
        even = np.take(even, inside, axis)
        even = np.trapezoid(even, nodes[inside], axis=axis)[(slice(None),) * axis + (None,)] / (high - low)
    assert V_s.value == pytest.approx(even.item(), rel=1e-4) and V_s.value < 0
    lines, words = claims.CLAIMS["slachter2010-copper"](device, result)
    assert lines[0].here == f"{100 * short.value:.3g} +- 0 %" and "was tuned" in words


def test_bounds_of_sums_add_and_those_of_ratios_do_relatively() -> None:
    a, b = claims.Bounded(2.0, 0.1), claims.Bounded(-4.0, 0.4)
    assert a.plus(b) == (-2.0, 0.5) and a.minus(b) == (6.0, 0.5) and b.times(-2.0) == (8.0, 0.8)
    assert a.over(b) == pytest.approx((-0.5, 0.5 * (0.05 + 0.1)))


def test_the_pillar_needs_the_temperature_difference_of_the_closed_form() -> None:
    """In one dimension the answer does not depend on what spins do after the magnets, nor on the leads.

    In either magnet the spin current is that of the bulk, P J or -sigma (1 - P^2) S_s T'/2, and a decaying part;
    decaying parts go with it in proportion. So T' = 2 P J/(sigma (1 - P^2) |S_s|) is equal to J, and the temperature
    difference is T' times the thicknesses, those of Cu times Py's open-circuit kappa over that of Cu. What the current
    lines do in the leads is left out: 1 % here. By heat the free magnet gets the opposite spins (S_s < 0 < P).
    """
    device = load("pillar")
    result = solved(device, "torque_current", "torque_heat", "torque_heat_bias")
    zeros = dict.fromkeys(result.values, 0.0)
    result = dataclasses.replace(result, errors=Errors(zeros, zeros))
    area = 150e-9 * 80e-9
    _, by_heat, needed = claims.equal_difference(result, area)
    Py, Cu = device.materials["Py"], device.materials["Cu"]
    kappa, kappa_Cu = (m.kappa - 300 * m.sigma * (m.S**2 + (1 - m.P**2) * m.S_s**2 / 4) for m in (Py, Cu))
    slope = 2 * Py.P * claims.SWITCHING / (Py.sigma * (1 - Py.P**2) * abs(Py.S_s))
    expected = slope * (20e-9 + kappa / kappa_Cu * (15e-9 + 5e-9 + 5e-9))
    assert needed.value == pytest.approx(-expected, rel=0.03) and by_heat.value < 0
    lines, words = claims.CLAIMS["pillar"](device, result)
    assert f"{-needed.value:.5g} +- 0 K" in lines[-1].here and "-3.8 uV/K" in words
    # The magnets send and absorb: the free one, parallel, adds its own to what the fixed one sends.
    current = {state: result["torque_current", f"R1.{state}"] for state in ("P", "AP")}
    assert 0 < current["AP"] < current["P"] < device.materials["Py"].P


def test_heat_and_current_in_the_pillar_are_reciprocal() -> None:
    """Onsager: voltage per watt in the heater is the temperature of the heater per ampere, over T0, in each state.

    To the tolerance of two solves, 1e-9 each, of a signal that is a thousandth of what it is a difference of.
    """
    there = Experiment("there", None, ("top", "bottom"), STATES["pillar"], power={"heater": 1.0})
    back = Experiment("back", ("top", "bottom"), None, STATES["pillar"], temperature=("heater",))
    result = solved(load("pillar"), there, back)
    for state in ("P", "AP"):
        volts = result["there", f"R1.{state}"]
        assert abs(volts) > 1e-3  # V/W
        assert result["back", f"R1.{state}"] == pytest.approx(300 * volts, rel=1e-6)


def test_the_junction_is_that_of_julliere_and_of_its_barrier() -> None:
    """Resistances of the barrier and less than 2 % of leads on top; volts per kelvin those of the barrier within 3 %.

    Metals have Seebeck coefficients of 2 to 23 uV/K against 108, and a small part of the temperature difference. Leads
    are the same in both states but for the spin resistances of the two electrodes.
    """
    device = load("junction")
    result = solved(device, "resistance", "laser", "laser_bias")
    barrier = next(interface for interface in device.interfaces if interface.name == "MgO")
    assert barrier.RA is not None and barrier.P1 is not None and barrier.P2 is not None
    polarised, leads = barrier.P1 * barrier.P2, []
    for state, sign, S in (("P", 1, barrier.S), ("AP", -1, barrier.S_AP)):
        assert S is not None
        alone = barrier.RA / (200e-9**2 * (1 + sign * polarised))
        leads.append(result["resistance", f"R1.{state}"] - alone)
        assert 0 < leads[-1] < 0.02 * alone
        seen = result["laser", f"R1.{state}"] / result["laser_bias", f"R1.{state}"]
        assert seen == pytest.approx(-S, rel=0.03)
    CoFe = device.materials["CoFe"]
    assert abs(leads[1] - leads[0]) < 2 * CoFe.lambda_sf / (CoFe.sigma * (1 - CoFe.P**2)) / 200e-9**2
    ratio = -result["laser", "R1.spin"] / result["laser", "R1.AP"]
    assert -0.088 < ratio < -0.07  # upper is warmer: V is positive, and P larger than AP


def test_the_cross_sees_spins_twice_where_current_and_voltage_share_both_strips() -> None:
    """The conventional spin signal is minus twice the non-local one, for transparent interfaces, within 10 %.

    Reciprocity exchanges current and voltage of the non-local one, but for the ends of the arms, of which the grounded
    one is at one potential without spins and the other is not: exp(-2 * 450/350) of the spins come back from there.
    The cross is its own mirror image in y but for the strip ends that are used: no voltage is between south and north.
    """
    device = load("cross")
    swapped = Experiment("swapped", ("strip2+", "north"), ("strip1+", "south"), STATES["cross"])
    result = solved(device, "nonlocal", "conventional", "van_der_pauw", swapped)
    spin = result["nonlocal", "R1.spin"]
    assert spin > 1e-4
    assert result["conventional", "R1.spin"] == pytest.approx(-2 * spin, rel=0.1)
    assert result["swapped", "R1.baseline"] == pytest.approx(result["nonlocal", "R1.baseline"], rel=1e-4)
    assert result["swapped", "R1.spin"] == pytest.approx(spin, rel=0.01)
    assert result["nonlocal", "R1.baseline"] < 0 < result["conventional", "R1.baseline"]
    assert abs(result["van_der_pauw", "R1.P"]) < 1e-6 * abs(result["nonlocal", "R1.P"])


@pytest.mark.slow
def test_interfaces_of_the_valve_raise_its_spin_signals_once_by_heat_and_twice_by_current() -> None:
    """Where Py absorbs spins far better than the wire, the signal goes as (P R_F* + gamma r*)^2 by current.

    By heat it goes as the first power of it, and the injector has lambda_F S_s in its place. An interface without
    polarisation divides both by the same. A quarter either way: interfaces keep the Py from absorbing, and spread
    current and heat over the contact.
    """
    device = load("valve")
    kept = {name: device.experiments[name] for name in ("nonlocal", "thermal")}
    model = build(dataclasses.replace(device, experiments=kept), order=2)
    electrical, thermal = [], []
    for values in (device.variants["transparent"], {}, device.variants["oxidised"]):
        result = measure(model, values)
        electrical.append(result["nonlocal", "R1.spin"])
        thermal.append(result["thermal", "R2.spin"])
    assert electrical[0] > 0 > thermal[0]
    Py, interface = device.materials["Py"], device.interfaces[0]
    assert interface.RA is not None and interface.gamma is not None
    bulk = Py.P * Py.lambda_sf / (Py.sigma * (1 - Py.P**2))
    gain = 1 + interface.gamma * interface.RA / (1 - interface.gamma**2) / bulk
    assert electrical[1] / electrical[0] == pytest.approx(gain**2, rel=0.25)
    assert thermal[1] / thermal[0] == pytest.approx(gain, rel=0.25)
    assert 0 < thermal[2] / thermal[0] < 0.5
    assert thermal[2] / thermal[0] == pytest.approx(electrical[2] / electrical[0], rel=0.25)
