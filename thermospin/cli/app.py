"""Command line: reads files, calls the verbs of the library, prints tables, and turns errors into exit codes.

0: what was asked for was computed and converged; 1: it was not (a solve or a fit did not converge); 2: bad input, told
line by line; 130: interrupted; 143: terminated (SIGTERM). Nothing heavy is imported before a command needs it, so that
--help is instant.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from thermospin.base.errors import InputError, NotConverged

if TYPE_CHECKING:
    from thermospin.device.device import Device

app = typer.Typer(
    name="thermospin",
    help="Spin-dependent thermoelectricity in nanodevices: signals, gradients and fits from a device file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

#: Rough, for `check`: one solve per unknown on two cores, the compilation before the first one [s], and peak memory
#: as on the shipped device (1.07 GB for 288,497 unknowns, 1.85 GB for 1,018,663), compiler included.
SECONDS_PER_UNKNOWN = 2e-6
SECONDS_TO_COMPILE = 15.0
BYTES_AT_REST = 700 * 2**20
BYTES_PER_UNKNOWN = 1100

DeviceArgument = Annotated[
    str,
    typer.Argument(metavar="DEVICE", help="Device file (TOML), or the name of a shipped device such as slachter2010."),
]
CellsOption = Annotated[int | None, typer.Option(min=1, help="Budget of grid cells; default: chosen by the program.")]
DevicesOption = Annotated[
    int,
    typer.Option(
        "--devices", min=1, help="Split the solves over so many devices (GPUs; on a CPU: its virtual devices)."
    ),
]
ClusterOption = Annotated[
    bool, typer.Option("--cluster", help="One of several processes that a scheduler has started; see `slurm`.")
]
AdaptedCellsOption = Annotated[
    int | None,
    typer.Option(min=1, help="Budget of grid cells, whose places the signals choose; default: a fixed rule."),
]
ToleranceOption = Annotated[
    str | None,
    typer.Option(metavar="PART", help="Refine until error bars are within this part of the signals, such as 1%."),
]
AdaptedOrderOption = Annotated[
    int | None,
    typer.Option(
        min=1, max=3, help="Polynomial order of the elements; default: 2, and 3 where signals choose the grid."
    ),
]
OrderOption = Annotated[int, typer.Option(min=1, max=3, help="Polynomial order of the elements.")]
JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the result to this file as JSON.")
]


class Terminated(KeyboardInterrupt):
    """The signal SIGTERM, which schedulers send before they kill."""


class FitCommand(TyperCommand):
    """Takes `--free A B C` as well as `--free A --free B --free C`, and so for `--suggest`."""

    spread: tuple[str, ...] = ("--free", "--suggest")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Spreads the names after the option before the usual parsing."""
        return super().parse_args(ctx, spread_names(args, *self.spread))


class DesignCommand(FitCommand):
    """The same with --vary."""

    spread = ("--vary", "--free")


def spread_names(args: list[str], *options: str) -> list[str]:
    """Puts an option in front of every name that follows it, up to what is an option or looks like a file."""
    result: list[str] = []
    names, option = False, ""
    for i, arg in enumerate(args):
        if arg.startswith("-"):
            names = False
        elif i and args[i - 1] in options:
            names, option = True, args[i - 1]
        elif names and _is_name(arg):
            result.append(option)
        else:
            names = False
        result.append(arg)
    return result


