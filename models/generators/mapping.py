"""The mapping network of all StyleGANs and what is done with its latents: truncation, style mixing."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from text2latent.models.acceleration import compile_method
from text2latent.models.generators.base import Generator
from text2latent.models.generators.layers import FullyConnectedLayer, normalize_second_moment, own_precision

NORMALIZATIONS = ("separate", "joint", "none")
"""z and label embedding normalised each (StyleGAN2-ADA on), after concatenation (StyleGAN2), or not at all."""


class MappingNetwork(nn.Module):
    """z (and a class label) -> w (arXiv:1812.04948, fig. 1b; labels as in arXiv:2006.06676, appendix C)."""

    w_avg: Tensor

    def __init__(
        self,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_layers: int = 8,
        embed_features: int | None = None,
        layer_features: int | None = None,
        activation: str = "lrelu",
        lr_multiplier: float = 0.01,
        normalization: str = "separate",
    ) -> None:
        super().__init__()
        if normalization not in NORMALIZATIONS:
            raise ValueError(f"normalization: expected one of {', '.join(NORMALIZATIONS)}, got {normalization!r}")
        self.normalization = normalization
        self.z_dim, self.c_dim, self.num_layers = z_dim, c_dim, num_layers
        embed_features = (w_dim if embed_features is None else embed_features) if c_dim else 0
        hidden = w_dim if layer_features is None else layer_features
        widths = [z_dim + embed_features, *[hidden] * (num_layers - 1), w_dim]
        if c_dim:
            self.embed = FullyConnectedLayer(c_dim, embed_features)
        for i, (width_in, width_out) in enumerate(itertools.pairwise(widths)):
            self.add_module(f"fc{i}", FullyConnectedLayer(width_in, width_out, activation, lr_multiplier))
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """`z` [N, z_dim], `label` [N, c_dim], mostly one-hot (None where c_dim is 0) -> w [N, w_dim].

        Computed in the precision of `z`, under autocast to bfloat16 too.

        Raises:
            ValueError: for z or labels of another shape.
        """
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise ValueError(f"z: expected shape [N, {self.z_dim}], got {list(z.shape)}")
        with own_precision(z.device):
            x = self._input(z, label)
            for i in range(self.num_layers):
                x = self.get_submodule(f"fc{i}")(x)
        return x

    def _input(self, z: Tensor, label: Tensor | None) -> Tensor:
        parts = [z, self.embed(self._checked_labels(z, label))] if self.c_dim else [z]
        if self.normalization == "separate":
            parts = [normalize_second_moment(part) for part in parts]
        x = torch.cat(parts, dim=1) if self.c_dim else parts[0]
        return normalize_second_moment(x) if self.normalization == "joint" else x

    def _checked_labels(self, z: Tensor, label: Tensor | None) -> Tensor:
        expected = (len(z), self.c_dim)
        if label is None or tuple(label.shape) != expected:
            got = None if label is None else tuple(label.shape)
            raise ValueError(f"label: expected labels of shape {expected}, got {got}")
        return label.to(z.dtype)


class MappedGenerator(Generator):
    """Generator whose `mapping` gives one w per image, which `synthesis` takes once per layer.

    All that `synthesis` computes it computes in its method `compute`.
    """

    mapping: MappingNetwork
    rough_options: Mapping[str, Any] = {"exact": False}

    def map(
        self, z: Tensor, label: Tensor | None = None, truncation_psi: float = 1.0, truncation_cutoff: int | None = None
    ) -> Tensor:
        """Latents [N, num_ws, w_dim], one w repeated for all layers, of `z` [N, z_dim] and `label` [N, c_dim].

        Raises:
            ValueError: for z or labels of another shape.
        """
        ws = self.mapping(z, label)[:, None].expand(-1, self.num_ws, -1)
        return self.truncate(ws, truncation_psi, truncation_cutoff)

    def compile_parts(self) -> None:
        # What sets the precision stays outside: the compiler can't look into it.
        compile_method(self.synthesis, "compute")

    def truncate(self, w: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
        """Move `w` [N, L, w_dim] towards `mapping.w_avg` (arXiv:1812.04948, section B): w_avg + psi (w - w_avg)."""
        if psi == 1:
            return w
        truncated = self.mapping.w_avg.to(w.dtype).lerp(w, psi)
        return truncated if cutoff is None else torch.cat([truncated[:, :cutoff], w[:, cutoff:]], dim=1)

    def mix_styles(self, ws: Tensor, other: Tensor, layers: Iterable[int]) -> Tensor:
        """`ws` [N, num_ws, w_dim] with the given `layers` taken from `other` [N or 1, num_ws, w_dim].

        Style mixing (arXiv:1812.04948, section 3.1): the first layers give pose and shape, the last ones colours.

        Raises:
            ValueError: for latents of another shape, or a layer outside of -num_ws ... num_ws - 1.
        """
        chosen = list(layers)
        for name, latents in (("ws", ws), ("other", other)):
            if latents.ndim != 3 or tuple(latents.shape[1:]) != self.latent_shape:
                raise ValueError(f"{name}: expected [N, {self.num_ws}, {self.w_dim}], got {list(latents.shape)}")
        outside = [layer for layer in chosen if not -self.num_ws <= layer < self.num_ws]
        if outside:
            raise ValueError(f"layers: expected numbers from {-self.num_ws} to {self.num_ws - 1}, got {outside[0]}")
        mixed = ws.clone()
        mixed[:, chosen] = other[:, chosen].to(ws.dtype)
        return mixed

    @torch.no_grad()
    def update_w_avg(self, num_samples: int = 10_000, seed: int = 0, batch_size: int = 1000) -> None:
        """Set the mean latent `mapping.w_avg` from `num_samples` random z (and, where there are any, random labels)."""
        rng = torch.Generator().manual_seed(seed)
        total, device = torch.zeros(self.w_dim, dtype=torch.float64), self.mapping.w_avg.device
        for start in range(0, num_samples, batch_size):
            n = min(batch_size, num_samples - start)
            z = torch.randn(n, self.z_dim, generator=rng).to(device)
            label = self._random_labels(n, rng).to(device) if self.c_dim else None
            total += self.mapping(z, label).double().sum(dim=0).cpu()
        self.mapping.w_avg.copy_(total / num_samples)

    def _random_labels(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.eye(self.c_dim)[torch.randint(self.c_dim, (n,), generator=rng)]
