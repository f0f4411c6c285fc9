"""What can be configured of `text2latent optimize`; flags, YAML keys and help follow, as from `configs.schema`."""

from __future__ import annotations

from dataclasses import dataclass, field
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

Share = Annotated[float, Range(above=0, at_most=1)]


@dataclass(frozen=True)
class CutoutsConfig:
    """The random views of an image that CLIP sees in each iteration.

    Args:
        count: Cutouts per iteration.
        min_size: Smallest side of a cutout, as a share of the image's.
        max_size: Largest side of a cutout, likewise.
        distribution: Sizes between these, uniform or normal; the normal one has the mean and deviation below.
        mean_size: Mean size of the normal distribution.
        std_size: Its standard deviation.
        center_bias: Above 0, places gather at the centre; 2 is Big Sleep's centre focus. 0 has them uniform.
        jitter: Standard deviation of random brightness and contrast, in units of the image's range from -1 to 1.
    """

    count: PositiveInt = 32
    min_size: Share = 0.5
    max_size: Share = 0.95
    distribution: Literal["normal", "uniform"] = "normal"
    mean_size: Share = 0.8
    std_size: NonNegativeFloat = 0.3
    center_bias: NonNegativeFloat = 0.0
    jitter: NonNegativeFloat = 0.0


@dataclass(frozen=True)
class TokensConfig:
    """Generators of discrete codes such as DALL-E's dVAE.

    Args:
        sampling: Softmax of the codes' logits, or a Gumbel-softmax, whose noise makes them decide.
        temperature: Of either; the lower, the nearer to one code per place.
    """

    sampling: Literal["soft", "gumbel"] = "soft"
    temperature: PositiveFloat = 1.0


@dataclass(frozen=True)
class OptimizeConfig:
    """Draw an image by optimisation: move a generator's latent until CLIP finds in its image what a text says.

    Args:
        output: Folder of the run, with image.png, best.png and more; null names it after text and seed.
        text: What to draw; several phrases with | between them, each perhaps with a weight, 'ice:2 | pyramid'.
        avoid: Phrases that the image is to be unlike, with | between them, such as 'blur | zoom'.
        image: Image file to come near to, alone or together with the text.
        image_weight: Share of the image where there is a text too.
        model: Zoo name, run or prior folder: its generator and CLIP, and its prior with --init prior.
        generator: Another generator; biggan-deep-128, -256 or -512, dalle-dvae, a zoo name, file, folder or address.
        clip: Another CLIP; null is the model's, or, with another generator, ViT-B-32/openai.
        clip_args: What CLIP's files don't say, as KEY=VALUE,KEY=VALUE or a YAML or JSON file; see docs/clip.md.
        clip_language: Language of all texts, such as jpn_Jpan, for an nllb CLIP; null is that of each text's script.
        init: Start from a random latent, from the mean one, or from what the model's prior draws.
        latent: One latent for all layers of the generator, or one for each.
        iterations: Gradient steps of an epoch.
        epochs: Epochs; iterations times epochs is the number of steps in all.
        optimizer: Name of a class of torch.optim, such as adam, adamw, rmsprop, adagrad, adadelta or sgd.
        lr: Learning rate, for a loss of 100 times a cosine; null is that of the study, or else the class's own.
        optimizer_arguments: More arguments of the class, as in 'betas=[0.9, 0.99], weight_decay=0.01'.
        accumulate: Draws of cutouts whose gradients are averaged in a step.
        ema_decay: Decay per step of a moving average of the latents that images are drawn of; 0 is none.
        distribution_weight: Weight of the penalty for leaving the generator's latents; null is 1 for BigGAN, whose
            penalty is Big Sleep's, and 0.1 for others, as for infer --refine.
        cutouts: What CLIP sees.
        augmentations: Changes to each cutout, as NAME or NAME:STRENGTH of crop, rotation, affine, perspective, color
            and noise.
        max_classes: Classes that an image of a class-conditional generator such as BigGAN may mix; null allows all.
        class_temperature: Of the choice among max_classes; the lower, the more the likeliest stands out.
        tokens: Generators of discrete codes.
        save_every: Steps between two saved states and progress images.
        video: File for a video of the progress images, .mp4 or .gif; null makes none.
        fps: Frames per second of the video.
        hold_seconds: How long the video holds its last frame.
        memory: Memory to use in GiB; cutouts go through CLIP in groups that fit. Null sets no limit.
        compare: Optimizers to compare with commas between them; all prompts and seeds are drawn with each.
        prompts: File of prompts to compare with, a text per line, or .jsonl.
        num_seeds: Seeds to compare with, counting up from seed.
        seed: Seed of the start, of the cutouts and of all else that is random.
        device: Where to compute: auto, cpu, cuda, cuda:N or mps.
        overwrite: Start again where the folder holds a run; without it, a run goes on.
        json: Print as JSON what was drawn.
    """

    output: FilledText | None = None
    text: FilledText | None = None
    avoid: FilledText | None = None
    image: FilledText | None = None
    image_weight: UnitInterval = 0.5
    model: FilledText = "faces"
    generator: FilledText | None = None
    clip: FilledText | dict[str, Any] | None = None
    clip_args: FilledText | dict[str, Any] | None = None
    clip_language: FilledText | None = None
    init: Literal["random", "mean", "prior"] = "random"
    latent: Literal["w", "w_plus"] = "w_plus"
    iterations: NonNegativeInt = 200
    epochs: PositiveInt = 1
    optimizer: FilledText = "adam"
    lr: PositiveFloat | None = None
    optimizer_arguments: FilledText | None = None
    accumulate: PositiveInt = 1
    ema_decay: Fraction = 0.0
    distribution_weight: NonNegativeFloat | None = None
    cutouts: CutoutsConfig = field(default_factory=CutoutsConfig)
    augmentations: list[FilledText] = field(default_factory=list)
    max_classes: PositiveInt | None = None
    class_temperature: PositiveFloat = 2.0
    tokens: TokensConfig = field(default_factory=TokensConfig)
    save_every: PositiveInt = 50
    video: FilledText | None = None
    fps: PositiveFloat = 8.0
    hold_seconds: NonNegativeFloat = 2.0
    memory: PositiveFloat | None = None
    compare: FilledText | None = None
    prompts: FilledText | None = None
    num_seeds: PositiveInt = 1
    seed: Seed = 0
    device: FilledText = "auto"
    overwrite: bool = False
    json: bool = False


def idle_keys(config: OptimizeConfig) -> dict[str, str]:
    """Keys that would be ignored, each with what was expected instead."""
    normal, named = config.cutouts.distribution == "normal", config.generator is not None and config.clip is not None
    needed = {
        "image_weight": "" if config.image and (config.text or config.prompts) else "--image and a text",
        "fps": "" if config.video else "--video",
        "hold_seconds": "" if config.video else "--video",
        "cutouts.mean_size": "" if normal else "--cutouts.distribution normal",
        "cutouts.std_size": "" if normal else "--cutouts.distribution normal",
        "class_temperature": "" if config.max_classes else "--max-classes",
        "model": "" if config.init == "prior" or not named else "--init prior, or not both --generator and --clip,",
    }
    idle = {key: f"expected {what} with it, which it is for" for key, what in needed.items() if what}
    return idle | ({"optimizer": "expected none with --compare, which names them"} if config.compare else {})
