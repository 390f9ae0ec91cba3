"""Verbs that do a whole job: check a device, compute its signals, study it with its data.

`study` is grid, fit, profiles, posterior, budget, suggestions, rivals and page in one.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thermospin.accuracy.adapt import INTERRUPTED, adapt
from thermospin.accuracy.computing import GridChoice
from thermospin.accuracy.error_bars import assess
from thermospin.accuracy.self_check import SelfCheck, self_check
from thermospin.base.errors import InputError, NotConverged
from thermospin.base.kinds import require_path, require_whole
from thermospin.base.shown import Shown
from thermospin.data.rows import Row
from thermospin.data.sources import Inputs
from thermospin.device import provenance
from thermospin.device.cost import Cost, cost
from thermospin.device.device import Device, LooseFace, Tie
from thermospin.device.reader import load
from thermospin.device.settings import at_bath
from thermospin.inference.budget import budget, faults_of_faces
from thermospin.inference.fit_setup import FitOptions
from thermospin.inference.posterior import sample
from thermospin.inference.profiles import profile
from thermospin.inference.result import FitResult
from thermospin.inference.rivals import (
    HEATER_CONTACT,
    TWO_POINT,
    Comparison,
    Rival,
    heater_contact,
    rival,
    with_two_point,
)
from thermospin.inference.sharing import names_in_fit
from thermospin.inference.suggestions import Suggestions, faults_of_dimensions, suggest_others
from thermospin.inverse import check_fit, fit
from thermospin.model import GridOptions, Model, Progress
from thermospin.report import cards, html, notebook
from thermospin.report.device_scene import view, write_view
from thermospin.report.device_text import describe
from thermospin.report.html import Findings
from thermospin.report.places import numbers_of, view_of
from thermospin.signals.evaluate import measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: A suggestion of other voltage contacts, among names of dimensions.
CONTACTS = "contacts"


@dataclasses.dataclass(frozen=True)
class Extras:
    """The findings of a study besides the fit.

    Attributes:
      profile: profile likelihoods.
      posterior: draws of each NUTS chain, a whole number; 0: none.
      budget: an error budget, if every parameter is fixed by the data.
      dimensions: faces of the budget that may lie elsewhere; it is then among `Study.failed` where there is none.
      suggest: dimensions, or "contacts", of which other values might help to know more.
      rivals: rival models by name, see `rival_models`.
    """

    profile: bool = False
    posterior: int = 0
    budget: bool = False
    dimensions: Sequence[LooseFace] = ()
    suggest: Sequence[str] = ()
    rivals: Mapping[str, Rival] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "posterior", require_whole("posterior", self.posterior, 0))


@dataclasses.dataclass(frozen=True)
class Study(Shown):
    """A fit and what belongs to it.

    Attributes:
      inputs: devices and data.
      fit: the result of the fit.
      findings: profiles, posterior, budget, suggestions, rivals, where they were asked for.
      grid_notes: how the signals chose the grids.
      met: whether these grids meet the tolerance.
      failed: findings that were asked for and could not be made, and why.
    """

    inputs: Inputs
    fit: FitResult
    findings: Findings
    grid_notes: tuple[str, ...] = ()
    met: bool = True
    failed: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of the data, then of the grids, and where values that were not fitted come from."""
        return (*self.inputs.notes, *self.grid_notes, *self.provenance)

    @property
    def provenance(self) -> list[str]:
        """Notes on the values of the devices that were not fitted, see `device.provenance`."""
        tied = [*(name for name, _, _ in self.fit.ties), *(each.name for each in self.fit.following)]
        return provenance.notes(self.inputs.devices, [*self.fit.parameters, *tied])

    def to_json(self) -> dict[str, Any]:
        """Return the dictionary of the file that `thermospin fit --json` writes."""
        return (
            self.fit.to_json()
            | {
                name: [part.to_json() for part in finding] if isinstance(finding, list) else finding.to_json()
                for name, finding in self.findings.present().items()
            }
            | {"provenance": self.provenance}
        )

    def words(self) -> list[str]:
        """Return the report of the fit and of everything besides, line by line."""
        lines = [self.fit.report()]
        for title, finding in self.findings.present().items():
            lines.append(f"[[{title.capitalize()}]]")
            lines += [f"    {line}" for line in _lines(finding)]
        return [*lines, *self.notes]

    def plot(self) -> Figure:
        """Draw the fit, see `FitResult.plot`."""
        return self.fit.plot()

    def plot_profiles(self, *, progress: Progress | None = None) -> Figure:
        """Draw the profile likelihoods that were asked for, or make them; see `FitResult.plot_profiles`."""
        return self.fit.plot_profiles(self.findings.profile or None, progress=progress)

    def to_dataframe(self, what: str = "parameters") -> Any:
        """Return a pandas DataFrame of the fit, see `FitResult.to_dataframe`."""
        return self.fit.to_dataframe(what)

    def write_page(self, path: str | Path, command: str = "") -> None:
        """Write a self-contained HTML page, and the signals and parameters as CSV next to it.

        With plotly at hand, each device in space is a page of its own next to it, which the page links to.

        Args:
          path: of the page.
          command: what the page says made it.
        """
        path, views = require_path("path", path), []
        if importlib.util.find_spec("plotly") is not None:
            for number, device in enumerate(self.inputs.devices):
                views.append(view_of(path, number).name)
                write_view(view_of(path, number), view(device))
        html.write(
            path,
            self.fit,
            self.inputs.devices,
            self.findings,
            sources=self.inputs.sources,
            command=command,
            notes=self.grid_notes,
            values=self.provenance,
            sweeps=self.inputs.sweeps,
            views=views,
        )
        html.write_csv(numbers_of(path), self.fit)


