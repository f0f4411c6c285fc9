"""The decoder of DALL-E's discrete VAE (arXiv:2102.12092, appendix A.2): a grid of codes -> image 8 times its size.

Its published file is a pickled network. Only the tensors are taken from it, and none of its code is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from text2latent.models.generators.base import RGB, Generator, check_at_least_one
from text2latent.models.generators.formats.pickle_machine import PickleError, shown
from text2latent.models.generators.formats.torch_files import TensorRecord, is_torch_file, read_torch_objects
from text2latent.models.generators.formats.weights import GeneratorWeights

GROUP_WIDTHS = (8, 4, 2, 1)
"""Channels of the groups of blocks, in units of `n_hid`; between groups, sides are doubled."""
BOTTLENECK = 4
LOGIT_EPS = 0.1
CLASSES = (
    ("dall_e.decoder", "Decoder"),
    ("dall_e.decoder", "DecoderBlock"),
    ("dall_e.utils", "Conv2d"),
    ("torch.nn.modules.activation", "ReLU"),
    ("torch.nn.modules.container", "Sequential"),
    ("torch.nn.modules.linear", "Identity"),
    ("torch.nn.modules.upsampling", "Upsample"),
)


class Convolution(nn.Module):
    """Convolution that keeps the image's size, under the published names of its weights."""

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(channels_out, channels_in, kernel_size, kernel_size))
        self.b = nn.Parameter(torch.zeros(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        """`x` [N, C, H, W] -> [N, C', H, W]."""
        return F.conv2d(x, self.w, self.b, padding=self.w.shape[-1] // 2)


class ResidualBlock(nn.Module):
    """Four convolutions, each after a ReLU, whose sum is scaled down by the square of the network's depth."""

    def __init__(self, channels_in: int, channels_out: int, depth: int) -> None:
        super().__init__()
        hidden = channels_out // BOTTLENECK
        self.gain = 1 / depth**2
        same = channels_in == channels_out
        self.id_path: nn.Module = nn.Identity() if same else Convolution(channels_in, channels_out, 1)
        self.res_path = nn.Module()
        shapes = [(channels_in, hidden, 1), (hidden, hidden, 3), (hidden, hidden, 3), (hidden, channels_out, 3)]
        for i, shape in enumerate(shapes, start=1):
            self.res_path.add_module(f"conv_{i}", Convolution(*shape))

    def forward(self, x: Tensor) -> Tensor:
        """`x` [N, C, H, W] -> [N, C', H, W]."""
        residual = x
        for convolution in self.res_path.children():
            residual = convolution(F.relu(residual))
        return self.id_path(x) + self.gain * residual


class DecoderSynthesis(nn.Module):
    """Logits of codes -> image."""

    def __init__(self, vocab_size: int, grid_size: int, n_init: int, n_hid: int, blocks_per_group: int) -> None:
        super().__init__()
        self.vocab_size, self.grid_size = vocab_size, grid_size
        depth = len(GROUP_WIDTHS) * blocks_per_group
        self.blocks = nn.Module()
        self.blocks.add_module("input", Convolution(vocab_size, n_init, 1))
        width = n_init
        for i, factor in enumerate(GROUP_WIDTHS, start=1):
            group = nn.Module()
            for j in range(1, blocks_per_group + 1):
                group.add_module(f"block_{j}", ResidualBlock(width, factor * n_hid, depth))
                width = factor * n_hid
            self.blocks.add_module(f"group_{i}", group)
        output = nn.Module()
        output.add_module("conv", Convolution(width, 2 * RGB, 1))
        self.blocks.add_module("output", output)

    def forward(self, ws: Tensor) -> Tensor:
        """Images [N, 3, 8 G, 8 G], nominally in [-1, 1], of logits `ws` [N, G * G, vocab_size], row by row.

        Raises:
            ValueError: for logits of another shape.
        """
        positions = self.grid_size**2
        if ws.shape[1:] != (positions, self.vocab_size):
            raise ValueError(f"ws: expected shape [N, {positions}, {self.vocab_size}], got {list(ws.shape)}")
        codes = ws.softmax(dim=-1).transpose(1, 2).unflatten(2, (self.grid_size, self.grid_size))
        return self._to_pixels(self.decode(codes))

    def decode(self, codes: Tensor) -> Tensor:
        """Means and log-scales of logit-Laplace pixels `[N, 6, 8 G, 8 G]` of weights of codes `[N, V, G, G]`."""
        x = self.blocks.get_submodule("input")(codes.to(next(self.parameters()).dtype))
        for i in range(1, len(GROUP_WIDTHS) + 1):
            for block in self.blocks.get_submodule(f"group_{i}").children():
                x = block(x)
            if i < len(GROUP_WIDTHS):
                x = F.interpolate(x, scale_factor=2)
        return self.blocks.get_submodule("output.conv")(F.relu(x))

    def _to_pixels(self, statistics: Tensor) -> Tensor:
        """Images in [-1, 1]; the network's pixels are in [0.1, 0.9], where the logit-Laplace density is sane."""
        unit = (torch.sigmoid(statistics[:, :RGB]) - LOGIT_EPS) / (1 - 2 * LOGIT_EPS)
        return 2 * unit - 1


class DiscreteDecoder(Generator):
    """Decoder of DALL-E's discrete VAE as a generator: latents are logits of codes, `num_ws` of them per image.

    Args:
        vocab_size: number of codes.
        grid_size: G; an image has G * G codes.
        n_init: channels after the first convolution.
        n_hid: unit of the groups' channels.
        blocks_per_group: residual blocks before each doubling of sides.

    Raises:
        ValueError: for a value below 1.
    """

    synthesis: DecoderSynthesis

    @register_to_config
    def __init__(
        self,
        vocab_size: int = 8192,
        grid_size: int = 32,
        n_init: int = 128,
        n_hid: int = 256,
        blocks_per_group: int = 2,
    ) -> None:
        super().__init__()
        check_at_least_one(
            vocab_size=vocab_size, grid_size=grid_size, n_init=n_init, n_hid=n_hid, blocks_per_group=blocks_per_group
        )
        self.synthesis = DecoderSynthesis(vocab_size, grid_size, n_init, n_hid, blocks_per_group)
        self.num_ws, self.w_dim = grid_size**2, vocab_size
        self.z_dim, self.c_dim = self.num_ws * self.w_dim, 0
        self.image_size = grid_size * 2 ** (len(GROUP_WIDTHS) - 1)

    def map(
        self, z: Tensor, label: Tensor | None = None, truncation_psi: float = 1.0, truncation_cutoff: int | None = None
    ) -> Tensor:
        """Logits [N, num_ws, w_dim] are the z [N, num_ws * w_dim] themselves; see `truncate` for psi.

        Raises:
            ValueError: for z of another shape.
        """
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise ValueError(f"z: expected shape [N, {self.z_dim}], got {list(z.shape)}")
        return self.truncate(z.unflatten(1, self.latent_shape), truncation_psi, truncation_cutoff)

    def truncate(self, w: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
        """`psi` times the logits `w` [N, L, w_dim], or those of the first `cutoff` places: all codes alike at 0."""
        if psi == 1:
            return w
        return torch.cat([psi * w[:, :cutoff], w[:, len(w[0]) if cutoff is None else cutoff :]], dim=1)


@dataclass(eq=False)
class PickledModule:
    """A network or layer in a pickle: its class by name, its attributes."""

    name: str
    state: dict[str, Any] = field(default_factory=dict)

    def set_state(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise TypeError("expected a dictionary")
        self.state = state


def _stand_in(name: str) -> Callable[[], PickledModule]:
    return lambda: PickledModule(name)


def read_decoder(path: Path, data: memoryview) -> GeneratorWeights:
    """What the published `decoder.pkl` holds.

    Args:
        path: the file.
        data: its bytes.

    Raises:
        PickleError: when it is damaged, asks for anything but the decoder's classes, or has none of its parts.
    """
    extra: dict[tuple[str, str], Any] = {(module, name): _stand_in(name) for module, name in CLASSES}
    for builtins in ("builtins", "__builtin__"):
        extra[builtins, "set"] = lambda items=(): set(items)
    decoder = read_torch_objects(path, data, extra)
    if not isinstance(decoder, PickledModule) or decoder.name != "Decoder":
        raise PickleError(f"a pickle of {shown(getattr(decoder, 'name', decoder))}: expected DALL-E's decoder")
    arguments = {
        "vocab_size": _number(decoder, "vocab_size"),
        "n_init": _number(decoder, "n_init"),
        "n_hid": _number(decoder, "n_hid"),
        "blocks_per_group": _number(decoder, "n_blk_per_group"),
    }
    state = {f"synthesis.{name}": record.load().float() for name, record in _tensors(decoder)}
    return GeneratorWeights("DiscreteDecoder", arguments, state)


def _number(module: PickledModule, name: str) -> int:
    value = module.state.get(name)
    if not isinstance(value, int):
        raise PickleError(f"decoder: {name}: expected a whole number, got {shown(value)}")
    return value


def _tensors(module: PickledModule, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, TensorRecord]]:
    """Names and records of the tensors of a network and of all that it is made of."""
    if depth > 8:
        raise PickleError("a network of layers within layers without end")
    for name, value in _section(module, "_parameters"):
        if isinstance(value, TensorRecord):
            yield f"{prefix}{name}", value
    for name, part in _section(module, "_modules"):
        if isinstance(part, PickledModule):
            yield from _tensors(part, f"{prefix}{name}.", depth + 1)


def _section(module: PickledModule, key: str) -> list[tuple[str, Any]]:
    section = module.state.get(key)
    if not isinstance(section, dict):
        raise PickleError(f"{module.name}: {key}: expected a dictionary, got {shown(section)}")
    return list(section.items())


def is_decoder(data: memoryview) -> bool:
    """Whether a PyTorch file names DALL-E's decoder."""
    return is_torch_file(data) and bytes(data[: 1 << 16]).find(b"dall_e.decoder") >= 0
