"""The suite of devices: every case is what it says, and the solver takes about as many iterations on each.

Small sizes here, where two or three levels of the preconditioner are at work; `benchmarks/convergence.py` runs the same
cases at any size.
"""

from __future__ import annotations

import numpy as np
import pytest

from helpers import bad_solves
from helpers.suite import CASES, drive_and_probe, joule_and_change, relative_residual, relative_round_off
from thermospin import solve
from thermospin.geometry import boxes
from thermospin.signals import diagnosis

TOLERANCE = 1e-10
#: Most iterations to `TOLERANCE`, by order, for every right-hand side of every case.
ITERATIONS = {1: 17, 2: 24}
#: Cases that take more, with the iterations measured for the slowest right-hand side; ten percent more are let pass.
#: The preconditioner leaves out the coupling of charge and heat, which at T0 sigma S^2 = kappa/2 is not small; "moved"
#: is solved with the preconditioner of other values.
SLOWER = {
    ("thermoelectric", 1): 24,
    ("moved", 1): 37,
    ("thermoelectric", 2): 33,
    ("moved", 2): 49,
}
UNKNOWNS = 3_000
#: One of each kind of difficulty runs by default; what takes the time is compilation.
QUICK = {
    1: ("contrast-1e6", "aspect-x", "close-wires"),
    2: ("polarised-0.9-long", "graded-6"),
}
RUNS = [
    pytest.param(name, order, id=f"{name}-{order}", marks=() if name in QUICK[order] else pytest.mark.slow)
    for order in ITERATIONS
    for name in CASES
]


@pytest.mark.parametrize(("name", "order"), RUNS)
def test_iterations_are_about_the_same_on_every_case(name, order):
    """Drive and probe, then Joule heat and magnets reversed; the residual is recomputed from the answer."""
    case = CASES[name]
    model = case.model(UNKNOWNS, order)
    law, system = case.law(model), model.systems[case.experiment.current[1]]
    tolerance = max(TOLERANCE, case.tolerance)
    most = 1.1 * SLOWER[name, order] if (name, order) in SLOWER else ITERATIONS[order]

    def run(b):
        u, stats = solve.solve(system, law, b, tolerance=tolerance, max_steps=400)
        assert int(np.max(stats.iterations)) <= most, np.asarray(stats.iterations)
        floor = relative_round_off(system, law, b, u)
        assert np.all(relative_residual(system, law, b, u) <= np.maximum(1.01 * tolerance, floor))
        return u

    u = run(drive_and_probe(case, model))
    assert np.all(np.abs(u).max(axis=0) > 0)
    run(joule_and_change(case, model, law, u[:, 0]))


@pytest.mark.parametrize(
    ("name", "order", "most"),
    [("aspect-z", 1, 14), *(pytest.param(*case, marks=pytest.mark.slow) for case in (("twenty-leads", 2, 26),))],
)
def test_thin_cells_and_junctions_cost_nothing_on_larger_grids(name, order, most):
    """Measured 12 and 23; 37 and 54 where a node may leave without those that are strongly coupled to it."""
    case = CASES[name]
    model = case.model(30_000, order)
    system = model.systems[case.experiment.current[1]]
    _, stats = solve.solve(system, case.law(model), drive_and_probe(case, model), tolerance=TOLERANCE)
    assert 5 < int(np.max(stats.iterations)) <= most


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_grids_have_about_the_unknowns_asked_for(name, order):
    case = CASES[name]
    metals = [case.device.materials[material].is_metal for material, _ in case.device.domains]
    assert case.grid(30_000, order).unknowns(metals) == pytest.approx(30_000, rel=0.3)
    if order == 2:
        assert case.grid(1_000_000, order).unknowns(metals) == pytest.approx(1_000_000, rel=0.1)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK[1] + QUICK[2] else pytest.mark.slow) for name in CASES]
)
def test_cases_have_nothing_wrong_with_them(name):
    """They are to be solved, so nothing floats, no value is outside the model, no metals meet in an edge only."""
    case = CASES[name]
    model = case.model(UNKNOWNS, 1)
    for signs in case.experiment.states.values():
        assert diagnosis.faults(model, case.parameters, signs, case.experiment.current[1]) == []
    assert set(case.parameters) <= set(model.parameters)


def aspects(name, unknowns=30_000):
    """Longest over shortest side of each cell of a case, and the shortest side of any [m]."""
    lines = CASES[name].grid(unknowns, 1).lines
    sides = np.stack(np.meshgrid(*(np.diff(line) for line in lines), indexing="ij"))
    return sides.max(axis=0) / sides.min(axis=0), sides.min(axis=(1, 2, 3))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_cells_are_thin_along_the_axis_named_and_there_alone(axis):
    aspect, shortest = aspects(f"aspect-{'xyz'[axis]}")
    assert aspect.min() < 2
    assert 100 < aspect.max() < 400
    assert np.all(np.delete(shortest, axis) > 30 * shortest[axis])


def test_graded_grids_have_cells_of_a_nanometre_and_the_growth_named():
    lines = CASES["graded-2"].grid(1_000_000, 2).lines
    for line in lines:
        width = np.diff(line)
        growth = np.exp(np.abs(np.diff(np.log(width))))
        assert 0.8e-9 < width.min() < 2e-9
        assert np.median(growth[growth > 1.2]) == pytest.approx(2, abs=0.4)
    assert aspects("graded")[0].max() > 50
    assert aspects("graded")[1] == pytest.approx(1e-9, abs=0.4e-9)


@pytest.mark.parametrize(("name", "kept", "pieces"), [("close-wires", "bus", 9), ("comb", "link", 2)])
def test_wires_that_come_close_do_not_touch(name, kept, pieces):
    """Without the solid that joins them they fall apart: eight wires and the beam above; two combs."""
    device = CASES[name].device
    plan = device.layout()
    names = [solid.name for solid in device.solids]
    cells = plan.metal & (plan.owner != names.index(kept))
    if name == "close-wires":
        cells &= plan.owner != names.index("post")
    assert boxes.label(cells)[1] == pieces


def test_no_bad_solve_is_reported_good():
    """A few of the broken systems; all of them are in the slow test."""
    names = ("sound", "preconditioner zero", "preconditioner NaN", "kappa contrast 1e12", "max_steps 3", "P = 1")
    assert bad_solves.main([broken for broken in bad_solves.SYSTEMS if broken.name in names]) == 0


@pytest.mark.slow
def test_no_bad_solve_of_all_broken_systems_is_reported_good():
    assert len(bad_solves.SYSTEMS) >= 20
    assert bad_solves.main() == 0
