"""What is said about a problem that cannot be solved, and about a solve that failed."""

from __future__ import annotations

import dataclasses
import functools

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import devices
from helpers.problems import dense, diagonal_of, patchwork, random_fields
from thermospin import grid, model, operators, solve
from thermospin.base.errors import InputError
from thermospin.device import reader
from thermospin.geometry import grid_rule
from thermospin.signals import diagnosis

AP = {"F2": -1}


@functools.cache
def lateral(order: int = 1) -> model.Model:
    """The lateral device, cells alike at all borders of metals; ground of its first experiment is contact 2."""
    device = devices.lateral()
    features = dataclasses.replace(device.features, magnetic=frozenset())
    return model.on_grid(device, grid_rule.at_coarseness(features, order, 6.0))


def residual_in(
    problem: model.Model, solid: str, up: float, down: float, heat: float, amount: float = 1.0
) -> np.ndarray:
    """A residual that is so large in the nodes inside one solid, and a little everywhere else."""
    nodes = np.stack(np.meshgrid(*problem.grid.nodes, indexing="ij")).reshape(3, -1)
    box = np.array(problem.device.solid(solid).box)
    inside = np.all((nodes > box[:, :1]) & (nodes < box[:, 1:]), axis=0)
    if not inside.any():  # one cell of order 1 across
        inside = np.all((nodes >= box[:, :1]) & (nodes <= box[:, 1:]), axis=0)
    disc = problem.disc
    V, T = (amount * (inside[index] + 1e-9) for index in (disc.index_V, disc.index_T))
    return np.concatenate([up * V, down * V, heat * T])


def explain(problem: model.Model, residual: np.ndarray, parameters=None, **known) -> diagnosis.Diagnosis:
    return diagnosis.diagnose(problem, parameters or {}, AP, "2", residual, **known)


# ------------------------------------------------------------------------------------------ before a solve


def test_a_device_that_loads_has_no_faults():
    problem = lateral()
    for ground in ("2", "3"):
        for signs in devices.P_AP.values():
            assert diagnosis.faults(problem, {}, signs, ground) == []
    shipped = reader.load("slachter2010")
    coarse = model.on_grid(shipped, grid_rule.at_coarseness(shipped.features, 1, 1e3))
    assert diagnosis.faults(coarse, {}, {}, "2") == []


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        ({"Fe.sigma": np.nan}, ["material 'Fe', sigma: got nan"]),
        ({"zeta": np.nan}, ["zeta: got nan, expected a number >= 0"]),
        ({"zeta": -1.0}, ["zeta: got -1, expected a number >= 0"]),
        ({"Cu.lambda_sf": 0.0}, ["material 'Cu', lambda_sf: got 0"]),
        ({"oxide.kappa": -1.0}, ["material 'oxide', kappa: got -1"]),
        ({"Ni.P": 1.5}, ["material 'Ni', P: got 1.5"]),
        ({"Ni.S": -1e-3}, ["material 'Ni', kappa: got 40 W/(m K), expected more than"]),
        # The detector lies under the strip, which carries no current now.
        ({"Cu.sigma": 0.0}, ["solids 'strip', 'detector': no metal with sigma > 0"]),
        ({"Ni.sigma": 0.0}, ["solid 'detector': no metal with sigma > 0 leads to contact '2'"]),
        ({"Ni.P": 1.0}, ["material 'Ni', P: got 1, expected |P| < 1", "the spin-up channel has no way to contact '2'"]),
        ({"oxide.kappa": 0.0}, ["material 'oxide', kappa: got 0, expected kappa > 0", "no way for the heat to a bath"]),
    ],
)
def test_values_that_leave_no_solution_are_named(changes, texts):
    """Of the magnet reversed (AP), P = 1 closes the spin-up channel."""
    found = diagnosis.faults(lateral(), changes, AP, "2")
    for text in texts:
        assert any(text in fault for fault in found), (text, found)


def test_a_ground_that_does_not_exist_is_named():
    assert "ground '5': no such contact" in diagnosis.faults(lateral(), {}, {}, "5")[0]


