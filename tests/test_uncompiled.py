"""Solves without a program: the same matrix, the same steps and the same fields as the compiled ones.

Both round differently, in single precision within the cycle: residuals agree to a part of themselves, solutions to the
tolerance times the square root of the condition number of the scaled operator, which is below 1e6, see test_solve.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from scipy.sparse import csr_array

from helpers import devices, stacks
from helpers.exact_cases import link
from helpers.problems import PATCH_PORT, patchwork, random_fields
from thermospin import operators, solve
from thermospin.base import arrays, compilation
from thermospin.base.errors import NotConverged
from thermospin.linear.sparse import Rows, take
from thermospin.model import Model, build
from thermospin.signals import uncompiled
from thermospin.signals.evaluate import measure, solved
from thermospin.signals.solving import SolveOptions
from thermospin.solve import SolveRequest, Stats, System

TOLERANCE = 1e-10


@pytest.fixture(autouse=True)
def _nothing_done(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Starts from a process that has solved nothing yet, and has no programs of other tests."""
    monkeypatch.setattr(compilation, "_place", lambda *_: None)
    uncompiled._done.clear()
    yield
    uncompiled._done.clear()


def lateral(order: int) -> Model:
    return build(devices.lateral("thermal"), cells=120, order=order)


def layered() -> Model:
    """Doubled nodes: links of charge and of heat, spin flip, and temperatures that are one at an interface."""
    links = [
        link(("F1", "N"), RA=1e-15, gamma=0.5, delta=0.4),
        link(("N", "F2"), RA=2e-15, gamma=0.3, K=1e9, S_s=-1e-5),
    ]
    layers = (("F1", stacks.FE, 30e-9), ("N", stacks.AG, 50e-9), ("F2", stacks.NI, 20e-9))
    return stacks.on_grid(stacks.device(layers, stacks.current(), stacks.heat(), interfaces=links), (4, 4, 4), 2)


def turned() -> Model:
    """Cut cells, and nodes that a contact covers in part."""
    return build(devices.read(devices.TURNED), cells=150, order=1)


MODELS = {
    "order 1": lambda: lateral(1),
    "order 3": lambda: lateral(3),
    "doubled nodes": layered,
    "cut cells": turned,
}


def requests(model: Model) -> list[SolveRequest]:
    """What `measure` asks of the solver."""
    found: list[SolveRequest] = []

    def record(request: SolveRequest) -> tuple[Array, Stats]:
        found.append(request)
        return uncompiled.on_host(request)

    solved(model, options=SolveOptions(TOLERANCE, solver=record))
    return found


@pytest.mark.parametrize("name", MODELS)
def test_host_and_program_take_the_same_steps_to_the_same_fields(name: str) -> None:
    model = MODELS[name]()
    asked = requests(model)
    assert len(asked) > 1 and (name != "doubled nodes" or model.disc.merged is not None)
    for request in asked:
        x, stats = uncompiled.on_host(request)
        expected, other = solve.answer(request)
        assert np.all(stats.converged) and np.all(stats.relative_residual <= TOLERANCE)
        assert np.abs(stats.iterations - other.iterations).max() <= 1
        np.testing.assert_allclose(stats.start_residual, other.start_residual, rtol=1e-9)
        n = 2 * model.disc.nodes_V
        assert np.all(np.abs(expected).max(axis=0) > 0)
        for part in (np.s_[:n], np.s_[n:]):
            assert np.all(np.abs(x - expected)[part].max(axis=0) <= 1e-7 * np.abs(expected[part]).max(axis=0))


@pytest.mark.parametrize("name", MODELS)
def test_the_matrix_is_the_operator(name: str) -> None:
    """To the rounding of sums of twenty terms; each of the parts of a field contributes."""
    request = requests(MODELS[name]())[-1]
    disc, law = request.system.disc, request.law
    matrix = uncompiled.matrix(disc, law)
    scale = 1 / np.sqrt(matrix.diagonal())
    assert abs(matrix - matrix.T).max() < 1e-15 * abs(matrix).max()
    for seed in range(3):
        u = np.random.default_rng(seed).standard_normal(disc.unknowns) * scale
        found, expected = (
            scale * (matrix @ u),
            scale * np.asarray(operators.apply(disc, law, jnp.asarray(u)[:, None]))[:, 0],
        )
        for part in operators.split(disc, found):
            assert np.linalg.norm(part) > 0.1 * np.sqrt(len(part))
        assert np.linalg.norm(found - expected) < 1e-13 * np.linalg.norm(expected)


