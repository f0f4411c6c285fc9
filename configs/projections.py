"""What can be configured of `text2latent project`; flags, YAML keys and help follow, as from `configs.schema`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from text2latent.common.constraints import (
    FilledText,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Range,
    Seed,
    UnitInterval,
)

Strength = Annotated[float, Range(at_least=-10, at_most=10)]
Frames = Annotated[int, Range(at_least=2, at_most=10_000)]


@dataclass(frozen=True)
class WeightsConfig:
    """What makes an image unlike the picture; a weight of 0 leaves a part out.

    Args:
        pixels: Of the mean squared difference of pixels in [-1, 1], averaged over several sizes.
        structure: Of 1 - SSIM.
        features: Of LPIPS with --lpips-weights, else of the same distance of the features of CLIP's image tower.
    """

    pixels: NonNegativeFloat = 1.0
    structure: NonNegativeFloat = 0.2
    features: NonNegativeFloat = 1.0


@dataclass(frozen=True)
class TuneConfig:
    """Pivotal tuning: the generator's weights move until it draws the pictures.

    Args:
        steps: Steps of Adam on the weights; 0 tunes nothing.
        learning_rate: Of Adam.
        locality_weight: Of what the generator draws near the pictures' latents, which is to stay.
        locality_distance: How near, in standard deviations of a latent's channel.
        noise: Whether StyleGAN's noise maps move as well.
    """

    steps: NonNegativeInt = 0
    learning_rate: PositiveFloat = 3e-4
    locality_weight: NonNegativeFloat = 0.1
    locality_distance: PositiveFloat = 0.5
    noise: bool = False


@dataclass(frozen=True)
class ProjectConfig:
    """Find the latents of pictures of your own, and change these by words.

    Args:
        pictures: Image files; the same as the words that come first.
        output: Folder, with NAME.png, NAME.npz and more for each picture.
        model: Zoo name, run or prior folder: its prior draws where to start.
        generator: Where the generator is, if it has moved or was tuned; or, with --init mean, one without a prior.
        clip: Where CLIP is, if it has moved; with a generator without a prior, whose features are compared.
        clip_args: What CLIP's files don't say, as KEY=VALUE,KEY=VALUE or a YAML or JSON file; see docs/clip.md.
        force: Take --generator and --clip although the prior was trained with others.
        init: Start from what the model's prior draws for a picture, or from the generator's mean latent.
        candidates: Draws of the prior, of which the one most like the picture is the start.
        steps: Gradient steps.
        tied_share: Share of the steps in which one latent is for all layers (w), before each has its own (w+).
        learning_rate: Of Adam at the start, in standard deviations of the latents; it falls to 0 as a cosine.
        weights: What makes an image unlike the picture.
        distribution_weight: Weight of the penalty for leaving the generator's latents.
        spread_weight: Weight of the penalty for layers that differ.
        patience: Steps without a better image after which the search ends early; 0 does all steps.
        lpips_weights: Torchvision's weights of VGG-16, vgg16-397923af.pth, for LPIPS; they aren't downloaded.
        crop: Part of the pictures to take, as X,Y,WIDTH,HEIGHT in pixels; null takes the middle.
        aligner: Your own function from PIL image to PIL image that brings faces into place, my_package.align.
        tune: Pivotal tuning of the generator.
        edit: Two texts, from what to what the pictures are changed, as in infer --edit.
        strength: How far --edit goes; 1 is the whole way, -1 the other way.
        interpolate: Draw the way between two pictures, or from one to --text, as way.gif.
        text: Where --interpolate leads to from one picture.
        frames: Frames of --interpolate.
        video: File for a video of the search, .gif or .mp4, pictures above images; null makes none.
        fps: Frames per second of videos.
        save_every: Steps between two saved states, which are also the video's frames.
        batch_size: Pictures at once; changes speed and memory, not the images.
        seed: Seed of the prior's draws, of --text's, and of what tuning looks at.
        device: Where to compute: auto, cpu, cuda, cuda:N or mps.
        overwrite: Start again where the folder holds a run; without it, a run goes on.
        json: Print as JSON what was found.
    """

    pictures: list[FilledText] = field(default_factory=list)
    output: FilledText | None = None
    model: FilledText = "faces"
    generator: FilledText | None = None
    clip: FilledText | dict[str, Any] | None = None
    clip_args: FilledText | dict[str, Any] | None = None
    force: bool = False
    init: Literal["prior", "mean"] = "prior"
    candidates: PositiveInt = 32
    steps: NonNegativeInt = 100
    tied_share: UnitInterval = 0.25
    learning_rate: PositiveFloat = 0.1
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    distribution_weight: NonNegativeFloat = 0.01
    spread_weight: NonNegativeFloat = 0.1
    patience: NonNegativeInt = 50
    lpips_weights: FilledText | None = None
    crop: FilledText | None = None
    aligner: FilledText | None = None
    tune: TuneConfig = field(default_factory=TuneConfig)
    edit: list[FilledText] | None = None
    strength: Strength = 1.0
    interpolate: bool = False
    text: FilledText | None = None
    frames: Frames = 24
    video: FilledText | None = None
    fps: PositiveFloat = 8.0
    save_every: PositiveInt = 10
    batch_size: PositiveInt = 8
    seed: Seed = 0
    device: FilledText = "auto"
    overwrite: bool = False
    json: bool = False


def idle_keys(config: ProjectConfig) -> dict[str, str]:
    """Keys that would be ignored, each with what was expected instead."""
    needed = {
        "force": "" if config.generator or config.clip or config.clip_args else "--generator or --clip",
        "strength": "" if config.edit else "--edit",
        "text": "" if config.interpolate else "--interpolate",
        "frames": "" if config.interpolate else "--interpolate",
        "fps": "" if config.video or config.interpolate else "--video or --interpolate",
        "candidates": "" if config.init == "prior" else "--init prior",
        "lpips_weights": "" if config.weights.features else "--weights.features above 0",
        **{f"tune.{name}": "" if config.tune.steps else "--tune.steps"
           for name in ("learning_rate", "locality_weight", "locality_distance", "noise")},
    }  # fmt: skip
    return {key: f"expected {what} with it, which it is for" for key, what in needed.items() if what}
