"""Time of a whole run at equal accuracy of R2.spin: thermospin against a general finite-element package, scikit-fem.

    python benchmarks/finite_elements.py [--thermospin 2:6 2:4 3:6 ...] [--skfem hex2:6 s2:4 hex1:2 ...]
        [--limit UNKNOWNS] [--reference VALUE] [--targets 10 5 3] [--json FILE]

Runs are written ORDER:COARSENESS and ELEMENT:COARSENESS. Elements are hex1, hex2 and s2 (serendipity, 20 nodes) with
Gauss's quadrature, exact for their matrices, and lobatto1 and lobatto2: hex1 and hex2 with thermospin's own quadrature,
which give thermospin's numbers of the same order and coarseness to all printed digits, so that both solve one problem.
Both packages solve the device slachter2010 with both experiments, P and AP, R1 and R2, each run in a process of its
own. Needs `pip install scikit-fem pypardiso`; without pypardiso the far slower SuperLU of scipy takes its place.

What the rival does, chosen in its favour wherever there was a choice:
- The lines of its mesh are thermospin's graded ones, so nobody has to draw and grade a mesh; void cells are taken out.
- Matrices are integrated once per domain; those of both states are sums of them. The heat row is divided by T0, so
  that A is symmetric positive definite and PARDISO does a Cholesky factorisation on one triangle: half the work of
  its default. Each pair of ground and state is one factorisation and two solves, and R2.spin a plain difference.
- Conjugate gradients with pyamg lost: with classical AMG on V_up, V_down and T a residual of 1e-6 was left after 150
  iterations at 113,000 unknowns (hex2), in twice the time of the factorisation; smoothed aggregation was slower still.
- A tensor mesh carries fine lines through the whole device. A mesher of tetrahedra does not, but puts its elements
  without knowing their cost; that is another comparison, not made here.

Times leave out Python imports; "first" includes the compilation of a first run in a process, "again" is a second one,
model and all, and "cpu" is the same summed over threads, the steadier number on a busy machine. Time at a target is
interpolated on log-log axes between the last run that misses the target and the next one of the same element; the best
element counts. "<": the coarsest run meets the target already.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from thermospin import grid
from thermospin.base import files, lines, quadrature
from thermospin.device import reader
from thermospin.device.device import Device
from thermospin.geometry import grid_rule
from thermospin.geometry.boxes import Face

Row = dict[str, Any]
Solve = Callable[[np.ndarray], np.ndarray]

DEVICE = "slachter2010"
RUNS = {
    "thermospin": "1:2 1:1 1:0.7 2:8 2:6 2:4 2:3 2:1.5 3:8 3:6 3:4 3:2.5".split(),
    "skfem": (
        "hex1:3 hex1:2 hex1:1.5 hex1:1 hex1:0.7 hex2:8 hex2:6 hex2:4 hex2:3 hex2:2 s2:8 s2:6 s2:4 s2:3 s2:2 s2:1.5 "
        "lobatto1:2 lobatto2:8"
    ).split(),
}
#: p = 3 on 1.93 million unknowns, benchmarks/README.md; itself right to about 2 %.
REFERENCE = -1.8007e-2
#: Class in scikit-fem, order, whether with Gauss-Lobatto quadrature.
ELEMENTS = {
    "hex1": ("ElementHex1", 1, False),
    "hex2": ("ElementHex2", 2, False),
    "s2": ("ElementHexS2", 2, False),
    "lobatto1": ("ElementHex1", 1, True),
    "lobatto2": ("ElementHex2", 2, True),
}
SIGNALS = {
    "R1_b": ("thermal", "R1", "baseline"),
    "R2_b": ("thermal", "R2", "baseline"),
    "R2_s": ("thermal", "R2", "spin"),
    "NLSV": ("electrical", "R1", "spin"),
}


CLOCKS = (("thermospin", "again"), ("thermospin", "first"), ("skfem", "again"), ("thermospin", "cpu"), ("skfem", "cpu"))
#: Which of them are compared.
RATIOS = ((2, 0), (2, 1), (4, 3))


class TooLarge(Exception):
    """A run with more unknowns than allowed."""


# ------------------------------------------------------------------------------------------- thermospin


def run_thermospin(order: str, coarseness: float, limit: int) -> Row:
    """One row of the table: a first run with compilation, and a second one from the device on."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from thermospin import model
    from thermospin.signals import evaluate

    loaded = reader.load(DEVICE)
    made = grid_rule.at_coarseness(loaded.features, int(order), coarseness)
    unknowns = made.unknowns([loaded.materials[material].is_metal for material, _ in loaded.domains])
    if unknowns > limit:
        raise TooLarge(f"{unknowns} unknowns")
    walls: list[float] = []
    for _ in range(2):
        began, cpu = time.perf_counter(), time.process_time()
        made = grid_rule.at_coarseness(loaded.features, int(order), coarseness)
        found = evaluate.measure(model.on_grid(loaded, made))
        walls.append(time.perf_counter() - began)
    return row(made.cells, unknowns, walls, time.process_time() - cpu, found.experiments) | {"solver": "own"}


