"""CLIPs of your own: a class path, as in `my_package.MyClip`, and arguments of its constructor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from text2latent.common.errors import InputError
from text2latent.models import own_class
from text2latent.models.clip.preprocessing import Preprocessing
from text2latent.models.clip.settings import preprocessing_settings
from text2latent.models.sources.identity import Identity

PART = "clip"
MOST_BYTES = 16_384
"""More than any prompt has."""
PROBES = ["a photo of a dog", "眼鏡の女性"]
TOLERANCE = 1e-3
PREPROCESSING = ("mean", "std", "interpolation", "resize_mode", "fill_color")


class ClipModel(nn.Module):
    """A model of texts and images of one's own, to be derived from.

    Attributes:
        image_size: height and width of the images that `encode_image` takes, in pixels; a number for squares.
        mean, std: per channel, subtracted from values in [0, 1], and divided by then. Those that stand here give
            values in [-1, 1].
        interpolation: `bicubic` or `bilinear`.
        resize_mode: how other images are brought to `image_size`, see `preprocessing.Preprocessing`.
        logit_scale: logarithm of what cosines are multiplied with to make probabilities of them, as `classify` does.
        settings: short texts by name of whatever else changes the embeddings and is no tensor of the model, such as the
            tokenizer's version; they are a part of its identity.
    """

    image_size: int | tuple[int, int]
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    fill_color: int = 0
    logit_scale: Tensor | nn.Parameter = torch.tensor(math.log(100.0))
    settings: Mapping[str, str] = {}

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Features `[N, D]` of texts; they need not be of unit length."""
        raise NotImplementedError("encode_text")

    def encode_image(self, images: Tensor) -> Tensor:
        """Features `[N, D]` of images `[N, 3, *image_size]`; differentiable, if images are to be optimised."""
        raise NotImplementedError("encode_image")


class ByteTokenizer:
    """Texts -> their UTF-8 bytes, padded with 0: stands for the tokenizer that a model of one's own has inside."""

    context_length = MOST_BYTES

    def __call__(self, texts: Sequence[str], context_length: int | None = None) -> Tensor:
        """Bytes of texts, int64 `[N, L]`, as long as the longest."""
        rows = [self.encode(text) for text in texts]
        found = torch.zeros(len(rows), max(1, *map(len, rows), 1), dtype=torch.long)
        for place, row in zip(found, rows, strict=True):
            place[: len(row)] = torch.tensor(row, dtype=torch.long)
        return found

    def encode(self, text: str) -> list[int]:
        return list(text.encode("utf-8"))

    @staticmethod
    def decode(tokens: Tensor) -> list[str]:
        rows = tokens.tolist()
        return [bytes(byte for byte in row if byte).decode("utf-8", "replace") for row in rows]


class OwnClip(nn.Module):
    """A `ClipModel`, used as open_clip's are; its tokens are the bytes of texts."""

    def __init__(self, clip: ClipModel) -> None:
        super().__init__()
        self.clip = clip
        told = {name: getattr(clip, name) for name in PREPROCESSING}
        self.visual = SimpleNamespace(preprocess_cfg={"size": clip.image_size, **told})

    @property
    def logit_scale(self) -> Tensor:
        """Logarithm of what cosines are multiplied with."""
        return self.clip.logit_scale

    def encode_image(self, images: Tensor) -> Tensor:
        """Features `[N, D]` of preprocessed images."""
        return self.clip.encode_image(images)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Features `[N, D]` of bytes `[N, L]`."""
        return self.clip.encode_text(ByteTokenizer.decode(tokens))


def load_own(spec: Mapping[str, Any], allow_import: bool) -> tuple[OwnClip, ByteTokenizer, Identity]:
    """The model of a class path, on the CPU in evaluation mode, tried out on two texts and images.

    Its identity is the SHA-256 over the class path, the constructor's arguments and all tensors of its state; its
    settings are those of the preprocessing and its own.

    Args:
        spec: `class_path`, and perhaps `init_args`.
        allow_import: whether its module may be imported.

    Raises:
        UsageError: when there is no such class, it is no `ClipModel`, or the arguments aren't those it takes.
        InputError: when its code fails, it breaks the contract, or it may not be imported.
    """
    class_path, init_args = own_class.check_spec(spec, PART)
    if not allow_import:
        raise own_class.refuse_import(class_path, PART)
    cls = own_class.import_class(class_path, ClipModel, PART)
    clip = own_class.construct(cls, class_path, init_args, PART)
    try:
        model = OwnClip(clip)
        preprocess = Preprocessing.from_config(model.visual.preprocess_cfg)
        _try_out(model, preprocess)
        own = {str(name): str(value) for name, value in clip.settings.items()}
    except Exception as error:
        # Whatever the user's own code raises.
        raise InputError(f"--clip {class_path}: {own_class.describe(error)}") from error
    digest = own_class.digest(clip, class_path, init_args)
    settings = {**preprocessing_settings(preprocess), **own}
    return model, ByteTokenizer(), Identity(type(clip).__name__, class_path, digest, settings)


@torch.no_grad()
def _try_out(model: OwnClip, preprocess: Preprocessing) -> None:
    """Embed two texts and images, so that a broken contract is reported here and not far from its cause."""
    texts = model.clip.encode_text(PROBES)
    images = model.encode_image(preprocess(torch.linspace(-1, 1, 2).view(2, 1, 1, 1).expand(2, 3, 8, 8)))
    for name, found in (("encode_text", texts), ("encode_image", images)):
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != 2 or not found.is_floating_point():
            shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(f"{name}: expected features [2, D] of two, got {shape}")
        if not found.isfinite().all():
            raise InputError(f"{name}: expected finite features, got NaN or infinity")
    if texts.shape[1] != images.shape[1]:
        raise InputError(f"encode_image: expected {texts.shape[1]} channels, as of texts, got {images.shape[1]}")
    alone = torch.cat([model.clip.encode_text([text]) for text in PROBES])
    if not torch.allclose(texts, alone, atol=TOLERANCE * float(texts.abs().max())):
        raise InputError("encode_text: expected the same features of a text alone and beside another")
