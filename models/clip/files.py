"""Where a CLIP's files come from: folders, hub ids, open_clip's names of published weights, and files of weights.

The folder layout is open_clip's own: `open_clip_config.json` beside `open_clip_model.safetensors`. Folders of the
transformers library are `text2latent.models.clip.transformers_clip`'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from text2latent.common.errors import InputError, UsageError, named_line, one_line
from text2latent.models.clip.arguments import ClipArguments
from text2latent.models.clip.head import HEAD_NAME, read_base
from text2latent.models.clip.normalizing import parse_normalization
from text2latent.models.clip.published import CONFIG_NAME, recognise, settings_of_file, tag_settings
from text2latent.models.clip.shapes import fitting_models, openai_config
from text2latent.models.clip.torchscript import is_torchscript, uses_quick_gelu
from text2latent.models.clip.weights import read_shapes, read_weights
from text2latent.models.sources.fetching import HUB_SCHEME, fetch, is_remote
from text2latent.models.sources.hub import NotInRepository, fetch_from_hub
from text2latent.models.sources.identity import Identity, sha256_of
from text2latent.models.sources.location import locate as locate_part
from text2latent.models.sources.zoo import is_zoo_name, zoo_names

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

FOLDER_PREFIX = "local-dir:"
HUB_PREFIX = "hf-hub:"
HUB_WEIGHTS_NAMES = (WEIGHTS_NAME, "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
"""Names of weights in a repository of the hub, in order of preference; open_clip takes the same."""
CACHED = "models--"
"""How folders of repositories begin in the hub's cache."""

PROMPTS_NAME = "prompts.txt"
TEXT_CONFIG_NAME = "config.json"
LOCAL_COPY = f"a local CLIP is a folder with {CONFIG_NAME} and {WEIGHTS_NAME}, or MODEL/FILE with a weights file"


@dataclass(frozen=True)
class Source:
    """A CLIP of open_clip's kind whose weights are on this machine.

    Attributes:
        model_name: what open_clip's `get_tokenizer` takes; empty for OpenAI's own files, which have its usual one.
        weights: the weights file.
        identity: name and checksum of the weights file, for each kind of source, without settings.
        model_config: what `model_cfg` of its `open_clip_config.json` says or would say.
        preprocessing: what `preprocess_cfg` says of its preprocessing, where it says anything.
        config: its `open_clip_config.json`; None where there is none.
        text_folder: folder with the config of its text model of the transformers library; None for none.
        tokenizer: another tokenizer than the model's, see `ClipArguments`.
        normalization: how its texts are normalised, a key of `normalizing.NORMALIZATIONS`; None where they aren't.
        head: file of the heads that stand on this model, see `text2latent.models.clip.head`; None for none. Then the
            identity is the head's file's, which contains the model's.
    """

    model_name: str
    weights: Path
    identity: Identity
    model_config: dict[str, Any]
    preprocessing: dict[str, Any] = field(default_factory=dict)
    config: Path | None = None
    text_folder: Path | None = None
    tokenizer: str | None = None
    normalization: str | None = None
    head: Path | None = None

    @property
    def is_in_folder(self) -> bool:
        return self.model_name.startswith(FOLDER_PREFIX)


def locate(source: str, said: ClipArguments | None = None, folder: Path | None = None) -> Source:
    """Find a model's files, downloading them where the source is not local; see `ClipEncoder.from_pretrained`.

    Args:
        source: what the user wrote.
        said: what the user says of it.
        folder: where `find_folder` has found it, if it has.

    Raises:
        UsageError: when the source is neither a zoo name, a folder, a hub id, a file nor an open_clip name, or leaves
            something open that decides the embeddings.
        InputError: when its files are missing or cannot be downloaded.
    """
    said = said or ClipArguments()
    if source.startswith(HUB_PREFIX):
        found = _locate_on_hub(source)
    elif (folder := folder or find_folder(source)) is not None:
        found = _locate_in_folder(folder, source)
    elif Path(source).is_file() or is_remote(source):
        return _locate_file(source, fetch(source), said)
    else:
        return _locate_by_name(source, said)
    return _with_said(found, said)


