"""The residual discriminator of StyleGAN2 (arXiv:1912.04958), conditional by projection (arXiv:1802.05637)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, leaky_relu

from text2latent.models.generators.layers import LRELU_SLOPE, FullyConnectedLayer, depthwise, fir_kernel

TAPS = (1, 3, 3, 1)
GROUP = 4


def blur2d(x: Tensor, fir: Tensor, padding: int, stride: int = 1) -> Tensor:
    """Low-pass filter `x` [N, C, H, W] with a kernel [k, k] of sum one; `padding` zeros are put around it."""
    return conv2d(x, depthwise(fir, x), padding=padding, stride=stride, groups=x.shape[1])


def minibatch_stddev(x: Tensor, group: int = GROUP) -> Tensor:
    """Append a channel to `x` [N, C, H, W] that measures how much samples vary (arXiv:1710.10196, section 3).

    The batch is cut into groups of `group` successive samples, or of the largest smaller number that divides it. The
    channel holds, for all of a group, the standard deviation over its samples, averaged over channels and pixels.
    """
    n = len(x)
    size = next(size for size in range(min(group, n), 0, -1) if n % size == 0)
    variance = x.float().unflatten(0, (n // size, size)).var(dim=1, correction=0)
    deviation = (variance + 1e-8).sqrt().mean(dim=(1, 2, 3)).repeat_interleave(size)
    return torch.cat([x, deviation.to(x.dtype)[:, None, None, None].expand(-1, 1, *x.shape[2:])], dim=1)


class EqualizedConv2d(nn.Module):
    """Convolution with equalised learning rate (arXiv:1710.10196, section 4.1), or with a leaky ReLU after it.

    Args:
        in_channels: I.
        out_channels: O.
        kernel_size: k, odd; the size of the features stays.
        is_linear: whether there is neither bias nor activation, as in a skip connection.
        down: whether the features are low-pass filtered and halved in size.
    """

    fir: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, is_linear: bool = False, down: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = None if is_linear else nn.Parameter(torch.zeros(out_channels))
        self.weight_gain = 1 / math.sqrt(in_channels * kernel_size**2)
        self.down = down
        self.register_buffer("fir", fir_kernel(TAPS), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, I, H, W] -> [N, O, H, W], or [N, O, H/2, W/2] where it halves."""
        size = self.weight.shape[-1]
        padding, stride = size // 2, 1
        if self.down:
            # A 1x1 kernel commutes with leaving out every other pixel, which is then spared in the filter already.
            is_point = size == 1
            x = blur2d(x, self.fir, padding=1 if is_point else 2, stride=2 if is_point else 1)
            padding, stride = 0, 1 if is_point else 2
        x = conv2d(x, self.weight * self.weight_gain, self.bias, stride=stride, padding=padding)
        return x if self.bias is None else leaky_relu(x, LRELU_SLOPE) * math.sqrt(2)


class DiscriminatorBlock(nn.Module):
    """Two convolutions, the second of which halves the size, beside a skip connection (arXiv:1912.04958, fig. 7c)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv0 = EqualizedConv2d(in_channels, in_channels, 3)
        self.conv1 = EqualizedConv2d(in_channels, out_channels, 3, down=True)
        self.skip = EqualizedConv2d(in_channels, out_channels, 1, is_linear=True, down=True)

    def forward(self, x: Tensor) -> Tensor:
        """[N, I, H, W] -> [N, O, H/2, W/2]."""
        return (self.conv1(self.conv0(x)) + self.skip(x)) * math.sqrt(0.5)


class Discriminator(nn.Module):
    """Distinguishes real images from drawn ones, given the latent that each is to show.

    Args:
        w_dim: dimensions of the latent.
        img_resolution: pixels per side, a power of two, at least 8.
        img_channels: channels of the image.
        channel_base: channels at resolution r are `min(channel_base // r, channel_max)`.
        channel_max: most channels of a layer.
    """

    def __init__(
        self, w_dim: int, img_resolution: int, img_channels: int = 3, channel_base: int = 4096, channel_max: int = 192
    ) -> None:
        super().__init__()
        sizes = [2**i for i in range(img_resolution.bit_length() - 1, 1, -1)]
        channels = [min(channel_base // size, channel_max) for size in sizes]
        self.from_rgb = EqualizedConv2d(img_channels, channels[0], 1)
        self.blocks = nn.Sequential(*(DiscriminatorBlock(before, after) for before, after in pairwise(channels)))
        width = channels[-1]
        self.conv = EqualizedConv2d(width + 1, width, 3)
        self.features = FullyConnectedLayer(width * 4 * 4, width, "lrelu")
        self.score = FullyConnectedLayer(width, 1)
        self.embed = FullyConnectedLayer(w_dim, width)
        self.projection_gain = 1 / math.sqrt(width)

    def forward(self, images: Tensor, w: Tensor) -> Tensor:
        """Logits [N], float32, of `images` [N, C, H, W] in [-1, 1] being real ones of the latents `w` [N, w_dim].

        The inner product of image features and embedded latent is added to the score of the image alone
        (arXiv:1802.05637, eq. 3). Convolutions follow autocast, the two layers after them compute in float32.
        """
        x = self.conv(minibatch_stddev(self.blocks(self.from_rgb(images))))
        with torch.autocast(x.device.type, enabled=False):
            x = self.features(x.float().flatten(1))
            projection = (x * self.embed(w.float())).sum(dim=1) * self.projection_gain
            return self.score(x)[:, 0] + projection
