"""The signals of an experiment as a functional of parameters and fields.

One functional gives everything (docs/theory.md, sections 6 and 7). With the fields u_1 ... u_m of the harmonic ladder
and the adjoint fields l_0 ... l_(m-1), those of higher order taken as zero,

    L_n = w.u_n + l_(n-1).b - sum_k l_(n-k).A u_k + zeta sum_k sum_(i+j=k) l_(n-k).q(u_i, u_j)

is R_n for every n <= 2m, and its derivative with the fields frozen is the derivative of R_n for every n <= m. So two
solves give R1 and R2, and two more their gradient with respect to everything. For n <= m it is also stationary in the
fields, and so right to the square of the solver's error; the others are right to the error itself.

Tables are padded, so that experiments, states and harmonics share compiled programs.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from thermospin import operators
from thermospin.base import compilation
from thermospin.base.arrays import AnyArray, namespace, stack
from thermospin.base.names import SignalName
from thermospin.device.constitution import Constitution, Signs
from thermospin.device.parts import Experiment
from thermospin.model import ExperimentProblem, Ports
from thermospin.operators import Discretisation
from thermospin.signals.ladders import (
    Ladder,
    TripleLadder,
    Vector,
    multiplicity,
    pairs,
    replaced,
    tables,
    triples,
)

#: Highest harmonic.
HARMONICS = 4


@compilation.on_host_first
def split_power(disc: Discretisation, v: Vector, u: Vector) -> Float[AnyArray, "names domains"]:
    """Return `operators.power` of one column."""
    return operators.power(disc, v[:, None], u[:, None])[..., 0]


@compilation.on_host_first
def _joule_power(disc: Discretisation, test: Vector, u: Vector, v: Vector) -> Float[AnyArray, "names domains"]:
    return operators.joule_power(disc, test[:, None], u[:, None], v[:, None])[..., 0]


class Moments(eqx.Module):
    """The functional of a state, or of the difference of two, without the constitutive law.

    The functional is linear in the law of the domains, whose entries are few: with the fields frozen, a pass over the
    grid leaves a few hundred numbers, and values and derivatives by all parameters are small sums of those.

    Attributes:
      power: for each table that they belong to the moments of the terms l.A u (names, domains, terms).
      heat: the same of the terms l.q(u, u).
      harmonics: matrices that sum the terms of power and of heat into their harmonics (HARMONICS, terms).
      ends: w.u_n + l_(n-1).b (HARMONICS,).
    """

    power: tuple[AnyArray, ...]
    heat: tuple[AnyArray, ...]
    harmonics: tuple[np.ndarray, np.ndarray]
    ends: AnyArray


def _power_terms(rungs: int, harmonics: int) -> list[tuple[int, int]]:
    """List all (n, k) of the terms l_(n-k).A u_k."""
    return [(n, k) for n in range(1, harmonics + 1) for k in range(max(1, n - rungs + 1), min(n, rungs) + 1)]


def _heat_terms(rungs: int, harmonics: int) -> list[tuple[int, int, int, int]]:
    """List all (n, k, i, j) of the terms l_(n-k).q(u_i, u_j), i <= j."""
    return [
        (n, k, i, j)
        for n in range(1, harmonics + 1)
        for k in range(max(1, n - rungs + 1), n + 1)
        for i, j in pairs(k, 1, rungs)
    ]


def _padded(values: Any) -> Any:
    """Pad with zeros up to a multiple of four terms, the last axis: fewer programs."""
    terms = values.shape[-1]
    missing = 4 * max(-(-terms // 4), 1) - terms
    return namespace(values).pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)])


def _of_terms(form: Callable[..., AnyArray], disc: Discretisation, terms: Sequence[tuple[Vector, ...]]) -> Any:
    """Return form(disc, ...) of every term (names, domains, terms)."""
    if not terms:
        return np.zeros((len(operators.COEFFICIENTS), disc.domains, 0))
    if not any(isinstance(vector, jax.core.Tracer) for term in terms for vector in term):
        return np.stack([form(disc, *term) for term in terms], axis=-1)
    # Inside a program, sequentially: with one column in it, and little memory.
    vectors = {id(vector): vector for term in terms for vector in term}
    stacked, place = jnp.stack(list(vectors.values())), {key: number for number, key in enumerate(vectors)}
    places = jnp.array([[place[id(vector)] for vector in term] for term in terms])
    return jnp.moveaxis(jax.lax.map(lambda term: form(disc, *stacked[term]), places), 0, -1)


def moments(
    disc: Discretisation,
    ports: Ports,
    ladders: tuple[Ladder, ...],
    harmonics: int,
    forms: tuple[Callable[..., Any], Callable[..., Any]] = (split_power, _joule_power),
) -> tuple[Moments, ...]:
    """Return moments of the first state, and of the difference to each other one, with tables (change, other).

    Args:
      forms: of the products l.A u and l.q(u, u), split by the entries that the law is linear in.
    """
    first, rungs = ladders[0], len(ladders[0].u)
    power, heat = _power_terms(rungs, harmonics), _heat_terms(rungs, harmonics)

    def products(ladder: Ladder | TripleLadder) -> tuple[list[Any], list[Any]]:
        of_power = [(ladder.l[n - k], ladder.u[k - 1]) for n, k in power]
        return of_power, [(ladder.l[n - k], ladder.u[i - 1], ladder.u[j - 1]) for n, k, i, j in heat]

    of_first = [_padded(_of_terms(form, disc, terms)) for form, terms in zip(forms, products(first), strict=True)]
    collect = _collect([(n, 1) for n, _ in power]), _collect([(n, multiplicity(i, j)) for n, _, i, j in heat])
    out = []
    for number, ladder in enumerate(ladders):
        sums: list[tuple[Any, ...]] = [(part,) for part in of_first]
        if number:
            for kind, terms in enumerate(products(triples(first, ladder))):
                # By the factor that is changed, so that each sum has a term at the same place.
                by_factor = zip(*(replaced(term) for term in terms), strict=True)
                parts = [_of_terms(forms[kind], disc, products_of) for products_of in by_factor]
                change = _padded(functools.reduce(operator.add, parts)) if parts else of_first[kind]
                sums[kind] = (of_first[kind], change)
        out.append(Moments(sums[0], sums[1], collect, _ends(ports, ladder.u[:harmonics], ladder.l[:harmonics])))
    return tuple(out)


@compilation.on_host_first
def _ends(ports: Ports, u: Sequence[Vector], l: Sequence[Vector]) -> AnyArray:  # noqa: E741
    """Return w.u_n + l_(n-1).b (HARMONICS,), b the drive and w the probe; zero for harmonics that are not there."""
    ends = [ports.probe @ a + ports.drive @ b for a, b in zip(u, l, strict=True)]
    return stack(ends + [np.zeros(())] * (HARMONICS - len(ends)))


def _collect(terms: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the matrix that sums terms, given as (harmonic, weight), into their harmonics (HARMONICS, terms)."""
    out = np.zeros((HARMONICS, len(terms)))
    for place, (n, weight) in enumerate(terms):
        out[n - 1, place] = weight
    return _padded(out)


