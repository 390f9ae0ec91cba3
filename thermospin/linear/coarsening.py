"""Coarsen a graph into the levels of a multigrid; set-up on the host.

Levels are small graphs: nodes that sit on grid lines, edges that remember their axis, conductances per edge, a mass per
node. The next level keeps some of the nodes and leaves the others out:

- Each level drops the most closely spaced grid lines, never two adjacent ones, which equalises widths; a node on a
  dropped line leaves only along an axis along which it is strongly coupled, and together with the nodes to which edges
  across it bind it, so that thin and graded cells need no line smoothers.
- A node that leaves is interpolated between its neighbours on the axis, weighted with their conductances. Neighbours
  are nodes that it touches: conductors that come close without touching never share an unknown.
- Edges of nodes that left are handed to those they are interpolated from. In series along the axis that is the exact
  elimination; across it, conductances are lumped, and what lumping misses of the energy is added along the axis. The
  coarse matrix so bounds the energy of interpolated fields from above (up to small terms): eigenvalues of the
  preconditioned matrix hardly exceed one, whatever the contrast.

This module knows graphs; it knows no physics, no grid order and no experiment. What runs is in `linear.multigrid`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from numpy.typing import DTypeLike
from scipy.linalg import lapack
from scipy.sparse import csr_array, eye_array

from thermospin.linear.multigrid import CONDUCTANCE, WEIGHT, Held, Level, Multigrid
from thermospin.linear.sparse import Rows

#: Levels end at about this many unknowns, which are solved by a dense inverse.
COARSEST = 800
#: Lines are dropped until a level has this many times the nodes of the next one.
REDUCTION = 1.4
#: A node may leave along an axis if its coupling there is at least this part of its strongest one.
STRONG = 0.05
#: The edge that replaces the two of a node that left has at least this part of their series connection: coarse graphs
#: stay connected. None at all takes as many iterations.
LEAST = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
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

    def blocks(self, dtype: DTypeLike = float) -> tuple[csr_array, np.ndarray]:
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


def contracted(
    pairs: np.ndarray, tail: np.ndarray, head: np.ndarray, along: np.ndarray, conductance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the edges with every node of a pair replaced by the other one, on which it then hangs alone.

    Nothing flows to a node that hangs alone, so that it has the value of the other.
    """
    size = int(max(tail.max(initial=0), head.max(initial=0), pairs.max(initial=0))) + 1
    root = np.arange(size)
    root[pairs[0]] = pairs[1]
    tail, head = root[tail], root[head]
    kept = np.flatnonzero(tail != head)
    tail, head, along, conductance = tail[kept], head[kept], along[kept], conductance[:, kept]
    strongest = np.zeros((len(conductance), size))
    direction = np.zeros(size, along.dtype)
    for ends in (tail, head):
        for row, values in zip(strongest, conductance, strict=True):
            np.maximum.at(row, ends, values)
        direction[ends] = along
    hanging = strongest[:, pairs[1]]
    return (
        np.concatenate([tail, pairs[0]]),
        np.concatenate([head, pairs[1]]),
        np.concatenate([along, direction[pairs[1]]]),
        np.concatenate([conductance, hanging], axis=1),
    )


#: For each level, by axis in the order in which nodes leave: edges whose tail, and edges whose head leaves and is
#: interpolated from the other end.
Plan = list[dict[int, tuple[np.ndarray, np.ndarray]]]


@dataclasses.dataclass(frozen=True, eq=False)
class Hierarchy:
    """The levels of the cycle, and what stays on the host.

    Attributes:
      mg: the levels.
      coarsest: the last level's matrix, fields outside, nodes inside.
      kept: for each level the nodes that are on the next one.
      plan: the nodes that left, see `build`.
      dtype: of the arithmetic of the cycle.
    """

    mg: Multigrid
    coarsest: np.ndarray
    kept: tuple[np.ndarray, ...]
    plan: Plan
    dtype: DTypeLike = np.float32


