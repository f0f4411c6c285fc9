"""StyleGAN2 and StyleGAN3 written out from the papers' formulas in float64: per sample, per kernel, per tap."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

Array = np.ndarray[Any, np.dtype[np.float64]]
State = dict[str, Array]
SLOPE = 0.2
EPS = 1e-8


def array(x: torch.Tensor) -> Array:
    return x.detach().double().numpy()


def state_of(module: torch.nn.Module) -> State:
    return {name: array(value) for name, value in module.state_dict().items()}


def lrelu(x: Array, gain: float = float(np.sqrt(2))) -> Array:
    return np.where(x < 0, SLOPE * x, x) * gain


def convolve(image: Array, kernel: Array) -> Array:
    """Full true convolution of [..., H, W] with [k, l], one tap at a time."""
    height, width = image.shape[-2:]
    out = np.zeros((*image.shape[:-2], height + kernel.shape[0] - 1, width + kernel.shape[1] - 1))
    for i, j in np.ndindex(*kernel.shape):
        out[..., i : i + height, j : j + width] += kernel[i, j] * image
    return out


def insert_zeros(image: Array, factor: int) -> Array:
    """[..., H, W] -> [..., factor H, factor W]: factor - 1 zeros after each pixel of a row or column."""
    out = np.zeros((*image.shape[:-2], factor * image.shape[-2], factor * image.shape[-1]))
    out[..., ::factor, ::factor] = image
    return out


def crop(image: Array, start: int, size: tuple[int, int]) -> Array:
    """`size` pixels from row and column `start`, zeros where there are none."""
    before = max(-start, 0)
    after = [max(start + wanted - have, 0) for wanted, have in zip(size, image.shape[-2:], strict=True)]
    padded = np.pad(image, [(0, 0)] * (image.ndim - 2) + [(before, rest) for rest in after])
    first = start + before
    return padded[..., first : first + size[0], first : first + size[1]]


def square(fir: Array) -> Array:
    return np.outer(fir, fir) if fir.ndim == 1 else fir


def upsample(image: Array, fir: Array) -> Array:
    """Insert a zero after every pixel, convolve with 4 * fir, crop to 2H x 2W around the filter's centre."""
    fir = square(fir)
    full = convolve(insert_zeros(image, 2), 4 * fir)
    return crop(full, (len(fir) - 2) // 2, (2 * image.shape[-2], 2 * image.shape[-1]))


def upsample_convolve(x: Array, weight: Array, fir: Array) -> Array:
    """[I, H, W] -> [O, 2H, 2W]: zero insertion, true convolution with each slice of weight, low-pass, central crop."""
    fir = square(fir)
    zeros = insert_zeros(x, 2)
    summed = np.array([sum(convolve(zeros[i], kernels[i]) for i in range(len(x))) for kernels in weight])
    start = (weight.shape[-1] - 1) // 2 + (len(fir) - 2) // 2
    return crop(convolve(summed, 4 * fir), start, zeros.shape[1:])


def correlate(x: Array, weight: Array, padding: int | None = None) -> Array:
    """[I, H, W] -> [O, H', W']: cross-correlation with zero padding, by default to the same size."""
    size = weight.shape[-1]
    padding = size // 2 if padding is None else padding
    full = np.array([sum(convolve(x[i], kernels[i, ::-1, ::-1]) for i in range(len(x))) for kernels in weight])
    cut = size - 1 - padding
    return full[:, cut : full.shape[1] - cut, cut : full.shape[2] - cut]


def dense(state: State, name: str, x: Array, lr_multiplier: float = 1.0) -> Array:
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return x @ weight.T * (lr_multiplier / np.sqrt(weight.shape[1])) + bias * lr_multiplier


def normalise(x: Array) -> Array:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + EPS)


def demodulate(kernels: Array) -> Array:
    return kernels / np.sqrt((kernels**2).sum(axis=(1, 2, 3), keepdims=True) + EPS)