def _contracted(
    constitution: Constitution, signs: tuple[Signs, ...], parameters: dict[str, Any], moments: tuple[Moments, ...]
) -> Float[AnyArray, "states harmonics"]:
    """Return L_1, L_2, ... of the first state, and of each other state the difference (first minus other).

    A function of the parameters, fields frozen.
    """
    rows, zeta = [], parameters["zeta"]
    for part, of_state in zip(moments, _change_tables(constitution, signs, parameters), strict=True):
        laws = [stack([table[name] for name in operators.COEFFICIENTS]) for table in of_state]
        of_power, of_heat = part.harmonics
        heat = zeta / constitution.bath * of_heat @ _sums(laws, part.heat)
        rows.append(part.ends - of_power @ _sums(laws, part.power) + heat)
    return stack(rows)


def _sums(laws: Sequence[AnyArray], moments: Sequence[AnyArray]) -> AnyArray:
    """Return moments times the entries of the laws that they belong to, summed over these (terms,)."""
    einsum = namespace(*laws, *moments).einsum
    return functools.reduce(operator.add, [einsum("nd,ndt->t", *pair) for pair in zip(laws, moments, strict=True)])


def _change_tables(
    constitution: Constitution, signs: tuple[Signs, ...], parameters: dict[str, Any]
) -> list[tuple[dict[str, AnyArray], ...]]:
    """Return the tables that the moments of each state belong to."""
    first, others = tables(constitution, signs, parameters)
    return [(first,), *((change, other) for other, change in others)]


