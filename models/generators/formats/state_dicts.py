"""State dictionaries of StyleGAN2-ADA and StyleGAN3: tensors under the official names, without the arguments.

Most arguments follow from names and shapes. Those of StyleGAN3's filters are tried until the filters in the file come
out; what no tensor shows is taken as the originals' training scripts set it, and noted.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from text2latent.models.generators.formats.pickle_machine import PickleError
from text2latent.models.generators.formats.weights import (
    BINOMIAL_TAPS,
    GeneratorWeights,
    first_size,
    idle_filters,
    with_filters,
)
from text2latent.models.network import Unfilled

MAX_LAYERS = 64
MAX_CRITICAL = 8
FILTER_ERROR = 5e-4
"""By how much taps may be off that were stored in half precision."""
BLOCK = re.compile(r"synthesis\.b(\d{1,6})\.conv1\.weight")
LAYER = re.compile(r"synthesis\.L(\d{1,4})_(\d{1,6})_(\d{1,6})\.weight")
FILTERS = re.compile(r"synthesis\.L\w+\.(up|down)_filter")
UNSAID_STYLEGAN2: dict[str, Any] = {
    "activation": "lrelu",
    "conv_clamp": 256,
    "mapping_activation": "lrelu",
    "mapping_lr_multiplier": 0.01,
    "num_fp16_res": 4,
}
UNSAID_STYLEGAN3: dict[str, Any] = {
    "conv_clamp": 256,
    "mapping_lr_multiplier": 0.01,
    "num_fp16_res": 4,
    "output_scale": 0.25,
}
FILTER_ARGUMENTS: dict[str, Any] = {
    "first_cutoff": 2,
    "first_stopband": 2**2.1,
    "last_stopband_rel": 2**0.3,
    "margin_size": 10,
    "num_critical": 2,
    "filter_size": 6,
    "lrelu_upsampling": 2,
}
"""What StyleGAN3's filters follow from, and how most networks have it."""


def read_state_dict(state: Mapping[str, Tensor], given: Mapping[str, Any]) -> GeneratorWeights:
    """The generator of a state dictionary under the official names.

    Args:
        given: arguments that take the place of what would be assumed or derived.

    Raises:
        PickleError: when a tensor is missing that an argument follows from, or the filters follow from no arguments.
    """
    alias_free = "synthesis.input.freqs" in state
    unsaid = UNSAID_STYLEGAN3 if alias_free else UNSAID_STYLEGAN2
    shared = {**unsaid, **_mapping(state, alias_free)}
    notes = _notes({name: value for name, value in unsaid.items() if name not in given})
    if alias_free:
        arguments = _stylegan3(state, {**shared, **_layers(state)}, given)
        return GeneratorWeights("StyleGAN3Generator", arguments, dict(state), notes)
    arguments = {**shared, **_blocks(state), **given}
    taps = arguments["resample_filter"]
    filled = with_filters(state, taps) | dict(state) | idle_filters(state, taps)
    return GeneratorWeights("StyleGAN2Generator", arguments, filled, notes)


def _notes(assumed: dict[str, Any]) -> tuple[str, ...]:
    if not assumed:
        return ()
    said = ", ".join(f"{name} {value}" for name, value in assumed.items())
    return (f"the weights don't show {said}: taken so; --generator-args FILE says otherwise",)


def _shape(state: Mapping[str, Tensor], name: str, ndim: int) -> list[int]:
    if name not in state:
        raise PickleError(f"{name}: missing; expected all tensors of a generator")
    shape = list(state[name].shape)
    if len(shape) != ndim or min(shape, default=1) < 1:
        raise PickleError(f"{name}: expected {ndim} dimensions, got shape {shape}")
    return shape


def _mapping(state: Mapping[str, Tensor], alias_free: bool) -> dict[str, Any]:
    num_layers = next(i for i in itertools.count() if f"mapping.fc{i}.weight" not in state)
    hidden, in_features = _shape(state, "mapping.fc0.weight", 2)
    w_dim = _shape(state, f"mapping.fc{num_layers - 1}.weight", 2)[0]
    embed, c_dim = _shape(state, "mapping.embed.weight", 2) if "mapping.embed.weight" in state else (0, 0)
    sizes = {"z_dim": in_features - embed, "c_dim": c_dim, "w_dim": w_dim, "num_mapping_layers": num_layers}
    if alias_free:
        return sizes
    widths = {"mapping_embed_features": embed or None, "mapping_layer_features": hidden if num_layers > 1 else None}
    return sizes | widths


