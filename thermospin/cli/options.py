"""Options that several commands share, and the parsing of options that take a list of names."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from thermospin.base.errors import InputError
from thermospin.quantities import QUANTITIES, key_of


def complete_device(incomplete: str) -> list[str]:
    """Return shipped devices, device files and folders that begin with what was typed, for a shell."""
    from thermospin.device.reader import shipped_names

    found = [path for path in glob.glob(f"{glob.escape(incomplete)}*") if os.path.isdir(path) or path.endswith(".toml")]
    files = [f"{path}{os.sep}" if os.path.isdir(path) else path for path in found]
    return sorted([*files, *(name for name in shipped_names() if name.startswith(incomplete))])


_DEVICE = typer.Argument(
    metavar="DEVICE",
    autocompletion=complete_device,
    help="Device file (TOML), its variant valve.toml@far, or a shipped device such as slachter2010.",
)
DeviceArgument = Annotated[str, _DEVICE]
OptionalDeviceArgument = Annotated[str | None, _DEVICE]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help='Another value than in the file: "gap = 200 nm", "Py.P = 0.3".'),
]
BathOption = Annotated[
    str | None,
    typer.Option("--bath", metavar="TEMPERATURE", help='Another bath than in the file, for all its tables: "77 K".'),
]
CellsOption = Annotated[int | None, typer.Option(min=1, help="Budget of grid cells; default: chosen by the program.")]
ShardsOption = Annotated[
    int,
    typer.Option("--shards", "--devices", min=1, help="GPUs to split the solves over; on a CPU: its virtual devices."),
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
OrderOption = Annotated[int, typer.Option(min=1, max=3, help="Polynomial order of the elements.")]
JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the result to this file as JSON.")
]


class FitCommand(TyperCommand):
    """A command that takes `--free A B C` as well as `--free A --free B --free C`, and so for `--suggest`."""

    spread: tuple[str, ...] = ("--free", "--suggest")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Spread the names after the option before the usual parsing."""
        return super().parse_args(ctx, spread_names(args, *self.spread))


class DesignCommand(FitCommand):
    """The same with --vary."""

    spread = ("--vary", "--free")


def spread_names(args: list[str], *options: str) -> list[str]:
    """Put an option in front of every name that follows it, up to what is an option or looks like a file."""
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
    if "/" in arg:  # a value of an interface, such as Py/Cu.RA, is no path
        return "." in arg and key_of(arg) in QUANTITIES and not Path(arg).exists()
    from thermospin.data.tables import TABLES

    file = arg.lower().endswith((".toml", *TABLES)) or ".toml@" in arg
    return "." in arg and not file


def parse_tolerance(cells: int | None, text: str | None) -> float | None:
    """Return the tolerance as a part of a whole, from text such as "1%" or "0.01"."""
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
