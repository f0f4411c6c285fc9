"""Draw a prompt file's images group by group and keep what is measured of them, so that a long run can go on later."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from text2latent.apps.evaluation.judging import Judge, Seen
from text2latent.common.errors import InputError
from text2latent.common.files import replacing
from text2latent.common.progress import progress
from text2latent.inference.images import make_grid, save_png, to_pil
from text2latent.inference.pipeline import Settings, Text2LatentPipeline
from text2latent.inference.prompts import PromptLine
from text2latent.inference.query import Query

PROMPTS_PER_GROUP = 8
OWN_SEED = 30_000_000
"""The generator's own samples are of z from here on."""
PARTS = ".parts"


@dataclass(frozen=True)
class Measured:
    """What is kept of the images of some prompts, all seeds of the first prompt first.

    Attributes:
        embeddings: `[N, E]` float32, CLIP's of the images.
        clip_scores: `[N]` float32.
        seconds: `[N]`, wall-clock time to draw each, CLIP included: that of the prompts drawn together, in equal parts.
        seen: what the judge sees in each, N or none.
    """

    embeddings: NDArray[np.float32]
    clip_scores: NDArray[np.float32]
    seconds: NDArray[np.float64]
    seen: list[Seen]


class Workplace:
    """A folder of grids, with parts of the measurements that a later run takes up if all is as it was.

    Args:
        fingerprint: plain data that says what is measured and how; other data begins anew.
    """

    def __init__(self, folder: Path, fingerprint: Any) -> None:
        digest = hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()[:16]
        self.folder, self.parts = folder, folder / PARTS / digest
        self.parts.mkdir(parents=True, exist_ok=True)

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """Arrays of a part; None if it isn't there or can't be read."""
        try:
            with np.load(self.parts / f"{name}.npz", allow_pickle=False) as arrays:
                return dict(arrays)
        except Exception:
            # Whatever is wrong with a part, it can be measured again.
            return None

    def save(self, name: str, **arrays: Any) -> None:
        """Write a part, whole or not at all."""
        with replacing(self.parts / f"{name}.npz") as partial, open(partial, "wb") as file:
            np.savez(file, **arrays)


def measure_prompts(
    pipeline: Text2LatentPipeline,
    lines: Sequence[PromptLine],
    negative: str | None,
    seeds: Sequence[int],
    settings: Settings,
    judge: Judge | None,
    workplace: Workplace,
) -> Measured:
    """Draw an image per prompt and seed, write a grid for every few prompts, and keep what is measured."""
    groups = [lines[start : start + PROMPTS_PER_GROUP] for start in range(0, len(lines), PROMPTS_PER_GROUP)]
    parts = []
    with progress(total=len(lines) * len(seeds), unit="images", description="draw") as bar:
        for number, group in enumerate(groups):
            name = f"grid-{number:04d}"
            part = _unpack(workplace.load(name)) if (workplace.folder / f"{name}.png").is_file() else None
            if part is None:
                queries = [Query(line.text, negative=negative) for line in group]
                part = _measure_group(pipeline, queries, seeds, settings, judge, workplace.folder / f"{name}.png")
                workplace.save(name, **_pack(part))
            parts.append(part)
            bar.update(len(part.clip_scores))
    return Measured(
        np.concatenate([part.embeddings for part in parts]),
        np.concatenate([part.clip_scores for part in parts]),
        np.concatenate([part.seconds for part in parts]),
        [seen for part in parts for seen in part.seen],
    )


def _measure_group(
    pipeline: Text2LatentPipeline,
    queries: Sequence[Query],
    seeds: Sequence[int],
    settings: Settings,
    judge: Judge | None,
    file: Path,
) -> Measured:
    started = time.perf_counter()
    rows = [query for query in queries for _ in seeds]
    draws = list(pipeline.stream(rows, list(seeds) * len(queries), settings))
    seconds = time.perf_counter() - started
    images = torch.cat([draw.images for draw in draws])
    prompts = "\n".join(query.label for query in queries)
    save_png(make_grid(to_pil(images), len(seeds)), file, {"prompt": prompts}, overwrite=True)
    return Measured(
        np.concatenate([_numpy(draw.embeddings) for draw in draws]),
        np.concatenate([_numpy(draw.clip_scores) for draw in draws]),
        np.full(len(images), seconds / len(images)),
        [] if judge is None else list(judge.see(images)),
    )


def measure_own(pipeline: Text2LatentPipeline, n: int, batch_size: int, workplace: Workplace) -> NDArray[np.float32]:
    """CLIP embeddings `[n, E]` of images of the generator's own, of random z and not truncated."""
    kept = workplace.load("own")
    if kept is not None and len(kept["embeddings"]) == n:
        return kept["embeddings"]
    batches = range(0, n, batch_size)
    sizes = [min(batch_size, n - start) for start in batches]
    embedded = [
        _embed_own(pipeline, OWN_SEED + start, size)
        for start, size in progress(zip(batches, sizes, strict=True), len(sizes), "batches", description="own samples")
    ]
    embeddings = np.concatenate(embedded)
    workplace.save("own", embeddings=embeddings)
    return embeddings


@torch.no_grad()
def _embed_own(pipeline: Text2LatentPipeline, seed: int, n: int) -> NDArray[np.float32]:
    return _numpy(pipeline.clip.encode_image(pipeline.generator.synthesize(pipeline.generator.sample_w(n, seed))))


def _numpy(tensor: torch.Tensor | None) -> NDArray[np.float32]:
    assert tensor is not None  # evaluation always asks for scores
    return tensor.float().cpu().numpy()


def _pack(part: Measured) -> dict[str, Any]:
    return {**vars(part), "seen": json.dumps(part.seen)}


def _unpack(arrays: dict[str, np.ndarray] | None) -> Measured | None:
    if arrays is None:
        return None
    seen = json.loads(str(arrays["seen"]))
    return Measured(arrays["embeddings"], arrays["clip_scores"], arrays["seconds"], seen)


def iterate_rows(lines: Sequence[PromptLine], seeds: Sequence[int]) -> Iterator[tuple[PromptLine, int]]:
    """Prompt and seed of each image, in the order in which they are measured."""
    yield from ((line, seed) for line in lines for seed in seeds)


def require_enough(num_prompts: int, num_images: int, num_own: int, neighbours: int) -> None:
    """Refuse what no Frechet distance or manifold can be estimated from.

    Raises:
        InputError: naming the numbers.
    """
    if min(num_prompts * num_images, num_own) <= neighbours:
        raise InputError(
            f"--prompts: expected more than {neighbours} images, got {num_prompts} prompts of {num_images}; "
            "more --num-images would do"
        )
