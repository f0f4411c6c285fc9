"""What a world's judge sees in images, and how much of what a prompt wants is there.

A world of the zoo may have a judge: its module `zoo/NAME/evaluation.py` then has `see(images)`, which gives attribute
and value of all that is visible in each image, and its `attributes.py` lists them as `ATTRIBUTES`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from text2latent.common.errors import InputError
from text2latent.inference.prompts import PromptLine
from text2latent.models.sources.zoo import ZOO

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
    if not world.isidentifier() or not (ZOO / world / "evaluation.py").is_file():
        return None
    package = f"text2latent.zoo.{world}"
    attributes = importlib.import_module(f"{package}.attributes").ATTRIBUTES
    return Judge(world, attributes, importlib.import_module(f"{package}.evaluation").see)


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
