"""Layouts as GDSII: what a device looks like from above, layer by layer."""

from __future__ import annotations

import datetime
import tempfile
from pathlib import Path

from thermospin.device import Device
from thermospin.export import atomic_file
from thermospin.grid import AXES
from thermospin.units import tidy

#: Database unit [m]: coordinates are rounded to it.
PRECISION = 1e-10


def layers(device: Device) -> dict[tuple[str, float, float], int]:
    """Number of the layer of each (material, lower and upper z [m]), in the order of the solids, from 1."""
    kinds = dict.fromkeys((solid.material, *solid.box[2]) for solid in device.solids)
    return {kind: number for number, kind in enumerate(kinds, 1)}


def write(device: Device, path: str | Path) -> list[str]:
    """Writes the solids of a device as rectangles, and its contacts as labels, into a GDSII file.

    Solids of one material between the same heights share a layer. Where solids overlap, later ones of the device
    overwrite earlier ones; the file has both.

    Args:
      device: whose layout.
      path: of the file.
    Returns:
      what each layer is, a line for each.
    """
    import gdstk

    library = gdstk.Library("thermospin", unit=1e-6, precision=PRECISION)
    cell = library.new_cell(device.name)
    numbers = layers(device)
    for solid in device.solids:
        (x0, x1), (y0, y1) = ((tidy(1e6 * low), tidy(1e6 * high)) for low, high in solid.box[:2])
        cell.add(gdstk.rectangle((x0, y0), (x1, y1), layer=numbers[(solid.material, *solid.box[2])]))
    for contact in device.contacts:
        solid = device.solid(contact.solid)
        middle = [1e6 * (low + high) / 2 for low, high in solid.box]
        axis = AXES.index(contact.face[0])
        middle[axis] = 1e6 * solid.box[axis][contact.face[1] == "+"]
        cell.add(gdstk.Label(contact.name, (middle[0], middle[1]), layer=numbers[(solid.material, *solid.box[2])]))
    with tempfile.TemporaryDirectory() as folder, atomic_file(path) as out:
        made = Path(folder) / "layout.gds"
        # A fixed date: the same device is the same file.
        library.write_gds(made, timestamp=datetime.datetime(2000, 1, 1))
        out.write(made.read_bytes())
    return [
        f"layer {number}: {material}, z from {1e9 * low:g} to {1e9 * high:g} nm"
        for (material, low, high), number in numbers.items()
    ]
