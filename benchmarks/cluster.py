"""Measure what sampling, reading and training cost, for plans at cluster scale, and compare one process with two.

    python benchmarks/cluster.py --json benchmarks/cluster.json
    python benchmarks/tables.py

writes the tables of docs/cluster.md. Run it on the kind of machine that is to do the work, with `--device cuda` there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from text2latent.benchmarks.report import Figure, Measure, add_device_flag, add_report_flags, run_parts, script_parser
from text2latent.benchmarks.speed import sample_figures
from text2latent.common.command import CommandParser, positive_int
from text2latent.common.errors import InputError
from text2latent.data.datamodule import PairDataModule
from text2latent.data.filling import fill_shards
from text2latent.data.manifest import Manifest
from text2latent.data.records import open_dataset, read_manifest
from text2latent.data.shards import encode_shard
from text2latent.data.stats import finish_dataset
from text2latent.data.storage import open_store
from text2latent.data.streaming import SHUFFLE_PAIRS, StreamedPairs
from text2latent.models.sources.identity import Identity

ROOT = Path(__file__).resolve().parents[1]
UNKNOWN = Identity("synthetic", "synthetic", "0" * 64)
W_DIM, EMBEDDING_DIM = 512, 512  # of StyleGAN2 and ViT-B/32
BATCH_SIZE = 256
STREAM = """
import sys
from text2latent.benchmarks.timing import peak_memory
from text2latent.data.records import read_manifest
from text2latent.data.storage import open_store
from text2latent.data.streaming import StreamedPairs
folder, batch_size, shuffle_pairs = sys.argv[1], *map(int, sys.argv[2:])
for _ in StreamedPairs(open_store(folder), read_manifest(folder), 0, batch_size, shuffle_pairs=shuffle_pairs):
    pass
print(peak_memory())
"""


def write_pairs(folder: Path, num_pairs: int, w_dim: int = W_DIM, embedding_dim: int = EMBEDDING_DIM) -> Path:
    """A finished dataset of synthetic pairs whose latents follow from their embeddings, up to noise."""
    shape = (1, w_dim)
    manifest = Manifest(
        UNKNOWN, UNKNOWN, "w", shape, embedding_dim, "float16", 0, 1.0, "32", None, min(1000, num_pairs), num_pairs
    )
    mixing = np.random.default_rng(0).standard_normal((embedding_dim, w_dim))

    def draw(samples: range) -> bytes:
        rng = np.random.default_rng(samples.start + 1)
        embeddings = rng.standard_normal((len(samples), embedding_dim))
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        latents = np.tanh(2 * embeddings @ mixing) + 0.3 * rng.standard_normal((len(samples), w_dim))
        return encode_shard(samples.start, latents[:, None].astype(np.float16), embeddings.astype(np.float16))

    open_dataset(folder, manifest)
    fill_shards(folder, range(manifest.num_shards), draw)
    finish_dataset(folder)
    return folder


def bytes_figures(config: Namespace) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        pairs = write_pairs(Path(folder), 1000)
        stored = sum(path.stat().st_size for path in pairs.glob("*.tar")) / 1000
    return [
        Figure("a pair in its shard, w and embedding of 512 values", stored, "bytes"),
        Figure("a pair in memory, in float16", 2 * (W_DIM + EMBEDDING_DIM), "bytes"),
    ]


def sampling_figures(config: Namespace) -> list[Figure]:
    """Pairs per second of one process that draws and embeds images of the faces world."""
    return sample_figures(Namespace(world="faces", num_pairs=config.num_pairs, device=config.device))[:1]


def finishing_figures(config: Namespace) -> list[Figure]:
    """Pairs per second of the last step of sampling, which reads all back, checks and measures them."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = write_pairs(Path(folder), config.num_pairs)
        started = time.perf_counter()
        finish_dataset(pairs)
        return [Figure("finishing, one process", config.num_pairs / (time.perf_counter() - started), "pairs/s")]


