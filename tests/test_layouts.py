"""Layouts read: GDSII and OASIS, stacks, draped and slanted films, contacts, and what broken layouts are told."""

from __future__ import annotations

import re
import struct
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gdstk
import numpy as np
import pytest
from typer.testing import CliRunner

from thermospin.base import polygons
from thermospin.base.text import toml_string
from thermospin.cli import app
from thermospin.device import gds, new, reader
from thermospin.device.device import Device, DeviceError
from thermospin.device.reader import load
from thermospin.geometry.outlines import Patch, Regions
from thermospin.model import build
from thermospin.signals.evaluate import evaluate, measure

STACK = """
name = "valve"
length_unit = "nm"
[dimensions]
t_cu = 60
[layout]
file = "valve.gds"
[[layout.layers]]
layer = "1/0"
material = "Py"
thickness = 15
zmin = 0
magnet = true
[[layout.layers]]
layer = 2
material = "Cu"
thickness = "t_cu"
drape = true
[[solids]]
name = "base"
material = "SiO2"
box = { x = [-800, 800], y = [-800, 800], z = [-100, 0] }
[[contacts]]
name = "I+"
label = "I+"
[[contacts]]
name = "V+"
label = "V+"
face = "x+"
[[heat_sinks]]
solid = "base"
face = "z-"
"""


EXPERIMENT = '[experiments.e]\ncurrent = ["I+", "V+"]\nvoltage = ["I+", "V+"]\nstates = { P = {} }\n'


def drawing() -> gdstk.Cell:
    """Two magnets, one pointed, and a bridge that widens; in micrometres."""
    cell = gdstk.Cell("VALVE")
    cell.add(gdstk.rectangle((-0.3, -0.5), (0, 0.5), layer=1))
    cell.add(gdstk.Polygon([(0.1, -0.3), (0.14, -0.3), (0.14, 0.3), (0.12, 0.4), (0.1, 0.3)], layer=1))
    cell.add(
        gdstk.Polygon([(-0.04, -0.02), (0.2, -0.02), (0.4, -0.15), (0.4, 0.15), (0.2, 0.02), (-0.04, 0.02)], layer=2)
    )
    cell.add(gdstk.rectangle((0.4, -0.15), (0.6, 0.15), layer=2))  # touches the funnel: one body with it
    cell.add(gdstk.Label("FM1", (-0.15, 0), layer=1), gdstk.Label("FM2", (0.12, -0.2), layer=1))
    cell.add(gdstk.Label("I+", (-0.15, 0.49), layer=1), gdstk.Label("V+", (0.59, 0), layer=2))
    return cell


def written(folder: Path, *cells: gdstk.Cell, name: str = "valve.gds") -> Path:
    library = gdstk.Library(unit=1e-6, precision=1e-10)
    library.add(*cells)
    path = folder / name
    (library.write_oas if path.suffix == ".oas" else library.write_gds)(path)
    return path


def new_text(name: str, path: Path) -> str:
    return new.from_layout(name, gds.read(path), path, path.parent)


def device_of(folder: Path, text: str = STACK, cell: gdstk.Cell | None = None) -> Device:
    written(folder, cell or drawing())
    path = folder / "valve.toml"
    path.write_text(text)
    return load(path)


def faults_of(folder: Path, text: str = STACK, cell: gdstk.Cell | None = None) -> list[str]:
    with pytest.raises(DeviceError) as caught:
        device_of(folder, text, cell)
    path = folder / "valve.toml"
    return [fault.removeprefix(f"{path}: ").replace(f"{folder}/", "") for fault in caught.value.faults]


def test_a_layout_becomes_a_device(tmp_path: Path) -> None:
    device = device_of(tmp_path)
    assert device.magnets == ("FM1", "FM2")
    assert {solid.name.partition("/")[0] for solid in device.solids} == {"base", "FM1", "FM2", "Cu"}
    assert device.solid("FM1").box == ((-300e-9, 0.0), (-500e-9, 500e-9), (0.0, 15e-9))
    faces = device.contact_faces()
    assert device.contact("I+").face == "y+" and faces["I+"].area == pytest.approx(300e-9 * 15e-9)
    assert faces["V+"].area == pytest.approx(300e-9 * 60e-9)
    # The bridge lies on the magnets where there are some, else on the base; later films overwrite nothing here.
    tops = {round(1e9 * s.box[2][1]) for s in device.solids if s.material == "Cu"}
    assert tops == {60, 75}
    area = sum(abs(polygons.area(np.array(s.outline))) for s in device.solids if s.material == "Cu")
    assert area == pytest.approx((240 * 40 + 200 * 170 + 200 * 300) * 1e-18, rel=1e-9)


def test_thicknesses_are_dimensions_and_draped_films_follow(tmp_path: Path) -> None:
    device = device_of(
        tmp_path, STACK.replace("t_cu = 60", "t_cu = 60\nt_py = 15").replace("thickness = 15", 'thickness = "t_py"')
    )
    moved = device.moved({"t_py": 20e-9, "t_cu": 50e-9})
    assert {round(1e9 * s.box[2][1]) for s in moved.solids if s.material == "Cu"} == {50, 70}


#: Funnel, draped over two magnets, with slanted side walls: all dimensions are free.
SLANTED = STACK.replace("t_cu = 60", "t_cu = 60\nt_py = 15").replace(
    "thickness = 15\nzmin = 0\n", 'thickness = "t_py"\nzmin = 0\nsidewall_angle = 20\n'
).replace('thickness = "t_cu"\n', 'thickness = "t_cu"\nsidewall_angle = -10\nslices = 2\n')  # fmt: skip


@pytest.mark.parametrize("values", [{"t_cu": 70}, {"t_py": 12}, {"t_cu": 45, "t_py": 21}])
def test_slanted_side_walls_follow_their_thickness(tmp_path: Path, values: dict[str, float]) -> None:
    """Solids are those of a file with these values; pieces at steps of films below, and under a pad, move along."""
    cell = drawing()
    cell.add(gdstk.rectangle((0.45, -0.1), (0.65, 0.1), layer=20))  # beyond the end of the film
    before = text = SLANTED.replace('label = "V+"\nface = "x+"', 'layer = "20/0"')
    for name, value in values.items():
        text = re.sub(rf"{name} = \d+", f"{name} = {value}", text)
    wanted = device_of(tmp_path, text, cell)
    moved = device_of(tmp_path, before, cell).moved({name: value * 1e-9 for name, value in values.items()})
    assert moved != device_of(tmp_path, before, cell) and len(moved.solids) == len(wanted.solids) > 10
    assert moved.contact("V+").solid == wanted.contact("V+").solid == "V+@V+"
    for one, other in zip(moved.solids, wanted.solids, strict=True):
        np.testing.assert_allclose(one.box, other.box, rtol=0, atol=polygons.TOUCH)
        assert one.recess == pytest.approx(other.recess, abs=1e-15)
        if one.outline is not None and other.outline is not None:
            differences = polygons.boolean([np.array(one.outline)], [np.array(other.outline)], "xor")
            # Corners are rounded to a femtometre several times on the way; all edges together are up to 3 um long.
            assert sum(abs(float(polygons.area(piece))) for piece in differences) < 1e-14 * 3e-6, one.name


