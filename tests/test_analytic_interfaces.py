"""Closed forms with interfaces, held temperatures, fins and slabs: printed numbers, the exact stack, its equations.

Numbers in the tests are those that the formulas were found to give on their derivation, half a unit of the last digit.
The exact stack differs from the formulas by exp(-length/lambda) = 2e-9 of the bars that stand for infinite ones, by
rounding (1e-9: nanovolts beside volts), and by the heat that spin currents carry, 1.5e-4, where S_s acts and the
constants of `dressed` are not used.
"""

from __future__ import annotations

import dataclasses
import re
from types import SimpleNamespace

import numpy as np
import pytest

from thermospin import analytic as an
from thermospin.base.errors import InputError

T0 = 300.0
PY = an.Layer(length=100e-9, sigma=4.32e6, P=0.25, S=-20e-6, S_s=-3.8e-6, kappa=30.0, lambda_sf=5e-9)
CU = an.Layer(length=4e-6, sigma=4.26e7, S=1.6e-6, kappa=300.0, lambda_sf=350e-9)
OXIDE = an.Layer(length=8e-9, kappa=1.5)
LINK = an.Interface(RA=0.3e-15, gamma=0.6, K=2e9, S=-10e-6, S_s=-3e-6)
R_F = an.spin_resistance(PY.sigma, PY.lambda_sf, PY.P)
R_N = an.spin_resistance(CU.sigma, CU.lambda_sf)
R_LINK = an.interface_spin_resistance(LINK.RA, LINK.gamma)
BEHIND = an.behind_interface(P=PY.P, R_F=R_F, gamma=LINK.gamma, R_contact=R_LINK)
BATHS = an.End(J=(0.0, 0.0), T=10.0), an.End.grounded()
J = 1e11
POLARISED = an.End(J=(J * (1 + PY.P) / 2, J * (1 - PY.P) / 2), T=0.0)
"""The current of a long ferromagnet, which makes no spin accumulation at the end."""


def close(value: float, rel: float) -> object:
    return pytest.approx(value, rel=rel, abs=0.0)


def printed(value: float, digits: int) -> object:
    return pytest.approx(value, abs=0.5 * 10.0 ** (np.floor(np.log10(abs(value))) + 1 - digits), rel=0)


def no_seebeck(m: an.Layer) -> an.Layer:
    return dataclasses.replace(m, S=0.0, S_s=0.0)


def resistive(link: an.Interface = LINK) -> an.Interface:
    return dataclasses.replace(link, K=np.inf, S=0.0, S_s=0.0)


def open_K(link: an.Interface = LINK) -> float:
    return an.open_circuit_kappa(1 / link.RA, link.gamma, link.S, link.S_s, link.K, T0)


def open_kappa(m: an.Layer) -> float:
    return an.open_circuit_kappa(m.sigma, m.P, m.S, m.S_s, m.kappa, T0) if m.sigma else m.kappa


# ------------------------------------------------------------------------------------------ the exact stack


@pytest.mark.parametrize("delta", [0.0, 0.5, 30.0, 2000.0])
def test_an_interface_is_a_layer_without_thickness(delta):
    """A layer of 0.1 pm with sigma = t/RA, kappa = K t, lambda_sf = t/delta: equal but for rounding, all couplings on.

    Joule heat of the layer leaves it by both sides as its fields will; the interface's goes half to either side. What
    leaves the stack is the same. Exponentials over t/lambda_sf = 1e-6, of no spin flip, leave eps/1e-6 of rounding.
    cosh(30) = 5e12 and cosh(2000) is no number: the conditions of an interface have to do without.
    """
    link, t = dataclasses.replace(LINK, S_s=-30e-6, delta=delta), 1e-13
    layer = an.Layer(
        length=t, sigma=t / link.RA, P=link.gamma, S=link.S, S_s=link.S_s, kappa=link.K * t,
        lambda_sf=t / (delta or 1e-6),
    )  # fmt: skip
    F, N = dataclasses.replace(PY, length=30e-9), dataclasses.replace(CU, length=100e-9)
    ends = an.End.current(J, T=2.0), an.End.grounded()
    one = an.layered_stack([F, N, F], *ends, T0=T0, interfaces=[link, None])
    other = an.layered_stack([F, layer, N, F], *ends, T0=T0)
    np.testing.assert_allclose(one.fields(0.0), other.fields(0.0), rtol=1e-11 if delta else 3e-10)
    across = other.fields(F.length + t) - other.fields(np.nextafter(F.length, 0))
    np.testing.assert_allclose(one.jump(0)[:3], across[:3], rtol=1e-6)
    flipped = one.jump(0)[3]
    assert flipped == pytest.approx(across[3], rel=1e-6, abs=1e-11 * J)
    assert bool(abs(flipped) > 1e-3 * J) is bool(delta)
    assert abs(one.jump(0)[2]) > 0.1  # there is something to compare

    def heat(s: an.LayeredSolution) -> float:
        f = s.second_harmonic().fields(s.edges[[0, -1]])[5]
        return f[1] - f[0]

    assert heat(one) == pytest.approx(heat(other), rel=1e-11)
    without = an.layered_stack([F, N, F], *ends, T0=T0)
    assert heat(one) > 1.01 * heat(without)


