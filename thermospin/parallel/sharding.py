"""Solve on many accelerators: each holds one slab of the nodes, and neighbours exchange what lies next to the cuts.

Every accelerator holds the nodes of its slab, the segments that touch them, and the same of every level of the
multigrid, in local numbers (`parallel.partition` makes them); where a segment or a row of a matrix needs a node of a
neighbour, its value comes in by `Halo.extend`. The programs are those of one accelerator (`operators.apply_nodal`,
`multigrid.cycles`, `solve.pcg`): they run under `jax.shard_map` on local arrays, padded to one size, and differ in
three places: the halo of an operator, sums over accelerators, and levels with few nodes, which one solves for all.

Values do not depend on the number of accelerators but for the order in which sums are taken.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool

from thermospin import solve
from thermospin.base.arrays import AnyArray
from thermospin.base.errors import InputError
from thermospin.linear import multigrid
from thermospin.linear.multigrid import Held, Multigrid, Values
from thermospin.linear.sparse import take
from thermospin.operators import Coefficients, Fields, Law, Nodal
from thermospin.solve import Stats, System

#: Names of the mesh axes: the one that a grid is split along, and the one that parameter sets are distributed along.
SLABS, MEMBERS = "slabs", "members"


def after(x: Array, done: Array) -> Array:
    """Return x with an artificial dependency on `done`, so that all accelerators send their messages in one order.

    Messages that do not depend on each other could be sent in another order by every accelerator, and wait for each
    other for ever; virtual devices, which share threads, do so.
    """
    return x + 0 * done.ravel()[0].astype(x.dtype)


@dataclasses.dataclass(frozen=True)
class AcrossSlabs:
    """Sums, maxima and decisions over all slabs; see `solve.Across`.

    Attributes:
      batched: whether this system is one of a batch over `MEMBERS`; convergence is then decided jointly, as a message
        may wait for every accelerator, so that all take as many steps.
    """

    batched: bool

    def sum(self, values: Array) -> Array:
        """Return the sum over slabs."""
        return lax.psum(values, SLABS)

    def max(self, values: Array) -> Array:
        """Return the maximum over slabs."""
        return lax.pmax(values, SLABS)

    def all(self, done: Bool[Array, ""]) -> Bool[Array, ""]:
        """Return True once all members of the batch are done."""
        return lax.pmin(done.astype(int), MEMBERS) > 0 if self.batched else done


class Halo(eqx.Module):
    """The values that an accelerator gets from others before it multiplies.

    Attributes:
      send: for each message the local entries in it.
      offsets: for each message by how many accelerators it goes up, modulo their number; no two alike.
      ways: for each message pairs (sender, receiver).
    """

    send: tuple[AnyArray, ...]
    offsets: tuple[int, ...] = eqx.field(static=True)
    ways: tuple[tuple[tuple[int, int], ...], ...] = eqx.field(static=True)

    @staticmethod
    def messages(halos: Sequence[Halo]) -> list[tuple[list[tuple[int, int]], list[tuple[int, int]]]]:
        """Merge messages that go the same way: the ways, and pairs (halo, message of it) that are in the merged one."""
        merged = []
        for offset in sorted({offset for halo in halos for offset in halo.offsets}):
            members = [(k, halo.offsets.index(offset)) for k, halo in enumerate(halos) if offset in halo.offsets]
            merged.append((sorted({way for k, i in members for way in halos[k].ways[i]}), members))
        return merged

    def extend(self, halos: Sequence[Self], xs: Sequence[Array]) -> list[Array]:
        """Return for each halo the local values, then those from the others, message by message."""
        parts = [[x] for x in xs]
        last = xs[0]
        for ways, members in Halo.messages(halos):
            pieces = [take(xs[k], halos[k].send[i]) for k, i in members]
            last = lax.ppermute(after(jnp.concatenate([piece.ravel() for piece in pieces]), last), SLABS, ways)
            ends = np.cumsum([piece.size for piece in pieces])
            for (k, _), piece, part in zip(members, pieces, jnp.split(last, ends[:-1]), strict=True):
                parts[k].append(part.reshape(piece.shape))
        return [jnp.concatenate(values) if len(values) > 1 else values[0] for values in parts]

    @property
    def size(self) -> int:
        """Number of values that come in."""
        return sum(index.shape[-1] for index in self.send)


class NodalHalo(eqx.Module):
    """The halo of a discretisation: of metal nodes, for potentials and temperature alike, and of other nodes."""

    metal: Halo
    others: Halo
    local_metal: int = eqx.field(static=True)

    def extend(self, x: Nodal) -> Nodal:
        """Return values in the order local metal nodes, metal nodes of others, local other nodes, those of others."""
        columns = x.V.shape[2]
        metal = jnp.concatenate([x.V.reshape(len(x.V), -1), x.T[: self.local_metal]], axis=1)
        both, rest = self.metal.extend([self.metal, self.others], [metal, x.T[self.local_metal :]])
        V = both[:, : 2 * columns].reshape(len(both), 2, columns)
        return Nodal(V, jnp.concatenate([both[:, 2 * columns :], rest]))


class Tail(eqx.Module):
    """The levels of a hierarchy that one accelerator solves for all.

    Attributes:
      mg: these levels.
      place: of each node in the concatenated values of all accelerators (nodes,).
      nodes: numbers of every accelerator's nodes, 0 where it has fewer (parts, local).
    """

    mg: Multigrid
    place: AnyArray
    nodes: AnyArray

    def cycles(self, tails: Sequence[Self], helds: Sequence[Held], rs: Sequence[Values]) -> list[Values]:
        """Return the rest of the cycles on local values: the k-th hierarchy's is run by the k-th accelerator."""
        parts, length = len(tails[0].nodes), max(r.size for r in rs)
        if parts == 1:
            whole = [take(r, tail.place) for r, tail in zip(rs, tails, strict=True)]
            xs = multigrid.cycles([tail.mg for tail in tails], helds, whole)
            return [take(x, tail.nodes[0]) for x, tail in zip(xs, tails, strict=True)]

        def filled(values: Array) -> Array:
            return jnp.pad(values, ((0, 0), (0, length - values.shape[1])))

        def cycle_of(k: int) -> Callable[[Array], Array]:
            local = rs[k].shape

            def run(received: Array) -> Array:
                whole = take(received[:, : rs[k].size].reshape(-1, *local[1:]), tails[k].place)
                x = multigrid.cycle(tails[k].mg, helds[k], whole)
                return filled(take(x, tails[k].nodes).reshape(parts, -1))

            return run

        # To the k-th accelerator its hierarchy's values, to those beyond nothing; then back, a part to each.
        there = jnp.concatenate([filled(r.reshape(1, -1)) for r in rs])
        received = lax.all_to_all(jnp.pad(there, ((0, parts - len(rs)), (0, 0))), SLABS, 0, 0)
        runs = [*(cycle_of(k) for k in range(len(rs))), jnp.zeros_like]
        solved = lax.switch(jnp.minimum(lax.axis_index(SLABS), len(rs)), runs, received)
        back = lax.all_to_all(solved, SLABS, 0, 0)
        return [back[k, : r.size].reshape(r.shape) for k, r in enumerate(rs)]


