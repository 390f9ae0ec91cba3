"""What users wait for: whole commands, the first time and again, and where the seconds go.

    python benchmarks/cold_start.py [--job NAME ...] [--against FOLDER] [--json FILE]

Every job runs in a process of its own, first with an empty folder of compiled programs, then with what that run has
left there. Columns: wall time, CPU time, and of all threads together the seconds of imports, tracing, lowering, XLA
and loading of kept programs; the rest is set-up, solves and output. Threads wait for each other, so that the parts may
be more than the whole. --against: the sources of another version, which does each job right before, on the same files
and with its own README's Python; `before` is its wall time, nan where it cannot do the job.
"""

from __future__ import annotations

import argparse
import builtins
import json
import math
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ROWS = "experiment,signal,value,std,unit\nthermal,R2.baseline,23.5,0.5,uV/mA^2\nthermal,R2.spin,-150,10,nV/mA^2\n"
#: Arguments of `thermospin`; a script for Python.
JOBS: dict[str, list[str]] = {
    "signals mine.toml": ["signals", "mine.toml"],
    "signals mine.toml, 2 %": ["signals", "mine.toml", "--tolerance", "2%"],
    "signals slachter2010": ["signals", "slachter2010"],
    "signals slachter2010, 2 %": ["signals", "slachter2010", "--tolerance", "2%"],
    "signals lateral_co_al": ["signals", str(ROOT / "benchmarks" / "calibration_devices" / "lateral_co_al.toml")],
    "sensitivity mine.toml": ["sensitivity", "mine.toml"],
    "fit of two rows": ["fit", "mine.toml", "rows.csv", "--free", "Py.S_s", "zeta"],
    "README's Python": ["readme.py"],
    "the same, kept": ["kept.py"],
    "demo": ["demo", "slachter2010"],
}
PARTS = ("imports", "tracing", "lowering", "XLA", "loading")
#: Events of JAX by the part that they belong to.
EVENTS = {
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/core/compile/backend_compile_duration": "XLA",
}


def script(root: Path, kept: bool) -> str:
    """The Python example of the README of some sources, which may ask for kept programs."""
    text = (root / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"<!-- python: needs mine.toml -->\n```python\n(.*?)```", text, re.DOTALL)
    return (
        block.replace("import thermospin as ts\n", "import thermospin as ts\n\nts.keep_programs()\n") if kept else block
    )


class Clock:
    """Intervals by thread and part; those within another of the same part count once."""

    def __init__(self) -> None:
        self._intervals: dict[tuple[int, str], list[tuple[float, float]]] = defaultdict(list)

    def ended(self, part: str, seconds: float) -> None:
        """Take note of what ends now."""
        now = time.perf_counter()
        self._intervals[threading.get_ident(), part].append((now - seconds, now))

    def of(self, part: str, function: Any) -> Any:
        """Return the function, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.ended(part, time.perf_counter() - began)

        return timed

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each part, of all threads together."""
        total: dict[str, float] = defaultdict(float)
        for (_, part), intervals in self._intervals.items():
            last = -math.inf
            for began, ended in sorted(intervals):
                total[part] += max(0.0, ended - max(began, last))
                last = max(last, ended)
        return total


def inside(arguments: list[str], out: str) -> None:
    """Run a job in this process, and write where its seconds went."""
    clock = Clock()
    builtins.__import__ = clock.of("imports", builtins.__import__)
    import jax

    from thermospin.base import compilation

    def listen(event: str, seconds: float, **_: Any) -> None:
        if event in EVENTS:
            clock.ended(EVENTS[event], seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    compilation._load = clock.of("loading", compilation._load)
    try:
        if arguments[0].endswith(".py"):
            exec(compile(Path(arguments[0]).read_text(), arguments[0], "exec"), {"__name__": "__main__"})
        else:
            from thermospin.cli.entry import main

            sys.argv = ["thermospin", *arguments]
            main()
    except SystemExit as end:
        if end.code:
            raise
    finally:
        Path(out).write_text(json.dumps(clock.seconds()))


def run(name: str, folder: Path, cache: Path) -> dict[str, float]:
    """Run a job in a process of its own; return its seconds."""
    out = folder / "seconds.json"
    environment = os.environ | {"THERMOSPIN_CACHE": str(cache)}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--inside", str(out), *JOBS[name]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu} | json.loads(out.read_text())


def run_before(name: str, root: Path, folder: Path, cache: Path) -> float:
    """Run a job with the sources of another version; return its wall time."""
    (folder / "readme.py").write_text(script(root, kept=False))
    (folder / "kept.py").write_text(script(root, kept=True))
    environment = os.environ | {"THERMOSPIN_CACHE": str(cache), "PYTHONPATH": str(root)}
    command = JOBS[name] if JOBS[name][0].endswith(".py") else ["-m", "thermospin", *JOBS[name]]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return math.nan if done.returncode else time.perf_counter() - began


def main() -> None:
    """Prints the table."""
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[3:], sys.argv[2])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = ", ".join(JOBS).replace("%", "%%")
    parser.add_argument("--job", nargs="+", choices=JOBS, default=list(JOBS), metavar="NAME", help=listed)
    parser.add_argument("--json", type=Path, help="file for the seconds")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="sources of another version")
    options = parser.parse_args()
    found = {}
    columns = ("wall", *["before"] * (options.against is not None), "cpu", *PARTS)
    print(f"{'':32}" + "".join(f"{column:>9}" for column in columns))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        subprocess.run([sys.executable, "-m", "thermospin", "new", "mine"], cwd=folder, check=True, capture_output=True)
        (folder / "rows.csv").write_text(ROWS)
        for number, name in enumerate(options.job):
            for which in ("first", "again"):
                before = {}
                if options.against is not None:
                    root = options.against.resolve()
                    before["before"] = run_before(name, root, folder, folder / f"before{number}")
                (folder / "readme.py").write_text(script(ROOT, kept=False))
                (folder / "kept.py").write_text(script(ROOT, kept=True))
                seconds = run(name, folder, folder / f"cache{number}") | before
                found[f"{name}, {which}"] = seconds
                values = "".join(f"{seconds.get(column, 0):9.1f}" for column in columns)
                print(f"{name:25} {which:6}{values}", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
