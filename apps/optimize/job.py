"""A configuration of `text2latent optimize` turned into goals, networks, descents and runs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from text2latent.apps.optimize.memory import cutouts_within
from text2latent.apps.optimize.pictures import save_strip, save_video
from text2latent.apps.optimize.run import Point, Run, open_folder
from text2latent.apps.optimize.task import Goal, Networks, Start, draw_prior, load_networks
from text2latent.common.errors import UsageError
from text2latent.configs.optimization import OptimizeConfig
from text2latent.inference.images import read_picture, to_pil
from text2latent.inference.optimization.augmentations import parse_augmentations
from text2latent.inference.optimization.cutouts import Cutouts
from text2latent.inference.optimization.descent import Descent, DescentSettings
from text2latent.inference.optimization.objectives import ClipObjective
from text2latent.inference.optimization.optimizers import (
    default_rate,
    find_optimizer,
    make_optimizer,
    parse_arguments,
    parse_comparison,
)
from text2latent.inference.optimization.spaces import LOSS_UNIT
from text2latent.inference.prompts import read_prompt_file
from text2latent.inference.writing import number_repeats, slugify
from text2latent.models.clip.arguments import named_clip
from text2latent.models.sources.identity import sha256_of

STRIP = "trajectory.png"
PERCENT = 100.0
PRIOR = "amortised prior"
FREE_KEYS = frozenset(
    (
        *("output", "iterations", "epochs", "save_every", "video", "fps", "hold_seconds", "memory", "device"),
        *("overwrite", "json", "compare", "prompts", "num_seeds", "text", "seed", "optimizer", "lr"),
        *("model", "generator", "clip", "image"),
    )
)
"""Settings that a run that goes on may change, or that are recorded by themselves."""


@dataclass(frozen=True)
class Amortised:
    """What the prior needs for a goal: `seconds` for an image of `clip_score`, and the image where it is one."""

    clip_score: float
    seconds: float
    picture: Image.Image | None = None


@dataclass(frozen=True)
class Drawn:
    """One image of a study.

    Attributes:
        method: the optimiser's name, or `PRIOR`.
        points: its way; for the prior one point, whose seconds are those of one image.
        picture: its last image.
        folder: of its run, within the study's; None for the prior.
    """

    method: str
    prompt: str
    seed: int
    points: Sequence[Point]
    picture: Image.Image
    folder: Path | None = None

    @property
    def score(self) -> float:
        return self.points[-1].clip_score


class Job:
    """All that a configuration asks for; what can be wrong with it is checked at once, before anything is loaded.

    Raises:
        UsageError: for an unusable text, optimiser, augmentation or combination of settings.
        InputError: for a file that can't be read.
    """

    networks: Networks

    def __init__(self, config: OptimizeConfig) -> None:
        self.config = config
        self.goals = self._read_goals()
        self.optimizers = parse_comparison(config.compare) if config.compare else [config.optimizer.lower()]
        self.arguments = parse_arguments(config.optimizer_arguments)
        self.augmentations = parse_augmentations(config.augmentations)
        self.cutouts = self._make_cutouts()
        for optimizer in self.optimizers:
            find_optimizer(optimizer)
            # A tensor to try the arguments on: wrong ones are refused before the networks are loaded.
            make_optimizer(optimizer, [torch.zeros(1, 1, requires_grad=True)], self.rate(optimizer), self.arguments)

    @property
    def num_iterations(self) -> int:
        return self.config.iterations * self.config.epochs

    @property
    def pairs(self) -> list[tuple[Goal, int]]:
        """Each goal with each of `num_seeds` consecutive seeds."""
        first = self.config.seed
        return [(goal, seed) for goal in self.goals for seed in range(first, first + self.config.num_seeds)]

    @property
    def run_names(self) -> list[str]:
        """Names of the folders of `pairs`, kept apart where two texts are alike in letters."""
        names = [Path(f"{slugify(goal.label)}-{seed}") for goal, seed in self.pairs]
        return [path.name for path in number_repeats(names)]

    def rate(self, optimizer: str) -> float:
        """The learning rate of the flags, or the default one of an optimiser."""
        return default_rate(optimizer) if self.config.lr is None else self.config.lr

    def _read_goals(self) -> list[Goal]:
        config = self.config
        if not config.compare and (config.prompts or config.num_seeds > 1):
            raise UsageError("--prompts, --num-seeds: expected --compare with them")
        if config.prompts and config.text:
            raise UsageError("--prompts: expected no --text with it")
        image = None if config.image is None else Path(config.image)
        if image is not None:
            read_picture(image)
        texts = [line.text for line in read_prompt_file(config.prompts)] if config.prompts else [config.text]
        return [Goal(text, config.avoid, image, config.image_weight) for text in texts]

    def _make_cutouts(self) -> Cutouts:
        given = self.config.cutouts
        return Cutouts(
            count=given.count,
            min_size=given.min_size,
            max_size=given.max_size,
            mean_size=given.mean_size if given.distribution == "normal" else None,
            std_size=given.std_size,
            center_bias=given.center_bias,
            jitter=given.jitter,
            augmentations=self.augmentations,
        )

    def load(self, device: torch.device) -> None:
        config = self.config
        clip = named_clip(config.clip, config.clip_args, config.clip_language)
        self.networks = load_networks(config.model, config.generator, clip, device, config.init == "prior")

    def make_descent(self, goal: Goal, seed: int, optimizer: str) -> Descent:
        config, networks = self.config, self.networks
        start = Start(
            config.init,
            config.latent,
            config.max_classes,
            config.class_temperature,
            config.tokens.sampling == "gumbel",
            config.tokens.temperature,
        )
        space, x = start.make(networks, goal, seed)
        _, direction = goal.embed(networks.clip)
        settings = DescentSettings(
            optimizer,
            self.rate(optimizer),
            self.arguments,
            space.penalty_weight if config.distribution_weight is None else config.distribution_weight,
            config.accumulate,
            config.ema_decay,
            LOSS_UNIT,
        )
        objective = ClipObjective(networks.clip, direction, self.cutouts)
        descent = Descent(networks.generator, objective, space, x, settings, [seed])
        if config.memory is not None:
            objective.at_once = cutouts_within(descent, objective, [networks.generator, networks.clip], config.memory)
        return descent

    def open_run(self, folder: Path, goal: Goal, seed: int, optimizer: str) -> Run:
        description = self.describe(goal, seed, optimizer)
        descent = self.make_descent(goal, seed, optimizer)
        open_folder(folder, description, self.config.overwrite)
        target, _ = goal.embed(self.networks.clip)
        metadata = {"prompt": goal.label, "seed": str(seed), "Software": f"text2latent {description['text2latent']}"}
        return Run(folder, descent, self.networks.clip, target, metadata)

    def describe(self, goal: Goal, seed: int, optimizer: str) -> dict[str, Any]:
        """All that decides what is drawn, JSON-ready."""
        config = dataclasses.asdict(self.config)
        settings = {key: value for key, value in config.items() if key not in FREE_KEYS}
        networks = {"generator": self.networks.generator.identity, "clip": self.networks.clip.identity}
        if self.config.init == "prior" and self.networks.pipeline is not None:
            networks["prior"] = self.networks.pipeline.identity
        identities = {part: None if one is None else one.sha256 for part, one in networks.items()}
        image = None if goal.image is None else sha256_of(goal.image)
        chosen = {"prompt": goal.text, "image": image, "seed": seed, "optimizer": optimizer, "lr": self.rate(optimizer)}
        return {"text2latent": version("text2latent"), **identities, **chosen, **settings}

    def describe_study(self) -> dict[str, Any]:
        """What all runs of a comparison have in common, JSON-ready."""
        first = self.describe(self.goals[0], self.config.seed, self.optimizers[0])
        return {key: value for key, value in first.items() if key not in ("prompt", "seed", "optimizer", "lr")}

    @cached_property
    def amortised(self) -> Amortised | None:
        """What the prior needs for the first goal; None where there is none."""
        if self.networks.pipeline is None:
            return None
        (drawn,) = self._draw_with_prior([(self.goals[0], self.config.seed)])
        return Amortised(drawn.score, drawn.points[0].seconds, drawn.picture)

    def draw_with_prior(self) -> list[Drawn]:
        """Every goal and seed drawn by the prior, one at a time; nothing where there is none."""
        return [] if self.networks.pipeline is None else self._draw_with_prior(self.pairs)

    def _draw_with_prior(self, pairs: list[tuple[Goal, int]]) -> list[Drawn]:
        draw_prior(self.networks, pairs[0][0], [pairs[0][1]])  # the first draw of a process takes longer than others
        drawn = []
        for goal, seed in pairs:
            started = time.perf_counter()
            draw = draw_prior(self.networks, goal, [seed])
            seconds = time.perf_counter() - started
            point = Point(0, seconds, float(draw.scores[0]), float("nan"))
            drawn.append(Drawn(PRIOR, goal.label, seed, [point], to_pil(draw.images)[0]))
        return drawn

    def illustrate(self, run: Run) -> None:
        """Write a run's strip, and its video if one is asked for."""
        files = run.progress_files
        if not files:
            return
        save_strip(files, self._captions(run), run.folder / STRIP, run.metadata, self._prior_tile())
        if self.config.video:
            fps, hold = self.config.fps, self.config.hold_seconds
            save_video(files, Path(self.config.video), fps, hold, run.metadata["prompt"], overwrite=True)

    def _captions(self, run: Run) -> dict[Path, str]:
        """Iteration and CLIP score of each progress image."""
        scores = {run.progress_file(point.iteration): point for point in run.points}
        return {file: f"{point.iteration}: {PERCENT * point.clip_score:.1f}" for file, point in scores.items()}

    def _prior_tile(self) -> list[tuple[Image.Image, str]]:
        """What the prior draws, where there is one, to stand beside a run's images."""
        prior = self.amortised
        if prior is None or prior.picture is None:
            return []
        return [(prior.picture, f"prior: {PERCENT * prior.clip_score:.1f}")]
