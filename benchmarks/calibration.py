"""How often error bars cover the truth, and how much too wide they are, over the suite of devices.

    python benchmarks/calibration.py [--case NAME ...] [--json FILE] [--from FILE]

For each device two grids of the rule, a coarse one and one with three times as many cells, and two that the signals
choose, starting from the coarse one: with three and with eight times as many. On each all signals are computed at the
orders 1, 2 and 3. What the orders on the last grid lead to is the truth; a bar is judged where the truth is known to a
quarter of it or of the error. The layered bars of tests/helpers/devices.py count with their closed form
instead. Signals that are zero but for the solver's error are left out. --from judges what --json wrote.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from helpers import devices
from helpers.suite import CASES
from thermospin import grid as grids
from thermospin import model as models
from thermospin.accuracy import adapt, error_bars
from thermospin.base import files
from thermospin.device.device import Device
from thermospin.grid import Grid
from thermospin.signals import evaluate

#: Without cases that are about grids or about the solver alone.
NAMES = [name for name in CASES if not name.startswith(("aspect", "graded", "moved", "contrast-1e6"))]
CLOSED = ["closed-form", "closed-form-short", "closed-form-strong"]
CELLS = 600
MORE, MOST = 3, 8
TOLERANCE = 1e-9
#: Signals below this part of their harmonic are zero but for the solver's error.
ZERO = {1: 1e-11, 2: 2e-6}

Found = list[dict[str, Any]]


def layered(name: str) -> Device:
    """A layered bar; with shorter relaxation lengths, or with more polarised magnets."""
    changes = {"short": {"lambda_sf": 3e-9}, "strong": {"P": 0.7}}.get(name.rpartition("-")[2], {})
    return devices.with_materials(devices.bar(), Fe=changes, Ni=changes)


def at_orders(device: Device, grid: Grid, wanted: list[tuple[str, str]]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Signals at the orders 1, 2 and 3 on the same lines, and the indicators of the last."""
    values = {}
    for order in (1, 2, 3):
        model = models.on_grid(device, Grid(grid.lines, grid.domain, order))
        names = ("zeta",) if order == 3 else ()
        evaluation = evaluate.evaluate(model, {}, wanted, names, tolerance=TOLERANCE, explain=False)
        values[str(order)] = dict(zip(map(" ".join, wanted), evaluation.values.tolist(), strict=True))
    found, _ = adapt.indicators(model, evaluation, wanted, {})
    jax.clear_caches()
    return {"cells": grid.cells, "unknowns": model.unknowns, "values": values}, found


def measure(device: Device) -> Found:
    """Signals at each order on each grid; closed forms as the last one."""
    wanted = [(name, part) for name, each in device.experiments.items() for part in adapt.parts_of(each, 2)]
    exact = device.name == devices.bar().name
    coarsest = grids.at_coarseness(device.features, 3, 1e6).cells
    first = 8 if exact else max(CELLS, int(1.02 * coarsest))
    coarse = grids.choose(device.features, 3, first)
    start, found = at_orders(device, coarse, wanted)
    finer, _ = at_orders(device, grids.choose(device.features, 3, MORE * first), wanted)
    grid = adapt.redistributed(device.features, coarse, found, MORE * first)
    chosen, found = at_orders(device, grid, wanted)
    out = [start | {"grid": "rule"}, finer | {"grid": "rule"}, chosen | {"grid": "chosen"}]
    if exact:
        (name,) = device.experiments
        parts = devices.bar_signals(device)
        values = {f"{name} {h}.{part}": parts[h][part] for h in parts for part in ("baseline", "spin")}
        return [*out, {"grid": "exact", "values": {str(order): values for order in (1, 2, 3)}}]
    last, _ = at_orders(device, adapt.redistributed(device.features, grid, found, MOST * first), wanted)
    return [*out, last | {"grid": "truth"}]


