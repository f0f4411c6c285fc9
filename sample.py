"""Draw latents of a generator, embed their images with CLIP and write the pairs into shards.

    python sample.py --model faces --num-pairs 50000 --output pairs

Run again after an interruption, it goes on; under `accelerate launch` or `torchrun` process k of n makes the shards
k, k + n, k + 2 n, ...
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from text2latent.configs.command import CommandParser, check_output_folder, progress, run_command, select_device
from text2latent.configs.schema import SampleConfig

if TYPE_CHECKING:
    import torch

    from text2latent.data.manifest import Manifest
    from text2latent.models.clip import ClipEncoder
    from text2latent.models.generators.base import Generator


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

    assert generator.identity is not None
    assert clip.identity is not None
    return Manifest(
        generator=generator.identity,
        clip=clip.identity,
        latent_layout="w",
        latent_shape=(1, generator.w_dim),
        embedding_dim=clip.embedding_dim,
        dtype="float16",
        seed=config.seed,
        truncation=config.truncation,
        precision=config.precision,
        image_format="jpg" if config.save_images else None,
        shard_size=config.shard_size,
        num_pairs=config.num_pairs,
    )


def fill_shards(
    config: SampleConfig, generator: Generator, clip: ClipEncoder, manifest: Manifest, process: int, processes: int
) -> None:
    """Make this process's shards that aren't finished, and show how far it is."""
    from text2latent.data.drawing import draw_shard
    from text2latent.data.shards import is_whole, publish_shard

    folder, finished = Path(config.output), manifest.finished()
    mine = range(process, manifest.num_shards, processes)
    missing = [index for index in mine if index not in finished or not is_whole(folder, finished[index])]
    total = sum(len(manifest.shard_range(index)) for index in mine)
    done = total - sum(len(manifest.shard_range(index)) for index in missing)
    with progress(total=total, initial=done, unit="pairs") as bar:
        for index in missing:
            samples = manifest.shard_range(index)
            data = draw_shard(
                generator,
                clip,
                samples,
                seed=manifest.seed,
                truncation=manifest.truncation,
                batch_size=config.batch_size,
                precision=manifest.precision,
                keep_images=manifest.image_format is not None,
                on_batch=bar.update,
            )
            publish_shard(folder, index, len(samples), data)


def sample(config: SampleConfig) -> None:
    """Fill the folder `config.output` with pairs."""
    from accelerate import PartialState

    from text2latent.data.manifest import open_dataset, remove_leftovers
    from text2latent.data.shards import finish_dataset

    folder = check_output_folder(config.output)
    device = select_device(config.device)
    state = PartialState(cpu=device.type == "cpu")
    generator, clip = load_networks(config, state.device if state.num_processes > 1 else device)
    wanted = describe_dataset(config, generator, clip)
    with state.main_process_first():
        manifest = open_dataset(folder, wanted)
        remove_leftovers(folder)
    fill_shards(config, generator, clip, manifest, state.process_index, state.num_processes)
    state.wait_for_everyone()
    if state.is_main_process:
        finish_dataset(folder)
        print(f"{config.num_pairs} pairs in {folder}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(build_parser(), sample, argv)


if __name__ == "__main__":
    sys.exit(main())
