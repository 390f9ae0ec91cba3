"""What interfaces cost: iterations and seconds of a solve with them over one without, and the limits of good ones.

    python benchmarks/interfaces.py [--cells 3000]

All signals of the thermal experiment of slachter2010, each problem once to compile and once more for the time; the
last columns are relative changes of two signals against the device without interfaces.
"""

from __future__ import annotations

import argparse
import dataclasses

import jax

jax.config.update("jax_enable_x64", True)

from thermospin.device.interfaces import Interface
from thermospin.device.reader import load
from thermospin.model import build
from thermospin.signals.evaluate import measure

#: Values of the interface between Py and Cu; none, better and better ones, worse and worse ones, and all at once.
CASES: dict[str, dict[str, float]] = {
    "none": {},
    "RA 1e-24, K 1e18": {"RA": 1e-24, "K": 1e18},
    "RA 1e-18": {"RA": 1e-18, "gamma": 0.3},
    "RA 1e-15": {"RA": 1e-15, "gamma": 0.3},
    "RA 1e-12": {"RA": 1e-12, "gamma": 0.3},
    "RA 1e-8": {"RA": 1e-8, "gamma": 0.3},
    "K 1e12": {"K": 1e12},
    "K 1e9": {"K": 1e9},
    "K 1e6": {"K": 1e6},
    "all": {"RA": 1e-15, "gamma": 0.3, "K": 1e9, "S": -5e-6, "S_s": -2e-6, "delta": 0.2},
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=3000)
    cells = parser.parse_args().cells
    device = load("slachter2010")
    device = dataclasses.replace(device, experiments={"thermal": device.experiments["thermal"]})
    signals = ("R1.baseline", "R2.spin")
    first: tuple[int, float, list[float]] | None = None
    print(
        f"{'interface Py/Cu':18s} unknowns iterations  over none  seconds  over none  change of {' and '.join(signals)}"
    )
    for name, values in CASES.items():
        interfaces = (Interface("Py/Cu", ("Py", "Cu"), **values),) if values else ()
        model = build(dataclasses.replace(device, interfaces=interfaces), order=2, cells=cells)
        measure(model)
        found = measure(model)
        steps, seconds = sum(found.iterations), found.wall_s
        numbers = [found["thermal", signal] for signal in signals]
        first = first or (steps, seconds, numbers)
        changes = "  ".join(f"{a / b - 1:+.1e}" for a, b in zip(numbers, first[2], strict=True))
        print(
            f"{name:18s} {model.unknowns:8d} {steps:10d} {steps / first[0]:10.2f} {seconds:8.2f} "
            f"{seconds / first[1]:10.2f}  {changes}",
            flush=True,
        )


if __name__ == "__main__":
    main()
