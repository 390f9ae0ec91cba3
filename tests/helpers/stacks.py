"""Bars of several layers as devices, with drives, probes and interfaces, and their exact signals.

Layers lie along x between the contacts "left" and "right" (heat sinks of these names at the end of a heat-only layer);
side walls are insulated, so that the solution depends on x alone and `analytic.layered_stack` is exact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from helpers.problems import clustered
from thermospin import analytic, model
from thermospin.device.device import Device
from thermospin.device.interfaces import Interface
from thermospin.device.materials import Material
from thermospin.device.parts import Contact, Experiment, HeatSink, Solid, Through
from thermospin.grid import Grid, fill
from thermospin.model import Model

WIDTH = 20e-9
AREA = WIDTH**2
P_AP = {"P": {}, "AP": {"F2": -1}}
ENDS = ("left", "right")

#: The metals of the paper, an oxide, and ferromagnets of strong coupling, so that no term hides behind another one.
PY = Material("Py", sigma=4.32e6, P=0.25, S=-20e-6, S_s=-3.8e-6, kappa=30.0, lambda_sf=5e-9)
CU = Material("Cu", sigma=4.26e7, S=1.6e-6, kappa=300.0, lambda_sf=350e-9)
OXIDE = Material("oxide", kappa=1.5)
FE = Material("Fe", sigma=4e6, P=0.3, S=-40e-6, S_s=-25e-6, kappa=30.0, lambda_sf=20e-9)
NI = Material("Ni", sigma=6e6, P=0.2, S=-30e-6, S_s=15e-6, kappa=40.0, lambda_sf=25e-9)
AG = Material("Ag", sigma=3e7, S=10e-6, kappa=200.0, lambda_sf=150e-9)


def no_seebeck(material: Material) -> Material:
    """The same material without thermoelectric effects."""
    return dataclasses.replace(material, S=0.0, S_s=0.0)


Layers = Sequence[tuple[str, Material, float]]
"""Name, material and length [m] of each solid; a magnet of that name if its material is magnetic."""


def device(
    layers: Layers,
    *experiments: Experiment,
    interfaces: Sequence[Interface] = (),
    h: tuple[float, float] = (np.inf, np.inf),
    zeta: float = 1.0,
) -> Device:
    """The bar; `h` is the heat exchange of its two ends."""
    edges = np.concatenate([[0.0], np.cumsum([length for _, _, length in layers])])
    cross = (0.0, WIDTH)
    solids = tuple(
        Solid(name, material.name, name if material.is_magnetic else None, ((low, high), cross, cross))
        for (name, material, _), low, high in zip(layers, edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    )
    contacts, sinks = [], []
    for name, place, face, rate in zip(ENDS, (0, -1), ("x-", "x+"), h, strict=True):
        if layers[place][1].is_metal:
            contacts.append(Contact(name, layers[place][0], face, h=rate))
        else:
            sinks.append(HeatSink(layers[place][0], face, name, rate))
    return Device(
        name="stack",
        solids=solids,
        materials={material.name: material for _, material, _ in layers},
        contacts=tuple(contacts),
        heat_sinks=tuple(sinks),
        interfaces=tuple(interfaces),
        experiments={experiment.name: experiment for experiment in experiments},
        zeta=zeta,
    )


def on_grid(bar: Device, cells: Sequence[int], order: int, clustering: float = 0.0) -> Model:
    """The discrete problem with so many cells in each layer, denser at its ends with a clustering, one cell across."""
    x = np.zeros(1)
    for solid, n in zip(bar.solids, cells, strict=True):
        low, high = solid.box[0]
        inner = clustered(high - low, n, clustering) if clustering else np.linspace(0, high - low, n + 1)
        x = np.append(x, low + inner[1:])
        x[-1] = high
    lines = (x, np.array(bar.solids[0].box[1]), np.array(bar.solids[0].box[2]))
    features = bar.features
    return model.on_grid(bar, Grid(lines, fill(lines, features.boxes, features.domains), order))


# ------------------------------------------------------------------------------------------ experiments


def current(name: str = "current", **probe: object) -> Experiment:
    """A current from left to right; the voltage between both ends unless there is another probe."""
    return _experiment(name, probe, current=("left", "right"))


def heat(name: str = "heat", at: str = "left", **probe: object) -> Experiment:
    """One end 1 K above the other; the voltage between both ends unless there is another probe."""
    return _experiment(name, probe, heat={at: 1.0})


def power(solid: str, name: str = "power", **probe: object) -> Experiment:
    """1 W in a solid; the voltage between both ends unless there is another probe."""
    return _experiment(name, probe, power={solid: 1.0})


def through(what: str, first: str, second: str) -> dict[str, Through]:
    """A probe of what passes from one solid to the next."""
    return {"through": Through(what, (first, second))}  # type: ignore[arg-type]


def _experiment(name: str, probe: Mapping[str, object], **drive: object) -> Experiment:
    settings: dict[str, object] = {"current": None, "voltage": None, "states": P_AP} | drive | dict(probe)
    if not probe.keys() & {"voltage", "temperature", "through"}:
        settings["voltage"] = ("left", "right")
    return Experiment(name, **settings)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ what is exact


def exact(bar: Device, experiment: Experiment, signs: Mapping[str, int]) -> analytic.LayeredSolution:
    """Fields per unit of the drive (A, K or W) in a state.

    The ground is where the current leaves, else the minus of the voltage; without either V_s is free at both ends.
    Where heat-only layers part the metal both ends are grounded.
    """
    layers, links = [], []
    volume = {solid.name: AREA * (solid.box[0][1] - solid.box[0][0]) for solid in bar.solids}
    for number, solid in enumerate(bar.solids):
        low, high = solid.box[0]
        made = experiment.power.get(solid.name, 0.0) / volume[solid.name]
        sign = signs.get(solid.magnet or "", 1)
        layers.append(analytic.Layer.of(bar.materials[solid.material], high - low, sign=sign, heat=made))
        if number:
            links.append(_link(bar, number - 1, signs))
    rates = {item.name: item.h for item in (*bar.contacts, *bar.heat_sinks)}
    T = {name: experiment.heat.get(name, 0.0) for name in ENDS}
    ground = (experiment.current or experiment.voltage or ("", ""))[1]
    parted = any(not bar.materials[solid.material].is_metal for solid in bar.solids[1:-1])
    ends = []
    for name, into in zip(ENDS, (1, -1), strict=True):
        fed = into / AREA if experiment.current else 0.0
        held: dict[str, object] = {"V": (0.0, 0.0)} if name == ground or parted else {"J": (fed / 2, fed / 2)}
        if not ground and not parted and name == "right":
            held["zero"] = True
        warm = {"Q": 0.0} if rates[name] == 0 else {"T": T[name], "h": rates[name]}
        ends.append(analytic.End(**held, **warm))  # type: ignore[arg-type]
    return analytic.layered_stack(layers, *ends, T0=bar.bath, interfaces=links)


def _link(bar: Device, number: int, signs: Mapping[str, int]) -> analytic.Interface | None:
    found = bar.interface_between(number, number + 1)
    if found is None:
        return None
    item, turned = bar.interfaces[found[0]], found[1]
    magnets = [bar.solids[k].magnet for k in (number, number + 1)]
    pair = [None if magnet is None else signs.get(magnet, 1) for magnet in magnets]
    return analytic.Interface.of(item, signs=(pair[1], pair[0]) if turned else (pair[0], pair[1]))


def reading(bar: Device, experiment: Experiment, fields: analytic.LayeredSolution) -> float:
    """What the probe of an experiment reads of some fields."""
    x = {solid.name: solid.box[0] for solid in bar.solids}
    if experiment.voltage:
        V = {"left": fields.V_c(0.0), "right": fields.V_c(fields.edges[-1])}
        return float(V[experiment.voltage[0]] - V[experiment.voltage[1]])
    if experiment.through is not None:
        first, second = experiment.through.between
        forwards = x[first][1] == x[second][0]
        at = fields.edges[np.argmin(abs(fields.edges - x[second][0 if forwards else 1]))]
        # what the second one takes up, its half of the Joule heat of an interface with it
        row = fields.fields(at, side="right" if forwards else "left")
        sign = 1 if forwards else -1
        what = {"spin": row[3] - row[4], "charge": row[3] + row[4], "heat": row[5]}[experiment.through.what]
        return float(sign * AREA * what)
    means = []
    for name in experiment.temperature:
        if name in ENDS:
            means.append(float(fields.T(0.0 if name == "left" else fields.edges[-1])))
            continue
        nodes, weights = np.polynomial.legendre.leggauss(30)
        low, high = x[name]
        means.append(float(weights / 2 @ fields.T((low + high) / 2 + (high - low) / 2 * nodes)))
    return means[0] - sum(means[1:])


def signals(bar: Device) -> dict[str, dict[str, dict[str, float]]]:
    """Exact R1 and R2 of all experiments (R1 alone of heated solids), in the layout of `Signals.experiments`."""
    out: dict[str, dict[str, dict[str, float]]] = {}
    for name, experiment in bar.experiments.items():
        rows: dict[str, dict[str, float]] = {"R1": {}} | ({} if experiment.power else {"R2": {}})
        for state, signs in experiment.states.items():
            first = exact(bar, experiment, signs)
            rows["R1"][state] = reading(bar, experiment, first)
            if "R2" in rows:
                rows["R2"][state] = reading(bar, experiment, first.second_harmonic(bar.zeta))
        for row in rows.values():
            if experiment.has_spin_part:
                row["baseline"], row["spin"] = (row["P"] + row["AP"]) / 2, row["P"] - row["AP"]
        out[name] = rows
    return out
