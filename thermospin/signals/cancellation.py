"""How large R1 and R2 would be if nothing cancelled in them: what errors of the solver are parts of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from thermospin.base.compilation import local
from thermospin.model import ExperimentProblem, Model
from thermospin.quantities import COEFFICIENTS
from thermospin.signals import functional
from thermospin.signals.ladders import Ladder, Vector


def undiminished(
    model: Model, values: Mapping[str, Any], problem: ExperimentProblem, ladder: Ladder
) -> tuple[float, float]:
    """Return R1 and R2 if nothing cancelled in them, SI units, from the fields of the first state."""
    return undiminished_R1(problem, ladder), undiminished_R2(model, values, problem, ladder.u[0])


def undiminished_R1(problem: ExperimentProblem, ladder: Ladder) -> float:
    """Return the largest R1 that the energies of its fields allow: |w.u| = |l.A u| <= sqrt(b.u w.l).

    Of a current and a voltage that is the geometric mean of the resistances between the contacts of both. 0 where nodes
    are held at temperatures, of which the energy is another one.

    Source: the inequality of Cauchy and Schwarz in the norm of A, which is symmetric and positive (docs/theory.md).
    """
    ports = problem.ports
    if ports.driven is not None or ports.tested is not None:
        return 0.0
    energies = float(local(ports.drive) @ ladder.u[0]), float(local(ports.probe) @ ladder.l[0])
    return math.sqrt(max(energies[0], 0.0) * max(energies[1], 0.0))


def undiminished_R2(model: Model, values: Mapping[str, Any], problem: ExperimentProblem, u_1: Vector) -> float:
    """Return R2 of a current if nothing cancelled in it, for a voltage |S| times how hot it becomes [V/A^2].

    A conductor of resistance R whose ends are at the bath and whose sides lose no heat is at most zeta R^2 sigma/(8
    kappa) hotter than they are, whatever its shape. A resistance R_i between two halves of it adds as much as the heat
    zeta R_i makes of the two halves side by side, zeta R_i R sigma/(4 kappa), and of its own conductance of heat, zeta
    R_i^2/(4 K RA). What passes two solids is at most zeta (R + R_i) in heat [W/A^2], and in charge what that voltage
    drives. Of other drives R2 is the Joule heat of thermoelectric currents, and this is 0.

    Args:
      model: of the device.
      values: of all parameters.
      problem: of the experiment.
      u_1: its first field, of which the dissipation is that resistance [ohm].
    Source: Kohlrausch, Ann. Phys. 306, 132 (1900).
    """
    experiment = problem.experiment
    if experiment.drive != "current":
        return 0.0
    resistance = float(local(problem.ports.drive) @ u_1)
    of_joints = _resistances_of_joints(model, values, problem, u_1)
    metals = {name for name, _ in model.device.domains if model.device.materials[name].is_metal}

    def of(name: str, key: str) -> float:
        return float(values[f"{name}.{key}"])

    seebeck = max(abs(of(name, "S")) + abs(of(name, "S_s")) for name in metals)
    ratio = max(of(name, "sigma") / of(name, "kappa") for name in metals)
    outside = max(resistance - sum(of_joints.values()), 0.0)
    hottest = ratio * outside * (outside / 8 + sum(of_joints.values()) / 4)
    hottest += sum(
        R**2 / (4 * of(name, "K") * of(name, "RA")) for name, R in of_joints.items() if f"{name}.K" in values
    )
    of_probe = {"voltage": seebeck * hottest, "temperature": hottest, "heat": resistance}
    return float(values["zeta"]) * of_probe.get(experiment.probe, seebeck * hottest / resistance)


def _resistances_of_joints(
    model: Model, values: Mapping[str, Any], problem: ExperimentProblem, u_1: Vector
) -> dict[str, float]:
    """Return what interfaces with a resistance have of that between the contacts of the current [ohm]."""
    law = model.constitution
    joints = [joint for joint in law.joints if "RA" in joint.keys]
    if not joints:
        return {}  # a program less to compile
    table = law.table(values, next(iter(problem.experiment.states.values())))
    power = np.asarray(functional.split_power(problem.disc, u_1, u_1))
    of_columns = sum(np.asarray(table[name]) * row for name, row in zip(COEFFICIENTS, power, strict=True))
    found = dict.fromkeys((joint.interface for joint in joints), 0.0)
    for joint in joints:
        found[joint.interface] += float(of_columns[len(law.domains) + law.joints.index(joint)])
    return found
