"""Results of the verbs on signals."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.files import read_json, understood, write_json
from thermospin.base.frames import frame, optional
from thermospin.base.names import SignalName, nearest
from thermospin.base.shown import Plotted
from thermospin.signals.ladders import Ladder

T = TypeVar("T")
#: What a file of signals is, for messages.
FILE = "a file of `Signals.save` or `thermospin signals --json`"


class UnknownSignal(InputError, KeyError):
    """A signal that results do not have; the message has the nearest name."""

    def __str__(self) -> str:
        return "\n".join(self.faults)  # `KeyError` would show it with quotes around it


def nested(values: Mapping[SignalName, T]) -> dict[str, dict[str, dict[str, T]]]:
    """Return values by experiment, harmonic and part: {experiment: {"R1": {"P": ..., "spin": ...}, ...}, ...}."""
    out: dict[str, dict[str, dict[str, T]]] = {}
    for (experiment, harmonic, part), value in values.items():
        out.setdefault(experiment, {}).setdefault(f"R{harmonic}", {})[part] = value
    return out


def flat(values: Mapping[str, Any]) -> dict[SignalName, Any]:
    """Return what `nested` has nested, by the name of the signal; units are left out."""
    return {
        SignalName(experiment, int(harmonic.removeprefix("R")), part): value
        for experiment, harmonics in values.items()
        for harmonic, parts in harmonics.items()
        for part, value in parts.items()
        if part != "unit"
    }


@dataclasses.dataclass(frozen=True, eq=False)
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
class Signals(Plotted):
    """All signals of a device.

    Attributes:
      device: its name.
      cells, unknowns: size of the discrete problem.
      order: polynomial order.
      values: of each signal, SI units: its best estimate where there are error bars, else the value of the grid.
      iterations, relative_residual: of every solve.
      wall_s: time it took [s].
      undiminished: R1 and R2 of each experiment if nothing cancelled in them, SI units, see `signals.cancellation`.
      errors: error bars of the best estimates, if `accuracy.error_bars.assess` has made them.
      computed: the values of the grid itself, where `values` are best estimates.
      units: SI unit of each signal, such as "V/A^2" or "K/W", see `device.parts.Experiment.unit`.
      parameters: values that differ from those of the device, SI units; None where that is not known, as in files that
        do not say it.
    """

    device: str
    cells: int
    unknowns: int
    order: int
    values: Mapping[SignalName, float]
    iterations: tuple[int, ...]
    relative_residual: tuple[float, ...]
    wall_s: float = dataclasses.field(compare=False)
    undiminished: Mapping[str, tuple[float, float]]
    errors: Errors | None = None
    computed: Mapping[SignalName, float] = dataclasses.field(default_factory=dict)
    units: Mapping[SignalName, str] = dataclasses.field(default_factory=dict)
    parameters: Mapping[str, float] | None = dataclasses.field(default=None, compare=False)

    @property
    def experiments(self) -> dict[str, dict[str, dict[str, float]]]:
        """The values as {experiment: {"R1": {state: value, ..., "baseline": ..., "spin": ...}, ...}}, SI units."""
        return nested(self.values)

    @property
    def harmonics(self) -> int:
        """Highest harmonic."""
        return max(name.harmonic for name in self.values)

    def __getitem__(self, key: str | tuple[str, str]) -> float:
        """Return one number, such as `result["thermal", "R2.spin"]`, or `result["thermal R2.spin"]`.

        Raises:
          UnknownSignal: it is not there.
        """
        return self.values[self._known(SignalName.of(key))]

    def _known(self, name: SignalName) -> SignalName:
        if name not in self.values:
            raise UnknownSignal(f"signal '{name}' is not there; {nearest(str(name), map(str, self.values))}")
        return name

    def error(self, experiment: str, signal: str) -> float:
        """Return grid and solver error bar together of one number.

        Raises:
          InputError: there are no error bars, or no such signal.
        """
        if self.errors is None:
            raise InputError("these signals have no error bars; pass them to `assess` first")
        return self.errors.total(self._known(SignalName.parse(experiment, signal)))

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

    def save(self, path: str | Path) -> None:
        """Write the file of `thermospin signals --json`, with `undiminished` and given `parameters` besides.

        `load_signals` reads it.

        Raises:
          OSError: the file cannot be written.
        """
        parameters = {"parameters": dict(self.parameters)} if self.parameters else {}
        write_json(path, self.to_json() | {"undiminished": dict(self.undiminished)} | parameters)

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame with a row for each signal, in SI units, which the column `unit` names.

        Columns: experiment, signal, harmonic, part, value, unit; with error bars also error (grid and solver together),
        grid_error, solver_error, computed (the value of the grid) and unsafe (why that is the best known, else "").

        Raises:
          InputError: pandas is not installed.
        """
        names = list(self.values)
        columns: dict[str, list[Any]] = {
            "experiment": [name.experiment for name in names],
            "signal": [name.signal for name in names],
            "harmonic": [name.harmonic for name in names],
            "part": [name.part for name in names],
            "value": list(self.values.values()),
            "unit": [self.units.get(name, "") for name in names],
        }
        if self.errors is not None:
            columns |= {
                "error": [self.errors.total(name) for name in names],
                "grid_error": [self.errors.grid[name] for name in names],
                "solver_error": [self.errors.solver[name] for name in names],
                "computed": [self.computed.get(name, math.nan) for name in names],
                "unsafe": [self.errors.unsafe.get(name, "") for name in names],
            }
        return frame(columns)


