"""Layouts: reads GDSII and OASIS files, and writes a device seen from above as a GDSII file."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import math
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from thermospin.base import polygons
from thermospin.base.errors import InputError
from thermospin.base.files import atomic_file
from thermospin.base.units import tidy
from thermospin.device import gds_records
from thermospin.device.device import Device
from thermospin.device.parts import Contact, Solid, indices
from thermospin.geometry.boxes import FreeFace
from thermospin.geometry.outlines import outline_of

#: Database unit of written files [m]; coordinates are rounded to it.
PRECISION = 1e-10

#: Layer and datatype of a shape, or layer and texttype of a label.
LayerNumber = tuple[int, int]
#: Layers and datatypes, such as those of the doses of one film; None stands for all datatypes.
LayerNumbers = tuple[tuple[int, int | None], ...]


class LayoutError(InputError):
    """An invalid layout; the message lists all its faults, one per line."""


@dataclasses.dataclass(frozen=True)
class Label:
    """A text in a layout, with its position [m], and its layer and texttype."""

    text: str
    place: tuple[float, float]
    layer: LayerNumber


@dataclasses.dataclass(frozen=True)
class RoundEnd:
    """The round end of a path, which has no straight edge.

    Attributes:
      place: end of its middle line [m].
      tip: furthest point [m].
    """

    place: tuple[float, float]
    tip: tuple[float, float]

    @property
    def radius(self) -> float:
        """Half the width of the path [m]."""
        return math.dist(self.place, self.tip)


@dataclasses.dataclass(frozen=True, eq=False)
class Drawing:
    """One cell of a layout, including all cells that it refers to.

    Attributes:
      cell: its name.
      shapes: polygons (vertices, 2) [m] of each layer and datatype, not checked; those of paths come last.
      labels: texts, in the order of the file.
      lines: vertices (vertices, 2) [m] of paths without width or length, by layer and datatype.
      round_ends: of paths, by layer and datatype.
      names: of layers, by layer and datatype; only OASIS files have them.
    """

    cell: str
    shapes: dict[LayerNumber, list[np.ndarray]]
    labels: list[Label]
    lines: dict[LayerNumber, list[np.ndarray]]
    round_ends: dict[LayerNumber, list[RoundEnd]] = dataclasses.field(default_factory=dict)
    names: dict[LayerNumber, str] = dataclasses.field(default_factory=dict)

    def on(self, layers: LayerNumbers) -> list[np.ndarray]:
        """Return the polygons on some layers, in the order of their numbers."""
        return [shape for layer in sorted(self.shapes) if is_among(layer, layers) for shape in self.shapes[layer]]

    def without(self, layers: LayerNumbers) -> Drawing:
        """Return the drawing without the polygons and paths on some layers."""

        def kept(groups: dict[LayerNumber, Any]) -> dict[LayerNumber, Any]:
            return {layer: shapes for layer, shapes in groups.items() if not is_among(layer, layers)}

        return dataclasses.replace(self, shapes=kept(self.shapes), lines=kept(self.lines))

    def named_shapes(self) -> dict[str, list[np.ndarray]]:
        """Return the polygons by the name of their layer, such as "3/0" or "3/0 Au"."""
        return {
            f"{layer_name(layer)} {self.names.get(layer, '')}".rstrip(): shapes
            for layer, shapes in sorted(self.shapes.items())
        }

    @property
    def extent(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Extent of all polygons along x and y [m]."""
        ends = np.concatenate([shape for group in self.shapes.values() for shape in group])
        (x0, y0), (x1, y1) = ends.min(axis=0).tolist(), ends.max(axis=0).tolist()
        return (x0, x1), (y0, y1)


def parse_layers(value: Any) -> LayerNumbers:
    """Return the layers that 3, "3/0", "3/*" or a list of these denotes.

    Raises:
      InputError: it denotes none.
    """
    return tuple(_layer(one) for one in (value if isinstance(value, list | tuple) else [value]))


