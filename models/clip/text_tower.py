"""CLIP's text tower and its vision transformer in plain torch, with the names of weights that open_clip gives them.

The architecture is that of Radford et al., "Learning transferable visual models from natural language supervision"
(arXiv:2103.00020), section 2.4: transformer blocks that normalise before attention and before the MLP, a last
normalisation, one position of the result, and a linear map into the space that texts and images share.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

QUICK_GELU_SLOPE = 1.702
TEXT_POOLS = ("first", "last", "argmax", "eos")


@dataclass(frozen=True)
class TextConfig:
    """What `text_cfg` of an open_clip config says of a text tower, with open_clip's defaults.

    Attributes:
        context_length: L, tokens of a text.
        vocab_size: tokens that there are.
        width: W, channels.
        heads: of attention.
        layers: blocks.
        mlp_ratio: channels inside an MLP, over W.
        pool_type: the position that is the text's: the `first`, the `last`, that of the highest token (`argmax`) or
            that of token `eos_id` (`eos`).
        eos_id: token at a text's end, for `eos`.
        no_causal_mask: whether tokens see those behind them.
        proj_type: `none` for no map at the end.
        proj_bias: whether that map adds a constant.
    """

    context_length: int = 77
    vocab_size: int = 49408
    width: int = 512
    heads: int = 8
    layers: int = 12
    mlp_ratio: float = 4.0
    pool_type: str = "argmax"
    eos_id: int = 2
    no_causal_mask: bool = False
    proj_type: str = "linear"
    proj_bias: bool = False


class LayerNorm(nn.LayerNorm):
    """Layer normalisation whose result has its input's precision, under autocast too."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        return layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps).to(x.dtype)


class QuickGELU(nn.Module):
    """Hendrycks and Gimpel's sigmoid approximation of GELU (arXiv:1606.08415), with which OpenAI trained."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, elementwise."""
        return x * torch.sigmoid(QUICK_GELU_SLOPE * x)


class Block(nn.Module):
    """Attention and an MLP, each on what is normalised first and added to what came in.

    Args:
        width: W, channels.
        heads: of attention.
        mlp_width: channels inside the MLP.
        quick_gelu: its nonlinearity: `QuickGELU`, else GELU.
    """

    def __init__(self, width: int, heads: int, mlp_width: int, quick_gelu: bool) -> None:
        super().__init__()
        self.ln_1 = LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(width, mlp_width),
                gelu=QuickGELU() if quick_gelu else nn.GELU(),
                c_proj=nn.Linear(mlp_width, width),
            )
        )

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """`[N, L, W]` -> `[N, L, W]`; the mask `[L, L]` is added to what attention weighs."""
        mask = None if attn_mask is None else attn_mask.to(x.dtype)
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width: int, heads: int, layers: int, mlp_ratio: float, quick_gelu: bool) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads, int(width * mlp_ratio), quick_gelu) for _ in range(layers))

    def get_cast_dtype(self) -> torch.dtype:
        """Precision of the weights, which what comes in is to have."""
        return self.resblocks[0].get_parameter("mlp.c_fc.weight").dtype

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """`[N, L, W]` -> `[N, L, W]`; see `Block`."""
        for block in self.resblocks:
            x = block(x, attn_mask)
        return x


class TextTower(nn.Module):
    """Tokens -> features.

    Args:
        config: the tower.
        embedding_dim: D, channels of the features; without a map at the end they are as wide as the tower.
        quick_gelu: nonlinearity of the blocks, see `Block`.
    """

    attn_mask: Tensor | None

    def __init__(self, config: TextConfig, embedding_dim: int, quick_gelu: bool) -> None:
        super().__init__()
        width, length = config.width, config.context_length
        self.pool_type, self.eos_id = config.pool_type, config.eos_id
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.zeros(length, width))
        self.transformer = Transformer(width, config.heads, config.layers, config.mlp_ratio, quick_gelu)
        self.ln_final = LayerNorm(width)
        self.text_projection: nn.Parameter | nn.Linear | None = None
        if config.proj_type != "none":
            bare = nn.Parameter(torch.zeros(width, embedding_dim))
            self.text_projection = nn.Linear(width, embedding_dim) if config.proj_bias else bare
        mask = None if config.no_causal_mask else torch.full((length, length), -torch.inf).triu(1)
        self.register_buffer("attn_mask", mask, persistent=False)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Features `[N, D]`, not normalised, of tokens `[N, L]`."""
        length, dtype = tokens.shape[1], self.transformer.get_cast_dtype()
        mask = None if self.attn_mask is None else self.attn_mask[:length, :length]
        x = self.token_embedding(tokens).to(dtype) + self.positional_embedding[:length].to(dtype)
        pooled = self._pool(self.ln_final(self.transformer(x, mask)), tokens)
        return project(self.text_projection, pooled)

    def _pool(self, x: Tensor, tokens: Tensor) -> Tensor:
        if self.pool_type in ("first", "last"):
            return x[:, 0 if self.pool_type == "first" else -1]
        found = tokens if self.pool_type == "argmax" else (tokens == self.eos_id).int()
        return x[torch.arange(x.shape[0], device=x.device), found.argmax(dim=-1)]


def project(projection: Tensor | nn.Module | None, pooled: Tensor) -> Tensor:
    """Features `[N, W]` in the space that texts and images share; as they are where a model has no map into it."""
    if projection is None:
        return pooled
    return projection(pooled) if isinstance(projection, nn.Module) else pooled @ projection
