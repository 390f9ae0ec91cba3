"""Preconditioned conjugate gradients for the coupled problem, with derivatives through the equation.

This module knows the operator and its preconditioner; it knows no contact, no experiment and no signal.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from thermospin import operators
from thermospin.base import compilation
from thermospin.base.arrays import AnyArray
from thermospin.base.errors import NotConverged
from thermospin.base.graphs import components
from thermospin.base.quadrature import gauss_lobatto
from thermospin.grid import Grid
from thermospin.linear import coarsening, multigrid
from thermospin.linear.preconditioner import Preconditioner
from thermospin.operators import Coefficients, Discretisation, Fields, Nodal

#: Default bound on the true relative residual.
TOLERANCE = 1e-9
#: Default bound on the number of iterations.
MAX_STEPS = 400
#: Rounding of u alone leaves a residual of about eps |D^(1/2) u|, D the diagonal of A, in the norm of `Stats`; this
#: multiple bounds it (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 17.2).
ROUNDING = 4.0
#: How often a solve reads its system, roughly: in 15 to 30 iterations, each with a few products on every level.
PASSES = 100
#: Partial sums of a dot product, for each column.
PARTIAL = 8
#: A relative residual above this is not accepted, whatever rounding leaves.
ROUGHEST = 1e-5


@runtime_checkable
class Across(Protocol):
    """Messages between accelerators that each hold a part of a system; see `parallel.sharding`."""

    def sum(self, values: Array) -> Array:
        """Return the sum over all parts."""
        ...

    def max(self, values: Array) -> Array:
        """Return the maximum over all parts."""
        ...

    def all(self, done: Bool[Array, ""]) -> Bool[Array, ""]:
        """Return True once every system that is solved at the same time is done."""
        ...


@runtime_checkable
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
      free: whether each entry of a field vector is unknown; if not, it is held at zero or merged (unknowns,).
      mg: multigrid levels of the potentials and of the temperature, shared by all systems of a device.
      held: what of them depends on the held nodes.
      shards: the same system split over accelerators, which then solve it.
      across: in the part of one accelerator, the way to the others.
    """

    disc: Discretisation
    free: Bool[AnyArray, "*parts unknowns"]
    mg: tuple[multigrid.Multigrid, multigrid.Multigrid]
    held: tuple[multigrid.Held, multigrid.Held]
    shards: Shards | None = None
    across: Across | None = eqx.field(static=True, default=None)

    def sum(self, values: Array) -> Array:
        """Return the sum over the parts of the system."""
        return values if self.across is None else self.across.sum(values)


