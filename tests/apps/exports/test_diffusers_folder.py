"""Exported diffusers folders: drawn from by diffusers alone, and loaded by open_clip alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

from text2latent.common.errors import InputError
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.generators import load_generator
from text2latent.tests.apps.exports.alone import NOISE, SEED, TEXT, assert_same_picture, pixels, run_alone
from text2latent.tests.apps.exports.conftest import Drawn
from text2latent.tests.hub_server import files_of, serve_hub

PICKLES = {".bin", ".pt", ".pth", ".pkl", ".ckpt"}
DRAW = """
import sys, torch
from diffusers import DiffusionPipeline
OUT = sys.argv[1]
pipe = DiffusionPipeline.from_pretrained(OUT, custom_pipeline=OUT, trust_remote_code=True)
image = pipe("blonde woman with glasses", num_inference_steps=8, generator=torch.Generator().manual_seed(0)).images[0]

image.save("a.png")
import numpy, open_clip
texts = ["blonde woman with glasses"]
numpy.save("a.npy", pipe(texts, generator=torch.Generator().manual_seed(0)).latents)
model, preprocess = open_clip.create_model_from_pretrained("local-dir:" + OUT + "/clip")
embedding = model.encode_text(open_clip.get_tokenizer("local-dir:" + OUT + "/clip")(texts), normalize=True)
assert torch.allclose(embedding, pipe.clip.encode_text(texts), atol=1e-5)
"""


DRAW_FROM_HUB = """
import numpy, torch
from diffusers import DiffusionPipeline
from huggingface_hub import snapshot_download
OUT = snapshot_download("org/net")
pipe = DiffusionPipeline.from_pretrained(OUT, custom_pipeline=OUT, trust_remote_code=True)
numpy.save("a.npy", pipe("blonde woman with glasses", generator=torch.Generator().manual_seed(0)).latents)
"""


def test_diffusers_alone_draws_the_picture_of_infer(
    faces_export: Path, diffusers_python: Path, expected: Drawn, tmp_path: Path
) -> None:
    assert (TEXT, SEED) == ("blonde woman with glasses", 0)
    run_alone(diffusers_python, tmp_path, "-c", DRAW, faces_export)
    latents = np.broadcast_to(np.load(tmp_path / "a.npy"), expected.latents.shape)
    np.testing.assert_allclose(latents, expected.latents, atol=NOISE, rtol=NOISE)
    assert_same_picture(pixels(tmp_path / "a.png"), expected.picture)


def test_diffusers_alone_draws_from_the_hub(
    tiny_export: Path, tiny_model: Path, diffusers_python: Path, tmp_path: Path
) -> None:
    with serve_hub(files_of(tiny_export)) as variables:
        run_alone(diffusers_python, tmp_path, "-c", DRAW_FROM_HUB, HF_HUB_OFFLINE="0", **variables)
    expected = Text2LatentPipeline.from_pretrained(str(tiny_model))(TEXT, seeds=[SEED]).latents
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), expected, atol=NOISE, rtol=NOISE)


def test_folder_has_no_pickle_and_diffusers_layout(faces_export: Path) -> None:
    assert not [path for path in faces_export.rglob("*") if path.suffix in PICKLES]
    index = json.loads((faces_export / "model_index.json").read_text())
    parts = {name for name, entry in index.items() if isinstance(entry, list)} - {"_class_name"}
    assert parts == {"prior", "scheduler", "generator", "clip"}
    assert all((faces_export / part).is_dir() for part in parts)


def test_arguments_mean_what_they_mean_to_our_pipeline(load, tiny_model: Path) -> None:
    ours, theirs = Text2LatentPipeline.from_pretrained(str(tiny_model)), load()
    settings = {"num_images_per_prompt": 2, "num_inference_steps": 3, "guidance_scale": 1.7, "truncation": 0.6}
    texts = {"prompt": ["a cat", "dog:2 | hat:1"], "negative_prompt": "rain"}
    drawn = theirs(**texts, **settings, generator=torch.Generator().manual_seed(5), output_type="pt")
    expected = ours(**texts, **settings, generator=torch.Generator().manual_seed(5), output_type="pt")
    torch.testing.assert_close(drawn.latents, expected.latents)
    torch.testing.assert_close(drawn.images, expected.images, atol=1e-5, rtol=0)
    assert drawn.seeds == expected.seeds


def test_generator_of_another_world_is_refused_naming_both(load, other_world: Path, tiny_model: Path) -> None:
    pipe, other = load(), load_generator(other_world)
    record = json.loads((tiny_model / "text2latent.json").read_text())
    named = f"generator: expected .*{record['generator']['sha256'][:12]}.*, got .*{other.identity.sha256[:12]}"
    with pytest.raises(Exception, match=named):
        type(pipe)(pipe.prior, pipe.scheduler, other, pipe.clip, pipe.config.trained_with)


def test_weights_that_were_exchanged_are_refused(
    load, tiny_export: Path, other_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(tiny_export, tmp_path / "copy"))
    weights = "generator/diffusion_pytorch_model.safetensors"
    shutil.copyfile(other_world / weights, copy / weights)
    with pytest.raises(Exception, match=r"generator: expected .*, got .*: the weights are not the same"):
        DiffusionPipeline.from_pretrained(str(copy), custom_pipeline=str(copy), trust_remote_code=True)
    with pytest.raises(InputError, match="generator"):
        Text2LatentPipeline.from_pretrained(str(copy))
