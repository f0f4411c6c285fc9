"""Folders of the transformers library, against the library's own recipe: its processor, then its model."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from text2latent.common.errors import InputError, UsageError
from text2latent.models.clip.encoder import ClipEncoder, build_clip
from text2latent.models.clip.preprocessing import patch_grid
from text2latent.models.sources.identity import sha256_of
from text2latent.tests.models.clip.small_transformers import KINDS, TEXTS, edit, save

transformers = pytest.importorskip("transformers")
MODEL = {
    "embed_dim": 20,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"width": 64, "heads": 1, "layers": 1},
}
"""open_clip's config of a small CLIP."""
RESIZED = 4e-3
"""Most that a coordinate of an embedding of a resized image differs, as the library rounds each pixel."""


@functools.cache
def encoder_of(folder: Path) -> ClipEncoder:
    return ClipEncoder.from_pretrained(str(folder))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    root = tmp_path_factory.mktemp("transformers")
    return {kind: (root / kind, save(root / kind, kind)) for kind in KINDS}


def features(found: Any) -> Tensor:
    return normalize(found if isinstance(found, Tensor) else found.pooler_output, dim=-1)


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def in_range(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float().div(127.5).sub(1)


@torch.no_grad()
def recipe(folder: Path, model: Any, kind: str, image: np.ndarray) -> tuple[Tensor, Tensor]:
    """Text and image features by the library's tokenizer and image processor."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    padding = {"padding": "max_length", "max_length": 16, "truncation": True} if "siglip" in kind else {"padding": True}
    texts = tokenizer(TEXTS, return_tensors="pt", **padding)
    texts.pop("token_type_ids", None)
    images = processor(images=Image.fromarray(image), return_tensors="pt")
    return features(model.get_text_features(**texts)), features(model.get_image_features(**images))


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_of_the_librarys_recipe(kind, folders):
    folder, model = folders[kind]
    encoder = encoder_of(folder)
    text, image = recipe(folder, model, kind, picture(32, 32) if kind != "siglip2" else picture(64, 64))
    assert (text[0] - text[2]).abs().max() > 1e-3, "a reference that tells its texts apart"
    torch.testing.assert_close(encoder.encode_text(TEXTS), text, atol=1e-6, rtol=0)
    alone = torch.cat([encoder.encode_text([one]) for one in TEXTS])
    torch.testing.assert_close(alone, text, atol=1e-6, rtol=0)
    size = 64 if kind == "siglip2" else 32
    torch.testing.assert_close(encoder.encode_image(in_range(picture(size, size))), image, atol=1e-6, rtol=0)
    assert encoder.identity.sha256 == sha256_of(folder / "model.safetensors")
    assert encoder.identity.settings["activation"]


@pytest.mark.parametrize("shape", [(80, 80), (50, 90)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_images_that_are_resized_differ_by_rounding(kind, shape, folders):
    folder, model = folders[kind]
    smooth = np.asarray(Image.fromarray(picture(5, 7)).resize(shape[::-1], Image.Resampling.BICUBIC))
    image = recipe(folder, model, kind, smooth)[1]
    found = encoder_of(folder).encode_image(in_range(smooth))
    torch.testing.assert_close(found, image, atol=RESIZED, rtol=0)


@pytest.mark.parametrize("shape", [(32, 32), (50, 90), (640, 480), (17, 1000), (1, 1)], ids=str)
def test_the_grid_of_patches_is_the_librarys(shape):
    from transformers.models.siglip2.image_processing_siglip2 import get_image_size_for_max_num_patches

    for most, size in ((16, 16), (256, 16), (576, 14)):
        assert patch_grid(*shape, most, size) == get_image_size_for_max_num_patches(*shape, size, most)


def test_a_repository_is_read_as_its_folder(folders, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    root = tmp_path / "hub" / "models--org--clip"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("c0ffee")
    folder = folders["clip"][0]
    shutil.copytree(folder, root / "snapshots" / "c0ffee")
    expected = encoder_of(folder).encode_text(TEXTS)
    for source in ("hf://org/clip", str(root)):
        encoder = ClipEncoder.from_pretrained(source)
        assert torch.equal(encoder.encode_text(TEXTS), expected)
        assert (encoder.identity.name, encoder.identity.source) == ("org/clip", source)


def test_a_repository_of_both_libraries_is_read_by_the_weights_that_are_there(folders, tmp_path):
    """Some repositories hold open_clip's files and the transformers library's; caches may have either's weights."""
    folder, expected = copy_of(folders, "clip", tmp_path), encoder_of(folders["clip"][0]).encode_text(TEXTS)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL}))
    assert torch.equal(ClipEncoder.from_pretrained(str(folder)).encode_text(TEXTS), expected)
    save_file(build_clip({"model_cfg": MODEL}).state_dict(), folder / "open_clip_model.safetensors")
    assert ClipEncoder.from_pretrained(str(folder)).embedding_dim == MODEL["embed_dim"]


def test_a_long_text_is_cut_with_a_warning(folders):
    encoder = encoder_of(folders["clip"][0])
    assert encoder.context_length == 20
    with pytest.warns(UserWarning, match="this CLIP model reads the first 20"):
        encoder.encode_text(["old " * 40])


