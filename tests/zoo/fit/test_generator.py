from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from text2latent.models.generators import load_generator
from text2latent.models.sources.zoo import ZOO
from text2latent.zoo.drawing.renders import render
from text2latent.zoo.fit import generator as module
from text2latent.zoo.fit import mapping
from text2latent.zoo.fit.fitting import FitPlan, fit
from text2latent.zoo.fit.generator import (
    Stage,
    attention_weight,
    fit_generator,
    fit_synthesis,
    image_loss,
    make_generator,
    make_stages,
    save_grid,
    synthesis_loss,
)
from text2latent.zoo.world import Z_DIM, load_world

FACES = load_world("faces")

CLIP = ZOO / "faces" / "weights" / "clip"


def frozen(num_steps: int = 1) -> FitPlan:
    """A plan that goes through all the motions and leaves the weights where they were."""
    return FitPlan(num_steps=num_steps, lr=1e-12, warmup_steps=1, log_every=1, save_every=1)


def loss_in_numpy(images: np.ndarray, targets: np.ndarray) -> float:
    """Weighted L1 of pixels and of differences of neighbours, and L1 of 2, 4 and 8 pixel means."""
    difference = images - targets
    n, channels, size, _ = images.shape
    weight = attention_weight(FACES, size)[0, 0].double().numpy()
    total = (weight * np.abs(difference)).mean()
    total += (weight[:-1] * np.abs(difference[:, :, 1:] - difference[:, :, :-1])).mean()
    total += (weight[:, :-1] * np.abs(difference[..., 1:] - difference[..., :-1])).mean()
    for k in (2, 4, 8):
        blocks = difference.reshape(n, channels, size // k, k, size // k, k).mean(axis=(3, 5))
        total += np.abs(blocks).mean()
    return float(total)


def random_images(seed: int, size: int = 16) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("size", [8, 16, 32])
def test_image_loss_against_numpy(size):
    images, targets = random_images(0, size), random_images(1, size)
    expected = loss_in_numpy(images.double().numpy(), targets.double().numpy())
    assert image_loss(FACES, images, targets).item() == pytest.approx(expected, rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.tuples(*(st.integers(0, n - 1) for n in (2, 3, 16, 16))), st.floats(0.01, 1))
def test_image_loss_is_zero_for_equal_images_only(seed, place, change):
    images = random_images(seed)
    assert image_loss(FACES, images, images.clone()).item() == 0
    other = images.clone()
    other[place] += change
    assert image_loss(FACES, images, other).item() > 0
    assert image_loss(FACES, images, other).item() == pytest.approx(image_loss(FACES, other, images).item(), rel=1e-5)


def test_weights_are_even_to_the_sides_and_highest_on_the_face():
    weight = attention_weight(FACES, 64)[0, 0]
    assert weight.mean().item() == pytest.approx(1, rel=1e-5)
    torch.testing.assert_close(weight, weight.flip(1))
    assert (weight > 0).all()
    assert weight[20:44, 24:40].min() > 3 * weight[:6, :6].max()
    assert weight.argmax() // 64 in range(28, 40)


def test_image_loss_weighs_the_face_above_the_corners():
    images = torch.zeros(1, 3, 32, 32)
    face, corner = images.clone(), images.clone()
    face[..., 15:17, 15:17] = 1
    corner[..., 1:3, 1:3] = 1
    assert image_loss(FACES, images, face) > 2 * image_loss(FACES, images, corner)


def test_synthesis_learns_and_tells_its_psnr(tmp_path):
    stage = Stage(16, 4, FitPlan(num_steps=15, lr=2e-2, warmup_steps=3, anneal=False, ema_decay=0.5))
    synthesis = make_generator(FACES, 16).synthesis

    def loss(network, step):
        return synthesis_loss(network, step, FACES, stage, nn.Identity())

    before, logged = loss(synthesis, 10**6)
    after, better = loss(fit(synthesis, loss, stage.plan, tmp_path), 10**6)
    assert after.item() < 0.8 * before.item()
    assert better["psnr"] > logged["psnr"] + 1


def test_the_perceptual_loss_counts_by_its_weight():
    synthesis = make_generator(FACES, 16).synthesis
    plain, losses = synthesis_loss(synthesis, 3, FACES, Stage(16, 2, frozen()), nn.L1Loss())
    weighted, logged = synthesis_loss(synthesis, 3, FACES, Stage(16, 2, frozen(), perceptual_weight=0.5), nn.L1Loss())
    assert "perceptual" not in losses
    assert logged["perceptual"] > 0
    assert weighted.item() == pytest.approx(plain.item() + 0.5 * logged["perceptual"], rel=1e-3)


def test_generator_has_the_shape_of_the_world():
    generator = make_generator(FACES)
    assert (generator.z_dim, generator.w_dim, generator.image_size) == (Z_DIM, FACES.w_dim, 128)
    assert 1.2e6 < sum(p.numel() for p in generator.parameters()) < 3e6


def test_stages_end_at_the_generators_resolution():
    resolutions = [stage.resolution for stage in make_stages(FACES)]
    assert resolutions == sorted(set(resolutions))
    assert resolutions[-1] == make_generator(FACES).image_size


def test_a_stage_starts_from_the_blocks_of_the_last(tmp_path, monkeypatch):
    stages = (Stage(16, 2, frozen()), Stage(32, 2, frozen(), vagueness=0.1))
    monkeypatch.setattr(module, "make_stages", lambda _: stages)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        fitted = fit_synthesis(FACES, tmp_path, CLIP).state_dict()
        untouched = make_generator(FACES, 32).synthesis.state_dict()
    first = torch.load(tmp_path / "synthesis-0" / "last.pt", weights_only=True)["average"]
    first = {name.removeprefix("module."): tensor for name, tensor in first.items() if name.startswith("module.")}
    assert {name for name in fitted if name.startswith("b32.")} == fitted.keys() - first.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(fitted[name], tensor, atol=1e-6, rtol=1e-6)
    drawn = [name for name in first if name.endswith("weight") and untouched[name].std() > 0]
    assert not any(torch.allclose(fitted[name], untouched[name], atol=1e-3) for name in drawn)
    for number in range(2):
        assert (tmp_path / f"synthesis-{number}" / "grid-000001.png").is_file()


def test_grid_shows_renders_above_what_the_network_makes_of_them(tmp_path):
    generator = make_generator(FACES, 32)
    save_grid(FACES, generator, tmp_path / "grid.png", columns=4)
    picture = np.asarray(Image.open(tmp_path / "grid.png")).astype(float)
    assert picture.shape == (6 * 32, 4 * 32, 3)
    rng = np.random.default_rng([module.SEED, 0, 0])
    codes, nuisance = FACES.draw_codes(rng, 12), FACES.draw_nuisance(rng, 12)
    renders = render(FACES, codes, nuisance).reshape(12, 32, 4, 32, 4, 3).mean(axis=(2, 4))
    drawn = generator.synthesize(FACES.latents(codes, nuisance)[:, None]).permute(0, 2, 3, 1).numpy() * 127.5 + 127.5
    for index in range(12):
        row, left = 64 * (index // 4), 32 * (index % 4)
        for above, tile in ((row, renders[index]), (row + 32, drawn[index])):
            assert np.abs(picture[above : above + 32, left : left + 32] - tile).max() < 1.5


def test_fitting_writes_a_generator_that_loads_and_is_through_when_rerun(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "make_stages", lambda _: (Stage(128, 1, frozen(), 0.1, 1.0),))
    monkeypatch.setattr(mapping, "make_plan", lambda world: frozen())
    with torch.random.fork_rng():
        fit_generator(FACES, tmp_path / "work", CLIP, tmp_path / "generator")
        weights = tmp_path / "generator" / "diffusion_pytorch_model.safetensors"
        assert {t.dtype for t in load_file(weights).values() if t.is_floating_point()} == {torch.float16}
        before = weights.read_bytes()
        fit_generator(FACES, tmp_path / "work", CLIP, tmp_path / "generator")
        assert weights.read_bytes() == before
    generator = load_generator(str(tmp_path / "generator"))
    w = generator.map(generator.sample_latents(3000, 0))
    torch.testing.assert_close(generator.truncate(w, 0.0)[0, 0], w[:, 0].mean(0), atol=0.15, rtol=0)
    assert generator.synthesize(w[:1]).shape == (1, 3, 128, 128)