def streaming_figures(config: Namespace) -> list[Figure]:
    """Pairs per second that one process reads in shuffled batches, from shards on this disk and from memory."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = write_pairs(Path(folder), config.num_pairs)
        stream = StreamedPairs(open_store(pairs), read_manifest(pairs), 0, BATCH_SIZE)
        held = PairDataModule(pairs, BATCH_SIZE, val_pairs=1, in_memory=True)
        held.setup("fit")
        readers = {"streaming": stream, "from memory": held.train_dataloader()}
        return [Figure(f"{name}, one process", _rate(batches), "pairs/s") for name, batches in readers.items()]


def _rate(batches: Iterable[tuple[Any, Any]]) -> float:
    started = time.perf_counter()
    read = sum(len(latents) for latents, _ in batches)
    return read / (time.perf_counter() - started)


def memory_figures(config: Namespace) -> list[Figure]:
    """Peak memory of a process that streams a dataset, and one of ten times the shards; Linux only."""
    peaks: list[tuple[str, float]] = []
    for times in (1, 10):
        with tempfile.TemporaryDirectory() as folder:
            pairs = write_pairs(Path(folder), times * config.num_pairs)
            peaks.append((f"{read_manifest(pairs).num_shards:,} shards", streaming_peak(pairs) / 1e6))
    growth = peaks[1][1] - peaks[0][1]
    more = 9 * config.num_pairs * 2 * (W_DIM + EMBEDDING_DIM) / 1e6
    return [
        *(Figure(f"peak memory while streaming {shards}", peak, "MB") for shards, peak in peaks),
        Figure("growth, at most a tenth of the pairs that there are more", growth, "MB", more / 10, at_most=True),
    ]


def streaming_peak(pairs: Path, shuffle_pairs: int = SHUFFLE_PAIRS) -> int:
    """Bytes that a process of its own takes at most while it streams an epoch.

    Raises:
        InputError: when it fails.
    """
    command = [sys.executable, "-c", STREAM, str(pairs), str(BATCH_SIZE), str(shuffle_pairs)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT.parent)
    if ran.returncode != 0:
        raise InputError(f"streaming {pairs}: exit code {ran.returncode}: {ran.stderr.strip().splitlines()[-1]}")
    return int(ran.stdout)


def training_figures(config: Namespace) -> list[Figure]:
    """Pairs per second of one process that trains the default prior; its start isn't counted."""
    flags = {"--max-steps": str(config.steps), "--log-every-steps": str(config.steps // 2), "--precision": "bf16-mixed"}
    with tempfile.TemporaryDirectory() as folder:
        pairs = write_pairs(Path(folder, "pairs"), config.num_pairs)
        metrics = train(pairs, Path(folder, "run"), flags | {"--device": config.device})
    return [Figure("training, one process", metrics["pairs_per_second"], "pairs/s")]


def train(pairs: Path, run: Path, flags: dict[str, str]) -> dict[str, float]:
    """Run `text2latent train` to its end; returns its metrics.

    Raises:
        InputError: when it fails.
    """
    settings = {
        "--data.path": str(pairs),
        "--output": str(run),
        "--tensorboard": "false",
        "--text.prompts": "null",
        **flags,
    }
    words = [word for setting in settings.items() for word in setting]
    command = [sys.executable, "-m", "text2latent", "train", *words]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT.parent)
    if ran.returncode != 0:
        raise InputError(f"text2latent train: exit code {ran.returncode}: {ran.stderr.strip().splitlines()[-1]}")
    return json.loads((run / "checkpoints" / "metrics.json").read_text(encoding="utf-8"))


def parity_figures(config: Namespace) -> list[Figure]:
    """Validation losses of one process and of two with the same batch in all, over some seeds."""
    losses: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        pairs = write_pairs(Path(folder, "pairs"), 4000, 32, 32)
        for seed in range(config.seeds):
            for processes, values in losses.items():
                flags = {
                    "--devices": str(processes),
                    "--data.batch-size": str(128 // processes),
                    "--prior.width": "64",
                    "--prior.depth": "2",
                    "--optimizer.warmup-steps": "20",
                    "--max-steps": str(config.steps),
                    "--seed": str(seed),
                    "--device": "cpu",
                }
                values.append(train(pairs, Path(folder, f"{processes}-{seed}"), flags)["val_loss"])
    spread = max(losses[1]) - min(losses[1])
    means = {processes: sum(values) / len(values) for processes, values in losses.items()}
    names = {1: "validation loss, 1 process", 2: "validation loss, 2 processes"}
    each = [
        Figure(f"{names[processes]}, seed {seed}", value, detail=True)
        for processes, values in losses.items()
        for seed, value in enumerate(values)
    ]
    return [
        *(Figure(f"{names[processes]}, mean of {config.seeds} seeds", mean) for processes, mean in means.items()),
        Figure("difference of means, at most the spread of seeds", abs(means[2] - means[1]), "", spread, at_most=True),
        *each,
    ]


PARTS: dict[str, Measure] = {
    "bytes": bytes_figures,
    "sampling": sampling_figures,
    "finishing": finishing_figures,
    "streaming": streaming_figures,
    "memory": memory_figures,
    "training": training_figures,
    "parity": parity_figures,
}


def build_parser() -> CommandParser:
    parser = script_parser("cluster", __doc__)
    add = parser.add_argument
    add_device_flag(parser)
    add("--num-pairs", type=positive_int, default=20_000, metavar="N", help="Pairs to sample, read and train on.")
    add("--steps", type=positive_int, default=400, metavar="N", help="Steps of each training, at least 2.")
    add("--seeds", type=positive_int, default=3, metavar="N", help="Seeds of the comparison of one process with two.")
    add_report_flags(parser, PARTS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes that share a machine mustn't fight for its cores
    return run_parts(PARTS, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