def test_a_slanted_film_keeps_its_edges(tmp_path: Path) -> None:
    """FM2 is 40 nm wide: at 20 degrees the middle of its highest slice of three, 5/6 up, has no width from 66 nm on."""
    device = device_of(tmp_path, SLANTED)
    width = 40e-9 - 2 * np.tan(np.radians(20)) * 5 / 6 * 60e-9
    slices = [solid for solid in device.moved({"t_py": 60e-9}).solids if solid.name.startswith("FM2/")]
    assert min(solid.box[0][1] - solid.box[0][0] for solid in slices) == pytest.approx(width, rel=1e-6)
    with pytest.raises(DeviceError, match="^at t_py = 67 nm: film 'FM2' would .* lose an edge where side walls meet"):
        device.moved({"t_py": 67e-9})


def test_derivatives_by_the_thickness_of_a_slanted_film_are_differences(tmp_path: Path) -> None:
    """Of the grid that moves along, central differences of 0.01 nm: 7e-6 off at 0.1 nm, and of second order."""
    cell = gdstk.Cell("WIRE")
    cell.add(gdstk.rectangle((-0.3, -0.1), (-0.1, 0.1), layer=1), gdstk.rectangle((-0.25, -0.03), (0.3, 0.03), layer=2))
    cell.add(gdstk.Label("I+", (-0.2, 0.1), layer=1), gdstk.Label("V+", (0.3, 0), layer=2))
    text = re.sub("sidewall_angle = 20", "sidewall_angle = 0", SLANTED).replace("= -10", "= 20") + EXPERIMENT
    model = build(device_of(tmp_path, text, cell), cells=1500, order=1)
    wanted = [("e", "R1.P")]
    (slope,) = evaluate(model, {}, wanted, ["t_cu"], tolerance=1e-11).jacobian[0]
    ends = [
        evaluate(model.moved({"t_cu": 60e-9 + step}), {}, wanted, tolerance=1e-11).values[0] for step in (1e-11, -1e-11)
    ]
    # The solver leaves 1e-11 of R, which is 5e-8 of a difference of 2 (0.01 nm) slope.
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-11, rel=1e-6)
    upright = device_of(tmp_path, text.replace("sidewall_angle = 20", "sidewall_angle = 0"), cell)
    (without,) = evaluate(build(upright, cells=1500, order=1), {}, wanted, ["t_cu"]).jacobian[0]
    assert abs(slope / without - 1) > 0.05, "side walls matter"


@pytest.mark.parametrize("name", ["t_cu", "t_py"])
def test_rounded_edges_change_no_signal(tmp_path: Path, name: str) -> None:
    """Slices, pads and an interface: edges that are rounded to a femtometre leave their grid lines, or lie on them.

    A node beside a pad was held over a cell of which the pad covers 1 fm^2: R was 25 % too small. Central differences
    of 0.01 nm are of second order, and of rounding 1e-15/1e-11.
    """
    cell = gdstk.Cell("WIRE")
    cell.add(gdstk.rectangle((-0.3, -0.1), (-0.1, 0.1), layer=1), gdstk.rectangle((-0.3, 0.06), (-0.1, 0.1), layer=20))
    cell.add(gdstk.rectangle((-0.25, -0.03), (0.3, 0.03), layer=2), gdstk.rectangle((0.2, -0.1), (0.3, 0.1), layer=21))
    text = SLANTED.replace("= -10", "= 20").replace('label = "I+"\n', 'layer = "20/0"\n')
    text = text.replace('label = "V+"\nface = "x+"', 'layer = "21/0"') + EXPERIMENT
    text += '[[interfaces]]\nname = "Py|Cu"\nbetween = ["Py", "Cu"]\nRA = "1 fohm m^2"\ngamma = 0.5\n'
    model = build(device_of(tmp_path, text, cell), cells=1500, order=1)
    wanted, step = [("e", "R1.P")], 1e-11
    found = evaluate(model, {}, wanted, [name], tolerance=1e-11)
    at = model.device.lengths()[name]
    up, down = (evaluate(model.moved({name: at + h}), {}, wanted, tolerance=1e-11).values[0] for h in (step, -step))
    assert found.values[0] == pytest.approx((up + down) / 2, rel=1e-6)
    assert found.jacobian[0, 0] == pytest.approx((up - down) / (2 * step), rel=1e-4)
    assert abs(found.jacobian[0, 0]) * at > 0.01 * found.values[0]


def test_a_slanted_film_over_a_turned_step_moves(tmp_path: Path) -> None:
    """Where its slices meet at the step they have one velocity, which round-off made two: all moves were refused."""
    cell = gdstk.Cell("STEP")
    cell.add(gdstk.Polygon([(-0.1, -0.2), (0, -0.2), (0.01, 0.2), (-0.1, 0.2)], layer=1))
    cell.add(gdstk.rectangle((-0.2, -0.05), (0.2, 0.05), layer=2))
    cell.add(gdstk.Label("I+", (-0.19, 0), layer=2), gdstk.Label("V+", (0.19, 0), layer=2))
    text = SLANTED.replace("= -10", "= 20").replace("sidewall_angle = 20\n", "", 1) + EXPERIMENT
    model = build(device_of(tmp_path, text.replace('face = "x+"\n', ""), cell), cells=1500, order=1)
    wanted, step = [("e", "R1.P")], 1e-11
    (slope,) = evaluate(model, {}, wanted, ["t_cu"], tolerance=1e-11).jacobian[0]
    up, down = (
        evaluate(model.moved({"t_cu": 60e-9 + h}), {}, wanted, tolerance=1e-11).values[0] for h in (step, -step)
    )
    assert slope == pytest.approx((up - down) / (2 * step), rel=1e-4) and slope != 0


def test_a_draped_film_does_not_change_what_it_lies_on(tmp_path: Path) -> None:
    """Where a film lies on the higher one of two, another order of heights is another film: of the file alone."""
    cell = drawing()
    cell.add(gdstk.rectangle((-0.02, -0.1), (0.05, 0.1), layer=5))
    low = '[[layout.layers]]\nlayer = 5\nmaterial = "Au"\nthickness = "t_au"\nzmin = 0\n[[layout.layers]]\nlayer = 2'
    text = STACK.replace("t_cu = 60", "t_cu = 60\nt_au = 10").replace("[[layout.layers]]\nlayer = 2", low)
    device = device_of(tmp_path, text, cell)
    assert device.moved({"t_au": 14e-9}).lengths()["t_au"] == 14e-9
    with pytest.raises(
        DeviceError, match="^at t_au = 20 nm: film 'Cu' would have another shape .* on another solid[^\n]*$"
    ):
        device.moved({"t_au": 20e-9})


