"""Peltier and Joule heat, heat through slabs and fins, thermocouples, and resistances of bars."""

from __future__ import annotations

from collections.abc import Sequence

from thermospin.analytic.checks import require_within, within_model
from thermospin.analytic.materials import Num, namespace, spin_resistance
from thermospin.base.errors import InputError


@within_model()
def spin_peltier_dT(V_s: Num, *, sigma: Num, P: Num, S_s: Num, kappa_open: Num, T0: Num) -> Num:
    """T(interface) - T(bulk of F) [K] caused by the spin current that the spin accumulation V_s [V] drives in F.

    -sigma (1-P^2) T0 S_s V_s / (4 kappa_open): the conventional Peltier and Joule parts are not in it.
    Source: Flipse et al. 2012 (effect); derived from eq. 1-4. Their formula has kappa for kappa_open (1.7 % in Py);
    the remaining error is the relative 1.5e-4 named in the text of the package.
    """
    return -sigma * (1 - P**2) * T0 * S_s * V_s / (4 * kappa_open)


@within_model()
def peltier_junction_dT(J: Num, *, S_A: Num, S_B: Num, kappa_A: Num, kappa_B: Num, L_A: Num, L_B: Num, T0: Num) -> Num:
    """Temperature rise [K] of the junction of two bars whose outer ends are at T0, for J [A/m^2] from A to B.

    dT = T0 (S_A - S_B) J / (kappa_A/L_A + kappa_B/L_B), with the open-circuit kappa; no Joule heat.
    """
    return T0 * (S_A - S_B) * J / (kappa_A / L_A + kappa_B / L_B)


@within_model()
def thermocouple_voltage(dT: Num, *, S_A: Num, S_B: Num) -> Num:
    """V_A - V_B [V] of the cold ends (at T0) of two bars joined at a junction dT [K] hotter: (S_A - S_B) dT.

    From grad V = -S grad T without current: the cold end of a metal with S > 0 is at the higher potential.
    """
    return (S_A - S_B) * dT


@within_model("sigma")
def joule_bar_T(x: Num, *, J: Num, length: Num, sigma: Num, kappa_open: Num) -> Num:
    """Temperature rise [K] of a bar with both ends at T0: J^2 x (length - x) / (2 sigma kappa_open), x from one end.

    Independent of S: Peltier heat is carried through unchanged by a uniform bar. Source: Fourier's law.
    """
    require_within("joule_bar_T", x, length)
    # J^2 of whole numbers in an array would overflow, here and in the middle
    return (J * x) * (J * (length - x)) / (2 * sigma * kappa_open)


@within_model("sigma")
def joule_bar_T_max(*, J: Num, length: Num, sigma: Num, kappa_open: Num) -> Num:
    """Temperature rise [K] in the middle of that bar: J^2 length^2/(8 sigma kappa) = sigma V^2/(8 kappa)."""
    return (J * length) ** 2 / (8 * sigma * kappa_open)


@within_model("sigma")
def bar_resistance(length: Num, *, sigma: Num, area: Num) -> Num:
    """Resistance [ohm] of a uniform bar (P = S_s = 0, or both channels shorted at its ends): length/(sigma area).

    A magnetic bar fed half and half has the two end contributions of `polarised_bar_resistance` on top.
    """
    return length / (sigma * area)


@within_model("sigma")
def polarised_bar_resistance(length: Num, *, sigma: Num, P: Num, lambda_sf: Num, area: Num) -> Num:
    """Resistance [ohm] of a ferromagnetic bar fed half in each channel at one end and grounded (V_s = 0) at the other.

    At the injecting end the current carries no spin polarisation, so V_s = -2 P J R* tanh(length/lambda_sf) builds up
    there and the mean of the two channels rises by P^2 J R* tanh(length/lambda_sf) (without thermoelectric feedback):

        R = length/(sigma area) + P^2 R*/area tanh(length/lambda_sf).   Source: derived, docs/theory.md.
    """
    R = spin_resistance(sigma, lambda_sf, P)
    return length / (sigma * area) + P**2 * R / area * namespace(length, lambda_sf).tanh(length / lambda_sf)


@within_model()
def slab_thermal_resistance(lengths: Sequence[Num], kappas: Sequence[Num], K: Sequence[Num] = ()) -> Num:
    """Temperature drop over heat current density [m^2 K/W] of slabs and interfaces in series: sum d/kappa + sum 1/K.

    kappa and K are the open-circuit ones of metals. Source: Fourier's law; Kapitza's for K.
    """
    if len(lengths) != len(kappas):
        raise InputError(
            f"slab_thermal_resistance: got {len(lengths)} lengths and {len(kappas)} kappas, expected one of each a slab"
        )
    return sum(d / kappa for d, kappa in zip(lengths, kappas, strict=True)) + sum(1 / k for k in K)


@within_model()
def fin_length(*, kappa: Num, thickness: Num, h: Num) -> Num:
    """Length [m] in which a rise of T along a film falls by e: sqrt(kappa thickness/h), h [W/(m^2 K)] on one face."""
    return (kappa * thickness / h) ** 0.5


@within_model()
def fin_T(x: Num, *, T_base: Num, length: Num, decay: Num) -> Num:
    """Temperature rise [K] at x from the warm end of a fin with an insulated tip, 0 <= x <= length.

    T_base cosh((length - x)/decay)/cosh(length/decay), decay = `fin_length`; exact where T does not vary across the
    film, else wrong by h thickness/(3 kappa), the ratio of both thermal resistances across it. Source: fin equation.
    """
    require_within("fin_T", x, length)
    xp = namespace(x, decay, length)
    # by falling exponentials, so that long fins overflow nothing
    reflected = (1 + xp.exp(-2 * (length - x) / decay)) / (1 + xp.exp(-2 * length / decay))
    return T_base * xp.exp(-x / decay) * reflected
