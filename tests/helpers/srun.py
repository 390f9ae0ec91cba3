"""Processes as `srun` starts them, on this machine."""

from __future__ import annotations

import os


def tasks(count: int) -> list[dict[str, str]]:
    """The variables that srun sets for each of so many processes on one node."""
    return [
        {
            "SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": str(count),
            "SLURM_PROCID": str(number), "SLURM_LOCALID": str(number), "SLURM_STEP_NUM_NODES": "1",
        }
        for number in range(count)
    ]  # fmt: skip
