"""Interfaces, heat drives, probes and thermal contacts of device files: what is read, and what each fault is told."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import gdstk
import numpy as np
import pytest

from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.device import edit, new, settings
from thermospin.device.device import Device, DeviceError, unknown_parameters
from thermospin.device.interfaces import Interface, InterfaceError
from thermospin.device.parts import HeatSink, Through
from thermospin.device.reader import load, read
from thermospin.report.device_figures import device_picture
from thermospin.report.device_text import describe
from thermospin.report.views import Views


def solid(name: str, material: str, z: tuple[float, float], x: tuple[float, float] = (0, 60), magnet: str = "") -> str:
    reversed_by = f'magnet = "{magnet}"\n' if magnet else ""
    return (
        f'[[solids]]\nname = "{name}"\nmaterial = "{material}"\n{reversed_by}'
        f"box = {{ x = {list(x)}, y = [0, 40], z = {list(z)} }}\n"
    )


#: A spin valve pillar on a lead, with an oxide and a heater of another piece of metal on top of it.
PILLAR = (
    'name = "pillar"\nlength_unit = "nm"\n'
    + solid("lead", "Cu", (0, 20), (0, 200))
    + solid("FM1", "Py", (20, 35), magnet="FM1")
    + solid("spacer", "Cu", (35, 50))
    + solid("FM2", "Py", (50, 60), magnet="FM2")
    + solid("cap", "Au", (60, 80))
    + solid("oxide", "SiO2", (80, 88))
    + solid("heater", "Pt", (88, 100))
    + """
