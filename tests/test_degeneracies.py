"""What spin signals cannot tell apart at interfaces: the sentences of reports, and that they are true of the model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from helpers import devices
from thermospin.data.rows import Row
from thermospin.device.open_circuit import K_open, kappa_open, open_circuit
from thermospin.device.settings import at_bath
from thermospin.inference.degeneracies import Injector, injectors, shares
from thermospin.inference.fit_setup import FitOptions
from thermospin.inference.suggestions import suggest_others
from thermospin.inverse import fit
from thermospin.model import GridOptions, Model, on_grid
from thermospin.report.device_text import describe
from thermospin.signals.evaluate import evaluate

NAMES = ["Fe.P", "Fe/Cu.gamma", "Fe/Cu.RA"]
INTERFACE = """
[[interfaces]]
name = "Fe/Cu"
between = ["Fe", "Cu"]
RA = "1 fohm m^2"
gamma = 0.6
K = "2e9 W/(m^2 K)"
S = "-10 uV/K"
S_s = "-3 uV/K"
[experiments.heated]
heat = { left = "10 K" }
voltage = ["left", "right"]
states = { P = {}, AP = { F2 = -1 } }
"""


@pytest.fixture(scope="module")
def model() -> Model:
    device = devices.with_materials(devices.read(devices.BAR + INTERFACE), Fe={"lambda_sf": 5e-9})
    return on_grid(device, devices.bar_grid(device, (12, 20, 8), 3))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # Spin resistances of the channel [ohm m^2]: 5e-14, 5e-16, 5e-15; Z = 7e-15, 1.6e-13, 7e-15.
        ({"Cu.sigma": 3e5, "Cu.lambda_sf": 15e-9}, "small"),
        ({"Cu.lambda_sf": 15e-9, "Fe/Cu.RA": 1e-13}, "large"),
        ({"Cu.sigma": 3e6, "Cu.lambda_sf": 15e-9}, "between"),
    ],
)
def test_P_gamma_and_RA_enter_by_a_and_Z_alone(model: Model, changes: dict[str, float], expected: str) -> None:
    """In a channel of many relaxation lengths s = a/(R + Z), so that -(d ln s/d ln Z)/(d ln s/d ln a) = Z/(R + Z).

    Corrections: exp(-2 d/lambda) = 1.3e-3 of the channel of 50 nm, 1/cosh(30/20) of the magnet of 30 nm in R_F*.
    """
    values = model.parameters | changes
    wanted = [("pillar", "R1.spin")]
    found = evaluate(model, values, wanted, NAMES)
    (injector,) = injectors(model.device, values)
    channel = values["Cu.lambda_sf"] / values["Cu.sigma"]
    exact = injector.Z / (injector.Z + channel)
    share, explained = shares(found.jacobian[0], injector)
    assert share == pytest.approx(exact, abs=0.02) and explained > 0.98
    assert {"small": share < 0.2, "large": share > 0.8, "between": 0.2 < share < 0.8}[expected]
    # All three moved so that a and Z stay: the signal stays.
    scale = np.array([values[name] for name in NAMES])
    one, still = found.jacobian[0] * scale, np.linalg.svd(injector.slopes * scale / injector.Z)[2][-1]
    assert abs(one @ still) < 0.02 * np.linalg.norm(one)
    # In the limits it moves with a, or with a/Z, alone: their slopes and those of the model are nearly parallel.
    of_a, of_Z = injector.slopes * scale / np.array([[injector.a], [injector.Z]])
    limits = {"small": of_a, "large": of_a - of_Z}
    if expected in limits:
        limit = limits[expected]
        assert abs(one @ limit) > 0.99 * np.linalg.norm(one) * np.linalg.norm(limit)


def test_S_s_of_a_magnet_and_of_its_interface_are_one_to_a_heat_current(model: Model) -> None:
    """d s/d S_s : d s/d S_s,interface = lambda_sf : kappa_o/K_o.

    Corrections: 1/cosh(30/5) = 5e-3 of the magnet of 30 nm; with S_s of the other magnet, the spin Peltier heat of what
    that one injects.
    """
    values = model.parameters | {"Fe.S_s": -1e-6, "Fe/Cu.S_s": -1e-6, "Ni.S_s": 0.0}
    found = evaluate(model, values, [("heated", "R1.spin")], ["Fe.S_s", "Fe/Cu.S_s"])
    (injector,) = injectors(model.device, values)
    bulk = values["Fe.lambda_sf"]
    jump = kappa_open(injector.of_magnet, 300) / K_open(injector.of_interface, 300)
    assert found.jacobian[0, 0] / found.jacobian[0, 1] == pytest.approx(bulk / jump, rel=0.01)


def test_combinations_of_a_magnet_and_its_interface() -> None:
    """Numbers of the metals of Slachter et al. 2010: R_F* = 5e-9/(4.32e6 (1 - 0.25^2)) = 1.2346 fohm m^2."""
    magnet = {"sigma": 4.32e6, "P": 0.25, "lambda_sf": 5e-9}
    one = Injector("Py", "Py/Cu", magnet, {"RA": 0.5e-15, "gamma": 0.7})
    assert pytest.approx(1.23457e-15, rel=1e-5) == one.R_F
    assert one.r == pytest.approx(0.5e-15 / 0.51) and one.P_eff == pytest.approx(0.4492, abs=1e-4)
    step = 1e-6
    for k, (key, of) in enumerate((("P", "of_magnet"), ("gamma", "of_interface"), ("RA", "of_interface"))):
        h = step * (1e-15 if key == "RA" else 1)
        ends = []
        for sign in (1, -1):
            moved = {"of_magnet": dict(one.of_magnet), "of_interface": dict(one.of_interface)}
            moved[of][key] += sign * h
            other = Injector("Py", "Py/Cu", **moved)
            ends.append(np.array([other.a, other.Z]))
        assert one.slopes[:, k] == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6)


def test_a_fit_says_what_its_data_cannot_tell_apart(model: Model) -> None:
    found = evaluate(model, model.parameters, wanted := [("pillar", "R1.spin"), ("heated", "R1.spin")])
    rows = [
        Row(*name, float(value), abs(0.01 * float(value))) for name, value in zip(wanted, found.values, strict=True)
    ]
    result = fit(model, rows, ["Fe.P", "Fe/Cu.S_s"], FitOptions(grid_errors=False))
    text = result.report()
    assert "Fe.P, Fe/Cu.gamma and Fe/Cu.RA enter spin signals in two combinations alone" in text
    assert "Fe.P makes up for what Fe/Cu.gamma and Fe/Cu.RA were held at" in text
    # R_F* = 5e-9/(4e6 0.91) = 1.3736, r* = 1/0.64 = 1.5625 fohm m^2; a = 0.3 R_F* + 0.6 r*.
    assert "a = P R_F* + gamma r* = 1.3496 fohm m^2, Z = R_F* + r* = 2.9361 fohm m^2, P_eff = a/Z = 0.46" in text
    assert "pillar R1.spin follows a Z^-0." in text and "neither small nor large against the channel" in text
    # lambda_sf S_s = 5 nm (-25 uV/K), S_s,interface kappa_o/K_o = -3 uV/K 27.909/1.9696e9 m
    assert "= -167.5 nm uV/K (-125 of Fe.S_s, -42.51 of Fe/Cu.S_s)" in text
    assert "Fe/Cu.S_s makes up for what the other one was held at" in text
    assert "Fe.kappa = 30 W/(m K) is that at zero potential difference" in text
    assert list(result.remarks) == result.to_json()["remarks"]
    silent = fit(model, rows, ["Cu.lambda_sf"], FitOptions(grid_errors=False))
    assert "in two combinations" not in silent.report() and "fixes only" not in silent.report()


@pytest.mark.parametrize(
    ("lambda_sf", "delta", "holds"), [(5e-9, 0.0, True), (40e-9, 0.0, False), (5e-9, 0.3, False), (40e-9, 0.3, False)]
)
def test_a_degeneracy_is_stated_where_it_is_one(lambda_sf: float, delta: float, holds: bool) -> None:
    """P from 0.3 to 0.25, with gamma and RA that leave a and Z: the signal stays where the sentence is said.

    The magnet is 30 nm thick: what it lacks of R_F* is 1/cosh(30/5) = 5e-3 for 5 nm, and 0.8 for 40 nm.
    """
    text = devices.BAR + INTERFACE.replace("gamma = 0.6", f"gamma = 0.6\ndelta = {delta}")
    device = devices.with_materials(devices.read(text), Fe={"lambda_sf": lambda_sf})
    model = on_grid(device, devices.bar_grid(device, (8, 12, 6), 2))
    values, wanted = model.parameters, [("pillar", "R1.spin"), ("heated", "R1.spin")]
    (injector,) = injectors(device, values)
    P, R = 0.25, lambda_sf / (values["Fe.sigma"] * (1 - 0.25**2))
    gamma = (injector.a - P * R) / (injector.Z - R)
    moved = {"Fe.P": P, "Fe/Cu.gamma": gamma, "Fe/Cu.RA": (injector.Z - R) * (1 - gamma**2)}
    before, after = (evaluate(model, values | other, wanted).values for other in ({}, moved))
    assert (abs(after[0] / before[0] - 1) < 0.03) == (lambda_sf < 6e-9), "delta alone makes 0.4 % here"
    rows = [Row(*name, float(value), abs(0.01 * float(value))) for name, value in zip(wanted, before, strict=True)]
    text = fit(model, rows, ["Fe.P", "Fe/Cu.S_s"], FitOptions(grid_errors=False)).report()
    sentences = ("in two combinations alone", "P_eff = a/Z", "fixes only lambda_sf S_s")
    assert all((each in text) == holds for each in sentences)
    assert ("combinations of Fe.P, Fe/Cu.gamma, Fe/Cu.RA do not describe 'bar'" in text) != holds


@pytest.mark.parametrize(("lambda_sf", "width", "holds"), [(5e-9, 20, True), (40e-9, 20, False), (5e-9, 8, True)])
def test_without_slopes_the_thickness_of_the_magnet_decides(lambda_sf: float, width: int, holds: bool) -> None:
    """Across the interface, 30 nm; how wide a bar is that depends on x alone makes no difference."""
    text = (devices.BAR + INTERFACE).replace("y = [0, 20], z = [0, 20]", f"y = [0, {width}], z = [0, {width}]")
    device = devices.with_materials(devices.read(text), Fe={"lambda_sf": lambda_sf})
    model = on_grid(device, devices.bar_grid(device, (8, 12, 6), 1))
    value = float(evaluate(model, model.parameters, [("pillar", "R1.P")]).values[0])
    row = Row("pillar", "R1.P", value, 0.01 * value)
    found = fit(model, [row], ["Fe.P"], FitOptions(grid_errors=False)).report()
    assert ("in two combinations alone" in found) == holds


def test_each_bath_has_the_combinations_of_its_own_values() -> None:
    """R_F* = 5e-9/(4e6 (1 - P^2)), r* = 1e-15/0.64 ohm m^2, a = P R_F* + 0.6 r*."""
    warm = devices.with_materials(devices.read(devices.BAR + INTERFACE), Fe={"lambda_sf": 5e-9})
    warm = dataclasses.replace(warm, name="warm")
    both = [warm, dataclasses.replace(at_bath(warm, 77.0), name="cold")]
    models = [on_grid(each, devices.bar_grid(each, (8, 12, 6), 1)) for each in both]
    rows = []
    for model, P in zip(models, (0.4, 0.2), strict=True):
        value = float(evaluate(model, model.parameters | {"Fe.P": P}, [("pillar", "R1.spin")]).values[0])
        rows.append(Row("pillar", "R1.spin", value, abs(0.01 * value), device=model.device.name))
    result = fit(models, rows, ["300K:Fe.P", "77K:Fe.P"], FitOptions(grid_errors=False))
    told = [line for line in result.remarks if "in two combinations alone" in line]
    for line, P in zip(told, (0.4, 0.2), strict=True):
        R, r = 5 / (4 * (1 - P**2)), 1 / 0.64
        a = float(line.partition("gamma r* = ")[2].partition(" ")[0])
        assert a == pytest.approx(P * R + 0.6 * r, rel=2e-3), line
        assert "Fe.P makes up for what Fe/Cu.gamma and Fe/Cu.RA were held at" in line


def test_heat_conductances_are_told_without_current_too() -> None:
    """Fe: 300 4e6 (40^2 + 0.91 25^2/4) e-12 = 2.0906 of 30; the face: 300 (10^2 + 0.64 3^2/4) e-12/1e-15 = 3.04e7."""
    device = devices.read(devices.BAR + INTERFACE)
    lines = open_circuit(device)
    fe, face = (next(line for line in lines if line.startswith(name)) for name in ("Fe.kappa", "Fe/Cu.K"))
    assert "= 30 W/(m K)" in fe and "it is 27.909 W/(m K), 7 % less" in fe
    assert "= 2 GW/(m^2 K)" in face and "it is 1.9696 GW/(m^2 K), 1.5 % less" in face
    assert not any(line.startswith("Cu.") for line in lines), "0.5 %"
    assert fe in describe(device, width=400)
    assert "27.909" not in "".join(open_circuit(device, {"Fe.S": 0.0}))


def test_other_contacts_of_metal_without_current_are_tried() -> None:
    """Its reference is the minus contact of the voltage, so that another pair is another problem."""
    heated = """
[experiments.heated]
heat = { in = "10 K" }
voltage = ["out", "in"]
states = { P = {}, AP = { F2 = -1 } }
"""
    device = devices.read(devices.VALVE + heated)
    device = dataclasses.replace(device, experiments={"heated": device.experiments["heated"]})
    model = GridOptions(order=1).build(device)
    value = evaluate(model, {}, [("heated", "R1.baseline")]).values[0]
    row = Row("heated", "R1.baseline", float(value), abs(0.01 * float(value)))
    result = fit(model, [row], ["Cu.S"], FitOptions(grid_errors=False))
    tried = suggest_others(result, contacts=True)
    assert {each.what for each in tried} == {
        "heated R1.baseline between in and side",
        "heated R1.baseline between out and side",
    }
    before = float(np.sqrt(result.covariance[0, 0]))
    assert all(0 < each.stds["Cu.S"] < before for each in tried)
