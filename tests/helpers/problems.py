"""Problems with exact solutions, shared by tests and benchmarks: blocks of material on a grid given by hand.

`Block` builds the discrete problem from grid lines, without a device file: for order studies and closed forms, where
the grid has to be known. Whole devices are tested through the program's own grids elsewhere.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from thermospin import analytic, operators, solve
from thermospin.base.quadrature import gauss_lobatto
from thermospin.grid import Grid
from thermospin.linear import coarsening, preconditioner

T0 = 300.0

apply = eqx.filter_jit(operators.apply)
joule = eqx.filter_jit(operators.joule)


def constants(m: analytic.Layer) -> dict[str, float]:
    """Entries of G, of the Joule form and the relaxation of a material; see docs/theory.md, sections 3 and 4."""
    G = analytic.onsager_matrix(m.sigma, m.P, m.S, m.S_s, m.kappa, T0)
    s, e = analytic.channel_sigma(m.sigma, m.P), analytic.channel_seebeck(m.P, m.S, m.S_s)
    return {
        "uu": G[0, 0],
        "dd": G[1, 1],
        "uT": G[0, 2],
        "dT": G[1, 2],
        "TT": G[2, 2],
        "joule_TT": s.up * e.up**2 + s.down * e.down**2,
        "relaxation": analytic.spin_exchange(m.sigma, m.P, m.lambda_sf) if m.sigma else 0.0,
        "ud": 0.0,
    }


@eqx.filter_jit  # one program in place of one for each operation in it
def _coefficients(disc: operators.Discretisation, table: dict[str, np.ndarray]) -> operators.Coefficients:
    return operators.coefficients(disc, table, T0)


class Block:
    """A discrete problem on a tensor grid.

    Args:
      lines: grid lines along x, y, z [m].
      domain: index of the material of each cell, -1 for void.
      materials: analytic.Layer objects (their length is not used).
      order: polynomial order.
      ground: faces with V_up = V_down = 0.
      bath: faces held at T = 0.

    A face is (axis, line, mask): the nodes on grid line `line` (-1 is the last) across `axis`, where the mask over the
    transverse cells is true (None is everywhere).
    """

    def __init__(
        self,
        lines: Sequence[np.ndarray],
        domain: np.ndarray,
        materials: Sequence[analytic.Layer],
        order: int,
        *,
        ground: Sequence[tuple],
        bath: Sequence[tuple],
    ):
        self.grid = Grid((lines[0], lines[1], lines[2]), np.asarray(domain, np.int32), order)
        self.shape: tuple[int, ...] = tuple(len(x) for x in self.grid.nodes)
        metal = np.array([m.sigma != 0 for m in materials])
        held_T = self._any(bath)
        self.disc = operators.discretise(self.grid, metal, held_T)
        self.law = self.law_of(materials)
        held_V = self._any(ground).ravel()[self.disc.index_V]
        # Small problems: two levels, a large dense solve at the end, so that there is little to compile.
        coarsest = coarsening.COARSEST
        coarsening.COARSEST = min(self.disc.nodes_V, self.disc.nodes_T // 2, 1500)
        try:
            made = preconditioner.prepare(
                solve.low_order_graphs(self.grid, self.disc, self.law, held_V), self.grid.nodes
            )
            (self.system,) = solve.hold(self.disc, made, held_V)
        finally:
            coarsening.COARSEST = coarsest

    def law_of(self, materials: Sequence[analytic.Layer]) -> operators.Coefficients:
        """Coefficients for these materials on this grid."""
        return _coefficients(self.disc, table_of(materials))

    def face_weights(self, face: tuple) -> np.ndarray:
        """Area of each node of the tensor grid that lies on a face; sums to the area of the face."""
        axis, line, mask = face
        order = self.grid.order
        weights = gauss_lobatto(order)[1]
        others = [a for a in range(3) if a != axis]
        widths = [np.diff(self.grid.lines[a]) for a in others]
        cells = np.ones([len(w) for w in widths], bool) if mask is None else mask
        plane = np.zeros([order * len(w) + 1 for w in widths])
        for i, j in np.argwhere(cells):
            area = np.outer(weights * widths[0][i] / 2, weights * widths[1][j] / 2)
            plane[order * i : order * i + order + 1, order * j : order * j + order + 1] += area
        out = np.zeros(self.shape)
        index: list = [slice(None)] * 3
        index[axis] = (order * line) % self.shape[axis] if line >= 0 else self.shape[axis] - 1
        out[tuple(index)] = plane
        return out

    def _any(self, faces: Sequence[tuple]) -> np.ndarray:
        held = np.zeros(self.shape, bool)
        for face in faces:
            held |= self.face_weights(face) > 0
        return held

    def drive(self, face: tuple, *, J: tuple[float, float] = (0.0, 0.0), Q: float = 0.0) -> Array:
        """Right-hand side of a current density per channel [A/m^2] and a heat current density [W/m^2] into a face."""
        area = self.face_weights(face).ravel()
        V, T = area[self.disc.index_V], area[self.disc.index_T]
        return jnp.asarray(np.concatenate([J[0] * V, J[1] * V, Q / T0 * T])[:, None])

    def probe(self, face: tuple) -> np.ndarray:
        """Vector w with w.u the area mean of (V_up + V_down)/2 over a face."""
        V = self.face_weights(face).ravel()[self.disc.index_V]
        V = V / V.sum()
        return np.concatenate([V / 2, V / 2, np.zeros(self.disc.nodes_T)])

    def solve(self, b: Array, law: operators.Coefficients | None = None) -> Array:
        """A^-1 b to a true relative residual of 2e-11; round-off on the strongest gradings allows about 5e-12."""
        u, stats = solve.solve(self.system, self.law if law is None else law, b, tolerance=2e-11)
        assert bool(np.all(stats.converged)), (stats.iterations, stats.relative_residual)
        return u

    def fields(self, u: Array) -> np.ndarray:
        """V_up, V_down, T on the tensor grid, NaN where there is none, shape (3, Nx, Ny, Nz)."""
        out = np.full((3, int(np.prod(self.shape))), np.nan)
        n = self.disc.nodes_V
        values = np.asarray(u)[:, 0]
        out[0, self.disc.index_V], out[1, self.disc.index_V] = values[:n], values[n : 2 * n]
        out[2, self.disc.index_T] = values[2 * n :]
        return out.reshape(3, *self.shape)


LEFT = (0, 0, None)
RIGHT = (0, -1, None)


def clustered(length: float, cells: int, clustering: float) -> np.ndarray:
    """Grid lines on [0, length] that cluster towards both ends; clustering 0 is uniform."""
    t = np.linspace(-1.0, 1.0, cells + 1)
    if clustering:
        t = np.tanh(clustering * t) / np.tanh(clustering)
    return (t + 1) / 2 * length


@dataclasses.dataclass(frozen=True)
class Bar:
    """A stack of layers along x as a bar one cell across, and the exact solution it has.

    The left end is driven, and is held at T = 0 unless a heat current is given there; the right end is grounded.

    Attributes:
      layers: from left to right.
      cells: cells per layer.
      clustering: of the grid lines of each layer towards its ends, see `clustered`.
      order: polynomial order.
      left_bath: whether the left end is held at T = 0.
      width: side of the square cross-section [m].
    """

    layers: tuple[analytic.Layer, ...]
    cells: tuple[int, ...]
    order: int
    clustering: float = 0.0
    left_bath: bool = True
    width: float = 30e-9

    @property
    def lines(self) -> np.ndarray:
        """Grid lines along x."""
        out = np.zeros(1)
        for layer, cells in zip(self.layers, self.cells, strict=True):
            out = np.append(out, out[-1] + clustered(layer.length, cells, self.clustering)[1:])
        return out

    @property
    def x(self) -> np.ndarray:
        """Node coordinates."""
        return self.block.grid.nodes[0]

    @functools.cached_property
    def block(self) -> Block:
        """The discrete problem."""
        across = np.array([0.0, self.width])
        domain = np.repeat(np.arange(len(self.layers)), self.cells)[:, None, None]
        bath = [LEFT, RIGHT] if self.left_bath else [RIGHT]
        return Block((self.lines, across, across), domain, self.layers, self.order, ground=[RIGHT], bath=bath)

    def solve(self, J: tuple[float, float], Q: float = 0.0) -> tuple[Array, Array]:
        """Responses u_1, u_2 (zeta = 1) to current densities J_up, J_down and a heat current density Q at the left."""
        block = self.block
        u_1 = block.solve(block.drive(LEFT, J=J, Q=Q))
        return u_1, block.solve(joule(block.disc, block.law, u_1, u_1))

    def along(self, u: Array) -> np.ndarray:
        """V_up, V_down, T at the nodes of one edge of the bar."""
        return self.block.fields(u)[:, :, 0, 0]

    def voltage(self, u: Array) -> float:
        """Voltage of the left end against the ground."""
        return float(self.block.probe(LEFT) @ u[:, 0])

    def exact(self, J: tuple[float, float], Q: float = 0.0) -> analytic.LayeredSolution:
        """The exact response u_1; `.second_harmonic()` is u_2."""
        left = analytic.End(J=J, T=0.0) if self.left_bath else analytic.End(J=J, Q=Q)
        return analytic.layered_stack(self.layers, left, analytic.End.grounded(), T0=T0)


# Strong couplings, so that no term hides behind another: T0 sigma S^2 / kappa is 0.1 to 0.2 in the metals.
PATCHES = (
    analytic.Layer(length=1.0, sigma=4e6, P=0.4, S=-6e-5, S_s=-4e-5, kappa=30.0, lambda_sf=20e-9),
    analytic.Layer(length=1.0, sigma=2e7, P=0.0, S=4e-5, S_s=0.0, kappa=100.0, lambda_sf=80e-9),
    analytic.Layer(length=1.0, sigma=0.0, kappa=1.5),
    analytic.Layer(length=1.0, sigma=4e6, P=-0.4, S=-6e-5, S_s=4e-5, kappa=30.0, lambda_sf=20e-9),
)
"""A ferromagnet, a normal metal, an insulator, and the ferromagnet reversed."""

PATCH_DOMAIN = np.array([[[0, 2], [1, 0]], [[1, -1], [0, 2]], [[3, 1], [3, 1]]])
"""Cells of the patchwork (x, y, z): metal, insulator and void around the same grid lines, all metal connected."""

PATCH_LINES = (
    np.array([0.0, 8e-9, 30e-9, 45e-9]),
    np.array([0.0, 25e-9, 36e-9]),
    np.array([0.0, 6e-9, 21e-9]),
)

PATCH_GROUND = (0, 0, PATCH_DOMAIN[0] != 2)
"""The metal of the left face, held at V_up = V_down = 0 (and the whole left and right faces at T = 0)."""
PATCH_PORT = (0, -1, None)
"""The right face, all metal."""
PATCH_SIDE = (1, 0, PATCH_DOMAIN[:, 0, :] == 1)
"""The normal metal of the front face: cells (1, 0, 0) and (2, 0, 1)."""


@functools.cache
def patchwork(order: int) -> Block:
    """A block of 3 x 2 x 2 cells of all materials, void included, on a graded grid, grounded at the left."""
    return Block(PATCH_LINES, PATCH_DOMAIN, PATCHES, order, ground=[PATCH_GROUND], bath=[LEFT, RIGHT])


def reversed_magnets(materials: Sequence[analytic.Layer]) -> list[analytic.Layer]:
    """The same materials, every magnet reversed."""
    return [analytic.Layer.of(m, m.length, sign=-1) for m in materials]


def without_seebeck(m: analytic.Layer) -> analytic.Layer:
    """The same material without thermoelectric coefficients."""
    return dataclasses.replace(m, S=0.0, S_s=0.0)


def table_of(materials: Sequence[analytic.Layer]) -> dict[str, Array]:
    """The entries of `operators.COEFFICIENTS` of each material, as `operators.coefficients` takes them."""
    rows = [constants(m) for m in materials]
    return {name: jnp.array([row[name] for row in rows]) for name in operators.COEFFICIENTS}


def dense(block: Block, law: operators.Coefficients | None = None) -> np.ndarray:
    """The operator as a matrix, held nodes included."""
    return np.asarray(apply(block.disc, block.law if law is None else law, jnp.eye(block.disc.unknowns)))


def diagonal_of(disc: operators.Discretisation, law: operators.Coefficients) -> np.ndarray:
    """The diagonal of the operator, held rows included (unknowns,)."""
    return np.asarray(operators.joined(operators.diagonal(disc, law)))[:, 0]


def random_fields(block: Block, seed: int, columns: int = 1) -> Array:
    """Fields with independent values at all nodes, of the size at which every field matters alike.

    T is scaled by the ratio of volts to kelvins that makes charge and heat dissipate alike.
    """
    rng = np.random.default_rng(seed)
    size = np.concatenate([np.full(2 * block.disc.nodes_V, 1.0), np.full(block.disc.nodes_T, 5e3)])
    return jnp.asarray(size[:, None] * rng.standard_normal((len(size), columns)))
