"""StyleGAN generators, the first (arXiv:1812.04948): a learned constant, convolutions, noise, and AdaIN by w."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from text2latent.models.colours import check_channels
from text2latent.models.generators.base import check_at_least_one
from text2latent.models.generators.layers import (
    FullyConnectedLayer,
    check_noise_mode,
    depthwise,
    fir_kernel,
    own_precision,
    resolve_activation,
)
from text2latent.models.generators.mapping import MappedGenerator, MappingNetwork
from text2latent.models.noise import TakesNoise

HE_GAIN = math.sqrt(2)
TRUNCATED_LAYERS = 8


class EqualConv(nn.Module):
    """Convolution with equalised learning rate (arXiv:1710.10196, section 4.1), [N, I, H, W] -> [N, O, H, W]."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, gain: float, bias: bool = False) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.gain = gain / math.sqrt(in_channels * kernel_size**2)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.gain, self.bias, padding=self.weight.shape[-1] // 2)


class StyledLayer(TakesNoise, nn.Module):
    """What follows a convolution: noise, bias, activation, and AdaIN (arXiv:1812.04948, figure 1b and equation 1)."""

    def __init__(
        self, channels: int, w_dim: int, resolution: int, use_noise: bool, activation: str, norm_eps: float
    ) -> None:
        super().__init__()
        self.use_noise, self.norm_eps = use_noise, norm_eps
        self.activation = resolve_activation(activation)[0]
        self.bias = nn.Parameter(torch.zeros(channels))
        self.affine = FullyConnectedLayer(w_dim, 2 * channels)
        if use_noise:
            self.noise_strength = nn.Parameter(torch.zeros(channels))
            self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """`x` [N, C, H, W], `w` [N, w_dim], `noise` broadcastable to [N, 1, H, W] or None -> [N, C, H, W]."""
        if noise is not None:
            x = x + noise * self.noise_strength[:, None, None]
        x = self.activation(x + self.bias[:, None, None])
        x = x - x.mean(dim=(2, 3), keepdim=True)
        x = x * (x.square().mean(dim=(2, 3), keepdim=True) + self.norm_eps).rsqrt()
        scale, shift = self.affine(w).unflatten(1, (2, -1))[..., None, None].unbind(dim=1)
        return x * (scale + 1) + shift


