"""Files of weights of every kind, and what they don't say: taken from tables, asked for, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.openai import load_openai_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from text2latent.common.errors import InputError, UsageError
from text2latent.models.clip import published
from text2latent.models.clip.clip import Clip
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.clip.files import locate
from text2latent.models.clip.weights import read_weights
from text2latent.models.sources.identity import Identity, require_same, sha256_of

TOKENIZER = open_clip.SimpleTokenizer()
TEXTS = ["A woman, with glasses!", "old man", "眼鏡の女性"]
SMALL = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64}


def model_of(**changes: Any) -> Any:
    torch.manual_seed(0)
    return open_clip.CLIP(**{**SMALL, **changes}).eval()


def torchscript(path: Path, model: Any, half: bool = True) -> Path:
    """A file as OpenAI wrote theirs: half-precision weights, traced on a CPU before, with three numbers besides."""
    size = model.visual.image_size
    size = size if isinstance(size, int) else size[0]
    tokens = torch.zeros(1, model.positional_embedding.shape[0], dtype=torch.long)
    vars(model)["attn_mask"] = model._buffers.pop("attn_mask")  # a constant of the program, as in OpenAI's
    for name, value in (("input_resolution", size), ("context_length", tokens.shape[1]), ("vocab_size", 49408)):
        vars(model).pop(name, None)
        model.register_buffer(name, torch.tensor(value))
    inputs = {"encode_image": torch.rand(1, 3, size, size), "encode_text": tokens}
    traced = torch.jit.trace_module(model, inputs, check_trace=False)
    (traced.half() if half else traced).save(str(path))
    return path


@pytest.fixture(scope="module")
def small_name(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small model among open_clip's, under a name without published weights; its tags come from `with_tags`."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / "Tiny-B-16.json").write_text(json.dumps(SMALL))
    open_clip.add_model_config(folder / "Tiny-B-16.json")
    return "Tiny-B-16"


@pytest.fixture
def with_tags(small_name: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Function: gives the small model published weights, by tag, with what open_clip's table says of each."""

    def publish(**tags: dict[str, Any]) -> str:
        usual = open_clip.get_pretrained_cfg("ViT-B-32", "laion2b_s34b_b79k")
        table = {tag: {**usual, "hf_hub": "", **settings} for tag, settings in tags.items()}
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, small_name, table)
        return small_name

    return publish


