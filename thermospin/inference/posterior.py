"""Posterior of the fitted parameters by the No-U-Turn sampler, on the model or on an emulator with a measured error.

Density: exp(-chi2/2), priors of the fit included, and else flat in the internal coordinates of the parameters (the
logarithm of what is positive, artanh P, the value itself of the others) within their bounds. Chains run in coordinates
in which the linear theory is a unit Gaussian and bounds are at infinity (`_within`; Hoffman and Gelman, J. Mach. Learn.
Res. 15, 1593 (2014); numpyro).

The emulator is a polynomial in these coordinates for each signal, fitted to values and Jacobians of the model at points
of the ellipse that holds the posterior. Its error is measured at other points, in standard deviations of the data; one
that is too large is an error, not a result.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import chi2, qmc

from thermospin.base.errors import InputError, NotConverged
from thermospin.base.frames import frame
from thermospin.base.lenient import lenient
from thermospin.base.shown import Plotted
from thermospin.inference.minimisers import with_scatter
from thermospin.inference.misfit import Misfit, Problem
from thermospin.inference.nuts import KeptChains, draw, in_clear_words, require_numpyro, whole_numbers
from thermospin.inference.result import FitResult
from thermospin.model import Progress
from thermospin.parallel import tasks
from thermospin.quantities import quantity, unit_of
from thermospin.solve import Solver

#: Design points lie in the ball, in standard deviations of the linear theory, that holds this part of a Gaussian; those
#: that judge them within this part of its radius.
HELD, JUDGED = 0.997, 0.8
#: Residuals of the emulator at points that it has not seen, in standard deviations of the data: at most.
LARGEST_ERROR = 0.1
#: Degrees of the polynomial that are tried, and design points per unknown of it.
DEGREES, POINTS = (2, 3, 4), 1.5
HELD_OUT = 8
#: Beyond the ball draws are held back by a spring of this stiffness, and a posterior with more than this part of its
#: draws there is wider than what the emulator was made for.
SPRING, BEYOND = 4.0, 0.02
#: Chains have converged below this split R-hat and above so many effective draws (Vehtari et al., Bayesian Anal. 2021).
R_HAT, EFFECTIVE = 1.01, 400.0
#: At the minimum of a fit a model of its rows has the values of the fit to so many standard deviations, of noise and
#: grid together: with the numbers of `error_bars.estimate` the grid's own values lie within 2.1 error bars of the best
#: estimates, those of the order below within 6.
ELSEWHERE = 10.0
#: Steps of the chains in one program: on the model itself, whose steps take seconds, and on an emulator.
FEW, MANY = 10, 250


class NotEmulated(NotConverged):
    """The emulator does not follow the model where the posterior is."""


@dataclasses.dataclass(frozen=True, eq=False)
class Emulator:
    """Residuals of a fit as polynomials in whitened coordinates z, x = best + scale z.

    Attributes:
      best, scale: internal coordinates of the minimum (n,), and a root of their covariance (n, n).
      powers: of z in each monomial (monomials, n).
      coefficients: of the residuals (monomials, residuals).
      error: largest error of a residual at points that were not fitted [1].
      evaluations: of the model that it took.
    """

    best: np.ndarray
    scale: np.ndarray
    powers: np.ndarray
    coefficients: np.ndarray
    error: float
    evaluations: int

    def residuals(self, z: np.ndarray) -> np.ndarray:
        """Return the residuals at whitened coordinates (n,)."""
        return polynomials(z, self.powers, self.coefficients)


def polynomials(z: Any, powers: Any, coefficients: Any, xp: Any = np) -> Any:
    """Return polynomials at z (n,), see `Emulator`; `xp` is numpy or jax.numpy."""
    return xp.prod(z**powers, axis=-1) @ coefficients


@dataclasses.dataclass(frozen=True, eq=False)
class Posterior(Plotted):
    """Draws from the posterior.

    Attributes:
      names: of the parameters.
      draws: (chains, draws, names), SI units.
      r_hat, effective: split R-hat and effective number of draws of each (names,).
      divergences: trajectories that went astray.
      beyond: part of the draws further out than the emulator was made for; 0 if the model itself was sampled.
      emulator_error: see `Emulator.error`; None if the model itself was sampled.
      evaluations: of the model, or of its gradient.
      steps: leapfrog steps a draw, each of which takes a gradient.
      seconds: wall time.
    """

    names: tuple[str, ...]
    draws: np.ndarray
    r_hat: np.ndarray
    effective: np.ndarray
    divergences: int
    beyond: float
    emulator_error: float | None
    evaluations: int
    steps: float
    seconds: float

    @property
    def converged(self) -> bool:
        """True if chains agree, there are enough effective draws, and hardly any went astray or beyond the emulator."""
        steady = bool(np.all(self.r_hat < R_HAT) and np.all(self.effective > EFFECTIVE))
        return steady and self.divergences < 1e-3 * self.draws[..., 0].size and self.beyond <= BEYOND

    @property
    def means(self) -> np.ndarray:
        """Means (names,), SI units."""
        return np.mean(self.draws, axis=(0, 1))

    @property
    def stds(self) -> np.ndarray:
        """Standard deviations (names,), SI units."""
        return np.std(self.draws, axis=(0, 1))

    def interval(self, part: float = 0.683) -> np.ndarray:
        """Return ends of the central interval that holds a part of the draws (2, names), SI units."""
        return np.quantile(self.draws, [(1 - part) / 2, (1 + part) / 2], axis=(0, 1))

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame of the draws: columns chain, draw, and one for each parameter.

        SI units, by parameter in `attrs["units"]`.

        Raises:
          InputError: pandas is not installed.
        """
        chain, draw = np.indices(self.draws.shape[:2]).reshape(2, -1)
        values = dict(zip(self.names, self.draws.reshape(-1, len(self.names)).T, strict=True))
        return frame({"chain": chain, "draw": draw, **values}, {name: unit_of(name) for name in self.names})

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers; the draws are not among them."""
        both = {"68 %": self.interval(), "95 %": self.interval(0.95)}
        return {
            "parameters": {
                name: {
                    "mean": float(self.means[k]),
                    "std": float(self.stds[k]),
                    "r_hat": float(self.r_hat[k]),
                    "effective": float(self.effective[k]),
                }
                | {level: ends[:, k].tolist() for level, ends in both.items()}
                for k, name in enumerate(self.names)
            },
            "converged": self.converged,
            "divergences": self.divergences,
            "beyond": self.beyond,
            "emulator_error": self.emulator_error,
            "evaluations": self.evaluations,
            "seconds": self.seconds,
        }

    def _remedy(self) -> str:
        """Say what to do about chains that have not converged."""
        if self.divergences >= 1e-3 * self.draws[..., 0].size:
            return "trajectories went astray, where the posterior bends sharply: use profiles, or give priors"
        return f"give more draws, such as {10 * self.draws.shape[1]}, until at least {EFFECTIVE:.0f} are effective"

    def words(self) -> list[str]:
        """Return intervals, and whether the chains have converged, line by line."""
        low, high = self.interval()
        lines = [
            f"{name}: {quantity(name, low[k])} to {quantity(name, high[k])} (68 %), "
            f"mean {quantity(name, self.means[k])}, std {quantity(name, self.stds[k])}"
            for k, name in enumerate(self.names)
        ]
        chains, draws, _ = self.draws.shape
        state = "converged" if self.converged else "NOT converged, not to be trusted"
        lines.append(
            f"{chains} chains of {draws} draws: {state} (R-hat at most {np.max(self.r_hat):.4f}, at least "
            f"{np.min(self.effective):.0f} effective draws, {self.divergences} divergences)"
        )
        if not self.converged and self.beyond <= BEYOND:
            lines.append(self._remedy())
        if self.beyond > BEYOND:
            share = f"{100 * self.beyond:.0f} % of the draws are where the emulator was not made"
            lines.append(f"{share}: the posterior is wider than the covariance says; use profiles, or give priors")
        if self.emulator_error is not None:
            lines.append(
                f"on an emulator that is off by at most {self.emulator_error:.2g} standard deviations of the data, "
                f"made of {self.evaluations} evaluations of the model"
            )
        return lines


def emulate(result: FitResult, progress: Progress | None = None) -> Emulator:
    """Return the polynomial that replaces the model around the minimum of a fit, for more than one `sample` of it.

    Args:
      result: of a fit.
      progress: callback for messages.
    Raises:
      NotEmulated: none of `DEGREES` follows the model to `LARGEST_ERROR`.
      InputError: the data leave a parameter open, or the result has no model, because it comes from a file.
    """
    problem, best, scale = _whitened(with_scatter(result))
    bounds, n = problem.bounds, len(best)
    evaluations = 0

    def at(z: np.ndarray, solver: Solver | None) -> tuple[np.ndarray, np.ndarray] | None:
        """Return residuals and their derivatives by z; None where the model has no solution or a bound is passed."""
        nonlocal evaluations
        x = best + scale @ z
        if np.any(x < bounds[0]) or np.any(x > bounds[1]):
            return None
        evaluations += 1
        objective = problem.copy(solver=solver).objective() if alone is None else alone
        residuals = objective.residuals(x)
        if progress is not None:
            progress(f"emulator: evaluation {evaluations}")
        return (residuals, objective.jacobian(x) @ scale) if np.all(np.isfinite(residuals)) else None

    def seen_at(points: Sequence[np.ndarray]) -> list[tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]]:
        answers = tasks.run_batched((functools.partial(at, z) for z in points), problem.size)
        return [(z, answer) for z, answer in zip(points, answers, strict=True) if answer is not None]

    alone = problem.copy("posterior").objective() if problem.size == 1 else None
    seen = seen_at([np.zeros(n)])
    # Held-out points: whatever is fitted, they judge it.
    judges = seen_at(_ball(n, HELD_OUT, JUDGED * reach(n), seed=1))
    points = iter(_ball(n, 4096, reach(n), seed=0))
    worst = math.inf
    for degree in DEGREES:
        powers = np.array([p for p in itertools.product(range(degree + 1), repeat=n) if sum(p) <= degree])
        wanted = max(math.ceil(POINTS * len(powers) / (n + 1)), 2 * n + 1)
        while len(seen) < wanted:
            more = list(itertools.islice(points, wanted - len(seen)))
            if not more:
                raise NotEmulated("hardly any point of the posterior has a solution within the bounds; use profiles")
            seen += seen_at(more)
        coefficients = _hermite(seen, powers)
        emulator = Emulator(best, scale, powers, coefficients, math.nan, evaluations)
        errors = [np.max(np.abs(emulator.residuals(z) - answer[0])) for z, answer in judges]
        worst = float(max(errors, default=math.inf))
        if worst <= LARGEST_ERROR:
            return dataclasses.replace(emulator, error=worst)
    raise NotEmulated(
        f"the emulator is off by {worst:.2g} standard deviations of the data at degree {DEGREES[-1]}, at most "
        f"{LARGEST_ERROR:g} is allowed: the posterior is too wide for a polynomial; use profiles, or give priors"
    )


def _whitened(result: FitResult) -> tuple[Problem, np.ndarray, np.ndarray]:
    """Return the problem of a fit, and `best` and `scale` of an `Emulator`."""
    problem = result.require_problem()
    if result.left_open:
        raise InputError(
            f"posterior: the data leave {' and '.join(result.left_open)} open; fit fewer parameters, or give a prior"
        )
    best = problem.coordinates(result.values)
    return problem, best, np.linalg.cholesky(problem.in_coordinates(result.identifiability.covariance(), best))


def reach(n: int) -> float:
    """Return the radius of the ball that holds the part `HELD` of a Gaussian in n dimensions."""
    return float(np.sqrt(chi2.ppf(HELD, n)))


def _ball(n: int, count: int, radius: float, seed: int) -> list[np.ndarray]:
    """Draw points of a ball, evenly in its volume but for the middle, from a Sobol sequence."""
    with np.errstate(all="ignore"):
        uniform = qmc.Sobol(n + 1, seed=seed).random(2 ** math.ceil(math.log2(max(count, 2))))
    normal = qmc.scale(uniform, 1e-6, 1 - 1e-6)
    from scipy.special import ndtri

    direction = ndtri(normal[:, :n])
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    lengths = radius * normal[:, n] ** (1 / max(n, 1))
    return list((lengths[:, None] * direction)[:count])


def _hermite(seen: Sequence[tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]], powers: np.ndarray) -> np.ndarray:
    """Return coefficients of the polynomials that fit values and first derivatives best."""
    n = powers.shape[1]
    lines, targets = [], []
    for z, (residuals, jacobian) in seen:
        lines.append(np.prod(z**powers, axis=1)[None])
        targets.append(residuals[None])
        slopes = []
        for k in range(n):
            lower = powers.copy()
            lower[:, k] = np.maximum(lower[:, k] - 1, 0)
            slopes.append(powers[:, k] * np.prod(z**lower, axis=1))
        lines.append(np.array(slopes))
        targets.append(jacobian.T)
    return np.linalg.lstsq(np.concatenate(lines), np.concatenate(targets), rcond=None)[0]


def sample(
    result: FitResult,
    draws: int = 1000,
    *,
    chains: int = 4,
    warmup: int = 500,
    seed: int = 0,
    emulator: Emulator | None = None,
    model: Callable[[Mapping[str, Any]], Any] | None = None,
    keep: str | Path | None = None,
    progress: Progress | None = None,
) -> Posterior:
    """Draw from the posterior by NUTS.

    Args:
      result: of a fit.
      draws, chains, warmup, seed: of the sampler; draws are those of each chain.
      emulator: from `emulate`, of the same fit; None: made here.
      model: {name: value in SI units} to the values of the rows (rows,), in JAX and differentiable: sampled itself, in
        place of an emulator. `signals.evaluate.predict` makes one; chains are distributed over groups of accelerators.
      keep: file for the chains, from which a run that was stopped resumes; for one process at a time.
      progress: callback for messages.
    Raises:
      NotEmulated: see `emulate`.
      InputError: too few draws or chains; a model of other rows, or without a number at the minimum; chains that cannot
        be shared out over its accelerators; data of unknown polarity with a model; a parameter that the data leave
        open; a file that is in use, damaged, or that of other chains, such as those of another model,
        emulator or version.
      FileError: the file cannot be read or written.
      ImportError: numpyro is not installed.
      MemoryError: the chains do not fit.
    """
    require_numpyro()
    draws, chains, warmup, seed = whole_numbers(draws, chains, warmup, seed)
    import jax
    from numpyro.diagnostics import effective_sample_size, split_gelman_rubin

    began = time.perf_counter()
    problem, best, scale = _whitened(result)
    # Some way from the minimum, apart enough to tell chains that do not mix.
    starts = 0.5 * np.random.default_rng(seed).standard_normal((chains, len(best)))
    together = MANY if model is None else FEW
    kept = None
    if keep is not None:  # refused before any solve
        asked = (starts.tolist(), warmup, seed, together, problem.misfit.rows, problem.fixed, best.tolist())
        kept = KeptChains(keep, repr((*asked, scale.tolist(), problem.bounds.tolist(), result.noise_factor)))
    result = with_scatter(result)
    problem, best, scale = _whitened(result)
    if emulator is None and model is None:
        emulator = emulate(result, progress)
    if model is not None:
        model = _with_ties(model, result)
        in_clear_words(chains, _require_rows, problem, model, result)
    potential: Callable[[Any, Any], Any] = _emulated if model is None else _of_model(problem, best, scale, model)
    given = None if emulator is None or model is not None else _Density.of(problem, best, scale, emulator)
    drawn = draw(
        potential,
        starts,
        warmup,
        draws,
        given=given,
        seed=seed,
        together=together,
        apart=model is not None and jax.default_backend() == "cpu" and jax.device_count() == 1,
        keep=kept,
        progress=progress,
    )
    steps, x = int(np.sum(drawn.steps)), _within(best + drawn.z @ scale.T, scale, problem.bounds)[0]
    z = np.linalg.solve(scale, (x - best)[..., None])[..., 0]
    values = np.stack([np.vectorize(parameter.value)(x[..., k]) for k, parameter in enumerate(problem.free)], axis=-1)
    return Posterior(
        result.names,
        values,
        np.array([float(split_gelman_rubin(x[..., k])) for k in range(len(best))]),
        np.array([float(effective_sample_size(x[..., k])) for k in range(len(best))]),
        int(np.sum(drawn.diverging)),
        0.0 if model is not None else float(np.mean(np.sum(z**2, axis=-1) > reach(len(best)) ** 2)),
        None if emulator is None else emulator.error,
        steps if emulator is None else emulator.evaluations,
        steps / (chains * draws),
        time.perf_counter() - began,
    )


class _Density(NamedTuple):
    """What the density of an emulator depends on.

    Attributes:
      best, scale, powers, coefficients: of the `Emulator`.
      whiten: inverse of the scale.
      bounds: of the internal coordinates (2, n).
    """

    best: np.ndarray
    scale: np.ndarray
    powers: np.ndarray
    coefficients: np.ndarray
    whiten: np.ndarray
    bounds: np.ndarray

    @classmethod
    def of(cls, problem: Problem, best: np.ndarray, scale: np.ndarray, emulator: Emulator) -> _Density:
        """Return it of a fit, with `best` and `scale` of that fit, and of an emulator of the same fit."""
        return cls(best, scale, emulator.powers, emulator.coefficients, np.linalg.inv(scale), problem.bounds)


def _emulated(density: _Density, z: Any) -> Any:
    """Return minus the logarithm of the density of what `_within` makes of whitened coordinates, by an emulator."""
    import jax.numpy as jnp

    best, scale, powers, coefficients, whiten, bounds = density
    x, logarithm = _within(best + scale @ z, scale, bounds, jnp)
    z = whiten @ (x - best)
    residuals = polynomials(z, powers, coefficients, jnp)
    outside = jnp.maximum(jnp.sqrt(jnp.maximum(jnp.sum(z**2), 1e-30)) - reach(len(best)), 0.0)
    return 0.5 * jnp.sum(residuals**2) + 0.5 * SPRING * outside**2 - logarithm


def _of_model(
    problem: Problem, best: np.ndarray, scale: np.ndarray, model: Callable[[Mapping[str, Any]], Any]
) -> Callable[[None, Any], Any]:
    """Return the same by the model itself."""
    import jax.numpy as jnp

    def potential(_: None, z: Any) -> Any:
        x, logarithm = _within(best + scale @ z, scale, problem.bounds, jnp)
        return 0.5 * jnp.sum(_traced(problem, model, x) ** 2) - logarithm

    return potential


def _within(y: Any, scale: np.ndarray, bounds: np.ndarray, xp: Any = np) -> tuple[Any, Any]:
    """Return coordinates within bounds, for any y, and the logarithm of the Jacobian.

    A density that ends at a wall sends trajectories astray; this one falls off smoothly instead:
    x = lower + s softplus((y - lower)/s) - s softplus((y - upper)/s), s the standard deviation, which is y itself where
    no bound is near. dx/dy is, up to a factor, sigmoid((y - lower)/s) sigmoid((upper - y)/s).

    Args:
      y: coordinates (..., n).
      scale: as in `Emulator`.
      bounds: of x (2, n), which may be infinite.
      xp: numpy or jax.numpy.
    """
    s, ended = xp.linalg.norm(scale, axis=1), xp.isfinite(bounds)
    lower, upper = xp.where(ended, bounds, 0.0)

    def softplus(t: Any, ended: Any) -> Any:
        return xp.where(ended, xp.logaddexp(0.0, t), 0.0)

    # As softplus(t) = t + softplus(-t), the first two terms are y + s softplus((lower - y)/s).
    below, above = softplus((lower - y) / s, ended[0]), softplus((y - upper) / s, ended[1])
    return xp.clip(y + s * (below - above), *bounds), -xp.sum(below + above, axis=-1)  # rounding may lead beyond


def _with_ties(model: Callable[[Mapping[str, Any]], Any], result: FitResult) -> Callable[[Mapping[str, Any]], Any]:
    """Return a model that is given what was tied to others in the fit at its place, and gives an array."""
    import jax.numpy as jnp

    if result.following:
        ties = ", ".join(following.tie for following in result.following)
        raise InputError(f"posterior: got the tie {ties}, which a model of its own does not know; use the emulator")

    def tied(values: Mapping[str, Any]) -> Any:
        found = model(dict(values) | {name: factor * values[source] for name, factor, source in result.ties})
        if isinstance(found, Mapping):
            raise InputError(
                f"posterior: got a model that returns a {type(found).__name__}, expected the values of the "
                f"{len(result.rows)} rows, in their order; of `predict` such as [signals['thermal']['R2']['spin']]"
            )
        return jnp.asarray(found)

    return tied


def _require_rows(problem: Problem, model: Callable[[Mapping[str, Any]], Any], result: FitResult) -> None:
    """Refuse a model whose values are not those of the rows: at the minimum, those of the fit."""
    import jax

    rows = problem.misfit.rows
    if not all(row.polarity_known for row in rows):
        raise InputError("posterior: the model itself is sampled for data of known polarity alone; use the emulator")
    free = {name: fitted.value for name, fitted in result.parameters.items()}
    known = dict(problem.fixed) | free
    program = jax.jit(lambda values: model(known | values))
    try:
        shape = lenient(program.eval_shape)(free).shape
    except KeyError as error:
        raise InputError(f"posterior: the model asks for {error}, there is {', '.join(known)}") from None
    if shape != (len(rows),):
        raise InputError(f"posterior: got a model of shape {shape}, expected ({len(rows)},), a value for each row")
    values = np.asarray(lenient(program)(free))
    apart = np.abs(values - result.after) / problem.misfit.stds
    k = int(np.argmax(apart))
    if apart[k] > ELSEWHERE:  # NaN, which `draw` refuses, compares as false
        raise InputError(
            f"posterior: {rows[k].label} {rows[k].signal}: got {values[k]:.4g} from the model at the minimum of the "
            f"fit, which has {result.after[k]:.4g}, {apart[k]:.2g} standard deviations apart, expected at most "
            f"{ELSEWHERE:g}; "
            "give the values of the rows, in their order and in SI units, or fit on the grid of the model first"
        )


def _traced(problem: Problem, model: Callable[[Mapping[str, Any]], Any], x: Any) -> Any:
    """Return residuals of the model itself, in JAX."""
    values = {parameter.name: parameter.traced(x[k]) for k, parameter in enumerate(problem.free)}
    return traced_residuals(problem.misfit, model(dict(problem.fixed) | values), values)


def traced_residuals(misfit: Misfit, signals: Any, values: Mapping[str, Any]) -> Any:
    """Return `Misfit.residuals` in JAX, for data whose signs are known."""
    import jax.numpy as jnp

    measured = np.array([row.value for row in misfit.rows])
    of_priors = [(values[name] - prior.mean) / prior.std for name, prior in misfit.priors.items() if name in values]
    return jnp.concatenate([misfit.whitening() @ (signals - measured), jnp.array(of_priors)])


def agreement(result: FitResult, posterior: Posterior) -> list[str]:
    """Say whether standard deviations by covariance and by posterior agree within Monte Carlo error, line by line."""
    lines = []
    for k, (name, parameter) in enumerate(with_scatter(result).parameters.items()):
        # The standard deviation of a standard deviation from this number of draws of a Gaussian.
        error = 4 / math.sqrt(2 * posterior.effective[k])
        ratio = posterior.stds[k] / parameter.std
        words = "agree" if abs(ratio - 1) <= error else "differ: the posterior is no Gaussian"
        lines.append(
            f"{name}: std by covariance {quantity(name, parameter.std)}, "
            f"of the posterior {ratio:.3f} times that, {words}"
        )
    return lines
