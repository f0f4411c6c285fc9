"""StyleGAN3-T and -R generators (arXiv:2106.12423): alias-free synthesis from Fourier features.

Modules and parameters are named as in the official state dictionaries, so that weights map one to one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from text2latent.models.colours import check_channels
from text2latent.models.generators.alias_free import design_lowpass, filtered_lrelu
from text2latent.models.generators.bands import Band, plan_bands
from text2latent.models.generators.base import check_at_least_one
from text2latent.models.generators.layers import (
    FullyConnectedLayer,
    ModulatedLayer,
    block_dtype,
    check_noise_mode,
    demodulation,
    finish_convolution,
    modulate,
    own_precision,
    pointwise,
    resolve_activation,
    to_block,
)
from text2latent.models.generators.mapping import MappedGenerator, MappingNetwork

LRELU_GAIN = resolve_activation("lrelu")[1]
NO_ACTIVATION = resolve_activation("linear")[0]


def image_transform(translate: Sequence[float], rotate: float) -> Tensor:
    """Matrix [3, 3] that takes a point of the transformed image to where it was: x right, y down, the origin amid.

    Args:
        translate: x and y, in image sides; positive x moves the image's content right, positive y down.
        rotate: degrees, counter-clockwise, about the centre; done before the translation.
    """
    x, y = translate
    cos, sin = math.cos(math.radians(rotate)), math.sin(math.radians(rotate))
    return torch.tensor([[cos, -sin, sin * y - cos * x], [sin, cos, -sin * x - cos * y], [0.0, 0.0, 1.0]])


class FourierInput(nn.Module):
    """Sine waves of random frequencies, rotated and translated as w says (arXiv:2106.12423, section 3.2).

    Buffers: `freqs` [C, 2], in cycles per image side; `phases` [C], in cycles; `transform` [3, 3], the inverse of a
    transformation of the image.
    """

    freqs: Tensor
    phases: Tensor
    transform: Tensor

    def __init__(self, w_dim: int, band: Band) -> None:
        super().__init__()
        self.band = band
        radius, angle = torch.rand(band.channels).sqrt() * band.cutoff, torch.rand(band.channels) * 2 * math.pi
        self.weight = nn.Parameter(torch.randn(band.channels, band.channels))
        self.affine = FullyConnectedLayer(w_dim, 4)
        nn.init.zeros_(self.affine.weight)
        nn.init.constant_(self.affine.bias[:1].detach(), 1.0)
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("freqs", torch.stack([angle.cos(), angle.sin()], dim=1) * radius[:, None])
        self.register_buffer("phases", torch.rand(band.channels) - 0.5)

    def forward(self, w: Tensor, transform: Tensor | None) -> Tensor:
        """`w` [N, w_dim] and the inverse `transform` [3, 3] of the image, None for the image as it is -> features
        [N, C, H, W], in float32.
        """
        with torch.autocast(w.device.type, enabled=False):
            matrices = self._learned_transform(w.float()) @ self.transform.float()
            matrices = matrices if transform is None else matrices @ transform
            freqs = self.freqs.float() @ matrices[:, :2, :2]
            phases = self.phases + (self.freqs.float() @ matrices[:, :2, 2:])[..., 0]
            waves = self._waves(freqs, phases) * self._amplitudes(freqs)[:, None, None]
            y = waves @ (self.weight.float().t() / math.sqrt(self.band.channels))
        return y.permute(0, 3, 1, 2)

    def _learned_transform(self, w: Tensor) -> Tensor:
        """Matrices [N, 3, 3] that undo the translation, then the rotation, which `w` asks for."""
        t = self.affine(w)
        cos, sin, x, y = (t / t[:, :2].norm(dim=1, keepdim=True)).unbind(dim=1)
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)
        rows = [cos, -sin, sin * y - cos * x, sin, cos, -sin * x - cos * y, zero, zero, one]
        return torch.stack(rows, dim=1).unflatten(1, (3, 3))

    def _amplitudes(self, freqs: Tensor) -> Tensor:
        """Gains [N, C] that fade out what the transformation has moved beyond the band."""
        nyquist = self.band.sampling_rate / 2
        return (1 - (freqs.norm(dim=2) - self.band.cutoff) / (nyquist - self.band.cutoff)).clamp(0, 1)

    def _waves(self, freqs: Tensor, phases: Tensor) -> Tensor:
        """Sines [N, H, W, C] of `freqs` [N, C, 2] and `phases` [N, C] at the pixels' centres."""
        size = self.band.size
        position = (torch.arange(size, device=freqs.device) + 0.5 - size / 2) / self.band.sampling_rate
        along_x, along_y = position[:, None] * freqs[:, None, :, 0], position[:, None] * freqs[:, None, :, 1]
        return torch.sin(2 * math.pi * (along_x[:, None] + along_y[:, :, None] + phases[:, None, None]))


