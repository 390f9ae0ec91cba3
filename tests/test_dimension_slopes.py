"""Derivatives by dimensions: against motion, against a closed form, and against what a change of scale must do."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from helpers.devices import MATERIALS, VALVE
from thermospin import inverse
from thermospin.accuracy.error_bars import assess
from thermospin.accuracy.sensitivity import sensitivity
from thermospin.base.names import SignalName
from thermospin.data.rows import Row
from thermospin.device import reader
from thermospin.device.device import Proportion, Tie
from thermospin.device.settings import with_values
from thermospin.inference import suggestions
from thermospin.model import Model, build
from thermospin.signals import dimension_slopes, evaluate

pytestmark = pytest.mark.usefixtures("compiled_forms")

TIGHT = 1e-12
WANTED = [(e, f"R{n}.{part}") for e in ("local", "across") for n in (1, 2) for part in ("baseline", "spin")]


@pytest.fixture(scope="module")
def model() -> Model:
    return build(reader.read(VALVE, "valve.toml"), cells=300, order=2)


def values(model: Model, **lengths: float) -> np.ndarray:
    return evaluate.evaluate(model.moved(lengths), {}, WANTED, tolerance=TIGHT).values


def central(model: Model, name: str, relative: float) -> np.ndarray:
    at = model.device.lengths()[name]
    ends = [values(model, **{name: at * (1 + sign * relative)}) for sign in (1, -1)]
    return (ends[0] - ends[1]) / (2 * relative * at)


@pytest.mark.parametrize("name", ["gap", "width", "height", "right_width", "lead"])
def test_derivatives_are_those_of_the_moving_grid(model: Model, name: str) -> None:
    """Richardson's difference of steps h and 2h with h = 1 %: the error left goes like h^4, 1e-8 of the slope's scale.

    That scale is not the slope, which may cancel, but signal/dimension. The solver's is 1e-12/h^1.
    """
    found = evaluate.evaluate(model, {}, WANTED, [name], tolerance=TIGHT)
    expected = (4 * central(model, name, 1e-2) - central(model, name, 2e-2)) / 3
    scale = np.abs(found.values) / model.device.lengths()[name]
    assert np.all(np.abs(found.jacobian[:, 0] - expected) < 1e-6 * np.maximum(scale, np.abs(expected)))
    assert np.any(np.abs(expected) > 0.01 * scale)


def test_a_port_that_grows_unevenly_matters(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: without what the contacts' vectors change by, the derivative is off."""
    right = evaluate.evaluate(model, {}, WANTED, ["width"], tolerance=TIGHT).jacobian[:, 0]
    monkeypatch.setattr(dimension_slopes, "_add_ports", lambda *_: None)
    wrong = evaluate.evaluate(model, {}, WANTED, ["width"], tolerance=TIGHT).jacobian[:, 0]
    assert np.max(np.abs(wrong / right - 1)) > 1e-3


def test_a_change_of_scale_scales_the_signals(model: Model) -> None:
    """All lengths times s, those of relaxation too: R1 goes like 1/s and R2 like 1/s^2, so that elasticities sum up.

    Exactly on any grid that is scaled along; what is left is the solver's, whose adjoints are solved to 1e-10.
    """
    found = sensitivity(model, tolerance=TIGHT)
    lengths = [k for k, name in enumerate(found.parameters) if name in found.dimensions or name.endswith("lambda_sf")]
    total = found.elasticities[:, lengths].sum(axis=1)
    expected = [-int(signal[1]) for _, signal in found.signals]
    assert total == pytest.approx(expected, rel=1e-7)


