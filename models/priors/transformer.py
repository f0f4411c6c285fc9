"""clip2latent's denoiser: a causal transformer over condition, time and noisy latent."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from text2latent.models.priors.parametrization import COSINE_STEPS, cosine_steps
from text2latent.models.priors.prior import HEAD_CHANNELS, Prior

ROTARY_CHANNELS = 32
EXACT_DISTANCES, DISTANCE_BUCKETS, LARGEST_DISTANCE = 16, 32, 128
"""T5's relative positions (arXiv:1910.10683, sec. 2.1): exact distances, buckets in all, the largest distance."""


class TransformerPrior(Prior):
    """The paper's prior (clip2latent, arXiv:2210.02347, sec. 3.1), which is DALL-E 2's (arXiv:2204.06125, sec. 2.2).

    A causal transformer reads the tokens condition, time, noisy latent and a learned query, the last two once for each
    of the latent's tokens; what it gives at the queries is the prediction itself, unscaled. The network is that of
    clip2latent's code: blocks that normalise first, attention with one key and value for all heads
    (arXiv:1911.02150) and a learned null among them, rotary positions (arXiv:2104.09864) and T5's relative ones,
    SwiGLU (arXiv:2002.05202), no biases, a table of times; without a condition its token is left out of attention.
    There all channels are as many; here linear layers bridge where those of latents or embeddings aren't `width`.

    Args:
        latent_shape: `(L, D)`, tokens and channels of a latent.
        embedding_dim: E, channels of CLIP's embeddings.
        num_heads: attention heads, of 64 channels each.
        dropout: probability inside the blocks while training.
        objective, latent_layout: see `Prior`.
        takes_raw_embeddings, truncates_to_pairs: see `Prior`; both are clip2latent's own way.
    """

    def __init__(
        self,
        latent_shape: Sequence[int],
        embedding_dim: int,
        width: int = 512,
        depth: int = 12,
        num_heads: int = 12,
        dropout: float = 0.0,
        objective: str = "sample",
        latent_layout: str = "w",
        takes_raw_embeddings: bool = False,
        truncates_to_pairs: bool = False,
    ) -> None:
        super().__init__()
        self.takes_raw_embeddings, self.truncates_to_pairs = takes_raw_embeddings, truncates_to_pairs
        self._set_up(latent_shape, embedding_dim, objective, latent_layout)
        num_latents, channels = self.latent_shape
        self.condition_in, self.latent_in = _bridge(embedding_dim, width), _bridge(channels, width)
        self.times = nn.Embedding(COSINE_STEPS, width)
        self.queries = nn.Parameter(torch.randn(num_latents, width))
        self.distances = nn.Embedding(DISTANCE_BUCKETS, num_heads)
        self.blocks = nn.ModuleList(Block(width, num_heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, bias=False)
        self.out = nn.Linear(width, channels, bias=False)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor, drop: Tensor | None = None) -> Tensor:
        own = x.to(self.latent_std.dtype)
        return self._network(own, t, condition, drop).to(x.dtype)

    def _network(self, x: Tensor, t: Tensor, condition: Tensor, drop: Tensor | None) -> Tensor:
        inputs = [self.condition_in(self.scale_condition(condition))[:, None], self.times(self.step_of(t))[:, None]]
        tokens = torch.cat([*inputs, self.latent_in(x), self.queries.expand(len(x), -1, -1)], dim=1)
        bias = self.attention_bias(tokens.shape[1], drop).to(tokens.dtype)
        for block in self.blocks:
            tokens = block(tokens, bias)
        prediction: Tensor = self.out(self.norm(tokens[:, -x.shape[1] :]))
        return prediction

    def step_of(self, t: Tensor) -> Tensor:
        """Row of the table for times `[N]` in [0, 1]: that of the nearest step, `COSINE_STEPS` of them from 0."""
        if self.parametrization.objective == "flow":
            return (COSINE_STEPS * t).long().clamp(max=COSINE_STEPS - 1)
        return cosine_steps(t) - 1

    def attention_bias(self, length: int, drop: Tensor | None) -> Tensor:
        """What is added to attention, `[N or 1, heads, length, 1 + length]`, the null key first.

        It encodes distances; it is minus infinity for tokens that come later, and for a condition that is dropped.
        """
        device = self.queries.device
        distance = torch.arange(length, device=device)[:, None] - torch.arange(length + 1, device=device)
        bias = self.distances(_bucket(distance.clamp(min=0))).permute(2, 0, 1)[None]
        hidden = (distance < -1)[None, None]
        if drop is not None:
            is_condition = torch.arange(length + 1, device=device) == 1
            hidden = hidden | (drop[:, None] & is_condition)[:, None, None]
        return bias.masked_fill(hidden, -math.inf)