_contract = compilation.on_host_first(_contracted)


def contributions(
    problem: ExperimentProblem, parameters: dict[str, Any], part: Moments, number: int, domain: np.ndarray
) -> Float[np.ndarray, "harmonics kinds blocks"]:
    """Return the contributions of blocks to the functional, without its ends.

    Args:
      problem: of the experiment.
      parameters: values by name.
      part: the moments of a state by block (names, kinds, blocks, terms).
      number: which state.
      domain: of each block.
    """
    of_state = _change_tables(problem.constitution, problem.signs, parameters)[number]
    laws = [np.stack([np.asarray(table[name])[domain] for name in operators.COEFFICIENTS]) for table in of_state]

    def value(parts: tuple[Any, ...]) -> np.ndarray:
        return sum(np.einsum("nb,nkbt->kbt", law, np.asarray(part)) for law, part in zip(laws, parts, strict=True))

    of_power, of_heat = part.harmonics
    out = -np.einsum("ht,kbt->hkb", of_power, value(part.power))
    if np.any(of_heat):
        scale = float(parameters["zeta"]) / problem.constitution.bath
        out += scale * np.einsum("ht,kbt->hkb", of_heat, value(part.heat))
    return out


@compilation.jit
def _slopes(
    constitution: Constitution, signs: tuple[Signs, ...], parameters: dict[str, Any], moments: tuple[Moments, ...]
) -> dict[str, AnyArray]:
    """Return the derivative of `_contracted` by every parameter, each (states, harmonics)."""
    return jax.jacfwd(lambda p: _contracted(constitution, signs, p, moments))(parameters)


def values(
    problem: ExperimentProblem, parameters: dict[str, Any], ladders: tuple[Ladder, ...], harmonics: int
) -> Float[AnyArray, "states harmonics"]:
    """Return L_1, L_2, ... of the first state, and of each other state the difference (first minus other)."""
    parts = moments(problem.disc, problem.ports, ladders, harmonics)
    return _contract(problem.constitution, problem.signs, parameters, parts)


def jacobian(
    problem: ExperimentProblem, parameters: dict[str, Any], ladders: tuple[Ladder, ...], harmonics: int
) -> tuple[AnyArray, dict[str, AnyArray]]:
    """Return `values`, and their derivative by every parameter with the fields frozen, each (states, harmonics)."""
    parts = moments(problem.disc, problem.ports, ladders, harmonics)
    arguments = problem.constitution, problem.signs, parameters, parts
    return _contract(*arguments), _slopes(*arguments)


def readings(experiment: Experiment, rows: Any, harmonics: int) -> dict[SignalName, Any]:
    """Return R_1, R_2, ... by state, and baseline and spin part where there are P and AP; linear in `rows`.

    Args:
      experiment: whose states they are.
      rows: of the first state, and of each other state the difference (first minus other) (states, harmonics, ...).
      harmonics: highest harmonic.
    """
    out: dict[SignalName, Any] = {}
    for n in range(1, harmonics + 1):
        first, *changes = (row[n - 1] for row in rows)
        parts = dict(zip(experiment.states, [first, *(first - change for change in changes)], strict=True))
        if experiment.has_spin_part:
            # The change of a state is (first minus state); P minus AP without subtracting the two where one is first.
            change = dict(zip(experiment.states, [0 * first, *changes], strict=True))
            spin = change["AP"] - change["P"]
            parts |= {"baseline": parts["P"] - spin / 2, "spin": spin}
        out |= {SignalName(experiment.name, n, part): value for part, value in parts.items()}
    return out
