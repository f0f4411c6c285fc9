"""Find the latents of pictures of your own: `text2latent project photo.png --edit "a woman" "a woman with glasses"`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from text2latent.common.command import (
    CommandParser,
    check_output_file,
    check_output_folder,
    run_command,
    select_device,
    warnings_in_one_line,
)
from text2latent.common.progress import progress
from text2latent.configs.projections import ProjectConfig, idle_keys

if TYPE_CHECKING:
    from text2latent.apps.projection.projection_job import Job

OUTPUT = "projection"
RESUME_HINT = "what was found is saved; run the same command again to go on"


def build_parser() -> CommandParser:
    description = f"{__doc__} The words that come first are the pictures, the same as --pictures."
    return CommandParser("project", description, ProjectConfig, idle_keys)


def spell_words(arguments: Sequence[str]) -> list[str]:
    """Arguments with the pictures that come first, and the two texts of `--edit`, as one value each."""
    words = list(arguments)
    first = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    pictures, words = words[:first], words[first:]
    if "--edit" in words and len(words) > (at := words.index("--edit")) + 2 and not words[at + 1].startswith("["):
        words[at : at + 3] = ["--edit", json.dumps(words[at + 1 : at + 3])]
    return [*(["--pictures", json.dumps(pictures)] if pictures else []), *words]


def run(config: ProjectConfig) -> None:
    """Check all that can be wrong before any work, load, search, and write."""
    from text2latent.apps.projection.projection_job import Job

    job = Job(config)
    folder = plan(config, job)
    with warnings_in_one_line("project"):
        job.load(select_device(config.device))
        report = find(job, folder)
    print(json.dumps(report, ensure_ascii=False, indent=2) if config.json else as_text(report))


def plan(config: ProjectConfig, job: Job) -> Path:
    """The output folder, which can be written, as can the video."""
    from text2latent.apps.optimize.pictures import check_video
    from text2latent.apps.projection.projection_run import STATE

    folder = check_output_folder(config.output or OUTPUT)
    if config.video:
        check_video(Path(config.video))
        check_output_file(config.video, config.overwrite or (folder / STATE).is_file(), "--video")
    return folder


def find(job: Job, folder: Path) -> dict[str, Any]:
    """Search in the folder and write what is found; returns the report."""
    from text2latent.apps.optimize.run import open_folder
    from text2latent.apps.projection.projection_results import Results, warn_of_foreign
    from text2latent.apps.projection.projection_run import forget

    open_folder(folder, job.describe(), job.config.overwrite, lambda place: forget(place, job.names))
    warn_of_foreign(job)
    search = job.run_in(folder)
    # Groups are searched one after the other, and each has as many steps.
    groups = -(-len(job.names) // search.batch_size)
    done = len(search.found) // search.batch_size
    with progress(total=groups * job.settings.steps, unit="steps", description="project") as bar:

        def show(steps: int) -> None:
            bar.update((len(search.found) // search.batch_size) * job.settings.steps + steps - bar.n)

        bar.update(done * job.settings.steps)
        search.advance(job.config.save_every, show)
    return Results(job, folder, search.found).write()


def as_text(report: dict[str, Any]) -> str:
    """The report in lines: a picture each, then what else was written."""
    lines = [
        f"{one['file']}  PSNR {one['psnr']:.1f} dB, SSIM {one['ssim']:.3f}, {one['steps']} steps"
        for one in report["pictures"]
    ]
    return "\n".join(lines + report["more"])


def main(argv: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    return run_command(build_parser(), run, spell_words(arguments), RESUME_HINT)
