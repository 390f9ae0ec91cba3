"""Heat as a drive and a probe, several circuits: balances of every piece and over every interface, references, fins.

The device is `helpers.heated` on some 200 cells of order 1: balances hold on any grid, to the residual of the solves.
Reactions are sums over faces of currents that are larger than what is left: 1e-9 of those is allowed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest

from helpers import heated, stacks
from helpers.heated import experiment, through
from helpers.stacks import CU, no_seebeck
from thermospin import analytic as an
from thermospin import model
from thermospin.device.device import Device
from thermospin.device.parts import Contact, Experiment, HeatSink, Solid
from thermospin.signals.evaluate import measure

TIGHT = 2e-11
CELLS = 250
CHAIN = (("below", "F1"), ("F1", "N"), ("N", "F2"), ("F2", "above"))
"""Solids of the pillar, from below."""
DRIVES = {
    "current": {"current": ("bottom", "top")},
    "heater": {"current": ("h+", "h-")},
    "laser": {"power": {"hot": 1.0}},
    "warm": {"heat": {"h+": 1.0}},
    "base": {"heat": {"base": 1.0}},
}


def close(value: float, rel: float) -> object:
    return pytest.approx(value, rel=rel, abs=0.0)


#: Drives whose charge is probed at every face of the pillar, and those whose heat is at every face of the oxide.
CHARGED, WARMED = ("current", "laser"), ("heater", "laser", "warm")
OXIDE = (("hot", "oxide"), ("cap+", "oxide"), ("cap-", "oxide"), ("oxide", "above"))

Table = Mapping[str, Mapping[str, Mapping[str, float]]]


def measured(*experiments: Experiment, order: int = 1) -> Table:
    """R1 and R2 of experiments on one grid."""
    return measure(model.build(heated.device(*experiments), cells=CELLS, order=order), tolerance=TIGHT).experiments


@pytest.fixture(scope="module")
def fluxes() -> Table:
    """Charge and heat over faces of the pillar and of the heater, for every drive."""
    made = []
    for drive, parts in DRIVES.items():
        for first, second in CHAIN:
            made.append(experiment(f"{drive} heat {first}>{second}", **parts, through=through("heat", first, second)))
        for first, second in CHAIN if drive in CHARGED else CHAIN[2:3]:
            name = f"{drive} charge {first}>{second}"
            made.append(experiment(name, **parts, through=through("charge", first, second)))
        if drive in WARMED:
            for first, second in OXIDE:
                made.append(
                    experiment(f"{drive} heat {first}>{second}", **parts, through=through("heat", first, second))
                )
    for drive in ("heater", "laser"):
        for second in ("cap+", "cap-"):
            made.append(
                experiment(f"{drive} heat hot>{second}", **DRIVES[drive], through=through("heat", "hot", second))
            )
    made.append(experiment("ohm", **DRIVES["heater"], voltage=("h+", "h-")))
    made.append(experiment("spin", **DRIVES["laser"], through=through("spin", "N", "F2")))
    made.append(experiment("seebeck", **DRIVES["laser"], voltage=("bottom", "top")))
    return measured(*[dataclasses.replace(e, states={"P": {}, "AP": {"F2": -1}}) for e in made])


@pytest.mark.parametrize("state", ["P", "AP"])
def test_charge_balances_in_every_piece(fluxes, state):
    """What goes in comes out over every face of the pillar; with its circuit open nothing passes, at either order."""
    for first, second in CHAIN:
        assert fluxes[f"current charge {first}>{second}"]["R1"][state] == close(1.0, 1e-9)
        scale = abs(fluxes["spin"]["R1"][state])  # the spin current that heat drives without charge [A/W]
        assert scale > 0
        assert abs(fluxes[f"laser charge {first}>{second}"]["R1"][state]) < 1e-7 * scale
    for drive in ("heater", "warm", "base"):
        row = fluxes[f"{drive} charge N>F2"]
        assert all(abs(row[n][state]) < 1e-6 * abs(row_scale(fluxes, drive, n, state)) for n in ("R1", "R2"))


def row_scale(fluxes: Table, drive: str, harmonic: str, state: str) -> float:
    """The charge that the heat current of a drive would carry in a closed circuit: S sigma/kappa of it [A]."""
    return fluxes[f"{drive} heat N>F2"][harmonic][state] * 1e-5 * 1e7 / 100


@pytest.mark.parametrize("state", ["P", "AP"])
def test_heat_balances_in_every_solid_and_over_every_interface(fluxes, state):
    """Linear order: no heat is made but the power. Side walls of the pillar are free: what enters it leaves it."""
    for drive in DRIVES:
        row = [fluxes[f"{drive} heat {first}>{second}"]["R1"][state] for first, second in CHAIN]
        np.testing.assert_allclose(row, row[0], rtol=1e-7)
        assert abs(row[0]) > 0
    # the middle of the heater gives all of its power away
    exits = [fluxes[f"laser heat hot>{name}"]["R1"][state] for name in ("cap+", "cap-", "oxide")]
    assert sum(exits) == close(1.0, 1e-9)
    assert min(exits) > 0
    # the oxide passes on what it gets
    for drive in WARMED:
        into = [fluxes[f"{drive} heat {name}>oxide"]["R1"][state] for name in ("hot", "cap+", "cap-")]
        out = fluxes[f"{drive} heat oxide>above"]["R1"][state]
        assert sum(into) == pytest.approx(out, rel=1e-8, abs=1e-9 * max(map(abs, into)))


def test_joule_heat_leaves_the_heater(fluxes):
    """Second order: the middle of the heater gives out R I^2 of its 60 nm; Peltier heat is carried."""
    exits = [fluxes[f"heater heat hot>{name}"]["R2"]["P"] for name in ("cap+", "cap-", "oxide")]
    R = an.bar_resistance(60e-9, sigma=heated.HEATER.sigma, area=40e-9 * 20e-9)
    assert sum(exits) == close(R, 1e-8)
    # the whole heater has 100 nm, and a thermal voltage of 1e-3 of the rest
    assert fluxes["ohm"]["R1"]["P"] == close(R / 0.6, 1e-2)


# ------------------------------------------------------------------------------------------ references, proportions


def test_the_reference_of_a_piece_moves_no_signal():
    """Which contact of the heater is the ground, and which of the pillar is the minus, changes signs alone.

    Spins do not reach the contacts of the leads, 10 relaxation lengths away: 4e-5 of V_s would be left, of which the
    reference takes its part; signals see 1e-9 of it by the same way back. This at order 2: in the cells of order 1
    spins reach farther.
    """
    names = ("heater", "turned", "swapped", "laser", "laser swapped")
    drives = {"current": ("h+", "h-")}, {"current": ("h-", "h+")}, {"power": {"hot": 1.0}}
    voltages = {"voltage": ("top", "bottom")}, {"voltage": ("bottom", "top")}
    parts = ((0, 0), (1, 0), (0, 1), (2, 0), (2, 1))
    two = {state: heated.STATES[state] for state in ("P", "AP")}
    states = {"heater": heated.STATES, "laser": heated.STATES}
    made = [
        experiment(name, **drives[d], **voltages[v], states=states.get(name, two))
        for name, (d, v) in zip(names, parts, strict=True)
    ]
    found = measured(*made, order=2)
    for state in two:
        R1, R2 = (found["heater"][n][state] for n in ("R1", "R2"))
        assert abs(R2) > 0
        assert found["turned"]["R2"][state] == close(R2, 1e-7)
        assert found["swapped"]["R2"][state] == close(-R2, 1e-7)
        assert found["turned"]["R1"][state] == pytest.approx(-R1, rel=1e-7, abs=1e-12)
        assert found["laser"]["R1"][state] == close(-found["laser swapped"]["R1"][state], 1e-7)
    # the state matters, and reversing all magnets does not
    for name in names:
        row = found[name]["R2" if "laser" not in name else "R1"]
        assert abs(row["P"] / row["AP"] - 1) > 1e-4
        if name in states:
            assert row["ALL"] == close(row["P"], 1e-8)
            assert row["PA"] == close(row["AP"], 1e-8)


def test_further_entries_of_a_drive_follow_the_first_in_proportion():
    voltage = {"voltage": ("top", "bottom")}
    found = measured(
        experiment("hot", power={"hot": 2.0}, **voltage),
        experiment("above", power={"above": 5.0}, **voltage),
        experiment("both", power={"hot": 2.0, "above": 3.0}, **voltage),
        experiment("h+", heat={"h+": 2.0}, **voltage),
        experiment("top", heat={"top": 1.0}, **voltage),
        experiment("ends", heat={"h+": 2.0, "top": -1.0}, **voltage),
    )
    for state in ("P", "AP"):
        R = {name: row["R1"][state] for name, row in found.items()}
        assert R["both"] == close(R["hot"] + 1.5 * R["above"], 1e-8)
        assert R["ends"] == close(R["h+"] - 0.5 * R["top"], 1e-8)
        assert abs(R["above"] / R["hot"] - 1) > 1e-2


# ------------------------------------------------------------------------------------------ fins, H5


def fin() -> Device:
    """A film 10 nm thick and 3 um long on a face that takes 1e6 W/(m^2 K), one end 1 K warm, the other insulated."""
    metal = no_seebeck(CU)
    y, z = (0.0, 20e-9), (0.0, 10e-9)
    settings = {"current": None, "voltage": None, "states": {"P": {}}, "heat": {"warm": 1.0}}
    probes: dict[str, dict[str, object]] = {
        "tip": {"temperature": ("tip",)},
        "far": {"temperature": ("far",)},
        "drop": {"temperature": ("warm", "far")},
        "flux": {"through": through("heat", "near", "far")},
    }
    return Device(
        name="fin",
        solids=(
            Solid("near", "Cu", None, ((0.0, 1.5e-6), y, z)),
            Solid("far", "Cu", None, ((1.5e-6, 3e-6), y, z)),
        ),
        materials={"Cu": metal},
        contacts=(Contact("warm", "near", "x-"), Contact("tip", "far", "x+", h=0.0)),
        heat_sinks=(HeatSink("near", "z-", "under near", h=1e6), HeatSink("far", "z-", "under far", h=1e6)),
        experiments={name: Experiment(name, **settings, **probe) for name, probe in probes.items()},  # type: ignore[arg-type]
    )


def test_a_fin_is_as_warm_as_its_equation_says():
    """T does not vary across the film but for h t/(3 kappa) = 1.1e-5."""
    bar = fin()
    found = measure(stacks.on_grid(bar, (8, 8), 3), tolerance=TIGHT).experiments
    L, t, kappa = 3e-6, 10e-9, CU.kappa
    decay = an.fin_length(kappa=kappa, thickness=t, h=1e6)
    case = {"T_base": 1.0, "length": L, "decay": decay}
    assert found["tip"]["R1"]["P"] == close(an.fin_T(L, **case), 5e-5)
    mean = decay / (L / 2) * np.sinh(L / 2 / decay) / np.cosh(L / decay)
    assert found["far"]["R1"]["P"] == close(mean, 5e-5)
    assert found["drop"]["R1"]["P"] == close(1 - mean, 5e-5)
    flux = kappa * t * 20e-9 / decay * np.sinh(L / 2 / decay) / np.cosh(L / decay)
    assert found["flux"]["R1"]["P"] == close(flux, 5e-5)
    # what passes to the far half leaves by its face
    assert found["flux"]["R1"]["P"] == close(1e6 * found["far"]["R1"]["P"] * 1.5e-6 * 20e-9, 5e-5)
    assert an.fin_T(L, **case) < 0.5


def test_a_wire_of_one_solid_that_gives_its_joule_heat_to_a_face():
    """Ends held: J^2 t/(sigma h) (1 - tanh(m)/m), m = L/(2 decay). There is no face at which anything jumps."""
    solid = Solid("near", "Cu", None, ((0.0, 3e-6), (0.0, 20e-9), (0.0, 10e-9)))
    wire = dataclasses.replace(
        fin(),
        solids=(solid,),
        contacts=(Contact("left", "near", "x-"), Contact("right", "near", "x+")),
        heat_sinks=(HeatSink("near", "z-", "under", h=1e6),),
        experiments={"T": Experiment("T", ("left", "right"), None, {"P": {}}, temperature=("near",))},
    )
    found = measure(stacks.on_grid(wire, (12,), 3), tolerance=TIGHT).experiments["T"]["R2"]["P"]
    J, t = 1 / (20e-9 * 10e-9), 10e-9
    m = 1.5e-6 / an.fin_length(kappa=CU.kappa, thickness=t, h=1e6)
    assert found == close(J**2 * t / (CU.sigma * 1e6) * (1 - np.tanh(m) / m), 5e-5)
