"""Closed forms of spin, charge and heat transport in one dimension, against which the 3D program is tested.

Conventions, the same as in docs/theory.md:

- SI units; every potential is an electrochemical potential over the elementary charge, in volts;
- spin accumulation `V_s = V_up - V_down` (the full splitting); `V_c = (V_up + V_down)/2`;
- `J > 0` and `x` point the same way; in F/N problems F lies at x < 0 and N at x > 0;
- `sigma` counts both channels, `S` is the conductivity-weighted Seebeck coefficient, `S_s = S_up - S_down`;
- the spin current of a channel is `j = J_up - (1+P)/2 J`, so that `J_up - J_down = P J + 2 j`.

The short formulas leave out one small thing: the heat that a spin current carries changes the temperature gradient
that drives it (relative size sigma (1-P^2) S_s^2 T0 / (4 kappa), 1.5e-4 in permalloy). `dressed` returns the
constants with which they become exact, and `layered_stack` solves a whole stack of layers exactly.

The formulas use only arithmetic and the array namespace of their arguments, so they take floats, numpy arrays and JAX
arrays; `layered_stack` is numpy alone. This module knows nothing of grids, operators or devices, on purpose: it is an
independent witness.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from thermospin.base.errors import InputError

Num = Any
"""A float, a numpy array or a JAX array."""


def _namespace(*args: Num) -> types.ModuleType:
    """The array module of the first argument that is an array (JAX arrays stay JAX arrays)."""
    for a in args:
        if hasattr(a, "__array_namespace__"):
            return a.__array_namespace__()
    return np


# ----------------------------------------------------------------------------------------------------------------------
# Material combinations


class Channels(NamedTuple):
    """A quantity per spin channel."""

    up: Num
    down: Num


def channel_sigma(sigma: Num, P: Num) -> Channels:
    """Conductivity of each channel [S/m]: sigma_up,down = sigma (1 +- P)/2."""
    return Channels(sigma * (1 + P) / 2, sigma * (1 - P) / 2)


def channel_seebeck(P: Num, S: Num, S_s: Num) -> Channels:
    """Seebeck coefficient of each channel [V/K], from the conductivity-weighted mean S and S_s = S_up - S_down.

    S_up = S + (1-P)/2 S_s, S_down = S - (1+P)/2 S_s, hence (sigma_up S_up + sigma_down S_down)/sigma = S.
    """
    return Channels(S + (1 - P) / 2 * S_s, S - (1 + P) / 2 * S_s)


def spin_exchange(sigma: Num, P: Num, lambda_sf: Num) -> Num:
    """Current per volume from up to down per volt of spin accumulation [S/m^3]: g = (1-P^2) sigma / (4 lambda_sf^2).

    Source: Slachter et al. 2010, eq. 3; sigma is that of both channels together, which gives V_s'' = V_s/lambda_sf^2.
    """
    return (1 - P**2) * sigma / (4 * lambda_sf**2)


def spin_resistance(sigma: Num, lambda_sf: Num, P: Num = 0.0) -> Num:
    """Spin resistance times area [ohm m^2]: R* = lambda_sf / (sigma (1-P^2)).

    A semi-infinite metal with V_s(0) at its end face carries the spin current j = V_s(0) / (4 R*) away.
    Source: Valet and Fert 1993 (rho* lambda_sf, with 1/sigma = rho* (1-P^2)).
    """
    return lambda_sf / (sigma * (1 - P**2))


def finite_spin_resistance(R: Num, length: Num, lambda_sf: Num, end: str) -> Num:
    """Spin resistance times area [ohm m^2] of a metal of finite length, seen from one end face.

    Args:
      R: spin resistance of the semi-infinite metal, `spin_resistance(...)` [ohm m^2].
      length: length [m].
      lambda_sf: spin relaxation length [m].
      end: the far end: "free" (no spin current leaves; R coth) or "sink" (V_s = 0, a grounded contact; R tanh).
    """
    t = _namespace(length, lambda_sf, R).tanh(length / lambda_sf)
    if end == "free":
        return R / t
    if end == "sink":
        return R * t
    raise InputError(f"end={end!r}: the far end is 'free' or 'sink'")


def contact_spin_resistance(G_up: Num, G_down: Num) -> Num:
    """Spin resistance times area [ohm m^2] of an interface: (1/G_up + 1/G_down)/4, conductances in S/m^2."""
    return (1 / G_up + 1 / G_down) / 4


def open_circuit_kappa(sigma: Num, P: Num, S: Num, S_s: Num, kappa: Num, T0: Num) -> Num:
    """Heat conductivity without current in either channel [W/(m K)]; `kappa` is that at zero gradient of V.

    kappa_open = kappa - T0 (sigma_up S_up^2 + sigma_down S_down^2) = kappa - T0 sigma (S^2 + (1-P^2)/4 S_s^2).
    """
    return kappa - T0 * sigma * (S**2 + (1 - P**2) / 4 * S_s**2)


class Dressed(NamedTuple):
    """Constants of a metal with the feedback of spin currents on the temperature included; see `dressed`."""

    lambda_sf: Num
    """decay length of V_s [m], a little shorter than the bare one"""
    R: Num
    """spin resistance times area [ohm m^2], a little larger than the bare one"""
    kappa: Num
    """open-circuit heat conductivity, neither channel carrying current [W/(m K)]"""
    feedback: Num
    """e, the relative size of the effect [1]"""


def dressed(sigma: Num, P: Num, S: Num, S_s: Num, kappa: Num, lambda_sf: Num, T0: Num) -> Dressed:
    """The constants that make the one-dimensional closed forms of this module exact.

    Eliminating T' from the spin equation by the heat current gives, in a uniform layer,

        V_s' = -(4 R*/lambda_sf)(1 + e) j - S_s G,   V_s'' = (1 + e) V_s / lambda_sf^2,
        e = T0 sigma (1-P^2) S_s^2 / (4 kappa_open),  G = -(Q - S T0 J)/kappa_open,

    where G is constant along a layer without heat sources: the gradient that there would be without spin currents.
    So the decay length is lambda_sf/sqrt(1+e), the spin resistance R* sqrt(1+e), and G takes the place of dT/dx
    (deep inside a layer dT/dx = G/(1+e)).

    Source: derived from Slachter et al. 2010, eq. 1-4.
    """
    kappa_open = open_circuit_kappa(sigma, P, S, S_s, kappa, T0)
    feedback = T0 * sigma * (1 - P**2) * S_s**2 / (4 * kappa_open)
    root = (1 + feedback) ** 0.5
    return Dressed(lambda_sf / root, spin_resistance(sigma, lambda_sf, P) * root, kappa_open, feedback)


def onsager_matrix(sigma: float, P: float, S: float, S_s: float, kappa: float, T0: float) -> np.ndarray:
    """The 3x3 matrix G of (J_up, J_down, Q/T0) = -G (grad V_up, grad V_down, grad T): symmetric (Onsager).

    Positive definite exactly when kappa_open > 0, that is T0 sigma (S^2 + (1-P^2)/4 S_s^2) < kappa.
    """
    s, e = channel_sigma(sigma, P), channel_seebeck(P, S, S_s)
    return np.array([[s.up, 0, s.up * e.up], [0, s.down, s.down * e.down], [s.up * e.up, s.down * e.down, kappa / T0]])


# ----------------------------------------------------------------------------------------------------------------------
# Items 1 to 5: one interface


def bulk_thermal_spin_current(dT_dx: Num, *, sigma: Num, P: Num, S_s: Num) -> Num:
    """Spin current J_up - J_down [A/m^2] deep in a ferromagnet without charge current, driven by dT/dx [K/m].

    J_up - J_down = -sigma (1-P^2) S_s dT_dx / 2.  Source: Slachter et al. 2010, text below eq. 2.
    """
    return -sigma * (1 - P**2) * S_s * dT_dx / 2


def fn_thermal_V_s(dT_dx: Num, *, S_s: Num, lambda_F: Num, R_F: Num, R_N: Num, R_contact: Num = 0.0) -> Num:
    """Spin accumulation [V] on the N side of an F/N interface, driven by a temperature gradient in F.

    V_s(0) = -lambda_F S_s dT_dx R_N / (R_N + R_F + R_contact); it decays as exp(-x/lambda_N) into N.
    F and N reach many decay lengths away from the interface, which is open-circuited (J = 0); x points from F to N.

    Args:
      dT_dx: temperature gradient in F [K/m].
      S_s: spin-dependent Seebeck coefficient of F [V/K].
      lambda_F: spin relaxation length of F [m].
      R_F, R_N: `spin_resistance` of F (with its P) and N [ohm m^2]; `finite_spin_resistance` for a finite N.
      R_contact: `contact_spin_resistance` of the interface [ohm m^2]; 0 is transparent.
    Source: Slachter et al. 2010, eq. 2 (exact in 1D with the full splitting); contact term as Scharf et al. 2012.
    """
    return -lambda_F * S_s * dT_dx * R_N / (R_N + R_F + R_contact)


def fn_thermal_V_s_finite(
    dT_dx: Num, *, S_s: Num, lambda_F: Num, length_F: Num, R_F: Num, R_N: Num, end: str = "free"
) -> Num:
    """As `fn_thermal_V_s` with F of finite length and no contact resistance.

    Far end of F free (no spin current):   V_s(0) = -lambda_F S_s G (1 - 1/cosh a) / (tanh a + R_F/R_N)
    far end held at V_s = 0 (grounded):    V_s(0) = -lambda_F S_s G / (coth a + R_F/R_N),      a = length_F/lambda_F

    R_F is the spin resistance of semi-infinite F; a finite N enters through `finite_spin_resistance`. Exact with the
    constants of `dressed` and its G for dT_dx. Source: derived, docs/theory.md.
    """
    xp = _namespace(length_F, lambda_F, dT_dx, R_F, R_N)
    a = length_F / lambda_F
    if end == "free":
        return -lambda_F * S_s * dT_dx * (1 - 1 / xp.cosh(a)) / (xp.tanh(a) + R_F / R_N)
    if end == "sink":
        return -lambda_F * S_s * dT_dx / (1 / xp.tanh(a) + R_F / R_N)
    raise InputError(f"end={end!r}: the far end of F is 'free' or 'sink'")


def fn_thermal_spin_current(dT_dx: Num, *, S_s: Num, lambda_F: Num, R_F: Num, R_N: Num, R_contact: Num = 0.0) -> Num:
    """Spin current J_up - J_down [A/m^2] into the N of `fn_thermal_V_s`.

    -lambda_F S_s dT_dx / (2 (R_N + R_F + R_contact)); arguments as there. Source: derived from eq. 1-3.
    """
    return -lambda_F * S_s * dT_dx / (2 * (R_N + R_F + R_contact))


def free_end_V_s(dT_dx: Num, *, S_s: Num, lambda_F: Num) -> Num:
    """Spin accumulation [V] at the free left end of a long ferromagnet: V_s(0) = +lambda_F S_s dT_dx (J = 0).

    x points from the end into the metal; at a right end the sign is reversed. Source: derived from eq. 1 and 3.
    """
    return lambda_F * S_s * dT_dx


def fn_electrical_V_s(J: Num, *, P: Num, R_F: Num, R_N: Num) -> Num:
    """Spin accumulation [V] at an F/N interface crossed by the current density J [A/m^2] from F to N.

    V_s(0) = 2 P J R_N R_F / (R_N + R_F), with R_F = lambda_F/(sigma_F (1-P^2)); transparent, both sides long.
    Source: van Son et al. 1987; Valet and Fert 1993.
    """
    return 2 * P * J * R_N * R_F / (R_N + R_F)


def van_son_RA(*, P: Num, R_F: Num, R_N: Num) -> Num:
    """Extra resistance times area [ohm m^2] of a transparent F/N interface: P^2 R_N R_F / (R_N + R_F).

    Source: van Son, van Kempen, Wyder 1987.
    """
    return P**2 * R_N * R_F / (R_N + R_F)


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


def fn_interface_profile(x: Num, F: Any, N: Any, *, dT_dx: float = 0.0, J: float = 0.0, T0: float) -> Profile:
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
        T = (sign * G * distance - peltier * (V_s - V_s0)) / (1 + d.feedback)
        mean = m.P * V_s0 / 2 - sign * J * distance / m.sigma - m.S * T
        sides.append((mean + (1 - m.P) / 2 * V_s, mean - (1 + m.P) / 2 * V_s, T))
    V_up, V_down, T = (np.where(x < 0, left, right) for left, right in zip(*sides, strict=True))
    return Profile(x, V_up, V_down, T)


# ----------------------------------------------------------------------------------------------------------------------
# Items 6 and 7: two ferromagnets


def _nlsv_denominator(R_1: Num, R_2: Num, R_N: Num, decay: Num) -> Num:
    return (1 + 2 * R_1 / R_N) * (1 + 2 * R_2 / R_N) - decay**2


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
    Source: Takahashi and Maekawa 2003, transparent limit, re-derived with the channel convention of this module.
    """
    decay = _namespace(L, lambda_N).exp(-L / lambda_N)
    return 4 * P_1 * P_2 * (R_1 * R_2 / R_N) * decay / _nlsv_denominator(R_1, R_2, R_N, decay)