FORMS = {
    "apply": (operators.apply, True, 1),
    "joule": (operators.joule, True, 2),
    "joule_transposed": (operators.joule_transposed, True, 2),
    "surplus_power": (operators.surplus_power, True, 2),
    "power": (operators.power, False, 2),
    "power_entries": (operators.power_entries, False, 2),
    "joule_power": (operators.joule_power, False, 3),
}


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_forms_of_numpy_are_those_of_jax(name: str, columns: int) -> None:
    """To the rounding of sums of up to a thousand terms, of the largest of their kind."""
    request = requests(MODELS[name]())[-1]
    disc, law = jax.device_put((request.system.disc, request.law))
    fields = list(np.random.default_rng(1).standard_normal((3, disc.unknowns, columns)))
    for form, with_law, count in FORMS.values():
        arguments = (disc, law, *fields[:count]) if with_law else (disc, *fields[:count])
        found = form(*jax.tree.map(lambda leaf: np.asarray(leaf) if eqx.is_array(leaf) else leaf, arguments))
        expected = eqx.filter_jit(form)(*arguments)
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert isinstance(one, np.ndarray) and isinstance(other, Array) and one.shape == other.shape
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-13 * np.abs(other).max(initial=0.0))
        assert max(np.abs(leaf).max(initial=0.0) for leaf in jax.tree.leaves(found)) > 0


def test_nodes_lie_side_by_side_in_numpy() -> None:
    """Through stacks, gathers, arithmetic and sums: loops over two channels or columns take ten times as long."""
    one, other = np.random.default_rng(0).standard_normal((2, 50, 3))
    stacked = arrays.stack([one, other], axis=1)
    np.testing.assert_array_equal(stacked, np.stack([one, other], axis=1))
    places = np.array([4, 4, 0, 49])
    gathered = take(stacked, places)
    np.testing.assert_array_equal(gathered, stacked[places])
    weighted = Rows.of(csr_array(np.diag(np.arange(50.0))), dtype=float)
    product = jax.tree.map(np.asarray, weighted).multiply(stacked)
    np.testing.assert_array_equal(product, np.arange(50.0)[:, None, None] * stacked)
    joined = arrays.concatenate([stacked, product])
    for found in (stacked, gathered, product, joined, 2 * stacked - product):
        assert found.strides[0] == found.itemsize


