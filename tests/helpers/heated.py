"""A pillar of two magnets under an oxide and a heater with a circuit of its own, on a substrate, as in experiments.

Dimensions and materials are invented: couplings are strong, and the relaxation length of the leads is short, so that
spins do not reach the contacts.
"""

from __future__ import annotations

import dataclasses

from helpers.stacks import AG, FE, NI, OXIDE, Through
from thermospin.device.device import Device
from thermospin.device.interfaces import Interface
from thermospin.device.materials import Material
from thermospin.device.parts import Contact, Experiment, HeatSink, Solid

STATES = {"P": {}, "AP": {"F2": -1}, "PA": {"F1": -1}, "ALL": {"F1": -1, "F2": -1}}
LEAD = Material("lead", sigma=5e6, S=-4e-6, kappa=60.0, lambda_sf=4e-9)
HEATER = Material("heater", sigma=4e6, S=7e-6, kappa=50.0, lambda_sf=5e-9)
CAP = Material("cap", sigma=4e6, S=-9e-6, kappa=50.0, lambda_sf=5e-9)
"""As the heater but for its Seebeck coefficient, so that a current heats and cools where they touch."""

INTERFACES = (
    Interface("Fe/Ag", ("Fe", "Ag"), RA=1e-15, gamma=0.5, K=2e8, S=-8e-6, S_s=20e-6),
    Interface("Ni/Ag", ("Ag", "Ni"), RA=2e-15, gamma=0.3),
    Interface("oxide/metal", ("lead", "oxide"), K=3e8),
    Interface("heater/oxide", ("hot", "oxide"), K=1e8),
)

#: Metals of the pillar from below, then what lies on it, with its extent along z [nm].
PILLAR = (("F1", (20, 40)), ("N", (40, 60)), ("F2", (60, 80)))


def _box(*extents: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    return tuple((1e-9 * low, 1e-9 * high) for low, high in extents)


def device(*experiments: Experiment, spacer: str = "Ag") -> Device:
    """The device with some experiments; contacts "bottom" and "top" of the pillar, "h+" and "h-" of the heater."""
    square = ((0.0, 40.0), (0.0, 40.0))
    materials = {"F1": "Fe", "N": spacer, "F2": "Ni"}
    pillar = [
        Solid(name, materials[name], name if name != "N" else None, _box(*square, z))  # type: ignore[arg-type]
        for name, z in PILLAR
    ]
    solids = (
        Solid("substrate", "oxide", None, _box((-60, 100), (0, 40), (-40, 0))),
        Solid("below", "lead", None, _box((-60, 40), (0, 40), (0, 20))),
        *pillar,
        Solid("above", "lead", None, _box((0, 100), (0, 40), (80, 100))),
        Solid("oxide", "oxide", None, _box((0, 100), (0, 40), (100, 108))),
        Solid("hot", "heater", None, _box((20, 80), (0, 40), (108, 128))),
        Solid("cap+", "cap", None, _box((0, 20), (0, 40), (108, 128))),
        Solid("cap-", "heater", None, _box((80, 100), (0, 40), (108, 128))),
    )
    return Device(
        name="heated",
        solids=solids,
        materials={m.name: m for m in (FE, NI, dataclasses.replace(AG, name="Ag"), OXIDE, LEAD, HEATER, CAP)},
        contacts=(
            Contact("bottom", "below", "x-"),
            Contact("top", "above", "x+", h=4e8),
            Contact("h+", "cap+", "x-"),
            Contact("h-", "cap-", "x+"),
        ),
        heat_sinks=(HeatSink("substrate", "z-", "base"),),
        interfaces=INTERFACES,
        experiments={experiment.name: experiment for experiment in experiments},
    )


def experiment(name: str, **parts: object) -> Experiment:
    """An experiment in all four states."""
    settings: dict[str, object] = {"current": None, "voltage": None, "states": STATES} | parts
    return Experiment(name, **settings)  # type: ignore[arg-type]


def through(what: str, first: str, second: str) -> Through:
    """What passes from one solid to another."""
    return Through(what, (first, second))  # type: ignore[arg-type]
