"""A small diffusion transformer over the tokens of grouped or full w_plus latents."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from text2latent.models.priors.prior import AdaptivePrior, modulate, zero_

MLP_RATIO = 4


class DiTBlock(nn.Module):
    """Self-attention and MLP with adaptive layer norms and gates (DiT, arXiv:2212.09748, figure 3, adaLN-Zero)."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp = nn.Sequential(
            nn.Linear(width, MLP_RATIO * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(MLP_RATIO * width, width)
        )

    def forward(self, x: Tensor, shifts: Sequence[Tensor]) -> Tensor:
        """Tokens `[N, L, width]` and six modulations `[N, 1, width]` -> `[N, L, width]`."""
        shift1, scale1, gate1, shift2, scale2, gate2 = shifts
        x = x + gate1 * self.attention(modulate(self.norm1(x), shift1, scale1))
        return x + gate2 * self.mlp(modulate(self.norm2(x), shift2, scale2))

    def attention(self, x: Tensor) -> Tensor:
        """Self-attention between the tokens of each row, `[N, L, width]`."""
        n, length, width = x.shape
        queries, keys, values = self.qkv(x).view(n, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        return self.projection(mixed.transpose(1, 2).reshape(n, length, width))


class DiTPrior(AdaptivePrior):
    """Transformer over the tokens of a latent, modulated by time and condition.

    Args:
        latent_shape: `(L, D)`, tokens and channels of a latent.
        embedding_dim: E, channels of CLIP's embeddings.
        width: channels of a token, a multiple of `num_heads`.
        dropout: probability inside the blocks' MLPs while training.
        objective, latent_layout: see `Prior`.
    """

    def __init__(
        self,
        latent_shape: Sequence[int],
        embedding_dim: int,
        width: int = 256,
        depth: int = 6,
        dropout: float = 0.0,
        num_heads: int = 4,
        objective: str = "flow",
        latent_layout: str = "w",
    ) -> None:
        super().__init__()
        self._set_up(latent_shape, embedding_dim, objective, latent_layout)
        tokens, latent_channels = self.latent_shape
        self.input = nn.Linear(latent_channels, width)
        self.position = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self._set_up_joint(width)
        self.modulations = nn.ModuleList(nn.Linear(width, 6 * width) for _ in range(depth))
        self.blocks = nn.ModuleList(DiTBlock(width, num_heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.final_modulation = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, latent_channels)
        zero_(*self.modulations, self.final_modulation, self.output)

    def _network(self, x: Tensor, t: Tensor, condition: Tensor, drop: Tensor | None) -> Tensor:
        joint = self.joint(t, condition, drop)[:, None]
        h = self.input(x) + self.position
        for modulation, block in zip(self.modulations, self.blocks, strict=True):
            h = block(h, modulation(joint).chunk(6, dim=-1))
        return self.output(modulate(self.norm(h), *self.final_modulation(joint).chunk(2, dim=-1)))
