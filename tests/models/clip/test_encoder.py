"""CLIP: embeddings, folders and preprocessing against plain open_clip."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from text2latent.common.errors import InputError, UsageError
from text2latent.models.clip.encoder import (
    ClipEncoder,
    build_clip,
    check_prompt,
    encode_tokens,
    save_hub_folder,
    trim_tokens,
)
from text2latent.models.sources.identity import sha256_of

CONFIG = {
    "model_cfg": {
        "embed_dim": 24,
        "custom_text": True,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64},
        "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.6, 0.7], "interpolation": "bicubic"},
}
TEXTS = ["a woman with glasses", "眼鏡の女性", "old man"]
LONG_TEXT = "a photo of a " + "very " * 40 + "old man"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    save_hub_folder(build_clip(CONFIG), CONFIG, folder)
    return folder


@pytest.fixture(scope="module")
def encoder(folder: Path) -> ClipEncoder:
    return ClipEncoder.from_pretrained(str(folder))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("network is blocked in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(time, "sleep", lambda _: None)  # the hub's client waits longer and longer between its tries


def noise_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def to_range(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float().div(127.5).sub(1)


def test_folder_gives_the_embeddings_of_plain_open_clip(folder: Path, encoder: ClipEncoder) -> None:
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    image = noise_image(64, 64)
    with torch.no_grad():
        text = model.eval().encode_text(tokenizer(TEXTS), normalize=True)
        pixels = model.encode_image(transform(Image.fromarray(image))[None], normalize=True)
    torch.testing.assert_close(encoder.encode_text(TEXTS), text, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.encode_image(to_range(image)), pixels, atol=1e-5, rtol=0)


def test_saved_weights_are_half_and_equal_to_the_model(tmp_path: Path) -> None:
    model = build_clip(CONFIG)
    save_hub_folder(model, CONFIG, tmp_path / "new" / "clip")
    loaded = ClipEncoder.from_pretrained(f"local-dir:{tmp_path / 'new' / 'clip'}").model.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded[name].float(), tensor.half().float()), name
    assert sorted(path.name for path in (tmp_path / "new" / "clip").iterdir()) == [
        "open_clip_config.json",
        "open_clip_model.safetensors",
    ]


def test_save_refuses_overflow_and_keeps_what_was_there(folder: Path, tmp_path: Path) -> None:
    save_hub_folder(build_clip(CONFIG), CONFIG, tmp_path)
    before = sha256_of(tmp_path / "open_clip_model.safetensors")
    model = build_clip(CONFIG)
    model.logit_scale.data.fill_(1e6)
    with pytest.raises(ValueError, match="logit_scale"):
        save_hub_folder(model, CONFIG, tmp_path)
    assert sha256_of(tmp_path / "open_clip_model.safetensors") == before


def test_identity_and_sizes(folder: Path, encoder: ClipEncoder) -> None:
    assert encoder.identity is not None
    assert encoder.identity.sha256 == sha256_of(folder / "open_clip_model.safetensors")
    assert encoder.identity.name == folder.name
    assert (encoder.embedding_dim, encoder.context_length, encoder.preprocess.size) == (24, 20, (64, 64))
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder.model.training


def test_loads_without_a_network(folder: Path, no_network: None) -> None:
    assert ClipEncoder.from_pretrained(str(folder)).encode_text(["a man"]).shape == (1, 24)


def test_embeddings_are_unit_length_and_do_not_depend_on_the_batch(encoder: ClipEncoder) -> None:
    texts = encoder.encode_text(TEXTS, batch_size=2)
    images = encoder.encode_image(torch.rand(3, 3, 80, 64) * 2 - 1)
    for embeddings in (texts, images):
        assert embeddings.dtype == torch.float32
        torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(3))
    alone = torch.cat([encoder.encode_text([text]) for text in TEXTS])
    torch.testing.assert_close(texts, alone, atol=1e-6, rtol=0)


def test_nothing_in_nothing_out(encoder: ClipEncoder) -> None:
    assert encoder.encode_text([]).shape == (0, 24)
    assert encoder.encode_image(torch.zeros(0, 3, 64, 64)).shape == (0, 24)


def test_images_carry_gradients(encoder: ClipEncoder) -> None:
    images = torch.zeros(1, 3, 96, 96, requires_grad=True)
    encoder.encode_image(images).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_autocast_stays_close(encoder: ClipEncoder) -> None:
    images = torch.rand(4, 3, 64, 64) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = encoder.encode_image(images)
    assert embeddings.dtype == torch.float32
    assert (embeddings * encoder.encode_image(images)).sum(-1).min() > 0.999


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 5, 64, 64), (1, 64, 64, 3)])
def test_other_shapes_are_refused(encoder: ClipEncoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected floats \[N, 3, H, W\]"):
        encoder.encode_image(torch.zeros(shape))


def test_integers_are_refused(encoder: ClipEncoder) -> None:
    with pytest.raises(ValueError, match="uint8"):
        encoder.encode_image(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


@pytest.mark.parametrize(
    "text_cfg",
    [
        {},
        {"no_causal_mask": True},
        {"embed_cls": True},
        {"pool_type": "last"},
        {"proj_bias": True},
        {"proj_type": "none"},
    ],
    ids=["causal", "bidirectional", "class token", "last", "biased", "unprojected"],
)
@pytest.mark.parametrize("custom_text", [True, False])
def test_encode_tokens_equals_open_clip_on_the_full_context(text_cfg: dict[str, object], custom_text: bool) -> None:
    if "embed_cls" in text_cfg and not custom_text:
        pytest.skip("open_clip's CLIP class has no class token")
    model_cfg = CONFIG["model_cfg"]
    text_cfg = {**model_cfg["text_cfg"], "vocab_size": 100, **text_cfg}
    torch.manual_seed(1)
    model = build_clip({"model_cfg": {**model_cfg, "text_cfg": text_cfg, "custom_text": custom_text}}).eval()
    tokens = torch.tensor([[98, 5, 6, 99] + [0] * 16, [98, 7, 99] + [0] * 17, [98] + [3] * 8 + [99] + [0] * 10])
    with torch.no_grad():
        torch.testing.assert_close(encode_tokens(model, tokens), model.encode_text(tokens), atol=1e-5, rtol=1e-5)


def test_encode_tokens_trains_every_part_of_the_tower() -> None:
    model = build_clip(CONFIG)
    tokens = trim_tokens(open_clip.SimpleTokenizer(context_length=20)(TEXTS))
    assert tokens.shape[1] < 20
    encode_tokens(model, tokens).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.text.parameters())


def test_trim_keeps_the_longest_text() -> None:
    tokens = torch.tensor([[98, 1, 99, 0, 0], [98, 1, 2, 99, 0]])
    assert torch.equal(trim_tokens(tokens), tokens[:, :4])


def test_a_long_text_is_cut_with_a_warning_that_names_it(encoder: ClipEncoder) -> None:
    with pytest.warns(UserWarning, match=r"'a photo of a very.*\.\.\.' has 48 tokens.*first 20"):
        embedding = encoder.encode_text([LONG_TEXT])
    with pytest.warns(UserWarning, match="22 tokens"):
        cut = encoder.encode_text(["a photo of a " + "very " * 14 + "young woman"])
    torch.testing.assert_close(embedding, cut)


@pytest.mark.parametrize("num_words", [17, 18])
def test_a_text_that_just_fits_does_not_warn(
    encoder: ClipEncoder, num_words: int, recwarn: pytest.WarningsRecorder
) -> None:
    encoder.encode_text(["old " * num_words])
    assert not recwarn.list


SIZES = [(64, 64), (128, 128), (32, 32), (50, 90), (90, 50), (97, 64), (200, 131), (40, 33)]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "random"])
@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [64, (64, 64), (48, 64), (64, 40)], ids=str)
def test_preprocessing_equals_open_clip_on_pil(
    encoder: ClipEncoder, size: int | tuple[int, int], resize_mode: str, interpolation: str
) -> None:
    config = {
        "size": size,
        "mean": (0.5, 0.4, 0.3),
        "std": (0.5, 0.6, 0.7),
        "interpolation": interpolation,
        "resize_mode": resize_mode,
        "fill_color": 90,
    }
    expected = open_clip.image_transform(
        size, False, config["mean"], config["std"], resize_mode, interpolation, fill_color=90
    )
    preprocess = type(encoder.preprocess).from_config(config)
    scale = torch.tensor(config["std"]).view(3, 1, 1) * 255
    for height, width in SIZES:
        image = noise_image(height, width)
        if resize_mode == "squash" and height != width:
            image = 96 + image // 4  # nothing is clipped, so that Pillow's order of passes does not matter
        difference = (preprocess(to_range(image))[0] - expected(Image.fromarray(image))) * scale
        assert difference.abs().max() <= 1.32, (height, width)
        assert difference.abs().mean() <= 0.35, (height, width)


def test_preprocessing_is_exact_where_nothing_is_resized(encoder: ClipEncoder) -> None:
    image = noise_image(64, 64)
    transform = open_clip.image_transform(64, False, encoder.preprocess.mean, encoder.preprocess.std)
    expected = transform(Image.fromarray(image))
    torch.testing.assert_close(encoder.preprocess(to_range(image))[0], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("key", ["interpolation", "resize_mode"])
def test_unknown_preprocessing_is_refused(encoder: ClipEncoder, key: str) -> None:
    with pytest.raises(InputError, match=f"{key}.*'nearest'"):
        type(encoder.preprocess).from_config({"size": 64, "mean": 0.5, "std": 0.5, key: "nearest"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  old man\n", "old man"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("😀👩‍🦰", "😀👩‍🦰"),
        ("امرأة ترتدي نظارات", "امرأة ترتدي نظارات"),
        ("眼鏡の女性", "眼鏡の女性"),
        ("x" * 2000, "x" * 2000),
    ],
)
def test_good_prompts_pass(text: str, expected: str) -> None:
    assert check_prompt(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nothing visible"),
        (" \n\t\u3000", "nothing visible"),
        ("\u200b\u200f", "nothing visible"),
        ("a\x00b", "U\\+0000"),
        ("\x1b[31mred", "U\\+001B"),
        ("bad \udc80 bytes", "U\\+DC80"),
        ("old man " * 1250, "at most 2000 characters, got 10000"),
    ],
)
def test_bad_prompts_are_refused(encoder: ClipEncoder, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        encoder.encode_text(["fine", text])
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 200
    str(raised.value).encode("utf-8")


@given(st.text(max_size=2100))
def test_every_text_is_accepted_stripped_or_refused_in_one_line(text: str) -> None:
    try:
        checked = check_prompt(text)
    except UsageError as error:
        message = str(error)
        assert len(message.splitlines()) == 1
    else:
        assert checked == text.strip() != ""


def write_damaged(folder: Path, tmp_path: Path, name: str, content: bytes | None) -> Path:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("open_clip_config.json", None),
        ("open_clip_config.json", b"{"),
        ("open_clip_config.json", b"\xff\xfe"),
        ("open_clip_config.json", b"[]"),
        ("open_clip_config.json", b'{"model_type": "bert"}'),
        ("open_clip_config.json", b'{"model_cfg": {"embed_dim": 8, "vision_cfg": {"depth": 3}, "text_cfg": {}}}'),
        ("open_clip_model.safetensors", None),
        ("open_clip_model.safetensors", b""),
        ("open_clip_model.safetensors", b"not safetensors at all"),
    ],
)
def test_damaged_folders_are_refused_by_file(folder: Path, tmp_path: Path, name: str, content: bytes | None) -> None:
    with pytest.raises(InputError) as raised:
        ClipEncoder.from_pretrained(str(write_damaged(folder, tmp_path, name, content)))
    assert str(tmp_path) in str(raised.value)
    assert "expected" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 1


def test_truncated_and_foreign_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    name = "open_clip_model.safetensors"
    whole = (folder / name).read_bytes()
    damaged = write_damaged(folder, tmp_path, name, whole[:-100])
    with pytest.raises(InputError, match="complete safetensors"):
        ClipEncoder.from_pretrained(str(damaged))
    other = json.loads(json.dumps(CONFIG))
    other["model_cfg"]["text_cfg"]["layers"] = 1
    save_hub_folder(build_clip(other), other, damaged)
    (damaged / "open_clip_config.json").write_bytes((folder / "open_clip_config.json").read_bytes())
    with pytest.raises(
        InputError,
        match=r"the model's config\); text.transformer.resblocks.1.* is missing, with 11 others",
    ):
        ClipEncoder.from_pretrained(str(damaged))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no-such-clip", "expected a name of the zoo"),
        ("local-dir:/no/such/folder", "expected a name of the zoo"),
        ("no/such/folder", "MODEL/PRETRAINED"),
        ("ViT-B-33/openai", "is one of these models meant: ViT-B-32"),
        ("ViT-B-32", "expected ViT-B-32/PRETRAINED with PRETRAINED a weights file, its address, or one of openai"),
        ("ViT-B-32/no-such-tag", "one of openai"),
        ("ViT-B-32//no/such/file.safetensors", "weights file"),
    ],
)
def test_unknown_sources_are_usage_errors(source: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ClipEncoder.from_pretrained(source)


@pytest.mark.parametrize("source", ["hf-hub:nobody/nothing-text2latent", "RN50/yfcc15m"])
def test_offline_downloads_say_what_was_looked_for(source: str, no_network: None, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=f"CLIP '{source}': looked for hf://.*without a network.*a local CLIP is a folder"
    ) as raised:
        ClipEncoder.from_pretrained(source)
    assert raised.value.exit_code == 1


def test_named_architecture_with_a_weights_file_equals_open_clip(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.create_model("ViT-S-32-alt").eval()
    weights = tmp_path / "weights.safetensors"
    save_file(model.state_dict(), weights)
    encoder = ClipEncoder.from_pretrained(f"ViT-S-32-alt/{weights}")
    tokens = open_clip.get_tokenizer("ViT-S-32-alt")(TEXTS)
    with torch.no_grad():
        expected = model.encode_text(tokens, normalize=True)
    torch.testing.assert_close(encoder.encode_text(TEXTS), expected, atol=1e-5, rtol=0)
    assert encoder.identity is not None
    assert encoder.identity.sha256 == sha256_of(weights)


def test_checking_a_prompt_does_not_import_open_clip() -> None:
    code = (
        "import sys; from text2latent.common.prompt_text import check_prompt; check_prompt('a man');"
        "sys.exit(bool({'open_clip', 'torchvision', 'timm', 'lightning', 'diffusers'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
