"""Contacts of layouts: which edge a label or a point means, over every height, and what faulty ones are told."""

from __future__ import annotations

from pathlib import Path

import gdstk
import numpy as np
import pytest

from thermospin.device import gds
from thermospin.device.device import Device, DeviceError
from thermospin.device.reader import load
from thermospin.geometry.edges import edges_of
from thermospin.geometry.outlines import Patch
from thermospin.model import build
from thermospin.signals.evaluate import measure

COPPER = """
length_unit = "nm"
[layout]
file = "mine.gds"
[[layout.layers]]
layer = "2/0"
material = "Cu"
thickness = 50
zmin = 0
[experiments.r]
current = ["a", "b"]
voltage = ["a", "b"]
states = { P = {} }
[[contacts]]
name = "a"
label = "a"
[[contacts]]
name = "b"
label = "b"
"""
WIRE = [(0, 0), (0.4, 0), (0.4, 0.05), (0, 0.05)]
#: A spine at x < 50 nm with two fingers to the right, the lower one shorter.
COMB = [(0, 0), (0.05, 0), (0.05, 0.1), (0.3, 0.1), (0.3, 0.15), (0.05, 0.15), (0.05, 0.4), (0.8, 0.4), (0.8, 0.45),
        (0.05, 0.45), (0.05, 0.6), (0, 0.6)]  # fmt: skip


def cell_of(*outlines: list[tuple[float, float]], labels: dict[str, tuple[float, float]]) -> gdstk.Cell:
    cell = gdstk.Cell("MINE")
    cell.add(*(gdstk.Polygon(outline, layer=2) for outline in outlines))
    cell.add(*(gdstk.Label(text, place, layer=2) for text, place in labels.items()))
    return cell


def device_of(folder: Path, text: str, cell: gdstk.Cell) -> Device:
    library = gdstk.Library(unit=1e-6, precision=1e-10)
    library.add(cell)
    library.write_gds(folder / "mine.gds")
    (folder / "mine.toml").write_text(text)
    return load(folder / "mine.toml")


def fault_of(folder: Path, text: str, cell: gdstk.Cell) -> str:
    with pytest.raises(DeviceError) as caught:
        device_of(folder, text, cell)
    return str(caught.value)


def faces_of(device: Device) -> dict[str, Patch]:
    return {name: face for name, face in device.contact_faces().items() if isinstance(face, Patch)}


def resistance(device: Device) -> float:
    return float(measure(build(device, order=2), harmonics=1)["r", "R1.P"])


def test_edges_of_an_outline() -> None:
    """Of a comb; collinear pieces are one edge, and a cut that joins a hole to the outline is none."""
    found = {(edge.face, edge.middle): edge.length for edge in edges_of(np.array(COMB) * 1e-6)}
    assert len(found) == 12 and found["x+", (300e-9, 125e-9)] == pytest.approx(50e-9)
    split = edges_of(np.array([(0, 0), (1, 0), (3, 0), (3, 1), (0, 1)]) * 1e-6)
    assert sorted(edge.length for edge in split) == pytest.approx([1e-6, 1e-6, 3e-6, 3e-6])
    ring = np.array([(0, 0), (3, 0), (3, 3), (0, 3), (0, 1), (1, 1), (1, 2), (2, 2), (2, 1), (0, 1)]) * 1e-6
    assert sorted(e.length for e in edges_of(ring)) == pytest.approx([1e-6] * 4 + [3e-6] * 4)
    halves = [np.array([(x, 0), (x + 1, 0), (x + 1, 1), (x, 1)]) * 1e-6 for x in (0, 1)]
    assert {edge.face for edge in edges_of(halves[0], halves[1:])} == {"x-", "y-", "y+"}


