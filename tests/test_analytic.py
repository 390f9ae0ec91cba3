"""The closed forms against printed numbers, against each other, and against the equations they claim to solve.

Two sorts of tolerance appear. Printed numbers are compared to half a unit of their last digit. Closed forms are
compared with the exact stack at the size of what each neglects: 1e-9 (round-off through a dense solve, with nanovolts
beside volts) where nothing is neglected, exp(-length/lambda) where a bar stands for an infinite one.
"""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from thermospin import analytic as an
from thermospin.base.errors import InputError

T0 = 300.0
PY = an.Layer(length=100e-9, sigma=4.32e6, P=0.25, S=-20e-6, S_s=-3.8e-6, kappa=30.0, lambda_sf=5e-9)
CU = an.Layer(length=4e-6, sigma=4.26e7, S=1.6e-6, kappa=300.0, lambda_sf=350e-9)
AU = an.Layer(length=50e-9, sigma=2.2e7, S=1.7e-6, kappa=300.0, lambda_sf=60e-9)
G = -50e6
R_F = an.spin_resistance(PY.sigma, PY.lambda_sf, PY.P)
R_N = an.spin_resistance(CU.sigma, CU.lambda_sf)


def cut(layer: an.Layer, length: float, sign: int = 1) -> an.Layer:
    return an.Layer.of(layer, length, sign=sign)


def printed(value: float, unit_of_last_digit: float) -> object:
    return pytest.approx(value, abs=0.5 * unit_of_last_digit, rel=0)


# ------------------------------------------------------------------------------------------ printed numbers


def test_spin_resistances_of_the_paper():
    assert printed(1.235e-15, 1e-18) == R_F
    assert printed(8.216e-15, 1e-18) == R_N
    assert R_F * (1 - PY.P**2) == printed(1.157e-15, 1e-18)
    assert R_N / (R_N + R_F) == printed(0.869, 1e-3)


def test_items_1_and_2_thermal_injection_of_the_paper():
    assert an.fn_thermal_V_s(G, S_s=PY.S_s, lambda_F=PY.lambda_sf, R_F=R_F, R_N=R_N) == printed(-0.826e-6, 1e-9)
    assert an.free_end_V_s(G, S_s=PY.S_s, lambda_F=PY.lambda_sf) == printed(0.950e-6, 1e-9)


def test_item_4_electrical_injection_and_van_son():
    assert an.fn_electrical_V_s(1.0, P=PY.P, R_F=R_F, R_N=R_N) == printed(5.366e-16, 1e-19)
    assert an.van_son_RA(P=PY.P, R_F=R_F, R_N=R_N) == printed(6.708e-17, 1e-20)


def nlsv_of_the_paper() -> dict[str, float]:
    return {
        "P_2": PY.P,
        "R_1": R_F / (40e-9 * 40e-9),
        "R_2": R_F / (30e-9 * 40e-9),
        "R_N": R_N / (40e-9 * 60e-9),
        "L": 100e-9,
        "lambda_N": CU.lambda_sf,
    }


def test_item_6_nonlocal_spin_valve():
    assert an.nlsv_resistance(P_1=PY.P, **nlsv_of_the_paper()) == printed(24.8e-3, 1e-4)
    # V(detector) - V(N): negative for heat flowing into N and S_s < 0, magnitude as printed.
    thermal = an.nlsv_thermal_voltage(G, S_s=PY.S_s, lambda_F=PY.lambda_sf, **nlsv_of_the_paper())
    assert thermal == printed(-61e-9, 1e-9)


def test_thermal_over_electrical_is_one_current_whatever_the_channel():
    current = an.injection_equivalent_current(G * (40e-9) ** 2, sigma=PY.sigma, P=PY.P, S_s=PY.S_s)
    assert current == printed(-2.46e-6, 1e-8)
    for L in (100e-9, 700e-9):
        case = nlsv_of_the_paper() | {"L": L}
        ratio = an.nlsv_thermal_voltage(G, S_s=PY.S_s, lambda_F=PY.lambda_sf, **case)
        assert ratio == pytest.approx(current * an.nlsv_resistance(P_1=PY.P, **case), rel=1e-12)