def _is_name(arg: str) -> bool:
    if arg.rpartition(":")[2].isidentifier():  # zeta, or a dimension, where it is no device or data set
        from thermospin.device.reader import shipped_names

        return not (Path(arg).exists() or arg in shipped_names())
    return "." in arg and "/" not in arg and not arg.endswith((".csv", ".toml"))


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Turns what can go wrong into one message on stderr and an exit code."""
    try:
        yield
    except Terminated:
        _complain("terminated; a journal keeps what was computed, run the same command again to go on")
        raise typer.Exit(143) from None
    except KeyboardInterrupt:
        _complain("interrupted")
        raise typer.Exit(130) from None
    except (InputError, OSError) as error:
        _complain(str(error))
        raise typer.Exit(2) from None
    except NotConverged as error:
        _complain(str(error))
        raise typer.Exit(1) from None
    except MemoryError:
        _complain("out of memory; ask for fewer cells with --cells")
        raise typer.Exit(1) from None


def _complain(text: str) -> None:
    typer.echo(text, err=True)


class Progress:
    """One line that tells what goes on: replaced in place on a terminal, else a new line every few seconds."""

    def __init__(self, every: float = 5.0) -> None:
        from rich.console import Console

        self._status = Console(stderr=True).status("starting") if sys.stderr.isatty() else None
        self._every, self._last = every, time.monotonic()

    def __enter__(self) -> Progress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, text: str) -> None:
        """Shows the line."""
        if self._status is not None:
            self._status.update(text)
        elif time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            _complain(text)


def start_jax() -> None:
    """Double precision, and compiled programs kept between runs (THERMOSPIN_CACHE: where; empty: not at all)."""
    from thermospin.cli.runtime import quickly

    quickly()
    import jax

    jax.config.update("jax_enable_x64", True)
    folder = os.environ.get("THERMOSPIN_CACHE")
    if folder is None:
        import platformdirs

        folder = platformdirs.user_cache_dir("thermospin", appauthor=False)
    if not folder:
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        _try_to_write(Path(folder))
    except OSError as error:
        _complain(f"compiled programs are not kept: {folder}: {error.strerror} (THERMOSPIN_CACHE names another folder)")
        return
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def _try_to_write(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder):
        pass


def require_writable(path: Path | None) -> None:
    """Refuses a place for a file that cannot be written, before any work is done for it."""
    if path is None:
        return
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: cannot be written: it is not a regular file")
    try:
        _try_to_write(path.resolve().parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {path.resolve().parent}: {error.strerror}") from None


def require_folder(path: Path) -> None:
    """Makes a folder, refusing one that cannot be made or written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        _try_to_write(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be used as a folder for results: {error.strerror}") from None


@app.command()
def demo(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Shipped device, such as slachter2010.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for figures and data; default: NAME-demo.")
    ] = None,
    cells: CellsOption = None,
    order: OrderOption = 2,
) -> None:
    """The device of a paper: signals, fit, table against the paper, figures."""
    with exit_codes():
        from thermospin.base.names import nearest
        from thermospin.device.reader import shipped_names

        if name not in shipped_names():
            raise InputError(f"no demo '{name}'; {nearest(name, shipped_names())}")
        folder = out if out is not None else Path(f"{name}-demo")
        require_folder(folder)
        start_jax()
        from thermospin.cli.demo import run_demo

        with Progress() as progress:
            text = run_demo(name, out=folder, cells=cells, order=order, progress=progress)
        if text:
            typer.echo(text)