@pytest.mark.parametrize("name", ["valve.gds", "valve.oas"])
def test_both_formats_read_alike(tmp_path: Path, name: str) -> None:
    found = gds.read(written(tmp_path, drawing(), name=name))
    assert found.cell == "VALVE"
    assert sorted((len(each), layer) for layer, each in found.shapes.items()) == [(2, (1, 0)), (2, (2, 0))]
    assert {label.text: label.place for label in found.labels}["V+"] == (590e-9, 0.0)
    assert found.extent == ((-300e-9, 600e-9), (-500e-9, 500e-9))


def test_cells_inside_cells_and_paths_count(tmp_path: Path) -> None:
    inner, outer = drawing(), gdstk.Cell("TOP")
    outer.add(gdstk.Reference(inner, (1.0, 0), rotation=np.pi / 2))
    outer.add(gdstk.FlexPath([(0, -1), (0.5, -1)], 0.1, layer=3, simple_path=True))
    found = gds.read(written(tmp_path, outer, inner))
    assert found.cell == "TOP" and len(found.shapes[1, 0]) == 2
    np.testing.assert_allclose(np.concatenate(found.shapes[1, 0])[:4].min(axis=0), (0.5e-6, -0.3e-6), atol=1e-15)
    assert abs(polygons.area(found.shapes[3, 0][0])) == pytest.approx(0.05e-12)
    assert gds.read(tmp_path / "valve.gds", "VALVE").extent[0] == (-300e-9, 600e-9)


def test_cells_with_data_of_a_layout_program_are_none(tmp_path: Path) -> None:
    data = gdstk.Cell("$$$CONTEXT_INFO$$$")
    data.add(gdstk.rectangle((0, 0), (1, 1)))
    assert gds.read(written(tmp_path, data, drawing())).cell == "VALVE"


def test_several_top_cells_are_listed(tmp_path: Path) -> None:
    other = gdstk.Cell("OTHER")
    other.add(gdstk.rectangle((0, 0), (1, 1)))
    path = written(tmp_path, drawing(), other)
    with pytest.raises(gds.LayoutError, match=r'2 top cells: (VALVE, OTHER|OTHER, VALVE); say which with cell = "'):
        gds.read(path)
    assert gds.read(path, "OTHER").shapes.keys() == {(0, 0)}
    with pytest.raises(gds.LayoutError, match="there is no cell 'VALV'; it has (VALVE, OTHER|OTHER, VALVE)"):
        gds.read(path, "VALV")


def _bow(cell: gdstk.Cell) -> None:
    cell.add(gdstk.Polygon([(0.5, 0.5), (0.6, 0.6), (0.6, 0.5), (0.5, 0.6)], layer=2))


def _flat(cell: gdstk.Cell) -> None:
    cell.add(gdstk.Polygon([(0.5, 0.5), (0.6, 0.6), (0.7, 0.7)], layer=2))


def _near(cell: gdstk.Cell) -> None:
    cell.add(gdstk.rectangle((0.601, -0.1), (0.7, 0.1), layer=2))


def _stray(cell: gdstk.Cell) -> None:
    cell.add(gdstk.rectangle((0.5, 0.5), (0.6, 0.6), layer=7, datatype=2))


def _air(cell: gdstk.Cell) -> None:
    for label in cell.labels:
        if label.text == "V+":
            label.origin = (0.63, 0)


def _twice(cell: gdstk.Cell) -> None:
    cell.add(gdstk.Label("V+", (0.5, 0.1), layer=2))


@pytest.mark.parametrize(
    ("spoil", "change", "expected"),
    [
        (_bow, ("", ""), "layout: polygon 2 on layer 2/0, around (550, 550) nm: its edges 0 and 2 cross "
         "each other at (550, 550) nm; cut it into polygons that do not"),
        (_flat, ("", ""), "layout: polygon 2 on layer 2/0, around (600, 600) nm: its area is zero, at "),
        (_near, ("", ""), "and 'Cu2': metals that are 1 nm apart at (600.5, "),
        (_stray, ("", ""), "layout: layer 7/2 has 1 polygon, the first around (550, 550) nm, but no entry in the "
         'stack; add one, or ignore = ["7/2"]'),
        (_stray, ("[[layout.layers]]", 'ignore = ["7/2"]\n[[layout.layers]]'), None),
        (_air, ("", ""), "contact 'V+': it is on air: at (630, 0) nm there is no metal of the stack; the nearest, "
         "'Cu', is 30 nm away"),
        (_twice, ("", ""), "contact 'V+': 2 labels say 'V+', at (590, 0) nm and (500, 100) nm; expected one"),
        (None, ('label = "V+"', 'label = "V*"'), "contact 'V+': no label says 'V*'; did you mean"),
        (None, ("layer = 2", "layer = 5"), "layout: layer 5/0 of the stack has no shapes in cell 'VALVE', which has "
         '"1/0", "2/0"'),
        (None, ("layer = 2", 'layer = "two"'), "layout.layers[1], layer: got 'two', expected a layer and a datatype, "
         'such as "3/0", 3, "3/*", or a list of these'),
        (None, ("zmin = 0\n", ""), "layout.layers[0], zmin: missing; give a height, or drape = true"),
        (None, ("thickness = 15", "thickness = 15\nslices = true"), "layout.layers[0], slices: got true"),
        (None, ("t_cu = 60", "t_cu = 10"), "solid 'Cu': its pieces do not hang together, one around"),
        (None, ('file = "valve.gds"', 'file = "valv.gds"'), "layout: valv.gds: no such file"),
        (None, ('file = "valve.gds"', 'file = "valve.gds"\ngrid = 40'), "layout: polygon 0 on layer 1/0: vertex 0 at "
         "(-300, -500) nm is off the grid of 40 nm"),
        (None, ('label = "V+"\nface = "x+"', 'at = [590, 0]'), None),
        (None, ('label = "V+"\nface = "x+"', 'at = [690, 0]'), "contact 'V+': it is on air: at (690, 0) nm there is "
         "no metal of the stack; the nearest, 'V+', is 90 nm away"),
        (None, ('label = "V+"\nface = "x+"', 'label = "V+"\nat = [590, 0]'), "contact 'V+': got label and at, "
         "expected one of them"),
        (None, ('material = "Cu"', 'material = "Cux"'), "solid 'Cux/1', material: got 'Cux'; "),
    ],
)  # fmt: skip
def test_a_broken_layout_is_told(
    tmp_path: Path, spoil: Callable[[gdstk.Cell], None] | None, change: tuple[str, str], expected: str | None
) -> None:
    cell = drawing()
    if spoil:
        spoil(cell)
    text = STACK.replace(*change, 1) if change[0] else STACK
    if expected is None:
        assert device_of(tmp_path, text, cell).magnets
        return
    found = faults_of(tmp_path, text, cell)
    assert any(expected in fault for fault in found), found


