"""Maps of an experiment: temperature and spin accumulation in a plane, at a drive of a sensible size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from thermospin.base.errors import InputError
from thermospin.base.names import nearest
from thermospin.device.drives import usual_drive
from thermospin.report.field_figures import spin_map, temperature_map
from thermospin.signals.evaluate import fields

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from thermospin.device.constitution import Parameters
    from thermospin.device.device import Device
    from thermospin.model import Model, Progress


def maps(
    model: Model,
    experiment: str,
    folder: str | Path,
    *,
    state: str | None = None,
    height: float | None = None,
    drive: float | None = None,
    parameters: Parameters | None = None,
    progress: Progress | None = None,
) -> tuple[Figure, Figure]:
    """Draw temperature rise and spin accumulation of an experiment: EXPERIMENT_STATE_temperature.png and _spin.png.

    Args:
      model: from `model.build`.
      experiment: its name.
      folder: that the pictures are written to; it is made where it is missing.
      state: magnetic state; None: the first one.
      height: of the plane [m]; None: the middle of the first magnet, else of the first metal.
      drive: its size [A, K or W]; None: 1 mA, or what the device file gives in `heat` or `power`.
      parameters: values by name; those left out are the device's own.
      progress: callback for messages.
    Raises:
      InputError: no such experiment or state, or nothing to be seen at that height.
      NotConverged: a solve missed its tolerance.
    """
    experiments = model.device.experiments
    if experiment not in experiments:
        raise InputError(f"experiment '{experiment}' does not exist; {nearest(experiment, experiments)}")
    asked = experiments[experiment]
    state = next(iter(asked.states)) if state is None else state
    drive = usual_drive(asked) if drive is None else drive
    height = _usual_height(model.device) if height is None else height
    nodal = fields(model, experiment, state, drive, parameters, progress=progress)
    (place := Path(folder)).mkdir(parents=True, exist_ok=True)
    heat, spins = (place / f"{experiment}_{state}_{what}.png" for what in ("temperature", "spin"))
    return (
        temperature_map(nodal, height, drive, heat, model.device, kind=asked.drive),
        spin_map(nodal, height, drive, spins, model.device, kind=asked.drive),
    )


def _usual_height(device: Device) -> float:
    """Return the middle of the first magnet, else of the first metal [m]."""
    magnets = [solid for solid in device.solids if solid.magnet is not None]
    metals = [solid for solid in device.solids if device.materials[solid.material].is_metal]
    return sum((magnets or metals)[0].box[2]) / 2
