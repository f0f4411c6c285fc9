"""Latents whose images are given pictures: a start, and gradient steps from it in w, then in w+.

StyleGAN's projector (arXiv:1912.04958, sec. 5; W+ as Abdal et al., arXiv:1904.03189) starts at the mean latent and
takes a thousand steps. Here the prior answers first: it draws latents for the picture's CLIP embedding, and the steps
start where the image is most like the picture. Latents are kept where those of the generator are (Zhu et
al., arXiv:2012.09036), and their layers together (e4e, arXiv:2102.02766): what is found there can be edited.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from PIL import Image
from torch import Tensor

from text2latent.common.errors import InputError, UsageError
from text2latent.inference.optimization.descent import Descent, DescentSettings
from text2latent.inference.optimization.spaces import LatentDistribution, LayerSpace
from text2latent.inference.projection.features import ClipFeatures, ImageFeatures
from text2latent.inference.projection.framing import Framing, check_tensor
from text2latent.inference.projection.loss import LossWeights, PictureObjective
from text2latent.inference.projection.result import Projection, draw_projection
from text2latent.inference.settings import Settings, require_count
from text2latent.models.priors.diffusion import initial_noise

if TYPE_CHECKING:
    from text2latent.inference.base import BasePipeline
    from text2latent.models.generators.base import Generator

Init = Literal["prior", "mean"]


@dataclass(frozen=True)
class ProjectionSettings:
    """How latents of a picture are found.

    Attributes:
        init: where to start: what the prior draws for the picture, or the generator's mean latent.
        candidates: of the prior, of which the best is the start.
        steps: gradient steps; 0 keeps the start.
        tied_share: share of the steps in which all layers are one, before each moves for itself.
        learning_rate: of Adam at the start, in standard deviations of the latents' channels; it falls to 0 as a cosine.
        weights: of the loss's parts.
        distribution_weight: of leaving the latents' distribution, see `LatentDistribution.penalty`.
        spread_weight: of layers that differ, see `LayerSpace`.
        patience: steps without a better loss after which a picture's way ends; 0 never ends it early.

    Raises:
        UsageError: for a value out of range.
    """

    init: Init = "prior"
    candidates: int = 32
    steps: int = 100
    tied_share: float = 0.25
    learning_rate: float = 0.1
    weights: LossWeights = field(default_factory=LossWeights)
    distribution_weight: float = 0.01
    spread_weight: float = 0.1
    patience: int = 50

    def __post_init__(self) -> None:
        require_count("candidates", self.candidates)
        for name in ("steps", "patience"):
            require_count(name, getattr(self, name), at_least=0)
        if not 0 <= self.tied_share <= 1:
            raise UsageError(f"tied_share: expected a number in [0, 1], got {self.tied_share}")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise UsageError(f"learning_rate: expected a finite number > 0, got {self.learning_rate}")
        for name in ("distribution_weight", "spread_weight"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise UsageError(f"{name}: expected a finite number >= 0, got {value}")


@torch.no_grad()
def prior_start(pipeline: BasePipeline, objective: PictureObjective, candidates: int, seeds: Sequence[int]) -> Tensor:
    """Latents `[N, L, D]` that the prior draws for pictures, of each the best of several candidates by its loss.

    Args:
        objective: of N pictures.
        candidates: how many are drawn of each.
        seeds: N, of each picture's candidates.
    """
    settings = Settings()
    conditions = pipeline.prior.image_condition(pipeline.clip.encode_image(objective.pictures))
    found = []
    for i, seed in enumerate(seeds):
        noise = initial_noise([seed], pipeline.prior.latent_shape, candidates)
        condition = conditions[i : i + 1].expand(candidates, -1)
        latents = pipeline.draw_latents(condition, noise, settings)
        one = objective.of(slice(i, i + 1))
        batches = latents.split(settings.batch_size)
        losses = torch.cat([one.losses(pipeline.generator.synthesize(batch)) for batch in batches])
        found.append(latents[int(losses.argmin())])
    return torch.stack(found)


def mean_start(distribution: LatentDistribution, count: int) -> Tensor:
    """The mean latent `[count, L, D]`."""
    return distribution.mean[None].expand(count, -1, -1)


def require_gradients(generator: Generator, start: Tensor) -> None:
    """Refuse a generator through which no gradients pass.

    Raises:
        InputError: naming it.
    """
    latents = start[:1].detach().clone().expand(-1, generator.num_ws, -1).requires_grad_()
    with torch.enable_grad():
        image = generator.synthesis(latents)
        gradient = torch.autograd.grad(image.sum(), latents, allow_unused=True)[0] if image.requires_grad else None
    if gradient is None:
        name = generator.identity.name if generator.identity else type(generator).__name__
        raise InputError(f"generator: {name} passes no gradients from images to latents, which projection needs")


def begin(
    generator: Generator,
    objective: PictureObjective,
    settings: ProjectionSettings,
    pipeline: BasePipeline | None = None,
    seed: int = 0,
) -> Projector:
    """A projector at its start.

    Args:
        pipeline: of the generator and a prior for it; None where there is none.
        seed: of the prior's candidates, the same for each picture.

    Raises:
        UsageError: for a start from the prior without one.
        InputError: for a generator that passes no gradients.
    """
    count = len(objective.pictures)
    layered = pipeline is not None and pipeline.latent_distribution.mean.shape[0] > 1
    distribution = pipeline.latent_distribution if layered and pipeline else LatentDistribution.of_generator(generator)
    if settings.init == "mean":
        start = mean_start(distribution, count)
    elif pipeline is None:
        raise UsageError("--init prior: expected a model with a prior; without one, --init mean")
    else:
        start = prior_start(pipeline, objective, settings.candidates, [seed] * count)
    require_gradients(generator, start)
    return Projector(generator, objective, distribution, start, settings)


class Projector:
    """N pictures on their way into the latent space; what is found of each doesn't depend on the others.

    Args:
        generator: draws.
        objective: of the N pictures.
        distribution: where the generator's latents are.
        start: `[N, L, D]`; L is 1 or num_ws.
        settings: how.
    """

    def __init__(
        self,
        generator: Generator,
        objective: PictureObjective,
        distribution: LatentDistribution,
        start: Tensor,
        settings: ProjectionSettings,
    ) -> None:
        self.settings, self.objective = settings, objective
        self.space = LayerSpace(distribution, settings.spread_weight)
        how = DescentSettings(
            "adam", settings.learning_rate, {"betas": (0.9, 0.95)}, settings.distribution_weight,
            decay_over=settings.steps,
        )  # fmt: skip
        x = self.space.normalize(start).expand(-1, generator.num_ws, -1)
        self.descent = Descent(generator, objective, self.space, x, how, [0] * len(x))
        # Layers that differ from the beginning have nothing to be tied to.
        self._tied_steps = round(settings.tied_share * settings.steps) if start.shape[1] == 1 else 0
        self.losses = torch.full((len(x),), math.inf, device=x.device)
        self.best = x.clone()
        self._since_better = torch.zeros(len(x), dtype=torch.int64)

    @property
    def iteration(self) -> int:
        return self.descent.iteration

    @property
    def is_done(self) -> bool:
        """Whether all steps are done, or none of the pictures has come closer for as long as is waited for."""
        patience = self.settings.patience
        waited = patience > 0 and bool((self._since_better >= patience).all())
        return self.iteration >= self.settings.steps or waited

    @property
    def latents(self) -> Tensor:
        """Of the lowest loss so far, `[N, num_ws, D]`."""
        return self.space.denormalize(self.best)

    def step(self) -> Tensor:
        """One gradient step; returns the losses `[N]` that it came from, penalties included.

        Raises:
            Diverged: when they aren't finite any more.
        """
        self.space.tied = self.iteration < self._tied_steps
        x = self.descent.x
        losses = self.descent.step()
        self._keep(x, losses)
        return losses

    @torch.no_grad()
    def finish(self) -> None:
        """Let what the last step led to count as well."""
        self.space.tied = False
        x = self.descent.x
        losses = self.objective.losses(self.descent.draw()) + self.settings.distribution_weight * self.space.penalty(x)
        self._keep(x, losses)

    def _keep(self, x: Tensor, losses: Tensor) -> None:
        better = losses < self.losses
        self.losses = torch.where(better, losses, self.losses)
        self.best = torch.where(better[:, None, None], x, self.best)
        self._since_better = torch.where(better.cpu(), 0, self._since_better + 1)

    def state_dict(self) -> dict[str, Any]:
        """All that the next steps depend on, tensors and plain values."""
        own = {"losses": self.losses, "best": self.best, "since_better": self._since_better}
        return {"descent": self.descent.state_dict(), **own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` of an alike projector gave."""
        self.descent.load_state_dict(state["descent"])
        device = self.best.device
        self.losses, self.best = state["losses"].to(device), state["best"].to(device)
        self._since_better = state["since_better"].cpu()


def project(
    pipeline: BasePipeline,
    pictures: Sequence[Image.Image | Tensor],
    settings: ProjectionSettings,
    framing: Framing,
    seed: int = 0,
    features: ImageFeatures | None = None,
    on_step: Callable[[int, Tensor], object] | None = None,
) -> Projection:
    """Find the latents of pictures from begin to end; see `Text2LatentPipeline.project`."""
    generator = pipeline.generator
    if not pictures:
        raise UsageError("image: expected at least one picture, got none")
    tensors = [
        check_tensor(one, generator) if isinstance(one, Tensor) else framing.frame(one, generator) for one in pictures
    ]
    stacked = torch.stack([tensor.to(pipeline.device) for tensor in tensors])
    objective = PictureObjective(stacked, settings.weights, features or ClipFeatures(pipeline.clip))
    projector = begin(generator, objective, settings, pipeline, seed)
    while not projector.is_done:
        losses = projector.step()
        if on_step is not None:
            on_step(projector.iteration, losses)
    projector.finish()
    return draw_projection(generator, stacked, projector.latents)
