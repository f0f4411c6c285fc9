"""One optimisation in its folder: saved as it goes, resumed, interrupted and finished.

::

    OUTPUT/run.json          settings and identities; a run goes on only with the same
    OUTPUT/state.pt          what the next iteration depends on
    OUTPUT/image.png         the latest image
    OUTPUT/best.png          that of the highest CLIP score so far, and
    OUTPUT/best.npz          its latents, as `text2latent infer --latents` takes them
    OUTPUT/curve.csv         iteration, seconds, CLIP score and loss
    OUTPUT/progress/*.png    an image every so many iterations
"""

from __future__ import annotations

import csv
import io
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from text2latent.common.errors import InputError, named_line, one_line
from text2latent.common.files import replacing, write_text
from text2latent.common.litter import files_of, name_files
from text2latent.inference.images import save_png, to_pil
from text2latent.inference.latents_file import save_latents
from text2latent.inference.optimization.descent import Descent, Diverged
from text2latent.models.clip.encoder import ClipEncoder

RUN, STATE, CURVE = "run.json", "state.pt", "curve.csv"
IMAGE, BEST, LATENTS, PROGRESS = "image.png", "best.png", "best.npz", "progress"


@dataclass(frozen=True)
class Point:
    """A place on the way.

    Attributes:
        iteration: steps done.
        seconds: time that these took, over all sessions, loading not counted.
        clip_score: cosine of the whole image and the goal.
        loss: of the step that comes next, on its cutouts; NaN at the end of the way.
    """

    iteration: int
    seconds: float
    clip_score: float
    loss: float


@dataclass
class Best:
    """The image of the highest CLIP score so far: `image` `[3, H, W]` in [-1, 1], `latents` `[L, w_dim]`."""

    iteration: int
    clip_score: float
    image: Tensor
    latents: Tensor


