"""Error budgets: the sources of the variance of fitted parameters.

Linear theory: an error e of the data moves the parameters by M e with M = (J' C^-1 J)^-1 J' C^-1, an error dq of a
number that was held fixed by -M (dR/dq) dq.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.kinds import as_number
from thermospin.base.shown import Plotted
from thermospin.base.text import columns, percent
from thermospin.device.device import OF, Device, LooseFace, stretched
from thermospin.inference.misfit import Problem
from thermospin.inference.result import FitResult
from thermospin.model import Progress
from thermospin.quantities import QUANTITIES, key_of, quantity


@dataclasses.dataclass(frozen=True, eq=False)
class Budget(Plotted):
    """Variance of each fitted parameter by source.

    Attributes:
      names: of the fitted parameters.
      sources: such as "noise of thermal R2.spin", "grid", "Au.kappa +- 20 %".
      variances: (sources, names), SI units squared.
      asked: index of the first dimension.
    """

    names: tuple[str, ...]
    sources: tuple[str, ...]
    variances: np.ndarray
    asked: int

    @property
    def shares(self) -> np.ndarray:
        """Part of the whole variance of each parameter (sources, names) [1]."""
        return self.variances / np.sum(self.variances, axis=0)

    @property
    def stds(self) -> np.ndarray:
        """Standard deviations with all sources (names,), SI units."""
        return np.sqrt(np.sum(self.variances, axis=0))

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers, lists and dictionaries."""
        return {
            "stds": dict(zip(self.names, map(float, self.stds), strict=True)),
            "shares": {
                source: dict(zip(self.names, map(float, line), strict=True))
                for source, line in zip(self.sources, self.shares, strict=True)
            },
        }

    def words(self, smallest: float = 0.01) -> list[str]:
        """Return a table of dimensions and of sources with at least a smallest share, the largest first."""
        largest = np.max(self.shares, axis=1)
        order = [i for i in np.argsort(-largest) if largest[i] >= smallest or i >= self.asked]
        lines = [["share of the variance", *self.names]]
        lines += [[self.sources[i], *(percent(float(share)) for share in self.shares[i])] for i in order]
        lines.append(
            ["std with all of it", *(quantity(n, float(s)) for n, s in zip(self.names, self.stds, strict=True))]
        )
        return columns(lines, "l" + "r" * len(self.names))


def budget(
    result: FitResult,
    stds: Mapping[str, float] | None = None,
    dimensions: Sequence[LooseFace] = (),
    *,
    progress: Progress | None = None,
) -> Budget:
    """Split the variance of fitted parameters by source: noise of each signal, grid, priors, numbers held fixed.

    Args:
      result: of a fit.
      stds: of numbers that were held fixed, SI units, in place of `Quantity.usual_std` and of the stds of the device's
        dimensions; 0 leaves one out.
      dimensions: faces that are not known exactly; each costs two evaluations, the grid lines moving along.
      progress: callback for messages.
    Raises:
      InputError: a name that was not held fixed, or data that leave a parameter open.
    """
    problem = result.require_problem().copy("budget")
    given = dict(stds or {})
    # What follows another number has no error besides that of the other one.
    follow = {name for name, _, _ in result.ties}
    follow |= {name for following in result.following for name in following.values if name != following.name}
    held = {name: value for name, value in problem.fixed.items() if name not in follow}
    faults = [f"budget: {name} was not held fixed in this fit" for name in given if name not in held]
    faults += [fault for name, std in given.items() if (fault := _fault_of_std(name, std))]
    if faults:
        raise InputError("\n".join(faults))
    if not np.all(np.isfinite(result.covariance)):
        raise InputError(
            f"budget: the data leave {' and '.join(result.left_open)} open, so that the variances have no sources; "
            "fit fewer parameters, or give a prior"
        )
    usual = {name: QUANTITIES[key_of(name)].usual_std * abs(value) for name, value in held.items()} | {
        name: std for name, std in _lengths(problem).items() if name in held
    }
    fixed = {name: given.get(name, std) for name, std in usual.items()}
    fixed = {name: std for name, std in fixed.items() if std > 0}
    if progress is not None:
        progress(f"derivatives by {len(fixed)} numbers that were held fixed")
    values = {**problem.fixed, **result.values}
    slopes = problem.predict(values, list(fixed))[1] if fixed else np.zeros((len(result.rows), 0))
    assert result.moves is not None
    sources, lines = [], []
    if result.correlation_of_data is None:
        sources += [f"noise of {row.label} {row.signal}" for row in result.rows]
        lines += list(result.moves.T**2 * np.diag(result.noise_covariance)[:, None])
    else:
        # Common noise of correlated data belongs to none of them.
        sources.append("noise of the data")
        lines.append(np.diag(result.moves @ result.noise_covariance @ result.moves.T))
    if result.grid_stds is not None:
        sources.append("grid")
        lines.append(np.diag(result.moves @ result.grid_covariance @ result.moves.T))
    if result.priors:
        whole = np.diag(result.covariance)
        sources.append("priors")
        lines.append(np.maximum(whole - np.sum(lines, axis=0), 0.0))
    for k, (name, std) in enumerate(fixed.items()):
        value = problem.fixed[name]
        margin = quantity(name, std) if key_of(name) == "length" else percent(std / abs(value))
        sources.append(f"{name} held at {quantity(name, value)} +- {margin}")
        lines.append((result.moves @ slopes[:, k] * std) ** 2)
    asked = len(sources)
    for face in dimensions:
        low, high = (_moved(problem, face, sign, values, progress) for sign in (-1, 1))
        of = f"{face.device}: " if face.device else ""
        sources.append(f"{of}{_place(face)} +- {1e9 * face.std:g} nm")
        lines.append((result.moves @ (high - low) / 2) ** 2)
    return Budget(result.names, tuple(sources), np.array(lines), asked)


