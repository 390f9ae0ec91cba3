"""Error bars of the grid of the rows of a fit, and their correlation: which rows have the same error, and which a part.

P and AP of a signal have nearly the same error, that of the baseline, and differ by that of the spin part. So where
rows have two of these four, errors are estimated for baseline and spin part, and rows are put together from them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from thermospin.accuracy import error_bars
from thermospin.data.rows import Row
from thermospin.device.device import Device
from thermospin.device.settings import alike

#: Baseline and spin part in each of what is made of them.
PARTS: Mapping[str, tuple[float, float]] = {
    "P": (1.0, 0.5),
    "AP": (1.0, -0.5),
    "baseline": (1.0, 0.0),
    "spin": (0.0, 1.0),
}

#: The same for signals that have the same error: device, or the first of which it is a variant, experiment and signal.
Family = tuple[int, str, str]


def families(devices: Sequence[Device], rows: Sequence[Row]) -> list[Family]:
    """Return the same for each row of the same signal of devices that differ in values alone."""
    first = {device.name: next(k for k, other in enumerate(devices) if alike(other, device)) for device in devices}
    return [(first.get(row.device, 0), row.experiment, row.signal) for row in rows]


@dataclasses.dataclass(frozen=True, eq=False)
class Components:
    """The signals whose errors are estimated, which the rows of a fit are put together from.

    Attributes:
      rows: one for each: a baseline, a spin part, or a row of the fit.
      families: of them.
      split: components from the rows of the fit (components, rows).
      whole: rows of the fit from components (rows, components).
    """

    rows: tuple[Row, ...]
    families: tuple[Family, ...]
    split: np.ndarray
    whole: np.ndarray

    @classmethod
    def of(cls, devices: Sequence[Device], rows: Sequence[Row]) -> Components:
        """Return those of rows; variants of a device are split alike, for they have the same errors."""
        of_rows = families(devices, rows)
        groups: dict[tuple[int, str, int], dict[str, list[int]]] = {}
        for place, (row, family) in enumerate(zip(rows, of_rows, strict=True)):
            groups.setdefault((family[0], row.experiment, row.harmonic), {}).setdefault(row.device, []).append(place)
        made: list[Row] = []
        entries: list[tuple[np.ndarray, np.ndarray]] = []

        def add(row: Row, from_rows: Mapping[int, float], in_rows: Mapping[int, float]) -> None:
            lines = np.zeros((2, len(rows)))
            for line, weights in zip(lines, (from_rows, in_rows), strict=True):
                line[list(weights)] = list(weights.values())
            made.append(row)
            entries.append((lines[0], lines[1]))

        for group in groups.values():
            several = all(len({rows[place].name.part for place in places}) > 1 for places in group.values())
            known = all(rows[place].name.part in PARTS for places in group.values() for place in places)
            for places in group.values():
                if not (several and known):
                    for place in places:
                        add(rows[place], {place: 1.0}, {place: 1.0})
                    continue
                weights = {place: PARTS[rows[place].name.part] for place in places}
                other = next(place for place in places if weights[place] != weights[places[0]])
                solved = np.linalg.inv([weights[places[0]], weights[other]])
                for k, part in enumerate(("baseline", "spin")):
                    row = dataclasses.replace(rows[places[0]], signal=rows[places[0]].name._replace(part=part).signal)
                    from_rows = {places[0]: float(solved[k, 0]), other: float(solved[k, 1])}
                    add(row, from_rows, {place: weights[place][k] for place in places})
        split, whole = (np.array(lines) for lines in zip(*entries, strict=True))
        return cls(tuple(made), tuple(families(devices, made)), split, whole.T)


def common(of: Sequence[Family], best: np.ndarray, corrections: np.ndarray) -> np.ndarray:
    """Return the correlation of the errors of best estimates (components, components).

    Errors of the signals of a device come from the same edges: they have the signs of the corrections, and
    `error_bars.SHARED` in common. The same signal of devices that differ in values alone has the same error.

    Args:
      of: family of each.
      best: best estimates (components,).
      corrections: what they differ by from the values of the grid (components,).
    """
    signs = np.where(np.where(corrections == 0, best, corrections) < 0, -1.0, 1.0)
    shared = np.array([[error_bars.SHARED * (one[0] == other[0]) for other in of] for one in of], dtype=float)
    same = np.array([[one == other for other in of] for one in of])
    return np.outer(signs, signs) * np.where(same, 1.0, shared)


def of_rows(
    rows: Sequence[Row], parts: Components, stds: np.ndarray, correlation: np.ndarray, best: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return error bars of rows and their correlation, from those of the components.

    Args:
      rows: the data.
      parts: the components.
      stds: their error bars (components,).
      correlation: of their errors (components, components).
      best: best estimates of the rows (rows,).
    """
    half = parts.whole * stds
    covariance = half @ correlation @ half.T
    size = np.sqrt(np.diag(covariance))
    # Where magnitudes are compared `Misfit` turns the error round with what was measured, not with the model.
    turned = [not row.polarity_known and row.value * value < 0 for row, value in zip(rows, best, strict=True)]
    unit = np.where(turned, -1.0, 1.0) / np.where(size > 0, size, 1.0)
    return size, np.where(np.eye(len(rows)) > 0, 1.0, np.outer(unit, unit) * covariance)


def scales(rows: Sequence[Row], of: Sequence[Family], best: np.ndarray) -> np.ndarray:
    """Return measured over model values, where it is larger, one factor for all variants of a device (rows,).

    Some parameter may be far off that the signal is proportional to, and with it the error. One factor for all: an
    error that is one has the form that the model gives it, not that of the data.
    """
    scale: dict[Family, float] = {}
    for family, row, value in zip(of, rows, best, strict=True):
        scale[family] = max(scale.get(family, 1.0), abs(row.value) / abs(value) if value else 1.0)
    return np.array([scale[family] for family in of])
