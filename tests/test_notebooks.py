"""A session in a notebook: what objects show, their figures, tables, files, and the line that says what is going on."""

from __future__ import annotations

import ast
import copy
import dataclasses
import json
import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

import thermospin as ts
from helpers import devices
from helpers.fits import linear_fit
from helpers.pages import environment
from thermospin.base import progress, shown
from thermospin.base.files import write_json
from thermospin.data.sources import Inputs
from thermospin.device import reader
from thermospin.inference.identifiability import Identifiability
from thermospin.inference.posterior import Posterior
from thermospin.inference.profiles import profile
from thermospin.inference.result import FitResult, Following
from thermospin.report import cards, notebook
from thermospin.report.html import Findings

VOID = {"img", "br", "meta"}
NAME = "<b>Fe & Ni</b>"
#: Cards are kept in the file of a notebook, each as often as its cell was run and saved.
LARGEST = 200_000


@pytest.fixture(scope="module")
def device() -> ts.Device:
    return dataclasses.replace(devices.bar(), name=NAME)


@pytest.fixture(scope="module")
def model(device: ts.Device) -> ts.Model:
    return ts.build(device, cells=30, order=1)


@pytest.fixture(scope="module")
def signals(model: ts.Model) -> ts.Signals:
    return ts.measure(model)


@pytest.fixture(scope="module")
def assessed(signals: ts.Signals) -> ts.Signals:
    """The same with made-up error bars."""
    grid = {name: 0.02 * abs(value) for name, value in signals.values.items()}
    solver = {name: 1e-9 * abs(value) for name, value in signals.values.items()}
    first = next(iter(signals.values))
    errors = ts.Errors(grid, solver, {first: "two orders <only>"})
    return dataclasses.replace(signals, errors=errors, computed={n: 1.1 * v for n, v in signals.values.items()})


@pytest.fixture(scope="module")
def result() -> FitResult:
    return linear_fit()


@pytest.fixture(scope="module")
def study(result: FitResult, device: ts.Device) -> ts.Study:
    return ts.Study(Inputs((device,), result.rows), result, Findings(profile=profile(result)), ("grid <1>",))


@pytest.fixture(scope="module")
def sensitivity(model: ts.Model) -> ts.Sensitivity:
    return ts.sensitivity(model)


