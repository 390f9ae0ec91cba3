"""Signals of experiments: harmonics R1 to R4 in each magnetic state, baseline and spin part, and their derivatives.

The verbs: `predict` as a pure function, `measure`, `evaluate` and `fields` with progress, warm starts and clear
failures. Fields are solved for in `signals.ladders`, and signals follow from them in `signals.functional`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thermospin import solve
from thermospin.base.arrays import AnyArray
from thermospin.base.compilation import local, stacked
from thermospin.base.errors import InputError
from thermospin.base.kinds import require_finite, require_whole
from thermospin.base.names import SignalName, nearest, no_parameter
from thermospin.device.constitution import Parameters
from thermospin.device.device import Device
from thermospin.device.parts import DRIVE_UNITS, Experiment
from thermospin.device.placement import jumps
from thermospin.model import ExperimentProblem, Model, Progress, build
from thermospin.operators import Coefficients
from thermospin.parallel.sharding import after
from thermospin.signals import diagnosis, dimension_slopes, functional
from thermospin.signals.cancellation import undiminished
from thermospin.signals.functional import HARMONICS, readings
from thermospin.signals.ladders import Ladder, Vector, applied, joule, laws, of_state, solve_ladders
from thermospin.signals.nodal import nodal_fields
from thermospin.signals.results import Evaluation, NodalFields, Signals, nested
from thermospin.signals.solving import SolveOptions, Solves, rehearsal
from thermospin.solve import System

#: Largest relative residual that signals are computed to; a larger one is meant as an error of the signals.
LOOSEST = 1e-3


def predict(
    model: Model, parameters: Parameters | None = None, *, harmonics: int = 2, tolerance: float = solve.TOLERANCE
) -> dict[str, dict[str, dict[str, Float[Array, ""]]]]:
    """Return R1 to R_N of every experiment: a pure function of the parameters, differentiable to any order, both modes.

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
    harmonics = require_whole("harmonics", harmonics, 1, HARMONICS)
    _require_tolerance(tolerance)
    values = model.completed(parameters)
    signals: dict[SignalName, Array] = {}
    for problem in model.problems.values():
        rows = _responses(problem, harmonics, tolerance)(values)
        if problem.systems[0].shards is not None:  # experiments in one order, see `after`
            done = jax.lax.stop_gradient(jnp.nan_to_num(rows))
            values = {name: after(value, done) for name, value in values.items()}
        signals |= readings(problem.experiment, rows, harmonics)
    return nested(signals)


