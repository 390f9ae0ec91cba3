"""The format of a device file: a pydantic model for each of its tables."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, create_model

from thermospin.base import units
from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.device.gds import parse_layers
from thermospin.device.interfaces import CONVERTED, by_side
from thermospin.device.tables import Length, Part, Place, Sourced, no_flag, quantity, sourced
from thermospin.quantities import INTERFACE, MATERIAL

Face = Literal["x-", "x+", "y-", "y+", "z-", "z+"]


def _variant_name(value: Any) -> str:
    """Return a name that may follow the name of a file on a command line."""
    if not isinstance(value, str) or not re.fullmatch(r"[\w.+-]+", value):
        raise InputError(
            f"got {value!r}, expected letters, digits, dots, plus and minus signs, such as far or gap-200nm"
        )
    return value


def _thermal(value: Any) -> float:
    """Return h [W/(m^2 K)] of how a contact meets the bath: inf holds its temperature, 0 insulates it."""
    words = {"bath": math.inf, "insulated": 0.0}
    if isinstance(value, str) and value in words:
        return words[value]
    if isinstance(value, Mapping):
        for key in value:
            if key != "h":
                raise InputError(f"unknown key '{key}'; {nearest(key, ['h'])}")
        if "h" not in value:
            raise InputError('h is missing, expected { h = "1e8 W/(m^2 K)" }')
        return units.parse(value["h"], "heat_conductance", key="h")
    raise InputError(f'got {value!r}, expected "bath", "insulated", or {{ h = "1e8 W/(m^2 K)" }}')


def _rise(value: Any) -> float:
    """Return a difference of temperatures [K]."""
    unit = re.sub(r"^\s*[+-]?[\d.]+([eE][+-]?\d+)?\s*", "", value) if isinstance(value, str) else ""
    rise = units.parse(value, "temperature")
    if unit and units.parse(f"0 {unit}", "temperature") != 0:
        raise InputError(f'got "{value}", on a scale with a zero of its own; expected a rise over the bath in kelvins')
    return rise


def _names(value: Any) -> Any:
    """Return the names of a list, or of one name."""
    return (value,) if isinstance(value, str) else value


LayerNumbers = Annotated[tuple[tuple[int, int | None], ...], BeforeValidator(parse_layers)]
_Sign = Annotated[Literal[-1, 1], no_flag("1 or -1")]


class Box(Part):
    """Extents of a box along the axes."""

    x: tuple[Place, Place]
    y: tuple[Place, Place]
    z: tuple[Place, Place]


class Dimension(Part):
    """A table of `dimensions`."""

    value: Place
    std: Annotated[float, quantity("length")] | None = None
    range: tuple[Length, Length] | None = None
    note: str = ""


class Provenance(Part):
    """The source of the extents of a solid."""

    x: str = ""
    y: str = ""
    z: str = ""


class Solid(Part):
    """A table of `solids`."""

    name: str
    material: str
    magnet: str | None = None
    box: Box | None = None
    polygon: list[tuple[Place, Place]] | None = None
    z: tuple[Place, Place] | None = None
    provenance: Provenance = Provenance()
    note: str = ""


class Contact(Part):
    """A table of `contacts`."""

    name: str
    solid: str | None = None
    face: Face | None = None
    label: str | None = None
    layer: LayerNumbers = ()
    at: tuple[Length, Length] | None = None
    thermal: Annotated[float, BeforeValidator(_thermal)] = math.inf
    note: str = ""


class Layer(Part):
    """A table of `layout.layers`."""

    layer: LayerNumbers
    material: str
    thickness: Place
    zmin: Place | None = None
    drape: bool = False
    magnet: bool = False
    sidewall_angle: Annotated[float, quantity("number"), Field(gt=-80, lt=80)] = 0.0
    slices: Annotated[int, no_flag("a number from 1 to 20"), Field(ge=1, le=20)] = 3
    name: str = ""
    note: str = ""


class Window(Part):
    """The part of a layout that is simulated."""

    x: tuple[Length, Length]
    y: tuple[Length, Length]


class Layout(Part):
    """The table `layout`."""

    file: str
    cell: str | None = None
    window: Window | None = None
    grid: Length | None = None
    ignore: LayerNumbers = ()
    layers: list[dict[str, Any]] = []
    note: str = ""


class HeatSink(Part):
    """A table of `heat_sinks`."""

    solid: str
    face: Face
    name: str = ""
    h: Annotated[float, quantity("heat_conductance")] = math.inf
    note: str = ""


class Through(Part):
    """What is read of what passes between two solids."""

    what: Literal["spin", "charge", "heat"]
    between: tuple[str, str]


class Experiment(Part):
    """A table of `experiments`."""

    current: tuple[str, str] | None = None
    heat: dict[str, Annotated[float, BeforeValidator(_rise)]] = {}
    power: dict[str, Annotated[float, quantity("power")]] = {}
    voltage: tuple[str, str] | None = None
    temperature: Annotated[list[str], BeforeValidator(_names)] = []
    through: Through | None = None
    states: dict[str, dict[str, _Sign]] = {"P": {}}
    note: str = ""


#: Fields of a material: for each symbol a value, or a table with a value and its source.
_VALUES: dict[str, Any] = {key: (Annotated[Sourced, sourced(row.kind)], None) for key, row in MATERIAL.items()}
Material = create_model("Material", __base__=Part, card=(str | None, None), note=(str, ""), **_VALUES)

#: Fields of an interface: the same, with the ways to write RA and gamma; P has a value for each side.
_OF_INTERFACE: dict[str, Any] = {
    key: (Annotated[Sourced, sourced(row.kind)], None) for key, row in INTERFACE.items() if key not in ("P1", "P2")
} | {key: (Annotated[Sourced, sourced("resistance_area")], None) for key in CONVERTED}
_Polarisation = Annotated[Sourced, sourced("number")]
Interface = create_model(
    "Interface",
    __base__=Part,
    name=(str, ...),
    between=(tuple[str, str], ...),
    card=(str | None, None),
    P=(Annotated[tuple[_Polarisation, _Polarisation] | None, BeforeValidator(by_side)], None),
    note=(str, ""),
    **_OF_INTERFACE,
)


class Variant(Part):
    """A table of `variants`."""

    name: Annotated[str, BeforeValidator(_variant_name)]
    set: dict[str, Any]
    note: str = ""


class File(Part):
    """The whole file; its parts are read one by one."""

    name: str = ""
    length_unit: str | None = None
    bath: Annotated[float, quantity("temperature")] = 300.0
    zeta: Annotated[float, quantity("number")] = 1.0
    notes: str = ""
    dimensions: dict[str, Any] = {}
    materials: dict[str, dict[str, Any]] = {}
    layout: dict[str, Any] | None = None
    solids: list[dict[str, Any]]
    contacts: list[dict[str, Any]] = []
    heat_sinks: list[dict[str, Any]] = []
    interfaces: list[dict[str, Any]] = []
    experiments: dict[str, dict[str, Any]] = {}
    variants: list[dict[str, Any]] = []
