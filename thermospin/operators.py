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

import dataclasses
import functools
import itertools
import operator
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.sparse import csr_array, vstack

from thermospin.base.arrays import AnyArray, concatenate, namespace, stack
from thermospin.base.quadrature import gauss_lobatto
from thermospin.geometry.assembly import assemble
from thermospin.geometry.segments import Segments
from thermospin.geometry.splits import Split
from thermospin.grid import Grid
from thermospin.linear.sparse import Rows, take
from thermospin.quantities import COEFFICIENTS as COEFFICIENTS

Fields = Float[AnyArray, "unknowns columns"]


class Axis(eqx.Module):
    """Segments along one axis, metal ones first; segment 0 is a dummy without conductance.

    Attributes:
      nodes_T: T-node at each position of each segment (p+1, segments).
      geometry: cross-section over half the length, per domain [m] (segments, domains); None in the part of an
        accelerator, whose coefficients come from the whole.
      slots_V, slots_T: the two places of the flattened (position, segment) array where a node occurs.
      metal: number of metal segments.
      order: polynomial order p of the segments.
      direction: 0, 1 or 2 for x, y or z.
      link: whether they are links of length zero between doubled nodes.
    """

    nodes_T: Int[AnyArray, "*parts local segments"]
    geometry: Rows | None
    slots_V: Int[AnyArray, "*parts 2 nodes_V"]
    slots_T: Int[AnyArray, "*parts 2 nodes_T"]
    metal: int = eqx.field(static=True)
    order: int = eqx.field(static=True)
    direction: int = eqx.field(static=True)
    link: bool = eqx.field(static=True, default=False)

    @property
    def nodes_V(self) -> Int[AnyArray, "local metal"]:
        """V-node at each position of each metal segment; the T-nodes of metals come first, in the order of V-nodes."""
        return self.nodes_T[:, : self.metal]


@runtime_checkable
class NodalHalo(Protocol):
    """Brings in the nodal values that segments need from other accelerators; see `parallel.sharding`."""

    def extend(self, x: Nodal) -> Nodal:
        """Return own values followed by those from others."""
        ...


class Merged(eqx.Module):
    """Nodes that are one unknown with another one, and that one: V-nodes (2, pairs) and T-nodes (2, pairs)."""

    V: Int[AnyArray, "2 _"]
    T: Int[AnyArray, "2 _"]


class Discretisation(eqx.Module):
    """Everything about the operator that depends on the geometry alone.

    Attributes:
      axes: the segments along x, y, z; then, of a grid with cut cells, those of order 1 in them, along x and y; then
        links between doubled nodes, and ties of nodes that a held face covers in part.
      volume: volume per V-node and domain [m^3] (nodes_V, domains); None as `Axis.geometry`.
      index_V, index_T: position of each node in the tensor grid, flattened (Nx, Ny, Nz); T-nodes of metals come first,
        in the order of V-nodes. Doubled nodes share a position.
      number_T: number of each T-node among the nodes of a split, or of the tensor grid where there is none.
      held_T: nodes kept at the bath temperature.
      order: polynomial order p.
      domains: number of domains.
      ties: how many of the axes are ties, see `tied`.
      merged: nodes at which a field is continuous although they are doubled; the solver makes it so, while all forms of
        this module take nodes as they are.
      halo: what brings in the values of other devices that segments need; None where there is one device.
    """

    axes: tuple[Axis, ...]
    volume: Rows | None
    index_V: np.ndarray
    index_T: np.ndarray
    number_T: np.ndarray
    held_T: np.ndarray
    order: int = eqx.field(static=True)
    domains: int = eqx.field(static=True)
    ties: int = eqx.field(static=True, default=0)
    merged: Merged | None = None
    halo: NodalHalo | None = None

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


