"""Held faces on a grid: which nodes they hold, and how nodes are tied that a face covers in part.

A node of which a face covers the part s is tied to what is held by s/(1 - s) times its own conductance to all of its
neighbours: it takes the mean of theirs times 1 - s. Where faces end on grid lines every node of them is held, and there
are no ties (docs/theory.md, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.sparse import csr_array, diags_array

from thermospin.base.quadrature import gauss_lobatto
from thermospin.geometry.boxes import FreeFace
from thermospin.geometry.splits import Segments
from thermospin.grid import Grid

#: A node is held of which a face covers more than this part.
HELD = 0.999
#: A face that covers less of a node than this misses it.
LEAST = 1e-6


def shares(grid: Grid, face: FreeFace, metals: np.ndarray, *, is_contact: bool) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the part that a face covers of each place of the tensor grid, 0 to 1 (Nx, Ny, Nz).

    Args:
      grid: the grid.
      face: of a contact or a heat sink.
      metals: whether each domain conducts charge.
      is_contact: whether it is of a contact.
    Returns:
      of all that carries charge, its part, None for a heat sink; and of all that carries heat.
    """
    every = np.ones_like(metals)
    if not is_contact:
        return None, _anchored(*face.shares(grid, every))
    of_charge, of_heat = face.shares(grid, metals, every)
    charge = _anchored(of_charge)
    return charge, _anchored(of_heat, charge > HELD)


def _anchored(share: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """Return shares of which one at least is 1: on cells larger than the face, that of the nodes it covers most."""
    chosen = share if among is None else np.where(among, share, 0.0)
    largest = float(chosen.max())
    # A hair of tolerance: nodes that lie alike differ in the last digit.
    return share if largest > HELD else np.where((chosen > (1 - 1e-9) * largest) & (chosen > 0), 1.0, share)


def in_part(share: np.ndarray) -> np.ndarray:
    """Return the nodes of which a face covers a part."""
    return np.flatnonzero((share > LEAST) & (share <= HELD))


def grips(grid: Grid, sections: Sequence[csr_array]) -> csr_array:
    """Return the conductance of each place of the tensor grid to all of its neighbours, at unit conductivity.

    Args:
      grid: the grid.
      sections: its segments by domain, of `weights.sections`.
    Returns:
      by domain [m] (nodes, domains).
    """
    shape = [len(nodes) for nodes in grid.nodes]
    total = csr_array((math.prod(shape), sections[0].shape[1]))
    for number, section in enumerate(sections):
        axis, order = (number, grid.order) if number < 3 else (number - 3, 1)
        _, weights, derivative = gauss_lobatto(order)
        entries = section.tocoo()
        place = list(np.unravel_index(entries.row, [(n - 1) // order if k == axis else n for k, n in enumerate(shape)]))
        first = order * place[axis]
        for local, stiffness in enumerate(weights @ derivative**2):
            place[axis] = first + local
            nodes = np.ravel_multi_index(place, shape)
            total = total + csr_array((stiffness * entries.data, (nodes, entries.col)), shape=total.shape)
    return total


def grips_of(segments: Iterable[Segments], nodes: int) -> csr_array:
    """Return the same of segments with nodes of their own (nodes, columns)."""
    parts = []
    for _, order, ends, section, _ in segments:
        _, weights, derivative = gauss_lobatto(order)
        for local, stiffness in zip(ends, weights @ derivative**2, strict=True):
            picks = csr_array((np.full(len(local), stiffness), (local, np.arange(len(local)))), (nodes, len(local)))
            parts.append(picks @ section)
    return csr_array(sum(parts[1:], parts[0]))


def ties(
    grip: csr_array, nodes: np.ndarray, heat: np.ndarray, charge: np.ndarray | None, metals: np.ndarray
) -> csr_array:
    """Return the weights of ties by domain [m] (len(nodes), domains).

    Args:
      grip: of `grips`, by T-node.
      nodes: T-nodes that are tied.
      heat: part of each T-node that is held at the bath temperature.
      charge: part of each V-node that is held at zero; None for ties that carry heat alone.
      metals: whether each domain conducts charge.
    """

    def pulls(share: np.ndarray) -> np.ndarray:
        part = np.minimum(share[nodes], HELD)
        return part / (1 - part)

    rows = grip[nodes]
    of_metals = diags_array(pulls(heat if charge is None else charge)) @ rows @ diags_array(metals.astype(float))
    return of_metals + diags_array(pulls(heat)) @ rows @ diags_array((~metals).astype(float))
