"""The README: its code runs, and what it promises is what the program writes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.pages import START, block, environment


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("readme")
    (path / "valve.toml").write_text(block("file: valve.toml", START), encoding="utf-8")
    for line in block("shell: writes mine.toml").splitlines():
        command = [sys.executable, "-m", "thermospin", *line.split()[1:]]
        done = subprocess.run(command, cwd=path, env=environment(path), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return path


def test_the_commands_of_the_readme_run(folder: Path) -> None:
    written = json.loads((folder / "mine.json").read_text(encoding="utf-8"))
    signal, error = (written[key]["thermal"]["R2"]["spin"] for key in ("experiments", "errors"))
    assert 0 < error < 0.05 * abs(signal)
    assert (folder / "mine.png").stat().st_size > 10_000


@pytest.mark.slow  # the same of a layered bar is in test_adapt.py
def test_a_tolerance_is_met(folder: Path) -> None:
    command = "signals valve.toml --tolerance 2% --json valve.json"
    assert f"thermospin {command}" in START.read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "thermospin", *command.split()],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    written = json.loads((folder / "valve.json").read_text(encoding="utf-8"))
    for harmonic, parts in written["errors"]["nonlocal"].items():
        for part in ("baseline", "spin"):
            assert 0 < parts[part] <= 0.02 * abs(written["experiments"]["nonlocal"][harmonic][part])


def test_a_fit_with_everything_is_one_command(folder: Path) -> None:
    data = "experiment,signal,value,std,unit\nnonlocal,R1.spin,8,4,mohm\nnonlocal,R1.baseline,0.02,0.002,ohm\n"
    (folder / "valve.csv").write_text(data, encoding="utf-8")
    command = [
        sys.executable, "-m", "thermospin", "fit", "valve.toml", "valve.csv", "--free", "Py.P", "Py.S", "--order", "1",
        "--cells", "800",
        "--prior", "Py.P = 0.25 +- 0.02", "--profile", "--posterior", "500", "--dimension", "z = 50 nm +- 2 nm",
        "--rival", "wiedemann-franz", "--journal", "fit.jsonl", "--report", "fit.html", "--json", "fit.json",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for text in ("[[Profile]]", "[[Posterior]]", "converged (R-hat", "[[Budget]]", "z = 50 nm", "[[Rivals]]"):
        assert text in done.stdout, text
    written = json.loads((folder / "fit.json").read_text(encoding="utf-8"))
    assert written["posterior"]["converged"] and len(written["profile"]) == 2 and set(written["rivals"]) > {"as given"}
    page = (folder / "fit.html").read_text(encoding="utf-8")
    for text in ("Profile likelihood", "Posterior", "Error budget", "Rival models", "sha256"):
        assert text in page, text
    assert (folder / "fit-numbers.csv").is_file() and len((folder / "fit.jsonl").read_text().splitlines()) > 4


def test_bad_input_under_python_m_is_a_message_and_no_traceback(folder: Path) -> None:
    (folder / "bad.csv").write_text("experiment,signal,value,unit\nnonlocal,R1.spin,1,ohm\n", encoding="utf-8")
    command = [sys.executable, "-m", "thermospin", "fit", "valve.toml", "bad.csv"]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("bad.csv: line 1: column std missing")


def test_the_python_of_the_readme_runs_and_prints_what_it_says(folder: Path) -> None:
    code = block("python: needs mine.toml")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment(folder), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    signal, _, error, unit, power = done.stdout.split()
    written = json.loads((folder / "mine.json").read_text(encoding="utf-8"))
    assert unit == written["experiments"]["thermal"]["R2"]["unit"]
    # The same grid and method as the command: what differs is round-off, in solves to 1e-9.
    assert float(signal) == pytest.approx(written["experiments"]["thermal"]["R2"]["spin"], rel=1e-6)
    assert float(error) == pytest.approx(written["errors"]["thermal"]["R2"]["spin"], rel=1e-3)
    said = re.search(r"# d ln R2 / d ln S_s: (\S+)", code)
    assert said is not None and float(power) == pytest.approx(float(said[1]), abs=0.005)


def test_the_readme_promises_the_files_that_the_demo_writes() -> None:
    from thermospin.cli.demo import FILES

    assert block("main job").strip() == "pip install . && thermospin demo slachter2010"
    assert block("main job writes").split() == [f"slachter2010-demo/{name}" for name in FILES]
    assert block("tests").strip() == "pip install '.[test]' && pytest"
