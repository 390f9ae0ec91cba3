"""What the gradient of all six signals of the paper costs against the signals alone, compilation apart.

    python benchmarks/gradient_cost.py [--cells N] [--repeat K]

Prints the ratio of medians of interleaved runs, the number of columns solved, and the largest deviation of the gradient
from central differences for two parameters.
"""

from __future__ import annotations

import argparse
import time

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from thermospin.data import rows
from thermospin.device import reader
from thermospin.model import build
from thermospin.signals import evaluate


def main() -> None:
    """Prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    loaded = reader.load("slachter2010")
    model = build(loaded, cells=options.cells, order=2)
    wanted = [(row.experiment, row.signal) for row in rows.load("slachter2010", loaded)]
    parameters = model.parameters
    names = list(parameters)
    times: dict[str, list[float]] = {"values": [], "gradient": []}
    columns = {}
    for turn in range(options.repeat + 1):
        for label, chosen in (("values", []), ("gradient", names)):
            began = time.perf_counter()
            found = evaluate.evaluate(model, parameters, wanted, chosen)
            if turn:  # the first turn compiles
                times[label].append(time.perf_counter() - began)
            columns[label] = len(found.iterations)
    values, gradient = (float(np.median(times[label])) for label in ("values", "gradient"))
    print(f"{model.unknowns} unknowns, {len(names)} parameters, {len(wanted)} signals")
    print(
        f"values {values:.2f} s ({columns['values']} columns), with gradient {gradient:.2f} s ({columns['gradient']})"
    )
    print(f"ratio {gradient / values:.2f}")
    for name in ("Py.P", "zeta"):
        step = 1e-3 * parameters[name]
        up, down = (
            evaluate.evaluate(model, parameters | {name: parameters[name] + sign * step}, wanted).values
            for sign in (1, -1)
        )
        slope = (up - down) / (2 * step)
        off = np.abs(found.jacobian[:, names.index(name)] - slope) / np.max(np.abs(slope) + 1e-12 * np.abs(up))
        print(f"{name}: gradient against central difference, largest deviation {off.max():.1e}")


if __name__ == "__main__":
    main()
