"""Material combinations: spin channels, spin resistances, and constants with the feedback on the temperature."""

from __future__ import annotations

import types
from typing import Any, NamedTuple

import numpy as np

from thermospin.analytic.checks import heat_fault, within_model
from thermospin.base.errors import InputError

Num = Any
"""A float, a numpy array or a JAX array."""


def namespace(*args: Num) -> types.ModuleType:
    """Return the array module of the arguments: numpy unless one is of another (JAX arrays stay JAX arrays)."""
    modules = [a.__array_namespace__() for a in args if hasattr(a, "__array_namespace__")]
    return next((module for module in modules if module is not np), np)


class Channels(NamedTuple):
    """A quantity per spin channel."""

    up: Num
    down: Num


@within_model()
def channel_sigma(sigma: Num, P: Num) -> Channels:
    """Conductivity of each channel [S/m]: sigma_up,down = sigma (1 +- P)/2."""
    return Channels(sigma * (1 + P) / 2, sigma * (1 - P) / 2)


@within_model()
def channel_seebeck(P: Num, S: Num, S_s: Num) -> Channels:
    """Seebeck coefficient of each channel [V/K], from the conductivity-weighted mean S and S_s = S_up - S_down.

    S_up = S + (1-P)/2 S_s, S_down = S - (1+P)/2 S_s, hence (sigma_up S_up + sigma_down S_down)/sigma = S.
    """
    return Channels(S + (1 - P) / 2 * S_s, S - (1 + P) / 2 * S_s)


@within_model()
def spin_exchange(sigma: Num, P: Num, lambda_sf: Num) -> Num:
    """Current per volume from up to down per volt of spin accumulation [S/m^3]: g = (1-P^2) sigma / (4 lambda_sf^2).

    Source: Slachter et al. 2010, eq. 3; sigma is that of both channels together, which gives V_s'' = V_s/lambda_sf^2.
    """
    return (1 - P**2) * sigma / (4 * lambda_sf**2)


@within_model("sigma")
def spin_resistance(sigma: Num, lambda_sf: Num, P: Num = 0.0) -> Num:
    """Spin resistance times area [ohm m^2]: R* = lambda_sf / (sigma (1-P^2)).

    A semi-infinite metal with V_s(0) at its end face carries the spin current j = V_s(0) / (4 R*) away.
    Source: Valet and Fert 1993 (rho* lambda_sf, with 1/sigma = rho* (1-P^2)).
    """
    return lambda_sf / (sigma * (1 - P**2))


@within_model()
def finite_spin_resistance(R: Num, length: Num, lambda_sf: Num, end: str) -> Num:
    """Spin resistance times area [ohm m^2] of a metal of finite length, seen from one end face.

    Args:
      R: spin resistance of the semi-infinite metal, `spin_resistance(...)` [ohm m^2].
      length: length [m].
      lambda_sf: spin relaxation length [m].
      end: the far end: "free" (no spin current leaves; R coth) or "sink" (V_s = 0, a grounded contact; R tanh).
    """
    t = namespace(length, lambda_sf, R).tanh(length / lambda_sf)
    if end == "free":
        return R / t
    if end == "sink":
        return R * t
    raise InputError(f"end={end!r}: the far end is 'free' or 'sink'")


@within_model()
def contact_spin_resistance(G_up: Num, G_down: Num) -> Num:
    """Spin resistance times area [ohm m^2] of an interface: (1/G_up + 1/G_down)/4, conductances in S/m^2."""
    return (1 / G_up + 1 / G_down) / 4


@within_model()
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


@within_model("sigma")
def dressed(sigma: Num, P: Num, S: Num, S_s: Num, kappa: Num, lambda_sf: Num, T0: Num) -> Dressed:
    """Return the constants that make the one-dimensional closed forms of this package exact.

    Eliminating T' from the spin equation by the heat current gives, in a uniform layer,

        V_s' = -(4 R*/lambda_sf)(1 + e) j - S_s G,   V_s'' = (1 + e) V_s / lambda_sf^2,
        e = T0 sigma (1-P^2) S_s^2 / (4 kappa_open),  G = -(Q - S T0 J)/kappa_open,

    where G is constant along a layer without heat sources: the gradient that there would be without spin currents.
    So the decay length is lambda_sf/sqrt(1+e), the spin resistance R* sqrt(1+e), and G takes the place of dT/dx
    (deep inside a layer dT/dx = G/(1+e)).

    Source: derived from Slachter et al. 2010, eq. 1-4.
    """
    kappa_open = open_circuit_kappa(sigma, P, S, S_s, kappa, T0)
    fault = heat_fault("kappa", kappa, kappa_open)
    if fault is not None:
        raise InputError(f"dressed: {fault}")
    feedback = T0 * sigma * (1 - P**2) * S_s**2 / (4 * kappa_open)
    root = (1 + feedback) ** 0.5
    return Dressed(lambda_sf / root, spin_resistance(sigma, lambda_sf, P) * root, kappa_open, feedback)


@within_model("T0")
def onsager_matrix(sigma: float, P: float, S: float, S_s: float, kappa: float, T0: float) -> np.ndarray:
    """Return the 3x3 matrix G of (J_up, J_down, Q/T0) = -G (grad V_up, grad V_down, grad T): symmetric (Onsager).

    Positive definite exactly when kappa_open > 0, that is T0 sigma (S^2 + (1-P^2)/4 S_s^2) < kappa.
    """
    s, e = channel_sigma(sigma, P), channel_seebeck(P, S, S_s)
    return np.array([[s.up, 0, s.up * e.up], [0, s.down, s.down * e.down], [s.up * e.up, s.down * e.down, kappa / T0]])
