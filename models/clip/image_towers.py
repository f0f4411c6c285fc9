"""CLIP's two image towers in plain torch, with the names of weights that open_clip gives them.

Both are those of Radford et al., "Learning transferable visual models from natural language supervision"
(arXiv:2103.00020), section 2.4: a vision transformer (Dosovitskiy et al., arXiv:2010.11929) that normalises before its
blocks too, and a ResNet-D (He et al., arXiv:1812.01187) that blurs where it strides (Zhang, arXiv:1904.11486) and pools
by attention.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from text2latent.models.clip.text_tower import LayerNorm, Transformer

EXPANSION = 4
"""Channels that come out of a residual block of the ResNet, over those inside it."""
STRIDE = 32
"""Pixels to a place of the ResNet's last stage."""


@dataclass(frozen=True)
class TransformerConfig:
    """What `vision_cfg` of an open_clip config says of a vision transformer, with open_clip's defaults.

    Attributes:
        image_size: height and width of an image, in pixels.
        patch_size: those of a patch.
        width: W, channels.
        head_width: channels of an attention head.
        layers: blocks.
        mlp_ratio: channels inside an MLP, over W.
    """

    image_size: int = 224
    patch_size: int = 16
    width: int = 768
    head_width: int = 64
    layers: int = 12
    mlp_ratio: float = 4.0


@dataclass(frozen=True)
class ResNetConfig:
    """What `vision_cfg` says of a ResNet, likewise.

    Attributes:
        layers: residual blocks of each of the four stages.
        image_size: height and width of an image, in pixels.
        width: channels of the stem; the last stage gives 32 times as many.
        head_width: channels of an attention head, of 32 times `width`.
    """

    layers: list[int]
    image_size: int = 224
    width: int = 768
    head_width: int = 64


class VisionTransformer(nn.Module):
    """Images `[N, 3, image_size, image_size]` -> features `[N, D]`.

    Args:
        config: the tower.
        embedding_dim: D, channels of the features.
        quick_gelu: nonlinearity of the blocks, see `text2latent.models.clip.text_tower.Block`.
    """

    def __init__(self, config: TransformerConfig, embedding_dim: int, quick_gelu: bool) -> None:
        super().__init__()
        size, width = config.patch_size, config.width
        self.image_size = (config.image_size, config.image_size)
        self.conv1 = nn.Conv2d(3, width, size, stride=size, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros((config.image_size // size) ** 2 + 1, width))
        self.ln_pre = LayerNorm(width)
        self.transformer = Transformer(width, width // config.head_width, config.layers, config.mlp_ratio, quick_gelu)
        self.ln_post = LayerNorm(width)
        self.proj = nn.Parameter(torch.zeros(width, embedding_dim))

    def forward(self, images: Tensor) -> Tensor:
        """Features of preprocessed images, not normalised."""
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        start = self.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)
        x = torch.cat([start, patches], dim=1) + self.positional_embedding.to(patches.dtype)
        return self.ln_post(self.transformer(self.ln_pre(x)))[:, 0] @ self.proj


class ModifiedResNet(nn.Module):
    """Images `[N, 3, image_size, image_size]` -> features `[N, D]`.

    Args:
        config: the tower.
        embedding_dim: D, channels of the features.
    """

    def __init__(self, config: ResNetConfig, embedding_dim: int) -> None:
        super().__init__()
        width, half = config.width, config.width // 2
        blocks1, blocks2, blocks3, blocks4 = config.layers
        self.image_size = config.image_size
        self.conv1, self.bn1 = nn.Conv2d(3, half, 3, 2, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = nn.Conv2d(half, half, 3, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = nn.Conv2d(half, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, blocks1, 1)
        self.layer2 = _stage(4 * width, 2 * width, blocks2, 2)
        self.layer3 = _stage(8 * width, 4 * width, blocks3, 2)
        self.layer4 = _stage(16 * width, 8 * width, blocks4, 2)
        heads = width * STRIDE // config.head_width
        self.attnpool = AttentionPool(config.image_size // STRIDE, width * STRIDE, heads, embedding_dim)

    def stem(self, images: Tensor) -> Tensor:
        """Images to `width` channels at a quarter of their height and width."""
        x = self.bn1(self.conv1(images)).relu_()
        x = self.bn2(self.conv2(x)).relu_()
        x = self.bn3(self.conv3(x)).relu_()
        return functional.avg_pool2d(x, 2)

    def forward(self, images: Tensor) -> Tensor:
        """Features of preprocessed images, not normalised."""
        x = self.layer2(self.layer1(self.stem(images)))
        return self.attnpool(self.layer4(self.layer3(x)))


class Bottleneck(nn.Module):
    """A residual block: `into` channels to four times `inside`, with `stride` pixels of its input to one."""

    def __init__(self, into: int, inside: int, stride: int) -> None:
        super().__init__()
        out = inside * EXPANSION
        self.stride = stride
        self.conv1, self.bn1 = nn.Conv2d(into, inside, 1, bias=False), nn.BatchNorm2d(inside)
        self.conv2, self.bn2 = nn.Conv2d(inside, inside, 3, padding=1, bias=False), nn.BatchNorm2d(inside)
        self.conv3, self.bn3 = nn.Conv2d(inside, out, 1, bias=False), nn.BatchNorm2d(out)
        self.downsample: nn.Module | None = None
        if stride > 1 or into != out:
            layers = {"-1": nn.AvgPool2d(stride), "0": nn.Conv2d(into, out, 1, bias=False), "1": nn.BatchNorm2d(out)}
            self.downsample = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        """`[N, into, h, w]` -> `[N, 4 inside, h / stride, w / stride]`."""
        y = self.bn1(self.conv1(x)).relu_()
        y = self.bn2(self.conv2(y)).relu_()
        y = functional.avg_pool2d(y, self.stride) if self.stride > 1 else y
        y = self.bn3(self.conv3(y))
        return (y + (x if self.downsample is None else self.downsample(x))).relu_()


def _stage(into: int, inside: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [Bottleneck(inside * EXPANSION, inside, 1) for _ in range(1, blocks)]
    return nn.Sequential(Bottleneck(into, inside, stride), *rest)


class AttentionPool(nn.Module):
    """What the mean of all places sees of them and of itself, by attention.

    Args:
        size: places in height and width.
        width: W, channels.
        heads: of attention.
        embedding_dim: D, channels of the result.
    """

    def __init__(self, size: int, width: int, heads: int, embedding_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.zeros(size**2 + 1, width))
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.c_proj = nn.Linear(width, embedding_dim)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, W, size, size]` -> `[N, D]`."""
        places = x.flatten(2).transpose(1, 2)
        places = torch.cat([places.mean(dim=1, keepdim=True), places], dim=1)
        places = places + self.positional_embedding.to(x.dtype)
        query, key, value = (
            projection(part).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projection, part in ((self.q_proj, places[:, :1]), (self.k_proj, places), (self.v_proj, places))
        )
        seen = functional.scaled_dot_product_attention(query, key, value)
        return self.c_proj(seen.transpose(1, 2).flatten(1))
