"""Signals of experiments: harmonics R1 to R4 in each magnetic state, baseline and spin part, and their derivatives.

One functional gives everything (docs/theory.md, sections 6 and 7). With the fields u_1 ... u_m of the harmonic ladder
and the adjoint fields l_0 ... l_(m-1), those of higher order taken as zero,

    L_n = w.u_n + l_(n-1).b - sum_k l_(n-k).A u_k + zeta sum_k sum_(i+j=k) l_(n-k).q(u_i, u_j)

is R_n for every n <= 2m, and its derivative with the fields frozen is the derivative of R_n for every n <= m. So two
solves give R1 and R2, and two more their gradient with respect to everything. For n <= m it is also stationary in the
fields, and so right to the square of the solver's error; the others are right to the error itself.

The first state of an experiment is solved as it is; every other state through its difference from the first, so that
no spin signal is a difference of two large numbers.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import time
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thermospin import diagnosis, operators, solve
from thermospin.device import Device, Experiment
from thermospin.materials import nearest
from thermospin.model import Constitution, Model, Parameters, Progress, build
from thermospin.operators import Coefficients, Discretisation
from thermospin.solve import System

__all__ = [
    "Evaluation",
    "NodalFields",
    "Signals",
    "build",
    "evaluate",
    "fields",
    "measure",
    "predict",
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


class Triple(NamedTuple):
    """A field in the first state, in the other one, and first minus other."""

    first: Vector
    other: Vector
    change: Vector


class Ports(eqx.Module):
    """Drive per ampere and voltage probe of an experiment."""

    drive: Vector
    probe: Vector


# ------------------------------------------------------------------------------------------- multilinear forms

#: A multilinear function of a law (or of none) and of fields, column by column: ((unknowns, columns), ...) ->
#: (..., columns).
Form = Callable[..., Array]


def _stack(vectors: Iterable[Vector]) -> Array:
    return jnp.stack(list(vectors), axis=1)


def _of_state(form: Form, law: Coefficients, terms: Sequence[tuple[Any, ...]]) -> Array:
    """form(law, *term) for every term (..., terms)."""
    return form(law, *(_stack(column) for column in zip(*terms, strict=True)))


def _of_change(form: Form, states: States, terms: Sequence[tuple[Triple, ...]]) -> Array:
    """form in the first state minus form in the other one, for every term (..., terms)."""
    with_law, with_fields = _changes(terms)
    values = _of_state(form, states.other, with_fields)
    parts = values.reshape(*values.shape[:-1], -1, len(terms))
    return _of_state(form, states.change, with_law) + parts.sum(axis=-2)


def _changes(terms: Sequence[tuple[Triple, ...]]) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Terms whose values make the difference of a form between two states, for each of some terms.

    A difference of products is f(a, b) - f(a', b') = f(a - a', b) + f(a', b - b'), and so on for more factors: nothing
    large is subtracted. The law comes first; all further terms have the law of the other state.

    Returns:
      those that belong to the change of the law, one for each term, and those that belong to the law of the other
      state: with the first factor changed for each term, with the second one, and so on.
    """
    factors = range(len(terms[0]))

    def pick(quantity: Triple, place: int, changed: int) -> Any:
        return quantity.other if place < changed else quantity.change if place == changed else quantity.first

    with_fields = [tuple(pick(q, k, changed) for k, q in enumerate(term)) for changed in factors for term in terms]
    return [tuple(quantity.first for quantity in term) for term in terms], with_fields


