"""A fit of a made-up linear model, which needs no device and no solve."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from thermospin.data.rows import Row
from thermospin.inference.minimisers import LeastSquares, minimise
from thermospin.inference.parameters import Parameter
from thermospin.inference.result import FitResult

NAMES = ("zeta", "Py.S_s")
MATRIX = np.array([[1.0, 0.3e5], [0.2, 1.0e5], [0.5, -0.4e5]])


def linear(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    columns = {name: MATRIX[:, k] for k, name in enumerate(NAMES)} | {"Au.kappa": np.array([1e-3, 0.0, 1e-3])}
    values = np.array(sum(parameters[name] * column for name, column in columns.items()))
    return values, np.array([columns[name] for name in names]).reshape(len(names), -1).T


def linear_fit() -> FitResult:
    data = [
        Row("thermal", f"R2.{part}", value, std)
        for part, value, std in (("spin", 1.3, 0.1), ("baseline", 0.6, 0.2), ("P", 0.9, 0.1))
    ]
    free = [Parameter("zeta", 1.0), Parameter("Py.S_s", -3e-6)]
    found = minimise(LeastSquares(), [linear], data, free, {"Au.kappa": 300.0})
    return dataclasses.replace(found, grid_stds=np.array([0.05, 0.01, 0.02]))
