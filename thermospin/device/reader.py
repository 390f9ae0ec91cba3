"""Reading of device files: TOML to a `Device`; all faults of a file are reported together."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from thermospin.base import polygons, units
from thermospin.base.errors import InputError
from thermospin.base.files import shipped
from thermospin.base.names import nearest, unknown
from thermospin.device import gds, interfaces, layer_stack, materials, schema, settings
from thermospin.device.device import Device, DeviceError
from thermospin.device.experiment_faults import UNREAD_SINK
from thermospin.device.faults import bath_fault, faults, zeta_fault
from thermospin.device.interfaces import Interface
from thermospin.device.marks import Mark, Window
from thermospin.device.material_entries import read_materials
from thermospin.device.parts import Contact, Experiment, HeatSink, Partial, Solid, Through
from thermospin.device.site import Layer
from thermospin.device.tables import Reader, plain, table_of
from thermospin.geometry.dimensions import Coordinate, Dimension, names_in
from thermospin.geometry.outlines import outline_of
from thermospin.grid import AXES
from thermospin.quantities import INTERFACE


@dataclasses.dataclass
class _Draft:
    """Parts of a device, as far as they could be read.

    Attributes:
      bath: of the device.
      dimensions: dimensions with a number as value; others are expressions of these.
      broken: names of dimensions that could not be read.
      solids, contacts, heat_sinks, interfaces, experiments: the parts.
      marks: contacts whose position is given in the layout.
      drawing: the layout.
      window: the part of it that is simulated, None: all.
      unread: names of parts that exist but could not be read, and the kind of each, see `faults.faults`.
      halves: label and valid entries of each part that could not be read.
      unplaced: names of contacts with a mark that has a fault.
    """

    bath: float
    dimensions: dict[str, Dimension] = dataclasses.field(default_factory=dict)
    broken: set[str] = dataclasses.field(default_factory=set)
    solids: list[Solid] = dataclasses.field(default_factory=list)
    contacts: list[Contact] = dataclasses.field(default_factory=list)
    heat_sinks: list[HeatSink] = dataclasses.field(default_factory=list)
    interfaces: list[Interface] = dataclasses.field(default_factory=list)
    experiments: list[Experiment] = dataclasses.field(default_factory=list)
    marks: list[schema.Contact] = dataclasses.field(default_factory=list)
    drawing: gds.Drawing | None = None
    window: Window | None = None
    unread: dict[str, str] = dataclasses.field(default_factory=dict)
    halves: list[tuple[str, dict[str, Any]]] = dataclasses.field(default_factory=list)
    unplaced: set[str] = dataclasses.field(default_factory=set)

    def leave_out(self, kind: str, name: str, label: str, entries: dict[str, Any]) -> None:
        """Note the name of a part that could not be read, and those of its entries that are valid."""
        self.unread[name] = kind if self.unread.get(name, kind) == kind else ""
        self.halves.append((label, entries))

    def lengths(self) -> dict[str, float]:
        """Return the values of the dimensions [m]."""
        return {name: dimension.value for name, dimension in self.dimensions.items()}

    def partial(self) -> Partial:
        """Return what could be read and has an outline that can be drawn."""
        solids = [solid for solid in self.solids if not polygons.faults(outline_of(solid))]
        drawing = self.drawing
        if drawing is None:
            return Partial(solids, self.contacts)
        labels = [(label.text, label.place) for label in drawing.labels]
        window = None if self.window is None else (self.window.x, self.window.y)
        return Partial(solids, self.contacts, drawing.named_shapes(), labels, window)

    def is_broken(self, ends: Iterable[Coordinate]) -> bool:
        """Return whether a coordinate uses a dimension that could not be read."""
        return any(name in self.broken for end in ends for name in end.slopes)


def load(path: str | Path | Mapping[str, Any]) -> Device:
    """Return the device of a TOML file, or one that ships with the program (such as "slachter2010").

    Args:
      path: of the file; "valve.toml@far" is its variant "far". Or the tables and keys of a file as a dictionary, whose
        paths start from the current folder.
    Raises:
      DeviceError: the file has faults; the message lists all.
    """
    if isinstance(path, Mapping):
        return read_tables(path)
    file, variant = parts_of(path)
    device = read(*text_of(file), Path(file).parent)
    return device if variant is None else settings.variant_of(device, variant, file)


def require_experiments(device: Device, source: str) -> Device:
    """Return the device, or raise `InputError` if it has no experiment; `source` is what the message calls it."""
    if not device.experiments:
        raise InputError(f"{source}: experiments: there is none, so there is no signal to compute")
    return device


def parts_of(path: str | Path) -> tuple[str, str | None]:
    """Return the file and the name of the variant in "valve.toml@far", None where no variant is named."""
    file, at, variant = str(path).rpartition("@")
    if not at or Path(path).exists() or Path(variant).name != variant:
        return str(path), None
    return file, variant


def read(text: str, source: str, folder: Path | None = None) -> Device:
    """Return the device that a TOML text describes.

    Args:
      text: the text.
      source: name of the text in messages.
      folder: folder of the files that it names, such as a layout; None: the current folder.
    Raises:
      DeviceError: the text has faults; the message lists all.
    """
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DeviceError([f"not a TOML file: {error}"], source) from None
    return read_tables(raw, source, folder)


def read_tables(tables: Mapping[str, Any], source: str = "", folder: Path | None = None) -> Device:
    """Return the device that the tables of a TOML text describe.

    Args:
      tables: by the names that they have in a file; tuples, arrays and numbers of NumPy are understood.
      source: name of the text in messages; "" for none.
      folder: folder of the files that it names, such as a layout; None: the current folder.
    Raises:
      DeviceError: there are faults; the message lists all.
    """
    raw = plain(tables)
    reader = Reader()
    top, raw = _read_top(reader, raw)
    bath, zeta = (_scalar(reader, raw, key, default) for key, default in (("bath", 300.0), ("zeta", 1.0)))
    reader.faults += [fault for fault in (bath_fault(bath), zeta_fault(zeta)) if fault]
    reader.bath = None if bath_fault(bath) else bath
    draft = _Draft(bath)
    for key in ("solids", "contacts", "heat_sinks"):
        if not isinstance(raw.get(key, None if key == "solids" else []), list):
            draft.unread[""] = ""

    _read_dimensions(reader, table_of(raw.get("dimensions")), draft)
    _read_solids(reader, raw, draft)
    _read_contacts(reader, raw, draft)
    _read_heat_sinks(reader, raw, draft)
    _read_interfaces(reader, raw, draft)
    _read_experiments(reader, raw, draft)
    variants = _read_variants(reader, raw)
    if raw.get("layout") is not None or draft.marks:
        _read_layout(reader, raw, draft, folder or Path())
    made, metal = read_materials(reader, table_of(raw.get("materials")), draft.solids, bath, draft.halves)
    bodies = [*table_of(raw.get("materials")), *(solid.material for solid in draft.solids)]
    known = settings.possible(bodies, draft.interfaces, draft.contacts, draft.heat_sinks, reader.dimensions)
    complete = not draft.unread and len(draft.interfaces) == len(_tables(raw.get("interfaces")))
    in_variants = settings.read_variants(variants, known, reader.length_unit, complete=complete)[1]
    if reader.faults or top is None:
        parts = draft.solids, draft.contacts, draft.heat_sinks, draft.experiments, draft.interfaces
        more = faults(*parts, metal, made, unread=draft.unread, unplaced=draft.unplaced, halves=draft.halves)
        raise DeviceError(reader.told(reader.faults + more + in_variants), source, draft.partial())
    try:
        device = Device(
            name=top.name or Path(source).stem or "device",
            solids=tuple(draft.solids),
            materials=made,
            contacts=tuple(draft.contacts),
            heat_sinks=tuple(draft.heat_sinks),
            interfaces=tuple(draft.interfaces),
            experiments={experiment.name: experiment for experiment in draft.experiments},
            bath=bath,
            zeta=zeta,
            dimensions=draft.dimensions,
            notes=top.notes,
            length_unit=reader.length_unit,
        )
    except DeviceError as error:
        raise DeviceError(error.faults + in_variants, source, draft.partial()) from None
    values, wrong = settings.read_variants(variants, settings.settable(device), device.length_unit)
    if wrong:
        raise DeviceError(wrong, source, draft.partial())
    return dataclasses.replace(device, variants=values)


def _read_top(reader: Reader, raw: dict[str, Any]) -> tuple[schema.File | None, dict[str, Any]]:
    """Read the top level of the file, and the unit of its lengths."""
    if "layout" in raw:
        raw.setdefault("solids", [])
    top, raw = reader.read(schema.File, raw, "")
    if raw.get("length_unit") is not None:
        try:
            units.scale(raw["length_unit"], "length", key="length_unit")
            reader.length_unit = raw["length_unit"]
        except units.UnitError as error:
            reader.faults = [fault for fault in reader.faults if not fault.startswith("length_unit:")] + [str(error)]
            reader.length_unit = "nm"  # so that lengths do not each add a fault about the unit
    return top, raw


def _scalar(reader: Reader, raw: Mapping[str, Any], key: str, default: float) -> float:
    """Return one number of the top level of the file, even if other keys there have faults."""
    alone, _ = reader.silent().read(schema.File, {key: raw.get(key, default), "solids": []}, "")
    return default if alone is None else float(getattr(alone, key))


def _read_dimensions(reader: Reader, raw: Mapping[str, Any], draft: _Draft) -> None:
    waiting: dict[str, dict[str, Any]] = {}
    for name, item in raw.items():
        table = item if isinstance(item, dict) else {"value": item}
        value = table.get("value")
        reader.dimensions[name] = Coordinate(0.0, ((name, 1.0),))
        if isinstance(value, str) and names_in(value):
            waiting[name] = table
            continue
        part, _ = reader.read(schema.Dimension, table, f"dimension '{name}'")
        if part is None:
            draft.broken.add(name)
            continue
        made = Dimension(part.value.constant, part.std, part.range, part.note)
        draft.dimensions[name] = made
        if part.range and not (part.range[0] <= made.value <= part.range[1] and part.range[0] < part.range[1]):
            low, high, present = (f"{1e9 * length:g}" for length in (*part.range, made.value))
            reader.faults.append(
                f"dimension '{name}', range: got {low} to {high} nm, expected one with a width that holds {present} nm"
            )
    while waiting:
        ready = [name for name, table in waiting.items() if not (names_in(table["value"]) or set()) & set(waiting)]
        if not ready:
            reader.faults.append(f"dimensions: {', '.join(waiting)} follow each other in a circle")
            draft.broken |= set(waiting)
            break
        for name in ready:
            del reader.dimensions[name]
            part, _ = reader.read(schema.Dimension, waiting.pop(name), f"dimension '{name}'")
            if part and (part.std is not None or part.range is not None):
                reader.faults.append(f"dimension '{name}': std and range belong to the dimensions that it follows")
            if part is None:
                draft.broken.add(name)
            reader.dimensions[name] = part.value if part else Coordinate(0.0, ((name, 1.0),))


def _read_solids(reader: Reader, raw: Mapping[str, Any], draft: _Draft) -> None:
    for i, item in enumerate(_tables(raw.get("solids"))):
        label = _label("solid", item, f"solids[{i}]")
        part, item = reader.read(schema.Solid, item, label)
        name = str(item.get("name", ""))
        if part is None:
            part = _boxed(reader, item)
        elif part.box is None or part.polygon or part.z:
            if part.box is not None or not (part.polygon and part.z):
                given = [key for key in ("box", "polygon", "z") if getattr(part, key) is not None]
                reader.faults.append(
                    f"{label}: got {' and '.join(given) or 'no shape'}, expected either box = {{ x = [0, 100], "
                    "y = [0, 50], z = [0, 15] }, or polygon = [[0, 0], [100, 0], [50, 80]] and z = [0, 15]"
                )
                part = None
        solid = None if part is None else _solid(part, draft)
        if solid is None:
            draft.leave_out("solid", name, label, reader.sound(schema.Solid, item))
        else:
            draft.solids.append(solid)


def _boxed(reader: Reader, item: Mapping[str, Any]) -> schema.Solid | None:
    """Return a faulty solid with only name, material, magnet and box; None if box or name is faulty."""
    box, _ = reader.silent().read(schema.Box, table_of(item.get("box")), "")
    if box is None or not isinstance(item.get("name"), str):
        return None
    return schema.Solid.model_construct(
        name=item["name"],
        material=str(item.get("material", "")),
        magnet=magnet if isinstance(magnet := item.get("magnet"), str) else None,
        box=box,
        provenance=schema.Provenance(),
        note="",
    )


def _solid(part: schema.Solid, draft: _Draft) -> Solid | None:
    """Return the solid of a box or a polygon, None if a dimension that it uses could not be read."""
    lengths = draft.lengths()
    corners = tuple(part.polygon or ()) if part.box is None else ()
    if part.box is not None:
        ends = dict(zip(AXES, (part.box.x, part.box.y, part.box.z), strict=True))
    else:
        assert part.z is not None
        ends = {"z": part.z}
    if draft.is_broken(end for pair in (*ends.values(), *corners) for end in pair):
        return None
    solid = Solid(
        part.name,
        part.material,
        part.magnet,
        ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0)),
        {axis: text for axis, text in part.provenance.model_dump().items() if text},
        part.note,
        ends,
        tuple((x.at(lengths), y.at(lengths)) for x, y in corners) or None,
        corners,
    ).moved(lengths)
    # Keep coordinates only where a dimension moves them.
    moving = {axis: pair for axis, pair in ends.items() if any(end.factors for end in pair)}
    kept = corners if any(end.factors for corner in corners for end in corner) else ()
    return dataclasses.replace(solid, coordinates=moving, corners=kept)


def _read_contacts(reader: Reader, raw: Mapping[str, Any], draft: _Draft) -> None:
    for i, item in enumerate(_tables(raw.get("contacts"))):
        label = _label("contact", item, f"contacts[{i}]")
        contact, item = reader.read(schema.Contact, item, label)
        before = len(reader.faults)
        if contact is None:
            pass  # its faults are reported already
        elif contact.label is not None or contact.layer or contact.at is not None:
            given = [key for key in ("label", "at") if getattr(contact, key) is not None]
            if len(given) == 2 or contact.solid is not None:
                given += ["layer"] * (not given) + ["solid"] * (contact.solid is not None)
                reader.faults.append(f"{label}: got {' and '.join(given)}, expected one of them")
            else:
                draft.marks.append(contact)
        elif contact.solid is None or contact.face is None:
            reader.faults += [f"{label}, {key}: missing" for key in ("solid", "face") if getattr(contact, key) is None]
        else:
            draft.contacts.append(Contact(contact.name, contact.solid, contact.face, h=contact.thermal))
        if contact is None or len(reader.faults) > before:
            draft.leave_out("contact", str(item.get("name", "")), label, reader.sound(schema.Contact, item))


def _read_heat_sinks(reader: Reader, raw: Mapping[str, Any], draft: _Draft) -> None:
    for i, item in enumerate(_tables(raw.get("heat_sinks"))):
        label = _label("heat sink", item, f"heat_sinks[{i}]")
        sink, item = reader.read(schema.HeatSink, item, label)
        if sink is None:
            draft.leave_out("heat sink", UNREAD_SINK, label, reader.sound(schema.HeatSink, item))
        else:
            draft.heat_sinks.append(HeatSink(sink.solid, sink.face, sink.name, sink.h))


def _read_interfaces(reader: Reader, raw: Mapping[str, Any], draft: _Draft) -> None:
    for i, item in enumerate(_tables(raw.get("interfaces"))):
        label, before = _label("interface", item, f"interfaces[{i}]"), len(reader.faults)
        part: Any
        part, item = reader.read(schema.Interface, item, label)
        placed = part is not None
        if part is None:  # its faults are reported already; check the valid entries too
            sound = reader.sound(schema.Interface, item)
            placed = {"name", "between"} <= set(sound)
            part, _ = reader.silent().read(schema.Interface, {"name": "", "between": ["", ""]} | sound, "")
        reader.faults += [] if part.card is None else unknown(f"{label}, card", [part.card], interfaces.card_names())
        if len(reader.faults) > before:
            # What the values need beside them may stand under a faulty key.
            read = interfaces.as_values(_entries(part), reader.bath)
            wrong = [fault for fault in read.faults if "needs" not in fault] + interfaces.single_faults(read)
        else:
            read = interfaces.as_values(interfaces.with_card(_entries(part), part.card), reader.bath)
            wrong = list(read.faults)
            wrong += interfaces.single_faults(read) if wrong else interfaces.faults_of(read, part.card)
            uphill = None if wrong else interfaces.thermoelectric_fault(read.at_bath, draft.bath)
            wrong += [uphill] if uphill else []
        reader.faults += [f"{label}, {fault}" for fault in wrong]
        if not placed:
            continue
        # Where it is faulty another one stands for it, so that its name and its place are checked with the others.
        given = {"K": 1.0} if len(reader.faults) > before else read.at_bath
        tables, sources = ({}, {}) if len(reader.faults) > before else (read.tables, read.sources)
        draft.interfaces.append(
            Interface(part.name, part.between, **given, tables=tables, sources=sources, note=part.note)
        )


def _entries(part: Any) -> dict[str, Any]:
    """Return the values of an interface by key, with their sources and tables."""
    keys = (*INTERFACE, *interfaces.CONVERTED)
    entries = {key: value for key in keys if (value := getattr(part, key, None)) is not None}
    return entries | ({} if part.P is None else {"P1": part.P[0], "P2": part.P[1]})


def _read_experiments(reader: Reader, raw: Mapping[str, Any], draft: _Draft) -> None:
    for name, item in table_of(raw.get("experiments")).items():
        if isinstance(item, dict):
            label = f"experiment '{name}'"
            part, item = reader.read(schema.Experiment, item, label)
            if part is None:
                draft.halves.append((label, reader.sound(schema.Experiment, item)))
            else:
                through = None if part.through is None else Through(part.through.what, part.through.between)
                given = part.model_dump(exclude={"temperature", "through", "note"})
                draft.experiments.append(
                    Experiment(name, **given, temperature=tuple(part.temperature), through=through)
                )


def _read_variants(reader: Reader, raw: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what each variant sets, as it stands in the file."""
    out: dict[str, dict[str, Any]] = {}
    for i, item in enumerate(_tables(raw.get("variants"))):
        label = _label("variant", item, f"variants[{i}]")
        part, item = reader.read(schema.Variant, item, label)
        if part is not None and part.name in out:
            reader.faults.append(f"{label}: is there more than once")
        elif isinstance(item.get("set"), dict):  # whose values are checked even where the name is faulty
            out[str(item.get("name", ""))] = item["set"]
    return out


