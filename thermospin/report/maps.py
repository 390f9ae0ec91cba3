"""Maps of an experiment: temperature and spin accumulation in a plane, at a drive of a sensible size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from thermospin.base import units
from thermospin.base.errors import InputError
from thermospin.base.files import Fields
from thermospin.base.kinds import require_finite
from thermospin.base.names import nearest
from thermospin.device.drives import usual_drive
from thermospin.device.parts import DRIVE_UNITS
from thermospin.report.field_figures import spin_map, temperature_map
from thermospin.report.style import literal, styled
from thermospin.signals.evaluate import fields

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from thermospin.device.constitution import Parameters
    from thermospin.device.device import Device
    from thermospin.model import Model, Progress

#: Fields that have a map.
MAPS = {"T": temperature_map, "V_s": spin_map}


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
    asked = model.device.experiment(experiment)
    state = next(iter(asked.states)) if state is None else state
    drive = usual_drive(asked) if drive is None else drive
    height = _usual_height(model.device) if height is None else require_finite("height", height, "m")
    nodal = fields(model, experiment, state, drive, parameters, progress=progress)
    (place := Path(folder)).mkdir(parents=True, exist_ok=True)
    heat, spins = (place / f"{experiment}_{state}_{what}.png" for what in ("temperature", "spin"))
    return (
        temperature_map(nodal, height, drive, heat, model.device, kind=asked.drive),
        spin_map(nodal, height, drive, spins, model.device, kind=asked.drive),
    )


@styled
def plot_map(
    model: Model,
    field: str,
    z: float | str | None,
    *,
    experiment: str | None,
    state: str | None,
    drive: float | None,
    nodal: Fields | None,
    parameters: Parameters | None,
    progress: Progress | None,
) -> Figure:
    """Draw one field of an experiment; see `base.shown.Mapped.plot_map`."""
    if field not in MAPS:
        raise InputError(f"field '{field}' has no map; {nearest(field, MAPS)}")
    asked = model.device.experiment(next(iter(model.device.experiments), "") if experiment is None else experiment)
    if state is not None:
        asked.require_state(state)
    if nodal is not None and drive is None:
        unit = DRIVE_UNITS[asked.drive]
        raise InputError(f"fields: got no drive with them; give the one that they were made at, drive=... [{unit}]")
    height = _usual_height(model.device) if z is None else units.parse(z, "length", key="z")
    drive = usual_drive(asked) if drive is None else require_finite("drive", drive, DRIVE_UNITS[asked.drive])
    if nodal is None:
        state = next(iter(asked.states)) if state is None else state
        nodal = fields(model, asked.name, state, drive, parameters, progress=progress)
    figure = MAPS[field](nodal, height, drive, None, model.device, kind=asked.drive)
    title = ", ".join([f"{model.device.name}: {asked.name}", *([] if state is None else [state])])
    figure.suptitle(literal(title), fontsize=10)
    return figure


def _usual_height(device: Device) -> float:
    """Return the middle of the first magnet, else of the first metal [m]."""
    magnets = [solid for solid in device.solids if solid.magnet is not None]
    metals = [solid for solid in device.solids if device.materials[solid.material].is_metal]
    return sum((magnets or metals)[0].box[2]) / 2
