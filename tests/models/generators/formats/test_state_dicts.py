"""State dictionaries without arguments: derived from names, shapes and filters, or said by the user."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from text2latent.apps import convert
from text2latent.common.errors import InputError, UsageError
from text2latent.models.generators import load_generator
from text2latent.models.generators.formats.folder import folder_sha256
from text2latent.tests.models.generators.formats.test_formats import (
    STYLEGAN3_VARIANTS,
    VARIANTS,
    assert_same_images,
)
from text2latent.tests.models.generators.originals import small, small3


def saved(path: Path, generator: torch.nn.Module, wrap: str | None = None, prefix: str = "", **more: Any) -> Path:
    state = OrderedDict((prefix + name, value.clone()) for name, value in generator.state_dict().items())
    torch.save({wrap: state, **more} if wrap else state, path)
    return path


@pytest.mark.parametrize("wrap", [None, "G_ema", "g_ema", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "G_ema."])
def test_a_state_dictionary_may_lie_under_a_name(tmp_path, wrap, prefix):
    generator = small(c_dim=2)
    loaded = load_generator(saved(tmp_path / "g.pt", generator, wrap, prefix, cur_nimg=1000, cfg={"batch": 4}))
    assert_same_images(loaded, generator)


@pytest.mark.parametrize("changes", VARIANTS)
def test_stylegan2s_arguments_follow_from_names_and_shapes(tmp_path, changes):
    generator = small(**changes)
    said = {name: generator.config[name] for name in ("activation", "mapping_activation", "conv_clamp")}
    given = {name: value for name, value in said.items() if name in changes}
    loaded = load_generator(saved(tmp_path / "g.pth", generator), arguments=given or None)
    assert_same_images(loaded, generator)
    derived = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "architecture", "use_noise", "kernel_size")
    assert {name: loaded.config[name] for name in derived} == {name: generator.config[name] for name in derived}


@pytest.mark.parametrize("changes", [*STYLEGAN3_VARIANTS[:2], {"num_critical": 0}, {"num_layers": 9}])
def test_stylegan3s_kind_and_filters_follow_from_buffers(tmp_path, changes):
    generator = small3(**changes)
    given = {"output_scale": 1.0} if "output_scale" in changes else None
    loaded = load_generator(saved(tmp_path / "g.pt", generator), arguments=given)
    names = ("use_radial_filters", "num_critical", "conv_kernel", "filter_size", "lrelu_upsampling")
    assert {name: loaded.config[name] for name in names} == {name: generator.config[name] for name in names}
    assert_same_images(loaded, generator)


@pytest.mark.parametrize("changes", STYLEGAN3_VARIANTS[2:4])
def test_unusual_filters_are_asked_for(tmp_path, changes):
    generator = small3(**changes)
    path = saved(tmp_path / "g.pt", generator)
    with pytest.raises(InputError, match="expected --generator-args FILE with those of first_cutoff") as caught:
        load_generator(path)
    assert "\n" not in str(caught.value)
    assert_same_images(load_generator(path, arguments=changes), generator)


def test_safetensors_and_half_precision(tmp_path):
    generator = small()
    state = {name: value.contiguous() for name, value in generator.state_dict().items()}
    save_file(state, tmp_path / "g.safetensors")
    assert_same_images(load_generator(tmp_path / "g.safetensors"), generator)
    for kind in (generator, small3()):
        loaded = load_generator(saved(tmp_path / "half.pt", kind.half()))
        assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}


def test_filters_and_noise_of_networks_without_buffers(tmp_path):
    generator = small(use_noise=False)
    torch.save({"g_ema": dict(generator.named_parameters()), "w_avg": generator.mapping.w_avg}, tmp_path / "g.pt")
    generator.update_w_avg()
    assert_same_images(load_generator(tmp_path / "g.pt"), generator)


def test_what_is_assumed_is_noted_and_may_be_said(tmp_path, capsys):
    path, arguments = saved(tmp_path / "g.pt", small(conv_clamp=0.8)), tmp_path / "args.yaml"
    arguments.write_text("conv_clamp: 0.8\n", encoding="utf-8")
    assert convert.main([str(path), str(tmp_path / "plain")]) == 0
    assert "conv_clamp 256" in capsys.readouterr().out
    assert convert.main([str(path), str(tmp_path / "said"), "--generator-args", str(arguments)]) == 0
    assert "conv_clamp" not in capsys.readouterr().out
    assert_same_images(load_generator(tmp_path / "said"), small(conv_clamp=0.8))
    # Other arguments make another generator.
    assert folder_sha256(tmp_path / "said") != folder_sha256(tmp_path / "plain") == load_generator(path).identity.sha256


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("depth: 3", "--generator-args: depth: not an argument of StyleGAN2Generator; expected any of z_dim"),
        ("conv_clamp: {a: 1}", "conv_clamp: expected a plain value"),
        ("- conv_clamp", "expected a YAML or JSON file of arguments"),
        ("z_dim: 99", "the weights don't fit their arguments: .*mapping.fc0.weight"),
        ("{", "expected a YAML or JSON file of arguments"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(tmp_path, capsys, text, message):
    path, arguments = saved(tmp_path / "g.pt", small()), tmp_path / "args.yaml"
    arguments.write_text(text, encoding="utf-8")
    assert convert.main([str(path), str(tmp_path / "out"), "--generator-args", str(arguments)]) != 0
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) <= 2
    assert re.search(message, error), error
    assert not (tmp_path / "out").exists()


def test_a_world_takes_no_arguments():
    with pytest.raises(UsageError, match="--generator-args: expected a generator in a file of weights"):
        load_generator("faces", arguments={"conv_clamp": 1})


@pytest.mark.parametrize(
    ("drop", "message"),
    [
        ("mapping.fc0.weight", "mapping.fc0.weight: missing"),
        ("synthesis.b16.torgb.weight", "synthesis.b16.torgb.weight: missing"),
        ("synthesis.b8.conv0.weight", "the weights don't fit their arguments"),
        ("synthesis.b8.conv1.weight", "expected 3 positive numbers|don't fit"),
        ("synthesis.b4.const", "the weights don't fit"),
    ],
)
def test_dictionaries_with_holes_are_refused(tmp_path, drop, message):
    state = small().state_dict()
    del state[drop]
    torch.save(state, tmp_path / "g.pt")
    with pytest.raises(InputError, match=message) as caught:
        load_generator(tmp_path / "g.pt")
    assert "\n" not in str(caught.value)
