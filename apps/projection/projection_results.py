"""What is written of projections: images and latents, edits, the way between two, a video, a tuned generator."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from text2latent.apps.projection.projection_job import Job
from text2latent.apps.projection.projection_run import Found
from text2latent.common.progress import progress
from text2latent.inference.animation import save_animation
from text2latent.inference.domain import DomainScore
from text2latent.inference.editing import draw_edited
from text2latent.inference.images import make_grid, save_png, to_pil
from text2latent.inference.latents_file import save_latents
from text2latent.inference.projection.result import Projection, draw_projection
from text2latent.inference.projection.tuning import Tuning
from text2latent.inference.query import Query
from text2latent.inference.settings import Settings
from text2latent.models.generators.base import Generator
from text2latent.models.generators.formats.folder import save_tuned

WAY, TUNED, EDITED = "way.gif", "generator", "-edited"


def warn_of_foreign(job: Job) -> None:
    """Say which pictures are far from all that the generator draws."""
    for file, score in zip(job.files, job.domain_scores, strict=False):
        if score.is_outside:
            warnings.warn(
                f"{file}: unlike anything that this generator draws; expected a picture of its kind, cropped as its "
                "images are (--crop, --aligner)",
                stacklevel=1,
            )


class Results:
    """All that is made of what was found; what is there already is replaced by the same.

    Args:
        found: of each picture, in order.
    """

    def __init__(self, job: Job, folder: Path, found: Sequence[Found]) -> None:
        self.job, self.folder, self.found = job, folder, found
        self.generator = job.networks.generator
        self.latents = torch.stack([one.latents for one in found]).to(job.pictures.device)
        self.metadata = {"Software": f"text2latent {version('text2latent')}"}

    def write(self) -> dict[str, Any]:
        more = []
        if self.job.config.tune.steps:
            more.append(self._tune())
        drawn = draw_projection(self.generator, self.job.pictures, self.latents)
        pictures = self._write_pictures(drawn)
        if self.job.edit is not None:
            more += self._write_edited()
        if self.job.config.interpolate:
            more.append(self._write_way())
        if self.job.config.video:
            more.append(self._write_video(Path(self.job.config.video)))
        return {"output": str(self.folder), "pictures": pictures, "more": [str(file) for file in more]}

    def _tune(self) -> Path:
        """Tune the generator, with which all that follows is drawn, and write its folder."""
        job, target = self.job, self.folder / TUNED
        objective = job.objective(job.pictures)
        tuning = Tuning(self.generator, objective, self.latents, job.tuning, job.config.seed)
        for _ in progress(tuning.run(), job.tuning.steps, "steps", description="tune"):
            pass
        tuning.tuned.identity = save_tuned(tuning.tuned, target)
        self.generator = tuning.tuned
        if job.networks.pipeline is not None:
            job.networks.pipeline.generator = tuning.tuned
        return target

    def _write_pictures(self, drawn: Projection) -> list[dict[str, Any]]:
        rows = []
        scores: list[DomainScore | None] = [*self.job.domain_scores] or [None] * len(drawn)
        for i, (name, picture) in enumerate(zip(self.job.names, drawn.pil_images, strict=True)):
            file = self._save(picture, name, {"prompt": self.job.files[i].name})
            save_latents(file.with_suffix(".npz"), [drawn.latents[i]], self.generator.num_ws, overwrite=True)
            foreign = scores[i]
            rows.append({
                "picture": str(self.job.files[i]), "file": str(file), "latents": str(file.with_suffix(".npz")),
                "psnr": round(float(drawn.psnr[i]), 2), "ssim": round(float(drawn.ssim[i]), 4),
                "steps": self.found[i].steps, "seconds": round(self.found[i].seconds, 2),
                "out_of_domain": None if foreign is None else foreign.is_outside,
            })  # fmt: skip
        return rows

    def _save(self, picture: Image.Image, name: str, metadata: dict[str, str]) -> Path:
        file = self.folder / f"{name}.png"
        save_png(picture, file, {**metadata, **self.metadata}, overwrite=True)
        return file

    def _write_edited(self) -> list[Path]:
        pipeline, edit = self.job.networks.pipeline, self.job.edit
        assert pipeline is not None
        assert edit is not None
        draws = draw_edited(pipeline, self.latents, Settings(), edit)
        pictures = [picture for draw in draws for picture in draw.pictures]
        label = f"{edit.source.label} -> {edit.target.label}"
        return [
            self._save(picture, f"{name}{EDITED}", {"prompt": label})
            for name, picture in zip(self.job.names, pictures, strict=True)
        ]

    def _write_way(self) -> Path:
        """The way between two pictures, or from one to what the prior draws of a text: straight, in w+."""
        start, end = self.latents[0], self._way_end()
        shares = torch.linspace(0, 1, self.job.config.frames, device=start.device)
        frames = self._draw(torch.stack([start.lerp(end, float(share)) for share in shares]))
        save_animation(list(frames), self.folder / WAY, fps=self.job.config.fps, overwrite=True)
        return self.folder / WAY

    def _way_end(self) -> Tensor:
        text, pipeline = self.job.config.text, self.job.networks.pipeline
        if text is None or pipeline is None:
            return self.latents[1]
        (draw,) = pipeline.stream([Query(text)], [self.job.config.seed], Settings())
        return draw.latents[0].expand(self.generator.num_ws, -1)

    def _write_video(self, file: Path) -> Path:
        """The pictures in a row above where the search was; those that were found sooner wait for the others."""
        pictures = to_pil(self.job.pictures)
        ways = [list(self._draw(one.way.to(self.latents.device))) for one in self.found]
        length = max(map(len, ways))
        frames = [
            make_grid([*pictures, *(way[min(i, len(way) - 1)] for way in ways)], len(pictures)) for i in range(length)
        ]
        save_animation(frames, file, fps=self.job.config.fps, overwrite=True)
        return file

    def _draw(self, latents: Tensor) -> Iterator[Image.Image]:
        generator: Generator = self.generator
        for batch in latents.split(Settings().batch_size):
            yield from to_pil(generator.synthesize(batch))
