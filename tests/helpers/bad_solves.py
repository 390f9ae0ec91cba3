"""Broken systems: does the solver ever call a bad solve good?

Every system is solved with two columns. An answer is good if it is finite and its residual, recomputed in extended
precision by loops of its own, is below twice the tolerance or what rounding alone leaves; it is reported good if
`Stats.converged` says so. Prints each column, what `diagnosis.faults` says before the solve, and how often which
outcome was reported as what. Exits with 1 if a bad answer was reported good, if an answer reported bad was left
standing instead of being NaN, or if a system that has to be solved was not.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from helpers.problems import diagonal_of
from helpers.suite import CASES, Case, drive_and_probe
from thermospin import operators, solve
from thermospin.base.quadrature import gauss_lobatto
from thermospin.model import Model
from thermospin.operators import Coefficients, Discretisation
from thermospin.signals import diagnosis
from thermospin.solve import System

UNKNOWNS = 2_000
#: A true residual of so many tolerances counts as good.
SLACK = 2.0


@dataclasses.dataclass(frozen=True)
class Broken:
    """A system with something wrong, or only unusual.

    Attributes:
      name: what the table calls it.
      case: the device, see `suite`.
      parameters: values that differ from the device's.
      system: what is done to the system (its preconditioner).
      columns: what is done to the right-hand sides (unknowns, 2).
      start: what to start from, in place of zero.
      options: tolerance and max_steps.
      solvable: for both columns, whether it has to be solved.
      order: polynomial order.
    """

    name: str
    case: str = "polarised-0.5"
    parameters: Mapping[str, float] = dataclasses.field(default_factory=dict)
    system: Callable[[System], System] = lambda system: system
    columns: Callable[[np.ndarray], np.ndarray] = lambda b: b
    start: float | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    solvable: tuple[bool, bool] = (False, False)
    order: int = 1


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One column: how good the answer is and what was said about it."""

    residual: float
    good: bool
    reported: bool
    standing: bool
    wanted: bool

    @property
    def wrong(self) -> bool:
        """Whether the solver is to blame."""
        return self.reported != self.good or (self.standing and not self.reported) or (self.wanted and not self.good)


# ------------------------------------------------------------------------------------------- the true residual


def apply(disc: Discretisation, law: Coefficients, u: np.ndarray) -> np.ndarray:
    """A u in extended precision, segment by segment; apart from `operators.apply`."""
    n = disc.nodes_V
    _, weights, derivative = gauss_lobatto(disc.order)
    D, w = derivative.astype(np.longdouble), weights.astype(np.longdouble)
    u = u.astype(np.longdouble)
    out = np.zeros_like(u)
    g = np.asarray(law.relaxation).astype(np.longdouble) * (u[:n] - u[n : 2 * n])
    out[:n] += g
    out[n : 2 * n] -= g
    for axis, segments in zip(disc.axes, law.segments, strict=True):
        V, VT, TT = (np.asarray(each).astype(np.longdouble) for each in (segments.V, segments.VT, segments.TT))
        nodes_V, nodes_T = np.asarray(axis.nodes_V), np.asarray(axis.nodes_T)
        metal = nodes_V.shape[1]
        up, down, heat = D @ u[nodes_V], D @ u[nodes_V + n], D @ u[nodes_T + 2 * n]
        warm = heat[:, :metal]
        f_up, f_down, f_heat = V[:, 0] * up + VT[:, 0] * warm, V[:, 1] * down + VT[:, 1] * warm, TT * heat
        f_heat[:, :metal] += VT[:, 0] * up + VT[:, 1] * down
        for flux, place in ((f_up, nodes_V), (f_down, nodes_V + n), (f_heat, nodes_T + 2 * n)):
            np.add.at(out, place[:, 1:], (D.T @ (w[:, None] * flux))[:, 1:])  # segment 0 is a dummy
    return out


def relative_residual(system: System, law: Coefficients, b: np.ndarray, u: np.ndarray) -> tuple[float, float]:
    """|b - A u| / |b| of one column on free unknowns, |r|^2 = r.D^-1 r with D the size of the diagonal of A.

    0 if b and u are 0, infinite if b alone is. And what rounding of u leaves of it, at most: see `solve.ROUNDING`.
    """
    free = np.asarray(system.free) > 0
    D = np.abs(diagonal_of(system.disc, law)).astype(np.longdouble)
    root = np.sqrt(np.where(np.isfinite(D) & (D > 0), D, 1.0))[free]
    left = (b.astype(np.longdouble) - apply(system.disc, law, u))[free] / root
    given = b.astype(np.longdouble)[free] / root
    above, below = np.sqrt(np.sum(left**2)), np.sqrt(np.sum(given**2))
    if below == 0:
        return 0.0 if above == 0 else float("inf"), 0.0
    size = np.sqrt(np.sum((root * u[free]) ** 2))
    return float(above / below), float(solve.ROUNDING * np.finfo(float).eps * size / below)