class Balanced(HTMLParser):
    """Elements of a card, which have to be closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "td":
            self.cells[-1] += data


def card(of: Any) -> Balanced:
    text = of._repr_html_()
    assert len(text) < LARGEST
    assert "has no card" not in text and "<b>Fe" not in text
    return Balanced(text)


# ------------------------------------------------------------------------------------------- cards


def test_the_card_of_a_device_has_its_picture_and_tables(device: ts.Device) -> None:
    found = card(device)
    assert found.seen.count("img") == 1 and found.seen.count("details") == 4
    assert {"pillar", "current: in left, out right", "Fe", "left"} <= set(found.cells)
    assert "4e+06" in found.cells and "-40" in found.cells


def test_every_shipped_device_has_a_card_of_modest_size() -> None:
    for name in reader.shipped_names():
        assert card(reader.load(name)).cells


def test_the_card_of_signals_has_values_bars_and_units(signals: ts.Signals, assessed: ts.Signals) -> None:
    plain, barred = card(signals), card(assessed)
    value = signals["pillar", "R1.P"]
    assert plain.cells[:3] == ["pillar", "R1.P", f"{value:.5g} Ω"]
    assert barred.cells[:4] == ["pillar", "R1.P", f"{value:.5g} ± {0.02 * value:.2g} Ω", f"{1.1 * value:.5g} Ω"]
    assert "two orders &lt;only&gt;" in assessed._repr_html_()


def test_the_card_of_a_fit_has_parameters_and_pulls(result: FitResult) -> None:
    found = card(result)
    assert {"zeta", "Py.S_s", "thermal R2.spin []", f"{result.pulls[0]:+.2f}"} <= set(found.cells)
    blind = dataclasses.replace(result.rows[0], unit="V/A", value=1e-5, polarity_known=False)
    other = card(dataclasses.replace(result, rows=(blind, *result.rows[1:])))
    assert "thermal |R2.spin| [µΩ]" in other.cells
    failed = dataclasses.replace(result, converged=False, message="<lost>")._repr_html_()
    assert "Not converged: &lt;lost&gt;" in failed and "Not converged" not in result._repr_html_()


def test_a_model_shows_its_size(model: ts.Model) -> None:
    assert str(model) == f"{NAME}: 28 of 7 x 2 x 2 cells, {model.unknowns} unknowns, order 1"
    assert card(model).cells[0] == "pillar"
    assert f"{model.unknowns} unknowns" in model._repr_html_()


def test_other_results_have_cards(study: ts.Study, signals: ts.Signals, sensitivity: ts.Sensitivity) -> None:
    assert "68 %" in study._repr_html_() and "grid &lt;1&gt;" in study._repr_html_()
    assert card(study).cells[:1] == ["zeta"]
    assert card(ts.Computed(signals, provenance=("a note",))).cells[0] == "pillar"
    strongest = sensitivity.order()[0]
    assert card(sensitivity).cells[0] == strongest
    assert card(ts.check(study.inputs.devices[0])).seen.count("pre") == 1


def test_long_tables_and_lists_are_cut_and_say_so(signals: ts.Signals) -> None:
    name = next(iter(signals.values))
    many = {name._replace(experiment=f"e{k}"): float(k) for k in range(3000)}
    found = card(dataclasses.replace(signals, values=many, units={}))
    assert len(found.cells) == 3 * cards.ROWS
    assert "the first 100 of 3000" in dataclasses.replace(signals, values=many, units={})._repr_html_()
    assert "and 8 more" in ts.Computed(signals, provenance=("a",) * 20)._repr_html_()


def test_a_card_that_fails_is_text_with_the_reason(device: ts.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("<no> picture")

    monkeypatch.setattr(cards, "device_picture", fail)
    text = device._repr_html_()
    Balanced(text)
    assert "ZeroDivisionError: &lt;no&gt; picture" in text and "Seen from above" in text
    monkeypatch.setattr(shown, "PAINTER", "thermospin.nowhere")
    text = device._repr_html_()
    assert "nowhere" in text and "Device(name=" in text
    with pytest.raises(ModuleNotFoundError):
        device.plot()


def test_printed_objects_are_text(device: ts.Device, assessed: ts.Signals, result: FitResult, study: ts.Study) -> None:
    assert str(result) == result.report()
    assert str(study).startswith(result.report())
    assert str(device).startswith(f"{NAME}: bath 300 K")
    lines = str(assessed).splitlines()
    assert lines[1].split() == ["experiment", "signal", "best", "estimate", "on", "this", "grid"]
    assert len(lines) == 2 + len(assessed.values) + 1 and "two orders <only>" in lines[-1]


def test_text_is_the_same_in_a_notebook(device: ts.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    before = str(device)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    assert str(device) == before


def test_ipython_shows_html_pictures_and_short_text(device: ts.Device, signals: ts.Signals) -> None:
    formatters = pytest.importorskip("IPython.core.formatters")
    shell = formatters.DisplayFormatter()
    for each in (device, signals):
        data, _ = shell.format(each)
        assert set(data) == {"text/html", "text/plain"}
        assert data["text/plain"] == str(each)
    # None of matplotlib's own figures would be shown where nobody has imported pyplot.
    data, metadata = shell.format(signals.plot())
    assert data["image/png"].startswith(b"\x89PNG")
    assert 300 < metadata["image/png"]["width"] < 1000


# ------------------------------------------------------------------------------------------- figures


#: Runs the cells of a page in one session, and says of each whose last line draws what that is.
CELLS = """
import ast, sys
from matplotlib.figure import Figure
session = {}
for cell in sys.stdin.read().split("# cell\\n")[1:]:
    *before, last = ast.parse(cell).body
    exec(compile(ast.Module(before, []), "cell", "exec"), session)
    value = None
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), session)
    else:
        exec(compile(ast.Module([last], []), "cell", "exec"), session)
    if ".plot" in ast.unparse(last):
        print("last:", isinstance(value, Figure) and value._repr_png_() is not None)
