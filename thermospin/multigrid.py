"""Preconditioner: one multigrid V-cycle on the graph of the low-order scheme.

Three scalar graphs (charge, spin, heat) form one graph that is not connected across fields. Levels are small graphs:
nodes, edges that remember their axis, a conductance per edge, a mass per node. Coarsening merges neighbouring grid
lines while the merged width stays under the level's target, which equalises widths, and then splits every merged group
into its connected pieces, so that conductors that come close without touching never share an unknown.

The cycle runs in single precision and is not differentiated; the conjugate gradients around it carry the precision.
This module knows graphs; it knows no physics, no grid order and no experiment.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

#: Steps of the smoother before and after the coarse correction.
SMOOTHING_STEPS = 3
#: Levels end at about this many unknowns, which are solved by a dense inverse.
COARSEST = 700


@dataclasses.dataclass(frozen=True)
class Graph:
    """A weighted graph on (merged) grid lines.

    Attributes:
      lines: index of the grid line of each node along each axis (3, nodes).
      tail, head: ends of each edge; the tail is on the lower side.
      axis: axis of each edge.
      conductance: of each edge.
      mass: added to the diagonal of each node.
      kind: nodes of different kinds are never merged (contact faces stay apart from the inside).
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

    @property
    def diagonal(self) -> np.ndarray:
        """Diagonal of the matrix."""
        n = self.size
        return np.bincount(self.tail, self.conductance, n) + np.bincount(self.head, self.conductance, n) + self.mass


class Level(eqx.Module):
    """One level in the form that the cycle uses.

    Attributes:
      neighbours: for k = 0, 1, ... the k-th neighbour of each node (itself where there is none).
      weights: conductance to that neighbour (zero where there is none).
      diagonal: diagonal of the matrix.
      parent: node of the next level that each node belongs to.
      children: for k = 0, 1, ... the k-th child of each node of the next level (`size` where there is none).
    """

    neighbours: tuple[Int[Array, " nodes"], ...]
    weights: tuple[Float[Array, " nodes"], ...]
    diagonal: Float[Array, " nodes"]
    parent: Int[Array, " nodes"]
    children: tuple[Int[Array, " coarse"], ...]


class Held(eqx.Module):
    """What depends on which nodes are held at zero.

    Attributes:
      finest: inverse of the diagonal of the finest matrix, zero at held nodes.
      inverse_diagonal: the same for each level.
      coarsest: inverse of the last level's matrix, zero at held nodes.
    """

    finest: Float[Array, " nodes"]
    inverse_diagonal: tuple[Float[Array, " nodes"], ...]
    coarsest: Float[Array, "coarse coarse"]


class Multigrid(eqx.Module):
    """Levels from fine to coarse, and the last level's matrix."""

    levels: tuple[Level, ...]
    coarsest: Float[Array, "coarse coarse"]

    @property
    def operator_complexity(self) -> float:
        """Nodes of all levels over nodes of the first."""
        sizes = [len(level.diagonal) for level in self.levels] + [len(self.coarsest)]
        return sum(sizes) / sizes[0]


def build(graph: Graph, widths: Sequence[np.ndarray]) -> Multigrid:
    """Coarsens a graph until it is small.

    Args:
      graph: the low-order scheme.
      widths: width that belongs to each grid line of each axis [m].
    """
    levels = []
    lengths = [np.asarray(w, dtype=float) for w in widths]
    target = 2.0 * min(float(w.min()) for w in lengths)
    while graph.size > COARSEST:
        merged, target = _merge_lines(graph, lengths, target)
        if merged is None:
            break
        parent, coarse = _coarsen(graph, merged)
        lengths = [np.bincount(m, w) for m, w in zip(merged, lengths, strict=True)]
        levels.append(_level(graph, parent, coarse.size))
        graph = coarse
    matrix = coo_matrix((graph.conductance, (graph.tail, graph.head)), shape=(graph.size, graph.size)).toarray()
    return Multigrid(tuple(levels), jnp.asarray(np.diag(graph.diagonal) - matrix - matrix.T))


