"""Networks with the originals' weights, a small one of ours, and how far apart images are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from text2latent.models.generators.base import Generator
from text2latent.models.generators.stylegan2 import StyleGAN2Generator
from text2latent.models.generators.stylegan3 import StyleGAN3Generator

DATA = Path(__file__).parents[2] / "data"
SMALL: dict[str, Any] = {
    "z_dim": 12,
    "w_dim": 10,
    "img_resolution": 16,
    "num_mapping_layers": 2,
    "channel_base": 128,
    "channel_max": 16,
}


def original(kind: type[Generator], name: str) -> tuple[Generator, dict[str, torch.Tensor]]:
    """A network with the original's weights, and what the original makes of some inputs."""
    file = DATA / kind.__name__.removesuffix("Generator").lower() / name
    with safe_open(f"{file}.weights.safetensors", "pt") as weights:
        generator = kind(**json.loads(weights.metadata()["init_kwargs"]))
    generator.load_state_dict(load_file(f"{file}.weights.safetensors"), strict=True)
    return generator.eval().requires_grad_(False), load_file(f"{file}.io.safetensors")


def small(seed: int = 0, **changes: Any) -> StyleGAN2Generator:
    """A small StyleGAN2 whose biases, noise strengths and mean latent are not zero."""
    torch.manual_seed(seed)
    generator = StyleGAN2Generator(**{**SMALL, **changes}).eval().requires_grad_(False)
    for name, parameter in generator.named_parameters():
        if name.endswith(("bias", "noise_strength")):
            parameter += 0.3 * torch.randn_like(parameter)
    generator.update_w_avg(num_samples=200)
    return generator


def small3(**changes: Any) -> StyleGAN3Generator:
    """As `small`, a StyleGAN3."""
    torch.manual_seed(0)
    sizes = {"z_dim": 12, "w_dim": 10, "img_resolution": 16, "num_layers": 5, "channel_base": 128, "channel_max": 8}
    generator = StyleGAN3Generator(**{**sizes, **changes}).eval().requires_grad_(False)
    generator.synthesis.input.affine.weight.normal_()
    generator.update_w_avg(num_samples=200)
    return generator


def deviation(result: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest absolute error in units of the expected values' standard deviation."""
    return ((result - expected).abs().max() / expected.std()).item()
