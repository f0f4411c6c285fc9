"""English sentences about a landscape. A template turns the attributes to be mentioned into a text, word by word.

Training captions come from `TEMPLATES`, captions of held-out wording from `HELD_OUT_TEMPLATES`: no template or frame is
in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from text2latent.zoo.language.english import bare, join, merged, present, with_articles
from text2latent.zoo.language.lexicon import Draft
from text2latent.zoo.language.words import load_words

WORDS = load_words(Path(__file__).with_name("en.yaml"))
Template = Callable[[Draft, Sequence[str]], str]

NEUTRAL_NOUNS, REGIONS, FILLERS = (WORDS.lists[name] for name in ("neutral_nouns", "regions", "fillers"))
QUALITIES, FRAMES, HELD_OUT_FRAMES = (WORDS.lists[name] for name in ("qualities", "frames", "held_out_frames"))
ARTICLES = ("a ", "a ", "a ", "a ", "the ", "", "")
MOST_ADJECTIVES = 2


def place_noun(draft: Draft, attributes: Sequence[str]) -> tuple[str, str]:
    """Name the place, or no place in particular; returns the article and the noun."""
    kinds = draft.slots("place", ["noun", "nouns"]) if "place" in attributes else []
    if not kinds:
        return draft.pick(ARTICLES), draft.pick(NEUTRAL_NOUNS)
    kind = draft.pick((*kinds, *(name for name in kinds if name == "noun")))
    return draft.pick(ARTICLES) if kind == "noun" else "", draft.say(kind, "place")


def unsaid(draft: Draft, attributes: Sequence[str], said: Sequence[str] = ()) -> list[str]:
    """Which attributes are still to be mentioned: neither said nor left with one value by what was."""
    return [name for name in attributes if name not in said and not draft.settled(name)]


def noun_phrase(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "a snowy lake with pines at night", or "a sunset over the mountains"."""
    mixed = draft.shuffled(attributes)
    others = [name for name in mixed if name != "place" and draft.slots(name, ["event", "with"])]
    if others and draft.chance(0.3 if "place" in mixed else 0.7):
        return _event_phrase(draft, mixed, others[0])
    article, noun = place_noun(draft, mixed)
    said = draft.distribute(unsaid(draft, mixed, ["place"]), ("adj", "with", "when"))
    adjectives, trailing = said["adj"][:MOST_ADJECTIVES], said["adj"][MOST_ADJECTIVES:]
    if adjectives and draft.chance(0.06):
        trailing.append(adjectives.pop())
    if draft.chance(0.12):
        adjectives = draft.shuffled([*adjectives, draft.pick(FILLERS)])
    described = " ".join([draft.pick((" ", " ", ", ")).join(adjectives), noun]).strip()
    return ", ".join([" ".join([article + described, *_tails(draft, said["with"], said["when"])]), *trailing])


def _event_phrase(draft: Draft, attributes: Sequence[str], main: str) -> str:
    """Write what else than a place a picture can be of: "stars over the sea", "palm trees at the beach"."""
    event = draft.say(draft.pick(draft.slots(main, ["event", "with"])), main)
    rest = unsaid(draft, attributes, [main])
    where = [
        draft.say("where", name) for name in ("place", "mountains") if name in rest and draft.slots(name, ["where"])
    ]
    left = [name for name in rest if name not in ("place", "mountains")] if where else rest
    said = draft.distribute(unsaid(draft, left, [main]), ("with", "when"))
    return " ".join([event, *where[:1], *_tails(draft, said["with"], where[1:] + said["when"])])


def _tails(draft: Draft, things: Sequence[str], whens: list[str]) -> list[str]:
    """Write what follows the noun, in a natural order or in any."""
    tails = [f"with {join(bare(draft, things), draft)}"] if things else []
    tails += merged(draft, whens)
    if draft.chance(0.08):
        tails.append(draft.pick(REGIONS))
    return draft.shuffled(tails) if draft.chance(0.3) else tails


