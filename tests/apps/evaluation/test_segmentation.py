"""Segmentation by torchvision's DeepLabv3 at random weights, against its own preset; VOC's colours; refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.segmentation import DeepLabV3_ResNet50_Weights, deeplabv3_resnet50

from text2latent.apps.evaluation.segmentation import NETWORKS, Found, Segmenter, colors, overlay, weights_address
from text2latent.common.errors import InputError, UsageError
from text2latent.inference.images import from_pil

NAME = "deeplabv3_resnet50"
SIDE = 64
"""Instead of 520 pixels, which take seconds on a CPU."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights in the layout of torchvision's, auxiliary classifier included."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=21, aux_loss=True)
    file = tmp_path_factory.mktemp("weights") / "deeplab.pth"
    torch.save(network.state_dict(), file)
    return file


class Thirds(nn.Module):
    """Finds background, class 15 (person) and class 3 (bird) in thirds of a picture, from left to right."""

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        scores = torch.zeros(len(pixels), 21, *pixels.shape[-2:])
        for third, label in enumerate((0, 15, 3)):
            width = pixels.shape[-1] // 3
            scores[:, label, :, third * width : (third + 1) * width] = 1
        return {"out": scores}


def test_network_and_preprocessing_are_torchvisions(weights: Path) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8))
    reference = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=21, aux_loss=True).eval()
    reference.load_state_dict(torch.load(weights, weights_only=True))
    segmenter = Segmenter.from_file(NAME, weights, side=SIDE)
    with torch.inference_mode():
        pixels = DeepLabV3_ResNet50_Weights.DEFAULT.transforms(resize_size=SIDE)(picture)[None]
        scores = reference(pixels)["out"]
        expected = nn.functional.interpolate(scores, (96, 128), mode="bilinear", align_corners=False)[0].argmax(0)
    classes = segmenter.segment(from_pil(picture))
    # torchvision's preset rounds the resized picture to 8 bits.
    assert float((classes == expected).float().mean()) > 0.97
    assert classes.shape == (96, 128)


def test_shares_are_counted_without_the_background() -> None:
    segmenter = Segmenter(Thirds())
    classes = segmenter.segment(torch.zeros(3, 60, 90))
    found = segmenter.find(classes)
    assert {one.label for one in found} == {"person", "bird"}
    assert [one.share for one in found] == pytest.approx([1 / 3, 1 / 3], abs=0.02)
    assert segmenter.find(torch.zeros(4, 4, dtype=torch.int64)) == []
    assert segmenter.find(torch.full((4, 4), 8)) == [Found("cat", 1.0)]


def test_colours_are_pascal_vocs() -> None:
    assert colors(4).tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert colors(21)[15].tolist() == [192, 128, 128]


def test_overlay_paints_what_is_found() -> None:
    classes = torch.tensor([[0, 15]])
    painted = np.asarray(overlay(Image.new("RGB", (2, 1), (100, 100, 100)), classes))
    assert painted[0, 0].tolist() == [100, 100, 100]
    assert painted[0, 1] == pytest.approx(0.4 * 100 + 0.6 * np.array([192, 128, 128]), abs=1)


def test_safetensors_and_weights_without_auxiliary_classifier(weights: Path, tmp_path: Path) -> None:
    state = {key: value for key, value in torch.load(weights, weights_only=True).items() if "aux_" not in key}
    save_file(state, tmp_path / "deeplab.safetensors")
    image, files = torch.zeros(3, 40, 40), (weights, tmp_path / "deeplab.safetensors")
    classes = [Segmenter.from_file(NAME, file, side=SIDE).segment(image) for file in files]
    assert torch.equal(*classes)


def test_wrong_names_and_files_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--segmentation: expected one of deeplabv3_resnet50"):
        Segmenter.from_file("yolo", weights)
    with pytest.raises(UsageError, match=r"--weights: expected the file .* https://download\.pytorch\.org/.*\.pth"):
        Segmenter.from_file(NAME, None)
    with pytest.raises(InputError, match=r"none\.pth: no such file"):
        Segmenter.from_file(NAME, tmp_path / "none.pth")
    with pytest.raises(InputError, match="not the weights of lraspp"):
        Segmenter.from_file("lraspp_mobilenet_v3_large", weights)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(InputError, match="expected a state dictionary"):
        Segmenter.from_file(NAME, tmp_path / "text.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="expected a state dictionary, got list"):
        Segmenter.from_file(NAME, tmp_path / "list.pth")


@pytest.mark.parametrize("name", NETWORKS)
def test_addresses_are_known(name: str) -> None:
    assert weights_address(name).startswith("https://download.pytorch.org/")
