"""The models that a server offers, by name: loaded when they are first asked for, and kept."""

from __future__ import annotations

import re
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from text2latent.common.errors import InputError, UsageError
from text2latent.models.sources import zoo
from text2latent.models.sources.fetching import is_remote
from text2latent.models.sources.location import locate

if TYPE_CHECKING:
    import torch

    from text2latent.inference.pipeline import Text2LatentPipeline
    from text2latent.models.acceleration import Acceleration

NAMED = re.compile(r"(?P<name>[\w.-]+)=(?P<source>.+)")
KINDS = "a zoo name, a run, prior or exported folder, a checkpoint, or hf://ORG/NAME, each perhaps as NAME=SOURCE"


class ModelUnavailable(InputError):
    """A model can't be loaded; why is reported on the server only, since it may name the server's files."""

    def __init__(self, name: str) -> None:
        super().__init__(f"model: {name!r} can't be loaded at present; the server's log says why")


class UnknownModel(UsageError):
    """No model of that name is offered."""


@dataclass(frozen=True)
class ModelInfo:
    """What clients may know of a model.

    Attributes:
        name: as requests call it.
        kind: `zoo`, `hub` or `folder`.
        is_loaded: whether a request would not have to wait for its loading.
        image_size: pixels per side, or height and width where they differ, once it is loaded.
    """

    name: str
    kind: str
    is_loaded: bool
    image_size: int | tuple[int, int] | None


@dataclass(eq=False)
class _Model:
    name: str
    source: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    pipeline: Text2LatentPipeline | None = None

    @property
    def kind(self) -> str:
        if zoo.is_zoo_name(self.source):
            return "zoo"
        return "hub" if is_remote(self.source) else "folder"


class ModelLibrary:
    """Models by name; safe to be used by several threads.

    Args:
        sources: what `Text2LatentPipeline.from_pretrained` takes, or NAME=SOURCE; without a name, a model is called
            after its file or folder. None offers the worlds of the zoo.
        acceleration: how they are made faster, if at all.

    Raises:
        UsageError: for a source that isn't there, none at all, or two models of one name.
    """

    def __init__(
        self,
        sources: Sequence[str] | None = None,
        device: str | torch.device = "cpu",
        acceleration: Acceleration | None = None,
    ) -> None:
        self._device, self._acceleration = device, acceleration
        self._models: dict[str, _Model] = {}
        for source in _zoo_models() if sources is None else sources:
            name, place = split_name(source)
            if name in self._models:
                raise UsageError(f"--model: expected names that differ, got {name!r} twice; name one: NAME={place}")
            if not is_remote(place):
                _check_there(place)
            self._models[name] = _Model(name, place)
        if not self._models:
            raise UsageError(f"--model: expected at least one model, {KINDS}")

    @property
    def default(self) -> str:
        return next(iter(self._models))

    @property
    def infos(self) -> list[ModelInfo]:
        return [_describe(model) for model in self._models.values()]

    def check(self, name: str | None) -> str:
        """The name of a model, that of the first for None.

        Raises:
            UnknownModel: for one that isn't offered.
        """
        if name is None:
            return self.default
        if name not in self._models:
            raise UnknownModel(f"model: expected one of {', '.join(self._models)}, got {name[:80]!r}")
        return name

    def public_source(self, name: str) -> str:
        """What a user elsewhere can call a model: a zoo name, an address, or else only its name here."""
        model = self._models[name]
        return model.name if model.kind == "folder" else model.source

    def get(self, name: str | None = None) -> Text2LatentPipeline:
        """A model's pipeline, which is loaded if it wasn't yet.

        Raises:
            UnknownModel: for one that isn't offered.
            ModelUnavailable: when it can't be loaded.
        """
        model = self._models[self.check(name)]
        with model.lock:
            if model.pipeline is None:
                try:
                    model.pipeline = self._load(model)
                except InputError as error:
                    print(f"text2latent serve: error: model {model.name}: {error}", file=sys.stderr)
                    raise ModelUnavailable(model.name) from None
                except Exception:
                    traceback.print_exc()
                    raise ModelUnavailable(model.name) from None
            return model.pipeline

    def load_default(self) -> None:
        """Load the first model.

        Raises:
            InputError: why it can't be loaded, for the one who starts the server.
        """
        model = self._models[self.default]
        with model.lock:
            model.pipeline = model.pipeline or self._load(model)

    def _load(self, model: _Model) -> Text2LatentPipeline:
        from text2latent.inference.pipeline import Text2LatentPipeline

        pipeline = Text2LatentPipeline.from_pretrained(model.source, self._device)
        return pipeline if self._acceleration is None else pipeline.accelerate(self._acceleration)


def _zoo_models() -> list[str]:
    return [name for name in zoo.zoo_names() if (zoo.ZOO / name / "weights" / "prior").is_dir()]


def split_name(source: str) -> tuple[str, str]:
    """Name and source of `NAME=SOURCE`, or of a source alone, whose name is that of its file or folder."""
    match = NAMED.fullmatch(source)
    if match and not Path(source).exists():
        return match["name"], match["source"]
    if zoo.is_zoo_name(source):
        return source, source
    if is_remote(source):
        last = source.split("#")[0].split("@")[0].rstrip("/").rpartition("/")[2]
    else:
        last = Path(source).resolve().name
    return last.removesuffix(".ckpt"), source


def _check_there(source: str) -> None:
    try:
        locate(source, "prior")
    except UsageError:
        raise UsageError(f"--model: expected {KINDS}; got {source!r}, which isn't there") from None


def _describe(model: _Model) -> ModelInfo:
    pipeline = model.pipeline
    return ModelInfo(
        model.name, model.kind, pipeline is not None, None if pipeline is None else pipeline.generator.image_size
    )