class Law(NamedTuple):
    """The constitutive law of the segments of one axis: entries of G times cross-section over half the length.

    Attributes:
      V: of the two potentials, uu and dd (metal segments, 2).
      VT: between them and T, uT and dT (metal segments, 2).
      TT: of T (segments,).
      joule_TT: entry of the Joule form for T (metal segments,).
      ud: between the two potentials, of links only (metal segments,).
    """

    V: Float[AnyArray, "*parts metal 2"]
    VT: Float[AnyArray, "*parts metal 2"]
    TT: Float[AnyArray, "*parts segments"]
    joule_TT: Float[AnyArray, "*parts metal"]
    ud: Float[AnyArray, "*parts metal"] | None = None


class Coefficients(eqx.Module):
    """The constitutive law summed onto segments and nodes, for one set of parameters and one magnetic state.

    Attributes:
      segments: the law along each axis.
      relaxation: spin relaxation g times volume [S] per V-node.
      bath: bath temperature [K].
    """

    segments: tuple[Law, ...]
    relaxation: Float[AnyArray, "*parts nodes_V"]
    bath: float | Float[AnyArray, " *parts"]

    def __sub__(self, other: Coefficients) -> Coefficients:
        return Coefficients(
            jax.tree.map(jnp.subtract, self.segments, other.segments), self.relaxation - other.relaxation, self.bath
        )


def discretise(grid: Grid, metal: np.ndarray, held_T: np.ndarray, split: Split | None = None) -> Discretisation:
    """Segments, nodes and weights of a grid.

    Args:
      grid: the grid; cells with domain -1 are void and carry nothing.
      metal: whether each domain conducts charge (domains,).
      held_T: marks the nodes that are kept at the bath temperature: (Nx, Ny, Nz), or of the split (nodes,).
      split: the nodes and segments where some nodes are doubled; domains then include links.
    """
    made = assemble(grid, metal, split)
    merged = made.merged_V, made.merged_T
    return Discretisation(
        axes=tuple(
            _axis(segments, metals, made.nodes_V, len(made.number_T))
            for segments, metals in zip(made.segments, made.metals, strict=True)
        ),
        volume=Rows.of(made.volume, dtype=float),
        index_V=made.place_T[: made.nodes_V],
        index_T=made.place_T,
        number_T=made.number_T,
        held_T=held_T.ravel()[made.number_T],
        order=grid.order,
        domains=len(metal),
        merged=Merged(jax.device_put(merged[0]), jax.device_put(merged[1]))
        if merged[0].size or merged[1].size
        else None,
    )


def _axis(segments: Segments, metals: int, count_V: int, count_T: int) -> Axis:
    """Return segments along one axis, metal ones first, with the places where every node occurs."""
    axis, order, nodes, weights, link = segments
    live = np.zeros((order + 1, nodes.shape[1] + 1), dtype=np.int32)  # column 0: the dummy segment, node 0
    live[:, 1:] = nodes
    dummy = csr_array((1, weights.shape[1]))
    return Axis(
        nodes_T=jax.device_put(live),
        geometry=Rows.of(vstack([dummy, weights], format="csr"), dtype=float),
        slots_V=_slots(live[:, : metals + 1], count_V),
        slots_T=_slots(live, count_T),
        metal=metals + 1,
        order=order,
        direction=axis,
        link=link,
    )


def _slots(nodes: np.ndarray, total: int) -> Int[AnyArray, "2 nodes"]:
    """Return the two places among the nodes of segments, the dummy first, where each of `total` nodes occurs."""
    # A node ends at most one segment; it starts, or lies inside, at most one other. Slot 0 is the dummy's.
    slots = np.zeros((2, total), dtype=np.int32)
    places = np.arange(nodes.size, dtype=np.int32).reshape(nodes.shape)
    slots[0, nodes[:-1, 1:]] = places[:-1, 1:]
    slots[1, nodes[-1, 1:]] = places[-1, 1:]
    return jax.device_put(slots)


