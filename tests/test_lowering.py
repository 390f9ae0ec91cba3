"""What is compiled, for which machines, and how often: programs for GPUs without a GPU, one program for all numbers.

The device is `devices.lateral` on a grid of some 250 cells, enough for two levels of the preconditioner.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from helpers import devices
from thermospin import inverse, solve
from thermospin.base import compilation
from thermospin.data.rows import Row
from thermospin.inference import predictors
from thermospin.model import Model, build
from thermospin.signals import evaluate as signals
from thermospin.signals import functional, ladders, solving, uncompiled
from thermospin.signals.ladders import Ladder
from thermospin.signals.results import Evaluation

SIGNALS = [("thermal", "R1.baseline"), ("thermal", "R1.spin"), ("thermal", "R2.baseline"), ("thermal", "R2.spin")]

#: Calls out of a program that every backend of XLA has.
SAFE_CALLS = {"Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape"}


@pytest.fixture(scope="module")
def thermal() -> Model:
    return build(devices.lateral("thermal"), cells=300, order=2)


# ------------------------------------------------------------------------------------------ lowering for GPUs


def is_array(x: Any) -> bool:
    return isinstance(x, (jax.Array, np.ndarray))


def calls(function: Callable[..., Any], *args: Any) -> set[str]:
    """Targets of the custom calls in a function of the arrays in `args`, lowered for GPUs of two makers."""
    arrays, rest = eqx.partition(args, is_array)
    leaves, tree = jax.tree.flatten(arrays)

    def of_arrays(*leaves: jax.Array) -> list[jax.Array]:
        found = function(*eqx.combine(jax.tree.unflatten(tree, leaves), rest))
        return [leaf for leaf in jax.tree.leaves(found) if is_array(leaf)]

    # Without the check of the library, which stops at the first call that it does not know.
    unchecked = [export.DisabledSafetyCheck.custom_call(name) for name in ("xla_python_cpu_callback",)]
    made = export.export(jax.jit(of_arrays), platforms=("cuda", "rocm"), disabled_checks=unchecked)(*leaves)
    assert made.platforms == ("cuda", "rocm")
    return targets(made.mlir_module())


def targets(text: str) -> set[str]:
    found = re.findall(r'custom_call\s*@"?([\w.$]+)', text) + re.findall(r'call_target_name\s*=\s*"([^"]+)"', text)
    assert len(found) >= text.count("stablehlo.custom_call"), "a call that is written in another way"
    return set(found)


def no_ladders(model: Model, rungs: int) -> tuple[Ladder, ...]:
    """Ladders of two states, filled with ones."""
    fields = tuple(jnp.ones(model.unknowns) for _ in range(rungs))
    return (Ladder(fields, fields),) * 2


def entry_points(model: Model) -> dict[str, tuple[Any, ...]]:
    """Every jitted function and arguments for it."""
    parameters, problem = model.completed(None), model.problems["thermal"]
    law = ladders.laws(problem, parameters).first
    system = model.systems["2"]
    b = jnp.ones((model.unknowns, 2))
    request = solve.SolveRequest(system, law, b, b, jnp.asarray(1e-9), jnp.asarray(400))
    u = b[:, 0]
    fields = no_ladders(model, 2)
    moments = functional.moments(problem.disc, problem.ports, fields, 2)

    def values(problem: Any, parameters: Any, fields: Any) -> Any:
        return functional.values(problem, parameters, fields, 2)

    def predict(disc: Any, systems: Any, ports: Any, parameters: Any) -> Any:
        return signals.predict(dataclasses.replace(model, disc=disc, systems=systems, ports=ports), parameters)

    def forward(*args: Any) -> Any:
        *rest, parameters = args
        return jax.jvp(functools.partial(predict, *rest), (parameters,), (parameters,))

    def reverse(*args: Any) -> Any:
        *rest, parameters = args
        found, pull = jax.vjp(functools.partial(predict, *rest), parameters)
        return pull(found)

    whole = (model.disc, model.systems, model.ports, parameters)
    return {
        "answer": (solve.answer, request),
        "_solve": (solve._solve, request),
        "_unfinished": (solving._unfinished, request),
        "applied": (ladders.applied, model.disc, law, u),
        "joule": (ladders.joule, model.disc, law, u, u),
        "_joule_transposed": (ladders._joule_transposed, model.disc, law, u, u),
        "split_power": (functional.split_power, model.disc, u, u),
        "_joule_power": (functional._joule_power, model.disc, u, u, u),
        "laws": (ladders._laws, model.disc, model.constitution, problem.signs, parameters),
        "_contract": (functional._contract, model.constitution, problem.signs, parameters, moments),
        "_slopes": (functional._slopes, model.constitution, problem.signs, parameters, moments),
        "values": (values, problem, parameters, fields),
        "predict": (predict, *whole),
        "predict, forward": (forward, *whole),
        "predict, reverse": (reverse, *whole),
    }


PROGRAMS = (
    *(
        "answer",
        "_solve",
        "_unfinished",
        "applied",
        "joule",
        "_joule_transposed",
        "split_power",
        "_joule_power",
        "laws",
    ),
    *("_contract", "_slopes", "values", "predict", "predict, forward", "predict, reverse"),
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_lowers_for_gpus_and_calls_nothing_that_only_a_cpu_has(thermal, name):
    found = calls(*entry_points(thermal)[name])
    assert found <= SAFE_CALLS, found
    assert not any("callback" in target or "lapack" in target for target in found)


def test_a_call_into_python_would_be_found():
    def called(x: jax.Array) -> jax.Array:
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    text = jax.jit(called).lower(jnp.ones(3)).as_text()
    assert any("callback" in target for target in targets(text))
    with pytest.raises(Exception, match="custom call|callback|lowering"):
        calls(called, jnp.ones(3))


# ------------------------------------------------------------------------------------------ one program for all numbers

COMPILED: list[str] = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, duration, **_: COMPILED.append(event) if event.endswith("backend_compile_duration") else None
)


def compilations(run: Callable[[], Any]) -> int:
    """How many programs are compiled, taken out of a cache on disk or not."""
    before = len(COMPILED)
    run()
    return len(COMPILED) - before


def test_compilations_are_counted():
    seven = jnp.ones(7)
    double = jax.jit(lambda x: 2 * x)
    assert compilations(lambda: double(seven)) == 1
    assert compilations(lambda: double(3 * seven)) <= 1  # 3 * x itself
    assert compilations(lambda: double(seven)) == 0


def moved(model: Model, factor: float) -> dict[str, float]:
    return {name: factor * value for name, value in model.parameters.items()}


def with_states(model: Model, **states: dict[str, int]) -> Model:
    """The same discrete problem, the magnets reversed in another way."""
    changed = dataclasses.replace(model.device.experiments["thermal"], states=states)
    return dataclasses.replace(model, device=dataclasses.replace(model.device, experiments={"thermal": changed}))


def test_a_solve_with_other_numbers_compiles_nothing(thermal):
    laws = [
        ladders.laws(thermal.problems["thermal"], thermal.completed(moved(thermal, factor))).first
        for factor in (1.0, 1.02)
    ]
    b = jnp.stack([thermal.ports["1"], thermal.ports["4"]], axis=1)
    other = 2 * b
    u, _ = solve.solve(thermal.systems["2"], laws[0], b)

    found = []

    def again() -> None:
        found.append(solve.solve(thermal.systems["2"], laws[1], other, x0=u, tolerance=1e-6, max_steps=77)[1])

    assert compilations(again) == 0
    assert np.all(found[0].converged) and int(np.max(found[0].iterations)) > 0


def test_signals_of_other_parameters_states_tolerances_and_starts_compile_nothing(thermal):
    start = signals.evaluate(thermal, {}, SIGNALS, ["zeta"]).fields
    signals.evaluate(thermal, moved(thermal, 0.99), SIGNALS, ["zeta"], start=start)
    before = signals.measure(thermal, start=start)
    found = []

    def others() -> None:
        p = moved(thermal, 1.01) | {"zeta": 2.5}
        found.append(signals.measure(thermal, p, start=start, tolerance=1e-7, max_steps=90))
        found.append(signals.measure(thermal, p))
        turned = with_states(thermal, P={"F1": -1}, AP={"F2": -1})
        found.append(signals.measure(turned))
        evaluation = signals.evaluate(turned, p, SIGNALS[1:], ["Fe.P", "Cu.sigma"], tolerance=1e-8, start=start)
        assert evaluation.jacobian.shape == (3, 2)

    assert compilations(others) == 0
    values = [each["thermal", "R2.spin"] for each in (before, *found)]
    assert len({float(f"{value:.5g}") for value in values}) == 3, "the first two of the three found are the same"


def test_values_gradients_and_harmonics_share_their_programs(thermal):
    """Tables are padded and forms compiled for one field: fewer signals, fewer rungs, no gradient, nothing new."""
    signals.evaluate(thermal, {}, SIGNALS, list(thermal.parameters))

    def others() -> None:
        signals.evaluate(thermal, {}, SIGNALS)
        signals.evaluate(thermal, {}, [("thermal", "R1.spin")], ["zeta", "Fe.P"])
        signals.measure(thermal)

    assert compilations(others) == 0


def test_a_rehearsal_leaves_the_solver_to_compile_and_little_else(thermal, monkeypatch):
    monkeypatch.setattr(solving, "_rehearsed", set())
    monkeypatch.setattr(compilation, "_place", lambda *_: None)  # programs of other tests may be kept
    monkeypatch.setattr(uncompiled, "MOST", 0)
    monkeypatch.setattr(compilation, "PAYS", -1)
    values, problem = thermal.completed(None), thermal.problems["thermal"]
    jax.clear_caches()
    compilation.forget()
    rehearse = functools.partial(solving.rehearsal, thermal, problem, values, 2, 2, slopes=True)
    made = compilations(rehearse())
    assert rehearse() is None, "once is enough"
    after = compilations(lambda: signals.evaluate(thermal, {}, SIGNALS, ["zeta"]))
    assert made >= 10 and 1 <= after <= 3, (made, after)


def test_magnets_as_numbers_make_the_states_that_they_name(thermal):
    """Both reversed in one state is P again; one reversed in the first state turns the spin part round."""
    plain = signals.measure(thermal, tolerance=2e-11).experiments["thermal"]
    swapped = signals.measure(with_states(thermal, P={"F2": -1}, AP={}), tolerance=2e-11).experiments["thermal"]
    for harmonic, parts in plain.items():
        assert swapped[harmonic]["P"] == pytest.approx(parts["AP"], rel=1e-8, abs=0)
        assert swapped[harmonic]["spin"] == pytest.approx(-parts["spin"], rel=1e-6, abs=0)


def rows(model: Model, parameters: dict[str, float], std: float = 0.01) -> list[Row]:
    values = signals.evaluate(model, parameters, SIGNALS).values
    return [
        Row(name, signal, float(value), abs(float(value)) * std)
        for (name, signal), value in zip(SIGNALS, values, strict=True)
    ]


def test_a_fit_to_other_data_compiles_nothing(thermal):
    first = rows(thermal, {"zeta": 1.5, "Fe.S_s": -20e-6})
    second = rows(thermal, {"zeta": 0.7, "Fe.S_s": -31e-6}, std=0.03)
    free = ["zeta", "Fe.S_s"]
    inverse.fit(thermal, first, free=free)
    found = []
    assert compilations(lambda: found.append(inverse.fit(thermal, second, free=free))) == 0
    assert found[0].parameters["Fe.S_s"].value == pytest.approx(-31e-6, rel=1e-3)


# ------------------------------------------------------------------------------------------ age of the preconditioner


class Watched:
    """A predictor, what it tells, and every evaluation that it makes."""

    def __init__(self, model: Model, monkeypatch: pytest.MonkeyPatch, **bounds: Any) -> None:
        self.told: list[str] = []
        self.evaluations: list[Evaluation] = []
        self.model, plain = model, signals.evaluate

        def evaluate(*args: Any, **kwargs: Any) -> Evaluation:
            self.evaluations.append(plain(*args, **kwargs, **bounds))
            return self.evaluations[-1]

        monkeypatch.setattr(signals, "evaluate", evaluate)
        data = [Row(name, signal, 1.0, 1.0) for name, signal in SIGNALS]
        self.predict = predictors.Predictor(model, data, predictors.RESIDUAL, self.told.append)

    def __call__(self, **changes: float) -> float:
        """Iterations per decade at these values, the device's own elsewhere."""
        values, _ = self.predict(self.model.parameters | changes, ["zeta"])
        assert np.all(np.isfinite(values))
        return self.evaluations[-1].iterations_per_decade


