"""Every closed form at the limits of its arguments, and with arguments of the wrong kind.

Limits are those of long and short bars, of P and gamma towards 0 and 1, and of RA towards 0 and infinity. What a limit
neglects is 1e-9 of it or less, rounding less than that: the tolerance is 1e-8.
"""

from __future__ import annotations

import inspect
import re
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from thermospin import analytic as an
from thermospin.base.errors import InputError

F = an.Layer(length=20e-9, sigma=4e6, P=0.25, S=-20e-6, S_s=-4e-6, kappa=30.0, lambda_sf=5e-9)
N = an.Layer(length=200e-9, sigma=4e7, S=1.6e-6, kappa=300.0, lambda_sf=350e-9)
LINK = an.Interface(RA=1e-15, gamma=0.5)
#: One value for each name of an argument.
VALUES = {
    "P": 0.25, "P_1": 0.25, "P_2": 0.4, "gamma": 0.6, "delta": 0.3, "sigma": 4e6, "S": -20e-6, "S_s": -4e-6,
    "S_A": -20e-6, "S_B": 2e-6, "S_s_contact": -3e-6, "kappa": 30.0, "kappa_A": 30.0, "kappa_B": 300.0,
    "kappa_open": 29.0, "kappas": [30.0], "K": [1e9], "h": 1e7, "lambda_sf": 5e-9, "lambda_F": 5e-9,
    "lambda_N": 350e-9, "length": 1e-6, "length_F": 20e-9, "lengths": [1e-7], "L": 1e-7, "L_A": 1e-7, "L_B": 2e-7,
    "d": 15e-9, "thickness": 3e-8, "decay": 1e-6, "area": 1e-14, "R": 1e-15, "R_F": 1e-15, "R_N": 1e-14, "R_1": 0.6,
    "R_2": 0.8, "R_contact": 1e-15, "RA": 1e-15, "G_up": 1e15, "G_down": 2e14, "J": 1e11, "V_s": 1e-6, "dT": 2.0,
    "dT_dx": -5e7, "dT_dx_area": -8e-8, "jump": -0.5, "T_base": 2.0, "T0": 300.0, "TMR": 1.8, "V_ratio": 1.5,
    "x": 1e-7, "end": "free", "F": F, "N": N,
}  # fmt: skip
FORMULAS = [name for name in an.__all__ if (name.islower() or name[0].islower()) and name != "layered_stack"]
NUMPY_ALONE = ("fn_interface_profile", "onsager_matrix")
#: P that floats have exactly, and 1 - P^2 but for 5e-10.
NEAR_1, SHORT_OF_1 = 1 - 2.0**-30, 2.0**-29
V = SimpleNamespace(**VALUES)
EMF = V.lambda_F * V.S_s * V.dT_dx + V.S_s_contact * V.jump
BULK = V.lambda_F * V.S_s * V.dT_dx
E_40 = np.exp(-40.0)

