"""Profiles against closed forms, budgets against refits, suggestions against fits with the measurement added."""

from __future__ import annotations

import dataclasses
import math
import pickle
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from helpers.devices import WIRE
from thermospin import inverse, studies
from thermospin.accuracy.adapt import INTERRUPTED
from thermospin.base.errors import InputError
from thermospin.data.rows import Row
from thermospin.data.sources import Inputs
from thermospin.device import reader
from thermospin.device.device import LooseFace
from thermospin.inference import budget, profiles, suggestions
from thermospin.inference.minimisers import LeastSquares, minimise
from thermospin.inference.misfit import Misfit, Prior
from thermospin.inference.parameters import Parameter
from thermospin.inference.predictors import Predict
from thermospin.inference.result import FitResult, Following
from thermospin.inference.rivals import Rival
from thermospin.model import Model, build

NAMES = ("a.S", "b.S")
MATRIX = np.array([[1.0, 0.3], [0.2, 1.0], [0.5, -0.4], [1.0, 1.0]])
STDS = (0.1, 0.2, 0.1, 0.3)
VALUES = (1.3, 1.4, 0.2, 2.1)
ROWS = tuple(Row("x", "R1.P", value, std) for value, std in zip(VALUES, STDS, strict=True))


def linear(matrix: np.ndarray = MATRIX, fixed: np.ndarray | None = None) -> Predict:
    """matrix (a, b) + fixed q, with the number "q.kappa" held at 2."""
    column = np.array([0.1, -0.2, 0.3, 0.0]) if fixed is None else fixed

    def predict(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        known = {name: matrix[:, k] for k, name in enumerate(NAMES)} | {"q.kappa": column}
        values = sum(parameters[name] * line for name, line in known.items())
        return np.asarray(values), np.array([known[name] for name in names]).reshape(len(names), -1).T

    return predict


def fitted(rows: Sequence[Row] = ROWS, q: float = 2.0, **options: object) -> FitResult:
    free = [Parameter(name, 1.0) for name in NAMES]
    misfit = Misfit(rows, **options)  # type: ignore[arg-type]
    return minimise(LeastSquares(), [linear()], misfit, free, {"q.kappa": q})


def test_the_profile_of_a_linear_model_is_the_covariance() -> None:
    result = fitted()
    for each in profiles.profile(result):
        own = result.parameters[each.name]
        # tau = (value - best)/std exactly; the fit ends within 1e-4 std of its minimum.
        np.testing.assert_allclose(each.tau, (each.values - own.value) / own.std, atol=1e-3)
        assert each.limits["68 %"] == pytest.approx((own.value - own.std, own.value + own.std), abs=1e-3 * own.std)
        half = 1.959964 * own.std
        assert each.limits["95 %"] == pytest.approx((own.value - half, own.value + half), abs=1e-3 * own.std)
        assert each.straight < 1e-3 and each.lower is None
        assert not any("no parabola" in line for line in each.words())


def squares(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """R = a^2."""
    a = parameters["a.S"]
    return np.array([a**2]), np.full((1, len(names)), 2 * a)


def test_the_profile_of_a_square_has_the_limits_of_the_square() -> None:
    """R = 4 +- 1 and R = a^2: tau = a^2 - 4; a is between sqrt(3) and sqrt(5), and sqrt(2.04) and sqrt(5.96)."""
    result = minimise(LeastSquares(), [squares], [Row("x", "R1.P", 4.0, 1.0)], [Parameter("a.S", 1.0)])
    (found,) = profiles.profile(result)
    # Interpolation between steps of 0.7: the fourth-order error of a smooth monotone curve, measured 2e-3.
    assert found.limits["68 %"] == pytest.approx((math.sqrt(3), math.sqrt(5)), rel=5e-3)
    low, high = math.sqrt(4 - 1.959964), math.sqrt(4 + 1.959964)
    assert found.limits["95 %"] == pytest.approx((low, high), rel=5e-3)
    assert found.straight > profiles.STRAIGHT and "no parabola" in found.words()[-1]
    # A parabola would say 2 +- 0.25, which is not it.
    assert abs(found.limits["68 %"][0] - 1.75) > 0.01


def test_a_limit_beyond_a_bound_is_the_bound() -> None:
    """tau is 0.75 at the bound."""
    start = Parameter("a.S", 1.0, (0.5, 3.0))
    result = minimise(LeastSquares(), [squares], [Row("x", "R1.P", 1.0, 1.0)], [start])
    (found,) = profiles.profile(result)
    assert found.limits["95 %"][0] == 0.5 and "a.S: 5e+05 uV/K (its bound) to " in found.words()[1]
    assert found.limits["95 %"][1] == pytest.approx(math.sqrt(2.959964), rel=5e-3)


def test_a_limit_where_there_is_no_solution_is_open() -> None:
    def broken(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        values, jacobian = squares(parameters, names)
        return (values, jacobian) if parameters["a.S"] > 0.5 else (math.nan * values, math.nan * jacobian)

    result = minimise(LeastSquares(), [broken], [Row("x", "R1.P", 1.0, 1.0)], [Parameter("a.S", 1.0)])
    (found,) = profiles.profile(result)
    assert found.limits["95 %"][0] == -math.inf and "open to" in found.words()[1]


def test_the_profile_of_a_fit_at_its_bound_ends_there() -> None:
    """R = a = 4 +- 1, a at most 3: chi2 - 1 = (4 - a)^2 - 1 is 1 at 4 - sqrt(2)."""

    def straight(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        return np.array([parameters["a.S"]]), np.ones((1, len(names)))

    start = Parameter("a.S", 1.0, (0.5, 3.0))
    result = minimise(LeastSquares(), [straight], [Row("x", "R1.P", 4.0, 1.0)], [start])
    assert result.parameters["a.S"].at_bound == "upper"
    (found,) = profiles.profile(result)
    # tau is a root there, in steps of 0.7/4: interpolation was measured to be off by 8e-4.
    assert found.limits["68 %"] == (pytest.approx(4 - math.sqrt(2), rel=5e-3), 3.0)
    assert np.all(np.diff(found.values) > 0) and math.isfinite(found.straight)


def test_a_profile_goes_past_a_parameter_that_the_data_leave_open() -> None:
    result = minimise(LeastSquares(), [linear(MATRIX * [1.0, 0.0])], ROWS, [Parameter(name, 1.0) for name in NAMES],
                      {"q.kappa": 2.0})  # fmt: skip
    assert result.left_open == ("b.S",)
    (found,) = profiles.profile(result)
    own = result.parameters["a.S"]
    assert found.limits["68 %"] == pytest.approx((own.value - own.std, own.value + own.std), abs=1e-3 * own.std)


def rescaled(rows: Sequence[Row], **options: object) -> FitResult:
    """A mean, rescaled."""

    def mean(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        return np.full(len(rows), parameters["a.S"]), np.ones((len(rows), len(names)))

    misfit = Misfit(rows, **options)  # type: ignore[arg-type]
    return minimise(LeastSquares(), [mean], misfit, [Parameter("a.S", 1.0)], rescaled=True)


def test_a_profile_of_a_rescaled_fit_has_noise_as_large_as_it_scatters() -> None:
    rows = [Row("x", "R1.P", value, 0.5) for value in (1.0, 2.0, 4.0, 9.0)]
    result = rescaled(rows)
    own = result.parameters["a.S"]
    (found,) = profiles.profile(result)
    assert result.noise_factor > 3 and found.straight < 1e-3 and found.lower is None
    assert found.limits["68 %"] == pytest.approx((own.value - own.std, own.value + own.std), abs=1e-3 * own.std)
    # A prior keeps its size: it weighs more against noise that is larger. A mean of 4 with a prior of 0.
    result = rescaled(rows, priors={"a.S": Prior(0.0, 1.0)})
    (found,) = profiles.profile(result)
    weight = 4 / (result.noise_factor * 0.5) ** 2
    value, std = 4 * weight / (weight + 1), 1 / math.sqrt(weight + 1)
    assert found.limits["68 %"] == pytest.approx((value - std, value + std), abs=5e-3 * std)
    assert found.straight < 1e-2 and found.lower is None
    with pytest.raises(InputError, match="the data lie on the fit and do not scatter"):
        profiles.profile(dataclasses.replace(result, noise_factor=0.0))


def test_a_lower_minimum_on_the_way_is_told() -> None:
    def two(parameters: Mapping[str, float], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        a = parameters["a.S"]
        return np.array([a**2, a]), np.array([[2 * a], [1.0]]) * np.ones((1, len(names)))

    data = [Row("x", "R1.P", 1.0, 0.6), Row("x", "R1.AP", 1.0, 2.0)]
    wrong = minimise(LeastSquares(), [two], data, [Parameter("a.S", -1.3, (-3.0, 3.0))])
    assert wrong.parameters["a.S"].value < 0
    (found,) = profiles.profile(wrong)
    assert found.lower is not None and found.lower[1]["a.S"] > 0
    assert any("lower minimum" in line for line in found.words())


def test_a_name_that_was_not_fitted_is_refused() -> None:
    with pytest.raises(ValueError, match="'c' was not fitted; expected one of a.S, b.S"):
        profiles.profile(fitted(), ["c"])


# ------------------------------------------------------------------------------------------- budget


def test_the_sources_of_a_budget_add_up_and_are_what_refits_show() -> None:
    result = fitted()
    found = budget.budget(result, {"q.kappa": 0.5})
    assert len(found.sources) == found.asked == 5
    np.testing.assert_allclose(np.sum(found.variances[:4], axis=0), np.diag(result.covariance), rtol=1e-9)
    # One row moved by its std, and the held number by its own: the squares of how far a refit moves. It is linear.
    for i, row in enumerate(ROWS):
        moved = fitted([dataclasses.replace(r, value=r.value + row.std) if k == i else r for k, r in enumerate(ROWS)])
        shift = [moved.parameters[name].value - result.parameters[name].value for name in NAMES]
        np.testing.assert_allclose(np.square(shift), found.variances[i], rtol=1e-2, atol=1e-8)
    moved = fitted(q=2.5)
    shift = [moved.parameters[name].value - result.parameters[name].value for name in NAMES]
    np.testing.assert_allclose(np.square(shift), found.variances[4], rtol=1e-2)
    assert found.stds == pytest.approx(np.sqrt(np.diag(result.covariance) + np.square(shift)), rel=1e-2)
    np.testing.assert_allclose(np.sum(found.shares, axis=0), 1.0)
    words = "\n".join(found.words())
    assert "q.kappa held at 2 W/(m K) +- 25 %" in words and "std with all of it" in words


def test_a_budget_holds_priors_and_correlated_noise() -> None:
    correlation = np.full((4, 4), 0.5) + 0.5 * np.eye(4)
    result = dataclasses.replace(
        fitted(correlation=correlation, priors={"a.S": Prior(1.0, 0.1)}), correlation_of_data=correlation
    )
    found = budget.budget(result, {"q.kappa": 0.0})
    assert found.sources == ("noise of the data", "priors")
    np.testing.assert_allclose(np.sum(found.variances, axis=0), np.diag(result.covariance), rtol=1e-9)
    assert np.all(found.variances[0] > 0) and found.variances[1, 0] > 0


def test_a_budget_has_usual_standard_deviations_and_refuses_strangers() -> None:
    found = budget.budget(fitted())
    assert found.sources[-1] == "q.kappa held at 2 W/(m K) +- 20 %"
    with pytest.raises(ValueError, match="z.kappa was not held fixed"):
        budget.budget(fitted(), {"z.kappa": 1.0})
    for wrong, found in ((-1.0, "-1.0"), (np.nan, "nan"), (np.inf, "inf"), ("0.5", "'0.5'"), (None, "None")):
        with pytest.raises(InputError) as caught:
            budget.budget(fitted(), {"q.kappa": wrong, "z.kappa": 1.0})  # type: ignore[dict-item]
        assert str(caught.value).splitlines() == [
            "budget: z.kappa was not held fixed in this fit",
            f"budget: stds: q.kappa: got {found}, expected a finite number, 0 or more, in SI units",
        ]


def test_a_budget_does_not_hold_what_follows_others() -> None:
    """Neither by a factor nor at every bath; the constant of a tie at every bath is a number that is held."""
    own, other = (Following("", name, {}, {"q.kappa": (2.0, 0.0)}) for name in ("q.kappa", "r.kappa"))
    for changes, held in (
        ({"ties": (("q.kappa", 2.0, "a.S"),)}, False), ({"following": (other,)}, False), ({"following": (own,)}, True),
    ):  # fmt: skip
        result = dataclasses.replace(fitted(), **changes)
        assert any("q.kappa" in source for source in budget.budget(result).sources) == held
        if not held:
            with pytest.raises(ValueError, match="q.kappa was not held fixed"):
                budget.budget(result, {"q.kappa": 1.0})


# ------------------------------------------------------------------------------------------- what next


def test_a_suggestion_is_what_a_fit_with_the_measurement_gives() -> None:
    result = fitted()
    found = suggestions.suggest(result)
    assert len(found) == 8 and found == sorted(found, key=lambda each: -each.gain)
    for each in found:
        assert each.gain > 1
    ranked = {each.what: each for each in found}
    for words, factor in (("again", 1.0), ("at twice the current", 0.5)):
        more = dataclasses.replace(ROWS[3], std=factor * ROWS[3].std)
        matrix = np.vstack([MATRIX, MATRIX[3]])

        def model(parameters: Mapping[str, float], names: Sequence[str], matrix: np.ndarray = matrix) -> object:
            return linear(matrix, np.array([0.1, -0.2, 0.3, 0.0, 0.0]))(parameters, names)

        refit = minimise(LeastSquares(),
            [model], [*ROWS, more], [Parameter(name, 1.0) for name in NAMES], {"q.kappa": 2.0}  # type: ignore[list-item]
        )  # fmt: skip
        rows = [dataclasses.replace(row, signal=f"R1.{k}") for k, row in enumerate(ROWS)]
        named = {each.what: each for each in suggestions.suggest(fitted(rows))}
        own = named[f"x R1.3 {words}"]
        for name in NAMES:
            assert own.stds[name] == pytest.approx(refit.parameters[name].std, rel=1e-9)
    assert ranked and "would take the std of" in suggestions.suggestion_words(result, found)[0]


def test_a_measurement_does_not_refine_the_grid() -> None:
    """Where the bars of the grid are a hundred times the noise, nothing measured anew helps by more than 1e-4."""
    grid = 100 * np.array(STDS)
    wider = [dataclasses.replace(row, std=math.hypot(row.std, bar)) for row, bar in zip(ROWS, grid, strict=True)]
    result = dataclasses.replace(fitted(wider), rows=ROWS, grid_stds=grid)
    found = suggestions.suggest(result)
    assert all(1 <= each.gain < 1.0001 for each in found)
    assert suggestions.suggestion_words(result, found) == [
        "no signal of these, measured anew, would help by more than 2 %"
    ]


# ------------------------------------------------------------------------------------------- dimensions


BAR = WIRE.replace('"Py"', '"Cu"')


def bar() -> tuple[Model, list[Row]]:
    """A bar of two contacts, R1 = L/(sigma A), and its resistance."""
    device = reader.read(BAR, "bar")
    resistance = 300e-9 / (device.materials["Cu"].sigma * 50e-9 * 40e-9)
    return build(device, cells=20, order=1), [Row("bar", "R1.P", resistance, 0.01 * resistance)]


@pytest.mark.parametrize(
    ("extras", "words"),
    [
        ({"dimensions": [LooseFace(2, 17e-9, 1e-9)]}, "dimension z = 17 nm: no solid has a face there"),
        ({"dimensions": [LooseFace(2, 40e-9, 50e-9)]}, "reaches the face below it"),
        ({"dimensions": [LooseFace(2, 40e-9, 1e-9, "foo")]}, "got device 'foo', expected one of bar"),
        ({"suggest": ["width"]}, "dimension 'width' is fitted"),
        ({"suggest": ["contacts", "wdith"]}, "did you mean 'width'"),
    ],
)
def test_findings_that_cannot_be_made_are_refused_before_the_fit(
    extras: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "fit", lambda *_, **__: pytest.fail("the fit was run"))
    device = reader.read(BAR, "bar")
    with pytest.raises(InputError, match=words):
        studies.study(device, [Row("bar", "R1.P", 3.0, 0.1)], ["width"], extras=studies.Extras(**extras))


def test_a_study_takes_rows_and_a_grid_from_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes twice was dropped in silence; rival models of a model have a grid of its order."""
    monkeypatch.setattr(studies, "fit", lambda *_, **__: pytest.fail("the fit was run"))
    model, data = bar()
    with pytest.raises(InputError, match="rows: got 1 beside Inputs with 1 of their own, expected none"):
        studies.study(Inputs((model.device,), tuple(data)), data)
    with pytest.raises(InputError, match=r"grid: got GridChoice\(cells=2000, .* beside a Model, .* give the device"):
        studies.study(model, data, grid=studies.GridChoice(cells=2000, tolerance=0.01))

    def rival_grid(_: object, __: object, grid: studies.GridChoice, ___: object) -> None:
        raise RuntimeError(f"order {grid.order}")

    monkeypatch.setattr(studies, "fit", lambda *_, **__: types.SimpleNamespace(names=[]))
    monkeypatch.setattr(studies, "_models", rival_grid)
    with pytest.raises(RuntimeError, match=f"order {model.grid.order}"):
        studies.study(model, data, extras=studies.Extras(rivals={"same": Rival((model.device,))}))
    assert model.grid.order != studies.GridChoice().order


def test_a_study_whose_grid_was_interrupted_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It went on to a fit on the grid before, of which nobody knew the bars to be those that were asked for."""
    monkeypatch.setattr(studies, "fit", lambda *_, **__: pytest.fail("the fit was run"))
    monkeypatch.setattr(studies, "adapt", lambda *_, **__: types.SimpleNamespace(stopped=INTERRUPTED))
    model, data = bar()
    with pytest.raises(KeyboardInterrupt):
        studies.study(model.device, data, grid=studies.GridChoice(tolerance=0.01))


def test_a_series_is_refused_a_face_of_no_device_and_suggestions() -> None:
    devices = [dataclasses.replace(reader.read(BAR, "bar"), name=name) for name in ("bar", "far")]
    (fault,) = budget.faults_of_faces([LooseFace(2, 40e-9, 1e-9)], devices)
    assert 'got no device, expected one of bar, far; name it, such as "bar:z = 40 nm +- 1 nm"' in fault
    assert not budget.faults_of_faces([LooseFace(2, 40e-9, 1e-9, "far")], devices)
    (fault,) = suggestions.faults_of_dimensions(["width"], devices, [])
    assert "several devices" in fault


def test_a_fit_is_not_lost_where_the_data_leave_a_parameter_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without heat zeta is in no signal."""
    model, data = bar()
    extras = studies.Extras(budget=True, dimensions=[LooseFace(2, 40e-9, 1e-9)], suggest=["contacts"])
    options = inverse.FitOptions(grid_errors=False)
    found = studies.study(model, data, ["Cu.sigma", "zeta"], options=options, extras=extras)
    assert found.fit.left_open == ("zeta",) and found.findings.budget is None
    (failed,) = found.failed
    assert failed.startswith("There is no error budget: the data leave zeta open, so that")
    assert found.findings.suggestions is not None
    (line,) = found.findings.suggestions.words()
    assert line.startswith("the data leave zeta open, so that") and "would help by more" not in line
    # For a page alone, which may well be without a budget, nothing has failed.
    paged = studies.study(model, data, ["Cu.sigma", "zeta"], options=options, extras=studies.Extras(budget=True))
    assert paged.findings.budget is None and not paged.failed

    def refused(*_: object, **__: object) -> None:
        raise InputError("budget: faces would meet")

    monkeypatch.setattr(studies, "budget", refused)
    found = studies.study(model, data, ["Cu.sigma"], options=options, extras=extras)
    assert found.failed == ("There is no error budget: faces would meet",) and found.fit.converged


def test_a_dimension_of_a_real_device_moves_its_signals() -> None:
    """The length of a bar moved by 10 % moves R1 by 10 %, its thickness by -10 %."""
    model, data = bar()
    device = model.device
    result = inverse.fit(model, data, free=["Cu.sigma"], options=inverse.FitOptions(grid_errors=False))
    moves = [
        LooseFace(0, 300e-9, 30e-9),
        LooseFace(2, 40e-9, 4e-9),
    ]
    found = budget.budget(result, {name: 0.0 for name in result.problem.fixed}, moves)
    sigma = result.parameters["Cu.sigma"].value
    assert sigma == pytest.approx(device.materials["Cu"].sigma, rel=1e-4)
    # sigma = L/(R A): linear in L; 1/(1 - t) and 1/(1 + t) differ by 2 t/(1 - t^2) for t = 0.1.
    assert math.sqrt(found.variances[1, 0]) == pytest.approx(0.1 * sigma, rel=1e-3)
    assert math.sqrt(found.variances[2, 0]) == pytest.approx(0.1 / 0.99 * sigma, rel=1e-3)
    assert found.sources[1:] == ("x = 300 nm +- 30 nm", "z = 40 nm +- 4 nm")
    for wrong, words in (
        (LooseFace(0, 250e-9, 1e-9), "no solid has a face there; expected one of 300 nm"),
        (LooseFace(0, 0.0, 1e-9), "is the lowest face"),
        (LooseFace(0, 300e-9, 400e-9), "reaches the face below it"),
        (LooseFace(0, 300e-9, 1e-9, "other"), "expected one of bar"),
    ):
        with pytest.raises(ValueError, match=words):
            budget.budget(result, {}, [wrong])
    copy = pickle.loads(pickle.dumps(result))
    assert copy.to_json() == result.to_json() and copy.report() == result.report()
    with pytest.raises(InputError, match="comes from a file and has no model to ask"):
        budget.budget(copy)
