"""Print how well pictures are found in the latent space, and how well what was found can be edited.

The pictures are the generator's own, whose latents are known, and renders of the faces world, which it can't draw
exactly. What an image shows is decided by the world's judge.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from text2latent.benchmarks.projection_rival import project_as_stylegan
from text2latent.benchmarks.report import Figure, Measure, add_model_flag, add_report_flags, run_parts, script_parser
from text2latent.common.command import CommandParser, positive_int, seed
from text2latent.common.progress import progress
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.inference.projection.features import ClipFeatures
from text2latent.inference.projection.projector import ProjectionSettings
from text2latent.inference.projection.result import Projection, draw_projection
from text2latent.zoo.evaluation import SEED, held_out_renders, see
from text2latent.zoo.world import load_world

FACES = load_world("faces")

RESAMPLES = 1000
STRENGTHS = tuple(0.25 * step for step in range(2, 15))
"""From 0.5 to 3.5."""
SHOWN = 0.9
"""Share of edits that are to show what is named."""
COLOURS = ("blonde", "brown", "black", "red", "gray", "white", "blue")
PLACES = {
    **{"plain": "a plain background", "sea": "the sea", "forest": "a forest", "mountains": "mountains"},
    **{"city": "a city", "sunset": "a sunset"},
}
SAID: dict[str, dict[str, str]] = {
    "eyewear": {
        "none": "a face without glasses",
        "glasses": "a face with glasses",
        "sunglasses": "a face with sunglasses",
    },
    "headwear": {"none": "a face without a hat", "hat": "a face with a hat"},
    "earrings": {"no": "a face without earrings", "yes": "a face with earrings"},
    "expression": {
        "happy": "a smiling face",
        "neutral": "a neutral face",
        "sad": "a sad face",
        "angry": "an angry face",
    },
    "hair_color": {colour: f"a face with {colour} hair" for colour in COLOURS},
    "background": {place: f"a face in front of {words}" for place, words in PLACES.items()},
}
"""What somebody who looks at a picture says of an attribute's value, which is what edits go from and to."""
EDITS = {
    **{"glasses": ("eyewear", "glasses"), "hat": ("headwear", "hat"), "earrings": ("earrings", "yes")},
    **{"happy": ("expression", "happy"), "angry": ("expression", "angry"), "blonde": ("hair_color", "blonde")},
    "city": ("background", "city"),
}
"""The attribute that an edit is to change, and into what."""
FREE = {"headwear": ("hair_style", "hair_color"), "hair_color": ("hair_style",)}
"""What a change of an attribute may hide or show, and isn't held against it."""


@dataclass(frozen=True)
class Subject:
    """Pictures `[N, C, H, W]` in [-1, 1] to find, and their latents `[N, 1, D]` where these are known."""

    pictures: Tensor
    latents: Tensor | None


def own(pipeline: Text2LatentPipeline, config: Namespace) -> Subject:
    """Of the generator's own."""
    latents = pipeline.generator.sample_w(config.num_pictures, config.seed)[:, :1]
    return Subject(pipeline.generator.synthesize(latents), latents)


def renders(pipeline: Text2LatentPipeline, config: Namespace) -> Subject:
    return Subject(held_out_renders(FACES, config.num_pictures, config.seed)[0], None)


def ways(config: Namespace) -> dict[str, Callable[[Text2LatentPipeline, Tensor], Tensor]]:
    base = ProjectionSettings(patience=0)
    named = {"the prior's answer, one draw": replace(base, candidates=1, steps=0)}
    for steps in config.steps:
        named[f"from the prior, {steps} steps"] = replace(base, steps=steps)
    ours = {name: partial(_project, settings) for name, settings in named.items()}
    return {**ours, f"StyleGAN's projector, {config.rival_steps} steps": partial(_rival, config.rival_steps)}


def _project(settings: ProjectionSettings, pipeline: Text2LatentPipeline, pictures: Tensor) -> Tensor:
    with progress(total=settings.steps, unit="steps", description=f"{settings.steps} steps") as bar:
        return pipeline.project(list(pictures), settings, on_step=lambda step, losses: bar.update()).latents