#: Formula, arguments at a limit, and the value there.
LIMITS = [
    ("bar_resistance", {"length": 1e-30}, 1e-30 / 4e-8),
    ("behind_interface", {"R_contact": 0.0}, (V.P, V.R_F)),
    ("behind_interface", {"R_contact": 1e6}, (V.gamma, 1e6)),
    ("bulk_thermal_spin_current", {"P": NEAR_1}, -V.sigma * SHORT_OF_1 * V.S_s * V.dT_dx / 2),
    ("channel_seebeck", {"P": NEAR_1}, (V.S, V.S - V.S_s)),
    ("channel_sigma", {"P": -NEAR_1}, (V.sigma * SHORT_OF_1 / 4, V.sigma)),
    ("contact_spin_resistance", {"G_up": 1e30}, 1 / (4 * V.G_down)),
    ("cpp_bracket", {"d": 1e-10 * V.lambda_N, "R_N": V.R_F}, V.R_F),
    ("cpp_bracket", {"d": 40 * V.lambda_N}, 4 * E_40 / V.R_N / (1 / V.R_N + 1 / V.R_F) ** 2),
    ("cpp_bracket", {"d": 1000 * V.lambda_N}, 0.0),
    ("cpp_resistance_change", {"d": 1e-10 * V.lambda_N, "R_N": V.R_F}, 2 * V.P**2 * V.R_F),
    ("cpp_resistance_change", {"d": 30 * V.lambda_N, "R_F": V.R_N}, 2 * V.P**2 * V.R_N * np.exp(-30)),
    ("cpp_thermal_voltage_change", {"d": 1e-10 * V.lambda_N, "R_N": V.R_F}, -V.P * EMF),
    ("cpp_thermal_voltage_change", {"d": 40 * V.lambda_N, "R_F": V.R_N}, -V.P * EMF * E_40),
    ("cpp_thermal_voltage_change", {"d": 1000 * V.lambda_N}, 0.0),
    ("detector_step", {"P": NEAR_1}, V.V_s / 2),
    (
        "dressed",
        {"P": NEAR_1, "S": 0.0},
        (
            V.lambda_sf,
            V.lambda_sf / (V.sigma * SHORT_OF_1),
            V.kappa,
            V.T0 * V.sigma * SHORT_OF_1 * V.S_s**2 / (4 * V.kappa),
        ),
    ),
    ("fin_T", {"x": V.decay, "length": 1000 * V.decay}, V.T_base * np.exp(-1)),
    ("fin_T", {"x": 0.0, "length": 1000 * V.decay}, V.T_base),
    ("fin_T", {"x": 40 * V.decay, "length": 40 * V.decay}, 2 * V.T_base * E_40),
    ("fin_T", {"x": 5e-16, "length": 1e-15}, V.T_base),
    ("fin_length", {"h": 1e-30}, np.sqrt(V.kappa * V.thickness) * 1e15),
    ("finite_spin_resistance", {"length": 1000 * V.lambda_sf}, V.R),
    ("finite_spin_resistance", {"length": 1e-10 * V.lambda_sf}, 1e10 * V.R),
    ("finite_spin_resistance", {"length": 1e-10 * V.lambda_sf, "end": "sink"}, 1e-10 * V.R),
    ("fn_contact_RA", {"R_contact": 0.0}, V.P**2 * V.R_N * V.R_F / (V.R_N + V.R_F)),
    ("fn_contact_RA", {"R_contact": 1e6}, 1e6 * (1 - V.gamma**2)),
    ("fn_electrical_V_s", {"P": NEAR_1, "R_F": 1e6}, 2 * V.J * V.R_N),
    ("fn_flip_V_s", {"delta": 1e-10}, V.J * V.R_N * 2 * (V.P * V.R_F + V.gamma * V.R_contact) / (V.R_N + 2 * V.R_F)),
    ("fn_flip_V_s", {"delta": 1000.0}, 2 * V.J * V.R_N * V.gamma / (1 + 1000 * V.R_N / V.R_contact)),
    (
        "fn_flip_V_s",
        {"R_contact": 1e-30},
        2 * V.J * 1e-30 / V.delta * ((V.P - V.gamma) / np.cosh(V.delta) + V.gamma) / np.tanh(V.delta),
    ),
    ("fn_flip_V_s", {"R_contact": 1e6}, 2 * V.J * V.R_N * V.gamma),
    ("fn_thermal_V_s", {"R_contact": 0.0}, -EMF * V.R_N / (V.R_N + V.R_F)),
    ("fn_thermal_V_s", {"R_contact": 1e6}, -EMF * V.R_N / 1e6),
    ("fn_thermal_V_s_finite", {"length_F": 1000 * V.lambda_F}, -BULK / (1 + V.R_F / V.R_N)),
    ("fn_thermal_V_s_finite", {"length_F": 1000 * V.lambda_F, "end": "sink"}, -BULK / (1 + V.R_F / V.R_N)),
    ("fn_thermal_V_s_finite", {"length_F": 1e-10 * V.lambda_F}, -BULK * 0.5e-20 * V.R_N / V.R_F),
    ("fn_thermal_V_s_finite", {"length_F": 1e-10 * V.lambda_F, "end": "sink"}, -BULK * 1e-10),
    ("fn_thermal_spin_current", {"R_contact": 1e6}, -BULK / 2e6),
    ("free_end_V_s", {"lambda_F": 1e-30}, 1e-30 * V.S_s * V.dT_dx),
    ("injection_equivalent_current", {"P": 1e-10}, -V.sigma * V.S_s * V.dT_dx_area / 2e-10),
    ("injection_equivalent_current", {"P": NEAR_1}, -V.sigma * SHORT_OF_1 * V.S_s * V.dT_dx_area / 2),
    ("interface_spin_resistance", {"gamma": NEAR_1}, V.RA / SHORT_OF_1),
    ("joule_bar_T", {"x": V.length}, 0.0),
    ("joule_bar_T", {"x": 1e-20}, V.J**2 * 1e-20 * V.length / (2 * V.sigma * V.kappa_open)),
    ("joule_bar_T_max", {"length": 1e-30}, V.J**2 * 1e-60 / (8 * V.sigma * V.kappa_open)),
    ("nlsv_resistance", {"L": 0.0, "R_1": 1e-15, "R_2": 1e-15, "R_N": 1.0}, V.P_1 * V.P_2 * 1e-15),
    ("nlsv_resistance", {"R_1": 1e200, "R_2": 1e200, "R_N": 1.0}, V.P_1 * V.P_2 * np.exp(-V.L / V.lambda_N)),
    ("nlsv_resistance", {"L": 1000 * V.lambda_N}, 0.0),
    ("nlsv_thermal_voltage", {"L": 0.0, "R_1": 1e-15, "R_2": 1e-15, "R_N": 1.0}, -BULK * V.P_2 / 2),
    ("nlsv_thermal_voltage", {"L": 1000 * V.lambda_N}, 0.0),
    (
        "onsager_matrix",
        {"P": -NEAR_1, "S": 0.0, "S_s": 0.0},
        np.diag([SHORT_OF_1 * V.sigma / 4, V.sigma, V.kappa / V.T0]),
    ),
    ("open_circuit_kappa", {"P": NEAR_1, "S": 0.0}, V.kappa),
    ("peltier_junction_dT", {"L_A": 1e-30}, V.T0 * (V.S_A - V.S_B) * V.J / V.kappa_A * 1e-30),
    ("polarised_bar_resistance", {"length": 1e-20}, 1e-20 / (V.sigma * V.area) / (1 - V.P**2)),
    (
        "polarised_bar_resistance",
        {"length": 1000 * V.lambda_sf, "P": NEAR_1},
        V.lambda_sf / (V.sigma * V.area) * (1000 + 1 / SHORT_OF_1),
    ),
    ("slab_thermal_resistance", {"lengths": [1e-30], "K": [1e30]}, 1e-30 + 1e-30 / V.kappa),
    ("spin_emf", {"lambda_F": 1e-30}, V.S_s_contact * V.jump),
    ("spin_exchange", {"P": NEAR_1}, SHORT_OF_1 * V.sigma / (4 * V.lambda_sf**2)),
    ("spin_flip_probability", {"delta": 1e-12}, 1e-12),
    ("spin_flip_probability", {"delta": 1e-20}, 1e-20),
    ("spin_flip_probability", {"delta": 0.0}, 0.0),
    ("spin_flip_probability", {"delta": 1000.0}, 1.0),
    ("spin_peltier_dT", {"P": NEAR_1}, -V.sigma * SHORT_OF_1 * V.T0 * V.S_s * V.V_s / (4 * V.kappa_open)),
    ("spin_resistance", {"P": NEAR_1}, V.lambda_sf / (V.sigma * SHORT_OF_1)),
    ("thermal_current_ratio", {"TMR": 1e12}, V.V_ratio / 1e12),
    ("thermocouple_voltage", {"S_A": V.S_B}, 0.0),
    ("tunnel_conductance", {"RA": 1e-100, "P_1": NEAR_1, "P_2": NEAR_1}, 2e100),
    ("tunnel_magnetoresistance", {"P_1": NEAR_1, "P_2": NEAR_1}, 2 / SHORT_OF_1),
    ("tunnel_magnetoresistance", {"P_1": 1e-30}, 2e-30 * V.P_2),
    ("van_son_RA", {"P": NEAR_1, "R_N": 1e6}, V.R_F),
]  # fmt: skip


