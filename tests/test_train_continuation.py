"""`text2latent train` on pairs that have grown, from a checkpoint file, and from another prior's weights."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from text2latent import sample, train
from text2latent.models.priors.folder import load_prior
from text2latent.tests.train_runs import arguments, assert_same_prior, loss_curve

Grow = Callable[[Path, int], None]


@pytest.fixture
def grow(tiny_world: Path, sample_arguments: Callable[..., list[str]]) -> Grow:
    """Function (pairs, num_pairs) that draws more pairs into a dataset."""

    def draw(pairs: Path, num_pairs: int) -> None:
        assert sample.main(sample_arguments(tiny_world, pairs, "--num-pairs", str(num_pairs))) == 0

    return draw


@pytest.fixture
def growing(tiny_pairs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_pairs, tmp_path / "growing"))


def record_of(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "run.json").read_text(encoding="utf-8")))


def test_a_run_goes_on_with_pairs_that_have_grown(growing: Path, grow: Grow, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train.main(arguments(growing, run)) == 0
    before = record_of(run)["dataset"]
    grow(growing, 100)
    assert train.main(arguments(growing, run, "--max-steps", "20")) == 0
    after = record_of(run)["dataset"]
    assert (after["num_pairs"], after["origin"]) == (100, before["origin"])
    assert after["before"] == [{"sha256": before["sha256"], "num_pairs": 50, "until_step": 12}]
    assert load_prior(run).record["dataset"] == after
    assert max(loss_curve(run)) >= 18
    assert train.main(arguments(growing, run, "--max-steps", "24")) == 0
    assert record_of(run)["dataset"]["before"] == after["before"]


def test_pairs_that_have_grown_hold_out_as_many_as_before(growing: Path, grow: Grow, tmp_path: Path) -> None:
    run = tmp_path / "run"
    flags = arguments(growing, run)
    place = flags.index("--data.val-pairs")
    del flags[place : place + 2]
    assert train.main(flags) == 0
    grow(growing, 100)
    flags[flags.index("--max-steps") + 1] = "20"
    assert train.main(flags) == 0
    assert record_of(run)["training"]["data"]["val_pairs"] == 5


def test_other_pairs_are_refused(
    tiny_pairs: Path, tiny_world: Path, run_copy: Path, tmp_path: Path, capsys: Any
) -> None:
    flags = ["--model", str(tiny_world), "--num-pairs", "60", "--seed", "7", "--output", str(tmp_path / "others")]
    assert sample.main([*flags, "--device", "cpu"]) == 0
    assert train.main(arguments(tmp_path / "others", run_copy)) == 1
    assert "holds a run on the pairs of" in capsys.readouterr().err


def test_a_run_begins_with_a_checkpoint_of_another(tiny_pairs: Path, tiny_run: Path, tmp_path: Path) -> None:
    state = tiny_run / "checkpoints" / "step-00000005.ckpt"
    flags = arguments(tiny_pairs, tmp_path / "branch", "--resume", str(state))
    assert train.main(flags) == 0
    assert_same_prior(tmp_path / "branch", tiny_run)
    record = record_of(tmp_path / "branch")
    assert (record["resumed_from"]["path"], record["resumed_from"]["step"]) == (str(state), 5)
    assert train.main([*flags, "--max-steps", "15"]) == 0  # the same command goes on where it was
    assert record_of(tmp_path / "branch") == record | {"training": {**record["training"], "max_steps": 15}}


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (
            ("--optimizer.lr", "0.5"),
            r"--resume .*step-00000005.ckpt: holds a run of another configuration \(optimizer.lr",
        ),
        (("--output", "{run}"), r"--output .*: holds a run at step 12, which didn't begin with --resume"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(
    extra: tuple[str, ...], expected: str, tiny_pairs: Path, run_copy: Path, tmp_path: Path, capsys: Any
) -> None:
    state = run_copy / "checkpoints" / "step-00000005.ckpt"
    words = [word.format(run=run_copy) for word in extra]
    assert train.main([*arguments(tiny_pairs, tmp_path / "branch", "--resume", str(state)), *words]) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(expected, line), line
    assert not (tmp_path / "branch" / "config.yaml").exists()


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 no archive", b"x" * 1000])
def test_what_is_no_checkpoint_is_refused(content: bytes | None, tiny_pairs: Path, tmp_path: Path, capsys: Any) -> None:
    state = tmp_path / "state.ckpt"
    if content is not None:
        state.write_bytes(content)
    code = train.main(arguments(tiny_pairs, tmp_path / "run", "--resume", str(state)))
    line = capsys.readouterr().err.strip()
    assert (code, "\n" in line) == (2 if content is None else 1, False)
    assert str(state) in line
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_prior_begins_with_the_weights_of_another(
    tiny_pairs: Path, tiny_run: Path, tmp_path: Path, capsys: Any
) -> None:
    flags = arguments(tiny_pairs, tmp_path / "run", "--init-from", str(tiny_run), "--optimizer.lr", "1e-12")
    assert train.main([*flags, "--optimizer.ema-decay", "0"]) == 0
    started = load_prior(tiny_run)
    for name, value in load_prior(tmp_path / "run").prior.named_parameters():
        torch.testing.assert_close(value, dict(started.prior.named_parameters())[name], atol=1e-5, rtol=0)
    assert "weights taken" in capsys.readouterr().err
    assert record_of(tmp_path / "run")["init_from"]["sha256"] == started.identity.sha256  # type: ignore[union-attr]


def test_what_does_not_fit_begins_anew_and_is_listed(
    tiny_pairs: Path, tiny_run: Path, tmp_path: Path, capsys: Any
) -> None:
    flags = arguments(tiny_pairs, tmp_path / "run", "--init-from", str(tiny_run), "--prior.depth", "2")
    assert train.main(flags) == 0
    told = capsys.readouterr().err
    assert "these begin anew" in told
    assert "none there" in told


def test_a_prior_of_which_nothing_fits_is_refused(
    tiny_pairs: Path, tiny_run: Path, tmp_path: Path, capsys: Any
) -> None:
    flags = arguments(tiny_pairs, tmp_path / "run", "--init-from", str(tiny_run), "--prior.width", "24")
    assert train.main(flags) == 1
    assert "of which nothing fits" in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_distillation_has_its_own_start(tiny_pairs: Path, tiny_run: Path, tmp_path: Path, capsys: Any) -> None:
    flags = ["--data.path", str(tiny_pairs), "--output", str(tmp_path / "run"), "--distill", str(tiny_run)]
    assert train.main([*flags, "--init-from", str(tiny_run)]) == 2
    assert "--init-from: expected no value with --distill" in capsys.readouterr().err
