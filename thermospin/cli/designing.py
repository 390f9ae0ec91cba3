"""The command design: a better device by its dimensions or by the form of one solid."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thermospin.base.errors import InputError
from thermospin.cli import runtime, stops
from thermospin.cli.options import (
    BathOption,
    CellsOption,
    ClusterOption,
    DeviceArgument,
    OrderOption,
    SetOption,
    ShardsOption,
)

if TYPE_CHECKING:
    from thermospin.designs.limits import Limits
    from thermospin.designs.objective import Objective, StandardErrorFit
    from thermospin.device.device import Device

#: Name of the journal in the folder of a design.
JOURNAL = "journal.jsonl"


def design(
    device: DeviceArgument,
    objective: Annotated[
        str,
        typer.Option(
            metavar="SIGNAL[/OTHER]",
            help='To be large: "thermal R2.spin", "... / thermal R2.baseline", "... / thermal hottest", "1/std Py.P".',
        ),
    ],
    vary: Annotated[
        list[str] | None, typer.Option(metavar="NAME...", help="Dimensions; default: all that have a range.")
    ] = None,
    feature: Annotated[
        str | None, typer.Option(metavar="LENGTH", help='Nothing along x and y gets smaller, no gap either: "30 nm".')
    ] = None,
    robust: Annotated[
        float,
        typer.Option(
            metavar="STDS", min=0, help="Standard deviations of the dimensions; the worst device that far away counts."
        ),
    ] = 0.0,
    drive: Annotated[
        str | None,
        typer.Option(
            "--drive", "--current", metavar="SIZE", help='Amplitude that limits are meant at: "2 mA", "10 K" or "1 mW".'
        ),
    ] = None,
    max_temperature: Annotated[
        str | None, typer.Option(metavar="RISE", help='Largest rise of the hottest point at that drive: "60 K".')
    ] = None,
    max_density: Annotated[
        str | None, typer.Option(metavar="DENSITY", help='Largest current density, mean over a block: "8e11 A/m^2".')
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="FILE", help="Data (CSV) of the fit that a standard error is of.")
    ] = None,
    free: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME...", help="What that fit frees; default: the parameter, and zeta if there is an R2."
        ),
    ] = None,
    form: Annotated[
        str | None, typer.Option(metavar="SOLID", help="Instead of dimensions: where this box should have metal.")
    ] = None,
    tile: Annotated[
        str | None, typer.Option(metavar="LENGTH", help="Size of the tiles of a form; default: half the feature.")
    ] = None,
    set_: SetOption = None,
    bath: BathOption = None,
    steps: Annotated[int, typer.Option(min=1, help="Most designs to evaluate.")] = 50,
    starts: Annotated[
        int, typer.Option(min=1, help="Number of starting devices, spread over the ranges; the best end counts.")
    ] = 1,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the design; default: NAME-design.")
    ] = None,
    cells: CellsOption = None,
    order: OrderOption = 2,
    shards: ShardsOption = 1,
    cluster: ClusterOption = False,
) -> None:
    """A better device: named dimensions, within their ranges, that make a signal as large as it can be.

    Writes device.toml, layout.gds, design.json and history.png. Run again in the same way, it resumes where it was.
    """
    with runtime.exit_codes():
        from thermospin.designs.objective import Objective
        from thermospin.device import provenance
        from thermospin.device.edit import with_numbers
        from thermospin.device.reader import load, parts_of, require_experiments, text_of
        from thermospin.device.settings import changed

        file = parts_of(device)[0]
        text, _ = text_of(file)
        loaded = changed(require_experiments(load(device), device), set_ or (), bath)
        # What a variant or --set says belongs in the file of the better device.
        text = with_numbers(text, load(file), loaded)
        _require_together(
            form,
            tile,
            {
                "--vary": vary,
                "--robust": robust,
                "--drive": drive,
                "--max-temperature": max_temperature,
                "--max-density": max_density,
                "--data": data,
                "--free": free,
                "--starts": starts - 1,
            },
        )
        limits = _limits(feature, drive, max_temperature, max_density)
        folder = out if out is not None else Path(f"{loaded.name}-design")
        results = "device.toml", "layout.gds", "design.json", "history.png", "form.png", JOURNAL
        runtime.require_folder(folder, results, [device, *([data] if data else [])])
        asked = Objective.parse(objective, loaded)
        of_form = None if form is None else (form, *_sizes(limits.feature, tile))
        fit = _standard_error_fit(data, free or [], asked, loaded)
        stops.resumable(folder / JOURNAL)
        speaks = runtime.join_cluster(cluster)
        runtime.start_jax()
        from thermospin.designs.result import Design
        from thermospin.designs.search import Search
        from thermospin.designs.search import design as by_dimensions
        from thermospin.designs.topology import Form, free_form
        from thermospin.model import GridOptions
        from thermospin.report.design_files import write_design

        work: Callable[..., Design | Form]
        if of_form is not None:
            solid, least, size = of_form
            work = functools.partial(free_form, loaded, asked, solid, tile=size, feature=least, steps=steps)
        else:
            search = Search(steps, starts, robust)
            work = functools.partial(by_dimensions, loaded, asked, vary or None, limits=limits, fit=fit, search=search)
        with runtime.Progress() as progress:
            better = work(grid=GridOptions(cells, order, shards), journal=folder / JOURNAL, progress=progress)
        if speaks:
            *files, picture = write_design(better, folder, text, Path(file).parent)
            load(folder / "device.toml")  # a file that does not load is no success
            lines = [*better.words(), f"{folder} has {', '.join(files)} and {picture}.", *provenance.notes([loaded])]
            typer.echo("\n".join(lines))


def _require_together(form: str | None, tile: str | None, others: Mapping[str, object]) -> None:
    """Refuse options that do nothing: those of dimensions with a form, and a tile without one."""
    given = [name for name, value in others.items() if value]
    if form is not None and given:
        raise InputError(f"--form: goes without {', '.join(given)}, which are for a design by dimensions")
    if form is None and tile is not None:
        raise InputError("--tile: is the size of the tiles of a form; give --form SOLID, or leave it out")


def _sizes(feature: float | None, tile: str | None) -> tuple[float, float]:
    """Return the smallest feature of a form and the size of its tiles, by default half of that [m]."""
    from thermospin.base.units import parse

    if feature is None:
        raise InputError('--feature: is the smallest feature of the form, and is missing; give such as "40 nm"')
    return feature, feature / 2 if tile is None else parse(tile, "length", key="--tile")


def _standard_error_fit(
    data: str | None, free: list[str], objective: Objective, device: Device
) -> StandardErrorFit | None:
    """Return the fit of the standard errors in an objective, None without data.

    Raises:
      InputError: options of a fit that the design does not need, or that lacks data.
    """
    from thermospin.data.rows import load
    from thermospin.designs.objective import STD, StandardErrorFit

    names = [name for kind, name in objective.wanted if kind == STD]
    given = [option for option, value in (("--data", data), ("--free", free)) if value]
    if given and not names:
        raise InputError(
            f"{' and '.join(given)}: the objective '{objective}' has no standard error, which a fit is for; expected "
            f'one such as "1 / std {next(iter(device.parameters()))}", or no {" and no ".join(given)}'
        )
    if data is None:
        if free:
            raise InputError("--free: frees parameters of a fit, whose data are missing; give --data FILE")
        return None
    rows = load(data, device)
    if any(row.harmonic > 1 for row in rows):  # zeta moves no R1
        names = ["zeta", *names]
    return StandardErrorFit(rows, tuple(free or dict.fromkeys(names)))


def _limits(feature: str | None, drive: str | None, temperature: str | None, density: str | None) -> Limits:
    """Parse the limits of a design from texts."""
    from thermospin.base.units import parse
    from thermospin.designs.limits import Limits
    from thermospin.device.drives import read_drive

    smallest = None if feature is None else parse(feature, "length", key="--feature")
    limited = temperature is not None or density is not None
    if drive is None:
        if limited:
            raise InputError('--drive: is what limits are meant at, and is missing; give such as --drive "2 mA"')
        return Limits(feature=smallest)
    size, kind = read_drive(drive)
    if not limited:
        raise InputError("--drive: is what limits are meant at; give --max-temperature or --max-density, or no drive")
    return Limits(
        size,
        None if temperature is None else parse(temperature, "temperature", key="--max-temperature"),
        None if density is None else parse(density, "current_density", key="--max-density"),
        smallest,
        kind,
    )