# ------------------------------------------------------------------------------------------- scikit-fem


def factorised(matrix: Any) -> tuple[str, Solve, Callable[[], None]]:
    """Which solver, A^-1 b, and what gives its memory back."""
    import scipy.sparse as sparse

    try:
        import pypardiso  # type: ignore
    except ImportError:
        lu = sparse.linalg.splu(matrix.tocsc(), "MMD_AT_PLUS_A", diag_pivot_thresh=0, options={"SymmetricMode": True})
        return "superlu", lu.solve, lambda: None
    upper, solver = sparse.triu(matrix, format="csr"), pypardiso.PyPardisoSolver(mtype=2)
    solver.factorize(upper)
    return "pardiso", lambda b: solver.solve(upper, b), lambda: solver.free_memory(everything=True)


def law(loaded: Device, signs: Mapping[str, int]) -> list[dict[str, float]]:
    """Constitutive coefficients of every domain, zero where there is no charge (docs/theory.md)."""
    out = []
    for name, magnet in loaded.domains:
        m, sign = loaded.materials[name], signs.get(magnet or "", 1)
        if not m.is_metal:
            out.append({"heat": m.kappa / loaded.bath})
            continue
        P, S_s = sign * m.P, sign * m.S_s
        up, down, S_up, S_down = (1 + P) / 2, (1 - P) / 2, m.S + (1 - P) / 2 * S_s, m.S - (1 + P) / 2 * S_s
        relaxation = (1 - P * P) * m.sigma / (4 * m.lambda_sf**2)
        each = {"up": m.sigma * up, "down": m.sigma * down, "S_up": S_up, "S_down": S_down, "relaxation": relaxation}
        mixed = {"heat": m.kappa / loaded.bath, "up_T": m.sigma * up * S_up, "down_T": m.sigma * down * S_down}
        out.append(each | mixed)
    return out


