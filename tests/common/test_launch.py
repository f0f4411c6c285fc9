"""Flags and launchers say how many processes train; they have to agree, and launchers to say all."""

from __future__ import annotations

import pytest

from text2latent.common.errors import UsageError
from text2latent.common.launch import Launch, read_launch, read_launcher

MEETING = {"MASTER_ADDR": "head", "MASTER_PORT": "29400"}
AT_HEAD = ("head", 29400)
TORCHRUN = {"TORCHELASTIC_RUN_ID": "1", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8", "RANK": "6", "LOCAL_RANK": "2"}
TORCHRUN |= MEETING
SRUN = {"SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_STEP_ID": "0"}
SRUN |= {"SLURM_JOB_ID": "1234567", "SLURM_NODELIST": "node[07-08]"}
OPERATOR = {"RANK": "1", "WORLD_SIZE": "2", **MEETING}
MPIRUN = {f"OMPI_COMM_WORLD_{key}": value for key, value in (("RANK", "3"), ("SIZE", "4"), ("LOCAL_RANK", "1"))}
MPIRUN |= {"OMPI_COMM_WORLD_LOCAL_SIZE": "2", **MEETING}
LIGHTNINGS_OWN = {"LOCAL_RANK": "1", "NODE_RANK": "2", "WORLD_SIZE": "6", **MEETING}


@pytest.mark.parametrize(
    ("devices", "num_nodes", "environment", "expected"),
    [
        (None, None, {}, Launch(1, 1, 0, 0)),
        (2, None, {}, Launch(2, 1, 0, 0)),
        (2, None, {"LOCAL_RANK": "1"}, Launch(2, 1, 1, 1)),
        (2, 3, LIGHTNINGS_OWN, Launch(2, 3, 5, 1)),
        (None, None, TORCHRUN, Launch(4, 2, 6, 2, AT_HEAD)),
        (4, 2, TORCHRUN, Launch(4, 2, 6, 2, AT_HEAD)),
        (None, None, {**SRUN, **TORCHRUN}, Launch(4, 2, 6, 2, AT_HEAD)),
        (None, None, SRUN, Launch(4, 2, 5, 1, ("node07", 19567))),
        (None, None, {**SRUN, **MEETING}, Launch(4, 2, 5, 1, AT_HEAD)),
        (None, None, {**SRUN, "SLURM_JOB_NAME": "interactive"}, Launch(1, 1, 0, 0)),
        (None, None, {"SLURM_NTASKS": "1"}, Launch(1, 1, 0, 0)),
        (None, None, OPERATOR, Launch(1, 2, 1, 0, AT_HEAD)),
        (None, None, {**OPERATOR, "LOCAL_RANK": "1"}, Launch(2, 1, 1, 1, AT_HEAD)),
        (None, None, {"RANK": "0", "WORLD_SIZE": "1"}, Launch(1, 1, 0, 0)),
        (None, None, MPIRUN, Launch(2, 2, 3, 1, AT_HEAD)),
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


@pytest.mark.parametrize("environment", [OPERATOR, MPIRUN, TORCHRUN])
def test_what_a_launcher_leaves_out_is_named(environment: dict[str, str]) -> None:
    optional = ("LOCAL", "TORCHELASTIC")
    for name in [name for name in environment if not any(part in name for part in optional)]:
        partial = {key: value for key, value in environment.items() if key != name}
        with pytest.raises(UsageError, match=f"^{name}: missing in the environment, although "):
            read_launch(None, None, partial)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, "SLURM_NTASKS=2, but SLURM_STEP_ID is missing: .* by srun"),
        ({**SRUN, "SLURM_NTASKS": "3"}, "SLURM_NTASKS=3: expected as many on each machine, got SLURM_NNODES=2"),
        ({**OPERATOR, "RANK": "2"}, "RANK: expected 0 to 1 as WORLD_SIZE=2, got 2"),
        (
            {**OPERATOR, "MASTER_PORT": "http"},
            "MASTER_PORT: expected a whole number >= 0 in the environment, got 'http'",
        ),
        ({"WORLD_SIZE": "2"}, "RANK: missing in the environment, although WORLD_SIZE is set"),
    ],
)
def test_what_cannot_be_is_told(environment: dict[str, str], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        read_launch(None, None, environment)


def test_tasks_of_srun_may_work_without_each_other() -> None:
    assert read_launcher(SRUN, slurm=False) is None
