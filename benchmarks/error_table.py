"""Errors of signals against unknowns and seconds: best estimates, values of the grid, and an independent code.

    python benchmarks/error_table.py [--device NAME ...] [--cells N ...] [--json FILE]

Devices of benchmarks/calibration_devices, whose signals NGSolve has found (benchmarks/independent.py), on the default
grid and on grids of --cells cells that the signals choose. "first" is the time of all signals with their error bars,
compilation included, "again" the same once more. Errors are of the signals that are known to KNOWN, rests of what
cancels left out: median and largest, of the best estimate and of the value of the grid, and the largest bar. The lines
of NGSolve are the meshes on the way to its limits, with its seconds (one thread, nothing to compile).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from thermospin import model as models
from thermospin.accuracy import adapt, error_bars
from thermospin.base import compilation, files
from thermospin.device import reader
from thermospin.device.device import Device
from thermospin.signals import evaluate
from thermospin.signals.results import Signals

HERE = Path(__file__).parent
DEVICES = ["lateral_py_cu", "lateral_narrow", "lateral_heater", "pillar_small", "pillar_square"]
#: Relative uncertainty of a truth that errors are judged by.
KNOWN = 0.004


def assessed(device: Device) -> Signals:
    """All signals of the default grid, with error bars."""
    model = models.GridOptions().build(device, None)
    measured, fields = evaluate.solved(model)
    return error_bars.assess(model, measured, start=fields)


def timed(work: Callable[[], Signals]) -> tuple[Signals, float, float]:
    """What work returns, and its seconds the first and the second time."""
    compilation.forget()
    began = time.perf_counter()
    work()
    between = time.perf_counter()
    found = work()
    return found, between - began, time.perf_counter() - between


def errors(values: Mapping[str, float], truth: Mapping[str, float]) -> str:
    """Median and largest relative error."""
    sizes = [abs(values[name] / value - 1) for name, value in truth.items() if name in values]
    return f"{np.median(sizes):9.2%} {max(sizes):8.2%}"


def show(
    label: str, truth: Mapping[str, float], doubt: Mapping[str, float], found: Signals, first: float, again: float
) -> dict[str, Any]:
    """Prints a line, and returns its numbers; what is not covered misses by more than the doubt of the truth."""
    assert found.errors is not None
    best, computed = ({str(name): value for name, value in each.items()} for each in (found.values, found.computed))
    bars = [found.error(*name.split(" ")) / abs(value) for name, value in truth.items()]
    missed = [
        name for name, value in truth.items() if abs(best[name] - value) > found.error(*name.split(" ")) + doubt[name]
    ]
    print(
        f"{label:<24} {found.unknowns:>9} {first:>7.1f} {again:>7.1f} {errors(best, truth)} {errors(computed, truth)} "
        f"{max(bars):8.2%}  {', '.join(missed)}",
        flush=True,
    )
    names = list(truth)
    return {"label": label, "unknowns": found.unknowns, "first_s": first, "again_s": again} | {
        "best": {name: best[name] for name in names},
        "computed": {name: computed[name] for name in names},
    }


def of_truth(name: str, cells: list[int]) -> list[dict[str, Any]]:
    """Prints and returns the lines of a device whose signals are known."""
    device = reader.load(str(HERE / "calibration_devices" / f"{name}.toml"))
    row = json.loads((HERE / "results" / "truth.json").read_text(encoding="utf-8"))[name]
    truth = {
        signal: each["value"]
        for signal, each in row["signals"].items()
        if each["value"] and each["uncertainty"] <= KNOWN * abs(each["value"]) and signal.endswith(("baseline", "spin"))
    }
    print(f"\n{name}, {len(truth)} signals")
    doubt = {signal: row["signals"][signal]["uncertainty"] for signal in truth}
    lines = [show("default grid", truth, doubt, *timed(lambda: assessed(device)))]
    for count in cells:
        work = timed(lambda: adapt.adapt(device, cells=count).signals)  # noqa: B023
        lines.append(show(f"chosen, {count} cells", truth, doubt, *work))
    for label, run in row["runs"].items():
        values = run["signals"]
        print(f"NGSolve, {label:<15} {run['unknowns']:>9} {run['seconds']:>7.1f} {'':>7} {errors(values, truth)}")
    return lines


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", nargs="*", default=DEVICES)
    parser.add_argument("--cells", nargs="*", type=int, default=[6000])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(
        f"{'':<24} {'unknowns':>9} {'first':>7} {'again':>7} {'estimate: median, max':>18} {'grid: median, max':>18} "
        f"{'bar':>8}  not covered"
    )
    found = {name: of_truth(name, arguments.cells) for name in arguments.device}
    if arguments.json:
        files.write_json(arguments.json, found)


if __name__ == "__main__":
    main()
