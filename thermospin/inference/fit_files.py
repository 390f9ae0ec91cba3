"""Results of fits from their files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from thermospin.base.files import read_json, understood
from thermospin.data.rows import Row
from thermospin.inference.identifiability import Identifiability
from thermospin.inference.misfit import pulls
from thermospin.inference.parameters import size_of
from thermospin.inference.result import FitResult, Fitted, Following

#: What a file of a fit is, for messages.
FILE = "a file of `FitResult.save` or `thermospin fit --json`"
#: What is to be known of a result from the latter.
LESS = (
    "read from a file of `thermospin fit --json`, which has no derivatives: what part of the variances comes from the "
    "grid is not known"
)


def load_fit(path: str | Path) -> FitResult:
    """Return the result that `FitResult.save` has written, to the last bit, but without its model.

    A file of `thermospin fit --json` gives it to round-off, without derivatives, which a warning of the result says.

    Raises:
      InputError: the file has something else.
      OSError: it cannot be read.
    """
    data = read_json(path, FILE)
    with understood(path, FILE):
        return _result(data)


def _result(data: Mapping[str, Any]) -> FitResult:
    listed, kept = data["signals"], data["kept"] if "kept" in data else _derived(data)
    known = kept["identifiability"]

    def column(key: str) -> np.ndarray:
        return np.array([_number(row[key], math.nan) for row in listed])

    return FitResult(
        parameters={name: _fitted(values) for name, values in data["parameters"].items()},
        covariance=np.array(kept["covariance"], float),
        rescaled=data["rescaled"],
        rows=tuple(_row(row) for row in listed),
        before=column("before"),
        after=column("model"),
        pulls=column("pull"),
        chi2=_number(data["chi2"], math.nan),
        chi2_before=_number(kept["chi2_before"], math.nan),
        evaluations=data["evaluations"],
        converged=data["converged"],
        message=data["message"],
        method=data["method"],
        identifiability=Identifiability(
            tuple(known["names"]),
            tuple(known["values"]),
            tuple(known["sizes"]),
            np.array(known["singular_values"], float),
            np.array(known["combinations"], float),
        ),
        problem=None,
        left_out=data["left_out"],
        sensitivity=_array(kept["sensitivity"]),
        moves=_array(kept["moves"]),
        priors={name: (prior["mean"], prior["std"]) for name, prior in data["priors"].items()},
        ties=tuple((tie["name"], tie["factor"], tie["source"]) for tie in data["ties"]),
        following=tuple(_following(values) for values in data["following"]),
        correlation_of_data=_array(data["correlation_of_data"]),
        minima=tuple((minimum["chi2"], minimum["parameters"]) for minimum in data["minima"]),
        grid_stds=_array(kept["grid_stds"]),
        grid_correlation=_array(kept["grid_correlation"]),
        noise_factor=_number(data["noise_factor"], math.nan),
        warnings=(*data["warnings"], *([] if "kept" in data else [LESS])),
        remarks=tuple(data["remarks"]),
    )


def _derived(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what follows from the rest of a file without `kept`."""
    parameters = {name: _fitted(values) for name, values in data["parameters"].items()}
    names, stds = list(parameters), np.array([fitted.std for fitted in parameters.values()])
    rows, directions = data["signals"], data["identifiability"]
    correlation = np.array([[data["correlation"][one][other] for other in names] for one in names], float)
    loose = np.isinf(stds)
    covariance = np.where(np.logical_or.outer(loose, loose), math.nan, correlation)
    covariance[~loose] *= stds[~loose, None]
    covariance[:, ~loose] *= stds[~loose]
    covariance[loose, loose] = math.inf
    grid = np.array([row["grid_std"] for row in rows], float)
    before = pulls(np.array([row["before"] for row in rows], float), [_row(row) for row in rows], grid)
    expected = [(parameters[name].start - prior["mean"]) / prior["std"] for name, prior in data["priors"].items()]
    independent = data["correlation_of_data"] is None
    return {
        "covariance": covariance,
        "sensitivity": None,
        "moves": None,
        "grid_stds": grid if np.any(grid) else None,
        "grid_correlation": None,
        "chi2_before": float(np.sum(before**2) + np.sum(np.square(expected))) if independent else math.nan,
        "identifiability": {
            "names": names,
            "values": [fitted.value for fitted in parameters.values()],
            "sizes": [size_of(name, fitted.value) for name, fitted in parameters.items()],
            "singular_values": [1 / _number(direction["relative_std"], math.inf) for direction in directions],
            "combinations": [[direction["powers"][name] for name in names] for direction in directions],
        },
    }


def _number(value: float | None, otherwise: float) -> float:
    """Return a number of a JSON file, in which null stands for what is not finite."""
    return otherwise if value is None else float(value)


def _array(values: Any) -> np.ndarray | None:
    return None if values is None else np.array(values, float)


def _fitted(values: Mapping[str, Any]) -> Fitted:
    return Fitted(
        value=_number(values["value"], math.nan),
        std=_number(values["std"], math.inf),
        unit=values["unit"],
        start=_number(values["start"], math.nan),
        lower=_number(values["lower"], -math.inf),
        upper=_number(values["upper"], math.inf),
        at_bound=values["at_bound"],
    )


def _row(values: Mapping[str, Any]) -> Row:
    return Row(
        values["experiment"],
        values["signal"],
        values["measured"],
        values["std"],
        values["polarity_known"],
        values.get("device", ""),
        values["unit"],
    )


def _following(data: Mapping[str, Any]) -> Following:
    values = {
        name: (_number(value["value"], math.nan), _number(value["std"], math.inf))
        for name, value in data["values"].items()
    }
    return Following(data["tie"], data["tie"].partition(" ~ ")[0], data["references"], values)
