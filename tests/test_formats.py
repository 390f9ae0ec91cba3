"""Files of lab programs: each gives the numbers it was made from; each fault is told with file, line and advice."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers import lab_files
from helpers.pages import block
from thermospin.data import lockin
from thermospin.device.device import Device
from thermospin.device.reader import load


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Device:
    path = tmp_path_factory.mktemp("device") / "valve.toml"
    path.write_text(block("file: valve.toml"), encoding="utf-8")
    return load(path)


def made(folder: Path, name: str, *changes: tuple[str, str]) -> Path:
    """Files of a format, and the experiment file that reads them, with changes."""
    text = lab_files.WRITERS[name](folder)
    for old, new in changes:
        assert old in text, (old, text)
        text = text.replace(old, new)
    (folder / "sweeps.toml").write_text(text, encoding="utf-8")
    return folder / "sweeps.toml"


@pytest.mark.parametrize("name", [name for name in lab_files.WRITERS if name != "plain"])
def test_each_format_gives_the_numbers_it_was_made_from(device: Device, tmp_path: Path, name: str) -> None:
    """Within five standard deviations of the truth, and the very numbers of the plain table: same points, same fit."""
    measured = lockin.load(made(tmp_path, name), device)
    for row in measured.rows:
        assert abs(row.value - lab_files.TRUTH[row.signal]) < 5 * row.std, row
        assert row.std < 0.02 * abs(row.value), row
    assert {row.signal for row in measured.rows} == set(lab_files.TRUTH)
    (tmp_path / "usual").mkdir()
    usual = lockin.load(made(tmp_path / "usual", "plain"), device)
    # The same sum of squares, from numbers of twelve digits. Where each direction stands alone, the point at which the
    # field turns counts to the other one of the two, and files of one harmonic know less of where it switches.
    apart = name in ("nlsv-magsweep", "commas")
    for row, other in zip(measured.rows, usual.rows, strict=True):
        assert row.value == pytest.approx(other.value, rel=1e-6, abs=other.std if apart else 0), row
