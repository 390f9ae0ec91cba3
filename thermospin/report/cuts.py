"""Fields on planes through a device: samples at nodes, in the cells where each field lives, on planes worth a look.

Knows fields and what fills the cells between nodes; no plotly: `scene` draws.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from thermospin.base.files import Fields

#: Names of the fields that are shown.
TEMPERATURE, SPIN, CURRENT = "T", "V_s", "J"
#: Lines along an axis of a plane, if faces leave it at that: where bodies are boxes, and where edges are not on lines.
STRAIGHT, CURVED = 56, 76
#: A spin accumulation below this part of the potentials is round-off: a tenth of the solver's tolerance on them, 1e-9.
ROUND_OFF = 1e-10
#: Lines along an axis at most.
_MOST = 96


@dataclasses.dataclass(frozen=True, eq=False)
class Field:
    """A scalar on the nodes, or in the cells between them.

    Attributes:
      values: at nodes (Nx, Ny, Nz), or in cells (Nx - 1, Ny - 1, Nz - 1).
      live: the cells that it lives in (Nx - 1, Ny - 1, Nz - 1).
    """

    values: np.ndarray
    live: np.ndarray

    @property
    def in_cells(self) -> bool:
        """Tell whether it is constant in each cell."""
        return self.values.shape == self.live.shape


def spin_accumulation(fields: Fields) -> np.ndarray:
    """Return V_s = V_up - V_down at the nodes [V]; 0 where there is metal, if no node has more than round-off."""
    V_s = np.asarray(fields.V_up) - np.asarray(fields.V_down)
    size = max(float(np.max(np.abs(V), initial=0.0, where=np.isfinite(V))) for V in (fields.V_up, fields.V_down))
    none = np.max(np.abs(V_s), initial=0.0, where=np.isfinite(V_s)) <= ROUND_OFF * size
    return np.where(np.isfinite(V_s), 0.0, np.nan) if none else V_s


def shown(fields: Fields, filled: np.ndarray, metal: np.ndarray, density: np.ndarray | None = None) -> dict[str, Field]:
    """Return the fields to show: temperature rise, and where there is metal spin accumulation and current density.

    Args:
      fields: nodal fields.
      filled, metal: cells between nodes that are of a solid, and of one that conducts charge (Nx - 1, Ny - 1, Nz - 1).
      density: of the current in those cells [A/m^2] (Nx - 1, Ny - 1, Nz - 1, 3), or None.
    """
    found = {TEMPERATURE: Field(np.asarray(fields.T), filled)}
    if not metal.any():
        return found
    found[SPIN] = Field(spin_accumulation(fields), metal)
    return found if density is None else found | {CURRENT: Field(np.linalg.norm(density, axis=-1), metal)}


class Cuts:
    """Planes through fields.

    A face of a body is there twice among the lines, with the values of either side, so that bodies end where they end.

    Args:
      fields: for the coordinates of the nodes [m].
      shown: by name.
      faces: positions at which bodies begin and end, by axis [m].
      most: lines along an axis at most, if faces leave room; those between are thinned out.
    """

    def __init__(self, fields: Fields, shown: Mapping[str, Field], faces: Sequence[np.ndarray], most: int = 60) -> None:
        self.shown = shown
        self._nodes = [np.asarray(line) for line in (fields.x, fields.y, fields.z)]
        self._blocks = [_blocks(line, ends) for line, ends in zip(self._nodes, faces, strict=True)]
        self._picked = [_thinned(blocks, most) for blocks in self._blocks]
        #: lines along x, y and z, those of a face twice [m]
        self.lines = [line[np.concatenate(picked)] for line, picked in zip(self._nodes, self._picked, strict=True)]

    def positions(self, axis: int, name: str, most: int) -> np.ndarray:
        """Return positions of planes through a field [m]: one in each block that has it, more where nodes are dense."""
        line = self._nodes[axis]
        along = np.any(self.shown[name].live, axis=tuple(k for k in range(3) if k != axis))
        parts = [block for block in self._blocks[axis] if along[block[0] : block[-1]].any()]
        while len(parts) < most:
            longest = max(range(len(parts)), key=lambda k: len(parts[k]))
            block, half = parts[longest], len(parts[longest]) // 2
            if len(block) < 3:
                break
            parts[longest : longest + 1] = [block[: half + 1], block[half:]]
        kept = np.unique(np.linspace(0, len(parts) - 1, min(most, len(parts))).round().astype(int))
        # To a hundredth of a nanometre, as they are read.
        return np.round([(line[parts[k][0]] + line[parts[k][-1]]) / 2 for k in kept], 11)

    def at(self, axis: int, position: float) -> dict[str, np.ndarray]:
        """Return the fields on a plane (nu, nv) at the lines of the other axes, NaN where one does not live.

        On a face, those above.
        """
        line = self._nodes[axis]
        layer = min(int(np.searchsorted(line, position, side="right")) - 1, len(line) - 2)
        part = (position - line[layer]) / (line[layer + 1] - line[layer])
        return {name: self._values(field, axis, layer, float(part)) for name, field in self.shown.items()}

    def _values(self, field: Field, axis: int, layer: int, part: float) -> np.ndarray:
        u, v = (k for k in range(3) if k != axis)
        live = np.take(field.live, layer, axis=axis)
        if field.in_cells:
            plane = np.where(live, np.take(field.values, layer, axis=axis), np.nan)
        else:
            below, above = (np.take(field.values, layer + side, axis=axis) for side in (0, 1))
            plane = below if part == 0 else above if part == 1 else (1 - part) * below + part * above
        out = np.full((len(self.lines[u]), len(self.lines[v])), np.nan)
        starts = [np.cumsum([0, *map(len, self._picked[k])]) for k in (u, v)]
        for (i, rows), (j, columns) in itertools.product(enumerate(self._picked[u]), enumerate(self._picked[v])):
            inside = live[rows[0] : rows[-1], columns[0] : columns[-1]]
            if not inside.any():
                continue
            at = rows - rows[0], columns - columns[0]
            around = _around(inside.astype(float))[np.ix_(*at)]
            if field.in_cells:
                cells = plane[rows[0] : rows[-1], columns[0] : columns[-1]]
                total = _around(np.where(inside, np.nan_to_num(cells), 0.0))[np.ix_(*at)]
                block = total / np.where(around > 0, around, 1.0)
            else:
                block = plane[np.ix_(rows, columns)]
            place = slice(starts[0][i], starts[0][i + 1]), slice(starts[1][j], starts[1][j + 1])
            out[place] = np.where(around > 0, block, np.nan)
        return out


def _around(cells: np.ndarray) -> np.ndarray:
    """Return the sum over the cells around each node, (nu + 1, nv + 1) for (nu, nv) cells."""
    padded = np.pad(cells, 1)
    return padded[1:, 1:] + padded[1:, :-1] + padded[:-1, 1:] + padded[:-1, :-1]


def _blocks(nodes: np.ndarray, faces: np.ndarray) -> list[np.ndarray]:
    """Return the indices of the nodes from one face to the next; of two at one place, the one on the side of the block.

    Of very many faces the closest ones do not divide blocks.
    """
    while 3 * (len(faces) - 1) > _MOST:
        faces = np.delete(faces, 1 + int(np.argmin(faces[2:] - faces[:-2])))
    tolerance = 1e-6 * float(np.diff(faces).min())
    lasts = np.searchsorted(nodes, faces + tolerance) - 1
    firsts = np.searchsorted(nodes, faces - tolerance)
    return [np.arange(low, high + 1) for low, high in zip(lasts[:-1], firsts[1:], strict=True)]


def _thinned(blocks: Sequence[np.ndarray], most: int) -> list[np.ndarray]:
    """Return blocks with fewer of their inner nodes, to have `most` nodes in all if that many are not ends."""
    inner = sum(len(block) - 2 for block in blocks)
    share = min(1.0, max(0.0, (most - 2 * len(blocks)) / max(inner, 1)))
    thinned = []
    for block in blocks:
        count = 2 + max(int(np.ceil(share * (len(block) - 2))), min(1, len(block) - 2))
        thinned.append(block[np.linspace(0, len(block) - 1, count).round().astype(int)])
    return thinned