def run_skfem(element: str, coarseness: float, limit: int) -> Row:
    """One row of the table."""
    import scipy.sparse as sparse
    import skfem  # type: ignore
    from skfem.helpers import dot, grad  # type: ignore

    kind, order, lobatto = ELEMENTS[element]

    def rule(degree: int, axes: int) -> dict[str, Any]:
        """Quadrature on cells (3 axes) or facets (2)."""
        if not lobatto:
            return {"intorder": degree}
        x, w, _ = quadrature.gauss_lobatto(order)
        points, weights = np.meshgrid(*[(x + 1) / 2] * axes), np.meshgrid(*[w / 2] * axes)
        return {"quadrature": (np.reshape(points, (axes, -1)), np.prod(weights, axis=0).ravel())}

    stiffness = skfem.BilinearForm(lambda u, v, _: dot(grad(u), grad(v)))
    mass = skfem.BilinearForm(lambda u, v, _: u * v)
    area = skfem.LinearForm(lambda v, _: v)
    joule = skfem.LinearForm(lambda v, w: v * w["c"] * dot(grad(w["drive"]), grad(w["drive"])))
    loaded = reader.load(DEVICE)
    factorised(sparse.eye(2, format="csr"))[2]()  # finds and loads MKL, which counts as an import

    began, cpu = time.perf_counter(), time.process_time()
    lines = grid_rule.at_coarseness(loaded.features, 1, coarseness)
    mesh = skfem.MeshHex.init_tensor(*lines.lines)
    mesh = mesh.restrict(np.flatnonzero(domain_of(mesh, lines) >= 0))
    domain = domain_of(mesh, lines)
    bases: list[Any] = []
    for k in range(len(loaded.domains)):
        shared = {"dofs": bases[0].dofs, "disable_doflocs": True} if bases else {}
        own = np.flatnonzero(domain == k)
        bases.append(skfem.Basis(mesh, getattr(skfem, kind)(), elements=own, **rule(2 * order, 3), **shared))
    conducting = [k for k, (name, _) in enumerate(loaded.domains) if loaded.materials[name].is_metal]
    metal = np.unique(np.concatenate([bases[k].element_dofs.ravel() for k in conducting]))
    nodes, n = bases[0].N, len(metal)
    if 2 * n + nodes > limit:
        raise TooLarge(f"{2 * n + nodes} unknowns")
    K, M = [stiffness.assemble(basis) for basis in bases], {k: mass.assemble(bases[k]) for k in conducting}

    def matrix(laws: list[dict[str, float]]) -> Any:
        """A of one state, rows V_up, V_down, T."""

        def total(parts: Any, key: str) -> Any:
            return sum(laws[k][key] * parts[k] for k in conducting)

        up, down, R = (total(*part)[metal][:, metal] for part in ((K, "up"), (K, "down"), (M, "relaxation")))
        up_T, down_T = (total(K, key)[metal] for key in ("up_T", "down_T"))
        heat = sum(each["heat"] * part for each, part in zip(laws, K, strict=True))
        return sparse.bmat([[up + R, -R, up_T], [-R, down + R, down_T], [up_T.T, down_T.T, heat]], format="csr")

    # Ports: area means over contact faces; nodes of contacts and heat sinks stay at the bath temperature.
    free = np.ones(2 * n + nodes, dtype=bool)
    ports, on_contact = {}, {}
    for name, face in loaded.contact_faces().items():
        facets = facets_of(mesh, face, loaded)
        basis = skfem.FacetBasis(mesh, getattr(skfem, kind)(), facets=facets, **rule(order, 2), dofs=bases[0].dofs)
        weights = area.assemble(basis)
        ports[name] = np.concatenate([weights[metal] / 2, weights[metal] / 2, np.zeros(nodes)]) / weights.sum()
        dofs = bases[0].get_dofs(facets).flatten()
        on_contact[name] = np.searchsorted(metal, dofs)
        free[2 * n + dofs] = False
    for face in loaded.heat_sink_faces():
        free[2 * n + bases[0].get_dofs(facets_of(mesh, face, loaded)).flatten()] = False

    def heat_source(laws: list[dict[str, float]], u: np.ndarray) -> np.ndarray:
        """Joule heat over T0, J_s = -sigma_s grad (V_s + S_s T)."""
        V, T, out = np.zeros((2, nodes)), u[2 * n :], np.zeros(2 * n + nodes)
        V[0, metal], V[1, metal] = u[:n], u[n : 2 * n]
        for k in conducting:
            for V_s, channel in zip(V, ("up", "down"), strict=True):
                drive = bases[k].interpolate(V_s + laws[k][f"S_{channel}"] * T)
                out[2 * n :] += joule.assemble(bases[k], drive=drive, c=laws[k][channel])
        return loaded.zeta / loaded.bath * out

    found: dict[str, dict[str, dict[str, float]]] = {name: {"R1": {}, "R2": {}} for name in loaded.experiments}
    for state in ("P", "AP"):
        laws = law(loaded, loaded.experiments["thermal"].states[state])
        A = matrix(laws)
        for name, experiment in loaded.experiments.items():
            assert experiment.states == loaded.experiments["thermal"].states  # so that one A does for all
            keep, ground = free.copy(), on_contact[experiment.current[1]]
            keep[ground] = keep[n + ground] = False
            index = np.flatnonzero(keep)
            solver, solve, close = factorised(A[index][:, index])
            u = np.zeros((2, 2 * n + nodes))
            u[0, index] = solve(ports[experiment.current[0]][index])
            u[1, index] = solve(heat_source(laws, u[0])[index])
            close()
            read = u @ (ports[experiment.voltage[0]] - ports[experiment.voltage[1]])
            found[name]["R1"][state], found[name]["R2"][state] = map(float, read)
    for harmonics in found.values():
        for R in harmonics.values():
            R |= {"baseline": (R["P"] + R["AP"]) / 2, "spin": R["P"] - R["AP"]}
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    return row(int(mesh.nelements), int(2 * n + nodes), [wall, wall], cpu, found) | {"solver": solver}


