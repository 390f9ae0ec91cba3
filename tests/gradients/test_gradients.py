"""Derivatives of a solve: forward against differences, reverse against forward, second order, and odd sizes.

Problem: the patchwork at p = 2, u(theta) = A(theta)^-1 b(theta). Theta scales each entry of the constitutive law of
each material by 1 + theta, and the drive likewise. Solves are good to 1e-11. A central difference with step h = 1e-3 is
off by about h^2 and, from the solves, 1e-11/h: 1e-6 relative for a problem of order one, hence 1e-5.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from helpers.problems import PATCH_PORT, PATCH_SIDE, PATCHES, T0, patchwork, table_of
from thermospin import operators, solve

BLOCK = patchwork(2)
TABLE = table_of(PATCHES)
DRIVE = BLOCK.drive(PATCH_PORT, J=(3e10, 5e10), Q=1e9)
PROBE = jnp.asarray(BLOCK.probe(PATCH_PORT) + 2 * BLOCK.probe(PATCH_SIDE))
SIZE = jnp.concatenate([jnp.ones(2 * BLOCK.disc.nodes_V), jnp.full(BLOCK.disc.nodes_T, 2e-4)])[:, None]
"""Brings volts and kelvins to one size."""
TOLERANCE = 1e-11
DIFFERENCE = 1e-5

Theta = dict[str, Array]


def fields(theta: Theta, x0: Array | None = None) -> Array:
    """u(theta), volts and kelvins brought to one size."""
    table = {name: value * (1 + theta[name]) for name, value in TABLE.items()}
    law = operators.coefficients(BLOCK.disc, table, T0)
    b = DRIVE * (1 + theta["drive"])[None]
    u, _ = solve.solve(BLOCK.system, law, b, x0=x0, tolerance=TOLERANCE)
    return SIZE * u


def voltage(theta: Theta) -> Array:
    """One number of it, not linear in theta."""
    u = fields(theta)
    return jnp.sum(PROBE[:, None] * u) + 100 * jnp.sum((PROBE[:, None] * u) ** 2)


def direction(seed: int) -> Theta:
    rng = np.random.default_rng(seed)
    found = {name: jnp.asarray(rng.uniform(-0.3, 0.3, value.shape)) for name, value in TABLE.items()}
    return found | {"drive": jnp.asarray(rng.uniform(-0.3, 0.3, 1))}


ZERO: Theta = jax.tree.map(jnp.zeros_like, direction(0))


def along(step: float, d: Theta) -> Theta:
    return jax.tree.map(lambda x: step * x, d)


run = jax.jit(fields)
tangent = jax.jit(lambda theta, d: jax.jvp(fields, (theta,), (d,))[1])
gradient = jax.jit(jax.grad(voltage))


@functools.cache
def pullback() -> Callable[[Array], Theta]:
    return jax.jit(lambda cotangent: jax.vjp(fields, ZERO)[1](cotangent)[0])


def inner(a: Theta, b: Theta) -> float:
    return float(sum(jnp.sum(x * b[name]) for name, x in a.items()))


def relative(found: Array, expected: Array) -> float:
    assert float(jnp.linalg.norm(expected)) > 0
    return float(jnp.linalg.norm(found - expected) / jnp.linalg.norm(expected))


@pytest.mark.parametrize("seed", [1, 2])
def test_the_forward_derivative_is_the_central_difference(seed):
    d, h = direction(seed), 1e-3
    difference = (run(along(h, d)) - run(along(-h, d))) / (2 * h)
    assert relative(difference, run(ZERO)) > 0.1, "theta changes the fields"
    assert relative(tangent(ZERO, d), difference) < DIFFERENCE


@pytest.mark.parametrize("name", [*TABLE, "drive"])
def test_every_entry_of_the_law_has_its_own_forward_derivative(name):
    """One entry at a time, so that a large one hides no small one; the Joule form enters no solve, ud no metal."""
    d, h = direction(3), 1e-2
    d = ZERO | {name: d[name]}
    found = tangent(ZERO, d)
    if name in ("joule_TT", "ud"):
        assert np.all(found == 0)
        return
    # Richardson: two central differences leave h^4 = 1e-8, and 1e-11/h of fields that change by 1e-4 or more.
    wide, near = ((run(along(s, d)) - run(along(-s, d))) / (2 * s) for s in (2 * h, h))
    assert relative(found, (4 * near - wide) / 3) < DIFFERENCE


def test_the_reverse_derivative_is_the_transpose_of_the_forward_one():
    """Dot test with random directions on both sides; both are exact but for solves to 1e-11."""
    cotangent = jnp.asarray(np.random.default_rng(4).standard_normal(DRIVE.shape))
    back = pullback()(cotangent)
    for seed in (4, 5):
        d = direction(seed)
        forward = float(jnp.sum(cotangent * tangent(ZERO, d)))
        assert abs(forward) > 1e-6
        assert inner(back, d) == pytest.approx(forward, rel=1e-7)


def test_what_the_first_derivative_leaves_falls_at_second_order():
    """Taylor: |u(h d) - u - h u'| = c h^2 (1 + O(h)); the exponent of three halvings is 2 to 0.05."""
    d, steps = direction(6), [0.1, 0.05, 0.025, 0.0125]
    u, du = run(ZERO), tangent(ZERO, d)
    left = [float(jnp.linalg.norm(run(along(h, d)) - u - h * du)) for h in steps]
    slopes = np.diff(np.log(left)) / np.diff(np.log(steps))
    assert left[0] > 1e-5 * float(jnp.linalg.norm(u))
    assert slopes[-1] == pytest.approx(2, abs=0.05) and np.all(slopes > 1.7), slopes
    # The control: without the derivative it falls at first order only.
    plain = [float(jnp.linalg.norm(run(along(h, d)) - u)) for h in steps]
    assert np.log(plain[-2] / plain[-1]) / np.log(2) == pytest.approx(1, abs=0.05)


