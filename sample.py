"""Draw latents of a generator, embed their images with CLIP and write the pairs into shards.

    python sample.py --model faces --num-pairs 50000 --output pairs

Run again after an interruption, it goes on. Any number of processes fill one place: under `accelerate launch` or
`torchrun` each makes its share, a job array gives each task `--shards FIRST..LAST`, and plain copies of the command,
started whenever, share what is left.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from text2latent.common.command import CommandParser, check_output_folder, progress, run_command, select_device
from text2latent.common.errors import UsageError
from text2latent.configs.schema import SampleConfig

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState

    from text2latent.data.manifest import Manifest
    from text2latent.models.clip.encoder import ClipEncoder
    from text2latent.models.generators.base import Generator

CPU_BATCH_SIZE, BATCH_SIZE = 16, 64
"""Images at once: more don't fit the caches of a CPU, fewer leave other devices waiting."""


def build_parser() -> CommandParser:
    about = "Draw (latent, CLIP embedding) pairs of a generator into shards."
    return CommandParser("sample", about, SampleConfig, idle_keys)


def idle_keys(config: SampleConfig) -> dict[str, str]:
    """Keys that would be ignored, each with what was expected instead."""
    named = config.generator is not None and config.clip is not None
    return {"model": "expected none with both a generator and a clip, which take its place"} if named else {}


def load_networks(config: SampleConfig, device: torch.device) -> tuple[Generator, ClipEncoder]:
    from text2latent.models.acceleration import Acceleration
    from text2latent.models.clip.arguments import named_clip, with_source
    from text2latent.models.clip.encoder import ClipEncoder
    from text2latent.models.generators import load_generator
    from text2latent.models.generators.formats.arguments import read_arguments

    arguments = None if config.generator_args is None else read_arguments(config.generator_args)
    generator = load_generator(config.generator or config.model, arguments=arguments)
    for note in generator.notes:
        announce(note)
    clip = ClipEncoder.from_pretrained(with_source(named_clip(config.clip, config.clip_args), config.model))
    generator.eval().to(device)
    clip.to(device)
    Acceleration(config.compile, config.cuda_graph).apply(generator, clip)
    return generator, clip


def describe_dataset(config: SampleConfig, generator: Generator, clip: ClipEncoder) -> Manifest:
    """Manifest, without shards, of the dataset that the configuration asks for."""
    from text2latent.data.manifest import Manifest
    from text2latent.models.generators.layouts import layout_shape
    from text2latent.models.sources.whereabouts import with_absolute_path

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


def drawing_settings(config: SampleConfig, generator: Generator, manifest: Manifest) -> dict[str, Any]:
    """Keyword arguments of `draw_shard` for all shards of a dataset; the batch size is the default of the device."""
    return {
        "seed": manifest.seed,
        "layout": manifest.latent_layout,
        "truncation": manifest.truncation,
        "batch_size": config.batch_size or (CPU_BATCH_SIZE if generator.device.type == "cpu" else BATCH_SIZE),
        "precision": manifest.precision,
        "keep_images": manifest.image_format is not None,
    }


def make_shards(
    config: SampleConfig, generator: Generator, clip: ClipEncoder, manifest: Manifest, indices: Sequence[int]
) -> None:
    """Make those of the shards `indices` that aren't finished, and show how far it is."""
    from text2latent.data.filling import fill_shards
    from text2latent.data.sampling import draw_shard

    settings = drawing_settings(config, generator, manifest)
    with progress(total=sum(len(manifest.shard_range(index)) for index in indices), unit="pairs") as bar:

        def skip(count: int) -> None:
            bar.initial += count  # leaves it out of the rate
            bar.update(count)

        def draw(samples: range) -> bytes:
            return draw_shard(generator, clip, samples, on_batch=bar.update, **settings)

        fill_shards(config.output, indices, draw, skip)


def finish(output: str, state: PartialState) -> None:
    """Write statistics and manifest if all shards are there, each process reading its part; report what there is."""
    from accelerate.utils import gather_object

    from text2latent.data.records import read_manifest
    from text2latent.data.stats import add_moments, conclude, measure_shards

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


def join_launched(config: SampleConfig, device: torch.device) -> PartialState:
    """The state of this process among those that a launcher started, all of which are there; alone without one.

    Raises:
        InputError: when some don't come.
    """
    import torch
    from accelerate import PartialState

    from text2latent.common.launch import read_launcher
    from text2latent.common.rendezvous import join_processes

    launch = read_launcher(os.environ, slurm=False)  # tasks of srun share the work as plain copies do
    if launch is not None and launch.address is not None:
        mine = None if device.type == "cpu" else torch.device(device.type, launch.local_rank)
        backend = "nccl" if device.type == "cuda" else "gloo"
        minutes, said = config.launch_timeout, announce
        join_processes(launch.rank, launch.processes, launch.address, minutes, backend, mine, said)
    return PartialState(cpu=device.type == "cpu")


def announce(line: str) -> None:
    print(f"text2latent sample: {line}", file=sys.stderr)


def sample(config: SampleConfig) -> None:
    """Fill the place `config.output` with pairs."""
    from text2latent.data.filling import parse_shards
    from text2latent.data.records import open_dataset, remove_leftovers
    from text2latent.data.sampling import draw_shard
    from text2latent.data.storage import is_address
    from text2latent.models.acceleration import Acceleration

    if not is_address(config.output):
        check_output_folder(config.output)
    device = select_device(config.device)
    Acceleration(config.compile, config.cuda_graph).check(device)
    state = join_launched(config, device)
    generator, clip = load_networks(config, state.device if state.num_processes > 1 else device)
    wanted = describe_dataset(config, generator, clip)
    indices = parse_shards(config.shards, wanted.num_shards)[state.process_index :: state.num_processes]
    # What can't be drawn is refused before anything is written.
    draw_shard(generator, clip, range(1), **drawing_settings(config, generator, wanted))
    with state.main_process_first():
        manifest = open_dataset(config.output, wanted)
        if not is_address(config.output):
            remove_leftovers(Path(config.output))
    make_shards(config, generator, clip, manifest, indices)
    state.wait_for_everyone()
    finish(config.output, state)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), sample, argv)


if __name__ == "__main__":
    sys.exit(main())
