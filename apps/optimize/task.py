"""What is to be optimised: the networks, what the image is to show, and where to start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from text2latent.common.errors import UsageError
from text2latent.inference.conditions import embed_prompts
from text2latent.inference.images import from_pil, read_picture
from text2latent.inference.optimization.spaces import ClassConditionalSpace, LatentDistribution, LatentSpace, TokenSpace
from text2latent.inference.prompts import Prompt, split_parts
from text2latent.inference.query import Query
from text2latent.models.sources import zoo

if TYPE_CHECKING:
    from text2latent.inference.pipeline import Text2LatentPipeline
    from text2latent.models.clip.encoder import ClipEncoder
    from text2latent.models.generators.base import Generator
    from text2latent.models.generators.biggan import BigGANGenerator
    from text2latent.models.generators.dalle import DiscreteDecoder

DEFAULT_CLIP = "ViT-B-32/openai"
"""CLIP for generators that come without one; Big Sleep's."""


@dataclass(frozen=True)
class Goal:
    """What an image is to show.

    Attributes:
        text: phrases, see `text2latent.inference.prompts`; None with an image alone.
        avoid: phrases that it is to be unlike, with `|` between them; or None.
        image: a file that it is to be like; or None.
        image_weight: share of the image where there is a text too.

    Raises:
        UsageError: for an unusable text, or neither text nor image.
    """

    text: str | None
    avoid: str | None = None
    image: Path | None = None
    image_weight: float = 0.5

    def __post_init__(self) -> None:
        if self.text is None and self.image is None:
            raise UsageError("--text: expected a text, an --image or both, got neither")
        for prompt in (self.text, self.avoid):
            if prompt is not None:
                Prompt(prompt)

    @property
    def label(self) -> str:
        return " + ".join(part for part in (self.text, self.image and self.image.stem) if part)

    @torch.no_grad()
    def embed(self, clip: ClipEncoder) -> tuple[Tensor, Tensor]:
        """Target and direction, `[1, E]` each.

        The target is L2-normalised, and what CLIP scores are with. The direction is the target less the mean of what
        to avoid: the product with it is the similarity to the one less that to the other.
        """
        share = 0.0 if self.image is None else 1.0 if self.text is None else self.image_weight
        target = torch.zeros(1, clip.embedding_dim, device=clip.device)
        if self.text is not None:
            target = target + (1 - share) * embed_prompts(clip, [self.text])
        if self.image is not None:
            target = target + share * clip.encode_image(from_pil(read_picture(self.image))[None])
        target = normalize(target, dim=1)
        if self.avoid is None:
            return target, target
        return target, target - embed_prompts(clip, split_parts(self.avoid)).mean(dim=0)


@dataclass(frozen=True)
class Networks:
    """What draws and what judges, on one device; `pipeline` is the model's prior with both, where there is one."""

    generator: Generator
    clip: ClipEncoder
    pipeline: Text2LatentPipeline | None = None


def load_networks(
    model: str,
    generator: str | None,
    clip: str | Mapping[str, Any] | None,
    device: torch.device,
    prior: bool = False,
) -> Networks:
    """Load what a run needs.

    Args:
        model: zoo name, or a run or prior folder.
        clip: another CLIP, as `named_clip` gives it; None takes the model's, or with another generator `DEFAULT_CLIP`.
        prior: whether the model's prior is needed, which fits its own generator and CLIP only.

    Raises:
        UsageError: for an unknown name.
        InputError: for files that are missing, damaged or don't fit.
    """
    from text2latent.inference.pipeline import Text2LatentPipeline
    from text2latent.models.clip.arguments import is_arguments_alone, with_source
    from text2latent.models.clip.encoder import ClipEncoder
    from text2latent.models.generators import load_generator

    own = generator is None and is_arguments_alone(clip)
    if prior or (own and not _is_world_without_prior(model)):
        pipeline = Text2LatentPipeline.from_pretrained(model, device, generator, clip)
        return Networks(pipeline.generator, pipeline.clip, pipeline)
    drawing = load_generator(generator or model)
    usual = model if generator is None else DEFAULT_CLIP
    judging = ClipEncoder.from_pretrained(with_source(clip, usual))
    torch.nn.Module.to(drawing, device)
    return Networks(drawing, judging.to(device))


def _is_world_without_prior(model: str) -> bool:
    world = zoo.ZOO / model / "weights" if zoo.is_zoo_name(model) else Path(model)
    return (world / "generator").is_dir() and (world / "clip").is_dir() and not (world / "prior").is_dir()