class SynthesisBlock(nn.Module):
    """The two styled layers of one resolution; the first block starts from the learned constant."""

    blur: Tensor | None

    def __init__(
        self,
        in_channels: int,
        channels: int,
        w_dim: int,
        resolution: int,
        use_noise: bool,
        blur_filter: Sequence[float] | None,
        activation: str,
        norm_eps: float,
        bias_before_blur: bool,
    ) -> None:
        super().__init__()
        self.is_first = in_channels == 0
        if self.is_first:
            self.const = nn.Parameter(torch.ones(channels, resolution, resolution))
        else:
            self.conv0 = EqualConv(in_channels, channels, 3, HE_GAIN, bias_before_blur)
        self.register_buffer("blur", None if blur_filter is None else fir_kernel(blur_filter), persistent=False)
        self.style0 = StyledLayer(channels, w_dim, resolution, use_noise, activation, norm_eps)
        self.conv1 = EqualConv(channels, channels, 3, HE_GAIN)
        self.style1 = StyledLayer(channels, w_dim, resolution, use_noise, activation, norm_eps)

    def forward(self, x: Tensor | None, ws: Tensor, noises: Sequence[Tensor | None]) -> Tensor:
        """`x` [N, I, H/2, W/2], None at first, `ws` [N, 2, w_dim], two noise maps or None -> [N, C, H, W]."""
        if x is None:
            x = self.const.float().expand(ws.shape[0], -1, -1, -1)
        else:
            x = self.conv0(F.interpolate(x, scale_factor=2, mode="nearest"))
            if self.blur is not None:
                x = F.conv2d(x, depthwise(self.blur, x), padding=self.blur.shape[-1] // 2, groups=x.shape[1])
        x = self.style0(x, ws[:, 0], noises[0])
        return self.style1(self.conv1(x), ws[:, 1], noises[1])


class SynthesisNetwork(nn.Module):
    """ws -> image: blocks of doubling resolution from 4x4, and a 1x1 convolution to image channels.

    `settings` are keywords of `SynthesisBlock`.
    """

    def __init__(
        self,
        w_dim: int,
        img_channels: int,
        channels: Sequence[int],
        **settings: Any,
    ) -> None:
        super().__init__()
        self.w_dim, self.num_ws = w_dim, 2 * len(channels)
        self.block_resolutions = [4 << i for i in range(len(channels))]
        for resolution, before, width in zip(self.block_resolutions, [0, *channels], channels, strict=False):
            self.add_module(f"b{resolution}", SynthesisBlock(before, width, w_dim, resolution, **settings))
        self.torgb = EqualConv(channels[-1], img_channels, 1, gain=1)
        self.torgb_bias = nn.Parameter(torch.zeros(img_channels))

    def blocks(self) -> list[SynthesisBlock]:
        """Blocks from the smallest resolution to the largest."""
        return [getattr(self, f"b{resolution}") for resolution in self.block_resolutions]

    def forward(
        self,
        ws: Tensor,
        noise_mode: str = "const",
        generator: torch.Generator | list[torch.Generator] | None = None,
        force_fp32: bool = False,
        exact: bool = True,
    ) -> Tensor:
        """Images [N, C, H, W], float32 and not clamped, of `ws` [N, num_ws, w_dim], two for each resolution.

        Arguments and errors are as for StyleGAN2's; `force_fp32` is without effect, as all is float32.
        """
        check_noise_mode(noise_mode)
        if ws.shape[1:] != (self.num_ws, self.w_dim):
            raise ValueError(f"ws: expected shape [N, {self.num_ws}, {self.w_dim}], got {list(ws.shape)}")
        with own_precision(ws.device, exact):
            return self.compute(ws, noise_mode, generator)

    def compute(self, ws: Tensor, noise_mode: str, generator: torch.Generator | list[torch.Generator] | None) -> Tensor:
        """As `forward`, whose arguments are checked and whose precision is set."""
        x: Tensor | None = None
        for i, block in enumerate(self.blocks()):
            noises = [layer.draw_noise(len(ws), noise_mode, generator) for layer in (block.style0, block.style1)]
            x = block(x, ws[:, 2 * i : 2 * i + 2], noises)
        assert x is not None  # there is at least one block
        return (self.torgb(x) + self.torgb_bias[:, None, None]).float()


class StyleGAN1Generator(MappedGenerator):
    """StyleGAN generator; arguments that aren't named here are as for `StyleGAN2Generator`.

    Args:
        block_channels: channels at 4, 8, ... pixels; their number says the size of the image.
        use_noise: whether layers take noise inputs.
        blur_filter: taps of the low-pass filter after up-sampling, None for none.
        activation: of the synthesis network, a name of `layers.ACTIVATIONS`; its gain is in the convolutions.
        mapping_normalization: `joint` for z and the label embedding after concatenation, `none`.
        truncation_cutoff: layers that truncation changes, where `truncate` isn't given it; None for all.
        norm_eps: what is added to the variance of features that are normalised.
        bias_before_blur: whether up-sampling convolutions have a bias, beside that of the layer after them.

    Raises:
        ValueError: for a value out of range, naming the argument.
    """

    synthesis: SynthesisNetwork

    def __init__(
        self,
        z_dim: int = 512,
        c_dim: int = 0,
        w_dim: int = 512,
        img_channels: int = 3,
        num_mapping_layers: int = 8,
        mapping_embed_features: int | None = None,
        mapping_layer_features: int | None = None,
        mapping_activation: str = "lrelu",
        mapping_lr_multiplier: float = 0.01,
        block_channels: Sequence[int] = (512, 512, 512, 512, 256, 128, 64, 32, 16),
        use_noise: bool = True,
        blur_filter: Sequence[float] | None = (1, 2, 1),
        activation: str = "lrelu",
        mapping_normalization: str = "joint",
        truncation_cutoff: int | None = TRUNCATED_LAYERS,
        norm_eps: float = 1e-8,
        bias_before_blur: bool = False,
    ) -> None:
        super().__init__()
        check_channels(img_channels)
        check_at_least_one(
            z_dim=z_dim,
            w_dim=w_dim,
            num_mapping_layers=num_mapping_layers,
            block_channels=min(block_channels, default=0),
        )
        self.synthesis = SynthesisNetwork(
            w_dim,
            img_channels,
            block_channels,
            use_noise=use_noise,
            blur_filter=blur_filter,
            activation=activation,
            norm_eps=norm_eps,
            bias_before_blur=bias_before_blur,
        )
        self.mapping = MappingNetwork(
            z_dim,
            c_dim,
            w_dim,
            num_mapping_layers,
            mapping_embed_features,
            mapping_layer_features,
            mapping_activation,
            mapping_lr_multiplier,
            mapping_normalization,
        )
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = z_dim, c_dim, w_dim, self.synthesis.num_ws
        self.image_size, self.image_channels = 4 << (len(block_channels) - 1), img_channels
        self.truncation_cutoff = truncation_cutoff

    def truncate(self, w: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
        """Move the first `cutoff` layers of `w` [N, L, w_dim] towards the mean latent; its own number where None.

        One w for all layers becomes one for each where not all are moved.
        """
        cutoff = self.truncation_cutoff if cutoff is None else cutoff
        if psi != 1 and cutoff is not None and cutoff < self.num_ws and w.shape[1] == 1:
            w = w.expand(-1, self.num_ws, -1)
        return super().truncate(w, psi, cutoff)