def framed_phrase(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "a painting of a beach at sunset"."""
    phrase = noun_phrase(draft, attributes)
    return phrase if draft.chance(0.4) else draft.pick(FRAMES).format(phrase)


def keywords(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "lake, night, pine trees"."""
    words = _keys(draft, attributes)
    words += [draft.pick(QUALITIES)] if draft.chance(0.1) else []
    return draft.pick((", ", ", ", ", ", " ", " ", " / ", "; ", ",", " - ")).join(draft.shuffled(words))


def _keys(draft: Draft, attributes: Sequence[str]) -> list[str]:
    """Say each attribute as a keyword, unless another keyword said it."""
    words: list[str] = []
    for name in draft.shuffled(attributes):
        if not draft.settled(name) or not words:
            words.append(draft.say("key", name))
    return words


def facts(draft: Draft, attributes: Sequence[str]) -> list[str]:
    """Say every attribute as a clause: "it is night", "there are no trees"."""
    return [draft.say("fact", name) for name in draft.shuffled(attributes) if not draft.settled(name)]


def sentence(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "It is winter, the moon is shining and there is a hut"."""
    return join(facts(draft, attributes), draft)


def several_sentences(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "There is a lake at dawn. Fog covers the land."."""
    mixed = draft.shuffled(attributes)
    cut = 1 + int(draft.uniform() * len(mixed))
    opening = draft.pick(("this is {}", "there is {}", "it is {}", "we see {}", "{}"))
    return ". ".join([opening.format(noun_phrase(draft, mixed[:cut])), *facts(draft, mixed[cut:])])


def where_it_is(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "a lake where it is snowing and there is a hut"."""
    article, noun = place_noun(draft, attributes)
    clauses = facts(draft, [name for name in attributes if name != "place"])
    return f"{article}{noun} where {join(clauses, draft)}" if clauses else f"{article}{noun}"


def held_out_frame(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "show me a beach in the rain"."""
    return draft.pick(HELD_OUT_FRAMES).format(noun_phrase(draft, attributes))


def fronted(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "at night and in the fog: a river", what follows a noun put before it."""
    front = [name for name in draft.shuffled(attributes) if name != "place" and draft.slots(name, ["when"])]
    tails = merged(draft, [draft.say("when", name) for name in front if not draft.settled(name)])
    phrase = noun_phrase(draft, unsaid(draft, attributes, front))
    return f"{' and '.join(tails)}{draft.pick((': ', ', we find '))}{phrase}" if tails else f"behold {phrase}"


def bullet_list(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "lake + pines + night"."""
    words = _keys(draft, attributes)
    return draft.pick((" + ", " & ", ". ", " | ")).join(words) if len(words) > 1 else f"[{words[0]}]"


def question(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "what does a desert look like when it is night?"."""
    _, noun = place_noun(draft, attributes)
    clauses = facts(draft, [name for name in attributes if name != "place"])
    return f"what does a {noun} look like" + (f" when {join(clauses, draft)}?" if clauses else "?")


TEMPLATES: tuple[tuple[Template, float], ...] = (
    (framed_phrase, 0.54),
    (keywords, 0.22),
    (sentence, 0.08),
    (several_sentences, 0.08),
    (where_it_is, 0.08),
)
HELD_OUT_TEMPLATES: tuple[tuple[Template, float], ...] = (
    (held_out_frame, 0.45),
    (fronted, 0.25),
    (bullet_list, 0.2),
    (question, 0.1),
)


def tidy(text: str) -> str:
    """Put "an" before vowels."""
    return with_articles(text)


def finish(draft: Draft, text: str) -> str:
    """Settle articles, case and punctuation of a raw text."""
    return present(draft, tidy(text), QUALITIES)


SAID_TOGETHER = ()
"""Attributes of which words may say more than one at once, in zero-shot prompts too."""
PROTOTYPES = {
    "noun": "a {}",
    "nouns": "{}",
    "event": "{}",
    "adj": "a {} landscape",
    "with": "a landscape with {}",
    "when": "a landscape {}",
    "where": "a landscape {}",
}
PROMPT_TEMPLATES = ("a photo of {}", "{}", "a picture of {}")
