"""Trust in the numbers of a device: reciprocity, refinement, and their verdict in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from thermospin.accuracy import error_bars
from thermospin.base.shown import Shown
from thermospin.base.text import percent
from thermospin.device import singularities
from thermospin.device.constitution import Parameters
from thermospin.device.drives import PROBES, drive_of
from thermospin.device.parts import Experiment
from thermospin.model import ExperimentProblem, Model, Progress
from thermospin.operators import Coefficients
from thermospin.signals import evaluate
from thermospin.signals.ladders import Ladder, Vector, applied, laws, of_state
from thermospin.signals.results import Signals

#: Readings are right to the relative residual, 1e-9, times the root of a condition number (below 1e3) and their own
#: cancellation; an exchange that changes R1 by more is a fault.
RECIPROCITY = 1e-6
#: Relative error bars up to which a signal counts as good, and from which on it is not resolved.
GOOD, UNRESOLVED = 0.05, 0.5
#: An R1 below this part of the terms that cancel in it is zero, and is measured by those.
ZERO = 1e-6
_CONTACTS = "current and voltage contacts"


@dataclasses.dataclass(frozen=True)
class SelfCheck(Shown):
    """Reciprocity and error bars of a device.

    Attributes:
      signals: of the device, with error bars.
      reciprocity: for each experiment the largest relative difference to R1 that it makes to exchange drive and probe:
        the contacts that carry current and those that are read, say; of an R1 that is zero, relative to what cancels.
      weakest: the edges where fields converge most slowly.
      exchanged: for each experiment what is exchanged, in words.
    """

    signals: Signals
    reciprocity: Mapping[str, float]
    weakest: singularities.Weakest
    exchanged: Mapping[str, str]

    @property
    def passed(self) -> bool:
        """True if reciprocity holds and some signal is resolved."""
        resolved = any(error < UNRESOLVED for error in self._relative().values())
        return resolved and all(difference <= RECIPROCITY for difference in self.reciprocity.values())

    def _relative(self) -> dict[str, float]:
        """Return the error bar of each signal in units of the signal."""
        return {
            str(name): self.signals.error(name.experiment, name.signal) / abs(value)
            for name, value in self.signals.values.items()
            if value
        }

    def words(self) -> list[str]:
        """Return all of it in sentences, and a verdict."""
        lines = []
        for name, difference in self.reciprocity.items():
            verdict = "as it must be" if difference <= RECIPROCITY else "WHICH IS A FAULT: it must not change"
            lines.append(
                f"Reciprocity of {name}: with {self.exchanged[name]} exchanged R1 changes by {difference:.1e} of "
                f"itself, {verdict}."
            )
        relative = self._relative()
        worst_first = sorted(relative, key=lambda name: -relative[name])
        for low, high, meaning in (
            (0.0, GOOD, "good"),
            (GOOD, UNRESOLVED, "rough"),
            (UNRESOLVED, float("inf"), "NOT RESOLVED by this grid, not to be used"),
        ):
            chosen = [name for name in reversed(worst_first) if low <= relative[name] < high]
            if chosen:
                listed = ", ".join(f"{name} to {percent(relative[name])}" for name in chosen)
                lines.append(f"Refinement, {meaning}: {listed}.")
        lines += self.weakest.words()
        lines.append(self._verdict(relative))
        return lines

    def _verdict(self, relative: Mapping[str, float]) -> str:
        if not self.passed:
            return "Verdict: these numbers can NOT be trusted."
        rough = [name for name, error in relative.items() if error >= GOOD]
        if not rough:
            return "Verdict: all numbers can be trusted within their error bars."
        return (
            f"Verdict: the good ones can be trusted within their error bars; for the others refine: "
            f"thermospin signals DEVICE --tolerance {GOOD:.0%}"
        )


def self_check(model: Model, *, progress: Progress | None = None) -> SelfCheck:
    """Solve a device, at the orders below too, and read R1 of each experiment from both of its solutions.

    R1 is what the probe reads of the response to the drive, w.u_1, and just as well what the current contacts read of
    the response to a current through the voltage contacts, b.l_0. Heat as drive or probe likewise: a temperature that
    is held, or what passes faces, is read by the reaction to it, see `_exchange` (Onsager; all magnets reversed is the
    same as none reversed here, because that exchanges the names of the spins). The two are solved for apart from each
    other, and agree to the solver's error if operator, ports and boundary conditions are reciprocal.

    Args:
      model: what to check.
      progress: callback for messages.
    Raises:
      NotConverged: a solve missed its tolerance.
    Source: Buttiker, IBM J. Res. Dev. 32, 317 (1988).
    """
    experiments = model.device.experiments
    wanted = [(name, f"R2.{next(iter(experiment.states))}") for name, experiment in experiments.items()]
    evaluation = evaluate.evaluate(model, {}, wanted, progress=progress)
    measured = evaluate.measure(model, start=evaluation.fields, progress=progress)
    measured = dataclasses.replace(
        measured, iterations=evaluation.iterations, relative_residual=evaluation.relative_residual
    )
    values = model.completed({})
    reciprocity = {
        name: _exchange(problem, values, evaluation.fields[name]) for name, problem in model.problems.items()
    }
    signals = error_bars.assess(model, measured, start=evaluation.fields, progress=progress)
    exchanged = {name: _in_words(experiment) for name, experiment in experiments.items()}
    return SelfCheck(signals, reciprocity, model.device.weakest_edges(model.grid), exchanged)


def _in_words(experiment: Experiment) -> str:
    if experiment.drive == "current" and experiment.probe == "voltage":
        return _CONTACTS
    return f"drive ({drive_of(experiment).name}) and probe ({PROBES[experiment.probe]})"


def _exchange(problem: ExperimentProblem, parameters: Parameters, ladders: Sequence[Ladder]) -> float:
    """Return the largest relative difference between the two readings of R1 over the states.

    With the held part d of u and the test field t of l, these are w.u + t.(b - A u) and b.l + d.(w - A l).
    """
    ports, largest = problem.ports, 0.0
    law, others = laws(problem, parameters)
    for number in range(len(ladders)):
        ladder = of_state(ladders, number)
        u, l = ladder.u[0], ladder.l[0]  # noqa: E741  the names of the theory page
        its_law = others[number - 1].other if number else law

        def reading(
            probe: Vector, held: Vector | None, source: Vector, field: Vector, law: Coefficients = its_law
        ) -> tuple[float, float]:
            """Return a reading, and the sum of the sizes of its terms."""
            terms = np.asarray(probe * field)
            if held is not None:
                terms = np.append(terms, held * (source - applied(problem.disc, law, field)))
            return float(np.sum(terms)), float(np.sum(np.abs(terms)))

        read, size = reading(ports.probe, ports.tested, ports.drive, u)
        exchanged, other_size = reading(ports.drive, ports.driven, ports.probe, l)
        whole = size + other_size
        scale = abs(read) if abs(read) > ZERO * whole else whole
        largest = max(largest, abs(read - exchanged) / max(scale, 1e-300))
    return largest
