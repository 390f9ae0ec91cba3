"""Signals of a lateral spin valve: invariants, harmonics against a current sweep, derivatives, cost, failures.

The device is `devices.LATERAL` on a grid of some 80 cells at p = 2: nothing depends on the grid error. Solves have a
true relative residual below 1e-9; fields are then good to 1e-9 times the square root of the condition number of the
scaled operator (below 1e3, see test_solve.py), 3e-8. R_n from ladders of n rungs or more is stationary in all fields:
wrong by the square of that, 1e-15, which is round-off. From fewer rungs (R2 of one rung) it is wrong by the
 error of the fields, as derivatives are. Where that matters solves go down to 2e-11, where round-off begins: 6e-10.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import warnings
from collections.abc import Callable, Mapping
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.experimental.compilation_cache import compilation_cache

import thermospin as ts
from helpers import devices, elements
from helpers.problems import apply, diagonal_of
from thermospin import analytic, model, operators, solve
from thermospin.base.errors import InputError, NotConverged
from thermospin.device import provenance
from thermospin.device.leads import lead_lengths, short_leads
from thermospin.device.parts import Experiment
from thermospin.device.reader import load, read
from thermospin.model import Model
from thermospin.report.device_text import describe
from thermospin.signals import diagnosis, solving
from thermospin.signals.evaluate import evaluate, fields, measure, predict
from thermospin.signals.results import Evaluation

TIGHT = 2e-11
"""Tolerance of solves where fields have to be good to 6e-10."""
FIELD = 3e-7
"""What is linear in the errors of several fields solved to the default tolerance, each good to 3e-8."""
SIGNALS = [("thermal", "R1.baseline"), ("thermal", "R1.spin"), ("thermal", "R2.baseline"), ("thermal", "R2.spin")]


def close(value: float, rel: float) -> object:
    """Equal up to a relative error alone; pytest's own absolute tolerance of 1e-12 would pass anything small."""
    return pytest.approx(value, rel=rel, abs=0.0)


EXTRA = {
    "exchanged": Experiment("exchanged", ("4", "3"), ("1", "3"), devices.P_AP),
    "reversed": Experiment("reversed", ("1", "2"), ("4", "3"), {"P": {}, "ALL": {"F1": -1, "F2": -1}}),
}


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """Keeps compiled programs: transformations of one function compile many equal pieces anew."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    for name, value in zip(names, (str(tmp_path_factory.mktemp("compiled")), 0.1), strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def lateral() -> Model:
    """One discrete problem, with all the experiments of this file."""
    device = devices.lateral()
    return model.build(dataclasses.replace(device, experiments={**device.experiments, **EXTRA}), cells=100, order=2)


def only(m: Model, *names: str) -> Model:
    """The same discrete problem with fewer experiments."""
    experiments = {name: m.device.experiments[name] for name in names}
    return dataclasses.replace(m, device=dataclasses.replace(m.device, experiments=experiments))


@pytest.fixture(scope="module")
def thermal(lateral) -> Model:
    return only(lateral, "thermal")


@pytest.fixture(scope="module")
def everything(lateral) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
    return measure(lateral, tolerance=TIGHT).experiments


@pytest.fixture(scope="module")
def harmonics(thermal) -> Mapping[str, Mapping[str, float]]:
    """R1 to R4."""
    return measure(thermal, harmonics=4, tolerance=TIGHT).experiments["thermal"]


@pytest.fixture(scope="module")
def jacobian(thermal) -> Evaluation:
    """With all fields solved to the tolerance."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solving, "LOOSER", 1.0)
        return evaluate(thermal, {}, SIGNALS, list(thermal.parameters))


def law_of(m: Model) -> operators.Coefficients:
    """The coefficients with all magnets at +1."""
    return operators.coefficients(m.disc, m.constitution.table(m.parameters, {}), m.device.bath)


def inverse(m: Model, law: operators.Coefficients, b: Array, rounds: int = 2) -> Array:
    """A^-1 b with the ground of `thermal`, down to round-off: each round solves for what the last one left, to 1e-9."""
    system = m.systems["2"]
    u = jnp.zeros_like(b)
    for _ in range(rounds):
        step, stats = solve.solve(system, law, b - apply(m.disc, law, u))
        solve.require_converged(stats, "test")
        u = u + step
    return u


# ------------------------------------------------------------------------------------------ invariants


def test_reversing_all_magnets_changes_no_signal(everything):
    """Up and down exchange their names. The state is solved as a change, which must come out as zero."""
    for parts in everything["reversed"].values():
        assert abs(parts["P"]) > 0
        assert parts["ALL"] == close(parts["P"], 1e-9)


def test_reciprocity(everything):
    """Current and voltage contacts exchanged, ground and minus the same contact: R1 the same in every state.

    The two problems have the same operator; drive and probe use the same face weights.
    """
    there, back = everything["valve"]["R1"], everything["exchanged"]["R1"]
    for part, value in there.items():
        assert back[part] == close(value, 1e-9), part
    assert abs(there["spin"]) > 1e-3 * abs(there["baseline"]) > 0
    assert everything["exchanged"]["R2"]["P"] != close(everything["valve"]["R2"]["P"], 0.01), "R2 is not reciprocal"


def test_without_magnetism_there_is_no_spin_signal(thermal, everything):
    """P = S_s = 0 everywhere, or in the reversed magnet alone: the law changes by round-off, 2e-16 of the baseline.

    In the other magnet alone: reversing F2 reverses all there is; the spin part vanishes as fields are solved, 6e-10.
    """
    nothing = {f"{name}.{key}": 0.0 for name in ("Fe", "Ni") for key in ("P", "S_s")}
    detector = {key: value for key, value in nothing.items() if key.startswith("Ni")}
    injector = {key: value for key, value in nothing.items() if key.startswith("Fe")}
    for parameters, bound in ((nothing, 1e-12), (detector, 1e-12), (injector, 1e-9)):
        found = measure(thermal, parameters, tolerance=TIGHT).experiments["thermal"]
        for harmonic, parts in found.items():
            assert abs(parts["spin"]) <= bound * abs(everything["thermal"][harmonic]["spin"])
            assert parts["baseline"] == close(everything["thermal"][harmonic]["baseline"], 0.5)


