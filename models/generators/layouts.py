"""Layouts of latents: what a prior's `[L, D]` means to a generator.

    ======  =================  ============================================================
    layout  shape              meaning
    ======  =================  ============================================================
    w       `[1, w_dim]`       one w for all layers
    w_k     `[3, w_dim]`       a w for each of three groups of layers: coarse, middle, fine
    w_plus  `[num_ws, w_dim]`  a w for each layer
    z       `[1, z_dim]`       the mapping network's input
    ======  =================  ============================================================

A dataset of w trains priors of the first three, whose groups or layers are then all alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

from text2latent.common.errors import InputError
from text2latent.models.generators.base import Generator

LAYOUTS = ("w", "w_k", "w_plus", "z")
NUM_GROUPS = 3
COARSE_LAYERS = 4
STATISTICS_SAMPLES = 1000


def group_sizes(num_ws: int) -> tuple[int, int, int]:
    """Layers of the coarse, the middle and the fine group.

    The first two have the layers of two resolutions each, 4 (StyleGAN, arXiv:1812.04948, sec. 3.1), as far as that
    leaves one for each group after them: 4, 4 and 10 for the 18 layers of a generator of 1024 pixels.

    Raises:
        InputError: for fewer than three layers.
    """
    if num_ws < NUM_GROUPS:
        raise InputError(f"latent layout w_k: expected a generator of at least {NUM_GROUPS} layers, this has {num_ws}")
    coarse = min(COARSE_LAYERS, num_ws - 2)
    middle = min(COARSE_LAYERS, num_ws - coarse - 1)
    return coarse, middle, num_ws - coarse - middle


def layout_shape(layout: str, generator: Generator) -> tuple[int, int]:
    """Shape `(L, D)` of a generator's latents in a layout of `LAYOUTS`."""
    if layout == "z":
        return 1, generator.z_dim
    tokens = {"w": 1, "w_k": NUM_GROUPS, "w_plus": generator.num_ws}[layout]
    return tokens, generator.w_dim


@torch.no_grad()
def to_w(latents: Tensor, layout: str, generator: Generator) -> Tensor:
    """Latents `[N, L, D]` of a layout as what the generator synthesises: `[N, 1, w_dim]` or `[N, num_ws, w_dim]`."""
    if layout == "z":
        return generator.map(latents[:, 0])
    return _spread_groups(latents, generator) if layout == "w_k" else latents


@torch.no_grad()
def w_statistics(mean: Tensor, std: Tensor, layout: str, generator: Generator) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of w, `[1 or num_ws, w_dim]`, from those of a layout's latents, `[L, D]`.

    For z they are those of w of random z, since the mapping network isn't linear.
    """
    if layout == "z":
        w = generator.map(generator.sample_latents(STATISTICS_SAMPLES, 0).to(mean.device))
        return w.mean(dim=0), w.std(dim=0)
    if layout == "w_k":
        return _spread_groups(mean[None], generator)[0], _spread_groups(std[None], generator)[0]
    return mean, std


def _spread_groups(latents: Tensor, generator: Generator) -> Tensor:
    groups = zip(latents.unbind(dim=1), group_sizes(generator.num_ws), strict=True)
    return torch.cat([latent[:, None].expand(-1, layers, -1) for latent, layers in groups], dim=1)
