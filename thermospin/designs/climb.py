"""The climb of a design on one grid: steps of sequential quadratic programming within the limits of the device.

Coordinates x are those of the ranges of the dimensions, 0 at the lower end and 1 at the upper one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize

from thermospin.base.errors import InputError, NotConverged
from thermospin.designs.checks import DesignTask
from thermospin.designs.limits import SLACK, face_limits
from thermospin.designs.result import DesignStep
from thermospin.device.device import Device
from thermospin.inference.predictors import Predict

#: Relative change of the objective at which a design ends.
TOLERANCE = 1e-4
#: Why a design ends that could go on.
ENOUGH = "as many evaluations as were allowed"


class _Enough(Exception):
    """The allowed number of evaluations is used up."""


class _Point(NamedTuple):
    """A device: ln of the objective, its slopes (n,), margins of the limits (limits,), and their slopes (limits, n)."""

    value: float
    slopes: np.ndarray
    margins: np.ndarray
    margin_slopes: np.ndarray


class OneGrid:
    """The search for the best device that one grid can follow.

    Args:
      device: where it begins.
      task: objective, dimensions and limits.
      number: of the grid.
      before: number of devices on earlier grids.
    """

    def __init__(self, device: Device, task: DesignTask, number: int, before: int) -> None:
        bare = task.predictor(task.model(device))
        self._predict: Predict = bare
        if task.journal is not None:
            # By the device that it was made for: the same question on the second grid of another way is another one.
            self._predict = task.journal.keep(bare, f"grid for {sorted(device.lengths().items())}", bare.parts)
        self._task, self._deviations, self._number, self._before = task, np.array(task.deviations), number, before
        self._numbers = device.numbers()
        ends = np.array([device.dimensions[name].range for name in task.names])
        self._origin, self._size = ends[:, 0], ends[:, 1] - ends[:, 0]
        self._limits = face_limits(device, task.names, task.feature)
        start = (np.array([device.lengths()[name] for name in task.names]) - self._origin) / self._size
        self._start = np.clip(start, 0.0, 1.0)  # ends of another design are in range but for rounding
        self._known: dict[bytes, _Point] = {}
        self._steps: list[DesignStep] = []
        self._most = 0

    def climb(self, most: int) -> tuple[list[DesignStep], str]:
        """Return every device that was evaluated, at most `most`, and why it ended."""
        self._most = most
        try:
            result = optimize.minimize(
                self._negative,
                self._start,
                jac=True,
                bounds=[(0.0, 1.0)] * len(self._task.names),
                constraints=self._constraints(),
                method="SLSQP",
                options={"ftol": TOLERANCE, "maxiter": 1000},
            )
        except _Enough:
            return self._steps, ENOUGH
        return self._steps, "no better device nearby" if result.success else str(result.message).rstrip(".")

    def _constraints(self) -> list[dict[str, Any]]:
        """Return the limits on faces and on quantities as SLSQP takes them."""
        matrix, low, unit = self._limits.matrix * self._size, self._limits.low, self._size.mean()
        origin = self._limits.matrix @ self._origin
        constraints: list[dict[str, Any]] = []
        if len(low):
            constraints.append(
                {
                    "type": "ineq",
                    "fun": lambda x: (matrix @ x - low + origin) / unit,
                    "jac": lambda _: matrix / unit,
                }
            )
        if self._task.limits:
            # No solution there: far beyond every limit.
            constraints.append(
                {
                    "type": "ineq",
                    "fun": lambda x: np.nan_to_num(self._evaluate(x).margins, nan=-1.0),
                    "jac": lambda x: np.nan_to_num(self._evaluate(x).margin_slopes),
                }
            )
        return constraints

    def _at(self, lengths: np.ndarray) -> _Point:
        """Return the device with some dimensions, slopes by these [1/m]."""
        task = self._task
        lengths_of = dict(zip(task.names, map(float, lengths), strict=True))
        values, jacobian = self._predict(self._numbers | lengths_of, task.names)
        return _Point(*task.objective.evaluate(values, jacobian), *task.margins(values, jacobian))

    def _evaluate(self, x: np.ndarray) -> _Point:
        """Return the device at x, its objective that of the worst device nearby; each one is computed once."""
        if x.tobytes() in self._known:
            return self._known[x.tobytes()]
        if len(self._steps) >= self._most:
            raise _Enough
        lengths, off = self._origin + self._size * x, self._deviations
        value, slopes, margins, margin_slopes = self._at(lengths)
        if math.isfinite(value) and np.any(off) and np.any(slopes * off):
            towards = off**2 * slopes / np.linalg.norm(off * slopes)
            value, slopes, *_ = self._at(lengths - towards)
        point = _Point(value, slopes * self._size, margins, margin_slopes * self._size)
        self._known[x.tobytes()] = point
        here = dict(zip(self._task.names, map(float, lengths), strict=True))
        excess = float(np.exp(-margins.min())) if len(margins) else 0.0
        objective = math.exp(value)  # 0 and infinity too, which `best_of` tells from no solution
        self._steps.append(DesignStep(here, objective, self._number, excess))
        if self._task.progress is not None:
            count = self._before + len(self._steps)
            self._task.progress(f"device {count}, grid {self._number}: {self._task.objective} = {objective:.5g}")
        return point

    def _negative(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return what is minimised, and its gradient."""
        point = self._evaluate(x)
        if math.isfinite(point.value):
            return -point.value, -point.slopes
        # Infeasible point: return a penalty of ln 100 so that the line search backtracks.
        return -self._evaluate(self._start).value + math.log(1e2), np.zeros(len(x))


def best_of(steps: Sequence[DesignStep]) -> DesignStep:
    """Return the step with the highest objective within the limits; where none keeps them, the nearest to that.

    Raises:
      InputError: the objective is 0 or infinite in all steps.
      NotConverged: no step has a solution.
    """
    real = [step for step in steps if 0 < step.objective < math.inf]
    if not real and math.isnan(steps[0].objective):
        raise NotConverged("objective: has no value at the start: a solve did not converge there, or it is 0 / 0")
    if not real:
        raise InputError(
            "objective: "
            + ("is 0 at the start" if steps[0].objective == 0 else "is infinite at the start, as it divides by 0")
            + ", so that no factor makes it larger; choose a signal that the device has"
        )
    within = [step for step in real if step.excess <= 1 + SLACK]
    return max(within, key=lambda step: step.objective) if within else min(real, key=lambda step: step.excess)
