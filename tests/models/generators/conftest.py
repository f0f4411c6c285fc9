"""Writers of foreign formats: networks of ours as StyleGAN's repositories and ports would have saved them."""

from __future__ import annotations

import math
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from text2latent.models.generators.base import Generator
from text2latent.models.generators.layers import fir_kernel
from text2latent.models.generators.stylegan2 import StyleGAN2Generator

SOURCE = "import pathlib; pathlib.Path('CANARY').touch()"
MAPPING_KWARGS = {
    "num_mapping_layers": "num_layers",
    "mapping_embed_features": "embed_features",
    "mapping_layer_features": "layer_features",
    "mapping_activation": "activation",
    "mapping_lr_multiplier": "lr_multiplier",
}
SIZES = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")
OURS_ONLY = ("block_channels", "first_size", "layer_channels", "mapping_normalization")


def _stand_in(module: str, name: str, value: Any) -> Any:
    """A function or class that pickles as `module.name`, which this environment does not have."""
    value.__module__, value.__qualname__, value.__name__ = module, name, name
    parts = module.split(".")
    for i in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:i]), types.ModuleType(".".join(parts[:i])))
    setattr(sys.modules[module], name, value)
    return value


@pytest.fixture
def foreign_modules(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """Names of modules that foreign pickles refer to, for as long as a test writes such pickles."""
    roots = ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util", "dnnlib.tflib", "dnnlib.tflib.network")
    for root in roots:
        monkeypatch.setitem(sys.modules, root, types.ModuleType(root))
    return types.SimpleNamespace(
        reconstruct=_stand_in("torch_utils.persistence", "_reconstruct_persistent_obj", lambda meta: meta),
        network=_stand_in("dnnlib.tflib.network", "Network", type("Network", (), {})),
        easy_dict=_stand_in("dnnlib.util", "EasyDict", type("EasyDict", (dict,), {})),
    )


class Persistent:
    """An object that pickles as `torch_utils.persistence` pickles a module."""

    def __init__(self, reconstruct: Callable[..., Any], module: nn.Module, **attributes: Any) -> None:
        children = {
            name: Persistent(reconstruct, child, **_attributes(child)) for name, child in module.named_children()
        }
        state = {
            "training": False,
            "_parameters": OrderedDict((n, nn.Parameter(p.detach().clone().contiguous())) for n, p in own(module, "p")),
            "_buffers": OrderedDict((name, buffer.clone().contiguous()) for name, buffer in own(module, "b")),
            "_non_persistent_buffers_set": set(),
            "_modules": OrderedDict(children),
            "gain": np.sqrt(2),
            **attributes,
        }
        self.meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": type(module).__name__,
                     "state": state}  # fmt: skip
        self.reconstruct = reconstruct

    def __reduce__(self) -> Any:
        return self.reconstruct, (self.meta,)


def own(module: nn.Module, kind: str) -> list[tuple[str, Tensor]]:
    return list((module.named_parameters if kind == "p" else module.named_buffers)(recurse=False))


def _attributes(module: nn.Module) -> dict[str, Any]:
    found = {name: getattr(module, name) for name in ("conv_clamp", "activation_gain") if hasattr(module, name)}
    return {**found, "use_fp16": False}


def official_kwargs(generator: Generator) -> dict[str, Any]:
    """Arguments of the official constructor: nested for StyleGAN2-ADA, flat for StyleGAN3."""
    config = {key: value for key, value in generator.config.items() if not key.startswith("_") and key not in OURS_ONLY}
    sizes = {key: config.pop(key) for key in SIZES}
    mapping = {theirs: config.pop(ours) for ours, theirs in MAPPING_KWARGS.items() if ours in config}
    config = {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}
    nested = {"synthesis_kwargs": config} if isinstance(generator, StyleGAN2Generator) else config
    if nested is config:
        assert mapping.pop("layer_features") is None  # which that of StyleGAN3 can't set
    return {**sizes, "mapping_kwargs": mapping, **nested}


