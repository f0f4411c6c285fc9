"""StyleGAN3 against outputs of the original, and its layers against a composition of plain steps in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from text2latent.models.generators.bands import Band, plan_bands
from text2latent.models.generators.stylegan3 import AliasFreeLayer, StyleGAN3Generator, image_transform
from text2latent.tests.models.generators.originals import deviation, original
from text2latent.tests.models.generators.reference import alias_free_layer, array, state_of

FIXTURES = ("translation-64", "rotation-64")
SMALL: dict[str, Any] = {
    "z_dim": 12,
    "w_dim": 10,
    "img_resolution": 16,
    "num_layers": 4,
    "channel_base": 128,
    "channel_max": 8,
}
ROTATING = {"conv_kernel": 1, "use_radial_filters": True}


def small(seed: int = 0, **changes: Any) -> StyleGAN3Generator:
    """A small network whose biases, magnitudes and input transformations are not the initial ones."""
    torch.manual_seed(seed)
    generator = StyleGAN3Generator(**{**SMALL, **changes}).eval().requires_grad_(False)
    for name, value in generator.state_dict().items():
        if name.endswith(("bias", "magnitude_ema", "input.affine.weight")):
            value += 0.3 * torch.rand_like(value)
    generator.update_w_avg(num_samples=200)
    return generator


def latents(generator: StyleGAN3Generator, n: int) -> torch.Tensor:
    return generator.map(generator.sample_latents(n, seed=0))


def root_mean_square(x: torch.Tensor) -> float:
    return x.square().mean().sqrt().item()


@pytest.mark.parametrize("name", FIXTURES)
def test_mapping_agrees_with_the_original(name):
    generator, io = original(StyleGAN3Generator, name)
    assert deviation(generator.map(io["z"], io.get("c")), io["ws"]) < 1e-5
    assert deviation(generator.map(io["z"], io.get("c"), truncation_psi=0.7), io["ws_psi07"]) < 1e-5


@pytest.mark.parametrize("name", FIXTURES)
@pytest.mark.parametrize(
    ("ws", "image"), [("ws", "image_const"), ("ws_psi07", "image_psi07_const"), ("wplus", "image_wplus_const")]
)
@pytest.mark.parametrize("autograd", [False, True])
def test_synthesis_agrees_with_the_original(name, ws, image, autograd):
    generator, io = original(StyleGAN3Generator, name)
    with torch.set_grad_enabled(autograd):
        assert deviation(generator.synthesis(io[ws]), io[image]) < 1e-4


@pytest.mark.parametrize("name", FIXTURES)
def test_bfloat16_autocast_stays_near_the_original(name):
    generator, io = original(StyleGAN3Generator, name)
    expected = io["image_wplus_const"]
    with torch.autocast("cpu", torch.bfloat16):
        images, rough = generator.synthesis(io["wplus"]), generator.synthesis(io["wplus"], exact=False)
    assert images.dtype == rough.dtype == torch.float32
    assert deviation(images, expected) < 1e-3
    assert 1e-3 < root_mean_square(rough - expected) / expected.std() < 2e-2


@pytest.mark.parametrize(("half_dtype", "most"), [(torch.float16, 1e-2), (torch.bfloat16, 5e-2)])
def test_half_precision_layers_stay_near_the_original(half_dtype, most):
    generator, io = original(StyleGAN3Generator, "translation-64")
    images = generator.synthesize(io["wplus"], half_dtype=half_dtype)
    expected = io["image_wplus_const"].clamp(-1, 1)
    assert 1e-5 < root_mean_square(images - expected) < most * expected.std()
    full = generator.synthesize(io["wplus"], half_dtype=half_dtype, force_fp32=True)
    assert deviation(full, expected) < 1e-4


@pytest.mark.parametrize("name", FIXTURES)
def test_filters_agree_with_the_original(name):
    generator, _ = original(StyleGAN3Generator, name)
    kept = {key: value for key, value in generator.state_dict().items() if "filter" in key}
    fresh = type(generator)(**generator.config).state_dict()
    assert len(kept) == 16
    for key, value in kept.items():
        torch.testing.assert_close(fresh[key], value, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"conv_kernel": 3, "filter_size": 4},
        {"conv_kernel": 5, "filter_size": 6, "conv_clamp": 0.8},
        {"conv_kernel": 1, "radial": True},
        {"conv_kernel": 3, "lrelu_upsampling": 4, "target": Band(8, 4.0, 2.0, 11, 3)},
        {"conv_kernel": 3, "lrelu_upsampling": 1, "target": Band(8, 3.0, 1.5, 12, 3)},
        {"conv_kernel": 3, "radial": True, "target": Band(32, 5.0, 3.0, 40, 3)},
    ],
)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_layer_equals_per_sample_kernels_and_explicit_resampling(changes, batch):
    torch.manual_seed(0)
    settings = {"conv_kernel": 3, "filter_size": 6, "lrelu_upsampling": 2, "radial": False, "conv_clamp": None}
    target = changes.get("target", Band(16, 4.0, 2.0, 18, 3))
    settings = {**settings, **{key: value for key, value in changes.items() if key != "target"}}
    source = Band(8, 3.0, 1.5, 12, 4)
    layer = AliasFreeLayer(6, source, target, **settings).requires_grad_(False)
    layer.bias.normal_()
    layer.magnitude_ema.fill_(1.7)
    for fir in (layer.up_filter, layer.down_filter):
        if fir is not None:
            fir += 0.01 * torch.rand_like(fir)
    x, w = torch.randn(batch, 4, 12, 12), torch.randn(batch, 6)
    factors = (layer.up, layer.down)
    expected = [
        alias_free_layer(state_of(layer), array(x[i]), array(w[i]), factors, target.size, settings["conv_clamp"])
        for i in range(batch)
    ]
    with torch.no_grad():
        np.testing.assert_allclose(array(layer(x, w)), expected, atol=2e-5)


def test_bands_follow_the_papers_geometric_progression():
    bands = plan_bands(1024, 3, 32768, 512, 14, 2, 2.0, 2**2.1, 2**0.3, 10)
    assert [band.size for band in bands] == [36, 36, 52, 52, 84, 148, 148, 276, 276, 532, 1044, 1044, 1044, 1024, 1024]
    assert [band.channels for band in bands] == [*[512] * 7, 323, 203, 128, 81, 51, 32, 32, 3]
    ratios = np.diff(np.log([band.cutoff for band in bands[:13]]))
    np.testing.assert_allclose(ratios, np.log(512 / 2) / 12)
    assert bands[12].cutoff == bands[14].cutoff == pytest.approx(512)
    assert all(band.cutoff + band.half_width >= band.sampling_rate / 2 for band in bands)


def test_names_are_those_of_official_state_dictionaries():
    names = set(small(c_dim=3).state_dict())
    assert {"mapping.embed.weight", "mapping.fc1.bias", "synthesis.input.freqs", "synthesis.input.affine.bias"} <= names
    assert {"synthesis.L0_36_8.up_filter", "synthesis.L4_16_3.magnitude_ema"} <= names
    assert "synthesis.L4_16_3.up_filter" not in names


@pytest.mark.parametrize("name", FIXTURES)
def test_a_translation_moves_the_image(name):
    generator, io = original(StyleGAN3Generator, name)
    ws = io["ws"]
    still, moved = generator.synthesize(ws), generator.synthesize(ws, translate=(8 / 64, -4 / 64))
    inner = (slice(None), slice(None), slice(12, 52), slice(12, 52))
    expected = still.roll((-4, 8), dims=(2, 3))[inner]
    assert root_mean_square(moved[inner] - expected) < 0.1 * root_mean_square(still[inner] - expected)


def test_a_rotation_turns_the_image_counter_clockwise():
    generator, io = original(StyleGAN3Generator, "rotation-64")
    turned = generator.synthesize(io["ws"], rotate=90)
    expected = generator.synthesize(io["ws"]).rot90(dims=(2, 3))
    assert root_mean_square(turned - expected) < 1e-3 * expected.std()


def test_a_stored_transformation_and_the_users_are_combined():
    generator, io = original(StyleGAN3Generator, "rotation-64")
    expected = generator.synthesize(io["ws"], rotate=30, translate=(0.2, 0.1))
    generator.synthesis.input.transform.copy_(image_transform((0, 0), 30))
    torch.testing.assert_close(generator.synthesize(io["ws"], translate=(0.2, 0.1)), expected, atol=1e-4, rtol=0)


def test_the_batch_does_not_change_a_sample(monkeypatch):
    generator = small()
    ws = latents(generator, 5)
    with torch.no_grad():
        together = generator.synthesis(ws)
        apart = torch.cat([generator.synthesis(w[None]) for w in ws])
        torch.testing.assert_close(together, apart, atol=2e-5, rtol=0)
        monkeypatch.setattr("text2latent.models.generators.alias_free.MAX_TEMPORARY_ELEMENTS", 1)
        torch.testing.assert_close(generator.synthesis(ws), apart, atol=2e-5, rtol=0)


def test_gradients_reach_latents_and_every_parameter():
    generator = small(**ROTATING).requires_grad_(True)
    ws = latents(generator, 2).detach().requires_grad_()
    generator.synthesis(ws).square().mean().backward()
    assert (ws.grad.abs().sum(dim=(0, 2)) > 0).all()
    assert not [name for name, p in generator.synthesis.named_parameters() if p.grad is None or not p.grad.any()]


def test_shapes_and_attributes():
    generator = small(c_dim=3, img_channels=1)
    assert (generator.z_dim, generator.c_dim, generator.image_size) == (12, 3, 16)
    assert generator.latent_shape == (6, 10)
    ws = generator.map(generator.sample_latents(4, seed=0), torch.eye(3)[[0, 1, 2, 0]])
    assert generator.synthesize(ws).shape == (4, 1, 16, 16)
    assert torch.equal(generator.synthesize(ws[:, :1]), generator.synthesize(ws))


def test_wrong_noise_modes_and_latents_are_refused():
    generator = small()
    with pytest.raises(ValueError, match="noise_mode: expected one of none, const, random, got 'off'"):
        generator.synthesize(latents(generator, 1), noise_mode="off")
    with pytest.raises(ValueError, match=r"ws: expected shape \[N, 6, 10\], got \[1, 1, 10\]"):
        generator.synthesis(torch.zeros(1, 1, 10))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_critical": 4}, "num_critical: expected 0 to num_layers - 1 = 3, got 4"),
        ({"first_cutoff": 5}, "first_cutoff: expected 0 < first_cutoff < first_stopband, got 5"),
        ({"img_resolution": 2}, "img_resolution: expected at least 4, got 2"),
        ({"channel_base": 7}, "channel_base: expected at least 8, got 7"),
        ({"c_dim": -1}, "c_dim: expected at least 0, got -1"),
        ({"num_mapping_layers": 0}, "num_mapping_layers: expected at least 1, got 0"),
    ],
)
def test_constructor_arguments_out_of_range_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        StyleGAN3Generator(**{**SMALL, **change})
