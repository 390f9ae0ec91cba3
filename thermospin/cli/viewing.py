"""The command `view`: a page with a device that turns, and fields on a cut."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thermospin.base.errors import InputError
from thermospin.cli import runtime
from thermospin.cli.options import BathOption, CellsOption, SetOption

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

#: What files of fields are called.
_FIELDS = ".vtr"


def view(
    what: Annotated[
        str,
        typer.Argument(metavar="DEVICE|FIELDS", help="Device file, shipped device, or a file of fields (.vtr) alone."),
    ],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Page to write; default: NAME-view.html.")
    ] = None,
    fields: Annotated[
        str | None,
        typer.Option("--fields", metavar="EXPERIMENT|FIELDS", help="Solve it, or read a .vtr file: fields on a cut."),
    ] = None,
    state: Annotated[str | None, typer.Option(metavar="STATE", help="Magnetic state; default: the first one.")] = None,
    drive: Annotated[
        str | None, typer.Option(metavar="DRIVE", help='Drive of the fields: "2 mA"; default: 1 mA, or as in the file.')
    ] = None,
    set_: SetOption = None,
    bath: BathOption = None,
    cells: CellsOption = None,
    order: Annotated[
        int | None, typer.Option(min=1, max=3, help="Polynomial order of the elements; default: 3.")
    ] = None,
) -> None:
    """A page (HTML, no network) with the device in 3D: layers to switch off, T, V_s and currents on a movable cut."""
    with runtime.exit_codes():
        from thermospin.report.scene import plotly

        plotly()  # before anything is solved
        file = what if what.endswith(_FIELDS) else fields if fields is not None and fields.endswith(_FIELDS) else None
        _require_solved(fields is not None and file is None, state=state, drive=drive, cells=cells, order=order)
        page = Path(f"{Path(what).stem.replace('@', '-')}-view.html") if html is None else html
        runtime.require_writable(page, inputs=[each for each in (what, file) if each is not None])
        if what.endswith(_FIELDS):
            if fields is not None:
                raise InputError(f"{what}: is a file of fields already; with its device: view DEVICE --fields {what}")
            if set_ or bath is not None:
                raise InputError("--set and --bath: are of a device, and a file of fields alone has none")
            figure = _of_file(what)
        else:
            figure = _of_device(what, fields, state, drive, set_, bath, cells, order)
        from thermospin.report.device_scene import write_view

        write_view(page, figure)
        typer.echo(f"{page} is written ({page.stat().st_size / 1e6:.1f} MB); open it in a browser.")


def _require_solved(solved: bool, **given: str | int | None) -> None:
    """Refuse options of a solve where there is none."""
    for option, value in given.items():
        if value is not None and not solved:
            raise InputError(f"--{option}: is of fields that are solved; name their experiment: --fields EXPERIMENT")


def _of_file(path: str) -> Figure:
    from thermospin.base.files import read_vtr
    from thermospin.report.device_scene import fields_view

    return fields_view(read_vtr(path), Path(path).name)


def _of_device(
    name: str,
    wanted: str | None,
    state: str | None,
    drive: str | None,
    set_: list[str] | None,
    bath: str | None,
    cells: int | None,
    order: int | None,
) -> Figure:
    """Return the view of a device, with fields of a file or of an experiment."""
    from thermospin.device.reader import load
    from thermospin.device.settings import changed
    from thermospin.report.device_scene import view as draw
    from thermospin.report.scene import plotly_text

    device = changed(load(name), set_ or (), bath)
    if wanted is None:
        return draw(device)
    if wanted.endswith(_FIELDS):
        from thermospin.base.files import read_vtr

        read = read_vtr(wanted)
        figure = draw(device, read, density=read.cells.get("J"))
        return figure.update_layout(title_text=plotly_text(f"{device.name}, {Path(wanted).name}"))
    from thermospin.base.names import nearest
    from thermospin.device.drives import DRIVES, read_drive, usual_drive

    if wanted not in device.experiments:
        hint = nearest(wanted, device.experiments) if device.experiments else "the device has none"
        raise InputError(f"--fields: experiment '{wanted}' does not exist; {hint}")
    experiment = device.experiments[wanted]
    size = usual_drive(experiment)
    if drive is not None:
        size, kind = read_drive(drive)
        if kind != experiment.drive:
            raise InputError(
                f"--drive: got \"{drive}\", but experiment '{wanted}' is driven by a {DRIVES[experiment.drive].name}"
            )
    state = next(iter(experiment.states)) if state is None else state
    runtime.start_jax()
    from thermospin.model import ORDER, build
    from thermospin.signals.evaluate import fields as solve_fields

    with runtime.Progress() as progress:
        model = build(device, cells=cells, order=order or ORDER, progress=progress)
        found = solve_fields(model, wanted, state, size, progress=progress)
        progress("drawing the cuts")
        return draw(device, found, experiment=wanted, state=state, drive=size)
