"""Turn any generator file into a folder that needs no pickle: `text2latent convert ffhq.pkl generators/ffhq`.

clip2latent's checkpoints become prior folders, its pairs datasets.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from text2latent.common.command import CommandParser, check_output_folder, run_command
from text2latent.common.errors import UsageError
from text2latent.common.validation import option_name, refuse
from text2latent.inference.flags import add_clip_args_flag

if TYPE_CHECKING:
    from text2latent.models.generators.base import Generator

RESUME_HINT = "nothing was written"
ARCHITECTURES = {
    "StyleGAN1Generator": "AdaIN",
    "StyleGAN3Generator": "alias-free",
    "BigGANGenerator": "deep",
    "BilinearStyleGAN2Generator": "bilinear",
    "DiscreteDecoder": "discrete VAE",
}
"""What to call networks whose arguments don't name an architecture."""


def build_parser() -> CommandParser:
    parser = CommandParser("convert", __doc__)
    add = parser.add_argument
    add("input", metavar="IN",
        help="A network pickle of StyleGAN2 or StyleGAN3 (PyTorch or TensorFlow), a state dictionary of one, a "
        "checkpoint of stylegan2-pytorch, a generator folder, a zoo name, or an https:// or hf:// address of any of "
        "these; clip2latent's checkpoint, or its pairs: a .tar file, or a folder of .tar or .npy files.")  # fmt: skip
    add("output", metavar="OUT", help="Folder for config.json and the safetensors weights, or for pairs.")
    add("--config", default=None, metavar="FILE", help="YAML file of clip2latent's checkpoint, which it needs.")
    add("--generator", default=None, metavar="SOURCE",
        help="Generator of clip2latent's checkpoint or pairs, as for sample; its checksum is kept.")  # fmt: skip
    add("--clip", default=None, metavar="SOURCE", help="CLIP of the same, as for sample.")
    add_clip_args_flag(parser)
    add("--half", action="store_true", help="Store parameters in float16: half the size, images differ slightly.")
    add("--generator-args", default=None, metavar="FILE",
        help="YAML or JSON file of arguments that weights don't show, such as conv_clamp: 256.")  # fmt: skip
    add("--overwrite", action="store_true", help="Replace a generator's or prior's folder that exists.")
    add("--json", action="store_true", help="Print as JSON what was found.")
    return parser


def kind_of(config: Namespace) -> str:
    """What is converted: a `generator`, or clip2latent's `prior` or `pairs`."""
    from text2latent.data.clip2latent_pairs import is_pairs
    from text2latent.models.priors.clip2latent import is_checkpoint
    from text2latent.models.sources.zoo import is_zoo_name

    if config.config is not None:
        return "prior"
    if is_zoo_name(config.input) or not Path(config.input).exists():
        return "generator"
    if is_pairs(Path(config.input)):
        return "pairs"
    return "prior" if is_checkpoint(Path(config.input)) else "generator"


def idle_flags(kind: str) -> dict[str, str]:
    """Flags that would be ignored where a `kind` is converted, each with what was expected instead."""
    if kind == "generator":
        return dict.fromkeys(("generator", "clip", "clip_args"), "expected clip2latent's checkpoint or pairs with it")
    idle = dict.fromkeys(("half", "generator_args"), "expected a generator with it")
    return idle if kind == "prior" else {**idle, "overwrite": "expected none for pairs, which need a new folder"}


def run(config: Namespace) -> None:
    """Check all that can be wrong before any work, load, write, and print what was found."""
    from text2latent.apps.clip2latent import convert_pairs, convert_prior

    kind = kind_of(config)
    given = {key for key, value in vars(config).items() if value not in (None, False)}
    refuse([option_name(f"--{key}: {why}") for key, why in idle_flags(kind).items() if key in given])
    if kind == "prior" and config.config is None:
        raise UsageError(f"--config: expected the YAML file of clip2latent's checkpoint {config.input}, got none")
    convert = {"prior": convert_prior, "pairs": convert_pairs, "generator": convert_generator}[kind]
    report = convert(config)
    print(json.dumps(report, indent=2) if config.json else as_text(report))


def convert_generator(config: Namespace) -> dict[str, Any]:
    """Write a generator's folder; returns what was found."""
    from text2latent.models.generators import load_generator
    from text2latent.models.generators.formats.arguments import read_arguments
    from text2latent.models.generators.formats.custom import save_class
    from text2latent.models.generators.formats.folder import check_target, save_folder

    target = Path(config.output)
    check_target(target, config.overwrite)
    check_output_folder(target.parent, flag="OUT")
    arguments = None if config.generator_args is None else read_arguments(config.generator_args)
    generator = load_generator(config.input, arguments=arguments)
    assert generator.identity is not None
    if generator.class_spec is None:
        save_folder(generator, target, generator.identity.to_dict(), config.half)
    elif config.half:
        raise UsageError("--half: expected a network of a file, not a class of your own, which stays as it is")
    else:
        save_class(generator, target, generator.identity.to_dict())
    return describe(generator, config.half, target)


def as_text(report: dict[str, Any]) -> str:
    """A report in lines; notes have one each."""
    lines = [(key, value) for key, value in report.items() if key != "notes"]
    lines += [("note", note) for note in report.get("notes", ())]
    return "\n".join(f"{key:<14}{value}" for key, value in lines)


def describe(generator: Generator, half: bool, folder: Path) -> dict[str, Any]:
    """What was found in the file and written into the folder."""
    from text2latent.models.network import WEIGHTS
    from text2latent.models.sources.identity import sha256_of

    assert generator.identity is not None
    layers, channels = generator.latent_shape
    return {
        "input": generator.identity.source,
        "input_sha256": generator.identity.sha256,
        "network": type(generator).__name__,
        "architecture": generator.config.get("architecture")
        or ARCHITECTURES.get(type(generator).__name__, "a class of your own"),
        "resolution": generator.image_size,
        "channels": generator.image_channels,
        "z": [generator.z_dim],
        "labels": generator.c_dim,
        "w": [channels],
        "w_plus": [layers, channels],
        "parameters": sum(parameter.numel() for parameter in generator.parameters()),
        "precision": "float16" if half else "float32",
        "output": str(folder),
        "sha256": sha256_of(folder / WEIGHTS),
        "notes": list(generator.notes),
    }


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), run, argv, RESUME_HINT)