def nlsv_thermal_voltage(
    dT_dx: Num, *, S_s: Num, lambda_F: Num, P_2: Num, R_1: Num, R_2: Num, R_N: Num, L: Num, lambda_N: Num
) -> Num:
    """Spin signal V_P - V_AP [V] of the same valve when a temperature gradient in the injector drives it.

    As `nlsv_resistance` with P_1 I replaced by -lambda_F S_s dT_dx / (2 R_1), dT_dx towards N [K/m].
    Source: Slachter et al. 2010 (mechanism); derived.
    """
    source = -lambda_F * S_s * dT_dx / (2 * R_1)
    return source * nlsv_resistance(P_1=1.0, P_2=P_2, R_1=R_1, R_2=R_2, R_N=R_N, L=L, lambda_N=lambda_N)


def injection_equivalent_current(dT_dx_area: Num, *, sigma: Num, P: Num, S_s: Num) -> Num:
    """Electrical current I [A] that injects the same spin current as a temperature gradient does.

    I = -sigma (1-P^2) S_s * integral(dT_dx dA) / (2 P), for the same injector; independent of the channel and the
    detector as long as injection happens within lambda_F of the contact.

    Args:
      dT_dx_area: gradient towards N times contact area [K m].
      sigma, P, S_s: of the injector [S/m], [1], [V/K].
    Source: derived from items 1 and 4 (ratio of the two).
    """
    return -sigma * (1 - P**2) * S_s * dT_dx_area / (2 * P)


