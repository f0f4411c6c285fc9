"""Requests of all kinds, and how far pictures are apart."""

from __future__ import annotations

import numpy as np
from PIL import Image

from text2latent.apps.serving.requests import DrawRequest
from text2latent.apps.serving.results import ServedImage

TEXT, JAPANESE = "blonde woman with glasses", "眼鏡をかけた金髪の女性"
REQUESTS = [
    DrawRequest(TEXT, n=2, seed=3),
    DrawRequest(JAPANESE, seed=3),
    DrawRequest(TEXT, n=3, seed=4, steps=4, guidance_scale=2.0),
    DrawRequest("man:1 | hat:0.5", seed=8),
    DrawRequest(TEXT, seed=9, negative_prompt="hat"),
    DrawRequest(TEXT, n=2, seed=1, rerank=3),
    DrawRequest(JAPANESE, seed=5, truncation=0.6),
    DrawRequest(image=Image.new("RGB", (40, 40), "red"), seed=2, n=2),
    DrawRequest(TEXT, image=Image.new("RGB", (40, 40), "red"), image_weight=0.3, seed=2),
]


def farthest(one: Image.Image, other: Image.Image) -> int:
    """Largest difference of two pictures' levels."""
    return int(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max())


def variations_of(image: ServedImage, n: int, seed: int) -> DrawRequest:
    """Variations of an image, whose embedding is the prompt, with the settings that it was drawn with."""
    return DrawRequest(
        model=image.model,
        n=n,
        seed=seed,
        guidance_scale=image.settings.guidance_scale,
        steps=image.settings.num_inference_steps,
        truncation=image.settings.truncation,
        image=image.picture,
        image_name=image.stem,
    )