def copy_of(folders: dict[str, tuple[Path, Any]], kind: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders[kind][0], tmp_path / "clip"))


def test_weights_in_several_files_and_in_those_of_torch_are_the_same(folders, tmp_path):
    folder, expected = copy_of(folders, "clip", tmp_path), encoder_of(folders["clip"][0]).encode_text(TEXTS)
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    assert torch.equal(ClipEncoder.from_pretrained(str(folder)).encode_text(TEXTS), expected)
    (folder / "pytorch_model.bin").unlink()
    names = {name: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, name in enumerate(state)}
    for file in set(names.values()):
        save_file({name: state[name] for name in state if names[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    assert torch.equal(ClipEncoder.from_pretrained(str(folder)).encode_text(TEXTS), expected)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match="expected a part of the weights, the file is missing"):
        ClipEncoder.from_pretrained(str(folder))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../other"}}))
    with pytest.raises(InputError, match="expected the names of files in the folder"):
        ClipEncoder.from_pretrained(str(folder))


def test_a_folder_that_brings_code_is_refused_and_none_is_run(folders, tmp_path):
    folder = copy_of(folders, "clip", tmp_path)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    told = "whose code comes with it and is not run; let a class of your own load it: --clip my_package.MyClip"
    edit(folder / "config.json", auto_map={"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"})
    with pytest.raises(InputError, match=told):
        ClipEncoder.from_pretrained(str(folder))
    shutil.copy(folders["clip"][0] / "config.json", folder)
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]})
    with pytest.raises(InputError, match=told):
        ClipEncoder.from_pretrained(str(folder))
    edit(folder / "config.json", model_type="clyp")
    with pytest.raises(InputError, match=f"of the type 'clyp', {told}"):
        ClipEncoder.from_pretrained(str(folder))
    shutil.copy(folders["clip"][0] / "config.json", folder)
    shutil.copy(folders["clip"][0] / "tokenizer_config.json", folder)
    edit(folder / "preprocessor_config.json", auto_map={"AutoImageProcessor": "evil.Evil"}, image_processor_type="Evil")
    with pytest.raises(InputError):
        ClipEncoder.from_pretrained(str(folder))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("file", "changes", "told"),
    [
        ("config.json", {"model_type": "bert"}, "model_type: expected one of clip, siglip, siglip2"),
        ("config.json", {"projection_dim": 25}, "expected weights that fit config.json; .* has another shape"),
        ("config.json", {"projection_dim": "wide"}, "clip"),
        ("preprocessor_config.json", {"resample": 0}, "resampled or scaled in a way that isn't known"),
        ("preprocessor_config.json", {"size": {"shortest_edge": 40}}, "where the network takes 32 pixels"),
        ("preprocessor_config.json", None, r"expected preprocessor_config.json, found none; --clip-args mean="),
        ("tokenizer.json", None, "expected the tokenizer's files"),
        ("model.safetensors", None, "expected weights in model.safetensors or pytorch_model.bin, found none"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)
def test_what_does_not_fit_is_told_in_one_plain_line(file, changes, told, folders, tmp_path):
    folder = copy_of(folders, "clip", tmp_path)
    if changes is None:
        (folder / file).unlink()
    else:
        edit(folder / file, **changes)
    with pytest.raises(InputError, match=told) as raised:
        ClipEncoder.from_pretrained(str(folder))
    assert str(raised.value).isprintable()


def test_missing_and_spare_weights_are_told_without_a_report(folders, tmp_path, capfd):
    folder = copy_of(folders, "clip", tmp_path)
    state = load_file(folder / "model.safetensors")
    state["\x1b[31mspare"] = state.pop("visual_projection.weight")
    save_file(state, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"visual_projection.weight is missing, \?\[31mspare is none of its") as raised:
        ClipEncoder.from_pretrained(str(folder))
    assert str(raised.value).isprintable()
    assert capfd.readouterr() == ("", "")


def test_what_is_said_takes_the_place_of_the_folders(folders, tmp_path):
    folder = copy_of(folders, "clip", tmp_path)
    first = ClipEncoder.from_pretrained(str(folder)).identity
    other = ClipEncoder.from_pretrained(str(folder), {"mean": [0.5] * 3, "context_length": 10}).identity
    assert [one.split()[0] for one in first.differences(other)] == ["context_length", "mean", "tokenizer"]
    with pytest.raises(UsageError, match="quick_gelu: expected none with a folder that says so itself"):
        ClipEncoder.from_pretrained(str(folder), {"quick_gelu": True})
    with pytest.raises(InputError, match="context_length: expected at most its 20 positions"):
        ClipEncoder.from_pretrained(str(folder), {"context_length": 21})
    edit(folder / "config.json", text_config={**json.loads((folder / "config.json").read_text())["text_config"],
                                              "hidden_act": "gelu"})  # fmt: skip
    gelu = ClipEncoder.from_pretrained(str(folder)).identity
    assert {one.split()[0] for one in first.differences(gelu)} == {"activation", "network"}
