"""Read a dataset of pairs back, and report what is missing, damaged or doesn't belong there.

    text2latent verify pairs

Exits with 0 if all is well, and else with 1. What is missing or damaged, `text2latent sample` makes anew.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict

from text2latent.common.command import CommandParser, progress, run_command


def build_parser() -> CommandParser:
    parser = CommandParser("verify", "Read a dataset of pairs back and report every shard that is not as it should be.")
    add = parser.add_argument
    add("dataset", metavar="DATASET", help="Folder of the pairs, or s3://, gs:// or http(s)://.")
    add("--shards", metavar="RANGE", help="Shards to read, such as 0..99 or 3,7, instead of all.")
    add("--json", action="store_true", help="Print the report as JSON.")
    return parser


def verify(config: Namespace) -> int:
    """Print the problems of a dataset; returns the exit code."""
    from text2latent.data.filling import parse_shards
    from text2latent.data.records import read_manifest
    from text2latent.data.verification import find_problems

    manifest = read_manifest(config.dataset)
    indices = parse_shards(config.shards, manifest.num_shards)
    total = sum(len(manifest.shard_range(index)) for index in indices)
    problems = []
    with progress(total=total, unit="pairs") as bar:
        for problem in find_problems(config.dataset, None if config.shards is None else indices, bar.update):
            problems.append(problem)
            if not config.json:
                print(problem, flush=True)
    report = {
        "dataset": config.dataset,
        "shards": len(indices),
        "pairs": total,
        "problems": list(map(asdict, problems)),
    }
    verdict = f"{len(problems)} problems" if problems else "all is well"
    print(json.dumps(report, indent=2) if config.json else f"{len(indices)} shards, {total} pairs read back: {verdict}")
    return 1 if problems else 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), verify, argv)
