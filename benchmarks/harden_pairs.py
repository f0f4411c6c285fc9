"""Make pairs of `faces-hard` from pairs of `faces`, in seconds: its CLIP is a head on the embeddings that they hold.

    python benchmarks/harden_pairs.py --pairs runs/faces/pairs --output runs/faces-hard/pairs

What `text2latent sample --model faces-hard` draws differs from it by the rounding of the stored embeddings, and takes
as long as any sampling.
"""

from __future__ import annotations

import dataclasses
import sys
from argparse import Namespace
from collections.abc import Sequence

import torch
from torch.nn.functional import normalize

from text2latent.benchmarks.report import script_parser
from text2latent.common.command import CommandParser, check_output_folder, progress, run_command
from text2latent.common.errors import UsageError
from text2latent.data.filling import fill_shards
from text2latent.data.manifest import Manifest
from text2latent.data.records import open_dataset, read_manifest
from text2latent.data.shards import encode_shard, read_shard
from text2latent.data.stats import finish_dataset
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.clip.files import locate
from text2latent.models.clip.head import HeadedClip, read_base
from text2latent.models.sources.identity import require_same


def build_parser() -> CommandParser:
    parser = script_parser("harden_pairs", __doc__)
    add = parser.add_argument
    add("--pairs", required=True, metavar="FOLDER", help="Pairs of the CLIP under the head.")
    add("--clip", default="faces-hard", metavar="SOURCE", help="A CLIP that is a head on another's embeddings.")
    add("--output", required=True, metavar="FOLDER", help="Folder for the new pairs.")
    return parser


def describe(config: Namespace, source: Manifest, clip: ClipEncoder) -> Manifest:
    """The new dataset's manifest, without shards.

    Raises:
        UsageError: for a CLIP without a head.
        InputError: when the head stands on another CLIP than the pairs'.
    """
    head = locate(config.clip).head
    if head is None or clip.identity is None:
        raise UsageError(f"--clip: expected a CLIP that is a head on another's embeddings, got {config.clip!r}")
    base = locate(read_base(head)[0]).identity
    require_same(source.clip, base, "CLIP")
    return dataclasses.replace(
        source, clip=clip.identity, embedding_dim=clip.embedding_dim, image_format=None, shards=()
    )


@torch.inference_mode()
def harden(config: Namespace) -> None:
    """Put the embeddings of each shard through the head, and finish the dataset."""
    check_output_folder(config.output)
    source, clip = read_manifest(config.pairs), ClipEncoder.from_pretrained(config.clip)
    wanted = describe(config, source, clip)
    assert isinstance(clip.model, HeadedClip)
    head = clip.model.image_head
    open_dataset(config.output, wanted)
    with progress(total=source.num_pairs, unit="pairs") as bar:

        def draw(samples: range) -> bytes:
            latents, embeddings = read_shard(config.pairs, samples.start // source.shard_size, source)
            hardened = normalize(head(torch.from_numpy(embeddings)), dim=1).half().numpy()
            bar.update(len(samples))
            return encode_shard(samples.start, latents, hardened, None, wanted.generator, wanted.clip)

        fill_shards(config.output, range(source.num_shards), draw, bar.update)
    finish_dataset(config.output)
    print(f"{source.num_pairs} pairs in {config.output}")


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), harden, argv)


if __name__ == "__main__":
    sys.exit(main())