class AliasFreeLayer(ModulatedLayer):
    """Modulated convolution of normalised features and filtered leaky relu (arXiv:2106.12423, figure 4b)."""

    magnitude_ema: Tensor
    up_filter: Tensor | None
    down_filter: Tensor | None

    def __init__(
        self,
        w_dim: int,
        source: Band,
        target: Band,
        conv_kernel: int,
        filter_size: int,
        lrelu_upsampling: int,
        radial: bool,
        conv_clamp: float | None,
    ) -> None:
        super().__init__(source.channels, target.channels, w_dim, conv_kernel)
        self.target, self.conv_clamp = target, conv_clamp
        rate = max(source.sampling_rate, target.sampling_rate) * lrelu_upsampling
        self.up, self.down = rate // source.sampling_rate, rate // target.sampling_rate
        up_taps = filter_size * self.up if self.up > 1 else 1
        down_taps = filter_size * self.down if self.down > 1 else 1
        self.register_buffer("magnitude_ema", torch.ones([]))
        self.register_buffer("up_filter", design_lowpass(up_taps, source.cutoff, 2 * source.half_width, rate))
        self.register_buffer(
            "down_filter", design_lowpass(down_taps, target.cutoff, 2 * target.half_width, rate, radial)
        )
        # The convolution pads by its kernel's size less one on each side, and the filters take their taps less one.
        before = (source.size + conv_kernel - 1) * self.up - (up_taps - 1) - (down_taps - 1)
        self.padding = ((target.size - 1) * self.down + 1 - before + self.up) // 2

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """`x` [N, I, H, W], `w` [N, w_dim] -> [N, O, size, size]."""
        styles = self.styles(w)
        scale = demodulation(self.weight, styles) * LRELU_GAIN
        y, kernel, scale_left = modulate(x, self.weight, styles * self.magnitude_ema.rsqrt(), scale)
        y = F.conv2d(y, kernel, padding=kernel.shape[-1] - 1)
        # Rounding taps and filtered features as well would double the error of autocast to bfloat16.
        with torch.autocast(x.device.type, enabled=False):
            y = finish_convolution(y.to(x.dtype), scale_left, self.bias * LRELU_GAIN, None, NO_ACTIVATION)
            y = filtered_lrelu(y, self.up_filter, self.down_filter, self.up, self.down, self.padding, self.conv_clamp)
        return y[:, :, : self.target.size, : self.target.size]


class AliasFreeToRGB(ModulatedLayer):
    """Modulated 1x1 convolution of normalised features, without demodulation, to image channels."""

    magnitude_ema: Tensor

    def __init__(self, w_dim: int, source: Band, target: Band, conv_clamp: float | None) -> None:
        super().__init__(source.channels, target.channels, w_dim, kernel_size=1)
        self.conv_clamp = conv_clamp
        self.register_buffer("magnitude_ema", torch.ones([]))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """`x` [N, I, H, W], `w` [N, w_dim] -> [N, O, H, W]."""
        styles = self.styles(w) * (self.magnitude_ema * self.weight.shape[1]).rsqrt()
        y = pointwise(x, self.weight, styles, self.bias)
        return y if self.conv_clamp is None else y.clamp(-self.conv_clamp, self.conv_clamp)


