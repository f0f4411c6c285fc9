"""clip2latent's denoiser: a causal transformer over condition, time and noisy latent."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.transformers.prior_transformer import PriorTransformer
from torch import Tensor, nn

from text2latent.models.prior_base import HEAD_CHANNELS, Prior

NUM_TOKENS = 4
"""Condition, time, noisy latent, and the query at whose place the answer is read."""


class TransformerPrior(Prior):
    """The paper's prior (clip2latent, arXiv:2210.02347, sec. 3.1), which is DALL-E 2's (arXiv:2204.06125, sec. 2.2).

    A causal transformer, diffusers' `PriorTransformer`, reads the tokens condition, time, noisy latent and a learned
    query; what it gives at the query is the prediction itself, unscaled. The tokens of a latent are one vector to it.

    Args:
        latent_shape: `(L, D)`, tokens and channels of a latent.
        embedding_dim: E, channels of CLIP's embeddings.
        width: channels, a multiple of 64, the channels of an attention head.
        depth: blocks.
        dropout: probability inside the blocks while training.
        objective, latent_layout, text_bank_size: see `Prior`; noise_level_input is not for this one.
    """

    @register_to_config
    def __init__(
        self,
        latent_shape: Sequence[int],
        embedding_dim: int,
        width: int = 512,
        depth: int = 12,
        dropout: float = 0.0,
        objective: str = "sample",
        latent_layout: str = "w",
        text_bank_size: int = 0,
    ) -> None:
        super().__init__()
        self._set_up(latent_shape, embedding_dim, objective, latent_layout, text_bank_size)
        latent_size = math.prod(self.latent_shape)
        self.transformer = PriorTransformer(
            num_attention_heads=width // HEAD_CHANNELS,
            attention_head_dim=HEAD_CHANNELS,
            num_layers=depth,
            embedding_dim=latent_size,
            num_embeddings=0,
            additional_embeddings=NUM_TOKENS,
            dropout=dropout,
            encoder_hid_proj_type=None,
            embedding_proj_dim=embedding_dim,
        )
        # Statistics of DALL-E 2's latents, for which this class has its own.
        del self.transformer.clip_mean, self.transformer.clip_std
        # Kept with the weights, so that a network made without memory of its own is whole once they are loaded.
        self.transformer.register_buffer("causal_attention_mask", self.transformer.causal_attention_mask)
        nn.init.normal_(self.transformer.positional_embedding, std=0.02)
        nn.init.normal_(self.transformer.prd_embedding, std=0.02)
        self.null_condition = nn.Parameter(torch.zeros(embedding_dim))

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        condition: Tensor,
        drop: Tensor | None = None,
        noise_level: Tensor | None = None,
    ) -> Tensor:
        """See `Prior.forward`; nothing is scaled."""
        own = x.to(self.latent_std.dtype)
        return self._network(own, t, condition, drop, self.text_noise_level).to(x.dtype)

    def _network(self, x: Tensor, t: Tensor, condition: Tensor, drop: Tensor | None, noise_level: Tensor) -> Tensor:
        filtered = self.filter_condition(condition)
        if drop is not None:
            filtered = torch.where(drop[:, None], self.null_condition.to(filtered.dtype), filtered)
        # An empty mask of text tokens, of which there are none, makes PriorTransformer add its causal mask.
        no_text = torch.ones(x.shape[0], 0, dtype=torch.bool, device=x.device)
        (prediction,) = self.transformer(x.flatten(1), 1000 * t, filtered, attention_mask=no_text, return_dict=False)
        return prediction.unflatten(1, self.latent_shape)
