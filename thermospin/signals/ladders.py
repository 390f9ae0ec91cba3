"""The harmonic ladder of an experiment: fields u_1, u_2, ... of a device at every order of the current, and adjoints.

u_1 is the response to the drive, u_n that to the Joule heat of the fields before it; l_0 is the adjoint of the voltage
probe, l_(n-1) that of the heat (docs/theory.md, section 6). The first state of an experiment is solved as it is; every
other state through its difference from the first, so that no spin signal is a difference of two large numbers.

Compiled programs are few and small on purpose: a form is compiled for one column and called for every term, so that
experiments, states and harmonics share it. How to solve is the caller's business.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, ParamSpec, Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from thermospin import operators
from thermospin.base import compilation
from thermospin.base.arrays import AnyArray, namespace, stack
from thermospin.base.compilation import local, stacked
from thermospin.device.constitution import Constitution, Parameters, Signs
from thermospin.model import ExperimentProblem, Ports
from thermospin.operators import Coefficients, Discretisation
from thermospin.solve import System

Vector = Float[AnyArray, " unknowns"]
P = ParamSpec("P")


class Ladder(eqx.Module):
    """Fields of one state, or their difference between two states.

    Attributes:
      u: u_1, u_2, ...: response per current to the power n.
      l: l_0, l_1, ...: adjoint of the voltage probe.
    """

    u: tuple[Vector, ...]
    l: tuple[Vector, ...]  # noqa: E741  the name of the theory page


class OtherState(eqx.Module):
    """The coefficients of another state than the first, and first minus other."""

    other: Coefficients
    change: Coefficients


class Laws(NamedTuple):
    """The coefficients of the states of an experiment."""

    first: Coefficients
    others: tuple[OtherState, ...]


class Triple(NamedTuple):
    """A field in the first state, in the other one, and first minus other."""

    first: Vector
    other: Vector
    change: Vector


class TripleLadder(NamedTuple):
    """The rungs of a ladder in the first state, in another one, and first minus other."""

    u: tuple[Triple, ...]
    l: tuple[Triple, ...]  # noqa: E741


# ------------------------------------------------------------------------------------------- forms


def _form(fun: Callable[P, AnyArray]) -> Callable[P, AnyArray]:
    """Compile a form; its values are in NumPy where that saves compiling the sums of them, see `compilation.local`."""
    program = compilation.on_host_first(fun)

    @functools.wraps(fun)
    def call(*args: P.args, **kwargs: P.kwargs) -> AnyArray:
        return local(program(*args, **kwargs))

    return call


@_form
def applied(disc: Discretisation, law: Coefficients, u: Vector) -> Vector:
    """`operators.apply` of a single field."""
    return operators.apply(disc, law, u[:, None])[:, 0]


@_form
def _moved(disc: Discretisation, change: Coefficients, *fields: Vector) -> AnyArray:
    """Return what a change of the law drives, -(A - A') u for each field u of the first state (unknowns, fields)."""
    return -operators.apply(disc, change, stack(fields, axis=1))


@_form
def joule(disc: Discretisation, law: Coefficients, u: Vector, v: Vector) -> Vector:
    """`operators.joule` of single fields."""
    return operators.joule(disc, law, u[:, None], v[:, None])[:, 0]


@_form
def _joule_transposed(disc: Discretisation, law: Coefficients, test: Vector, u: Vector) -> Vector:
    return operators.joule_transposed(disc, law, test[:, None], u[:, None])[:, 0]


def replaced(factors: Sequence[Triple]) -> list[tuple[Vector, ...]]:
    """Return the factors of the products that sum up to the change of a product, which is multilinear.

    f(a, b) - f(a', b') = f(a - a', b) + f(a', b - b'), and so on for more factors: nothing large is subtracted.
    """
    first, other = [factor.first for factor in factors], [factor.other for factor in factors]
    return [(*other[:k], factor.change, *first[k + 1 :]) for k, factor in enumerate(factors)]


def _changed(form: Callable[..., Vector], states: OtherState, *factors: Triple) -> Vector:
    """Return form(law, ...) in the first state minus the same in the other one."""
    terms = [form(states.change, *(factor.first for factor in factors))]
    terms += [form(states.other, *product) for product in replaced(factors)]
    return functools.reduce(operator.add, terms)


def pairs(total: int, low: int, high: int) -> list[tuple[int, int]]:
    """List all i <= j with i + j = total, both from low to high."""
    return [(i, total - i) for i in range(low, total // 2 + 1) if total - i <= high]


def multiplicity(i: int, j: int) -> int:
    """Return how often a pair i <= j occurs in a symmetric sum."""
    return 1 if i == j else 2


# ------------------------------------------------------------------------------------------- ladders


def _next_sources(bound: Callable[[Any], Any], zeta: AnyArray, ladder: Ladder | TripleLadder) -> tuple[Vector, Vector]:
    """Return the right-hand sides of the next u_n and of the next l_(n-1), n > 1.

    Args:
      bound: turns a form into one of the ladder's fields alone.
    """
    n = len(ladder.u) + 1
    heat, back = bound(joule), bound(_joule_transposed)
    heats = [multiplicity(i, j) * heat(ladder.u[i - 1], ladder.u[j - 1]) for i, j in pairs(n, 1, n - 1)]
    backs = [back(ladder.l[i], ladder.u[n - 2 - i]) for i in range(n - 1)]
    return zeta * functools.reduce(operator.add, heats), 2 * zeta * functools.reduce(operator.add, backs)


def _sources(disc: Discretisation, law: Coefficients, zeta: AnyArray, ports: Ports, done: Ladder) -> AnyArray:
    """Return the right-hand sides of the next rung, for u_n and l_(n-1) (unknowns, 2)."""
    if not done.u:
        pairs = ((ports.drive, ports.driven), (ports.probe, ports.tested))
        return stacked([b if given is None else local(b) - applied(disc, law, given) for b, given in pairs])
    return stacked(_next_sources(lambda form: functools.partial(form, disc, law), zeta, done))


def _source_changes(
    disc: Discretisation, states: OtherState, zeta: AnyArray, first: Ladder, change: Ladder
) -> AnyArray:
    """Return the right-hand sides of the next rung of the differences, of u_n and of l_(n-1) (unknowns, 2)."""
    rung = len(change.u)
    moved = _moved(disc, states.change, first.u[rung], first.l[rung])
    if not rung:
        return moved

    def bound(form: Any) -> Any:
        return functools.partial(_changed, functools.partial(form, disc), states)

    return moved + stacked(_next_sources(bound, zeta, triples(first, change)))


def of_state(ladders: Sequence[Ladder], number: int) -> Ladder:
    """Return the ladder of a state, of the first and the differences from it: as many rungs as both have."""
    first, change = ladders[0], ladders[number]
    if not number:
        return first
    return Ladder(tuple(map(operator.sub, first.u, change.u)), tuple(map(operator.sub, first.l, change.l)))


def triples(first: Ladder, change: Ladder) -> TripleLadder:
    """Return a ladder with as many rungs as the change has."""
    other = of_state((first, change), 1)
    return TripleLadder(tuple(map(Triple, first.u, other.u, change.u)), tuple(map(Triple, first.l, other.l, change.l)))


def _given(ports: Ports) -> AnyArray | None:
    """Return the parts of u_1 and l_0 that are not solved for (unknowns, 2); None where there are none."""
    if ports.driven is None and ports.tested is None:
        return None
    zero = np.zeros(ports.drive.shape)
    return stacked([zero if part is None else part for part in (ports.driven, ports.tested)])


@runtime_checkable
class Solve(Protocol):
    """Solves for two columns, a response and an adjoint."""

    def __call__(
        self, state: str, rung: int, system: System, law: Coefficients, b: AnyArray, guess: AnyArray | None
    ) -> AnyArray:
        """Return the fields (unknowns, 2) of a rung of a magnetic state."""
        ...


def _grow(
    step: Callable[[Ladder], AnyArray],
    rungs: int,
    known: Ladder | None,
    start: Ladder | None,
    run: Callable[..., AnyArray],
) -> Ladder:
    """Add rung after rung to those known; `run` solves for the right-hand sides of a rung from a guess."""
    ladder = known or Ladder((), ())
    for rung in range(len(ladder.u), rungs):
        guess = None if start is None or len(start.u) <= rung else stacked([start.u[rung], start.l[rung]])
        x = run(rung, step(ladder), guess)
        ladder = Ladder((*ladder.u, x[:, 0]), (*ladder.l, x[:, 1]))
    return ladder


def solve_ladders(
    problem: ExperimentProblem,
    parameters: Parameters,
    rungs: int,
    run: Solve,
    start: Sequence[Ladder] | None = None,
    known: Sequence[Ladder] | None = None,
) -> tuple[Ladder, ...]:
    """Return the ladder of the first state, and for every other state the difference (first minus other).

    Args:
      problem: of an experiment.
      parameters: values by name, all of them.
      rungs: number of pairs u_n, l_(n-1).
      run: solves for such a pair.
      start: guesses.
      known: the first rungs, where they have been solved for.
    """
    disc, (system, *systems) = problem.disc, problem.systems
    zeta = local(jnp.asarray(parameters["zeta"], float))
    law, others = laws(problem, parameters)
    nothing: list[Ladder | None] = [None] * (1 + len(others))
    guesses: Sequence[Ladder | None] = nothing if start is None else start
    begun: Sequence[Ladder | None] = nothing if known is None else known
    sources = functools.partial(_sources, disc, law, zeta, problem.ports)
    first_name, *names = problem.experiment.states
    given = _given(problem.ports)

    def lifted(rung: int, b: AnyArray, guess: AnyArray | None) -> AnyArray:
        if rung or given is None:
            return run(first_name, rung, system, law, b, guess)
        return given + run(first_name, rung, system, law, b, None if guess is None else guess - given)

    first = _grow(sources, rungs, begun[0], guesses[0], lifted)
    ladders = [first]
    for name, its_system, states, its_known, guess in zip(names, systems, others, begun[1:], guesses[1:], strict=True):
        change = functools.partial(_source_changes, disc, states, zeta, first)

        def one(
            rung: int, *b: Any, name: str = name, system: System = its_system, law: Coefficients = states.other
        ) -> AnyArray:
            return run(name, rung, system, law, *b)

        ladders.append(_grow(change, rungs, its_known, guess, one))
    return tuple(ladders)


Table = dict[str, Float[AnyArray, " domains"]]


def tables(
    constitution: Constitution, signs: tuple[Signs, ...], parameters: dict[str, Any]
) -> tuple[Table, list[tuple[Table, Table]]]:
    """Return the law of the domains in the first state; for each other state the law and first minus other."""
    first, *others = (constitution.table(parameters, state) for state in signs)
    changes = []
    for table, state in zip(others, signs[1:], strict=True):
        # Exactly zero where no magnet is reversed; subtracting the assembled laws would leave round-off.
        turned = [[signs[0][m] != state[m] for m in magnets] for magnets in constitution.magnets]
        on = stack([functools.reduce(operator.or_, each, np.asarray(False)) for each in turned])
        where = namespace(on, *first.values(), *table.values()).where
        changes.append((table, {name: where(on, a - table[name], 0.0) for name, a in first.items()}))
    return first, changes


def laws(problem: ExperimentProblem, parameters: Parameters) -> Laws:
    """Return the coefficients of all states."""
    return _laws(problem.disc, problem.constitution, problem.signs, dict(parameters))


@compilation.on_host_first
def _laws(
    disc: Discretisation, constitution: Constitution, signs: tuple[Signs, ...], parameters: dict[str, Any]
) -> Laws:
    first, others = tables(constitution, signs, parameters)
    laws = [operators.coefficients(disc, each, constitution.bath) for each in (first, *itertools.chain(*others))]
    return Laws(laws[0], tuple(map(OtherState, laws[1::2], laws[2::2])))
