"""thermospin's solver against other solvers of the same linear systems on the same processor cores.

    python benchmarks/cpu_solvers.py [--unknowns N ...] [--order 1 2] [--solvers NAME ...] [--quick] [--trial]
                                     [--json FILE] [--time-limit SECONDS] [--memory GIB] [--petsc-python PYTHON]

Needs scipy, pypardiso and pyamg; PETSc with hypre runs under the Python that has petsc4py, on as many MPI processes as
there are cores (Debian: apt-get install python3-petsc4py). What is missing is left out, and said so. All times in s.

Linear systems: the device's first experiment in its first state. Every solver is to reach a true relative residual of
1e-10 in the norm |D^-1/2 r|, D the diagonal of the assembled matrix, and is called again on what is left until it does.
Right-hand sides come in the pairs in which the ladder of harmonics has them: "first" is the pair of drive and probe,
"each" half of the time for the pair that follows (Joule heat and its adjoint). Set-up is the factorization or the
multigrid hierarchy; for thermospin it is its whole discrete problem, segments and ports of all experiments included.
Memory is the peak above the program and the matrix; for thermospin, which has no matrix, above the program.

The job: R1 and R2 of both experiments in all states, everything included but the start of programs, and compilation
where the row does not say otherwise. The other solvers are injected into thermospin's ladder; they pay for the assembly
of their matrices and set up once for each ground contact and magnetic state.

Settings of the other solvers are those that were fastest in a trial, `--trial`; rivals.py lists all that were tried.
scipy and pyamg (superlu, ruge, aggregation, jacobi) use one core, whatever there is.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import rivals
from assembled import Linear, assemble, verify

from thermospin.base import compilation
from thermospin.geometry import grid_rule
from thermospin.inference.predictors import RESIDUAL

jax.config.update("jax_enable_x64", True)

from thermospin import inverse, model, operators, solve
from thermospin.data import rows as data
from thermospin.device import parts, reader
from thermospin.signals import evaluate as signals
from thermospin.signals import functional
from thermospin.signals.ladders import Solve, solve_ladders
from thermospin.signals.results import nested

DEVICE = "slachter2010"
TOLERANCE = 1e-10
#: Of the signals against thermospin's.
AGREEMENT = 1e-6
#: Calls of a solver on what is left of a residual.
MAX_CALLS = 8
#: What the largest case is left out by, a matrix and its copies and thermospin beside it [bytes per unknown].
BYTES_PER_UNKNOWN = 3000
PACKAGES = ("thermospin", "jax", "numpy", "scipy", "pypardiso", "mkl", "pyamg")


@dataclasses.dataclass(frozen=True)
class Case:
    """What one process works on.

    Attributes:
      solver, setting: "thermospin" and "", or what rivals.py lists.
      order: polynomial order.
      unknowns: about how many.
      coarseness: of the grid; 0: to be found from `unknowns`.
      folder: for files; right-hand sides are there once thermospin has run.
      signals: whether the job is wanted too.
      memory: bound on a rival's memory [GiB].
      petsc_python: interpreter with petsc4py.
    """

    solver: str
    setting: str
    order: int
    unknowns: int
    coarseness: float
    folder: str
    signals: bool
    memory: float
    petsc_python: str

    def problem(self) -> model.Model:
        """The model of the case."""
        loaded = reader.load(DEVICE)
        return model.on_grid(loaded, grid_rule.at_coarseness(loaded.features, self.order, self.coarseness))


class Failed(RuntimeError):
    """A solver that did not deliver; the message is what the table shows."""


class Missing(Failed):
    """A solver that is not installed."""


# ------------------------------------------------------------------------------------------- rivals


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


class Remote:
    """A rival in processes of its own: one, or as many as there are cores where it runs under MPI."""

    def __init__(self, case: Case) -> None:
        self.parts = 1
        command = [sys.executable]
        threads = cores()
        if case.solver == "hypre":
            if not shutil.which(case.petsc_python):
                raise Missing(f"no interpreter {case.petsc_python}")
            command = [case.petsc_python]
            if shutil.which("mpirun"):
                self.parts, threads = cores(), 1
                command = ["mpirun", "-n", str(self.parts), *command]
        address = str(Path(case.folder) / "socket")
        Path(address).unlink(missing_ok=True)
        command += [str(Path(__file__).with_name("rivals.py")), address, case.solver, case.setting, str(case.memory)]
        counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        counts["OPENBLAS_NUM_THREADS"] = "1"  # scalar products alone, which threads slow down on a busy machine
        # Names that start with OMPI are read by Open MPI alone: run in a container, and share cores with others.
        counts |= dict.fromkeys(("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"), "1")
        counts |= {"OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_hwloc_base_binding_policy": "none"}
        self.log = Path(case.folder) / "log"
        with socket.socket(socket.AF_UNIX) as waiting, self.log.open("w") as log:
            waiting.bind(address)
            waiting.listen()
            waiting.settimeout(1.0)
            self.process = subprocess.Popen(command, env=os.environ | counts, stdout=log, stderr=log)
            found: dict[int, Connection] = {}
            while len(found) < self.parts:
                with contextlib.suppress(TimeoutError):
                    connection = Connection(waiting.accept()[0].detach())
                    rank, self.version = connection.recv()
                    found[rank] = connection
                if self.process.poll() is not None:
                    self._gone()
        self.connections = [found[rank] for rank in range(self.parts)]
        self.rows: list[tuple[int, int]] = []

    def _gone(self) -> None:
        code = self.process.wait()
        lines = [line for line in self.log.read_text().splitlines() if "Error" in line] or ["no message"]
        self._fail(f"ended with signal {-code}, out of memory?" if code < 0 else lines[-1])

    def _fail(self, message: str) -> None:
        raise (Missing if "ModuleNotFoundError" in message else Failed)(message)

    def _ask(self, message: tuple[Any, ...], payload: bytes | None = None) -> list[Any]:
        answers = []
        try:
            for connection in self.connections:
                connection.send(message)
                if payload is not None:
                    connection.send_bytes(payload)
            for connection in self.connections:
                answers.append(connection.recv())
                if answers[-1][0] == "failed":
                    self._fail(answers[-1][1])
        except (EOFError, ConnectionError):
            self._gone()
        return answers

    def setup(self, folder: Path) -> tuple[float, float]:
        """Hands over a matrix; time [s] and memory [MiB]."""
        answers = self._ask(("setup", str(folder)))
        self.rows = [rows for _, _, rows, _ in answers]
        return max(seconds for _, seconds, _, _ in answers), sum(peak for *_, peak in answers)

    def solve(self, b: np.ndarray, bounds: Sequence[float]) -> tuple[np.ndarray, float, list[int], float]:
        """Solution, time [s], iterations of each column, memory [MiB]."""
        answers = self._ask(("solve", [float(e) for e in bounds], b.shape[1]), np.ascontiguousarray(b).tobytes())
        x = np.concatenate([np.frombuffer(each.recv_bytes()).reshape(-1, b.shape[1]) for each in self.connections])
        return x, max(each[1] for each in answers), answers[0][2], sum(each[3] for each in answers)

    def close(self) -> None:
        """Ends it."""
        for connection in self.connections:
            connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()


class Rival:
    """Solves by a rival for `ladders.solve_ladders`; counts its time without the way between processes."""

    def __init__(self, case: Case) -> None:
        self.case, self.remote = case, Remote(case)
        self.met: tuple[Any, Any] | None = None
        self.seconds = {"assembly": 0.0, "setup": 0.0, "solves": 0.0}
        self.setups, self.columns, self.away, self.memory = 0, 0, 0.0, 0.0

    def prepare(self, system: solve.System, law: operators.Coefficients) -> None:
        """Sets up for a ground contact and a magnetic state, if it is not the one before."""
        if self.met is not None and self.met[0] is system and self.met[1] is law:
            return
        self.met = (system, law)
        began = time.perf_counter()
        self.linear = Linear(system.disc, law, np.asarray(system.free))
        scaled, self.M, root, sizes = self.linear.scaled(self.remote.parts)
        self.seconds["assembly"] += time.perf_counter() - began
        folder = Path(self.case.folder) / "matrix"
        folder.mkdir(exist_ok=True)
        given = {"data": scaled.data, "indices": scaled.indices, "indptr": scaled.indptr}
        given |= {"sizes": sizes, "root_diagonal": root}
        for name, array in given.items():
            np.save(folder / f"{name}.npy", array)
        seconds, self.memory = self.remote.setup(folder)
        self.seconds["setup"] += seconds
        self.setups += 1

    def __call__(self, *arguments: Any) -> jax.Array:
        """The fields for some right-hand sides; the arguments are those of `ladders.Solve`."""
        system, law, b, _ = arguments[-4:]
        began = time.perf_counter()
        self.prepare(system, law)
        x, seconds, _, _ = self.run(np.asarray(b))
        self.seconds["solves"] += seconds
        self.columns += b.shape[1]
        self.away += time.perf_counter() - began
        return jnp.asarray(x)

    def run(self, b: np.ndarray) -> tuple[np.ndarray, float, int, float]:
        """Fields, time [s], iterations of the worst column, and the largest residual."""
        linear, seconds = self.linear, 0.0
        rest = b[linear.free]
        x, size = np.zeros_like(rest), linear.norm(rest)
        iterations = np.zeros(b.shape[1], int)
        for _ in range(MAX_CALLS):
            residual = linear.norm(rest) / size
            todo = np.flatnonzero(~(residual <= TOLERANCE))
            if not len(todo):
                break
            bounds = 0.8 * TOLERANCE / residual[todo]  # the rival's norm may differ from ours by that
            step, spent, counts, self.memory = self.remote.solve(self.M.T @ rest[:, todo], bounds)
            began = time.perf_counter()
            x[:, todo] += self.M @ step
            rest = b[linear.free] - linear.A @ x
            seconds += spent + time.perf_counter() - began
            iterations[todo] += counts
        if not residual.max() <= TOLERANCE:
            raise Failed(f"does not get below a residual of {residual.max():.1e}")
        out = np.zeros(b.shape)
        out[linear.free] = x
        return out, seconds, int(iterations.max()), float(residual.max())


def run_rival(case: Case) -> Iterator[dict[str, Any]]:
    """Table rows of a rival."""
    problem = case.problem()
    parameters = {name: jnp.asarray(value) for name, value in problem.parameters.items()}
    thermal = next(iter(problem.device.experiments.values()))

    def whole(run: Solve) -> dict[str, Any]:
        found = {}
        for of_experiment in problem.problems.values():
            ladders = solve_ladders(of_experiment, parameters, 1, run)
            rows = np.asarray(functional.values(of_experiment, parameters, ladders, 2))
            readings = functional.readings(of_experiment.experiment, rows, 2)
            found |= {name: float(value) for name, value in readings.items()}
        return nested(found)

    rival = Rival(case)
    try:
        system, law = problem.systems[thermal.current[1]], _law(problem, thermal)
        rival.prepare(system, law)
        verify(problem.disc, law, assemble(problem.disc, law))
        sides = np.load(Path(case.folder) / "sides.npy")
        _, first, iterations, residual = rival.run(sides[:, :2])
        _, further, more, other = rival.run(sides[:, 2:])
        yield {
            "kind": "linear",
            "version": rival.remote.version,
            "setup": rival.seconds["setup"],
            "first": first,
            "each": further / 2,
            "iterations": max(iterations, more),
            "residual": max(residual, other),
            "memory": rival.memory,
        }
        if case.signals:
            whole(lambda *arguments: arguments[-2])  # compiles all but the solver
            rival.met, rival.setups, rival.seconds = None, 0, dict.fromkeys(rival.seconds, 0.0)
            began = time.perf_counter()
            found = whole(rival)
            rest = time.perf_counter() - began - rival.away
            parts = rival.seconds | {"rest": rest}
            yield {"kind": "job", "total": sum(parts.values()), **parts, "setups": rival.setups, "signals": found}
    finally:
        rival.remote.close()


def _law(problem: model.Model, experiment: parts.Experiment) -> operators.Coefficients:
    table = problem.constitution.table(problem.parameters, next(iter(experiment.states.values())))
    return operators.coefficients(problem.disc, table, problem.device.bath)


# ------------------------------------------------------------------------------------------- thermospin


def find_coarseness(order: int, unknowns: int) -> float:
    """Of the grid whose number of unknowns is closest."""
    loaded = reader.load(DEVICE)
    metals = [loaded.materials[material].is_metal for material, _ in loaded.domains]
    low, high, best = np.log(0.05), np.log(50.0), (np.inf, 0.0)
    for _ in range(18):
        middle = (low + high) / 2
        off = np.log(grid_rule.at_coarseness(loaded.features, order, float(np.exp(middle))).unknowns(metals) / unknowns)
        best = min(best, (abs(off), middle))
        low, high = (middle, high) if off > 0 else (low, middle)
    return float(np.exp(best[1]))


def run_thermospin(case: Case) -> Iterator[dict[str, Any]]:
    """Table rows of thermospin, with the fit; leaves the right-hand sides for the others."""
    case = dataclasses.replace(case, coarseness=case.coarseness or find_coarseness(case.order, case.unknowns))
    before = rivals.memory("VmRSS")
    setup: list[float] = []
    problem: Any = None
    for _ in range(2):
        problem = None  # not two at a time
        seconds, problem = _timed(case.problem)
        setup.append(seconds)
    yield {"kind": "case", "coarseness": case.coarseness, "unknowns": problem.unknowns, "cells": problem.cells}
    thermal = next(iter(problem.device.experiments.values()))
    system, law = problem.systems[thermal.current[1]], _law(problem, thermal)
    plus, minus = (problem.ports[name] for name in thermal.voltage)
    pair = jnp.stack([problem.ports[thermal.current[0]], plus - minus], axis=1)

    def solved(b: jax.Array, tolerance: float) -> tuple[jax.Array, solve.Stats]:
        x, stats = solve.solve(system, law, b, tolerance=tolerance, max_steps=10_000)
        return x.block_until_ready(), stats

    compiled, (x, _) = _timed(lambda: solved(pair, TOLERANCE))
    u, l = x[:, :1], x[:, 1:]  # noqa: E741  the name of the theory page
    heat, back = operators.joule(problem.disc, law, u, u), operators.joule_transposed(problem.disc, law, l, u)
    pairs = [pair, problem.parameters["zeta"] * jnp.concatenate([heat, 2 * back], axis=1)]
    np.save(Path(case.folder) / "sides.npy", np.concatenate(pairs, axis=1))
    tolerance, linear = TOLERANCE, None
    for _ in range(MAX_CALLS):  # its own norm may differ
        (again, (x, one)), (further, (y, two)) = (_timed(lambda b=b, bound=tolerance: solved(b, bound)) for b in pairs)
        if linear is None:
            memory = rivals.memory("VmHWM") - before
            linear = Linear(problem.disc, law, np.asarray(system.free))
        residual = max(linear.residual(*map(np.asarray, each)) for each in zip((x, y), pairs, strict=True))
        if residual <= TOLERANCE:
            break
        tolerance *= 0.8 * TOLERANCE / residual
    else:
        raise Failed(f"does not get below a residual of {residual:.1e}")
    del linear
    yield {
        "kind": "linear",
        "setup": setup[1],
        "setup_compiled": setup[0],
        "first": again,
        "first_compiled": compiled,
        "each": further / 2,
        "iterations": int(max(one.iterations.max(), two.iterations.max())),
        "residual": residual,
        "memory": memory,
    }
    if not case.signals:
        return
    compilation.forget()
    cold, warm = (signals.measure(problem, tolerance=tolerance, max_steps=10_000) for _ in range(2))
    yield {
        "kind": "job",
        "total": setup[1] + warm.wall_s,
        "total_compiled": setup[0] + cold.wall_s,
        "assembly": 0.0,
        "setup": setup[1],
        "solves": warm.wall_s,
        "rest": 0.0,
        "signals": dict(warm.experiments),
    }
    rows = data.load(DEVICE, problem.device)
    for kind in ("fit", "fit again"):
        stages: list[str] = []
        seconds, result = _timed(lambda told=stages: inverse.fit(problem, rows, progress=told.append))
        stages = [line.partition(",")[0] for line in stages if line.startswith("stage ")]
        here = sum(stage == stages[-1] for stage in stages)
        yield {"kind": kind, "seconds": seconds, "evaluations": here, "converged": result.converged}


def _timed(run: Any) -> tuple[float, Any]:
    began = time.perf_counter()
    out = run()
    return time.perf_counter() - began, out


# ------------------------------------------------------------------------------------------- tables


def in_process(case: Case, limit: float) -> tuple[list[dict[str, Any]], str]:
    """What a case yields in a process of its own, and how it ended badly, if it did."""
    records = Path(case.folder) / "records"
    records.write_text("")
    command = [sys.executable, __file__, "--case", json.dumps(dataclasses.asdict(case))]
    with (Path(case.folder) / "stderr").open("w+") as errors:
        process = subprocess.Popen(command, stdout=errors, stderr=errors, start_new_session=True)
        try:
            process.wait(limit)
            fault = f"ended with signal {-process.returncode}" if process.returncode < 0 else ""
            errors.seek(0)
            if process.returncode > 0:
                fault = (errors.read().strip().splitlines() or ["no message"])[-1]
        except subprocess.TimeoutExpired:
            fault = f"timed out, {limit:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    found = [json.loads(line) for line in records.read_text().splitlines()]
    faults = [each["text"] for each in found if each["kind"] == "failed"]
    return [each for each in found if each["kind"] != "failed"], (faults or [fault])[0]


def work(case: Case) -> None:
    """What the process of a case does."""
    with (Path(case.folder) / "records").open("a") as records:
        try:
            for record in (run_thermospin if case.solver == "thermospin" else run_rival)(case):
                print(json.dumps(record), file=records, flush=True)
        except Failed as error:
            text = f"{'skipped' if isinstance(error, Missing) else 'failed'}: {error}"
            print(json.dumps({"kind": "failed", "text": text}), file=records, flush=True)


def deviation(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> float:
    """The largest relative difference between two sets of signals."""
    pairs = [
        (value, wanted[name][harmonic][part])
        for name, harmonics in found.items()
        for harmonic, parts in harmonics.items()
        for part, value in parts.items()
    ]
    return max(abs(a - b) / abs(b) for a, b in pairs)


def available_gib() -> float:
    """Memory that is free [GiB]."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 2**20


