"""What drawing, sampling and training send to a device, fetch from it and wait for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.inference.query import Query
from text2latent.inference.settings import Settings
from text2latent.models.acceleration import directly
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.generators import load_generator
from text2latent.models.generators.base import Generator
from text2latent.models.generators.bilinear import BilinearStyleGAN2Generator
from text2latent.models.generators.stylegan1 import StyleGAN1Generator
from text2latent.models.generators.stylegan2 import StyleGAN2Generator
from text2latent.models.generators.stylegan3 import StyleGAN3Generator
from text2latent.models.priors.registry import create_prior
from text2latent.models.priors.schedulers import build_scheduler
from text2latent.tests.device_traffic import Traffic, on_fake_cuda
from text2latent.tests.pictures import TEXT
from text2latent.training.callbacks import EmaWeights
from text2latent.training.module import PriorTraining
from text2latent.training.objectives import DenoisingObjective
from text2latent.training.pseudo_text import PseudoText

NOTHING = {"sent": 0, "fetched": 0, "looks": 0}
GENERATORS = {
    "stylegan1": StyleGAN1Generator(z_dim=8, w_dim=8, block_channels=[8, 8, 8], num_mapping_layers=2),
    "stylegan2": StyleGAN2Generator(z_dim=8, w_dim=8, img_resolution=16, channel_base=64, channel_max=8),
    "stylegan3": StyleGAN3Generator(z_dim=8, w_dim=8, img_resolution=16, channel_base=64, channel_max=8),
    "bilinear": BilinearStyleGAN2Generator(w_dim=8, num_mapping_layers=2, block_channels=[8, 8, 8]),
}


@pytest.fixture
def pipeline(tiny_model: Any) -> Text2LatentPipeline:
    return Text2LatentPipeline.from_pretrained(str(tiny_model))


def watched(traffic: Traffic) -> Any:
    """A runner that lets functions move nothing, as no graph could be captured of them."""

    def run(function: Any, *tensors: Any, **options: Any) -> Any:
        before = dict(traffic.counts)
        result = directly(function, *tensors, **options)
        assert dict(traffic.counts) == before, function
        return result

    return run


def test_traffic_is_noticed() -> None:
    layer = torch.nn.Linear(2, 2)
    with on_fake_cuda(layer) as traffic, torch.no_grad():
        result = layer(torch.zeros(1, 2).to("cuda"))
        assert traffic.counts == {"sent": 1, "fetched": 0, "looks": 0}
        assert result.isfinite().all()
        result.cpu()
        result[torch.tensor([0])]
    assert traffic.counts == {"sent": 2, "fetched": 1, "looks": 1}


@pytest.mark.parametrize("query", [Query(TEXT), Query(TEXT, negative="a hat")])
@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_a_picture_waits_once_and_what_is_captured_never(
    pipeline: Text2LatentPipeline, query: Query, guidance_scale: float
) -> None:
    with on_fake_cuda(pipeline.generator, pipeline.clip, pipeline.prior) as traffic:
        pipeline._set_runner(watched(traffic))
        conditions = pipeline.encode([query])
        texts = 1 + (query.negative is not None)
        assert traffic.counts == {"sent": texts + 1, "fetched": 0, "looks": 0}, "tokens of each text, and its weight"
        (drawn,) = pipeline.draw(conditions, [0], Settings(guidance_scale=guidance_scale))
    # The noise; whether latents are finite, when all has been launched. CPU booleans are false, so no negative is used.
    assert traffic.counts == {"sent": texts + 2, "fetched": 0, "looks": 1}
    assert drawn.images.device.type == "cuda"


@pytest.mark.parametrize("sampler", ["euler", "heun", "ddpm", "ddim"])
def test_no_sampler_moves_anything_between_its_steps(pipeline: Text2LatentPipeline, sampler: str) -> None:
    flow = sampler in ("euler", "heun")
    pipeline.prior = create_prior("transformer", latent_shape=(1, 16), embedding_dim=16, width=64, depth=1)
    pipeline.scheduler = build_scheduler(sampler, "flow" if flow else "sample")
    with on_fake_cuda(pipeline.generator, pipeline.clip, pipeline.prior) as traffic:
        pipeline._set_runner(watched(traffic))
        noise = torch.zeros(2, 1, 16, device="cuda")
        later = [torch.zeros(7, 2, 1, 16, device="cuda")] if sampler == "ddpm" else []
        condition = torch.zeros(2, 16, device="cuda")
        negative = [torch.zeros(2, 16, device="cuda"), torch.ones(2, dtype=torch.bool, device="cuda")]
        drawn = pipeline.run(
            pipeline._sample, condition, noise, *later, *negative, steps=8, scale=2.0, noises=1 + len(later)
        )
    assert drawn.shape == (2, 1, 16)


@pytest.mark.parametrize("name", GENERATORS)
def test_synthesis_moves_nothing(name: str) -> None:
    generator: Generator = GENERATORS[name]
    with on_fake_cuda(generator) as traffic:
        images = generator.synthesize(torch.zeros(2, generator.num_ws, 8, device="cuda"))
    assert traffic.counts == NOTHING
    assert images.shape[0] == 2


def test_a_batch_of_pairs_moves_nothing(tiny_world: Any) -> None:
    generator, clip = load_generator(str(tiny_world)), ClipEncoder.from_pretrained(str(tiny_world))
    with on_fake_cuda(generator, clip) as traffic, torch.inference_mode():
        embeddings = clip.encode_image(generator.synthesize(torch.zeros(4, 1, 16, device="cuda")))
    assert embeddings.shape == (4, 16)
    assert traffic.counts == NOTHING


def test_a_training_step_moves_nothing() -> None:
    """From a batch that is on the device to the averaged weights; the generator of its noise isn't fake."""
    prior = create_prior("residual_mlp", latent_shape=(1, 16), embedding_dim=16, width=16, depth=1)
    module = PriorTraining(prior, DenoisingObjective(PseudoText()), max_steps=10)
    ema = EmaWeights()
    ema.setup(None, module, "fit")  # type: ignore[arg-type]
    assert ema._average_model is not None
    with on_fake_cuda(module, ema._average_model.module) as traffic:
        latents, embeddings = torch.zeros(8, 1, 16, device="cuda"), torch.zeros(8, 16, device="cuda")
        loss = module.objective.loss(prior, latents, prior.image_condition(embeddings), None)
        assert loss.device.type == "cuda"
        for parameter in prior.parameters():  # no gradient is computed on a device that isn't there
            parameter.grad = torch.zeros_like(parameter)
        module._refuse_non_finite(SimpleNamespace(defaults={"fused": True}), module.clip_gradient())
        for _ in range(2):
            ema.update(module)
    assert traffic.counts == NOTHING
