"""Limits that a design keeps: on faces, which are linear in the dimensions, and on temperature and current density."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from thermospin.base.errors import InputError
from thermospin.designs.objective import DENSEST, HOTTEST, STD, Objective, Pair, hottest_order
from thermospin.device.device import Device
from thermospin.device.drives import DRIVES
from thermospin.device.parts import Solid
from thermospin.grid import AXES

#: A distance between neighbouring faces may grow or shrink by this factor until the grid is rebuilt.
STRETCH = 2.0
#: No two faces come closer than this [m], whether or not they bound a solid.
CLOSEST = 1e-9
#: A limit is kept if it is exceeded by no more than this part.
SLACK = 1e-3


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits that a device must keep.

    Attributes:
      drive: amplitude that temperature and density are meant at [A, K or W].
      temperature: largest rise of its hottest point at that drive [K], None for no limit.
      density: largest root mean square of the current density in a block between faces [A/m^2], None for no limit.
      feature: smallest size along x and y, and smallest gap between solids at one height, of what the varied dimensions
        change [m], None for no limit.
      kind: of the drive, a key of `device.drives.DRIVES`; None: that of the experiments.
    Raises:
      InputError: a value that is not finite and above 0; a temperature or a density without a drive.
    """

    drive: float | None = None
    temperature: float | None = None
    density: float | None = None
    feature: float | None = None
    kind: str | None = None

    def __post_init__(self) -> None:
        if self.drive is None and (self.temperature is not None or self.density is not None):
            raise InputError(
                "limits: temperature and density are meant at a drive, such as a current, which is missing; give its "
                "amplitude [A, K or W]"
            )
        if self.drive is not None and not 0 < self.drive < math.inf:
            raise InputError(f"limits: got a drive of {self.drive:g}, expected an amplitude above 0 [A, K or W]")
        faults = [
            f"limits: got a {name} of {size:g} {unit}, expected a finite one above 0, or none for no limit"
            for name, size, unit in (
                ("temperature", self.temperature, "K"),
                ("density", self.density, "A/m^2"),
                ("feature", self.feature, "m"),
            )
            if size is not None and not 0 < size < math.inf
        ]
        if faults:
            raise InputError(faults)

    def pairs(self, objective: Objective, device: Device) -> dict[Pair, float]:
        """Return the largest value of each limited quantity, in every experiment that the objective has signals of.

        Raises:
          InputError: the drive is of another kind than that of an experiment, or experiments have several.
        """
        names = dict.fromkeys(pair[0] for pair in objective.wanted if pair[0] != STD) or device.experiments
        most: dict[Pair, float] = {}
        if self.drive is None:
            return most
        kinds = {name: device.experiments[name].drive for name in names}
        wanted = self.kind or next(iter(kinds.values()))
        others = [f"'{name}' by a {DRIVES[kind].name}" for name, kind in kinds.items() if kind != wanted]
        if others:
            raise InputError(
                f"limits: are meant at a {DRIVES[wanted].name} of {DRIVES[wanted].words(self.drive)}, and the "
                f"objective has experiments that are driven otherwise: {', '.join(others)}; give limits at that drive, "
                "and an objective of experiments with one kind of drive"
            )
        for name in names:
            if self.temperature is not None:
                most[name, HOTTEST] = self.temperature / self.drive ** hottest_order(device.experiments[name])
            if self.density is not None:
                most[name, DENSEST] = self.density / self.drive
        return most


@dataclasses.dataclass(frozen=True, eq=False)
class FaceLimits:
    """Linear limits on dimensions: matrix @ lengths >= low [m]."""

    matrix: np.ndarray
    low: np.ndarray


