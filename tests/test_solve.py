"""The solver and the discrete equation it solves: balances, reciprocity, order of accuracy, low-order bounds, failures.

Solves of `Block.solve` are good to a true relative residual of 2e-11 in the norm r.D^-1 r. What a test compares to the
exact discrete solution is then good to 2e-11 times the square root of the condition number of the scaled operator, here
below 1e3: hence 1e-9 for balances, unless a test says otherwise.
"""

from __future__ import annotations

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from scipy.linalg import eigh

from helpers import elements
from helpers.problems import (
    LEFT,
    PATCH_DOMAIN,
    PATCH_PORT,
    PATCH_SIDE,
    PATCHES,
    T0,
    Block,
    apply,
    dense,
    joule,
    patchwork,
    random_fields,
    reversed_magnets,
    without_seebeck,
)
from thermospin import solve
from thermospin.base.errors import NotConverged

BALANCE = 1e-9
J = 1e11  # A/m^2, half in each channel


def drive(block: Block) -> Array:
    """Current into the right face, uniform, half in each channel."""
    return block.drive(PATCH_PORT, J=(J / 2, J / 2))


@functools.cache
def driven(order: int) -> Array:
    """u_1 of the patchwork."""
    block = patchwork(order)
    return block.solve(drive(block))


def current(block: Block) -> float:
    return float(drive(block).sum())


# ------------------------------------------------------------------------------------------ balances


@pytest.mark.parametrize("order", [1, 2, 3])
def test_power_put_in_is_joule_heat_plus_relaxation_heat_plus_seebeck_work(order):
    """Theory, section 4, by the currents of the element loop. Each of the three has to be there to be missed."""
    block, u = patchwork(order), driven(order)
    power = current(block) * float(block.probe(PATCH_PORT) @ u[:, 0])
    parts = elements.powers(block, PATCHES, u)
    assert parts.joule + parts.relaxation + parts.seebeck == pytest.approx(power, rel=BALANCE)
    assert parts.joule > 0.5 * power > 0
    assert parts.relaxation > 1e-4 * power
    assert abs(parts.seebeck) > 1e-4 * power


def test_without_spin_and_seebeck_effects_all_of_it_is_joule_heat():
    block = patchwork(2)
    plain = [dataclasses.replace(without_seebeck(m), P=0.0) for m in PATCHES]
    law = block.law_of(plain)
    u = block.solve(drive(block), law)
    power = current(block) * float(block.probe(PATCH_PORT) @ u[:, 0])
    assert power > 0
    assert elements.powers(block, plain, u).joule == pytest.approx(power, rel=BALANCE)
    assert T0 * float(joule(block.disc, law, u, u).sum()) == pytest.approx(power, rel=BALANCE)


def test_contact_currents_sum_to_zero_and_joule_heat_leaves_at_the_bath():
    """What the held nodes take is read from the rows of A u that the solve leaves out.

    In u_1 the heat at the bath sums to zero (Peltier heat is carried, not made); in u_2 it is the Joule heat of u_1.
    """
    block, u_1 = patchwork(2), driven(2)
    n = block.disc.nodes_V
    held = np.asarray(block.system.free) == 0
    law, disc = block.law, block.disc
    rows = np.asarray(apply(disc, law, u_1))[:, 0]
    ground = rows[: 2 * n][held[: 2 * n]]
    assert ground.sum() == pytest.approx(-current(block), rel=BALANCE)
    heat = rows[2 * n :][held[2 * n :]]
    assert abs(heat.sum()) < BALANCE * np.abs(heat).sum()
    assert np.abs(heat).sum() > 0
    q = joule(disc, law, u_1, u_1)
    u_2 = block.solve(q)
    taken = np.asarray(apply(disc, law, u_2) - q)[:, 0]
    leaving = -T0 * taken[2 * n :][held[2 * n :]].sum()
    assert leaving == pytest.approx(elements.powers(block, PATCHES, u_1).joule, rel=BALANCE)
    assert abs(taken[: 2 * n][held[: 2 * n]].sum()) < BALANCE * np.abs(taken[: 2 * n][held[: 2 * n]]).sum()


