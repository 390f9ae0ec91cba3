"""Size and rough cost of computing the signals of a device, before the problem is built and without JAX."""

from __future__ import annotations

import dataclasses

from thermospin.device.device import Device
from thermospin.grid import Grid

#: Rough values: time of a solve with its error bars per unknown on two cores, and of imports and compilation [s]
#: (`signals` the first time: 7.6 s for 59,940 unknowns, 26 for 359,589, on a slow day); and peak memory on the
#: shipped device (1.07 GB for 288,497 unknowns, 1.85 GB for 1,018,663), compiler included [B].
SECONDS_PER_UNKNOWN = 5e-6
SECONDS_TO_COMPILE = 6.5
BYTES_AT_REST = 700 * 2**20
BYTES_PER_UNKNOWN = 1100


@dataclasses.dataclass(frozen=True)
class Cost:
    """Size and rough cost of computing the signals of a device.

    Attributes:
      order: polynomial order.
      cells, unknowns: size of the discrete problem.
      memory: peak memory [B].
      seconds: time on two cores, compilation included, on this grid alone [s].
    """

    order: int
    cells: int
    unknowns: int
    memory: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"Cost at order {self.order}: {self.cells:,} cells, {self.unknowns:,} unknowns, about "
            f"{self.memory / 2**20:,.0f} MiB, about {self.seconds:.0f} s for the signals the first time, on two cores; "
            "more where they refine the grid"
        )


def cost(device: Device, grid: Grid) -> Cost:
    """Estimate the cost of computing the signals of a device on a grid, without building the problem."""
    unknowns = grid.unknowns([device.materials[material].is_metal for material, _ in device.domains])
    solves = 2 * sum(len(experiment.states) for experiment in device.experiments.values())
    memory = BYTES_AT_REST + unknowns * BYTES_PER_UNKNOWN
    seconds = SECONDS_TO_COMPILE + solves * unknowns * SECONDS_PER_UNKNOWN
    return Cost(grid.order, grid.cells, unknowns, memory, seconds)
