"""Split a system over accelerators: which nodes, segments and levels each one holds, in local numbers.

Set-up on the host; what runs is in `parallel.sharding`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array
from scipy.sparse import csr_array

from thermospin.base.errors import InputError
from thermospin.linear.multigrid import Held, Level, Multigrid
from thermospin.linear.sparse import Rows
from thermospin.operators import Axis, Discretisation, Merged
from thermospin.parallel.sharding import MEMBERS, SLABS, AcrossSlabs, Halo, NodalHalo, Shards, Tail, on_mesh
from thermospin.solve import System

#: Levels of at most this many nodes are solved by one accelerator for all: messages cost more than they do.
TOGETHER = 30_000


@dataclasses.dataclass(frozen=True, eq=False)
class Places:
    """The distribution of the nodes of a level.

    Attributes:
      part: accelerator of each node.
      local: number of each node there.
      size: padded number of nodes of every accelerator.
      nodes: numbers of the nodes of each accelerator.
    """

    part: np.ndarray
    local: np.ndarray
    size: int
    nodes: list[np.ndarray]

    @classmethod
    def of(cls, part: np.ndarray, parts: int) -> Places:
        """Number the nodes of every accelerator in their order."""
        nodes = [np.flatnonzero(part == k) for k in range(parts)]
        local = np.zeros(len(part), int)
        for numbers in nodes:
            local[numbers] = np.arange(len(numbers))
        return cls(part, local, max(1, *(len(numbers) for numbers in nodes)), nodes)

    def stacked(self, values: np.ndarray, pad: Any = 0) -> np.ndarray:
        """Return values of nodes (nodes, ...) by accelerator (parts, size, ...)."""
        out = np.full((len(self.nodes), self.size, *values.shape[1:]), pad, values.dtype)
        out[self.part, self.local] = values
        return out


def halo_of(places: Places, wanted: Sequence[np.ndarray]) -> tuple[Halo, list[dict[int, int]]]:
    """Return the exchange that brings every accelerator the nodes that it needs, and where each of them then is.

    Args:
      places: of the nodes.
      wanted: for each accelerator numbers of nodes of others.
    """
    parts = len(places.nodes)
    by_offset: dict[int, list[np.ndarray]] = {}
    for k, nodes in enumerate(wanted):
        distance = (k - places.part[nodes]) % parts
        for offset in np.unique(distance):
            by_offset.setdefault(int(offset), [np.zeros(0, int)] * parts)[k] = nodes[distance == offset]
    send: list[Any] = []
    ways: list[tuple[tuple[int, int], ...]] = []
    local, start = [dict[int, int]() for _ in range(parts)], places.size
    for offset in sorted(by_offset):
        length = max(len(nodes) for nodes in by_offset[offset])
        index = np.zeros((parts, length), np.int32)
        for k, nodes in enumerate(by_offset[offset]):
            index[(k - offset) % parts, : len(nodes)] = places.local[nodes]
            local[k].update(zip(nodes.tolist(), range(start, start + len(nodes)), strict=True))
        send.append(index)
        ways.append(tuple(((k - offset) % parts, k) for k, nodes in enumerate(by_offset[offset]) if len(nodes)))
        start += length
    return Halo(tuple(send), tuple(sorted(by_offset)), tuple(ways)), local


def distribute(rows: Rows, of_rows: Places, of_columns: Places) -> Rows:
    """Split a matrix by rows; its columns are numbered with the halo that they need."""
    entries = rows.matrix(len(of_columns.part)).tocoo()
    owner = of_rows.part[entries.row]
    chosen = [np.flatnonzero(owner == k) for k in range(len(of_rows.nodes))]
    used = [np.unique(entries.col[part]) for part in chosen]
    halo, places = halo_of(of_columns, [columns[of_columns.part[columns] != k] for k, columns in enumerate(used)])
    shape = of_rows.size, of_columns.size + halo.size
    matrices = []
    for k, part in enumerate(chosen):
        number = of_columns.local.copy()
        number[list(places[k])] = list(places[k].values())
        at = of_rows.local[entries.row[part]], number[entries.col[part]]
        matrices.append(csr_array((entries.data[part], at), shape=shape))
    return Rows.stacked(matrices, dtype=rows.weight[0][0].dtype, unit=rows.unit, halo=halo)


def slabs(disc: Discretisation, shape: Sequence[int], parts: int) -> np.ndarray:
    """Return the accelerator of each T-node: slabs of whole cells along the longest axis, of about equal unknowns.

    Args:
      shape: number of grid lines of nodes along each axis.
    """
    axis = int(np.argmax(shape))
    # Cut at borders of cells: messages to either side are then alike at every cut.
    plane = np.unravel_index(disc.index_T, shape)[axis] // disc.order
    weight = np.bincount(plane, np.where(np.arange(disc.nodes_T) < disc.nodes_V, 3.0, 1.0))
    middle = np.cumsum(weight) - weight / 2
    return np.minimum((middle / weight.sum() * parts).astype(int), parts - 1)[plane]


def shard(system: System, shape: Sequence[int], mesh: Mesh) -> Shards:
    """Split a system over the accelerators of a mesh.

    Args:
      system: of one accelerator.
      shape: number of grid lines of nodes along each axis.
      mesh: by `mesh_of`; accelerators along `SLABS` split the system, those along `MEMBERS` have the same parts.
    Raises:
      InputError: fewer planes of cells than accelerators.
    """
    disc, parts = system.disc, mesh.shape[SLABS]
    cells = (max(shape) - 1) // disc.order
    if cells < parts:
        raise InputError(f"a grid of {cells} cells along its longest axis cannot be split over {parts} devices")
    nodes = _Nodes.of(disc, slabs(disc, shape, parts), parts)
    segments = [_touching(axis, nodes.T.part, parts) for axis in disc.axes]
    halo, numbers = nodes.halo(disc, segments)
    axes, of_segments = zip(
        *(_local_axis(axis, chosen, nodes, numbers) for axis, chosen in zip(disc.axes, segments, strict=True)),
        strict=True,
    )
    local_disc = Discretisation(
        axes=axes,
        volume=None,
        index_V=np.zeros(nodes.V.size),
        index_T=np.zeros(nodes.T.size),
        number_T=np.zeros(nodes.T.size),
        held_T=np.zeros(0),
        order=disc.order,
        domains=disc.domains,
        merged=_merged(disc, nodes),
        halo=halo,
    )
    gather, scatter = nodes.unknowns(disc)
    free: Any = np.append(np.asarray(system.free), False)[gather]
    levels = [
        _shard_levels(mg, held, first, parts)
        for mg, held, first in zip(system.mg, system.held, (nodes.V, nodes.T), strict=True)
    ]
    across = AcrossSlabs(batched=parts > 1 and mesh.shape[MEMBERS] > 1)
    mgs, helds = (levels[0][0], levels[1][0]), (levels[0][1], levels[1][1])
    local_system = System(local_disc, free, mgs, helds, None, across)
    placed = NamedSharding(mesh, PartitionSpec(SLABS))
    arrays, static = eqx.partition(local_system, lambda leaf: isinstance(leaf, np.ndarray | jax.Array))
    arrays = jax.tree.map(lambda leaf: on_mesh(_by_part(leaf, parts), placed), arrays)
    of_V = nodes.V.stacked(np.arange(disc.nodes_V)), nodes.V.stacked(np.ones(disc.nodes_V, bool), False)
    return Shards(
        eqx.combine(arrays, static),
        (of_segments, jnp.asarray(of_V[0]), jnp.asarray(of_V[1])),
        jnp.asarray(gather),
        jnp.asarray(scatter),
        mesh,
    )


@dataclasses.dataclass(frozen=True)
class _Nodes:
    """The distribution of the nodes of a discretisation.

    Attributes:
      V: V-nodes, which are the first T-nodes.
      others: T-nodes that are no V-nodes.
      T: all T-nodes: locally those of V first, padded, then the others.
    """

    V: Places
    others: Places
    T: Places

    @classmethod
    def of(cls, disc: Discretisation, part: np.ndarray, parts: int) -> _Nodes:
        n = disc.nodes_V
        V, others = Places.of(part[:n], parts), Places.of(part[n:], parts)
        numbers = [np.concatenate([V.nodes[k], n + others.nodes[k]]) for k in range(parts)]
        local = np.concatenate([V.local, V.size + others.local])
        return cls(V, others, Places(part, local, V.size + others.size, numbers))

    def halo(
        self, disc: Discretisation, segments: Sequence[Sequence[np.ndarray]]
    ) -> tuple[NodalHalo, list[np.ndarray]]:
        """Return the exchange that the segments of every part need, and the number of each T-node in it afterwards."""
        n, parts = disc.nodes_V, len(self.T.nodes)
        wanted: list[np.ndarray] = []
        for k in range(parts):
            touched = [
                np.asarray(axis.nodes_T)[:, chosen[k]].ravel() for axis, chosen in zip(disc.axes, segments, strict=True)
            ]
            used = np.unique(np.concatenate(touched))
            wanted.append(used[self.T.part[used] != k])
        halo_V, at_V = halo_of(self.V, [far[far < n] for far in wanted])
        halo_T, at_T = halo_of(self.others, [far[far >= n] - n for far in wanted])
        reach = self.V.size + halo_V.size
        numbers = []
        for k in range(parts):
            number = np.concatenate([self.V.local, reach + self.others.local])
            number[np.fromiter(at_V[k], int)] = np.fromiter(at_V[k].values(), int)
            number[n + np.fromiter(at_T[k], int)] = reach + np.fromiter(at_T[k].values(), int)
            numbers.append(number)
        return NodalHalo(halo_V, halo_T, self.V.size), numbers

    def unknowns(self, disc: Discretisation) -> tuple[np.ndarray, np.ndarray]:
        """Return for V_up, V_down and T where each local unknown is in a field vector, and the reverse."""
        n, parts = disc.nodes_V, len(self.T.nodes)
        gather = np.full((parts, 2 * self.V.size + self.T.size), disc.unknowns, np.int32)
        scatter = np.zeros(disc.unknowns, np.int32)
        starts = (0, self.V.size, 2 * self.V.size, 3 * self.V.size)
        for k, (of_V, others) in enumerate(zip(self.V.nodes, self.others.nodes, strict=True)):
            for start, ids in zip(starts, (of_V, n + of_V, 2 * n + of_V, 3 * n + others), strict=True):
                gather[k, start : start + len(ids)] = ids
                scatter[ids] = k * gather.shape[1] + start + np.arange(len(ids))
        return gather, scatter


def _touching(axis: Axis, part: np.ndarray, parts: int) -> list[np.ndarray]:
    """Return for each part the segments that have a node there, without the dummy."""
    touch = part[np.asarray(axis.nodes_T)[:, 1:]]  # (p+1, segments)
    return [1 + np.flatnonzero((touch == k).any(axis=0)) for k in range(parts)]


def _local_axis(
    axis: Axis, segments: Sequence[np.ndarray], nodes: _Nodes, numbers: Sequence[np.ndarray]
) -> tuple[Axis, tuple[Array, Array]]:
    """Return the segments of one axis by part, and which segments they are, metal ones and all.

    Args:
      segments: of each part.
      numbers: of each T-node in each part, see `_Nodes.halo`.
    """
    parts, nodes_T = len(segments), np.asarray(axis.nodes_T)
    metal = [chosen[chosen < axis.metal] for chosen in segments]
    others = [chosen[chosen >= axis.metal] for chosen in segments]
    most = 1 + max(map(len, metal))
    picked = np.zeros((parts, most + max(map(len, others))), np.int32)  # the dummy, and padding, are segment 0
    local = np.zeros((parts, axis.order + 1, picked.shape[1]), np.int32)
    slots_V, slots_T = (np.zeros((parts, 2, size), np.int32) for size in (nodes.V.size, nodes.T.size))
    for k in range(parts):
        picked[k, 1 : 1 + len(metal[k])] = metal[k]
        picked[k, most : most + len(others[k])] = others[k]
        local[k] = np.where(picked[k] > 0, numbers[k][nodes_T[:, picked[k]]], 0)
        for slots, kept in ((slots_V[k], picked[k, :most]), (slots_T[k], picked[k])):
            ids = nodes_T[:, kept]
            places = np.arange(ids.size).reshape(ids.shape)
            here = (nodes.T.part[ids] == k) & (kept > 0)
            slots[0, nodes.T.local[ids[:-1][here[:-1]]]] = places[:-1][here[:-1]]
            slots[1, nodes.T.local[ids[-1][here[-1]]]] = places[-1][here[-1]]
    made = Axis(local, None, slots_V, slots_T, most, axis.order, axis.direction, axis.link)  # type: ignore[arg-type]
    return made, (jnp.asarray(picked[:, :most]), jnp.asarray(picked))


def _merged(disc: Discretisation, nodes: _Nodes) -> Merged | None:
    """Return the merged nodes of each part: both of a pair are at one place, so in one part."""
    if disc.merged is None:
        return None

    def local(pairs: Array, places: Places) -> np.ndarray:
        ends = np.asarray(pairs)
        parts = [ends[:, places.part[ends[0]] == k] for k in range(len(places.nodes))]
        # What fills up lies beyond the last node, where nothing is written.
        out = np.full((len(parts), 2, max(part.shape[1] for part in parts)), places.size, np.int32)
        for row, part in zip(out, parts, strict=True):
            row[:, : part.shape[1]] = places.local[part]
        return out

    return Merged(local(disc.merged.V, nodes.V), local(disc.merged.T, nodes.T))  # type: ignore[arg-type]


def _by_part(leaf: Any, parts: int) -> Any:
    """Return an array with a leading axis of parts; what all have alike is repeated."""
    return leaf if len(leaf) == parts and leaf.ndim > 1 else np.broadcast_to(leaf, (parts, *leaf.shape))


def _shard_levels(mg: Multigrid, held: Held, first: Places, parts: int) -> tuple[Multigrid, Held]:
    """Return the levels of a multigrid by part, and those that one accelerator solves for all."""
    levels, free = [], []
    places = first
    count = next((k for k, level_free in enumerate(held.free) if len(level_free) <= TOGETHER), len(mg.levels))
    for level, level_free in zip(mg.levels[:count], held.free[:count], strict=True):
        coarse = level.restriction.size
        # A node of the next level is where the fine node is that it was: the one it is interpolated from alone.
        weights = level.interpolation.matrix(coarse)
        alone = np.flatnonzero(np.diff(weights.indptr) == 1)
        owner = np.zeros(coarse, int)
        owner[weights.indices[weights.indptr[alone]]] = places.part[alone]
        below = Places.of(owner, parts)
        main, coupling = (None if part is None else places.stacked(np.asarray(part)) for part in level.diagonal)
        diagonal: Any = main, coupling
        levels.append(
            Level(
                distribute(level.edges, places, places),
                diagonal,
                distribute(level.interpolation, places, below),
                distribute(level.restriction, below, places),
            )
        )
        free.append(places.stacked(np.asarray(level_free), False))
        places = below
    tail = Tail(
        Multigrid(mg.levels[count:]),
        (places.part * places.size + places.local).astype(np.int32),
        places.stacked(np.arange(len(places.part), dtype=np.int32)),  # type: ignore[arg-type]
    )
    rest = Held(held.free[count:], held.coarsest)
    tail, rest = jax.tree.map(lambda leaf: np.broadcast_to(np.asarray(leaf), (parts, *leaf.shape)), (tail, rest))
    return Multigrid(tuple(levels), tail), Held(tuple(free), np.zeros((parts, 1, 1), held.coarsest.dtype), rest)  # type: ignore[arg-type]
