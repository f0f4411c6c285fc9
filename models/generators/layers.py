"""Building blocks of StyleGAN2: equalised layers, modulated convolution and FIR up-sampling in plain PyTorch.

Sources: StyleGAN (arXiv:1812.04948), StyleGAN2 (arXiv:1912.04958), StyleGAN2-ADA (arXiv:2006.06676).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from text2latent.models.noise import TakesNoise

LRELU_SLOPE = 0.2
SEPARABLE_TAPS = 8
NOISE_MODES = ("none", "const", "random")


def _lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, LRELU_SLOPE)


def _lrelu_(x: Tensor) -> Tensor:
    return F.leaky_relu_(x, LRELU_SLOPE)


def _identity(x: Tensor) -> Tensor:
    return x


ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "linear": (_identity, 1.0),
    "relu": (torch.relu, math.sqrt(2)),
    "lrelu": (_lrelu, math.sqrt(2)),
    "tanh": (torch.tanh, 1.0),
    "sigmoid": (torch.sigmoid, 1.0),
    "elu": (F.elu, 1.0),
    "selu": (F.selu, 1.0),
    "softplus": (F.softplus, 1.0),
    "swish": (F.silu, math.sqrt(2)),
}
"""Activation functions with the gain that keeps a unit-variance signal at unit variance (roughly)."""

HOMOGENEOUS = frozenset({"linear", "relu", "lrelu"})
"""Activations with f(g * x) = g * f(x) for g > 0, so that the gain can be folded into the preceding scaling."""


IN_PLACE = {_lrelu: _lrelu_, torch.relu: torch.relu_}
"""The usual activations' variants that write over their argument."""


def resolve_activation(name: str) -> tuple[Callable[[Tensor], Tensor], float]:
    """Function and gain of an activation; ValueError for a name that is not in `ACTIVATIONS`."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r}: expected one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def normalize_second_moment(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Scale each row of `x` [N, D] to a mean square of one."""
    return x * (x.square().mean(dim=1, keepdim=True) + eps).rsqrt()


def as_precise(parameter: Tensor, x: Tensor) -> Tensor:
    """A parameter in no lower precision than `x`: weights may be stored in half precision."""
    return parameter.to(torch.promote_types(parameter.dtype, x.dtype))


