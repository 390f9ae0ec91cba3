"""What one GPU does: agreement with stored CPU values, then speed and memory of everything that users wait for.

    python benchmarks/gpu.py [--json FILE] [--sizes 3e5 1e6 3e6 1e7 3e7] [--seconds 460]
    python benchmarks/gpu.py --store            write the values that others are compared with, on a CPU

Needs nothing but the package and its dependencies (the posterior: numpyro). In this order, until the seconds are up:
- machine, driver, versions; bandwidth of a copy;
- signals of the shipped devices on small grids against benchmarks/results/signals_cpu.json: ends with exit code 1 if
  one is off by more than AGREE of the largest signal of its experiment and harmonic;
- the paper's device at each size, order 2: set-up, compilation, solve of a pair of right-hand sides to 1e-10, bytes
  that an iteration has to move at least over the bandwidth of the copy, all signals, their gradient, bytes
  of memory per unknown;
- kernels per iteration, and the part of the time in which none runs (from a profile, on a GPU alone);
- 1, 4 and 16 pairs of right-hand sides in one solve, and as many parameter sets in one batch;
- the fit of the paper's rows, and a posterior drawn from a small model itself.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import importlib.util
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from side_by_side import timed

from thermospin import inverse
from thermospin import model as models
from thermospin.base import compilation, files
from thermospin.data import rows as data
from thermospin.device import reader
from thermospin.geometry import grid_rule
from thermospin.inference import ensembles, posterior
from thermospin.linear import multigrid
from thermospin.model import Model
from thermospin.signals import evaluate, ladders
from thermospin.solve import SolveRequest, solve_request

STORED = Path(__file__).parent / "results" / "signals_cpu.json"
SHIPPED = ["cross", "junction", "pillar", "slachter2010", "slachter2010-copper", "valve"]
DEVICE = "slachter2010"
#: Cells of the grids on which signals are compared, and the relative residual they are solved to.
CELLS, RESIDUAL, AGREE = 1000, 1e-12, 1e-9
TOLERANCE = 1e-10
COUNTS = (1, 4, 16)

Row = dict[str, Any]


def machine() -> Row:
    """What this runs on."""
    (device, *_), smi = jax.devices(), shutil.which("nvidia-smi")
    query = "--query-gpu=name,driver_version,memory.total,clocks.max.sm"
    card = subprocess.run([smi, query, "--format=csv,noheader"], capture_output=True, text=True) if smi else None
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": device.device_kind,
        "platform": device.client.platform_version.splitlines()[0],
        "card": card.stdout.strip() if card else "",
        "host": platform.machine(),
        "versions": {"python": platform.python_version(), "jax": jax.__version__, "jaxlib": metadata.version("jaxlib")},
        "memory": (device.memory_stats() or {}).get("bytes_limit", 0),
    }


def bandwidth() -> Row:
    """Bytes per second of a copy of an array too large for any cache."""
    size = 2**27 if jax.default_backend() == "gpu" else 2**23
    x = jax.block_until_ready(jnp.zeros(size))
    spent, _, _ = timed(lambda: _more(x), 5)
    return {"bytes_per_second": 2 * 8 * size / spent}


@jax.jit
def _more(x: jax.Array) -> jax.Array:
    return x + 1.0


def small_signals(name: str) -> dict[str, float]:
    """All signals of a shipped device on a small grid, solved well below what is compared."""
    loaded = reader.load(name)
    coarsest = grid_rule.at_coarseness(loaded.features, 1, grid_rule.COARSEST).cells
    model = models.build(loaded, cells=max(CELLS, coarsest), order=1)
    found = evaluate.measure(model, tolerance=RESIDUAL)
    return {str(signal): value for signal, value in found.values.items()}


def agreement() -> Row:
    """Largest deviation from the stored values, for each device."""
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    off = {}
    for name in SHIPPED:
        here, there = small_signals(name), stored[name]
        largest: dict[str, float] = {}
        for signal, value in there.items():
            kind = signal.rpartition(".")[0]
            largest[kind] = max(largest.get(kind, 0.0), abs(value))
        off[name] = max(
            abs(here[signal] - value) / (largest[signal.rpartition(".")[0]] or 1.0) for signal, value in there.items()
        )
    return {"largest_deviation": off}


def size_of(*trees: Any) -> int:
    """Bytes of all arrays."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(trees) if eqx.is_array(leaf))


