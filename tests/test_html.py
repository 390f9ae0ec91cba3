"""The page of a fit: whole, self-contained, escaped, and what a browser shows of it."""

from __future__ import annotations

import csv
import dataclasses
import os
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from helpers.fits import linear_fit
from thermospin.data import lockin
from thermospin.device.reader import load
from thermospin.inference import budget, profiles
from thermospin.inference.result import FitResult
from thermospin.report import html

VOID = {"meta", "img", "br", "link", "input", "hr"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def result() -> FitResult:
    return linear_fit()


@pytest.fixture(scope="module")
def written(result: FitResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    device = load("slachter2010")
    (folder / "data.csv").write_text("experiment\n")
    html.write(
        folder / "fit.html",
        result,
        [dataclasses.replace(device, name="<script>alert(1)</script>")],
        html.Findings(profile=profiles.profile(result), budget=budget.budget(result)),
        sources=[folder / "data.csv", "slachter2010"],
        command="thermospin fit 'a & b'",
        notes=["5 < 6"],
        sweeps=[lockin.load("slachter2010-sweeps", device)],
        views=["fit-view.html"],
    )
    return folder / "fit.html"


class Tags(HTMLParser):
    """Open tags, headings and sources of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.sources: list[str] = []
        self.all: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [value or "" for key, value in attrs if key in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


HEADINGS = [
    "Fit of <script>alert(1)</script>",
    "Data and fit",
    "Lock-in sweeps",
    "Parameters",
    "What the data fix",
    "Profile likelihood",
    "Error budget",
    "What to measure next",
    "Criticism",
    "Device <script>alert(1)</script>",
    "Provenance",
]


def test_the_page_is_whole_and_needs_nothing_else(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.open == [] and "script" not in tags.all
    assert tags.headings == HEADINGS
    *pictures, link = tags.sources
    assert len(pictures) == 6 and all(each.startswith("data:image/") for each in pictures)
    assert link == "fit-view.html"
    assert written.stat().st_size < 5e6
    for part in ("a &amp; b", "5 &lt; 6", "sha256", "ships with the program", "Au.kappa held at 300 W/(m K)"):
        assert part in text, part


def test_a_fit_that_did_not_converge_says_so_at_the_top(result: FitResult, written: Path, tmp_path: Path) -> None:
    assert "not to be trusted" not in written.read_text(encoding="utf-8")
    failed = dataclasses.replace(result, converged=False, message="stopped short")
    html.write(tmp_path / "fit.html", failed, [])
    text = (tmp_path / "fit.html").read_text(encoding="utf-8")
    assert "The fit did not converge: stopped short." in text


def test_the_csv_has_units_and_every_number(result: FitResult, tmp_path: Path) -> None:
    html.write_csv(tmp_path / "fit.csv", result)
    rows = list(csv.reader((tmp_path / "fit.csv").read_text(encoding="utf-8").splitlines()))
    assert rows[0][:3] == ["Signal", "Measured", "Std"] and rows[1][1] == "SI"
    assert rows[2][0] == "thermal R2.spin" and float(rows[2][1]) == 1.3 and float(rows[2][3]) == 0.05
    assert float(rows[-1][1]) == result.parameters["Py.S_s"].value and rows[-1][4] == "V/K"


def test_where_the_sign_is_unknown_magnitudes_are_compared(result: FitResult, tmp_path: Path) -> None:
    blind = dataclasses.replace(result.rows[0], value=1.3, polarity_known=False)
    turned = dataclasses.replace(result, rows=(blind, *result.rows[1:]), after=-np.abs(result.after))
    line = html.data(turned).table[1]
    assert line[0].startswith("thermal |R2.spin| [") and line[1] == "1.3" and not line[5].startswith("-")
    html.write_csv(tmp_path / "fit.csv", turned)
    rows = list(csv.reader((tmp_path / "fit.csv").read_text(encoding="utf-8").splitlines()))
    assert [row[-1] for row in rows[:4]] == ["Sign", "", "unknown", "known"] and float(rows[2][5]) < 0


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to render the page with")
def test_a_browser_renders_the_page(written: Path, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    flags = [
        "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1200,3000",
    ]  # fmt: skip
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        flags.append("--no-sandbox")
    picture = tmp_path / "page.png"
    command = [CHROMIUM, *flags, f"--screenshot={picture}", "--dump-dom", written.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.count("<h2>") == len(HEADINGS) - 1
    import matplotlib.image

    pixels = matplotlib.image.imread(picture)[..., :3]
    # Text and figures: more than a hundredth of the page is neither paper nor near it, and there is colour.
    assert np.mean(pixels.min(axis=-1) < 0.7) > 0.01
    assert np.mean(np.ptp(pixels, axis=-1) > 0.3) > 1e-3