def test_a_thick_interface_is_a_spin_sink_to_either_side():
    """delta = 30 on both sides of a spacer: its faces hold V_s = 0 behind R_contact/delta, all but exp(-30) = 1e-13."""
    link = an.Interface(RA=1e-15, gamma=-0.5, K=3e9, S=-15e-6, S_s=-9e-6, delta=30.0)
    F, N = dataclasses.replace(PY, length=10e-9), dataclasses.replace(CU, length=15e-9)
    left = an.End(J=(J / 2, J / 2), T=0.0, h=2e8)
    s = an.layered_stack([F, N, F], left, an.End.grounded(), T0=T0, interfaces=[link, link])
    r = an.interface_spin_resistance(link.RA, link.gamma)
    e = T0 * link.S_s**2 / (4 * r * open_K(link))
    for number, at in enumerate(s.edges[1:-1]):
        before, after = s.fields(at, side="left"), s.fields(at)
        U = before[5] - link.S * T0 * J
        for f, outwards in ((before, 1), (after, -1)):
            j = f[3] - (1 + link.gamma) / 2 * J
            driven = link.S_s * U / (4 * r * open_K(link) * (1 + e))
            sink = 4 * r * np.sqrt(1 + e) / link.delta * (j - driven)
            assert f[0] - f[1] == close(outwards * sink, 1e-9), number
    assert abs(s.V_s(F.length)) > 1e-8  # there is something to compare


def test_without_resistance_nothing_flips_and_spins_flip_fully_in_the_limit():
    """RA -> 0 at a fixed delta is V_s = 0 at both faces, which RA = 0 cannot say: it is refused."""
    F, N = dataclasses.replace(PY, length=20e-9), dataclasses.replace(CU, length=50e-9)

    def V_s(link: an.Interface) -> float:
        s = an.layered_stack([F, N], POLARISED, an.End.grounded(), T0=T0, interfaces=[link])
        return float(s.V_s(F.length))

    assert abs(V_s(an.Interface(RA=1e-22, delta=0.3))) < 1e-5 * abs(V_s(an.Interface()))
    for name in ("delta", "gamma", "S", "S_s"):
        with pytest.raises(InputError, match=f"Interface: {name}: got 0.3 with RA = 0, expected RA > 0"):
            an.Interface(K=1e9, **{name: 0.3})


def test_next_to_an_oxide_only_the_heat_conductance_of_an_interface_counts():
    link = an.Interface(RA=1e-15, gamma=0.5, K=1e9, S=-50e-6, S_s=-30e-6, delta=0.4)
    bar = dataclasses.replace(CU, length=20e-9, heat=1e15)
    ends = an.End(J=(0.0, 0.0), T=0.0), an.End(V=(0.0, 0.0), Q=0.0)
    s = an.layered_stack([OXIDE, bar], *ends, T0=T0, interfaces=[link])
    assert s.jump(0)[2] == close(1e15 * bar.length / link.K, 1e-10)


def test_half_of_the_joule_heat_of_an_interface_goes_to_either_side():
    """Two equal halves with a bath behind h each: either keeps the heat of its bar, and half of J^2 RA."""
    link = an.Interface(RA=1e-12, K=1.0)
    bar = dataclasses.replace(no_seebeck(CU), length=10e-9)
    heat = J**2 * link.RA
    left, right = (an.End(J=(J / 2, J / 2), T=0.0, h=1e8), an.End(V=(0.0, 0.0), T=0.0, h=1e8))
    s = an.layered_stack([bar, bar], left, right, T0=T0, interfaces=[link]).second_harmonic()
    assert s.T(0.0) == close((heat / 2 + J**2 * bar.length / bar.sigma) / 1e8, 1e-9)
    assert s.fields(s.edges[-1])[5] == close(heat / 2 + J**2 * bar.length / bar.sigma, 1e-9)


