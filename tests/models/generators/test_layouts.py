import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from text2latent.common.errors import InputError
from text2latent.models.generators.layouts import LAYOUTS, group_sizes, layout_shape, to_w, w_statistics
from text2latent.models.generators.stylegan2 import StyleGAN2Generator


@pytest.fixture(scope="module")
def generator() -> StyleGAN2Generator:
    torch.manual_seed(0)
    return StyleGAN2Generator(
        z_dim=24, w_dim=16, img_resolution=32, num_mapping_layers=2, channel_base=256, channel_max=16
    ).eval()


def test_groups_of_a_large_generator_are_the_papers() -> None:
    assert group_sizes(18) == (4, 4, 10)


@given(st.integers(3, 40))
def test_groups_take_all_layers_and_none_is_empty(num_ws: int) -> None:
    sizes = group_sizes(num_ws)
    assert sum(sizes) == num_ws
    assert min(sizes) >= 1


def test_too_few_layers_are_refused() -> None:
    with pytest.raises(InputError, match="at least 3 layers, this has 2"):
        group_sizes(2)


def test_shapes(generator: StyleGAN2Generator) -> None:
    assert {layout: layout_shape(layout, generator) for layout in LAYOUTS} == {
        "w": (1, 16),
        "w_k": (3, 16),
        "w_plus": (generator.num_ws, 16),
        "z": (1, 24),
    }


def test_alike_groups_and_layers_draw_the_image_of_one_w(generator: StyleGAN2Generator) -> None:
    w = torch.randn(2, 1, 16)
    images = [
        generator.synthesize(to_w(w.expand(-1, layout_shape(layout, generator)[0], -1), layout, generator))
        for layout in ("w", "w_k", "w_plus")
    ]
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])


def test_groups_reach_their_own_layers(generator: StyleGAN2Generator) -> None:
    latents = torch.arange(3.0)[None, :, None].expand(1, 3, 16)
    spread = to_w(latents, "w_k", generator)[0, :, 0]
    assert spread.tolist() == [0.0] * 4 + [1.0] * (generator.num_ws - 5) + [2.0]


def test_z_is_mapped(generator: StyleGAN2Generator) -> None:
    z = generator.sample_latents(3, 0)
    torch.testing.assert_close(to_w(z[:, None], "z", generator), generator.map(z))


def test_statistics_follow_the_layout(generator: StyleGAN2Generator) -> None:
    mean, std = torch.randn(3, 16), torch.rand(3, 16)
    spread_mean, spread_std = w_statistics(mean, std, "w_k", generator)
    assert torch.equal(spread_mean[0], mean[0])
    assert torch.equal(spread_std[-1], std[2])
    of_w = generator.map(generator.sample_latents(4000, 7))
    found_mean, found_std = w_statistics(torch.zeros(1, 24), torch.ones(1, 24), "z", generator)
    torch.testing.assert_close(found_mean, of_w.mean(0), atol=0.15, rtol=0)
    torch.testing.assert_close(found_std, of_w.std(0), atol=0.1, rtol=0.1)
