"""The YAML file beside a checkpoint of clip2latent: what it says of the network, the diffusion and the latents.

That code makes its network of whatever the file says, through dalle2-pytorch; what is fixed here is refused by name if
it is otherwise, and what only training uses isn't looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from text2latent.common.errors import InputError, one_line
from text2latent.models.generators.layouts import NUM_GROUPS, group_sizes
from text2latent.models.priors.parametrization import COSINE_STEPS
from text2latent.models.priors.prior import HEAD_CHANNELS

MAX_BYTES = 1 << 16
MAX_DEPTH = 16
MAX_SIZE = 1 << 16
"""Most bytes and nested sections of the file, and the largest size that it may name."""
DEFAULT_HEADS = 8
FIXED: dict[str, dict[str, Any]] = {
    "model.network": {
        "num_timesteps": COSINE_STEPS,
        "dim_head": HEAD_CHANNELS,
        "num_time_embeds": 1,
        "num_image_embeds": 1,
        "num_text_embeds": 1,
        "ff_mult": 4,
        "norm_in": False,
        "norm_out": True,
        "final_proj": True,
        "normformer": False,
        "rotary_emb": True,
    },
    "model.diffusion": {
        "timesteps": COSINE_STEPS,
        "beta_schedule": "cosine",
        "predict_x_start": True,
        "init_image_embed_l2norm": False,
        "sampling_clamp_l2norm": False,
    },
    "data": {},
}
"""What a section has to say, if it says it."""
REQUIRED = {"model.network": ("dim", "num_timesteps", "depth"), "model.diffusion": (), "data": ("n_latents",)}
READ = {
    "model.network": ("dim", "depth", "heads"),
    "model.diffusion": ("image_embed_dim", "image_embed_scale", "text_embed_scale"),
    "data": ("n_latents", "latent_dim", "latent_repeats", "sg_pkl", "clip_variant"),
}
TRAINING_ONLY = {
    "model.network": ("max_text_len", "attn_dropout", "ff_dropout"),
    "model.diffusion": ("cond_drop_prob", "loss_type", "training_clamp_l2norm", "condition_on_text_encodings"),
}
"""What has no part in drawing; all else of `data` is about pairs."""
OPENAI_NAMES = {"ViT-L/14@336px": "ViT-L-14-336"}
"""open_clip's names of OpenAI's models, where they aren't OpenAI's with a dash for the slash."""
_INTERPOLATION = re.compile(r"\$\{([\w.]+)\}")


@dataclass(frozen=True)
class Clip2LatentSettings:
    """What a YAML file of clip2latent says that drawing needs.

    Attributes:
        dim: channels of the network, of latents and of embeddings.
        depth, heads: of the network.
        latent_repeats: layers that each of the latents is for.
        image_embed_scale: what normalised latents were multiplied with.
        text_embed_scale: what embeddings are multiplied with.
        generator: address or path of the generator, as that code takes it; None if it says none.
        clip: CLIP's name for us; None if it says none.
    """

    dim: int
    depth: int
    heads: int
    latent_repeats: tuple[int, ...]
    image_embed_scale: float
    text_embed_scale: float
    generator: str | None
    clip: str | None

    @property
    def latent_layout(self) -> str:
        """Layout of the latents, see `text2latent.models.generators.layouts`.

        Raises:
            InputError: for repeats that no layout has.
        """
        repeats = self.latent_repeats
        if len(repeats) == 1:
            return "w"
        if len(repeats) == NUM_GROUPS and repeats == group_sizes(sum(repeats)):
            return "w_k"
        if set(repeats) == {1}:
            return "w_plus"
        expected = "one number, all 1, or the layers of coarse, middle and fine such as [4, 4, 10]"
        raise InputError(f"data.latent_repeats: expected {expected}, got {list(repeats)}")


def read_settings(path: Path) -> Clip2LatentSettings:
    """What a YAML file says.

    Raises:
        InputError: when it cannot be read, or says what cannot be drawn here; one line with all mistakes.
    """
    tree = read_tree(path)
    try:
        sections = {name: _section(tree, name) for name in FIXED}
        mistakes = [mistake for name in FIXED for mistake in _mistakes(name, sections[name])]
        if mistakes:
            raise InputError("; ".join(mistakes))
        return _settings(*(sections[name] for name in FIXED))
    except InputError as error:
        raise InputError(f"--config: {path}: {error}") from error


def _settings(network: dict[str, Any], diffusion: dict[str, Any], data: dict[str, Any]) -> Clip2LatentSettings:
    dim, count = _size("model.network.dim", network["dim"]), _size("data.n_latents", data["n_latents"])
    for name, value in (("model.diffusion.image_embed_dim", diffusion), ("data.latent_dim", data)):
        if value.get(key := name.rpartition(".")[2], dim) != dim:
            raise InputError(f"{name}: expected {dim} as model.network.dim, got {_shown(value[key])}")
    repeats = data.get("latent_repeats", [18])
    if not isinstance(repeats, list) or len(repeats) != count:
        raise InputError(f"data.latent_repeats: expected a list of {count} as data.n_latents, got {_shown(repeats)}")
    clip = _text("data.clip_variant", data)
    scale = diffusion.get("image_embed_scale")
    settings = Clip2LatentSettings(
        dim,
        _size("model.network.depth", network["depth"]),
        _size("model.network.heads", network.get("heads", DEFAULT_HEADS)),
        tuple(_size("data.latent_repeats", number) for number in repeats),
        _scale("model.diffusion.image_embed_scale", dim**0.5 if scale is None else scale),
        _scale("model.diffusion.text_embed_scale", diffusion.get("text_embed_scale", 1.0)),
        _text("data.sg_pkl", data),
        None if clip is None else f"{OPENAI_NAMES.get(clip, clip.replace('/', '-'))}/openai",
    )
    settings.latent_layout  # noqa: B018  # refuses repeats of no layout
    return settings


def read_tree(path: Path) -> dict[str, Any]:
    """All that a YAML file says, as plain values; `${a.b}` stands for what is at `a.b`, as OmegaConf has it.

    Raises:
        InputError: when it isn't a small YAML file of keys and values, or has aliases, which could unfold to anything.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"--config: cannot read {path}: {error.strerror or error}; expected a YAML file") from error
    if len(text) > MAX_BYTES:
        raise InputError(f"--config: {path}: expected a YAML file of at most {MAX_BYTES >> 10} KiB")
    try:
        _refuse_tricks(text)
        tree = yaml.load(text, yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        # Odd dates and numbers fail on their way into Python.
        raise InputError(f"--config: {path}: expected YAML, got {one_line(error, 160)}") from error
    if not isinstance(tree, dict):
        raise InputError(f"--config: {path}: expected keys and values, got {_shown(tree)}")
    return tree


def _refuse_tricks(text: bytes) -> None:
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"an alias, *{str(event.anchor)[:40]}")
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} levels")


