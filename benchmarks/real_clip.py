"""Train priors on embeddings of a real CLIP that were computed elsewhere, and ask them for attributes by text.

    python benchmarks/real_clip.py --embeddings F.npz --texts F.npz --questions F.json --pairs F.npz --json OUT

There is no generator: the latent of an image is its attributes, standardised, with noise. Priors are trained with the
project's own training, a few hundred steps, from several seeds; then a text that names an attribute is to move it. With
`--pairs`, priors are also trained on images of matching pairs, and are to bring the texts of others to their images.
What is trained stays in the work folder: run again after an interruption, it goes on. See `docs/real_clip.md`.
"""

from __future__ import annotations

import dataclasses
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from text2latent.apps.evaluation.metrics import Estimate
from text2latent.benchmarks import real_clip_data as data
from text2latent.benchmarks import real_clip_measuring as measuring
from text2latent.benchmarks.priors.ablate import Variant, noises
from text2latent.benchmarks.priors.configs import PLAIN, packaged_config
from text2latent.benchmarks.priors.report import Results, Row
from text2latent.benchmarks.priors.training import Pairs, Recipe, train_recipe
from text2latent.benchmarks.real_clip_report import table, write_page
from text2latent.benchmarks.report import command_line, script_parser
from text2latent.common.command import (
    CommandParser,
    check_output_file,
    check_output_folder,
    positive_int,
    run_command,
)
from text2latent.common.errors import UsageError
from text2latent.configs.schema import DataConfig, OptimizerConfig, PriorConfig, TextConfig, TrainConfig
from text2latent.data.datamodule import PairDataModule
from text2latent.models.priors.diffusion import Guidance
from text2latent.models.priors.prior import Prior
from text2latent.training import assembly

LATENT_NOISE = 0.3
"""Standard deviation of the noise on the standardised attributes."""
COMPONENTS = 32
"""Principal components of matching pairs' images that are their latent."""
VAL_PAIRS = 50
TRAIN_SHARE = 0.8
"""Of the matching pairs; the texts of the others are asked."""
WARMUP_STEPS = 50
PSEUDO_TEXT = (
    "condition_dropout",
    "noise_scale",
    "random_noise",
)
"""What makes a recipe's pseudo-text, of the section `diffusion`."""


def build_parser() -> CommandParser:
    parser = script_parser("real_clip", __doc__)
    add = parser.add_argument
    add("--embeddings", required=True, metavar="FILE", help="Images: embeddings, attributes and names, in an npz file.")
    add("--texts", required=True, nargs="+", action="extend", metavar="FILE",
        help="Texts: embeddings and texts, in npz files. Those of the first show where texts lie.")  # fmt: skip
    add("--questions", required=True, metavar="FILE", help="JSON list of objects with text, attribute and sign.")
    add("--pairs", default=None, metavar="FILE", help="Matching images and texts, in an npz file.")
    add("--json", required=True, metavar="FILE", help="JSON file for the results; one that is there is replaced.")
    add("--page", default=None, metavar="FILE", help="Page to write the table into, such as docs/real_clip.md.")
    add("--work", default="runs/real-clip", metavar="FOLDER", help="Folder for what is trained.")
    add("--seeds", type=positive_int, default=3, metavar="N", help="Priors of each recipe.")
    add("--steps", type=positive_int, default=800, metavar="N", help="Training steps of each.")
    add("--width", type=positive_int, default=256, metavar="N", help="Channels of their blocks.")
    add("--depth", type=positive_int, default=4, metavar="N", help="Their blocks.")
    add("--num-samples", type=positive_int, default=64, metavar="N", help="Latents for each text.")
    add("--only", action="append", metavar="GROUP", help="Rows of this group; repeat for several.")
    return parser


def base_config(flags: Namespace) -> TrainConfig:
    """The defaults of `text2latent train`, but for the size of the network and the length of the training."""
    return TrainConfig(
        output="run",
        data=DataConfig(path="pairs"),
        prior=PriorConfig(width=flags.width, depth=flags.depth),
        optimizer=OptimizerConfig(warmup_steps=WARMUP_STEPS),
        max_steps=flags.steps,
    )


def recipes() -> Iterator[Variant]:
    """The rows: the defaults, clip2latent's pseudo-text, and one choice of the defaults changed at a time."""
    plain = packaged_config(PLAIN)
    theirs = {f"diffusion.{key}": getattr(plain.diffusion, key) for key in PSEUDO_TEXT}
    theirs |= {f"text.{key}": value for key, value in dataclasses.asdict(plain.text).items()}
    yield Variant("recipe", "default")
    yield Variant("recipe", "clip2latent", theirs)
    yield Variant("gap", "embeddings not centred", {"text.prompts": None})
    yield Variant("gap", "clip2latent, embeddings centred", {**theirs, "text.prompts": TextConfig().prompts})
    yield from noises((0.0, 1.0, 2.0, 3.0), (1.0, 2.0, 3.0))
    for scale in (1.0, 1.5, 2.0, 3.0):
        yield Variant("guidance", f"guidance {scale:g}", guidance=Guidance(scale))