@pytest.mark.parametrize(("y", "z", "meets"), [(0, 20, True), (20, 20, True), (0, 10, False)])
def test_metals_that_meet_in_an_edge_or_a_corner_only_are_named(y, z, meets):
    """The end of the bar is taken to a place where it meets the middle in an edge, in a corner, or face to face.

    A handle far from there joins the two, so that a device accepts them.
    """
    text = """
    name = "edge"
    length_unit = "nm"
    [[solids]]
    name = "a"
    material = "Cu"
    box = { x = [0, 50], y = [0, 20], z = [0, 20] }
    [[solids]]
    name = "b"
    material = "Cu"
    box = { x = [50, 100], y = [YLOW, YHIGH], z = [ZLOW, ZHIGH] }
    [[solids]]
    name = "handle_a"
    material = "Cu"
    box = { x = [0, 20], y = [-40, 0], z = [0, 20] }
    [[solids]]
    name = "handle"
    material = "Cu"
    box = { x = [0, 100], y = [-60, -40], z = [0, 60] }
    [[solids]]
    name = "handle_b"
    material = "Cu"
    box = { x = [80, 100], y = [-40, YLOW], z = [ZLOW, ZHIGH] }
    [[contacts]]
    name = "in"
    solid = "a"
    face = "x-"
    [[contacts]]
    name = "out"
    solid = "b"
    face = "x+"
    [experiments.ohm]
    current = ["in", "out"]
    voltage = ["in", "out"]
    states = { P = {} }
    """
    ends = {"YLOW": y, "YHIGH": y + 20, "ZLOW": z, "ZHIGH": z + 20}
    for word, value in ends.items():
        text = text.replace(word, f"{value}")
    if meets:
        with pytest.raises(InputError, match="solids 'a' and 'b': metals that meet in a corner or edge only"):
            devices.read(text + devices.MATERIALS)
    else:
        devices.read(text + devices.MATERIALS)


# ------------------------------------------------------------------------------------------ where


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_diagonal_is_that_of_the_matrix(order):
    block = patchwork(order)
    assert diagonal_of(block.disc, block.law) == pytest.approx(np.diag(dense(block)), rel=1e-13)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(
    ("solid", "parts", "field"),
    [
        ("detector", (1.0, -1.0, 0.0), "spin"),
        ("strip", (1.0, 1.0, 0.0), "charge"),
        ("heater", (1.0, 0.0, 0.0), "V_up"),
        ("heater", (0.0, 1.0, 0.0), "V_down"),
        ("base", (0.0, 0.0, 1.0), "T"),
    ],
)
def test_field_solid_and_place_of_a_residual_are_found(order, solid, parts, field):
    problem = lateral(order)
    found = explain(problem, residual_in(problem, solid, *parts))
    assert (found.field, found.solids[0]) == (field, solid)
    assert found.materials[0] == problem.device.solid(solid).material
    assert found.share > 0.99
    for (low, high), middle, (first, last) in zip(
        found.box, found.centre, problem.device.solid(solid).box, strict=True
    ):
        assert first - 1e-12 <= low <= middle <= high <= last + 1e-12


def test_how_large_a_residual_is_makes_no_difference():
    problem = lateral()
    plain, tiny, huge = (explain(problem, residual_in(problem, "strip", 1, 1, 0, f)) for f in (1e3, 1e-297, 1e303))
    for other in (tiny, huge):
        assert (other.field, other.solids, other.box) == (plain.field, plain.solids, plain.box)


def test_amperes_and_watts_are_compared_by_the_diagonal():
    """A residual that a change of T by a kelvin makes outweighs that of a change of V by a nanovolt, and vice versa."""
    problem = lateral()
    law = operators.coefficients(problem.disc, problem.constitution.table(problem.parameters, AP), 300.0)
    diagonal = diagonal_of(problem.disc, law)
    n = 2 * problem.disc.nodes_V
    for volts, kelvins, field in ((1e-9, 1.0, "T"), (1.0, 1e-3, "charge")):
        change = np.where(np.arange(len(diagonal)) < n, volts, kelvins)
        assert explain(problem, diagonal * change).field == field


def test_what_is_left_on_held_nodes_does_not_count():
    problem = lateral()
    residual = residual_in(problem, "strip", 1.0, 1.0, 0.0)
    residual[: 2 * problem.disc.nodes_V][np.asarray(problem.ports["2"])[: 2 * problem.disc.nodes_V] > 0] = 1e6
    assert explain(problem, residual).solids == ("strip",)


def test_a_zero_residual_is_nowhere():
    found = explain(lateral(), np.zeros(lateral().unknowns))
    assert found.solids == () and found.box is None and found.region == "nowhere"
    assert "likely cause" in str(found)


# ------------------------------------------------------------------------------------------ why

RESIDUALS = {"charge": ("strip", 1.0, 1.0, 0.0), "spin": ("detector", 1.0, -1.0, 0.0), "T": ("base", 0.0, 0.0, 1.0)}