@pytest.mark.parametrize("delta", [0.0, 0.5])
def test_onsager_holds_through_interfaces(delta):
    """Heat in and voltage out, current in and temperature out, at one end of F / i / N / i / F: equal to round-off."""
    link = dataclasses.replace(LINK, S_s=-30e-6, delta=delta)
    F, N = dataclasses.replace(PY, length=20e-9), dataclasses.replace(CU, length=50e-9)

    def stack(left: an.End) -> an.LayeredSolution:
        return an.layered_stack([F, N, F], left, an.End.grounded(), T0=T0, interfaces=[link, link])

    seebeck = stack(an.End(J=(0.0, 0.0), Q=1e9)).V_c(0.0) / 1e9
    peltier = stack(an.End(J=(J / 2, J / 2), Q=0.0)).T(0.0) / J
    assert seebeck == close(peltier / T0, 1e-10)
    assert abs(seebeck) > 1e-15


def test_limits_of_an_interface():
    """RA -> 0 and K -> infinity are the transparent stack, and RA -> infinity parts it while heat still flows."""
    layers = [dataclasses.replace(PY, length=20e-9), dataclasses.replace(CU, length=50e-9)]

    def stack(link: an.Interface | None, left: an.End | None = None) -> an.LayeredSolution:
        ends = left or an.End.current(J, T=1.0), an.End.grounded()
        return an.layered_stack(layers, *ends, T0=T0, interfaces=[link])

    x = np.linspace(0, 70e-9, 8)
    size = abs(stack(None).fields(x)).max(axis=1)
    for link in (an.Interface(RA=1e-26, gamma=0.5), an.Interface(K=1e20), an.Interface(RA=1e-26, K=1e20, delta=1e-11)):
        assert np.all(abs(stack(link).fields(x) - stack(None).fields(x)).max(axis=1) < 1e-9 * size)
    parted = stack(an.Interface(RA=1e3, K=1e9), an.End(V=(0.0, 0.0), T=1.0)).fields(x)
    assert abs(parted[3:5, 2]).max() < 1e-6 * abs(parted[3, 0])  # V_s = 0 at the end drives a spin current there
    assert parted[5].min() == close(1 / (sum(m.length / open_kappa(m) for m in layers) + 1e-9), 1e-3)
    # each part has the thermal voltage of its own, from its own ground, but for S_s lambda: 2e-8 V
    thermal = np.where(x < 20e-9, -PY.S * (parted[2] - 1), -CU.S * parted[2])
    np.testing.assert_allclose((parted[0] + parted[1]) / 2, thermal, atol=1e-7)
    assert abs(thermal[1]) > 1e-6


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: an.Interface(RA=-1e-15), "Interface: RA: got -1e-15, expected RA >= 0 ohm m^2"),
        (lambda: an.Interface(RA=1e-15, gamma=1.4), "Interface: gamma: got 1.4, expected |gamma| < 1"),
        (lambda: an.Interface(RA=1e-15, gamma=1), "Interface: gamma: got 1, "),
        (lambda: an.Interface(RA=1e-15, delta=-0.3), "Interface: delta: got -0.3, expected delta >= 0"),
        (lambda: an.Interface(K=-1e9), "Interface: K: got -1e+09, expected K > 0 W/(m^2 K)"),
        (lambda: an.Interface(K=0), "Interface: K: got 0, "),
        (lambda: an.Interface(K=np.nan), "Interface: K: got nan, "),
        (lambda: an.End(J=(0, 0), T=0, h=0), "End: h: got 0, expected h > 0"),
        (lambda: an.End(V=(0, np.nan), T=0), "End: V: got nan, expected a finite V"),
        (lambda: an.End(V=1.0, T=0), "End: V: got 1.0, expected two numbers"),
        (lambda: an.End(J=(1, 1), T=0, zero=True), "End: zero: got it with V = None, J = (1, 1), expected it with J"),
        (lambda: an.End(V=(0, 0), T=0, zero=True), "End: zero: got it with V = (0, 0)"),
        (lambda: an.Interface.of(LINK, signs=(2, 1)), "Interface.of: got the sign 2, 1, expected 1, or -1"),
    ],
)
def test_interfaces_and_ends_outside_the_model_are_refused(made, words):
    with pytest.raises(InputError, match="^" + re.escape(words)):
        made()


