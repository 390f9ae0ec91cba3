"""The surroundings of every command: exit codes, progress, JAX, and places that results can be written to."""

from __future__ import annotations

import contextlib
import contextvars
import os
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import NoReturn

import typer

from thermospin.base.errors import InputError, NotConverged
from thermospin.base.programs import EMITTERS, keep_programs, without_emitters
from thermospin.base.progress import Progress as Progress
from thermospin.cli import stops

#: What JAX says, besides codes of errors, where one process of several is gone.
LOST = ("address already in use", "gloo", "nccl", "connection closed by peer", "connection reset")


#: Whether commands end where they have read their inputs.
_reads_only = contextvars.ContextVar("_reads_only", default=False)


@contextlib.contextmanager
def inputs_only() -> Iterator[None]:
    """Have a command end once it has read and checked its inputs, where it would start its work; errors are raised."""
    token = _reads_only.set(True)
    try:
        yield
    except typer.Exit as end:
        if end.exit_code:
            raise
    finally:
        _reads_only.reset(token)


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Turn what can go wrong into one message on stderr and an exit code."""
    if _reads_only.get():
        yield
        return
    try:
        yield
    except KeyboardInterrupt:
        _end(130, "interrupted")
    except (InputError, OSError) as error:
        _end(2, str(error))
    except NotConverged as error:
        _end(1, str(error))
    except MemoryError as error:
        _end(1, str(error) or "out of memory; ask for fewer cells with --cells")
    except typer.Exit:
        raise
    except Exception as error:
        told = _of_jax(error)
        if told is None and not _in_cluster():
            raise
        _end(1, told or traceback.format_exc())


def _end(code: int, text: str) -> NoReturn:
    """Say why the command ends, and end it."""
    complain(text)
    if _in_cluster():  # at its exit JAX waits for the other processes, which wait for this one, and aborts
        sys.stdout.flush()
        os._exit(code)
    raise typer.Exit(code) from None


def _in_cluster() -> bool:
    return "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized()


def _of_jax(error: Exception) -> str | None:
    """Return a line for an error of JAX, or of what its environment says, that tells what to do; None for another."""
    text = next((line for line in str(error).splitlines() if line.strip()), "")
    place = Path(traceback.extract_tb(error.__traceback__)[-1].filename).parts[-3:]
    if isinstance(error, ValueError):
        return f"the environment is not what JAX expects: {text}" if place == ("jax", "_src", "config.py") else None
    if isinstance(error, AssertionError):
        if place != ("jax", "_src", "xla_bridge.py"):
            return None
        text = f"there is none for JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}"
    if text.startswith(("there is none", "Unable to initialize backend", "No visible", "Unknown backend")):
        return (
            f"JAX finds no such device: {text}; JAX_PLATFORMS=cpu computes on the CPU, `thermospin doctor` tells more"
        )
    if type(error).__name__ not in ("XlaRuntimeError", "JaxRuntimeError"):
        return None
    if "RESOURCE_EXHAUSTED" in text or "ut of memory" in text:
        return f"out of memory: ask for fewer cells (--cells), a lower --order, or more --shards: {text}"
    if text.startswith(("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED")) or any(word in text.lower() for word in LOST):
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
    """Set double precision, and keep compiled programs between runs (THERMOSPIN_CACHE: where; empty: not at all).

    What a command reads it reads before, see `inputs_only`.
    """
    if _reads_only.get():
        raise typer.Exit
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


def require_writable(*paths: Path | None, picture: Path | None = None, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse places for files that cannot be written, or that are inputs or each other, before any work is done.

    Args:
      paths: of results, None where none is asked for.
      picture: of a result too; its ending has to be that of a kind of picture.
      inputs: files that the command reads; names of shipped ones are no paths.
    """
    read = {path.resolve() for path in _files(inputs) if path.exists()}
    written: set[Path] = set()
    for path in (*paths, picture):
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
        if path.exists() and not os.access(path, os.W_OK):
            raise InputError(f"{path}: is there already, and cannot be written: its permissions forbid it")
        try:
            _try_to_write(place.parent)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {place.parent}: {error.strerror}") from None
    if picture is not None:
        from thermospin.report.style import kind_of

        kind_of(picture)


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
    if not cluster or _reads_only.get():
        return True
    from thermospin.parallel.cluster import join

    if os.environ.get("SLURM_PROCID") == "0":
        complain("--cluster: waiting for the other processes of the job, for five minutes at most")
    number, _ = join()
    stops.take_back()  # JAX has taken SIGTERM for its service of preemption
    if number:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  until the process ends
    return not number
