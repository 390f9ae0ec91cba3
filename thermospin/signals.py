"""Signals of experiments: harmonics R1 to R4 in each magnetic state, baseline and spin part, and their derivatives.

One functional gives everything (docs/theory.md, sections 6 and 7). With the fields u_1 ... u_m of the harmonic ladder
and the adjoint fields l_0 ... l_(m-1), those of higher order taken as zero,

    L_n = w.u_n + l_(n-1).b - sum_k l_(n-k).A u_k + zeta sum_k sum_(i+j=k) l_(n-k).q(u_i, u_j)

is R_n for every n <= 2m, and its derivative with the fields frozen is the derivative of R_n for every n <= m. So two
solves give R1 and R2, and two more their gradient with respect to everything.

The first state of an experiment is solved as it is; every other state through its difference from the first, so that
no spin signal is a difference of two large numbers.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thermospin import operators, solve
from thermospin.device import Device, Experiment
from thermospin.materials import nearest, thermoelectric_fault
from thermospin.model import Model, Parameters, Progress, build
from thermospin.operators import Coefficients, Discretisation
from thermospin.solve import Stats, System

__all__ = [
    "Evaluation",
    "NodalFields",
    "Signals",
    "build",
    "evaluate",
    "fields",
    "measure",
    "signals",
]

Vector = Float[Array, " unknowns"]

#: Unit of R_n.
UNITS = {1: "V/A", 2: "V/A^2", 3: "V/A^3", 4: "V/A^4"}


class Ladder(eqx.Module):
    """Fields of one state, or their difference between two states.

    Attributes:
      u: u_1, u_2, ...: response per current to the power n.
      l: l_0, l_1, ...: adjoint of the voltage probe.
    """

    u: tuple[Vector, ...]
    l: tuple[Vector, ...]  # noqa: E741  the name of the theory page


class States(eqx.Module):
    """The coefficients of two states: of the first, of another one, and first minus other."""

    first: Coefficients
    other: Coefficients
    change: Coefficients


class Ports(eqx.Module):
    """Drive per ampere and voltage probe of an experiment."""

    drive: Vector
    probe: Vector


# ------------------------------------------------------------------------------------------- multilinear forms

Form = Callable[..., Any]


def _change(form: Form, first: Sequence[Any], other: Sequence[Any], change: Sequence[Any]) -> Any:
    """form(*first) - form(*other) of a multilinear form, from the differences of its arguments:

    f(a, b) - f(a', b') = f(a - a', b) + f(a', b - b'), and so on: nothing large is subtracted.
    """
    terms = [form(*other[:k], change[k], *first[k + 1 :]) for k in range(len(first))]
    return jax.tree.map(lambda *parts: sum(parts), *terms)


def _pairs(total: int, low: int, high: int) -> list[tuple[int, int]]:
    """All i + j = total with both from low to high."""
    return [(i, total - i) for i in range(low, high + 1) if low <= total - i <= high]


def _column(f: Callable[..., Array], disc: Discretisation) -> Form:
    """A function of (disc, law, columns...) as a form of (law, vectors...)."""
    return lambda law, *vectors: f(disc, law, *(v[:, None] for v in vectors))[..., 0]


# ------------------------------------------------------------------------------------------- ladders


@eqx.filter_jit
def _sources(disc: Discretisation, law: Coefficients, zeta: Array, done: Ladder) -> Float[Array, "unknowns 2"]:
    """Right-hand sides of the next rung, for u_n and l_(n-1)."""
    joule, transposed = _column(operators.joule, disc), _column(operators.joule_transposed, disc)
    n = len(done.u) + 1
    heat = sum(joule(law, done.u[i - 1], done.u[j - 1]) for i, j in _pairs(n, 1, n - 1))
    back = sum(2 * transposed(law, done.l[i], done.u[n - 2 - i]) for i in range(n - 1))
    return zeta * jnp.stack([heat, back], axis=1)


@eqx.filter_jit
def _source_changes(
    disc: Discretisation, states: States, zeta: Array, ports: Ports, first: Ladder, change: Ladder
) -> Float[Array, "unknowns 2"]:
    """Right-hand sides of the next rung of the differences, for the change of u_n and of l_(n-1)."""
    joule, transposed = _column(operators.joule, disc), _column(operators.joule_transposed, disc)
    n = len(change.u) + 1
    moved = operators.apply(disc, states.change, jnp.stack([first.u[n - 1], first.l[n - 1]], axis=1))
    laws = (states.first, states.other, states.change)
    u = [(a, a - d, d) for a, d in zip(first.u, change.u, strict=False)]
    adjoint = [(a, a - d, d) for a, d in zip(first.l, change.l, strict=False)]
    heat, back = jnp.zeros_like(ports.drive), jnp.zeros_like(ports.drive)
    for i, j in _pairs(n, 1, n - 1):
        heat += _change(joule, *zip(laws, u[i - 1], u[j - 1], strict=True))
    for i in range(n - 1):
        back += 2 * _change(transposed, *zip(laws, adjoint[i], u[n - 2 - i], strict=True))
    return zeta * jnp.stack([heat, back], axis=1) - moved


Solve = Callable[[System, Coefficients, Array, Array | None], Array]


def _grow(step: Callable[[Ladder], Array], rungs: int, start: Ladder | None, run: Callable[..., Array]) -> Ladder:
    """Adds rung after rung; `run` solves for a right-hand side from a guess."""
    ladder = Ladder((), ())
    for rung in range(rungs):
        guess = None if start is None or len(start.u) <= rung else jnp.stack([start.u[rung], start.l[rung]], axis=1)
        x = run(step(ladder), guess)
        ladder = Ladder((*ladder.u, x[:, 0]), (*ladder.l, x[:, 1]))
    return ladder


def _ladders(
    model: Model,
    experiment: Experiment,
    parameters: Parameters,
    rungs: int,
    run: Solve,
    start: Sequence[Ladder] | None = None,
) -> tuple[Ladder, ...]:
    """The ladder of the first state, and for every other state the difference (first minus other)."""
    system, ports = model.systems[experiment.current[1]], _ports(model, experiment)
    zeta = jnp.asarray(parameters["zeta"], float)
    laws = _laws(model, experiment, parameters)

    def rung_of_first(done: Ladder) -> Array:
        if not done.u:
            return jnp.stack([ports.drive, ports.probe], axis=1)
        return _sources(model.disc, laws[0], zeta, done)

    guesses: Sequence[Ladder | None] = [None] * len(experiment.states) if start is None else start
    first = _grow(rung_of_first, rungs, guesses[0], lambda b, x0: run(system, laws[0], b, x0))
    ladders = [first]
    for states, guess in zip(laws[1:], guesses[1:], strict=True):

        def rung_of_change(done: Ladder, states: States = states) -> Array:
            return _source_changes(model.disc, states, zeta, ports, first, done)

        def solve_other(b: Array, x0: Array | None, states: States = states) -> Array:
            return run(system, states.other, b, x0)

        ladders.append(_grow(rung_of_change, rungs, guess, solve_other))
    return tuple(ladders)


def _ports(model: Model, experiment: Experiment) -> Ports:
    plus, minus = (model.ports[name] for name in experiment.voltage)
    return Ports(drive=model.ports[experiment.current[0]], probe=plus - minus)


def _laws(model: Model, experiment: Experiment, parameters: Parameters) -> tuple[Any, ...]:
    """Coefficients of the first state, and `States` for each of the others."""
    tables = [model.table(parameters, signs) for signs in experiment.states.values()]
    first = model.coefficients(tables[0])
    # Taken per domain, where what is not reversed cancels exactly; the sums over cells would leave round-off.
    changes = [jax.tree.map(jnp.subtract, tables[0], table) for table in tables[1:]]
    others = zip(tables[1:], changes, strict=True)
    return (first, *(States(first, model.coefficients(t), model.coefficients(d)) for t, d in others))


# ------------------------------------------------------------------------------------------- the functional


def _terms(disc: Discretisation, ports: Ports, zeta: Array, harmonics: int, of: _Kind, law: Any, ladder: Ladder) -> Array:
    """L_1 ... L_N of a state, or of the difference of two states: `of` says how a term is evaluated."""
    power, heat = _column(operators.power, disc), _column(operators.joule_power, disc)
    m = len(ladder.u)
    out = []
    for n in range(1, harmonics + 1):
        total = jnp.zeros(())
        if n <= m:
            total += ports.probe @ of.itself(ladder.u[n - 1]) + ports.drive @ of.itself(ladder.l[n - 1])
        for k in range(max(1, n - m + 1), n + 1):
            adjoint = ladder.l[n - k]
            if k <= m:
                total -= of.form(power, law, adjoint, ladder.u[k - 1])
            for i, j in _pairs(k, 1, m):
                if i <= j:
                    product = of.form(heat, law, adjoint, ladder.u[i - 1], ladder.u[j - 1])
                    total += (1 if i == j else 2) * zeta * product
        out.append(total)
    return jnp.stack(out)


class _Kind(NamedTuple):
    """How to evaluate a multilinear term, and a quantity on its own."""

    form: Callable[..., Array]
    itself: Callable[[Any], Array]


_STATE = _Kind(lambda form, *arguments: form(*arguments), lambda u: u)
_DIFFERENCE = _Kind(lambda form, *arguments: _change(form, *zip(*arguments, strict=True)), lambda u: u[2])


@eqx.filter_jit
def _functional(
    disc: Discretisation, ports: Ports, laws: tuple[Any, ...], zeta: Array, ladders: tuple[Ladder, ...], harmonics: int
) -> Float[Array, "states harmonics"]:
    """L_1 ... L_N of the first state, and for each other state the difference (first minus other)."""
    first = ladders[0]
    rows = [_terms(disc, ports, zeta, harmonics, _STATE, laws[0], first)]
    for states, change in zip(laws[1:], ladders[1:], strict=True):
        triples = Ladder(_triples(first.u, change.u), _triples(first.l, change.l))
        law = (states.first, states.other, states.change)
        rows.append(_terms(disc, ports, zeta, harmonics, _DIFFERENCE, law, triples))
    return jnp.stack(rows)


def _triples(first: Sequence[Vector], change: Sequence[Vector]) -> tuple[tuple[Vector, Vector, Vector], ...]:
    return tuple((a, a - d, d) for a, d in zip(first, change, strict=True))


def _values(
    model: Model, experiment: Experiment, parameters: Parameters, ladders: tuple[Ladder, ...], harmonics: int
) -> Float[Array, "states harmonics"]:
    """The functional as a function of parameters, fields frozen."""
    zeta = jnp.asarray(parameters["zeta"], float)
    laws = _laws(model, experiment, parameters)
    return _functional(model.disc, _ports(model, experiment), laws, zeta, ladders, harmonics)


def _parts(experiment: Experiment, values: Any, harmonic: int) -> dict[str, Any]:
    """R_n by state, and the baseline and spin part where there are the states P and AP."""
    column = [row[harmonic - 1] for row in values]
    states = dict(zip(experiment.states, [column[0], *(column[0] - change for change in column[1:])], strict=True))
    if not {"P", "AP"} <= set(states):
        return states
    # The change of a state is (first minus state); P minus AP without subtracting the two wherever one is the first.
    changes = dict(zip(experiment.states, [0 * column[0], *column[1:]], strict=True))
    spin = changes["AP"] - changes["P"]
    return states | {"baseline": states["P"] - spin / 2, "spin": spin}


# ------------------------------------------------------------------------------------------- what users call


def signals(
    model: Model, parameters: Parameters | None = None, *, harmonics: int = 2
) -> dict[str, dict[str, dict[str, Float[Array, ""]]]]:
    """R1 to R_N of every experiment: a pure function of the parameters, differentiable to any order, both modes.

    A derivative costs one more set of solves, however many parameters there are. Where a solve does not converge the
    values are NaN; `measure` raises instead.

    Args:
      model: from `build`.
      parameters: values by name (see `Device.parameters`); those left out are the device's own.
      harmonics: highest harmonic N, 1 to 4.
    Returns:
      {experiment: {"R1": {state: V/A, ..., "baseline": ..., "spin": ...}, "R2": ...}}
    """
    values = _filled(model, parameters)
    out = {}
    for experiment in model.device.experiments.values():

        @jax.custom_jvp
        def responses(p: dict[str, Any], experiment: Experiment = experiment) -> Array:
            ladders = _ladders(model, experiment, p, (harmonics + 1) // 2, _traced)
            return _values(model, experiment, p, ladders, harmonics)

        @responses.defjvp
        def _derivative(primals: Any, tangents: Any, experiment: Experiment = experiment) -> tuple[Array, Array]:
            (p,), (dp,) = primals, tangents
            ladders = _ladders(model, experiment, p, harmonics, _traced)
            value, change = jax.jvp(lambda q: _values(model, experiment, q, ladders, harmonics), (p,), (dp,))
            return value, change

        rows = responses(values)
        out[experiment.name] = {f"R{n}": _parts(experiment, rows, n) for n in range(1, harmonics + 1)}
    return out


def _filled(model: Model, parameters: Parameters | None) -> dict[str, Any]:
    own = model.parameters
    given = dict(parameters or {})
    unknown = [name for name in given if name not in own]
    if unknown:
        raise ValueError("\n".join(f"parameter '{name}' does not exist; {nearest(name, own)}" for name in unknown))
    # As arrays: custom_jvp wants tangents of the type of the values.
    return {name: jnp.asarray(given.get(name, value), float) for name, value in own.items()}


def _traced(system: System, law: Coefficients, b: Array, x0: Array | None) -> Array:
    return solve.solve(system, law, b, x0=x0)[0]


class _Watched:
    """Solves outside of any trace: tells the progress, keeps the statistics, and raises where one did not converge."""

    def __init__(self, progress: Progress | None, tolerance: float, max_steps: int) -> None:
        self.progress, self.tolerance, self.max_steps = progress, tolerance, max_steps
        self.label, self.total = "", 0
        self.iterations: list[int] = []
        self.residuals: list[float] = []

    def __call__(self, system: System, law: Coefficients, b: Array, x0: Array | None) -> Array:
        if self.progress is not None:
            done = f", {self.iterations[-1]} iterations" if self.iterations else ""
            self.progress(f"{self.label}: solves {len(self.iterations) + 1} to {len(self.iterations) + b.shape[1]}{done}")
        x, stats = solve.solve(system, law, b, x0=x0, tolerance=self.tolerance, max_steps=self.max_steps)
        solve.require_converged(stats, self.label)
        self.iterations += [int(n) for n in stats.iterations]
        self.residuals += [float(r) for r in stats.relative_residual]
        return x


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Values of wanted signals at one set of parameters, their derivatives, and the fields for a warm start.

    Attributes:
      values: [V/A^n] (wanted,).
      jacobian: [V/A^n per SI unit of the parameter] (wanted, names).
      fields: ladders by experiment.
      iterations, relative_residual: of every solve.
    """

    values: np.ndarray
    jacobian: np.ndarray
    fields: Mapping[str, tuple[Ladder, ...]]
    iterations: tuple[int, ...]
    relative_residual: tuple[float, ...]

    @property
    def converged(self) -> bool:
        """Always true: a solve that does not converge raises."""
        return True


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
) -> Evaluation:
    """Values and exact Jacobian of some signals, with no more solves than they need.

    Args:
      model: from `build`.
      parameters: values by name; those left out are the device's own.
      wanted: pairs such as ("thermal", "R2.spin").
      names: parameters to differentiate by; none: values only, at half the cost.
      start: `fields` of an evaluation nearby.
      progress: is told what goes on.
      tolerance, max_steps: bounds on the relative residual and on the iterations of each solve.
    Raises:
      ValueError: a name that does not exist.
      NotConverged: a solve missed its tolerance.
    """
    values = _filled(model, parameters)
    unknown = [name for name in names if name not in values]
    if unknown:
        raise ValueError("\n".join(f"parameter '{name}' does not exist; {nearest(name, values)}" for name in unknown))
    by_experiment: dict[str, list[int]] = {}
    for place, (name, _) in enumerate(wanted):
        if name not in model.device.experiments:
            raise ValueError(f"experiment '{name}' does not exist; {nearest(name, model.device.experiments)}")
        by_experiment.setdefault(name, []).append(place)
    _require_solvable(model, values)
    out, jacobian = np.zeros(len(wanted)), np.zeros((len(wanted), len(names)))
    ladders: dict[str, tuple[Ladder, ...]] = {}
    watch = _Watched(progress, tolerance, max_steps)
    for name, places in by_experiment.items():
        experiment = model.device.experiments[name]
        harmonics = max(int(wanted[place][1][1]) for place in places)
        rungs = harmonics if names else (harmonics + 1) // 2
        watch.label = f"{model.device.name}, {name}"
        guess = None if start is None else start.get(name)
        ladders[name] = _ladders(model, experiment, values, rungs, watch, guess)
        chosen = [wanted[place][1] for place in places]

        def picked(p: dict[str, Any], experiment: Experiment = experiment, harmonics: int = harmonics,
                   chosen: list[str] = chosen, name: str = name) -> Array:  # fmt: skip
            rows = _values(model, experiment, p, ladders[name], harmonics)
            return jnp.stack([_part(experiment, rows, signal) for signal in chosen])

        if names:
            out[places], pull = jax.vjp(picked, values)
            for row, place in enumerate(places):
                gradient = pull(jnp.zeros(len(places)).at[row].set(1.0))[0]
                jacobian[place] = [float(gradient[each]) for each in names]
        else:
            out[places] = picked(values)
    return Evaluation(out, jacobian, ladders, tuple(watch.iterations), tuple(watch.residuals))