@pytest.fixture
def write_official(foreign_modules: types.SimpleNamespace) -> Callable[..., Path]:
    """Function (path, generator, protocol, edit, arrange) -> path of an official snapshot.

    `edit` may change G_ema's state, `arrange` makes something else of the snapshot.
    """

    def write(
        path: Path,
        generator: Generator,
        protocol: int = 4,
        edit: Callable[[dict[str, Any]], None] = lambda state: None,
        arrange: Callable[[dict[str, Any]], Any] = dict,
    ) -> Path:
        network = Persistent(
            foreign_modules.reconstruct, generator, _init_args=(), _init_kwargs=official_kwargs(generator)
        )
        for name, block in network.meta["state"]["_modules"]["synthesis"].meta["state"]["_modules"].items():
            if name.startswith("b"):
                # The originals make these layers without telling them the filter, as they have no use for it.
                layer = block.meta["state"]["_modules"]["conv1"].meta["state"]
                layer["_buffers"]["resample_filter"] = fir_kernel([1, 3, 3, 1])
        edit(network.meta["state"])
        settings = foreign_modules.easy_dict(class_name="training.dataset.ImageFolderDataset", path="/data", xflip=True)
        snapshot = {"G": None, "D": None, "G_ema": network, "training_set_kwargs": settings, "augment_pipe": None}
        path.write_bytes(pickle.dumps(arrange(snapshot), protocol))
        return path

    return write


def _hwio(weight: Tensor, flip: bool) -> Any:
    kernel = weight.detach().permute(2, 3, 1, 0)
    return (kernel.flip(0, 1) if flip else kernel).contiguous().numpy()


def _tensorflow_layer(name: str, layer: nn.Module) -> list[tuple[str, Any]]:
    flip = name.endswith(("_up", "Skip"))
    found = [(f"{name}/weight", _hwio(layer.weight, flip))]
    if hasattr(layer, "affine"):
        found.append((f"{name}/mod_weight", layer.affine.weight.detach().t().contiguous().numpy()))
        found.append((f"{name}/mod_bias", layer.affine.bias.detach().numpy() - 1))
        found.append((f"{name}/bias", layer.bias.detach().numpy()))
    if hasattr(layer, "noise_strength"):
        found.append((f"{name}/noise_strength", layer.noise_strength.detach().numpy()[()]))
    return found


def tensorflow_synthesis(generator: StyleGAN2Generator) -> list[tuple[str, Any]]:
    variables: list[tuple[str, Any]] = []
    number = 0
    for resolution in generator.synthesis.block_resolutions:
        block, prefix = getattr(generator.synthesis, f"b{resolution}"), f"{resolution}x{resolution}"
        names = {"conv0": "Conv0_up", "conv1": "Conv" if resolution == 4 else "Conv1", "torgb": "ToRGB", "skip": "Skip"}
        if resolution == 4:
            variables.append((f"{prefix}/Const/const", block.const.detach()[None].numpy()))
        for ours, theirs in names.items():
            layer = getattr(block, ours, None)
            if layer is None:
                continue
            variables += _tensorflow_layer(f"{prefix}/{theirs}", layer)
            if hasattr(layer, "noise_const"):
                variables.append((f"noise{number}", layer.noise_const[None, None].numpy()))
                number += 1
    return variables


def tensorflow_mapping(generator: StyleGAN2Generator) -> list[tuple[str, Any]]:
    """Variables of the mapping network under their TensorFlow names, labels as StyleGAN2 or StyleGAN2-ADA has them."""
    mapping, variables = generator.mapping, []
    for i in range(generator.config.num_mapping_layers):
        layer = getattr(mapping, f"fc{i}")
        variables.append((f"Dense{i}/weight", layer.weight.detach().t().contiguous().numpy()))
        variables.append((f"Dense{i}/bias", layer.bias.detach().numpy()))
    if generator.c_dim and generator.config.mapping_normalization == "joint":
        weight = mapping.embed.weight.detach().t() / math.sqrt(generator.c_dim)
        variables.append(("LabelConcat/weight", weight.contiguous().numpy()))
    elif generator.c_dim:
        variables.append(("LabelEmbed/weight", mapping.embed.weight.detach().t().contiguous().numpy()))
        variables.append(("LabelEmbed/bias", mapping.embed.bias.detach().numpy()))
    return variables


