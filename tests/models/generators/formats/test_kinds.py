"""Files of kinds that people have, written by the code that makes them: latents and images are the originals'."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from text2latent.common.errors import InputError
from text2latent.models.generators import load_generator
from text2latent.tests.models.generators.formats.test_formats import argue, assert_same_images
from text2latent.tests.models.generators.originals import small

DATA = Path(__file__).parents[3] / "data" / "generators"
PAGE = (Path(__file__).parents[4] / "docs" / "generators.md").read_text(encoding="utf-8")
DOCUMENTED = dict(re.findall(r"^\| `([\w/.-]+)` \| .+? \| (\d\.\de-\d) \|$", PAGE, re.MULTILINE))
"""Largest errors that the page names, by file."""


def original_output(path: Path) -> dict[str, torch.Tensor]:
    """The original's `z`, labels `c` if there are any, `w` and `img`."""
    if (path.parent / f"{path.stem}.io.npz").exists():
        with np.load(path.parent / f"{path.stem}.io.npz") as arrays:
            return {key: torch.from_numpy(value) for key, value in arrays.items()}
    io = load_file(path.parent / f"{path.stem}.io.safetensors")
    return {**io, "w": io["ws"], "img": io["image_const"]}


def test_every_file_is_documented():
    files = [path for path in DATA.rglob("*.p*") if path.suffix in (".pkl", ".pt")]
    assert sorted(path.relative_to(DATA).as_posix() for path in files) == sorted(DOCUMENTED)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_latents_and_images_are_the_originals(name):
    generator, io = load_generator(DATA / name), original_output(DATA / name)
    torch.testing.assert_close(generator.map(io["z"], io.get("c")), io["w"], atol=2e-6, rtol=0)
    error = (generator.synthesis(io["w"]) - io["img"]).abs().max().item()
    # Other processors and versions of PyTorch add up in another order.
    assert error < 2 * float(DOCUMENTED[name])


def test_arguments_of_training_alone_are_ignored_with_a_note(tmp_path, write_official):
    edit = argue(mapping_kwargs={"num_layers": 2, "freeze_embed": False, "w_avg_beta": 0.9}, use_checkpoint=True)
    loaded = load_generator(write_official(tmp_path / "fork.pkl", small(), edit=edit))
    assert_same_images(loaded, small())
    assert loaded.notes == ("ignored, as only training depends on it: freeze_embed, use_checkpoint",)
    fun = load_generator(DATA / "kinds" / "stylegan3-fun-t-16.pkl")
    assert fun.notes == ("ignored, as only training depends on it: freeze_embed",)


def test_arguments_that_change_the_network_are_refused_by_name(tmp_path, write_official):
    path = write_official(tmp_path / "fork.pkl", small(), edit=argue(self_attention=True))
    with pytest.raises(InputError, match=r"self_attention: not an argument .* it may change what the network draws"):
        load_generator(path)