def build(
    graph: Graph, positions: Sequence[np.ndarray], plan: Plan | None = None, dtype: DTypeLike = np.float32
) -> Hierarchy:
    """Coarsen a graph until it is small.

    Args:
      graph: the low-order scheme.
      positions: of the grid lines along each axis [m].
      plan: of an earlier call with other conductances on the same edges: the same nodes leave, all arrays keep their
        shapes, and no program has to be compiled again.
      dtype: of the arithmetic of the cycle: double precision where good conductors are joined by poor ones, whose
        conductances single precision would lose beside theirs.
    """
    levels: list[Level] = []
    kept: list[np.ndarray] = []
    made: Plan = []
    lines = _Lines(positions)
    while graph.size * len(graph.conductance) > COARSEST if plan is None else len(levels) < len(plan):
        strong = np.zeros((3, 0), bool)
        if plan is None:
            lines.drop(graph)
            # Once every line is dropped, whatever is left goes.
            strong = np.ones((3, graph.size), bool) if lines.done else _strong(graph)
        node, coarse = np.arange(graph.size), graph
        steps: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        interpolation = eye_array(graph.size, format="csr")
        for axis in lines.axes if plan is None else plan[len(levels)]:
            if plan is None:
                leaving = _leaving(coarse, axis, lines.level_of[axis], strong[axis][node])
            else:
                leaving = plan[len(levels)][axis]
            stays, along, coarse = _eliminate(coarse, axis, *leaving)
            interpolation = interpolation @ along
            node = node[stays]
            steps[axis] = leaving
        if plan is None and coarse.size > 0.9 * graph.size:
            if lines.done:
                break
            continue  # drop more lines, rather than pay for a level
        levels.append(_level(graph, interpolation, dtype))
        kept.append(node)
        made.append(steps)
        graph = coarse
    return Hierarchy(Multigrid(tuple(levels)), _dense(graph), tuple(kept), made, dtype)


class _Lines:
    """Grid lines and the level at which each of them is dropped.

    Attributes:
      positions: of the lines along each axis [m].
      level_of: the level of each line, infinite if it is there still.
      target: lines whose neighbours are this far apart at most are dropped [m].
      extent: of the grid [m].
      level: the next one.
      axes: in the order in which nodes leave along them, the one with the closest lines first: nodes that are close
        together are one before the others are looked at.
    """

    def __init__(self, positions: Sequence[np.ndarray]) -> None:
        self.positions = [np.asarray(x, float) for x in positions]
        self.level_of = [np.full(len(x), np.inf) for x in self.positions]
        self.target = 2 * min(float(np.diff(x).min()) for x in self.positions if len(x) > 1)
        self.extent = max(float(x[-1] - x[0]) for x in self.positions)
        self.level = 0
        self.axes = (0, 1, 2)

    @property
    def done(self) -> bool:
        """True if spacings no longer matter."""
        return self.target > 4 * self.extent

    def drop(self, graph: Graph) -> None:
        """Drop lines whose neighbours are at most the target apart; raise the target until that pays."""
        while True:
            dropped = [self._between(axis) for axis in range(3)]
            left = np.ones(graph.size, bool)
            for axis in range(3):
                left &= ~dropped[axis][graph.lines[axis]]
            self.target *= 1.5
            if graph.size > REDUCTION * np.count_nonzero(left) or self.done:
                break
        self.target *= 2 / 1.5
        closest = [self._closest(axis, dropped[axis]) for axis in range(3)]
        self.axes = tuple(np.argsort(closest, kind="stable").tolist())
        for axis in range(3):
            self.level_of[axis][dropped[axis]] = self.level
        self.level += 1

    def _closest(self, axis: int, dropped: np.ndarray) -> float:
        """Return the least distance of a dropped line to a neighbour."""
        kept = np.isinf(self.level_of[axis])
        gaps, leaves = np.diff(self.positions[axis][kept]), dropped[kept]
        return float(np.min(gaps, where=leaves[1:] | leaves[:-1], initial=np.inf))

    def _between(self, axis: int) -> np.ndarray:
        kept = np.flatnonzero(np.isinf(self.level_of[axis]))
        dropped = np.zeros(len(self.level_of[axis]), bool)
        x, last = self.positions[axis], len(kept) - 1
        if last == 1 and x[kept[1]] - x[kept[0]] <= self.target:
            dropped[kept[0]] = True
        i = 1
        while i < last:
            # A hair of tolerance: even spacings differ in the last digit.
            if x[kept[i + 1]] - x[kept[i - 1]] <= self.target * (1 + 1e-9):
                dropped[kept[i]] = True
                i += 1
            i += 1
        return dropped


