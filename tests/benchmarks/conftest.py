"""A tiny world of the faces' shape, which the judge can look at: z of 32 dimensions, images of 128 x 128 pixels."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.generators import load_generator
from text2latent.models.generators.stylegan2 import StyleGAN2Generator
from text2latent.models.priors.folder import TrainedPrior, save_prior
from text2latent.models.priors.residual_mlp import ResidualMLPPrior
from text2latent.models.priors.schedulers import build_scheduler


@pytest.fixture(scope="session")
def untrained_faces(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `generator/`, `clip/` and `prior/`, all of random weights; read only."""
    world = tmp_path_factory.mktemp("worlds") / "untrained"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = StyleGAN2Generator(
            z_dim=32, w_dim=16, img_resolution=128, num_mapping_layers=2, channel_base=512, channel_max=8
        )
        prior = ResidualMLPPrior((1, 16), 16, width=16, depth=1)
    generator.save_pretrained(world / "generator")
    shutil.copytree(tiny_world / "clip", world / "clip")
    networks = {"generator": load_generator(world), "clip": ClipEncoder.from_pretrained(str(world))}
    record = {part: network.identity.to_dict() for part, network in networks.items()}
    save_prior(world / "prior", TrainedPrior(prior, build_scheduler("euler", "flow"), record))
    return world