def test_item_7_cpp_pillar():
    case = {"R_F": R_F, "R_N": R_N, "d": 15e-9, "lambda_N": CU.lambda_sf}
    assert an.cpp_resistance_change(P=PY.P, **case) == printed(1.346e-16, 1e-19)
    thermal = an.cpp_thermal_voltage_change(G, P=PY.P, S_s=PY.S_s, lambda_F=PY.lambda_sf, **case)
    assert thermal == printed(-207.1e-9, 1e-10)


def test_channel_seebeck_of_the_paper_and_its_weighted_mean():
    s, e = an.channel_sigma(PY.sigma, PY.P), an.channel_seebeck(PY.P, PY.S, PY.S_s)
    assert e.up == printed(-21.425e-6, 1e-9)
    assert e.down == printed(-17.625e-6, 1e-9)
    assert (s.up * e.up + s.down * e.down) / PY.sigma == pytest.approx(PY.S, rel=1e-14)


def test_open_circuit_kappa_of_the_paper():
    drop = [m.kappa - an.open_circuit_kappa(m.sigma, m.P, m.S, m.S_s, m.kappa, T0) for m in (PY, CU)]
    assert drop == [printed(0.52, 0.01), printed(0.03, 0.01)]


# ------------------------------------------------------------------------------------------ the exact stack


