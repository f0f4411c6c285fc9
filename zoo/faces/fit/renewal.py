"""Renews what depends on the texts of the faces CLIP where its text tower alone was fitted further.

    python -m text2latent.zoo.faces.fit.renewal --clip FOLDER

takes a CLIP that `fit.clip` has fitted into the shipped weights. Images are embedded as before, so generator, judge
and prior stay as they are: the list of the CLIP's own prompts, the head of `faces-hard`, the mean of texts that the
prior keeps, its record of the CLIP and its domain are made again.
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
from text2latent.zoo.faces.fit.clip import WEIGHTS
from text2latent.zoo.faces.fit.domain import PRIOR, fit_faces_domain
from text2latent.zoo.faces.fit.hard_clip import harden_clip
from text2latent.zoo.faces.language.prompts import write_prompts


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


def renew(fitted: Path, clip: Path = WEIGHTS, prior: Path = PRIOR) -> None:
    """Put a fitted CLIP in the place of the shipped one, and renew all that depends on its texts."""
    require_same_images(clip, fitted)
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        shutil.copyfile(fitted / name, clip / name)
    write_prompts(clip)
    harden_clip()
    renew_prior(prior, ClipEncoder.from_pretrained("faces"))
    fit_faces_domain(prior)


def main(argv: Sequence[str] | None = None) -> int:
    """Take a further fitted CLIP into the shipped weights."""
    parser = ArgumentParser(description=main.__doc__)
    parser.add_argument("--clip", type=Path, required=True, help="folder of the fitted CLIP")
    renew(parser.parse_args(argv).clip)
    return 0


if __name__ == "__main__":
    sys.exit(main())