@contextmanager
def postponed_interrupt() -> Iterator[Callable[[], bool]]:
    """Context in which Ctrl-C is only noted; yields a function that says whether it came. A second one interrupts."""
    came = threading.Event()

    def note(number: int, frame: Any) -> None:
        if came.is_set():
            raise KeyboardInterrupt
        came.set()

    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def open_folder(
    folder: Path, description: Mapping[str, Any], overwrite: bool, clear: Callable[[Path], None] | None = None
) -> None:
    """Make a run's folder, or enter that of the same run.

    Args:
        description: all that decides what is drawn, JSON-ready.
        overwrite: forget a run that is there.
        clear: removes its files, and nothing else; None removes those of an optimisation.

    Raises:
        InputError: when it holds a run of other settings, or other files.
    """
    there = folder / RUN
    if there.is_file() and not overwrite:
        _require_same(there, description)
    elif (found := files_of(folder)) and not there.is_file():
        raise InputError(f"--output: {folder}: expected a new folder or one of a run, found {name_files(found)}")
    if overwrite:
        (clear or forget)(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(there, json.dumps(description, indent=1, ensure_ascii=False) + "\n")


def _require_same(file: Path, description: Mapping[str, Any]) -> None:
    try:
        old = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: damaged: {one_line(error)}") from error
    new = json.loads(json.dumps(description))
    differing = [key for key in old.keys() | new.keys() if old.get(key) != new.get(key)]
    if differing:
        key = sorted(differing)[0]
        raise InputError(
            f"--output: {file.parent} holds another run ({key}: {str(old.get(key))[:80]!r} there, "
            f"{str(new.get(key))[:80]!r} asked); expected a new folder, or --overwrite"
        )


def forget(folder: Path) -> None:
    """Remove a run's files, and nothing else, from its folder."""
    names = (STATE, CURVE, IMAGE, BEST, LATENTS, RUN)
    for path in [*(folder / name for name in names), *(folder / PROGRESS).glob("*.png")]:
        path.unlink(missing_ok=True)


class Run:
    """A descent of one image and what is kept of it.

    Args:
        folder: one that `open_folder` opened; a state that is there is gone on from.
        descent: of one image, at its start.
        clip: what scores the image.
        target: `[1, E]`, L2-normalised: what the score is with.
        metadata: text chunks of all PNG files.

    Raises:
        InputError: when a state is damaged.
    """

    def __init__(
        self, folder: Path, descent: Descent, clip: ClipEncoder, target: Tensor, metadata: Mapping[str, str]
    ) -> None:
        self.folder, self.descent, self.clip, self.target = folder, descent, clip, target
        self.metadata = dict(metadata)
        self.points: list[Point] = []
        self.best: Best | None = None
        if (folder / STATE).is_file():
            self._load()

    @property
    def progress_files(self) -> list[Path]:
        return sorted((self.folder / PROGRESS).glob("*.png"))

    def progress_file(self, iteration: int) -> Path:
        """Where the image after so many iterations is kept, if it is."""
        return self.folder / PROGRESS / f"{iteration:06d}.png"

    def advance(self, total: int, save_every: int, on_point: Callable[[Point], object] = lambda point: None) -> None:
        """Go on until `total` iterations are done, and save every so many.

        Raises:
            InputError: when the numbers aren't finite any more; the best so far is saved.
            KeyboardInterrupt: after Ctrl-C, once all is saved.
        """
        with postponed_interrupt() as interrupted:
            while self._look(total, save_every, on_point) and not interrupted():
                try:
                    self._step()
                except Diverged as error:
                    self._write_results()
                    raise InputError(f"{error}; {self._where_best()}") from error
            self.save()
            if interrupted() and self.descent.iteration < total:
                raise KeyboardInterrupt

    def _look(self, total: int, save_every: int, on_point: Callable[[Point], object]) -> bool:
        """Score where the descent is, keep the image if it is the best, save if it is time; says whether to go on."""
        iteration = self.descent.iteration
        if not self.points or self.points[-1].iteration < iteration:
            started = time.perf_counter()
            self._score()
            self._add_seconds(started)
            on_point(self.points[-1])
            if iteration % save_every == 0 or iteration >= total:
                self._save_progress()
                self.save()
        return iteration < total

    def _step(self) -> None:
        started = time.perf_counter()
        loss = float(self.descent.step()[0])
        last = self.points[-1]
        self.points[-1] = Point(last.iteration, last.seconds, last.clip_score, loss)
        self._pending = time.perf_counter() - started

    def _score(self) -> None:
        image = self.descent.draw()
        with torch.no_grad():
            score = float((self.clip.encode_image(image) * self.target).sum())
        before = self.points[-1].seconds + self._pending if self.points else 0.0
        self.points.append(Point(self.descent.iteration, before, score, float("nan")))
        self.image = image[0].cpu()
        if self.best is None or score > self.best.clip_score:
            self.best = Best(self.descent.iteration, score, self.image, self.descent.latents[0].cpu())

    def _add_seconds(self, started: float) -> None:
        last = self.points[-1]
        seconds = last.seconds + time.perf_counter() - started
        self.points[-1] = Point(last.iteration, seconds, last.clip_score, last.loss)

    _pending = 0.0
    """Seconds of the latest step, which count for the point that it leads to."""

    def _where_best(self) -> str:
        assert self.best is not None
        return f"the best so far, of iteration {self.best.iteration}, is in {self.folder / BEST}"

    def _save_progress(self) -> None:
        file = self.progress_file(self.descent.iteration)
        save_png(to_pil(self.image[None])[0], file, self.metadata, overwrite=True)

    def save(self) -> None:
        """Write the state and the results, each file whole or not at all."""
        state = {
            "descent": self.descent.state_dict(),
            "points": [astuple(point) for point in self.points],
            "best": None if self.best is None else asdict(self.best),
            "image": self.image,
        }
        with replacing(self.folder / STATE) as partial:
            torch.save(state, partial)
        self._write_results()

    def _write_results(self) -> None:
        assert self.best is not None
        for name, image in ((IMAGE, self.image), (BEST, self.best.image)):
            save_png(to_pil(image[None])[0], self.folder / name, self.metadata, overwrite=True)
        num_ws = self.descent.generator.num_ws
        save_latents(self.folder / LATENTS, [self.best.latents], num_ws, overwrite=True)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(field.name for field in fields(Point))
        writer.writerows(astuple(point) for point in self.points)
        write_text(self.folder / CURVE, text.getvalue())

    def _load(self) -> None:
        file = self.folder / STATE
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            self.descent.load_state_dict(state["descent"])
            self.points = [Point(*values) for values in state["points"]]
            self.best, self.image = Best(**state["best"]), state["image"]
        except Exception as error:
            # Damaged files raise many kinds; with weights_only none of their code has run.
            raise InputError(
                f"{file}: expected the state of a run: {named_line(error)}; start again with --overwrite"
            ) from error