def test_the_resistance_of_a_wire_knows_its_sides() -> None:
    """R = length/(sigma width height): elasticities 1, -1, -1 and -1, exact in every scheme."""
    text = """
name = "wire"
length_unit = "nm"
[dimensions]
length = 200
width = 30
height = 20
[[solids]]
name = "wire"
material = "Cu"
box = { x = ["-length / 2", "length / 2"], y = [0, "width"], z = ["-height", 0] }
[[contacts]]
name = "in"
solid = "wire"
face = "x-"
[[contacts]]
name = "out"
solid = "wire"
face = "x+"
[experiments.main]
current = ["in", "out"]
voltage = ["in", "out"]
states = { P = {}, AP = {} }
"""
    text += MATERIALS.replace('S = "10 uV/K"', "S = 0")
    model = build(reader.read(text, "wire.toml"), cells=200, order=2)
    names = ["length", "width", "height", "Cu.sigma"]
    found = evaluate.evaluate(model, {}, [("main", "R1.P")], names, tolerance=TIGHT)
    assert found.values[0] == pytest.approx(200e-9 / (3e7 * 30e-9 * 20e-9), rel=1e-9)
    own = np.array([model.device.numbers()[name] for name in names])
    assert found.jacobian[0] * own / found.values[0] == pytest.approx([1, -1, -1, -1], rel=1e-8)


def test_a_move_is_undone_and_compiles_nothing(model: Model, caplog: pytest.LogCaptureFixture) -> None:
    before = values(model, gap=60e-9)
    values(model, gap=61e-9)  # whatever there is to compile
    with jax.log_compiles(), caplog.at_level("WARNING"):
        there = model.moved({"gap": 75e-9})
        after = evaluate.evaluate(there, {}, WANTED, tolerance=TIGHT).values
        back = evaluate.evaluate(there.moved({"gap": 60e-9}), {}, WANTED, tolerance=TIGHT).values
    assert not [r for r in caplog.records if "Compiling" in r.getMessage()]
    assert np.max(np.abs(after / before - 1)) > 0.01
    assert back == pytest.approx(before, rel=1e-9)


@pytest.mark.slow
def test_the_motion_of_the_grid_does_not_leak_into_derivatives() -> None:
    """Elasticities on the program's own grid and on a far finer one differ by as little as the signals do.

    A signal's relative error e changes by about e when a length doubles, so the elasticity by about e; ten times that
    is allowed. Of signals that both grids know to 5 %.
    """
    device = reader.read(VALVE, "valve.toml")
    own, fine = (sensitivity(build(device, cells=cells, order=2), tolerance=1e-10) for cells in (300, 2400))
    error = np.abs(own.values / fine.values - 1)
    known = error < 0.05
    assert known.sum() >= 4
    for name in ("gap", "width", "right_width"):
        place = list(own.parameters).index(name)
        off = np.abs(own.elasticities[:, place] - fine.elasticities[:, place])
        assert np.all(off[known] < 10 * error[known]), name


def test_faces_may_not_pass_each_other() -> None:
    model = build(reader.read(VALVE, "valve.toml"), cells=300, order=1)
    with pytest.raises(ValueError, match="at width = 0.001 nm|faces across y meet|expected low < high"):
        model.moved({"width": -1e-9})
    crossing = VALVE.replace('edge = "width / 2 + rim"', 'edge = "lead - 30 + rim"')
    model = build(reader.read(crossing, "valve.toml"), cells=300, order=1)
    with pytest.raises(ValueError, match="at width = 60 nm faces across y meet or pass each other"):
        model.moved({"width": 60e-9})


def test_values_on_a_grid_for_other_dimensions_are_refused() -> None:
    model = build(reader.read(VALVE, "valve.toml"), cells=300, order=1)
    with pytest.raises(ValueError, match="gap: is a dimension, which moves the grid; JAX cannot trace it"):
        jax.eval_shape(lambda gap: evaluate.predict(model, {"gap": gap}), 60e-9)
    assert jax.eval_shape(lambda zeta: evaluate.predict(model, {"zeta": zeta, "gap": 60e-9}), 1.0), "its own is allowed"
    with pytest.raises(ValueError, match="gap: got 70 nm, but the grid was built for 60 nm; move it with model.moved"):
        evaluate.evaluate(model, {"gap": 70e-9}, WANTED)
    with pytest.raises(ValueError, match="parameter 'gpa' does not exist; did you mean 'gap'"):
        evaluate.evaluate(model, {}, WANTED, ["gpa"])


