"""Files of kinds that people have, written by the code that makes them: latents and images are the originals'."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from text2latent.models.generators import load_generator

DATA = Path(__file__).parents[3] / "data" / "generators" / "kinds"
READ = ("pti-model.pt", "ada-state-dict.pt", "gray-16.pkl")


def original_output(name: str) -> dict[str, torch.Tensor]:
    with np.load(DATA / f"{Path(name).stem}.io.npz") as arrays:
        return {key: torch.from_numpy(value) for key, value in arrays.items()}


@pytest.mark.parametrize("name", READ)
def test_latents_and_images_are_the_originals(name):
    generator, io = load_generator(DATA / name), original_output(name)
    torch.testing.assert_close(generator.map(io["z"]), io["w"], atol=1e-6, rtol=0)
    torch.testing.assert_close(generator.synthesis(io["w"]), io["img"], atol=1.4e-5, rtol=0)
