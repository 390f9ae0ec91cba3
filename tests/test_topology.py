"""Free forms: what filter and projection do, derivatives by densities, and a form that is known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from helpers.devices import MATERIALS
from thermospin.base import polygons
from thermospin.designs import checks, topology
from thermospin.designs.checks import DesignCheck
from thermospin.designs.objective import Objective
from thermospin.designs.topology import Canvas
from thermospin.device import edit, reader
from thermospin.device.device import Device
from thermospin.geometry.outlines import outline_of
from thermospin.model import GridOptions, build, on_grid
from thermospin.signals import evaluate

PLATE = (
    """
name = "plate"
length_unit = "nm"
[[solids]] # what is found
name = "canvas"
material = "Cu"
box = { x = [0, 80], y = [0, 60], z = [0, 20] }
[[solids]]
name = "left"
material = "Cu"
box = { x = [-20, 0], y = [0, 60], z = [0, 20] }
[[solids]]
name = "right"
material = "Cu"
box = { x = [80, 100], y = [0, 60], z = [0, 20] }
[[contacts]]
name = "1"
solid = "left"
face = "x-"
[[contacts]]
name = "2"
solid = "right"
face = "x+"
[experiments.e]
current = ["1", "2"]
voltage = ["1", "2"]
states = { P = {} }
"""
    + MATERIALS
)


@pytest.fixture(scope="module")
def plate() -> Device:
    return reader.read(PLATE, "plate.toml")


def test_a_canvas_is_tiles_of_materials_of_their_own(plate: Device) -> None:
    canvas = Canvas.of(plate, "canvas", 20e-9)
    assert canvas.tiles.shape == (4, 3) and len(canvas.device.solids) == 14
    assert canvas.device.parameters()["Cu~3~2.sigma"] == plate.parameters()["Cu.sigma"]
    # Tiles of which a later solid leaves nothing are none.
    shaded = dataclasses.replace(plate, solids=(*plate.solids, dataclasses.replace(plate.solid("left"), name="over",
        box=((0.0, 20e-9), (0.0, 20e-9), (-5e-9, 25e-9)))))  # fmt: skip
    assert np.count_nonzero(Canvas.of(shaded, "canvas", 20e-9).tiles == "") == 1


def test_the_filter_keeps_what_is_even_and_reaches_half_a_feature(plate: Device) -> None:
    canvas = Canvas.of(plate, "canvas", 10e-9)
    matrix = topology.filter_matrix(canvas, 40e-9)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    middle = matrix[3 * 6 + 3].reshape(8, 6)
    assert middle[3, 3] == middle.max() and middle[4, 3] > 0 and middle[5, 3] == 0
    np.testing.assert_array_equal(topology.filter_matrix(canvas, 10e-9), np.eye(48))


def test_the_projection_is_steeper_and_steeper() -> None:
    ends = np.array([0.0, 0.5, 1.0])
    for sharpness in (0.5, 4.0, 16.0):
        np.testing.assert_allclose(topology.projected(ends, sharpness), ends, atol=1e-12)
    assert topology.projected(np.array([0.3]), 16.0) < 0.01 < topology.projected(np.array([0.3]), 1.0)


def test_tiles_become_polygons_and_islands_are_left_out(plate: Device) -> None:
    canvas = Canvas.of(plate, "canvas", 20e-9)
    filled = np.array([[1, 0, 1], [1, 0, 0], [1, 1, 0], [0, 1, 0]], bool)
    made = canvas.made(filled)
    new = [solid for solid in made.solids if solid.name.startswith("canvas")]
    # The corner tile touches a contact's solid; the strip joins both.
    areas = sorted(round(1e18 * abs(float(polygons.area(outline_of(each))))) for each in new)
    assert areas == [400, 2000]
    alone = np.zeros((4, 3), bool)
    alone[1, 1] = True
    with pytest.raises(ValueError, match="touches no other solid"):
        canvas.made(alone)
    text = edit.with_form(PLATE, "canvas", new)
    again = reader.read(text, "plate.toml")
    assert "# what is found" not in text or text.count("canvas") >= 2
    assert [s.outline for s in again.solids] == [s.outline for s in made.solids]


def test_dimensions_of_the_canvas_alone_go_with_it(plate: Device) -> None:
    """Also one that only another follows, in variants too; one that other solids use as well stays."""
    text = PLATE.replace("x = [0, 80], y = [0, 60]", 'x = [0, "end"], y = [0, "wide"]', 1).replace(
        "x = [-20, 0], y = [0, 60]", 'x = [-20, 0], y = [0, "wide"]'
    )
    dimensions = '[dimensions]\nwide = 60\nhalf = { value = 40, range = [30, 50] }\nend = "2 * half" # follows\n'
    variants = (
        '[[variants]]\nname = "short"\nset = { half = 40 }\n[[variants]]\nname = "hot"\nset = { half = 40, zeta = 2 }\n'
    )
    text = text.replace("[[solids]]", f"{dimensions}[[solids]]", 1) + variants
    device = reader.read(text, "plate.toml")
    made = Canvas.of(device, "canvas", 20e-9).made(np.ones((4, 3), bool))
    again = reader.read(edit.with_form(text, "canvas", [made.solid("canvas")]), "plate.toml")
    assert list(again.dimensions) == ["wide"] and again.variants == {"hot": {"zeta": 2.0}}


def test_interfaces_of_the_metal_are_those_of_its_tiles(plate: Device) -> None:
    """With all tiles of full metal it is the same device: equal to what the solver leaves."""
    text = PLATE.replace('name = "left"\nmaterial = "Cu"', 'name = "left"\nmaterial = "Py"')
    face = '[[interfaces]]\nname = "face"\nbetween = ["Py", "Cu"]\nRA = "1 fohm m^2"\n'
    device = reader.read(f"{text}\n{face}", "plate.toml")
    cut = Canvas.of(device, "canvas", 20e-9).device
    lines = build(cut, cells=60, order=1).grid.lines
    R, tiled, bare = (
        evaluate.evaluate(on_grid(each, each.features.grid(lines, 1)), {}, [("e", "R1.P")]).values[0]
        for each in (device, cut, dataclasses.replace(device, interfaces=()))
    )
    assert tiled == pytest.approx(R, rel=1e-8) and abs(bare / R - 1) > 0.1
    for extra, user in (
        (face.replace('"Cu"]', '"canvas"]').replace('"Py"', '"left"'), "interface 'face'"),
        ('[experiments.t]\ncurrent = ["1", "2"]\ntemperature = "canvas"\n', "experiment 't'"),
    ):
        with pytest.raises(ValueError, match=f"form: {user} names solid 'canvas', which the form may cut"):
            Canvas.of(reader.read(f"{text}\n{extra}", "plate.toml"), "canvas", 20e-9)


def test_pieces_have_names_that_no_solid_has(plate: Device) -> None:
    right = dataclasses.replace(plate.solid("right"), name="canvas1")
    contacts = tuple(dataclasses.replace(c, solid="canvas1" if c.solid == "right" else c.solid) for c in plate.contacts)
    device = dataclasses.replace(plate, solids=(*plate.solids[:-1], right), contacts=contacts)
    made = Canvas.of(device, "canvas", 20e-9).made(np.array([[1, 0, 1], [1, 0, 0], [1, 1, 0], [0, 1, 0]], bool))
    assert [solid.name for solid in made.solids] == ["canvas2", "canvas3", "left", "canvas1"]


def test_the_form_of_least_resistance_is_the_whole_canvas(
    plate: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From half of it everywhere; the journal answers what was asked before."""
    monkeypatch.setattr(checks, "checked", lambda *_: DesignCheck({}, (1.0, 0.0), float("nan")))
    objective = Objective.parse("1 / e R1.P", plate)
    options = {"tile": 20e-9, "feature": 20e-9, "journal": tmp_path / "journal.jsonl"}
    options["grid"] = GridOptions(cells=60, order=1)
    found = topology.free_form(plate, objective, "canvas", steps=8, **options)
    assert np.all(found.density > 0.99) and found.history[-1] > 5 * found.history[0]
    assert [each.box for each in found.pieces] == [plate.solid("canvas").box]
    calls = []
    true = evaluate.evaluate
    monkeypatch.setattr(evaluate, "evaluate", lambda *a, **k: calls.append(1) or true(*a, **k))
    again = topology.free_form(plate, objective, "canvas", steps=8, **options)
    assert not calls and again.history == found.history