def face_limits(device: Device, names: Sequence[str], feature: float | None) -> FaceLimits:
    """Return the limits that faces keep their order, distances within `STRETCH` and `CLOSEST`, and features their size.

    Raises:
      InputError: a feature that is too small already.
    """
    at = np.array([device.lengths()[name] for name in names])
    matrix: list[np.ndarray] = []
    low: list[float] = []

    def require(row: np.ndarray, value: float, least: float) -> None:
        if np.any(row):
            matrix.append(row)
            low.append(least - value + float(row @ at))

    for row, width in _distances(device, names):
        require(row, width, max(width / STRETCH, min(CLOSEST, width)))
        require(-row, -width, -STRETCH * width)
    if feature is not None:
        faults = []
        for text, row, size in _features(device, names):
            require(row, size, feature)
            if np.any(row) and size < feature * (1 - 1e-9):
                faults.append(f"feature: {text} is {1e9 * size:g} nm already, expected {1e9 * feature:g} nm or more")
        if faults:
            raise InputError("\n".join(faults))
    return FaceLimits(np.array(matrix).reshape(len(matrix), len(names)), np.array(low))


def at_closest(device: Device, names: Sequence[str]) -> set[str]:
    """Return the dimensions that change a distance between neighbouring faces which is `CLOSEST`."""
    distances = _distances(device, names)
    return _changing(names, [row for row, width in distances if math.isclose(width, CLOSEST, rel_tol=SLACK)])


def at_feature(device: Device, names: Sequence[str], feature: float | None) -> set[str]:
    """Return the dimensions that change a side or a gap which is no more than the smallest feature."""
    if feature is None:
        return set()
    return _changing(names, [row for _, row, size in _features(device, names) if size <= (1 + SLACK) * feature])


def _changing(names: Sequence[str], rows: Sequence[np.ndarray]) -> set[str]:
    """Return the dimensions that any of these derivatives is by."""
    return {name for k, name in enumerate(names) if any(row[k] for row in rows)}


def _distances(device: Device, names: Sequence[str]) -> list[tuple[np.ndarray, float]]:
    """Return distances between neighbouring faces along x, y and z: derivative, size [m]."""
    out: list[tuple[np.ndarray, float]] = []
    for axis in range(3):
        faces, moves = device.face_slopes(axis)
        motion = np.array([[move.get(name, 0.0) for name in names] for move in moves])
        out += zip(np.diff(motion, axis=0), np.diff(faces), strict=True)
    return out


def _features(device: Device, names: Sequence[str]) -> list[tuple[str, np.ndarray, float]]:
    """Return sides of solids along x and y, and gaps between facing solids: name, derivative, size [m]."""
    out = []

    def motion(slopes: Mapping[str, float]) -> np.ndarray:
        return np.array([slopes.get(name, 0.0) for name in names])

    def open_between(a: Solid, b: Solid, axis: int) -> bool:
        """Return True if they face each other along an axis with nothing in the middle."""
        sides = [(max(a.box[k][0], b.box[k][0]), min(a.box[k][1], b.box[k][1])) for k in range(3)]
        middle = [(low + high) / 2 for low, high in sides]
        facing = all(low < high for k, (low, high) in enumerate(sides) if k != axis)
        return facing and not any(
            all(low <= at <= high for at, (low, high) in zip(middle, solid.box, strict=True)) for solid in device.solids
        )

    for axis in (0, 1):
        for solid in device.solids:
            (low, high), ends = solid.slopes(axis), solid.box[axis]
            out.append((f"'{solid.name}' along {AXES[axis]}", motion(high) - motion(low), ends[1] - ends[0]))
            for other in device.solids:
                gap = other.box[axis][0] - ends[1]
                if gap > 0 and open_between(solid, other, axis):
                    row = motion(other.slopes(axis)[0]) - motion(high)
                    out.append((f"the gap between '{solid.name}' and '{other.name}' along {AXES[axis]}", row, gap))
    return out


def largest_stretch(start: Mapping[str, float], device: Device, names: Sequence[str]) -> float:
    """Return the largest factor by which distances between faces have changed."""
    before = device.moved({name: start[name] for name in names})
    ratios = [
        np.diff(device.face_slopes(axis)[0]) / np.diff(before.face_slopes(axis)[0]) for axis in range(3)
    ]  # in one order, see `face_limits`
    return float(max(np.max(np.maximum(ratio, 1 / ratio)) for ratio in ratios))
