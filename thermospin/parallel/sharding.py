"""A solve on many devices: nodes split into slabs, neighbours exchange what lies next to the cuts.

Every device holds the nodes of one slab of the grid, the segments that touch them, and the same of every level of the
multigrid, numbered by itself; where a segment or a row of a matrix needs a node of a neighbour, its value comes in by
`Halo.extend`. The programs are those of one device (`operators.apply_nodal`, `multigrid.cycles`, `solve.pcg`): they run
under `jax.shard_map` on local arrays, which are padded to one size, and differ in three places: the halo of an
operator, the sum over devices of an inner product, and levels with few nodes, which one device works out for all.

Values do not depend on the number of devices but for the order in which sums are taken.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array
from scipy.sparse import csr_array

from thermospin import solve
from thermospin.base.errors import InputError
from thermospin.linear import multigrid
from thermospin.linear.multigrid import Held, Level, Multigrid, Values
from thermospin.linear.sparse import Rows, take
from thermospin.operators import Axis, Coefficients, Discretisation, Fields, Law, Nodal
from thermospin.solve import MEMBERS, SLABS, Stats, System, after

#: Levels of at most so many nodes are worked out by one device for all: messages cost more than they do.
TOGETHER = 30_000


class Halo(eqx.Module):
    """What a device gets from others before it multiplies.

    Attributes:
      send: for each message the own entries that it has.
      offsets: for each message by how many devices it goes up, modulo their number; no two alike.
      ways: for each message from which device it goes to which.
      needed: values that all devices together need, without padding.
    """

    send: tuple[Array, ...]
    offsets: tuple[int, ...] = eqx.field(static=True)
    ways: tuple[tuple[tuple[int, int], ...], ...] = eqx.field(static=True)
    needed: int = eqx.field(static=True)

    @staticmethod
    def messages(halos: Sequence[Halo]) -> list[tuple[list[tuple[int, int]], list[tuple[int, int]]]]:
        """Merge messages that go the same way: ways of each, and which halos have which of theirs in it."""
        out = []
        for offset in sorted({offset for halo in halos for offset in halo.offsets}):
            own = [(k, halo.offsets.index(offset)) for k, halo in enumerate(halos) if offset in halo.offsets]
            out.append((sorted({way for k, i in own for way in halos[k].ways[i]}), own))
        return out

    def extend(self, halos: Sequence[Self], xs: Sequence[Array]) -> list[Array]:
        """For each halo own values, then those from the others, message by message."""
        parts = [[x] for x in xs]
        last = xs[0]
        for ways, own in Halo.messages(halos):
            pieces = [take(xs[k], halos[k].send[i]) for k, i in own]
            last = lax.ppermute(after(jnp.concatenate([piece.ravel() for piece in pieces]), last), SLABS, ways)
            ends = np.cumsum([piece.size for piece in pieces])
            for (k, _), piece, part in zip(own, pieces, jnp.split(last, ends[:-1]), strict=True):
                parts[k].append(part.reshape(piece.shape))
        return [jnp.concatenate(each) if len(each) > 1 else each[0] for each in parts]

    @property
    def size(self) -> int:
        """Number of values that come in."""
        return sum(index.shape[-1] for index in self.send)


class NodalHalo(eqx.Module):
    """The halo of a discretisation: of metal nodes, for potentials and temperature alike, and of other nodes."""

    metal: Halo
    others: Halo
    own_metal: int = eqx.field(static=True)

    def extend(self, x: Nodal) -> Nodal:
        """Local numbers of T-nodes: own metal nodes, those of others, own other nodes, those of others."""
        columns = x.V.shape[2]
        metal = jnp.concatenate([x.V.reshape(len(x.V), -1), x.T[: self.own_metal]], axis=1)
        both, rest = self.metal.extend([self.metal, self.others], [metal, x.T[self.own_metal :]])
        V = both[:, : 2 * columns].reshape(len(both), 2, columns)
        return Nodal(V, jnp.concatenate([both[:, 2 * columns :], rest]))


class Tail(eqx.Module):
    """The levels of a hierarchy that one device works out for all.

    Attributes:
      mg: these levels.
      place: of each node in the values of all devices one after another (nodes,).
      own: numbers of every device's nodes, 0 where it has fewer (devices, local).
    """

    mg: Multigrid
    place: Array
    own: Array

    def cycles(self, tails: Sequence[Self], helds: Sequence[Held], rs: Sequence[Values]) -> list[Values]:
        """The rest of the cycles, from local values to local values: the k-th hierarchy's by the k-th device."""
        devices, length = len(tails[0].own), max(r.size for r in rs)
        if devices == 1:
            whole = [take(r, tail.place) for r, tail in zip(rs, tails, strict=True)]
            xs = multigrid.cycles([tail.mg for tail in tails], helds, whole)
            return [take(x, tail.own[0]) for x, tail in zip(xs, tails, strict=True)]

        def filled(values: Array) -> Array:
            return jnp.pad(values, ((0, 0), (0, length - values.shape[1])))

        def of(k: int) -> Any:
            local = rs[k].shape

            def run(parts: Array) -> Array:
                whole = take(parts[:, : rs[k].size].reshape(-1, *local[1:]), tails[k].place)
                x = multigrid.cycle(tails[k].mg, helds[k], whole)
                return filled(take(x, tails[k].own).reshape(devices, -1))

            return run

        # To the k-th device its hierarchy's values, to those beyond nothing; then back, a part to each.
        there = jnp.concatenate([filled(r.reshape(1, -1)) for r in rs])
        parts = lax.all_to_all(jnp.pad(there, ((0, devices - len(rs)), (0, 0))), SLABS, 0, 0)
        runs = [*(of(k) for k in range(len(rs))), jnp.zeros_like]
        found = lax.switch(jnp.minimum(lax.axis_index(SLABS), len(rs)), runs, parts)
        back = lax.all_to_all(found, SLABS, 0, 0)
        return [back[k, : r.size].reshape(r.shape) for k, r in enumerate(rs)]


