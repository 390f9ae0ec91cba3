"""The harmonics of an experiment: fields of a device at every order of the current, and what is measured of them.

One functional gives everything (docs/theory.md, sections 6 and 7). With the fields u_1 ... u_m of the harmonic ladder
and the adjoint fields l_0 ... l_(m-1), those of higher order taken as zero,

    L_n = w.u_n + l_(n-1).b - sum_k l_(n-k).A u_k + zeta sum_k sum_(i+j=k) l_(n-k).q(u_i, u_j)

is R_n for every n <= 2m, and its derivative with the fields frozen is the derivative of R_n for every n <= m. So two
solves give R1 and R2, and two more their gradient with respect to everything. For n <= m it is also stationary in the
fields, and so right to the square of the solver's error; the others are right to the error itself.

The first state of an experiment is solved as it is; every other state through its difference from the first, so that
no spin signal is a difference of two large numbers.

Compiled programs are few and small on purpose: a form is compiled for one column and called for every term, and tables
are padded, so that experiments, states and harmonics share them. How to solve is the caller's business.
"""

from __future__ import annotations

import functools
import operator
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thermospin import operators
from thermospin.device.parts import Experiment
from thermospin.model import Constitution, Model, Parameters
from thermospin.operators import Coefficients, Discretisation
from thermospin.solve import System

Vector = Float[Array, " unknowns"]

#: Highest harmonic.
HARMONICS = 4


class Ladder(eqx.Module):
    """Fields of one state, or their difference between two states.

    Attributes:
      u: u_1, u_2, ...: response per current to the power n.
      l: l_0, l_1, ...: adjoint of the voltage probe.
    """

    u: tuple[Vector, ...]
    l: tuple[Vector, ...]  # noqa: E741  the name of the theory page


class States(eqx.Module):
    """The coefficients of another state than the first, and first minus other."""

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


# ------------------------------------------------------------------------------------------- forms


@eqx.filter_jit
def _apply(disc: Discretisation, law: Coefficients, u: Vector) -> Vector:
    return operators.apply(disc, law, u[:, None])[:, 0]


@eqx.filter_jit
def joule(disc: Discretisation, law: Coefficients, u: Vector, v: Vector) -> Vector:
    """`operators.joule` of single fields."""
    return operators.joule(disc, law, u[:, None], v[:, None])[:, 0]


@eqx.filter_jit
def _joule_transposed(disc: Discretisation, law: Coefficients, test: Vector, u: Vector) -> Vector:
    return operators.joule_transposed(disc, law, test[:, None], u[:, None])[:, 0]


@eqx.filter_jit
def _power(disc: Discretisation, v: Vector, u: Vector) -> Float[Array, "names domains"]:
    return operators.power(disc, v[:, None], u[:, None])[..., 0]


@eqx.filter_jit
def _joule_power(disc: Discretisation, test: Vector, u: Vector, v: Vector) -> Float[Array, "names domains"]:
    return operators.joule_power(disc, test[:, None], u[:, None], v[:, None])[..., 0]


def _replaced(factors: Sequence[Triple]) -> list[tuple[Vector, ...]]:
    """Factors of the products that sum up to the change of a product, which is multilinear.

    f(a, b) - f(a', b') = f(a - a', b) + f(a', b - b'), and so on for more factors: nothing large is subtracted.
    """

    def pick(factor: Triple, place: int, changed: int) -> Vector:
        return factor.other if place < changed else factor.change if place == changed else factor.first

    places = range(len(factors))
    return [tuple(pick(factor, place, changed) for place, factor in enumerate(factors)) for changed in places]


def _changed(form: Callable[..., Vector], states: States, *factors: Triple) -> Vector:
    """form(law, ...) in the first state minus the same in the other one."""
    terms = [form(states.change, *(factor.first for factor in factors))]
    terms += [form(states.other, *each) for each in _replaced(factors)]
    return functools.reduce(jnp.add, terms)