@app.command()
def signals(
    device: DeviceArgument,
    cells: AdaptedCellsOption = None,
    tolerance: ToleranceOption = None,
    order: OrderOption = 3,
    harmonics: Annotated[int, typer.Option(min=1, max=4, help="Highest harmonic: R1 to R4.")] = 2,
    errors: Annotated[bool, typer.Option(help="Error bars, for which it is solved at lower orders too.")] = True,
    extrapolate: Annotated[
        bool, typer.Option(help="Print what the orders lead to, where that is safe; needs order 3.")
    ] = False,
    devices: DevicesOption = 1,
    cluster: ClusterOption = False,
    json: JsonOption = None,
) -> None:
    """Signals of every experiment of a device: R1, R2, ... in each state, baseline and spin part, with error bars."""
    with exit_codes():
        from thermospin.data.sources import require_experiments
        from thermospin.device.reader import load

        wish = _wish(cells, tolerance)
        adapted = cells is not None or wish is not None
        if extrapolate and (order != 3 or not errors):
            raise InputError(
                "--extrapolate compares the orders 1, 2 and 3: it needs --order 3, and goes without --no-errors"
            )
        if adapted and not errors:
            raise InputError("--no-errors goes with the grid of the fixed rule only: without --cells and --tolerance")
        if adapted and devices > 1:
            raise InputError("--devices goes with the grid of the fixed rule only: without --cells and --tolerance")
        loaded = require_experiments(load(device), device)
        require_writable(json)
        if not _speaks(cluster):
            json = None
        start_jax()
        from thermospin.base.files import write_json

        notes, met = [], True
        with Progress() as progress:
            if adapted:
                from thermospin.accuracy.adapt import adapt

                found = adapt(
                    loaded,
                    cells=cells,
                    tolerance=wish,
                    order=order,
                    harmonics=harmonics,
                    devices=devices,
                    progress=progress,
                )
                result, met = found.to_json(), found.met
                notes = found.words()
            else:
                from thermospin.signals.evaluate import build, measure

                model = build(loaded, order=order, progress=progress)
                model = model if devices == 1 else model.on_devices(devices)
                measured = measure(model, harmonics=harmonics, progress=progress)
                if errors:
                    from thermospin.accuracy.error_bars import assess

                    measured = assess(model, measured, progress=progress)
                result = measured.to_json()
        if json is not None:
            write_json(json, result)
        _print_signals(result, extrapolate)
        for line in notes:
            typer.echo(line)
        _finish(result["solver"]["converged"], "a solve did not converge; the numbers are not to be trusted")
        _finish(met, f"the tolerance {tolerance} was not reached with as many unknowns as are allowed")


def _speaks(cluster: bool) -> bool:
    """Joins the other processes, if there are any; whether this one prints and writes for all."""
    if not cluster:
        return True
    from thermospin.parallel.cluster import join

    number, _ = join()
    if number:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  until the process ends
    return not number


def _wish(cells: int | None, text: str | None) -> float | None:
    """The tolerance as a part of a whole, from text such as "1%" or "0.01"."""
    if text is None:
        return None
    if cells is not None:
        raise InputError("--cells and --tolerance: give one of them")
    digits, percent, rest = text.strip().partition("%")
    try:
        value = float(digits) / (100 if percent else 1)
    except ValueError:
        value = 0.0
    if rest or not 0 < value < 1:
        raise InputError(f"--tolerance: got '{text}', expected a part of the signals such as 1% or 0.01")
    return value