def _merge_lines(graph: Graph, lengths: list[np.ndarray], target: float) -> tuple[list[np.ndarray] | None, float]:
    """Pairs neighbouring lines whose merged width is at most the target; doubles the target until that pays."""
    if all(len(w) == 1 for w in lengths):
        return None, target
    extent = max(float(w.sum()) for w in lengths)
    while True:
        merged = [_pair(w, target) for w in lengths]
        keys = [m[line] for m, line in zip(merged, graph.lines, strict=True)]
        flat = np.ravel_multi_index(keys, [m[-1] + 1 for m in merged]) * 2 + (graph.kind > 0)
        groups = int(np.count_nonzero(np.bincount(flat)))
        if graph.size > 4 * groups or target > 2 * extent:
            return merged, 2 * target
        target *= 1.5


def _pair(widths: np.ndarray, target: float) -> np.ndarray:
    """Index of the merged line of each line; greedy from the lower end."""
    index = np.zeros(len(widths), dtype=np.int64)
    group, i = 0, 0
    while i < len(widths):
        index[i] = group
        if i + 1 < len(widths) and widths[i] + widths[i + 1] <= target:
            index[i + 1] = group
            i += 1
        i += 1
        group += 1
    return index


def _coarsen(graph: Graph, merged: list[np.ndarray]) -> tuple[np.ndarray, Graph]:
    """Groups of nodes on the same merged lines, split into connected pieces, and the graph between them.

    The conductance between two groups is the sum over the edges that cross, each in series with the half-edges inside
    the groups along its axis, every added resistance at most half the crossing one.
    """
    n = graph.size
    lines = np.stack([m[line] for m, line in zip(merged, graph.lines, strict=True)])
    key = np.ravel_multi_index(list(lines), [m[-1] + 1 for m in merged])
    tail, head, c = graph.tail, graph.head, graph.conductance
    inside = (key[tail] == key[head]) & (graph.kind[tail] == graph.kind[head])
    links = coo_matrix((np.ones(inside.sum(), dtype=np.int8), (tail[inside], head[inside])), shape=(n, n))
    count, parent = connected_components(links, directed=False)

    slot = graph.axis * n
    within = np.bincount((slot + tail)[inside], c[inside], 3 * n) + np.bincount((slot + head)[inside], c[inside], 3 * n)
    cross = ~inside & (parent[tail] != parent[head])
    tail, head, axis, c = tail[cross], head[cross], graph.axis[cross], c[cross]

    def half(end: np.ndarray) -> np.ndarray:
        conductance = within[axis * n + end]
        ratio = np.divide(0.5 * c, conductance, out=np.zeros_like(c), where=conductance > 0)
        return np.minimum(ratio, 0.5)

    effective = c / (1.0 + half(tail) + half(head))
    pair = (parent[tail].astype(np.int64) * count + parent[head]) * 3 + axis
    unique, place = np.unique(pair, return_inverse=True)
    first = np.zeros(count, dtype=np.int64)
    first[parent[::-1]] = np.arange(n)[::-1]
    ends = unique // 3
    return parent, Graph(
        lines=lines[:, first],
        tail=ends // count,
        head=ends % count,
        axis=unique % 3,
        conductance=np.bincount(place, effective, len(unique)),
        mass=np.bincount(parent, graph.mass, count),
        kind=graph.kind[first],
    )


def _columns(
    rows: np.ndarray, values: Sequence[np.ndarray], size: int, fill: Sequence[np.ndarray]
) -> list[list[np.ndarray]]:
    """Lays out the entries of a sparse matrix as columns: the k-th entry of every row."""
    order = np.argsort(rows, kind="stable")
    rows = rows[order]
    start = np.searchsorted(rows, np.arange(size))
    rank = np.arange(len(rows)) - start[rows]
    columns = []
    for k in range(int(rank.max(initial=-1)) + 1):
        here = rank == k
        column = []
        for value, default in zip(values, fill, strict=True):
            entry = np.array(default)
            entry[rows[here]] = value[order][here]
            column.append(entry)
        columns.append(column)
    return columns


