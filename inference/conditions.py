"""Queries as the prior and CLIP see them: embeddings of texts, weighted texts, images, and both mixed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from text2latent.common.errors import UsageError
from text2latent.inference.images import from_pil, read_picture
from text2latent.inference.prompts import Prompt
from text2latent.inference.query import Query

if TYPE_CHECKING:
    from text2latent.models.clip.encoder import ClipEncoder
    from text2latent.models.priors.prior import Prior

NEUTRAL_TEXT = "picture"
"""A text that says nothing of what is in a picture."""


@dataclass(frozen=True)
class Conditions:
    """Queries as embeddings, a row each.

    Attributes:
        condition: `[N, E]`, L2-normalised unless the prior `takes_raw_embeddings`, what the prior takes.
        target: `[N, E]`, L2-normalised, what CLIP compares images with.
        negative: `[N, E]`, condition of what not to show; anything where there is none.
        has_negative: `[N]` bool, on the CPU, where looking at it doesn't wait for the device.
        text: `[N, E]`, L2-normalised, CLIP's embedding of the text alone; zero where there is none.
    """

    condition: Tensor
    target: Tensor
    negative: Tensor
    has_negative: Tensor
    text: Tensor

    def __len__(self) -> int:
        return len(self.condition)

    def __getitem__(self, rows: Tensor | slice) -> Conditions:
        """The rows that an index tensor on the CPU or a slice chooses."""
        there = rows.to(self.condition.device) if isinstance(rows, Tensor) else rows
        condition, target, negative, text = (
            column[there] for column in (self.condition, self.target, self.negative, self.text)
        )
        return Conditions(condition, target, negative, self.has_negative[rows], text)

    def repeat_interleave(self, times: int) -> Conditions:
        """Each row `times` times, its copies side by side."""
        return Conditions(*(column.repeat_interleave(times, dim=0) for column in self._columns))

    @property
    def _columns(self) -> tuple[Tensor, ...]:
        return self.condition, self.target, self.negative, self.has_negative, self.text


def embed_prompts(clip: ClipEncoder, prompts: Sequence[str], normalized: bool = True) -> Tensor:
    """Text embeddings `[N, E]` of prompts, weighted ones included, L2-normalised.

    Without `normalized` they keep the length that CLIP gives them.

    A prompt of weighted parts is what each of them adds by its weight to a text that says nothing. So weights whose sum
    is 1 make the weighted mean, and greater ones do not water down what each part says.

    Raises:
        UsageError: for an unusable prompt, or parts that cancel out.
    """
    checked = [Prompt(prompt) for prompt in prompts]
    texts = dict.fromkeys(part.text for prompt in checked for part in prompt.parts)
    if any(len(prompt.parts) > 1 for prompt in checked):
        texts[NEUTRAL_TEXT] = None
    rows = clip.encode_checked(list(texts), normalized=normalized)
    if not checked:
        return rows
    embedded = dict(zip(texts, rows, strict=True))
    added = torch.stack([_add_parts(prompt, embedded) for prompt in checked])
    return normalize(added, dim=1) if normalized else added


def _add_parts(prompt: Prompt, embedded: Mapping[str, Tensor]) -> Tensor:
    if len(prompt.parts) == 1:
        return embedded[prompt.parts[0].text]
    neutral = embedded[NEUTRAL_TEXT]
    said = torch.stack([part.weight * (embedded[part.text] - neutral) for part in prompt.parts]).sum(dim=0)
    if not said.norm() > 1e-4:
        raise UsageError(f"prompt {prompt!r}: expected parts that differ, got ones that cancel out")
    return neutral + said


def encode_queries(clip: ClipEncoder, prior: Prior, queries: Sequence[Query]) -> Conditions:
    """Embed queries with CLIP; texts pass the prior's `text_condition`, images its `image_condition`.

    The condition of a text and an image is their weighted sum, L2-normalised unless the prior `takes_raw_embeddings`;
    so is the target, always normalised.
    """
    device, unit = prior.latent_mean.device, not prior.takes_raw_embeddings
    text, image, negative = (torch.zeros(len(queries), prior.embedding_dim, device=device) for _ in range(3))
    text_condition, image_condition = text.clone(), image.clone()
    if rows := [i for i, query in enumerate(queries) if query.text is not None]:
        embedded = embed_prompts(clip, [queries[i].text or "" for i in rows], unit)
        place = _places(rows, queries)
        text[place], text_condition[place] = _unit(embedded, unit), prior.text_condition(embedded)
    if rows := [i for i, query in enumerate(queries) if query.image is not None]:
        embedded = _embed_images(clip, [queries[i].image for i in rows], unit)
        place = _places(rows, queries)
        image[place], image_condition[place] = _unit(embedded, unit), prior.image_condition(embedded)
    if rows := [i for i, query in enumerate(queries) if query.negative is not None]:
        embedded = embed_prompts(clip, [queries[i].negative or "" for i in rows], unit)
        negative[_places(rows, queries)] = prior.text_condition(embedded)
    share = torch.tensor([query.text_weight for query in queries])[:, None].to(device)
    has_negative = torch.tensor([query.negative is not None for query in queries])
    condition = prior.of_its_length(share * text_condition + (1 - share) * image_condition)
    target = normalize(share * text + (1 - share) * image, dim=1)
    return Conditions(condition, target, negative, has_negative, text)


def _places(rows: list[int], queries: Sequence[Query]) -> list[int] | slice:
    """An index of rows; for all of them one that needn't be sent to the device."""
    return slice(None) if len(rows) == len(queries) else rows


def _unit(embeddings: Tensor, are_unit: bool) -> Tensor:
    return embeddings if are_unit else normalize(embeddings, dim=1)


def _embed_images(clip: ClipEncoder, images: Iterable[Any], normalized: bool) -> Tensor:
    """Embeddings `[N, E]` of pictures, tensors or files; a file is read once."""
    pictures: dict[Path, Image.Image] = {}
    rows = []
    for image in images:
        if isinstance(image, Path):
            image = pictures.setdefault(image, pictures.get(image) or read_picture(image))
        pixels = from_pil(image) if isinstance(image, Image.Image) else image
        rows.append(clip.encode_image(pixels[None].to(clip.device), normalized=normalized))
    return torch.cat(rows)


def as_list(value: Any) -> list[Any] | None:
    """A text, picture or tensor as a list of one; other sequences as lists; None as it is."""
    if value is None:
        return None
    return [value] if isinstance(value, (str, Image.Image, Tensor)) else list(value)