def test_a_fit_finds_a_dimension_again() -> None:
    """Data made at gap = 66 nm and zeta = 1.3 on the grid of the fit, moved there: the minimiser's error is left."""
    device = reader.read(VALVE, "valve.toml")
    model = build(device, cells=300, order=1)
    truth = dataclasses.replace(device.moved({"gap": 66e-9}), zeta=1.3)
    made = model.moved({"gap": 66e-9})
    found = evaluate.evaluate(made, {"zeta": 1.3}, WANTED, tolerance=TIGHT).values
    rows = [Row(e, s, float(v), 0.01 * abs(float(v))) for (e, s), v in zip(WANTED, found, strict=True)]
    result = inverse.fit(model, rows, free=["gap", "zeta"], options=inverse.FitOptions(grid_errors=False))
    assert result.converged
    assert result.parameters["gap"].value == pytest.approx(truth.lengths()["gap"], rel=1e-3)
    assert result.parameters["zeta"].value == pytest.approx(1.3, rel=1e-3)
    assert (result.parameters["gap"].lower, result.parameters["gap"].upper) == (30e-9, 90e-9)
    assert "gap" in result.report() and "nm" in result.report()


def test_sensitivities_are_right_to_the_digits_printed_at_a_polarisation_near_one(model: Model) -> None:
    """Three digits after the point: half of the last one is the bound, and R2 is proportional to zeta."""
    material = next(name for name in model.device.materials if model.device.parameters().get(f"{name}.P"))
    found = sensitivity(model.refreshed({f"{material}.P": 0.99}), {f"{material}.P": 0.99})
    tighter = sensitivity(model.refreshed({f"{material}.P": 0.99}), {f"{material}.P": 0.99}, tolerance=1e-12)
    assert found.tolerance == 1e-11
    second = [signal.startswith("R2") for _, signal in found.signals]
    by_zeta = found.elasticities[:, list(found.parameters).index("zeta")]
    assert by_zeta[second] == pytest.approx(1.0, abs=5e-4)
    assert np.nanmax(np.abs(found.elasticities - tighter.elasticities)) < 5e-4


def test_a_signal_that_vanishes_is_printed_as_zero(model: Model) -> None:
    found = sensitivity(model, harmonics=1)
    values = np.where(np.arange(len(found.values)) == 0, 1e-14 * found.values.max(), found.values)
    assert sum(line.count("zero") for line in dataclasses.replace(found, values=values).words()) >= 3


def test_a_table_of_sensitivities_has_every_parameter_once(model: Model, tmp_path) -> None:
    from thermospin.report.design_figures import sensitivity_picture

    found = sensitivity(model)
    listed = [*found.order(), *found.idle(), *found.zero()]
    assert sorted(listed) == sorted(model.device.numbers())
    words = "\n".join(found.words())
    assert all(name in words for name in listed)
    text = found.to_json()
    assert text["elasticities"]["local"]["R2.spin"]["zeta"] == pytest.approx(1.0, rel=1e-4)
    assert text["slopes"]["local"]["R1.spin"]["gap"] == pytest.approx(
        text["elasticities"]["local"]["R1.spin"]["gap"] * text["signals"]["local"]["R1.spin"] / 60e-9
    )
    best = assess(model, evaluate.measure(model))
    assert text["signals"]["local"]["R2.spin"] == pytest.approx(best["local", "R2.spin"], rel=1e-6)
    bar = best.error("local", "R2.spin")
    assert 0 < text["errors"]["local"]["R2.spin"] == pytest.approx(bar, rel=1e-2)
    assert text["computed"]["local"]["R2.spin"] == pytest.approx(
        best.computed[SignalName("local", 2, "spin")], rel=1e-6
    )
    sensitivity_picture(found, tmp_path / "table.png")
    assert (tmp_path / "table.png").stat().st_size > 10_000


