"""Network pickles of the TensorFlow StyleGAN repositories: `(G, D, Gs)`, of which `Gs` is taken, or `Gs` alone.

Their conventions differ from PyTorch's: kernels are [height, width, in, out], dense weights [in, out], kernels of
up-sampling convolutions are flipped, and style biases lack the one that is added to them at run time.
"""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import Tensor

from text2latent.models.generators.formats import tensorflow_stylegan1
from text2latent.models.generators.formats.pickle_machine import PickleError, shown
from text2latent.models.generators.formats.unpickling import ArrayRecord, TensorFlowNetwork, load_tensors
from text2latent.models.generators.formats.weights import (
    BINOMIAL_TAPS,
    W_AVG,
    GeneratorWeights,
    Tensors,
    first_size,
    rename,
    training_notes,
    with_filters,
)

MIN_VERSION = 4
MAX_LAYERS = 64
MAX_BLOCKS = 16
NEAREST_TAPS = [1, 1]
ARGUMENTS = {
    "mapping_lrmul": "mapping_lr_multiplier",
    "mapping_nonlinearity": "mapping_activation",
    "nonlinearity": "activation",
    "resample_kernel": "resample_filter",
    "conv_clamp": "conv_clamp",
    "num_fp16_res": "num_fp16_res",
}
# What the tensors' shapes show, what only training depends on, and how the network is called.
IGNORED = frozenset(
    (
        *("num_channels", "resolution", "latent_size", "label_size", "label_fmaps", "dlatent_size", "mapping_layers"),
        *("mapping_fmaps", "fmap_base", "fmap_decay", "fmap_min", "fmap_max", "architecture", "use_noise", "structure"),
        *("normalize_latents", "randomize_noise", "fused_modconv", "dtype", "dlatent_broadcast", "force_clean_graph"),
        *("truncation_psi", "truncation_cutoff", "truncation_psi_val", "truncation_cutoff_val", "dlatent_avg_beta"),
        *("w_avg_beta", "style_mixing_prob", "is_training", "is_validation", "is_template_graph", "return_dlatents"),
        *("mapping_func", "synthesis_func", "func_name", "fp16_channels_last"),
    )
)
LAYERS = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb", "Skip": "skip"}
RESOLUTION = re.compile(r"\d{1,5}x\d{1,5}/")
TOLD_SIZES = {
    "resolution": "img_resolution",
    "num_channels": "img_channels",
    "latent_size": "z_dim",
    "label_size": "c_dim",
    "dlatent_size": "w_dim",
    "mapping_layers": "num_mapping_layers",
    "architecture": "architecture",
}


def is_tensorflow(value: Any) -> bool:
    """Whether a pickle's value is a snapshot of a TensorFlow repository."""
    parts = value if isinstance(value, (tuple, list)) else [value]
    return any(isinstance(part, TensorFlowNetwork) for part in parts)


def read_tensorflow(value: Any, file_bytes: int) -> GeneratorWeights:
    """The moving average generator of a snapshot `(G, D, Gs)`.

    Args:
        value: as `read_pickle` gives it.
        file_bytes: size of the file, which bounds that of its tensors.

    Raises:
        PickleError: when it holds no StyleGAN, or no StyleGAN2 of version 4 or later.
    """
    network = _average_generator(value)
    parts = {name: _component(network, name) for name in ("mapping", "synthesis")}
    average, mapping_tensors, synthesis_tensors = (
        Tensors(_without_growth(_load_variables(part, file_bytes)), name)
        for name, part in {"Gs": network, **parts}.items()
    )
    kwargs = _static_kwargs([network, *parts.values()])
    is_first = tensorflow_stylegan1.ADAIN in synthesis_tensors
    version = network.state.get("version")
    if not is_first and (not isinstance(version, int) or version < MIN_VERSION):
        raise PickleError(f"a TensorFlow network of version {shown(version)}: expected at least {MIN_VERSION}")
    mapping, mapping_state = _convert_mapping(mapping_tensors, kwargs)
    if is_first:
        return tensorflow_stylegan1.convert((mapping, mapping_state), synthesis_tensors, average, kwargs, IGNORED)
    synthesis, synthesis_state = _convert_synthesis(synthesis_tensors)
    arguments = {**rename(kwargs, ARGUMENTS, IGNORED, "static_kwargs"), **mapping, **synthesis}
    if arguments.get("resample_filter", BINOMIAL_TAPS) is None:
        arguments["resample_filter"] = NEAREST_TAPS
    _require_told_sizes(kwargs, arguments)
    state = with_filters(mapping_state | synthesis_state, arguments.get("resample_filter", BINOMIAL_TAPS))
    state |= {W_AVG: average.take("dlatent_avg", 1)} if "dlatent_avg" in average else {}
    state = {key: value.contiguous() for key, value in state.items()}
    return GeneratorWeights("StyleGAN2Generator", arguments, state, training_notes(kwargs))