def _pairs(total: int, low: int, high: int) -> list[tuple[int, int]]:
    """All i <= j with i + j = total, both from low to high."""
    return [(i, total - i) for i in range(low, total // 2 + 1) if total - i <= high]


def _twice(i: int, j: int) -> int:
    return 1 if i == j else 2


def _bound(form: Callable[..., Array], disc: Discretisation) -> Form:
    return lambda law, *fields: form(disc, law, *fields)


# ------------------------------------------------------------------------------------------- ladders


def _heat_and_back(disc: Discretisation, of: Any, law: Any, zeta: Array, ladder: Any) -> tuple[Any, Any]:
    """What drives the next u_n, and what drives the next l_(n-1)."""
    n = len(ladder.u) + 1
    if n == 1:
        return 0.0, 0.0
    pairs = _pairs(n, 1, n - 1)
    heat = of(_bound(operators.joule, disc), law, [(ladder.u[i - 1], ladder.u[j - 1]) for i, j in pairs])
    back = of(_bound(operators.joule_transposed, disc), law, [(ladder.l[i], ladder.u[n - 2 - i]) for i in range(n - 1)])
    return zeta * heat @ jnp.array([float(_twice(*pair)) for pair in pairs]), 2 * zeta * back.sum(axis=1)


@eqx.filter_jit
def _sources(disc: Discretisation, law: Coefficients, zeta: Array, ports: Ports, done: Ladder) -> Array:
    """Right-hand sides of the next rung, for u_n and l_(n-1) (unknowns, 2)."""
    if not done.u:
        return _stack([ports.drive, ports.probe])
    return jnp.stack(_heat_and_back(disc, _of_state, law, zeta, done), axis=1)


@eqx.filter_jit
def _source_changes(disc: Discretisation, states: States, zeta: Array, first: Ladder, change: Ladder) -> Array:
    """Right-hand sides of the next rung of the differences, for the change of u_n and of l_(n-1) (unknowns, 2)."""
    rung = len(change.u)
    moved = operators.apply(disc, states.change, _stack([first.u[rung], first.l[rung]]))
    heat, back = _heat_and_back(disc, _of_change, states, zeta, _triples(first, change))
    return jnp.stack([heat - moved[:, 0], back - moved[:, 1]], axis=1)


def _triples(first: Ladder, change: Ladder) -> Any:
    """A ladder of `Triple`, as many rungs as the change has."""

    def pair_up(of_first: Sequence[Vector], of_change: Sequence[Vector]) -> Any:
        return tuple(Triple(a, a - d, d) for a, d in zip(of_first, of_change, strict=False))

    return Ladder(pair_up(first.u, change.u), pair_up(first.l, change.l))


#: Solves for two columns, a response and an adjoint: (magnetic state, system, law, right-hand sides, guess).
Solve = Callable[[str, System, Coefficients, Array, Array | None], Array]


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
    law, *others = _laws(model.disc, model.constitution, _signs(model, experiment), dict(parameters))
    guesses: Sequence[Ladder | None] = [None] * (1 + len(others)) if start is None else start
    sources = functools.partial(_sources, model.disc, law, zeta, ports)
    name, *names = experiment.states
    first = _grow(sources, rungs, guesses[0], functools.partial(run, name, system, law))
    ladders = [first]
    for name, states, guess in zip(names, others, guesses[1:], strict=True):
        change = functools.partial(_source_changes, model.disc, states, zeta, first)
        ladders.append(_grow(change, rungs, guess, functools.partial(run, name, system, states.other)))
    return tuple(ladders)


def _ports(model: Model, experiment: Experiment) -> Ports:
    plus, minus = (model.ports[name] for name in experiment.voltage)
    return Ports(drive=model.ports[experiment.current[0]], probe=plus - minus)


#: +1 or -1 for every magnet of a device, as arrays: other states are not another program.
Signs = dict[str, Float[Array, ""]]


def _signs(model: Model, experiment: Experiment, *states: str) -> tuple[Signs, ...]:
    """The signs of some states, of all of them if none is named."""
    chosen = [experiment.states[name] for name in states or experiment.states]
    return tuple({name: jnp.asarray(each.get(name, 1), float) for name in model.device.magnets} for each in chosen)


Table = dict[str, Float[Array, " domains"]]


def _tables(
    constitution: Constitution, signs: tuple[Signs, ...], parameters: dict[str, Any]
) -> tuple[Table, list[tuple[Table, Table]]]:
    """The law of the domains: of the first state, and for each of the others its own and the first minus its own."""
    first, *others = (constitution.table(parameters, each) for each in signs)
    magnets = [magnet for _, magnet in constitution.domains]
    changes = []
    for table, each in zip(others, signs[1:], strict=True):
        # Nothing where a magnet is not reversed; a difference of sums over cells would leave round-off everywhere.
        turned = jnp.stack([jnp.asarray(m is not None and signs[0][m] != each[m]) for m in magnets])
        changes.append((table, jax.tree.map(lambda a, b, on=turned: jnp.where(on, a - b, 0.0), first, table)))
    return first, changes


@eqx.filter_jit
def _laws(
    disc: Discretisation, constitution: Constitution, signs: tuple[Signs, ...], parameters: dict[str, Any]
) -> tuple[Any, ...]:
    """Coefficients of the first state, and `States` for each of the others."""
    first, others = _tables(constitution, signs, parameters)

    def summed(table: Table) -> Coefficients:
        return operators.coefficients(disc, table, constitution.bath)

    law = summed(first)
    return (law, *(States(law, summed(other), summed(change)) for other, change in others))


# ------------------------------------------------------------------------------------------- the functional


class Moments(eqx.Module):
    """What the functional of a state, or of the difference of two, is made of besides the constitutive law.

    The functional is linear in the law of the domains, whose entries are few: with the fields frozen, a pass over the
    grid leaves a few hundred numbers, and values and derivatives by all parameters are small sums of those.

    Attributes:
      power: for each table that they belong to the moments of the terms l.A u (names, domains, terms).
      heat: the same of the terms l.q(u, u).
      ends: w.u_n + l_(n-1).b (rungs,).
    """

    power: tuple[Array, ...]
    heat: tuple[Array, ...]
    ends: Float[Array, " rungs"]


def _power_terms(rungs: int, harmonics: int) -> list[tuple[int, int]]:
    """All (n, k) of the terms l_(n-k).A u_k."""
    return [(n, k) for n in range(1, harmonics + 1) for k in range(max(1, n - rungs + 1), min(n, rungs) + 1)]


def _heat_terms(rungs: int, harmonics: int) -> list[tuple[int, int, int, int]]:
    """All (n, k, i, j) of the terms l_(n-k).q(u_i, u_j), i <= j."""
    return [
        (n, k, i, j)
        for n in range(1, harmonics + 1)
        for k in range(max(1, n - rungs + 1), n + 1)
        for i, j in _pairs(k, 1, rungs)
    ]


@eqx.filter_jit
def _moments(disc: Discretisation, ports: Ports, ladders: tuple[Ladder, ...], harmonics: int) -> tuple[Moments, ...]:
    """Of the first state, with its table; of each other state for the difference, with the tables (change, other)."""
    vectors: list[Vector] = []

    def numbered(ladder: Sequence[Vector]) -> Any:
        vectors.extend(ladder)
        return tuple(range(len(vectors) - len(ladder), len(vectors)))

    first, rungs = ladders[0], len(ladders[0].u)
    of_first = Ladder(numbered(first.u), numbered(first.l))
    groups = []  # terms of power and of heat, state by state, and table by table
    for number, ladder in enumerate(ladders):
        names: Any = of_first
        if number:
            other: Ladder = jax.tree.map(jnp.subtract, first, ladder)
            u, l = (  # noqa: E741
                tuple(itertools.starmap(Triple, zip(own, numbered(a), numbered(b), strict=True)))
                for own, a, b in ((of_first.u, other.u, ladder.u), (of_first.l, other.l, ladder.l))
            )
            names = types.SimpleNamespace(u=u, l=l)
        power = [(names.l[n - k], names.u[k - 1]) for n, k in _power_terms(rungs, harmonics)]
        heat = [(names.l[n - k], names.u[i - 1], names.u[j - 1]) for n, k, i, j in _heat_terms(rungs, harmonics)]
        groups.append([_changes(terms) if number and terms else (terms,) for terms in (power, heat)])

    stacked = jnp.stack(vectors)
    made = []
    for kind, form in enumerate((operators.power, operators.joule_power)):
        terms = [term for group in groups for part in group[kind] for term in part]

        def one(places: Array, form: Any = form) -> Array:
            return form(disc, *(stacked[place][:, None] for place in places))[..., 0]

        # One after another: a program with one column in it, and little memory.
        made.append(list(jax.lax.map(one, jnp.array(terms))) if terms else [])

    out = []
    for group, ladder in zip(groups, ladders, strict=True):
        found = []
        for kind, parts in enumerate(group):
            values: list[Array] = []
            for part in parts if parts[0] else ():
                taken, made[kind] = made[kind][: len(part)], made[kind][len(part) :]
                count = len(parts[0])
                values.append(jnp.stack([functools.reduce(jnp.add, taken[k::count]) for k in range(count)], axis=-1))
            found.append(tuple(values))
        ends = [ports.probe @ u + ports.drive @ l for u, l in zip(ladder.u[:harmonics], ladder.l, strict=False)]  # noqa: E741
        out.append(Moments(found[0], found[1], jnp.stack(ends)))
    return tuple(out)


def _contracted(
    constitution: Constitution,
    signs: tuple[Signs, ...],
    parameters: dict[str, Any],
    moments: tuple[Moments, ...],
    harmonics: int,
) -> Float[Array, "states harmonics"]:
    """The functional as a function of the parameters, fields frozen.

    L_1 ... L_N of the first state, and of each other state the difference (first minus other).
    """
    zeta = jnp.asarray(parameters["zeta"], float)
    first, others = _tables(constitution, signs, parameters)
    tables = [(first,), *((change, other) for other, change in others)]
    rungs = len(moments[0].ends)
    power, heat = _power_terms(rungs, harmonics), _heat_terms(rungs, harmonics)
    rows = []
    for each, of_state in zip(moments, tables, strict=True):

        def value(parts: tuple[Array, ...], of_state: tuple[Table, ...] = of_state) -> Array:
            stacked = [jnp.stack([table[name] for name in operators.COEFFICIENTS]) for table in of_state]
            terms = [jnp.einsum("nd,ndt->t", table, part) for table, part in zip(stacked, parts, strict=True)]
            return functools.reduce(jnp.add, terms)

        row = -(jnp.asarray(_collect([n for n, _ in power], harmonics)) @ value(each.power))
        if heat:
            weights = np.array([_twice(i, j) for _, _, i, j in heat])
            row += zeta / constitution.bath * _collect([n for n, *_ in heat], harmonics) @ (weights * value(each.heat))
        rows.append(row.at[:rungs].add(each.ends[:harmonics]))
    return jnp.stack(rows)


def _collect(orders: Sequence[int], harmonics: int) -> np.ndarray:
    """Matrix that sums terms into their harmonics (harmonics, terms)."""
    return (np.arange(1, harmonics + 1)[:, None] == np.array(orders)[None, :]).astype(float)


_contract = eqx.filter_jit(_contracted)


@eqx.filter_jit
def _slopes(
    constitution: Constitution,
    signs: tuple[Signs, ...],
    parameters: dict[str, Any],
    moments: tuple[Moments, ...],
    harmonics: int,
) -> dict[str, Array]:
    """Derivative of `_contracted` by every parameter, each (states, harmonics)."""
    return jax.jacfwd(lambda p: _contracted(constitution, signs, p, moments, harmonics))(parameters)


def _values(
    disc: Discretisation,
    ports: Ports,
    constitution: Constitution,
    signs: tuple[Signs, ...],
    parameters: dict[str, Any],
    ladders: tuple[Ladder, ...],
    harmonics: int,
) -> Float[Array, "states harmonics"]:
    """The functional of all states with these fields; see `_contracted`."""
    return _contract(constitution, signs, parameters, _moments(disc, ports, ladders, harmonics), harmonics)


def _jacobian(
    disc: Discretisation,
    ports: Ports,
    constitution: Constitution,
    signs: tuple[Signs, ...],
    parameters: dict[str, Any],
    ladders: tuple[Ladder, ...],
    harmonics: int,
) -> tuple[Array, dict[str, Array]]:
    """`_values`, and its derivative by every parameter, each (states, harmonics)."""
    moments = _moments(disc, ports, ladders, harmonics)
    arguments = constitution, signs, parameters, moments, harmonics
    return _contract(*arguments), _slopes(*arguments)


def _parts(experiment: Experiment, values: Any, harmonic: int) -> dict[str, Any]:
    """R_n by state, and the baseline and spin part where there are the states P and AP; linear in `values`."""
    column = [row[harmonic - 1] for row in values]
    states = dict(zip(experiment.states, [column[0], *(column[0] - change for change in column[1:])], strict=True))
    if not {"P", "AP"} <= set(states):
        return states
    # The change of a state is (first minus state); P minus AP without subtracting the two wherever one is the first.
    changes = dict(zip(experiment.states, [0 * column[0], *column[1:]], strict=True))
    spin = changes["AP"] - changes["P"]
    return states | {"baseline": states["P"] - spin / 2, "spin": spin}


# ------------------------------------------------------------------------------------------- what users call


def predict(
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
    for name, experiment in model.device.experiments.items():
        rows = _responses(model, experiment, harmonics)(values)
        out[name] = {f"R{n}": _parts(experiment, rows, n) for n in range(1, harmonics + 1)}
    return out


def _responses(model: Model, experiment: Experiment, harmonics: int) -> Callable[[dict[str, Any]], Array]:
    """`_values` as a function of the parameters alone, fields included, with the derivative that needs no more."""

    def functional(p: dict[str, Any], rungs: int) -> Callable[[dict[str, Any]], Array]:
        ladders = _ladders(model, experiment, p, rungs, _traced)
        return lambda q: _values(*_fixed(model, experiment), q, ladders, harmonics)

    @jax.custom_jvp
    def responses(p: dict[str, Any]) -> Array:
        return functional(p, (harmonics + 1) // 2)(p)

    @responses.defjvp
    def _derivative(primals: Any, tangents: Any) -> tuple[Array, Array]:
        return jax.jvp(functional(primals[0], harmonics), primals, tangents)

    return responses


def _fixed(model: Model, experiment: Experiment) -> tuple[Discretisation, Ports, Constitution, Any]:
    """The arguments of `_values` that are not parameters."""
    return model.disc, _ports(model, experiment), model.constitution, _signs(model, experiment)


def _filled(model: Model, parameters: Parameters | None) -> dict[str, Any]:
    own = model.parameters
    given = dict(parameters or {})
    unknown = [name for name in given if name not in own]
    if unknown:
        raise ValueError("\n".join(f"parameter '{name}' does not exist; {nearest(name, own)}" for name in unknown))
    # As arrays: custom_jvp wants tangents of the type of the values.
    return {name: jnp.asarray(given.get(name, value), float) for name, value in own.items()}


def _traced(state: str, system: System, law: Coefficients, b: Array, x0: Array | None) -> Array:
    del state
    return solve.solve(system, law, b, x0=x0)[0]


class _Watched:
    """Solves outside of any trace: tells the progress, keeps the statistics, and raises where one did not converge.

    Attributes:
      experiment: to which the next solves belong.
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
    ) -> None:
        self._model, self._parameters, self._progress = model, parameters, progress
        self._tolerance, self._max_steps, self._explain = tolerance, max_steps, explain
        self.experiment = next(iter(model.device.experiments.values()))
        self.iterations: list[int] = []
        self.residuals: list[float] = []
        self.starts: list[float] = []

    def __call__(self, state: str, system: System, law: Coefficients, b: Array, x0: Array | None) -> Array:
        label = f"{self._model.device.name}, {self.experiment.name}"
        if self._progress is not None:
            done = len(self.iterations)
            last = f", the last one took {self.iterations[-1]} iterations" if done else ""
            self._progress(f"{label}: solves {done + 1} to {done + b.shape[1]}{last}")
        x, stats = solve.solve(system, law, b, x0=x0, tolerance=self._tolerance, max_steps=self._max_steps)
        because = functools.partial(self._because, state, system, law, b, x0) if self._explain else None
        solve.require_converged(stats, f"{label}, state {state}", self._tolerance, because)
        self.iterations += [int(n) for n in stats.iterations]
        self.residuals += [float(r) for r in stats.relative_residual]
        self.starts += [float(r) for r in stats.start_residual]
        return x

    def _because(
        self, state: str, system: System, law: Coefficients, b: Array, x0: Array | None, stats: solve.Stats, column: int
    ) -> str:
        """Why a column failed. Its last iterate is not kept, which would cost memory always: it is made once more."""
        guess = jnp.zeros_like(b) if x0 is None else x0
        x, left = _unfinished(system, law, b, guess, jnp.asarray(self._tolerance), jnp.asarray(self._max_steps))
        problem = (self._model, self._parameters, self.experiment.states[state], self.experiment.current[1])
        found = diagnosis.diagnose(
            *problem,
            np.asarray(left)[:, column],
            rhs=np.asarray(b)[:, column],
            fields=np.asarray(x)[:, column],
            tolerance=self._tolerance,
            iterations=int(stats.iterations[column]),
        )
        more = [f"also: {text}" for text in diagnosis.faults(*problem) if text not in found.detail]
        if self._model.outdated(self._parameters):
            more.append("also: the preconditioner was built for other parameters; try model.refreshed(parameters)")
        return "\n".join([str(found), *more])


@eqx.filter_jit
def _unfinished(
    system: System, law: Coefficients, b: Array, guess: Array, tolerance: Array, max_steps: Array
) -> tuple[Array, Array]:
    """The last iterate and its residual, converged or not."""
    x, _ = solve.pcg(system, law, b, guess, tolerance, max_steps)
    return x, jnp.where(system.free[:, None], b, 0.0) - solve.matvec(system, law, x)


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
        decades = float(np.sum(np.log10(np.array(self.start_residual) / ends)[taken > 0]))
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
      explain: whether the message of a solve that failed says why, for which it is run once more.
    Raises:
      ValueError: a name that does not exist, or values outside the model.
      NotConverged: a solve missed its tolerance; the message says which, by how much, where and why.
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
    watch = _Watched(model, values, progress, tolerance, max_steps, explain)
    for name, places in by_experiment.items():
        experiment = model.device.experiments[name]
        harmonics = max(int(wanted[place][1][1]) for place in places)
        rungs = harmonics if names else (harmonics + 1) // 2
        watch.experiment = experiment
        ladders[name] = _ladders(model, experiment, values, rungs, watch, (start or {}).get(name))
        arguments = (*_fixed(model, experiment), values, ladders[name], harmonics)
        rows, slopes = _jacobian(*arguments) if names else (_values(*arguments), {})
        for place in places:
            out[place] = _part(experiment, np.asarray(rows), wanted[place][1])
            jacobian[place] = [_part(experiment, np.asarray(slopes[each]), wanted[place][1]) for each in names]
    return Evaluation(out, jacobian, ladders, tuple(watch.iterations), tuple(watch.residuals), tuple(watch.starts))


def _part(experiment: Experiment, rows: np.ndarray, signal: str) -> float:
    harmonic, _, part = signal.partition(".")
    parts = _parts(experiment, rows, int(harmonic[1]))
    if part not in parts:
        allowed = [f"{harmonic}.{each}" for each in parts]
        raise ValueError(f"experiment '{experiment.name}' has no signal '{signal}'; {nearest(signal, allowed)}")
    return float(parts[part])


def _require_solvable(model: Model, values: Mapping[str, Any]) -> None:
    """Refuses values outside the model; what else `diagnosis.faults` finds takes longer, and waits for a failure."""
    found = diagnosis.value_faults(model.device, {name: float(value) for name, value in values.items()})
    if found:
        raise ValueError("\n".join(found))


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
    start: Mapping[str, tuple[Ladder, ...]] | None = None,
    progress: Progress | None = None,
    tolerance: float = solve.TOLERANCE,
    max_steps: int = solve.MAX_STEPS,
) -> Signals:
    """All signals of all experiments of a device, as plain numbers.

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
    watch = _Watched(model, values, progress, tolerance, max_steps)
    found = {}
    for name, experiment in model.device.experiments.items():
        watch.experiment = experiment
        ladders = _ladders(model, experiment, values, (harmonics + 1) // 2, watch, (start or {}).get(name))
        rows = np.asarray(_values(*_fixed(model, experiment), values, ladders, harmonics))
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
    guesses = _state_fields(chosen, state, (start or {}).get(experiment))
    watch = _Watched(model, values, progress, tolerance, max_steps)
    watch.experiment = chosen
    system = model.systems[chosen.current[1]]
    (law,) = _laws(model.disc, model.constitution, _signs(model, chosen, state), values)
    one = functools.partial(_solve_one, watch, state, system, law)
    u_1 = one(_ports(model, chosen).drive, guesses[0])
    heat = eqx.filter_jit(operators.joule)(model.disc, law, u_1[:, None], u_1[:, None])[:, 0]
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
    return watch(state, system, law, _stack([b, zero]), None if guess is None else _stack([guess, zero]))[:, 0]


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
