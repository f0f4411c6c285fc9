"""Checkpoints of weights alone: which part of a file is the generator, and whose names its tensors have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from text2latent.models.generators.formats import rosinality_stylegan1
from text2latent.models.generators.formats.pickle_machine import PickleError, shown
from text2latent.models.generators.formats.rosinality import read_rosinality
from text2latent.models.generators.formats.state_dicts import read_state_dict
from text2latent.models.generators.formats.torch_files import TensorRecord
from text2latent.models.generators.formats.unpickling import ArrayRecord, load_section, load_tensors
from text2latent.models.generators.formats.weights import GeneratorWeights

AVERAGES = ("G_ema", "g_ema", "params_ema", "g_running", "generator_ema", "ema")
SECTIONS = (*AVERAGES, "state_dict", "model_state_dict", "G", "g", "params", "generator", "model")
"""Under which names programs keep a generator's weights; moving averages go first."""
WRAPPERS = ("module.", "_orig_mod.")
"""What data-parallel training and `torch.compile` put before every name."""
PREFIXES = ("", "G_ema.", "g_ema.", "generator_ema.", "G.", "generator.", "decoder.")
"""What comes before the names of a generator's tensors where it is a part of something, such as of an encoder."""
SIGNATURES = {
    "synthesis.b4.conv1.weight": "official",
    "synthesis.input.freqs": "official",
    rosinality_stylegan1.SIGNATURE: "rosinality_stylegan1",
    "input.input": "rosinality",
    "style_conv1.modulated_conv.weight": "basicsr",
}
"""A tensor that only one family of networks has, and the family."""


BASICSR_NAMES = (
    (r"^style_mlp\.", "style."),
    (r"^constant_input\.weight$", "input.input"),
    (r"^style_(conv1|convs\.\d+)\.weight$", r"\1.noise.weight"),
    (r"^style_(conv1|convs\.\d+)\.", r"\1."),
    (r"\.modulated_conv\.", ".conv."),
    (r"^noises\.noise(\d+)$", r"noises.noise_\1"),
)


@dataclass(frozen=True)
class Found:
    """A generator in a checkpoint: its family, what names it in messages, and its tensors by name."""

    family: str
    place: str
    section: dict[str, Any]


def read_checkpoint(value: Any, file_bytes: int, given: Mapping[str, Any]) -> GeneratorWeights:
    """The generator of a checkpoint.

    Args:
        value: what `torch.save` wrote, with records in place of tensors: a state dictionary, or a dictionary that has
            one under a name of `SECTIONS`, and perhaps `latent_avg`.
        file_bytes: size of the file, which bounds that of its tensors.
        given: arguments of the network which the file doesn't have to say.

    Raises:
        PickleError: when it holds no generator that is known here.
    """
    if not isinstance(value, dict):
        raise PickleError(f"a PyTorch file that holds {shown(value)}: expected a dictionary of weights")
    found = find_generator(value)
    if found is None:
        raise PickleError(f"expected a generator's weights; it holds {_contents(value)}")
    return _convert(found, load_section(found.section, file_bytes, found.place), _average(value, file_bytes), given)


def read_tensors(state: Mapping[str, Tensor], given: Mapping[str, Any]) -> GeneratorWeights:
    """The generator of a state dictionary that has been read; arguments and errors as of `read_checkpoint`."""
    found = find_generator(dict(state))
    if found is None:
        raise PickleError(f"expected a generator's weights; it holds {_contents(dict(state))}")
    average = state.get("latent_avg")
    return _convert(found, found.section, None if average is None else _one_row(average), given)


def _convert(
    found: Found, state: Mapping[str, Tensor], average: Tensor | None, given: Mapping[str, Any]
) -> GeneratorWeights:
    if found.family == "official":
        return read_state_dict(state, given)
    if found.family == "rosinality_stylegan1":
        return rosinality_stylegan1.read_rosinality_stylegan1(state)
    if found.family == "basicsr":
        state = {_of_rosinality(name): value for name, value in state.items()}
    return read_rosinality(state, average)


def _of_rosinality(name: str) -> str:
    """Name in stylegan2-pytorch of a tensor of BasicSR, whose networks are the same otherwise."""
    for pattern, ours in BASICSR_NAMES:
        name = re.sub(pattern, ours, name)
    return name


def find_generator(value: dict[str, Any]) -> Found | None:
    """The first generator of a known family in a checkpoint, moving averages before others; None if there is none."""
    for place, section in _sections(value):
        plain = _without_wrappers(section)
        for prefix in PREFIXES:
            for tensor, family in SIGNATURES.items():
                if f"{prefix}{tensor}" in plain:
                    return Found(family, place, _below(plain, prefix))
    return None


def _sections(value: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    named = [(name, value[name]) for name in SECTIONS if isinstance(value.get(name), dict)]
    yield from ((name, section) for name, section in [*named, ("the file", value)])


def _without_wrappers(section: dict[str, Any]) -> dict[str, Any]:
    for wrapper in WRAPPERS:
        if any(isinstance(name, str) and name.startswith(wrapper) for name in section):
            section = {str(name).removeprefix(wrapper): value for name, value in section.items()}
    return section


def _below(section: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {str(name)[len(prefix) :]: value for name, value in section.items() if str(name).startswith(prefix)}


def _average(value: dict[str, Any], file_bytes: int) -> Tensor | None:
    """The mean latent beside the weights, [w_dim]: files have it so, or once for each layer."""
    record = value.get("latent_avg")
    if not isinstance(record, (TensorRecord, ArrayRecord)):
        return None
    return _one_row(load_tensors({"latent_avg": record}, file_bytes)["latent_avg"])


def _one_row(average: Tensor) -> Tensor:
    rows = average.reshape(-1, average.shape[-1]) if average.ndim else average.reshape(1, 1)
    if not rows.allclose(rows[:1].expand_as(rows), atol=1e-4):
        raise PickleError(f"latent_avg: expected one mean latent for all layers, got {len(rows)} that differ")
    return rows[0]


def _contents(value: dict[str, Any]) -> str:
    names = ", ".join(shown(str(name), 40) for name in list(value)[:3])
    return f"{names}{', ...' if len(value) > 3 else ''}" if value else "nothing"
