"""Rival models: data of one are attributed to it, an error of the model is found, devices change as they are told."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from thermospin.data.rows import Row
from thermospin.device.reader import load
from thermospin.inference import rivals
from thermospin.inference.minimisers import LeastSquares, minimise
from thermospin.inference.misfit import pulls
from thermospin.inference.parameters import Parameter
from thermospin.inference.predictors import Predict
from thermospin.inference.result import FitResult
from thermospin.inference.rivals import Comparison

X = np.linspace(0.5, 2.0, 12)


def power(exponent: float) -> Predict:
    """a x^exponent."""

    def predict(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        return parameters["a.S"] * X**exponent, np.tile(X[:, None] ** exponent, len(names))

    return predict


def fitted(exponent: float, rows: Sequence[Row]) -> FitResult:
    return minimise(LeastSquares(), [power(exponent)], rows, [Parameter("a.S", 1.0)])


def data(scatter: Callable[[np.random.Generator], np.ndarray], std: float = 0.05, seed: int = 0) -> list[Row]:
    values = 2 * X**2 + scatter(np.random.default_rng(seed))
    return [Row("x", "R2.P", float(value), std) for value in values]


def test_data_of_one_model_are_attributed_to_it() -> None:
    rows = data(lambda rng: 0.05 * rng.standard_normal(12))
    found = Comparison({"straight": fitted(1, rows), "square": fitted(2, rows), "nearly": fitted(2.005, rows)})
    words = "\n".join(found.words())
    assert "do not tell" in words and "square" in words and "nearly" in words
    assert "The data speak clearly against straight." in words
    assert "a.S differs by" in words and "do not ask for an error of the model" not in words
    gaps = {label: each["aic"] for label, each in found.to_json().items()}
    assert min(gaps, key=lambda label: gaps[label]) != "straight"


def test_an_error_of_the_model_is_found_and_not_made_up() -> None:
    """20 data sets with errors of 20 % beside noise of 1 %: the mean is known to 20 %/sqrt(2*11*20)."""
    sizes = []
    for seed in range(20):
        rows = data(lambda rng: 2 * X**2 * 0.2 * rng.standard_normal(12), std=0.01, seed=seed)
        even = [Row("x", "R2.P", row.value, 2 * x**2) for row, x in zip(rows, X, strict=True)]
        free = fitted(2, even)
        # A fit that weighs the rows as the errors do; the noise that the discrepancy starts from is 1 %.
        own = dataclasses.replace(free, rows=tuple(rows), pulls=pulls(free.after, rows))
        found = rivals.discrepancy(own)
        sizes.append(found.size)
        assert found.gain > 10 and "would explain the residuals" in found.words()
    assert np.mean(sizes) == pytest.approx(0.2, rel=0.15)
    clean = [rivals.discrepancy(fitted(2, data(lambda rng: 0.05 * rng.standard_normal(12), seed=s))) for s in range(20)]
    assert sum(each.gain < 0 for each in clean) > 12


def test_devices_change_as_they_are_told() -> None:
    device = load("slachter2010")
    changed = rivals.rival(device, "wiedemann-franz")
    for name, each in changed.materials.items():
        own = device.materials[name]
        if each.is_metal:
            # Literature of the paper's table at 300 K: 312 W/(m K) for Cu of 4.26e7 S/m.
            assert each.kappa == pytest.approx(rivals.LORENZ * own.sigma * 300)
        else:
            assert each.kappa == own.kappa
    assert changed.materials["Cu"].kappa == pytest.approx(312, rel=0.01)
    thin = rivals.rival(device, "z = 15 nm - 3 nm")
    assert rivals.rival(device, "z = 15 - 3") == thin, "in the length_unit of its file"
    (low, high) = thin.solid("FM1").box[2]
    assert (low, high) == pytest.approx((0.0, 12e-9))
    assert thin.solid("Cu_on_FM1").box[2] == pytest.approx((12e-9, 72e-9))
    assert thin.solid("FM1").box[0] == device.solid("FM1").box[0]
    wide = rivals.rival(device, "x = 100 nm + 300 nm")
    assert wide.solid("FM2").box[0] == pytest.approx((400e-9, 440e-9))


@pytest.mark.parametrize("text", ["oxidised", "z = 15 nm", "z = 15 - 3 K", "w = 15 nm - 3 nm"])
def test_a_rival_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        rivals.rival(load("slachter2010"), text)


def test_a_bare_length_is_refused_where_the_device_has_no_unit() -> None:
    device = dataclasses.replace(load("slachter2010"), length_unit=None)
    with pytest.raises(ValueError, match="which has no unit"):
        rivals.rival(device, "z = 15 - 3")
