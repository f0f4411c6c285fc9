"""What all priors have in common: statistics of the training pairs, the gap between texts and images, scaling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from text2latent.common.errors import InputError
from text2latent.models.network import Network
from text2latent.models.priors.parametrization import Parametrization

TIME_CHANNELS = 128
HEAD_CHANNELS = 64
"""Channels of an attention head in priors that are transformers."""


class Prior(Network):
    """A network from CLIP embedding and noisy latent to what its objective predicts.

    Subclasses call `_set_up` and implement `_network`, whose input and output have unit variance; `forward` scales
    them (`Parametrization.preconditioning`), so that a network that gives zero is already the best prediction that
    follows from mean and variance alone. The config of each has at least these keys:

        latent_shape: `(L, D)`, tokens and channels of a latent; `(1, w_dim)` for StyleGAN's w.
        embedding_dim: E, channels of CLIP's embeddings.
        objective: see `Parametrization`.
        latent_layout: what the latents are, see `text2latent.models.generators.layouts`.

    A condition is an embedding seen from the centre of its kind, and made of unit length again: images from the mean
    image, texts from the mean of texts of all kinds. To a real CLIP all images are alike, and all texts (cosines around
    0.5 and more), but for what sets them apart from others of their kind; and the two kinds sit apart, mostly by their
    means (Liang et al., arXiv:2203.02053, sec. 5.1; C3, arXiv:2401.08567, sec. 4). The network sees conditions times
    `condition_scale`, the root of E: with a mean square of 1.

    Attributes:
        takes_raw_embeddings: whether embeddings come in the length that CLIP gives them, and so do conditions.
        truncates_to_pairs: whether truncation moves latents to the mean of the training pairs' instead of the
            generator's own.
    """

    takes_raw_embeddings = False
    truncates_to_pairs = False
    latent_mean: Tensor
    latent_std: Tensor
    condition_scale: Tensor
    image_centre: Tensor
    text_centre: Tensor

    def _set_up(
        self,
        latent_shape: Sequence[int],
        embedding_dim: int,
        objective: str = "flow",
        latent_layout: str = "w",
    ) -> None:
        """Take the common part of the config, and register the statistics as buffers."""
        self.latent_shape = (int(latent_shape[0]), int(latent_shape[1]))
        self.embedding_dim, self.latent_layout = embedding_dim, latent_layout
        self.parametrization = Parametrization(objective)
        self.register_buffer("latent_mean", torch.zeros(self.latent_shape))
        self.register_buffer("latent_std", torch.ones(self.latent_shape))
        self.register_buffer("condition_scale", torch.tensor(math.sqrt(embedding_dim)))
        self.register_buffer("image_centre", torch.zeros(embedding_dim))
        self.register_buffer("text_centre", torch.zeros(embedding_dim))
        self.register_load_state_dict_pre_hook(_fill_in_defaults)

    def set_statistics(
        self,
        latent_mean: Tensor | np.ndarray,
        latent_std: Tensor | np.ndarray,
        image_mean: Tensor | np.ndarray | None = None,
        text_mean: Tensor | np.ndarray | None = None,
    ) -> None:
        """Set the statistics of the training pairs, before training.

        Args:
            latent_mean: `[L, D]` (or `[1, D]` or `[D]`, for every token).
            latent_std: `[L, D]` (or `[1, D]` or `[D]`); channels that never vary are left unscaled.
            image_mean: `[E]`, mean of the image embeddings; None leaves images where they are.
            text_mean: `[E]`, mean embedding of texts of all kinds, without images to them; None leaves texts too.

        Raises:
            InputError: when a shape doesn't fit or a value isn't finite.
        """
        mean = _statistic("latent mean", latent_mean, self.latent_shape)
        std = _statistic("latent std", latent_std, self.latent_shape)
        nowhere, shape = torch.zeros(self.embedding_dim), (self.embedding_dim,)
        of_images = _statistic("embedding mean", nowhere if image_mean is None else image_mean, shape)
        of_texts = _statistic("text mean", nowhere if text_mean is None else text_mean, shape)
        self.latent_mean.copy_(mean)
        self.latent_std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))
        self.image_centre.copy_(of_images)
        self.text_centre.copy_(of_texts)

    def image_condition(self, embeddings: Tensor) -> Tensor:
        """Conditions of image embeddings `[N, E]`, L2-normalised both, unless this prior `takes_raw_embeddings`."""
        return self.of_its_length(embeddings - self.image_centre)

    def text_condition(self, embeddings: Tensor) -> Tensor:
        """Conditions of text embeddings `[N, E]`, L2-normalised both, unless this prior `takes_raw_embeddings`."""
        return self.of_its_length(embeddings - self.text_centre)

    def of_its_length(self, conditions: Tensor) -> Tensor:
        """Conditions `[N, E]`, or sums of them, made of unit length; as they are if it `takes_raw_embeddings`."""
        return conditions if self.takes_raw_embeddings else F.normalize(conditions, dim=1)

    def normalize(self, latents: Tensor) -> Tensor:
        """Latents of the generator `[N, L, D]` or `[N, 1, D]` -> `[N, L, D]` of mean 0 and variance 1 per channel."""
        return (latents.float() - self.latent_mean) / self.latent_std

    def denormalize(self, x: Tensor) -> Tensor:
        """Inverse of `normalize`."""
        return x * self.latent_std + self.latent_mean

    def scale_condition(self, condition: Tensor) -> Tensor:
        """Conditions `[N, E]` as the network sees them, in the precision of its weights, `[N, E]`."""
        return condition.to(self.condition_scale.dtype) * self.condition_scale

    def forward(self, x: Tensor, t: Tensor, condition: Tensor, drop: Tensor | None = None) -> Tensor:
        """What the objective predicts of a mixture of data and noise; for a flow, the velocity `E[noise - data | x]`.

        Args:
            x: `[N, L, D]`, normalised latents with noise.
            t: `[N]` in [0, 1], 1 is pure noise.
            condition: `[N, E]`, L2-normalised, see `image_condition` and `text_condition`.
            drop: `[N]` bool, True where the condition is to be ignored.

        Returns:
            `[N, L, D]`.
        """
        skip, scale_in, scale_out = (s.to(x.dtype)[:, None, None] for s in self.parametrization.preconditioning(t))
        # Weights of a lower precision compute in theirs; the sum stays in that of x.
        scaled = (x * scale_in).to(self.latent_std.dtype)
        return skip * x + scale_out * self._network(scaled, t, condition, drop)

    def _take_over(self, state: dict[str, Any], prefix: str, filter_matrix: Tensor, centre: Tensor) -> None:
        """Bring into weights what conditions `c` once went through: `(c - centre) @ filter_matrix`.

        Raises:
            InputError: when it was more than a scale.
        """
        scale = filter_matrix.diagonal().mean()
        if centre.any() or not torch.allclose(filter_matrix, scale * torch.eye(self.embedding_dim), atol=1e-3):
            raise InputError("its conditions went through a filter, which this network knows no more; train it again")
        state[prefix + "condition_scale"] = scale

    def _network(self, x: Tensor, t: Tensor, condition: Tensor, drop: Tensor | None) -> Tensor:
        """The network itself, `[N, L, D]`; arguments as `forward`'s."""
        raise NotImplementedError