[materials.Pt]
lambda_sf = "5 nm"
[[contacts]]
name = "bottom"
solid = "lead"
face = "x+"
[[contacts]]
name = "top"
solid = "cap"
face = "y+"
thermal = "insulated"
[[contacts]]
name = "h+"
solid = "heater"
face = "x-"
[[contacts]]
name = "h-"
solid = "heater"
face = "x+"
thermal = { h = "1e8 W/(m^2 K)" }
[[heat_sinks]]
name = "under"
solid = "lead"
face = "z-"
h = "0.2 GW/(m^2 K)"
[[heat_sinks]]
solid = "lead"
face = "y-"
"""
)
INTERFACES = """
[[interfaces]]
name = "Py/Cu"
between = ["Py", "Cu"]
RA = { value = "0.3 fohm m^2", source = "measured here" }
gamma = 0.7
K = "1 GW/(m^2 K)"
S = "-5 uV/K"
S_s = "-2 uV/K"
delta = 0.2
[[interfaces]]
name = "on the oxide"
between = ["oxide", "heater"]
K = 1e8
note = "Kapitza"
"""
EXPERIMENTS = """
[experiments.heater]
current = ["h+", "h-"]
voltage = ["top", "bottom"]
states = { P = {}, AP = { FM2 = -1 } }
[experiments.seebeck]
heat = { "h+" = "2 K", under = "-500 mK", "lead y-" = 0 }
temperature = "spacer"
[experiments.laser]
power = { cap = "1 mW", heater = 2e-3 }
temperature = ["FM1", "top"]
[experiments.torque]
current = ["top", "bottom"]
through = { what = "spin", between = ["spacer", "FM2"] }
"""


def pillar(text: str = PILLAR + INTERFACES + EXPERIMENTS, *changes: tuple[str, str]) -> Device:
    for old, other in changes:
        assert old in text, old
        text = text.replace(old, other, 1)
    return read(text, "pillar.toml")


def faults_of(text: str, *changes: tuple[str, str]) -> list[str]:
    with pytest.raises(DeviceError) as caught:
        pillar(text, *changes)
    return [fault.removeprefix("pillar.toml: ") for fault in caught.value.faults]


def interface(lines: str) -> Interface:
    """What a table of an interface between Py and Cu becomes."""
    head = '[[interfaces]]\nname = "i"\nbetween = ["Py", "Cu"]\n'
    (only,) = pillar(PILLAR + head + lines).interfaces
    return only


def test_interfaces_are_read_in_si_units_with_their_sources() -> None:
    first, second = pillar().interfaces
    assert first == Interface(
        "Py/Cu", ("Py", "Cu"), RA=0.3e-15, gamma=0.7, K=1e9, S=-5e-6, S_s=-2e-6, delta=0.2
    )  # by value: sources and notes do not count
    assert first.sources == dict.fromkeys(first.values(), "device file") | {"RA": "measured here"}
    assert second == Interface("on the oxide", ("oxide", "heater"), K=1e8)
    assert second.note == "Kapitza"


@pytest.mark.parametrize("gamma", [0.0, 0.76, -0.3])
def test_resistances_of_the_literature_are_converted(gamma: float) -> None:
    """Valet and Fert: r_up(down) = 2 r* (1 -+ gamma), and both channels in parallel are r* (1 - gamma^2)."""
    star = 0.5e-15
    up, down = 2 * star * (1 - gamma), 2 * star * (1 + gamma)
    by_star = interface(f'AR_star = {{ value = "0.5 fohm m^2", source = "somebody" }}\ngamma = {gamma}\n')
    by_channel = interface(f"AR_up = {up!r}\nAR_down = {down!r}\n")
    for made in (by_star, by_channel):
        assert made.RA == pytest.approx(star * (1 - gamma**2), rel=1e-14)
        assert made.gamma == pytest.approx(gamma, abs=1e-15)
    assert by_star.sources["RA"] == f"somebody (AR_star = 0.5 fohm m^2, gamma = {gamma:g})"
    assert "(AR_up = " in by_channel.sources["gamma"]


def test_the_polarisations_of_two_magnets_are_read_with_their_sources() -> None:
    text = PILLAR.replace('name = "spacer"\nmaterial = "Cu"', 'name = "spacer"\nmaterial = "MgO"')
    junction = PILLAR.replace(solid("spacer", "Cu", (35, 50)), solid("FM3", "Co", (35, 50), magnet="FM3"))
    assert text != PILLAR and junction != PILLAR
    lines = (
        'RA = "10 ohm um^2"\nP = [0.6, { value = 0.5, source = "guess" }]\nK = 1e9\nS = "-20 uV/K"\nS_AP = "-30 uV/K"\n'
    )
    (barrier,) = pillar(junction + '[[interfaces]]\nname = "barrier"\nbetween = ["FM1", "FM3"]\n' + lines).interfaces
    assert (barrier.RA, barrier.P1, barrier.P2, barrier.S_AP) == (1e-11, 0.6, 0.5, -30e-6)
    assert (barrier.sources["P1"], barrier.sources["P2"]) == ("device file", "guess")
    assert {"barrier.P1", "barrier.P2", "barrier.S_AP"} <= set(
        pillar(junction + '[[interfaces]]\nname = "barrier"\nbetween = ["FM1", "FM3"]\n' + lines).parameters()
    )


@pytest.mark.parametrize(
    ("written", "cold", "source"),
    [
        ('{ value = [0.5, 0.4], source = "x" }', (0.5, 0.4), "x"),
        ('{ "80 K" = [0.6, 0.5], "300 K" = [0.5, 0.4] }', (0.6, 0.5), "device file"),
        ('{ value = { "80 K" = [0.6, 0.5], "300 K" = [0.5, 0.4] }, source = "x" }', (0.6, 0.5), "x"),
        ('[{ "80 K" = 0.6, "300 K" = 0.5 }, { value = 0.4, source = "x" }]', (0.6, 0.4), "x"),
    ],
)
def test_polarisations_may_be_a_table_with_a_source_or_over_the_bath(
    written: str, cold: tuple[float, float], source: str
) -> None:
    """Read as values of both sides, at other baths too, and written back by an edit of one of them."""
    text = PILLAR.replace(solid("spacer", "Cu", (35, 50)), solid("FM3", "Co", (35, 50), magnet="FM3"))
    text += '[[interfaces]]\nname = "J"\nbetween = ["FM1", "FM3"]\nRA = 1e-11\nK = 1e9\nP = ' + written + "\n"
    device = pillar(text)
    (barrier,) = device.interfaces
    assert (barrier.P1, barrier.P2, barrier.sources["P2"]) == (0.5, 0.4, source)
    (there,) = settings.at_bath(device, 80.0).interfaces
    assert (there.P1, there.P2) == cold
    after = settings.with_values(device, {"J.P2": 0.3})
    (again,) = read(edit.with_numbers(text, device, after), "edited").interfaces
    assert (again.P1, again.P2) == (0.5, 0.3) and again.tables.keys() == barrier.tables.keys() - {"P2"}


@pytest.mark.parametrize("written", ["0.5", '{ value = 0.5, source = "x" }', '{ "10 K" = 0.6, "300 K" = 0.5 }', "[1]"])
def test_one_polarisation_is_told_that_there_are_two_sides(written: str) -> None:
    head = '[[interfaces]]\nname = "J"\nbetween = ["Py", "Cu"]\nRA = 1e-11\nK = 1e9\nP = '
    (fault,) = faults_of(PILLAR + head + written + "\n")
    assert fault.startswith("interface 'J', P: got") and "expected [P1, P2]" in fault


def test_polarisations_of_a_card_can_be_edited() -> None:
    text = PILLAR.replace(solid("spacer", "Cu", (35, 50)), solid("FM3", "Co", (35, 50), magnet="FM3"))
    text += '[[interfaces]]\nname = "J"\nbetween = ["FM1", "FM3"]\nRA = 1e-11\ncard = "MgO barrier"\n'
    after = settings.with_values(device := pillar(text), {"J.P2": 0.3})
    assert read(edit.with_numbers(text, device, after), "edited").numbers() == after.numbers()


def test_a_polarisation_without_its_side_is_asked_for_both() -> None:
    text = PILLAR.replace(solid("spacer", "Cu", (35, 50)), solid("FM3", "Co", (35, 50), magnet="FM3"))
    text += '[[interfaces]]\nname = "J"\nbetween = ["FM1", "FM3"]\nRA = 1e-11\nK = 1e9\nP = [0.5, 0.4]\n'
    device = pillar(text)
    for faults in (unknown_parameters("free", ["J.P"], [device]), [nearest("J.P", device.numbers())]):
        assert "did you mean 'J.P1' or 'J.P2'?" in faults[0]
    with pytest.raises(InputError, match=r"did you mean 'J.P1' or 'J.P2'\?"):
        settings.parse(["J.P = 0.3"], device)


def test_contacts_and_heat_sinks_say_how_they_meet_the_bath() -> None:
    device = pillar()
    assert {contact.name: contact.h for contact in device.contacts} == {
        "bottom": math.inf, "top": 0.0, "h+": math.inf, "h-": 1e8,
    }  # fmt: skip
    assert device.heat_sinks == (HeatSink("lead", "z-", "under", 2e8), HeatSink("lead", "y-"))
    assert device.heat_sinks[1].label == "lead y-"
    parameters = device.parameters()
    assert {name: value for name, value in parameters.items() if name.endswith(".h")} == {"h-.h": 1e8, "under.h": 2e8}


def test_contacts_and_interfaces_of_layouts_have_values_too(tmp_path: Path) -> None:
    """A strip of copper over two of permalloy, in pieces: an interface between bodies goes before one of materials."""
    cell = gdstk.Cell("A")
    cell.add(gdstk.rectangle((0, 0), (0.1, 0.3), layer=1), gdstk.rectangle((0.2, 0), (0.3, 0.3), layer=1))
    cell.add(gdstk.rectangle((-0.2, 0.1), (0.5, 0.2), layer=2))
    cell.add(gdstk.Label("a", (0.05, 0.3), layer=1), gdstk.Label("b", (0.5, 0.15), layer=2))
    library = gdstk.Library()
    library.add(cell)
    library.write_gds(tmp_path / "a.gds")
    text = (
        'length_unit = "nm"\n[layout]\nfile = "a.gds"\n'
        '[[layout.layers]]\nlayer = 1\nmaterial = "Py"\nthickness = 15\nzmin = 0\nmagnet = true\n'
        '[[layout.layers]]\nlayer = 2\nmaterial = "Cu"\nthickness = 60\nzmin = 0\ndrape = true\n'
        '[[contacts]]\nname = "a"\nlabel = "a"\nthermal = "insulated"\n[[contacts]]\nname = "b"\nlabel = "b"\n'
        '[[interfaces]]\nname = "one"\nbetween = ["Cu", "Py1"]\nRA = 1e-15\n'
        '[[interfaces]]\nname = "all"\nbetween = ["Py", "Cu"]\nRA = 2e-15\n'
        '[experiments.e]\npower = { Cu = "1 mW" }\nthrough = { what = "heat", between = ["Cu", "Py2"] }\n'
    )
    (tmp_path / "a.toml").write_text(text)
    device = load(tmp_path / "a.toml")
    assert {contact.name: contact.h for contact in device.contacts} == {"a": 0.0, "b": math.inf}
    of_bodies: dict[tuple[str, str], set[object]] = {}
    for i, j in device.layout().neighbours():
        bodies = tuple(sorted({device.solids[i].body, device.solids[j].body}))
        of_bodies.setdefault(bodies, set()).add((device.interface_between(i, j) or (None,))[0])  # type: ignore[arg-type]
    assert of_bodies == {("Cu",): {None}, ("Cu", "Py1"): {0}, ("Cu", "Py2"): {1}}
    (tmp_path / "a.toml").write_text(text.replace('["Cu", "Py2"]', '["Py1", "Py2"]'))
    with pytest.raises(DeviceError, match="'Py1' and 'Py2' do not touch"):
        load(tmp_path / "a.toml")


def test_experiments_have_one_drive_and_one_probe_each() -> None:
    heater, seebeck, laser, torque = pillar().experiments.values()
    assert (heater.drive, heater.probe, heater.unit(2)) == ("current", "voltage", "V/A^2")
    assert list(heater.states) == ["P", "AP"]
    assert (list(seebeck.heat.items()), seebeck.temperature) == (
        [("h+", 2.0), ("under", -0.5), ("lead y-", 0.0)], ("spacer",),
    )  # fmt: skip
    assert (seebeck.drive, seebeck.unit(1), seebeck.states) == ("heat", "K/K", {"P": {}})
    assert (list(laser.power.items()), laser.temperature) == ([("cap", 1e-3), ("heater", 2e-3)], ("FM1", "top"))
    assert laser.unit(1) == "K/W"
    assert torque.through == Through("spin", ("spacer", "FM2"))
    assert torque.unit(1) == "A/A"


GOOD = PILLAR + INTERFACES + EXPERIMENTS
EXTRA = '[[interfaces]]\nname = "x"\nbetween = ["cap", "FM2"]\n'
SEEBECK = 'heat = { "h+" = "2 K", under = "-500 mK", "lead y-" = 0 }\ntemperature = "spacer"'

#: What is changed in the good file, what is added to it, and the beginnings of all faults that come of it.
CASES: dict[str, tuple[list[tuple[str, str]], str, list[str]]] = {
    "sides that do not exist": (
        [('between = ["Py", "Cu"]', 'between = ["Py", "Cuu"]'), ('"oxide", "heater"]', '"oxid", "heater"]')],
        "",
        [
            "interface 'Py/Cu', between: got 'Cuu'; did you mean 'Cu'? expected one of: Cu, Py, Au, SiO2, Pt",
            "interface 'on the oxide', between: got 'oxid'; did you mean 'oxide'?",
        ],
    ),
    "solids that do not touch": (
        [('between = ["oxide", "heater"]', 'between = ["oxide", "FM1"]')],
        "",
        ["interface 'on the oxide', between: 'oxide' and 'FM1' do not touch; expected two solids or two materials"],
    ),
    "materials that do not touch": (
        [('between = ["Py", "Cu"]\nRA', 'between = ["Pt", "Cu"]\nRA'), ("gamma = 0.7", ""), ('S_s = "-2 uV/K"', "")],
        "",
        ["interface 'Py/Cu', between: 'Pt' and 'Cu' do not touch"],
    ),
    "a solid and a material": (
        [('between = ["oxide", "heater"]', 'between = ["oxide", "Pt"]')],
        "",
        ["interface 'on the oxide', between: got 'oxide', a solid, and 'Pt', a material; expected two solids, or two"],
    ),
    "one side twice": (
        [('between = ["Py", "Cu"]', 'between = ["Cu", "Cu"]')],
        "",
        ["interface 'Py/Cu', between: got 'Cu' twice, expected two materials or two solids"],
    ),
    "RA of an oxide": (
        [("K = 1e8", "K = 1e8\nRA = 1e-12")],
        "",
        ["interface 'on the oxide', RA: 'SiO2' carries heat only, no current passes there; expected K alone"],
    ),
    "RA of an oxide, between materials": (
        [],
        EXTRA.replace('"FM2"', '"oxide"')
        + "K = 1e9\n"
        + '[[interfaces]]\nname = "y"\nbetween = ["Pt", "SiO2"]\nK = 1e9\nRA = 1e-15\ngamma = 0.3\n',
        ["interface 'y', RA: 'SiO2' carries heat only"],
    ),
    "gamma between normal metals": (
        [('between = ["Py", "Cu"]\nRA', 'between = ["lead", "extra"]\nRA')],
        solid("extra", "Au", (0, 20), (-50, 0)),
        ["interface 'Py/Cu', gamma and S_s: neither of 'lead' and 'extra' is magnetic; expected 0, or a magnet on one"],
    ),
    "gamma between two magnets": (
        [(solid("spacer", "Cu", (35, 50)), solid("spacer", "Co", (35, 50), magnet="FM3"))],
        '[[interfaces]]\nname = "x"\nbetween = ["FM1", "spacer"]\nRA = 1e-15\ngamma = 0.5\n',
        [
            "interface 'x', gamma: 'FM1' and 'spacer' are two magnets, with either of which it would change its sign; "
            "expected P = [P1, P2], the polarisations of both sides"
        ],
    ),
    "P of a normal metal": (
        [],
        EXTRA + "RA = 1e-15\nP = [0.2, 0.5]\n",
        ["interface 'x', P: 'cap' is not magnetic, but its side has 0.2; expected 0 there, or gamma"],
    ),
    "no conductance, and what needs one": (
        [('RA = { value = "0.3 fohm m^2", source = "measured here" }', ""), ("K = 1e8", "")],
        "",
        [
            "interface 'Py/Cu', gamma: needs RA",
            "interface 'Py/Cu', S: needs RA",
            "interface 'Py/Cu', S_s: needs RA",
            "interface 'Py/Cu', delta: needs RA",
            "interface 'on the oxide', RA and K: got neither, expected one of them at least",
        ],
    ),
    "S without K": (
        [('K = "1 GW/(m^2 K)"', ""), ('S_s = "-2 uV/K"', "")],
        "",
        ["interface 'Py/Cu', S: needs K"],
    ),
    "values outside the model": (
        [("gamma = 0.7", "gamma = 1.0"), ("delta = 0.2", "delta = -1"), ("K = 1e8", "K = 0")],
        "",
        [
            "interface 'Py/Cu', gamma: got 1, expected |gamma| < 1",
            "interface 'Py/Cu', delta: got -1, expected delta >= 0",
            "interface 'on the oxide', K: got 0, expected K > 0 W/(m^2 K)",
        ],
    ),
    "S beyond K": (
        [('S = "-5 uV/K"', 'S = "1 mV/K"')],
        "",
        ["interface 'Py/Cu', K: got 1e+09 W/(m^2 K), expected more than bath * S_eff^2/RA = 1e+12 W/(m^2 K)"],
    ),
    "units, keys and shapes": (
        [
            ('value = "0.3 fohm m^2"', 'value = "0.3 fohm"'),
            ("delta = 0.2", "delt = 0.2\nP = 0.3"),
            ("K = 1e8", "K = -2"),
        ],
        "",
        [
            "interface 'Py/Cu', RA: got \"0.3 fohm\", which is a resistance; expected a resistance ",
            "interface 'Py/Cu': unknown key 'delt'; did you mean 'delta'?",
            "interface 'Py/Cu', P: got 0.3, expected [P1, P2], those of its two sides, or gamma",
            "interface 'on the oxide', K: got -2, expected K > 0",
        ],
    ),
    "several ways to say RA": (
        [("K = 1e8", 'K = 1e8\nAR_up = "1 fohm m^2"'), ("gamma = 0.7", 'gamma = 0.7\nAR_star = "1 fohm m^2"')],
        EXTRA + 'AR_up = "1 fohm m^2"\nAR_down = "-2 fohm m^2"\ngamma = 2\n',
        [
            "interface 'Py/Cu', RA and AR_star: got both, expected one of RA, AR_star, and AR_up with AR_down",
            "interface 'on the oxide', AR_up: needs AR_down",
            "interface 'x', AR_down: got -2e-15, expected AR_down > 0",
            "interface 'x', AR_up, AR_down and gamma: got all, expected one of both",
            "interface 'x', gamma: got 2, expected |gamma| < 1",
        ],
    ),
    "names that are taken": (
        [('name = "on the oxide"', 'name = "Py/Cu"'), ('name = "under"', 'name = "top"'), ("under =", "top =")],
        '[[interfaces]]\nname = "Py"\nbetween = ["cap", "FM2"]\nRA = 1e-15\n',
        [
            "interface 'Py/Cu': the name is used 2 times, expected once",
            "interface 'Py': a material has that name too; expected another one, such as 'cap/FM2'",
            "heat sink 'top': a contact has that name too",
            "experiment 'seebeck', heat: contact 'top' is insulated",
        ],
    ),
    "two interfaces for one pair": (
        [],
        '[[interfaces]]\nname = "again"\nbetween = ["Cu", "Py"]\nRA = 1e-15\n',
        ["interface 'again', between: got 'Cu' and 'Py', as in interface 'Py/Cu'; expected one interface for them"],
    ),
    "an interface that others replace": (
        [],
        EXTRA + 'RA = 1e-15\n[[interfaces]]\nname = "y"\nbetween = ["Au", "Py"]\nRA = 1e-15\n',
        ["interface 'y': wherever 'Au' and 'Py' touch, another interface goes before it; take one out"],
    ),
    "two drives and two probes": (
        [(SEEBECK, SEEBECK + '\ncurrent = ["h+", "h-"]\nvoltage = ["h+", "h-"]')],
        "",
        [
            'experiment \'seebeck\': got current and heat, expected one drive: current = ["in", "out"], heat = {',
            "experiment 'seebeck': got voltage and temperature, expected one probe: voltage = [",
        ],
    ),
    "no drive and no probe": (
        [(SEEBECK, "states = { P = {} }")],
        "",
        [
            "experiment 'seebeck': got no drive, expected one drive: current = [",
            "experiment 'seebeck': got no probe, expected one probe: voltage = [",
        ],
    ),
    "names of drives and probes": (
        [('"h+" = "2 K"', '"h" = "2 K"'), ("power = { cap", "power = { cup"), ('["FM1", "top"]', '["FM1", "tip"]')],
        "",
        [
            "experiment 'seebeck', heat: got 'h'; did you mean 'h-'? expected one of: bottom, top, h+, h-, under, lead",
            "experiment 'laser', power: got solid 'cup'; did you mean 'cap'?",
            "experiment 'laser', temperature: got 'tip'; did you mean 'top'?",
        ],
    ),
    "an insulated contact that is heated": (
        [('{ "h+" = "2 K"', '{ top = "2 K"')],
        "",
        ["experiment 'seebeck', heat: contact 'top' is insulated and cannot be warmer than the bath; expected"],
    ),
    "drives of nothing": (
        [('{ "h+" = "2 K"', '{ "h+" = 0'), ('cap = "1 mW"', "cap = 0")],
        "",
        [
            "experiment 'seebeck', heat.h+: got 0 K, expected another value; the first one is the drive",
            "experiment 'laser', power.cap: got 0 W, expected another value",
        ],
    ),
    "units of drives": (
        [('"h+" = "2 K"', '"h+" = "2 degC"'), ('cap = "1 mW"', 'cap = "1 mA"')],
        "",
        [
            "experiment 'seebeck', heat.h+: got \"2 degC\", on a scale with a zero of its own; expected a rise",
            'experiment \'laser\', power.cap: got "1 mA", which is a current; expected a power, such as "1 mW"',
        ],
    ),
    "temperatures": (
        [
            ('"spacer"\n[experiments.laser]', '["FM1", "FM2", "cap"]\n[experiments.laser]'),
            ('["FM1", "top"]', '["FM1", "FM1"]'),
        ],
        "",
        [
            "experiment 'seebeck', temperature: got 3 names, expected one, or two for a difference",
            "experiment 'laser', temperature: got 'FM1' twice, expected two solids or contacts",
        ],
    ),
    "a probe between solids that do not touch": (
        [('between = ["spacer", "FM2"] }', 'between = ["lead", "FM2"] }')],
        "",
        ["experiment 'torque', through.between: 'lead' and 'FM2' do not touch; expected two solids with a face"],
    ),
    "a charge current into an oxide": (
        [('what = "spin", between = ["spacer", "FM2"]', 'what = "charge", between = ["cap", "oxide"]')],
        "",
        ["experiment 'torque', through.what: got 'charge', but 'oxide' is of 'SiO2', which carries heat only"],
    ),
    "a probe of no kind": (
        [('what = "spin"', 'what = "momentum"')],
        "",
        ["experiment 'torque', through.what: got 'momentum', expected 'spin', 'charge' or 'heat'"],
    ),
    "contacts of no kind": (
        [('thermal = "insulated"', 'thermal = "cold"'), ('h = "1e8 W/(m^2 K)"', 'H = "1e8 W/(m^2 K)"')],
        "",
        [
            'contact \'top\', thermal: got \'cold\', expected "bath", "insulated", or { h = "1e8 W/(m^2 K)" }',
            "contact 'h-', thermal: unknown key 'H'; did you mean 'h'?",
        ],
    ),
    "exchange of heat outside the model": (
        [('{ h = "1e8 W/(m^2 K)" }', "{ h = -1 }"), ('h = "0.2 GW/(m^2 K)"', "h = 0")],
        "",
        [
            "contact 'h-' (x+ of 'heater'), h: got -1, expected h > 0 W/(m^2 K); thermal = \"insulated\" exchanges",
            "heat sink 'under' (z- of 'lead'), h: got 0, expected h > 0 W/(m^2 K)",
        ],
    ),
    "a voltage between pieces that no metal connects": (
        [('voltage = ["top", "bottom"]', 'voltage = ["top", "h-"]')],
        "",
        [
            "experiment 'heater', voltage: no metal connects contact 'top' on 'cap' (solids 'lead', 'FM1', 'spacer', "
            "'FM2', 'cap') with contact 'h-' on 'heater' (solid 'heater'), the voltage between them is not defined"
        ],
    ),
    "a current between pieces that no metal connects": (
        [('current = ["top", "bottom"]', 'current = ["h+", "bottom"]')],
        "",
        ["experiment 'torque', current: no metal connects contact 'h+' on 'heater' (solid 'heater') with contact"],
    ),
}


#: A wrong value and an unknown name in one part, of each kind.
HALVES: dict[str, tuple[list[tuple[str, str]], list[str]]] = {
    "solid": (
        [("x = [0, 200]", 'x = [0, "5 V"]'), ('"lead"\nmaterial = "Cu"', '"lead"\nmaterial = "Cuu"')],
        ["solid 'lead', box.x[1]: got \"5 V\"", "solid 'lead', material: got 'Cuu'; did you mean 'Cu'?"],
    ),
    "solid with two shapes": (
        [('"Cu"\nbox', '"Cuu"\nz = [0, 1]\nbox')],
        ["solid 'lead': got box and z, expected either", "solid 'lead', material: got 'Cuu'; did you mean 'Cu'?"],
    ),
    "contact": (
        [('solid = "lead"\nface = "x+"', 'solid = "leed"\nface = "q"')],
        ["contact 'bottom', face: got 'q'", "contact 'bottom', solid: got 'leed'; did you mean 'lead'?"],
    ),
    "contact without a face": (
        [('solid = "lead"\nface = "x+"', 'solid = "leed"')],
        ["contact 'bottom', face: missing", "contact 'bottom', solid: got 'leed'; did you mean 'lead'?"],
    ),
    "contact without a name": (
        [('name = "bottom"\nsolid = "lead"', 'solid = "leed"')],
        ["contacts[0], name: missing", "contacts[0], solid: got 'leed'; did you mean 'lead'?"],
    ),
    "heat sink": (
        [('solid = "lead"\nface = "z-"\nh = "0.2 GW/(m^2 K)"', 'solid = "leed"\nface = "z-"\nh = "1 K"')],
        ["heat sink 'under', h: got \"1 K\"", "heat sink 'under', solid: got 'leed'; did you mean 'lead'?"],
    ),
    "interface": (
        [("gamma = 0.7", 'gamma = "0.7 V"\ncard = "Py/Cuu"'), ("S_s = ", "#"), ('["Py", "Cu"]', '["Py", "Cuu"]')],
        [
            "interface 'Py/Cu', gamma: got \"0.7 V\"",
            "interface 'Py/Cu', card: got 'Py/Cuu'; did you mean 'Py/Cu'?",
            "interface 'Py/Cu', between: got 'Cuu'; did you mean 'Cu'?",
        ],
    ),
    "material": (
        [('lambda_sf = "5 nm"', 'lambda_sf = "5 V"\ncard = "Ptt"')],
        ["material 'Pt', lambda_sf: got \"5 V\"", "material 'Pt', card: got 'Ptt'; did you mean 'Pt'?"],
    ),
    "experiment at a current": (
        [('"h-"]', '"tp"]'), ('voltage = ["top", "bottom"]', 'voltage = ["top"]'), ("FM2 = -1", "FM = -1")],
        [
            "experiment 'heater', voltage: got ['top'], expected a list of two",
            "experiment 'heater', current: got contact 'tp'; did you mean 'top'?",
            "experiment 'heater', states.AP: got magnet 'FM'; did you mean 'FM1' or 'FM2'?",
        ],
    ),
    "experiment with heat": (
        [("under = ", "undr = "), ('temperature = "spacer"', "temperature = 3")],
        ["experiment 'seebeck', temperature: got 3", "experiment 'seebeck', heat: got 'undr'; did you mean 'under'?"],
    ),
    "experiment with power": (
        [("{ cap = ", "{ cup = "), ('temperature = ["FM1", "top"]', 'temperature = ["FM1", "topp"]\nthrough = 1')],
        [
            "experiment 'laser', through: got 1",
            "experiment 'laser', power: got solid 'cup'; did you mean 'cap'?",
            "experiment 'laser', temperature: got 'topp'; did you mean 'top'?",
        ],
    ),
    "experiment through": (
        [('current = ["top", "bottom"]', 'current = "top"'), ('["spacer", "FM2"]', '["spacr", "FM2"]')],
        [
            "experiment 'torque', current: got 'top'",
            "experiment 'torque', through.between: got solid 'spacr'; did you mean 'spacer'?",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HALVES)
def test_names_in_a_part_with_another_fault_are_checked_too(case: str) -> None:
    changes, expected = HALVES[case]
    found = faults_of(GOOD, *changes)
    for text in expected:
        assert any(fault.startswith(text) for fault in found), (text, found)
    assert len(found) == len(expected), found


def test_a_faulty_contact_hides_no_fault_of_solids_and_is_offered_to_none() -> None:
    """Names are offered where they fit; sides of interfaces and magnets depend on solids alone."""
    found = faults_of(
        GOOD,
        ('solid = "lead"\nface = "x+"', 'solid = "leed"\nface = "q"'),
        ('["Py", "Cu"]', '["Py", "Cuu"]'),
        ("FM2 = -1", "FM = -1"),
        ('voltage = ["top", "bottom"]', 'voltage = ["top", "botom"]'),
    )
    told = "\n".join(found)
    assert "contact 'bottom', solid: got 'leed'; did you mean 'lead'? expected one of: lead, FM1, " in told
    assert all("bottom" not in fault.partition("; ")[2] for fault in found if "solid: got" in fault)
    assert "interface 'Py/Cu', between: got 'Cuu'" in told and "states.AP: got magnet 'FM'" in told
    assert "experiment 'heater', voltage: got contact 'botom'; did you mean 'bottom'?" in told
    assert len(found) == 5, found


def test_names_are_checked_where_no_length_has_a_unit() -> None:
    found = faults_of(GOOD, ('length_unit = "nm"\n', ""), ('material = "Pt"', 'material = "Ptt"'))
    assert len(found) == 2 and "the file has no length_unit" in found[0], found
    assert found[1].startswith("solid 'heater', material: got 'Ptt'; did you mean 'Pt'?")


@pytest.mark.parametrize(
    "key",
    ["AR", "R", "ra", "A", "RAP", "R_A", "r_star", "rb", "kapitza", "h", "G", "Kappa", "TBC", "TBR", "Gamma", "beta"]
    + ["spin_flip", "Delta", "Ss", "S_ap", "seebeck", "P1", "cards", "source"],
)
@pytest.mark.parametrize("value", ['"1 fohm m^2"', "-3", '["a", "b"]'])
def test_a_wrong_name_of_a_value_is_one_fault_of_what_the_file_has(key: str, value: str) -> None:
    fault, *more = faults_of(GOOD, ('RA = { value = "0.3 fohm m^2", source = "measured here" }', f"{key} = {value}"))
    assert not more or key in ("ra", "r_star", "Gamma", "Kappa", "Delta", "cards"), more  # misspelt, and no guess
    assert fault.startswith(f"interface 'Py/Cu': unknown key '{key}'; ")
    if key == "AR":
        assert "did you mean RA, or AR_star = RA/(1 - gamma^2)? expected one of: name, between," in fault


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('solid = "lead"\nface = "x+"', 'sollid = "leed"\nface = "x+"'),
        ("[[contacts]]\nname", "[[contacts]]\nnaem"),
        ('magnet = "FM2"', 'magnt = "FM3"'),
        ('voltage = ["top", "bottom"]', 'volts = ["topp", "bottom"]'),
        ('temperature = "spacer"', 'temprature = "spacr"'),
        ('lambda_sf = "5 nm"', 'lamda_sf = "5 nm"'),
    ],
)
def test_a_wrong_name_of_a_key_is_one_fault_and_hides_none_of_its_value(old: str, new: str) -> None:
    found = faults_of(GOOD, (old, new))
    assert "unknown key" in found[0], found
    # What is wrong with the value too is told in one go: of the magnet, that the states have another one.
    assert len(found) == 1 + any(key in new for key in ("sollid", "magnt", "temprature")), found


def test_polarisations_are_asked_for_as_files_write_them() -> None:
    (fault,) = faults_of(GOOD, ("gamma = 0.7", 'S_AP = "-9 uV/K"'), ('S_s = "-2 uV/K"', ""))
    assert fault == "interface 'Py/Cu', S_AP: needs P = [P1, P2]"


@pytest.mark.parametrize("case", CASES)
def test_a_fault_is_told_by_name_and_nothing_else_is(case: str) -> None:
    changes, extra, expected = CASES[case]
    found = faults_of(GOOD + extra, *changes)
    for text in expected:
        assert any(fault.startswith(text) for fault in found), (text, found)
    assert len(found) == len(expected), found


def test_heat_that_reaches_insulated_contacts_only_has_no_bath() -> None:
    text = (
        'length_unit = "nm"\n'
        + solid("wire", "Cu", (0, 20))
        + '[[contacts]]\nname = "a"\nsolid = "wire"\nface = "x-"\n'
        'thermal = "insulated"\n[[contacts]]\nname = "b"\nsolid = "wire"\nface = "x+"\nthermal = '
    )
    assert read(text + "{ h = 1.0 }", "wire").exchanging() == {"b": 1.0}
    assert faults_of(text + '"insulated"') == [
        "solid 'wire': no way for the heat to a bath, the temperature has no fixed point; put a contact or a heat sink "
        "on one of them that is not insulated"
    ]


def test_a_resistive_interface_joins_two_pieces_of_metal() -> None:
    """The current from top to bottom passes a tunnel barrier; the heater stays a piece of its own."""
    device = pillar(GOOD + EXTRA + 'RA = "10 ohm um^2"\n')
    assert len(device.layout().pieces(metal=True).members) == 2
    assert device.experiments["torque"].current == ("top", "bottom")


def test_a_device_built_in_python_is_checked_too() -> None:
    device = pillar()
    with pytest.raises(DeviceError, match="heat sink 'under' .* h: got nan"):
        dataclasses.replace(device, heat_sinks=(HeatSink("lead", "z-", "under", math.nan),), experiments={})
    with pytest.raises(DeviceError, match="through.what: got 'mass'"):
        wrong = dataclasses.replace(device.experiments["torque"], through=Through("mass", ("spacer", "FM2")))  # type: ignore[arg-type]
        dataclasses.replace(device, experiments={"torque": wrong})
    with pytest.raises(DeviceError, match="interface 'z', between: 'lead' and 'FM2' do not touch"):
        dataclasses.replace(device, interfaces=(Interface("z", ("lead", "FM2"), RA=1e-15),))


def test_values_beside_the_file_reach_interfaces_and_what_exchanges_heat() -> None:
    device = pillar()
    texts = ["Py/Cu.RA = 2 fohm m^2", "Py/Cu.gamma = 0.1", "h-.h = 3e8 W/(m^2 K)", "under.h = 5", "Py.P = 0.4"]
    with pytest.raises(InputError, match="5.*unit"):
        settings.changed(device, texts)
    texts[3] = "under.h = 5 W/(m^2 K)"
    other = settings.changed(device, texts)
    different = {name: value for name, value in other.numbers().items() if value != device.numbers()[name]}
    assert different == {"Py/Cu.RA": 2e-15, "Py/Cu.gamma": 0.1, "h-.h": 3e8, "under.h": 5.0, "Py.P": 0.4}
    assert other.interfaces[0].sources["RA"] == "set"
    assert settings.alike(device, other) and settings.alike(other, device)
    with pytest.raises(InterfaceError, match="gamma: got 2"):
        settings.with_values(device, {"Py/Cu.gamma": 2.0})
    with pytest.raises(InputError, match=r"'Py/Cu\.R' is no value of 'pillar'; did you mean 'Py/Cu\.S'|'Py/Cu\.RA'"):
        settings.changed(device, ["Py/Cu.R = 1 fohm m^2"])


def test_devices_that_differ_in_more_than_values_are_not_alike() -> None:
    device = pillar()
    insulated = dataclasses.replace(device.contacts[3], h=0.0)
    no_delta = dataclasses.replace(device.interfaces[0], delta=None)
    assert not settings.alike(device, dataclasses.replace(device, contacts=(*device.contacts[:3], insulated)))
    assert not settings.alike(device, dataclasses.replace(device, interfaces=(no_delta, *device.interfaces[1:])))
    assert not settings.alike(device, dataclasses.replace(device, interfaces=()))


def test_variants_set_values_of_interfaces() -> None:
    table = '[[variants]]\nname = "dirty"\nset = { "Py/Cu".RA = "5 fohm m^2", "h-.h" = 2e8 }\n'
    device = pillar(GOOD + table)
    assert device.variants["dirty"] == {"Py/Cu.RA": 5e-15, "h-.h": 2e8}
    assert settings.variant_of(device, "dirty").interfaces[0].RA == 5e-15


def test_edited_files_keep_what_they_are_edited_to() -> None:
    """With every way to write a value: a table with its source, P of two sides, and resistances to convert."""
    text = GOOD.replace(solid("spacer", "Cu", (35, 50)), solid("spacer", "Co", (35, 50), magnet="FM3"))
    text = text.replace('"Py/Cu"\nbetween = ["Py", "Cu"]', '"Py/Cu"\nbetween = ["FM1", "lead"]')
    text += '[[interfaces]]\nname = "barrier"\nbetween = ["spacer", "FM2"]\nRA = 1e-12\nP = [0.6, { value = 0.5 }]\n'
    text += EXTRA + "AR_up = 1e-15\nAR_down = 3e-15  # kept or not\n"
    device = pillar(text)
    values = {
        "Py/Cu.RA": 0.9e-15, "Py/Cu.delta": 0.25, "barrier.P1": 0.55, "barrier.P2": 0.45, "x.gamma": 0.2, "h-.h": 7e8,
        "under.h": 9e7, "on the oxide.K": 2e8,
    }  # fmt: skip
    after = settings.with_values(device, values)
    edited = edit.with_numbers(text, device, after)
    again = read(edited, "edited")
    assert again.numbers() == pytest.approx(after.numbers(), rel=1e-11)
    assert again.interfaces[0].sources["RA"] == "measured here"
    assert "AR_up" not in edited and "# " not in edited


def test_what_a_new_file_has_in_comments_can_be_used() -> None:
    text = new.blank("mine")
    comment = text[text.index("# [[interfaces]]") : text.index("[experiments.thermal]")]
    used = read(text.replace(comment, re.sub(r"^# (?!Interfaces|are cards)", "", comment, flags=re.M)), "mine")
    (interface,) = used.interfaces
    assert interface.values() == {"RA": 0.3e-15, "gamma": 0.7, "K": 1e9}
    for key, other in (("current", 'heat = { "1" = "1 K" }'), ("current", 'power = { FM1 = "1 mW" }'),
                       ("voltage", 'temperature = "FM2"')):  # fmt: skip
        assert other in text
        line = next(line for line in text.splitlines() if line.startswith(f"{key} ="))
        assert read(text.replace(line, other), "mine").experiments["thermal"].unit(1) in ("V/K", "V/W", "K/A")


def test_the_text_of_a_device_says_how_heat_and_current_go() -> None:
    text = describe(pillar(), width=200)
    for words in (
        "RA [fohm m^2]", "0.3 │   0.7 │              1 │       -5 │         -2 │   0.2",
        "Py/Cu.RA = 0.3 fohm m^2: measured here", "insulated", "1e+08 W/(m^2 K) to 300 K", "held at 300 K",
        "heat sink under", "heat: h+, under -0.25 times, lead y- 0 times", "power: cap, heater 2 times",
        "temperature: FM1 minus top", "spin: spacer to FM2", "K/W", "A/A", "current: in h+, out h-",
    ):  # fmt: skip
        assert words in text, (words, text)


def test_interfaces_are_drawn_where_they_are_cut(tmp_path: Path) -> None:
    device = pillar()
    count = len(device.solids) + 1
    marked = np.zeros((count, count), bool)
    names = [solid.name for solid in device.solids]
    for one, other in (("lead", "FM1"), ("FM1", "spacer"), ("spacer", "FM2")):
        i, j = names.index(one), names.index(other)
        marked[[i, j], [j, i]] = True
    segments = Views(device).cut(1, 20e-9).edges(marked)
    assert np.linalg.norm(segments[:, 1] - segments[:, 0], axis=1).sum() == pytest.approx(3 * 60e-9)
    assert sorted(set(np.round(segments[:, 0, 1] * 1e9).tolist())) == [20, 35, 50]
    figure = device_picture(device, tmp_path / "pillar.png")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[-2:] == ["interface Py/Cu", "interface on the oxide"]
    assert {"contact, at 300 K", "contact, insulated", "contact, exchanges heat", "heat sink, at 300 K"} <= set(labels)
