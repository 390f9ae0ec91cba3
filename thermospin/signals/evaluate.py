"""Signals of experiments: harmonics R1 to R4 in each magnetic state, baseline and spin part, and their derivatives.

What is solved and how signals follow from fields is in `harmonics`; here is what users call: `predict` as a pure
function, `measure`, `evaluate` and `fields` with progress, warm starts and clear failures.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thermospin import operators, solve
from thermospin.base.errors import InputError
from thermospin.base.names import SignalName, nearest
from thermospin.device.device import Device
from thermospin.device.parts import Experiment
from thermospin.model import Model, Parameters, Progress, build
from thermospin.operators import Coefficients
from thermospin.parallel.sharding import after
from thermospin.quantities import response_unit
from thermospin.signals import diagnosis
from thermospin.signals import dimension_slopes as shapes
from thermospin.signals.ladders import (
    HARMONICS,
    Functional,
    Ladder,
    Vector,
    joule,
    laws,
    ports_of,
    readings,
    signs_of,
    solve_ladders,
)
from thermospin.solve import SolveRequest, System

__all__ = [
    "Errors",
    "Evaluation",
    "NodalFields",
    "Parts",
    "Signals",
    "build",
    "evaluate",
    "fields",
    "measure",
    "predict",
]

#: Fields that enter derivatives alone are solved to this many times the tolerance, but not above `LOOSEST`: an error of
#: the fields is one of the derivatives to the first order, of the values to the second.
LOOSER, LOOSEST = 1e2, 1e-5


# ------------------------------------------------------------------------------------------- what users call


def predict(
    model: Model, parameters: Parameters | None = None, *, harmonics: int = 2, tolerance: float = solve.TOLERANCE
) -> dict[str, dict[str, dict[str, Float[Array, ""]]]]:
    """R1 to R_N of every experiment: a pure function of the parameters, differentiable to any order, both modes.

    A derivative costs one more set of solves, however many parameters there are. Where a solve does not converge the
    values are NaN; `measure` raises instead.

    Args:
      model: from `build`.
      parameters: values by name (see `Device.parameters`); those left out are the device's own. Dimensions may be there
        with the value that the grid was built for.
      harmonics: highest harmonic N, 1 to 4.
      tolerance: bound on the relative residual of each solve.
    Returns:
      {experiment: {"R1": {state: V/A, ..., "baseline": ..., "spin": ...}, "R2": ...}}
    """
    values = _filled(model, _in_place(model, parameters or {}))
    out = {}
    for name, experiment in model.device.experiments.items():
        rows = _responses(model, experiment, harmonics, tolerance)(values)
        if model.systems[experiment.current[1]].shards is not None:  # experiments in one order, see `after`
            done = jax.lax.stop_gradient(jnp.nan_to_num(rows))
            values = {key: after(value, done) for key, value in values.items()}
        out[name] = {f"R{n}": readings(experiment, rows, n) for n in range(1, harmonics + 1)}
    return out


def _responses(
    model: Model, experiment: Experiment, harmonics: int, tolerance: float
) -> Callable[[dict[str, Any]], Array]:
    """The functional of the parameters alone, fields included, with the derivative that needs no more solves."""

    def functional(p: dict[str, Any], rungs: int) -> Callable[[dict[str, Any]], Array]:
        ladders = solve_ladders(model, experiment, p, rungs, functools.partial(_traced, tolerance))
        return lambda q: Functional.of(model, experiment).values(q, ladders, harmonics)

    @jax.custom_jvp
    def responses(p: dict[str, Any]) -> Array:
        return functional(p, (harmonics + 1) // 2)(p)

    @responses.defjvp
    def _derivative(primals: Any, tangents: Any) -> tuple[Array, Array]:
        return jax.jvp(functional(primals[0], harmonics), primals, tangents)

    return responses


def _filled(model: Model, parameters: Parameters | None) -> dict[str, Any]:
    own = model.parameters
    given = dict(parameters or {})
    unknown = [name for name in given if name not in own]
    if unknown:
        raise InputError("\n".join(f"parameter '{name}' does not exist; {nearest(name, own)}" for name in unknown))
    # As arrays: custom_jvp wants tangents of the type of the values.
    return {name: jnp.asarray(given.get(name, value), float) for name, value in own.items()}


def _in_place(model: Model, parameters: Parameters) -> Parameters:
    """The parameters without the dimensions, which must be those of the model's grid."""
    own = model.device.lengths()
    for name, value in own.items():
        if isinstance(parameters.get(name), jax.core.Tracer):
            raise InputError(f"{name}: is a dimension, which moves the grid; JAX cannot trace it, `evaluate` can")
        if abs(float(parameters.get(name, value)) - value) > 1e-9 * abs(value):
            raise InputError(
                f"{name}: got {1e9 * float(parameters[name]):g} nm, but the grid was built for {1e9 * value:g} nm; "
                "move it with model.moved(dimensions)"
            )
    return {name: value for name, value in parameters.items() if name not in own}


