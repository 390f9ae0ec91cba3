"""The pages of docs: their files are read and their commands run, as written, a folder for each page.

A line before a block says what it is: `<!-- file: NAME -->` and `<!-- adds to: NAME -->` of files, `<!-- shell -->` and
`<!-- python -->` of what is run, with `, slow` where that takes more than a few seconds. Blocks of `text` are output,
or lines `<!-- of: NAME -->`, of a file that is there. Blocks of `<!-- python, one session -->` run one after the other
in one process, as the cells of a notebook do.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import gdstk
import pytest
import typer
from typer.testing import CliRunner

from helpers import lab_files, pages
from helpers.pages import environment
from thermospin.base import files
from thermospin.cli.app import app
from thermospin.data.sources import read_data
from thermospin.device.reader import load

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
#: What python blocks of a page begin with.
PRELUDE = """
import jax

jax.config.update("jax_enable_x64", True)
import thermospin as ts

device = ts.load("valve.toml")
model = ts.build(device, cells=100, order=1)
"""


class Block(NamedTuple):
    """A code block: what the line before it says, its language and its text."""

    mark: str
    kind: str
    text: str

    def commands(self) -> list[list[str]]:
        """The words of each command but the first, which is thermospin."""
        lines = self.text.replace("\\\n", " ").splitlines()
        assert all(line.startswith("thermospin ") for line in lines), lines
        return [shlex.split(line)[1:] for line in lines]


def blocks(page: str) -> list[Block]:
    pattern = re.compile(r"(?:^<!-- ([^\n]*) -->\n)?^```(\w+)\n(.*?)^```$", re.M | re.S)
    return [Block(*(part or "" for part in found)) for found in pattern.findall((DOCS / page).read_text("utf-8"))]


def valve(folder: Path) -> None:
    """The device of the first page, to which others refer."""
    (folder / "valve.toml").write_text(pages.block("file: valve.toml", pages.START), encoding="utf-8")


def layout(folder: Path) -> None:
    """A drawing of the layers and labels that the page names."""
    cell = gdstk.Cell("VALVE")
    cell.add(gdstk.rectangle((-0.3, -0.2), (-0.2, 0.2), layer=1), gdstk.rectangle((-0.3, -0.05), (0.2, 0.05), layer=2))
    cell.add(gdstk.rectangle((0.2, -0.05), (0.5, 0.05), layer=2, datatype=1))
    cell.add(gdstk.rectangle((-0.29, 0.1), (-0.21, 0.15), layer=20), gdstk.Label("V+", (0.45, 0.0), layer=2))
    library = gdstk.Library()
    library.add(cell)
    library.write_gds(folder / "valve.gds")


def lab(folder: Path) -> None:
    """Sweeps as the page has them: the shipped ones, the electrical ones at one current that no column says."""
    texts = {}
    for name in ("thermal", "electrical"):
        shipped = files.shipped("data", "shipped", f"slachter2010-sweeps.{name}.csv").read_text(encoding="utf-8")
        texts[name] = [line.split(",") for line in shipped.splitlines()]
    header, *lines = texts["electrical"]
    texts["electrical"] = [[cells[0], *cells[2:]] for cells in [header, *(line for line in lines if line[1] == "0.5")]]
    for name, table in texts.items():
        (folder / f"{name}.csv").write_text("".join(f"{','.join(cells)}\n" for cells in table), encoding="utf-8")


def programs(folder: Path) -> None:
    """Files of lab programs, in which the page shows lines."""
    for name in ("qtlab", "labone", "ppms", "lvm", "pymeasure", "nlsv-magsweep", "named", "workbook"):
        lab_files.WRITERS[name](folder)


GIVEN: dict[str, tuple[Callable[[Path], None], ...]] = {
    "design.md": (valve,), "errors.md": (valve,), "fitting.md": (valve, lab), "formats.md": (valve, programs),
    "layouts.md": (layout,), "parallel.md": (valve,), "speed.md": (valve,), "temperature.md": (valve,),
    "views.md": (valve,),
}  # fmt: skip


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a page, with its files."""
    page = request.getfixturevalue("page")
    for make in GIVEN.get(page, ()):
        make(tmp_path)
    for block in blocks(page):
        if block.kind in ("toml", "csv"):
            how, name = re.fullmatch("(file|adds to): (.*)", block.mark).groups()  # type: ignore[union-attr]
            before = (tmp_path / name).read_text("utf-8") if how == "adds to" else ""
            (tmp_path / name).write_text(before + block.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_block_says_what_it_is() -> None:
    marks = {"toml": "file: |adds to: ", "csv": "file: |adds to: ", "sh": "shell", "python": "python", "text": "of: |$"}
    for page in PAGES:
        for block in blocks(page):
            assert re.match(marks[block.kind], block.mark), (page, block)


@pytest.mark.parametrize("page", PAGES)
def test_files_are_read_and_commands_understood(page: str, folder: Path) -> None:
    known = typer.main.get_command(app)
    for block in blocks(page):
        if block.kind == "sh":
            for name, *options in block.commands():
                command = known.commands[name]  # type: ignore[attr-defined]
                command.make_context(name, list(options))
                if "slow" not in block.mark:
                    result = CliRunner().invoke(app, [name, *options])
                    assert result.exit_code == 0, (name, options, result.output)
        elif block.kind == "toml" and "[[sweeps]]" not in block.text:
            load(block.mark.partition(": ")[2])
        elif block.kind == "csv" and "experiment" in block.text:
            read_data(block.mark.partition(": ")[2], load("valve.toml"))
        elif block.kind == "python":
            compile(block.text, page, "exec")
        elif block.mark.startswith("of: "):
            there = [line.rstrip() for line in (folder / block.mark.removeprefix("of: ")).read_text().splitlines()]
            assert set(block.text.splitlines()) <= set(there), block


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_slow_commands_run(page: str, folder: Path) -> None:
    for block in blocks(page):
        runs = []
        if block.kind == "sh" and "slow" in block.mark:
            runs = [["-m", "thermospin", *words] for words in block.commands()]
        elif block.mark == "python":
            runs = [["-c", PRELUDE + block.text]]
        for words in runs:
            done = subprocess.run(
                [sys.executable, *words], cwd=folder, env=environment(folder), capture_output=True, text=True
            )
            assert done.returncode == 0, (words, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["notebooks.md"])
def test_sessions_run(page: str, folder: Path) -> None:
    cells = [block.text for block in blocks(page) if block.mark == "python, one session"]
    assert cells
    done = subprocess.run(
        [sys.executable, "-c", "".join(cells)], cwd=folder, env=environment(folder), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