def domain_of(mesh: Any, lines: grid.Grid) -> np.ndarray:
    """Domain of every element, -1 in void."""
    middles = mesh.p[:, mesh.t].mean(axis=1)
    return lines.domain[tuple(np.searchsorted(line, x) - 1 for line, x in zip(lines.lines, middles, strict=True))]


def facets_of(mesh: Any, face: Face, loaded: Device) -> np.ndarray:
    """Facets of a mesh that make up a face of the device."""
    coarse = loaded.layout().lines
    middles = mesh.p[:, mesh.facets].mean(axis=1)
    off = np.abs(middles[face.axis] - coarse[face.axis][face.line])
    at = np.flatnonzero(off < lines.coincidence(np.ptp(coarse[face.axis])))
    others = [axis for axis in range(3) if axis != face.axis]
    return at[face.cells[tuple(np.searchsorted(coarse[axis], middles[axis, at]) - 1 for axis in others)]]


# ------------------------------------------------------------------------------------------- table


def row(cells: int, unknowns: int, walls: list[float], cpu: float, experiments: Mapping[str, Any]) -> Row:
    """What both packages report; memory is the peak of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    values = {name: experiments[e][harmonic][part] for name, (e, harmonic, part) in SIGNALS.items()}
    times = {"first": walls[0], "again": walls[1], "cpu": cpu}
    return {"cells": cells, "unknowns": unknowns, **times, "peak_GB": peak / 1e9, **values}


def in_process(package: str, run: str, limit: int) -> Row | str:
    """One run in a process of its own, or why there is no result."""
    command = [sys.executable, __file__, "--one", package, run, "--limit", str(limit)]
    # MKL counts physical cores, which on a virtual machine may be half of what XLA takes.
    threads = {"MKL_NUM_THREADS": str(os.cpu_count()), "MKL_DYNAMIC": "FALSE"}
    done = subprocess.run(command, capture_output=True, text=True, env=threads | dict(os.environ))
    if done.returncode:
        return f"failed, code {done.returncode}: " + (done.stderr.strip().splitlines() or ["no message"])[-1]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return found["left_out"] if "left_out" in found else {"package": package, "run": run, **found}


def time_to(rows: list[Row], clock: str, target: float) -> tuple[float, str, str]:
    """Least time to a deviation [%] over the elements of a package; "<" where all runs meet it; inf if none does."""
    best = (float("inf"), "", "not reached")
    for element in dict.fromkeys(each["run"].split(":")[0] for each in rows):
        own = sorted((each for each in rows if each["run"].split(":")[0] == element), key=lambda each: each["unknowns"])
        off = [max(abs(each["off"]), 1e-6) for each in own]
        last = max((i for i, deviation in enumerate(off) if deviation > target), default=-1)
        if last == len(own) - 1:
            continue
        found = (own[0][clock], "<", element)
        if last >= 0:
            share = np.log(off[last] / target) / np.log(off[last] / off[last + 1])
            found = (own[last][clock] ** (1 - share) * own[last + 1][clock] ** share, "", element)
        best = min(best, found)
    return best


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for package, runs in RUNS.items():
        parser.add_argument(f"--{package}", nargs="*", default=runs, metavar="ELEMENT:COARSENESS")
    parser.add_argument("--limit", type=int, default=600_000, help="leave out runs with more unknowns")
    parser.add_argument("--reference", type=float, default=REFERENCE, help="R2.spin [V/A^2]")
    parser.add_argument("--targets", type=float, nargs="*", default=[10.0, 5.0, 3.0], help="[%%]")
    parser.add_argument("--json")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        runner = run_thermospin if options.one[0] == "thermospin" else run_skfem
        element, coarseness = options.one[1].split(":")
        try:
            print(json.dumps(runner(element, float(coarseness), options.limit)))
        except TooLarge as fault:
            print(json.dumps({"left_out": f"left out, {fault}"}))
        return

    print(f"{platform.machine()}, {os.cpu_count()} threads, Python {platform.python_version()}, {DEVICE}")
    columns = "cells unknowns first/s again/s cpu/s peak/GB solver".split()
    print(f"{'package':<10} {'run':>10} " + " ".join(f"{name:>8}" for name in columns), end="")
    print(" ".join(f"{name:>13}" for name in SIGNALS) + f" {'R2_s off/%':>10}")
    rows: list[Row] = []
    for package in RUNS:
        for run in getattr(options, package):
            found = in_process(package, run, options.limit)
            if isinstance(found, str):
                print(f"{package:<10} {run:>10} {found}", flush=True)
                continue
            found["off"] = 100 * (found["R2_s"] / options.reference - 1)
            rows.append(found)
            numbers = "{cells:>8} {unknowns:>8} {first:>8.1f} {again:>8.1f} {cpu:>8.1f} {peak_GB:>8.2f} {solver:>8}"
            tail = " ".join(f"{found[name]:>12.5e}" for name in SIGNALS) + f" {found['off']:>10.2f}"
            print(f"{package:<10} {run:>10} {numbers.format(**found)} {tail}", flush=True)
    print(f"\nseconds to a deviation of R2_s from {options.reference:.5g} V/A^2, and by which element")
    heads = [f"{package} {clock}" for package, clock in CLOCKS]
    print(f"{'target':>8} " + " ".join(f"{head:>18}" for head in heads) + "   scikit-fem over ours: again, first, cpu")
    reached = []
    for target in options.targets:
        times = [time_to([r for r in rows if r["package"] == package], clock, target) for package, clock in CLOCKS]
        texts = [f"{sign}{t:.1f} ({name})" if np.isfinite(t) else name for t, sign, name in times]
        pairs = [(times[theirs][0], times[ours][0]) for theirs, ours in RATIOS]
        ratios = [float(np.divide(*pair)) if np.all(np.isfinite(pair)) else None for pair in pairs]
        tail = " ".join("      -" if ratio is None else f"{ratio:>7.2f}" for ratio in ratios)
        print(f"{target:>6g} % " + " ".join(f"{text:>18}" for text in texts) + f"   {tail}")
        reached.append({"target": target, "times": dict(zip(heads, texts, strict=True)), "ratios": ratios})
    if options.json:
        files.write_json(options.json, {"reference": options.reference, "rows": rows, "reached": reached})


if __name__ == "__main__":
    main()