def test_an_interface_that_would_carry_heat_uphill_is_refused():
    link = an.Interface(RA=1e-15, K=1e9, S=1e-3)
    with pytest.raises(InputError, match=r"interface 0: K: got 1e\+09, and -2.99e\+11 without current"):
        an.layered_stack([PY, CU], *BATHS, T0=T0, interfaces=[link])


def test_ends_and_interfaces_that_cannot_be():
    with pytest.raises(InputError, match="a bath at T"):
        an.End(J=(0.0, 0.0), Q=1.0, h=1e8)
    with pytest.raises(InputError, match="interfaces: got 1, expected 2"):
        an.layered_stack([PY, CU, PY], *BATHS, T0=T0, interfaces=[LINK])


# ------------------------------------------------------------------------------------------ injection, T1 to T7


def test_thermal_injection_through_an_interface():
    """10 K over Py and Cu, the gradients from all heat resistances in series: -1.0680 uV, 71 % by S_s of the jump.

    Feedback: 1.5e-4 of the metal, and T0 (1 - gamma^2) S_s^2/(4 RA K) = 7e-4 of the interface; the wrong sign of
    S_s of the interface would be off by more than the signal.
    """
    Q = 10 / an.slab_thermal_resistance([PY.length, CU.length], [open_kappa(PY), open_kappa(CU)], [open_K()])
    case = {"S_s": PY.S_s, "lambda_F": PY.lambda_sf, "R_F": R_F, "R_N": R_N, "R_contact": R_LINK}
    V_s = an.fn_thermal_V_s(-Q / open_kappa(PY), **case, jump=-Q / open_K(), S_s_contact=LINK.S_s)
    assert V_s == printed(-1.0680e-6, 5)
    assert 1 - an.fn_thermal_V_s(-Q / open_kappa(PY), **case) / V_s == printed(0.71, 2)
    s = an.layered_stack([PY, CU], *BATHS, T0=T0, interfaces=[LINK])
    assert s.V_s(PY.length) == close(V_s, 1e-4)
    assert s.jump(0)[2] == close(-Q / open_K(), 1e-4)
    assert 1 - open_K() / LINK.K == printed(0.051, 2)


def test_electrical_injection_and_contact_resistance_of_an_interface():
    V_s = an.fn_electrical_V_s(1.0, P=BEHIND.P, R_F=BEHIND.R, R_N=R_N)
    assert V_s == printed(9.772e-16, 4)
    RA = an.fn_contact_RA(P=PY.P, R_F=R_F, R_N=R_N, gamma=LINK.gamma, R_contact=R_LINK)
    assert printed(5.1083e-16, 5) == RA
    F, N = no_seebeck(PY), no_seebeck(CU)
    s = an.layered_stack([F, N], POLARISED, an.End.grounded(), T0=T0, interfaces=[resistive()])
    assert s.V_s(F.length) / J == close(V_s, 1e-8)
    assert s.V_c(0.0) / J - F.length / F.sigma - N.length / N.sigma == close(RA, 1e-7)
    assert an.fn_contact_RA(P=PY.P, R_F=R_F, R_N=R_N, gamma=0.0, R_contact=0.0) == close(
        an.van_son_RA(P=PY.P, R_F=R_F, R_N=R_N), 1e-12
    )


def test_floating_detector_behind_an_interface():
    F, N = no_seebeck(PY), no_seebeck(CU)
    V_s = 1e-6
    s = an.layered_stack(
        [F, N], an.End.current(), an.End(V=(V_s / 2, -V_s / 2), T=0.0), T0=T0, interfaces=[resistive()]
    )
    here = s.V_s(F.length)
    assert s.V_c(0.0) - s.V_c(s.edges[-1]) == close(an.detector_step(here, P=BEHIND.P), 1e-8)
    assert abs(BEHIND.P - PY.P) > 0.05  # the interface matters


