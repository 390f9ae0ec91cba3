"""Graded tensor grids: grid lines on every face of every solid, one material per cell, Gauss-Lobatto nodes.

This module knows boxes and lengths; it knows neither materials' values nor equations.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np

Box = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

AXES = ("x", "y", "z")

#: Faces closer than this fraction of the device are one face: round-off in a sum of decimal lengths, not geometry.
FACE_TOLERANCE = 1e-9


@functools.cache
def gauss_lobatto(order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gauss-Lobatto nodes, weights and differentiation matrix on [-1, 1].

    Args:
      order: polynomial order p >= 1; there are p + 1 nodes.
    Returns:
      nodes x (p+1), weights w (p+1, sum 2), and D (p+1, p+1) with (D f)_i = f'(x_i) exact for polynomials of degree p.
    Source: Canuto, Hussaini, Quarteroni, Zang, Spectral Methods (2006), sections 2.3.1 and 2.3.2.
    """
    if order < 1:
        raise ValueError(f"order is {order}; a nodal element needs order 1, 2 or 3.")
    legendre = np.polynomial.Legendre.basis(order)
    nodes = np.concatenate([[-1.0], np.sort(legendre.deriv().roots().real), [1.0]])
    at_nodes = legendre(nodes)
    weights = 2.0 / (order * (order + 1) * at_nodes**2)
    distance = nodes[:, None] - nodes[None, :] + np.eye(order + 1)
    derivative = at_nodes[:, None] / at_nodes[None, :] / distance
    np.fill_diagonal(derivative, 0.0)
    np.fill_diagonal(derivative, -derivative.sum(axis=1))
    return nodes, weights, derivative


@dataclasses.dataclass(frozen=True)
class Grid:
    """A graded tensor grid with one domain per cell.

    Attributes:
      lines: grid lines along x, y and z [m]; every face of every solid is one of them.
      domain: index of the domain that fills a cell (nx, ny, nz); -1 is void.
      order: polynomial order p of the nodal scheme.
    """

    lines: tuple[np.ndarray, np.ndarray, np.ndarray]
    domain: np.ndarray
    order: int

    @property
    def nodes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Node coordinates along each axis [m], order * cells + 1 of them."""
        x, y, z = (self._axis_nodes(lines) for lines in self.lines)
        return x, y, z

    def _axis_nodes(self, lines: np.ndarray) -> np.ndarray:
        reference = gauss_lobatto(self.order)[0]
        width = np.diff(lines)
        inside = lines[:-1, None] + (reference[None, :-1] + 1) / 2 * width[:, None]
        return np.append(inside.ravel(), lines[-1])

    @property
    def cells(self) -> int:
        """Number of cells that are filled."""
        return int(np.count_nonzero(self.domain >= 0))

    def stretched(self, axis: int, below: float, at: float, by: float) -> Grid:
        """The same cells with the lines from `at` onwards moved, and those down to `below` in proportion [m]."""
        lines = self.lines[axis]
        share = np.clip((lines - below) / (at - below), 0.0, 1.0)
        # Onwards by exactly this sum, which faces are moved by too.
        moved = np.where(share == 1.0, lines + by, lines + by * share)
        x, y, z = (moved if k == axis else each for k, each in enumerate(self.lines))
        return dataclasses.replace(self, lines=(x, y, z))

    def unknowns(self, metals: Sequence[bool]) -> int:
        """Number of unknowns, two potentials per node of a metal and a temperature per node; `metals` by domain."""
        live = self.domain >= 0
        metal = live & np.asarray(metals, dtype=bool)[self.domain]
        return 2 * int(self.nodes_of(metal).sum()) + int(self.nodes_of(live).sum())

    def nodes_of(self, cells: np.ndarray) -> np.ndarray:
        """Marks the nodes (Nx, Ny, Nz) of the cells marked in `cells` (nx, ny, nz)."""
        marked = cells
        for axis in range(3):
            marked = np.moveaxis(marked, axis, 0)
            count = marked.shape[0]
            out = np.zeros((self.order * count + 1, *marked.shape[1:]), dtype=bool)
            for local in range(self.order + 1):
                out[local : local + self.order * count : self.order] |= marked
            marked = np.moveaxis(out, 0, axis)
        return marked

    def shares(self, axis: int) -> np.ndarray:
        """Length of each cell that belongs to each node along an axis [m] (nodes, cells)."""
        weights = gauss_lobatto(self.order)[1]
        width = np.diff(self.lines[axis])
        first = self.order * np.arange(len(width))
        shares = np.zeros((self.order * len(width) + 1, len(width)))
        for local, weight in enumerate(weights):
            shares[first + local, np.arange(len(width))] = weight * width / 2
        return shares

    def face_weights(self, axis: int, position: float, cells: np.ndarray, lines: Sequence[np.ndarray]) -> np.ndarray:
        """Area of each node of the tensor grid [m^2] (Nx, Ny, Nz) that lies on a piece of a plane; sums to its area.

        Args:
          axis: normal to the plane.
          position: of the plane [m], on a grid line.
          cells: which cells of a coarser tensor grid make up the piece (its two transverse axes).
          lines: all three sets of grid lines of that coarser grid [m].
        """
        others = [a for a in range(3) if a != axis]
        inside = cells
        for k, other in enumerate(others):
            middle = (self.lines[other][1:] + self.lines[other][:-1]) / 2
            inside = np.take(inside, np.searchsorted(lines[other], middle) - 1, axis=k)
        plane = self.shares(others[0]) @ inside @ self.shares(others[1]).T
        weights = np.zeros([len(nodes) for nodes in self.nodes])
        np.moveaxis(weights, axis, 0)[self.order * self.line_index(axis, position)] = plane
        return weights

    def line_index(self, axis: int, position: float) -> int:
        """Index of the grid line at `position` [m]; a position that is on no line is a ValueError."""
        lines = self.lines[axis]
        index = int(np.argmin(np.abs(lines - position)))
        if abs(lines[index] - position) > FACE_TOLERANCE * (lines[-1] - lines[0]):
            raise ValueError(f"no grid line at {AXES[axis]} = {position:g} m; the nearest is {lines[index]:g} m.")
        return index


def merge_close(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Sorted values, those within `FACE_TOLERANCE` of the total extent of each other taken as one."""
    ordered = np.unique(np.asarray(values, dtype=float))
    keep = np.append(True, np.diff(ordered) > FACE_TOLERANCE * (ordered[-1] - ordered[0]))
    return ordered[keep]


