"""Preconditioner: one multigrid V-cycle on the levels of a coarsened graph (`linear.coarsening`).

The two potentials of a node are one block: conductances of both channels along the same edges, relaxation between
them. The cycle runs in single precision and is not differentiated; the conjugate gradients around it carry the
precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from thermospin.base.arrays import AnyArray
from thermospin.linear.sparse import Rows, multiply

#: Steps of the smoother before and after the coarse correction, on the first level and on the others.
SMOOTHING_STEPS = (2, 3)
#: Type of conductances for the smoother, which does not feel the rounding: wide in range.
CONDUCTANCE = jnp.bfloat16
#: Interpolation weights are stored as whole numbers of this.
WEIGHT = 2.0**-15

#: Values at the nodes of a graph: one field, or the mean and half the difference of two potentials.
Values = Float[Array, "_ _ columns"]
#: State of the smoother on a level: x, its residual, and the next step.
Sweep = tuple[Values, Values, Values]
#: Entries a and d of 2 x 2 blocks [[a, b], [b, d]] (nodes, fields), and b (nodes,) of two fields.
Blocks = tuple[Float[Array, "nodes fields"], Float[Array, " nodes"] | None]


class Level(eqx.Module):
    """One level in the form that the cycle uses.

    Attributes:
      edges: conductances to the neighbours.
      diagonal: the diagonal blocks.
      interpolation: values at the nodes from those of the next level.
      restriction: its transpose.
    """

    edges: Rows
    diagonal: Blocks
    interpolation: Rows
    restriction: Rows


class Held(eqx.Module):
    """The part of the levels that depends on which nodes are held at zero.

    Attributes:
      free: for each level, whether a node is free.
      coarsest: inverse of the last level's matrix, zero at held nodes.
      tail: of the levels that one accelerator solves for all.
    """

    free: tuple[Bool[AnyArray, "*parts _"], ...]
    coarsest: Float[AnyArray, "*parts coarse coarse"]
    tail: Held | None = None


@runtime_checkable
class Tail(Protocol):
    """The coarse levels of a hierarchy that one accelerator solves for all; see `parallel.sharding`."""

    def cycles(self, tails: Sequence[Self], helds: Sequence[Held], rs: Sequence[Values]) -> list[Values]:
        """Return the rest of the cycles of several hierarchies, this one among them."""
        ...


class Multigrid(eqx.Module):
    """Levels from fine to coarse; `tail` has the further ones where one of many accelerators solves them for all."""

    levels: tuple[Level, ...]
    tail: Tail | None = None


def _at(free: Bool[Array, " nodes"], x: Values) -> Values:
    """Return values at free nodes, zero elsewhere."""
    return jnp.where(free[:, None, None], x, jnp.zeros((), x.dtype))


def _blocks(entries: Blocks, x: Values) -> Values:
    main, coupling = entries
    out = main[:, :, None] * x
    return out if coupling is None else out + coupling[:, None, None] * x[:, ::-1]


def inverse_blocks(main: Any, coupling: Any) -> tuple[Any, Any, Any]:
    """Return the inverses [[first, mixed], [mixed, second]] of diagonal blocks, NumPy's or JAX's (nodes,).

    By the Schur complement: a determinant of small conductances could leave the range of single precision.
    """
    xp = main.__array_namespace__()
    safe = xp.where(main > 0, main, 1.0)
    ratio = coupling / safe[:, 0]
    rest = main[:, 1] - coupling * ratio
    second = xp.where(rest > 0, 1.0 / xp.where(rest > 0, rest, 1.0), 0.0)
    return 1.0 / safe[:, 0] + ratio * ratio * second, second, -ratio * second


def smoother_factors(i: Any) -> tuple[Any, Any]:
    """Return what step i = 1, 2, ... of the smoother takes of the one before, if there is one, and of B^-1 r.

    Chebyshev polynomials of the fourth kind in B^-1 A, spectrum in [0, 2] (B has the diagonal blocks).

    Source: Lottes, Optimal polynomial smoothers for multigrid V-cycles, Numer. Linear Algebra Appl. 30 (2023), eq. 2.
    """
    return (2 * i - 3) / (2 * i + 1), (8 * i - 4) / (2 * i + 1) / 2


def _inverse(entries: Blocks) -> Blocks:
    """Return the inverse of the diagonal blocks."""
    main, coupling = entries
    if coupling is None:
        return 1.0 / jnp.where(main > 0, main, 1.0), None
    first, second, mixed = inverse_blocks(main, coupling)
    return jnp.stack([first, second], axis=1), mixed


def _smooth(levels: Sequence[tuple[Level, Array]], steps: int, first: int, begin: Sequence[Sweep]) -> list[Sweep]:
    """Smooth: each pass takes the step and computes the next one, from number `first` on, for each hierarchy."""
    inverses = [_inverse(level.diagonal) for level, _ in levels]  # once, not in every pass

    def advance(i: Array, sweeps: list[Sweep]) -> list[Sweep]:
        out = []
        products = multiply([level.edges for level, _ in levels], [step for *_, step in sweeps])
        for (level, free), inverse, (x, r, step), product in zip(levels, inverses, sweeps, products, strict=True):
            r = r - (_blocks(level.diagonal, step) - product)
            out.append((x + step, r, _next(inverse, free, i, step, r)))
        return out

    # A loop, because XLA would fuse unrolled steps into the gathers and recompute them once per neighbour.
    return lax.fori_loop(first, first + steps, advance, list(begin))


def _next(inverse: Blocks, free: Array, i: Array | int, step: Values, r: Values) -> Values:
    """Return step i = 1, 2, ... of the smoother from the one before."""
    i = jnp.asarray(i, r.dtype)
    of_step, of_fresh = smoother_factors(i)
    return jnp.where(i > 1, of_step, 0.0) * step + of_fresh * _at(free, _blocks(inverse, r))


def cycle(mg: Multigrid, held: Held, r: Values) -> Values:
    """Run one V-cycle from zero: an approximation of A^-1 r, symmetric and positive definite, zero at held nodes."""
    return cycles((mg,), (held,), (r,))[0]


def cycles(mgs: Sequence[Multigrid], helds: Sequence[Held], rs: Sequence[Values]) -> list[Values]:
    """Run `cycle` of several hierarchies level by level, so that on many accelerators they share their messages."""
    levels = [list(zip(mg.levels, held.free, strict=True)) for mg, held in zip(mgs, helds, strict=True)]
    stack: list[list[tuple[Values, Values]]] = [[] for _ in mgs]
    rs = list(rs)
    depth = max(map(len, levels))

    def those_with(number: int) -> tuple[list[int], list[tuple[Level, Array]]]:
        which = [k for k, hierarchy in enumerate(levels) if len(hierarchy) > number]
        return which, [levels[k][number] for k in which]

    for number in range(depth):
        which, here = those_with(number)
        zeros = [jnp.zeros_like(rs[k]) for k in which]
        begin = [
            (zero, rs[k], _next(_inverse(level.diagonal), free, 1, zero, rs[k]))
            for k, zero, (level, free) in zip(which, zeros, here, strict=True)
        ]
        smoothed = _smooth(here, SMOOTHING_STEPS[number > 0], 2, begin)
        left = [_at(free, residual) for (_, free), (_, residual, _) in zip(here, smoothed, strict=True)]
        coarse = multiply([level.restriction for level, _ in here], left)
        for k, (x, residual, _), r in zip(which, smoothed, coarse, strict=True):
            stack[k].append((x, residual))
            rs[k] = r
    if mgs[0].tail is not None:
        tails, rest = [mg.tail for mg in mgs if mg.tail is not None], [h.tail for h in helds if h.tail is not None]
        xs = mgs[0].tail.cycles(tails, rest, rs)
    else:
        xs = [_solve_coarsest(held, r) for held, r in zip(helds, rs, strict=True)]
    for number in reversed(range(depth)):
        which, here = those_with(number)
        fine = multiply([level.interpolation for level, _ in here], [xs[k] for k in which])
        begin = [
            (*stack[k][number], _at(free, correction))
            for k, (_, free), correction in zip(which, here, fine, strict=True)
        ]
        for k, (x, _, last) in zip(which, _smooth(here, SMOOTHING_STEPS[number > 0], 1, begin), strict=True):
            xs[k] = x + last
    return xs


def _solve_coarsest(held: Held, r: Values) -> Values:
    n, fields, columns = r.shape
    x = held.coarsest @ r.swapaxes(0, 1).reshape(fields * n, columns)
    return x.reshape(fields, n, columns).swapaxes(0, 1)
