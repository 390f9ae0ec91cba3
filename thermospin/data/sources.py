"""Devices with their data: whatever `fit` takes, read into rows, their correlation and notes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.linalg import block_diag

from thermospin.base.errors import InputError
from thermospin.data import experiment_file, lockin, rows
from thermospin.data.lockin import Measured
from thermospin.data.rows import Row
from thermospin.device.device import Device
from thermospin.device.reader import load, parts_of, require_experiments
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


def read_data(path: str, device: Device) -> tuple[rows.Series, Measured | None]:
    """Read rows of a CSV file, an experiment file with lock-in sweeps (TOML), or shipped data of that name.

    Returns:
      the rows of each copy of the device, and the reduced sweeps that they come from, None for a table.
    Raises:
      DataError: with all faults of the file.
    """
    if path.endswith(".toml") or path in experiment_file.shipped():
        measured = lockin.load(path, device)
        return [(device, tuple(measured.rows))], measured
    return rows.load_series(path, device), None


def _is_setting(text: str) -> bool:
    """Return whether a text among the data is "NAME = VALUE", and not a file such as "I=0.5mA.csv"."""
    return "=" in text and not text.lower().endswith((".csv", ".toml")) and not os.path.exists(text)


def read_sources(
    sources: Sequence[tuple[str | Path, Sequence[str]]], values: Sequence[str] = (), bath: str | None = None
) -> Inputs:
    """Read every device with its data files.

    Args:
      sources: pairs (device file or shipped name, its data); "NAME = VALUE" among the data, unless it is the name of a
        file, is another value of the device than in its file, which makes it one of its own.
      values: texts "NAME = VALUE", other values of the first device than in its file.
      bath: another bath of the first device, such as "77 K".
    Raises:
      InputError: with the faults of all files.
    """
    devices: list[Device] = []
    rows: list[tuple[Device, Row]] = []
    sweeps: list[Measured] = []
    blocks: list[tuple[int, np.ndarray | None]] = []
    faults: list[str] = []
    for number, (name, paths) in enumerate(sources):
        try:
            device = require_experiments(load(name), str(name))
            if not number:
                device = changed(device, values, bath)
            if settings := [path for path in paths if _is_setting(path)]:
                device = variant(device, settings)
        except InputError as error:
            faults += error.faults
            continue
        copies: dict[str, Device] = {}
        for path in (path for path in paths if not _is_setting(path)):
            try:
                series, measured = read_data(path, device)
            except InputError as error:
                faults += error.faults
                continue
            copies |= {copy.name: copy for copy, _ in series}
            rows += [(copy, row) for copy, measured_rows in series for row in measured_rows]
            blocks += [(len(found), None if measured is None else measured.correlation) for _, found in series]
            if measured is not None:
                sweeps.append(measured)
        devices += copies.values()
    if faults:
        raise InputError(faults)
    correlation = None
    if any(block is not None for _, block in blocks):
        correlation = block_diag(*(np.eye(size) if block is None else block for size, block in blocks))
    return Inputs(
        devices=tuple(devices),
        rows=tuple(dataclasses.replace(row, device=copy.name) if len(devices) > 1 else row for copy, row in rows),
        correlation=correlation,
        notes=tuple(note for measured in sweeps for note in measured.notes),
        sweeps=tuple(sweeps),
        sources=tuple(
            file
            for device, data in sources
            for file in (parts_of(device)[0], *(path for path in data if not _is_setting(path)))
        ),
    )