def with_flat_path(folder: Path, layer: int, cell: gdstk.Cell) -> Path:
    """Write a cell with a path without width on a layer, which gdstk itself does not write."""
    cell.add(gdstk.FlexPath([(0.1, 0), (1, 1)], 0.1, layer=layer, simple_path=True))
    path = written(folder, cell)
    content = bytearray(path.read_bytes())
    at = content.find(struct.pack(">HH", 8, 0x0F03))  # the record of the path's width
    content[at + 4 : at + 8] = bytes(4)
    path.write_bytes(content)
    return path


def test_a_path_without_width_is_told_where_it_matters(tmp_path: Path) -> None:
    """On a layer of the stack it is a fault; on others it is no shape."""
    text = tmp_path / "valve.toml"
    text.write_text(STACK)
    with_flat_path(tmp_path, 2, drawing())
    with pytest.raises(DeviceError, match=r"path on layer 2/0 from \(100, 0\) nm: an open path without width"):
        load(text)
    with_flat_path(tmp_path, 100, drawing())
    assert load(text).magnets == ("FM1", "FM2")
    assert (100, 0) in gds.read(tmp_path / "valve.gds").lines


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("layer", [2, 5])
@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("vertices", [1, 2])
def test_a_path_without_length_is_told(tmp_path: Path, layer: int, kind: int, vertices: int) -> None:
    """A via drawn as a path with one point, or with the same point twice; layer 5 has nothing else on it."""
    records = [
        struct.pack(">HH", 4, 0x0900),
        struct.pack(">HHh", 6, 0x0D02, layer),
        struct.pack(">HHh", 6, 0x0E02, 0),
        struct.pack(">HHh", 6, 0x2102, kind),
        struct.pack(">HHi", 8, 0x0F03, 600),
        struct.pack(f">HH{2 * vertices}i", 4 + 8 * vertices, 0x1003, *vertices * [500, 0]),
        struct.pack(">HH", 4, 0x1100),
    ]
    path = written(tmp_path, drawing())
    data = path.read_bytes()
    end = data.rindex(struct.pack(">HH", 4, 0x0700))  # ENDSTR
    path.write_bytes(data[:end] + b"".join(records) + data[end:])
    (tmp_path / "valve.toml").write_text(STACK)
    words = rf"path on layer {layer}/0 at \(50, 0\) nm: it has no length; draw it as a polygon"
    with pytest.raises(DeviceError, match=words):
        load(tmp_path / "valve.toml")
    assert 'layer = "2/0"' in new_text("mine", path)
    (tmp_path / "valve.toml").write_text(STACK.replace('valve.gds"', 'valve.gds"\nignore = [5]'))
    if layer == 5:
        assert load(tmp_path / "valve.toml").magnets == ("FM1", "FM2")


def test_what_is_not_used_stops_nothing(tmp_path: Path) -> None:
    """Crossing or flat polygons on ignored layers and outside the window, and a second device of the same labels."""
    cell = drawing()
    cell.add(gdstk.Polygon([(0.5, 0.5), (0.6, 0.6), (0.6, 0.5), (0.5, 0.6)], layer=63))
    for points in ([(5, 5), (6, 6), (6, 5), (5, 6)], [(5, 5), (6, 6), (7, 7)]):
        cell.add(gdstk.Polygon(points, layer=2), gdstk.Polygon(points, layer=8))
    cell.add(gdstk.Label("V+", (5.5, 5), layer=2))
    text = STACK.replace('valve.gds"', 'valve.gds"\nignore = [63]\nwindow = { x = [-800, 800], y = [-800, 800] }')
    device = device_of(tmp_path, text, cell)
    assert device.solids == device_of(tmp_path).solids and {c.face for c in device.contacts} == {"y+", "x+"}
    made = new_text("mine", written(tmp_path, cell))
    assert '# 2 labels say "V+"; set a window' in made and made.count('name = "V+"') == 2  # one in a comment