@dataclasses.dataclass(frozen=True)
class Places:
    """Where the nodes of a level went.

    Attributes:
      device, local: of each node.
      size: padded number of nodes of every device.
      own: numbers of the nodes of each device.
    """

    device: np.ndarray
    local: np.ndarray
    size: int
    own: list[np.ndarray]

    @classmethod
    def of(cls, device: np.ndarray, devices: int) -> Places:
        """In the order of their numbers on every device."""
        own = [np.flatnonzero(device == k) for k in range(devices)]
        local = np.zeros(len(device), int)
        for each in own:
            local[each] = np.arange(len(each))
        return cls(device, local, max(1, *(len(each) for each in own)), own)

    def stacked(self, values: np.ndarray, pad: Any = 0) -> np.ndarray:
        """Values of nodes (nodes, ...) by device (devices, size, ...)."""
        out = np.full((len(self.own), self.size, *values.shape[1:]), pad, values.dtype)
        out[self.device, self.local] = values
        return out


def halo_of(places: Places, wanted: Sequence[np.ndarray]) -> tuple[Halo, list[dict[int, int]]]:
    """The exchange that brings every device the nodes that it wants, and where each of them then is.

    Args:
      places: of the nodes.
      wanted: for each device numbers of nodes of others.
    """
    devices = len(places.own)
    by_offset: dict[int, list[np.ndarray]] = {}
    for k, nodes in enumerate(wanted):
        for offset in np.unique((k - places.device[nodes]) % devices):
            own = nodes[(k - places.device[nodes]) % devices == offset]
            by_offset.setdefault(int(offset), [np.zeros(0, int)] * devices)[k] = own
    send: list[Any] = []
    ways: list[tuple[tuple[int, int], ...]] = []
    found, start = [dict[int, int]() for _ in range(devices)], places.size
    for offset in sorted(by_offset):
        length = max(len(each) for each in by_offset[offset])
        index = np.zeros((devices, length), np.int32)
        for k, nodes in enumerate(by_offset[offset]):
            index[(k - offset) % devices, : len(nodes)] = places.local[nodes]
            found[k].update(zip(nodes.tolist(), range(start, start + len(nodes)), strict=True))
        send.append(index)
        ways.append(tuple(((k - offset) % devices, k) for k, nodes in enumerate(by_offset[offset]) if len(nodes)))
        start += length
    return Halo(tuple(send), tuple(sorted(by_offset)), tuple(ways), sum(map(len, wanted))), found


