"""CLIPs in plain torch, against open_clip's of the same files."""

from __future__ import annotations

import json
import pickle
from copy import deepcopy
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from text2latent.models.clip.building import read_model
from text2latent.models.clip.clip import Clip, CustomTextClip, parse_towers
from text2latent.models.clip.encoder import ClipEncoder, build_clip, save_hub_folder
from text2latent.models.clip.files import locate
from text2latent.models.clip.head import HEAD_NAME, HeadedClip, read_heads
from text2latent.models.clip.normalizing import plain
from text2latent.models.clip.tokenizer import BytePairTokenizer
from text2latent.models.sources.zoo import ZOO

RESNET = {"image_size": 64, "layers": [2, 1, 1, 1], "width": 8, "head_width": 32}
VIT = {"image_size": 32, "layers": 2, "width": 48, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 12, "vocab_size": 100, "width": 32, "heads": 2, "layers": 2}
MODEL = {"embed_dim": 24, "vision_cfg": VIT, "text_cfg": TEXT}
TOKENS = torch.tensor([[98, 5, 6, 99, *[0] * 8], [98, 7, 2, 99, *[0] * 8], [98, *[3] * 10, 99]])
WEIGHTS = "open_clip_model.safetensors"

PLAIN: dict[str, dict[str, Any]] = {
    "vision transformer": {},
    "resnet": {"vision_cfg": RESNET},
    "resnet with a patch size": {"vision_cfg": {**RESNET, "patch_size": None}},
    "quick": {"quick_gelu": True},
    "quick resnet": {"quick_gelu": True, "vision_cfg": RESNET},
    "wide vision": {"vision_cfg": {**VIT, "mlp_ratio": 3, "image_size": 36}},
    "bidirectional": {"text_cfg": {**TEXT, "no_causal_mask": True}},
    "first": {"text_cfg": {**TEXT, "pool_type": "first", "no_causal_mask": True}},
    "last": {"text_cfg": {**TEXT, "pool_type": "last"}},
    "end": {"text_cfg": {**TEXT, "pool_type": "eos", "eos_id": 6}},
    "biased": {"text_cfg": {**TEXT, "proj_bias": True}},
    "unprojected": {"text_cfg": {**TEXT, "proj_type": "none", "width": 24}},
    "wide text": {"text_cfg": {**TEXT, "mlp_ratio": 2.5, "layers": 3, "heads": 4}},
}
OTHERS: dict[str, dict[str, Any]] = {
    "class token": {"text_cfg": {**TEXT, "embed_cls": True}, "custom_text": True},
    "layer scale": {"text_cfg": {**TEXT, "ls_init_value": 0.5}},
    "custom blocks": {"text_cfg": {**TEXT, "qk_norm": True}},
    "another epsilon": {"text_cfg": {**TEXT, "norm_kwargs": {"eps": 1e-3}}},
    "another nonlinearity": {"text_cfg": {**TEXT, "act_kwargs": {"approximate": "tanh"}}},
    "mean of patches": {"vision_cfg": {**VIT, "pool_type": "avg"}},
    "attention over patches": {"vision_cfg": {**VIT, "attentional_pool": True, "attn_pooler_heads": 2}},
    "no first norm": {"vision_cfg": {**VIT, "no_ln_pre": True}},
    "oblong": {"vision_cfg": {**VIT, "image_size": [32, 48]}},
    "bias of logits": {"init_logit_bias": -10.0},
}


