"""What a solve on several devices costs: iterations, time, bytes exchanged against those needed, and reductions.

    python benchmarks/sharding.py [--cells 8000] [--order 2] [--devices 1 2 4 8]

On a CPU the devices are virtual (XLA_FLAGS is set here) and share the cores: times say what the split program costs,
not what more hardware gains. Messages, sums and bytes are read from the compiled program: of one iteration with one
column, all devices together. "halo" is what neighbours exchange, "needed" the same without padding, "coarse" what
gathering the coarse levels and sending them back takes. "model" is the time of an iteration from the cores' time of
one on one device, what the split arrays are larger by, and the messages with their latency, measured here.

The prediction is that model for GPUs like an H100 in nodes of eight: time per iteration = bytes moved / bandwidth +
messages x latency + bytes exchanged / link. Bytes moved per unknown are what the time on one device here is worth at
this machine's bandwidth (a triad of NumPy's), which is an upper bound.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec

jax.config.update("jax_enable_x64", True)

from thermospin import model, solve
from thermospin.device import reader
from thermospin.linear import multigrid
from thermospin.model import build
from thermospin.parallel import partition, sharding

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from helpers import traffic

#: Of a GPU: bandwidth of its memory [B/s], a link within a node and between nodes [B/s], latency of a message [s].
MEMORY, NEAR, FAR, LATENCY = 2.5e12, 300e9, 40e9, 10e-6
#: By how much levels shrink, as measured on the shipped device, and nodes per unknown of the larger hierarchy.
SHRINK, NODES = 1.7, 0.55
#: Sums over devices of an iteration.
SUMS = 2


def bandwidth() -> float:
    """Of this machine's memory to one core [B/s]: adding two arrays into a third, the best of five."""
    a, b, c = (np.ones(20_000_000) for _ in range(3))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        np.add(a, b, out=c)
        times.append(time.perf_counter() - start)
    return 3 * a.nbytes / min(times)


def predicted(unknowns: float, devices: int, moved: float) -> float:
    """Time of an iteration [s] on slabs of a cube, see above."""
    share = unknowns / devices
    plane = (unknowns / 3) ** (2 / 3) * 3  # unknowns of a plane of nodes
    exchanged = 0.0 if devices == 1 else 2 * 3 * plane * 8.0  # both sides; about three planes' worth over all levels
    link = NEAR if devices <= 8 else FAR
    first, other = (2 * (2 * steps + 2) for steps in multigrid.SMOOTHING_STEPS)  # to both sides
    levels = np.ceil(np.log(unknowns * NODES / partition.TOGETHER) / np.log(SHRINK))
    count = 2 + first + other * (levels - 1) + 2 + SUMS * (1 + np.log2(devices))
    messages = 0.0 if devices == 1 else LATENCY * count
    return share * moved / MEMORY + exchanged / link + messages


def latency(devices: int, length: int = 1000, times: int = 300) -> float:
    """Of a message of so many numbers from every device to the next one [s], the best of five."""
    mesh = sharding.mesh_of(devices)
    ways = [(k, k + 1) for k in range(devices - 1)]

    def run(x: jax.Array) -> jax.Array:
        return lax.fori_loop(0, times, lambda _, x: x + lax.ppermute(x, sharding.SLABS, ways), x)

    whole = PartitionSpec(sharding.SLABS)
    sent = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=whole, out_specs=whole, check_vma=False))
    x = jnp.zeros((devices, length))
    sent(x).block_until_ready()
    return min(seconds(lambda: sent(x))[0] for _ in range(5)) / times


def seconds(run: Callable[[], jax.Array]) -> tuple[float, float]:
    """Wall time and time of all cores."""
    own, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    run().block_until_ready()
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    return wall, after.ru_utime + after.ru_stime - own.ru_utime - own.ru_stime