def load_signals(path: str | Path) -> Signals:
    """Return the signals of a file of `Signals.save`, to the last bit, or of `thermospin signals --json`.

    The latter has no `undiminished`, without which `assess` cannot make error bars where there are none.

    Raises:
      InputError: the file has something else.
      OSError: it cannot be read.
    """
    data = read_json(path, FILE)

    def numbers(key: str, otherwise: float) -> dict[SignalName, float]:
        return {name: otherwise if value is None else float(value) for name, value in flat(data[key]).items()}

    with understood(path, FILE):
        units = {
            SignalName(experiment, int(harmonic.removeprefix("R")), part): parts["unit"]
            for experiment, harmonics in data["experiments"].items()
            for harmonic, parts in harmonics.items()
            for part in parts
            if part != "unit" and "unit" in parts
        }
        errors = None
        if "errors" in data:
            grid, solver = (numbers(key, math.inf) for key in ("grid_errors", "solver_errors"))
            errors = Errors(grid, solver, flat(data["unsafe"]))
        return Signals(
            device=str(data["device"]),
            cells=int(data["cells"]),
            unknowns=int(data["unknowns"]),
            order=int(data["order"]),
            values=numbers("experiments", math.nan),
            iterations=tuple(data["solver"]["iterations"]),
            relative_residual=tuple(data["solver"]["relative_residual"]),
            wall_s=float(data["wall_s"]),
            undiminished=_pairs(data.get("undiminished", {})),
            errors=errors,
            computed=numbers("computed", math.nan) if errors else {},
            units=units,
            parameters={name: float(value) for name, value in data["parameters"].items()}
            if "parameters" in data
            else None,
        )


def _pairs(undiminished: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return `Signals.undiminished` of a file; files of before have R2 alone."""
    pairs = {name: each if isinstance(each, list) else (0.0, each) for name, each in undiminished.items()}
    return {name: (float(first), float(second)) for name, (first, second) in pairs.items()}


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

    def to_xarray(self) -> Any:
        """Return an xarray Dataset with dimensions x, y, z [m] and the variables T, V_up, V_down, V_s and V_c.

        Units are in `attrs["units"]`. A coordinate where a field jumps is there twice: `isel` tells both sides apart.

        Raises:
          InputError: xarray is not installed.
        """
        xarray = optional("xarray", "to_xarray")
        values = {
            "T": (self.T, "K", "temperature rise over the bath"),
            "V_up": (self.V_up, "V", "electrochemical potential of spin up, over e"),
            "V_down": (self.V_down, "V", "electrochemical potential of spin down, over e"),
            "V_s": (self.V_up - self.V_down, "V", "spin accumulation V_up - V_down"),
            "V_c": ((self.V_up + self.V_down) / 2, "V", "charge potential (V_up + V_down)/2"),
        }
        return xarray.Dataset(
            {
                name: (("x", "y", "z"), array, {"units": unit, "long_name": label})
                for name, (array, unit, label) in values.items()
            },
            {axis: (axis, getattr(self, axis), {"units": "m", "long_name": axis}) for axis in "xyz"},
        )
