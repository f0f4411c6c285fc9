"""BigGAN-deep (arXiv:1809.11096, appendix B, figure 16): z and a class embedding -> image of 128, 256 or 512 pixels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from text2latent.models.colours import RGB
from text2latent.models.generators.base import Generator, check_at_least_one

FIRST_SIDE = 4
BOTTLENECK = 4
ATTENTION_REDUCTION = 8

Stage = tuple[bool, int, int]
"""Whether a block doubles the sides, and its channels before and after, in units of the channel width."""

DEFAULT_STAGES: tuple[Stage, ...] = (
    *((False, 16, 16), (True, 16, 16)),
    *((False, 16, 16), (True, 16, 8)),
    *((False, 8, 8), (True, 8, 4)),
    *((False, 4, 4), (True, 4, 2)),
    *((False, 2, 2), (True, 2, 1)),
)


class StandingStatistics(nn.Module):
    """Means and variances of channels, measured at several truncations of z, and interpolated between.

    Row i of S is that of truncation `i / (S - 1)`.
    """

    running_means: Tensor
    running_vars: Tensor

    def __init__(self, channels: int, num_statistics: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("running_means", torch.zeros(num_statistics, channels))
        self.register_buffer("running_vars", torch.ones(num_statistics, channels))

    def normalize(self, x: Tensor, truncation: float) -> Tensor:
        """`x` [N, C, H, W] without the mean and in units of the standard deviation that belong to a truncation."""
        share, below = math.modf(truncation * (len(self.running_means) - 1) + 1e-9)
        low = min(int(below), len(self.running_means) - 1)
        high = min(low + 1, len(self.running_means) - 1)
        mean, variance = (rows[low].lerp(rows[high], share) for rows in (self.running_means, self.running_vars))
        return (x - mean[:, None, None]) * (variance + self.eps).rsqrt()[:, None, None]


class ConditionalNorm(StandingStatistics):
    """Standing statistics, then a scale and an offset that the latent gives."""

    def __init__(self, channels: int, latent_dim: int, num_statistics: int, eps: float) -> None:
        super().__init__(channels, num_statistics, eps)
        self.scale = nn.Linear(latent_dim, channels, bias=False)
        self.offset = nn.Linear(latent_dim, channels, bias=False)

    def forward(self, x: Tensor, latent: Tensor, truncation: float) -> Tensor:
        """`x` [N, C, H, W] of `latent` [N, latent_dim]."""
        scale, offset = 1 + self.scale(latent), self.offset(latent)
        return self.normalize(x, truncation) * scale[:, :, None, None] + offset[:, :, None, None]


class PlainNorm(StandingStatistics):
    """Standing statistics, then a learned scale and offset."""

    def __init__(self, channels: int, num_statistics: int, eps: float) -> None:
        super().__init__(channels, num_statistics, eps)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, truncation: float) -> Tensor:
        """`x` [N, C, H, W], normalised."""
        return self.normalize(x, truncation) * self.weight[:, None, None] + self.bias[:, None, None]


class DeepBlock(nn.Module):
    """Bottleneck block; surplus channels of its shortcut are dropped, sides are doubled by repetition."""

    def __init__(
        self, channels_in: int, channels_out: int, upsample: bool, latent_dim: int, num_statistics: int, eps: float
    ) -> None:
        super().__init__()
        self.channels_out, self.upsample = channels_out, upsample
        hidden = channels_in // BOTTLENECK
        widths = (channels_in, hidden, hidden, hidden)
        for i, (width, after) in enumerate(zip(widths, (hidden, hidden, hidden, channels_out), strict=True)):
            self.add_module(f"bn_{i}", ConditionalNorm(width, latent_dim, num_statistics, eps))
            size = 3 if i in (1, 2) else 1
            self.add_module(f"conv_{i}", nn.Conv2d(width, after, size, padding=size // 2))

    def forward(self, x: Tensor, latent: Tensor, truncation: float) -> Tensor:
        """`x` [N, C, H, W] -> [N, C', H', W'] of `latent` [N, latent_dim]."""
        shortcut = x[:, : self.channels_out]
        for i in range(4):
            x = F.relu(self.get_submodule(f"bn_{i}")(x, latent, truncation))
            if i == 1 and self.upsample:
                x = F.interpolate(x, scale_factor=2)
            x = self.get_submodule(f"conv_{i}")(x)
        return x + (F.interpolate(shortcut, scale_factor=2) if self.upsample else shortcut)


class SelfAttention(nn.Module):
    """Attention of every place to every other, whose keys and values are pooled (arXiv:1805.08318, section 3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = channels // ATTENTION_REDUCTION
        self.snconv1x1_theta = nn.Conv2d(channels, narrow, 1, bias=False)
        self.snconv1x1_phi = nn.Conv2d(channels, narrow, 1, bias=False)
        self.snconv1x1_g = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.snconv1x1_o_conv = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """`x` [N, C, H, W] and what it attends to, of the same shape."""
        queries = self.snconv1x1_theta(x).flatten(2).transpose(1, 2)
        keys, values = (F.max_pool2d(layer(x), 2).flatten(2) for layer in (self.snconv1x1_phi, self.snconv1x1_g))
        weights = torch.softmax(queries @ keys, dim=-1)
        attended = (values @ weights.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.gamma * self.snconv1x1_o_conv(attended)


class DeepSynthesis(nn.Module):
    """Latents (z, class embedding) -> image; the first one makes the 4x4 map, each block has one of its own.

    Attributes: `num_ws` (1 + number of blocks), `w_dim`.
    """

    def __init__(
        self, w_dim: int, width: int, stages: Sequence[Stage], attention_at: int, num_statistics: int, eps: float
    ) -> None:
        super().__init__()
        self.w_dim, self.num_ws = w_dim, 1 + len(stages)
        self.gen_z = nn.Linear(w_dim, FIRST_SIDE**2 * stages[0][1] * width)
        layers: list[nn.Module] = []
        for i, (upsample, before, after) in enumerate(stages):
            if i == attention_at:
                layers.append(SelfAttention(before * width))
            layers.append(DeepBlock(before * width, after * width, upsample, w_dim, num_statistics, eps))
        self.layers = nn.ModuleList(layers)
        last = stages[-1][2] * width
        self.bn = PlainNorm(last, num_statistics, eps)
        self.conv_to_rgb = nn.Conv2d(last, last, 3, padding=1)

    def forward(self, ws: Tensor, truncation: float = 1.0) -> Tensor:
        """Images [N, 3, H, W] in [-1, 1] of `ws` [N, num_ws, w_dim].

        Args:
            truncation: in (0, 1], that of the z, whose statistics the layers then take.

        Raises:
            ValueError: for latents of another shape or a truncation out of range.
        """
        if ws.shape[1:] != (self.num_ws, self.w_dim):
            raise ValueError(f"ws: expected shape [N, {self.num_ws}, {self.w_dim}], got {list(ws.shape)}")
        if not 0 < truncation <= 1:
            raise ValueError(f"truncation: expected a number in (0, 1], got {truncation}")
        ws = ws.to(self.gen_z.weight.dtype)
        x = self.gen_z(ws[:, 0]).unflatten(1, (FIRST_SIDE, FIRST_SIDE, -1)).permute(0, 3, 1, 2)
        latents = iter(ws[:, 1:].unbind(dim=1))
        for layer in self.layers:
            x = layer(x, next(latents), truncation) if isinstance(layer, DeepBlock) else layer(x)
        return torch.tanh(self.conv_to_rgb(F.relu(self.bn(x, truncation)))[:, :RGB])


class BigGANGenerator(Generator):
    """BigGAN-deep generator.

    A latent w is z and a class embedding side by side, so that a prior can learn it as any other latent.
    `sample_latents` draws z and a class, `[n, z_dim + c_dim]`; `map` takes these, or z and labels apart.

    Args:
        z_dim: dimensions of z.
        c_dim: number of classes.
        class_embed_dim: dimensions of a class's embedding.
        channel_width: the unit of `stages`.
        stages: blocks, see `Stage`.
        attention_layer_position: number of the block before which attention stands.
        num_statistics: truncations, from 0 to 1, at which statistics were measured.
        eps: added to variances.

    Raises:
        ValueError: for a value out of range, naming the argument.
    """

    synthesis: DeepSynthesis

    def __init__(
        self,
        z_dim: int = 128,
        c_dim: int = 1000,
        class_embed_dim: int = 128,
        channel_width: int = 128,
        stages: Sequence[Stage] = DEFAULT_STAGES,
        attention_layer_position: int = 8,
        num_statistics: int = 51,
        eps: float = 1e-4,
    ) -> None:
        super().__init__()
        check_at_least_one(z_dim=z_dim, c_dim=c_dim, class_embed_dim=class_embed_dim, num_statistics=num_statistics)
        if not stages or any(before != after for (_, _, before), (_, after, _) in itertools.pairwise(stages)):
            raise ValueError(f"stages: expected blocks that follow on one another, got {list(stages)}")
        self.z_dim, self.c_dim, self.w_dim = z_dim, c_dim, z_dim + class_embed_dim
        self.synthesis = DeepSynthesis(self.w_dim, channel_width, stages, attention_layer_position, num_statistics, eps)
        self.embeddings = nn.Linear(c_dim, class_embed_dim, bias=False)
        self.num_ws = self.synthesis.num_ws
        self.image_size = FIRST_SIDE * 2 ** sum(1 for upsample, _, _ in stages if upsample)

    def sample_latents(self, n: int, seed: int) -> Tensor:
        """`n` standard normal z, each followed by a random one-hot class, `[n, z_dim + c_dim]`, float32 on the CPU."""
        one_hot = super().sample_labels(n, seed)
        assert one_hot is not None
        return torch.cat([super().sample_latents(n, seed), one_hot], dim=1)

    def sample_labels(self, n: int, seed: int) -> None:
        """None: `sample_latents` draws the classes too."""
        return None

    def map(
        self, z: Tensor, label: Tensor | None = None, truncation_psi: float = 1.0, truncation_cutoff: int | None = None
    ) -> Tensor:
        """Latents [N, num_ws, w_dim], one repeated for all layers.

        Args:
            z: `[N, z_dim]` with labels, else `[N, z_dim + c_dim]` of `sample_latents`.
            label: `[N, c_dim]`, weights of classes, mostly one-hot.
            truncation_psi: see `truncate`.
            truncation_cutoff: likewise.

        Raises:
            ValueError: for another shape.
        """
        joined = z if label is None else torch.cat([z, label.to(z.dtype)], dim=1)
        if joined.ndim != 2 or joined.shape[1] != self.z_dim + self.c_dim:
            expected = f"[N, {self.z_dim}] with labels [N, {self.c_dim}]"
            raise ValueError(f"z: expected {expected}, or both in one, got {list(z.shape)}")
        z, label = joined.split([self.z_dim, self.c_dim], dim=1)
        embedded = self.embeddings(label.to(self.embeddings.weight.dtype))
        w = torch.cat([z, embedded.to(z.dtype)], dim=1)
        return self.truncate(w[:, None].expand(-1, self.num_ws, -1), truncation_psi, truncation_cutoff)

    def truncate(self, w: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
        """`psi` times the z of `w` [N, L, w_dim], or of its first `cutoff` layers; classes stay."""
        if psi == 1:
            return w
        factor = torch.ones(w.shape[1:], dtype=w.dtype, device=w.device)
        factor[:cutoff, : self.z_dim] = psi
        return w * factor

    def class_embedding(self) -> Tensor:
        """`[class_embed_dim, c_dim]`, a column per class."""
        return self.embeddings.weight


def published_arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Our constructor's arguments from the `config.json` of the published weights (`pytorch-pretrained-biggan`).

    Raises:
        KeyError, TypeError, ValueError: when it isn't one.
    """
    return {
        "z_dim": config["z_dim"],
        "c_dim": config["num_classes"],
        "class_embed_dim": config["class_embed_dim"],
        "channel_width": config["channel_width"],
        "stages": [(bool(upsample), before, after) for upsample, before, after in config["layers"]],
        "attention_layer_position": config["attention_layer_position"],
        "num_statistics": config["n_stats"],
        "eps": config["eps"],
    }