def compare(order: int, unknowns: int, chosen: Sequence[tuple[str, str]], options: Any) -> list[dict[str, Any]]:
    """Runs one case with all solvers and prints its two tables."""
    out = []
    with tempfile.TemporaryDirectory() as folder:
        case = Case(
            "thermospin", "", order, unknowns, 0.0, folder, not options.trial, options.memory, options.petsc_python
        )
        for solver, setting in (("thermospin", ""), *chosen):
            case = dataclasses.replace(case, solver=solver, setting=setting)
            found, fault = in_process(case, options.time_limit)
            by_kind = {each["kind"]: each for each in found}
            if "case" in by_kind:
                case = dataclasses.replace(case, coarseness=by_kind["case"]["coarseness"])
                unknowns = by_kind["case"]["unknowns"]
                print(f"\np = {order}, {unknowns} unknowns, coarseness {case.coarseness:.3g}")
                print(f"{'solver':26} {'set-up':>8} {'first':>8} {'each':>8} {'its':>6} {'residual':>9} {'MiB':>7}")
            name = f"{solver} {setting}".strip()
            if "linear" in by_kind:
                row = by_kind["linear"]
                print(
                    f"{name:26} {row['setup']:8.2f} {row['first']:8.2f} {row['each']:8.3f} {row['iterations']:6} "
                    f"{row['residual']:9.1e} {row['memory']:7.0f}"
                )
                if "first_compiled" in row:
                    print(f"{'  with compilation':26} {row['setup_compiled']:8.2f} {row['first_compiled']:8.2f}")
            if fault:
                print(f"{name:26} {fault}")
            sys.stdout.flush()
            out.append({"solver": solver, "setting": setting, "order": order, "unknowns": unknowns, "fault": fault})
            out[-1] |= by_kind
            if solver == "thermospin" and "linear" not in by_kind:
                return out
    if not options.trial:
        _print_jobs(out)
    return out