def write(folder: Path, **changes: Any) -> Path:
    """A folder with random weights of which none is left as it starts: norms, biases and statistics too."""
    config = {"model_cfg": {**MODEL, **changes}, "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "resize_mode": None}}
    torch.manual_seed(0)
    model = build_clip(config)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor += 0.05 * torch.rand_like(tensor) if "running_var" in name else 0.05 * torch.randn_like(tensor)
    save_hub_folder(model, config, folder)
    return folder


def theirs(folder: Path) -> Any:
    return open_clip.create_model_from_pretrained(f"local-dir:{folder}", return_transform=False).eval()


def images_for(model: Any) -> Tensor:
    """Three pictures of the size that a model takes, of different colours and noise."""
    size = model.visual.image_size
    generator = torch.Generator().manual_seed(1)
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    return 3 * torch.randn(3, 3, 1, 1, generator=generator) + torch.randn(3, 3, height, width, generator=generator)


def is_plain(model: nn.Module) -> bool:
    return isinstance(model, (Clip, CustomTextClip))


@torch.no_grad()
def assert_equal(ours: Any, reference: Any, tokens: Tensor, images: Tensor) -> None:
    texts = ours.encode_text(tokens), reference.encode_text(tokens)
    pictures = ours.encode_image(images), reference.encode_image(images)
    for found, expected in (texts, pictures):
        found, expected = normalize(found, dim=-1), normalize(expected, dim=-1)
        assert (expected[0] - expected[1]).abs().max() > 1e-3, "a reference that distinguishes its inputs"
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("custom_text", [False, True], ids=["flat", "custom"])
@pytest.mark.parametrize("changes", PLAIN.values(), ids=PLAIN)
def test_a_plain_clip_is_that_of_open_clip(changes: dict[str, Any], custom_text: bool, tmp_path: Path) -> None:
    folder = write(tmp_path, **changes, custom_text=custom_text)
    ours, reference = read_model(locate(str(folder))).eval(), theirs(folder)
    assert isinstance(ours, CustomTextClip if custom_text else Clip)
    assert_equal(ours, reference, TOKENS, images_for(reference))
    expected, found = reference.state_dict(), ours.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert json.dumps(ours.visual.preprocess_cfg) == json.dumps(reference.visual.preprocess_cfg)


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_what_is_not_plain_is_left_to_open_clip(changes: dict[str, Any], tmp_path: Path) -> None:
    assert parse_towers({**MODEL, **changes}) is None
    folder = write(tmp_path, **changes)
    ours, reference = read_model(locate(str(folder))).eval(), theirs(folder)
    assert not is_plain(ours)
    assert_equal(ours, reference, TOKENS, images_for(reference))


@pytest.mark.parametrize(
    "changes",
    [
        {"text_cfg": None},
        {"vision_cfg": []},
        {"embed_dim": "24"},
        {"embed_dim": True},
        {"quick_gelu": "no"},
        {"text_cfg": {**TEXT, "layers": 2.0}},
        {"text_cfg": {**TEXT, "pool_type": "none"}},
        {"text_cfg": {**TEXT, "output_tokens": True}},
        {"text_cfg": {**TEXT, "hf_model_name": "bert"}},
        {"vision_cfg": {**VIT, "timm_model_name": "vit"}},
        {"vision_cfg": {**RESNET, "mlp_ratio": 4.0}},
        {"multimodal_cfg": {}},
    ],
    ids=str,
)
def test_only_configs_that_are_known_in_each_part_are_plain(changes: dict[str, Any]) -> None:
    assert parse_towers(MODEL) is not None
    assert parse_towers({**MODEL, **changes}) is None


def test_weights_of_another_layout_are_the_same(tmp_path: Path) -> None:
    """A custom tower's config with the names of OpenAI's layout, which open_clip rewrites."""
    folder = write(tmp_path, custom_text=True)
    expected = read_model(locate(str(folder))).eval()
    flat = {name.removeprefix("text."): value for name, value in load_file(folder / WEIGHTS).items()}
    save_file(flat, folder / WEIGHTS)
    found = read_model(locate(str(folder))).eval()
    assert is_plain(found)
    assert_equal(found, expected, TOKENS, images_for(expected))


def test_weights_in_a_file_of_torch_are_read_as_data(tmp_path: Path) -> None:
    folder = write(tmp_path)
    expected = read_model(locate(str(folder))).eval()
    torch.save(load_file(folder / WEIGHTS), folder / "open_clip_pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    found = read_model(locate(str(folder))).eval()
    assert is_plain(found)
    assert_equal(found, expected, TOKENS, images_for(expected))


@pytest.fixture(scope="module")
def faces() -> ClipEncoder:
    return ClipEncoder.from_pretrained("faces")


@pytest.mark.parametrize("world", ["faces", "faces-hard"])
def test_the_clips_of_the_zoo_are_those_of_open_clip(world: str, faces: ClipEncoder) -> None:
    base = ZOO / "faces" / "weights" / "clip"
    reference = theirs(base)
    if world != "faces":
        heads = read_heads(ZOO / world / "weights" / "clip" / HEAD_NAME, 128)
        reference = HeadedClip(reference, *heads)
    ours = ClipEncoder.from_pretrained(world)
    texts = ["blonde woman with glasses", "眼鏡の女性", "an old man; Bärtig & müde", "x" * 300]
    tokens = open_clip.get_tokenizer(f"local-dir:{base}")(texts)
    assert is_plain(faces.model)
    assert torch.equal(ours.tokenizer(texts), tokens)
    assert isinstance(plain(ours.tokenizer), BytePairTokenizer)
    assert_equal(ours.model, reference, tokens, images_for(reference))


def test_encoders_may_be_copied_pickled_and_moved(faces: ClipEncoder) -> None:
    texts, images = ["old man", "眼鏡"], torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = faces.encode_text(texts), faces.encode_image(images)
    for copy in (deepcopy(faces), pickle.loads(pickle.dumps(faces)), deepcopy(faces).double(), deepcopy(faces).eval()):
        assert not any(parameter.requires_grad for parameter in copy.parameters())
        torch.testing.assert_close(copy.encode_text(texts), expected[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(copy.encode_image(images), expected[1], atol=1e-6, rtol=0)
    half = deepcopy(faces).bfloat16()
    assert (half.encode_text(texts) * expected[0]).sum(dim=1).min() > 0.99
    assert (half.encode_image(images) * expected[1]).sum(dim=1).min() > 0.99


def test_gradients_are_those_of_open_clip(tmp_path: Path) -> None:
    folder = write(tmp_path, vision_cfg=RESNET)
    grads = []
    for model in (read_model(locate(str(folder))).eval(), theirs(folder)):
        images = images_for(model).requires_grad_()
        model.encode_image(images).square().sum().backward()
        grads.append(normalize(images.grad.flatten(), dim=0))
    torch.testing.assert_close(*grads, atol=1e-6, rtol=0)
