"""Print how much of what people type a world of the zoo draws, in either language, with targets for what was held back.

Pictures of each prompt of `zoo/WORLD/language/colloquial.yaml` are classified by the judge. `held` is the half that
fitting never looked at. `prompts` lists what each prompt that users reported draws.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from functools import cache, partial
from typing import cast

from torch import Tensor

from text2latent.benchmarks.report import (
    Figure,
    Measure,
    add_report_flags,
    measure_parts,
    script_parser,
)
from text2latent.common.command import CommandParser, positive_int, run_command, seed
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.zoo.evaluation import COLLOQUIAL_PARTS, SEED, colloquial_captions, find_named, prompt_faithfulness
from text2latent.zoo.judge import load_judge
from text2latent.zoo.language.captions import LANGUAGES, Caption
from text2latent.zoo.world import load_world

load_pipeline = cache(Text2LatentPipeline.from_pretrained)


def part_figures(part: str, config: Namespace) -> list[Figure]:
    """Named attributes that are there, and pictures with all of them, of one part of the prompts."""
    world, figures = load_world(config.world), []
    for language in LANGUAGES:
        captions = colloquial_captions(world, language, part)
        pipeline = load_pipeline(config.model or config.world)
        fit = prompt_faithfulness(world, pipeline, load_judge(world), captions, config.num_images, config.seed)
        targets = (0.95, 0.80) if part == "held" else (None, None)
        figures += [
            Figure(f"named attributes that are there ({language})", fit.named, target=targets[0]),
            Figure(f"pictures with all that is named ({language})", fit.complete, target=targets[1]),
            *(
                Figure(f"named {name} that is there ({language})", x, detail=True)
                for name, x in fit.by_attribute.items()
            ),
        ]
    return figures


PARTS: dict[str, Measure] = {part: partial(part_figures, part) for part in COLLOQUIAL_PARTS}


def wrong_lines(config: Namespace, part: str) -> list[str]:
    """The lines of a Markdown table: each prompt, and what is drawn instead of what it names, with how often."""
    lines = ["| typed | drawn instead |", "|---|---|"]
    for language in LANGUAGES:
        for caption in colloquial_captions(load_world(config.world), language, part):
            lines.append(f"| {caption.text} | {_wrong(config, caption) or 'nothing'} |")
    return lines


def _wrong(config: Namespace, caption: Caption) -> str:
    world, seeds = load_world(config.world), range(config.seed, config.seed + config.num_images)
    drawn = load_pipeline(config.model or config.world)(
        caption.text, num_images_per_prompt=config.num_images, seeds=seeds, output_type="pt"
    )
    codes = load_judge(world).classify(cast(Tensor, drawn.images))
    there, _ = find_named(world, codes, [caption] * len(codes))
    counts = Counter(
        world.attributes[name][row[i]]
        for row, right in zip(codes, there, strict=True)
        for i, name in enumerate(world.names)
        if not right[i]
    )
    return ", ".join(f"{value} {count}" for value, count in counts.most_common())


def build_parser() -> CommandParser:
    parser = script_parser("colloquial", __doc__)
    add = parser.add_argument
    add("--world", default="faces", metavar="NAME", help="Whose prompts and judge are taken.")
    add("--model", metavar="MODEL", help="Another prior: a zoo name, a run or prior folder, or a checkpoint.")
    add("--num-images", type=positive_int, default=16, metavar="N", help="Images per prompt.")
    add("--seed", type=seed, default=SEED, metavar="N", help="Seed of the first image.")
    add("--list", choices=COLLOQUIAL_PARTS, default=None, metavar="PART",
        help="Print instead, as a Markdown table, what is drawn wrong of each prompt of this part.")  # fmt: skip
    add_report_flags(parser, PARTS)
    return parser


def run(config: Namespace, parser: CommandParser) -> None:
    if config.list:
        print("\n".join(wrong_lines(config, config.list)))
    else:
        measure_parts(PARTS, parser, config)


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser()
    return run_command(parser, partial(run, parser=parser), argv)


if __name__ == "__main__":
    sys.exit(main())
