"""Pictures are written, carry units, and cope with devices and fields that lack what a picture usually shows."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from thermospin.accuracy.sensitivity import Sensitivity
from thermospin.base import polygons
from thermospin.data.rows import Row
from thermospin.device import device as dv
from thermospin.device import parts, reader
from thermospin.device.materials import Material
from thermospin.inference.identifiability import Identifiability
from thermospin.inference.misfit import Misfit
from thermospin.inference.result import FitResult
from thermospin.report import device_figures, field_figures, fit_figures, layout_figures, sweep_figures
from thermospin.report.cuts import spin_accumulation
from thermospin.report.slices import slice_at
from thermospin.report.views import Views
from thermospin.signals.density import device_faces, owners

NM = 1e-9
PY = Material("Py", sigma=4.32e6, P=0.25, S=-20e-6, S_s=-3.8e-6, kappa=30.0, lambda_sf=5 * NM)
CU = Material("Cu", sigma=4.26e7, S=1.6e-6, kappa=300.0, lambda_sf=350 * NM)
OXIDE = Material("oxide", kappa=1.0)
MATERIALS = {material.name: material for material in (PY, CU, OXIDE)}


def solid(name: str, material: str, magnet: str | None, *sides: tuple[float, float]) -> parts.Solid:
    x, y, z = ((low * NM, high * NM) for low, high in sides)
    return parts.Solid(name, material, magnet, (x, y, z))


def make(*solids: parts.Solid, **rest) -> dv.Device:
    return dv.Device(name="test", materials=MATERIALS, solids=solids, **rest)


def bar(material: str = "Cu") -> dv.Device:
    """One solid, its lower side at the bath temperature, with contacts where it conducts charge."""
    return make(
        solid("bar", material, None, (0, 1000), (0, 50), (0, 20)),
        contacts=()
        if material == "oxide"
        else (parts.Contact("left", "bar", "x-"), parts.Contact("right", "bar", "x+")),
        heat_sinks=(parts.HeatSink("bar", "z-"),),
    )


def pillar() -> dv.Device:
    """A stack that current crosses upwards, with a contact on its top and one on its side."""
    return make(
        solid("base", "oxide", None, (-600, 600), (-500, 500), (-300, 0)),
        solid("bottom", "Cu", None, (-600, 100), (-100, 100), (0, 60)),
        solid("F1", "Py", "fixed", (-75, 75), (-40, 40), (60, 75)),
        solid("N", "Cu", None, (-75, 75), (-40, 40), (75, 90)),
        solid("F2", "Py", "free", (-75, 75), (-40, 40), (90, 105)),
        solid("top", "Cu", None, (-100, 600), (-100, 100), (105, 225)),
        contacts=(parts.Contact("in", "bottom", "x-"), parts.Contact("a long name", "top", "z+")),
        heat_sinks=(parts.HeatSink("base", "z-"), parts.HeatSink("base", "y+")),
    )


def fields_on(device: dv.Device, cells: int = 12) -> SimpleNamespace:
    """Smooth made-up fields on a graded grid through all faces, NaN where they do not live."""
    layout = device.layout()
    rng = np.random.default_rng(0)
    lines = [np.union1d(line, rng.uniform(line[0], line[-1], cells)) for line in layout.lines]
    middles = [(line[1:] + line[:-1]) / 2 for line in lines]
    owner = layout.owner[np.ix_(*(np.searchsorted(e, m) - 1 for e, m in zip(layout.lines, middles, strict=True)))]
    views = Views(device)

    def live(kept: np.ndarray) -> np.ndarray:
        cell = np.pad(kept[owner], 1)
        shifts = [(slice(None, -1), slice(1, None))[k] for k in (0, 1)]
        return np.any([cell[a, b, c] for a in shifts for b in shifts for c in shifts], axis=0)

    X, Y, Z = np.meshgrid(*lines, indexing="ij")
    distance = np.sqrt(X**2 + Y**2 + Z**2)
    T = np.where(live(views.domain >= 0), 30 * np.exp(-distance / (200 * NM)), np.nan)
    V_s = np.where(live(views.metal), 1e-6 * np.exp(-distance / (50 * NM)), np.nan)
    return SimpleNamespace(x=lines[0], y=lines[1], z=lines[2], V_up=V_s / 2, V_down=-V_s / 2, T=T)


def check_picture(figure: Figure, path: Path, *, axes: int) -> None:
    """A PNG of some size, and labels that all name a unit."""
    assert isinstance(figure, Figure)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG") and len(data) > 5000
    panels = figure.axes
    assert len(panels) == axes
    texts = [label for ax in panels for label in (ax.get_xlabel(), ax.get_ylabel()) if label]
    labelled = [ax for ax in panels if ax.axison]
    assert len(texts) >= len(labelled) and all("[" in text and "]" in text for text in texts)


DEVICES = {
    "the paper's device": lambda: reader.load("slachter2010"),
    "a pillar": pillar,
    "one solid of normal metal": bar,
    "one ferromagnet": lambda: bar("Py"),
    "nothing but heat": lambda: bar("oxide"),
}


@pytest.mark.parametrize("name", DEVICES)
def test_every_device_has_a_picture(name, tmp_path):
    device = DEVICES[name]()
    figure = device_figures.device_picture(device, tmp_path / "a.png")
    check_picture(figure, tmp_path / "a.png", axes=4)
    written = [text.get_text() for ax in figure.axes for text in ax.texts]
    for contact in device.contacts:
        assert contact.name in written
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert all(any(text.startswith(solid.material) for text in legend) for solid in device.solids)


def test_magnets_are_named_and_the_zoom_is_on_the_small_contacts():
    device = reader.load("slachter2010")
    (x, y), axis, position = Views(device).focus()
    assert -150 * NM < x[0] < -40 * NM and 140 * NM < x[1] < 300 * NM
    assert y[0] > -200 * NM and y[1] < 250 * NM
    assert axis == 1 and abs(position) < 15 * NM, "the section runs along the copper, through both ferromagnets"


def test_magnets_are_labelled(tmp_path):
    figure = device_figures.device_picture(reader.load("slachter2010"), tmp_path / "a.png")
    written = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert written.count("FM1") >= 2 and written.count("FM2") >= 2  # from above and in the section


def legend_of(figure: Figure) -> dict[str, object]:
    legend = figure.legends[0]
    return dict(zip([text.get_text() for text in legend.get_texts()], legend.legend_handles, strict=True))


def test_the_legend_has_hatched_contacts_and_dashed_magnets_where_they_are_drawn():
    """Of a magnet below a cap with the same outline no dashes are seen."""
    stack = legend_of(device_figures.device_picture(pillar()))
    assert stack["contact on top, at 300 K"].get_hatch() and "contact, at 300 K" in stack
    assert "magnet" in stack, "the outline of the magnets is below a wide top"
    capped = make(
        solid("F", "Py", "F", (-100, 100), (-50, 50), (0, 20)),
        solid("cap", "Cu", None, (-100, 100), (-50, 50), (20, 40)),
        contacts=(
            parts.Contact("1", "F", "z-"),
            parts.Contact("2", "cap", "z+"),
            parts.Contact("3", "cap", "x+", h=0.0),
        ),
    )
    legend = legend_of(device_figures.device_picture(capped))
    assert list(legend) == ["Py", "Cu", "contact, insulated", "contact on bottom or top, at 300 K"]
    valve = legend_of(device_figures.device_picture(reader.load("valve")))
    assert "magnet" in valve and not any("top" in text for text in valve)


def test_views_show_the_last_solid_of_an_overlap():
    device = make(
        solid("slab", "Cu", None, (0, 100), (0, 100), (0, 20)),
        solid("plug", "Py", "M", (40, 60), (40, 60), (0, 20)),
        solid("lid", "oxide", None, (0, 50), (0, 100), (20, 30)),
        contacts=(parts.Contact("end", "slab", "x-"),),
    )
    views = Views(device)
    middle = np.array([50.5]) * NM
    assert views.cut(2, 10 * NM).at(middle, middle) == 1
    assert views.from_above().at(middle, middle) == 1
    assert views.from_above().at(np.array([45]) * NM, middle) == 2
    on_the_face = views.cut(2, 20 * NM)
    assert on_the_face.at(np.array([45]) * NM, middle) == 2 and on_the_face.at(middle, middle) == 1
    assert views.cut(2, 30 * NM).at(np.array([45]) * NM, middle) == 2
    assert not views.cut(2, 31 * NM).pieces


@pytest.mark.parametrize("with_device", [True, False])
@pytest.mark.parametrize("make_device", [pillar, bar, lambda: bar("Py")])
def test_maps_are_drawn(make_device, with_device, tmp_path):
    device = make_device()
    fields = fields_on(device)
    shown = device if with_device else None
    figure = field_figures.temperature_map(fields, 10 * NM, 2e-3, tmp_path / "T.png", shown)
    check_picture(figure, tmp_path / "T.png", axes=1)
    figure = field_figures.spin_map(fields, 10 * NM, 2e-3, tmp_path / "S.png", shown)
    check_picture(figure, tmp_path / "S.png", axes=1)
    colours = figure.axes[0].images[0].norm
    assert colours.vmin == -colours.vmax, "white is zero"
    assert "2 mA" in figure.axes[0].get_title(loc="left") and "10 nm" in figure.axes[0].get_title(loc="left")


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_a_constant_field_is_drawn(value, tmp_path):
    fields = fields_on(bar())
    fields.T = np.full_like(fields.T, value)
    fields.V_up = fields.V_down
    field_figures.temperature_map(fields, 10 * NM, 1e-3, tmp_path / "T.png")
    field_figures.spin_map(fields, 10 * NM, 1e-3, tmp_path / "S.png")
    for name in ("T.png", "S.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_plane_without_data_says_where_there_is_some(tmp_path):
    fields = fields_on(pillar())
    with pytest.raises(ValueError, match="Plane z = 1000 nm misses the grid, which spans -300 to 225 nm"):
        field_figures.temperature_map(fields, 1000 * NM, 1e-3, tmp_path / "T.png")
    with pytest.raises(ValueError, match="z = -100 nm holds no spin accumulation; it lives from 0 to 225 nm"):
        field_figures.spin_map(fields, -100 * NM, 1e-3, tmp_path / "S.png")
    with pytest.raises(ValueError, match="it is NaN everywhere"):
        fields.T = np.full_like(fields.T, np.nan)
        field_figures.temperature_map(fields, 0.0, 1e-3, tmp_path / "T.png")
    assert list(tmp_path.iterdir()) == []


def test_slices_and_samples_are_exact_for_a_trilinear_field():
    rng = np.random.default_rng(1)
    x, y, z = (np.cumsum(rng.uniform(0.2, 3.0, n)) for n in (9, 8, 7))

    def f(x, y, z):
        return 1 + x - 2 * y + 0.5 * z + x * y * z

    values = f(x[:, None, None], y[None, :, None], z[None, None, :])
    fields = SimpleNamespace(x=x, y=y, z=z, V_up=values, V_down=values, T=values)
    for height in (z[0], z[3], 0.3 * z[3] + 0.7 * z[4], z[-1]):
        sliced = slice_at("T", values, fields, height)
        u, v, image = sliced.samples(((x[1], x[-2]), (y[0], y[-1])), 57)
        np.testing.assert_allclose(image, f(u[:, None], v[None, :], height), rtol=1e-12)


def test_a_void_between_two_bodies_stays_empty_only_a_device_can_tell():
    """Two bars one cell apart: all nodes of the gap are live, and only the device knows that it is a gap."""
    device = make(
        solid("base", "oxide", None, (0, 100), (0, 20), (-10, 0)),
        solid("left", "Cu", None, (0, 40), (0, 20), (0, 10)),
        solid("right", "Cu", None, (60, 100), (0, 20), (0, 10)),
        contacts=(parts.Contact("1", "left", "x-"), parts.Contact("2", "right", "x+")),
    )
    x, y, z = np.array([0, 40, 60, 100]) * NM, np.array([0, 20]) * NM, np.array([-10, 0, 10]) * NM
    T = np.ones((4, 2, 3))
    fields = SimpleNamespace(x=x, y=y, z=z, V_up=T, V_down=T, T=T)
    assert slice_at("T", T, fields, 5 * NM).cells[:, 0].tolist() == [True, True, True]
    sliced = slice_at("T", T, fields, 5 * NM, owners(device, fields) >= 0)
    assert sliced.cells[:, 0].tolist() == [True, False, True]


def test_on_a_face_a_map_has_what_lies_above():
    """Fields jump at z = 10 nm: 1 below, 2 above, where the second bar ends at x = 50 nm, 3 in a lid."""
    device = make(
        solid("wire", "Cu", None, (0, 100), (0, 20), (0, 10)),
        solid("strip", "Cu", None, (0, 50), (0, 20), (10, 20)),
        solid("post", "oxide", None, (80, 100), (0, 20), (10, 30)),
        solid("lid", "Cu", None, (0, 100), (0, 20), (30, 40)),
        contacts=(parts.Contact("1", "wire", "x-"), parts.Contact("2", "lid", "x+")),
    )
    x, y, z = np.array([0, 50, 80, 100]) * NM, np.array([0, 20]) * NM, np.array([0, 10, 10, 20, 30, 40]) * NM
    T = np.ones((4, 2, 6)) * np.array([1, 1, 2, 2, 3, 3])
    T[2:, :, 2:4] = np.nan
    fields = SimpleNamespace(x=x, y=y, z=z, V_up=T, V_down=T, T=T)
    filled = Views(device).metal[owners(device, fields)]
    for height, expected in ((9.9, [1, 1, 1, 1]), (10, [2, 2, 1, 1]), (10.1, [2, 2, np.nan, np.nan])):
        sliced = slice_at("T", T, fields, height * NM, filled)
        np.testing.assert_allclose(sliced.values[:, 0], expected)
        assert sliced.cells[:, 0].tolist() == [True] + [height <= 10] * 2
    field_figures.temperature_map(fields, 10 * NM, 1e-3, None, device)
    with pytest.raises(ValueError, match="z = 25 nm holds no T; it lives from 0 to 20 nm and from 30 to 40 nm"):
        slice_at("T", T, fields, 25 * NM, filled)


def slanted() -> dv.Device:
    """An octagon and a slanted strip on a wire of a long chip, the strip overwritten where the wire goes on."""
    octagon = [(-40, -34), (-10, -47), (25, -42), (45, -15), (45, 20), (20, 44), (-15, 46), (-45, 20)]
    strip = [(200, -150), (260, -150), (360, 150), (300, 150)]
    return make(
        solid("wire", "Cu", None, (-5000, 5000), (-50, 50), (0, 60)),
        prism("F", octagon, (60, 80)),
        prism("G", strip, (60, 80)),
        solid("cap", "Cu", None, (-5000, 5000), (-50, 50), (70, 90)),
        contacts=(parts.Contact("left", "wire", "x-"), parts.Contact("right", "wire", "x+")),
    )


def prism(name: str, corners: list[tuple[float, float]], z: tuple[float, float]) -> parts.Solid:
    outline = tuple((x * NM, y * NM) for x, y in corners)
    ends = [(min(line), max(line)) for line in zip(*outline, strict=True)]
    return parts.Solid(name, "Py", name, (ends[0], ends[1], (z[0] * NM, z[1] * NM)), outline=outline)


def test_sections_and_maps_of_slanted_solids_are_exact():
    device = slanted()
    views = Views(device)
    at_0 = [corners for index, corners in views.cut(1, 0.0).pieces if index == 2]
    np.testing.assert_allclose([at_0[0].min(axis=0), at_0[0].max(axis=0)], np.array([[250, 60], [310, 70]]) * NM)
    areas = {k: sum(abs(polygons.area(c)) for i, c in views.cut(2, 65 * NM).pieces if i == k) for k in (1, 2)}
    # Coarse cells, and no values at the nodes outside: an edge cuts through cells whose outer nodes have none.
    x = np.union1d(np.linspace(-5000, 5000, 11), [-60, -45, -20, 0, 20, 45, 150, 200, 240, 290, 330, 360, 400]) * NM
    y = np.array([-150, -100, -50, -25, 0, 25, 50, 100, 150]) * NM
    x, y = (np.union1d(line, faces) for line, faces in zip((x, y), device_faces(device)[:2], strict=True))
    T = np.ones((len(x), len(y), 5))
    T[np.argmin(np.abs(x - 200 * NM)), 0] = T[np.argmin(np.abs(x - 360 * NM)), -1] = np.nan
    fields = SimpleNamespace(x=x, y=y, z=np.array([0, 60, 70, 80, 90]) * NM, V_up=T, V_down=0 * T, T=T)
    shown = field_figures.spin_map(fields, 65 * NM, 1e-3, None, device).axes[0].images[0]
    left, right, bottom, top = np.array(shown.get_extent()) * NM
    assert np.mean(np.isfinite(shown.get_array().filled(np.nan))) == pytest.approx(
        sum(areas.values()) / ((right - left) * (top - bottom)), rel=2e-3
    )


def test_dashed_magnets_and_tops_show_no_border_that_is_not_there():
    """A strip below a wire is in two pieces; the top of a plate with a hole has no line along the cut to the hole."""
    device = make(
        solid("strip", "Py", "M", (0, 20), (-100, 100), (0, 10)),
        solid("wire", "Cu", None, (-50, 80), (-30, 30), (0, 10)),
        contacts=(parts.Contact("1", "wire", "x-"),),
    )
    borders = Views(device).left_of(0)
    assert np.linalg.norm(borders[:, 1] - borders[:, 0], axis=1).sum() == pytest.approx(2 * 2 * (20 + 70) * NM)
    ring = [(-200, -80), (200, -80), (200, 80), (-200, 80), (-200, 0), (-40, 0), (0, 40), (40, 0), (0, -40), (-40, 0)]
    plate = make(prism("R", [*ring, (-200, 0)], (0, 10)), contacts=(parts.Contact("1", "R", "x+"),))
    view = Views(plate).from_aside(azimuth=-90, elevation=90)
    lines = np.array([facet.corners for facet in view.facets if not facet.light])
    assert np.linalg.norm(lines[:, 1] - lines[:, 0], axis=1).sum() == pytest.approx((1120 + 160 * 2**0.5) * NM)


def test_materials_have_colours_of_their_own():
    names = ["Co", "Py", "Pd", "Au", "Cu", "Pt", "NiCu", "Ru", "Ta", "Ir", "W", "Cr", "Ti"]
    metals = {name: dataclasses.replace(PY if name in ("Co", "Py") else CU, name=name) for name in names}
    stack = [parts.Solid(name, name, None, ((0, NM), (0, NM), (k * NM, (k + 1) * NM))) for k, name in enumerate(names)]
    ends = (parts.Contact("1", "Co", "z-"),)
    device = dv.Device(name="stack", materials=metals, solids=tuple(stack), contacts=ends)
    colours = device_figures.material_colours(device, Views(device))
    assert len(set(colours.values())) == len(names)
    assert (colours["Py"], colours["Au"]) == ("#4477AA", "#F0CF65")


@pytest.mark.parametrize(("name", "magnets"), [("pillar", {"free", "fixed"}), ("junction", {"upper", "lower"})])
def test_names_do_not_hide_each_other(name, magnets):
    """Contacts above one another have tags that are stacked, thin magnets names beside the section."""
    figure = device_figures.device_picture(reader.load(name))
    figure.draw_without_rendering()
    tags = [text.get_bbox_patch().get_window_extent() for text in figure.axes[0].texts if text.get_bbox_patch()]
    section = figure.axes[2]
    beside = [text for text in section.texts if text.get_text() in magnets]
    assert len(tags) == len(reader.load(name).contacts) and {text.get_text() for text in beside} == magnets
    assert all(Text.get_window_extent(text).x0 > section.get_window_extent().x1 for text in beside)
    for boxes in (tags, [Text.get_window_extent(text) for text in beside]):
        assert not any(box.count_overlaps(boxes[:k]) for k, box in enumerate(boxes))


def test_names_with_dollar_signs_are_shown_as_they_are(tmp_path):
    odd = dataclasses.replace(PY, name="Fe$\\q$")
    device = dv.Device(
        name="$\\frac$",
        materials={**MATERIALS, odd.name: odd},
        solids=(
            solid("base$", "Cu", None, (0, 90), (0, 50), (0, 20)),
            solid("top", odd.name, "m$\\frac$", (0, 90), (0, 50), (20, 60)),
        ),
        contacts=(parts.Contact("a$\\bad$", "base$", "x-"),),
        heat_sinks=(parts.HeatSink("base$", "z-"),),
    )
    figure = device_figures.device_picture(device, tmp_path / "a.png")
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert r"a\$\bad\$" in texts and r"m\$\frac\$" in texts
    layout_figures.partial_picture(parts.Partial(solids=device.solids), tmp_path / "b.png")
    row = dataclasses.replace(ROWS[0], experiment="$\\x$")
    fit_figures.fit_picture(fit_of([row], [1.0], [1.0]), tmp_path / "c.png")


def test_round_off_is_no_spin_accumulation():
    fields = fields_on(bar())
    fields.V_up = fields.V_down + 1.0
    fields.V_down = fields.V_up * (1 + 1e-15)
    figure = field_figures.spin_map(fields, 10 * NM, 1e-3)
    assert figure.axes[0].images[0].norm.vmax == 1 and not np.any(figure.axes[0].images[0].get_array())
    assert figure.axes[0].child_axes[0].get_ylabel().endswith("[µV], zero")
    fields.V_down = fields.V_up * (1 + 1e-9)
    assert np.nanmax(np.abs(spin_accumulation(fields))) == pytest.approx(1e-9)


def test_what_is_hardly_known_or_zero_is_marked_in_sensitivities():
    shown = Sensitivity(
        signals=(("a", "R1.P"), ("a", "R1.spin"), ("b", "R1.spin")),
        values=np.array([1.0, 0.1, 1e-15]),
        parameters={"Py.P": 0.3, "Cu.S_s": 0.0},
        slopes=np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]),
        dimensions=(),
        tolerance=1e-11,
        units=("V/A",) * 3,
        errors=np.array([0.01, 0.05, 0.0]),
        computed=np.array([1.0, 0.1, 1e-15]),
    )
    ax, bar = shown.plot().axes
    (patch,) = ax.patches
    assert patch.get_hatch() and patch.get_x() == 0.5 and "hatched: hardly known" in bar.get_ylabel()
    assert [text.get_position()[0] for text in ax.texts if text.get_text() == "zero"] == [2]
    card = shown._repr_html_()
    for words in ("Hardly known on this grid: a R1.spin to 50%", "Without a logarithm, being 0: Cu.S_s", ">zero<"):
        assert words in card, words


def test_r2s_reaches_the_papers_70_nV_at_its_largest_current(tmp_path):
    """Derived: 15.6 nV/mA^2 times (1.5 mA sqrt 2)^2 = 70.2 nV; with the rms current squared it would be 35 nV."""
    figure = sweep_figures.r2s_current(
        {"a": -18e-3, "b": -5e-3},
        tmp_path / "a.png",
        -15.6e-3,
        current_rms=1.5e-3,
        label="measured (A)",
        measured_std=1e-3,
    )
    check_picture(figure, tmp_path / "a.png", axes=1)
    ax = figure.axes[0]
    line = next(line for line in ax.lines if str(line.get_label()).startswith("measured (A)"))
    assert line.get_xdata()[-1] == pytest.approx(4.5) and line.get_ydata()[-1] == pytest.approx(-70.2)
    assert any("\N{MINUS SIGN}18 nV/mA²" in str(line.get_label()) for line in ax.lines)
    figure = sweep_figures.r2s_current(-18e-3, tmp_path / "a.png", -10e-3, current_rms=1.5e-3)
    line = next(line for line in figure.axes[0].lines if str(line.get_label()).startswith("measured"))
    assert line.get_ydata()[-1] == pytest.approx(-45)


def test_interface_profile_shows_the_error(tmp_path):
    x = np.linspace(-40, 80, 25) * NM
    x_exact = np.union1d(np.linspace(-40, 80, 400) * NM, x)

    def split(x):
        return -0.826e-6 * np.where(x < 0, np.exp(np.minimum(x, 0) / (5 * NM)), np.exp(-np.maximum(x, 0) / (350 * NM)))

    V_s, exact = split(x), split(x_exact)
    path = tmp_path / "a.png"
    figure = field_figures.interface_profile(
        x, V_s / 2 + 1e-9, -V_s / 2, x_exact, exact / 2, -exact / 2, path, slopes=(1.0, 0.0), sides=("Py", "Cu")
    )
    check_picture(figure, path, axes=3)
    errors = figure.axes[2].lines[0].get_ydata()
    np.testing.assert_allclose(errors, 1.0, rtol=1e-9)
    assert "nV" in figure.axes[2].get_ylabel()
    with pytest.raises(ValueError, match="computed profile has shapes"):
        field_figures.interface_profile(x, V_s[1:], V_s, x_exact, exact, exact, path)


ROWS = [
    Row("thermal", "R2.baseline", 7.69, 0.2, polarity_known=False, unit="V/A^2"),
    Row("thermal", "R2.spin", -15.6e-3, 1e-3, unit="V/A^2"),
    Row("electrical", "R1.spin", 9e-3, 0.5e-3, unit="V/A"),
]


def fit_of(rows: list[Row], before: list[float], after: list[float], grid: list[float] | None = None) -> FitResult:
    """The result of a fit with these signals before and after."""
    misfit = Misfit(rows, grid_stds=grid)
    pulls = [misfit.pulls(np.array(values)) for values in (before, after)]
    none = np.zeros(0)
    return FitResult(
        parameters={},
        covariance=np.zeros((0, 0)),
        rescaled=False,
        rows=tuple(rows),
        before=np.array(before),
        after=np.array(after),
        pulls=pulls[1],
        chi2=float(np.sum(pulls[1] ** 2)),
        chi2_before=float(np.sum(pulls[0] ** 2)),
        evaluations=1,
        converged=True,
        message="",
        method="least_squares",
        identifiability=Identifiability((), (), (), none, np.zeros((0, 0))),
        problem=None,
        grid_stds=None if grid is None else np.array(grid),
    )


def test_fit_picture_shows_pulls_and_readings(tmp_path):
    result = fit_of(ROWS, [-7.0, -18e-3, 10e-3], [-7.69, -15.6e-3, 9.5e-3])
    figure = fit_figures.fit_picture(result, tmp_path / "a.png")
    check_picture(figure, tmp_path / "a.png", axes=2)
    pulls = figure.axes[1].lines[1].get_xdata()
    np.testing.assert_allclose(pulls, [0, 0, 1], atol=1e-9)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels[0] == "thermal, |R2 baseline|\n7.69 ± 0.2 µV/mA²"
    assert labels[1] == "thermal, R2 spin\n\N{MINUS SIGN}15.6 ± 1 nV/mA²"
    assert labels[2] == "electrical, R1 spin\n9 ± 0.5 mΩ"
    # Before: pulls of 0.69/0.2, 2.4 and 2.
    assert figure.axes[1].get_title(loc="right") == "$\\chi^2$: 21.7 before, 1 after"


def test_pulls_in_pictures_are_those_of_the_report(tmp_path):
    """Noise of 0.5 and a grid of 1.2 mohm make 1.3: off by 2.6 and 1.3 mohm is 2 and 1, and chi2 is 4 and 1."""
    result = fit_of(ROWS[2:], [11.6e-3], [10.3e-3], grid=[1.2e-3])
    figure = fit_figures.fit_picture(result, tmp_path / "a.png")
    before, after = (line.get_xdata() for line in figure.axes[1].lines[:2])
    np.testing.assert_allclose([before, after, result.pulls], [[2], [1], [1]], rtol=1e-9)
    assert figure.axes[1].get_title(loc="right") == "$\\chi^2$: 4 before, 1 after"
    assert "grid" in figure.axes[1].get_xlabel()


@pytest.mark.parametrize("before", [[1e4, -18e-3, 10e-3], [1e4, 1.0, -3.0], [np.nan, -18e-3, 0.0]])
def test_fit_picture_stands_a_wild_start(before, tmp_path):
    rows = [*ROWS, Row("thermal", "R1.spin", 0.0, 1e-6)]
    figure = fit_figures.fit_picture(fit_of(rows, [*before, 1e-6], [-7.69, -15.6e-3, 9e-3, 0.0]), tmp_path / "a.png")
    check_picture(figure, tmp_path / "a.png", axes=2)


def test_a_place_or_kind_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OSError, match="there is no folder"):
        device_figures.device_picture(bar(), tmp_path / "nowhere" / "a.png")
    with pytest.raises(ValueError, match=r"kind '\.doc'"):
        device_figures.device_picture(bar(), tmp_path / "a.doc")
    assert list(tmp_path.iterdir()) == []
    sweep_figures.r2s_current(-18e-3, tmp_path / "a.pdf", -10e-3, current_rms=1.5e-3)
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


def test_drawing_needs_no_display_and_changes_no_settings(tmp_path):
    code = (
        "import matplotlib, sys; before = matplotlib.rcParams.copy(); "
        "from thermospin.report.sweep_figures import r2s_current; "
        "r2s_current(-0.018, sys.argv[1], -0.0156, current_rms=1.5e-3); assert matplotlib.rcParams.copy() == before; "
        "assert 'matplotlib.pyplot' not in sys.modules; assert 'jax' not in sys.modules"
    )
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "MPLBACKEND")}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.png")], check=True, env=environment)
