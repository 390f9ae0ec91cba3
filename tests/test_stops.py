"""The command under SIGINT and SIGTERM: one line, the exit code of the signal, nothing torn, at any moment."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import srun
from helpers.devices import VALVE

CODES = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}


def start(folder: Path, code: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    kept = {"PYTHONPATH": os.pathsep.join(sys.path), "THERMOSPIN_CACHE": str(folder / "cache")}
    env = os.environ | kept | variables
    # Tests that run in the background of a shell inherit that SIGINT is ignored.
    handled = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command = [sys.executable, "-c", handled + code, *arguments]
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


COMMAND = "from thermospin.cli.entry import main; main()"
#: A command that is in the middle of a file, of a call of C, or in a callback that swallows what is raised.
WAITING = """
import sys, time, weakref
from pathlib import Path
from thermospin.base.files import atomic_file
from thermospin.cli import app as cli, entry, stops

@cli.app.command()
def write(journal: bool = False):
    if journal:
        Path("kept.jsonl").write_text("x")
        stops.resumable(Path("kept.jsonl"))
    with atomic_file("result") as file:
        file.write(b"half of it")
        print("ready", flush=True)
        time.sleep(20)

@cli.app.command()
def refine():
    def give():
        print("the numbers", flush=True)
        raise OSError("result: cannot be written")
    stops.first(give)
    print("ready", flush=True)
    time.sleep(20)

@cli.app.command()
def swallow():
    class Late:
        def __del__(self):
            print("ready", flush=True)
            time.sleep(20)
    Late()

@cli.app.command()
def join(port: int):
    import jax
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=1, process_id=0)
    stops.take_back()
    print("ready", flush=True)
    time.sleep(20)

entry.main()
"""


@pytest.mark.parametrize("number", list(CODES))
@pytest.mark.parametrize("arguments", [["write"], ["write", "--journal"], ["swallow"]])
def test_a_signal_ends_the_command_with_its_code(tmp_path: Path, number: signal.Signals, arguments: list[str]) -> None:
    process = start(tmp_path, WAITING, *arguments)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    began = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert time.monotonic() - began < 5
    code, words = CODES[number]
    more = (
        "; kept.jsonl keeps what was computed, run the same command again to resume" if "--journal" in arguments else ""
    )
    assert (process.returncode, errors.strip()) == (code, words + more)
    assert {path.name for path in tmp_path.iterdir()} <= {"kept.jsonl", "cache"}, "half a file"


def test_what_is_there_already_is_given_first(tmp_path: Path) -> None:
    """And a fault of that is told, and does not keep the process from its end."""
    process = start(tmp_path, WAITING, "refine")
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=10)
    assert (process.returncode, out) == (143, "the numbers\n")
    assert errors.splitlines() == ["result: cannot be written", "terminated"]


def test_sigterm_is_taken_back_from_jax(tmp_path: Path) -> None:
    """Its service of preemption takes it when processes join."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start(tmp_path, WAITING, "join", str(port))
    assert process.stdout is not None and "ready" in iter(process.stdout.readline, "").__next__()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=5)
    assert process.returncode == 143 and errors.strip().endswith("terminated")


def test_sigint_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """As for a job that a shell runs in the background."""
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + WAITING
    process = start(tmp_path, code, "write")
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=10)
    assert process.returncode == 143


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_disk_that_is_full_is_one_line(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, "--help"], env=env, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2 and len(done.stderr.splitlines()) <= 2 and "No space left" in done.stderr


def test_a_terminal_without_greek_gets_question_marks(tmp_path: Path) -> None:
    code = (
        "from thermospin.cli import app as cli, entry\n@cli.app.command()\n"
        "def say():\n    print('\u03bb = 5 nm')\nentry.main()"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run([sys.executable, "-c", code, "say"], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "? = 5 nm\n"), done.stderr


def ended(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal; the process ends within 5 s with its code, or had ended before."""
    process.send_signal(number)
    sent = time.monotonic()
    _, errors = process.communicate(timeout=30)
    # Before the first line of the command Python itself is stopped by the signal.
    assert process.returncode in (CODES[number][0], 0, -number), (process.returncode, errors)
    assert process.returncode == 0 or time.monotonic() - sent < 5


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_signals_at_random_moments_end_real_commands(tmp_path: Path, seed: int) -> None:
    """In imports, compilation, solves and writing: never another code, but for 0 of a command that had ended before."""
    draw = random.Random(seed)
    command = ["signals", "slachter2010", "--cells", "800", "--order", "1", "--json", "out.json"]
    for _ in range(60):
        process = start(tmp_path, COMMAND, *command)
        time.sleep(0.15 + draw.random() * 8)
        ended(process, draw.choice(list(CODES)))
        assert not list(tmp_path.glob(".*.part"))


@pytest.mark.slow
def test_signals_at_random_moments_end_both_processes_of_a_job(tmp_path: Path) -> None:
    """While they wait for each other, compile and solve together: 40 jobs of two, each process by a signal of its own.

    A process whose partner is gone may have been ended by JAX before its own signal.
    """
    draw = random.Random(3)
    (tmp_path / "valve.toml").write_text(VALVE)
    command = ["signals", "valve.toml", "--order", "1", "--no-errors", "--cluster", "--shards", "2"]
    for _ in range(40):
        job = [start(tmp_path, COMMAND, *command, **task) for task in srun.tasks(2)]
        time.sleep(0.15 + draw.random() * 12)
        draw.shuffle(job)
        first, second = job
        ended(first, draw.choice(list(CODES)))
        time.sleep(draw.random() * 2)
        if second.poll() is None:
            ended(second, draw.choice(list(CODES)))
        else:
            second.communicate(timeout=10)
        assert not list(tmp_path.glob(".*.part"))
