"""StyleGAN2 and StyleGAN2-ADA generators (arXiv:1912.04958, arXiv:2006.06676).

Modules and parameters are named as in the official state dictionaries, so that weights map one to one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from text2latent.models.generators.base import Generator
from text2latent.models.generators.layers import (
    FullyConnectedLayer,
    SynthesisLayer,
    ToRGBLayer,
    UpsampleSkip,
    fir_kernel,
    normalize_second_moment,
    upsample2d,
)

ARCHITECTURES = ("skip", "resnet", "orig")
NOISE_MODES = ("none", "const", "random")


class MappingNetwork(nn.Module):
    """z (and a class label) -> w (arXiv:1812.04948, fig. 1b; labels as in arXiv:2006.06676, appendix C)."""

    w_avg: Tensor

    def __init__(
        self,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_layers: int = 8,
        embed_features: int | None = None,
        layer_features: int | None = None,
        activation: str = "lrelu",
        lr_multiplier: float = 0.01,
    ) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.num_layers = z_dim, c_dim, num_layers
        embed_features = (w_dim if embed_features is None else embed_features) if c_dim else 0
        hidden = w_dim if layer_features is None else layer_features
        widths = [z_dim + embed_features, *[hidden] * (num_layers - 1), w_dim]
        if c_dim:
            self.embed = FullyConnectedLayer(c_dim, embed_features)
        for i, (width_in, width_out) in enumerate(itertools.pairwise(widths)):
            self.add_module(f"fc{i}", FullyConnectedLayer(width_in, width_out, activation, lr_multiplier))
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """`z` [N, z_dim], `c` [N, c_dim] one-hot (None where c_dim is 0) -> w [N, w_dim]."""
        x = normalize_second_moment(z)
        if self.c_dim:
            x = torch.cat([x, normalize_second_moment(self.embed(self._checked_labels(z, c)))], dim=1)
        for i in range(self.num_layers):
            x = self.get_submodule(f"fc{i}")(x)
        return x

    def _checked_labels(self, z: Tensor, c: Tensor | None) -> Tensor:
        expected = (len(z), self.c_dim)
        if c is None or tuple(c.shape) != expected:
            raise ValueError(f"c: expected labels of shape {expected}, got {None if c is None else tuple(c.shape)}")
        return c.to(z.dtype)


class SynthesisBlock(nn.Module):
    """All layers of one resolution (arXiv:1912.04958, fig. 7); the first starts from the learned constant."""

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        img_channels: int,
        is_last: bool,
        architecture: str,
        conv_clamp: float | None,
        resample_filter: Sequence[float],
        activation: str,
        use_noise: bool,
    ) -> None:
        super().__init__()
        self.is_first, self.architecture = in_channels == 0, architecture
        self.register_buffer("resample_filter", fir_kernel(resample_filter))
        layer: dict[str, Any] = {
            "w_dim": w_dim,
            "resolution": resolution,
            "use_noise": use_noise,
            "activation": activation,
            "resample_filter": resample_filter,
            "conv_clamp": conv_clamp,
        }
        if self.is_first:
            self.const = nn.Parameter(torch.randn(out_channels, resolution, resolution))
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
        """The block's convolutions in order."""
        return [self.conv1] if self.is_first else [self.conv0, self.conv1]

    def forward(
        self, x: Tensor | None, image: Tensor | None, ws: Tensor, noises: Sequence[Tensor | None]
    ) -> tuple[Tensor, Tensor | None]:
        """One resolution.

        `x` [N, in, H/2, W/2] and `image` [N, 3, H/2, W/2] (None at first), `ws` [N, num_convs + 1, w_dim], one noise
        map or None for each convolution -> features [N, out, H, W] and, once there is one, the image [N, 3, H, W].
        """
        if x is None:
            x = self.const.expand(len(ws), -1, -1, -1).contiguous(memory_format=torch.channels_last)
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
    """ws -> image: blocks of doubling resolution from 4x4."""

    def __init__(
        self,
        w_dim: int,
        img_resolution: int,
        img_channels: int,
        channel_base: int,
        channel_max: int,
        architecture: str,
        conv_clamp: float | None,
        resample_filter: Sequence[float],
        activation: str,
        use_noise: bool,
    ) -> None:
        super().__init__()
        self.w_dim = w_dim
        self.block_resolutions = [2**i for i in range(2, int(math.log2(img_resolution)) + 1)]
        channels = {res: min(channel_base // res, channel_max) for res in self.block_resolutions}
        for resolution in self.block_resolutions:
            block = SynthesisBlock(
                channels[resolution // 2] if resolution > 4 else 0,
                channels[resolution],
                w_dim,
                resolution,
                img_channels,
                resolution == img_resolution,
                architecture,
                conv_clamp,
                resample_filter,
                activation,
                use_noise,
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
    ) -> Tensor:
        """Images [N, 3, H, W], not clamped, of `ws` [N, num_ws, w_dim].

        `noise_mode`: `none`, `const` (the stored maps) or `random` (drawn from `generator`, or from a list of N
        generators so that a sample does not depend on its batch). A block takes its convolutions' ws and one more for
        its ToRGB layer, which it shares with the next block's first convolution.
        """
        if noise_mode not in NOISE_MODES:
            raise ValueError(f"noise_mode: expected one of {', '.join(NOISE_MODES)}, got {noise_mode!r}")
        if ws.shape[1:] != (self.num_ws, self.w_dim):
            raise ValueError(f"ws: expected shape [N, {self.num_ws}, {self.w_dim}], got {list(ws.shape)}")
        x: Tensor | None = None
        image: Tensor | None = None
        start = 0
        for block in self.blocks():
            noises = [layer.draw_noise(len(ws), noise_mode, generator) for layer in block.convolutions()]
            x, image = block(x, image, ws[:, start : start + block.num_convs + 1], noises)
            start += block.num_convs
        assert image is not None  # the last block draws one in every architecture
        return image


def _check_arguments(sizes: dict[str, int], c_dim: int, img_resolution: int, architecture: str) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
    if c_dim < 0:
        raise ValueError(f"c_dim: expected at least 0, got {c_dim}")
    if img_resolution < 8 or img_resolution & (img_resolution - 1):
        raise ValueError(f"img_resolution: expected a power of two of at least 8, got {img_resolution}")
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture: expected one of {', '.join(ARCHITECTURES)}, got {architecture!r}")


class StyleGAN2Generator(Generator):
    """StyleGAN2(-ADA) generator.

    Args:
        z_dim: dimensions of the input latent z.
        c_dim: dimensions of the class label, 0 for an unconditional network.
        w_dim: dimensions of the intermediate latent w.
        img_resolution: pixels per side, a power of two, at least 8.
        img_channels: channels of the image.
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

    Raises:
        ValueError: for a value out of range, naming the argument.
    """

    synthesis: SynthesisNetwork
    mapping: MappingNetwork

    @register_to_config
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
    ) -> None:
        super().__init__()
        sizes = {
            "z_dim": z_dim,
            "w_dim": w_dim,
            "img_channels": img_channels,
            "num_mapping_layers": num_mapping_layers,
            "channel_max": channel_max,
            f"channel_base // {img_resolution}": channel_base // img_resolution,
        }
        _check_arguments(sizes, c_dim, img_resolution, architecture)
        self.synthesis = SynthesisNetwork(
            w_dim,
            img_resolution,
            img_channels,
            channel_base,
            channel_max,
            architecture,
            conv_clamp,
            resample_filter,
            activation,
            use_noise,
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
        )
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = z_dim, c_dim, w_dim, self.synthesis.num_ws
        self.image_size = img_resolution

    def map(
        self, z: Tensor, c: Tensor | None = None, truncation_psi: float = 1.0, truncation_cutoff: int | None = None
    ) -> Tensor:
        """Latents [N, num_ws, w_dim], one w repeated for all layers, of `z` [N, z_dim] and labels `c` [N, c_dim]."""
        ws = self.mapping(z, c)[:, None].expand(-1, self.num_ws, -1)
        return self.truncate(ws, truncation_psi, truncation_cutoff)

    def truncate(self, w: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
        """Move `w` [N, L, w_dim] towards `mapping.w_avg` (arXiv:1812.04948, section B): w_avg + psi (w - w_avg)."""
        if psi == 1:
            return w
        truncated = self.mapping.w_avg.to(w.dtype).lerp(w, psi)
        return truncated if cutoff is None else torch.cat([truncated[:, :cutoff], w[:, cutoff:]], dim=1)

    @torch.no_grad()
    def update_w_avg(self, num_samples: int = 10_000, seed: int = 0, batch_size: int = 1000) -> None:
        """Set the mean latent `mapping.w_avg` from `num_samples` random z (and, where there are any, random labels)."""
        rng = torch.Generator().manual_seed(seed)
        total, device = torch.zeros(self.w_dim, dtype=torch.float64), self.mapping.w_avg.device
        for start in range(0, num_samples, batch_size):
            n = min(batch_size, num_samples - start)
            z = torch.randn(n, self.z_dim, generator=rng)
            c = torch.eye(self.c_dim)[torch.randint(self.c_dim, (n,), generator=rng)].to(device) if self.c_dim else None
            total += self.mapping(z.to(device), c).double().sum(dim=0).cpu()
        self.mapping.w_avg.copy_(total / num_samples)