def _responses(
    problem: ExperimentProblem, harmonics: int, tolerance: float
) -> Callable[[dict[str, Any]], Float[Array, "states harmonics"]]:
    """Return the signals as a function of the parameters alone, whose derivative needs no solves but its own."""

    def solved(
        state: str, rung: int, system: System, law: Coefficients, b: AnyArray, guess: AnyArray | None
    ) -> AnyArray:
        del state, rung
        return solve.solve(system, law, b, x0=guess, tolerance=tolerance)[0]

    def frozen(parameters: dict[str, Any], rungs: int) -> Callable[[dict[str, Any]], Array]:
        """Return the functional with the fields of some parameters."""
        ladders = solve_ladders(problem, parameters, rungs, solved)
        return lambda others: jnp.asarray(functional.values(problem, others, ladders, harmonics))

    @jax.custom_jvp
    def responses(parameters: dict[str, Any]) -> Array:
        return frozen(parameters, (harmonics + 1) // 2)(parameters)

    @responses.defjvp
    def _derivative(primals: Any, tangents: Any) -> tuple[Array, Array]:
        return jax.jvp(frozen(primals[0], harmonics), primals, tangents)

    return responses


def _require_tolerance(tolerance: float) -> None:
    if not 0 < tolerance <= LOOSEST:
        raise InputError(
            f"tolerance: got {tolerance:g}, a bound on the relative residual of each solve, expected above 0 and at "
            f"most {LOOSEST:g}; for error bars within a part of the signals, use adapt(device, tolerance={tolerance:g})"
        )


def _checked(model: Model, parameters: Parameters | None) -> dict[str, Any]:
    """Return values of all parameters; refuse those outside the model.

    What else `diagnosis.faults` finds takes longer, and waits for a failure.
    """
    values = model.completed(parameters)
    if any(isinstance(value, jax.core.Tracer) for value in values.values()):
        raise InputError(
            "parameters: got values that JAX traces, expected plain numbers; inside of `jax.jit`, `jax.grad` and "
            "`jax.vmap` use `predict`, which is a pure function"
        )
    numbers = {name: float(value) for name, value in values.items()}
    faults = diagnosis.value_faults(model.device, numbers)
    faults += [
        f"interface '{joint.interface}': it was so good a conductor when the model was built that fields do not jump "
        "there; build the model with the values that are wanted"
        for joint in model.constitution.joints
        if any(
            now > then
            for now, then in zip(jumps(model.device, joint, numbers), jumps(model.device, joint), strict=True)
        )
    ]
    if faults:
        raise InputError("\n".join(faults))
    return values


def evaluate(
    model: Model,
    parameters: Parameters,
    wanted: Sequence[tuple[str, str] | str],
    names: Sequence[str] = (),
    *,
    start: Mapping[str, tuple[Ladder, ...]] | None = None,
    progress: Progress | None = None,
    tolerance: float = solve.TOLERANCE,
    max_steps: int = solve.MAX_STEPS,
    explain: bool = True,
    solver: solve.Solver | None = None,
) -> Evaluation:
    """Return values and exact Jacobian of some signals, with no more solves than they need.

    Args:
      model: from `build`.
      parameters: values by name; those left out are the device's own.
      wanted: signals such as ("thermal", "R2.spin") or "thermal R2.spin".
      names: parameters and dimensions to differentiate by; none: values only, at half the cost. By a dimension [m]: of
        the signals on this grid, whose lines move along; see `dimension_slopes`.
      start: `fields` of an evaluation nearby.
      progress: callback for messages.
      tolerance, max_steps: bounds on the relative residual and on the iterations of each solve. Fields that enter the
        Jacobian alone are solved to `solving.LOOSER` times the tolerance; its relative error may be ten times that.
      explain: whether the message of a solve that failed says why, for which it is run once more.
      solver: what answers the solves, see `solve.solve`.
    Raises:
      ValueError: a name that does not exist, or values outside the model.
      NotConverged: a solve missed its tolerance; the message says which, by how much, where and why.
    """
    _require_tolerance(tolerance)
    signals = SignalName.each(wanted)
    problems = _problems_of(model, signals)
    values = _checked(model, parameters)
    lengths = _lengths_among(model, names, values)
    motions = dimension_slopes.of(model, lengths) if lengths else None
    highest = {name: max(signal.harmonic for signal in signals if signal.experiment == name) for name in problems}
    # As many rungs as harmonics give derivatives; half of them the values.
    rungs = {name: n if names else (n + 1) // 2 for name, n in highest.items()}
    options = SolveOptions(tolerance, max_steps, explain, progress, solver)
    longest = max(highest, key=lambda name: highest[name], default=None)
    dry_run = None
    if longest is not None:
        dry_run = rehearsal(model, problems[longest], values, rungs[longest], highest[longest], slopes=bool(names))
    solves = Solves(model, values, options, dry_run)
    ladders: dict[str, tuple[Ladder, ...]] = {}
    values_of: dict[SignalName, float] = {}
    slopes: dict[SignalName, list[float]] = {}
    for name, problem in problems.items():
        harmonics = highest[name]
        fields_of = solves.ladders(problem, rungs[name], (harmonics + 1) // 2, (start or {}).get(name))
        ladders[name] = fields_of
        by_name: dict[str, Any] = {}
        if names:
            rows, by_name = functional.jacobian(problem, values, fields_of, harmonics)
        else:
            rows = functional.values(problem, values, fields_of, harmonics)
        if motions is not None:
            moved = dimension_slopes.slopes(model, motions, problem, values, fields_of, lengths)
            by_name = {**by_name, **{length: moved[..., k] for k, length in enumerate(lengths)}}
        values_of |= readings(problem.experiment, np.asarray(rows), harmonics)
        columns = [readings(problem.experiment, np.asarray(by_name[key]), harmonics) for key in names]
        slopes |= {
            signal: [float(column[signal]) for column in columns] for signal in signals if signal.experiment == name
        }
    return Evaluation(
        np.array([values_of[signal] for signal in signals], float),
        np.array([slopes[signal] for signal in signals], float).reshape(len(signals), len(names)),
        ladders,
        tuple(solves.iterations),
        tuple(solves.residuals),
        tuple(solves.starts),
    )


def _problems_of(model: Model, signals: Sequence[SignalName]) -> dict[str, ExperimentProblem]:
    """Return the problems of the experiments that signals belong to; refuse signals that do not exist."""
    require_signals(model.device, signals)
    return {name: model.problems[name] for name in dict.fromkeys(signal.experiment for signal in signals)}


def require_signals(device: Device, signals: Sequence[SignalName]) -> None:
    """Refuse signals that no experiment of the device has.

    Raises:
      InputError: with the nearest name.
    """
    for name in signals:
        parts = device.experiment(name.experiment).parts
        if not 1 <= name.harmonic <= HARMONICS:
            raise InputError(f"signal '{name}': got harmonic {name.harmonic}, expected 1 to {HARMONICS}")
        if name.part not in parts:
            allowed = [name._replace(part=part).signal for part in parts]
            raise InputError(
                f"experiment '{name.experiment}' has no signal '{name.signal}'; {nearest(name.signal, allowed)}"
            )


def _lengths_among(model: Model, names: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """Return the dimensions among names to differentiate by; refuse names that do not exist."""
    lengths = [name for name in names if name in model.device.dimensions]
    allowed = [*values, *model.device.dimensions]
    faults = [no_parameter(name, allowed) for name in names if name not in allowed]
    if faults:
        raise InputError("\n".join(faults))
    return lengths


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
      progress: callback for messages.
      tolerance, max_steps: bounds on the relative residual and on the iterations of each solve.
    Raises:
      ValueError: a name that does not exist, or values outside the model.
      NotConverged: a solve missed its tolerance; the message says which, by how much, where and why.
    """
    model = build(device, progress=progress) if isinstance(device, Device) else device
    return solved(model, parameters, harmonics, start, SolveOptions(tolerance, max_steps, progress=progress))[0]


def solved(
    model: Model,
    parameters: Parameters | None = None,
    harmonics: int = 2,
    start: Mapping[str, tuple[Ladder, ...]] | None = None,
    options: SolveOptions | None = None,
) -> tuple[Signals, dict[str, tuple[Ladder, ...]]]:
    """Return what `measure` does, and the fields of each experiment."""
    options = options or SolveOptions()
    began = time.monotonic()
    harmonics = require_whole("harmonics", harmonics, 1, HARMONICS)
    _require_tolerance(options.tolerance)
    if not model.problems:
        raise InputError(f"device '{model.device.name}' has no experiments, so that there is no signal to compute")
    values, own = _checked(model, parameters), model.parameters
    rungs = (harmonics + 1) // 2
    dry_run = rehearsal(model, next(iter(model.problems.values())), values, rungs, harmonics, slopes=False)
    solves = Solves(model, values, options, dry_run)
    values_of: dict[SignalName, float] = {}
    whole: dict[str, tuple[float, float]] = {}
    fields_of: dict[str, tuple[Ladder, ...]] = {}
    for name, problem in model.problems.items():
        fields_of[name] = ladders = solves.ladders(problem, rungs, rungs, (start or {}).get(name))
        whole[name] = undiminished(model, values, problem, ladders[0])
        rows = np.asarray(functional.values(problem, values, ladders, harmonics))
        values_of |= {signal: float(value) for signal, value in readings(problem.experiment, rows, harmonics).items()}
    signals = Signals(
        device=model.device.name,
        cells=model.cells,
        unknowns=model.unknowns,
        order=model.grid.order,
        values=values_of,
        iterations=tuple(solves.iterations),
        relative_residual=tuple(solves.residuals),
        wall_s=time.monotonic() - began,
        undiminished=whole,
        units={name: model.device.experiments[name.experiment].unit(name.harmonic) for name in values_of},
        parameters={name: float(value) for name, value in values.items() if float(value) != own[name]},
    )
    return signals, fields_of


def fields(
    model: Model,
    experiment: str,
    state: str,
    drive: float,
    parameters: Parameters | None = None,
    *,
    start: Mapping[str, tuple[Ladder, ...]] | None = None,
    progress: Progress | None = None,
    tolerance: float = solve.TOLERANCE,
    max_steps: int = solve.MAX_STEPS,
) -> NodalFields:
    """Return potentials and temperature at a drive d: d u_1 + d^2 u_2, with u_2 from the Joule heat of u_1.

    Potentials are those over the ground of each piece of metal; where there is none they have a constant of no meaning.

    Args:
      model: from `build`.
      experiment, state: which.
      drive: instantaneous (peak) current [A], temperature of the first face over the bath [K] or power in the first
        solid [W].
      parameters: values by name; those left out are the device's own.
      start: `fields` of an `Evaluation` at these parameters or nearby, which saves most of the work.
      progress: callback for messages.
      tolerance, max_steps: bounds on the relative residual and on the iterations of each solve.
    """
    _require_tolerance(tolerance)
    asked = model.device.experiment(experiment)
    asked.require_state(state)
    drive = require_finite("drive", drive, DRIVE_UNITS[asked.drive])
    values = _checked(model, parameters)
    problem = model.problems[experiment].in_state(state)
    guesses = _state_fields(asked, state, (start or {}).get(experiment))
    solves = Solves(model, values, SolveOptions(tolerance, max_steps, progress=progress))
    law = laws(problem, values).first
    one = functools.partial(_solve_one, solves, problem, law)
    driven = problem.ports.driven
    if driven is None:
        u_1 = one(problem.ports.drive, guesses[0])
    else:
        source = local(problem.ports.drive) - applied(problem.disc, law, driven)
        u_1 = local(driven) + one(source, None if guesses[0] is None else guesses[0] - local(driven))
    heat = joule(problem.disc, law, u_1, u_1)
    u_2 = one(values["zeta"] * heat, guesses[1])
    return nodal_fields(model, drive * u_1 + drive**2 * u_2)


def _solve_one(
    solves: Solves, problem: ExperimentProblem, law: Coefficients, b: Vector, guess: Vector | None
) -> Vector:
    # With a column of zeros: two columns are the program that the ladders have compiled already.
    zero = np.zeros(b.shape)
    pair = None if guess is None else stacked([guess, zero])
    (state,) = problem.experiment.states
    return solves.run(problem, state, problem.systems[0], law, stacked([b, zero]), pair)[:, 0]


def _state_fields(
    experiment: Experiment, state: str, ladders: tuple[Ladder, ...] | None
) -> tuple[Vector | None, Vector | None]:
    """Return u_1 and u_2 of a state out of ladders, as far as they are there."""
    if ladders is None:
        return None, None
    guesses = [*of_state(ladders, list(experiment.states).index(state)).u[:2], None, None]
    return guesses[0], guesses[1]