class SynthesisNetwork(nn.Module):
    """ws -> image: Fourier features, layers of rising bandwidth, ToRGB.

    `bands` are those of `plan_bands`, `layer_settings` keywords of `AliasFreeLayer`.
    """

    def __init__(
        self,
        w_dim: int,
        bands: Sequence[Band],
        num_critical: int,
        output_scale: float,
        num_fp16_res: int,
        use_radial_filters: bool,
        conv_clamp: float | None,
        **layer_settings: Any,
    ) -> None:
        super().__init__()
        self.w_dim, self.num_ws, self.output_scale = w_dim, len(bands) + 1, output_scale
        self.half_above = bands[-1].size / 2**num_fp16_res
        self.bands, self.layer_names = list(bands), []
        self.input = FourierInput(w_dim, bands[0])
        num_layers = len(bands) - 1
        for i, (source, target) in enumerate(zip([bands[0], *bands], bands, strict=False)):
            layer: nn.Module
            if i == num_layers:
                layer = AliasFreeToRGB(w_dim, source, target, conv_clamp)
            else:
                radial = use_radial_filters and i < num_layers - num_critical
                layer = AliasFreeLayer(w_dim, source, target, radial=radial, conv_clamp=conv_clamp, **layer_settings)
            self.layer_names.append(f"L{i}_{target.size}_{target.channels}")
            self.add_module(self.layer_names[-1], layer)

    def forward(
        self,
        ws: Tensor,
        noise_mode: str = "const",
        force_fp32: bool = False,
        half_dtype: torch.dtype | None = None,
        translate: Sequence[float] = (0.0, 0.0),
        rotate: float = 0.0,
        exact: bool = True,
    ) -> Tensor:
        """Images [N, C, H, W], float32 and not clamped, of `ws` [N, num_ws, w_dim].

        The first w goes to the Fourier features, the others to one layer each.

        Args:
            noise_mode: as for StyleGAN2; without effect, since there are no noise inputs.
            force_fp32: whether all layers compute in float32.
            half_dtype: precision of the `num_fp16_res` highest resolutions, `torch.float16` or `torch.bfloat16`; by
                default float16 on CUDA and float32 elsewhere, where it is no faster.
            translate: x (right) and y (down) to move the image's content by, in image sides.
            rotate: degrees to turn it by, counter-clockwise, before it is moved; true to the image in StyleGAN3-R.
            exact: whether autocast to bfloat16 is kept out, see `layers.own_precision`; if not, convolutions follow it.

        Raises:
            ValueError: for another noise mode, or latents of another shape.
        """
        check_noise_mode(noise_mode)
        if ws.shape[1:] != (self.num_ws, self.w_dim):
            raise ValueError(f"ws: expected shape [N, {self.num_ws}, {self.w_dim}], got {list(ws.shape)}")
        half = torch.float32 if force_fp32 else block_dtype(ws.device, half_dtype)
        moved = any(translate) or rotate != 0
        transform = image_transform(translate, rotate).to(ws.device) if moved else None
        with own_precision(ws.device, exact):
            return self.compute(ws, transform, half)

    def compute(self, ws: Tensor, transform: Tensor | None, half: torch.dtype) -> Tensor:
        """As `forward`, whose arguments are checked and whose precision is set; `half` is that of the last layers."""
        x = self.input(ws[:, 0], transform)
        for i, (name, band) in enumerate(zip(self.layer_names, self.bands, strict=True)):
            x = to_block(x, half if band.sampling_rate > self.half_above else torch.float32)
            x = self.get_submodule(name)(x, ws[:, i + 1])
        return x.float() * self.output_scale