def test_a_form_of_a_signal_that_is_0_is_refused(plate: Device) -> None:
    cold = dataclasses.replace(plate, zeta=0.0)
    with pytest.raises(ValueError, match=r"objective: \|e R2.P\| is 0 at form 1"):
        options = {"tile": 20e-9, "feature": 40e-9, "grid": GridOptions(cells=60, order=1)}
        topology.free_form(cold, Objective.parse("e R2.P", cold), "canvas", steps=2, **options)
    with pytest.raises(ValueError, match="got experiment 'x'"):
        topology.free_form(cold, Objective(("x", "R2.P")), "canvas", **options)


@pytest.mark.parametrize(
    ("solid", "options", "words"),
    [
        ("canvs", {}, "form: got solid 'canvs'; did you mean 'canvas'"),
        ("left", {}, "form: solid 'left' has a contact"),
        ("canvas", {"tile": 1e-9}, "make 80 x 60 of them, expected 600 at most"),
        ("canvas", {"tile": 0.0}, "tile: got 0 nm, expected a length above 0"),
        ("canvas", {"feature": 5e-9}, "feature: got 5 nm, expected a tile of 20 nm or more"),
        ("canvas", {"steps": 0}, "steps: got 0, expected a whole number of at least 1"),
        ("canvas", {"steps": 2.5}, "steps: got 2.5, expected a whole number of at least 1"),
    ],
)
def test_what_cannot_be_formed_is_told(plate: Device, solid: str, options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        topology.free_form(
            plate, Objective.parse("e R1.P", plate), solid, **({"tile": 20e-9, "feature": 40e-9} | options)
        )
