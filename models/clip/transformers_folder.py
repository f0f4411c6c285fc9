"""CLIPs in folders of the transformers library: `config.json`, weights, the tokenizer's and the preprocessor's files.

The library builds the network and the tokenizer, by classes of its own alone: no code of a folder is run, and no
network is asked. Weights are read here, as data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from text2latent.common.errors import InputError, UsageError, named_line
from text2latent.common.extras import require_extra
from text2latent.models.clip.arguments import ClipArguments
from text2latent.models.clip.building import UNREADABLE
from text2latent.models.clip.settings import digest_of
from text2latent.models.clip.transformers_clip import TransformersClip, TransformersTokenizer
from text2latent.models.clip.weights import read_weights
from text2latent.models.network import SPARE_NUMBERS
from text2latent.models.sources.identity import Identity, sha256_of

CONFIG_NAME = "config.json"
WEIGHTS_NAMES = ("model.safetensors", "pytorch_model.bin")
INDEX_NAMES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""Files that say in which of several files each tensor lies."""
PREPROCESSOR_NAMES = ("preprocessor_config.json", "processor_config.json")
KINDS = {
    "clip": "CLIP",
    "siglip": "Siglip",
    "siglip2": "Siglip2",
    "chinese_clip": "ChineseCLIP",
    "altclip": "AltCLIP",
    "metaclip_2": "MetaClip2",
    "vision-text-dual-encoder": "VisionTextDualEncoder",
}
"""How the library's classes of each `model_type` begin."""
OWN_CODE = "let a class of your own load it: --clip my_package.MyClip (docs/clip.md)"
CODE_KEYS = ("auto_map", "_attn_implementation", "attn_implementation", "_attn_implementation_internal")
"""Keys of a config that name code to be fetched."""
DECIDING = (
    *("model_type", "num_hidden_layers", "num_attention_heads", "hidden_act", "layer_norm_eps", "hidden_size"),
    *("intermediate_size", "patch_size", "image_size", "eos_token_id", "pad_token_id", "vision_use_head"),
    *("position_embedding_type", "projection_size", "project_dim", "pooler_fn"),
)
"""What a tower's results depend on besides its weights."""
OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "altclip_text_model")
"""Text models whose positions are counted from behind that of the padding token."""
RESAMPLING = {2: "bilinear", 3: "bicubic"}
NO_LIMIT = 1_000_000
"""A tokenizer's longest text where nobody has set any."""


def is_transformers_folder(folder: Path) -> bool:
    """Whether a folder has the library's config of a model."""
    return "model_type" in read_json(folder / CONFIG_NAME)


def load_transformers(
    folder: Path, source: str, name: str, said: ClipArguments
) -> tuple[TransformersClip, TransformersTokenizer, Identity]:
    """Network, tokenizer and identity, with the settings of the network alone, of a folder.

    Args:
        folder: on this machine.
        source: what the user wrote.
        name: what people call it.
        said: what the user says besides.

    Raises:
        UsageError: when something is said that is no matter of choice here.
        InputError: when files are missing, damaged, don't fit, or bring code along.
    """
    refuse_unsuitable(said, ("model", "pretrained", "quick_gelu", "image_size"))
    raw = read_json(folder / CONFIG_NAME)
    kind = known_kind(raw, folder)
    require_extra(f"CLIP {source!r}", "clip", ["transformers"])
    config = build_config(f"{KINDS[kind]}Config", raw, folder)
    files = weights_files(folder)
    model = build_model(f"{KINDS[kind]}Model", config, read_files(files), folder)
    tokenizer = read_tokenizer(Path(said.tokenizer) if said.tokenizer else folder, folder)
    length = choose_context_length(config.text_config, tokenizer, said, folder)
    preprocess = {**read_preprocessing(folder, kind, config.vision_config, said), **said.preprocessing}
    clip = TransformersClip(model, preprocess, tokenizer, kind)
    identity = Identity(name, source, sha256_of_files(files), settings=_settings(config))
    return clip, TransformersTokenizer(tokenizer, length), identity


def refuse_unsuitable(said: ClipArguments, names: Sequence[str]) -> None:
    """Refuse arguments that a folder itself decides."""
    found = said.said(*names)
    if found:
        raise UsageError(f"--clip-args: {next(iter(found))}: expected none with a folder that says so itself")


def known_kind(raw: Mapping[str, Any], folder: Path) -> str:
    """The `model_type` of a config; raises InputError for one that isn't a CLIP, or that code comes with."""
    kind = raw.get("model_type")
    known = isinstance(kind, str) and (kind in KINDS or _is_of_library(kind))
    if "auto_map" in raw or (isinstance(kind, str) and not known):
        told = f"a model of the type {kind!r:.60}, whose code comes with it and is not run"
        raise InputError(f"{folder}: {told}; {OWN_CODE}")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"{folder / CONFIG_NAME}: model_type: expected one of {', '.join(KINDS)}, got {kind!r:.60}")
    return kind


