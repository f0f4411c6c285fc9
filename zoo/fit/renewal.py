"""Renews what depends on the texts of a world's CLIP where its text tower alone was fitted further.

    python -m text2latent.zoo.fit.renewal WORLD --clip FOLDER

takes a CLIP that `fit.clip` has fitted into the shipped weights. Images are embedded as before, so generator, judge
and prior stay as they are: the list of the CLIP's own prompts, the head of its hard twin, if it has one,
the mean of texts that the prior keeps, its record of the CLIP and its domain are made again.
"""

from __future__ import annotations

import shutil
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from text2latent.common.errors import InputError
from text2latent.inference.prompt_lists import AUTO, embed_prompt_list
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.clip.files import WEIGHTS_NAME
from text2latent.models.clip.published import CONFIG_NAME
from text2latent.models.priors.folder import load_prior, save_prior
from text2latent.zoo.fit.domain import fit_world_domain
from text2latent.zoo.fit.hard_clip import hard_twin, harden_clip
from text2latent.zoo.language.prompts import write_prompts
from text2latent.zoo.world import World, load_world, world_names


def require_same_images(before: Path, after: Path) -> None:
    """Refuse a CLIP folder whose image tower isn't that of another; raises `InputError`."""
    old, new = (load_file(folder / WEIGHTS_NAME) for folder in (before, after))
    changed = [name for name in old if name.startswith("visual.") and not torch.equal(old[name], new[name])]
    if changed:
        raise InputError(f"{after}: expected the image tower of {before}, got another {changed[0]}")


def renew_prior(prior: Path, clip: ClipEncoder) -> None:
    """Let a prior folder know where the texts of a CLIP lie, whose images lie where they lay before.

    The folder's domain, which was that of the old texts, is left out.
    """
    assert clip.identity is not None
    trained = load_prior(str(prior))
    trained.prior.text_centre.copy_(embed_prompt_list(clip, AUTO).mean(dim=0))
    trained.record["clip"] = clip.identity.to_dict()
    trained.prior.half()
    save_prior(prior, trained)


def renew(world: World, fitted: Path) -> None:
    """Put a fitted CLIP in the place of the shipped one, and renew all that depends on its texts."""
    clip, prior = world.weights / "clip", world.weights / "prior"
    require_same_images(clip, fitted)
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        shutil.copyfile(fitted / name, clip / name)
    write_prompts(world, clip)
    if twin := hard_twin(world):
        harden_clip(twin, world.name)
    renew_prior(prior, ClipEncoder.from_pretrained(world.name))
    fit_world_domain(world, prior)


def main(argv: Sequence[str] | None = None) -> int:
    """Take a further fitted CLIP into the shipped weights."""
    parser = ArgumentParser(description=main.__doc__)
    parser.add_argument("world", choices=world_names(), help="world whose CLIP it is")
    parser.add_argument("--clip", type=Path, required=True, help="folder of the fitted CLIP")
    flags = parser.parse_args(argv)
    renew(load_world(flags.world), flags.clip)
    return 0


if __name__ == "__main__":
    sys.exit(main())
