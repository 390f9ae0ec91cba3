"""Preconditioned conjugate gradients for the coupled problem, with derivatives through the equation.

This module knows the operator and its preconditioner; it knows no contact, no experiment and no signal.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float

from thermospin import operators
from thermospin.base.errors import NotConverged
from thermospin.base.quadrature import gauss_lobatto
from thermospin.grid import Grid
from thermospin.linear import multigrid
from thermospin.operators import Coefficients, Discretisation, Fields, Nodal

#: Default bound on the true relative residual.
TOLERANCE = 1e-9
#: Names of the mesh axes: the one that a grid is split along, and the one that parameter sets are shared out along.
SLABS, MEMBERS = "slabs", "members"
#: Default bound on the number of iterations.
MAX_STEPS = 400


class Shards(Protocol):
    """A system split over several accelerators, which solve it together; see `parallel.sharding`."""

    @property
    def mesh(self) -> Mesh:
        """The accelerators."""
        ...

    def pcg(self, law: Coefficients, b: Fields, x0: Fields, tolerance: Array, max_steps: Array) -> tuple[Fields, Stats]:
        """Run `pcg` on all of them."""
        ...


class System(eqx.Module):
    """The discrete problem with one set of nodes held at zero, and what is needed to precondition it.

    Attributes:
      disc: the discretisation.
      free: whether each entry of a field vector is unknown; if not, it is held at zero (unknowns,).
      mg: multigrid levels of the potentials and of the temperature, shared by all systems of a device.
      held: what of them depends on the held nodes.
      shards: the same split over several devices, which then solve it; see `sharded`.
      split: whether this is a device's share of it.
      beside: whether other members solve it for other parameters at the same time.
    """

    disc: Discretisation
    free: Bool[Array, " unknowns"]
    mg: tuple[multigrid.Multigrid, multigrid.Multigrid]
    held: tuple[multigrid.Held, multigrid.Held]
    shards: Shards | None = None
    split: bool = eqx.field(static=True, default=False)
    beside: bool = eqx.field(static=True, default=False)

    def everywhere(self, done: Bool[Array, ""]) -> Bool[Array, ""]:
        """Return True once all members are done: a message may wait for every device, so all take as many steps."""
        return lax.pmin(done.astype(int), MEMBERS) > 0 if self.beside else done

    def total(self, values: Array) -> Array:
        """Sums of all devices' shares."""
        return lax.psum(values, SLABS) if self.split else values


class Stats(eqx.Module):
    """How a solve went, per column.

    Of the solve that was asked for. A derivative needs another one, with the transposed operator if it is a reverse
    one, of which JAX returns nothing but the solution: where that one fails the derivative is NaN. The adjoint fields
    of `signals.evaluate` are solved for like any others, and their residuals reported.

    Attributes:
      iterations: conjugate gradient steps until the column was done.
      relative_residual: |b - A u| / |b|, recomputed at the end, in the norm |r|^2 = r.D^-1 r with D the diagonal of A,
        which makes amperes and watts comparable.
      start_residual: the same of the start.
      converged: whether the relative residual is below the tolerance.
    """

    iterations: Array
    relative_residual: Array
    start_residual: Array
    converged: Bool[Array, " columns"]


class SolveRequest(NamedTuple):
    """One solve: A u = b from a guess, see `solve`."""

    system: System
    law: Coefficients
    b: Fields
    guess: Fields
    tolerance: Array
    max_steps: Array


class Solver(Protocol):
    """Answers solve requests: this module itself by default, or `parallel.tasks`, which batches those of many tasks."""

    def __call__(self, request: SolveRequest) -> tuple[Fields, Stats]:
        """Return the solution, NaN in columns that did not converge, and how the solve went."""
        ...


def require_converged(
    stats: Stats, what: str, tolerance: float | None = None, because: Callable[[Stats, int], str] | None = None
) -> None:
    """Raises `NotConverged` unless every column did.

    Args:
      stats: from `solve`.
      what: what the message calls the solve.
      tolerance: what was asked for.
      because: explains a column that failed; is called for the worst one.
    """
    if bool(np.all(stats.converged)):
        return
    worst = int(np.argmax(np.where(np.isnan(stats.relative_residual), np.inf, stats.relative_residual)))
    asked = "" if tolerance is None else f", {tolerance:.1e} is asked for"
    why = "" if because is None else "\n" + because(stats, worst)
    raise NotConverged(
        f"{what}: no convergence in {int(stats.iterations[worst])} iterations, relative residual "
        f"{float(stats.relative_residual[worst]):.1e}{asked}{why}"
    )


