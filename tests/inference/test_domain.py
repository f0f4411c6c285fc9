from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import normalize

from text2latent.common.errors import InputError
from text2latent.inference.domain import (
    FILE,
    NEIGHBOURS,
    Domain,
    fit_domain,
    has_unknown_words,
    load_domain,
    save_domain,
    says_nothing,
)
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.inference.wording import fit_wording
from text2latent.models.clip.encoder import ClipEncoder

DIM = 16
WORDING = {
    "units": torch.arange(4),
    "evidence": torch.zeros(4).half(),
    "strangeness": torch.zeros(180),
    "latin": torch.ones(180, dtype=torch.bool),
}
"""As it is kept with the domain of 180 prompts."""


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


def percentiles(domain: Domain, clip: ClipEncoder, conditions: torch.Tensor) -> torch.Tensor:
    return domain.rate(clip, ["a man"] * len(conditions), conditions)[1]


def test_percentiles_of_the_calibrations_own_kind_are_uniform(
    domain: Domain, centers: torch.Tensor, clip: ClipEncoder
) -> None:
    fresh = torch.cat([cloud(center, 100, 20 + i, 0.8) for i, center in enumerate(centers[:3])])
    found = percentiles(domain, clip, fresh)
    assert found.mean() == pytest.approx(50, abs=8)
    assert (found >= 90).float().mean() == pytest.approx(0.1, abs=0.06)


def test_what_there_are_no_images_of_is_far(domain: Domain, centers: torch.Tensor, clip: ClipEncoder) -> None:
    assert percentiles(domain, clip, cloud(centers[3], 50, 30, 0.8)).min() >= 98
    assert percentiles(domain, clip, centers[:3]).max() < 20


def test_near_prompts_of_foreign_wording_are_strange(clip: ClipEncoder, centers: torch.Tensor) -> None:
    """Score and percentile by their definitions, for two kinds of script that are worded differently."""
    latin = [f"a man with {thing}" for thing in ("a hat", "a beard", "a cap", "glasses", "a scarf")] * 20
    other = [f"{thing}の男" for thing in ("帽子", "髭", "眼鏡", "赤い服", "髪")] * 20
    images = torch.cat([cloud(center, 100, i) for i, center in enumerate(centers[:3])])
    conditions = cloud(centers[0], 200, 40, 0.8)
    domain = fit_domain(images, conditions, fit_wording(clip, latin + other))
    assert domain.wording is not None
    near, far = centers[:1], centers[3:]
    scores, found = domain.rate(
        clip, ["a man with a hat", "quarterly report", "帽子の男", "鉄の価格"] * 2,
        torch.cat([near.expand(4, -1), far.expand(4, -1)]),
    )  # fmt: skip
    assert found[[0, 2]].max() < 100  # near and worded as known prompts
    assert found[[1, 3, 4, 5, 6, 7]].min() == 100  # strange in words, in what they mean, or both
    usual = [np.quantile(part[100:], [0.5, 0.8]) for part in (domain.calibration, domain.wording.strangeness)]
    signals = (float(domain.distances(far)[0]), float(domain.wording.rate(clip, ["鉄の価格"])[0]))
    expected = sum(
        max(value - median, 0) / max(most - median, 0.02) for value, (median, most) in zip(signals, usual, strict=True)
    )
    assert float(scores[7]) == pytest.approx(expected, rel=1e-4)
    assert scores[7] > max(scores[3], scores[6])


def test_folder_keeps_a_domain(domain: Domain, tmp_path: Path) -> None:
    save_domain(tmp_path, domain)
    loaded = load_domain(tmp_path, DIM)
    assert loaded is not None
    queries = cloud(torch.ones(DIM), 20, 4, 2.0)
    torch.testing.assert_close(loaded.distances(queries), domain.distances(queries), atol=2e-3, rtol=0)
    assert loaded.threshold == domain.threshold
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_folder_keeps_the_wording(clip: ClipEncoder, centers: torch.Tensor, tmp_path: Path) -> None:
    prompts = ["a man", "a dog", "眼鏡"]
    save_domain(tmp_path, fit_domain(cloud(centers[0], 20, 0), cloud(centers[0], 3, 1), fit_wording(clip, prompts)))
    loaded = load_domain(tmp_path, DIM)
    assert loaded is not None
    assert loaded.wording is not None
    texts = [*prompts, "a big old boat"]
    assert loaded.wording.rate(clip, texts).tolist() == fit_wording(clip, prompts).rate(clip, texts).tolist()
    assert loaded.wording.latin.tolist() == [True, True, False]


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
        {"units": torch.zeros(4, dtype=torch.int64)},
        WORDING | {"units": torch.zeros(4)},
        WORDING | {"units": torch.zeros(0, dtype=torch.int64), "evidence": torch.zeros(0).half()},
        WORDING | {"evidence": torch.zeros(3).half()},
        WORDING | {"evidence": torch.full((4,), float("nan")).half()},
        WORDING | {"strangeness": torch.zeros(1), "latin": torch.ones(1, dtype=torch.bool)},
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
    with pytest.raises(InputError, match="expected conditions of images and in-domain prompts"):
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
    scores = pipe.domain_scores(["a man", "quarterly report on the price of steel", "a dog:0.5 | a dog:0.5"])
    assert scores is not None
    assert [score.is_outside for score in scores] == [False, True, False]
    assert [score.percentile for score in scores] == [0, 100, 0]
