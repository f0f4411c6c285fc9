"""The residual MLP prior, which ships with the project."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from text2latent.models.priors.prior import AdaptivePrior, modulate, zero_


class ResidualBlock(nn.Module):
    """`x + gate * mlp(modulate(norm(x)))`, the block of RCG's and MAR's denoisers (arXiv:2312.03701, 2406.11838)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, width))

    def forward(self, x: Tensor, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
        """All arguments and the result are `[N, width]`."""
        return x + gate * self.mlp(modulate(self.norm(x), shift, scale))


class ResidualMLPPrior(AdaptivePrior):
    """Residual MLP with adaptive layer norm on time and condition; all tokens of a latent are one vector to it.

    Args:
        latent_shape: `(L, D)`, tokens and channels of a latent; `(1, w_dim)` for StyleGAN's w.
        embedding_dim: E, channels of CLIP's embeddings.
        width: channels of the residual stream.
        dropout: probability inside the blocks while training.
        condition_width: channels of the joint embedding of time and condition; None means `width // 2`.
        objective, latent_layout: see `Prior`.
    """

    def __init__(
        self,
        latent_shape: Sequence[int],
        embedding_dim: int,
        width: int = 512,
        depth: int = 6,
        dropout: float = 0.0,
        condition_width: int | None = None,
        objective: str = "flow",
        latent_layout: str = "w",
    ) -> None:
        super().__init__()
        self._set_up(latent_shape, embedding_dim, objective, latent_layout)
        channels = condition_width or width // 2
        self.width, self.depth = width, depth
        latent_size = math.prod(self.latent_shape)
        self.input = nn.Linear(latent_size, width)
        self._set_up_joint(channels)
        self.modulation = nn.Linear(channels, (3 * depth + 2) * width)
        self.blocks = nn.ModuleList(ResidualBlock(width, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.output = nn.Linear(width, latent_size)
        zero_(self.modulation, self.output)

    def _network(self, x: Tensor, t: Tensor, condition: Tensor, drop: Tensor | None) -> Tensor:
        shifts = self.modulation(self.joint(t, condition, drop)).chunk(3 * self.depth + 2, dim=1)
        h = self.input(x.flatten(1))
        for i, block in enumerate(self.blocks):
            h = block(h, *shifts[3 * i : 3 * i + 3])
        return self.output(modulate(self.norm(h), *shifts[-2:])).unflatten(1, self.latent_shape)
