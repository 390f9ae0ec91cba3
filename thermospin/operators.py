"""The discrete operator: spin-up, spin-down and heat transport on a graded tensor grid, matrix-free.

Unknowns are V_up and V_down on the nodes of metal cells and T (rise over the bath) on the nodes of all cells, in one
array of shape (unknowns, columns): first V_up, then V_down, then T; the columns are independent fields. The weak form
of the three balance laws, with the heat law divided by the bath temperature, is

    A = sum over axes of  D' W G D  +  relaxation,      G symmetric, 3 x 3, constant in a cell.

D differentiates along the grid lines of one axis only (Gauss-Lobatto nodes are also the quadrature points), so the
unknown of the assembly is the *segment*: one cell's worth of one grid line, p + 1 nodes, with G summed over the (up to
four) cells around the line, weighted with their share of its cross-section. `flux` is the one place where the
constitutive law is evaluated; the operator, Joule heat and balances all go through it.

This module knows no solver and no experiment. See docs/theory.md.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thermospin.grid import Grid, gauss_lobatto

Fields = Float[Array, "unknowns columns"]

#: What a domain contributes: the entries of G (rows up, down, heat), the Joule form's heat entry, and the relaxation.
COEFFICIENTS = ("uu", "dd", "uT", "dT", "TT", "joule_TT", "relaxation")


class Axis(eqx.Module):
    """The segments of one axis, metal ones first, the last one a dummy without conductance.

    Attributes:
      nodes_V: V-node at each position of each metal segment (p+1, metal segments).
      nodes_T: T-node at each position of each segment (p+1, segments).
      geometry: cross-section over half the length, per domain [m] (segments, domains).
      slots_V, slots_T: the two places of the flattened (position, segment) array where a node occurs.
    """

    nodes_V: Int[Array, "local metal"]
    nodes_T: Int[Array, "local segments"]
    geometry: Float[Array, "segments domains"]
    slots_V: Int[Array, "2 nodes_V"]
    slots_T: Int[Array, "2 nodes_T"]


class Discretisation(eqx.Module):
    """Everything about the operator that depends on the geometry alone.

    Attributes:
      axes: the segments along x, y, z.
      volume: volume per V-node and domain [m^3] (nodes_V, domains).
      index_V, index_T: position of each node in the tensor grid, flattened (Nx, Ny, Nz).
      held_T: nodes kept at the bath temperature.
      order: polynomial order p.
    """

    axes: tuple[Axis, Axis, Axis]
    volume: Float[Array, "nodes_V domains"]
    index_V: np.ndarray
    index_T: np.ndarray
    held_T: np.ndarray
    order: int = eqx.field(static=True)

    @property
    def nodes_V(self) -> int:
        """Number of nodes that carry V_up and V_down."""
        return len(self.index_V)

    @property
    def nodes_T(self) -> int:
        """Number of nodes that carry T."""
        return len(self.index_T)

    @property
    def unknowns(self) -> int:
        """Length of a field vector: 2 nodes_V + nodes_T."""
        return 2 * self.nodes_V + self.nodes_T


class Coefficients(eqx.Module):
    """The constitutive law summed onto segments and nodes, for one set of parameters and one magnetic state.

    Attributes:
      segments: for each axis a dict of arrays: uu, dd, uT, dT, joule_TT (metal segments,) and TT (segments,).
      relaxation: spin relaxation g times volume [S] per V-node.
      bath: bath temperature [K].
    """

    segments: tuple[dict[str, Array], dict[str, Array], dict[str, Array]]
    relaxation: Float[Array, " nodes_V"]
    bath: float

    def __sub__(self, other: Coefficients) -> Coefficients:
        return Coefficients(
            jax.tree.map(jnp.subtract, self.segments, other.segments), self.relaxation - other.relaxation, self.bath
        )


def discretise(grid: Grid, metal: np.ndarray, held_T: np.ndarray) -> Discretisation:
    """Segments, nodes and weights of a grid.

    Args:
      grid: the grid; cells with domain -1 are void and carry nothing.
      metal: whether each domain conducts charge (domains,).
      held_T: marks the nodes (Nx, Ny, Nz) that are kept at the bath temperature.
    """
    domains = len(metal)
    live_cells = grid.domain >= 0
    metal_cells = live_cells & metal[grid.domain]
    nodes_T, nodes_V = grid.nodes_of(live_cells), grid.nodes_of(metal_cells)
    number_T, number_V = _number(nodes_T), _number(nodes_V)
    index_T, index_V = np.flatnonzero(nodes_T), np.flatnonzero(nodes_V)

    indicator = np.stack([grid.domain == d for d in range(domains)], axis=-1).astype(float)
    shares = [grid.shares(axis) for axis in range(3)]

    axes = []
    for axis in range(3):
        section = indicator
        for other in range(3):
            if other != axis:
                section = _contract(shares[other], section, other)
        width = np.diff(grid.lines[axis])
        shape = [1, 1, 1, 1]
        shape[axis] = len(width)
        section = section * (2 / width).reshape(shape)
        axes.append(_axis(grid, axis, section, metal, number_V, number_T, len(index_V), len(index_T)))
    volume = indicator
    for axis in range(3):
        volume = _contract(shares[axis], volume, axis)
    return Discretisation(
        axes=(axes[0], axes[1], axes[2]),
        volume=jnp.asarray(volume.reshape(-1, domains)[index_V]),
        index_V=index_V,
        index_T=index_T,
        held_T=held_T.ravel()[index_T],
        order=grid.order,
    )


def _number(marked: np.ndarray) -> np.ndarray:
    """Consecutive numbers for the marked nodes, -1 elsewhere."""
    number = np.full(marked.shape, -1, dtype=np.int64)
    number[marked] = np.arange(np.count_nonzero(marked))
    return number


def _contract(matrix: np.ndarray, values: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(np.tensordot(matrix, values, axes=(1, axis)), 0, axis)


def _axis(
    grid: Grid,
    axis: int,
    section: np.ndarray,
    metal: np.ndarray,
    number_V: np.ndarray,
    number_T: np.ndarray,
    count_V: int,
    count_T: int,
) -> Axis:
    """Lists the live segments of one axis and, for every node, the segments it is part of."""
    order = grid.order
    is_live = section.any(axis=-1)
    is_metal = section[..., metal].any(axis=-1)
    found = np.concatenate([np.argwhere(is_metal), np.argwhere(is_live & ~is_metal)])
    metal_count = int(is_metal.sum())

    def nodes_of(number: np.ndarray, segments: np.ndarray) -> np.ndarray:
        nodes = np.zeros((order + 1, len(segments) + 1), dtype=np.int32)  # column 0: the dummy segment, node 0
        for local in range(order + 1):
            where = segments.copy()
            where[:, axis] = order * segments[:, axis] + local
            nodes[local, 1:] = number[tuple(where.T)]
        return nodes

    def slots_of(nodes: np.ndarray, total: int) -> np.ndarray:
        # A node ends at most one segment; it starts, or lies inside, at most one other. Slot 0 is the dummy's.
        slots = np.zeros((2, total), dtype=np.int32)
        place = np.arange(nodes.size, dtype=np.int32).reshape(nodes.shape)
        slots[0, nodes[:-1, 1:]] = place[:-1, 1:]
        slots[1, nodes[-1, 1:]] = place[-1, 1:]
        return slots

    nodes_V = nodes_of(number_V, found[:metal_count])
    nodes_T = nodes_of(number_T, found)
    geometry = np.concatenate([np.zeros((1, section.shape[-1])), section[tuple(found.T)]])
    return Axis(
        nodes_V=jnp.asarray(nodes_V),
        nodes_T=jnp.asarray(nodes_T),
        geometry=jnp.asarray(geometry),
        slots_V=jnp.asarray(slots_of(nodes_V, count_V)),
        slots_T=jnp.asarray(slots_of(nodes_T, count_T)),
    )


def coefficients(disc: Discretisation, table: dict[str, Float[Array, " domains"]], bath: float) -> Coefficients:
    """Sums the constitutive law of each domain onto segments and nodes; linear in `table`.

    Args:
      table: for each name in `COEFFICIENTS` its value in every domain, see `model.constitutive`.
      bath: bath temperature T0 [K].
    """
    segments = []
    for axis in disc.axes:
        metal = axis.geometry[: axis.nodes_V.shape[1]]
        summed = {name: metal @ table[name] for name in ("uu", "dd", "uT", "dT", "joule_TT")}
        segments.append(summed | {"TT": axis.geometry @ table["TT"]})
    return Coefficients((segments[0], segments[1], segments[2]), disc.volume @ table["relaxation"], bath)


class Gradient(eqx.Module):
    """Derivative of the three fields along each segment, at its nodes, with respect to [-1, 1]."""

    up: Float[Array, "local metal columns"]
    down: Float[Array, "local metal columns"]
    heat: Float[Array, "local segments columns"]


def _take(values: Array, index: Array) -> Array:
    return values.at[index].get(mode="promise_in_bounds")


def _combine(matrix: np.ndarray, values: Array) -> Array:
    """matrix @ values over the leading axis, written out so that it fuses with its neighbours."""
    return jnp.stack([sum(row[k] * values[k] for k in range(len(row)) if row[k] != 0.0) for row in matrix])


def split(disc: Discretisation, u: Fields) -> tuple[Array, Array, Array]:
    """V_up, V_down and T of a field vector."""
    n = disc.nodes_V
    return u[:n], u[n : 2 * n], u[2 * n :]


def gradient(disc: Discretisation, axis: Axis, u: Fields) -> Gradient:
    """Gradient of a field vector along the segments of one axis."""
    derivative = gauss_lobatto(disc.order)[2]
    up, down, heat = split(disc, u)
    return Gradient(
        _combine(derivative, _take(up, axis.nodes_V)),
        _combine(derivative, _take(down, axis.nodes_V)),
        _combine(derivative, _take(heat, axis.nodes_T)),
    )


def flux(law: dict[str, Array], g: Gradient) -> Gradient:
    """Constitutive law on the segments of one axis: minus the currents J_up, J_down and minus Q / T0.

    -J_s = sigma_s (grad V_s + S_s' grad T);  -Q/T0 = sum_s sigma_s S_s' grad V_s + kappa/T0 grad T, S_s' = Pi_s / T0.
    """
    metal = g.up.shape[1]
    uu, dd, uT, dT, TT = (law[name][None, :, None] for name in ("uu", "dd", "uT", "dT", "TT"))
    heat_metal = g.heat[:, :metal]
    heat = TT * g.heat
    return Gradient(
        uu * g.up + uT * heat_metal,
        dd * g.down + dT * heat_metal,
        heat.at[:, :metal].add(uT * g.up + dT * g.down),
    )


def _gather(local: Array, slots: Array) -> Array:
    """Sum at each node over the segments that it is part of."""
    flat = local.reshape(-1, local.shape[-1])
    return _take(flat, slots[0]) + _take(flat, slots[1])


def _divergence(disc: Discretisation, axis: Axis, f: Gradient) -> tuple[Array, Array, Array]:
    """Transpose of `gradient` with the quadrature weights: what the fluxes of one axis take out of every node."""
    _, weights, derivative = gauss_lobatto(disc.order)
    transposed = derivative.T * weights[None, :]
    return (
        _gather(_combine(transposed, f.up), axis.slots_V),
        _gather(_combine(transposed, f.down), axis.slots_V),
        _gather(_combine(transposed, f.heat), axis.slots_T),
    )


def apply(disc: Discretisation, law: Coefficients, u: Fields) -> Fields:
    """A u: net current out of every node [A], and net heat out of every node over T0 [W/K]."""
    up, down, _ = split(disc, u)
    exchange = law.relaxation[:, None] * (up - down)
    out = [exchange, -exchange, jnp.zeros((disc.nodes_T, u.shape[1]), u.dtype)]
    for axis, segments in zip(disc.axes, law.segments, strict=True):
        part = _divergence(disc, axis, flux(segments, gradient(disc, axis, u)))
        out = [a + b for a, b in zip(out, part, strict=True)]
    return jnp.concatenate(out)


def diagonal(disc: Discretisation, law: Coefficients) -> Float[Array, " unknowns"]:
    """Diagonal of A: S for V_up and V_down, W/K^2 for T, held rows included."""
    _, weights, derivative = gauss_lobatto(disc.order)
    own = jnp.asarray(weights @ derivative**2)[:, None, None]  # of D' W D
    up, down, heat = law.relaxation, law.relaxation, jnp.zeros(disc.nodes_T)
    for axis, segments in zip(disc.axes, law.segments, strict=True):
        up += _gather(own * segments["uu"][None, :, None], axis.slots_V)[:, 0]
        down += _gather(own * segments["dd"][None, :, None], axis.slots_V)[:, 0]
        heat += _gather(own * segments["TT"][None, :, None], axis.slots_T)[:, 0]
    return jnp.concatenate([up, down, heat])


def joule(disc: Discretisation, law: Coefficients, u: Fields, v: Fields) -> Fields:
    """Joule heat over T0 of each node [W/K], as a symmetric bilinear form of two fields.

    q(u, u) = (J_up^2/sigma_up + J_down^2/sigma_down) / T0 in the heat rows, zero in the others; evaluated from the same
    fluxes at the same nodes with the same weights as `apply`.
    """
    _, weights, _ = gauss_lobatto(disc.order)
    heat = jnp.zeros((disc.nodes_T, u.shape[1]), u.dtype)
    for axis, segments in zip(disc.axes, law.segments, strict=True):
        metal = axis.nodes_V.shape[1]
        g, h = gradient(disc, axis, u), gradient(disc, axis, v)
        density = joule_density(segments, g, h)
        local = jnp.zeros(g.heat.shape, u.dtype).at[:, :metal].set(density * weights[:, None, None])
        heat += _gather(local, axis.slots_T)
    return jnp.concatenate([jnp.zeros((2 * disc.nodes_V, u.shape[1]), u.dtype), heat / law.bath])


def power(disc: Discretisation, law: Coefficients, v: Fields, u: Fields) -> Float[Array, " columns"]:
    """v.A u, column by column, without the way over the nodes: the sum over segments of gradient times flux."""
    _, weights, _ = gauss_lobatto(disc.order)
    (v_up, v_down, _), (u_up, u_down, _) = split(disc, v), split(disc, u)
    total = jnp.sum(law.relaxation[:, None] * (v_up - v_down) * (u_up - u_down), axis=0)
    for axis, segments in zip(disc.axes, law.segments, strict=True):
        g, f = gradient(disc, axis, v), flux(segments, gradient(disc, axis, u))
        metal = jnp.sum(g.up * f.up + g.down * f.down, axis=1)
        total += jnp.asarray(weights) @ (metal + jnp.sum(g.heat * f.heat, axis=1))
    return total


def joule_power(
    disc: Discretisation, law: Coefficients, test: Fields, u: Fields, v: Fields
) -> Float[Array, " columns"]:
    """l.q(u, v), column by column (l is `test`): Joule heat over T0, each node's weighted with the T of l [W]."""
    _, weights, _ = gauss_lobatto(disc.order)
    heat = split(disc, test)[2]
    total = jnp.zeros(u.shape[1], u.dtype)
    for axis, segments in zip(disc.axes, law.segments, strict=True):
        density = joule_density(segments, gradient(disc, axis, u), gradient(disc, axis, v))
        local = _take(heat, axis.nodes_T[:, : axis.nodes_V.shape[1]])
        total += jnp.asarray(weights) @ jnp.sum(local * density, axis=1)
    return total / law.bath


def _conduction(segments: dict[str, Array], g: Gradient) -> Gradient:
    """The part of `flux` that makes Joule heat: kappa/T0 replaced by sum_s sigma_s S_s'^2, on metal segments.

    With -J_s = sigma_s (g_s + S_s' g_T), pairing g with this flux gives sum_s J_s^2 / sigma_s.
    """
    metal = g.up.shape[1]
    return flux({**segments, "TT": segments["joule_TT"]}, Gradient(g.up, g.down, g.heat[:, :metal]))


def joule_density(segments: dict[str, Array], g: Gradient, h: Gradient) -> Float[Array, "local metal columns"]:
    """sum_s J_s(g) J_s(h) / sigma_s on the metal segments of one axis."""
    f = _conduction(segments, h)
    return g.up * f.up + g.down * f.down + g.heat[:, : g.up.shape[1]] * f.heat


def joule_transposed(disc: Discretisation, law: Coefficients, test: Fields, u: Fields) -> Fields:
    """Q(l, u), the vector with v.Q(l, u) = l.q(u, v) for every v (l is `test`). Source: docs/theory.md, section 6."""
    weight = split(disc, test)[2] / law.bath
    out = [jnp.zeros((n, u.shape[1]), u.dtype) for n in (disc.nodes_V, disc.nodes_V, disc.nodes_T)]
    for axis, segments in zip(disc.axes, law.segments, strict=True):
        metal = axis.nodes_V.shape[1]
        f = _conduction(segments, gradient(disc, axis, u))
        local = _take(weight, axis.nodes_T[:, :metal])
        heat = jnp.zeros((disc.order + 1, axis.nodes_T.shape[1], u.shape[1]), u.dtype)
        weighted = Gradient(local * f.up, local * f.down, heat.at[:, :metal].set(local * f.heat))
        out = [a + b for a, b in zip(out, _divergence(disc, axis, weighted), strict=True)]
    return jnp.concatenate(out)
