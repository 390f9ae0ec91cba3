"""A field vector as arrays over the tensor grid of nodes, with both values where a field jumps."""

from __future__ import annotations

import math

import numpy as np

from thermospin import operators
from thermospin.base.arrays import AnyArray
from thermospin.geometry.node_copies import CORNERS
from thermospin.model import Model
from thermospin.signals.results import NodalFields


def nodal_fields(model: Model, u: AnyArray) -> NodalFields:
    """Return V_up and V_down [V] and T [K] on the tensor grid, NaN where a field does not live.

    A plane in which a field jumps anywhere is there twice, and has the values on either side.

    Args:
      model: whose unknowns they are.
      u: field vector (unknowns,).
    """
    disc, split = model.disc, model.placement.split
    counts = tuple(len(nodes) for nodes in model.grid.nodes)
    times = [np.ones(count, int) for count in counts]  # that each coordinate is there
    if split is not None:
        doubled, around = np.unravel_index(split.octants[0], counts), split.octants[1]
        for axis in range(3):
            low, high = (np.take(around, side, axis=axis + 1) for side in (0, 1))
            jumps = np.any((low != high) & (low >= 0) & (high >= 0), axis=(1, 2))
            times[axis][doubled[axis][jumps]] = 2
    fields = []
    for part in operators.split(disc, u):
        of_node = np.full(len(model.placement.nodes), np.nan)
        of_node[disc.number_T[: len(part)]] = np.asarray(part)
        values = of_node[: math.prod(counts)].reshape(counts)
        for axis in range(3):
            values = np.repeat(values, times[axis], axis=axis)
        if split is not None:
            for number, corner in enumerate(CORNERS):
                node = around.reshape(-1, 8)[:, number]
                kept = node >= 0
                where = [
                    np.cumsum(count)[at[kept]] - (1 if side else count[at[kept]])
                    for side, at, count in zip(corner, doubled, times, strict=True)
                ]
                values[tuple(where)] = of_node[node[kept]]
        fields.append(values)
    return NodalFields(*map(np.repeat, model.grid.nodes, times), *fields)