class Block(nn.Module):
    """Attention and feed-forward layer, each added to what comes in.

    Args:
        dropout: probability, in both.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        inner = heads * HEAD_CHANNELS
        self.attention_norm, self.attended_norm = (nn.LayerNorm(width, bias=False) for _ in range(2))
        self.null = nn.Parameter(torch.randn(2, HEAD_CHANNELS))
        self.to_query = nn.Linear(width, inner, bias=False)
        self.to_key_and_value = nn.Linear(width, 2 * HEAD_CHANNELS, bias=False)
        self.attended = nn.Linear(inner, width, bias=False)
        self.feed_norm = nn.LayerNorm(width, bias=False)
        self.feed_in = nn.Linear(width, 8 * width, bias=False)
        self.feed_out = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Tokens `[N, T, width]`, and the bias `[N or 1, heads, T, 1 + T]` of their attention -> tokens."""
        x = x + self.attended_norm(self.attended(self._attend(self.attention_norm(x), bias)))
        values, gates = self.feed_in(self.feed_norm(x)).chunk(2, dim=-1)
        fed: Tensor = self.feed_out(F.dropout(values * F.silu(gates), self.dropout, self.training))
        return x + fed

    def _attend(self, x: Tensor, bias: Tensor) -> Tensor:
        n, length, _ = x.shape
        query = rotate(self.to_query(x).unflatten(-1, (self.heads, HEAD_CHANNELS)).transpose(1, 2))
        key, value = self.to_key_and_value(x).chunk(2, dim=-1)
        null_key, null_value = self.null.to(key.dtype)[:, None, None].expand(2, n, 1, HEAD_CHANNELS)
        # One key and value for all heads.
        shape = (n, self.heads, length + 1, HEAD_CHANNELS)
        keys, values = (
            torch.cat(pair, dim=1)[:, None].expand(shape) for pair in ((null_key, rotate(key)), (null_value, value))
        )
        dropout = self.dropout if self.training else 0.0
        bias = bias.expand(n, -1, -1, -1)
        return F.scaled_dot_product_attention(query, keys, values, bias, dropout).transpose(1, 2).flatten(2)


def rotate(x: Tensor) -> Tensor:
    """Rotary positions (arXiv:2104.09864, sec. 3.2) of the first channels of tokens `[..., T, channels]`, by pairs."""
    turned, rest = x[..., :ROTARY_CHANNELS], x[..., ROTARY_CHANNELS:]
    frequencies = 10_000.0 ** -(torch.arange(0, ROTARY_CHANNELS, 2, device=x.device) / ROTARY_CHANNELS)
    angles = torch.arange(x.shape[-2], device=x.device)[:, None] * frequencies
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    even, odd = turned[..., 0::2], turned[..., 1::2]
    turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)
    return torch.cat([turned, rest], dim=-1)


def _bridge(channels: int, width: int) -> nn.Module:
    return nn.Identity() if channels == width else nn.Linear(channels, width, bias=False)


def _bucket(distance: Tensor) -> Tensor:
    """Number of a distance's bucket: itself as far as it is exact, then by its logarithm."""
    far = (distance.clamp(min=1) / EXACT_DISTANCES).log() / math.log(LARGEST_DISTANCE / EXACT_DISTANCES)
    far_bucket = EXACT_DISTANCES + (far * (DISTANCE_BUCKETS - EXACT_DISTANCES)).long()
    return torch.where(distance < EXACT_DISTANCES, distance, far_bucket.clamp(max=DISTANCE_BUCKETS - 1))
