"""Drawn images one by one, with all that a file or a report says of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image

from text2latent.models.identity import Identity
from text2latent.models.images import to_pil
from text2latent.models.pipeline import Settings, Text2LatentPipeline

SCORE_DIGITS = 4
UNSEEN_SETTINGS = ("batch_size", "return_scores")


@dataclass(frozen=True)
class DrawnImage:
    """A picture, its prompt, the seed that draws it again, and its CLIP score (None where not computed)."""

    picture: Image.Image
    prompt: str
    seed: int
    clip_score: float | None

    def to_dict(self) -> dict[str, Any]:
        """All but the picture, JSON-ready."""
        return {"prompt": self.prompt, "seed": self.seed, "clip_score": self.clip_score}


def draw_images(
    pipeline: Text2LatentPipeline, prompts: Sequence[str], seeds: Sequence[int], settings: Settings
) -> Iterator[DrawnImage]:
    """Draw an image per prompt and seed, all seeds of the first prompt first."""
    pairs = [(prompt, seed) for prompt in prompts for seed in seeds]
    waiting = iter(pairs)
    for group in pipeline.stream([prompt for prompt, _ in pairs], [seed for _, seed in pairs], settings):
        scores = [None] * len(group.images) if group.clip_scores is None else group.clip_scores.tolist()
        for picture, score in zip(to_pil(group.images), scores, strict=True):
            prompt, seed = next(waiting)
            yield DrawnImage(picture, prompt, seed, None if score is None else round(score, SCORE_DIGITS))


def describe(pipeline: Text2LatentPipeline, settings: Settings) -> dict[str, Any]:
    """What images were drawn with, JSON-ready: version, identities (names and SHA-256) and settings."""
    from text2latent import __version__

    networks = {"model": pipeline.identity, "generator": pipeline.generator.identity, "clip": pipeline.clip.identity}
    visible = {name: value for name, value in asdict(settings).items() if name not in UNSEEN_SETTINGS}
    return {
        "text2latent": __version__,
        **{part: _public(identity) for part, identity in networks.items()},
        "settings": visible,
    }


def png_metadata(description: dict[str, Any], images: Sequence[DrawnImage]) -> dict[str, str]:
    """Text chunks of a PNG file of one image, or of a sheet of several.

    `prompt` (one line per prompt), `seed` (likewise), `Software`, and `text2latent`: JSON with everything.
    """
    prompts = list(dict.fromkeys(image.prompt for image in images))
    seeds = list(dict.fromkeys(str(image.seed) for image in images))
    everything = {**description, "images": [image.to_dict() for image in images]}
    return {
        "prompt": "\n".join(prompts),
        "seed": "\n".join(seeds),
        "Software": f"text2latent {description['text2latent']}",
        "text2latent": json.dumps(everything, ensure_ascii=False),
    }


def _public(identity: Identity | None) -> dict[str, str] | None:
    """Name and digest; where it lay on somebody's disk doesn't belong into a picture."""
    return None if identity is None else {"name": identity.name, "sha256": identity.sha256}
