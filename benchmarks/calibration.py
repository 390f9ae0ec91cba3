"""How good best estimates and their error bars are, over devices whose signals are known.

    python benchmarks/calibration.py [--case NAME ...] [--json FILE] [--from FILE]

Devices are those of benchmarks/calibration_devices on the grid of the rule, on one of half the cells ("half") and on
that of `thermospin signals`, which refines ("refined"), where an independent finite-element code has found the signals
(benchmarks/independent.py, benchmarks/results/truth.json); three layered bars with a closed form; and
the suite of the tests, on two grids of the rule, a coarse one and one with three times as many cells, and on one that
the signals choose: there the truth is what the orders lead to on a chosen grid with eight times the cells. Everything
is computed at the orders 1, 2 and 3. An estimate is judged where the truth is known to a quarter of its bar or of its
error; signals that are zero but for the solver's error are left out. --from judges what --json wrote.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from helpers import devices
from helpers.suite import CASES
from thermospin import model as models
from thermospin.accuracy import adapt, computing, error_bars, surplus
from thermospin.base import compilation, files
from thermospin.base.names import SignalName
from thermospin.device import reader
from thermospin.device.device import Device
from thermospin.geometry import grid_rule
from thermospin.grid import Grid
from thermospin.signals import evaluate

#: Without cases that are about grids or about the solver alone.
NAMES = [name for name in CASES if not name.startswith(("aspect", "graded", "moved", "contrast-1e6"))]
HERE = Path(__file__).parent
TRUTHS = json.loads((HERE / "results" / "truth.json").read_text(encoding="utf-8"))
KNOWN = [name for name, each in TRUTHS.items() if "signals" in each]
CLOSED = ["closed-form", "closed-form-short", "closed-form-strong"]
CELLS, HALF = 600, 750
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
    names = [SignalName.parse(*pair) for pair in wanted]
    values = {}
    for order in (1, 2, 3):
        model = models.on_grid(device, dataclasses.replace(grid, order=order))
        evaluation = evaluate.evaluate(model, {}, wanted, tolerance=TOLERANCE, explain=False)
        values[str(order)] = dict(zip(map(str, names), evaluation.values.tolist(), strict=True))
    parts = surplus.solved_contributions(model, names)
    found = adapt.indicators(model, {name: values["3"][str(name)] for name in names}, parts).slabs
    compilation.forget()
    row = {
        "cells": grid.cells,
        "unknowns": model.unknowns,
        "values": values,
        "exponents": _exponents(device, grid),
        "unresolved": {str(signal): surplus.total(each) for signal, each in parts.items()},
    }
    return row, found


def measure(device: Device) -> Found:
    """Signals at each order on each grid; closed forms as the last one."""
    wanted = [(name, part) for name, each in device.experiments.items() for part in adapt.parts_of(each, 2)]
    exact = device.name == devices.bar().name
    coarsest = grid_rule.at_coarseness(device.features, 3, 1e6).cells
    first = 8 if exact else max(CELLS, int(1.02 * coarsest))
    coarse = grid_rule.choose(device.features, 3, first)
    start, found = at_orders(device, coarse, wanted)
    finer, _ = at_orders(device, grid_rule.choose(device.features, 3, MORE * first), wanted)
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


def measure_known(name: str) -> Found:
    """Signals at each order on three grids, and those of the independent code."""
    path = HERE / "calibration_devices" / f"{name}.toml"
    device, known = reader.load(str(path) if path.exists() else name), TRUTHS[name]["signals"]
    wanted = [(one, part) for one, each in device.experiments.items() for part in adapt.parts_of(each, 2)]
    computed = computing.compute(device)
    tried = {"default": grid_rule.choose(device.features, 3), "half": grid_rule.choose(device.features, 3, HALF)}
    tried["refined"] = tried["default"] if computed.adapted is None else computed.adapted.model.grid
    compilation.forget()
    found = {grid: at_orders(device, lines, wanted)[0] | {"grid": grid} for grid, lines in tried.items()}
    truth = {str(SignalName.parse(*pair)): known.get(" ".join(pair), {}) for pair in wanted}
    values = {signal: each["value"] for signal, each in truth.items() if each}
    doubt = {signal: each["uncertainty"] for signal, each in truth.items() if each}
    return [*found.values(), {"grid": "exact", "values": {"3": values}, "doubt": doubt}]


def _exponents(device: Device, grid: Grid) -> list[float]:
    weakest = device.weakest_edges(grid)
    return [weakest.exponent(1), weakest.exponent(2)]


def _exponent(signal: str, exponents: Sequence[float]) -> float:
    return exponents[SignalName.parse(signal).harmonic > 1]


class Judged(NamedTuple):
    """An estimate beside the truth, SI units: its error and bar, the error of the grid's value, and the correction."""

    signal: str
    grid: str
    truth: float
    error: float
    bar: float
    computed: float
    correction: float
    unsafe: str