def saved(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "w.safetensors"
    save_file(model_of(**changes).state_dict(), path)
    return path


def picture(size: int = 32) -> Tensor:
    values = np.random.default_rng(0).integers(0, 256, (1, 3, size, size), dtype=np.uint8)
    return torch.from_numpy(values).float().div(127.5).sub(1)


@torch.no_grad()
def assert_embeds_as(encoder: ClipEncoder, model: Any, mean: Any = None, std: Any = None, tolerance: float = 1e-6):
    size = encoder.preprocess.size
    mean, std = mean or open_clip.OPENAI_DATASET_MEAN, std or open_clip.OPENAI_DATASET_STD
    tokens = TOKENIZER(TEXTS, encoder.context_length)
    pixels = picture(size[0]).add(1).div(2).sub(torch.tensor(mean).view(3, 1, 1)).div(torch.tensor(std).view(3, 1, 1))
    text, image = model.encode_text(tokens, normalize=True), model.encode_image(pixels, normalize=True)
    torch.testing.assert_close(encoder.encode_text(TEXTS), text, atol=tolerance, rtol=0)
    torch.testing.assert_close(encoder.encode_image(picture(size[0])), image, atol=tolerance, rtol=0)


# ---- what a file doesn't say


def test_what_all_published_weights_have_is_taken(with_tags, tmp_path):
    name = with_tags(a={"quick_gelu": True, "mean": (0.5,) * 3}, b={"quick_gelu": True, "mean": (0.5,) * 3})
    encoder = ClipEncoder.from_pretrained(f"{name}/{saved(tmp_path)}")
    assert_embeds_as(encoder, model_of(quick_gelu=True), mean=(0.5,) * 3)


def test_what_they_differ_in_is_asked_for(with_tags, tmp_path):
    name = with_tags(a={"quick_gelu": True}, b={}, c={"mean": (0.5,) * 3, "resize_mode": "squash"})
    source = f"{name}/{saved(tmp_path)}"
    with pytest.raises(UsageError) as raised:
        ClipEncoder.from_pretrained(source)
    told = str(raised.value)
    assert "doesn't show quick_gelu, mean, resize_mode" in told
    assert "quick_gelu true of a, false of b c" in told
    assert "mean [0.4815, 0.4578, 0.4082] of a b, [0.5, 0.5, 0.5] of c" in told
    assert "--clip-args pretrained=TAG" in told
    assert len(told.splitlines()) == 1
    said = {"quick_gelu": True, "mean": [0.5] * 3, "resize_mode": "shortest"}
    assert_embeds_as(ClipEncoder.from_pretrained(source, said), model_of(quick_gelu=True), mean=(0.5,) * 3)
    assert_embeds_as(ClipEncoder.from_pretrained(source, {"pretrained": "a"}), model_of(quick_gelu=True))
    by_tag = ClipEncoder.from_pretrained(source, {"pretrained": "c", "mean": [0.25] * 3})
    assert (by_tag.preprocess.resize_mode, by_tag.preprocess.mean) == ("squash", (0.25,) * 3)
    with pytest.raises(UsageError, match="pretrained: expected one of Tiny-B-16's, a, b, c; got 'd'"):
        ClipEncoder.from_pretrained(source, {"pretrained": "d"})


def test_the_real_tables_leave_these_open(tmp_path):
    path = saved(tmp_path)
    for model, opened in (
        ("ViT-L-14", "quick_gelu, mean, std"),
        ("ViT-B-16", "quick_gelu"),
        ("ViT-H-14", "quick_gelu"),
    ):
        with pytest.raises(UsageError, match=f"doesn't show {opened}"):
            locate(f"{model}/{path}")
    located = locate(f"ViT-B-32-quickgelu/{path}")
    assert located.model_config["quick_gelu"] is True
    siglip = locate(f"ViT-B-16-SigLIP/{path}").preprocessing
    assert siglip == {"mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    assert locate(f"ViT-L-14-336/{path}").model_config["quick_gelu"] is True


@pytest.mark.parametrize("address", ["https://a/clip/models/{}/x.pt", "https://a/download/x-{:.8}.pt"])
def test_a_published_file_is_known_by_its_checksum(with_tags, tmp_path, address):
    path = saved(tmp_path)
    name = with_tags(a={"quick_gelu": True, "url": address.format(sha256_of(path))}, b={}, c={"mean": (0.5,) * 3})
    assert published.recognise(sha256_of(path)) == (name, "a")
    for source in (f"{name}/{path}", str(path)):
        assert_embeds_as(ClipEncoder.from_pretrained(source), model_of(quick_gelu=True))


def test_a_config_beside_a_file_says_the_rest(with_tags, tmp_path):
    path = saved(tmp_path)
    name = with_tags(a={"quick_gelu": True}, b={})
    config = {"model_cfg": {**SMALL, "quick_gelu": True}, "preprocess_cfg": {"mean": [0.5] * 3}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    assert_embeds_as(ClipEncoder.from_pretrained(f"{name}/{path}"), model_of(quick_gelu=True), mean=(0.5,) * 3)
    config["model_cfg"]["quick_gelu"] = False
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=r"ViT-B-32-quickgelu has QuickGELU, .*open_clip_config\.json says GELU"):
        locate(f"ViT-B-32-quickgelu/{path}")
    config["model_cfg"]["quick_gelu"] = True
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    usual = path.rename(tmp_path / "model.safetensors")
    assert_embeds_as(ClipEncoder.from_pretrained(str(usual)), model_of(quick_gelu=True), mean=(0.5,) * 3)


def test_a_file_alone_is_told_which_models_it_fits(small_name, tmp_path):
    path = saved(tmp_path)
    with pytest.raises(UsageError, match=f"its tensors have the shapes of {small_name}; expected MODEL/FILE"):
        ClipEncoder.from_pretrained(str(path))
    assert_embeds_as(ClipEncoder.from_pretrained(str(path), {"model": small_name}), model_of())
    with pytest.raises(UsageError, match="model: expected one of open_clip's, such as Tiny-B-16"):
        ClipEncoder.from_pretrained(str(path), {"model": "Tiny-B-17"})


# ---- positions are never resized


@pytest.mark.parametrize(
    ("changes", "said", "told"),
    [
        (
            {"vision_cfg": {**SMALL["vision_cfg"], "image_size": 48}},
            {"image_size": 48},
            r"expected \[5, 64\].*\[10, 64\]",
        ),
        (
            {"text_cfg": {**SMALL["text_cfg"], "context_length": 248}},
            {"context_length": 248},
            r"\[77, 64\].*\[248, 64\]",
        ),
    ],
    ids=["images", "texts"],
)
@pytest.mark.parametrize("custom_text", [False, True])
def test_positions_are_not_resized(small_name, tmp_path, changes, said, told, custom_text):
    path = saved(tmp_path, **changes)
    ((flag, value),) = said.items()
    with pytest.raises(InputError, match=rf"{told}; they are not resized. --clip-args {flag}={value}") as raised:
        ClipEncoder.from_pretrained(f"{small_name}/{path}")
    assert len(str(raised.value).splitlines()) == 1
    assert_embeds_as(ClipEncoder.from_pretrained(f"{small_name}/{path}", said), model_of(**changes))
    config = {"model_cfg": {**SMALL, "custom_text": custom_text}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    path.rename(tmp_path / "open_clip_model.safetensors")
    with pytest.raises(InputError, match=told):
        ClipEncoder.from_pretrained(str(tmp_path))
    assert_embeds_as(ClipEncoder.from_pretrained(str(tmp_path), said), model_of(**changes))


def test_the_two_tables_of_long_clip_are_one(small_name, tmp_path):
    long = {"text_cfg": {**SMALL["text_cfg"], "context_length": 248}}
    state = model_of(**long).state_dict()
    late = torch.randn(248, 64)
    save_file({**state, "positional_embedding_res": late}, tmp_path / "long.safetensors")
    encoder = ClipEncoder.from_pretrained(f"{small_name}/{tmp_path / 'long.safetensors'}", {"context_length": 248})
    expected = model_of(**long)
    expected.positional_embedding.data[20:] = late[20:]
    assert_embeds_as(encoder, expected)


# ---- OpenAI's own files


@pytest.mark.parametrize("changes", [{}, {"vision_cfg": RESNET}], ids=["ViT", "ResNet"])
def test_a_torchscript_archive_is_that_of_open_clip(tmp_path, changes):
    path = torchscript(tmp_path / "ViT-B-32.pt", model_of(**changes, quick_gelu=True))
    encoder = ClipEncoder.from_pretrained(str(path))
    assert isinstance(encoder.model, Clip)
    assert (encoder.identity.name, encoder.identity.sha256) == ("ViT-B-32", sha256_of(path))
    assert_embeds_as(encoder, load_openai_model(str(path), precision="fp32", device="cpu"))
    assert_embeds_as(ClipEncoder.from_pretrained(f"ViT-B-32/{path}"), load_openai_model(str(path), "fp32", "cpu"))


def test_an_archive_with_gelu_is_read_as_such(tmp_path):
    model = model_of()
    encoder = ClipEncoder.from_pretrained(str(torchscript(tmp_path / "gelu.pt", model, half=False)))
    assert encoder.identity.settings["activation"] == "GELU"
    assert_embeds_as(encoder, model)


def test_an_archive_of_another_network_is_refused(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "other.pt"))
    with pytest.raises(UsageError, match="it doesn't show its activation"):
        ClipEncoder.from_pretrained(str(tmp_path / "other.pt"))
    with pytest.raises(InputError, match="expected a TorchScript archive of OpenAI's CLIP") as raised:
        ClipEncoder.from_pretrained(str(tmp_path / "other.pt"), {"quick_gelu": True})
    assert len(str(raised.value).splitlines()) == 1


# ---- checkpoints of training


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in state.items()}


CHECKPOINTS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "bare": lambda state: state,
    "bare, among other values": lambda state: {**state, "epoch": 3, "loss": np.float64(0.5)},
    "open_clip's": lambda state: {"epoch": 3, "name": "run", "state_dict": prefixed(state, "module.")},
    "compiled": lambda state: {"model": prefixed(state, "_orig_mod.")},
    "compiled and spread": lambda state: {"state_dict": prefixed(state, "module._orig_mod.")},
    "model_state_dict": lambda state: {"model_state_dict": state, "best": np.float32(1.5), "step": np.int64(7)},
    "below a name": lambda state: {"state_dict": {**prefixed(state, "model."), "loss.weight": torch.ones(2)}},
    "optimizer": lambda state: {
        "state_dict": state,
        "optimizer": {
            "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(4)}},
            "param_groups": [{"lr": 1e-3}],
        },
        "rng": np.arange(5),
    },
}