@dataclasses.dataclass(frozen=True)
class Check(Shown):
    """A device that was checked.

    Attributes:
      description: materials, contacts, experiments, and a map.
      cost: size, memory and time of its signals.
      self_check: whether the numbers can be trusted, if it was solved.
    """

    description: str
    cost: Cost
    self_check: SelfCheck | None = None

    def words(self) -> list[str]:
        """Return description, cost and verdict, line by line."""
        return [self.description, str(self.cost), *([] if self.self_check is None else self.self_check.words())]

    @property
    def passed(self) -> bool:
        """True unless the self-check failed."""
        return self.self_check is None or self.self_check.passed


def check(
    device: Device, grid: GridOptions | None = None, *, solve: bool = False, progress: Progress | None = None
) -> Check:
    """Describe a device and the cost of its signals; with `solve`, tell whether they can be trusted.

    Args:
      device: the device.
      grid: of the signals.
      solve: solve it too, see `accuracy.self_check`.
      progress: callback for messages.
    Raises:
      InputError: faces that no grid of that many cells can have.
      NotConverged: a solve missed its tolerance.
    """
    grid = grid or GridOptions()
    checked = Check(describe(device), cost(device, grid.grid(device)))
    if not solve:
        return checked
    return dataclasses.replace(checked, self_check=self_check(grid.build(device, progress), progress=progress))


def study(
    inputs: Inputs | Device | Model,
    rows: Sequence[Row] = (),
    free: Sequence[str] | None = None,
    *,
    grid: GridChoice | None = None,
    options: FitOptions | None = None,
    extras: Extras | None = None,
    journal: str | Path | None = None,
    progress: Progress | None = None,
) -> Study:
    """Fit parameters to data on a grid that is chosen for them, and find what else is asked for.

    Args:
      inputs: devices with their data, by `data.sources.read_sources`; or a device, or its model, with `rows`.
      rows: measured signals of the device; none beside `Inputs`, which have their own.
      free: parameters to fit; None: those that the data fix.
      grid: how the grid is chosen; None: the fixed rule. Left out beside a model, which has a grid; rivals then have
        one of its order.
      options: of the fit.
      extras: what is found besides.
      journal: file that keeps every evaluation of the fit, from which it resumes.
      progress: callback for messages.
    Raises:
      InputError: no rows, a name that does not exist, bounds that exclude the start, findings that cannot be made,
        rows beside `Inputs`, a grid beside a model.
      NotConverged: a solve did not converge at the start.
    """
    _require_one_of_each(inputs, rows, grid)
    model = inputs if isinstance(inputs, Model) else None
    grid = grid or (GridChoice() if model is None else GridChoice(order=model.grid.order, shards=model.shards))
    options, extras = options or FitOptions(), extras or Extras()
    if not isinstance(inputs, Inputs):
        inputs = Inputs((inputs.device if isinstance(inputs, Model) else inputs,), tuple(rows))
    _require_findings(extras, inputs.devices, free or tuple(options.priors))
    check_fit(inputs.devices, inputs.rows, free or None, options)
    if model is not None:
        models, notes, met = [model], list[str](), True
    else:
        models, notes, met = _models(inputs.devices, inputs.rows, grid, progress)
    given = inputs

    def fitted(
        models: Sequence[Device | Model], free: Sequence[str] | None, options: FitOptions, keep: str | Path | None
    ) -> FitResult:
        return fit(
            models,
            given.rows,
            free or None,
            options,
            correlation=given.correlation,
            grid=GridOptions(order=grid.order),
            journal=keep,
            progress=progress,
        )

    result = fitted(models or inputs.devices, free, options, journal)
    failed: list[str] = []
    findings = _findings(result, extras, failed, progress)
    if extras.rivals:
        results = {"as given": result}
        for label, other in extras.rivals.items():
            others, more, also_met = _models(other.devices, inputs.rows, grid, progress)
            notes, met = [*notes, *(f"{label}: {line}" for line in more)], met and also_met
            wanted = other.free(result.names) if other.instead else free
            results[label] = fitted(others or other.devices, wanted, _options(options, other), None)
        predictions = _predictions(results, grid.order, progress) if HEATER_CONTACT in results else {}
        findings = dataclasses.replace(findings, rivals=Comparison(results, predictions))
    return Study(inputs, result, findings, tuple(notes), met, tuple(failed))