class FullyConnectedLayer(nn.Module):
    """Dense layer with equalised learning rate (arXiv:1710.10196, section 4.1), [N, in] -> [N, out].

    The He constant and `lr_multiplier` are applied at run time to a weight initialised as N(0, 1 / lr_multiplier^2).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        activation: str = "linear",
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), float(bias_init) / lr_multiplier))
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier
        self.activation, self.activation_gain = resolve_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = as_precise(self.weight, x), as_precise(self.bias, x)
        x = F.linear(x, weight * self.weight_gain, bias * self.bias_gain)
        return self.activation(x) * self.activation_gain if self.activation is not _identity else x


def fir_kernel(taps: Sequence[float]) -> Tensor:
    """Separable low-pass kernel of sum one from its 1-D taps, such as the binomial [1, 3, 3, 1].

    [k, k]; or [k] from eight taps on, as official state dictionaries have it.

    Raises:
        ValueError: without taps.
    """
    if not taps:
        raise ValueError("resample_filter []: expected at least one tap")
    row = torch.tensor(taps, dtype=torch.float32)
    kernel = row if len(taps) >= SEPARABLE_TAPS else torch.outer(row, row)
    return kernel / kernel.sum()


def depthwise(fir: Tensor, like: Tensor) -> Tensor:
    """`fir` ([k, k] or [k]) as a depthwise kernel [C, 1, k, k] in the precision of `like` [N, C, H, W]."""
    kernel = torch.outer(fir, fir) if fir.ndim == 1 else fir
    return kernel.to(like.dtype).expand(like.shape[1], 1, *kernel.shape)


def upsample2d(x: Tensor, fir: Tensor) -> Tensor:
    """Insert zeros between pixels and low-pass filter: [N, C, H, W] -> [N, C, 2H, 2W], mean preserved.

    `fir` is a kernel of sum one; beyond the border the image counts as zero. Computed in the precision of `x`.
    """
    channels, (height, width), size = x.shape[1], x.shape[2:], fir.shape[-1]
    crop = (size - 2) // 2
    with torch.autocast(x.device.type, enabled=False):
        y = F.conv_transpose2d(x, 4 * depthwise(fir, x), stride=2, padding=max(crop, 0), groups=channels)
    y = y if crop >= 0 else F.pad(y, (-crop, 0, -crop, 0))
    return y[:, :, : 2 * height, : 2 * width]


def upsample_conv2d(x: Tensor, weight: Tensor, fir: Tensor) -> Tensor:
    """Insert zeros, convolve with `weight` and low-pass filter: [N, I, H, W] -> [N, O, 2H, 2W].

    The convolution is a true one (the kernel is flipped, unlike PyTorch's cross-correlation), as StyleGAN2 stores it.
    Transposed convolution followed by a depthwise filter was the fastest of the equivalent forms on a CPU: it takes
    2.25 products per output and channel pair, a kernel fused with the filter (6x6) or its four phases take 9. In bf16
    a training step at 128 pixels was 1.4 times as fast, and 2.9 times as fast as bilinear interpolation first.
    """
    (height, width), kernel_size, size = x.shape[2:], weight.shape[-1], fir.shape[-1]
    y = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    padding = (size - 1) - (kernel_size - 1) // 2 - (size - 2) // 2
    kernel = depthwise(fir, y).flip(2, 3) * 4
    y = F.conv2d(y, kernel, padding=max(padding, 0), groups=y.shape[1])
    start = max(-padding, 0)
    return y[:, :, start : start + 2 * height, start : start + 2 * width]


def demodulation(weight: Tensor, styles: Tensor, eps: float = 1e-8) -> Tensor:
    """Reciprocal norms of the modulated kernels (arXiv:1912.04958, eq. 3): styles [N, I] -> [N, O], in float32."""
    with torch.autocast(styles.device.type, enabled=False):
        energy = weight.float().square().sum(dim=(2, 3))
        return (styles.float().square() @ energy.t() + eps).rsqrt()


def check_noise_mode(noise_mode: str) -> None:
    """Raise a ValueError for a name that is not in `NOISE_MODES`."""
    if noise_mode not in NOISE_MODES:
        raise ValueError(f"noise_mode: expected one of {', '.join(NOISE_MODES)}, got {noise_mode!r}")


def block_dtype(device: torch.device, half_dtype: torch.dtype | None = None) -> torch.dtype:
    """Precision of layers in half precision: `half_dtype`, by default float16 on CUDA and float32 elsewhere."""
    return half_dtype or (torch.float16 if device.type == "cuda" else torch.float32)


def to_block(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`x` in the precision of the next layers; under autocast it stays as it is, since that has its own."""
    return x if torch.is_autocast_enabled(x.device.type) else x.to(dtype)


def own_precision(device: torch.device, exact: bool = True) -> AbstractContextManager[Any]:
    """Context in which float32 is float32, if images are to be `exact`; autocast to float16 stays.

    It keeps autocast to bfloat16 out, and on CUDA the TF32 that convolutions take by default. bfloat16 has eight
    significant bits: each convolution in it adds an error of 0.3 % of its output. By their root mean square, images of
    all layers in bfloat16 are off by 0.3 to 1.3 % of their standard deviation, but single pixels by 1 to 11 %; with
    only the last convolution in bfloat16 single pixels are still off by up to 4 %. So there is no choice of layers that
    gains speed and keeps all pixels within 2 %. With TF32, of eleven bits, single pixels are off by 0.2 to 0.8 %.
    """
    rounds = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) == torch.bfloat16
    if not exact:
        return nullcontext()
    own = torch.autocast(device.type, enabled=False) if rounds else nullcontext()
    return _without_tf32(own) if device.type == "cuda" else own


@contextmanager
def cudnn_setting(name: str, value: bool) -> Iterator[None]:
    """Give a setting of `torch.backends.cudnn` another value for a while."""
    before = getattr(torch.backends.cudnn, name)
    setattr(torch.backends.cudnn, name, value)
    try:
        yield
    finally:
        setattr(torch.backends.cudnn, name, before)


