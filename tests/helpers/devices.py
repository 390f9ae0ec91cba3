"""Small devices shared by tests: layered bars with an exact solution, a lateral spin valve, a copper strip.

Each is a device file as text, so that tests go the way of a user: text, `Device`, grid, model, signals. Materials are
not the paper's: couplings are strong, so that no term hides behind another, and the relaxation lengths are of the size
of the solids, so that a few hundred cells resolve them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from thermospin import analytic
from thermospin.device import reader
from thermospin.device.device import Device
from thermospin.device.materials import Material
from thermospin.device.parts import Experiment
from thermospin.grid import Grid, fill

P_AP = {"P": {}, "AP": {"F2": -1}}

MATERIALS = """
[materials.Fe]
sigma = 4e6
P = 0.3
S = "-40 uV/K"
S_s = "-25 uV/K"
kappa = 30
lambda_sf = "20 nm"
[materials.Ni]
sigma = 6e6
P = 0.2
S = "-30 uV/K"
S_s = "15 uV/K"
kappa = 40
lambda_sf = "25 nm"
[materials.Cu]
sigma = 3e7
S = "10 uV/K"
kappa = 200
lambda_sf = "150 nm"
[materials.oxide]
kappa = 1.5
"""
"""Two ferromagnets, a normal metal, and a body that carries heat only; T0 sigma S^2/kappa is 0.06, 0.04 and 0.005."""

BAR = (
    """
name = "bar"
length_unit = "nm"
[[solids]]
name = "F1"
material = "Fe"
magnet = "F1"
box = { x = [0, 30], y = [0, 20], z = [0, 20] }
[[solids]]
name = "N"
material = "Cu"
box = { x = [30, 80], y = [0, 20], z = [0, 20] }
[[solids]]
name = "F2"
material = "Ni"
magnet = "F2"
box = { x = [80, 100], y = [0, 20], z = [0, 20] }
[[contacts]]
name = "left"
solid = "F1"
face = "x-"
[[contacts]]
name = "right"
solid = "F2"
face = "x+"
[experiments.pillar]
current = ["left", "right"]
voltage = ["left", "right"]
states = { P = {}, AP = { F2 = -1 } }
"""
    + MATERIALS
)
"""Two ferromagnets of different material with a normal metal between, 100 nm long; the solution depends on x alone."""

LATERAL = (
    """
name = "lateral"
length_unit = "nm"
[[solids]]
name = "base"
material = "oxide"
box = { x = [-200, 200], y = [-100, 100], z = [-60, 0] }
[[solids]]
name = "strip"
material = "Cu"
box = { x = [-80, 200], y = [-30, 30], z = [0, 40] }
[[solids]]
name = "heater"
material = "Fe"
magnet = "F1"
box = { x = [-120, -40], y = [-100, 100], z = [0, 20] }
[[solids]]
name = "detector"
material = "Ni"
magnet = "F2"
box = { x = [40, 80], y = [-30, 100], z = [0, 20] }
[[contacts]]
name = "1"
solid = "heater"
face = "y-"
[[contacts]]
name = "2"
solid = "heater"
face = "y+"
[[contacts]]
name = "3"
solid = "strip"
face = "x+"
[[contacts]]
name = "4"
solid = "detector"
face = "y+"
[[heat_sinks]]
solid = "base"
face = "z-"
[experiments.thermal]
current = ["1", "2"]
voltage = ["4", "3"]
states = { P = {}, AP = { F2 = -1 } }
[experiments.valve]
current = ["1", "3"]
voltage = ["4", "3"]
states = { P = {}, AP = { F2 = -1 } }
"""
    + MATERIALS
)
"""A ferromagnetic heater under one end of a copper strip, a ferromagnetic detector under its middle, on a substrate."""

STRIP = (
    """
