"""A device as a discrete problem: ports, held nodes, laws and grids; and whole bars against their closed form.

Bars are those of helpers/devices.py: the exact solution is `analytic.layered_stack`, itself checked against the
differential equations in test_analytic.py.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from helpers import devices
from thermospin import analytic, model, operators
from thermospin.accuracy import error_bars
from thermospin.base.errors import InputError
from thermospin.geometry import grid_rule
from thermospin.signals.evaluate import fields, measure, predict

# ------------------------------------------------------------------------------------------ ports and held nodes

CAP = """
[[solids]]
name = "cap"
material = "Cu"
box = { x = [100, 150], y = [10, 50], z = [20, 40] }
[[contacts]]
name = "top"
solid = "wire"
face = "z+"
"""
"""A block of copper on the wire of `devices.STRIP`, and the rest of the wire's upper face as a contact."""

nm = 1e-9
CENTROIDS = {
    "lateral": {
        "1": (-80 * nm, -100 * nm, 10 * nm),
        "2": (-80 * nm, 100 * nm, 10 * nm),
        "3": (200 * nm, 0.0, 20 * nm),
        "4": (60 * nm, 100 * nm, 10 * nm),
    },
    # The upper face of the wire, 300 nm long with its middle at 150 nm, less 50 nm at 125 nm.
    "strip": {
        "in": (0.0, 30 * nm, 10 * nm),
        "out": (300 * nm, 30 * nm, 10 * nm),
        "top": ((300 * 150 - 50 * 125) / 250 * nm, 30 * nm, 20 * nm),
    },
}


@pytest.fixture(scope="module")
def lateral() -> model.Model:
    return model.build(devices.lateral(), cells=300, order=2)


@pytest.fixture(scope="module")
def strip() -> model.Model:
    return model.build(devices.read(devices.STRIP + CAP), cells=200, order=2)


def positions(m: model.Model, index: np.ndarray) -> tuple[np.ndarray, ...]:
    """x, y and z of nodes given by their place in the tensor grid."""
    nodes = m.grid.nodes
    where = np.unravel_index(index, [len(line) for line in nodes])
    return tuple(line[i] for line, i in zip(nodes, where, strict=True))


@pytest.mark.parametrize(("name", "contact"), [(name, each) for name in CENTROIDS for each in CENTROIDS[name]])
def test_a_port_reads_the_area_mean_of_both_channels(name, contact, request):
    """Weights sum to 1; a linear field reads its value at the centroid of the face, exactly by Gauss-Lobatto weights.

    Only round-off of a few hundred terms is left: 1e-13 of the largest of them.
    """
    m = request.getfixturevalue(name)
    port = np.asarray(m.ports[contact])
    assert port.min() >= 0
    assert port.sum() == pytest.approx(1, abs=1e-13)
    x, y, z = positions(m, m.disc.index_V)
    f = 2.0 + x / (100 * nm) - 3 * y / (100 * nm) + 5 * z / (100 * nm)
    a, b, c = (position / (100 * nm) for position in CENTROIDS[name][contact])
    # 0.5 f + 1.5 f is a mean of f in a field whose channels differ; T is not read.
    u = np.concatenate([0.5 * f, 1.5 * f, np.full(m.disc.nodes_T, 1e6)])
    assert port @ u == pytest.approx(2 + a - 3 * b + 5 * c, abs=1e-12)
    assert port @ np.concatenate([f, 0 * f, np.zeros(m.disc.nodes_T)]) == pytest.approx((2 + a - 3 * b + 5 * c) / 2)


def test_a_port_weighs_nodes_by_their_area(lateral):
    """A quadratic field across the face: mean of y^2 over [-30, 30] nm is 300 nm^2, exact for degree 2p - 1 = 3."""
    y = positions(lateral, lateral.disc.index_V)[1] / nm
    u = np.concatenate([y**2, y**2, np.zeros(lateral.disc.nodes_T)])
    assert float(lateral.ports["3"] @ u) == pytest.approx(300, rel=1e-12)


