"""How often error bars cover the truth, and how much too wide they are, over the suite of devices.

    python benchmarks/calibration.py [--case NAME ...] [--json FILE]

For each device a coarse grid of the program, two grids that the signals choose from it, and one with many more cells.
On each all signals are computed at the orders 1, 2 and 3. The finest grid at order 3, and where its orders lead to,
is the truth; where the truth is not known to a quarter of the bar to be judged, the bar is not judged. Devices whose
solution is known in closed form count with that. Signals that are zero but for rounding are left out.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

from suite import CASES, Case  # noqa: E402  after the switch

from thermospin import adapt, export, signals  # noqa: E402
from thermospin import grid as grids  # noqa: E402
from thermospin import model as models  # noqa: E402

#: Without cases that are about grids or about the solver alone.
NAMES = [name for name in CASES if not name.startswith(("aspect", "graded", "moved", "contrast-1e6"))]
CELLS = 700
GROWTH = (1, 3, 10)
ORDERS = (1, 2, 3)


def measure(case: Case) -> list[dict[str, Any]]:
    """Signals at each order on each grid of a path."""
    device, out = case.device, []
    wanted = [(name, part) for name, each in device.experiments.items() for part in adapt.parts_of(each, 2)]
    coarsest = grids.at_coarseness(device.features, 3, 1e6).cells
    first = max(CELLS, int(1.02 * coarsest))
    grid = grids.choose(device.features, 3, first)
    for growth in GROWTH:
        if growth > 1:
            grid = adapt.redistributed(device.features, grid, found, growth * first)  # noqa: F821
        model = models.on_grid(device, grid)
        evaluation = signals.evaluate(model, {}, wanted, ("zeta",), tolerance=1e-9, explain=False)
        found, _ = adapt.indicators(model, evaluation, wanted, {})
        values = {3: dict(zip(map(" ".join, wanted), evaluation.values.tolist(), strict=True))}
        for order in (1, 2):
            other = models.on_grid(device, grids.Grid(grid.lines, grid.domain, order))
            at = signals.evaluate(other, {}, wanted, tolerance=1e-9, explain=False).values
            values[order] = dict(zip(map(" ".join, wanted), at.tolist(), strict=True))
        out.append({"cells": grid.cells, "unknowns": model.unknowns, "values": values})
        jax.clear_caches()
    return out


def main() -> None:
    """Runs the cases and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = {}
    for name in arguments.case:
        began = time.perf_counter()
        found[name] = measure(CASES[name])
        print(name, [each["unknowns"] for each in found[name]], f"{time.perf_counter() - began:.0f} s", flush=True)
        if arguments.json:
            export.write_json(arguments.json, found)


if __name__ == "__main__":
    main()