# ------------------------------------------------------------------------------------------- systems


def preconditioner(change: Callable[[list[Any]], list[Any]]) -> Callable[[System], System]:
    """A change of the arrays of floats that the preconditioner consists of."""

    def changed(system: System) -> System:
        names = [field.name for field in dataclasses.fields(system) if field.name not in ("disc", "free")]
        numbers, rest = eqx.partition({name: getattr(system, name) for name in names}, eqx.is_inexact_array)
        leaves, shape = jax.tree.flatten(numbers)
        return dataclasses.replace(system, **eqx.combine(jax.tree.unflatten(shape, change(leaves)), rest))

    return changed


def times(factor: float) -> Callable[[System], System]:
    """The preconditioner with every number multiplied."""
    return preconditioner(lambda leaves: [leaf * factor for leaf in leaves])


def one_entry(value: float) -> Callable[[System], System]:
    """The preconditioner with one entry of its largest array replaced."""

    def change(leaves: list[Any]) -> list[Any]:
        largest = int(np.argmax([leaf.size for leaf in leaves]))
        leaf = leaves[largest]
        leaves[largest] = leaf.ravel().at[leaf.size // 2].set(value).reshape(leaf.shape)
        return leaves

    return preconditioner(change)


def noisy(low: float, high: float) -> Callable[[System], System]:
    """The preconditioner with every number multiplied by one of its own, which makes it asymmetric."""
    rng = np.random.default_rng(0)
    return preconditioner(
        lambda leaves: [leaf * rng.uniform(low, high, leaf.shape).astype(leaf.dtype) for leaf in leaves]
    )


def scaled(first: float, second: float) -> Callable[[np.ndarray], np.ndarray]:
    """The right-hand sides multiplied."""
    return lambda b: b * np.array([first, second])


def entry(value: float) -> Callable[[np.ndarray], np.ndarray]:
    """One entry of the first right-hand side replaced."""

    def change(b: np.ndarray) -> np.ndarray:
        b = b.copy()
        b[len(b) // 3, 0] = value
        return b

    return change


BOTH, SECOND = (True, True), (False, True)

SYSTEMS = [
    # Nothing wrong: has to be solved.
    Broken("sound", solvable=BOTH),
    Broken("sound, p = 2", solvable=BOTH, order=2),
    Broken("zero column beside another", columns=scaled(0.0, 1.0), solvable=BOTH),
    Broken("two zero columns", columns=scaled(0.0, 0.0), solvable=BOTH),
    Broken("columns of 1e-30 and 1e30", columns=scaled(1e-30, 1e30), solvable=BOTH),
    Broken("columns of 1e-200 and 1e200", columns=scaled(1e-200, 1e200), solvable=BOTH),
    Broken("start far off", start=1e6, solvable=BOTH),
    Broken("preconditioner times 1000", system=times(1e3)),
    # Values outside the model.
    Broken("kappa below T0 sigma S^2", case="thermoelectric", parameters={"n_leg.S": -350e-6, "p_leg.S": 350e-6}),
    Broken("kappa far below T0 sigma S^2", parameters={"ferro.S": -2e-3}),
    Broken("P = 1", parameters={"ferro.P": 1.0}),
    Broken("P = 0.999999", parameters={"ferro.P": 0.999999}),
    Broken("P = 1.5", parameters={"ferro.P": 1.5}),
    Broken("sigma contrast 1e12", case="contrast-1e3", parameters={"poor.sigma": 4.3e-5}),
    Broken("kappa contrast 1e12", parameters={"oxide.kappa": 3e-10}),
    Broken("sigma NaN", parameters={"ferro.sigma": np.nan}),
    Broken("sigma inf", parameters={"ferro.sigma": np.inf}),
    Broken("sigma negative", parameters={"ferro.sigma": -4.3e6}),
    Broken("kappa negative", parameters={"oxide.kappa": -1.4}),
    Broken("kappa zero", parameters={"oxide.kappa": 0.0}),
    Broken("all values 1e-300", parameters={"ferro.sigma": 1e-300, "normal.sigma": 1e-300}),
    Broken("lambda_sf zero", parameters={"ferro.lambda_sf": 0.0}),
    Broken("lambda_sf 1e-170 m", parameters={"ferro.lambda_sf": 1e-170}),
    Broken("lambda_sf NaN", parameters={"normal.lambda_sf": np.nan}),
    # Nothing to stand on.
    Broken("floating electrode", case="contrast-1e3", parameters={"poor.sigma": 0.0}),
    Broken("floating magnet", parameters={"normal.sigma": 0.0}),
    # Right-hand sides.
    Broken("NaN in a column", columns=entry(np.nan), solvable=SECOND),
    Broken("inf in a column", columns=entry(np.inf), solvable=SECOND),
    Broken("column of 1e308", columns=entry(1e308), solvable=SECOND),
    Broken("start NaN", start=np.nan),
    # Bounds.
    Broken("tolerance 1e-16", options={"tolerance": 1e-16}),
    Broken("tolerance 0", options={"tolerance": 0.0}),
    Broken("tolerance NaN", options={"tolerance": np.nan}),
    Broken("max_steps 3", options={"max_steps": 3}),
    Broken("max_steps 0", options={"max_steps": 0}),
    # Preconditioner.
    Broken("preconditioner NaN", system=times(np.nan)),
    Broken("preconditioner zero", system=times(0.0)),
    Broken("preconditioner negative", system=times(-1.0)),
    Broken("preconditioner times 1e-30", system=times(1e-30)),
    Broken("one NaN in the preconditioner", system=one_entry(np.nan)),
    Broken("one huge number in the preconditioner", system=one_entry(1e30)),
    Broken("asymmetric preconditioner", system=noisy(0.5, 1.5)),
    Broken("very asymmetric preconditioner", system=noisy(-1.0, 1.0)),
]


@functools.cache
def built(case: str, order: int) -> tuple[Case, Model]:
    """A case and its problem, made once."""
    return CASES[case], CASES[case].model(UNKNOWNS, order)


def judge(broken: Broken) -> tuple[list[Verdict], list[str]]:
    """Both columns, and the faults known before the solve."""
    case, model = built(broken.case, broken.order)
    ground = case.experiment.current[1]
    signs = next(iter(case.experiment.states.values()))
    values = {name: jnp.asarray(value) for name, value in (model.parameters | dict(broken.parameters)).items()}
    law = operators.coefficients(model.disc, model.constitution.table(values, signs), case.device.bath)
    system = broken.system(model.systems[ground])
    b = broken.columns(np.asarray(drive_and_probe(case, model)))
    options = {"tolerance": 1e-10, "max_steps": 400} | dict(broken.options)
    start = None if broken.start is None else jnp.full(b.shape, broken.start)
    u, stats = solve.solve(system, law, jnp.asarray(b), x0=start, **options)
    answers = np.asarray(u)
    verdicts = []
    with np.errstate(all="ignore"):
        for k, wanted in enumerate(broken.solvable):
            residual, rounding = relative_residual(system, law, b[:, k], answers[:, k])
            most = max(SLACK * options["tolerance"], min(rounding, solve.ROUGHEST))
            good = bool(np.all(np.isfinite(answers[:, k]))) and residual <= most
            standing = not np.all(np.isnan(answers[:, k]))
            verdicts.append(Verdict(residual, good, bool(stats.converged[k]), standing, wanted))
        return verdicts, diagnosis.faults(model, broken.parameters, signs, ground)


def main(systems: Sequence[Broken] = SYSTEMS) -> int:
    """Prints the table and the counts; the exit status."""
    print(f"{'system':<40} {'column':>6} {'residual':>9} {'answer':>6} {'reported':>8}  faults known before")
    counts = {(good, reported): 0 for good in (True, False) for reported in (True, False)}
    blamed = []
    words = {True: "good", False: "bad"}
    for broken in systems:
        verdicts, faults = judge(broken)
        for k, verdict in enumerate(verdicts):
            counts[verdict.good, verdict.reported] += 1
            mark = "  WRONG" if verdict.wrong else ""
            told = faults[0] if faults and k == 0 else ""
            if verdict.wrong:
                blamed.append(f"{broken.name}, column {k}")
            print(
                f"{broken.name:<40} {k:>6} {verdict.residual:>9.1e} {words[verdict.good]:>6} "
                f"{words[verdict.reported]:>8}{mark}  {told[:90]}",
                flush=True,
            )
    print(f"\n{'':<12} {'reported good':>14} {'reported bad':>14}")
    for good in (True, False):
        print(f"answer {words[good]:<5} {counts[good, True]:>14} {counts[good, False]:>14}")
    print(f"{len(systems)} systems; wrong: {'; '.join(blamed) or 'none'}")
    return 1 if blamed else 0
