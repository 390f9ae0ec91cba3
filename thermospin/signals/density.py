"""Current densities of nodal fields, for pictures and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from thermospin.base.files import Fields
from thermospin.device.constitution import Constitution, Parameters
from thermospin.device.device import Device


def current_density(
    fields: Fields,
    device: Device,
    owner: np.ndarray,
    signs: Mapping[str, int],
    parameters: Parameters | None = None,
) -> np.ndarray:
    """Return the charge current density in every cell between nodes [A/m^2] (Nx - 1, Ny - 1, Nz - 1, 3).

    J = -(sigma_up (grad V_up + S_up grad T) + sigma_down (grad V_down + S_down grad T)), with the gradients of the
    fields that are trilinear between nodes, at the middle of each cell. NaN in cells without metal and of no size.

    Args:
      fields: node coordinates [m] and nodal fields.
      device: that they are of.
      owner: index of the solid that fills each cell, -1 for none (Nx - 1, Ny - 1, Nz - 1).
      signs: magnets that differ from +1 in the state of the fields, see `Experiment.states`.
      parameters: values by name; those left out are the device's own.
    """
    metals = tuple(device.materials[name].is_metal for name, _ in device.domains)
    law = Constitution(device.domains, metals, device.bath).table({**device.parameters(), **(parameters or {})}, signs)
    column = [device.domains.index((solid.material, solid.magnet)) for solid in device.solids] + [-1]
    of_cell = np.array(column)[owner]
    up, down, up_T, down_T = (np.append(np.asarray(law[key], float), 0.0)[of_cell] for key in ("uu", "dd", "uT", "dT"))
    lines = (fields.x, fields.y, fields.z)
    parts = []
    for axis in range(3):
        V_up, V_down, T = (_slope(values, axis, lines) for values in (fields.V_up, fields.V_down, fields.T))
        parts.append(-(up * V_up + down * V_down + (up_T + down_T) * T))
    J = np.stack(parts, axis=-1)
    J[~np.append(metals, False)[of_cell]] = np.nan
    return J


def _slope(values: np.ndarray, axis: int, lines: Sequence[np.ndarray]) -> np.ndarray:
    """Return the derivative along an axis at the middle of each cell."""
    step = np.diff(np.asarray(lines[axis]))
    rise = np.diff(values, axis=axis) / np.where(step > 0, step, np.nan).reshape(
        [-1 if k == axis else 1 for k in range(3)]
    )
    for other in (k for k in range(3) if k != axis):
        count = rise.shape[other]
        rise = (np.take(rise, range(count - 1), axis=other) + np.take(rise, range(1, count), axis=other)) / 2
    return rise
