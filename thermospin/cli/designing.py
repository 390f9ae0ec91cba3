"""The command design: a better device by its dimensions or by the form of one solid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thermospin.base.errors import InputError
from thermospin.cli import runtime
from thermospin.cli.options import CellsOption, ClusterOption, DeviceArgument, OrderOption, ShardsOption

if TYPE_CHECKING:
    from thermospin.designs.search import Design, Objective
    from thermospin.designs.topology import Form
    from thermospin.device.device import Device


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
        float, typer.Option(metavar="STDS", min=0, help="The worst device so many standard deviations away counts.")
    ] = 0.0,
    current: Annotated[
        str | None, typer.Option(metavar="CURRENT", help='Amplitude that limits are meant at: "2 mA".')
    ] = None,
    max_temperature: Annotated[
        str | None, typer.Option(metavar="RISE", help='Largest rise of the hottest point at that current: "60 K".')
    ] = None,
    max_density: Annotated[
        str | None, typer.Option(metavar="DENSITY", help='Largest current density, mean over a block: "8e11 A/m^2".')
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="FILE", help="Data (CSV) of the fit that a standard error is of.")
    ] = None,
    free: Annotated[
        list[str] | None, typer.Option(metavar="NAME...", help="What that fit frees; default: zeta and the parameter.")
    ] = None,
    form: Annotated[
        str | None, typer.Option(metavar="SOLID", help="Instead of dimensions: where this box should have metal.")
    ] = None,
    tile: Annotated[
        str | None, typer.Option(metavar="LENGTH", help="Size of the tiles of a form; default: half the feature.")
    ] = None,
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

    Writes device.toml, layout.gds, design.json and history.png. Run again in the same way, it goes on where it was.
    """
    with runtime.exit_codes():
        from thermospin.base.units import parse
        from thermospin.data.sources import require_experiments
        from thermospin.device.reader import read, text_of

        text, source = text_of(device)
        loaded = require_experiments(read(text, source, Path(device).parent), device)
        smallest = None if feature is None else parse(feature, "length", key="--feature")
        limits = _limits(current, max_temperature, max_density)
        folder = out if out is not None else Path(f"{loaded.name}-design")
        runtime.require_folder(folder)
        speaks = runtime.join_cluster(cluster)
        runtime.start_jax()
        from thermospin.designs.search import Fit, Objective
        from thermospin.designs.search import design as run_design

        asked, fit = Objective.parse(objective, loaded), None
        if form is not None:
            grid = cells, order, shards
            shape = _free_form(loaded, asked, form, tile, smallest, steps, grid, folder / "journal.jsonl")
            if speaks:
                _write_form(shape, form, text, Path(device).parent, folder)
            return
        if data is not None:
            from thermospin.data.rows import load as load_data

            own = [name for kind, name in asked.wanted if kind == "std"]
            fit = Fit(load_data(data, loaded), tuple(free or dict.fromkeys(["zeta", *own])))
        with runtime.Progress() as progress:
            found = run_design(
                loaded,
                asked,
                vary or None,
                feature=smallest,
                robust=robust,
                limits=limits,
                fit=fit,
                steps=steps,
                starts=starts,
                cells=cells,
                order=order,
                shards=shards,
                journal=folder / "journal.jsonl",
                progress=progress,
            )
        if speaks:
            _write_design(found, text, Path(device).parent, folder)


def _free_form(
    device: Device,
    objective: Objective,
    form: str,
    tile: str | None,
    feature: float | None,
    steps: int,
    grid: tuple[int | None, int, int],
    journal: Path,
) -> Form:
    """Design the form of one solid."""
    from thermospin.base.units import parse
    from thermospin.designs.topology import free_form

    if feature is None:
        raise InputError('--feature: is the smallest feature of the form, and is missing; give such as "40 nm"')
    size = feature / 2 if tile is None else parse(tile, "length", key="--tile")
    cells, order, shards = grid
    with runtime.Progress() as progress:
        return free_form(
            device, objective, form, tile=size, feature=feature, steps=steps, cells=cells, order=order,
            shards=shards, journal=journal, progress=progress,
        )  # fmt: skip


def _write_design(found: Design, text: str, source: Path, folder: Path) -> None:
    """Write the files of a design by dimensions."""
    from thermospin.device.edit import with_lengths
    from thermospin.report.design_figures import design_picture

    lengths = {name: found.device.lengths()[name] for name in found.vary}
    _write_folder(found, with_lengths(text, lengths), source, folder, design_picture, "history.png")


def _write_form(found: Form, form: str, text: str, source: Path, folder: Path) -> None:
    """Write the files of a design by form."""
    from thermospin.device.edit import with_form
    from thermospin.report.design_figures import form_picture

    _write_folder(found, with_form(text, form, found.pieces), source, folder, form_picture, "form.png")


def _write_folder(
    found: Design | Form, text: str, source: Path, folder: Path, draw: Callable[[Any, Path], object], picture: str
) -> None:
    """Write a device file, its layout, the numbers and a picture, and print the summary."""
    from thermospin.base.files import atomic_file, write_json
    from thermospin.device import gds
    from thermospin.device.edit import with_place

    with atomic_file(folder / "device.toml") as file:
        file.write(with_place(text, source, folder).encode())
    gds.write(found.device, folder / "layout.gds")
    write_json(folder / "design.json", found.to_json())
    draw(found, folder / picture)
    for line in found.words():
        typer.echo(line)
    typer.echo(f"{folder} has device.toml, layout.gds, design.json and {picture}.")


def _limits(current: str | None, temperature: str | None, density: str | None) -> Any:
    """Parse the limits of a design from texts."""
    from thermospin.base.units import parse
    from thermospin.designs.search import Limits

    if temperature is None and density is None:
        return None
    if current is None:
        raise InputError('--current: is what limits are meant at, and is missing; give such as --current "2 mA"')
    return Limits(
        parse(current, "current", key="--current"),
        None if temperature is None else parse(temperature, "temperature", key="--max-temperature"),
        None if density is None else parse(density, "current_density", key="--max-density"),
    )
