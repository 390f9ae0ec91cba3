"""A device in space: surfaces are exact, cuts show the numbers of the fields, and the page needs nothing else."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import gdstk
import numpy as np
import pytest
from typer.testing import CliRunner

from helpers.pages import START, block
from thermospin.base import polygons
from thermospin.base.errors import InputError
from thermospin.base.files import read_vtr, write_vtr
from thermospin.cli.app import app
from thermospin.device.device import Device
from thermospin.device.materials import Material
from thermospin.device.parts import Contact, Experiment, HeatSink, Solid
from thermospin.device.reader import load
from thermospin.report.cuts import Cuts, shown
from thermospin.report.device_figures import material_colours
from thermospin.report.device_scene import fields_view, roles, view, write_view
from thermospin.report.style import NM as PER_M
from thermospin.report.surfaces import Surface, bodies, cell_surface, extent_of, face_surface
from thermospin.report.views import Views
from thermospin.signals.density import current_density, device_faces, owners
from thermospin.signals.results import NodalFields

pytest.importorskip("plotly", reason="plotly is not installed")

NM = 1e-9
PY = Material("Py", sigma=4e6, P=0.25, S=-20e-6, S_s=-4e-6, kappa=30.0, lambda_sf=5 * NM)
CU = Material("Cu", sigma=4e7, S=1.6e-6, kappa=300.0, lambda_sf=350 * NM)
OXIDE = Material("oxide", kappa=1.0)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def solid(name: str, material: str, magnet: str | None, *sides: tuple[float, float], **rest) -> Solid:
    x, y, z = ((low * NM, high * NM) for low, high in sides)
    return Solid(name, material, magnet, (x, y, z), **rest)


def two_bars() -> Device:
    """A bar of Py and one of Cu that end 10 nm apart, on an oxide that is heated from below."""
    return Device(
        name="<b>two & bars</b>",
        materials={material.name: material for material in (PY, CU, OXIDE)},
        solids=(
            solid("base", "oxide", None, (-200, 200), (-100, 100), (-80, 0)),
            solid("left", "Py", "M", (-200, -5), (-20, 20), (0, 30)),
            solid("right", "Cu", None, (5, 200), (-20, 20), (0, 30)),
        ),
        contacts=(
            Contact("in", "left", "x-"),
            Contact("out", "left", "x+"),
            Contact("plus", "right", "x+"),
            Contact("minus", "right", "x-"),
        ),
        heat_sinks=(HeatSink("base", "z-", "chip"),),
        experiments={
            "drag": Experiment("drag", ("in", "out"), ("plus", "minus"), {"P": {}, "AP": {"M": -1}}),
            "hot": Experiment("hot", None, ("plus", "minus"), {"P": {}}, heat={"chip": 1.0}),
        },
    )


def linear(device: Device, V: tuple[float, ...], T: tuple[float, ...], split: float = 0.0) -> NodalFields:
    """Fields with a constant gradient V [V/m] and T [K/m] in the bodies, V_up - V_down = split x, on 2 nm or so."""
    lines = []
    for faces in device_faces(device):
        inner = [np.linspace(a, b, 2 + round((b - a) / (15 * NM))) for a, b in itertools.pairwise(faces)]
        lines.append(np.unique(np.concatenate(inner)))
    x, y, z = np.meshgrid(*lines, indexing="ij")
    empty = NodalFields(*lines, *(np.zeros(x.shape) for _ in range(3)))
    owner = owners(device, empty)
    metal = np.array([device.materials[one.material].is_metal for one in device.solids] + [False])[owner]

    def where(cells: np.ndarray) -> np.ndarray:
        padded = np.pad(cells, 1)
        sides = (slice(None, -1), slice(1, None))
        return np.any([padded[a, b, c] for a in sides for b in sides for c in sides], axis=0)

    mean = V[0] * x + V[1] * y + V[2] * z
    potentials = [np.where(where(metal), mean + sign * split * x / 2, np.nan) for sign in (1, -1)]
    return NodalFields(*lines, *potentials, np.where(where(owner >= 0), T[0] * x + T[1] * y + T[2] * z, np.nan))


def volume(surface: Surface) -> float:
    """What a closed surface encloses, by the divergence theorem; corners are seen counterclockwise from outside."""
    a, b, c = surface.points[surface.triangles].transpose(1, 0, 2)
    return float(np.einsum("ni,ni->", a, np.cross(b, c))) / 6


def ring_on_a_strip(folder: Path) -> Device:
    """A slanted ring, and a film from a path that is draped over it; both out of a layout."""
    cell = gdstk.Cell("RING")
    outer, inner = (gdstk.ellipse((0, 0), radius, tolerance=0.002) for radius in (0.2, 0.1))
    cell.add(*gdstk.boolean(outer, inner, "not", precision=1e-4, layer=1))
    cell.add(gdstk.FlexPath([(-0.5, -0.1), (-0.3, 0), (0.0, 0.0), (0.45, 0.0)], 0.08, layer=2))
    library = gdstk.Library()
    library.add(cell)
    library.write_gds(folder / "ring.gds")
    (folder / "ring.toml").write_text(
        """
