"""The first StyleGAN in pickles of TensorFlow: variables and arguments of networks with AdaIN.

They come from NVIDIA's stylegan repository and as configuration A from stylegan2's. Activations have no gain there, the
layers before them have it; and from 128 pixels on up-sampling convolutions are transposed ones, with flipped kernels.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from text2latent.models.generators.formats.pickle_machine import PickleError, shown
from text2latent.models.generators.formats.weights import W_AVG, GeneratorWeights, Tensors, rename, training_notes

ADAIN = "4x4/Const/StyleMod/weight"
"""A variable that only networks with AdaIN have."""
FUSED_FROM = 128
ARGUMENTS = {
    "mapping_lrmul": "mapping_lr_multiplier",
    "mapping_nonlinearity": "mapping_activation",
    "nonlinearity": "activation",
    "blur_filter": "blur_filter",
    "truncation_cutoff": "truncation_cutoff",
}
FIXED: dict[str, Any] = {
    "use_wscale": True,
    "mapping_use_wscale": True,
    "use_styles": True,
    "use_instance_norm": True,
    "use_pixel_norm": False,
    "const_input_layer": True,
}
"""Arguments that have to be as the repository has them by default."""
LAYERS = (("Const", "Conv"), ("Conv0_up", "Conv1"))
"""Names of a block's two layers: of the first, of the others."""


def convert(
    mapping: tuple[dict[str, Any], dict[str, Tensor]],
    tensors: Tensors,
    average: Tensors,
    kwargs: dict[str, Any],
    ignored: frozenset[str],
) -> GeneratorWeights:
    """The generator.

    Args:
        mapping: arguments and state of the mapping network, as StyleGAN2 has it.
        tensors: variables of the synthesis network.
        average: those of the whole network, of which `dlatent_avg` is taken.
        kwargs: arguments of all networks.
        ignored: those of them that the tensors show or that don't change the network.

    Raises:
        PickleError: for a network with other parts, or of which a variable is missing.
    """
    changed = [name for name, value in FIXED.items() if name in kwargs and bool(kwargs[name]) is not value]
    if changed:
        raise PickleError(f"static_kwargs: {changed[0]} {shown(kwargs[changed[0]])}: expected {FIXED[changed[0]]}")
    ignored = (ignored | {"fused_scale", *FIXED}) - set(ARGUMENTS)
    named = rename(kwargs, ARGUMENTS, ignored, "static_kwargs")
    synthesis, state = _synthesis(tensors, kwargs.get("fused_scale", "auto"))
    arguments, mapping_state = mapping
    for name, value in mapping_state.items():
        # Their gain is before the bias: sqrt(2) (W x) + b = sqrt(2) (W x + b / sqrt(2)).
        is_bias = name.startswith("mapping.fc") and name.endswith("bias")
        state[name] = value / math.sqrt(2) if is_bias else value
    if "dlatent_avg" in average:
        state[W_AVG] = average.take("dlatent_avg", 1)
    state = {name: value.contiguous() for name, value in state.items()}
    return GeneratorWeights("StyleGAN1Generator", {**named, **arguments, **synthesis}, state, training_notes(kwargs))


def _synthesis(tensors: Tensors, fused: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    resolutions = [4]
    while f"{2 * resolutions[-1]}x{2 * resolutions[-1]}/Conv1/weight" in tensors:
        resolutions.append(2 * resolutions[-1])
    use_noise, state = "noise0" in tensors, {"synthesis.b4.const": tensors.take("4x4/Const/const", 4)[0]}
    channels = []
    for i, resolution in enumerate(resolutions):
        channels.append(tensors.shape(f"{resolution}x{resolution}/{LAYERS[i > 0][1]}/weight", 4)[3])
        for j, name in enumerate(LAYERS[i > 0]):
            theirs, ours = f"{resolution}x{resolution}/{name}", f"synthesis.b{resolution}"
            if name != "Const":
                flips = name == "Conv0_up" and (resolution >= FUSED_FROM if fused == "auto" else bool(fused))
                weight = tensors.take(f"{theirs}/weight", 4)
                state[f"{ours}.conv{j}.weight"] = (weight.flip(0, 1) if flips else weight).permute(3, 2, 0, 1)
            state |= {f"{ours}.style{j}.{key}": value for key, value in _layer(tensors, theirs, use_noise).items()}
            if use_noise:
                state[f"{ours}.style{j}.noise_const"] = tensors.take(f"noise{2 * i + j}", 4)[0, 0]
    last = f"{resolutions[-1]}x{resolutions[-1]}/ToRGB"
    state["synthesis.torgb.weight"] = tensors.take(f"{last}/weight", 4).permute(3, 2, 0, 1)
    state["synthesis.torgb_bias"] = tensors.take(f"{last}/bias", 1)
    tensors.finish()
    img_channels = len(state["synthesis.torgb_bias"])
    return {"block_channels": channels, "img_channels": img_channels, "use_noise": use_noise}, state


def _layer(tensors: Tensors, name: str, use_noise: bool) -> dict[str, Tensor]:
    state = {
        "bias": tensors.take(f"{name}/bias", 1),
        "affine.weight": tensors.take(f"{name}/StyleMod/weight", 2).t(),
        "affine.bias": tensors.take(f"{name}/StyleMod/bias", 1),
    }
    return {**state, "noise_strength": tensors.take(f"{name}/Noise/weight", 1)} if use_noise else state