class Shards(eqx.Module):
    """A system split over accelerators.

    Attributes:
      system: its local parts, by accelerator; without what only one accelerator needs.
      law: for each axis the entries of V, VT and joule_TT, and of TT, by accelerator; and those of the relaxation.
      gather: where in a field vector each local unknown is, its length where there is none (parts, local).
      scatter: where in the concatenated local unknowns of all accelerators each entry of a field vector is (unknowns,).
      mesh: the accelerators.
    """

    system: System
    law: tuple[tuple[tuple[Array, Array], ...], Array, Array]
    gather: Array
    scatter: Array
    mesh: Mesh = eqx.field(static=True)

    def local(self, law: Coefficients) -> Coefficients:
        """Return a law by accelerator."""
        segments = []
        for whole, (metal, every) in zip(law.segments, self.law[0], strict=True):
            ud = None if whole.ud is None else whole.ud[metal]
            segments.append(Law(whole.V[metal], whole.VT[metal], whole.TT[every], whole.joule_TT[metal], ud))
        nodes, present = self.law[1:]
        relaxation = jnp.where(present, law.relaxation[nodes], 1.0)
        bath = jnp.broadcast_to(law.bath, (self.mesh.shape[SLABS],))
        return Coefficients(tuple(segments), relaxation, bath)

    def pcg(self, law: Coefficients, b: Fields, x0: Fields, tolerance: Array, max_steps: Array) -> tuple[Fields, Stats]:
        """Run `solve.pcg` on all accelerators."""
        spread = NamedSharding(self.mesh, PartitionSpec(SLABS))

        def split(x: Fields) -> Array:
            padded = jnp.concatenate([x, jnp.zeros_like(x[:1])])
            return lax.with_sharding_constraint(padded[self.gather], spread)

        parts, static = eqx.partition((self.system, self.local(law)), eqx.is_array)

        def run(parts: Any, b: Array, x0: Array, tolerance: Array, max_steps: Array) -> tuple[Array, Stats]:
            one = jax.tree.map(lambda leaf: leaf[0], parts)
            system, local = eqx.combine(one, static)
            x, stats = solve.pcg(system, local, b[0], x0[0], tolerance, max_steps)
            return x[None], stats

        split_up, whole = PartitionSpec(SLABS), PartitionSpec()
        mapped = jax.shard_map(
            run,
            mesh=self.mesh,
            in_specs=(split_up, split_up, split_up, whole, whole),
            out_specs=(split_up, whole),
            check_vma=False,
        )
        x, stats = mapped(parts, split(b), split(x0), tolerance, max_steps)
        return x.reshape(-1, x.shape[-1])[self.scatter], stats


def on_mesh(values: Any, where: NamedSharding) -> Array:
    """Place what every process has on all accelerators; `device_put` would have them compare it first."""
    if where.is_fully_addressable:
        return jax.device_put(values, where)
    return jax.make_array_from_callback(values.shape, where, lambda part: values[part])


@functools.cache
def mesh_of(slabs: int, members: int = 1) -> Mesh:
    """Return a mesh of the first accelerators: `slabs` for each solve, `members` solves at the same time.

    Raises:
      InputError: there are fewer.
    """
    known, wanted = jax.devices(), slabs * members
    if wanted > len(known):
        raise InputError(
            f"got {wanted} devices, but JAX sees {len(known)} ({known[0].platform}); on a CPU, "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={wanted} makes so many"
        )
    return Mesh(np.array(known[:wanted]).reshape(members, slabs), (MEMBERS, SLABS))
