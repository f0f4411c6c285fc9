"""What a foreign file turns into: a class of ours, its arguments, and a state dictionary under the official names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from text2latent.models.generators.formats.pickle_machine import PickleError, shown
from text2latent.models.generators.layers import fir_kernel

W_AVG = "mapping.w_avg"
FILTER = "resample_filter"
BINOMIAL_TAPS = (1, 3, 3, 1)
IDLE_FILTER = re.compile(r"synthesis\.b\d+\.conv1\.resample_filter")
FILTERED_LAYER = re.compile(r"(synthesis\.b\d+)\.(conv0|conv1|skip)\.weight")


TRAINING_ONLY = frozenset(
    (
        *("freeze_embed", "freeze_mapping", "freeze_synthesis", "freeze_affine", "freeze_torgb", "freeze_const"),
        *("freeze_style", "freeze_g", "freezeG", "trainable", "trainable_layers", "requires_grad"),
        *("style_mixing_prob", "mixing_prob", "noise_regularize_weight", "pl_batch_shrink", "pl_weight", "lazy_reg"),
        *("use_checkpoint", "use_checkpointing", "grad_checkpointing", "gradient_checkpointing", "checkpoint_layers"),
        *("label_dropout", "cond_dropout", "class_dropout_prob", "w_ema_rampup", "lr", "lr_mult", "ema_kimg"),
    )
)
"""Arguments of forks on which only training depends: what is learned, how, and with how much memory."""


SHOWN = frozenset(("square", "init_res", "resolution_h", "resolution_w", "min_h", "min_w", "res_log2"))
"""Arguments of forks about the image's height and width, which the first block's constant shows."""


@dataclass(frozen=True)
class GeneratorWeights:
    """A generator as a file describes it.

    Attributes:
        class_name: of the network, a key of `folder.CLASSES`.
        arguments: of its constructor, plain values.
        state: its state dictionary, float32; without `mapping.w_avg` where the file has no mean latent.
        notes: what its reader should know, a line each: what was ignored, and what the file doesn't say.
    """

    class_name: str
    arguments: dict[str, Any]
    state: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def rename(values: Mapping[str, Any], names: Mapping[str, str], ignored: frozenset[str], what: str) -> dict[str, Any]:
    """Arguments under our names.

    Args:
        values: arguments under the file's names.
        names: file's name -> ours.
        ignored: the file's names that only training and speed depend on, besides those of `TRAINING_ONLY` and `SHOWN`.
        what: to name them by in messages.

    Raises:
        PickleError: for an argument that isn't known, or a value that isn't plain.
    """
    unknown = [name for name in values if name not in names and name not in ignored | TRAINING_ONLY | SHOWN]
    if unknown:
        raise PickleError(
            f"{what}: {shown(unknown[0])}: not an argument of a StyleGAN generator that is known here, and it may "
            "change what the network draws"
        )
    return {names[name]: _plain(value, name, what) for name, value in values.items() if name in names}


def training_notes(values: Iterable[str]) -> tuple[str, ...]:
    """A line that names those arguments which only training depends on; none where there are none."""
    found = sorted(TRAINING_ONLY.intersection(values))
    return (f"ignored, as only training depends on it: {', '.join(found)}",) if found else ()


def _plain(value: Any, name: str, what: str) -> Any:
    items = value if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(item, (str, int, float, bool, type(None))) for item in items):
        raise PickleError(f"{what}: {shown(name)}: expected a plain value, got {shown(value)}")
    return list(items) if isinstance(value, (list, tuple)) else value


def first_size(const: Tensor | None) -> dict[str, list[int]]:
    """The argument that says a constant's [C, H, W] height and width; none for the usual 4 x 4."""
    size = [] if const is None else list(const.shape[1:])
    return {} if size == [4, 4] or len(size) != 2 else {"first_size": size}


def idle_filters(state: Mapping[str, Tensor], taps: Sequence[float]) -> dict[str, Tensor]:
    """Filters of layers that do not up-sample: files have default ones there, which no network reads."""
    return {name: fir_kernel(taps) for name in state if IDLE_FILTER.fullmatch(name)}


def with_filters(state: Mapping[str, Tensor], taps: Sequence[float]) -> dict[str, Tensor]:
    """A StyleGAN2 `state` and the low-pass filters of its blocks and layers, which some formats do not store."""
    found = [match for match in map(FILTERED_LAYER.fullmatch, state) if match]
    owners = {match[1] for match in found} | {f"{match[1]}.{match[2]}" for match in found}
    return {**state, **{f"{owner}.{FILTER}": fir_kernel(taps) for owner in sorted(owners)}}


class Tensors:
    """A file's tensors by name, to be taken one by one until none is left."""

    def __init__(self, tensors: Mapping[str, Tensor], what: str) -> None:
        """Hold `tensors`; `what` names them in messages."""
        self._left, self._what = dict(tensors), what

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def prefix_of(self, suffix: str) -> str | None:
        """What is before `suffix` in the first name that ends so; None where none does."""
        return next((name.removesuffix(suffix) for name in self._left if name.endswith(suffix)), None)

    def dimensions(self, name: str) -> int | None:
        return self._left[name].ndim if name in self._left else None

    def shape(self, name: str, ndim: int) -> torch.Size:
        """Shape of a tensor; raises `PickleError` when it is missing or hasn't `ndim` dimensions."""
        if name not in self._left:
            raise PickleError(f"{self._what}: {name}: missing")
        shape = self._left[name].shape
        if len(shape) != ndim:
            raise PickleError(f"{self._what}: {name}: expected {ndim} dimensions, got shape {list(shape)}")
        return shape

    def take(self, name: str, ndim: int) -> Tensor:
        """A tensor, which is then gone; raises as `shape` does."""
        self.shape(name, ndim)
        return self._left.pop(name)

    def finish(self) -> None:
        """Raise `PickleError` when any tensor is left: it would be a part that isn't understood."""
        if self._left:
            names = ", ".join(shown(name) for name in list(self._left)[:3])
            raise PickleError(f"{self._what}: {names}: not a tensor of a StyleGAN2 generator")
