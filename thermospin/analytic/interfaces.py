"""Interfaces with resistance: what a ferromagnet behind one looks like, spin flip at one, and tunnel magnetoresistance.

`RA` [ohm m^2] is the resistance times area without spin accumulation, gamma = (G_up - G_down)/(G_up + G_down), and
R_contact = RA/(1 - gamma^2) is what Valet and Fert call r_b*. The heat conductance at zero current in either channel is
`open_circuit_kappa(1/RA, gamma, S, S_s, K, T0)`.
"""

from __future__ import annotations

from typing import NamedTuple

from thermospin.analytic.checks import within_model
from thermospin.analytic.materials import Num, namespace


class Behind(NamedTuple):
    """Polarisation [1] and spin resistance times area [ohm m^2] of a long ferromagnet as seen through an interface."""

    P: Num
    R: Num


@within_model()
def interface_spin_resistance(RA: Num, gamma: Num) -> Num:
    """Spin resistance times area [ohm m^2] of an interface: RA/(1 - gamma^2). Source: Valet and Fert 1993 (r_b*)."""
    return RA / (1 - gamma**2)


@within_model()
def behind_interface(*, P: Num, R_F: Num, gamma: Num, R_contact: Num) -> Behind:
    """Return P and R_F with which the formulas of transparent contacts hold for a ferromagnet behind an interface.

    P_eff = (P R_F + gamma R_contact)/(R_F + R_contact), R = R_F + R_contact: in electrical injection, in a floating
    detector, in the non-local valve and in the F/N/F pillar. Source: Takahashi and Maekawa 2003 for the valve; derived,
    docs/theory.md.
    """
    R = R_F + R_contact
    return Behind((P * R_F + gamma * R_contact) / R, R)


@within_model()
def fn_contact_RA(*, P: Num, R_F: Num, R_N: Num, gamma: Num, R_contact: Num) -> Num:
    """Resistance times area [ohm m^2] that an F/N interface adds to a long F and a long N.

    RA + (R_contact R_F (P - gamma)^2 + R_N (P^2 R_F + gamma^2 R_contact))/(R_N + R_F + R_contact), with
    RA = R_contact (1 - gamma^2). Source: the form of Fert and Jaffres 2001, from memory; derived, docs/theory.md.
    """
    mixing = R_contact * R_F * (P - gamma) ** 2 + R_N * (P**2 * R_F + gamma**2 * R_contact)
    return R_contact * (1 - gamma**2) + mixing / (R_N + R_F + R_contact)


@within_model("R_contact", "delta")
def fn_flip_V_s(J: Num, *, P: Num, R_F: Num, R_N: Num, gamma: Num, R_contact: Num, delta: Num) -> Num:
    """Spin accumulation [V] on the N side of an F/N interface with spin flip, crossed by J [A/m^2] from F to N.

    The interface is a layer of thickness over relaxation length delta > 0; across it, with r = R_contact/delta and
    j_s = J_up - J_down - gamma J,

        V_s -> V_s cosh delta - 2 r j_s sinh delta,   j_s -> j_s cosh delta - V_s sinh delta/(2 r).

    Source: Valet and Fert 1993 (fictitious layer); derived, docs/theory.md.
    """
    xp, r = namespace(delta, R_contact), R_contact / delta
    t, decay = xp.tanh(delta), xp.exp(-delta)
    inside = 1 + r * t / R_F
    # over cosh delta, so that thick layers cancel nothing: 1/cosh = 2 e^-delta/(1 + e^-2 delta)
    drive = 2 * (P - gamma) * decay / (1 + decay**2) + gamma * inside
    return 2 * J * R_N * drive / (inside + R_N * (1 / R_F + t / r))


@within_model()
def spin_flip_probability(delta: Num) -> Num:
    """Probability [1] that a spin flips on its way through an interface: 1 - exp(-delta). Source: Bass's reviews."""
    return -namespace(delta).expm1(-delta)


@within_model("RA")
def tunnel_conductance(RA: Num, *, P_1: Num, P_2: Num) -> Num:
    """Conductance per area [S/m^2] of a barrier between two magnets, a reversed magnet with its P negative.

    G_up,down = (1 +- P_1)(1 +- P_2)/(2 RA), in all (1 + P_1 P_2)/RA. Source: Julliere 1975.
    """
    return (1 + P_1 * P_2) / RA


@within_model()
def tunnel_magnetoresistance(*, P_1: Num, P_2: Num) -> Num:
    """(R_AP - R_P)/R_P [1] of a barrier alone: 2 P_1 P_2/(1 - P_1 P_2). Source: Julliere 1975."""
    return 2 * P_1 * P_2 / (1 - P_1 * P_2)


@within_model()
def thermal_current_ratio(V_ratio: Num, *, TMR: Num) -> Num:
    """I_AP/I_P [1] of a shorted tunnel junction at a fixed heat drive: (V_AP/V_P)/(1 + TMR), open-circuit V.

    Source: Ohm's law, for a barrier that is all of the resistance; Liebing et al. 2013 measured both ratios.
    """
    return V_ratio / (1 + TMR)
