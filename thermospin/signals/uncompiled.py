"""Solves of small systems without a program, which would take longer to compile than they take in NumPy.

What is solved again and again gets its program: once the solves on the host have lost as much time as compiling takes.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
from scipy.sparse import block_array, csr_array, diags_array

from thermospin import solve
from thermospin.base.identity import ByIdentity
from thermospin.base.quadrature import gauss_lobatto
from thermospin.linear import host
from thermospin.operators import Coefficients, Discretisation, Fields
from thermospin.solve import SolveRequest, Stats, System

#: Work on the host, iterations times unknowns and columns, that loses as much time as a program takes to compile: there
#: it takes up to twice as long as with one, 60 to 130 ns each (`benchmarks/iteration.py`).
COMPILING = 150_000_000
#: Unknowns times columns above which the program is worth it for the next run already, which will find it kept.
MOST = 200_000

#: Work so far, by unknowns and columns of a system.
_done: collections.Counter[tuple[int, ...]] = collections.Counter()
#: Systems as the host has them.
_hosted: ByIdentity[System, host.HostSystem] = ByIdentity()


def answer(request: SolveRequest) -> tuple[Fields, Stats]:
    """Answer a solve request as `solve.answer` does, on the host where that is quicker."""
    return _found(request) or solve.answer(request)


def answer_once(request: SolveRequest) -> tuple[Fields, Stats]:
    """Answer a solve request as `solve.answer_once` does, on the host where that is quicker."""
    return _found(request, once=True) or solve.answer_once(request)


def _found(request: SolveRequest, *, once: bool = False) -> tuple[Fields, Stats] | None:
    """Return what the host finds; None where the program is worth its compilation, or knows better."""
    program = solve.answer_once if once else solve.answer
    if jax.default_backend() != "cpu" or request.system.shards is not None or not program.waits(request):
        return None
    size = request.b.shape
    if request.b.size > MOST or _done[size] > COMPILING:
        return None
    x, stats = on_host(request)
    _done[size] += int(np.asarray(stats.iterations).sum()) * size[0]
    # The rows of a matrix round more than differences along a segment do, which matters where contrasts are extreme.
    return (x, stats) if np.asarray(stats.converged).all() else None


def on_host(request: SolveRequest) -> tuple[Fields, Stats]:
    """Answer a solve request in NumPy; NaN in columns that did not converge."""
    system, law, b, guess, tolerance, max_steps = request
    hosted = _hosted.of(system, lambda: _host_system(system))
    A = hosted.matrices.of(law, lambda: hosted.assembled(matrix(system.disc, law)))
    rounding = solve.ROUNDING * float(np.finfo(float).eps)
    limits = host.Limits(float(tolerance), int(max_steps), rounding, solve.ROUGHEST)
    with ThreadPoolExecutor() as pool:
        run = functools.partial(hosted.solve, A, limits)
        fields, found = zip(*pool.map(run, np.asarray(b).T, np.asarray(guess).T), strict=True)
    stats = Stats(*jax.device_put([np.array(part) for part in zip(*found, strict=True)]))
    x = np.where([each.converged for each in found], np.stack(fields, axis=1), np.nan)
    return jax.device_put(x), stats


def _host_system(system: System) -> host.HostSystem:
    n, merged = system.disc.nodes_V, [np.zeros((2, 0), int)]
    if system.disc.merged is not None:
        V, T = (np.asarray(pairs) for pairs in (system.disc.merged.V, system.disc.merged.T))
        merged = [V, V + n, T + 2 * n]
    return host.HostSystem(np.asarray(system.free), np.concatenate(merged, axis=1), system.mg, system.held, n)


def matrix(disc: Discretisation, law: Coefficients) -> csr_array:
    """Return the matrix of `operators.apply`, held rows included."""

    def summed(values: Sequence[np.ndarray], rows: int, columns: int) -> csr_array:
        """Return the matrix of D' W D times values of the segments of each axis."""
        entries: list[tuple[np.ndarray, ...]] = []
        for axis, value in zip(disc.axes, values, strict=True):
            _, weights, derivative = gauss_lobatto(axis.order)
            stiffness = (derivative.T * weights) @ derivative
            i, j = np.nonzero(stiffness)
            nodes = np.asarray(axis.nodes_T)[:, 1 : len(value)]  # segment 0 is a dummy
            entries.append((nodes[i].ravel(), nodes[j].ravel(), (stiffness[i, j][:, None] * value[1:]).ravel()))
        row, column, value = (np.concatenate(parts) for parts in zip(*entries, strict=True))
        return csr_array((value, (row, column)), shape=(rows, columns))

    n, n_T, mass = disc.nodes_V, disc.nodes_T, diags_array(np.asarray(law.relaxation))
    laws = law.segments
    (up, up_T), (down, down_T) = (
        (
            summed([np.asarray(each.V)[:, s] for each in laws], n, n) + mass,
            summed([np.asarray(each.VT)[:, s] for each in laws], n, n_T),
        )
        for s in (0, 1)
    )
    links = [np.zeros(len(each.V)) if each.ud is None else np.asarray(each.ud) for each in laws]
    cross = summed(links, n, n) - mass
    heat = summed([np.asarray(each.TT) for each in laws], n_T, n_T)
    whole = csr_array(block_array([[up, cross, up_T], [cross, down, down_T], [up_T.T, down_T.T, heat]], format="csr"))
    whole.eliminate_zeros()  # where there is no Seebeck effect
    return whole
