"""Pseudo-text: image embeddings made to look like text embeddings, so that a prior trains without captions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from text2latent.configs.errors import UsageError
from text2latent.models.parametrization import require_choice

NOISE_COVARIANCES = ("isotropic", "data")


class PseudoText:
    """Moves image embeddings by noise and puts them back on the unit sphere (clip2latent, arXiv:2210.02347, sec. 3.2).

    The noise teaches the prior to bear the gap between images and texts. Before that, a few other images' embeddings
    may be mixed in: what the images have in common stays, where they differ it becomes vague, as in a text that names
    only some of what an image shows.

    Args:
        noise_scale: norm of the noise relative to the embedding's.
        noise_covariance: `isotropic` draws it uniformly on the sphere of that norm; `data` draws it from a Gaussian
            with the image embeddings' covariance, scaled to that root-mean-square norm.
        mixed_images: most other images of the batch that are mixed into an embedding, by uniform weights in [0, 1]; how
            many is uniform too.
        random_noise_level: each sample's noise scale is uniform in [0, noise_scale] instead of noise_scale itself.
        hidden_share: share of the embeddings of which some principal directions are hidden, see `hide`.

    Raises:
        UsageError: for a value out of range or an unknown name.
    """

    def __init__(
        self,
        noise_scale: float = 0.5,
        noise_covariance: str = "data",
        mixed_images: int = 0,
        random_noise_level: bool = False,
        hidden_share: float = 0.0,
    ) -> None:
        require_choice("noise_covariance", noise_covariance, NOISE_COVARIANCES)
        if not (noise_scale >= 0 and math.isfinite(noise_scale)):
            raise UsageError(f"noise_scale: expected a number >= 0, got {noise_scale}")
        if mixed_images < 0:
            raise UsageError(f"mixed_images: expected a count >= 0, got {mixed_images}")
        if not 0 <= hidden_share <= 1:
            raise UsageError(f"hidden_share: expected a share in [0, 1], got {hidden_share}")
        self.noise_scale, self.noise_covariance = noise_scale, noise_covariance
        self.mixed_images, self.random_noise_level = mixed_images, random_noise_level
        self.hidden_share = hidden_share
        self._basis: tuple[Tensor, Tensor] | None = None

    def __call__(
        self, embeddings: Tensor, cov_sqrt: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pseudo-text of images.

        Args:
            embeddings: `[N, E]`, L2-normalised.
            cov_sqrt: `[E, E]`, square root of the image embeddings' covariance (used by `data` and `hide`).
            generator: source of all randomness, on the embeddings' device; None means torch's global one.

        Returns:
            Embeddings `[N, E]`, L2-normalised, and the noise scale `[N]` of each.
        """
        embeddings = self.mix(embeddings, generator)
        if self.hidden_share:
            embeddings = self.hide(embeddings, cov_sqrt, generator)
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

    def hide(self, embeddings: Tensor, cov_sqrt: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Put a random part of an embedding's principal components back to the mean of the batch.

        A text says nothing about most of what an image shows. Where a component is hidden the condition tells nothing
        of it, so the prior has to choose, instead of drawing something in between.

        Args:
            embeddings: `[N, E]`, L2-normalised.
            cov_sqrt: `[E, E]`, whose eigenvectors are the principal directions.
            generator: source of randomness.

        Returns:
            `[N, E]`, L2-normalised. Of `hidden_share` of the rows each component is kept with a probability that is
            itself uniform in [0, 1] for the row; the others stay as they are.
        """
        n, device = len(embeddings), embeddings.device
        basis, centre = self._principal_directions(cov_sqrt), embeddings.mean(dim=0)
        components = (embeddings - centre) @ basis
        chosen = torch.rand(n, 1, generator=generator, device=device) < self.hidden_share
        rate = torch.rand(n, 1, generator=generator, device=device).masked_fill(~chosen, 1.0)
        kept = torch.rand(components.shape, generator=generator, device=device) < rate
        return F.normalize(centre + (components * kept) @ basis.T, dim=1)

    def _principal_directions(self, cov_sqrt: Tensor) -> Tensor:
        """Eigenvectors `[E, E]`, a column each; computed once for a covariance."""
        if self._basis is None or self._basis[0] is not cov_sqrt:
            vectors = torch.linalg.eigh(cov_sqrt.double()).eigenvectors
            self._basis = (cov_sqrt, vectors.to(cov_sqrt.dtype))
        return self._basis[1]
