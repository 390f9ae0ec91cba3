"""Derivatives of every drive and probe by every value of materials, interfaces and ends, against Taylor remainders.

The bars are `helpers.stacks` with strong couplings, on four cells of order 1 in each layer: nothing here depends on the
error of the grid. Signals of a ladder are stationary in the fields, so that values are good to round-off and gradients
to 1e-9 of the largest contribution. A remainder |f(x + h) - f(x) - h f'| that is not of order h^2 shows a wrong f' from
2e-5 of f on.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import stacks
from helpers.exact_cases import link
from helpers.stacks import AG, FE, NI
from thermospin.device.device import Device
from thermospin.model import Model
from thermospin.quantities import QUANTITIES, key_of
from thermospin.signals.evaluate import evaluate

pytestmark = pytest.mark.usefixtures("compiled_forms")

MAGNETS = {"P": {}, "AP": {"F2": -1}}
EXPERIMENTS = (
    stacks.current(),
    stacks.current("spin", **stacks.through("spin", "F1", "N")),
    stacks.current("warm", temperature=("N", "F1")),
    stacks.heat(),
    stacks.heat("hot", **stacks.through("heat", "N", "F2")),
    stacks.power("N"),
)


def pillar() -> Device:
    """F / i / N / i / F with all values that interfaces of one magnet have, and ends that exchange heat."""
    links = [
        link(("F1", "N"), RA=1e-15, gamma=0.5, K=2e8, S=-8e-6, S_s=20e-6, delta=0.3),
        link(("N", "F2"), RA=2e-15, gamma=0.3, delta=0.5),
    ]
    layers = (("F1", FE, 30e-9), ("N", AG, 50e-9), ("F2", NI, 20e-9))
    return stacks.device(layers, *EXPERIMENTS, interfaces=links, h=(3e8, 2e8), zeta=1.3)


def junction() -> Device:
    """N / F / barrier / F: both polarisations, S and S_AP; K alone at the other interface."""
    links = [
        link(("N", "F1"), K=4e8),
        link(("F1", "F2"), RA=2e-14, P1=0.5, P2=0.4, K=3e8, S=-40e-6, S_AP=-70e-6),
    ]
    layers = (("N", AG, 30e-9), ("F1", FE, 30e-9), ("F2", NI, 20e-9))
    kept = [e for e in EXPERIMENTS if e.through is None] + [
        stacks.current("spin", **stacks.through("spin", "F1", "F2")),
        stacks.heat("hot", **stacks.through("heat", "F1", "F2")),
    ]
    return stacks.device(layers, *kept, interfaces=links, h=(3e8, np.inf))


DEVICES = {"pillar": pillar, "junction": junction}
WANTED = [(e.name, signal) for e in EXPERIMENTS for signal in ("R1.P", "R1.AP", "R1.spin", "R2.P", "R2.spin")]
NAMES = {name: list(made().parameters()) for name, made in DEVICES.items()}
EACH = [(device, parameter) for device, names in NAMES.items() for parameter in names]


@functools.cache
def model_of(name: str) -> Model:
    return stacks.on_grid(DEVICES[name](), (4, 4, 4), 1)


def values(name: str, **changed: float) -> np.ndarray:
    """The signals with some parameters changed; those of a ladder to the tolerance of 1e-11 squared."""
    return evaluate(model_of(name), changed, WANTED, tolerance=1e-11).values


@functools.cache
def gradient_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    found = evaluate(model_of(name), {}, WANTED, NAMES[name], tolerance=1e-11)
    return found.values, found.jacobian


def test_every_value_of_an_interface_and_of_an_end_is_a_parameter():
    keys = {name.rpartition(".")[2] for names in NAMES.values() for name in names}
    assert {"RA", "gamma", "P1", "P2", "K", "S", "S_s", "S_AP", "delta", "h", "zeta"} <= keys


@pytest.mark.parametrize("device", DEVICES)
def test_derivatives_leave_values_as_they_are(device):
    here, _ = gradient_of(device)
    np.testing.assert_allclose(values(device), here, rtol=1e-7, atol=1e-12 * abs(here).max())


@pytest.mark.parametrize(("device", "parameter"), EACH, ids=[f"{d} {p}" for d, p in EACH])
def test_the_remainder_of_every_derivative_falls_at_second_order(device, parameter):
    """|f(x + h) - f - h f'| for h = 1 and 0.5 % of x: four times smaller, or nothing but round-off.

    3.4 times where third differences nearly cancel the second ones; a wrong f' makes it twice.

    R2 from one rung is wrong by the error of a field, 1e-9 or so, and so is its derivative.
    """
    here, jacobian = gradient_of(device)
    slope, value = jacobian[:, NAMES[device].index(parameter)], model_of(device).parameters[parameter]
    step = value or QUANTITIES[key_of(parameter)].typical

    def remainder(part: float) -> tuple[np.ndarray, np.ndarray]:
        change = values(device, **{parameter: value + part * step}) - here
        return abs(change - part * step * slope), abs(change)

    (wide, change), (near, _) = remainder(1e-2), remainder(5e-3)
    size = np.array([max(abs(here[WANTED.index((e, f"{s[:2]}.P"))]), 1e-300) for e, s in WANTED])
    # Where second differences cancel, the third show; a wrong derivative leaves the change itself, which halves.
    noise = 1e-7 * size
    assert np.all((near < noise) | (wide / np.maximum(near, 1e-300) > 3.4)), (wide / near, near / size)
    assert np.any(change > 1e-6 * size)  # there is a derivative, of some signal at least


@pytest.mark.parametrize("delta", [700.0, 1e3, 1e6])
def test_derivatives_stay_finite_where_all_spins_flip(delta: float) -> None:
    """From delta = 710 on sinh(delta) is infinite: the link is 0, and so is its derivative, not 0 times infinity."""
    constitution, device = model_of("pillar").constitution, model_of("pillar").device
    (name,) = (name for name in device.parameters() if name.endswith("F2.delta"))

    def row(value: float) -> jax.Array:
        table = constitution.table(device.parameters() | {name: value}, {})
        return jnp.stack([table["uu"], table["ud"], table["relaxation"]])

    at, slope = row(delta), jax.jacfwd(row)(delta)
    column = np.flatnonzero(slope[2])
    assert len(column) == 1
    # c delta tanh(delta/2) goes like delta; all of c is left in ud = c - c delta/sinh(delta).
    np.testing.assert_allclose(slope[2, column], at[2, column] / delta, rtol=1e-12)
    np.testing.assert_allclose(slope[:2], 0.0, atol=1e-200)
