"""Rival models: data of one are attributed to it, an error of the model is found, devices change as they are told."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from thermospin import studies
from thermospin.base.errors import InputError
from thermospin.data.rows import Row
from thermospin.device.device import Device, Proportion
from thermospin.device.reader import load
from thermospin.inference import rivals
from thermospin.inference.fit_setup import FitOptions
from thermospin.inference.minimisers import LeastSquares, minimise
from thermospin.inference.misfit import pulls
from thermospin.inference.parameters import Parameter
from thermospin.inference.predictors import Predict
from thermospin.inference.result import FitResult
from thermospin.inference.rivals import Comparison
from thermospin.inverse import fit
from thermospin.model import GridOptions
from thermospin.studies import Extras, GridChoice

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


WIRE = """
length_unit = "nm"
[materials.lead]
sigma = "2e7 S/m"
kappa = "150 W/(m K)"
lambda_sf = "60 nm"
[materials.wire]
sigma = "4e6 S/m"
kappa = "30 W/(m K)"
lambda_sf = "5 nm"
[[solids]]
name = "left"
material = "lead"
box = { x = [-200, 0], y = [0, 50], z = [0, 20] }
[[solids]]
name = "wire"
material = "wire"
box = { x = [0, 100], y = [0, 50], z = [0, 20] }
[[solids]]
name = "right"
material = "lead"
box = { x = [100, 300], y = [0, 50], z = [0, 20] }
[[contacts]]
name = "in"
solid = "left"
face = "x-"
[[contacts]]
name = "out"
solid = "right"
face = "x+"
[experiments.heated]
current = ["in", "out"]
temperature = "wire"
states = { P = {} }
"""
#: Area of the wire [m^2], resistance and heat resistance of a lead, and of the wire.
AREA = 1e-15
LEAD, WIRE_R = 200e-9 / (2e7 * AREA), 100e-9 / (4e6 * AREA)
LEAD_Q, WIRE_Q = 200e-9 / (150 * AREA), 100e-9 / (30 * AREA)


def wire(tmp_path: Path, text: str = WIRE) -> Device:
    path = tmp_path / "wire.toml"
    path.write_text(text, encoding="utf-8")
    return load(str(path))


def test_the_heater_is_what_a_current_passes_between_two_leads(tmp_path: Path) -> None:
    found = rivals.heater_of(load("slachter2010"))
    assert (found.experiment, found.solids) == ("thermal", ("FM1",))
    assert {lead for _, lead in found.joints} == {f"contact{k}_{part}" for k in (1, 2) for part in ("lead", "on_FM1")}
    assert rivals.heater_of(wire(tmp_path)).joints == (("wire", "left"), ("wire", "right"))
    with pytest.raises(InputError, match="rival heater-contact: in no experiment a current passes"):
        rivals.heater_of(wire(tmp_path, WIRE.replace('material = "wire"', 'material = "lead"')))


def test_a_contact_resistance_takes_the_place_of_zeta() -> None:
    device = dataclasses.replace(load("slachter2010"), zeta=3.2)
    other = rivals.heater_contact([device])
    (changed,) = other.devices
    assert changed.zeta == 1 and len(changed.interfaces) == 4
    assert other.free(["zeta", "Py.S_s"]) == ["heater_contact.RA", "Py.S_s"]
    assert other.free(["valve:zeta", "zeta"]) == ["heater_contact.RA"] and other.free([]) == ["heater_contact.RA"]
    assert [(tie.name, tie.source) for tie in other.ties] == [
        (f"heater_contact_{k}.RA", "heater_contact.RA") for k in (2, 3, 4)
    ]


def test_the_rival_finds_the_resistance_that_makes_the_heat_and_predicts_what_a_meter_shows(tmp_path: Path) -> None:
    """Heat of a contact goes half to either side of the node on the face, where the temperature is one.

    Of a wire (R, heat resistance q) between two leads (q_L to the bath) with RA/A = C at each end, in the mean

        <T>/I^2 = (R/2 + C) q_L + R q/12 + R_L q_L/2
    """
    device, ratio = wire(tmp_path), 2.5
    own = (WIRE_R / 2) * LEAD_Q + WIRE_R * WIRE_Q / 12 + LEAD * LEAD_Q / 2
    rows = [Row("heated", "R2.P", ratio * own, 0.01 * ratio * own)]
    options = FitOptions(grid_errors=False)
    grid = GridChoice(order=1)
    extras = Extras(rivals=studies.rival_models(["heater-contact"], [device]))
    found = studies.study(device, rows, ["zeta"], grid=grid, options=options, extras=extras)
    comparison = found.findings.rivals
    assert comparison is not None
    contact = (ratio - 1) * own / LEAD_Q
    given, other = comparison.results["as given"], comparison.results["heater-contact"]
    # The grid: a parabola of temperature is exact at the nodes of elements of first order, its mean is not.
    assert given.parameters["zeta"].value == pytest.approx(ratio, rel=0.02)
    assert other.parameters["heater_contact.RA"].value == pytest.approx(contact * AREA, rel=0.02)
    two_point = comparison.predictions["two-point resistance of the heater"]
    value, unit = two_point["as given"]
    assert unit == "V/A" and value == pytest.approx(2 * LEAD + WIRE_R, rel=1e-6)
    value, unit = two_point["heater-contact"]
    assert value == pytest.approx(2 * LEAD + WIRE_R + 2 * other.parameters["heater_contact.RA"].value / AREA, rel=1e-6)
    text = "\n".join(found.words())
    assert "heater_contact.RA" in text and "two-point resistance of the heater: 45 ohm (as given)" in text


@pytest.mark.parametrize(
    ("free", "ties", "ratio"),
    [
        # All resistances fall with one conductivity, the heat does not.
        ("wire.sigma", [Proportion("lead.sigma", {"wire.sigma": 1.0})], 1 / 0.4),
        ("span", [], None),
    ],
)
def test_a_prediction_is_made_with_all_that_the_fit_found(
    tmp_path: Path, free: str, ties: list[Proportion], ratio: float | None
) -> None:
    """The resistance between the ends of the leads: 2.5 times as large, or of a wire of 150 nm in place of 100."""
    text = WIRE.replace('length_unit = "nm"', 'length_unit = "nm"\n[dimensions]\nspan = { value = 100 }')
    text = text.replace("x = [0, 100]", 'x = [0, "span"]').replace("x = [100, 300]", 'x = ["span", "span + 200"]')
    scale, length = ratio or 1.0, 1.0 if ratio else 1.5
    own = scale * (length * WIRE_R / 2 * LEAD_Q + length**2 * WIRE_R * WIRE_Q / 12 + LEAD * LEAD_Q / 2)
    rows = [Row("heated", "R2.P", own, 0.01 * own)]
    options = FitOptions(ties=ties, grid_errors=False)
    result = fit(wire(tmp_path, text), rows, [free], options, grid=GridOptions(order=2))
    predictions = studies._predictions({"as given": result}, 2, None)
    value, _ = predictions["two-point resistance of the heater"]["as given"]
    assert value == pytest.approx(scale * (2 * LEAD + length * WIRE_R), rel=1e-3)


def test_notes_of_grids_say_whose_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def adapted(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(stopped="", met=True, model=None, words=lambda: ["grid 1: 100 cells"])

    monkeypatch.setattr(studies, "adapt", adapted)
    one, rows = wire(tmp_path), [Row("heated", "R2.P", 1.0, 0.1)]
    both = [one, dataclasses.replace(one, name="two")]
    assert studies._models([one], rows, GridChoice(cells=100), None)[1] == ["grid 1: 100 cells"]
    notes = studies._models(both, rows, GridChoice(cells=100), None)[1]
    assert notes == [f"{one.name}: grid 1: 100 cells", "two: grid 1: 100 cells"]
