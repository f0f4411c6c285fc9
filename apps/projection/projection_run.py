"""Projections in their folder: saved as they go, and gone on with.

::

    OUTPUT/run.json     settings and identities; a run goes on only with the same
    OUTPUT/state.pt     what has been found, and where the search is
    OUTPUT/NAME.png     of each picture, what the generator draws of its latents, and
    OUTPUT/NAME.npz     these, as `text2latent infer --latents` takes them
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from text2latent.apps.optimize.run import RUN, postponed_interrupt
from text2latent.common.errors import InputError, named_line
from text2latent.common.files import replacing
from text2latent.inference.projection.projector import Projector

STATE = "state.pt"


@dataclass
class Found:
    """What was found of a picture.

    Attributes:
        latents: `[num_ws, D]`.
        way: `[F, num_ws, D]`, where the search was each time it was saved.
        steps: that it took.
        seconds: these took, with those of the pictures beside it, loading not counted.
    """

    latents: Tensor
    way: Tensor
    steps: int
    seconds: float


class ProjectionRun:
    """The search for pictures, a group at a time.

    Args:
        folder: an open one; a state that is there is gone on from.
        names: of the pictures.
        begin: makes the projector of the pictures from one number up to another, at its start.
        batch_size: pictures of a group.

    Raises:
        InputError: when a state is damaged.
    """

    def __init__(
        self, folder: Path, names: Sequence[str], begin: Callable[[int, int], Projector], batch_size: int
    ) -> None:
        self.folder, self.names, self.batch_size = folder, names, batch_size
        self._begin = begin
        self.found: list[Found] = []
        self._way: list[Tensor] = []
        self._seconds = 0.0
        self._current: Mapping[str, Any] | None = None
        if (folder / STATE).is_file():
            self._load()

    def advance(self, save_every: int, on_step: Callable[[int], object]) -> None:
        """Search until all pictures are found, and save every so many steps; `on_step` gets the steps done so far.

        Raises:
            InputError: when the numbers aren't finite any more.
            KeyboardInterrupt: after Ctrl-C, once all is saved.
        """
        while len(self.found) < len(self.names):
            start = len(self.found)
            stop = min(start + self.batch_size, len(self.names))
            started = time.perf_counter()
            projector = self._begin(start, stop)
            if self._current is not None:
                projector.load_state_dict(self._current)
            self._seconds += time.perf_counter() - started
            on_step(projector.iteration)
            self._search(projector, save_every, on_step)

    def _search(self, projector: Projector, save_every: int, on_step: Callable[[int], object]) -> None:
        with postponed_interrupt() as interrupted:
            while not projector.is_done and not interrupted():
                started = time.perf_counter()
                if projector.iteration % save_every == 0:
                    self._save(projector)
                projector.step()
                self._seconds += time.perf_counter() - started
                on_step(projector.iteration)
            if not projector.is_done:
                self._save(projector)
                raise KeyboardInterrupt
        projector.finish()
        self._keep(projector)

    def _keep(self, projector: Projector) -> None:
        way = torch.stack([*self._way, projector.latents.cpu()], dim=1)
        for latents, seen in zip(projector.latents.cpu(), way, strict=True):
            self.found.append(Found(latents.clone(), seen.clone(), projector.iteration, self._seconds))
        self._way, self._seconds, self._current = [], 0.0, None
        self._write(None)

    def _save(self, projector: Projector) -> None:
        self._way.append(projector.descent.latents.cpu())
        self._write(projector.state_dict())

    def _write(self, current: Mapping[str, Any] | None) -> None:
        found = [asdict(one) for one in self.found]
        with replacing(self.folder / STATE) as partial:
            torch.save({"found": found, "way": self._way, "seconds": self._seconds, "current": current}, partial)

    def _load(self) -> None:
        file = self.folder / STATE
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            self.found = [Found(**one) for one in state["found"]]
            self._way, self._seconds, self._current = state["way"], state["seconds"], state["current"]
        except Exception as error:
            # Damaged files raise many kinds; with weights_only none of their code has run.
            raise InputError(
                f"{file}: expected the state of a projection: {named_line(error)}; start again with --overwrite"
            ) from error


def forget(folder: Path, names: Sequence[str]) -> None:
    """Remove the files of a run on pictures of these names, and nothing else, from its folder."""
    for name in (RUN, STATE, *(f"{name}{end}" for name in names for end in (".png", ".npz", "-edited.png"))):
        (folder / name).unlink(missing_ok=True)
