"""What networks see in images, so that two images can be alike to them: LPIPS' features, or those of CLIP.

The distance of two images is LPIPS' (Zhang et al., arXiv:1801.03924, eq. 1): features of several layers, of unit length
along their channels, weighted by channel, compared place by place.
"""

from __future__ import annotations

import pickle
import re
import warnings
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from text2latent.common.errors import InputError, one_line
from text2latent.common.extras import require_extra
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.colours import to_rgb

STAGE = re.compile(r"(^|\.)(layer\d+|(resblocks|blocks|layers|layer|stages)\.\d+)$")
"""Names of the stages of image towers: open_clip's ResNets and transformers, timm's, the transformers library's."""
STAGES = 4
"""Stages of CLIP's tower whose features count, evenly spaced, the last among them."""
LPIPS_SIZE = 256
"""Pixels of the shorter side from which images are made smaller for LPIPS, as StyleGAN's projector does."""


class ImageFeatures(Protocol):
    """What an image is to a network."""

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Weighted features `[N, P, K]` of each layer, of images `[N, C, H, W]` in [-1, 1]; differentiable."""


def feature_distance(features: list[Tensor], others: list[Tensor]) -> Tensor:
    """Distances `[N]` of images by their features: squared, summed over channels and layers, a mean over places."""
    layers = [(a - b).square().sum(dim=2).mean(dim=1) for a, b in zip(features, others, strict=True)]
    return torch.stack(layers).sum(dim=0)


class ClipFeatures:
    """Features of CLIP's image tower, all channels alike; of a tower whose stages aren't found, its embedding."""

    def __init__(self, clip: ClipEncoder) -> None:
        self.clip = clip
        found = {name: module for name, module in clip.model.named_modules() if STAGE.search(name)}
        self._stages = [
            module for name, module in found.items() if not any(name.startswith(f"{outer}.") for outer in found)
        ]

    def __call__(self, images: Tensor) -> list[Tensor]:
        seen: list[Tensor] = []

        def keep(module: nn.Module, arguments: Any, output: Any) -> None:
            seen.append(output[0] if isinstance(output, tuple) else output)

        # Those of a text tower aren't called.
        hooks = [module.register_forward_hook(keep) for module in self._stages]
        try:
            embeddings = self.clip.encode_image(images, batch_size=len(images))
        finally:
            for hook in hooks:
                hook.remove()
        if not seen:
            return [embeddings[:, None]]
        chosen = [seen[-1 - i * len(seen) // STAGES] for i in range(min(STAGES, len(seen)))]
        return [_unit(features, len(images)) / len(chosen) ** 0.5 for features in chosen]


def _unit(features: Tensor, count: int) -> Tensor:
    """Features `[N, K, H, W]`, `[N, P, K]` or `[P, N, K]` -> `[N, P, K]` of unit length along K."""
    if features.ndim == 4:
        features = features.flatten(2).transpose(1, 2)
    elif len(features) != count:
        features = features.transpose(0, 1)
    return normalize(features.float(), dim=2)


class LpipsFeatures(nn.Module):
    """LPIPS' of VGG-16, by the `lpips` package, whose weights by channel come with it.

    Args:
        file: torchvision's weights of VGG-16 (`vgg16-397923af.pth`), read as data; the `lpips` package would download
            them.

    Raises:
        InputError: without the package, or for a file of other weights.
    """

    def __init__(self, file: str | Path) -> None:
        super().__init__()
        require_extra("--lpips-weights", "project", ["lpips"])
        import lpips

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchvision's, about how lpips calls it
            self.network = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).eval()
        _load_vgg(self.network.net, Path(file))
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """See `ImageFeatures`; large images are made smaller."""
        pixels = to_rgb(images.float())
        if (shorter := min(pixels.shape[2:])) > LPIPS_SIZE:
            size = [round(side * LPIPS_SIZE / shorter) for side in pixels.shape[2:]]
            pixels = interpolate(pixels, size, mode="area")
        layers = self.network.net(self.network.scaling_layer(pixels))
        weights = [head.model[-1].weight.flatten().clamp(min=0).sqrt() for head in self.network.lins]
        return [_unit(layer, len(images)) * weight for layer, weight in zip(layers, weights, strict=True)]


def _load_vgg(network: nn.Module, file: Path) -> None:
    """Set the weights of lpips' network, whose layers are numbered as torchvision's `features`."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        named = {name.split(".", 1)[1]: name for name in network.state_dict()}
        network.load_state_dict({name: state[f"features.{number}"] for number, name in named.items()})
    except FileNotFoundError:
        raise InputError(f"--lpips-weights: {file}: no such file; expected torchvision's vgg16-397923af.pth") from None
    except (OSError, RuntimeError, pickle.UnpicklingError, KeyError, TypeError, EOFError, AttributeError) as error:
        what = f"expected the weights of torchvision's VGG-16: {type(error).__name__} {one_line(error, 100)}"
        raise InputError(f"--lpips-weights: {file}: {what}") from error