def _average_generator(value: Any) -> TensorFlowNetwork:
    if isinstance(value, TensorFlowNetwork):
        return value
    if len(value) != 3 or not isinstance(value[2], TensorFlowNetwork):
        raise PickleError(f"expected the three networks (G, D, Gs), got {len(value)} values")
    return value[2]


def _component(network: TensorFlowNetwork, name: str) -> TensorFlowNetwork:
    components = network.state.get("components")
    found = components.get(name) if isinstance(components, dict) else None
    if not isinstance(found, TensorFlowNetwork):
        raise PickleError(f"expected a generator with a {name} network")
    return found


def _static_kwargs(networks: list[TensorFlowNetwork]) -> dict[str, Any]:
    """Arguments of the network and its components, each of which records those that it was given itself."""
    kwargs = [network.state.get("static_kwargs") for network in networks]
    if not all(isinstance(found, dict) for found in kwargs):
        raise PickleError("static_kwargs: expected keys and values")
    return {name: value for found in reversed(kwargs) for name, value in found.items()}


def _load_variables(network: TensorFlowNetwork, file_bytes: int) -> dict[str, Tensor]:
    """Variables by name; those without dimensions may be plain numbers."""
    pairs = network.state.get("variables")
    if not isinstance(pairs, list) or not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs):
        raise PickleError("variables: expected pairs of a name and an array")
    arrays = {str(name): value for name, value in pairs if isinstance(value, ArrayRecord)}
    numbers = {str(name): torch.tensor(float(value)) for name, value in pairs if isinstance(value, (int, float))}
    if len(arrays) + len(numbers) < len(pairs):
        raise PickleError("variables: expected each name once, with an array")
    return load_tensors(arrays, file_bytes) | numbers


def _without_growth(variables: dict[str, Tensor]) -> dict[str, Tensor]:
    """Variables of a network that was built to grow (configurations A to D), as those of its last resolution."""
    grown = variables.get("lod")
    if grown is not None and grown.numel() == 1 and grown.item() > 0:
        raise PickleError(f"lod {grown.item():g}: the network hasn't grown to its last resolution; expected 0")
    blocks = {match[0] for match in map(RESOLUTION.match, variables) if match}
    last = f"{max(blocks, key=lambda block: int(block.partition('x')[0]), default='')}ToRGB/"
    renamed = {name.replace("ToRGB_lod0/", last): value for name, value in variables.items() if name != "lod"}
    return {name: value for name, value in renamed.items() if not name.startswith("ToRGB_lod")}


