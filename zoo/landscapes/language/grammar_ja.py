"""Japanese sentences about a landscape; see `grammar_en`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from text2latent.zoo.language.japanese import attached, chained, polite, present
from text2latent.zoo.language.lexicon import Draft
from text2latent.zoo.language.words import load_words

WORDS = load_words(Path(__file__).with_name("ja.yaml"))
Template = Callable[[Draft, Sequence[str]], str]

NEUTRAL_NOUNS, REGIONS, FILLERS = (WORDS.lists[name] for name in ("neutral_nouns", "regions", "fillers"))
QUALITIES, FRAMES, HELD_OUT_FRAMES = (WORDS.lists[name] for name in ("qualities", "frames", "held_out_frames"))


def unsaid(draft: Draft, attributes: Sequence[str], said: Sequence[str] = ()) -> list[str]:
    """Which attributes are still to be mentioned: neither said nor left with one value by what was."""
    return [name for name in attributes if name not in said and not draft.settled(name)]


def head(draft: Draft, attributes: Sequence[str]) -> tuple[str, list[str]]:
    """Draw the noun, with the place of what isn't one (海辺の夕焼け); returns it and the attributes left unsaid."""
    mixed = draft.shuffled(attributes)
    others = [name for name in mixed if name != "place" and draft.slots(name, ["event"])]
    if others and draft.chance(0.35 if "place" in mixed else 0.75):
        noun = draft.say("event", others[0])
        rest = unsaid(draft, mixed, others[:1])
        for name in ("place", "mountains"):
            if name in rest and draft.slots(name, ["at"]) and draft.chance(0.8):
                return draft.say("at", name) + noun, unsaid(draft, rest, [name])
        return noun, rest
    if "place" in mixed and draft.slots("place", ["noun"]):
        return draft.say("noun", "place"), unsaid(draft, mixed, ["place"])
    return draft.pick(NEUTRAL_NOUNS), mixed