def _print_jobs(runs: Sequence[dict[str, Any]]) -> None:
    own, fit = runs[0].get("job"), runs[0].get("fit again")
    print(
        f"\n{'all signals':26} {'assembly':>8} {'set-ups':>8} {'solves':>8} {'total':>8} {'/ ours':>7} {'off by':>8} "
        f"{'fit':>10}"
    )
    for run in runs:
        if "job" not in run:
            continue
        job = run["job"]
        run["off"] = off = deviation(job["signals"], own["signals"]) if own else float("nan")
        ratio = job["total"] / own["total"] if own else float("nan")
        cost = f"{fit['evaluations'] * job['total']:9.0f}*" if fit else ""
        if run["solver"] == "thermospin":
            cost = f"{fit['seconds']:10.1f}" if fit else ""
        print(
            f"{run['solver']:26} {job['assembly']:8.2f} {job['setup']:8.2f} {job['solves'] + job['rest']:8.2f} "
            f"{job['total']:8.2f} {ratio:7.2f} {off:8.1e} {cost}"
            f"{'  SIGNALS DIFFER' if off > AGREEMENT else ''}"
        )
        if "total_compiled" in job:
            compiled = f"{run['fit']['seconds']:27.1f}" if "fit" in run else ""
            print(f"{'  with compilation':26} {'':26} {job['total_compiled']:8.2f} {compiled}")
    if fit:
        print(
            f"* estimate: {fit['evaluations']} evaluations on this grid times the job. Jacobians would cost more, "
            f"starts from the\n  last fields and the tolerance of a fit ({RESIDUAL:g}) less; "
            f"thermospin's is measured, with all of these"
        )