def test_ten_thousand_dots_outside_the_window_cost_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only polygons in the window are checked and joined."""
    cell, dot = drawing(), gdstk.Cell("DOT")
    dot.add(gdstk.ellipse((0, 0), 0.05, layer=1))
    cell.add(gdstk.Reference(dot, (2, 2), columns=100, rows=100, spacing=(0.2, 0.2)))
    written(tmp_path, cell, dot)
    text = STACK.replace('valve.gds"', 'valve.gds"\nwindow = { x = [-800, 800], y = [-800, 800] }')
    (tmp_path / "valve.toml").write_text(text)
    checked = []
    monkeypatch.setattr(polygons, "faults", lambda polygon, real=polygons.faults: checked.append(1) or real(polygon))
    assert load(tmp_path / "valve.toml").magnets == ("FM1", "FM2")
    assert 4 <= len(checked) < 100


@pytest.mark.parametrize("name", ["valve.gds", "valve.oas"])
def test_a_missing_cell_is_told(tmp_path: Path, name: str) -> None:
    cell = drawing()
    cell.add(gdstk.Reference("LEADS", (0, 0)))
    path = written(tmp_path, cell, name=name)
    with pytest.raises(gds.LayoutError, match="cell 'VALVE' refers to cell 'LEADS', which is not in the file"):
        gds.read(path)
    sound = gdstk.Cell("SOUND")
    sound.add(gdstk.rectangle((0, 0), (1, 1)))
    assert gds.read(written(tmp_path, cell, sound, name=name), "SOUND").shapes  # does not need LEADS


def test_a_record_that_is_no_gdsii_is_told(tmp_path: Path) -> None:
    """A shape under it would be lost; boxes are polygons, and nodes have no shape."""
    path = written(tmp_path, drawing())
    content = path.read_bytes()
    element = struct.pack(">HH", 4, 0x0800)
    path.write_bytes(content.replace(element, struct.pack(">HH", 4, 0x5600), 1))
    with pytest.raises(gds.LayoutError, match="cell 'VALVE' has 1 record of type 0x56, which cannot be read"):
        gds.read(path)
    path.write_bytes(content.replace(element, struct.pack(">HH", 4, 0x2D00), 1))
    assert len(gds.read(path).shapes[1, 0]) == 2


def test_texts_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    """As Latin-1, which older layout programs write; OASIS knows no such texts."""
    cell = gdstk.Cell("VALVx")
    cell.add(gdstk.rectangle((0, 0), (1, 1)), gdstk.Label("50 xA", (0, 0)), gdstk.Label("\N{OHM SIGN}", (0, 0)))
    path = written(tmp_path, cell)
    path.write_bytes(path.read_bytes().replace(b"VALVx", b"VALV\xb5").replace(b"50 xA", b"50 \xb5A"))
    found = gds.read(path)
    assert found.cell == "VALV\xb5" and {label.text for label in found.labels} == {"50 \xb5A", "\N{OHM SIGN}"}
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(gds.LayoutError, match="is no GDSII file, or it is cut off"):
        gds.read(path)
    library = gdstk.Library()
    library.add(cell)
    library.write_oas(tmp_path / "a.oas", compression_level=0)
    content = (tmp_path / "a.oas").read_bytes()
    (tmp_path / "a.oas").write_bytes(content.replace(b"50 xA", b"50 \xb5A"))
    with pytest.raises(gds.LayoutError, match="a label or the name of a cell is not UTF-8 text; rename it"):
        gds.read(tmp_path / "a.oas")


def test_a_path_that_crosses_itself_is_its_union(tmp_path: Path) -> None:
    """A loop of 50 nm width, whose last stretch crosses the first; a ring; round ends."""
    cell = gdstk.Cell("A")
    loop = [(0, 0), (0.4, 0), (0.4, 0.3), (0.2, 0.3), (0.2, -0.3)]
    cell.add(gdstk.FlexPath(loop, 0.05, layer=1, simple_path=True))
    ring = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]
    cell.add(gdstk.FlexPath(ring, 0.1, layer=2, simple_path=True, ends="extended"))
    cell.add(gdstk.FlexPath([(0, 0), (1, 0)], 0.1, layer=3, simple_path=True, ends="round"))
    found = gds.read(written(tmp_path, cell))
    areas = {layer[0]: sum(abs(polygons.area(shape)) for shape in each) for layer, each in found.shapes.items()}
    assert areas[1] == pytest.approx((0.425 * 0.05 + 0.05 * 0.3 + 0.2 * 0.05 + 0.575 * 0.05 - 0.05**2) * 1e-12)
    assert areas[2] == pytest.approx((1.1**2 - 0.9**2) * 1e-12)
    assert areas[3] == pytest.approx((0.1 + np.pi * 0.05**2) * 1e-12, rel=0.01)
    assert not any(polygons.faults(shape) for each in found.shapes.values() for shape in each)


@pytest.mark.parametrize("name", ["a.gds", "a.oas"])
def test_a_file_of_another_kind_is_told(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_bytes(b"no layout at all")
    with pytest.raises(gds.LayoutError, match="is no (GDSII|OASIS) file, or it is cut off"):
        gds.read(tmp_path / name)
    assert capfd.readouterr().err == ""


def test_a_window_cuts_and_its_edges_hold_contacts(tmp_path: Path) -> None:
    text = STACK.replace('file = "valve.gds"', 'file = "valve.gds"\nwindow = { x = [-300, 592], y = [-500, 500] }')
    device = device_of(tmp_path, text)
    assert device.solid("Cu").box[0][1] <= 592e-9
    assert device.contact_faces()["V+"].position == pytest.approx(592e-9)


def test_a_pad_of_a_layer_of_its_own_holds_the_top(tmp_path: Path) -> None:
    cell = drawing()
    cell.add(gdstk.rectangle((0.45, -0.1), (0.55, 0.1), layer=20))
    text = STACK.replace('label = "V+"\nface = "x+"', 'layer = "20/0"')
    face = device_of(tmp_path, text, cell).contact_faces()["V+"]
    assert isinstance(face, Patch) and face.axis == 2
    assert face.area == pytest.approx(100e-9 * 200e-9) and face.position == pytest.approx(60e-9)


def test_a_contact_is_on_metal_under_an_insulating_cap(tmp_path: Path) -> None:
    """A film over the whole device that carries heat only; the label means the copper under it."""
    cell = drawing()
    cell.add(gdstk.rectangle((-0.7, -0.7), (0.7, 0.7), layer=9))
    cap = '[[layout.layers]]\nlayer = 9\nmaterial = "SiO2"\nthickness = 30\ndrape = true\n[[solids]]'
    device = device_of(tmp_path, STACK.replace("[[solids]]", cap, 1), cell)
    assert device.contact("V+").solid == "Cu" and device.contact("I+").solid == "FM1"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("slices = 0", "layout.layers[0], slices: got 0; input should be greater than or equal to 1"),
        ("sidewall_angle = 90", "layout.layers[0], sidewall_angle: got 90; input should be less than 80"),
    ],
)
def test_side_walls_that_cannot_be_are_told(tmp_path: Path, line: str, words: str) -> None:
    assert words in faults_of(tmp_path, STACK.replace("zmin = 0\n", f"zmin = 0\n{line}\n"))


def test_slanted_side_walls_are_slices(tmp_path: Path) -> None:
    """Of a pad of 200 x 300 nm and 60 nm height at 45 degrees: frustum slices by the rule of midpoints."""
    text = STACK.replace("zmin = 0\n", "zmin = 0\nsidewall_angle = 20\nslices = 5\n")
    device = device_of(tmp_path, text)
    own = [s for s in device.solids if s.name.startswith("FM1/")]
    assert len(own) == 5 and [len(s.straight_edges(0)) for s in own] == [2, 2, 2, 2, 2]
    lean = np.tan(np.radians(20))
    for k, solid in enumerate(sorted(own, key=lambda s: s.box[2][0])):
        shrink = 2 * lean * 15 * (k + 0.5) / 5
        width, length = (1e9 * (high - low) for low, high in solid.box[:2])
        assert (width, length) == pytest.approx((300 - shrink, 1000 - shrink))
    # Beside an insulator only the widest slice has grid lines.
    cap = text.replace('"Cu"', '"SiO2"').replace('label = "V+"\nface = "x+"', "at = [120, -290]")
    capped = device_of(tmp_path, cap)
    assert [len(s.straight_edges(0)) for s in capped.solids if s.body == "FM1"] == [2, 0, 0, 0, 0]
    assert len(capped.features.faces(0)) < 12
    steep = faults_of(tmp_path, text.replace("angle = 20", "angle = 79"))
    assert any("'FM2': its side walls meet before its top" in fault for fault in steep)


SLOPING = """
name = "valve"
length_unit = "nm"
[layout]
file = "valve.gds"
[[layout.layers]]
layer = 1
material = "Py"
thickness = 12
zmin = 0
magnet = true
sidewall_angle = 60
slices = {slices}
[[layout.layers]]
layer = 2
material = "Cu"
thickness = 20
drape = true
zmin = 0
"""
ENDS = """
[[solids]]
name = "pad"
material = "Cu"
box = { x = [-20, 20], y = [-10, 10], z = [-10, 0] }
[[solids]]
name = "fixed"
material = "Py"
box = { x = [70, 100], y = [-10, 10], z = [-10, 0] }
[[contacts]]
name = "I+"
solid = "pad"
face = "z-"
[[contacts]]
name = "I-"
solid = "fixed"
face = "z-"
[[interfaces]]
name = "Py|Cu"
between = ["Py", "Cu"]
RA = "1 fohm m^2"
gamma = 0.5
[experiments.through]
current = ["I+", "I-"]
voltage = ["I+", "I-"]
states = { P = {}, AP = { FM = -1 } }
"""


@pytest.mark.parametrize(("slices", "cells", "lined", "error"), [(3, 700, True, 1e-9), (6, 1500, False, 0.005)])
def test_a_wire_over_a_slanted_side_wall_does_not_bypass_the_interface(
    tmp_path: Path, slices: int, cells: int, lined: bool, error: float
) -> None:
    """A current from a magnet into a wire over one of its side walls, against boxes with the shapes of the slices.

    With lines on all slices the grids are one. With lines on the widest only, cells hold several slices and pieces of
    the wire that these do not touch: they shared nodes, and half of the spin part was gone. Areas are exact there, and
    what is left is that of two grids at order 2: 0.4 % of 1500 cells, 0.3 % of 4000.
    """
    cell = gdstk.Cell("VALVE")
    cell.add(gdstk.rectangle((-0.03, -0.04), (0.03, 0.04), layer=1), gdstk.Label("FM", (-0.01, 0), layer=1))
    cell.add(gdstk.rectangle((0, -0.01), (0.11, 0.01), layer=2))
    device = device_of(tmp_path, SLOPING.format(slices=slices) + ENDS, cell)
    text = 'name = "boxes"\nlength_unit = "nm"\n' + ENDS
    for solid in device.solids[2:]:
        x, y, z = ([1e9 * end for end in ends] for ends in solid.box)
        magnet = f'magnet = "{solid.magnet}"\n' if solid.magnet else ""
        text += f'[[solids]]\nname = "{solid.name}"\nmaterial = "{solid.material}"\n{magnet}'
        text += f"box = {{ x = {x}, y = {y}, z = {z} }}\n"
    if not lined:
        bare = [replace(solid, on_lines=((), ())) if solid.recess > 3.5e-9 else solid for solid in device.solids]
        device = replace(device, solids=tuple(bare))
    found, same = (measure(build(each, cells=cells, order=2)) for each in (device, reader.read(text, "boxes.toml")))
    assert found["through", "R1.spin"] == pytest.approx(same["through", "R1.spin"], rel=error)


def test_what_is_left_of_overlapping_polygons(tmp_path: Path) -> None:
    """Later solids overwrite earlier ones: areas by layer, and nothing twice."""
    text = """
