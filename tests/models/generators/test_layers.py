"""Layers against per-sample, per-tap references written out in float64 with numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import conv2d

from text2latent.models.generators.layers import (
    ACTIVATIONS,
    HOMOGENEOUS,
    FullyConnectedLayer,
    SynthesisLayer,
    ToRGBLayer,
    UpsampleSkip,
    demodulation,
    finish_convolution,
    fir_kernel,
    modulate,
    normalize_second_moment,
    upsample2d,
    upsample_conv2d,
)
from text2latent.tests.models.generators.reference import array, correlate, upsample, upsample_convolve

TAPS = st.lists(st.floats(0.125, 4), min_size=1, max_size=9)


def layer_inputs(channels: int, w_dim: int, size: int, n: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(n, channels, size, size, generator=rng), torch.randn(n, w_dim, generator=rng)


def randomize(module: torch.nn.Module) -> None:
    """Give biases and noise strengths values that matter."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())))


@settings(max_examples=25)
@given(taps=TAPS, height=st.integers(1, 6), width=st.integers(1, 6), seed=st.integers(0, 99))
def test_upsample2d_equals_zero_insertion_and_convolution(taps, height, width, seed):
    x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))
    fir = fir_kernel(taps)
    expected = [[upsample(array(channel), array(fir)) for channel in image] for image in x]
    np.testing.assert_allclose(array(upsample2d(x, fir)), expected, atol=1e-5)


@settings(max_examples=25)
@given(taps=TAPS, size=st.sampled_from([1, 3, 5]), height=st.integers(1, 5), width=st.integers(1, 5))
def test_upsample_conv2d_equals_zero_insertion_and_two_convolutions(taps, size, height, width):
    rng = torch.Generator().manual_seed(height)
    x, weight = torch.randn(2, 3, height, width, generator=rng), torch.randn(4, 3, size, size, generator=rng)
    fir = fir_kernel(taps)
    expected = [upsample_convolve(array(image), array(weight), array(fir)) for image in x]
    np.testing.assert_allclose(array(upsample_conv2d(x, weight, fir)), expected, atol=1e-4)


def test_upsample2d_keeps_a_constant_inside_and_stays_float32_under_autocast():
    x = torch.full((1, 2, 8, 8), 1.2345)
    with torch.autocast("cpu", torch.bfloat16):
        y = upsample2d(x, fir_kernel([1, 3, 3, 1]))
    assert y.dtype == torch.float32
    torch.testing.assert_close(y[:, :, 1:-1, 1:-1], torch.full((1, 2, 14, 14), 1.2345))


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("activation", ["lrelu", "tanh"])
@pytest.mark.parametrize("training", [False, True])
def test_synthesis_layer_equals_per_sample_demodulated_kernels(up, activation, training):
    layer = SynthesisLayer(5, 4, w_dim=6, resolution=8, up=up, activation=activation, conv_clamp=2.0)
    randomize(layer)
    x, w = layer_inputs(5, 6, 4 if up else 8)
    with torch.set_grad_enabled(training):
        result = array(layer(x, w, layer.noise_const, gain=0.5))
    styles = array(w) @ array(layer.affine.weight).T / np.sqrt(6) + array(layer.affine.bias)
    noise = array(layer.noise_const) * array(layer.noise_strength)
    for i in range(len(x)):
        kernels = array(layer.weight) * styles[i][None, :, None, None]
        kernels /= np.sqrt((kernels**2).sum(axis=(1, 2, 3), keepdims=True) + 1e-8)
        image = array(x[i])
        y = upsample_convolve(image, kernels, array(layer.resample_filter)) if up else correlate(image, kernels)
        y = y + noise + array(layer.bias)[:, None, None]
        y = np.where(y < 0, 0.2 * y, y) * np.sqrt(2) if activation == "lrelu" else np.tanh(y)
        np.testing.assert_allclose(result[i], np.clip(y * 0.5, -1.0, 1.0), atol=2e-5)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_what_follows_a_convolution_is_the_same_with_and_without_autograd(activation):
    y, (scale, bias) = torch.randn(2, 3, 4, 4), (torch.randn(2, 3), torch.randn(3))
    further = (torch.randn(2, 1, 4, 4), ACTIVATIONS[activation][0], 1.7, 0.9)
    expected = finish_convolution(y, scale, bias, *further)
    with torch.no_grad():
        torch.testing.assert_close(finish_convolution(y.clone(), scale, bias, *further), expected)


def test_synthesis_layer_leaves_its_arguments_as_they_were():
    layer = SynthesisLayer(4, 4, w_dim=6, resolution=8)
    arguments = (*layer_inputs(4, 6, 8), torch.randn(3, 1, 8, 8))
    kept = [argument.clone() for argument in arguments]
    with torch.no_grad():
        layer(*arguments)
    assert all(torch.equal(*pair) for pair in zip(arguments, kept, strict=True))


def test_torgb_equals_per_sample_kernels_without_demodulation():
    layer = ToRGBLayer(5, 3, w_dim=6, conv_clamp=1.5)
    randomize(layer)
    x, w = layer_inputs(5, 6, 4)
    styles = array(w) @ array(layer.affine.weight).T / np.sqrt(6) + array(layer.affine.bias)
    kernels = array(layer.weight)[None, :, :, 0, 0] * styles[:, None, :] / np.sqrt(5)
    expected = np.einsum("noi,nihw->nohw", kernels, array(x)) + array(layer.bias)[:, None, None]
    np.testing.assert_allclose(array(layer(x, w)), np.clip(expected, -1.5, 1.5), atol=1e-5)


