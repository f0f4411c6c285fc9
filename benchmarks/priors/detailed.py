"""Measure who still shows all that a text says, the more it says: retrieval from few and many pairs, and the prior.

    python benchmarks/priors/detailed.py --pairs runs/faces/pairs

The prompts are held-out English captions that name as many attributes as a row's group says (Japanese ones have no room
for more than six); the prior is the model's own, trained on the same pairs. What is measured stays in the work folder:
run again after an interruption, it goes on.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

from text2latent.benchmarks.priors import methods
from text2latent.benchmarks.priors.claims import OURS, RERANK, lead
from text2latent.benchmarks.priors.measuring import Bench, Draw
from text2latent.benchmarks.priors.report import CPU_TIME, Results, Row, file_name, markdown, write_results
from text2latent.benchmarks.priors.training import Pairs, add_place_flags
from text2latent.benchmarks.report import Figure, command_line, script_parser
from text2latent.common.command import CommandParser, check_output_folder, positive_int, run_command
from text2latent.inference.pipeline import Settings
from text2latent.inference.settings import DEFAULT_GUIDANCE_SCALE, DEFAULT_STEPS
from text2latent.models.priors.folder import TrainedPrior, load_prior
from text2latent.zoo.evaluation import SEED, held_out_captions
from text2latent.zoo.world import load_world

FACES = load_world("faces")

NUM_NAMED = (1, 2, 4, 6, 8, 10)
FEW_PAIRS = (1000, 8000)
DETAILED_SEED = SEED + 5_000_000


def build_parser() -> CommandParser:
    parser = script_parser("priors/detailed", __doc__)
    add_place_flags(parser, "runs/detailed", num_images=2, default_seed=DETAILED_SEED)
    parser.add_argument("--num-prompts", type=positive_int, default=200, metavar="N",
        help="Prompts of each number of attributes.")  # fmt: skip
    return parser


def compared(bench: Bench, trained: TrainedPrior, pairs: Pairs) -> Iterator[tuple[str, str, Draw]]:
    """The methods, by name and by what keeps their files apart from those of other pairs or another prior."""
    latents, embeddings = pairs.tensors
    for count in (*(count for count in FEW_PAIRS if count < len(latents)), len(latents)):
        yield f"nearest of {count} pairs", pairs.digest, methods.retrieval(bench, latents[:count], embeddings[:count])
    assert trained.identity is not None
    key = f"{trained.identity.sha256[:12]}-{DEFAULT_GUIDANCE_SCALE:g}"
    yield OURS, key, methods.diffusion(bench, trained.prior, trained.scheduler, DEFAULT_STEPS, DEFAULT_GUIDANCE_SCALE)
    settings = Settings(DEFAULT_STEPS, DEFAULT_GUIDANCE_SCALE, rerank=RERANK, return_scores=False)
    yield f"{OURS}, best of {RERANK}", key, methods.controlled(bench, trained.prior, trained.scheduler, settings)


def measure(config: Namespace) -> None:
    work, output = check_output_folder(config.work, flag="--work"), check_output_folder(config.output)
    work.mkdir(parents=True, exist_ok=True)
    pairs, trained = Pairs(config.pairs, config.val_pairs), load_prior(config.model)
    groups = [rows_of(config, work, count, trained, pairs) for count in NUM_NAMED]
    rows, claims = [row for group in groups for row in group], [ours_and_retrieval(group) for group in groups]
    results = Results(command_line(build_parser(), config), rows, claims=claims, note=CPU_TIME)
    print(markdown(results))
    for file in write_results(results, output, "detailed"):
        print(f"wrote {file}", file=sys.stderr)


def rows_of(config: Namespace, work: Path, count: int, trained: TrainedPrior, pairs: Pairs) -> list[Row]:
    captions = held_out_captions(FACES, config.num_prompts, "en", config.seed, count)
    bench = Bench(config.model, captions, range(config.seed, config.seed + config.num_images), work)
    group = f"{count} of {len(FACES.names)} attributes named"
    rows = []
    for name, key, draw in compared(bench, trained, pairs):
        measured = bench.measure(f"{file_name(name)}-{key}", draw)
        rows.append(Row(f"{name}, {count} named", group, bench.summarize(measured), measured.num_prompts))
    return rows


def ours_and_retrieval(rows: Sequence[Row]) -> Figure:
    """How far our prior, drawing once, is ahead of retrieval from all pairs."""
    *_, retrieval, ours, _ = rows
    return lead(ours, retrieval)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), measure, argv)


if __name__ == "__main__":
    sys.exit(main())
