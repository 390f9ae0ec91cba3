"""Interfaces against closed forms and against the exact stack, in bars one cell across; the valve and a loop in 3D.

Formulas neglect exp(-length/lambda) and the heat that spin currents carry, see `exact_cases.Case.neglected`; the exact
stack neglects nothing. On the grids of the cases (order 3, 14 cells over 20 relaxation lengths) the program is off from
it by less than 2e-6, which the order test shows to vanish; solves leave 1e-8 of signals that are sums of large numbers.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from helpers import exact_cases, stacks
from helpers.exact_cases import BEHIND, R_N, link
from helpers.stacks import AG, AREA, CU, FE, NI, P_AP, PY, no_seebeck
from thermospin import analytic as an
from thermospin import model
from thermospin.device.device import Device
from thermospin.device.interfaces import Interface
from thermospin.device.parts import Contact, Experiment, Solid
from thermospin.grid import Grid, fill
from thermospin.signals.evaluate import measure

TIGHT = 2e-11
CASES = exact_cases.cases()


def close(value: float, rel: float) -> object:
    return pytest.approx(value, rel=rel, abs=0.0)


def printed(text: str) -> object:
    """Equal to half a unit of the last digit of a text."""
    digits = text.partition("e")[0].partition(".")[2]
    unit = 10.0 ** (int(text.partition("e")[2] or 0) - len(digits))
    return pytest.approx(float(text), abs=0.51 * unit, rel=0.0)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_bar_has_the_signal_of_its_closed_form(case):
    harmonic, part = case.signal
    found = case.quantity(measure(case.model(), tolerance=TIGHT).experiments[case.experiment][harmonic][part])
    if case.printed:
        assert case.formula == printed(case.printed)
    assert found == close(case.formula, case.neglected + 2e-5)
    assert found == close(case.exact(), 2e-5)


# ------------------------------------------------------------------------------------------ all couplings, the order

FIRST = {"RA": 1e-15, "gamma": 0.5, "K": 2e8, "S": -8e-6, "S_s": 20e-6}
SECOND = {"RA": 2e-15, "gamma": 0.3, "K": 1e9, "S": 5e-6, "S_s": -10e-6}
SPACED = (("F1", FE, 30e-9), ("N", AG, 50e-9), ("F2", NI, 20e-9))
EVERY = (
    stacks.current(),
    stacks.current("spin", **stacks.through("spin", "F1", "N")),
    stacks.current("peltier", **stacks.through("heat", "N", "F2")),
    stacks.current("warm", temperature=("N", "F1")),
    stacks.heat(),
    stacks.heat("heat_spin", at="right", **stacks.through("spin", "N", "F2")),
    stacks.heat("heat_heat", **stacks.through("heat", "F2", "N")),
    stacks.power("N"),
    stacks.power("F1", "power_warm", temperature=("F2",)),
)
"""Every drive with several probes, and every probe."""


def spaced(first: dict[str, float] = FIRST, second: dict[str, float] = SECOND, **options: object) -> Device:
    links = [link(("F1", "N"), **first), link(("N", "F2"), **second)]
    return stacks.device(SPACED, *EVERY, interfaces=links, h=(3e8, np.inf), **options)  # type: ignore[arg-type]


def errors(bar: Device, cells: tuple[int, ...], order: int) -> dict[str, float]:
    """Relative errors of all signals, states and harmonics by experiment and harmonic, the largest."""
    found = measure(stacks.on_grid(bar, cells, order), tolerance=TIGHT).experiments
    return {
        f"{name}.{harmonic}": max(abs(found[name][harmonic][state] / row[state] - 1) for state in ("P", "AP"))
        for name, rows in stacks.signals(bar).items()
        for harmonic, row in rows.items()
    }


@pytest.mark.parametrize("flip", [False, True], ids=["plain", "spin flip"])
def test_signals_converge_to_those_of_the_exact_stack_at_order_2p(flip):
    """Order 2: each halving of the cells takes 16 off, of R1 and R2 of every drive and probe, in P and in AP.

    From cells of a quarter of the layers, half an order is left for what is not asymptotic. R2 with spin flip has an
    error of its own, see the next test.
    """
    bar = spaced(second=SECOND | ({"delta": 0.4} if flip else {}))
    if flip:
        kept = {name: bar.experiments[name] for name in ("current", "spin", "heat")}
        bar = dataclasses.replace(bar, experiments=kept)
    coarse, fine = errors(bar, (4, 4, 4), 2), errors(bar, (8, 8, 8), 2)
    for name, error in fine.items():
        if not (flip and name.endswith("R2")):
            assert np.log2(coarse[name] / error) > 3.5, (name, coarse[name], error)
            assert error < 1e-4
    # the control: the interfaces matter to every signal
    bare = stacks.signals(dataclasses.replace(bar, interfaces=()))
    for name, rows in stacks.signals(bar).items():
        assert all(abs(bare[name][n]["P"] / row["P"] - 1) > 1e-2 for n, row in rows.items()), name


def test_joule_heat_of_spin_flip_is_right_to_the_fourth_order_of_delta():
    """An interface that flips spins heats as without; the layer which it stands for heats more.

    By 4 r* times the variance of the spin current within it, which is of order delta^4 (docs/theory.md, section 10):
    twice the delta makes it 16 times, half an order is left for higher ones. Driven by heat all currents are spin
    currents; driven by a current, spins make a small part of the heat, and the grid's error of 1e-6 is in the way.
    """

    def error(delta: float) -> dict[str, float]:
        bar = spaced(second=SECOND | {"delta": delta})
        kept = {name: bar.experiments[name] for name in ("current", "heat")}
        return errors(dataclasses.replace(bar, experiments=kept), (8, 8, 8), 2)

    near, wide = error(0.4), error(0.8)
    assert 3.5 < np.log2(wide["heat.R2"] / near["heat.R2"]) < 5
    assert 2.5 < np.log2(wide["current.R2"] / near["current.R2"]) < 5


def test_limits_give_the_transparent_device():
    """RA -> 0 and K -> infinity: what is left at RA = 1e-19 and 1/K = 1e-14 is linear in them, 2e-5 in all.

    Its square is 1e-9 of R1; R2 of spins has the errors of two fields that differ little across such links, 1e-6.
    """
    bare = dataclasses.replace(spaced(), interfaces=())
    cells = (4, 4, 4)
    wanted = measure(stacks.on_grid(bare, cells, 2), tolerance=TIGHT).experiments
    for values in ({"RA": 1e-19, "gamma": 0.5, "K": 1e14}, {"RA": 1e-19}):
        half = {"RA": 0.5e-19, "gamma": 0.5, "K": 2e14}
        near, nearer = (
            measure(stacks.on_grid(spaced(v, v), cells, 2), tolerance=TIGHT).experiments
            for v in (values, {key: half[key] for key in values})
        )
        for name, rows in wanted.items():
            for harmonic, row in rows.items():
                for state in ("P", "AP"):
                    there, here = nearer[name][harmonic][state], near[name][harmonic][state]
                    rel = 4e-9 if harmonic == "R1" else 2e-5
                    assert 2 * there - here == close(row[state], rel), (values, name, harmonic, state)


def test_an_infinite_resistance_parts_the_charge_and_not_the_heat():
    """RA = 1e-6 ohm m^2, 1e8 times that of the metals: each part has the thermal voltage of its own."""
    layers = (("A", no_seebeck(CU), 40e-9), ("B", dataclasses.replace(CU, S=-9e-6, name="B"), 60e-9))
    parted = link(("A", "B"), RA=1e-6, K=1e9)
    bar = stacks.device(
        layers, stacks.heat(states={"P": {}}), stacks.heat("heat", states={"P": {}}), interfaces=[parted]
    )
    probes = {
        name: stacks.heat(name, **probe, states={"P": {}})
        for name, probe in (("charge", stacks.through("charge", "A", "B")), ("hot", stacks.through("heat", "A", "B")))
    }
    bar = dataclasses.replace(bar, experiments={**bar.experiments, **probes})
    found = measure(stacks.on_grid(bar, (3, 3), 2), tolerance=TIGHT).experiments
    k_B = an.open_circuit_kappa(CU.sigma, 0.0, -9e-6, 0.0, CU.kappa, 300.0)
    R = an.slab_thermal_resistance([40e-9, 60e-9], [CU.kappa, k_B], [1e9])
    assert found["hot"]["R1"]["P"] == close(AREA / R, 1e-7)
    assert abs(found["charge"]["R1"]["P"]) < 1e-9 * CU.sigma * 9e-6 / 100e-9 * AREA
    assert found["heat"]["R1"]["P"] == close(9e-6 * 60e-9 / k_B / R, 1e-6)


def test_joule_heat_of_an_interface_goes_half_to_either_side():
    """A barrier between unequal halves with all of the resistance; with K = 1e3 in the way each keeps its own half."""
    layers = (("A", no_seebeck(CU), 40e-9), ("B", dataclasses.replace(no_seebeck(CU), name="B"), 40e-9))
    barrier = link(("A", "B"), RA=1e-12, K=1e3)
    probes = [stacks.current(name, temperature=(name,), states={"P": {}}) for name in ("A", "B")]
    bar = stacks.device(layers, *probes, interfaces=[barrier], h=(1e8, 2e8))
    found = measure(stacks.on_grid(bar, (3, 3), 2), tolerance=TIGHT).experiments
    heat = 1e-12 / AREA  # W/m^2 per A^2, times the area
    # the metal has 1e-3 of the resistance, and 1e-2 of the heat resistance of the ends
    assert found["A"]["R2"]["P"] == close(heat / AREA / 2 / 1e8, 2e-2)
    assert found["A"]["R2"]["P"] / found["B"]["R2"]["P"] == close(2, 2e-2)
    exact = stacks.signals(bar)
    for name in ("A", "B"):
        assert found[name]["R2"]["P"] == close(exact[name]["R2"]["P"], 1e-8)


# ------------------------------------------------------------------------------------------ tunnel junctions, T8


def test_tunnel_magnetoresistance_and_seebeck_coefficients_of_a_junction():
    """Both conductances of each channel follow both magnets: TMR of Julliere, S and S_AP, and the exact stack.

    The metals are 1e-5 of the resistance and of the heat resistance; in all four states of two magnets.
    """
    states = {"P": {}, "AP": {"F2": -1}, "PA": {"F1": -1}, "both": {"F1": -1, "F2": -1}}
    layers = (("F1", FE, 20e-9), ("F2", NI, 20e-9))
    values = {"RA": 1e-9, "P1": 0.5, "P2": 0.6, "K": 1e6, "S": -50e-6, "S_AP": -90e-6}
    experiments = (stacks.current(states=states), stacks.heat(states=states))
    for between in (("F1", "F2"), ("F2", "F1")):
        P = values["P1"], values["P2"]
        own = values | (dict(zip(("P1", "P2"), P[::-1], strict=True)) if between[0] == "F2" else {})
        bar = stacks.device(layers, *experiments, interfaces=[link(between, **own)])
        found = measure(stacks.on_grid(bar, (4, 4), 2)).experiments  # rounding leaves 1e-9 of the residual
        exact = stacks.signals(bar)
        R = found["current"]["R1"]
        assert R["AP"] / R["P"] - 1 == close(an.tunnel_magnetoresistance(P_1=0.5, P_2=0.6), 1e-4)
        assert R["P"] * AREA == close(1e-9 / 1.3, 1e-4)
        V = found["heat"]["R1"]
        assert V["AP"] / V["P"] == close(90 / 50, 2e-3)
        for name in ("current", "heat"):
            for state in states:
                assert found[name]["R1"][state] == close(exact[name]["R1"][state], 1e-6), (name, state)
        assert R["P"] == close(R["both"], 1e-9)
        assert R["AP"] == close(R["PA"], 1e-4)


def loop(shorted: bool) -> Device:
    """A junction in z between two electrodes that a fat wire joins if it is shorted; the upper end is heated."""

    def box(x: tuple[float, float], z: tuple[float, float]) -> tuple[tuple[float, float], ...]:
        return tuple((1e-9 * a, 1e-9 * b) for a, b in (x, (0.0, 40.0), z))

    F = no_seebeck(FE)
    metal = no_seebeck(CU)
    parts = [
        Solid("below", "Cu", None, box((0, 120), (0, 20))),
        Solid("F1", "Fe", "F1", box((0, 40), (20, 40))),
        Solid("F2", "Fe", "F2", box((0, 40), (40, 60))),
        Solid("above", "Cu", None, box((0, 120), (60, 80))),
    ]
    if shorted:
        parts.append(Solid("wire", "Cu", None, box((80, 120), (20, 60))))
    probe = {"through": stacks.Through("charge", ("F1", "F2"))} if shorted else {"voltage": ("low", "high")}
    junction = Interface("junction", ("F1", "F2"), RA=1e-10, P1=0.5, P2=0.6, K=1e9, S=-50e-6, S_AP=-90e-6)
    settings = {"current": None, "voltage": None, "states": P_AP, "heat": {"high": 1.0}} | probe
    return Device(
        name="loop",
        solids=tuple(parts),
        materials={"Cu": metal, "Fe": F},
        contacts=(Contact("low", "below", "z-"), Contact("high", "above", "z+")),
        interfaces=(junction,),
        experiments={"heat": Experiment("heat", **settings)},  # type: ignore[arg-type]
    )


def test_the_thermal_current_of_a_shorted_junction_is_its_voltage_over_its_resistance():
    """I_AP/I_P = (V_AP/V_P)/(1 + TMR), as measured in MgO junctions; the wire is 1e-3 of the resistance.

    The reaction over the junction against Ohm's law with the voltage of the open one; copper and the magnets have no
    Seebeck coefficient, and heat in the wire takes the temperature of the junction with it by less than 1e-3.
    """
    open_one, shorted = (
        measure(model.build(loop(s), cells=300, order=2), tolerance=TIGHT).experiments for s in (False, True)
    )
    V, I_loop = open_one["heat"]["R1"], shorted["heat"]["R1"]
    TMR = an.tunnel_magnetoresistance(P_1=0.5, P_2=0.6)
    ratio = an.thermal_current_ratio(V["AP"] / V["P"], TMR=TMR)
    assert V["AP"] / V["P"] == close(1.8, 1e-2)
    assert I_loop["AP"] / I_loop["P"] == close(ratio, 5e-3)
    area = 40e-9 * 40e-9
    assert abs(I_loop["P"]) == close(abs(V["P"]) * area * 1.3 / 1e-10, 3e-2)


# ------------------------------------------------------------------------------------------ detectors and valves


def test_a_floating_detector_reads_the_polarisation_behind_its_interface():
    """T4: V_P - V_AP = P_eff V_s, with V_s from the spin current into the detector, j = V_s/(2 (R_F + R_contact)).

    Current leaves by the side of the copper, 10 widths before the detector, so that all is one-dimensional there to
    exp(-10 pi); its own far end is free, 12 relaxation lengths away: exp(-24).
    """
    F, N = dataclasses.replace(no_seebeck(PY), name="F"), no_seebeck(CU)
    layers = (("F1", F, 60e-9), ("N1", N, 40e-9), ("N2", N, 200e-9), ("F2", F, 60e-9))
    experiments = [
        Experiment("V", ("left", "side"), ("right", "side"), P_AP),
        Experiment("j", ("left", "side"), None, P_AP, through=stacks.Through("spin", ("N2", "F2"))),
    ]
    bar = stacks.device(layers, *[stacks.current(states={"P": {}})], interfaces=[])
    bar = dataclasses.replace(
        bar,
        contacts=(*bar.contacts, Contact("side", "N1", "y+")),
        interfaces=(link(("N2", "F2"), RA=exact_cases.LINK["RA"], gamma=exact_cases.LINK["gamma"]),),
        experiments={e.name: e for e in experiments},
    )
    found = measure(stacks.on_grid(bar, (10, 4, 8, 14), 3, 1.5), tolerance=TIGHT).experiments
    j = found["j"]["R1"]["P"] / AREA
    V_s = 2 * BEHIND.R * j
    assert found["V"]["R1"]["spin"] == close(2 * an.detector_step(V_s, P=BEHIND.P), 1e-5)
    assert found["j"]["R1"]["AP"] == close(found["j"]["R1"]["P"], 1e-5)
    assert abs(V_s) > 1e-6


def valve(width: float) -> tuple[Device, Grid]:
    """A wire of square cross-section with two pillars of the same width on it behind interfaces, 100 nm apart."""
    w, L, end, height = width, 100e-9, 1.5e-6, 50e-9
    gap = L / 2 - w / 2
    far = stacks.clustered(2 * (end - gap - w), 28, 3.5)
    half = far[far <= end - gap - w + 1e-15]
    stack = stacks.clustered(2 * height, 24, 2.5)
    x = np.concatenate([
        -(gap + w) - half[::-1], [-gap], -gap + stacks.clustered(2 * gap, 8, 2.5)[1:], [gap + w], gap + w + half[1:]
    ])  # fmt: skip
    z = np.concatenate([[-w], stack[stack <= height * (1 + 1e-12)]])
    F, N = dataclasses.replace(no_seebeck(PY), name="F"), no_seebeck(CU)
    y = (0.0, w)
    solids = (
        Solid("wire", "Cu", None, ((float(x[0]), float(x[-1])), y, (-w, 0.0))),
        Solid("F1", "F", "F1", ((-(gap + w), -gap), y, (0.0, float(z[-1])))),
        Solid("F2", "F", "F2", ((gap, gap + w), y, (0.0, float(z[-1])))),
    )
    contacts = (
        Contact("in", "F1", "z+"),
        Contact("out", "wire", "x-"),
        Contact("plus", "F2", "z+"),
        Contact("minus", "wire", "x+"),
    )
    device = Device(
        name="valve",
        solids=solids,
        materials={"Cu": N, "F": F},
        contacts=contacts,
        interfaces=(Interface("F/Cu", ("F", "Cu"), RA=exact_cases.LINK["RA"], gamma=exact_cases.LINK["gamma"]),),
        experiments={"valve": Experiment("valve", ("in", "out"), ("plus", "minus"), P_AP)},
    )
    lines = (x, np.array(y), z)
    return device, Grid(lines, fill(lines, device.features.boxes, device.features.domains), 2)


def test_nonlocal_spin_valve_with_interfaces():
    """T5, Takahashi and Maekawa: contacts of width w tend to points; the pillars end in a half-and-half contact.

    The spreading resistance of a fraction of w/sigma_N beside R_F + R_contact = 1.7e-15 ohm m^2 is 0.1 w/nm percent,
    linear in w; the finite wire and pillars and the grid leave 5e-4. Feeding half and half spoils P of the injector by
    1/cosh(10) = 1e-4.
    """
    found = []
    for w in (4e-9, 2e-9):
        device, grid = valve(w)
        spin = measure(model.on_grid(device, grid), tolerance=TIGHT).experiments["valve"]["R1"]["spin"]
        case = {"P_1": BEHIND.P, "P_2": BEHIND.P, "R_1": BEHIND.R / w**2, "R_2": BEHIND.R / w**2}
        formula = an.nlsv_resistance(**case, R_N=R_N / w**2, L=100e-9, lambda_N=CU.lambda_sf)
        found.append(spin / formula - 1)
    assert abs(found[1]) < 3e-3, found
    assert abs(2 * found[1] - found[0]) < 8e-4, found