def find_folder(source: str) -> Path | None:
    """The folder on this machine that a source names: the zoo's, a local one, or a repository's; None for others."""
    plain = source.removeprefix(FOLDER_PREFIX)
    if not (source.startswith((FOLDER_PREFIX, HUB_SCHEME)) or is_zoo_name(source) or Path(source).is_dir()):
        return None
    if source.startswith(HUB_SCHEME) and Path(source).suffix in (".safetensors", ".pt", ".bin", ".pth"):
        return None
    return _snapshot(locate_part(plain, "clip").folder)


def _snapshot(folder: Path) -> Path:
    """The files themselves of a repository's folder in the hub's cache; any other folder as it is."""
    if not (folder.name.startswith(CACHED) and (folder / "snapshots").is_dir()):
        return folder
    main = folder / "refs" / "main"
    named = folder / "snapshots" / main.read_text(encoding="utf-8").strip() if main.is_file() else None
    there = sorted(path for path in (folder / "snapshots").iterdir() if path.is_dir())
    if named in there:
        return named
    if len(there) != 1:
        raise InputError(f"{folder}: expected one snapshot of the repository, got {len(there)}; name one of them")
    return there[0]


def own_prompts(source: Source) -> Path | None:
    """The list of prompts in a CLIP's folder, where it knows few other words, as those of the zoo do; None if none."""
    prompts = source.weights.parent / PROMPTS_NAME
    return prompts if source.is_in_folder and prompts.is_file() else None


def _with_said(found: Source, said: ClipArguments) -> Source:
    """A source that has a config, with what the user says instead."""
    changed = said.said("quick_gelu", "image_size", "context_length", "tokenizer", "model", "pretrained")
    for name in ("model", "pretrained"):
        if name in changed:
            raise UsageError(f"--clip-args: {name}: expected it with a weights file, whose folder has no {CONFIG_NAME}")
    return replace(
        found,
        model_config=_changed(found.model_config, said),
        preprocessing={**found.preprocessing, **said.preprocessing},
        tokenizer=said.tokenizer,
        normalization=said.text_normalization or found.normalization,
    )


def _changed(config: Mapping[str, Any], said: ClipArguments) -> dict[str, Any]:
    """A `model_cfg` with another activation, image size or context length."""
    changed = {**config, **said.said("quick_gelu")}
    for tower, name in (("vision_cfg", "image_size"), ("text_cfg", "context_length")):
        if said.said(name):
            changed[tower] = {**config[tower], **said.said(name)}
    return changed


def _locate_in_folder(folder: Path, source: str) -> Source:
    if (folder / HEAD_NAME).is_file():
        return _locate_headed(folder / HEAD_NAME, source)
    config = read_config(folder / CONFIG_NAME)
    weights = next((folder / name for name in WEIGHTS_NAMES if (folder / name).is_file()), None)
    if weights is None:
        raise InputError(f"{folder}: expected CLIP weights in {WEIGHTS_NAME}, found none")
    return _of_config(f"{FOLDER_PREFIX}{folder}", weights, folder_name(folder, source), source, config)


def _of_config(model_name: str, weights: Path, name: str, source: str, config: Mapping[str, Any]) -> Source:
    identity = Identity(name, source, sha256_of(weights))
    folder, model = weights.parent, config["model_cfg"]
    here = model_name.startswith(FOLDER_PREFIX) and "hf_model_name" in model["text_cfg"]
    own = here and _holds_text_model(folder / TEXT_CONFIG_NAME)
    preprocessing = config.get("preprocess_cfg") or {}
    if not isinstance(preprocessing, dict):
        raise InputError(
            f"{folder / CONFIG_NAME}: preprocess_cfg: expected keys and values, got {preprocessing!r:.100}"
        )
    there = folder / CONFIG_NAME
    normalization = parse_normalization(config, there)
    text_folder = folder if own else None
    return Source(model_name, weights, identity, model, preprocessing, there, text_folder, normalization=normalization)


