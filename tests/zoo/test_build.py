from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from text2latent.__main__ import main as run_verb
from text2latent.models.priors.folder import load_prior
from text2latent.zoo import build
from text2latent.zoo.world import load_world

FACES = load_world("faces")
SHORTER = {
    "sample": ["--shard-size", "48", "--batch-size", "16", "--device", "cpu"],
    "train": [
        *("--max-steps", "3", "--data.batch-size", "16", "--data.val-pairs", "16", "--prior.width", "32"),
        *("--prior.depth", "1", "--validation.every-steps", "3", "--validation.num-images", "1", "--device", "cpu"),
        *("--csv", "false", "--tensorboard", "false"),
    ],
}


@pytest.fixture
def verbs(monkeypatch) -> list[list[str]]:
    """Run the verbs in this process with a few pairs and steps; returns the arguments they were given."""
    given: list[list[str]] = []

    def run(*arguments: str) -> None:
        given.append(list(arguments))
        assert run_verb([*arguments, *SHORTER[arguments[0]]]) == 0

    monkeypatch.setattr(build, "_verb", run)
    monkeypatch.setitem(FACES.fit["prior"], "num_pairs", 96)
    return given


def test_the_prior_goes_through_the_packages_own_verbs(tiny_world, tmp_path, verbs):
    weights = tmp_path / "weights"
    weights.mkdir()
    for part in ("generator", "clip"):
        (weights / part).symlink_to(tiny_world / part)
    build.build_prior(FACES, tmp_path / "work", weights)
    assert [arguments[0] for arguments in verbs] == ["sample", "train"]
    kept, trained = load_prior(weights / "prior"), load_prior(tmp_path / "work" / "prior")
    assert (kept.generator.source, kept.clip.source) == (str(weights), str(weights))
    assert kept.record["generator"] == trained.record["generator"]
    for name, tensor in trained.prior.state_dict().items():
        torch.testing.assert_close(kept.prior.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)


def test_a_failing_verb_stops_the_build(capfd):
    with pytest.raises(subprocess.CalledProcessError):
        build._verb("train", "--no-such-flag")
    assert "no-such-flag" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("only", "expected"),
    [([], ["judge", "clip", "generator", "prior"]), (["--only", "prior", "--only", "clip"], ["clip", "prior"])],
)
def test_parts_are_built_in_the_order_in_which_they_need_each_other(monkeypatch, tmp_path, only, expected):
    calls: list[tuple[object, ...]] = []
    for part in build.PARTS:
        monkeypatch.setitem(build.PARTS, part, lambda *given, part=part: calls.append((part, *given)))
    work, out = tmp_path / "w", tmp_path / "o"
    assert build.main(["faces", "--work", str(work), "--output", str(out), *only]) == 0
    assert calls == [(part, FACES, work, out) for part in expected]


def test_an_unknown_part_is_one_line(tmp_path, capsys):
    assert build.main(["faces", "--output", str(tmp_path / "o"), "--only", "nose"]) == 2
    assert "--only: expected one of judge, clip, generator, prior, got 'nose'" in capsys.readouterr().err


def test_flags_are_explained(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["build", "--help"])
    with pytest.raises(SystemExit) as exit_info:
        build.main()
    assert exit_info.value.code == 0
    output = capsys.readouterr().out
    assert all(flag in output for flag in ("--output", "--work", "--threads"))
