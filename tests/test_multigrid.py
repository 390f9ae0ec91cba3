"""The multigrid cycle as a matrix on small graphs, what may share a coarse unknown, and iterations against grid size.

The cycle works in single precision, 6e-8 per operation and some tens of operations deep: 1e-5 of the largest entry.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import eigh

from problems import LEFT, PATCH_DOMAIN, PATCH_LINES, PATCH_PORT, PATCHES, RIGHT, Block, clustered, patchwork
from thermospin import multigrid, solve
from thermospin.multigrid import Graph
from thermospin.solve import System

SINGLE = 1e-5

cycle = eqx.filter_jit(multigrid.cycle)
precondition = eqx.filter_jit(solve.precondition)


def graph_of(block: Block) -> tuple[Graph, list[np.ndarray], np.ndarray]:
    """Low-order graph, widths, and the V-nodes that are held."""
    held_V = np.asarray(block.system.free)[: block.disc.nodes_V] == 0
    graph, widths = solve.low_order_graph(block.grid, block.disc, block.law, held_V)
    return graph, widths, held_V


def system_of(block: Block, coarsest: int, monkeypatch: pytest.MonkeyPatch) -> System:
    """The system of a block with levels down to `coarsest` unknowns."""
    monkeypatch.setattr(multigrid, "COARSEST", coarsest)
    graph, widths, held_V = graph_of(block)
    return solve.hold(block.disc, multigrid.build(graph, widths), held_V)


def cycle_matrix(system: System) -> np.ndarray:
    identity = jnp.eye(system.disc.unknowns, dtype=jnp.float32)
    return np.asarray(cycle(system.mg, system.held, identity), float)


def matrix_of(graph: Graph) -> np.ndarray:
    A = np.diag(graph.diagonal)
    np.add.at(A, (graph.tail, graph.head), -graph.conductance)
    np.add.at(A, (graph.head, graph.tail), -graph.conductance)
    return A


@pytest.mark.parametrize("order", [1, 2])
def test_the_cycle_is_symmetric_positive_and_close_to_the_inverse(order, monkeypatch):
    """On free nodes; measured: eigenvalues of cycle times matrix in [0.41, 1.16], a third is left on either side."""
    block = patchwork(order)
    system = system_of(block, 30, monkeypatch)
    assert len(system.mg.levels) >= 2, "a cycle, not a dense solve"
    A, M = matrix_of(graph_of(block)[0]), cycle_matrix(system)
    free = np.flatnonzero(np.asarray(system.free))
    A, M = (X[np.ix_(free, free)] for X in (A, M))
    size = np.sqrt(np.diag(A))
    scaled = M * np.outer(size, size)
    assert np.abs(scaled - scaled.T).max() < SINGLE * np.abs(scaled).max()
    assert np.linalg.eigvalsh(scaled)[0] > 0.2
    values = eigh((M + M.T) / 2, np.linalg.inv(A), eigvals_only=True)
    assert 0.3 < values[0] and values[-1] < 1.5, values[[0, -1]]
    assert values[-1] - values[0] > 0.1, "not an exact solve"


def test_held_nodes_give_and_take_nothing(monkeypatch):
    system = system_of(patchwork(2), 30, monkeypatch)
    held = np.asarray(system.free) == 0
    M = cycle_matrix(system)
    assert 0 < held.sum() < len(held)
    assert np.all(M[held] == 0) and np.all(M[:, held] == 0)
    assert np.all(np.diag(M)[~held] > 0)
    r = jnp.asarray(np.random.default_rng(0).standard_normal((len(held), 2)))
    z = np.asarray(precondition(system, r))
    assert np.all(z[held] == 0) and np.all(np.abs(z).max(axis=0) > 0)


def test_preconditioning_keeps_its_precision_for_tiny_and_huge_residuals():
    """1e-60 and 1e60 lie outside single precision; scaling by the norm brings them back."""
    system = patchwork(2).system
    r = jnp.asarray(np.random.default_rng(1).standard_normal((system.disc.unknowns, 1)))
    z = np.asarray(precondition(system, r))
    for factor in (1e-60, 1e60):
        again = np.asarray(precondition(system, factor * r)) / factor
        assert np.abs(again - z).max() < SINGLE * np.abs(z).max()


# ------------------------------------------------------------------------------------------ who shares an unknown


def wires(gap: int) -> Block:
    """Two wires along x, 4 nm wide, 1 nm apart; domain `gap` fills the space between them, -1 is void."""
    x, y = clustered(400e-9, 40, 1.0), np.array([0.0, 2.0, 4.0, 5.0, 7.0, 9.0]) * 1e-9
    domain = np.ones((40, 5, 1), int)
    domain[:, 2] = gap
    return Block((x, y, np.array([0.0, 4e-9])), domain, PATCHES, 1, ground=[LEFT], bath=[LEFT, RIGHT])


def parts_in_common(block: Block, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """How many coarse nodes hold nodes of several fields, and of both wires, over all levels."""
    system = system_of(block, 20, monkeypatch)
    disc, levels = block.disc, system.mg.levels
    assert len(levels) >= 3 and len(system.mg.coarsest) < disc.unknowns / 20, "there is something to share"
    y = block.grid.nodes[1]
    wire = [y[np.unravel_index(index, block.shape)[1]] > 4.5e-9 for index in (disc.index_V, disc.index_T)]
    label = np.concatenate([wire[0], 2 + wire[0], 4 + wire[1]])
    fields = both = 0
    owner = np.arange(disc.unknowns)
    for level in levels:
        owner = np.asarray(level.parent)[owner]
        for node in range(owner.max() + 1):
            inside = np.unique(label[owner == node])
            assert len(inside) > 0
            fields += len(np.unique(inside // 2)) > 1
            both += len(np.unique(inside % 2)) > 1
    return fields, both


def test_wires_that_touch_nowhere_share_no_unknown(monkeypatch):
    assert parts_in_common(wires(gap=-1), monkeypatch) == (0, 0)


def test_wires_with_metal_between_them_do_share_unknowns(monkeypatch):
    """The control: it is connectivity, not distance, that keeps them apart; fields never meet."""
    fields, both = parts_in_common(wires(gap=1), monkeypatch)
    assert fields == 0 and both > 0


def test_heat_crosses_an_insulating_gap_and_charge_does_not(monkeypatch):
    block = wires(gap=2)
    system = system_of(block, 20, monkeypatch)
    graph = graph_of(block)[0]
    n = block.disc.nodes_V
    owner = np.arange(block.disc.unknowns)
    for level in system.mg.levels:
        owner = np.asarray(level.parent)[owner]
    lines = graph.lines[1]
    first, second = lines <= 2, lines >= 3
    potential = np.arange(len(lines)) < 2 * n

    def shared(field: np.ndarray) -> set[int]:
        return set(owner[field & first]) & set(owner[field & second])

    assert not shared(potential) and shared(~potential)


def test_contact_faces_stay_apart_from_the_inside(monkeypatch):
    """A coarse node is held entirely or not at all; otherwise a contact would hold what lies beside it."""
    block = patchwork(3)
    system = system_of(block, 30, monkeypatch)
    held = np.asarray(system.free) == 0
    for level, inverse in zip(system.mg.levels, system.held.inverse_diagonal, strict=True):
        assert np.array_equal(np.asarray(inverse) == 0, held)
        parent = np.asarray(level.parent)
        count = np.bincount(parent, held)
        assert np.all((count == 0) | (count == np.bincount(parent)))
        held = count > 0
    assert 0 < held.sum() < len(held)


# ------------------------------------------------------------------------------------------ how many iterations


def refined(order: int, times: int) -> Block:
    """The patchwork with every cell cut into times^3."""
    lines = [np.append(np.linspace(x[:-1], x[1:], times, endpoint=False, axis=1).ravel(), x[-1]) for x in PATCH_LINES]
    domain = PATCH_DOMAIN.repeat(times, 0).repeat(times, 1).repeat(times, 2)
    ground = (0, 0, domain[0] != 2)
    return Block((lines[0], lines[1], lines[2]), domain, PATCHES, order, ground=[ground], bath=[LEFT, RIGHT])


def test_iterations_hardly_grow_with_the_grid(monkeypatch):
    """From 2.7 thousand to 18 thousand unknowns, two and three levels; measured 23 and 26 at the default tolerance.

    Without a coarse grid they would double with every halving of the cells. The bound is a factor of 1.3.
    """
    counts = []
    for times in (2, 4):
        block = refined(2, times)
        system = system_of(block, 700, monkeypatch)
        _, stats = solve.solve(system, block.law, block.drive(PATCH_PORT, J=(1e10, 1e10)))
        assert bool(stats.converged[0]) and len(system.mg.levels) >= 2
        assert system.mg.operator_complexity < 2.5
        counts.append(int(stats.iterations[0]))
    assert 10 < counts[1] <= 1.3 * counts[0] <= 45, counts


def test_a_problem_smaller_than_the_dense_solve_needs_no_level(monkeypatch):
    block = patchwork(1)
    system = system_of(block, multigrid.COARSEST, monkeypatch)
    assert len(system.mg.levels) == 0
    u, stats = solve.solve(system, block.law, block.drive(PATCH_PORT, J=(1e10, 1e10)))
    assert bool(stats.converged[0])
    assert float(jnp.abs(u).max()) > 0