def bytes_of_iteration(request: SolveRequest) -> int:
    """Bytes that an iteration has to move at least: every array read or written once per product."""
    system, law, b = request.system, request.law, request.b
    axes = system.disc.axes
    total = 14 * b.nbytes + size_of(law) + sum(size_of(a.nodes_T, a.slots_V, a.slots_T) for a in axes)
    for mg in system.mg:
        for number, level in enumerate(mg.levels):
            nodes, fields = level.diagonal[0].shape
            vector = nodes * fields * b.shape[1] * level.diagonal[0].dtype.itemsize
            steps = 2 * multigrid.SMOOTHING_STEPS[number > 0]
            total += steps * (size_of(level.edges, level.diagonal) + 6 * vector)
            total += size_of(level.interpolation, level.restriction) + 2 * vector
    return total


def asked(model: Model, pairs: int = 1) -> SolveRequest:
    """The first experiment's drive and probe, so many times, each time a little different."""
    problem = next(iter(model.problems.values()))
    law = ladders.laws(problem, model.completed({})).first
    b = jnp.stack([problem.ports.drive, problem.ports.probe], axis=1)
    columns = jnp.concatenate([b * (1 + 0.01 * k) for k in range(pairs)], axis=1)
    guess = jnp.zeros_like(columns)
    return SolveRequest(problem.systems[0], law, columns, guess, jnp.asarray(TOLERANCE), jnp.asarray(400))


def peak() -> int:
    """Most bytes that were in use on the device so far; 0 where it does not tell."""
    return int((jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0))


def paper_model(unknowns: float) -> Model:
    """The paper's device on a grid of order 2 of about so many unknowns, about 17 a cell."""
    loaded = reader.load(DEVICE)
    coarsest = grid_rule.at_coarseness(loaded.features, 2, grid_rule.COARSEST).cells
    return models.build(loaded, cells=max(coarsest, int(unknowns / 17)), order=2)


def at_size(unknowns: float, found: Row) -> Row:
    """One size, see the head of the file; `found` has the bandwidth of the copy."""
    rate = found["copy"]["bytes_per_second"]
    began = time.perf_counter()
    model = paper_model(unknowns)
    request = asked(model)
    set_up = time.perf_counter() - began
    solve_s, compiling, (_, stats) = timed(lambda: solve_request(request), 2)
    steps = int(np.max(stats.iterations))
    if not bool(np.all(stats.converged)):
        raise SystemExit(f"{model.unknowns} unknowns: no convergence, {np.asarray(stats.relative_residual)}")
    moved = bytes_of_iteration(request)
    row = {
        "unknowns": model.unknowns,
        "set_up_s": set_up,
        "compile_s": compiling,
        "solve_s": solve_s,
        "iterations": steps,
        "unknowns_per_second": model.unknowns / solve_s,
        "bytes_per_iteration": moved,
        "of_copy": moved * steps / solve_s / rate,
    }
    wanted = [(name, part) for name, each in model.device.experiments.items() for part in ("R1.spin", "R2.spin")]
    names = list(model.parameters)
    row["signals_s"], row["signals_compile_s"], _ = timed(lambda: evaluate.measure(model), 1)
    row["values_s"], _, _ = timed(lambda: evaluate.evaluate(model, {}, wanted), 1)
    row["gradient_s"], _, _ = timed(lambda: evaluate.evaluate(model, {}, wanted, names), 1)
    row["peak_bytes_per_unknown"] = peak() / model.unknowns
    return row


def profiled(unknowns: float) -> Row:
    """Kernels per iteration, and the part of a solve in which no kernel runs; nothing on a CPU."""
    if jax.default_backend() != "gpu":
        return {"skipped": "no GPU"}
    request = asked(paper_model(unknowns))
    steps = int(np.max(jax.block_until_ready(solve_request(request))[1].iterations))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(solve_request(request))
        (path, *_) = Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    devices = {
        event["pid"]
        for event in events
        if event.get("name") == "process_name" and "/device:GPU" in event["args"]["name"]
    }
    streams = {
        (event["pid"], event["tid"])
        for event in events
        if event.get("name") == "thread_name" and event["pid"] in devices and "Stream" in event["args"]["name"]
    }
    spans = sorted(
        (event["ts"], event["ts"] + event["dur"])
        for event in events
        if event.get("ph") == "X" and (event["pid"], event["tid"]) in streams
    )
    busy = sum(end - start for start, end in spans)
    return {"kernels_per_iteration": len(spans) / steps, "idle": 1 - busy / (spans[-1][1] - spans[0][0])}


