"""What the engine gives: images with all that a page, a file or a program wants to know of them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from PIL import Image
from torch import Tensor

from text2latent.inference.images import on_white, png_bytes
from text2latent.inference.latents_file import latents_bytes
from text2latent.inference.query import Query
from text2latent.inference.result import Draw
from text2latent.inference.settings import Settings
from text2latent.inference.writing import png_metadata, slugify

if TYPE_CHECKING:
    from text2latent.apps.serving.requests import DrawRequest
    from text2latent.inference.domain import DomainScore

OutputFormat = Literal["png", "jpeg", "webp"]
MAX_QUALITY = 100


@dataclass(frozen=True)
class Recipe:
    """How to draw an image again elsewhere.

    Attributes:
        command: a command line of `text2latent`.
        needs: what has to be there first, such as a file to be saved; empty if nothing.
    """

    command: str
    python: str
    needs: str = ""


class Drawn(Protocol):
    """An image that has been drawn, as far as others are made of it: a `ServedImage`, or what a client knows of one."""

    @property
    def model(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def stem(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def latent(self) -> Tensor: ...
    @property
    def query(self) -> Query: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def origin(self) -> DrawRequest | None: ...


@dataclass(frozen=True, eq=False)
class ServedImage:
    """One image.

    Attributes:
        drawn: the image, its latent and its name; one row.
        query: what it was to show.
        model: the name that the engine lists.
        settings: how it was drawn.
        description: networks and settings, JSON-ready; without paths.
        num_ws: layers of the generator.
        seconds: its share of the time of the pass that drew it.
        recipe: how to draw it again.
        origin: the request, with `n` 1 and this image's seed, that the prior drew it for; None for what was made of
            other images.
    """

    drawn: Draw
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
        return self.drawn.picture

    @property
    def latent(self) -> Tensor:
        """`[L, D]`, on the CPU; L is 1 where one w is for all layers."""
        return self.drawn.latents[0]

    @property
    def seed(self) -> int:
        return self.drawn.seeds[0]

    @property
    def clip_score(self) -> float | None:
        """Cosine similarity to what was asked for, in [-1, 1]; None where it wasn't computed."""
        return self.drawn.record["clip_score"]

    @property
    def label(self) -> str:
        return self.drawn.prompts[0]

    @property
    def out_of_domain(self) -> DomainScore | None:
        """How far the prompt is from what the generator draws; None without a text or a domain."""
        return self.drawn.out_of_domain[0]

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
        """A file of a kind; `quality` in [0, 100] counts for JPEG and WebP, which hold no metadata."""
        if kind == "png":
            return self.png(size)
        file = io.BytesIO()
        picture = self._scaled(size)
        # JPEG knows no alpha, and WebP no grey.
        (on_white(picture) if kind == "jpeg" or picture.mode != "RGBA" else picture).save(file, kind, quality=quality)
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
        """How far the request's prompt is from what the generator draws; None without a text or a domain."""
        return self.images[0].out_of_domain
