"""How often the 68 % intervals of a fit contain the truth, and how far its values are off, over synthetic data sets.

    python benchmarks/coverage.py [--sets 200] [--cells 1000] [--order 3] [--finer 3] [--noise 0.07] [--json FILE]

Two spin valves that differ in the distance of their magnets, heated (R2) and driven (R1) as in Slachter et al. 2010,
are fitted together for zeta, S_s and P of Py, and lambda_sf of Cu. Every set has a truth of its own, data made on a
grid with so many times the cells (and of the next order, if there is one), and Gaussian noise; the fit starts at the
values of the cards. An interval is value +- std, the std that of the report: noise, and the error bars of the grid of
the fit. The bias is the mean relative error of the values over its standard deviation.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from thermospin import inverse
from thermospin.base import files
from thermospin.data.rows import Row
from thermospin.device import reader
from thermospin.device.device import Device
from thermospin.model import build
from thermospin.signals import evaluate

FREE = ("zeta", "Py.S_s", "Py.P", "Cu.lambda_sf")
#: Truths lie within this factor of the values of the cards, evenly in the logarithm.
SPREAD = 1.3
DISTANCES = {"near": 100, "far": 400}
SIGNALS = (
    ("thermal", "R2.baseline"),
    ("thermal", "R2.spin"),
    ("electrical", "R1.baseline"),
    ("electrical", "R1.spin"),
)
TEXT = """
name = "{name}"
length_unit = "nm"

[[solids]]
name = "FM1"
material = "Py"
box = {{ x = [-60, 0], y = [-100, 100], z = [0, 15] }}

[[solids]]
name = "FM2"
material = "Py"
magnet = "FM2"
box = {{ x = [{near}, {far}], y = [-60, 60], z = [0, 15] }}

[[solids]]
name = "channel"
material = "Cu"
box = {{ x = [-200, {end}], y = [-20, 20], z = [15, 55] }}

[[contacts]]
name = "1"
solid = "FM1"
face = "y+"

[[contacts]]
name = "2"
solid = "FM1"
face = "y-"

[[contacts]]
name = "3"
solid = "channel"
face = "x+"

[[contacts]]
name = "4"
solid = "FM2"
face = "y+"

[[contacts]]
name = "5"
solid = "channel"
face = "x-"

[experiments.thermal]
current = ["1", "2"]
voltage = ["4", "3"]
states = {{ P = {{}}, AP = {{ FM2 = -1 }} }}

[experiments.electrical]
current = ["1", "5"]
voltage = ["4", "3"]
states = {{ P = {{}}, AP = {{ FM2 = -1 }} }}
"""


def device(name: str) -> Device:
    """The valve with that distance between its magnets."""
    d = DISTANCES[name]
    return reader.read(TEXT.format(name=name, near=d, far=d + 40, end=d + 240), name)


def main() -> None:
    """Makes and fits the sets; prints coverage, bias and width for each parameter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--order", type=int, default=3)
    parser.add_argument("--finer", type=float, default=3.0)
    parser.add_argument("--noise", type=float, default=0.07)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rng = np.random.default_rng(20261125)
    valves = [device(name) for name in DISTANCES]
    models = [build(each, cells=arguments.cells, order=arguments.order) for each in valves]
    cells = int(arguments.finer * arguments.cells)
    finer = [build(each, cells=cells, order=min(arguments.order + 1, 3)) for each in valves]
    wanted = [(each.name, *signal) for each in valves for signal in SIGNALS]
    size = ", ".join(f"{each.grid.cells} cells, {each.unknowns} unknowns" for each in models)
    print(f"fits at order {arguments.order}: {size}; data: {', '.join(f'{each.unknowns} unknowns' for each in finer)}")
    cards = {name: valves[0].parameters()[name] for name in FREE}

    def data_of(truth: dict[str, float], on: list[Any]) -> np.ndarray:
        return np.concatenate([evaluate.evaluate(each, truth, SIGNALS, ()).values for each in on])

    at_cards = data_of(cards, finer)
    off = data_of(cards, models) / at_cards - 1
    print("grid of the fit against that of the data, percent:", " ".join(f"{100 * each:.2g}" for each in off))
    stds = arguments.noise * np.abs(at_cards)
    found: list[dict[str, Any]] = []
    began = time.perf_counter()
    for number in range(arguments.sets):
        truth = {name: value * SPREAD ** rng.uniform(-1, 1) for name, value in cards.items()}
        values = data_of(truth, finer) + stds * rng.standard_normal(len(stds))
        rows = [
            Row(experiment, signal, float(value), float(std), device=name)
            for (name, experiment, signal), value, std in zip(wanted, values, stds, strict=True)
        ]
        result = inverse.fit(models, rows, free=FREE)
        pulls = {name: (each.value - truth[name]) / each.std for name, each in result.parameters.items()}
        grid = dict(zip(result.names, map(float, result.grid_shares), strict=True))
        found.append(
            {
                "truth": truth,
                "pulls": pulls,
                "errors": {name: each.value / truth[name] - 1 for name, each in result.parameters.items()},
                "relative_stds": {name: each.std / abs(each.value) for name, each in result.parameters.items()},
                "grid_shares": grid,
                "evaluations": result.evaluations,
                "chi2": result.chi2,
                "converged": result.converged,
            }
        )
        if (number + 1) % 20 == 0:
            print(f"  {number + 1} sets, {time.perf_counter() - began:.0f} s", flush=True)
            if arguments.json:
                files.write_json(arguments.json, found)
    good = [each for each in found if each["converged"]]
    print(f"{len(good)} of {len(found)} converged; evaluations: {np.mean([each['evaluations'] for each in found]):.1f}")
    print(f"chi2 on average {np.mean([each['chi2'] for each in good]):.2f} for {len(wanted) - len(FREE)} degrees")
    print(f"{'parameter':<14} {'68 %':>6} {'95 %':>6} {'bias/std':>9} {'std of pulls':>13} {'std':>6} {'grid':>6}")
    for name in FREE:
        pulls = np.array([each["pulls"][name] for each in good])
        errors = np.array([each["errors"][name] for each in good])
        width, grid = (np.median([each[key][name] for each in good]) for key in ("relative_stds", "grid_shares"))
        print(
            f"{name:<14} {np.mean(np.abs(pulls) < 1):>6.1%} {np.mean(np.abs(pulls) < 1.96):>6.1%} "
            f"{np.mean(errors) / np.std(errors):>+9.3f} {np.std(pulls):>13.3f} {width:>6.1%} {grid:>6.1%}"
        )


if __name__ == "__main__":
    main()