def _locate_headed(head: Path, source: str) -> Source:
    name, sha256 = read_base(head)
    if not is_zoo_name(name):
        raise InputError(f"{head}: expected heads on a CLIP of the zoo ({', '.join(zoo_names())}), got {name!r}")
    base = locate(name)
    if base.head is not None or base.identity.sha256 != sha256:
        raise InputError(f"{head}: expected the CLIP {name} ({sha256[:12]}) under it, got {base.identity}")
    return replace(base, identity=Identity(folder_name(head.parent, source), source, sha256_of(head)), head=head)


def folder_name(folder: Path, source: str) -> str:
    """What people call the CLIP in a folder: a zoo world's name, a cached repository's id, or the folder's name."""
    if is_zoo_name(source):
        return source
    repository = folder.resolve().parent.parent.name
    return (
        repository.removeprefix(CACHED).replace("--", "/") if repository.startswith(CACHED) else folder.resolve().name
    )


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
        config = read_config(fetch_from_hub(f"{HUB_SCHEME}{repository}/{CONFIG_NAME}"))
        weights = _weights_on_hub(repository, HUB_WEIGHTS_NAMES)
    except NotInRepository as error:
        raise InputError(
            f"CLIP {source!r}: looked for {error}; the transformers library's repositories are {HUB_SCHEME}{repository}"
        ) from error
    except InputError as error:
        raise _not_found(source, error) from error
    return _of_config(source, weights, repository, source, config)


def _weights_on_hub(repository: str, names: tuple[str, ...]) -> Path:
    for name in names:
        try:
            return fetch_from_hub(f"{HUB_SCHEME}{repository}/{name}")
        except NotInRepository:
            continue
    raise InputError(f"{HUB_SCHEME}{repository}: expected one of {', '.join(names)}, the repository has none")


def _not_found(source: str, error: InputError) -> InputError:
    return type(error)(f"CLIP {source!r}: looked for {error}; {LOCAL_COPY}")


def _locate_by_name(source: str, said: ClipArguments) -> Source:
    from open_clip import get_pretrained_cfg, list_models

    model, _, pretrained = source.partition("/")
    if model not in list_models():
        raise _unknown(source, model)
    published = get_pretrained_cfg(model, pretrained)
    if not published:
        return _locate_file(source, _weights_file(source, model, pretrained), said, model)
    weights = _download(source, published)
    found = {**tag_settings(model, pretrained), **said.preprocessing, **said.said("quick_gelu")}
    return _named(Identity(source, source, sha256_of(weights)), model, weights, found, said)


def _locate_file(source: str, path: Path, said: ClipArguments, named: str | None = None) -> Source:
    """A weights file, alone or with the model that it is of.

    Raises:
        UsageError: when neither its name, its content nor the user says which model it is of.
    """
    if is_torchscript(path):
        return _locate_openai(source, path, said)
    config = path.parent / CONFIG_NAME
    if named is None and said.model is None and config.is_file() and path.name in WEIGHTS_NAMES:
        found = _of_config(f"{FOLDER_PREFIX}{path.parent}", path, path.parent.name, source, read_config(config))
        return _with_said(found, said)
    sha256 = sha256_of(path)
    model = named or said.model or (recognise(sha256) or (None,))[0]
    if model is None:
        raise _nameless(source, path)
    settings = settings_of_file(source, _known_model(model), path, sha256, said)
    return _named(Identity(f"{model}/{path.name}", source, sha256), model, path, settings, said)


def _known_model(model: str) -> str:
    from open_clip import list_models

    if model not in list_models():
        close = ", ".join(get_close_matches(model, list_models(), n=3)) or "ViT-B-32"
        raise UsageError(f"--clip-args: model: expected one of open_clip's, such as {close}, got {model!r:.80}")
    return model


