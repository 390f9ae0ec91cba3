"""What spin signals cannot tell apart where metals meet at interfaces, in words with numbers.

A magnet F that is thicker than a few lambda_sf, behind an interface without delta, enters them, in one dimension, as

    a = P R_F* + gamma r*,   Z = R_F* + r*,   R_F* = lambda_sf/(sigma (1 - P^2)),   r* = RA/(1 - gamma^2),

a source of a spin accumulation 2 a J with the spin resistance Z, and as a detector of polarisation P_eff = a/Z. Into a
channel with the spin resistance R it injects 2 a J R/(R + Z): a alone counts where Z is small against R, a/Z where it
is large. A temperature gradient T' injects -(lambda_sf S_s T' + S_s,interface [T]) R/(R + Z).
Source: docs/fitting.md, section 4; Valet and Fert, Phys. Rev. B 48, 7099 (1993); Takahashi and Maekawa, Phys. Rev. B
67, 052409 (2003).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from thermospin.data.rows import Row
from thermospin.device.device import Device
from thermospin.device.open_circuit import K_open, kappa_open, open_circuit
from thermospin.geometry.outlines import body_of
from thermospin.inference.misfit import Problem
from thermospin.inference.result import FitResult
from thermospin.inference.sharing import names_in_fit
from thermospin.quantities import quantity

#: Part of a signal that follows Z, relative to the part that follows a: below the first Z is small against the channel,
#: above the second it is large.
SMALL, LARGE = 0.2, 0.8
#: Part of the slopes by P, gamma and RA that a and Z have to explain for the sentences to be said; and where these are
#: not known, relaxation lengths that a magnet has to be thicker than.
EXPLAINED, THICK = 0.9, 2.0


@dataclasses.dataclass(frozen=True)
class Injector:
    """A magnet and its interface with a normal metal, SI units.

    Attributes:
      magnet, interface: names of the material and of the interface.
      of_magnet, of_interface: values by key.
    """

    magnet: str
    interface: str
    of_magnet: Mapping[str, float]
    of_interface: Mapping[str, float]

    @property
    def gamma(self) -> float:
        """Polarisation of the interface."""
        return self.of_interface.get("gamma", 0.0)

    @property
    def R_F(self) -> float:
        """Spin resistance of the magnet lambda_sf/(sigma (1 - P^2)) [ohm m^2]."""
        F = self.of_magnet
        return F["lambda_sf"] / (F["sigma"] * (1 - F["P"] ** 2))

    @property
    def r(self) -> float:
        """Spin resistance of the interface RA/(1 - gamma^2) [ohm m^2]."""
        return self.of_interface["RA"] / (1 - self.gamma**2)

    @property
    def a(self) -> float:
        """P R_F* + gamma r* [ohm m^2]."""
        return self.of_magnet["P"] * self.R_F + self.gamma * self.r

    @property
    def Z(self) -> float:
        """R_F* + r* [ohm m^2]."""
        return self.R_F + self.r

    @property
    def P_eff(self) -> float:
        """Polarisation a/Z of injection into a metal of small spin resistance, and of detection."""
        return self.a / self.Z

    @property
    def names(self) -> tuple[str, str, str]:
        """Names of P, gamma and RA."""
        return f"{self.magnet}.P", f"{self.interface}.gamma", f"{self.interface}.RA"

    @property
    def slopes(self) -> np.ndarray:
        """Derivatives of a and Z by P, gamma and RA (2, 3)."""
        P, gamma, R, r = self.of_magnet["P"], self.gamma, self.R_F, self.r
        R_P, r_gamma = 2 * P * R / (1 - P**2), 2 * gamma * r / (1 - gamma**2)
        r_RA = 1 / (1 - gamma**2)
        return np.array([[R + P * R_P, r + gamma * r_gamma, gamma * r_RA], [R_P, r_gamma, r_RA]])

    @property
    def sizes(self) -> np.ndarray:
        """P, gamma and RA, whose logarithms slopes are by; a polarisation of zero has none: in units of 0.1."""
        return np.array([self.of_magnet["P"] or 0.1, self.gamma or 0.1, self.of_interface["RA"]])


def injectors(device: Device, parameters: Mapping[str, float]) -> list[Injector]:
    """Return magnet and interface wherever an interface with a resistance lies between a magnet and a normal metal.

    Args:
      device: the device.
      parameters: values by name in SI units.
    """
    by_names: dict[tuple[str, str], Injector] = {}
    for i, j in sorted(device.layout().neighbours()):
        met = device.interface_between(i, j)
        sides = [device.solids[k].material for k in (i, j)]
        magnetic = [name for name in sides if device.materials[name].is_magnetic]
        if met is None or len(magnetic) != 1:
            continue
        interface = device.interfaces[met[0]]
        if interface.RA is None:
            continue
        values = [
            {key: parameters[f"{owner}.{key}"] for key in of.values()}
            for owner, of in ((magnetic[0], device.materials[magnetic[0]]), (interface.name, interface))
        ]
        by_names[magnetic[0], interface.name] = Injector(magnetic[0], interface.name, *values)
    return list(by_names.values())


def shares(slopes: np.ndarray, injector: Injector) -> tuple[float, float]:
    """Return how a signal follows Z relative to a, -(d ln s/d ln Z)/(d ln s/d ln a), and how well both explain it.

    0: a alone counts; 1/2 for a spin valve of thin layers, whose signal is a^2/Z; 1: P_eff alone. The explained part is
    1 - |residual|/|slopes| of the slopes by the logarithms of P, gamma and RA.

    Args:
      slopes: of the signal by P, gamma and RA (3,).
      injector: the magnet and interface.
    """
    scaled = slopes * injector.sizes
    basis = injector.slopes * injector.sizes / np.array([[injector.a], [injector.Z]])
    (by_a, by_Z), *_ = np.linalg.lstsq(basis.T, scaled, rcond=None)
    rest = float(np.linalg.norm(scaled - np.array([by_a, by_Z]) @ basis))
    whole = float(np.linalg.norm(scaled))
    if not by_a or not whole:
        return math.nan, 0.0
    return float(-by_Z / by_a), 1 - rest / whole


def remarks(problem: Problem, result: FitResult) -> tuple[str, ...]:
    """Return what is to be known of fitted values of interfaces and of the magnets and metals beside them."""
    values = result.all_values
    lines: dict[str, None] = {}
    for model in problem.models:
        device = model.device
        in_fit = names_in_fit(device, values)
        numbers = {name: values[full] for name, full in in_fit.items()}
        rows = [k for k, row in enumerate(result.rows) if row.device in ("", device.name)]
        for injector in injectors(device, numbers):
            free = [name for name in injector.names if in_fit.get(name) in result.parameters]
            of_heat = [
                *_of_heat(injector, device, in_fit, result),
                *_of_ratio(injector, in_fit, result, [result.rows[k] for k in rows]),
            ]
            if not free and not of_heat:
                continue
            slopes = _slopes(problem, result, rows, [in_fit[name] for name in injector.names if name in in_fit])
            if not _described(injector, device, slopes):
                lines[_elsewhere(injector, device)] = None
                continue
            if free:
                lines |= dict.fromkeys(_of_polarisation(injector, free, slopes))
            lines |= dict.fromkeys(of_heat)
        lines |= dict.fromkeys(open_circuit(device, numbers))
    return tuple(lines)


def _slopes(
    problem: Problem, result: FitResult, rows: Sequence[int], names: Sequence[str]
) -> dict[tuple[str, float], np.ndarray]:
    """Return derivatives by P, gamma and RA of the electrical spin signals among rows, which are named, with their std.

    {} where they are not known, as of what is tied, which has none of its own.
    """
    wanted = [k for k in rows if result.rows[k].part == "spin" and not result.rows[k].is_thermal]
    tied = {name for name, _, _ in result.ties} | {name for following in result.following for name in following.values}
    if not wanted or len(names) < 3 or tied & set(names):
        return {}
    if all(name in result.parameters for name in names) and result.sensitivity is not None:
        jacobian = result.sensitivity[:, [result.names.index(name) for name in names]]
    else:
        jacobian = problem.predict({**problem.fixed, **result.values}, names)[1]
    if not np.all(np.isfinite(jacobian[wanted])):
        return {}
    return {(f"{result.rows[k].label} {result.rows[k].signal}", result.rows[k].std): jacobian[k] for k in wanted}


def _described(injector: Injector, device: Device, slopes: Mapping[tuple[str, float], np.ndarray]) -> bool:
    """Return whether the formulas of one dimension describe a device: no delta, and what the slopes say.

    Where these are not known the magnet has to be thicker than `THICK` relaxation lengths.
    """
    if injector.of_interface.get("delta"):
        return False
    if not slopes:
        return _thickness(device, injector.magnet) > THICK * injector.of_magnet["lambda_sf"]
    # In standard deviations, so that signals which hardly depend on the three count little.
    scaled = np.array([slope / std for (_, std), slope in slopes.items()]) * injector.sizes
    # P, gamma and RA along this direction leave a and Z alone.
    still = np.linalg.svd(injector.slopes * injector.sizes / injector.Z)[2][-1]
    return bool(np.max(np.abs(scaled @ still)) <= (1 - EXPLAINED) * np.max(np.linalg.norm(scaled, axis=1)))


def _thickness(device: Device, magnet: str) -> float:
    """Return the smallest extent of a body of a magnet along the normal of its face to a normal metal [m]."""
    sides = []
    for pair in device.layout().neighbours():
        for solid, other in ((device.solids[i], device.solids[j]) for i, j in (pair, pair[::-1])):
            beside = device.materials[other.material]
            if solid.material != magnet or not beside.is_metal or beside.P:
                continue
            boxes = np.array([solid.box, other.box])
            overlap = boxes[..., 1].min(axis=0) - boxes[..., 0].max(axis=0)
            axis = int(np.argmin(overlap))  # they overlap least where they meet
            body = [piece.box[axis] for piece in device.solids if body_of(piece) == body_of(solid)]
            sides.append(max(end for _, end in body) - min(end for end, _ in body))
    return min(sides, default=0.0)


def _elsewhere(injector: Injector, device: Device) -> str:
    return (
        f"The one-dimensional combinations of {', '.join(injector.names)} do not describe '{device.name}': they hold "
        "in one dimension, for interfaces without delta on magnets thicker than a few lambda_sf"
    )


def _of_polarisation(
    injector: Injector, free: Sequence[str], slopes: Mapping[tuple[str, float], np.ndarray]
) -> list[str]:
    """Say that P, gamma and RA are degenerate, and what of them is fixed."""
    P, gamma, RA = injector.names
    fixed = [name for name in injector.names if name not in free]
    makes, was = "makes" if len(free) == 1 else "make", "was" if len(fixed) == 1 else "were"
    held = f"{' and '.join(free)} {makes} up for what {' and '.join(fixed)} {was} held at"
    line = (
        f"{P}, {gamma} and {RA} enter spin signals in two combinations alone, and are degenerate unless RA is "
        f"measured{'' if not fixed else '; ' + held}. a = P R_F* + gamma r* = {quantity(RA, injector.a)}, "
        f"Z = R_F* + r* = {quantity(RA, injector.Z)}, P_eff = a/Z = {injector.P_eff:.3g}"
    )
    lines = [line]
    for (label, _), slope in slopes.items():
        share, explained = shares(slope, injector)
        if explained > EXPLAINED and -SMALL < share < 1 + SMALL:  # one dimension is within 0 and 1
            lines.append(f"{label} follows {_regime(share)}")
    if not slopes:
        lines.append("Only a counts where Z is small against the channel, only P_eff where it is large")
    return lines


def _regime(share: float) -> str:
    if share < SMALL:
        return f"a alone (a Z^{-share:.2f}): Z is small against the channel, whose data fix only a"
    if share > LARGE:
        return f"P_eff = a/Z alone (a Z^{-share:.2f}): Z is large against the channel, whose data fix only P_eff"
    return f"a Z^{-share:.2f}: Z is neither small nor large against the channel"


def _of_heat(injector: Injector, device: Device, in_fit: Mapping[str, str], result: FitResult) -> list[str]:
    """Say that S_s of the magnet and of the interface are one where heat injects spins."""
    names = [f"{injector.magnet}.S_s", f"{injector.interface}.S_s"]
    free = [name for name in names if in_fit.get(name) in result.parameters]
    heated = any(row.is_thermal and row.part == "spin" for row in result.rows)
    if not free or not heated or not {"K", "S_s"} <= set(injector.of_interface):
        return []
    F, face = injector.of_magnet, injector.of_interface
    bulk = F["lambda_sf"] * F["S_s"]
    jump = face["S_s"] * kappa_open(F, device.bath) / K_open(face, device.bath)
    parts = ", ".join(f"{1e15 * value:.4g} of {name}" for name, value in zip(names, (bulk, jump), strict=True))
    other = "" if len(free) == 2 else f"; {free[0]} makes up for what the other one was held at"
    return [
        f"Thermal injection through {injector.interface} fixes only lambda_sf S_s + S_s,interface kappa_o/K_o = "
        f"{1e15 * (bulk + jump):.4g} nm uV/K ({parts}): they cannot be told apart{other}"
    ]


def _of_ratio(injector: Injector, in_fit: Mapping[str, str], result: FitResult, rows: Sequence[Row]) -> list[str]:
    """Say that the ratio of both injections needs a alone."""
    name = f"{injector.magnet}.S_s"
    spin = [row for row in rows if row.part == "spin"]
    if in_fit.get(name) not in result.parameters or len({row.is_thermal for row in spin}) < 2:
        return []
    P, _, RA = injector.names
    return [
        f"{name} follows from the ratio of thermal to electrical spin signals, lambda_sf S_s T'/(2 a J), in which the "
        f"detector and Z cancel: it needs only a = {quantity(RA, injector.a)} and is robust against gamma and RA, "
        f"which {P} is not"
    ]
