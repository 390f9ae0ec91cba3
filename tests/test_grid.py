"""Grids: quadrature, nodes, areas and volumes by loops on small cases, and grading.

Lengths are sums of a few products of numbers of order one: compared to 1e-13 of the whole, unless they are exact.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.elements import POINTS
from thermospin import grid as grids
from thermospin.base.lines import graded_lines, merge_close
from thermospin.base.quadrature import gauss_lobatto
from thermospin.grid import Grid

NM = 1e-9
LINES = (np.array([0.0, 8.0, 30.0, 45.0]) * NM, np.array([-5.0, 25.0, 36.0]) * NM, np.array([0.0, 6.0]) * NM)
DOMAIN = np.array([[[0], [1]], [[-1], [0]], [[1], [-1]]])


# ------------------------------------------------------------------------------------------ one element


@pytest.mark.parametrize("order", [1, 2, 3])
def test_nodes_and_weights_are_the_tabulated_ones(order):
    nodes, weights, _ = gauss_lobatto(order)
    np.testing.assert_allclose(nodes, POINTS[order][0], atol=1e-15)
    np.testing.assert_allclose(weights, POINTS[order][1], rtol=1e-14)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_quadrature_and_derivative_are_exact_to_the_degree_they_should(order):
    """Quadrature to degree 2p - 1, differentiation to degree p; one degree more is wrong: the control."""
    nodes, weights, D = gauss_lobatto(order)
    for degree in range(2 * order + 1):
        exact = (1 - (-1) ** (degree + 1)) / (degree + 1)
        error = abs(weights @ nodes**degree - exact)
        assert error < 1e-14 if degree < 2 * order else error > 1e-3
    for degree in range(1, order + 2):
        error = np.abs(D @ nodes**degree - degree * nodes ** (degree - 1)).max()
        assert error < 1e-13 if degree <= order else error > 1e-3
    np.testing.assert_allclose(D.sum(axis=1), 0, atol=1e-14)


def test_order_zero_is_refused():
    with pytest.raises(ValueError, match="order is 0"):
        gauss_lobatto(0)


# ------------------------------------------------------------------------------------------ nodes, lengths, areas


@pytest.mark.parametrize("order", [1, 2, 3])
def test_nodes_lie_in_their_cells_and_on_the_lines(order):
    for lines, nodes in zip(LINES, Grid(LINES, DOMAIN, order).nodes, strict=True):
        assert len(nodes) == order * (len(lines) - 1) + 1
        np.testing.assert_allclose(nodes[::order], lines, rtol=0, atol=1e-24)
        assert np.all(np.diff(nodes) > 0)
        for i, (low, high) in enumerate(itertools.pairwise(lines)):
            inside = (low + high) / 2 + (high - low) / 2 * np.array(POINTS[order][0])
            np.testing.assert_allclose(nodes[order * i : order * i + order + 1], inside, rtol=0, atol=1e-23)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_nodes_of_cells_are_those_of_a_loop(order):
    grid = Grid(LINES, DOMAIN, order)
    marked = DOMAIN == 0
    expected = np.zeros([len(x) for x in grid.nodes], bool)
    for i, j, k in np.argwhere(marked):
        for a, b, c in itertools.product(range(order + 1), repeat=3):
            expected[order * i + a, order * j + b, order * k + c] = True
    found = grid.nodes_of(marked)
    assert np.array_equal(found, expected)
    assert 0 < found.sum() < found.size
    assert grid.cells == 4


@pytest.mark.parametrize("order", [1, 2, 3])
def test_shares_integrate_along_an_axis(order):
    """Integrals over every cell of the powers up to 2p - 1 of the distance from the lowest line."""
    grid = Grid(LINES, DOMAIN, order)
    for axis in range(3):
        shares = grid.shares(axis)
        width, lines = np.diff(LINES[axis]), LINES[axis] - LINES[axis][0]
        for power in range(2 * order):
            found = (grid.nodes[axis] - LINES[axis][0]) ** power @ shares
            exact = np.diff(lines ** (power + 1)) / (power + 1)
            np.testing.assert_allclose(found, exact, rtol=1e-12)
        assert np.count_nonzero(shares) == (order + 1) * len(width), "a cell belongs to its own nodes only"


@pytest.mark.parametrize("order", [1, 2, 3])
def test_face_weights_integrate_over_a_piece_of_a_plane(order):
    """The piece is given on a coarser grid: y from -5 to 25 and z from 0 to 6 of the plane x = 30, in nm."""
    grid = Grid(LINES, DOMAIN, order)
    coarse = (LINES[0][[0, 2, 3]], LINES[1], LINES[2])
    weights = grid.face_weights(0, 30 * NM, np.array([[True], [False]]), coarse)
    assert weights.sum() == pytest.approx(30 * 6 * NM**2, rel=1e-14)
    assert np.flatnonzero(weights.any(axis=(1, 2))).tolist() == [2 * order]
    y = grid.nodes[1]
    assert np.all(y[np.flatnonzero(weights.any(axis=(0, 2)))] <= 25 * NM * (1 + 1e-12))
    moment = np.einsum("xyz,y->", weights, y)
    assert moment == pytest.approx(10 * NM * 180 * NM**2, rel=1e-13)


def test_a_piece_of_coarse_cells_covers_all_fine_cells_in_it():
    fine = (LINES[0], np.linspace(-5, 36, 83) * NM, LINES[2])
    grid = Grid(fine, np.zeros((3, 82, 1), int), 2)
    coarse = (LINES[0], np.array([-5.0, 10.0, 36.0]) * NM, LINES[2])
    for cells, area in (([[True], [False]], 15 * 6), ([[False], [True]], 26 * 6), ([[True], [True]], 41 * 6)):
        weights = grid.face_weights(0, 0.0, np.array(cells), coarse)
        assert weights.sum() == pytest.approx(area * NM**2, rel=1e-13)


def test_a_position_on_no_grid_line_is_told_the_nearest():
    grid = Grid(LINES, DOMAIN, 2)
    assert [grid.line_index(0, x) for x in LINES[0]] == [0, 1, 2, 3]
    assert grid.line_index(0, (8 + 1e-9) * NM) == 1, "round-off of a sum of lengths"
    with pytest.raises(ValueError, match=r"no grid line at y = 2e-08 m; the nearest is 2.5e-08 m"):
        grid.line_index(1, 20 * NM)


# ------------------------------------------------------------------------------------------ lines and cells


def test_faces_that_differ_by_round_off_are_one():
    values = [0.1 + 0.2, 0.3, 0.0, 1.0, 1.0 - 1e-12, 0.5]
    np.testing.assert_allclose(merge_close(values), [0.0, 0.3, 0.5, 1.0], atol=1e-11)
    assert len(merge_close([0.0, 1e-6, 1.0])) == 3


def test_later_boxes_overwrite_earlier_ones():
    lines = tuple(np.array([0.0, 1.0, 2.0, 3.0]) for _ in range(3))
    boxes = [((0, 3), (0, 3), (0, 1)), ((1, 2), (0, 2), (0, 2))]
    domain = grids.fill(lines, boxes, [4, 7])
    expected = np.full((3, 3, 3), -1)
    for i, j, k in itertools.product(range(3), repeat=3):
        if k < 1:
            expected[i, j, k] = 4
        if i == 1 and j < 2 and k < 2:
            expected[i, j, k] = 7
    assert np.array_equal(domain, expected)


spans = st.lists(st.floats(5.0, 500.0), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(spans, st.floats(0.5, 20.0), st.floats(0.2, 1.6), st.randoms(use_true_random=False))
def test_graded_lines_keep_every_face_and_grow_no_faster_than_asked(gaps, smallest, growth, random):
    """Between two faces neighbouring cells differ by at most exp(growth).

    The wanted size s changes by at most `growth` per length, and every cell takes at most one unit of the integral of
    dx/s: over one cell s changes by that factor, and a cell exceeds s at its own larger end by less than its root. The
    integral is sampled: 10 % are left for that.
    """
    faces = np.append(0.0, np.cumsum(gaps))
    sizes = np.array([random.choice([smallest, 2 * smallest, np.inf]) for _ in faces])
    sizes[0] = smallest
    lines = graded_lines(faces, sizes, growth)
    assert np.all(np.diff(lines) > 0)
    assert np.isin(faces, lines).all(), "faces are kept to the last bit"
    for low, high in itertools.pairwise(faces):
        piece = lines[(lines >= low) & (lines <= high)]
        width = np.diff(piece)
        ratio = width[1:] / width[:-1]
        assert np.all(np.maximum(ratio, 1 / ratio) < 1.1 * np.exp(growth))
        ends = np.minimum.reduce([s + growth * np.abs(piece[:, None] - f) for f, s in zip(faces, sizes, strict=True)])
        largest = np.maximum(ends[1:], ends[:-1]).ravel()
        assert np.all(width < 1.1 * np.exp(growth / 2) * largest)


def test_the_first_cell_at_a_face_has_about_the_size_asked_for():
    """s = a + g x takes n cells of share m/n <= 1: the first is between half of a and a (exp(g) - 1)/g."""
    lines = graded_lines(np.array([0.0, 1000.0]), np.array([2.0, np.inf]), 0.4)
    assert 1.0 < lines[1] < 2.0 * (np.exp(0.4) - 1) / 0.4
    assert lines[-1] - lines[-2] > 100
