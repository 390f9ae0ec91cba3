"""Trust in the numbers of a device: reciprocity, refinement, and their verdict in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from thermospin.accuracy import error_bars
from thermospin.base.text import percent
from thermospin.device import singularities
from thermospin.device.drives import PROBES, drive_of
from thermospin.device.parts import Experiment
from thermospin.model import ExperimentProblem, Model, Progress
from thermospin.signals import evaluate
from thermospin.signals.ladders import Ladder
from thermospin.signals.results import Signals

#: Readings are right to the relative residual, 1e-9, times the root of a condition number (below 1e3) and their own
#: cancellation; an exchange that changes R1 by more is a fault.
RECIPROCITY = 1e-6
#: Relative error bars up to which a signal counts as good, and from which on it is not resolved.
GOOD, UNRESOLVED = 0.05, 0.5
_CONTACTS = "current and voltage contacts"


@dataclasses.dataclass(frozen=True)
class SelfCheck:
    """Reciprocity and error bars of a device.

    Attributes:
      signals: of the device, with error bars.
      reciprocity: for each experiment the largest relative difference to R1 that it makes to exchange drive and probe:
        the contacts that carry current and those that are read, say.
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
    the response to a current through the voltage contacts, b.l_0; a temperature as the drive or the probe is exchanged
    with the heat that flows there, divided by the bath temperature (Onsager; all magnets reversed is the same as none
    reversed here, because that exchanges the names of the spins). The two are solved for apart from each other, and
    agree to the solver's error if operator, ports and boundary conditions are reciprocal.

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
    reciprocity = {name: _exchange(problem, evaluation.fields[name]) for name, problem in model.problems.items()}
    signals = error_bars.assess(model, measured, progress=progress)
    exchanged = {name: _in_words(experiment) for name, experiment in experiments.items()}
    return SelfCheck(signals, reciprocity, model.device.weakest_edges(model.grid), exchanged)


def _in_words(experiment: Experiment) -> str:
    if experiment.drive == "current" and experiment.probe == "voltage":
        return _CONTACTS
    return f"drive ({drive_of(experiment).name}) and probe ({PROBES[experiment.probe]})"


def _exchange(problem: ExperimentProblem, ladders: Sequence[Ladder]) -> float:
    """Return the largest relative difference between the two readings of R1 over the states."""
    ports, largest = problem.ports, 0.0
    for number, ladder in enumerate(ladders):
        u, l = (ladder.u[0], ladder.l[0])  # noqa: E741  the names of the theory page
        if number:
            u, l = ladders[0].u[0] - u, ladders[0].l[0] - l  # noqa: E741
        read, exchanged = float(ports.probe @ u), float(ports.drive @ l)
        largest = max(largest, abs(read - exchanged) / max(abs(read), 1e-300))
    return largest