def test_the_spin_part_is_odd_in_the_other_magnet_and_linear_in_its_S_s(thermal, everything):
    """Reversing F1 through its parameters turns the spin part round exactly.

    With P = 0 in F1, R2.spin is odd in its S_s: c S_s (1 + O(T0 sigma S_s^2 / 4 kappa)), which is 2e-11 at 2 nV/K.
    """
    own = thermal.parameters
    turned = {"Fe.P": -own["Fe.P"], "Fe.S_s": -own["Fe.S_s"]}
    found = measure(thermal, turned, tolerance=TIGHT).experiments["thermal"]
    for harmonic, parts in everything["thermal"].items():
        assert found[harmonic]["spin"] == close(-parts["spin"], 1e-9)
    one, two = (
        measure(thermal, {"Fe.P": 0.0, "Fe.S_s": S_s}, tolerance=TIGHT)["thermal", "R2.spin"] for S_s in (1e-9, 2e-9)
    )
    # R2.spin is 1e-4 of what it is in the device, and what both magnets make by themselves cancels: 6e-10 * 1e4.
    assert two == close(2 * one, 1e-5)
    assert abs(one) > 1e-6 * abs(everything["thermal"]["R2"]["spin"])


def test_harmonics_scale_with_zeta(thermal, harmonics):
    """R_n is proportional to zeta^(n-1) exactly; u_2 and l_1 inside R3 and R4 are solved anew, to 3e-8, squared."""
    found = measure(thermal, {"zeta": 3.5}, harmonics=4, tolerance=TIGHT).experiments["thermal"]
    for n, rel in ((1, 1e-12), (2, 1e-12), (3, 1e-9), (4, 1e-9)):
        for part, value in harmonics[f"R{n}"].items():
            assert found[f"R{n}"][part] == close(3.5 ** (n - 1) * value, rel), (n, part)


@pytest.fixture(scope="module")
def driven(thermal) -> SimpleNamespace:
    """u_1 and u_2 per ampere in the state P, to round-off."""
    law = law_of(thermal)
    drive = thermal.ports["1"]
    u_1 = inverse(thermal, law, jnp.stack([drive, 2 * drive], axis=1))
    heat = operators.joule(thermal.disc, law, u_1, u_1)  # zeta is 1
    return SimpleNamespace(law=law, drive=drive, u_1=u_1, heat=heat, u_2=inverse(thermal, law, heat))


def test_power_put_in_is_joule_heat_and_relaxation_heat_and_seebeck_work(thermal, driven, jacobian):
    """docs/theory.md, section 4; the three powers by `elements`, which shares no code with the operator."""
    shape = tuple(len(nodes) for nodes in thermal.grid.nodes)

    def on_grid(u: Array) -> np.ndarray:
        out = np.full((3, int(np.prod(shape))), np.nan)
        places = (thermal.disc.index_V, thermal.disc.index_V, thermal.disc.index_T)
        for row, index, part in zip(out, places, operators.split(thermal.disc, u), strict=True):
            row[index] = np.asarray(part)[:, 0]
        return out.reshape(3, *shape)

    block = SimpleNamespace(grid=thermal.grid, shape=shape, disc=thermal.disc, fields=on_grid)
    materials = [analytic.Layer.of(thermal.device.materials[name], 1.0) for name, _ in thermal.device.domains]
    found = elements.powers(block, materials, driven.u_1[:, :1])
    power = float(driven.drive @ driven.u_1[:, 0])
    assert found.joule + found.relaxation + found.seebeck == close(power, 1e-9)
    assert min(found.relaxation, abs(found.seebeck)) > 1e-4 * power, "each of them matters"
    assert found.joule == close(float(thermal.device.bath * driven.heat[:, 0].sum()), 1e-9)
    # and the fields that come with an evaluation are these
    u_1 = np.asarray(jacobian.fields["thermal"][0].u[0])
    assert float(driven.drive @ u_1) == close(power, FIELD)


def test_heat_leaves_through_the_held_faces_as_much_as_is_produced(thermal, driven):
    """Zero for u_1, whose Peltier heat is carried and not produced; the Joule heat for u_2."""
    held = np.asarray(thermal.disc.held_T)
    for u, heat, name in ((driven.u_1, 0 * driven.heat, "u_1"), (driven.u_2, driven.heat, "u_2")):
        rows = operators.split(thermal.disc, heat - apply(thermal.disc, driven.law, u))[2]
        leaves = np.asarray(rows)[held, 0]
        produced = float(heat[:, 0].sum())
        assert leaves.sum() == pytest.approx(produced, abs=1e-9 * np.abs(leaves).sum()), name
        assert np.abs(leaves).sum() > 0


# ------------------------------------------------------------------------------------------ a current sweep


