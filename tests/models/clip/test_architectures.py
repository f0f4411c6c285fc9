"""Every architecture of CLIP that open_clip knows, loaded from folders and files, against plain open_clip."""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from text2latent.common.errors import InputError
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.clip.files import locate
from text2latent.models.sources.identity import sha256_of
from text2latent.tests.models.clip.small_clips import (
    mt5_config,
    nllb_config,
    save_clip,
    save_tokenizer,
    small,
    xlm_roberta_config,
)

TEXTS = ["A woman, with glasses!", "眼鏡の女性", "امرأة"]
SIGLIP_PREPROCESSING = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
SMALL_TEXT = {"width": 32, "heads": 2, "layers": 2}

ARCHITECTURES: dict[str, tuple[str | None, dict[str, Any], Callable[[], Any] | None]] = {
    "xlm-roberta-base-ViT-B-32": ("roberta", {}, xlm_roberta_config),
    "nllb-clip-base": ("roberta", {}, nllb_config),
    "nllb-clip-base-siglip": ("roberta", {}, nllb_config),
    "mt5-base-ViT-B-32": ("roberta", {}, mt5_config),
    "ViT-B-16-SigLIP": ("siglip", {**SMALL_TEXT, "vocab_size": 260}, None),
    "ViT-B-16-SigLIP2": ("siglip", {**SMALL_TEXT, "vocab_size": 260}, None),
    "ViT-H-14-CLIPA": ("bert", {**SMALL_TEXT, "vocab_size": 260}, None),
    "ViT-B-32-quickgelu": (None, SMALL_TEXT, None),
    "RN50": (None, SMALL_TEXT, None),
    "coca_ViT-B-32": (None, SMALL_TEXT, None),
}
"""By open_clip's name: the style of tokenizer, changes to the text tower, and the config of one of transformers."""


def to_range(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float().div(127.5).sub(1)


def write_folder(name: str, folder: Path, **text: Any) -> nn.Module:
    """A folder with a small model of an architecture; returns a model of its own with the same weights."""
    style, changes, text_config = ARCHITECTURES[name]
    if style:
        save_tokenizer(folder, style)
    preprocess = SIGLIP_PREPROCESSING if "SigLIP" in name else {}
    return save_clip(folder, small(name, **changes, **text), text_config() if text_config else None, preprocess)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, nn.Module]]:
    """Function: folder of an architecture, read only, and a model of its own with the same weights."""
    root = tmp_path_factory.mktemp("clips")

    @functools.cache
    def folder_of(name: str) -> tuple[Path, nn.Module]:
        return root / name, write_folder(name, root / name)

    return folder_of