@pytest.mark.parametrize(("name", "built_for", "wanted"), [("Cu.sigma", 3e7, 3e8), ("Fe.P", 0.09, 0.9)])
def test_a_preconditioner_is_built_anew_once_when_a_parameter_has_moved_by_ten(
    thermal, monkeypatch, name, built_for, wanted
):
    watched = Watched(thermal.refreshed({name: built_for}), monkeypatch)
    young = watched(**{name: built_for})
    watched(**{name: 1.01 * built_for})
    assert watched.told == []
    rates = []
    assert compilations(lambda: rates.extend(watched(**{name: f * wanted}) for f in (1.0, 1.01, 1.02, 0.97))) == 0
    assert len(watched.told) == 1 and "rebuilding the preconditioner" in watched.told[0]
    assert rates[0] > predictors.AGED * young
    assert max(rates[1:]) < rates[0] / predictors.AGED, rates
    assert watched.evaluations[-1].values == pytest.approx(
        signals.evaluate(thermal, {name: 0.97 * wanted}, SIGNALS).values, rel=1e-5
    )


def test_a_preconditioner_stays_while_parameters_hardly_move(thermal, monkeypatch):
    """All of them by some percent, at random; and far, where they do not enter it."""
    watched = Watched(thermal, monkeypatch)
    rng = np.random.default_rng(0)
    rates = [watched()]
    for size in (0.05, 0.05, 0.001, 1e-6, 0.05):
        rates.append(
            watched(**{name: value * (1 + size * rng.uniform(-1, 1)) for name, value in thermal.parameters.items()})
        )
    rates.append(watched(zeta=10.0, **{"Fe.S_s": 25e-6}))
    assert watched.told == []
    # A start that is nearly the solution says nothing.
    assert np.isnan(rates[4]) or rates[4] < 1.3 * rates[0]
    assert max(rate for rate in rates if rate == rate) < 1.2 * rates[0], rates