@pytest.mark.parametrize(
    ("field", "changes", "cause", "texts"),
    [
        ("charge", {"Fe.S": np.nan}, "not finite", ["'Fe'", "S: got nan"]),
        ("spin", {"Ni.lambda_sf": 0.0}, "not finite", ["'Ni'", "lambda_sf: got 0"]),
        ("T", {"Cu.S": 1e-3}, "not positive definite", ["'Cu'", "sigma * S_eff^2"]),
        ("spin", {"Ni.P": -1.0}, "not positive definite", ["'Ni'", "P: got -1"]),
        ("charge", {"Cu.sigma": 0.0}, "floating", ["material 'Cu', sigma: got 0", "expected sigma > 0 of a metal"]),
        ("spin", {"Ni.P": 0.99999}, "nearly singular", ["|P| = 0.99999", "'Ni'"]),
        ("charge", {"Cu.S": 1.49e-4}, "nearly singular", ["T0 sigma S_eff^2/kappa = 0.999", "'Cu'"]),
        ("charge", {"Ni.sigma": 1.0}, "contrast", ["sigma of 'strip' is 3.0e+07 times that of 'detector'"]),
        ("T", {"oxide.kappa": 1e-5}, "heat contrast", ["kappa of 'strip' is 2.0e+07 times that of 'base'"]),
        ("spin", {"Ni.lambda_sf": 1e-12}, "short relaxation", ["lambda_sf of 'Ni', 0.001 nm"]),
        ("spin", {"Ni.lambda_sf": 1e-3}, "long relaxation", ["lambda_sf of 'Ni', 1e+06 nm"]),
        ("charge", {}, "unknown", ["none of the known ones"]),
    ],
)
def test_a_cause_is_named_with_its_number(field, changes, cause, texts):
    problem = lateral()
    found = explain(problem, residual_in(problem, *RESIDUALS[field]), changes)
    assert found.cause == cause, str(found)
    for text in texts:
        assert text in found.detail
    assert found.advice == diagnosis.CAUSES[cause]


def test_every_cause_has_its_advice_and_every_message_is_a_few_lines():
    problem = lateral()
    assert all(diagnosis.CAUSES.values())
    text = str(explain(problem, residual_in(problem, *RESIDUALS["spin"]), {"Ni.lambda_sf": 1e-12}))
    assert 2 <= len(text.splitlines()) <= 4
    assert text.startswith("100 % of the residual is in the spin current of 'detector' (Ni)")
    assert "around (" in text and text.splitlines()[0].endswith(" nm")


def test_a_residual_of_nan_is_explained_by_the_values_or_by_the_range_of_the_arithmetic():
    problem = lateral()
    nothing = np.full(problem.unknowns, np.nan)
    assert explain(problem, nothing, {"Fe.kappa": np.inf}).cause == "not finite"
    found = explain(problem, nothing, {"Ni.sigma": 1e-9})
    assert found.cause == "overflow" and "sigma of 'strip' is 3.0e+16 times" in found.detail
    rhs = np.zeros(problem.unknowns)
    rhs[3] = np.nan
    found = explain(problem, nothing, rhs=rhs)
    assert found.cause == "not finite" and "right-hand side has 1 entries" in found.detail
    part = residual_in(problem, "detector", 0.0, 0.0, 0.0)
    part[problem.disc.nodes_V :][: problem.disc.nodes_V] = np.inf
    found = explain(problem, part)
    assert found.field == "V_down" and found.share == 1.0


def test_thin_cells_are_named():
    """A bar of 100 nm with one cell of 0.01 nm across."""
    device = devices.bar()
    lines = tuple(np.append(device.features.faces(axis), []) for axis in range(3))
    z = np.sort(np.append(lines[2], 0.01e-9))
    thin = grid.Grid((lines[0], lines[1], z), grid.fill([lines[0], lines[1], z], device.features.boxes, (0, 1, 2)), 1)
    problem = model.on_grid(device, thin)
    residual = np.zeros(problem.unknowns)
    node = np.flatnonzero((problem.disc.index_V % 3) == 0)  # z = 0
    residual[node] = residual[node + problem.disc.nodes_V] = 1.0
    found = diagnosis.diagnose(problem, {}, {}, "right", residual)
    assert found.cause == "aspect" and "0.01 nm" in found.detail, str(found)


# ------------------------------------------------------------------------------------------ how the solve went


def test_rounding_errors_are_below_their_bound_and_not_far():
    """Against extended precision, in the norm of `solve.Stats`; the bound is that by which solves are accepted."""
    block = patchwork(2)
    u = np.asarray(random_fields(block, 3))[:, 0]
    exact = dense_longdouble(block) @ u.astype(np.longdouble)
    error = np.asarray(eqx.filter_jit(operators.apply)(block.disc, block.law, jnp.asarray(u)[:, None]))[:, 0] - exact
    root = np.sqrt(diagonal_of(block.disc, block.law))
    bound = solve.ROUNDING * np.finfo(float).eps * np.linalg.norm(root * u)
    assert 0.02 * bound < np.linalg.norm(error / root) <= bound