Folders = Callable[[str], tuple[Path, nn.Module]]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_gives_the_embeddings_of_plain_open_clip(name: str, folders: Folders) -> None:
    folder, model = folders(name)
    encoder = ClipEncoder.from_pretrained(f"local-dir:{folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    size, preprocess = encoder.preprocess.size, SIGLIP_PREPROCESSING if "SigLIP" in name else {}
    transform = open_clip.image_transform(size, is_train=False, **preprocess)
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    with torch.no_grad():
        text = model.encode_text(tokens, normalize=True)
        pixels = model.encode_image(transform(Image.fromarray(picture))[None], normalize=True)
    assert encoder.context_length == open_clip.get_model_config(name)["text_cfg"].get("context_length", 77)
    torch.testing.assert_close(encoder.encode_text(TEXTS), text, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.encode_image(to_range(picture)), pixels, atol=1e-5, rtol=0)
    assert encoder.identity is not None
    assert encoder.identity.sha256 == sha256_of(folder / "open_clip_model.safetensors")


@pytest.mark.parametrize(
    "name", ["xlm-roberta-base-ViT-B-32", "ViT-B-16-SigLIP", "ViT-H-14-CLIPA", "ViT-B-32-quickgelu"]
)
def test_long_texts_are_cut_with_a_warning_that_names_them(name: str, folders: Folders) -> None:
    encoder = ClipEncoder.from_pretrained(str(folders(name)[0]))
    fitting = max(range(1, 100), key=lambda count: (fits(encoder, count), count))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.encode_text(["old " * fitting])
    expected = rf"prompt '(old )+.*' has \d+ tokens; this CLIP model reads the first {encoder.context_length}$"
    with pytest.warns(UserWarning, match=expected) as caught:
        encoder.encode_text(["short", "old " * (fitting + 1)])
    assert len(caught) == 1


def fits(encoder: ClipEncoder, count: int) -> bool:
    """Whether all of `count` words are seen: one more changes the tokens, in a context of any length."""
    wide = encoder.tokenizer(["old " * count], context_length=1000)
    return torch.equal(wide[:, : encoder.context_length], encoder.tokenizer(["old " * count]))


@pytest.mark.parametrize("name", ["xlm-roberta-base-ViT-B-32", "ViT-B-16-SigLIP", "ViT-B-32-quickgelu"])
def test_autocast_inference_mode_and_batches_change_nothing_but_rounding(name: str, folders: Folders) -> None:
    encoder = ClipEncoder.from_pretrained(str(folders(name)[0]))
    pictures = torch.rand(5, 3, 40, 40) * 2 - 1
    text, image = encoder.encode_text(TEXTS), encoder.encode_image(pictures)
    torch.testing.assert_close(encoder.encode_image(pictures, batch_size=2), image, atol=1e-6, rtol=0)
    torch.testing.assert_close(encoder.encode_text(TEXTS, batch_size=1), text, atol=1e-6, rtol=0)
    with torch.inference_mode():
        assert torch.equal(encoder.encode_text(TEXTS), text)
        assert torch.equal(encoder.encode_image(pictures), image)
    with torch.autocast("cpu", torch.bfloat16):
        rough = encoder.encode_text(TEXTS), encoder.encode_image(pictures)
    for found, expected in zip(rough, (text, image), strict=True):
        assert found.dtype == torch.float32
        assert (found * expected).sum(dim=-1).min() > 0.99
        assert not torch.equal(found, expected)


def test_text_embeddings_may_take_part_in_a_loss(folders: Folders) -> None:
    encoder = ClipEncoder.from_pretrained(str(folders("ViT-B-32-quickgelu")[0]))
    pictures = torch.zeros(1, 3, 40, 40, requires_grad=True)
    (encoder.encode_image(pictures) * encoder.encode_text(["a man"])).sum().backward()
    assert pictures.grad is not None


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, which is all there is of the hub: the network is off."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def cached(cache: Path, repository: str) -> Path:
    """Folder, in the hub's cache, of a repository that was downloaded from its default branch."""
    root = cache / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("c0ffee")
    folder = root / "snapshots" / "c0ffee"
    folder.mkdir(parents=True)
    return folder


def test_hub_ids_load_from_the_cache(hub_cache: Path, folders: Folders) -> None:
    folder, model = folders("ViT-B-32-quickgelu")
    snapshot = cached(hub_cache, "org/clip")
    shutil.copytree(folder, snapshot, dirs_exist_ok=True)
    for source in ("hf-hub:org/clip", "hf://org/clip"):
        encoder = ClipEncoder.from_pretrained(source)
        expected = model.encode_text(open_clip.SimpleTokenizer()(TEXTS), normalize=True).detach()
        torch.testing.assert_close(encoder.encode_text(TEXTS), expected, atol=1e-5, rtol=0)
        assert encoder.identity is not None
        assert encoder.identity.source == source
        assert encoder.identity.sha256 == sha256_of(folder / "open_clip_model.safetensors")


@pytest.mark.parametrize(
    ("source", "repository", "quick_gelu"),
    [
        ("ViT-B-32/openai", "timm/vit_base_patch32_clip_224.openai", True),
        ("ViT-B-32/laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", False),
        ("ViT-L-14/laion2b_s32b_b82k", "laion/CLIP-ViT-L-14-laion2B-s32B-b82K", False),
    ],
)
def test_published_weights_come_with_their_activation_and_preprocessing(
    hub_cache: Path, source: str, repository: str, quick_gelu: bool
) -> None:
    weights = cached(hub_cache, repository) / "open_clip_model.safetensors"
    weights.write_bytes(b"weights")
    located = locate(source)
    assert located.weights == weights
    assert located.identity.to_dict() == {"name": source, "source": source, "sha256": sha256_of(weights)}
    assert located.model_config["quick_gelu"] is quick_gelu
    published = open_clip.get_pretrained_cfg(*source.split("/"))
    assert all(published[key] == value for key, value in located.preprocessing.items())
    assert {"mean", "std", "interpolation", "resize_mode"} <= located.preprocessing.keys()


@pytest.mark.parametrize("source", ["hf-hub:org/clip", "hf://org/clip", "ViT-B-32/openai"])
def test_offline_says_what_was_looked_for_and_where(hub_cache: Path, source: str) -> None:
    with pytest.raises(
        InputError, match=rf"hf://.*: not in the cache {hub_cache}, and HF_HUB_OFFLINE is set"
    ) as raised:
        ClipEncoder.from_pretrained(source)
    assert "without a network, give a local path" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_text_model_that_is_not_here_is_named(hub_cache: Path, folders: Folders, tmp_path: Path) -> None:
    shutil.copytree(folders("xlm-roberta-base-ViT-B-32")[0], tmp_path / "clip")
    (tmp_path / "clip" / "config.json").unlink()
    with pytest.raises(
        InputError, match=rf"config of its text model 'xlm-roberta-base' in the cache {hub_cache}"
    ) as raised:
        ClipEncoder.from_pretrained(str(tmp_path / "clip"))
    assert "the text model's config.json" in str(raised.value)


def test_a_tokenizer_that_is_not_here_is_named(hub_cache: Path, folders: Folders, tmp_path: Path) -> None:
    shutil.copytree(folders("ViT-B-16-SigLIP")[0], tmp_path / "clip", ignore=shutil.ignore_patterns("tokenizer*"))
    with pytest.raises(InputError, match=rf"tokenizer 'timm/ViT-B-16-SigLIP' in {tmp_path / 'clip'}, got: ") as raised:
        ClipEncoder.from_pretrained(str(tmp_path / "clip"))
    assert "tokenizer.json" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_config_of_a_whole_clip_is_not_taken_for_that_of_its_text_model(folders: Folders, tmp_path: Path) -> None:
    shutil.copytree(folders("xlm-roberta-base-ViT-B-32")[0], tmp_path / "clip")
    (tmp_path / "clip" / "config.json").write_text('{"model_type": "clip"}')
    assert locate(str(folders("xlm-roberta-base-ViT-B-32")[0])).text_folder is not None
    assert locate(str(tmp_path / "clip")).text_folder is None


def test_without_transformers_the_error_tells_what_to_install(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folders("xlm-roberta-base-ViT-B-32")[0]
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"needs transformers, not installed here; pip install .*\[clip\]"):
        ClipEncoder.from_pretrained(str(folder))


def test_code_beside_a_tokenizer_is_not_run(folders: Folders, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(folders("ViT-B-16-SigLIP")[0], folder)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer |= {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with contextlib.suppress(InputError):
        ClipEncoder.from_pretrained(str(folder))
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "vocabulary"),
    [
        ("ViT-B-32", None),
        ("ViT-L-14", None),
        ("ViT-B-16-SigLIP", None),
        ("xlm-roberta-base-ViT-B-32", 250_002),
        ("nllb-clip-base", 256_206),
    ],
)
def test_real_sizes(name: str, vocabulary: int | None, hub_cache: Path, tmp_path: Path) -> None:
    style, _, text_config = ARCHITECTURES.get(name, (None, {}, None))
    if style:
        save_tokenizer(tmp_path / "clip", style)
    config = open_clip.get_model_config(name)
    whole = type(text_config())(vocab_size=vocabulary) if text_config else None
    model = save_clip(tmp_path / "clip", config, whole, SIGLIP_PREPROCESSING if "SigLIP" in name else {})
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'clip'}")(TEXTS)
    pictures = torch.rand(2, 3, 256, 256) * 2 - 1
    with torch.no_grad():
        expected = model.encode_text(tokens, normalize=True)
    del model
    encoder = ClipEncoder.from_pretrained(str(tmp_path / "clip"))
    torch.testing.assert_close(encoder.encode_text(TEXTS), expected, atol=1e-5, rtol=0)
    assert encoder.encode_image(pictures).shape == (2, config["embed_dim"])


@pytest.mark.slow
def test_openai_weights_run_with_quick_gelu(hub_cache: Path) -> None:
    torch.manual_seed(0)
    reference = open_clip.create_model("ViT-B-32-quickgelu").eval()
    weights = cached(hub_cache, "timm/vit_base_patch32_clip_224.openai") / "open_clip_model.safetensors"
    save_file(reference.state_dict(), weights)
    encoder = ClipEncoder.from_pretrained("ViT-B-32/openai")
    expected = reference.encode_text(open_clip.get_tokenizer("ViT-B-32")(TEXTS), normalize=True).detach()
    torch.testing.assert_close(encoder.encode_text(TEXTS), expected, atol=1e-5, rtol=0)