def _fault_of_std(name: str, std: Any) -> str:
    """Return what is wrong with a standard deviation, "" for nothing."""
    with contextlib.suppress(InputError):
        if 0 <= as_number(float, name, std, "") < math.inf:
            return ""
    found = repr(std) if isinstance(std, str) else std
    return f"budget: stds: {name}: got {found}, expected a finite number, 0 or more, in SI units"


def _lengths(problem: Problem) -> dict[str, float]:
    """Return standard deviations of dimensions that have one, by each name that they may have."""
    out: dict[str, float] = {}
    for model in problem.models:
        for name, dimension in model.device.dimensions.items():
            if dimension.std is not None:
                out |= {name: dimension.std, f"{model.device.name}{OF}{name}": dimension.std}
    return out


def faults_of_faces(faces: Sequence[LooseFace], devices: Sequence[Device]) -> list[str]:
    """Return a fault for each face that is none of its device, or cannot move by its standard deviation."""
    faults = []
    for face in faces:
        try:
            for sign in (-1, 1):
                stretched(devices[_device_of(face, devices)], face.axis, face.at, sign * face.std)
        except InputError as error:
            faults.append(f"dimension {error}")
    return faults


def _device_of(face: LooseFace, devices: Sequence[Device]) -> int:
    """Return the place of the device that a face belongs to."""
    names = [device.name for device in devices]
    if not face.device and len(names) == 1:
        return 0
    if face.device not in names:
        got = f"device '{face.device}'" if face.device else "no device"
        raise InputError(
            f"{_place(face)}: got {got}, expected one of {', '.join(names)}; name it, such as "
            f'"{names[0]}{OF}{_place(face)} +- {1e9 * face.std:g} nm"'
        )
    return names.index(face.device)


def _place(face: LooseFace) -> str:
    return f"{'xyz'[face.axis]} = {1e9 * face.at:g} nm"


def _moved(
    problem: Problem, face: LooseFace, sign: int, values: Mapping[str, float], progress: Progress | None
) -> np.ndarray:
    """Return the signals with a face moved by its standard deviation, on grid lines that move along."""
    models = list(problem.models)
    if problem.predict_on is None:
        raise InputError(f"budget: got {_place(face)}, but this fit has no device; leave its dimensions out")
    place = _device_of(face, [model.device for model in models])
    by = sign * face.std
    device, below = stretched(models[place].device, face.axis, face.at, by)
    if progress is not None:
        progress(f"{_place(face)} moved by {1e9 * by:+g} nm")
    model = models[place]
    models[place] = model.with_grid(model.grid.stretched(face.axis, below, face.at, by), device)
    return problem.predict_on(models)(values, ())[0]
