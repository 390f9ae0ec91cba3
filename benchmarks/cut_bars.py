"""Error bars of bodies whose edges cut cells, against exact resistances and temperatures.

    python benchmarks/cut_bars.py [--body NAME ...] [--cells N] [--json FILE]

One metal, one film: the equations are two-dimensional. NGSolve (`pip install ngsolve`) solves them on triangles of
order 8, which shrink by a factor of 8 in each of five layers around every corner; "known to" is what order 6 and four
layers change. R1 is the resistance, with the current spread evenly over the first end and the second at one potential,
R2 the mean temperature of the body by its own Joule heat. Each on the default grid (or on --cells): the errors of the
value of the grid and of the best estimate, the bar, and whether that covers.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import netgen.geom2d as geometry  # type: ignore
import ngsolve as ngs  # type: ignore
import numpy as np
from ngsolve import ds, dx, grad

jax.config.update("jax_enable_x64", True)

from cut_cells import METAL, SIGMA, THICKNESS, body, funnel, ring, wire

from thermospin import model as models
from thermospin.accuracy import error_bars
from thermospin.base import compilation, files
from thermospin.device.device import Device
from thermospin.device.parts import Experiment
from thermospin.signals import evaluate

ORDER, LAYERS, NM = 8, 5, 1e-9


def constriction(neck: float) -> Device:
    """A strip of 200 nm with two round notches, which leave a neck."""
    radius = (200e-9 - neck) / 2
    turn = np.linspace(0, math.pi, 60)
    lower = [(radius * -math.cos(a), radius * math.sin(a)) for a in turn]
    upper = [(-x, 200e-9 - y) for x, y in lower]
    outline = [(-250e-9, 0.0), *lower, (250e-9, 0.0), (250e-9, 200e-9), *upper, (-250e-9, 200e-9)]
    return body([np.array(outline)], "x-", "x+")


def hexagon() -> Device:
    """A hexagonal pad between two wires on its sides."""
    w, r, h = 40e-9, 120e-9, 120e-9 * math.sqrt(3) / 2
    right = [(r / 2, -h), (r - 17e-9, -w / 2), (250e-9, -w / 2), (250e-9, w / 2), (r - 17e-9, w / 2), (r / 2, h)]
    return body([np.array([*right, *[(-x, -y) for x, y in right]])], "x-", "x+")


def elbow(angle: float) -> Device:
    """A wire of 50 nm that turns by an angle [degrees], its second end cut along y."""
    a = math.radians(angle)
    run, half = 200e-9, 25e-9
    rise, bend, across = run * math.tan(a), half * math.tan(a / 2), half / math.cos(a)
    lower = [(-200e-9, -half), (bend, -half), (run, rise - across)]
    upper = [(run, rise + across), (-bend, half), (-200e-9, half)]
    return body([np.array(lower + upper)], "x-", "x+")


def disc() -> Device:
    """A disc between two wires, unlike ones."""
    turn = np.linspace(0, 2 * math.pi, 121)[:-1]
    arc = 100e-9 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    wide, narrow = 40e-9, 22e-9
    arc = arc[(np.abs(arc[:, 1]) > narrow) | (arc[:, 0] > 0)]
    arc = arc[(np.abs(arc[:, 1]) > wide) | (arc[:, 0] < 0)]
    upper, lower = arc[arc[:, 1] > 0], arc[arc[:, 1] < 0]
    corners = [(200e-9, wide), *upper.tolist(), (-180e-9, narrow), (-180e-9, -narrow), *lower.tolist(), (200e-9, -wide)]
    return body([np.array(corners)], "x-", "x+")


def taper(steep: float) -> Device:
    """A wire that becomes narrower on one side, over a length."""
    outline = [(-150e-9, 0.0), (150e-9, 0.0), (150e-9, 40e-9), (steep / 2, 40e-9), (-steep / 2, 130e-9)]
    return body([np.array([*outline, (-150e-9, 130e-9)])], "x-", "x+")


BODIES: dict[str, Callable[[], Device]] = {
    "wire at 5 degrees": lambda: wire(5, 400e-9),
    "wire at 20 degrees": lambda: wire(20, 400e-9),
    "wire at 45 degrees": lambda: wire(45, 400e-9),
    "funnel": funnel,
    "taper over 60 nm": lambda: taper(60e-9),
    "taper over 200 nm": lambda: taper(200e-9),
    "elbow of 30 degrees": lambda: elbow(30),
    "elbow of 60 degrees": lambda: elbow(60),
    "hexagon": hexagon,
    "disc": disc,
    "neck of 40 nm": lambda: constriction(40e-9),
    "neck of 100 nm": lambda: constriction(100e-9),
    "ring": lambda: ring(60e-9, 120e-9, 1, corners=40),
}


def on(device: Device, name: str, low: np.ndarray, high: np.ndarray) -> bool:
    """Whether a side of the outline lies on the face of a contact."""
    (face,) = (contact.face for contact in device.contacts if contact.name == name)
    axis, bounds = "xyz".index(face[0]), device.solids[0].box["xyz".index(face[0])]
    place = bounds[face[1] == "+"]
    return bool(abs(low[axis] - place) < 1e-12 and abs(high[axis] - place) < 1e-12)


def exact(device: Device, order: int = ORDER, layers: int = LAYERS) -> tuple[float, float]:
    """Resistance [ohm] and mean rise of the temperature [K/A^2] of a body of one outline."""
    corners = np.array(device.solids[0].outline)
    area = np.sum(corners[:, 0] * np.roll(corners[:, 1], -1) - corners[:, 1] * np.roll(corners[:, 0], -1))
    corners = corners if area > 0 else corners[::-1]
    shape = geometry.SplineGeometry()
    points = [shape.AppendPoint(x / NM, y / NM, hpref=1) for x, y in corners]
    for k, point in enumerate(points):
        ends = corners[k], corners[(k + 1) % len(corners)]
        label = next((name for name in ("1", "2") if on(device, name, *ends)), "side")
        shape.Append(["line", point, points[(k + 1) % len(points)]], bc=label)
    mesh = ngs.Mesh(shape.GenerateMesh(maxh=30))
    mesh.RefineHP(layers, 0.125)
    current, first = ngs.H1(mesh, order=order, dirichlet="2"), mesh.Boundaries("1")
    u, v = current.TnT()
    end = ngs.Integrate(ngs.CF(1.0), mesh, definedon=first)
    evenly = ngs.LinearForm(v / (SIGMA * THICKNESS * end) * ds(definedon=first)).Assemble()
    potential = solved(current, grad(u) * grad(v), evenly)
    resistance = ngs.Integrate(potential, mesh, definedon=first) / end
    heat = ngs.H1(mesh, order=order, dirichlet="1|2")
    u, v = heat.TnT()
    joule = SIGMA / METAL.kappa * grad(potential) * grad(potential)
    rise = solved(heat, grad(u) * grad(v), ngs.LinearForm(joule * v * dx(bonus_intorder=order)).Assemble())
    return float(resistance), float(ngs.Integrate(rise, mesh) / ngs.Integrate(ngs.CF(1.0), mesh))


def solved(space: Any, form: Any, load: Any) -> Any:
    """The field of a symmetric form and a load."""
    field = ngs.GridFunction(space)
    matrix = ngs.BilinearForm(form * dx).Assemble().mat
    field.vec.data = matrix.Inverse(space.FreeDofs(), "sparsecholesky") * load.vec
    return field


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--body", nargs="*", default=list(BODIES), choices=list(BODIES))
    parser.add_argument("--cells", type=int)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(
        f"{'':<20} {'signal':<6} {'unknowns':>9} {'exact':>12} {'known to':>9} {'grid':>9} {'estimate':>9} {'bar':>9}"
    )
    lines = []
    for name in arguments.body:
        device = BODIES[name]()
        read = {
            "R1": Experiment("R1", ("1", "2"), ("1", "2"), {"P": {}}),
            "R2": Experiment("R2", ("1", "2"), None, {"P": {}}, temperature=("s0",)),
        }
        device = dataclasses.replace(device, experiments=read)
        truth, coarser = exact(device), exact(device, ORDER - 2, LAYERS - 1)
        compilation.forget()  # every grid has programs of its own
        model = models.build(device, cells=arguments.cells, order=3)
        measured, fields = evaluate.solved(model)
        best = error_bars.assess(model, measured, start=fields)
        for signal, value, other in zip(read, truth, coarser, strict=True):
            key = (signal, f"{signal}.P")
            error, bar = best[key] / value - 1, best.error(*key) / abs(value)
            line = [measured[key] / value - 1, error, bar]
            print(
                f"{name:<20} {signal:<6} {best.unknowns:9d} {value:12.6e} {abs(other / value - 1):9.1e} "
                + " ".join(f"{number:9.1e}" for number in line)
                + ("" if abs(error) <= bar else "  missed"),
                flush=True,
            )
            lines.append({"body": name, "signal": signal, "grid": line[0], "error": error, "bar": bar})
    sizes = np.array([(abs(line["error"]), line["bar"]) for line in lines])
    print(
        f"covered {np.mean(sizes[:, 0] <= sizes[:, 1]):.0%} of {len(lines)}, median bar/error "
        f"{np.median(sizes[:, 1] / sizes[:, 0]):.1f}"
    )
    if arguments.json:
        files.write_json(arguments.json, lines)


if __name__ == "__main__":
    main()
