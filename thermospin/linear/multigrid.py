"""Preconditioner: one multigrid V-cycle on the graph of the low-order scheme.

Levels are small graphs: nodes that sit on grid lines, edges that remember their axis, conductances per edge, a mass per
node. The next level keeps some of the nodes and leaves the others out:

- Grid lines die in the order of their spacing, never two neighbours at once, which equalises widths; a node on a dead
  line leaves only along an axis along which it is strongly coupled, so that thin and graded cells need no line
  smoothers.
- A node that leaves is interpolated between its neighbours on the axis, weighted with their conductances. Neighbours
  are nodes that it touches: conductors that come close without touching never share an unknown.
- Edges of nodes that left are handed to those they are interpolated from. In series along the axis that is the exact
  elimination; across it, conductances are lumped, and what lumping misses of the energy is added along the axis. The
  coarse matrix so bounds the energy of interpolated fields from above (up to small terms): eigenvalues of the
  preconditioned matrix hardly exceed one, whatever the contrast.

The two potentials of a node are one block: conductances of both channels along the same edges, relaxation between
them. The cycle runs in single precision and is not differentiated; the conjugate gradients around it carry the
precision. This module knows graphs; it knows no physics, no grid order and no experiment.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float
from scipy.sparse import csr_array, eye_array

from thermospin.linear.sparse import Rows, multiply

#: Steps of the smoother before and after the coarse correction, on the first level and on the others.
SMOOTHING_STEPS = (2, 3)
#: Levels end at about this many unknowns, which are solved by a dense inverse.
COARSEST = 800
#: How conductances are stored for the smoother, which does not feel the rounding: wide in range.
CONDUCTANCE = jnp.bfloat16
#: Interpolation weights are stored as whole numbers of this.
WEIGHT = 2.0**-15
#: Lines die until a level has this many times the nodes of the next one.
REDUCTION = 1.4
#: A node may leave along an axis if its coupling there is at least this part of its strongest one.
STRONG = 0.05

#: Values at the nodes of a graph: one field, or the mean and half the difference of two potentials.
Values = Float[Array, "nodes fields columns"]


@dataclasses.dataclass(frozen=True)
class Graph:
    """A weighted graph on grid lines.

    Attributes:
      lines: index of the grid line of each node along each axis (3, nodes).
      tail, head: ends of each edge; the tail is on the lower side.
      axis: axis of each edge.
      conductance: of each edge, one row for each field (1 or 2, edges).
      mass: per node; on the diagonal of one field, between two fields: mass (first - second)^2.
      kind: nodes of different kinds are not interpolated from each other (contact faces from the inside); 0 is the
        inside, which is interpolated from anything.
    """

    lines: np.ndarray
    tail: np.ndarray
    head: np.ndarray
    axis: np.ndarray
    conductance: np.ndarray
    mass: np.ndarray
    kind: np.ndarray

    @property
    def size(self) -> int:
        """Number of nodes."""
        return len(self.mass)

    def blocks(self, dtype: type = float) -> tuple[csr_array, np.ndarray]:
        """Edges as a symmetric matrix, and the diagonal blocks.

        In the mean and half the difference of two potentials, an edge of conductances u and d has the block
        [[u + d, u - d], [u - d, u + d]]; it is the entry u + id of the matrix. The diagonal (3, nodes) has the entries
        a, b and a + 4 mass of its blocks [[a, b], [b, a + 4 mass]]. One field has no b, and a + mass twice.

        Args:
          dtype: to which conductances are rounded before they are summed, so that the matrix stays symmetric and
            constants stay in its kernel.
        """
        value, *second = self.conductance.astype(dtype).astype(float)
        two = len(second) == 1
        if two:
            value = value + 1j * second[0]
        n = self.size
        ends = np.concatenate([self.tail, self.head]), np.concatenate([self.head, self.tail])
        edges = csr_array((np.concatenate([value, value]), ends), shape=(n, n))
        total = np.asarray(edges.sum(axis=1)).ravel()
        if two:
            a, b = total.real + total.imag, total.real - total.imag
            return edges, np.stack([a, b, a + 4 * self.mass])
        return edges, np.stack([total + self.mass, 0 * total, total + self.mass])


class Level(eqx.Module):
    """One level in the form that the cycle uses.

    Attributes:
      edges: conductances to the neighbours.
      diagonal: entries a and d of the diagonal blocks [[a, b], [b, d]] (nodes, fields), and b (nodes,) of two fields.
      interpolation: values at the nodes from those of the next level.
      restriction: its transpose.
    """

    edges: Rows
    diagonal: tuple[Float[Array, "nodes fields"], Float[Array, " nodes"] | None]
    interpolation: Rows
    restriction: Rows


class Held(eqx.Module):
    """What depends on which nodes are held at zero.

    Attributes:
      free: for each level, whether a node is free.
      coarsest: inverse of the last level's matrix, zero at held nodes.
      tail: of the levels that one device works out for all.
    """

    free: tuple[Bool[Array, " nodes"], ...]
    coarsest: Float[Array, "coarse coarse"]
    tail: Held | None = None


class Tail(Protocol):
    """The coarse levels of a hierarchy that one accelerator solves for all; see `parallel.sharding`."""

    def cycles(self, tails: Sequence[Self], helds: Sequence[Held], rs: Sequence[Values]) -> list[Values]:
        """Return the rest of the cycles of several hierarchies, this one among them."""
        ...


class Multigrid(eqx.Module):
    """Levels from fine to coarse; `tail`, on many devices, are the further ones, which one works out for all."""

    levels: tuple[Level, ...]
    tail: Tail | None = None


#: For each axis of each level: edges whose tail, and edges whose head leaves and is interpolated from the other end.
Plan = list[list[tuple[np.ndarray, np.ndarray]]]


@dataclasses.dataclass(frozen=True, eq=False)
class Hierarchy:
    """What `build` makes: the levels of the cycle, and what stays on the host.

    Attributes:
      mg: the levels.
      coarsest: the last level's matrix, fields outside, nodes inside.
      kept: for each level the nodes that are on the next one.
      entries: number of entries of each level's matrix.
      plan: who left, see `build`.
    """

    mg: Multigrid
    coarsest: np.ndarray
    kept: tuple[np.ndarray, ...]
    entries: tuple[int, ...]
    plan: Plan

    @property
    def operator_complexity(self) -> float:
        """Entries of the matrices of all levels over those of the first."""
        return sum(self.entries) / self.entries[0]


def build(graph: Graph, positions: Sequence[np.ndarray], plan: Plan | None = None) -> Hierarchy:
    """Coarsens a graph until it is small.

    Args:
      graph: the low-order scheme.
      positions: of the grid lines along each axis [m].
      plan: of an earlier call with other conductances on the same edges: the same nodes leave, all arrays keep their
        shapes, and no program has to be compiled again.
    """
    levels: list[Level] = []
    kept: list[np.ndarray] = []
    entries: list[int] = []
    made: Plan = []
    lines = _Lines(positions)
    while graph.size * len(graph.conductance) > COARSEST if plan is None else len(levels) < len(plan):
        strong = np.zeros((3, 0), bool)
        if plan is None:
            lines.die(graph)
            strength = _strength(graph)
            # Once every line has died, whatever is left goes.
            strong = strength >= (0.0 if lines.done else STRONG) * strength.max(axis=0)
        node, steps, coarse = np.arange(graph.size), [], graph
        interpolation = eye_array(graph.size, format="csr")
        for axis in range(3):
            if plan is None:
                leaving = _leaving(coarse, axis, lines.death[axis], strong[axis][node])
            else:
                leaving = plan[len(levels)][axis]
            stays, along, coarse = _eliminate(coarse, axis, *leaving)
            interpolation = interpolation @ along
            node = node[stays]
            steps.append(leaving)
        if plan is None and coarse.size > 0.9 * graph.size:
            if lines.done:
                break
            continue  # let more lines die, rather than pay for a level
        entries.append(graph.size + 2 * len(graph.tail))
        levels.append(_level(graph, interpolation))
        kept.append(node)
        made.append(steps)
        graph = coarse
    entries.append(graph.size + 2 * len(graph.tail))
    return Hierarchy(Multigrid(tuple(levels)), _dense(graph), tuple(kept), tuple(entries), made)


class _Lines:
    """Grid lines and the level at which each of them died."""

    def __init__(self, positions: Sequence[np.ndarray]) -> None:
        self.positions = [np.asarray(x, float) for x in positions]
        self.death = [np.full(len(x), np.inf) for x in self.positions]
        self.target = 2 * min(float(np.diff(x).min()) for x in self.positions if len(x) > 1)
        self.extent = max(float(x[-1] - x[0]) for x in self.positions)
        self.level = 0

    @property
    def done(self) -> bool:
        """True if spacings no longer matter."""
        return self.target > 4 * self.extent

    def die(self, graph: Graph) -> None:
        """Lines between whose neighbours there is at most the target; doubles the target until that pays."""
        while True:
            dead = [self._between(axis) for axis in range(3)]
            left = np.ones(graph.size, bool)
            for axis in range(3):
                left &= ~dead[axis][graph.lines[axis]]
            self.target *= 1.5
            if graph.size > REDUCTION * np.count_nonzero(left) or self.done:
                break
        self.target *= 2 / 1.5
        for axis in range(3):
            self.death[axis][dead[axis]] = self.level
        self.level += 1

    def _between(self, axis: int) -> np.ndarray:
        alive = np.flatnonzero(np.isinf(self.death[axis]))
        dead = np.zeros(len(self.death[axis]), bool)
        x, last = self.positions[axis], len(alive) - 1
        if last == 1 and x[alive[1]] - x[alive[0]] <= self.target:
            dead[alive[0]] = True
        i = 1
        while i < last:
            # A hair of tolerance: even spacings differ in the last digit.
            if x[alive[i + 1]] - x[alive[i - 1]] <= self.target * (1 + 1e-9):
                dead[alive[i]] = True
                i += 1
            i += 1
        return dead


def _strength(graph: Graph) -> np.ndarray:
    """Largest conductance of every node along each axis (3, nodes)."""
    total = graph.conductance.sum(axis=0)
    strength = np.zeros((3, graph.size))
    for axis in range(3):
        own = graph.axis == axis
        np.maximum.at(strength[axis], graph.tail[own], total[own])
        np.maximum.at(strength[axis], graph.head[own], total[own])
    return strength


def _leaving(graph: Graph, axis: int, death: np.ndarray, strong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges whose tail, and edges whose head, leaves and is interpolated from the other end: at most one a side."""
    n = graph.size
    edge = np.flatnonzero(graph.axis == axis)
    tail, head = graph.tail[edge], graph.head[edge]
    # Of neighbours that could all leave, the one whose line died first does.
    order = np.where(strong, death[graph.lines[axis]] * n + np.arange(n), np.inf)
    lowest = np.full(n, np.inf)
    np.minimum.at(lowest, tail, order[head])
    np.minimum.at(lowest, head, order[tail])
    leaves = order < lowest
    leaves &= np.isfinite(order)
    total = graph.conductance[:, edge].sum(axis=0)

    def best(node: np.ndarray, other: np.ndarray) -> np.ndarray:
        may = leaves[node] & ((graph.kind[node] == 0) | (graph.kind[node] == graph.kind[other]))
        candidate = np.flatnonzero(may)
        candidate = candidate[np.lexsort((-total[candidate], node[candidate]))]
        first = np.append(True, np.diff(node[candidate]) > 0) if len(candidate) else np.zeros(0, bool)
        return edge[candidate[first]]

    return best(tail, head), best(head, tail)


