"""Held faces on a grid: which nodes they hold, and how nodes are tied that a face covers in part.

A node of which a face covers the part s is tied to what is held by s/(1 - s) times its own conductance to all of its
neighbours: it takes the mean of theirs times 1 - s. Where faces end on grid lines every node of them is held, and there
are no ties (docs/theory.md, section 4).
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array, diags_array

from thermospin.geometry.boxes import FreeFace
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


def ties(
    conductance: csr_array, nodes: np.ndarray, heat: np.ndarray, charge: np.ndarray | None, metals: np.ndarray
) -> csr_array:
    """Return the weights of ties by domain [m] (len(nodes), domains).

    Args:
      conductance: of each T-node to its neighbours, of `segments.nodal_conductance`.
      nodes: T-nodes that are tied.
      heat: part of each T-node that is held at the bath temperature.
      charge: part of each V-node that is held at zero; None for ties that carry heat alone.
      metals: whether each domain conducts charge.
    """

    def pulls(share: np.ndarray) -> np.ndarray:
        part = np.minimum(share[nodes], HELD)
        return part / (1 - part)

    rows = conductance[nodes]
    of_metals = diags_array(pulls(heat if charge is None else charge)) @ rows @ diags_array(metals.astype(float))
    return of_metals + diags_array(pulls(heat)) @ rows @ diags_array((~metals).astype(float))
