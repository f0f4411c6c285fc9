"""Print how well out-of-domain scores separate captions of faces from sentences that have nothing to do with them.

The faces are held-out captions in English and Japanese; the sentences are the 400 of `data/unrelated.txt`, half of
them in Japanese, Chinese or Korean. The threshold comes with the model and has seen neither.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from text2latent.benchmarks.report import (
    Figure,
    Measure,
    add_model_flag,
    add_report_flags,
    measure_parts,
    script_parser,
)
from text2latent.common.command import CommandParser, positive_int, run_command, seed
from text2latent.common.errors import InputError
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.inference.prompts import read_prompt_file
from text2latent.zoo.evaluation import SEED, held_out_captions
from text2latent.zoo.language.captions import LANGUAGES
from text2latent.zoo.world import load_world

FACES = load_world("faces")

UNRELATED = Path(__file__).parents[1] / "data" / "unrelated.txt"


def area_under_curve(inside: np.ndarray, outside: np.ndarray) -> float:
    """Area under the ROC curve: how often a score from outside exceeds one from inside, ties counting half."""
    return float(((outside[:, None] > inside) + 0.5 * (outside[:, None] == inside)).mean())


def domain_figures(config: Namespace) -> list[Figure]:
    """ROC AUC by language, and how many of either kind are warned of."""
    pipeline = Text2LatentPipeline.from_pretrained(config.model)
    if pipeline.domain is None:
        raise InputError(f"--model: {config.model} has no domain.safetensors; expected a model that knows its domain")
    captions = {
        language: [caption.text for caption in held_out_captions(FACES, config.num_captions, language, config.seed)]
        for language in LANGUAGES
    }
    sentences = [line.text for line in read_prompt_file(UNRELATED)]
    unrelated = {
        "en": [text for text in sentences if text.isascii()],
        "ja": [text for text in sentences if not text.isascii()],
    }
    inside, outside = ([text for texts in kind.values() for text in texts] for kind in (captions, unrelated))
    figures = [Figure("ROC AUC of unrelated sentences against captions", _auc(pipeline, inside, outside))]
    figures += [Figure(f"ROC AUC ({name})", _auc(pipeline, captions[name], unrelated[name])) for name in LANGUAGES]
    figures.append(Figure("ROC AUC of the distance alone", _distance_auc(pipeline, inside, outside)))
    shares = {"captions": inside, "unrelated sentences": outside}
    figures += [Figure(f"{name} that are warned of", _warned(pipeline, texts)) for name, texts in shares.items()]
    by_language = {f"{what} that are warned of ({name})": texts[name] for name in LANGUAGES
                   for what, texts in (("captions", captions), ("unrelated sentences", unrelated))}  # fmt: skip
    return figures + [Figure(name, _warned(pipeline, texts)) for name, texts in by_language.items()]


def _auc(pipeline: Text2LatentPipeline, inside: Sequence[str], outside: Sequence[str]) -> float:
    return area_under_curve(*(_rate(pipeline, texts).numpy() for texts in (inside, outside)))


def _distance_auc(pipeline: Text2LatentPipeline, inside: Sequence[str], outside: Sequence[str]) -> float:
    assert pipeline.domain is not None
    conditions = (pipeline.text_condition(pipeline.encode_prompts(texts)) for texts in (inside, outside))
    return area_under_curve(*(pipeline.domain.distances(rows).cpu().numpy() for rows in conditions))


def _rate(pipeline: Text2LatentPipeline, texts: Sequence[str]) -> Tensor:
    assert pipeline.domain is not None
    return pipeline.domain.rate(pipeline.clip, texts, pipeline.text_condition(pipeline.encode_prompts(texts)))[0]


def _warned(pipeline: Text2LatentPipeline, texts: Sequence[str]) -> float:
    return float(np.mean([score.is_outside for score in pipeline.domain_scores(texts) or ()]))


PARTS: dict[str, Measure] = {"domain": domain_figures}


def build_parser() -> CommandParser:
    parser = script_parser("priors/out_of_domain", __doc__)
    add_model_flag(parser)
    add = parser.add_argument
    add("--num-captions", type=positive_int, default=500, metavar="N", help="Held-out captions per language.")
    add("--seed", type=seed, default=SEED, metavar="N", help="Seed of the captions.")
    add_report_flags(parser, PARTS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser()
    return run_command(parser, partial(measure_parts, PARTS, parser), argv)


if __name__ == "__main__":
    sys.exit(main())