@pytest.mark.parametrize("length", [0.3, 0.8])
def test_a_label_is_at_the_edge_where_it_stands(tmp_path: Path, length: float) -> None:
    """Not at the end of the comb that reaches furthest, nor at the ends of both fingers."""
    comb = [(length if x == 0.3 else x, y) for x, y in COMB]
    labels = {"a": (0.025, 0.598), "b": (length - 0.002, 0.125), "c": (0.798, 0.425)}
    device = device_of(tmp_path, COPPER + '[[contacts]]\nname = "c"\nlabel = "c"\n', cell_of(comb, labels=labels))
    assert {c.name: c.face for c in device.contacts} == {"a": "y+", "b": "x+", "c": "x+"}
    faces = faces_of(device)
    assert {name: face.area for name, face in faces.items()} == pytest.approx(dict.fromkeys("abc", 50e-9 * 50e-9))
    assert {name: face.centre for name, face in faces.items()} == {
        "a": pytest.approx((25e-9, 600e-9)),
        "b": pytest.approx((length * 1e-6, 125e-9)),
        "c": pytest.approx((800e-9, 425e-9)),
    }


def test_the_ends_of_a_slanted_film_are_held_over_its_height(tmp_path: Path) -> None:
    """Current enters evenly, and slices that touch resist a little less than those that do not: sum of I_i^2 R_i."""
    cell = cell_of(WIRE, labels={"a": (0.002, 0.025), "b": (0.398, 0.025)})
    slanted = COPPER.replace("zmin = 0", "zmin = 0\nsidewall_angle = 10")
    device = device_of(tmp_path, slanted, cell)
    recess = 50 * np.tan(np.radians(10)) * np.array([1, 3, 5]) / 6
    for name, face in faces_of(device).items():
        assert face.area == pytest.approx(float(np.sum(50 - 2 * recess)) * 50 / 3 * 1e-18)
        ends = recess if name == "a" else 400 - recess
        assert sorted(face.positions) == pytest.approx(sorted(ends * 1e-9))
    width, length = (50 - 2 * recess) * 1e-9, (400 - 2 * recess) * 1e-9
    sigma, height = device.materials["Cu"].sigma, 50e-9 / 3
    apart = float(np.sum(width * length) / (sigma * height * np.sum(width) ** 2))
    assert 0.995 * apart < resistance(device) < apart
    # By the name of the body, the same.
    named = slanted.replace('label = "a"', 'solid = "Cu"\nface = "x-"').replace(
        'label = "b"', 'solid = "Cu"\nface = "x+"'
    )
    assert faces_of(device_of(tmp_path, named, cell_of(WIRE, labels={})))["a"].area == pytest.approx(
        faces_of(device)["a"].area
    )


def test_a_slanted_comb_has_its_grid_lines_and_derivatives(tmp_path: Path) -> None:
    """Its fingers stay apart on the program's own grid; the planes of its contacts move with their slices."""
    cell = cell_of(COMB, labels={"a": (0.025, 0.598), "b": (0.298, 0.125)})
    text = COPPER.replace("zmin = 0", "zmin = 0\nsidewall_angle = 10").replace("= 50", '= "t"')
    upright = resistance(device_of(tmp_path, COPPER, cell))
    device = device_of(tmp_path, text.replace("[layout]", "[dimensions]\nt = 50\n[layout]"), cell)
    mean = 50 - 50 * np.tan(np.radians(10))
    assert resistance(device) == pytest.approx(upright * 50 / mean, rel=0.02)
    faces, slopes = device.face_slopes(0)
    assert len(faces) == len(slopes)
    planes = faces_of(device)["b"].positions
    assert len(planes) == 3 and all(np.abs(faces - plane).min() < 1e-12 for plane in planes)
    for k, plane in enumerate(sorted(planes, reverse=True)):  # the lowest slice is the widest
        slope = slopes[int(np.argmin(np.abs(faces - plane)))]
        assert slope == pytest.approx({"t": -np.tan(np.radians(10)) * (k + 0.5) / 3})


def test_a_window_cuts_a_slanted_film_upright(tmp_path: Path) -> None:
    cell = cell_of(WIRE, labels={"a": (0.002, 0.025), "b": (0.398, 0.025)})
    text = COPPER.replace("zmin = 0", "zmin = 0\nsidewall_angle = 10")
    text = text.replace('mine.gds"', 'mine.gds"\nwindow = { x = [100, 300], y = [-100, 100] }')
    device = device_of(tmp_path, text, cell)
    assert {name: face.positions for name, face in faces_of(device).items()} == {
        "a": pytest.approx((100e-9,)),
        "b": pytest.approx((300e-9,)),
    }
    widths = 50 - 100 * np.tan(np.radians(10)) * np.array([1, 3, 5]) / 6
    conductance = device.materials["Cu"].sigma * 50e-9 / 3 * float(widths.sum()) / 200
    assert resistance(device) == pytest.approx(1 / conductance, rel=1e-6)


