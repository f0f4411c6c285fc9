"""What a world's judge sees in images, and how much of what a prompt wants is there.

A world of the zoo has a judge where its weights hold one. What it distinguishes is the attributes of the world's
`world.yaml`, and `zoo/evaluation.py` asks it which of them are visible in an image.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from text2latent.common.errors import InputError
from text2latent.inference.prompts import PromptLine
from text2latent.models.sources.zoo import ZOO, is_zoo_name

Seen = Mapping[str, str]


@dataclass(frozen=True)
class Judge:
    """The judge of a world.

    Attributes:
        world: the world's name.
        attributes: values of each attribute that it distinguishes.
        see: images `[N, 3, H, W]` in [-1, 1] -> the attributes and values visible in each.
    """

    world: str
    attributes: Mapping[str, Sequence[str]]
    see: Callable[[Tensor], Sequence[Seen]]


def find_judge(world: str) -> Judge | None:
    """The judge of a world of the zoo; None where there is no such world, or it has no judge."""
    if not is_zoo_name(world) or not (ZOO / world / "weights" / "judge").is_dir():
        return None
    found = importlib.import_module("text2latent.zoo.world").load_world(world)
    see = importlib.import_module("text2latent.zoo.evaluation").see
    return Judge(world, found.attributes, partial(see, found))


def check_wants(lines: Sequence[PromptLine], judge: Judge) -> None:
    """Refuse wants that the judge can't recognise.

    Raises:
        InputError: naming the prompt, the attribute and what there is.
    """
    for line in lines:
        for attribute, wanted in line.want.items():
            if attribute not in judge.attributes:
                known = ", ".join(judge.attributes)
                raise InputError(f"--prompts: {line.text!r}: want: expected one of {known}, got {attribute!r}")
            unknown = [value for value in values_of(wanted) if value not in judge.attributes[attribute]]
            if unknown:
                known = ", ".join(judge.attributes[attribute])
                raise InputError(f"--prompts: {line.text!r}: {attribute}: expected one of {known}, got {unknown[0]!r}")


def values_of(wanted: Any) -> list[str]:
    """The values that a want allows: itself, or those of its list."""
    return list(wanted) if isinstance(wanted, list) else [wanted]


def find_wanted(want: Mapping[str, Any], seen: Seen) -> dict[str, bool]:
    """Whether each wanted attribute is there, with a value that is allowed; what isn't visible isn't there."""
    return {attribute: seen.get(attribute) in values_of(wanted) for attribute, wanted in want.items()}