def batched(unknowns: float) -> Row:
    """Pairs of right-hand sides in one solve, and parameter sets in one batch: seconds for each."""
    model = paper_model(unknowns)
    wanted = [("thermal", "R2.spin")]
    row: Row = {"unknowns": model.unknowns}
    for count in COUNTS:
        request = asked(model, count)
        row[f"pair_of_{count}_s"] = timed(lambda: solve_request(request), 1)[0] / count  # noqa: B023
        sets = [{"zeta": 1.0 + 0.01 * k} for k in range(count)]
        run = timed(lambda: list(ensembles.run(model, sets, wanted, at_once=count)), 1)  # noqa: B023
        row[f"set_of_{count}_s"] = run[0] / count
    return row


def fitted(cells: int | None) -> Row:
    """The paper's rows on the default grid, or on one of so many cells."""
    loaded = reader.load(DEVICE)
    rows = data.load(DEVICE, loaded)
    spent, compiling, result = timed(lambda: inverse.fit(loaded, rows, grid=models.GridOptions(cells, 3)), 1)
    return {"seconds": spent, "compile_s": compiling, "evaluations": result.evaluations}


def drawn(cells: int) -> Row:
    """A posterior of a small model itself: seconds per draw."""
    if importlib.util.find_spec("numpyro") is None:
        return {"skipped": "numpyro is not installed"}
    loaded = reader.load(DEVICE)
    model = models.build(loaded, cells=cells, order=1)
    rows = [row for row in data.load(DEVICE, loaded) if row.polarity_known]
    result = inverse.fit(model, rows, options=inverse.FitOptions(grid_errors=False))

    def predicted(values: Mapping[str, Any]) -> jax.Array:
        found = evaluate.predict(model, values)
        return jnp.stack([found[row.experiment][f"R{row.harmonic}"][row.name.part] for row in rows])

    draws = posterior.sample(result, 20, chains=2, warmup=20, model=predicted)
    return {"unknowns": model.unknowns, "seconds_per_draw": draws.seconds / 80, "evaluations": draws.evaluations}


def parts(sizes: list[float], small: bool) -> Iterator[tuple[str, Callable[[Row], Row]]]:
    """What is measured, in order; each is handed what was found before."""
    yield "copy", lambda _: bandwidth()
    yield "agreement", lambda _: agreement()
    for size in sizes:
        yield f"{size:.0e} unknowns", functools.partial(at_size, size)
    yield "profile", lambda _: profiled(sizes[0])
    yield "batches", lambda _: batched(sizes[0])
    yield "fit", lambda _: fitted(1000 if small else None)
    yield "posterior", lambda _: drawn(800)


def main() -> None:
    """Prints and stores each part as it is found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sizes", type=float, nargs="+", default=[3e5, 1e6, 3e6, 1e7, 3e7])
    parser.add_argument("--seconds", type=float, default=460.0, help="begin nothing new after so many")
    parser.add_argument("--only", nargs="+", help="parts to run")
    parser.add_argument("--store", action="store_true", help="write the values that others are compared with")
    options = parser.parse_args()
    if options.store:
        files.write_json(STORED, {name: small_signals(name) for name in SHIPPED})
        return
    began = time.perf_counter()
    found: Row = {"machine": machine()}
    print(json.dumps(found["machine"]), flush=True)
    for name, run in parts(options.sizes, small=max(options.sizes) < 3e5):
        if options.only and name.split(" ")[-1] not in options.only and name not in options.only:
            continue
        if time.perf_counter() - began > options.seconds:
            found[name] = {"skipped": "out of time"}
        else:
            try:
                found[name] = run(found)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                found[name] = {"skipped": "out of memory"}
        print(f"{time.perf_counter() - began:6.0f} s  {name}: {json.dumps(found[name])}", flush=True)
        compilation.forget()
        if options.json:
            files.write_json(options.json, found)
    if (worst := max(found.get("agreement", {}).get("largest_deviation", {"": 0.0}).values())) > AGREE:
        sys.exit(f"signals are off by {worst:.1e} of the stored ones, {AGREE:g} is allowed")


if __name__ == "__main__":
    main()
