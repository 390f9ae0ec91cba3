"""Where the time of one iteration goes, the bandwidth it reaches, and what a solve needs in memory and compilation.

    python benchmarks/iteration.py [--order P] [--unknowns N] [--repeat K]

Prints, for the shipped device with two columns: the time of the operator, of the multigrid cycle (by field and by
level: smoothing on a level is `steps` products before and after the coarse correction), of an iteration as a whole; the
bytes that each has to move at least (every array read or written once per product) over the time, against a copy
measured in the same run; bytes per unknown that the solve holds (arguments, temporaries, result, as XLA counts them);
what compilation takes, and the same solve without it (`thermospin.signals.uncompiled`).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from gpu import size_of

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from helpers.suite import CASES, drive_and_probe
from thermospin import operators, solve
from thermospin.base import compilation
from thermospin.linear import multigrid
from thermospin.signals import uncompiled

COLUMNS = 2
#: Unknowns up to which the solve without compilation is measured too.
MOST_ON_HOST = 500_000


def seconds(repeat: int, run: Callable[..., Any], *arguments: Any) -> tuple[float, float]:
    """Shortest time of some runs, and of the first one besides."""
    began = time.perf_counter()
    jax.block_until_ready(run(*arguments))
    first = time.perf_counter() - began
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        jax.block_until_ready(run(*arguments))
        times.append(time.perf_counter() - began)
    return min(times), first - min(times)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--order", type=int, default=2)
    parser.add_argument("--unknowns", type=float, default=288_497, help="default: the grid that the program chooses")
    parser.add_argument("--repeat", type=int, default=20)
    options = parser.parse_args()
    case = CASES["reference"]
    began = time.perf_counter()
    model = case.model(int(options.unknowns), options.order)
    build = time.perf_counter() - began
    n, disc, law = model.unknowns, model.disc, case.law(model)
    system = model.systems[case.experiment.current[1]]
    b = drive_and_probe(case, model)

    copied, _ = seconds(options.repeat, jax.jit(lambda x: x + 1.0), jnp.zeros((max(n, 4_000_000), COLUMNS)))
    bandwidth = 2 * 8 * COLUMNS * max(n, 4_000_000) / copied
    print(f"{n:,} unknowns, p = {options.order}, {COLUMNS} columns, set-up {build:.1f} s")
    print(f"copy of {max(n, 4_000_000):,} rows: {bandwidth / 1e9:.1f} GB/s")

    rows: list[tuple[str, float, int]] = []
    u = jax.random.normal(jax.random.PRNGKey(0), (n, COLUMNS))
    vector = u.nbytes
    apply_s, _ = seconds(options.repeat, eqx.filter_jit(operators.apply), disc, law, u)
    indices = sum(axis.nodes_T.nbytes + axis.slots_V.nbytes + axis.slots_T.nbytes for axis in disc.axes)
    rows.append(("operator", apply_s, 2 * vector + size_of(law) + indices))
    cycle_s, cycle_bytes = 0.0, 0
    for k, name in enumerate(("potentials", "heat")):
        mg, held = system.mg[k], system.held[k]
        nodes, fields = mg.levels[0].diagonal[0].shape
        r = jnp.ones((nodes, fields, COLUMNS), jnp.float32)
        whole, _ = seconds(options.repeat, eqx.filter_jit(multigrid.cycle), mg, held, r)
        moved = 0
        for number, level in enumerate(mg.levels):
            nodes = len(level.diagonal[0])
            x = jnp.ones((nodes, fields, COLUMNS), jnp.float32)
            steps = 2 * multigrid.SMOOTHING_STEPS[number > 0]
            once = size_of(level.edges, level.diagonal) + 6 * x.nbytes
            here, _ = seconds(options.repeat, eqx.filter_jit(lambda rows, x: rows.multiply(x)), level.edges, x)
            moved += steps * once + size_of(level.interpolation, level.restriction) + 2 * x.nbytes
            rows.append((f"  {name}, level {number}, {nodes:,} nodes, {steps} products", steps * here, steps * once))
        rows.append((f"cycle, {name}", whole, moved))
        cycle_s, cycle_bytes = cycle_s + whole, cycle_bytes + moved
    request = solve.SolveRequest(system, law, b, jnp.zeros_like(b), jnp.asarray(1e-10), jnp.asarray(400))
    total, compiling = seconds(3, solve.answer, request)
    steps = int(np.max(solve.answer(request)[1].iterations))
    rows.append(("iteration", total / steps, rows[0][2] + cycle_bytes + 12 * vector))
    for label, spent, moved in rows:
        rate = moved / spent
        print(f"{label:55s} {1e3 * spent:8.2f} ms {moved / 1e6:8.1f} MB {rate / 1e9:6.1f} GB/s {rate / bandwidth:5.0%}")
    print(
        f"{steps} iterations, {total:.2f} s, {1e9 * total / steps / n / COLUMNS:.0f} ns per unknown, column, iteration"
    )
    lowered = eqx.filter_jit(solve.answer).lower(request).lowered
    compiled = lowered.compile(compilation.options()).memory_analysis()
    held = {"arguments": compiled.argument_size_in_bytes, "temporaries": compiled.temp_size_in_bytes}
    held["result"] = compiled.output_size_in_bytes
    parts = ", ".join(f"{name} {size / n:.0f}" for name, size in held.items())
    print(f"memory of the solve in bytes per unknown: {parts}, together {sum(held.values()) / n:.0f}")
    print(f"compilation of the solve: {compiling:.1f} s")
    if n < MOST_ON_HOST:
        began = time.perf_counter()
        uncompiled.on_host(request)
        first = time.perf_counter() - began
        spent, _ = seconds(3, uncompiled.on_host, request)
        work = float(np.sum(solve.answer(request)[1].iterations)) * n
        print(
            f"without compilation: {spent:.2f} s, {1e9 * spent / work:.0f} ns per unknown, column, iteration, "
            f"and {first - spent:.1f} s more the first time"
        )


if __name__ == "__main__":
    main()
