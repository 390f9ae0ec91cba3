"""Faults of a device: errors in its parts and in how they fit together, one line each."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from thermospin.base import polygons
from thermospin.base.errors import InputError
from thermospin.base.names import unknown
from thermospin.device.experiment_faults import all_solids, experiment_faults, half_faults, through_faults
from thermospin.device.interface_faults import interface_faults, place_faults
from thermospin.device.interfaces import Interface
from thermospin.device.materials import Material
from thermospin.device.parts import Contact, Experiment, HeatSink, Solid, face_of, indices, plan_of
from thermospin.geometry.boxes import FACES, JOINT, Circuit, FreeFace, Plan, box_faults, connection_faults
from thermospin.geometry.dimensions import Dimension
from thermospin.geometry.outlines import names_of
from thermospin.grid import AXES, Grid
from thermospin.quantities import OWN, QUANTITIES

#: A smaller gap between metals is a drawing error [m].
LEAST_GAP = 2e-9
#: A larger solid is no part of a nanodevice on a chip: its lengths are in another unit [m].
LARGEST = 0.1


def bath_fault(bath: float) -> str | None:
    """Return the fault of a bath temperature [K], None if it has none."""
    return None if 0 < bath < float("inf") else f"bath: got {bath:g} K, expected a temperature above 0 K"


def zeta_fault(zeta: float) -> str | None:
    """Return the fault of a factor on the Joule heat, None if it has none."""
    return QUANTITIES["zeta"].fault(zeta)


def dimension_faults(dimensions: Mapping[str, Dimension], solids: Sequence[Solid]) -> list[str]:
    """Return the faults of dimensions, and of the coordinates that use them."""
    faults = []
    for name, dimension in dimensions.items():
        if not name.isidentifier() or name in OWN:
            faults.append(
                f"dimension '{name}': expected a name of letters, digits and _, other than {' and '.join(OWN)}"
            )
        faults += [f"dimension '{name}', {text}" for text in dimension.faults()]
    used: set[str] = set()
    for solid in solids:
        names = {name for corner in solid.corners for end in corner for name, _ in end.factors}
        used |= names
        faults += unknown(f"solid '{solid.name}', polygon", sorted(names), dimensions, "dimension")
        for axis, ends in solid.coordinates.items():
            names = {name for end in ends for name, _ in end.factors}
            used |= names
            faults += unknown(f"solid '{solid.name}', box.{axis}", sorted(names), dimensions, "dimension")
            if names <= set(dimensions):
                values = {name: dimensions[name].value for name in names}
                box = solid.box[AXES.index(axis)]
                if any(
                    abs(end.at(values) - edge) > 1e-9 * abs(edge) + 1e-18 for end, edge in zip(ends, box, strict=True)
                ):
                    faults.append(f"solid '{solid.name}', box.{axis}: its coordinates are not where its box is")
    faults += [
        f"dimension '{name}': no coordinate uses it; use it, or take it out" for name in dimensions if name not in used
    ]
    return faults


def faults(
    solids: Sequence[Solid],
    contacts: Sequence[Contact],
    heat_sinks: Sequence[HeatSink],
    experiments: Sequence[Experiment],
    interfaces: Sequence[Interface],
    metal: Mapping[str, bool | None],
    materials: Mapping[str, Material],
    *,
    unread: Mapping[str, str] = MappingProxyType({}),
    unplaced: Collection[str] = (),
    halves: Sequence[tuple[str, Mapping[str, Any]]] = (),
) -> list[str]:
    """Return all faults in how the parts of a device fit together, one line each.

    Args:
      solids, contacts, heat_sinks, experiments, interfaces: the parts that could be read.
      metal: whether each material conducts charge; None where that is not known.
      materials: those that could be read.
      unread: names of parts that exist but could not be read (a fault reported elsewhere), and of each whether it is a
        "solid", a "contact" or a "heat sink", "" where it may be any; the name "" stands for an unknown one. What
        depends on them is not checked.
      unplaced: names of contacts of a layout that have a fault of their own, reported elsewhere.
      halves: label and valid entries of parts that could not be read, whose other names are checked all the same.
    """
    texts = _repeated_names(solids, contacts, heat_sinks, experiments, interfaces)
    attached: list[Contact | HeatSink] = [*contacts, *heat_sinks]
    texts += [text for item in attached if (text := _bath_fault_of(item))]
    if not solids and not unread:
        texts.append("solids: there is none, expected at least one")
    elif experiments and not unread and all(metal.get(solid.material) is False for solid in solids):
        texts.append(
            "solids: none is of metal, and the equations of charge and spin need one; expected a solid whose material "
            "has sigma > 0, which may have S = 0 where only heat is of interest"
        )
    sound, wrong = _sound_solids(solids, metal)
    texts += wrong
    fits, misnamed = _known_attachments(attached, solids, sound, unread)
    texts += misnamed
    for (solid, side), count in Counter((sink.solid, sink.face) for sink in heat_sinks).items():
        if count > 1:
            texts.append(f"{_label(HeatSink(solid, side))}: given {count} times, expected once")
    good, wrong = experiment_faults(experiments, contacts, heat_sinks, solids, unread, unplaced)
    texts += wrong + half_faults(halves, contacts, heat_sinks, solids, unread, unplaced)
    placed, wrong = interface_faults(interfaces, solids, metal, unread)
    texts += wrong
    if not sound:
        return texts

    conducts = [bool(metal.get(solid.material)) for solid in sound]
    sigma = {name: material.sigma for name, material in materials.items()}
    plan = plan_of(sound, [sigma.get(solid.material, metals) for solid, metals in zip(sound, conducts, strict=True)])
    texts += _plan_faults(plan, sound, conducts)
    faces = _free_faces(plan, sound, fits, metal, {name for each in experiments for name in each.heat})
    texts += faces.faults
    solid_ones = all_solids(unread) and len(sound) == len(solids)
    if solid_ones:
        touching = plan.neighbours()
        texts += through_faults(good, sound, touching, metal)
        texts += place_faults(placed, sound, touching, materials)
    whole = solid_ones and not unread and not unplaced and not misnamed and faces.complete
    if whole and all(metal.get(solid.material) is not None for solid in sound):
        circuits = {f"experiment '{e.name}'": Circuit(e.current, e.voltage) for e in good}
        where = {contact.name: contact.solid for contact in contacts}
        cold = [faces.contacts[contact.name] for contact in contacts if contact.h > 0]
        cold += [face for face, sink in zip(faces.heat_sinks, heat_sinks, strict=True) if sink.h > 0]
        texts += connection_faults(plan, faces.contacts, cold, circuits, where)
    return texts


def require_apart(plan: Plan, grid: Grid) -> None:
    """Refuse a grid on which metals on both sides of a gap have nodes in common, which makes a short circuit.

    Raises:
      InputError: there is such a place.
    """
    crossing = plan.short_circuit(grid) if grid.prisms and grid.cuts else None
    if crossing is not None:
        place, gap, size = crossing
        raise InputError(
            f"metals are {1e9 * gap:.3g} nm apart at {polygons.at(place)}, where cells of {1e9 * size:.3g} nm would "
            "short-circuit them; ask for more cells"
        )


def _repeated_names(
    solids: Sequence[Solid],
    contacts: Sequence[Contact],
    heat_sinks: Sequence[HeatSink],
    experiments: Sequence[Experiment],
    interfaces: Sequence[Interface],
) -> list[str]:
    faults: list[str] = []
    named = [
        ("solid", [solid.name for solid in solids]),
        ("contact", [contact.name for contact in contacts]),
        ("heat sink", [*{sink.label for sink in heat_sinks if not sink.name}, *(s.name for s in heat_sinks if s.name)]),
        ("interface", [interface.name for interface in interfaces]),
        ("experiment", [experiment.name for experiment in experiments]),
    ]
    for what, names in named:
        counts = Counter(names)
        faults += [f"{what} '{name}': the name is used {n} times, expected once" for name, n in counts.items() if n > 1]
    of_contacts = {contact.name for contact in contacts}
    faults += [
        f"heat sink '{sink.label}': a contact has that name too; expected another one, experiments name both"
        for sink in heat_sinks
        if sink.label in of_contacts
    ]
    return faults


def _bath_fault_of(item: Contact | HeatSink) -> str | None:
    """Return the fault of how a contact or a heat sink exchanges heat with the bath."""
    if item.h == math.inf or (item.h == 0 and isinstance(item, Contact)):
        return None
    fault = QUANTITIES["h"].fault(item.h)
    hint = '; thermal = "insulated" exchanges no heat' if isinstance(item, Contact) else ""
    return None if fault is None else f"{_label(item)}, {fault}{hint}"


def _sound_solids(solids: Sequence[Solid], metal: Mapping[str, bool | None]) -> tuple[list[Solid], list[str]]:
    """Return the solids with a valid shape, and the faults of shapes and materials."""
    sound, faults = [], []
    for solid in solids:
        wrong = box_faults(solid.box)
        if solid.outline is not None:
            wrong = [text for text in wrong if text.startswith("box.z")]
            wrong += [f"polygon: {text}" for text in polygons.faults(np.array(solid.outline))]
        size = max(high - low for low, high in solid.box)
        if size > LARGEST:
            wrong.append(f"extent: got {size:g} m, expected {LARGEST:g} m or less; is length_unit right?")
        faults += [f"solid '{solid.name}', {text}" for text in wrong]
        faults += unknown(f"solid '{solid.name}', material", [solid.material], metal)
        if not wrong:
            sound.append(solid)
    return sound, faults


def _known_attachments(
    attached: Sequence[Contact | HeatSink],
    solids: Sequence[Solid],
    sound: Sequence[Solid],
    unread: Mapping[str, str],
) -> tuple[list[Contact | HeatSink], list[str]]:
    """Return contacts and heat sinks on valid solids, and faults for solids and faces that do not exist."""
    has_outlines = any(solid.outline is not None for solid in solids)
    names, known = (names_of(group) if has_outlines else [solid.name for solid in group] for group in (solids, sound))
    names += [name for name, kind in unread.items() if name and kind in ("solid", "")]
    fits, faults = [], []
    for item in attached:
        wrong = [] if unread.get("") in ("solid", "") else unknown(f"{_label(item)}, solid", [item.solid], names)
        if item.face not in FACES:
            wrong.append(f"{_label(item)}, face: got '{item.face}', expected one of: {', '.join(FACES)}")
        faults += wrong
        if not wrong and item.solid in known:
            fits.append(item)
    return fits, faults


def _plan_faults(plan: Plan, solids: Sequence[Solid], metal: Sequence[bool]) -> list[str]:
    """Return faults: solids overwritten completely, metals that nearly touch, and bodies in separate pieces."""
    names = [solid.name for solid in solids]
    faults = [
        f"solid '{names[i]}': nothing is left of it, it is overwritten by {by}; put it after them or take it out"
        for i, by in plan.overwritten().items()
    ]
    misses = plan.near_misses(LEAST_GAP - polygons.TOUCH)
    edges = {(i, j) for i, j, gap, _ in misses if gap == 0}
    if edges:
        # What is left if all metals count as good ones: the others are joined, but poorly.
        edges = {(i, j) for i, j, gap, _ in plan_of(solids, metal).near_misses(LEAST_GAP) if gap == 0}
    for i, j, gap, place in misses:
        wide = f"{1e9 * gap:.3g} nm"
        if i == j:
            what = f"has a slit of {wide}" if gap > 0 else "metal that meets itself in a corner or edge only,"
            ways = "close it, or make it wider" if gap > 0 else "make its halves overlap, or put them apart"
            faults.append(f"solid '{names[i]}': {what} at {polygons.at(place)}; {ways}, {1e9 * LEAST_GAP:g} nm or more")
        else:
            what = "metals that" if metal[i] and metal[j] else "they"
            apart = f"are {wide} apart" if gap > 0 else "meet in a corner or edge only"
            poor = gap == 0 and (i, j) not in edges
            joint = f", what joins them there conducts less than {JOINT:g} of either" if poor else ""
            faults.append(
                f"solids '{names[i]}' and '{names[j]}': {what} {apart} at {polygons.at(place)}{joint}; "
                f"make them overlap, or move them {1e9 * LEAST_GAP:g} nm apart"
            )
    for body, place in plan.torn():
        alike = {solid.material for solid in solids if solid.body == body}
        others = any(solid.body not in ("", body) and solid.material in alike for solid in solids)
        faults.append(
            f"solid '{body}': its pieces do not hang together, one around {polygons.at(place)} is loose; a film "
            "that climbs a step must be thicker than the step is high"
            + '; layers that are doses of one film are one entry, layer = ["2/0", "2/1"]'
            * others
        )
    return faults


@dataclasses.dataclass(frozen=True)
class _FreeFaces:
    """Free faces of contacts and heat sinks.

    Attributes:
      contacts: faces of contacts by name.
      heat_sinks: faces of heat sinks, in their order.
      faults: faults of contacts and heat sinks.
      complete: whether every contact and heat sink has a free face.
    """

    contacts: Mapping[str, FreeFace]
    heat_sinks: Sequence[FreeFace]
    faults: Sequence[str]
    complete: bool


def _free_faces(
    plan: Plan,
    solids: Sequence[Solid],
    attached: Sequence[Contact | HeatSink],
    metal: Mapping[str, bool | None],
    warmed: Collection[str],
) -> _FreeFaces:
    contacts: dict[str, FreeFace] = {}
    heat_sinks: list[FreeFace] = []
    exchanging: list[tuple[Contact | HeatSink, FreeFace]] = []
    faults = []
    complete = True
    for item in attached:
        which = indices(solids, item.solid)
        is_contact = isinstance(item, Contact)
        material = solids[which[0]].material
        if is_contact and metal.get(material) is False:
            faults.append(
                f"{_label(item)}: no metal; '{item.solid}' is of '{material}', which carries heat "
                "only; expected a solid whose material has sigma > 0"
            )
            complete = False
            continue
        face = face_of(plan, solids, item)
        if isinstance(face, str):
            what = "no metal of its own at that face; it" if is_contact else "nothing to hold at that face; it"
            faults.append(f"{_label(item)}: {what} {face}")
            complete = False
            continue
        if isinstance(item, Contact):
            faults += [
                f"{_label(item)}: overlaps contact '{other}', a piece of plane belongs to both; "
                "expected every contact on a face of its own"
                for other, taken in contacts.items()
                if face.overlaps(taken)
            ]
            contacts.setdefault(item.name, face)
        else:
            others = [other for other, taken in exchanging if face.overlaps(taken)]
            faults += [_twice(item, other) for other in others if not _agree(item, other, warmed)]
            heat_sinks.append(face)
        if item.h != 0:
            exchanging.append((item, face))
    return _FreeFaces(contacts, heat_sinks, faults, complete)


def _agree(sink: HeatSink, other: Contact | HeatSink, warmed: Collection[str]) -> bool:
    """Return whether a heat sink may lie on what was before it: both are at the bath, and stay so in all experiments.

    One that is given twice has a fault of its own.
    """
    if isinstance(other, HeatSink) and (sink.solid, sink.face) == (other.solid, other.face):
        return True
    names = {sink.label, other.name if isinstance(other, Contact) else other.label}
    return sink.h == other.h == math.inf and names.isdisjoint(warmed)


def _twice(sink: HeatSink, other: Contact | HeatSink) -> str:
    """Return the fault of a piece of plane that meets the bath by way of a heat sink and of something else."""
    way = 'give the contact thermal = "insulated", or ' if isinstance(other, Contact) else ""
    return (
        f"{_label(sink)}: overlaps {_label(other)}, and a piece of plane exchanges heat with the bath only once; "
        f"{way}take one of the two out"
    )


def _label(item: Contact | HeatSink) -> str:
    if isinstance(item, Contact):
        return f"contact '{item.name}' ({item.face} of '{item.solid}')"
    name = f" '{item.name}'" if item.name else ""
    return f"heat sink{name} ({item.face} of '{item.solid}')"
