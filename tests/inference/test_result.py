"""Groups of images: cut into rows, named, and put together again."""

import pytest
import torch

from text2latent.inference.domain import DomainScore
from text2latent.inference.images import to_pil
from text2latent.inference.result import Draw, best_of, concatenate

SCORE = DomainScore(99.0, 98.0, True)


@pytest.fixture
def draw() -> Draw:
    rng = torch.Generator().manual_seed(0)
    images, latents = torch.rand(4, 3, 5, 6, generator=rng) * 2 - 1, torch.randn(4, 2, 3, generator=rng)
    return Draw(images, latents, torch.tensor([0.1, 0.30006, 0.25, 0.2]))


def test_rows_are_the_images_of_a_named_group(draw: Draw) -> None:
    rows = list(draw.named([("a man", 3, None), ("a man", 4, None), ("a hat", 3, SCORE), ("a hat", 4, SCORE)]).rows())
    assert [len(row) for row in rows] == [1] * 4
    assert [row.picture.tobytes() for row in rows] == [picture.tobytes() for picture in to_pil(draw.images)]
    assert torch.equal(torch.cat([row.latents for row in rows]), draw.latents)
    assert rows[1].record == {"prompt": "a man", "seed": 4, "clip_score": 0.3001}
    outside = {"percentile": 99.0, "threshold": 98.0, "is_outside": True}
    assert rows[2].record == {"prompt": "a hat", "seed": 3, "clip_score": 0.25, "out_of_domain": outside}


def test_a_row_that_is_kept_keeps_no_other(draw: Draw) -> None:
    row = next(draw.named([("a man", seed, None) for seed in range(4)]).rows())
    assert row.images.untyped_storage().nbytes() == 3 * 5 * 6
    assert row.latents.untyped_storage().nbytes() == 2 * 3 * 4


def test_each_image_of_a_group_needs_a_name(draw: Draw) -> None:
    with pytest.raises(ValueError, match="names: expected 4, got 1"):
        list(draw.named([("a man", 0, None)]).rows())
    with pytest.raises(ValueError, match="unpack"):
        _ = draw.picture


def test_the_best_candidates_are_kept_with_all_that_belongs_to_them(draw: Draw) -> None:
    best = best_of(draw, 2)
    assert torch.equal(best.images, draw.images[[1, 2]])
    assert torch.equal(best.latents, draw.latents[[1, 2]])
    joined = concatenate([best, draw])
    assert torch.equal(joined.images, torch.cat([best.images, draw.images]))
    assert joined.embeddings is None
