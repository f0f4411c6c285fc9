"""A real SLURM of one machine on loopback: munged, slurmctld and slurmd with a configuration and state of their own."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")

CONFIGURATION = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
# cred_expire is also how long a requeued job waits.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2
ReturnToService=2
JobRequeue=1
KillWait=120
SlurmctldTimeout=600
SlurmdTimeout=600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1 PreemptMode=REQUEUE State=UP
PartitionName=high Nodes={host} PriorityTier=10 PreemptMode=OFF State=UP
"""


def missing_programs() -> list[str]:
    """Programs of SLURM and munge that aren't installed here."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return [program for program in PROGRAMS if shutil.which(program, path=path) is None]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Loopback:
    """The running cluster; use it with `with`. Its timeline goes to stdout.

    Args:
        folder: for configuration, state and logs; its path must be short, since a socket lies there.
        patience: seconds to wait for anything.
    """

    def __init__(self, folder: Path, patience: float = 900) -> None:
        self.folder, self.patience = folder, patience
        self.host = socket.gethostname().split(".")[0]
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        # What another SLURM or launcher says of this process must not reach the jobs.
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "SRUN"))}
        self.environment = {**kept, "PATH": path, "SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._began = time.monotonic()

    def report(self, line: str) -> None:
        print(f"[{time.monotonic() - self._began:6.1f} s] {line}", flush=True)

    def __enter__(self) -> Loopback:
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        ports = {"controller_port": _free_port(), "node_port": _free_port()}
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format(host=self.host, folder=self.folder, **ports))
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        names = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        files = [f"--{flag}={self.folder}/munge.{name}" for flag, name in names.items()]
        try:
            self._start("munged", "--foreground", "--force", f"--key-file={key}", *files)
            self.wait("munge", lambda: (self.folder / "munge.socket").exists())
            self._start("slurmctld", "-D", "-c")
            self._start("slurmd", "-D", "-c", "-N", self.host)
            self.wait("an idle node", lambda: "idle" in self.run("sinfo", "--noheader", "--format=%t", check=False))
        except BaseException:
            self.__exit__()
            raise
        self.report(self.run("sinfo", "--version").strip() + ", one node, partitions low and high")
        return self

    def __exit__(self, *_: object) -> None:
        self.run("scancel", "--user=root", check=False)
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(30)
            except subprocess.TimeoutExpired:
                daemon.kill()

    def _start(self, program: str, *arguments: str) -> None:
        log = open(self.folder / f"{program}.out", "wb")  # noqa: SIM115
        path = shutil.which(program, path=self.environment["PATH"])
        assert path is not None
        self._daemons.append(subprocess.Popen([path, *arguments], env=self.environment, stdout=log, stderr=log))
        log.close()

    def run(self, *command: str, check: bool = True, environment: Mapping[str, str] | None = None) -> str:
        settings = {**self.environment, **(environment or {})}
        ran = subprocess.run(command, env=settings, capture_output=True, text=True, check=False, cwd=self.folder)
        assert not check or ran.returncode == 0, f"{command}: {ran.stderr}"
        return ran.stdout

    def submit(self, *arguments: str, **environment: str) -> str:
        job = self.run("sbatch", "--parsable", *arguments, environment=environment).strip()
        self.report(f"sbatch {' '.join(Path(argument).name for argument in arguments[:3])} ...: job {job}")
        return job

    def states(self, job: str) -> dict[str, str]:
        """State of a job, or of each task of an array, by the task's or the job's number."""
        found = {}
        for record in self.run("scontrol", "--oneliner", "show", "job", job, check=False).splitlines():
            fields = dict(field.split("=", 1) for field in record.split() if "=" in field)
            found[fields.get("ArrayTaskId", job)] = fields["JobState"]
        return found

    def wait(self, what: str, happened: Callable[[], object]) -> None:
        limit = time.monotonic() + self.patience
        while not happened():
            assert time.monotonic() < limit, f"waited {self.patience:.0f} s for {what}"
            time.sleep(0.25)

    def wait_for(self, job: str, state: str) -> None:
        """Wait until a job, with all its tasks, is in a state; fails where it ended in another."""

        def reached() -> bool:
            states = set(self.states(job).values())
            bad = states & ({"FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"} - {state})
            assert not bad, f"job {job}: {states}\n{self.log(job)}"
            return states == {state}

        self.wait(f"job {job} to be {state}", reached)
        self.report(f"job {job}: {state}")

    def log(self, job: str) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob(f"slurm-*-{job}*.log")))


@pytest.fixture
def slurm() -> Iterator[Loopback]:
    """A running cluster; skipped where SLURM isn't installed or can't be started."""
    if missing := missing_programs():
        pytest.skip(f"SLURM is not installed: {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("slurmd starts jobs as root only")
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, Loopback(Path(folder)) as cluster:
        yield cluster