class Stats(eqx.Module):
    """Statistics of a solve, per column.

    Covers the forward solve only. The solve behind a derivative reports nothing; if it fails, the derivative is NaN.
    The adjoint fields of `signals.evaluate` are solved for like any others, and their residuals reported.

    Attributes:
      iterations: conjugate gradient steps until the column was done.
      relative_residual: |b - A u| / |b|, recomputed at the end, in the norm |r|^2 = r.D^-1 r with D the diagonal of A,
        which makes amperes and watts comparable.
      start_residual: the same of the start.
      converged: whether the relative residual is below the tolerance; or, below `ROUGHEST`, within what rounding may
        leave, while the recursive residual of conjugate gradients came below the tolerance.
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

    @classmethod
    def of(
        cls, system: System, law: Coefficients, b: Fields, guess: Fields | None, tolerance: float, max_steps: int
    ) -> SolveRequest:
        """Return a request, from zero without a guess."""
        # Numbers as arrays: other numbers are not another program. Of numpy: a trace takes no notice of them.
        numbers: Any = np.asarray(tolerance, float), np.asarray(max_steps)
        zeros = np.zeros(b.shape) if isinstance(b, np.ndarray) else jnp.zeros_like(b)
        return cls(system, law, b, zeros if guess is None else guess, *numbers)


@runtime_checkable
class Solver(Protocol):
    """Answers solve requests: this module itself by default, or `parallel.tasks`, which batches those of many tasks."""

    def __call__(self, request: SolveRequest) -> tuple[Fields, Stats]:
        """Return the solution, NaN in columns that did not converge, and how the solve went."""
        ...


def require_converged(
    stats: Stats, what: str, tolerance: float | None = None, because: Callable[[Stats, int], str] | None = None
) -> None:
    """Raise `NotConverged` unless every column did.

    Args:
      stats: from `solve`.
      what: what the message calls the solve.
      tolerance: what was asked for.
      because: explains a column that failed; is called for the worst one.
    """
    if np.asarray(stats.converged).all():
        return
    residuals = np.asarray(stats.relative_residual)
    worst = int(np.argmax(np.where(np.isnan(residuals), np.inf, residuals)))
    asked = "" if tolerance is None else f", {tolerance:.1e} is asked for"
    why = "" if because is None else "\n" + because(stats, worst)
    raise NotConverged(
        f"{what}: no convergence in {int(stats.iterations[worst])} iterations, relative residual "
        f"{float(stats.relative_residual[worst]):.1e}{asked}{why}"
    )


def low_order_graphs(
    grid: Grid, disc: Discretisation, law: Coefficients, contact_V: np.ndarray
) -> tuple[coarsening.Graph, coarsening.Graph]:
    """Return the low-order scheme on the same nodes: the two potentials as one graph, and the temperature.

    Same cross-sections as the order-p operator, but each segment's D' W D replaced by the two-point differences between
    consecutive nodes: in one dimension the eigenvalues of one against the other lie in [1, 4/3] for p = 2, and so do
    those of the sum over axes. The Seebeck and Peltier terms are left out.

    Args:
      contact_V: number of the contact that each V-node is on, 0 for none: coarser levels keep them apart.
    """
    shape = [len(x) for x in grid.nodes]
    potentials = _graph(disc, law, True, np.unravel_index(disc.index_V, shape), contact_V)
    mass = np.array(law.relaxation)
    if disc.merged is not None:
        merged, other = disc.merged.V
        np.add.at(mass, other, mass[merged])
        mass[merged] = 0.0
    potentials = dataclasses.replace(potentials, mass=mass)
    return potentials, _graph(disc, law, False, np.unravel_index(disc.index_T, shape), disc.held_T)


def _graph(
    disc: Discretisation, law: Coefficients, of_V: bool, lines: tuple[np.ndarray, ...], kind: np.ndarray
) -> coarsening.Graph:
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
    tail, head, along, conductance = (np.concatenate(part, axis=-1) for part in (tails, heads, axes, values))
    if disc.merged is not None:
        pairs = np.asarray(disc.merged.V if of_V else disc.merged.T)
        tail, head, along, conductance = coarsening.contracted(pairs, tail, head, along, conductance)
    if len(disc.axes) > 3:  # two nodes of a cut cell are neighbours in both kinds of segments
        pair, first, number = np.unique(
            tail.astype(np.int64) * len(kind) + head, return_index=True, return_inverse=True
        )
        tail, head, along = tail[first], head[first], along[first]
        conductance = np.stack([np.bincount(number, part, len(pair)) for part in conductance])
    return coarsening.Graph(
        lines=np.stack(lines).astype(np.int32),
        tail=tail,
        head=head,
        axis=along,
        conductance=conductance,
        mass=np.zeros(len(kind)),
        kind=kind.astype(np.int16),
    )


def hold(disc: Discretisation, made: Preconditioner, *held_V: np.ndarray) -> tuple[System, ...]:
    """Return the systems with V_up = V_down = 0 on each `held_V`, and T = 0 on the bath nodes of the discretisation.

    On a piece of metal without held nodes potentials are defined up to a constant, which no signal sees.
    """
    heat, pieces = coarsening.hold(made.heat, disc.held_T), _pieces(disc)
    of_V, of_T = np.ones(disc.nodes_V, bool), ~disc.held_T
    if disc.merged is not None:
        of_V[disc.merged.V[0]] = False
        of_T[disc.merged.T[0]] = False
    return tuple(
        System(
            disc,
            jax.device_put(np.concatenate([of_V & ~held, of_V & ~held, of_T])),
            (made.potentials.mg, made.heat.mg),
            (coarsening.hold(made.potentials, held, pieces), heat),
        )
        for held in held_V
    )


def _pieces(disc: Discretisation) -> np.ndarray:
    """Return the piece of metal that each V-node belongs to (nodes_V,)."""
    ends = [np.zeros((2, 0), int)] if disc.merged is None else [np.asarray(disc.merged.V)]
    for axis in disc.axes:
        nodes = np.asarray(axis.nodes_T)[:, 1 : axis.metal]  # on the host, as above
        ends += [np.stack(pair) for pair in itertools.pairwise(nodes)]
    return components(disc.nodes_V, np.concatenate(ends, axis=1).T)


def precondition(system: System, r: Nodal, size: Float[Array, " columns"] | None = None) -> Nodal:
    """Approximates A^-1 r: the potentials together and heat apart, each by one cycle in the precision of its levels.

    `size` is what r is divided by before: a norm of it, such as that in the norm of `Stats`.

    The cycle works with the mean of the potentials and half their difference, in which strong relaxation between the
    two costs no digits.
    """
    size = jnp.sqrt(_dot(system, r, r)) if size is None else size
    size = jnp.where(size > 0, size, 1.0)  # keeps tiny and huge residuals inside the range of single precision

    def turned(V: Array) -> Array:
        return V * jnp.array([1.0, -1.0], V.dtype)[None, :, None] + V[:, ::-1]

    sizes = size[None, None]
    scaled = [
        (fields / sizes).astype(held.coarsest.dtype)
        for fields, held in zip((turned(r.V), r.T[:, None]), system.held, strict=True)
    ]
    V, T = (x.astype(size.dtype) * sizes for x in multigrid.cycles(system.mg, system.held, scaled))
    return Nodal(turned(V), T[:, 0])


def _free(system: System, x: Nodal) -> Nodal:
    """Return values that are zero at held nodes."""
    n = system.disc.nodes_V
    return Nodal(
        jnp.where(system.free[:n, None, None], x.V, 0.0),  # V_up and V_down are held together
        jnp.where(system.free[2 * n :, None], x.T, 0.0),
    )


def _spread(system: System, x: Nodal) -> Nodal:
    """Return values with those of merged nodes filled in."""
    merged = system.disc.merged
    if merged is None:
        return x
    return Nodal(x.V.at[merged.V[0]].set(x.V[merged.V[1]]), x.T.at[merged.T[0]].set(x.T[merged.T[1]]))


def _collected(system: System, y: Nodal) -> Nodal:
    """Return the transpose of `_spread`, on the free nodes."""
    merged = system.disc.merged
    if merged is not None:
        y = Nodal(y.V.at[merged.V[1]].add(y.V[merged.V[0]]), y.T.at[merged.T[1]].add(y.T[merged.T[0]]))
    return _free(system, y)


def _matvec(system: System, law: Coefficients, x: Nodal) -> Nodal:
    return _collected(system, operators.apply_nodal(system.disc, law, _spread(system, _free(system, x))))


def restricted(system: System, b: Fields) -> Fields:
    """Return right-hand sides on the free nodes, zero on the others."""
    if system.disc.merged is None:
        return jnp.where(system.free[:, None], b, 0.0)
    return operators.joined(_collected(system, operators.nodal(system.disc, b)))


def matvec(system: System, law: Coefficients, u: Fields) -> Fields:
    """Return A u on the free nodes, identity (zero in, zero out) on the held ones."""
    return operators.joined(_matvec(system, law, operators.nodal(system.disc, u)))


def _part(a: Nodal, b: Nodal) -> Float[Array, " columns"]:
    """Return a.b of this accelerator's part."""
    return _summed(a.V * b.V) + _summed(a.T * b.T)


