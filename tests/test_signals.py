"""Signals of a lateral spin valve: invariants, harmonics against a current sweep, derivatives, cost, failures.

The device is `devices.LATERAL` on a grid of some 250 cells at p = 2: nothing here depends on the grid error. Solves have a
true relative residual below 1e-9; fields are then good to 1e-9 times the square root of the condition number of the
scaled operator (below 1e3, see test_solve.py), 3e-8. Signals and their first derivatives come from a stationary
functional: signals are wrong by the square of that, 1e-15, which is round-off; derivatives, linear in the fields' error,
by 3e-8 at worst.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from types import SimpleNamespace

import devices
import elements
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from thermospin import analytic, model, operators, solve
from thermospin.device import Experiment
from thermospin.model import Model
from thermospin.signals import Evaluation, evaluate, fields, measure, signals

EXACT = 1e-11
"""Between two ways to one signal: 1e-15 times what cancels inside."""
FIELD = 1e-8
"""Of what is linear in the error of a field."""
SIGNALS = [("thermal", "R1.baseline"), ("thermal", "R1.spin"), ("thermal", "R2.baseline"), ("thermal", "R2.spin")]


def close(value: float, rel: float) -> object:
    """Equal up to a relative error alone; pytest's own absolute tolerance of 1e-12 would pass anything small."""
    return pytest.approx(value, rel=rel, abs=0.0)


EXTRA = {
    "exchanged": Experiment("exchanged", ("4", "3"), ("1", "3"), devices.P_AP),
    "reversed": Experiment("reversed", ("1", "2"), ("4", "3"), {"P": {}, "ALL": {"F1": -1, "F2": -1}}),
    "other": Experiment("other", ("1", "2"), ("4", "3"), {"P": {}, "AP": {"F1": -1}}),
}


@pytest.fixture(scope="module")
def lateral() -> Model:
    """One discrete problem, with all the experiments of this file."""
    device = devices.lateral()
    return model.build(dataclasses.replace(device, experiments={**device.experiments, **EXTRA}), cells=300)


def only(m: Model, *names: str) -> Model:
    """The same discrete problem with fewer experiments."""
    experiments = {name: m.device.experiments[name] for name in names}
    return dataclasses.replace(m, device=dataclasses.replace(m.device, experiments=experiments))


@pytest.fixture(scope="module")
def thermal(lateral) -> Model:
    return only(lateral, "thermal")


@pytest.fixture(scope="module")
def everything(lateral) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
    return measure(lateral).experiments


@pytest.fixture(scope="module")
def harmonics(thermal) -> Mapping[str, Mapping[str, float]]:
    """R1 to R4."""
    return measure(thermal, harmonics=4).experiments["thermal"]


@pytest.fixture(scope="module")
def jacobian(thermal) -> Evaluation:
    return evaluate(thermal, {}, SIGNALS, list(thermal.parameters))


def state_fields(m: Model, ladders: Mapping, experiment: str) -> tuple:
    """System, law and u_1, u_2 ... of the first state of an experiment."""
    chosen = m.device.experiments[experiment]
    first = next(iter(chosen.states.values()))
    law = m.coefficients(m.table(m.parameters, first))
    return m.systems[chosen.current[1]], law, ladders[experiment][0].u


def inverse(m: Model, experiment: str, law: operators.Coefficients, b: Array, rounds: int = 2) -> Array:
    """A^-1 b for two columns down to round-off: each round solves for what the last one left, to 1e-9."""
    system = m.systems[m.device.experiments[experiment].current[1]]
    u = jnp.zeros_like(b)
    for _ in range(rounds):
        left = system.free[:, None] * (b - operators.apply(m.disc, law, u))
        step, stats = solve.pcg(system, law, left, None, solve.TOLERANCE, solve.MAX_STEPS)
        solve.require_converged(stats, "test")
        u = u + step
    return u


# ------------------------------------------------------------------------------------------ invariants


def test_reversing_all_magnets_changes_no_signal(everything):
    """Up and down exchange their names. The state is solved as a change, which must come out as zero."""
    for parts in everything["reversed"].values():
        assert abs(parts["P"]) > 0
        assert parts["ALL"] == close(parts["P"], 1e-9)


