"""Noise is what diffusers' `randn_tensor` draws."""

from __future__ import annotations

import pytest
import torch
from diffusers.utils.torch_utils import randn_tensor

from text2latent.models.noise import draw_normal, row_generators

CPU = torch.device("cpu")


def generators(kind: str) -> torch.Generator | list[torch.Generator]:
    made = [torch.Generator().manual_seed(seed) for seed in (5, 6, 7)]
    return made if kind == "many" else made[0]


@pytest.mark.parametrize("kind", ["one", "many"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_same_as_diffusers(kind: str, dtype: torch.dtype) -> None:
    expected = randn_tensor((3, 2, 4), generators(kind), CPU, dtype)
    assert torch.equal(draw_normal((3, 2, 4), generators(kind), CPU, dtype), expected)


def test_without_a_generator_it_is_torchs_own() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        drawn = draw_normal((2, 3), None, CPU)
        torch.manual_seed(3)
        assert torch.equal(drawn, torch.randn(2, 3))


def test_generators_of_rows_follow_from_the_rows_alone() -> None:
    noise = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    together = draw_normal(noise.shape, row_generators(noise), CPU)
    assert torch.equal(together[1:2], draw_normal((1, 2, 4), row_generators(noise[1:2]), CPU))
    assert not torch.equal(together[0], together[1])