"""


def cells_of_the_page() -> list[str]:
    page = Path(__file__).parent.parent / "docs" / "notebooks.md"
    return re.findall(r"<!-- python, one session -->\n```python\n(.*?)^```$", page.read_text("utf-8"), re.S | re.M)


def test_each_figure_of_the_page_is_the_last_line_of_its_cell() -> None:
    """Else a notebook would not show it."""
    drawn = 0
    for cell in cells_of_the_page():
        *before, last = map(ast.unparse, ast.parse(cell).body)
        assert not [line for line in before if ".plot" in line], cell
        drawn += ".plot" in last
    assert drawn == 5


@pytest.mark.slow
def test_a_notebook_shows_each_figure_of_the_page(tmp_path: Path) -> None:
    text = "".join(f"# cell\n{cell}" for cell in cells_of_the_page())
    done = subprocess.run(
        [sys.executable, "-c", CELLS],
        input=text,
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("last: ")] == 5 * ["last: True"]


def labels(figure: Figure) -> str:
    return " ".join(label for ax in figure.axes for label in (ax.get_xlabel(), ax.get_ylabel()))


def test_signals_are_drawn_with_their_error_bars(signals: ts.Signals, assessed: ts.Signals) -> None:
    figure = assessed.plot()
    levels, spin = figure.axes[:2]
    value = signals["pillar", "R1.P"]
    assert levels.patches[0].get_width() == pytest.approx(value)
    bar = levels.collections[0].get_segments()[0][:, 0]
    assert bar == pytest.approx([0.98 * value, 1.02 * value], rel=1e-6)
    assert len(levels.patches) == 3 and len(spin.patches) == 1
    assert "[Ω]" in labels(figure) and not signals.plot().axes[0].collections


def test_a_device_without_spin_part_has_one_column() -> None:
    strip = devices.strip()
    measured = ts.measure(ts.build(strip, cells=30, order=1))
    assert [ax.get_title(loc="left") for ax in measured.plot().axes] == list(strip.experiments) * 2


def test_fits_have_figures(result: FitResult, study: ts.Study) -> None:
    assert len(result.plot().axes) == len(study.plot().axes) == 2
    profiles = profile(result)
    drawn = [figure.axes[0].lines[1].get_ydata() for figure in (result.plot_profiles(), study.plot_profiles())]
    for tau in drawn:
        assert np.array_equal(tau, profiles[0].tau)
    assert len(result.plot_correlations().axes) == 2  # and the bar of colours


def test_maps_solve_or_take_fields(model: ts.Model) -> None:
    figure = model.plot_map("V_s", z="10 nm")
    given = ts.fields(model, "pillar", "P", 1e-3)
    same = model.plot_map("V_s", z=10e-9, fields=given, drive=1e-3)
    images = [each.axes[0].images[0].get_array() for each in (figure, same)]
    np.testing.assert_array_equal(*images)
    assert same.axes[0].get_title(loc="left").startswith("$I$ = 1 mA,  $z$ = 10 nm")
    (bar,) = model.plot_map(fields=given, drive=1e-3).axes[0].child_axes
    assert bar.get_ylabel() == "temperature rise $T$ [K]"
    for wrong, words in (
        ({"field": "V_x"}, "field 'V_x' has no map; did you mean 'V_s'"),
        ({"z": "10 K"}, 'z: got "10 K"'),
        ({"experiment": "piler"}, "did you mean 'pillar'"),
        ({"state": "PA"}, "no state 'PA'"),
        ({"state": "PA", "fields": given, "drive": 1e-3}, "no state 'PA'"),
        ({"fields": given}, r"got no drive with them; .* drive=... \[A\]"),
        ({"z": "1 um"}, "misses the grid"),
    ):
        with pytest.raises(ts.InputError, match=words):
            model.plot_map(**wrong)


def test_results_import_no_matplotlib_and_pictures_no_pyplot() -> None:
    code = """
