"""clip2latent's files into folders of ours: its checkpoints as priors, its pairs as datasets."""

from __future__ import annotations

import importlib.metadata
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from text2latent.common.command import check_output_folder, progress
from text2latent.common.errors import InputError
from text2latent.common.files import new_parents, replacing
from text2latent.models.sources.identity import Identity, sha256_of

if TYPE_CHECKING:
    from text2latent.models.clip.encoder import ClipEncoder
    from text2latent.models.generators.base import Generator
    from text2latent.models.priors.clip2latent_yaml import Clip2LatentSettings

UNKNOWN = "unknown"
DOMAIN = "domain.safetensors"
LIBRARIES = ("text2latent", "torch")
LOST_ROWS = (
    "the rows of all latents' coarse and middle layers are alike: clip2latent's script keeps the middle layers' w in "
    "place of the coarse ones', which is lost; a prior of these pairs learns coarse layers that don't fit the images"
)


def convert_prior(config: Namespace) -> dict[str, Any]:
    """Write a checkpoint with its YAML file as a prior folder; returns what was found."""
    from text2latent.models.generators.formats.folder import check_target
    from text2latent.models.network import CLASS_NAME, CONFIG, WEIGHTS
    from text2latent.models.priors.clip2latent import read_prior, scheduler_of
    from text2latent.models.priors.clip2latent_yaml import read_settings
    from text2latent.models.priors.folder import RECORD, SCHEDULER, TrainedPrior, save_prior
    from text2latent.models.sources.fetching import fetch
    from text2latent.models.sources.whereabouts import to_record

    target, yaml_file = Path(config.output), fetch(config.config)
    settings = read_settings(yaml_file)
    check_target(target, config.overwrite, {CONFIG, WEIGHTS, SCHEDULER, RECORD, DOMAIN}, "a prior's")
    check_output_folder(target.parent, flag="OUT")
    source = fetch(config.input)
    prior, scheduler = read_prior(source, settings), scheduler_of()
    generator, clip = _load(config)
    _require_fit(settings, generator, clip)
    digest = sha256_of(source)
    record = {
        "generator": to_record(_identify(generator, settings.generator, "generator"), target),
        "clip": to_record(_identify(clip, settings.clip, "clip"), target),
        "converted_from": {"name": source.stem, "sha256": digest, "config_sha256": sha256_of(yaml_file)},
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "prior": {CLASS_NAME: type(prior).__name__, **prior.config},
        "scheduler": {CLASS_NAME: scheduler.name, **scheduler.config},
    }
    with new_parents(target):
        save_prior(target, TrainedPrior(prior, scheduler, record))
    return {
        "input": str(config.input),
        "input_sha256": digest,
        "network": f"{type(prior).__name__} of clip2latent",
        "latents": f"{prior.latent_layout} {list(prior.latent_shape)}",
        "parameters": sum(parameter.numel() for parameter in prior.parameters()),
        **_named(record),
        "output": str(target),
        "sha256": sha256_of(target / WEIGHTS),
    }


def convert_pairs(config: Namespace) -> dict[str, Any]:
    """Write shards or folders of pairs as a dataset; returns what was found."""
    from text2latent.data.clip2latent_pairs import find_pairs, read_shapes, write_pairs
    from text2latent.models.sources.whereabouts import with_absolute_path

    target = check_output_folder(config.output, empty=True, flag="OUT")
    pairs = find_pairs(Path(config.input))
    shapes = read_shapes(pairs[0])
    generator, clip = _load(config)
    _require_shapes(shapes.latent[1], shapes.embedding, generator, clip)
    identities = {
        part: with_absolute_path(_identify(network, None, part))
        for part, network in (("generator", generator), ("clip", clip))
    }
    with new_parents(target), replacing(target) as partial, progress(total=len(pairs), unit="pairs") as bar:
        lacks_coarse = write_pairs(pairs, shapes, partial, identities["generator"], identities["clip"], bar.update)
    if lacks_coarse:
        warn(LOST_ROWS)
    return {
        "input": str(config.input),
        "pairs": len(pairs),
        "latents": f"{shapes.layout} {list(shapes.latent)}",
        "embeddings": f"[{shapes.embedding}], made of unit length",
        **_named({part: identity.to_dict() for part, identity in identities.items()}),
        "output": str(target),
    }


def warn(line: str) -> None:
    print(f"text2latent convert: warning: {line}", file=sys.stderr)


def _load(config: Namespace) -> tuple[Generator | None, ClipEncoder | None]:
    """Generator and CLIP that the flags name, if they do."""
    from text2latent.models.clip.arguments import named_clip
    from text2latent.models.clip.encoder import ClipEncoder
    from text2latent.models.generators import load_generator

    generator = None if config.generator is None else load_generator(config.generator)
    clip = named_clip(config.clip, config.clip_args)
    return generator, None if config.clip is None or clip is None else ClipEncoder.from_pretrained(clip)


def _identify(network: Generator | ClipEncoder | None, named: str | None, part: str) -> Identity:
    """Identity of a network, or of one that is only named, without a checksum; then says so."""
    if network is not None:
        assert network.identity is not None
        return network.identity
    source = named or UNKNOWN
    warn(f"{part} {source}: it is not known which weights these are; --{part} says so, and keeps their checksum")
    return Identity(source if part == "clip" else Path(source).stem or UNKNOWN, source, "")


def _require_fit(settings: Clip2LatentSettings, generator: Generator | None, clip: ClipEncoder | None) -> None:
    _require_shapes(settings.dim, settings.dim, generator, clip)
    layers = sum(settings.latent_repeats)
    if generator is not None and generator.num_ws != layers:
        raise InputError(f"--generator: expected one of {layers} layers as the YAML file says, got {generator.num_ws}")


def _require_shapes(channels: int, embedding_dim: int, generator: Generator | None, clip: ClipEncoder | None) -> None:
    if generator is not None and generator.w_dim != channels:
        raise InputError(f"--generator: expected latents of {channels} channels, got {generator.w_dim}")
    if clip is not None and clip.embedding_dim != embedding_dim:
        raise InputError(f"--clip: expected embeddings of {embedding_dim} channels, got {clip.embedding_dim}")


def _named(record: dict[str, Any]) -> dict[str, str]:
    return {part: str(Identity.from_dict(record[part])) for part in ("generator", "clip")}