def _section(tree: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = _find(tree, name)
    if not isinstance(found, dict):
        raise InputError(f"{name}: expected a section of keys and values, got {_shown(found)}")
    return {str(key): _resolved(tree, value) for key, value in found.items()}


def _find(tree: Mapping[str, Any], name: str) -> Any:
    found: Any = tree
    for key in name.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _resolved(tree: Mapping[str, Any], value: Any) -> Any:
    """A value, or what its interpolation stands for; one that leads to a further one stays as it is."""
    match = _INTERPOLATION.fullmatch(value) if isinstance(value, str) else None
    return _find(tree, match[1]) if match else value


def _mistakes(name: str, section: Mapping[str, Any]) -> Iterator[str]:
    """What a section lacks, and what it says that isn't so here."""
    for key in REQUIRED[name]:
        if section.get(key) is None:
            yield f"{name}.{key}: missing"
    known = (*READ[name], *TRAINING_ONLY.get(name, ()))
    for key, value in section.items():
        fixed = FIXED[name]
        if key in fixed and (type(value) is not type(fixed[key]) or value != fixed[key]) and value is not None:
            yield f"{name}.{key}: expected {_shown(fixed[key])}, got {_shown(value)}"
        elif name in TRAINING_ONLY and key not in known and key not in fixed:
            yield f"{name}.{_shown(key)}: not a setting that is known here"


def _size(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SIZE:
        raise InputError(f"{name}: expected a whole number from 1 to {MAX_SIZE}, got {_shown(value)}")
    return value


def _scale(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (isfinite(value) and value > 0):
        raise InputError(f"{name}: expected a number above 0, got {_shown(value)}")
    return float(value)


def _text(name: str, section: Mapping[str, Any]) -> str | None:
    value = section.get(name.rpartition(".")[2])
    if value is not None and not (isinstance(value, str) and value.strip() and value.isprintable()):
        raise InputError(f"{name}: expected a text, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    return one_line(repr(value) if not isinstance(value, str) else ascii(value).strip("'\""), 60)