def test_it_does_not_matter_which_of_two_magnets_is_reversed(everything):
    """AP by F1 and AP by F2 differ by a reversal of both."""
    for harmonic, parts in everything["thermal"].items():
        assert everything["other"][harmonic]["spin"] == close(parts["spin"], 1e-9)
        assert abs(parts["spin"]) > 1e-3 * abs(parts["baseline"])


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
    """P = S_s = 0 everywhere: exactly zero. In the reversed magnet alone: exactly zero too, nothing is reversed.

    In the other magnet alone: reversing F2 reverses all there is, so the spin part vanishes to the solver's accuracy.
    """
    nothing = {f"{name}.{key}": 0.0 for name in ("Fe", "Ni") for key in ("P", "S_s")}
    detector = {key: value for key, value in nothing.items() if key.startswith("Ni")}
    injector = {key: value for key, value in nothing.items() if key.startswith("Fe")}
    for parameters, bound in ((nothing, 0.0), (detector, 0.0), (injector, 1e-10)):
        found = measure(thermal, parameters).experiments["thermal"]
        for harmonic, parts in found.items():
            assert abs(parts["spin"]) <= bound * abs(everything["thermal"][harmonic]["spin"])
            assert parts["baseline"] == close(everything["thermal"][harmonic]["baseline"], 0.5)


def test_the_spin_part_is_odd_in_the_other_magnet_and_linear_in_its_S_s(thermal, everything):
    """Reversing F1 through its parameters turns the spin part round exactly.

    With P = 0 in F1, R2.spin is odd in its S_s: c S_s (1 + O(T0 sigma S_s^2 / 4 kappa)), which is 2e-11 at 2 nV/K.
    """
    own = thermal.parameters
    found = measure(thermal, {"Fe.P": -own["Fe.P"], "Fe.S_s": -own["Fe.S_s"]}).experiments["thermal"]
    for harmonic, parts in everything["thermal"].items():
        assert found[harmonic]["spin"] == close(-parts["spin"], 1e-9)
    one, two = (measure(thermal, {"Fe.P": 0.0, "Fe.S_s": S_s})["thermal", "R2.spin"] for S_s in (1e-9, 2e-9))
    assert two == close(2 * one, 1e-7)  # from 1e-5 of the signal, with fields good to 3e-8 and squared: 1e-10
    assert abs(one) > 1e-6 * abs(everything["thermal"]["R2"]["spin"])


def test_harmonics_scale_with_zeta(thermal, harmonics):
    """R_n is proportional to zeta^(n-1) exactly; u_2 and l_1 inside R3 and R4 are solved anew, to 3e-8, squared."""
    found = measure(thermal, {"zeta": 3.5}, harmonics=4).experiments["thermal"]
    for n, rel in ((1, 1e-12), (2, 1e-12), (3, 1e-9), (4, 1e-9)):
        for part, value in harmonics[f"R{n}"].items():
            assert found[f"R{n}"][part] == close(3.5 ** (n - 1) * value, rel), (n, part)


@pytest.fixture(scope="module")
def driven(thermal, jacobian) -> SimpleNamespace:
    """u_1 and u_2 per ampere in the state P, to round-off."""
    _, law, _ = state_fields(thermal, jacobian.fields, "thermal")
    drive = thermal.ports["1"]
    u_1 = inverse(thermal, "thermal", law, jnp.stack([drive, 2 * drive], axis=1))
    heat = operators.joule(thermal.disc, law, u_1, u_1)  # zeta is 1
    return SimpleNamespace(law=law, drive=drive, u_1=u_1, heat=heat, u_2=inverse(thermal, "thermal", law, heat))


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
        rows = operators.split(thermal.disc, heat - operators.apply(thermal.disc, driven.law, u))[2]
        leaves = np.asarray(rows)[held, 0]
        produced = float(heat[:, 0].sum())
        assert leaves.sum() == pytest.approx(produced, abs=1e-9 * np.abs(leaves).sum()), name
        assert np.abs(leaves).sum() > 0