STRIP = '[[layout.layers]]\nlayer = "1/0"\nmaterial = "Py"\nthickness = 20\nzmin = 0\n[[layout.layers]]'
STEP = COPPER.replace("zmin = 0\n", "zmin = 0\ndrape = true\n").replace("[[layout.layers]]", STRIP)


def stepped(**labels: tuple[float, float]) -> gdstk.Cell:
    """A wire over a strip that is 20 nm high and lies across it, from x = 100 to 200 nm."""
    cell = cell_of(WIRE, labels=labels)
    cell.add(gdstk.rectangle((0.1, -0.1), (0.2, 0.15), layer=1))
    return cell


def test_the_top_of_a_film_on_a_step_is_held_at_every_height(tmp_path: Path) -> None:
    cell = stepped(a=(0.002, 0.025), b=(0.398, 0.025))
    top = faces_of(device_of(tmp_path, STEP.replace('label = "b"', 'label = "b"\nface = "z+"'), cell))["b"]
    assert top.area == pytest.approx(400 * 50 * 1e-18) and sorted(top.positions) == pytest.approx([50e-9, 70e-9])
    under = faces_of(device_of(tmp_path, STEP.replace('label = "b"', 'label = "b"\nface = "z-"'), cell))["b"]
    assert under.area == pytest.approx(300 * 50e-18) and under.positions == (0.0,)  # not on the strip, a metal
    cell.add(gdstk.rectangle((0.15, 0.01), (0.25, 0.04), layer=20))
    pad = faces_of(device_of(tmp_path, STEP.replace('label = "b"', 'layer = "20/0"'), cell))["b"]
    assert pad.area == pytest.approx(100 * 30 * 1e-18) and sorted(pad.positions) == pytest.approx([50e-9, 70e-9])


def test_an_end_of_pieces_at_several_heights_is_one_edge(tmp_path: Path) -> None:
    """The strip ends under the end of the wire and covers half of its width."""
    cell = cell_of(WIRE, labels={"a": (0.002, 0.025), "b": (0.398, 0.025)})
    cell.add(gdstk.rectangle((0.1, -0.1), (0.4, 0.025), layer=1))
    device = device_of(tmp_path, STEP, cell)
    face = faces_of(device)["b"]
    assert face.area == pytest.approx(50 * 50e-18) and device.contact("b").face == "x+"
    assert max(top for *_, top in face.rectangles) == pytest.approx(70e-9)


def test_the_top_at_a_label_is_that_of_the_polygon_drawn_there(tmp_path: Path) -> None:
    """A pad and a wire are one body; the label in the middle of the pad holds the pad's top only."""
    pad = [(0.4, -0.1), (0.7, -0.1), (0.7, 0.2), (0.4, 0.2)]
    cell = cell_of(WIRE, pad, labels={"a": (0.002, 0.025), "b": (0.55, 0.05)})
    text = COPPER.replace('label = "b"', 'label = "b"\nface = "z+"')
    device = device_of(tmp_path, text, cell)
    assert faces_of(device)["b"].area == pytest.approx(300 * 300e-18)
    assert faces_of(device)["a"].area == pytest.approx(50 * 50e-18)
    under = faces_of(device_of(tmp_path, text.replace("z+", "z-"), cell))["b"]
    assert under.area == pytest.approx(300 * 300e-18) and under.positions == (0.0,)
    # By a point, or with no face: the side of the pad that is nearest, here all four.
    at = device_of(tmp_path, COPPER.replace('label = "b"', "at = [650, 60]"), cell)
    assert at.contact("b").face == "x+" and faces_of(at)["b"].area == pytest.approx(300 * 50e-18)


@pytest.mark.parametrize(("place", "face"), [((0.2, 0.02), ""), ((0.2, 0.02), 'face = "x+"'), ((0.2, 0.025), "")])
def test_a_label_in_the_middle_of_a_wire(tmp_path: Path, place: tuple[float, float], face: str) -> None:
    """The long side, 400 nm, is near; the only edge at x+ may be far; of equal distances the lower side comes first."""
    cell = cell_of(WIRE, labels={"a": (0.002, 0.025), "b": place})
    device = device_of(tmp_path, COPPER.replace('label = "b"', f'label = "b"\n{face}'), cell)
    assert device.contact("b").face == ("x+" if face else "y-")


