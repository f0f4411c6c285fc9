"""Network pickles of stylegan2-ada-pytorch and stylegan3: `G_ema`, by its constructor's arguments and its tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from text2latent.models.generators.formats.pickle_machine import PickleError, shown
from text2latent.models.generators.formats.torch_files import TensorRecord
from text2latent.models.generators.formats.unpickling import ArrayRecord, PersistentObject, load_tensors
from text2latent.models.generators.formats.weights import (
    BINOMIAL_TAPS,
    GeneratorWeights,
    first_size,
    idle_filters,
    rename,
    training_notes,
)

MAX_DEPTH = 8
MAX_MODULES = 10_000
POSITIONAL = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs", "synthesis_kwargs")
SIZES = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")
MAPPING = {
    "num_layers": "num_mapping_layers",
    "embed_features": "mapping_embed_features",
    "layer_features": "mapping_layer_features",
    "activation": "mapping_activation",
    "lr_multiplier": "mapping_lr_multiplier",
}
MAPPING_STYLEGAN3 = {name: MAPPING[name] for name in ("num_layers", "lr_multiplier")}
SYNTHESIS = {
    "stylegan2": (
        *("channel_base", "channel_max", "num_fp16_res", "architecture", "resample_filter", "conv_clamp"),
        *("use_noise", "activation", "kernel_size"),
    ),
    "stylegan3": (
        *("channel_base", "channel_max", "num_layers", "num_critical", "first_cutoff", "first_stopband"),
        *("last_stopband_rel", "margin_size", "output_scale", "num_fp16_res", "conv_kernel", "filter_size"),
        *("lrelu_upsampling", "use_radial_filters", "conv_clamp"),
    ),
}
IGNORED = frozenset(
    (
        *("w_avg_beta", "magnitude_ema_beta", "freeze_layers", "num_ws"),
        *("use_fp16", "fp16_channels_last", "channels_last", "fused_modconv_default"),
    )
)


def is_official(value: Any) -> bool:
    """Whether a pickle's value is a snapshot of an official PyTorch repository, or a network of one."""
    return isinstance(value, PersistentObject) or (
        isinstance(value, dict) and any(isinstance(part, PersistentObject) for part in value.values())
    )


def read_official(value: Any, file_bytes: int) -> GeneratorWeights:
    """The generator of a snapshot.

    Args:
        value: as `read_pickle` gives it: a dictionary with `G_ema` (or, without a moving average, `G`), or a generator
            alone.
        file_bytes: size of the file, which bounds that of its tensors.

    Raises:
        PickleError: when it holds no generator of these repositories.
    """
    network = (value.get("G_ema") or value.get("G")) if isinstance(value, dict) else value
    if not isinstance(network, PersistentObject):
        raise PickleError(f"G_ema: expected a generator, got {shown(network)}")
    synthesis = _part(network, "synthesis")
    kwargs, state = _constructor_arguments(network), load_tensors(dict(_tensors(network)), file_bytes)
    if "input" in _children(synthesis):
        return GeneratorWeights("StyleGAN3Generator", _stylegan3(kwargs), state, _notes(kwargs))
    if "b4" not in _children(synthesis):
        raise PickleError(f"{shown(network.class_name)}: expected a generator of StyleGAN2-ADA or StyleGAN3")
    size = first_size(state.get("synthesis.b4.const"))
    # Of images that aren't square forks give both sides, or neither.
    side = {"img_resolution": max(4 << i for i in range(16) if f"b{4 << i}" in _children(synthesis))} if size else {}
    arguments = {**_stylegan2({**kwargs, **side}, synthesis), **size}
    state |= idle_filters(state, arguments.get("resample_filter", BINOMIAL_TAPS))
    return GeneratorWeights("StyleGAN2Generator", arguments, state, _notes(kwargs))


def _notes(kwargs: dict[str, Any]) -> tuple[str, ...]:
    sections = (_section(kwargs, name) for name in ("mapping_kwargs", "synthesis_kwargs"))
    return training_notes([*kwargs, *(name for section in sections for name in section)])