def size(tree: object) -> int:
    """Bytes of all arrays."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree) if hasattr(leaf, "nbytes"))


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="slachter2010")
    parser.add_argument("--cells", type=int, default=8000)
    parser.add_argument("--order", type=int, default=2)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    loaded = reader.load(options.device)
    whole = build(loaded, cells=options.cells, order=options.order)
    contact = next(iter(loaded.experiments.values())).current
    b = jnp.asarray(whole.ports[contact[0]])[:, None]
    law = model._law(whole.disc, whole.constitution, {k: jnp.asarray(v) for k, v in whole.parameters.items()})
    where = f"{jax.devices()[0].platform}, {os.cpu_count()} cores"
    print(f"{loaded.name}: {whole.unknowns} unknowns, order {options.order}, {where}")
    heads = ("devices", 7), ("its", 4), ("first", 6), ("ms/it", 6), ("ratio", 6), ("model", 6), ("off by", 8)
    heads += ("messages", 9), ("sums", 5), ("halo", 9), ("needed", 9), ("ratio", 6), ("coarse", 9)
    print(" ".join(f"{text:>{width}}" for text, width in heads))
    models = {n: whole if n == 1 else whole.sharded(n) for n in dict.fromkeys([1, *options.devices])}
    systems = {n: made.systems[contact[1]] for n, made in models.items()}
    firsts, stats, values, best = {}, {}, {}, {}
    for n, system in systems.items():
        began = time.perf_counter()
        x, stats[n] = solve.solve(system, law, b, tolerance=1e-10)
        values[n] = float(b[:, 0] @ x[:, 0])
        firsts[n] = time.perf_counter() - began
    for _ in range(options.rounds):  # in turn: the machine is not alone
        for n, system in systems.items():
            found = seconds(lambda: solve.solve(system, law, b, tolerance=1e-10)[0])  # noqa: B023
            best[n] = min(best.get(n, found), found)
    iterations = int(stats[1].iterations[0])
    first, cores = best[1][0], best[1][1] / iterations
    for n, system in systems.items():
        steps, line, known = int(stats[n].iterations[0]), "", f"{'':>6}"
        if (shards := system.shards) is not None:
            arrays = law, b, jnp.zeros_like(b), jnp.asarray(1e-10), jnp.asarray(400)
            text = jax.jit(lambda *given: shards.pcg(*given)).lower(*arrays).compile().as_text()  # noqa: B023
            kinds = traffic.of_loop(text, n)
            halo, sums = kinds["collective-permute"], kinds["all-reduce"].count
            coarse = kinds["all-to-all"]
            needed = sum(each.times * each.needed for each in traffic.exchanges(shards)[:-1])
            count = halo.count + coarse.count + sums
            line = f"{count:9d} {sums:5d} {halo.bytes:9d} {needed:9d} {halo.bytes / needed:6.2f} {coarse.bytes:9d}"
            tails = tuple(each.tail for each in shards.system.mg)
            rest = tuple(each.tail for each in shards.system.held)
            held = size((shards.system, shards.law)) - (1 - 1 / n) * size((tails, rest))
            more = held / size((systems[1].disc.axes, systems[1].mg, systems[1].held))
            known = f"{1e3 * (cores * more / min(n, os.cpu_count() or 1) + count * latency(n)):6.1f}"
        print(
            f"{n:7d} {steps:4d} {firsts[n]:6.1f} {1e3 * best[n][0] / steps:6.1f} {best[n][0] / first:6.2f} {known} "
            f"{abs(values[n] / values[1] - 1):8.1e} {line}",
            flush=True,
        )
    moved = first / iterations * bandwidth() / whole.unknowns
    print(
        f"\none device here moves what {moved:.0f} bytes per unknown and iteration take at {bandwidth() / 1e9:.1f} GB/s"
    )
    print("predicted time of an iteration [ms] and memory of a GPU [GB] at 535 bytes per unknown")
    print(f"{'unknowns':>10} " + " ".join(f"{n:>14}" for n in (1, 8, 64, 256, 1024)))
    for unknowns in (3e7, 3e8, 3e9):
        row = " ".join(
            f"{1e3 * predicted(unknowns, n, moved):7.2f} {unknowns / n * 535 / 1e9:5.0f}G"
            for n in (1, 8, 64, 256, 1024)
        )
        print(f"{unknowns:10.0e} {row}")


if __name__ == "__main__":
    main()
