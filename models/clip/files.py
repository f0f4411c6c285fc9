"""Where CLIP weights come from: open_clip's hub folders, hub ids and named weights.

The folder layout is open_clip's own: `open_clip_config.json` beside `open_clip_model.safetensors`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from torch import nn

from text2latent.common.errors import InputError, UsageError, one_line
from text2latent.common.extras import require_extra
from text2latent.models.clip.clip import read_clip
from text2latent.models.clip.head import HEAD_NAME, HeadedClip, read_base, read_heads
from text2latent.models.clip.tokenizer import CONTEXT_LENGTH, BytePairTokenizer, find_vocabulary
from text2latent.models.sources.fetching import HUB_SCHEME, fetch, is_remote
from text2latent.models.sources.hub import NotInRepository, fetch_from_hub
from text2latent.models.sources.identity import Identity, sha256_of
from text2latent.models.sources.location import locate as locate_part
from text2latent.models.sources.zoo import is_zoo_name, zoo_names

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAME = "open_clip_model.safetensors"
WEIGHTS_NAMES = (
    WEIGHTS_NAME,
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
"""Names of weights that open_clip looks for in a folder, in its order of preference."""

UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    UnpicklingError,
    ValueError,
)
"""What open_clip and torch raise on a config or weights that they cannot make sense of."""

FOLDER_PREFIX = "local-dir:"
HUB_PREFIX = "hf-hub:"
HUB_WEIGHTS_NAMES = (WEIGHTS_NAME, "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
"""Names of weights in a repository of the hub, in order of preference; open_clip takes the same."""

PROMPTS_NAME = "prompts.txt"
TEXT_CONFIG_NAME = "config.json"
PREPROCESS_KEYS = ("mean", "std", "interpolation", "resize_mode", "fill_color")
LOCAL_COPY = f"a local CLIP is a folder with {CONFIG_NAME} and {WEIGHTS_NAME}, or MODEL/FILE with a weights file"
LOCAL_TEXT_MODEL = (
    f"without a network, give a folder with {CONFIG_NAME}, {WEIGHTS_NAME}, the tokenizer's files (tokenizer.json, "
    f"tokenizer_config.json) and the text model's {TEXT_CONFIG_NAME}"
)


@dataclass(frozen=True)
class Source:
    """A CLIP model whose weights are on this machine.

    Attributes:
        model_name: what open_clip's functions take as `model_name`.
        pretrained: what they take as `pretrained`; None where the name says it all.
        weights: the weights file.
        identity: name and checksum of the weights file, for each kind of source. So the same file is the same CLIP
            wherever it was found; what turns it into another one (QuickGELU, preprocessing) follows from the model.
        config: its `open_clip_config.json`; None where open_clip has the config under the model's name.
        options: what open_clip's `create_model` takes besides.
        head: file of the heads that stand on this model, see `text2latent.models.clip.head`; None for none. Then the
            identity is the head's file's, which contains the model's.
    """

    model_name: str
    pretrained: str | None
    weights: Path
    identity: Identity
    config: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    head: Path | None = None

    @property
    def model_config(self) -> dict[str, Any]:
        """What `model_cfg` of the model's `open_clip_config.json` says or would say.

        Raises:
            InputError: when open_clip finds none.
        """
        if self.config is not None:
            return _read_config(self.config)["model_cfg"]

        from open_clip import get_model_config

        config = get_model_config(self.model_name)
        if config is None:
            raise InputError(f"CLIP {self.model_name!r}: expected a model of open_clip or a folder with its config")
        return {**config, **({"quick_gelu": True} if self.options.get("force_quick_gelu") else {})}


def locate(source: str) -> Source:
    """Find a model's weights, downloading them where the source is not local; see `ClipEncoder.from_pretrained`.

    Raises:
        UsageError: when the source is neither a zoo name, a folder, a hub id nor an open_clip name.
        InputError: when its files are missing or cannot be downloaded.
    """
    if source.startswith(HUB_PREFIX):
        return _locate_on_hub(source)
    if source.startswith((FOLDER_PREFIX, HUB_SCHEME)) or is_zoo_name(source) or Path(source).is_dir():
        return _locate_in_folder(locate_part(source.removeprefix(FOLDER_PREFIX), "clip").folder, source)
    return _locate_by_name(source)


def own_prompts(source: Source) -> Path | None:
    """The list of prompts in a CLIP's folder, where it knows few other words, as those of the zoo do; None if none."""
    prompts = source.weights.parent / PROMPTS_NAME
    return prompts if source.model_name.startswith(FOLDER_PREFIX) and prompts.is_file() else None


