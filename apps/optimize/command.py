"""Draw an image by optimisation: `text2latent optimize "a pyramid made of ice" --generator biggan-deep-512`."""

from __future__ import annotations

import json
import sys
import warnings
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
from text2latent.common.errors import InputError, UsageError
from text2latent.common.progress import progress
from text2latent.configs.optimization import OptimizeConfig, idle_keys
from text2latent.inference.writing import slugify

if TYPE_CHECKING:
    from text2latent.apps.optimize.job import Job
    from text2latent.apps.optimize.run import Point, Run

CURVES = "curves.png"
RESUME_HINT = "the best image is saved; run the same command again to go on"


def build_parser() -> CommandParser:
    description = f"{__doc__} The first argument is the text, the same as --text."
    return CommandParser("optimize", description, OptimizeConfig, idle_keys)


def spell_text(arguments: Sequence[str]) -> list[str]:
    """Arguments with `--text` before a text that comes first."""
    words = list(arguments)
    return ["--text", *words] if words and not words[0].startswith("-") else words


def run(config: OptimizeConfig) -> None:
    """Check all that can be wrong before any work, load, optimise and write."""
    from text2latent.apps.optimize.job import Job

    job = Job(config)
    folder = plan(config, job)
    job.load(select_device(config.device))
    with warnings_in_one_line("optimize"):
        report = compare(job, folder) if config.compare else draw(job, folder)
    print(json.dumps(report, ensure_ascii=False, indent=2) if config.json else report["output"])


def plan(config: OptimizeConfig, job: Job) -> Path:
    """The output folder, which can be written."""
    from text2latent.apps.optimize.pictures import check_video
    from text2latent.apps.optimize.run import RUN
    from text2latent.common.extras import require_extra

    if config.compare and config.video:
        raise UsageError("--video: expected no --compare with it")
    if config.compare:
        require_extra("--compare", "evaluate", ["matplotlib"])
    name = "comparison" if config.compare else slugify(job.goals[0].label)
    folder = check_output_folder(config.output or f"{name}-{config.seed}")
    if config.video:
        check_video(Path(config.video))
        goes_on = (folder / RUN).is_file()
        check_output_file(config.video, overwrite=config.overwrite or goes_on, flag="--video")
    return folder


def draw(job: Job, folder: Path) -> dict[str, Any]:
    """Optimise one image; returns its report."""
    config = job.config
    run = job.open_run(folder, job.goals[0], config.seed, config.optimizer)
    try:
        advance(job, run, config.optimizer)
    finally:
        job.illustrate(run)
        plot(job, run)
    assert run.best is not None
    report = {**job.describe(job.goals[0], config.seed, config.optimizer), "output": str(folder)}
    last = run.points[-1]
    reached = {"iteration": last.iteration, "seconds": round(last.seconds, 3), "clip_score": last.clip_score}
    return {**report, **reached, "best": {"iteration": run.best.iteration, "clip_score": run.best.clip_score}}


def plot(job: Job, run: Run) -> None:
    """Write the curve of a run, and the prior on the same axes, where matplotlib is there."""
    from text2latent.apps.optimize.curves import has_plots, save_curves

    if has_plots() and run.points:
        save_curves({job.config.optimizer: [run.points]}, job.amortised, run.folder / CURVES)


def advance(job: Job, run: Run, description: str) -> None:
    """Do the iterations that are left, under a progress bar that shows the CLIP score."""
    total = job.num_iterations
    with progress(total=total, unit="iterations", initial=run.descent.iteration, description=description) as bar:

        def show(point: Point) -> None:
            bar.update(point.iteration - bar.n)
            bar.set_postfix_str(f"CLIP {100 * point.clip_score:.2f}", refresh=False)

        run.advance(total, job.config.save_every, show)


def compare(job: Job, folder: Path) -> dict[str, Any]:
    """Draw all prompts and seeds with each optimiser, and with the prior where there is one; returns the table."""
    from text2latent.apps.optimize.job import Drawn
    from text2latent.apps.optimize.run import open_folder
    from text2latent.apps.optimize.study import save_study
    from text2latent.inference.images import to_pil

    description = job.describe_study()
    open_folder(folder, description, job.config.overwrite)
    drawn = job.draw_with_prior()
    for optimizer in job.optimizers:
        for (goal, seed), name in zip(job.pairs, job.run_names, strict=True):
            place = Path("runs", optimizer, name)
            run = job.open_run(folder / place, goal, seed, optimizer)
            try:
                advance(job, run, f"{optimizer}: {goal.label}, seed {seed}")
            except InputError as error:
                warnings.warn(f"{optimizer}: {error}", stacklevel=1)
            drawn.append(Drawn(optimizer, goal.label, seed, run.points, to_pil(run.image[None])[0], place))
    rates = {optimizer: job.rate(optimizer) for optimizer in job.optimizers}
    description = {**description, "iterations": job.num_iterations, "num_seeds": job.config.num_seeds}
    return {**description, "output": str(folder), "rows": save_study(drawn, rates, description, folder)}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    return run_command(build_parser(), run, spell_text(arguments), RESUME_HINT)
