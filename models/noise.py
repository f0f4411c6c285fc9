"""Normal random numbers that don't depend on the device which they are for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def draw_normal(
    shape: Sequence[int],
    generator: torch.Generator | Sequence[torch.Generator] | None,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Standard normal numbers on a device, drawn where their generator is.

    Args:
        shape: `[N, ...]`.
        generator: one for all, or one for each of the N rows; None is torch's own, on the device.
        dtype: of which kind.
    """
    if generator is None:
        return torch.randn(*shape, device=device, dtype=dtype)
    if isinstance(generator, torch.Generator):
        return torch.randn(*shape, generator=generator, device=generator.device, dtype=dtype).to(device)
    rows = [torch.randn(1, *shape[1:], generator=one, device=one.device, dtype=dtype) for one in generator]
    return torch.cat(rows).to(device)


def row_generators(noise: Tensor) -> list[torch.Generator]:
    """A generator on the CPU per row of `noise` `[N, ...]`, seeded by the row's first numbers."""
    bits = noise.detach().cpu().float().flatten(1)[:, :2].contiguous().view(torch.int32).tolist()
    return [torch.Generator().manual_seed(hash(tuple(row)) % 2**63) for row in bits]


def following_noise(noise: Tensor, draws: int) -> Tensor:
    """Normal numbers `[draws, N, ...]` that follow from `noise` `[N, ...]`, row by row, on its device."""
    rows = row_generators(noise)
    drawn = [torch.randn(noise.shape[1:], generator=row, dtype=noise.dtype) for _ in range(draws) for row in rows]
    if not drawn:
        return noise.new_empty(draws, *noise.shape)
    return torch.stack(drawn).unflatten(0, (draws, len(rows))).to(noise.device)


class TakesNoise:
    """A layer that adds noise to its features, a map of which it keeps.

    Attributes:
        noise_const: `[H, W]`, the map; there if it does.
    """

    use_noise: bool
    noise_const: Tensor

    def draw_noise(
        self, n: int, mode: str, generator: torch.Generator | list[torch.Generator] | None = None
    ) -> Tensor | None:
        """Unit noise for `n` samples: None, the stored map [H, W], or fresh maps [n, 1, H, W]."""
        if mode == "none" or not self.use_noise:
            return None
        kept = self.noise_const
        return kept if mode == "const" else draw_normal((n, 1, *kept.shape), generator, kept.device, kept.dtype)
