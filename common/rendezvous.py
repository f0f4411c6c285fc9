"""How the processes of a run find each other: within a time limit, naming who is missing, and open to signals.

`torch.distributed` does it in one call that returns when all are there, and until then hears no signal. Here the same
store is asked again and again from Python instead, and the group is made once all have signed in.
"""

from __future__ import annotations

import atexit
import os
import socket
import time
from collections.abc import Callable
from datetime import timedelta

import torch
from torch.distributed import PrefixStore, Store, TCPStore

from text2latent.common.errors import InputError, one_line

POLL_SECONDS = 0.2
REPORT_SECONDS = 10.0  # of waiting, after which a line says whom for
ANSWER_SECONDS = 30.0  # a store that is there answers well before
STARTED = "expected all to be started at about the same time, with the same address, by torchrun, srun or the like"


def join_processes(
    rank: int,
    processes: int,
    address: tuple[str, int],
    minutes: float,
    backend: str,
    device: torch.device | None = None,
    announce: Callable[[str], None] = lambda line: None,
) -> None:
    """Make torch.distributed's default group once all processes are there; it is left when the process ends.

    Args:
        rank, processes: of this process, and how many there are.
        address: host and port of the process of rank 0, or of the launcher that keeps a store there.
        minutes: how long to wait for the others.
        backend: such as ``gloo`` or ``nccl``.
        device: of this process, where the group is to be bound to it.
        announce: gets a line when the others take their time.

    Raises:
        InputError: naming who is missing, once the time is up.
    """
    if torch.distributed.is_initialized():
        return
    deadline = Deadline(minutes, announce)
    try:
        store = _open_store(rank, processes, address, deadline)
        # torchrun keeps its store over restarts, in which old signatures mustn't count.
        attempt = PrefixStore(f"text2latent/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        _sign_in(attempt, rank, processes, address, deadline)
        torch.distributed.init_process_group(
            backend, store=PrefixStore("group", attempt), rank=rank, world_size=processes, device_id=device
        )
        atexit.register(_leave_group)
    except RuntimeError as error:
        raise InputError(
            f"rank {rank} of {processes}: lost the others at {_named(address)}: {one_line(error)}"
        ) from error


def _leave_group() -> None:
    """End the group before the interpreter ends: NCCL complains otherwise, and Gloo's threads may abort the process."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class Deadline:
    """A limit on a wait.

    Args:
        minutes: until it is up.
        announce: gets a line once the wait is long.
    """

    def __init__(self, minutes: float, announce: Callable[[str], None]) -> None:
        self.minutes, self.announce = minutes, announce
        self._began, self._announced = time.monotonic(), False

    def wait_for(self, missing: str) -> None:
        """Wait a moment for what is missing.

        Raises:
            InputError: when the time is up.
        """
        waited = time.monotonic() - self._began
        if waited > 60 * self.minutes:
            raise InputError(f"--launch-timeout {self.minutes:g}: {missing} after so many minutes; {STARTED}")
        if waited > REPORT_SECONDS and not self._announced:
            self._announced = True
            self.announce(f"waiting for the others, {self.minutes:g} minutes at most: {missing}")
        time.sleep(POLL_SECONDS)


def _named(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"


def _open_store(rank: int, processes: int, address: tuple[str, int], deadline: Deadline) -> Store:
    """The store at `address`, which rank 0 keeps unless torchrun does."""
    host, port = address
    keeps = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    while not keeps:
        try:
            # A store's own attempt to connect fills stderr while nobody answers.
            socket.create_connection(address, timeout=1).close()
            break
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            deadline.wait_for(
                f"rank {rank} of {processes} is here, rank 0 doesn't answer at {_named(address)} ({reason})"
            )
    answer = timedelta(seconds=ANSWER_SECONDS)
    return TCPStore(host, port, None, keeps, timeout=answer, wait_for_workers=False, multi_tenant=True)


def _sign_in(store: Store, rank: int, processes: int, address: tuple[str, int], deadline: Deadline) -> None:
    store.set(_signature(rank), "here")
    missing = list(range(processes))
    while missing := [other for other in missing if not store.check([_signature(other)])]:
        names = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
        ranks = f"rank{'s' if len(missing) > 1 else ''} {names}"
        deadline.wait_for(f"{ranks} of {processes} missing at {_named(address)}")


def _signature(rank: int) -> str:
    return f"rank {rank}"
