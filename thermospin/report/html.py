"""One page for a fit: a self-contained HTML file with data, parameters, figures, budget and provenance; CSV for Origin.

Nothing on the page comes from elsewhere or runs: it opens without a network and prints.
"""

from __future__ import annotations

import base64
import csv
import dataclasses
import datetime
import functools
import hashlib
import io
import itertools
import math
import platform
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thermospin.base.files import atomic_file
from thermospin.base.text import percent
from thermospin.base.units import readable, readable_unit
from thermospin.inference.result import SMALLEST_PROBABILITY, FitResult, Fitted
from thermospin.inference.suggestions import Suggestions
from thermospin.quantities import listed, quantity, shown
from thermospin.report import fit_figures
from thermospin.report.device_figures import device_picture
from thermospin.report.sweep_figures import sweeps_picture

if TYPE_CHECKING:
    from thermospin.data.lockin import Measured
    from thermospin.device.device import Device
    from thermospin.inference.budget import Budget
    from thermospin.inference.posterior import Posterior
    from thermospin.inference.profiles import Profile
    from thermospin.inference.rivals import Comparison

#: Pulls beyond this are named.
LARGE_PULL = 2.0


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page: a heading, then texts, a table with a header line (of text, or numbers), a list, figures.

    Links are pairs of a text and a file beside the page.
    """

    title: str
    texts: Sequence[str] = ()
    table: Sequence[Sequence[str]] = ()
    items: Sequence[str] = ()
    figures: Sequence[Mapping[str, str]] = ()
    marked: Sequence[Sequence[str]] = ()
    text: bool = False
    links: Sequence[tuple[str, str]] = ()


@dataclasses.dataclass(frozen=True)
class Findings:
    """Results beyond a fit: profile likelihoods, posterior, error budget, suggestions and rival models."""

    profile: Sequence[Profile] = ()
    posterior: Posterior | None = None
    budget: Budget | None = None
    suggestions: Suggestions | None = None
    rivals: Comparison | None = None

    def present(self) -> dict[str, Any]:
        """Return the results there are by name, in the order of reports."""
        findings: dict[str, Any] = {"profile": list(self.profile)}
        findings |= {"posterior": self.posterior, "budget": self.budget}
        findings |= {"suggestions": self.suggestions, "rivals": self.rivals}
        return {name: part for name, part in findings.items() if part}


@functools.cache
def template(name: str) -> Any:
    """Return a template of this package."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    return environment.from_string((resources.files("thermospin") / "report" / name).read_text("utf-8"))


def write(
    path: str | Path,
    result: FitResult,
    devices: Sequence[Device],
    findings: Findings | None = None,
    *,
    sources: Iterable[str | Path] = (),
    command: str = "",
    notes: Sequence[str] = (),
    values: Sequence[str] = (),
    sweeps: Sequence[Measured] = (),
    views: Sequence[str] = (),
) -> None:
    """Write the page.

    Args:
      path: of the HTML file.
      result: of the fit.
      devices: that were fitted.
      findings: results beyond the fit; without suggestions, those that need no further evaluation are made.
      sources: device and data files, whose hashes are kept; those that do not exist (shipped ones) are named.
      command: command line of the fit.
      notes: on how the grids were chosen, in words.
      values: on where values come from that were not fitted, see `device.provenance`.
      sweeps: raw data behind the rows.
      views: pages beside this one with each device in space, see `device_scene`; none are linked where none are given.
    Raises:
      OSError: a source cannot be read or the page not written.
    """
    findings = findings or Findings()
    rivals, suggestions = findings.rivals, findings.suggestions
    sections = [
        _drawn_data(result),
        *_raw(sweeps),
        _drawn_parameters(result),
        fixed_by_data(result),
        *_profiles(result, findings.profile),
        *_posterior(result, findings.posterior),
        *_budget(findings.budget),
        *(
            []
            if rivals is None
            else [Section("Rival models", table=rivals.table(), items=[*rivals.verdict(), *rivals.predicted()])]
        ),
        _next(Suggestions.of(result, most=3) if suggestions is None else suggestions),
        criticism(result),
        *([Section("Where values come from", items=values)] if values else []),
        *(_device(device, view) for device, view in itertools.zip_longest(devices, views[: len(devices)])),
        _provenance(sources, command, notes),
    ]
    names = ", ".join(device.name for device in devices)
    text = template("report.html.j2").render(
        title=f"Fit of {names}",
        lead=lead(result),
        converged=result.converged,
        message=result.message,
        parameters=[parameter_of(name, fitted) for name, fitted in result.parameters.items()],
        sections=sections,
    )
    with atomic_file(path) as file:
        file.write(text.encode("utf-8"))