def test_nonlocal_valve_with_interfaces_is_the_network_it_stands_for():
    """Takahashi and Maekawa's form, from spin currents into an infinite wire: V_s = 2 R_N sum_i j_i exp(-d/lambda)."""
    R_W, E, area = R_N / 2.4e-15, np.exp(-1.7), (1.6e-15, 1.2e-15)
    b = [BEHIND.R / a for a in area]
    M = 2 * R_W * np.array([[1, E], [E, 1]])
    # each magnet with its interface: j = P_eff I/2 - V_s/(4 (R_F + R_contact))
    j = np.linalg.solve(np.eye(2) + np.diag([1 / (4 * R) for R in b]) @ M, [BEHIND.P / 2, 0])
    step = an.detector_step((M @ j)[1], P=BEHIND.P)
    valve = an.nlsv_resistance(P_1=BEHIND.P, P_2=BEHIND.P, R_1=b[0], R_2=b[1], R_N=R_W, L=1.7, lambda_N=1.0)
    assert valve == close(2 * step, 1e-12)
    # as printed by Takahashi and Maekawa, with a = (P R_F + gamma R_contact)/A
    a1, a2 = ((PY.P * R_F + LINK.gamma * R_LINK) / a for a in area)
    printed_form = 4 * R_W * E * a1 / R_W * a2 / R_W / ((1 + 2 * b[0] / R_W) * (1 + 2 * b[1] / R_W) - E**2)
    assert valve == close(printed_form, 1e-12)


def test_pillar_with_interfaces():
    """Permalloy of CPP measurements at 4.2 K, 10 nm of copper of 5 nohm m and 500 nm: 1.5256 fohm m^2."""
    F = an.Layer(length=100e-9, sigma=1 / 123e-9, P=0.65, kappa=20.0, lambda_sf=5.5e-9)
    link = an.Interface(RA=0.5e-15 * (1 - 0.76**2), gamma=0.76)
    spacer = an.Layer(length=10e-9, sigma=2e8, kappa=300.0, lambda_sf=500e-9)
    R_spacer = an.spin_resistance(spacer.sigma, spacer.lambda_sf)
    R = an.spin_resistance(F.sigma, F.lambda_sf, F.P)
    behind = an.behind_interface(P=F.P, R_F=R, gamma=0.76, R_contact=0.5e-15)
    case = {"R_F": behind.R, "R_N": R_spacer, "d": spacer.length, "lambda_N": spacer.lambda_sf}
    change = an.cpp_resistance_change(P=behind.P, **case)
    assert change == printed(1.5256e-15, 5)
    V = []
    for sign in (-1, 1):
        other = dataclasses.replace(link, gamma=sign * link.gamma)
        layers = [F, spacer, an.Layer.of(F, F.length, sign=sign)]
        s = an.layered_stack(layers, an.End.current(J), an.End.grounded(), T0=T0, interfaces=[link, other])
        V.append(s.V_c(0.0))
    assert (V[0] - V[1]) / J == close(change, 1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.6])
def test_spin_flip_at_an_interface(gamma):
    """The layer of delta = 0.33 takes a fifth of the signal; delta -> 0 is the interface without flip."""
    R = 0.5e-15
    case = {"P": PY.P, "R_F": R_F, "R_N": R_N, "gamma": gamma, "R_contact": R}
    flip = an.fn_flip_V_s(1.0, **case, delta=0.33)
    behind = an.behind_interface(P=PY.P, R_F=R_F, gamma=gamma, R_contact=R)
    none = an.fn_electrical_V_s(1.0, P=behind.P, R_F=behind.R, R_N=R_N)
    assert an.fn_flip_V_s(1.0, **case, delta=1e-6) == close(none, 1e-10)
    if not gamma:
        assert flip == printed(3.984e-16, 4)
        assert none == printed(5.097e-16, 4)
    F, N = no_seebeck(PY), no_seebeck(CU)
    link = an.Interface(RA=R * (1 - gamma**2), gamma=gamma, delta=0.33)
    s = an.layered_stack([F, N], POLARISED, an.End.grounded(), T0=T0, interfaces=[link])
    assert s.V_s(F.length) / J == close(flip, 1e-8)
    assert an.spin_flip_probability(0.19) == printed(0.17, 2)


