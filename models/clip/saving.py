"""CLIPs that are made here: open_clip models with random weights, and the folders that they are written to.

The folder layout is open_clip's own (`open_clip_config.json` beside `open_clip_model.safetensors`), so that plain
`open_clip.create_model_from_pretrained("local-dir:FOLDER")` loads what `save_hub_folder` writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from text2latent.common.files import replacing
from text2latent.models.clip.files import WEIGHTS_NAME
from text2latent.models.clip.published import CONFIG_NAME


def build_clip(config: Mapping[str, Any]) -> Any:
    """Build an open_clip model with random weights.

    Args:
        config: what `open_clip_config.json` holds: `model_cfg` and `preprocess_cfg`.

    Returns:
        An `open_clip.model.CustomTextCLIP`, a `CoCa` where the config has a decoder, or a `CLIP` where it does not ask
        for `custom_text` or a text model of the transformers library.
    """
    from open_clip.coca_model import CoCa
    from open_clip.model import CLIP, CustomTextCLIP, set_model_preprocess_cfg
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    arguments = deepcopy(dict(config["model_cfg"]))
    custom = arguments.pop("custom_text", False) or "hf_model_name" in arguments["text_cfg"]
    own_tower = CoCa if "multimodal_cfg" in arguments else CustomTextCLIP
    model = (own_tower if custom else CLIP)(**arguments)
    preprocess = {**config.get("preprocess_cfg", {}), "size": model.visual.image_size}
    set_model_preprocess_cfg(model, merge_preprocess_dict(PreprocessCfg(), preprocess))
    return model


def save_hub_folder(
    model: nn.Module, config: Mapping[str, Any], folder: str | Path, dtype: torch.dtype = torch.float16
) -> None:
    """Write a model as a folder that open_clip loads as `local-dir:FOLDER`; each file appears complete or not at all.

    Args:
        model: an open_clip model.
        config: its `model_cfg` and `preprocess_cfg`.
        folder: made where it is missing; a model that it holds is replaced.
        dtype: of the weights on disk; open_clip loads them as float32.

    Raises:
        ValueError: when a weight is not finite in `dtype`.
    """
    from safetensors.torch import save_file

    weights = {name: _stored(name, tensor, dtype) for name, tensor in model.state_dict().items()}
    with (
        replacing(Path(folder) / CONFIG_NAME) as config_part,
        replacing(Path(folder) / WEIGHTS_NAME) as weights_part,
    ):
        save_file(weights, weights_part)
        config_part.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _stored(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    stored = tensor.detach().cpu().to(dtype if tensor.is_floating_point() else tensor.dtype)
    if not stored.isfinite().all():
        raise ValueError(f"weight {name}: expected finite values in {dtype}")
    return stored.clone(memory_format=torch.contiguous_format)
