"""What the Japanese grammars of all worlds share: how modifiers and predicates follow each other, how a text ends."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from text2latent.zoo.language.lexicon import Draft

CONJUNCTIVE = {
    "である": ("で", "であり"),
    "てる": ("てて",),
    "でる": ("でて",),
    "ている": ("ていて", "ており"),
    "でいる": ("でいて", "でおり"),
    "がある": ("があり", "があって"),
    "にいる": ("にいて", "におり"),
    "い": ("くて", "く"),
}
"""What the ending of a predicate becomes where another one follows, first match first."""
POLITE = {
    "である": "です",
    "てる": "てます",
    "でる": "でます",
    "ている": "ています",
    "でいる": "でいます",
    "ある": "あります",
    "いる": "います",
}
"""What the ending of a predicate becomes in polite speech, first match first."""


def attached(draft: Draft, modifiers: Sequence[str], parted: tuple[str, ...] = ()) -> str:
    """Chain modifiers, some of them by で: 金髪で眼鏡の; a comma stands before those that begin as one of `parted`."""
    linked = []
    for modifier, following in pairwise(modifiers):
        if modifier.endswith("の") and draft.chance(0.4):
            modifier = modifier[:-1] + "で"
        comma = following.startswith(parted) or draft.chance(0.15)
        linked.append(modifier + ("、" if comma else ""))
    return "".join([*linked, *modifiers[-1:]])


def continued(predicate: str, draft: Draft) -> str:
    """Turn a plain predicate into the form that another one follows; raises `ValueError` on an unknown ending."""
    for ending, forms in CONJUNCTIVE.items():
        if predicate.endswith(ending):
            return predicate.removesuffix(ending) + draft.pick(forms)
    raise ValueError(f"no conjunctive form is known for {predicate}")


def chained(predicate_list: Sequence[str], draft: Draft) -> str:
    """Write several predicates as one: 髪が長くて、笑っている."""
    return "、".join([continued(text, draft) for text in predicate_list[:-1]] + list(predicate_list[-1:]))


def polite(text: str, draft: Draft) -> str:
    """Perhaps make the end of a sentence polite."""
    if draft.chance(0.6):
        return text
    for ending, form in POLITE.items():
        if text.endswith(ending):
            return text.removesuffix(ending) + form
    return text + "です"


def present(draft: Draft, text: str, qualities: Sequence[str]) -> str:
    """Perhaps add a word on quality or a full stop to a text."""
    if draft.chance(0.04):
        text = f"{text}、{draft.pick(qualities)}"
    return text + "。" if draft.chance(0.15) and not text.endswith(("）", "]", "】", "》")) else text