import sys
import thermospin as ts, thermospin.inference.result, thermospin.signals.results
print("matplotlib" in sys.modules)
figure = ts.load("cross").plot()
picture = type(figure)._repr_png_(figure)[0]
print("matplotlib" in sys.modules, "matplotlib.pyplot" in sys.modules, picture[1:4], len(picture) > 10_000)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["False", "True False b'PNG' True"]


def test_every_kind_that_has_a_figure_can_be_drawn() -> None:
    def below(kind: type) -> set[type]:
        return {kind}.union(*(below(each) for each in kind.__subclasses__()))

    kinds = below(shown.Plotted) - {shown.Plotted, shown.PlottedFit}
    assert {"Device", "Signals", "FitResult", "Adapted", "Design", "Budget"} <= {kind.__name__ for kind in kinds}
    assert not [kind for kind in kinds if notebook.plot.dispatch(kind) is notebook.plot.dispatch(object)]


# ------------------------------------------------------------------------------------------- tables


def test_signals_are_rows_of_a_frame(signals: ts.Signals, assessed: ts.Signals) -> None:
    pytest.importorskip("pandas")
    table = assessed.to_dataframe()
    assert len(table) == len(assessed.values) and set(table["unit"]) == {"V/A", "V/A^2"}
    row = table[(table.experiment == "pillar") & (table.signal == "R2.spin")].iloc[0]
    assert (row.harmonic, row.part, row.value) == (2, "spin", assessed["pillar", "R2.spin"])
    assert row.error == row.grid_error + row.solver_error == assessed.error("pillar", "R2.spin")
    assert "error" not in signals.to_dataframe()
    assert ts.Computed(signals).to_dataframe().equals(signals.to_dataframe())


def test_fits_are_frames(result: FitResult, study: ts.Study) -> None:
    pytest.importorskip("pandas")
    table = study.to_dataframe().set_index("name")
    assert table.loc["Py.S_s", ["value", "std", "unit"]].tolist() == [
        result.parameters["Py.S_s"].value,
        result.parameters["Py.S_s"].std,
        "V/K",
    ]
    signals = result.to_dataframe("signals")
    assert signals["pull"].tolist() == result.pulls.tolist() and set(signals["device"]) == {""}
    np.testing.assert_array_equal(result.to_dataframe("correlation").loc["zeta"], result.correlation[0])
    with pytest.raises(ts.InputError, match="table 'signal' does not exist; did you mean 'signals'"):
        result.to_dataframe("signal")


def test_sensitivities_are_a_frame(sensitivity: ts.Sensitivity) -> None:
    pytest.importorskip("pandas")
    table = sensitivity.to_dataframe()
    assert table.shape == (sensitivity.slopes.size, 8)
    row = table[(table.signal == "R1.spin") & (table.parameter == "Fe.P")].iloc[0]
    place = sensitivity.signals.index(("pillar", "R1.spin")), list(sensitivity.parameters).index("Fe.P")
    assert row.slope == sensitivity.slopes[place] and row.elasticity == sensitivity.elasticities[place]
    assert set(table[table.parameter == "Fe.kappa"].parameter_unit) == {"W/(m K)"}


def test_draws_are_a_frame() -> None:
    pytest.importorskip("pandas")
    draws = np.arange(12.0).reshape(2, 3, 2)
    names, ones = ("zeta", "Py.S_s"), np.ones(2)
    table = Posterior(names, draws, ones, ones, 0, 0.0, None, 1, 1.0, 1.0).to_dataframe()
    assert table["chain"].tolist() == [0, 0, 0, 1, 1, 1] and table["draw"].tolist() == [0, 1, 2] * 2
    assert table["Py.S_s"].tolist() == [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]
    assert table.attrs["units"] == {"zeta": "", "Py.S_s": "V/K"}


