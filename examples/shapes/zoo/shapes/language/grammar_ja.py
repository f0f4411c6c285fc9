"""Japanese phrases about a shape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from text2latent.zoo.language.japanese import present
from text2latent.zoo.language.lexicon import Draft
from text2latent.zoo.language.words import load_words

WORDS = load_words(Path(__file__).with_name("ja.yaml"))


def phrase(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 黒い背景の小さい赤い円."""
    modifiers = [draft.say("mod", name) for name in draft.shuffled(attributes) if name != "shape"]
    noun = draft.say("noun", "shape") if "shape" in attributes else draft.pick(WORDS.lists["nouns"])
    return "".join([*modifiers, noun])


def framed(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 円の絵."""
    return draft.pick(WORDS.lists["frames"]).format(phrase(draft, attributes))


def keywords(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 円、赤い."""
    return "、".join(draft.say("key", name) for name in draft.shuffled(attributes))


def held_out_frame(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 円を描いて."""
    return draft.pick(WORDS.lists["held_out_frames"]).format(phrase(draft, attributes))


def tidy(text: str) -> str:
    """Return the text as it is: nothing in Japanese agrees with its neighbours."""
    return text


def finish(draft: Draft, text: str) -> str:
    """Perhaps add a word on quality or a full stop."""
    return present(draft, text, WORDS.lists["tags"])


TEMPLATES = ((framed, 0.7), (keywords, 0.3))
HELD_OUT_TEMPLATES = ((held_out_frame, 1.0),)
SAID_TOGETHER = ()
PROTOTYPES = {"noun": "{}", "mod": "{}図形"}
PROMPT_TEMPLATES = ("{}", "{}の絵", "{}の図")