def _strong(graph: Graph) -> np.ndarray:
    """Return along which axes each node may leave (3, nodes): those along which it is strongly coupled.

    A node that an edge across the axis binds more strongly to another one leaves together with it or not at all: their
    values are nearly equal, and interpolating one of them alone would stretch that edge.
    """
    total = graph.conductance.sum(axis=0)
    strength = np.zeros((3, graph.size))
    for axis in range(3):
        along = graph.axis == axis
        np.maximum.at(strength[axis], graph.tail[along], total[along])
        np.maximum.at(strength[axis], graph.head[along], total[along])
    strong = strength >= STRONG * strength.max(axis=0)
    for axis, may in enumerate(strong):
        across = np.flatnonzero(graph.axis != axis)
        ends = np.stack([graph.tail[across], graph.head[across]])
        binds = total[across] > strength[axis][ends]
        node, other = (
            np.concatenate([one[bound] for one, bound in zip(pair, binds, strict=True)]) for pair in (ends, ends[::-1])
        )
        while True:
            rest = may[node]
            node, other = node[rest], other[rest]
            stays = node[~may[other]]
            if not len(stays):
                break
            may[stays] = False
    return strong


def _hasty(graph: Graph, edge: np.ndarray) -> np.ndarray:
    """Return the nodes that some edges along an axis, of length zero, bind most strongly to another one.

    They leave whatever their line: smoothing would hardly move such a pair.
    """
    tail = graph.tail[edge]
    bound = edge[np.all(graph.lines[:, tail] == graph.lines[:, graph.head[edge]], axis=0)]
    if not len(bound):
        return bound
    total = graph.conductance.sum(axis=0)
    strongest = np.zeros(graph.size)
    for ends in (graph.tail, graph.head):
        np.maximum.at(strongest, ends, total)
    return np.unique(graph.tail[bound[total[bound] >= 0.99 * strongest[graph.tail[bound]]]])