def test_two_ports_are_reciprocal_and_magnets_see_which_way_they_point():
    """Onsager: voltage at one port per current into the other, both ways; also heat for one of the two."""
    block = patchwork(2)
    ports = {"end": block.probe(PATCH_PORT), "side": block.probe(PATCH_SIDE)}
    heat = np.asarray(block.drive(PATCH_SIDE, Q=T0))[:, 0]
    loads = np.stack([ports["end"], ports["side"], heat], axis=1)
    for materials in (PATCHES, [*PATCHES[:3], PATCHES[0]]):
        response = loads.T @ np.asarray(block.solve(jnp.asarray(loads), block.law_of(materials)))
        size = np.sqrt(np.outer(np.diag(response), np.diag(response)))
        assert np.all(np.abs(response / size) > 1e-3), "a zero would be symmetric too"
        assert np.abs((response - response.T) / size).max() < BALANCE
        if materials is PATCHES:
            antiparallel = response
    assert abs(response[0, 1] / antiparallel[0, 1] - 1) > 1e-3


def test_reversing_every_magnet_changes_no_voltage():
    block, u = patchwork(2), driven(2)
    reversed_u = block.solve(drive(block), block.law_of(reversed_magnets(PATCHES)))
    V, reversed_V = (float(block.probe(PATCH_PORT) @ x[:, 0]) for x in (u, reversed_u))
    assert reversed_V == pytest.approx(V, rel=BALANCE)
    n = block.disc.nodes_V
    V_s, reversed_V_s = (np.asarray(x[:n] - x[n : 2 * n])[:, 0] for x in (u, reversed_u))
    assert np.abs(V_s).max() > 1e-3 * V
    assert np.abs(V_s + reversed_V_s).max() < 1e-8 * np.abs(V_s).max()


# ------------------------------------------------------------------------------------------ low-order scheme


def low_order_matrix(block: Block) -> np.ndarray:
    """Dense matrix of the low-order scheme, in V_up, V_down and T."""
    held_V = np.asarray(block.system.free)[: block.disc.nodes_V] == 0
    potentials, heat = solve.low_order_graphs(block.grid, block.disc, block.law, held_V)
    n = block.disc.nodes_V
    L = np.zeros((block.disc.unknowns, block.disc.unknowns))
    fields = ((potentials, 0, 0), (potentials, 1, n), (heat, 0, 2 * n))
    for graph, field, offset in fields:
        for i, j, c in zip(graph.tail + offset, graph.head + offset, graph.conductance[field], strict=True):
            L[i, i] += c
            L[j, j] += c
            L[i, j] -= c
            L[j, i] -= c
    assert np.all(heat.mass == 0)
    for i, g in enumerate(potentials.mass):
        L[np.ix_([i, i + n], [i, i + n])] += g * np.array([[1, -1], [-1, 1]])
    return L


def blocks(block: Block) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For both potentials together and for heat: order-p operator and low-order scheme on free nodes."""
    n, total = block.disc.nodes_V, block.disc.unknowns
    free = np.asarray(block.system.free) > 0
    parts = {"potentials": slice(0, 2 * n), "heat": slice(2 * n, total)}
    matrices = dense(block), low_order_matrix(block)
    return {name: tuple(M[s, s][np.ix_(free[s], free[s])] for M in matrices) for name, s in parts.items()}


def segment_bound(order: int) -> float:
    """Largest eigenvalue of D'WD against two-point differences on one segment; theory.md section 5."""
    nodes, weights = (np.array(v) for v in elements.POINTS[order])
    D = elements.basis(order, nodes)[1]
    K = D.T @ (weights[:, None] * D)
    L = np.zeros_like(K)
    for i, gap in enumerate(np.diff(nodes)):
        L[i : i + 2, i : i + 2] += np.array([[1, -1], [-1, 1]]) / gap
    return float(eigh(K[1:, 1:], L[1:, 1:], eigvals_only=True)[-1])


def test_one_segment_has_the_spectrum_of_the_theory_page():
    assert segment_bound(1) == pytest.approx(1, rel=1e-14)
    assert segment_bound(2) == pytest.approx(4 / 3, rel=1e-14)
    assert segment_bound(3) == pytest.approx(1.545, abs=5e-4)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_operator_lies_between_the_low_order_scheme_and_its_segment_bound(order):
    """L <= A <= bound L for the potentials and for heat, on random widths over two decades and mixed materials.

    Eigenvalues of the dense pencil are good to 1e-9 at its condition number of 1e6. Both ends are nearly reached, so
    the bound of another scheme would not do; for p = 1 the two are one matrix.
    """
    rng = np.random.default_rng(order)
    lines = tuple(np.append(0.0, np.cumsum(10 ** rng.uniform(-9, -7, n))) for n in (3, 2, 2))
    block = Block((lines[0], lines[1], lines[2]), PATCH_DOMAIN, PATCHES, order, ground=[LEFT], bath=[LEFT])
    for name, (A, L) in blocks(block).items():
        values = eigh(A, L, eigvals_only=True)
        assert values[0] == pytest.approx(1, abs=1e-3) and values[0] > 1 - 1e-9, name
        assert values[-1] < segment_bound(order) * (1 + 1e-9), name
        assert values[-1] > 1 + 0.8 * (segment_bound(order) - 1) - 1e-9, name


