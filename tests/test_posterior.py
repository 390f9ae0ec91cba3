"""Draws against exact posteriors, emulators against what they stand for, and what is refused.

Programs of the sampler are made for a number of warm-up steps and of chains: tests have the same ones where they can.
"""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jax.errors import JaxRuntimeError
from scipy.stats import truncnorm

from thermospin.base import files
from thermospin.base.errors import FileError, InputError
from thermospin.data.rows import Row
from thermospin.inference import journal, nuts, posterior
from thermospin.inference.minimisers import LeastSquares, minimise
from thermospin.inference.misfit import Misfit, Prior
from thermospin.inference.parameters import Parameter
from thermospin.inference.predictors import Predict
from thermospin.inference.result import FitResult

pytest.importorskip("numpyro")

NAMES = ("a.S", "b.S")
MATRIX = np.array([[1.0, 0.3], [0.2, 1.0], [0.5, -0.4], [1.0, 1.0]])
ROWS = tuple(
    Row("x", "R1.P", value, std) for value, std in zip((1.3, 1.4, 0.2, 2.1), (0.1, 0.2, 0.1, 0.3), strict=True)
)


def linear(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    columns = {name: MATRIX[:, k] for k, name in enumerate(NAMES)}
    values = np.array(sum(parameters[name] * column for name, column in columns.items()))
    return values, np.array([columns[name] for name in names]).reshape(len(names), -1).T


def fitted(predict: Predict = linear, rows: Sequence[Row] = ROWS, start: float = 1.1, **options: Any) -> FitResult:
    free = [Parameter(name, start, options.pop(name[0], None)) for name in NAMES]
    return minimise(LeastSquares(), [predict], Misfit(rows, **options), free)


def test_draws_of_a_gaussian_posterior_have_its_moments() -> None:
    """Means within 4 standard errors, standard deviations and correlation within 4 of theirs."""
    result = fitted(priors={"a.S": Prior(1.0, 0.2)})
    found = posterior.sample(result, draws=1000, warmup=300, seed=3)
    assert found.converged and found.emulator_error is not None and found.emulator_error < 1e-6
    deviation = np.sqrt(np.diag(result.covariance))
    best = np.array([each.value for each in result.parameters.values()])
    assert np.all(np.abs(found.means - best) < 4 * deviation / np.sqrt(found.effective))
    assert np.all(np.abs(found.stds / deviation - 1) < 4 / np.sqrt(2 * found.effective))
    flat = found.draws.reshape(-1, 2)
    r = result.correlation[0, 1]
    assert np.corrcoef(flat.T)[0, 1] == pytest.approx(r, abs=4 * (1 - r**2) / math.sqrt(min(found.effective)))
    low, high = found.interval()
    np.testing.assert_allclose(high - low, 2 * deviation, rtol=0.1)
    assert all("agree" in line for line in posterior.agreement(result, found))
    assert np.any(np.abs(found.stds / np.sqrt(np.diag(fitted().covariance)) - 1) > 0.05), "the prior counts"
    assert found.to_json()["converged"] and "converged (R-hat" in found.words()[2]


def test_the_model_itself_can_be_sampled() -> None:
    """With a parameter tied to another one, which the fit gives it and no chain."""
    result = dataclasses.replace(fitted(), ties=(("c.S", -2.0, "b.S"),))

    def model(values: Mapping[str, Any]) -> Any:
        import jax.numpy as jnp

        return jnp.asarray(MATRIX) @ jnp.array([values["a.S"], values["c.S"] / -2.0])

    found = posterior.sample(result, draws=500, warmup=300, model=model)
    deviation = np.sqrt(np.diag(result.covariance))
    assert found.emulator_error is None and found.evaluations > 2000
    assert np.all(np.abs(found.stds / deviation - 1) < 4 / np.sqrt(2 * found.effective))


def test_chains_that_run_apart_are_those_of_one_program() -> None:
    """To rounding: a program for all of them adds in another order."""
    metric = np.array([[2.0, 0.5], [0.5, 1.0]])

    def potential(_: None, z: Any) -> Any:
        return 0.5 * z @ metric @ z

    starts = np.array([[0.3, -0.2], [1.0, 0.5], [-0.7, 0.1]])
    apart, together = (nuts.draw(potential, starts, 10, 10, together=5, apart=apart) for apart in (True, False))
    np.testing.assert_allclose(apart.z, together.z, rtol=1e-6)
    np.testing.assert_array_equal(apart.steps, together.steps)
    assert apart.z.shape == (3, 10, 2) and np.all(np.ptp(apart.z, axis=1) > 0)


def test_emulators_of_the_same_shapes_share_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is sampled without a trace of the density; of a linear model, as far from its minimum as the first.

    To the rounding that trajectories of 25 steps amplify.
    """
    options: dict[str, Any] = {"draws": 20, "warmup": 5}
    result = fitted()
    first = posterior.sample(result, **options)
    monkeypatch.setattr(posterior, "polynomials", lambda z, powers, values: np.prod(z**powers, axis=-1) @ values)
    moved = fitted(rows=[dataclasses.replace(row, value=2 * row.value) for row in ROWS])
    second = posterior.sample(moved, **options)
    away = [draws.draws - list(of.values.values()) for draws, of in ((first, result), (second, moved))]
    np.testing.assert_allclose(away[1], away[0], rtol=0, atol=1e-6 * np.abs(away[0]).max())
    assert np.all(np.ptp(away[0], axis=1) > 0) and np.all(np.abs(second.means - first.means) > 0.5)


@pytest.mark.parametrize("lower, upper", [(1.0, np.inf), (-np.inf, 0.5), (-0.5, 0.5)])
def test_bounds_cut_the_posterior(lower: float, upper: float) -> None:
    """So many standard deviations from the best value without bounds: moments of a Gaussian that is cut are known."""
    free = fitted().parameters["a.S"]
    best, std = free.value, free.std
    cut = fitted(a=(best + lower * std, best + upper * std), start=best + std * min(max(lower + 0.1, 0.0), upper))
    assert cut.parameters["a.S"].at_bound == ("lower" if lower > 0 else None)
    found = posterior.sample(cut, draws=500, warmup=300, seed=1)
    assert found.converged and found.divergences == 0
    assert found.draws[..., 0].min() >= best + lower * std and found.draws[..., 0].max() <= best + upper * std
    exact = truncnorm(lower, upper, best, std)
    assert found.means[0] == pytest.approx(exact.mean(), abs=4 * exact.std() / math.sqrt(found.effective[0]))
    # Of a standard deviation: sqrt((kurtosis - 1)/4n), kurtosis 9 of an exponential at most.
    assert found.stds[0] == pytest.approx(exact.std(), rel=4 * math.sqrt(2 / found.effective[0]))


def test_a_rescaled_fit_has_a_rescaled_posterior() -> None:
    """The standard deviations are those of the fit, which knows how the data scatter, within 4 of their errors."""
    wild = [dataclasses.replace(row, std=row.std / 3) for row in ROWS]
    free = [Parameter(name, 1.1) for name in NAMES]
    result = minimise(LeastSquares(), [linear], wild, free, rescaled=True)
    assert result.noise_factor > 2
    found = posterior.sample(result, draws=500, warmup=300)
    assert np.all(np.abs(found.stds / np.sqrt(np.diag(result.covariance)) - 1) < 4 / np.sqrt(2 * found.effective))
    assert all("agree" in line for line in posterior.agreement(result, found))


def curved(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """a, a b^2 and b."""
    a, b = (parameters[name] for name in NAMES)
    slopes = {"a.S": [1.0, b**2, 0.0], "b.S": [0.0, 2 * a * b, 1.0]}
    return np.array([a, a * b**2, b]), np.array([slopes[name] for name in names]).reshape(len(names), 3).T


def test_the_error_of_an_emulator_is_measured_and_its_degree_grows() -> None:
    data = [Row("x", "R1.P", value, 0.3) for value in (1.0, 4.0, 2.0)]
    found = posterior.emulate(fitted(curved, data))
    # A cubic model: exact at degree 3, not at 2.
    assert found.error < 1e-9 and np.max(np.sum(found.powers, axis=1)) == 3
    z = np.array([0.7, -1.1])
    values = 1.1 * (found.best + found.scale @ z)  # coordinates are in units of the start
    residuals = (curved(dict(zip(NAMES, values, strict=True)), NAMES)[0] - [1.0, 4.0, 2.0]) / 0.3
    np.testing.assert_allclose(found.residuals(z), residuals, rtol=1e-9)


def test_a_model_that_no_polynomial_follows_is_refused() -> None:
    def wiggly(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        a, b = (parameters[name] for name in NAMES)
        slopes = {"a.S": [1.0, 50 * math.cos(50 * a), 0.0], "b.S": [0.0, 0.0, 1.0]}
        return np.array([a, math.sin(50 * a), b]), np.array([slopes[name] for name in names]).reshape(len(names), 3).T

    # Where the sine is flat it fixes nothing, and the posterior spans many of its periods.
    flat = 16.5 * math.pi / 50
    data = [Row("x", "R1.P", value, 0.3) for value in (flat, 1.0, 2.0)]
    with pytest.raises(posterior.NotEmulated, match="off by .* standard deviations of the data at degree 4"):
        posterior.emulate(fitted(wiggly, data, start=flat))


def test_chains_that_are_too_short_are_not_called_converged() -> None:
    found = posterior.sample(fitted(), draws=20, warmup=5)
    assert not found.converged and "NOT converged" in found.words()[2]
    few, astray = (dataclasses.replace(found, divergences=count) for count in (0, 20))
    assert "give more draws, such as 200, until at least 400 are effective" in few.words()
    assert any("trajectories went astray" in line and "use profiles, or give priors" in line for line in astray.words())


def test_chains_that_were_stopped_go_on_to_the_same_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the warm-up, whose state is kept, too: every bit is as without."""
    monkeypatch.setattr(posterior, "MANY", 30)
    options: dict[str, Any] = {"draws": 60, "warmup": 50}
    emulator = posterior.emulate(fitted())
    whole = posterior.sample(fitted(), emulator=emulator, **options)
    path, written, write = tmp_path / "chains", [0], nuts.write_arrays

    def stopped(*arguments: Any) -> None:
        write(*arguments)
        written[0] += 1
        if written[0] == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(nuts, "write_arrays", stopped)
    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        posterior.sample(fitted(), emulator=emulator, keep=path, **options)
    found = posterior.sample(fitted(), emulator=emulator, keep=path, progress=told.append, **options)
    np.testing.assert_array_equal(found.draws, whole.draws)
    assert found.steps == whole.steps and found.draws.shape == (4, 60, 2) and np.ptp(found.draws) > 0
    assert written == [4] and told[0] == "NUTS: 4 chains, step 30 of 50 + 60"
    with pytest.raises(ValueError, match="got chains of another posterior, expected the chains of this run"):
        posterior.sample(fitted(start=1.2), emulator=emulator, keep=path, seed=1, **options)
    halved = dataclasses.replace(emulator, coefficients=0.5 * emulator.coefficients)
    with pytest.raises(ValueError, match="got chains of another posterior, expected the chains of this run"):
        posterior.sample(fitted(), emulator=halved, keep=path, **options)
    # What the tolerance of solves moves is no other emulator.
    again = dataclasses.replace(emulator, coefficients=(1 + 1e-9) * emulator.coefficients)
    found = posterior.sample(fitted(), emulator=again, keep=path, **options)
    np.testing.assert_array_equal(found.draws, whole.draws)
    path.write_bytes(path.read_bytes()[:-9] + b"something")
    with pytest.raises(ValueError, match="is damaged, or no such file; remove it to begin anew"):
        posterior.sample(fitted(), emulator=emulator, keep=path, **options)


#: A run of one chain that stops in the middle until it is told to go on.
OTHER = """
import sys
sys.path.insert(0, sys.argv[1])
import test_posterior
from thermospin.inference import posterior

def wait(text):
    if text.startswith("NUTS"):
        print("draws", flush=True)
        sys.stdin.readline()

posterior.sample(test_posterior.fitted(), 20, chains=1, warmup=5, keep=sys.argv[2], progress=wait)
"""


def test_a_file_of_chains_is_for_one_process_at_a_time(tmp_path: Path) -> None:
    """Refused before anything is solved, and as soon as the other one has ended its chains are there."""
    pytest.importorskip("fcntl")
    path, told = tmp_path / "chains.npz", list[str]()
    options: dict[str, Any] = {"draws": 20, "warmup": 5, "chains": 1, "progress": told.append}
    command = [sys.executable, "-c", OTHER, str(Path(__file__).parent), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None
        assert other.stdout.readline() == "draws\n"
        with pytest.raises(
            InputError, match=r"chains.npz: another process uses it; wait until that has ended, or give"
        ):
            posterior.sample(fitted(), keep=path, **options)
        assert not told and not path.exists()
        other.stdin.write("go on\n")
        other.stdin.close()
        assert other.wait() == 0
    found = posterior.sample(fitted(), keep=path, **options)
    assert not any(text.startswith("NUTS") for text in told), "all draws are those of the other process"
    np.testing.assert_allclose(found.draws, posterior.sample(fitted(), **options).draws, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        (".", FileError, "Cannot write '.*': it is a folder; add a file name"),
        ("none/chains.npz", FileError, "Cannot write '.*chains.npz': there is no folder '.*none'; create it first"),
        ("closed/chains.npz", FileError, "its folder '.*closed' cannot be written; give another one"),
        ("text", InputError, "text: is damaged, or no such file; remove it to begin anew"),
        (
            "other",
            InputError,
            "other: got chains of another posterior, expected the chains of this run; give another file, or remove it",
        ),
    ],
)
def test_a_file_that_chains_cannot_be_kept_in_is_refused_before_any_solve(
    name: str, error: type[Exception], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may, told = os.access, list[str]()
    (tmp_path / "closed").mkdir()
    (tmp_path / "text").write_text("my notes, which are longer than a checksum of 32 bytes")
    options: dict[str, Any] = {"draws": 20, "warmup": 5, "chains": 1}
    if name == "other":
        posterior.sample(fitted(start=1.2), keep=tmp_path / "other", **options)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed" and may(path, mode))
    with pytest.raises(error, match=words):
        posterior.sample(fitted(), keep=tmp_path / name, progress=told.append, **options)
    assert not told


@pytest.mark.parametrize("without", [False, True])
def test_chains_of_another_version_are_refused_and_left_alone(
    without: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As journals are; files of before have a checksum of the question for a head, and no version."""
    path, options = tmp_path / "chains", {"draws": 5, "warmup": 5, "chains": 1}
    version = "0.1.0 or before" if without else "0.0.9"
    monkeypatch.setattr(journal, "__version__", "0.0.9")
    posterior.sample(fitted(), keep=path, **options)
    if without:
        head, arrays = files.read_arrays(path)
        files.write_arrays(path, head["thermospin chains"], arrays)
    before = path.read_bytes()
    monkeypatch.setattr(journal, "__version__", "0.1.0")
    words = f"chains: got chains of version {version}, expected the chains of this run, of version 0.1.0; give another"
    with pytest.raises(InputError, match=words):
        posterior.sample(fitted(), keep=path, **options)
    assert path.read_bytes() == before


def of_rows(values: Mapping[str, Any], matrix: np.ndarray = MATRIX) -> Any:
    import jax.numpy as jnp

    return jnp.asarray(matrix) @ jnp.array([values[name] for name in NAMES])


def test_chains_of_another_model_are_refused(tmp_path: Path) -> None:
    """Whose values are one standard deviation off in a row: no fault, but another posterior."""
    options: dict[str, Any] = {"draws": 5, "warmup": 5, "chains": 2, "keep": tmp_path / "chains"}
    first = posterior.sample(fitted(), model=of_rows, **options)
    np.testing.assert_array_equal(posterior.sample(fitted(), model=of_rows, **options).draws, first.draws)
    off = np.array([0.0, 0.0, ROWS[2].std, 0.0])
    with pytest.raises(InputError, match="got chains of another posterior, expected the chains of this run"):
        posterior.sample(fitted(), model=lambda values: of_rows(values) + off, **options)


def test_a_model_may_return_a_list_of_its_rows() -> None:
    options: dict[str, Any] = {"draws": 5, "warmup": 5, "chains": 2}
    wanted = posterior.sample(fitted(), model=of_rows, **options).draws
    for kind in (list, tuple):
        found = posterior.sample(fitted(), model=lambda values, kind=kind: kind(of_rows(values)), **options).draws
        np.testing.assert_array_equal(found, wanted)
    words = (
        "posterior: got a model that returns a dict, expected the values of the 4 rows, in their order; of `predict`"
    )
    with pytest.raises(InputError, match=f"^{words}"):
        posterior.sample(fitted(), model=lambda values: {"x": of_rows(values)}, **options)


def test_chains_go_on_with_a_model_whose_solves_are_less_exact_without_a_gradient(tmp_path: Path) -> None:
    """As those of `predict` are: half a standard deviation here, nothing with a gradient, which the chains ask for."""
    import jax

    @jax.custom_jvp
    def solved(values: Any) -> Any:
        return values + 0.05

    solved.defjvp(lambda primals, tangents: (primals[0], tangents[0]))
    options: dict[str, Any] = {"draws": 5, "warmup": 5, "chains": 2, "keep": tmp_path / "chains"}
    first, again = (posterior.sample(fitted(), model=lambda v: solved(of_rows(v)), **options) for _ in range(2))
    np.testing.assert_array_equal(first.draws, again.draws)


def test_a_model_of_other_rows_is_refused() -> None:
    """Rows 3 and 4 swapped: at the minimum they have 0.119 and 2.063, 19 standard deviations of row 3, 0.1, apart."""
    with pytest.raises(InputError) as caught:
        posterior.sample(fitted(), draws=5, warmup=5, model=lambda values: of_rows(values, MATRIX[[0, 1, 3, 2]]))
    found = str(caught.value)
    assert found.startswith("posterior: x R1.P: got 2.063 from the model at the minimum of the fit, which has 0.1193")
    assert "19 standard deviations apart" in found and len(found.splitlines()) == 1, found
    assert "expected at most 10; give the values of the rows, in their order and in SI units" in found, found


def test_data_without_signs_are_no_matter_of_the_model_itself() -> None:
    blind = [dataclasses.replace(row, polarity_known=False) for row in ROWS]
    with pytest.raises(InputError, match="sampled for data of known polarity alone; use the emulator"):
        posterior.sample(fitted(rows=blind), draws=5, model=of_rows)


def test_a_parameter_that_the_data_leave_open_is_refused() -> None:
    def only_a(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        return np.array([parameters["a.S"]] * 2), np.array([[name == "a.S" for name in names]] * 2, float)

    with pytest.raises(ValueError, match="the data leave b.S open"):
        posterior.emulate(fitted(only_a, ROWS[:2]))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"draws": 3}, "posterior: draws: got 3, expected a whole number of at least 4"),
        ({"draws": 10.5}, "posterior: draws: got 10.5, expected a whole number"),
        ({"chains": 0}, "posterior: chains: got 0, expected a whole number of at least 1"),
        ({"warmup": -1}, "posterior: warmup: got -1, expected a whole number of at least 0"),
        ({"chains": True}, "posterior: chains: got True, expected a whole number of at least 1"),
        ({"seed": -1}, "posterior: seed: got -1, expected a whole number from 0 to 9223372036854775807"),
        ({"seed": 1.5}, "posterior: seed: got 1.5, expected a whole number from 0"),
        ({"seed": 2**70}, "posterior: seed: got 1180591620717411303424, expected a whole number from 0"),
        (
            {"model": lambda values: np.zeros(3)},
            "posterior: got a model of shape (3,), expected (4,), a value",
        ),
        ({"model": lambda values: values["zeta"]}, "posterior: the model asks for 'zeta', there is a.S, b.S"),
        (
            {"model": lambda values: np.full(4, np.nan)},
            "posterior: 4 of 4 chains have nowhere to start: the model",
        ),
    ],
)
def test_what_cannot_be_sampled_is_told_in_one_line(wrong: dict[str, Any], words: str) -> None:
    if "model" in wrong:
        make = wrong["model"]
        wrong = {"model": lambda values: np.asarray(make(values)) + 0 * values["a.S"]}
    with pytest.raises(InputError) as caught:
        posterior.sample(fitted(), **{"draws": 20, "warmup": 5, **wrong})
    assert str(caught.value).startswith(words) and len(str(caught.value).splitlines()) == 1, str(caught.value)


def test_wrong_numbers_are_refused_before_the_emulator_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posterior, "emulate", None)
    with pytest.raises(InputError, match="posterior: seed: got -1"):
        posterior.sample(fitted(), draws=20, seed=-1)


def test_whole_numbers_of_numpy_draw_as_those_of_python() -> None:
    emulator = posterior.emulate(fitted())
    numbers = {"draws": 20, "chains": 4, "warmup": 5, "seed": 4}
    one, other = (
        posterior.sample(fitted(), emulator=emulator, **{name: kind(n) for name, n in numbers.items()})
        for kind in (int, np.int64)
    )
    np.testing.assert_array_equal(one.draws, other.draws)


def test_chains_begin_at_a_bound_that_the_fit_ends_at() -> None:
    free = fitted()
    best, std = free.parameters["a.S"].value, free.parameters["a.S"].std
    cut = fitted(a=(best + std, 10.0), start=best + 2 * std)
    own = cut.parameters["a.S"]
    assert own.at_bound == "lower"
    cut = dataclasses.replace(cut, parameters={**cut.parameters, "a.S": dataclasses.replace(own, value=own.lower)})
    found = posterior.sample(cut, draws=60, warmup=300)
    assert found.draws[..., 0].min() >= best + std and np.all(np.ptp(found.draws, axis=1) > 0), "every chain moves"


def test_failures_of_xla_are_told_in_one_line() -> None:
    def uneven() -> None:
        raise ValueError("Cannot lower\n operand dimension size 3 is not divisible by the manual axes size 2\n at x")

    with pytest.raises(InputError, match="3 chains cannot be shared out over the 2 groups .* a multiple of 2"):
        nuts.in_clear_words(3, uneven)

    def full() -> None:
        raise JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 320000001792 bytes.")

    with pytest.raises(MemoryError, match="out of memory with 1 chains of the model side by side: give fewer chains"):
        nuts.in_clear_words(1, full)

    def other() -> None:
        raise ValueError("another fault")

    with pytest.raises(ValueError, match="another fault"):
        nuts.in_clear_words(1, other)


def test_a_numpyro_that_cannot_be_imported_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpyro.infer", None)
    with pytest.raises(ImportError, match="a posterior needs numpyro, which .*: pip install 'thermospin"):
        posterior.sample(fitted())
