"""What tasks side by side gain and take: time and memory of solves in one program against each alone.

    python benchmarks/side_by_side.py [--cells 2000] [--order 2] [--sizes 2 4 8] [--devices 4]

A solve of the shipped device's first experiment, two columns, for as many values of a polarisation as there are lanes:
time for each relative to one alone, temporaries per solve and unknown as XLA counts them, and how far the solutions are
off. Then a whole evaluation, with derivatives: which part of its time is not in solves, which lanes do one after the
other. With `--devices`, the same shared out among virtual devices of the CPU, which share its cores.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from collections.abc import Callable
from typing import Any

if "--devices" in sys.argv:  # before JAX begins
    count = sys.argv[sys.argv.index("--devices") + 1]
    os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count={count}")

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import numpy as np

from thermospin import solve
from thermospin.device import reader
from thermospin.model import Model, build
from thermospin.parallel import tasks
from thermospin.signals import evaluate, ladders


def timed(run: Callable[[], Any], repeat: int = 3) -> tuple[float, float, Any]:
    """Shortest time, what the first run took besides, and the result."""
    began = time.perf_counter()
    out = jax.block_until_ready(run())
    first = time.perf_counter() - began
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - began)
    return min(times), first - min(times), out


def questions(model: Model, count: int) -> list[solve.SolveRequest]:
    """So many solves, each with another polarisation."""
    whole = next(iter(model.problems.values()))
    problem = whole.in_state(next(iter(whole.experiment.states)))
    b = jnp.stack([problem.ports.drive, problem.ports.probe], axis=1)
    magnet = next(name for name in model.parameters if name.endswith(".S_s"))
    out = []
    for k in range(count):
        values = {name: jnp.asarray(value) for name, value in model.parameters.items()}
        values[magnet.replace(".S_s", ".P")] *= 1 + 0.01 * k
        law = ladders.laws(problem, values).first
        limits = jnp.asarray(1e-9), jnp.asarray(solve.MAX_STEPS)
        out.append(solve.SolveRequest(problem.systems[0], law, b, jnp.zeros_like(b), *limits))
    return out


def memory(asked: list[solve.SolveRequest]) -> float:
    """Bytes that the program for them has in temporaries."""
    seen: list[float] = []
    program = tasks._program

    def lowered(*arguments: Any) -> Any:
        seen.append(program.lower(*arguments).compile().compiled.memory_analysis().temp_size_in_bytes)
        return program(*arguments)

    tasks._program = lowered  # type: ignore[assignment]
    try:
        tasks._together(asked, len(asked))
    finally:
        tasks._program = program
    return seen[0]


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int)
    parser.add_argument("--order", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--devices", type=int, default=1)
    options = parser.parse_args()
    model = build(reader.load("slachter2010"), cells=options.cells, order=options.order)
    unknowns = model.unknowns
    print(f"slachter2010: {unknowns} unknowns, order {options.order}, {jax.default_backend()}, {os.cpu_count()} cores")
    alone, first, expected = timed(lambda: [solve.answer(each) for each in questions(model, max(options.sizes))])
    alone /= max(options.sizes)
    print(f"alone: {1e3 * alone:.0f} ms, {[int(stats.iterations.max()) for _, stats in expected]} iterations")
    print("lanes  devices  first    ms/solve  / alone   bytes/unknown    off by")
    made = model if options.devices == 1 else model.sharded(1, options.devices)
    for size in options.sizes:
        asked = questions(made, size)
        took, more, found = timed(functools.partial(tasks._together, asked, size))
        off = max(
            float(np.abs(np.asarray(x) - np.asarray(y)).max() / np.abs(np.asarray(y)).max())
            for (x, _), (y, _) in zip(found, expected, strict=False)
        )
        each, taken = took / size, memory(asked) / unknowns / size
        print(
            f"{size:5d} {options.devices:8d} {more:6.1f}  {1e3 * each:10.0f} {each / alone:8.2f}"
            f"  {taken:14.0f}  {off:8.1e}"
        )

    wanted = [
        (name, f"R{n}.{part}") for name in model.device.experiments for n in (1, 2) for part in ("baseline", "spin")
    ]
    names = ["zeta", *(name for name in model.parameters if name.endswith(("S_s", ".P"))), *model.device.dimensions]
    inside = 0.0
    true = solve.answer

    def counted(question: solve.SolveRequest) -> Any:
        nonlocal inside
        began = time.perf_counter()
        found = jax.block_until_ready(true(question))
        inside += time.perf_counter() - began
        return found

    solve.answer = counted  # type: ignore[assignment]
    evaluate.evaluate(model, {}, wanted, names)
    inside, began = 0.0, time.perf_counter()
    evaluate.evaluate(model, {}, wanted, names)
    whole = time.perf_counter() - began
    rest = 100 * (1 - inside / whole)
    print(f"an evaluation with {len(names)} derivatives: {whole:.2f} s, {rest:.0f} % of it not in solves")


if __name__ == "__main__":
    main()
