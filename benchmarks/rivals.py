"""The linear solvers that cpu_solvers.py compares thermospin with; it starts this file once per solver.

    python benchmarks/rivals.py SOCKET SOLVER SETTING GIB

A process of its own per solver, so that its memory is its own and that its crash is nobody else's. All solve A x = b
with A symmetric positive definite and of unit diagonal, to a residual in the 2-norm; unknowns are V_charge (mean of up
and down), V_spin (up minus down) and T, in this order for each process of an MPI run and its part of the nodes.

Under the Python that has petsc4py only numpy is needed; each process opens a connection and speaks for its rows.
"""

from __future__ import annotations

import glob
import importlib
import resource
import socket
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

#: x and the iterations per column, for b (n, columns) and a bound on each column's relative residual.
Solve = Callable[[np.ndarray, Sequence[float]], tuple[np.ndarray, list[int]]]

MAX_STEPS = 50_000
#: For each solver its settings by name; the first one is used, `cpu_solvers.py --trial` runs all of them. Tried at
#: 30,000 (p = 1) and 100,000 (p = 2) unknowns: the fast ones are much the same in both. Aggregation with three vectors
#: takes 24 and 32 iterations instead of 83 and 159, at two and a half times the set-up (p = 2) and on levels five times
#: as heavy, and wins at the smaller size only. hypre's thresholds and truncation hardly matter, its aggressive levels
#: and the Chebyshev smoother do; Ruge-Stueben does not get along with Chebyshev.
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "pardiso": {"spd": {"mtype": 2}, "general": {"mtype": 11}},
    "superlu": {"mmd": {"permc_spec": "MMD_AT_PLUS_A"}, "colamd": {"permc_spec": "COLAMD"}},
    "hypre": {
        "0.25-agg2": {"strong_threshold": 0.25, "agg_nl": 2},
        "0.25-agg1": {"strong_threshold": 0.25, "agg_nl": 1},
        "0.5-agg1": {"strong_threshold": 0.5, "agg_nl": 1},
        "0.5": {"strong_threshold": 0.5},
        "0.7": {"strong_threshold": 0.7},
        "0.25-P4": {"strong_threshold": 0.25, "P_max": 4},
        "0.5-pmis": {"strong_threshold": 0.5, "coarsen_type": "PMIS"},
        "0.5-falgout": {"strong_threshold": 0.5, "coarsen_type": "Falgout", "interp_type": "classical"},
        "0.5-agg1-sor": {"strong_threshold": 0.5, "agg_nl": 1, "relax_type_all": "symmetric-SOR/Jacobi"},
        "0.5-agg1-2sor": {
            "strong_threshold": 0.5,
            "agg_nl": 1,
            "relax_type_all": "symmetric-SOR/Jacobi",
            "grid_sweeps_all": 2,
        },
        "coupled": {"strong_threshold": 0.5, "agg_nl": 1, "coupled": True},
    },
    "ruge": {
        "0.25": {"theta": 0.25},
        "0.5": {"theta": 0.5},
        "0.5-pmis": {"theta": 0.5, "CF": "PMIS"},
        "0.25-jacobi": {"theta": 0.25, "smoother": ("jacobi", {"omega": 2 / 3})},
        "0.25-cheb": {"theta": 0.25, "smoother": ("chebyshev", {"degree": 3})},
    },
    "aggregation": {
        "0.08-energy": {"theta": 0.08, "smooth": ("energy", {"maxiter": 4, "degree": 2})},
        "0.08": {"theta": 0.08},
        "0.02": {"theta": 0.02},
        "0": {"theta": 0.0},
        "0.02-three": {"theta": 0.02, "vectors": 3},
        "0.08-three": {"theta": 0.08, "vectors": 3},
        "0.08-gs": {"theta": 0.08, "smoother": ("gauss_seidel", {"sweep": "symmetric"})},
    },
    "jacobi": {"": {}},
}


def _matrix(folder: Path) -> Any:
    from scipy.sparse import csr_matrix

    data, indices, indptr = (np.load(folder / f"{name}.npy") for name in ("data", "indices", "indptr"))
    return csr_matrix((data, indices, indptr), shape=(len(indptr) - 1,) * 2)


_factorised: list[Any] = []


def pardiso(A: Any, folder: Path, mtype: int) -> Solve:
    """MKL's direct solver; 2 is a Cholesky factorization of the upper triangle, 11 an LU factorization."""
    from scipy.sparse import triu

    while _factorised:  # nothing else would free the factors of the matrix before
        _factorised.pop().free_memory(everything=True)
    solver = importlib.import_module("pypardiso").PyPardisoSolver(mtype=mtype)
    _factorised.append(solver)
    if mtype == 2:
        A = triu(A, format="csr")
    A.sort_indices()

    def call(phase: int, b: np.ndarray) -> np.ndarray:
        solver.set_phase(phase)
        return solver._call_pardiso(A, np.asfortranarray(b))  # `solve` compares or hashes the whole matrix each time

    call(12, np.zeros((A.shape[0], 1)))
    return lambda b, bounds: (call(33, b).reshape(b.shape), [0] * b.shape[1])