#: A plate of 120 nm width with a notch whose bottom is 30 nm wide.
NOTCHED = [(0, 0), (0.12, 0), (0.12, 0.3), (0.075, 0.3), (0.075, 0.12), (0.045, 0.12), (0.045, 0.3), (0, 0.3)]
OCTAGON = gdstk.ellipse((0.06, 0.1), 0.06, tolerance=1e-3).points.tolist()


SPOUT = [(0, 0), (0.05, 0), (0.1, 0.06), (0.06, 0.2), (0, 0.2)]
SHARD = [(0, 0), (0.2, 0.01), (0.1, 0.2)]


@pytest.mark.parametrize(
    ("outline", "face", "expected"),
    [
        (
            NOTCHED,
            "",
            "is 50 nm from the nearest edge, y+ at (60, 120) nm, which is only 30 nm long; put the label at the edge "
            "that is meant, or give at = [x, y] there",
        ),
        (NOTCHED, "y+", "is 50 nm from the nearest edge at y+, y+ at (60, 120) nm, which is only 30 nm long"),
        (SPOUT, "", "is nearest to the slanted or round edge from (100, 60) nm to (60, 200) nm, but a contact needs"),
        (SHARD, "", "it has no straight edge along x or y; draw its end straight"),
        (SHARD, "x+", "it has no straight edge at x+; draw its end straight, or choose another face"),
    ],
)
def test_a_label_far_from_a_straight_edge_is_told(
    tmp_path: Path, outline: list[tuple[float, float]], face: str, expected: str
) -> None:
    text = COPPER.replace('label = "b"', 'label = "b"' + f'\nface = "{face}"' * bool(face))
    found = fault_of(tmp_path, text, cell_of(outline, labels={"a": (0.002, 0.025), "b": (0.06, 0.07)}))
    assert "contact 'b': label 'b' at (60, 70) nm on 'Cu' (layer 2/0, Cu)" in found and expected in found


def test_the_round_end_of_a_path_is_told(tmp_path: Path) -> None:
    """Its long sides are as near to the label as the round end; flush ends are straight."""
    cell = cell_of(labels={"a": (0.002, 0), "b": (0.398, 0)})
    cell.add(gdstk.FlexPath([(0, 0), (0.4, 0)], 0.05, layer=2, simple_path=True, ends="round"))
    found = fault_of(tmp_path, COPPER, cell)
    for label, x in (("a", 2), ("b", 398)):
        assert f"label '{label}' at ({x}, 0) nm on 'Cu' (layer 2/0, Cu) is at the round end of a path" in found
    assert "draw the path with flush ends (pathtype 0 or 2)" in found
    covered = cell_of([(0.3, -0.1), (0.5, -0.1), (0.5, 0.1), (0.3, 0.1)], labels={"a": (0.498, 0), "b": (0.398, 0.09)})
    covered.add(*cell.paths)  # the round end lies within a pad
    assert device_of(tmp_path, COPPER, covered).contact("b").face == "y+"
    flush = cell_of(labels={"a": (0.002, 0), "b": (0.398, 0)})
    flush.add(gdstk.FlexPath([(0, 0), (0.4, 0)], 0.05, layer=2, simple_path=True))
    assert {c.face for c in device_of(tmp_path, COPPER, flush).contacts} == {"x-", "x+"}


RIM = COPPER.replace('mine.gds"', 'mine.gds"\nwindow = { x = [100, 300], y = [-100, 100] }')
PADS = '[[layout.layers]]\nlayer = "3/0"\nmaterial = "Au"\nthickness = 90\nzmin = 50\n'


def with_pads(**labels: tuple[float, float]) -> gdstk.Cell:
    """A wire of 800 nm, whose left end lies under a pad of gold; labels on a layer without shapes."""
    cell = gdstk.Cell("MINE")
    cell.add(gdstk.rectangle((-0.4, 0), (0.4, 0.05), layer=2), gdstk.rectangle((-2, -1), (-0.3, 1), layer=3))
    cell.add(*(gdstk.Label(text, place, layer=63) for text, place in labels.items()))
    return cell


