"""Conductors of very different conductivity in one current path, whose solution rounding limits."""

from __future__ import annotations

import dataclasses

import pytest

from thermospin import model, solve
from thermospin.accuracy import error_bars
from thermospin.base.errors import NotConverged
from thermospin.base.names import SignalName
from thermospin.device import reader
from thermospin.signals import evaluate

BARRIER = """
name = "barrier"
length_unit = "nm"
[materials.F]
sigma = 4e6
P = 0.5
kappa = 30
lambda_sf = "10 nm"
[materials.MgO]
sigma = {sigma}
kappa = 4
lambda_sf = "1 um"
[[solids]]
name = "bottom"
material = "F"
magnet = "a"
box = {{ x = [0, 40], y = [0, 40], z = [0, 5] }}
[[solids]]
name = "tunnel"
material = "MgO"
box = {{ x = [0, 40], y = [0, 40], z = [5, 6] }}
[[solids]]
name = "top"
material = "F"
magnet = "b"
box = {{ x = [0, 40], y = [0, 40], z = [6, 11] }}
[[contacts]]
name = "lo"
solid = "bottom"
face = "z-"
[[contacts]]
name = "hi"
solid = "top"
face = "z+"
[experiments.tmr]
current = ["lo", "hi"]
voltage = ["lo", "hi"]
states = {{ P = {{}}, AP = {{ b = -1 }} }}
"""

#: Two strips that cross, joined by a small pillar; one material, so that R2 is zero.
CROSS = """
name = "cross"
length_unit = "um"
[[solids]]
name = "lead"
material = "Cu"
box = { x = [-100, 100], y = [-0.5, 0.5], z = [0, 0.05] }
[[solids]]
name = "pillar"
material = "Cu"
box = { x = [-0.005, 0.005], y = [-0.005, 0.005], z = [0.05, 0.06] }
[[solids]]
name = "top"
material = "Cu"
box = { x = [-0.5, 0.5], y = [-100, 100], z = [0.06, 0.11] }
[[contacts]]
name = "a"
solid = "lead"
face = "x-"
[[contacts]]
name = "b"
solid = "top"
face = "y+"
[[contacts]]
name = "c"
solid = "lead"
face = "x+"
[[contacts]]
name = "d"
solid = "top"
face = "y-"
[experiments.four]
current = ["a", "b"]
voltage = ["c", "d"]
states = { P = {} }
"""


def barrier(sigma: float) -> model.Model:
    return model.build(reader.read(BARRIER.format(sigma=sigma), "barrier.toml"), order=1)


TUNNEL = """
[[interfaces]]
name = "contact"
between = ["lead", "pillar"]
RA = "10 ohm um^2"
K = "0.2 GW/(m^2 K)"
"""


@pytest.mark.parametrize("sigma", [0.1, 1e-3])
def test_a_tunnel_barrier_has_the_resistance_of_its_layers_in_series(sigma):
    """Contrasts of 4e7 and 4e9: what rounding leaves is accepted, said, and far below the signal.

    Spin accumulation adds at most 2 lambda P^2/((1 - P^2) sigma), a boundary layer on both sides.
    """
    found = evaluate.measure(barrier(sigma))
    area, layers = 1.6e-15, 1e-9 / sigma + 1e-8 / 4e6
    spin = 2 * 10e-9 * 0.25 / 0.75 / 4e6
    left = max(found.relative_residual)
    assert solve.TOLERANCE < left < solve.ROUGHEST
    assert -left * layers <= found["tmr", "R1.P"] * area - layers <= spin + left * layers
    assert max(found.iterations) < 40


def test_the_solver_error_of_a_second_harmonic_knows_tunnel_contacts():
    """Heat at the contact is as R_i R, not as R_i^2: of that the bar of R2 was a third of R2."""
    text = CROSS.replace('name = "top"\nmaterial = "Cu"', 'name = "top"\nmaterial = "Au"') + TUNNEL
    made = model.build(reader.read(text, "tunnel.toml"), order=1)
    loose, tight = (evaluate.measure(made, tolerance=tolerance) for tolerance in (1e-6, 1e-9))
    name = SignalName("four", 2, "P")
    bar = error_bars._solver_errors(loose)[name]
    assert abs(loose.values[name] - tight.values[name]) <= bar < 0.01 * abs(tight.values[name])


def test_where_rounding_leaves_nothing_the_solve_fails_and_says_why():
    with pytest.raises(NotConverged, match="rounding alone leaves.*\n.*bring the conductivities of what carries one"):
        evaluate.measure(barrier(1e-8))


def test_the_bars_of_a_second_harmonic_that_is_zero_cover_it():
    """Of one material R2 vanishes; what is computed is the solver's error, in units of what cancels."""
    made = model.build(reader.read(CROSS, "cross.toml"), order=1)
    loose = evaluate.measure(made, tolerance=1e-5)
    name = SignalName("four", 2, "P")
    assert 0 < abs(loose.values[name]) <= error_bars._solver_errors(loose)[name]
    blind = dataclasses.replace(loose, undiminished={"four": 0.0})
    assert error_bars._solver_errors(blind)[name] < abs(loose.values[name])