def read_model(source: Source) -> nn.Module:
    """Build the model and load its weights as float32 on the CPU; no code of a repository is run.

    Raises:
        InputError: when the config or the weights are damaged or do not belong together.
    """
    _check_safetensors(source.weights)
    _check_text_model(source)
    model = read_clip(_read_config(source.config), source.weights) if source.config and not source.options else None
    if model is None:
        model = _read_with_open_clip(source)
    if source.head is None:
        return model
    return HeadedClip(model, *read_heads(source.head, source.model_config["embed_dim"]))


def _read_with_open_clip(source: Source) -> nn.Module:
    from open_clip import create_model

    options = deepcopy(dict(source.options))
    try:
        return create_model(source.model_name, source.pretrained, require_pretrained=True, **options)
    except UNREADABLE as error:
        raise InputError(
            f"{source.weights}: expected weights that fit the model's config, got: {one_line(error)}"
        ) from error


def read_tokenizer(source: Source) -> Any:
    """The model's own tokenizer, with its context length.

    Raises:
        InputError: when its files are missing or cannot be downloaded.
    """
    text = source.model_config["text_cfg"]
    name, vocabulary = text.get("hf_tokenizer_name"), find_vocabulary()
    if source.config and vocabulary and not (name or text.get("tokenizer_kwargs")):
        return BytePairTokenizer(vocabulary, text.get("context_length", CONTEXT_LENGTH))

    from open_clip import get_tokenizer

    # A config may ask for a tokenizer whose repository brings code along; said here, the refusal comes last and wins.
    arguments = {"trust_remote_code": False} if name else {}
    try:
        return get_tokenizer(source.model_name, **arguments)
    except (ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        where = source.weights.parent if source.model_name.startswith(FOLDER_PREFIX) else _hub_places()
        raise InputError(
            f"CLIP {source.identity.source!r}: looked for its tokenizer {name!r} in {where}, got: {one_line(error)}; "
            f"{LOCAL_TEXT_MODEL}"
        ) from error


def _check_text_model(source: Source) -> None:
    """Refuse a text tower of the transformers library that cannot be built, before open_clip blames the weights."""
    text = source.options.get("text_cfg") or source.model_config["text_cfg"]
    if not ("hf_model_name" in text or "hf_tokenizer_name" in text):
        return
    require_extra(f"CLIP {source.identity.source!r}: its text model or tokenizer", "clip", ["transformers"])
    if "hf_model_name" in text:
        _check_text_config(source, text["hf_model_name"])


def _check_text_config(source: Source, name: str) -> None:
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(name, trust_remote_code=False)
    except UNREADABLE as error:
        raise InputError(
            f"CLIP {source.identity.source!r}: looked for the config of its text model {name!r} in {_hub_places()}, "
            f"got: {one_line(error)}; {LOCAL_TEXT_MODEL}"
        ) from error


def _hub_places() -> str:
    from huggingface_hub import constants

    return f"the cache {constants.HF_HUB_CACHE} and at {constants.ENDPOINT}"


def _locate_in_folder(folder: Path, source: str) -> Source:
    if (folder / HEAD_NAME).is_file():
        return _locate_headed(folder / HEAD_NAME, source)
    config = folder / CONFIG_NAME
    text = _read_config(config)["model_cfg"]["text_cfg"]
    weights = next((folder / name for name in WEIGHTS_NAMES if (folder / name).is_file()), None)
    if weights is None:
        raise InputError(f"{folder}: expected CLIP weights in {WEIGHTS_NAME}, found none")
    options = {"text_cfg": {**text, "hf_model_name": str(folder), "hf_model_pretrained": False}}
    own_text_model = "hf_model_name" in text and _holds_text_model(folder / TEXT_CONFIG_NAME)
    identity = Identity(_folder_name(folder, source), source, sha256_of(weights))
    return Source(f"{FOLDER_PREFIX}{folder}", None, weights, identity, config, options if own_text_model else {})


def _locate_headed(head: Path, source: str) -> Source:
    """The base of a head, with the head and its identity."""
    name, sha256 = read_base(head)
    if not is_zoo_name(name):
        raise InputError(f"{head}: expected heads on a CLIP of the zoo ({', '.join(zoo_names())}), got {name!r}")
    base = locate(name)
    if base.head is not None or base.identity.sha256 != sha256:
        raise InputError(f"{head}: expected the CLIP {name} ({sha256[:12]}) under it, got {base.identity}")
    return replace(base, identity=Identity(_folder_name(head.parent, source), source, sha256_of(head)), head=head)


def _folder_name(folder: Path, source: str) -> str:
    return source if is_zoo_name(source) else folder.resolve().name


def _holds_text_model(path: Path) -> bool:
    """Whether a file is the config of a text model, and not that of a whole CLIP, which some repositories have."""
    from open_clip.hf_configs import arch_dict

    try:
        return json.loads(path.read_text(encoding="utf-8"))["model_type"] in arch_dict
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _locate_on_hub(source: str) -> Source:
    repository = source.removeprefix(HUB_PREFIX)
    try:
        config = fetch_from_hub(f"{HUB_SCHEME}{repository}/{CONFIG_NAME}")
        _read_config(config)
        weights = _weights_on_hub(repository, HUB_WEIGHTS_NAMES)
    except InputError as error:
        raise _not_found(source, error) from error
    return Source(source, None, weights, Identity(repository, source, sha256_of(weights)), config)


def _weights_on_hub(repository: str, names: tuple[str, ...]) -> Path:
    for name in names:
        try:
            return fetch_from_hub(f"{HUB_SCHEME}{repository}/{name}")
        except NotInRepository:
            continue
    raise InputError(f"{HUB_SCHEME}{repository}: expected one of {', '.join(names)}, the repository has none")


def _not_found(source: str, error: InputError) -> InputError:
    return type(error)(f"CLIP {source!r}: looked for {error}; {LOCAL_COPY}")


def _locate_by_name(source: str) -> Source:
    from open_clip import get_pretrained_cfg, list_models

    model, _, pretrained = source.partition("/")
    if model not in list_models():
        raise _unknown(source, model)
    published = get_pretrained_cfg(model, pretrained)
    if published:
        weights = _download(source, published)
        options = {"force_quick_gelu": bool(published.get("quick_gelu")), "force_preprocess_cfg": _own(published)}
    else:
        weights = _weights_file(source, model, pretrained)
        options = {"force_preprocess_cfg": _usual_preprocessing(model)}
    name = source if published else f"{model}/{weights.name}"
    return Source(model, str(weights), weights, Identity(name, source, sha256_of(weights)), options=options)


def _unknown(source: str, model: str) -> UsageError:
    from open_clip import list_models

    if Path(source).is_file():
        return UsageError(
            f"CLIP {source!r}: a weights file does not say which model it is of; expected MODEL/FILE, such as "
            f"ViT-B-32/{source}"
        )
    close = get_close_matches(model, list_models(), n=3)
    return UsageError(
        f"CLIP {source!r}: expected a name of the zoo ({', '.join(zoo_names()) or 'none here'}), a folder with "
        f"{CONFIG_NAME}, hf-hub:ORG/NAME, or MODEL/PRETRAINED with a model of open_clip, such as ViT-B-32/openai"
        + (f"; is one of these models meant: {', '.join(close)}?" if close else "")
    )


def _weights_file(source: str, model: str, pretrained: str) -> Path:
    """A file that stands in the place of open_clip's name for published weights."""
    from open_clip import list_pretrained_tags_by_model

    if is_remote(pretrained):
        return fetch(pretrained)
    if Path(pretrained).is_file():
        return Path(pretrained)
    tags = ", ".join(list_pretrained_tags_by_model(model)) or "no published weights"
    raise UsageError(
        f"CLIP {source!r}: expected {model}/PRETRAINED with PRETRAINED a weights file, its address, or one of {tags}; "
        f"got {pretrained!r}"
    )


def _own(published: Mapping[str, Any]) -> dict[str, Any]:
    return {key: published[key] for key in PREPROCESS_KEYS if key in published}


def _usual_preprocessing(model: str) -> dict[str, Any]:
    """Preprocessing of a model's published weights where all have the same, else open_clip's default.

    open_clip takes its default for any local file, which is wrong for SigLIP and others.
    """
    from open_clip import get_pretrained_cfg, list_pretrained_tags_by_model

    found = [_own(get_pretrained_cfg(model, tag)) for tag in list_pretrained_tags_by_model(model)]
    return found[0] if found and all(other == found[0] for other in found) else {}


def _download(source: str, published: Mapping[str, Any]) -> Path:
    """Weights that open_clip knows by name, from the hub if they are there, else from their publisher."""
    repository, _, name = published.get("hf_hub", "").rpartition("/")
    names = (str(Path(name).with_suffix(".safetensors")), name) if name else HUB_WEIGHTS_NAMES
    try:
        return _weights_on_hub(repository, names) if repository else fetch(published["url"])
    except InputError as error:
        raise _not_found(source, error) from error


def _read_config(path: Path) -> dict[str, Any]:
    """What an `open_clip_config.json` holds: `model_cfg`, and perhaps `preprocess_cfg`."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: expected open_clip's config of a CLIP model, the file is missing") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected open_clip's config as JSON, got: {one_line(error)}") from error
    model = config.get("model_cfg") if isinstance(config, dict) else None
    found = model if isinstance(model, dict) else {}
    missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in found]
    if missing:
        raise InputError(f"{path}: expected open_clip's config with model_cfg, found no {', '.join(missing)} in it")
    return config


def _check_safetensors(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors":
        return
    try:
        with safe_open(path, framework="pt"):
            pass
    except SafetensorError as error:
        raise InputError(f"{path}: expected a complete safetensors file, got: {one_line(error)}") from error
