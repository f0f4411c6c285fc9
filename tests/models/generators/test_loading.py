"""Folders of config and weights: round trip, identity, and files that don't fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from text2latent.common.errors import InputError
from text2latent.models.generators import load_generator
from text2latent.models.generators.stylegan2 import StyleGAN2Generator
from text2latent.models.sources.identity import sha256_of

WEIGHTS = "diffusion_pytorch_model.safetensors"


def make() -> StyleGAN2Generator:
    torch.manual_seed(0)
    return StyleGAN2Generator(
        z_dim=8, w_dim=8, img_resolution=8, num_mapping_layers=2, channel_base=64, channel_max=8, resample_filter=[1, 1]
    ).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make().save_pretrained(tmp_path / "mine")
    return tmp_path / "mine"


def test_a_saved_generator_is_the_same_when_loaded(folder):
    generator, loaded = make(), load_generator(str(folder))
    z = generator.sample_latents(2, seed=0)
    expected = generator.synthesize(generator.map(z))
    torch.testing.assert_close(loaded.synthesize(loaded.map(z)), expected, atol=1e-5, rtol=0)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert list(loaded.config["resample_filter"]) == [1, 1]


def test_identity_names_the_folder_and_hashes_the_weights(folder):
    identity = load_generator(folder).identity
    assert (identity.name, identity.source) == ("mine", str(folder))
    assert identity.sha256 == sha256_of(folder / WEIGHTS)


def test_a_loaded_generator_can_be_saved_again(folder, tmp_path):
    load_generator(folder).save_pretrained(tmp_path / "again")
    again = load_generator(tmp_path / "again")
    assert again.identity.sha256 == load_generator(folder).identity.sha256
    assert again.identity.name == "again"


def test_half_precision_on_disk_becomes_float32(folder):
    state = load_file(folder / WEIGHTS)
    save_file({key: value.half() for key, value in state.items()}, folder / WEIGHTS)
    loaded = load_generator(folder)
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}
    torch.testing.assert_close(
        loaded.synthesis.b8.conv0.weight, state["synthesis.b8.conv0.weight"], rtol=1e-3, atol=1e-4
    )


def remove_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def remove_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def truncate_weights(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])


def empty_weights(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"")


def break_config(folder: Path) -> None:
    (folder / "config.json").write_text("{", encoding="utf-8")


def list_config(folder: Path) -> None:
    (folder / "config.json").write_text("[]", encoding="utf-8")


def edit_config(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")

    return edit


def edit_weights(name: str, value: torch.Tensor | None) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        state = {**load_file(folder / WEIGHTS), name: value}
        save_file({key: tensor for key, tensor in state.items() if tensor is not None}, folder / WEIGHTS)

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_config, "config.json: expected this file of a generator folder, it is missing"),
        (remove_weights, "safetensors: expected this file of a generator folder, it is missing"),
        (truncate_weights, "expected safetensors weights"),
        (empty_weights, "expected safetensors weights"),
        (break_config, "config.json: expected a JSON file"),
        (list_config, "config.json: expected a JSON object, got list"),
        (edit_config(_class_name="UNet2DModel"), "_class_name 'UNet2DModel': expected one of .*StyleGAN2Generator"),
        (edit_config(depth=3), "depth: not arguments of StyleGAN2Generator"),
        (edit_config(z_dim="many"), "not a config of StyleGAN2Generator"),
        (edit_config(img_resolution=7), "img_resolution: expected a power of two"),
        (edit_config(w_dim=10**9), "it would be of more than [0-9]+ numbers"),
        (edit_config(w_dim=10**30), "not a config of StyleGAN2Generator"),
        (edit_weights("synthesis.b8.conv0.weight", None), "Missing key.*synthesis.b8.conv0.weight"),
        (edit_weights("prior.weight", torch.zeros(3)), "Unexpected key.*prior.weight"),
        (edit_weights("synthesis.b8.conv0.weight", torch.zeros(3)), "size mismatch for synthesis.b8.conv0.weight"),
        (edit_weights("mapping.w_avg", torch.full((8,), torch.nan)), "mapping.w_avg: expected finite weights"),
    ],
)
def test_folders_that_do_not_fit_are_refused_in_one_line(folder, damage, message):
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        load_generator(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1
