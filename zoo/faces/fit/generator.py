"""Fits the faces StyleGAN2 by regression: G(z) = render(meaning(z)).

The synthesis network learns to draw w, at 32, 64 and then 128 pixels, and the mapping network learns z -> w
(`fit_mapping`); both targets are known in closed form, so neither needs a discriminator.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, mse_loss

from text2latent.models.clip.building import read_model
from text2latent.models.clip.files import locate
from text2latent.models.generators.stylegan2 import StyleGAN2Generator, SynthesisNetwork
from text2latent.zoo.faces.attributes import draw_codes
from text2latent.zoo.faces.fit.batches import to_tensor
from text2latent.zoo.faces.fit.mapping import fit_mapping
from text2latent.zoo.faces.fit.perception import PerceptualLoss
from text2latent.zoo.faces.portraits.renderer import draw_nuisance, render
from text2latent.zoo.faces.world import W_DIM, Z_DIM, blur_values, latents
from text2latent.zoo.fit.fitting import FitPlan, fit


@dataclass(frozen=True)
class Stage:
    """How synthesis is fitted at a resolution.

    Attributes:
        resolution: pixels per side.
        batch: images of a step.
        plan: for how long and how fast.
        vagueness: how vague w may be, see `blur_values`.
        perceptual_weight: weight of the perceptual loss; at 1 its gradient is about as long as the other loss's.
    """

    resolution: int
    batch: int
    plan: FitPlan
    vagueness: float = 0.0
    perceptual_weight: float = 0.0


STAGES = (
    Stage(32, 16, FitPlan(num_steps=1500, lr=2e-2, anneal=False, ema_decay=0.99, gradient_clip=10.0)),
    Stage(64, 16, FitPlan(num_steps=4000, lr=1.5e-2, anneal=False, ema_decay=0.99, gradient_clip=10.0)),
    Stage(128, 8, FitPlan(num_steps=12000, lr=1e-2, ema_decay=0.998, gradient_clip=10.0), 0.15, 1.0),
)
SEED = 202
WEIGHTS = Path(__file__).parents[1] / "weights" / "generator"
CPU = torch.device("cpu")


def make_generator(resolution: int = 128) -> StyleGAN2Generator:
    """Return the faces generator with random weights, about 2 million parameters."""
    return StyleGAN2Generator(
        z_dim=Z_DIM,
        w_dim=W_DIM,
        img_resolution=resolution,
        channel_base=2048,
        channel_max=192,
        num_mapping_layers=6,
        mapping_layer_features=256,
        mapping_lr_multiplier=1.0,
        use_noise=False,
    )


@cache
def _face_weight(size: int, device: torch.device = CPU) -> Tensor:
    """Return `[1, 1, size, size]` loss weights: high on the head, highest where eyes, brows and mouth are."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    head = torch.exp(-((x / 0.42) ** 4) - ((y - 0.02) / 0.6) ** 4)
    features = torch.exp(-((x / 0.26) ** 4) - ((y - 0.08) / 0.36) ** 4)
    weight = 1 + 3 * head + 7 * features
    return (weight / weight.mean())[None, None].to(device)


def image_loss(images: Tensor, targets: Tensor) -> Tensor:
    """Return weighted L1 of pixels, of their gradients and of three levels of average pooling."""
    weight = _face_weight(images.shape[-1], images.device)
    difference = images - targets
    loss = (weight * difference.abs()).mean()
    for dim in (2, 3):
        gradient = difference.diff(dim=dim).abs()
        loss = loss + (weight.narrow(dim, 0, gradient.shape[dim]) * gradient).mean()
    for level in (2, 4, 8):
        loss = loss + avg_pool2d(difference, level).abs().mean()
    return loss