def _read_layout(reader: Reader, raw: Mapping[str, Any], draft: _Draft, folder: Path) -> None:
    """Add solids and contacts of the layout that the file names."""
    if not _read_drawing(reader, raw, draft, folder):
        draft.unread |= {"": "", **{mark.name: "contact" for mark in draft.marks}}


def _read_drawing(reader: Reader, raw: Mapping[str, Any], draft: _Draft, folder: Path) -> bool:
    """Add the solids and contacts of the layout that can be built; return whether these are all its solids."""
    table, known = table_of(raw.get("layout")), table_of(raw.get("materials"))
    if not table:
        reader.faults += [
            f"contact '{mark.name}': has label, layer or at, but there is no [layout]" for mark in draft.marks
        ]
        return False
    part, _ = reader.read(schema.Layout, dict(table), "layout")
    layers = _layers(reader, table, known, judge_all=part is None)
    if part is None:
        return False
    try:
        drawing = gds.read(folder / part.file, part.cell)
    except gds.LayoutError as error:
        reader.faults += [f"layout: {text}" for text in error.faults]
        return False
    draft.drawing = drawing.without(part.ignore)
    if part.window is not None:
        draft.window = Window(part.window.x, part.window.y)
        for axis, (low, high) in zip("xy", (part.window.x, part.window.y), strict=True):
            if not low < high:
                reader.faults.append(
                    f"layout, window, {axis}: got {1e9 * low:g} to {1e9 * high:g} nm, expected low < high"
                )
    if layers is None:
        return False
    films = [Solid("", layer.material, None, ((0.0, 0.0),) * 3) for layer in layers]
    # Their faults are reported with the others.
    _, metal = read_materials(reader.silent(), known, [*draft.solids, *films], draft.bath)
    solids, contacts, faults = layer_stack.build(
        drawing,
        layers,
        draft.solids,
        [Mark(mark.name, mark.label, mark.layer, mark.face, mark.at) for mark in draft.marks],
        window=draft.window,
        ignored=part.ignore,
        metals=[name for name, conducts in metal.items() if conducts is not False],
        spacing=part.grid,
        lengths=draft.lengths(),
    )
    reader.faults += [text if text.startswith("contact") else f"layout: {text}" for text in faults]
    thermal = {mark.name: mark.thermal for mark in draft.marks}
    draft.contacts += [dataclasses.replace(contact, h=thermal[contact.name]) for contact in contacts]
    draft.solids += [
        solid
        if any(end.factors for ends in solid.coordinates.values() for end in ends)
        else dataclasses.replace(solid, coordinates={})
        for solid in solids
    ]
    draft.unplaced = {mark.name for mark in draft.marks} - {contact.name for contact in contacts}
    return all(text.startswith("contact") for text in faults)


