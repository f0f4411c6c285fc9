"""Models of the stylegan2_pytorch package: against its own code where it is installed, and against its formulas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from text2latent.common.errors import InputError
from text2latent.models.generators import load_generator

W_DIM, CHANNELS, RATE = 12, (8, 6, 4), 0.2
State = dict[str, Tensor]


def package_state(channels: int = 3) -> State:
    torch.manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"GE.initial_block": (1, CHANNELS[0], 4, 4)}
    shapes |= {f"SE.net.{2 * i}.{kind}": (W_DIM, W_DIM)[: 2 - j] for i in (0, 1) for j, kind in enumerate(KINDS)}
    shapes |= {"GE.initial_conv.weight": (CHANNELS[0],) * 2 + (3, 3), "GE.initial_conv.bias": (CHANNELS[0],)}
    for i, (before, width) in enumerate(zip((CHANNELS[0], *CHANNELS), CHANNELS, strict=False)):
        name = f"GE.blocks.{i}"
        for j, source in ((1, before), (2, width)):
            shapes[f"{name}.to_style{j}.weight"], shapes[f"{name}.to_style{j}.bias"] = (source, W_DIM), (source,)
            shapes[f"{name}.to_noise{j}.weight"], shapes[f"{name}.to_noise{j}.bias"] = (width, 1), (width,)
            shapes[f"{name}.conv{j}.weight"] = (width, source, 3, 3)
        shapes[f"{name}.to_rgb.to_style.weight"], shapes[f"{name}.to_rgb.to_style.bias"] = (width, W_DIM), (width,)
        shapes[f"{name}.to_rgb.conv.weight"] = (channels, width, 1, 1)
    return {name: torch.randn(shape) for name, shape in shapes.items()}


KINDS = ("weight", "bias")


def save_model(folder: Path, state: State, **config: Any) -> Path:
    others = {"D.to_logit.bias": torch.zeros(1), "G.initial_conv.weight": torch.zeros(1)}
    torch.save({"GAN": {**state, **others}, "version": "1.9.0"}, folder / "model_7.pt")
    (folder / ".config.json").write_text(json.dumps({"image_size": 16, "lr_mlp": RATE, **config}), encoding="utf-8")
    return folder / "model_7.pt"


def modulated(x: Tensor, weight: Tensor, style: Tensor, demodulates: bool) -> Tensor:
    """One image at a time, each with its own kernel."""
    images = []
    for image, scale in zip(x, style, strict=True):
        kernel = weight * (scale + 1)[None, :, None, None]
        norm = (kernel.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).rsqrt() if demodulates else 1
        images.append(F.conv2d(image[None], kernel * norm, padding=weight.shape[-1] // 2))
    return torch.cat(images)


def dense(state: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def package_draw(state: State, z: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """w, and the image in [0, 1]."""
    w = F.normalize(z, dim=1)
    for i in (0, 2):
        w = F.leaky_relu(F.linear(w, state[f"SE.net.{i}.weight"] * RATE, state[f"SE.net.{i}.bias"] * RATE), 0.2)
    x = state["GE.initial_block"].expand(len(z), -1, -1, -1)
    x = F.conv2d(x, state["GE.initial_conv.weight"], state["GE.initial_conv.bias"], padding=1)
    image: Tensor | None = None
    for i in range(len(CHANNELS)):
        name = f"GE.blocks.{i}"
        x = x if i == 0 else F.interpolate(x, scale_factor=2, mode="bilinear")
        for j in (1, 2):
            part = noise[: x.shape[2], : x.shape[3], None]
            spread = dense(state, f"{name}.to_noise{j}", part).permute(2, 1, 0)
            x = modulated(x, state[f"{name}.conv{j}.weight"], dense(state, f"{name}.to_style{j}", w), True)
            x = F.leaky_relu(x + spread, 0.2)
        rgb = modulated(x, state[f"{name}.to_rgb.conv.weight"], dense(state, f"{name}.to_rgb.to_style", w), False)
        if image is not None:
            taps = torch.tensor([1.0, 2.0, 1.0]) / 4
            padded = F.pad(F.interpolate(image, scale_factor=2, mode="bilinear"), (1, 1, 1, 1), mode="reflect")
            blur = torch.outer(taps, taps).expand(len(image[0]), 1, 3, 3)
            rgb = rgb + F.conv2d(padded, blur, groups=len(image[0]))
        image = rgb
    assert image is not None
    return w, image


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("by_folder", [True, False])
def test_images_are_the_packages(tmp_path: Path, channels: int, by_folder: bool) -> None:
    state = package_state(channels)
    path = save_model(tmp_path, state)
    generator, z = load_generator(tmp_path if by_folder else path), torch.randn(2, W_DIM)
    w, image = package_draw(state, z, generator.synthesis.noise_const)
    torch.testing.assert_close(generator.map(z)[:, 0], w, atol=1e-5, rtol=1e-4)
    drawn = (generator.synthesis(generator.map(z)) + 1) / 2
    assert (drawn - image).abs().max() < 1e-4 * image.std()
    assert (generator.image_size, generator.image_channels, generator.notes) == (16, channels, ())


def test_the_rate_is_noted_where_no_settings_say_it(tmp_path: Path) -> None:
    path = save_model(tmp_path, package_state())
    (tmp_path / ".config.json").unlink()
    (note,) = load_generator(path).notes
    assert "mapping_lr_multiplier 0.1 taken" in note


def drop(name: str) -> Any:
    return lambda state: state.pop(name)


@pytest.mark.parametrize(
    ("edit", "config", "message"),
    [
        (drop("GE.blocks.1.to_noise2.bias"), {}, r"blocks\.1\.to_noise2\.bias: missing"),
        (lambda state: state.update({"GE.attns.1.0.fn.weight": torch.zeros(1)}), {}, "layers of attention are not"),
        (lambda state: state.update({"GE.extra": torch.zeros(1)}), {}, r"GE\.extra: not a tensor"),
        (lambda state: None, {"lr_mlp": "fast"}, "lr_mlp: expected a positive number"),
        (lambda state: None, {"lr_mlp": -1}, "lr_mlp: expected a positive number"),
    ],
)
def test_models_that_do_not_fit_are_refused_in_one_line(tmp_path: Path, edit: Any, config: Any, message: str) -> None:
    state = package_state()
    edit(state)
    path = save_model(tmp_path, state, **config)
    with pytest.raises(InputError, match=message) as caught:
        load_generator(path)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_model_that_the_package_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # it refuses to be imported without
    package = pytest.importorskip("stylegan2_pytorch.stylegan2_pytorch")
    torch.manual_seed(0)
    mapping, synthesis = package.StyleVectorizer(W_DIM, 2, lr_mul=RATE), package.Generator(16, W_DIM, 2)
    state = {f"SE.{name}": value for name, value in mapping.state_dict().items()}
    state |= {f"GE.{name}": value for name, value in synthesis.state_dict().items()}
    generator, z = load_generator(save_model(tmp_path, state)), torch.randn(2, W_DIM)
    with torch.no_grad():
        ws = mapping(z)[:, None].expand(-1, generator.num_ws, -1)
        image = synthesis(ws, generator.synthesis.noise_const[None, :, :, None].expand(2, -1, -1, -1))
    torch.testing.assert_close((generator.synthesis(generator.map(z)) + 1) / 2, image, atol=1e-5, rtol=1e-4)
