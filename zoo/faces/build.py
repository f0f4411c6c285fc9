"""Rebuilds all of the faces world from seed 0: judge, CLIP, generator, then the prior by the package's own verbs."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import torch

from text2latent.common.command import CommandParser, positive_int, run_command
from text2latent.common.extras import require_extra
from text2latent.models.priors.folder import load_prior, save_prior
from text2latent.zoo.faces.fit.clip import fit_clip
from text2latent.zoo.faces.fit.domain import fit_faces_domain
from text2latent.zoo.faces.fit.generator import fit_generator
from text2latent.zoo.faces.fit.hard_clip import harden_clip
from text2latent.zoo.faces.fit.judge import fit_judge
from text2latent.zoo.faces.language.prompts import write_prompts

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


def build_parser() -> CommandParser:
    parser = CommandParser("build", __doc__)
    parser.prog = "python -m text2latent.zoo.faces.build"
    add = parser.add_argument
    add("--output", default=str(WEIGHTS), metavar="DIR", help="Folder for the finished weights.")
    add("--work", default=str(WORK), metavar="DIR", help="Folder for checkpoints, logs and grids.")
    add("--threads", type=positive_int, default=torch.get_num_threads(), metavar="N", help="CPU threads.")
    return parser


def run(config: Namespace) -> None:
    """Build all parts; what an interrupted build has reached is kept."""
    require_extra("build", "zoo", ["skia"])
    work, output = Path(config.work), Path(config.output)
    torch.set_num_threads(config.threads)
    fit_judge(work, output / "judge" / "model.safetensors")
    fit_clip(work, output / "clip")
    write_prompts(output / "clip")
    if output == WEIGHTS:  # whose CLIP is the one that faces-hard stands on
        harden_clip()
    fit_generator(work, output / "clip", output / "generator")
    fit_prior(work, output)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