@app.command(cls=FitCommand)
def fit(
    device: DeviceArgument,
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA...", help="Measured signals (CSV), lock-in sweeps (TOML, see `sweeps`), or a shipped name."
        ),
    ],
    free: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME...", help="Parameters to fit, such as Py.S_s zeta; default: chosen by the program."),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEVICE,DATA,...", help="Another device and its data, fitted together; its own zeta: NAME:zeta."
        ),
    ] = None,
    prior: Annotated[
        list[str] | None, typer.Option(metavar="NAME=MEAN+-STD", help='Known besides the data: "Py.P = 0.25 +- 0.02".')
    ] = None,
    bounds: Annotated[
        list[str] | None, typer.Option(metavar="NAME=LOW..HIGH", help='Limits: "Py.lambda_sf = 1 nm .. 20 nm".')
    ] = None,
    tie: Annotated[
        list[str] | None, typer.Option(metavar="NAME=[FACTOR*]OTHER", help='Follows another one: "Cu.S = 0.5 * Au.S".')
    ] = None,
    method: Annotated[str, typer.Option(metavar="NAME", help="least_squares, lbfgs or adam.")] = "least_squares",
    starts: Annotated[int, typer.Option(min=1, help="So many starts; other minima are told.")] = 1,
    rescaled: Annotated[
        bool, typer.Option("--rescaled", help="Standard deviations times sqrt(reduced chi2): stds of data as weights.")
    ] = False,
    cells: AdaptedCellsOption = None,
    tolerance: ToleranceOption = None,
    order: AdaptedOrderOption = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Profile likelihoods: limits that hold where chi2 is no parabola.")
    ] = False,
    posterior: Annotated[
        int, typer.Option(metavar="DRAWS", min=0, help="So many draws of each of 4 NUTS chains, on an emulator.")
    ] = 0,
    dimension: Annotated[
        list[str] | None,
        typer.Option(metavar="AXIS=FACE+-STD", help='For the budget: "z = 15 nm +- 1 nm", all above moves along.'),
    ] = None,
    rival: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL", help='Fit a rival too: wiedemann-franz, a moved face "z = 15 nm - 3 nm", a file.'
        ),
    ] = None,
    suggest: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME...", help="What another value of these dimensions, or other contacts, would help to know."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page (HTML) with figures, budget and provenance.")
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep every evaluation there; run again, the fit goes on from it."),
    ] = None,
    split: DevicesOption = 1,
    cluster: ClusterOption = False,
    json: JsonOption = None,
) -> None:
    """Fits material values and zeta to measured signals, with standard deviations and correlations."""
    with exit_codes():
        from thermospin.cli import assignments
        from thermospin.data.sources import read_sources

        wish = _wish(cells, tolerance)
        inputs = read_sources([(device, data), *(_device_and_data(text) for text in also or ())])
        _require_parameters(free or [], inputs.devices)
        _require_suggestions(suggest or [], inputs.devices)
        known: dict[str, Any] = {
            "priors": assignments.priors(prior or ()),
            "bounds": assignments.bounds(bounds or ()),
            "ties": assignments.ties(tie or ()),
        }
        moved = assignments.dimensions(dimension or ())
        for path in (json, journal, report):
            require_writable(path)
        if posterior:
            _require_numpyro()
        if not _speaks(cluster):
            json = report = None
        start_jax()
        from thermospin import studies
        from thermospin.base.files import write_json

        extras = studies.Extras(
            profile=profile,
            posterior=posterior,
            budget=report is not None,
            dimensions=moved,
            suggest=suggest or (),
            rivals=studies.rival_devices(rival or (), inputs.devices),
        )
        with Progress() as progress:
            found = studies.study(
                inputs,
                free=free,
                grid=studies.GridChoice(cells, wish, order, split),
                options=studies.FitOptions(method, starts=starts, rescaled=rescaled, **known),
                extras=extras,
                journal=journal,
                progress=progress,
            )
        if json is not None:
            write_json(json, found.to_json())
        for line in found.words():
            typer.echo(line)
        if report is not None:
            found.write_page(report, command=" ".join(["thermospin", *sys.argv[1:]]))
            typer.echo(f"The page is {report}, its numbers {report.with_suffix('.csv')}.")
        _finish(found.met, f"the tolerance {tolerance} was not reached with as many unknowns as are allowed")
        _finish(found.fit.to_json()["converged"], "the fit did not converge; its numbers are not to be trusted")


@app.command()
def sensitivity(
    device: DeviceArgument,
    cells: CellsOption = None,
    order: OrderOption = 3,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the table (PNG, SVG or PDF).")] = None,
    json: JsonOption = None,
) -> None:
    """What every material value and every named dimension does to every signal: d ln(signal) / d ln(parameter)."""
    with exit_codes():
        from thermospin.data.sources import require_experiments
        from thermospin.device.reader import load

        loaded = require_experiments(load(device), device)
        for path in (picture, json):
            require_writable(path)
        start_jax()
        from thermospin.accuracy.sensitivity import sensitivity as of_model
        from thermospin.base.files import write_json
        from thermospin.signals.evaluate import build

        for axis in range(3):
            loaded.face_slopes(axis)  # refused before any work is done
        with Progress() as progress:
            found = of_model(build(loaded, cells=cells, order=order, progress=progress), progress=progress)
        for line in found.words():
            typer.echo(line)
        if not loaded.dimensions:
            typer.echo("The device file names no dimensions; give it a table [dimensions] to see what they do.")
        if json is not None:
            write_json(json, found.to_json())
        if picture is not None:
            from thermospin.report.design_figures import sensitivity_picture

            sensitivity_picture(found, picture)