def test_held_nodes_are_the_contact_faces_and_the_heat_sinks(strip):
    """Written out by hand: ends and upper face of the wire (but not under the cap), lower and rear face of the base."""
    x, y, z = (np.round(line / nm, 6) for line in positions(strip, strip.disc.index_T))
    in_wire = (y >= 10) & (y <= 50) & (z >= 0) & (z <= 20)
    ends = in_wire & ((x == 0) | (x == 300))
    top = in_wire & (z == 20) & ((x <= 100) | (x >= 150))
    sinks = (z <= 0) & ((z == -50) | (y == 60))
    np.testing.assert_array_equal(strip.disc.held_T, ends | top | sinks)
    assert 0 < strip.disc.held_T.sum() < len(x)


def test_the_ground_alone_is_held_at_zero_potential(strip):
    x = np.round(positions(strip, strip.disc.index_V)[0] / nm, 6)
    (system,) = strip.systems.values()
    up, down, heat = (np.asarray(part) for part in operators.split(strip.disc, system.free))
    np.testing.assert_array_equal(up == 0, x == 300)
    np.testing.assert_array_equal(down == 0, x == 300)
    np.testing.assert_array_equal(heat == 0, strip.disc.held_T)


def test_there_is_one_system_for_each_ground(lateral):
    assert list(lateral.systems) == ["2", "3"]


# ------------------------------------------------------------------------------------------ the law


@pytest.mark.parametrize("sign", [1, -1])
def test_the_law_of_a_domain_is_the_onsager_matrix(sign):
    """Every entry against `analytic`, which has its own code; equal up to the order of a few products, 1e-14."""
    values = {"sigma": 4.1e6, "P": 0.37, "S": -19e-6, "S_s": -5.3e-6, "kappa": 27.0, "lambda_sf": 6.2e-9}
    parameters = {f"F.{key}": value for key, value in values.items()} | {"base.kappa": 1.3, "zeta": 3.0}
    domains = [("F", "m"), ("F", None), ("F", "other"), ("base", None)]
    law = model.Constitution(tuple(domains), (True, True, True, False), 250.0)
    table = law.table(parameters, {"m": sign})
    assert set(table) == set(operators.COEFFICIENTS)
    for column, s in enumerate((sign, 1, 1)):
        P, S_s = s * values["P"], s * values["S_s"]
        G = analytic.onsager_matrix(values["sigma"], P, values["S"], S_s, values["kappa"], 250.0)
        sigma = analytic.channel_sigma(values["sigma"], P)
        seebeck = analytic.channel_seebeck(P, values["S"], S_s)
        expected = {
            "uu": G[0, 0],
            "dd": G[1, 1],
            "uT": G[0, 2],
            "dT": G[1, 2],
            "TT": G[2, 2],
            "joule_TT": sigma.up * seebeck.up**2 + sigma.down * seebeck.down**2,
            "relaxation": analytic.spin_exchange(values["sigma"], P, values["lambda_sf"]),
        }
        for name, value in expected.items():
            assert float(table[name][column]) == pytest.approx(value, rel=1e-14, abs=0), (name, column)
    heat_only = {name: float(column[3]) for name, column in table.items()}
    assert heat_only == dict.fromkeys(operators.COEFFICIENTS, 0.0) | {"TT": 1.3 / 250.0}


def test_reversing_a_magnet_exchanges_its_channels(lateral):
    """The law of the device: what is up in F1 = +1 is down in F1 = -1, and nothing else changes."""
    p, magnet = lateral.parameters, lateral.device.domains.index(("Fe", "F1"))
    here, there = lateral.constitution.table(p, {}), lateral.constitution.table(p, {"F1": -1})
    for a, b in (("uu", "dd"), ("dd", "uu"), ("uT", "dT"), ("TT", "TT"), ("joule_TT", "joule_TT")):
        assert float(there[b][magnet]) == pytest.approx(float(here[a][magnet]), rel=1e-14, abs=0)
    assert float(here["uu"][magnet]) == pytest.approx(4e6 * 1.3 / 2)
    for name in operators.COEFFICIENTS:
        np.testing.assert_array_equal(np.delete(here[name], magnet), np.delete(there[name], magnet))