def cpp_bracket(*, R_F: Num, R_N: Num, d: Num, lambda_N: Num) -> Num:
    """1/(t/R_N + 1/R_F) - 1/(1/(t R_N) + 1/R_F) [ohm m^2] of an F/N/F pillar; t = tanh(d/(2 lambda_N))."""
    t = _namespace(d, lambda_N).tanh(d / (2 * lambda_N))
    return 1 / (t / R_N + 1 / R_F) - 1 / (1 / (t * R_N) + 1 / R_F)


def cpp_resistance_change(*, P: Num, R_F: Num, R_N: Num, d: Num, lambda_N: Num) -> Num:
    """(R_AP - R_P) A [ohm m^2] of F / N spacer of thickness d / F, both F long and equal: 2 P^2 x `cpp_bracket`.

    Tends to 2 P^2 R_F for d << lambda_N. Source: Valet and Fert 1993 without interface resistance.
    """
    return 2 * P**2 * cpp_bracket(R_F=R_F, R_N=R_N, d=d, lambda_N=lambda_N)


def cpp_thermal_voltage_change(
    dT_dx: Num, *, P: Num, S_s: Num, lambda_F: Num, R_F: Num, R_N: Num, d: Num, lambda_N: Num
) -> Num:
    """V_AP - V_P [V], V = V(left) - V(right), of the same pillar with dT_dx [K/m] in both F and no charge current.

    2 P x bracket x (-lambda_F S_s dT_dx / (2 R_F)), tending to -P lambda_F S_s dT_dx for d << lambda_N.
    Source: derived.
    """
    bracket = cpp_bracket(R_F=R_F, R_N=R_N, d=d, lambda_N=lambda_N)
    return 2 * P * bracket * (-lambda_F * S_s * dT_dx / (2 * R_F))