@app.command(cls=DesignCommand)
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
    steps: Annotated[int, typer.Option(min=1, help="So many devices at most.")] = 50,
    starts: Annotated[
        int, typer.Option(min=1, help="From so many devices, spread over the ranges; the best end counts.")
    ] = 1,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the design; default: NAME-design.")
    ] = None,
    cells: CellsOption = None,
    order: OrderOption = 2,
    devices: DevicesOption = 1,
    cluster: ClusterOption = False,
) -> None:
    """A better device: named dimensions, within their ranges, that make a signal as large as it can be.

    Writes device.toml, layout.gds, design.json and history.png. Run again in the same way, it goes on where it was.
    """
    with exit_codes():
        from thermospin.base.units import parse
        from thermospin.data.sources import require_experiments
        from thermospin.device.edit import with_lengths, with_place
        from thermospin.device.reader import read, text_of

        text, source = text_of(device)
        loaded = require_experiments(read(text, source, Path(device).parent), device)
        smallest = None if feature is None else parse(feature, "length", key="--feature")
        limits = _limits(current, max_temperature, max_density)
        folder = out if out is not None else Path(f"{loaded.name}-design")
        require_folder(folder)
        speaks = _speaks(cluster)
        start_jax()
        from thermospin.base.files import atomic_file, write_json
        from thermospin.designs.search import Fit, Objective
        from thermospin.designs.search import design as run_design
        from thermospin.device import gds
        from thermospin.report.design_figures import design_picture

        asked, fit = Objective.parse(objective, loaded), None
        if form is not None:
            grid = cells, order, devices
            _free_form(text, loaded, asked, form, tile, smallest, steps, folder, grid, Path(device).parent, speaks)
            return
        if data is not None:
            from thermospin.data.rows import load as load_data

            own = [name for kind, name in asked.wanted if kind == "std"]
            fit = Fit(load_data(data, loaded), tuple(free or dict.fromkeys(["zeta", *own])))
        with Progress() as progress:
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
                devices=devices,
                journal=folder / "journal.jsonl",
                progress=progress,
            )
        if not speaks:
            return
        with atomic_file(folder / "device.toml") as file:
            lengths = {name: found.device.lengths()[name] for name in found.vary}
            file.write(with_place(with_lengths(text, lengths), Path(device).parent, folder).encode())
        gds.write(found.device, folder / "layout.gds")
        write_json(folder / "design.json", found.to_json())
        design_picture(found, folder / "history.png")
        for line in found.words():
            typer.echo(line)
        typer.echo(f"{folder} has device.toml, layout.gds, design.json and history.png.")


def _free_form(
    text: str,
    device: Device,
    objective: Any,
    form: str,
    tile: str | None,
    feature: float | None,
    steps: int,
    folder: Path,
    grid: tuple[int | None, int, int],
    source: Path,
    speaks: bool,
) -> None:
    """The form of one solid, and its files."""
    from thermospin.base.files import atomic_file, write_json
    from thermospin.base.units import parse
    from thermospin.designs.topology import free_form
    from thermospin.device import gds
    from thermospin.device.edit import with_form, with_place
    from thermospin.report.design_figures import form_picture

    if feature is None:
        raise InputError('--feature: is the smallest feature of the form, and is missing; give such as "40 nm"')
    size = feature / 2 if tile is None else parse(tile, "length", key="--tile")
    cells, order, devices = grid
    with Progress() as progress:
        found = free_form(
            device, objective, form, tile=size, feature=feature, steps=steps, cells=cells, order=order,
            devices=devices, journal=folder / "journal.jsonl", progress=progress,
        )  # fmt: skip
    if not speaks:
        return
    with atomic_file(folder / "device.toml") as file:
        file.write(with_place(with_form(text, form, found.pieces), source, folder).encode())
    gds.write(found.device, folder / "layout.gds")
    write_json(folder / "design.json", found.to_json())
    form_picture(found, folder / "form.png")
    for line in found.words():
        typer.echo(line)
    typer.echo(f"{folder} has device.toml, layout.gds, design.json and form.png.")


def _limits(current: str | None, temperature: str | None, density: str | None) -> Any:
    """Limits of a design from texts."""
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