def test_upsample_skip_equals_a_1x1_convolution_of_zero_inserted_and_filtered_pixels():
    layer = UpsampleSkip(5, 4, [1, 3, 3, 1])
    x, _ = layer_inputs(5, 6, 4)
    weight = array(layer.weight) / np.sqrt(5) * 0.5
    expected = [upsample_convolve(array(image), weight, array(layer.resample_filter)) for image in x]
    np.testing.assert_allclose(array(layer(x, gain=0.5)), expected, atol=1e-5)


def test_layout_in_memory_does_not_change_the_result():
    layer = SynthesisLayer(8, 8, w_dim=6, resolution=16, up=True)
    rgb = ToRGBLayer(8, 3, w_dim=6)
    x, w = layer_inputs(8, 6, 8)
    strided = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(layer(strided, w), layer(x, w), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rgb(strided, w), rgb(x, w), atol=1e-5, rtol=1e-5)


def test_demodulation_is_float32_and_exact_under_autocast():
    weight, styles = torch.randn(4, 5, 3, 3), torch.randn(2, 5)
    with torch.autocast("cpu", torch.bfloat16):
        scale = demodulation(weight, styles)
    assert scale.dtype == torch.float32
    kernels = weight[None] * styles[:, None, :, None, None]
    torch.testing.assert_close(scale, kernels.square().sum(dim=(2, 3, 4)).rsqrt())


@pytest.mark.parametrize("lr_multiplier", [1.0, 0.01])
def test_fully_connected_layer_has_unit_output_variance_and_scaled_gradients(lr_multiplier):
    torch.manual_seed(0)
    layer = FullyConnectedLayer(512, 256, lr_multiplier=lr_multiplier, bias_init=3)
    assert layer.weight.std().item() == pytest.approx(1 / lr_multiplier, rel=0.02)
    y = layer(torch.randn(512, 512))
    assert y.std().item() == pytest.approx(1, rel=0.05)
    assert y.mean().item() == pytest.approx(3, abs=0.05)
    y.sum().backward()
    torch.testing.assert_close(layer.bias.grad, torch.full((256,), 512 * lr_multiplier))


@pytest.mark.parametrize("name", sorted(HOMOGENEOUS))
def test_gain_can_be_folded_through_homogeneous_activations(name):
    function, _ = ACTIVATIONS[name]
    x = torch.linspace(-3, 3, 31)
    torch.testing.assert_close(function(1.7 * x), 1.7 * function(x))


@given(scale=st.floats(1e-2, 1e3))
def test_normalize_second_moment_gives_unit_mean_square_at_any_scale(scale):
    x = scale * torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(normalize_second_moment(x).square().mean(dim=1), torch.ones(3), atol=2e-4, rtol=0)


def test_random_noise_follows_each_samples_own_generator():
    layer = SynthesisLayer(4, 4, w_dim=6, resolution=8)
    batch = layer.draw_noise(3, "random", [torch.Generator().manual_seed(seed) for seed in (5, 6, 7)])
    assert batch.shape == (3, 1, 8, 8)
    assert torch.equal(batch[2:], layer.draw_noise(1, "random", [torch.Generator().manual_seed(7)]))
    assert layer.draw_noise(3, "none") is None
    assert SynthesisLayer(4, 4, w_dim=6, resolution=8, use_noise=False).draw_noise(3, "const") is None


def test_fir_kernel_is_the_normalised_outer_product_or_the_taps_where_they_are_many():
    row = np.array([1, 3, 3, 1]) / 8
    np.testing.assert_allclose(array(fir_kernel([1, 3, 3, 1])), np.outer(row, row))
    np.testing.assert_allclose(array(fir_kernel([1, 2, 3, 4, 4, 3, 2, 1])), np.array([1, 2, 3, 4, 4, 3, 2, 1]) / 20)


def test_a_filter_without_taps_and_an_unknown_activation_are_refused():
    with pytest.raises(ValueError, match=r"resample_filter \[\]: expected at least one tap"):
        fir_kernel([])
    with pytest.raises(ValueError, match="activation 'mish': expected one of linear"):
        FullyConnectedLayer(2, 2, activation="mish")


def test_modulated_kernels_equal_scaled_features():
    weight, x, styles, scale = torch.randn(4, 5, 3, 3), torch.randn(1, 5, 6, 6), torch.randn(1, 5), torch.rand(1, 4)
    scaled, shared, left = modulate(x, weight, styles, scale)
    assert torch.equal(shared, weight)
    expected = conv2d(scaled, shared) * left[..., None, None]
    with torch.no_grad():
        same, kernels, nothing = modulate(x, weight, styles, scale)
    assert same is x
    assert nothing is None
    torch.testing.assert_close(conv2d(same, kernels), expected, atol=1e-5, rtol=1e-5)


def test_kernels_larger_than_the_features_stay_as_they_are():
    weight, x, styles, scale = torch.randn(4, 5, 3, 3), torch.randn(1, 5, 5, 5), torch.randn(1, 5), torch.rand(1, 4)
    with torch.no_grad():
        scaled, kernels, left = modulate(x, weight, styles, scale)
    assert torch.equal(scaled, x * styles[..., None, None])
    assert torch.equal(kernels, weight)
    assert torch.equal(left, scale)


def test_float16_keeps_large_features_in_range():
    layer = SynthesisLayer(64, 8, w_dim=6, resolution=8, use_noise=False, conv_clamp=256).requires_grad_(False)
    layer.affine.weight.mul_(100)
    x, w = layer_inputs(64, 6, 8)
    x *= 200
    result = layer(x.half(), w)
    assert result.dtype == torch.float16
    torch.testing.assert_close(result.float(), layer(x, w), atol=1.0, rtol=5e-3)