# ------------------------------------------------------------------------------------------ a current sweep


@functools.cache
def _compiled(fun):
    return jax.jit(fun)


def test_R3_and_R4_are_the_coefficients_of_a_current_sweep(thermal, harmonics):
    """The nonlinear problem A u = I b + zeta q(u, u) by fixed-point iteration at +I and -I, without any harmonic.

    Odd and even parts of V(I) give (V_odd - R1 I)/I^3 = R3 + R5 I^2 + ... and (V_even - R2 I^2)/I^4 = R4 + R6 I^2 + ...:
    what is left falls by 4 when I is halved. I is such that R3 I^2 is 1e-3 to 1e-2 of R1; V is good to 1e-12, so the
    difference to 1e-9, and the remainder, 1e-3 to 1e-2 of R3, to 1e-6.
    """
    zeta = 200.0
    R = {n: harmonics[f"R{n}"]["P"] * zeta ** (n - 1) for n in range(1, 5)}
    law = thermal.coefficients(thermal.table(thermal.parameters, {}))
    drive, probe = thermal.ports["1"], thermal.ports["4"] - thermal.ports["3"]
    joule = jax.jit(lambda u: zeta * operators.joule(thermal.disc, law, u, u))
    left = {"odd": [], "even": []}
    for current in (4e-4, 2e-4):
        b = jnp.stack([current * drive, -current * drive], axis=1)
        u = jnp.zeros_like(b)
        for _ in range(30):
            # A step is the solution for the residual, so its relative error of 1e-9 shrinks with it.
            step = inverse(thermal, "thermal", law, b + joule(u) - operators.apply(thermal.disc, law, u), rounds=1)
            u = u + step
            if float(jnp.max(jnp.abs(step))) < 1e-15 * float(jnp.max(jnp.abs(u))):
                break
        else:
            raise AssertionError("the iteration does not settle: too strong a current")
        plus, minus = (float(v) for v in probe @ u)
        odd, even = (plus - minus) / 2, (plus + minus) / 2
        print(R, odd, even, (odd - R[1]*current)/current**3, (even-R[2]*current**2)/current**4)
        left["odd"].append((odd - R[1] * current) / current**3 / R[3] - 1)
        left["even"].append((even - R[2] * current**2) / current**4 / R[4] - 1)
    for name, (far, near) in left.items():
        assert abs(near) < 0.02, (name, left)
        assert far / near == pytest.approx(4, rel=0.05), (name, left)


# ------------------------------------------------------------------------------------------ one value, three ways


def test_signals_measure_and_evaluate_agree(thermal, everything, harmonics, jacobian):
    """With one rung of the ladders, with two, and as a pure function: all are the same functional."""
    values = evaluate(thermal, {}, SIGNALS).values
    pure = signals(thermal)["thermal"]
    for k, (name, signal) in enumerate(SIGNALS):
        harmonic, part = signal.split(".")
        expected = everything[name][harmonic][part]
        for found in (values[k], jacobian.values[k], float(pure[harmonic][part]), harmonics[harmonic][part]):
            assert found == close(expected, 1e-9), signal


# ------------------------------------------------------------------------------------------ derivatives


def vector(m: Model):
    """The four signals of the experiment `thermal` as a function of the parameters."""

    def values(p: Mapping[str, Array]) -> Array:
        found = signals(m, p)["thermal"]
        return jnp.stack([found[h][part] for h in ("R1", "R2") for part in ("baseline", "spin")])

    return values


def own(m: Model) -> dict[str, Array]:
    return {name: jnp.asarray(value, float) for name, value in m.parameters.items()}


SCALES = {"sigma": 1e7, "P": 1.0, "S": 1e-4, "S_s": 1e-4, "kappa": 100.0, "lambda_sf": 1e-7, "zeta": 1.0}


def scale(name: str, value: float) -> float:
    """The size of a parameter: its value, or what is usual where that is zero."""
    return abs(value) or SCALES[name.split(".")[-1]]