def arguments(name: str) -> dict[str, object]:
    """A value for each argument of a formula."""
    return {argument: VALUES[argument] for argument in inspect.signature(getattr(an, name)).parameters}


@pytest.mark.parametrize(("name", "at", "limit"), LIMITS, ids=[f"{name}-{at}" for name, at, _ in LIMITS])
def test_a_formula_has_its_value_and_finite_slopes_at_its_limits(name, at, limit):
    formula, given = getattr(an, name), arguments(name) | at
    with np.errstate(all="raise", under="ignore"):
        value = formula(**given)
    np.testing.assert_allclose(np.asarray(value), np.broadcast_to(limit, np.shape(value)), rtol=1e-8, atol=0)
    if name in NUMPY_ALONE:
        return
    numbers = {key: each for key, each in given.items() if key != "end"}

    def total(numbers: dict[str, object]) -> jax.Array:
        return sum(jax.tree.leaves(formula(**given | numbers)))

    slopes = jax.grad(total)(numbers)
    assert all(np.isfinite(slope) for slope in jax.tree.leaves(slopes)), slopes


def test_every_formula_is_held_at_a_limit():
    assert {name for name, _, _ in LIMITS} | {"fn_interface_profile"} == set(FORMULAS)


def test_the_profile_resolves_the_temperature_next_to_the_interface():
    """T = 0 there, and is linear over 1e-20 m: the curvature of spin Peltier heat is 1e-12 of it or less."""
    one, two = (an.fn_interface_profile(x * np.array([-1.0, 1.0]), F, N, J=1e11, T0=300.0).T for x in (1e-20, 2e-20))
    np.testing.assert_allclose(two, 2 * one, rtol=1e-11, atol=0)
    slope = an.fn_interface_profile([-1e-11, 1e-11], F, N, J=1e11, T0=300.0).T / 1e9
    np.testing.assert_allclose(one, slope, rtol=2e-3)  # 1e-11 m of a decay length of 5 nm