# ------------------------------------------------------------------------------------------ precision and imports

IN_SINGLE_PRECISION = """
import json
import jax
values = lambda: {name: repr(value) for name, value in jax.config.values.items()}
before = values()
from helpers import devices
import thermospin
for name in thermospin.__all__:
    getattr(thermospin, name)
from thermospin import analytic, grid, inverse, model, operators, solve
from thermospin.linear import coarsening, multigrid
from thermospin.signals import evaluate as signals
after = values()
try:
    model.build(devices.strip(), cells=60)
    refused = ""
except ValueError as error:
    refused = str(error)
print(json.dumps({"changed": [name for name in after if after[name] != before.get(name)], "refused": refused,
                  "count": len(before), "backends": len(jax._src.xla_bridge._backends)}))
"""


@pytest.fixture(scope="module")
def valve() -> model.Model:
    return model.build(devices.read(devices.VALVE), cells=150, order=1)


@pytest.fixture(scope="module")
def single() -> dict:
    """What a process without double precision finds."""
    environment = {key: value for key, value in os.environ.items() if key != "JAX_ENABLE_X64"}
    here = Path(__file__).parent
    environment["PYTHONPATH"] = os.pathsep.join([str(here), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", IN_SINGLE_PRECISION], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_single_precision_is_refused_with_the_way_out(single):
    assert "JAX is in single precision" in single["refused"]
    assert 'jax.config.update("jax_enable_x64", True)' in single["refused"]
    assert "JAX_ENABLE_X64=1" in single["refused"]


def test_a_model_that_is_there_already_is_refused_in_single_precision():
    """As one that was pickled and loaded in another process."""
    made = model.build(devices.strip(), cells=60, order=1)
    jax.config.update("jax_enable_x64", False)
    try:
        for verb in (measure, predict, lambda made: made.refreshed({})):
            with pytest.raises(InputError, match="JAX is in single precision"):
                verb(made)
    finally:
        jax.config.update("jax_enable_x64", True)


def test_importing_the_package_changes_no_setting_of_jax(single):
    assert single["count"] > 50
    assert single["changed"] == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"Fe.sgma": 1e6}, "parameter 'Fe.sgma' does not exist; did you mean 'Fe.sigma'?"),
        ({"Fe.sigma": np.nan}, "parameter 'Fe.sigma', sigma: got nan, expected sigma >= 0 S/m"),
        ({"Fe.sigma": 0.0}, "parameter 'Fe.sigma', sigma: got 0, expected sigma > 0 of a metal of this model"),
        ({"Fe.P": 1.5, "Fe.kappa": -1.0}, "parameter 'Fe.kappa', kappa: got -1, expected kappa > 0 W/(m K)"),
        ({"gap": 80e-9}, "gap: got 80 nm, but the grid was built for 60 nm; move it with model.moved(dimensions)"),
    ],
)
def test_a_preconditioner_is_built_for_values_of_the_model_alone(valve, values, words):
    with pytest.raises(InputError, match=re.escape(words)):
        valve.refreshed(values)
    assert not valve.refreshed({"Fe.sigma": 1e6, "gap": 60e-9}).outdated({"Fe.sigma": 1e6})


@pytest.mark.parametrize(("shards", "members"), [(0, 1), (-1, 1), (1, 0)])
def test_at_least_one_accelerator_solves(valve, shards, members):
    with pytest.raises(InputError, match=r"(shards|members): got (0|-1), expected a whole number of at least 1"):
        valve.sharded(shards, members)


def test_values_of_dimensions_are_numbers(valve):
    for value, found in (("80 nm", "'80 nm'"), (None, "None"), (np.array([8e-8]), "an array of shape (1,)")):
        with pytest.raises(InputError, match=re.escape(f"dimension 'gap': got {found}, expected a number in m")):
            valve.device.moved({"gap": value})
    with pytest.raises(InputError, match="gap: got nan nm, but the grid was built for 60 nm"):
        valve.completed({"gap": np.nan})


