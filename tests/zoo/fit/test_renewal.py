from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from text2latent.common.errors import InputError
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.clip.files import WEIGHTS_NAME
from text2latent.models.priors.folder import load_prior
from text2latent.zoo.fit.renewal import renew_prior, require_same_images


@pytest.fixture
def fitted(tiny_world: Path, tmp_path: Path) -> Path:
    """The tiny CLIP with other vectors of its tokens."""
    folder = tmp_path / "clip"
    shutil.copytree(tiny_world / "clip", folder)
    tensors = load_file(folder / WEIGHTS_NAME)
    name = next(name for name in tensors if name.endswith("token_embedding.weight"))
    save_file({**tensors, name: tensors[name].flip(0).contiguous()}, folder / WEIGHTS_NAME)
    return folder


def test_prior_learns_where_texts_lie_and_keeps_the_rest(tiny_model: Path, fitted: Path, tmp_path: Path) -> None:
    prior = tmp_path / "prior"
    shutil.copytree(tiny_model, prior)
    before = load_prior(str(prior))
    clip = ClipEncoder.from_pretrained(str(fitted))
    renew_prior(prior, clip)
    after = load_prior(str(prior))
    mean = clip.encode_text((fitted / "prompts.txt").read_text(encoding="utf-8").split("\n")[:-1]).mean(dim=0)
    torch.testing.assert_close(after.prior.text_centre, mean, atol=1e-3, rtol=0)
    assert clip.identity is not None
    assert after.record["clip"]["sha256"] == clip.identity.sha256 != before.record["clip"]["sha256"]
    assert after.record["generator"] == before.record["generator"]
    others = before.prior.state_dict().items()
    assert all(
        torch.equal(after.prior.state_dict()[name], tensor.half().float())
        for name, tensor in others
        if name != "text_centre"
    )


def test_other_images_are_refused(tiny_world: Path, fitted: Path) -> None:
    require_same_images(tiny_world / "clip", fitted)
    tensors = load_file(fitted / WEIGHTS_NAME)
    name = next(name for name in tensors if name.startswith("visual."))
    save_file({**tensors, name: tensors[name] + 1}, fitted / WEIGHTS_NAME)
    with pytest.raises(InputError, match=f"expected the image tower of .*, got another {name}"):
        require_same_images(tiny_world / "clip", fitted)