def _layers(reader: Reader, raw: Mapping[str, Any], known: Mapping[str, Any], *, judge_all: bool) -> list[Layer] | None:
    """Return the layers of the stack; if one is faulty or `judge_all` is set, check all materials and return None."""
    tables = _tables(raw.get("layers"))
    made = []
    for i, item in enumerate(tables):
        layer, _ = reader.read(schema.Layer, item, f"layout.layers[{i}]")
        if layer is None:
            continue
        if layer.zmin is None and not layer.drape:
            reader.faults.append(
                f"layout.layers[{i}], zmin: missing; give a height, or drape = true for a film that lies on "
                "what is below it"
            )
            continue
        rest = layer.model_dump(exclude={"note", "thickness", "zmin", "layer"})
        made.append(Layer(layer.layer, **rest, thickness=layer.thickness, zmin=layer.zmin))
    if len(made) == len(tables) and not judge_all:
        return made
    allowed = [*known, *(name for name in materials.card_names() if name not in known)]
    for i, item in enumerate(tables):
        if isinstance(item.get("material"), str):
            reader.faults += unknown(f"layout.layers[{i}], material", [item["material"]], allowed)
    return None


def _tables(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _label(what: str, item: Mapping[str, Any], place: str) -> str:
    return f"{what} '{item['name']}'" if isinstance(item.get("name"), str) else place


def shipped_names() -> list[str]:
    """Return the names of the devices that ship with the program."""
    entries = shipped("device", "shipped").iterdir()
    return sorted(entry.name[:-5] for entry in entries if entry.name.endswith(".toml"))


def text_of(path: str | Path) -> tuple[str, str]:
    """Return the text of a device file, or of a device that ships with the program, and its name in messages."""
    name = str(path)
    if name in shipped_names():
        return shipped("device", "shipped", f"{name}.toml").read_text(encoding="utf-8"), f"{name} (shipped)"
    try:
        # Some editors begin a file with a byte order mark.
        return Path(path).read_text(encoding="utf-8-sig"), name
    except FileNotFoundError:
        near = [file.name for file in Path(path).parent.glob("*.toml")] if Path(path).parent.is_dir() else []
        text = nearest(name, shipped_names()) if not Path(path).suffix else nearest(Path(path).name, near)
        what = "no such file, nor a device that ships with thermospin" if not Path(path).suffix else "no such file"
        raise DeviceError([f"{what}; {text}"], name) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not UTF-8 text ({error.reason})"
        raise DeviceError([f"cannot be read: {reason}"], name) from None
