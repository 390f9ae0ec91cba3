"""On a cluster: batch files for Slurm, processes that find each other, and what is wrong with how a job was started.

One process per GPU. JAX asks the scheduler who takes part (`jax.distributed.initialize`) and gives every process the
GPU of its local number, so that all processes of a node must see all its GPUs.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import PurePosixPath
from typing import Any

from thermospin.base.errors import InputError

#: Commands whose solves several processes split.
TOGETHER = ("signals", "fit", "design")
#: Options that say who computes what.
SHARING = ("--cluster", "--shards", "--devices", "--part", "--accelerators", "--split")
#: Seconds before its end at which a job gets SIGTERM.
WARNING = 120


def batch(
    command: Sequence[str],
    *,
    name: str = "thermospin",
    nodes: int = 1,
    gpus: int = 1,
    limit: str = "1:00:00",
    cpus: int = 4,
    directives: Sequence[str] = (),
    before: Sequence[str] = (),
) -> str:
    """Return the text of a batch file for Slurm.

    Args:
      command: what thermospin is to do, such as ["signals", "device.toml"].
      name: of the job.
      nodes, gpus: how many nodes, and how many GPUs of each: as many processes.
      limit: of the time, as Slurm has it: "30", "2:00:00" or "1-12:00:00".
      cpus: cores for each process, which compile.
      directives: more of Slurm's own, such as "--partition=gpu".
      before: lines of shell before the command, such as "module load cuda".
    Raises:
      ValueError: no command, one that `as_run` refuses, a name, a time or a directive that is none.
    """
    if not command:
        raise InputError("slurm: there is no command; give one after --, such as: -- signals device.toml")
    if not re.fullmatch(r"\d+|(\d+-)?\d{1,2}:\d{2}(:\d{2})?", limit):
        raise InputError(f'slurm: time is "{limit}", expected such as 30 (minutes), 2:00:00 or 1-12:00:00')
    if not re.fullmatch(r"[\w.+-]+", name):
        raise InputError(f'slurm: name is "{name}", expected letters, digits, and . _ + -')
    lines_of = [line for line in (*directives, *before) if "\n" in line]
    if lines_of:
        raise InputError(f"slurm: got {lines_of[0]!r}, expected one line; give the option more than once")
    wrong = [directive for directive in directives if not directive.startswith("-")]
    if wrong:
        raise InputError(f'slurm: sbatch is "{wrong[0]}", expected an option of Slurm such as "--partition=gpu"')
    count = nodes * gpus
    run = shlex.join(["thermospin", *as_run(command, count)])
    if count > 1 and command[0] == "ensemble":
        run = f"bash -c {shlex.quote(_share(command))}"
    kept = command[0] in ("design", "ensemble") or any(word.partition("=")[0] == "--journal" for word in command)
    resume = "a journal has what was computed, submit again to resume" if kept else "the command ends with a message"
    lines = [
        "#!/bin/bash",
        f"# {count} process{'es' if count > 1 else ''}, one per GPU. Submit it with: sbatch FILE",
        f"#SBATCH --job-name={name}",
        f"#SBATCH --nodes={nodes}",
        f"#SBATCH --ntasks-per-node={gpus}",
        "# Not --gpus-per-task: each process must see all GPUs of its node, and takes the one of its local number.",
        f"#SBATCH --gpus-per-node={gpus}",
        f"#SBATCH --cpus-per-task={cpus}",
        f"#SBATCH --time={limit}",
        f"# SIGTERM {WARNING} s before the end: {resume}.",
        f"#SBATCH --signal=TERM@{WARNING}",
        "#SBATCH --output=%x-%j.out",
        *(f"#SBATCH {directive}" for directive in directives),
        "",
        *before,
        # From Slurm 22.05 on srun does not take the cores over from sbatch.
        f"srun --kill-on-bad-exit=1 --cpus-per-task={cpus} {run}",
    ]
    return "\n".join(lines) + "\n"


def as_run(command: Sequence[str], count: int) -> list[str]:
    """Return a command as the first of so many processes runs it, each on one GPU.

    Raises:
      ValueError: several processes for a command that runs on one GPU, an option that is added here.
    """
    if count == 1:
        return list(command)
    if command[0] not in (*TOGETHER, "ensemble"):
        raise InputError(
            f"slurm: {command[0]} runs on one GPU, {count} were asked for; {', '.join(TOGETHER)} are what several "
            "solve together, and ensemble what they share out"
        )
    own = [word for word in command if word.partition("=")[0] in SHARING]
    if own:
        raise InputError(f"slurm: {own[0]} is decided here, for {count} processes of one GPU each; leave it out")
    added = ["--part", f"1/{count}"] if command[0] == "ensemble" else ["--cluster", "--shards", str(count)]
    return [*command, *added]


def _share(command: Sequence[str]) -> str:
    """Write what each process of an ensemble runs: its share of the sets, on its own GPU, into a separate file."""
    words = [part for word in command for part in (word.split("=", 1) if word.startswith("--out=") else [word])]
    at = words.index("--out") + 1 if "--out" in words[:-1] else 0
    if not at:
        raise InputError(
            "slurm: an ensemble needs --out FILE; every process writes one of its own, FILE with its number"
        )
    path = PurePosixPath(words[at])
    quoted = [shlex.quote(word) for word in words]
    stem = shlex.quote(str(path.with_name(path.stem)))
    quoted[at] = f'{stem}"-$SLURM_PROCID"{shlex.quote(path.suffix) if path.suffix else ""}'
    share = "--part $((SLURM_PROCID + 1))/$SLURM_NTASKS"
    # The one of its local number among those that the scheduler gave.
    gpu = "gpus=(${CUDA_VISIBLE_DEVICES//,/ }); export CUDA_VISIBLE_DEVICES=${gpus[$SLURM_LOCALID]:-$SLURM_LOCALID}"
    return f"{gpu}; exec thermospin {' '.join(quoted)} {share}"


def join() -> tuple[int, int]:
    """Find the other processes of the job; return the number of this one, and how many there are.

    Raises:
      ValueError: no scheduler is there that JAX knows.
    """
    import jax

    try:
        jax.distributed.initialize()
    except ValueError:
        raise InputError(
            "--cluster: no scheduler started this process (Slurm, MPI); start it with srun, or leave --cluster out"
        ) from None
    return jax.process_index(), jax.process_count()


def misconfigured(environment: Mapping[str, str], platforms: str) -> list[str]:
    """List what is wrong with how a job was started, in words.

    Args:
      environment: variables of the process.
      platforms: what JAX runs on, such as "cpu" or "gpu".
    """
    faults = []
    on_node = _number(environment.get("SLURM_GPUS_ON_NODE"))
    tasks = _number(environment.get("SLURM_NTASKS_PER_NODE")) or _number(
        (environment.get("SLURM_STEP_TASKS_PER_NODE") or environment.get("SLURM_TASKS_PER_NODE", "")).split("(")[0]
    )
    if environment.get("SLURM_GPUS_PER_TASK") or "gpu" in environment.get("SLURM_TRES_PER_TASK", ""):
        faults.append(
            "--gpus-per-task hides the other GPUs of its node from each process, but JAX gives a process the GPU of "
            "its local number, which all but the first then do not find; use --gpus-per-node=N with --ntasks-per-node=N"
        )
    elif tasks == 1 and on_node is not None and on_node > 1:
        faults.append(
            f"one task on a node with {on_node} GPUs: JAX gives a task of Slurm one GPU, {on_node - 1} stand idle; use "
            f"--ntasks-per-node={on_node}"
        )
    if "SLURM_JOB_ID" in environment and "SLURM_STEP_NODELIST" not in environment:
        faults.append(
            "in an allocation of Slurm, but not started by srun: processes will not find each other; use srun"
        )
    visible = environment.get("CUDA_VISIBLE_DEVICES", "0" if on_node else "").strip()
    if platforms == "cpu" and visible and not visible.startswith(("-", "NoDevFiles")):  # these hide all
        why = (
            "JAX_PLATFORMS=cpu says so"
            if environment.get("JAX_PLATFORMS") == "cpu"
            else "pip install 'jax[cuda12]' brings what it needs for NVIDIA's"
        )
        faults.append(f"there is a GPU, but JAX runs on the CPU: {why}")
    if environment.get("SLURM_CPUS_PER_TASK") == "1":
        faults.append("one core for each process: compilation takes long; use --cpus-per-task=4 or more")
    return faults


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def report(environment: Mapping[str, str] | None = None) -> tuple[list[str], bool]:
    """Devices, versions, precision, a small scaling test, and what is wrong, in lines; whether nothing is wrong."""
    import jax
    import numpy

    from thermospin.base.version import __version__

    environment = dict(os.environ) if environment is None else environment
    lines = [
        f"thermospin {__version__}, Python {platform.python_version()}, jax {jax.__version__}, jaxlib "
        f"{metadata.version('jaxlib')}, numpy {numpy.__version__}",
    ]
    try:
        devices = jax.devices()
    except (AssertionError, RuntimeError) as error:  # JAX asserts that there is one
        which = f" for JAX_PLATFORMS={environment['JAX_PLATFORMS']}" if environment.get("JAX_PLATFORMS") else ""
        why = f"{error}" or "is there a GPU, and what JAX needs for it, such as 'jax[cuda12]'?"
        wrong = [f"JAX finds no device{which}: {why}", *misconfigured(environment, "none")]
        return [*lines, *(f"WRONG: {text}" for text in wrong)], False
    lines += [
        f"{len(devices)} device{'s' * (len(devices) > 1)}, {len(jax.local_devices())} of this process, "
        f"{jax.process_count()} process{'es' * (jax.process_count() > 1)}, {os.cpu_count()} cores",
    ]
    for local_device in jax.local_devices():
        memory = (local_device.memory_stats() or {}).get("bytes_limit") if local_device.platform != "cpu" else None
        size = f", {memory / 2**30:.0f} GiB" if memory else ""
        lines.append(f"  {local_device.device_kind} ({local_device.platform} {local_device.id}){size}")
    lines.append(f"64-bit numbers: {'yes' if jax.numpy.ones(1).dtype == 'float64' else 'no'}")
    lines.append(f"compiled programs are kept in: {jax.config.jax_compilation_cache_dir or 'memory only'}")  # type: ignore[attr-defined]
    lines += scaling()
    wrong = misconfigured(environment, devices[0].platform)
    return [*lines, *(f"WRONG: {text}" for text in wrong)], not wrong


def scaling() -> list[str]:
    """Time of a stream through memory, the same amount on each device: on one, and on all at once."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding, PartitionSpec

    from thermospin.parallel.sharding import mesh_of

    length = 4_000_000

    def took(count: int) -> float:
        spread = NamedSharding(mesh_of(count), PartitionSpec(mesh_of(count).axis_names[0]))
        make: Any = jax.jit(lambda: jnp.ones(count * length), out_shardings=spread)
        step: Any = jax.jit(lambda x: 1.5 * x + 1.0)
        x = step(make()).block_until_ready()
        times = []
        for _ in range(5):
            start = time.perf_counter()
            x = step(x).block_until_ready()
            times.append(time.perf_counter() - start)
        return min(times)

    one, count = took(1), len(jax.devices())
    if jax.process_count() > 1:
        return ["memory: not measured in several processes"]
    size = 2 * length * 8 / one
    lines = [f"memory of one device: {size / 1e9:.0f} GB/s"]
    if count > 1:
        lines.append(f"all {count} at once: {100 * one / took(count):.0f} % of {count} times that")
    return lines
