"""What slanted and round edges cost: resistances of bodies that no box describes, on grids that do not fit them.

    python benchmarks/cut_cells.py            about ten minutes on two cores, most of them compilation

- A straight wire turned against the grid: what 400 nm more of it add to the resistance, against length/(sigma width
  thickness), for angles and cells across. The currents at its ends cancel in the difference.
- What a second quarter of a ring adds to the resistance of the first, against (pi/2)/(sigma thickness
  ln(outer/inner)): the current is spread evenly over the first end, not as a ring would have it, and that cancels.
- A funnel from 30 to 300 nm, against itself on the finest grid of order 3, as is a funnel made of boxes: what a
  staircase of as many steps as there are cells would be worth.
"""

from __future__ import annotations

import itertools
import math

import jax
import numpy as np

from thermospin import model as models
from thermospin.base import compilation
from thermospin.device.device import Device
from thermospin.device.materials import Material
from thermospin.device.parts import Contact, Experiment, Solid
from thermospin.signals import evaluate

SIGMA, THICKNESS = 1e7, 20e-9
METAL = Material("metal", SIGMA, 0.0, 0.0, 0.0, 70.0, 1e-6)


def resistance(device: Device, size: float, order: int) -> tuple[float, int]:
    """R1 [ohm] on cells of about one size [m], and how many there are."""
    lines = []
    for axis in range(3):
        faces = device.features.faces(axis)
        pieces = [
            np.linspace(low, high, max(1, round((high - low) / size)) + 1)[:-1]
            for low, high in itertools.pairwise(faces)
        ]
        lines.append(np.append(np.concatenate(pieces), faces[-1]))
    lines[2] = device.features.faces(2)
    compilation.forget()  # every grid has programs of its own, and there are many
    model = models.on_grid(device, device.features.grid(lines, order))
    return evaluate.measure(model, harmonics=1)["e", "R1.P"], model.cells


def body(outlines: list[np.ndarray], first: str, last: str) -> Device:
    """A body of outlines, a current from the end of the first to that of the last."""
    solids = []
    for number, outline in enumerate(outlines):
        (x0, y0), (x1, y1) = outline.min(axis=0).tolist(), outline.max(axis=0).tolist()
        corners = tuple((float(x), float(y)) for x, y in outline)
        solids.append(Solid(f"s{number}", "metal", None, ((x0, x1), (y0, y1), (0.0, THICKNESS)), outline=corners))
    return Device(
        name="body",
        solids=tuple(solids),
        materials={"metal": METAL},
        contacts=(Contact("1", "s0", first), Contact("2", f"s{len(outlines) - 1}", last)),
        experiments={"e": Experiment("e", ("1", "2"), ("1", "2"), {"P": {}})},
    )


def wire(angle: float, length: float, width: float = 60e-9) -> Device:
    """A straight wire at an angle to x [degrees], its ends cut along y."""
    rise, across = math.tan(math.radians(angle)), width / math.cos(math.radians(angle))
    run = length * math.cos(math.radians(angle))
    return body([np.array([[0, 0], [run, run * rise], [run, run * rise + across], [0, across]])], "x-", "x+")


def ring(inner: float, outer: float, quarters: int, corners: int = 400) -> Device:
    """One or two quarters of a ring; with so many corners its area is right to 3e-6."""
    turn = np.linspace(0, math.pi / 2, corners)
    arc = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    arc[0], arc[-1] = (1, 0), (0, 1)
    quarter = np.concatenate([outer * arc, inner * arc[::-1]])
    return body([quarter], "y-", "x-") if quarters == 1 else body([quarter, quarter * (-1, 1)], "y-", "y-")


def funnel(steps: int | None = None) -> Device:
    """From 30 to 300 nm over 300 nm, straight pieces at both ends; of boxes with a number of steps."""
    a, b, length = 15e-9, 150e-9, 300e-9
    if steps is None:
        top = [(-100e-9, a), (0, a), (length, b), (length + 100e-9, b)]
        return body([np.array([(x, -y) for x, y in top] + top[::-1])], "x-", "x+")
    ends = np.linspace(0, length, steps + 1)
    halves = a + (b - a) * (ends[1:] + ends[:-1]) / 2 / length
    parts = [(-100e-9, 0.0, a), *zip(ends[:-1], ends[1:], halves, strict=True), (length, length + 100e-9, b)]
    top = [corner for x0, x1, y in parts for corner in ((x0, y), (x1, y))]
    return body([np.array([(x, -y) for x, y in top] + top[::-1])], "x-", "x+")


def main() -> None:
    """Prints the three tables."""
    jax.config.update("jax_enable_x64", True)
    exact = 400e-9 / (SIGMA * 60e-9 * THICKNESS)
    print("wire: relative error of what 400 nm add to the resistance")
    print(f"{'angle':>6} {'across':>7} " + " ".join(f"{f'order {order}':>10}" for order in (1, 2, 3)))
    for angle, across in itertools.product((0, 10, 30, 45), (2, 4, 8)):
        size = 60e-9 / math.cos(math.radians(angle)) / across
        found = [
            resistance(wire(angle, 700e-9), size, order)[0] - resistance(wire(angle, 300e-9), size, order)[0]
            for order in (1, 2, 3)
        ]
        print(f"{angle:6d} {across:7d} " + " ".join(f"{value / exact - 1:10.1e}" for value in found), flush=True)

    inner, outer = 60e-9, 120e-9
    exact = math.pi / 2 / (SIGMA * THICKNESS * math.log(outer / inner))
    print("\nring: relative error of what a quarter adds to the resistance")
    print(f"{'across':>7} " + " ".join(f"{f'order {order}':>10}" for order in (1, 2, 3)))
    for across in (2, 4, 8):
        size = (outer - inner) / across
        found = [
            resistance(ring(inner, outer, 2), size, order)[0] - resistance(ring(inner, outer, 1), size, order)[0]
            for order in (1, 2, 3)
        ]
        print(f"{across:7d} " + " ".join(f"{value / exact - 1:10.1e}" for value in found), flush=True)

    finest = resistance(funnel(), 30e-9 / 32, 3)[0]
    print("\nfunnel: relative error of the resistance against 32 cells across the neck at order 3")
    print(f"{'across':>7} " + " ".join(f"{f'order {order}':>10}" for order in (1, 2, 3)) + f" {'boxes':>10}")
    for across in (2, 4, 8):
        size = 30e-9 / across
        found = [resistance(funnel(), size, order)[0] for order in (1, 2, 3)]
        found.append(resistance(funnel(round(300e-9 / size / 2)), size, 3)[0])
        print(f"{across:7d} " + " ".join(f"{value / finest - 1:10.1e}" for value in found), flush=True)


if __name__ == "__main__":
    main()