length_unit = "nm"
[[solids]]
name = "A"
material = "Cu"
polygon = [[0, 0], [100, 0], [100, 100], [0, 100]]
z = [0, 20]
[[solids]]
name = "B"
material = "Py"
polygon = [[50, 50], [150, 50], [150, 150]]
z = [10, 30]
[[contacts]]
name = "a"
solid = "A"
face = "x-"
"""
    device = reader.read(text, "two.toml")
    plan = device.layout()
    assert isinstance(plan, Regions)
    areas = {(p.solid, p.layer): abs(polygons.area(p.outline)) * 1e18 for p in plan.parts}
    assert areas == pytest.approx({(0, 0): 10000, (0, 1): 10000 - 1250, (1, 1): 5000, (1, 2): 5000})
    assert plan.neighbours() == {(0, 1)}
    seen = plan.from_above()
    assert sum(abs(polygons.area(outline)) for _, outline in seen) * 1e18 == pytest.approx(10000 + 5000 - 1250)
    lines, owner = plan.raster(60)
    assert owner.shape == tuple(len(line) - 1 for line in lines) and set(np.unique(owner)) == {-1, 0, 1}


def test_a_polygon_and_a_box_are_one_thing(tmp_path: Path) -> None:
    base = 'length_unit = "nm"\n[[contacts]]\nname = "a"\nsolid = "A"\nface = "x-"\n'
    base += '[[solids]]\nname = "A"\nmaterial = "Cu"\n'
    with pytest.raises(DeviceError, match="solid 'A': got box and z, expected either box"):
        reader.read(base + "box = { x = [0, 1], y = [0, 1], z = [0, 1] }\nz = [0, 1]\n", "a.toml")
    with pytest.raises(DeviceError, match="solid 'A': got no shape, expected either box"):
        reader.read(base, "a.toml")
    with pytest.raises(DeviceError, match="solid 'A', polygon: its edges 0 and 2 cross each other at"):
        reader.read(base + "polygon = [[0, 0], [1, 1], [1, 0], [0, 1]]\nz = [0, 1]\n", "a.toml")
    square = reader.read(base + "polygon = [[0, 0], [1, 0], [1, 1], [0, 1]]\nz = [0, 1]\n", "a.toml")
    box = reader.read(base + "box = { x = [0, 1], y = [0, 1], z = [0, 1] }\n", "a.toml")
    assert square.contact_faces()["a"].area == pytest.approx(box.contact_faces()["a"].area)
    grids = [each.features.grid([each.features.faces(k) for k in range(3)], 2) for each in (square, box)]
    assert not grids[0].cuts
    np.testing.assert_array_equal(grids[0].domain, grids[1].domain)


def test_a_written_layout_reads_back(tmp_path: Path) -> None:
    device = device_of(tmp_path)
    gds.write(device, tmp_path / "again.gds")
    found = gds.read(tmp_path / "again.gds")
    assert sum(len(each) for each in found.shapes.values()) == len(device.solids)
    assert {label.text for label in found.labels} == {"I+", "V+"}


def test_new_writes_what_a_layout_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its blanks filled in, the file of `new` is the device."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path, drawing())
    runner = CliRunner()
    told = runner.invoke(app.app, ["new", "mine", "--gds", "valve.gds"])
    assert told.exit_code == 0 and "fill in what is ?, then thermospin check mine.toml" in told.stdout
    broken = runner.invoke(app.app, ["check", "mine.toml"])
    assert broken.exit_code == 2
    assert broken.stderr.count("thickness: got") == 2 and broken.stderr.count("material: got '?'") == 2
    text = Path("mine.toml").read_text()
    for material, thickness in (("Py", "15 nm"), ("Cu", "60 nm")):
        text = text.replace('material = "?"', f'material = "{material}"', 1).replace('"? nm"', f'"{thickness}"', 1)
    Path("mine.toml").write_text(text.replace("\ndrape = true", "\ndrape = true\nmagnet = true", 1))
    device = load("mine.toml")
    assert device.magnets == ("FM1", "FM2") and {c.name: c.face for c in device.contacts} == {"I+": "y+", "V+": "x+"}
    checked = runner.invoke(app.app, ["check", "mine.toml", "--picture", "mine.png"])
    assert checked.exit_code == 0 and "No faults." in checked.stdout and Path("mine.png").stat().st_size > 10_000
    again = runner.invoke(app.app, ["new", "mine"])
    assert again.exit_code == 2 and "is there already" in again.stderr


def test_new_writes_any_name_as_toml(tmp_path: Path) -> None:
    names = ['A"B', "V+\nHALL", "C:\\new\t", "\x7f\N{GREEK SMALL LETTER MU}"]
    for name in names:
        cell = gdstk.Cell(name)
        cell.add(
            gdstk.rectangle((0, 0), (1, 0.1)), gdstk.Label(name, (0.01, 0.05)), gdstk.Label(name + "x", (0.5, 0.05))
        )
        raw = tomllib.loads(new_text(name, written(tmp_path, cell, name="a'b.gds")))
        assert raw["name"] == name and raw["layout"]["cell"] == name and raw["layout"]["file"] == "a'b.gds"
        assert [contact["label"] for contact in raw["contacts"]] == [name]
        assert tomllib.loads(new.blank(name))["name"] == name


@pytest.mark.parametrize(
    "text", ["", "a\"b'c", "C:\\new", "V+\nI-\r\t", "x\x7fy", "\x00\x1f", "\x80\xa0\u2028", "\u00b5\U0001f9ea"]
)
def test_a_string_of_toml_reads_back(text: str) -> None:
    assert tomllib.loads(f"a = {toml_string(text)}") == {"a": text}


def test_new_writes_a_device_that_has_no_faults() -> None:
    assert reader.read(new.blank("first"), "first.toml").experiments["thermal"].current == ("1", "2")


def test_new_leaves_out_layers_and_sets_a_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a chip: pads of 100 um around a device of 1 um, marks, a second dose, a note."""
    monkeypatch.chdir(tmp_path)
    cell = drawing()
    for x in (-60, 60):
        cell.add(gdstk.rectangle((x - 50, -50), (x + 50, 50), layer=3), gdstk.Label(f"pad{x}", (x, 0), layer=63))
        cell.add(gdstk.rectangle((x, 60), (x + 2, 62), layer=10, datatype=x > 0))
    cell.add(gdstk.rectangle((0.5, -0.15), (11, 0.15), layer=3))  # a lead to the right pad
    cell.add(gdstk.rectangle((0.5, -0.15), (0.7, 0.15), layer=2, datatype=1), gdstk.Label("30 kV", (0, 80), layer=63))
    written(tmp_path, cell)
    runner = CliRunner()
    options = ["--gds", "valve.gds", "--ignore", "10/*", "--ignore", "4", "--picture", "valve.png"]
    assert runner.invoke(app.app, ["new", "mine", *options]).exit_code == 0
    assert Path("valve.png").stat().st_size > 10_000
    text = Path("mine.toml").read_text()
    raw = tomllib.loads(text)
    assert raw["layout"]["ignore"] == ["10/*", "4/0"]
    assert [layer["layer"] for layer in raw["layout"]["layers"]] == ["1/0", "2/0", "2/1", "3/0"]
    assert "# Here the part around the places where films on 1/0, 2/0 cross, to be adapted:" in text
    assert raw["layout"]["window"] == {"x": [-1040, 1140], "y": [-1020, 1020]}, "of two squares of 40 nm, and 1 um"
    assert '# If it is a dose of the film on 2/0: one entry for both, with layer = ["2/0", "2/1"].' in text
    assert 'label = "pad60"  # outside the window: where its metal crosses the rim' in text
    for label in ('"30 kV" at (0, 80000) nm', '"pad-60" at (-60000, 0) nm'):
        assert f"# label {label}: no contact, it is on no polygon that leads into the window" in text
    assert '# label "FM1" at (-150, 0) nm: no contact, it names the polygon that it is in' in text
    for option, word in ((["--ignore", "4"], "--ignore: is of a layout"), (["--picture", "a.png"], "--picture: is of")):
        told = runner.invoke(app.app, ["new", "other", *option])
        assert told.exit_code == 2 and word in told.stderr
    told = runner.invoke(app.app, ["new", "other", "--gds", "valve.gds", "--ignore", "4/x"])
    assert told.exit_code == 2 and "--ignore: got '4/x', expected a layer" in told.stderr
    assert '# states = { P = {}, AP = { "?" = -1 } }  # the magnets that' in text, "two labels name polygons"
    small = drawing()
    small.add(gdstk.rectangle((-9, -9), (9, 9), layer=3))
    assert "\n# window = { x = [-9000, 9000], " in new_text("small", written(tmp_path, small))


