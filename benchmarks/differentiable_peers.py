"""Heat conduction with gradients: thermospin against the differentiable finite elements torch-fem and JAX-FEM.

    python benchmarks/differentiable_peers.py [--unknowns 4e4 1.5e5 4e5] [--runs NAME[:SETTING] ...]
        [--torch-python PYTHON] [--jax-python PYTHON] [--time-limit SECONDS] [--json FILE]

The job is the heat part of the shipped device slachter2010: 1 mW made evenly in the heater FM1; the ends of all leads
and the bottom of the substrate at the bath; what is read is the mean temperature of the detector FM2, and what is
wanted besides is its gradient by the conductivities of all 22 solids. Everybody solves on the same graded hexahedra of
order 1, to a true relative residual of 1e-10 in the norm |D^-1/2 r|, D the diagonal of the matrix. The residual is
computed here, from the fields, by one formula for all; a solver that misses it is called again with a tighter
tolerance. thermospin puts quadrature points at the nodes, the others integrate exactly: their temperatures differ by
O(h^2), their sources and weights not at all. Gradients are compared with central differences of the solver's own
readings.

Peers are not dependencies of thermospin; each runs under a Python of its own, and is left out where that has none:

    python -m venv torch-fem; torch-fem/bin/pip install torch-fem pypardiso
    apt-get install python3-petsc4py libglu1-mesa libxcursor1 libxinerama1 libxft2        (PETSc for Debian 12's Python)
    /usr/bin/python3 -m venv jax-fem
    jax-fem/bin/pip install jax-fem "jax<0.7" "numpy<2" scipy fenics-basix meshio gmsh pyfiglet pypardiso

jax-fem names no dependency itself. Debian's petsc4py is built for numpy 1, which newer versions of JAX refuse.

What was tried, by the names of the settings; the first of each package is about its fastest:
- thermospin: the public API, `evaluate` with a `power` drive and a `temperature` probe. It asks for a metal: one small
  solid conducts, and its potentials stay zero. "potentials": all metals conduct, as on the device, with S = 0.
- torch-fem, `SolidHeat.solve` with `differentiable_parameters`: its defaults at this size, conjugate gradients with
  smoothed aggregation by pyamg ("cg-amg"), the same with the diagonal, and its direct solver, which is PARDISO where
  pypardiso is installed.
- JAX-FEM, `ad_wrapper`: PETSc's BiCGSTAB with an incomplete factorisation ("ilu"), what the package sets up by itself
  ("bcgsl"), hypre's BoomerAMG with conjugate gradients, and BiCGSTAB for the adjoint, whose matrix is not symmetric
  because rows of held nodes are cleared and columns are not ("hypre"; its defaults, other thresholds and smoothers were
  slower, PETSc's own multigrid failed), MUMPS ("mumps": tfqmr and lu, for which the package chooses it), PARDISO as a
  `custom_solver`, "umfpack" (SuperLU where scikit-umfpack is not installed), "jax" (BiCGSTAB with the diagonal).

Columns: "set-up" is the model from the mesh (of thermospin: from the device file), "first" the first reading with its
gradient, compilation included, "both" a second one at conductivities a few percent off, "value" a reading alone [s];
short ones are the best of three. Reading, residual and difference are of "both".
"imports" is the memory once imports and the mesh are there, "peak" what is used above that at most [MiB].
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import rivals

Row = dict[str, Any]

DEVICE = "slachter2010"
HEATED, READ = "FM1", "FM2"
#: The solid that conducts charge, because a device with experiments needs one, and a face of it that is free.
METAL = ("contact4_on_FM2", "z+")
WATTS = 1e-3
TOLERANCE = 1e-10
#: Runs of a solver, each with a tighter tolerance.
MAX_CALLS = 6
#: Of the logarithms of the conductivities: for the second run, and for differences.
AWAY, STEP = 3e-2, 1e-3
#: Corners of a cell in the order of VTK, which both peers use.
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]])
#: Options of hypre's BoomerAMG.
HYPRE = {
    "ksp_norm_type": "unpreconditioned",
    "pc_type": "hypre",
    "pc_hypre_boomeramg_coarsen_type": "HMIS",
    "pc_hypre_boomeramg_interp_type": "ext+i",
    "pc_hypre_boomeramg_agg_nl": 2,
    "pc_hypre_boomeramg_relax_type_all": "symmetric-SOR/Jacobi",
}
#: For each package its settings by name, see the head of the file; without --runs all of them.
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "thermospin": {"": {}, "potentials": {"potentials": True}},
    "torch-fem": {
        "cg-amg": {"method": "cg", "preconditioner": "amg"},
        "cg-jacobi": {"method": "cg", "preconditioner": "jacobi"},
        "direct": {"method": "direct"},
    },
    "jax-fem": {
        "ilu": {"petsc": ("bcgs", "ilu")},
        "bcgsl": {"petsc": ("bcgsl", "ilu")},
        "hypre": {"petsc": ("cg", "hypre"), "adjoint": ("bcgs", "hypre"), "options": HYPRE},
        "mumps": {"petsc": ("tfqmr", "lu")},
        "pardiso": {"custom": "pypardiso"},
        "umfpack": {"option": "umfpack_solver"},
        "jax": {"option": "jax_solver"},
    },
}
PACKAGES = ("thermospin", "torch-fem", "torch", "pyamg", "jax-fem", "jax", "numpy", "scipy", "pypardiso")


@dataclasses.dataclass(frozen=True)
class Mesh:
    """The problem as a finite-element program gets it: lengths in um, power in uW, conductivities in W/(m K).

    Attributes:
      points: nodes (nodes, 3).
      place: of each node in thermospin's tensor grid (nodes,).
      cells: nodes of each cell (cells, 8), see `CORNERS`.
      solid: of each cell (cells,).
      held: nodes at the bath temperature (nodes,).
      names, kappa: of the solids.
      coarseness: of the grid.
    """

    points: np.ndarray
    place: np.ndarray
    cells: np.ndarray
    solid: np.ndarray
    held: np.ndarray
    names: np.ndarray
    kappa: np.ndarray
    coarseness: np.ndarray

    def save(self, path: Path) -> None:
        """Write it."""
        np.savez(path, **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)})

    @classmethod
    def load(cls, path: Path) -> Mesh:
        """Read it."""
        with np.load(path) as file:
            return cls(**{name: file[name] for name in file.files})

    @functools.cached_property
    def sides(self) -> np.ndarray:
        """Of each cell (cells, 3)."""
        return self.points[self.cells[:, 6]] - self.points[self.cells[:, 0]]

    def inside(self, name: str) -> np.ndarray:
        """Marks the cells of a solid (cells,)."""
        return self.solid == list(self.names).index(name)

    @property
    def source(self) -> np.ndarray:
        """Power per volume in each cell."""
        inside = self.inside(HEATED)
        return 1e6 * WATTS * inside / self.sides.prod(axis=1)[inside].sum()

    def integrated(self, density: np.ndarray) -> np.ndarray:
        """What the integral of a density, constant in each cell, gives each node (nodes,)."""
        share = np.repeat(density * self.sides.prod(axis=1) / 8, 8)
        return np.bincount(self.cells.ravel(), share, len(self.points))

    @property
    def weights(self) -> np.ndarray:
        """The reading as a sum over temperatures of nodes (nodes,)."""
        weights = self.integrated(self.inside(READ).astype(float))
        return weights / weights.sum()

    def residual(self, T: np.ndarray, kappa: np.ndarray, lumped: bool) -> float:
        """True relative residual, of matrices that are integrated exactly or with the nodes as quadrature points."""
        b, out, diagonal = self.integrated(self.source), np.zeros(len(T)), np.zeros(len(T))
        volumes, local = self.sides.prod(axis=1), T[self.cells]
        for axis in range(3):
            matrix = _stiffness(axis, lumped)
            scale = (kappa[self.solid] * volumes / self.sides[:, axis] ** 2)[:, None]
            for values, sums in ((local @ matrix, out), (matrix.diagonal(), diagonal)):
                sums += np.bincount(self.cells.ravel(), (scale * values).ravel(), len(T))
        free, root = ~self.held, np.sqrt(diagonal)
        return float(np.linalg.norm(((b - out) / root)[free]) / np.linalg.norm((b / root)[free]))


def _stiffness(axis: int, lumped: bool) -> np.ndarray:
    """Matrix of the derivatives along one axis on the unit cube (8, 8)."""
    step, mass = (
        np.array([[1.0, -1.0], [-1.0, 1.0]]),
        np.eye(2) / 2 if lumped else np.array([[2.0, 1.0], [1.0, 2.0]]) / 6,
    )
    out = np.ones((8, 8))
    for other, corner in enumerate(CORNERS.T):
        out *= (step if other == axis else mass)[np.ix_(corner, corner)]
    return out


# ------------------------------------------------------------------------------------------- thermospin


def device_of_heat(potentials: bool = False) -> Any:
    """The shipped device, each solid with a material of its own, for the experiment "heat".

    Args:
      potentials: whether all metals conduct charge, without thermoelectricity, or one small solid alone.
    """
    import thermospin as ts

    shipped = ts.load(DEVICE)
    materials, solids = {}, []
    for solid in shipped.solids:
        own, name = shipped.materials[solid.material], solid.name
        solids.append(dataclasses.replace(solid, material=name, magnet=None))
        materials[name] = ts.Material(name, kappa=own.kappa)
        if potentials and own.is_metal:
            materials[name] = ts.Material(name, own.sigma, own.P, kappa=own.kappa, lambda_sf=own.lambda_sf)
        elif not potentials and name == METAL[0]:
            materials[name] = ts.Material(name, own.sigma, kappa=own.kappa, lambda_sf=own.lambda_sf)
    contacts, sinks = shipped.contacts, shipped.heat_sinks
    if not potentials:
        sinks += tuple(ts.HeatSink(contact.solid, contact.face) for contact in contacts)
        contacts = (ts.Contact("unused", *METAL, h=0.0),)
    run = ts.Experiment("heat", None, None, {"only": {}}, power={HEATED: 1.0}, temperature=(READ,))
    return ts.Device(
        name="heat",
        solids=tuple(solids),
        materials=materials,
        contacts=contacts,
        heat_sinks=sinks,
        experiments={"heat": run},
        bath=shipped.bath,
        dimensions=shipped.dimensions,
    )


def lines_of(coarseness: float) -> Any:
    """thermospin's grid lines at order 1 for the shipped device, which everybody solves on."""
    import thermospin as ts
    from thermospin.geometry import grid_rule

    return grid_rule.at_coarseness(ts.load(DEVICE).features, 1, coarseness).lines


