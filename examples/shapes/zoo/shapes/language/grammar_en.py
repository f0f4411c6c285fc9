"""English phrases about a shape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from text2latent.zoo.language.english import present, with_articles
from text2latent.zoo.language.lexicon import Draft
from text2latent.zoo.language.words import load_words

WORDS = load_words(Path(__file__).with_name("en.yaml"))


def phrase(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "a small red circle on black"."""
    adjectives = [draft.say("adj", name) for name in ("size", "color") if name in attributes]
    noun = draft.say("noun", "shape") if "shape" in attributes else draft.pick(WORDS.lists["nouns"])
    places = [draft.say("place", "ground")] if "ground" in attributes else []
    return " ".join(["a", *adjectives, noun, *places])


def framed(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "a picture of a circle"."""
    return draft.pick(WORDS.lists["frames"]).format(phrase(draft, attributes))


def keywords(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "circle, red"."""
    return ", ".join(draft.say("key", name) for name in draft.shuffled(attributes))


def held_out_frame(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "show me a circle"."""
    return draft.pick(WORDS.lists["held_out_frames"]).format(phrase(draft, attributes))


def tidy(text: str) -> str:
    return with_articles(text)


def finish(draft: Draft, text: str) -> str:
    """Settle articles, case and full stop of a raw text."""
    return present(draft, tidy(text), WORDS.lists["tags"])


TEMPLATES = ((framed, 0.7), (keywords, 0.3))
HELD_OUT_TEMPLATES = ((held_out_frame, 1.0),)
SAID_TOGETHER = ()
PROTOTYPES = {"noun": "a {}", "adj": "a {} shape", "place": "a shape {}"}
PROMPT_TEMPLATES = ("{}", "a picture of {}", "a drawing of {}")
