"""Accuracy, bars and time of grids that the signals choose, against grids of the rule.

    python benchmarks/chosen_grids.py [--order P ...] [--cells N ...] [--halve N] [--device NAME] [--json FILE]

For each order and budget the whole of `adapt` (all grids, error bars included) and, beside it, the rule's grid with as
many cells. "first" is the time with compilation, "again" the same once more without, "alone" that of the signals on the
last grid only, from zero, without error bars. For each signal: value, bar in percent, and where the orders lead to.
The last lines compare all with the limits of the largest budget.

--halve N is another road to the limits, with nothing of the adjoint in it: a grid of the rule with N cells at order 2,
all its cells halved along each axis, and halved again. Errors at edges fall like h^(2 lambda), with one exponent for
all three grids, which the two differences show; Aitken's limit, and half of the step to it as its error.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from thermospin import grid
from thermospin import model as models
from thermospin.accuracy import adapt, error_bars
from thermospin.base import compilation, files
from thermospin.base.names import SignalName
from thermospin.device import reader
from thermospin.device.device import Device
from thermospin.geometry import grid_rule
from thermospin.grid import Grid
from thermospin.signals import evaluate
from thermospin.signals.results import Signals


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it returns, and how long it took [s]."""
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def row(kind: str, found: Signals, wanted: list[tuple[str, str]], **times: float) -> dict[str, Any]:
    """One grid, as plain numbers."""
    assert found.errors is not None
    values = {}
    for name, signal in wanted:
        parsed = SignalName.parse(name, signal)
        key, best = f"{name[:4]}.{signal}", found[name, signal]
        values[key] = {"value": found.computed[parsed], "best": best, "bar": found.error(name, signal)}
    return {"kind": kind, "order": found.order, "cells": found.cells, "unknowns": found.unknowns, **times} | values


def halved(loaded: Device, cells: int, wanted: list[tuple[str, str]]) -> None:
    """Prints signals on three nested grids of order 2, and their limits."""
    lines = list(grid_rule.choose(loaded.features, 2, cells).lines)
    values = []
    for _ in range(3):
        domain = grid.fill(lines, loaded.features.boxes, loaded.features.domains)
        model = models.on_grid(loaded, Grid((lines[0], lines[1], lines[2]), domain, 2))
        values.append(evaluate.evaluate(model, {}, wanted).values)
        print(f"halved, order 2: {model.cells} cells, {model.unknowns} unknowns", flush=True)
        lines = [np.sort(np.concatenate([line, (line[1:] + line[:-1]) / 2])) for line in lines]
        compilation.forget()
    for (name, signal), first, second, third in zip(wanted, *values, strict=True):
        ratio = (third - second) / (second - first)
        step = (third - second) * ratio / (1 - ratio) if 0 < ratio < 1 else np.nan
        print(
            f"  {name[:4]}.{signal:<13} {first:+.5e} {second:+.5e} {third:+.5e}  exponent {-np.log2(abs(ratio)):.2f}"
            f"  limit {third + step:+.5e} +- {abs(step) / 2:.1e}"
        )


def shown(found: dict[str, Any], keys: list[str]) -> str:
    """A grid as a few lines of the table."""
    times = "  ".join(f"{name} {found[name]:.1f} s" for name in ("first", "again", "alone") if name in found)
    lines = [f"{found['kind']}, order {found['order']}: {found['cells']} cells, {found['unknowns']} unknowns  {times}"]
    for key in keys:
        each = found[key]
        bar = abs(each["bar"] / each["best"])
        lines.append(f"  {key:<18} {each['best']:+.5e} +- {bar:7.2%}  on the grid {each['value']:+.5e}")
    return "\n".join(lines)


def main() -> None:
    """Runs all budgets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--order", nargs="*", type=int, default=[2, 3])
    parser.add_argument("--cells", nargs="+", type=int, default=[1800, 5400, 16000])
    parser.add_argument("--halve", type=int, metavar="N")
    parser.add_argument("--device", default="slachter2010")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    loaded = reader.load(arguments.device)
    wanted = [(name, part) for name, each in loaded.experiments.items() for part in adapt.parts_of(each, 2)]
    if arguments.halve:
        halved(loaded, arguments.halve, wanted)
    out: list[dict[str, Any]] = []
    for order in arguments.order:
        for cells in arguments.cells:
            # As many unknowns at order 2 as at order 3, about.
            budget = cells * 3 if order == 2 else cells
            adapted, first = timed(lambda: adapt.adapt(loaded, cells=budget, order=order))  # noqa: B023
            _, again = timed(lambda: adapt.adapt(loaded, cells=budget, order=order))  # noqa: B023
            _, alone = timed(lambda: evaluate.measure(adapted.model))  # noqa: B023
            out.append(row("chosen", adapted.signals, wanted, first=first, again=again, alone=alone))
            print(shown(out[-1], list(out[-1])[-len(wanted) :]), flush=True)
            model = models.build(loaded, cells=adapted.model.cells, order=order)
            plain, first = timed(lambda: error_bars.assess(model, evaluate.measure(model)))  # noqa: B023
            out.append(row("rule", plain, wanted, first=first))
            print(shown(out[-1], list(out[-1])[-len(wanted) :]), flush=True)
            if arguments.json:
                files.write_json(arguments.json, out)
            compilation.forget()
    if not out:
        return
    best = max((each for each in out if each["kind"] == "chosen"), key=lambda each: each["order"] ** 3 * each["cells"])
    keys = list(best)[-len(wanted) :]
    print(
        "\npercent off the best estimates of the largest grid: value (best)\n"
        + " " * 28
        + "  ".join(f"{k:>16}" for k in keys)
    )
    for each in out:
        cells = []
        for key in keys:
            value, estimate = (100 * (each[key][name] / best[key]["best"] - 1) for name in ("value", "best"))
            cells.append(f"{value:+8.2f} ({estimate:+5.2f})")
        print(f"{each['kind']:<7} {each['order']} {each['unknowns']:>9}        " + "  ".join(f"{c:>16}" for c in cells))


if __name__ == "__main__":
    main()
