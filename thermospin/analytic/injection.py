"""Spin injection, thermal and electrical: one interface, the non-local valve, and the pillar.

Contacts are transparent; `interfaces.behind_interface` gives P and R_F with which the formulas hold behind others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from thermospin.analytic.checks import METAL, require_attributes, within_model
from thermospin.analytic.materials import Num, dressed, namespace
from thermospin.base.errors import InputError


@within_model()
def bulk_thermal_spin_current(dT_dx: Num, *, sigma: Num, P: Num, S_s: Num) -> Num:
    """Spin current J_up - J_down [A/m^2] deep in a ferromagnet without charge current, driven by dT/dx [K/m].

    J_up - J_down = -sigma (1-P^2) S_s dT_dx / 2.  Source: Slachter et al. 2010, text below eq. 2.
    """
    return -sigma * (1 - P**2) * S_s * dT_dx / 2


@within_model()
def spin_emf(dT_dx: Num, *, S_s: Num, lambda_F: Num, jump: Num = 0.0, S_s_contact: Num = 0.0) -> Num:
    """Spin accumulation [V] that heat makes in a long F and its interface: lambda_F S_s dT_dx + S_s_contact jump.

    Args:
      dT_dx: temperature gradient in F [K/m], jump: of T across the interface, N less F [K].
      S_s, S_s_contact: spin-dependent Seebeck coefficients of F and of the interface [V/K].
      lambda_F: spin relaxation length of F [m].
    Source: derived, docs/theory.md.
    """
    return lambda_F * S_s * dT_dx + S_s_contact * jump


@within_model()
def fn_thermal_V_s(
    dT_dx: Num,
    *,
    S_s: Num,
    lambda_F: Num,
    R_F: Num,
    R_N: Num,
    R_contact: Num = 0.0,
    jump: Num = 0.0,
    S_s_contact: Num = 0.0,
) -> Num:
    """Spin accumulation [V] on the N side of an F/N interface, driven by a temperature gradient in F.

    V_s(0) = -`spin_emf` R_N / (R_N + R_F + R_contact), with spin_emf = lambda_F S_s dT_dx + S_s_contact jump; it decays
    as exp(-x/lambda_N) into N.
    F and N reach many decay lengths away from the interface, which is open-circuited (J = 0); x points from F to N.

    Args:
      dT_dx: temperature gradient in F [K/m].
      S_s: spin-dependent Seebeck coefficient of F [V/K].
      lambda_F: spin relaxation length of F [m].
      R_F, R_N: `spin_resistance` of F (with its P) and N [ohm m^2]; `finite_spin_resistance` for a finite N.
      R_contact: `contact_spin_resistance` of the interface [ohm m^2]; 0 is transparent.
      jump: of T across the interface, N less F [K].
      S_s_contact: spin-dependent Seebeck coefficient of the interface [V/K].
    Source: Slachter et al. 2010, eq. 2 (exact in 1D with the full splitting); contact term as Scharf et al. 2012; jump
      derived, docs/theory.md.
    """
    emf = spin_emf(dT_dx, S_s=S_s, lambda_F=lambda_F, jump=jump, S_s_contact=S_s_contact)
    return -emf * R_N / (R_N + R_F + R_contact)


@within_model()
def fn_thermal_V_s_finite(
    dT_dx: Num, *, S_s: Num, lambda_F: Num, length_F: Num, R_F: Num, R_N: Num, end: str = "free"
) -> Num:
    """As `fn_thermal_V_s` with F of finite length and no contact resistance.

    Far end of F free (no spin current):   V_s(0) = -lambda_F S_s G (1 - 1/cosh a) / (tanh a + R_F/R_N)
    far end held at V_s = 0 (grounded):    V_s(0) = -lambda_F S_s G / (coth a + R_F/R_N),      a = length_F/lambda_F

    R_F is the spin resistance of semi-infinite F; a finite N enters through `finite_spin_resistance`. Exact with the
    constants of `dressed` and its G for dT_dx. Source: derived, docs/theory.md.
    """
    xp = namespace(length_F, lambda_F, dT_dx, R_F, R_N)
    a = length_F / lambda_F
    t = xp.tanh(a)
    if end == "free":
        # 1 - 1/cosh a = tanh a tanh(a/2), where a thin F cancels nothing and a long one overflows nothing
        return -lambda_F * S_s * dT_dx * t * xp.tanh(a / 2) / (t + R_F / R_N)
    if end == "sink":
        return -lambda_F * S_s * dT_dx * t / (1 + t * R_F / R_N)
    raise InputError(f"end={end!r}: the far end of F is 'free' or 'sink'")


@within_model()
def fn_thermal_spin_current(dT_dx: Num, *, S_s: Num, lambda_F: Num, R_F: Num, R_N: Num, R_contact: Num = 0.0) -> Num:
    """Spin current J_up - J_down [A/m^2] into the N of `fn_thermal_V_s`.

    -lambda_F S_s dT_dx / (2 (R_N + R_F + R_contact)); arguments as there. Source: derived from eq. 1-3.
    """
    return -lambda_F * S_s * dT_dx / (2 * (R_N + R_F + R_contact))


@within_model()
def free_end_V_s(dT_dx: Num, *, S_s: Num, lambda_F: Num) -> Num:
    """Spin accumulation [V] at the free left end of a long ferromagnet: V_s(0) = +lambda_F S_s dT_dx (J = 0).

    x points from the end into the metal; at a right end the sign is reversed. Source: derived from eq. 1 and 3.
    """
    return lambda_F * S_s * dT_dx


@within_model()
def fn_electrical_V_s(J: Num, *, P: Num, R_F: Num, R_N: Num) -> Num:
    """Spin accumulation [V] at an F/N interface crossed by the current density J [A/m^2] from F to N.

    V_s(0) = 2 P J R_N R_F / (R_N + R_F), with R_F = lambda_F/(sigma_F (1-P^2)); transparent, both sides long.
    Source: van Son et al. 1987; Valet and Fert 1993.
    """
    return 2 * P * J * R_N * R_F / (R_N + R_F)


@within_model()
def van_son_RA(*, P: Num, R_F: Num, R_N: Num) -> Num:
    """Extra resistance times area [ohm m^2] of a transparent F/N interface: P^2 R_N R_F / (R_N + R_F).

    Source: van Son, van Kempen, Wyder 1987.
    """
    return P**2 * R_N * R_F / (R_N + R_F)


@within_model()
def detector_step(V_s: Num, *, P: Num) -> Num:
    """Voltage V_F - V_N [V] of a floating ferromagnet on a metal with V_s at the interface: P V_s / 2.

    V_F and V_N are the potentials far from the interface, without thermal voltage. The difference between the detector
    parallel and antiparallel to V_s is then P V_s. Source: derived; Valet and Fert 1993.
    """
    return P * V_s / 2


class Profile(NamedTuple):
    """Potentials and temperature along a line."""

    x: Num
    V_up: Num
    V_down: Num
    T: Num


@within_model()
def fn_interface_profile(
    x: Num | Sequence[float], F: Any, N: Any, *, dT_dx: float = 0.0, J: float = 0.0, T0: float
) -> Profile:
    """Spin-up and spin-down potential and temperature across an F/N interface at x = 0, F at x < 0, both sides long.

    Thermal injection is `dT_dx` with J = 0, electrical injection is J with dT_dx = 0; both together add up. In each
    metal, with V_s0 the spin accumulation at the interface and (1+-P)/2 the channel weights,

        V_s = V_s0 exp(-|x|/lambda),   (1+P)/2 V_up + (1-P)/2 V_down = const - J x/sigma - S T,

    so the spin-independent Seebeck and Ohm slopes are included; V_c = 0 at x = 0.

    Args:
      x: coordinates [m].
      F, N: anything with attributes sigma, P, S, S_s, kappa, lambda_sf (a Material or a Layer).
      dT_dx: temperature gradient in F far from the interface [K/m].
      J: current density from F to N [A/m^2].
      T0: bath temperature [K], for the Peltier heat; 0 leaves the Peltier effects out.
    Returns:
      x, V_up, V_down [V], and T [K], relative to T(0) = 0.
    Source: derived from Slachter et al. 2010, eq. 1-4 (their Fig. 2); exact for T0 > 0 as well.
    """
    for name, metal in (("F", F), ("N", N)):
        require_attributes(f"fn_interface_profile: {name}", metal, METAL, "a metal: a Material or a Layer")
    x = np.asarray(x, dtype=float)
    d_F, d_N = (dressed(m.sigma, m.P, m.S, m.S_s, m.kappa, m.lambda_sf, T0) for m in (F, N))
    # Q - S T0 J = -kappa_open G is uniform in each metal, Q is continuous, and dT/dx = G/(1+e) far away.
    G_F = dT_dx * (1 + d_F.feedback)
    G_N = (d_F.kappa * G_F - (F.S - N.S) * T0 * J) / d_N.kappa
    # j_F(0) = (-V_s0 - lambda S_s G)/(4R) on the left, j_N(0) = (V_s0 - lambda S_s G)/(4R) on the right; J_up agrees.
    drive = 2 * (F.P - N.P) * J - d_F.lambda_sf * F.S_s * G_F / d_F.R + d_N.lambda_sf * N.S_s * G_N / d_N.R
    V_s0 = drive / (1 / d_F.R + 1 / d_N.R)
    sides = []
    for m, d, G, sign in ((F, d_F, G_F, -1), (N, d_N, G_N, 1)):
        distance = np.maximum(sign * x, 0.0)
        V_s = V_s0 * np.exp(-distance / d.lambda_sf)
        peltier = m.sigma * (1 - m.P**2) * T0 * m.S_s / (4 * d.kappa)
        T = (sign * G * distance - peltier * V_s0 * np.expm1(-distance / d.lambda_sf)) / (1 + d.feedback)
        mean = m.P * V_s0 / 2 - sign * J * distance / m.sigma - m.S * T
        sides.append((mean + (1 - m.P) / 2 * V_s, mean - (1 + m.P) / 2 * V_s, T))
    V_up, V_down, T = (np.where(x < 0, left, right) for left, right in zip(*sides, strict=True))
    return Profile(x, V_up, V_down, T)


def _unpolarised_nlsv(R_1: Num, R_2: Num, R_N: Num, L: Num, lambda_N: Num) -> Num:
    """Return `nlsv_resistance` over P_1 P_2 [ohm]: R_N E/[1 + a_1 + a_2 + a_1 a_2 (1 - E^2)], a_i = R_N/(2 R_i)."""
    # all terms are positive, so that contacts of little resistance next to each other cancel nothing
    xp, a_1, a_2 = namespace(L, lambda_N), R_N / (2 * R_1), R_N / (2 * R_2)
    return R_N * xp.exp(-L / lambda_N) / (1 + a_1 + a_2 - a_1 * a_2 * xp.expm1(-2 * L / lambda_N))


@within_model()
def nlsv_resistance(*, P_1: Num, P_2: Num, R_1: Num, R_2: Num, R_N: Num, L: Num, lambda_N: Num) -> Num:
    """Spin signal R_P - R_AP [ohm] of a non-local spin valve on an infinite N wire with transparent contacts.

    dR = 4 P_1 P_2 (R_1 R_2 / R_N) E / [(1 + 2 R_1/R_N)(1 + 2 R_2/R_N) - E^2],   E = exp(-L/lambda_N)

    Args:
      P_1, P_2: polarisation of injector and detector.
      R_1, R_2: their spin resistances over the contact areas, R*_i / A_i [ohm].
      R_N: spin resistance of the wire over its cross-section, lambda_N/(sigma_N A_N) [ohm].
      L: distance of the contacts [m].
      lambda_N: spin relaxation length of the wire [m].
    The voltage is V(detector) - V(N) for a current from the injector into N. Contacts are points of the wire.
    Source: Takahashi and Maekawa 2003, transparent limit, re-derived with the channel convention of this package.
    """
    return P_1 * P_2 * _unpolarised_nlsv(R_1, R_2, R_N, L, lambda_N)


@within_model()
def nlsv_thermal_voltage(
    dT_dx: Num, *, S_s: Num, lambda_F: Num, P_2: Num, R_1: Num, R_2: Num, R_N: Num, L: Num, lambda_N: Num
) -> Num:
    """Spin signal V_P - V_AP [V] of the same valve when a temperature gradient in the injector drives it.

    As `nlsv_resistance` with P_1 I replaced by -lambda_F S_s dT_dx / (2 R_1), dT_dx towards N [K/m].
    Source: Slachter et al. 2010 (mechanism); derived.
    """
    source = -lambda_F * S_s * dT_dx / (2 * R_1)
    return source * P_2 * _unpolarised_nlsv(R_1, R_2, R_N, L, lambda_N)


@within_model("P")
def injection_equivalent_current(dT_dx_area: Num, *, sigma: Num, P: Num, S_s: Num) -> Num:
    """Electrical current I [A] that injects the same spin current as a temperature gradient does.

    I = -sigma (1-P^2) S_s * integral(dT_dx dA) / (2 P), for the same injector; independent of the channel and the
    detector as long as injection happens within lambda_F of the contact.

    Args:
      dT_dx_area: gradient towards N times contact area [K m].
      sigma, P, S_s: of the injector [S/m], [1], [V/K].
    Source: ratio of the spin currents of thermal and of electrical injection.
    """
    return -sigma * (1 - P**2) * S_s * dT_dx_area / (2 * P)


@within_model()
def cpp_bracket(*, R_F: Num, R_N: Num, d: Num, lambda_N: Num) -> Num:
    """1/(t/R_N + 1/R_F) - 1/(1/(t R_N) + 1/R_F) [ohm m^2] of an F/N/F pillar; t = tanh(d/(2 lambda_N)).

    Evaluated as R_F (1 - t^2)/((1 + t R_F/R_N)(1 + t R_N/R_F)), in which a thick spacer cancels nothing, with
    1 - t^2 = 4 E/(1 + E)^2, E = exp(-d/lambda_N).
    """
    xp = namespace(d, lambda_N)
    t, decay = xp.tanh(d / (2 * lambda_N)), xp.exp(-d / lambda_N)
    return R_F * 4 * decay / (1 + decay) ** 2 / ((1 + t * R_F / R_N) * (1 + t * R_N / R_F))


@within_model()
def cpp_resistance_change(*, P: Num, R_F: Num, R_N: Num, d: Num, lambda_N: Num) -> Num:
    """(R_AP - R_P) A [ohm m^2] of F / N spacer of thickness d / F, both F long and equal: 2 P^2 x `cpp_bracket`.

    Tends to 2 P^2 R_F for d << lambda_N. Source: Valet and Fert 1993 without interface resistance.
    """
    return 2 * P**2 * cpp_bracket(R_F=R_F, R_N=R_N, d=d, lambda_N=lambda_N)


@within_model()
def cpp_thermal_voltage_change(
    dT_dx: Num,
    *,
    P: Num,
    S_s: Num,
    lambda_F: Num,
    R_F: Num,
    R_N: Num,
    d: Num,
    lambda_N: Num,
    jump: Num = 0.0,
    S_s_contact: Num = 0.0,
) -> Num:
    """V_AP - V_P [V], V = V(left) - V(right), of the same pillar with dT_dx [K/m] in both F and no charge current.

    2 P x bracket x (-`spin_emf` / (2 R_F)), tending to -P lambda_F S_s dT_dx for d << lambda_N. With interfaces between
    F and N, P and R_F are those of `behind_interface`, and T rises by `jump` [K] at each.
    Source: derived.
    """
    bracket = cpp_bracket(R_F=R_F, R_N=R_N, d=d, lambda_N=lambda_N)
    emf = spin_emf(dT_dx, S_s=S_s, lambda_F=lambda_F, jump=jump, S_s_contact=S_s_contact)
    return 2 * P * bracket * (-emf / (2 * R_F))
