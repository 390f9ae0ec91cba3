"""How far contacts are from where magnets meet normal metals, in spin relaxation lengths.

A lead that is cut off too early changes signals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from thermospin.base.polygons import TOUCH
from thermospin.device.device import Device
from thermospin.device.parts import Contact
from thermospin.grid import AXES

#: Spin relaxation lengths from there within which the end of a lead is felt: there and back, 2 % of V_s are left. On a
#: magnet, where one way counts, it is twice as far.
LEAD = 2.0
#: Cells along the longest side of a device with outlines.
TILES = 100


def short_leads(device: Device) -> list[str]:
    """Return a line on the contacts near where magnets meet normal metals; [] if there is none, or no spin part.

    A lead is cut off at its contact: no spin current leaves where a current enters, and V_s is 0 where it leaves. Less
    than `LEAD` relaxation lengths away, signals depend on that, and R1 on the sign of the current. A contact on a
    magnet feeds in a current that is not polarised, or reads a potential that V_s is part of: spins count on one way.
    """
    experiments = [each for each in device.experiments.values() if each.has_spin_part]
    driven = {name for each in experiments for name in each.current or ()}
    used = driven | {name for each in experiments for name in each.voltage or ()}
    found = lead_lengths(device) if used else {}
    magnets = {name for name, material in device.materials.items() if material.values().get("P")}
    on = {each.name for each in device.contacts if device.solid(each.solid).material in magnets}
    limits = {name: 2 * LEAD if name in on else LEAD for name in found}
    near = {name: length for name, length in found.items() if name in used and length < limits[name]}
    if not near:
        return []
    contacts = ", ".join(f"'{name}' ({length:.1f})" for name, length in near.items())
    sign = ", and R1 on the sign of the current" if driven & set(near) else ""
    return [
        f"Contacts within {LEAD:g} spin relaxation lengths of where a magnet meets a normal metal, {2 * LEAD:g} on the "
        f"magnet, along the metal: {contacts}. There a lead is cut off: spin parts depend on how long it is{sign}. "
        "Longer leads cure it"
    ]


def lead_lengths(device: Device) -> dict[str, float]:
    """Return how far each contact is from where a magnet meets a normal metal, in relaxation lengths on the way.

    Along the axes from middle to middle of the cells of a raster, through normal metals alone or, for a contact on a
    magnet, through magnets alone; inf where there is no such way within twice `LEAD`. Magnets are the metals with a
    polarisation; one behind a tunnel barrier is not seen from the normal metal, see `_hidden`.
    """
    lines, owner = device.layout().raster(TILES)
    used = [device.materials[solid.material] for solid in device.solids]
    polarised = np.array([bool(material.values().get("P")) for material in used] + [False])
    decay = np.array([material.values()["lambda_sf"] if material.is_metal else 0.0 for material in used] + [0.0])
    lengths, number = decay[owner], np.arange(owner.size).reshape(owner.shape)
    halves = [np.diff(line).reshape(np.roll([-1, 1, 1], axis)) / 2 for axis, line in enumerate(lines)]
    flat, hidden = owner.ravel(), _hidden(device, polarised)
    metal, magnet = lengths.ravel() > 0, polarised[flat]
    start, links = np.full(owner.size, np.inf), []
    for axis in range(3):
        one, other = (np.take(number, np.arange(owner.shape[axis] - 1) + k, axis).ravel() for k in (0, 1))
        half = np.ravel(halves[axis] / np.where(lengths > 0, lengths, 1.0))
        joined, alike = metal[one] & metal[other], magnet[one] == magnet[other]
        links.append(np.stack([one, other, half[one] + half[other]])[:, joined & alike])
        for first, second in ((one, other), (other, one)):
            beside = first[joined & ~alike & ~hidden[flat[first], flat[second]]]
            np.minimum.at(start, beside, half[beside])
    # All ways begin at one more node, the borders of magnets.
    begin = np.flatnonzero(start < np.inf)
    links.append(np.stack([np.full(len(begin), owner.size), begin, start[begin]]))
    tail, head, cost = np.concatenate(links, axis=1)
    # Indices of the length that the compiled code of every SciPy takes.
    graph = coo_array((cost, (tail.astype(np.int32), head.astype(np.int32))), shape=[owner.size + 1] * 2).tocsr()
    away = dijkstra(graph, directed=False, indices=owner.size, limit=2 * LEAD)[:-1].reshape(owner.shape)
    found, faces = {}, device.contact_faces()
    for contact in device.contacts:
        at = _at(device, contact, faces[contact.name].position, lines, owner) & (lengths > 0)
        if at.any():
            axis = AXES.index(contact.face[0])
            found[contact.name] = float(np.min((away + halves[axis] / np.where(at, lengths, 1.0))[at]))
    return found


def _hidden(device: Device, polarised: np.ndarray) -> np.ndarray:
    """Mark pairs of solids, a magnet and a normal metal, whose interface hides what is behind it in the magnet.

    Spins see R_F* + r*, with R_F* = lambda_sf/(sigma (1 - P^2)) of the magnet and r* = RA/(1 - gamma^2): where
    R_F*/r* < exp(-2 `LEAD`) the magnet matters less than a lead at the limit.
    """
    marked = np.zeros([len(device.solids) + 1] * 2, bool)
    for pair in device.layout().neighbours():
        met = device.interface_between(*pair)
        face = {} if met is None else device.interfaces[met[0]].values()
        for one, other in (pair, pair[::-1]):
            if polarised[one] and not polarised[other] and "RA" in face:
                F = device.materials[device.solids[one].material]
                R_F, r = F.lambda_sf / (F.sigma * (1 - F.P**2)), face["RA"] / (1 - face.get("gamma", 0.0) ** 2)
                marked[one, other] = R_F < math.exp(-2 * LEAD) * r
    return marked


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
