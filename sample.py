"""Draw latents of a generator, embed their images with CLIP and write the pairs into shards.

    python sample.py --model faces --num-pairs 50000 --output pairs

Run again after an interruption, it goes on. Any number of processes fill one place: under `accelerate launch` or
`torchrun` each makes its share, a job array gives each task `--shards FIRST..LAST`, and plain copies of the command,
started whenever, share what is left.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from text2latent.configs.command import CommandParser, check_output_folder, progress, run_command, select_device
from text2latent.configs.errors import UsageError
from text2latent.configs.schema import SampleConfig

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState

    from text2latent.data.manifest import Manifest
    from text2latent.models.clip import ClipEncoder
    from text2latent.models.generators.base import Generator

CPU_BATCH_SIZE, BATCH_SIZE = 16, 64
"""Images at once: more don't fit the caches of a CPU, fewer leave other devices waiting."""


def build_parser() -> CommandParser:
    """The parser of `text2latent sample`."""
    return CommandParser("sample", "Draw (latent, CLIP embedding) pairs of a generator into shards.", SampleConfig)


def load_networks(config: SampleConfig, device: torch.device) -> tuple[Generator, ClipEncoder]:
    """Generator and CLIP encoder that the configuration names, on `device`."""
    from text2latent.models.clip import ClipEncoder
    from text2latent.models.generators import load_generator

    generator = load_generator(config.generator or config.model)
    clip = ClipEncoder.from_pretrained(config.clip or config.model)
    generator.eval().to(device)  # type: ignore[arg-type]  # diffusers wraps `to` without its signature
    return generator, clip.to(device)


def describe_dataset(config: SampleConfig, generator: Generator, clip: ClipEncoder) -> Manifest:
    """Manifest, without shards, of the dataset that the configuration asks for."""
    from text2latent.data.manifest import Manifest
    from text2latent.models.layouts import layout_shape
    from text2latent.models.whereabouts import with_absolute_path

    if config.latent_layout == "z" and config.truncation != 1:
        raise UsageError(f"--truncation: expected 1 with --latent-layout z, got {config.truncation:g}")
    assert generator.identity is not None
    assert clip.identity is not None
    return Manifest(
        generator=with_absolute_path(generator.identity),
        clip=with_absolute_path(clip.identity),
        latent_layout=config.latent_layout,
        latent_shape=layout_shape(config.latent_layout, generator),
        embedding_dim=clip.embedding_dim,
        dtype="float16",
        seed=config.seed,
        truncation=config.truncation,
        precision=config.precision,
        image_format="jpg" if config.save_images else None,
        shard_size=config.shard_size,
        num_pairs=config.num_pairs,
    )


def make_shards(
    config: SampleConfig, generator: Generator, clip: ClipEncoder, manifest: Manifest, indices: Sequence[int]
) -> None:
    """Make those of the shards `indices` that aren't finished, and show how far it is."""
    from text2latent.data.drawing import draw_shard
    from text2latent.data.filling import fill_shards

    settings: dict[str, Any] = {
        "seed": manifest.seed,
        "layout": manifest.latent_layout,
        "truncation": manifest.truncation,
        "batch_size": config.batch_size or (CPU_BATCH_SIZE if generator.device.type == "cpu" else BATCH_SIZE),
        "precision": manifest.precision,
        "keep_images": manifest.image_format is not None,
    }
    with progress(total=sum(len(manifest.shard_range(index)) for index in indices), unit="pairs") as bar:

        def skip(count: int) -> None:
            bar.initial += count  # leaves it out of the rate
            bar.update(count)

        def draw(samples: range) -> bytes:
            return draw_shard(generator, clip, samples, on_batch=bar.update, **settings)

        fill_shards(config.output, indices, draw, skip)


def finish(output: str, state: PartialState) -> None:
    """Write statistics and manifest if all shards are there, each process reading its part; tell what there is."""
    from accelerate.utils import gather_object

    from text2latent.data.finishing import add_moments, conclude, measure_shards
    from text2latent.data.records import read_manifest

    manifest = read_manifest(output)
    there, wanted = len(manifest.finished()), manifest.num_shards
    if there == wanted:
        bounds = [wanted * rank // state.num_processes for rank in range(state.num_processes + 1)]
        mine = range(*bounds[state.process_index :][:2])
        parts = gather_object([measure_shards(output, manifest, mine)])
        if state.is_main_process:
            conclude(output, manifest, functools.reduce(add_moments, parts))
            print(f"{manifest.num_pairs} pairs in {output}")
    elif state.is_main_process:
        print(f"{there} of {wanted} shards in {output}; whoever makes the last one finishes the dataset")


def sample(config: SampleConfig) -> None:
    """Fill the place `config.output` with pairs."""
    from accelerate import PartialState

    from text2latent.data.filling import parse_shards
    from text2latent.data.records import open_dataset, remove_leftovers
    from text2latent.data.storage import is_address

    if not is_address(config.output):
        check_output_folder(config.output)
    device = select_device(config.device)
    state = PartialState(cpu=device.type == "cpu")
    generator, clip = load_networks(config, state.device if state.num_processes > 1 else device)
    wanted = describe_dataset(config, generator, clip)
    indices = parse_shards(config.shards, wanted.num_shards)[state.process_index :: state.num_processes]
    with state.main_process_first():
        manifest = open_dataset(config.output, wanted)
        if not is_address(config.output):
            remove_leftovers(Path(config.output))
    make_shards(config, generator, clip, manifest, indices)
    state.wait_for_everyone()
    finish(config.output, state)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(build_parser(), sample, argv)


if __name__ == "__main__":
    sys.exit(main())