def superlu(A: Any, folder: Path, permc_spec: str) -> Solve:
    """SciPy's direct solver; no pivoting, as the matrix is positive definite."""
    from scipy.sparse.linalg import splu

    symmetric = {"SymmetricMode": True} if permc_spec == "MMD_AT_PLUS_A" else {}
    factors = splu(A.tocsc(), permc_spec=permc_spec, diag_pivot_thresh=0.0, options=symmetric)
    return lambda b, bounds: (factors.solve(b), [0] * b.shape[1])


def _conjugate_gradients(A: Any, preconditioner: Any = None) -> Solve:
    from scipy.sparse.linalg import cg

    def solve(b: np.ndarray, bounds: Sequence[float]) -> tuple[np.ndarray, list[int]]:
        columns, iterations = [], []
        for column, bound in zip(b.T, bounds, strict=True):
            steps: list[None] = []
            x, _ = cg(
                A,
                np.ascontiguousarray(column),
                rtol=bound,
                maxiter=MAX_STEPS,
                M=preconditioner,
                callback=lambda _, steps=steps: steps.append(None),
            )
            columns.append(x)
            iterations.append(len(steps))
        return np.stack(columns, axis=1), iterations

    return solve


def jacobi(A: Any, folder: Path) -> Solve:
    """Conjugate gradients on the diagonally scaled matrix."""
    return _conjugate_gradients(A)


def _blocks(folder: Path) -> list[slice]:
    ends = np.append(0, np.cumsum(np.load(folder / "sizes.npy").ravel()))
    return [slice(low, high) for low, high in zip(ends[:-1], ends[1:], strict=True)]


def ruge(A: Any, folder: Path, theta: float, CF: str = "RS", smoother: Any = None) -> Solve:
    """Conjugate gradients with pyamg's Ruge-Stueben multigrid for charge, spin and heat, each apart."""
    from scipy.sparse.linalg import LinearOperator

    pyamg = importlib.import_module("pyamg")
    smoother = smoother or ("gauss_seidel", {"sweep": "symmetric"})
    blocks = _blocks(folder)
    strength = ("classical", {"theta": theta})
    cycles = [
        pyamg.ruge_stuben_solver(
            A[block, block].tocsr(),
            strength=strength,
            CF=CF,
            presmoother=smoother,
            postsmoother=smoother,
            max_coarse=300,
            coarse_solver="splu",
        ).aspreconditioner()
        for block in blocks
    ]

    def apply(r: np.ndarray) -> np.ndarray:
        r = r.ravel()
        return np.concatenate([cycle @ r[block] for cycle, block in zip(cycles, blocks, strict=True)])

    return _conjugate_gradients(A, LinearOperator(A.shape, matvec=apply, dtype=float))


def aggregation(
    A: Any, folder: Path, theta: float, vectors: int = 1, smooth: Any = "jacobi", smoother: Any = None
) -> Solve:
    """Conjugate gradients with pyamg's smoothed aggregation on the coupled matrix.

    The near-null space is what is constant in charge, spin and heat: the sum of the three, which is enough where
    aggregates do not mix them, or three vectors: a tenth of the iterations, each on levels several times as large.
    """
    pyamg = importlib.import_module("pyamg")
    constant = np.load(folder / "root_diagonal.npy")
    near_null = np.zeros((len(constant), vectors))
    for number, block in enumerate(_blocks(folder)):
        near_null[block, number % vectors] = constant[block]
    smoother = smoother or ("chebyshev", {"degree": 3})
    levels = 12
    hierarchy = pyamg.smoothed_aggregation_solver(
        A,
        B=near_null,
        symmetry="symmetric",
        strength=[("symmetric", {"theta": theta / 2**level}) for level in range(levels)],
        smooth=smooth,
        presmoother=smoother,
        postsmoother=smoother,
        max_levels=levels,
        max_coarse=500,
        coarse_solver="splu",
    )
    return _conjugate_gradients(A, hierarchy.aspreconditioner())


def _petsc() -> Any:
    try:
        petsc4py = importlib.import_module("petsc4py")
    except ModuleNotFoundError:
        # Debian's package is found through a link of update-alternatives, which containers may lack.
        found = sorted(glob.glob("/usr/lib/petscdir/*/*-real/lib/python3/dist-packages"))
        if not found:
            raise
        sys.path.append(found[-1])
        petsc4py = importlib.import_module("petsc4py")
    petsc4py.init([])
    return importlib.import_module("petsc4py.PETSc")


