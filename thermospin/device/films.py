"""Solids of a film: slices of a polygon with slanted side walls, in pieces that lie on what is below."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from thermospin.base import polygons
from thermospin.device import sidewalls
from thermospin.device.gds import layers_name
from thermospin.device.parts import Solid
from thermospin.device.site import Layer, Shape, Site, from_left
from thermospin.geometry.borders import bordering
from thermospin.geometry.dimensions import Coordinate
from thermospin.geometry.outlines import Regions, outline_of


@dataclasses.dataclass(frozen=True, eq=False)
class Body:
    """A polygon of a layer with the solids made from it.

    Attributes:
      name: of the body; its pieces are "name/1", "name/2".
      layer: of the stack.
      outline: as drawn, in the window (vertices, 2) [m].
      solids: made from it.
    """

    name: str
    layer: Layer
    outline: np.ndarray
    solids: list[Solid]


class _Slice(NamedTuple):
    """A piece of a film, between two heights.

    Attributes:
      outline: (vertices, 2) [m].
      ends: lower and upper side.
      recess: how far its edges lie inside those of the film as drawn.
      moving: lines that its edges may lie on and that dimensions move.
      clearances: how far other solids stay below its lower side.
    """

    outline: np.ndarray
    ends: tuple[Coordinate, Coordinate]
    recess: Coordinate
    moving: Sequence[sidewalls.MovingEdge]
    clearances: tuple[Coordinate, ...]


def deposit(name: str, shape: Shape, layer: Layer, below: Sequence[Solid], site: Site) -> tuple[Body, list[str]]:
    """Return the body that a polygon of a layer becomes on the solids below, and its faults."""
    slices, faults = _slices(name, shape, layer, below, site)
    # Of the slices of a slanted film the widest has grid lines, and those on other metals: `lined`. Edges of a draped
    # film over the others need none.
    drawn = Solid("", "", None, ((0, 0),) * 3, outline=_vertices(shape.part))
    x, y = (tuple(end for solid in (drawn, *below) for end in solid.straight_edges(axis)) for axis in range(2))
    recesses = [each.recess.at(site.lengths) for each in slices]
    solids = []
    for k, (each, recess) in enumerate(zip(slices, recesses, strict=True), 1):
        solid = dataclasses.replace(
            prism(f"{name}/{k}" if len(slices) > 1 else name, each.outline, each.ends, layer, name, name),
            on_lines=(x, y) if not layer.sidewall_angle else None if recess == min(recesses) else ((), ()),
            corners=sidewalls.corners(each.outline, each.moving, site.lengths) if each.moving else (),
            recess=recess,
            lean=each.recess if layer.thickness.factors else None,
            clearances=each.clearances,
        )
        solids.append(solid.moved(site.lengths))
    return Body(name, layer, shape.part, solids), faults


def _slices(
    name: str, shape: Shape, layer: Layer, below: Sequence[Solid], site: Site
) -> tuple[list[_Slice], list[str]]:
    """Return the pieces of a film from its bottom to its top, and faults."""
    count = layer.slices if layer.sidewall_angle else 1
    lean = math.tan(math.radians(layer.sidewall_angle))
    resting_on = [edge for solid in below for edge in sidewalls.of_solid(solid)] if layer.drape else []
    slices: list[_Slice] = []
    faults: list[str] = []
    for k in range(count):
        low, high = k / count * layer.thickness, (k + 1) / count * layer.thickness
        recess = lean * (k + 0.5) / count * layer.thickness
        moving = resting_on
        if layer.thickness.factors:
            moving = [*sidewalls.shrinking(shape.whole, recess, site.lengths), *resting_on]
        outlines = _shrunk(shape, recess.at(site.lengths), site)
        if not outlines:
            faults.append(f"'{name}': its side walls meet before its top; at {polygons.at(shape.whole.mean(axis=0))}")
        for piece, base in (each for outline in outlines for each in _bases(outline, layer, below)):
            if base is None:
                faults.append(
                    f"'{name}' on {layers_name(layer.layers)}: nothing lies below it at "
                    f"{polygons.at(piece.mean(axis=0))}; give the layer zmin, or a solid under it"
                )
            else:
                clearances = _clearances(piece, base, below) if layer.drape else ()
                slices.append(_Slice(piece, (base + low, base + high), recess, moving, clearances))
    return slices, faults


def _shrunk(shape: Shape, by: float, site: Site) -> list[np.ndarray]:
    """Return a polygon with its edges moved inwards [m], in the window."""
    if not by:
        return [shape.part]
    outlines = polygons.offset(shape.whole, -by)
    if shape.part is not shape.whole:  # the whole polygon shrinks: at the rim of the window its slices stay upright
        near = [shape.part] if by > 0 else polygons.offset(shape.part, -by)
        outlines = polygons.boolean(outlines, near, "and")
    return site.clipped(outlines)


def prism(
    name: str, outline: np.ndarray, ends: tuple[Coordinate, Coordinate], layer: Layer, body: str, magnet: str
) -> Solid:
    """Return a piece of a film as a solid.

    Args:
      name: of the solid.
      outline: seen from above (vertices, 2) [m].
      ends: lower and upper side; its box has no heights until it is moved to them.
      layer: of the stack.
      body: name of the body that it is a piece of.
      magnet: name of the magnet, if the layer has magnets.
    """
    (x0, y0), (x1, y1) = outline.min(axis=0).tolist(), outline.max(axis=0).tolist()
    return Solid(
        name,
        layer.material,
        magnet if layer.magnet else None,
        ((x0, x1), (y0, y1), (0.0, 0.0)),
        {"x": layers_name(layer.layers), "y": layers_name(layer.layers)},
        coordinates={"z": ends},
        outline=_vertices(outline),
        body=body,
    )


def _vertices(outline: np.ndarray) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in outline)


def lined(bodies: Sequence[Body], ground: Sequence[Solid], site: Site) -> list[Body]:
    """Return the bodies with grid lines on the edges of the slices that touch another metal.

    A cell over several slices would hold both metals, which would conduct in it in parallel.

    Args:
      bodies: of all films.
      ground: solids that exist before the first layer.
      site: which materials are metals.
    """
    solids = [*ground, *(solid for body in bodies for solid in body.solids)]
    kinds = [(solid.material, solid.magnet) for solid in solids]
    conducting = [site.is_metal(solid.material) for solid in solids]
    found = bordering(Regions(solids, conducting), [kinds.index(kind) for kind in kinds], conducting)
    names = {solids[i].name for i in found if solids[i].recess}
    return [
        dataclasses.replace(
            body,
            solids=[dataclasses.replace(s, on_lines=None) if s.name in names else s for s in body.solids],
        )
        for body in bodies
    ]


def _bases(shape: np.ndarray, layer: Layer, below: Sequence[Solid]) -> list[tuple[np.ndarray, Coordinate | None]]:
    """Return the pieces of a polygon and the height at which each lies."""
    if not layer.drape:
        return [(shape, layer.zmin)]
    rest = [shape]
    out: list[tuple[np.ndarray, Coordinate | None]] = []
    # The highest solid first: the film on it does not reach the solids below.
    for solid in sorted(below, key=lambda solid: -solid.box[2][1]):
        under = [outline_of(solid)]
        if not rest or not _may_meet(shape, under[0]):
            continue
        resting = polygons.boolean(rest, under, "and")
        if resting:
            out += [(piece, _top(solid)) for piece in resting]
            rest = polygons.boolean(rest, under, "not")
    out += [(piece, layer.zmin) for piece in rest]
    return _merged(out)


def _merged(pieces: Sequence[tuple[np.ndarray, Coordinate | None]]) -> list[tuple[np.ndarray, Coordinate | None]]:
    """Join touching pieces at the same height; at each height they come from the left."""
    out: list[tuple[np.ndarray, Coordinate | None]] = []
    for base in dict.fromkeys(base for _, base in pieces):
        at_height = [piece for piece, height in pieces if height == base]
        joined = at_height if len(at_height) == 1 else polygons.boolean(at_height, [], "or")
        out += [(piece, base) for piece in sorted(joined, key=from_left)]
    return out


def _clearances(piece: np.ndarray, base: Coordinate, below: Sequence[Solid]) -> tuple[Coordinate, ...]:
    """Return how far the other solids under a piece of a film stay below its lower side, where dimensions decide."""
    out = []
    for solid in below:
        clearance = base - _top(solid)
        if not clearance.factors or not _may_meet(piece, under := outline_of(solid)):
            continue
        if polygons.boolean([piece], [under], "and"):
            out.append(clearance)
    return tuple(dict.fromkeys(out))


def _top(solid: Solid) -> Coordinate:
    return solid.coordinates["z"][1] if "z" in solid.coordinates else Coordinate(solid.box[2][1])


def _may_meet(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.all(one.min(axis=0) < other.max(axis=0)) and np.all(other.min(axis=0) < one.max(axis=0)))