def csr_of(rows: Rows, columns: int) -> csr_array:
    """The matrix that a `Rows` was made of, in its own units and precision; pairs as complex numbers."""
    entries: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def collect(part: Rows, number: np.ndarray) -> None:
        for index, weights in zip(part.index, part.weight, strict=True):
            value = np.asarray(weights[0]).astype(float)
            if len(weights) > 1:
                value = value + 1j * np.asarray(weights[1]).astype(float)
            keep = value != 0
            entries.append((number[keep], np.asarray(index)[keep], value[keep]))
        if part.rest is not None and part.place is not None:
            place = np.asarray(part.place)
            long = np.flatnonzero(place < part.rest.size)
            collect(part.rest, number[long[np.argsort(place[long])]])

    collect(rows, np.arange(rows.size))
    row, column, value = (np.concatenate(each) for each in zip(*entries, strict=True))
    return csr_array((value, (row, column)), shape=(rows.size, columns))


def _stack(matrices: Sequence[csr_array], like: Rows, halo: Halo | None, width: int | None = None) -> Rows:
    """`Rows` of local matrices by device, all of one shape."""
    dtype = like.weight[0][0].dtype
    pair = len(like.weight[0]) > 1
    counts = [np.diff(each.indptr) for each in matrices]
    rows = matrices[0].shape[0]
    longest = max(int(count.max(initial=0)) for count in counts)
    if width is None:
        total = np.concatenate(counts)
        cost = [
            rows * k + (longest > k) * (rows + (longest - k) * np.sum(total > k) / len(counts))
            for k in range(longest + 1)
        ]
        width = max(1, int(np.argmin(cost)))
    index = np.zeros((width, len(matrices), rows), np.int32)
    value = np.zeros((width, len(matrices), rows), complex if pair else float)
    for d, (matrix, count) in enumerate(zip(matrices, counts, strict=True)):
        for k in range(width):
            here = np.flatnonzero(count > k)
            entry = matrix.indptr[here] + k
            index[k, d, here], value[k, d, here] = matrix.indices[entry], matrix.data[entry]
    weights = tuple(
        tuple(part.astype(dtype) for part in ((each.real, each.imag) if pair else (each,))) for each in value
    )
    long = [np.flatnonzero(count > width) for count in counts]
    most = max(len(each) for each in long)
    if not most:
        return Rows(tuple(index), weights, None, None, like.unit, halo)
    place = np.full((len(matrices), rows), most, np.int32)
    rest = []
    for d, (matrix, count, each) in enumerate(zip(matrices, counts, long, strict=True)):
        place[d, each] = np.arange(len(each))
        length = np.zeros(most, int)
        length[: len(each)] = count[each] - width
        pointer = np.append(0, np.cumsum(length))
        entry = np.repeat(matrix.indptr[each] + width - pointer[: len(each)], length[: len(each)]) + np.arange(
            pointer[-1]
        )
        rest.append(csr_array((matrix.data[entry], matrix.indices[entry], pointer), shape=(most, matrix.shape[1])))
    more = _stack(rest, like, None, longest - width)
    return Rows(tuple(index), weights, more, place, like.unit, halo)  # type: ignore[arg-type]


def distribute(rows: Rows, of_rows: Places, of_columns: Places) -> Rows:
    """A matrix split by rows, its columns numbered with the halo that they need."""
    entries = csr_of(rows, len(of_columns.device)).tocoo()
    owner = of_rows.device[entries.row]
    chosen = [np.flatnonzero(owner == k) for k in range(len(of_rows.own))]
    used = [np.unique(entries.col[each]) for each in chosen]
    halo, found = halo_of(of_columns, [each[of_columns.device[each] != k] for k, each in enumerate(used)])
    shape = of_rows.size, of_columns.size + halo.size
    out = []
    for k, each in enumerate(chosen):
        number = of_columns.local.copy()
        number[list(found[k])] = list(found[k].values())
        place = of_rows.local[entries.row[each]], number[entries.col[each]]
        out.append(csr_array((entries.data[each], place), shape=shape))
    return _stack(out, rows, halo)


