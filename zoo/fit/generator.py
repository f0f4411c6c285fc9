"""Fits the generator of a world by regression: G(z) = render(meaning(z)).

The synthesis network learns to draw w, stage by stage, and the mapping network learns z -> w (`fit_mapping`); both
targets are known in closed form, so neither needs a discriminator. `fit.generator` of a `world.yaml` has

- `class` and `arguments`: of the generator, but for its dimensions;
- `attention`: where a difference counts, see `attention_weight`;
- `stages`: fields of `Stage` and `FitPlan`, side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, mse_loss

from text2latent.models.clip.building import read_model
from text2latent.models.clip.files import locate
from text2latent.models.generators.mapping import MappedGenerator
from text2latent.models.generators.stylegan2 import StyleGAN2Generator
from text2latent.models.generators.stylegan3 import StyleGAN3Generator
from text2latent.zoo.drawing.pen import SIZE
from text2latent.zoo.drawing.renders import render
from text2latent.zoo.fit.batches import to_tensor
from text2latent.zoo.fit.fitting import FitPlan, fit
from text2latent.zoo.fit.mapping import fit_mapping
from text2latent.zoo.fit.perception import PerceptualLoss
from text2latent.zoo.world import Z_DIM, World

CLASSES = {"StyleGAN2Generator": StyleGAN2Generator, "StyleGAN3Generator": StyleGAN3Generator}
SEED = 202
GRADIENT_CLIP = 10.0
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Stage:
    """How synthesis is fitted at a resolution.

    Attributes:
        resolution: pixels per side.
        batch: images of a step.
        plan: for how long and how fast.
        vagueness: how vague w may be, see `World.blur_values`.
        perceptual_weight: weight of the perceptual loss; at 1 its gradient is about as long as the other loss's.
    """

    resolution: int
    batch: int
    plan: FitPlan
    vagueness: float = 0.0
    perceptual_weight: float = 0.0


def make_stages(world: World) -> list[Stage]:
    """The stages that a world's generator is fitted in."""
    return [_make_stage(settings) for settings in world.fit["generator"]["stages"]]


def _make_stage(settings: Mapping[str, Any]) -> Stage:
    own = {field.name for field in fields(Stage)}
    plan = {name: value for name, value in settings.items() if name not in own}
    rest = {name: value for name, value in settings.items() if name in own}
    return Stage(**rest, plan=FitPlan(**plan, gradient_clip=GRADIENT_CLIP))


def make_generator(world: World, resolution: int = SIZE) -> MappedGenerator:
    """Return the generator of a world with random weights."""
    settings = world.fit["generator"]
    return CLASSES[settings["class"]](
        z_dim=Z_DIM, w_dim=world.w_dim, img_resolution=resolution, **settings["arguments"]
    )


@cache
def attention_weight(world: World, size: int, device: torch.device = CPU) -> Tensor:
    """Return `[1, 1, size, size]` loss weights of mean 1: 1 plus bumps, before they are scaled to that.

    A bump falls off with the fourth power of the distance from its `center`, measured in `half_width`; both are x and
    y in half picture sides, from the middle.
    """
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    weight = torch.ones(size, size)
    for bump in world.fit["generator"]["attention"]:
        (left, top), (width, height) = bump["center"], bump["half_width"]
        weight += bump["weight"] * torch.exp(-(((x - left) / width) ** 4) - ((y - top) / height) ** 4)
    return (weight / weight.mean())[None, None].to(device)


def image_loss(world: World, images: Tensor, targets: Tensor) -> Tensor:
    """Return weighted L1 of pixels, of their gradients and of three levels of average pooling."""
    weight = attention_weight(world, images.shape[-1], images.device)
    difference = images - targets
    loss = (weight * difference.abs()).mean()
    for dim in (2, 3):
        gradient = difference.diff(dim=dim).abs()
        loss = loss + (weight.narrow(dim, 0, gradient.shape[dim]) * gradient).mean()
    for level in (2, 4, 8):
        loss = loss + avg_pool2d(difference, level).abs().mean()
    return loss