def noun_phrase(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 桜の咲く春の湖, or 山の向こうの夕暮れ."""
    noun, rest = head(draft, attributes)
    things, rest = _things(draft, rest)
    missing, rest = _missing(draft, rest)
    said = draft.distribute(rest, ("mod", "at"))
    modifiers = things + missing + said["mod"] + said["at"]
    modifiers += [draft.pick(FILLERS)] if draft.chance(0.07) else []
    region = draft.pick(REGIONS) if draft.chance(0.06) else ""
    return region + attached(draft, draft.shuffled(modifiers)) + noun


def _things(draft: Draft, rest: list[str]) -> tuple[list[str], list[str]]:
    """Perhaps say of several things in one modifier that they are there: 桜と小屋のある; also returns what is left."""
    possible = [name for name in rest if draft.slots(name, ["thing"])]
    if len(possible) < 2 or draft.chance(0.6):
        return [], rest
    listed = "と".join(draft.say("thing", name) for name in draft.shuffled(possible))
    return [listed + draft.pick(("のある", "の見える", "がある"))], unsaid(draft, rest, possible)


def _missing(draft: Draft, rest: list[str]) -> tuple[list[str], list[str]]:
    """Perhaps say of several things in one modifier that they aren't there: 木も花もない; returns as `_things`."""
    possible = [name for name in rest if draft.slots(name, ["missing"])]
    if len(possible) < 2 or draft.chance(0.5):
        return [], rest
    listed = "".join(draft.say("missing", name) + "も" for name in draft.shuffled(possible))
    return [listed + draft.pick(("ない", "ない", "無い"))], unsaid(draft, rest, possible)


def predicates(draft: Draft, attributes: Sequence[str]) -> list[str]:
    """Say as many attributes as can end a sentence: 雨が降っている, 小屋がある."""
    return [draft.say("pred", name) for name in draft.shuffled(attributes) if not draft.settled(name)]


def framed_phrase(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 夜の海の写真."""
    phrase = noun_phrase(draft, attributes)
    return phrase if draft.chance(0.5) else draft.pick(frames_for(phrase)).format(phrase)


def frames_for(phrase: str) -> Sequence[str]:
    """Return the frames that a phrase fits into: 風景の景色 says nothing new."""
    repeated = tuple(noun for noun in NEUTRAL_NOUNS if phrase.endswith(tuple(NEUTRAL_NOUNS)))
    return [frame for frame in FRAMES if not any(noun in frame for noun in repeated)]


def keywords(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 湖、夜、松の木."""
    words = _keys(draft, attributes)
    words += [draft.pick(QUALITIES)] if draft.chance(0.1) else []
    return draft.pick(("、", "、", "、", " ", " ", ", ", "・", "　", "，", "")).join(draft.shuffled(words))


def _keys(draft: Draft, attributes: Sequence[str]) -> list[str]:
    """Say each attribute as a keyword, unless another keyword said it."""
    words: list[str] = []
    for name in draft.shuffled(attributes):
        if not draft.settled(name) or not words:
            words.append(draft.say("key", name))
    return words


def listing(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 夜の雪山とオーロラ."""
    mixed = draft.shuffled(attributes)
    listed = [name for name in mixed if draft.slots(name, ["thing"])][:3]
    if len(listed) < 2:
        return noun_phrase(draft, attributes)
    things = draft.pick(("と", "と", "に")).join(draft.say("thing", name) for name in listed)
    modifiers = draft.distribute(unsaid(draft, mixed, listed), ("mod", "at"))
    return attached(draft, modifiers["mod"] + modifiers["at"]) + things


def happening(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 夜の湖で、雪が降っている."""
    mixed = draft.shuffled(attributes)
    cut = (len(mixed) + 1) // 2
    phrase = noun_phrase(draft, mixed[:cut])
    said = predicates(draft, mixed[cut:])
    if not said:
        return phrase
    particle = draft.pick(("で、", "で", "に") if "が" in said[0] else ("で、", "で"))
    return polite(f"{phrase}{particle}{chained(said, draft)}", draft)


def several_sentences(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 冬の湖です。雪が降っています."""
    mixed = draft.shuffled(attributes)
    cut = 1 + int(draft.uniform() * len(mixed))
    phrase = noun_phrase(draft, mixed[:cut])
    return "。".join([f"{phrase}です", *(polite(text, draft) for text in predicates(draft, mixed[cut:]))])


def held_out_frame(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 桜の咲く湖を描いて."""
    return draft.pick(HELD_OUT_FRAMES).format(noun_phrase(draft, attributes))


def scene_with(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 湖（夜、松の木）."""
    noun, rest = head(draft, attributes)
    words = _keys(draft, rest) if rest else []
    return f"{noun}{draft.pick(('（{}）', ' [{}]', ' - {}')).format('、'.join(words))}" if words else f"【{noun}】"


def bullet_list(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 湖＋松の木＋夜."""
    words = _keys(draft, attributes)
    return draft.pick(("＋", "/", "。", " & ")).join(words) if len(words) > 1 else f"《{words[0]}》"


def features(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 雨が降っていて、小屋がある、という海."""
    noun, rest = head(draft, attributes)
    said = predicates(draft, rest)
    return f"{chained(said, draft)}、という{noun}" if said else f"何かというと{noun}"


TEMPLATES: tuple[tuple[Template, float], ...] = (
    (framed_phrase, 0.5),
    (keywords, 0.2),
    (listing, 0.1),
    (happening, 0.12),
    (several_sentences, 0.08),
)
HELD_OUT_TEMPLATES: tuple[tuple[Template, float], ...] = (
    (held_out_frame, 0.45),
    (scene_with, 0.2),
    (bullet_list, 0.2),
    (features, 0.15),
)
SAID_TOGETHER = ()
"""Attributes of which words may say more than one at once, in zero-shot prompts too."""
PROTOTYPES = {"noun": "{}", "event": "{}", "mod": "{}風景", "at": "{}風景", "thing": "{}"}
PROMPT_TEMPLATES = ("{}の写真", "{}", "{}の絵")


def finish(draft: Draft, text: str) -> str:
    """Perhaps add a word on quality or a full stop."""
    return present(draft, text, QUALITIES)


def tidy(text: str) -> str:
    """Return the text as it is: nothing in Japanese agrees with its neighbours."""
    return text
