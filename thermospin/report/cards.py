"""Cards of devices and results for notebooks: a picture where it is cheap, and small tables, as HTML.

Everything is escaped and nothing comes from elsewhere. A card is below 200 kB, most of it the picture.
"""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from thermospin import quantities
from thermospin.accuracy.sensitivity import NOTHING, Sensitivity
from thermospin.base.names import SignalName
from thermospin.base.text import columns
from thermospin.base.units import readable
from thermospin.designs.result import Design
from thermospin.device.device import Device
from thermospin.inference.result import FitResult
from thermospin.model import Model
from thermospin.report import device_text, html
from thermospin.report.device_figures import device_picture
from thermospin.report.style import Picture, typeset
from thermospin.signals.results import Signals

#: Pixels per inch of pictures on cards, and their width on the screen.
DPI, WIDTH = 100, 760
#: Longest list of notes on a card, longest table of sensitivities, and longest table.
MOST, LONGEST, ROWS = 12, 25, 100


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a card, which opens at a click: texts, a table, a list.

    Attributes:
      title: its heading.
      heads, rows: of the table.
      numbers: places of the columns with numbers.
      texts, items: before and after the table.
      marked: rows whose last cell is alarming.
      open: whether it is open from the start.
      pre: text whose columns line up.
    """

    title: str
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    numbers: frozenset[int] = frozenset()
    texts: Sequence[str] = ()
    items: Sequence[str] = ()
    marked: Sequence[Sequence[str]] = ()
    open: bool = False
    pre: str = ""


def of_listing(listing: device_text.Listing, *, opened: bool = False) -> Part:
    """Return the part that shows a listing."""
    heads = [typeset_head(head) for head in listing.columns]
    return Part(listing.title, heads, listing.rows, listing.numbers, open=opened)


def of_section(section: html.Section, *, opened: bool = False) -> Part:
    """Return the part that shows a section of the page of a fit, whose first column is text."""
    heads, *rows = section.table or [[]]
    numbers = frozenset(range(1, len(heads)))
    printed = [[typeset_head(row[0]), *row[1:]] for row in rows]
    marked = [line for line, row in zip(printed, rows, strict=True) if row in section.marked]
    return Part(section.title, heads, printed, numbers, section.texts, section.items, marked, opened)


def of_lines(title: str, lines: Sequence[str], *, opened: bool = False) -> list[Part]:
    """Return the part that lists lines, none without lines; it says how many are left out of a long list."""
    more = [f"and {len(lines) - MOST} more"] if len(lines) > MOST else []
    return [Part(title, items=[*lines[:MOST], *more], open=opened)] if lines else []


def typeset_head(head: str) -> str:
    """Return the head of a column or a row with its unit as figures have it: of "R1 [uohm]" the uohm."""
    return re.sub(r"(?<= \[)[^]]*", lambda unit: typeset(unit[0]), head)


def render(title: str, lead: str, parts: Sequence[Part], *, alarm: str = "", picture: Any = None) -> str:
    """Return a card as HTML; of a long table it shows the first rows, and says how many there are."""
    shown = [
        dataclasses.replace(part, rows=part.rows[:ROWS], texts=[*part.texts, f"the first {ROWS} of {len(part.rows)}"])
        if len(part.rows) > ROWS
        else part
        for part in parts
    ]
    return html.template("card.html.j2").render(title=title, lead=lead, parts=shown, alarm=alarm, picture=picture)


def device_card(device: Device) -> str:
    """Return the card of a device: its picture, experiments, contacts, materials, interfaces and dimensions."""
    parts = [
        of_listing(device_text.experiments(device), opened=True),
        of_listing(device_text.contacts(device)),
        of_listing(device_text.materials(device)),
        *([of_listing(device_text.interfaces(device))] if device.interfaces else []),
        *([of_listing(device_text.dimensions(device))] if device.dimensions else []),
        *of_lines("Notes", [*([device.notes] if device.notes else []), *device_text.doubts(device)]),
    ]
    lead = f"{device_text.conditions(device)}; {device_text.size(device)}".replace(" x ", " × ")
    return render(device.name, lead, [part for part in parts if part.rows or part.items], picture=_picture(device))


def _picture(device: Device) -> dict[str, Any]:
    figure = device_picture(device)
    assert isinstance(figure, Picture)
    data, _ = figure.png(DPI)
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return {"source": source, "caption": f"pictures of {device.name}", "width": WIDTH}


def size_of(model: Model) -> str:
    """Return the size of a model."""
    blocks = " x ".join(str(len(line) - 1) for line in model.grid.lines)
    shards = f", on {model.shards} accelerators" if model.shards > 1 else ""
    return f"{model.cells:,} of {blocks} cells, {model.unknowns:,} unknowns, order {model.grid.order}{shards}"


def model_card(model: Model) -> str:
    """Return the card of a model: its size; the card of its device has the rest."""
    experiments = of_listing(device_text.experiments(model.device), opened=True)
    return render(model.device.name, size_of(model).replace(" x ", " × "), [experiments] if experiments.rows else [])


def signals_card(signals: Signals, notes: Sequence[str] = ()) -> str:
    """Return the card of signals: best estimates with their error bars, and the values of the grid."""
    heads, rows = signal_table(signals)
    numbers = frozenset(range(2, len(heads)))
    printed = [[*row[:2], *map(_printed, row[2:])] for row in rows]
    parts = [Part("Signals", heads, printed, numbers, open=True), *of_lines("Notes", [*unsafe(signals), *notes])]
    return render(signals.device, solves(signals), parts)


def solves(signals: Signals) -> str:
    """Return size and cost of signals."""
    return (
        f"{signals.cells:,} cells, {signals.unknowns:,} unknowns, order {signals.order}; "
        f"{len(signals.iterations)} solves, {signals.wall_s:.1f} s"
    )


def signal_table(signals: Signals) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of a table of signals."""
    errors, rows = signals.errors, []
    for name, value in signals.values.items():
        unit = signals.units.get(name, "")
        bars = [] if errors is None else [errors.total(name)]
        cells = [readable(value, unit, *bars)]
        if errors is not None:
            cells.append(readable(signals.computed.get(name), unit))
        rows.append([name.experiment, name.signal, *cells])
    return ["experiment", "signal", *(["value"] if errors is None else ["best estimate", "on this grid"])], rows