def mesh_of(coarseness: float) -> Mesh:
    """The mesh at a coarseness."""
    from thermospin import model

    device = device_of_heat()
    made = device.features.grid(lines_of(coarseness), 1)
    disc = model.on_grid(device, made).disc
    shape = tuple(len(line) for line in made.lines)
    filled = np.argwhere(made.domain >= 0)
    tensor = np.ravel_multi_index(tuple((filled[:, None] + CORNERS).transpose(2, 0, 1)), shape)
    place, cells = np.unique(tensor, return_inverse=True)
    at = np.unravel_index(place, shape)
    return Mesh(
        points=1e6 * np.stack([line[i] for line, i in zip(made.lines, at, strict=True)], axis=1),
        place=place,
        cells=cells.reshape(-1, 8),
        solid=made.domain[tuple(filled.T)],
        held=np.isin(place, disc.index_T[disc.held_T]),
        names=np.array([solid.name for solid in device.solids]),
        kappa=np.array([device.materials[solid.material].kappa for solid in device.solids]),
        coarseness=np.array(coarseness),
    )


def find_coarseness(unknowns: float) -> float:
    """Of the grid whose number of temperatures is closest."""
    import thermospin as ts
    from thermospin.geometry import grid_rule

    features = ts.load(DEVICE).features
    low, high, best = np.log(0.05), np.log(50.0), (np.inf, 0.0)
    for _ in range(14):
        middle = (low + high) / 2
        made = grid_rule.at_coarseness(features, 1, float(np.exp(middle)))
        off = np.log(made.unknowns([False] * (1 + int(made.domain.max()))) / unknowns)
        best = min(best, (abs(off), middle))
        low, high = (middle, high) if off > 0 else (low, middle)
    return float(np.exp(best[1]))