def _named(identity: Identity, model: str, weights: Path, settings: Mapping[str, Any], said: ClipArguments) -> Source:
    """Weights of one of open_clip's architectures, with activation and preprocessing."""
    from open_clip import get_model_config

    config = {**(get_model_config(model) or {}), "quick_gelu": bool(settings["quick_gelu"])}
    preprocessing = {key: value for key, value in settings.items() if key not in ("quick_gelu", "size")}
    return _with_said_tokens(Source(model, weights, identity, _changed(config, said), preprocessing), said)


def _with_said_tokens(source: Source, said: ClipArguments) -> Source:
    return replace(source, tokenizer=said.tokenizer, normalization=said.text_normalization)


def _locate_openai(source: str, path: Path, said: ClipArguments) -> Source:
    """A TorchScript archive as OpenAI published them: all is in it but the preprocessing, which is theirs."""
    quick_gelu = uses_quick_gelu(path) if said.quick_gelu is None else said.quick_gelu
    if quick_gelu is None:
        raise UsageError(
            f"CLIP {source!r}: it doesn't show its activation; expected --clip-args quick_gelu=true or false"
        )
    try:
        config = openai_config(read_shapes(path))
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(
            f"{path}: expected a TorchScript archive of OpenAI's CLIP, got: {named_line(error)}"
        ) from error
    identity = Identity(path.stem, source, sha256_of(path))
    model = _changed({**config, "quick_gelu": quick_gelu}, said)
    return _with_said_tokens(Source("", path, identity, model, said.preprocessing), said)


def _nameless(source: str, path: Path) -> UsageError:
    state = read_weights(path)
    fits = fitting_models(state)
    if not fits and any(name.startswith(("text_model.", "vision_model.")) for name in state):
        return UsageError(
            f"CLIP {source!r}: weights of the transformers library; expected the folder that holds them with "
            "config.json and the tokenizer's files"
        )
    model = fits[0] if fits else "ViT-B-32"
    told = f"; its tensors have the shapes of {', '.join(fits)}" if fits else ""
    return UsageError(
        f"CLIP {source!r}: a weights file does not say which model it is of{told}; expected MODEL/FILE, such as "
        f"{model}/{source}"
    )


def _unknown(source: str, model: str) -> UsageError:
    from open_clip import list_models

    close = get_close_matches(model, list_models(), n=3)
    return UsageError(
        f"CLIP {source!r}: expected a name of the zoo ({', '.join(zoo_names()) or 'none here'}), a folder with "
        f"{CONFIG_NAME}, hf-hub:ORG/NAME, hf://ORG/NAME, a weights file, or MODEL/PRETRAINED with a model of "
        "open_clip, such as ViT-B-32/openai" + (f"; is one of these models meant: {', '.join(close)}?" if close else "")
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


def _download(source: str, published: Mapping[str, Any]) -> Path:
    """Weights that open_clip knows by name, from the hub if they are there, else from their publisher."""
    repository, _, name = published.get("hf_hub", "").rpartition("/")
    names = (str(Path(name).with_suffix(".safetensors")), name) if name else HUB_WEIGHTS_NAMES
    try:
        return _weights_on_hub(repository, names) if repository else fetch(published["url"])
    except InputError as error:
        raise _not_found(source, error) from error


def read_config(path: Path) -> dict[str, Any]:
    """What an `open_clip_config.json` holds: `model_cfg`, and perhaps `preprocess_cfg`.

    Raises:
        InputError: when it is missing, damaged or something else.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: expected open_clip's config of a CLIP model, the file is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected open_clip's config as JSON, got: {one_line(error)}") from error
    model = config.get("model_cfg") if isinstance(config, dict) else None
    found = model if isinstance(model, dict) else {}
    missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in found]
    if missing:
        raise InputError(f"{path}: expected open_clip's config with model_cfg, found no {', '.join(missing)} in it")
    wrong = [key for key in ("vision_cfg", "text_cfg") if not isinstance(found[key], dict)]
    if wrong:
        raise InputError(f"{path}: {wrong[0]}: expected keys and values, got {found[wrong[0]]!r:.100}")
    return config
