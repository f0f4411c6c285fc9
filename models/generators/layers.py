"""Building blocks of StyleGAN2: equalised layers, modulated convolution and FIR up-sampling in plain PyTorch.

Sources: StyleGAN (arXiv:1812.04948), StyleGAN2 (arXiv:1912.04958), StyleGAN2-ADA (arXiv:2006.06676).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor, nn

LRELU_SLOPE = 0.2


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
        x = F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)
        return self.activation(x) * self.activation_gain if self.activation is not _identity else x


def fir_kernel(taps: Sequence[float]) -> Tensor:
    """Separable low-pass kernel [k, k] of sum one from its 1-D taps, such as the binomial [1, 3, 3, 1]."""
    if len(taps) < 2:
        raise ValueError(f"resample_filter {list(taps)}: expected at least two taps")
    kernel = torch.outer(torch.tensor(taps, dtype=torch.float32), torch.tensor(taps, dtype=torch.float32))
    return kernel / kernel.sum()


def upsample2d(x: Tensor, fir: Tensor) -> Tensor:
    """Insert zeros between pixels and low-pass filter: [N, C, H, W] -> [N, C, 2H, 2W], mean preserved.

    `fir` is a kernel [k, k] of sum one; beyond the border the image counts as zero. Computed in the precision of `x`.
    """
    channels, (height, width), size = x.shape[1], x.shape[2:], fir.shape[-1]
    kernel = (4 * fir).to(x.dtype).expand(channels, 1, size, size)
    with torch.autocast(x.device.type, enabled=False):
        y = F.conv_transpose2d(x, kernel, stride=2, padding=(size - 2) // 2, groups=channels)
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
    channels = y.shape[1]
    kernel = (4 * fir.flip(0, 1)).to(y.dtype).expand(channels, 1, size, size)
    padding = (size - 1) - (kernel_size - 1) // 2 - (size - 2) // 2
    y = F.conv2d(y, kernel, padding=padding, groups=channels)
    return y[:, :, : 2 * height, : 2 * width]


def demodulation(weight: Tensor, styles: Tensor, eps: float = 1e-8) -> Tensor:
    """Reciprocal norms of the modulated kernels (arXiv:1912.04958, eq. 3): styles [N, I] -> [N, O], in float32."""
    with torch.autocast(styles.device.type, enabled=False):
        energy = weight.float().square().sum(dim=(2, 3))
        return (styles.float().square() @ energy.t() + eps).rsqrt()


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
    scale: Tensor,
    bias: Tensor,
    noise: Tensor | None,
    activation: Callable[[Tensor], Tensor],
    gain: float = 1.0,
    clamp: float | None = None,
) -> Tensor:
    """`clip(gain * activation(y * scale + noise + bias), -clamp, clamp)`, which may overwrite `y` [N, C, H, W].

    Where autograd records nothing, every step writes over `y`: fresh memory for each of them took a third of a
    synthesis layer's time on a CPU. `scale` is [N, C], `bias` [C], `noise` broadcastable to [N, 1, H, W].
    """
    scale, bias = _per_channel(scale, y), _per_channel(bias, y)
    noise = None if noise is None else noise.to(y.dtype)
    if torch.is_grad_enabled():
        y = activation(torch.addcmul(bias if noise is None else bias + noise, y, scale))
        y = y if gain == 1 else y * gain
        return y if clamp is None else y.clamp(-clamp, clamp)
    y = y.mul_(scale).add_(bias)
    y = y if noise is None else y.add_(noise)
    y = IN_PLACE.get(activation, activation)(y)
    y = y if gain == 1 else y.mul_(gain)
    return y if clamp is None else y.clamp_(-clamp, clamp)


class SynthesisLayer(ModulatedLayer):
    """Modulated 3x3 convolution, optional x2 up-sampling, noise, bias and activation (arXiv:1912.04958, fig. 2d).

    Input scaling, one dense convolution over the batch and output scaling replace per-sample kernels (section 2.2,
    eqs. 1 to 3): the result is the same, and one dense convolution is faster than N grouped ones.
    """

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        up: bool = False,
        use_noise: bool = True,
        activation: str = "lrelu",
        resample_filter: Sequence[float] = (1, 3, 3, 1),
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, w_dim, kernel_size=3)
        self.resolution, self.up, self.use_noise, self.conv_clamp = resolution, up, use_noise, conv_clamp
        self.activation, self.activation_gain = resolve_activation(activation)
        self.folds_gain = activation in HOMOGENEOUS
        self.register_buffer("resample_filter", fir_kernel(resample_filter))
        if use_noise:
            self.noise_strength = nn.Parameter(torch.zeros([]))
            self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def draw_noise(
        self, n: int, mode: str, generator: torch.Generator | list[torch.Generator] | None = None
    ) -> Tensor | None:
        """Unit noise for `n` samples: None, the stored map [H, W], or fresh maps [n, 1, H, W]."""
        if mode == "none" or not self.use_noise:
            return None
        if mode == "const":
            return self.noise_const
        shape, buffer = (n, 1, self.resolution, self.resolution), self.noise_const
        return randn_tensor(shape, generator=generator, device=buffer.device, dtype=buffer.dtype)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None, gain: float = 1.0) -> Tensor:
        """`x` [N, I, H, W], `w` [N, w_dim], `noise` broadcastable to [N, 1, H', W'] or None -> [N, O, H', W']."""
        styles = self.styles(w)
        scale = demodulation(self.weight, styles)
        y = x * _per_channel(styles, x)
        y = upsample_conv2d(y, self.weight, self.resample_filter) if self.up else F.conv2d(y, self.weight, padding=1)
        total_gain = self.activation_gain * gain
        inner_gain, outer_gain = (total_gain, 1.0) if self.folds_gain else (1.0, total_gain)
        noise = None if noise is None else noise * (self.noise_strength * inner_gain)
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        return finish_convolution(
            y, scale * inner_gain, self.bias * inner_gain, noise, self.activation, outer_gain, clamp
        )


class ToRGBLayer(ModulatedLayer):
    """Modulated 1x1 convolution without demodulation to image channels (arXiv:1912.04958, fig. 7).

    A product with per-sample kernels, since so few output channels do not repay a scaled copy of the input.
    """

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, conv_clamp: float | None = None) -> None:
        super().__init__(in_channels, out_channels, w_dim, kernel_size=1)
        self.weight_gain = 1 / math.sqrt(in_channels)
        self.conv_clamp = conv_clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """`x` [N, I, H, W], `w` [N, w_dim] -> [N, O, H, W]."""
        kernels = self.styles(w)[:, None] * (self.weight_gain * self.weight[:, :, 0, 0])
        y = (kernels.to(x.dtype) @ x.flatten(2)).unflatten(2, x.shape[2:]) + _per_channel(self.bias, x)
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
        return upsample2d(F.conv2d(x, self.weight * (self.weight_gain * gain)), self.resample_filter)
