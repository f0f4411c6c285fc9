"""Band-limited resampling and non-linearities in plain PyTorch (StyleGAN3, arXiv:2106.12423, section 3)."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from text2latent.models.generators.layers import LRELU_SLOPE

MAX_TEMPORARY_ELEMENTS = 2**27
"""Upsampled features held at once where no gradients are needed: half a GiB in float32."""


def kaiser_beta(num_taps: int, width: float) -> float:
    """Shape parameter of a Kaiser window for a transition band of `width`, as a share of the Nyquist frequency.

    Kaiser's empirical formulas (arXiv:2106.12423, appendix C.1).
    """
    attenuation = 2.285 * (num_taps - 1) * math.pi * width + 7.95
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    return 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21) if attenuation > 21 else 0.0


def design_lowpass(
    num_taps: int, cutoff: float, width: float, sampling_rate: float, radial: bool = False
) -> Tensor | None:
    """Kaiser low-pass filter of sum one: [num_taps], or [num_taps, num_taps] if `radial`; None for a single tap.

    The separable filter is a windowed sinc, the radial one a windowed jinc, its rotationally symmetric counterpart
    (arXiv:2106.12423, appendix C.1 and section 3.2).

    Args:
        num_taps: length of the filter.
        cutoff: frequency where it has lost half of its gain.
        width: of the transition band around the cutoff, in the same unit.
        sampling_rate: in the same unit.
        radial: whether the filter is radially symmetric.
    """
    if num_taps == 1:
        return None
    window = np.kaiser(num_taps, kaiser_beta(num_taps, 2 * width / sampling_rate))
    position = (np.arange(num_taps) - (num_taps - 1) / 2) / sampling_rate
    if radial:
        taps = _jinc(np.hypot(position[:, None], position), cutoff) * np.outer(window, window)
    else:
        taps = np.sinc(2 * cutoff * position) * window
    return torch.tensor(taps / taps.sum(), dtype=torch.float32)


def _jinc(radius: NDArray[np.float64], cutoff: float) -> NDArray[np.float64]:
    """Inverse Fourier transform of a disc of radius `cutoff`, J1(2 pi cutoff r) / r, up to a factor."""
    bessel = torch.special.bessel_j1(torch.as_tensor(2 * np.pi * cutoff * radius)).numpy()
    return np.divide(bessel, radius, out=np.full_like(radius, np.pi * cutoff), where=radius > 0)


def upsample(x: Tensor, fir: Tensor | None, factor: int, padding: int) -> Tensor:
    """Insert zeros after each pixel, pad, and convolve along both axes with `fir` [k], keeping the mean.

    Transposed depthwise convolutions, one axis after the other, which skip the zeros; with channels last they take a
    tenth of the time that they take with channels first.

    Args:
        x: features [N, C, H, W]; beyond the border they count as zero.
        fir: taps of sum one, None for the identity.
        factor: of both sizes.
        padding: zeros on each side of the upsampled image before it is filtered; a negative number crops.

    Returns:
        Features [N, C, factor H + 2 padding - k + 1 or one more, W alike].
    """
    if fir is None:
        return F.pad(x, (padding,) * 4) if padding else x
    channels, taps = x.shape[1], len(fir)
    crop = taps - 1 - padding
    kernel = (factor * fir).to(x.dtype).expand(channels, 1, 1, taps)
    cut = max(crop, 0)
    y = F.conv_transpose2d(x, kernel, stride=(1, factor), padding=(0, cut), groups=channels)
    y = F.conv_transpose2d(y, kernel.transpose(2, 3), stride=(factor, 1), padding=(cut, 0), groups=channels)
    return y if crop >= 0 else F.pad(y, (-crop,) * 4)


def downsample(x: Tensor, fir: Tensor | None, factor: int) -> Tensor:
    """Convolve with `fir` ([k] along both axes, or [k, k]) and keep every `factor`-th pixel, without padding.

    [N, C, H, W] -> [N, C, (H - k) // factor + 1, (W - k) // factor + 1].
    """
    if fir is None:
        return x[:, :, ::factor, ::factor]
    channels, taps = x.shape[1], fir.shape[-1]
    kernel = fir.flip(tuple(range(fir.ndim))).to(x.dtype)
    if fir.ndim == 2:
        return F.conv2d(x, kernel.expand(channels, 1, taps, taps), stride=factor, groups=channels)
    y = F.conv2d(x, kernel.view(1, 1, taps, 1).expand(channels, 1, taps, 1), stride=(factor, 1), groups=channels)
    return F.conv2d(y, kernel.expand(channels, 1, 1, taps), stride=(1, factor), groups=channels)


def filtered_lrelu(
    x: Tensor,
    up_filter: Tensor | None,
    down_filter: Tensor | None,
    up: int,
    down: int,
    padding: int,
    clamp: float | None,
) -> Tensor:
    """Leaky relu between up- and downsampling, which keeps its new frequencies out (arXiv:2106.12423, figure 4).

    Where no gradients are needed, samples go through in groups, so that a batch doesn't multiply the memory that the
    upsampled features take.

    Args:
        x: features [N, C, H, W].
        up_filter, down_filter: taps as `upsample` and `downsample` take them.
        up, down: factors.
        padding: as for `upsample`.
        clamp: bound on the magnitude after the leaky relu, None for no bound.
    """

    def resample(part: Tensor) -> Tensor:
        return downsample(_bounded_lrelu(upsample(part, up_filter, up, padding), clamp), down_filter, down)

    group = max(1, MAX_TEMPORARY_ELEMENTS // max(1, up * up * x[0].numel()))
    if torch.is_grad_enabled() or group >= len(x):
        return resample(x)
    return torch.cat([resample(part) for part in x.split(group)])


def _bounded_lrelu(x: Tensor, clamp: float | None) -> Tensor:
    if torch.is_grad_enabled():
        y = F.leaky_relu(x, LRELU_SLOPE)
        return y if clamp is None else y.clamp(-clamp, clamp)
    y = F.leaky_relu_(x, LRELU_SLOPE)
    return y if clamp is None else y.clamp_(-clamp, clamp)