def _is_of_library(kind: str) -> bool:
    try:
        from transformers import CONFIG_MAPPING
    except ImportError:
        return False
    return kind in CONFIG_MAPPING


def build_config(class_name: str, raw: Mapping[str, Any], folder: Path) -> Any:
    """A config of the library's, of a file's values without those that name code.

    Raises:
        InputError: when the installed library has no such class, or the values are none for it.
    """
    import transformers

    config_class = getattr(transformers, class_name, None)
    if config_class is None:
        raise InputError(
            f"{folder}: needs a later version of transformers than {transformers.__version__}, without {class_name}"
        )
    try:
        return config_class.from_dict(_without_code(raw))
    except Exception as error:
        # A config is anyone's JSON: a wrong type or an absurd size can fail anywhere in the constructor.
        raise InputError(f"{folder / CONFIG_NAME}: not a config of {class_name}: {named_line(error)}") from error


def _without_code(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_code(one) for key, one in value.items() if key not in CODE_KEYS}
    return value


def build_model(
    class_name: str, config: Any, state: dict[str, Tensor], folder: Path, unused: str | None = None
) -> nn.Module:
    """A network of the library with its weights in float32.

    Args:
        class_name: of the library.
        config: of the network.
        state: weights.
        folder: where they come from, for messages.
        unused: what names begin with of a part that isn't used, and may be missing or there.

    Raises:
        InputError: when they don't fit the config.
    """
    import transformers

    model_class = getattr(transformers, class_name)
    try:
        with _quiet():
            _refuse_size(model_class, config, state)
            model, report = model_class.from_pretrained(
                None, config=config, state_dict=state, output_loading_info=True, ignore_mismatched_sizes=True
            )
    except UNREADABLE as error:
        raise InputError(f"{folder}: not a config and weights of {class_name}: {named_line(error)}") from error
    other, missing, spare = (
        sorted(name for name in _names(report[f"{key}_keys"]) if unused is None or not name.startswith(unused))
        for key in ("mismatched", "missing", "unexpected")
    )
    wrong = [f"{other[0]} has another shape"] if other else []
    wrong += [f"{missing[0]} is missing"] if missing else []
    wrong += [f"{_plain(spare[0])} is none of its tensors"] if spare else []
    if wrong:
        told = f"{', '.join(wrong)}. If its code is its own, {OWN_CODE}"
        raise InputError(f"{folder}: expected weights that fit {CONFIG_NAME}; {told}")
    found: nn.Module = model.float().eval()
    return found


def _refuse_size(model_class: Any, config: Any, state: Mapping[str, Tensor]) -> None:
    """Raise ValueError for a config of a far larger network than there are weights for, before memory is taken."""
    with torch.device("meta"):
        wanted = sum(parameter.numel() for parameter in model_class(config).parameters())
    there = sum(value.numel() for value in state.values())
    if wanted > 2 * there + SPARE_NUMBERS:
        raise ValueError(f"it would be of {wanted} numbers, where the weights have {there}")


def _names(found: Any) -> list[str]:
    """Names in a part of the library's report, with or without shapes beside them."""
    return [str(one if isinstance(one, str) else one[0]) for one in found]


def _plain(name: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in name)[:80]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's bars and reports, which are for terminals and for its own flags."""
    from transformers.utils import logging

    level, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if has_bars:
            logging.enable_progress_bar()


def weights_files(folder: Path) -> list[Path]:
    """The files of a folder's weights, in order.

    Raises:
        InputError: when there are none, or those that an index names aren't files of the folder.
    """
    for name, index in zip(WEIGHTS_NAMES, INDEX_NAMES, strict=True):
        if (folder / name).is_file():
            return [folder / name]
        if (folder / index).is_file():
            listed = read_json(folder / index).get("weight_map")
            names = sorted(set(listed.values())) if isinstance(listed, dict) else []
            if not names or any(not isinstance(one, str) or Path(one).name != one for one in names):
                raise InputError(f"{folder / index}: expected the names of files in the folder")
            return [folder / one for one in names]
    told = "of a repository only safetensors are fetched; a folder may have the other"
    raise InputError(f"{folder}: expected weights in {' or '.join(WEIGHTS_NAMES)}, found none ({told})")


def read_files(files: Sequence[Path], whole: bool = True) -> dict[str, Tensor]:
    """Tensors of all files, float32; errors as of `read_weights`, and InputError for a file that is missing."""
    state: dict[str, Tensor] = {}
    for file in files:
        if not file.is_file():
            raise InputError(f"{file}: expected a part of the weights, the file is missing")
        state |= read_weights(file, whole and len(files) == 1)
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def sha256_of_files(files: Sequence[Path]) -> str:
    """SHA-256 of a file, or of those of several in order."""
    if len(files) == 1:
        return sha256_of(files[0])
    return hashlib.sha256(" ".join(map(sha256_of, files)).encode()).hexdigest()


