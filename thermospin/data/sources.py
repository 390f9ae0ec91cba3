"""Devices with their data: whatever `fit` takes, read into rows, their correlation and notes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.linalg import block_diag

from thermospin.base.errors import InputError
from thermospin.data import experiment_file, lockin, rows
from thermospin.data.lockin import Measured
from thermospin.data.rows import Row
from thermospin.device.device import Device
from thermospin.device.reader import load
from thermospin.device.settings import changed, variant


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The contents of the files of a fit.

    Attributes:
      devices: in the order of their files.
      rows: measured signals of all; of several devices, `Row.device` says whose.
      correlation: of the rows; None: independent.
      notes: what the reduction of sweeps has to tell.
      sweeps: the sweeps that rows come from.
      sources: names of all files.
    """

    devices: tuple[Device, ...]
    rows: tuple[Row, ...]
    correlation: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    sweeps: tuple[Measured, ...] = ()
    sources: tuple[str, ...] = ()


def read_data(path: str, device: Device) -> tuple[tuple[Row, ...], Measured | None]:
    """Read rows of a CSV file, an experiment file with lock-in sweeps (TOML), or shipped data of that name.

    Returns:
      the rows, and the reduced sweeps that they come from, None for a table.
    Raises:
      DataError: with all faults of the file.
    """
    if path.endswith(".toml") or path in experiment_file.shipped():
        measured = lockin.load(path, device)
        return tuple(measured.rows), measured
    return rows.load(path, device), None


def read_sources(sources: Sequence[tuple[str | Path, Sequence[str]]], values: Sequence[str] = ()) -> Inputs:
    """Read every device with its data files.

    Args:
      sources: pairs (device file or shipped name, its data); "NAME = VALUE" among the data is another value of the
        device than in its file, which makes it one of its own.
      values: texts "NAME = VALUE", other values of the first device than in its file.
    Raises:
      InputError: with the faults of all files.
    """
    devices: list[Device] = []
    rows: list[Row] = []
    sweeps: list[Measured] = []
    blocks: list[tuple[int, np.ndarray | None]] = []
    faults: list[str] = []
    for name, paths in sources:
        try:
            device = require_experiments(load(name), str(name))
            if not devices:
                device = changed(device, values)
            if settings := [path for path in paths if "=" in path]:
                device = variant(device, settings)
        except InputError as error:
            faults += error.faults
            continue
        devices.append(device)
        for path in (path for path in paths if "=" not in path):
            try:
                measured_rows, measured = read_data(path, device)
            except InputError as error:
                faults += error.faults
                continue
            several = len(sources) > 1
            rows += [dataclasses.replace(row, device=device.name) if several else row for row in measured_rows]
            blocks.append((len(measured_rows), None if measured is None else measured.correlation))
            if measured is not None:
                sweeps.append(measured)
    if faults:
        raise InputError(faults)
    correlation = None
    if any(block is not None for _, block in blocks):
        correlation = block_diag(*(np.eye(size) if block is None else block for size, block in blocks))
    return Inputs(
        devices=tuple(devices),
        rows=tuple(rows),
        correlation=correlation,
        notes=tuple(note for measured in sweeps for note in measured.notes),
        sweeps=tuple(sweeps),
        sources=tuple(str(part) for device, data in sources for part in (device, *data)),
    )


def require_experiments(device: Device, source: str) -> Device:
    """Return the device, or raise `InputError` if it has no experiment; `source` is what the message calls it."""
    if not device.experiments:
        raise InputError(f"{source}: experiments: there is none, so there is no signal to compute")
    return device
