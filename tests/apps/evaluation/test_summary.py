"""Averages of a case by hand."""

import numpy as np
import pytest

from text2latent.apps.evaluation.measuring import Measured
from text2latent.apps.evaluation.report import MEANINGS, to_markdown
from text2latent.apps.evaluation.summary import summarize
from text2latent.inference.prompts import PromptLine

MAN, WOMAN, BOAT = ({"gender": "man", "age": "old"}, {"gender": ["woman"]}, {})
LINES = [PromptLine("an old man", MAN), PromptLine("a woman", WOMAN), PromptLine("a boat", BOAT)]
SEEN = [
    {"gender": "man", "age": "old"},
    {"gender": "man", "age": "young"},
    {"gender": "woman", "age": "old"},
    {"gender": "man", "age": "old"},
    {"gender": "man"},
    {"gender": "man"},
]


@pytest.fixture(scope="module")
def summary() -> dict:
    texts = np.eye(4, dtype=np.float32)[:3]
    embeddings = np.stack([texts[0], texts[1], texts[1], texts[1], texts[2], np.eye(4, dtype=np.float32)[3]])
    own = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    scores = np.array([1, 0, 1, 1, 1, 0], dtype=np.float32)
    return summarize(
        LINES, [5, 6], Measured(embeddings, scores, np.full(6, 0.5), SEEN), texts, own, [False, False, True]
    )


def test_averages(summary: dict) -> None:
    assert summary["attribute_accuracy"] == pytest.approx((2 + 1 + 1 + 0) / 6, abs=1e-5)
    assert summary["prompt_accuracy"] == pytest.approx(2 / 4)
    assert summary["by_attribute"] == pytest.approx({"age": 1 / 2, "gender": 3 / 4})
    assert summary["clip_score"] == pytest.approx(4 / 6, abs=1e-5)
    assert summary["r_precision_1"] == pytest.approx(4 / 6, abs=1e-5)
    assert summary["r_precision_10"] == 1
    assert summary["diversity"] == pytest.approx((1 + 0 + 1) / 3, abs=1e-5)
    assert summary["out_of_domain_rate"] == pytest.approx(1 / 3, abs=1e-5)
    assert summary["seconds_per_image"] == 0.5


def test_every_image_is_told(summary: dict) -> None:
    rows = [
        (one["prompt"], one["seed"], one["attribute_accuracy"], one["prompt_accuracy"]) for one in summary["images"]
    ]
    assert rows == [
        ("an old man", 5, 1.0, 1),
        ("an old man", 6, 0.5, 0),
        ("a woman", 5, 1.0, 1),
        ("a woman", 6, 0.0, 0),
        ("a boat", 5, None, None),
        ("a boat", 6, None, None),
    ]
    assert [one["missing"] for one in summary["images"]][:4] == [[], ["age"], [], ["gender"]]


def test_intervals_hold_their_means(summary: dict) -> None:
    means = {name for name in MEANINGS if name != "frechet_distance"}
    assert summary["intervals"].keys() == means
    assert summary["attribute_intervals"].keys() == summary["by_attribute"].keys()
    values = [(summary[name], *summary["intervals"][name]) for name in means]
    values += [(share, *summary["attribute_intervals"][name]) for name, share in summary["by_attribute"].items()]
    assert all(low - 1e-5 <= value <= high + 1e-5 for value, low, high in values)
    # One prompt of three is outside: drawn anew, none of them is or all are, often enough to be in the interval.
    assert summary["intervals"]["out_of_domain_rate"] == [0, 1]
    # Age is wanted of one prompt only, so that all that is drawn anew is alike.
    assert summary["attribute_intervals"]["age"] == [0.5, 0.5]


def test_without_a_judge_accuracies_are_untold(summary: dict) -> None:
    rng = np.random.default_rng(1)
    measured = Measured(rng.standard_normal((6, 4)), rng.standard_normal(6), np.ones(6), [])
    blind = summarize(LINES, [0, 1], measured, np.eye(4)[:3], rng.standard_normal((20, 4)), None)
    assert (blind["attribute_accuracy"], blind["prompt_accuracy"], blind["by_attribute"]) == (None, None, {})
    assert blind["out_of_domain_rate"] is None
    assert "attribute_accuracy" not in blind["intervals"]
    assert "out_of_domain_rate" not in blind["intervals"]


def test_one_prompt_twice_is_one_text_to_find(summary: dict) -> None:
    texts = np.eye(4)[[0, 0, 1]]
    lines = [PromptLine("a man"), PromptLine("a man"), PromptLine("a boat")]
    embeddings = np.eye(4)[[0, 0, 0, 0, 1, 1]]
    rng = np.random.default_rng(2)
    measured = Measured(embeddings, np.ones(6), np.ones(6), [])
    twice = summarize(lines, [0, 1], measured, texts, rng.standard_normal((20, 4)), None)
    assert twice["r_precision_1"] == 1


def test_table_has_every_number(summary: dict) -> None:
    head = {"model": {"name": "tiny"}, "settings": {"rerank": 1}, "num_prompts": 3, "num_images_per_prompt": 2}
    table = to_markdown({**head, **summary})
    assert "| attribute_accuracy | 0.6667 | [" in table
    assert "| gender | 0.75 | [0.5, 1] |" in table
    assert "3 prompts, 2 images of each; rerank 1" in table
