"""What fills the cells between the nodes of fields, and the current density there: for pictures and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.files import Fields
from thermospin.base.names import require_known
from thermospin.device.constitution import Constitution, Parameters
from thermospin.device.device import Device
from thermospin.grid import AXES


def current_density(
    fields: Fields,
    device: Device,
    signs: Mapping[str, int],
    parameters: Parameters | None = None,
) -> np.ndarray:
    """Return the charge current density in every cell between nodes [A/m^2] (Nx - 1, Ny - 1, Nz - 1, 3).

    J = -(sigma_up (grad V_up + S_up grad T) + sigma_down (grad V_down + S_down grad T)), with the gradients of the
    fields that are trilinear between nodes, at the middle of each cell. NaN in cells without metal and of no size.

    Args:
      fields: node coordinates [m] and nodal fields.
      device: that they are of.
      signs: magnets that differ from +1 in the state of the fields, see `Experiment.states`.
      parameters: values by name; those left out are the device's own.
    Raises:
      InputError: the fields are not of this device, see `owners`; a name that does not exist.
    """
    if isinstance(signs, str):
        raise InputError(
            f"signs: got '{signs}', expected the magnets that it reverses, such as "
            "device.experiments[name].states[state]"
        )
    require_known("signs", signs, device.magnets)
    require_known("parameters", parameters or {}, device.numbers())
    owner = owners(device, fields)
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


def owners(device: Device, fields: Fields) -> np.ndarray:
    """Return the solid that fills each cell between the nodes of fields of a device (Nx - 1, Ny - 1, Nz - 1), or -1.

    Raises:
      InputError: the fields are not of this device: a face of a solid has no nodes.
    """
    lines = [np.asarray(line) for line in (fields.x, fields.y, fields.z)]
    for axis, (line, faces) in enumerate(zip(lines, device_faces(device), strict=True)):
        tolerance = 1e-6 * float(line[-1] - line[0])
        off = faces[np.abs(faces[:, None] - line).min(axis=1) > tolerance]
        ends = np.abs(np.array([line[0] - faces[0], line[-1] - faces[-1]])).max() > tolerance
        if len(off) or ends:
            found = f"a face at {AXES[axis]} = {off[0] * 1e9:g} nm" if len(off) else f"other ends along {AXES[axis]}"
            raise InputError(
                f"The fields are not of device '{device.name}', which has {found}: they have nodes from "
                f"{line[0] * 1e9:g} to {line[-1] * 1e9:g} nm, none there. Give the device, the variant and the values "
                "(--set) that they were computed with."
            )
    return _doubled(device.layout().owners([np.unique(line) for line in lines]), lines)


def device_faces(device: Device) -> list[np.ndarray]:
    """Return where solids begin and end along each axis [m]."""
    return [device.features.faces(axis) for axis in range(3)]


def _doubled(owner: np.ndarray, lines: Sequence[np.ndarray]) -> np.ndarray:
    """Return what fills the cells between nodes, given what fills those of places: none between nodes at one place."""
    for axis, line in enumerate(lines):
        wide = np.diff(line) > 0
        spread = np.full((*owner.shape[:axis], len(wide), *owner.shape[axis + 1 :]), -1)
        place: list[slice | np.ndarray] = [slice(None)] * 3
        place[axis] = wide
        spread[tuple(place)] = owner
        owner = spread
    return owner


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
