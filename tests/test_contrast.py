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
    blind = dataclasses.replace(loose, undiminished={"four": (0.0, 0.0)})
    assert error_bars._solver_errors(blind)[name] < abs(loose.values[name])


#: A heater beside a wire that it does not touch, with a probe of another metal.
APART = """
name = "apart"
length_unit = "nm"
solids = [
    { name = "oxide", material = "SiO2", box = { x = [-300, 300], y = [-300, 300], z = [-100, 0] } },
    { name = "heater", material = "Au", box = { x = [-300, 300], y = [-150, -50], z = [0, 30] } },
    { name = "wire", material = "Cu", box = { x = [-300, 300], y = [50, 150], z = [0, 30] } },
    { name = "probe", material = "Py", box = { x = [100, 150], y = [50, 300], z = [30, 50] } },
]
contacts = [
    { name = "h-", solid = "heater", face = "x-" },
    { name = "h+", solid = "heater", face = "x+" },
    { name = "v-", solid = "wire", face = "x-" },
    { name = "v+", solid = "probe", face = "y+" },
]
heat_sinks = [{ solid = "oxide", face = "z-" }]
[experiments.heated]
current = ["h-", "h+"]
voltage = ["v+", "v-"]
"""


@pytest.mark.parametrize("tolerance", [1e-5, 1e-9])
def test_the_bars_of_a_first_harmonic_that_is_zero_cover_it(tolerance: float) -> None:
    """No current reaches the wire, and Joule heat has no first harmonic: errors of both fields are left."""
    made = model.build(reader.read(APART, "apart.toml"), order=1, cells=200)
    found = evaluate.measure(made, tolerance=tolerance)
    name = SignalName("heated", 1, "P")
    bar = error_bars._solver_errors(found)[name]
    assert 0 < abs(found.values[name]) <= bar < (2 * tolerance**2 + 1e-13) * found.undiminished["heated"][0]
    blind = dataclasses.replace(found, undiminished={"heated": (0.0, 0.0)})
    assert error_bars._solver_errors(blind)[name] < abs(found.values[name])


def test_a_first_harmonic_is_at_most_what_the_energies_allow() -> None:
    """Between the contacts of the current that is the resistance itself, elsewhere more than the signal."""
    crossed = evaluate.measure(model.build(reader.read(CROSS, "cross.toml"), order=1))
    assert crossed.undiminished["four"][0] > 2 * abs(crossed["four", "R1.P"]) > 0
    through = evaluate.measure(barrier(1e3))
    assert through.undiminished["tmr"][0] == pytest.approx(through["tmr", "R1.P"], rel=1e-6)


#: Three blocks in series, with a resistance and a heat resistance between the first two.
SERIES = """
name = "series"
length_unit = "nm"
materials.F = { sigma = 4e6, P = 0.4, S = 0, S_s = 0, kappa = 30, lambda_sf = "8 nm" }
materials.N = { sigma = 4e7, kappa = 300, lambda_sf = "300 nm" }
solids = [
    { name = "F1", material = "F", magnet = "F1", box = { x = [-30, 0], y = [0, 50], z = [0, 40] } },
    { name = "N", material = "N", box = { x = [0, 50], y = [0, 50], z = [0, 40] } },
    { name = "F2", material = "F", magnet = "F2", box = { x = [50, 70], y = [0, 50], z = [0, 40] } },
]
contacts = [{ name = "a", solid = "F1", face = "x-" }, { name = "b", solid = "F2", face = "x+" }]
interfaces = [{ name = "i", between = ["F1", "N"], RA = "1e-15 ohm m^2", gamma = 0.5, K = "1e9 W/(m^2 K)" }]
[experiments.along]
current = ["a", "b"]
voltage = ["a", "b"]
"""


@pytest.fixture(scope="module")
def series() -> model.Model:
    return model.build(reader.read(SERIES, "series.toml"), cells=12, order=2)


@pytest.mark.parametrize("changes", [{"i.RA": 1e-6}, {"F.sigma": 40.0}, {"i.K": 1e3}, {"F.kappa": 1e-4}], ids=str)
def test_a_preconditioner_built_again_is_as_good_as_a_new_one(series: model.Model, changes: dict[str, float]) -> None:
    """Beyond contrasts of 1e5 single precision does not do: 400 iterations and more. R1 is right to the residual."""
    text = SERIES
    for name, value in changes.items():
        key = name.partition(".")[2]
        old = {"RA": '"1e-15 ohm m^2"', "sigma": "4e6", "K": '"1e9 W/(m^2 K)"', "kappa": "30"}[key]
        unit = {"RA": " ohm m^2", "K": " W/(m^2 K)"}.get(key, "")
        text = text.replace(f"{key} = {old}", f'{key} = "{value}{unit}"' if unit else f"{key} = {value}")
    new = evaluate.measure(model.build(reader.read(text, "series.toml"), cells=12, order=2))
    again = evaluate.measure(series.refreshed(changes), changes)
    assert max(again.iterations) <= 2 * max(new.iterations)
    for signal in ("R1.P", "R2.P"):
        # Fields of a residual of 1e-9, of R1 and of what cancels in R2.
        scale = abs(new["along", "R1.P"] if signal == "R1.P" else new.undiminished["along"][1]) or 1.0
        assert again["along", signal] == pytest.approx(new["along", signal], rel=1e-8, abs=2e-9 * scale)