@pytest.mark.parametrize("unit", [1.0, 2.0])
def test_rows_in_numpy_are_those_in_jax(unit: float) -> None:
    """Sums of up to 30 terms, one of the rows being long; times the values, and transposed."""
    dense = np.where(np.random.default_rng(0).random((40, 30)) < 0.1, 1.5, 0.0)
    dense[7] = np.arange(30.0)
    in_jax = Rows.of(csr_array(dense), dtype=float, unit=unit)
    in_numpy = jax.tree.map(np.asarray, in_jax)
    assert in_jax.rest is not None
    x, y = (np.random.default_rng(1).standard_normal((n, 2, 3)) for n in dense.shape[::-1])
    for found, expected in (
        (in_numpy.multiply(x), in_jax.multiply(jnp.asarray(x))),
        (in_numpy.multiply_transposed(y, 30), in_jax.multiply_transposed(jnp.asarray(y), 30)),
    ):
        assert isinstance(found, np.ndarray) and np.abs(expected).max() > 1
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14 * np.abs(expected).max())
    np.testing.assert_allclose(in_numpy.multiply(x)[:, 0], unit * dense @ x[:, 0], rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------------------ success and failure


def block_request(b: Array, **options: float) -> SolveRequest:
    block = patchwork(2)
    return SolveRequest.of(
        block.system,
        block.law,
        b,
        options.get("guess"),
        options.get("tolerance", 2e-11),
        int(options.get("steps", 400)),
    )


def test_a_failed_column_is_nan_and_the_one_beside_it_stays() -> None:
    b = random_fields(patchwork(2), 1, columns=2).at[:, 1].set(0.0)
    u, stats = uncompiled.on_host(block_request(b, steps=1))
    assert np.asarray(stats.converged).tolist() == [False, True]
    assert np.all(np.isnan(u[:, 0])) and np.all(u[:, 1] == 0)
    assert np.asarray(stats.iterations).tolist() == [1, 0]


@pytest.mark.parametrize("factor", [1e-200, 1e-30, 1e30, 1e200])
def test_a_tiny_or_huge_column_is_solved_like_any_other(factor: float) -> None:
    block = patchwork(2)
    drive = block.drive(PATCH_PORT, J=(5e10, 5e10))
    expected, _ = uncompiled.on_host(block_request(drive))
    found, stats = uncompiled.on_host(block_request(factor * drive))
    assert bool(stats.converged[0])
    assert 0 < np.abs(expected).max() and np.abs(found / factor - expected).max() < 1e-9 * np.abs(expected).max()
    again, stats = uncompiled.on_host(block_request(drive, guess=expected))
    assert int(stats.iterations[0]) <= 1 and np.abs(again - expected).max() < 1e-9 * np.abs(expected).max()


def test_held_nodes_are_zero_whatever_is_asked_of_them() -> None:
    block = patchwork(2)
    held = ~np.asarray(block.system.free)
    b = random_fields(block, 3)
    found, _ = uncompiled.on_host(block_request(b, guess=random_fields(block, 4)))
    expected, _ = uncompiled.on_host(block_request(jnp.where(jnp.asarray(held)[:, None], 0.0, b)))
    assert held.any() and np.all(np.asarray(found)[held] == 0)
    assert np.abs(found - expected).max() < 1e-8 * np.abs(expected).max()


# ------------------------------------------------------------------------------------------ when


def count_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Unknowns of the systems that the host solves from now on; no program is there yet."""
    compilation.forget()
    found: list[int] = []
    true = uncompiled.on_host

    def counted(request: SolveRequest) -> tuple[Array, Stats]:
        found.append(len(request.b))
        return true(request)

    monkeypatch.setattr(uncompiled, "on_host", counted)
    return found


def test_a_small_system_gets_its_program_once_the_host_has_lost_as_much_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model = lateral(1)
    solves = count_of(monkeypatch)
    first = measure(model)
    per_run = len(solves)
    assert per_run >= 2
    work = uncompiled._done[model.unknowns, 2]
    assert work == sum(first.iterations) * model.unknowns
    monkeypatch.setattr(uncompiled, "COMPILING", 2 * work - 1)
    measure(model)
    assert len(solves) == 2 * per_run
    last = measure(model)
    assert len(solves) == 2 * per_run
    for name, value in first.values.items():
        assert last.values[name] == pytest.approx(value, rel=1e-6)
    uncompiled._done.clear()  # who has the program uses it
    measure(model)
    assert len(solves) == 2 * per_run


def test_a_large_system_gets_its_program_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = lateral(1)
    solves = count_of(monkeypatch)
    monkeypatch.setattr(uncompiled, "MOST", 2 * model.unknowns - 1)
    measure(model)
    assert not solves


def test_what_the_host_cannot_solve_goes_to_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resistance of 1e8 times that of the metals, nearly to round-off: the voltage across it is a rest."""
    layers = (("A", stacks.CU, 40e-9), ("B", dataclasses.replace(stacks.CU, S=-9e-6, name="B"), 60e-9))
    probe = stacks.heat("charge", **stacks.through("charge", "A", "B"), states={"P": {}})
    model = stacks.on_grid(stacks.device(layers, probe, interfaces=[link(("A", "B"), RA=1e-6, K=1e9)]), (3, 3), 2)
    solves = count_of(monkeypatch)
    found = measure(model, tolerance=2e-11)
    assert solves and max(found.relative_residual) < solve.ROUGHEST
    with pytest.raises(NotConverged, match="no convergence in 1 iterations"):
        measure(lateral(1), max_steps=1)


def test_what_was_made_for_a_system_goes_with_it() -> None:
    before = len(uncompiled._hosted._made)
    request = block_request(random_fields(patchwork(2), 1))
    request = request._replace(system=System(*(getattr(request.system, f.name) for f in dataclasses.fields(System))))
    uncompiled.on_host(request)
    assert len(uncompiled._hosted._made) == before + 1
    del request
    assert len(uncompiled._hosted._made) == before
