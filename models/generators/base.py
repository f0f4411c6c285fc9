"""The interface between text2latent and any image generator with a latent space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from text2latent.models.acceleration import Run, directly
from text2latent.models.network import Network
from text2latent.models.sources.identity import Identity


def size_of(height: int, width: int) -> int | tuple[int, int]:
    """What `Generator.image_size` says of images: one number where they are square."""
    return height if height == width else (height, width)


def check_at_least_one(**sizes: int) -> None:
    """Raise a ValueError that names the first of `sizes` below one."""
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")


def shape_of(image_size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width of images of a size: pixels per side, or height and width."""
    return (image_size, image_size) if isinstance(image_size, int) else (image_size[0], image_size[1])


class Generator(Network):
    """Image generator z -> w -> image; subclasses provide `map`, `truncate` and a module `synthesis`.

    `synthesis(ws, **options)` takes `ws` [N, num_ws, w_dim] and gives images [N, C, H, W], nominally in [-1, 1] but not
    clamped; it is differentiable. All its options have defaults.

    Attributes:
        z_dim, c_dim: numbers of input and class-label dimensions.
        num_ws, w_dim: the latents `w` of one image are [num_ws, w_dim].
        image_size: pixels per side, or height and width where they differ; see `image_shape`.
        image_channels: C, of `colours.MODES`.
        identity: set by `load_generator`.
        notes: lines that `load_generator` has to say of the file: what was ignored in it, what it doesn't show.
        class_spec: class path and arguments of a class of one's own.
        rough_options: keywords of `synthesis` that let it follow `torch.autocast` in all that it does, for images which
            only CLIP looks at.
        run: calls `synthesis`, see `models.acceleration`.
    """

    z_dim: int
    c_dim: int
    num_ws: int
    w_dim: int
    image_size: int | tuple[int, int]
    image_channels: int = 3
    synthesis: nn.Module
    identity: Identity | None = None
    notes: tuple[str, ...] = ()
    class_spec: Mapping[str, Any] | None = None
    rough_options: Mapping[str, Any] = {}
    run: Run = staticmethod(directly)

    @property
    def latent_shape(self) -> tuple[int, int]:
        """`(num_ws, w_dim)`."""
        return self.num_ws, self.w_dim

    @property
    def image_shape(self) -> tuple[int, int]:
        return shape_of(self.image_size)

    def sample_latents(self, n: int, seed: int) -> Tensor:
        """`n` standard normal z [n, z_dim], float32 on the CPU; row i depends on `seed + i` only."""
        rows = [torch.randn(self.z_dim, generator=torch.Generator().manual_seed(seed + i)) for i in range(n)]
        return torch.stack(rows) if rows else torch.empty(0, self.z_dim)

    def sample_labels(self, n: int, seed: int) -> Tensor | None:
        """One-hot labels of `n` random classes [n, c_dim], float32 on the CPU; row i depends on `seed + i` only.

        None where `map` needs no labels.
        """
        if not self.c_dim:
            return None
        rows = [torch.Generator().manual_seed(seed + i) for i in range(n)]
        classes = [int(torch.randint(self.c_dim, (1,), generator=generator)) for generator in rows]
        return torch.eye(self.c_dim)[classes]

    @torch.no_grad()
    def sample_w(self, n: int, seed: int, **truncation: Any) -> Tensor:
        """Latents w [n, num_ws, w_dim] of `n` random z and classes, on the generator's device; keywords as of `map`."""
        labels = self.sample_labels(n, seed)
        label = None if labels is None else labels.to(self.device)
        return self.map(self.sample_latents(n, seed).to(self.device), label, **truncation)

    def map(
        self, z: Tensor, label: Tensor | None = None, truncation_psi: float = 1.0, truncation_cutoff: int | None = None
    ) -> Tensor:
        """Latents w [N, num_ws, w_dim] of `z` [N, z_dim] and `label` [N, c_dim]; see `truncate` for psi."""
        raise NotImplementedError

    def truncate(self, w: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
        """Move `w` [N, L, w_dim] towards the mean latent (`psi` = 1 keeps it), or only its first `cutoff` layers."""
        raise NotImplementedError

    @torch.no_grad()
    def synthesize(self, latents: Tensor, **options: Any) -> Tensor:
        """Images [N, C, H, W] in [-1, 1], float32, of `latents` [N, num_ws, w_dim] or [N, 1, w_dim] (broadcast).

        Args:
            latents: w of each image.
            **options: keywords of the network's `synthesis`, such as `noise_mode` of StyleGANs.

        Raises:
            ValueError: for latents of another shape.
        """
        if latents.ndim != 3 or latents.shape[1] not in (1, self.num_ws) or latents.shape[2] != self.w_dim:
            raise ValueError(f"latents: expected [N, {self.num_ws} or 1, {self.w_dim}], got {list(latents.shape)}")
        return self.run(self._synthesize, latents, **options)

    def _synthesize(self, latents: Tensor, **options: Any) -> Tensor:
        ws = latents.expand(-1, self.num_ws, -1)
        return self.synthesis(ws, **options).float().clamp(-1, 1)

    def compile_parts(self) -> None:
        """Have `torch.compile` compile `synthesis`, once it is called."""
        self.synthesis.compile()

    def forward(self, latents: Tensor, **options: Any) -> Tensor:
        """See `synthesize`; the hooks by which accelerate and diffusers offload networks are on this method."""
        return self.synthesize(latents, **options)
