"""The discrete problem against closed forms of one dimension, item by item.

Geometry: bars of square cross-section along x, one cell across, where the solution depends on x alone; and for the
non-local spin valve a thin wire with two thin pillars. The exact solution is `analytic.layered_stack`, itself checked
against the differential equations in test_analytic.py. Clustered grids are used where a closed form stands for an
infinite metal; what it then neglects, exp(-length/lambda_sf) and the heat carried by spin currents (relative 1.5e-4,
see docs/theory.md section 8), sets the tolerance together with the grid error, which the order test shows to vanish.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from helpers.problems import LEFT, RIGHT, T0, Bar, Block, clustered, joule
from thermospin import analytic as an

PY = an.Layer(length=60e-9, sigma=4.32e6, P=0.25, S=-20e-6, S_s=-3.8e-6, kappa=30.0, lambda_sf=5e-9)
CU = an.Layer(length=4e-6, sigma=4.26e7, S=1.6e-6, kappa=300.0, lambda_sf=350e-9)
G = -50e6
R_F = an.spin_resistance(PY.sigma, PY.lambda_sf, PY.P)
R_N = an.spin_resistance(CU.sigma, CU.lambda_sf)
LONG = {"cells": (14, 14), "order": 3, "clustering": 2.0}


def no_seebeck(m: an.Layer) -> an.Layer:
    return dataclasses.replace(m, S=0.0, S_s=0.0)


def heat_for(m: an.Layer, dT_dx: float) -> float:
    """Heat current density that makes dT/dx deep in a metal without charge current."""
    d = an.dressed(m.sigma, m.P, m.S, m.S_s, m.kappa, m.lambda_sf, T0)
    return -d.kappa * (1 + d.feedback) * dT_dx


# ------------------------------------------------------------------------------------------ order of accuracy


def errors_of(bar: Bar, J: tuple[float, float], wrong: float = 1.0) -> dict[str, float]:
    """Relative errors of nodal fields (largest) and of voltages; `wrong` scales sigma of the exact second layer."""
    u_1, u_2 = bar.solve(J)
    layers = list(bar.layers)
    layers[1] = dataclasses.replace(layers[1], sigma=wrong * layers[1].sigma)
    exact_1 = dataclasses.replace(bar, layers=tuple(layers)).exact(J)
    out = {}
    for n, (u, exact) in {1: (u_1, exact_1), 2: (u_2, exact_1.second_harmonic())}.items():
        here, there = bar.along(u), exact.fields(bar.x)
        for name, a, b in ((f"V_s{n}", here[0] - here[1], there[0] - there[1]), (f"T{n}", here[2], there[2])):
            out[name] = abs(a - b).max() / abs(b).max()
        out[f"V{n}"] = abs(bar.voltage(u) / float(exact.V_c(0.0)) - 1)
    return out


@pytest.mark.parametrize(
    ("order", "coarse"),
    [pytest.param(1, 8, marks=pytest.mark.slow), (2, 4), pytest.param(3, 4, marks=pytest.mark.slow)],
)
def test_fields_and_harmonics_converge_at_the_order_of_the_scheme(order, coarse):
    """F / N / reversed F, uniform cells doubled twice. Nodal values fall as h^min(2p, p+2), voltages as h^2p.

    The bar has layers of 6, 0.3 and 4 relaxation lengths. Half an order is left for the coarsest pair not being
    asymptotic; V2 is compared from the finer pair on, its error changes sign on the way for p = 2.
    """
    layers = (
        dataclasses.replace(PY, length=30e-9),
        dataclasses.replace(CU, length=120e-9),
        an.Layer.of(PY, 20e-9, sign=-1),
    )
    J = (5e10, 5e10)
    rows = [errors_of(Bar(layers, (n, n // 2, n), order), J) for n in (coarse, 2 * coarse, 4 * coarse)]
    expected = {name: min(2 * order, order + 2) for name in ("V_s1", "T1", "T2")} | {"V1": 2 * order}
    for name, slope in expected.items():
        measured = np.log2(rows[1][name] / rows[2][name])
        assert measured > slope - 0.5, (name, [row[name] for row in rows])
        assert rows[2][name] < rows[0][name]
    bound = {1: 3e-2, 2: 1e-4, 3: 1e-6}[order]  # about twice the error of V_s1, the largest, on the finest grid
    assert max(rows[2].values()) < bound, rows[2]


def test_a_wrong_conductivity_is_seen():
    """The control of the order test: with 1 % on the exact sigma of N the error stops falling."""
    layers = (
        dataclasses.replace(PY, length=30e-9),
        dataclasses.replace(CU, length=120e-9),
        an.Layer.of(PY, 20e-9, sign=-1),
    )
    row = errors_of(Bar(layers, (16, 8, 16), 2), (5e10, 5e10), wrong=1.01)
    assert row["V1"] > 1e-3  # N is a fifth of the resistance
    assert row["T2"] > 1e-3  # and makes its share of the heat


# ------------------------------------------------------------------------------------------ items 1 to 5


def test_items_1_to_3_thermal_injection():
    """50 K/um in 12 relaxation lengths of Py before 4 um of Cu: -0.826 uV.

    Neglected by the closed forms: exp(-12) = 6e-6, feedback 1.5e-4 in lambda, R and G. Grid: 1e-5.
    """
    bar = Bar((PY, CU), left_bath=False, **LONG)
    Q = heat_for(PY, G)
    u, _ = bar.solve((0.0, 0.0), Q)
    f, x = bar.along(u), bar.x
    V_s = f[0] - f[1]
    interface = int(np.argmin(abs(x - PY.length)))
    bare = an.fn_thermal_V_s(G, S_s=PY.S_s, lambda_F=PY.lambda_sf, R_F=R_F, R_N=R_N)
    assert bare == pytest.approx(-0.826e-6, abs=0.5e-9)
    assert V_s[interface] == pytest.approx(bare, rel=3e-4)
    assert V_s[0] == pytest.approx(an.free_end_V_s(G, S_s=PY.S_s, lambda_F=PY.lambda_sf), rel=3e-4)
    # decay on either side
    into_F, into_N = np.interp([PY.length - 10e-9, PY.length + 300e-9], x, np.log(np.maximum(-V_s, 1e-30)))
    assert into_N - np.log(-V_s[interface]) == pytest.approx(-300 / 350, rel=1e-2)
    assert into_F - np.log(-V_s[interface]) == pytest.approx(-2, rel=1e-2)
    # bulk spin current: in the middle of F, from the potentials: J_s = -sigma_s (grad V_s + S_s grad T)
    inside = (x > 20e-9) & (x < 40e-9)
    slope = [np.polyfit(x[inside], row[inside], 1)[0] for row in f]
    s, e = an.channel_sigma(PY.sigma, PY.P), an.channel_seebeck(PY.P, PY.S, PY.S_s)
    J = [-s.up * (slope[0] + e.up * slope[2]), -s.down * (slope[1] + e.down * slope[2])]
    bulk = an.bulk_thermal_spin_current(G, sigma=PY.sigma, P=PY.P, S_s=PY.S_s)
    assert J[0] - J[1] == pytest.approx(bulk, rel=0.03)  # V_s of the two ends, exp(-4 to -8), bends the fit
    # and everything at once, exactly
    exact = bar.exact((0.0, 0.0), Q).fields(x)
    assert abs(V_s - (exact[0] - exact[1])).max() < 2e-5 * abs(V_s).max()


def test_item_4_electrical_injection_and_van_son():
    """The bulk polarisation is fed at the left, so that spin accumulates at the interface alone; S = S_s = 0."""
    bar = Bar((no_seebeck(PY), no_seebeck(CU)), **LONG)
    J = 1e11
    u, _ = bar.solve((J * (1 + PY.P) / 2, J * (1 - PY.P) / 2))
    f = bar.along(u)
    interface = int(np.argmin(abs(bar.x - PY.length)))
    V_s = f[0, interface] - f[1, interface]
    assert V_s / J == pytest.approx(5.366e-16, rel=1e-4)
    assert V_s == pytest.approx(an.fn_electrical_V_s(J, P=PY.P, R_F=R_F, R_N=R_N), rel=2e-5)
    ohm = PY.length / PY.sigma + CU.length / CU.sigma
    van_son = an.van_son_RA(P=PY.P, R_F=R_F, R_N=R_N)
    assert bar.voltage(u) / J == pytest.approx(ohm + van_son, rel=1e-7)  # van Son is 6e-4 of the sum
    assert bar.voltage(u) / J - ohm == pytest.approx(van_son, rel=2e-5)


def test_item_5_floating_detector_reads_half_P_V_s():
    """Pure spin current into N at the left; F at the right, grounded at its far end: V_F - V_N = P V_s/2."""
    N = dataclasses.replace(no_seebeck(CU), length=200e-9)
    bar = Bar((N, no_seebeck(PY)), **LONG)
    u, _ = bar.solve((1e10, -1e10))
    f = bar.along(u)
    interface = int(np.argmin(abs(bar.x - N.length)))
    step = 0.0 - bar.voltage(u)
    assert step == pytest.approx(an.detector_step(f[0, interface] - f[1, interface], P=PY.P), rel=2e-5)


# ------------------------------------------------------------------------------------------ items 6 and 7


def valve(width: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """An N wire along x, square of side `width`, and two F pillars of the same cross-section on it, 100 nm apart.

    The wire is +-1.5 um long (its ends matter by exp(-2*1450/350) = 2.5e-4), pillars are 50 nm = 10 relaxation lengths
    high (a free end 1/cosh(10) = 1e-4 each). Domains: 0 wire, 1 injector, 2 detector.
    """
    w, L, end, height = width, 100e-9, 1.5e-6, 50e-9
    gap = L / 2 - w / 2
    far = clustered(2 * (end - gap - w), 28, 3.5)
    half = far[far <= end - gap - w + 1e-15]  # clustered at the contact only
    pillar = np.array([0.0, w])
    x = np.concatenate(
        [
            -(gap + w) - half[::-1],
            -gap - pillar[::-1][1:],
            -gap + clustered(2 * gap, 8, 2.5)[1:],
            gap + pillar[1:],
            gap + w + half[1:],
        ]
    )
    stack = clustered(2 * height, 24, 2.5)
    z = np.concatenate([np.array([-w]), stack[stack <= height * (1 + 1e-12)]])
    middle = (x[1:] + x[:-1]) / 2
    domain = np.full((len(x) - 1, 1, len(z) - 1), -1)
    domain[:, 0, 0] = 0
    for number, side in ((1, -1), (2, 1)):
        inside = (side * middle > gap) & (side * middle < gap + w)
        domain[inside, 0, 1:] = number
    return x, np.array([0.0, w]), z, domain


@pytest.mark.parametrize("driven", ["electrically", "thermally"])
def test_item_6_nonlocal_spin_valve(driven):
    """The formula has point contacts on a line; contacts of width w -> 0 approach it, the difference is O(w).

    A contact of w x w adds a spreading resistance of a fraction of w/sigma_N to R_F* (1.2e-15 ohm m^2), whose ratio is
    4 % at w = 2 nm; the program gives 0.2 %.
    """
    N, F = no_seebeck(CU), no_seebeck(PY)
    found = []
    for w in (4e-9, 2e-9, 1e-9):
        x, y, z, domain = valve(w)
        S_s = PY.S_s if driven == "thermally" else 0.0
        injector = dataclasses.replace(F, S_s=S_s)
        layers = [N, injector, F]
        ends = [LEFT, RIGHT]
        top = {number: (2, -1, (domain[:, :, -1] == number)) for number in (1, 2)}
        block = Block((x, y, z), domain, layers, 2, ground=[LEFT], bath=ends)
        if driven == "electrically":
            J = 1e10  # the bulk polarisation, fed at the top
            drive = block.drive(top[1], J=(J * (1 + F.P) / 2, J * (1 - F.P) / 2))
            size = J * w * w
        else:
            drive = block.drive(top[1], Q=heat_for(injector, G))
            size = 1.0
        probe = block.probe(top[2]) - block.probe(RIGHT)
        V = []
        for sign in (1, -1):
            law = block.law_of([N, injector, an.Layer.of(F, 1.0, sign=sign)])
            V.append(float(probe @ block.solve(drive, law)[:, 0]))
        case = {
            "P_2": F.P,
            "R_1": R_F / w**2,
            "R_2": R_F / w**2,
            "R_N": R_N / w**2,
            "L": 100e-9,
            "lambda_N": N.lambda_sf,
        }
        if driven == "electrically":
            formula = an.nlsv_resistance(P_1=F.P, **case)
        else:
            formula = an.nlsv_thermal_voltage(G, S_s=S_s, lambda_F=F.lambda_sf, **case)
        found.append((V[0] - V[1]) / size / formula - 1)
    assert abs(found[2]) < 2e-3, found
    assert 0.4 < found[1] / found[0] < 0.6, found
    assert 0.4 < found[2] / found[1] < 0.6, found
    # linear in w: what is left at w = 0 are the finite wire and pillars, and the grid
    assert abs(2 * found[2] - found[1]) < 5e-4, found


def test_item_7_cpp_pillar():
    """F / 15 nm / F, P and AP on one grid. The difference is 1 % of the resistance: grid error 1e-6 of it, exp(-12)."""
    d, J = 15e-9, 1e11
    case = {"R_F": R_F, "R_N": R_N, "d": d, "lambda_N": CU.lambda_sf}
    spacer = dataclasses.replace(no_seebeck(CU), length=d)

    def difference(F, drive, left_bath):
        V = []
        for sign in (-1, 1):
            bar = Bar((F, spacer, an.Layer.of(F, F.length, sign=sign)), (12, 4, 12), 3, 1.5, left_bath)
            V.append(bar.voltage(bar.solve(*drive)[0]))
        return V[0] - V[1]

    F = no_seebeck(PY)
    change = difference(F, ((J / 2, J / 2),), True) / J
    assert change == pytest.approx(1.346e-16, rel=1e-3)
    assert change == pytest.approx(an.cpp_resistance_change(P=PY.P, **case), rel=1e-4)
    F = dataclasses.replace(PY, S=0.0)
    thermal = difference(F, ((0.0, 0.0), heat_for(F, G)), False)
    expected = an.cpp_thermal_voltage_change(G, P=PY.P, S_s=PY.S_s, lambda_F=PY.lambda_sf, **case)
    assert expected == pytest.approx(-207.1e-9, abs=0.05e-9)
    assert thermal == pytest.approx(expected, rel=6e-4)


# ------------------------------------------------------------------------------------------ items 8, 9, 11, 12


def test_item_8_spin_peltier_effect():
    """Pure spin current at the left end of F, S = 0: T(end) - T(bulk) is carried by V_s alone (feedback 1.5e-4)."""
    F = dataclasses.replace(PY, S=0.0)
    bar = Bar((F, CU), left_bath=False, **LONG)
    u, _ = bar.solve((1e10, -1e10))
    f = bar.along(u)
    V_s = f[0] - f[1]
    kappa = an.open_circuit_kappa(F.sigma, F.P, F.S, F.S_s, F.kappa, T0)
    expected = an.spin_peltier_dT(V_s[0], sigma=F.sigma, P=F.P, S_s=F.S_s, kappa_open=kappa, T0=T0)
    middle = int(np.argmin(abs(bar.x - F.length / 2)))  # 6 relaxation lengths from either end: 2.5e-3
    assert abs(expected) > 1e-4
    assert f[2, 0] - f[2, middle] == pytest.approx(expected, rel=4e-3)
    exact = bar.exact((1e10, -1e10)).fields(bar.x)
    assert abs(f[2] - exact[2]).max() < 2e-5 * abs(expected)


def test_item_8_peltier_junction_and_thermocouple():
    """No spin: T is piecewise linear, so every order is exact to the residual of the solve."""
    A, B = dataclasses.replace(PY, P=0.0, S_s=0.0), dataclasses.replace(CU, length=300e-9)
    J = 1e11
    bar = Bar((A, B), **LONG)
    u, _ = bar.solve((J / 2, J / 2))
    k = [an.open_circuit_kappa(m.sigma, m.P, m.S, m.S_s, m.kappa, T0) for m in (A, B)]
    expected = an.peltier_junction_dT(
        J, S_A=A.S, S_B=B.S, kappa_A=k[0], kappa_B=k[1], L_A=A.length, L_B=B.length, T0=T0
    )
    dT = bar.along(u)[2, int(np.argmin(abs(bar.x - A.length)))]
    assert dT == pytest.approx(expected, rel=1e-8)
    ohm = J * (A.length / A.sigma + B.length / B.sigma)
    assert bar.voltage(u) - ohm == pytest.approx(an.thermocouple_voltage(dT, S_A=A.S, S_B=B.S), rel=1e-7)


def test_item_9_onsager_between_current_and_heat():
    """Heat in, voltage out, and current in, temperature out, at the same two faces: equal to the solver tolerance."""
    bar = Bar((PY, dataclasses.replace(CU, length=200e-9)), left_bath=False, **LONG)
    J, Q = 1e10, 1e9
    seebeck = bar.voltage(bar.solve((0.0, 0.0), Q)[0]) / Q
    u, _ = bar.solve((J / 2, J / 2))
    peltier = bar.along(u)[2, 0] / J
    assert seebeck == pytest.approx(peltier / T0, rel=1e-9)
    assert abs(seebeck) > 1e-15


def test_item_11_joule_bar():
    """T_2 is a parabola: exact from p = 2 on; Joule power is I V, and R_2 of a uniform bar is zero."""
    bar = Bar((dataclasses.replace(PY, P=0.0, S_s=0.0, length=1e-6),) * 2, **LONG)
    m, J, length = bar.layers[0], 1e11, 2e-6
    u_1, u_2 = bar.solve((J / 2, J / 2))
    k = an.open_circuit_kappa(m.sigma, m.P, m.S, m.S_s, m.kappa, T0)
    expected = an.joule_bar_T(bar.x, J=J, length=length, sigma=m.sigma, kappa_open=k)
    T = bar.along(u_2)[2]
    assert abs(T - expected).max() < 1e-8 * expected.max()
    top = an.joule_bar_T_max(J=J, length=length, sigma=m.sigma, kappa_open=k)
    V = bar.voltage(u_1)
    assert top == pytest.approx(m.sigma * V**2 / (8 * k), rel=1e-8)
    assert np.interp(length / 2, bar.x, T) == pytest.approx(top, rel=1e-6)
    power = T0 * float(joule(bar.block.disc, bar.block.law, u_1, u_1).sum())
    assert power == pytest.approx(J * bar.width**2 * V, rel=1e-9)
    assert abs(bar.voltage(u_2)) < 1e-7 * abs(m.S) * top


def test_item_12_limits():
    """Reversing every magnet changes no voltage; without P and S_s there is no spin accumulation."""
    middle = dataclasses.replace(CU, length=100e-9)
    layers = (PY, middle, an.Layer.of(PY, 20e-9, sign=-1))
    shape = {"cells": (8, 4, 8), "order": 2}
    J = (5e10, 5e10)

    def signals(layers):
        bar = Bar(layers, **shape)
        u = bar.solve(J)
        f = bar.along(u[0])
        return [bar.voltage(v) for v in u], abs(f[0] - f[1]).max()

    here, V_s = signals(layers)
    reversed_all, _ = signals(tuple(an.Layer.of(m, m.length, sign=-1) for m in layers))
    reversed_one, _ = signals((an.Layer.of(PY, PY.length, sign=-1), *layers[1:]))
    np.testing.assert_allclose(reversed_all, here, rtol=1e-9)
    assert abs(reversed_one[0] / here[0] - 1) > 1e-4
    _, V_s_plain = signals(tuple(dataclasses.replace(m, P=0.0, S_s=0.0) for m in layers))
    assert V_s > 1e-6
    assert V_s_plain < 1e-9 * V_s