def print_scaling(runs: Sequence[dict[str, Any]]) -> None:
    """Exponents of the time of the job in the number of unknowns."""
    print("\nall signals, time ~ unknowns^k:")
    for order, solver in dict.fromkeys((run["order"], run["solver"]) for run in runs):
        points = [
            (run["unknowns"], run["job"]["total"])
            for run in runs
            if (run["order"], run["solver"]) == (order, solver) and "job" in run
        ]
        if len(points) > 1:
            x, y = np.log(np.array(points)).T
            print(f"p = {order}, {solver:12} k = {np.polyfit(x, y, 1)[0]:.2f} from {len(points)} sizes")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unknowns", type=float, nargs="+", default=[1e5, 4e5, 1e6, 4e6])
    parser.add_argument("--order", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--solvers", nargs="+", choices=list(rivals.SOLVERS), default=list(rivals.SOLVERS))
    parser.add_argument("--quick", action="store_true", help="30,000 and 60,000 unknowns")
    parser.add_argument("--trial", action="store_true", help="all settings of the solvers, linear systems only")
    parser.add_argument("--json")
    parser.add_argument("--time-limit", type=float, default=900.0, help="for a solver and a case, all included")
    parser.add_argument("--memory", type=float, help="bound for a solver [GiB]; default: 85 %% of what is free")
    parser.add_argument("--petsc-python", default="/usr/bin/python3")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        work(Case(**json.loads(options.case)))
        return
    # Processes that were started are ended in a `finally`, which the default answer to this signal would skip.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    options.memory = options.memory or 0.85 * available_gib()
    about = {"date": datetime.date.today().isoformat(), "cores": cores(), "versions": _versions(), "device": DEVICE}
    print(f"{about['date']}, {platform.machine()}, {cores()} cores, {DEVICE}")
    print(", ".join(f"{name} {version}" for name, version in _versions().items()))
    chosen = [
        (name, setting)
        for name in options.solvers
        for setting in list(rivals.SETTINGS[name])[: None if options.trial else 1]
    ]
    runs: list[dict[str, Any]] = []
    for order in options.order:
        for unknowns in [3e4, 6e4] if options.quick else options.unknowns:
            needed = unknowns * BYTES_PER_UNKNOWN / 2**30
            if needed > available_gib():
                print(f"\np = {order}, {unknowns:.3g} unknowns: left out, needs about {needed:.0f} GiB of memory")
                continue
            runs += compare(order, int(unknowns), chosen, options)
            if options.json:
                Path(options.json).write_text(json.dumps(about | {"runs": runs}, indent=1))
    print_scaling(runs)


if __name__ == "__main__":
    main()