def test_the_start_of_the_iteration_has_no_derivative():
    start = jnp.asarray(np.random.default_rng(7).standard_normal(DRIVE.shape)) / SIZE
    u, moved = jax.jvp(lambda x0: fields(ZERO, x0), (start,), (jnp.ones_like(start),))
    assert float(jnp.linalg.norm(u)) > 0
    assert np.all(moved == 0)
    pulled = jax.grad(lambda x0: jnp.sum(fields(ZERO, x0)))(start)
    assert np.all(pulled == 0)


@pytest.mark.parametrize("factor", [1e-13, 1e-30])
def test_a_tiny_cotangent_gives_a_tiny_gradient_and_not_nan(factor):
    """The solver scales its right-hand side; a fixed absolute tolerance would return zero or NaN here."""
    cotangent = jnp.asarray(np.random.default_rng(8).standard_normal(DRIVE.shape))
    unit, tiny = pullback()(cotangent), pullback()(factor * cotangent)
    for name in ("uu", "dd", "uT", "dT", "TT", "relaxation", "drive"):
        assert np.all(np.isfinite(tiny[name]))
        assert relative(tiny[name] / factor, unit[name]) < 1e-7


def test_a_solve_that_does_not_converge_has_no_gradient_either():
    """NaN goes through: a gradient of a solve that failed is not mistaken for one."""

    def short(scale: Array) -> Array:
        u, _ = solve.solve(BLOCK.system, BLOCK.law, scale * DRIVE, max_steps=2)
        return jnp.sum(PROBE[:, None] * u)

    value, slope = jax.value_and_grad(short)(1.0)
    assert np.isnan(value) and np.isnan(slope)


def test_the_second_derivative_is_the_difference_of_the_first_and_symmetric():
    """Forward over reverse, against a central difference of the gradient, and with its two directions exchanged."""
    d, e, h = direction(9), direction(10), 1e-3
    second = jax.jit(lambda v: jax.jvp(jax.grad(voltage), (ZERO,), (v,))[1])
    curvature = second(d)
    difference = jax.tree.map(lambda a, b: (a - b) / (2 * h), gradient(along(h, d)), gradient(along(-h, d)))
    size = np.sqrt(inner(curvature, curvature))
    assert size > 1e-6
    error = jax.tree.map(jnp.subtract, curvature, difference)
    assert np.sqrt(inner(error, error)) < DIFFERENCE * size
    one, two = inner(curvature, e), inner(second(e), d)
    assert abs(one) > 1e-3 * size * np.sqrt(inner(e, e))
    assert one == pytest.approx(two, rel=1e-6)
