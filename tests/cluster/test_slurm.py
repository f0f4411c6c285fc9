"""The shipped sbatch files on a real SLURM: submitted, run, preempted, requeued, resumed, finished.

    python -m pytest -m slow -s tests/cluster/test_slurm.py

needs Debian's `slurm-wlm` and `munge` (or what they are called elsewhere) and root, and prints what happens.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from text2latent import configs
from text2latent.apps import verify
from text2latent.data.shards import load_pairs
from text2latent.models.priors.folder import load_prior

JOBS = Path(configs.__file__).parent / "slurm"
STEPS = 1500


def train_flags(pairs: Path, run: Path) -> list[str]:
    settings = {
        "--data.path": str(pairs),
        "--data.batch-size": "4",
        "--data.val-pairs": "10",
        "--prior.width": "16",
        "--prior.depth": "1",
        "--max-steps": str(STEPS),
        "--validation.every-steps": "500",
        "--checkpoint-every-steps": "20",
        "--log-every-steps": "20",
        "--device": "cpu",
        "--output": str(run),
    }
    return [word for setting in settings.items() for word in setting]


def newest_step(run: Path) -> int:
    steps = [int(path.stem.split("-")[1]) for path in (run / "checkpoints").glob("step-*.ckpt")]
    return max(steps, default=0)


@pytest.mark.slow
def test_training_is_preempted_requeued_and_finished(slurm: Any, tiny_pairs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    job = slurm.submit(str(JOBS / "train.sbatch"), *train_flags(tiny_pairs, run), PYTHON=sys.executable)
    slurm.wait("the first checkpoints", lambda: newest_step(run) >= 40)
    slurm.report(f"training on 2 tasks, checkpoint of step {newest_step(run)} there; preempting it with a higher job")
    urgent = slurm.submit("--partition=high", "--ntasks=2", "--output=/dev/null", "--wrap", "sleep 3")
    slurm.wait_for(urgent, "COMPLETED")
    preempted = interruption(slurm.log(job), "SIGTERM")
    slurm.wait("the resumed run", lambda: f"going on at step {preempted}, from" in slurm.log(job))
    slurm.report(f"preempted at step {preempted}, requeued by SLURM, and going on from there")

    slurm.wait("more checkpoints", lambda: newest_step(run) >= preempted + 40)
    slurm.report("sending SIGUSR1, as SLURM does before a job's time is up")
    slurm.run("scancel", "--signal=USR1", job)
    slurm.wait("the job's own requeue", lambda: f"SLURM job {job} is requeued" in slurm.log(job))
    warned = interruption(slurm.log(job), "SIGUSR1")
    slurm.wait("the resumed run", lambda: f"going on at step {warned}, from" in slurm.log(job))
    slurm.report(f"saved at step {warned}, requeued by itself, and going on from there")

    slurm.wait_for(job, "COMPLETED")
    metrics = json.loads((run / "checkpoints/metrics.json").read_text())
    slurm.report(f"finished: {metrics}")
    assert 0 < preempted < warned < STEPS
    assert (metrics["steps"], metrics["processes"]) == (STEPS, 2)
    assert metrics["pairs_seen"] == 8 * STEPS
    assert load_prior(run).record["metrics"]["step"] == STEPS
    assert "Traceback" not in slurm.log(job)


@pytest.mark.slow
def test_two_tasks_without_a_word_on_machines_train_together(slurm: Any, tiny_pairs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = shlex.join(
        [sys.executable, "-m", "text2latent", "train", *train_flags(tiny_pairs, run), "--max-steps", "20"]
    )
    job = slurm.submit("--ntasks=2", "--output=/dev/null", "--wrap", f"srun --kill-on-bad-exit=1 {words}")
    slurm.wait_for(job, "COMPLETED")
    assert json.loads((run / "checkpoints/metrics.json").read_text())["processes"] == 2


def interruption(log: str, name: str) -> int:
    """Step at which the log says that a signal ended a session."""
    match = re.search(rf"interrupted by {name} at step (\d+); state saved", log)
    assert match, log
    return int(match[1])


@pytest.mark.slow
def test_a_sampling_array_is_preempted_requeued_and_finished(
    slurm: Any, tiny_world: Path, tiny_pairs: Path, tmp_path: Path
) -> None:
    pairs = tmp_path / "pairs"
    flags = ["--model", str(tiny_world), "--num-pairs", "1500", "--shard-size", "50", "--device", "cpu"]
    flags += ["--batch-size", "1", "--output", str(pairs)]
    sbatch = ["--array=0-2", str(JOBS / "sample.sbatch"), *flags]
    job = slurm.submit(*sbatch, PYTHON=sys.executable, SHARDS_PER_TASK="10")
    slurm.wait("the first shards", lambda: len(list(pairs.glob("*.tar"))) >= 2)
    slurm.report(f"{len(list(pairs.glob('*.tar')))} of 30 shards there; preempting the array with a higher job")
    urgent = slurm.submit("--partition=high", "--ntasks=2", "--output=/dev/null", "--wrap", "sleep 3")
    slurm.wait_for(urgent, "COMPLETED")
    there = len(list(pairs.glob("*.tar")))
    slurm.report(f"{there} of 30 shards there after the preemption; tasks: {slurm.states(job)}")
    slurm.wait_for(job, "COMPLETED")
    slurm.report("text2latent verify:")
    assert verify.main([str(pairs)]) == 0
    assert there < 30
    assert load_pairs(pairs)[0].shape[0] == 1500
    assert (load_pairs(pairs)[0][:50] == load_pairs(tiny_pairs)[0]).all()
