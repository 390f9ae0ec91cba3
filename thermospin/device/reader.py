"""Device files: TOML to a `Device`, with every fault of the file in one go.

The shape of a file is in the pydantic models below. A part that is faulty is read as far as it goes (a misspelt key
counts as the one it resembles), so that what does not depend on the fault is judged too.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, create_model

from thermospin.base import units
from thermospin.base.errors import InputError
from thermospin.base.names import closest, nearest
from thermospin.device import device as dv
from thermospin.device import gds, materials
from thermospin.device import layer_stack as stack
from thermospin.geometry.dimensions import Coordinate, Dimension, ExpressionError, names_in, parse
from thermospin.grid import AXES
from thermospin.quantities import MATERIAL

_NO_LENGTH_UNIT = 'a length without a unit, and the file has no length_unit; set length_unit = "nm", or write "5 nm"'


def quantity(kind: str) -> BeforeValidator:
    """A number or a string with a unit, made an SI float."""

    def check(value: Any, info: ValidationInfo) -> float:
        return _parse(value, kind, info)

    return BeforeValidator(check)


def _sourced(kind: str) -> BeforeValidator:
    """A value alone, or a table of a value and where it comes from."""

    def check(value: Any, info: ValidationInfo) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            return {"value": _parse(value, kind, info), "source": "device file"}
        allowed = ("value", "source", "kind")
        for key in value:
            if key not in allowed:
                raise InputError(f"unknown key '{key}'; {nearest(key, allowed)}")
        if "value" not in value:
            raise InputError("value is missing")
        texts = {key: str(text) for key, text in value.items() if key != "value"}
        return {"source": "device file"} | texts | {"value": _parse(value["value"], kind, info)}

    return BeforeValidator(check)


def _parse(value: Any, kind: str, info: ValidationInfo) -> float:
    unit = (info.context or {}).get("length_unit")
    if kind == "length" and unit is None and not isinstance(value, str):
        raise InputError(_NO_LENGTH_UNIT)
    return units.parse(value, kind, length_unit=unit or "m")


Length = Annotated[float, quantity("length")]
Sourced = dict[str, Any] | None
Face = Literal["x-", "x+", "y-", "y+", "z-", "z+"]


class Part(BaseModel):
    """A table of a TOML file: unknown keys are faults."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _coordinate(value: Any, info: ValidationInfo) -> Coordinate:
    """A length, or an expression with the dimensions of the file."""
    known, unit = ((info.context or {}).get(key) for key in ("dimensions", "length_unit"))
    if isinstance(value, str) and names_in(value):
        if unit is None:
            raise InputError(_NO_LENGTH_UNIT)
        try:
            return parse(value, known or {}, units.scale(unit, "length"))
        except ExpressionError as why:
            raise InputError(f'got "{value}", {why}') from None
    return Coordinate(_parse(value, "length", info))


Place = Annotated[Coordinate, BeforeValidator(_coordinate)]


def _layer(value: Any) -> tuple[int, int]:
    """Layer and datatype: 3, "3" or "3/0"."""
    parts = str(value).split("/") if isinstance(value, int | str) and not isinstance(value, bool) else [""]
    try:
        first, second = (int(part) for part in (parts if len(parts) == 2 else [*parts, "0"]))
    except ValueError:
        raise InputError(f'got {value!r}, expected a layer and a datatype, such as "3/0" or 3') from None
    return first, second


LayerNumber = Annotated[tuple[int, int], BeforeValidator(_layer)]


class _Box(Part):
    x: tuple[Place, Place]
    y: tuple[Place, Place]
    z: tuple[Place, Place]


class _Dimension(Part):
    value: Place
    std: Annotated[float, quantity("length")] | None = None
    range: tuple[Length, Length] | None = None
    note: str = ""


class _Provenance(Part):
    x: str = ""
    y: str = ""
    z: str = ""


