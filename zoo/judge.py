"""The judge: a small convolutional attribute classifier, fitted on renders only.

Tests and evaluation ask it what a picture shows; the pipeline never sees it.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from text2latent.zoo.world import World

FILE = Path("judge", "model.safetensors")
"""Its weights in the folder of a world's weights."""


class Judge(nn.Module):
    """Classifies every attribute of a world's pictures: images `[N, 3, 128, 128]` in [-1, 1] to logits `[N, size]`."""

    def __init__(self, world: World):
        super().__init__()
        widths = tuple(world.fit["judge"]["widths"])
        pairs = enumerate(pairwise((3, *widths)))
        self.trunk = nn.Sequential(*(_stage(inputs, outputs, residual=i > 1) for i, (inputs, outputs) in pairs))
        self.heads = nn.ModuleList(nn.Linear(widths[-1] * 4 * 4, size) for size in world.sizes)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the logits of each attribute, in the order of `world.names`."""
        features = self.trunk(images).flatten(1).float()
        return [head(features) for head in self.heads]

    @torch.inference_mode()
    def probabilities(self, images: Tensor, batch_size: int = 64) -> list[Tensor]:
        """Return the probability of each value, a list of `[N, size]` in the order of `world.names`."""
        batches = [[logits.softmax(1) for logits in self(batch)] for batch in images.split(batch_size)]
        return [torch.cat(column) for column in zip(*batches, strict=True)]

    def classify(self, images: Tensor) -> np.ndarray:
        """Return the value index of each attribute, int64 `[N, len(world.names)]`."""
        return torch.stack([p.argmax(1) for p in self.probabilities(images)], dim=1).cpu().numpy()


def load_judge(world: World, path: Path | None = None) -> Judge:
    """Load the fitted judge of a world in eval mode, float32; by default the shipped one."""
    judge = Judge(world)
    stored = load_file(path or world.weights / FILE)
    judge.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in stored.items()})
    return judge.eval()


def balanced_accuracy(world: World, predicted: np.ndarray, actual: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Return each attribute's recall averaged over its values.

    Args:
        world: whose attributes they are.
        predicted: value indices `[N, len(world.names)]`.
        actual: value indices `[N, len(world.names)]`.
        mask: bool `[N, len(world.names)]`, which entries count.
    """
    scores = {}
    for column, name in enumerate(world.names):
        counted = mask[:, column]
        truth, guess = actual[counted, column], predicted[counted, column]
        scores[name] = float(np.mean([np.mean(guess[truth == value] == value) for value in np.unique(truth)]))
    return scores


def _stage(inputs: int, outputs: int, residual: bool) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
    layers: list[nn.Module] = [conv, nn.BatchNorm2d(outputs), nn.ReLU()]
    if residual:
        layers.append(_Residual(outputs))
    return nn.Sequential(*layers)


class _Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.norm(self.conv(x)))
