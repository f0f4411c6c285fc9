"""Processes that read have little shared memory or none, and hear the signals that their job gets."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from text2latent.data.workers import Reception, Sent, as_it_is, leave_signals_to_the_main_process, send
from text2latent.tests.train_runs import arguments, assert_same_prior


def may_mount() -> bool:
    """Whether a /dev/shm of our own can be had here."""
    if shutil.which("unshare") is None or not Path("/dev/shm").is_dir():
        return False
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/dev/shm"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def train_with_shared_memory(options: str, words: list[str]) -> str:
    """Train where /dev/shm is mounted with `options`; returns what it says on stderr."""
    mount = f'mount -t tmpfs -o {options} tmpfs /dev/shm && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", mount, "sh", sys.executable, "-m", "text2latent", "train", *words]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    return ran.stderr


@pytest.mark.skipif(not may_mount(), reason="needs the right to mount a /dev/shm of its own")
def test_training_goes_on_where_shared_memory_is_full_or_absent(tiny_pairs: Path, tmp_path: Path) -> None:
    wanted = ("--data.in-memory", "false", "--data.num-workers", "2", "--max-steps", "6", "--tensorboard", "false")
    wanted += ("--data.batch-size", "20")
    full, absent = tmp_path / "full", tmp_path / "absent"
    log = train_with_shared_memory("size=64k", arguments(tiny_pairs, full, *wanted, "--csv", "false"))
    assert log.count("warning: no room in shared memory for batches, sending them without") == 1
    log = train_with_shared_memory("ro,size=64k", arguments(tiny_pairs, absent, *wanted, "--csv", "false"))
    assert log.count("warning: no processes can be started to read with (") == 1
    assert_same_prior(full, absent)


class Numbers(IterableDataset[Sent]):
    """Two batches, sent by a worker that has shared memory or hasn't."""

    def __init__(self, refuse: bool) -> None:
        self.refuse = refuse

    def __iter__(self):  # type: ignore[no-untyped-def]
        if self.refuse:
            torch.Tensor.share_memory_ = _no_room  # type: ignore[method-assign]  # in the worker's own process
        return map(send, [(torch.arange(3.0), torch.ones(2, 2))] * 2)


def _no_room(tensor: Tensor) -> Tensor:
    raise RuntimeError("unable to allocate shared memory(shm) for file: No space left on device (28)")


@pytest.mark.parametrize("refuse", [False, True])
def test_batches_are_the_same_with_shared_memory_and_without(refuse: bool) -> None:
    lines: list[str] = []
    reception = Reception(lines.append)
    loader = DataLoader(Numbers(refuse), batch_size=None, num_workers=1, collate_fn=as_it_is)
    for _ in range(2):
        for first, second in reception.iterate(loader):
            np.testing.assert_array_equal(first, [0, 1, 2])
            np.testing.assert_array_equal(second, np.ones((2, 2)))
    assert len(lines) == refuse


def test_a_worker_hears_the_second_sigterm_only() -> None:
    child = os.fork()
    if child == 0:
        leave_signals_to_the_main_process()
        for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), signum)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