def _layer(value: Any) -> tuple[int, int | None]:
    parts = str(value).split("/") if isinstance(value, int | str) and not isinstance(value, bool) else [""]
    try:
        first, second = parts if len(parts) == 2 else (*parts, "0")
        return int(first), None if second.strip() == "*" else int(second)
    except ValueError:
        raise InputError(
            f'got {value!r}, expected a layer and a datatype, such as "3/0", 3, "3/*", or a list of these'
        ) from None


def layer_name(layer: tuple[int, int | None]) -> str:
    """Return a layer and datatype as text, such as "3/0" or "3/*"."""
    return f"{layer[0]}/{'*' if layer[1] is None else layer[1]}"


def layers_name(layers: LayerNumbers) -> str:
    """Return layers as text, such as "layer 3/0" or "layers 2/0, 2/1"."""
    return f"layer{'s' * (len(layers) > 1)} {', '.join(map(layer_name, layers))}"


def is_among(layer: LayerNumber, layers: LayerNumbers) -> bool:
    """Return whether a layer and datatype is one of some layers."""
    return any(layer[0] == first and second in (None, layer[1]) for first, second in layers)


def read(path: str | Path, cell: str | None = None) -> Drawing:
    """Return a cell of a GDSII or OASIS file.

    Args:
      path: path of the file; one that ends in .oas or .oasis is OASIS, all others are GDSII.
      cell: name of the cell; None: the only top cell.
    Raises:
      LayoutError: the file cannot be read, has no cell of that name or several top cells, or lacks some of its
        shapes; the message names the cell.
    """
    import gdstk

    path = Path(path)
    library = _library(path)
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
    faults = _lost(path, chosen)
    if faults:
        raise LayoutError(faults)
    shapes: dict[LayerNumber, list[np.ndarray]] = {}
    lines: dict[LayerNumber, list[np.ndarray]] = {}
    round_ends: dict[LayerNumber, list[RoundEnd]] = {}
    for polygon in chosen.get_polygons(include_paths=False):
        points = _tidied(polygon.points, size)
        if len(np.unique(points, axis=0)) < len(points):  # a cut joins a hole to the outline
            points = polygons.snapped(points, library.precision)
        shapes.setdefault((polygon.layer, polygon.datatype), []).append(points)
    for line in chosen.get_paths():
        layer = line.layers[0], line.datatypes[0]
        widths: Any = line.widths  # paths from files are all of one type, whose widths need no argument
        spine = _tidied(line.spine(), size)
        spine = spine[np.append(True, np.any(np.diff(spine, axis=0), axis=1))]  # without repeated vertices
        if np.any(np.asarray(widths()) <= 0) or len(spine) == 1:
            lines.setdefault(layer, []).append(spine)
            continue
        if line.ends[0] == "round":
            round_ends.setdefault(layer, []).extend(_round_ends(spine, widths()[:, 0] * size))
        for polygon in line.to_polygons():
            points = _tidied(polygon.points, size)
            # A path that meets itself has an outline that crosses itself; its inside is the union.
            parts = [points] if len(points) <= 4 else polygons.boolean([points], [], "or")
            shapes.setdefault(layer, []).extend(_tidied(part, 1.0) for part in parts)
    labels = [
        Label(
            label.text,
            (tidy(label.origin[0] * size), tidy(label.origin[1] * size)),
            (label.layer, label.texttype),
        )
        for label in chosen.get_labels()
    ]
    # Each layer has a name for its shapes and one for its texts.
    names = {layer: name or text for layer, (name, text) in getattr(library, "layer_names", {}).items()}
    return Drawing(chosen.name, shapes, labels, lines, round_ends, names)


def labelled_cells(path: str | Path) -> list[str]:
    """Return the names of the cells of a layout that have labels."""
    cells: list[Any] = _library(Path(path)).cells
    return [cell.name for cell in cells if getattr(cell, "labels", []) and not cell.name.startswith("$$$")]


def _round_ends(spine: np.ndarray, widths: np.ndarray) -> list[RoundEnd]:
    """Return both ends of a path with this middle line [m] and these widths [m]."""
    found = []
    for end, before, width in ((spine[0], spine[1], widths[0]), (spine[-1], spine[-2], widths[-1])):
        tip = end + (end - before) / np.linalg.norm(end - before) * width / 2
        found.append(RoundEnd((float(end[0]), float(end[1])), (float(tip[0]), float(tip[1]))))
    return found