@app.command()
def sweeps(
    device: DeviceArgument,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Experiment file (TOML), or a shipped name: slachter2010-sweeps.")
    ],
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the signals there, in the form that `fit` reads.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw every sweep and its levels (PNG).")] = None,
    json: JsonOption = None,
) -> None:
    """Signals behind lock-in field sweeps: where each switches, its levels, and R1 to R4 with error bars."""
    with exit_codes():
        from thermospin.base.files import atomic_file, write_json
        from thermospin.data import lockin
        from thermospin.data.rows import write
        from thermospin.data.sources import require_experiments
        from thermospin.device.reader import load

        loaded = require_experiments(load(device), device)
        for path in (csv, picture, json):
            require_writable(path)
        measured = lockin.load(file, loaded)
        for line in measured.words():
            typer.echo(line)
        if csv is not None:
            import io

            text = io.StringIO()
            write(measured.rows, text)
            with atomic_file(csv) as out:
                out.write(text.getvalue().encode())
        if json is not None:
            write_json(json, measured.to_json())
        if picture is not None:
            from thermospin.report.figures import sweeps_picture

            sweeps_picture(measured.sweeps, picture)


@app.command()
def ensemble(
    device: DeviceArgument,
    sets: Annotated[
        Path, typer.Argument(metavar="SETS", help="CSV: a column for each parameter or dimension, a row for each set.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="CSV that the signals go to, row by row.")],
    part: Annotated[
        str, typer.Option(metavar="K/N", help="Every N-th set from the K-th on, for one of N processes.")
    ] = "1/1",
    cells: CellsOption = None,
    order: OrderOption = 2,
    harmonics: Annotated[int, typer.Option(min=1, max=4, help="Highest harmonic: R1 to R4.")] = 2,
    devices: Annotated[int, typer.Option(min=1, help="Share out the sets among so many devices (GPUs).")] = 1,
    split: Annotated[int, typer.Option(min=1, help="Split each solve over so many of these devices.")] = 1,
    at_once: Annotated[
        int | None, typer.Option(min=1, help="Sets side by side in one program; default: what memory allows.")
    ] = None,
) -> None:
    """Signals of many parameter sets. Stopped and run again in the same way, it goes on where it was."""
    with exit_codes():
        import csv

        from thermospin.data.sources import require_experiments
        from thermospin.device.reader import load
        from thermospin.inference import ensembles

        loaded = require_experiments(load(device), device)
        found = ensembles.read(sets, loaded)
        numbers = part.split("/")
        if len(numbers) != 2 or not all(each.isdigit() for each in numbers):
            raise InputError(f'--part: got "{part}", expected such as 2/8')
        if devices % split:
            raise InputError(f"--split: got {split}, expected a divisor of --devices, which is {devices}")
        require_writable(out)
        start_jax()
        from thermospin.signals.evaluate import build

        wanted = ensembles.wanted_of(loaded, harmonics)
        names = list(dict.fromkeys(name for each in found for name in each))
        missing, own = 0, loaded.numbers()
        with Progress() as progress:
            model = build(loaded, cells=cells, order=order, progress=progress)
            members = ensembles.run(
                model.on_devices(split, devices // split),
                found,
                wanted,
                part=(int(numbers[0]), int(numbers[1])),
                at_once=at_once,
                journal=out.with_name(out.name + ".journal"),
                progress=progress,
            )
            first = next(members, None)  # a journal of another run is refused before anything is overwritten
            with out.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(["set", *names, *(" ".join(pair) for pair in wanted)])
                for member in itertools.chain([first] if first else [], members):
                    values = [f"{float(value)!r}" if value == value else "" for value in member.values]
                    missing += "" in values
                    given = [repr(float(member.parameters.get(name, own[name]))) for name in names]
                    writer.writerow([member.number, *given, *values])
                    file.flush()
        typer.echo(f"{out} has the signals, SI units; {out}.journal is what a stopped run goes on from.")
        _finish(not missing, f"{missing} sets have no solution, their cells are empty")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def slurm(
    context: typer.Context,
    nodes: Annotated[int, typer.Option(min=1, help="How many nodes.")] = 1,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs of each node, one process each.")] = 1,
    limit: Annotated[str, typer.Option("--time", metavar="TIME", help="Limit: 30 (minutes), 2:00:00, ...")] = "1:00:00",
    name: Annotated[str, typer.Option(metavar="NAME", help="Of the job.")] = "thermospin",
    cpus: Annotated[int, typer.Option(min=1, help="Cores for each process.")] = 4,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there; default: print it.")] = None,
) -> None:
    """A batch file for Slurm: thermospin slurm --gpus 4 --out job.sh -- signals device.toml"""
    with exit_codes():
        from thermospin.base.files import atomic_file
        from thermospin.parallel.cluster import batch

        text = batch(context.args, name=name, nodes=nodes, gpus=gpus, limit=limit, cpus=cpus)
        if out is None:
            typer.echo(text, nl=False)
            return
        require_writable(out)
        with atomic_file(out) as file:
            file.write(text.encode())
        typer.echo(f"{out} is written; submit it with: sbatch {out}")


@app.command()
def doctor(
    cluster: Annotated[
        bool, typer.Option("--cluster", help="In a job of several processes: find the others first.")
    ] = False,
) -> None:
    """Devices, versions, precision, cache, a small scaling test, and what is wrong with how this was started."""
    with exit_codes():
        if cluster:
            from thermospin.parallel.cluster import join

            join()
        start_jax()
        from thermospin.parallel.cluster import report

        lines, sound = report()
        for line in lines:
            typer.echo(line)
        _finish(sound, "something is wrong, see above")


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the device; NAME.toml is written.")],
    gds: Annotated[
        Path | None, typer.Option("--gds", metavar="FILE", help="Layout that the device is drawn in (GDSII, OASIS).")
    ] = None,
    cell: Annotated[str | None, typer.Option(metavar="CELL", help="Of the layout; default: its only top cell.")] = None,
) -> None:
    """A first device file, with comments: a small device of boxes, or what a layout says."""
    with exit_codes():
        from thermospin.base.files import atomic_file
        from thermospin.device import new as newfile

        path = Path(name if name.endswith(".toml") else f"{name}.toml")
        if path.exists():
            raise InputError(f"{path}: is there already; choose another name")
        if cell is not None and gds is None:
            raise InputError("--cell: is of a layout; give --gds FILE too")
        require_writable(path)
        text = newfile.blank(path.stem) if gds is None else newfile.from_layout(path.stem, gds, path.parent, cell)
        with atomic_file(path) as out:
            out.write(text.encode())
        blanks = "" if gds is None else "fill in what is ?, then "
        typer.echo(f"{path} is written; next: {blanks}thermospin check {path}")


@app.command()
def check(
    device: DeviceArgument,
    cells: CellsOption = None,
    order: OrderOption = 3,
    solve: Annotated[
        bool, typer.Option("--solve", help="Solve it too, and say whether the numbers can be trusted.")
    ] = False,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the device into this PNG file.")] = None,
) -> None:
    """Faults of a device file; else its materials, contacts and size, and what a computation will take."""
    with exit_codes():
        from thermospin.data.sources import require_experiments
        from thermospin.device.reader import load

        loaded = require_experiments(load(device), device) if solve else load(device)
        require_writable(picture)
        from thermospin.grid import choose
        from thermospin.report import device_text as overview

        grid = choose(loaded.features, order, cells)
        unknowns = grid.unknowns([loaded.materials[material].is_metal for material, _ in loaded.domains])
        typer.echo(overview.describe(loaded))
        solves = 2 * sum(len(experiment.states) for experiment in loaded.experiments.values())
        memory = (BYTES_AT_REST + unknowns * BYTES_PER_UNKNOWN) / 2**20
        seconds = SECONDS_TO_COMPILE + solves * unknowns * SECONDS_PER_UNKNOWN
        typer.echo(
            f"Cost at order {order}: {grid.cells:,} cells, {unknowns:,} unknowns, about "
            f"{memory:,.0f} MiB, about {seconds:.0f} s for the signals on two cores"
        )
        if picture is not None:
            from thermospin.report.figures import device_picture

            device_picture(loaded, picture)
        typer.echo("No faults.")
        if solve:
            start_jax()
            from thermospin.accuracy.self_check import self_check
            from thermospin.model import on_grid

            with Progress() as progress:
                result = self_check(on_grid(loaded, grid, progress=progress), progress=progress)
            for line in result.words():
                typer.echo(line)
            _finish(result.passed, "the self-check failed; the numbers are not to be trusted")


def _device_and_data(text: str) -> tuple[str, list[str]]:
    """A device and its data from "DEVICE,DATA,..."."""
    device, *data = (part.strip() for part in text.split(","))
    if not device or not data or not all(data):
        raise InputError(f"--also: got '{text}', expected a device and its data, such as wide.toml,wide.csv")
    return device, data


def _require_numpyro() -> None:
    from importlib.util import find_spec

    if find_spec("numpyro") is None:
        raise InputError("--posterior: needs numpyro, which is not installed: pip install 'thermospin[posterior]'")


def _require_parameters(names: list[str], devices: Sequence[Device]) -> None:
    from thermospin.base.names import nearest
    from thermospin.device.device import known_parameters

    known = known_parameters(devices)
    faults = [f"--free: got '{name}'; {nearest(name, known)}" for name in names if name not in known]
    if faults:
        raise InputError("\n".join(faults))


def _require_suggestions(names: list[str], devices: Sequence[Device]) -> None:
    from thermospin.base.names import nearest

    known = [*devices[0].dimensions, "contacts"]
    unknown = [f"--suggest: got '{name}'; {nearest(name, known)}" for name in names if name not in known]
    if names and len(devices) > 1:
        unknown = ["--suggest is for a fit of one device"]
    if unknown:
        raise InputError("\n".join(unknown))


def _print_signals(result: dict[str, Any], extrapolate: bool = False) -> None:
    from rich.console import Console
    from rich.table import Table

    from thermospin.base.units import readable

    def of(name: str, experiment: str, harmonic: str, part: str) -> list[float]:
        value = result.get(name, {}).get(experiment, {}).get(harmonic, {}).get(part)
        return [] if value is None or value != value else [value]

    shown = "value +- grid +- solver" if "errors" in result else "value"
    title = f"{result['device']}: {result['cells']:,} cells, {result['unknowns']:,} unknowns, order {result['order']}"
    table = Table(title=title, title_justify="left")
    columns = ("experiment", "signal", shown, *(["orders lead to"] if extrapolate else []))
    for column in columns:
        table.add_column(column, justify="left" if column in ("experiment", "signal") else "right", no_wrap=True)
    for name, measured in result["experiments"].items():
        for harmonic, values in measured.items():
            for part in (each for each in values if each != "unit"):
                place = name, harmonic, part
                bars = [error for key in ("grid_errors", "solver_errors") for error in of(key, *place)]
                cells = [readable(values[part], values["unit"], *bars)]
                if extrapolate:
                    limit = of("extrapolated", *place)
                    error = of("extrapolated_errors", *place)
                    cells.append(readable(limit[0], values["unit"], *error) if limit else "not safe")
                table.add_row(name, f"{harmonic}.{part}", *cells)
        table.add_section()
    # No narrower than the numbers: a terminal may wrap a line, rich would cut them off.
    Console(width=max(Console().width, 120)).print(table)
    solver = result["solver"]
    iterations, residuals = solver["iterations"], solver["relative_residual"]
    typer.echo(
        f"{len(iterations)} solves, at most {max(iterations, default=0)} iterations, "
        f"relative residual at most {max(residuals, default=0.0):.1e}, {result['wall_s']:.1f} s"
    )


def _finish(converged: bool, otherwise: str) -> None:
    if not converged:
        _complain(otherwise)
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the command `thermospin`."""

    def terminate(*_: object) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        app()
    except KeyboardInterrupt as stop:
        ended = isinstance(stop, Terminated)
        _complain("terminated" if ended else "interrupted")
        sys.exit(143 if ended else 130)


if __name__ == "__main__":
    main()
