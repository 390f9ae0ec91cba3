"""Devices with their data: whatever `fit` takes, read into rows, their correlation and notes."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.linalg import block_diag

from thermospin.base.errors import InputError
from thermospin.data import experiment_file, lockin, rows
from thermospin.data.lockin import Measured
from thermospin.data.rows import Row
from thermospin.data.tables import TABLES
from thermospin.device.device import Device
from thermospin.device.reader import load, parts_of, require_experiments
from thermospin.device.settings import changed, variant


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
    """The contents of the files of a fit.

    Attributes:
      devices: in the order of their files.
      rows: measured signals of all, not in the order of a file: those of each copy of a device are together. Of several
        devices, `Row.device` says whose.
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
    if path.lower().endswith(".toml") or path in experiment_file.shipped():
        measured = lockin.load(path, device)
        return [(device, tuple(measured.rows))], measured
    return rows.load_series(path, device), None


@dataclasses.dataclass(frozen=True)
class _Block:
    """The rows of a file: how many there are, and the sweeps that they come from, None for a table."""

    path: str
    size: int
    measured: Measured | None

    @property
    def amplifier(self) -> str:
        """Name of its amplifier; empty where its gain is exact, or nobody else's."""
        return self.measured.amplifier if self.measured is not None and self.measured.gain_std else ""


def _correlation(blocks: Sequence[_Block], rows: Sequence[Row]) -> np.ndarray | None:
    """Return the correlation of all rows, in which files of one amplifier share its gain; None: independent."""
    if all(block.measured is None for block in blocks):
        return None
    whole = block_diag(*(np.eye(b.size) if b.measured is None else b.measured.correlation for b in blocks))
    of_gain = [b.measured.gain_std if b.measured is not None else 0.0 for b in blocks for _ in range(b.size)]
    shares = np.array([gain * row.value / row.std for gain, row in zip(of_gain, rows, strict=True)])
    names = np.array([block.amplifier for block in blocks for _ in range(block.size)])
    number = np.repeat(np.arange(len(blocks)), [block.size for block in blocks])
    common = (names[:, None] == names) & (names != "") & (number[:, None] != number)
    return np.where(common, shares[:, None] * shares, whole)


def _gain_faults(blocks: Sequence[_Block]) -> list[str]:
    """Refuse one amplifier whose gain is known to different parts."""
    stds: dict[str, dict[float, str]] = {}
    for block in blocks:
        if block.measured is not None and block.amplifier:
            stds.setdefault(block.amplifier, {}).setdefault(block.measured.gain_std, block.path)
    several = {name: [f"{std:g} ({path})" for std, path in known.items()] for name, known in stds.items()}
    return [
        f"amplifier '{name}': got gain_std {' and '.join(texts)}, expected one"
        for name, texts in several.items()
        if len(texts) > 1
    ]


def _gain_notes(blocks: Sequence[_Block]) -> list[str]:
    """Say of which files the gains count as independent, where there are several."""
    alone = [b.path for b in blocks if b.measured is not None and b.measured.gain_std and not b.amplifier]
    if len(alone) < 2:
        return []
    return [f'{", ".join(alone)}: each has a gain of its own; files of one amplifier say so by amplifier = "NAME"']


def _is_setting(text: str) -> bool:
    """Return whether a text among the data is "NAME = VALUE", and not a file such as "I=0.5mA.csv"."""
    return "=" in text and not text.lower().endswith((".toml", *TABLES)) and not os.path.exists(text)


def read_sources(
    sources: Sequence[tuple[str | Path, Sequence[str | Path]]], values: Sequence[str] = (), bath: str | None = None
) -> Inputs:
    """Read every device with its data files.

    Args:
      sources: pairs (device file or shipped name, its data, one file at least); "NAME = VALUE" among the data, unless
        it is the name of a file, is another value of the device than in its file, which makes it one of its own.
      values: texts "NAME = VALUE", other values of the first device than in its file.
      bath: another bath of the first device, such as "77 K".
    Raises:
      InputError: with the faults of all files.
    """
    devices: list[Device] = []
    rows: list[tuple[Device, Row]] = []
    sweeps: list[Measured] = []
    blocks: list[_Block] = []
    faults: list[str] = []
    texts = [(str(name), [str(path) for path in data]) for name, data in sources]
    if not texts:
        faults.append("sources: got none, expected at least one device with its data")
    for number, (name, paths) in enumerate(texts):
        try:
            device = require_experiments(load(name), name)
            if not number:
                device = changed(device, values, bath)
            if settings := [path for path in paths if _is_setting(path)]:
                device = variant(device, settings)
        except InputError as error:
            faults += error.faults
            continue
        copies: dict[str, Device] = {}
        given = [path for path in paths if not _is_setting(path)]
        if not given:
            faults.append(f"'{device.name}': got no data, expected at least one file")
        faults += [
            f"{path}: is there {times} times for '{device.name}', expected once; the same numbers would count twice"
            for path, times in Counter(given).items()
            if times > 1
        ]
        for path in dict.fromkeys(given):
            try:
                series, measured = read_data(path, device)
            except InputError as error:
                faults += error.faults
                continue
            copies |= {copy.name: copy for copy, _ in series}
            rows += [(copy, row) for copy, measured_rows in series for row in measured_rows]
            blocks += [_Block(path, len(found), measured) for _, found in series]
            if measured is not None:
                sweeps.append(measured)
        devices += copies.values()
    faults += _gain_faults(blocks)
    if faults:
        raise InputError(faults)
    repeated = [key for key, times in Counter((copy.name, row) for copy, row in rows).items() if times > 1]
    notes = [note for measured in sweeps for note in measured.notes] + _gain_notes(blocks)
    notes += [
        f"{name}: {row.experiment} {row.signal} is there more than once with the same value and std, which count as "
        "measurements apart"
        for name, row in repeated
    ]
    return Inputs(
        devices=tuple(devices),
        rows=tuple(dataclasses.replace(row, device=copy.name) if len(devices) > 1 else row for copy, row in rows),
        correlation=_correlation(blocks, [row for _, row in rows]),
        notes=tuple(notes),
        sweeps=tuple(sweeps),
        sources=tuple(
            file
            for device, data in texts
            for file in (parts_of(device)[0], *(path for path in data if not _is_setting(path)))
        ),
    )