class _Solid(Part):
    name: str
    material: str
    magnet: str | None = None
    box: _Box | None = None
    polygon: list[tuple[Place, Place]] | None = None
    z: tuple[Place, Place] | None = None
    provenance: _Provenance = _Provenance()
    note: str = ""


class _Contact(Part):
    name: str
    solid: str | None = None
    face: Face | None = None
    label: str | None = None
    layer: LayerNumber | None = None
    note: str = ""


class _Layer(Part):
    layer: LayerNumber
    material: str
    thickness: Place
    zmin: Place | None = None
    drape: bool = False
    magnet: bool = False
    sidewall_angle: Annotated[float, quantity("number"), Field(gt=-80, lt=80)] = 0.0
    slices: Annotated[int, Field(ge=1, le=20)] = 3
    name: str = ""
    note: str = ""


class _Window(Part):
    x: tuple[Length, Length]
    y: tuple[Length, Length]


class _Layout(Part):
    file: str
    cell: str | None = None
    window: _Window | None = None
    grid: Length | None = None
    ignore: list[LayerNumber] = []
    layers: list[dict[str, Any]] = []
    note: str = ""


class _HeatSink(Part):
    solid: str
    face: Face
    note: str = ""


class _Experiment(Part):
    current: tuple[str, str]
    voltage: tuple[str, str]
    states: dict[str, dict[str, Literal[-1, 1]]]
    note: str = ""


_VALUES: dict[str, Any] = {key: (Annotated[Sourced, _sourced(row.kind)], None) for key, row in MATERIAL.items()}
_Material = create_model("_Material", __base__=Part, card=(str | None, None), note=(str, ""), **_VALUES)


class _File(Part):
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
    experiments: dict[str, dict[str, Any]] = {}


PartT = TypeVar("PartT", bound=Part)

#: What to say where pydantic's own words would not help.
_EXPECTED = {
    "string_type": "a string",
    "dict_type": "a table",
    "model_type": "a table, such as { x = [0, 100], y = [0, 50], z = [0, 15] }",
    "list_type": "a list",
    "tuple_type": "a list of two",
    "too_long": "a list of two",
    "literal_error": "",
}


