"""What processes that read hand over, with shared memory or without, and what they do with signals.

Shared memory is small in containers (64 MiB in Docker's), and a worker that gets none would die with a traceback while
the main process waits for its batch. So workers ask for it themselves, and send a batch through their pipe without.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from text2latent.common.errors import one_line

Sent = tuple[Tensor, ...] | tuple[NDArray[np.float32], ...]

MORE = "a larger /dev/shm, such as docker run --shm-size gives, is faster"


def leave_signals_to_the_main_process(worker: int = 0) -> None:
    """To be called in a worker, whose main process says when it is to end, also where all of a job are signalled."""
    signal.set_wakeup_fd(-1)
    for name in ("SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _die_of_the_next)


def _die_of_the_next(signum: int, frame: FrameType | None) -> None:
    """A cluster sends SIGTERM to all of a job, the main process sends it to workers that don't end as asked."""
    signal.signal(signum, signal.SIG_DFL)


def send(batch: tuple[Tensor, ...]) -> Sent:
    """A worker's batch in shared memory, or where there isn't enough as arrays, which go through its pipe."""
    try:
        return tuple(tensor.share_memory_() for tensor in batch)
    except (OSError, RuntimeError):
        return tuple(tensor.numpy() for tensor in batch)


def as_it_is(batch: Any) -> Any:
    """A batch that needs no collating; PyTorch's default would make tensors of arrays again, in the worker."""
    return batch


class Reception:
    """Takes batches from a loader's workers, and does without shared memory and without workers where need be.

    Args:
        announce: gets a line the first time that there is need.
    """

    def __init__(self, announce: Callable[[str], None]) -> None:
        self.announce, self._announced = announce, False

    def iterate(self, loader: DataLoader[Any]) -> Iterator[tuple[Tensor, ...]]:
        """Batches of a loader; without its workers, after a line to `announce`, where none can be started."""
        if loader.num_workers and (reason := _refused_queues(loader.num_workers + 1)):
            self._announce(f"no processes can be started to read with ({reason}), reading in the main one")
            loader = DataLoader(loader.dataset, batch_size=None, collate_fn=as_it_is, pin_memory=loader.pin_memory)
        return map(self._receive, iter(loader))

    def _receive(self, sent: Sent) -> tuple[Tensor, ...]:
        if all(isinstance(part, Tensor) for part in sent):
            return sent  # type: ignore[return-value]
        self._announce("no room in shared memory for batches, sending them without")
        return tuple(torch.from_numpy(part) for part in sent)

    def _announce(self, what: str) -> None:
        if not self._announced:
            self.announce(f"warning: {what}; {MORE}")
        self._announced = True


def _refused_queues(count: int) -> str | None:
    """Why the system refuses queues between processes, which need semaphores in shared memory; None if it doesn't.

    A loader's workers need an event besides: where there is room for all of that, they can be started.
    """
    try:
        event = multiprocessing.Event()
        queues: list[Any] = [multiprocessing.Queue() for _ in range(count)]
        for queue in queues:
            queue.close()
        del event
    except OSError as error:
        return one_line(error, 120)
    return None
