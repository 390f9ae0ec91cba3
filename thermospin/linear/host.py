"""Conjugate gradients and the V-cycle in NumPy and SciPy: for small systems, whose program takes longer to compile.

The levels, the smoother and the iteration are those of `linear.multigrid` and `solve.pcg`, so that both take the same
steps to the same solution.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import block_array, block_diag, csr_array, diags_array

from thermospin.base.identity import ByIdentity
from thermospin.linear.multigrid import SMOOTHING_STEPS, Held, Level, Multigrid, inverse_blocks, smoother_factors
from thermospin.linear.sparse import Rows


class HostLevel(NamedTuple):
    """One level with its held nodes; values are vectors, field by field.

    Attributes:
      matrix: of the level.
      inverse: of its diagonal blocks, zero at held nodes: of one field (nodes,), of two the diagonals of both and what
        couples them.
      interpolation: from the next level, zero at held nodes.
      restriction: its transpose.
    """

    matrix: csr_array
    inverse: tuple[np.ndarray, ...]
    interpolation: csr_array
    restriction: csr_array


@dataclasses.dataclass(frozen=True, eq=False)
class HostMultigrid:
    """Levels from fine to coarse, and the inverse of the last level's matrix."""

    levels: tuple[HostLevel, ...]
    coarsest: np.ndarray

    @classmethod
    def of(cls, mg: Multigrid, held: Held) -> HostMultigrid:
        """Return the same levels for the host."""
        levels = (_level(level, np.asarray(free)) for level, free in zip(mg.levels, held.free, strict=True))
        return cls(tuple(levels), np.asarray(held.coarsest))

    def cycle(self, r: np.ndarray) -> np.ndarray:
        """Run one V-cycle from zero, as `multigrid.cycle` does."""
        stack: list[tuple[np.ndarray, np.ndarray]] = []
        for number, level in enumerate(self.levels):
            x, step = np.zeros_like(r), _next(level, 1, None, r)
            x, r, _ = _smooth(level, SMOOTHING_STEPS[number > 0], 2, x, r.copy(), step)
            stack.append((x, r))
            r = level.restriction @ r
        x = self.coarsest @ r
        for number, level in reversed(list(enumerate(self.levels))):
            before, r = stack[number]
            x, _, last = _smooth(level, SMOOTHING_STEPS[number > 0], 1, before, r, level.interpolation @ x)
            x += last
        return x


def _level(level: Level, free: np.ndarray) -> HostLevel:
    main, coupling = (None if part is None else np.asarray(part) for part in level.diagonal)
    assert main is not None
    nodes, fields = main.shape
    edges, dtype = _matrix(level.edges, nodes), main.dtype
    here = diags_array(free.astype(dtype))
    if coupling is None:
        matrix = diags_array(main[:, 0]) - edges
        inverse: tuple[np.ndarray, ...] = (1 / np.where(main > 0, main, 1.0)[:, 0],)
    else:
        # Of the blocks [[a + b, a - b], [a - b, a + b]] of edges, see `Rows.weight`.
        a, b = (
            csr_array((part, edges.indices, edges.indptr), edges.shape) for part in (edges.data.real, edges.data.imag)
        )
        own, cross = a + b, diags_array(coupling) - (a - b)
        matrix = block_array([[diags_array(main[:, 0]) - own, cross], [cross, diags_array(main[:, 1]) - own]])
        inverse = inverse_blocks(main, coupling)
    interpolation = here @ _matrix(level.interpolation, level.restriction.size)
    restriction = _matrix(level.restriction, nodes) @ here
    whole = (block_diag([part] * fields) for part in (interpolation, restriction))
    matrix, interpolation, restriction = (csr_array(part, dtype=dtype) for part in (matrix, *whole))
    return HostLevel(matrix, tuple((free * part).astype(dtype) for part in inverse), interpolation, restriction)


def _matrix(rows: Rows, columns: int) -> csr_array:
    return rows.unit * rows.matrix(columns)


