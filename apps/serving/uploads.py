"""Pictures that strangers send: checked by size and header before a pixel is decoded, then decoded and made small.

Whatever the bytes are, the memory that they take is bounded: by the bytes, by the pixels that its header states, by the
number of pictures that are decoded at once, and afterwards by `KEPT_SIDE`, which is more than CLIP looks at.
"""

from __future__ import annotations

import ctypes
import io
import sys
import threading
import warnings

from PIL import Image, ImageOps

from text2latent.apps.serving.limits import MIB, Limits
from text2latent.common.errors import UsageError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
KEPT_SIDE = 1024
MAX_RATIO = 20
"""Of the longer side to the shorter one: CLIP scales the shorter side to its own size, however long the other one."""
DECODED_AT_ONCE = 2
STRIP_ROWS = 32
"""Rows of a reduced picture that are made at once."""
LARGE_PIXELS = 4_000_000
"""Of pictures whose memory is worth to be given back at once."""

_decoding = threading.BoundedSemaphore(DECODED_AT_ONCE)


class UploadTooLarge(UsageError):
    """An upload has more bytes or pixels than the server takes."""


def decode_upload(data: bytes, limits: Limits, name: str = "image") -> Image.Image:
    """A picture of an uploaded file: RGB or RGBA, turned as its EXIF orientation says, `KEPT_SIDE` pixels at most.

    Args:
        data: the file, one of `FORMATS`; of a moving picture the first frame counts.
        limits: bytes and pixels.
        name: the field, for messages.

    Raises:
        UploadTooLarge: for too many bytes or pixels.
        UsageError: for what isn't a whole picture of one of the formats, or is too long and narrow.
    """
    if len(data) > limits.max_upload_bytes:
        raise _too_many_bytes(name, len(data), limits)
    with _decoding, warnings.catch_warnings():
        # Pillow has a limit of its own, which is higher than ours by default and would only warn.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
                _check_size(name, picture, limits)
                is_large = picture.width * picture.height > LARGE_PIXELS
                kept = _decode(picture)
            if is_large:
                del picture
                give_memory_back()
            return kept
        except UsageError:
            raise
        except (Image.DecompressionBombError, MemoryError):
            raise UploadTooLarge(_pixels_expected(name, limits)) from None
        except Exception:
            # Damaged files make Pillow's decoders raise errors of any kind, whose texts help nobody.
            raise UsageError(f"{name}: expected a whole {', '.join(FORMATS)} file, got something else") from None


def _decode(picture: Image.Image) -> Image.Image:
    if picture.format == "JPEG":
        # The decoder halves large pictures on its way, as far as they stay above the kept size.
        picture.draft("RGB", (KEPT_SIDE, KEPT_SIDE))
    picture.load()
    kept = _small(picture)
    ImageOps.exif_transpose(kept, in_place=True)
    kept.info.clear()
    return kept


def _small(picture: Image.Image) -> Image.Image:
    """The picture in RGB or RGBA, `KEPT_SIDE` pixels at most, with the information beside its pixels."""
    scale = min(1, KEPT_SIDE / max(picture.size))
    width, height = (max(1, round(side * scale)) for side in picture.size)
    # At least twice as many pixels as are kept leave the filter enough to work on.
    factors = max(1, picture.width // (2 * width)), max(1, picture.height // (2 * height))
    reduced = _reduced(picture, factors)
    # The last row and column of the reduced picture may stand for fewer pixels than the others.
    covered = (0, 0, picture.width / factors[0], picture.height / factors[1])
    whole = reduced.size == (width, height)
    kept = reduced if whole else reduced.resize((width, height), Image.Resampling.LANCZOS, box=covered)
    kept.info = dict(picture.info)
    return kept


def _reduced(picture: Image.Image, factors: tuple[int, int]) -> Image.Image:
    """The picture in RGB or RGBA, width and height divided by whole numbers; strip by strip, without a large copy."""
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    across, down = factors
    reduced = Image.new(mode, (-(-picture.width // across), -(-picture.height // down)))
    for top in range(0, reduced.height, STRIP_ROWS):
        rows = down * top, min(picture.height, down * (top + STRIP_ROWS))
        strip = picture.crop((0, rows[0], picture.width, rows[1])).convert(mode)
        reduced.paste(strip.reduce(factors), (0, top))
    return reduced


def give_memory_back() -> None:
    """Make the C library give freed memory back to the system, since glibc keeps it for each thread apart."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda keep: None)
        trim(0)


def _check_size(name: str, picture: Image.Image, limits: Limits) -> None:
    width, height = picture.size
    if width * height > limits.max_upload_pixels:
        raise UploadTooLarge(f"{_pixels_expected(name, limits)}, got {width} x {height}")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise UsageError(f"{name}: expected sides of a ratio up to {MAX_RATIO}, got {width} x {height}")


def _pixels_expected(name: str, limits: Limits) -> str:
    return f"{name}: expected at most {limits.max_upload_pixels / 1e6:g} megapixels"


def _too_many_bytes(name: str, size: int, limits: Limits) -> UploadTooLarge:
    expected = f"{name}: expected at most {limits.max_upload_bytes / MIB:g} MiB"
    return UploadTooLarge(f"{expected}, got {size / MIB:.3g} MiB")
