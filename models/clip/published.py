"""CLIPs by open_clip's names: `MODEL/PRETRAINED` for published weights, `MODEL/FILE` for a file of anybody's.

A file doesn't say its activation or its preprocessing. Those of published weights are in open_clip's tables; a file is
taken to be of them where its checksum is theirs, a config lies beside it, or all weights of its model agree. What is
left open then the user has to say, and nothing is guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from text2latent.common.errors import UsageError
from text2latent.models.clip.arguments import ClipArguments

CONFIG_NAME = "open_clip_config.json"
PREPROCESS_KEYS = ("mean", "std", "interpolation", "resize_mode", "fill_color")
DECIDING = ("quick_gelu", "mean", "std", "interpolation", "resize_mode")
"""What published weights of one model differ in."""
QUICK = "-quickgelu"
DIGEST = re.compile(r"/([0-9a-f]{64})/|-([0-9a-f]{8})\.pth?$")
"""Where open_clip's addresses have the SHA-256 of the file behind them, or its first digits."""
MOST_TAGS = 2


def tag_settings(model: str, tag: str) -> dict[str, Any]:
    """Activation and preprocessing of published weights.

    Raises:
        UsageError: when open_clip knows none of that name.
    """
    from open_clip import get_pretrained_cfg, list_pretrained_tags_by_model

    found = get_pretrained_cfg(model, tag)
    if not found:
        tags = ", ".join(list_pretrained_tags_by_model(model)) or "none, as it has no published weights"
        raise UsageError(f"--clip-args: pretrained: expected one of {model}'s, {tags}; got {tag!r}")
    return _settings(found)


def _settings(found: Mapping[str, Any]) -> dict[str, Any]:
    preprocessing = {key: found[key] for key in PREPROCESS_KEYS if key in found}
    return {"quick_gelu": bool(found.get("quick_gelu")), **preprocessing}


def recognise(sha256: str) -> tuple[str, str] | None:
    """Model and tag of the published file that has a checksum; None where open_clip's tables have none such."""
    from open_clip import get_pretrained_cfg, list_pretrained

    for model, tag in list_pretrained():
        match = DIGEST.search(get_pretrained_cfg(model, tag).get("url", ""))
        if match and not model.endswith(QUICK) and sha256.startswith(match[1] or match[2]):
            return model, tag
    return None


def settings_of_file(source: str, model: str, path: Path, sha256: str, said: ClipArguments) -> dict[str, Any]:
    """Activation and preprocessing of a weights file that is given with its model.

    Args:
        source: what the user wrote, for messages.
        model: open_clip's name.
        path: the file.
        sha256: its checksum.
        said: what the user says of it, which wins.

    Raises:
        UsageError: when something is left open, with the choices that there are, or said in two ways.
    """
    own = {**said.preprocessing, **said.said("quick_gelu")}
    if said.pretrained is not None:
        return {**tag_settings(model, said.pretrained), **own}
    known = recognise(sha256)
    if known is not None:
        return {**tag_settings(*known), **own}
    beside = _settings_beside(path)
    if beside is not None:
        found = {**beside, **own}
        if model.endswith(QUICK) and not found["quick_gelu"]:
            raise UsageError(
                f"CLIP {source!r}: {model} has QuickGELU, {path.parent / CONFIG_NAME} says GELU; expected --clip-args "
                "quick_gelu=true or false"
            )
        return found
    return _agreed(source, model, own)


def _settings_beside(path: Path) -> dict[str, Any] | None:
    """What the config in a file's folder says of it, as open_clip reads it."""
    try:
        config = json.loads((path.parent / CONFIG_NAME).read_text(encoding="utf-8"))
        preprocessing = config.get("preprocess_cfg", {})
        return {"quick_gelu": bool(config["model_cfg"].get("quick_gelu")), **preprocessing}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _agreed(source: str, model: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """What all published weights of a model have in common; its config's own activation where it has none."""
    from open_clip import get_model_config, get_pretrained_cfg, list_pretrained_tags_by_model

    tags = {tag: _settings(get_pretrained_cfg(model, tag)) for tag in list_pretrained_tags_by_model(model)}
    if not tags:
        return {"quick_gelu": bool((get_model_config(model) or {}).get("quick_gelu")), **own}
    first, *others = tags.values()
    opened = [key for key in DECIDING if key not in own and any(one.get(key) != first.get(key) for one in others)]
    if opened:
        choices = "; ".join(_choices(key, tags) for key in opened)
        raise UsageError(
            f"CLIP {source!r}: the file doesn't show {', '.join(opened)}, in which the weights of {model} differ "
            f"({choices}); expected --clip-args pretrained=TAG for the published weights that they are or were trained "
            f"as, or --clip-args {','.join(f'{key}=...' for key in opened)}"
        )
    return {**first, **own}


def _choices(key: str, tags: Mapping[str, Mapping[str, Any]]) -> str:
    """The values of a setting, each with some of the published weights that have it."""
    owners: dict[str, list[str]] = {}
    for tag, settings in tags.items():
        owners.setdefault(_brief(settings.get(key)), []).append(tag)
    return f"{key} " + ", ".join(
        f"{value} of {' '.join(names[:MOST_TAGS])}{'...' if len(names) > MOST_TAGS else ''}"
        for value, names in owners.items()
    )


def _brief(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(f'{one:.4g}' for one in value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
