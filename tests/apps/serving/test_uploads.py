"""Uploaded pictures: what is taken, what is refused, and that refusing costs little."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from text2latent.apps.serving.limits import Limits
from text2latent.apps.serving.uploads import FORMATS, KEPT_SIDE, UploadTooLarge, decode_upload
from text2latent.common.errors import UsageError

LIMITS = Limits(max_upload_bytes=200_000, max_upload_pixels=4_000_000)


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, format=kind, **options)
    return file.getvalue()


def halves(width: int = 40, height: int = 20) -> Image.Image:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = pixels[:, width // 2 :, 2] = 255
    return Image.fromarray(pixels)


def png_of(width: int, height: int, data: bytes) -> bytes:
    """A grey PNG file that declares any size, with any data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", FORMATS)
def test_known_formats_are_decoded(kind: str) -> None:
    picture = decode_upload(encoded(halves(), kind), LIMITS)
    assert (picture.mode, picture.size) == ("RGB", (40, 20))
    for place, expected in (((5, 10), (255, 0, 0)), ((35, 10), (0, 0, 255))):
        assert max(abs(a - b) for a, b in zip(picture.getpixel(place), expected, strict=True)) < 40


@pytest.mark.parametrize("kind", ["TIFF", "PPM", "ICO", "PDF", "TGA"])
def test_other_formats_are_refused(kind: str) -> None:
    with pytest.raises(UsageError, match="image: expected a whole PNG, JPEG, WEBP, GIF, BMP file"):
        decode_upload(encoded(halves(), kind), LIMITS)


@pytest.mark.parametrize(("orientation", "place"), [(1, (5, 10)), (2, (35, 10)), (3, (35, 10)), (6, (10, 5))])
def test_exif_orientation_is_followed(orientation: int, place: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode_upload(encoded(halves(), "JPEG", exif=exif, quality=95), LIMITS)
    red, _, blue = picture.getpixel(place)
    assert red > 200 > 50 > blue


def test_transparency_is_kept_and_metadata_is_not() -> None:
    picture = halves().convert("RGBA")
    picture.putalpha(7)
    decoded = decode_upload(encoded(picture), LIMITS)
    assert decoded.mode == "RGBA"
    assert decoded.getpixel((5, 5))[3] == 7
    assert decode_upload(encoded(halves().quantize(4), "GIF", comment=b"secret"), LIMITS).info == {}


def test_large_pictures_are_made_small() -> None:
    for kind in ("PNG", "JPEG"):
        assert decode_upload(encoded(halves(2600, 1300), kind), LIMITS).size == (KEPT_SIDE, KEPT_SIDE // 2)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "P"])
@pytest.mark.parametrize("size", [(4099, 311), (311, 4099)])
def test_large_pictures_are_made_small_as_pillow_does(mode: str, size: tuple[int, int]) -> None:
    small = np.random.default_rng(0).integers(0, 256, (30, 20, 4), dtype=np.uint8)
    whole = Image.fromarray(small).resize(size, Image.Resampling.BILINEAR)
    picture = whole.convert("RGB").quantize(16) if mode == "P" else whole.convert(mode)
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    decoded = decode_upload(file.getvalue(), Limits())
    expected = picture.convert("RGBA" if mode in ("RGBA", "LA") else "RGB")
    expected.thumbnail((KEPT_SIDE, KEPT_SIDE), Image.Resampling.LANCZOS)
    assert (decoded.mode, decoded.size) == (expected.mode, expected.size)
    difference = np.abs(np.asarray(decoded, np.int16) - np.asarray(expected, np.int16))
    assert difference.mean() < 1


def test_large_pictures_are_turned_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = decode_upload(encoded(halves(4400, 880), exif=exif), LIMITS)
    assert picture.size == (205, KEPT_SIDE)
    assert [picture.getpixel((100, row)) for row in (100, 900)] == [(255, 0, 0), (0, 0, 255)]


# What decodes the same pictures as a server that many ask at once, and prints the MiB that it has afterwards, and had.
MANY_AT_ONCE = """
import io
from concurrent.futures import ThreadPoolExecutor
import psutil
from PIL import Image
from text2latent.apps.serving.limits import Limits
from text2latent.apps.serving.uploads import decode_upload
from text2latent.benchmarks.timing import peak_memory

file = io.BytesIO()
Image.new("RGB", (3200, 3200), "teal").save(file, "PNG")
data, process = file.getvalue(), psutil.Process()
decode_upload(data, Limits())
before = process.memory_info().rss
with ThreadPoolExecutor(8) as pool:
    list(pool.map(lambda _: decode_upload(data, Limits()).size, range(16)))
print((process.memory_info().rss - before) / 2**20, peak_memory() / 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's count of memory")
def test_many_large_pictures_at_once_leave_nothing_in_memory() -> None:
    ended = subprocess.run([sys.executable, "-c", MANY_AT_ONCE], capture_output=True, text=True, check=True)
    kept, most = map(float, ended.stdout.split())
    # One decoded picture has 39 MiB; two are decoded at once, and each of eight threads might keep some.
    assert kept < 60, ended.stdout
    assert most < 250, ended.stdout


def test_too_many_bytes_are_refused_before_they_are_looked_at() -> None:
    data = b"x" * (LIMITS.max_upload_bytes + 1)
    with pytest.raises(UploadTooLarge, match=r"image: expected at most 0\.190735 MiB, got 0\.191 MiB"):
        decode_upload(data, LIMITS)


def test_a_bomb_is_refused_by_its_header() -> None:
    # 60000 x 60000 pixels in a few bytes of file; decoding them would take 3.6 GB.
    bomb = png_of(60_000, 60_000, zlib.compress(b"\0" * 1_000_000))
    tracemalloc.start()
    with pytest.raises(UploadTooLarge, match=r"at most 4 megapixels"):
        decode_upload(bomb, LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_compressed_text_bombs_are_refused() -> None:
    text = b"key\0\0" + zlib.compress(b"a" * 80_000_000)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    whole = encoded(halves())
    with pytest.raises(UsageError, match="image: expected"):
        decode_upload(whole[:33] + chunk + whole[33:], LIMITS)


def test_long_and_narrow_pictures_are_refused() -> None:
    with pytest.raises(UsageError, match="sides of a ratio up to 20, got 900 x 2"):
        decode_upload(encoded(halves(900, 2)), LIMITS)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_truncated_files_are_refused(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    whole = encoded(Image.fromarray(noise), kind)
    with pytest.raises(UsageError, match="expected a whole"):
        decode_upload(whole[: len(whole) // 2], LIMITS)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_gives_a_picture_or_a_usage_error(data: st.DataObject) -> None:
    whole = bytearray(encoded(halves(), data.draw(st.sampled_from(FORMATS))))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = decode_upload(bytes(whole), LIMITS)
    except UsageError as error:
        message = str(error)
    else:
        assert max(picture.size) <= KEPT_SIDE
        return
    assert message.startswith("image: expected")