def _pairs(total: int, low: int, high: int) -> list[tuple[int, int]]:
    """List all i <= j with i + j = total, both from low to high."""
    return [(i, total - i) for i in range(low, total // 2 + 1) if total - i <= high]


def _twice(i: int, j: int) -> int:
    return 1 if i == j else 2


# ------------------------------------------------------------------------------------------- ladders


def _heat_and_back(bound: Callable[[Any], Any], zeta: Array, ladder: Any) -> tuple[Vector, Vector]:
    """Return what drives the next u_n, and what drives the next l_(n-1), n > 1.

    Args:
      bound: makes of a form one of the ladder's fields alone.
    """
    n = len(ladder.u) + 1
    heat, back = bound(joule), bound(_joule_transposed)
    heats = [_twice(i, j) * heat(ladder.u[i - 1], ladder.u[j - 1]) for i, j in _pairs(n, 1, n - 1)]
    backs = [back(ladder.l[i], ladder.u[n - 2 - i]) for i in range(n - 1)]
    return zeta * functools.reduce(jnp.add, heats), 2 * zeta * functools.reduce(jnp.add, backs)


def _sources(disc: Discretisation, law: Coefficients, zeta: Array, ports: Ports, done: Ladder) -> Array:
    """Right-hand sides of the next rung, for u_n and l_(n-1) (unknowns, 2)."""
    if not done.u:
        return jnp.stack([ports.drive, ports.probe], axis=1)
    return jnp.stack(_heat_and_back(lambda form: functools.partial(form, disc, law), zeta, done), axis=1)


def _source_changes(disc: Discretisation, states: States, zeta: Array, first: Ladder, change: Ladder) -> Array:
    """Right-hand sides of the next rung of the differences, for the change of u_n and of l_(n-1) (unknowns, 2)."""
    rung = len(change.u)
    sources = [-_apply(disc, states.change, field) for field in (first.u[rung], first.l[rung])]
    if rung:

        def bound(form: Any) -> Any:
            return functools.partial(_changed, functools.partial(form, disc), states)

        more = _heat_and_back(bound, zeta, _triples(first, change))
        sources = [moved + heat for moved, heat in zip(sources, more, strict=True)]
    return jnp.stack(sources, axis=1)


def _triples(first: Ladder, change: Ladder) -> Any:
    """A ladder of `Triple`, as many rungs as the change has."""

    def pair_up(of_first: Sequence[Vector], of_change: Sequence[Vector]) -> tuple[Triple, ...]:
        return tuple(Triple(a, a - d, d) for a, d in zip(of_first, of_change, strict=False))

    return types.SimpleNamespace(u=pair_up(first.u, change.u), l=pair_up(first.l, change.l))


#: Solves for two columns, a response and an adjoint: (magnetic state, rung, system, law, right-hand sides, guess).
Solve = Callable[[str, int, System, Coefficients, Array, Array | None], Array]


def _grow(step: Callable[[Ladder], Array], rungs: int, start: Ladder | None, run: Callable[..., Array]) -> Ladder:
    """Adds rung after rung; `run` solves for the right-hand sides of a rung from a guess."""
    ladder = Ladder((), ())
    for rung in range(rungs):
        guess = None if start is None or len(start.u) <= rung else jnp.stack([start.u[rung], start.l[rung]], axis=1)
        x = run(rung, step(ladder), guess)
        ladder = Ladder((*ladder.u, x[:, 0]), (*ladder.l, x[:, 1]))
    return ladder


def solve_ladders(
    model: Model,
    experiment: Experiment,
    parameters: Parameters,
    rungs: int,
    run: Solve,
    start: Sequence[Ladder] | None = None,
) -> tuple[Ladder, ...]:
    """The ladder of the first state, and for every other state the difference (first minus other).

    Args:
      rungs: number of pairs u_n, l_(n-1).
      run: solves for such a pair.
      start: guesses.
    """
    system, ports = model.systems[experiment.current[1]], ports_of(model, experiment)
    zeta = jnp.asarray(parameters["zeta"], float)
    law, *others = laws(model.disc, model.constitution, signs_of(model, experiment), dict(parameters))
    guesses: Sequence[Ladder | None] = [None] * (1 + len(others)) if start is None else start
    sources = functools.partial(_sources, model.disc, law, zeta, ports)
    name, *names = experiment.states
    first = _grow(sources, rungs, guesses[0], lambda rung, *b: run(name, rung, system, law, *b))
    out = [first]
    for name, states, guess in zip(names, others, guesses[1:], strict=True):
        change = functools.partial(_source_changes, model.disc, states, zeta, first)

        def one(rung: int, *b: Any, name: str = name, law: Coefficients = states.other) -> Array:
            return run(name, rung, system, law, *b)

        out.append(_grow(change, rungs, guess, one))
    return tuple(out)


def ports_of(model: Model, experiment: Experiment) -> Ports:
    """The ports of an experiment."""
    plus, minus = (model.ports[name] for name in experiment.voltage)
    return Ports(drive=model.ports[experiment.current[0]], probe=plus - minus)


#: +1 or -1 for every magnet of a device, as arrays: other states are not another program.
Signs = dict[str, Float[Array, ""]]


def signs_of(model: Model, experiment: Experiment, *states: str) -> tuple[Signs, ...]:
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
def laws(
    disc: Discretisation, constitution: Constitution, signs: tuple[Signs, ...], parameters: dict[str, Any]
) -> tuple[Any, ...]:
    """Coefficients of the first state, and `States` for each of the others."""
    first, others = _tables(constitution, signs, parameters)

    def summed(table: Table) -> Coefficients:
        return operators.coefficients(disc, table, constitution.bath)

    law = summed(first)
    return (law, *(States(summed(other), summed(change)) for other, change in others))


# ------------------------------------------------------------------------------------------- the functional


class Moments(eqx.Module):
    """What the functional of a state, or of the difference of two, is made of besides the constitutive law.

    The functional is linear in the law of the domains, whose entries are few: with the fields frozen, a pass over the
    grid leaves a few hundred numbers, and values and derivatives by all parameters are small sums of those.

    Attributes:
      power: for each table that they belong to the moments of the terms l.A u (names, domains, terms).
      heat: the same of the terms l.q(u, u).
      harmonics: matrices that sum the terms of power and of heat into their harmonics (HARMONICS, terms).
      ends: w.u_n + l_(n-1).b (HARMONICS,).
    """

    power: tuple[Array, ...]
    heat: tuple[Array, ...]
    harmonics: tuple[np.ndarray, np.ndarray]
    ends: Array


def _power_terms(rungs: int, harmonics: int) -> list[tuple[int, int]]:
    """List all (n, k) of the terms l_(n-k).A u_k."""
    return [(n, k) for n in range(1, harmonics + 1) for k in range(max(1, n - rungs + 1), min(n, rungs) + 1)]


def _heat_terms(rungs: int, harmonics: int) -> list[tuple[int, int, int, int]]:
    """List all (n, k, i, j) of the terms l_(n-k).q(u_i, u_j), i <= j."""
    return [
        (n, k, i, j)
        for n in range(1, harmonics + 1)
        for k in range(max(1, n - rungs + 1), n + 1)
        for i, j in _pairs(k, 1, rungs)
    ]


def _padded(values: Any) -> Any:
    """With zeros up to a multiple of four terms, the last axis: fewer programs."""
    terms = values.shape[-1]
    missing = 4 * max(-(-terms // 4), 1) - terms
    namespace = jnp if isinstance(values, jax.Array) else np
    return namespace.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)])


def _each(form: Callable[..., Array], disc: Discretisation, terms: Sequence[tuple[Vector, ...]]) -> Any:
    """form(disc, ...) for every term (names, domains, terms)."""
    if not terms:
        return np.zeros((len(operators.COEFFICIENTS), disc.domains, 0))
    if not any(isinstance(vector, jax.core.Tracer) for term in terms for vector in term):
        return np.stack([form(disc, *term) for term in terms], axis=-1)
    # Inside a program, one after another: with one column in it, and little memory.
    vectors = {id(vector): vector for term in terms for vector in term}
    stacked, place = jnp.stack(list(vectors.values())), {key: number for number, key in enumerate(vectors)}
    places = jnp.array([[place[id(vector)] for vector in term] for term in terms])
    return jnp.moveaxis(jax.lax.map(lambda each: form(disc, *stacked[each]), places), 0, -1)


def moments(
    disc: Discretisation,
    ports: Ports,
    of: tuple[Ladder, ...],
    harmonics: int,
    forms: tuple[Callable[..., Any], Callable[..., Any]] = (_power, _joule_power),
) -> tuple[Moments, ...]:
    """Return moments of the first state, and of the difference to each other one, with tables (change, other).

    Args:
      forms: what makes the products l.A u and l.q(u, u) by what the law is linear in.
    """
    first, rungs = of[0], len(of[0].u)
    power, heat = _power_terms(rungs, harmonics), _heat_terms(rungs, harmonics)

    def products(ladder: Any) -> tuple[list[Any], list[Any]]:
        of_power = [(ladder.l[n - k], ladder.u[k - 1]) for n, k in power]
        return of_power, [(ladder.l[n - k], ladder.u[i - 1], ladder.u[j - 1]) for n, k, i, j in heat]

    of_first = [_padded(_each(form, disc, terms)) for form, terms in zip(forms, products(first), strict=True)]
    collect = _collect([(n, 1) for n, _ in power]), _collect([(n, _twice(i, j)) for n, _, i, j in heat])
    out = []
    for number, ladder in enumerate(of):
        found: list[tuple[Any, ...]] = [(each,) for each in of_first]
        if number:
            for kind, terms in enumerate(products(_triples(first, ladder))):
                # By the factor that is changed, so that what belongs to a term lies at its place in each sum.
                by_factor = zip(*(_replaced(term) for term in terms), strict=True)
                parts = [_each(forms[kind], disc, each) for each in by_factor]
                change = _padded(functools.reduce(operator.add, parts)) if parts else of_first[kind]
                found[kind] = (of_first[kind], change)
        ends = [ports.probe @ u + ports.drive @ l for u, l in zip(ladder.u[:harmonics], ladder.l, strict=False)]  # noqa: E741
        ends += [jnp.zeros(())] * (HARMONICS - len(ends))
        out.append(Moments(found[0], found[1], collect, jnp.stack(ends)))
    return tuple(out)


def _collect(terms: Sequence[tuple[int, int]]) -> np.ndarray:
    """Matrix that sums terms, given as (harmonic, weight), into their harmonics (HARMONICS, terms)."""
    out = np.zeros((HARMONICS, len(terms)))
    for place, (n, weight) in enumerate(terms):
        out[n - 1, place] = weight
    return _padded(out)


def _contracted(
    constitution: Constitution, signs: tuple[Signs, ...], parameters: dict[str, Any], moments: tuple[Moments, ...]
) -> Float[Array, "states harmonics"]:
    """The functional as a function of the parameters, fields frozen.

    L_1, L_2, ... of the first state, and of each other state the difference (first minus other).
    """
    zeta = jnp.asarray(parameters["zeta"], float)
    first, others = _tables(constitution, signs, parameters)
    rows = []
    for each, tables in zip(moments, [(first,), *((change, other) for other, change in others)], strict=True):
        stacked = [jnp.stack([table[name] for name in operators.COEFFICIENTS]) for table in tables]

        def value(parts: tuple[Array, ...], stacked: list[Array] = stacked) -> Array:
            terms = [jnp.einsum("nd,ndt->t", table, part) for table, part in zip(stacked, parts, strict=True)]
            return functools.reduce(jnp.add, terms)

        of_power, of_heat = each.harmonics
        rows.append(each.ends - of_power @ value(each.power) + zeta / constitution.bath * of_heat @ value(each.heat))
    return jnp.stack(rows)


_contract = eqx.filter_jit(_contracted)


def contributions(
    constitution: Constitution,
    signs: tuple[Signs, ...],
    parameters: dict[str, Any],
    part: Moments,
    number: int,
    domain: np.ndarray,
) -> Float[np.ndarray, "harmonics kinds blocks"]:
    """Sum what blocks contribute to the functional, without its ends, from their moments (names, kinds, blocks, terms).

    Args:
      part: the moments of a state.
      number: which state.
      domain: of each block.
    """
    first, others = _tables(constitution, signs, parameters)
    tables = [(first,), *((change, other) for other, change in others)][number]
    laws_of = [np.stack([np.asarray(table[name])[domain] for name in operators.COEFFICIENTS]) for table in tables]

    def value(parts: tuple[Any, ...]) -> np.ndarray:
        return sum(np.einsum("nb,nkbt->kbt", law, np.asarray(each)) for law, each in zip(laws_of, parts, strict=True))

    of_power, of_heat = part.harmonics
    out = -np.einsum("ht,kbt->hkb", of_power, value(part.power))
    if np.any(of_heat):
        scale = float(parameters["zeta"]) / constitution.bath
        out += scale * np.einsum("ht,kbt->hkb", of_heat, value(part.heat))
    return out


@eqx.filter_jit
def _slopes(
    constitution: Constitution, signs: tuple[Signs, ...], parameters: dict[str, Any], moments: tuple[Moments, ...]
) -> dict[str, Array]:
    """Derivative of `_contracted` by every parameter, each (states, harmonics)."""
    return jax.jacfwd(lambda p: _contracted(constitution, signs, p, moments))(parameters)


class Functional(NamedTuple):
    """What the functional of an experiment needs besides parameters and fields."""

    disc: Discretisation
    ports: Ports
    constitution: Constitution
    signs: tuple[Signs, ...]

    @classmethod
    def of(cls, model: Model, experiment: Experiment) -> Functional:
        """The functional of an experiment."""
        return cls(model.disc, ports_of(model, experiment), model.constitution, signs_of(model, experiment))

    def values(
        self, parameters: dict[str, Any], ladders: tuple[Ladder, ...], harmonics: int
    ) -> Float[Array, "states harmonics"]:
        """L_1 ... of the first state with these fields, and of each other state the difference (first minus other)."""
        moments_of = moments(self.disc, self.ports, ladders, harmonics)
        return _contract(self.constitution, self.signs, parameters, moments_of)

    def jacobian(
        self, parameters: dict[str, Any], ladders: tuple[Ladder, ...], harmonics: int
    ) -> tuple[Array, dict[str, Array]]:
        """`values`, and its derivative by every parameter with the fields frozen, each (states, harmonics)."""
        arguments = self.constitution, self.signs, parameters, moments(self.disc, self.ports, ladders, harmonics)
        return _contract(*arguments), _slopes(*arguments)


def readings(experiment: Experiment, values: Any, harmonic: int) -> dict[str, Any]:
    """R_n by state, and the baseline and spin part where there are the states P and AP; linear in `values`."""
    column = [row[harmonic - 1] for row in values]
    states = dict(zip(experiment.states, [column[0], *(column[0] - change for change in column[1:])], strict=True))
    if not experiment.has_spin_part:
        return states
    # The change of a state is (first minus state); P minus AP without subtracting the two wherever one is the first.
    changes = dict(zip(experiment.states, [0 * column[0], *column[1:]], strict=True))
    spin = changes["AP"] - changes["P"]
    return states | {"baseline": states["P"] - spin / 2, "spin": spin}