def test_ensembles_are_a_frame(model: ts.Model) -> None:
    pytest.importorskip("pandas")
    wanted = [("pillar", "R1.spin"), ("pillar", "R2.P")]
    sets = [{"Fe.P": 0.4}, {"zeta": 2.0}]
    table = ts.ensemble(model, sets, wanted).to_dataframe()
    assert list(table) == ["set", "Fe.P", "zeta", "pillar R1.spin", "pillar R2.P"]
    assert table["Fe.P"].tolist() == [0.4, 0.3] and table["zeta"].tolist() == [1.0, 2.0]
    members = list(ts.ensemble(model, sets, wanted))
    assert table["pillar R2.P"].tolist() == [member.values[1] for member in members]
    assert table.attrs["units"] == {"Fe.P": "", "zeta": "", "pillar R1.spin": "V/A", "pillar R2.P": "V/A^2"}


def test_fields_are_a_dataset(model: ts.Model) -> None:
    pytest.importorskip("xarray")
    fields = ts.fields(model, "pillar", "AP", 1e-3)
    data = fields.to_xarray()
    assert data["V_s"].dims == ("x", "y", "z") and data["T"].attrs["units"] == "K" and data["x"].attrs["units"] == "m"
    np.testing.assert_array_equal(data["V_s"], fields.V_up - fields.V_down)
    middle = data["T"].interp(x=40e-9).isel(y=1, z=1)
    assert float(data["T"].min()) <= float(middle) <= float(data["T"].max())