class Shards(eqx.Module):
    """A system split over devices.

    Attributes:
      system: its local parts, by device; without what only one device needs.
      law: for each axis the entries of V, VT and joule_TT, and of TT, by device; and those of the relaxation.
      gather: where in a field vector each local unknown is, its length where there is none (devices, local).
      scatter: where in the local unknowns of all devices one after another each entry of a field vector is (unknowns,).
      mesh: the devices.
    """

    system: System
    law: tuple[tuple[tuple[Array, Array], ...], Array, Array]
    gather: Array
    scatter: Array
    mesh: Mesh = eqx.field(static=True)

    def local(self, law: Coefficients) -> Coefficients:
        """A law by device."""
        segments = []
        for each, (metal, every) in zip(law.segments, self.law[0], strict=True):
            segments.append(Law(each.V[metal], each.VT[metal], each.TT[every], each.joule_TT[metal]))
        own, there = self.law[1:]
        relaxation = jnp.where(there, law.relaxation[own], 1.0)
        bath = jnp.broadcast_to(law.bath, (self.mesh.shape[SLABS],))
        return Coefficients(tuple(segments), relaxation, bath)  # type: ignore[arg-type]

    def pcg(self, law: Coefficients, b: Fields, x0: Fields, tolerance: Array, max_steps: Array) -> tuple[Fields, Stats]:
        """`solve.pcg` on all devices."""
        spread = NamedSharding(self.mesh, PartitionSpec(SLABS))

        def split(x: Fields) -> Array:
            padded = jnp.concatenate([x, jnp.zeros_like(x[:1])])
            return lax.with_sharding_constraint(padded[self.gather], spread)

        parts, static = eqx.partition((self.system, self.local(law)), eqx.is_array)

        def run(parts: Any, b: Array, x0: Array, tolerance: Array, max_steps: Array) -> tuple[Array, Stats]:
            one = jax.tree.map(lambda each: each[0], parts)
            system, local = eqx.combine(one, static)
            x, stats = solve.pcg(system, local, b[0], x0[0], tolerance, max_steps)
            return x[None], stats

        of_devices, whole = PartitionSpec(SLABS), PartitionSpec()
        mapped = jax.shard_map(
            run,
            mesh=self.mesh,
            in_specs=(of_devices, of_devices, of_devices, whole, whole),
            out_specs=(of_devices, whole),
            check_vma=False,
        )
        x, stats = mapped(parts, split(b), split(x0), tolerance, max_steps)
        return x.reshape(-1, x.shape[-1])[self.scatter], stats


def slabs(disc: Discretisation, shape: Sequence[int], devices: int) -> np.ndarray:
    """The device of each T-node: slabs of whole cells along the axis with most of them, of about equal unknowns.

    Args:
      shape: number of grid lines of nodes along each axis.
    """
    axis = int(np.argmax(shape))
    # Cut at borders of cells: messages to either side are then alike at every cut.
    plane = np.unravel_index(disc.index_T, shape)[axis] // disc.order
    weight = np.bincount(plane, np.where(np.arange(disc.nodes_T) < disc.nodes_V, 3.0, 1.0))
    middle = np.cumsum(weight) - weight / 2
    return np.minimum((middle / weight.sum() * devices).astype(int), devices - 1)[plane]