def _children(module: PersistentObject) -> dict[str, PersistentObject]:
    children = module.state.get("_modules")
    if not isinstance(children, dict) or not all(isinstance(child, PersistentObject) for child in children.values()):
        raise PickleError(f"{shown(module.class_name)}: expected a network whose modules were pickled by torch_utils")
    return children


def _part(network: PersistentObject, name: str) -> PersistentObject:
    if name not in _children(network):
        raise PickleError(f"{shown(network.class_name)}: expected a generator with a {name} network")
    return _children(network)[name]


def _tensors(network: PersistentObject) -> Iterator[tuple[str, TensorRecord | ArrayRecord]]:
    """Names and records of all parameters and buffers; a network that repeats itself without end is refused."""
    pending, visited = [("", network, 0)], 0
    while pending:
        prefix, module, depth = pending.pop()
        visited += 1
        if depth > MAX_DEPTH or visited > MAX_MODULES:
            raise PickleError("a network of modules in modules without end")
        for kind in ("_parameters", "_buffers"):
            for name, record in (module.state.get(kind) or {}).items():
                if isinstance(record, TensorRecord):
                    yield f"{prefix}{name}", record
                elif record is not None:
                    raise PickleError(f"{shown(prefix + str(name))}: expected a tensor, got {shown(record)}")
        pending += [(f"{prefix}{name}.", child, depth + 1) for name, child in _children(module).items()]


def _constructor_arguments(network: PersistentObject) -> dict[str, Any]:
    args, kwargs = network.state.get("_init_args"), network.state.get("_init_kwargs")
    if not isinstance(args, tuple) or not isinstance(kwargs, dict) or len(args) > len(POSITIONAL):
        raise PickleError(f"{shown(network.class_name)}: expected the arguments of its constructor in the file")
    return {**dict(zip(POSITIONAL, args, strict=False)), **kwargs}


def _section(kwargs: dict[str, Any], name: str) -> dict[str, Any]:
    section = kwargs.get(name) or {}
    if not isinstance(section, dict):
        raise PickleError(f"{name}: expected keys and values, got {shown(section)}")
    return section


def _arguments(kwargs: dict[str, Any], mapping: dict[str, str], synthesis: tuple[str, ...]) -> dict[str, Any]:
    """Our constructor's arguments; StyleGAN2-ADA nests those of the synthesis network, StyleGAN3 does not."""
    sections = ("mapping_kwargs", "synthesis_kwargs")
    flat = {name: value for name, value in kwargs.items() if name not in sections}
    names = {name: name for name in (*SIZES, *synthesis)}
    return {
        **rename({**flat, **_section(kwargs, "synthesis_kwargs")}, names, IGNORED, "_init_kwargs"),
        **rename(_section(kwargs, "mapping_kwargs"), mapping, IGNORED, "mapping_kwargs"),
    }


def _stylegan3(kwargs: dict[str, Any]) -> dict[str, Any]:
    return _arguments(kwargs, MAPPING_STYLEGAN3, SYNTHESIS["stylegan3"])


def _stylegan2(kwargs: dict[str, Any], synthesis: PersistentObject) -> dict[str, Any]:
    """Both repositories write this class with other defaults, so what the layers were made with is read from them."""
    blocks = [block.state for name, block in _children(synthesis).items() if name.startswith("b")]
    first = _part(_children(synthesis)["b4"], "conv1").state
    made_with = {"conv_clamp": first["conv_clamp"]} if "conv_clamp" in first else {}
    if all("use_fp16" in block for block in blocks):
        made_with["num_fp16_res"] = sum(bool(block["use_fp16"]) for block in blocks)
    arguments = _arguments(kwargs, MAPPING, SYNTHESIS["stylegan2"])
    if arguments.get("resample_filter", BINOMIAL_TAPS) is None:
        arguments["resample_filter"] = [1]
    return arguments | rename(made_with, {name: name for name in made_with}, frozenset(), "b4.conv1")
