"""The whole route with networks of real size at random weights: FFHQ's 1024-pixel StyleGAN2 and CLIP's ViT-B-32."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from text2latent.benchmarks.timing import run_measured
from text2latent.data.shards import load_pairs, read_manifest
from text2latent.models.generators.stylegan2 import StyleGAN2Generator

NUM_PAIRS = 32
MAX_MEMORY_GIB = 8
PROMPT = "a portrait of an old man with a beard"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that is gone after the test, as its files are large."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def save_generator(folder: Path) -> Path:
    """Write StyleGAN2 as trained on FFHQ (config-f, 30 million parameters), in half precision."""
    torch.manual_seed(0)
    network = StyleGAN2Generator(img_resolution=1024, channel_base=32768, channel_max=512)
    network.update_w_avg(num_samples=1000)
    network.half().save_pretrained(folder)
    return folder


def save_clip(file: Path) -> Path:
    """Write the weights of ViT-B-32 (151 million parameters), in half precision."""
    import open_clip

    torch.manual_seed(0)
    save_file(open_clip.create_model("ViT-B-32").half().state_dict(), file)
    return file


def run(verb: str, *flags: str | Path) -> None:
    """Run a verb in a process of its own, within `MAX_MEMORY_GIB`."""
    ran = run_measured([sys.executable, "-m", "text2latent", verb, *map(str, flags)])
    assert ran.peak_bytes < MAX_MEMORY_GIB << 30


@pytest.mark.slow
def test_from_a_1024_pixel_generator_to_a_picture_of_a_prompt(folder: Path) -> None:
    generator, clip = save_generator(folder / "ffhq"), save_clip(folder / "vit-b-32.safetensors")
    pairs, trained, picture = folder / "pairs", folder / "train", folder / "old-man.png"
    run(
        "sample", "--generator", generator, "--clip", f"ViT-B-32/{clip}",
        "--clip-args", "pretrained=laion2b_s34b_b79k", "--num-pairs", NUM_PAIRS, "--batch-size", 4,
        "--device", "cpu", "--output", pairs,
    )  # fmt: skip
    latents, embeddings = load_pairs(pairs)
    assert latents.shape == (NUM_PAIRS, 1, 512)
    assert embeddings.shape == (NUM_PAIRS, 512)
    np.testing.assert_allclose(np.linalg.norm(embeddings.astype(np.float32), axis=1), 1, atol=1e-3)
    assert len(np.unique(embeddings, axis=0)) == NUM_PAIRS

    run(
        "train", "--data.path", pairs, "--data.val_pairs", 8, "--data.batch_size", 8, "--max_steps", 20,
        "--validation.every_steps", 10, "--device", "cpu", "--output", trained,
    )  # fmt: skip
    record = json.loads((trained / "prior" / "text2latent.json").read_text(encoding="utf-8"))
    assert record["clip"]["sha256"] == read_manifest(pairs).clip.sha256

    run("infer", "--model", trained, "--text", PROMPT, "--device", "cpu", "--output", picture)
    pixels = np.asarray(Image.open(picture))
    assert pixels.shape == (1024, 1024, 3)
    assert pixels.std() > 1
