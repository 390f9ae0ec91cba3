"""The demo's own parts: the F/N interface of the paper's Fig. 2, and its table. The whole of it is run by .ci/run."""

from __future__ import annotations

import numpy as np
import pytest

from thermospin import analytic
from thermospin.cli import demo
from thermospin.data import rows as data
from thermospin.device.reader import load


def test_the_interface_of_fig_2_is_the_closed_form_of_the_paper():
    """-50 K/um in Py: V_s = -0.826 uV at the interface (literature value of the paper's metals), decaying both ways.

    Third order with cells of 0.5 nm growing by 1.65: grid error below 1e-5; what the closed form of semi-infinite
    metals leaves out is exp(-120/5) in Py and exp(-2*4000/350) in Cu. The offset of the potentials is free, so V_s is
    compared.
    """
    device = load("slachter2010")
    F, N = device.materials["Py"], device.materials["Cu"]
    x, V_up, V_down = demo.interface_profile(F, N, device.bath)
    V_s = V_up - V_down
    assert V_s[x == 0.0] == pytest.approx(-0.826e-6, abs=1e-9)
    inside = x > -80e-9  # the free end of Py has a spin accumulation of its own, exp(-40/5) = 3e-4 of it here
    exact = analytic.fn_interface_profile(x[inside], F, N, dT_dx=demo.GRADIENT, T0=device.bath)
    error = np.abs(V_s[inside] - (exact.V_up - exact.V_down)).max()
    assert error < 4e-4 * np.abs(V_s).max()
    near = np.abs(x[inside]) < 40e-9
    assert np.abs(V_s[inside] - (exact.V_up - exact.V_down))[near].max() < 3e-5 * np.abs(V_s).max()


def test_the_table_shows_every_row_in_the_units_of_the_paper():
    device = load("slachter2010")
    rows = data.load("slachter2010", device)
    before = {(row.experiment, row.signal): row.value / 2 for row in rows}
    after = {(row.experiment, row.signal): row.value for row in rows}
    text = demo.table(rows, before, after)
    for part in (
        "-15.6 nV/mA^2",
        "-7.8 nV/mA^2",
        "-4.875 nV/mA^2",
        "90 uohm",
        "640 mohm",
        "(sign unknown)",
        "1.05 ohm",
    ):
        assert part in text, part
    assert set(demo.PAPER_MODEL) == set(after)