def _leaving(graph: Graph, axis: int, level_of: np.ndarray, strong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return edges whose tail, and edges whose head, leaves and is interpolated from the other end: one a side."""
    n = graph.size
    edge = np.flatnonzero(graph.axis == axis)
    tail, head = graph.tail[edge], graph.head[edge]
    # Of neighbours that could all leave, the one whose line is dropped first does.
    order = np.where(strong, level_of[graph.lines[axis]] * n + np.arange(n), np.inf)
    hasty = _hasty(graph, edge)
    order[hasty] = hasty - n
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


@dataclasses.dataclass(frozen=True, eq=False)
class _Leavers:
    """Nodes that leave along one axis, and the nodes that stay from which they are interpolated.

    Attributes:
      leaves: marks them (nodes,).
      stays: numbers of the others, in whose order the coarse graph has them.
      source: coarse number of the source below and above each node, -1 where there is none; of a node that stays its
        own (2, nodes).
      weight: of each source (2, nodes).
    """

    leaves: np.ndarray
    stays: np.ndarray
    source: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, graph: Graph, up: np.ndarray, down: np.ndarray) -> _Leavers:
        """Return them for edges whose tail, and edges whose head, leaves and is interpolated from the other end."""
        n, c = graph.size, graph.conductance
        source, value = np.full((2, n), -1, np.int32), np.zeros((2, n))
        for side, edges, node, other in ((0, up, graph.tail, graph.head), (1, down, graph.head, graph.tail)):
            source[side, node[edges]] = other[edges]
            value[side, node[edges]] = np.maximum(c[:, edges].sum(axis=0), np.finfo(float).tiny)
        leaves: np.ndarray = np.any(source >= 0, axis=0)
        number = np.cumsum(~leaves, dtype=np.int32) - 1
        return cls(
            leaves,
            np.flatnonzero(~leaves).astype(np.int32),
            np.where(source >= 0, number[source], np.where(leaves, np.int32(-1), number)),
            value / np.where(leaves, value.sum(axis=0), 1.0),
        )

    @property
    def two_sided(self) -> np.ndarray:
        """Marks the nodes that leave and have two sources."""
        return self.leaves & np.all(self.source >= 0, axis=0)

    def interpolation(self) -> csr_array:
        """Return the matrix (nodes, staying)."""
        count = len(self.stays)
        below, above = (np.flatnonzero(self.leaves & (source >= 0)) for source in self.source)
        entries = [
            (self.stays, np.arange(count, dtype=np.int32), np.ones(count)),
            (below, self.source[0, below], self.weight[0, below]),
            (above, self.source[1, above], self.weight[1, above]),
        ]
        row, column, value = (np.concatenate(part) for part in zip(*entries, strict=True))
        return csr_array((value, (row, column)), shape=(len(self.leaves), count))


class _Edges:
    """Collects the edges of a coarse graph of `size` nodes; parallel ones are added."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.parts: list[tuple[np.ndarray, ...]] = []

    def add(self, tail: np.ndarray, head: np.ndarray, axis: np.ndarray | int, conductance: np.ndarray) -> None:
        """Add edges between coarse nodes; those from a node to itself are left out."""
        apart = np.flatnonzero(tail != head)
        # Encode (axis, head) as one column index, so that summing duplicates merges parallel edges.
        column = (axis * self.size + head)[apart].astype(np.int32)
        self.parts.append((tail[apart], column, *conductance[:, apart]))

    def graph(self, fine: Graph, stays: np.ndarray, mass: np.ndarray) -> Graph:
        """Return the graph of the nodes of a finer one that stay."""
        row, column, *values = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        sums = [csr_array((value, (row, column)), shape=(self.size, 3 * self.size)) for value in values]
        return Graph(
            lines=fine.lines[:, stays],
            tail=np.repeat(np.arange(self.size, dtype=np.int32), np.diff(sums[0].indptr)),
            head=sums[0].indices % self.size,
            axis=(sums[0].indices // self.size).astype(fine.axis.dtype),
            conductance=np.stack([matrix.data for matrix in sums]),
            mass=mass,
            kind=fine.kind[stays],
        )


def _eliminate(graph: Graph, axis: int, up: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, csr_array, Graph]:
    """Leave nodes out along one axis; return who stays, the interpolation (nodes, staying), and the coarse graph.

    Args:
      up, down: edges whose tail, and edges whose head, leaves and is interpolated from the other end.
    """
    c, leavers = graph.conductance, _Leavers.of(graph, up, down)
    weight, edges = leavers.weight, _Edges(len(leavers.stays))
    # Along the axis: what is left of the two edges of a node between its two sources. With weights in proportion to
    # the conductances that is their series connection.
    series = np.zeros((len(c), graph.size))
    series[:, graph.tail[up]] += c[:, up] * weight[1, graph.tail[up]] ** 2
    series[:, graph.head[down]] += c[:, down] * weight[0, graph.head[down]] ** 2
    # All other edges: those between nodes that stay are as they were.
    rest = np.ones(len(graph.tail), bool)
    rest[up] = rest[down] = False
    touched = leavers.leaves[graph.tail] | leavers.leaves[graph.head]
    e = np.flatnonzero(rest & ~touched)
    number = leavers.source[0]  # of nodes that stay
    edges.add(number[graph.tail[e]], number[graph.head[e]], graph.axis[e].astype(np.int32), c[:, e])
    series = _lump(graph, np.flatnonzero(rest & touched), leavers, edges, series)
    node = np.flatnonzero(leavers.two_sided)
    edges.add(leavers.source[1, node], leavers.source[0, node], axis, series[:, node])
    interpolation = leavers.interpolation()
    return leavers.stays, interpolation, edges.graph(graph, leavers.stays, interpolation.T @ graph.mass)


def _lump(graph: Graph, e: np.ndarray, leavers: _Leavers, edges: _Edges, series: np.ndarray) -> np.ndarray:
    """Hand edges of nodes that leave to their sources; return conductances along the axis with the energy it misses.

    They go to the sources on each side that both ends have, in proportion to the mean weight.
    """
    tail, head, along, c = graph.tail[e], graph.head[e], graph.axis[e].astype(np.int32), graph.conductance[:, e]
    leaves, weight, source, two_sided = leavers.leaves, leavers.weight, leavers.source, leavers.two_sided
    part = []
    for node, other in ((tail, head), (head, tail)):
        # A node that stays is its own source on whichever side the other end has one.
        lone = np.where(leaves[other], weight[:, other], np.array([[1.0], [0.0]]))
        part.append(np.where(leaves[node], weight[:, node], lone))
    shared = np.where((part[0] > 0) & (part[1] > 0), (part[0] + part[1]) / 2, 0.0)
    total = np.asarray(shared.sum(axis=0))
    across = np.equal(total, 0)  # no side in common
    shared /= np.where(across, 1.0, total)
    for side in (0, 1):
        k = np.flatnonzero(shared[side] > 0)
        edges.add(source[side, tail[k]], source[side, head[k]], along[k], c[:, k] * shared[side, k])
        k = np.flatnonzero(across & (part[0][side] > 0) & (part[1][1 - side] > 0))
        edges.add(source[side, tail[k]], source[1 - side, head[k]], along[k], c[:, k])
    # What that misses of the energy, as conductance between the two sources of a node. Where the weights of the ends
    # differ by d, the interpolated difference along the edge also has d times the difference of the sources: c d^2 more
    # energy there, half of it at each end that has two sources. Where the other end stays, the shares of the edge have
    # c w (1 - w) too much.
    missed = np.zeros_like(series)
    for node, other in ((tail, head), (head, tail)):
        k = np.flatnonzero(two_sided[node] & ~across)
        of_node, of_other = weight[0, node[k]], weight[0, other[k]]
        differ = np.where(two_sided[other[k]], 0.5, 1.0) * (of_node - of_other) ** 2
        energy = np.where(leaves[other[k]], differ, -of_node * weight[1, node[k]])
        for field, values in zip(missed, c[:, k] * energy, strict=True):
            field += np.bincount(node[k], values, graph.size)
    return np.maximum(series + missed, LEAST * series)


def _level(graph: Graph, interpolation: csr_array, dtype: DTypeLike) -> Level:
    of_edges = CONDUCTANCE if dtype == np.float32 else dtype
    edges, (a, b, d) = graph.blocks(of_edges)
    two = len(graph.conductance) == 2
    main = np.stack([a, d], axis=1) if two else a[:, None]
    diagonal = jax.device_put(main.astype(dtype)), jax.device_put(b.astype(dtype)) if two else None
    weights = _whole(interpolation)
    forth, back = (Rows.of(part, dtype=np.uint16, unit=WEIGHT) for part in (weights, weights.T.tocsr()))
    return Level(Rows.of(edges, dtype=of_edges), diagonal, forth, back)


def _whole(interpolation: csr_array) -> csr_array:
    """Return weights as multiples of `WEIGHT`, whose sum stays exact in every row.

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
    """Return the matrix of a graph, fields outside, nodes inside."""
    edges, (a, b, d) = graph.blocks()
    off = edges.toarray()
    if len(graph.conductance) == 1:
        return np.diag(a) - off
    mean, coupling = np.diag(a) - off.real - off.imag, np.diag(b) - off.real + off.imag
    return np.block([[mean, coupling], [coupling, mean + np.diag(d - a)]])


def hold(hierarchy: Hierarchy, held: np.ndarray, pieces: np.ndarray | None = None) -> Held:
    """Prepare the cycle for a set of nodes held at zero.

    Args:
      held: marks nodes of the finest level.
      pieces: connected piece that each node belongs to. On one without held nodes a constant costs nothing; the
        coarsest matrix is given a spring for it, which changes nothing else.
    """
    pieces = np.zeros(len(held), int) if pieces is None else pieces
    loose = np.bincount(pieces, held) == 0
    free = []
    for kept in hierarchy.kept:
        free.append(jax.device_put(~held))
        held, pieces = held[kept], pieces[kept]
    matrix = hierarchy.coarsest
    fields = len(matrix) // max(len(held), 1)
    inside = np.flatnonzero(np.tile(~held, fields))
    coarsest = np.zeros_like(matrix)
    block = matrix[np.ix_(inside, inside)]
    for piece in np.flatnonzero(loose):
        # Of two fields, mean and half the difference, the first one.
        constant = np.concatenate([pieces == piece, *[np.zeros(len(held), bool)] * (fields - 1)])[inside].astype(float)
        if constant.any():
            block = block + np.outer(constant, constant) * (constant @ block.diagonal() / constant.sum() ** 2)
    coarsest[np.ix_(inside, inside)] = _inverse(block)
    return Held(tuple(free), jax.device_put(coarsest.astype(hierarchy.dtype)))


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Return the inverse of a symmetric matrix: by its Cholesky factor, which takes half the time of LU's."""
    if not matrix.size:
        return matrix
    factor, failed = lapack.dpotrf(matrix, lower=True)
    if not failed:
        inverse, failed = lapack.dpotri(factor, lower=True)
    if not failed:
        return np.tril(inverse) + np.tril(inverse, -1).T
    # A piece that is connected to nothing held: the solve will not converge there and says so.
    return np.linalg.pinv(matrix, hermitian=True)
