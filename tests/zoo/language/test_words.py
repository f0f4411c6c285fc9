"""The words of a language are read from its file, and captions made of them stay the same, byte for byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from text2latent.zoo.language.captions import LANGUAGES, draw_caption
from text2latent.zoo.language.words import load_words
from text2latent.zoo.world import load_world

FACES = load_world("faces")

DIGESTS = {
    "en": "0c88cf2266ba355dda52106b6fdbe501e2c610cbfd3afd48149aeea6d7bd86c7",
    "ja": "a1fc3583d1445931267887fccb392856556115452acc2801269e18a25323f39a",
}
"""SHA-256 of 1,000 captions and of what they allow. The weights of the faces world are fitted to these captions."""
FILE = """
names: {hat: hat|cap}
patterns:
  scene:
    background=<value>: {key: "<nouns>; {<nouns>}; <nouns, each>; <nouns, first> behind", with: "a {<hat>}"}
lists: {frames: "{}; a photo of {}"}
words:
  scenes:
    scene sea: {nouns: sea|<hat>}
    headwear=hat: {key: "{<hat>}; ~a {<hat>}"}
  everyday:
    headwear=hat: {key: beanie, adj: hatted}
spellings: {hat: hats|het}
"""


@pytest.mark.parametrize("language", LANGUAGES)
def test_captions_of_a_seed_stay_the_same(language: str) -> None:
    rng, digest = np.random.default_rng(0), hashlib.sha256()
    for number in range(1000):
        codes = np.array([rng.integers(len(FACES.attributes[name])) for name in FACES.names])
        caption = draw_caption(FACES, rng, codes, language, held_out=number % 2 == 1)
        digest.update(caption.text.encode() + b"\n" + caption.allowed.tobytes())
    assert digest.hexdigest() == DIGESTS[language]


def test_patterns_and_names_are_filled_in(tmp_path: Path) -> None:
    (tmp_path / "en.yaml").write_text(FILE, encoding="utf-8")
    found = load_words(tmp_path / "en.yaml")
    assert found.table == {
        "background=sea": {"key": "sea|hat|cap; {sea|hat|cap}; sea; hat|cap; sea behind", "with": "a {hat|cap}"},
        "headwear=hat": {"key": "{hat|cap}; ~a {hat|cap}; beanie", "adj": "hatted"},
    }
    assert found.spellings == {"hat": "hats|het"}
    assert found.lists == {"frames": ("{}", "a photo of {}")}


@pytest.mark.parametrize("name", ["<hat>", "<nouns, each>"])
def test_what_has_no_definition_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "en.yaml").write_text(
        f'patterns: {{}}\nlists: {{}}\nwords: {{all: {{headwear=hat: {{key: "{name}"}}}}}}'
    )
    with pytest.raises(KeyError, match=name[1:4]):
        load_words(tmp_path / "en.yaml")
