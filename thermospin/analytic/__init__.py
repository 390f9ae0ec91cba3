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
arrays; `layered_stack`, `fn_interface_profile` and `onsager_matrix` are numpy alone. Numbers outside the limits of
`quantities` are an `InputError`; those that JAX traces pass. This package knows nothing of grids, operators or devices,
on purpose: it is an independent witness.
"""

from thermospin.analytic.heat import (
    bar_resistance,
    fin_length,
    fin_T,
    joule_bar_T,
    joule_bar_T_max,
    peltier_junction_dT,
    polarised_bar_resistance,
    slab_thermal_resistance,
    spin_peltier_dT,
    thermocouple_voltage,
)
from thermospin.analytic.injection import (
    Profile,
    bulk_thermal_spin_current,
    cpp_bracket,
    cpp_resistance_change,
    cpp_thermal_voltage_change,
    detector_step,
    fn_electrical_V_s,
    fn_interface_profile,
    fn_thermal_spin_current,
    fn_thermal_V_s,
    fn_thermal_V_s_finite,
    free_end_V_s,
    injection_equivalent_current,
    nlsv_resistance,
    nlsv_thermal_voltage,
    spin_emf,
    van_son_RA,
)
from thermospin.analytic.interfaces import (
    Behind,
    behind_interface,
    fn_contact_RA,
    fn_flip_V_s,
    interface_spin_resistance,
    spin_flip_probability,
    thermal_current_ratio,
    tunnel_conductance,
    tunnel_magnetoresistance,
)
from thermospin.analytic.materials import (
    Channels,
    Dressed,
    channel_seebeck,
    channel_sigma,
    contact_spin_resistance,
    dressed,
    finite_spin_resistance,
    onsager_matrix,
    open_circuit_kappa,
    spin_exchange,
    spin_resistance,
)
from thermospin.analytic.stacks import (
    End,
    Interface,
    Layer,
    LayeredSolution,
    layered_stack,
)

__all__ = [
    "Behind",
    "Channels",
    "Dressed",
    "End",
    "Interface",
    "Layer",
    "LayeredSolution",
    "Profile",
    "bar_resistance",
    "behind_interface",
    "bulk_thermal_spin_current",
    "channel_seebeck",
    "channel_sigma",
    "contact_spin_resistance",
    "cpp_bracket",
    "cpp_resistance_change",
    "cpp_thermal_voltage_change",
    "detector_step",
    "dressed",
    "fin_T",
    "fin_length",
    "finite_spin_resistance",
    "fn_contact_RA",
    "fn_electrical_V_s",
    "fn_flip_V_s",
    "fn_interface_profile",
    "fn_thermal_V_s",
    "fn_thermal_V_s_finite",
    "fn_thermal_spin_current",
    "free_end_V_s",
    "injection_equivalent_current",
    "interface_spin_resistance",
    "joule_bar_T",
    "joule_bar_T_max",
    "layered_stack",
    "nlsv_resistance",
    "nlsv_thermal_voltage",
    "onsager_matrix",
    "open_circuit_kappa",
    "peltier_junction_dT",
    "polarised_bar_resistance",
    "slab_thermal_resistance",
    "spin_emf",
    "spin_exchange",
    "spin_flip_probability",
    "spin_peltier_dT",
    "spin_resistance",
    "thermal_current_ratio",
    "thermocouple_voltage",
    "tunnel_conductance",
    "tunnel_magnetoresistance",
    "van_son_RA",
]
