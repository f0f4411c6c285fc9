"""The denoiser of the diffusion prior: CLIP embedding and noisy latent in, velocity out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from text2latent.configs.errors import InputError

TIME_CHANNELS = 128
GAP_RIDGE = 0.1


def time_features(t: Tensor, channels: int = TIME_CHANNELS) -> Tensor:
    """Sinusoidal features of a time (Vaswani et al. 2017, section 3.5, at 1000 t as diffusion models use them).

    Args:
        t: `[N]` in [0, 1].

    Returns:
        `[N, channels]` in [-1, 1], float32.
    """
    half = channels // 2
    frequencies = torch.exp(torch.arange(half, device=t.device) * (-math.log(10000.0) / half))
    angles = 1000.0 * t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Adaptive part of a layer norm (DiT, arXiv:2212.09748, section 3.2); all arguments `[N, width]`."""
    return x * (1 + scale) + shift


class ResidualBlock(nn.Module):
    """`x + gate * mlp(modulate(norm(x)))`, the block of RCG's and MAR's denoisers (arXiv:2312.03701, 2406.11838)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, width))

    def forward(self, x: Tensor, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
        """All arguments and the result are `[N, width]`."""
        return x + gate * self.mlp(modulate(self.norm(x), shift, scale))


class ResidualMLPPrior(ModelMixin, ConfigMixin):  # type: ignore[misc]  # the two bases declare config_name differently
    """Residual MLP with adaptive layer norm on time and condition, predicting a rectified flow's velocity.

    The network sees latents standardised per channel, and is wrapped so that at initialisation it is already the
    exact velocity of a standard normal distribution of latents (as EDM's preconditioning, arXiv:2206.00364 table 1,
    derived for the flow's interpolation): `v = (2t - 1) / s^2 x + F(x / s) / s` with `s^2 = t^2 + (1 - t)^2`.

    The condition goes through a fixed linear filter that keeps the directions in which image embeddings differ from
    one another and drops the others, since the gap between texts and images lies mostly in the others.

    Args:
        latent_shape: `(L, D)`, tokens and channels of a latent; `(1, w_dim)` for StyleGAN's w.
        embedding_dim: E, channels of CLIP's embeddings.
        width: channels of the residual stream.
        depth: residual blocks.
        dropout: probability inside the blocks while training.
        condition_width: channels of the joint embedding of time and condition; None means `width // 2`.
    """

    latent_mean: Tensor
    latent_std: Tensor
    embedding_mean: Tensor
    embedding_cov_sqrt: Tensor
    embedding_filter: Tensor

    @register_to_config
    def __init__(
        self,
        latent_shape: Sequence[int],
        embedding_dim: int,
        width: int = 512,
        depth: int = 6,
        dropout: float = 0.0,
        condition_width: int | None = None,
    ) -> None:
        super().__init__()
        channels = condition_width or width // 2
        self.latent_shape = (int(latent_shape[0]), int(latent_shape[1]))
        self.embedding_dim, self.width, self.depth = embedding_dim, width, depth
        latent_size = math.prod(self.latent_shape)
        self.input = nn.Linear(latent_size, width)
        self.time = nn.Sequential(nn.Linear(TIME_CHANNELS, channels), nn.SiLU(), nn.Linear(channels, channels))
        self.condition = nn.Sequential(nn.Linear(embedding_dim, channels), nn.SiLU(), nn.Linear(channels, channels))
        self.null_condition = nn.Parameter(torch.zeros(channels))
        self.modulation = nn.Linear(channels, (3 * depth + 2) * width)
        self.blocks = nn.ModuleList(ResidualBlock(width, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.output = nn.Linear(width, latent_size)
        self._zero_outputs()
        self._register_statistics()

    def _zero_outputs(self) -> None:
        """Every block starts as the identity and the output as zero (adaLN-Zero, arXiv:2212.09748)."""
        for layer in (self.modulation, self.output):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def _register_statistics(self) -> None:
        self.register_buffer("latent_mean", torch.zeros(self.latent_shape))
        self.register_buffer("latent_std", torch.ones(self.latent_shape))
        self.register_buffer("embedding_mean", torch.zeros(self.embedding_dim))
        self.register_buffer("embedding_cov_sqrt", torch.eye(self.embedding_dim) / math.sqrt(self.embedding_dim))
        self.register_buffer("embedding_filter", torch.eye(self.embedding_dim) * math.sqrt(self.embedding_dim))

    def set_statistics(
        self,
        latent_mean: Tensor | np.ndarray,
        latent_std: Tensor | np.ndarray,
        embedding_mean: Tensor | np.ndarray,
        embedding_cov: Tensor | np.ndarray,
    ) -> None:
        """Set the statistics of the training pairs, before training.

        Args:
            latent_mean: `[L, D]` (or `[D]`, for every token).
            latent_std: `[L, D]` (or `[D]`); channels that never vary are left unscaled.
            embedding_mean: `[E]`, mean of the image embeddings.
            embedding_cov: `[E, E]`, their covariance.

        Raises:
            InputError: when a shape doesn't fit or a value isn't finite.
        """
        mean = _statistic("latent mean", latent_mean, self.latent_shape)
        std = _statistic("latent std", latent_std, self.latent_shape)
        centre = _statistic("embedding mean", embedding_mean, (self.embedding_dim,))
        cov = _statistic("embedding covariance", embedding_cov, (self.embedding_dim, self.embedding_dim))
        cov_sqrt, filter_matrix = covariance_factors(cov)
        self.latent_mean.copy_(mean)
        self.latent_std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))
        self.embedding_mean.copy_(centre)
        self.embedding_cov_sqrt.copy_(cov_sqrt)
        self.embedding_filter.copy_(filter_matrix)

    def normalize(self, latents: Tensor) -> Tensor:
        """Latents of the generator `[N, L, D]` -> zero mean and unit variance per channel, float32."""
        return (latents.float() - self.latent_mean) / self.latent_std

    def denormalize(self, x: Tensor) -> Tensor:
        """Inverse of `normalize`."""
        return x * self.latent_std + self.latent_mean

    def encode_condition(self, condition: Tensor, drop: Tensor | None = None) -> Tensor:
        """CLIP embeddings -> what the blocks see of them; the learned null condition where dropped.

        Args:
            condition: `[N, E]`, L2-normalised.
            drop: `[N]` bool, True for the null condition; None drops none.

        Returns:
            `[N, condition_width]`.
        """
        encoded = self.condition((condition - self.embedding_mean) @ self.embedding_filter)
        if drop is None:
            return encoded
        return torch.where(drop[:, None], self.null_condition.to(encoded.dtype), encoded)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor, drop: Tensor | None = None) -> Tensor:
        """Velocity `E[noise - data | x]` of the flow `x = (1 - t) data + t noise`.

        Args:
            x: `[N, L, D]`, normalised latents with noise.
            t: `[N]` in [0, 1], 1 is pure noise.
            condition: `[N, E]`, CLIP embeddings, L2-normalised.
            drop: `[N]` bool, True where the condition is to be ignored.

        Returns:
            `[N, L, D]`.
        """
        level = t.to(x.dtype)[:, None]
        scale = (level.square() + (1 - level).square()).rsqrt()
        flat = x.flatten(1)
        residual = self._network(flat * scale, t, self.encode_condition(condition, drop))
        velocity = (2 * level - 1) * scale.square() * flat + scale * residual
        return velocity.unflatten(1, self.latent_shape)

    def _network(self, x: Tensor, t: Tensor, encoded_condition: Tensor) -> Tensor:
        joint = F.silu(self.time(time_features(t)) + encoded_condition)
        shifts = self.modulation(joint).chunk(3 * self.depth + 2, dim=1)
        h = self.input(x)
        for i, block in enumerate(self.blocks):
            h = block(h, *shifts[3 * i : 3 * i + 3])
        return self.output(modulate(self.norm(h), *shifts[-2:]))


def covariance_factors(cov: Tensor) -> tuple[Tensor, Tensor]:
    """Square root and filter of a covariance matrix.

    The filter is Wiener's, `lambda / (lambda + ridge)` per principal direction, scaled so that embeddings with this
    covariance leave it with unit mean variance; the ridge is `GAP_RIDGE` times the mean variance.

    Args:
        cov: `[E, E]`, symmetric, positive semi-definite up to rounding.

    Returns:
        `(cov_sqrt, filter)`, both `[E, E]`, symmetric, float32; `cov_sqrt @ cov_sqrt = cov`.

    Raises:
        InputError: when the covariance is zero.
    """
    values, vectors = torch.linalg.eigh(cov.double())
    values = values.clamp(min=0)
    if not values.sum() > 0:
        raise InputError("embedding covariance: expected embeddings that differ from one another, got all equal")
    gains = values / (values + GAP_RIDGE * values.mean())
    gains = gains / (values * gains.square()).mean().sqrt()
    cov_sqrt = vectors * values.sqrt() @ vectors.T
    return cov_sqrt.float(), (vectors * gains @ vectors.T).float()


def _statistic(name: str, value: Tensor | np.ndarray, shape: tuple[int, ...]) -> Tensor:
    tensor = torch.as_tensor(value).double()
    try:
        tensor = tensor.broadcast_to(shape)
    except RuntimeError:
        raise InputError(f"{name}: expected shape {shape}, got {tuple(tensor.shape)}") from None
    if not tensor.isfinite().all():
        raise InputError(f"{name}: expected finite numbers, got NaN or infinity")
    return tensor
