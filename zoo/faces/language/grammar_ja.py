"""Japanese sentences about a face; see `grammar_en`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from text2latent.zoo.language.japanese import attached, chained, polite, present
from text2latent.zoo.language.lexicon import Draft
from text2latent.zoo.language.words import load_words

WORDS = load_words(Path(__file__).with_name("ja.yaml"))
Template = Callable[[Draft, Sequence[str]], str]

NEUTRAL_NOUNS, ORIGINS, FILLERS = (WORDS.lists[name] for name in ("neutral_nouns", "origins", "fillers"))
QUALITIES, FRAMES, HELD_OUT_FRAMES = (WORDS.lists[name] for name in ("qualities", "frames", "held_out_frames"))
PARTED = ("髪", "肌", "皮膚", "頭")
"""Beginnings of modifiers that a comma parts from what precedes: in 肌が白い、髪の長い hair isn't what is white."""
IDLE = ("立っている", "いる", "写っている", "こちらを見ている", "座っている", "こちらを向いている")


def head(draft: Draft, attributes: Sequence[str]) -> tuple[str, list[str]]:
    """Draw the noun; returns it with the attributes it leaves unsaid."""
    noun = ""
    for attribute, probability in {"gender": 0.9, "age": 0.5}.items():
        if not noun and attribute in attributes and draft.slots(attribute, ["noun"]) and draft.chance(probability):
            noun = draft.say("noun", attribute)
    if not noun:
        noun = draft.pick(ORIGINS) if draft.chance(0.15) else draft.pick(NEUTRAL_NOUNS)
    rest = [name for name in attributes if not draft.settled(name)]
    return _compound(draft, noun, rest)


def _compound(draft: Draft, noun: str, rest: list[str]) -> tuple[str, list[str]]:
    """Perhaps glue an attribute to the noun: 中年男性, 金髪女性."""
    possible = [name for name in rest if draft.slots(name, ["pre"])]
    if noun in ("男性", "女性") and possible and draft.chance(0.3):
        name = draft.pick(possible)
        return draft.say("pre", name) + noun, [other for other in rest if other != name]
    return noun, rest


def hair(draft: Draft, rest: list[str], probability: float) -> tuple[str, list[str]]:
    """Perhaps say colour and style of the hair as one: 長い金髪; returns the phrase, if any, and what is left."""
    both = {"hair_color", "hair_style"}
    if both <= set(rest) and draft.slots("hair_style", ["cut"]) and draft.chance(probability):
        return draft.say("cut", "hair_style") + draft.say("tone", "hair_color"), [n for n in rest if n not in both]
    return "", rest