def write_csv(path: str | Path, result: FitResult) -> None:
    """Write signals, then parameters, as Origin takes them: a line of long names, a line of units, and rows."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["Signal", "Measured", "Std", "Grid", "Before", "Model", "Pull", "Unit", "Sign"])
    writer.writerow(["", *["SI"] * 5, "1", "", ""])
    lines = zip(result.rows, result.bars, result.before, result.after, result.pulls, strict=True)
    for row, bar, before, after, pull in lines:
        numbers = (row.value, row.std, float(bar), float(before), float(after), float(pull))
        sign = "known" if row.polarity_known else "unknown"
        writer.writerow([f"{row.label} {row.signal}", *map(repr, numbers), row.unit, sign])
    writer.writerow([])
    writer.writerow(["Parameter", "Value", "Std", "Start", "Unit"])
    for name, parameter in result.parameters.items():
        writer.writerow([name, repr(parameter.value), repr(parameter.std), repr(parameter.start), parameter.unit])
    with atomic_file(path) as file:
        file.write(out.getvalue().encode("utf-8"))


def lead(result: FitResult) -> str:
    """Return chi2 and how it was found."""
    chi2 = f"chi2 = {result.chi2:.3g} for {len(result.rows)} signals and {len(result.parameters)} parameters"
    spread = "" if math.isnan(result.probability) else f", probability {result.probability:.2g}"
    return f"{chi2}{spread}; {result.method.replace('_', ' ')}, {result.evaluations} evaluations."


def parameter_of(name: str, fitted: Fitted) -> dict[str, str]:
    """Return name, value and note of a fitted parameter as the head of the page has them."""
    unit, size = shown(name)
    std = f"{fitted.std / size:.2g}" if math.isfinite(fitted.std) else "not fixed"
    digits = max(0, 2 - math.ceil(math.log10(fitted.std / size))) if 0 < fitted.std < math.inf else 4
    note = f"at its {fitted.at_bound} bound: no error bar" if fitted.at_bound else ""
    return {"name": name, "value": f"{fitted.value / size:.{min(digits, 8)}f} ± {std} {unit}".rstrip(), "note": note}


def data(result: FitResult) -> Section:
    """Return the table of measured signals and the model, without a figure."""
    table = [["signal", "measured", "std", "grid", "model before", "model", "pull"]]
    marked = []
    for row, bar, before, after, pull in zip(
        result.rows, result.bars, result.before, result.after, result.pulls, strict=True
    ):
        name, size = readable_unit(row.value, row.unit)
        signal, values = row.signal, (row.value, row.std, bar, before, after)
        if not row.polarity_known:
            signal, values = f"|{signal}|", tuple(map(abs, values))
        table.append([f"{row.label} {signal} [{name}]", *(f"{value / size:.4g}" for value in values), f"{pull:+.2f}"])
        if abs(pull) > LARGE_PULL:
            marked.append(table[-1])
    source = "standard deviations of the data and error bars of the grid" if result.grid_stds is not None else "std"
    texts = [f"Pull: (model − measured)/std, with the {source}."]
    return Section("Data and fit", texts, table, marked=marked)


def _drawn_data(result: FitResult) -> Section:
    caption = "Measured signals (bars: standard deviation and grid) and the model before and after; pulls beside them."
    figure = _figure(lambda path: fit_figures.fit_picture(result, path), caption)
    return dataclasses.replace(data(result), figures=[figure])


def _raw(sweeps: Sequence[Measured]) -> list[Section]:
    sections = []
    for raw in sweeps:
        clear = sum(sweep.switch is not None and not sweep.borrowed for sweep in raw.sweeps)
        caption = "Field sweeps less their parallel level and drift; dashed: switching fields of the other sweeps."
        figure = _figure(functools.partial(sweeps_picture, raw.sweeps), caption)
        texts = [f"{clear} of {len(raw.sweeps)} sweeps show a clear switch of their own."]
        higher = [f"{row.label} {row.signal} = {readable(row.value, row.unit, row.std)}" for row in raw.higher]
        sections.append(Section("Lock-in sweeps", texts, items=[*higher, *raw.notes], figures=[figure]))
    return sections


def parameters(result: FitResult) -> Section:
    """Return the table of fitted parameters, with priors, ties and warnings, without a figure."""
    table = [["parameter", "value", "std", "start", "bounds"]]
    for name, parameter in result.parameters.items():
        bounds = f"{quantity(name, parameter.lower)} to {quantity(name, parameter.upper)}"
        cells = [quantity(name, number) for number in (parameter.value, parameter.std, parameter.start)]
        table.append([name, *cells, bounds])
    items = [
        f"prior: {name} = {quantity(name, mean)} ± {quantity(name, std)}, "
        f"pull {(result.parameters[name].value - mean) / std:+.2f}"
        for name, (mean, std) in result.priors.items()
    ]
    items += result.warnings
    items += [f"tied: {name} = {factor:g} × {source}" for name, factor, source in result.ties]
    items += [line for each in result.following for line in each.words()]
    larger = (
        f"The noise of the data is taken {result.noise_factor:.3g} times as large as given, as large as it scatters."
    )
    texts = [larger] if result.rescaled else []
    return Section("Parameters", texts, table, items)


def _drawn_parameters(result: FitResult) -> Section:
    if len(result.parameters) < 2:
        return parameters(result)
    figure = _figure(lambda path: fit_figures.correlation_picture(result, path), "Correlations of the parameters.")
    return dataclasses.replace(parameters(result), figures=[figure])


def fixed_by_data(result: FitResult) -> Section:
    """Return what the data fix, what was left fixed, and what they could not tell apart, line by line."""
    left = [f"left fixed: {name}, {why}" for name, why in result.left_out.items()]
    return Section("What the data fix", items=[*result.identifiability.words(), *left, *result.remarks])


def _profiles(result: FitResult, profiles: Sequence[Profile]) -> list[Section]:
    if not profiles:
        return []
    caption = "Solid lines: 68 %, dotted: 95 %. A profile on the dashed line says what the covariance says."
    figure = _figure(lambda path: fit_figures.profile_picture(result, profiles, path), caption)
    return [
        Section(
            "Profile likelihood", items=[line for profile in profiles for line in profile.words()], figures=[figure]
        )
    ]


def _posterior(result: FitResult, posterior: Posterior | None) -> list[Section]:
    if posterior is None:
        return []
    from thermospin.inference.posterior import agreement

    figure = _figure(
        lambda path: fit_figures.posterior_picture(posterior, path), "Draws; dotted: ends of the 68 % interval."
    )
    return [Section("Posterior", items=[*posterior.words(), *agreement(result, posterior)], figures=[figure])]


def _budget(budget: Budget | None) -> list[Section]:
    if budget is None:
        return []
    shares = budget.shares
    order = sorted(range(len(shares)), key=lambda i: -float(max(shares[i])))
    table = [["share of the variance", *budget.names]]
    table += [
        [budget.sources[i], *(percent(float(share)) for share in shares[i])] for i in order if max(shares[i]) >= 0.005
    ]
    stds = [quantity(name, float(std)) for name, std in zip(budget.names, budget.stds, strict=True)]
    table.append(["std with all of it", *stds])
    texts = [
        "Linear theory. Numbers that were held fixed are not in the standard deviations above; the ± of those here is "
        "a usual one unless it was given."
    ]
    figure = _figure(lambda path: fit_figures.budget_picture(budget, path), "Where the variance comes from.")
    return [Section("Error budget", texts, table, figures=[figure])]


def _next(suggestions: Suggestions) -> Section:
    return Section("What to measure next", items=suggestions.words())


def criticism(result: FitResult) -> Section:
    """Return what speaks against a fit."""
    items = [
        f"{row.label} {row.signal} is {abs(pull):.1f} standard deviations off"
        for row, pull in zip(result.rows, result.pulls, strict=True)
        if abs(pull) > LARGE_PULL
    ]
    if result.probability < SMALLEST_PROBABILITY:
        items.append(
            f"The model does not describe these data within their standard deviations (probability "
            f"{result.probability:.1g}): the parameters make up for what is missing from the model or from the bars."
        )
    shares = zip(result.names, result.grid_shares, strict=True)
    items += [f"The grid makes {percent(share)} of the variance of {name}." for name, share in shares if share > 0.5]
    items += [f"Another minimum: chi2 = {chi2:.4g} at {listed(values)}" for chi2, values in result.minima[1:]]
    texts = [f"AIC {result.aic:.4g}, BIC {result.bic:.4g}, {result.degrees_of_freedom} degrees of freedom."]
    return Section("Criticism", texts, items=items or ["No pull is beyond two standard deviations."])


def _device(device: Device, view: str | None) -> Section:
    caption = "The device as it was computed."
    figure = _figure(lambda path: device_picture(device, path), caption, kind="png")
    links = [] if view is None else [("The device in space, its layers to be switched off", view)]
    return Section(f"Device {device.name}", figures=[figure], links=links)


def _provenance(sources: Iterable[str | Path], command: str, notes: Sequence[str]) -> Section:
    packages = ("thermospin", "jax", "numpy", "scipy", "numpyro")
    table = [["what", "which"]]
    if command:
        table.append(["command", command])
    table.append(["date", datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")])
    for source in dict.fromkeys(map(str, sources)):
        path = Path(source)
        shipped = "ships with the program"
        table.append([source, f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}" if path.is_file() else shipped])
    table.append(["versions", ", ".join(f"{name} {_version(name)}" for name in packages)])
    table.append(["machine", f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"])
    return Section("Provenance", table=table, items=notes, text=True)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        if package == "thermospin":
            from thermospin.base.version import __version__

            return __version__
        return "not installed"


def _figure(draw: Callable[[Path], Any], caption: str, kind: str = "svg") -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"figure.{kind}"
        draw(path)
        data = base64.b64encode(path.read_bytes()).decode()
    media = "image/svg+xml" if kind == "svg" else f"image/{kind}"
    return {"source": f"data:{media};base64,{data}", "caption": caption}