@contextmanager
def _without_tf32(context: AbstractContextManager[Any]) -> Iterator[None]:
    with cudnn_setting("allow_tf32", False), context:
        yield


def modulate(x: Tensor, weight: Tensor, styles: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Operands of a plain convolution in place of one with a kernel per sample (arXiv:1912.04958, section 2.2).

    A batch shares its kernels: the input is scaled before and the output after the convolution. One sample without
    autograd gets modulated kernels where they hold no more values than its features, which spares two passes over the
    features. `benchmarks/generators.py --only modulation` measures the time of kernels per sample, in a grouped
    convolution, relative to that of scaling; on a CPU with AVX-512 it was 0.65 (1 x 64 channels x 256 pixels), 1.7
    (1 x 512 channels x 16 pixels) and 2.4 (4 x 512 channels x 16 pixels). `benchmarks/generators.json` holds the last
    measurement. The rule counts values moved in memory, so it is the same on all devices; on GPUs it is not measured.

    Args:
        x: features [N, I, H, W].
        weight: kernels [O, I, k, k].
        styles: scales of the input channels [N, I], float32.
        scale: scales of the output channels [N, O], float32.

    Returns:
        The input and the kernels of the convolution, in the precision of `x`, and the scales [N, O] left to multiply
        its output with (None if there are none).
    """
    if not torch.is_grad_enabled() and x.shape[0] == 1 and weight.numel() <= x.numel():
        return x, (weight * (scale.t() * styles)[..., None, None]).to(x.dtype), None
    if _computes_in_float16(x):
        weight, styles, scale = _within_float16_range(weight, styles, scale)
    return x * _per_channel(styles, x), weight.to(x.dtype), scale


def _computes_in_float16(x: Tensor) -> bool:
    device = x.device.type
    autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16
    return autocast or x.dtype == torch.float16


def _within_float16_range(weight: Tensor, styles: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same product with kernels of norm one and styles of at most one (arXiv:2006.06676, appendix B)."""
    norm = weight.square().sum(dim=(1, 2, 3)).sqrt()
    peak = styles.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(styles.dtype).tiny)
    return weight / norm[:, None, None, None], styles / peak, scale * norm * peak


