"""The operator as an assembled matrix, for solvers that need one.

It is the one that small systems are solved with, see `thermospin.signals.uncompiled`; this module knows no solver.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from scipy import sparse

from thermospin import operators
from thermospin.signals import uncompiled


def assemble(disc: operators.Discretisation, law: operators.Coefficients) -> sparse.csr_matrix:
    """The matrix of `operators.apply`, held nodes included."""
    return sparse.csr_matrix(uncompiled.matrix(disc, law))


def verify(disc: operators.Discretisation, law: operators.Coefficients, matrix: sparse.csr_matrix) -> None:
    """Compares the matrix with the operator on random fields whose three parts contribute alike."""
    u = np.random.default_rng(0).standard_normal((disc.unknowns, 2)) / np.sqrt(matrix.diagonal())[:, None]
    wanted, found = np.asarray(operators.apply(disc, law, jnp.asarray(u))), matrix @ u
    scale = np.sqrt(matrix.diagonal())[:, None]
    off = np.linalg.norm((found - wanted) / scale) / np.linalg.norm(wanted / scale)
    assert off < 1e-12, f"assembled matrix and operator differ by {off:.1e}"


class Linear:
    """The matrix on the free nodes, and the norm of its residuals.

    Attributes:
      free: their places in a field vector.
      A: the matrix.
      root: square root of its diagonal.
    """

    def __init__(self, disc: operators.Discretisation, law: operators.Coefficients, free: np.ndarray) -> None:
        self.free = np.flatnonzero(free)
        whole = assemble(disc, law)
        self.A = whole if len(self.free) == disc.unknowns else whole[self.free][:, self.free]
        self.root = np.sqrt(self.A.diagonal())
        self.sizes = [int(np.count_nonzero(part)) for part in operators.split(disc, jnp.asarray(free))]

    def norm(self, r: np.ndarray) -> np.ndarray:
        """Size of each column."""
        return np.linalg.norm(r / self.root[:, None], axis=0)

    def residual(self, x: np.ndarray, b: np.ndarray) -> float:
        """The largest relative residual of fields on all nodes."""
        x, b = x[self.free], b[self.free]
        return float(np.max(self.norm(b - self.A @ x) / self.norm(b)))

    def scaled(self, parts: int) -> tuple[sparse.csr_matrix, sparse.csr_matrix, np.ndarray, np.ndarray]:
        """The matrix as rivals get it, in which charge and spin couple in magnets alone: see rivals.py.

        Returns:
          M'AM, M, the square root of the diagonal before scaling, and the sizes of the fields in each part.
        """
        n, _, n_T = self.sizes
        one, none = sparse.eye_array(n), sparse.csr_array((n, n_T))
        mixed = [[one, one / 2, none], [one, -one / 2, none], [None, None, sparse.eye_array(n_T)]]
        cuts = np.array([[part * count // parts for part in range(parts + 1)] for count in self.sizes])
        starts = np.array([0, n, 2 * n])[:, None] + cuts
        order = [np.arange(low, high) for part in range(parts) for low, high in starts[:, part : part + 2]]
        M = sparse.block_array(mixed, format="csc")[:, np.concatenate(order)].tocsr()
        out = (M.T @ self.A @ M).tocsr()
        root = np.sqrt(out.diagonal())
        scale = sparse.diags_array(1 / root)
        out = sparse.csr_matrix(scale @ out @ scale)
        out.sort_indices()
        return out, sparse.csr_matrix(M @ scale), root, np.diff(cuts, axis=1).T
