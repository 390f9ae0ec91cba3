"""Commands about a device and its signals: new, check, signals, sensitivity, ensemble."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thermospin.base.errors import InputError
from thermospin.cli import runtime, stops
from thermospin.cli.options import (
    AdaptedCellsOption,
    BathOption,
    CellsOption,
    ClusterOption,
    DeviceArgument,
    JsonOption,
    OrderOption,
    SetOption,
    ShardsOption,
    ToleranceOption,
    parse_tolerance,
)

if TYPE_CHECKING:
    from thermospin.accuracy.computing import Computed
    from thermospin.device.parts import Partial

#: How many sets without a solution are told, and what is said of those whose values show no reason.
TOLD, UNSOLVED = 5, "a solve did not converge; `check --solve` with these values (--set) tells more"


def signals(
    device: DeviceArgument,
    set_: SetOption = None,
    bath: BathOption = None,
    cells: AdaptedCellsOption = None,
    tolerance: ToleranceOption = None,
    order: OrderOption = 3,
    harmonics: Annotated[int, typer.Option(min=1, max=4, help="Highest harmonic: R1 to R4.")] = 2,
    errors: Annotated[bool, typer.Option(help="Error bars, for which it is solved at lower orders too.")] = True,
    refine: Annotated[
        bool, typer.Option(help="Refine the grid of the fixed rule where error bars are over 2 % of the signals.")
    ] = True,
    shards: ShardsOption = 1,
    cluster: ClusterOption = False,
    json: JsonOption = None,
) -> None:
    """Signals of every experiment of a device: R1, R2, ... in each state, baseline and spin part, with error bars."""
    with runtime.exit_codes():
        from thermospin.device.reader import load, require_experiments
        from thermospin.device.settings import changed

        wish = require_compatible(cells, tolerance, errors, shards)
        loaded = changed(require_experiments(load(device), device), set_ or (), bath)
        runtime.require_writable(json, inputs=[device])
        if not runtime.join_cluster(cluster):
            json = None
        runtime.start_jax()
        from thermospin.accuracy.computing import GridChoice, compute

        with runtime.Progress() as progress:
            computed = compute(
                loaded,
                GridChoice(cells, wish, order, shards),
                harmonics=harmonics,
                errors=errors,
                refine=refine,
                between=lambda before: stops.first(_given(before, json)),
                progress=progress,
            )
        stops.first(None)
        _given(computed, json)()
        runtime.finish(computed.met, f"the tolerance {tolerance} was not reached")


def require_compatible(cells: int | None, tolerance: str | None, errors: bool, shards: int) -> float | None:
    """Refuse options of `signals` that exclude each other; return the tolerance as a part of a whole."""
    wish = parse_tolerance(cells, tolerance)
    adapted = cells is not None or wish is not None
    if adapted and not errors:
        raise InputError("--no-errors goes with the grid of the fixed rule only: without --cells and --tolerance")
    if adapted and shards > 1:
        raise InputError("--shards goes with the grid of the fixed rule only: without --cells and --tolerance")
    return wish


def _given(computed: Computed, json: Path | None) -> Callable[[], None]:
    """Return what writes and prints the signals, quickly, as a stop needs it: what takes time is done before."""
    from thermospin.base.files import write_json

    result = computed.to_json()
    text = "\n".join([_table(result), *computed.notes])

    def give() -> None:
        if json is not None:
            write_json(json, result)
        typer.echo(text)

    return give


def _table(result: dict[str, Any]) -> str:
    """Return the table of signals, which of them are values of the grid and why, and a line about the solver."""
    from rich.console import Console
    from rich.table import Table

    from thermospin.base.units import readable

    def of(name: str, experiment: str, harmonic: str, part: str) -> list[Any]:
        value = result.get(name, {}).get(experiment, {}).get(harmonic, {}).get(part)
        return [] if value is None or value != value else [value]

    shown = ("best estimate +- grid +- solver", "on this grid") if "errors" in result else ("value",)
    title = f"{result['device']}: {result['cells']:,} cells, {result['unknowns']:,} unknowns, order {result['order']}"
    table = Table(title=title, title_justify="left")
    for column in ("experiment", "signal", *shown):
        table.add_column(column, justify="left" if column in ("experiment", "signal") else "right", no_wrap=True)
    reasons: dict[str, list[str]] = {}
    for name, measured in result["experiments"].items():
        for harmonic, values in measured.items():
            for part in (key for key in values if key != "unit"):
                place, signal = (name, harmonic, part), f"{harmonic}.{part}"
                bars = [error for key in ("grid_errors", "solver_errors") for error in of(key, *place)]
                cells = [readable(values[part], values["unit"], *bars)]
                cells += [readable(value, values["unit"]) for value in of("computed", *place)]
                table.add_row(name, signal, *cells)
                for reason in of("unsafe", *place):
                    reasons.setdefault(reason, []).append(f"{name} {signal}")
        table.add_section()
    # No narrower than the numbers: a terminal may wrap a line, rich would cut them off.
    console = Console(width=max(Console().width, 120))
    with console.capture() as captured:
        console.print(table)
    lines = [captured.get().rstrip("\n")]
    for reason, signals in reasons.items():
        which = "all signals" if len(signals) == table.row_count else ", ".join(signals)
        lines.append(f"No estimate beyond the grid ({reason}): {which}")
    solver = result["solver"]
    iterations, residuals = solver["iterations"], solver["relative_residual"]
    lines.append(
        f"{len(iterations)} solves, at most {max(iterations, default=0)} iterations, "
        f"relative residual at most {max(residuals, default=0.0):.1e}, {result['wall_s']:.1f} s"
    )
    return "\n".join(lines)


def sensitivity(
    device: DeviceArgument,
    set_: SetOption = None,
    bath: BathOption = None,
    cells: CellsOption = None,
    order: OrderOption = 3,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the table (PNG, SVG or PDF).")] = None,
    json: JsonOption = None,
) -> None:
    """Show what every material value and every named dimension does to every signal: d ln(signal) / d ln(parameter)."""
    with runtime.exit_codes():
        from thermospin.device import provenance
        from thermospin.device.reader import load, require_experiments
        from thermospin.device.settings import changed

        loaded = changed(require_experiments(load(device), device), set_ or (), bath)
        runtime.require_writable(json, picture=picture, inputs=[device])
        for axis in range(3):
            loaded.face_slopes(axis)  # refused before any work is done
        runtime.start_jax()
        from thermospin.accuracy.sensitivity import sensitivity as of_model
        from thermospin.base.files import write_json
        from thermospin.model import build

        with runtime.Progress() as progress:
            result = of_model(build(loaded, cells=cells, order=order, progress=progress), progress=progress)
        if json is not None:
            write_json(json, result.to_json())
        if picture is not None:
            from thermospin.report.design_figures import sensitivity_picture

            sensitivity_picture(result, picture)
        for line in [*result.words(), *provenance.notes([loaded])]:
            typer.echo(line)
        if not loaded.dimensions:
            typer.echo("The device file names no dimensions; give it a table [dimensions] to see what they do.")


def ensemble(
    device: DeviceArgument,
    sets: Annotated[
        Path,
        typer.Argument(
            metavar="SETS", help="Table (CSV, Excel): a column for each parameter or dimension, a row for each set."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="CSV that the signals go to, row by row.")],
    part: Annotated[
        str,
        typer.Option(
            metavar="K/N",
            help="Every N-th set from the K-th on, for one of N processes, each with its own --out; in turn to one "
            "--out, the last part leaves the whole table.",
        ),
    ] = "1/1",
    set_: SetOption = None,
    bath: BathOption = None,
    cells: CellsOption = None,
    order: OrderOption = 3,
    harmonics: Annotated[int, typer.Option(min=1, max=4, help="Highest harmonic: R1 to R4.")] = 2,
    accelerators: Annotated[
        int, typer.Option("--accelerators", "--devices", min=1, help="GPUs to distribute the sets over.")
    ] = 1,
    shards: Annotated[int, typer.Option("--shards", "--split", min=1, help="GPUs that share each solve.")] = 1,
    at_once: Annotated[int | None, typer.Option(min=1, help="Sets in one batch; default: what memory allows.")] = None,
) -> None:
    """Signals of many parameter sets. Stopped and run again in the same way, it resumes where it was."""
    with runtime.exit_codes():
        from thermospin.device import provenance
        from thermospin.device.reader import load, require_experiments
        from thermospin.device.settings import changed
        from thermospin.inference import ensembles

        share = _parse_part(part)
        loaded = changed(require_experiments(load(device), device), set_ or (), bath)
        given = ensembles.read(sets, loaded)
        if given and all(ensembles.why_none(loaded, each) for each in given):
            raise InputError(f"{sets}: no set has a solution; set 1: {ensembles.why_none(loaded, given[0])}")
        if accelerators % shards:
            raise InputError(f"--shards: got {shards}, expected a divisor of --accelerators, which is {accelerators}")
        runtime.require_writable(out, journal := out.with_name(f"{out.name}.journal"), inputs=[device, sets])
        stops.resumable(journal)
        runtime.start_jax()
        from thermospin.model import build

        wanted = ensembles.wanted_of(loaded, harmonics)
        with runtime.Progress() as progress:
            model = build(loaded, cells=cells, order=order, progress=progress)
            members = ensembles.run(
                model.sharded(shards, accelerators // shards),
                given,
                wanted,
                part=share,
                at_once=at_once,
                journal=journal,
                progress=progress,
            )
            missing = ensembles.write(out, loaded, given, wanted, members)
        typer.echo(f"{out} has the signals, SI units; {journal} is what a stopped run resumes from.")
        for line in provenance.notes([loaded], given[0] if given else ()):
            typer.echo(line)
        told = [f"set {n}: {ensembles.why_none(loaded, given[n - 1]) or UNSOLVED}" for n in missing[:TOLD]]
        more = [f"and {len(missing) - TOLD} more"] * (len(missing) > TOLD)
        runtime.finish(not missing, "\n".join(["sets without a solution, whose cells are empty:", *told, *more]))


def _parse_part(text: str) -> tuple[int, int]:
    """Return K and N from "K/N"."""
    found = re.fullmatch("([0-9]+)/([0-9]+)", text.strip())
    k, n = (int(number) for number in found.groups()) if found else (0, 0)
    if not 1 <= k <= n:
        raise InputError(f'--part: got "{text}", expected K/N with K from 1 to N, such as 2/8')
    return k, n


def check(
    device: DeviceArgument,
    set_: SetOption = None,
    bath: BathOption = None,
    cells: CellsOption = None,
    order: OrderOption = 3,
    solve: Annotated[
        bool, typer.Option("--solve", help="Solve it too, and say whether the numbers can be trusted.")
    ] = False,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the device into this PNG file.")] = None,
) -> None:
    """Faults of a device file; else its materials, contacts and size, and what a computation will take."""
    with runtime.exit_codes():
        from thermospin.device.device import DeviceError
        from thermospin.device.reader import load, require_experiments
        from thermospin.device.settings import changed, variants_in_words

        try:
            loaded = load(device)
        except DeviceError as error:
            _draw_partial(error.partial, picture, device)
            raise
        runtime.require_writable(picture=picture, inputs=[device])
        loaded = changed(require_experiments(loaded, device) if solve else loaded, set_ or (), bath)
        variants = variants_in_words(loaded)
        from thermospin.device.cost import cost
        from thermospin.device.faults import require_apart
        from thermospin.geometry.grid_rule import choose
        from thermospin.report.device_text import describe

        grid = choose(loaded.features, order, cells)
        require_apart(loaded.layout(), grid)
        typer.echo("\n".join([describe(loaded), *variants, str(cost(loaded, grid))]))
        typer.echo("No faults.")
        if picture is not None:
            from thermospin.report.device_figures import device_picture

            device_picture(loaded, picture)
        if solve:
            runtime.start_jax()
            from thermospin.accuracy.self_check import self_check
            from thermospin.model import on_grid

            with runtime.Progress() as progress:
                result = self_check(on_grid(loaded, grid, progress=progress), progress=progress)
            for line in result.words():
                typer.echo(line)
            runtime.finish(result.passed, "the self-check failed; the numbers are not to be trusted")


def _draw_partial(partial: Partial, picture: Path | None, device: str) -> None:
    """Draw what could be read of a device that has faults, and say so or why not: its faults are told next."""
    if picture is None:
        return
    if not partial.solids and not partial.shapes:
        typer.echo(f"{picture} is not written: there is nothing to draw yet.")
        return
    from thermospin.report.layout_figures import partial_picture

    try:
        runtime.require_writable(picture=picture, inputs=[device])
        partial_picture(partial, picture)
    except Exception as problem:  # drawing what is faulty may fail in any way
        runtime.complain(f"{picture} is not written: {problem}")
    else:
        typer.echo(f"{picture} shows what could be read.")


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the device; NAME.toml is written.")],
    gds: Annotated[
        Path | None, typer.Option("--gds", metavar="FILE", help="Layout that the device is drawn in (GDSII, OASIS).")
    ] = None,
    cell: Annotated[str | None, typer.Option(metavar="CELL", help="Of the layout; default: its only top cell.")] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="LAYER", help="A layer that is no film: 61/0, or 10/* for all datatypes."),
    ] = None,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the layout into this PNG file.")] = None,
) -> None:
    """A first device file, with comments: a small device of boxes, or what a layout says."""
    with runtime.exit_codes():
        from thermospin.base.files import atomic_file
        from thermospin.device import gds as layouts
        from thermospin.device import new as newfile

        path = Path(name if name.endswith(".toml") else f"{name}.toml")
        if path.exists():
            raise InputError(f"{path}: is there already; choose another name")
        for option, given in (("--cell", cell), ("--ignore", ignore), ("--picture", picture)):
            if given is not None and gds is None:
                raise InputError(f"{option}: is of a layout; give --gds FILE too")
        runtime.require_writable(path, picture=picture, inputs=[] if gds is None else [gds])
        if gds is None:
            text, blanks, others = newfile.blank(path.stem), "", []
        else:
            try:
                ignored = layouts.parse_layers(ignore or [])
            except InputError as error:
                raise InputError(f"--ignore: {error}") from None
            drawing = layouts.read(gds, cell).without(ignored)
            text = newfile.from_layout(path.stem, drawing, gds, path.parent, ignored)
            blanks = "fill in what is ?, then "
            if picture is not None:
                from thermospin.report.layout_figures import layout_picture

                labels = [(label.text, label.place) for label in drawing.labels]
                window, why = newfile.window_of(drawing)
                layout_picture(drawing.named_shapes(), labels, picture, (window.x, window.y) if why else None)
            others = [other for other in layouts.labelled_cells(gds) if other != drawing.cell]
        with atomic_file(path) as out:
            out.write(text.encode())
        if others and cell is None:
            typer.echo(f"Cell {drawing.cell} is read; --cell takes another one with labels: {', '.join(others)}")
        typer.echo(f"{path} is written; next: {blanks}thermospin check {path}")


def cards(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Of materials or interfaces; default: list them.")
    ] = None,
) -> None:
    """Values of materials and interfaces that ship with the program, each with its source and mark."""
    with runtime.exit_codes():
        from thermospin.device.provenance import card_lines

        typer.echo("\n".join(card_lines(names or ())))
