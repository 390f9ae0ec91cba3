"""Commands about the machine and the installation: demo, slurm, doctor."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from thermospin.base.errors import InputError
from thermospin.cli import runtime, stops
from thermospin.cli.options import CellsOption, OrderOption
from thermospin.cli.signals import require_compatible

#: Shipped devices with a demo.
DEMOS = ("slachter2010", "slachter2010-copper", "pillar")

#: Commands that are no work for a cluster.
NO_JOBS = ("slurm", "new", "cards")

#: Commands that read their inputs before they start JAX, and until then make no more than the folder of their results.
READS_FIRST = ("signals", "sensitivity", "ensemble", "fit", "design")

#: What the parser of a command raises; typer has moved the library that it comes from inside.
USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]


def demo(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Shipped device: slachter2010, slachter2010-copper or pillar.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for figures and data; default: NAME-demo.")
    ] = None,
    cells: CellsOption = None,
    order: OrderOption = 3,
) -> None:
    """The device of a paper, or a claim of it: signals, fit, table against the paper, figures."""
    with runtime.exit_codes():
        from thermospin.base.names import nearest

        if name not in DEMOS:
            raise InputError(f"no demo '{name}'; {nearest(name, DEMOS)}")
        folder = out if out is not None else Path(f"{name}-demo")
        runtime.require_folder(folder)
        runtime.start_jax()
        with runtime.Progress() as progress:
            if name == "slachter2010":
                from thermospin.cli.demo import run_demo

                text = run_demo(name, out=folder, cells=cells, order=order, progress=progress)
            else:
                from thermospin.cli.claims import run_claims

                text = run_claims(name, out=folder, cells=cells, order=order, progress=progress)
        if text:
            typer.echo(text)


def slurm(
    context: typer.Context,
    nodes: Annotated[int, typer.Option(min=1, help="How many nodes.")] = 1,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs of each node, one process each.")] = 1,
    limit: Annotated[str, typer.Option("--time", metavar="TIME", help="Limit: 30 (minutes), 2:00:00, ...")] = "1:00:00",
    name: Annotated[str, typer.Option(metavar="NAME", help="Of the job.")] = "thermospin",
    cpus: Annotated[int, typer.Option(min=1, help="Cores for each process.")] = 4,
    sbatch: Annotated[
        list[str] | None, typer.Option(metavar="OPTION", help='One of Slurm\'s own: "--partition=gpu"; repeatable.')
    ] = None,
    before: Annotated[
        list[str] | None, typer.Option(metavar="LINE", help='Before the command: "module load cuda"; repeatable.')
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there; default: print it.")] = None,
) -> None:
    """A batch file for Slurm: thermospin slurm --gpus 4 --out job.sh -- signals device.toml"""
    with runtime.exit_codes():
        from thermospin.base.files import atomic_file
        from thermospin.parallel.cluster import batch

        options: dict[str, Any] = {"name": name, "nodes": nodes, "gpus": gpus, "limit": limit, "cpus": cpus}
        runtime.require_writable(out, inputs=[part for word in context.args for part in re.split("[,=]", word)])
        if out is not None and out.exists() and not out.read_bytes().startswith(b"#!"):
            raise InputError(f"{out}: is there already, and is no batch file; give another name")
        _require_command(context, nodes * gpus)
        text = batch(context.args, **options, directives=sbatch or (), before=before or ())
        if out is None:
            typer.echo(text, nl=False)
            return
        with atomic_file(out) as file:
            file.write(text.encode())
        typer.echo(f"{out} is written; submit it with: sbatch {out}")


def _require_command(context: typer.Context, count: int) -> None:
    """Refuse a command of so many processes that would fail at once, before it waits in a queue."""
    from thermospin.base.names import nearest
    from thermospin.device.reader import load
    from thermospin.device.settings import changed
    from thermospin.parallel.cluster import as_run

    commands: dict[str, Any] = getattr(getattr(context.parent, "command", None), "commands", {})
    if not context.args or not commands:
        return
    name = context.args[0]
    jobs = [each for each in commands if each not in NO_JOBS]
    if name not in jobs:
        raise InputError(f"slurm: no command '{name}' for a job; {nearest(name, jobs)}")
    words = as_run(context.args, count)
    try:
        inner = commands[name].make_context(name, words[1:])
        given = inner.params
        if name == "signals":
            require_compatible(given["cells"], given["tolerance"], given["errors"], given["shards"])
    except USAGE_ERROR as error:
        raise InputError(f"slurm: {name}: {error.format_message()}") from None  # type: ignore[attr-defined]
    except InputError as error:
        raise InputError(f"slurm: {name}, on {count} GPU{'s' * (count > 1)}: {error}") from None
    wanted = max(given.get("shards", 1), given.get("accelerators", 1))
    if wanted > count:
        raise InputError(f"slurm: {name} asks for {wanted} GPUs, and the job has 1; say that by slurm --gpus alone")
    if name in READS_FIRST:
        with runtime.inputs_only():
            commands[name].invoke(inner)
    elif given.get("device") is not None:
        changed(load(given["device"]), given.get("set_") or (), given.get("bath"))


def doctor(
    cluster: Annotated[
        bool, typer.Option("--cluster", help="In a job of several processes: find the others first.")
    ] = False,
) -> None:
    """Devices, versions, precision, cache, a small scaling test, and what is wrong with how this was started."""
    with runtime.exit_codes():
        if cluster:
            from thermospin.parallel.cluster import join

            join()
            stops.take_back()
        runtime.start_jax()
        from thermospin.parallel.cluster import report

        lines, sound = report()
        for line in lines:
            typer.echo(line)
        runtime.finish(sound, "something is wrong, see above")
