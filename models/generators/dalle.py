"""The decoder of DALL-E's discrete VAE (arXiv:2102.12092, appendix A.2): a grid of codes -> image 8 times its size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from text2latent.models.colours import RGB
from text2latent.models.generators.base import Generator, check_at_least_one

GROUP_WIDTHS = (8, 4, 2, 1)
"""Channels of the groups of blocks, in units of `n_hid`; between groups, sides are doubled."""
BOTTLENECK = 4
LOGIT_EPS = 0.1


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
