"""Signals with error bars on a grid that is chosen for them: what `thermospin signals` computes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from thermospin.accuracy.adapt import Adapted, adapt
from thermospin.accuracy.error_bars import solved_with_errors
from thermospin.base.names import SignalName
from thermospin.base.shown import Shown
from thermospin.device import provenance
from thermospin.device.device import Device
from thermospin.geometry.grid_rule import choose
from thermospin.model import ORDER, GridOptions, Progress
from thermospin.signals.evaluate import measure
from thermospin.signals.results import Signals

if TYPE_CHECKING:
    from matplotlib.figure import Figure


#: Where nothing is said of the grid: the largest error bar of any signal that is no small rest of what cancels, as a
#: part of it; how much of a signal is unresolved where it is one; and the largest number of unknowns.
TOLERANCE, REST, MOST_UNKNOWNS = 0.02, 0.05, 300_000


@dataclasses.dataclass(frozen=True)
class GridChoice:
    """The choice of the grid.

    Attributes:
      cells: budget of cells, whose places the signals choose; None: no budget.
      tolerance: part of each signal that its error bar may have, for which the signals refine the grid; None: any.
      order: polynomial order; best estimates beyond the grid need 3.
      shards: accelerators that a solve is split over.
    """

    cells: int | None = None
    tolerance: float | None = None
    order: int = ORDER
    shards: int = 1

    def __post_init__(self) -> None:
        GridOptions(self.cells, self.order, self.shards)  # refuses what is no whole number

    @property
    def adapted(self) -> bool:
        """True if the signals choose the grid."""
        return self.cells is not None or self.tolerance is not None


@dataclasses.dataclass(frozen=True)
class Computed(Shown):
    """The signals of a device.

    Attributes:
      signals: of all experiments.
      adapted: the path to the grid, where the signals chose it or refined that of the rule, or where bars are over
        `TOLERANCE` on that of the rule.
      provenance: what is to be known of the values of the device, see `device.provenance`.
    """

    signals: Signals
    adapted: Adapted | None = None
    provenance: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        """True unless a tolerance was asked for and missed."""
        return self.adapted is None or self.adapted.met

    @property
    def notes(self) -> list[str]:
        """The path to the grid, and where values come from, line by line."""
        return [*([] if self.adapted is None else self.adapted.words()), *self.provenance]

    def to_json(self) -> dict[str, Any]:
        """Return the dictionary of the file that `thermospin signals --json` writes."""
        result = self.signals.to_json() if self.adapted is None else self.adapted.to_json()
        return result | {"provenance": list(self.provenance)}

    def words(self) -> list[str]:
        """Return the table of signals and the notes, line by line."""
        return [str(self.signals), *self.notes]

    def plot(self) -> Figure:
        """Draw the signals, see `Signals.plot`."""
        return self.signals.plot()

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame of the signals, see `Signals.to_dataframe`."""
        return self.signals.to_dataframe()


def compute(
    device: Device,
    grid: GridChoice | None = None,
    *,
    harmonics: int = 2,
    errors: bool = True,
    refine: bool = True,
    between: Callable[[Computed], None] | None = None,
    progress: Progress | None = None,
) -> Computed:
    """Compute the signals of all experiments of a device, with error bars, on a grid that is chosen for them.

    Args:
      device: the device.
      grid: how the grid is chosen; None: by the rule at order 3.
      harmonics: highest harmonic, 1 to 4.
      errors: error bars, for which it is solved at lower orders too; always there where the signals choose the grid.
      refine: go on from the grid of the rule where bars are over `TOLERANCE` of signals that are no small rest of what
        cancels, on grids that the signals choose, of up to `MOST_UNKNOWNS`.
      between: callback before each finer grid, for what is returned if that is interrupted.
      progress: callback for messages.
    Raises:
      InputError: faces that no grid of that many cells can have.
      NotConverged: a solve missed its tolerance.
    """
    grid = grid or GridChoice()
    known = tuple(provenance.notes([device]))

    def computed(adapted: Adapted) -> Computed:
        if grid.adapted:
            return Computed(adapted.signals, adapted, known)
        told = len(adapted.path) > 1 or adapted.stopped or adapted.missed or _wide(adapted)
        return Computed(adapted.signals, dataclasses.replace(adapted, met=True) if told else None, known)

    def tell(adapted: Adapted) -> None:
        if between is not None:
            between(computed(adapted))

    if grid.adapted:
        adapted = adapt(
            device,
            cells=grid.cells,
            tolerance=grid.tolerance,
            order=grid.order,
            harmonics=harmonics,
            shards=grid.shards,
            between=tell,
            progress=progress,
        )
        return computed(adapted)
    if refine and errors and grid.order == ORDER and grid.shards == 1:
        adapted = adapt(
            device,
            tolerance=TOLERANCE,
            harmonics=harmonics,
            first=choose(device.features, ORDER),
            rest=REST,
            most=MOST_UNKNOWNS,
            between=tell,
            progress=progress,
        )
        return computed(adapted)
    model = GridOptions(order=grid.order, shards=grid.shards).build(device, progress)
    if errors:
        return Computed(solved_with_errors(model, harmonics=harmonics, progress=progress).signals, provenance=known)
    return Computed(measure(model, harmonics=harmonics, progress=progress), provenance=known)


def _wide(adapted: Adapted) -> bool:
    """Return whether a signal that is a small rest of what cancels has a bar over `TOLERANCE`."""
    signals = adapted.signals
    values = {name: abs(signals.values[name]) for name in SignalName.each(adapted.rests)}
    return any(signals.error(name.experiment, name.signal) > TOLERANCE * value > 0 for name, value in values.items())