# ------------------------------------------------------------------------------------------ success and failure


def test_the_solution_satisfies_the_equation_and_says_so():
    """The residual, recomputed with the dense matrix and its diagonal, is what the solver says, below the tolerance.

    Round-off in the two ways to apply the operator is 1e-13 at most. The dense solution is met to the tolerance times
    the square root of the condition number of the scaled operator, which is below 1e6.
    """
    block = patchwork(2)
    b = random_fields(block, 1)
    u, stats = solve.solve(block.system, block.law, b, tolerance=2e-11)
    free = np.asarray(block.system.free)
    A = dense(block)
    residual = free * (np.asarray(b) - A @ np.asarray(u))[:, 0]
    norm = np.linalg.norm(residual / np.sqrt(np.diag(A))) / np.linalg.norm(
        np.where(free, b[:, 0], 0.0) / np.sqrt(np.diag(A))
    )
    assert bool(stats.converged[0]) and 0 < int(stats.iterations[0]) < 100
    assert float(stats.relative_residual[0]) <= 2e-11
    assert norm == pytest.approx(float(stats.relative_residual[0]), abs=1e-13, rel=0)
    assert np.all(np.asarray(u)[free == 0] == 0)
    exact = np.zeros(len(free))
    inside = free > 0
    exact[inside] = np.linalg.solve(A[np.ix_(inside, inside)], np.asarray(b)[inside, 0])
    size = np.sqrt(np.diag(A))
    assert np.linalg.norm(size * (np.asarray(u)[:, 0] - exact)) < 1e-7 * np.linalg.norm(size * exact)


def test_too_few_steps_are_reported_and_leave_nothing_to_use():
    """The column that was not solved is NaN; the one beside it, of zeros, is solved and stays."""
    block = patchwork(2)
    b = random_fields(block, 1, columns=2).at[:, 1].set(0.0)
    u, stats = solve.solve(block.system, block.law, b, max_steps=1)
    assert np.asarray(stats.converged).tolist() == [False, True]
    assert np.all(np.isnan(u[:, 0])) and np.all(u[:, 1] == 0)
    assert float(stats.relative_residual[0]) > solve.TOLERANCE
    with pytest.raises(NotConverged, match="the heater: no convergence in 1 iterations"):
        solve.require_converged(stats, "the heater")


def test_a_zero_right_hand_side_has_the_zero_solution():
    block = patchwork(2)
    u, stats = solve.solve(block.system, block.law, jnp.zeros((block.disc.unknowns, 1)), tolerance=2e-11)
    assert np.all(u == 0) and bool(stats.converged[0]) and int(stats.iterations[0]) == 0
    solve.require_converged(stats, "nothing")


@pytest.mark.parametrize("factor", [1e-30, 1e-13, 1e30])
def test_a_tiny_or_huge_column_is_solved_like_any_other(factor):
    """Residuals over |b| make the iterations the same but for rounding, of single precision too."""
    block, u = patchwork(2), driven(2)
    scaled = block.solve(factor * drive(block))
    assert np.abs(scaled / factor - u).max() < BALANCE * np.abs(u).max()
    assert float(np.abs(u).max()) > 0


def test_columns_do_not_feel_each_other():
    """Columns of very different size and difficulty, together and alone."""
    block = patchwork(2)
    b = random_fields(block, 5, columns=3) * jnp.array([[1.0, 1e-12, 1e9]])
    b = b.at[:, 2].set(drive(block)[:, 0])
    together = block.solve(b)
    for k in range(3):
        alone = block.solve(b[:, k : k + 1])[:, 0]
        assert np.abs(alone).max() > 0
        assert np.abs(together[:, k] - alone).max() < 1e-8 * np.abs(alone).max()


def test_a_start_at_the_solution_needs_no_step_and_another_start_changes_nothing():
    block, u = patchwork(2), driven(2)
    _, stats = solve.solve(block.system, block.law, drive(block), x0=u, tolerance=2.1e-11)
    assert int(stats.iterations[0]) == 0 and bool(stats.converged[0])
    start = u * (1 + 0.1 * np.random.default_rng(0).standard_normal(u.shape))
    again, stats = solve.solve(block.system, block.law, drive(block), x0=start, tolerance=2.1e-11)
    assert bool(stats.converged[0]) and int(stats.iterations[0]) > 0
    assert np.abs(again - u).max() < BALANCE * np.abs(u).max()
