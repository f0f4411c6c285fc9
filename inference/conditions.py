"""What an image is to show, as the prior and CLIP see it: texts, weighted texts, images, and both mixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from text2latent.common.errors import UsageError
from text2latent.inference.images import from_pil
from text2latent.inference.prompts import WeightedText, check_prompts, parse_prompt
from text2latent.inference.settings import DEFAULT_IMAGE_WEIGHT, require_fraction

if TYPE_CHECKING:
    from text2latent.inference.pipeline import Text2LatentPipeline
    from text2latent.models.clip.encoder import ClipEncoder

NEUTRAL_TEXT = "picture"
"""A text that says nothing of what is in a picture."""


@dataclass(frozen=True, eq=False)
class Query:
    """What an image is to show: a text, an image, or both, and perhaps a text that says what not.

    Attributes:
        text: a prompt, see `text2latent.inference.prompts`; or None.
        image: a picture, or a tensor `[3, H, W]` in [-1, 1]; or None.
        image_weight: share of the image in [0, 1] where there is a text too; the text has the rest.
        negative: a prompt for what the image is not to show; or None.
        name: what files and reports call the query; None takes the text.

    Raises:
        UsageError: for an unusable text, neither text nor image, or a weight out of range.
    """

    text: str | None = None
    image: Image.Image | Tensor | None = None
    image_weight: float = DEFAULT_IMAGE_WEIGHT
    negative: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.text is None and self.image is None:
            raise UsageError("prompt: expected a text, an image or both, got neither")
        require_fraction("image_weight", self.image_weight)
        for prompt in (self.text, self.negative):
            if prompt is not None:
                check_prompts(prompt)

    @property
    def label(self) -> str:
        """The query in words."""
        return self.name or self.text or "image"


@dataclass(frozen=True)
class Conditions:
    """Queries as embeddings, a row each.

    Attributes:
        condition: `[N, E]`, L2-normalised, what the prior takes.
        target: `[N, E]`, L2-normalised, what CLIP compares images with.
        negative: `[N, E]`, condition of what not to show; anything where there is none.
        has_negative: `[N]` bool.
    """

    condition: Tensor
    target: Tensor
    negative: Tensor
    has_negative: Tensor

    def __len__(self) -> int:
        return len(self.condition)

    def __getitem__(self, rows: Tensor | slice) -> Conditions:
        """The rows that an index tensor or a slice chooses."""
        return Conditions(self.condition[rows], self.target[rows], self.negative[rows], self.has_negative[rows])

    def repeat_interleave(self, times: int) -> Conditions:
        """Each row `times` times, its copies side by side."""
        return self[torch.arange(len(self), device=self.condition.device).repeat_interleave(times)]


def embed_prompts(clip: ClipEncoder, prompts: Sequence[str]) -> Tensor:
    """Text embeddings `[N, E]` of prompts, L2-normalised.

    A prompt of weighted parts is what each of them adds by its weight to a text that says nothing. So weights whose sum
    is 1 make the weighted mean, and greater ones do not water down what each part says.

    Raises:
        UsageError: for an unusable prompt, or parts that cancel out.
    """
    if not prompts:
        return clip.encode_text([])
    parsed = [parse_prompt(prompt) for prompt in prompts]
    texts = dict.fromkeys(part.text for parts in parsed for part in parts)
    if any(len(parts) > 1 for parts in parsed):
        texts[NEUTRAL_TEXT] = None
    embedded = dict(zip(texts, clip.encode_text(list(texts)), strict=True))
    sums = [_add_parts(prompt, parts, embedded) for prompt, parts in zip(prompts, parsed, strict=True)]
    return normalize(torch.stack(sums), dim=1)


def _add_parts(prompt: str, parts: Sequence[WeightedText], embedded: Mapping[str, Tensor]) -> Tensor:
    if len(parts) == 1:
        return embedded[parts[0].text]
    neutral = embedded[NEUTRAL_TEXT]
    said = torch.stack([part.weight * (embedded[part.text] - neutral) for part in parts]).sum(dim=0)
    if not said.norm() > 1e-4:
        raise UsageError(f"prompt {prompt!r}: expected parts that differ, got ones that cancel out")
    return neutral + said


def encode_queries(pipeline: Text2LatentPipeline, queries: Sequence[Query]) -> Conditions:
    """Embed queries with a pipeline's CLIP; texts go through its `text_condition`, images are conditions as they are.

    The condition of a text and an image is their weighted sum, L2-normalised, and so is the target.
    """
    size, device = (len(queries), pipeline.prior.embedding_dim), pipeline.device
    condition, target, negative = (torch.zeros(size, device=device) for _ in range(3))
    text_rows = [i for i, query in enumerate(queries) if query.text is not None]
    image_rows = [i for i, query in enumerate(queries) if query.image is not None]
    negative_rows = [i for i, query in enumerate(queries) if query.negative is not None]
    if text_rows:
        embedded = pipeline.encode_prompts([queries[i].text or "" for i in text_rows])
        weights = torch.tensor([_text_weight(queries[i]) for i in text_rows], device=device)[:, None]
        target[text_rows] += weights * embedded
        condition[text_rows] += weights * pipeline.text_condition(embedded)
    if image_rows:
        embedded = torch.cat([_embed_image(pipeline.clip, queries[i]) for i in image_rows])
        weights = torch.tensor([1 - _text_weight(queries[i]) for i in image_rows], device=device)[:, None]
        target[image_rows] += weights * embedded
        condition[image_rows] += weights * embedded
    if negative_rows:
        embedded = pipeline.encode_prompts([queries[i].negative or "" for i in negative_rows])
        negative[negative_rows] = pipeline.text_condition(embedded)
    has_negative = torch.tensor([query.negative is not None for query in queries], device=device)
    return Conditions(normalize(condition, dim=1), normalize(target, dim=1), negative, has_negative)


def _text_weight(query: Query) -> float:
    if query.text is None or query.image is None:
        return float(query.text is not None)
    return 1 - query.image_weight


def _embed_image(clip: ClipEncoder, query: Query) -> Tensor:
    image = from_pil(query.image) if isinstance(query.image, Image.Image) else query.image
    assert image is not None
    return clip.encode_image(image[None].to(clip.device))


def as_list(value: Any) -> list[Any] | None:
    """A text, picture or tensor as a list of one; other sequences as lists; None as it is."""
    if value is None:
        return None
    return [value] if isinstance(value, (str, Image.Image, Tensor)) else list(value)


def make_queries(
    prompts: Sequence[str] | None,
    images: Sequence[Image.Image | Tensor] | None,
    negatives: Sequence[str] | None,
    image_weight: float = DEFAULT_IMAGE_WEIGHT,
) -> list[Query]:
    """Pair prompts, images and negative prompts up; of each there may be one for all.

    Raises:
        UsageError: when their numbers don't fit, or a query is unusable.
    """
    count = max(len(part) for part in (prompts, images) if part is not None) if prompts or images else 0
    if not count:
        raise UsageError("prompt: expected at least one text or image, got none")
    columns = [
        _spread(name, part, count)
        for name, part in (("prompt", prompts), ("image", images), ("negative_prompt", negatives))
    ]
    return [Query(text, image, image_weight, negative) for text, image, negative in zip(*columns, strict=True)]


def _spread(name: str, values: Sequence | None, count: int) -> Sequence:
    if values is None:
        return [None] * count
    if len(values) not in (1, count):
        raise UsageError(f"{name}: expected one, or {count} as the prompts and images, got {len(values)}")
    return list(values) * (count // len(values))