def _part(experiment: Experiment, rows: Array, signal: str) -> Array:
    harmonic, _, part = signal.partition(".")
    parts = _parts(experiment, rows, int(harmonic[1]))
    if part not in parts:
        allowed = [f"{harmonic}.{each}" for each in parts]
        raise ValueError(f"experiment '{experiment.name}' has no signal '{signal}'; {nearest(signal, allowed)}")
    return parts[part]


def _require_solvable(model: Model, values: Mapping[str, Any]) -> None:
    """Refuses parameters for which the operator is not positive definite."""
    for name in {solid.material for solid in model.device.solids}:
        own = {key: float(values[f"{name}.{key}"]) for key in model.device.materials[name].values()}
        fault = thermoelectric_fault(own, model.device.bath)
        if fault:
            raise ValueError(f"material '{name}', {fault}")


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
    """

    device: str
    cells: int
    unknowns: int
    order: int
    experiments: Mapping[str, Mapping[str, Mapping[str, float]]]
    iterations: tuple[int, ...]
    relative_residual: tuple[float, ...]
    wall_s: float

    def __getitem__(self, key: tuple[str, str]) -> float:
        """One number, such as `result["thermal", "R2.spin"]`."""
        experiment, signal = key
        harmonic, _, part = signal.partition(".")
        return self.experiments[experiment][harmonic][part]

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary in the layout of the file that `thermospin signals --json` writes."""
        return {
            "device": self.device,
            "cells": self.cells,
            "unknowns": self.unknowns,
            "order": self.order,
            "experiments": {
                name: {harmonic: dict(parts) | {"unit": UNITS[int(harmonic[1])]} for harmonic, parts in each.items()}
                for name, each in self.experiments.items()
            },
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
    progress: Progress | None = None,
    tolerance: float = solve.TOLERANCE,
    max_steps: int = solve.MAX_STEPS,
) -> Signals:
    """All signals of all experiments of a device, as plain numbers.

    Args:
      device: a device (solved on the default grid) or a model from `build`.
      parameters: values by name; those left out are the device's own.
      harmonics: highest harmonic, 1 to 4.
      progress: is told what goes on.
      tolerance, max_steps: bounds on the relative residual and on the iterations of each solve.
    Raises:
      NotConverged: a solve missed its tolerance; the message says which, by how much, and the likely causes.
    """
    began = time.monotonic()
    model = build(device, progress=progress) if isinstance(device, Device) else device
    values = _filled(model, parameters)
    _require_solvable(model, values)
    watch = _Watched(progress, tolerance, max_steps)
    found = {}
    for name, experiment in model.device.experiments.items():
        watch.label = f"{model.device.name}, {name}"
        ladders = _ladders(model, experiment, values, (harmonics + 1) // 2, watch)
        rows = np.asarray(_values(model, experiment, values, ladders, harmonics))
        found[name] = {
            f"R{n}": {part: float(value) for part, value in _parts(experiment, rows, n).items()}
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
        raise ValueError(f"experiment '{experiment}' does not exist; {nearest(experiment, model.device.experiments)}")
    if state not in chosen.states:
        raise ValueError(f"experiment '{experiment}' has no state '{state}'; {nearest(state, chosen.states)}")
    values = _filled(model, parameters)
    _require_solvable(model, values)
    guesses = _state_fields(chosen, state, None if start is None else start.get(experiment))
    watch = _Watched(progress, tolerance, max_steps)
    watch.label = f"{model.device.name}, {experiment}, {state}"
    system, law = model.systems[chosen.current[1]], model.coefficients(model.table(values, chosen.states[state]))
    u_1 = watch(system, law, _ports(model, chosen).drive[:, None], guesses[0])
    u_2 = watch(system, law, values["zeta"] * operators.joule(model.disc, law, u_1, u_1), guesses[1])
    total = np.asarray(current * u_1[:, 0] + current**2 * u_2[:, 0])
    shape = tuple(len(nodes) for nodes in model.grid.nodes)
    V_up, V_down, T = (np.full(int(np.prod(shape)), np.nan) for _ in range(3))
    index_V, index_T = model.disc.index_V, model.disc.index_T
    V_up[index_V], V_down[index_V], T[index_T] = (np.asarray(part) for part in operators.split(model.disc, total))
    return NodalFields(*model.grid.nodes, *(each.reshape(shape) for each in (V_up, V_down, T)))


def _state_fields(
    experiment: Experiment, state: str, ladders: tuple[Ladder, ...] | None
) -> tuple[Array | None, Array | None]:
    """u_1 and u_2 of a state out of ladders, so far as they are there."""
    if ladders is None:
        return None, None
    place = list(experiment.states).index(state)
    first = ladders[0].u
    u = first if place == 0 else tuple(a - d for a, d in zip(first, ladders[place].u, strict=True))
    guesses = [each[:, None] for each in u[:2]] + [None, None]
    return guesses[0], guesses[1]
