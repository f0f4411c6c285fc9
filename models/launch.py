"""How many processes train, on how many machines, and which of them this is: by flags, torchrun or srun."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from text2latent.configs.errors import UsageError

INTERACTIVE = ("bash", "interactive")  # SLURM job names in which Lightning starts the processes itself


@dataclass(frozen=True)
class Launch:
    """Processes per machine, machines, and this process's number among those of all and of its machine."""

    devices: int
    num_nodes: int
    rank: int
    local_rank: int

    @property
    def processes(self) -> int:
        """Processes in all."""
        return self.devices * self.num_nodes


def read_launch(devices: int | None, num_nodes: int | None, environment: Mapping[str, str] = os.environ) -> Launch:
    """Put together flags and what a launcher says in the environment.

    Args:
        devices: processes per machine as a flag says; None takes the launcher's number, else 1.
        num_nodes: machines as a flag says; None takes the launcher's number, else 1.
        environment: where torchrun and srun say what they started.

    Raises:
        UsageError: when a flag contradicts the launcher.
    """
    started, nodes, rank, local_rank = _read_launcher(environment, devices or 1)
    for flag, given, found in (("--devices", devices, started), ("--num-nodes", num_nodes, nodes)):
        if given is not None and found is not None and given != found:
            raise UsageError(f"{flag}: expected {found}, as the launcher started, or no flag; got {given}")
    return Launch(devices or started or 1, num_nodes or nodes or 1, rank, local_rank)


def _read_launcher(environment: Mapping[str, str], devices: int) -> tuple[int | None, int | None, int, int]:
    """Processes per machine and machines (None: no launcher says), rank and local rank."""

    def number(name: str, default: int = 0) -> int:
        return int(environment.get(name, default))

    if "TORCHELASTIC_RUN_ID" in environment:
        local = number("LOCAL_WORLD_SIZE", 1)
        return local, number("WORLD_SIZE", 1) // local, number("RANK"), number("LOCAL_RANK")
    if "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") not in INTERACTIVE:
        nodes = number("SLURM_NNODES", 1)
        return number("SLURM_NTASKS", 1) // nodes, nodes, number("SLURM_PROCID"), number("SLURM_LOCALID")
    local_rank = number("LOCAL_RANK")  # of the processes that Lightning starts itself, on each machine
    return None, None, number("NODE_RANK") * devices + local_rank, local_rank