@pytest.fixture
def write_tensorflow(foreign_modules: types.SimpleNamespace) -> Callable[..., Path]:
    """Function (path, generator, version, protocol, rewrite, arrange, **static_kwargs) -> path of (G, D, Gs)."""

    def network(version: int, static_kwargs: dict[str, Any], variables: Any, **components: Any) -> Any:
        found = foreign_modules.network()
        found.__dict__ = {
            "version": version,
            "name": "G",
            "static_kwargs": foreign_modules.easy_dict(static_kwargs),
            "components": foreign_modules.easy_dict(components),
            "build_module_src": SOURCE,
            "build_func_name": "G_main",
            "variables": variables,
        }
        return found

    def write(
        path: Path,
        generator: StyleGAN2Generator,
        version: int = 4,
        protocol: int = 2,
        rewrite: Callable[[list[tuple[str, Any]]], list[tuple[str, Any]]] = list,
        arrange: Callable[[tuple[Any, ...]], Any] = tuple,
        **static_kwargs: Any,
    ) -> Path:
        kwargs = {
            "resample_kernel": list(generator.config.resample_filter),
            "nonlinearity": generator.config.activation,
            "label_size": generator.c_dim,
            **static_kwargs,
        }
        parts = {
            "synthesis": network(version, {}, rewrite(tensorflow_synthesis(generator))),
            "mapping": network(version, {}, tensorflow_mapping(generator)),
        }
        average = [("dlatent_avg", generator.mapping.w_avg.numpy())]
        full = network(version, kwargs, average, **parts)
        snapshot = (network(version, kwargs, []), network(version, {}, []), full)
        path.write_bytes(pickle.dumps(arrange(snapshot), protocol))
        return path

    return write


def rosinality_state(generator: StyleGAN2Generator) -> dict[str, Tensor]:
    """State dictionary under the names of stylegan2-pytorch."""
    kernel = generator.synthesis.b4.resample_filter * 4
    state: dict[str, Tensor] = OrderedDict()
    for i in range(generator.config.num_mapping_layers):
        layer = getattr(generator.mapping, f"fc{i}")
        state |= {f"style.{i + 1}.weight": layer.weight.data, f"style.{i + 1}.bias": layer.bias.data}
    state["input.input"] = generator.synthesis.b4.const.data[None]
    convolutions = [layer for block in generator.synthesis.blocks() for layer in block.convolutions()]
    for i, layer in enumerate(convolutions):
        name = "conv1" if i == 0 else f"convs.{i - 1}"
        state[f"{name}.conv.weight"] = layer.weight.data[None]
        if layer.up:
            state[f"{name}.conv.blur.kernel"] = kernel
        state |= {f"{name}.conv.modulation.{kind}": getattr(layer.affine, kind).data for kind in ("weight", "bias")}
        state |= {f"{name}.noise.weight": layer.noise_strength.data[None], f"{name}.activate.bias": layer.bias.data}
        state[f"noises.noise_{i}"] = layer.noise_const[None, None]
    for i, block in enumerate(generator.synthesis.blocks()):
        name = "to_rgb1" if i == 0 else f"to_rgbs.{i - 1}"
        state |= {f"{name}.bias": block.torgb.bias.data[None, :, None, None]}
        state |= {f"{name}.conv.weight": block.torgb.weight.data[None]}
        state |= {f"{name}.conv.modulation.{k}": getattr(block.torgb.affine, k).data for k in ("weight", "bias")}
        if i:
            state[f"{name}.upsample.kernel"] = kernel
    return {name: value.clone().contiguous() for name, value in state.items()}


@pytest.fixture
def write_rosinality() -> Callable[..., Path]:
    """Function (path, generator, zipped, **more) -> path of a checkpoint with `g_ema` and `more`."""

    def write(path: Path, generator: StyleGAN2Generator, zipped: bool = True, **more: Any) -> Path:
        checkpoint = {"g_ema": OrderedDict(rosinality_state(generator)), **more}
        torch.save(checkpoint, path, _use_new_zipfile_serialization=zipped)
        return path

    return write