def test_a_label_outside_the_window_is_where_its_metal_crosses_the_rim(tmp_path: Path) -> None:
    """Through the gold, which lies wholly outside; by the closed form the resistance is that of what is left."""
    text = RIM.replace("[[layout.layers]]", PADS + "[[layout.layers]]")
    device = device_of(tmp_path, text, with_pads(a=(-1.5, 0.5), b=(0.398, 0.02)))
    assert {c.name: (c.face, c.solid) for c in device.contacts} == {"a": ("x-", "Cu"), "b": ("x+", "Cu")}
    assert {solid.material for solid in device.solids} == {"Cu"}
    sigma = device.materials["Cu"].sigma
    assert resistance(device) == pytest.approx(200e-9 / (sigma * 50e-9 * 50e-9), rel=1e-9)
    # Labels of a second device in the same cell, whose metal does not reach the window, do not matter.
    cell = with_pads(a=(-1.5, 0.5), b=(0.398, 0.02))
    cell.add(gdstk.rectangle((5, 5), (6, 6), layer=2), gdstk.Label("a", (5.5, 5.5), layer=63))
    assert device_of(tmp_path, text, cell).contact("a").face == "x-"


LOOP = ((-0.4, 0.06), (0.5, 0.09))
FAR = ((5, 5), (6, 6))


@pytest.mark.parametrize(
    ("shape", "label", "face", "expected"),
    [
        (LOOP, (-1.5, 0.5), "", "(-1500, 500) nm is outside the window, and the metal there crosses its rim at "
         "x- (100, 25) nm, x- (100, 75) nm; give at = [x, y] of the one meant"),
        (FAR, (5.5, 5.5), "", "(5500, 5500) nm is outside the window, and no metal leads from there into it; metal "
         "crosses its rim at x- (100, 25) nm, x+ (300, 25) nm; give at = [x, y] of the one meant"),
        (FAR, (-1.5, 0.5), "y+", "(-1500, 500) nm is outside the window, and the metal there crosses its rim at "
         "x- (100, 25) nm, but the face is y+; give at = [x, y] of the one meant"),
    ],
)  # fmt: skip
def test_a_label_whose_metal_crosses_no_one_place_is_told(
    tmp_path: Path,
    shape: tuple[tuple[float, float], tuple[float, float]],
    label: tuple[float, float],
    face: str,
    expected: str,
) -> None:
    cell = with_pads(a=label, b=(0.398, 0.02))
    cell.add(gdstk.rectangle(*shape, layer=2))
    text = RIM.replace("[[layout.layers]]", PADS + "[[layout.layers]]")
    text = text.replace('label = "a"', 'label = "a"' + f'\nface = "{face}"' * bool(face))
    assert f"contact 'a': label 'a' at {expected}" in fault_of(tmp_path, text, cell)


def test_a_window_beside_all_films_is_told(tmp_path: Path) -> None:
    text = COPPER.replace('mine.gds"', 'mine.gds"\nwindow = { x = [9000, 9100], y = [0, 100] }')
    found = fault_of(tmp_path, text, cell_of(WIRE, labels={"a": (0.002, 0.025), "b": (0.398, 0.025)}))
    assert "layer 2/0 (Cu): all of it lies outside the window" in found


@pytest.mark.parametrize("layers", ['["2/0", "2/1"]', '"2/*"', '["2/0", "2/*"]'])
def test_a_film_may_be_drawn_on_several_layers(tmp_path: Path, layers: str) -> None:
    """As in two doses that overlap: one body, no seam; layers to ignore are named in the same ways."""
    cell = cell_of([(0, 0), (0.25, 0), (0.25, 0.05), (0, 0.05)], labels={"a": (0.002, 0.025), "b": (0.398, 0.025)})
    cell.add(gdstk.rectangle((0.15, 0), (0.4, 0.05), layer=2, datatype=1), gdstk.rectangle((0, 1), (1, 2), layer=9))
    text = COPPER.replace('layer = "2/0"', f"layer = {layers}").replace('mine.gds"', 'mine.gds"\nignore = ["9/*", 8]')
    device = device_of(tmp_path, text, cell)
    assert [solid.name for solid in device.solids] == ["Cu"]
    assert device.solids[0].box[0] == (0.0, pytest.approx(400e-9))
    assert "layer 2/1 has 1 polygon" in fault_of(tmp_path, text.replace(f"layer = {layers}", "layer = 2"), cell)
    assert "layer 2/7 of the stack has no shapes" in fault_of(tmp_path, text.replace(layers, '["2/*", "2/7"]'), cell)