def _models(
    devices: Sequence[Device], rows: Sequence[Row], grid: GridChoice, progress: Progress | None
) -> tuple[list[Model], list[str], bool]:
    """Build models on the grids chosen: none where `fit` builds them; how, and whether the tolerance is met."""
    if not grid.adapted:
        if grid.shards == 1:
            return [], [], True
        fixed = GridOptions(order=grid.order, shards=grid.shards)
        return [fixed.build(device, progress) for device in devices], [], True
    models, notes, met = [], [], True
    for device in devices:
        signals = [(row.experiment, row.signal) for row in rows if row.device in ("", device.name)]
        adapted = adapt(
            device,
            cells=grid.cells,
            tolerance=grid.tolerance,
            order=grid.order,
            wanted=list(dict.fromkeys(signals)),
            shards=grid.shards,
            progress=progress,
        )
        if adapted.stopped == INTERRUPTED:
            raise KeyboardInterrupt  # its signals would be numbers, but a fit on its grid is not what was asked for
        of = f"{device.name}: " if len(devices) > 1 else ""
        notes += [f"{of}{line}" for line in adapted.words()]
        met = met and adapted.met
        models.append(adapted.model)
    return models, notes, met


def _require_one_of_each(inputs: Inputs | Device | Model, rows: Sequence[Row], grid: GridChoice | None) -> None:
    """Refuse rows and a grid beside what has its own: one of the two would be dropped."""
    faults = []
    if isinstance(inputs, Inputs) and len(rows):
        faults.append(
            f"study: rows: got {len(rows)} beside Inputs with {len(inputs.rows)} of their own, expected none; put all "
            "of them into Inputs"
        )
    if isinstance(inputs, Model) and grid is not None:
        faults.append(
            f"study: grid: got {grid} beside a Model, which has its grid, expected none; for a grid that is chosen "
            "give the device, model.device"
        )
    if faults:
        raise InputError(faults)


def _require_findings(extras: Extras, devices: Sequence[Device], free: Sequence[str]) -> None:
    """Refuse findings that cannot be made whatever the fit finds: afterwards it would be too late."""
    faults = faults_of_faces(extras.dimensions, devices)
    if extras.suggest:
        faults += faults_of_dimensions(_dimensions(extras.suggest), devices, free)
    if faults:
        raise InputError(faults)


def _dimensions(suggest: Sequence[str]) -> list[str]:
    """Return the dimensions among what is to be suggested."""
    return [name for name in suggest if name != CONTACTS]


def _findings(result: FitResult, extras: Extras, failed: list[str], progress: Progress | None) -> Findings:
    """Find what is asked for besides the fit, rivals apart; add what could not be found and why, the fit being there.

    Without dimensions an error budget is for the page alone, which has none where the data leave a parameter open.
    """

    def suggested() -> Suggestions:
        names = _dimensions(extras.suggest)
        tried = suggest_others(result, names, len(names) < len(extras.suggest), progress)
        return Suggestions.of(result, tried)

    wanted: list[tuple[bool, str, Callable[[], Any]]] = [
        (extras.profile, "are no profiles", lambda: tuple(profile(result, progress=progress))),
        (extras.posterior > 0, "is no posterior", lambda: sample(result, extras.posterior, progress=progress)),
        (
            bool(extras.dimensions) or (extras.budget and not result.left_open),
            "is no error budget",
            lambda: budget(result, dimensions=extras.dimensions, progress=progress),
        ),
        (bool(extras.suggest), "are no suggestions", suggested),
    ]
    found = []
    for asked, without, find in wanted:
        finding = None
        try:
            finding = find() if asked else None
        except (InputError, NotConverged, MemoryError) as error:
            told = str(error).removeprefix("posterior: ").removeprefix("budget: ")
            failed.append(f"There {without}: {told}")
        found.append(finding)
    profiles, posterior, shares, suggestions = found
    return Findings(profiles or (), posterior, shares, suggestions)


