import re
from dataclasses import replace
from pathlib import Path

import pytest

from text2latent.inference.domain import Domain
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.zoo.evaluation import held_out_captions
from text2latent.zoo.fit.domain import fit_world_domain, in_domain_prompts, learn_domain
from text2latent.zoo.world import load_world

FACES = load_world("faces")

INSIDE = [
    "blonde woman with glasses",
    "an old man with a white beard",
    "眼鏡をかけた金髪の女性",
    "a smiling child in a forest",
]
VAGUE = ["a face", "a person", "portrait", "face", "人の顔", "写真"]
UNSEEN = ["パソコンのキーボード", "抹茶アイスクリーム", "サッカーのゴール"]
"""Texts in which this CLIP sees as little as in the vague ones."""
FOREIGN = ["Hatsune Miku", "初音ミク", "pizza", "The stock market fell by three percent on Monday.", "a red sports car"]
JAPANESE = ["帽子をかぶった少年", "笑顔の若い女性", "夜の街に立つ男性", "おばあちゃんの笑顔", "口ひげの紳士"]
FOREIGN_JAPANESE = [
    "電車は九時半に出発します",
    "チョコレートケーキを一切れ",
    "サーバーを再起動してください",
    "骨折した腕のレントゲン写真",
]
ARTICLES = [
    "A photograph of a young blonde woman with eyeglasses and ear rings",
    "middle aged man with beard and a happy expression by the sea",
    "Chinese man with large sunglasses and a negative expression by the forest",
    "筋肉質な精悍な男性",
    "イヤリングを付けたメガネの若い金髪の女性の写真",
    "森のそばでサングラスをかけた中国人がネガティブな表情をしている",
    "a face outdoors in front of green trees",
    "a boy with sunglasses and an angry face",
]
"""Prompts of faces in articles on this method."""
README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shipped() -> Text2LatentPipeline:
    return Text2LatentPipeline.from_pretrained("faces")


@pytest.fixture(scope="module")
def pipeline() -> Text2LatentPipeline:
    """The shipped model, with a domain of few images."""
    pipeline = Text2LatentPipeline.from_pretrained("faces")
    pipeline.domain = learn_domain(FACES, pipeline, 96, 200)
    return pipeline


def outside(pipeline: Text2LatentPipeline, texts: list[str]) -> list[bool]:
    scores = pipeline.domain_scores(texts)
    assert scores is not None
    return [score.is_outside for score in scores]


def test_foreign_prompts_are_outside_and_prompts_of_faces_are_not(pipeline: Text2LatentPipeline) -> None:
    assert not any(outside(pipeline, INSIDE + VAGUE + JAPANESE))
    assert all(outside(pipeline, FOREIGN))


def test_shipped_domain_warns_of_no_prompt_that_people_write_of_faces(shipped: Text2LatentPipeline) -> None:
    patterns = (
        r'--text "([^"]+)"',
        r"<td>([^<]+)<br>",
        r'pipe\("([^"]+)"',
        r'--(?:edit|interpolate) "([^"]+)" "([^"]+)"',
    )
    found = [prompt for pattern in patterns for prompt in re.findall(pattern, README)]
    quoted = [text for prompt in found for text in ([prompt] if isinstance(prompt, str) else prompt)]
    assert len(quoted) >= 12
    prompts = [*ARTICLES, *INSIDE, *VAGUE, *JAPANESE, *quoted]
    warned = [prompt for prompt, is_outside in zip(prompts, outside(shipped, prompts), strict=True) if is_outside]
    assert warned == []
    assert all(outside(shipped, FOREIGN + UNSEEN))


def test_wording_tells_foreign_japanese_that_clip_takes_for_faces(shipped: Text2LatentPipeline) -> None:
    assert isinstance(shipped.domain, Domain)
    assert all(outside(shipped, FOREIGN_JAPANESE))
    conditions = shipped.text_condition(shipped.encode_prompts(FOREIGN_JAPANESE))
    _, percentiles = replace(shipped.domain, wording=None).rate(shipped.clip, FOREIGN_JAPANESE, conditions)
    assert not (percentiles >= shipped.domain.threshold).all()


def test_few_held_out_captions_are_warned_of(pipeline: Text2LatentPipeline) -> None:
    texts = [caption.text for language in ("en", "ja") for caption in held_out_captions(FACES, 60, language, seed=4)]
    assert sum(outside(pipeline, texts)) <= 5


def test_domain_goes_into_the_prior_folder(tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    prior = tmp_path / "prior"
    shutil.copytree(tiny_model, prior)
    assert Text2LatentPipeline.from_pretrained(str(prior)).domain is None
    fit_world_domain(FACES, prior, num_images=16, num_captions=5)
    domain = Text2LatentPipeline.from_pretrained(str(prior)).domain
    assert isinstance(domain, Domain)
    prompts = in_domain_prompts(FACES, 5)
    assert (domain.sample.shape, domain.calibration.shape) == ((16, 16), (len(prompts),))
    assert domain.wording is not None
    assert domain.wording.strangeness.shape == (len(prompts),)
    assert sum(domain.wording.latin) == sum(text.isascii() for text in prompts)
