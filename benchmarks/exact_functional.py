"""The functional with exactly integrated forms: how much of the error of a signal Gauss-Lobatto quadrature makes.

    python benchmarks/exact_functional.py [DEVICE ...]

Devices are those of benchmarks/calibration_devices, on their default grids at order 3. The operator integrates with the
nodes of its elements, which makes it sparse and cheap. Fields and adjoints of that operator, put into the functional
L_n of docs/theory.md with exact forms, leave the error of interpolation alone, to second order in the fields; for R2
that takes two rungs of the ladders, twice the solves of a value. Printed for each signal is how far the value of the
grid is off, the exact functional, and the best estimate, in percent of the truth (benchmarks/results/truth.json).
Ports, links, ties, and cells that slanted edges cut are left as the operator has them.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from thermospin.accuracy import error_bars
from thermospin.base.quadrature import gauss_lobatto
from thermospin.device import reader
from thermospin.model import Model, build
from thermospin.operators import COEFFICIENTS, Discretisation, joule_power, power
from thermospin.signals import evaluate, functional
from thermospin.signals.ladders import Vector

HERE = Path(__file__).parent

#: Cells that are treated at a time: bounds memory.
CHUNK = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Cells:
    """Cells that one domain fills, those of metals first.

    Attributes:
      order: polynomial order p.
      nodes: T-nodes of each cell (cells, p+1, p+1, p+1).
      sizes: lengths of its sides [m] (cells, 3).
      domain: that fills it (cells,).
      metals: how many of them conduct charge.
      domains: number of domains.
    """

    order: int
    nodes: np.ndarray
    sizes: np.ndarray
    domain: np.ndarray
    metals: int
    domains: int


def whole_cells(model: Model) -> Cells:
    """Return the cells of a model that no slanted edge cuts."""
    grid, disc, split = model.grid, model.disc, model.placement.split
    conducts = np.zeros(disc.domains, bool)
    conducts[: len(model.device.domains)] = [model.device.materials[m].is_metal for m, _ in model.device.domains]
    place = np.argwhere((grid.domain >= 0) & ~grid.cut)
    domain = grid.domain[tuple(place.T)]
    first = np.argsort(~conducts[domain], kind="stable")
    place, domain = place[first], domain[first]
    local = np.arange(grid.order + 1)
    counts = tuple(len(nodes) for nodes in grid.nodes)
    x, y, z = (grid.order * place[:, axis, None] + local for axis in range(3))
    at = (x[:, :, None, None] * counts[1] + y[:, None, :, None]) * counts[2] + z[:, None, None, :]
    if split is not None:
        # Of a doubled node a cell has the one of its own octant: above its lower ends, below its upper ones.
        octants = np.tile(np.arange(int(np.prod(counts)))[:, None], 8)
        octants[split.octants[0]] = split.octants[1].reshape(-1, 8)
        above = (local < grid.order).astype(int)
        at = octants[at, 4 * above[:, None, None] + 2 * above[:, None] + above]
    number = np.full(len(model.placement.nodes), -1)
    number[disc.number_T] = np.arange(disc.nodes_T)
    sizes = np.stack([np.diff(line)[place[:, axis]] for axis, line in enumerate(grid.lines)], axis=1)
    return Cells(grid.order, number[at], sizes, domain, int(conducts[domain].sum()), disc.domains)


@functools.cache
def _rules(order: int) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]:
    """Return values and derivatives of the nodal polynomials at the points of a rule, and its weights, on [-1, 1].

    Of Gauss's rule that is exact for l.q(u, u), of degree 3 p, and with the opposite sign of the weights, so that sums
    over both are differences, of the operator's own.
    """
    nodes, own, derivative = gauss_lobatto(order)
    points, weights = np.polynomial.legendre.leggauss((3 * order) // 2 + 1)
    # The nodal polynomials from those of Legendre.
    values = np.polynomial.legendre.legvander(points, order) @ np.linalg.inv(
        np.polynomial.legendre.legvander(nodes, order)
    )
    return (values, values @ derivative, weights), (np.eye(order + 1), derivative, own)


class QuadratureErrors:
    """Exact minus lumped forms of the fields of a model, by the entries that the law is linear in.

    Args:
      cells: from `whole_cells`.
    """

    def __init__(self, cells: Cells):
        self.cells = cells

    def power(self, disc: Discretisation, v: Vector, u: Vector) -> np.ndarray:
        """Return what exact integration adds to `operators.power` (names, domains)."""
        return self._summed(disc, (v, u), _power)

    def joule_power(self, disc: Discretisation, test: Vector, u: Vector, v: Vector) -> np.ndarray:
        """Return what exact integration adds to `operators.joule_power` (names, domains)."""
        return self._summed(disc, (test, u, v), _joule)

    def _summed(self, disc: Discretisation, fields: Sequence[Vector], form: Callable[..., Any]) -> np.ndarray:
        cells, out = self.cells, np.zeros((len(COEFFICIENTS), self.cells.domains))
        arrays = [np.asarray(field) for field in fields]
        for start, stop, metal in _chunks(cells):
            nodes, sizes = cells.nodes[start:stop], cells.sizes[start:stop]
            by_cell: dict[str, np.ndarray] = {}
            for sign, rule in zip((1.0, -1.0), _rules(cells.order), strict=True):
                local = [_at_points(disc, field, nodes, sizes, rule, metal=metal) for field in arrays]
                weights = sign * np.einsum("i,j,k->ijk", *[rule[2]] * 3) / 8
                for name, density in form(*local).items():
                    sums = np.einsum("cijk,ijk->c", density, weights) * sizes.prod(axis=1)
                    by_cell[name] = by_cell.get(name, 0.0) + sums
            for name, values in by_cell.items():
                out[COEFFICIENTS.index(name)] += np.bincount(cells.domain[start:stop], values, cells.domains)
        return out


def _chunks(cells: Cells) -> list[tuple[int, int, bool]]:
    """Return ranges of cells, and whether they conduct charge."""
    ends = [*range(0, cells.metals, CHUNK), cells.metals, *range(cells.metals + CHUNK, len(cells.domain), CHUNK)]
    ends = sorted({*ends, len(cells.domain)})
    return [(a, b, b <= cells.metals) for a, b in zip(ends[:-1], ends[1:], strict=True)]


Local = dict[str, tuple[np.ndarray, list[np.ndarray]]]


def _at_points(
    disc: Discretisation, field: np.ndarray, nodes: np.ndarray, sizes: np.ndarray, rule: Any, *, metal: bool
) -> Local:
    """Return value and gradient of V_up, V_down and T at the points of a rule in each cell."""
    n, (values, slopes, _) = disc.nodes_V, rule
    out: Local = {}
    for name, start in (("up", 0), ("down", n), ("T", 2 * n)):
        if name == "T" or metal:
            f = field[start + nodes]
            x = np.einsum("ai,cijk->cajk", values, f)
            xy = np.einsum("bj,cajk->cabk", values, x)
            f_x = np.einsum("bj,cajk->cabk", values, np.einsum("ai,cijk->cajk", slopes, f))
            f_y = np.einsum("bj,cajk->cabk", slopes, x)
            gradient = [f_x @ values.T, f_y @ values.T, xy @ slopes.T]
            gradient = [g * (2 / sizes[:, axis])[:, None, None, None] for axis, g in enumerate(gradient)]
            out[name] = xy @ values.T, gradient
    return out


def _dot(a: list[np.ndarray], b: list[np.ndarray]) -> np.ndarray:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _gradients(v: Local, u: Local) -> dict[str, np.ndarray]:
    """Return products of gradients by the entry of the law that multiplies them, without that of T alone."""
    out = {}
    for name, key, mixed in (("up", "uu", "uT"), ("down", "dd", "dT")):
        if name in v:
            out[key] = _dot(v[name][1], u[name][1])
            out[mixed] = _dot(v[name][1], u["T"][1]) + _dot(v["T"][1], u[name][1])
    return out


def _power(v: Local, u: Local) -> dict[str, np.ndarray]:
    out = _gradients(v, u) | {"TT": _dot(v["T"][1], u["T"][1])}
    if "up" in v:
        out["relaxation"] = (v["up"][0] - v["down"][0]) * (u["up"][0] - u["down"][0])
    return out


def _joule(test: Local, u: Local, v: Local) -> dict[str, np.ndarray]:
    if "up" not in u:
        return {}
    of_T = {"joule_TT": _dot(u["T"][1], v["T"][1])}
    return {name: test["T"][0] * density for name, density in (_gradients(u, v) | of_T).items()}


def exact(model: Model) -> dict[str, float]:
    """Signals by the functional with exact forms, of fields and adjoints of two rungs."""
    wanted = [(name, "R2." + next(iter(each.states))) for name, each in model.device.experiments.items()]
    fields = evaluate.evaluate(model, {}, wanted, ("zeta",)).fields
    values, errors = model.completed({}), QuadratureErrors(whole_cells(model))

    def of_power(disc: Discretisation, v: Vector, u: Vector) -> np.ndarray:
        return np.asarray(power(disc, v[:, None], u[:, None]))[..., 0] + errors.power(disc, v, u)

    def of_heat(disc: Discretisation, test: Vector, u: Vector, v: Vector) -> np.ndarray:
        lumped = joule_power(disc, test[:, None], u[:, None], v[:, None])
        return np.asarray(lumped)[..., 0] + errors.joule_power(disc, test, u, v)

    out: dict[str, float] = {}
    for name, ladders in fields.items():
        problem = model.problems[name]
        parts = functional.moments(problem.disc, problem.ports, ladders, 2, (of_power, of_heat))
        rows = np.asarray(functional._contract(problem.constitution, problem.signs, values, parts))
        found = functional.readings(problem.experiment, rows, 2)
        out |= {str(signal): float(value) for signal, value in found.items()}
    return out


def main() -> None:
    """Prints the table of each device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", nargs="*", default=["beside_py_cu", "lateral_py_cu", "pillar_square"])
    truths = json.loads((HERE / "results" / "truth.json").read_text(encoding="utf-8"))
    for name in parser.parse_args().device:
        model = build(reader.load(str(HERE / "calibration_devices" / f"{name}.toml")), order=3)
        best, others = error_bars.assess(model, evaluate.measure(model)), exact(model)
        print(f"\n{name}, {model.unknowns} unknowns\n{'signal':<24} {'grid':>8} {'exact':>8} {'best':>8}  percent")
        for signal, value in best.values.items():
            if signal.part in ("baseline", "spin") and str(signal) in truths[name]["signals"]:
                truth = truths[name]["signals"][str(signal)]["value"]
                off = [100 * (each / truth - 1) for each in (best.computed[signal], others[str(signal)], value)]
                print(f"{signal!s:<24} " + " ".join(f"{each:>8.2f}" for each in off), flush=True)


if __name__ == "__main__":
    main()
