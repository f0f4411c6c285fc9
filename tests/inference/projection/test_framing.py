"""Pictures of any size and kind become what a generator draws; wrong crops and aligners are told."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from text2latent.common.errors import InputError, UsageError
from text2latent.inference.images import from_pil
from text2latent.inference.projection.framing import Framing, _middle, check_tensor, load_aligner, parse_crop
from text2latent.models.generators.base import Generator


def generator(channels: int = 3, size: int | tuple[int, int] = 16) -> Generator:
    made = Generator()
    made.image_channels, made.image_size = channels, size
    return made


def halves(width: int, height: int) -> Image.Image:
    picture = Image.new("RGB", (width, height), "red")
    picture.paste("blue", (width // 2, 0, width, height))
    return picture


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_mode_becomes_the_generators_channels(mode: str, channels: int) -> None:
    picture = Image.new("L", (20, 30), 200).convert("L")
    picture = Image.new(mode, (20, 30)) if mode in ("I;16", "F") else picture.convert(mode)
    tensor = Framing().frame(picture, generator(channels))
    assert tensor.shape == (channels, 16, 16)
    assert tensor.abs().max() <= 1


def test_the_middle_of_the_generators_shape_is_taken() -> None:
    picture = halves(64, 16)
    wide = Framing().frame(picture, generator(size=(16, 16)))
    assert torch.equal(wide, from_pil(picture.crop((24, 0, 40, 16))))
    # Twice as high as wide.
    high = Framing().frame(picture, generator(size=(16, 8)))
    assert torch.equal(high, from_pil(picture.crop((28, 0, 36, 16))))


@given(st.integers(1, 500), st.integers(1, 500), st.sampled_from([1.0, 0.5, 2.0, 1.4]))
def test_the_middle_lies_inside_and_touches_two_edges(width: int, height: int, ratio: float) -> None:
    left, top, across, down = _middle((width, height), ratio)
    assert left >= 0
    assert top >= 0
    assert left + across <= width
    assert top + down <= height
    assert across == width or down == height
    assert abs(2 * left + across - width) <= 1
    assert abs(2 * top + down - height) <= 1


def test_a_crop_is_what_is_seen() -> None:
    picture = halves(64, 16)
    tensor = Framing(parse_crop("32,0,16,16")).frame(picture, generator())
    assert torch.equal(tensor, from_pil(Image.new("RGB", (16, 16), "blue")))


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,x", "-1,0,5,5", "0,0,0,5", "1,2,3,4,5"])
def test_unusable_crops_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--crop: expected X,Y,WIDTH,HEIGHT"):
        parse_crop(text)


def test_crops_beyond_the_picture_are_refused_with_its_size() -> None:
    with pytest.raises(InputError, match=r"a.png: --crop 60,0,16,16 lies outside its 64 x 16 pixels"):
        Framing((60, 0, 16, 16)).frame(halves(64, 16), generator(), "a.png")


def test_files_are_turned_and_of_an_animation_the_first_picture_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("lime", "black")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    assert torch.equal(Framing().read(tmp_path / "two.gif", generator()), from_pil(frames[0]))
    exif = Image.Exif()
    exif[0x0112] = 3
    halves(16, 16).save(tmp_path / "turned.png", exif=exif)
    assert torch.equal(Framing().read(tmp_path / "turned.png", generator()), from_pil(ImageOps.mirror(halves(16, 16))))


def test_files_that_are_no_pictures_are_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(whole)
    (tmp_path / "half.png").write_bytes(whole.read_bytes()[:3000])
    (tmp_path / "text.png").write_text("no picture")
    for name, why in (("half.png", "expected an image"), ("text.png", "expected an image"), ("none", "no such file")):
        with pytest.raises(InputError, match=f"{name}: {why}"):
            Framing().read(tmp_path / name, generator())


def test_tensors_are_checked() -> None:
    fine = torch.zeros(3, 16, 16)
    assert torch.equal(check_tensor(fine, generator()), fine)
    for wrong in (torch.zeros(1, 16, 16), torch.zeros(3, 16, 8), torch.zeros(3, 16, 16, dtype=torch.uint8)):
        with pytest.raises(UsageError, match=r"image: expected floats \[3, 16, 16\]"):
            check_tensor(wrong, generator())
    for value in (float("nan"), float("inf"), 2.0):
        with pytest.raises(UsageError, match=r"image: expected numbers in \[-1, 1\]"):
            check_tensor(torch.full((3, 16, 16), value), generator())


@pytest.fixture
def own_module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("my_aligner")
    monkeypatch.setitem(sys.modules, "my_aligner", module)
    return module


def test_an_aligner_of_ones_own_comes_before_the_crop(own_module: ModuleType) -> None:
    own_module.align = ImageOps.mirror  # type: ignore[attr-defined]
    framing = Framing(parse_crop("0,0,16,16"), load_aligner("my_aligner.align"))
    assert torch.equal(framing.frame(halves(64, 16), generator()), from_pil(Image.new("RGB", (16, 16), "blue")))


def test_aligners_that_fail_are_told(own_module: ModuleType) -> None:
    def fail(picture: Image.Image) -> Image.Image:
        raise LookupError("no face\nfound")

    own_module.fail, own_module.nothing, own_module.number = fail, lambda picture: None, 3  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"a\.png: --aligner failed: LookupError: no face"):
        Framing(None, load_aligner("my_aligner.fail")).frame(halves(16, 16), generator(), "a.png")
    with pytest.raises(InputError, match="expected a PIL image from it, got NoneType"):
        Framing(None, load_aligner("my_aligner.nothing")).frame(halves(16, 16), generator())
    for path in ("my_aligner.number", "my_aligner.missing", "no_such_module.align", "align"):
        with pytest.raises(UsageError, match="--aligner: expected a function"):
            load_aligner(path)