def test_a_solve_that_fails_is_tried_again_with_a_new_preconditioner(thermal, monkeypatch):
    """25 iterations do for a fresh one, 35 or more are needed with the old one."""
    watched = Watched(thermal, monkeypatch, max_steps=25)
    watched()
    watched(**{"Cu.sigma": 3e8})
    assert len(watched.told) == 1 and "a solve did not converge" in watched.told[0]
    assert len(watched.evaluations) == 2, "the one that failed gave none"


def test_a_refreshed_model_is_the_same_problem(thermal):
    """Shapes, and signals to the accuracy of the solves; what does not enter the preconditioner does not age it."""
    p = {"Cu.sigma": 3e8, "oxide.kappa": 0.15}
    fresh = thermal.refreshed(p)
    assert thermal.outdated(p) and not fresh.outdated(p) and fresh.outdated({})
    assert not thermal.outdated({}) and not thermal.outdated({"zeta": 7.0, "Fe.S": -1e-5})
    for old, new in zip(jax.tree.leaves(thermal.systems), jax.tree.leaves(fresh.systems), strict=True):
        assert np.shape(old) == np.shape(new)
    old, new = (signals.evaluate(each, p, SIGNALS) for each in (thermal, fresh))
    np.testing.assert_allclose(new.values, old.values, rtol=1e-6)
    assert sum(new.iterations) < sum(old.iterations) / 1.3