def tapered(near: float = 2.5) -> gdstk.Cell:
    """Strips with tapers, a wire of 3 um, and pads of 20 um, from `near` um on along y, with labels on the pads."""
    cell = gdstk.Cell("CHIP")
    for strip in (
        (-0.21, -1, -0.09, 1),
        (-2, 1, -0.05, 3),
        (-2, -3, -0.05, -1),
        (0.11, -0.6, 0.19, 1.2),
        (0.05, 1.2, 2, 3),
    ):
        cell.add(gdstk.rectangle(strip[:2], strip[2:], layer=1))
    cell.add(gdstk.rectangle((-1.5, -0.05), (1.5, 0.05), layer=2))
    for pad in (
        (-20, near, -1, 20),
        (-20, -20, -1, -near),
        (1, near, 20, 20),
        (1.3, -0.5, 20, 0.5),
        (-20, -0.5, -1.3, 0.5),
    ):
        cell.add(gdstk.rectangle(pad[:2], pad[2:], layer=3))
    for text, x, y in (("I+", -15, 15), ("I-", -15, -15), ("V+", 15, 15), ("V-", 15, 0), ("left", -15, 0)):
        cell.add(gdstk.Label(text, (x, y), layer=3))
    return cell


def straight() -> gdstk.Cell:
    """Strips of 60 um x 80 nm under a wire of 52 um, with labels far from their ends."""
    cell = gdstk.Cell("CHIP")
    cell.add(gdstk.rectangle((-0.21, -30), (-0.09, 30), layer=1), gdstk.rectangle((0.11, -0.6), (0.19, 40), layer=1))
    cell.add(gdstk.rectangle((-2, -0.05), (50, 0.05), layer=2))
    for text, place in {
        "I+": (-0.15, 25),
        "I-": (-0.15, -25),
        "V+": (0.15, 38),
        "V-": (45, 0),
        "left": (-1.95, 0),
    }.items():
        cell.add(gdstk.Label(text, place, layer=1 + (text in ("V-", "left"))))
    return cell