def _traced(
    tolerance: float, state: str, rung: int, system: System, law: Coefficients, b: Array, x0: Array | None
) -> Array:
    del state, rung
    return solve.solve(system, law, b, x0=x0, tolerance=tolerance)[0]


class _Watched:
    """Solves outside of any trace: tells the progress, keeps the statistics, and raises where one did not converge.

    Attributes:
      experiment: to which the next solves belong.
      rungs: how many of its rungs the values need; further ones enter derivatives alone and are solved less tightly.
      beside: is called once, while the first solve is compiled.
      iterations, residuals, starts: steps, relative residual at the end and at the start of each column.
    """

    def __init__(
        self,
        model: Model,
        parameters: Mapping[str, Any],
        progress: Progress | None,
        tolerance: float,
        max_steps: int,
        explain: bool = True,
        beside: Callable[[], object] | None = None,
        solver: solve.Solver | None = None,
    ) -> None:
        self._model, self._parameters, self._progress, self._beside = model, parameters, progress, beside
        self._tolerance, self._max_steps, self._explain, self._solver = tolerance, max_steps, explain, solver
        self.experiment, self.rungs = next(iter(model.device.experiments.values())), HARMONICS
        self.iterations: list[int] = []
        self.residuals: list[float] = []
        self.starts: list[float] = []

    def __call__(self, state: str, rung: int, system: System, law: Coefficients, b: Array, x0: Array | None) -> Array:
        tolerance = self._tolerance
        if rung >= self.rungs:
            tolerance = max(tolerance, min(LOOSER * tolerance, LOOSEST))
        label = f"{self._model.device.name}, {self.experiment.name}"
        if self._progress is not None:
            done = len(self.iterations)
            last = f", the last one took {self.iterations[-1]} iterations" if done else ""
            self._progress(f"{label}: solves {done + 1} to {done + b.shape[1]}{last}")
        with contextlib.ExitStack() as stack:
            if self._beside is not None:
                # Compiling is hardly parallel: other programs are made while this one is.
                stack.enter_context(ThreadPoolExecutor(1)).submit(self._beside)
                self._beside = None
            x, stats = solve.solve(
                system, law, b, x0=x0, tolerance=tolerance, max_steps=self._max_steps, solver=self._solver
            )
        because = functools.partial(self._because, state, system, law, b, x0, tolerance) if self._explain else None
        solve.require_converged(stats, f"{label}, state {state}", tolerance, because)
        self.iterations += [int(n) for n in stats.iterations]
        self.residuals += [float(r) for r in stats.relative_residual]
        self.starts += [float(r) for r in stats.start_residual]
        return x

    def _because(
        self,
        state: str,
        system: System,
        law: Coefficients,
        b: Array,
        x0: Array | None,
        tolerance: float,
        stats: solve.Stats,
        column: int,
    ) -> str:
        """Why a column failed. Its last iterate is not kept, which would cost memory always: it is made once more."""
        guess = jnp.zeros_like(b) if x0 is None else x0
        x, left = _unfinished(SolveRequest(system, law, b, guess, jnp.asarray(tolerance), jnp.asarray(self._max_steps)))
        problem = (self._model, self._parameters, self.experiment.states[state], self.experiment.current[1])
        found = diagnosis.diagnose(
            *problem,
            np.asarray(left)[:, column],
            rhs=np.asarray(b)[:, column],
            fields=np.asarray(x)[:, column],
            tolerance=tolerance,
            iterations=int(stats.iterations[column]),
        )
        more = [f"also: {text}" for text in diagnosis.faults(*problem) if text not in found.detail]
        if self._model.outdated(self._parameters):
            more.append("also: the preconditioner was built for other parameters; try model.refreshed(parameters)")
        return "\n".join([str(found), *more])


