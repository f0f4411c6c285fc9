"""Semantic segmentation as a check from outside: what a network of torchvision finds of Pascal VOC's classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from text2latent.apps.evaluation.classification import read_labels
from text2latent.common.errors import InputError, UsageError, one_line
from text2latent.inference.images import from_pil, to_pil

NETWORKS = ("deeplabv3_resnet50", "deeplabv3_resnet101", "fcn_resnet50", "fcn_resnet101", "lraspp_mobilenet_v3_large")
SIDE = 520
"""Pixels of the shorter side that torchvision's weights are evaluated at."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OVERLAY = 0.6
BACKGROUND = 0
AUXILIARY = "aux_classifier."


@dataclass(frozen=True)
class Found:
    """A class in an image, and the share of its pixels."""

    label: str
    share: float


class Segmenter:
    """A segmentation network with its weights.

    Args:
        network: a module whose output has `out` `[N, C, H, W]`, C the number of VOC's names.
        side: pixels of the shorter side that images are resized to for it.
    """

    def __init__(self, network: nn.Module, device: torch.device | str = "cpu", side: int = SIDE) -> None:
        self.network = network.eval().requires_grad_(False).to(device)
        self.device, self.side = torch.device(device), side
        self.labels = read_labels("voc")

    @classmethod
    def from_file(
        cls, name: str, weights: str | Path | None, device: torch.device | str = "cpu", side: int = SIDE
    ) -> Segmenter:
        """Network of torchvision with the weights of a file.

        Args:
            name: one of `NETWORKS`.
            weights: a state dictionary as torchvision publishes them (`.pth`), or the same as safetensors.
            side: see the class.

        Raises:
            UsageError: for an unknown name, or without weights.
            InputError: when the file is missing, damaged, or another network's.
        """
        from torchvision.models import get_model

        if name not in NETWORKS:
            raise UsageError(f"--segmentation: expected one of {', '.join(NETWORKS)}, got {name[:60]!r}")
        if weights is None:
            raise UsageError(
                f"--weights: expected the file of {name}'s weights with --segmentation; torchvision's are at "
                f"{weights_address(name)}"
            )
        state = read_state(Path(weights))
        has_auxiliary = any(key.startswith(AUXILIARY) for key in state)
        options: dict[str, Any] = {"aux_loss": has_auxiliary} if name != NETWORKS[-1] else {}
        network = get_model(name, weights=None, weights_backbone=None, num_classes=len(read_labels("voc")), **options)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise InputError(f"--weights: {weights}: not the weights of {name}: {one_line(error)}") from error
        return cls(network, device, side)

    @torch.inference_mode()
    def segment(self, image: Tensor) -> Tensor:
        """Class of each pixel `[H, W]`, int64 on the CPU, of an image `[3, H, W]` in [-1, 1].

        The image is resized, the scores are brought back to its size, as torchvision's references do it.
        """
        from torchvision.transforms.v2.functional import normalize, resize

        pixels = normalize(resize((image[None].to(self.device) + 1) / 2, [self.side], antialias=True), MEAN, STD)
        scores = self.network(pixels)["out"]
        full = nn.functional.interpolate(scores, size=image.shape[-2:], mode="bilinear", align_corners=False)
        return full[0].argmax(dim=0).cpu()

    def find(self, classes: Tensor) -> list[Found]:
        """Classes of a segmentation `[H, W]` and their shares of pixels, the largest first, without the background."""
        counts = torch.bincount(classes.flatten(), minlength=len(self.labels))
        shares = counts.double() / classes.numel()
        order = shares.argsort(descending=True).tolist()
        return [Found(self.labels[i], float(shares[i])) for i in order if i != BACKGROUND and counts[i]]


def weights_address(name: str) -> str:
    """Where torchvision publishes a network's weights."""
    from torchvision.models import get_model_weights

    weights: Any = get_model_weights(name)
    return str(weights.DEFAULT.value.url)


def read_state(path: Path) -> dict[str, Tensor]:
    """State dictionary of a file; none of its code is run.

    Raises:
        InputError: when it is missing, damaged or something else.
    """
    from safetensors.torch import load_file

    if not path.is_file():
        raise InputError(f"--weights: {path}: no such file; expected a state dictionary (.pth or .safetensors)")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Damaged files raise many kinds; with weights_only none of their code has run.
        raise InputError(f"--weights: {path}: expected a state dictionary: {one_line(error, 160)}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"--weights: {path}: expected a state dictionary, got {type(state).__name__}")
    return state


def colors(count: int) -> np.ndarray:
    """Colour `[count, 3]` uint8 of each class, those of Pascal VOC's development kit: the class's bits, spread."""
    numbers = np.arange(count)
    palette = np.zeros((count, 3), dtype=np.int64)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= ((numbers >> (3 * bit + channel)) & 1) << (7 - bit)
    return palette.astype(np.uint8)


def overlay(picture: Image.Image, classes: Tensor) -> Image.Image:
    """A picture with each found class in its colour; the background stays as it is."""
    painted = torch.from_numpy(colors(int(classes.max()) + 1))[classes].permute(2, 0, 1).float() / 127.5 - 1
    image = from_pil(picture)
    mixed = torch.where(classes == BACKGROUND, image, image.lerp(painted, OVERLAY))
    return to_pil(mixed[None])[0]
