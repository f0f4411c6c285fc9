"""Text towers of M-CLIP and of sentence-transformers beside the images of another CLIP, against their recipes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from text2latent.common.errors import InputError, UsageError
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.tests.models.clip.small_transformers import TEXTS, VOCABULARY, edit, save, save_tokenizer

transformers = pytest.importorskip("transformers")
TEXT = {"intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": VOCABULARY}
DIM = 16
"""Channels of the embeddings of `tiny_world`'s CLIP."""


def save_m_clip(folder: Path) -> tuple[Any, nn.Linear]:
    """A folder as M-CLIP's program writes it; returns its text model and its linear map."""
    torch.manual_seed(0)
    config = transformers.XLMRobertaConfig(
        hidden_size=64,
        num_attention_heads=1,
        max_position_embeddings=34,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        **TEXT,
    )
    model, dense = transformers.XLMRobertaModel(config).eval(), nn.Linear(64, DIM)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    folder.mkdir()
    state = {f"transformer.{name}": value for name, value in model.state_dict().items()}
    state |= {f"LinearTransformation.{name}": value for name, value in dense.state_dict().items()}
    torch.save(state, folder / "pytorch_model.bin")
    told = {"modelBase": "xlm-roberta-base", "numDims": DIM, "transformerDimensions": 64, "model_type": "M-CLIP"}
    (folder / "config.json").write_text(json.dumps(told))
    save_tokenizer(folder, "bert")
    return model, dense


def save_sentence_transformer(folder: Path) -> tuple[Any, nn.Linear]:
    """A folder as sentence-transformers writes its multilingual text tower for CLIP's images."""
    torch.manual_seed(1)
    config = transformers.DistilBertConfig(
        dim=32, hidden_dim=48, n_layers=2, n_heads=2, vocab_size=VOCABULARY, max_position_embeddings=40, pad_token_id=1
    )
    model, dense = transformers.DistilBertModel(config).eval(), nn.Linear(32, DIM, bias=False)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    save_tokenizer(folder, "bert")
    parts = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
    listed = [{"path": path, "type": f"sentence_transformers.models.{name}"} for path, name in parts.items()]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24}))
    for path in ("1_Pooling", "2_Dense"):
        (folder / path).mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    told = {"in_features": 32, "out_features": DIM, "activation_function": "torch.nn.modules.linear.Identity"}
    (folder / "2_Dense" / "config.json").write_text(json.dumps(told))
    torch.save(
        {f"linear.{name}": value for name, value in dense.state_dict().items()}, folder / "2_Dense/pytorch_model.bin"
    )
    return model, dense


SAVERS = {"m-clip": save_m_clip, "sentence-transformers": save_sentence_transformer}


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any, nn.Linear]]:
    root = tmp_path_factory.mktemp("towers")
    return {kind: (root / kind, *save(root / kind)) for kind, save in SAVERS.items()}


@torch.no_grad()
def recipe(folder: Path, model: Any, dense: nn.Linear) -> Tensor:
    """The mean of the states over a text's tokens, mapped: both projects' own programs."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer(TEXTS, padding=True, return_tensors="pt")
    mask = tokens["attention_mask"]
    states = model(input_ids=tokens["input_ids"], attention_mask=mask)[0]
    return normalize(dense((states * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1)[:, None]), dim=-1)


@pytest.mark.parametrize("kind", SAVERS)
def test_texts_go_through_the_tower_and_images_through_the_clip(kind, towers, tiny_world):
    folder, model, dense = towers[kind]
    plain = ClipEncoder.from_pretrained(str(tiny_world))
    joined = ClipEncoder.from_pretrained(str(tiny_world), {"text": str(folder)})
    expected = recipe(folder, model, dense)
    assert (expected[0] - expected[2]).abs().max() > 1e-3
    torch.testing.assert_close(joined.encode_text(TEXTS), expected, atol=1e-6, rtol=0)
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(joined.encode_image(images), plain.encode_image(images))
    assert joined.identity.sha256 != plain.identity.sha256
    assert joined.identity.arguments == {"text": str(folder)}
    assert joined.context_length == {"m-clip": 32, "sentence-transformers": 24}[kind]


def test_a_tower_alone_is_told_how_to_give_it(towers):
    folder = towers["m-clip"][0]
    with pytest.raises(UsageError, match=f"a text tower alone; .* with --clip-args text={folder}"):
        ClipEncoder.from_pretrained(str(folder))


@pytest.mark.parametrize(
    ("kind", "file", "changes", "told"),
    [
        ("m-clip", "config.json", {"modelBase": "bert-base"}, "modelBase: expected XLM-RoBERTa or LaBSE"),
        ("m-clip", "config.json", {"model_type": "bert"}, "text: expected a folder or hf:// id of M-CLIP"),
        ("sentence-transformers", "config.json", {"model_type": "gpt2"}, "expected a text model of bert"),
        ("sentence-transformers", "config.json", {"auto_map": {"AutoModel": "a.B"}}, "let a class of your own load it"),
        ("sentence-transformers", "1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "expected a pooling by"),
        ("sentence-transformers", "2_Dense/config.json", {"activation_function": "os.system"}, "activation_function"),
        ("sentence-transformers", "2_Dense/pytorch_model.bin", None, "expected weights in"),
    ],
)  # fmt: skip
def test_towers_of_other_kinds_are_refused(kind, file, changes, told, towers, tiny_world, tmp_path):
    folder = Path(shutil.copytree(towers[kind][0], tmp_path / "tower"))
    if changes is None:
        (folder / file).unlink()
    else:
        edit(folder / file, **changes)
    with pytest.raises(InputError, match=told) as raised:
        ClipEncoder.from_pretrained(str(tiny_world), {"text": str(folder)})
    assert str(raised.value).isprintable()


def test_modules_outside_of_the_folder_are_refused(towers, tiny_world, tmp_path):
    folder = Path(shutil.copytree(towers["sentence-transformers"][0], tmp_path / "tower"))
    listed = json.loads((folder / "modules.json").read_text())
    listed[2]["path"] = "../2_Dense"
    (folder / "modules.json").write_text(json.dumps(listed))
    with pytest.raises(InputError, match="expected the names of folders in it"):
        ClipEncoder.from_pretrained(str(tiny_world), {"text": str(folder)})


def test_what_is_said_of_texts_is_for_the_tower(towers, tiny_world):
    said = {"text": str(towers["m-clip"][0]), "context_length": 10}
    assert ClipEncoder.from_pretrained(str(tiny_world), said).context_length == 10


def test_a_clip_of_sentence_transformers_is_the_one_inside(towers, tmp_path):
    """As `clip-ViT-B-32` is published, whose images the multilingual tower is for."""
    inside = tmp_path / "clip-ViT-B-32" / "0_CLIPModel"
    model = save(inside, "clip")
    listed = [{"path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}]
    (inside.parent / "modules.json").write_text(json.dumps(listed))
    encoder, plain = (ClipEncoder.from_pretrained(str(folder)) for folder in (inside.parent, inside))
    assert torch.equal(encoder.encode_text(TEXTS), plain.encode_text(TEXTS))
    assert (encoder.identity.name, encoder.identity.sha256) == ("clip-ViT-B-32", plain.identity.sha256)
    assert model.config.projection_dim == encoder.embedding_dim


def test_features_of_another_length_are_refused(towers):
    with pytest.raises(
        InputError, match=r"text: expected features of 128 channels, as of the images of faces.*, got 16"
    ):
        ClipEncoder.from_pretrained("faces", {"text": str(towers["m-clip"][0])})