class Thermospin:
    """thermospin's public API, of which R1 of the experiment is the mean temperature per watt."""

    lumped = True

    def __init__(self, mesh: Mesh, potentials: bool = False) -> None:
        from thermospin import model

        self.mesh, self.tolerance = mesh, TOLERANCE
        device = device_of_heat(potentials)
        self.names = [f"{name}.kappa" for name in mesh.names]
        self.model = model.on_grid(device, device.features.grid(lines_of(float(mesh.coarseness)), 1))

    def __call__(self, kappa: np.ndarray, gradient: bool) -> tuple[float, np.ndarray | None, np.ndarray]:
        """Reading, gradient or None, and temperatures."""
        from thermospin.signals import evaluate

        values, wanted = dict(zip(self.names, map(float, kappa), strict=True)), [("heat", "R1.only")]
        names = self.names if gradient else ()
        found = evaluate.evaluate(self.model, values, wanted, names, tolerance=self.tolerance)
        T, disc = np.zeros(1 + int(self.mesh.place.max())), self.model.disc
        T[disc.index_T] = np.asarray(found.fields["heat"][0].u[0])[2 * disc.nodes_V :]
        slope = WATTS * found.jacobian[0] if gradient else None
        return WATTS * float(found.values[0]), slope, WATTS * T[self.mesh.place]