def _tidied(points: Any, unit: float) -> np.ndarray:
    """Return points in this unit as an array [m] without the round-off of the conversion."""
    return np.array([[tidy(c * unit) for c in point] for point in np.asarray(points).tolist()])


def _library(path: Path) -> Any:
    """Return what gdstk reads from a file, all texts in UTF-8."""
    import gdstk

    if not path.is_file():
        raise LayoutError([f"{path}: no such file"])
    is_oasis = _is_oasis(path)
    try:
        with _quiet(), tempfile.TemporaryDirectory() as folder:
            if is_oasis:
                library = gdstk.read_oas(path)
            else:
                made = Path(folder) / "utf8.gds"
                made.write_bytes(gds_records.in_utf8(path.read_bytes()))
                library = gdstk.read_gds(made)
        cells: list[Any] = library.cells
        _ = [(cell.name, [label.text for label in cell.labels]) for cell in cells]  # raises TypeError here, if at all
        return library
    except (OSError, RuntimeError):
        kind = "OASIS" if is_oasis else "GDSII"
        raise LayoutError(
            [f"{path}: is no {kind} file, or it is cut off; export it again from the layout program"]
        ) from None
    except TypeError:  # from gdstk, for text that is not UTF-8
        raise LayoutError(
            [f"{path}: a label or the name of a cell is not UTF-8 text; rename it, or export the layout as GDSII"]
        ) from None


def _is_oasis(path: Path) -> bool:
    return path.suffix.lower() in (".oas", ".oasis")


def _lost(path: Path, chosen: Any) -> list[str]:
    """Return faults: references to cells that are not in the file, and records that gdstk does not read."""
    cells = [chosen, *chosen.dependencies(True)]
    missing = {(cell.name, each.cell): None for cell in cells for each in cell.references if isinstance(each.cell, str)}
    faults = [
        f"{path}: cell '{cell}' refers to cell '{other}', which is not in the file; export the layout with all cells"
        for cell, other in missing
    ]
    if _is_oasis(path):
        return faults
    names = {cell.name for cell in cells}
    return faults + [
        f"{path}: cell '{cell}' has {count} record{'s' * (count > 1)} of type 0x{kind:02X}, which cannot be "
        "read, so a shape would be lost; export the layout again as polygons"
        for (cell, kind), count in gds_records.unknown(path.read_bytes()).items()
        if cell in names
    ]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what the library prints about a file; the faults report the same problems."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def layers(device: Device) -> dict[tuple[str, float, float], int]:
    """Return the layer number of each (material, lower z, upper z [m]), from 1 in the order of the solids."""
    kinds = dict.fromkeys((solid.material, *solid.box[2]) for solid in device.solids)
    return {kind: number for number, kind in enumerate(kinds, 1)}


def _solid_at(device: Device, contact: Contact, face: FreeFace) -> Solid:
    """Return the piece of a contact's solid that reaches its face."""
    pieces = [device.solids[i] for i in indices(device.solids, contact.solid)]
    return min(pieces, key=lambda solid: polygons.away(outline_of(solid), np.array(face.centre)))


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
    for contact, face in zip(device.contacts, device.contact_faces().values(), strict=True):
        solid = _solid_at(device, contact, face)
        x, y = (tidy(1e6 * coordinate) for coordinate in face.centre)
        cell.add(gdstk.Label(contact.name, (x, y), layer=numbers[(solid.material, *solid.box[2])]))
    with tempfile.TemporaryDirectory() as folder, atomic_file(path) as out:
        made = Path(folder) / "layout.gds"
        # A fixed date, so that the same device gives the same file.
        library.write_gds(made, timestamp=datetime.datetime(2000, 1, 1))
        out.write(made.read_bytes())
    return [
        f"layer {number}: {material}, z from {1e9 * low:g} to {1e9 * high:g} nm"
        for (material, low, high), number in numbers.items()
    ]
