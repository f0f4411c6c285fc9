"""What the engine gives: images with all that a page, a file or a program wants to know of them."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image
from torch import Tensor

from text2latent.inference.animation import save_animation
from text2latent.inference.drawing import DrawnImage, png_metadata
from text2latent.inference.images import make_grid, png_bytes
from text2latent.inference.latents_file import latents_bytes
from text2latent.inference.query import Query
from text2latent.inference.settings import Settings
from text2latent.inference.writing import slugify

if TYPE_CHECKING:
    from text2latent.apps.optimize.run import Point
    from text2latent.apps.serving.requests import DrawRequest
    from text2latent.inference.domain import DomainScore

OutputFormat = Literal["png", "jpeg", "webp"]
MAX_QUALITY = 100


@dataclass(frozen=True)
class Recipe:
    """How to draw an image again elsewhere.

    Attributes:
        command: a command line of `text2latent`.
        python: a Python program.
        needs: what has to be there first, such as a file to be saved; empty if nothing.
    """

    command: str
    python: str
    needs: str = ""


@dataclass(frozen=True, eq=False)
class ServedImage:
    """One image.

    Attributes:
        drawn: picture, label, seed, CLIP score, latent `[L, D]` and domain score.
        query: what it was to show.
        model: the name that the engine lists.
        settings: how it was drawn.
        description: networks and settings, JSON-ready; tells no paths.
        num_ws: layers of the generator.
        seconds: its share of the time of the pass that drew it.
        recipe: how to draw it again.
        origin: the request, with `n` 1 and this image's seed, that the prior drew it for; None for what was made of
            other images.
    """

    drawn: DrawnImage
    query: Query
    model: str
    settings: Settings
    description: dict[str, Any]
    num_ws: int
    seconds: float
    recipe: Recipe
    origin: DrawRequest | None = None

    @property
    def picture(self) -> Image.Image:
        """RGB."""
        return self.drawn.picture

    @property
    def latent(self) -> Tensor:
        """`[L, D]`, on the CPU; L is 1 where one w is for all layers."""
        assert self.drawn.latent is not None
        return self.drawn.latent

    @property
    def seed(self) -> int:
        """What draws it again."""
        return self.drawn.seed

    @property
    def clip_score(self) -> float | None:
        """Cosine similarity to what was asked for, in [-1, 1]; None where it wasn't computed."""
        return self.drawn.clip_score

    @property
    def label(self) -> str:
        """What was asked for, in words."""
        return self.drawn.prompt

    @property
    def out_of_domain(self) -> DomainScore | None:
        """How far the prompt is from what the generator draws; None where it can't be told."""
        return self.drawn.out_of_domain

    @property
    def stem(self) -> str:
        """A file name without its suffix, of prompt and seed."""
        return f"{slugify(self.label)}-{self.seed}"

    def png(self, size: tuple[int, int] | None = None) -> bytes:
        """A PNG file with prompt, seed, settings and the networks' checksums, as `text2latent infer` writes it.

        Args:
            size: width and height to scale the picture to; None keeps its own.
        """
        return png_bytes(self._scaled(size), png_metadata(self.description, [self.drawn]))

    def encoded(self, kind: OutputFormat, size: tuple[int, int] | None = None, quality: int = MAX_QUALITY) -> bytes:
        """A file of a kind; `quality` in [0, 100] counts for JPEG and WebP, which tell nothing of the image."""
        if kind == "png":
            return self.png(size)
        file = io.BytesIO()
        self._scaled(size).save(file, kind, quality=quality)
        return file.getvalue()

    def _scaled(self, size: tuple[int, int] | None) -> Image.Image:
        picture = self.picture
        return picture if size in (None, picture.size) else picture.resize(size, Image.Resampling.LANCZOS)

    def npz(self) -> bytes:
        """A file of the latents, as `text2latent infer --latents` takes it."""
        return latents_bytes([self.latent], self.num_ws)


@dataclass(frozen=True, eq=False)
class DrawResult:
    """What a request got.

    Attributes:
        images: in the order of their seeds.
        seconds: from the request to the result, waiting included.
    """

    images: list[ServedImage]
    seconds: float

    @property
    def out_of_domain(self) -> DomainScore | None:
        """That of the request's prompt; None where it can't be told."""
        return self.images[0].out_of_domain


@dataclass(frozen=True, eq=False)
class MixResult:
    """The way between two texts; `frames` are its images, and `seconds` the time from the request to the result."""

    frames: list[ServedImage]
    seconds: float

    def strip(self) -> Image.Image:
        """All frames side by side."""
        return make_grid([frame.picture for frame in self.frames], len(self.frames))

    def animation(self, suffix: str = ".gif", fps: float = 8.0) -> bytes:
        """A `.gif` or `.mp4` file that goes there and back.

        Raises:
            InputError: for `.mp4` without imageio-ffmpeg.
        """
        pictures = [frame.picture for frame in self.frames]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"mix{suffix}"
            save_animation(pictures + pictures[-2:0:-1], path, self.frames[0].label, fps)
            return path.read_bytes()


@dataclass(frozen=True, eq=False)
class EditResult:
    """Images before and after an edit, in the same order; `seconds` is the time from the request to the result."""

    before: list[ServedImage]
    after: list[ServedImage]
    seconds: float


@dataclass(frozen=True, eq=False)
class RefineResult:
    """An image before and after its refinement; `seconds` is the time from the request to the result."""

    before: ServedImage
    after: ServedImage
    seconds: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """One text, two ways.

    Attributes:
        amortised: what the prior draws; its `seconds` are those of this one image.
        optimised: the image of the highest CLIP score on the optimisation's way; its `seconds` are the whole way's.
        points: that way, an entry per iteration.
        seconds: from the request to the result.
    """

    amortised: ServedImage
    optimised: ServedImage
    points: Sequence[Point]
    seconds: float
