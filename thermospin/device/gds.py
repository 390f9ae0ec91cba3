"""Layouts: reads GDSII and OASIS files, and writes a device seen from above as a GDSII file."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from thermospin.base import polygons
from thermospin.base.errors import InputError
from thermospin.base.files import atomic_file
from thermospin.base.units import tidy
from thermospin.device.device import Device
from thermospin.geometry.outlines import outline_of
from thermospin.grid import AXES

#: Database unit of written files [m]; coordinates are rounded to it.
PRECISION = 1e-10

#: Layer and datatype of a shape, or layer and texttype of a label.
LayerNumber = tuple[int, int]


class LayoutError(InputError):
    """An invalid layout; the message lists all its faults, one per line."""


@dataclasses.dataclass(frozen=True)
class Label:
    """A text in a layout, with its position [m], and its layer and texttype."""

    text: str
    place: tuple[float, float]
    layer: LayerNumber


@dataclasses.dataclass(frozen=True, eq=False)
class Drawing:
    """One cell of a layout, including all cells that it refers to.

    Attributes:
      cell: its name.
      shapes: polygons (vertices, 2) [m] of each layer and datatype, in the order of the file.
      labels: texts, in the order of the file.
    """

    cell: str
    shapes: dict[LayerNumber, list[np.ndarray]]
    labels: list[Label]

    @property
    def extent(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Extent of all polygons along x and y [m]."""
        ends = np.concatenate([shape for group in self.shapes.values() for shape in group])
        (x0, y0), (x1, y1) = ends.min(axis=0).tolist(), ends.max(axis=0).tolist()
        return (x0, x1), (y0, y1)


def layer_name(layer: LayerNumber) -> str:
    """Return a layer and datatype as text, such as "3/0"."""
    return f"{layer[0]}/{layer[1]}"


def read(path: str | Path, cell: str | None = None) -> Drawing:
    """Return a cell of a GDSII or OASIS file.

    Args:
      path: path of the file; one that ends in .oas or .oasis is OASIS, all others are GDSII.
      cell: name of the cell; None: the only top cell.
    Raises:
      LayoutError: the file cannot be read, has no cell of that name or several top cells, or has invalid shapes;
        the message names them and gives their positions.
    """
    import gdstk

    path = Path(path)
    if not path.is_file():
        raise LayoutError([f"{path}: no such file"])
    try:
        with _quiet():
            library = (gdstk.read_oas if path.suffix.lower() in (".oas", ".oasis") else gdstk.read_gds)(path)
    except (OSError, RuntimeError):
        kind = "OASIS" if path.suffix.lower() in (".oas", ".oasis") else "GDSII"
        raise LayoutError(
            [f"{path}: is no {kind} file, or it is cut off; export it again from the layout program"]
        ) from None
    # Layout programs store their own data in extra cells, such as $$$CONTEXT_INFO$$$.
    cells = {
        cell.name: cell for cell in library.cells if isinstance(cell, gdstk.Cell) and not cell.name.startswith("$$$")
    }
    tops = [cell.name for cell in library.top_level() if cell.name in cells]
    if cell is None and len(tops) != 1:
        why = (
            "there is no cell with anything in it"
            if not tops
            else f"there are {len(tops)} top cells: {', '.join(tops)}"
        )
        raise LayoutError([f"{path}: {why}" + ("; say which with cell = " + f'"{tops[0]}"' if tops else "")])
    if cell is not None and cell not in cells:
        raise LayoutError([f"{path}: there is no cell '{cell}'; it has {', '.join(cells) or 'none'}"])
    chosen = cells[tops[0] if cell is None else cell]
    size = library.unit
    faults: list[str] = []
    for line in chosen.get_paths():
        widths: Any = line.widths  # paths from files are all of one type, whose widths need no argument
        if np.any(np.asarray(widths()) <= 0):
            start = np.asarray(line.spine())[0] * size
            kind = layer_name((line.layers[0], line.datatypes[0]))
            faults.append(
                f"{path}: path on layer {kind} from {polygons.at(start)}: an open path without width has no inside; "
                "give it a width, or draw a polygon"
            )
    shapes: dict[LayerNumber, list[np.ndarray]] = {}
    for polygon in chosen.get_polygons():
        points = np.array([[tidy(c * size) for c in point] for point in np.asarray(polygon.points).tolist()])
        if len(points) < 3:
            continue  # a path without width, reported above
        group = shapes.setdefault((polygon.layer, polygon.datatype), [])
        where = f"{path}: polygon {len(group)} on layer {layer_name((polygon.layer, polygon.datatype))}"
        faults += [f"{where}, around {polygons.at(points.mean(axis=0))}: {text}" for text in polygons.faults(points)]
        group.append(points)
    if faults:
        raise LayoutError(faults)
    labels = [
        Label(
            label.text,
            (tidy(label.origin[0] * size), tidy(label.origin[1] * size)),
            (label.layer, label.texttype),
        )
        for label in chosen.get_labels()
    ]
    return Drawing(chosen.name, shapes, labels)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what the library prints about a file; the faults report the same problems."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def layers(device: Device) -> dict[tuple[str, float, float], int]:
    """Return the layer number of each (material, lower z, upper z [m]), from 1 in the order of the solids."""
    kinds = dict.fromkeys((solid.material, *solid.box[2]) for solid in device.solids)
    return {kind: number for number, kind in enumerate(kinds, 1)}


def write(device: Device, path: str | Path) -> list[str]:
    """Write the solids of a device as polygons, and its contacts as labels, into a GDSII file.

    Solids of one material between the same heights share a layer. Where solids overlap, later ones overwrite earlier
    ones in the device; the file contains both.

    Args:
      device: the device to write.
      path: path of the file.
    Returns:
      a line for each layer: its number, material and heights.
    """
    import gdstk

    library = gdstk.Library("thermospin", unit=1e-6, precision=PRECISION)
    cell = library.new_cell(device.name)
    numbers = layers(device)
    for solid in device.solids:
        points = [(tidy(1e6 * x), tidy(1e6 * y)) for x, y in outline_of(solid).tolist()]
        cell.add(gdstk.Polygon(points, layer=numbers[(solid.material, *solid.box[2])]))
    for contact in device.contacts:
        solid = device.solid(contact.solid)
        middle = [1e6 * (low + high) / 2 for low, high in solid.box]
        axis = AXES.index(contact.face[0])
        middle[axis] = 1e6 * solid.box[axis][contact.face[1] == "+"]
        cell.add(gdstk.Label(contact.name, (middle[0], middle[1]), layer=numbers[(solid.material, *solid.box[2])]))
    with tempfile.TemporaryDirectory() as folder, atomic_file(path) as out:
        made = Path(folder) / "layout.gds"
        # A fixed date, so that the same device gives the same file.
        library.write_gds(made, timestamp=datetime.datetime(2000, 1, 1))
        out.write(made.read_bytes())
    return [
        f"layer {number}: {material}, z from {1e9 * low:g} to {1e9 * high:g} nm"
        for (material, low, high), number in numbers.items()
    ]
