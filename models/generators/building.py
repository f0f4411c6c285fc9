"""From a class's name, its arguments and its weights to a network; nothing in them is trusted."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from text2latent.common.errors import InputError, one_line
from text2latent.models.generators.base import Generator
from text2latent.models.generators.formats.weights import W_AVG, GeneratorWeights
from text2latent.models.generators.mapping import MappedGenerator

CLASSES = {
    "BigGANGenerator": "text2latent.models.generators.biggan",
    "DiscreteDecoder": "text2latent.models.generators.dalle",
    "StyleGAN2Generator": "text2latent.models.generators.stylegan2",
    "StyleGAN3Generator": "text2latent.models.generators.stylegan3",
}
"""Module of each class that a file may ask for; it is imported when one does."""

MAX_FILTER = 64
FILTER_SIZES = ("filter_size", "lrelu_upsampling", "conv_kernel", "kernel_size")


def find_class(name: Any) -> type[Generator]:
    """Class of a name; raises InputError for one that isn't in `CLASSES`."""
    if not isinstance(name, str) or name not in CLASSES:
        raise InputError(f"_class_name {name!r}: expected one of {', '.join(CLASSES)}")
    return getattr(importlib.import_module(CLASSES[name]), name)


def build_generator(weights: GeneratorWeights, arguments_from: str, weights_from: str) -> Generator:
    """Network on the CPU in evaluation mode, without gradients to its weights; a missing mean latent is computed.

    Args:
        weights: what a file holds.
        arguments_from: file of the constructor's arguments, for messages.
        weights_from: file of the weights, likewise.

    Raises:
        InputError: for weights that aren't finite, and arguments that are none or don't fit the weights.
    """
    bad = [name for name, value in weights.state.items() if not value.isfinite().all()]
    if bad:
        raise InputError(f"{weights_from}: {bad[0]}: expected finite weights, got NaN or infinity")
    generator = _construct(weights, arguments_from)
    has_average = W_AVG in weights.state or not isinstance(generator, MappedGenerator)
    state = weights.state if has_average else {**weights.state, W_AVG: torch.zeros(generator.w_dim)}
    _load_state(generator, state, arguments_from, weights_from)
    # Convolutions on a CPU are up to a quarter faster with channels last, weights included.
    nn.Module.to(generator, memory_format=torch.channels_last)
    if not has_average and isinstance(generator, MappedGenerator):
        generator.update_w_avg()
    return generator.eval().requires_grad_(False)


def _construct(weights: GeneratorWeights, arguments_from: str) -> Generator:
    """Network without weights: the meta device keeps false arguments from claiming memory."""
    try:
        cls = find_class(weights.class_name)
    except InputError as error:
        raise InputError(f"{arguments_from}: {error}") from error
    unknown = sorted(set(weights.arguments) - set(inspect.signature(cls.__init__).parameters))
    if unknown:
        raise InputError(f"{arguments_from}: {', '.join(unknown)}: not arguments of {cls.__name__}")
    _refuse_endless_arguments(weights, arguments_from)
    try:
        with torch.device("meta"):
            return cls(**weights.arguments)
    except Exception as error:
        # Arguments are anyone's data: a wrong type or an absurd size can fail anywhere in the constructor.
        raise InputError(f"{arguments_from}: not a config of {cls.__name__}: {one_line(error)}") from error


def _refuse_endless_arguments(weights: GeneratorWeights, arguments_from: str) -> None:
    """Refuse what the meta device does not save from: loops over layers that no weights are there for, huge filters."""
    for name, value in weights.arguments.items():
        if name.startswith("num_") and isinstance(value, (int, float)) and value > len(weights.state):
            raise InputError(f"{arguments_from}: {name} {value}: there are only {len(weights.state)} tensors")
        if name in FILTER_SIZES and isinstance(value, (int, float)) and value > MAX_FILTER:
            raise InputError(f"{arguments_from}: {name} {value}: expected at most {MAX_FILTER}")


def _load_state(generator: Generator, state: dict[str, Tensor], arguments_from: str, weights_from: str) -> None:
    try:
        generator.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        place = "their arguments" if arguments_from == weights_from else arguments_from.rpartition("/")[2]
        raise InputError(f"{weights_from}: the weights don't fit {place}: {one_line(error)}") from error