def test_R3_and_R4_are_the_coefficients_of_a_current_sweep(thermal, harmonics):
    """The nonlinear problem A u = I b + zeta q(u, u) by fixed-point iteration at +I and -I, without any harmonic.

    Odd and even parts of V(I): (V_odd - R1 I)/I^3 = R3 + R5 I^2 + ... and (V_even - R2 I^2)/I^4 = R4 + R6 I^2 + ..., so
    what is left beside R3 and R4 falls by 4 when I is halved. R3 I^2 is some 1e-3 of R1, and R5 I^2 of R3; V is good to
    1e-11, the difference to 1e-8, and what is left of it to 1e-5. The next order changes the ratio by 1e-2.
    """
    R = {n: harmonics[f"R{n}"]["P"] for n in range(1, 5)}
    law = law_of(thermal)
    drive, probe = thermal.ports["1"], thermal.ports["4"] - thermal.ports["3"]
    joule = jax.jit(lambda u: operators.joule(thermal.disc, law, u, u))  # zeta is 1
    left: dict[str, list[float]] = {"odd": [], "even": []}
    for current in (8e-3, 4e-3):
        b = jnp.stack([current * drive, -current * drive], axis=1)
        u = jnp.zeros_like(b)
        for _ in range(12):
            # A step is the solution for the residual, so its relative error of 1e-9 shrinks with it.
            step = inverse(thermal, law, b + joule(u) - apply(thermal.disc, law, u), rounds=1)
            u = u + step
            if float(jnp.max(jnp.abs(step))) < 1e-12 * float(jnp.max(jnp.abs(u))):
                break
        assert float(jnp.max(jnp.abs(step))) < 1e-10 * float(jnp.max(jnp.abs(u))), "it has settled"
        plus, minus = (float(v) for v in probe @ u)
        odd, even = (plus - minus) / 2, (plus + minus) / 2
        left["odd"].append((odd - R[1] * current) / current**3 / R[3] - 1)
        left["even"].append((even - R[2] * current**2) / current**4 / R[4] - 1)
    for name, (far, near) in left.items():
        assert abs(near) < 0.02, (name, left)
        assert far / near == pytest.approx(4, rel=0.05), (name, left)


# ------------------------------------------------------------------------------------------ one value, three ways


def test_predict_measure_and_evaluate_agree(thermal, everything, harmonics, jacobian):
    """With one rung of the ladders, with two, and as a pure function: all are the same functional.

    Fields good to 6e-10 give 1e-9 however many rungs. `jacobian` is at the default tolerance, but has two rungs: R1 and
    R2 are stationary, and as good. `predict` has one, so that its R2 is as good as its fields.
    """
    values = evaluate(thermal, {}, SIGNALS, tolerance=TIGHT).values
    pure = predict(thermal)["thermal"]
    for k, (name, signal) in enumerate(SIGNALS):
        harmonic, part = signal.split(".")
        expected = everything[name][harmonic][part]
        for found in (values[k], jacobian.values[k], harmonics[harmonic][part]):
            assert found == close(expected, 1e-9), signal
        assert float(pure[harmonic][part]) == close(expected, 1e-9 if harmonic == "R1" else FIELD), signal


# ------------------------------------------------------------------------------------------ derivatives


def test_a_model_that_a_trace_has_seen_first_serves_others(thermal, everything):
    fresh = dataclasses.replace(thermal)

    def signals(zeta: Array) -> dict[str, dict[str, dict[str, Array]]]:
        return predict(fresh, {"zeta": zeta})

    zeta = jnp.asarray(thermal.parameters["zeta"])
    jax.eval_shape(signals, zeta)
    jax.eval_shape(jax.vmap(signals), zeta[None])
    assert float(signals(zeta)["thermal"]["R2"]["P"]) == close(everything["thermal"]["R2"]["P"], FIELD)


def vector(m: Model):
    """The four signals of the experiment `thermal` as a function of the parameters."""

    def values(p: Mapping[str, Array]) -> Array:
        found = predict(m, p)["thermal"]
        return jnp.stack([found[h][part] for h in ("R1", "R2") for part in ("baseline", "spin")])

    return values


def own(m: Model) -> dict[str, Array]:
    return {name: jnp.asarray(value, float) for name, value in m.parameters.items()}


SCALES = {"sigma": 1e7, "P": 1.0, "S": 1e-4, "S_s": 1e-4, "kappa": 100.0, "lambda_sf": 1e-7, "zeta": 1.0}


def scale(name: str, value: float) -> float:
    """The size of a parameter: its value, or what is usual where that is zero."""
    return abs(value) or SCALES[name.split(".")[-1]]


@pytest.fixture(scope="module")
def pullback(thermal):
    """The four signals at the device's own parameters and a cotangent pulled back, as one compiled function."""

    @jax.jit
    def run(p: dict[str, Array], cotangent: Array) -> tuple[Array, dict[str, Array]]:
        values, pull = jax.vjp(vector(thermal), p)
        return values, pull(cotangent)[0]

    return functools.partial(run, own(thermal))


def require_equal_rows(m: Model, jacobian: Evaluation, row_of: Callable[[str, int], float]) -> None:
    """Derivatives of one functional with its fields frozen differ by round-off and a few last digits of the fields."""
    for column, name in enumerate(m.parameters):
        for k, value in enumerate(jacobian.values):
            expected = jacobian.jacobian[k, column]
            bound = 1e-8 * abs(expected) + 1e-10 * abs(value) / scale(name, m.parameters[name])
            assert row_of(name, k) == pytest.approx(expected, rel=0, abs=bound), (name, k)


def test_gradients_under_jit_are_the_rows_of_the_evaluated_jacobian(thermal, pullback, jacobian):
    rows = []
    for k in range(4):
        values, gradient = pullback(jnp.eye(4)[k])
        np.testing.assert_allclose(values, jacobian.values, rtol=1e-9)
        rows.append(gradient)
    assert set(rows[0]) == set(thermal.parameters)
    require_equal_rows(thermal, jacobian, lambda name, k: float(rows[k][name]))
    assert np.count_nonzero(jacobian.jacobian) > 0.9 * jacobian.jacobian.size


def test_forward_derivatives_are_the_evaluated_jacobian_along_a_direction(thermal, jacobian):
    names = list(thermal.parameters)
    direction = np.random.default_rng(1).uniform(-1, 1, len(names))
    direction *= [scale(name, thermal.parameters[name]) for name in names]
    tangent = {name: jnp.asarray(d) for name, d in zip(names, direction, strict=True)}
    values, change = jax.jvp(vector(thermal), (own(thermal),), (tangent,))
    np.testing.assert_allclose(values, jacobian.values, rtol=1e-9)
    np.testing.assert_allclose(change, jacobian.jacobian @ direction, rtol=1e-8)


