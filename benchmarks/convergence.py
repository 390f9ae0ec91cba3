"""Iterations of the solver over the suite of devices, for each of four right-hand sides.

    python benchmarks/convergence.py [--unknowns N ...] [--order P ...] [--case NAME ...] [--tolerance T] [--json FILE]

Right-hand sides: drive (1 A into a contact), probe (adjoint of a voltage probe), Joule (heat of the response to the
drive), spin (A_P - A_AP on that response, which drives the difference of two magnetic states). The residual is
recomputed from the answer and the diagonal of the operator, apart from what the solver says. "rounding" is the bound
that the solver accepts by, on what rounding alone leaves of it: no solver that works in doubles meets a tolerance far
below, so that a case for which that matters has a tolerance of its own. The last lines give the spread of the
iterations over the cases: a solver that is robust has max/median near 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from helpers.suite import (
    CASES,
    Case,
    drive_and_probe,
    joule_and_change,
    operator_complexity,
    relative_residual,
    relative_round_off,
)
from thermospin import solve
from thermospin.base import compilation, files

COLUMNS = ("drive", "probe", "joule", "spin")
MAX_STEPS = 400


def measure(case: Case, unknowns: int, order: int, tolerance: float) -> dict[str, Any]:
    """How the solves of one case go: iterations and true relative residuals by right-hand side, and sizes."""
    began = time.perf_counter()
    model = case.model(unknowns, order)
    law, tolerance = case.law(model), max(tolerance, case.tolerance)
    system = model.systems[case.experiment.current[1]]
    build = time.perf_counter() - began
    began = time.perf_counter()
    iterations: list[int] = []
    residuals: list[float] = []
    rounding: list[float] = []
    converged: list[bool] = []

    def run(b: jax.Array) -> jax.Array:
        u, stats = solve.solve(system, law, b, tolerance=tolerance, max_steps=MAX_STEPS)
        iterations.extend(np.asarray(stats.iterations).tolist())
        converged.extend(np.asarray(stats.converged).tolist())
        residuals.extend(relative_residual(system, law, b, u).tolist())
        rounding.extend(relative_round_off(system, law, b, u).tolist())
        return u

    u = run(drive_and_probe(case, model))
    if converged[0]:
        run(joule_and_change(case, model, law, u[:, 0]))
    return {
        "case": case.name,
        "order": order,
        "unknowns": model.unknowns,
        "complexity": operator_complexity(next(iter(model.preconditioners.values()))),
        "iterations": dict(zip(COLUMNS, iterations, strict=False)),
        "relative_residual": dict(zip(COLUMNS, residuals, strict=False)),
        "round_off": dict(zip(COLUMNS, rounding, strict=False)),
        "converged": all(converged),
        "build_s": build,
        "solve_s": time.perf_counter() - began,
    }


def row(found: dict[str, Any]) -> str:
    """One line of the table."""
    counts = " ".join(f"{found['iterations'].get(name, '-'):>6}" for name in COLUMNS)
    worst, rounding = (np.max(list(found[key].values())) for key in ("relative_residual", "round_off"))  # NaN if one is
    errors = f"{worst:>9.1e} {rounding:>9.1e}"
    mark = "" if found["converged"] else "  FAILED"
    return (
        f"{found['case']:<20} {found['order']} {found['unknowns']:>9} {found['complexity']:>7.2f} {counts} {errors} "
        f"{found['build_s']:>7.1f} {found['solve_s']:>7.1f}{mark}"
    )


def spread(found: list[dict[str, Any]], order: int, unknowns: int) -> str:
    """Smallest, median and largest of the worst iterations of each case; a solve that failed counts as it stands."""
    worst = np.array([max(one["iterations"].values()) for one in found])
    low, middle, high = worst.min(), np.median(worst), worst.max()
    slowest = found[int(np.argmax(worst))]["case"]
    failed = [one["case"] for one in found if not one["converged"]]
    text = f"; failed: {', '.join(failed)}" if failed else ""
    return (
        f"p = {order}, about {unknowns} unknowns, {len(found)} cases: iterations {low} to {high} ({slowest}), "
        f"median {middle:g}, min/median {low / middle:.2f}, max/median {high / middle:.2f}{text}"
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unknowns", type=int, nargs="+", default=[30_000])
    parser.add_argument("--order", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--case", nargs="+", choices=list(CASES), metavar="NAME", default=list(CASES))
    parser.add_argument("--tolerance", type=float, default=1e-10)
    parser.add_argument("--json")
    options = parser.parse_args()
    print(f"tolerance {options.tolerance:g}; times with compilation, noisy on a shared machine")
    head = " ".join(f"{name:>6}" for name in COLUMNS) + f" {'residual':>9} {'rounding':>9}"
    print(f"{'case':<20} p {'unknowns':>9} {'complex':>7} {head} {'build s':>7} {'solve s':>7}")
    rows: list[dict[str, Any]] = []
    lines = []
    for order in options.order:
        for unknowns in options.unknowns:
            found = []
            for name in options.case:
                found.append(measure(CASES[name], unknowns, order, options.tolerance))
                print(row(found[-1]), flush=True)
                compilation.forget()  # every case has shapes of its own
            rows += found
            lines.append(spread(found, order, unknowns))
    print(*lines, sep="\n")
    if options.json:
        files.write_json(Path(options.json), {"tolerance": options.tolerance, "cases": rows})
    if not all(one["converged"] for one in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
