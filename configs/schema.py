"""What can be configured: one frozen dataclass per section, each field with its type, range, default and unit."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from text2latent.common.constraints import (
    FilledText,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Range,
    Seed,
    UnitInterval,
)


@dataclass(frozen=True)
class SampleConfig:
    """Draw latents, synthesise their images, embed them with CLIP and write the pairs into shards.

    Args:
        output: Folder for the shards, or s3://, gs:// or http(s)://; a run that was interrupted there goes on.
        model: Generator and CLIP to use: a zoo name, or a folder or hf:// id that holds both.
        generator: Another than the model's: zoo name, file, folder, address, class path, or class_path and init_args.
        generator_args: YAML or JSON file of arguments that the generator's file doesn't show; better, convert with it.
        clip: Another CLIP than the model's: zoo name, folder, hf:// id, MODEL/PRETRAINED, MODEL/FILE, file, class path.
        clip_args: What CLIP's files don't say, as KEY=VALUE,KEY=VALUE or a YAML or JSON file; see docs/clip.md.
        num_pairs: Number of (latent, embedding) pairs in all.
        seed: Seed of the first pair; pair i is drawn from seed + i.
        batch_size: Images synthesised at once; changes speed and memory, not the pairs. Null: 16 on a CPU, else 64.
        shard_size: Pairs per shard file.
        shards: Shards to make, such as 0..99 or 3,7; null makes all. For the tasks of a job array.
        truncation: Truncation psi of the latents, from 0 (all average) to 1 (no truncation).
        latent_layout: What to keep of each image: one w for all layers, w of each layer (w_plus), or z.
        save_images: Keep each image as a JPEG beside its pair.
        precision: Floating-point precision of synthesis and embedding: 32 bits, or bf16 where that is faster.
        device: Where to compute: auto, cpu, cuda, cuda:N or mps.
        compile: Have torch.compile compile generator and CLIP, which takes minutes at the start.
        cuda_graph: On CUDA, capture what is launched as graphs, one for each batch size, and replay them.
        launch_timeout: Minutes to wait for the other processes that a launcher starts.
    """

    output: FilledText
    model: FilledText = "faces"
    generator: FilledText | dict[str, Any] | None = None
    generator_args: FilledText | None = None
    clip: FilledText | dict[str, Any] | None = None
    clip_args: FilledText | dict[str, Any] | None = None
    num_pairs: PositiveInt = 50_000
    seed: Seed = 0
    batch_size: PositiveInt | None = None
    shard_size: PositiveInt = 1000
    shards: FilledText | None = None
    truncation: UnitInterval = 1.0
    latent_layout: Literal["w", "w_plus", "z"] = "w"
    save_images: bool = False
    precision: Literal["32", "bf16"] = "32"
    device: FilledText = "auto"
    compile: bool = False
    cuda_graph: bool = False
    launch_timeout: PositiveFloat = 30.0


@dataclass(frozen=True)
class DataConfig:
    """The pairs to train on.

    Args:
        path: Folder of shards that `text2latent sample` wrote, or its s3://, gs:// or http(s):// address.
        batch_size: Pairs per training step.
        val_pairs: Pairs held out for validation; null takes a tenth of them, at most 1000.
        num_workers: Processes that read shards; 0 reads in the main process.
        in_memory: Hold all pairs in memory; null does so where they fit.
    """

    path: FilledText
    batch_size: PositiveInt = 256
    val_pairs: PositiveInt | None = None
    num_workers: NonNegativeInt = 0
    in_memory: bool | None = None


@dataclass(frozen=True)
class PriorConfig:
    """The network that turns a CLIP embedding into a latent.

    Args:
        network: Residual MLP, diffusion transformer over the latent's tokens (dit), or clip2latent's transformer.
        width: Channels of the blocks; of transformers, a multiple of 64.
        depth: Number of blocks.
        num_heads: Attention heads of clip2latent's transformer, 64 channels each; null is as many as make up the width.
        dropout: Probability of dropping a channel inside a block.
        latent_layout: One latent for all layers (w), three (w_k) or one for each (w_plus); z. Null is the dataset's.
    """

    network: Literal["residual_mlp", "dit", "transformer"] = "residual_mlp"
    width: PositiveInt = 512
    depth: PositiveInt = 6
    num_heads: PositiveInt | None = None
    dropout: Fraction = 0.0
    latent_layout: Literal["w", "w_k", "w_plus", "z"] | None = None


@dataclass(frozen=True)
class DiffusionConfig:
    """What the network predicts of noisy latents, and the pseudo-text that it is conditioned on.

    Args:
        objective: Rectified flow (arXiv:2209.03003), or with a cosine schedule the noise, the data or v.
        sampler: Scheduler to draw with; a flow has euler, heun and dpm++, the others ddpm, ddim, dpm++ and heun.
        condition_dropout: Probability of training a pair without its embedding, for classifier-free guidance.
        noise_scale: Norm of the noise on a unit condition that makes it pseudo-text; the largest where it is random.
        random_noise: Draw each pair's noise scale from 0 to noise_scale, as texts say much or little.
        time_sampling: Training times; log_normal is of arXiv:2206.00364, ddpm has 1000 cosine steps (arXiv:2102.09672).
        loss_weighting: All times alike, or weights of min-SNR (arXiv:2303.09556) or EDM.
    """

    objective: Literal["flow", "epsilon", "sample", "v"] = "flow"
    sampler: Literal["euler", "heun", "dpm++", "ddpm", "ddim"] = "euler"
    condition_dropout: UnitInterval = 0.1
    noise_scale: NonNegativeFloat = 2.0
    random_noise: bool = True
    time_sampling: Literal["uniform", "logit_normal", "log_normal", "ddpm"] = "logit_normal"
    loss_weighting: Literal["none", "min_snr", "edm"] = "none"


@dataclass(frozen=True)
class TextConfig:
    """How texts are brought to where image embeddings are, without any captions of images.

    Args:
        prompts: Texts whose mean is the centre of texts: auto, a file, a name such as faces; null centres nothing.
    """

    prompts: FilledText | None = "auto"


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, its schedule and the moving average of the weights.

    Args:
        lr: Peak learning rate per step.
        weight_decay: Decoupled weight decay per step, relative to the learning rate.
        warmup_steps: Steps over which the learning rate rises from 0 to its peak.
        schedule: Learning rate after the warm-up: cosine falls to 0 at the end, constant stays.
        betas: Adam's decay rates of the first and second moment, per step.
        eps: What Adam adds to the root of the second moment.
        ema_decay: Decay per update of the exponential moving average that is saved; 0 turns averaging off.
        ema_every_steps: Training steps between two updates of that average.
        gradient_clip: Largest norm of the gradient; 0 turns clipping off.
    """

    lr: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.01
    warmup_steps: NonNegativeInt = 500
    schedule: Literal["cosine", "constant"] = "cosine"
    betas: tuple[Fraction, Fraction] = (0.9, 0.99)
    eps: PositiveFloat = 1e-8
    ema_decay: Fraction = 0.999
    ema_every_steps: PositiveInt = 1
    gradient_clip: NonNegativeFloat = 1.0


