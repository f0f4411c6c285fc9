"""What people type: the prompts, and the figures on them."""

from pathlib import Path

import numpy as np
import pytest

from text2latent.benchmarks.colloquial import PARTS, main
from text2latent.benchmarks.report import read_parts
from text2latent.zoo.evaluation import COLLOQUIAL_PARTS, colloquial_captions
from text2latent.zoo.language.captions import LANGUAGES
from text2latent.zoo.world import load_world

FACES = load_world("faces")

# The tiny CLIP reads 24 tokens of a prompt.
pytestmark = pytest.mark.filterwarnings("ignore:prompt .* tokens")


@pytest.mark.parametrize("language", LANGUAGES)
def test_half_of_a_hundred_prompts_is_held_back(language: str) -> None:
    parts = {part: colloquial_captions(FACES, language, part) for part in COLLOQUIAL_PARTS}
    texts = {part: {caption.text for caption in captions} for part, captions in parts.items()}
    assert (len(texts["fit"]), len(texts["held"])) == (50, 50)
    assert not texts["held"] & (texts["fit"] | texts["reported"])
    captions = [caption for part in parts.values() for caption in part]
    assert all(caption.language == language and caption.mentioned.any() for caption in captions)
    assert not any((caption.allowed & ~FACES.valid).any() for caption in captions)


def test_prompts_name_what_their_meaning_says() -> None:
    by_text = {caption.text: caption for caption in colloquial_captions(FACES, "en", "reported")}
    expected = FACES.allow("gender=woman age=young")
    np.testing.assert_array_equal(by_text["25 year old woman"].allowed, expected)
    assert expected.sum() == FACES.valid.sum() - 1 - 3


def test_untrained_parts_fall_short(tmp_path: Path, untrained_faces: Path) -> None:
    file = tmp_path / "figures.json"
    flags = ("--model", str(untrained_faces), "--num-images", "1", "--only", "held", "--json", str(file))
    assert main(flags) == 0
    figures = {figure.name: figure for figure in read_parts(file)["held"]["figures"]}
    for language in LANGUAGES:
        named = figures[f"named attributes that are there ({language})"]
        complete = figures[f"pictures with all that is named ({language})"]
        assert (named.target, complete.target) == (0.95, 0.80)
        assert (named.verdict, complete.verdict) == ("short", "short")
    assert tuple(PARTS) == COLLOQUIAL_PARTS


def test_what_is_wrong_is_listed(untrained_faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(untrained_faces), "--num-images", "2", "--list", "reported"]) == 0
    head, rule, *rows = capsys.readouterr().out.splitlines()
    assert (head, rule) == ("| typed | drawn instead |", "|---|---|")
    assert len(rows) == sum(len(colloquial_captions(FACES, language, "reported")) for language in LANGUAGES)
    assert rows[0].startswith("| 25 year old woman | ")


def test_wrong_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "nose"]) == 2
    assert main(["--list", "nose"]) == 2
    assert main(["--only", "fit", "--model", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 3