def draw(synthesis: SynthesisNetwork, w: Tensor) -> Tensor:
    """Return images `[N, 3, H, W]`, float32 and not clamped, of `w` `[N, W_DIM]`, with convolutions in bfloat16."""
    with torch.autocast(w.device.type, torch.bfloat16):
        return synthesis(w[:, None].expand(-1, synthesis.num_ws, -1), noise_mode="none", exact=False).float()


def psnr(images: Tensor, targets: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of images in [-1, 1] in dB."""
    return -10 * torch.log10(mse_loss(images, targets) / 4)


def synthesis_loss(
    synthesis: SynthesisNetwork, step: int, stage: Stage, perceptual: nn.Module
) -> tuple[Tensor, dict[str, float]]:
    """Draw somewhat vague w; return the loss against the clean renders, and the PSNR in dB."""
    rng = np.random.default_rng([SEED, stage.resolution, step])
    codes, nuisance = draw_codes(rng, stage.batch), draw_nuisance(rng, stage.batch)
    w = blur_values(latents(codes, nuisance), rng, stage.vagueness)
    images = draw(synthesis, w)
    targets = to_tensor(render(codes, nuisance))
    targets = avg_pool2d(targets, targets.shape[-1] // stage.resolution)
    loss, logged = image_loss(images, targets), {"psnr": psnr(images.detach(), targets).item()}
    if stage.perceptual_weight:
        with torch.autocast("cpu", torch.bfloat16):
            seen = perceptual(images, targets)
        loss, logged = loss + stage.perceptual_weight * seen, {**logged, "perceptual": seen.item()}
    return loss, logged


def save_grid(generator: StyleGAN2Generator, path: Path, columns: int = 8) -> None:
    """Write renders (odd rows) above what the synthesis network makes of their w (even rows)."""
    rng = np.random.default_rng([SEED, 0, 0])
    codes, nuisance = draw_codes(rng, 3 * columns), draw_nuisance(rng, 3 * columns)
    w = latents(codes, nuisance)[:, None].to(generator.device)
    drawn = generator.synthesize(w, noise_mode="none").cpu()
    targets = avg_pool2d(to_tensor(render(codes, nuisance)), 128 // generator.image_shape[0])
    rows = torch.stack([targets, drawn]).unflatten(1, (3, columns))
    picture = rows.permute(1, 0, 4, 2, 5, 3).flatten(0, 2).flatten(1, 2)
    Image.fromarray(((picture + 1) * 127.5).round().byte().numpy()).save(path)


def _draw_grid(generator: StyleGAN2Generator, folder: Path, average: SynthesisNetwork, step: int) -> None:
    generator.synthesis = average
    save_grid(generator, folder / f"grid-{step:06d}.png")


def fit_synthesis(work: Path, clip: Path) -> SynthesisNetwork:
    """Fit the synthesis network stage by stage, resumably in `work`; each stage starts from the blocks of the last.

    The CLIP model in the hub folder `clip` judges how alike pictures look.
    """
    perceptual = PerceptualLoss(read_model(locate(str(clip))).visual).to(memory_format=torch.channels_last)
    fitted: dict[str, Tensor] = {}
    for stage in STAGES:
        generator = make_generator(stage.resolution)
        generator.synthesis.load_state_dict({**generator.synthesis.state_dict(), **fitted})
        network = generator.synthesis.to(memory_format=torch.channels_last)
        folder = work / f"synthesis-{stage.resolution}"
        draw = partial(_draw_grid, generator, folder)
        average = fit(network, partial(synthesis_loss, stage=stage, perceptual=perceptual), stage.plan, folder, draw)
        fitted = average.state_dict()
    return average


def fit_generator(work: Path, clip: Path, destination: Path = WEIGHTS) -> None:
    """Fit the generator, resumably in `work` and with the CLIP hub folder `clip`; write float16 to `destination`."""
    torch.manual_seed(SEED)
    generator = make_generator()
    generator.synthesis = fit_synthesis(work, clip)
    generator.mapping = fit_mapping(generator.mapping, work)
    generator.update_w_avg()
    generator.half().save_pretrained(destination)