def _convert_mapping(tensors: Tensors, kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    num_layers = next((i for i in range(MAX_LAYERS) if f"Dense{i}/weight" not in tensors), MAX_LAYERS)
    label_arguments, state = _convert_labels(tensors)
    (in_features, hidden), (_, w_dim) = (tensors.shape(f"Dense{i}/weight", 2) for i in (0, max(num_layers - 1, 0)))
    for i in range(num_layers):
        state[f"mapping.fc{i}.weight"] = tensors.take(f"Dense{i}/weight", 2).t()
        state[f"mapping.fc{i}.bias"] = tensors.take(f"Dense{i}/bias", 1)
    tensors.finish()
    arguments = {
        **label_arguments,
        "z_dim": in_features - (label_arguments["mapping_embed_features"] or 0),
        "w_dim": w_dim,
        "num_mapping_layers": num_layers,
        "mapping_layer_features": hidden,
    }
    return arguments | ({"mapping_normalization": "none"} if kwargs.get("normalize_latents") is False else {}), state


def _convert_labels(tensors: Tensors) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Arguments and state of the label embedding.

    StyleGAN2 concatenates z and a plain matrix product, and normalises both together; StyleGAN2-ADA has a dense layer
    and normalises each. Our layer multiplies by 1 / sqrt(c_dim), which the plain matrix has to make up for.
    """
    if "LabelConcat/weight" in tensors:
        weight = tensors.take("LabelConcat/weight", 2)
        c_dim, width = weight.shape
        state = {"mapping.embed.weight": weight.t() * math.sqrt(c_dim), "mapping.embed.bias": torch.zeros(width)}
        return {"c_dim": c_dim, "mapping_embed_features": width, "mapping_normalization": "joint"}, state
    if "LabelEmbed/weight" in tensors:
        weight = tensors.take("LabelEmbed/weight", 2)
        state = {"mapping.embed.weight": weight.t(), "mapping.embed.bias": tensors.take("LabelEmbed/bias", 1)}
        return {"c_dim": weight.shape[0], "mapping_embed_features": weight.shape[1]}, state
    return {"c_dim": 0, "mapping_embed_features": None}, {}


def _convert_synthesis(tensors: Tensors) -> tuple[dict[str, Any], dict[str, Tensor]]:
    blocks = find_blocks(tensors)
    arguments = _synthesis_arguments(tensors, blocks)
    const = tensors.take(f"{blocks[0]}/Const/const", 4)[0]
    state = {"synthesis.b4.const": const}
    for number, block in enumerate(blocks):
        for theirs, ours in LAYERS.items():
            name, target = f"{block}/{theirs}", f"synthesis.b{4 << number}.{ours}"
            if f"{name}/weight" in tensors:
                state |= {f"{target}.{key}": value for key, value in _convert_layer(tensors, name).items()}
        state |= _convert_noises(tensors, number) if arguments["use_noise"] else {}
    tensors.finish()
    return {**arguments, **first_size(const)}, state


def find_blocks(tensors: Tensors) -> list[str]:
    """Names of the blocks, such as 4x4 and 8x8: height and width, both doubled from one to the next."""
    first = tensors.prefix_of("/Const/const") or "4x4"
    if not RESOLUTION.fullmatch(f"{first}/"):
        raise PickleError(f"synthesis: {shown(first)}/Const/const: expected a block named by its height and width")
    height, width = map(int, first.split("x"))
    names = [f"{height << i}x{width << i}" for i in range(MAX_BLOCKS)]
    count = next((i for i in range(1, MAX_BLOCKS) if f"{names[i]}/Conv1/weight" not in tensors), MAX_BLOCKS)
    return names[:count]


def _synthesis_arguments(tensors: Tensors, blocks: list[str]) -> dict[str, Any]:
    convolutions = [f"{blocks[0]}/Conv", *(f"{block}/Conv1" for block in blocks[1:])]
    architecture = "skip" if f"{blocks[0]}/ToRGB/weight" in tensors else "orig"
    is_resnet = any(f"{block}/Skip/weight" in tensors for block in blocks)
    return {
        "img_resolution": 2 << len(blocks),
        "img_channels": tensors.shape(f"{blocks[-1]}/ToRGB/weight", 4)[3],
        "block_channels": [tensors.shape(f"{name}/weight", 4)[3] for name in convolutions],
        "architecture": "resnet" if is_resnet else architecture,
        "use_noise": "noise0" in tensors,
    }


def _convert_layer(tensors: Tensors, name: str) -> dict[str, Tensor]:
    weight = tensors.take(f"{name}/weight", 4)
    flipped = weight.flip(0, 1) if name.endswith(("_up", "Skip")) else weight
    state = {"weight": flipped.permute(3, 2, 0, 1)}
    if not name.endswith("Skip"):
        state["affine.weight"] = tensors.take(f"{name}/mod_weight", 2).t()
        state["affine.bias"] = tensors.take(f"{name}/mod_bias", 1) + 1
        state["bias"] = tensors.take(f"{name}/bias", 1)
    if f"{name}/noise_strength" in tensors:
        state["noise_strength"] = tensors.take(f"{name}/noise_strength", 0)
    return state


def _convert_noises(tensors: Tensors, block: int) -> dict[str, Tensor]:
    """Noise maps of a block, counted from 0, whose last convolution has the number 2 * block of all."""
    layers = {"conv1": 0} if block == 0 else {"conv0": 2 * block - 1, "conv1": 2 * block}
    return {
        f"synthesis.b{4 << block}.{layer}.noise_const": tensors.take(f"noise{number}", 4)[0, 0]
        for layer, number in layers.items()
    }


def _require_told_sizes(kwargs: dict[str, Any], arguments: dict[str, Any]) -> None:
    """Refuse a file whose arguments contradict the shapes of its tensors."""
    for theirs, ours in TOLD_SIZES.items():
        if theirs == "resolution" and "first_size" in arguments:
            continue  # one number doesn't give two sides
        if theirs in kwargs and kwargs[theirs] != arguments[ours]:
            raise PickleError(
                f"static_kwargs: {theirs} {shown(kwargs[theirs])}: the tensors are of a network with {arguments[ours]}"
            )
