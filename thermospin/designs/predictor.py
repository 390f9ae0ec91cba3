"""Values and derivatives of the quantities that a design needs.

Gradients of signals are exact (`signals.dimension_slopes`). The derivative of the hottest point's temperature has a
separate adjoint, the temperature of that point in place of the voltage. Those of a standard error and of a current
density are differences of neighbouring devices on the moving grid, one evaluation for each dimension.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from thermospin import operators, solve
from thermospin.base.errors import InputError
from thermospin.data.rows import Row
from thermospin.designs.objective import DENSEST, HOTTEST, STD, Pair, StandardErrorFit, hottest_order
from thermospin.device.constitution import Parameters
from thermospin.inference.predictors import RESIDUAL, Predictor
from thermospin.model import Model, Ports, Progress
from thermospin.parallel import tasks
from thermospin.signals import dimension_slopes
from thermospin.signals.ladders import Ladder, solve_ladders

#: Step of the differences that stand in for derivatives, as a part of the dimension.
DIFFERENCE = 1e-3


class DesignPredictor:
    """Values and derivatives of the quantities of an objective and of limits.

    Args:
      model: of the device.
      wanted: the quantities.
      fit: of standard errors among them.
      count: number of dimensions that derivatives are by, of which the differences are batched.
      progress: callback for messages.
      solver: answers solve requests, see `solve.solve`.
    """

    def __init__(
        self,
        model: Model,
        wanted: Sequence[Pair],
        fit: StandardErrorFit | None = None,
        count: int = 1,
        progress: Progress | None = None,
        solver: solve.Solver | None = None,
    ) -> None:
        self._wanted, self._fit, self._solver = tuple(wanted), fit, solver
        # Where only a temperature or a density is asked for, the signal that shares its fields comes along.
        experiments = model.device.experiments

        def companion(name: str, signal: str) -> str:
            order = {HOTTEST: hottest_order(experiments[name]), DENSEST: 1}.get(signal)
            return signal if order is None else f"R{order}.{next(iter(experiments[name].states))}"

        self._rows = [Row(name, companion(name, signal), 0, 1) for name, signal in self._wanted if name != STD]
        self._signals = Predictor(model, self._rows, RESIDUAL, progress, solver=solver) if self._rows else None
        self._data = None
        if self._fit is not None:
            # Its derivatives are differences, an evaluation for each dimension, in a batch.
            self._data = Predictor(tasks.split_for(model, count), self._fit.rows, RESIDUAL, progress, solver=solver)
        self.parts = tuple(predictor for predictor in (self._signals, self._data) if predictor is not None)

    def __call__(self, parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return values and Jacobian by dimensions."""
        values, jacobian = np.full(len(self._wanted), math.nan), np.full((len(self._wanted), len(names)), math.nan)
        of_signals = [place for place, (name, _) in enumerate(self._wanted) if name != STD]
        if self._signals is not None:
            hot = any(signal == HOTTEST for _, signal in self._wanted)
            # The second field of the ladder, whose heat it is, is solved for with a gradient only.
            signals, slopes = self._signals(parameters, names or (["zeta"] if hot else ()))
            values[of_signals], jacobian[of_signals] = signals, slopes[:, : len(names)]
            if not np.all(np.isfinite(signals)):
                return values, jacobian
            for place, (name, signal) in enumerate(self._wanted):
                if signal == HOTTEST:
                    model, ladder = self._signals.model, (self._signals.fields or {})[name][0]
                    values[place], jacobian[place] = hottest(model, name, parameters, ladder, names)
        by_differences = [k for k, (name, signal) in enumerate(self._wanted) if name == STD or signal == DENSEST]
        if by_differences:
            values[by_differences] = here = self._plain(parameters)

            def slope(name: str, solver: solve.Solver | None) -> np.ndarray:
                step = DIFFERENCE * max(abs(float(parameters[name])), 1e-9)
                there = self._fork(solver)._plain({**parameters, name: float(parameters[name]) + step})
                return (there - here) / step

            size = min(max(len(names), 1), *(tasks.capacity(predictor.model) for predictor in self.parts))
            slopes_of = tasks.run_batched((functools.partial(slope, name) for name in names), size, self._solver)
            for k, column in enumerate(slopes_of):
                jacobian[by_differences, k] = column
        return values, jacobian

    def _fork(self, solver: solve.Solver | None) -> DesignPredictor:
        """Return another one, which starts from the present fields."""
        other = copy.copy(self)
        other._signals = self._signals and self._signals.fork(solver)
        other._data = self._data and self._data.fork(solver)
        other._solver = solver
        return other

    def _plain(self, parameters: Mapping[str, float]) -> np.ndarray:
        """Return the quantities that have no exact derivative."""
        out = []
        if any(signal == DENSEST for _, signal in self._wanted) and self._signals is not None:
            self._signals(parameters, ())
        for name, signal in self._wanted:
            if name == STD and self._data is not None and self._fit is not None:
                out.append(self._fit.std(self._data(parameters, self._fit.free)[1], signal))
            elif signal == DENSEST and self._signals is not None:
                out.append(densest(self._signals.model, name, parameters, (self._signals.fields or {})[name][0]))
        return np.array(out)


