"""The surroundings of every command: exit codes, progress, JAX, and places that results can be written to."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, MutableMapping
from pathlib import Path

import typer

from thermospin.base.errors import InputError, NotConverged
from thermospin.base.programs import EMITTERS, keep_programs, without_emitters
from thermospin.base.progress import Progress as Progress
from thermospin.cli import stops


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Turn what can go wrong into one message on stderr and an exit code."""
    try:
        yield
    except KeyboardInterrupt:
        complain("interrupted")
        raise typer.Exit(130) from None
    except (InputError, OSError) as error:
        complain(str(error))
        raise typer.Exit(2) from None
    except NotConverged as error:
        complain(str(error))
        raise typer.Exit(1) from None
    except RuntimeError as error:
        told = _of_jax(error)
        if told is None:
            raise
        complain(told)
        raise typer.Exit(1) from None
    except MemoryError as error:
        complain(str(error) or "out of memory; ask for fewer cells with --cells")
        raise typer.Exit(1) from None


def _of_jax(error: RuntimeError) -> str | None:
    """Return a line for an error of JAX's runtime that says what to do; None for another error."""
    text = next((line for line in str(error).splitlines() if line.strip()), "")
    if text.startswith(("Unable to initialize backend", "No visible", "Unknown backend")):
        return (
            f"JAX finds no such device: {text}; JAX_PLATFORMS=cpu computes on the CPU, `thermospin doctor` tells more"
        )
    if type(error).__name__ not in ("XlaRuntimeError", "JaxRuntimeError"):
        return None
    if "RESOURCE_EXHAUSTED" in text or "ut of memory" in text:
        return f"out of memory: ask for fewer cells (--cells), a lower --order, or more --shards: {text}"
    if text.startswith(("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED")) or "address already in use" in text.lower():
        return (
            f"the processes of a cluster lost or did not find each other: {text}; is the port free, do all still run?"
        )
    return f"JAX failed: {text}"


def complain(text: str) -> None:
    """Print a line on stderr."""
    typer.echo(text, err=True)


def finish(converged: bool, otherwise: str) -> None:
    """End with exit code 1 and a message unless the result converged."""
    if not converged:
        complain(otherwise)
        raise typer.Exit(1)


def quickly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Ask XLA for its faster compilation on CPUs, unless the environment says otherwise; call it before JAX starts."""
    if without_emitters(environment):
        environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} --{EMITTERS}=false".strip()


def start_jax() -> None:
    """Set double precision, and keep compiled programs between runs (THERMOSPIN_CACHE: where; empty: not at all)."""
    quickly()
    import jax

    jax.config.update("jax_enable_x64", True)
    try:
        keep_programs()
    except OSError as error:
        where = f"{error.filename}: {error.strerror}"
        complain(f"compiled programs are not kept: {where} (THERMOSPIN_CACHE names another folder)")


def _try_to_write(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder):
        pass


def _files(inputs: Iterable[str | Path]) -> list[Path]:
    """Return the files of inputs, such as valve.toml of its variant valve.toml@far."""
    from thermospin.device.reader import parts_of

    return [Path(parts_of(name)[0]) for name in inputs]


def require_writable(*paths: Path | None, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse places for files that cannot be written, or that are inputs or each other, before any work is done.

    Args:
      paths: of results, None where none is asked for.
      inputs: files that the command reads; names of shipped ones are no paths.
    """
    read = {path.resolve() for path in _files(inputs) if path.exists()}
    written: set[Path] = set()
    for path in paths:
        if path is None:
            continue
        place = path.resolve()
        if place in read:
            raise InputError(f"{path}: is read by this command, and would be overwritten; give another name")
        if place in written:
            raise InputError(f"{path}: would be written twice; give another name to one of the results")
        written.add(place)
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: cannot be written: it is not a regular file")
        try:
            _try_to_write(place.parent)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {place.parent}: {error.strerror}") from None


def require_folder(path: Path, names: Iterable[str] = (), inputs: Iterable[str | Path] = ()) -> None:
    """Make a folder, refusing one that cannot be made or written, or whose results would overwrite an input.

    Args:
      names: of the results.
      inputs: files that the command reads.
    """
    results = {(path / name).resolve() for name in names}
    for name in _files(inputs):
        if name.exists() and name.resolve() in results:
            raise InputError(f"{name}: is read by this command, and would be overwritten; give another folder by --out")
    try:
        path.mkdir(parents=True, exist_ok=True)
        _try_to_write(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be used as a folder for results: {error.strerror}") from None


def join_cluster(cluster: bool) -> bool:
    """Join the other processes, if there are any, and return whether this one prints and writes for all."""
    if not cluster:
        return True
    from thermospin.parallel.cluster import join

    if os.environ.get("SLURM_PROCID") == "0":
        complain("--cluster: waiting for the other processes of the job, for five minutes at most")
    number, _ = join()
    stops.take_back()  # JAX has taken SIGTERM for its service of preemption
    if number:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  until the process ends
    return not number