def test_a_device_without_experiments_has_no_signals(thermal):
    idle = dataclasses.replace(thermal.device, experiments={})
    with pytest.raises(ValueError, match="has no experiments, so that there is no signal to compute"):
        measure(model.on_grid(idle, thermal.grid))


@pytest.mark.slow
def test_jacfwd_jacrev_and_value_and_grad_agree_with_the_evaluated_jacobian(thermal, jacobian):
    forward = jax.jacfwd(vector(thermal))(own(thermal))
    backward = jax.jacrev(vector(thermal))(own(thermal))
    require_equal_rows(thermal, jacobian, lambda name, k: float(forward[name][k]))
    require_equal_rows(thermal, jacobian, lambda name, k: float(backward[name][k]))
    value, gradient = jax.jit(jax.value_and_grad(lambda p: vector(thermal)(p)[3]))(own(thermal))
    assert float(value) == close(jacobian.values[3], 1e-9)
    require_equal_rows(
        thermal,
        dataclasses.replace(jacobian, values=jacobian.values[3:], jacobian=jacobian.jacobian[3:]),
        lambda name, k: float(gradient[name]),
    )


@pytest.mark.usefixtures("compiled_forms")
def test_derivatives_are_central_differences(thermal):
    """Step h = 1e-4 of the parameter's size: off by 2e-9 times the third derivative, below 10 value/size^3.

    Values come with two rungs, right to 1e-14, and their differences to 1e-10 of value/size; fields are good to 6e-10.
    """
    exact = evaluate(thermal, {}, SIGNALS, list(thermal.parameters), tolerance=TIGHT)
    for column, name in enumerate(thermal.parameters):
        value = thermal.parameters[name]
        size = scale(name, value)
        step = 1e-4 * size
        up, down = (evaluate(thermal, {name: value + s * step}, SIGNALS, ["zeta"]).values for s in (1, -1))
        for k, expected in enumerate(exact.jacobian[:, column]):
            bound = 1e-6 * abs(expected) + 2e-8 * abs(exact.values[k]) / size
            assert (up - down)[k] / (2 * step) == pytest.approx(expected, rel=0, abs=bound), (name, SIGNALS[k])


def test_the_taylor_remainder_falls_at_second_order(thermal, jacobian):
    """F(p + h d) - F(p) - h dF falls by 4 when h is halved; with half of dF it falls by 2: the control.

    By up to 8 where the second derivative along the direction happens to be small.
    """
    rng = np.random.default_rng(3)
    names = list(thermal.parameters)
    sizes = np.array([scale(name, thermal.parameters[name]) for name in names])
    direction = rng.uniform(-1, 1, len(names)) * sizes
    slope = jacobian.jacobian @ direction
    steps = (0.04, 0.02, 0.01)
    change = []
    for h in steps:
        moved = {name: thermal.parameters[name] + h * d for name, d in zip(names, direction, strict=True)}
        change.append(evaluate(thermal, moved, SIGNALS).values - jacobian.values)
    rest = np.abs([c - h * slope for c, h in zip(change, steps, strict=True)])
    assert np.all(rest[1] / rest[2] > 3.5), rest
    assert np.all(rest[1] / rest[2] < 8.5), rest
    assert np.median(rest[1] / rest[2]) < 4.5, rest
    control = np.abs([c - h * slope / 2 for c, h in zip(change, steps, strict=True)])
    assert np.all(control[1] / control[2] < 2.5)


def test_a_cotangent_of_1e_13_gives_the_gradient_times_1e_13(pullback):
    """Solved anew, with other rounding: gradients are good to 3e-8 at worst."""
    for k in (1, 3):
        whole, small = pullback(jnp.eye(4)[k])[1], pullback(1e-13 * jnp.eye(4)[k])[1]
        for name, value in whole.items():
            assert np.isfinite(float(small[name]))
            assert float(small[name]) == close(1e-13 * float(value), 3e-8), name


@pytest.mark.slow
def test_second_derivatives_are_differences_of_gradients(thermal, jacobian):
    """Forward over reverse goes through the rule of the first derivative and through its solves.

    Gradients are good to 3e-8 at worst, so their difference at a relative step of 1e-3 to 3e-5; curvature adds 1e-6.
    Compared in units of the signal per relative change of each parameter.
    """
    p = own(thermal)
    gradient = jax.grad(lambda q: vector(thermal)(q)[3])
    signal = abs(jacobian.values[3])
    for name in ("Fe.P", "Cu.lambda_sf"):
        size = thermal.parameters[name]
        tangent = {key: jnp.asarray(size if key == name else 0.0) for key in p}
        found = jax.jvp(gradient, (p,), (tangent,))[1]
        up, down = (
            evaluate(thermal, {name: size * (1 + step)}, SIGNALS[3:], list(p)).jacobian[0] for step in (1e-3, -1e-3)
        )
        checked = 0
        for key, expected in zip(p, (up - down) / 2e-3, strict=True):
            reach = scale(key, thermal.parameters[key]) / signal
            assert float(found[key]) * reach == pytest.approx(expected * reach, rel=1e-4, abs=1e-5), (name, key)
            checked += abs(expected * reach) > 1e-3
        assert checked > 5


# ------------------------------------------------------------------------------------------ cost and warm start


def test_a_jacobian_takes_twice_the_solves_of_the_values(thermal, jacobian):
    """R1 and R2 in two states: u_1 and l_0 of each for the values, u_2 and l_1 more for all derivatives."""
    values = evaluate(thermal, {}, SIGNALS)
    assert len(values.iterations) == 4
    assert len(jacobian.iterations) == 2 * len(values.iterations)
    assert len(jacobian.relative_residual) == len(jacobian.iterations)
    assert min(jacobian.iterations) > 5
    assert max(jacobian.relative_residual) <= solve.TOLERANCE