def choose(base: TrainConfig, only: Sequence[str] | None) -> list[Variant]:
    """The rows that differ from the defaults, of all groups or some.

    Raises:
        UsageError: for an unknown group.
    """
    rows = [row for row in recipes() if row.name == "default" or row.changes_anything(base)]
    groups = [*dict.fromkeys(row.group for row in rows)]
    unknown = [name for name in only or () if name not in groups]
    if unknown:
        raise UsageError(f"--only: expected one of {', '.join(groups)}, got {unknown[0]!r}")
    return [row for row in rows if not only or row.group in only]


class RealClip:
    """The embeddings, and what priors trained on them make of texts.

    Args:
        flags: see `build_parser`.
        work: folder for what is trained.
    """

    def __init__(self, flags: Namespace, work: Path) -> None:
        self.flags, self.work = flags, work
        self.images = data.read_images(flags.embeddings)
        self.texts = data.read_texts(flags.texts)
        self.questions = data.read_questions(flags.questions, self.texts, self.images.names)
        self.matching = None if flags.pairs is None else data.read_matching(flags.pairs)
        data.require_same_width(self.images, self.texts)

    @cached_property
    def faces(self) -> Pairs:
        noise = torch.randn(self.images.attributes.shape, generator=torch.Generator().manual_seed(0))
        return data.make_pairs(self.images.attributes + LATENT_NOISE * noise, self.images.embeddings, VAL_PAIRS)

    @cached_property
    def num_matching(self) -> int:
        assert self.matching is not None
        return int(TRAIN_SHARE * len(self.matching.images))

    def train(self, config: TrainConfig, pairs: Pairs, general: Tensor) -> Prior:
        """A prior of a configuration; general texts `[M, E]` stand for its prompts, where it has any."""
        known = None if config.text.prompts is None else general.mean(dim=0)
        without = dataclasses.replace(config, text=dataclasses.replace(config.text, prompts=None))

        def new_prior(config: TrainConfig, data: PairDataModule) -> Prior:
            prior = assembly.new_prior(without, data)
            assembly.set_statistics(prior, data.statistics, known)
            return prior

        recipe = Recipe(f"real-clip-{self.flags.steps}", config, new_prior=new_prior)
        return train_recipe(recipe, pairs, self.work).prior

    def measure(self, variant: Variant) -> Row:
        config = variant.apply(base_config(self.flags))
        seeds = [dataclasses.replace(config, seed=seed) for seed in range(self.flags.seeds)]
        figures = self.ask(seeds, variant)
        if self.matching is not None:
            figures |= self.find(seeds, variant)
        return Row(variant.name, variant.group, figures, len({question.text for question in self.questions}))

    def corrections(self) -> list[Row]:
        """How near texts are to their own images as embeddings, without a prior, before and after each correction."""
        if self.matching is None:
            return []
        known, asked = self.matching[: self.num_matching], self.matching[self.num_matching :]
        return [
            Row(
                name,
                "embeddings",
                measuring.retrieval_figures([measuring.retrieve(*correct(known, asked))], "text_"),
                0,
            )
            for name, correct in measuring.CORRECTIONS.items()
        ]

    def drawing(self, config: TrainConfig, variant: Variant) -> measuring.Drawing:
        how = config.diffusion
        return measuring.Drawing(how.sampler, how.objective, variant.steps, variant.guidance, self.flags.num_samples)

    def ask(self, configs: Sequence[TrainConfig], variant: Variant) -> dict[str, Estimate]:
        """How the attributes that texts name move, for priors of several seeds."""
        asked = self.texts.of(self.questions)
        latents = []
        for config in configs:
            prior = self.train(config, self.faces, self.texts.general)
            latents.append(measuring.mean_latents(prior, prior.text_condition(asked), self.drawing(config, variant)))
        return measuring.judge(latents, self.questions, self.images.names).figures()

    def find(self, configs: Sequence[TrainConfig], variant: Variant) -> dict[str, Estimate]:
        """How near the latents drawn for texts are to their own images' latents, for priors of several seeds."""
        assert self.matching is not None
        count = self.num_matching
        own = measuring.image_latents(self.matching, count, COMPONENTS)
        pairs = data.make_pairs(own[:count], self.matching.images[:count], 1)
        found = []
        for config in configs:
            prior = self.train(config, pairs, self.matching.texts[:count])
            condition = prior.text_condition(self.matching.texts[count:])
            drawn = measuring.mean_latents(prior, condition, self.drawing(config, variant))
            found.append(measuring.retrieve(drawn, own[count:]))
        return measuring.retrieval_figures(found, "pairs_")


def run(flags: Namespace) -> None:
    file = check_output_file(flags.json, overwrite=True, flag="--json")
    work = check_output_folder(flags.work, flag="--work")
    page = None if flags.page is None else check_output_file(flags.page, overwrite=True, flag="--page")
    variants = choose(base_config(flags), flags.only)
    bench = RealClip(flags, work)
    work.mkdir(parents=True, exist_ok=True)
    rows = bench.corrections() + [bench.measure(variant) for variant in variants]
    results = Results(command_line(build_parser(), flags, without=("json", "page", "work")), rows)
    print(table(results))
    results.save(file)
    if page is not None:
        write_page(results, page)
    print(f"wrote {file}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