@pytest.mark.parametrize("name", ["pandas", "xarray"])
def test_missing_libraries_are_named(name: str, signals: ts.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    fields = ts.NodalFields(*np.zeros((3, 2)), *np.zeros((3, 2, 2, 2)))
    with pytest.raises(ts.InputError, match=rf"needs {name}.*pip install 'thermospin\[notebook\]'"):
        signals.to_dataframe() if name == "pandas" else fields.to_xarray()


# ------------------------------------------------------------------------------------------- files


def test_signals_come_back_exactly(signals: ts.Signals, assessed: ts.Signals, tmp_path: Path) -> None:
    for given in (signals, assessed):
        given.save(tmp_path / "signals.json")
        assert ts.load_signals(tmp_path / "signals.json") == given
        saved = json.loads((tmp_path / "signals.json").read_text())
        write_json(tmp_path / "command.json", given.to_json())
        of_command = json.loads((tmp_path / "command.json").read_text())
        assert saved == of_command | {"undiminished": {name: list(both) for name, both in given.undiminished.items()}}
        loaded = ts.load_signals(tmp_path / "command.json")
        assert loaded == dataclasses.replace(given, undiminished={})
        older = {name: both[1] for name, both in given.undiminished.items()}
        write_json(tmp_path / "older.json", of_command | {"undiminished": older})
        assert ts.load_signals(tmp_path / "older.json").undiminished == {name: (0.0, R2) for name, R2 in older.items()}


def fits() -> dict[str, FitResult]:
    """A fit as it comes, and one with all that JSON has no number for."""
    plain = linear_fit()
    loose = Identifiability(plain.names, (1.0, 0.0), (1.0, 1e-6), np.array([3.1, 0.0]), np.eye(2))
    first, second = plain.parameters.values()
    odd = dataclasses.replace(
        plain,
        parameters={
            "zeta": dataclasses.replace(first, upper=1.5, at_bound="upper"),
            "Py.S_s": dataclasses.replace(second, std=np.inf, lower=-np.inf, upper=np.inf),
        },
        covariance=np.array([[first.std**2, np.nan], [np.nan, np.inf]]),
        identifiability=loose,
        rows=(dataclasses.replace(plain.rows[0], polarity_known=False, device="wide", unit="V/A^2"), *plain.rows[1:]),
        grid_stds=None,
        grid_correlation=np.array([[1.0, 0.1, 0.0], [0.1, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        correlation_of_data=np.eye(3),
        priors={"zeta": (1.0, 0.1)},
        ties=(("Cu.S", 0.5, "Au.S"),),
        following=(Following("Py.P ~ Py.sigma", "Py.P", {"Py.sigma": 4e6}, {"77K:Py.P": (0.3, np.inf)}),),
        minima=((1.5, {"zeta": 0.1}), (2.5, {"zeta": 0.2})),
        left_out={"Cu.kappa": "not fixed"},
        warnings=("a",),
        remarks=("b",),
        rescaled=True,
        noise_factor=1.7,
        chi2=np.nan,
    )
    return {"as it comes": plain, "odd": odd}


@pytest.mark.parametrize("name", fits())
def test_fits_come_back_exactly(name: str, tmp_path: Path) -> None:
    given = fits()[name]
    given.save(tmp_path / "fit.json")
    loaded = ts.load_fit(tmp_path / "fit.json")

    def parts(of: Any) -> dict[str, Any]:
        return {field.name: getattr(of, field.name) for field in dataclasses.fields(of) if field.compare}

    pairs = {**parts(given), **parts(given.identifiability)}, {**parts(loaded), **parts(loaded.identifiability)}
    checked = 0
    for key, value in pairs[0].items():
        if key == "identifiability":
            continue
        checked += 1
        if isinstance(value, np.ndarray | float):
            np.testing.assert_array_equal(pairs[1][key], value, err_msg=key)
        else:
            assert pairs[1][key] == value, key
    assert checked == 31
    assert loaded.rows[0].unit == given.rows[0].unit
    assert loaded.report() == given.report() and loaded._repr_html_() == given._repr_html_()
    saved = json.loads((tmp_path / "fit.json").read_text())
    assert saved.pop("kept")
    write_json(tmp_path / "command.json", given.to_json())
    assert saved == json.loads((tmp_path / "command.json").read_text())
    with pytest.raises(ts.InputError, match="comes from a file and has no model"):
        loaded.plot_profiles()


@pytest.mark.parametrize("name", fits())
def test_the_file_of_the_command_gives_a_fit_to_round_off(name: str, tmp_path: Path) -> None:
    given = fits()[name]
    write_json(tmp_path / "command.json", given.to_json())
    loaded = ts.load_fit(tmp_path / "command.json")
    assert loaded.parameters == given.parameters and loaded.rows == given.rows
    np.testing.assert_allclose(loaded.covariance, given.covariance, rtol=1e-14)
    np.testing.assert_array_equal(loaded.pulls, given.pulls)
    known, before = loaded.identifiability, given.identifiability
    np.testing.assert_allclose(known.singular_values, before.singular_values, rtol=1e-14)
    np.testing.assert_array_equal(known.combinations, before.combinations)
    if name == "as it comes":
        assert (known.values, known.sizes) == (before.values, before.sizes)
        np.testing.assert_array_equal(loaded.grid_stds, given.grid_stds)
        assert loaded.chi2_before == pytest.approx(np.sum(given.pulls_before**2), rel=1e-14)
    assert loaded.warnings[: len(given.warnings)] == given.warnings and "no derivatives" in loaded.warnings[-1]
    assert loaded.plot() and card(loaded).cells


@pytest.mark.parametrize("load", [ts.load_signals, ts.load_fit])
def test_broken_files_are_refused(load: Any, tmp_path: Path) -> None:
    for text, words in (
        ("", "got no JSON"),
        ("[1]", "got a list, expected a file of"),
        ("{}", "has no '(experiments|signals)', expected a file of"),
        ('{"experiments": 3, "parameters": 3, "kept": {"identifiability": 1}, "signals": 3}', "cannot be understood"),
        ("\x00", "got no JSON"),
    ):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(ts.InputError, match=words):
            load(tmp_path / "a.json")
    with pytest.raises(ts.FileError, match="Cannot read '.*b.json': No such file"):
        load(tmp_path / "b.json")


# ------------------------------------------------------------------------------------------- progress


def test_nothing_is_said_unless_asked_for(model: ts.Model, capfd: pytest.CaptureFixture[str]) -> None:
    ts.measure(model)
    assert capfd.readouterr() == ("", "")
    ts.measure(model, progress=ts.Progress(every=0.0))
    out, err = capfd.readouterr()
    assert out == "" and "pillar" in err


def test_a_notebook_has_one_line_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def display(first: object, *, display_id: bool) -> SimpleNamespace:
        assert display_id
        told.append(repr(first))
        return SimpleNamespace(update=lambda line: told.append(repr(line)))

    ipython = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    monkeypatch.setattr(progress, "BETWEEN", 0.0)
    with ts.Progress() as line:
        line("one <i>")
        line("two")
    assert told == ["one <i>", "two", ""]
    monkeypatch.setattr(ipython, "get_ipython", lambda: None)  # IPython is imported, and nobody runs it
    told.clear()
    ts.Progress()("three")
    assert told == []


# ------------------------------------------------------------------------------------------- devices made in Python


def test_a_dictionary_is_read_as_a_file_is() -> None:
    tables = tomllib.loads(devices.BAR)
    before = copy.deepcopy(tables)
    assert ts.load(tables) == reader.read(devices.BAR, "bar.toml")
    assert tables == before
    box = {"x": (np.float64(0), 30), "y": np.array([0, 20]), "z": ("0 nm", "20 nm")}
    tables["solids"] = ({**tables["solids"][0], "box": box}, *tables["solids"][1:])
    assert ts.load(tables) == reader.read(devices.BAR, "bar.toml")
    assert ts.load({key: value for key, value in tables.items() if key != "name"}).name == "device"


def test_faults_of_a_dictionary_are_those_of_the_file() -> None:
    tables = tomllib.loads(devices.BAR)
    tables["solids"][0]["material"] = "Iron"
    tables["solids"][1]["box"]["x"] = [30, "80 K"]
    tables["solids"].append({"material": "Fe"})
    tables["contatcs"] = []
    with pytest.raises(ts.DeviceError) as caught:
        ts.load(tables)
    text = str(caught.value)
    for words in (
        "solid 'F1', material: got 'Iron'",
        "solid 'N', box.x[1]: got \"80 K\"",
        "solids[3], name: missing",
        "unknown key 'contatcs'; did you mean 'contacts'",
    ):
        assert words in text
    with pytest.raises(ts.DeviceError, match=r"solids\[0\]: got 3, expected a table"):
        ts.load({"solids": [3]})


def test_a_device_can_be_made_of_lists_of_parts(device: ts.Device) -> None:
    made = ts.Device(
        name=device.name,
        solids=list(device.solids),  # type: ignore[arg-type]
        materials=device.materials,
        contacts=list(device.contacts),  # type: ignore[arg-type]
        experiments=device.experiments,
    )
    assert made == device and isinstance(made.solids, tuple)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"solids": [{"name": "F1"}]}, r"solids\[0\]: got a dict, expected a Solid; ts.load reads the tables"),
        ({"solids": 3}, "solids: got a int, expected a list of Solid"),
        ({"contacts": ["left"]}, r"contacts\[0\]: got a str, expected a Contact"),
        ({"materials": {"Fe": 4e6}}, r"materials\['Fe'\]: got a float, expected a Material"),
        ({"materials": ["Fe"]}, "materials: got a list, expected Material by name"),
        ({"materials": {}}, "solid 'F1', material: got 'Fe'; there is none"),
    ],
)
def test_what_is_no_part_is_named_by_its_place(device: ts.Device, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ts.DeviceError, match=words):
        dataclasses.replace(device, **change)
