"""English sentences about a face. A template turns the attributes to be mentioned into a text, word by word.

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

NEUTRAL_NOUNS, ORIGINS, FILLERS = (WORDS.lists[name] for name in ("neutral_nouns", "origins", "fillers"))
CLOTHES, QUALITIES = WORDS.lists["clothes"], WORDS.lists["qualities"]
FRAMES, HELD_OUT_FRAMES = WORDS.lists["frames"], WORDS.lists["held_out_frames"]
ARTICLES = ("a ", "a ", "a ", "a ", "a ", "the ", "", "", "one ", "my ")


def head(draft: Draft, attributes: Sequence[str]) -> tuple[str, list[str]]:
    """Draw the noun; returns it with the attributes it leaves unsaid."""
    chances = {"gender": 0.9, "age": 0.5, "hair_color": 0.15}
    noun = ""
    for attribute, probability in chances.items():
        if not noun and attribute in attributes and draft.slots(attribute, ["noun"]) and draft.chance(probability):
            noun = draft.say("noun", attribute)
    return noun or draft.pick(NEUTRAL_NOUNS), [name for name in attributes if not draft.settled(name)]


def hair(draft: Draft, rest: list[str], probability: float) -> tuple[list[str], list[str]]:
    """Perhaps say colour and style of the hair as one, "long blonde hair"; returns it and what is left unsaid."""
    both = {"hair_color", "hair_style"}
    if both <= set(rest) and draft.slots("hair_style", ["cut"]) and draft.chance(probability):
        words = [draft.say("cut", "hair_style"), draft.say("tone", "hair_color")]
        phrase = " ".join(words if draft.chance(0.8) else words[::-1]) + " hair"
        return [phrase], [name for name in rest if name not in both]
    return [], rest


def noun_phrase(draft: Draft, attributes: Sequence[str]) -> str:
    """Write a noun phrase: "a happy old man with glasses by the sea", or of several: "happy old men"."""
    several = [name for name in ("gender", "age") if name in attributes and draft.slots(name, ["nouns"])]
    if several and draft.chance(0.07):
        noun = draft.say("nouns", several[0])
        rest, article = [name for name in draft.shuffled(attributes) if not draft.settled(name)], ""
    else:
        noun, rest = head(draft, draft.shuffled(attributes))
        article = draft.pick(ARTICLES)
    hair_phrase, rest = hair(draft, rest, 0.6)
    said = draft.distribute(rest, ("adj", "with", "wear", "post", "place"))
    adjectives, trailing = said["adj"][:3], said["adj"][3:]
    if adjectives and not said["with"] and draft.chance(0.08):
        trailing.append(adjectives.pop())
    tails = _tails(draft, draft.shuffled(hair_phrase + said["with"]), said)
    if draft.chance(0.08):
        tails.insert(0, draft.pick(CLOTHES))
    phrase = " ".join([article + _adjectival(draft, adjectives, noun), *tails])
    return ", ".join([phrase, *trailing])


def _adjectival(draft: Draft, adjectives: list[str], noun: str) -> str:
    if draft.chance(0.07):
        noun = f"{draft.pick(ORIGINS)} {noun}"
    if draft.chance(0.1):
        adjectives = draft.shuffled([*adjectives, draft.pick(FILLERS)])
    return " ".join([draft.pick((" ", " ", " ", ", ")).join(adjectives), noun]).strip()


def _tails(draft: Draft, things: list[str], said: dict[str, list[str]]) -> list[str]:
    """Write what follows the noun, in a natural order or in any."""
    tails = [f"with {join(bare(draft, things), draft)}"] if things else []
    tails += [f"wearing {join(bare(draft, said['wear']), draft)}"] if said["wear"] else []
    tails += merged(draft, said["post"]) + said["place"]
    return draft.shuffled(tails) if draft.chance(0.3) else tails


def clauses(draft: Draft, attributes: Sequence[str]) -> list[str]:
    """Say every attribute as a clause without subject: "has a beard", "is happy", "wears glasses"."""
    things, rest = hair(draft, list(attributes), 0.5)
    said = draft.distribute(rest, ("adj", "with", "wear", "post", "place"))
    relative = [text.removeprefix("who ") for text in said["post"] if text.startswith("who ")]
    states = said["adj"] + [text for text in said["post"] if not text.startswith("who ")]
    found = relative + ([f"is {join(states, draft)}"] if states else [])
    found += [f"has {join(things + said['with'], draft)}"] if things + said["with"] else []
    found += [f"{draft.pick(('wears', 'is wearing'))} {join(said['wear'], draft)}"] if said["wear"] else []
    found += [f"{draft.pick(('is', 'stands', 'is standing', 'poses', 'sits'))} {text}" for text in said["place"]]
    return draft.shuffled(found)


def frames_for(phrase: str) -> Sequence[str]:
    """Return the frames that a phrase fits into: a face has no face."""
    return [frame for frame in FRAMES if "face" not in frame] if "face" in phrase else FRAMES


def framed_phrase(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "a photo of a bearded man wearing a hat"."""
    phrase = noun_phrase(draft, attributes)
    return phrase if draft.chance(0.35) else draft.pick(frames_for(phrase)).format(phrase)