class StyleGAN3Generator(MappedGenerator):
    """StyleGAN3 generator: the defaults give the translation-equivariant -T.

    The rotation-equivariant -R has `conv_kernel=1`, `use_radial_filters=True` and twice the `channel_base` and
    `channel_max`. Arguments that aren't named here are as for `StyleGAN2Generator`.

    Args:
        img_resolution: pixels per side.
        channel_base: a layer of cutoff f has `min(channel_base / 2 / f, channel_max)` channels, rounded.
        channel_max: most channels of a layer.
        num_layers: layers between the Fourier features and ToRGB.
        num_critical: layers at the end that are critically sampled: their cutoff is the Nyquist frequency.
        first_cutoff: cutoff of the first layer, in cycles per image side.
        first_stopband: where the first layer's filter has faded out, in cycles per image side.
        last_stopband_rel: that of the last layer, relative to its cutoff.
        margin_size: pixels around the image in all layers but the last two.
        output_scale: factor of the image.
        num_fp16_res: layers of the 2^(this - 1) highest sampling rates compute in half precision on CUDA.
        conv_kernel: size of the convolutions' kernels.
        filter_size: taps of a filter per factor of its resampling.
        lrelu_upsampling: factor of the resampling around the leaky relu.
        use_radial_filters: whether downsampling filters are radially symmetric where not critically sampled.
        conv_clamp: bound on the magnitude of every layer's activations, None for no bound.
        layer_channels: channels of the `num_layers` layers in place of `channel_base` and `channel_max`.

    Raises:
        ValueError: for a value out of range, naming the argument.
    """

    synthesis: SynthesisNetwork

    def __init__(
        self,
        z_dim: int = 512,
        c_dim: int = 0,
        w_dim: int = 512,
        img_resolution: int = 1024,
        img_channels: int = 3,
        num_mapping_layers: int = 2,
        mapping_lr_multiplier: float = 0.01,
        mapping_layer_features: int | None = None,
        channel_base: int = 32768,
        channel_max: int = 512,
        num_layers: int = 14,
        num_critical: int = 2,
        first_cutoff: float = 2,
        first_stopband: float = 2**2.1,
        last_stopband_rel: float = 2**0.3,
        margin_size: int = 10,
        output_scale: float = 0.25,
        num_fp16_res: int = 4,
        conv_kernel: int = 3,
        filter_size: int = 6,
        lrelu_upsampling: int = 2,
        use_radial_filters: bool = False,
        conv_clamp: float | None = 256,
        layer_channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_at_least_one(
            z_dim=z_dim,
            w_dim=w_dim,
            num_mapping_layers=num_mapping_layers,
            channel_max=channel_max,
            conv_kernel=conv_kernel,
            filter_size=filter_size,
            lrelu_upsampling=lrelu_upsampling,
        )
        check_channels(img_channels)
        _check_arguments(c_dim, img_resolution, num_layers, num_critical, first_cutoff, first_stopband)
        bands = plan_bands(
            img_resolution,
            img_channels,
            channel_base,
            channel_max,
            num_layers,
            num_critical,
            first_cutoff,
            first_stopband,
            last_stopband_rel,
            margin_size,
            layer_channels,
        )
        self.synthesis = SynthesisNetwork(
            w_dim,
            bands,
            num_critical,
            output_scale,
            num_fp16_res,
            use_radial_filters,
            conv_clamp,
            conv_kernel=conv_kernel,
            filter_size=filter_size,
            lrelu_upsampling=lrelu_upsampling,
        )
        self.mapping = MappingNetwork(
            z_dim,
            c_dim,
            w_dim,
            num_mapping_layers,
            layer_features=mapping_layer_features,
            lr_multiplier=mapping_lr_multiplier,
        )
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = z_dim, c_dim, w_dim, self.synthesis.num_ws
        self.image_size, self.image_channels = img_resolution, img_channels


def _check_arguments(
    c_dim: int, img_resolution: int, num_layers: int, num_critical: int, first_cutoff: float, first_stopband: float
) -> None:
    if c_dim < 0:
        raise ValueError(f"c_dim: expected at least 0, got {c_dim}")
    if not 0 <= num_critical < num_layers:
        raise ValueError(f"num_critical: expected 0 to num_layers - 1 = {num_layers - 1}, got {num_critical}")
    if not 0 < first_cutoff < first_stopband:
        raise ValueError(f"first_cutoff: expected 0 < first_cutoff < first_stopband, got {first_cutoff:g}")
    if img_resolution < 2 * first_cutoff:
        raise ValueError(f"img_resolution: expected at least {2 * first_cutoff:g}, got {img_resolution}")
