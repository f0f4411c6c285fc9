"""Pictures that a visitor's browser has kept, and that others are made of: what it sends of them, checked.

The server remembers no visitor's pictures. A browser keeps a picture's latents with it and sends them back, as numbers.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from text2latent.apps.serving.engine import Engine
from text2latent.apps.serving.requests import DrawRequest, check_length, read_text
from text2latent.apps.serving.results import ServedImage
from text2latent.apps.serving.uploads import decode_upload
from text2latent.common.errors import UsageError
from text2latent.inference.query import Query
from text2latent.inference.settings import Settings
from text2latent.inference.writing import slugify

LABEL_CHARACTERS = 4000
LATENTS_CHARACTERS = 4_000_000
"""Of the latents of 100 layers of 7,500 channels."""
LITTLE_ENDIAN = "<f4"


class Body(BaseModel):
    """What the page sends, and nothing else."""

    model_config = ConfigDict(extra="forbid")


class StartBody(Body):
    """A picture, as far as others are made of it."""

    model: str = Field(max_length=200)
    label: str = Field(max_length=LABEL_CHARACTERS, description="What files call the picture.")
    text: str | None = Field(None, description="What CLIP compares the picture with.")
    negative: str | None = None
    seed: int
    guidance_scale: float = Field(allow_inf_nan=False)
    steps: int
    truncation: float = Field(allow_inf_nan=False)
    rerank: int
    latents: str = Field(max_length=LATENTS_CHARACTERS, description="Rows of float32, little-endian, in base64.")
    is_of_text: bool = Field(False, description="Whether the prior drew the picture for the text, and no more.")
    png: str | None = Field(None, description="The picture itself in base64, where there is no text.")


@dataclass(frozen=True, eq=False)
class Start:
    """A picture that others are made of; see `Drawn`."""

    model: str
    label: str
    seed: int
    latent: Tensor
    query: Query
    settings: Settings
    origin: DrawRequest | None

    @property
    def stem(self) -> str:
        """A file name without its suffix, as `ServedImage.stem`."""
        return f"{slugify(self.label)}-{self.seed}"


def read_start(body: StartBody, engine: Engine) -> Start:
    """A picture that a client has sent, once the model is loaded that it is of.

    Raises:
        UsageError: naming the field, what came and what was expected.
        ModelUnavailable: when the model can't be loaded.
    """
    check_length("text", body.text, engine.limits)
    request = DrawRequest(
        body.text,
        body.model,
        1,
        body.seed,
        body.guidance_scale,
        body.steps,
        body.truncation,
        body.negative,
        body.rerank,
    )
    request.check_numbers(engine.limits)
    query = _query(body, request, engine)
    shape = engine.library.get(body.model).generator.latent_shape
    latent = _read_latents(body.latents, shape)
    settings = request.settings(engine.batching.max_images)
    return Start(body.model, body.label, body.seed, latent, query, settings, request if body.is_of_text else None)


def _query(body: StartBody, request: DrawRequest, engine: Engine) -> Query:
    if body.text is not None:
        return Query(read_text("text", body.text), negative=request.read_negative())
    return Query(image=_read_png(body.png, engine), name=body.label)


def _read_png(given: str | None, engine: Engine) -> Image.Image:
    if given is None:
        raise UsageError("png: expected the picture in base64 where there is no text, got none")
    return decode_upload(_decode("png", given), engine.limits, "png")


def _read_latents(given: str, shape: tuple[int, int]) -> Tensor:
    """`[1, D]` or `[L, D]`, finite."""
    data, (layers, channels) = _decode("latents", given), shape
    rows, rest = divmod(len(data), 4 * channels)
    if rest or rows not in (1, layers):
        raise UsageError(f"latents: expected {layers} rows, or 1, of {channels} float32, got {len(data)} bytes")
    latents = torch.from_numpy(np.frombuffer(data, LITTLE_ENDIAN).astype(np.float32)).view(rows, channels)
    if not latents.isfinite().all():
        raise UsageError("latents: expected finite numbers, got NaN or infinity")
    return latents


def _decode(name: str, given: str) -> bytes:
    try:
        return base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        raise UsageError(f"{name}: expected base64, got {given[:20]!r}") from None


def picture_data(image: ServedImage) -> dict[str, object]:
    """A picture as the page keeps it, JSON-ready; what it has of `StartBody` makes others of it."""
    settings, outside = image.settings, image.out_of_domain
    text = image.query.text
    return {
        "model": image.model,
        "label": image.label,
        "stem": image.stem,
        "text": None if text is None else str(text),
        "negative": None if image.query.negative is None else str(image.query.negative),
        "seed": image.seed,
        "guidance_scale": settings.guidance_scale,
        "steps": settings.num_inference_steps,
        "truncation": settings.truncation,
        "rerank": settings.rerank,
        "latents": base64.b64encode(image.latent.numpy().astype(LITTLE_ENDIAN).tobytes()).decode("ascii"),
        "is_of_text": image.origin is not None and image.origin.image is None,
        "clip_score": image.clip_score,
        "seconds": image.seconds,
        "command": image.recipe.command,
        "python": image.recipe.python,
        "needs": image.recipe.needs,
        "outside": None
        if outside is None or not outside.is_outside
        else [round(outside.percentile, 1), round(outside.threshold, 1)],
        "png": base64.b64encode(image.png()).decode("ascii"),
    }