def _fill_in_defaults(prior: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Read weights from before embeddings were centred, of priors that moved texts instead, if anything; and from when
    conditions went through a matrix.
    """
    assert isinstance(prior, Prior)
    if prefix + "text_offset" in state:
        state.setdefault(prefix + "text_centre", -state.pop(prefix + "text_offset"))
    for name in ("text_temperature", "text_noise_level", "embedding_cov_sqrt"):
        state.pop(prefix + name, None)
    for name in ("image_centre", "text_centre"):
        state.setdefault(prefix + name, torch.zeros(prior.embedding_dim))
    mean, filter_matrix = (state.pop(prefix + name, None) for name in ("embedding_mean", "embedding_filter"))
    if filter_matrix is not None:
        centre = state.pop(prefix + "condition_centre", mean)
        prior._take_over(state, prefix, filter_matrix.float(), centre.float())


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
    """Adaptive part of a layer norm (DiT, arXiv:2212.09748, section 3.2); arguments `[..., width]`."""
    return x * (1 + scale) + shift


def zero_(*layers: nn.Linear) -> None:
    """Let layers start at zero, so that blocks start as the identity (adaLN-Zero, arXiv:2212.09748)."""
    for layer in layers:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


class AdaptivePrior(Prior):
    """A prior whose blocks are modulated by a joint embedding of time and condition."""

    def _set_up_joint(self, channels: int) -> None:
        """Register the networks that embed time and condition in `channels`."""

        def embedding(inputs: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(inputs, channels), nn.SiLU(), nn.Linear(channels, channels))

        self.time, self.condition = embedding(TIME_CHANNELS), embedding(self.embedding_dim)
        self.null_condition = nn.Parameter(torch.zeros(channels))

    def _take_over(self, state: dict[str, Any], prefix: str, filter_matrix: Tensor, centre: Tensor) -> None:
        weight, bias = (prefix + f"condition.0.{name}" for name in ("weight", "bias"))
        scale, dtype = filter_matrix.diagonal().mean(), state[weight].dtype
        rows = state[weight].float() @ filter_matrix.T
        state[bias] = (state[bias].float() - rows @ centre).to(dtype)
        state[weight] = (rows / scale).to(dtype)
        state[prefix + "condition_scale"] = scale.to(dtype)

    def encode_condition(self, condition: Tensor, drop: Tensor | None = None) -> Tensor:
        """Conditions -> what the blocks see of them; the learned null condition where dropped.

        Args:
            condition: `[N, E]`, L2-normalised.
            drop: `[N]` bool, True for the null condition; None drops none.

        Returns:
            `[N, channels]`.
        """
        encoded = self.condition(self.scale_condition(condition))
        if drop is None:
            return encoded
        return torch.where(drop[:, None], self.null_condition.to(encoded.dtype), encoded)

    def joint(self, t: Tensor, condition: Tensor, drop: Tensor | None) -> Tensor:
        """Joint embedding `[N, channels]`; arguments as `forward`'s."""
        encoded = self.encode_condition(condition, drop)
        return F.silu(self.time(time_features(t).to(encoded.dtype)) + encoded)


def _statistic(name: str, value: Tensor | np.ndarray, shape: tuple[int, ...]) -> Tensor:
    tensor = torch.as_tensor(value).double()
    try:
        tensor = tensor.broadcast_to(shape)
    except RuntimeError:
        raise InputError(f"{name}: expected shape {shape}, got {tuple(tensor.shape)}") from None
    if not tensor.isfinite().all():
        raise InputError(f"{name}: expected finite numbers, got NaN or infinity")
    return tensor
