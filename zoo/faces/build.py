"""Rebuilds all of the faces world from seed 0: judge, CLIP, generator, then the prior by the package's own verbs."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch

from text2latent.models.prior_folder import load_prior, save_prior
from text2latent.zoo.faces.fit_clip import fit_clip
from text2latent.zoo.faces.fit_domain import fit_faces_domain
from text2latent.zoo.faces.fit_generator import fit_generator
from text2latent.zoo.faces.fit_judge import fit_judge
from text2latent.zoo.faces.harden_clip import harden_clip
from text2latent.zoo.faces.write_prompts import write_prompts

WEIGHTS = Path(__file__).parent / "weights"
WORK = Path("runs/zoo-faces")
NUM_PAIRS = 60_000


def fit_prior(work: Path, weights: Path) -> None:
    """Sample pairs, train on them as anyone would, and keep the trained prior."""
    pairs, run = work / "pairs", work / "prior"
    world = "faces" if weights == WEIGHTS else str(weights)  # the name is true wherever the package is installed
    numbers = ("--num-pairs", str(NUM_PAIRS), "--precision", "bf16")
    _verb("sample", "--model", world, *numbers, "--output", str(pairs))
    _verb("train", "--config", "faces", "--model", world, "--data.path", str(pairs), "--output", str(run))
    trained = load_prior(str(run / "prior"))
    trained.prior.half()
    save_prior(weights / "prior", trained)
    fit_faces_domain(weights / "prior")


def _verb(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "text2latent", *arguments], check=True)


def main() -> None:
    """Build all parts; what an interrupted build has reached is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="folder for the finished weights")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for checkpoints, logs and grids")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    fit_judge(options.work, options.output / "judge" / "model.safetensors")
    fit_clip(options.work, options.output / "clip")
    write_prompts(options.output / "clip")
    if options.output == WEIGHTS:  # whose CLIP is the one that faces-hard stands on
        harden_clip()
    fit_generator(options.work, options.output / "clip", options.output / "generator")
    fit_prior(options.work, options.output)


if __name__ == "__main__":
    main()
