"""Set up the preconditioner of a device on the host: multigrid levels of the low-order scheme on the same nodes.

It runs in numpy, once for each grid and again where parameters have moved far; what runs in a solve is in `solve`.
"""

from __future__ import annotations

import dataclasses
import itertools

import jax
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from thermospin.base.quadrature import gauss_lobatto
from thermospin.grid import Grid
from thermospin.linear import coarsening
from thermospin.operators import Coefficients, Discretisation
from thermospin.solve import System

#: From this ratio of conductivities on the preconditioner works in double precision.
LARGE_CONTRAST = 1e5


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


@dataclasses.dataclass(frozen=True, eq=False)
class Preconditioner:
    """The multigrid of a device: potentials and temperature apart, for some values of its parameters."""

    potentials: coarsening.Hierarchy
    heat: coarsening.Hierarchy

    @property
    def operator_complexity(self) -> float:
        """Entries of the matrices of all levels over those of the first."""
        first = 2 * self.potentials.entries[0] + self.heat.entries[0]
        return (2 * sum(self.potentials.entries) + sum(self.heat.entries)) / first


def prepare(
    grid: Grid,
    disc: Discretisation,
    law: Coefficients,
    contact_V: np.ndarray,
    earlier: Preconditioner | None = None,
    contrasts: tuple[float, float] = (1.0, 1.0),
) -> Preconditioner:
    """Build the multigrid for a law.

    Args:
      contact_V: number of the contact that each V-node is on, 0 for none.
      earlier: for another law on the same grid: the same nodes leave again, so that nothing is recompiled.
      contrasts: largest over smallest conductivity, for charge and for heat.
    """
    graphs = low_order_graphs(grid, disc, law, contact_V)
    if earlier is not None:
        potentials, heat = (
            coarsening.build(graph, grid.nodes, before.plan, before.dtype)
            for graph, before in zip(graphs, (earlier.potentials, earlier.heat), strict=True)
        )
    else:
        potentials, heat = (
            coarsening.build(graph, grid.nodes, dtype=np.float32 if contrast < LARGE_CONTRAST else np.float64)
            for graph, contrast in zip(graphs, contrasts, strict=True)
        )
    return Preconditioner(potentials, heat)


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
    tail, head = np.concatenate(ends, axis=1)
    links = coo_matrix((np.ones(len(tail), np.int8), (tail, head)), shape=(disc.nodes_V, disc.nodes_V))
    return np.asarray(connected_components(links, directed=False)[1])