@pytest.mark.parametrize("delta", [30.0, 2000.0])
def test_an_interface_that_flips_all_spins_injects_those_of_its_own_layer(delta):
    """What reaches N was polarised within the interface: 2 gamma J of R_N beside R_contact/delta; F is out of sight."""
    R, gamma = 0.5e-15, 0.6
    V_s = an.fn_flip_V_s(J, P=PY.P, R_F=R_F, R_N=R_N, gamma=gamma, R_contact=R, delta=delta)
    assert V_s == close(2 * gamma * J / (1 / R_N + delta / R), 1e-11)


# ------------------------------------------------------------------------------------------ tunnel junctions, T8


def test_tunnel_magnetoresistance_and_its_thermal_current():
    assert an.tunnel_magnetoresistance(P_1=0.5, P_2=0.6) == close(2 * 0.3 / 0.7, 1e-12)
    P, AP = (1 / an.tunnel_conductance(1e-12, P_1=0.5, P_2=p) for p in (0.6, -0.6))
    assert AP / P - 1 == close(an.tunnel_magnetoresistance(P_1=0.5, P_2=0.6), 1e-12)
    # V +55 % and I -45 % from P to AP: the junction has a TMR of 182 %
    assert an.thermal_current_ratio(1.55, TMR=1.82) == printed(0.55, 2)


def test_the_interface_of_two_magnets():
    """G_up,down = (1 +- s1 P1)(1 +- s2 P2)/(2 RA) in each state; one polarisation alone is gamma."""
    values = {
        "RA": 2.0,
        "gamma": None,
        "P1": 0.3,
        "P2": 0.4,
        "K": 5.0,
        "S": 1.0,
        "S_s": 7.0,
        "S_AP": 3.0,
        "delta": None,
    }
    for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        link = an.Interface.of(SimpleNamespace(**values), signs=signs)
        p = signs[0] * 0.3, signs[1] * 0.4
        for s in (1, -1):
            expected = (1 + s * p[0]) * (1 + s * p[1]) / (2 * 2.0)
            assert (1 + s * link.gamma) / (2 * link.RA) == close(expected, 1e-12)
        assert link.S == (1.0 if signs[0] == signs[1] else 3.0)
        # reversing everything exchanges the channels
        back = an.Interface.of(SimpleNamespace(**values), signs=(-signs[0], -signs[1]))
        assert (back.gamma, back.S, back.S_s) == (-link.gamma, link.S, -link.S_s)
    for signs in ((-1, None), (None, -1)):
        link = an.Interface.of(SimpleNamespace(**(values | {"P1": None, "P2": None, "gamma": 0.3})), signs=signs)
        assert (link.gamma, link.S_s) == (-0.3, -7.0)
    one = an.Interface.of(SimpleNamespace(**(values | {"P2": 0.0})))
    assert one == an.Interface.of(SimpleNamespace(**(values | {"P1": None, "P2": None, "gamma": 0.3})))
    empty = dict.fromkeys(values) | {"K": 5.0}
    assert an.Interface.of(SimpleNamespace(**empty)) == an.Interface(K=5.0)


def test_a_junction_of_high_resistance_shows_the_tmr_of_its_barrier():
    """With RA of 1 nohm m^2 the metals and their spin accumulation are 1e-6 of it."""
    F = dataclasses.replace(PY, length=20e-9)
    item = SimpleNamespace(RA=1e-9, gamma=None, P1=0.5, P2=0.6, K=None, S=None, S_s=None, S_AP=None, delta=None)
    R = []
    for sign in (1, -1):
        link = an.Interface.of(item, signs=(1, sign))
        layers = [F, an.Layer.of(F, 20e-9, sign=sign)]
        s = an.layered_stack(layers, an.End.current(J), an.End.grounded(), T0=T0, interfaces=[link])
        R.append(s.V_c(0.0) / J)
    assert R[1] / R[0] - 1 == close(an.tunnel_magnetoresistance(P_1=0.5, P_2=0.6), 2e-5)


# ------------------------------------------------------------------------------------------ heat, H2, H5, H6