@dataclass(frozen=True)
class Start:
    """Where optimisation starts and in which space.

    Attributes:
        init: `random`, `mean` or `prior`.
        latent: `w`, one latent for all layers, or `w_plus`, one for each.
        max_classes: see `ClassConditionalSpace`.
        class_temperature: likewise.
        gumbel: see `TokenSpace`.
        token_temperature: likewise.
    """

    init: str = "random"
    latent: str = "w_plus"
    max_classes: int | None = None
    class_temperature: float = 2.0
    gumbel: bool = False
    token_temperature: float = 1.0

    @torch.no_grad()
    def make(self, networks: Networks, goal: Goal, seed: int) -> tuple[LatentSpace, Tensor]:
        """The space, and `x` `[1, L, D]` in it."""
        from text2latent.models.generators.biggan import BigGANGenerator
        from text2latent.models.generators.dalle import DiscreteDecoder

        generator = networks.generator
        has_classes = isinstance(generator, BigGANGenerator) and self.init != "prior"
        if self.max_classes is not None and not has_classes:
            raise UsageError("--max-classes: expected a generator such as BigGAN, whose latents mix classes")
        if self.gumbel and not isinstance(generator, DiscreteDecoder):
            raise UsageError("--tokens.sampling gumbel: expected a generator of discrete codes")
        if isinstance(generator, DiscreteDecoder):
            return self._codes(generator, seed)
        if isinstance(generator, BigGANGenerator) and self.init != "prior":
            return self._classes(generator, seed)
        return self._distribution(networks, goal, seed)

    def _codes(self, generator: DiscreteDecoder, seed: int) -> tuple[LatentSpace, Tensor]:
        if self.init == "prior":
            raise UsageError("--init prior: expected a generator that priors are trained for, got one of codes")
        x = generator.sample_w(1, seed)
        return TokenSpace(self.token_temperature, self.gumbel), torch.zeros_like(x) if self.init == "mean" else x

    def _classes(self, generator: BigGANGenerator, seed: int) -> tuple[LatentSpace, Tensor]:
        embedding = generator.class_embedding()
        space = ClassConditionalSpace(embedding, generator.z_dim, self.max_classes, self.class_temperature)
        tokens = 1 if self.latent == "w" else generator.num_ws
        x = space.start(tokens, [torch.Generator().manual_seed(seed)])
        if self.init == "mean":
            x[..., : generator.z_dim] = 0
        return space, x

    def _distribution(self, networks: Networks, goal: Goal, seed: int) -> tuple[LatentSpace, Tensor]:
        generator, pipeline = networks.generator, networks.pipeline
        if self.init == "prior" and pipeline is not None:
            space = pipeline.latent_distribution  # as `text2latent infer --refine` has it
        else:
            space = LatentDistribution.of_generator(generator)
        latents = self._first_latents(networks, goal, seed, space)
        tokens = 1 if self.latent == "w" else generator.num_ws
        return space, space.normalize(latents).expand(-1, tokens, -1)

    def _first_latents(self, networks: Networks, goal: Goal, seed: int, space: LatentDistribution) -> Tensor:
        """`[1, L, D]`; L is 1 where one latent is for all layers."""
        generator = networks.generator
        if self.init == "mean":
            return space.mean[None]
        if self.init == "random":
            return generator.sample_w(1, seed)[:, :1]
        latents = draw_prior(networks, goal, [seed]).latents
        if self.latent == "w" and latents.shape[1] > 1:
            raise UsageError("--latent w: expected w_plus with a prior whose latents differ between layers")
        return latents


@dataclass(frozen=True)
class PriorDraw:
    """What the amortised prior draws: `latents` `[N, L, D]`, `images` `[N, 3, H, W]` in [-1, 1], `scores` `[N]`."""

    latents: Tensor
    images: Tensor
    scores: Tensor


def draw_prior(networks: Networks, goal: Goal, seeds: Sequence[int]) -> PriorDraw:
    """Draw a goal with the model's prior, at its default settings, as `text2latent infer` does.

    Raises:
        UsageError: when there is no prior.
    """
    from text2latent.inference.pipeline import Settings

    pipeline = networks.pipeline
    if pipeline is None:
        raise UsageError("--init prior: expected a model with a prior, and no other generator or CLIP")
    picture = None if goal.image is None else read_picture(goal.image)
    query = Query(goal.text, picture, goal.image_weight, name=goal.label)
    draws = list(pipeline.stream([query] * len(seeds), list(seeds), Settings()))
    scores = [draw.clip_scores for draw in draws if draw.clip_scores is not None]
    return PriorDraw(
        torch.cat([draw.latents for draw in draws]), torch.cat([draw.images for draw in draws]), torch.cat(scores)
    )
