"""Borders of two metals that are slanted, seen from above: grid lines enclose them."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import devices
from thermospin.device import reader
from thermospin.device.device import Device
from thermospin.geometry.borders import Band, bands
from thermospin.model import build
from thermospin.signals import evaluate

VALVE = """
name = "valve"
length_unit = "nm"
[dimensions]
low = {low}
high = {high}
[[solids]]
name = "F1"
material = "Py"
box = {{ x = [-60, 0], y = [-20, 20], z = [0, 15] }}
[[solids]]
name = "N"
material = "Cu"
polygon = [[0, -20], ["low", -20], ["high", 20], [0, 20]]
z = [0, 15]
[[solids]]
name = "F2"
material = "Py"
magnet = "F2"
polygon = [["low", -20], [120, -20], [120, 20], ["high", 20]]
z = [0, 15]
[[contacts]]
name = "left"
solid = "F1"
face = "x-"
[[contacts]]
name = "right"
solid = "F2"
face = "x+"
[experiments.along]
current = ["left", "right"]
voltage = ["left", "right"]
states = {{ P = {{}}, AP = {{ F2 = -1 }} }}
"""


def valve(low: float, high: float) -> Device:
    return reader.read(VALVE.format(low=low, high=high), "valve.toml")


def between(device: Device) -> tuple[Band, ...]:
    indices = [device.domains.index((solid.material, solid.magnet)) for solid in device.solids]
    return bands(device.layout(), indices, [device.materials[solid.material].is_metal for solid in device.solids])


def test_a_border_turned_by_one_degree_acts_as_an_upright_one_at_its_middle() -> None:
    """Current along a bar Py/Cu/Py.

    The resistance lies between those of borders at either end. The spin part comes from within a relaxation length of
    permalloy, of which it loses at most half of the band in which both metals conduct in parallel. One cell from face
    to face did so once: the resistance was out of its bounds, the spin part 16 % off.
    """
    tilt = 20 * np.tan(np.pi / 180)
    devices_of = [valve(low, high) for low, high in [(60 - tilt,) * 2, (60 - tilt, 60 + tilt), (60 + tilt,) * 2]]
    first, turned, last = (evaluate.measure(build(device, cells=150, order=2)) for device in devices_of)
    ends, found = ([part["along", "R1.baseline"] for part in group] for group in ((last, first), (turned,)))
    assert ends[0] < found[0] < ends[1]
    upright = (first["along", "R1.spin"] + last["along", "R1.spin"]) / 2
    lost = tilt * 1e-9 / devices_of[1].materials["Py"].lambda_sf
    assert turned["along", "R1.spin"] == pytest.approx(upright, rel=lost)


def test_lines_enclose_a_border_and_move_with_it() -> None:
    device = valve(59, 61)
    (band,) = between(device)
    assert (band.axis, band.solids) == (0, (1, 2))
    np.testing.assert_allclose(band.ends, (59e-9, 61e-9), rtol=1e-9)
    faces, slopes = device.face_slopes(0)
    places = [int(np.argmin(np.abs(faces - end))) for end in band.ends]
    # The size that is wanted is a fifth of the relaxation length of permalloy; lines are a twentieth of it outside.
    off = device.materials["Py"].lambda_sf / 5 / 20
    np.testing.assert_allclose(faces[places], (59e-9 - off, 61e-9 + off), rtol=1e-9)
    assert [slopes[place] for place in places] == [{"low": 1.0}, {"high": 1.0}]
    moved = build(device, cells=300, order=1).moved({"low": 58.5e-9})
    assert np.abs(moved.grid.lines[0] - (58.5e-9 - off)).min() < 1e-15


TURNED = """
[[solids]]
name = "strip"
material = "Py"
polygon = {corners}
z = [20, 35]
"""


def test_edges_of_one_strip_are_bands_of_their_own() -> None:
    """A strip turned as a whole lies on a wire: its ends, nearly normal to y, must not join its sides along x."""
    turn = np.array([[1, 0.05], [-0.05, 1]])
    corners = np.round([150, 30] + np.array([[-20, -15], [20, -15], [20, 15], [-20, 15]]) @ turn, 6)
    device = devices.read(devices.STRIP + TURNED.format(corners=corners.tolist()))
    along_x = [band for band in between(device) if band.axis == 0]
    ends = sorted(1e9 * end for band in along_x for end in band.ends)
    np.testing.assert_allclose(ends, np.sort(corners[:, 0]), atol=1e-5)
    assert len(along_x) == 2
