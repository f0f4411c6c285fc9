"""The StyleGAN2 of the `stylegan2_pytorch` package: bilinear up-sampling, noise with a bias, a w for each resolution.

It follows arXiv:1912.04958 in its modulated convolutions and sums of images, and differs in what is around them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from text2latent.models.colours import check_channels
from text2latent.models.generators.base import check_at_least_one
from text2latent.models.generators.layers import (
    LRELU_SLOPE,
    FullyConnectedLayer,
    check_noise_mode,
    demodulation,
    depthwise,
    fir_kernel,
    modulate,
    own_precision,
    pointwise,
)
from text2latent.models.generators.mapping import MappedGenerator, MappingNetwork


def upsample_bilinear(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, C, 2H, 2W]."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class NoisyLayer(nn.Module):
    """Modulated convolution, noise of a strength and bias per channel, leaky relu."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int) -> None:
        super().__init__()
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.noise_strength = nn.Parameter(torch.zeros(out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        """`x` [N, I, H, W], `w` [N, w_dim], `noise` broadcastable to [N, 1, H, W] -> [N, O, H, W]."""
        styles = self.affine(w)
        y, kernel, scale = modulate(x, self.weight, styles, demodulation(self.weight, styles))
        y = F.conv2d(y, kernel, padding=1)
        y = y if scale is None else y * scale[..., None, None]
        return F.leaky_relu(y + noise * self.noise_strength[:, None, None] + self.bias[:, None, None], LRELU_SLOPE)


class SynthesisBlock(nn.Module):
    """Two convolutions of one resolution, and what they add to the image."""

    blur: Tensor

    def __init__(self, in_channels: int, channels: int, w_dim: int, img_channels: int) -> None:
        super().__init__()
        self.conv0 = NoisyLayer(in_channels, channels, w_dim)
        self.conv1 = NoisyLayer(channels, channels, w_dim)
        self.torgb_affine = FullyConnectedLayer(w_dim, channels, bias_init=1)
        self.torgb_weight = nn.Parameter(torch.randn(img_channels, channels, 1, 1))
        self.register_buffer("blur", fir_kernel([1, 2, 1]), persistent=False)

    def forward(self, x: Tensor, image: Tensor | None, w: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Features [N, I, H, W], the image so far [N, C, H, W], `w` [N, w_dim] -> features and image of this size."""
        x = self.conv1(self.conv0(x, w, noise), w, noise)
        styles, none = self.torgb_affine(w), self.torgb_weight.new_zeros(len(self.torgb_weight))
        seen = pointwise(x, self.torgb_weight, styles, none)
        return x, seen if image is None else seen + image

    def enlarge(self, image: Tensor) -> Tensor:
        """An image of twice the size, low-pass filtered; beyond the border it is reflected."""
        padded = F.pad(upsample_bilinear(image), (1, 1, 1, 1), mode="reflect")
        return F.conv2d(padded, depthwise(self.blur, padded), groups=padded.shape[1])


class SynthesisNetwork(nn.Module):
    """ws -> image, one w for each resolution from 4x4 on."""

    noise_const: Tensor

    def __init__(self, w_dim: int, img_channels: int, channels: Sequence[int], learns_first: bool) -> None:
        super().__init__()
        self.w_dim, self.num_ws = w_dim, len(channels)
        if learns_first:
            self.const = nn.Parameter(torch.randn(channels[0], 4, 4))
        else:
            self.first = nn.ConvTranspose2d(w_dim, channels[0], 4, bias=False)
        self.first_conv = nn.Conv2d(channels[0], channels[0], 3, padding=1)
        for i, (before, width) in enumerate(zip([channels[0], *channels], channels, strict=False)):
            self.add_module(f"b{4 << i}", SynthesisBlock(before, width, w_dim, img_channels))
        size = 4 << (len(channels) - 1)
        self.register_buffer("noise_const", torch.rand(size, size))

    def forward(
        self,
        ws: Tensor,
        noise_mode: str = "const",
        generator: torch.Generator | list[torch.Generator] | None = None,
        exact: bool = True,
    ) -> Tensor:
        """Images [N, C, H, W], float32 and not clamped, of `ws` [N, num_ws, w_dim].

        Args:
            noise_mode: `none` (its mean), `const` (the stored map) or `random`.
            generator: of random noise: one, or a list of N so that a sample does not depend on its batch.
            exact: whether autocast to bfloat16 is kept out, see `layers.own_precision`.

        Raises:
            ValueError: for another noise mode, or latents of another shape.
        """
        check_noise_mode(noise_mode)
        if ws.shape[1:] != (self.num_ws, self.w_dim):
            raise ValueError(f"ws: expected shape [N, {self.num_ws}, {self.w_dim}], got {list(ws.shape)}")
        noise = self._noise(len(ws), noise_mode, generator)
        with own_precision(ws.device, exact):
            return self.compute(ws, noise)

    def compute(self, ws: Tensor, noise: Tensor) -> Tensor:
        """As `forward`, whose arguments are checked and whose precision is set; `noise` is the largest map."""
        x = self.first_conv(self._first(ws))
        image: Tensor | None = None
        for i in range(self.num_ws):
            block = self.get_submodule(f"b{4 << i}")
            if image is not None:
                x, image = upsample_bilinear(x), block.enlarge(image)  # type: ignore[operator]
            # Height and width are exchanged, as the package has it.
            part = noise[..., : x.shape[2], : x.shape[3]].transpose(-1, -2)
            x, image = block(x, image, ws[:, i], part)
        assert image is not None  # there is at least one block
        return 2 * image.float() - 1

    def _first(self, ws: Tensor) -> Tensor:
        if hasattr(self, "const"):
            return self.const.expand(len(ws), -1, -1, -1)
        return torch.as_tensor(self.first(ws.mean(dim=1)[:, :, None, None]))

    def _noise(self, n: int, mode: str, generator: torch.Generator | list[torch.Generator] | None) -> Tensor:
        if mode == "const":
            return self.noise_const
        if mode == "none":
            return torch.full_like(self.noise_const, 0.5)
        shape, device = self.noise_const.shape, self.noise_const.device
        if isinstance(generator, list):
            maps = [torch.rand(1, *shape, generator=one, device=one.device) for one in generator]
            return torch.stack([noise.to(device) for noise in maps])
        source = device if generator is None else generator.device
        return torch.rand(n, 1, *shape, generator=generator, device=source).to(device)


class BilinearStyleGAN2Generator(MappedGenerator):
    """Generator of the `stylegan2_pytorch` package (its images in [0, 1] become [-1, 1]).

    Args:
        w_dim: dimensions of z and w.
        img_channels: channels of the image, 3, or 4 with alpha.
        num_mapping_layers: layers of the mapping network.
        mapping_lr_multiplier: learning rate of the mapping network relative to the rest.
        block_channels: channels at 4, 8, ... pixels; their number says the size of the image.
        learns_first: whether the first features are a learned constant, or made of w.

    Raises:
        ValueError: for a value out of range, naming the argument.
    """

    synthesis: SynthesisNetwork

    def __init__(
        self,
        w_dim: int = 512,
        img_channels: int = 3,
        num_mapping_layers: int = 8,
        mapping_lr_multiplier: float = 0.1,
        block_channels: Sequence[int] = (512, 512, 256, 128, 64, 32),
        learns_first: bool = True,
    ) -> None:
        super().__init__()
        check_channels(img_channels)
        check_at_least_one(w_dim=w_dim, num_mapping_layers=num_mapping_layers, block_channels=min(block_channels))
        self.synthesis = SynthesisNetwork(w_dim, img_channels, block_channels, learns_first)
        self.mapping = MappingNetwork(w_dim, 0, w_dim, num_mapping_layers, lr_multiplier=mapping_lr_multiplier)
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = w_dim, 0, w_dim, len(block_channels)
        self.image_size, self.image_channels = 4 << (len(block_channels) - 1), img_channels


def scale_of_mapping(w_dim: int) -> float:
    """What the package's mapping weights [w_dim, w_dim] are multiplied with to be ours.

    It has neither our layers' 1 / sqrt(w_dim) nor, after the leaky relu, their sqrt(2).
    """
    return math.sqrt(w_dim / 2)