def tied(
    disc: Discretisation, nodes: np.ndarray, weights: csr_array, anchors: np.ndarray, *, metal: bool
) -> Discretisation:
    """Return the discretisation with more segments, of order 1, from nodes to others that are held.

    Args:
      disc: the discretisation.
      nodes: T-nodes that are tied.
      weights: conductance of each tie over the conductivity, by domain [m] (len(nodes), domains).
      anchors: T-nodes that are held; which of them a node is tied to makes no difference to it.
      metal: whether ties carry charge, between V-nodes, or heat alone.
    """
    axes, dummy = list(disc.axes), csr_array((1, disc.domains))
    # An anchor takes one tie of an axis.
    count = -(-len(nodes) // len(anchors))
    for first in range(count):
        some = nodes[first::count]
        ends = np.zeros((2, len(some) + 1), np.int32)
        ends[:, 1:] = some, anchors[np.arange(len(some)) * len(anchors) // len(some)]
        live = len(some) + 1 if metal else 1
        axes.append(
            Axis(
                nodes_T=jax.device_put(ends),
                # Of order 1, D' W D is half of [[1, -1], [-1, 1]].
                geometry=Rows.of(vstack([dummy, 2 * weights[first::count]], format="csr"), dtype=float),
                slots_V=_slots(ends[:, :live], disc.nodes_V),
                slots_T=_slots(ends, disc.nodes_T),
                metal=live,
                order=1,
                direction=2,
            )
        )
    return dataclasses.replace(disc, axes=tuple(axes), ties=disc.ties + count)


def coefficients(disc: Discretisation, table: dict[str, Float[AnyArray, " domains"]], bath: float) -> Coefficients:
    """Sum the constitutive law of each domain onto segments and nodes; linear in `table`.

    Args:
      table: for each name in `COEFFICIENTS` its value in every domain, see `device.constitution.Constitution.table`.
      bath: bath temperature T0 [K].
    """
    segments = []
    for axis in disc.axes:
        columns = _onto(
            axis.geometry, table, ("uu", "dd", "uT", "dT", "joule_TT", "TT", *(("ud",) if axis.link else ()))
        )
        of_metal = columns[: axis.metal]
        ud = of_metal[:, 6] if axis.link else None
        segments.append(Law(of_metal[:, :2], of_metal[:, 2:4], columns[:, 5], of_metal[:, 4], ud))
    relaxation = _onto(disc.volume, table, ("relaxation",))[:, 0]
    return Coefficients(tuple(segments), relaxation, bath)


def _onto(rows: Rows | None, table: dict[str, AnyArray], names: tuple[str, ...]) -> AnyArray:
    """Return entries of the law of the domains, summed onto segments or nodes (rows, names)."""
    assert rows is not None
    return rows.multiply(stack([table[name] for name in names], axis=1)[:, :, None])[:, :, 0]


class Gradient(NamedTuple):
    """Derivative of the fields along each segment with respect to [-1, 1], or a flux: an array for each of its nodes.

    Also used for any matrix applied to the nodal values of a segment, one array per row.

    Attributes:
      V: of V_up and V_down on the metal segments.
      T: of T on the metal segments.
      rest: of T on the others.
    """

    V: tuple[Float[AnyArray, "metal 2 columns"], ...]
    T: tuple[Float[AnyArray, "metal columns"], ...]
    rest: tuple[Float[AnyArray, "others columns"], ...]


def _combine(matrix: np.ndarray, values: Sequence[AnyArray]) -> tuple[AnyArray, ...]:
    """matrix @ values, written out: one array for each row, so that nothing has to be stacked."""
    rows = ([float(c) * value for c, value in zip(row, values, strict=True) if c != 0.0] for row in matrix)
    return tuple(functools.reduce(operator.add, terms) for terms in rows)


def split(disc: Discretisation, u: Shaped[AnyArray, "unknowns ..."]) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Return V_up, V_down and T of a field vector."""
    n = disc.nodes_V
    return u[:n], u[n : 2 * n], u[2 * n :]


class Nodal(NamedTuple):
    """A field vector node by node, which is how the operator and the solver work with it.

    Attributes:
      V: V_up and V_down.
      T: T.
    """

    V: Float[AnyArray, "nodes_V 2 columns"]
    T: Float[AnyArray, "nodes_T columns"]

    def times(self, factors: Float[AnyArray, " columns"]) -> Nodal:
        """Return each column times a factor."""
        return Nodal(self.V * factors[None, None], self.T * factors[None])

    def over(self, divisors: Float[AnyArray, " columns"]) -> Nodal:
        """Return each column over a divisor."""
        return Nodal(self.V / divisors[None, None], self.T / divisors[None])


def nodal(disc: Discretisation, u: Fields) -> Nodal:
    """Return the nodal values of a field vector."""
    up, down, heat = split(disc, u)
    return Nodal(stack([up, down], axis=1), heat)


def joined(x: Nodal) -> Fields:
    """Return the field vector of nodal values."""
    return concatenate([x.V[:, 0], x.V[:, 1], x.T])


def gradient(disc: Discretisation, axis: Axis, u: Fields) -> Gradient:
    """Gradient of a field vector along the segments of one axis."""
    return _along(axis, gauss_lobatto(axis.order)[2], nodal(disc, u))


def _along(axis: Axis, matrix: np.ndarray, x: Nodal) -> Gradient:
    """Return a matrix (rows, p+1) whose rows sum to zero times the values of the fields at the nodes of each segment.

    It acts on the steps from node to node: differences of neighbouring values are nearly free of round-off, sums of
    products with the values themselves are not.
    """
    on_steps = matrix @ np.tri(matrix.shape[1], matrix.shape[1] - 1, -1)
    rest = axis.nodes_T[:, axis.metal :]
    return Gradient(*(_of_steps(on_steps, *pair) for pair in ((x.V, axis.nodes_V), (x.T, axis.nodes_V), (x.T, rest))))


def _of_steps(matrix: np.ndarray, values: AnyArray, nodes: AnyArray) -> tuple[AnyArray, ...]:
    """Return a matrix times the steps of values from each of the nodes to the next."""
    local = [take(values, places) for places in nodes]
    return _combine(matrix, [after - before for before, after in itertools.pairwise(local)])


def flux(law: Law, g: Gradient) -> Gradient:
    """Constitutive law on the segments of one axis: minus the currents J_up, J_down and minus Q / T0.

    -J_s = sigma_s (grad V_s + S_s' grad T);  -Q/T0 = sum_s sigma_s S_s' grad V_s + kappa/T0 grad T, S_s' = Pi_s / T0.
    """
    metal = len(law.V)
    V, VT, TT, rest = law.V[:, :, None], law.VT[:, :, None], law.TT[:metal, None], law.TT[metal:, None]
    currents = [V * v + VT * t[:, None] for v, t in zip(g.V, g.T, strict=True)]
    if law.ud is not None:
        currents = [own + law.ud[:, None, None] * v[:, ::-1] for own, v in zip(currents, g.V, strict=True)]
    return Gradient(
        tuple(currents),
        # Written out: a sum over an axis of two would end a fused loop.
        tuple(TT * t + VT[:, 0] * v[:, 0] + VT[:, 1] * v[:, 1] for v, t in zip(g.V, g.T, strict=True)),
        tuple(rest * t for t in g.rest),
    )


def _gather(local: Sequence[AnyArray], slots: AnyArray) -> AnyArray:
    """Sum at each node over the segments that it is part of."""
    flat = concatenate(local)
    return take(flat, slots[0]) + take(flat, slots[1])


def apply(disc: Discretisation, law: Coefficients, u: Fields) -> Fields:
    """Return A u: net current out of every node [A], and net heat out of every node over T0 [W/K]."""
    return joined(apply_nodal(disc, law, nodal(disc, u)))


def apply_nodal(disc: Discretisation, law: Coefficients, x: Nodal) -> Nodal:
    """`apply`, of nodal values.

    The divergence of the flux of the gradient. G is constant along a segment, so D' W G D = G D' W D: the matrix of a
    segment comes first, which leaves one pass over the segments and less than half the time.
    """
    # Reverse instead of stacking: XLA materialises gathers from a concatenated array but fuses those from a plain one.
    out_V, out_T = law.relaxation[:, None, None] * (x.V - x.V[:, ::-1]), namespace(x.T).zeros_like(x.T)
    if disc.halo is not None:
        x = disc.halo.extend(x)
    for axis, segments in zip(disc.axes, law.segments, strict=True):
        _, weights, derivative = gauss_lobatto(axis.order)
        f = flux(segments, _along(axis, (derivative.T * weights) @ derivative, x))
        out_V += _gather(f.V, axis.slots_V)
        out_T += _gather([part for pair in zip(f.T, f.rest, strict=True) for part in pair], axis.slots_T)
    return Nodal(out_V, out_T)


def diagonal(disc: Discretisation, law: Coefficients) -> Nodal:
    """Diagonal of A, one column: S for V_up and V_down, W/K^2 for T, held rows included."""
    potentials, heat = jnp.stack([law.relaxation, law.relaxation], axis=1), jnp.zeros(disc.nodes_T)
    for axis, segments in zip(disc.axes, law.segments, strict=True):
        _, weights, derivative = gauss_lobatto(axis.order)
        stiffness = weights @ derivative**2  # of D' W D
        potentials += _gather([c * segments.V for c in stiffness], axis.slots_V)
        heat += _gather([c * segments.TT for c in stiffness], axis.slots_T)
    return Nodal(potentials[:, :, None], heat[:, None])


def joule(disc: Discretisation, law: Coefficients, u: Fields, v: Fields) -> Fields:
    """Joule heat over T0 of each node [W/K], as a symmetric bilinear form of two fields.

    q(u, u) = (J_up^2/sigma_up + J_down^2/sigma_down) / T0 in the heat rows, zero in the others; evaluated from the same
    fluxes at the same nodes with the same weights as `apply`.
    """
    zeros = namespace(u).zeros
    heat = zeros((disc.nodes_V, u.shape[1]), u.dtype)
    for axis, segments in zip(disc.axes, law.segments, strict=True):
        density = joule_density(segments, gradient(disc, axis, u), gradient(disc, axis, v))
        heat += _gather([w * flux for w, flux in zip(_weights(axis), density, strict=True)], axis.slots_V)
    potentials, rest = (zeros((n, u.shape[1]), u.dtype) for n in (2 * disc.nodes_V, disc.nodes_T - disc.nodes_V))
    return concatenate([potentials, heat / law.bath, rest])


def _weights(axis: Axis) -> list[float]:
    return [float(w) for w in gauss_lobatto(axis.order)[1]]


def power(disc: Discretisation, v: Fields, u: Fields) -> Float[AnyArray, "names domains columns"]:
    """Split v.A u by column: v.A u = sum over names and domains of this times `coefficients`' table.

    A is linear in the table, so that one pass over the segments gives the product and all its derivatives. Ordered as
    `COEFFICIENTS`.
    """
    return _by_name(disc, *power_entries(disc, v, u))


#: Contributions of each segment, for each axis an array (its segments or the metal ones, columns) by the name in
#: `COEFFICIENTS` of the entry of G that it belongs to.
Entries = tuple[dict[str, AnyArray], ...]


def power_entries(disc: Discretisation, v: Fields, u: Fields) -> tuple[Entries, Float[AnyArray, "nodes_V columns"]]:
    """Return what `power` sums over segments and nodes, the latter for the relaxation, before weights."""
    (v_up, v_down, _), (u_up, u_down, _) = split(disc, v), split(disc, u)
    out = []
    for axis in disc.axes:
        g, h = gradient(disc, axis, v), gradient(disc, axis, u)
        heat = [_weighted(axis, [a * b for a, b in zip(*pair, strict=True)]) for pair in ((g.T, h.T), (g.rest, h.rest))]
        out.append(_entries(axis, g, h) | {"TT": concatenate(heat)})
    return tuple(out), (v_up - v_down) * (u_up - u_down)


def joule_power(disc: Discretisation, test: Fields, u: Fields, v: Fields) -> Float[AnyArray, "names domains columns"]:
    """Split l.q(u, v) times the bath temperature (l is `test`) as `power` does: Joule heat by T of l."""
    return _by_name(disc, joule_entries(disc, test, u, v))


def joule_entries(disc: Discretisation, test: Fields, u: Fields, v: Fields) -> Entries:
    """Return what `joule_power` sums over segments, before the geometry weighs it."""
    weight, out = split(disc, test)[2], []
    for axis in disc.axes:
        g, h = gradient(disc, axis, u), gradient(disc, axis, v)
        local = [take(weight, nodes) for nodes in axis.nodes_V]
        g = Gradient(
            tuple(w[:, None] * x for w, x in zip(local, g.V, strict=True)),
            tuple(w * x for w, x in zip(local, g.T, strict=True)),
            (),
        )
        of_axis = _entries(axis, g, h) | {"joule_TT": _weighted(axis, [a * b for a, b in zip(g.T, h.T, strict=True)])}
        # `_conduction` adds ud to the conductances of V.
        out.append(of_axis | ({"ud": of_axis["uu"] + of_axis["dd"]} if axis.link else {}))
    return tuple(out)


def _by_name(disc: Discretisation, entries: Entries, relaxation: AnyArray | None = None) -> AnyArray:
    """Entries summed over segments by domain (names, domains, columns)."""
    first = entries[0]["uu"]
    out = dict.fromkeys(COEFFICIENTS, namespace(first).zeros((disc.domains, first.shape[1]), first.dtype))
    if relaxation is not None:
        out["relaxation"] = _by_domain(disc, disc.volume, [relaxation])[:, 0]
    for axis, entry in zip(disc.axes, entries, strict=True):
        sums = _by_domain(disc, axis.geometry, list(entry.values()))
        out |= {name: out[name] + sums[:, k] for k, name in enumerate(entry)}
    return stack([out[name] for name in COEFFICIENTS])


def surplus_power(
    disc: Discretisation, law: Coefficients, v: Fields, u: Fields
) -> tuple[Float[AnyArray, "segments columns"], ...]:
    """Return what the highest polynomials contribute to v.A u on each segment, for each axis.

    Along a segment a gradient is a polynomial of degree p - 1. Its highest part is c P_(p-1), P the Legendre
    polynomial, of which the integral of the square is 2/(2p - 1): what is found is that times c_v.G c_u, which says how
    far the fields v and u together are from being resolved with this segment.
    Source: Mavriplis, Comput. Methods Appl. Mech. Eng. 116, 77 (1994).
    """
    out = []
    for axis, segments in zip(disc.axes, law.segments, strict=True):
        nodes, _, derivative = gauss_lobatto(axis.order)
        highest = np.linalg.pinv(np.polynomial.legendre.legvander(nodes, axis.order - 1))[-1:] @ derivative
        g, f = _along(axis, highest, nodal(disc, v)), flux(segments, _along(axis, highest, nodal(disc, u)))
        metal = (g.V[0] * f.V[0]).sum(axis=1) + g.T[0] * f.T[0]
        out.append(2 / (2 * axis.order - 1) * concatenate([metal, g.rest[0] * f.rest[0]]))
    return tuple(out)


def _entries(axis: Axis, g: Gradient, h: Gradient) -> dict[str, AnyArray]:
    """g.G h on each metal segment, entry by entry of G, without that of T alone."""
    pairs = list(zip(g.V, h.V, g.T, h.T, strict=True))
    out = {}
    for channel, (name, mixed) in enumerate((("uu", "uT"), ("dd", "dT"))):
        out[name] = _weighted(axis, [a[:, channel] * b[:, channel] for a, b, _, _ in pairs])
        out[mixed] = _weighted(axis, [a[:, channel] * t + s * b[:, channel] for a, b, s, t in pairs])
    if axis.link:
        out["ud"] = _weighted(axis, [(a * b[:, ::-1]).sum(axis=1) for a, b, _, _ in pairs])
    return out


def _weighted(axis: Axis, values: Sequence[AnyArray]) -> AnyArray:
    """Quadrature over a segment."""
    return functools.reduce(operator.add, [w * value for w, value in zip(_weights(axis), values, strict=True)])


def _by_domain(disc: Discretisation, rows: Rows | None, values: Sequence[Float[AnyArray, "_ columns"]]) -> AnyArray:
    """Sum values of segments or nodes by domain (domains, values, columns): the transpose of `coefficients`."""
    assert rows is not None
    xp = namespace(*values)
    padded = [
        concatenate([value, xp.zeros((rows.size - len(value), *value.shape[1:]), value.dtype)]) for value in values
    ]
    return rows.multiply_transposed(stack(padded, axis=1), disc.domains)


def _conduction(segments: Law, g: Gradient) -> Gradient:
    """Return the part of `flux` that makes Joule heat: kappa/T0 replaced by sum_s sigma_s S_s'^2, on metal segments.

    With -J_s = sigma_s (g_s + S_s' g_T), pairing g with this flux gives sum_s J_s^2 / sigma_s. A link where spins flip
    heats like the same link without (docs/theory.md, section 10): its conductances are those of V and ud together.
    """
    V = segments.V if segments.ud is None else segments.V + segments.ud[:, None]
    conducting = Law(V, segments.VT, segments.joule_TT, segments.joule_TT)
    return flux(conducting, Gradient(g.V, g.T, ()))


def joule_density(segments: Law, g: Gradient, h: Gradient) -> tuple[Float[AnyArray, "metal columns"], ...]:
    """sum_s J_s(g) J_s(h) / sigma_s at each node of the metal segments of one axis."""
    f = _conduction(segments, h)
    return tuple((v * fv).sum(axis=1) + t * ft for v, fv, t, ft in zip(g.V, f.V, g.T, f.T, strict=True))


def joule_transposed(disc: Discretisation, law: Coefficients, test: Fields, u: Fields) -> Fields:
    """Q(l, u), the vector with v.Q(l, u) = l.q(u, v) for every v (l is `test`). Source: docs/theory.md, section 6."""
    weight = split(disc, test)[2] / law.bath
    zeros = namespace(test, u).zeros
    out_V, out_T = zeros((disc.nodes_V, 2, u.shape[1]), u.dtype), zeros((disc.nodes_V, u.shape[1]), u.dtype)
    for axis, segments in zip(disc.axes, law.segments, strict=True):
        _, weights, derivative = gauss_lobatto(axis.order)
        transposed = derivative.T * weights
        f = _conduction(segments, gradient(disc, axis, u))
        local = [take(weight, nodes) for nodes in axis.nodes_V]
        of_V = [w[:, None] * v for w, v in zip(local, f.V, strict=True)]
        of_T = [w * t for w, t in zip(local, f.T, strict=True)]
        out_V += _gather(_combine(transposed, of_V), axis.slots_V)
        out_T += _gather(_combine(transposed, of_T), axis.slots_V)
    rest = zeros((disc.nodes_T - disc.nodes_V, u.shape[1]), u.dtype)
    return joined(Nodal(out_V, concatenate([out_T, rest])))
