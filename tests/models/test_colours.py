import numpy as np
import pytest
import torch
from PIL import Image

from text2latent.models.colours import MODES, check_channels, to_rgb


@pytest.mark.parametrize(("channels", "mode"), MODES.items())
def test_rgb_is_what_pillow_shows_on_white(channels: int, mode: str) -> None:
    levels = torch.randint(256, (1, channels, 5, 7), generator=torch.Generator().manual_seed(0))
    pixels = levels[0].permute(1, 2, 0).numpy().astype(np.uint8)
    picture = Image.fromarray(pixels[..., 0] if channels == 1 else pixels, mode).convert("RGBA")
    expected = np.asarray(Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB"))
    shown = (to_rgb(levels / 127.5 - 1)[0].permute(1, 2, 0) + 1) * 127.5
    np.testing.assert_allclose(shown.numpy(), expected, atol=1)


def test_gradients_reach_all_channels() -> None:
    images = torch.zeros(1, 4, 2, 2, requires_grad=True)
    to_rgb(images).square().sum().backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()


@pytest.mark.parametrize("channels", [0, 5])
def test_other_numbers_of_channels_are_refused(channels: int) -> None:
    with pytest.raises(ValueError, match=f"img_channels: expected 1 .grey.*got {channels}"):
        check_channels(channels)
