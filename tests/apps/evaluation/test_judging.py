import numpy as np
import pytest
import torch

from text2latent.apps.evaluation.judging import Judge, check_wants, find_judge, find_wanted
from text2latent.common.errors import InputError
from text2latent.inference.prompts import PromptLine
from text2latent.zoo.evaluation import held_out_renders, see
from text2latent.zoo.world import load_world

FACES = load_world("faces")


def test_worlds_judge_is_found_by_name() -> None:
    judge = find_judge("faces")
    assert judge is not None
    assert judge.attributes == FACES.attributes
    assert find_judge("no_such_world") is None
    assert find_judge("../faces") is None
    assert find_judge("") is None


def test_judge_sees_what_is_rendered_and_not_what_is_hidden() -> None:
    images, codes = held_out_renders(FACES, 40, seed=5)
    seen = see(FACES, images)
    faces = FACES.decode(codes)
    right = [face[name] == value for face, judged in zip(faces, seen, strict=True) for name, value in judged.items()]
    assert np.mean(right) > 0.95
    for judged in seen:
        assert ("hair_color" in judged) == (judged["hair_style"] != "bald")
    assert see(FACES, torch.zeros(0, 3, 128, 128)) == []


def test_wants_are_found_by_value_or_list_and_hidden_ones_are_not() -> None:
    seen = {"gender": "woman", "hair_style": "bald"}
    want = {"gender": "woman", "hair_style": ["short", "bald"], "hair_color": "blonde", "age": []}
    assert find_wanted(want, seen) == {"gender": True, "hair_style": True, "hair_color": False, "age": False}
    assert find_wanted({"gender": ["man"]}, seen) == {"gender": False}


@pytest.mark.parametrize(
    ("want", "message"),
    [
        ({"wings": "yes"}, "expected one of gender, age, .*got 'wings'"),
        ({"gender": "cat"}, "gender: expected one of man, woman, got 'cat'"),
        ({"age": ["old", "ancient"]}, "age: .*got 'ancient'"),
    ],
)
def test_unknown_wants_are_refused(want: dict, message: str) -> None:
    judge = Judge("faces", FACES.attributes, see)
    check_wants([PromptLine("a man", {"gender": "man", "age": ["old"]})], judge)
    with pytest.raises(InputError, match=message):
        check_wants([PromptLine("a man"), PromptLine("a cat", want)], judge)
