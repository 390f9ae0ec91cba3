"""Device files: what loads, and what each fault of a file is told."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from thermospin.base.errors import InputError
from thermospin.data.sources import read_sources
from thermospin.device import materials, provenance, reader, settings
from thermospin.device.device import Device, DeviceError
from thermospin.device.materials import Material, MaterialError
from thermospin.device.parts import Contact, Experiment, HeatSink, Solid
from thermospin.device.reader import load
from thermospin.report.device_text import MAP, describe, map_from_above

#: A ferromagnet of 100 nm against a normal metal of 200 nm, on a substrate.
BAR = """
name = "bar"
length_unit = "nm"
[[solids]]
name = "F"
material = "Py"
magnet = "F"
box = { x = [0, 100], y = [0, 40], z = [0, 15] }
[[solids]]
name = "N"
material = "Cu"
box = { x = [100, 300], y = [0, "0.04 um"], z = [0, 15] }
[[solids]]
name = "base"
material = "SiO2"
box = { x = [0, 1000], y = [0, 40], z = [-100, 0] }
[[contacts]]
name = "a"
solid = "F"
face = "x-"
[[contacts]]
name = "b"
solid = "N"
face = "x+"
[[contacts]]
name = "c"
solid = "N"
face = "z+"
[experiments.e]
current = ["a", "b"]
voltage = ["a", "c"]
states = { P = {}, R = { F = -1 } }
"""

ISLAND = '[[solids]]\nname = "island"\nmaterial = "Au"\nbox = { x = [600, 700], y = [0, 40], z = [0, 20] }\n'
ISLAND_CONTACT = '[[contacts]]\nname = "i"\nsolid = "island"\nface = "z+"\n'


def written(tmp_path: Path, *changes: tuple[str, str], extra: str = "") -> Path:
    text = BAR
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = tmp_path / "bar.toml"
    path.write_text(text + extra, encoding="utf-8")
    return path


def faults_of(path: Path) -> list[str]:
    with pytest.raises(DeviceError) as caught:
        load(path)
    faults = caught.value.faults
    assert str(caught.value).splitlines() == faults, "one line for each fault"
    assert all(fault.startswith(f"{path}: ") for fault in faults)
    return [fault.removeprefix(f"{path}: ") for fault in faults]


def test_a_good_file_becomes_a_device_in_si_units(tmp_path: Path) -> None:
    device = load(written(tmp_path))
    assert device.name == "bar"
    assert device.bath == 300.0
    assert device.zeta == 1.0
    assert device.solid("N").box == ((100e-9, 300e-9), (0.0, 40e-9), (0.0, 15e-9))
    assert device.domains == (("Py", "F"), ("Cu", None), ("SiO2", None))
    assert device.magnets == ("F",)
    assert device.experiments["e"] == Experiment("e", ("a", "b"), ("a", "c"), {"P": {}, "R": {"F": -1}})
    assert device.parameters()["Py.lambda_sf"] == 5e-9
    assert [key for key in device.parameters() if key.startswith("SiO2")] == ["SiO2.kappa"]
    assert list(device.parameters())[-1] == "zeta"
    assert device.smallest_feature == pytest.approx(15e-9)
    assert device.bounding_box == ((0.0, 1000e-9), (0.0, 40e-9), (-100e-9, 15e-9))


def test_a_file_overrides_a_card_key_by_key_and_the_source_says_so(tmp_path: Path) -> None:
    extra = '[materials.Py]\nP = 0.3\nlambda_sf = 6\nS = { value = "-18 uV/K", source = "mine" }\n'
    device = load(written(tmp_path, extra=extra + '[materials.Cu]\ncard = "Cu_bulk"\n'))
    py, cu = device.materials["Py"], device.materials["Cu"]
    assert (py.P, py.lambda_sf, py.S, py.sigma) == (0.3, 6e-9, -18e-6, 4.32e6)
    assert py.sources["P"] == "device file"
    assert py.sources["S"] == "mine"
    assert "paper" in py.sources["sigma"]
    assert cu.sigma == 5.79e7


def test_sigma_zero_makes_a_material_carry_heat_only(tmp_path: Path) -> None:
    device = load(written(tmp_path, extra=ISLAND + "[materials.Au]\nsigma = 0\n"))
    assert not device.materials["Au"].is_metal
    assert "Au.kappa" in device.parameters()
    assert "Au.sigma" not in device.parameters()


def test_a_piece_of_metal_of_its_own_needs_a_contact_and_no_ground(tmp_path: Path) -> None:
    heater = ISLAND + ISLAND_CONTACT + '[[contacts]]\nname = "k"\nsolid = "island"\nface = "x-"\n'
    apart = '[experiments.heater]\ncurrent = ["i", "k"]\nvoltage = ["a", "c"]\n'
    device = load(written(tmp_path, extra=heater + apart))
    assert len(device.layout().pieces(metal=True).members) == 2
    assert device.experiments["heater"] == Experiment("heater", ("i", "k"), ("a", "c"), {"P": {}})


def test_the_free_part_of_an_end_face_is_the_contact(tmp_path: Path) -> None:
    cap = '[[solids]]\nname = "cap"\nmaterial = "Cu"\nbox = { x = [150, 200], y = [0, 40], z = [15, 30] }\n'
    device = load(written(tmp_path, extra=cap))
    areas = {name: face.area for name, face in device.contact_faces().items()}
    assert areas == pytest.approx({"a": 40e-9 * 15e-9, "b": 40e-9 * 15e-9, "c": 150e-9 * 40e-9})


CASES = {
    "overlapping contact faces": (
        [('face = "z+"', 'face = "x+"')],
        "",
        ["contact 'c' (x+ of 'N'): overlaps contact 'b'"],
    ),
    "two contacts on a face": (
        [],
        '[[contacts]]\nname = "o"\nsolid = "N"\nface = "x+"\n',
        ["contact 'o' (x+ of 'N'): overlaps contact 'b', a piece of plane belongs to both"],
    ),
    "a magnet that is a list": ([('magnet = "F"', 'magnet = ["F", "G"]')], "", ["solid 'F', magnet", "magnet 'F'"]),
    "a heat sink with the label of another one": (
        [],
        '[[heat_sinks]]\nsolid = "base"\nface = "z-"\n[[heat_sinks]]\nname = "base z-"\nsolid = "base"\nface = "x-"\n',
        ["heat sink 'base z-': the name is used 2 times"],
    ),
    "a contact on a body without charge": (
        [('solid = "N"\nface = "z+"', 'solid = "base"\nface = "z-"')],
        "",
        ["contact 'c' (z- of 'base'): no metal; 'base' is of 'SiO2', which carries heat only; expected a solid whose"],
    ),
    "a contact inside metal": (
        [('face = "x+"', 'face = "x-"')],
        "",
        ["contact 'b' (x- of 'N'): no metal of its own at that face; it is no end face: 'F'"],
    ),
    "a contact that is overwritten": (
        [],
        '[[solids]]\nname = "plug"\nmaterial = "SiO2"\nbox = { x = [250, 300], y = [0, 40], z = [0, 15] }\n',
        ["contact 'b' (x+ of 'N'): no metal of its own at that face; it is overwritten by 'plug'"],
    ),
    "a box outside its neighbour": (
        [("z = [-100, 0]", "z = [-100, -5]")],
        "",
        ["solid 'base': touches no other solid; 'F' is 5 nm away along z"],
    ),
    "a gap in the path of the current": (
        [("x = [100, 300]", "x = [110, 300]")],
        "",
        [
            "experiment 'e', current: no metal connects contact 'a' on 'F' (solid 'F') with contact 'b' on 'N' "
            "(solid 'N'), the current has no way"
        ],
    ),
    "a voltage between two pieces of metal": (
        [('voltage = ["a", "c"]', 'voltage = ["a", "i"]')],
        ISLAND + ISLAND_CONTACT,
        [
            "experiment 'e', voltage: no metal connects contact 'a' on 'F' (solids 'F', 'N') with contact 'i' on "
            "'island' (solid 'island'), the voltage between them is not defined"
        ],
    ),
    "metal without contact": (
        [],
        ISLAND,
        ["solid 'island': metal that is connected to no contact, its potential is undefined; connect it"],
    ),
    "heat without bath": (
        [],
        '[[solids]]\nname = "p"\nmaterial = "Si"\nbox = { x = [2000, 2100], y = [0, 40], z = [0, 20] }\n'
        '[[solids]]\nname = "q"\nmaterial = "Si"\nbox = { x = [2100, 2200], y = [0, 40], z = [0, 20] }\n',
        ["solids 'p', 'q': no way for the heat to a bath, the temperature has no fixed point"],
    ),
    "a solid of which nothing is left": (
        [],
        '[[solids]]\nname = "big"\nmaterial = "Si"\nbox = { x = [0, 1000], y = [0, 40], z = [-200, 0] }\n',
        ["solid 'base': nothing is left of it, it is overwritten by 'big'"],
    ),
    "a length in kelvin": (
        [("z = [-100, 0]", 'z = ["-100 K", 0]')],
        "",
        ["""solid 'base', box.z[0]: got "-100 K", which is a temperature; expected a length, such as "5 nm\""""],
    ),
    "a misspelt key": (
        [('magnet = "F"', 'magnets = "F"')],
        "",
        ["solid 'F': unknown key 'magnets'; did you mean 'magnet'?"],
    ),
    "a misspelt section": (
        [("[experiments.e]", "[experiment.e]")],
        "",
        ["unknown key 'experiment'; did you mean 'experiments'?"],
    ),
    "a misspelt length_unit": (
        [("length_unit", "lenght_unit")],
        "",
        ["unknown key 'lenght_unit'; did you mean 'length_unit'?"],
    ),
    "no length_unit": (
        [('length_unit = "nm"', "")],
        "",
        ["solid 'F', box.x[0]: a length without a unit, and the file has no length_unit"],
    ),
    "a wrong length_unit": (
        [('length_unit = "nm"', 'length_unit = "K"')],
        "",
        ['length_unit: got "K", which is a temperature'],
    ),
    "a wrong bath and zeta": (
        [('name = "bar"', 'name = "bar"\nbath = "5 nm"\nzeta = nan')],
        "",
        ['bath: got "5 nm", which is a length; expected a temperature', "zeta: got nan, which is not a finite number"],
    ),
    "a wrong bath and a negative zeta": (
        [('name = "bar"', 'bath = "5 nm"\nzeta = -1')],
        "",
        ['bath: got "5 nm", which is a length', "zeta: got -1, expected a number >= 0"],
    ),
    "a bath at absolute zero": (
        [('name = "bar"', "bath = 0\nzeta = -1")],
        "",
        ["bath: got 0 K", "zeta: got -1, expected"],
    ),
    "negative kappa and full polarisation": (
        [],
        "[materials.Py]\nkappa = -3\nP = -1.0\nsigma = -2\nlambda_sf = 0\n",
        [
            "material 'Py', sigma: got -2, expected sigma >= 0",
            "material 'Py', P: got -1, expected |P| < 1",
            "material 'Py', kappa: got -3, expected kappa > 0",
            "material 'Py', lambda_sf: got 0, expected lambda_sf > 0",
        ],
    ),
    "Seebeck beyond kappa": (
        [],
        '[materials.Py]\nS = "300 uV/K"\n',
        ["material 'Py', kappa: got 30 W/(m K), expected more than bath * sigma * S_eff^2 = 116.6 W/(m K)"],
    ),
    "a state of a solid that has no magnet": (
        [('magnet = "F"\n', "")],
        "",
        [
            "experiment 'e', states.R: got magnet 'F', but solid 'F' has no magnet; give it magnet = \"F\"",
        ],
    ),
    "NaN in a material and a box": (
        [("x = [0, 100]", "x = [nan, 100]")],
        "[materials.Py]\nsigma = nan\n",
        ["solid 'F', box.x[0]: got nan, which is not a finite", "material 'Py', sigma: got nan, which is not a finite"],
    ),
    "a box inside out": (
        [("x = [0, 100]", "x = [100, 0]")],
        "",
        ["solid 'F', box.x: got low = 100 nm, high = 0 nm, expected low < high"],
    ),
    "a material that does not exist": ([('"Py"', '"Pyy"')], "", ["solid 'F', material: got 'Pyy'; did you mean 'Py'?"]),
    "a card that does not exist": (
        [],
        '[materials.Py]\ncard = "Cuu"\n',
        ["material 'Py', card: got 'Cuu'; did you mean 'Cu'?"],
    ),
    "a card that is not complete": (
        [('"Cu"', '"Ti"')],
        "",
        ["material 'Ti', lambda_sf: missing; a metal needs kappa and lambda_sf; the card 'Ti' has no value for it"],
    ),
    "a sourced value with a misspelt key": (
        [],
        "[materials.Py]\nP = { valu = 0.3 }\n",
        ["material 'Py', P: unknown key 'valu'; did you mean 'value'?"],
    ),
    "one name for two solids": (
        [('name = "base"', 'name = "F"')],
        "",
        ["solid 'F': the name is used 2 times, expected once"],
    ),
    "contacts on nothing": (
        [('solid = "F"', 'solid = "FF"'), ('face = "x+"', 'face = "x"')],
        "",
        [
            "contact 'a' (x- of 'FF'), solid: got 'FF'; did you mean 'F'?",
            "contact 'b', face: got 'x', expected 'x-', 'x+'",
        ],
    ),
    "an experiment of wrong names": (
        [('["a", "b"]', '["a", "a"]'), ('["a", "c"]', '["z", "c"]'), ("F = -1", "G = -1")],
        "",
        [
            "experiment 'e', current: got contact 'a' twice",
            "experiment 'e', voltage: got contact 'z'; expected one of: a, b, c",
            "experiment 'e', states.R: got magnet 'G'; expected one of: F",
        ],
    ),
    "an experiment of wrong shape": (
        [('["a", "b"]', '["a"]'), ('["a", "c"]', '"c"'), ("F = -1", "F = 2")],
        "",
        [
            "experiment 'e', current: got ['a'], expected a list of two",
            "experiment 'e', voltage: got 'c', expected a list of two",
            "experiment 'e', states.R.F: got 2, expected -1 or 1",
        ],
    ),
    "true in place of a sign": (
        [("F = -1", "F = true")],
        "",
        ["experiment 'e', states.R.F: got true, expected 1 or -1"],
    ),
    "an experiment without states": (
        [("{ P = {}, R = { F = -1 } }", "{}")],
        "",
        ["experiment 'e', states: there is none"],
    ),
    "a state with the name of a signal": ([("P = {}", "spin = {}")], "", ["a state cannot be called 'spin'"]),
    "a heat sink twice and one inside": (
        [],
        '[[heat_sinks]]\nsolid = "F"\nface = "y-"\n' * 2 + '[[heat_sinks]]\nsolid = "F"\nface = "x+"\n',
        [
            "heat sink (y- of 'F'): given 2 times",
            "heat sink (x+ of 'F'): nothing to hold at that face; it is no end face: 'N'",
        ],
    ),
    "a heat sink on the face of a contact that is held": (
        [],
        '[[heat_sinks]]\nsolid = "N"\nface = "z+"\nh = "1e8 W/(m^2 K)"\n',
        [
            "heat sink (z+ of 'N'): overlaps contact 'c' (z+ of 'N'), and a piece of plane exchanges heat with the "
            'bath only once; give the contact thermal = "insulated", or take one of the two out',
        ],
    ),
    "a heat sink on the face of a contact that exchanges heat": (
        [('solid = "N"\nface = "z+"', 'solid = "N"\nface = "z+"\nthermal = { h = "1e8 W/(m^2 K)" }')],
        '[[heat_sinks]]\nname = "top"\nsolid = "N"\nface = "z+"\n',
        ["heat sink 'top' (z+ of 'N'): overlaps contact 'c' (z+ of 'N')"],
    ),
    "no TOML": ([('name = "bar"', "name = bar")], "", ["not a TOML file: Invalid value (at line 2"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_fault_is_told_by_name_and_nothing_else_is(tmp_path: Path, case: str) -> None:
    changes, extra, expected = CASES[case]
    found = faults_of(written(tmp_path, *changes, extra=extra))
    for text in expected:
        assert any(text in fault for fault in found), (text, found)
    assert len(found) == len(expected), found


def test_contacts_may_share_a_plane_but_no_piece_of_it(tmp_path: Path) -> None:
    """Of a solid that another one overwrites in part, what is left of the end, and the end of the other one."""
    solid = '[[solids]]\nname = "O"\nmaterial = "Au"\nbox = { x = [200, 300], y = [20, 60], z = [0, 15] }\n'
    device = load(written(tmp_path, extra=solid + '[[contacts]]\nname = "o"\nsolid = "O"\nface = "x+"\n'))
    faces = device.contact_faces()
    assert [faces[name].area for name in ("b", "o")] == pytest.approx([20e-9 * 15e-9, 40e-9 * 15e-9])


def test_a_heat_sink_and_a_contact_may_both_hold_a_face_at_the_bath(tmp_path: Path) -> None:
    device = load(written(tmp_path, extra='[[heat_sinks]]\nname = "s"\nsolid = "N"\nface = "z+"\n'))
    warmed = dataclasses.replace(device.experiments["e"], current=None, heat={"s": 1.0})
    with pytest.raises(DeviceError, match=r"heat sink 's' \(z\+ of 'N'\): overlaps contact 'c'"):
        dataclasses.replace(device, experiments={"e": warmed})


def test_a_heat_sink_may_lie_on_a_contact_that_is_insulated(tmp_path: Path) -> None:
    insulated = ('solid = "N"\nface = "z+"', 'solid = "N"\nface = "z+"\nthermal = "insulated"')
    device = load(written(tmp_path, insulated, extra='[[heat_sinks]]\nsolid = "N"\nface = "z+"\n'))
    assert [contact.h for contact in device.contacts if contact.name == "c"] == [0.0] and len(device.heat_sinks) == 1
    with pytest.raises(DeviceError, match=r"overlaps contact 'a' \(x- of 'F'\)"):
        dataclasses.replace(device, heat_sinks=(HeatSink("F", "x-", h=1e8),))
    with pytest.raises(DeviceError, match=r"states.R.F: got True, expected 1 or -1"):
        signs = {"P": {}, "R": {"F": True}}
        dataclasses.replace(device, experiments={"e": dataclasses.replace(device.experiments["e"], states=signs)})


@pytest.mark.parametrize(
    ("states", "probe", "note"),
    [
        ("{ P = {}, AP = { F = -1, G = -1 } }", None, "AP is P with all magnets reversed, which changes no voltage"),
        ("{ P = { F = -1 }, AP = { G = -1 } }", None, "AP is P with all magnets reversed, which changes no voltage"),
        ("{ P = { G = -1 }, AP = { F = 1, G = -1 } }", None, "P and AP differ in no magnet that is polarised"),
        ("{ P = {}, AP = { G = -1 } }", None, ""),
        ("{ P = {}, ALL = { F = -1, G = -1 } }", None, "experiment 'e': no baseline and no spin part"),
        ("{ P = {}, ALL = { F = -1, G = -1 }, R = { G = -1 } }", None, ""),
        ("{ P = {}, AP = { F = -1, G = -1 } }", 'through = { what = "spin", between = ["F", "N"] }', ""),
        ("{ P = {}, AP = { F = -1, G = -1 } }", 'through = { what = "heat", between = ["F", "N"] }', "no heat"),
    ],
)
def test_states_that_cannot_differ_are_noted(tmp_path: Path, states: str, probe: str | None, note: str) -> None:
    """Reversing every magnet changes no signal but a spin current, unless a magnetic solid is part of no magnet."""
    second = (
        '[[solids]]\nname = "G"\nmaterial = "Co"\nmagnet = "G"\nbox = { x = [200, 240], y = [0, 40], z = [15, 30] }\n'
    )
    changes = [("{ P = {}, R = { F = -1 } }", states), ('solid = "N"\nface = "z+"', 'solid = "G"\nface = "z+"')]
    if probe is not None:
        changes.append(('voltage = ["a", "c"]', probe))
    device = load(written(tmp_path, *changes, extra=second))
    found = provenance.without_spin_part(device)
    assert (len(found) == 1 and note in found[0]) if note else not found
    assert all(line in describe(device) and line in provenance.notes([device]) for line in found)
    nameless = dataclasses.replace(
        device,
        solids=tuple(dataclasses.replace(s, magnet=None) if s.name == "G" else s for s in device.solids),
        experiments={"e": dataclasses.replace(device.experiments["e"], states={"P": {}, "AP": {"F": -1}})},
    )
    assert not provenance.without_spin_part(nameless)


def test_a_resistance_of_no_interface_is_noted(tmp_path: Path) -> None:
    """A number without a unit is in ohm m^2; tunnel junctions are given in ohm um^2."""
    face = '[[interfaces]]\nname = "i"\nbetween = ["Py", "Cu"]\nRA = {}\n'
    for given, noted in (("8", True), ('"8 ohm um^2"', False), ('"0.1 fohm m^2"', False), ("1e-19", True)):
        device = load(written(tmp_path, extra=face.format(given)))
        found = provenance.implausible(device)
        assert len(found) == noted
        assert all(line in describe(device) and line in provenance.notes([device]) for line in found)
        assert all("; is that ohm um^2? A number without a unit is in ohm m^2" in line for line in found)


def test_notes_of_several_devices_say_whose_they_are(tmp_path: Path) -> None:
    """What holds for all of them, and values with their sources, need no name."""
    one = dataclasses.replace(load(written(tmp_path, ("R = {", "AP = {"))), name="one")
    two, poor = dataclasses.replace(one, name="two"), settings.with_values(one, {"Py.P": 0.0, "Py.S_s": 0.0})
    three = dataclasses.replace(poor, name="three")
    (alike,), (differs,) = provenance.without_spin_part(one), provenance.without_spin_part(three)
    assert alike in provenance.notes([one]) and alike in provenance.notes([one, two])
    notes = provenance.notes([one, two, three])
    assert f"one, two: {alike}" in notes and f"three: {differs}" in notes and alike not in notes
    assert [line for line in notes if line.startswith("  ")] == provenance.recalled(one)[1:]


def test_a_magnet_without_polarisation_makes_no_spin_part_unless_it_is_fitted(tmp_path: Path) -> None:
    without = "[materials.Py]\nP = 0\nS_s = 0\n"
    device = load(written(tmp_path, ("R = {", "AP = {"), extra=without))
    assert "differ in no magnet" in provenance.without_spin_part(device)[0]
    assert "all magnets reversed" in provenance.without_spin_part(device, ["10K:Py.P"])[0]


def test_all_faults_of_a_file_come_in_one_go(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        ('material = "Py"', 'materal = "Py"'),
        ('face = "z+"', 'face = "x+"'),
        ('voltage = ["a", "c"]', 'voltage = ["a", "d"]'),
        ("z = [-100, 0]", "z = [-100, -5]"),
        extra='[materials.Cu]\nkappa = -1\nS = "5 V"\n',
    )
    expected = {
        "solid 'F': unknown key 'materal'",
        "material 'Cu', S: got \"5 V\"",
        "material 'Cu', kappa: got -1",
        "experiment 'e', voltage: got contact 'd'",
        "contact 'c' (x+ of 'N'): overlaps contact 'b'",
        "solid 'base': touches no other solid",
    }
    found = faults_of(path)
    assert len(found) == len(expected)
    assert all(any(fault.startswith(text) for fault in found) for text in expected), found


@pytest.mark.parametrize(
    "text", ["", "solids = 3", "solids = [1]", "solids = []", "[materials]\nPy = 3", "\x00", "a = 1\na = 2"]
)
def test_a_file_that_is_no_device_is_told_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(text, encoding="utf-8")
    assert faults_of(path)


def test_a_file_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(DeviceError, match="barr.toml: no such file; did you mean 'bar.toml'"):
        load(tmp_path / "barr.toml")
    with pytest.raises(DeviceError, match="did you mean 'slachter2010'"):
        load("slachter201")
    with pytest.raises(DeviceError, match="cannot be read: Is a directory"):
        load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(DeviceError, match="not UTF-8"):
        load(tmp_path / "latin.toml")


def test_a_device_built_in_python_is_checked_too() -> None:
    metal = Material("M", sigma=1e7, kappa=100.0, lambda_sf=1e-7)
    box = ((0.0, 1e-7), (0.0, 1e-7), (0.0, 1e-7))
    contacts = (Contact("1", "bar", "x-"), Contact("2", "bar", "x+"))
    experiment = Experiment("e", ("1", "2"), ("1", "2"), {"P": {}})
    device = Device(
        name="bar",
        solids=(Solid("bar", "M", None, box),),
        materials={"M": metal},
        contacts=contacts,
        experiments={"e": experiment},
    )
    assert device.contact_faces()["1"].area == pytest.approx(1e-14)
    with pytest.raises(DeviceError, match="contact '1' .x- of 'rod'., solid: got 'rod'"):
        dataclasses.replace(device, contacts=(Contact("1", "rod", "x-"), contacts[1]))
    with pytest.raises(DeviceError, match="material: got 'M'; there is none"):
        dataclasses.replace(device, materials={})
    with pytest.raises(DeviceError, match="face: got 'up', expected one of: x-"):
        dataclasses.replace(device, heat_sinks=(HeatSink("bar", "up"),))


def test_the_paper_s_device_is_shipped_with_every_dimension_marked() -> None:
    device = load("slachter2010")
    assert set(device.experiments) == {"thermal", "electrical"}
    assert device.experiments["thermal"].current == ("1", "2")
    assert device.experiments["electrical"].current == ("1", "5")
    assert device.magnets == ("FM1", "FM2")
    for solid in device.solids:
        assert set(solid.provenance) == {"x", "y", "z"}, solid.name
        assert all(text.startswith(("paper", "assumed")) for text in solid.provenance.values()), solid.name
    assert device.materials["Au"].sources["lambda_sf"].startswith("assumed")


def test_every_value_of_every_card_has_a_source_and_a_mark() -> None:
    marks = ("paper", "abstract", "database", "derived", "recalled", "assumed", "not a ferromagnet")
    count = 0
    for name in materials.card_names():
        for key, entry in materials.card(name).items():
            if key != "note":
                assert entry["source"].startswith(marks), (name, key)
                assert key != "P" or entry["value"] == 0 or entry["kind"], name
                count += 1
    assert count > 80


def test_a_material_outside_the_model_is_refused() -> None:
    with pytest.raises(MaterialError, match=r"material 'M', P: got 1, expected \|P\| < 1"):
        Material("M", sigma=1e7, P=1.0, kappa=1.0, lambda_sf=1e-9)
    with pytest.raises(MaterialError, match="material 'M', kappa: got nan"):
        Material("M")


def test_the_limit_on_seebeck_is_the_sum_over_the_channels() -> None:
    sigma, P, S, S_s, bath = 4.32e6, 0.25, -20e-6, -38e-6, 300.0
    up, down = S + (1 - P) / 2 * S_s, S - (1 + P) / 2 * S_s
    limit = bath * sigma * ((1 + P) / 2 * up**2 + (1 - P) / 2 * down**2)
    values = {"sigma": sigma, "P": P, "S": S, "S_s": S_s}
    assert materials.thermoelectric_fault(values | {"kappa": limit * (1 + 1e-9)}, bath) is None
    assert materials.thermoelectric_fault(values | {"kappa": limit * (1 - 1e-9)}, bath) is not None
    measured = limit / 2
    told = materials.thermoelectric_fault(values | {"kappa": measured}, bath)
    assert told is not None and told.endswith(f"needs this added, which gives {measured + limit:.4g} W/(m K)")


def test_values_beside_the_file_change_the_device() -> None:
    device = load("slachter2010")
    made = settings.changed(device, ["Py.P = 0.4", "Py.S_s=-5 uV/K", "zeta = 2"])
    assert (made.parameters()["Py.P"], made.parameters()["Py.S_s"], made.zeta) == (0.4, -5e-6, 2.0)
    assert made.materials["Py"].sources["P"] == "set" and made.name == device.name
    kept = {name: value for name, value in device.numbers().items() if name not in ("Py.P", "Py.S_s", "zeta")}
    assert {name: made.numbers()[name] for name in kept} == kept
    other = settings.variant(device, ["Py.P = 0.4"])
    assert other.name == "slachter2010 Py.P=0.4"
    assert settings.changed(device, []) is device


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Py.P", "which is none"),
        ("Py.p = 0.3", "no value of 'slachter2010'; did you mean 'Py.P'"),
        ("Py.S_s = -5", "which has no unit"),
        ("Py.P = 5 nm", "a length"),
    ],
)
def test_values_that_are_none_are_refused(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        settings.changed(load("slachter2010"), [text])
    assert words in str(caught.value), str(caught.value)


def test_a_value_outside_the_model_is_refused_like_that_of_a_file() -> None:
    with pytest.raises(InputError, match="P: got 1.5"):
        settings.changed(load("slachter2010"), ["Py.P = 1.5"])


def test_a_device_with_other_values_is_one_of_its_own_in_a_fit() -> None:
    sources = [("slachter2010", ["slachter2010"]), ("slachter2010", ["Py.P = 0.4", "slachter2010"])]
    inputs = read_sources(sources, ["zeta = 2"])
    assert [device.name for device in inputs.devices] == ["slachter2010", "slachter2010 Py.P=0.4"]
    assert [device.zeta for device in inputs.devices] == [2.0, 1.0]
    assert {row.device for row in inputs.rows} == {"slachter2010", "slachter2010 Py.P=0.4"}


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    """Some editors begin a file with it."""
    path = written(tmp_path)
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert load(path).name == "bar"


def test_lengths_of_another_unit_are_told(tmp_path: Path) -> None:
    path = written(tmp_path, ('length_unit = "nm"', 'length_unit = "m"'))
    with pytest.raises(DeviceError, match=r"solid 'F', extent: got 100 m, expected 0.1 m or less; is length_unit"):
        load(path)


@pytest.mark.parametrize("polygon", [False, True])
def test_a_slash_in_a_name_makes_no_pieces(tmp_path: Path, polygon: bool) -> None:
    """Two solids "N/1" and "N/2" are two bodies, also where they do not touch; only layouts have bodies in pieces."""
    two = '[[solids]]\nname = "N/2"\nmaterial = "Cu"\nbox = { x = [400, 500], y = [0, 40], z = [0, 15] }\n'
    two += '[[solids]]\nname = "link"\nmaterial = "Cu"\nbox = { x = [300, 400], y = [0, 40], z = [0, 15] }\n'
    contact = '[[contacts]]\nname = "d"\nsolid = "N/2"\nface = "x+"\n'
    changes = [('name = "N"', 'name = "N/1"'), ('solid = "N"\nface = "x+"', 'solid = "link"\nface = "z+"')]
    changes.append(('solid = "N"', 'solid = "N/1"'))
    box = "box = { x = [0, 100], y = [0, 40], z = [0, 15] }"
    if polygon:
        changes.append((box, "polygon = [[0, 0], [100, 0], [100, 40], [0, 40]]\nz = [0, 15]"))
    device = load(written(tmp_path, *changes, extra=two + contact))
    assert {"N/1", "N/2"} <= {solid.name for solid in device.solids}
    assert device.contact_faces()["d"].position == pytest.approx(500e-9)
    with pytest.raises(DeviceError, match="contact 'd' .*, solid: got 'N'; did you mean 'N/2'"):
        load(written(tmp_path, *changes, extra=two + contact.replace("N/2", "N")))


def solid_text(name: str, material: str, shape: str) -> str:
    return f'[[solids]]\nname = "{name}"\nmaterial = "{material}"\n{shape}\n'


def boxed(x: tuple[float, float], y: tuple[float, float], z: tuple[float, float]) -> str:
    return f"box = {{ x = {list(x)}, y = {list(y)}, z = {list(z)} }}"


def prism(x: tuple[float, float], y: tuple[float, float], z: tuple[float, float]) -> str:
    """A box as a polygon: its outline is cut, not put on a tensor grid."""
    return f"polygon = {[[x[0], y[0]], [x[1], y[0]], [x[1], y[1]], [x[0], y[1]]]}\nz = {list(z)}"


#: Extents of the second solid in nm, beside a first one from 0 to 100 along x, y and z, and what is told of both.
NEARLY = {
    "a gap along x": (((101, 200), (0, 100), (0, 100)), "are 1 nm apart at (100.5, 50, 50) nm"),
    "a gap along y": (((0, 100), (-90, -0.5), (0, 100)), "are 0.5 nm apart at (50, -0.25, 50) nm"),
    "a gap along z": (((0, 100), (0, 100), (100.001, 150)), "are 0.001 nm apart at (50, 50, 100.001) nm"),
    "an edge along z": (((100, 200), (100, 200), (0, 100)), "meet in a corner or edge only at (100, 100, 50) nm"),
    "an edge along y": (((100, 200), (0, 100), (100, 150)), "meet in a corner or edge only at (100, "),
    "a corner": (((100, 200), (100, 200), (100, 150)), "meet in a corner or edge only at (100, 100, 100) nm"),
    "a diagonal gap": (((101, 200), (101, 200), (0, 100)), "are 1.41 nm apart at (100.5, 100.5, 50) nm"),
    "a diagonal gap along z": (((-50, -1), (0, 100), (101, 150)), "are 1.41 nm apart at (-0.5, 50, 100.5) nm"),
    "a gap past an edge": (((101, 200), (0, 100), (100, 150)), "are 1 nm apart at (100.5, 50, 100) nm"),
    "a gap past a corner": (((100, 200), (-50, -1), (-50, -1)), "are 1.41 nm apart at (100, -0.5, -0.5) nm"),
    "a diagonal gap of 2.1 nm": (((101.5, 200), (101.5, 200), (0, 100)), None),
    "a gap of 2 nm": (((102, 200), (0, 100), (0, 100)), None),
    "a face": (((100, 200), (0, 100), (0, 100)), None),
}
HUNDRED = (0, 100)


@pytest.mark.parametrize("shape", [boxed, prism])
@pytest.mark.parametrize("case", NEARLY)
def test_solids_that_nearly_touch_are_told_whichever_faces_they_have(case: str, shape: Callable[..., str]) -> None:
    """Two metals, as boxes and as polygons; those 2 nm apart or with a face in common are well."""
    extents, expected = NEARLY[case]
    text = 'length_unit = "nm"\n' + solid_text("A", "Cu", shape(HUNDRED, HUNDRED, HUNDRED))
    text += solid_text("B", "Py", shape(*extents))
    found = [fault for fault in faults_of_text(text) if "apart at" in fault or "only at" in fault]
    if expected is None:
        assert not found
    else:
        (fault,) = found
        words = f"solids 'A' and 'B': metals that {expected}"
        # Somewhere along the face or edge: where along it depends on the outline.
        assert fault.split(" at ")[0].endswith(words.split(" at ")[0])
        assert "make them overlap, or move them 2 nm apart" in fault
        if shape is boxed:
            assert words in fault


@pytest.mark.parametrize("shape", [boxed, prism])
def test_a_film_that_does_not_lie_on_its_substrate_is_told(shape: Callable[..., str]) -> None:
    """Heat would not pass the gap; where an insulator fills it there is no gap."""
    text = 'length_unit = "nm"\n' + solid_text("base", "SiO2", shape((-50, 150), HUNDRED, (-100, 0)))
    text += solid_text("A", "Cu", shape(HUNDRED, HUNDRED, (0.5, 50)))
    (fault,) = [fault for fault in faults_of_text(text) if "apart at" in fault]
    assert "solids 'base' and 'A': they are 0.5 nm apart at " in fault
    barrier = solid_text("barrier", "MgO", shape(HUNDRED, HUNDRED, (0, 0.5)))
    assert not [fault for fault in faults_of_text(text + barrier) if "apart at" in fault]


def test_metals_that_another_joins_at_their_edge_are_no_fault() -> None:
    text = 'length_unit = "nm"\n' + solid_text("A", "Cu", boxed(HUNDRED, HUNDRED, HUNDRED))
    text += solid_text("B", "Cu", boxed((100, 200), (100, 200), HUNDRED))
    for shape in (boxed, prism):
        corner = solid_text("C", "Cu", shape((100, 200), HUNDRED, HUNDRED))
        assert not [fault for fault in faults_of_text(text + corner) if "only at" in fault]


@pytest.mark.parametrize("shape", [boxed, prism])
@pytest.mark.parametrize(("part", "joined"), [(0.009, False), (0.011, True)])
def test_a_poor_conductor_does_not_join_metals_at_their_edge(
    part: float, joined: bool, shape: Callable[..., str]
) -> None:
    """Two good ones, and in the notch between them a metal of a part of their conductivity."""
    text = 'length_unit = "nm"\n'
    for name, sigma in (("good", 1e7), ("poor", part * 1e7)):
        text += f'[materials.{name}]\ncard = "Cu"\nsigma = {sigma}\n'
    text += solid_text("A", "good", shape(HUNDRED, HUNDRED, HUNDRED))
    text += solid_text("B", "good", shape((100, 200), (100, 200), HUNDRED))
    text += solid_text("C", "poor", shape((100, 200), HUNDRED, HUNDRED))
    told = [fault for fault in faults_of_text(text) if "only at" in fault]
    assert len(told) == (0 if joined else 1)
    if not joined:
        words = (
            "solids 'A' and 'B': metals that meet in a corner or edge only at (100, 100, 50) nm, what joins them there"
        )
        assert f"{words} conducts less than 0.01 of either; make them overlap" in told[0]


@pytest.mark.parametrize("shape", [boxed, prism])
def test_a_diagonal_gap_that_an_insulator_fills_is_none(shape: Callable[..., str]) -> None:
    text = 'length_unit = "nm"\n' + solid_text("A", "Cu", shape(HUNDRED, HUNDRED, HUNDRED))
    text += solid_text("B", "Cu", shape((101, 200), (101, 200), HUNDRED))
    assert [fault for fault in faults_of_text(text) if "apart at" in fault]
    text += solid_text("C", "SiO2", shape((100, 200), (0, 101), HUNDRED))
    assert not [fault for fault in faults_of_text(text) if "apart at" in fault]


def test_a_slit_in_a_polygon_and_one_that_meets_itself_are_told() -> None:
    head = 'length_unit = "nm"\n'
    slit = "polygon = [[0, 0], [400, 0], [400, 200], [200.5, 200], [200.5, 100], [199.5, 100], [199.5, 200], [0, 200]]"
    (fault,) = [
        fault for fault in faults_of_text(head + solid_text("A", "Cu", slit + "\nz = [0, 10]")) if "slit" in fault
    ]
    assert "solid 'A': has a slit of 1 nm at (200, " in fault and "2 nm or more" in fault
    both = "[[0, 0], [100, 0], [100, 100], [200, 100], [200, 200], [100, 200], [100, 100], [0, 100]]"
    found = faults_of_text(head + solid_text("A", "Cu", f"polygon = {both}\nz = [0, 10]"))
    assert any("metal that meets itself in a corner or edge only, at (100, 100, 5) nm" in fault for fault in found)
    notch = "polygon = [[0, 0], [400, 0], [400, 200], [210, 200], [200, 100], [190, 200], [0, 200]]\nz = [0, 10]"
    assert not [fault for fault in faults_of_text(head + solid_text("A", "Cu", notch)) if "slit" in fault]


def faults_of_text(text: str) -> list[str]:
    try:
        reader.read(text, "near.toml")
    except DeviceError as error:
        return str(error).splitlines()
    return []


def test_a_device_without_metal_is_refused() -> None:
    text = """
name = "slab"
length_unit = "nm"
[[solids]]
name = "oxide"
material = "SiO2"
box = { x = [0, 100], y = [0, 100], z = [0, 100] }
[[heat_sinks]]
solid = "oxide"
face = "z-"
[experiments.heat]
power = { oxide = "1 mW" }
temperature = "oxide"
"""
    with pytest.raises(DeviceError, match="none is of metal"):
        reader.read(text, "slab.toml")


def test_no_line_of_a_map_is_wider_than_a_terminal() -> None:
    """A round pillar with long names of contacts, which numbers stand for, and a row of more boxes than characters."""
    circle = [[50 * math.cos(k * math.pi / 8), 50 * math.sin(k * math.pi / 8)] for k in range(16)]
    text = 'length_unit = "nm"\n[[solids]]\nname = "lead"\nmaterial = "Au"\n'
    text += "box = { x = [-400, 400], y = [-60, 60], z = [0, 40] }\n"
    text += f'[[solids]]\nname = "pillar"\nmaterial = "Py"\nmagnet = "pillar"\npolygon = {circle}\nz = [40, 60]\n'
    names = {
        "bottom_lead_left": ("lead", "x-"),
        "bottom_lead_right": ("lead", "x+"),
        "top_of_the_pillar": ("pillar", "z+"),
    }
    text += "".join(f'[[contacts]]\nname = "{n}"\nsolid = "{s}"\nface = "{f}"\n' for n, (s, f) in names.items())
    device = reader.read(text, "round.toml")
    found = map_from_above(device)
    assert max(map(len, found)) <= MAP and any("1" in line and "2" in line for line in found[:-2])
    legend = " ".join(found[-3:])
    assert all(f"_{k}_ {name}" in legend for k, name in enumerate(names, 1)), "no name is broken"
    assert all(
        len(line) <= MAP + 2 for line in describe(device).split("not to scale):\n")[1].splitlines()[: len(found)]
    )
    row = 'length_unit = "nm"\n' + "".join(
        f'[[solids]]\nname = "s{k}"\nmaterial = "{("Cu", "Au")[k % 2]}"\n'
        f"box = {{ x = [{10 * k}, {10 * k + 10}], y = [0, 10], z = [0, 10] }}\n"
        for k in range(100)
    )
    row += (
        '[[contacts]]\nname = "in"\nsolid = "s0"\nface = "x-"\n[[contacts]]\nname = "out"\nsolid = "s99"\nface = "x+"\n'
    )
    middle = map_from_above(reader.read(row, "row.toml"))[0]
    assert len(middle) == MAP and middle[0] == "1" and middle[-1] == "2"
    assert map_from_above(load("slachter2010"))[0] == "......_1_CCC...CCC_4_CCCCCC............_5_..."