def draw(synthesis: Any, w: Tensor) -> Tensor:
    """Return images `[N, 3, H, W]`, float32 and not clamped, of `w` `[N, w_dim]`, with convolutions in bfloat16.

    `synthesis` is the synthesis network of a generator.
    """
    with torch.autocast(w.device.type, torch.bfloat16):
        images: Tensor = synthesis(w[:, None].expand(-1, synthesis.num_ws, -1), noise_mode="none", exact=False)
    return images.float()


def psnr(images: Tensor, targets: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of images in [-1, 1] in dB."""
    return -10 * torch.log10(mse_loss(images, targets) / 4)


def synthesis_loss(
    synthesis: nn.Module, step: int, world: World, stage: Stage, perceptual: nn.Module
) -> tuple[Tensor, dict[str, float]]:
    """Draw somewhat vague w; return the loss against the clean renders, and the PSNR in dB."""
    rng = np.random.default_rng([SEED, stage.resolution, step])
    codes, nuisance = world.draw_codes(rng, stage.batch), world.draw_nuisance(rng, stage.batch)
    w = world.blur_values(world.latents(codes, nuisance), rng, stage.vagueness)
    images = draw(synthesis, w)
    targets = to_tensor(render(world, codes, nuisance))
    targets = avg_pool2d(targets, targets.shape[-1] // stage.resolution)
    loss, logged = image_loss(world, images, targets), {"psnr": psnr(images.detach(), targets).item()}
    if stage.perceptual_weight:
        with torch.autocast("cpu", torch.bfloat16):
            seen = perceptual(images, targets)
        loss, logged = loss + stage.perceptual_weight * seen, {**logged, "perceptual": seen.item()}
    return loss, logged


def save_grid(world: World, generator: MappedGenerator, path: Path, columns: int = 8) -> None:
    """Write renders (odd rows) above what the synthesis network makes of their w (even rows)."""
    rng = np.random.default_rng([SEED, 0, 0])
    codes, nuisance = world.draw_codes(rng, 3 * columns), world.draw_nuisance(rng, 3 * columns)
    w = world.latents(codes, nuisance)[:, None].to(generator.device)
    drawn = generator.synthesize(w, noise_mode="none").cpu()
    targets = avg_pool2d(to_tensor(render(world, codes, nuisance)), SIZE // generator.image_shape[0])
    rows = torch.stack([targets, drawn]).unflatten(1, (3, columns))
    picture = rows.permute(1, 0, 4, 2, 5, 3).flatten(0, 2).flatten(1, 2)
    Image.fromarray(((picture + 1) * 127.5).round().byte().numpy()).save(path)


def _draw_grid(world: World, generator: MappedGenerator, folder: Path, average: nn.Module, step: int) -> None:
    generator.synthesis = average
    save_grid(world, generator, folder / f"grid-{step:06d}.png")


def fit_synthesis(world: World, work: Path, clip: Path) -> nn.Module:
    """Fit the synthesis network stage by stage, resumably in `work`; each stage starts from the weights of the last.

    The CLIP model in the hub folder `clip` judges how alike pictures look.
    """
    perceptual = PerceptualLoss(read_model(locate(str(clip))).visual).to(memory_format=torch.channels_last)
    fitted: dict[str, Tensor] = {}
    for number, stage in enumerate(make_stages(world)):
        generator = make_generator(world, stage.resolution)
        generator.synthesis.load_state_dict({**generator.synthesis.state_dict(), **fitted})
        network = generator.synthesis.to(memory_format=torch.channels_last)
        folder = work / f"synthesis-{number}"
        draw = partial(_draw_grid, world, generator, folder)
        loss = partial(synthesis_loss, world=world, stage=stage, perceptual=perceptual)
        average = fit(network, loss, stage.plan, folder, draw)
        fitted = average.state_dict()
    return average


def fit_generator(world: World, work: Path, clip: Path, destination: Path) -> None:
    """Fit the generator of a world, resumably in `work`, and write it in float16 to `destination`.

    The CLIP model in the hub folder `clip` judges how alike pictures look.
    """
    torch.manual_seed(SEED)
    generator = make_generator(world)
    generator.synthesis = fit_synthesis(world, work, clip)
    generator.mapping = fit_mapping(generator.mapping, world, work)
    generator.update_w_avg()
    generator.half().save_pretrained(destination)
