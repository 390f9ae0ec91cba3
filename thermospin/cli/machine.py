"""Commands about the machine and the installation: demo, slurm, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thermospin.base.errors import InputError
from thermospin.cli import runtime
from thermospin.cli.options import CellsOption, OrderOption


def demo(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Shipped device, such as slachter2010.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for figures and data; default: NAME-demo.")
    ] = None,
    cells: CellsOption = None,
    order: OrderOption = 2,
) -> None:
    """The device of a paper: signals, fit, table against the paper, figures."""
    with runtime.exit_codes():
        from thermospin.base.names import nearest
        from thermospin.device.reader import shipped_names

        if name not in shipped_names():
            raise InputError(f"no demo '{name}'; {nearest(name, shipped_names())}")
        folder = out if out is not None else Path(f"{name}-demo")
        runtime.require_folder(folder)
        runtime.start_jax()
        from thermospin.cli.demo import run_demo

        with runtime.Progress() as progress:
            text = run_demo(name, out=folder, cells=cells, order=order, progress=progress)
        if text:
            typer.echo(text)


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
    with runtime.exit_codes():
        from thermospin.base.files import atomic_file
        from thermospin.parallel.cluster import batch

        text = batch(context.args, name=name, nodes=nodes, gpus=gpus, limit=limit, cpus=cpus)
        if out is None:
            typer.echo(text, nl=False)
            return
        runtime.require_writable(out)
        with atomic_file(out) as file:
            file.write(text.encode())
        typer.echo(f"{out} is written; submit it with: sbatch {out}")


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
        runtime.start_jax()
        from thermospin.parallel.cluster import report

        lines, sound = report()
        for line in lines:
            typer.echo(line)
        runtime.finish(sound, "something is wrong, see above")