def judge(found: Found) -> list[tuple[str, str, int, float, float, float]]:
    """For each signal that can be judged (signal, grid, order, truth, error, bar)."""
    *tried, last = found
    out = []
    for signal, best in last["values"]["3"].items():
        tail = error_bars.tail([last["values"][str(order)][signal] for order in (1, 2, 3)])
        truth, known = (best, tail.error) if math.isnan(tail.limit) else (tail.limit, tail.limit_error)
        scale = abs(last["values"]["3"][signal.replace("spin", "baseline")])
        if abs(truth) <= ZERO[int(signal.partition(" ")[2][1])] * scale:
            continue
        for each in tried:
            for order in (2, 3):
                values = [each["values"][str(n)][signal] for n in range(1, order + 1)]
                error, bar = abs(values[-1] - truth), error_bars.tail(values).error
                if known <= max(error, bar) / 4:
                    out.append((signal, each["grid"], order, truth, error, bar))
    return out


def others(found: Found) -> dict[str, list[tuple[float, float]]]:
    """Bars that were tried and are not used: (error, bar) of each signal.

    "order above": of order 2, one and a half times the difference to order 3 on the same lines. "two grids": of order
    2 or 3 on the finer grid of the rule, the difference to the coarser one with a third of the cells.
    """
    out: dict[str, list[tuple[float, float]]] = {"order above, 2": [], "two grids, 2": [], "two grids, 3": []}
    truths = {signal: truth for signal, _, _, truth, _, _ in judge(found)}
    coarse, fine = (each["values"] for each in found[:2])
    for signal, truth in truths.items():
        for values in (each["values"] for each in found[:3]):
            above = 1.5 * abs(values["3"][signal] - values["2"][signal])
            out["order above, 2"].append((abs(values["2"][signal] - truth), above))
        for order in ("2", "3"):
            bar = abs(fine[order][signal] - coarse[order][signal])
            out[f"two grids, {order}"].append((abs(fine[order][signal] - truth), bar))
    return out


def main() -> None:
    """Runs the cases, prints every miss, and how the bars do on the whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", default=[*CLOSED, *NAMES], choices=[*CLOSED, *NAMES])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--from", type=Path, dest="source")
    arguments = parser.parse_args()
    found: dict[str, Found] = json.loads(arguments.source.read_text(encoding="utf-8")) if arguments.source else {}
    for name in arguments.case if not arguments.source else ():
        began = time.perf_counter()
        found[name] = measure(layered(name) if name in CLOSED else CASES[name].device)
        sizes = [each.get("unknowns") for each in found[name]]
        print(f"{name}: {sizes} unknowns at order 3, {time.perf_counter() - began:.0f} s", flush=True)
        if arguments.json:
            files.write_json(arguments.json, found)
    judged = {name: judge(each) for name, each in found.items()}
    print(f"\n{'device':<20} judged covered  widest miss: error, bar, both in percent of the signal")
    for name, each in judged.items():
        missed = max((row for row in each if row[4] > row[5]), key=lambda row: row[4] / row[5], default=None)
        text = ""
        if missed is not None:
            signal, grid, order, truth, error, bar = missed
            text = f"{signal}, {grid}, order {order}: {100 * error / abs(truth):.3g}, {100 * bar / abs(truth):.3g}"
        covered = sum(row[4] <= row[5] for row in each)
        print(f"{name:<20} {len(each):>6} {covered:>7}  {text}")
    print(f"\n{'grid':<7} order judged covered  bar/error: median, quartiles")
    rows = [row for each in judged.values() for row in each]
    for grid, order in (("rule", 2), ("rule", 3), ("chosen", 2), ("chosen", 3), ("all", 2), ("all", 3)):
        some = [row for row in rows if grid in (row[1], "all") and row[2] == order]
        if not some:
            continue
        widths = [row[5] / max(row[4], 1e-300) for row in some]
        low, middle, high = np.percentile(widths, [25, 50, 75])
        print(
            f"{grid:<7} {order:>5} {len(some):>6} {np.mean([width >= 1 for width in widths]):>7.1%}  "
            f"{middle:.2f}, {low:.2f} to {high:.2f}"
        )
    print("\nother bars, for the same signals")
    tried = [others(each) for each in found.values()]
    for kind in tried[0]:
        pairs = np.array([pair for each in tried for pair in each[kind]])
        widths = pairs[:, 1] / np.maximum(pairs[:, 0], 1e-300)
        low, middle, high = np.percentile(widths, [25, 50, 75])
        print(f"{kind:<14} {len(pairs):>6} {np.mean(widths >= 1):>7.1%}  {middle:.2f}, {low:.2f} to {high:.2f}")


if __name__ == "__main__":
    main()