# ------------------------------------------------------------------------------------------ grids


def test_a_grid_of_a_moved_device_is_refused(valve):
    with pytest.raises(InputError, match="grid: has no line on x = 80 nm, where 'valve' needs one; model.moved"):
        valve.with_grid(valve.grid, valve.device.moved({"gap": 80e-9}))


def test_a_grid_with_the_prisms_of_another_device_is_refused():
    """Slanted edges may move between the same lines."""
    made = model.build(devices.read(devices.TURNED), cells=150, order=1)
    assert made.with_grid(made.grid).cells == made.cells
    others = tuple(dataclasses.replace(prism, outline=prism.outline + 1e-9) for prism in made.grid.prisms)
    with pytest.raises(InputError, match="grid: has other prisms than 'text'"):
        made.with_grid(dataclasses.replace(made.grid, prisms=others))


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("make", [devices.bar, devices.lateral, devices.strip])
def test_the_default_grid_has_a_line_on_every_face_and_one_material_per_cell(make, order):
    device = make()
    made = grid_rule.choose(device.features, order)
    for axis in range(3):
        for solid in device.solids:
            for edge in solid.box[axis]:
                assert abs(made.lines[axis] - edge).min() < 1e-9 * 100 * nm, (solid.name, axis)
        assert np.all(np.diff(made.lines[axis]) > 0)
    volume = np.einsum("i,j,k->ijk", *(np.diff(lines) for lines in made.lines))
    total = sum(float(volume[made.domain == d].sum()) for d in range(len(device.domains)))
    expected = {"bar": 100 * 20 * 20, "lateral": 400 * 200 * 60 + 80 * 200 * 20 + 280 * 60 * 40, "strip": 0}
    # lateral: the strip without what heater (40 nm) and detector (40 nm) take out of its lower half, and their ends
    expected["lateral"] += 40 * 130 * 20 - 2 * 40 * 60 * 20
    expected["strip"] = 300 * 60 * 50 + 300 * 40 * 20
    assert total / nm**3 == pytest.approx(expected[device.name], rel=1e-9)


@pytest.mark.parametrize("cells", [100, 300, 1000, 3000])
def test_a_budget_of_cells_is_kept_and_nearly_used(cells):
    """One line more along the axis with the fewest (6 or 7) makes a sixth more cells; two axes may step together."""
    made = grid_rule.choose(devices.lateral().features, 2, cells)
    assert 0.7 * cells < made.cells <= cells


def test_a_model_keeps_the_budget_it_is_built_with(lateral):
    assert 210 < lateral.cells <= 300
    assert lateral.cells == np.count_nonzero(lateral.grid.domain >= 0)
    assert lateral.unknowns == 2 * lateral.disc.nodes_V + lateral.disc.nodes_T


def test_a_budget_that_is_too_small_says_how_many_cells_the_faces_make():
    coarsest = grid_rule.at_coarseness(devices.lateral().features, 2, 1e9).cells
    with pytest.raises(ValueError, match=rf"a budget of 20 cells is too small: .* {coarsest} cells") as caught:
        model.build(devices.lateral(), cells=20)
    assert "ask for at least" in str(caught.value)
    assert grid_rule.choose(devices.lateral().features, 2, coarsest).cells == coarsest


# ------------------------------------------------------------------------------------------ closed forms, whole program

BAR_CELLS = (10, 4, 6)
GRID_ERROR = 1e-8
"""Relative, of nodal values and signals of the bar at p = 3, where h/lambda_sf is at most 0.15.

The order test of test_closed_forms.py has 1e-6 at h/lambda_sf = 0.375, and errors fall as h^5: 1e-6 (0.15/0.375)^5.
What the solver adds is 1e-9 in fields, and its square in signals.
"""


