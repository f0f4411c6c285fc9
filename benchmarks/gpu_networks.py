"""Networks of real sizes with random weights, and small ones of the same kinds, for measurements of speed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from text2latent.benchmarks.generators import STYLEGAN2, STYLEGAN3, build
from text2latent.benchmarks.priors.configs import packaged_config
from text2latent.common.errors import InputError
from text2latent.configs.schema import PriorConfig, TrainConfig
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.clip.clip import new_clip
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.clip.tokenizer import BytePairTokenizer, find_vocabulary
from text2latent.models.generators.base import Generator
from text2latent.models.priors.folder import TrainedPrior
from text2latent.models.priors.prior import Prior
from text2latent.models.priors.registry import create_prior
from text2latent.models.priors.schedulers import build_scheduler
from text2latent.models.sources.identity import Identity

RANDOM = Identity("random", "random", "0" * 64)
OURS, PAPER = "ffhq", "clip2latent"
"""Names of the packaged recipes of a prior of ours, and of the paper's, for the same generator and CLIP."""
CONTEXT_LENGTH = 77
ROTATING = {"channel_base": 65536, "channel_max": 1024, "conv_kernel": 1, "use_radial_filters": True}
CLAMPED = {"num_fp16_res": 4, "conv_clamp": 256}


def _clip(embed_dim: int, vision: Mapping[str, int], text: Mapping[str, int]) -> dict[str, Any]:
    return {"embed_dim": embed_dim, "quick_gelu": True, "vision_cfg": dict(vision), "text_cfg": dict(text)}


@dataclass(frozen=True)
class Sizes:
    """What is measured, at which sizes.

    Attributes:
        generators: class path and arguments of each.
        clips: `model_cfg` of each.
        prior: what recipes are told of the network's size in place of their own.
        batches: images at once, in rising order; the first is one alone.
        together: of these, how many count as many at once.
        sampled: images at once of sampling.
        trained: pairs per step of training, in rising order.
        paper_steps: of the paper's sampler, in falling order.
    """

    generators: Mapping[str, tuple[str, dict[str, Any]]]
    clips: Mapping[str, dict[str, Any]]
    prior: Mapping[str, Any]
    batches: tuple[int, ...]
    together: int
    sampled: int
    trained: tuple[int, ...]
    paper_steps: tuple[int, int]


REAL = Sizes(
    {
        "StyleGAN2": (STYLEGAN2, {"img_resolution": 1024, **CLAMPED}),
        "StyleGAN3-T": (STYLEGAN3, {"img_resolution": 1024}),
        "StyleGAN3-R": (STYLEGAN3, {"img_resolution": 1024, **ROTATING}),
    },
    {
        "ViT-B/32": _clip(512, {"layers": 12, "width": 768, "patch_size": 32}, {"width": 512, "heads": 8}),
        "ViT-L/14": _clip(768, {"layers": 24, "width": 1024, "patch_size": 14}, {"width": 768, "heads": 12}),
    },
    {},
    (1, 4, 8, 16, 32, 64),
    32,
    64,
    (256, 512, 1024, 2048, 4096, 8192),
    (100, 4),
)
_SMALL: dict[str, Any] = {"z_dim": 16, "w_dim": 64, "img_resolution": 16, "channel_base": 128, "channel_max": 16}
_SMALL_VISION = {"layers": 1, "width": 64, "patch_size": 112}
TINY = Sizes(
    {
        "StyleGAN2": (STYLEGAN2, {**_SMALL, **CLAMPED}),
        "StyleGAN3-T": (STYLEGAN3, _SMALL),
        "StyleGAN3-R": (STYLEGAN3, {**_SMALL, "conv_kernel": 1, "use_radial_filters": True}),
    },
    {
        "ViT-B/32": _clip(64, _SMALL_VISION, {"width": 64, "heads": 1, "layers": 1}),
        "ViT-L/14": _clip(64, _SMALL_VISION, {"width": 64, "heads": 1, "layers": 2}),
    },
    {"width": 64, "depth": 1, "num_heads": None},
    (1, 2),
    2,
    2,
    (4, 8),
    (8, 4),
)
SIZES = {"real": REAL, "tiny": TINY}


def build_generator(sizes: Sizes, name: str, device: torch.device) -> Generator:
    path, arguments = sizes.generators[name]
    generator: Generator = build(path, arguments, device)
    generator.identity = RANDOM
    return generator


def build_encoder(sizes: Sizes, name: str, device: torch.device) -> ClipEncoder:
    """A CLIP of random weights, and OpenAI's tokenizer.

    Raises:
        InputError: when there is no open_clip, whose package has the vocabulary.
    """
    vocabulary = find_vocabulary()
    if vocabulary is None:
        raise InputError("open_clip_torch: expected the package, for the vocabulary in it; it isn't installed")
    with torch.device(device):
        model = new_clip(sizes.clips[name])
        for parameter in model.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.02)
    return ClipEncoder(model.to(device), BytePairTokenizer(vocabulary, CONTEXT_LENGTH), RANDOM)


def recipe(sizes: Sizes, name: str) -> TrainConfig:
    """The settings of `configs/NAME.yaml`, of the network's size in `sizes`."""
    config = packaged_config(name)
    prior: PriorConfig = replace(config.prior, latent_layout="w", **sizes.prior)
    return replace(config, prior=prior)


def build_prior(config: TrainConfig, w_dim: int, embedding_dim: int, device: torch.device) -> Prior:
    """A prior of w with random weights; of an adaptive one the layers that start at zero are random too."""
    objective = config.diffusion.objective
    prior: Prior = create_prior(
        **asdict(config.prior), latent_shape=(1, w_dim), embedding_dim=embedding_dim, objective=objective
    )
    rng = torch.Generator().manual_seed(0)
    for parameter in prior.parameters():
        if not parameter.any():
            parameter.data.copy_(0.02 * torch.randn(parameter.shape, generator=rng))
    return prior.to(device)


def build_pipeline(sizes: Sizes, name: str, generator: Generator, clip: ClipEncoder) -> Text2LatentPipeline:
    config = recipe(sizes, name)
    prior = build_prior(config, generator.w_dim, clip.embedding_dim, generator.device)
    scheduler = build_scheduler(config.diffusion.sampler, config.diffusion.objective)
    record = {"generator": RANDOM.to_dict(), "clip": RANDOM.to_dict()}
    trained = TrainedPrior(prior.eval().requires_grad_(False), scheduler, record)
    return Text2LatentPipeline(generator, clip, trained).to(generator.device)