def low_order_graphs(
    grid: Grid, disc: Discretisation, law: Coefficients, contact_V: np.ndarray
) -> tuple[multigrid.Graph, multigrid.Graph]:
    """The low-order scheme on the same nodes: the two potentials as one graph, and the temperature.

    Same cross-sections as the order-p operator, but each segment's D' W D replaced by the two-point differences between
    consecutive nodes: in one dimension the eigenvalues of one against the other lie in [1, 4/3] for p = 2, and so do
    those of the sum over axes. The Seebeck and Peltier terms are left out.

    Args:
      contact_V: number of the contact that each V-node is on, 0 for none: coarser levels keep them apart.
    """
    shape = [len(x) for x in grid.nodes]
    potentials = _graph(disc, law, True, np.unravel_index(disc.index_V, shape), contact_V)
    potentials = dataclasses.replace(potentials, mass=np.asarray(law.relaxation))
    return potentials, _graph(disc, law, False, np.unravel_index(disc.index_T, shape), disc.held_T)


def _graph(
    disc: Discretisation, law: Coefficients, of_V: bool, lines: tuple[np.ndarray, ...], kind: np.ndarray
) -> multigrid.Graph:
    tails, heads, axes, values = [], [], [], []
    for axis, segments in zip(disc.axes, law.segments, strict=True):
        reference = gauss_lobatto(axis.order)[0]
        # On the host: slices of JAX arrays would be compiled, one program for each of their sizes.
        conductance = np.asarray(segments.V).T if of_V else np.asarray(segments.TT)[None]
        nodes = np.asarray(axis.nodes_T)[:, : conductance.shape[1]]
        for local in range(axis.order):
            tails.append(nodes[local, 1:])
            heads.append(nodes[local + 1, 1:])
            axes.append(np.full(nodes.shape[1] - 1, axis.direction, np.int8))
            values.append(conductance[:, 1:] / (reference[local + 1] - reference[local]))
    tail, head, along, conductance = (np.concatenate(each, axis=-1) for each in (tails, heads, axes, values))
    if len(disc.axes) > 3:  # two nodes beside a cut cell are neighbours in both kinds of segments
        pair, first, number = np.unique(
            tail.astype(np.int64) * len(kind) + head, return_index=True, return_inverse=True
        )
        tail, head, along = tail[first], head[first], along[first]
        conductance = np.stack([np.bincount(number, each, len(pair)) for each in conductance])
    return multigrid.Graph(
        lines=np.stack(lines).astype(np.int32),
        tail=tail,
        head=head,
        axis=along,
        conductance=conductance,
        mass=np.zeros(len(kind)),
        kind=kind.astype(np.int16),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Preconditioner:
    """The multigrid of a device: potentials and temperature apart, for some values of its parameters."""

    potentials: multigrid.Hierarchy
    heat: multigrid.Hierarchy

    @property
    def operator_complexity(self) -> float:
        """Entries of the matrices of all levels over those of the first."""
        first = 2 * self.potentials.entries[0] + self.heat.entries[0]
        return (2 * sum(self.potentials.entries) + sum(self.heat.entries)) / first


def prepare(
    grid: Grid,
    disc: Discretisation,
    law: Coefficients,
    contact_V: np.ndarray,
    earlier: Preconditioner | None = None,
) -> Preconditioner:
    """Builds the multigrid for a law.

    Args:
      contact_V: number of the contact that each V-node is on, 0 for none.
      earlier: for another law on the same grid: the same nodes leave again, so that nothing is compiled anew.
    """
    graphs = low_order_graphs(grid, disc, law, contact_V)
    plans = (None, None) if earlier is None else (earlier.potentials.plan, earlier.heat.plan)
    made = [multigrid.build(graph, grid.nodes, plan) for graph, plan in zip(graphs, plans, strict=True)]
    return Preconditioner(made[0], made[1])


def hold(disc: Discretisation, made: Preconditioner, *held_V: np.ndarray) -> tuple[System, ...]:
    """The systems with V_up = V_down = 0 on each `held_V` (and T = 0 on the bath nodes of the discretisation)."""
    heat = multigrid.hold(made.heat, disc.held_T)
    return tuple(
        System(
            disc,
            jax.device_put(~np.concatenate([held, held, disc.held_T])),
            (made.potentials.mg, made.heat.mg),
            (multigrid.hold(made.potentials, held), heat),
        )
        for held in held_V
    )


def after(x: Array, done: Array) -> Array:
    """The same values, not known before `done` is: devices must send their messages in one order.

    Messages that do not depend on each other could be sent in another order by every device, and wait for each other
    for ever; virtual devices, which share threads, do so.
    """
    return x + 0 * done.ravel()[0].astype(x.dtype)


def precondition(system: System, r: Nodal, size: Float[Array, " columns"] | None = None) -> Nodal:
    """Approximates A^-1 r: the two potentials together and heat apart, each by one multigrid cycle in single precision.

    `size` is the norm of r, if that is known.

    The cycle works with the mean of the potentials and half their difference, in which strong relaxation between the
    two costs no digits.
    """
    size = jnp.sqrt(_dot(system, r, r)) if size is None else size
    size = jnp.where(size > 0, size, 1.0)  # keeps tiny and huge residuals inside the range of single precision

    def turned(V: Array) -> Array:
        return V * np.array([[1.0], [-1.0]]) + V[:, ::-1]

    single = [(fields / size).astype(jnp.float32) for fields in (turned(r.V), r.T[:, None])]
    V, T = (x.astype(size.dtype) * size for x in multigrid.cycles(system.mg, system.held, single))
    return Nodal(turned(V), T[:, 0])


def _free(system: System, x: Nodal) -> Nodal:
    """Zero at held nodes."""
    n = system.disc.nodes_V
    return Nodal(
        jnp.where(system.free[:n, None, None], x.V, 0.0),  # V_up and V_down are held together
        jnp.where(system.free[2 * n :, None], x.T, 0.0),
    )


def _matvec(system: System, law: Coefficients, x: Nodal) -> Nodal:
    return _free(system, operators.apply_nodal(system.disc, law, _free(system, x)))


def matvec(system: System, law: Coefficients, u: Fields) -> Fields:
    """A u on the free nodes, identity (zero in, zero out) on the held ones."""
    return operators.joined(_matvec(system, law, operators.nodal(system.disc, u)))


def _share(a: Nodal, b: Nodal) -> Float[Array, " columns"]:
    """A device's share of a.b."""
    return jnp.sum(a.V * b.V, axis=(0, 1)) + jnp.sum(a.T * b.T, axis=0)


def _dot(system: System, a: Nodal, b: Nodal) -> Float[Array, " columns"]:
    return system.total(_share(a, b))


def on_devices(
    system: System, law: Coefficients, b: Fields, x0: Fields, tolerance: Array, max_steps: Array
) -> tuple[Fields, Stats]:
    """`pcg`, on as many devices as the system is split over."""
    run = functools.partial(pcg, system) if system.shards is None else system.shards.pcg
    return run(law, b, x0, tolerance, max_steps)


# Traced once, though a differentiable solve holds it twice.
@eqx.filter_jit(inline=True)  # type: ignore[call-overload]
def pcg(
    system: System, law: Coefficients, b: Fields, x0: Fields, tolerance: Array, max_steps: Array
) -> tuple[Fields, Stats]:
    """Solves A x = b column by column; columns that are done stand still.

    The right-hand sides are scaled to norm one first, so that a column of 1e-30 is solved like any other; a column of
    zeros is answered by zeros.
    """
    # Where a device has fewer nodes than another there are empty rows.
    scale = jax.tree.map(lambda d: lax.rsqrt(jnp.where(d > 0, d, 1.0)), operators.diagonal(system.disc, law))

    def scaled(r: Nodal) -> Nodal:
        return jax.tree.map(lambda r, s: r * s, r, scale)

    def norms(r: Nodal) -> Array:
        """Return the norms of the scaled residual and of the residual itself, in one sum over devices."""
        return jnp.sqrt(system.total(jnp.stack([_share(each, each) for each in (scaled(r), r)])))

    given = _free(system, operators.nodal(system.disc, b))
    peak = functools.reduce(jnp.maximum, [jnp.max(jnp.abs(r), axis=range(r.ndim - 1)) for r in scaled(given)])
    peak = lax.pmax(peak, SLABS) if system.split else peak
    peak = jnp.where(peak > 0, peak, 1.0)
    total = peak * norms(jax.tree.map(lambda r: r / peak, given))[0]
    total = jnp.where(total > 0, total, 1.0)
    given = jax.tree.map(lambda r: r / total, given)
    start = jax.tree.map(lambda x: x / total, _free(system, operators.nodal(system.disc, x0)))

    def body(carry):
        # Either a step of conjugate gradients or, when the recursive residual is small, a look at the true one, from
        # which they start again if it is not: one program with one operator and one preconditioner in it.
        x, r, p, rz, error, size, begun, check, _, count, steps = carry
        z = lax.cond(check, lambda r, _: r, lambda r, size: precondition(system, r, size), r, size)
        if system.split:
            # The norms of r with r.z, in one sum over devices: known an iteration later than on one device.
            fresh, *squares = system.total(jnp.stack([_share(r, z), *(_share(each, each) for each in (scaled(r), r))]))
            error, size = (
                jnp.where(check, old, jnp.sqrt(new)) for old, new in zip((error, size), squares, strict=True)
            )
        else:
            fresh = _dot(system, r, z)
        active = error > tolerance
        turn = jnp.where(active & (rz > 0), fresh / jnp.where(rz > 0, rz, 1.0), 0.0)
        p = jax.tree.map(lambda z, p: z + turn * p, z, p)
        Av = _matvec(system, law, jax.tree.map(lambda x, p: jnp.where(check, x, p), x, p))
        curvature = _dot(system, p, Av)
        alpha = jnp.where(active & ~check, fresh / jnp.where(curvature > 0, curvature, 1.0), 0.0)
        x = jax.tree.map(lambda x, p: x + alpha * p, x, p)
        r = jax.tree.map(lambda r, b, Av: jnp.where(check, b - Av, r - alpha * Av), r, given, Av)
        if system.split:
            error, size = lax.cond(check, lambda r, *_: tuple(norms(r)), lambda _, *known: known, r, error, size)
        else:
            error, size = norms(r)
        begun = jnp.where(steps + ~check == 0, error, begun)
        steps += ~check
        pause = system.everywhere(jnp.all(error <= tolerance) | (steps >= max_steps))
        rz = jnp.where(check, 0.0, fresh)
        return x, r, p, rz, error, size, begun, ~check & pause, check & pause, count + (active & ~check), steps

    unknown = jnp.full(b.shape[1], jnp.inf)
    zeros = jnp.zeros(b.shape[1])
    nothing = jax.tree.map(jnp.zeros_like, given)
    flags = jnp.array(True), jnp.array(False)
    begin = (start, given, nothing, zeros, unknown, zeros, unknown, *flags, zeros.astype(int), 0)
    x, _, _, _, residual, _, begun, _, _, count, _ = lax.while_loop(lambda carry: ~carry[8], body, begin)
    return operators.joined(x) * total, Stats(count, residual, begun, residual <= tolerance)


def solve(
    system: System,
    law: Coefficients,
    b: Fields,
    *,
    x0: Fields | None = None,
    tolerance: float = TOLERANCE,
    max_steps: int = MAX_STEPS,
    solver: Solver | None = None,
) -> tuple[Fields, Stats]:
    """Solves A u = b for all columns; differentiable in `law` and `b`, forward and reverse.

    Args:
      system: discretisation, held nodes and preconditioner.
      law: coefficients of the operator.
      b: right-hand sides (unknowns, columns).
      x0: start, not differentiated.
      tolerance: bound on the true relative residual.
      max_steps: bound on the number of iterations.
      solver: what answers, outside of any trace; None: this module.
    Returns:
      fields, and how the solve went. A column that did not converge is filled with NaN, so that under `jax.jit`, where
      nothing can be raised, it is never mistaken for a result.
    """
    guess = jnp.zeros_like(b) if x0 is None else lax.stop_gradient(x0)
    # Numbers as arrays: another tolerance or another guess is not another program.
    request = SolveRequest(system, law, b, guess, jnp.asarray(tolerance), jnp.asarray(max_steps))
    if solver is None or any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((law, b))):
        return _solve(request)
    return solver(request)


def answer(request: SolveRequest) -> tuple[Fields, Stats]:
    """The solution, NaN in columns that did not converge; not differentiable."""
    system, law, b, *rest = request
    x, stats = on_devices(system, law, jnp.where(system.free[:, None], b, 0.0), *rest)
    return jnp.where(stats.converged, x, jnp.nan), stats


@eqx.filter_jit
def _solve(request: SolveRequest) -> tuple[Fields, Stats]:
    system, law = request.system, request.law
    forward = request._replace(law=lax.stop_gradient(law))

    def run(operator, rhs):
        del operator  # the same A for the solve and its transpose: it is symmetric
        return answer(forward._replace(b=rhs))

    def run_transposed(operator, rhs):
        del operator
        return answer(forward._replace(b=rhs, guess=jnp.zeros_like(rhs)))

    b = jnp.where(system.free[:, None], request.b, 0.0)
    return lax.custom_linear_solve(
        lambda u: matvec(system, law, u), b, run, run_transposed, symmetric=True, has_aux=True
    )
