from pathlib import Path

import pytest
import torch

from text2latent.models.domain import Domain, fit_domain
from text2latent.models.pipeline import Text2LatentPipeline
from text2latent.zoo.faces.evaluation import held_out_captions
from text2latent.zoo.faces.fit_domain import fit_faces_domain, own_embeddings, plain_captions

INSIDE = [
    "blonde woman with glasses",
    "an old man with a white beard",
    "眼鏡をかけた金髪の女性",
    "a smiling child in a forest",
]
VAGUE = ["a face", "a person", "portrait"]
FOREIGN = ["Hatsune Miku", "初音ミク", "pizza", "The stock market fell by three percent on Monday.", "a photo of a dog"]


@pytest.fixture(scope="module")
def pipeline() -> Text2LatentPipeline:
    """The shipped model, with a domain of few images."""
    pipeline = Text2LatentPipeline.from_pretrained("faces")
    conditions = pipeline.text_condition(pipeline.encode_prompts(plain_captions(100)))
    pipeline.domain = fit_domain(own_embeddings(pipeline, 96), conditions)
    return pipeline


def outside(pipeline: Text2LatentPipeline, texts: list[str]) -> list[bool]:
    scores = pipeline.domain_scores(texts)
    assert scores is not None
    return [score.is_outside for score in scores]


def test_foreign_prompts_are_outside_and_prompts_of_faces_are_not(pipeline: Text2LatentPipeline) -> None:
    assert not any(outside(pipeline, INSIDE + VAGUE))
    assert all(outside(pipeline, FOREIGN))


def test_few_held_out_captions_are_warned_of(pipeline: Text2LatentPipeline) -> None:
    texts = [caption.text for language in ("en", "ja") for caption in held_out_captions(60, language, seed=4)]
    assert sum(outside(pipeline, texts)) <= 5


def test_domain_goes_into_the_prior_folder(tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    prior = tmp_path / "prior"
    shutil.copytree(tiny_model, prior)
    assert Text2LatentPipeline.from_pretrained(str(prior)).domain is None
    fit_faces_domain(prior, num_images=16, num_captions=5)
    domain = Text2LatentPipeline.from_pretrained(str(prior)).domain
    assert isinstance(domain, Domain)
    assert (domain.sample.shape, domain.calibration.shape) == ((16, 16), (10,))
    assert torch.equal(domain.calibration, domain.calibration.sort().values)