class Hypre:
    """PETSc's conjugate gradients with BoomerAMG on each field, or on the coupled matrix."""

    COMMON: ClassVar[dict[str, Any]] = {
        "coarsen_type": "HMIS",
        "interp_type": "ext+i",
        "relax_type_all": "Chebyshev",
    }

    def __init__(self, part: Sequence[np.ndarray], folder: Path, coupled: bool = False, **boomeramg: Any) -> None:
        PETSc = _petsc()
        rank = PETSc.COMM_WORLD.rank
        sizes = np.load(folder / "sizes.npy")
        ends = np.append(0, np.cumsum(sizes.sum(axis=1)))
        self.rows = (int(ends[rank]), int(ends[rank + 1]))
        data, indices, indptr = part
        own = self.rows[1] - self.rows[0]
        A = PETSc.Mat().createAIJ(((own, int(ends[-1])),) * 2, csr=(indptr, indices, data))
        options = PETSc.Options()
        prefixes = [""] if coupled else [f"fieldsplit_{name}_" for name in ("charge", "spin", "heat")]
        for prefix in prefixes:
            options[f"{prefix}pc_type"] = "hypre"
            if not coupled:
                options[f"{prefix}ksp_type"] = "preonly"
            for name, value in (self.COMMON | boomeramg).items():
                options[f"{prefix}pc_hypre_boomeramg_{name}"] = value
        self.ksp = PETSc.KSP().create()
        self.ksp.setOperators(A)
        self.ksp.setType("cg")
        self.ksp.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
        if not coupled:
            pc = self.ksp.getPC()
            pc.setType("fieldsplit")
            pc.setFieldSplitType(PETSc.PC.CompositeType.ADDITIVE)
            start = self.rows[0] + np.append(0, np.cumsum(sizes[rank]))
            fields = [PETSc.IS().createStride(int(n), int(at), 1) for n, at in zip(sizes[rank], start, strict=False)]
            pc.setFieldSplitIS(*zip(("charge", "spin", "heat"), fields, strict=True))
        self.ksp.setFromOptions()
        self.ksp.setUp()
        if not coupled:
            for block in self.ksp.getPC().getFieldSplitSubKSP():
                block.setUp()
        self.x, self.b = A.createVecs()

    def __call__(self, b: np.ndarray, bounds: Sequence[float]) -> tuple[np.ndarray, list[int]]:
        """Solves; the rows of this process only."""
        columns, iterations = [], []
        for column, bound in zip(b.T, bounds, strict=True):
            self.ksp.setTolerances(rtol=bound, atol=0.0, max_it=MAX_STEPS)
            self.b.setArray(column[slice(*self.rows)])
            self.ksp.solve(self.b, self.x)
            columns.append(self.x.getArray().copy())
            iterations.append(int(self.ksp.getIterationNumber()))
        return np.stack(columns, axis=1), iterations


SOLVERS: dict[str, Callable[..., Solve]] = {
    "pardiso": pardiso,
    "superlu": superlu,
    "hypre": Hypre,
    "ruge": ruge,
    "aggregation": aggregation,
    "jacobi": jacobi,
}


def memory(key: str) -> float:
    """Memory of this process [MiB]: VmRSS now, VmHWM at most so far.

    Not `getrusage`: there, a process that was started by a large one inherits its peak.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(float(line.split()[1]) for line in status.splitlines() if line.startswith(key)) / 1024


def _rows(folder: Path, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Entries, columns and starts of the rows that belong to this process of an MPI run."""
    ends = np.append(0, np.cumsum(np.load(folder / "sizes.npy").sum(axis=1)))
    data, indices, indptr = (np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("data", "indices", "indptr"))
    starts = np.array(indptr[ends[rank] : ends[rank + 1] + 1])
    entries = slice(int(starts[0]), int(starts[-1]))
    return np.array(data[entries]), np.array(indices[entries]), (starts - starts[0]).astype(indices.dtype)


def serve(address: str, solver: str, setting: str, gib: float) -> None:
    """Answers ("setup", folder) and ("solve", bounds, columns) until the connection ends."""
    rank, version = 0, ""
    if solver == "hypre":
        PETSc = _petsc()
        rank, version = PETSc.COMM_WORLD.rank, "PETSc {}.{}.{}".format(*PETSc.Sys.getVersion())
    limit = int(gib * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))  # a clean error rather than a machine that hangs
    pipe = socket.socket(socket.AF_UNIX)
    pipe.connect(address)
    connection = Connection(pipe.detach())
    connection.send((rank, version))
    solve: Solve | None = None
    rows, held = (0, 0), 0.0
    while True:
        try:
            message = connection.recv()
        except EOFError:
            return
        try:
            if message[0] == "setup":
                solve = None  # one factorization at a time
                folder = Path(message[1])
                A = _rows(folder, rank) if solver == "hypre" else _matrix(folder)
                held = memory("VmRSS")
                began = time.perf_counter()
                solve = SOLVERS[solver](A, folder, **SETTINGS[solver][setting])
                seconds = time.perf_counter() - began
                rows = getattr(solve, "rows", (0, int(np.load(folder / "sizes.npy").sum())))
                connection.send(("done", seconds, rows, memory("VmHWM") - held))
            else:
                _, bounds, columns = message
                b = np.frombuffer(connection.recv_bytes()).reshape(-1, columns)
                assert solve is not None
                began = time.perf_counter()
                x, iterations = solve(b, bounds)
                seconds = time.perf_counter() - began
                connection.send(("done", seconds, iterations, memory("VmHWM") - held))
                connection.send_bytes(np.ascontiguousarray(x).tobytes())
        except Exception as error:  # whatever a library raises is a result of the comparison
            connection.send(("failed", f"{type(error).__name__}: {error}"))
            return


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
