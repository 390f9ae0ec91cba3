"""Batch files, what is wrong with a job in words, and a job of two processes that a scheduler seems to have started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers import srun
from helpers.devices import VALVE
from thermospin.cli import app
from thermospin.parallel import cluster

NODE = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "node1", "SLURM_GPUS_ON_NODE": "4", "SLURM_NTASKS_PER_NODE": "4"}


def test_a_batch_file_has_a_process_for_each_gpu() -> None:
    text = cluster.batch(["signals", "my device.toml"], nodes=2, gpus=4, limit="2:00:00", name="run")
    lines = text.splitlines()
    assert lines[0] == "#!/bin/bash"
    for line in ("--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4", "--time=2:00:00", "--job-name=run"):
        assert f"#SBATCH {line}" in lines
    assert not any(line.startswith("#SBATCH --gpus-per-task") for line in lines)
    assert lines[-1] == (
        "srun --kill-on-bad-exit=1 --cpus-per-task=4 thermospin signals 'my device.toml' --cluster --shards 8"
    )
    single = cluster.batch(["fit", "a.toml", "a.csv", "--journal", "j.jsonl"])
    assert single.splitlines()[-1].endswith(" --cpus-per-task=4 thermospin fit a.toml a.csv --journal j.jsonl")
    site = cluster.batch(["check", "a"], directives=["--partition=gpu"], before=["module load cuda"]).splitlines()
    assert "#SBATCH --partition=gpu" in site and site[-2] == "module load cuda"
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        (["signals", "a"], False),
        (["fit", "a", "b"], False),
        (["fit", "a", "b", "--journal=j"], True),
        (["design", "a"], True),
        (["ensemble", "a", "s"], True),
    ],
)
def test_a_batch_file_promises_to_resume_where_there_is_a_journal(command: list[str], kept: bool) -> None:
    assert ("submit again to resume" in cluster.batch(command)) == kept


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        (["--out", "out.csv"], "out-1.csv"),
        (["--out=out.csv"], "out-1.csv"),
        (["--out", "runs.v2/out"], "runs.v2/out-1"),
        (["--out", "my $runs/out 2.csv"], "my $runs/out 2-1.csv"),
    ],
)
@pytest.mark.parametrize(("given", "gpu"), [("", "1"), ("2,3", "3"), ("GPU-a,GPU-b", "GPU-b")])
def test_an_ensemble_is_shared_out(tmp_path: Path, out: list[str], expected: str, given: str, gpu: str) -> None:
    """What the last line runs, with commands of that name that print what they are given."""
    text = cluster.batch(["ensemble", "my device.toml", "s.csv", *out], gpus=2)
    (tmp_path / "thermospin").write_text('#!/bin/bash\necho "$CUDA_VISIBLE_DEVICES" "$@"\n')
    (tmp_path / "srun").write_text('#!/bin/bash\nshift 2\nSLURM_PROCID=1 SLURM_LOCALID=1 SLURM_NTASKS=2 exec "$@"\n')
    for name in ("thermospin", "srun"):
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": given}
    ran = subprocess.run(["bash"], input=text, env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == f"{gpu} ensemble my device.toml s.csv --out {expected} --part 2/2"
    with pytest.raises(ValueError, match="slurm: an ensemble needs --out FILE"):
        cluster.batch(["ensemble", "a.toml", "s.csv"], gpus=2)


@pytest.mark.parametrize(
    ("command", "options", "words"),
    [
        ([], {}, "slurm: there is no command"),
        (["check", "a"], {"gpus": 2}, "slurm: check runs on one GPU, 2 were asked for; signals, fit, design are what"),
        (["signals", "a", "--shards", "2"], {"gpus": 2}, "--shards is decided here, for 2 processes of one GPU each"),
        (["ensemble", "a", "s", "--out", "o", "--accelerators", "2"], {"gpus": 2}, "--accelerators is decided here"),
        (["ensemble", "a", "s", "--out", "o", "--split=2"], {"gpus": 2}, "--split=2 is decided here, for 2 processes"),
        (["signals", "a"], {"directives": ["partition=gpu"]}, 'sbatch is "partition=gpu", expected an option of Slurm'),
        (["signals", "a"], {"name": "two words"}, 'slurm: name is "two words"'),
        (["signals", "a"], {"before": ["a\nb"]}, "expected one line"),
        (["signals", "a"], {"limit": "two hours"}, 'slurm: time is "two hours", expected such as 30'),
    ],
)
def test_what_cannot_be_submitted_is_told(command: list[str], options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        cluster.batch(command, **options)


@pytest.mark.parametrize(
    ("changes", "platform", "words"),
    [
        ({}, "gpu", None),
        ({"SLURM_GPUS_PER_TASK": "1"}, "gpu", "--gpus-per-task hides the other GPUs"),
        ({"SLURM_TRES_PER_TASK": "cpu:4,gres/gpu:1"}, "gpu", "--gpus-per-task hides the other GPUs"),
        (
            {"SLURM_NTASKS_PER_NODE": "1"},
            "gpu",
            "one task on a node with 4 GPUs: .* 3 stand idle; use --ntasks-per-node=4",
        ),
        ({"SLURM_STEP_NODELIST": None}, "gpu", "not started by srun"),
        ({}, "cpu", "there is a GPU, but JAX runs on the CPU: pip install"),
        ({"JAX_PLATFORMS": "cpu"}, "cpu", "there is a GPU, but JAX runs on the CPU: JAX_PLATFORMS=cpu says so"),
        ({"SLURM_CPUS_PER_TASK": "1"}, "gpu", "one core for each process"),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, "cpu", None),
        ({"CUDA_VISIBLE_DEVICES": "-1", "SLURM_GPUS_ON_NODE": None}, "cpu", None),
        ({"CUDA_VISIBLE_DEVICES": "0", "SLURM_GPUS_ON_NODE": None}, "cpu", "there is a GPU, but JAX runs on the CPU"),
    ],
)
def test_what_is_wrong_with_a_job_is_told(changes: dict, platform: str, words: str | None) -> None:
    environment = {key: value for key, value in (NODE | changes).items() if value is not None}
    found = cluster.misconfigured(environment, platform)
    if words is None:
        assert found == []
    else:
        import re

        assert len(found) == 1 and re.search(words, found[0])


def test_the_doctor_says_what_there_is() -> None:
    lines, sound = cluster.report({})
    assert sound and lines[0].startswith("thermospin ") and any("GB/s" in line for line in lines)
    lines, sound = cluster.report({"SLURM_JOB_ID": "1"})
    assert not sound and lines[-1].startswith("WRONG: in an allocation of Slurm")


def test_the_doctor_says_that_there_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise AssertionError

    monkeypatch.setattr("jax.devices", none)
    lines, sound = cluster.report({"JAX_PLATFORMS": "cuda"})
    assert not sound and lines[0].startswith("thermospin ")
    assert lines[-1].startswith("WRONG: JAX finds no device for JAX_PLATFORMS=cuda")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--", "signal", "a.toml"], "no command 'signal' for a job; did you mean 'signals'?"),
        (["--", "slurm", "--", "signals", "valve"], "no command 'slurm' for a job; expected one of: demo, signals"),
        (["--", "signals", "valve", "--cell", "9"], "signals: No such option: --cell"),
        (["--", "fit", "valve"], "fit: Missing argument"),
        (["--", "signals", "nowhere.toml"], "nowhere.toml: no such file"),
        (["--", "signals", "valve", "--set", "gpa=1 nm"], "gpa"),
        (["--gpus", "2", "--", "signals", "valve", "--cells", "900"], "signals, on 2 GPUs: --shards goes with the gri"),
        (["--gpus", "2", "--", "signals", "valve", "--tolerance", "1%"], "--shards goes with the grid of the fixed r"),
        (["--", "signals", "valve", "--shards", "4"], "signals asks for 4 GPUs, and the job has 1; say that by slurm"),
        (["--", "signals", "valve", "--json", "nowhere/out.json"], "nowhere/out.json: cannot be written"),
        (["--", "ensemble", "valve", "nowhere.csv", "--out", "out.csv"], "nowhere.csv: "),
        (["--", "fit", "valve", "nowhere.csv"], "nowhere.csv: no such file"),
        (["--", "fit", "slachter2010", "slachter2010", "--free", "Py.Q"], "'Py.Q'"),
        (
            ["--gpus", "2", "--", "fit", "slachter2010", "slachter2010", "--json", "nowhere/out.json"],
            "cannot be written",
        ),
        (["--", "fit", "slachter2010", "slachter2010", "--free", "zeta", "--rival", "nowhere.toml"], "nowhere.toml"),
        (["--", "fit", "slachter2010", "slachter2010", "--free", "zeta", "--bounds", "Py.P = 0..0.5"], "is not free"),
        (["--", "design", "valve", "--objective", "nonsense"], 'objective: got "nonsense", expected a signal'),
        (["--gpus", "2", "--", "design", "valve", "--objective", "thermal R2.spin", "--form", "a"], "--feature: is"),
    ],
)
def test_a_command_that_would_fail_in_the_queue_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app.app, ["slurm", *words])
    assert found.exit_code == 2 and told in found.stderr and not found.stdout, found.output


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("valve.toml", "valve.toml: is read by this command, and would be overwritten"),
        ("other.csv", "other.csv: is read by this command, and would be overwritten"),
        ("notes.txt", "notes.txt: is there already, and is no batch file"),
    ],
)
def test_a_batch_file_overwrites_no_file_of_another_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("valve.toml", VALVE), ("other.csv", "data"), ("notes.txt", "mine")):
        Path(name).write_text(text)
    before = Path(out).read_text()
    command = ["fit", "valve.toml", "data.csv", "--also", "valve.toml@far,other.csv"]
    found = CliRunner().invoke(app.app, ["slurm", "--out", out, "--", *command])
    assert found.exit_code == 2 and told in found.stderr and Path(out).read_text() == before


def test_slurm_writes_what_it_prints(tmp_path: Path) -> None:
    runner = CliRunner()
    printed = runner.invoke(app.app, ["slurm", "--gpus", "2", "--", "signals", "valve"])
    for _ in range(2):  # over the one before
        command = ["slurm", "--gpus", "2", "--out", str(tmp_path / "job.sh"), "--", "signals", "valve"]
        kept = runner.invoke(app.app, command)
        assert printed.exit_code == kept.exit_code == 0
        assert (tmp_path / "job.sh").read_text() == printed.stdout
    command = [sys.executable, "-m", "thermospin", "signals", "slachter2010", "--cluster"]
    alone = subprocess.run(command, capture_output=True, text=True, check=False)
    assert alone.returncode == 2 and alone.stderr.startswith("--cluster: no scheduler started this process")


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "signals valve.toml --order 1 --no-errors",
        "fit valve.toml data.csv --order 1 --free zeta --starts 2 --journal j.jsonl",
    ],
)
def test_two_tasks_of_slurm_solve_together(tmp_path: Path, command: str) -> None:
    """The variables that srun sets, for two processes here: the first prints and writes what both computed."""
    (tmp_path / "valve.toml").write_text(VALVE)
    (tmp_path / "data.csv").write_text("experiment,signal,value,std,unit\nlocal,R2.P,118e-3,1e-3,V/A^2\n")
    shared = [sys.executable, "-m", "thermospin", *command.split(), "--cluster", "--devices", "2"]
    running = [
        subprocess.Popen(
            [*shared, "--json", f"{number}.json"],
            cwd=tmp_path,
            env=os.environ | task,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, task in enumerate(srun.tasks(2))
    ]
    out = [each.communicate(timeout=240) for each in running]
    assert [each.returncode for each in running] == [0, 0], out
    assert "R2.P" in out[0][0] and "R2.P" not in out[1][0]
    assert json.loads((tmp_path / "0.json").read_text()) and not (tmp_path / "1.json").exists()