def _summed(x: Float[Array, "*_ columns"]) -> Float[Array, " columns"]:
    """Return the sum over all axes but the last; in partial sums, as a CPU adds few columns a few numbers at a time."""
    columns = x.shape[-1]
    flat, lanes = x.reshape(-1), PARTIAL * columns
    whole = flat.size // lanes * lanes
    partial = jnp.sum(flat[:whole].reshape(-1, lanes), axis=0).reshape(-1, columns)
    return jnp.sum(partial, axis=0) + jnp.sum(flat[whole:].reshape(-1, columns), axis=0)


def _dot(system: System, a: Nodal, b: Nodal) -> Float[Array, " columns"]:
    return system.sum(_part(a, b))


class _State(NamedTuple):
    """The state of conjugate gradients; columns that are done stand still.

    Attributes:
      x: solution so far.
      residual: of x over the norm of the right-hand side, by recursion, or true after a check.
      direction: of the last step; x at a check.
      rz: residual times preconditioned residual of the last step, 0 after a check, from which directions start again.
      error: norm of the scaled residual, which the tolerance bounds.
      start_error: the error of the start.
      check: whether the next pass computes the true residual in place of a step.
      settled: whether a true residual was below the tolerance, or what rounding leaves.
      done: whether all columns are settled, or the steps are used up.
      iterations: steps of each column.
      steps: steps taken.
    """

    x: Nodal
    residual: Nodal
    direction: Nodal
    rz: Float[Array, " columns"]
    error: Float[Array, " columns"]
    start_error: Float[Array, " columns"]
    check: Bool[Array, ""]
    settled: Bool[Array, " columns"]
    done: Bool[Array, ""]
    iterations: Int[Array, " columns"]
    steps: Int[Array, ""]