def test_derivatives_are_as_good_as_the_fields_that_enter_them_alone(thermal, jacobian):
    """A hundred times the tolerance for u_2 and l_1; values do not feel it, as the functional is stationary."""
    found = evaluate(thermal, {}, SIGNALS, list(thermal.parameters))
    allowed = solve.TOLERANCE * solving.LOOSER
    residual = np.array(found.relative_residual).reshape(2, 2, 2)  # states, rungs, columns
    assert residual[:, 0].max() <= solve.TOLERANCE < residual[:, 1].min() <= residual[:, 1].max() <= allowed
    steps = np.array(found.iterations).reshape(2, 2, 2)
    assert np.all(steps[:, 1] < steps[:, 0])
    np.testing.assert_allclose(found.values, jacobian.values, rtol=1e-9)
    size = np.abs(jacobian.jacobian) + 1e-3 * np.abs(jacobian.jacobian).max(axis=0)
    off = np.abs(found.jacobian - jacobian.jacobian) / size
    assert 0 < off.max() < 30 * allowed, off.max()


def test_a_warm_start_saves_iterations_and_changes_no_value(thermal, jacobian):
    """Started from the fields of other parameters (5 % off), and from their own; two rungs, as good as round-off."""
    moved = {"Fe.P": 1.05 * thermal.parameters["Fe.P"], "Cu.kappa": 0.95 * thermal.parameters["Cu.kappa"]}
    cold = evaluate(thermal, moved, SIGNALS, ["zeta"])
    warm = evaluate(thermal, moved, SIGNALS, ["zeta"], start=jacobian.fields)
    np.testing.assert_allclose(warm.values, cold.values, rtol=1e-8)
    assert not np.allclose(cold.values, jacobian.values, rtol=1e-3)
    assert sum(warm.iterations) < sum(cold.iterations)
    same = evaluate(thermal, {}, SIGNALS, ["zeta"], start=jacobian.fields)
    assert sum(same.iterations) == 0
    np.testing.assert_allclose(same.values, jacobian.values, rtol=1e-8)


# ------------------------------------------------------------------------------------------ failures


def test_a_solve_that_misses_its_tolerance_raises_and_says_which_where_and_why(thermal):
    """Stopped at once, the residual of the drive is in the heater that it goes into."""
    short = (
        r"^lateral, thermal, state P: no convergence in 1 iterations, relative residual \d.\de-\d+, 1.0e-09 is asked"
    )
    for call in (
        lambda: measure(thermal, max_steps=1),
        lambda: evaluate(thermal, {}, SIGNALS, max_steps=1),
        lambda: fields(thermal, "thermal", "P", 1e-3, max_steps=1),
    ):
        with pytest.raises(NotConverged, match=short) as caught:
            call()
        _, where, why, what = str(caught.value).splitlines()
        assert re.match(
            r"\d+ % of the residual is in the (spin-up|charge|heat) current of 'heater' \(Fe\), around \(", where
        )
        assert why.startswith("likely cause: stopped after 1 iterations, at a relative residual of ")
        assert what == "what to change: in Python, allow more iterations (max_steps); else another grid (--cells)"
    with pytest.raises(NotConverged) as caught:
        evaluate(thermal, {}, SIGNALS, max_steps=1, explain=False)
    assert len(str(caught.value).splitlines()) == 1


def test_orders_and_harmonics_that_there_are_not_are_refused(thermal):
    for harmonics in (0, 5):
        with pytest.raises(InputError, match=f"harmonics: got {harmonics}, expected a whole number from 1 to 4"):
            measure(thermal, harmonics=harmonics)
        with pytest.raises(InputError, match=f"harmonics: got {harmonics}, expected a whole number from 1 to 4"):
            predict(thermal, harmonics=harmonics)
    with pytest.raises(InputError, match="signal 'thermal R5.P': got harmonic 5"):
        evaluate(thermal, {}, [("thermal", "R5.P")])
    with pytest.raises(InputError, match="order: got 4, expected a whole number from 1 to 3"):
        model.build(thermal.device, order=4)


def test_a_metal_without_conductivity_is_refused_before_any_solve(thermal, monkeypatch):
    """Its potential has no equation; a solve would go through all its iterations first."""
    monkeypatch.setattr(solve, "solve_request", None)
    said = "material 'Cu', sigma: got 0, expected sigma > 0 of a metal of this model"
    with pytest.raises(InputError, match=said):
        measure(thermal, {"Cu.sigma": 0.0})
    with pytest.raises(InputError, match=said):
        fields(thermal, "thermal", "P", 1e-3, {"Cu.sigma": 0.0})


@pytest.mark.parametrize("drive", [math.nan, math.inf])
def test_a_drive_or_a_height_that_is_not_finite_is_refused(thermal, tmp_path, drive):
    with pytest.raises(InputError, match=f"drive: got {drive:g}, expected a finite number in A"):
        fields(thermal, "thermal", "P", drive)
    with pytest.raises(InputError, match=f"drive: got {drive:g}, expected a finite number in A"):
        ts.maps(thermal, "thermal", tmp_path, drive=drive)
    with pytest.raises(InputError, match=f"height: got {drive:g}, expected a finite number in m"):
        ts.maps(thermal, "thermal", tmp_path, height=drive)
    assert not list(tmp_path.iterdir())


def test_the_bath_is_no_parameter_and_how_to_have_another_is_said(thermal):
    for asked in (lambda: measure(thermal, {"bath": 77.0}), lambda: evaluate(thermal, {}, SIGNALS, ["bath"])):
        with pytest.raises(InputError, match=r"the bath is no parameter; .* ts.build\(ts.at_bath\(device, 77.0\)\)"):
            asked()


