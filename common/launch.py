"""How many processes train, on how many machines, and which of them this is: by flags, torchrun, srun or the like."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from text2latent.common.errors import UsageError

LAUNCH_MINUTES = 30.0  # that processes wait for each other, as long as PyTorch does
INTERACTIVE = ("bash", "interactive")  # SLURM job names in which the processes are started by flags


@dataclass(frozen=True)
class Variables:
    """Names of the environment variables in which a launcher says what it started."""

    rank: str
    processes: str
    local_rank: str
    local_processes: str


TORCH = Variables("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
MPI = (
    Variables(
        "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"
    ),
    Variables("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
)
MEETING = ("MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """Processes per machine, machines, and this process's number among those of all and of its machine.

    Attributes:
        address: host and port at which a launcher's processes meet; None where this process starts the others.
    """

    devices: int
    num_nodes: int
    rank: int
    local_rank: int
    address: tuple[str, int] | None = None

    @property
    def processes(self) -> int:
        return self.devices * self.num_nodes


def read_launch(devices: int | None, num_nodes: int | None, environment: Mapping[str, str] = os.environ) -> Launch:
    """Put together flags and what a launcher says in the environment.

    Args:
        devices: processes per machine as a flag says; None takes the launcher's number, else 1.
        num_nodes: machines as a flag says; None takes the launcher's number, else 1.
        environment: where torchrun, srun, mpirun or an operator of Kubernetes say what they started.

    Raises:
        UsageError: when a flag contradicts the launcher, or the launcher itself or leaves something out; naming it.
    """
    found = read_launcher(environment)
    if found is None:
        local_rank = _number(
            environment, "LOCAL_RANK"
        )  # of the processes that Lightning starts itself, on each machine
        rank = _number(environment, "NODE_RANK") * (devices or 1) + local_rank
        return Launch(devices or 1, num_nodes or 1, rank, local_rank)
    for flag, given, started in (("--devices", devices, found.devices), ("--num-nodes", num_nodes, found.num_nodes)):
        if given is not None and given != started:
            raise UsageError(f"{flag}: expected {started}, as the launcher started, or no flag; got {given}")
    return found


def read_launcher(environment: Mapping[str, str], slurm: bool = True) -> Launch | None:
    """What a launcher says in the environment, None where there is none; see `read_launch`.

    Args:
        slurm: whether SLURM's word counts, too.
    """
    by_hand = "TORCHELASTIC_RUN_ID" in environment or environment.get("SLURM_JOB_NAME") in INTERACTIVE
    if slurm and "SLURM_NTASKS" in environment and not by_hand:
        return _read_slurm(environment)
    for names in (TORCH, *MPI):
        others = names is TORCH and "NODE_RANK" in environment  # set for the processes that Lightning starts itself
        if names.rank in environment or (names.processes in environment and not others):
            return _read_variables(environment, names)
    return None


def _read_variables(environment: Mapping[str, str], names: Variables) -> Launch:
    _require(environment, (names.rank, names.processes), ())
    rank, processes = _number(environment, names.rank), _number(environment, names.processes)
    if not 0 <= rank < processes:
        raise UsageError(f"{names.rank}: expected 0 to {processes - 1} as {names.processes}={processes}, got {rank}")
    if processes == 1:
        return Launch(1, 1, 0, 0)
    _require(environment, MEETING, (names.rank, names.processes))
    # An operator of Kubernetes starts one process in each of its pods, and says nothing of local ones.
    local_rank = _number(environment, names.local_rank)
    local = _number(environment, names.local_processes, processes if names.local_rank in environment else 1)
    machines = _divide(processes, local, f"{names.processes}={processes}", f"{names.local_processes}={local}")
    return Launch(local, machines, rank, local_rank, _address(environment))


def _read_slurm(environment: Mapping[str, str]) -> Launch:
    tasks, nodes = _number(environment, "SLURM_NTASKS", 1), _number(environment, "SLURM_NNODES", 1)
    if tasks == 1:
        return Launch(1, 1, 0, 0)
    if not {"SLURM_STEP_ID", "SLURM_STEPID"} & environment.keys():
        raise UsageError(
            f"SLURM_NTASKS={tasks}, but SLURM_STEP_ID is missing: this process wasn't started by srun; expected "
            f"`srun text2latent train ...` for {tasks} processes, or a job with --ntasks=1"
        )
    _require(environment, ("SLURM_PROCID", "SLURM_LOCALID"), ("SLURM_NTASKS",))
    per_machine = _divide(tasks, nodes, f"SLURM_NTASKS={tasks}", f"SLURM_NNODES={nodes}")
    rank, local_rank = _number(environment, "SLURM_PROCID"), _number(environment, "SLURM_LOCALID")
    return Launch(per_machine, nodes, rank, local_rank, _slurm_address(environment))


def _slurm_address(environment: Mapping[str, str]) -> tuple[str, int]:
    """The first machine of the job, and a port that follows from the job's number; or what the user says."""
    from lightning.fabric.plugins.environments import SLURMEnvironment

    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_NODELIST") or "127.0.0.1"
    host = environment.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(nodes)
    return host, _number(environment, "MASTER_PORT", 15000 + int(environment.get("SLURM_JOB_ID", "0")[-4:]))


def _address(environment: Mapping[str, str]) -> tuple[str, int]:
    return environment["MASTER_ADDR"], _number(environment, "MASTER_PORT")


def _divide(processes: int, parts: int, what: str, by: str) -> int:
    if parts < 1 or processes % parts:
        raise UsageError(f"{what}: expected as many on each machine, got {by}")
    return processes // parts


def _require(environment: Mapping[str, str], needed: tuple[str, ...], because: tuple[str, ...]) -> None:
    missing = [name for name in needed if not environment.get(name)]
    if missing:
        there = [name for name in (*because, *needed) if environment.get(name)]
        raise UsageError(
            f"{', '.join(missing)}: missing in the environment, although {' and '.join(there)} "
            f"{'are' if len(there) > 1 else 'is'} set; expected all as a launcher sets them, or none to run alone"
        )


def _number(environment: Mapping[str, str], name: str, default: int = 0) -> int:
    text = environment.get(name) or str(default)
    if not text.isdecimal():
        raise UsageError(f"{name}: expected a whole number >= 0 in the environment, got {text!r}")
    return int(text)
