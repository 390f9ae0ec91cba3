"""Synthetic lock-in sweeps of the shipped device, with known truth: what a lab's files look like.

    python scripts/synthetic_sweeps.py [--out thermospin/data/shipped] [--seed 2010]

Both experiments at 0.5, 0.75, 1.0, 1.25 and 1.5 mA rms, field up and down between -60 and 60 mT. The magnets switch at
different fields in the two directions; every point has white noise, every sweep a drift, a few points are spikes. First
and second harmonic come from R1 to R4 of the model at TRUTH: best estimates, so that a fit on another grid can find the
truth again. Written: slachter2010-sweeps.toml, which `thermospin sweeps` and `fit` read, one CSV for each experiment,
and the truth as JSON.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

import thermospin as ts
from thermospin.base import files

TRUTH = {"zeta": 1.2, "Py.S_s": -3.4e-6, "Py.P": 0.24}
CURRENTS = (0.5e-3, 0.75e-3, 1.0e-3, 1.25e-3, 1.5e-3)
POINTS, LARGEST_FIELD = 81, 60e-3
#: Field at which FM2, then FM1 switch, going up and going down [T].
SWITCHES = {"up": (14e-3, 31e-3), "down": (-17e-3, -28e-3)}
#: Noise of one point, rms [V]: a preamplifier of 4 nV/sqrt(Hz) over one second.
NOISE = {"V1": 4e-9, "V2": 4e-9}
#: Relative standard deviation of the gain, one number for all.
GAIN_STD = 0.005
#: Drift over a sweep in units of the noise, and how many of the points are spikes.
DRIFT, SPIKES, SPIKE = 2.0, 0.01, 30.0

HEADER = """# Made by scripts/synthetic_sweeps.py, not measured: the truth is in slachter2010-sweeps.truth.json.
name = "slachter2010 sweeps"
current_is = "rms"
voltage_is = "rms"
polarity = "known"
gain_std = 0.005

[columns]
field = { column = "B (mT)", unit = "mT" }
current = { column = "I (mA)", unit = "mA" }
V1 = { column = "X1 (uV)", unit = "uV", phase = 0 }
V2 = { column = "X2 (nV)", unit = "nV", phase = -90 }
"""


def rms(R: dict[str, float], current: float) -> dict[str, float]:
    """Rms voltages of the first and second harmonic, the second at -90 degrees [V]; see `thermospin.data.lockin`."""
    return {
        "V1": R["R1"] * current + 1.5 * R["R3"] * current**3,
        "V2": (R["R2"] * current**2 + 2 * R["R4"] * current**4) / math.sqrt(2),
    }


def sweep(rng: np.random.Generator, states: dict[str, dict[str, float]], current: float, direction: str) -> list[list]:
    """Rows (field, current, V1, V2) of one sweep in one direction, in the units of the file."""
    sign = 1 if direction == "up" else -1
    field = sign * np.linspace(-LARGEST_FIELD, LARGEST_FIELD, POINTS)
    first, second = (sign * each for each in SWITCHES[direction])
    apart = (sign * field >= first) & (sign * field < second)
    levels = {state: rms(R, current) for state, R in states.items()}
    columns = [1e3 * field + 0.05 * rng.standard_normal(POINTS), np.full(POINTS, 1e3 * current)]
    for key, unit in (("V1", 1e6), ("V2", 1e9)):
        noise = rng.standard_normal(POINTS) + DRIFT * rng.standard_normal() * np.linspace(-0.5, 0.5, POINTS)
        noise += SPIKE * (rng.random(POINTS) < SPIKES) * rng.choice([-1, 1], POINTS)
        value = np.where(apart, levels["AP"][key], levels["P"][key]) + NOISE[key] * noise
        columns.append(unit * value)
    digits = ("{:.3f}", "{:.4g}", "{:.5f}", "{:.2f}")
    return [[form.format(value) for form, value in zip(digits, row, strict=True)] for row in zip(*columns, strict=True)]


def main() -> None:
    """Computes the truth and writes the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("thermospin/data/shipped"))
    parser.add_argument("--seed", type=int, default=2010)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    device = ts.load("slachter2010")
    model = ts.build(device, order=3)
    signals = ts.assess(model, ts.measure(model, TRUTH, harmonics=4), TRUTH)
    found = signals.experiments
    text, gain = HEADER, 1 + GAIN_STD * rng.standard_normal()
    truth = {"parameters": TRUTH, "cells": signals.cells, "order": signals.order, "signals": {}}
    for name in device.experiments:
        states = {state: {n: gain * found[name][n][state] for n in found[name]} for state in ("P", "AP")}
        truth["signals"][name] = {n: {p: found[name][n][p] for p in ("baseline", "spin")} for n in found[name]}
        file = f"slachter2010-sweeps.{name}.csv"
        with (arguments.out / file).open("w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(["B (mT)", "I (mA)", "X1 (uV)", "X2 (nV)"])
            for current in CURRENTS:
                for direction in SWITCHES:
                    writer.writerows(sweep(rng, states, current, direction))
        text += f'\n[[sweeps]]\nexperiment = "{name}"\nfile = "{file}"\n'
    (arguments.out / "slachter2010-sweeps.toml").write_text(text, encoding="utf-8")
    files.write_json(arguments.out / "slachter2010-sweeps.truth.json", truth)


if __name__ == "__main__":
    main()