def close(value: float, rel: float) -> object:
    """Equal up to a relative error alone; pytest's own absolute tolerance of 1e-12 would pass anything small."""
    return pytest.approx(value, rel=rel, abs=0.0)


@pytest.fixture(scope="module")
def bar() -> model.Model:
    device = devices.bar()
    return model.on_grid(device, devices.bar_grid(device, BAR_CELLS, 3))


def agree(found: dict, expected: dict, rel: float) -> None:
    for harmonic, parts in expected.items():
        for part, value in parts.items():
            assert abs(value) > 0
            assert found[harmonic][part] == close(value, rel), (harmonic, part)


def test_a_measured_bar_has_the_signals_of_the_closed_form(bar):
    """R1 and R2, P and AP, baseline and spin part, each to the grid error."""
    expected = devices.bar_signals(bar.device)
    found = measure(bar)
    agree(found.experiments["pillar"], expected, GRID_ERROR)
    for parts in found.experiments["pillar"].values():
        assert parts["spin"] == pytest.approx(parts["P"] - parts["AP"], abs=1e-12 * abs(parts["P"]))
        assert parts["baseline"] == close((parts["P"] + parts["AP"]) / 2, 1e-12)
    assert found["pillar", "R2.spin"] == found.experiments["pillar"]["R2"]["spin"]


def weak(bar: model.Model, *, Fe: float, Ni: float) -> tuple[dict[str, float], dict]:
    """Parameters with P and S_s of the two magnets scaled by these factors, and the closed form of that bar."""
    changes = {}
    for name, factor in (("Fe", Fe), ("Ni", Ni)):
        own = bar.device.materials[name]
        changes[name] = {"P": factor * own.P, "S_s": factor * own.S_s}
    parameters = {f"{name}.{key}": value for name, values in changes.items() for key, value in values.items()}
    return parameters, devices.bar_signals(devices.with_materials(bar.device, **changes))


def test_a_spin_part_of_a_millionth_is_right_to_four_digits(bar):
    """The closed form, P minus AP, is good to 1e-12 / 1e-7 itself; the program's spin part to the grid error."""
    parameters, expected = weak(bar, Fe=1.0, Ni=1e-5)
    found = measure(bar, parameters).experiments["pillar"]
    for harmonic in ("R1", "R2"):
        assert abs(expected[harmonic]["spin"]) < 1e-6 * abs(expected[harmonic]["baseline"])
        assert found[harmonic]["spin"] == close(expected[harmonic]["spin"], 1e-4)


def test_a_spin_part_close_to_the_round_off_of_the_signal_is_right_to_two_digits(bar):
    """The signal is 2e14 to 8e14 times as large: as a difference it would be right to 5 to 20 % at best.

    The spin part is odd in P and S_s of the reversed magnet, and in those of the other one too, because reversing both
    changes nothing. So it is c f^2 (1 + O(f^2 P^2)) where f scales all of them. The closed form gives c at f = 0.01:
    good to 1e-12/1e-6 as a difference, and to 1e-4 P^2 = 1e-5 by the next term. The solver's error is the square of
    1e-9 against the whole signal, up to 1e-3 here, and 1 + P and 1 - P keep nine digits of P.
    """
    _, reference = weak(bar, Fe=1e-2, Ni=1e-2)
    parameters, _ = weak(bar, Fe=3e-7, Ni=3e-7)
    found = measure(bar, parameters).experiments["pillar"]
    for harmonic in ("R1", "R2"):
        assert abs(found[harmonic]["spin"]) < 1e-14 * abs(found[harmonic]["baseline"])
        assert found[harmonic]["spin"] == close(9e-10 * reference[harmonic]["spin"], 3e-3)