# ----------------------------------------------------------------------------------------------------------------------
# Items 8 and 11, 12: heat


def spin_peltier_dT(V_s: Num, *, sigma: Num, P: Num, S_s: Num, kappa_open: Num, T0: Num) -> Num:
    """T(interface) - T(bulk of F) [K] caused by the spin current that the spin accumulation V_s [V] drives in F.

    -sigma (1-P^2) T0 S_s V_s / (4 kappa_open): the conventional Peltier and Joule parts are not in it.
    Source: Flipse et al. 2012 (effect); derived from eq. 1-4. Their formula has kappa for kappa_open (1.7 % in Py);
    the remaining error is the relative 1.5e-4 named in the module text.
    """
    return -sigma * (1 - P**2) * T0 * S_s * V_s / (4 * kappa_open)


def peltier_junction_dT(J: Num, *, S_A: Num, S_B: Num, kappa_A: Num, kappa_B: Num, L_A: Num, L_B: Num, T0: Num) -> Num:
    """Temperature rise [K] of the junction of two bars whose outer ends are at T0, for J [A/m^2] from A to B.

    dT = T0 (S_A - S_B) J / (kappa_A/L_A + kappa_B/L_B), with the open-circuit kappa; no Joule heat.
    """
    return T0 * (S_A - S_B) * J / (kappa_A / L_A + kappa_B / L_B)