def test_whole_numbers_in_arrays_do_not_overflow():
    """J^2 = 1e22 is beyond the whole numbers of numpy, 9e18."""
    case = {"J": np.array([10**11]), "length": 1e-6, "sigma": 1e7, "kappa_open": 100.0}
    assert an.joule_bar_T_max(**case)[0] == pytest.approx(1.25, rel=1e-12)
    assert an.joule_bar_T(0.5e-6, **case)[0] == pytest.approx(1.25, rel=1e-12)


# ------------------------------------------------------------------------------------------ arguments of a wrong kind

#: What each annotation refuses, and the words.
WRONG = {
    "Num": [([1.0], "got a list, expected a number or an array"), ((1.0,), "got a tuple, expected a number or an")],
    "float": [([1.0], "got a list, expected a number"), (np.ones(2), "got an array of shape (2,), expected a number")],
    "Sequence[Num]": [
        (1.0, "got 1.0, expected a list of numbers"),
        (jax.numpy.ones(()), "got Array(1., dtype=float64), expected a list of numbers"),
        ([[1.0]], "got a list, expected a number or an array"),
        ([1.0, None], "got None, expected a number"),
    ],
    "Num | Sequence[float]": [([1.0, [2.0, 3.0]], "got [1.0, [2.0, 3.0]], expected a number")],
    "Any": [({"sigma": 1.0}, "got {'sigma': 1.0}, which has no sigma, P, S, S_s, kappa, lambda_sf, expected a metal")],
    "str": [("open", "end='open': the far end")],
}
NO_NUMBERS = ["1e6", None, True, 1j, {"a": 1.0}]


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_refuse_arguments_of_another_kind(name):
    formula = getattr(an, name)
    for argument, each in inspect.signature(formula).parameters.items():
        cases = list(WRONG[each.annotation])
        if each.annotation not in ("Any", "str", "Sequence[Num]"):
            cases += [(value, f"got {value!r}, expected a number") for value in NO_NUMBERS]
        for value, words in cases:
            start = words if argument == "end" else f"{name}: {argument}: {words}"
            with pytest.raises(InputError, match="^" + re.escape(start)):
                formula(**(arguments(name) | {argument: value}))


def test_lists_of_arrays_and_arrays_of_numbers_are_lists_of_numbers():
    d = np.array([1e-9, 2e-9])
    np.testing.assert_allclose(an.slab_thermal_resistance([1e-9, d], [1.0, 2.0]), 1e-9 + d / 2)
    assert an.slab_thermal_resistance(d, np.array([1.0, 2.0]), np.array([1e9])) == pytest.approx(3e-9)
    with pytest.raises(InputError, match="kappas: got -2, expected kappas > 0"):
        an.slab_thermal_resistance([1e-9, 1e-9], [1.0, np.array([1.0, -2.0])])


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("joule_bar_T", {"J": 1e11, "length": 1e-6, "sigma": 1e7, "kappa_open": 100.0}),
        ("fin_T", {"T_base": 1.0, "length": 1e-6, "decay": 1e-6}),
    ],
)
def test_a_bar_has_no_temperature_outside_itself(name, case):
    formula = getattr(an, name)
    words = f"^{name}: x: got 2e-06, expected 0 <= x <= 1e-06 m$"
    for x in (2e-6, np.array([0.0, 2e-6]), jax.numpy.array(2e-6)):
        with pytest.raises(InputError, match=words):
            formula(x, **case)
    with pytest.raises(InputError, match="x: got -1e-07, expected"):
        formula(-1e-7, **case)
    with pytest.raises(InputError, match="x: got 2e-06, expected 0 <= x <= 1e-06 m"):
        formula(2e-6, **(case | {"length": np.array([3e-6, 1e-6])}))
    formula(1e-6 * (1 + 1e-15), **case)  # rounding of the end itself
    # what is traced has no number to check, whatever the other one is
    x = np.array([0.2e-6, 0.7e-6])

    def mean(length):
        return formula(x, **(case | {"length": length})).mean()

    step = 1e-10
    slope = (mean(1e-6 + step) - mean(1e-6 - step)) / (2 * step)
    assert float(jax.jit(jax.grad(mean))(1e-6)) == pytest.approx(slope, rel=1e-6)
    assert np.isfinite(jax.jit(jax.vmap(lambda at: formula(at, **case)))(x)).all()