class Reader:
    """Reads parts of a file and collects what is wrong with them."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.length_unit: str | None = None
        self.dimensions: dict[str, Coordinate] = {}
        self.length_unit_missed = False

    def read(self, model: type[PartT], raw: dict[str, Any], label: str) -> tuple[PartT | None, dict[str, Any]]:
        """The part (None where it cannot be made), and its raw table with misspelt keys put right."""
        part, errors = self._validate(model, raw)
        if errors is None:
            return part, raw
        repaired = dict(raw)
        excused = set()
        for error in errors.errors():
            if error["type"] == "extra_forbidden":
                key, allowed = str(error["loc"][-1]), _keys(model, error["loc"][:-1])
                self.faults.append(f"{_join(label, error['loc'][:-1])}: unknown key '{key}'; {nearest(key, allowed)}")
                close = closest(key, allowed)
                excused.add((*error["loc"][:-1], close))
                if len(error["loc"]) == 1:
                    value = repaired.pop(key)
                    if close is not None:
                        repaired.setdefault(close, value)
        for error in errors.errors():
            if error["type"] == "extra_forbidden" or (error["type"] == "missing" and error["loc"] in excused):
                continue
            fault = _explain(error)
            if fault == _NO_LENGTH_UNIT:
                if self.length_unit_missed:
                    continue  # once is enough for a whole file
                self.length_unit_missed = True
            path = (
                error["loc"][:-1] if error["type"] == "missing" and isinstance(error["loc"][-1], int) else error["loc"]
            )
            self.faults.append(f"{_join(label, path)}: {fault}")
        return self._validate(model, repaired)[0], repaired

    def _validate(self, model: type[PartT], raw: dict[str, Any]) -> tuple[PartT | None, ValidationError | None]:
        try:
            return model.model_validate(
                raw, context={"length_unit": self.length_unit, "dimensions": self.dimensions}
            ), None
        except ValidationError as error:
            return None, error


def _keys(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    for key in path:
        inner = model.model_fields[str(key)].annotation if str(key) in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)


def _join(label: str, path: Iterable[int | str]) -> str:
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return ", ".join(part for part in (label, text) if part) or "file"


def _explain(error: Any) -> str:
    kind, found = error["type"], error["input"]
    if kind == "missing":
        if isinstance(found, list | tuple):
            return f"got {list(found)!r}, expected a list of two"
        return "missing"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    shown = repr(found) if len(repr(found)) <= 60 else repr(found)[:57] + "..."
    expected = _EXPECTED.get(kind) or error.get("ctx", {}).get("expected")
    return f"got {shown}, expected {expected}" if expected else f"got {shown}; {error['msg'].lower()}"


def read(text: str, source: str, folder: Path | None = None) -> dv.Device:
    """The device of a TOML text.

    Args:
      text: the text.
      source: what messages call it.
      folder: where files that it names are, such as a layout; None: here.
    """
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise dv.DeviceError([f"not a TOML file: {error}"], source) from None
    reader = Reader()
    if "layout" in raw:
        raw.setdefault("solids", [])
    top, raw = reader.read(_File, raw, "")
    if raw.get("length_unit") is not None:
        try:
            units.scale(raw["length_unit"], "length", key="length_unit")
            reader.length_unit = raw["length_unit"]
        except units.UnitError as error:
            reader.faults = [fault for fault in reader.faults if not fault.startswith("length_unit:")] + [str(error)]
            reader.length_unit = "nm"  # so that the lengths, right or wrong, do not each add a fault

    bath, zeta = (_scalar(reader, raw, key, default) for key, default in (("bath", 300.0), ("zeta", 1.0)))
    reader.faults += [fault for fault in (dv.bath_fault(bath), dv.zeta_fault(zeta)) if fault]
    solids, contacts, sinks, experiments = [], [], [], []
    unread: set[str] = set()
    for key, kind in (("solids", list), ("contacts", list), ("heat_sinks", list)):
        if not isinstance(raw.get(key, None if key == "solids" else []), kind):
            unread.add("")

    dimensions, broken = _dimensions(reader, _table(raw.get("dimensions")))
    for i, item in enumerate(_tables(raw.get("solids"))):
        part, item = reader.read(_Solid, item, label := _name("solid", item, f"solids[{i}]"))
        if part is not None and (part.box is None or part.polygon or part.z):
            if part.box is None and part.polygon and part.z:
                corners = tuple(part.polygon)
                if any(name in broken for each in (*corners, part.z) for end in each for name in end.slopes):
                    unread.add(part.name)
                else:
                    solids.append(_prism(part, corners, part.z, dimensions))
                continue
            given = [key for key in ("box", "polygon", "z") if getattr(part, key) is not None]
            reader.faults.append(
                f"{label}: got {' and '.join(given) or 'no shape'}, expected either box = {{ x = [0, 100], "
                "y = [0, 50], z = [0, 15] }, or polygon = [[0, 0], [100, 0], [50, 80]] and z = [0, 15]"
            )
            unread.add(part.name)
            continue
        if part is None:  # what is left of it: its box may be right
            box, _ = Reader.read(_silent(reader), _Box, _table(item.get("box")), "")
            if box is None or not isinstance(item.get("name"), str):
                unread.add(str(item.get("name", "")))
                continue
            part = _Solid.model_construct(
                name=item["name"], material=str(item.get("material", "")), magnet=item.get("magnet"), box=box,
                provenance=_Provenance(), note=""
            )  # fmt: skip
        assert part.box is not None
        pairs = part.box.x, part.box.y, part.box.z
        if any(name in broken for pair in pairs for each in pair for name in each.slopes):
            unread.add(part.name)
            continue
        ends = dict(zip(AXES, pairs, strict=True))
        solid = dv.Solid(
            part.name,
            part.material,
            part.magnet,
            ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0)),
            {axis: text for axis, text in part.provenance.model_dump().items() if text},
            part.note,
            ends,
        ).moved({name: each.value for name, each in dimensions.items()})
        moving = {axis: pair for axis, pair in ends.items() if any(each.factors for each in pair)}
        solids.append(dataclasses.replace(solid, coordinates=moving))
    marks: list[_Contact] = []
    for i, item in enumerate(_tables(raw.get("contacts"))):
        contact, item = reader.read(_Contact, item, label := _name("contact", item, f"contacts[{i}]"))
        if contact is None:
            unread.add(str(item.get("name", "")))
        elif contact.label is not None or contact.layer is not None:
            marks.append(contact)
        elif contact.solid is None or contact.face is None:
            reader.faults += [f"{label}, {key}: missing" for key in ("solid", "face") if getattr(contact, key) is None]
            unread.add(contact.name)
        else:
            contacts.append(dv.Contact(contact.name, contact.solid, contact.face))
    for i, item in enumerate(_tables(raw.get("heat_sinks"))):
        sink, _ = reader.read(_HeatSink, item, f"heat_sinks[{i}]")
        if sink is None:
            unread.add("heat sink")
        else:
            sinks.append(dv.HeatSink(sink.solid, sink.face))
    for name, item in _table(raw.get("experiments")).items():
        if isinstance(item, dict):
            experiment, _ = reader.read(_Experiment, item, f"experiment '{name}'")
            if experiment is not None:
                experiments.append(dv.Experiment(name, experiment.current, experiment.voltage, experiment.states))

    if raw.get("layout") is not None or marks:
        known = _table(raw.get("materials"))
        drawn, marked = _drawn(
            reader, _table(raw.get("layout")), marks, solids, dimensions, folder or Path(), known, bath, unread
        )
        solids += drawn
        contacts += marked
    made, metal = _materials(reader, _table(raw.get("materials")), solids, bath)
    if reader.faults or top is None:
        more = dv.faults(solids, contacts, sinks, experiments, metal, unread=unread)
        raise dv.DeviceError(dict.fromkeys(reader.faults + more), source)
    try:
        return dv.Device(
            name=top.name or Path(source).stem,
            solids=tuple(solids),
            materials=made,
            contacts=tuple(contacts),
            heat_sinks=tuple(sinks),
            experiments={experiment.name: experiment for experiment in experiments},
            bath=bath,
            zeta=zeta,
            dimensions=dimensions,
            notes=top.notes,
        )
    except dv.DeviceError as error:
        raise dv.DeviceError(error.faults, source) from None


def _prism(
    part: _Solid,
    corners: tuple[tuple[Coordinate, Coordinate], ...],
    heights: tuple[Coordinate, Coordinate],
    dimensions: Mapping[str, Dimension],
) -> dv.Solid:
    """The solid of a polygon and its heights."""
    values = {name: each.value for name, each in dimensions.items()}
    outline = tuple((x.at(values), y.at(values)) for x, y in corners)
    moving = any(end.factors for corner in corners for end in corner)
    x, y = ((min(line), max(line)) for line in zip(*outline, strict=True))
    return dv.Solid(
        part.name,
        part.material,
        part.magnet,
        (x, y, (heights[0].at(values), heights[1].at(values))),
        {axis: text for axis, text in part.provenance.model_dump().items() if text},
        part.note,
        {"z": heights} if any(end.factors for end in heights) else {},
        outline,
        corners if moving else (),
    )


def _drawn(
    reader: Reader,
    raw: Mapping[str, Any],
    marks: list[_Contact],
    ground: list[dv.Solid],
    dimensions: Mapping[str, Dimension],
    folder: Path,
    known: Mapping[str, Any],
    bath: float,
    unread: set[str],
) -> tuple[list[dv.Solid], list[dv.Contact]]:
    """Solids and contacts of the layout that the file names."""
    unread_all = {"", *(each.name for each in marks)}
    if not raw:
        reader.faults += [f"contact '{mark.name}': has a label or layer, but there is no [layout]" for mark in marks]
        unread |= unread_all
        return [], []
    part, _ = reader.read(_Layout, dict(raw), "layout")
    layers = []
    for i, item in enumerate(_tables(raw.get("layers"))):
        layer, _ = reader.read(_Layer, item, f"layout.layers[{i}]")
        if layer is not None:
            if layer.zmin is None and not layer.drape:
                reader.faults.append(
                    f"layout.layers[{i}], zmin: missing; give a height, or drape = true for a film that lies on "
                    "what is below it"
                )
            else:
                layers.append(
                    stack.Layer(
                        **layer.model_dump(exclude={"note"} | {"thickness", "zmin"}),
                        thickness=layer.thickness,
                        zmin=layer.zmin,
                    )
                )
    if part is None or len(layers) < len(_tables(raw.get("layers"))):
        allowed = [*known, *(each for each in materials.card_names() if each not in known)]
        for i, item in enumerate(_tables(raw.get("layers"))):
            if isinstance(item.get("material"), str) and item["material"] not in allowed:
                told = f"got '{item['material']}'; {nearest(item['material'], allowed)}"
                reader.faults.append(f"layout.layers[{i}], material: {told}")
        unread |= unread_all
        return [], []
    try:
        drawing = gds.read(folder / part.file, part.cell)
    except gds.LayoutError as error:
        reader.faults += [f"layout: {text}" for text in error.faults]
        unread |= unread_all
        return [], []
    films = [dv.Solid("", layer.material, None, ((0.0, 0.0),) * 3) for layer in layers]
    metal = _materials(_silent(reader), known, films, bath)[1]  # what is wrong with them is told later
    solids, contacts, found = stack.build(
        drawing,
        layers,
        ground,
        [stack.Mark(each.name, each.label, each.layer, each.face) for each in marks],
        window=None if part.window is None else stack.Window(part.window.x, part.window.y),
        ignored=part.ignore,
        metals=[name for name, conducts in metal.items() if conducts is not False],
        spacing=part.grid,
        lengths={name: each.value for name, each in dimensions.items()},
    )
    reader.faults += [text if text.startswith("contact") else f"layout: {text}" for text in found]
    if found:
        unread |= unread_all
    moving = [
        dataclasses.replace(each, coordinates={})
        if not any(end.factors for ends in each.coordinates.values() for end in ends)
        else each
        for each in solids
    ]
    return moving, contacts


def _dimensions(reader: Reader, raw: Mapping[str, Any]) -> tuple[dict[str, Dimension], set[str]]:
    """The dimensions of the file that are numbers, and those that are wrong; others become expressions of these."""
    made: dict[str, Dimension] = {}
    broken: set[str] = set()
    waiting: dict[str, dict[str, Any]] = {}
    for name, item in raw.items():
        table = item if isinstance(item, dict) else {"value": item}
        value = table.get("value")
        reader.dimensions[name] = Coordinate(0.0, ((name, 1.0),))
        if isinstance(value, str) and names_in(value):
            waiting[name] = table
            continue
        part, _ = reader.read(_Dimension, table, f"dimension '{name}'")
        if part is None:
            broken.add(name)
            continue
        made[name] = Dimension(part.value.constant, part.std, part.range, part.note)
        if part.range and not part.range[0] <= made[name].value <= part.range[1]:
            low, high, own = (f"{1e9 * each:g}" for each in (*part.range, made[name].value))
            reader.faults.append(f"dimension '{name}', range: got {low} to {high} nm, expected one that holds {own} nm")
    while waiting:
        ready = [name for name, each in waiting.items() if not (names_in(each["value"]) or set()) & set(waiting)]
        if not ready:
            reader.faults.append(f"dimensions: {', '.join(waiting)} follow each other in a circle")
            broken |= set(waiting)
            break
        for name in ready:
            del reader.dimensions[name]
            part, _ = reader.read(_Dimension, waiting.pop(name), f"dimension '{name}'")
            if part and (part.std is not None or part.range is not None):
                reader.faults.append(f"dimension '{name}': std and range belong to the dimensions that it follows")
            if part is None:
                broken.add(name)
            reader.dimensions[name] = part.value if part else Coordinate(0.0, ((name, 1.0),))
    return made, broken


def _materials(
    reader: Reader, raw: Mapping[str, Any], solids: Iterable[dv.Solid], bath: float
) -> tuple[dict[str, materials.Material], dict[str, bool | None]]:
    """Materials of the file and of the cards that its solids name, and whether each conducts charge."""
    made: dict[str, materials.Material] = {}
    metal: dict[str, bool | None] = {}
    used = dict.fromkeys(solid.material for solid in solids)
    for name in dict.fromkeys([*raw, *used]):
        label = f"material '{name}'"
        entries: dict[str, Any] = {}
        part, table = reader.read(_Material, _table(raw.get(name, {})), label)
        start = table.get("card", name)
        faulty = part is None
        if isinstance(start, str) and start in materials.card_names():
            entries |= materials.card(start)
        elif isinstance(table.get("card"), str):
            reader.faults.append(f"{label}, card: got '{start}'; {nearest(start, materials.card_names())}")
            faulty = True
        elif name not in raw:
            continue  # neither in the file nor a card: the solid that names it is told
        if part is None:  # told already; judge the keys that are right all the same
            keys = [key for key in MATERIAL if key in table]
            alone = [_silent(reader).read(_Material, {key: table[key]}, "")[0] for key in keys]
            wrong_keys = {key for key, one in zip(keys, alone, strict=True) if one is None}
            part = _Material.model_construct(
                **{key: getattr(one, key) for key, one in zip(keys, alone, strict=True) if one is not None}
            )
            entries = {key: value for key, value in entries.items() if key not in wrong_keys}
        entries |= {key: value for key, value in part.model_dump(exclude={"card"}).items() if value}
        values = {key: units.parse(entries[key]["value"], row.kind) for key, row in MATERIAL.items() if key in entries}
        metal[name] = values.get("sigma", 0.0) != 0 if not faulty or "sigma" in values else None
        wrong = materials.value_faults(values)
        missing = None if faulty else materials.missing_fault(values)
        if missing:
            card = start if start in materials.card_names() else None
            hint = f"; the card '{card}' has no value for it" if card else f"; no card is called '{name}'"
            wrong.append(missing + hint)
        if not wrong and not faulty:
            uphill = materials.thermoelectric_fault(values, bath)
            wrong += [uphill] if uphill else []
        reader.faults += [f"{label}, {fault}" for fault in wrong]
        if not wrong and not faulty:
            made[name] = materials.build(name, entries)
    known = {name: metal.get(name) for name in dict.fromkeys([*metal, *raw])}
    allowed = [*known, *(each for each in materials.card_names() if each not in known)]
    for solid in solids:
        if solid.material and solid.material not in known:
            # Told here, with the cards to choose from; for the geometry it is a material of which nothing is known.
            reader.faults.append(
                f"solid '{solid.name}', material: got '{solid.material}'; {nearest(solid.material, allowed)}"
            )
    known |= {name: None for name in used if name not in known}
    return made, known


def _scalar(reader: Reader, raw: Mapping[str, Any], key: str, default: float) -> float:
    """One number of the top of the file, right even if other keys are not."""
    alone, _ = _silent(reader).read(_File, {key: raw.get(key, default), "solids": []}, "")
    return default if alone is None else float(getattr(alone, key))


def _silent(reader: Reader) -> Reader:
    other = Reader()
    other.length_unit = reader.length_unit
    other.dimensions = reader.dimensions
    return other


def _tables(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _name(what: str, item: Mapping[str, Any], place: str) -> str:
    return f"{what} '{item['name']}'" if isinstance(item.get("name"), str) else place


def shipped_names() -> list[str]:
    """Names of the devices that ship with the program."""
    folder = resources.files("thermospin") / "device" / "shipped"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load(path: str | Path) -> dv.Device:
    """The device of a TOML file, or one that ships with the program."""
    return read(*text_of(path), Path(path).parent)


def text_of(path: str | Path) -> tuple[str, str]:
    """The text of a device file, or of a device that ships with the program, and what messages call it."""
    name = str(path)
    if name in shipped_names():
        text = (resources.files("thermospin") / "device" / "shipped" / f"{name}.toml").read_text(encoding="utf-8")
        return text, f"{name} (shipped)"
    try:
        return Path(path).read_text(encoding="utf-8"), name
    except FileNotFoundError:
        near = [each.name for each in Path(path).parent.glob("*.toml")] if Path(path).parent.is_dir() else []
        text = nearest(name, shipped_names()) if not Path(path).suffix else nearest(Path(path).name, near)
        what = "no such file, nor a device that ships with thermospin" if not Path(path).suffix else "no such file"
        raise dv.DeviceError([f"{what}; {text}"], name) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not UTF-8 text ({error.reason})"
        raise dv.DeviceError([f"cannot be read: {reason}"], name) from None


def with_form(text: str, name: str, pieces: Sequence[dv.Solid]) -> str:
    """The text of a device file with polygons in place of one of its solids; all else, comments too, stays as it is.

    Args:
      text: of the file.
      name: of the solid.
      pieces: what it becomes, with outlines.
    """
    import tomlkit

    document = tomlkit.parse(text)
    unit = str(document.get("length_unit", "nm"))
    size = units.scale(unit, "length")

    def number(value: float) -> float | int:
        found = units.tidy(round(value, 15) / size)
        return int(found) if found == int(found) else found

    solids: Any = document["solids"]
    at = next(i for i, each in enumerate(solids) if each["name"] == name)
    material = str(solids[at]["material"])
    made = tomlkit.aot()
    for k, each in enumerate(solids):
        if k != at:
            made.append(each)
            continue
        for piece in pieces:
            table = tomlkit.table()
            table["name"] = piece.name
            table["material"] = material
            outline = tomlkit.array()
            for corner in piece.outline or ():
                outline.append([number(value) for value in corner])
            table["polygon"] = outline
            table["z"] = [number(value) for value in piece.box[2]]
            made.append(table)
    document["solids"] = made
    return tomlkit.dumps(document)


def with_place(text: str, source: Path, target: Path) -> str:
    """The text of a device file that goes from one folder to another: the path of its layout is put right."""
    import tomlkit

    document = tomlkit.parse(text)
    if "layout" not in document:
        return text
    layout: Any = document["layout"]
    layout["file"] = Path(os.path.relpath(source / str(layout["file"]), target)).as_posix()
    return tomlkit.dumps(document)


def with_lengths(text: str, lengths: Mapping[str, float]) -> str:
    """The text of a device file with other values of its dimensions [m]; all else, comments too, stays as it is.

    Values are rounded to 0.001 nm and written in the unit that the file has for lengths.
    """
    import tomlkit

    document = tomlkit.parse(text)
    unit = str(document.get("length_unit", "nm"))
    size = units.scale(unit, "length")
    table: Any = document["dimensions"]
    for name, value in lengths.items():
        here, key = (table[name], "value") if isinstance(table[name], Mapping) else (table, name)
        number = units.tidy(round(value, 12) / size)
        plain = isinstance(here[key], int | float)
        here[key] = (int(number) if number == int(number) else number) if plain else f"{number:g} {unit}"
    return tomlkit.dumps(document)