def thermocouple_voltage(dT: Num, *, S_A: Num, S_B: Num) -> Num:
    """V_A - V_B [V] of the cold ends (at T0) of two bars joined at a junction dT [K] hotter: (S_A - S_B) dT.

    From grad V = -S grad T without current: the cold end of a metal with S > 0 is at the higher potential.
    """
    return (S_A - S_B) * dT


def joule_bar_T(x: Num, *, J: Num, length: Num, sigma: Num, kappa_open: Num) -> Num:
    """Temperature rise [K] of a bar with both ends at T0: J^2 x (length - x) / (2 sigma kappa_open), x from one end.

    Independent of S: Peltier heat is carried through unchanged by a uniform bar. Source: Fourier's law.
    """
    return J**2 * x * (length - x) / (2 * sigma * kappa_open)


def joule_bar_T_max(*, J: Num, length: Num, sigma: Num, kappa_open: Num) -> Num:
    """Temperature rise [K] in the middle of that bar: J^2 length^2/(8 sigma kappa) = sigma V^2/(8 kappa)."""
    return J**2 * length**2 / (8 * sigma * kappa_open)


def bar_resistance(length: Num, *, sigma: Num, area: Num) -> Num:
    """Resistance [ohm] of a uniform bar (P = S_s = 0, or both channels shorted at its ends): length/(sigma area).

    A magnetic bar fed half and half has the two end contributions of `polarised_bar_resistance` on top.
    """
    return length / (sigma * area)


def polarised_bar_resistance(length: Num, *, sigma: Num, P: Num, lambda_sf: Num, area: Num) -> Num:
    """Resistance [ohm] of a ferromagnetic bar fed half in each channel at one end and grounded (V_s = 0) at the other.

    At the injecting end the current carries no spin polarisation, so V_s = -2 P J R* tanh(length/lambda_sf) builds up
    there and the mean of the two channels rises by P^2 J R* tanh(length/lambda_sf) (without thermoelectric feedback):

        R = length/(sigma area) + P^2 R*/area tanh(length/lambda_sf).   Source: derived, docs/theory.md.
    """
    R = spin_resistance(sigma, lambda_sf, P)
    return length / (sigma * area) + P**2 * R / area * _namespace(length, lambda_sf).tanh(length / lambda_sf)


