"""Command line: reads files, calls the verbs of the library, prints tables, and turns errors into exit codes.

0: what was asked for was computed and converged; 1: it was not (a solve or a fit did not converge); 2: bad input, named
line by line; 130: interrupted; 143: terminated (SIGTERM). Nothing heavy is imported before a command needs it, so that
--help is instant.
"""

from __future__ import annotations

from typing import Annotated

import typer

from thermospin.base.version import __version__
from thermospin.cli import designing, fitting, machine, signals, viewing
from thermospin.cli.options import DesignCommand, FitCommand

app = typer.Typer(
    name="thermospin",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"thermospin {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Spin-dependent thermoelectricity in nanodevices: signals, gradients and fits from a device file."""


# The order of registration is the order in --help.
app.command()(machine.demo)
app.command()(signals.signals)
app.command(cls=FitCommand)(fitting.fit)
app.command()(signals.sensitivity)
app.command(cls=DesignCommand)(designing.design)
app.command()(fitting.sweeps)
app.command()(signals.ensemble)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(machine.slurm)
app.command()(machine.doctor)
app.command()(signals.new)
app.command()(signals.check)
app.command()(viewing.view)
app.command()(signals.cards)