def chebyshev(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes on [-1, 1] and differentiation matrix."""
    t = np.cos(np.pi * np.arange(n + 1) / n)
    c = np.r_[2, np.ones(n - 1), 2] * (-1.0) ** np.arange(n + 1)
    D = np.outer(c, 1 / c) / (t[:, None] - t[None, :] + np.eye(n + 1))
    return t, D - np.diag(D.sum(axis=1))


def equation_residuals(solution, layers, heat) -> list[float]:
    """Largest relative residual of the six equations of design, layer by layer, by spectral differentiation."""
    t, D = chebyshev(32)
    worst = []
    for i, m in enumerate(layers):
        a, b = solution.edges[i : i + 2]
        x = (a + b) / 2 + (b - a) / 2 * t * (1 - 1e-12)
        f = solution.fields(x)
        d = f @ D.T * 2 / (b - a)
        s, e = an.channel_sigma(m.sigma, m.P), an.channel_seebeck(m.P, m.S, m.S_s)
        leak = an.spin_exchange(m.sigma, m.P, m.lambda_sf) * (f[0] - f[1])
        peltier = T0 * (s.up * e.up * d[0] + s.down * e.down * d[1])
        rows = [
            [f[3], s.up * (d[0] + e.up * d[2])],
            [f[4], s.down * (d[1] + e.down * d[2])],
            [f[5], peltier + m.kappa * d[2]],
            [d[3], leak],
            [d[4], -leak],
            [d[5], -heat(i, x)],
        ]
        # A current is constant to round-off where nothing leaks: measure against current over length as well.
        floor = [0, 0, 0, *(abs(f[3:]).max(axis=1) / (b - a))]
        for k, (one, two) in enumerate(rows):
            size = max(abs(one).max(), abs(two).max(), floor[k])
            worst.append(float(abs(one + two).max() / size))
    return worst


STACK = [cut(PY, 30e-9), cut(CU, 100e-9), cut(PY, 20e-9, -1), cut(AU, 50e-9)]


def test_layered_stack_solves_the_equations_to_both_orders():
    """Spectral differentiation with 33 nodes over at most 6 decay lengths leaves about n^2 eps = 1e-12 to 1e-10."""
    first = an.layered_stack(STACK, an.End.current(1e11), an.End.grounded(), T0=T0)
    assert max(equation_residuals(first, STACK, lambda i, x: 0 * x)) < 1e-9

    def joule(i, x):
        f, s = first.fields(x), an.channel_sigma(STACK[i].sigma, STACK[i].P)
        return 3.2 * (f[3] ** 2 / s.up + f[4] ** 2 / s.down)

    second = first.second_harmonic(3.2)
    assert max(equation_residuals(second, STACK, joule)) < 1e-9
    assert abs(second.T(first.edges[1])) > 0.1  # there is something to check
    # the control: a wrong zeta is seen
    assert max(equation_residuals(first.second_harmonic(3.1), STACK, joule)) > 0.02


def test_layered_stack_is_continuous_and_holds_its_ends():
    s = an.layered_stack(STACK, an.End.current(1e11), an.End.grounded(), T0=T0)
    size = abs(s.fields(s.edges)).max(axis=1)
    for x in s.edges[1:-1]:
        jump = s.fields(x * (1 + 1e-15)) - s.fields(np.nextafter(x, 0) * (1 - 1e-12))
        assert np.all(abs(jump) < 1e-9 * size)
    left, right = s.fields(0.0), s.fields(s.edges[-1])
    np.testing.assert_allclose(left[[2, 3, 4]], [0, 5e10, 5e10], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(right[:3], 0, atol=1e-13)


def test_layered_stack_balances_power_current_and_heat():
    """I V = Joule + g V_s^2 + work against the Seebeck field; what the ends let out is what is produced.

    Gauss-Legendre with 40 points per layer is exact to round-off for exponentials over six decay lengths.
    """
    J = 1e11
    s = an.layered_stack(STACK, an.End.current(J), an.End.grounded(), T0=T0)
    t, w = np.polynomial.legendre.leggauss(40)
    power = joule = 0.0
    for i, m in enumerate(STACK):
        a, b = s.edges[i : i + 2]
        x = (a + b) / 2 + (b - a) / 2 * t
        f = s.fields(x)
        c, e = an.channel_sigma(m.sigma, m.P), an.channel_seebeck(m.P, m.S, m.S_s)
        dT = -(f[5] - T0 * (e.up * f[3] + e.down * f[4])) / an.open_circuit_kappa(m.sigma, m.P, m.S, m.S_s, m.kappa, T0)
        heat = f[3] ** 2 / c.up + f[4] ** 2 / c.down
        leak = an.spin_exchange(m.sigma, m.P, m.lambda_sf) * (f[0] - f[1]) ** 2
        work = (e.up * f[3] + e.down * f[4]) * dT
        power += (b - a) / 2 * w @ (heat + leak + work)
        joule += (b - a) / 2 * w @ heat
    assert power == pytest.approx(J * s.V_c(0.0), rel=1e-11)
    out = s.second_harmonic(2.0).fields(s.edges[[0, -1]])[5]
    assert out[1] - out[0] == pytest.approx(2.0 * joule, rel=1e-11)


def test_layered_stack_carries_heat_through_a_heat_only_layer():
    """A bar with Joule heat on an insulator: all heat leaves through the insulator, T there falls linearly."""
    oxide = an.Layer(length=200e-9, kappa=1.4)
    bar = cut(AU, 500e-9)
    heated = an.layered_stack(
        [oxide, dataclasses.replace(bar, heat=1e15)], an.End(J=(0, 0), T=0.0), an.End(V=(0, 0), Q=0.0), T0=T0
    )
    assert heated.fields(100e-9)[5] == pytest.approx(-1e15 * 500e-9, rel=1e-12)
    assert heated.T(200e-9) == pytest.approx(1e15 * 500e-9 * 200e-9 / 1.4, rel=1e-12)
    # no current flows, so the thermal voltage of the bar is all there is
    drop = heated.T(200e-9) - heated.T(700e-9)
    assert heated.V_c(200e-9) == pytest.approx(-bar.S * drop, rel=1e-9)


LAYER = {"length": 10e-9, "sigma": 4e6, "kappa": 30.0, "lambda_sf": 5e-9}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"P": 1.5}, "Layer: P: got 1.5, expected |P| < 1"),
        ({"P": 1}, "Layer: P: got 1, "),
        ({"length": -1e-9}, "Layer: length: got -1e-09, expected length > 0 m"),
        ({"lambda_sf": -5e-9}, "Layer: lambda_sf: got -5e-09, expected lambda_sf > 0 m"),
        ({"lambda_sf": 0}, "Layer: lambda_sf: got 0, "),
        ({"lambda_sf": np.inf}, "Layer: lambda_sf: got inf, expected lambda_sf > 0 m and finite"),
        ({"kappa": -3}, "Layer: kappa: got -3, expected kappa > 0 W/(m K)"),
        ({"kappa": np.nan}, "Layer: kappa: got nan, "),
        ({"kappa": None}, "Layer: kappa: got None, expected a number"),
        ({"sigma": -1}, "Layer: sigma: got -1, expected sigma >= 0 S/m"),
        (
            {"S": np.inf, "heat": np.nan},
            "Layer: heat: got nan, expected a finite heat\nLayer: S: got inf, expected a fin",
        ),
    ],
)
def test_layers_outside_the_model_are_refused(values, words):
    with pytest.raises(InputError, match="^" + re.escape(words)):
        an.Layer(**(LAYER | values))


def test_stacks_outside_the_model_are_refused():
    ground = an.End.grounded()
    uphill = an.Layer(**LAYER, S=1e-3)
    with pytest.raises(InputError, match="layer 1: kappa: got 30, and -1170 without current in either channel"):
        an.layered_stack([PY, uphill], an.End.current(), ground, T0=T0)
    with pytest.raises(InputError, match="got no layers"):
        an.layered_stack([], an.End.current(), ground, T0=T0)
    with pytest.raises(InputError, match="T0: got -3, expected T0 >= 0 K"):
        an.layered_stack([PY], an.End.current(), ground, T0=-3)
    with pytest.raises(InputError, match="got the sign 2, expected 1, or -1"):
        an.Layer.of(PY, 1e-9, sign=2)
    s = an.layered_stack([PY, CU], an.End.current(), ground, T0=T0)
    with pytest.raises(InputError, match="zeta: got -1"):
        s.second_harmonic(-1)


def test_an_undetermined_stack_is_refused():
    with pytest.raises(ValueError, match="hold V"):
        an.layered_stack([PY], an.End.insulated(), an.End.current(), T0=T0)
    with pytest.raises(ValueError, match="one of V and J"):
        an.End(T=0.0)


# ------------------------------------------------------------------------------------------ closed forms against it


def far_gradient(layer: an.Layer, dT_dx: float) -> float:
    """The heat current that makes dT/dx far from interfaces, without charge current."""
    d = an.dressed(layer.sigma, layer.P, layer.S, layer.S_s, layer.kappa, layer.lambda_sf, T0)
    return -d.kappa * (1 + d.feedback) * dT_dx


def thermal_stack(layers, end=None):
    left = end or an.End(J=(0.0, 0.0), Q=far_gradient(PY, G))
    return an.layered_stack(layers, left, an.End.grounded(), T0=T0)


def test_item_1_and_2_are_the_limit_of_the_stack():
    """100 nm of F and 4 um of N stand for infinite: exp(-20) = 2e-9, exp(-8000/350) = 1e-10. Feedback: 1.5e-4."""
    s = thermal_stack([PY, CU])
    bare = an.fn_thermal_V_s(G, S_s=PY.S_s, lambda_F=PY.lambda_sf, R_F=R_F, R_N=R_N)
    assert s.V_s(100e-9) == pytest.approx(bare, rel=3e-4)
    assert s.V_s(100e-9 + 350e-9) == pytest.approx(bare * np.exp(-1), rel=3e-4)
    assert s.V_s(0.0) == pytest.approx(an.free_end_V_s(G, S_s=PY.S_s, lambda_F=PY.lambda_sf), rel=3e-4)
    # with the dressed constants nothing is neglected
    d = an.dressed(PY.sigma, PY.P, PY.S, PY.S_s, PY.kappa, PY.lambda_sf, T0)
    G0 = G * (1 + d.feedback)
    exact = an.fn_thermal_V_s(G0, S_s=PY.S_s, lambda_F=d.lambda_sf, R_F=d.R, R_N=R_N)
    assert s.V_s(100e-9) == pytest.approx(exact, rel=1e-8)
    j = an.fn_thermal_spin_current(G0, S_s=PY.S_s, lambda_F=d.lambda_sf, R_F=d.R, R_N=R_N)
    f = s.fields(100e-9)
    assert f[3] - f[4] == pytest.approx(j, rel=1e-8)
    assert f[3] + f[4] == pytest.approx(0, abs=1e-9 * abs(f[3]))


@pytest.mark.parametrize("end", ["free", "sink"])
def test_item_1_with_a_finite_ferromagnet_and_a_finite_channel_is_exact(end):
    F, N = cut(PY, 7e-9), cut(CU, 200e-9)
    d = an.dressed(PY.sigma, PY.P, PY.S, PY.S_s, PY.kappa, PY.lambda_sf, T0)
    Q = -d.kappa * G
    # One end of the stack is grounded, the other one open: no thermocurrent, and one of F and N ends in a spin sink.
    if end == "free":
        left, right, far = an.End(J=(0.0, 0.0), Q=Q), an.End.grounded(), "sink"
    else:
        left, right, far = an.End(V=(0.0, 0.0), Q=Q), an.End.current(0.0), "free"
    s = an.layered_stack([F, N], left, right, T0=T0)
    load = an.finite_spin_resistance(R_N, N.length, N.lambda_sf, far)
    value = an.fn_thermal_V_s_finite(G, S_s=PY.S_s, lambda_F=d.lambda_sf, length_F=F.length, R_F=d.R, R_N=load, end=end)
    assert s.V_s(F.length) == pytest.approx(value, rel=1e-9)


def test_item_3_bulk_spin_current_is_the_middle_of_a_long_bar():
    """The middle is 20 decay lengths away from both ends: exp(-20) = 2e-9, times a few; no feedback enters."""
    s = thermal_stack([cut(PY, 200e-9)])
    f = s.fields(100e-9)
    expected = an.bulk_thermal_spin_current(G, sigma=PY.sigma, P=PY.P, S_s=PY.S_s)
    assert f[3] - f[4] == pytest.approx(expected, rel=1e-7)


def test_items_4_and_5_are_the_limit_of_the_stack():
    """S = S_s = 0 takes the feedback away; what is left is the finite length, exp(-20)."""
    F = dataclasses.replace(PY, S=0.0, S_s=0.0)
    N = dataclasses.replace(CU, S=0.0)
    J = 1e11
    # channel currents of the bulk enter at the left, so that no spin accumulates there
    s = an.layered_stack([F, N], an.End(J=(0.625 * J, 0.375 * J), T=0.0), an.End.grounded(), T0=T0)
    assert s.V_s(100e-9) == pytest.approx(an.fn_electrical_V_s(J, P=F.P, R_F=R_F, R_N=R_N), rel=1e-8)
    ohm = F.length / F.sigma + N.length / N.sigma
    assert s.V_c(0.0) / J - ohm == pytest.approx(an.van_son_RA(P=F.P, R_F=R_F, R_N=R_N), rel=1e-7)
    # a floating detector on a spin-polarised metal: V_F - V_N = P V_s/2
    V_s = 1e-6
    d = an.layered_stack([F, N], an.End.current(), an.End(V=(V_s / 2, -V_s / 2), T=0.0), T0=T0)
    at = d.fields(np.array([0.0, 100e-9]))
    here = at[0, 1] - at[1, 1]
    charge_in_N = (at[0, 1] + at[1, 1]) / 2  # J = 0 and P = 0 in N: uniform there
    assert (at[0, 0] + at[1, 0]) / 2 - charge_in_N == pytest.approx(an.detector_step(here, P=F.P), rel=1e-8)


def test_item_6_nlsv_solves_the_network_it_stands_for():
    """Two contacts on an infinite wire: V_s = 2 R_N sum_i j_i exp(-|x-x_i|/lambda), j_1 = P_1 I/2 - V_s1/(4 R_1)."""
    P_1, P_2, R_1, R_2, R_W, E = 0.3, 0.4, 0.7, 1.3, 0.9, np.exp(-1.7)
    # unknowns j_1, j_2 (spin current into the wire) for I = 1; V_s = M j
    M = 2 * R_W * np.array([[1, E], [E, 1]])
    j = np.linalg.solve(np.eye(2) + np.diag([1 / (4 * R_1), 1 / (4 * R_2)]) @ M, [P_1 / 2, 0])
    step = an.detector_step((M @ j)[1], P=P_2)
    formula = an.nlsv_resistance(P_1=P_1, P_2=P_2, R_1=R_1, R_2=R_2, R_N=R_W, L=1.7, lambda_N=1.0)
    assert formula == pytest.approx(2 * step, rel=1e-12)


def test_item_7_cpp_pillar_is_the_limit_of_the_stack():
    """Electrical: S = S_s = 0, exact but for exp(-20). Thermal: feedback of 1.5e-4 on each of lambda, R and G."""
    d, J = 15e-9, 1e11
    case = {"R_F": R_F, "R_N": R_N, "d": d, "lambda_N": CU.lambda_sf}
    spacer = dataclasses.replace(CU, S=0.0, length=d)

    def V_AP_minus_P(S_s, J, Q):
        F = dataclasses.replace(PY, S=0.0, S_s=S_s)
        left = an.End(V=(0.0, 0.0), Q=Q)
        V = []
        for sign in (-1, 1):
            s = an.layered_stack([F, spacer, an.Layer.of(F, 100e-9, sign=sign)], left, an.End.current(J), T0=T0)
            V.append(s.V_c(0.0) - s.V_c(s.edges[-1]))
        return V[0] - V[1]

    # The outer ends feed half and half, which costs P^2 R* per end in P and AP alike: it drops out.
    assert V_AP_minus_P(0.0, J, 0.0) / J == pytest.approx(an.cpp_resistance_change(P=PY.P, **case), rel=1e-6)
    change = V_AP_minus_P(PY.S_s, 0.0, far_gradient(dataclasses.replace(PY, S=0.0), G))
    expected = an.cpp_thermal_voltage_change(G, P=PY.P, S_s=PY.S_s, lambda_F=PY.lambda_sf, **case)
    assert change == pytest.approx(expected, rel=4.5e-4)


def test_item_8_spin_peltier_heats_the_interface():
    """A spin accumulation held at the right end of F, no current, S = 0: T changes over lambda_F. Feedback 1.5e-4."""
    F = dataclasses.replace(PY, S=0.0)
    V_s = 1e-4
    right = an.End(V=(V_s / 2, -V_s / 2), Q=0.0)
    s = an.layered_stack([F], an.End(J=(0.0, 0.0), T=0.0), right, T0=T0)
    kappa = an.open_circuit_kappa(F.sigma, F.P, F.S, F.S_s, F.kappa, T0)
    expected = an.spin_peltier_dT(V_s, sigma=F.sigma, P=F.P, S_s=F.S_s, kappa_open=kappa, T0=T0)
    assert s.T(100e-9) - s.T(50e-9) == pytest.approx(expected, rel=2e-4)
    assert expected > 0


def test_item_8_peltier_junction_and_thermocouple_are_exact_without_spin():
    A, B, J = dataclasses.replace(PY, P=0.0, S_s=0.0), cut(CU, 300e-9), 1e11
    s = an.layered_stack([A, B], an.End.current(J), an.End.grounded(), T0=T0)
    k_A, k_B = (an.open_circuit_kappa(m.sigma, 0, m.S, 0, m.kappa, T0) for m in (A, B))
    expected = an.peltier_junction_dT(J, S_A=A.S, S_B=B.S, kappa_A=k_A, kappa_B=k_B, L_A=A.length, L_B=B.length, T0=T0)
    dT = s.T(A.length)
    assert dT == pytest.approx(expected, rel=1e-11)
    seebeck = s.V_c(0.0) - J * (A.length / A.sigma + B.length / B.sigma)
    assert seebeck == pytest.approx(an.thermocouple_voltage(dT, S_A=A.S, S_B=B.S), rel=1e-9)


def test_item_9_onsager_between_an_electrical_and_a_thermal_port():
    layers, ground = STACK, an.End.grounded()
    J, Q = 1e10, 1e9
    seebeck = an.layered_stack(layers, an.End(J=(0.0, 0.0), Q=Q), ground, T0=T0).V_c(0.0) / Q
    peltier = an.layered_stack(layers, an.End(J=(J / 2, J / 2), Q=0.0), ground, T0=T0).T(0.0) / J
    assert seebeck == pytest.approx(peltier / T0, rel=1e-10)
    matrix = an.onsager_matrix(PY.sigma, PY.P, PY.S, PY.S_s, PY.kappa, T0)
    assert np.array_equal(matrix, matrix.T)
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_the_transport_matrix_is_positive_definite_exactly_while_kappa_open_is():
    edge = T0 * PY.sigma * (PY.S**2 + (1 - PY.P**2) / 4 * PY.S_s**2)
    for kappa, positive in ((edge * 1.001, True), (edge * 0.999, False)):
        matrix = an.onsager_matrix(PY.sigma, PY.P, PY.S, PY.S_s, kappa, T0)
        scale = np.diag(np.diag(matrix) ** -0.5)  # volts against kelvins
        assert bool(np.linalg.eigvalsh(scale @ matrix @ scale).min() > 0) is positive


def test_item_11_joule_bar_is_the_second_harmonic_and_needs_no_seebeck():
    bar = dataclasses.replace(PY, length=1e-6, P=0.0, S_s=0.0)
    J, zeta = 1e11, 3.2
    second = an.layered_stack([bar], an.End.current(J), an.End.grounded(), T0=T0).second_harmonic(zeta)
    k = an.open_circuit_kappa(bar.sigma, 0.0, bar.S, 0.0, bar.kappa, T0)
    x = np.linspace(0, bar.length, 11)
    expected = zeta * an.joule_bar_T(x, J=J, length=bar.length, sigma=bar.sigma, kappa_open=k)
    np.testing.assert_allclose(second.T(x), expected, rtol=1e-10, atol=1e-10 * expected.max())
    top = zeta * an.joule_bar_T_max(J=J, length=bar.length, sigma=bar.sigma, kappa_open=k)
    assert expected.max() == pytest.approx(top, rel=1e-12)
    V = J * bar.length / bar.sigma
    assert top == pytest.approx(zeta * bar.sigma * V**2 / (8 * k), rel=1e-12)
    assert abs(second.V_c(0.0)) < 1e-10 * abs(bar.S) * top  # both ends at the bath: no voltage


def test_polarised_bar_has_the_extra_resistance_of_its_injecting_end():
    for length in (3e-9, 60e-9):
        bar = dataclasses.replace(PY, length=length, S=0.0, S_s=0.0)
        s = an.layered_stack([bar], an.End.current(1.0), an.End.grounded(), T0=T0)
        expected = an.polarised_bar_resistance(length, sigma=bar.sigma, P=bar.P, lambda_sf=bar.lambda_sf, area=1.0)
        assert s.V_c(0.0) == pytest.approx(expected, rel=1e-11)
    assert an.bar_resistance(2.0, sigma=4.0, area=0.5) == 1.0


def test_item_12_limits():
    def first(layers):
        s = an.layered_stack(layers, an.End.current(1e11), an.End.grounded(), T0=T0)
        return s.V_c(0.0), s.second_harmonic().V_c(0.0)

    both = [an.Layer.of(m, m.length, sign=-1) for m in STACK]
    np.testing.assert_allclose(first(both), first(STACK), rtol=1e-10)
    no_spin = [dataclasses.replace(m, P=0.0, S_s=0.0) for m in STACK]
    one = [an.Layer.of(m, m.length, sign=(-1 if i == 0 else 1)) for i, m in enumerate(no_spin)]
    np.testing.assert_allclose(first(one), first(no_spin), rtol=1e-13)
    s = an.layered_stack(no_spin, an.End.current(1e11), an.End.grounded(), T0=T0)
    assert abs(s.V_s(np.linspace(0, s.edges[-1], 21))).max() < 1e-18


@pytest.mark.parametrize("drive", [{"dT_dx": G}, {"J": 1e11}, {"dT_dx": G, "J": 1e11}])
def test_the_interface_profile_is_the_stack_far_from_its_ends(drive):
    """Exact but for exp(-20) at the ends of F: compared within 50 nm of the interface, potentials from there."""
    J = drive.get("J", 0.0)
    d = an.dressed(PY.sigma, PY.P, PY.S, PY.S_s, PY.kappa, PY.lambda_sf, T0)
    Q = far_gradient(PY, drive.get("dT_dx", 0.0)) + PY.S * T0 * J
    j_bulk = -PY.S_s * drive.get("dT_dx", 0.0) * PY.sigma * (1 - PY.P**2) / 4
    ends = (0.625 * J + j_bulk, 0.375 * J - j_bulk)
    s = an.layered_stack([cut(PY, 200e-9), CU], an.End(J=ends, Q=Q), an.End.grounded(), T0=T0)
    x = np.linspace(-50e-9, 50e-9, 41)
    p = an.fn_interface_profile(x, PY, CU, T0=T0, **drive)
    f, at = s.fields(x + 200e-9), s.fields(200e-9)
    size = abs(p.V_up).max()
    np.testing.assert_allclose(p.V_up, f[0] - (at[0] + at[1]) / 2, atol=2e-7 * size, rtol=0)
    np.testing.assert_allclose(p.V_down, f[1] - (at[0] + at[1]) / 2, atol=2e-7 * size, rtol=0)
    np.testing.assert_allclose(p.T, f[2] - at[2], atol=2e-7 * abs(p.T).max(), rtol=0)
    assert d.feedback == pytest.approx(1.5e-4, rel=0.05)


def test_contact_resistance_and_bad_arguments():
    assert an.contact_spin_resistance(2.0, 2.0) == 0.25
    with_contact = an.fn_thermal_V_s(G, S_s=PY.S_s, lambda_F=PY.lambda_sf, R_F=R_F, R_N=R_N, R_contact=R_N + R_F)
    assert with_contact == pytest.approx(-0.826e-6 / 2, rel=1e-3)
    with pytest.raises(ValueError, match="free"):
        an.finite_spin_resistance(1.0, 1.0, 1.0, "open")
    with pytest.raises(ValueError, match="free"):
        an.fn_thermal_V_s_finite(G, S_s=1.0, lambda_F=1.0, length_F=1.0, R_F=1.0, R_N=1.0, end="open")


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        (lambda: an.spin_resistance(1e6, -1e-9), "spin_resistance: lambda_sf: got -1e-09, expected lambda_sf > 0 m"),
        (lambda: an.spin_resistance(0, 1e-9), "spin_resistance: sigma: got 0, expected another sigma: the formula"),
        (
            lambda: an.spin_resistance(1e6, 1e-9, np.array([0.2, -1.2])),
            "spin_resistance: P: got -1.2, expected |P| < 1",
        ),
        (lambda: an.dressed(1e6, 0.2, 1e-3, 0, 30, 1e-9, 300), "dressed: kappa: got 30, and -270 without current"),
        (lambda: an.fin_length(kappa=1, thickness=1, h=0), "fin_length: h: got 0, expected h > 0"),
        (lambda: an.van_son_RA(P=0.2, R_F=1, R_N=-1), "van_son_RA: R_N: got -1, expected R_N > 0"),
        (lambda: an.free_end_V_s(np.nan, S_s=1, lambda_F=1), "free_end_V_s: dT_dx: got nan, expected a finite dT_dx"),
        (
            lambda: an.tunnel_magnetoresistance(P_1=1, P_2=0.5),
            "tunnel_magnetoresistance: P_1: got 1, expected |P_1| < 1",
        ),
        (lambda: an.slab_thermal_resistance([1], [2], [0]), "slab_thermal_resistance: K: got 0, expected K > 0"),
        (lambda: an.slab_thermal_resistance([1], [2, 3]), "slab_thermal_resistance: got 1 lengths and 2 kappas"),
        (
            lambda: an.injection_equivalent_current(1, sigma=1e6, P=0, S_s=1e-6),
            "injection_equivalent_current: P: got 0, expected another P: the formula divides by it",
        ),
    ],
)
def test_formulas_refuse_numbers_outside_the_model(formula, words):
    with pytest.raises(InputError, match="^" + re.escape(words)):
        formula()


def test_every_formula_checks_its_numbers():
    formulas = [name for name in an.__all__ if name.islower() or name[0].islower()]
    unchecked = [name for name in formulas if not hasattr(getattr(an, name), "__wrapped__")]
    assert unchecked == ["layered_stack"]  # it checks by itself, as its layers do
    with pytest.raises(TypeError, match=r"spin_resistance\(\) missing 1 required positional argument: 'lambda_sf'"):
        an.spin_resistance(1e6)


def test_closed_forms_take_jax_arrays_and_can_be_differentiated():
    jax = pytest.importorskip("jax")

    def signal(L):
        return an.nlsv_resistance(P_1=0.25, **(nlsv_of_the_paper() | {"L": L}))

    L, h = 100e-9, 1e-12
    slope = jax.jit(jax.grad(signal))(L)
    # what is traced has no number to check yet, also within a list
    heat = jax.jit(jax.grad(lambda kappa: an.slab_thermal_resistance([1.0], [kappa], [2.0])))
    assert float(heat(2.0)) == pytest.approx(-0.25)
    # float32 arithmetic is possible here (the test sets no precision): three digits say that the derivative is right
    assert float(slope) == pytest.approx((signal(L + h) - signal(L - h)) / (2 * h), rel=1e-3)
