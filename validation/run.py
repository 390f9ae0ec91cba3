"""Runs the cases of this folder with thermospin: what is expected, what comes out, and whether it is covered.

    python validation/run.py [--quick] [--case NAME ...] [--markdown FILE] [--json FILE]

Every device is solved at order 3 on its default grid, or on one of as many cells as its cases say, and at the orders
below for the error bars, as `thermospin signals` does. A case is covered if its deviation is at most the error bar of
the best estimate, the uncertainty of the expected value, and the tolerance times the expected value, added up. Rows and
files come device by device, so that nothing is lost where the run is interrupted; a device whose solve fails has nan.
Exit code 1: a case is not covered.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
CASES = HERE / "cases.json"

Case = dict[str, Any]


class Row(NamedTuple):
    """A case beside what thermospin finds, SI units; the bar is that of the best estimate."""

    name: str
    signal: str
    unit: str
    expected: float
    allowed: float
    found: float
    bar: float

    @property
    def deviation(self) -> float:
        """Found less expected."""
        return self.found - self.expected

    @property
    def covered(self) -> bool:
        """Whether bar, uncertainty and tolerance together are at least the deviation."""
        return abs(self.deviation) <= self.bar + self.allowed


def read_cases() -> list[Case]:
    """Return all cases."""
    return json.loads(CASES.read_text(encoding="utf-8"))["cases"]


def chosen(cases: Sequence[Case], quick: bool, names: Sequence[str]) -> list[Case]:
    """Return the cases that are asked for: quick ones, and those whose name begins with or matches one of the names.

    Raises:
      ValueError: a name that no case has.
    """
    out = [case for case in cases if case["quick"] or not quick]
    if not names:
        return out
    for name in names:
        if not any(matches(case, name) for case in out):
            raise ValueError(f"--case: got '{name}'; no {'quick ' if quick else ''}case has this name; see {CASES}")
    return [case for case in out if any(matches(case, name) for name in names)]


def matches(case: Case, name: str) -> bool:
    """Whether a name is that of a case, of its device or group, or a pattern such as '*/resistance'."""
    return fnmatch.fnmatch(case["name"], name) or case["name"].startswith(name.rstrip("/") + "/")


def runs(cases: Sequence[Case], progress: Any = None) -> Iterator[tuple[list[Row], float]]:
    """Yield the rows of each device, and the seconds it took; needs JAX in double precision.

    Args:
      cases: those of a device next to each other.
      progress: callback for messages.
    """
    import jax

    from thermospin.base.errors import NotConverged

    groups: dict[tuple[str, int | None], list[Case]] = {}
    for case in cases:
        groups.setdefault((case["device"], case.get("cells")), []).append(case)
    for (device, cells), group in groups.items():
        began = time.perf_counter()
        try:
            rows = solve(HERE / device, cells, group, progress)
        except NotConverged as error:
            print(f"{device}: {error}", file=sys.stderr)
            rows = [row_of(case, None) for case in group]
        yield rows, time.perf_counter() - began
        jax.clear_caches()  # programs of a hundred devices have more mappings than a process may have


def solve(path: Path, cells: int | None, cases: Sequence[Case], progress: Any = None) -> list[Row]:
    """Return the rows of the cases of a device."""
    import thermospin as ts

    device = ts.load(path)
    if cells is None:
        best = ts.compute(device, progress=progress).signals
    else:
        model = ts.build(device, cells=cells, order=3, progress=progress)
        best = ts.assess(model, ts.measure(model), progress=progress)
    return [row_of(case, best) for case in cases]


def row_of(case: Case, best: Any) -> Row:
    """Return a case beside the best estimates of its device, None if there are none; bars of a ratio add up."""
    found, bar, signal = *estimate(best, case), f"{case['experiment']} {case['signal']}"
    if "over" in case:
        below, below_bar = estimate(best, case["over"])
        bar = abs(found / below) * (bar / abs(found) + below_bar / abs(below))
        found, signal = found / below, f"{signal} / {case['over']['experiment']} {case['over']['signal']}"
    allowed = case["uncertainty"] + case["tolerance"] * abs(case["expected"])
    return Row(case["name"], signal, case["unit"], case["expected"], allowed, found, bar)


def estimate(best: Any, of: Case) -> tuple[float, float]:
    """Return the best estimate of a signal and its error bar."""
    if best is None:
        return math.nan, math.nan
    return best[of["experiment"], of["signal"]], best.error(of["experiment"], of["signal"])


# ------------------------------------------------------------------------------------------ output

HEADER = ("case", "signal", "expected", "best estimate", "bar", "deviation", "covered")


def cells_of(row: Row) -> tuple[str, ...]:
    """Return the texts of a row: values in SI units, bar and deviation in parts of the expected value."""
    scale = abs(row.expected)
    return (
        row.name,
        row.signal,
        f"{row.expected:.7g} {row.unit}",
        f"{row.found:.7g}",
        f"{row.bar / scale:.1e}",
        f"{row.deviation / scale:+.1e}",
        "yes" if row.covered else "NO",
    )


def line(texts: Sequence[str]) -> str:
    """Return a line of the table."""
    return "{:<58} {:<46} {:>22} {:>15} {:>9} {:>9}  {}".format(*texts)


def markdown(rows: Sequence[Row], summary: str) -> str:
    """Return the table in Markdown."""
    lines = ["| " + " | ".join(HEADER) + " |", "|---|---|---:|---:|---:|---:|---|"]
    lines += ["| " + " | ".join(cells_of(row)) + " |" for row in rows]
    return "\n".join([*lines, "", summary, ""])


def summary(rows: Sequence[Row], seconds: float) -> str:
    """Return how many cases are covered, and the time it took."""
    missed = [row.name for row in rows if not row.covered]
    text = f"{len(rows) - len(missed)} of {len(rows)} cases are covered, {seconds:.0f} s."
    return text + (f" Not covered: {', '.join(missed)}." if missed else "")


def as_json(rows: Sequence[Row], seconds: float) -> dict[str, Any]:
    """Return the results as a plain dictionary."""
    import thermospin as ts

    results = [row._asdict() | {"deviation": row.deviation, "covered": row.covered} for row in rows]
    return {"program": f"thermospin {ts.__version__}", "seconds": seconds, "results": results}


def main() -> int:
    """Run the cases that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only the quick half")
    parser.add_argument("--case", nargs="+", default=[], metavar="NAME", help="cases, devices or groups, or patterns")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    arguments = parser.parse_args()
    try:
        cases = chosen(read_cases(), arguments.quick, arguments.case)
    except ValueError as error:
        parser.error(str(error))
    from thermospin.cli import runtime

    runtime.start_jax()
    rows: list[Row] = []
    began = time.perf_counter()
    print(line(HEADER), flush=True)
    try:
        with runtime.Progress() as progress:
            for found, seconds in runs(cases, progress):
                rows += found
                for row in found:
                    print(line(cells_of(row)), flush=True)
                progress(f"{len(rows)} of {len(cases)} cases, the last device in {seconds:.0f} s")
                so_far = time.perf_counter() - began
                if arguments.markdown:
                    arguments.markdown.write_text(markdown(rows, summary(rows, so_far)), encoding="utf-8")
                if arguments.json:
                    arguments.json.write_text(json.dumps(as_json(rows, so_far), indent=1) + "\n", encoding="utf-8")
    except KeyboardInterrupt:
        print(f"interrupted after {len(rows)} of {len(cases)} cases", file=sys.stderr)
        return 130
    print(summary(rows, time.perf_counter() - began))
    return int(not all(row.covered for row in rows))


if __name__ == "__main__":
    sys.exit(main())
