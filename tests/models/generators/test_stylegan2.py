"""StyleGAN2 against outputs of the original, and the other architectures against a composition of tested layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from text2latent.models.generators.stylegan2 import StyleGAN2Generator
from text2latent.tests.models.generators.originals import SMALL, deviation, original, small
from text2latent.tests.models.generators.reference import array, mapping, state_of, stylegan2

FIXTURES = ("unconditional-64", "conditional-32")


@pytest.mark.parametrize("name", FIXTURES)
def test_mapping_agrees_with_the_original(name):
    generator, io = original(StyleGAN2Generator, name)
    assert deviation(generator.map(io["z"], io.get("c")), io["ws"]) < 1e-5
    assert deviation(generator.map(io["z"], io.get("c"), truncation_psi=0.7), io["ws_psi07"]) < 1e-5


@pytest.mark.parametrize("name", FIXTURES)
@pytest.mark.parametrize(
    ("latents", "noise_mode", "image"),
    [
        ("ws", "const", "image_const"),
        ("ws", "none", "image_none"),
        ("ws_psi07", "const", "image_psi07_const"),
        ("wplus", "const", "image_wplus_const"),
    ],
)
@pytest.mark.parametrize("autograd", [False, True])
def test_synthesis_agrees_with_the_original(name, latents, noise_mode, image, autograd):
    generator, io = original(StyleGAN2Generator, name)
    with torch.set_grad_enabled(autograd):
        assert deviation(generator.synthesis(io[latents], noise_mode=noise_mode), io[image]) < 1e-4


@pytest.mark.parametrize("name", FIXTURES)
@pytest.mark.parametrize("autograd", [False, True])
def test_bfloat16_autocast_stays_near_the_original(name, autograd):
    generator, io = original(StyleGAN2Generator, name)
    expected = io["image_wplus_const"]
    with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(autograd):
        images, rough = generator.synthesis(io["wplus"]), generator.synthesis(io["wplus"], exact=False)
    assert images.dtype == rough.dtype == torch.float32
    assert deviation(images, expected) < 1e-3
    assert 1e-3 < (rough - expected).square().mean().sqrt() / expected.std() < 2e-2


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
@pytest.mark.parametrize("size", [8, 64])
def test_bfloat16_autocast_moves_no_pixel_whatever_the_architecture(architecture, size):
    generator = small(architecture=architecture, img_resolution=size)
    z = generator.sample_latents(2, seed=0)
    expected = generator.synthesis(generator.map(z))
    with torch.autocast("cpu", torch.bfloat16):
        images = generator.synthesis(generator.map(z))
    assert deviation(images, expected) < 1e-3


def test_autocast_to_float16_is_followed():
    generator = small(img_resolution=32)
    ws = generator.map(generator.sample_latents(2, seed=0))
    expected = generator.synthesis(ws)
    with torch.autocast("cpu", torch.float16):
        images = generator.synthesis(ws)
    assert 1e-6 < deviation(images, expected) < 2e-2


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "skip", "resample_filter": [1, 2, 1], "img_channels": 1},
        {"architecture": "resnet", "conv_clamp": 1.5, "block_channels": [7, 5, 9]},
        {"architecture": "resnet", "resample_filter": [1, 2, 3, 4, 5, 5, 4, 3, 2, 1]},
        {"architecture": "orig", "kernel_size": 5},
        {"architecture": "orig", "use_noise": False, "img_resolution": 4},
        {"architecture": "skip", "kernel_size": 1, "resample_filter": [1]},
    ],
)
@pytest.mark.parametrize("batch", [1, 2])
def test_synthesis_equals_the_papers_formulas(changes, batch):
    generator = small(**changes)
    ws = torch.randn(batch, generator.num_ws, 10)
    resolution, clamp = generator.image_size, changes.get("conv_clamp")
    noise = changes.get("use_noise", True)
    expected = [stylegan2(state_of(generator), array(w), resolution, changes["architecture"], noise, clamp) for w in ws]
    with torch.no_grad():
        np.testing.assert_allclose(array(generator.synthesis(ws)), expected, atol=1e-4)


@pytest.mark.parametrize("c_dim", [0, 3])
def test_mapping_equals_the_papers_formulas(c_dim):
    generator = small(c_dim=c_dim, mapping_embed_features=7, mapping_layer_features=9, mapping_lr_multiplier=0.5)
    z, label = torch.randn(4, 12), torch.randn(4, c_dim) if c_dim else None
    expected = mapping(state_of(generator), array(z), None if label is None else array(label), 2, 0.5)
    np.testing.assert_allclose(array(generator.map(z, label)[:, 0]), expected, atol=1e-5)


def test_the_tensorflow_networks_normalise_z_and_label_embedding_together():
    separate, joint = (small(c_dim=3, mapping_normalization=how) for how in ("separate", "joint"))
    z, label = torch.randn(2, 12), torch.eye(3)[:2]
    x = torch.cat([z, joint.mapping.embed(label)], dim=1)
    expected = joint.mapping.fc1(joint.mapping.fc0(x / x.square().mean(dim=1, keepdim=True).sqrt()))
    torch.testing.assert_close(joint.mapping(z, label), expected)
    assert (separate.mapping(z, label) - expected).abs().max() > 0.01


@pytest.mark.parametrize("half_dtype", [torch.float16, torch.bfloat16])
def test_half_precision_of_the_highest_resolutions_stays_near_float32(half_dtype):
    generator = small(architecture="resnet", num_fp16_res=1, conv_clamp=256)
    ws = generator.map(generator.sample_latents(4, seed=0))
    expected = generator.synthesis(ws)
    seen = {}
    for block in generator.synthesis.blocks():
        block.register_forward_hook(lambda block, _, out: seen.update({block.resolution: out[0].dtype}))
    images = generator.synthesize(ws, half_dtype=half_dtype)
    assert seen == {4: torch.float32, 8: torch.float32, 16: half_dtype}
    assert images.dtype == torch.float32
    assert (images - expected.clamp(-1, 1)).square().mean().sqrt() < 2e-2 * expected.std()
    assert torch.equal(generator.synthesis(ws, force_fp32=True, half_dtype=half_dtype), expected)


def test_mixed_styles_take_the_chosen_layers_from_the_other_image():
    generator = small()
    ws, other = generator.map(generator.sample_latents(3, seed=0)).split([2, 1])
    mixed = generator.mix_styles(ws, other, range(2, 6))
    assert torch.equal(mixed[:, :2], ws[:, :2])
    assert torch.equal(mixed[:, 2:], other[:, 2:].expand(2, -1, -1))
    with pytest.raises(ValueError, match="layers: expected numbers from -6 to 5, got 6"):
        generator.mix_styles(ws, other, [0, 6])
    with pytest.raises(ValueError, match=r"other: expected \[N, 6, 10\], got \[1, 1, 10\]"):
        generator.mix_styles(ws, other[:, :1], [0])


def test_names_are_those_of_official_state_dictionaries():
    names = set(small(architecture="resnet", c_dim=3).state_dict())
    assert {"mapping.embed.weight", "mapping.fc1.bias", "mapping.w_avg", "synthesis.b4.const"} <= names
    assert {"synthesis.b8.conv0.affine.weight", "synthesis.b8.skip.weight", "synthesis.b16.torgb.weight"} <= names
    assert "synthesis.b8.torgb.weight" not in names


def test_shapes_and_attributes():
    generator = small(c_dim=3)
    assert (generator.z_dim, generator.c_dim, generator.image_size) == (12, 3, 16)
    assert generator.latent_shape == (6, 10)
    ws = generator.map(generator.sample_latents(4, seed=0), torch.eye(3)[[0, 1, 2, 0]])
    assert ws.shape == (4, 6, 10)
    images = generator.synthesize(4 * ws)
    assert images.shape == (4, 3, 16, 16)
    assert images.min() >= -1
    assert images.max() <= 1
    torch.testing.assert_close(images, generator.synthesis(4 * ws).clamp(-1, 1))


@given(seed=st.integers(0, 2**62), n=st.integers(1, 5), start=st.integers(0, 4))
def test_a_latent_depends_on_its_own_seed_only(seed, n, start):
    generator = StyleGAN2Generator(**SMALL)
    z = generator.sample_latents(start + n, seed)
    assert z.dtype == torch.float32
    assert torch.equal(z[start:], generator.sample_latents(n, seed + start))


@pytest.mark.parametrize("c_dim", [0, 3])
def test_a_random_w_has_a_random_class_of_its_own_seed(c_dim):
    generator = small(c_dim=c_dim)
    w = generator.sample_w(30, 5, truncation_psi=0.5)
    labels = generator.sample_labels(30, 5)
    torch.testing.assert_close(w, generator.map(generator.sample_latents(30, 5), labels, truncation_psi=0.5))
    torch.testing.assert_close(w[7:9], generator.sample_w(2, 12, truncation_psi=0.5))
    if c_dim:
        assert torch.equal(labels.sum(dim=1), torch.ones(30))
        assert len(labels.argmax(dim=1).unique()) == c_dim
    else:
        assert labels is None


def test_the_batch_does_not_change_a_sample():
    generator = small()
    ws = generator.map(generator.sample_latents(5, seed=3))
    together = generator.synthesis(ws)
    apart = torch.cat([generator.synthesis(w[None]) for w in ws])
    torch.testing.assert_close(together, apart, atol=2e-5, rtol=0)


def test_random_noise_is_drawn_per_sample_and_changes_the_image():
    generator = small()
    ws = generator.map(generator.sample_latents(1, seed=3)).repeat(3, 1, 1)
    rngs = [torch.Generator().manual_seed(seed) for seed in (1, 2, 1)]
    first, second, third = generator.synthesis(ws, noise_mode="random", generator=rngs)
    torch.testing.assert_close(first, third, atol=1e-5, rtol=0)
    assert (first - second).abs().max() > 0.01


def test_one_w_is_broadcast_to_all_layers():
    generator = small()
    ws = generator.map(generator.sample_latents(2, seed=0))
    assert torch.equal(generator.synthesize(ws[:, :1]), generator.synthesize(ws))


@given(psi=st.floats(-1, 2), cutoff=st.one_of(st.none(), st.integers(0, 6)))
def test_truncation_scales_the_offset_from_the_mean_of_the_first_layers(psi, cutoff):
    generator = StyleGAN2Generator(**SMALL)
    generator.mapping.w_avg.fill_(0.5)
    w = torch.randn(2, 6, 10, generator=torch.Generator().manual_seed(0))
    kept = w.clone()
    expected = torch.cat([0.5 + psi * (w[:, :cutoff] - 0.5), w[:, 6 if cutoff is None else cutoff :]], dim=1)
    torch.testing.assert_close(generator.truncate(w, psi, cutoff), expected, atol=1e-5, rtol=0)
    assert torch.equal(w, kept)


def test_the_mean_latent_is_the_mean_of_w():
    generator = small(c_dim=2)
    generator.update_w_avg(num_samples=4000, seed=1, batch_size=999)
    z = torch.randn(4000, 12)
    w = generator.mapping(z, torch.eye(2).repeat(2000, 1))
    torch.testing.assert_close(generator.mapping.w_avg, w.mean(dim=0), atol=0.15 * w.std().item(), rtol=0)


def test_gradients_reach_latents_and_every_parameter_but_the_noise_that_is_off():
    generator = small().requires_grad_(True)
    ws = generator.map(generator.sample_latents(2, seed=0)).detach().requires_grad_()
    generator.synthesis(ws, noise_mode="none").square().mean().backward()
    assert (ws.grad.abs().sum(dim=(0, 2)) > 0).all()
    without = {name for name, p in generator.synthesis.named_parameters() if p.grad is None or not p.grad.any()}
    assert without == {name for name in without if name.endswith("noise_strength")}
    assert len(without) == 5


def test_a_conditional_network_asks_for_labels_of_the_right_shape():
    generator = small(c_dim=3)
    z = generator.sample_latents(2, seed=0)
    with pytest.raises(ValueError, match=r"label: expected labels of shape \(2, 3\), got None"):
        generator.map(z)
    with pytest.raises(ValueError, match=r"got \(1, 3\)"):
        generator.map(z, torch.eye(3)[:1])
    with pytest.raises(ValueError, match=r"z: expected shape \[N, 12\], got \[2, 11\]"):
        generator.map(z[:, 1:], torch.eye(3)[:2])


def test_wrong_noise_modes_and_latents_are_refused():
    generator = small()
    with pytest.raises(ValueError, match="noise_mode: expected one of none, const, random, got 'off'"):
        generator.synthesis(torch.zeros(1, 6, 10), noise_mode="off")
    with pytest.raises(ValueError, match=r"ws: expected shape \[N, 6, 10\], got \[1, 1, 10\]"):
        generator.synthesis(torch.zeros(1, 1, 10))
    for shape in ([1, 5, 10], [1, 6, 9], [6, 10]):
        with pytest.raises(ValueError, match=r"latents: expected \[N, 6 or 1, 10\]"):
            generator.synthesize(torch.zeros(shape))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"img_resolution": 48}, "img_resolution: expected a power of two of at least 4, got 48"),
        ({"img_resolution": 2}, "img_resolution: expected a power of two"),
        ({"architecture": "dense"}, "architecture: expected one of skip, resnet, orig, got 'dense'"),
        ({"w_dim": 0}, "w_dim: expected at least 1, got 0"),
        ({"num_mapping_layers": 0}, "num_mapping_layers: expected at least 1, got 0"),
        ({"channel_base": 8}, "channel_base // 16: expected at least 1, got 0"),
        ({"block_channels": [8, 8]}, "block_channels: expected 3 positive numbers, for 4 to 16 pixels, got"),
        ({"kernel_size": 2}, "kernel_size: expected an odd number, got 2"),
        ({"num_fp16_res": -1}, "num_fp16_res: expected at least 0, got -1"),
        ({"mapping_normalization": "both"}, "normalization: expected one of separate, joint, none, got 'both'"),
        ({"c_dim": -1}, "c_dim: expected at least 0, got -1"),
        ({"activation": "mish"}, "activation 'mish'"),
    ],
)
def test_constructor_arguments_out_of_range_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        StyleGAN2Generator(**{**SMALL, **change})
