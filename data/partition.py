"""Who gets which part of an epoch: every pair once, as many batches for everyone, so that nobody waits at its end."""

from __future__ import annotations

import torch

from text2latent.common.errors import UsageError


def share(total: int, parts: int, part: int) -> range:
    """Part number `part` of `parts` consecutive parts of ``range(total)``, whose sizes differ by at most 1."""
    return range(total * part // parts, total * (part + 1) // parts)


def num_batches(total: int, parts: int, batch_size: int) -> int:
    """Batches that each of `parts` parts of `total` pairs is cut into, of near equal sizes up to `batch_size`.

    None is empty, for which batches of 1 may become 2 where the parts differ in size.

    Raises:
        UsageError: when a part would have no pairs.
    """
    if total < parts:
        raise UsageError(f"--data.path: {total} pairs are too few for {parts} processes and workers")
    largest = -(-total // parts)
    return min(-(-largest // batch_size), total // parts)


def this_process() -> tuple[int, int]:
    """Rank of this process and number of processes in torch.distributed's group; (0, 1) where there is none."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
