"""Every optimiser of `torch.optim` by name, with its arguments and the learning rate of the Big Sleep study."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import yaml

from text2latent.common.errors import UsageError, one_line

STUDY_RATES = {"adam": 0.05, "adamw": 0.03, "rmsprop": 0.05, "adagrad": 0.3, "adadelta": 50.0, "sgd": 15.0}
"""Learning rates of the study of six optimisers on Big Sleep, whose loss is 100 times a cosine."""


def optimizer_classes() -> dict[str, type[torch.optim.Optimizer]]:
    """Classes of `torch.optim` by their names in lower case."""
    found = {name.lower(): value for name, value in vars(torch.optim).items() if isinstance(value, type)}
    base = torch.optim.Optimizer
    return {name: cls for name, cls in sorted(found.items()) if issubclass(cls, base) and cls is not base}


def find_optimizer(name: str) -> type[torch.optim.Optimizer]:
    """Class of a name, upper or lower case.

    Raises:
        UsageError: for an unknown name.
    """
    known = optimizer_classes()
    if name.lower() not in known:
        raise UsageError(f"optimizer: expected one of {', '.join(known)}, got {name[:60]!r}")
    return known[name.lower()]


def default_rate(name: str) -> float:
    """Learning rate of the study, or else the class's own."""
    cls = find_optimizer(name)
    return STUDY_RATES.get(name.lower(), float(inspect.signature(cls).parameters["lr"].default))


def parse_arguments(text: str | None) -> dict[str, Any]:
    """Arguments from `betas=[0.9, 0.99], eps=1.0e-8`, whose values are YAML; none from None.

    Raises:
        UsageError: when it can't be read.
    """
    if text is None:
        return {}
    try:
        pairs = yaml.safe_load("{" + text.replace("=", ": ") + "}")
    except yaml.YAMLError:
        pairs = None
    if not isinstance(pairs, dict) or not all(
        isinstance(key, str) and value is not None for key, value in pairs.items()
    ):
        raise UsageError(f"optimizer_arguments: expected NAME=VALUE, NAME=VALUE ..., got {text[:60]!r}")
    return pairs


def make_optimizer(
    name: str, parameters: Iterable[torch.Tensor], learning_rate: float, arguments: Mapping[str, Any] | None = None
) -> torch.optim.Optimizer:
    """The optimiser of a name.

    Args:
        name: of a class of `torch.optim`.
        learning_rate: positive and finite.
        arguments: of its constructor, beyond these.

    Raises:
        UsageError: for an unknown name or argument, or a value that the class refuses.
    """
    cls: Any = find_optimizer(name)
    if not (learning_rate > 0 and math.isfinite(learning_rate)):
        raise UsageError(f"learning_rate: expected a finite number > 0, got {learning_rate}")
    known = [parameter for parameter in inspect.signature(cls).parameters if parameter not in ("params", "lr")]
    unknown = [argument for argument in arguments or {} if argument not in known]
    if unknown:
        raise UsageError(f"optimizer_arguments: {cls.__name__} takes {', '.join(known)}; got {unknown[0][:60]!r}")
    try:
        return cls(list(parameters), lr=learning_rate, **(arguments or {}))
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"optimizer_arguments: {cls.__name__}: {one_line(error)}") from error


def parse_comparison(text: str) -> list[str]:
    """Names of optimisers with commas between them, in lower case.

    Raises:
        UsageError: for an unknown or repeated one.
    """
    names = [name.strip().lower() for name in text.split(",")]
    for name in names:
        find_optimizer(name)
        if names.count(name) > 1:
            raise UsageError(f"--compare: expected each optimizer once, got {name} {names.count(name)} times")
    return names