@pytest.mark.parametrize("layout", ["zip", "stream"])
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints_of_training_are_read(kind, layout, tmp_path):
    state = model_of().state_dict()
    path = tmp_path / "epoch_3.pt"
    torch.save(CHECKPOINTS[kind](dict(state)), path, _use_new_zipfile_serialization=layout == "zip")
    found = read_weights(path)
    assert found.keys() >= state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


@pytest.mark.slow
def test_a_checkpoint_of_lightning_is_read(small_name, tmp_path):
    import lightning

    class Training(lightning.LightningModule):
        def __init__(self, width: int = 3) -> None:
            super().__init__()
            self.save_hyperparameters({"width": width, "folder": Path("runs"), "rate": np.float64(0.1)})
            self.clip = model_of()

        def training_step(self, batch: Any) -> Tensor:
            return self.clip.logit_scale

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=0.0)

        def train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(torch.zeros(1, 1))

    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = lightning.Trainer(max_steps=1, default_root_dir=tmp_path, enable_checkpointing=False, **options)
    trainer.fit(Training())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    assert_embeds_as(ClipEncoder.from_pretrained(f"{small_name}/{tmp_path / 'last.ckpt'}"), model_of())


def test_two_clips_in_one_file_are_told(tmp_path):
    state = model_of().state_dict()
    torch.save({**prefixed(state, "student."), **prefixed(state, "teacher.")}, tmp_path / "two.pt")
    with pytest.raises(InputError, match=r"it holds several, below student\., teacher\.: save one alone"):
        read_weights(tmp_path / "two.pt")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_the_wrong_model_are_told_in_one_plain_line(small_name, dtype, tmp_path):
    """Half precision, safetensors and not; what comes of it has no control characters and no advice about torch."""
    other = model_of(vision_cfg={**SMALL["vision_cfg"], "patch_size": 8, "image_size": 16}).state_dict()
    state = {name: value.to(dtype) for name, value in other.items()}
    save_file(state, tmp_path / "w.safetensors")
    torch.save({"state_dict": prefixed(state, "module."), "loss": np.float64(1)}, tmp_path / "w.pt")
    for path in (tmp_path / "w.safetensors", tmp_path / "w.pt"):
        with pytest.raises(InputError) as raised:
            ClipEncoder.from_pretrained(f"{small_name}/{path}")
        told = str(raised.value)
        assert told.startswith(
            f"{path}: expected weights that fit Tiny-B-16; visual.conv1.weight is [64, 3, 8, 8], not"
        )
        assert told.isprintable()
        assert "weights_only" not in told


