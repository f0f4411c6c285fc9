"""What was drawn: groups of images with their latents, scores and names, and what the pipeline gives of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from text2latent.common.errors import UsageError
from text2latent.inference.images import to_levels, to_pil

if TYPE_CHECKING:
    from text2latent.inference.domain import DomainScore

OUTPUT_TYPES = ("pil", "pt")
SCORE_DIGITS = 4
TENSORS = ("images", "latents", "clip_scores", "embeddings")


@dataclass
class Text2LatentOutput:
    """What the pipeline drew, N images in the order of the prompts.

    Attributes:
        images: N pictures, or a tensor `[N, C, H, W]` in [-1, 1] on the pipeline's device.
        latents: `[N, L, D]`, the latents that were synthesised, after truncation.
        clip_scores: `[N]`, cosine similarity of each image's CLIP embedding and its prompt's; None if not asked for.
        seeds: N seeds that draw the images again.
    """

    images: list[Image.Image] | Tensor
    latents: Tensor
    clip_scores: Tensor | None
    seeds: list[int]


@dataclass(frozen=True)
class Draw:
    """A group of n images: as tensors when the pipeline has drawn them, and named once it is known what each is of.

    Attributes:
        images: `[n, C, H, W]` in [-1, 1]; of `rows`, the levels of pictures, uint8.
        latents: `[n, L, D]`.
        clip_scores: `[n]`, similarity to what was asked for, in [-1, 1]; None where not computed.
        embeddings: `[n, E]`, CLIP's of the images, where scores were computed.
        prompts: what was asked for, n of them; empty before the group is named, as are the next two.
        seeds: what draws the images again; of latents from a file, their rows.
        out_of_domain: how far the prompts are from what the generator draws, None without a text or a domain.
    """

    images: Tensor
    latents: Tensor
    clip_scores: Tensor | None = None
    embeddings: Tensor | None = None
    prompts: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    out_of_domain: tuple[DomainScore | None, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def named(self, names: Sequence[tuple[str, int, DomainScore | None]]) -> Draw:
        """The same images, with the prompt, the seed and the domain score of each; ValueError if not all have one."""
        if len(names) != len(self):
            raise ValueError(f"names: expected {len(self)}, got {len(names)}")
        prompts, seeds, scores = zip(*names, strict=True)
        return replace(self, prompts=prompts, seeds=seeds, out_of_domain=scores)

    def rows(self) -> Iterator[Draw]:
        """Each image of a named group as a draw of one row, on the CPU and small enough to be kept."""
        images, latents = to_levels(self.images).cpu(), self.latents.cpu()
        scores = None if self.clip_scores is None else self.clip_scores.cpu()
        for i, name in enumerate(zip(self.prompts, self.seeds, self.out_of_domain, strict=True)):
            row = slice(i, i + 1)
            # A part of a tensor would keep all of it.
            yield Draw(images[row].clone(), latents[row].clone(), None if scores is None else scores[row]).named([name])

    @property
    def pictures(self) -> list[Image.Image]:
        return to_pil(self.images)

    @property
    def records(self) -> list[dict[str, Any]]:
        """Prompt, seed, CLIP and domain score of each image of a named group, JSON-ready; scores are rounded."""
        scores = [None] * len(self) if self.clip_scores is None else self.clip_scores.tolist()
        columns = zip(self.prompts, self.seeds, scores, self.out_of_domain, strict=True)
        return [_record(*values) for values in columns]

    @property
    def picture(self) -> Image.Image:
        (picture,) = self.pictures
        return picture

    @property
    def record(self) -> dict[str, Any]:
        (record,) = self.records
        return record


def _record(prompt: str, seed: int, score: float | None, domain: DomainScore | None) -> dict[str, Any]:
    record = {"prompt": prompt, "seed": seed, "clip_score": None if score is None else round(score, SCORE_DIGITS)}
    return record if domain is None else {**record, "out_of_domain": asdict(domain)}


def require_output_type(output_type: str) -> None:
    """Refuse all but the kinds of images that there are.

    Raises:
        UsageError: naming the value.
    """
    if output_type not in OUTPUT_TYPES:
        raise UsageError(f"output_type: expected one of {', '.join(OUTPUT_TYPES)}, got {output_type!r}")


def to_output(draws: Sequence[Draw], seeds: list[int], output_type: str) -> Text2LatentOutput:
    """Groups of images, at least one, as the pipeline's output; `output_type` is one of `OUTPUT_TYPES`."""
    drawn = concatenate(draws)
    images = to_pil(drawn.images) if output_type == "pil" else drawn.images
    return Text2LatentOutput(images=images, latents=drawn.latents, clip_scores=drawn.clip_scores, seeds=seeds)


def best_of(draw: Draw, candidates: int) -> Draw:
    """Of each image's candidates, which lie side by side, the one of the highest CLIP score."""
    if candidates == 1 or draw.clip_scores is None:
        return draw
    best = draw.clip_scores.view(-1, candidates).argmax(dim=1)
    chosen = best + torch.arange(len(best), device=best.device) * candidates
    return _map_tensors(lambda tensors: tensors[0][chosen], [draw])


def concatenate(draws: Sequence[Draw]) -> Draw:
    """Consecutive groups of images, at least one, as one, which is yet to be named."""
    if len(draws) == 1:
        return draws[0]
    return _map_tensors(torch.cat, draws)


def _map_tensors(function: Callable[[list[Tensor]], Tensor], draws: Sequence[Draw]) -> Draw:
    """One draw from several, by what `function` makes of each of their tensors; one that is missing stays so."""
    columns = {name: [getattr(draw, name) for draw in draws] for name in TENSORS}
    tensors: dict[str, Any] = {
        name: None if column[0] is None else function(column) for name, column in columns.items()
    }
    return Draw(**tensors)
