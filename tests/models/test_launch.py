"""Flags and launchers say how many processes train; they have to agree."""

from __future__ import annotations

import pytest

from text2latent.configs.errors import UsageError
from text2latent.models.launch import Launch, read_launch

TORCHRUN = {"TORCHELASTIC_RUN_ID": "1", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8", "RANK": "6", "LOCAL_RANK": "2"}
SRUN = {"SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_PROCID": "5", "SLURM_LOCALID": "1"}


@pytest.mark.parametrize(
    ("devices", "num_nodes", "environment", "expected"),
    [
        (None, None, {}, Launch(1, 1, 0, 0)),
        (2, None, {}, Launch(2, 1, 0, 0)),
        (2, None, {"LOCAL_RANK": "1"}, Launch(2, 1, 1, 1)),
        (2, 3, {"LOCAL_RANK": "1", "NODE_RANK": "2"}, Launch(2, 3, 5, 1)),
        (None, None, TORCHRUN, Launch(4, 2, 6, 2)),
        (4, 2, TORCHRUN, Launch(4, 2, 6, 2)),
        (None, None, SRUN, Launch(4, 2, 5, 1)),
        (None, None, {**SRUN, "SLURM_JOB_NAME": "interactive"}, Launch(1, 1, 0, 0)),
    ],
)
def test_flags_and_launchers(
    devices: int | None, num_nodes: int | None, environment: dict[str, str], expected: Launch
) -> None:
    launch = read_launch(devices, num_nodes, environment)
    assert launch == expected
    assert launch.processes == expected.devices * expected.num_nodes


@pytest.mark.parametrize(
    ("devices", "num_nodes", "flag"), [(2, None, "--devices: expected 4"), (None, 1, "--num-nodes: expected 2")]
)
def test_a_flag_against_the_launcher_is_refused(devices: int | None, num_nodes: int | None, flag: str) -> None:
    for environment in (TORCHRUN, SRUN):
        with pytest.raises(UsageError, match=flag):
            read_launch(devices, num_nodes, environment)