def test_half_precision_is_loaded_as_float32(small_name, tmp_path):
    state = {name: value.bfloat16() for name, value in model_of().state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    model = model_of()
    model.load_state_dict(state)
    assert_embeds_as(ClipEncoder.from_pretrained(f"{small_name}/{tmp_path / 'w.safetensors'}"), model)


def test_the_folder_of_the_hubs_cache_is_taken(tmp_path):
    root = tmp_path / "models--org--clip"
    for revision in ("aaaa", "bbbb"):
        (root / "snapshots" / revision).mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("bbbb")
    save_file(model_of().state_dict(), root / "snapshots" / "bbbb" / "open_clip_model.safetensors")
    (root / "snapshots" / "bbbb" / "open_clip_config.json").write_text(json.dumps({"model_cfg": SMALL}))
    encoder = ClipEncoder.from_pretrained(str(root))
    assert encoder.identity.name == "org/clip"
    assert_embeds_as(encoder, model_of())
    (root / "refs" / "main").unlink()
    with pytest.raises(InputError, match="expected one snapshot of the repository, got 2; name one of them"):
        ClipEncoder.from_pretrained(str(root))


# ---- identity


@pytest.mark.parametrize(
    ("said", "setting"),
    [
        ({"quick_gelu": True}, "activation"),
        ({"mean": [0.5] * 3}, "mean"),
        ({"std": [0.5] * 3}, "std"),
        ({"interpolation": "bilinear"}, "interpolation"),
        ({"resize_mode": "squash"}, "resize_mode"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_clip_of_the_same_file_is_another(small_name, tmp_path, said, setting):
    path = saved(tmp_path)
    first = ClipEncoder.from_pretrained(f"{small_name}/{path}").identity
    other = ClipEncoder.from_pretrained(f"{small_name}/{path}", said).identity
    assert first.sha256 == other.sha256
    with pytest.raises(InputError, match=f"the weights are the same, but {setting} .* there, .* here"):
        require_same(first, other, "CLIP")
    for record in (first, other):
        assert Identity.from_dict(json.loads(json.dumps(record.to_dict()))) == record
    require_same(Identity(first.name, first.source, first.sha256), other, "CLIP")
    assert other.arguments == said


def test_context_length_and_tokenizer_are_part_of_the_identity(tmp_path):
    from text2latent.models.clip.settings import settings_of
    from text2latent.models.clip.tokenizer import BytePairTokenizer, find_vocabulary

    preprocess = ClipEncoder.from_pretrained("faces").preprocess
    first = settings_of(preprocess, BytePairTokenizer(find_vocabulary(), 77), {})
    assert settings_of(preprocess, open_clip.SimpleTokenizer(context_length=77), {}) == first
    longer = settings_of(preprocess, BytePairTokenizer(find_vocabulary(), 248), {})
    assert (first["context_length"], longer["context_length"]) == ("77", "248")
    other = settings_of(preprocess, open_clip.SimpleTokenizer(context_length=77, clean="canonicalize"), {})
    assert {name for name in first if first[name] != other[name]} == {"tokenizer"}


def test_the_same_clip_is_the_same_from_file_folder_and_open_clip(small_name, tmp_path):
    """One file by its name and in a folder, whether open_clip builds it or plain torch."""
    path = saved(tmp_path)
    named = ClipEncoder.from_pretrained(f"{small_name}/{path}").identity
    config = {"model_cfg": {**SMALL, "quick_gelu": False}, "preprocess_cfg": {"interpolation": "random"}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    path.rename(tmp_path / "open_clip_model.safetensors")
    in_folder = ClipEncoder.from_pretrained(str(tmp_path)).identity
    assert named.differences(in_folder) == []
    state = load_file(tmp_path / "open_clip_model.safetensors")
    assert in_folder.settings["size"] == "32 32"
    assert state
