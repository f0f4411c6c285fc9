"""Text towers in folders of their own, made for the images of another CLIP: M-CLIP's, and sentence-transformers'.

Both take the mean of a text model's last states over a text's tokens and map it linearly into the space of that CLIP's
images: Carlsson et al., "Cross-lingual and multilingual CLIP" (LREC 2022), and Reimers and Gurevych, "Making
monolingual sentence embeddings multilingual using knowledge distillation" (arXiv:2004.09813). The transformers library
builds the text model; no code of a folder is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from text2latent.common.errors import InputError
from text2latent.common.extras import require_extra
from text2latent.models.clip.arguments import ClipArguments
from text2latent.models.clip.files import WEIGHTS_NAMES, find_folder
from text2latent.models.clip.published import CONFIG_NAME as OPEN_CLIP_CONFIG
from text2latent.models.clip.settings import digest_of
from text2latent.models.clip.transformers_clip import TransformersTokenizer
from text2latent.models.clip.transformers_folder import (
    CONFIG_NAME,
    KINDS,
    OWN_CODE,
    build_config,
    build_model,
    choose_context_length,
    is_transformers_folder,
    read_files,
    read_json,
    read_tokenizer,
    sha256_of_files,
    weights_files,
)

MODULES_NAME = "modules.json"
M_CLIP = "M-CLIP"
"""M-CLIP's `model_type`."""
M_CLIP_TOWER, M_CLIP_MAP = "transformer.", "LinearTransformation."
M_CLIP_BASES = {"xlm-roberta": "xlm-roberta", "labse": "bert"}
"""What the name of the text model inside has in it, and its `model_type`."""
HEAD_WIDTH = 64
"""Channels of an attention head of the text models that M-CLIP is of: XLM-RoBERTa and LaBSE, which is a BERT."""
MODEL_CLASSES = {
    "bert": "Bert",
    "distilbert": "DistilBert",
    "xlm-roberta": "XLMRoberta",
    "roberta": "Roberta",
    "mpnet": "MPNet",
    "camembert": "Camembert",
}
"""How the library's classes of text models begin, by `model_type`."""
LENGTH_NAME = "sentence_bert_config.json"
ACTIVATIONS = ("torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Tanh")


@dataclass(frozen=True)
class TextTower:
    """A text tower with its tokenizer.

    Attributes:
        network: tokens -> features.
        tokenizer: texts -> tokens.
        sha256: of all its weights.
        settings: what else its features depend on.
    """

    network: PooledTextModel
    tokenizer: TransformersTokenizer
    sha256: str
    settings: dict[str, str]