@pytest.fixture(scope="module")
def backward(thermal) -> dict[str, np.ndarray]:
    return {name: np.asarray(row) for name, row in jax.jacrev(vector(thermal))(own(thermal)).items()}


def test_forward_reverse_and_evaluated_derivatives_agree(thermal, backward, jacobian):
    """All of them differentiate one functional with its fields frozen, so they differ by round-off alone."""
    forward = jax.jacfwd(vector(thermal))(own(thermal))
    assert set(forward) == set(backward) == set(thermal.parameters)
    for column, name in enumerate(thermal.parameters):
        size = scale(name, thermal.parameters[name])
        for k, value in enumerate(jacobian.values):
            expected = jacobian.jacobian[k, column]
            bound = 1e-8 * abs(expected) + 1e-12 * abs(value) / size
            assert float(forward[name][k]) == pytest.approx(expected, rel=0, abs=bound), (name, k)
            assert float(backward[name][k]) == pytest.approx(expected, rel=0, abs=bound), (name, k)
    assert np.count_nonzero(jacobian.jacobian) > 0.9 * jacobian.jacobian.size


def test_derivatives_are_central_differences(thermal, jacobian):
    """Step 1e-3 in units of the parameter's size, extrapolated from two steps: fourth order, 1e-12 times the fifth
    derivative, at most 1e3 or so. Values are good to 1e-14, differences to 1e-14/1e-3 = 1e-11 of value/size.
    """
    for column, name in enumerate(thermal.parameters):
        value = thermal.parameters[name]
        size = scale(name, value)

        def central(h: float, name: str = name, value: float = value, size: float = size) -> np.ndarray:
            up, down = (evaluate(thermal, {name: value + s * h * size}, SIGNALS).values for s in (1, -1))
            return (up - down) / (2 * h * size)

        found = (4 * central(1e-3) - central(2e-3)) / 3
        for k, expected in enumerate(jacobian.jacobian[:, column]):
            bound = 1e-6 * abs(expected) + 1e-10 * abs(jacobian.values[k]) / size
            assert found[k] == pytest.approx(expected, rel=0, abs=bound), (name, SIGNALS[k])


def test_the_taylor_remainder_falls_at_second_order(thermal, jacobian):
    """F(p + h d) - F(p) - h dF falls by 4 when h is halved; with half of dF it falls by 2: the control."""
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
    assert np.all(rest[1] / rest[2] < 4.5), rest
    control = np.abs([c - h * slope / 2 for c, h in zip(change, steps, strict=True)])
    assert np.all(control[1] / control[2] < 2.5)


def test_a_cotangent_of_1e_13_gives_the_gradient_times_1e_13(thermal, backward):
    pull = jax.vjp(vector(thermal), own(thermal))[1]
    for k in (1, 3):
        (found,) = pull(jnp.zeros(4).at[k].set(1e-13))
        for name, row in backward.items():
            assert np.isfinite(float(found[name]))
            assert float(found[name]) == close(1e-13 * row[k], 1e-9), name


def test_second_derivatives_are_differences_of_gradients(thermal):
    """Forward over reverse goes through the rule of the first derivative and through its solves.

    Gradients are good to 3e-8 at worst: their difference with a step of 1e-3 to 3e-5, and curvature adds 1e-6.
    """
    spin = lambda p: signals(thermal, p)["thermal"]["R2"]["spin"]  # noqa: E731
    p = own(thermal)
    for name in ("Fe.P", "Cu.lambda_sf"):
        size = thermal.parameters[name]
        tangent = {key: jnp.asarray(size if key == name else 0.0) for key in p}
        found = jax.jvp(jax.grad(spin), (p,), (tangent,))[1]
        up, down = (
            evaluate(thermal, {name: size * (1 + s)}, [("thermal", "R2.spin")], list(p)).jacobian[0]
            for s in (1e-3, -1e-3)
        )
        for key, expected in zip(p, (up - down) / 2e-3, strict=True):
            reach = abs(evaluate_scale(thermal, key))
            assert float(found[key]) * reach == pytest.approx(expected * reach, rel=1e-4, abs=1e-4 * SPIN), (name, key)
