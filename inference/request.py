"""What one run of infer is to draw: texts and images, latents, an edit or an interpolation; checked before any work.

Importing this is quick: torch and all that draws comes in when it is first needed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from text2latent.common.errors import InputError, UsageError
from text2latent.inference.prompts import Prompt, read_prompt_file
from text2latent.inference.query import Query
from text2latent.inference.settings import DEFAULT_STRENGTH
from text2latent.inference.writing import (
    edit_label,
    plan_files,
    plan_frames,
    plan_grid,
    write_frames,
    write_separately,
    write_sheet,
)

if TYPE_CHECKING:
    from text2latent.inference.pipeline import Settings, Text2LatentPipeline
    from text2latent.inference.result import Draw


@dataclass(frozen=True)
class Request(ABC):
    """Rows of images, an image per seed in each.

    Attributes:
        labels: a name for each row.
        grid: whether all images go into one PNG, row by row.
    """

    labels: list[str]
    seeds: Sequence[int]
    grid: bool

    def __len__(self) -> int:
        return len(self.labels) * len(self.seeds)

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What is asked for beyond texts and seeds, JSON-ready; None where it isn't."""

    @abstractmethod
    def draw(
        self, pipeline: Text2LatentPipeline, settings: Settings, wanted: Sequence[bool] | None = None
    ) -> Iterator[Draw]:
        """Draw all images in order, or of all only the wanted ones."""

    def plan(self, output: str | None) -> list[Path]:
        """The files to write: one for all images, or one for each; errors as for `writing.plan_files`."""
        planned = plan_grid if self.grid else plan_files
        files = planned(output, self.labels, self.seeds)
        return [files] if isinstance(files, Path) else files

    def write(
        self, images: Iterable[Draw], files: Sequence[Path], description: dict[str, Any], overwrite: bool
    ) -> Iterator[tuple[Path, Draw]]:
        """Write images to their files, which are yielded with them; see `text2latent.inference.writing`."""
        if self.grid:
            return write_sheet(images, files[0], description, len(self.seeds), overwrite)
        return write_separately(images, files, description, overwrite)


@dataclass(frozen=True)
class QueriesRequest(Request):
    """A row per query."""

    queries: list[Query]

    @property
    def settings(self) -> dict[str, Any]:
        first = self.queries[0]
        images = list(dict.fromkeys(query.image.name for query in self.queries if isinstance(query.image, Path)))
        mixed = bool(images) and first.text is not None
        return {
            "negative_text": first.negative,
            "image": images or None,
            "image_weight": first.image_weight if mixed else None,
        }

    def draw(
        self, pipeline: Text2LatentPipeline, settings: Settings, wanted: Sequence[bool] | None = None
    ) -> Iterator[Draw]:
        from text2latent.inference.drawing import draw_pairs

        pairs = [(query, seed) for query in self.queries for seed in self.seeds]
        yield from draw_pairs(pipeline, choose(pairs, wanted), settings)


@dataclass(frozen=True)
class FramesRequest(Request):
    """A row per frame on the way from one query to another."""

    start: Query
    end: Query

    @property
    def settings(self) -> dict[str, Any]:
        ends = [self.start.text, self.end.text]
        return {"interpolate": ends, "frames": len(self.labels), "negative_text": self.start.negative}

    def draw(
        self, pipeline: Text2LatentPipeline, settings: Settings, wanted: Sequence[bool] | None = None
    ) -> Iterator[Draw]:
        """All frames are drawn: `wanted` is refused with an interpolation before."""
        from text2latent.inference.drawing import draw_frames

        yield from draw_frames(pipeline, (self.start, self.end), len(self.labels), self.seeds, settings)

    def plan(self, output: str | None) -> list[Path]:
        """See `Request`; one file, of the format that its suffix names."""
        planned = plan_grid if self.grid else plan_frames
        return [planned(output, self.labels, self.seeds)]

    def write(
        self, images: Iterable[Draw], files: Sequence[Path], description: dict[str, Any], overwrite: bool
    ) -> Iterator[tuple[Path, Draw]]:
        return write_frames(images, files[0], description, len(self.seeds), overwrite)


@dataclass(frozen=True)
class LatentsRequest(Request):
    """Latents from a file, those drawn of queries, or random ones; edited or as they are.

    Attributes:
        file: where the latents are; its one row has an image per latent.
        queries: without a file, what to draw first, a row each; without any, one row of random latents.
        edit: from what to what to change them, and by how much.
    """

    file: Path | None
    queries: list[Query]
    edit: tuple[Query, Query, float] | None

    @property
    def settings(self) -> dict[str, Any]:
        latents = None if self.file is None else self.file.name
        if self.edit is None:
            return {"latents": latents}
        source, target, strength = self.edit
        return {"latents": latents, "edit": [source.text, target.text], "strength": strength}

    def draw(
        self, pipeline: Text2LatentPipeline, settings: Settings, wanted: Sequence[bool] | None = None
    ) -> Iterator[Draw]:
        from text2latent.inference.drawing import draw_latents
        from text2latent.inference.editing import Edit, draw_starts
        from text2latent.inference.latents_file import load_latents

        if self.file is not None:
            latents = load_latents(self.file, pipeline.generator.latent_shape)
        else:
            queries = [query for query in self.queries for _ in self.seeds]
            latents = draw_starts(pipeline, queries, list(self.seeds) * len(self.labels), settings)
        rows = [(label, seed) for label in self.labels for seed in self.seeds]
        starts = [(label, seed, latent) for (label, seed), latent in zip(rows, latents, strict=True)]
        edit = None if self.edit is None else Edit(*self.edit)
        yield from draw_latents(pipeline, choose(starts, wanted), settings, edit)