def mapping(state: State, z: Array, label: Array | None, num_layers: int, lr_multiplier: float) -> Array:
    """z [N, z_dim] and labels [N, c_dim] -> w [N, w_dim], leaky relu throughout (arXiv:1812.04948, fig. 1b)."""
    x = normalise(z)
    if label is not None:
        x = np.concatenate([x, normalise(dense(state, "mapping.embed", label))], axis=1)
    for i in range(num_layers):
        x = lrelu(dense(state, f"mapping.fc{i}", x, lr_multiplier))
    return x


def stylegan2_layer(
    state: State, name: str, x: Array, w: Array, up: bool, noise: bool, clamp: float | None, gain: float = 1.0
) -> Array:
    """Figure 2c of arXiv:1912.04958 for one sample: x [I, H, W], w [w_dim] -> [O, H', W']."""
    styles = dense(state, f"{name}.affine", w)
    kernels = demodulate(state[f"{name}.weight"] * styles[None, :, None, None])
    y = upsample_convolve(x, kernels, state[f"{name}.resample_filter"]) if up else correlate(x, kernels)
    if noise:
        y = y + state[f"{name}.noise_const"] * state[f"{name}.noise_strength"]
    y = lrelu(y + state[f"{name}.bias"][:, None, None]) * gain
    return y if clamp is None else np.clip(y, -clamp * gain, clamp * gain)


def to_rgb(state: State, name: str, x: Array, w: Array, clamp: float | None) -> Array:
    weight = state[f"{name}.weight"]
    styles = dense(state, f"{name}.affine", w) / np.sqrt(weight.shape[1])
    y = correlate(x, weight * styles[None, :, None, None]) + state[f"{name}.bias"][:, None, None]
    return y if clamp is None else np.clip(y, -clamp, clamp)


def stylegan2(
    state: State, ws: Array, resolution: int, architecture: str, noise: bool = True, clamp: float | None = None
) -> Array:
    """Figure 7 of arXiv:1912.04958 for one sample: ws [num_ws, w_dim] -> image [3, H, W]."""
    x, image, layer = state["synthesis.b4.const"], None, 0
    for size in [2**i for i in range(2, resolution.bit_length())]:
        block = f"synthesis.b{size}"
        options = {"noise": noise, "clamp": clamp}
        gain = np.sqrt(0.5) if architecture == "resnet" and size > 4 else 1.0
        shortcut = np.zeros(1)
        if size > 4:
            if architecture == "resnet":
                skip = state[f"{block}.skip.weight"] / np.sqrt(len(x))
                shortcut = upsample_convolve(x, skip, state[f"{block}.skip.resample_filter"]) * gain
            image = None if image is None else upsample(image, state[f"{block}.resample_filter"])
            x, layer = stylegan2_layer(state, f"{block}.conv0", x, ws[layer], up=True, **options), layer + 1
        x, layer = stylegan2_layer(state, f"{block}.conv1", x, ws[layer], up=False, gain=gain, **options), layer + 1
        x = x + shortcut
        if architecture == "skip" or size == resolution:
            rgb = to_rgb(state, f"{block}.torgb", x, ws[layer], clamp)
            image = rgb if image is None else image + rgb
    assert image is not None
    return image


def alias_free_layer(
    state: State, x: Array, w: Array, factors: tuple[int, int], size: int, clamp: float | None
) -> Array:
    """Figure 4b of arXiv:2106.12423 for one sample: x [I, H, W], w [w_dim] -> [O, size, size]."""
    up, down = factors
    kernels = demodulate(state["weight"] * dense(state, "affine", w)[None, :, None, None])
    y = correlate(x, kernels, padding=kernels.shape[-1] - 1) / np.sqrt(state["magnitude_ema"])
    y = y + state["bias"][:, None, None]
    up_filter, down_filter = (square(state.get(name, np.ones(1))) for name in ("up_filter", "down_filter"))
    y = convolve(insert_zeros(y, up), up * up * up_filter)[:, : 1 - up or None, : 1 - up or None]
    y = lrelu(y)
    y = y if clamp is None else np.clip(y, -clamp, clamp)
    y = convolve(y, down_filter)
    # Input and output have the same centre, which falls between two positions where their sizes' difference is odd.
    total = (size - 1) * down + 1
    return crop(y, (y.shape[-1] - total) // 2, (total, total))[:, ::down, ::down]
