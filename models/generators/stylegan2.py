"""StyleGAN2 and StyleGAN2-ADA generators (arXiv:1912.04958, arXiv:2006.06676).

Modules and parameters are named as in the official state dictionaries, so that weights map one to one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from text2latent.models.colours import check_channels
from text2latent.models.generators.base import check_at_least_one, size_of
from text2latent.models.generators.layers import (
    SynthesisLayer,
    ToRGBLayer,
    UpsampleSkip,
    block_dtype,
    check_noise_mode,
    fir_kernel,
    own_precision,
    to_block,
    upsample2d,
)
from text2latent.models.generators.mapping import MappedGenerator, MappingNetwork

ARCHITECTURES = ("skip", "resnet", "orig")
SMALLEST_HALF_RESOLUTION = 8


class SynthesisBlock(nn.Module):
    """All layers of one resolution (arXiv:1912.04958, fig. 7); the first starts from the learned constant.

    `resolution` names the block, and `size` is its height and width, mostly the same. `layer_settings` are keywords of
    `SynthesisLayer`; `conv_clamp` and `resample_filter` hold for all of the block.
    """

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        size: tuple[int, int],
        img_channels: int,
        is_last: bool,
        architecture: str,
        **layer_settings: Any,
    ) -> None:
        super().__init__()
        self.resolution, self.is_first, self.architecture = resolution, in_channels == 0, architecture
        conv_clamp, resample_filter = layer_settings["conv_clamp"], layer_settings["resample_filter"]
        self.register_buffer("resample_filter", fir_kernel(resample_filter))
        layer = {"w_dim": w_dim, "resolution": size, **layer_settings}
        if self.is_first:
            self.const = nn.Parameter(torch.randn(out_channels, *size))
        else:
            self.conv0 = SynthesisLayer(in_channels, out_channels, up=True, **layer)
        self.conv1 = SynthesisLayer(out_channels, out_channels, **layer)
        self.has_torgb = is_last or architecture == "skip"
        if self.has_torgb:
            self.torgb = ToRGBLayer(out_channels, img_channels, w_dim, conv_clamp)
        self.has_skip = architecture == "resnet" and not self.is_first
        if self.has_skip:
            self.skip = UpsampleSkip(in_channels, out_channels, resample_filter)
        self.num_convs = 1 if self.is_first else 2

    def convolutions(self) -> list[SynthesisLayer]:
        return [self.conv1] if self.is_first else [self.conv0, self.conv1]

    def forward(
        self, x: Tensor | None, image: Tensor | None, ws: Tensor, noises: Sequence[Tensor | None]
    ) -> tuple[Tensor, Tensor | None]:
        """One resolution.

        `x` [N, in, H/2, W/2] and `image` [N, C, H/2, W/2] (None at first), `ws` [N, num_convs + 1, w_dim], one noise
        map or None for each convolution -> features [N, out, H, W] and, once there is one, the image [N, C, H, W].
        """
        if x is None:
            x = self.const.float().expand(ws.shape[0], -1, -1, -1).contiguous(memory_format=torch.channels_last)
            x = self.conv1(x, ws[:, 0], noises[0])
        elif self.has_skip:
            residual = self.skip(x, gain=math.sqrt(0.5))
            x = self.conv0(x, ws[:, 0], noises[0])
            x = residual + self.conv1(x, ws[:, 1], noises[1], gain=math.sqrt(0.5))
        else:
            x = self.conv0(x, ws[:, 0], noises[0])
            x = self.conv1(x, ws[:, 1], noises[1])
        return x, self._to_image(x, image, ws[:, self.num_convs])

    def _to_image(self, x: Tensor, image: Tensor | None, w: Tensor) -> Tensor | None:
        if image is not None:
            image = upsample2d(image, self.resample_filter)
        if not self.has_torgb:
            return image
        rgb = self.torgb(x, w).float()
        return rgb if image is None else image + rgb


class SynthesisNetwork(nn.Module):
    """ws -> image: blocks of doubling resolution from 4x4, or another first size.

    `channels` are those of the blocks, from the first; `layer_settings` are keywords of `SynthesisLayer`.
    """

    def __init__(
        self,
        w_dim: int,
        img_channels: int,
        channels: Sequence[int],
        architecture: str = "skip",
        num_fp16_res: int = 0,
        first_size: tuple[int, int] = (4, 4),
        **layer_settings: Any,
    ) -> None:
        super().__init__()
        self.w_dim = w_dim
        self.block_resolutions = [4 << i for i in range(len(channels))]
        largest = self.block_resolutions[-1]
        self.smallest_half_resolution = max(2 * largest >> num_fp16_res, SMALLEST_HALF_RESOLUTION)
        for resolution, before, width in zip(self.block_resolutions, [0, *channels], channels, strict=False):
            block = SynthesisBlock(
                before,
                width,
                w_dim,
                resolution,
                (first_size[0] * resolution // 4, first_size[1] * resolution // 4),
                img_channels,
                is_last=resolution == largest,
                architecture=architecture,
                **layer_settings,
            )
            self.add_module(f"b{resolution}", block)
        self.num_ws = sum(block.num_convs for block in self.blocks()) + 1

    def blocks(self) -> list[SynthesisBlock]:
        """Blocks from the smallest resolution to the largest."""
        return [getattr(self, f"b{resolution}") for resolution in self.block_resolutions]

    def forward(
        self,
        ws: Tensor,
        noise_mode: str = "const",
        generator: torch.Generator | list[torch.Generator] | None = None,
        force_fp32: bool = False,
        half_dtype: torch.dtype | None = None,
        exact: bool = True,
    ) -> Tensor:
        """Images [N, C, H, W], float32 and not clamped, of `ws` [N, num_ws, w_dim].

        A block takes its convolutions' ws and one more for its ToRGB layer, which it shares with the next block's
        first convolution.

        Args:
            noise_mode: `none`, `const` (the stored maps) or `random`.
            generator: of random noise: one, or a list of N so that a sample does not depend on its batch.
            force_fp32: whether all blocks compute in float32.
            half_dtype: precision of the `num_fp16_res` highest resolutions, `torch.float16` or `torch.bfloat16`; by
                default float16 on CUDA and float32 elsewhere, where it is no faster.
            exact: whether autocast to bfloat16 is kept out, see `layers.own_precision`; if not, convolutions follow it.

        Raises:
            ValueError: for another noise mode, or latents of another shape.
        """
        check_noise_mode(noise_mode)
        if ws.shape[1:] != (self.num_ws, self.w_dim):
            raise ValueError(f"ws: expected shape [N, {self.num_ws}, {self.w_dim}], got {list(ws.shape)}")
        half = torch.float32 if force_fp32 else block_dtype(ws.device, half_dtype)
        with own_precision(ws.device, exact):
            return self.compute(ws, noise_mode, generator, half)

    def compute(
        self,
        ws: Tensor,
        noise_mode: str,
        generator: torch.Generator | list[torch.Generator] | None,
        half: torch.dtype,
    ) -> Tensor:
        """As `forward`, whose arguments are checked and whose precision is set; `half` is that of the last blocks."""
        x: Tensor | None = None
        image: Tensor | None = None
        start = 0
        for block in self.blocks():
            noises = [layer.draw_noise(ws.shape[0], noise_mode, generator) for layer in block.convolutions()]
            dtype = half if block.resolution >= self.smallest_half_resolution else torch.float32
            x = None if x is None else to_block(x, dtype)
            x, image = block(x, image, ws[:, start : start + block.num_convs + 1], noises)
            start += block.num_convs
        assert image is not None  # the last block draws one in every architecture
        return image


def _block_channels(
    img_resolution: int, channel_base: int, channel_max: int, block_channels: Sequence[int] | None
) -> list[int]:
    """Channels of the blocks from 4x4 to `img_resolution`.

    Raises:
        ValueError: for a resolution that doubling 4 doesn't reach, another number of blocks, or a block without
            channels.
    """
    if img_resolution < 4 or img_resolution & (img_resolution - 1):
        raise ValueError(f"img_resolution: expected a power of two of at least 4, got {img_resolution}")
    resolutions = [2**i for i in range(2, img_resolution.bit_length())]
    if block_channels is None:
        check_at_least_one(**{f"channel_base // {img_resolution}": channel_base // img_resolution})
        return [min(channel_base // resolution, channel_max) for resolution in resolutions]
    if len(block_channels) != len(resolutions) or min(block_channels) < 1:
        wanted = f"{len(resolutions)} positive numbers, for 4 to {img_resolution} pixels"
        raise ValueError(f"block_channels: expected {wanted}, got {list(block_channels)}")
    return list(block_channels)


def _check_arguments(c_dim: int, architecture: str, kernel_size: int, num_fp16_res: int) -> None:
    for name, value in (("c_dim", c_dim), ("num_fp16_res", num_fp16_res)):
        if value < 0:
            raise ValueError(f"{name}: expected at least 0, got {value}")
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture: expected one of {', '.join(ARCHITECTURES)}, got {architecture!r}")
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size: expected an odd number, got {kernel_size}")


class StyleGAN2Generator(MappedGenerator):
    """StyleGAN2(-ADA) generator.

    Args:
        z_dim: dimensions of the input latent z.
        c_dim: dimensions of the class label, 0 for an unconditional network.
        w_dim: dimensions of the intermediate latent w.
        img_resolution: pixels per side, a power of two, at least 4.
        img_channels: channels of the image: 1 for grey, 3 for RGB, one more with alpha.
        num_mapping_layers: layers of the mapping network.
        mapping_embed_features: width of the label embedding, `w_dim` if None.
        mapping_layer_features: width of the mapping network's hidden layers, `w_dim` if None.
        mapping_activation: a name of `layers.ACTIVATIONS`.
        mapping_lr_multiplier: learning rate of the mapping network relative to the rest.
        channel_base: channels at resolution r are `min(channel_base // r, channel_max)`.
        channel_max: most channels of a layer.
        architecture: `skip` (sum of images), `resnet` (residual features) or `orig` (neither).
        conv_clamp: bound on the magnitude of every convolution's output, None for no bound.
        resample_filter: taps of the low-pass filter of up-sampling.
        activation: a name of `layers.ACTIVATIONS`, for the synthesis network.
        use_noise: whether convolutions take noise inputs.
        num_fp16_res: number of the highest resolutions, from 8 pixels on, that compute in half precision on CUDA.
        kernel_size: of the convolutions, odd; ToRGB layers are 1x1.
        block_channels: channels at 4, 8, ... `img_resolution` pixels in place of `channel_base` and `channel_max`.
        mapping_normalization: `separate` for z and the label embedding each, `joint` for both after concatenation
            (the TensorFlow networks), `none`.
        first_size: height and width of the first block, [4, 4] if None. The others double them, so that the image's are
            `img_resolution / 4` times as many.

    Raises:
        ValueError: for a value out of range, naming the argument.
    """

    synthesis: SynthesisNetwork

    def __init__(
        self,
        z_dim: int = 512,
        c_dim: int = 0,
        w_dim: int = 512,
        img_resolution: int = 1024,
        img_channels: int = 3,
        num_mapping_layers: int = 8,
        mapping_embed_features: int | None = None,
        mapping_layer_features: int | None = None,
        mapping_activation: str = "lrelu",
        mapping_lr_multiplier: float = 0.01,
        channel_base: int = 32768,
        channel_max: int = 512,
        architecture: str = "skip",
        conv_clamp: float | None = None,
        resample_filter: Sequence[float] = (1, 3, 3, 1),
        activation: str = "lrelu",
        use_noise: bool = True,
        num_fp16_res: int = 0,
        kernel_size: int = 3,
        block_channels: Sequence[int] | None = None,
        mapping_normalization: str = "separate",
        first_size: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_at_least_one(
            z_dim=z_dim,
            w_dim=w_dim,
            num_mapping_layers=num_mapping_layers,
            channel_max=channel_max,
        )
        check_channels(img_channels)
        _check_arguments(c_dim, architecture, kernel_size, num_fp16_res)
        height, width = (4, 4) if first_size is None else first_size
        check_at_least_one(height=height, width=width)
        self.synthesis = SynthesisNetwork(
            w_dim,
            img_channels,
            _block_channels(img_resolution, channel_base, channel_max, block_channels),
            architecture,
            num_fp16_res,
            (height, width),
            conv_clamp=conv_clamp,
            resample_filter=resample_filter,
            activation=activation,
            use_noise=use_noise,
            kernel_size=kernel_size,
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
        self.image_size = size_of(height * img_resolution // 4, width * img_resolution // 4)
        self.image_channels = img_channels
