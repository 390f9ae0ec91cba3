"""What a solve on several devices costs: iterations, time, values exchanged against those needed, and reductions.

    python benchmarks/devices.py [--cells 8000] [--order 2] [--devices 1 2 4 8]

On a CPU the devices are virtual (XLA_FLAGS is set here) and share the cores: times say what the split program costs,
not what more hardware gains. "sent" counts the values that one iteration exchanges, padding included, all devices
together; "needed" without padding. Reductions are the all-reduces in the loop of the compiled program.

The prediction is a model, not a measurement: time per iteration = bytes moved / bandwidth + messages x latency + bytes
exchanged / link, with the numbers of unknowns and halos of slabs, for GPUs like an H100 in nodes of eight. Bytes moved
per unknown are what the time on one device here is worth at this machine's bandwidth (a triad of NumPy's).
"""

from __future__ import annotations

import argparse
import os
import re
import time

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

import jax  # noqa: E402  after the switch
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

jax.config.update("jax_enable_x64", True)

from thermospin import device, model, signals, solve  # noqa: E402

#: Of a GPU: bandwidth of its memory [B/s], a link within a node and between nodes [B/s], latency of a message [s].
MEMORY, NEAR, FAR, LATENCY = 2.5e12, 300e9, 40e9, 10e-6
#: Messages and reductions of an iteration: exchanges of all levels, and sums.
MESSAGES, SUMS = 60, 3


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
    messages = 0.0 if devices == 1 else LATENCY * (MESSAGES + SUMS * (1 + np.log2(devices)))
    return share * moved / MEMORY + exchanged / link + messages


def reductions(text: str) -> int:
    """All-reduces in the loops of a compiled program."""
    bodies = set(re.findall(r"body=%?([\w.-]+)", text))
    parts = re.split(r"(?m)^(?=%?[\w.-]+ \(|ENTRY)", text)
    own = [part for part in parts if re.match(r"%?([\w.-]+)", part) and re.match(r"%?([\w.-]+)", part)[1] in bodies]
    return sum(len(re.findall(r" all-reduce(?:-start)?\(", part)) for part in own)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="slachter2010")
    parser.add_argument("--cells", type=int, default=8000)
    parser.add_argument("--order", type=int, default=2)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8])
    options = parser.parse_args()
    loaded = device.load(options.device)
    whole = signals.build(loaded, cells=options.cells, order=options.order)
    contact = next(iter(loaded.experiments.values())).current
    b = jnp.asarray(whole.ports[contact[0]])[:, None]
    law = model._law(whole.disc, whole.constitution, {k: jnp.asarray(v) for k, v in whole.parameters.items()})
    where = f"{jax.devices()[0].platform}, {os.cpu_count()} cores"
    print(f"{loaded.name}: {whole.unknowns} unknowns, order {options.order}, {where}")
    heads = ("devices", 7), ("its", 4), ("first", 7), ("again", 7), ("ratio", 6), ("off by", 8)
    heads += ("sent", 9), ("needed", 9), ("ratio", 6), ("sums", 5)
    print(" ".join(f"{text:>{width}}" for text, width in heads))
    first, reference, iterations = None, None, 1
    for count in options.devices:
        made = whole if count == 1 else whole.on_devices(count)
        system = made.systems[contact[1]]
        began = time.perf_counter()
        x, stats = solve.solve(system, law, b, tolerance=1e-10)
        x.block_until_ready()
        middle = time.perf_counter()
        runs = []
        for _ in range(3):
            start = time.perf_counter()
            solve.solve(system, law, b, tolerance=1e-10)[0].block_until_ready()
            runs.append(time.perf_counter() - start)
        again = min(runs)
        if first is None:
            first, iterations = again, int(stats.iterations[0])
        value = float(b[:, 0] @ x[:, 0])
        reference = value if reference is None else reference
        sent = needed = sums = 0
        if system.shards is not None:
            traffic = system.shards.traffic()
            sent, needed = (sum(each[k] for each in traffic) for k in (1, 2))
            arrays = law, b, jnp.zeros_like(b), jnp.asarray(1e-10), jnp.asarray(400)
            shards = system.shards
            text = jax.jit(lambda *given: shards.pcg(*given)).lower(*arrays).compile().as_text()  # noqa: B023
            sums = reductions(text)
        print(
            f"{count:7d} {int(stats.iterations[0]):4d} {middle - began:7.1f} {again:7.2f} {again / first:6.2f} "
            f"{abs(value / reference - 1):8.1e} {sent:9d} {needed:9d} {sent / max(needed, 1):6.2f} {sums:5d}",
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
