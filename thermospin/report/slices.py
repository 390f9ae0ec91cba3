"""Nodal fields in a horizontal plane: values, the cells that hold them, where they are large, and fine samples of them.

Knows no matplotlib; `field_figures` draws.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.files import Fields
from thermospin.report.views import Extent, Mosaic


@dataclasses.dataclass(frozen=True)
class Slice:
    """A field in a plane z = constant.

    Attributes:
      x, y: coordinates of the nodes [m].
      values: at the nodes (nx, ny), NaN where the field does not live.
      cells: which cells between nodes are filled (nx - 1, ny - 1).
    """

    x: np.ndarray
    y: np.ndarray
    values: np.ndarray
    cells: np.ndarray

    def interesting(self, share: float) -> Extent:
        """Return where the field exceeds a share of its greatest magnitude, with a margin, not too long and narrow."""
        size = np.where(np.isfinite(self.values), np.abs(self.values), 0.0)
        corner = np.max([size[1:, 1:], size[1:, :-1], size[:-1, 1:], size[:-1, :-1]], axis=0)
        large = self.cells & (corner >= share * np.max(corner[self.cells], initial=0.0))
        if not large.any():
            large = np.ones_like(self.cells)
        sides = []
        for nodes, hit in ((self.x, large.any(axis=1)), (self.y, large.any(axis=0))):
            index = np.nonzero(hit)[0]
            sides.append((float(nodes[index[0]]), float(nodes[index[-1] + 1])))
        longest = max(high - low for low, high in sides)
        extent = []
        for (low, high), nodes in zip(sides, (self.x, self.y), strict=True):
            half = max(0.5 * (high - low) + 0.08 * longest, 0.35 * longest)
            middle = (low + high) / 2
            extent.append((max(middle - half, float(nodes[0])), min(middle + half, float(nodes[-1]))))
        return extent[0], extent[1]

    def within(self, extent: Extent) -> Extent:
        """Return the part of an extent that lies on the grid; InputError if there is none."""
        sides = []
        for name, wanted, nodes in zip("xy", extent, (self.x, self.y), strict=True):
            low, high = max(wanted[0], float(nodes[0])), min(wanted[1], float(nodes[-1]))
            if not low < high:
                raise InputError(
                    f"Extent {name} = ({wanted[0]:g}, {wanted[1]:g}) m misses the grid, which spans "
                    f"({nodes[0]:g}, {nodes[-1]:g}) m; extents are ((x0, x1), (y0, y1)) in metres."
                )
            sides.append((low, high))
        return sides[0], sides[1]

    def samples(self, extent: Extent, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return bilinear samples at the middles of square pixels, `count` on the longer side; NaN outside cells."""
        step = max(high - low for low, high in extent) / count
        middles = []
        for low, high in extent:
            number = max(2, round((high - low) / step))
            middles.append(low + (np.arange(number) + 0.5) * (high - low) / number)
        u, v = middles
        i = np.clip(np.searchsorted(self.x, u) - 1, 0, len(self.x) - 2)
        j = np.clip(np.searchsorted(self.y, v) - 1, 0, len(self.y) - 2)
        s = ((u - self.x[i]) / (self.x[i + 1] - self.x[i]))[:, None]
        t = ((v - self.y[j]) / (self.y[j + 1] - self.y[j]))[None, :]
        at = [[self.values[np.ix_(i + a, j + b)] for b in (0, 1)] for a in (0, 1)]
        image = (1 - s) * ((1 - t) * at[0][0] + t * at[0][1]) + s * ((1 - t) * at[1][0] + t * at[1][1])
        image[~self.cells[np.ix_(i, j)]] = np.nan
        return u, v, image


def slice_at(
    name: str,
    values: np.ndarray,
    fields: Fields,
    z: float,
    solids: Mosaic | None = None,
    kept: np.ndarray | None = None,
) -> Slice:
    """Return a field in the plane z, linear between the two planes of nodes around it.

    Args:
      name: what messages call the field.
      values: at the nodes of `fields` (nx, ny, nz), NaN where it does not live.
      fields: for the coordinates [m].
      z: [m].
      solids: the solids in the plane, which tell a thin void between two bodies from a body.
      kept: whether a solid holds the field, by index, and False at the end.
    Raises:
      InputError: the plane misses the grid or holds nothing; the message says where there is something.
    """
    nodes = fields.z
    tolerance = 1e-9 * (nodes[-1] - nodes[0])
    if not nodes[0] - tolerance <= z <= nodes[-1] + tolerance:
        raise InputError(f"Plane z = {z:g} m misses the grid, which spans ({nodes[0]:g}, {nodes[-1]:g}) m.")
    nearest = int(np.argmin(np.abs(nodes - z)))
    if abs(nodes[nearest] - z) <= tolerance:
        plane = values[:, :, nearest]
    else:
        above = int(np.searchsorted(nodes, z))
        part = (z - nodes[above - 1]) / (nodes[above] - nodes[above - 1])
        plane = (1 - part) * values[:, :, above - 1] + part * values[:, :, above]
    live = np.isfinite(plane)
    cells = live[1:, 1:] & live[1:, :-1] & live[:-1, 1:] & live[:-1, :-1]
    if solids is not None and kept is not None:
        x, y = ((line[1:] + line[:-1]) / 2 for line in (fields.x, fields.y))
        cells &= kept[solids.at(x, y)]
    if not cells.any():
        somewhere = nodes[np.isfinite(values).any(axis=(0, 1))]
        where = f"it lives in ({somewhere[0]:g}, {somewhere[-1]:g}) m" if len(somewhere) else "it is NaN everywhere"
        raise InputError(f"Plane z = {z:g} m holds no {name}; {where}.")
    return Slice(fields.x, fields.y, plane, cells)
