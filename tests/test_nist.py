"""The fitter against certified results: NIST Statistical Reference Datasets, nonlinear regression, from both starts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thermospin.data.rows import Row
from thermospin.inference.minimisers import LeastSquares, minimise
from thermospin.inference.parameters import Parameter
from thermospin.inference.predictors import Predict

SETS = json.loads((Path(__file__).parent / "nist_strd.json").read_text(encoding="utf-8"))["sets"]


def _cubic(b: Any, x: Any) -> Any:
    return (b[0] + b[1] * x + b[2] * x**2 + b[3] * x**3) / (1 + b[4] * x + b[5] * x**2 + b[6] * x**3)


def _gauss(b: Any, x: Any) -> Any:
    peaks = sum(b[k] * jnp.exp(-(((x - b[k + 1]) / b[k + 2]) ** 2)) for k in (2, 5))
    return b[0] * jnp.exp(-b[1] * x) + peaks


def _lanczos(b: Any, x: Any) -> Any:
    return sum(b[k] * jnp.exp(-b[k + 1] * x) for k in (0, 2, 4))


def _enso(b: Any, x: Any) -> Any:
    angle = 2 * jnp.pi * x
    waves = [(12.0, b[1], b[2]), (b[3], b[4], b[5]), (b[6], b[7], b[8])]
    return b[0] + sum(c * jnp.cos(angle / period) + s * jnp.sin(angle / period) for period, c, s in waves)


MODELS: dict[str, Callable[[Any, Any], Any]] = {
    "Bennett5": lambda b, x: b[0] * (b[1] + x) ** (-1 / b[2]),
    "BoxBOD": lambda b, x: b[0] * (1 - jnp.exp(-b[1] * x)),
    "Chwirut1": lambda b, x: jnp.exp(-b[0] * x) / (b[1] + b[2] * x),
    "DanWood": lambda b, x: b[0] * x ** b[1],
    "ENSO": _enso,
    "Eckerle4": lambda b, x: b[0] / b[1] * jnp.exp(-0.5 * ((x - b[2]) / b[1]) ** 2),
    "Gauss1": _gauss,
    "Hahn1": _cubic,
    "Kirby2": lambda b, x: (b[0] + b[1] * x + b[2] * x**2) / (1 + b[3] * x + b[4] * x**2),
    "Lanczos1": _lanczos,
    "MGH09": lambda b, x: b[0] * (x**2 + x * b[1]) / (x**2 + x * b[2] + b[3]),
    "MGH10": lambda b, x: b[0] * jnp.exp(b[1] / (x + b[2])),
    "MGH17": lambda b, x: b[0] + b[1] * jnp.exp(-x * b[3]) + b[2] * jnp.exp(-x * b[4]),
    "Misra1a": lambda b, x: b[0] * (1 - jnp.exp(-b[1] * x)),
    "Misra1b": lambda b, x: b[0] * (1 - (1 + b[1] * x / 2) ** -2),
    "Misra1c": lambda b, x: b[0] * (1 - (1 + 2 * b[1] * x) ** -0.5),
    "Misra1d": lambda b, x: b[0] * b[1] * x / (1 + b[1] * x),
    "Nelson": lambda b, x: b[0] - b[1] * x[:, 0] * jnp.exp(-b[2] * x[:, 1]),
    "Rat42": lambda b, x: b[0] / (1 + jnp.exp(b[1] - b[2] * x)),
    "Rat43": lambda b, x: b[0] / (1 + jnp.exp(b[1] - b[2] * x)) ** (1 / b[3]),
    "Roszman1": lambda b, x: b[0] - b[1] * x - jnp.arctan(b[2] / (x - b[3])) / jnp.pi,
    "Thurber": _cubic,
}
SAME = {"Chwirut2": "Chwirut1", "Gauss2": "Gauss1", "Gauss3": "Gauss1", "Lanczos2": "Lanczos1", "Lanczos3": "Lanczos1"}


def problem(name: str) -> tuple[Predict, list[Row], list[str]]:
    """Model, data with std 1 and names of the parameters, as linear and unbounded ones."""
    data = SETS[name]
    x, y = np.array(data["x"]), np.array(data["y"])
    y = np.log(y) if name == "Nelson" else y
    model = MODELS[SAME.get(name, name)]
    names = [f"b{k}.S" for k in range(1, len(data["certified"]) + 1)]
    both = jax.jit(lambda b: (model(b, x), jax.jacfwd(model)(b, x)))

    def predict(parameters: Mapping[str, float], wanted: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        values, jacobian = both(jnp.array([parameters[each] for each in names]))
        return np.array(values), np.array(jacobian)[:, [names.index(each) for each in wanted]]

    return predict, [Row("nist", "R1.P", float(value), 1.0) for value in y], names


@pytest.mark.parametrize("start", ["start1", "start2"])
@pytest.mark.parametrize("name", SETS)
def test_certified_values_come_out(name: str, start: str) -> None:
    """Six digits of the values, and four of the standard deviations, which are those of the scatter.

    Lanczos1 and 2 are made without or nearly without noise: their standard deviations are those of round-off.
    """
    data = SETS[name]
    predict, rows, names = problem(name)
    free = [Parameter(each, value) for each, value in zip(names, data[start], strict=True)]
    result = minimise(LeastSquares(max_evaluations=3000), [predict], rows, free, rescaled=True, tolerance=1e-15)
    found = np.array([each.value for each in result.parameters.values()])
    stds = np.array([each.std for each in result.parameters.values()])
    np.testing.assert_allclose(found, data["certified"], rtol=5e-7)
    if not name.startswith("Lanczos1"):
        np.testing.assert_allclose(stds, data["std"], rtol=1e-4)
        assert result.chi2 == pytest.approx(data["rss"], rel=1e-6)
