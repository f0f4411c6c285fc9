"""Fit the diffusion prior, CLIP embedding to latent, on pairs made by sample.py.

    python train.py --config faces --data.path pairs --output runs/faces

Run again after an interruption, it goes on; `text2latent infer --model runs/faces` draws with it, while it trains too.
Several processes train together with `--devices N`, under torchrun or under srun.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from text2latent.common.command import CommandParser, check_output_folder, run_command, select_device
from text2latent.common.errors import UsageError
from text2latent.configs.schema import RESUME_MODES, TrainConfig, idle_keys


def build_parser() -> CommandParser:
    about = "Fit the diffusion prior on pairs made by text2latent sample."
    return CommandParser("train", about, TrainConfig, idle_keys)


def with_packaged_configs(argv: Sequence[str]) -> list[str]:
    """`argv` with `--config NAME` turned into the file of that name in the package, where NAME is no file itself."""
    words = [part for word in argv for part in (word.split("=", 1) if word.startswith("--config=") else [word])]
    for position in range(1, len(words)):
        packaged = Path(__file__).parent / "configs" / f"{words[position]}.yaml"
        if words[position - 1] == "--config" and not Path(words[position]).exists() and packaged.is_file():
            words[position] = str(packaged)
    return words


def train(config: TrainConfig) -> int:
    """Train the prior of `config` in the folder `config.output`, or go on there; returns the exit code."""
    from text2latent.common.extras import require_extra
    from text2latent.common.launch import read_launch

    if config.wandb is not None:
        require_extra("--wandb", "logging", ["wandb"])
    if config.resume not in RESUME_MODES and not Path(config.resume).is_file():
        raise UsageError(f"--resume: expected auto, never or a checkpoint file, got {config.resume!r}")
    output, launch = check_output_folder(config.output), read_launch(config.devices, config.num_nodes)
    # Lightning takes seconds to import, which nobody is to wait for to hear of the mistakes above.
    from text2latent.training.run_folder import RunFolder
    from text2latent.training.running import run_training

    return run_training(config, RunFolder(output), launch, select_device(config.device))


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), train, with_packaged_configs(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
