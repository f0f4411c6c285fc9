"""The plan of an alias-free network: which signal each of its layers puts out (StyleGAN3, arXiv:2106.12423)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Band:
    """The signal that a layer puts out (arXiv:2106.12423, figure 4 and appendix C).

    Attributes:
        sampling_rate: pixels per unit length, the side of the image without its margin.
        cutoff: highest frequency, in cycles per unit length.
        half_width: half of the transition band's width, in the same unit.
        size: pixels per side, with the margin.
        channels: number of feature maps.
    """

    sampling_rate: int
    cutoff: float
    half_width: float
    size: int
    channels: int


def plan_bands(
    img_resolution: int,
    img_channels: int,
    channel_base: int,
    channel_max: int,
    num_layers: int,
    num_critical: int,
    first_cutoff: float,
    first_stopband: float,
    last_stopband_rel: float,
    margin_size: int,
    layer_channels: Sequence[int] | None = None,
) -> list[Band]:
    """Bands of all layers and of ToRGB: cutoffs and stopbands rise geometrically up to the critically sampled layers.

    Arguments as for `StyleGAN3Generator`. Source: arXiv:2106.12423, section 3.2, "Flexible layers", and appendix C.2.

    Raises:
        ValueError: when a layer would get no channels, or `layer_channels` aren't those of all layers.
    """
    if layer_channels is not None and len(layer_channels) != num_layers:
        raise ValueError(f"layer_channels: expected {num_layers} numbers, got {len(layer_channels)}")
    last_cutoff = img_resolution / 2
    last_stopband = last_cutoff * last_stopband_rel
    bands = []
    for i in range(num_layers + 1):
        exponent = min(i / (num_layers - num_critical), 1)
        cutoff = first_cutoff * (last_cutoff / first_cutoff) ** exponent
        stopband = first_stopband * (last_stopband / first_stopband) ** exponent
        rate = 2 ** math.ceil(math.log2(min(2 * stopband, img_resolution)))
        size = img_resolution if i >= num_layers - 1 else rate + 2 * margin_size
        if i == num_layers:
            channels = img_channels
        else:
            channels = layer_channels[i] if layer_channels else round(min(channel_base / 2 / cutoff, channel_max))
        if channels < 1:
            raise ValueError(f"channel_base: expected at least {img_resolution / 2:g}, got {channel_base}")
        bands.append(Band(rate, cutoff, max(stopband, rate / 2) - cutoff, size, channels))
    return bands
