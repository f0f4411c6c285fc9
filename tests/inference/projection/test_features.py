"""Features against the libraries whose they are: LPIPS' distance, and CLIP towers of several kinds."""

from __future__ import annotations

import warnings
from pathlib import Path

import open_clip
import pytest
import torch
from torch import Tensor

from text2latent.common.errors import InputError
from text2latent.inference.projection.features import STAGES, ClipFeatures, LpipsFeatures, feature_distance
from text2latent.models.clip.encoder import ClipEncoder


def images(n: int, side: int = 64, channels: int = 3, seed: int = 0) -> Tensor:
    return 2 * torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(seed)) - 1


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Torchvision's VGG-16 with random weights, in a file as torchvision writes it."""
    import torchvision

    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    state = torchvision.models.vgg16(weights=None).state_dict()
    torch.save({name: value for name, value in state.items() if name.startswith("features.")}, file)
    return file


@torch.no_grad()
def test_distance_is_that_of_the_lpips_package(vgg: Path) -> None:
    import lpips

    features = LpipsFeatures(vgg)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).eval()
    state = torch.load(vgg, weights_only=True)
    theirs.net.load_state_dict({name: state["features." + name.split(".", 1)[1]] for name in theirs.net.state_dict()})
    one, other = images(2), images(2, seed=1)
    expected = theirs(one, other)[:, 0, 0, 0]
    torch.testing.assert_close(feature_distance(features(one), features(other)), expected, atol=1e-5, rtol=1e-4)
    assert expected.min() > 0.01


@torch.no_grad()
def test_large_images_are_seen_smaller(vgg: Path) -> None:
    features = LpipsFeatures(vgg)
    small = images(1, 256)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert float(feature_distance(features(large), features(small))) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("written", "expected"),
    [(b"", "expected the weights"), (b"PK\x03\x04 no zip", "expected the weights"), (None, "no such file")],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, written: bytes | None, expected: str) -> None:
    file = tmp_path / "vgg.pth"
    if written is not None:
        file.write_bytes(written)
    with pytest.raises(InputError, match=expected) as caught:
        LpipsFeatures(file)
    assert "--lpips-weights" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="expected the weights of torchvision's VGG-16"):
        LpipsFeatures(tmp_path / "other.pth")


TOWERS = {
    "transformer": {"layers": 3, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 32},
    "resnet": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 16, "image_size": 64},
    "timm": {"timm_model_name": "resnet10t", "timm_pool": "avg", "timm_proj": "linear", "image_size": 64},
}


def encoder(name: str) -> ClipEncoder:
    torch.manual_seed(0)
    text = {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 2}
    model = open_clip.CLIP(embed_dim=8, vision_cfg=TOWERS[name], text_cfg=text)
    model.visual.preprocess_cfg = {"size": (TOWERS[name]["image_size"],) * 2, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    return ClipEncoder(model, open_clip.SimpleTokenizer(context_length=8))


@pytest.mark.parametrize("name", sorted(TOWERS))
def test_stages_of_a_tower_are_found_and_rows_stay_apart(name: str) -> None:
    features = ClipFeatures(encoder(name))
    pictures = images(3).requires_grad_()
    seen = features(pictures)
    assert len(seen) == min(STAGES, 3 if name == "transformer" else 4)
    for layer in seen:
        assert layer.shape[0] == 3
        lengths = layer.norm(dim=2) * len(seen) ** 0.5
        torch.testing.assert_close(lengths, torch.ones_like(lengths), atol=1e-4, rtol=1e-4)
    alone = features(images(3)[1:2])
    for layer, one in zip(seen, alone, strict=True):
        torch.testing.assert_close(layer[1:2], one, atol=1e-4, rtol=1e-3)
    (gradient,) = torch.autograd.grad(feature_distance(seen, [layer.detach() + 0.1 for layer in seen])[0], pictures)
    assert gradient[0].abs().max() > 0
    assert gradient[1:].abs().max() == 0


def test_a_tower_without_known_stages_gives_its_embedding() -> None:
    clip = encoder("resnet")
    features = ClipFeatures(clip)
    features._stages = []
    (seen,) = features(images(2))
    torch.testing.assert_close(seen[:, 0], clip.encode_image(images(2)))


@torch.no_grad()
def test_no_hook_stays_behind() -> None:
    clip = encoder("resnet")
    ClipFeatures(clip)(images(1))
    assert not any(module._forward_hooks for module in clip.modules())
