"""How far contacts are from magnets, in spin relaxation lengths: a lead that is cut off too early changes signals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from thermospin.base.polygons import TOUCH
from thermospin.device.device import Device
from thermospin.device.parts import Contact
from thermospin.grid import AXES

#: Spin relaxation lengths from a magnet within which the end of a lead is felt: there and back, 2 % of V_s are left.
LEAD = 2.0
#: Cells along the longest side of a device with outlines.
TILES = 100


def short_leads(device: Device) -> list[str]:
    """Return a line on the contacts of normal metals near a magnet; [] if there is none, or no spin part.

    A lead is cut off at its contact: no spin current leaves where a current enters, and V_s is 0 where it leaves. Less
    than `LEAD` relaxation lengths from a magnet, signals depend on that, and R1 on the sign of the current.
    """
    experiments = [each for each in device.experiments.values() if each.has_spin_part]
    driven = {name for each in experiments for name in each.current or ()}
    used = driven | {name for each in experiments for name in each.voltage or ()}
    found = lead_lengths(device) if used else {}
    near = {name: length for name, length in found.items() if name in used and length < LEAD}
    if not near:
        return []
    contacts = ", ".join(f"'{name}' ({length:.1f})" for name, length in near.items())
    sign = ", and R1 on the sign of the current" if driven & set(near) else ""
    return [
        f"Contacts within {LEAD:g} spin relaxation lengths of a magnet, along the metal: {contacts}. There a lead is "
        f"cut off: spin parts depend on how long it is{sign}. Longer leads cure it"
    ]


def lead_lengths(device: Device) -> dict[str, float]:
    """Return how far each contact of a normal metal is from a magnet, in relaxation lengths of the metals on the way.

    Along the axes from middle to middle of the cells of a raster, through normal metals alone; inf where there is no
    such way within `LEAD`. Magnets are the metals with a polarisation.
    """
    lines, owner = device.layout().raster(TILES)
    used = [device.materials[solid.material] for solid in device.solids]
    polarised = np.array([bool(material.values().get("P")) for material in used] + [False])
    decay = np.array([m.values()["lambda_sf"] if m.is_metal and not m.values().get("P") else 0.0 for m in used] + [0.0])
    lengths, number = decay[owner], np.arange(owner.size).reshape(owner.shape)
    halves = [np.diff(line).reshape(np.roll([-1, 1, 1], axis)) / 2 for axis, line in enumerate(lines)]
    metal, magnet = lengths.ravel() > 0, polarised[owner.ravel()]
    start, links = np.full(owner.size, np.inf), []
    for axis in range(3):
        one, other = (np.take(number, np.arange(owner.shape[axis] - 1) + k, axis).ravel() for k in (0, 1))
        half = np.ravel(halves[axis] / np.where(lengths > 0, lengths, 1.0))
        links.append(np.stack([one, other, half[one] + half[other]])[:, metal[one] & metal[other]])
        for first, second in ((one, other), (other, one)):
            beside = first[metal[first] & magnet[second]]
            np.minimum.at(start, beside, half[beside])
    # All ways begin at one more node, the magnets.
    first = np.flatnonzero(start < np.inf)
    links.append(np.stack([np.full(len(first), owner.size), first, start[first]]))
    tail, head, cost = np.concatenate(links, axis=1)
    # Indices of the length that the compiled code of every SciPy takes.
    graph = coo_array((cost, (tail.astype(np.int32), head.astype(np.int32))), shape=[owner.size + 1] * 2).tocsr()
    away = dijkstra(graph, directed=False, indices=owner.size, limit=LEAD)[:-1].reshape(owner.shape)
    found, faces = {}, device.contact_faces()
    for contact in device.contacts:
        at = _at(device, contact, faces[contact.name].position, lines, owner) & (lengths > 0)
        if at.any():
            axis = AXES.index(contact.face[0])
            found[contact.name] = float(np.min((away + halves[axis] / np.where(at, lengths, 1.0))[at]))
    return found


def _at(
    device: Device, contact: Contact, position: float, lines: Sequence[np.ndarray], owner: np.ndarray
) -> np.ndarray:
    """Mark the cells of its solid at a contact, whose face is at a position along its axis [m]."""
    solids = [k for k, solid in enumerate(device.solids) if contact.solid in (solid.name, solid.body)]
    boxes = np.array([device.solids[k].box for k in solids])
    box = np.stack([boxes[..., 0].min(axis=0), boxes[..., 1].max(axis=0)], axis=1)
    axis = AXES.index(contact.face[0])
    box[axis] = position
    if contact.edge is not None:
        box[1 - axis] = contact.edge.low, contact.edge.high
    marked = np.isin(owner, solids)
    for k, line in enumerate(lines):
        touches = (line[:-1] <= box[k, 1] + TOUCH) & (line[1:] >= box[k, 0] - TOUCH)
        marked &= touches.reshape(np.roll([-1, 1, 1], k))
    return marked