def test_whole_numbers_of_numpy_are_those_of_python(thermal):
    """JAX warns of a grid whose order is not Python's."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        built = ts.build(thermal.device, cells=np.int64(40), order=np.int64(1))
    assert type(built.grid.order) is int and built.grid.order == 1
    with pytest.raises(InputError, match="build: order: got 2.0, expected a whole number"):
        ts.build(thermal.device, cells=30, order=2.0)


def test_signals_are_those_of_another_run_that_took_longer(thermal):
    once = measure(thermal)
    assert once == dataclasses.replace(once, wall_s=once.wall_s + 1)


def test_a_tolerance_below_round_off_gets_what_rounding_leaves(thermal):
    """The unit round-off times the root of the condition number, which is below 1e4; and the residual is told."""
    found = measure(thermal, tolerance=1e-17)
    assert 1e-17 < max(found.relative_residual) < np.finfo(float).eps * 1e4


def test_the_state_that_failed_is_named_and_diagnosed_with_its_own_signs(thermal, monkeypatch):
    """The second solve of an experiment is the change to the state AP."""
    seen = []
    plain = solve.solve_request

    def second_fails(request, solver):
        seen.append(1)
        return plain(request._replace(max_steps=jnp.asarray(2)) if len(seen) == 2 else request, solver)

    monkeypatch.setattr(solve, "solve_request", second_fails)
    asked = []
    monkeypatch.setattr(
        diagnosis, "diagnose", lambda *args, **known: asked.append((args, known)) or SimpleNamespace(detail="")
    )
    with pytest.raises(NotConverged, match="lateral, thermal, state AP: no convergence in 2 iterations"):
        measure(thermal)
    ((_, _, signs, ground, residual), known) = asked[0]
    assert (dict(signs), ground) == ({"F2": -1}, "2")
    assert residual.shape == known["rhs"].shape == known["fields"].shape == (thermal.unknowns,)
    assert np.all(np.isfinite(residual)) and known["iterations"] == 2


def test_residuals_of_adjoint_solves_are_reported(thermal):
    """Those of u_1, l_0, u_2, l_1 of the first state come first; recomputed from the fields that come with them."""
    found = evaluate(thermal, {}, SIGNALS, ["zeta"], tolerance=1e-4)
    first, law = found.fields["thermal"][0], law_of(thermal)
    ports = {name: thermal.ports[name] for name in "1234"}
    b = jnp.stack([ports["1"], ports["4"] - ports["3"]], axis=1)
    b = jnp.where(thermal.systems["2"].free[:, None], b, 0.0)
    u = jnp.stack([first.u[0], first.l[0]], axis=1)
    left = b - solve.matvec(thermal.systems["2"], law, u)
    scale = jnp.sqrt(diagonal_of(thermal.disc, law))[:, None]
    expected = jnp.linalg.norm(left / scale, axis=0) / jnp.linalg.norm(b / scale, axis=0)
    # The solver's own diagonal is the low-order one, up to a third smaller.
    np.testing.assert_allclose(found.relative_residual[:2], expected, rtol=0.35)
    assert len(found.relative_residual) == 8 and 0 < max(found.relative_residual) <= 1e-4
    np.testing.assert_allclose(found.start_residual, np.ones(8), rtol=1e-12)
    again = evaluate(thermal, {}, SIGNALS, ["zeta"], start=found.fields, tolerance=1e-9)
    np.testing.assert_allclose(again.start_residual[:2], found.relative_residual[:2], rtol=1e-3)
    assert again.iterations_per_decade == pytest.approx(found.iterations_per_decade, rel=0.2)


def test_a_backward_solve_that_fails_gives_nan(thermal):
    """Started from the solution the solve itself needs no step; its transpose starts from zero and has one."""
    system, law, drive = thermal.systems["2"], law_of(thermal), thermal.ports["1"]
    b = jnp.stack([drive, drive], axis=1)
    u, _ = solve.solve(system, law, b)

    def voltage(scale: Array, max_steps: int) -> Array:
        return jnp.sum(drive @ solve.solve(system, law, scale * b, x0=u, tolerance=1e-8, max_steps=max_steps)[0])

    value, slope = jax.value_and_grad(voltage)(1.0, 1)
    assert np.isfinite(value) and np.isnan(slope)
    value, slope = jax.value_and_grad(voltage)(1.0, 100)
    assert slope == close(float(value), 1e-6)


def test_a_traced_solve_that_misses_its_tolerance_gives_nan(thermal, monkeypatch):
    monkeypatch.setattr(solve, "solve", functools.partial(solve.solve, max_steps=1))
    found = predict(thermal)["thermal"]
    assert all(np.isnan(float(value)) for parts in found.values() for value in parts.values())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: measure(m, {"Fe.Ss": 0.0}), r"parameter 'Fe.Ss' does not exist; did you mean 'Fe.S_s'\?"),
        (lambda m: predict(m, {"Cu.sigm": 1.0}), r"parameter 'Cu.sigm' does not exist; did you mean 'Cu.sigma'\?"),
        (lambda m: evaluate(m, {}, SIGNALS, ["zetta"]), r"parameter 'zetta' does not exist; did you mean 'zeta'\?"),
        (
            lambda m: evaluate(m, {}, [("termal", "R1.spin")]),
            r"experiment 'termal' does not exist; did you mean 'thermal'\?",
        ),
        (
            lambda m: evaluate(m, {}, [("thermal", "R2.spn")]),
            r"experiment 'thermal' has no signal 'R2.spn'; did you mean 'R2.spin'\?",
        ),
        (lambda m: fields(m, "termal", "P", 1e-3), r"experiment 'termal' does not exist; did you mean 'thermal'\?"),
        (lambda m: fields(m, "thermal", "A", 1e-3), r"experiment 'thermal' has no state 'A'; did you mean 'AP'\?"),
    ],
)
def test_a_name_that_does_not_exist_is_answered_with_the_nearest(thermal, call, message):
    with pytest.raises(ValueError, match=message):
        call(thermal)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("-4 uV/K", "parameter 'Fe.S_s': got '-4 uV/K', expected a number in V/K"),
        (None, "parameter 'Fe.S_s': got None, expected a number in V/K"),
        (np.zeros(3), "parameter 'Fe.S_s': got an array of shape (3,), expected a number in V/K; for many sets"),
        ([1.0], "parameter 'Fe.S_s': got an array of shape (1,), expected a number in V/K; for many sets"),
    ],
)
def test_a_value_that_is_no_number_is_refused(value, message):
    """Where `Model.completed` takes it in: types of public functions are checked before, but in tests alone."""
    with pytest.raises(InputError, match=re.escape(message)):
        model._scalar("Fe.S_s", value)


def test_one_signal_may_be_a_pair(thermal):
    pair, string = ("thermal", "R1.spin"), "thermal R1.spin"
    expected = evaluate(thermal, {}, [pair]).values
    for wanted in (pair, list(pair), string, [string]):
        assert np.array_equal(evaluate(thermal, {}, wanted).values, expected)
    assert len(evaluate(thermal, {}, (string, "thermal R1.P")).values) == 2


def test_plain_numbers_are_not_traced(thermal):
    with pytest.raises(InputError, match="got values that JAX traces, expected plain numbers; .* use `predict`"):
        jax.eval_shape(lambda zeta: measure(thermal, {"zeta": zeta}).values, 1.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, p: measure(m, p),
        lambda m, p: evaluate(m, p, SIGNALS),
        lambda m, p: fields(m, "thermal", "P", 1e-3, p),
    ],
)
def test_parameters_without_a_solution_are_refused(thermal, call):
    """bath sigma S^2 = 300 * 4e6 * (2e-4)^2 = 48 W/(m K), more than the 30 of the material."""
    with pytest.raises(ValueError, match=r"material 'Fe', kappa: got 30 W/\(m K\), expected more than .* = 48"):
        call(thermal, {"Fe.S": -200e-6, "Fe.S_s": 0.0})


# ------------------------------------------------------------------------------------------ fields


def test_fields_live_where_there_is_matter_and_are_zero_where_they_are_held(thermal, driven):
    """NaN exactly outside: boxes written out by hand. Values are I u_1 + I^2 u_2, to the accuracy of fields."""
    current = 1e-3
    made = fields(thermal, "thermal", "P", current)
    x, y, z = np.meshgrid(*(np.round(each * 1e9, 6) for each in (made.x, made.y, made.z)), indexing="ij")

    def inside(*box: tuple[float, float]) -> np.ndarray:
        sides = [(low <= each) & (each <= high) for each, (low, high) in zip((x, y, z), box, strict=True)]
        return sides[0] & sides[1] & sides[2]

    metal = inside((-80, 200), (-30, 30), (0, 40)) | inside((-120, -40), (-100, 100), (0, 20))
    metal |= inside((40, 80), (-30, 100), (0, 20))
    everywhere = metal | inside((-200, 200), (-100, 100), (-60, 0))
    np.testing.assert_array_equal(np.isfinite(made.V_up), metal)
    np.testing.assert_array_equal(np.isfinite(made.V_down), metal)
    np.testing.assert_array_equal(np.isfinite(made.T), everywhere)
    held = inside((-120, -40), (-100, -100), (0, 20)) | inside((-120, -40), (100, 100), (0, 20))
    held |= inside((200, 200), (-30, 30), (0, 40)) | inside((40, 80), (100, 100), (0, 20))
    held |= inside((-200, 200), (-100, 100), (-60, -60))
    assert np.all(made.T[held] == 0)
    assert np.count_nonzero(made.T[everywhere] == 0) == held.sum()
    assert np.all(made.V_up[inside((-120, -40), (100, 100), (0, 20))] == 0)
    expected = np.asarray(current * driven.u_1 + current**2 * driven.u_2)[:, 0]
    V_up, V_down, T = (np.asarray(part) for part in operators.split(thermal.disc, expected))
    for found, wanted, index in (
        (made.V_up, V_up, thermal.disc.index_V),
        (made.V_down, V_down, thermal.disc.index_V),
        (made.T, T, thermal.disc.index_T),
    ):
        assert abs(found.ravel()[index] - wanted).max() < 1e-7 * abs(wanted).max()


@pytest.mark.parametrize("P", [0.5, 0.99, 0.9999])
def test_all_states_take_about_as_many_iterations_at_any_polarisation(P: float) -> None:
    """With a preconditioner of parallel magnets alone, antiparallel ones take ten times as many, or do not converge."""
    built = model.build(load("slachter2010"), cells=800, order=1).refreshed({"Py.P": P})
    found = measure(built, {"Py.P": P}, harmonics=1)
    counts = np.array(found.iterations, float)
    assert counts.max() < 1.3 * counts.min() + 1, counts


#: A wire with two magnets on it, whose arms end at its contacts.
ARMS = """
name = "arms"
length_unit = "nm"
solids = [
  {{ name = "wire", material = "Cu", box = {{ x = [-{arm}, {arm}], y = [0, 50], z = [0, 50] }} }},
  {{ name = "F", material = "Py", magnet = "F", box = {{ x = [-75, -25], y = [0, 50], z = [50, 80] }} }},
  {{ name = "G", material = "Py", magnet = "G", box = {{ x = [25, 75], y = [0, 50], z = [50, 80] }} }},
]
contacts = [
  {{ name = "in", solid = "F", face = "z+" }},
  {{ name = "out", solid = "wire", face = "x-" }},
  {{ name = "plus", solid = "G", face = "z+" }},
  {{ name = "minus", solid = "wire", face = "x+" }},
]
[experiments]
forward = {{ current = ["in", "out"], voltage = ["plus", "minus"], states = {{ P = {{}}, AP = {{ G = -1 }} }} }}
back = {{ current = ["out", "in"], voltage = ["plus", "minus"], states = {{ P = {{}}, AP = {{ G = -1 }} }} }}
"""


@pytest.mark.parametrize(("arm", "short"), [(300, True), (1000, False)])
def test_short_leads_are_told_and_long_ones_make_R1_odd_in_the_current(arm: int, short: bool) -> None:
    """An arm of length x ends in a spin short or open: tanh against coth of x/lambda, apart by 4 exp(-2 x/lambda).

    Lambda of Cu is 350 nm: 2 % of the spin resistance of the arm for 925 nm, which is at most half of what spins see.
    """
    device = read(ARMS.format(arm=arm), "arms.toml")
    notes = short_leads(device)
    assert len(notes) == short and all(line in describe(device) for line in notes)
    if short:
        assert "along the metal: 'out' (0.8), 'minus' (0.8)." in notes[0]
        assert notes[0] in provenance.notes([device])
    found = measure(ts.build(device, cells=300, order=2), harmonics=1)
    odd = abs(found["back", "R1.spin"] / found["forward", "R1.spin"] + 1)
    assert odd > 0.05 if short else odd < 0.01


BARE = ARMS.partition("solids")[0]
#: Where its magnets are along x.
ON = {"F": "[-75, -25]", "G": "[25, 75]"}


def box(name: str, material: str, x: str, y: str = "[0, 50]", z: str = "[0, 50]") -> str:
    return f'{{ name = "{name}", material = "{material}", box = {{ x = {x}, y = {y}, z = {z} }} }},'


@pytest.mark.parametrize(
    ("solids", "length"),
    [
        # from the top of the wire 25 nm down and 200 nm along
        (box("end", "Cu", "[0, 200]"), (25 + 200) / 350),
        # a U: along one leg, over, and back along the other
        (
            box("W", "Cu", "[-2000, 50]")
            + box("V", "Cu", "[-2000, -1950]", "[50, 100]")
            + box("end", "Cu", "[-2000, 50]", "[100, 150]"),
            math.inf,
        ),
        # what a later solid overwrites is no magnet
        (box("P", "Py", "[-500, 500]") + box("end", "Cu", "[0, 500]"), 500 / 350),
        # spins die in Pt, and go on into Au
        (box("W", "Cu", "[0, 100]") + box("p", "Pt", "[100, 150]") + box("end", "Cu", "[150, 300]"), math.inf),
        (box("W", "Cu", "[0, 200]") + box("end", "Au", "[200, 230]"), (25 + 200) / 350 + 30 / 63),
        # no metal on the way
        (
            box("W", "Cu", "[0, 50]")
            + box("a", "Al2O3", "[0, 50]", "[50, 70]")
            + box("end", "Cu", "[0, 99]", "[70, 90]"),
            math.inf,
        ),
    ],
)
def test_a_lead_is_as_long_as_the_way_through_normal_metals(solids: str, length: float) -> None:
    """In relaxation lengths of the metals that are passed, along the axes, infinite beyond two of them.

    Ways begin in the middle of the 10 nm under the magnet: 5 nm of 225 less.
    """
    magnet = box("F", "Py", "[0, 10]", z="[50, 80]").replace("box", 'magnet = "F", box', 1)
    ends = '{ name = "c", solid = "end", face = "x+" }, { name = "m", solid = "F", face = "z+" }'
    device = read(f"{BARE}solids = [{solids} {magnet}]\ncontacts = [{ends}]\n", "leads.toml")
    assert lead_lengths(device)["c"] == pytest.approx(length, rel=0.03)
    assert lead_lengths(device)["m"] == pytest.approx(30 / 5)


#: The wire with thick arms and magnets of Co, of 60 nm relaxation length, on which currents come in and voltages end.
CO = (
    ARMS.format(arm=1000).replace('"Py"', '"Co"')
    + """