def test_a_suggested_device_is_what_a_fit_with_it_gives() -> None:
    """Standard deviations of a fit of both devices, to the minimiser's error; the numbers of the second are exact."""
    device = reader.read(VALVE, "valve.toml")
    model = build(device, cells=300, order=1)
    free = ["zeta", "Fe.S_s"]

    def rows(of: Model, name: str, stds: np.ndarray | None = None) -> list[Row]:
        found = evaluate.evaluate(of, {}, WANTED, tolerance=TIGHT).values
        stds = 0.05 * np.abs(found) if stds is None else stds
        return [
            Row(e, s, float(v), float(std), device=name) for (e, s), v, std in zip(WANTED, found, stds, strict=True)
        ]

    result = inverse.fit(model, rows(model, ""), free=free, options=inverse.FitOptions(grid_errors=False))
    found = {each.what: each for each in suggestions.suggest_others(result, ["gap"], contacts=True)}
    moved = model.moved({"gap": 90e-9})
    far = dataclasses.replace(moved, device=dataclasses.replace(moved.device, name="far"))
    stds = np.array([row.std for row in result.rows])
    both = inverse.fit(
        [model, far],
        [*rows(model, "valve"), *rows(far, "far", stds)],
        free=free,
        options=inverse.FitOptions(grid_errors=False),
    )
    own = found["a device with gap = 90 nm"]
    for name in free:
        assert own.stds[name] == pytest.approx(both.parameters[name].std, rel=1e-3)
        assert own.stds[name] < 0.98 * result.parameters[name].std
    # Two gaps, and of each experiment's four signals those between the two other pairs of its three contacts.
    assert len(found) == 2 + 2 * 4 * 2
    assert all(each.gain >= 1 for each in found.values())
    words = suggestions.Suggestions.of(result, list(found.values())).words()
    assert any("a device with gap" in line for line in words)
    for names, text in ((["gpa"], "did you mean 'gap'"), (["width"], "has no range")):
        with pytest.raises(ValueError, match=text):
            suggestions.suggest_others(result, names)


@pytest.mark.parametrize("powers", [None, {"Fe.S": 1.0}])
def test_other_contacts_are_suggested_with_what_follows_others(powers: dict[str, float] | None) -> None:
    """As above: a joint fit of the other voltage, whose signals move with both Seebeck coefficients as well."""
    device = reader.read(VALVE, "valve.toml")
    tie = Tie("Cu.S", "Fe.S", -0.5) if powers is None else Proportion("Cu.S", powers)
    device = with_values(device, {"Cu.S": -0.5 * device.numbers()["Fe.S"]})
    model = build(device, cells=300, order=1)
    free, options = ["Fe.S", "Fe.S_s"], inverse.FitOptions(grid_errors=False, ties=[tie])
    wanted = [("local", f"R2.{part}") for part in ("baseline", "spin")]
    measured = device.experiments["local"].voltage
    names = [contact.name for contact in device.contacts]
    pair = next(pair for pair in itertools.combinations(names, 2) if set(pair) != set(measured or ()))
    local = dataclasses.replace(device.experiments["local"], voltage=pair)
    other = build(dataclasses.replace(device, name="other", experiments={"local": local}), cells=300, order=1)

    def rows(of: Model, name: str, stds: np.ndarray | None = None) -> list[Row]:
        found = evaluate.evaluate(of, {}, wanted, tolerance=TIGHT).values
        stds = 0.05 * np.abs(found) if stds is None else stds
        return [
            Row(e, s, float(v), float(std), device=name) for (e, s), v, std in zip(wanted, found, stds, strict=True)
        ]

    result = inverse.fit(model, rows(model, ""), free=free, options=options)
    found = {each.what: each for each in suggestions.suggest_others(result, contacts=True)}
    stds = np.array([row.std for row in result.rows])
    for k, (_, signal) in enumerate(wanted):
        more = [rows(other, "other", stds)[k]]
        both = inverse.fit([model, other], [*rows(model, "valve"), *more], free=free, options=options)
        own = found[f"local {signal} between {pair[0]} and {pair[1]}"]
        for name in free:
            assert own.stds[name] == pytest.approx(both.parameters[name].std, rel=1e-3)
