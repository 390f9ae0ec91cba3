"""The comparison with differentiable finite elements: its problem and its formulas, with thermospin's part of it.

The coarsest grid of the device, on which a residual of 1e-10 leaves 1e-9 of a reading or less. A central difference
with a step of 1e-3 in the logarithms of all conductivities is off by about 1e-7 of the slope.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def peers() -> ModuleType:
    """The script as a module; it imports another one of its folder."""
    path = FOLDER / "differentiable_peers.py"
    spec = importlib.util.spec_from_file_location("differentiable_peers", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
    return module


def test_thermospin_solves_the_heat_problem_of_the_comparison_and_differentiates_it(
    peers: ModuleType, tmp_path: Path
) -> None:
    peers.mesh_of(1e6).save(tmp_path / "mesh.npz")
    mesh = peers.Mesh.load(tmp_path / "mesh.npz")
    assert mesh.integrated(mesh.source).sum() == pytest.approx(1e6 * peers.WATTS)
    assert mesh.weights.sum() == pytest.approx(1.0)

    solver, kappa = peers.Thermospin(mesh), mesh.kappa
    reading, gradient, T = solver(kappa, True)
    assert mesh.residual(T, kappa, True) <= 1.001 * peers.TOLERANCE
    assert mesh.weights @ T == pytest.approx(reading, rel=1e-8)
    # Controls: another quadrature and other conductivities are other equations.
    assert mesh.residual(T, kappa, False) > 1e-2
    assert mesh.residual(T, 1.01 * kappa, True) > 1e-3

    # Twice the conductivities halve all temperatures: the slopes by logarithms sum to minus the reading.
    assert gradient @ kappa == pytest.approx(-reading, rel=1e-8)
    direction = np.random.default_rng(0).standard_normal(len(kappa))
    low, high = (solver(kappa * np.exp(sign * peers.STEP * direction), False)[0] for sign in (-1, 1))
    assert gradient @ (kappa * direction) == pytest.approx((high - low) / (2 * peers.STEP), rel=1e-5)


@pytest.mark.slow
def test_potentials_that_nothing_drives_change_nothing(peers: ModuleType) -> None:
    mesh = peers.mesh_of(1e6)
    (reading, gradient, _), (other, same, _) = (
        peers.Thermospin(mesh, potentials)(mesh.kappa, True) for potentials in (False, True)
    )
    assert other == pytest.approx(reading, rel=1e-9)
    np.testing.assert_allclose(same, gradient, rtol=1e-6, atol=1e-8 * abs(gradient).max())


def test_runs_are_named_by_package_and_setting(peers: ModuleType) -> None:
    assert peers.chosen(["thermospin:", "torch-fem"]) == [
        ("thermospin", ""),
        ("torch-fem", "cg-amg"),
        ("torch-fem", "cg-jacobi"),
        ("torch-fem", "direct"),
    ]
