"""Nodes, weights and test functions of a cell: Gauss-Lobatto quadrature, and functions for cut cells."""

from __future__ import annotations

import functools

import numpy as np

from thermospin.base.errors import InputError

#: For each order, the intervals of [0, 1] on which the hat functions of a cut cell pass from one node to the next.
PASSAGES = {1: ((0.0, 1.0),), 2: ((0.0, 1 / 3), (2 / 3, 1.0)), 3: ((0.0, 1 / 6), (1 / 6, 5 / 6), (5 / 6, 1.0))}


@functools.cache
def gauss_lobatto(order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Gauss-Lobatto nodes, weights and differentiation matrix on [-1, 1].

    Args:
      order: polynomial order p >= 1; there are p + 1 nodes.
    Returns:
      nodes x (p+1), weights w (p+1, sum 2), and D (p+1, p+1) with (D f)_i = f'(x_i) exact for polynomials of degree p.
    Source: Canuto, Hussaini, Quarteroni, Zang, Spectral Methods (2006), sections 2.3.1 and 2.3.2.
    """
    if order < 1:
        raise InputError(f"order is {order}; a nodal element needs order 1, 2 or 3.")
    legendre = np.polynomial.Legendre.basis(order)
    nodes = np.concatenate([[-1.0], np.sort(legendre.deriv().roots().real), [1.0]])
    at_nodes = legendre(nodes)
    weights = 2.0 / (order * (order + 1) * at_nodes**2)
    distance = nodes[:, None] - nodes[None, :] + np.eye(order + 1)
    derivative = at_nodes[:, None] / at_nodes[None, :] / distance
    np.fill_diagonal(derivative, 0.0)
    np.fill_diagonal(derivative, -derivative.sum(axis=1))
    return nodes, weights, derivative


@functools.cache
def passages(order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return piecewise linear test functions of the nodes of a cut cell, on [0, 1].

    Their integrals are the Gauss-Lobatto weights of full cells, so that fluxes between full and cut cells match.

    Returns:
      ends of the linear pieces, values of the functions at both ends of each piece (nodes, pieces, 2), slopes of the
      transitions between neighbouring nodes on each piece (transitions, pieces).
    """
    ends = np.unique([end for passage in PASSAGES[order] for end in passage])
    over = np.array([np.clip((ends - low) / (high - low), 0, 1) for low, high in PASSAGES[order]])
    whole = np.vstack([np.ones_like(ends), over, np.zeros_like(ends)])
    values = whole[:-1] - whole[1:]
    return ends, np.stack([values[:, :-1], values[:, 1:]], axis=-1), np.diff(over, axis=1) / np.diff(ends)
