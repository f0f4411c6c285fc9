"""Print how good the parts of a world of the zoo are, each figure beside its target.

What a picture shows is classified by the judge, which is fitted on renders only; CLIP never judges its own pictures.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from functools import cache

from text2latent.benchmarks.report import (
    Figure,
    Measure,
    add_report_flags,
    run_parts,
    scores,
    script_parser,
)
from text2latent.common.command import CommandParser, positive_int, seed
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.generators import load_generator
from text2latent.zoo import evaluation
from text2latent.zoo.judge import load_judge
from text2latent.zoo.language.captions import LANGUAGES
from text2latent.zoo.world import load_world

RERANK = 8
CANDIDATES = f"best of {RERANK} by CLIP"


def judge_figures(config: Namespace) -> list[Figure]:
    """Balanced accuracy of the judge on renders that it has not seen."""
    world = load_world(config.world)
    images, codes = evaluation.held_out_renders(world, config.num_renders, config.seed)
    accuracy = evaluation.judge_accuracy(world, load_judge(world), images, codes)
    return scores("balanced accuracy", accuracy, mean=0.98, each=0.94)


def clip_figures(config: Namespace) -> list[Figure]:
    """Balanced zero-shot accuracy of CLIP on renders that it has not seen, by prompts of either language."""
    world = load_world(config.world)
    images, codes = evaluation.held_out_renders(world, config.num_renders, config.seed)
    clip = ClipEncoder.from_pretrained(_model(config))
    accuracy = {language: evaluation.zero_shot_accuracy(world, clip, language, images, codes) for language in LANGUAGES}
    return [
        figure
        for language, by_attribute in accuracy.items()
        for figure in scores(f"balanced zero-shot accuracy ({language})", by_attribute, mean=0.93, each=0.80)
    ]


def generator_figures(config: Namespace) -> list[Figure]:
    """How often the judge sees in the generator's images what their z stands for (balanced)."""
    world = load_world(config.world)
    images, codes = evaluation.own_images(world, load_generator(_model(config)), config.num_z, config.seed)
    agreement = evaluation.judge_accuracy(world, load_judge(world), images, codes)
    return scores("agreement with the attributes of z", agreement, mean=0.96, each=0.88)


@cache
def load_pipeline(model: str) -> Text2LatentPipeline:
    return Text2LatentPipeline.from_pretrained(model)


def prior_figures(config: Namespace) -> list[Figure]:
    """Pictures of held-out captions at default settings, one candidate each."""
    world, pipeline = load_world(config.world), load_pipeline(_model(config))
    own_images, _ = evaluation.own_images(world, pipeline.generator, config.num_z, config.seed)
    own = evaluation.confidence(load_judge(world), own_images)
    figures = []
    for language in LANGUAGES:
        fit = _faithfulness(config, language)
        figures += [
            Figure(f"named attributes that are there ({language})", fit.named, target=0.93),
            Figure(f"pictures with all that is named ({language})", fit.complete, target=0.70),
            Figure(
                f"judge's confidence over that on the generator's own ({language})", fit.confidence / own, target=0.95
            ),
            Figure(f"variety of what is not named ({language})", fit.diversity),
            *(
                Figure(f"named {name} that is there ({language})", x, detail=True)
                for name, x in fit.by_attribute.items()
            ),
        ]
    return figures


def rerank_figures(config: Namespace) -> list[Figure]:
    """Pictures of the same captions, each the best of several candidates by CLIP score."""
    figures = []
    for language in LANGUAGES:
        fit = _faithfulness(config, language, rerank=RERANK)
        figures += [
            Figure(f"named attributes that are there, {CANDIDATES} ({language})", fit.named, target=0.95),
            Figure(f"pictures with all that is named, {CANDIDATES} ({language})", fit.complete),
        ]
    return figures


def _faithfulness(config: Namespace, language: str, **settings: float) -> evaluation.Faithfulness:
    world, pipeline = load_world(config.world), load_pipeline(_model(config))
    captions = evaluation.held_out_captions(world, config.num_captions, language, config.seed)
    return evaluation.prompt_faithfulness(
        world, pipeline, load_judge(world), captions, config.num_images, config.seed, **settings
    )


def _model(config: Namespace) -> str:
    return str(config.model or config.world)


PARTS: dict[str, Measure] = {
    "judge": judge_figures,
    "clip": clip_figures,
    "generator": generator_figures,
    "prior": prior_figures,
    "rerank": rerank_figures,
}


def build_parser() -> CommandParser:
    parser = script_parser("worlds", __doc__)
    add = parser.add_argument
    add("--world", default="faces", metavar="NAME", help="Whose attributes, captions and judge are taken.")
    add(
        "--model", metavar="MODEL", help="Another generator, CLIP and prior: zoo name, run or prior folder, checkpoint."
    )
    add("--num-renders", type=positive_int, default=2000, metavar="N", help="Renders for judge and CLIP.")
    add("--num-z", type=positive_int, default=1000, metavar="N", help="Images of the generator's own.")
    add("--num-captions", type=positive_int, default=200, metavar="N", help="Captions per language.")
    add("--num-images", type=positive_int, default=4, metavar="N", help="Images per caption.")
    add("--seed", type=seed, default=evaluation.SEED, metavar="N", help="Seed of renders, z, captions and images.")
    add_report_flags(parser, PARTS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run_parts(PARTS, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