def _level(graph: Graph, parent: np.ndarray, coarse: int) -> Level:
    n = graph.size
    rows = np.concatenate([graph.tail, graph.head])
    others = np.concatenate([graph.head, graph.tail])
    weight = np.concatenate([graph.conductance, graph.conductance])
    edges = _columns(rows, (others, weight), n, (np.arange(n), np.zeros(n)))
    children = _columns(parent, (np.arange(n),), coarse, (np.full(coarse, n),))
    return Level(
        neighbours=tuple(jnp.asarray(e[0], jnp.int32) for e in edges),
        weights=tuple(jnp.asarray(e[1], jnp.float32) for e in edges),
        diagonal=jnp.asarray(graph.diagonal, jnp.float32),
        parent=jnp.asarray(parent, jnp.int32),
        children=tuple(jnp.asarray(c[0], jnp.int32) for c in children),
    )


def hold(mg: Multigrid, held: np.ndarray) -> Held:
    """Prepares the cycle for a set of nodes held at zero.

    Args:
      held: marks nodes of the finest level; a group is held if its members are (they are of one kind).
    """
    diagonal = mg.levels[0].diagonal if mg.levels else jnp.diag(mg.coarsest)
    finest = jnp.where(held, 0.0, 1.0 / diagonal)
    inverse = []
    for level in mg.levels:
        inverse.append(jnp.where(held, 0.0, 1.0 / level.diagonal).astype(jnp.float32))
        coarse = np.zeros(len(level.children[0]), dtype=bool)
        coarse[np.asarray(level.parent)[held]] = True
        held = coarse
    matrix = np.array(mg.coarsest)
    free = np.flatnonzero(~held)
    coarsest = np.zeros_like(matrix)
    coarsest[np.ix_(free, free)] = np.linalg.inv(matrix[np.ix_(free, free)])
    return Held(finest, tuple(inverse), jnp.asarray(coarsest, jnp.float32))


def _take(values: Array, index: Array) -> Array:
    return values.at[index].get(mode="promise_in_bounds")


def _matvec(level: Level, x: Array) -> Array:
    out = level.diagonal[:, None] * x
    for index, weight in zip(level.neighbours, level.weights, strict=True):
        out = out - weight[:, None] * _take(x, index)
    return out


def _smooth(level: Level, inverse: Array, x: Array, r: Array) -> tuple[Array, Array]:
    """Chebyshev polynomial of the fourth kind in D^-1 A, whose spectrum lies in [0, 2] (Gershgorin).

    Source: Lottes, Optimal polynomial smoothers for multigrid V-cycles, Numer. Linear Algebra Appl. 30 (2023), eq. 2.
    """

    def body(i, carry):
        x, r, step = carry
        step = (2 * i - 3) / (2 * i + 1) * step + (8 * i - 4) / (2 * i + 1) / 2 * inverse[:, None] * r
        return x + step, r - _matvec(level, step), step

    # A loop, because XLA would fuse unrolled steps into the gathers and recompute them once per neighbour.
    x, r, _ = lax.fori_loop(1, SMOOTHING_STEPS + 1, body, (x, r, jnp.zeros_like(x)))
    return x, r


def cycle(mg: Multigrid, held: Held, r: Float[Array, "nodes columns"]) -> Float[Array, "nodes columns"]:
    """One V-cycle from zero: an approximation of A^-1 r, symmetric and positive definite, zero at held nodes."""
    stack = []
    for level, inverse in zip(mg.levels, held.inverse_diagonal, strict=True):
        x, r = _smooth(level, inverse, jnp.zeros_like(r), r)
        stack.append((x, r))
        padded = jnp.concatenate([jnp.where(inverse[:, None] > 0, r, 0), jnp.zeros((1, r.shape[1]), r.dtype)])
        r = sum((_take(padded, child) for child in level.children[1:]), _take(padded, level.children[0]))
    x = held.coarsest @ r
    for level, inverse, (fine, residual) in zip(mg.levels[::-1], held.inverse_diagonal[::-1], stack[::-1], strict=True):
        correction = jnp.where(inverse[:, None] > 0, _take(x, level.parent), 0)
        r = residual - _matvec(level, correction)
        x, _ = _smooth(level, inverse, fine + correction, r)
    return x