def _scale(system: System, law: Coefficients) -> Nodal:
    """Return D^(-1/2), D the diagonal of A: 1 in empty rows, which an accelerator has that has fewer nodes."""
    diagonal = operators.diagonal(system.disc, law)
    if system.disc.merged is not None:
        diagonal = _collected(system, diagonal)
    return jax.tree.map(lambda d: lax.rsqrt(jnp.where(d > 0, d, 1.0)), diagonal)


def _begin(start: Nodal) -> _State:
    """Return the state of conjugate gradients before the first look at the true residual."""
    columns = start.T.shape[1]
    unknown, zeros = jnp.full(columns, jnp.inf), jnp.zeros(columns)
    return _State(
        x=start,
        residual=jax.tree.map(jnp.zeros_like, start),
        direction=jax.tree.map(jnp.zeros_like, start),
        rz=zeros,
        error=unknown,
        start_error=unknown,
        check=jnp.array(True),
        settled=jnp.full(columns, False),
        done=jnp.array(False),
        iterations=zeros.astype(int),
        steps=jnp.array(0),
    )


# Traced once, though a differentiable solve holds it twice.
@eqx.filter_jit(inline=True)  # type: ignore[call-overload]
def pcg(
    system: System, law: Coefficients, b: Fields, x0: Fields, tolerance: Array, max_steps: Array
) -> tuple[Fields, Stats]:
    """Solve A x = b column by column; columns that are done stand still.

    Residuals are over the norms of the right-hand sides, so that a column of 1e-30 is solved like any other; a column
    of zeros is answered by zeros.
    """
    across = system.across
    scale = _scale(system, law)
    one = jnp.where(max_steps < 0, 2.0, 1.0)  # which XLA does not know

    def square(r: Nodal) -> Array:
        """Return this part of the squared norm of the scaled residual."""
        scaled = jax.tree.map(lambda r, s: r * s, r, scale)
        return _part(scaled, scaled)

    def norm(r: Nodal) -> Array:
        return jnp.sqrt(system.sum(square(r)))

    def rounding(x: Nodal) -> Array:
        """Return the residual that rounding of x alone leaves, at most."""
        size = jax.tree.map(jnp.divide, x, scale).over(total)
        return jnp.minimum(ROUNDING * jnp.finfo(b.dtype).eps * jnp.sqrt(_dot(system, size, size)), ROUGHEST)

    given = _collected(system, operators.nodal(system.disc, b))
    total = _norm(system, given, scale, norm)
    start = _free(system, operators.nodal(system.disc, x0))

    def advance(state: _State) -> _State:
        # Either a step of conjugate gradients or, when the recursive residual is small, a look at the true one, from
        # which they start again if it is not: one program with one operator and one preconditioner in it.
        x, r, p, check, error = state.x, state.residual, state.direction, state.check, state.error
        z = lax.cond(
            check, lambda x, *_: x, lambda _, r, error: precondition(system, r, error).times(total), x, r, error
        )
        if across is None:
            fresh = _dot(system, r, z)
        else:
            # The norm of r with r.z, in one message: known an iteration later than on one accelerator.
            fresh, known = across.sum(jnp.stack([_part(r, z), square(r)]))
            error = jnp.where(check, error, jnp.sqrt(known))
        active = (error > tolerance) & ~state.settled
        turn = jnp.where(active & ~check & (state.rz > 0), fresh / jnp.where(state.rz > 0, state.rz, 1.0), 0.0)
        p = jax.tree.map(jnp.add, z, p.times(turn))
        # Over one: without a division XLA would keep all gathers and add them up again wherever the sum is used.
        Av = jax.tree.map(lambda x: x / one, _matvec(system, law, p)).over(total)
        curvature = _dot(system, p, Av)
        alpha = jnp.where(active & ~check, fresh / jnp.where(curvature > 0, curvature, 1.0), 0.0)
        x = jax.tree.map(jnp.add, x, p.times(alpha))
        r = jax.tree.map(
            lambda r, b, Av, step: jnp.where(check, b - Av, r - step), r, given.over(total), Av, Av.times(alpha)
        )
        error = norm(r) if across is None else lax.cond(check, norm, lambda _: error, r)
        steps = state.steps + jnp.where(check, 0, 1)
        start_error = jnp.where(steps == 0, error, state.start_error)
        # Rounding is accepted where the recursive residual has come below the tolerance and the true one cannot.
        floor = lax.cond(check, rounding, lambda _: jnp.zeros_like(error), x)
        accepted = (error <= tolerance) | ((state.error <= tolerance) & (error <= floor))
        settled = state.settled | (check & accepted)
        pause = jnp.all((error <= tolerance) | settled) | (steps >= max_steps)
        if across is not None:
            pause = across.all(pause)
        rz, iterations = jnp.where(check, 0.0, fresh), state.iterations + jnp.where(active & ~check, 1, 0)
        return _State(x, r, p, rz, error, start_error, ~check & pause, settled, check & pause, iterations, steps)

    end = lax.while_loop(lambda state: ~state.done, advance, _begin(start))
    return operators.joined(_spread(system, end.x)), Stats(end.iterations, end.error, end.start_error, end.settled)


