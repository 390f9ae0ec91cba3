"""Other systems than Linux: what POSIX alone has is not used there, and output goes to any terminal."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import thermospin
from thermospin.parallel import tasks

PACKAGE = Path(thermospin.__file__).parent
#: Modules, and names of `os` and `signal`, that Windows has not.
MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
NAMES = {
    "os": {"chown", "fork", "getgid", "getloadavg", "getpgid", "getuid", "geteuid", "killpg", "mkfifo", "nice"}
    | {"sched_getaffinity", "setsid", "statvfs", "sysconf", "sysconf_names", "uname", "wait"},
    "signal": {"SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGTSTP"}
    | {"SIGUSR1", "SIGUSR2", "alarm", "pause", "pthread_kill", "setitimer", "sigwait"},
}


def used(tree: ast.AST) -> set[str]:
    """What a module uses of these, such as "os.sysconf"."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & MODULES
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} & MODULES
            found |= {
                f"{node.module}.{alias.name}" for alias in node.names if alias.name in NAMES.get(str(node.module), ())
            }
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in NAMES.get(node.value.id, ()):
                found.add(f"{node.value.id}.{node.attr}")
    return found


def test_what_posix_alone_has_is_used_where_it_can_be_missing() -> None:
    """Free memory, which is guessed then, and locks of files, which go without (test_predictors.py)."""
    found = {
        path.relative_to(PACKAGE).as_posix(): used(ast.parse(path.read_text("utf-8"))) for path in PACKAGE.rglob("*.py")
    }
    assert {path: names for path, names in found.items() if names} == {
        "parallel/tasks.py": {"os.sysconf"},
        "base/files.py": {"fcntl"},
    }


def test_free_memory_is_guessed_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> int:
        raise ValueError("unrecognized configuration name")  # as macOS says of SC_AVPHYS_PAGES

    monkeypatch.setattr(os, "sysconf", unknown, raising=False)
    assert tasks._free_memory() == 4 << 30
    monkeypatch.delattr(os, "sysconf")
    assert tasks._free_memory() == 4 << 30


def test_a_terminal_without_unicode_is_no_error(tmp_path: Path) -> None:
    """A pipe on Windows is in cp1252, which has no lines of boxes: they are replaced."""
    environment = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, "-m", "thermospin", "check", "slachter2010", "--cells", "9000"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"slachter2010: bath 300 K" in done.stdout and b"No faults." in done.stdout