def shard(system: System, shape: Sequence[int], mesh: Mesh) -> Shards:
    """Splits a system over the devices of a mesh.

    Args:
      system: of one device.
      shape: number of grid lines of nodes along each axis.
      mesh: by `mesh_of`; those along `SLABS` split it, those along `MEMBERS` have the same.
    Raises:
      ValueError: fewer planes of cells than devices.
    """
    disc, devices = system.disc, mesh.shape[SLABS]
    cells = (max(shape) - 1) // disc.order
    if cells < devices:
        raise InputError(f"a grid of {cells} cells along its longest axis cannot be split over {devices} devices")
    device = slabs(disc, shape, devices)
    n = disc.nodes_V
    V, others = Places.of(device[:n], devices), Places.of(device[n:], devices)
    axes, wanted_V, wanted_T = [], [set[int]() for _ in range(devices)], [set[int]() for _ in range(devices)]
    picks = []
    for axis in disc.axes:
        nodes = np.asarray(axis.nodes_T)
        touch = device[nodes]  # (p+1, segments)
        chosen = []
        for k in range(devices):
            mine = (touch == k).any(axis=0)
            mine[0] = False
            chosen.append(np.flatnonzero(mine))
            far = np.unique(nodes[:, chosen[-1]])
            far = far[device[far] != k]
            wanted_V[k].update(far[far < n].tolist())
            wanted_T[k].update((far[far >= n] - n).tolist())
        picks.append(chosen)
    halo_V, at_V = halo_of(V, [np.array(sorted(each), int) for each in wanted_V])
    halo_T, at_T = halo_of(others, [np.array(sorted(each), int) for each in wanted_T])
    reach = V.size + halo_V.size
    law_of = []
    for axis, chosen in zip(disc.axes, picks, strict=True):
        nodes, order = np.asarray(axis.nodes_T), axis.order
        metal = [each[each < axis.metal] for each in chosen]
        rest = [each[each >= axis.metal] for each in chosen]
        most_metal, most_rest = 1 + max(map(len, metal)), max(map(len, rest))
        local = np.zeros((devices, order + 1, most_metal + most_rest), np.int32)
        slots_V = np.zeros((devices, 2, V.size), np.int32)
        slots_T = np.zeros((devices, 2, V.size + others.size), np.int32)
        of_metal = np.zeros((devices, most_metal), np.int32)
        of_all = np.zeros((devices, most_metal + most_rest), np.int32)
        for k in range(devices):
            number = np.zeros(disc.nodes_T, np.int64)
            number[:n] = V.local
            number[n:] = reach + others.local
            for node, place in at_V[k].items():
                number[node] = place
            for node, place in at_T[k].items():
                number[n + node] = reach + place
            of_metal[k, 1 : 1 + len(metal[k])] = metal[k]
            of_all[k, 1 : 1 + len(metal[k])] = metal[k]
            of_all[k, most_metal : most_metal + len(rest[k])] = rest[k]
            ids = nodes[:, of_all[k]]
            local[k] = number[ids]
            local[k][:, of_all[k] == 0] = 0
            own_T = np.zeros(disc.nodes_T, np.int64)  # place among own values of T
            own_T[:n], own_T[n:] = V.local, V.size + others.local
            for slots, kept in ((slots_V[k], of_metal[k]), (slots_T[k], of_all[k])):
                ids = nodes[:, kept]
                places = np.arange(ids.size).reshape(ids.shape)
                mine = (device[ids] == k) & (kept > 0)
                slots[0, own_T[ids[:-1][mine[:-1]]]] = places[:-1][mine[:-1]]
                slots[1, own_T[ids[-1][mine[-1]]]] = places[-1][mine[-1]]
        axes.append(Axis(local, None, slots_V, slots_T, most_metal, order, axis.direction))  # type: ignore[arg-type]
        law_of.append((jnp.asarray(of_metal), jnp.asarray(of_all)))
    local_disc = Discretisation(
        axes=tuple(axes),
        volume=None,  # type: ignore[arg-type]
        index_V=np.zeros(V.size),
        index_T=np.zeros(V.size + others.size),
        held_T=np.zeros(0),
        order=disc.order,
        domains=disc.domains,
        halo=NodalHalo(halo_V, halo_T, V.size),
    )
    # Local unknowns: V_up, V_down and T of own nodes.
    gather = np.full((devices, 2 * V.size + V.size + others.size), disc.unknowns, np.int32)
    scatter = np.zeros(disc.unknowns, np.int32)
    for k in range(devices):
        mine, rest_T = V.own[k], others.own[k]
        starts = (0, V.size, 2 * V.size, 3 * V.size)
        for start, ids in zip(starts, (mine, n + mine, 2 * n + mine, 3 * n + rest_T), strict=True):
            gather[k, start : start + len(ids)] = ids
            scatter[ids] = k * gather.shape[1] + start + np.arange(len(ids))
    free: Any = np.append(np.asarray(system.free), False)[gather]
    heat = Places(
        device,
        np.concatenate([V.local, V.size + others.local]),
        V.size + others.size,
        [np.concatenate([V.own[k], n + others.own[k]]) for k in range(devices)],
    )
    grids = [
        _shard_levels(mg, held, first, devices)
        for mg, held, first in zip(system.mg, system.held, (V, heat), strict=True)
    ]
    beside = devices > 1 and mesh.shape[MEMBERS] > 1
    local_system = System(local_disc, free, (grids[0][0], grids[1][0]), (grids[0][1], grids[1][1]), None, True, beside)
    placed = NamedSharding(mesh, PartitionSpec(SLABS))
    arrays, static = eqx.partition(local_system, lambda leaf: isinstance(leaf, np.ndarray | jax.Array))
    arrays = jax.tree.map(lambda leaf: on_mesh(_by_device(leaf, devices), placed), arrays)
    own = V.stacked(np.arange(n))
    there = V.stacked(np.ones(n, bool), False)
    return Shards(
        eqx.combine(arrays, static),
        (tuple(law_of), jnp.asarray(own), jnp.asarray(there)),
        jnp.asarray(gather),
        jnp.asarray(scatter),
        mesh,
    )