# ------------------------------------------------------------------------------------------- peers


class TorchFEM:
    """torch-fem; only its bound on the linear solver is tightened, not that of the Newton iteration around it."""

    lumped = False

    def __init__(self, mesh: Mesh, method: str, preconditioner: str | None = None) -> None:
        import torch
        from torchfem import SolidHeat

        torch.set_default_dtype(torch.float64)
        self.torch, self.tolerance = torch, TOLERANCE
        self.options = {"method": method, "preconditioner": preconditioner, "atol": 0.0}
        self.solid, self.weights = torch.from_numpy(mesh.solid), torch.from_numpy(mesh.weights)
        nodes, cells = torch.from_numpy(mesh.points), torch.from_numpy(mesh.cells)
        self.model = SolidHeat(nodes, cells, self._material(torch.from_numpy(mesh.kappa)))
        self.model.constraints[torch.from_numpy(mesh.held)] = True
        self.model.heat_flux = self.model.integrate_body_load(torch.from_numpy(mesh.source)[:, None])

    def _material(self, kappa: Any) -> Any:
        from torchfem.materials import IsotropicConductivity3D

        return IsotropicConductivity3D(kappa[self.solid])

    def __call__(self, kappa: np.ndarray, gradient: bool) -> tuple[float, np.ndarray | None, np.ndarray]:
        """Reading, gradient or None, and temperatures."""
        own = self.torch.tensor(kappa, requires_grad=gradient)
        self.model.material = self._material(own)
        T = self.model.solve(stol=self.tolerance, differentiable_parameters=own if gradient else None, **self.options)[
            0
        ][:, 0]
        reading = self.weights @ T
        slope = self.torch.autograd.grad(reading, own)[0].numpy() if gradient else None
        return float(reading.detach()), slope, T.detach().numpy()