def choose(items: list, wanted: Sequence[bool] | None) -> list:
    """The items that are wanted; all without a choice."""
    return items if wanted is None else [item for item, is_wanted in zip(items, wanted, strict=True) if is_wanted]


def make_request(config: Namespace) -> Request:
    """What the flags of infer ask for.

    Raises:
        UsageError: for an unusable prompt, flags that don't go together, or none that says what to draw.
        InputError: for a file that can't be used.
    """
    _check_together(config)
    seeds = range(config.seed, config.seed + config.num_images)
    negative = None if config.negative_text is None else Prompt(config.negative_text)
    if config.interpolate:
        start, end = (_query(config, negative, text) for text in config.interpolate)
        labels = [f"{start.label} to {end.label}"] * config.frames
        return FramesRequest(labels, seeds, config.grid, start, end)
    queries = _read_queries(config, negative)
    if config.latents or config.edit:
        return _latents_request(config, queries, negative, seeds)
    if not queries:
        raise UsageError(
            "--text: expected at least one text; or --prompts, --image, --latents, --edit or --interpolate"
        )
    return QueriesRequest([query.label for query in queries], seeds, config.grid, queries)


def _check_together(config: Namespace) -> None:
    given = {name for name, value in vars(config).items() if value}
    forbidden = {
        "interpolate": ("text", "prompts", "image", "latents", "edit"),
        "latents": ("text", "prompts", "image"),
        "prompts": ("text",),
        "skip_existing": ("grid", "interpolate", "save_latents", "overwrite"),
    }
    for name in [name for name in forbidden if name in given]:
        for other in [other for other in forbidden[name] if other in given]:
            raise UsageError(f"{_flag(name)}: expected no {_flag(other)} with it")
    if config.strength is not None and "edit" not in given:
        raise UsageError("--strength: expected --edit with it, which it is for")


def idle_flags(config: Namespace) -> dict[str, str]:
    """Flags of infer that would be ignored, each with what was expected instead."""
    mixes = config.image and (config.text or config.prompts)
    needed = {
        "image_weight": "" if mixes else "--image and a text",
        "frames": "" if config.interpolate else "--interpolate",
        "force": "" if config.generator or config.clip or config.clip_args else "--generator or --clip",
    }
    idle = {name: f"expected {what} with it, which it is for" for name, what in needed.items() if what}
    refused = []
    if config.latents:
        refused += ["num_images", "seed"]
    if config.latents or (config.edit and not (config.text or config.prompts or config.image)):
        refused += ["rerank", "refine"]
    if config.latents and not config.edit:
        refused += ["steps", "guidance_scale", "negative_text"]
    source = "--latents" if config.latents else "--edit of random images"
    return idle | dict.fromkeys(refused, f"expected no such flag with {source}, where nothing is drawn that it says")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _read_queries(config: Namespace, negative: Prompt | None) -> list[Query]:
    """Queries of `--text`, `--prompts` and `--image`: every text with every image."""
    texts: list[str | None] = [Prompt(text) for text in config.text or ()]
    if config.prompts:
        texts = [line.text for line in read_prompt_file(config.prompts)]
    images = [_existing(path) for path in config.image or ()]
    if not images:
        return [_query(config, negative, text) for text in texts]
    return [_query(config, negative, text, image) for text in texts or [None] for image in images]


def _existing(path: str) -> Path:
    if not Path(path).is_file():
        raise InputError(f"--image: {path}: no such file; expected an image")
    return Path(path)


def _query(config: Namespace, negative: Prompt | None, text: str | None, image: Path | None = None) -> Query:
    return Query(text, image, config.image_weight, negative)


def _latents_request(
    config: Namespace, queries: list[Query], negative: Prompt | None, seeds: Sequence[int]
) -> LatentsRequest:
    file = None if config.latents is None else Path(config.latents)
    labels = [query.label for query in queries] or ["image" if file is None else file.stem]
    edit = None
    if config.edit:
        source, target = (_query(config, negative, text) for text in config.edit)
        edit = (source, target, DEFAULT_STRENGTH if config.strength is None else config.strength)
        labels = [edit_label(label, source.label, target.label) for label in labels]
    if file is None:
        return LatentsRequest(labels, seeds, config.grid, None, queries, edit)
    from text2latent.inference.latents_file import count_latents

    return LatentsRequest(labels, range(count_latents(file)), config.grid, file, [], edit)
