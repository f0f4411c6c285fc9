"""CLIPs that are a head on another one's embeddings."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import normalize

from text2latent.common.errors import InputError
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.clip.files import locate
from text2latent.models.clip.head import HEAD_NAME, EmbeddingHead, read_heads, save_heads
from text2latent.models.sources import zoo
from text2latent.models.sources.identity import sha256_of
from text2latent.models.sources.location import locate as locate_part

BASE = "faces"
DIM = 128


def make_head(embedding_dim: int = 6, num_features: int = 4, seed: int = 0) -> EmbeddingHead:
    head = EmbeddingHead(embedding_dim, DIM, num_features)
    generator = torch.Generator().manual_seed(seed)
    state = head.state_dict()
    # Of values that are exact in half precision, in which they are stored.
    head.load_state_dict({name: torch.randn(state[name].shape, generator=generator).half() for name in state})
    return head


@pytest.fixture(scope="module")
def base() -> ClipEncoder:
    return ClipEncoder.from_pretrained(BASE)


@pytest.fixture
def folder(tmp_path: Path, base: ClipEncoder) -> Path:
    assert base.identity is not None
    heads = {"image": make_head(), "text": make_head(seed=1)}
    save_heads(tmp_path / HEAD_NAME, heads, BASE, base.identity.sha256)
    return tmp_path


def test_a_head_is_what_its_docstring_says() -> None:
    head, embeddings = make_head(), torch.randn(3, DIM)
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    state = head.state_dict()
    waves = 2**0.5 * torch.cos(unit @ state["frequencies"].T + state["phases"])
    wanted = unit @ state["linear"].T + state["constant"] + waves @ state["features"].T
    assert torch.allclose(head(embeddings), wanted, atol=1e-5)
    assert torch.allclose(head(5 * embeddings), wanted, atol=1e-5), "only the direction counts"


def test_it_embeds_through_the_base_and_the_head(folder: Path, base: ClipEncoder) -> None:
    clip = ClipEncoder.from_pretrained(str(folder))
    texts, images = ["woman with glasses", "眼鏡の女性"], torch.rand(2, 3, 128, 128) * 2 - 1
    heads = read_heads(folder / HEAD_NAME, DIM)
    assert clip.embedding_dim == 6
    with torch.no_grad():
        assert torch.allclose(
            clip.encode_image(images), normalize(heads[0](base.encode_image(images)), dim=1), atol=1e-5
        )
        assert torch.allclose(clip.encode_text(texts), normalize(heads[1](base.encode_text(texts)), dim=1), atol=1e-5)
    images.requires_grad_(True)
    clip.encode_image(images)[:, 0].sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_identity_is_of_the_head_and_its_base(folder: Path, base: ClipEncoder) -> None:
    identity = locate(str(folder)).identity
    assert (identity.name, identity.sha256) == (folder.name, sha256_of(folder / HEAD_NAME))
    assert base.identity is not None
    before = identity.sha256
    save_heads(folder / HEAD_NAME, {"image": make_head(), "text": make_head(seed=1)}, BASE, "0" * 64)
    assert sha256_of(folder / HEAD_NAME) != before
    with pytest.raises(InputError, match=rf"expected the CLIP faces \(0{{12}}\) under it, got {BASE}"):
        locate(str(folder))


def test_bases_beyond_the_zoo_and_heads_on_heads_are_refused(folder: Path) -> None:
    heads = {"image": make_head(), "text": make_head()}
    save_heads(folder / HEAD_NAME, heads, str(folder), sha256_of(folder / HEAD_NAME))
    with pytest.raises(InputError, match="expected heads on a CLIP of the zoo"):
        locate(str(folder))
    hard = locate("faces-hard").identity
    save_heads(folder / HEAD_NAME, heads, "faces-hard", hard.sha256)
    with pytest.raises(InputError, match="expected the CLIP faces-hard"):
        locate(str(folder))


def test_damaged_files_are_refused_by_name(folder: Path, base: ClipEncoder) -> None:
    path = folder / HEAD_NAME
    assert base.identity is not None
    metadata = {"base": BASE, "base_sha256": base.identity.sha256}
    heads = {"image": make_head(), "text": make_head(seed=1)}
    tensors = {f"{name}.{key}": value for name, head in heads.items() for key, value in head.state_dict().items()}
    longer = {f"text.{name}": value for name, value in make_head(7).state_dict().items()}
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"head\.safetensors: expected a complete safetensors file"):
        locate(str(folder))
    for changed, message in (
        ({name: value for name, value in tensors.items() if name != "text.phases"}, "expected the tensors of a head"),
        ({**tensors, "image.linear": torch.zeros(6, 5)}, "expected the tensors of a head of 128 channels"),
        ({**tensors, "image.constant": torch.full((6,), float("nan"))}, "expected finite numbers"),
        ({**tensors, **longer}, "as many channels"),
    ):
        save_file(changed, path, metadata)
        with pytest.raises(InputError, match=message):
            ClipEncoder.from_pretrained(str(folder))
    save_file(tensors, path)
    with pytest.raises(InputError, match="expected base and base_sha256 in its metadata"):
        locate(str(folder))


def test_a_world_may_share_what_another_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for world in ("birds", "more-birds"):
        (tmp_path / world / "weights" / "clip").mkdir(parents=True)
    (tmp_path / "birds" / "weights" / "generator").mkdir()
    (tmp_path / "more-birds" / "weights" / zoo.SHARED).write_text('{"generator": "birds"}')
    monkeypatch.setattr(zoo, "ZOO", tmp_path)
    assert locate_part("more-birds", "generator").path == locate_part("birds", "generator").path
    assert locate_part("more-birds", "clip").path != locate_part("birds", "clip").path
    assert zoo.owner("more-birds", "generator") == "birds"
    shutil.rmtree(tmp_path / "birds")
    with pytest.raises(InputError, match="ships no generator"):
        locate_part("more-birds", "generator")