def _norm(system: System, b: Nodal, scale: Nodal, norm: Callable[[Nodal], Array]) -> Float[Array, " columns"]:
    """Return the norm of b, 1 for zeros; in two steps, so that no square overflows."""
    scaled = jax.tree.map(lambda r, s: r * s, b, scale)
    peak = functools.reduce(jnp.maximum, [jnp.max(jnp.abs(r), axis=range(r.ndim - 1)) for r in scaled])
    peak = peak if system.across is None else system.across.max(peak)
    peak = jnp.where(peak > 0, peak, 1.0)
    total = peak * norm(b.over(peak))
    return jnp.where(total > 0, total, 1.0)


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
    """Solve A u = b for all columns; differentiable in `law` and `b`, forward and reverse.

    Args:
      system: discretisation, held nodes and preconditioner.
      law: coefficients of the operator.
      b: right-hand sides (unknowns, columns).
      x0: start, not differentiated.
      tolerance: bound on the true relative residual; where rounding leaves more, that is accepted, see `Stats`.
      max_steps: bound on the number of iterations.
      solver: what answers, outside of any trace; None: this module.
    Returns:
      fields, and how the solve went. A column that did not converge is filled with NaN, so that under `jax.jit`, where
      nothing can be raised, it is never mistaken for a result.
    """
    guess = None if x0 is None else lax.stop_gradient(x0)
    request = SolveRequest.of(system, law, b, guess, tolerance, max_steps)
    return solve_request(request, solver)


def solve_request(request: SolveRequest, solver: Solver | None = None) -> tuple[Fields, Stats]:
    """Solve as `solve` does, arguments in one; a program for derivatives, which takes longer to make, under a trace."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((request.law, request.b))):
        return _solve(request)
    return (solver or answer)(request)


def iterate(request: SolveRequest) -> tuple[Fields, Stats]:
    """Run `pcg` on all accelerators that the system is split over; return the last iterate, converged or not."""
    system, law, b, *rest = request
    run = functools.partial(pcg, system) if system.shards is None else system.shards.pcg
    return run(law, b, *rest)


def _answer(request: SolveRequest) -> tuple[Fields, Stats]:
    """Return the solution, NaN in columns that did not converge; not differentiable."""
    x, stats = iterate(request)
    return jnp.where(stats.converged[None], x, jnp.nan), stats


answer = compilation.jit(_answer, often=True)
#: The same for what is solved only a few times.
answer_once = compilation.jit(_answer, passes=PASSES)


@eqx.filter_jit
def _solve(request: SolveRequest) -> tuple[Fields, Stats]:
    system, law = request.system, request.law
    forward = request._replace(law=lax.stop_gradient(law))

    # The operator that JAX hands in is the same A for the solve and its transpose: it is symmetric.
    def run(operator: Callable[[Fields], Fields], rhs: Fields) -> tuple[Fields, Stats]:
        del operator
        return answer(forward._replace(b=rhs))

    def run_transposed(operator: Callable[[Fields], Fields], rhs: Fields) -> tuple[Fields, Stats]:
        del operator
        return answer(forward._replace(b=rhs, guess=jnp.zeros_like(rhs)))

    b = restricted(system, request.b)
    return lax.custom_linear_solve(
        lambda u: matvec(system, law, u), b, run, run_transposed, symmetric=True, has_aux=True
    )
