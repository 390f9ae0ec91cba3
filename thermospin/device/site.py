"""A layout as it is fabricated: a drawing, a stack of layers, and the window that is simulated."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from thermospin.base import polygons
from thermospin.base.graphs import components
from thermospin.device.gds import Drawing, LayerNumber, LayerNumbers
from thermospin.device.marks import Window
from thermospin.geometry.dimensions import Coordinate


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer of a stack.

    Attributes:
      layers: layers and datatypes in the drawing, such as those of its doses.
      material: name of its material.
      thickness: thickness [m].
      zmin: height of its lower side [m]; for a draped layer, only where nothing lies below it; None: not given.
      drape: whether it lies on the solids below it, at the height that they have at each place.
      magnet: whether each of its polygons is a separate magnet, with the name of the polygon.
      sidewall_angle: angle of its edges to the vertical [degrees]; if above 0, it is narrower at the top.
      slices: number of upright prisms that approximate slanted edges.
      name: base name of its polygons; "": the name of the material.
    """

    layers: LayerNumbers
    material: str
    thickness: Coordinate
    zmin: Coordinate | None = None
    drape: bool = False
    magnet: bool = False
    sidewall_angle: float = 0.0
    slices: int = 3
    name: str = ""


class Shape(NamedTuple):
    """A polygon of a layer, joined from all that touch (vertices, 2) [m].

    Attributes:
      part: one piece of it in the window.
      whole: all of it.
    """

    part: np.ndarray
    whole: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Site:
    """What is fabricated, and which part of it is simulated.

    Attributes:
      whole: the drawing.
      stack: layers in the order of fabrication; later ones overwrite earlier ones.
      window: parts of the drawing outside it are cut away; None: no window.
      metals: materials that a contact may be on; None: all.
      lengths: values of the dimensions in heights and thicknesses [m].
    """

    whole: Drawing
    stack: Sequence[Layer]
    window: Window | None
    metals: Sequence[str] | None
    lengths: Mapping[str, float]

    @functools.cached_property
    def drawing(self) -> Drawing:
        """The drawing without shapes that do not reach into the window."""
        if self.window is None:
            return self.whole
        low, high = np.array([self.window.x, self.window.y]).T

        def inside(groups: Mapping[LayerNumber, list[np.ndarray]]) -> dict[LayerNumber, list[np.ndarray]]:
            kept = {
                layer: [s for s in shapes if np.all(s.min(axis=0) < high) and np.all(s.max(axis=0) > low)]
                for layer, shapes in groups.items()
            }
            return {layer: shapes for layer, shapes in kept.items() if shapes}

        return dataclasses.replace(self.whole, shapes=inside(self.whole.shapes), lines=inside(self.whole.lines))

    def is_metal(self, material: str) -> bool:
        """Return whether a contact may be on a material."""
        return self.metals is None or material in self.metals

    def shapes(self, layer: Layer) -> list[Shape]:
        """Return the polygons of a layer, from the left: not in the order of the file or of a union."""
        wholes = _joined(self.drawing.on(layer.layers))
        shapes = [Shape(part, whole) for whole in wholes for part in self.clipped([whole])]
        return sorted(shapes, key=lambda shape: from_left(shape.part))

    def clipped(self, outlines: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the parts of polygons in the window (vertices, 2) [m]."""
        if self.window is None:
            return list(outlines)
        frame = polygons.rectangle(self.window.x, self.window.y)
        out: list[np.ndarray] = []
        for outline in outlines:
            inside = (outline >= frame[0] - polygons.TOUCH).all() and (outline <= frame[2] + polygons.TOUCH).all()
            # What a cut to a hole had joined would come apart along that cut.
            out += [outline] if inside else _joined(polygons.boolean([outline], [frame], "and"))
        return out


def from_left(shape: np.ndarray) -> tuple[float, float]:
    """Return the lower left end of a polygon, rounded, by which pieces are put in order [m]."""
    x, y = np.round(shape.min(axis=0), 12).tolist()
    return x, y


def _joined(shapes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Join the touching polygons of one layer; a polygon that touches no other is not changed."""
    number = components(len(shapes), polygons.close(shapes))
    out: list[np.ndarray] = []
    for k in range(int(number.max(initial=-1)) + 1):
        group = np.flatnonzero(number == k).tolist()
        out += [shapes[group[0]]] if len(group) == 1 else polygons.boolean([shapes[i] for i in group], [], "or")
    return out