S = an.layered_stack([F, N], an.End.current(1e11), an.End.grounded(), T0=300.0)


def stack(layers: object = (F, N), left: object = None, **more: object) -> an.LayeredSolution:
    return an.layered_stack(layers, left or an.End.current(1e11), an.End.grounded(), **({"T0": 300.0} | more))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: stack(F), "layered_stack: layers: got Layer(length=2e-08, "),
        (lambda: stack([F, "x"]), "layered_stack: layers: got 'x' at place 1, expected a list, each a Layer, counted"),
        (lambda: stack([F, None]), "layered_stack: layers: got None at place 1, expected a list, each a Layer"),
        (lambda: stack(3), "layered_stack: layers: got 3, expected a list, each a Layer"),
        (lambda: stack(interfaces=LINK), "layered_stack: interfaces: got Interface(RA=1e-15, "),
        (
            lambda: stack(interfaces=[1]),
            "layered_stack: interfaces: got 1 at place 0, expected a list, each an Interf",
        ),
        (lambda: stack(left={"T": 0}), "layered_stack: left: got {'T': 0}, expected an End, such as End.grounded()"),
        (lambda: stack(T0=[300.0]), "layered_stack: T0: got a list, expected a number"),
        (lambda: S.jump(0.5), "jump: number: got 0.5, expected a whole number from 0 to 0"),
        (lambda: S.jump(1), "jump: number: got 1, expected a whole number from 0 to 0"),
        (lambda: stack([F]).jump(0), "jump: got a stack of one layer, expected one with an interface"),
        (lambda: S.fields(1e-9, side="middle"), "fields: side: got 'middle', expected 'left' or 'right'"),
        (lambda: S.V_s(1.0), "fields: x: got 1, expected 0 <= x <= 2.2e-07 m"),
        (lambda: S.T([0.0, np.nan]), "fields: x: got nan, expected a finite x"),
        (lambda: S.T("middle"), "fields: x: got 'middle', expected a number"),
        (lambda: S.second_harmonic([1.0]), "second_harmonic: zeta: got a list, expected a number"),
        (lambda: an.End(V=(0.0, 0.0), T=(0.0,)), "End: T: got a tuple, expected a number"),
        (lambda: an.End(V=(0.0, (0.0, 1.0)), T=0.0), "End: V: got (0.0, (0.0, 1.0)), expected a number"),
        (lambda: an.End(J=("a", "b"), T=0.0), "End: J: got ('a', 'b'), expected a number"),
        (lambda: an.End.current([1e11]), "End.current: J: got a list, expected a number"),
        (lambda: an.Layer(length=[1e-9], kappa=1.0), "Layer: length: got a list, expected a number"),
        (lambda: an.Layer(length=1e-9, kappa=1.0, sigma=np.ones(2)), "Layer: sigma: got an array of shape (2,), exp"),
        (lambda: an.Layer.of({}, 1e-9), "Layer.of: got {}, which has no sigma, kappa, expected a Material or a Layer"),
        (lambda: an.Layer.of(F, 1e-9, sign=None), "Layer.of: got the sign None, expected 1, or -1"),
        (lambda: an.Layer.of(F, 1e-9, sign=[1]), "Layer.of: got the sign [1], expected 1, or -1"),
        (lambda: an.Interface(RA=[1e-15]), "Interface: RA: got a list, expected a number"),
        (lambda: an.Interface.of(LINK), "Interface.of: got Interface(RA=1e-15, "),
        (lambda: an.Interface.of(LINK, signs=1), "Interface.of: signs: got 1, expected two"),
    ],
)
def test_stacks_refuse_arguments_of_another_kind(made, words):
    with pytest.raises(InputError, match="^" + re.escape(words)):
        made()
