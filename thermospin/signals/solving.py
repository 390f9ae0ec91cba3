"""Solves of a verb: tolerances, progress, statistics, compilation in parallel, and why a solve failed."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Array

from thermospin import solve
from thermospin.base import compilation
from thermospin.base.arrays import AnyArray
from thermospin.base.compilation import local
from thermospin.base.kinds import require_whole
from thermospin.model import ExperimentProblem, Model, Progress
from thermospin.operators import Coefficients
from thermospin.signals import diagnosis, functional, uncompiled
from thermospin.signals.ladders import Ladder, solve_ladders
from thermospin.solve import SolveRequest, System

#: Fields that enter derivatives alone are solved to this many times the tolerance, but not above `LOOSEST`: an error of
#: the fields is one of the derivatives to the first order, of the values to the second.
LOOSER, LOOSEST = 1e2, 1e-5


@dataclasses.dataclass(frozen=True)
class SolveOptions:
    """Options of solves.

    Attributes:
      tolerance: bound on the relative residual.
      max_steps: bound on the number of iterations.
      explain: whether the message of a solve that failed says why, for which it is run once more.
      progress: callback for messages.
      solver: answers solve requests, see `solve.solve`; None: the solver itself.
    """

    tolerance: float = solve.TOLERANCE
    max_steps: int = solve.MAX_STEPS
    explain: bool = True
    progress: Progress | None = None
    solver: solve.Solver | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_steps", require_whole("max_steps", self.max_steps, 1))


class Solves:
    """The solves of a verb, outside of any trace; raises where one did not converge.

    Attributes:
      iterations, residuals, starts: steps, relative residual at the end and at the start of each column so far.
    """

    def __init__(
        self,
        model: Model,
        parameters: Mapping[str, Any],
        options: SolveOptions,
        rehearsal: Callable[[], object] | None = None,
    ) -> None:
        """Take the model and values of all parameters; `rehearsal` runs while the first solve is compiled."""
        self._model, self._parameters, self._options, self._rehearsal = model, parameters, options, rehearsal
        self.iterations: list[int] = []
        self.residuals: list[float] = []
        self.starts: list[float] = []

    def ladders(
        self,
        problem: ExperimentProblem,
        rungs: int,
        tight: int,
        start: tuple[Ladder, ...] | None = None,
        known: tuple[Ladder, ...] | None = None,
    ) -> tuple[Ladder, ...]:
        """Solve for the fields of an experiment.

        Args:
          rungs: number of pairs u_n, l_(n-1).
          tight: how many of them the values need; further ones enter derivatives alone and are solved less tightly.
          start: guesses.
          known: the first rungs, where they have been solved for.
        """

        def run(
            state: str, rung: int, system: System, law: Coefficients, b: AnyArray, guess: AnyArray | None
        ) -> AnyArray:
            return self.run(problem, state, system, law, b, guess, loose=rung >= tight)

        return solve_ladders(problem, self._parameters, rungs, run, start, known)

    def run(
        self,
        problem: ExperimentProblem,
        state: str,
        system: System,
        law: Coefficients,
        b: AnyArray,
        guess: AnyArray | None,
        *,
        loose: bool = False,
    ) -> AnyArray:
        """Solve for some columns of a state."""
        tolerance, progress = self._options.tolerance, self._options.progress
        if loose:
            tolerance = max(tolerance, min(LOOSER * tolerance, LOOSEST))
        label = f"{self._model.device.name}, {problem.experiment.name}"
        if progress is not None:
            done = len(self.iterations)
            last = f", the last one took {self.iterations[-1]} iterations" if done else ""
            progress(f"{label}: solves {done + 1} to {done + b.shape[1]}{last}")
        request = SolveRequest.of(system, law, b, guess, tolerance, self._options.max_steps)
        with contextlib.ExitStack() as stack:
            if self._rehearsal is not None:
                # Compiling is hardly parallel: other programs are made while this one is.
                stack.enter_context(ThreadPoolExecutor(1)).submit(self._rehearsal)
                self._rehearsal = None
            x, stats = solve.solve_request(request, self._options.solver or uncompiled.answer)
        because = functools.partial(self._because, problem, state, request) if self._options.explain else None
        solve.require_converged(stats, f"{label}, state {state}", tolerance, because)
        self.iterations += np.asarray(stats.iterations).tolist()
        self.residuals += np.asarray(stats.relative_residual).tolist()
        self.starts += np.asarray(stats.start_residual).tolist()
        return local(x)

    def _because(
        self, problem: ExperimentProblem, state: str, request: SolveRequest, stats: solve.Stats, column: int
    ) -> str:
        """Return why a column failed; its last iterate, which would cost memory always, is computed once more."""
        x, left = _unfinished(request)
        signs, ground = problem.experiment.states[state], problem.ground
        cause = diagnosis.diagnose(
            self._model,
            self._parameters,
            signs,
            ground,
            np.asarray(left)[:, column],
            rhs=np.asarray(request.b)[:, column],
            fields=np.asarray(x)[:, column],
            tolerance=float(request.tolerance),
            iterations=int(stats.iterations[column]),
        )
        faults = diagnosis.faults(self._model, self._parameters, signs, ground)
        more = [f"also: {text}" for text in faults if text not in cause.detail]
        if self._model.outdated(self._parameters):
            more.append("also: the preconditioner was built for other parameters; try model.refreshed(parameters)")
        return "\n".join([str(cause), *more])


@functools.partial(compilation.jit, passes=solve.PASSES)
def _unfinished(request: SolveRequest) -> tuple[Array, Array]:
    """Return the last iterate and its residual, converged or not."""
    x, _ = solve.iterate(request)
    system = request.system
    return x, solve.restricted(system, request.b) - solve.matvec(system, request.law, x)


#: Sizes of problems that were rehearsed in this process: JAX keeps compiled programs as long.
_rehearsed: set[tuple[object, ...]] = set()
#: Above this many unknowns compilation hardly matters, and the memory of a rehearsal does.
_REHEARSED_UNKNOWNS = 1_000_000


def rehearsal(
    model: Model, problem: ExperimentProblem, values: dict[str, Any], rungs: int, harmonics: int, *, slopes: bool
) -> Callable[[], object] | None:
    """Return a dry run of everything but the solves, to compile it while the solver compiles; None if already done."""
    sizes = model.disc.nodes_V, model.disc.nodes_T, model.grid.order, model.shards, model.members
    key = (sizes, model.constitution, rungs, slopes)
    if key in _rehearsed or model.unknowns > _REHEARSED_UNKNOWNS:
        return None
    _rehearsed.add(key)

    def run() -> None:
        ladders = solve_ladders(problem, values, rungs, lambda state, rung, system, law, b, guess: b)
        (functional.jacobian if slopes else functional.values)(problem, values, ladders, harmonics)

    return run
