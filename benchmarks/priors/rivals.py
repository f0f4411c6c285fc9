"""Other ways from a CLIP embedding to a latent, for comparison: regression, a variational autoencoder, retrieval.

The first two are priors with an objective of their own, trained as any prior; all draw with `draw(condition, seeds)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from text2latent.models.priors.diffusion import initial_noise
from text2latent.models.priors.residual_mlp import ResidualMLPPrior
from text2latent.training.pseudo_text import PseudoText

INITIAL_LOG_VARIANCE = -6.0
DECODER_STD = 0.1
"""Of the variational autoencoder's latents around what it decodes, in standard deviations of the latents' channels."""


class RegressionPrior(ResidualMLPPrior):
    """The latent's mean given the condition: one evaluation of a residual MLP, which gets nothing else.

    Args:
        latent_shape, embedding_dim, width, depth: see `ResidualMLPPrior`.
    """

    def __init__(self, latent_shape: Sequence[int], embedding_dim: int, width: int = 256, depth: int = 4) -> None:
        super().__init__(latent_shape, embedding_dim, width=width, depth=depth, objective="sample")

    def decode(self, code: Tensor, condition: Tensor) -> Tensor:
        """Normalised latents `[N, L, D]` of codes `[N, L, D]` and conditions `[N, E]`."""
        decoded: Tensor = self(code, torch.ones(len(code), device=code.device), condition)
        return decoded

    @torch.no_grad()
    def draw(self, condition: Tensor, seeds: Sequence[int]) -> Tensor:
        """Latents `[N, L, D]` of conditions `[N, E]`; the seeds change nothing."""
        return self.denormalize(self.decode(condition.new_zeros(len(condition), *self.latent_shape), condition))


class RegressionObjective:
    """Mean squared error of a `RegressionPrior`.

    Args:
        pseudo_text: makes conditions of image embeddings.
    """

    def __init__(self, pseudo_text: PseudoText) -> None:
        self.pseudo_text = pseudo_text

    def loss(
        self,
        prior: RegressionPrior,
        latents: Tensor,
        embeddings: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        x0 = prior.normalize(latents)
        condition = self.pseudo_text(embeddings.float(), generator)
        return F.mse_loss(prior.decode(torch.zeros_like(x0), condition).float(), x0)


class VariationalPrior(RegressionPrior):
    """The decoder of a conditional variational autoencoder of latents, with its encoder.

    As in Fast text2StyleGAN (arXiv:2209.03953), whose condition is a CLIP embedding and whose data are a generator's
    latents; drawing, the code is standard normal.

    Args:
        latent_shape, embedding_dim, width, depth: of the decoder, see `ResidualMLPPrior`.
    """

    def __init__(self, latent_shape: Sequence[int], embedding_dim: int, width: int = 256, depth: int = 4) -> None:
        super().__init__(latent_shape, embedding_dim, width=width, depth=depth)
        size = math.prod(self.latent_shape)
        layers: list[nn.Module] = []
        for inputs in (size + embedding_dim, width, width):
            layers += [nn.Linear(inputs, width), nn.SiLU()]
        last = nn.Linear(width, 2 * size)
        # A code of little noise to begin with: the decoder learns to use it before the divergence wears it away.
        nn.init.constant_(last.bias[size:], INITIAL_LOG_VARIANCE)
        self.encoder = nn.Sequential(*layers, last)

    def encode(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, `[N, L, D]` each, of the code of normalised latents `[N, L, D]`."""
        inputs = torch.cat([x.flatten(1), self.scale_condition(condition)], dim=1)
        mean, log_variance = self.encoder(inputs).float().chunk(2, dim=1)
        return mean.unflatten(1, self.latent_shape), log_variance.clamp(-20, 20).unflatten(1, self.latent_shape)

    @torch.no_grad()
    def draw(self, condition: Tensor, seeds: Sequence[int]) -> Tensor:
        """Latents `[N, L, D]` of conditions `[N, E]`, a seed each."""
        code = initial_noise(seeds, self.latent_shape).to(condition.device)
        return self.denormalize(self.decode(code, condition))


class VariationalObjective:
    """Negative evidence lower bound of a `VariationalPrior` (arXiv:1312.6114, eq. 10), times the decoder's variance.

    The decoder's standard deviation is fixed at `DECODER_STD`, which is to say that the divergence has the weight of
    its square (beta-VAE, Higgins et al., 2017, eq. 4). Were it learned, it would take over what the code is to say.

    Args:
        pseudo_text: makes conditions of image embeddings.
    """

    def __init__(self, pseudo_text: PseudoText) -> None:
        self.pseudo_text = pseudo_text

    def loss(
        self,
        prior: VariationalPrior,
        latents: Tensor,
        embeddings: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Per dimension, up to a constant; see `DenoisingObjective.loss`."""
        x0 = prior.normalize(latents)
        condition = self.pseudo_text(embeddings.float(), generator)
        mean, log_variance = prior.encode(x0, condition)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        decoded = prior.decode(mean + (log_variance / 2).exp() * noise, condition).float()
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        return 0.5 * F.mse_loss(decoded, x0) + DECODER_STD**2 * divergence


class NearestNeighbours:
    """Retrieval: the latents of the training pairs whose image embeddings are nearest to the text's.

    Args:
        latents: `[N, L, D]`.
        embeddings: `[N, E]`, L2-normalised.
    """

    def __init__(self, latents: Tensor, embeddings: Tensor) -> None:
        self.latents, self.embeddings = latents, embeddings

    def draw(self, condition: Tensor, ranks: Sequence[int]) -> Tensor:
        """The latent of the neighbour of each rank, 0 for the nearest, `[M, L, D]`, of conditions `[M, E]`."""
        deepest = max(ranks, default=0) + 1
        nearest = (condition.to(self.embeddings.dtype) @ self.embeddings.T).topk(deepest, dim=1).indices
        return self.latents[nearest.gather(1, torch.tensor(list(ranks))[:, None])[:, 0]].float()