@dataclass(frozen=True)
class ValidationConfig:
    """The held-out loss and the grids of images that show how training goes.

    Args:
        every_steps: Training steps between two validations.
        prompts: Texts to draw in each grid, a row each; an empty list draws none.
        num_images: Images per prompt.
        guidance_scale: Classifier-free guidance of the grids; 1 is none.
        steps: Sampling steps of the grids.
        num_captions: Captions that attribute accuracy is measured on, for a world of the zoo; 0 measures none.
    """

    every_steps: PositiveInt = 1000
    prompts: list[FilledText] = field(default_factory=list)
    num_images: PositiveInt = 4
    guidance_scale: NonNegativeFloat = 1.0
    steps: PositiveInt = 8
    num_captions: NonNegativeInt = 32


@dataclass(frozen=True)
class TrainConfig:
    """Fit the diffusion prior on pairs of latents and CLIP embeddings; no captions are used.

    Args:
        output: Folder of the run: checkpoints, logs, grids and, at the end, the prior.
        data: The pairs to train on.
        model: Generator and CLIP to draw the grids with, a zoo name or a local folder; null takes the pairs' own.
        generator: Another generator than the model's, as for sampling; needed for pairs of a class of your own.
        clip: The pairs' CLIP, if it has moved, as for sampling; needed for pairs of a class of your own.
        prior: The network.
        diffusion: What the network predicts, and the pseudo-text.
        text: How texts are brought to where image embeddings are.
        optimizer: AdamW and its schedule.
        validation: The held-out loss and grids.
        init_from: Run or prior folder whose weights to start from as far as they fit; null starts from random ones.
        distill: Trained flow to distil into fewer steps, a run or prior folder that keeps its network; null is none.
        max_steps: Training steps in all.
        max_minutes: Wall-clock limit in minutes of the whole run, over all its sessions; null is none.
        precision: Floating-point precision of training.
        seed: Seed of the initial weights, the order of the pairs and all noise.
        device: Where to compute: auto, cpu, cuda, cuda:N or mps.
        resume: Go on from the run folder's last checkpoint (auto), never, or begin a new run with a checkpoint FILE.
        devices: Processes per machine, each on a device of its own; null takes what torchrun or srun started, else 1.
        num_nodes: Machines; null takes what torchrun or srun started, else 1.
        launch_timeout: Minutes to wait for the other processes, and for the first step.
        strategy: Give each process the whole network (ddp), or split it among all (fsdp), for one too large for one.
        on_non_finite: What to do with NaN or infinity in pairs or gradients: stop, or skip what is concerned.
        csv: Write metrics to a CSV file in the run folder.
        tensorboard: Write metrics and grids for TensorBoard in the run folder.
        wandb: Project of Weights & Biases to log to as well; null logs to none.
        log_every_steps: Training steps between two logged values.
        checkpoint_every_steps: Training steps between two checkpoints.
        keep_checkpoints: Number of last checkpoints to keep, besides the best.
    """

    output: FilledText
    data: DataConfig
    model: FilledText | None = None
    generator: FilledText | dict[str, Any] | None = None
    clip: FilledText | dict[str, Any] | None = None
    prior: PriorConfig = field(default_factory=PriorConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    text: TextConfig = field(default_factory=TextConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    init_from: FilledText | None = None
    distill: FilledText | None = None
    max_steps: PositiveInt = 20_000
    max_minutes: PositiveFloat | None = None
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    seed: Annotated[int, Range(at_least=0, below=2**32)] = 0
    device: FilledText = "auto"
    resume: FilledText = "auto"
    devices: PositiveInt | None = None
    num_nodes: PositiveInt | None = None
    launch_timeout: PositiveFloat = 30.0
    strategy: Literal["ddp", "fsdp"] = "ddp"
    on_non_finite: Literal["stop", "skip"] = "stop"
    csv: bool = True
    tensorboard: bool = True
    wandb: FilledText | None = None
    log_every_steps: PositiveInt = 50
    checkpoint_every_steps: PositiveInt = 1000
    keep_checkpoints: PositiveInt = 3


RESUME_MODES = ("auto", "never")
"""What `resume` can be beside a file."""
KEPT_BY_DISTILLATION = (
    *(f"prior.{one.name}" for one in fields(PriorConfig)),
    *(f"text.{one.name}" for one in fields(TextConfig)),
    *("diffusion.objective", "diffusion.sampler", "diffusion.time_sampling", "diffusion.loss_weighting"),
)
"""What a student has of its teacher, and what belongs to another objective than the distillation's."""


def idle_keys(config: TrainConfig) -> dict[str, str]:
    """Keys that training would ignore, each with what was expected instead."""
    diffusion = config.diffusion
    needed = {"diffusion.random_noise": "" if diffusion.noise_scale else "a noise_scale other than 0"}
    for name in ("num_images", "guidance_scale", "steps", "num_captions"):
        needed[f"validation.{name}"] = "" if config.validation.prompts else "--validation.prompts"
    idle = {key: f"expected {what} with it, which it is for" for key, what in needed.items() if what}
    kept = () if config.distill is None else (*KEPT_BY_DISTILLATION, "init_from")
    return idle | dict.fromkeys(kept, "expected no value with --distill, which goes on with its teacher's")
