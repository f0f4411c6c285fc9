"""A perceptual loss: distance of two pictures as CLIP's image tower sees them (as LPIPS, arXiv:1801.03924)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


class PerceptualLoss(nn.Module):
    """Mean squared distance of channel-normalised features of a CLIP ResNet's stem and first stages.

    Args:
        visual: image tower of open_clip, a `ModifiedResNet` that takes images in [-1, 1]; its weights stay fixed.
    """

    def __init__(self, visual: Any):
        super().__init__()
        self.visual = visual.eval().requires_grad_(False)

    def features(self, images: Tensor) -> list[Tensor]:
        """Unit feature vectors `[N, C, h, w]` at a quarter, an eighth and a sixteenth of the resolution."""
        stages, x = [], self.visual.stem(images)
        for layer in (self.visual.layer1, self.visual.layer2, self.visual.layer3):
            x = layer(x)
            stages.append(normalize(x, dim=1))
        return stages

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Mean over the stages of the squared distance; both `[N, 3, H, W]` in [-1, 1]."""
        with torch.no_grad():
            wanted = self.features(targets)
        pairs = zip(self.features(images), wanted, strict=True)
        return torch.stack([(a - b).square().sum(dim=1).float().mean() for a, b in pairs]).mean()
