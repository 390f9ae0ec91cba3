"""Objectives of a design: signals, ratios of them, a temperature, a current density, or a standard error."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Sequence

import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.names import SignalName, nearest
from thermospin.data.rows import Row
from thermospin.device.device import Device
from thermospin.device.parts import DRIVE_UNITS, Experiment
from thermospin.quantities import QUANTITIES, key_of

#: Quantities besides signals: the temperature rise of the hottest point per `hottest_order` of the drive; the largest
#: root mean square of the current density in a block between neighbouring faces, per drive; and the standard error of
#: a parameter, pairs such as ("std", "Py.S_s").
HOTTEST, DENSEST, STD = "hottest", "densest", "std"

Pair = tuple[str, str]
_SIGNAL = re.compile(rf"\|?\s*(?:(std)\s+(\S.*?)|(\S.*?)\s+(R[1-4]\.[^/|]*[^/|\s]|{HOTTEST}|{DENSEST}))\s*\|?")


@dataclasses.dataclass(frozen=True)
class Objective:
    """ln|signal|, ln|signal / other| or ln|1 / other|.

    Attributes:
      signal, other: pairs such as ("thermal", "R2.spin"), ("thermal", "hottest") or ("std", "Py.S_s"); no signal: 1; no
        other: the signal alone.
    Raises:
      InputError: neither of them, or a signal over itself.
    """

    signal: Pair | None
    other: Pair | None = None

    def __post_init__(self) -> None:
        if self.signal == self.other:
            what = "nothing" if self.signal is None else f"'{' '.join(self.signal)}' over itself"
            raise InputError(
                f"objective: got {what}, which is 1 for every device; expected a signal, or one over another"
            )

    def require(self, device: Device) -> None:
        """Refuse quantities that a device does not have.

        Raises:
          InputError: with the nearest name of each.
        """
        faults = [fault for pair in self.wanted if (fault := _fault(pair, device))]
        if faults:
            raise InputError([f"objective: {fault}" for fault in faults])

    @classmethod
    def parse(cls, text: str, device: Device) -> Objective:
        """Parse "thermal R2.spin", "thermal R2.spin / thermal R2.baseline", "1 / std Py.S_s" and so on.

        Raises:
          InputError: it is none of them, or the device has no such experiment.
        """
        # Names of experiments and interfaces may have a slash in them: of the places to divide, one makes sense.
        places = [None, *(place for place, letter in enumerate(text) if letter == "/")]
        faults = []
        for place in sorted(places, key=lambda place: place is None or text[place - 1 : place + 2] != " / "):
            sides = [text] if place is None else [text[:place], text[place + 1 :]]
            inverse = len(sides) == 2 and sides[0].strip() == "1"
            try:
                first, *rest = [None] * inverse + [_pair(side, device) for side in sides[inverse:]]
            except InputError as why:
                faults.append(str(why))
                continue
            return cls(first, rest[0] if rest else None)
        raise InputError(
            f"objective: {faults[0]}"
            if faults[0]
            else f'objective: got "{text}", expected a signal such as "thermal R2.spin", one over another such as '
            f'"thermal R2.spin / thermal R2.baseline" or "thermal R2.spin / thermal {HOTTEST}", or "1 / std Py.S_s"'
        )

    @property
    def wanted(self) -> list[Pair]:
        """Quantities that it needs."""
        return [pair for pair in (self.signal, self.other) if pair is not None]

    def evaluate(self, values: np.ndarray, jacobian: np.ndarray) -> tuple[float, np.ndarray]:
        """Return its value and derivative from those of `wanted`, the first entries of `values`, and their Jacobian."""
        signs = np.array([1.0] * (self.signal is not None) + [-1.0] * (self.other is not None))
        values, jacobian = values[: len(signs)], jacobian[: len(signs)]
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(signs @ np.log(np.abs(values))), signs @ (jacobian / values[:, None])

    def __str__(self) -> str:
        return " / ".join(["1"] * (self.signal is None) + [f"|{' '.join(pair)}|" for pair in self.wanted])


def _pair(text: str, device: Device) -> Pair:
    """Return one quantity of an objective.

    Raises:
      InputError: why the device has none of that name; without words where the text is no quantity.
    """
    match = _SIGNAL.fullmatch(text.strip())
    if match is None:
        raise InputError("")
    pair = (STD, match[2]) if match[1] else (match[3], match[4])
    if fault := _fault(pair, device):
        raise InputError("" if match[3] not in device.experiments and "/" in (match[3] or "") else fault)
    return pair


def _fault(pair: Pair, device: Device) -> str:
    """Return why a device has no such quantity, "" if it has."""
    name, signal = pair
    if name == STD:
        known: Collection[str] = device.parameters()
        return "" if signal in known else f"got parameter '{signal}'; {nearest(signal, known)}"
    if name not in device.experiments:
        return f"got experiment '{name}'; {nearest(name, device.experiments)}"
    if signal in (HOTTEST, DENSEST):
        return ""
    part, known = SignalName.parse(name, signal).part, device.experiments[name].parts
    return "" if part in known else f"got signal '{signal}'; {nearest(part, known)}"


@dataclasses.dataclass(frozen=True)
class StandardErrorFit:
    """The fit that a standard error belongs to.

    Attributes:
      rows: its data, of which the standard deviations count.
      free: its parameters.
    """

    rows: tuple[Row, ...]
    free: tuple[str, ...]

    def std(self, jacobian: np.ndarray, name: str) -> float:
        """Return the standard error of a parameter, (J' C^-1 J)^-1/2, J the derivatives of the data.

        Raises:
          InputError: parameters that the data do not depend on.
        """
        scale = np.abs(jacobian).max(axis=0)
        unfixed = [other for other, size in zip(self.free, scale, strict=True) if size == 0]
        if unfixed:
            fixed = [other for other in self.free if other not in unfixed] or ["NAME..."]
            raise InputError(
                f"free: the data do not depend on {', '.join(unfixed)}; give more data, or --free {' '.join(fixed)}"
            )
        weighted = jacobian / scale / np.array([row.std for row in self.rows])[:, None]
        _, upper = np.linalg.qr(weighted)
        unit = np.zeros(len(self.free))
        unit[self.free.index(name)] = 1.0
        try:
            return float(np.linalg.norm(np.linalg.solve(upper.T, unit)) / scale[self.free.index(name)])
        except np.linalg.LinAlgError:  # a combination of the parameters that moves no data
            return math.inf


def require_fit(fit: StandardErrorFit | None, names: Sequence[str], device: Device) -> None:
    """Refuse the standard errors of parameters that a fit does not have."""
    if fit is None or not fit.rows:
        raise InputError(
            f"objective: the standard error of {names[0]} needs the data of a fit, of which the stds count"
        )
    faults = [
        f"free: got '{name}'; {nearest(name, device.parameters())}"
        for name in fit.free
        if name not in device.parameters()
    ]
    faults += [f"free: {name} is not there, its standard error would be 0" for name in names if name not in fit.free]
    faults += [
        f"fit: {row.label} {row.signal}: got std {row.std:g}, expected a finite one above 0"
        for row in fit.rows
        if not 0 < row.std < math.inf
    ]
    if len(fit.rows) < len(fit.free):
        faults.append(f"free: {len(fit.free)} parameters and {len(fit.rows)} rows of data, expected no more than these")
    if faults:
        raise InputError("\n".join(faults))


def hottest_order(experiment: Experiment) -> int:
    """Return the power of the drive that the hottest point is meant at: 2, Joule heat, of a current; else 1."""
    return 2 if experiment.drive == "current" else 1


def unit_of(pair: Pair, device: Device) -> str:
    """Return the SI unit of a quantity."""
    if pair[0] == STD:
        return QUANTITIES[key_of(pair[1])].unit if "." in pair[1] else ""
    experiment = device.experiments[pair[0]]
    drive = DRIVE_UNITS[experiment.drive]
    if pair[1] == HOTTEST:
        return f"K/{drive}^2" if hottest_order(experiment) == 2 else f"K/{drive}"
    if pair[1] == DENSEST:
        return "1/m^2" if drive == "A" else f"A/(m^2 {drive})"
    return experiment.unit(SignalName.parse(*pair).harmonic)