def read_tokenizer(place: Path, folder: Path) -> Any:
    """The library's tokenizer of a folder.

    Raises:
        InputError: when its files are missing, damaged, or bring code along.
    """
    from transformers import AutoTokenizer

    if "auto_map" in read_json(place / "tokenizer_config.json"):
        raise InputError(f"{place}: a tokenizer whose code comes with it and is not run; {OWN_CODE}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(place), local_files_only=True, trust_remote_code=False)
    except (ImportError, *UNREADABLE) as error:
        raise InputError(f"{place}: expected the tokenizer's files of {folder.name}: {named_line(error)}") from error
    if tokenizer.pad_token_id is None:
        raise InputError(f"{place}: expected a tokenizer with a padding token, got none")
    return tokenizer


def choose_context_length(text_config: Any, tokenizer: Any, said: ClipArguments, folder: Path) -> int:
    """Tokens of a text: as many as the network has positions for and the tokenizer's files say.

    Raises:
        InputError: when more are said than there are positions.
    """
    positions = int(text_config.max_position_embeddings)
    if text_config.model_type in OFFSET_POSITIONS:
        positions -= int(text_config.pad_token_id) + 1
    if said.context_length is not None and said.context_length > positions:
        raise InputError(f"{folder}: --clip-args context_length: expected at most its {positions} positions")
    most = tokenizer.model_max_length
    return said.context_length or (min(positions, int(most)) if most < NO_LIMIT else positions)


def read_preprocessing(folder: Path, kind: str, vision_config: Any, said: ClipArguments) -> dict[str, Any]:
    """What the library's image processor of a folder does, as open_clip's `preprocess_cfg` says it.

    Raises:
        InputError: when there is none, or it does what can't be said so.
    """
    size: Any = vision_config.image_size if kind != "siglip2" else None
    if not any((folder / name).is_file() for name in PREPROCESSOR_NAMES):
        if said.mean and said.std and size:
            return {"size": size}
        raise InputError(
            f"{folder}: expected {PREPROCESSOR_NAMES[0]}, found none; --clip-args mean=[...],std=[...] says it instead"
        )
    processor = _read_processor(folder)
    interpolation = RESAMPLING.get(int(processor.resample))
    factor = getattr(processor, "rescale_factor", 1 / 255)
    if interpolation is None or not processor.do_rescale or abs(factor * 255 - 1) > 1e-6:
        raise InputError(f"{folder}: its images are resampled or scaled in a way that isn't known here; {OWN_CODE}")
    normal = processor.do_normalize
    common = {
        "mean": tuple(processor.image_mean) if normal else (0.0,) * 3,
        "std": tuple(processor.image_std) if normal else (1.0,) * 3,
        "interpolation": interpolation,
    }
    if kind == "siglip2":
        return {**common, "size": (processor.max_num_patches, processor.patch_size), "resize_mode": "patches"}
    return {**common, "size": size, "resize_mode": _resize_mode(processor, size, folder)}


def _read_processor(folder: Path) -> Any:
    from transformers import AutoImageProcessor

    try:
        with _quiet():
            return AutoImageProcessor.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (ImportError, *UNREADABLE) as error:
        raise InputError(f"{folder}: expected the config of an image processor: {named_line(error)}") from error


def _resize_mode(processor: Any, size: int, folder: Path) -> str:
    """`shortest` or `squash`; raises InputError for other ways of getting to the network's size."""
    target, crop = dict(processor.size), getattr(processor, "crop_size", None)
    crops = bool(getattr(processor, "do_center_crop", False))
    cropped = [dict(crop).get(side) for side in ("height", "width")] if crops and crop else [size, size]
    squashed = [target.get("height"), target.get("width")] == [size, size]
    if processor.do_resize and cropped == [size, size]:
        if squashed:
            return "squash"
        if target.get("shortest_edge") == size and crops:
            return "shortest"
    raise InputError(
        f"{folder}: its images are resized to {target}{f' and cropped to {cropped}' if crops else ''}, where the "
        f"network takes {size} pixels; expected one size"
    )


def _settings(config: Any) -> dict[str, str]:
    towers = [config.text_config, config.vision_config]
    told = [{name: getattr(tower, name, None) for name in DECIDING} for tower in towers]
    acts = [str(getattr(tower, "hidden_act", None) or getattr(tower, "hidden_activation", "")) for tower in towers]
    return {"activation": " ".join(dict.fromkeys(acts)), "network": digest_of([config.model_type, told])}


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one where there is no file, or no object in it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