def test_pillar_between_held_temperatures():
    """V_AP - V_P of F / i / N / i / F without current; S = 0, so that no heat goes with the charge. Feedback: 1e-3."""
    F, spacer = dataclasses.replace(PY, S=0.0), dataclasses.replace(CU, S=0.0, length=15e-9)
    link = dataclasses.replace(LINK, S=0.0)
    K, kappa = open_K(link), open_kappa(F)
    Q = 10 / an.slab_thermal_resistance([2 * F.length, spacer.length], [kappa, spacer.kappa], [K, K])
    expected = an.cpp_thermal_voltage_change(
        -Q / kappa, P=BEHIND.P, S_s=F.S_s, lambda_F=F.lambda_sf, R_F=BEHIND.R, R_N=R_N, d=spacer.length,
        lambda_N=CU.lambda_sf, jump=-Q / K, S_s_contact=link.S_s,
    )  # fmt: skip
    V = []
    for sign in (-1, 1):
        other = dataclasses.replace(link, gamma=sign * link.gamma, S_s=sign * link.S_s)
        layers = [F, spacer, an.Layer.of(F, F.length, sign=sign)]
        s = an.layered_stack(layers, *BATHS, T0=T0, interfaces=[link, other])
        V.append(s.V_c(0.0) - s.V_c(s.edges[-1]))
    assert V[0] - V[1] == close(expected, 3e-3)
    assert abs(expected) > 5e-7


def test_heat_crosses_an_oxide_between_two_pieces_of_metal():
    """8 nm of an oxide with Kapitza resistances: 2.53, 1.53, 0.82 e-8 m^2 K/W, on 150 x 80 nm^2 2.11 to 0.68 MK/W."""
    area = 150e-9 * 80e-9
    rows = {1e8: (2.53e-8, 2.11e6), 2e8: (1.53e-8, 1.28e6), 7e8: (0.82e-8, 0.68e6)}
    for K, (per_area, absolute) in rows.items():
        R = an.slab_thermal_resistance([OXIDE.length], [OXIDE.kappa], [K, K])
        assert printed(per_area, 3 if K < 7e8 else 2) == R
        assert R / area == printed(absolute, 3 if K < 7e8 else 2)
        heater = dataclasses.replace(no_seebeck(CU), length=20e-9, heat=1e15)
        below = dataclasses.replace(no_seebeck(CU), length=30e-9)
        left, right = an.End(V=(0.0, 0.0), Q=0.0), an.End(V=(0.0, 0.0), T=0.0)
        s = an.layered_stack([heater, OXIDE, below], left, right, T0=T0, interfaces=[an.Interface(K=K)] * 2)
        drop = s.fields(20e-9, side="left")[2] - s.fields(28e-9)[2]
        assert drop / (heater.heat * heater.length) == close(R, 1e-10)
    assert OXIDE.length / OXIDE.kappa / area == printed(0.44e6, 2)


def test_an_end_with_a_heat_exchange_is_a_bath_behind_an_interface():
    s = an.layered_stack([no_seebeck(PY)], an.End(J=(0.0, 0.0), T=3.0, h=1e8), an.End.grounded(), T0=T0)
    Q = 3 / (1e-8 + PY.length / PY.kappa)
    assert s.fields(0.0)[5] == close(Q, 1e-11)
    assert s.T(0.0) == close(3 - Q / 1e8, 1e-11)
    s = an.layered_stack([no_seebeck(PY)], an.End(J=(0.0, 0.0), T=3.0), an.End(V=(0.0, 0.0), T=1.0, h=1e8), T0=T0)
    assert s.T(PY.length) == close(1 + (2 / 3) * Q / 1e8, 1e-11)


def test_a_fin_obeys_its_equation():
    """kappa t T'' = h T by a second difference (step 1e-3 of the decay length: 1e-7), base held, no heat at the tip."""
    decay = an.fin_length(kappa=200.0, thickness=30e-9, h=1e7)
    assert decay == close(np.sqrt(200.0 * 30e-9 / 1e7), 1e-12)
    length, step = 2.2 * decay, 1e-3 * decay
    case = {"T_base": 2.0, "length": length, "decay": decay}
    for x in (0.3 * length, 0.8 * length):
        T = [an.fin_T(x + k * step, **case) for k in (-1, 0, 1)]
        assert (T[0] - 2 * T[1] + T[2]) / step**2 == close(T[1] / decay**2, 1e-6)
    assert an.fin_T(0.0, **case) == close(2.0, 1e-12)
    # no heat at the tip: of a parabola, T(2 step) - T(tip) is 4 times T(step) - T(tip), but for step^2/decay^2
    T = [an.fin_T(length - k * step, **case) for k in (0, 1, 2)]
    assert T[2] - T[0] == close(4 * (T[1] - T[0]), 1e-6)
