"""Commands about measured data: fit and sweeps."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thermospin.base.errors import InputError
from thermospin.cli import runtime, stops
from thermospin.cli.options import (
    AdaptedCellsOption,
    BathOption,
    ClusterOption,
    DeviceArgument,
    JsonOption,
    OptionalDeviceArgument,
    OrderOption,
    SetOption,
    ShardsOption,
    ToleranceOption,
    parse_tolerance,
)

#: Least number of draws of a chain, `nuts.LEAST_DRAWS`: checked before JAX is imported.
LEAST_DRAWS = 4

if TYPE_CHECKING:
    from thermospin.device.device import Device
    from thermospin.studies import Study


def fit(
    device: DeviceArgument,
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA...",
            help="Measured signals (CSV, Excel), lock-in sweeps (TOML, see `sweeps`), or a shipped name.",
        ),
    ],
    free: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME...", help="Parameters to fit, such as Py.S_s zeta; default: chosen by the program."),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEVICE,DATA,...",
            help="Another device and its data, fitted together; its own zeta: NAME:zeta. The same device with other "
            "values: valve.toml,gap=200nm,far.csv.",
        ),
    ] = None,
    prior: Annotated[
        list[str] | None, typer.Option(metavar="NAME=MEAN+-STD", help='Known besides the data: "Py.P = 0.25 +- 0.02".')
    ] = None,
    bounds: Annotated[
        list[str] | None, typer.Option(metavar="NAME=LOW..HIGH", help='Limits: "Py.lambda_sf = 1 nm .. 20 nm".')
    ] = None,
    tie: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=[FACTOR*]OTHER",
            help='Follows another one: "Cu.S = 0.5 * Au.S"; at every bath: "Py.lambda_sf ~ Py.sigma".',
        ),
    ] = None,
    method: Annotated[str, typer.Option(metavar="NAME", help="least_squares, lbfgs or adam.")] = "least_squares",
    starts: Annotated[int, typer.Option(min=1, help="Number of starting points; other minima are reported.")] = 1,
    rescaled: Annotated[
        bool,
        typer.Option("--rescaled", help="Stds of the data are relative weights: the scatter says how large they are."),
    ] = False,
    set_: SetOption = None,
    bath: BathOption = None,
    cells: AdaptedCellsOption = None,
    tolerance: ToleranceOption = None,
    order: OrderOption = 3,
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
            metavar="MODEL",
            help='Fit a rival too: wiedemann-franz, heater-contact, a moved face "z = 15 nm - 3 nm", a file.',
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
        typer.Option(metavar="FILE", help="Keep every evaluation there; run again, the fit resumes from it."),
    ] = None,
    shards: ShardsOption = 1,
    cluster: ClusterOption = False,
    json: JsonOption = None,
) -> None:
    """Fits material values and zeta to measured signals, with standard deviations and correlations."""
    with runtime.exit_codes():
        from thermospin.cli import assignments
        from thermospin.data.sources import read_sources

        wish = parse_tolerance(cells, tolerance)
        inputs = read_sources(
            sources := [(device, data), *(_device_and_data(text) for text in also or ())], set_ or (), bath
        )
        _require_known(free or [], suggest or [], inputs.devices)
        unit = _length_unit(inputs.devices)
        known = (
            assignments.bounds(bounds or (), unit),
            assignments.priors(prior or (), unit),
            assignments.ties(tie or ()),
        )
        moved = assignments.dimensions(dimension or (), unit)
        _require_places(sources, json, journal, report)
        stops.resumable(journal)
        if posterior:
            _require_numpyro(posterior)
        from thermospin import studies
        from thermospin.accuracy.computing import GridChoice
        from thermospin.inference.fit_setup import FitOptions
        from thermospin.inverse import check_fit

        options = FitOptions(method, *known, starts, rescaled)
        check_fit(inputs.devices, inputs.rows, free or None, options)
        extras = studies.Extras(
            profile=profile,
            posterior=posterior,
            budget=report is not None,
            dimensions=moved,
            suggest=suggest or (),
            rivals=studies.rival_models(rival or (), inputs.devices),
        )
        if not runtime.join_cluster(cluster):
            json = report = None
        runtime.start_jax()
        with runtime.Progress() as progress:
            result = studies.study(
                inputs,
                free=free,
                grid=GridChoice(cells, wish, order, shards),
                options=options,
                extras=extras,
                journal=journal,
                progress=progress,
            )
        _write_study(result, json, report)
        runtime.finish(result.met, f"the tolerance {tolerance} was not reached")
        runtime.finish(not result.failed, "\n".join(result.failed))
        runtime.finish(result.fit.converged, "the fit did not converge; its numbers are not to be trusted")
        chains = result.findings.posterior
        runtime.finish(
            chains is None or chains.converged, "the chains have not converged; their numbers are not to be trusted"
        )


def _write_study(result: Study, json: Path | None, report: Path | None) -> None:
    """Write the files of a fit, and print what it found."""
    from thermospin.base.files import write_json
    from thermospin.report.places import numbers_of

    if json is not None:
        write_json(json, result.to_json())
    if report is not None:
        result.write_page(report, command=" ".join(["thermospin", *sys.argv[1:]]))
    for line in result.words():
        typer.echo(line)
    if report is not None:
        typer.echo(f"The page is {report}, its numbers {numbers_of(report)}.")


def _require_places(sources: list[tuple[str, list[str]]], *paths: Path | None) -> None:
    """Refuse places of results, the last one that of the page, with its numbers."""
    from thermospin.report.places import numbers_of

    report = paths[-1]
    read = [name for device, data in sources for name in (device, *data)]
    runtime.require_writable(*paths, None if report is None else numbers_of(report), inputs=read)


def _device_and_data(text: str) -> tuple[str, list[str]]:
    """Return a device and its data from "DEVICE,DATA,..."."""
    device, *data = (part.strip() for part in text.split(","))
    if not device or not data or not all(data):
        raise InputError(f"--also: got '{text}', expected a device and its data, such as wide.toml,wide.csv")
    return device, data


def _length_unit(devices: Sequence[Device]) -> str | None:
    """Return the unit of lengths without one, None where the files of the devices do not agree on it."""
    units = {device.length_unit for device in devices}
    return units.pop() if len(units) == 1 else None


def _require_numpyro(draws: int) -> None:
    from importlib.util import find_spec

    if draws < LEAST_DRAWS:
        raise InputError(f"--posterior: got {draws}, expected at least {LEAST_DRAWS} draws of each chain, such as 1000")
    if find_spec("numpyro") is None:
        raise InputError("--posterior: needs numpyro, which is not installed: pip install 'thermospin[posterior]'")


def _require_known(free: list[str], suggest: list[str], devices: Sequence[Device]) -> None:
    """Refuse names of --free and --suggest that do not exist."""
    from thermospin.base.names import unknown
    from thermospin.device.device import unknown_parameters

    faults = unknown_parameters("--free", free, devices)
    if suggest and len(devices) > 1:
        faults.append("--suggest is for a fit of one device")
    else:
        faults += unknown("--suggest", suggest, [*devices[0].dimensions, "contacts"])
    if faults:
        raise InputError("\n".join(faults))


def sweeps(
    device: OptionalDeviceArgument = None,
    file: Annotated[
        str | None,
        typer.Argument(metavar="FILE", help="Experiment file (TOML), or a shipped name: slachter2010-sweeps."),
    ] = None,
    guess: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Print an experiment file for this table in place of signals, with questions where it does not say.",
        ),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the signals there, in the form that `fit` reads.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw every sweep and its levels (PNG).")] = None,
    json: JsonOption = None,
) -> None:
    """Signals behind lock-in field sweeps: where each switches, its levels, and R1 to R4 with error bars."""
    with runtime.exit_codes():
        from thermospin.base.files import atomic_file, write_json
        from thermospin.data import lockin
        from thermospin.data.rows import write
        from thermospin.device.reader import load, require_experiments

        if guess is not None:
            from thermospin.data.proposal import propose

            if file is not None or csv is not None or picture is not None or json is not None:
                raise InputError(
                    "--guess: prints an experiment file and reads none; expected at most a DEVICE beside it"
                )
            known = None if device is None else require_experiments(load(device), device)
            typer.echo(propose(guess, known), nl=False)
            return
        if device is None or file is None:
            missing = "DEVICE and FILE" if device is None else "FILE"
            raise InputError(f"{missing}: missing, expected thermospin sweeps DEVICE FILE; --guess TABLE writes a FILE")
        loaded = require_experiments(load(device), device)
        runtime.require_writable(csv, json, picture=picture, inputs=[device, file])
        measured = lockin.load(file, loaded)
        lines = measured.words()
        if csv is not None:
            import io

            remarks = measured.lost_in_table(Path(file).name)
            text = io.StringIO()
            write(measured.rows, text, remarks)
            with atomic_file(csv) as out:
                out.write(text.getvalue().encode())
            lines = [*lines, *(f"{csv}: {remark}" for remark in remarks)]
        if json is not None:
            write_json(json, measured.to_json())
        if picture is not None:
            from thermospin.report.sweep_figures import sweeps_picture

            sweeps_picture(measured.sweeps, picture)
        typer.echo("\n".join(lines))
