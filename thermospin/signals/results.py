"""Results of the verbs on signals."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.names import SignalName
from thermospin.signals.ladders import Ladder

T = TypeVar("T")


def nested(values: Mapping[SignalName, T]) -> dict[str, dict[str, dict[str, T]]]:
    """Return values by experiment, harmonic and part: {experiment: {"R1": {"P": ..., "spin": ...}, ...}, ...}."""
    out: dict[str, dict[str, dict[str, T]]] = {}
    for (experiment, harmonic, part), value in values.items():
        out.setdefault(experiment, {}).setdefault(f"R{harmonic}", {})[part] = value
    return out


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Values of wanted signals at one set of parameters, their derivatives, and the fields for a warm start.

    Attributes:
      values: SI units (wanted,).
      jacobian: SI unit of the signal per SI unit of the parameter (wanted, names).
      fields: ladders by experiment.
      iterations, relative_residual: of every solve, adjoint ones included: for each experiment, state and rung n those
        of u_n and of l_(n-1).
      start_residual: the same of the start, which is 1 for a start from zero.
    """

    values: np.ndarray
    jacobian: np.ndarray
    fields: Mapping[str, tuple[Ladder, ...]]
    iterations: tuple[int, ...]
    relative_residual: tuple[float, ...]
    start_residual: tuple[float, ...]

    @property
    def iterations_per_decade(self) -> float:
        """Steps that a tenth of the residual takes: how good the preconditioner is, whatever the start was.

        NaN where the starts were so good that there is less than a decade per solve to judge by.
        """
        taken = np.array(self.iterations)
        ends = np.maximum(self.relative_residual, np.finfo(float).eps)
        done = taken > 0  # a column without a right-hand side has nothing to do, and no logarithm
        decades = float(np.sum(np.log10(np.array(self.start_residual)[done] / ends[done])))
        return float(taken.sum()) / decades if decades >= len(taken) > 0 else np.nan


@dataclasses.dataclass(frozen=True)
class Errors:
    """Error bars of best estimates of signals, by `accuracy.error_bars.assess`.

    Attributes:
      grid: bound on the distance to what ever finer grids lead to [SI units].
      solver: bound on what solving to a smaller residual would change [SI units].
      unsafe: signals whose best estimate is the value of the grid itself, with the reason.
    """

    grid: Mapping[SignalName, float]
    solver: Mapping[SignalName, float]
    unsafe: Mapping[SignalName, str] = dataclasses.field(default_factory=dict)

    def total(self, name: SignalName) -> float:
        """Return grid and solver error bar together."""
        return self.grid[name] + self.solver[name]


@dataclasses.dataclass(frozen=True)
class Signals:
    """All signals of a device.

    Attributes:
      device: its name.
      cells, unknowns: size of the discrete problem.
      order: polynomial order.
      values: of each signal, SI units: its best estimate where there are error bars, else the value of the grid.
      iterations, relative_residual: of every solve.
      wall_s: time it took [s].
      undiminished: R2 of each experiment if nothing cancelled in it, SI units, see `evaluate.undiminished`.
      errors: error bars of the best estimates, if `accuracy.error_bars.assess` has made them.
      computed: the values of the grid itself, where `values` are best estimates.
      units: SI unit of each signal, such as "V/A^2" or "K/W", see `device.parts.Experiment.unit`.
    """

    device: str
    cells: int
    unknowns: int
    order: int
    values: Mapping[SignalName, float]
    iterations: tuple[int, ...]
    relative_residual: tuple[float, ...]
    wall_s: float
    undiminished: Mapping[str, float]
    errors: Errors | None = None
    computed: Mapping[SignalName, float] = dataclasses.field(default_factory=dict)
    units: Mapping[SignalName, str] = dataclasses.field(default_factory=dict)

    @property
    def experiments(self) -> dict[str, dict[str, dict[str, float]]]:
        """The values as {experiment: {"R1": {state: value, ..., "baseline": ..., "spin": ...}, ...}}, SI units."""
        return nested(self.values)

    @property
    def harmonics(self) -> int:
        """Highest harmonic."""
        return max(name.harmonic for name in self.values)

    def __getitem__(self, key: tuple[str, str]) -> float:
        """Return one number, such as `result["thermal", "R2.spin"]`."""
        return self.values[SignalName.parse(*key)]

    def error(self, experiment: str, signal: str) -> float:
        """Return grid and solver error bar together of one number.

        Raises:
          InputError: there are no error bars.
        """
        if self.errors is None:
            raise InputError("these signals have no error bars; pass them to accuracy.assess first")
        return self.errors.total(SignalName.parse(experiment, signal))

    def to_json(self) -> dict[str, Any]:
        """Return a plain dictionary in the layout of the file that `thermospin signals --json` writes.

        `experiments` has best estimates where there are error bars: `errors`, the sum of `grid_errors` and
        `solver_errors`. There, `computed` has the values of the grid, and `unsafe` the reasons why some of them are the
        best that is known.
        """
        experiments: dict[str, dict[str, dict[str, Any]]] = nested(self.values)
        for (experiment, harmonic, _), unit in self.units.items():
            experiments[experiment][f"R{harmonic}"]["unit"] = unit
        bars: dict[str, Any] = {}
        if self.errors is not None:
            bars = {
                "errors": nested({name: self.errors.total(name) for name in self.values}),
                "grid_errors": nested(self.errors.grid),
                "solver_errors": nested(self.errors.solver),
                "computed": nested(self.computed),
                "unsafe": nested(self.errors.unsafe),
            }
        return {
            "device": self.device,
            "cells": self.cells,
            "unknowns": self.unknowns,
            "order": self.order,
            "experiments": experiments,
            **bars,
            "solver": {
                "iterations": list(self.iterations),
                "relative_residual": list(self.relative_residual),
                "converged": True,
            },
            "wall_s": self.wall_s,
        }


@dataclasses.dataclass(frozen=True, eq=False)
class NodalFields:
    """Fields on the tensor grid of nodes, NaN where a field does not live; a coordinate where one jumps is there twice.

    Attributes:
      x, y, z: node coordinates [m].
      V_up, V_down: potentials [V] (Nx, Ny, Nz).
      T: rise over the bath [K] (Nx, Ny, Nz).
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    V_up: np.ndarray
    V_down: np.ndarray
    T: np.ndarray