@pytest.mark.parametrize(
    ("cell", "places"),
    [
        # Along x 3 um of wire, from which the window reaches half of that on each side; the tapers cross its rim.
        (tapered(), [(-1.025, 1.55), (-1.025, -1.55), (1.025, 1.55), (3, 0), (-3, 0)]),
        # Corners of that window are on pads, which cross two of its sides: the window is smaller.
        (tapered(1.3), [(-1.025, 1.1), (-1.025, -1.1), (0.15, 1.1), (2.55, 0), (-2.55, 0)]),
        (straight(), [(-0.15, 1.05), (-0.15, -1.05), (0.15, 1.05), (1.19, 0), (-1.21, 0)]),
    ],
    ids=["tapers", "pads at the corners", "long strips"],
)  # fmt: skip
def test_labels_on_pads_far_away_are_contacts_at_the_rim_of_a_window(
    tmp_path: Path, cell: gdstk.Cell, places: list[tuple[float, float]]
) -> None:
    """The file of `new` is a device once its blanks are filled in."""
    text = new_text("chip", written(tmp_path, cell, name="chip.oas"))
    assert text.count("# outside the window: where its metal crosses the rim") == 5
    for material, thickness in (("Py", "20 nm"), ("Cu", "70 nm"), ("Au", "120 nm")):
        text = text.replace('material = "?"', f'material = "{material}"', 1).replace('"? nm"', f'"{thickness}"', 1)
    (tmp_path / "chip.toml").write_text(text)
    device = load(tmp_path / "chip.toml")
    assert [contact.name for contact in device.contacts] == ["I+", "I-", "V+", "V-", "left"]
    middles = [contact.edge.middle for contact in device.contacts if contact.edge is not None]
    np.testing.assert_allclose(middles, np.array(places) * 1e-6, atol=1e-12)


def test_a_lead_that_crosses_the_rim_twice_is_told(tmp_path: Path) -> None:
    cell = straight()
    cell.add(gdstk.rectangle((-50, 30), (20, 60), layer=3))  # joins both strips
    text = new_text("chip", written(tmp_path, cell))
    assert '# label "I+" at (-150, 25000) nm: no contact, it is outside the window, and the metal there crosses' in text
    assert "its rim at y+ (-150, 1050) nm, y+ (150, 1050) nm; give at = [x, y] of the one meant" in text


def test_new_says_that_the_end_of_a_pad_is_round(tmp_path: Path) -> None:
    cell = gdstk.Cell("LSV")
    cell.add(
        gdstk.rectangle((-0.25, -0.45), (-0.1, 0.45), layer=4), gdstk.rectangle((-0.5, -0.06), (0.5, 0.06), layer=7)
    )
    cell.add(gdstk.ellipse((0.55, 0), 0.12, layer=7, tolerance=0.002))
    cell.add(gdstk.Label("V-", (0.66, 0), layer=7), gdstk.Label("inj", (-0.17, 0.2), layer=4))
    text = new_text("lsv", written(tmp_path, cell))
    assert '# label "V-" at (660, 0) nm: no contact, the end of the polygon on layer 7/0 there is round or sl' in text
    assert 'slanted; a straight one holds a contact, or its top: with face = "z+"' in text
    assert '# states = { P = {}, AP = { "inj" = -1 } }' in text


def test_new_names_the_other_cells_with_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    top = gdstk.Cell("CHIP")
    top.add(gdstk.Reference(drawing(), (0, 0)))
    written(tmp_path, top, drawing())
    told = CliRunner().invoke(app.app, ["new", "mine", "--gds", "valve.gds"])
    assert "Cell CHIP is read; --cell takes another one with labels: VALVE" in told.stdout


def test_names_of_layers_in_an_oasis_file_are_shown(tmp_path: Path) -> None:
    library = gdstk.Library(unit=1e-6, precision=1e-10)
    library.add(drawing())
    library.layer_names = {(1, 0): ("Permalloy", ""), (2, 0): ("", "copper")}
    library.write_oas(tmp_path / "valve.oas")
    found = gds.read(tmp_path / "valve.oas")
    assert found.names == {(1, 0): "Permalloy", (2, 0): "copper"}
    assert list(found.named_shapes()) == ["1/0 Permalloy", "2/0 copper"]
    text = new_text("mine", tmp_path / "valve.oas")
    assert '# "Permalloy": 2 polygons' in text and '# "copper": 2 polygons' in text


@pytest.mark.parametrize(
    "change",
    [
        ("thickness = 15", 'thickness = "? nm"'),  # no film can be built: the layout is drawn
        ('label = "V+"', 'label = "W+"'),
        ('file = "valve.gds"', 'file = "valv.gds"'),  # the base alone
        ("[[solids]]", "[[solid]]"),
    ],
)
def test_check_draws_what_could_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, drawing())
    Path("valve.toml").write_text(STACK.replace(*change, 1))
    told = CliRunner().invoke(app.app, ["check", "valve.toml", "--picture", "a.png"])
    assert told.exit_code == 2 and told.stderr.startswith("valve.toml: ")
    assert Path("a.png").stat().st_size > 5000 and "a.png shows what could be read." in told.stdout
    solid = '[[solids]]\nname = "a"\nmaterial = "Cu"\n'
    flat = f"{solid}polygon = [[0, 0], [1, 0], [2, 0]]\nz = [0, 1]\n"
    Path("valve.toml").write_text(f'length_unit = "nm"\n{flat}{solid}box = {{ x = [1, 0], y = [2, 2], z = [0, 1] }}\n')
    told = CliRunner().invoke(app.app, ["check", "valve.toml", "--picture", "b.png"])
    assert "b.png is not written: there is nothing to draw yet." in told.stdout and not Path("b.png").exists()


def test_whatever_happens_to_the_picture_check_tells_the_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    solids = "".join(
        f'[[solids]]\nname = "{name}"\nmaterial = "Cu"\nbox = {{ x = {x}, y = [0, 9], z = [0, 9] }}\n'
        for name, x in (("a", [9, 0]), ("b$\\\\frac$", [0, 9]))
    )
    Path("a.toml").write_text(f'length_unit = "nm"\n{solids}')
    for picture, drawn in (("a.png", True), ("a.xyz", False), ("a.toml", False)):
        told = CliRunner().invoke(app.app, ["check", "a.toml", "--picture", picture])
        assert told.exit_code == 2 and "solid 'a', box.x: got low = 9 nm" in told.stderr, told.output
        assert (f"{picture} is not written: " in told.stderr) != drawn
    assert Path("a.png").stat().st_size > 5000 and not Path("a.xyz").exists()
