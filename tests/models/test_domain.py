from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import normalize

from text2latent.configs.errors import InputError
from text2latent.models.clip import ClipEncoder
from text2latent.models.domain import (
    FILE,
    NEIGHBOURS,
    Domain,
    fit_domain,
    has_unknown_words,
    load_domain,
    save_domain,
    says_nothing,
)
from text2latent.models.pipeline import Text2LatentPipeline

DIM = 16


def cloud(center: torch.Tensor, n: int, seed: int, spread: float = 0.3) -> torch.Tensor:
    noise = torch.randn(n, DIM, generator=torch.Generator().manual_seed(seed))
    return normalize(center + spread * noise / DIM**0.5, dim=1)


@pytest.fixture(scope="module")
def centers() -> torch.Tensor:
    """Three kinds of images, and one that there is none of."""
    return torch.eye(DIM)[:4]


@pytest.fixture(scope="module")
def domain(centers: torch.Tensor) -> Domain:
    images = torch.cat([cloud(center, 100, i) for i, center in enumerate(centers[:3])])
    prompts = torch.cat([cloud(center, 60, 10 + i, 0.8) for i, center in enumerate(centers[:3])])
    return fit_domain(images, prompts)


def test_distance_is_that_of_the_nearest_about_the_mean(domain: Domain) -> None:
    conditions = cloud(torch.ones(DIM), 5, 3, 2.0)
    mean = domain.sample.numpy().mean(0)
    references, queries = (rows.numpy() - mean for rows in (domain.sample, conditions))
    references, queries = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (references, queries))
    nearest = np.sort(queries @ references.T, axis=1)[:, -NEIGHBOURS:]
    np.testing.assert_allclose(domain.distances(conditions), 1 - nearest.mean(1), atol=1e-5)


def test_percentiles_of_the_calibrations_own_kind_are_uniform(domain: Domain, centers: torch.Tensor) -> None:
    fresh = torch.cat([cloud(center, 100, 20 + i, 0.8) for i, center in enumerate(centers[:3])])
    percentiles = domain.percentiles(fresh)
    assert percentiles.mean() == pytest.approx(50, abs=8)
    assert (percentiles >= 90).float().mean() == pytest.approx(0.1, abs=0.06)


def test_what_there_are_no_images_of_is_far(domain: Domain, centers: torch.Tensor) -> None:
    assert domain.percentiles(cloud(centers[3], 50, 30, 0.8)).min() >= 98
    assert domain.percentiles(centers[:3]).max() < 20


def test_folder_keeps_a_domain(domain: Domain, tmp_path: Path) -> None:
    save_domain(tmp_path, domain)
    loaded = load_domain(tmp_path, DIM)
    assert loaded is not None
    queries = cloud(torch.ones(DIM), 20, 4, 2.0)
    torch.testing.assert_close(loaded.distances(queries), domain.distances(queries), atol=2e-3, rtol=0)
    assert loaded.threshold == domain.threshold
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_without_a_file_nothing_is_known(tmp_path: Path, tiny_model: Path) -> None:
    assert load_domain(tmp_path, DIM) is None
    assert Text2LatentPipeline.from_pretrained(str(tiny_model)).domain_scores(["a man"]) is None


@pytest.mark.parametrize(
    "change",
    [
        {"mean": torch.zeros(DIM + 1)},
        {"sample": torch.zeros(5, DIM - 1)},
        {"sample": torch.zeros(0, DIM)},
        {"calibration": torch.zeros(0)},
        {"calibration": torch.zeros(2, 2)},
        {"mean": torch.full((DIM,), float("nan"))},
        {"threshold": torch.zeros(3)},
        {"sample": None},
    ],
)
def test_foreign_files_are_refused(domain: Domain, tmp_path: Path, change: dict) -> None:
    tensors = {"mean": domain.mean, "sample": domain.sample, "calibration": domain.calibration}
    tensors["threshold"] = torch.tensor(99.0)
    save_file({name: value for name, value in (tensors | change).items() if value is not None}, tmp_path / FILE)
    with pytest.raises(InputError, match=FILE):
        load_domain(tmp_path, DIM)


def test_damaged_files_are_refused(domain: Domain, tmp_path: Path) -> None:
    save_domain(tmp_path, domain)
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=FILE):
        load_domain(tmp_path, DIM)


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(InputError, match="expected image embeddings and in-domain prompts"):
        fit_domain(torch.zeros(0, DIM), torch.zeros(3, DIM))


def test_words_never_learnt_are_told_from_vague_ones(tiny_world: Path) -> None:
    """A text of words without embeddings is as good as empty, and so is one that says nothing; only one is foreign."""
    clip = ClipEncoder.from_pretrained(str(tiny_world))
    unknown = clip.tokenize(["miku"])[0]
    clip.model.token_embedding.weight.data[unknown[1 : int(unknown.argmax())]] = 0
    prompts = ["a man", "a miku", "a man | miku:2"]
    assert [has_unknown_words(clip, prompt) for prompt in prompts] == [False, True, True]
    empty = clip.encode_tokens(clip.tokenize([""])).expand(3, -1)
    assert says_nothing(clip, prompts, empty) == [True, False, False]
    assert says_nothing(clip, prompts, -empty) == [False, False, False]


def test_scores_are_told_by_the_pipeline(tiny_model: Path) -> None:
    pipe = Text2LatentPipeline.from_pretrained(str(tiny_model))
    near = pipe.encode_prompts(["a man", "a dog"])
    around = torch.cat([cloud(row, 50, seed) for seed, row in enumerate(near)])
    pipe.domain = fit_domain(near.repeat(8, 1), around)
    scores = pipe.domain_scores(["a man", "quarterly report on the price of steel", "a dog:2 | a dog"])
    assert scores is not None
    assert [score.is_outside for score in scores] == [False, True, False]
    assert [score.percentile for score in scores] == [0, 100, 0]
