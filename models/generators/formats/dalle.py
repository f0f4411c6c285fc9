"""The published file of DALL-E's decoder, a pickled network: only its tensors are taken, none of its code is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from text2latent.models.generators.formats.pickle_machine import PickleError, shown
from text2latent.models.generators.formats.torch_files import (
    TensorRecord,
    is_torch_file,
    read_torch_objects,
    tensor_globals,
)
from text2latent.models.generators.formats.weights import GeneratorWeights

CLASSES = (
    ("dall_e.decoder", "Decoder"),
    ("dall_e.decoder", "DecoderBlock"),
    ("dall_e.utils", "Conv2d"),
    ("torch.nn.modules.activation", "ReLU"),
    ("torch.nn.modules.container", "Sequential"),
    ("torch.nn.modules.linear", "Identity"),
    ("torch.nn.modules.upsampling", "Upsample"),
)


@dataclass(eq=False)
class PickledModule:
    """A network or layer in a pickle: its class by name, its attributes."""

    name: str
    state: dict[str, Any] = field(default_factory=dict)

    def set_state(self, state: Any) -> None:
        """Take the attributes."""
        if not isinstance(state, dict):
            raise TypeError("expected a dictionary")
        self.state = state


def _stand_in(name: str) -> Callable[[], PickledModule]:
    return lambda: PickledModule(name)


def read_decoder(path: Path, data: memoryview) -> GeneratorWeights:
    """What the published `decoder.pkl` holds.

    Raises:
        PickleError: when it is damaged, asks for anything but the decoder's classes, or has none of its parts.
    """
    extra: dict[tuple[str, str], Any] = {(module, name): _stand_in(name) for module, name in CLASSES}
    for builtins in ("builtins", "__builtin__"):
        extra[builtins, "set"] = lambda items=(): set(items)
    decoder = read_torch_objects(path, data, lambda budget: {**tensor_globals(budget), **extra})
    if not isinstance(decoder, PickledModule) or decoder.name != "Decoder":
        raise PickleError(f"a pickle of {shown(getattr(decoder, 'name', decoder))}: expected DALL-E's decoder")
    arguments = {
        "vocab_size": _number(decoder, "vocab_size"),
        "n_init": _number(decoder, "n_init"),
        "n_hid": _number(decoder, "n_hid"),
        "blocks_per_group": _number(decoder, "n_blk_per_group"),
    }
    state = {f"synthesis.{name}": record.load().float() for name, record in _tensors(decoder)}
    return GeneratorWeights("DiscreteDecoder", arguments, state)


def _number(module: PickledModule, name: str) -> int:
    value = module.state.get(name)
    if not isinstance(value, int):
        raise PickleError(f"decoder: {name}: expected a whole number, got {shown(value)}")
    return value


def _tensors(module: PickledModule, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, TensorRecord]]:
    """Names and records of the tensors of a network and of all that it is made of."""
    if depth > 8:
        raise PickleError("a network of layers within layers without end")
    for name, value in _section(module, "_parameters"):
        if isinstance(value, TensorRecord):
            yield f"{prefix}{name}", value
    for name, part in _section(module, "_modules"):
        if isinstance(part, PickledModule):
            yield from _tensors(part, f"{prefix}{name}.", depth + 1)


def _section(module: PickledModule, key: str) -> list[tuple[str, Any]]:
    section = module.state.get(key)
    if not isinstance(section, dict):
        raise PickleError(f"{module.name}: {key}: expected a dictionary, got {shown(section)}")
    return list(section.items())


def is_decoder(data: memoryview) -> bool:
    """Whether a PyTorch file names DALL-E's decoder."""
    return is_torch_file(data) and bytes(data[: 1 << 16]).find(b"dall_e.decoder") >= 0