def densest(model: Model, experiment: str, parameters: Parameters, ladder: Ladder) -> float:
    """Return the largest root mean square of the current density in a block between faces, per current [1/m^2].

    In the first state, from the heat that u_1 makes in the block: j^2 = heat sigma / volume. A mean over a block, as
    current densities are infinite at edges; of a block whose faces are those of the device it does not depend on the
    grid.

    Raises:
      InputError: nodes of the device are doubled, at interfaces or for probes of what passes between solids.
    """
    if model.placement.split is not None:
        raise InputError(
            f"{experiment} {DENSEST}: got a device with interfaces, faces that exchange heat at a rate h, or probes of "
            f"what passes between solids, whose blocks have no current density yet; limit {HOTTEST} instead"
        )
    disc, blocks = model.disc, dimension_slopes.Blocks.of(model)
    ones = jnp.zeros((disc.unknowns, 1)).at[2 * disc.nodes_V :].set(1.0)
    u = jnp.asarray(ladder.u[0])[:, None]
    sums = dimension_slopes.sums_of(blocks, operators.joule_entries(disc, ones, u, u), None)
    signs = next(iter(model.device.experiments[experiment].states.values()))
    table = model.constitution.table({name: float(parameters[name]) for name in model.parameters}, signs)
    law = np.stack([np.asarray(table[name])[blocks.domain] for name in operators.COEFFICIENTS])
    heat = np.einsum("nb,nkb->b", law, sums)
    sigma = law[operators.COEFFICIENTS.index("uu")] + law[operators.COEFFICIENTS.index("dd")]
    volume = np.prod([blocks.widths[k][blocks.interval[:, k]] for k in range(3)], axis=0)
    return float(np.sqrt(np.max(heat * sigma / volume)))


def hottest(
    model: Model, experiment: str, parameters: Parameters, ladder: Ladder, names: Sequence[str]
) -> tuple[float, np.ndarray]:
    """Return the temperature rise of the hottest node in the first state, per drive, and its derivative.

    Second harmonic of a current [K/A^2], else first [K/K, K/W].

    Args:
      model: on a grid whose lines move along.
      experiment: name of the experiment.
      parameters: values by name, all of them.
      ladder: fields of the first state; at least u_1, of a current u_2.
      names: dimensions to differentiate by.
    Raises:
      NotConverged: a solve for the adjoint missed its tolerance.
    """
    disc, order = model.disc, hottest_order(model.device.experiments[experiment])
    field = ladder.u[order - 1]
    node = 2 * disc.nodes_V + int(np.argmax(np.asarray(field)[2 * disc.nodes_V :]))
    value = float(field[node])
    if not names:
        return value, np.zeros(0)
    probe = np.zeros(disc.unknowns)
    probe[node] = 1.0
    whole = model.problems[experiment]
    problem = whole.in_state(next(iter(whole.experiment.states)))
    # A probe that is no contact: its vector does not change with any dimension.
    pointed = dataclasses.replace(problem.experiment, voltage=(HOTTEST, ""), temperature=(), through=None)
    ports = Ports(whole.ports.drive, jnp.asarray(probe), whole.ports.driven)
    problem = problem._replace(experiment=pointed, ports=ports)
    values = {key: jnp.asarray(parameters[key], float) for key in model.parameters}

    def run(state: str, rung: int, system: Any, law: Any, b: Any, guess: Any) -> Any:
        x, stats = solve.solve(system, law, b, x0=guess, tolerance=RESIDUAL)
        solve.require_converged(stats, f"{model.device.name}, {experiment}, {HOTTEST}", RESIDUAL, None)
        return x

    start = Ladder(ladder.u[:order], (jnp.zeros(disc.unknowns),) * order)
    ladders = solve_ladders(problem, values, order, run, [start])
    motions = dimension_slopes.of(model, names)
    return value, dimension_slopes.slopes(model, motions, problem, values, ladders, names)[0, order - 1]