def fill(lines: Sequence[np.ndarray], boxes: Sequence[Box], domains: Sequence[int]) -> np.ndarray:
    """Domain index of every cell, -1 where no box is; later boxes overwrite earlier ones."""
    domain = np.full([len(line) - 1 for line in lines], -1, dtype=np.int32)
    for box, index in zip(boxes, domains, strict=True):
        ranges = []
        for line, (low, high) in zip(lines, box, strict=True):
            first, last = (int(np.argmin(np.abs(line - edge))) for edge in (low, high))
            ranges.append(slice(first, last))
        domain[tuple(ranges)] = index
    return domain


def graded_lines(
    faces: np.ndarray, sizes: np.ndarray, growth: float, spans: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """Grid lines on every face, graded geometrically away from where small cells are wanted.

    The wanted cell size at x is s(x) = min over spans i of (sizes_i + growth dist(x, span_i)), so that cells grow by a
    factor of about exp(growth) from one to the next; between two faces n = ceil(integral dx / s) lines share that
    integral equally, which keeps the growth smooth and never moves a face. With spans, which may be many, n is rounded
    up from 0.3: else every pair of faces would have most of a line for nothing.

    Args:
      faces: positions of the faces [m], ascending.
      sizes: wanted cell size on each span [m]; inf where nothing is asked for.
      growth: relative growth of the cell size per length [1].
      spans: lower and upper ends of the spans [m]; None: the faces.
    """
    (lows, highs), spare = ((faces, faces), 1e-9) if spans is None else (spans, 0.3)
    wanted = np.isfinite(sizes)
    beside = sizes[wanted, None] * np.geomspace(1e-2, 1e3, 30)
    points = np.concatenate(
        [lows, highs, (lows[wanted, None] - beside).ravel(), (highs[wanted, None] + beside).ravel()]
    )
    pieces = [faces[:1]]
    for low, high in zip(faces[:-1], faces[1:], strict=True):
        # Sample the size finely where it is small, with points that bunch there geometrically.
        unit = np.concatenate([[0.0], np.geomspace(1e-5, 0.5, 60)])
        sample = low + (high - low) * np.concatenate([unit, 1 - unit[-2::-1]])
        if spans is not None:
            sample = np.union1d(sample, points[(points > low) & (points < high)])
        distance = np.maximum(np.maximum(lows[None, :] - sample[:, None], sample[:, None] - highs[None, :]), 0.0)
        size = np.min(sizes[None, :] + growth * distance, axis=1)
        steps = np.diff(sample) * 0.5 * (1 / size[1:] + 1 / size[:-1])
        measure = np.append(0.0, np.cumsum(steps))
        count = max(1, int(np.ceil(measure[-1] - spare)))
        inner = np.interp(np.linspace(0, measure[-1], count + 1)[1:], measure, sample)
        inner[-1] = high
        pieces.append(inner)
    return np.concatenate(pieces)


@dataclasses.dataclass(frozen=True)
class Features:
    """What a grid must resolve: the boxes of a device, in the order of overwriting.

    Attributes:
      boxes: extents of the solids [m].
      domains: domain index of each solid.
      metals: whether each solid conducts charge.
      lengths: spin relaxation length of each solid [m].
    """

    boxes: tuple[Box, ...]
    domains: tuple[int, ...]
    metals: tuple[bool, ...]
    lengths: tuple[float, ...]

    def faces(self, axis: int) -> np.ndarray:
        """Positions of all faces across one axis [m]."""
        return merge_close([edge for box in self.boxes for edge in box[axis]])

    def sizes(self, axis: int) -> np.ndarray:
        """Wanted cell size at each of `faces(axis)` [m], at coarseness 1.

        Where two metals of different kind touch, spins relax within the shorter of their relaxation lengths and
        potentials are singular along the edges of the contact: its plane and its edges ask for a fifth of that length
        or half of the smallest side involved. All other faces of a solid ask for its smallest side.
        """
        faces = self.faces(axis)
        sizes = np.full(len(faces), np.inf)

        def ask(edges: Sequence[float], size: float) -> None:
            for edge in edges:
                k = int(np.argmin(np.abs(faces - edge)))
                sizes[k] = min(sizes[k], size)

        for box in self.boxes:
            ask(box[axis], _smallest_side(box))
        for (i, a), (j, b) in itertools.combinations(enumerate(self.boxes), 2):
            if self.domains[i] == self.domains[j] or not (self.metals[i] and self.metals[j]):
                continue
            shared = _shared(a, b)
            if shared is not None:
                sides = min(_smallest_side(a), _smallest_side(b), _smallest_side(shared))
                ask(shared[axis], min(self.lengths[i] / 5, self.lengths[j] / 5, sides / 2))
        return sizes


def _smallest_side(box: Box) -> float:
    """The smallest extent that is not zero."""
    return min(high - low for low, high in box if high > low)


def _shared(a: Box, b: Box) -> Box | None:
    """What two boxes have in common, if that is a volume or a piece of face."""
    tolerance = FACE_TOLERANCE * max(p[1] - p[0] for p in (*a, *b))
    sides = [(max(p[0], q[0]), min(p[1], q[1])) for p, q in zip(a, b, strict=True)]
    extents = [high - low for low, high in sides]
    if min(extents) < -tolerance or sum(extent > tolerance for extent in extents) < 2:
        return None
    x, y, z = ((low, high) if high - low > tolerance else (low, low) for low, high in sides)
    return x, y, z


def at_coarseness(features: Features, order: int, coarseness: float) -> Grid:
    """The grid whose wanted sizes are `coarseness` times those of `Features`, growing by a factor 1 + coarseness."""
    growth = float(np.log1p(coarseness))
    lines = [graded_lines(features.faces(axis), features.sizes(axis) * coarseness, growth) for axis in range(3)]
    return Grid((lines[0], lines[1], lines[2]), fill(lines, features.boxes, features.domains), order)


def choose(features: Features, order: int, cells: int | None = None) -> Grid:
    """The program's grid for a device: as fine as a budget of cells allows, or the default.

    Args:
      features: what to resolve.
      order: polynomial order 1, 2 or 3.
      cells: most cells there may be; None: the coarseness that `DEFAULT_COARSENESS` has for the order.
    Raises:
      ValueError: even the coarsest grid, one cell between neighbouring faces, has more cells than that.
    """
    if cells is None:
        return at_coarseness(features, order, DEFAULT_COARSENESS[order])
    coarsest = at_coarseness(features, order, 1e6)
    if coarsest.cells > cells:
        raise ValueError(
            f"a budget of {cells} cells is too small: the faces of the solids alone make {coarsest.cells} cells; "
            f"ask for at least that many"
        )
    # The number of cells falls with the coarseness, in steps: halve the interval until it is within a step.
    fine, coarse = 0.0, 1.0
    while at_coarseness(features, order, coarse).cells > cells:
        fine, coarse = coarse, 2 * coarse
    for _ in range(16):
        middle = (fine + coarse) / 2
        if at_coarseness(features, order, middle).cells > cells:
            fine = middle
        else:
            coarse = middle
    return at_coarseness(features, order, coarse)


#: Coarseness of the default grid for each order; benchmarks/grid_order.py shows what it costs and what it buys.
DEFAULT_COARSENESS = {1: 1.0, 2: 3.0, 3: 6.0}