def test_the_sign_and_size_follow_zeta_and_the_bath(bar):
    """R1 and R2 at zeta = 2.5 and 77 K equal those of a device with these values; R2 grows as zeta at one bath."""
    device = dataclasses.replace(bar.device, zeta=2.5, bath=77.0)
    measured, expected = measure(dataclasses.replace(bar, device=device)), devices.bar_signals(device)
    for signal in ("R1.P", "R1.spin", "R2.P", "R2.baseline", "R2.spin"):
        harmonic, part = signal.split(".")
        assert measured["pillar", signal] == close(expected[harmonic][part], GRID_ERROR), signal
    # Neither u_1 nor l_0 depends on zeta, and R2 is linear in it: equal to the rounding of some thousand terms.
    cold = measure(dataclasses.replace(bar, device=dataclasses.replace(device, zeta=1.0)))
    assert measured["pillar", "R2.P"] == close(2.5 * cold["pillar", "R2.P"], 1e-12)
    assert abs(cold["pillar", "R2.P"]) > 0


def test_a_bar_of_plain_copper_obeys_ohm_and_makes_no_second_harmonic(bar):
    """R1 = L/(sigma A), linear in x, so exact to the solver: the square of its tolerance, and round-off.

    T_2 is a parabola with both ends cold, so a uniform Seebeck coefficient gives nothing end to end: R2 is zero against
    S times the temperature in its middle, 4 S L^2 / (32 sigma kappa A^2) per A^2.

    R2 comes from u_1 and l_0 alone, in which it is not stationary: its error is of first order in theirs, up to
    `AMPLIFICATION` times the relative residual. For 1e-9 of that scale the residual has to be smaller by this factor.
    """
    copper = bar.device.materials["Cu"].values()
    parameters = {f"{name}.{key}": value for name in ("Fe", "Ni") for key, value in copper.items()}
    found = measure(bar, parameters, tolerance=1e-9 / error_bars.AMPLIFICATION)
    area, length = devices.bar_area(bar.device), 100 * nm
    R1, R2 = found.experiments["pillar"]["R1"], found.experiments["pillar"]["R2"]
    assert R1["P"] == close(analytic.bar_resistance(length, sigma=copper["sigma"], area=area), 1e-12)
    middle = analytic.joule_bar_T_max(J=1 / area, length=length, sigma=copper["sigma"], kappa_open=copper["kappa"])
    assert abs(R2["P"]) < 1e-9 * copper["S"] * middle
    # Reversing a magnet without P and S_s changes its law by round-off only, 2e-16 of each entry.
    assert abs(R1["spin"]) < 1e-15 * R1["P"]
    assert abs(R2["spin"]) < 1e-15 * copper["S"] * middle


@pytest.mark.parametrize("state", ["P", "AP"])
def test_fields_of_a_bar_are_those_of_the_closed_form(bar, state):
    """I u_1 + I^2 u_2 at every node, where both matter."""
    current = 2e-4
    made = fields(bar, "pillar", state, current)
    exact = devices.bar_exact(bar.device, devices.P_AP[state], current)
    second = exact.second_harmonic(bar.device.zeta)
    V_up, V_down, T = exact.fields(made.x)[:3] + second.fields(made.x)[:3]
    assert abs(second.T(made.x)).max() > 0.1 * abs(exact.T(made.x)).max() > 0
    for found, expected in ((made.V_up - made.V_down, V_up - V_down), (made.V_up, V_up), (made.T, T)):
        assert found.shape == (len(made.x), len(made.y), len(made.z))
        assert abs(found - expected[:, None, None]).max() < GRID_ERROR * abs(expected).max()
    assert np.all(made.T[[0, -1]] == 0)
    assert np.all(made.V_up[-1] == 0)
    assert np.all(made.V_down[-1] == 0)


def test_a_magnet_that_carries_heat_only_needs_no_preconditioner() -> None:
    """An insulating magnet has no polarisation; those of metal beside it have one for the states that reverse them."""
    text = devices.VALVE.replace('material = "oxide"', 'material = "oxide"\nmagnet = "garnet"', 1)
    made = model.build(devices.read(text), order=1)
    assert "garnet" in made.device.magnets and made.reversed_systems
    assert all("garnet" not in turned for _, turned in made.reversed_systems)