class PooledTextModel(nn.Module):
    """Tokens -> features, by the mean of a text model's states, or its first, and a linear map.

    Args:
        model: of the transformers library.
        dense: into the space of the images.
        padding_token: id behind short texts.
        takes_first: whether the first token's state is taken in place of the mean.
        tanh: whether a hyperbolic tangent follows.
    """

    def __init__(
        self, model: nn.Module, dense: nn.Linear, padding_token: int, takes_first: bool = False, tanh: bool = False
    ) -> None:
        super().__init__()
        self.model, self.dense = model, dense
        self.padding_token, self.takes_first, self.tanh = padding_token, takes_first, tanh

    def forward(self, tokens: Tensor) -> Tensor:
        """Features `[N, D]`, not normalised, of tokens `[N, L]`, padded on the right."""
        mask = tokens.ne(self.padding_token).long()
        longest = max(1, int(mask.sum(dim=1).max()))
        tokens, mask = tokens[:, :longest], mask[:, :longest]
        states = self.model(input_ids=tokens, attention_mask=mask)[0]
        weights = mask.unsqueeze(2).to(states.dtype)
        pooled = states[:, 0] if self.takes_first else (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        features: Tensor = self.dense(pooled)
        return features.tanh() if self.tanh else features


class JoinedClip(nn.Module):
    """The images of one CLIP and the texts of a tower that was made for them.

    Args:
        image_clip: of the images.
        text: of the texts.
    """

    def __init__(self, image_clip: Any, text: PooledTextModel) -> None:
        super().__init__()
        self.image_clip, self.text_tower = image_clip, text

    @property
    def visual(self) -> Any:
        """The images' tower, with its preprocessing."""
        return self.image_clip.visual

    @property
    def logit_scale(self) -> Tensor:
        """Logarithm of what cosines are multiplied with."""
        scale: Tensor = self.image_clip.logit_scale
        return scale

    def encode_image(self, images: Tensor) -> Tensor:
        """Features `[N, D]` of preprocessed images."""
        features: Tensor = self.image_clip.encode_image(images)
        return features

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Features `[N, D]` of tokens `[N, L]`."""
        features: Tensor = self.text_tower(tokens)
        return features


def is_text_folder(folder: Path) -> bool:
    """Whether a folder holds a text tower alone, of one of the two kinds."""
    return _is_sentence_folder(folder) or read_json(folder / CONFIG_NAME).get("model_type") == M_CLIP


def _is_sentence_folder(folder: Path) -> bool:
    return (folder / MODULES_NAME).is_file() and "CLIPModel" not in _modules(folder)


def clip_inside(folder: Path) -> Path | None:
    """The transformers library's folder of a CLIP: this one, or the one in a folder of sentence-transformers.

    None where it is open_clip's, whose weights go before others in repositories that hold both.
    """
    if (folder / MODULES_NAME).is_file():
        return folder / _modules(folder)["CLIPModel"]
    of_open_clip = (folder / OPEN_CLIP_CONFIG).is_file()
    has_its_weights = any((folder / name).is_file() for name in WEIGHTS_NAMES if name.startswith("open_clip"))
    if of_open_clip and (has_its_weights or read_json(folder / CONFIG_NAME).get("model_type") not in KINDS):
        return None
    return folder if is_transformers_folder(folder) else None


def load_text_tower(source: str, said: ClipArguments) -> TextTower:
    """The text tower that `--clip-args text=SOURCE` names.

    Raises:
        InputError: when there is no such folder, or its files are missing, damaged or of another kind.
    """
    folder = find_folder(source)
    if folder is None or not is_text_folder(folder):
        raise InputError(
            f"--clip-args: text: expected a folder or hf:// id of M-CLIP or of a model of sentence-transformers with a "
            f"text model, pooling and a linear map, got {source!r:.200}"
        )
    require_extra("--clip-args text", "clip", ["transformers"])
    return _sentence_tower(folder, said) if _is_sentence_folder(folder) else _m_clip_tower(folder, said)


def _m_clip_tower(folder: Path, said: ClipArguments) -> TextTower:
    files = weights_files(folder)
    state = read_files(files, whole=False)
    inner = {name.removeprefix(M_CLIP_TOWER): value for name, value in state.items() if name.startswith(M_CLIP_TOWER)}
    raw = _m_clip_config(folder, inner)
    config = build_config(f"{MODEL_CLASSES[raw['model_type']]}Config", raw, folder)
    model = build_model(f"{MODEL_CLASSES[raw['model_type']]}Model", config, inner, folder, unused="pooler.")
    dense = _linear(folder, {key: state.get(M_CLIP_MAP + key) for key in ("weight", "bias")}, raw["hidden_size"])
    return _tower(folder, files, model, dense, config, said, {"model_type": M_CLIP})


def _m_clip_config(folder: Path, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The config of the text model inside, which M-CLIP's own gives by name only, by its tensors' shapes."""
    base = str(read_json(folder / CONFIG_NAME).get("modelBase", ""))
    kind = next((kind for word, kind in M_CLIP_BASES.items() if word in base.lower()), None)
    try:
        vocabulary, width = state["embeddings.word_embeddings.weight"].shape
        places = state["embeddings.position_embeddings.weight"].shape[0]
        inside = state["encoder.layer.0.intermediate.dense.weight"].shape[0]
        types = state["embeddings.token_type_embeddings.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise InputError(f"{folder}: expected the weights of M-CLIP, without {error}") from error
    if kind is None:
        raise InputError(f"{folder}: modelBase: expected XLM-RoBERTa or LaBSE, got {base!r:.80}; {OWN_CODE}")
    layers = len({name.split(".")[2] for name in state if name.startswith("encoder.layer.")})
    sizes = {"hidden_size": width, "intermediate_size": inside, "max_position_embeddings": places}
    roberta = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "layer_norm_eps": 1e-5}
    return {
        **sizes,
        **(roberta if kind == "xlm-roberta" else {"pad_token_id": 0, "layer_norm_eps": 1e-12}),
        **{"model_type": kind, "vocab_size": vocabulary, "type_vocab_size": types, "num_hidden_layers": layers},
        "num_attention_heads": max(1, width // HEAD_WIDTH),
    }


def _sentence_tower(folder: Path, said: ClipArguments) -> TextTower:
    """A text model, a pooling and a linear map, as `modules.json` lists them."""
    places = _places(folder)
    raw = read_json(places["Transformer"] / CONFIG_NAME)
    kind = raw.get("model_type")
    if kind not in MODEL_CLASSES or "auto_map" in raw:
        known = ", ".join(MODEL_CLASSES)
        raise InputError(f"{folder}: expected a text model of {known}, got {kind!r:.60}; {OWN_CODE}")
    pooling, dense_config = (read_json(places[name] / CONFIG_NAME) for name in ("Pooling", "Dense"))
    takes_first, activation = _pools_first(folder, pooling), dense_config.get("activation_function", ACTIVATIONS[0])
    if activation not in ACTIVATIONS:
        raise InputError(f"{folder}: activation_function: expected one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    config = build_config(f"{MODEL_CLASSES[kind]}Config", raw, folder)
    files, dense_files = weights_files(places["Transformer"]), weights_files(places["Dense"])
    state = read_files(files, whole=False)
    model = build_model(f"{MODEL_CLASSES[kind]}Model", config, state, folder, unused="pooler.")
    mapped = read_files(dense_files, whole=False)
    width = getattr(config, "hidden_size", 0) or config.dim
    dense = _linear(folder, {key: mapped.get(f"linear.{key}") for key in ("weight", "bias")}, width)
    told = {"takes_first": takes_first, "activation": activation, "length": _length(folder, places)}
    return _tower(folder, [*files, *dense_files], model, dense, config, said, told)


def _modules(folder: Path) -> dict[str, str]:
    """Path in the folder of each module that `modules.json` lists, by the name of its class."""
    try:
        listed = json.loads((folder / MODULES_NAME).read_text(encoding="utf-8"))
        found = {str(one["type"]).rpartition(".")[2]: str(one["path"]) for one in listed}
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise InputError(f"{folder / MODULES_NAME}: expected a list of modules, got: {error!r:.100}") from error
    outside = [path for path in found.values() if Path(path).name != path or path == ".."]
    if outside:
        raise InputError(f"{folder / MODULES_NAME}: expected the names of folders in it, got {outside[0]!r:.100}")
    return found


def _places(folder: Path) -> dict[str, Path]:
    """Folder of each of the three modules of a text tower, by the name of its class."""
    found = {name: path for name, path in _modules(folder).items() if name != "Normalize"}
    if set(found) != {"Transformer", "Pooling", "Dense"}:
        raise InputError(
            f"{folder / MODULES_NAME}: expected Transformer, Pooling and Dense (text model, pooling, linear map), "
            f"got {', '.join(found)[:100]}; {OWN_CODE}"
        )
    return {name: folder / path for name, path in found.items()}


def _pools_first(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether the first state is taken; False for the mean."""
    modes = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
    if modes not in (["pooling_mode_mean_tokens"], ["pooling_mode_cls_token"]):
        raise InputError(f"{folder}: expected a pooling by the mean or the first token, got {', '.join(modes)[:100]}")
    return modes == ["pooling_mode_cls_token"]


def _length(folder: Path, places: Mapping[str, Path]) -> int | None:
    """Most tokens of a text, as the folder says it; None where it doesn't."""
    for place in (folder, places["Transformer"]):
        length = read_json(place / LENGTH_NAME).get("max_seq_length")
        if type(length) is int and length > 0:
            return length
    return None


def _linear(folder: Path, tensors: Mapping[str, Tensor | None], width: int) -> nn.Linear:
    weight, bias = tensors["weight"], tensors["bias"]
    if weight is None or weight.ndim != 2 or weight.shape[1] != width:
        shape = None if weight is None else list(weight.shape)
        raise InputError(f"{folder}: expected a linear map of {width} channels, got one of shape {shape}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise InputError(f"{folder}: expected a linear map with {len(weight)} constants, got shape {list(bias.shape)}")
    dense = nn.utils.skip_init(nn.Linear, width, len(weight), bias=bias is not None)
    with torch.no_grad():
        dense.weight.copy_(weight)
        if bias is not None:
            dense.bias.copy_(bias)
    return dense


def _tower(
    folder: Path,
    files: list[Path],
    model: nn.Module,
    dense: nn.Linear,
    config: Any,
    said: ClipArguments,
    told: dict[str, Any],
) -> TextTower:
    place = folder if (folder / "tokenizer_config.json").is_file() else files[0].parent
    tokenizer = read_tokenizer(Path(said.tokenizer) if said.tokenizer else place, folder)
    length = choose_context_length(config, tokenizer, said, folder)
    if said.context_length is None and told.get("length"):
        length = min(length, told["length"])
    tanh = told.get("activation") == ACTIVATIONS[1]
    network = PooledTextModel(model, dense, tokenizer.pad_token_id, told.get("takes_first", False), tanh)
    settings = {"text_network": digest_of({**told, "model": config.model_type})}
    return TextTower(network, TransformersTokenizer(tokenizer, length), sha256_of_files(files), settings)
