"""Checkpoints of other programs that hold a StyleGAN2 under stylegan2-pytorch's names, or names of their own."""

from __future__ import annotations

import argparse
import re
from typing import Any

import pytest
import torch

from text2latent.common.errors import InputError
from text2latent.models.generators import load_generator
from text2latent.models.generators.stylegan2 import StyleGAN2Generator
from text2latent.tests.models.generators.conftest import rosinality_state
from text2latent.tests.models.generators.formats.test_formats import assert_same_images
from text2latent.tests.models.generators.originals import small


def basicsr_state(generator: StyleGAN2Generator) -> dict[str, torch.Tensor]:
    """State dictionary under BasicSR's names, which has no filters."""
    renamed = {}
    for name, value in rosinality_state(generator).items():
        if name.endswith("kernel"):
            continue
        name = re.sub(r"^style\.", "style_mlp.", name).replace("input.input", "constant_input.weight")
        name = re.sub(r"noises\.noise_(\d+)", r"noises.noise\1", name)
        name = re.sub(r"^(conv1|convs\.\d+|to_rgb1|to_rgbs\.\d+)\.conv\.", r"\1.modulated_conv.", name)
        name = re.sub(r"^(conv1|convs\.\d+)\.noise\.weight", r"\1.weight", name)
        renamed[re.sub(r"^(conv1|convs\.\d+)\.", r"style_\1.", name)] = value
    return renamed


def basicsr(generator: StyleGAN2Generator) -> dict[str, Any]:
    return {"params": {}, "params_ema": basicsr_state(generator)}


def encoder(generator: StyleGAN2Generator, layers: int | None = None) -> dict[str, Any]:
    """Checkpoint of pSp, whose mean latent is there once a layer, or of e4e."""
    state = {f"decoder.{name}": value for name, value in rosinality_state(generator).items()}
    state["encoder.input_layer.0.weight"] = torch.zeros(4, 3, 3, 3)
    average = generator.mapping.w_avg
    opts = {"encoder_type": "GradualStyleEncoder", "output_size": 16, "device": torch.device("cpu")}
    kept = opts if layers else argparse.Namespace(**opts)
    return {"state_dict": state, "latent_avg": average.repeat(layers, 1) if layers else average, "opts": kept}


CHECKPOINTS = {
    "psp": lambda generator: encoder(generator, generator.num_ws),
    "e4e": encoder,
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_decoders_of_encoders(tmp_path, kind):
    generator = small(w_dim=12)
    torch.save(CHECKPOINTS[kind](generator), tmp_path / "net.pt")
    assert_same_images(load_generator(tmp_path / "net.pt"), generator)


def test_basicsr(tmp_path):
    generator = small(w_dim=12)
    torch.save(basicsr(generator), tmp_path / "net_g.pth")
    generator.update_w_avg()
    assert_same_images(load_generator(tmp_path / "net_g.pth"), generator)


def test_mean_latents_that_differ_by_layer_are_refused(tmp_path):
    checkpoint = encoder(small(w_dim=12), 6)
    checkpoint["latent_avg"] = torch.randn(6, 12)
    torch.save(checkpoint, tmp_path / "net.pt")
    with pytest.raises(InputError, match="latent_avg: expected one mean latent for all layers, got 6 that differ"):
        load_generator(tmp_path / "net.pt")


@pytest.mark.parametrize("kind", ["basicsr", "psp"])
def test_holes_are_refused_in_one_line(tmp_path, kind):
    checkpoint = basicsr(small(w_dim=12)) if kind == "basicsr" else encoder(small(w_dim=12), 6)
    section = checkpoint["params_ema" if kind == "basicsr" else "state_dict"]
    del section[next(name for name in section if "convs.1." in name)]
    torch.save(checkpoint, tmp_path / "net.pt")
    with pytest.raises(InputError, match=r"convs\.1.*: missing") as caught:
        load_generator(tmp_path / "net.pt")
    assert "\n" not in str(caught.value)