def _eliminate(graph: Graph, axis: int, up: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, csr_array, Graph]:
    """Leaves nodes out along one axis: who stays, the interpolation (nodes, staying), and the graph of the rest.

    Args:
      up, down: edges whose tail, and edges whose head, leaves and is interpolated from the other end.
    """
    n, c = graph.size, graph.conductance
    source, value = np.full((2, n), -1, np.int32), np.zeros((2, n))
    for side, edges, node, other in ((0, up, graph.tail, graph.head), (1, down, graph.head, graph.tail)):
        source[side, node[edges]] = other[edges]
        value[side, node[edges]] = np.maximum(c[:, edges].sum(axis=0), np.finfo(float).tiny)
    fine: np.ndarray = np.any(source >= 0, axis=0)
    both: np.ndarray = np.all(source >= 0, axis=0)
    weight = value / np.where(fine, value.sum(axis=0), 1.0)
    stays = np.flatnonzero(~fine).astype(np.int32)
    number = np.cumsum(~fine, dtype=np.int32) - 1
    to = np.where(source >= 0, number[source], np.where(fine, np.int32(-1), number))

    left, right = (np.flatnonzero(each >= 0) for each in source)
    entries = [
        (stays, number[stays], np.ones(len(stays))),
        (left, to[0, left], weight[0, left]),
        (right, to[1, right], weight[1, right]),
    ]
    row, column, entry = (np.concatenate(part) for part in zip(*entries, strict=True))
    interpolation = csr_array((entry, (row, column)), shape=(n, len(stays)))

    made: list[tuple[np.ndarray, ...]] = []

    def add(tail: np.ndarray, head: np.ndarray, along: np.ndarray | int, conductance: np.ndarray) -> None:
        apart = np.flatnonzero(tail != head)
        # Axis and head in one column number: edges that fell together become one entry of a sparse matrix.
        made.append((tail[apart], (along * len(stays) + head)[apart].astype(np.int32), *conductance[:, apart]))

    # Along the axis: what is left of the two edges of a node between its two sources. With weights in proportion to
    # the conductances that is their series connection.
    series = np.zeros((len(c), n))
    series[:, graph.tail[up]] += c[:, up] * weight[1, graph.tail[up]] ** 2
    series[:, graph.head[down]] += c[:, down] * weight[0, graph.head[down]] ** 2

    # All other edges: those between nodes that stay are as they were.
    rest = np.ones(len(graph.tail), bool)
    rest[up] = rest[down] = False
    touched = fine[graph.tail] | fine[graph.head]
    e = np.flatnonzero(rest & ~touched)
    add(number[graph.tail[e]], number[graph.head[e]], graph.axis[e].astype(np.int32), c[:, e])
    # The others go to the sources on each side that both ends have, in proportion to the mean weight.
    e = np.flatnonzero(rest & touched)
    tail, head, along, c = graph.tail[e], graph.head[e], graph.axis[e].astype(np.int32), c[:, e]
    part = []
    for own, other in ((tail, head), (head, tail)):
        # A node that stays is its own source on whichever side the other end has one.
        lone = np.where(fine[other], weight[:, other], np.array([[1.0], [0.0]]))
        part.append(np.where(fine[own], weight[:, own], lone))
    shared = np.where((part[0] > 0) & (part[1] > 0), (part[0] + part[1]) / 2, 0.0)
    total = np.asarray(shared.sum(axis=0))
    across = np.equal(total, 0)  # no side in common
    shared /= np.where(across, 1.0, total)
    for side in (0, 1):
        e = np.flatnonzero(shared[side] > 0)
        add(to[side, tail[e]], to[side, head[e]], along[e], c[:, e] * shared[side, e])
        e = np.flatnonzero(across & (part[0][side] > 0) & (part[1][1 - side] > 0))
        add(to[side, tail[e]], to[1 - side, head[e]], along[e], c[:, e])
    # Where the weights of the ends differ by d, the interpolated difference along the edge also has d times the
    # difference of the sources: c d^2 more energy there, half of it at each end that has two sources.
    for own, other in ((tail, head), (head, tail)):
        e = np.flatnonzero(both[own] & fine[other] & ~across)
        difference = np.where(both[other[e]], 0.5, 1.0) * (weight[0, own[e]] - weight[0, other[e]]) ** 2
        for along_axis, values in zip(series, c[:, e], strict=True):
            along_axis += np.bincount(own[e], values * difference, n)
    node = np.flatnonzero(both)
    add(to[1, node], to[0, node], axis, series[:, node])

    row, column, *values = (np.concatenate(part) for part in zip(*made, strict=True))
    shape = len(stays), 3 * len(stays)
    sums = [csr_array((each, (row, column)), shape=shape) for each in values]
    return (
        stays,
        interpolation,
        Graph(
            lines=graph.lines[:, stays],
            tail=np.repeat(np.arange(len(stays), dtype=np.int32), np.diff(sums[0].indptr)),
            head=sums[0].indices % len(stays),
            axis=(sums[0].indices // len(stays)).astype(graph.axis.dtype),
            conductance=np.stack([each.data for each in sums]),
            mass=interpolation.T @ graph.mass,
            kind=graph.kind[stays],
        ),
    )


def _level(graph: Graph, interpolation: csr_array) -> Level:
    edges, (a, b, d) = graph.blocks(CONDUCTANCE)
    two = len(graph.conductance) == 2
    main = np.stack([a, d], axis=1) if two else a[:, None]
    diagonal = jax.device_put(main.astype(np.float32)), jax.device_put(b.astype(np.float32)) if two else None
    weights = _whole(interpolation)
    forth, back = (Rows.of(each, dtype=np.uint16, unit=WEIGHT) for each in (weights, weights.T.tocsr()))
    return Level(Rows.of(edges, dtype=CONDUCTANCE), diagonal, forth, back)


def _whole(interpolation: csr_array) -> csr_array:
    """Weights as multiples of `WEIGHT`, whose sum stays exact in every row.

    Constants are then interpolated without noise; that of half precision would outweigh a weak link between two good
    conductors.
    """
    rounded = np.rint(interpolation.data / WEIGHT)
    start, length = interpolation.indptr[:-1], np.diff(interpolation.indptr)
    largest = np.flatnonzero(rounded == np.repeat(np.maximum.reduceat(rounded, start), length))
    row = np.repeat(np.arange(len(length)), length)[largest]
    rounded[largest[np.append(True, np.diff(row) > 0)]] += 1 / WEIGHT - np.add.reduceat(rounded, start)
    return csr_array((rounded, interpolation.indices, interpolation.indptr), shape=interpolation.shape)


def _dense(graph: Graph) -> np.ndarray:
    """The matrix of a graph, fields outside, nodes inside."""
    edges, (a, b, d) = graph.blocks()
    own = edges.toarray()
    if len(graph.conductance) == 1:
        return np.diag(a) - own
    mean, coupling = np.diag(a) - own.real - own.imag, np.diag(b) - own.real + own.imag
    return np.block([[mean, coupling], [coupling, mean + np.diag(d - a)]])


def hold(hierarchy: Hierarchy, held: np.ndarray) -> Held:
    """Prepares the cycle for a set of nodes held at zero.

    Args:
      held: marks nodes of the finest level.
    """
    free = []
    for kept in hierarchy.kept:
        free.append(jax.device_put(~held))
        held = held[kept]
    matrix = hierarchy.coarsest
    inside = np.flatnonzero(np.tile(~held, len(matrix) // max(len(held), 1)))
    coarsest = np.zeros_like(matrix)
    block = matrix[np.ix_(inside, inside)]
    try:
        coarsest[np.ix_(inside, inside)] = np.linalg.inv(block)
    except np.linalg.LinAlgError:
        # A piece that hangs on nothing held: the solve will not converge there and says so.
        coarsest[np.ix_(inside, inside)] = np.linalg.pinv(block, hermitian=True)
    return Held(tuple(free), jax.device_put(coarsest.astype(np.float32)))


def _blocks(entries: tuple[Array, Array | None], x: Values) -> Values:
    main, coupling = entries
    out = main[:, :, None] * x
    return out if coupling is None else out + coupling[:, None, None] * x[:, ::-1]


def _solved(entries: tuple[Array, Array | None], r: Values) -> Values:
    """The inverse of the diagonal blocks times values."""
    main, coupling = entries
    safe = jnp.where(main > 0, main, 1.0)
    if coupling is None:
        return r / safe[:, :, None]
    # By the Schur complement: a determinant of small conductances could leave the range of single precision.
    ratio = coupling / safe[:, 0]
    rest = main[:, 1] - coupling * ratio
    second = jnp.where(rest > 0, 1.0 / jnp.where(rest > 0, rest, 1.0), 0.0)
    return _blocks((jnp.stack([1.0 / safe[:, 0] + ratio * ratio * second, second], axis=1), -ratio * second), r)


def _smooth(
    levels: Sequence[tuple[Level, Array]], steps: int, first: int, carry: Sequence[tuple[Values, Values, Values]]
) -> list[tuple[Values, Values, Values]]:
    """Chebyshev polynomial of the fourth kind in D^-1 A, whose spectrum lies in [0, 2] (D has the diagonal blocks).

    Each pass takes the step and works out the next one, number `first` and on. Carried are x, its residual and the
    step, for each of the hierarchies.

    Source: Lottes, Optimal polynomial smoothers for multigrid V-cycles, Numer. Linear Algebra Appl. 30 (2023), eq. 2.
    """

    def body(i, carry):
        out = []
        products = multiply([level.edges for level, _ in levels], [step for *_, step in carry])
        for (level, free), (x, r, step), product in zip(levels, carry, products, strict=True):
            r = r - (_blocks(level.diagonal, step) - product)
            out.append((x + step, r, _next(level, free, i, step, r)))
        return out

    # A loop, because XLA would fuse unrolled steps into the gathers and recompute them once per neighbour.
    return lax.fori_loop(first, first + steps, body, list(carry))


def _next(level: Level, free: Array, i: Array | int, step: Values, r: Values) -> Values:
    """Step i = 1, 2, ... of the smoother from the one before."""
    i = jnp.asarray(i, r.dtype)
    fresh = free[:, None, None] * _solved(level.diagonal, r)
    return jnp.where(i > 1, (2 * i - 3) / (2 * i + 1), 0.0) * step + (8 * i - 4) / (2 * i + 1) / 2 * fresh


def cycle(mg: Multigrid, held: Held, r: Values) -> Values:
    """One V-cycle from zero: an approximation of A^-1 r, symmetric and positive definite, zero at held nodes."""
    return cycles((mg,), (held,), (r,))[0]


def cycles(mgs: Sequence[Multigrid], helds: Sequence[Held], rs: Sequence[Values]) -> list[Values]:
    """`cycle` of several hierarchies level by level, so that on many devices they share their messages."""
    levels = [list(zip(mg.levels, held.free, strict=True)) for mg, held in zip(mgs, helds, strict=True)]
    stack: list[list[tuple[Values, Values]]] = [[] for _ in mgs]
    rs = list(rs)
    depth = max(map(len, levels))

    def those_with(number: int) -> tuple[list[int], list[tuple[Level, Array]]]:
        which = [k for k, each in enumerate(levels) if len(each) > number]
        return which, [levels[k][number] for k in which]

    for number in range(depth):
        which, here = those_with(number)
        zeros = [jnp.zeros_like(rs[k]) for k in which]
        begin = [
            (zero, rs[k], _next(level, free, 1, zero, rs[k]))
            for k, zero, (level, free) in zip(which, zeros, here, strict=True)
        ]
        smoothed = _smooth(here, SMOOTHING_STEPS[number > 0], 2, begin)
        left = [free[:, None, None] * residual for (_, free), (_, residual, _) in zip(here, smoothed, strict=True)]
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
            (*stack[k][number], free[:, None, None] * correction)
            for k, (_, free), correction in zip(which, here, fine, strict=True)
        ]
        for k, (x, _, last) in zip(which, _smooth(here, SMOOTHING_STEPS[number > 0], 1, begin), strict=True):
            xs[k] = x + last
    return xs


def _solve_coarsest(held: Held, r: Values) -> Values:
    n, fields, columns = r.shape
    x = held.coarsest @ r.swapaxes(0, 1).reshape(fields * n, columns)
    return x.reshape(fields, n, columns).swapaxes(0, 1)
