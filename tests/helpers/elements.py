"""The weak form of docs/theory.md by a plain loop over cells with full tensor quadrature: a witness for `operators`.

Nothing here knows segments, index maps or sums of coefficients: Gauss-Lobatto points are typed in, basis functions are
polynomials evaluated at them, and the constitutive law is written channel by channel, as the physics has it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jax import Array

from helpers.problems import T0, Block
from thermospin import analytic

#: Gauss-Lobatto points and weights; Abramowitz and Stegun, table 25.6.
POINTS = {
    1: ([-1.0, 1.0], [1.0, 1.0]),
    2: ([-1.0, 0.0, 1.0], [1 / 3, 4 / 3, 1 / 3]),
    3: ([-1.0, -(0.2**0.5), 0.2**0.5, 1.0], [1 / 6, 5 / 6, 5 / 6, 1 / 6]),
}


def basis(order: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and derivatives at x of the polynomials that are one at one Gauss-Lobatto point: (points, order + 1)."""
    nodes = np.array(POINTS[order][0])
    values, slopes = [], []
    for j in range(order + 1):
        others = np.delete(nodes, j)
        polynomial = np.poly1d(others, True) / np.prod(nodes[j] - others)
        values.append(polynomial(x))
        slopes.append(polynomial.deriv()(x))
    return np.stack(values, axis=-1), np.stack(slopes, axis=-1)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
      material: index of the material.
      nodes: its nodes in the flattened tensor grid ((p+1)^3,).
      value: basis functions at the quadrature points (points, nodes).
      gradient: their derivatives along x, y and z [1/m] (3, points, nodes).
      weight: volume that belongs to each quadrature point [m^3] (points,).
    """

    material: int
    nodes: np.ndarray
    value: np.ndarray
    gradient: np.ndarray
    weight: np.ndarray


def cells(block: Block) -> Iterator[Cell]:
    """The cells of a block that are filled."""
    order = block.grid.order
    points, weights = (np.array(v) for v in POINTS[order])
    N, D = basis(order, points)
    number = np.arange(np.prod(block.shape)).reshape(block.shape)
    for place in np.argwhere(block.grid.domain >= 0):
        h = [np.diff(block.grid.lines[a])[place[a]] for a in range(3)]
        around = tuple(slice(order * i, order * i + order + 1) for i in place)
        yield Cell(
            material=int(block.grid.domain[tuple(place)]),
            nodes=number[around].ravel(),
            value=np.kron(N, np.kron(N, N)),
            gradient=np.stack(
                [
                    np.kron(D, np.kron(N, N)) * 2 / h[0],
                    np.kron(N, np.kron(D, N)) * 2 / h[1],
                    np.kron(N, np.kron(N, D)) * 2 / h[2],
                ]
            ),
            weight=np.kron(weights, np.kron(weights, weights)) * h[0] * h[1] * h[2] / 8,
        )


def unknowns(block: Block) -> np.ndarray:
    """Place of each unknown of the block among three fields on the whole tensor grid."""
    n = int(np.prod(block.shape))
    return np.concatenate([block.disc.index_V, n + block.disc.index_V, 2 * n + block.disc.index_T])


def matrix(block: Block, materials: Sequence[analytic.Layer]) -> np.ndarray:
    """The operator on the whole tensor grid (3 fields), zero rows and columns where nothing lives.

    v.A u = integral of  sum_a sigma_a (grad v_a + S_a grad v_T).(grad u_a + S_a grad u_T)
                         + (kappa/T0 - sum_a sigma_a S_a^2) grad v_T.grad u_T + g (v_up - v_down)(u_up - u_down).
    """
    n = int(np.prod(block.shape))
    A = np.zeros((3, n, 3, n))
    for cell in cells(block):
        m = materials[cell.material]
        sigma, S = analytic.channel_sigma(m.sigma, m.P), analytic.channel_seebeck(m.P, m.S, m.S_s)
        i, j = np.ix_(cell.nodes, cell.nodes)
        K = sum(B.T @ (cell.weight[:, None] * B) for B in cell.gradient)
        rest = m.kappa / T0
        if m.sigma:
            for channel in (0, 1):
                s, e = sigma[channel], S[channel]
                A[channel, i, channel, j] += s * K
                A[channel, i, 2, j] += s * e * K
                A[2, i, channel, j] += s * e * K
                A[2, i, 2, j] += s * e**2 * K
                rest -= s * e**2
            M = cell.value.T @ (cell.weight[:, None] * cell.value)
            g = (1 - m.P**2) * m.sigma / (4 * m.lambda_sf**2)
            for row, column, sign in ((0, 0, 1), (0, 1, -1), (1, 0, -1), (1, 1, 1)):
                A[row, i, column, j] += sign * g * M
        A[2, i, 2, j] += rest * K
    return A.reshape(3 * n, 3 * n)


@dataclasses.dataclass(frozen=True)
class State:
    """Fields of one metal cell at its quadrature points.

    Attributes:
      cell: the cell.
      J: current densities of the two channels (2, 3, points) [A/m^2].
      grad_T: (3, points) [K/m].
      V_s: spin accumulation (points,) [V].
      sigma, S, g: of the channels, and the relaxation constant of the cell.
    """

    cell: Cell
    J: np.ndarray
    grad_T: np.ndarray
    V_s: np.ndarray
    sigma: analytic.Channels
    S: analytic.Channels
    g: float


def states(block: Block, materials: Sequence[analytic.Layer], u: Array) -> Iterator[State]:
    """Currents and gradients in every metal cell: J_a = -sigma_a (grad V_a + S_a grad T)."""
    fields = block.fields(u).reshape(3, -1)
    for cell in cells(block):
        m = materials[cell.material]
        if not m.sigma:
            continue
        sigma, S = analytic.channel_sigma(m.sigma, m.P), analytic.channel_seebeck(m.P, m.S, m.S_s)
        grad = np.einsum("dqn,fn->fdq", cell.gradient, fields[:, cell.nodes])
        J = np.stack([-sigma[a] * (grad[a] + S[a] * grad[2]) for a in (0, 1)])
        V_s = cell.value @ (fields[0] - fields[1])[cell.nodes]
        g = (1 - m.P**2) * m.sigma / (4 * m.lambda_sf**2)
        yield State(cell, J, grad[2], V_s, sigma, S, g)


def joule(block: Block, materials: Sequence[analytic.Layer], u: Array, v: Array) -> np.ndarray:
    """q(u, v) of one column in the program's order of unknowns: sum_a J_a(u).J_a(v)/sigma_a, tested with T, over T0."""
    n = int(np.prod(block.shape))
    heat = np.zeros(n)
    for one, two in zip(states(block, materials, u), states(block, materials, v), strict=True):
        density = sum(np.sum(one.J[a] * two.J[a], axis=0) / one.sigma[a] for a in (0, 1))
        np.add.at(heat, one.cell.nodes, one.cell.value.T @ (one.cell.weight * density))
    return np.concatenate([np.zeros(2 * block.disc.nodes_V), heat[block.disc.index_T] / T0])


@dataclasses.dataclass(frozen=True)
class Powers:
    """Where the power goes that a current puts in [W]."""

    joule: float
    relaxation: float
    seebeck: float


def powers(block: Block, materials: Sequence[analytic.Layer], u: Array) -> Powers:
    """Joule heat, spin-relaxation heat g V_s^2, and work S_a J_a.grad T against the Seebeck field."""
    joule_heat = relaxation = seebeck = 0.0
    for s in states(block, materials, u):
        for a in (0, 1):
            joule_heat += float(s.cell.weight @ np.sum(s.J[a] ** 2, axis=0)) / s.sigma[a]
            seebeck += s.S[a] * float(s.cell.weight @ np.sum(s.J[a] * s.grad_T, axis=0))
        relaxation += s.g * float(s.cell.weight @ s.V_s**2)
    return Powers(joule_heat, relaxation, seebeck)