#: What has been rehearsed, by the sizes of the problem.
_rehearsed: set[tuple[object, ...]] = set()
#: Above this many unknowns compilation hardly matters, and the memory of a rehearsal does.
_REHEARSED_UNKNOWNS = 1_000_000


def _rehearsal(
    model: Model, experiment: Experiment, values: dict[str, Any], rungs: int, harmonics: int, *, slopes: bool
) -> Callable[[], object] | None:
    """Everything but the solves, so that it is compiled; None if it has been."""
    sizes = model.disc.nodes_V, model.disc.nodes_T, model.grid.order, model.devices, model.members
    key = (sizes, model.constitution, rungs, slopes)
    if key in _rehearsed or model.unknowns > _REHEARSED_UNKNOWNS:
        return None
    _rehearsed.add(key)

    def run() -> None:
        ladders = solve_ladders(model, experiment, values, rungs, lambda *arguments: arguments[-2])
        functional = Functional.of(model, experiment)
        (functional.jacobian if slopes else functional.values)(values, ladders, harmonics)

    return run


@eqx.filter_jit
def _unfinished(request: SolveRequest) -> tuple[Array, Array]:
    """Return the last iterate and its residual, converged or not."""
    x, _ = solve.iterate(request)
    system = request.system
    return x, jnp.where(system.free[:, None], request.b, 0.0) - solve.matvec(system, request.law, x)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Values of wanted signals at one set of parameters, their derivatives, and the fields for a warm start.

    Attributes:
      values: [V/A^n] (wanted,).
      jacobian: [V/A^n per SI unit of the parameter] (wanted, names).
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