def dense_longdouble(block) -> np.ndarray:
    """The operator as a matrix, by segments, in extended precision."""
    from thermospin.base.quadrature import gauss_lobatto

    disc, n = block.disc, block.disc.nodes_V
    _, weights, derivative = (x.astype(np.longdouble) for x in gauss_lobatto(disc.order))
    local = derivative.T @ (weights[:, None] * derivative)
    A = np.zeros((disc.unknowns, disc.unknowns), np.longdouble)
    relaxation = np.asarray(block.law.relaxation, np.longdouble)
    for i, g in enumerate(relaxation):
        A[np.ix_([i, i + n], [i, i + n])] += g * np.array([[1, -1], [-1, 1]])
    for axis, law in zip(disc.axes, block.law.segments, strict=True):
        nodes_T, nodes_V = np.asarray(axis.nodes_T), np.asarray(axis.nodes_V)
        V, VT = np.asarray(law.V, np.longdouble), np.asarray(law.VT, np.longdouble)
        value = {"uu": V[:, 0], "dd": V[:, 1], "uT": VT[:, 0], "dT": VT[:, 1], "TT": np.asarray(law.TT, np.longdouble)}
        for s in range(1, nodes_T.shape[1]):
            T = nodes_T[:, s] + 2 * n
            A[np.ix_(T, T)] += value["TT"][s] * local
            if s < nodes_V.shape[1]:
                up, down = nodes_V[:, s], nodes_V[:, s] + n
                for first, second, key in ((up, up, "uu"), (down, down, "dd"), (up, T, "uT"), (down, T, "dT")):
                    A[np.ix_(first, second)] += value[key][s] * local
                    if first is not second:
                        A[np.ix_(second, first)] += value[key][s] * local
    return A


def solved(problem: model.Model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right-hand side, response and residual of the drive, solved by a dense matrix."""
    law = operators.coefficients(problem.disc, problem.constitution.table(problem.parameters, AP), 300.0)
    b = np.asarray(problem.ports["1"])
    apply = eqx.filter_jit(operators.apply)
    A = np.asarray(apply(problem.disc, law, jnp.eye(problem.unknowns)))
    free = np.asarray(problem.systems["2"].free) > 0
    u = np.zeros(problem.unknowns)
    u[free] = np.linalg.solve(A[np.ix_(free, free)], b[free])
    return b, u, np.where(free, b - np.asarray(apply(problem.disc, law, jnp.asarray(u)[:, None]))[:, 0], 0.0)


@functools.cache
def small() -> model.Model:
    """The lateral device on the coarsest grid there is."""
    device = devices.lateral()
    return model.on_grid(device, grid_rule.at_coarseness(device.features, 1, 1e6))


def test_a_tolerance_below_round_off_is_named():
    problem = small()
    b, u, residual = solved(problem)
    found = explain(problem, residual, rhs=b, fields=u, tolerance=1e-17)
    assert found.cause == "round-off" and "1.0e-17 is asked for" in found.detail
    assert explain(problem, residual, rhs=b, tolerance=0.0).cause == "round-off"
    worse = explain(problem, 1e-6 * residual_in(problem, "strip", 1, 1, 0), rhs=b, fields=u, tolerance=1e-10)
    assert worse.cause != "round-off"


def test_round_off_of_an_iterate_that_ran_away_is_not_the_cause():
    """Fields 1e12 times too large have a rounding error far above any tolerance; it says nothing about the solution."""
    problem = small()
    b, u, _ = solved(problem)
    found = explain(problem, -1e12 * b, rhs=b, fields=1e12 * u, tolerance=1e-10)
    assert found.cause != "round-off"


def test_a_solve_that_was_stopped_is_told_from_one_that_stalled():
    problem = lateral()
    residual = residual_in(problem, *RESIDUALS["charge"])
    changes = {"Ni.sigma": 1.0}

    def cause(iterations, left):
        rhs = None if left is None else residual / left
        found = explain(problem, residual, changes, rhs=rhs, tolerance=1e-10, iterations=iterations)
        return found.cause, found.detail

    assert cause(3, 0.2)[0] == cause(3, None)[0] == "too few iterations"
    falling, text = cause(59, 0.8**59)
    assert falling == "too few iterations" and "by 0.8 per iteration" in text and "about 45 more" in text
    assert cause(399, 0.999**399)[0] == "contrast"
    assert cause(400, 0.3)[0] == cause(400, None)[0] == "contrast"


def test_a_diagnosis_is_a_plain_record():
    found = explain(lateral(), residual_in(lateral(), *RESIDUALS["charge"]))
    assert {field.name for field in dataclasses.fields(found)} >= {"field", "share", "solids", "cause", "advice"}
