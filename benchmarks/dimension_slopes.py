"""Are derivatives by dimensions on the default grid those of the equations? Against a much finer grid.

    python benchmarks/dimension_slopes.py [--device slachter2010] [--finer 3]

On one grid the derivative by a dimension is that of the discrete signal, exactly (tests/test_dimension_slopes.py). What
is left is how far the discrete signal's slope is from the converged one: here the slopes of the default grid against
those of a grid with several times the cells at the same order, both d ln(signal) / d ln(dimension).
"""

from __future__ import annotations

import argparse

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from thermospin.device import reader
from thermospin.model import build
from thermospin.signals import evaluate

#: Slopes below this matter to nobody: a percent of the dimension is a thousandth of the signal.
LEAST = 0.1


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="slachter2010")
    parser.add_argument("--finer", type=float, default=3.0)
    parser.add_argument("--order", type=int, default=3)
    options = parser.parse_args()
    loaded = reader.load(options.device)
    names = [name for name, each in loaded.dimensions.items() if each.range is not None]
    wanted = [(e, f"R{n}.{part}") for e in loaded.experiments for n in (1, 2) for part in ("baseline", "spin")]
    slopes = []
    cells = None
    for _ in range(2):
        model = build(loaded, cells=cells, order=options.order)
        found = evaluate.evaluate(model, {}, wanted, names)
        scale = np.array([loaded.dimensions[name].value for name in names]) / found.values[:, None]
        slopes.append(found.jacobian * scale)
        print(f"order {options.order}, {model.cells} cells, {model.unknowns} unknowns", flush=True)
        cells = int(options.finer * model.cells)
    print(f"{'':18}" + "".join(f"{e[:4]} {s:<16}" for e, s in wanted))
    for k, name in enumerate(names):
        row = "".join(f"{slopes[0][i, k]:+8.3f} {slopes[1][i, k]:+8.3f}    " for i in range(len(wanted)))
        print(f"{name:18}{row}")
    for i, (e, s) in enumerate(wanted):
        own = np.abs(slopes[1][i]) >= LEAST
        off = np.abs(slopes[0][i] / slopes[1][i] - 1)[own]
        worst = np.array(names)[own][int(off.argmax())]
        print(
            f"{e} {s}: {np.count_nonzero(off <= 0.01)} of {len(off)} slopes of {LEAST} or more within 1 %, median "
            f"{np.median(off):.2%}, worst {off.max():.1%} (by {worst})"
        )


if __name__ == "__main__":
    main()