def _options(options: FitOptions, other: Rival) -> FitOptions:
    """Return options without those of parameters that a rival fits others for, and with its ties."""
    kept = [
        tie
        for tie in options.ties
        if not any(map(other.replaces, (tie.name, *([tie.source] if isinstance(tie, Tie) else tie.sources))))
    ]
    return dataclasses.replace(
        options,
        bounds={name: limits for name, limits in options.bounds.items() if not other.replaces(name)},
        priors={name: prior for name, prior in options.priors.items() if not other.replaces(name)},
        ties=(*kept, *other.ties),
    )


def _predictions(
    results: Mapping[str, FitResult], order: int, progress: Progress | None
) -> dict[str, dict[str, tuple[float, str]]]:
    """Return what each model says of the heater without its heat: its two-point resistance, and R1 of its experiment.

    Both follow from a current alone, so that zeta is not in them.
    """
    predictions: dict[str, dict[str, tuple[float, str]]] = {}
    for label, result in results.items():
        model = result.require_problem().models[0]
        values = result.all_values
        own = {name: values[full] for name, full in names_in_fit(model.device, values).items()}
        lengths = {name: own[name] for name in model.device.lengths()}
        moved = lengths != model.device.lengths()
        device = with_two_point(model.device.moved(lengths) if moved else model.device)
        if device is None:
            continue
        if moved:
            made = GridOptions(model.cells, order, model.shards).build(device, progress)
        else:
            made = model.with_grid(dataclasses.replace(model.grid, order=order), device, progress)
        known = {name: value for name, value in own.items() if name in device.parameters()}
        found = assess(made, measure(made, known, harmonics=1, progress=progress), known, progress=progress)
        for experiment, of in found.experiments.items():
            part, value = next((part, of["R1"][part]) for part in ("baseline", *of["R1"]) if part in of["R1"])
            what = f"{experiment} resistance of the heater" if experiment == TWO_POINT else f"{experiment} R1.{part}"
            predictions.setdefault(what, {})[label] = value, device.experiments[experiment].unit(1)
    return predictions


def rival_models(texts: Sequence[str], devices: Sequence[Device]) -> dict[str, Rival]:
    """Return each rival: the first device replaced by that of a file, or all of them changed.

    Args:
      texts: "wiedemann-franz", "heater-contact", a moved face "z = 15 nm - 3 nm", or a device file.
      devices: as given.
    """

    def of_file(text: str) -> Rival:
        other = load(text)
        if devices[0].home is not None:  # the bath is another one than in the file
            other = at_bath(other, devices[0].bath)
        if len(devices) > 1 and other.name != devices[0].name:
            raise InputError(
                f"--rival {text}: got device '{other.name}', expected '{devices[0].name}', in whose place it comes; "
                "devices of a series have no rival by a file"
            )
        return Rival((other, *devices[1:]))

    def of_name(text: str) -> Rival:
        if text.strip() == HEATER_CONTACT:
            return heater_contact(devices)
        return Rival(tuple(rival(device, text) for device in devices))

    return {text.strip(): of_file(text) if text.endswith(".toml") else of_name(text) for text in texts}


# ------------------------------------------------------------------------------------------- in notebooks


def _lines(finding: Any) -> list[str]:
    """Return a finding, or several of a kind, in words."""
    return [line for part in (finding if isinstance(finding, list) else [finding]) for line in part.words()]


def _study_card(shown: Study) -> str:
    names = ", ".join(device.name for device in shown.inputs.devices)
    parts = [
        part
        for title, finding in shown.findings.present().items()
        for part in cards.of_lines(title.capitalize(), _lines(finding))
    ]
    parts += cards.of_lines("Notes", [*shown.failed, *shown.notes])
    return cards.fit_card(shown.fit, f"Fit of {names}", parts)


notebook.card.register(Study, _study_card)