def _rival(steps: int, pipeline: Text2LatentPipeline, pictures: Tensor) -> Tensor:
    with progress(total=steps, unit="steps", description="StyleGAN's projector") as bar:
        features = ClipFeatures(pipeline.clip)
        return project_as_stylegan(pipeline.generator, features, pictures, steps, bar.update)


def start_figures(find: Callable[[Text2LatentPipeline, Namespace], Subject], config: Namespace) -> list[Figure]:
    """Of each way: how like the pictures its images are, what they keep, and the seconds for a picture."""
    pipeline = Text2LatentPipeline.from_pretrained(config.model)
    subject = find(pipeline, config)
    truth, found, kept = see(FACES, subject.pictures), {}, {}
    figures: list[Figure] = []
    for name, way in ways(config).items():
        started = time.perf_counter()
        latents = way(pipeline, subject.pictures)
        seconds = (time.perf_counter() - started) / len(latents)
        found[name] = draw_projection(pipeline.generator, subject.pictures, latents)
        kept[name] = np.array([share_kept(*pair) for pair in zip(truth, see(FACES, found[name].images), strict=True)])
        figures += list(_row(name, found[name], kept[name], subject.latents, seconds))
    return figures + ahead(find.__name__, found, kept)


def share_kept(truth: dict[str, str], seen: dict[str, str], besides: Sequence[str] = ()) -> float:
    """Share of the attributes of a picture, but for some, that another shows as well."""
    names = [name for name in truth if name not in besides]
    return float(np.mean([seen.get(name) == truth[name] for name in names]))


def _row(name: str, found: Projection, kept: np.ndarray, latents: Tensor | None, seconds: float) -> Iterator[Figure]:
    yield Figure(f"{name}, PSNR", float(found.psnr.mean()), "dB", detail=True)
    yield Figure(f"{name}, +-", half_interval(found.psnr.numpy()), "dB", detail=True)
    yield Figure(f"{name}, SSIM", float(found.ssim.mean()), detail=True)
    yield Figure(f"{name}, attributes kept", float(kept.mean()), detail=True)
    yield Figure(f"{name}, +- of these", half_interval(kept), detail=True)
    if latents is not None:
        error = (found.latents - latents).square().mean().sqrt() / latents.std(dim=0).square().mean().sqrt()
        yield Figure(f"{name}, error in w", float(error), detail=True)
    yield Figure(f"{name}, s/picture", seconds, "s", detail=True)