def _smooth(
    level: HostLevel, steps: int, first: int, x: np.ndarray, r: np.ndarray, step: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Apply the smoother of `multigrid`, in place."""
    for number in range(first, first + steps):
        r -= level.matrix @ step
        x += step
        step = _next(level, number, step, r)
    return x, r, step


def _next(level: HostLevel, i: int, step: np.ndarray | None, r: np.ndarray) -> np.ndarray:
    """Return step i = 1, 2, ... of the smoother from the one before."""
    of_step, of_fresh = smoother_factors(i)
    fresh = _over_blocks(level.inverse, r)
    fresh *= of_fresh
    if step is not None and i > 1:
        fresh += of_step * step
    return fresh


def _over_blocks(inverse: tuple[np.ndarray, ...], r: np.ndarray) -> np.ndarray:
    """Return r over the diagonal blocks."""
    first, *others = inverse
    if not others:
        return first * r
    second, mixed = others
    out, n = np.concatenate([first, second]), len(first)
    out *= r
    out[:n] += mixed * r[n:]
    out[n:] += mixed * r[:n]
    return out


class HostSystem:
    """A system on the host: its free unknowns, and multigrid of potentials and of temperature."""

    def __init__(
        self,
        free: np.ndarray,
        merged: np.ndarray,
        mg: Sequence[Multigrid],
        held: Sequence[Held],
        nodes_V: int,
    ) -> None:
        """Take what is unknown (unknowns,), merged entries and those they are one with (2, pairs), and levels."""
        place = np.arange(len(free))
        place[merged[0]] = merged[1]
        self.free = free
        self._merges = merged.size > 0
        #: Fields from free values: zero where held, merged entries filled in.
        self.spread = csr_array((free[place].astype(float), (np.arange(len(free)), place)), shape=(len(free),) * 2)
        self._parts = [HostMultigrid.of(*pair) for pair in zip(mg, held, strict=True)]
        self._nodes_V = nodes_V
        self.matrices: ByIdentity[object, Assembled] = ByIdentity()

    def assembled(self, matrix: csr_array) -> Assembled:
        """Return a matrix on the free unknowns, scaled for `solve`."""
        diagonal = self.spread.T @ matrix.diagonal()
        if self._merges:
            free = csr_array(self.spread.T @ matrix @ self.spread)
        else:  # what the products of matrices above come to, in less time
            data = matrix.data * np.repeat(self.free, np.diff(matrix.indptr)) * self.free[matrix.indices]
            free = csr_array((data, matrix.indices, matrix.indptr), matrix.shape)
        return Assembled(free, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)))

    def solve(self, A: Assembled, limits: Limits, b: np.ndarray, guess: np.ndarray) -> tuple[np.ndarray, HostStats]:
        """Return the solution of A x = b on all nodes, converged or not; see `pcg`."""
        x, stats = pcg(A, self.precondition, limits, self.spread.T @ b, self.free * guess)
        return self.spread @ x, stats

    def precondition(self, r: np.ndarray, size: float) -> np.ndarray:
        """Approximate A^-1 r, as `solve.precondition` does."""
        n = self._nodes_V
        up, down, heat = r[:n], r[n : 2 * n], r[2 * n :]
        potentials, temperature = (
            part.cycle((values / size).astype(part.coarsest.dtype)) * size
            for part, values in zip(self._parts, (np.concatenate([up + down, up - down]), heat), strict=True)
        )
        mean, half = potentials[:n], potentials[n:]
        return np.concatenate([mean + half, mean - half, temperature])


class Assembled(NamedTuple):
    """A matrix A, and D^(-1/2) with D its diagonal."""

    matrix: csr_array
    scale: np.ndarray


class Limits(NamedTuple):
    """When a solve ends.

    Attributes:
      tolerance: bound on the relative residual.
      max_steps: bound on the number of iterations.
      rounding: what rounding may leave of the residual, over the norm of D^(1/2) x.
      roughest: but at most.
    """

    tolerance: float
    max_steps: int
    rounding: float
    roughest: float


class HostStats(NamedTuple):
    """How a solve went, as in `solve.Stats`."""

    iterations: int
    relative_residual: float
    start_residual: float
    converged: bool


def pcg(
    A: Assembled,
    precondition: Callable[[np.ndarray, float], np.ndarray],
    limits: Limits,
    b: np.ndarray,
    x: np.ndarray,
) -> tuple[np.ndarray, HostStats]:
    """Solve A x = b as `solve.pcg` does for a column.

    Args:
      A: symmetric and positive semidefinite.
      precondition: approximates A^-1 r, of r and its norm.
      limits: when to end.
      b: right-hand side.
      x: start.
    """
    (matrix, scale), (tolerance, max_steps, rounding, roughest) = A, limits

    def norm(r: np.ndarray) -> float:
        return math.sqrt(_dot(r * scale, r * scale))

    peak = float(np.max(np.abs(b * scale), initial=0.0)) or 1.0
    total = peak * norm(b / peak) or 1.0  # in two steps, so that no square overflows
    b, x = b / total, x / total
    steps, recursive, start = 0, np.inf, np.inf
    while True:
        # A look at the true residual, from which directions start again.
        r = b - matrix @ x
        error = norm(r)
        start = error if steps == 0 else start
        floor = min(rounding * math.sqrt(_dot(x / scale, x / scale)), roughest)
        settled = error <= tolerance or (recursive <= tolerance and error <= floor)
        if settled or steps >= max_steps:
            return x * total, HostStats(steps, error, start, settled)
        p, before = np.zeros_like(x), 0.0
        while not error <= tolerance and steps < max_steps:
            z = precondition(r, error)
            fresh = _dot(r, z)
            p *= fresh / before if before > 0 else 0.0
            p += z
            Ap = matrix @ p
            curvature = _dot(p, Ap)
            alpha = fresh / curvature if curvature > 0 else 0.0
            x += alpha * p
            r -= alpha * Ap
            error, before = norm(r), fresh
            steps += 1
        recursive = error


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    """Return a.b; not by a library whose threads would be in each other's way where columns are solved side by side."""
    return float(np.einsum("i,i->", a, b))