name = "strip"
length_unit = "nm"
[[solids]]
name = "base"
material = "oxide"
box = { x = [0, 300], y = [0, 60], z = [-50, 0] }
[[solids]]
name = "wire"
material = "Cu"
box = { x = [0, 300], y = [10, 50], z = [0, 20] }
[[contacts]]
name = "in"
solid = "wire"
face = "x-"
[[contacts]]
name = "out"
solid = "wire"
face = "x+"
[[heat_sinks]]
solid = "base"
face = "z-"
[[heat_sinks]]
solid = "base"
face = "y+"
[experiments.ohm]
current = ["in", "out"]
voltage = ["in", "out"]
states = { P = {} }
"""
    + MATERIALS
)
"""A copper wire on a substrate with two cold faces."""

#: A wire whose width has a name, with an experiment of the name of the device.
WIRE = """
name = "bar"
length_unit = "nm"
[dimensions]
width = { value = 50, range = [30, 100] }
[[solids]]
name = "wire"
material = "Py"
box = { x = [0, 300], y = [0, "width"], z = [0, 40] }
[[contacts]]
name = "a"
solid = "wire"
face = "x-"
[[contacts]]
name = "b"
solid = "wire"
face = "x+"
[experiments.bar]
current = ["a", "b"]
voltage = ["a", "b"]
states = { P = {}, AP = {} }
"""

#: A polygon that is turned against the grid lines, with a contact that covers nodes in part.
TURNED = """
length_unit = "nm"
[dimensions]
a = 60
[materials.A]
sigma = 1e6
S = 1e-5
kappa = 10.0
lambda_sf = "100 nm"
[materials.B]
sigma = 2e6
P = 0.3
S = -1e-5
S_s = 5e-6
kappa = 30.0
lambda_sf = "50 nm"
[[solids]]
name = "block"
material = "A"
box = { x = [-150, 150], y = [-150, 150], z = [-100, 0] }
[[solids]]
name = "pad"
material = "B"
magnet = "m"
polygon = [["5 + 0.4 * a", "-a"], ["5 + a", "0.4 * a"], ["5 - 0.4 * a", "a"], ["5 - a", "-0.4 * a"]]
z = [-20, 0]
[[contacts]]
name = "left"
solid = "block"
face = "x-"
[[contacts]]
name = "right"
solid = "block"
face = "x+"
[[contacts]]
name = "pad"
solid = "pad"
face = "z+"
[experiments.into]
current = ["left", "pad"]
voltage = ["right", "pad"]
states = { P = {} }
[experiments.back]
current = ["right", "pad"]
voltage = ["left", "pad"]
states = { AP = { m = -1 } }
[experiments.out]
current = ["pad", "left"]
voltage = ["pad", "right"]
states = { P = {} }
"""


def read(text: str) -> Device:
    """The device of a text."""
    return reader.read(text, "text")


def bar() -> Device:
    """See `BAR`."""
    return read(BAR)


def lateral(*names: str) -> Device:
    """See `LATERAL`; with only the experiments named, all of them if none is."""
    device = read(LATERAL)
    return dataclasses.replace(device, experiments={n: device.experiments[n] for n in names or device.experiments})


def strip() -> Device:
    """See `STRIP`."""
    return read(STRIP)


def with_experiment(
    device: Device,
    current: tuple[str, str],
    voltage: tuple[str, str],
    states: Mapping[str, Mapping[str, int]] = P_AP,
) -> Device:
    """The same device with one experiment alone, called "only"."""
    return dataclasses.replace(device, experiments={"only": Experiment("only", current, voltage, states)})


def with_materials(device: Device, **changes: Mapping[str, float]) -> Device:
    """The same device, some values of some materials changed, such as Fe={"P": 0.1}."""
    materials: dict[str, Material] = dict(device.materials)
    for name, values in changes.items():
        materials[name] = dataclasses.replace(materials[name], **values)
    return dataclasses.replace(device, materials=materials)


def bar_grid(device: Device, cells: tuple[int, ...], order: int) -> Grid:
    """A grid for a bar: so many uniform cells in each layer, one cell across."""
    x = np.zeros(1)
    for solid, n in zip(device.solids, cells, strict=True):
        x = np.append(x, np.linspace(*solid.box[0], n + 1)[1:])
    lines = (x, np.array(device.solids[0].box[1]), np.array(device.solids[0].box[2]))
    features = device.features
    return Grid(lines, fill(lines, features.boxes, features.domains), order)


def bar_area(device: Device) -> float:
    """Cross-section of a bar [m^2]."""
    return float(np.prod([high - low for low, high in device.solids[0].box[1:]]))


def bar_exact(device: Device, signs: Mapping[str, int], current: float = 1.0) -> analytic.LayeredSolution:
    """u_1 of a bar at a current; its `second_harmonic()` is u_2 of that current."""
    layers = []
    for solid in device.solids:
        low, high = solid.box[0]
        sign = 1 if solid.magnet is None else signs.get(solid.magnet, 1)
        layers.append(analytic.Layer.of(device.materials[solid.material], high - low, sign=sign))
    left = analytic.End.current(current / bar_area(device))
    return analytic.layered_stack(layers, left, analytic.End.grounded(), T0=device.bath)


def bar_signals(device: Device) -> dict[str, dict[str, float]]:
    """R1 and R2 of a bar in the states P and AP, in closed form, in the layout of `Signals.experiments`."""
    found: dict[str, dict[str, float]] = {"R1": {}, "R2": {}}
    for name, signs in P_AP.items():
        first = bar_exact(device, signs)
        found["R1"][name] = float(first.V_c(0.0))
        found["R2"][name] = float(first.second_harmonic(device.zeta).V_c(0.0))
    for parts in found.values():
        parts["baseline"], parts["spin"] = (parts["P"] + parts["AP"]) / 2, parts["P"] - parts["AP"]
    return found


#: A non-local spin valve with named dimensions.
VALVE = (
    """
name = "valve"
length_unit = "nm"
[dimensions]
gap = { value = 60, std = 4, range = [30, 90] }
width = 40
height = "30 nm"
lead = 50
far = "gap + right_width"
right_width = 25
rim = 6
edge = "width / 2 + rim"
[[solids]]
name = "base"
material = "oxide"
box = { x = ["-lead", "far"], y = ["-edge", "edge"], z = ["-2 * height", 0] }
[[solids]]
name = "left"
material = "Fe"
magnet = "F1"
box = { x = ["-lead", 0], y = ["-width / 2", "width / 2"], z = [0, "height"] }
[[solids]]
name = "wire"
material = "Cu"
box = { x = [0, "gap"], y = ["-width / 4", "width / 2"], z = [0, "height"] }
[[solids]]
name = "right"
material = "Ni"
magnet = "F2"
box = { x = ["gap", "far"], y = ["-edge", "width / 2"], z = [0, "height"] }
[[contacts]]
name = "in"
solid = "left"
face = "x-"
[[contacts]]
name = "out"
solid = "right"
face = "x+"
[[contacts]]
name = "side"
solid = "right"
face = "y+"
[[heat_sinks]]
solid = "base"
face = "z-"
[experiments.local]
current = ["in", "out"]
voltage = ["side", "in"]
states = { P = {}, AP = { F2 = -1 } }
[experiments.across]
current = ["in", "side"]
voltage = ["out", "side"]
states = { P = {}, AP = { F2 = -1 } }
"""
    + MATERIALS
)
