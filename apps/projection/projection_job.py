"""A configuration of `text2latent project` turned into networks, pictures and searches."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from text2latent.apps.projection.projection_run import ProjectionRun
from text2latent.common.errors import UsageError
from text2latent.configs.projections import ProjectConfig
from text2latent.inference.domain import DomainScore
from text2latent.inference.editing import Edit
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.inference.projection.features import ClipFeatures, ImageFeatures, LpipsFeatures
from text2latent.inference.projection.framing import Framing, load_aligner, parse_crop
from text2latent.inference.projection.loss import LossWeights, PictureObjective
from text2latent.inference.projection.projector import ProjectionSettings, Projector, begin
from text2latent.inference.projection.tuning import TuningSettings
from text2latent.inference.query import Query
from text2latent.inference.writing import number_repeats, slugify
from text2latent.models.clip.arguments import named_clip
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.generators import load_generator
from text2latent.models.generators.base import Generator
from text2latent.models.sources.identity import sha256_of

DECIDING = (
    *("init", "candidates", "steps", "tied_share", "learning_rate", "weights", "distribution_weight", "spread_weight"),
    *("patience", "crop", "aligner", "seed"),
)
"""Settings that decide what is found; a run goes on only with the same."""


@dataclass(frozen=True)
class Networks:
    """What draws and what is asked, on one device; `pipeline` has both and a prior, where there is one."""

    generator: Generator
    clip: ClipEncoder | None
    pipeline: Text2LatentPipeline | None


class Job:
    """All that a configuration asks for; what can be wrong with it is checked at once, before anything is loaded.

    Raises:
        UsageError: for no picture, or an unusable text, crop, aligner or number.
        InputError: for a file that can't be read.
    """

    networks: Networks

    def __init__(self, config: ProjectConfig) -> None:
        self.config = config
        if not config.pictures:
            raise UsageError("PICTURE: expected at least one image file, got none")
        self.files = [Path(name) for name in config.pictures]
        names = number_repeats([Path(slugify(file.stem) or "picture") for file in self.files])
        self.names = [path.name for path in names]
        self.framing = Framing(parse_crop(config.crop), load_aligner(config.aligner))
        self.weights = LossWeights(**dataclasses.asdict(config.weights))
        self.settings = ProjectionSettings(
            config.init, config.candidates, config.steps, config.tied_share, config.learning_rate, self.weights,
            config.distribution_weight, config.spread_weight, config.patience,
        )  # fmt: skip
        self.edit = self._read_edit()
        self._check_way()

    def _read_edit(self) -> Edit | None:
        texts = self.config.edit
        if texts is None:
            return None
        if len(texts) != 2:
            raise UsageError(f"--edit: expected two texts, from what to what, got {len(texts)}")
        return Edit(Query(texts[0]), Query(texts[1]), self.config.strength)

    def _check_way(self) -> None:
        config = self.config
        expected = 2 if config.text is None else 1
        if config.interpolate and len(self.files) != expected:
            what = "two pictures, or one with --text" if config.text is None else "one picture with --text"
            raise UsageError(f"--interpolate: expected {what}, got {len(self.files)}")
        if config.text is not None:
            Query(config.text)

    def load(self, device: torch.device) -> None:
        """Load the networks and the pictures.

        Raises:
            UsageError: for a generator without a prior, where one is needed.
            InputError: for a file that can't be read, or a prior of another generator.
        """
        config = self.config
        self.networks = self._load_networks(device)
        if self.networks.pipeline is None and (config.edit or config.text):
            raise UsageError("--edit, --text: expected a model with a prior, and --init prior, with them")
        generator = self.networks.generator
        self.pictures = torch.stack([self.framing.read(file, generator) for file in self.files]).to(device)
        self.features = self._find_features(device)

    def _load_networks(self, device: torch.device) -> Networks:
        config = self.config
        clip = named_clip(config.clip, config.clip_args, None)
        if config.init == "mean" and config.generator is not None:
            generator = load_generator(config.generator)
            torch.nn.Module.to(generator, device)
            own = None if clip is None else ClipEncoder.from_pretrained(clip).to(device)
            return Networks(generator, own, None)
        pipeline = Text2LatentPipeline.from_pretrained(config.model, device, config.generator, clip, config.force)
        return Networks(pipeline.generator, pipeline.clip, pipeline)

    def _find_features(self, device: torch.device) -> ImageFeatures | None:
        """LPIPS with its weights, else CLIP's features; None where neither is at hand, or nothing asks for them."""
        if not self.weights.features:
            return None
        if self.config.lpips_weights is not None:
            return LpipsFeatures(self.config.lpips_weights).to(device)
        return None if self.networks.clip is None else ClipFeatures(self.networks.clip)

    @cached_property
    def tuning(self) -> TuningSettings:
        return TuningSettings(**dataclasses.asdict(self.config.tune))

    @cached_property
    def domain_scores(self) -> list[DomainScore]:
        """How far each picture is from what the generator draws; none where that isn't known."""
        pipeline = self.networks.pipeline
        if pipeline is None or pipeline.domain is None:
            return []
        return pipeline.domain.score_images(pipeline.prior.image_condition(pipeline.clip.encode_image(self.pictures)))

    def objective(self, pictures: Tensor) -> PictureObjective:
        """The loss of pictures `[N, C, H, W]` in [-1, 1]."""
        return PictureObjective(pictures, self.weights, self.features)

    def begin(self, start: int, stop: int) -> Projector:
        """The projector of the pictures from one number up to another, at its start."""
        networks = self.networks
        objective = self.objective(self.pictures[start:stop])
        return begin(networks.generator, objective, self.settings, networks.pipeline, self.config.seed)

    def run_in(self, folder: Path) -> ProjectionRun:
        return ProjectionRun(folder, self.names, self.begin, self.config.batch_size)

    def describe(self) -> dict[str, Any]:
        """All that decides what is found, JSON-ready."""
        config = dataclasses.asdict(self.config)
        parts = {
            "generator": self.networks.generator.identity,
            "clip": self.networks.clip and self.networks.clip.identity,
        }
        if self.networks.pipeline is not None:
            parts["prior"] = self.networks.pipeline.identity
        weights = self.config.lpips_weights
        return {
            "text2latent": version("text2latent"),
            **{part: None if one is None else one.sha256 for part, one in parts.items()},
            "pictures": {name: sha256_of(file) for name, file in zip(self.names, self.files, strict=True)},
            "lpips_weights": None if weights is None else sha256_of(weights),
            **{name: config[name] for name in DECIDING},
        }