[materials.Co]
lambda_sf = "60 nm"
"""
)


@pytest.mark.parametrize(
    ("top", "RA", "named"),
    [(80, "", "'in' (0.5), 'plus' (0.5)"), (200, "", "'in' (2.5), 'plus' (2.5)"), (320, "", ""),
     (80, "0.5 fohm m^2", "'in' (0.5), 'plus' (0.5)"), (80, "500 fohm m^2", "")],
)  # fmt: skip
def test_a_contact_on_a_magnet_is_as_far_as_the_magnet_is_thick(top: int, RA: str, named: str) -> None:
    """In relaxation lengths of the magnet, unless an interface of more than exp(4) = 55 times its R_F* hides it.

    R_F* of Co is about 60 nm/(6e6 S/m) = 10 fohm m^2. The current comes in without polarisation, and the voltage has a
    share of V_s: both are felt by exp(-x) of a way of x. Where no contact is named a lead of 300 nm of Cu in place of
    each changes R1.spin by less than exp(-4) = 2 % at either magnet, and by more where they are.
    """
    text = CO.replace("z = [50, 80]", f"z = [50, {top}]")
    if RA:
        text += f'[[interfaces]]\nname = "Co/Cu"\nbetween = ["Co", "Cu"]\nRA = "{RA}"\n'
    short = read(text, "short.toml")
    notes = short_leads(short)
    assert bool(notes) == bool(named) and all(f"along the metal: {named}. There" in line for line in notes)
    leads = "".join(box(f"on {of}", "Cu", x, z=f"[{top}, {top + 300}]") for of, x in ON.items())
    long = text.replace("solids = [", f"solids = [{leads}")
    for of in ON:
        long = long.replace(f'solid = "{of}", face', f'solid = "on {of}", face')
    with_leads = read(long, "long.toml")
    signals = [measure(ts.build(each, cells=200, order=2), harmonics=1)["forward", "R1.spin"]
               for each in (short, with_leads)]  # fmt: skip
    change = abs(signals[1] / signals[0] - 1)
    assert (change > 0.04) == bool(named)


def test_leads_are_told_of_spin_parts_and_the_sign_of_currents_alone() -> None:
    text = ARMS.format(arm=300)
    assert not short_leads(read(text.replace(", AP = { G = -1 }", ""), "arms.toml"))
    assert "sign of the current" in short_leads(read(text, "arms.toml"))[0]
    heat = (
        text.partition("[experiments]")[0]
        + """
[experiments.warm]
heat = { in = "1 K" }
voltage = ["plus", "minus"]
states = { P = {}, AP = { G = -1 } }
"""
    )
    (line,) = short_leads(read(heat, "arms.toml"))
    assert "'minus'" in line and "'out'" not in line and "sign" not in line
