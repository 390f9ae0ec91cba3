"""Signals of a strip that is turned against the grid, against NGSolve on a mesh that is turned with it.

    python benchmarks/turned_strip.py [--degrees 0 1 10] [--cells N] [--limit UNKNOWNS] [--target 0.02]

The device of `thermospin new`, with its second strip, the copper beside it and the end of the bridge on it sheared by
an angle: x becomes x + y tan(angle). NGSolve's mesh is that of the upright device (benchmarks/independent.py) with its
points moved: as the strip is between its sides, less and less far towards the first strip and the end of the
substrate.
Needs `pip install ngsolve pypardiso`. Columns: the truth, how well it is known, and relative to it the error of the
value of the grid, of the best estimate, and the bar.
"""

from __future__ import annotations

import argparse
import dataclasses
import math

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

import independent

from thermospin import model as models
from thermospin.accuracy import error_bars
from thermospin.base.names import SignalName
from thermospin.device import new, reader
from thermospin.device.device import Device
from thermospin.signals import evaluate

NM = 1e-9
#: Half of the length of the strip, beyond which nothing moves further [nm].
REACH = 300.0
SIGNALS = ["R1.baseline", "R1.spin", "R2.baseline", "R2.spin"]


def turned(upright: Device, slope: float) -> Device:
    """Return the device with the right edges of the copper and both edges of the strip sheared along x."""
    solids = []
    for solid in upright.solids:
        (x0, x1), (y0, y1), z = solid.box
        if slope and solid.name in ("FM2", "bridge", "filling"):
            left = slope if solid.name == "FM2" else 0.0
            outline = tuple(
                (x + t * y, y) for x, y, t in ((x0, y0, left), (x1, y0, slope), (x1, y1, slope), (x0, y1, left))
            )
            box = ((min(x for x, _ in outline), max(x for x, _ in outline)), (y0, y1), z)
            solid = dataclasses.replace(solid, box=box, outline=outline, coordinates={})
        solids.append(dataclasses.replace(solid, coordinates={}))
    return dataclasses.replace(upright, solids=tuple(solids), dimensions={})


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--degrees", type=float, nargs="+", default=[0.0, 1.0, 10.0])
    parser.add_argument("--cells", type=int, help="of thermospin's grid; the default grid without")
    parser.add_argument("--limit", type=int, default=900_000, help="most unknowns of NGSolve")
    parser.add_argument("--target", type=float, default=0.02, help="relative uncertainty of the truth that is enough")
    options = parser.parse_args()
    upright = reader.read(new.blank("turned"), "turned.toml")
    gap = upright.dimensions["gap"].value / NM
    print(f"{'':22} {'unknowns':>9} {'truth':>12} {'known to':>9} {'grid':>9} {'estimate':>9} {'bar':>9}")
    for degrees in options.degrees:
        slope = math.tan(math.radians(degrees))

        def moved(points: np.ndarray, slope: float = slope) -> np.ndarray:
            x, y, z = points.T
            share = np.interp(x, [0, gap, gap + 40, x.max()], [0, 1, 1, 0])
            return np.stack([x + slope * share * np.clip(y, -REACH, REACH), y, z], axis=1)

        *_, row = independent.truth(upright, {"runs": {}}, options.limit, options.target, moved)
        if "signals" not in row:
            parser.error(f"--limit {options.limit}: got too few meshes for an extrapolation, try 800000 or more")
        model = models.build(turned(upright, slope), cells=options.cells)
        found = error_bars.assess(model, evaluate.measure(model))
        for signal in SIGNALS:
            true, off = (row["signals"][f"thermal {signal}"][key] for key in ("value", "uncertainty"))
            key = ("thermal", signal)
            values = (
                found.computed[SignalName.parse(*key)] / true - 1,
                found[key] / true - 1,
                found.error(*key) / abs(true),
            )
            columns = " ".join(f"{value:9.1e}" for value in (off / abs(true), *values))
            print(f"{degrees:3g} degrees {signal:11} {model.unknowns:9} {true:12.6e} {columns}", flush=True)


if __name__ == "__main__":
    main()