def _blocks(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of StyleGAN2's synthesis network."""
    resolutions = sorted(int(match[1]) for match in map(BLOCK.fullmatch, state) if match)
    weights = [_shape(state, f"synthesis.b{resolution}.conv1.weight", 4) for resolution in resolutions]
    last = f"synthesis.b{resolutions[-1]}"
    plain = "skip" if "synthesis.b4.torgb.weight" in state else "orig"
    return {
        "img_resolution": resolutions[-1],
        "img_channels": _shape(state, f"{last}.torgb.weight", 4)[0],
        "block_channels": [weight[0] for weight in weights],
        "kernel_size": weights[0][2],
        "architecture": "resnet" if "synthesis.b8.skip.weight" in state else plain,
        "use_noise": "synthesis.b4.conv1.noise_strength" in state,
        "resample_filter": _taps(state.get(f"{last}.resample_filter")),
        **first_size(state.get("synthesis.b4.const")),
    }


def _taps(kernel: Tensor | None) -> list[float]:
    """Taps of a low-pass kernel [k, k] or [k]."""
    if kernel is None:
        return list(BINOMIAL_TAPS)
    if kernel.ndim not in (1, 2) or not kernel.numel():
        raise PickleError(f"resample_filter: expected a kernel, got shape {list(kernel.shape)}")
    taps = kernel if kernel.ndim == 1 else kernel.sum(dim=0)
    return [float(tap) for tap in taps]


def _layers(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of StyleGAN3's synthesis network that its names and shapes show."""
    found = sorted(tuple(map(int, match.groups())) for match in map(LAYER.fullmatch, state) if match)
    if not 2 <= len(found) <= MAX_LAYERS or [layer[0] for layer in found] != list(range(len(found))):
        raise PickleError(f"expected 2 to {MAX_LAYERS} layers synthesis.L0_... and so on, got {len(found)}")
    number, size, channels = found[0]
    radial = [value.ndim == 2 for name, value in state.items() if name.endswith("down_filter")]
    return {
        "img_resolution": found[-1][1],
        "img_channels": found[-1][2],
        "num_layers": len(found) - 1,
        "layer_channels": [layer[2] for layer in found[:-1]],
        "conv_kernel": _shape(state, f"synthesis.L{number}_{size}_{channels}.weight", 4)[2],
        "use_radial_filters": any(radial),
    }


def _stylegan3(state: Mapping[str, Tensor], known: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments: those of `known`, and of filters that are the file's.

    Raises:
        PickleError: when none of those that were tried gives them.
    """
    tried = list(_filter_arguments(state, known, given))
    for arguments in tried:
        if _has_these_filters(state, arguments):
            return arguments
    names = ", ".join(FILTER_ARGUMENTS)
    raise PickleError(
        f"the filters in it don't follow from the usual arguments of StyleGAN3; expected --generator-args FILE with "
        f"those of {names} that differ from {', '.join(f'{value:.4g}' for value in FILTER_ARGUMENTS.values())}"
    )


def _filter_arguments(
    state: Mapping[str, Tensor], known: dict[str, Any], given: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    critical = sorted(range(min(known["num_layers"], MAX_CRITICAL)), key=lambda count: abs(count - 2))
    taps = next((len(value) for name, value in state.items() if re.search(r"\.L0_\w+\.up_filter$", name)), 0)
    for num_critical, lrelu_upsampling in itertools.product(critical, (2, 4, 1)):
        filter_size = taps // lrelu_upsampling if taps else FILTER_ARGUMENTS["filter_size"]
        found = {"num_critical": num_critical, "lrelu_upsampling": lrelu_upsampling, "filter_size": filter_size}
        yield {**known, **FILTER_ARGUMENTS, **found, **given}


def _has_these_filters(state: Mapping[str, Tensor], arguments: dict[str, Any]) -> bool:
    from text2latent.models.generators.stylegan3 import StyleGAN3Generator

    try:
        with Unfilled(state):
            made = StyleGAN3Generator(**arguments).state_dict()
    except (ValueError, TypeError, OverflowError, RuntimeError):
        return False
    filters = {name: value for name, value in made.items() if FILTERS.fullmatch(name)}
    expected = {name: value for name, value in state.items() if FILTERS.fullmatch(name)}
    return filters.keys() == expected.keys() and all(
        value.shape == expected[name].shape and value.allclose(expected[name], atol=FILTER_ERROR)
        for name, value in filters.items()
    )