def judge(found: Found) -> list[Judged]:
    """Judge every estimate of order 3 whose truth is known well enough; baselines, spin parts and states alike."""
    *tried, last = found
    out = []
    for signal, best in last["values"]["3"].items():
        if signal.endswith((".P", ".AP")) and signal.rpartition(".")[0] + ".spin" in last["values"]["3"]:
            continue  # baseline and spin part say the same
        truth, known = best, last.get("doubt", {}).get(signal, 0.0)
        if last["grid"] == "truth":
            leads = estimated(last, signal)
            truth, known = leads.value, leads.error
        scale = abs(last["values"]["3"][signal.replace("spin", "baseline")])
        if abs(truth) <= ZERO[SignalName.parse(signal).harmonic] * scale:
            continue
        for each in tried:
            best_of, computed = estimated(each, signal), each["values"]["3"][signal]
            error = best_of.value - truth
            if known <= max(abs(error), best_of.error) / 4:
                row = error, best_of.error, computed - truth, best_of.value - computed
                out.append(Judged(signal, each["grid"], truth, *row, best_of.unsafe))
    return out


def estimated(each: dict[str, Any], signal: str) -> error_bars.Estimate:
    """The best estimate of a signal from its values at the three orders."""
    values = [each["values"][str(order)][signal] for order in (1, 2, 3)]
    exponent = _exponent(signal, each["exponents"])
    return error_bars.estimate(
        values, 3, exponent, each["unresolved"].get(signal, 0.0), spin=SignalName.parse(signal).part == "spin"
    )


def shared(judged: Sequence[Sequence[Judged]]) -> float:
    """Correlation of errors over bars of pairs of signals of a device, with the signs of their corrections."""
    products, squares = [], []
    for rows in judged:
        for grid in {row.grid for row in rows}:
            sizes = [
                float(np.clip(row.error / row.bar, -2, 2)) * math.copysign(1, row.correction)
                for row in rows
                if row.grid == grid and row.correction
            ]
            products += [a * b for a, b in itertools.combinations(sizes, 2)]
            squares += [a * a for a in sizes]
    return float(np.mean(products) / np.mean(squares)) if products else math.nan


def left(found: dict[str, Found]) -> list[str]:
    """What is left beyond order 3 in last differences, where these fall, but not to `FAST`: number, quartiles."""
    shares: dict[str, list[float]] = {}
    for *tried, last in found.values():
        for signal, truth in last["values"]["3"].items() if last["grid"] == "exact" else ():
            for each in tried:
                one, two, three = (each["values"][str(order)][signal] for order in (1, 2, 3))
                ratio = (three - two) / (two - one) if two != one else 0.0
                known = last.get("doubt", {}).get(signal, 0.0) < 0.1 * abs(three - two)
                if error_bars.FAST < ratio < 1 and known and _exponent(signal, each["exponents"]) == 0.5:
                    shares.setdefault(signal.rpartition(" ")[2], []).append((truth - three) / (three - two))
    return [
        f"{name:<12} {len(shares[name]):>4}  "
        + ", ".join(f"{q:.2f}" for q in np.percentile(shares[name], [25, 50, 75]))
        for name in ("R1.baseline", "R2.baseline", "R1.spin", "R2.spin")
        if name in shares
    ]


def main() -> None:
    """Runs the cases; prints the worst of each, and how estimates and bars do on the whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", default=[*KNOWN, *CLOSED, *NAMES])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--from", type=Path, dest="source")
    arguments = parser.parse_args()
    found: dict[str, Found] = json.loads(arguments.source.read_text(encoding="utf-8")) if arguments.source else {}
    for name in arguments.case if not arguments.source else ():
        began = time.perf_counter()
        if name in KNOWN:
            found[name] = measure_known(name)
        else:
            found[name] = measure(layered(name) if name in CLOSED else CASES[name].device)
        sizes = [each.get("unknowns") for each in found[name]]
        print(f"{name}: {sizes} unknowns at order 3, {time.perf_counter() - began:.0f} s", flush=True)
        if arguments.json:
            files.write_json(arguments.json, found)
    judged = {name: judge(each) for name, each in found.items()}
    print(f"\n{'device':<22} judged covered  largest error of an estimate: of the signal, its bar, of the grid's value")
    for name, each in judged.items():
        worst = max(each, key=lambda row: abs(row.error / row.truth), default=None)
        text = ""
        if worst is not None:
            parts = [100 * abs(value / worst.truth) for value in (worst.error, worst.bar, worst.computed)]
            text = f"{worst.signal}, {worst.grid}: " + ", ".join(f"{part:.2g} %" for part in parts)
        print(f"{name:<22} {len(each):>6} {sum(abs(row.error) <= row.bar for row in each):>7}  {text}")
    print(
        f"\n{'grid':<8} judged covered  bar/error: median, quartiles; median error: estimate, value of the grid; unsafe"
    )
    rows = [row for each in judged.values() for row in each]
    for grid in ("default", "half", "refined", "rule", "chosen", "all"):
        some = [row for row in rows if grid in (row.grid, "all")]
        if not some:
            continue
        widths = [row.bar / max(abs(row.error), 1e-300) for row in some]
        low, middle, high = np.percentile(widths, [25, 50, 75])
        errors = [np.median([abs(getattr(row, part) / row.truth) for row in some]) for part in ("error", "computed")]
        print(
            f"{grid:<8} {len(some):>6} {np.mean([width >= 1 for width in widths]):>7.1%}  "
            f"{middle:.2f}, {low:.2f} to {high:.2f}; {errors[0]:.2%}, {errors[1]:.2%}; "
            f"{np.mean([bool(row.unsafe) for row in some]):.0%}"
        )
    print(f"\ncorrelation of the errors of signals of a device: {shared(list(judged.values())):.2f}")
    print("\n".join(["\nleft beyond order 3, in last differences: quartiles", *left(found)]))


if __name__ == "__main__":
    main()
