"""Every file format, against the originals' outputs and against networks of ours that are written in the format."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from text2latent.common.errors import InputError
from text2latent.models.generators import Generator, load_generator
from text2latent.models.sources.identity import sha256_of
from text2latent.tests.models.generators.originals import deviation, small, small3

DATA = Path(__file__).parents[3] / "data" / "generators"
FILES = sorted(path.name for path in DATA.glob("*.p*t")) + sorted(path.name for path in DATA.glob("*.pkl"))


def original(name: str) -> tuple[Generator, dict[str, torch.Tensor]]:
    return load_generator(DATA / name), load_file(DATA / f"{Path(name).stem}.io.safetensors")


def assert_same_images(loaded: Generator, generator: Generator, psi: float = 0.7) -> None:
    z = generator.sample_latents(2, seed=0)
    label = torch.eye(generator.c_dim)[[0, -1]] if generator.c_dim else None
    ws, expected = (network.map(z, label, truncation_psi=psi) for network in (loaded, generator))
    torch.testing.assert_close(ws, expected, atol=1e-5, rtol=1e-5)
    assert deviation(loaded.synthesis(ws), generator.synthesis(expected)) < 1e-4


def test_there_is_a_file_of_every_format():
    assert len(FILES) == 6


@pytest.mark.parametrize("name", FILES)
def test_files_agree_with_the_original(name):
    generator, io = original(name)
    label = io.get("c")
    assert deviation(generator.map(io["z"], label), io["ws"]) < 1e-4
    truncated = generator.map(io["z"], label, truncation_psi=0.7)
    assert "ws_psi07" not in io or deviation(truncated, io["ws_psi07"]) < 1e-4
    assert deviation(generator.synthesis(io["ws"]), io["image_const"]) < 1e-4
    assert deviation(generator.synthesis(truncated), io["image_psi07_const"]) < 1e-4
    assert (
        "image_none" not in io or deviation(generator.synthesis(io["ws"], noise_mode="none"), io["image_none"]) < 1e-4
    )
    assert "wplus" not in io or deviation(generator.synthesis(io["wplus"]), io["image_wplus_const"]) < 1e-4


@pytest.mark.parametrize("name", FILES)
def test_under_bfloat16_autocast_no_pixel_is_far_from_the_original(name):
    generator, io = original(name)
    with torch.autocast("cpu", torch.bfloat16):
        ws = generator.map(io["z"], io.get("c"))
        truncated = generator.map(io["z"], io.get("c"), truncation_psi=0.7)
        images, truncated_images = generator.synthesis(ws), generator.synthesis(truncated)
    assert deviation(ws, io["ws"]) < 1e-3
    assert deviation(images, io["image_const"]) < 1e-3
    assert deviation(truncated_images, io["image_psi07_const"]) < 1e-3


@pytest.mark.parametrize("name", FILES)
def test_rough_images_follow_autocast_and_stay_near_the_original(name):
    generator, io = original(name)
    with torch.autocast("cpu", torch.bfloat16):
        images = generator.synthesis(io["ws"], **generator.rough_options)
    error = (images - io["image_const"]).square().mean().sqrt() / io["image_const"].std()
    assert 1e-3 < error.item() < 2e-2


@pytest.mark.parametrize("name", FILES)
def test_identity_is_the_files(name):
    identity = load_generator(DATA / name).identity
    assert (identity.name, identity.source) == (Path(name).stem, str(DATA / name))
    assert identity.sha256 == sha256_of(DATA / name)


VARIANTS: list[dict[str, Any]] = [
    {},
    {"architecture": "resnet", "img_resolution": 32},
    {"architecture": "orig"},
    {"c_dim": 3, "mapping_embed_features": 7, "mapping_layer_features": 9},
    {"resample_filter": [1, 2, 1, 0], "conv_clamp": 0.8},
    {"activation": "relu", "mapping_activation": "linear", "img_channels": 4},
    {"use_noise": False},
    {"resample_filter": [1, 7, 21, 35, 35, 21, 7, 1]},
    {"resample_filter": [1, 2, 1], "architecture": "resnet", "c_dim": 2, "kernel_size": 1},
]


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_official_snapshots_of_any_arguments(tmp_path, write_official, changes, protocol):
    generator = small(**changes)
    loaded = load_generator(write_official(tmp_path / "ada.pkl", generator, protocol))
    assert_same_images(loaded, generator)
    assert not (tmp_path / "CANARY").exists()
    assert not Path("CANARY").exists()


STYLEGAN3_VARIANTS: list[dict[str, Any]] = [
    {},
    {"conv_kernel": 1, "use_radial_filters": True, "c_dim": 3, "output_scale": 1.0, "num_critical": 1},
    {"img_resolution": 24, "margin_size": 4, "num_critical": 0, "conv_clamp": None, "last_stopband_rel": 1.5},
    {"filter_size": 4, "lrelu_upsampling": 4, "first_cutoff": 1.5, "first_stopband": 3.5, "img_channels": 1},
    {"num_layers": 3, "channel_base": 64, "num_fp16_res": 0, "mapping_lr_multiplier": 0.1, "conv_kernel": 5},
]


@pytest.mark.parametrize("changes", STYLEGAN3_VARIANTS)
def test_official_snapshots_of_stylegan3_of_any_arguments(tmp_path, write_official, changes):
    generator = small3(**changes)
    assert_same_images(load_generator(write_official(tmp_path / "sg3.pkl", generator)), generator)


@pytest.mark.parametrize(
    "arrange",
    [
        lambda found: {**found, "G": found["G_ema"], "D": found["G_ema"], "augment_pipe": found["G_ema"]},
        lambda found: {"G": found["G_ema"], "D": None},
        lambda found: {**found, "G": found["G_ema"], "G_ema": None},
        lambda found: found["G_ema"],
    ],
)
def test_official_snapshots_may_hold_more_or_less(tmp_path, write_official, arrange):
    generator = small(c_dim=2)
    assert_same_images(load_generator(write_official(tmp_path / "ada.pkl", generator, arrange=arrange)), generator)


def test_official_layers_may_say_less_of_how_they_were_made(tmp_path, write_official):
    generator = small(conv_clamp=0.8, num_fp16_res=1)

    def forget(state: dict[str, Any]) -> None:
        for block in state["_modules"]["synthesis"].meta["state"]["_modules"].values():
            block.meta["state"].pop("use_fp16")
            block.meta["state"]["_modules"]["conv1"].meta["state"].pop("conv_clamp")

    loaded = load_generator(write_official(tmp_path / "ada.pkl", generator, edit=forget))
    assert (loaded.config.conv_clamp, loaded.config.num_fp16_res) == (0.8, 1)
    assert_same_images(loaded, generator)


def test_without_a_filter_pixels_are_only_spread(tmp_path, write_official):
    generator = small(resample_filter=[1])
    edit = argue(synthesis_kwargs={"channel_base": 128, "channel_max": 16, "resample_filter": None})
    assert_same_images(load_generator(write_official(tmp_path / "ada.pkl", generator, edit=edit)), generator)


def test_official_arguments_may_be_positional_and_flat(tmp_path, write_official):
    generator = small(c_dim=2)

    def rearrange(state: dict[str, Any]) -> None:
        kwargs = state["_init_kwargs"]
        state["_init_args"] = tuple(kwargs.pop(name) for name in ("z_dim", "c_dim", "w_dim"))
        kwargs.update(kwargs.pop("synthesis_kwargs"), fused_modconv_default="inference_only")

    assert_same_images(load_generator(write_official(tmp_path / "ada.pkl", generator, edit=rearrange)), generator)


def test_a_mean_latent_that_is_missing_is_computed(tmp_path, write_official, write_rosinality):
    generator = small()

    def forget(state: dict[str, Any]) -> None:
        del state["_modules"]["mapping"].meta["state"]["_buffers"]["w_avg"]

    generator_of_ten_thousand = small()
    generator_of_ten_thousand.update_w_avg()
    assert_same_images(
        load_generator(write_official(tmp_path / "a.pkl", generator, edit=forget)), generator_of_ten_thousand
    )


@pytest.mark.parametrize("changes", [*VARIANTS[:5], {"c_dim": 3, "mapping_normalization": "joint"}, VARIANTS[5]])
def test_tensorflow_snapshots_of_any_arguments(tmp_path, write_tensorflow, changes):
    generator = small(**changes)
    if "mapping_normalization" in changes:
        generator.mapping.embed.bias.zero_()
    kwargs = {"conv_clamp": 0.8} if "conv_clamp" in changes else {}
    kwargs |= {"mapping_nonlinearity": generator.config.mapping_activation}
    assert_same_images(load_generator(write_tensorflow(tmp_path / "tf.pkl", generator, **kwargs)), generator)


def test_tensorflow_networks_that_were_built_to_grow(tmp_path, write_tensorflow):
    generator = small(architecture="orig")

    def growing(variables: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        renamed = [(name.replace("16x16/ToRGB/", "ToRGB_lod0/"), value) for name, value in variables]
        others = [(f"ToRGB_lod1/{kind}", np.zeros(3, np.float32)) for kind in ("weight", "bias")]
        return [("lod", np.float32(0)), *others, *renamed]

    path = write_tensorflow(tmp_path / "tf.pkl", generator, rewrite=growing)
    assert_same_images(load_generator(path), generator)


def test_tensorflow_filters_may_be_none_and_the_network_alone(tmp_path, write_tensorflow):
    generator = small(resample_filter=[1, 1])
    path = write_tensorflow(tmp_path / "tf.pkl", generator, resample_kernel=None, arrange=lambda networks: networks[2])
    assert_same_images(load_generator(path), generator)


def test_tensorflow_widths_are_read_from_the_tensors(tmp_path, write_tensorflow):
    generator = small(block_channels=[5, 11, 7])
    assert_same_images(load_generator(write_tensorflow(tmp_path / "tf.pkl", generator, 4, 3, fmap_max=11)), generator)


@pytest.mark.parametrize(
    ("version", "kwargs", "message"),
    [
        (3, {}, "a TensorFlow network of version 3: expected at least 4"),
        (4, {"resolution": 32}, "static_kwargs: resolution 32: the tensors are of a network with 16"),
        (4, {"latent_size": 512}, "static_kwargs: latent_size 512"),
        (4, {"use_styles": True}, "static_kwargs: use_styles: not an argument"),
        (4, {"resample_kernel": ["soft"]}, "not what a generator is made of"),
    ],
)
def test_tensorflow_snapshots_that_do_not_fit_are_refused(tmp_path, write_tensorflow, version, kwargs, message):
    path = write_tensorflow(tmp_path / "tf.pkl", small(), version, **kwargs)
    with pytest.raises(InputError, match=message):
        load_generator(path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "changes", [{}, {"img_resolution": 32, "block_channels": [24, 24, 12, 6]}, {"img_resolution": 8}]
)
def test_rosinality_checkpoints_of_any_size(tmp_path, write_rosinality, zipped, changes):
    generator = small(**{"w_dim": 12, **changes})
    path = write_rosinality(tmp_path / "r.pt", generator, zipped, latent_avg=generator.mapping.w_avg)
    assert_same_images(load_generator(path), generator)


@pytest.mark.parametrize("zipped", [True, False])
def test_rosinality_training_checkpoints_hold_more(tmp_path, write_rosinality, zipped):
    generator = small(w_dim=12)
    optimizer = torch.optim.Adam(generator.requires_grad_(True).parameters()).state_dict()
    more = {"g": {}, "d": {}, "g_optim": optimizer, "args": argparse.Namespace(size=16, lr=0.002), "ada_aug_p": 0.1}
    loaded = load_generator(write_rosinality(tmp_path / "r.pt", generator, zipped, **more))
    generator.update_w_avg()
    assert_same_images(loaded, generator.requires_grad_(False))


@pytest.mark.parametrize("name", ["g", None])
def test_rosinality_files_may_hold_no_moving_average(tmp_path, write_rosinality, name):
    generator = small(w_dim=12)
    path = write_rosinality(tmp_path / "r.pt", generator)
    state = torch.load(path)["g_ema"]
    torch.save({name: state} if name else state, path)
    generator.update_w_avg()
    assert_same_images(load_generator(path), generator)


def test_rosinality_tensors_without_elements_are_refused(tmp_path, write_rosinality):
    path = write_rosinality(tmp_path / "r.pt", small(w_dim=12))
    checkpoint = torch.load(path)
    checkpoint["g_ema"]["input.input"] = torch.zeros(0, 16, 4, 4)
    torch.save(checkpoint, path)
    with pytest.raises(InputError, match="not what a generator is made of: index 0 is out of bounds"):
        load_generator(path)


def test_rosinality_biases_of_early_versions_have_four_dimensions(tmp_path, write_rosinality):
    generator = small(w_dim=12)
    path = write_rosinality(tmp_path / "r.pt", generator, latent_avg=generator.mapping.w_avg)
    checkpoint = torch.load(path)
    for name, value in checkpoint["g_ema"].items():
        if name.endswith("activate.bias"):
            checkpoint["g_ema"][name] = value[None, :, None, None]
    torch.save(checkpoint, path)
    assert_same_images(load_generator(path), generator)


def test_rosinality_files_without_noise_maps_get_fixed_ones(tmp_path, write_rosinality):
    generator = small(w_dim=12)
    path = write_rosinality(tmp_path / "r.pt", generator)
    state = {name: value for name, value in torch.load(path)["g_ema"].items() if not name.startswith("noises")}
    torch.save({"g_ema": state}, path)
    first, second = load_generator(path), load_generator(path)
    ws = generator.map(generator.sample_latents(1, seed=0))
    assert torch.equal(first.synthesis(ws), second.synthesis(ws))
    assert deviation(first.synthesis(ws, noise_mode="none"), generator.synthesis(ws, noise_mode="none")) < 1e-4


def drop(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda state: synthesis_b8(state)["_parameters"].pop(name)


def synthesis_b8(state: dict[str, Any]) -> dict[str, Any]:
    for name in ("synthesis", "b8", "conv0"):
        state = state["_modules"][name].meta["state"]
    return state


def put(name: str, value: torch.Tensor) -> Callable[[dict[str, Any]], None]:
    return lambda state: synthesis_b8(state)["_parameters"].update({name: torch.nn.Parameter(value)})


def argue(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda state: state["_init_kwargs"].update(changes)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop("weight"), "the weights don't fit their arguments: .*Missing key.*synthesis.b8.conv0.weight"),
        (put("extra", torch.zeros(3)), "Unexpected key.*synthesis.b8.conv0.extra"),
        (put("bias", torch.zeros(5)), "size mismatch for synthesis.b8.conv0.bias"),
        (put("bias", torch.full((16,), torch.nan)), "synthesis.b8.conv0.bias: expected finite weights"),
        (argue(img_resolution=32), "the weights don't fit their arguments"),
        (argue(img_resolution=24), "not a config of StyleGAN2Generator: img_resolution"),
        (argue(mapping_kwargs={"num_layers": 10**9}), "num_mapping_layers 1000000000: there are only"),
        (argue(mapping_kwargs={"depth": 3}), "mapping_kwargs: depth: not an argument"),
        (argue(synthesis_kwargs={"kernel_size": 10**6 + 1}), "kernel_size 1000001: expected at most 64"),
        (argue(z_dim=[1, [2]]), "z_dim: expected a plain value"),
        (argue(synthesis_kwargs={"resample_filter": "soft"}), "not what a generator is made of"),
        (argue(synthesis_kwargs={"resample_filter": [1, -1]}), "expected finite weights"),
        (lambda state: state.pop("_init_kwargs"), "expected the arguments of its constructor"),
        (lambda state: state["_modules"].pop("mapping"), "Missing key"),
        (lambda state: state["_modules"].pop("synthesis"), "expected a generator with a synthesis network"),
    ],
)
def test_official_snapshots_that_do_not_fit_are_refused_in_one_line(tmp_path, write_official, edit, message):
    path = write_official(tmp_path / "ada.pkl", small(), edit=edit)
    with pytest.raises(InputError, match=message) as caught:
        load_generator(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