length_unit = "nm"
layout = { file = "ring.gds" }
[[layout.layers]]
layer = 1
material = "Py"
name = "ring"
thickness = 40
zmin = 0
sidewall_angle = 20
slices = 3
[[layout.layers]]
layer = 2
material = "Cu"
name = "strip"
thickness = 60
drape = true
zmin = 0
[[contacts]]
name = "end"
at = [450, 0]
face = "x+"
""".replace('layout = { file = "ring.gds" }', '[layout]\nfile = "ring.gds"'),
        encoding="utf-8",
    )
    return load(folder / "ring.toml")


DEVICES = {
    "slachter2010": lambda folder: load("slachter2010"),
    "pillar": lambda folder: load("pillar"),
    "two bars": lambda folder: two_bars(),
    "slanted, draped, with a hole": ring_on_a_strip,
}


@pytest.mark.parametrize("name", DEVICES)
def test_surfaces_enclose_what_the_solids_fill(name: str, tmp_path: Path) -> None:
    """Volumes of surfaces against those of the disjoint prisms or cells of the layout, which know no triangles."""
    device = DEVICES[name](tmp_path)
    plan = device.layout()
    wanted: dict[str, float] = {}
    prisms = plan.prisms(range(len(device.solids)))
    if prisms:
        parts = [(p.domain, abs(polygons.area(p.outline)) * (p.heights[1] - p.heights[0])) for p in prisms]
    else:
        sizes = np.einsum("i,j,k->ijk", *map(np.diff, plan.lines))
        parts = [(int(k), float(sizes[plan.owner == k].sum())) for k in np.unique(plan.owner) if k >= 0]
    for number, size in parts:
        body = device.solids[number].body or device.solids[number].name
        wanted[body] = wanted.get(body, 0.0) + size
    found = {body.name: volume(body.surface) for body in bodies(device)}
    assert found == pytest.approx(wanted, rel=1e-9)
    np.testing.assert_allclose(extent_of(body.surface for body in bodies(device)), device.bounding_box, atol=1e-18)


def test_faces_of_contacts_are_those_of_the_device(tmp_path: Path) -> None:
    for device in (load("pillar"), ring_on_a_strip(tmp_path)):
        for face in device.contact_faces().values():
            a, b, c = face_surface(face).points[face_surface(face).triangles].transpose(1, 0, 2)
            assert np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2 == pytest.approx(face.area, rel=1e-9)
            assert face_surface(face).points[:, face.axis] == pytest.approx(face.position, abs=1e-15)


def test_cells_have_a_closed_surface() -> None:
    lines = [np.array([0.0, 1.0, 3.0, 6.0])] * 3
    cells = np.zeros((3, 3, 3), bool)
    cells[0], cells[1, 0] = True, True
    surface = cell_surface(lines, cells)
    a, b, c = surface.points[surface.triangles].transpose(1, 0, 2)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    # A slab of 1 x 6 x 6 and a bar of 2 x 1 x 6 on it: what the bar covers it has on top.
    assert area == pytest.approx(2 * 36 + 4 * 6 + 2 * (2 * 6 + 2 * 1))
    assert surface.lines.shape[1:] == (2, 3) and np.all(np.abs(np.diff(surface.lines, axis=1)).sum(axis=(1, 2)) > 0)


@pytest.mark.parametrize("name", DEVICES)
def test_every_body_has_one_switch_and_its_colour_in_the_figures(name: str, tmp_path: Path) -> None:
    device = DEVICES[name](tmp_path)
    figure = view(device)
    switches = [trace for trace in figure.data if trace.type == "mesh3d" and trace.legendgroup.startswith("body")]
    names = dict.fromkeys(one.body or one.name for one in device.solids)
    assert sorted(trace.name.split(" (")[0] for trace in switches) == sorted(names)
    assert all(trace.showlegend for trace in switches)
    assert len({trace.legendgroup for trace in switches}) == len(switches)
    colours = material_colours(device, Views(device))
    for trace in switches:
        material = trace.name.rpartition(" (")[2].rstrip(")")  # substrate of substrate is named once
        assert trace.color == colours[material]
        assert trace.visible == (True if device.materials[material].is_metal else "legendonly")
    places = [np.concatenate([trace[axis] for trace in switches]) for axis in "xyz"]
    ends = [(float(at.min()), float(at.max())) for at in places]
    np.testing.assert_allclose(ends, np.array(device.bounding_box) * PER_M, rtol=1e-6, atol=1e-6)
    # Room around it: plotly cuts off what lies on the border of a scene.
    window = [figure.layout.scene[f"{axis}axis"].range for axis in "xy"]
    assert all(low < end[0] and end[1] < high for (low, high), end in zip(window, ends[:2], strict=True))


def test_buttons_stretch_z_and_say_by_how_much() -> None:
    buttons = view(load("slachter2010")).layout.updatemenus[0].buttons
    by_label = {button.label: button.args[0] for button in buttons}
    plain, wide = by_label["device, true scale"], by_label["z × 5"]
    sides = [np.diff(plain[f"scene.{axis}axis.range"])[0] for axis in "xyz"]
    ratio = plain["scene.aspectratio"]
    np.testing.assert_allclose([ratio[axis] for axis in "xyz"], sides / np.max(sides[:2]))
    assert wide["scene.aspectratio"]["z"] == pytest.approx(5 * ratio["z"])
    assert wide["scene.zaxis.title.text"] == "z [nm], stretched 5 times"
    x = by_label["middle, true scale"]["scene.xaxis.range"]
    assert -160 < x[0] < -40 and 140 < x[1] < 300


def test_contacts_are_named_with_what_they_do() -> None:
    device = two_bars()
    assert roles(device.experiments["drag"], "in") == ["drive"] and roles(device.experiments["hot"], "chip") == [
        "drive"
    ]
    text = next(trace for trace in view(device, experiment="drag").data if trace.name == "names").text
    assert list(text) == ["<b>in</b> drive", "<b>out</b> ground", "<b>plus</b>", "<b>minus</b>"]
    hovers = [
        trace.hovertemplate for trace in view(device).data if trace.legendgroup == "contacts" and trace.hovertemplate
    ]
    assert "drag: drive" in hovers[0] and "drag: plus<br>hot: plus" in hovers[2]


def test_names_are_shown_as_they_are() -> None:
    """Quotation marks, tags, entities, and what plotly would fill in where the pointer is."""
    name = 'a "b" <i> &lt; %{x}'
    shown, device = 'a "b" &lt;i&gt; &amp;lt; %&#123;x}', two_bars()
    base, left, right = device.solids
    device = dataclasses.replace(
        device,
        name=name,
        materials=device.materials | {name: dataclasses.replace(CU, name=name)},
        solids=(base, left, dataclasses.replace(right, name=name, material=name, magnet=name)),
        contacts=(*device.contacts[:2], Contact("plus", name, "x+"), Contact(name, name, "x-")),
        experiments={
            name: Experiment(name, ("in", "out"), ("plus", name), {"P": {}}),
            f"{name}, hot": Experiment(f"{name}, hot", None, ("plus", name), {"P": {}}, power={name: 1.0}),
        },
    )
    figure = view(device)
    hovers = [trace.hovertemplate for trace in figure.data if trace.hovertemplate]
    body = next(hover for hover in hovers if hover.startswith(f"<b>{shown}</b>, {shown}<br>magnet {shown}<br>"))
    assert f"<br>{shown}, hot: heated" in body
    assert any(f"contact <b>{shown}</b>" in hover and f"{shown}: minus" in hover for hover in hovers)
    assert not any("%{" in hover or "quot" in hover for hover in hovers)
    assert figure.layout.title.text == shown
    assert any(trace.name == shown and trace.showlegend for trace in figure.data)
    assert shown in {menu.buttons[0].label for menu in figure.layout.updatemenus}
    # Labels in space know tags, but no entities.
    text = next(trace for trace in figure.data if trace.name == "names").text
    assert text[-1] == "<b>{}</b> minus".format(name.replace("<", "<\N{ZERO WIDTH SPACE}"))


def is_cut(trace: Any) -> bool:
    return trace.type == "mesh3d" and trace.intensity is not None


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_cuts_show_the_numbers_of_the_fields(axis: int) -> None:
    """Of linear fields every number on a cut is known, wherever the plane and the lines that are left lie."""
    device = two_bars()
    gradient, rise = (3e3, -2e3, 5e3), (4e6, 1e7, -3e7)
    figure = view(device, linear(device, gradient, rise, split=7.0), experiment="drag", state="P")
    name = "xyz"[axis]
    traces = [k for k, trace in enumerate(figure.data) if is_cut(trace)]
    assert len(traces) == 9
    frames = [frame for frame in figure.frames if frame.name.startswith(name)]
    slider = figure.layout.sliders[axis]
    assert [step.args[0][0] for step in slider.steps] == [frame.name for frame in frames] and len(frames) >= 3
    for frame, step in zip(frames, slider.steps, strict=True):
        position = float(step.label.replace("\N{MINUS SIGN}", "-"))
        assert set(frame.traces) <= set(traces) and len(frame.traces) == 3
        for trace, moved in zip([figure.data[place] for place in frame.traces], frame.data, strict=True):
            at = [np.array(moved[other] if other == name else trace[other], float) * NM for other in "xyz"]
            live = np.isfinite(at[axis])
            assert live.any()
            np.testing.assert_allclose(at[axis][live] / NM, position, atol=0.006)
            number = np.array(moved.intensity, float)[live]
            x, y, z = (part[live] for part in at)
            if trace.name == "T":
                np.testing.assert_allclose(number, rise[0] * x + rise[1] * y + rise[2] * z, rtol=1e-4, atol=1e-5)
            elif trace.name == "V<sub>s</sub>":
                unit = 1e6 if "µV" in trace.hovertemplate else 1e9
                np.testing.assert_allclose(number, 7.0 * x * unit, rtol=1e-4, atol=1e-4)
                assert np.all((np.abs(x) > 4.99 * NM) & (np.abs(y) < 20.01 * NM) & (z > -0.01 * NM))


def test_a_gap_of_one_cell_stays_open() -> None:
    """Nodes on both sides of the gap have values, and there is none in it: no triangle may cross."""
    device = two_bars()
    fields = linear(device, (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    inside = (fields.x > -4.9 * NM) & (fields.x < 4.9 * NM)
    fields = dataclasses.replace(
        fields, x=fields.x[~inside], **{name: getattr(fields, name)[~inside] for name in ("V_up", "V_down", "T")}
    )
    assert np.diff(fields.x).max() == pytest.approx(15 * NM, rel=0.1)
    figure = view(device, fields)
    for trace in figure.data:
        if is_cut(trace) and trace.name == "V<sub>s</sub>" and np.ptp(trace.x[np.isfinite(trace.x)]) > 100:
            corners = np.array(trace.x)[np.stack([trace.i, trace.j, trace.k], axis=1)]
            crossing = (corners.min(axis=1) < 0) & (corners.max(axis=1) > 0)
            height = np.array(trace.z)[np.stack([trace.i, trace.j, trace.k], axis=1)]
            assert not np.any(crossing & np.isfinite(height).all(axis=1))


def test_without_metal_there_is_heat_alone() -> None:
    bar = solid("bar", "oxide", None, (0, 100), (0, 50), (0, 20))
    device = Device(name="bar", materials={"oxide": OXIDE}, solids=(bar,), heat_sinks=(HeatSink("bar", "z-"),))
    figure = view(device, linear(device, (0.0,) * 3, (1e7, 0.0, 0.0)))
    assert [trace.name for trace in figure.data if is_cut(trace)] == ["T"] * 3


def test_thinned_lines_keep_both_sides_of_every_face() -> None:
    device = load("slachter2010")
    fields = linear(device, (0.0,) * 3, (1.0, 0.0, 0.0))
    owner = owners(device, fields)
    cuts = Cuts(fields, shown(fields, owner >= 0, owner > 0), device_faces(device))
    for line, faces in zip(cuts.lines, device_faces(device), strict=True):
        assert len(line) <= 100
        for face in faces[1:-1]:
            assert np.count_nonzero(np.abs(line - face) < 1e-15) == 2


def test_current_densities_follow_the_law_of_the_device() -> None:
    """J = -sigma (grad V + S grad T) where both potentials are V; and with a spin voltage, of both channels."""
    device = two_bars()
    E, dT = np.array((2e3, -1e3, 4e3)), np.array((3e6, 1e7, -2e7))
    fields = linear(device, tuple(E), tuple(dT))
    owner = owners(device, fields)
    J = current_density(fields, device, {})
    for number, material in ((1, PY), (2, CU)):
        # S is the mean of the channels by their conductivities, so that S_s does not enter.
        np.testing.assert_allclose(
            J[owner == number], np.broadcast_to(-material.sigma * (E + material.S * dT), (np.sum(owner == number), 3)),
            rtol=1e-5,
        )  # fmt: skip
    assert np.isnan(J[owner <= 0]).all()
    turned = linear(device, (0.0,) * 3, (0.0,) * 3, split=1e3)
    for sign in (1, -1):
        J = current_density(turned, device, {"M": sign})
        np.testing.assert_allclose(J[owner == 1][:, 0], -sign * PY.P * PY.sigma * 1e3 / 2, rtol=1e-5)
        np.testing.assert_allclose(J[owner == 2][:, 0], 0.0, atol=1.0)


@pytest.mark.parametrize(
    ("signs", "parameters", "words"),
    [
        ({"N": -1}, {}, "signs: got 'N'; expected one of: M"),
        ({"M": -1}, {"Py.sigm": 1.0}, "parameters: got 'Py.sigm'; did you mean 'Py.sigma'"),
    ],
)
def test_current_densities_of_unknown_names_are_refused(
    signs: dict[str, int], parameters: dict[str, float], words: str
) -> None:
    device = two_bars()
    with pytest.raises(ValueError, match=words):
        current_density(linear(device, (1.0, 0.0, 0.0), (0.0,) * 3), device, signs, parameters)


def test_fields_of_another_device_are_refused() -> None:
    fields = linear(two_bars(), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    with pytest.raises(InputError, match="not of device 'pillar', which has a face at x = "):
        view(load("pillar"), fields)
    with pytest.raises(InputError, match="did you mean 'drag'"):
        view(two_bars(), fields, experiment="drug")
    with pytest.raises(InputError, match="no state 'PA'"):
        view(two_bars(), fields, experiment="drag", state="PA")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page with fields, written whole."""
    device = two_bars()
    figure = view(
        device, linear(device, (2e3, 0.0, 0.0), (1e7, 0.0, 0.0), 7.0), experiment="drag", state="P", drive=2e-3
    )
    write_view(tmp_path / "bars.html", figure)
    return tmp_path / "bars.html"