def test_doses_that_climb_each_other_are_told_to_be_one_film(tmp_path: Path) -> None:
    cell = cell_of([(0, 0), (0.25, 0), (0.25, 0.05), (0, 0.05)], labels={"a": (0.002, 0.025), "b": (0.398, 0.025)})
    cell.add(gdstk.rectangle((0.15, 0), (0.4, 0.05), layer=2, datatype=1))
    second = (
        '[[layout.layers]]\nlayer = "2/1"\nmaterial = "Cu"\nthickness = 50\nzmin = 0\ndrape = true\n[experiments.r]'
    )
    found = fault_of(tmp_path, COPPER.replace("[experiments.r]", second), cell)
    assert 'layers that are doses of one film are one entry, layer = ["2/0", "2/1"]' in found


def test_names_do_not_depend_on_the_order_of_polygons(tmp_path: Path) -> None:
    """Bodies are numbered from the left, whatever the order in the file, and also where a union is made."""
    squares = [gdstk.rectangle((x, 0), (x + 0.05, 0.05)).points.tolist() for x in (0, 0.05, 0.2, 0.4, 0.45)]
    text = COPPER.partition("[experiments")[0] + '[[solids]]\nname = "base"\nmaterial = "SiO2"\n'
    text += "box = { x = [-100, 600], y = [-100, 100], z = [-50, 0] }\n"
    text += '[[contacts]]\nname = "a"\nat = [1, 20]\n[[contacts]]\nname = "b"\nat = [210, 1]\n'
    text += '[[contacts]]\nname = "c"\nat = [499, 20]\n'
    found = []
    for order in ([0, 1, 2, 3, 4], [4, 2, 3, 1, 0]):
        device = device_of(tmp_path, text, cell_of(*(squares[k] for k in order), labels={}))
        found.append({solid.name: np.round(np.array(solid.box) * 1e9, 3).tolist() for solid in device.solids})
    assert found[0] == found[1] and list(found[0]) == ["base", "Cu1", "Cu2", "Cu3"]
    assert [box[0][0] for box in found[0].values()] == [-100, 0, 200, 400]


def test_names_may_have_a_slash(tmp_path: Path) -> None:
    """Of a label that names a magnet, a film and a contact, also where the film is in pieces with numbers."""
    cell = stepped(**{"a/1": (0.002, 0.025), "b": (0.398, 0.025)})
    cell.add(gdstk.Label("FM/1", (0.15, 0.1), layer=1))
    text = STEP.replace('"a"', '"a/1"').replace('material = "Cu"', 'material = "Cu"\nname = "Cu/top"')
    text = text.replace("thickness = 20", "thickness = 20\nmagnet = true").replace("P = {}", 'AP = { "FM/1" = -1 }')
    device = device_of(tmp_path, text, cell)
    assert device.magnets == ("FM/1",) and device.contact("a/1").solid == "Cu/top"
    assert {solid.name for solid in device.solids} == {"FM/1", "Cu/top/1", "Cu/top/2", "Cu/top/3"}


def test_the_labels_of_a_written_layout_are_at_the_faces(tmp_path: Path) -> None:
    """So that they mean the same contacts when it is read."""
    labels = {"a": (0.025, 0.598), "b": (0.298, 0.125)}
    device = device_of(tmp_path, COPPER, cell_of(COMB, labels=labels))
    gds.write(device, tmp_path / "again.gds")
    found = {label.text: label.place for label in gds.read(tmp_path / "again.gds").labels}
    assert found == {"a": pytest.approx((25e-9, 600e-9)), "b": pytest.approx((300e-9, 125e-9))}
    text = COPPER.replace("mine.gds", "again.gds").replace('"2/0"', '"1/0"')
    (tmp_path / "again.toml").write_text(text)
    assert {n: f.centre for n, f in load(tmp_path / "again.toml").contact_faces().items()} == {
        name: pytest.approx(face.centre) for name, face in device.contact_faces().items()
    }