# ----------------------------------------------------------------------------------------------------------------------
# A stack of layers, exactly


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    """One uniform layer of a stack; sigma = 0 carries heat only (then P, S, S_s and lambda_sf mean nothing).

    length [m], sigma [S/m], P [1], S, S_s [V/K], kappa at zero gradient of V [W/(m K)], lambda_sf [m],
    heat: uniform heat source [W/m^3].
    """

    length: float
    kappa: float
    sigma: float = 0.0
    P: float = 0.0
    S: float = 0.0
    S_s: float = 0.0
    lambda_sf: float = 1.0
    heat: float = 0.0

    @classmethod
    def of(cls, material: Any, length: float, *, sign: int = 1, heat: float = 0.0) -> Layer:
        """A layer of a material (anything with the attributes); sign = -1 reverses its magnet (P and S_s)."""
        if not material.sigma:
            return cls(length=length, kappa=material.kappa, heat=heat)
        return cls(
            length=length,
            sigma=material.sigma,
            P=sign * material.P,
            S=material.S,
            S_s=sign * material.S_s,
            kappa=material.kappa,
            lambda_sf=material.lambda_sf,
            heat=heat,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class End:
    """What is held at one end of a stack: V or J for each channel (up, down), and T or Q; J and Q point along +x.

    At an end of a heat-only layer V and J mean nothing.
    """

    V: tuple[float, float] | None = None
    J: tuple[float, float] | None = None
    T: float | None = None
    Q: float | None = None

    def __post_init__(self) -> None:
        if (self.V is None) == (self.J is None) or (self.T is None) == (self.Q is None):
            raise InputError(f"an End holds one of V and J, and one of T and Q; got {self}")

    @classmethod
    def grounded(cls) -> End:
        """V_up = V_down = 0 and T = bath."""
        return cls(V=(0.0, 0.0), T=0.0)

    @classmethod
    def current(cls, J: float = 0.0, *, T: float = 0.0) -> End:
        """Current density J [A/m^2] along +x, half in each channel, and T held; J = 0 is a voltage contact."""
        return cls(J=(J / 2, J / 2), T=T)

    @classmethod
    def insulated(cls) -> End:
        """No current in either channel and no heat."""
        return cls(J=(0.0, 0.0), Q=0.0)

    def homogeneous(self) -> End:
        """The same kind of end with nothing driven: the boundary condition of every higher harmonic."""
        return End(
            V=None if self.V is None else (0.0, 0.0),
            J=None if self.J is None else (0.0, 0.0),
            T=None if self.T is None else 0.0,
            Q=None if self.Q is None else 0.0,
        )


V_UP, V_DOWN, T, J_UP, J_DOWN, Q = range(6)


class _Source(NamedTuple):
    """Heat source c0 + c1 e + c2 f + c3 e^2 + c4 f^2 with e = exp(-x/lambda), f = exp(-(L-x)/lambda)."""

    constant: float = 0.0
    e: float = 0.0
    f: float = 0.0
    ee: float = 0.0
    ff: float = 0.0


class _LayerModes:
    """General solution of one metal layer: six amplitudes a, b (V_s = a e + b f), J, U = Q - S T0 J, mean V, T."""

    def __init__(self, layer: Layer, T0: float):
        self.layer, self.T0 = layer, T0
        self.metal = layer.sigma != 0
        if self.metal:
            d = dressed(layer.sigma, layer.P, layer.S, layer.S_s, layer.kappa, layer.lambda_sf, T0)
            self.k, self.kappa, self.R = 1 / d.lambda_sf, d.kappa, 4 * d.R / d.lambda_sf
            self.c = layer.S_s / d.kappa
        else:
            self.kappa = layer.kappa
        self.size = 6 if self.metal else 2

    def units(self, length: float) -> np.ndarray:
        """Natural sizes of the amplitudes in a stack of that length: 1 K, 0.1 mV and the currents they drive."""
        if not self.metal:
            return np.array([self.kappa / length, 1.0])
        v = 1e-4
        return np.array([v, v, self.layer.sigma * v / length, self.kappa / length, v, 1.0])

    def expand(self, V_s: Num, dV_s: Num, U: Num, int_U: Num, J: Num, mean: Num, T_const: Num, x: Num) -> np.ndarray:
        """The six fields at x from V_s, its derivative, U and its integral, J and the two constants."""
        m, T0 = self.layer, self.T0
        j = (self.c * U - dV_s) / self.R
        temp = T_const - int_U / self.kappa + T0 * self.c * (self.c * int_U - V_s) / self.R
        v = mean - J * x / m.sigma - m.S * temp
        rows = np.broadcast_arrays(
            v + (1 - m.P) / 2 * V_s,
            v - (1 + m.P) / 2 * V_s,
            temp,
            (1 + m.P) / 2 * J + j,
            (1 - m.P) / 2 * J - j,
            U + m.S * T0 * J,
            x,
        )
        return np.stack(rows[:-1])

    def exponentials(self, x: Num) -> tuple[Num, Num]:
        return np.exp(-self.k * x), np.exp(-self.k * (self.layer.length - x))

    def basis(self, x: Num) -> np.ndarray:
        """Fields per unit amplitude, shape (size, 6, ...)."""
        x = np.asarray(x, dtype=float)
        zero, one = np.zeros_like(x), np.ones_like(x)
        if not self.metal:
            return np.stack(
                [
                    np.stack([zero, zero, -x / self.kappa, zero, zero, one]),
                    np.stack([zero, zero, one, zero, zero, zero]),
                ]
            )
        e, f = self.exponentials(x)
        return np.stack(
            [
                self.expand(e, -self.k * e, zero, zero, zero, zero, zero, x),
                self.expand(f, self.k * f, zero, zero, zero, zero, zero, x),
                self.expand(zero, zero, zero, zero, one, zero, zero, x),
                self.expand(zero, zero, one, x, zero, zero, zero, x),
                self.expand(zero, zero, zero, zero, zero, one, zero, x),
                self.expand(zero, zero, zero, zero, zero, zero, one, x),
            ]
        )

    def particular(self, x: Num, s: _Source) -> np.ndarray:
        """One solution with the heat source s, from V_s'' = k^2 V_s + c s."""
        x = np.asarray(x, dtype=float)
        if not self.metal:
            zero = np.zeros_like(x)
            return np.stack([zero, zero, -s.constant * x**2 / (2 * self.kappa), zero, zero, s.constant * x])
        k, y = self.k, self.layer.length - x
        e, f = self.exponentials(x)
        U = s.constant * x + (-s.e * e + s.f * f) / k + (-s.ee * e**2 + s.ff * f**2) / (2 * k)
        int_U = s.constant * x**2 / 2 + (s.e * e + s.f * f) / k**2 + (s.ee * e**2 + s.ff * f**2) / (4 * k**2)
        V_s = self.c * (
            -s.constant / k**2 - (s.e * x * e + s.f * y * f) / (2 * k) + (s.ee * e**2 + s.ff * f**2) / (3 * k**2)
        )
        dV_s = self.c * (
            (-s.e * (1 - k * x) * e + s.f * (1 - k * y) * f) / (2 * k) + 2 * (-s.ee * e**2 + s.ff * f**2) / (3 * k)
        )
        return self.expand(V_s, dV_s, U, int_U, 0.0, 0.0, 0.0, x)

    def joule(self, amplitudes: np.ndarray) -> _Source:
        """Joule heat of a solution without heat source: sum J_s^2/sigma_s = J^2/sigma + 4 j^2/(sigma (1-P^2))."""
        if not self.metal:
            return _Source()
        m = self.layer
        a, b, J, U = amplitudes[:4]
        r = 4 / (m.sigma * (1 - m.P**2))
        j0, ja, jb = self.c * U / self.R, self.k * a / self.R, -self.k * b / self.R
        constant = J**2 / m.sigma + r * (j0**2 + 2 * ja * jb * np.exp(-self.k * m.length))
        return _Source(constant, 2 * r * j0 * ja, 2 * r * j0 * jb, r * ja**2, r * jb**2)


class LayeredSolution:
    """Fields of a stack of layers; x runs from 0 at its left end. Built by `layered_stack`."""

    def __init__(self, modes: Sequence[_LayerModes], ends: tuple[End, End], sources: Sequence[_Source]):
        self._modes, self._ends, self._sources = list(modes), ends, list(sources)
        self.edges = np.concatenate([[0.0], np.cumsum([m.layer.length for m in modes])])
        """coordinates of the two ends and of every interface [m]"""
        self._amplitudes = self._solve()

    def _conditions(self, end: End, fields: np.ndarray, metal: bool) -> tuple[list[np.ndarray], list[float]]:
        """Rows of `fields` that an end holds, and their values."""
        rows: list[np.ndarray] = []
        values: list[float] = []
        if metal and end.V is not None:
            rows, values = [fields[V_UP], fields[V_DOWN]], list(end.V)
        elif metal and end.J is not None:
            rows, values = [fields[J_UP], fields[J_DOWN]], list(end.J)
        if end.T is not None:
            return [*rows, fields[T]], [*values, end.T]
        return [*rows, fields[Q]], [*values, float(end.Q or 0.0)]

    def _solve(self) -> list[np.ndarray]:
        offset = np.concatenate([[0], np.cumsum([m.size for m in self._modes])])
        n, rows, rhs = int(offset[-1]), [], []

        def side(i: int, x: float) -> tuple[np.ndarray, np.ndarray]:
            """(6, n) dependence of the fields of layer i at local x on all amplitudes, and their fixed part (6,)."""
            matrix = np.zeros((6, n))
            matrix[:, offset[i] : offset[i + 1]] = self._modes[i].basis(x).T
            return matrix, self._modes[i].particular(x, self._sources[i])

        def hold(i: int, x: float, end: End) -> None:
            matrix, fixed = side(i, x)
            metal = self._modes[i].metal
            new, values = self._conditions(end, matrix, metal)
            known, _ = self._conditions(end, fixed, metal)
            rows.extend(new)
            rhs.extend(np.asarray(values) - np.asarray(known))

        hold(0, 0.0, self._ends[0])
        for i in range(len(self._modes) - 1):
            left, right = self._modes[i], self._modes[i + 1]
            (ml, fl), (mr, fr) = side(i, left.layer.length), side(i + 1, 0.0)
            which = [T, Q]
            if left.metal and right.metal:
                which = list(range(6))
            elif left.metal or right.metal:
                m, f = (ml, fl) if left.metal else (mr, fr)
                rows.extend(m[[J_UP, J_DOWN]])
                rhs.extend(-f[[J_UP, J_DOWN]])
            rows.extend((ml - mr)[which])
            rhs.extend((fr - fl)[which])
        hold(len(self._modes) - 1, self._modes[-1].layer.length, self._ends[1])

        # Volts, kelvins and amperes per square metre meet here: natural units first, then an even size of the rows.
        columns = np.concatenate([m.units(self.edges[-1]) for m in self._modes])
        matrix, vector = np.array(rows) * columns, np.array(rhs)
        weights = 1 / np.abs(matrix).max(axis=1)
        matrix, vector = matrix * weights[:, None], vector * weights
        if np.linalg.cond(matrix) > 1e13:
            raise InputError("the stack is not determined: hold V at one end at least (and T at one end)")
        y = np.linalg.solve(matrix, vector)
        y = columns * (y + np.linalg.solve(matrix, vector - matrix @ y))
        return [y[offset[i] : offset[i + 1]] for i in range(len(self._modes))]

    def fields(self, x: Num) -> np.ndarray:
        """V_up, V_down [V], T [K], J_up, J_down [A/m^2], Q [W/m^2] at x [m], shape (6, *x.shape).

        Potentials and currents are zero in heat-only layers. An x on an interface belongs to the layer on its right.
        """
        x = np.asarray(x, dtype=float)
        total = self.edges[-1]
        if np.any((x < -1e-9 * total) | (x > total * (1 + 1e-9))):
            raise InputError(f"x lies outside the stack [0, {total:g}] m")
        which = np.clip(np.searchsorted(self.edges, x, side="right") - 1, 0, len(self._modes) - 1)
        out = np.zeros((6, *x.shape))
        for i, (m, s, amplitudes) in enumerate(zip(self._modes, self._sources, self._amplitudes, strict=True)):
            here = which == i
            local = x[here] - self.edges[i]
            out[:, here] = np.tensordot(amplitudes, m.basis(local), 1) + m.particular(local, s)
        return out

    def V_up(self, x: Num) -> np.ndarray:
        """Potential of the up channel [V]."""
        return self.fields(x)[V_UP]

    def V_down(self, x: Num) -> np.ndarray:
        """Potential of the down channel [V]."""
        return self.fields(x)[V_DOWN]

    def V_c(self, x: Num) -> np.ndarray:
        """Mean potential (V_up + V_down)/2 [V], what a contact reads."""
        return self.fields(x)[[V_UP, V_DOWN]].mean(axis=0)

    def V_s(self, x: Num) -> np.ndarray:
        """Spin accumulation V_up - V_down [V]."""
        f = self.fields(x)
        return f[V_UP] - f[V_DOWN]

    def T(self, x: Num) -> np.ndarray:
        """Temperature rise [K]."""
        return self.fields(x)[T]

    def second_harmonic(self, zeta: float = 1.0) -> LayeredSolution:
        """The response to zeta times the Joule heat of this solution, ends held at zero: u_2 of docs/theory.md.

        If this is the response u_1 to a current I, then fields to second order are u_1 + u_2 (both for that I).
        """
        if any(s != _Source() for s in self._sources):
            raise InputError("second_harmonic starts from a stack without heat sources (Layer.heat = 0)")
        sources = [_Source(*(zeta * np.array(m.joule(a)))) for m, a in zip(self._modes, self._amplitudes, strict=True)]
        left, right = self._ends
        return LayeredSolution(self._modes, (left.homogeneous(), right.homogeneous()), sources)


def layered_stack(layers: Sequence[Layer], left: End, right: End, *, T0: float) -> LayeredSolution:
    """Charge, spin and heat transport through a stack of layers of equal cross-section, solved exactly.

    In each layer, with j the spin current and U = Q - S T0 J,

        J' = 0,  U' = heat,  V_s' = -R j + c U,  j' = -g V_s,  kappa_open T' = -U + T0 S_s j,
        R = 4(1+e)/(sigma (1-P^2)),  c = S_s/kappa_open,  e as in `dressed`,
        mean V: (1+P)/2 V_up + (1-P)/2 V_down = const - J x/sigma - S T,

    whose solutions are exponentials and polynomials; V_up, V_down, T, J_up, J_down and Q are continuous at every
    interface. The amplitudes come from one dense linear system: exact to round-off (about 1e-12).

    Args:
      layers: from left to right; conducting layers that heat-only layers separate each need a held V of their own,
        so a heat-only layer can only be the first or the last ones of the stack.
      left, right: what is held at the two ends.
      T0: bath temperature [K]; must be positive where S or S_s act on heat, 0 switches the Peltier effects off.
    Returns:
      a LayeredSolution: `.fields(x)`, `.V_up(x)`, ..., `.second_harmonic(zeta)`.
    Source: derived from Slachter et al. 2010, eq. 1-4, without Joule heat; see docs/theory.md.
    """
    sources = [_Source(layer.heat) for layer in layers]
    return LayeredSolution([_LayerModes(layer, T0) for layer in layers], (left, right), sources)