def on_mesh(values: Any, where: NamedSharding) -> Array:
    """Place what every process has on all devices; `device_put` would have them compare it first."""
    if where.is_fully_addressable:
        return jax.device_put(values, where)
    return jax.make_array_from_callback(values.shape, where, lambda part: values[part])


def _by_device(leaf: Any, devices: int) -> Any:
    """As it is if it has a part for each device; what all have alike is repeated."""
    return leaf if len(leaf) == devices and leaf.ndim > 1 else np.broadcast_to(leaf, (devices, *leaf.shape))


def _shard_levels(mg: Multigrid, held: Held, first: Places, devices: int) -> tuple[Multigrid, Held]:
    """The levels of a multigrid by device, and those that one works out for all."""
    levels, free = [], []
    places = first
    count = next((k for k, each in enumerate(held.free) if len(each) <= TOGETHER), len(mg.levels))
    for level, own_free in zip(mg.levels[:count], held.free[:count], strict=True):
        coarse = level.restriction.size
        # A node of the next level is where the fine node is that it was: the one it is interpolated from alone.
        weights = csr_of(level.interpolation, coarse)
        alone = np.flatnonzero(np.diff(weights.indptr) == 1)
        owner = np.zeros(coarse, int)
        owner[weights.indices[weights.indptr[alone]]] = places.device[alone]
        below = Places.of(owner, devices)
        main, coupling = (None if each is None else places.stacked(np.asarray(each)) for each in level.diagonal)
        diagonal: Any = main, coupling
        levels.append(
            Level(
                distribute(level.edges, places, places),
                diagonal,
                distribute(level.interpolation, places, below),
                distribute(level.restriction, below, places),
            )
        )
        free.append(places.stacked(np.asarray(own_free), False))
        places = below
    tail = Tail(
        Multigrid(mg.levels[count:]),
        (places.device * places.size + places.local).astype(np.int32),
        places.stacked(np.arange(len(places.device), dtype=np.int32)),  # type: ignore[arg-type]
    )
    rest = Held(held.free[count:], held.coarsest)
    tail, rest = jax.tree.map(lambda leaf: np.broadcast_to(np.asarray(leaf), (devices, *leaf.shape)), (tail, rest))
    return Multigrid(tuple(levels), tail), Held(tuple(free), np.zeros((devices, 1, 1), np.float32), rest)  # type: ignore[arg-type]


@functools.cache
def mesh_of(devices: int, members: int = 1) -> Mesh:
    """A mesh of the first devices: so many for each solve, so many solves side by side.

    Raises:
      ValueError: there are fewer.
    """
    known, wanted = jax.devices(), devices * members
    if wanted > len(known):
        raise InputError(
            f"got {wanted} devices, but JAX sees {len(known)} ({known[0].platform}); on a CPU, "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={wanted} makes so many"
        )
    return Mesh(np.array(known[:wanted]).reshape(members, devices), (MEMBERS, SLABS))