def half_interval(values: np.ndarray) -> float:
    """Half the width of the 95 % bootstrap interval of a mean over pictures."""
    rng = np.random.default_rng(0)
    means = rng.choice(values, (RESAMPLES, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(high - low) / 2


def ahead(kind: str, found: dict[str, Projection], kept: dict[str, np.ndarray]) -> list[Figure]:
    """How far a hundred steps from the prior are ahead of StyleGAN's projector, the same pictures compared."""
    ours = next((name for name in found if name.endswith("prior, 100 steps")), None)
    rival = next(name for name in found if name.startswith("StyleGAN"))
    if ours is None:
        return []
    gains = (found[ours].psnr - found[rival].psnr).numpy()
    more = kept[ours] - kept[rival]
    return [
        Figure(f"{kind}: {what}, the low end of ours at 100 steps less StyleGAN's projector", low, unit, target=0.0)
        for what, low, unit in (
            ("PSNR", float(gains.mean()) - half_interval(gains), "dB"),
            ("attributes kept", float(more.mean()) - half_interval(more), ""),
        )
    ]


def single_figures(config: Namespace) -> list[Figure]:
    pipeline = Text2LatentPipeline.from_pretrained(config.model)
    picture = held_out_renders(FACES, 1, config.seed)[0][0]
    pipeline.project(picture, ProjectionSettings(steps=2))
    started = time.perf_counter()
    pipeline.project(picture)
    seconds = time.perf_counter() - started
    return [Figure("one picture of 128 x 128 pixels", seconds, "s", target=10, at_most=True)]


def edit_figures(config: Namespace) -> list[Figure]:
    """Edits of pictures that were found, and of latents that were drawn: what is named is there, all else stays.

    Of each edit the least strength counts at which `SHOWN` of the pictures show what it names, or the largest.
    """
    pipeline = Text2LatentPipeline.from_pretrained(config.model)
    pictures = held_out_renders(FACES, config.num_edited, config.seed)[0]
    with progress(total=ProjectionSettings().steps, unit="steps", description="edits") as bar:
        found = pipeline.project(list(pictures), on_step=lambda step, losses: bar.update()).latents
    drawn = pipeline.generator.sample_w(config.num_edited, config.seed)
    figures, sums = [], []
    for name, latents in (("found", found), ("drawn", drawn)):
        before = see(FACES, pipeline.render(latents).images)
        results = {edit: strongest_needed(pipeline, latents, before, edit) for edit in EDITS}
        for edit, (strength, shown, kept) in results.items():
            figures.append(Figure(f"{edit}, strength ({name})", strength, "", detail=True))
            figures.append(Figure(f"{edit}, named there ({name})", shown, detail=True))
            figures.append(Figure(f"{edit}, others kept ({name})", kept, detail=True))
        shown, kept = (float(np.mean([result[place] for result in results.values()])) for place in (1, 2))
        sums.append(Figure(f"edits of what was {name}: named attributes that are there", shown, target=SHOWN))
        sums.append(Figure(f"edits of what was {name}: other attributes that are kept", kept, target=0.95))
    return figures + sums


def strongest_needed(
    pipeline: Text2LatentPipeline, latents: Tensor, before: list[dict[str, str]], edit: str
) -> tuple[float, float, float]:
    """The least strength of an edit that shows what it names in `SHOWN` of the pictures, and what `edited` gives."""
    shown = kept = 0.0
    for strength in STRENGTHS:
        shown, kept = edited(pipeline, latents, before, edit, strength)
        if shown >= SHOWN:
            return strength, shown, kept
    return STRENGTHS[-1], shown, kept


def edited(
    pipeline: Text2LatentPipeline, latents: Tensor, before: list[dict[str, str]], edit: str, strength: float
) -> tuple[float, float]:
    """Shares of edits that show what is named, and of other attributes that stay; of pictures without the former."""
    attribute, value = EDITS[edit]
    shown, kept = [], []
    for there, words in SAID[attribute].items():
        rows = [i for i, face in enumerate(before) if face.get(attribute) == there != value]
        if not rows:
            continue
        images = pipeline.edit(words, SAID[attribute][value], strength, latents[rows], output_type="pt").images
        assert isinstance(images, Tensor)
        for i, after in zip(rows, see(FACES, images), strict=True):
            shown.append(after.get(attribute) == value)
            kept.append(share_kept(before[i], after, (attribute, *FREE.get(attribute, ()))))
    return float(np.mean(shown)), float(np.mean(kept))


PARTS: dict[str, Measure] = {
    "own": partial(start_figures, own),
    "renders": partial(start_figures, renders),
    "single": single_figures,
    "edits": edit_figures,
}


def build_parser() -> CommandParser:
    parser = script_parser("projection", __doc__)
    add_model_flag(parser)
    add: Any = parser.add_argument
    add("--num-pictures", type=positive_int, default=8, metavar="N", help="Pictures of each kind.")
    add("--num-edited", type=positive_int, default=24, metavar="N", help="Pictures that are found and edited.")
    add("--steps", type=int, nargs="+", default=[0, 50, 100, 200, 1000], metavar="N", help="Steps from the prior.")
    add("--rival-steps", type=positive_int, default=1000, metavar="N", help="Steps of StyleGAN's projector.")
    add("--seed", type=seed, default=SEED, metavar="N", help="Seed of pictures and latents.")
    add_report_flags(parser, PARTS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run_parts(PARTS, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
