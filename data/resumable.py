"""A loader that a resumed training enters where it was left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader

from text2latent.data.streaming import StreamedPairs
from text2latent.data.workers import Reception


class ResumableBatches:
    """Batches of a loader, with the position in the epoch as state that Lightning keeps in its checkpoints.

    The loader's order must follow from its epoch alone, as that of `RowBatches` and of `StreamedPairs` does.

    Args:
        loader: yields the same batches in the same order in each run of an epoch.
        announce: gets a line when the loader has to do without shared memory, or without its workers.
    """

    def __init__(self, loader: DataLoader[Any], announce: Callable[[str], None] = lambda line: None) -> None:
        self.loader, self._reception = loader, Reception(announce)
        self._given = 0
        self._skip = 0

    @property
    def sampler(self) -> Any:
        """What decides the order, which Lightning gives the epoch."""
        return self.loader.dataset if isinstance(self.loader.dataset, StreamedPairs) else self.loader.sampler

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        self._given, self._skip = self._skip, 0
        for batch in self._rest():
            self._given += 1
            yield batch

    def _rest(self) -> Iterator[Any]:
        """Batches behind those given: a stream is entered there, rows in memory are passed over."""
        if isinstance(self.loader.dataset, StreamedPairs):
            self.loader.dataset.start_at(self._given)
            return self._reception.iterate(self.loader)
        return islice(iter(self.loader), self._given, None)

    def state_dict(self) -> dict[str, int]:
        """Batches given in this epoch."""
        return {"batches": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Skip in the next epoch what was given already; nothing where that was all."""
        self._skip = state["batches"] % len(self)
