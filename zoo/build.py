"""Rebuilds all of a world from seed 0: judge, CLIP, generator, then the prior by the package's own verbs.

python -m text2latent.zoo.build WORLD
"""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import torch

from text2latent.common.command import CommandParser, positive_int, run_command
from text2latent.common.errors import UsageError
from text2latent.common.extras import require_extra
from text2latent.models.priors.folder import load_prior, save_prior
from text2latent.zoo.fit.clip import fit_clip
from text2latent.zoo.fit.domain import fit_world_domain
from text2latent.zoo.fit.generator import fit_generator
from text2latent.zoo.fit.hard_clip import hard_twin, harden_clip
from text2latent.zoo.fit.judge import fit_judge
from text2latent.zoo.judge import FILE
from text2latent.zoo.language.prompts import write_prompts
from text2latent.zoo.world import World, load_world, world_names


def build_judge(world: World, work: Path, weights: Path) -> None:
    """Fit the judge."""
    fit_judge(world, work, weights / FILE)


def build_clip(world: World, work: Path, weights: Path) -> None:
    """Fit the CLIP, and make what depends on it alone: its list of prompts, and the hard twin of the shipped one."""
    fit_clip(world, work, weights / "clip")
    write_prompts(world, weights / "clip")
    if weights == world.weights and (twin := hard_twin(world)):
        harden_clip(twin, world.name)


def build_generator(world: World, work: Path, weights: Path) -> None:
    """Fit the generator, with the CLIP that is there."""
    fit_generator(world, work, weights / "clip", weights / "generator")


def build_prior(world: World, work: Path, weights: Path) -> None:
    """Sample pairs, train on them as anyone would, and keep the trained prior."""
    pairs, run = work / "pairs", work / "prior"
    # The name is true wherever the package is installed.
    model = world.name if weights == world.weights else str(weights)
    numbers = ("--num-pairs", str(world.fit["prior"]["num_pairs"]), "--precision", "bf16")
    _verb("sample", "--model", model, *numbers, "--output", str(pairs))
    _verb("train", "--config", world.name, "--model", model, "--data.path", str(pairs), "--output", str(run))
    trained = load_prior(str(run / "prior"))
    trained.prior.half()
    save_prior(weights / "prior", trained)
    fit_world_domain(world, weights / "prior")


def _verb(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "text2latent", *arguments], check=True)


PARTS = {"judge": build_judge, "clip": build_clip, "generator": build_generator, "prior": build_prior}


def build_parser() -> CommandParser:
    parser = CommandParser("build", __doc__)
    parser.prog = "python -m text2latent.zoo.build"
    add = parser.add_argument
    add("world", choices=world_names(), help="World to build.")
    add("--only", action="append", metavar="PART",
        help=f"Build this part alone, one of {', '.join(PARTS)}; repeat it for several.")  # fmt: skip
    add("--output", metavar="DIR", help="Folder for the finished weights; by default those that ship.")
    add("--work", metavar="DIR", help="Folder for checkpoints, logs and grids; by default runs/zoo-WORLD.")
    add("--threads", type=positive_int, default=torch.get_num_threads(), metavar="N", help="CPU threads.")
    return parser


def run(config: Namespace) -> None:
    """Build the parts in their order; what an interrupted build has reached is kept."""
    require_extra("build", "zoo", ["skia"])
    chosen = config.only or list(PARTS)
    if unknown := [part for part in chosen if part not in PARTS]:
        raise UsageError(f"--only: expected one of {', '.join(PARTS)}, got {unknown[0]!r}")
    world = load_world(config.world)
    work, output = Path(config.work or f"runs/zoo-{world.name}"), Path(config.output or world.weights)
    torch.set_num_threads(config.threads)
    for part, build in PARTS.items():
        if part in chosen:
            build(world, work, output)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