class ModulatedLayer(nn.Module):
    """Style-driven convolution's common part: style affine layer, kernel and bias."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, kernel_size: int) -> None:
        super().__init__()
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def styles(self, w: Tensor) -> Tensor:
        """Channel scales [N, in_channels] of `w` [N, w_dim], in float32 under autocast too."""
        with torch.autocast(w.device.type, enabled=False):
            return self.affine(w.float())


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype)[..., None, None]


def finish_convolution(
    y: Tensor,
    scale: Tensor | None,
    bias: Tensor,
    noise: Tensor | None,
    activation: Callable[[Tensor], Tensor],
    gain: float = 1.0,
    clamp: float | None = None,
) -> Tensor:
    """`clip(gain * activation(y * scale + noise + bias), -clamp, clamp)`, which may overwrite `y` [N, C, H, W].

    Where autograd records nothing, every step writes over `y`, which spares fresh memory for each of them.
    `scale` is [N, C] or None, `bias` [C], `noise` broadcastable to [N, 1, H, W].
    """
    bias = _per_channel(bias, y)
    noise = None if noise is None else noise.to(y.dtype)
    if torch.is_grad_enabled():
        offset = bias if noise is None else bias + noise
        y = activation(y + offset if scale is None else torch.addcmul(offset, y, _per_channel(scale, y)))
        y = y if gain == 1 else y * gain
        return y if clamp is None else y.clamp(-clamp, clamp)
    y = (y if scale is None else y.mul_(_per_channel(scale, y))).add_(bias)
    y = y if noise is None else y.add_(noise)
    y = IN_PLACE.get(activation, activation)(y)
    y = y if gain == 1 else y.mul_(gain)
    return y if clamp is None else y.clamp_(-clamp, clamp)


class SynthesisLayer(TakesNoise, ModulatedLayer):
    """Modulated convolution, optional x2 up-sampling, noise, bias and activation (arXiv:1912.04958, fig. 2d).

    `resolution` is what comes out: pixels per side, or height and width.
    """

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int | tuple[int, int],
        up: bool = False,
        use_noise: bool = True,
        activation: str = "lrelu",
        resample_filter: Sequence[float] = (1, 3, 3, 1),
        conv_clamp: float | None = None,
        kernel_size: int = 3,
    ) -> None:
        super().__init__(in_channels, out_channels, w_dim, kernel_size)
        size = (resolution, resolution) if isinstance(resolution, int) else resolution
        self.up, self.use_noise, self.conv_clamp = up, use_noise, conv_clamp
        self.activation, self.activation_gain = resolve_activation(activation)
        self.folds_gain = activation in HOMOGENEOUS
        self.register_buffer("resample_filter", fir_kernel(resample_filter))
        if use_noise:
            self.noise_strength = nn.Parameter(torch.zeros([]))
            self.register_buffer("noise_const", torch.randn(*size))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None, gain: float = 1.0) -> Tensor:
        """`x` [N, I, H, W], `w` [N, w_dim], `noise` broadcastable to [N, 1, H', W'] or None -> [N, O, H', W']."""
        total_gain = self.activation_gain * gain
        inner_gain, outer_gain = (total_gain, 1.0) if self.folds_gain else (1.0, total_gain)
        styles = self.styles(w)
        scale = demodulation(self.weight, styles) * inner_gain
        y, kernel, left_scale = modulate(x, self.weight, styles, scale)
        if self.up:
            y = upsample_conv2d(y, kernel, self.resample_filter)
        else:
            y = F.conv2d(y, kernel, padding=kernel.shape[-1] // 2)
        if not torch.is_grad_enabled():
            # Autocast rounds the convolution alone: steps in bfloat16 would be less exact and, on a CPU, slower.
            y = y.to(x.dtype)
        noise = None if noise is None else noise * (self.noise_strength * inner_gain)
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        return finish_convolution(y, left_scale, self.bias * inner_gain, noise, self.activation, outer_gain, clamp)


def pointwise(x: Tensor, weight: Tensor, styles: Tensor, bias: Tensor) -> Tensor:
    """Modulated 1x1 convolution with bias: `x` [N, I, H, W], `weight` [O, I, 1, 1], `styles` [N, I] -> [N, O, H, W].

    A product with per-sample kernels, since few output channels do not repay a scaled copy of the input. It has the
    precision of `x` under autocast too, as it costs little and the image is made of nothing else.
    """
    kernels = styles[:, None] * weight[:, :, 0, 0]
    with torch.autocast(x.device.type, enabled=False):
        return (kernels.to(x.dtype) @ x.flatten(2)).unflatten(2, x.shape[2:]) + _per_channel(bias, x)


class ToRGBLayer(ModulatedLayer):
    """Modulated 1x1 convolution without demodulation to image channels (arXiv:1912.04958, fig. 7)."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, conv_clamp: float | None = None) -> None:
        super().__init__(in_channels, out_channels, w_dim, kernel_size=1)
        self.weight_gain = 1 / math.sqrt(in_channels)
        self.conv_clamp = conv_clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """`x` [N, I, H, W], `w` [N, w_dim] -> [N, O, H, W]."""
        y = pointwise(x, self.weight * self.weight_gain, self.styles(w), self.bias)
        return y if self.conv_clamp is None else y.clamp(-self.conv_clamp, self.conv_clamp)


class UpsampleSkip(nn.Module):
    """Residual path of the `resnet` architecture: 1x1 convolution and x2 up-sampling (arXiv:1912.04958, fig. 7c)."""

    resample_filter: Tensor

    def __init__(self, in_channels: int, out_channels: int, resample_filter: Sequence[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.weight_gain = 1 / math.sqrt(in_channels)
        self.register_buffer("resample_filter", fir_kernel(resample_filter))

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """[N, I, H, W] -> [N, O, 2H, 2W]."""
        kernel = (self.weight * (self.weight_gain * gain)).to(x.dtype)
        return upsample2d(F.conv2d(x, kernel), self.resample_filter)