def noun_phrase(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 海辺で眼鏡をかけた金髪の女性."""
    noun, rest = head(draft, draft.shuffled(attributes))
    hair_phrase, rest = hair(draft, rest, 0.5)
    place = ""
    if "background" in rest and draft.slots("background", ["place"]) and draft.chance(0.25):
        place = draft.say("place", "background")
        rest = [name for name in rest if name != "background"]
    things, rest = _things(draft, rest)
    missing, rest = _missing(draft, rest)
    modifiers = things + missing + [draft.say("mod", name) for name in rest]
    modifiers += [f"{hair_phrase}の"] if hair_phrase else []
    modifiers += [draft.pick(FILLERS)] if draft.chance(0.08) else []
    return place + attached(draft, draft.shuffled(modifiers), PARTED) + noun


def _things(draft: Draft, rest: list[str]) -> tuple[list[str], list[str]]:
    """Perhaps say what a face wears or has as one modifier: 眼鏡と帽子の; returns it and what is left unsaid."""
    possible = [name for name in rest if draft.slots(name, ["thing"])]
    if len(possible) < 2 or draft.chance(0.6):
        return [], rest
    listed = "と".join(draft.say("thing", name) for name in draft.shuffled(possible))
    return [listed + draft.pick(("の", "のある", "が特徴の"))], [name for name in rest if name not in possible]


def _missing(draft: Draft, rest: list[str]) -> tuple[list[str], list[str]]:
    """Perhaps say of several things in one modifier that they aren't there: 帽子も眼鏡もない; returns as `_things`."""
    possible = [name for name in rest if draft.slots(name, ["missing"])]
    if len(possible) < 2 or draft.chance(0.5):
        return [], rest
    listed = "".join(draft.say("missing", name) + "も" for name in draft.shuffled(possible))
    return [listed + draft.pick(("ない", "ない", "無い", "なしの"))], [name for name in rest if name not in possible]


def predicates(draft: Draft, attributes: Sequence[str]) -> list[str]:
    """Say as many attributes as can end a sentence: 帽子をかぶっている, 髪が長い."""
    said = []
    for name in attributes:
        if possible := draft.slots(name, ["pred", "poss"]):
            said.append(draft.say(draft.pick(possible), name))
    return said


def frames_for(phrase: str) -> Sequence[str]:
    """Return the frames that a phrase fits into: a face has no face."""
    return [frame for frame in FRAMES if "顔" not in frame] if phrase.endswith("顔") else FRAMES


def framed_phrase(draft: Draft, attributes: Sequence[str]) -> str:
    """Write イヤリングを付けた若い女性の写真."""
    phrase = noun_phrase(draft, attributes)
    return phrase if draft.chance(0.5) else draft.pick(frames_for(phrase)).format(phrase)


def keywords(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 女性、金髪、眼鏡."""
    hair_phrase, rest = hair(draft, list(attributes), 0.3)
    words = [draft.say("key", name) for name in rest] + ([hair_phrase] if hair_phrase else [])
    words += [draft.pick(QUALITIES)] if draft.chance(0.1) else []
    return draft.pick(("、", "、", "、", " ", " ", ", ", "・", "　", "，", "")).join(draft.shuffled(words))


def acting(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 海の側で顎髭を蓄えた中年男性が微笑んでいる."""
    mixed = draft.shuffled(attributes)
    acts = [name for name in mixed if draft.slots(name, ["pred"]) and name not in ("gender", "age")][:1]
    phrase = noun_phrase(draft, [name for name in mixed if name not in acts])
    predicate = draft.say("pred", acts[0]) if acts else draft.pick(IDLE)
    return polite(f"{phrase}が{predicate}", draft)


def topic(draft: Draft, attributes: Sequence[str]) -> str:
    """Write この女性は髪が長くて、眼鏡をかけている."""
    noun, rest = head(draft, draft.shuffled(attributes))
    hair_phrase, rest = hair(draft, rest, 0.3)
    said = predicates(draft, rest) + ([f"{hair_phrase}である"] if hair_phrase else [])
    subject = draft.pick(("この", "その", "")) + noun
    return polite(f"{subject}は{chained(said, draft)}", draft) if said else f"{subject}の写真"


def several_sentences(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 年配の女性です。眼鏡をかけています."""
    mixed = draft.shuffled(attributes)
    cut = 1 + int(draft.uniform() * len(mixed))
    phrase = noun_phrase(draft, mixed[:cut])
    said = predicates(draft, [name for name in mixed[cut:] if not draft.settled(name)])
    return "。".join([f"{phrase}です", *(polite(text, draft) for text in said)])


def held_out_frame(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 帽子をかぶった少年を描いて."""
    return draft.pick(HELD_OUT_FRAMES).format(noun_phrase(draft, attributes))


def person_with(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 女性（金髪、眼鏡）."""
    noun, rest = head(draft, draft.shuffled(attributes))
    words = [draft.say("key", name) for name in rest]
    return f"{noun}{draft.pick(('（{}）', ' [{}]', ' - {}')).format('、'.join(words))}" if words else f"【{noun}】"


def bullet_list(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 女性＋眼鏡＋金髪."""
    words = [draft.say("key", name) for name in draft.shuffled(attributes)]
    return draft.pick(("＋", "/", "。", " & ")).join(words) if len(words) > 1 else f"《{words[0]}》"


def features(draft: Draft, attributes: Sequence[str]) -> str:
    """Write 特徴は、髪が長くて、笑っている女性."""
    noun, rest = head(draft, draft.shuffled(attributes))
    said = predicates(draft, rest)
    return f"{chained(said, draft)}、という{noun}" if said else f"誰かというと{noun}"


TEMPLATES: tuple[tuple[Template, float], ...] = (
    (framed_phrase, 0.5),
    (keywords, 0.2),
    (acting, 0.13),
    (topic, 0.1),
    (several_sentences, 0.07),
)
HELD_OUT_TEMPLATES: tuple[tuple[Template, float], ...] = (
    (held_out_frame, 0.45),
    (person_with, 0.2),
    (bullet_list, 0.2),
    (features, 0.15),
)
SAID_TOGETHER = ("gender", "age")
"""Attributes of which words may say more than one at once, in zero-shot prompts too."""
PROTOTYPES = {"noun": "{}", "mod": "{}人", "pred": "{}人"}
PROMPT_TEMPLATES = ("{}の写真", "{}", "{}の顔")


def finish(draft: Draft, text: str) -> str:
    """Perhaps add a word on quality or a full stop."""
    return present(draft, text, QUALITIES)


def tidy(text: str) -> str:
    """Return the text as it is: nothing in Japanese agrees with its neighbours."""
    return text