def keywords(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "woman, blonde hair, glasses"."""
    phrase, rest = hair(draft, list(attributes), 0.4)
    words = phrase + [draft.say("key", name) for name in rest]
    words += [draft.pick(QUALITIES)] if draft.chance(0.1) else []
    return draft.pick((", ", ", ", ", ", " ", " / ", "; ", ",", " - ")).join(draft.shuffled(words))


def sentence(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "The man wears glasses and is happy"."""
    noun, rest = head(draft, draft.shuffled(attributes))
    parts = clauses(draft, rest)
    subject = draft.pick(("the", "this", "a", "the")) + " " + noun
    return f"{subject} {join(parts, draft)}" if parts else f"{draft.pick(('this is', 'there is'))} a {noun}"


def several_sentences(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "There is an old woman. She has no glasses. Her hair is gray."."""
    mixed = draft.shuffled(attributes)
    cut = 1 + int(draft.uniform() * len(mixed))
    texts = [f"{draft.pick(('this is', 'there is', 'it is'))} {noun_phrase(draft, mixed[:cut])}"]
    rest = [name for name in mixed[cut:] if not draft.settled(name)]
    owned = [name for name in rest if draft.slots(name, ["poss"]) and draft.chance(0.5)]
    texts += [f"THEIR {draft.say('poss', name)}" for name in owned]
    texts += [f"{_pronoun(draft)} {clause}" for clause in clauses(draft, [name for name in rest if name not in owned])]
    return ". ".join(texts)


def relative(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "someone who has long hair and wears a hat"."""
    noun, rest = head(draft, draft.shuffled(attributes))
    parts = clauses(draft, rest)
    subject = draft.pick((f"a {noun}", f"a {noun}", "someone")) if noun in NEUTRAL_NOUNS else f"a {noun}"
    phrase = f"{subject} who {join(parts, draft)}" if parts else subject
    return phrase if draft.chance(0.5) else draft.pick(frames_for(phrase)).format(phrase)


def possessive(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "a woman in glasses whose hair is red and whose skin is dark"."""
    owned = [name for name in attributes if draft.slots(name, ["poss"])]
    phrase = noun_phrase(draft, [name for name in attributes if name not in owned])
    facts = [f"whose {draft.say('poss', name)}" for name in draft.shuffled(owned) if not draft.settled(name)]
    return f"{phrase} {join(facts, draft)}" if facts else phrase


def held_out_frame(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "show me an angry boy with a hat"."""
    return draft.pick(HELD_OUT_FRAMES).format(noun_phrase(draft, attributes))


def fronted(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "by the sea and wearing glasses: an old woman", what follows a noun put before it."""
    front = [name for name in attributes if draft.slots(name, ["place", "wear"])]
    said = draft.distribute(front, ("place", "wear"))
    tails = said["place"] + ([f"wearing {join(said['wear'], draft)}"] if said["wear"] else [])
    phrase = noun_phrase(draft, [name for name in attributes if name not in front])
    return f"{' and '.join(tails)}{draft.pick((': ', ', we find '))}{phrase}" if tails else f"behold {phrase}"


def bullet_list(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "woman + glasses + blonde hair"."""
    words = [draft.say("key", name) for name in draft.shuffled(attributes)]
    return draft.pick((" + ", " & ", ". ", " | ")).join(words) if len(words) > 1 else f"[{words[0]}]"


def question(draft: Draft, attributes: Sequence[str]) -> str:
    """Write "what does a man look like who has a beard"."""
    noun, rest = head(draft, draft.shuffled(attributes))
    parts = clauses(draft, rest)
    return f"what does a {noun} look like" + (f" who {join(parts, draft)}?" if parts else "?")


TEMPLATES: tuple[tuple[Template, float], ...] = (
    (framed_phrase, 0.5),
    (keywords, 0.2),
    (sentence, 0.09),
    (several_sentences, 0.07),
    (relative, 0.07),
    (possessive, 0.07),
)
HELD_OUT_TEMPLATES: tuple[tuple[Template, float], ...] = (
    (held_out_frame, 0.45),
    (fronted, 0.25),
    (bullet_list, 0.2),
    (question, 0.1),
)


def _pronoun(draft: Draft) -> str:
    return {"his": "he", "her": "she"}.get(_possessive_pronoun(draft), "this person")


def _possessive_pronoun(draft: Draft) -> str:
    if not draft.settled("gender"):
        return "their"
    return "his" if draft.codes["gender"] == 0 else "her"


def tidy(text: str, possessive_pronoun: str = "their") -> str:
    """Put in the possessive pronoun, and "an" before vowels."""
    return with_articles(text.replace("THEIR", possessive_pronoun))


def finish(draft: Draft, text: str) -> str:
    """Settle pronouns, articles, case and punctuation of a raw text."""
    return present(draft, tidy(text, _possessive_pronoun(draft)), QUALITIES)


SAID_TOGETHER = ("gender", "age")
"""Attributes of which words may say more than one at once, in zero-shot prompts too."""
PROTOTYPES = {
    "noun": "a {}",
    "adj": "a {} person",
    "with": "a person with {}",
    "wear": "a person wearing {}",
    "post": "a person {}",
    "place": "a person {}",
}
PROMPT_TEMPLATES = ("a photo of {}", "{}", "a portrait of {}")
