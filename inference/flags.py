"""The flags that say how images are drawn, alike in every verb that draws."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from text2latent.common.command import CommandParser, non_negative_float, seed
from text2latent.common.constraints import Range, number, whole_number
from text2latent.common.errors import UsageError
from text2latent.inference.settings import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_GUIDANCE_SCALE,
    DEFAULT_MODEL,
    DEFAULT_NEGATIVE_GUIDANCE_SCALE,
    DEFAULT_STEPS,
    MAX_TRUNCATION,
    Settings,
    choose_guidance_scale,
)

if TYPE_CHECKING:
    import torch

    from text2latent.models.acceleration import Acceleration


def add_drawing_flags(parser: CommandParser, num_images: int = 1) -> None:
    """Add the flags of `Settings`, `--num-images` (with its default), `--seed` and `--negative-text`."""
    add = parser.add_argument
    add("--num-images", type=whole_number(Range(at_least=1, at_most=100_000)), default=num_images, metavar="N",
        help="Images per text.")  # fmt: skip
    add("--seed", type=seed, default=0, metavar="N", help="Seed of each text's first image; the next ones count up.")
    add("--negative-text", default=None, metavar="TEXT", help="What not to draw, for all texts.")
    add("--guidance-scale", type=non_negative_float, default=None, metavar="X",
        help="How closely to follow the text; 1 is no guidance, 0 ignores the text. Default: "
        f"{DEFAULT_GUIDANCE_SCALE:g}; with --negative-text, which has no effect at 1, "
        f"{DEFAULT_NEGATIVE_GUIDANCE_SCALE:g}.")  # fmt: skip
    add("--steps", type=whole_number(Range(at_least=1, at_most=1000)), default=DEFAULT_STEPS, metavar="N",
        help="Sampling steps.")  # fmt: skip
    add("--truncation", type=number(Range(at_least=0, at_most=MAX_TRUNCATION)), default=1.0, metavar="PSI",
        help="Below 1 moves images towards the generator's average one (0); 1 leaves them as they are.")  # fmt: skip
    add("--rerank", type=whole_number(Range(at_least=1, at_most=1000)), default=1, metavar="K",
        help="Candidates per image, of which the one that CLIP finds closest to the text is kept.")  # fmt: skip
    add("--refine", type=whole_number(Range(at_least=0, at_most=10_000)), default=0, metavar="K",
        help="Steps of CLIP-guided gradient descent from what was drawn, within the generator's latents.")  # fmt: skip
    add("--batch-size", type=whole_number(Range(at_least=1, at_most=4096)), default=DEFAULT_BATCH_SIZE, metavar="N",
        help="Images drawn at once; changes speed and memory, not the images.")  # fmt: skip


def add_model_flags(parser: CommandParser) -> None:
    """Add `--model`, where its parts are, and `--device`."""
    add = parser.add_argument
    add("--model", default=DEFAULT_MODEL, metavar="MODEL",
        help="A zoo name, a run, prior or exported folder, a checkpoint, or hf://ORG/NAME.")  # fmt: skip
    add("--generator", default=None, metavar="SOURCE",
        help="Where the model's generator is, if it has moved: file, folder, https:// or hf:// address.")  # fmt: skip
    add("--clip", default=None, metavar="SOURCE",
        help="Where the model's CLIP is, if it has moved: folder, file, hf:// id, MODEL/FILE, class path.")  # fmt: skip
    add_clip_args_flag(parser)
    add("--clip-language", default=None, metavar="LANGUAGE",
        help="Language of all texts, such as jpn_Jpan, for an nllb CLIP. Default: by each text's script.")  # fmt: skip
    add_force_flag(parser)
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")
    add_acceleration_flags(parser)


def add_acceleration_flags(parser: CommandParser) -> None:
    """Add `--compile` and `--cuda-graph`, which `read_acceleration` reads."""
    add = parser.add_argument
    add("--compile", action="store_true",
        help="Have torch.compile compile the networks, which takes minutes at the first images.")  # fmt: skip
    add("--cuda-graph", action="store_true",
        help="On CUDA: capture what is launched as graphs, one for each number of images at once, and replay "
        "them.")  # fmt: skip


def add_clip_args_flag(parser: CommandParser) -> None:
    """Add `--clip-args`, for verbs that take `--clip`."""
    parser.add_argument("--clip-args", default=None, metavar="ARGS",
        help="What CLIP's files don't say: KEY=VALUE,KEY=VALUE, or a YAML or JSON file; see docs/clip.md.")  # fmt: skip


def add_force_flag(parser: CommandParser) -> None:
    parser.add_argument("--force", action="store_true",
        help="Take --generator and --clip although the prior was trained with others. Latents and embeddings of other "
        "networks mean other things, so that images may not follow the text.")  # fmt: skip


def read_acceleration(config: Namespace, device: torch.device) -> Acceleration:
    """What the flags of `add_acceleration_flags` ask for.

    Raises:
        InputError: when the device or this machine can't do it.
    """
    from text2latent.models.acceleration import Acceleration

    acceleration = Acceleration(config.compile, config.cuda_graph)
    acceleration.check(device)
    return acceleration


def read_settings(config: Namespace) -> Settings:
    """The settings that the flags of `add_drawing_flags` give.

    Raises:
        UsageError: for values that no flag's own range refuses. A query checks the negative text.
    """
    if config.negative_text is not None and config.guidance_scale == 1:
        raise UsageError("--negative-text: expected a --guidance-scale other than 1, at which it has no effect")
    return Settings(
        num_inference_steps=config.steps,
        guidance_scale=choose_guidance_scale(config.guidance_scale, config.negative_text is not None),
        truncation=config.truncation,
        rerank=config.rerank,
        batch_size=config.batch_size,
        refine=config.refine,
    )
