"""Multigrid of potentials and of temperature apart, from the graphs of their low-order scheme; set-up on the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from thermospin.linear import coarsening

#: From this ratio of conductivities on the preconditioner works in double precision.
LARGE_CONTRAST = 1e5


@dataclasses.dataclass(frozen=True, eq=False)
class Preconditioner:
    """The multigrid of a device: potentials and temperature apart, for some values of its parameters."""

    potentials: coarsening.Hierarchy
    heat: coarsening.Hierarchy


def prepare(
    graphs: tuple[coarsening.Graph, coarsening.Graph],
    positions: Sequence[np.ndarray],
    earlier: Preconditioner | None = None,
    contrasts: tuple[float, float] = (1.0, 1.0),
) -> Preconditioner:
    """Build the multigrid for a law.

    Args:
      graphs: of the potentials and of the temperature, see `solve.low_order_graphs`.
      positions: of the grid lines along each axis [m].
      earlier: for another law on the same grid: the same nodes leave again, so that nothing is recompiled, unless the
        contrasts ask for another precision.
      contrasts: largest over smallest conductivity, for charge and for heat.
    """
    plans = (None, None) if earlier is None else (earlier.potentials.plan, earlier.heat.plan)
    precisions = (np.float32 if contrast < LARGE_CONTRAST else np.float64 for contrast in contrasts)
    return Preconditioner(
        *(
            coarsening.build(graph, positions, plan, precision)
            for graph, plan, precision in zip(graphs, plans, precisions, strict=True)
        )
    )
