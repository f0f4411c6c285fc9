"""Pseudo-text: image embeddings made to look like text embeddings, so that a prior trains without captions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from text2latent.common.errors import UsageError
from text2latent.models.priors.parametrization import require_choice
from text2latent.training.components import Components

NOISE_COVARIANCES = ("isotropic", "data")


class PseudoText:
    """Moves image embeddings by noise and puts them back on the unit sphere (clip2latent, arXiv:2210.02347, sec. 3.2).

    The noise teaches the prior to bear the gap between images and texts. Before that, a few other images' embeddings
    may be mixed in: what the images have in common stays, where they differ it becomes vague. And components of the
    embedding may be hidden or shown more or less strongly: a text says nothing about most of what an image shows, and
    what it does say it says louder than an image would.

    Args:
        noise_scale: norm of the noise relative to the embedding's.
        noise_covariance: `isotropic` draws it uniformly on the sphere of that norm; `data` draws it from a Gaussian
            with the image embeddings' covariance, scaled to that root-mean-square norm.
        mixed_images: most other images of the batch that are mixed into an embedding, by uniform weights in [0, 1]; how
            many is uniform too.
        random_noise_level: each sample's noise scale is uniform in [0, noise_scale] instead of noise_scale itself.
        hidden_share: share of the embeddings of which some groups of components are hidden, see `vary_components`.
        gain_spread: standard deviation of the logarithm of what each group of components is multiplied with.
        components: of the image embeddings; needed where some are hidden or multiplied.

    Raises:
        UsageError: for a value out of range, an unknown name, or without the components that are needed.
    """

    def __init__(
        self,
        noise_scale: float = 0.5,
        noise_covariance: str = "data",
        mixed_images: int = 0,
        random_noise_level: bool = False,
        hidden_share: float = 0.0,
        gain_spread: float = 0.0,
        components: Components | None = None,
    ) -> None:
        require_choice("noise_covariance", noise_covariance, NOISE_COVARIANCES)
        for name, value in {"noise_scale": noise_scale, "gain_spread": gain_spread}.items():
            if not (value >= 0 and math.isfinite(value)):
                raise UsageError(f"{name}: expected a number >= 0, got {value}")
        if mixed_images < 0:
            raise UsageError(f"mixed_images: expected a count >= 0, got {mixed_images}")
        if not 0 <= hidden_share <= 1:
            raise UsageError(f"hidden_share: expected a share in [0, 1], got {hidden_share}")
        if (hidden_share or gain_spread) and components is None:
            raise UsageError("components: expected those of the image embeddings, got None")
        self.noise_scale, self.noise_covariance = noise_scale, noise_covariance
        self.mixed_images, self.random_noise_level = mixed_images, random_noise_level
        self.hidden_share, self.gain_spread = hidden_share, gain_spread
        self.components = components

    def __call__(
        self, embeddings: Tensor, cov_sqrt: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pseudo-text of images.

        Args:
            embeddings: `[N, E]`, L2-normalised.
            cov_sqrt: `[E, E]`, square root of the image embeddings' covariance (used by `data` noise only).
            generator: source of all randomness, on the embeddings' device; None means torch's global one.

        Returns:
            Embeddings `[N, E]`, L2-normalised, and the noise scale `[N]` of each.
        """
        embeddings = self.mix(embeddings, generator)
        if self.hidden_share or self.gain_spread:
            embeddings = self.vary_components(embeddings, generator)
        noise = torch.randn(embeddings.shape, generator=generator, device=embeddings.device)
        shaped = self.noise_covariance == "data"
        noise = noise @ cov_sqrt / cov_sqrt.norm() if shaped else F.normalize(noise, dim=1)
        scale = torch.full((len(noise),), self.noise_scale, device=noise.device)
        if self.random_noise_level:
            scale = scale * torch.rand(scale.shape, generator=generator, device=noise.device)
        return F.normalize(embeddings + scale[:, None] * noise, dim=1), scale

    def mix(self, embeddings: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Add up to `mixed_images` other rows to each row of `embeddings` `[N, E]`; `[N, E]`, L2-normalised."""
        n, device = len(embeddings), embeddings.device
        count = torch.randint(self.mixed_images + 1, (n, 1), generator=generator, device=device)
        mixed = embeddings
        for partner in range(self.mixed_images):
            weight = torch.rand(n, 1, generator=generator, device=device) * (partner < count)
            mixed = mixed + weight * embeddings[torch.randperm(n, generator=generator, device=device)]
        return F.normalize(mixed, dim=1)

    def vary_components(self, embeddings: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Hide some groups of an embedding's components, by the mean, and show the others more or less strongly.

        Where a component is hidden the condition says nothing of it, so the prior has to choose, instead of drawing
        something in between.

        Args:
            embeddings: `[N, E]`, L2-normalised.
            generator: source of randomness.

        Returns:
            `[N, E]`, L2-normalised. Of `hidden_share` of the rows each group is kept with a probability that is itself
            uniform in [0, 1] for the row; of the others all are kept.
        """
        n, device = len(embeddings), embeddings.device
        assert self.components is not None
        self.components = self.components.to(device)
        centre, groups, size = self.components.centre, self.components.groups, (n, self.components.num_groups)
        chosen = torch.rand(n, 1, generator=generator, device=device) < self.hidden_share
        rate = torch.rand(n, 1, generator=generator, device=device).masked_fill(~chosen, 1.0)
        kept = torch.rand(size, generator=generator, device=device) < rate
        gain = (self.gain_spread * torch.randn(size, generator=generator, device=device)).exp()
        change = (kept * gain - 1)[:, groups] * ((embeddings - centre) @ self.components.analysis)
        return F.normalize(embeddings + change @ self.components.synthesis, dim=1)