class Loads(HTMLParser):
    """What a page would load, and its title."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.title = ""
        self._tag = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        self.sources += [value or "" for key, value in attrs if key in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data: str) -> None:
        self.title += data if self._tag == "title" else ""

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""


def test_the_page_needs_nothing_else_and_sends_nothing(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    loads = Loads()
    loads.feed(text)
    assert loads.sources == [] and loads.title == "<b>two & bars</b>, drag, P, 2 mA"
    config = re.findall(r'"modeBarButtonsToRemove": ?\[([^]]*)\]', text)
    assert config and "sendChartToCloud" in config[-1]
    assert "@import" not in text and "<b>two" not in text
    assert page.stat().st_size < 8e6
    assert [path.name for path in page.parent.iterdir()] == ["bars.html"]


def test_the_page_of_the_shipped_device_is_under_8_mb(tmp_path: Path) -> None:
    """With fields on a grid as fine as its own one, about 80 x 110 x 30 nodes."""
    device = load("slachter2010")
    fields = linear(device, (2e3, 1e3, 0.0), (1e7, 2e6, 3e6), 7.0)
    rng = np.random.default_rng(0)  # numbers that do not repeat
    noisy = {name: getattr(fields, name) * rng.uniform(1, 2, fields.T.shape) for name in ("V_up", "V_down", "T")}
    write_view(tmp_path / "a.html", view(device, dataclasses.replace(fields, **noisy), experiment="thermal", state="P"))
    assert fields.T.size > 2e5
    assert 5e6 < (tmp_path / "a.html").stat().st_size < 8e6


def test_a_file_of_fields_alone_has_its_domains_and_cuts(tmp_path: Path) -> None:
    device = two_bars()
    fields = linear(device, (2e3, 0.0, 0.0), (1e7, 0.0, 0.0), 7.0)
    owner = owners(device, fields)
    J = current_density(fields, device, {})
    write_vtr(tmp_path / "a.vtr", fields, {"domain": owner, "J": J})
    read = read_vtr(tmp_path / "a.vtr")
    np.testing.assert_array_equal(read.cells["J"], J)
    for name in ("x", "y", "z", "V_up", "V_down", "T"):
        np.testing.assert_array_equal(getattr(read, name), getattr(fields, name))
    figure = fields_view(read, "a.vtr")
    switches = {trace.name: trace.visible for trace in figure.data if trace.type == "mesh3d" and trace.showlegend}
    assert switches == {"domain 1": True, "domain 2": True, "domain 0": "legendonly"}
    assert sum(map(is_cut, figure.data)) == 9
    with pytest.raises(InputError, match="no array 'domain'"):
        fields_view(dataclasses.replace(read, cells={}), "a.vtr")


def run(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["view", *map(str, words)])
    return done.exit_code, done.output


def test_the_command_writes_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, told = run("pillar")
    assert code == 0 and "pillar-view.html is written" in told
    device = load("valve")
    fields = linear(device, (2e3, 0.0, 0.0), (1e7, 0.0, 0.0))
    write_vtr("some.vtr", fields, {"domain": owners(device, fields)})
    assert run("valve", "--fields", "some.vtr", "--html", "a.html")[0] == 0
    assert run("some.vtr")[0] == 0 and Path("some-view.html").is_file()
    assert "valve, some.vtr" in Path("a.html").read_text("utf-8")


def test_the_command_solves_an_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("valve.toml").write_text(block("file: valve.toml", START), encoding="utf-8")
    words = ("valve.toml", "--fields", "nonlocal", "--state", "AP", "--drive", "2 mA", "--cells", "100", "--order", "1")
    code, told = run(*words)
    assert code == 0, told
    assert "<title>valve, nonlocal, AP, 2 mA</title>" in Path("valve-view.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nowhere.vtr",), "there is no such file"),
        (("other.vtr",), "is no file of fields written by thermospin"),
        (("cut.vtr",), "is no file of fields written by thermospin"),
        (("pillar", "--fields", "cut.vtr"), "is no file of fields written by thermospin"),
        (("bars.vtr", "--fields", "thermal"), "is a file of fields already"),
        (("pillar", "--fields", "bars.vtr"), "not of device 'pillar'"),
        (("pillar", "--fields", "resistence"), "did you mean 'resistance'"),
        (("pillar", "--fields", "resistance", "--drive", "3 K"), "is driven by a current"),
        (("pillar", "--state", "AP"), "--state: is of fields that are solved"),
        (("pillar", "--cells", "100"), "--cells: is of fields that are solved"),
        (("pillar", "--order", "2"), "--order: is of fields that are solved"),
        (("pillar", "--fields", "bars.vtr", "--order", "2"), "--order: is of fields that are solved"),
        (("bars.vtr", "--bath", "77 K"), "a file of fields alone has none"),
        (("faulty.toml",), "solid 'wire'"),
        (("good.toml", "--html", "good.toml"), "is read by this command"),
        (("good.toml", "--html", "nowhere/a.html"), "nowhere"),
    ],
)
def test_bad_input_is_told_and_leaves_no_page(
    words: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good = block("file: valve.toml", START)
    Path("good.toml").write_text(good, encoding="utf-8")
    Path("faulty.toml").write_text(good.replace("x = [-1000, 1000]", "x = [1000, -1000]"), encoding="utf-8")
    write_vtr("bars.vtr", linear(two_bars(), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)))
    whole = Path("bars.vtr").read_text("utf-8")
    Path("cut.vtr").write_text(whole[: len(whole) // 2], encoding="utf-8")
    Path("other.vtr").write_text('<VTKFile type="RectilinearGrid"><RectilinearGrid/></VTKFile>', encoding="utf-8")
    code, output = run(*words)
    assert code == 2 and told in output.replace("\n", " "), output
    assert "Traceback" not in output and not list(tmp_path.glob("*.html"))


def test_without_plotly_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "plotly.graph_objects", raising=False)
    monkeypatch.setitem(sys.modules, "plotly", None)
    code, told = run("pillar")
    assert code == 2 and "pip install 'thermospin[view]'" in told and "Traceback" not in told


#: Chooses the temperature on a plane of constant y, moves the plane, and points at places until something answers.
LOOK = """
<script>
setTimeout(function () {
  var gd = document.querySelector(".js-plotly-plot"), seen = [];
  var cut = gd.layout.updatemenus[1].buttons[4].args, step = gd.layout.sliders[1].steps[2].args;
  gd.on("plotly_hover", function (event) {
    var at = event.points[0];
    seen.push([at.x, at.y, at.z, at.intensity, at.data.name, document.querySelector("g.hovertext").textContent]);
  });
  Plotly.update(gd, cut[0], cut[1], cut[2]).then(function () { return Plotly.animate(gd, step[0], step[1]); })
    .then(function () {
      var canvas = gd.querySelector("canvas"), box = canvas.getBoundingClientRect(), n = 0;
      function point() {
        if (n == 60) { document.body.setAttribute("data-seen", JSON.stringify(seen)); return; }
        var x = box.left + box.width * (0.25 + 0.5 * (n % 10) / 10), y = box.top + box.height * (0.3 + 0.07 * (n / 10));
        var options = { clientX: x, clientY: y, bubbles: true, view: window };
        [canvas, canvas.parentNode].forEach(function (it) { it.dispatchEvent(new MouseEvent("mousemove", options)); });
        n += 1;
        gd._fullLayout.scene._scene.glplot.redraw();  // without a screen, frames do not come by themselves
        setTimeout(point, 150);
      }
      setTimeout(point, 500);
    });
}, 1500);
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to turn the page with")
def test_a_browser_draws_the_page_and_reads_values_under_the_pointer(page: Path, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    flags = [
        "--headless", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,900", "--enable-logging=stderr",
        "--virtual-time-budget=25000", "--host-resolver-rules=MAP * ~NOTFOUND",
    ]  # fmt: skip
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        flags.append("--no-sandbox")
    looked = tmp_path / "looked.html"
    looked.write_text(page.read_text("utf-8").replace("</body>", LOOK + "</body>"), encoding="utf-8")
    picture = tmp_path / "page.png"
    command = [CHROMIUM, *flags, f"--screenshot={picture}", "--dump-dom", looked.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "willReadFrequently" not in line]
    assert not said, said
    found = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert found is not None
    seen = [each for each in json.loads(found[1].replace("&quot;", '"')) if each[4] == "T"]
    assert seen, "the pointer met no cut"
    for x, y, _, T, _, text in seen:
        assert pytest.approx(1e7 * x * NM, abs=1e-4) == T and abs(y) <= 100
        assert text.startswith("T = ") and " K" in text
    import matplotlib.image

    pixels = matplotlib.image.imread(picture)[..., :3]
    assert np.mean(np.ptp(pixels, axis=-1) > 0.3) > 5e-3, "there is colour"