def evaluate(
    model: Model,
    parameters: Parameters,
    wanted: Sequence[tuple[str, str]],
    names: Sequence[str] = (),
    *,
    start: Mapping[str, tuple[Ladder, ...]] | None = None,
    progress: Progress | None = None,
    tolerance: float = solve.TOLERANCE,
    max_steps: int = solve.MAX_STEPS,
    explain: bool = True,
    solver: solve.Solver | None = None,
) -> Evaluation:
    """Values and exact Jacobian of some signals, with no more solves than they need.

    Args:
      model: from `build`.
      parameters: values by name; those left out are the device's own.
      wanted: pairs such as ("thermal", "R2.spin").
      names: parameters and dimensions to differentiate by; none: values only, at half the cost. By a dimension [m]: of
        the signals on this grid, whose lines move along; see `shapes`.
      start: `fields` of an evaluation nearby.
      progress: is told what goes on.
      tolerance, max_steps: bounds on the relative residual and on the iterations of each solve. Fields that enter the
        Jacobian alone are solved to `LOOSER` times the tolerance; its relative error may be some ten times that.
      explain: whether the message of a solve that failed says why, for which it is run once more.
      solver: what answers the solves, see `solve.solve`.
    Raises:
      ValueError: a name that does not exist, or values outside the model.
      NotConverged: a solve missed its tolerance; the message says which, by how much, where and why.
    """
    values = _filled(model, _in_place(model, parameters))
    lengths = [name for name in names if name in model.device.dimensions]
    unknown = [name for name in names if name not in values and name not in lengths]
    if unknown:
        allowed = [*values, *model.device.dimensions]
        raise InputError("\n".join(f"parameter '{name}' does not exist; {nearest(name, allowed)}" for name in unknown))
    blocks = shapes.of(model, lengths) if lengths else None
    by_experiment: dict[str, list[int]] = {}
    signals = [SignalName.parse(*pair) for pair in wanted]
    for place, (name, _, _) in enumerate(signals):
        if name not in model.device.experiments:
            raise InputError(f"experiment '{name}' does not exist; {nearest(name, model.device.experiments)}")
        by_experiment.setdefault(name, []).append(place)
    _require_solvable(model, values)
    out, jacobian = np.zeros(len(wanted)), np.zeros((len(wanted), len(names)))
    ladders: dict[str, tuple[Ladder, ...]] = {}
    highest = {name: max(signals[place].harmonic for place in places) for name, places in by_experiment.items()}
    rungs_of = {name: n if names else (n + 1) // 2 for name, n in highest.items()}
    beside = None
    if highest:
        most = model.device.experiments[max(highest, key=lambda name: highest[name])]
        beside = _rehearsal(model, most, values, rungs_of[most.name], highest[most.name], slopes=bool(names))
    watch = _Watched(model, values, progress, tolerance, max_steps, explain, beside, solver)
    for name, places in by_experiment.items():
        experiment, harmonics, rungs = model.device.experiments[name], highest[name], rungs_of[name]
        watch.experiment, watch.rungs = experiment, (harmonics + 1) // 2
        ladders[name] = solve_ladders(model, experiment, values, rungs, watch, (start or {}).get(name))
        functional = Functional.of(model, experiment)
        arguments = values, ladders[name], harmonics
        slopes: dict[str, Any] = {}
        if names:
            rows, slopes = functional.jacobian(*arguments)
        else:
            rows = functional.values(*arguments)
        if blocks is not None:
            moved = shapes.slopes(model, blocks, experiment, values, ladders[name], lengths)
            slopes = {**slopes, **{each: moved[..., k] for k, each in enumerate(lengths)}}
        for place in places:
            out[place] = _part(experiment, np.asarray(rows), signals[place])
            jacobian[place] = [_part(experiment, np.asarray(slopes[each]), signals[place]) for each in names]
    return Evaluation(out, jacobian, ladders, tuple(watch.iterations), tuple(watch.residuals), tuple(watch.starts))


def _part(experiment: Experiment, rows: np.ndarray, name: SignalName) -> float:
    if name.part not in experiment.parts:
        allowed = [name._replace(part=part).signal for part in experiment.parts]
        raise InputError(
            f"experiment '{experiment.name}' has no signal '{name.signal}'; {nearest(name.signal, allowed)}"
        )
    return float(readings(experiment, rows, name.harmonic)[name.part])


def _require_solvable(model: Model, values: Mapping[str, Any]) -> None:
    """Refuses values outside the model; what else `diagnosis.faults` finds takes longer, and waits for a failure."""
    found = diagnosis.value_faults(model.device, {name: float(value) for name, value in values.items()})
    if found:
        raise InputError("\n".join(found))


#: A number for each signal: {experiment: {"R1": {"P": ..., "AP": ..., "baseline": ..., "spin": ...}, ...}}.
Parts = Mapping[str, Mapping[str, Mapping[str, float]]]


@dataclasses.dataclass(frozen=True)
class Errors:
    """Error bars of signals, by `accuracy.assess`.

    Attributes:
      grid: bound on what refining the grid or raising the order would change [V/A^n].
      solver: bound on what solving to a smaller residual would change [V/A^n].
      limit: the value that orders 1, 2, 3 on this grid lead to [V/A^n]; NaN where these do not show where that is.
      limit_error: bound on the error of the limit [V/A^n].
    """

    grid: Parts
    solver: Parts
    limit: Parts
    limit_error: Parts


@dataclasses.dataclass(frozen=True)
class Signals:
    """All signals of a device.

    Attributes:
      device: its name.
      cells, unknowns: size of the discrete problem.
      order: polynomial order.
      experiments: {experiment: {"R1": {state: value, ..., "baseline": ..., "spin": ...}, ...}} [V/A^n].
      iterations, relative_residual: of every solve.
      wall_s: time it took [s].
      errors: error bars, if `accuracy.assess` has made them.
    """

    device: str
    cells: int
    unknowns: int
    order: int
    experiments: Parts
    iterations: tuple[int, ...]
    relative_residual: tuple[float, ...]
    wall_s: float
    errors: Errors | None = None

    def __getitem__(self, key: tuple[str, str]) -> float:
        """One number, such as `result["thermal", "R2.spin"]`."""
        experiment, signal = key
        harmonic, _, part = signal.partition(".")
        return self.experiments[experiment][harmonic][part]

    def error(self, experiment: str, signal: str) -> float:
        """Grid and solver error bar together of one number; ValueError if there are none."""
        if self.errors is None:
            raise InputError("these signals have no error bars; pass them to accuracy.assess first")
        harmonic, _, part = signal.partition(".")
        return sum(each[experiment][harmonic][part] for each in (self.errors.grid, self.errors.solver))

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary in the layout of the file that `thermospin signals --json` writes.

        `errors` is the sum of `grid_errors` and `solver_errors`; all are absent where there are no error bars, and the
        extrapolated values below order 3.
        """
        bars: dict[str, Any] = {}
        if self.errors is not None:
            both = {
                name: {
                    harmonic: {part: self.error(name, f"{harmonic}.{part}") for part in parts}
                    for harmonic, parts in each.items()
                }
                for name, each in self.experiments.items()
            }
            bars = {"errors": both, "grid_errors": self.errors.grid, "solver_errors": self.errors.solver}
            if self.order > 2:
                bars |= {"extrapolated": self.errors.limit, "extrapolated_errors": self.errors.limit_error}
        return {
            "device": self.device,
            "cells": self.cells,
            "unknowns": self.unknowns,
            "order": self.order,
            "experiments": {
                name: {harmonic: dict(parts) | {"unit": response_unit(harmonic[1])} for harmonic, parts in each.items()}
                for name, each in self.experiments.items()
            },
            **bars,
            "solver": {
                "iterations": list(self.iterations),
                "relative_residual": list(self.relative_residual),
                "converged": True,
            },
            "wall_s": self.wall_s,
        }


def measure(
    device: Model | Device,
    parameters: Parameters | None = None,
    *,
    harmonics: int = 2,
    start: Mapping[str, tuple[Ladder, ...]] | None = None,
    progress: Progress | None = None,
    tolerance: float = solve.TOLERANCE,
    max_steps: int = solve.MAX_STEPS,
) -> Signals:
    """Compute all signals of all experiments of a device, as plain numbers.

    Args:
      device: a device (solved on the default grid) or a model from `build`.
      parameters: values by name; those left out are the device's own.
      harmonics: highest harmonic, 1 to 4.
      start: `fields` of an `Evaluation` nearby.
      progress: is told what goes on.
      tolerance, max_steps: bounds on the relative residual and on the iterations of each solve.
    Raises:
      ValueError: a name that does not exist, or values outside the model.
      NotConverged: a solve missed its tolerance; the message says which, by how much, where and why.
    """
    began = time.monotonic()
    model = build(device, progress=progress) if isinstance(device, Device) else device
    values = _filled(model, parameters)
    _require_solvable(model, values)
    rungs = (harmonics + 1) // 2
    beside = _rehearsal(model, next(iter(model.device.experiments.values())), values, rungs, harmonics, slopes=False)
    watch = _Watched(model, values, progress, tolerance, max_steps, beside=beside)
    found = {}
    for name, experiment in model.device.experiments.items():
        watch.experiment = experiment
        ladders = solve_ladders(model, experiment, values, rungs, watch, (start or {}).get(name))
        rows = np.asarray(Functional.of(model, experiment).values(values, ladders, harmonics))
        found[name] = {
            f"R{n}": {part: float(value) for part, value in readings(experiment, rows, n).items()}
            for n in range(1, harmonics + 1)
        }
    return Signals(
        device=model.device.name,
        cells=model.cells,
        unknowns=model.unknowns,
        order=model.grid.order,
        experiments=found,
        iterations=tuple(watch.iterations),
        relative_residual=tuple(watch.residuals),
        wall_s=time.monotonic() - began,
    )


# ------------------------------------------------------------------------------------------- fields


@dataclasses.dataclass(frozen=True, eq=False)
class NodalFields:
    """Fields on the tensor grid of nodes, NaN where a field does not live.

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


def fields(
    model: Model,
    experiment: str,
    state: str,
    current: float,
    parameters: Parameters | None = None,
    *,
    start: Mapping[str, tuple[Ladder, ...]] | None = None,
    progress: Progress | None = None,
    tolerance: float = solve.TOLERANCE,
    max_steps: int = solve.MAX_STEPS,
) -> NodalFields:
    """Potentials and temperature at a current: I u_1 + I^2 u_2, with u_2 from the Joule heat of u_1.

    Args:
      model: from `build`.
      experiment, state: which.
      current: instantaneous (peak) current [A].
      parameters: values by name; those left out are the device's own.
      start: `fields` of an `Evaluation` at these parameters or nearby, which saves most of the work.
      progress: is told what goes on.
      tolerance, max_steps: bounds on the relative residual and on the iterations of each solve.
    """
    chosen = model.device.experiments.get(experiment)
    if chosen is None:
        raise InputError(f"experiment '{experiment}' does not exist; {nearest(experiment, model.device.experiments)}")
    if state not in chosen.states:
        raise InputError(f"experiment '{experiment}' has no state '{state}'; {nearest(state, chosen.states)}")
    values = _filled(model, parameters)
    _require_solvable(model, values)
    guesses = _state_fields(chosen, state, (start or {}).get(experiment))
    watch = _Watched(model, values, progress, tolerance, max_steps)
    watch.experiment = chosen
    system = model.systems[chosen.current[1]]
    (law,) = laws(model.disc, model.constitution, signs_of(model, chosen, state), values)
    one = functools.partial(_solve_one, watch, state, system, law)
    u_1 = one(ports_of(model, chosen).drive, guesses[0])
    heat = joule(model.disc, law, u_1, u_1)
    u_2 = one(values["zeta"] * heat, guesses[1])
    total = np.asarray(current * u_1 + current**2 * u_2)
    shape = tuple(len(nodes) for nodes in model.grid.nodes)
    V_up, V_down, T = (np.full(int(np.prod(shape)), np.nan) for _ in range(3))
    index_V, index_T = model.disc.index_V, model.disc.index_T
    V_up[index_V], V_down[index_V], T[index_T] = (
        np.asarray(part) for part in operators.split(model.disc, jnp.asarray(total))
    )
    return NodalFields(*model.grid.nodes, *(each.reshape(shape) for each in (V_up, V_down, T)))


def _solve_one(
    watch: _Watched, state: str, system: System, law: Coefficients, b: Vector, guess: Vector | None
) -> Vector:
    # Beside a column of zeros: two columns are the program that the ladders have compiled already.
    zero = jnp.zeros_like(b)
    pair = None if guess is None else jnp.stack([guess, zero], axis=1)
    return watch(state, 0, system, law, jnp.stack([b, zero], axis=1), pair)[:, 0]


def _state_fields(
    experiment: Experiment, state: str, ladders: tuple[Ladder, ...] | None
) -> tuple[Vector | None, Vector | None]:
    """u_1 and u_2 of a state out of ladders, so far as they are there."""
    if ladders is None:
        return None, None
    place = list(experiment.states).index(state)
    first = ladders[0].u
    u = first if place == 0 else tuple(a - d for a, d in zip(first, ladders[place].u, strict=True))
    guesses = [*u[:2], None, None]
    return guesses[0], guesses[1]