class JaxFEM:
    """JAX-FEM; tolerances of PETSc's solvers are PETSc's options, the others get that of the Newton iteration."""

    lumped = False

    def __init__(
        self,
        mesh: Mesh,
        petsc: tuple[str, str] | None = None,
        adjoint: tuple[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        option: str = "",
        custom: str = "",
    ) -> None:
        import jax
        import jax.numpy as jnp
        from jax_fem.generate_mesh import Mesh as Points
        from jax_fem.problem import Problem
        from jax_fem.solver import ad_wrapper

        class Conduction(Problem):  # type: ignore[misc]
            def get_tensor_map(self) -> Any:
                return lambda slope, kappa, source: kappa * slope

            def get_mass_map(self) -> Any:
                return lambda T, x, kappa, source: -source * jnp.ones(1)

            def set_params(self, kappa: Any) -> None:
                each = jnp.ones((1, self.fes[0].num_quads))
                self.internal_vars = [kappa[mesh.solid][:, None] * each, mesh.source[:, None] * each]

        self.jax, self.tolerance = jax, TOLERANCE
        self.petsc = importlib.import_module("petsc4py.PETSc").Options() if petsc else None
        for name, value in (options or {}).items():
            self.petsc[name] = value
        held, weights = jnp.asarray(mesh.held), jnp.asarray(mesh.weights)
        bath = [[lambda point, index: held[index]], [0], [lambda point: 0.0]]
        grid = Points(mesh.points, mesh.cells, ele_type="HEX8")
        problem = Conduction(grid, vec=1, dim=3, ele_type="HEX8", dirichlet_bc_info=bath)
        self.options = {"tol": 0.0} | self._chosen(petsc, option, custom)
        solve = ad_wrapper(problem, self.options, self._chosen(adjoint or petsc, option, custom))

        def reading(kappa: Any) -> tuple[Any, Any]:
            T = solve(kappa)[0][:, 0]
            return weights @ T, T

        self.reading, self.both = reading, jax.value_and_grad(reading, has_aux=True)

    def _chosen(self, petsc: tuple[str, str] | None, option: str, custom: str) -> Row:
        if petsc is not None:
            return {"petsc_solver": {"ksp_type": petsc[0], "pc_type": petsc[1]}}
        return {"custom_solver": _pardiso} if custom else {option: {}}

    def __call__(self, kappa: np.ndarray, gradient: bool) -> tuple[float, np.ndarray | None, np.ndarray]:
        """Reading, gradient or None, and temperatures."""
        if self.petsc is not None:
            self.petsc["ksp_rtol"] = self.tolerance
        else:
            self.options["rel_tol"] = max(self.tolerance, 1e-13)
        own = self.jax.numpy.asarray(kappa)
        if not gradient:
            value, T = self.reading(own)
            return float(value), None, np.asarray(T)
        (value, T), slope = self.both(own)
        return float(value), np.asarray(slope), np.asarray(T)


def _pardiso(A: Any, b: Any, x0: Any, options: Any) -> Any:
    """MKL's LU factorization as JAX-FEM calls it; the matrix is PETSc's."""
    from scipy.sparse import csr_matrix

    indptr, indices, values = A.getValuesCSR()
    matrix = csr_matrix((values, indices, indptr), shape=A.getSize())
    return importlib.import_module("pypardiso").spsolve(matrix, np.asarray(b))


def imported(package: str) -> Callable[..., Any]:
    """Imports a package, and returns what solves with it."""
    if package == "thermospin":
        import jax

        jax.config.update("jax_enable_x64", True)
        importlib.import_module("thermospin.signals.evaluate")
        return Thermospin
    if package == "torch-fem":
        importlib.import_module("torchfem")
        return TorchFEM
    rivals._petsc()
    fem = importlib.import_module("jax_fem")
    fem.logger.setLevel("WARNING")
    importlib.import_module("jax_fem.solver")
    return JaxFEM


# ------------------------------------------------------------------------------------------- measurement


def measured(mesh: Mesh, package: str, setting: str) -> Row:
    """What one process finds: times, memory, residual, reading, gradient and its deviation from a difference."""
    make = imported(package)
    held = rivals.memory("VmRSS")
    direction = np.random.default_rng(0).standard_normal(len(mesh.kappa))
    kappa, near = mesh.kappa, mesh.kappa * np.exp(AWAY * direction)
    setup, solver = _timed(lambda: make(mesh, **SETTINGS[package][setting]))
    first, _ = _timed(lambda: solver(kappa, True))
    peak = 0.0
    for _ in range(MAX_CALLS):
        both: list[float] = []
        value: list[float] = []
        # In turn, because PARDISO would not factorise again what it has just factorised.
        while len(both) < 3 and sum(both + value) < 4:
            seconds, (reading, gradient, T) = _timed(lambda: solver(near, True))
            both.append(seconds)
            value.append(_timed(lambda: solver(kappa, False))[0])
        peak = peak or rivals.memory("VmHWM") - held
        residual = mesh.residual(T, near, solver.lumped)
        if residual <= TOLERANCE:
            break
        solver.tolerance *= 0.8 * TOLERANCE / residual
    low, high = (solver(near * np.exp(sign * STEP * direction), False)[0] for sign in (-1, 1))
    slope, wanted = float(gradient @ (near * direction)), (high - low) / (2 * STEP)
    return {
        **{"setup": setup, "first": first, "both": min(both), "value": min(value), "residual": residual},
        **{"imports": held, "peak": peak, "reading": reading, "slopes": (near * gradient).tolist()},
        "off": abs(slope / wanted - 1),
        "versions": _versions(),
    }


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    out = run()
    return time.perf_counter() - began, out


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def in_process(folder: Path, package: str, setting: str, python: str, limit: float) -> Row | str:
    """What a process of its own finds, or why there is nothing."""
    out = folder / "row.json"
    out.unlink(missing_ok=True)
    command = [python, __file__, "--one", str(folder), package, setting]
    with (folder / "log").open("w+") as log:
        try:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        except FileNotFoundError:
            return f"left out, no interpreter {python}"
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            return f"timed out, {limit:.0f} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        log.seek(0)
        last = (log.read().strip().splitlines() or ["no message"])[-1]
    if process.returncode:
        return f"failed, code {process.returncode}: {last[:100]}"
    found: Row = json.loads(out.read_text())
    return found


def compared(rows: Sequence[Row]) -> None:
    """Prints how far readings and gradients are apart: of exact integration among each other, and of thermospin's."""
    own = [row for row in rows if row["package"] == "thermospin"]
    peers = [row for row in rows if row["package"] != "thermospin"]
    if peers:
        readings, gradients = _spread(peers, peers[0])
        print(f"peers among each other: readings to {readings:.1e}, gradients to {gradients:.1e}")
    if own and peers:
        readings, gradients = _spread(own, peers[0])
        print(f"thermospin from them (quadrature): reading {readings:.2%}, gradient {gradients:.2%}")
    if len(own) > 1:
        readings, gradients = _spread(own, own[0])
        print(f"thermospin with potentials from without: reading {readings:.1e}, gradient {gradients:.1e}")


def _spread(rows: Sequence[Row], other: Row) -> tuple[float, float]:
    """Largest relative difference of readings, and of slopes by logarithms over the largest slope."""
    slopes = np.array([row["slopes"] for row in rows]) - other["slopes"]
    readings = [abs(row["reading"] / other["reading"] - 1) for row in rows]
    return max(readings), float(np.abs(slopes).max() / np.abs(other["slopes"]).max())


def at_size(unknowns: float, runs: Sequence[tuple[str, str]], pythons: Mapping[str, str], limit: float) -> list[Row]:
    """Runs one size and prints its table."""
    mesh = mesh_of(find_coarseness(unknowns))
    print(f"\n{len(mesh.points)} unknowns, {len(mesh.cells)} cells, coarseness {float(mesh.coarseness):.3g}")
    head = (
        f"{'solver':<23} {'set-up':>7} {'first':>8} {'both':>8} {'value':>8} {'residual':>9} {'imports':>8} {'peak':>7}"
    )
    print(f"{head} {'reading [K]':>12} {'off difference':>15}")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        mesh.save(Path(folder) / "mesh.npz")
        for package, setting in runs:
            found = in_process(Path(folder), package, setting, pythons[package], limit)
            name = f"{package} {setting}".strip()
            if isinstance(found, str):
                print(f"{name:<23} {found}", flush=True)
                continue
            missed = "" if found["residual"] <= TOLERANCE else "  MISSES THE RESIDUAL"
            numbers = "{setup:7.2f} {first:8.2f} {both:8.3f} {value:8.3f} {residual:9.1e} {imports:8.0f} {peak:7.0f}"
            tail = f"{found['reading']:12.6f} {found['off']:15.1e}{missed}"
            print(f"{name:<23} {numbers.format(**found)} {tail}", flush=True)
            rows.append({"package": package, "setting": setting, "unknowns": len(mesh.points), **found})
    compared(rows)
    return rows


def chosen(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of package and setting; of names without a setting all of them."""
    pairs = []
    for name in names:
        package, _, setting = name.partition(":")
        pairs += [(package, setting)] if ":" in name else [(package, each) for each in SETTINGS[package]]
    return pairs


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unknowns", type=float, nargs="+", default=[4e4, 1.5e5, 4e5])
    parser.add_argument("--runs", nargs="+", default=list(SETTINGS), metavar="NAME[:SETTING]")
    parser.add_argument("--torch-python", default="torch-fem/bin/python")
    parser.add_argument("--jax-python", default="jax-fem/bin/python")
    parser.add_argument("--time-limit", type=float, default=900.0, help="for a solver at a size, all included")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        folder, package, setting = options.one
        row = measured(Mesh.load(Path(folder) / "mesh.npz"), package, setting)
        (Path(folder) / "row.json").write_text(json.dumps(row))
        return
    import jax

    jax.config.update("jax_enable_x64", True)
    pythons = {"thermospin": sys.executable, "torch-fem": options.torch_python, "jax-fem": options.jax_python}
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {DEVICE}")
    rows: list[Row] = []
    for unknowns in options.unknowns:
        rows += at_size(unknowns, chosen(options.runs), pythons, options.time_limit)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1))
    for package, versions in {row["package"]: row["versions"] for row in rows}.items():
        print(f"{package}: " + ", ".join(f"{name} {version}" for name, version in versions.items()))


if __name__ == "__main__":
    main()
