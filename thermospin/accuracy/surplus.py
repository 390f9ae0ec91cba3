"""What the highest polynomials of the fields contribute to signals: how well a grid resolves them, and where.

The error of a signal is, to the second order, the form of the operator on the errors of a field and of its adjoint
(docs/accuracy.md, section 1). Both errors show in the highest polynomials that a solution has along a grid line: the
form on these alone says of every segment how far a signal is from being resolved with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from thermospin import operators, solve
from thermospin.base import compilation
from thermospin.base.names import SignalName
from thermospin.device.constitution import Parameters
from thermospin.model import ExperimentProblem, Model, Progress
from thermospin.signals.functional import readings
from thermospin.signals.ladders import Ladder, laws, of_state
from thermospin.signals.solving import SolveOptions, Solves

#: Relative residual of solves that serve this alone, and of those that go on from accurate fields: sums of absolute
#: contributions are then right to 4 %.
PASSING, SUFFICIENT = 1e-5, 1e-2

_power = compilation.on_host_first(operators.surplus_power)


def contributions(
    model: Model, fields: Mapping[str, Sequence[Ladder]], signals: Sequence[SignalName], parameters: Parameters
) -> dict[SignalName, list[np.ndarray]]:
    """Return the sum over k of l_(n-k).A u_k of the highest polynomials for each signal R_n: for each axis (segments,).

    Args:
      model: where the fields were solved for.
      fields: of an evaluation, with as many rungs as the signals have harmonics.
      signals: baselines, spin parts or states.
      parameters: values by name that the fields were solved with.
    """
    out: dict[SignalName, list[np.ndarray]] = {}
    values = model.completed(parameters)
    for name, ladders in fields.items():
        experiment, rows = model.device.experiments[name], _rows(model.problems[name], ladders, values)
        for signal in signals:
            if signal.experiment == name:
                out[signal] = [
                    readings(experiment, [r[axis] for r in rows], signal.harmonic)[signal] for axis in range(3)
                ]
    return out


def solved_contributions(
    model: Model,
    signals: Sequence[SignalName],
    parameters: Parameters | None = None,
    *,
    fields: Mapping[str, tuple[Ladder, ...]] | None = None,
    start: Mapping[str, tuple[Ladder, ...]] | None = None,
    progress: Progress | None = None,
    solver: solve.Solver | None = None,
) -> dict[SignalName, list[np.ndarray]]:
    """Return the `contributions` to signals, with solves for the rungs of the ladders that are not known.

    Args:
      model: the discrete problem.
      signals: such as "thermal R2.spin".
      parameters: values by name; those left out are the device's own.
      fields: of an evaluation with these parameters; rungs that it lacks are solved for.
      start: fields of an evaluation nearby, where there are no others.
      progress: callback for messages.
      solver: what answers the solves, see `solve.solve`.
    Raises:
      NotConverged: a solve missed its tolerance.
    """
    values = model.completed(parameters)
    solves = Solves(
        model, values, SolveOptions(PASSING if fields is None else SUFFICIENT, progress=progress, solver=solver)
    )
    ladders = {}
    for name in dict.fromkeys(signal.experiment for signal in signals):
        rungs = max(signal.harmonic for signal in signals if signal.experiment == name)
        known = None if fields is None else fields[name]
        ladders[name] = solves.ladders(model.problems[name], rungs, rungs, (start or {}).get(name), known)
    return contributions(model, ladders, signals, values)


def unresolved(
    model: Model,
    signals: Sequence[SignalName],
    parameters: Parameters | None = None,
    *,
    start: Mapping[str, tuple[Ladder, ...]] | None = None,
    solver: solve.Solver | None = None,
) -> np.ndarray:
    """Return the sum of the absolute `solved_contributions` of signals, SI units (signals,)."""
    parts = solved_contributions(model, signals, parameters, start=start, solver=solver)
    return np.array([total(parts[signal]) for signal in signals])


def total(parts: Sequence[np.ndarray]) -> float:
    """Return the sum of the absolute values of the contributions to a signal: how much of it is unresolved."""
    return sum(float(np.abs(part).sum()) for part in parts)


def _rows(
    problem: ExperimentProblem, ladders: Sequence[Ladder], parameters: Parameters
) -> list[list[list[np.ndarray]]]:
    """Return contributions to R_n by segment, for each state (the first, then first minus other) and axis."""
    law, others = laws(problem, parameters)

    def rows_of(law: operators.Coefficients, number: int) -> list[list[np.ndarray]]:
        out: list[list[np.ndarray]] = [[], [], []]
        ladder = of_state(ladders, number)
        for n in range(1, len(ladder.u) + 1):
            terms = [
                _power(problem.disc, law, ladder.l[n - k][:, None], ladder.u[k - 1][:, None]) for k in range(1, n + 1)
            ]
            for axis in range(3):
                out[axis].append(np.sum([np.asarray(term[axis])[:, 0] for term in terms], axis=0))
        return out

    rows = [rows_of(law, 0)]
    for number, states in enumerate(others, 1):
        other = rows_of(states.other, number)
        rows.append([[a - b for a, b in zip(*pair, strict=True)] for pair in zip(rows[0], other, strict=True)])
    return rows
