"""Signals of the paper's device against unknowns and time, for orders 1 to 3 on four grids each, and extrapolations.

    python benchmarks/grid_order.py [--device slachter2010] [--limit UNKNOWNS] [--json FILE]

Times are of one run on one machine, compilation and set-up apart; compare them within one table only. The reference is
the finest grid of the highest order; the extrapolation is Richardson's with the order fitted to the last three grids of
each order (meaningless, and marked, where differences do not fall).
"""

from __future__ import annotations

import argparse
import platform
import time

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from thermospin import model
from thermospin.base import compilation, files
from thermospin.device import reader
from thermospin.geometry import grid_rule
from thermospin.signals import evaluate

SIGNALS = (
    ("thermal", "R1.baseline"),
    ("thermal", "R1.spin"),
    ("thermal", "R2.baseline"),
    ("thermal", "R2.spin"),
    ("electrical", "R1.baseline"),
    ("electrical", "R1.spin"),
)
COARSENESS = {1: (4.0, 2.0, 1.0, 0.7), 2: (6.0, 4.0, 3.0, 1.5), 3: (8.0, 6.0, 4.0, 2.5)}


def extrapolate(values: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """Limit and order from three grids, h = unknowns^(-1/3); NaN where the differences do not fall."""
    h = sizes ** (-1 / 3)
    first, second = values[-2] - values[-3], values[-1] - values[-2]
    if second == 0 or first / second <= 1:
        return float("nan"), float("nan")
    order = np.log(first / second) / np.log(h[-2] / h[-1])
    return values[-1] + second / ((h[-2] / h[-1]) ** order - 1), order


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="slachter2010")
    parser.add_argument("--limit", type=int, default=2_500_000, help="leave out grids with more unknowns")
    parser.add_argument("--json")
    options = parser.parse_args()
    loaded = reader.load(options.device)
    print(f"{platform.machine()}, {platform.python_version()}, jax {jax.__version__}, {loaded.name}")
    head = " ".join(f"{name[:4]}.{signal:<12}" for name, signal in SIGNALS)
    print(
        f"{'p':>2} {'coarse':>6} {'cells':>8} {'unknowns':>9} {'build':>6} {'first':>6} {'again':>6} {'its':>4} {head}"
    )
    rows = []
    for order, coarsenesses in COARSENESS.items():
        for coarseness in coarsenesses:
            made = grid_rule.at_coarseness(loaded.features, order, coarseness)
            metals = [loaded.materials[material].is_metal for material, _ in loaded.domains]
            if made.unknowns(metals) > options.limit:
                print(f"{order:>2} {coarseness:>6} {made.cells:>8} left out, {made.unknowns(metals)} unknowns")
                continue
            began = time.perf_counter()
            problem = model.on_grid(loaded, made)
            build = time.perf_counter() - began
            first, again = (evaluate.measure(problem) for _ in range(2))
            values = [again[key] for key in SIGNALS]
            rows.append([order, coarseness, made.cells, problem.unknowns, build, first.wall_s, again.wall_s, *values])
            text = " ".join(f"{value:<17.5e}" for value in values)
            print(
                f"{order:>2} {coarseness:>6} {made.cells:>8} {problem.unknowns:>9} {build:>6.1f} {first.wall_s:>6.1f} "
                f"{again.wall_s:>6.1f} {max(again.iterations):>4} {text}",
                flush=True,
            )
            compilation.forget()
    table = np.array(rows)
    for order in COARSENESS:
        own = table[table[:, 0] == order]
        if len(own) >= 3:
            found = [extrapolate(own[:, 7 + k], own[:, 3]) for k in range(len(SIGNALS))]
            text = " ".join(f"{limit:.5e} ({slope:.1f})" for limit, slope in found)
            print(f"p = {order}, extrapolated (order): {text}")
    reference = table[-1, 7:]
    print("percent off the finest grid of the highest order:")
    for row in table:
        off = " ".join(f"{100 * (value / exact - 1):+8.2f}" for value, exact in zip(row[7:], reference, strict=True))
        print(f"{int(row[0]):>2} {row[1]:>6} {int(row[3]):>9} {off}")
    if options.json:
        files.write_json(options.json, {"signals": [list(key) for key in SIGNALS], "rows": rows})


if __name__ == "__main__":
    main()
