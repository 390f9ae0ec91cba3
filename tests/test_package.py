"""What is packaged: the recipe for conda needs what pyproject.toml says, and the reference lists every public name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import thermospin
from helpers.pages import environment

ROOT = Path(__file__).parent.parent


def test_the_recipe_needs_what_the_project_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    recipe = (ROOT / "scripts" / "conda" / "recipe.yaml").read_text(encoding="utf-8")
    needs = re.findall(r"- (\S+) (>=\S+)", recipe.partition("  run:")[2].partition("tests:")[0])
    assert {name.removesuffix("-base") + bound for name, bound in needs} == {
        *project["dependencies"],
        f"python{project['requires-python']}",
    }
    assert f'version: "{thermospin.__version__}"' in recipe


def test_the_reference_lists_every_public_name_once() -> None:
    listed = re.findall(
        r"^\.\. auto(?:class|function):: thermospin\.(\w+)$", (ROOT / "docs" / "api.md").read_text(), re.M
    )
    assert sorted(listed) == sorted(thermospin.__all__)


def test_programs_are_kept_in_a_folder_alone(tmp_path: Path) -> None:
    path = tmp_path / "valve.toml"
    path.touch()
    words = "valve.toml: cannot keep programs: File exists; expected a folder"
    with pytest.raises(thermospin.FileError, match=words) as caught:
        thermospin.keep_programs(path)
    assert (caught.value.filename, caught.value.strerror) == (str(path), "File exists"), "as the command line tells it"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("thermospin sig", "signals"),
        ("thermospin signals --tol", "--tolerance"),
        ("thermospin check slach", "slachter2010"),
    ],
)
def test_a_shell_completes(typed: str, offered: str, tmp_path: Path) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" ")), "_THERMOSPIN_COMPLETE": "complete_bash"}
    code = "import sys; sys.argv = ['thermospin']; from thermospin.cli.entry import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(tmp_path) | words, cwd=tmp_path, capture_output=True, text=True
    )
    assert offered in done.stdout.split(), (done.stdout, done.stderr, os.name)


def test_completion_offers_files_beside_shipped_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from thermospin.cli.options import complete_device

    monkeypatch.chdir(tmp_path)
    for name in ("slot.toml", "slot.csv", "other.toml"):
        (tmp_path / name).touch()
    (tmp_path / "slides").mkdir()
    assert complete_device("sl") == ["slachter2010", "slachter2010-copper", "slides/", "slot.toml"]