def _printed(text: str) -> str:
    """Return a number with its unit as pages have it."""
    number, _, unit = text.rpartition(" ")
    return f"{number.replace('+-', '±')} {typeset(unit)}".strip()


def unsafe(signals: Signals) -> list[str]:
    """Return why signals have no estimate beyond the grid, a line for each reason."""
    reasons: dict[str, list[SignalName]] = {}
    for name, reason in (signals.errors.unsafe if signals.errors else {}).items():
        reasons.setdefault(reason, []).append(name)
    return [
        f"No estimate beyond the grid ({reason}): "
        + ("all signals" if len(names) == len(signals.values) else ", ".join(map(str, names)))
        for reason, names in reasons.items()
    ]


def signals_text(signals: Signals) -> str:
    """Return the table of signals as text."""
    heads, rows = signal_table(signals)
    table = columns([heads, *rows], "ll" + "r" * (len(heads) - 2))
    return "\n".join([f"{signals.device}: {solves(signals)}", *table, *unsafe(signals)])


def fit_card(result: FitResult, title: str = "Fit", extra: Sequence[Part] = ()) -> str:
    """Return the card of a fit: parameters, signals with their pulls, correlations and what the data fix."""
    table = html.parameters(result)
    correlations = [
        [name, *(f"{value:+.2f}" if value == value else "-" for value in line)]
        for name, line in zip(result.names, result.correlation, strict=True)
    ]
    numbers = frozenset(range(1, len(result.names) + 1))
    parts = [
        of_section(table, opened=True),
        of_section(html.data(result), opened=True),
        *([Part("Correlations", ["", *result.names], correlations, numbers)] if len(result.names) > 1 else []),
        of_section(html.fixed_by_data(result)),
        of_section(html.criticism(result)),
        *extra,
    ]
    alarm = "" if result.converged else f"Not converged: {result.message}. These numbers are not to be trusted."
    return render(title, html.lead(result), [part for part in parts if part.rows or part.items], alarm=alarm)


def design_card(design: Design) -> str:
    """Return the card of a design: dimensions and signals before and after, and the gain."""
    lengths, signals = design.tables()
    parts = [
        Part("Dimensions", lengths[0], lengths[1:], frozenset((1, 2)), open=True),
        Part(
            "Signals",
            signals[0],
            [[name, *map(_printed, ends)] for name, *ends in signals[1:]],
            frozenset((1, 2)),
            open=True,
        ),
        *of_lines("Outcome", design.outcome(), opened=True),
    ]
    gain, bar = design.gain
    return render(design.device.name, f"{design.objective}: {gain:.3g} ± {bar:.2g} times what it was", parts)


def sensitivity_card(sensitivity: Sensitivity) -> str:
    """Return the card of sensitivities: a row for each parameter that moves a signal, the strongest first."""
    names, order = list(sensitivity.parameters), sensitivity.order()
    table = sensitivity.elasticities[:, [names.index(name) for name in order]].T
    rows = []
    for name, row in zip(order[:LONGEST], table, strict=False):
        unit, size = quantities.shown(name)
        value = f"{sensitivity.parameters[name] / size:.5g} {typeset(unit)}".rstrip()
        # What is too small to be printed, and what is no number, leave the cell empty.
        cells = [
            "zero" if zero else f"{number:+.3f}" if abs(number) >= NOTHING else ""
            for number, zero in zip(row, sensitivity.vanishes, strict=True)
        ]
        rows.append([name, value, *cells])
    heads = ["parameter", "value", *(" ".join(signal) for signal in sensitivity.signals)]
    left = [f"{len(order) - LONGEST} weaker parameters"] if len(order) > LONGEST else []
    below = sensitivity.words()[2 + len(order) :]  # the table of the text has two lines of heads
    part = Part("d ln(signal) / d ln(parameter)", heads, rows, frozenset(range(1, len(heads))), open=True)
    return render("Sensitivity", "", [part, *of_lines("Notes", [*left, *below])])


def text_card(title: str, lines: Sequence[str]) -> str:
    """Return the card of what is text."""
    return render(title, "", [Part("Report", pre="\n".join(lines), open=True)])
