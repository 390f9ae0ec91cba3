"""Reading of materials in device files: their own entries over those of cards."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from thermospin.base.names import unknown
from thermospin.device import materials, schema
from thermospin.device.parts import Solid
from thermospin.device.tables import Reader, table_of
from thermospin.device.temperature import read_entries
from thermospin.quantities import MATERIAL


def read_materials(
    reader: Reader,
    raw: Mapping[str, Any],
    solids: Iterable[Solid],
    bath: float,
    halves: Iterable[tuple[str, Mapping[str, Any]]] = (),
) -> tuple[dict[str, materials.Material], dict[str, bool | None]]:
    """Return the materials of the file and of the cards that its solids name, and whether each conducts charge.

    Args:
      reader: of the file, which collects faults.
      raw: the tables of materials, as they stand in the file.
      solids: of the device, as far as they could be read.
      bath: bath temperature [K].
      halves: label and valid entries of each part that could not be read, and may name a material.
    """
    made: dict[str, materials.Material] = {}
    metal: dict[str, bool | None] = {}
    used = dict.fromkeys(solid.material for solid in solids)
    for name in dict.fromkeys([*raw, *used]):
        if name in raw or name in materials.card_names():
            material, metal[name] = _read_material(reader, name, table_of(raw.get(name, {})), bath)
            if material is not None:
                made[name] = material
    known = {name: metal.get(name) for name in dict.fromkeys([*metal, *raw])}
    allowed = [*known, *(name for name in materials.card_names() if name not in known)]
    named = [(f"solid '{solid.name}'", solid.material) for solid in solids]
    named += [(label, str(entries.get("material", ""))) for label, entries in halves]
    for label, choice in named:
        if choice:
            # Reported here, with the cards to choose from; for the geometry its conductivity is unknown.
            reader.faults += unknown(f"{label}, material", [choice], allowed)
    known |= {name: None for name in used if name not in known}
    return made, known


def _read_material(
    reader: Reader, name: str, raw: dict[str, Any], bath: float
) -> tuple[materials.Material | None, bool | None]:
    """Return a material, None if it is faulty, and whether it conducts charge, None if that is not known."""
    label = f"material '{name}'"
    part, table = reader.read(schema.Material, raw, label)
    card = table.get("card", name)
    has_card = isinstance(card, str) and card in materials.card_names()
    faulty = part is None
    if isinstance(table.get("card"), str) and not has_card:
        reader.faults += unknown(f"{label}, card", [str(card)], materials.card_names())
        faulty = True
    entries: dict[str, Any] = dict(materials.card(card)) if has_card else {}
    if part is None:  # its faults are reported already; check the valid values too
        sound = reader.sound(schema.Material, table)
        entries = {key: value for key, value in entries.items() if key in sound or key not in table}
        part, _ = reader.silent().read(schema.Material, sound, "")
    entries |= {key: value for key in (*MATERIAL, "note") if (value := getattr(part, key, None))}
    values, tables, wrong = read_entries(entries, MATERIAL, reader.bath)
    conducts = values.get("sigma", 0.0) != 0 if not faulty or "sigma" in values else None
    wrong += materials.value_faults({key: value for key, value in values.items() if key not in tables})
    wrong += materials.table_faults(tables)
    given = {key: values.get(key, math.nan) for key in MATERIAL if key in entries}
    is_metal = has_card and "lambda_sf" in entries
    if is_metal and "sigma" not in entries:
        conducts = None
    missing = None if faulty else materials.missing_fault(given, metal=is_metal)
    if missing:
        hint = materials.card_hint(card) if has_card else f"; no card is called '{name}'"
        wrong.append(missing + hint)
    if not wrong and not faulty:
        uphill = materials.thermoelectric_fault(values, bath)
        wrong += [uphill] if uphill else []
    reader.faults += [f"{label}, {fault}" for fault in wrong]
    return (None if wrong or faulty else materials.build(name, entries, bath=reader.bath)), conducts
